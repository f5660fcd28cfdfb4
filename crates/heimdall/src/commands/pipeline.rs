//! `heimdall pipeline`: a pipeline checked and tried out, without a server; the pipelines there are.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use heimdall_ingest::pipeline::{Origin, trial};
use heimdall_ingest::schema::{SchemaFolder, Schemas};
use heimdall_ingest::{BodyFormat, Pipelines};
use heimdall_model::{Clock, Dataset, SystemClock, Tenant};
use serde_json::{Value, json};

use super::say;
use crate::args::{PipelineCommand, PipelineTestArgs};
use crate::client::Client;

pub(crate) async fn run(command: PipelineCommand) -> Result<()> {
    match command {
        PipelineCommand::Test(args) => tokio::task::spawn_blocking(move || test(&args)).await?,
        PipelineCommand::List { dir: Some(dir), json, .. } => {
            tokio::task::spawn_blocking(move || list(dir, json)).await?
        }
        PipelineCommand::List { dir: None, json, remote } => {
            let page = Client::new(&remote)?.get("/api/v1/pipelines").await?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            let faults = page["faults"].as_array().cloned().unwrap_or_default();
            show(&items, json);
            faults.iter().for_each(|fault| eprintln!("{fault}"));
            if faults.is_empty() { Ok(()) } else { bail!("{} files do not load", faults.len()) }
        }
    }
}

fn list(dir: PathBuf, as_json: bool) -> Result<()> {
    let live = Pipelines::new(Some(dir), Vec::new(), Schemas::default());
    live.look();
    let set = live.current();
    let view = |pipeline: &Arc<heimdall_ingest::pipeline::Pipeline>| {
        json!({
            "name": pipeline.name, "description": pipeline.description, "file": pipeline.origin,
            "enabled": pipeline.enabled, "order": pipeline.order, "steps": pipeline.step_count(),
        })
    };
    show(&set.all().map(view).collect::<Vec<_>>(), as_json);
    set.faults().iter().for_each(|fault| eprintln!("{fault}"));
    if set.faults().is_empty() { Ok(()) } else { bail!("{} files do not load", set.faults().len()) }
}

fn show(items: &[Value], as_json: bool) {
    for item in items {
        if as_json {
            say(&item.to_string());
            continue;
        }
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let state = if item["enabled"] == true { "on" } else { "off" };
        let (name, file, about) = (text("name"), text("file"), text("description"));
        say(&format!("{name:<16} {state:<4} {:>3} steps  {file:<24} {about}", item["steps"]));
    }
}

/// What is wrong with the pipeline is the error, with its line and column; failed steps are not.
fn test(args: &PipelineTestArgs) -> Result<()> {
    let now = SystemClock.now();
    let tenant = Tenant::new(&args.tenant).map_err(|error| anyhow!("--tenant: {error}"))?;
    let dataset = Dataset::parse(&args.dataset).context("--dataset is logs, metrics or spans")?;
    let format = BodyFormat::from_name(&args.format)
        .context("--format is json, text, syslog, combined, logfmt or auto")?;
    let schemas = Schemas::default();
    if let Some(dir) = &args.schemas_dir {
        schemas.add(Arc::new(SchemaFolder::open(dir.clone())));
    }
    let path = Path::new(&args.pipeline);
    let folder = path.parent().map(|dir| if dir == Path::new("") { Path::new(".") } else { dir });
    let is_built_in = !path.exists() && Pipelines::default().current().get(&args.pipeline).is_some();
    let live = Pipelines::new(folder.map(Path::to_owned).filter(|_| !is_built_in), Vec::new(), schemas);
    let (set, name) = if is_built_in {
        (live.current(), args.pipeline.clone())
    } else {
        live.look(); // the others of the folder may be routed to
        let text =
            std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", args.pipeline))?;
        let pipeline = live.load(&args.pipeline, &text)?;
        let name = pipeline.name.clone();
        (Arc::new(live.with(pipeline)?), name)
    };
    let pipeline = set.get(&name).context("the pipeline is there")?;
    let Some(input) = &args.input else {
        say(&format!("{name}: {} steps, valid", pipeline.step_count()));
        return Ok(());
    };
    let mut body = Vec::new();
    if input == "-" {
        std::io::stdin().lock().read_to_end(&mut body)?;
    } else {
        body = std::fs::read(input).with_context(|| format!("could not read `{input}`"))?;
    }
    let records = trial::records(format, &body, now)?;
    let origin = Origin { door: &args.door, tenant: &tenant, service: args.service.as_deref() };
    let tried = trial::run(&set, pipeline, origin, dataset, &records, now);
    for (n, record) in tried.iter().enumerate() {
        if args.json {
            say(&serde_json::to_string(record)?);
        } else {
            show_record(n + 1, record);
        }
    }
    Ok(())
}

fn show_record(number: usize, record: &trial::Tried) {
    let reason = record.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    say(&format!("record {number}: {}{reason}", record.outcome));
    say(&format!("  before  {}", record.before));
    if record.steps.is_empty() {
        say("  the pipeline is not for it");
    }
    for step in &record.steps {
        say(&format!("  {} step {} {}: {}", step.pipeline, step.step, step.action, step.text));
    }
    if let Some(after) = &record.after {
        say(&format!("  after   {after}"));
    }
}
