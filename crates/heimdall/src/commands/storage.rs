//! `heimdall storage`: a data folder looked after from outside, while no server runs in it.
//!
//! Invariant: the folder's lock is held all the while.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use heimdall_journal::disk::{Disk, DiskLock, OsDisk};
use heimdall_store::{Store, StoreStatus};
use reqwest::Method;
use serde_json::{Value, json};

use super::say;
use super::serve::load;
use crate::args::{Folder, ServeArgs, StorageCommand};
use crate::client::Client;
use crate::server::{lock, store_config};
use crate::show;

pub(crate) async fn run(command: StorageCommand) -> Result<()> {
    match command {
        StorageCommand::Compact { quiet, folder } => {
            tokio::task::spawn_blocking(move || compact(&folder, quiet)).await?
        }
        StorageCommand::Erase { filter, yes, dataset, from, to, json, remote } => {
            let body = json!({"filter": filter, "dataset": dataset, "from": from, "to": to, "dry_run": !yes});
            let client = Client::new(&remote)?;
            let report = client.json(client.request(Method::POST, "/api/v1/erase").json(&body)).await?;
            show_erased(&report, json)
        }
    }
}

fn show_erased(report: &Value, as_json: bool) -> Result<()> {
    if as_json {
        say(&serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    let text = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => show::printable(text),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let headings = ["segment", "tier", "rows", "erased"];
    let segments = report.get("segments").and_then(Value::as_array).into_iter().flatten();
    let rows: Vec<Vec<String>> =
        segments.map(|segment| headings.iter().map(|key| text(segment, key)).collect()).collect();
    say(show::table(&headings.map(str::to_owned), &rows).trim_end());
    let is_dry = report.get("dry_run") == Some(&Value::Bool(true));
    if is_dry {
        let (segments, memory) = (text(report, "erased"), text(report, "in_memory"));
        say(&format!("{segments} records of segments and {memory} in memory would be erased; add --yes"));
    } else {
        let (erased, left) = (text(report, "erased"), text(report, "remaining"));
        say(&format!("{erased} records erased; {left} pass the filter now"));
    }
    Ok(())
}

/// A store nobody else has.
struct Opened {
    store: Store,
    _lock: DiskLock,
}

impl Opened {
    fn new(folder: &Folder) -> Result<Opened> {
        let Folder { config, data_dir } = folder.clone();
        let config = load(&ServeArgs { config, data_dir, ..ServeArgs::default() })?.config;
        let root = config.server.data_dir.join("store");
        if !root.is_dir() {
            bail!("`{}` is not a data folder: it has no `store`", config.server.data_dir.display());
        }
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let lock = lock(disk.as_ref(), &config.server.data_dir)?;
        let store = Store::open(disk, &root, store_config(&config)?).context("could not open the store")?;
        Ok(Opened { store, _lock: lock })
    }
}

fn compact(folder: &Folder, quiet: bool) -> Result<()> {
    let Opened { store, _lock } = Opened::new(folder)?;
    let (before, started) = (store.status(), Instant::now());
    let merged = store.compact_all(&|| ControlFlow::Continue(()), &mut |merged| {
        if !quiet {
            let left = store.status().segments;
            eprintln!("{merged} segments became one, {left} are left");
        }
    });
    merged.context("could not merge")?;
    let told = |status: &StoreStatus| format!("{} segments, {} bytes", status.segments, status.segment_bytes);
    let (after, seconds) = (store.status(), started.elapsed().as_secs_f64());
    say(&format!("{} before, {} now, {seconds:.1} s", told(&before), told(&after)));
    Ok(())
}
