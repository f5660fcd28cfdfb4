//! `heimdall storage verify`: every byte of the journal and the store is read, and what is damaged is named.
//!
//! Invariant: nothing is changed. A folder whose server does not start can be looked at.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use heimdall_journal::disk::{Disk, OsDisk};

use super::say;
use super::storage::Locked;
use crate::args::Folder;
use crate::server::store_config;

/// What was looked at so far.
#[derive(Default)]
struct Tally {
    files: u64,
    bytes: u64,
    damaged: u64,
}

impl Tally {
    fn add(&mut self, path: &Path, bytes: u64, damage: Option<&dyn std::error::Error>, as_json: bool) {
        self.files += 1;
        self.bytes += bytes;
        let Some(damage) = damage else { return };
        self.damaged += 1;
        let causes = std::iter::successors(damage.source(), |error| error.source());
        let detail = causes.fold(damage.to_string(), |detail, cause| format!("{detail}: {cause}"));
        if as_json {
            say(&serde_json::json!({ "file": path, "damage": detail }).to_string());
        } else {
            say(&format!("{}: {detail}", path.display()));
        }
    }
}

pub(crate) fn run(folder: &Folder, as_json: bool) -> Result<()> {
    let started = Instant::now();
    let Locked { config, lock: _lock } = Locked::new(folder)?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let cold = store_config(&config)?.cold;
    let mut tally = Tally::default();
    let dir = config.server.data_dir.join("journal");
    heimdall_journal::verify(disk.as_ref(), &dir, &mut |file| {
        if file.torn_bytes > 0 {
            let (path, torn) = (file.path.display(), file.torn_bytes);
            eprintln!(
                "{path}: a crash left {torn} bytes unfinished at its end; the next start cuts them off"
            );
        }
        let damage = file.damage.as_ref().map(|damage| damage as &dyn std::error::Error);
        tally.add(&file.path, file.bytes, damage, as_json);
    })
    .context("could not look at the journal")?;
    heimdall_store::verify(disk, &config.server.data_dir.join("store"), cold, &mut |file| {
        let damage = file.damage.as_ref().map(|damage| damage as &dyn std::error::Error);
        tally.add(&file.path, file.bytes, damage, as_json);
    })
    .context("could not look at the store")?;
    let Tally { files, bytes, damaged } = tally;
    if damaged > 0 {
        bail!("{damaged} of {files} files are damaged");
    }
    if !as_json {
        say(&format!("{files} files, {bytes} bytes, none damaged, {:.1} s", started.elapsed().as_secs_f64()));
    }
    Ok(())
}
