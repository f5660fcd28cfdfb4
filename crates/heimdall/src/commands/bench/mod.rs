//! `heimdall bench`: measures this program on this machine, over loopback, with generated data.

mod ask;
mod flood;
mod http;
mod ingest;
mod load;
mod query;
mod questions;
mod sample;

use anyhow::Result;
use serde_json::Value;

use super::say;
use crate::args::BenchCommand;

pub(crate) async fn run(command: BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Ingest(args) => show(&ingest::run(&args).await?, args.json),
        BenchCommand::Query(args) => show(&query::run(&args).await?, args.json),
        BenchCommand::Flood { requests, json } => show(&flood::run(requests).await?, json),
    }
}

/// Prints results: as they are, or for people, one figure a line and lists as tables.
fn show(results: &Value, json: bool) -> Result<()> {
    if json {
        say(&serde_json::to_string_pretty(results)?);
        return Ok(());
    }
    for (name, value) in results.as_object().into_iter().flatten() {
        match value {
            Value::Array(rows) => say(query::table(rows).trim_end()),
            Value::Object(_) if name == "load" => show(value, false)?,
            Value::Number(number) if number.is_f64() => {
                say(&format!("{name:<32} {:.3}", number.as_f64().unwrap_or_default()));
            }
            other => say(&format!("{name:<32} {other}")),
        }
    }
    Ok(())
}

/// The `q`-quantile of some measurements, by rank; zero of none.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank within the slice"
    )]
    let rank = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(rank).copied().unwrap_or(0.0)
}

/// Cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
