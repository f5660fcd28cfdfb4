//! `heimdall storage export`: records of a data folder as one Parquet file that any program reads.
//!
//! Invariant: the file is whole, or there is none; what it lacks was asked to be left out.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use heimdall_journal::disk::OsDisk;
use heimdall_model::{Clock, Dataset, SystemClock, Tenant, Timestamp};
use heimdall_query::{ParseContext, search};
use heimdall_store::{Control, ExportError, ScanError, ScanRequest, ScanStats, Store, StoreError};

use super::say;
use super::storage::Opened;
use crate::args::ExportArgs;

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let Opened { store, config, lock: _lock } = Opened::new(&args.folder)?;
    let journal = config.server.data_dir.join("journal");
    let mut last = 0;
    heimdall_journal::verify(&OsDisk, &journal, &mut |file| last = last.max(file.last_seq.unwrap_or(0)))
        .context("could not look at the journal")?;
    if last > store.journal_seq() {
        let waiting = last - store.journal_seq();
        bail!(
            "{waiting} batches are in the journal only: start a server on the folder and stop it, which writes them as segments"
        );
    }
    let store = Arc::new(store);
    let request = request(args)?;
    let file = File::create_new(&args.out).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow!("`{}` is there already", args.out.display()),
        _ => anyhow!(error).context(format!("could not create `{}`", args.out.display())),
    })?;
    let stats = write(&store, &request, file, args).inspect_err(|_| remove(&args.out))?;
    for damaged in &stats.missing {
        eprintln!("{damaged}");
    }
    say(&format!("{} records in {}", stats.rows_matched, args.out.display()));
    Ok(())
}

fn request(args: &ExportArgs) -> Result<ScanRequest> {
    let tenant = Tenant::new(&args.tenant).map_err(|error| anyhow!("--tenant: {error}"))?;
    let dataset =
        Dataset::parse(&args.dataset).ok_or_else(|| anyhow!("--dataset is `logs`, `metrics` or `spans`"))?;
    let now = SystemClock.now();
    let mut context = ParseContext::new(tenant, dataset, now);
    let time = |name: &str, text: Option<&str>| {
        let wrong = |text| anyhow!("{name}: `{text}` is no time: RFC 3339, epoch, or now-15m");
        text.map(|text| Timestamp::parse_with(text, now).ok_or_else(|| wrong(text))).transpose()
    };
    context.from = time("--from", args.from.as_deref())?;
    context.to = time("--to", args.to.as_deref())?;
    let query = search::parse(args.filter.as_deref().unwrap_or_default(), &context)?;
    if !query.pipeline.is_empty() || query.dataset != dataset {
        bail!("the filter is the part of a search line before the first pipe");
    }
    query.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    Ok(ScanRequest { tenant: query.tenant, dataset, range: query.range, filter: query.filter, fields: None })
}

/// Begins again without what turns out to be damaged, where that was asked for.
fn write(store: &Arc<Store>, request: &ScanRequest, mut file: File, args: &ExportArgs) -> Result<ScanStats> {
    let control = Control { without_damaged: args.without_damaged, ..Control::default() };
    loop {
        let known = store.damaged().len();
        match store.export(request, &control, &file) {
            Err(ExportError::Scan(ScanError::Store(StoreError::Corrupt { .. })))
                if args.without_damaged && store.damaged().len() > known =>
            {
                file = File::create(&args.out).context("could not begin again")?;
            }
            Err(error @ ExportError::Scan(ScanError::Store(StoreError::Corrupt { .. }))) => {
                return Err(anyhow!(error).context("a segment is damaged; --without-damaged leaves it out"));
            }
            Err(error) => return Err(anyhow!(error).context("could not export")),
            Ok(stats) => {
                file.sync_all().context("could not write the export")?;
                return Ok(stats);
            }
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        eprintln!("could not remove `{}`: {error}", path.display());
    }
}
