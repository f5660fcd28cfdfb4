//! `heimdall storage`: a data folder looked after from outside, while no server runs in it.
//!
//! Invariant: the folder's lock is held all the while.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use heimdall_journal::disk::{Disk, DiskLock, OsDisk};
use heimdall_store::{Store, StoreStatus};

use super::say;
use super::serve::load;
use crate::args::{Folder, ServeArgs, StorageCommand};
use crate::server::{lock, store_config};

pub(crate) fn run(command: StorageCommand) -> Result<()> {
    match command {
        StorageCommand::Compact { quiet, folder } => compact(&folder, quiet),
    }
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
