//! `sigma --rules DIR [--pipeline FILE|NAME]...`: events as JSON lines on stdin, ids of matching rules on stdout.
//!
//! Exit code 1 when a rule, a pipeline or a line could not be used; each is named on stderr, the others work.
#![allow(clippy::print_stderr, reason = "a program")]

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use heimdall_sigma::{Collection, Engine, Pipeline, batch};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, String> {
    let mut collection = Collection::default();
    let mut pipelines = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--rules" => collection.add_folder(Path::new(&value()?)),
            "--pipeline" => pipelines.push(pipeline(&value()?)?),
            other => {
                return Err(format!(
                    "unknown argument {other}; usage: sigma --rules DIR [--pipeline FILE|NAME]..."
                ));
            }
        }
    }
    let engine = Arc::new(Engine::new(collection, &pipelines));
    engine.failures().iter().for_each(|failure| eprintln!("{failure}"));
    let summary = batch(&engine, io::stdin().lock(), io::BufWriter::new(io::stdout().lock()))
        .map_err(|error| format!("could not read or write: {error}"))?;
    for (line, reason) in &summary.rejected {
        eprintln!("stdin:{line}: {reason}");
    }
    eprintln!("{} rules, {} events, {} matches", engine.len(), summary.events, summary.matches);
    Ok(engine.failures().is_empty() && summary.rejected.is_empty())
}

fn pipeline(name: &str) -> Result<Pipeline, String> {
    if let Some(builtin) = Pipeline::builtin(name) {
        return Ok(builtin);
    }
    let text = std::fs::read_to_string(name).map_err(|error| format!("{name}: {error}"))?;
    Pipeline::parse(name, &text).map_err(|error| error.to_string())
}
