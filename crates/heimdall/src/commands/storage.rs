//! `heimdall storage`: a data folder looked after from outside, while no server runs in it.
//!
//! Invariant: the folder's lock is held while it is opened. Listing only reads its manifest, which is replaced whole.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use heimdall_journal::disk::{DiskLock, OsDisk};
use heimdall_model::{Clock, SystemClock};
use heimdall_store::{Store, StoreStatus};
use reqwest::Method;
use serde_json::{Value, json};

use super::say;
use super::serve::load;
use crate::args::{Folder, ServeArgs, StorageCommand};
use crate::client::Client;
use crate::config::Config;
use crate::server::{lock, store_config};
use crate::show;

pub(crate) async fn run(command: StorageCommand) -> Result<()> {
    match command {
        StorageCommand::Ls { json, data_dir, remote } => {
            let segments = match data_dir {
                Some(dir) => tokio::task::spawn_blocking(move || listed(&dir)).await??,
                None => {
                    let page = Client::new(&remote)?.get("/api/v1/storage").await;
                    page.context("`--data-dir FOLDER` reads a folder instead")?["items"].take()
                }
            };
            show_segments(segments.as_array().map(Vec::as_slice).unwrap_or_default(), json);
            Ok(())
        }
        StorageCommand::Compact { quiet, folder } => {
            tokio::task::spawn_blocking(move || compact(&folder, quiet)).await?
        }
        StorageCommand::Erase { filter, yes, dataset, from, to, json, remote } => {
            let body = json!({"filter": filter, "dataset": dataset, "from": from, "to": to, "dry_run": !yes});
            let client = Client::new(&remote)?;
            let report = client.json(client.request(Method::POST, "/api/v1/erase").json(&body)).await?;
            show_erased(&report, json)
        }
        StorageCommand::Verify { json, folder } => {
            tokio::task::spawn_blocking(move || super::verify::run(&folder, json)).await?
        }
        StorageCommand::Export(args) => {
            tokio::task::spawn_blocking(move || super::export::run(&args)).await?
        }
    }
}

/// A data folder nobody else has.
pub(crate) struct Locked {
    pub config: Config,
    pub lock: DiskLock,
}

impl Locked {
    pub(crate) fn new(folder: &Folder) -> Result<Locked> {
        let Folder { config, data_dir } = folder.clone();
        let config = load(&ServeArgs { config, data_dir, ..ServeArgs::default() })?.config;
        let dir = &config.server.data_dir;
        if !dir.join("store").is_dir() {
            bail!("`{}` is not a data folder: it has no `store`", dir.display());
        }
        let lock = lock(&OsDisk, dir).context("stop the server first: this needs the folder for itself")?;
        Ok(Locked { config, lock })
    }
}

/// The segments of a folder, as a running server lists its own.
fn listed(data_dir: &Path) -> Result<Value> {
    let root = data_dir.join("store");
    if !root.is_dir() {
        bail!("`{}` is not a data folder: it has no `store`", data_dir.display());
    }
    let segments = heimdall_store::segments_in(&OsDisk, &root, SystemClock.now());
    Ok(serde_json::to_value(segments.context("could not read the store's manifest")?)?)
}

fn show_segments(segments: &[Value], as_json: bool) {
    if as_json {
        segments.iter().for_each(|segment| say(&segment.to_string()));
        return;
    }
    let headings = ["tenant", "dataset", "tier", "level", "rows", "bytes", "B/row", "from", "to", "name"];
    let number = |segment: &Value, key: &str| segment[key].as_u64().unwrap_or(0);
    let size = |segment: &Value| number(segment, "bytes") + number(segment, "sidecar_bytes");
    let row = |segment: &Value| {
        let text = |key: &str| show::printable(segment[key].as_str().unwrap_or_default());
        let (rows, bytes) = (number(segment, "rows"), size(segment));
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let each = bytes as f64 / rows.max(1) as f64;
        let (level, each) = (number(segment, "level").to_string(), format!("{each:.1}"));
        let [tenant, dataset, tier] = ["tenant", "dataset", "tier"].map(text);
        let [from, to, name] = ["min", "max", "name"].map(text);
        vec![tenant, dataset, tier, level, rows.to_string(), bytes.to_string(), each, from, to, name]
    };
    let rows: Vec<Vec<String>> = segments.iter().map(row).collect();
    say(show::table(&headings.map(str::to_owned), &rows).trim_end());
    let sum = |of: &dyn Fn(&Value) -> u64| segments.iter().map(of).sum::<u64>();
    let rows = sum(&|segment| number(segment, "rows"));
    say(&format!("{} segments, {rows} rows, {} bytes with sidecars", segments.len(), sum(&size)));
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
    let left: Vec<String> = report
        .get("not_erased")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|damaged| format!("`{}` ({})", text(damaged, "file"), text(damaged, "detail")))
        .collect();
    anyhow::ensure!(
        is_dry || left.is_empty(),
        "damaged segments may hold records that are not erased: {}",
        left.join(", ")
    );
    if !left.is_empty() {
        say(&format!(
            "damaged segments, which could not be looked into and will not be erased: {}",
            left.join(", ")
        ));
    }
    Ok(())
}

/// A store nobody else has.
pub(crate) struct Opened {
    pub store: Store,
    pub config: Config,
    pub lock: DiskLock,
}

impl Opened {
    pub(crate) fn new(folder: &Folder) -> Result<Opened> {
        let Locked { config, lock } = Locked::new(folder)?;
        let root = config.server.data_dir.join("store");
        let store = Store::open(Arc::new(OsDisk), &root, store_config(&config)?);
        Ok(Opened { store: store.context("could not open the store")?, config, lock })
    }
}

fn compact(folder: &Folder, quiet: bool) -> Result<()> {
    let Opened { store, lock: _lock, .. } = Opened::new(folder)?;
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
