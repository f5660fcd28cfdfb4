//! Writes frozen memtables as segments and lets the journal forget what they cover; beside that, does upkeep.
//!
//! Invariants:
//! - the journal forgets a frame only after a manifest that covers it is durable;
//! - a failed write changes nothing and is tried again; meanwhile the rows stay searchable and journalled;
//! - upkeep makes room for ingest: it waits while a memtable is full, and stops when the stream does.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use heimdall_journal::Journal;
use heimdall_model::Clock;
use heimdall_store::{ScanError, Store, StoreError};

use crate::stream::{PanicGuard, Shared};

/// Time between rounds of upkeep.
const UPKEEP_EVERY: Duration = Duration::from_secs(60);
/// Wait before a failed write is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Wait of upkeep before it looks again whether ingest still needs the machine, and the longest it waits at a time: a
/// burst that does not end must not keep small segments for ever.
const YIELD_FOR: Duration = Duration::from_millis(5);
const YIELD_MAX: Duration = Duration::from_millis(500);

pub(crate) struct Keeper {
    pub store: Arc<Store>,
    pub journal: Arc<Journal>,
    pub clock: Arc<dyn Clock>,
    pub shared: Arc<Shared>,
    /// A message per frozen memtable; closed when the stream ends.
    pub frozen: Receiver<()>,
    /// A message per committed one.
    pub committed: Sender<()>,
}

impl Keeper {
    /// Serves until the stream drops its end and everything frozen is written.
    pub(crate) fn run(self) {
        let _guard = PanicGuard(Arc::clone(&self.shared));
        while self.frozen.recv().is_ok() {
            self.commit();
        }
    }

    fn commit(&self) {
        let started = Instant::now();
        while let Err(error) = self.try_commit() {
            metrics::counter!("store_flush_failures_total").increment(1);
            metrics::counter!("errors_total", "area" => "store").increment(1);
            tracing::error!(%error, transient = error.is_transient(), "could not write segments; the records stay in the journal and in memory");
            self.shared.set_trouble(Some(error.to_string()));
            if self.shared.is_stopping() {
                return;
            }
            // What retention no longer keeps may be the very space that is missing.
            if let Err(error) = self.store.retain(self.clock.now()) {
                tracing::warn!(%error, "retention could not free space");
            }
            std::thread::park_timeout(RETRY_AFTER);
        }
        self.shared.set_trouble(None);
        metrics::histogram!("store_flush_duration_seconds").record(started.elapsed().as_secs_f64());
        // Full only when the stream has not yet looked at an earlier one: it will see that nothing is frozen.
        let _ = self.committed.try_send(());
    }

    fn try_commit(&self) -> Result<(), StoreError> {
        if let Some(seq) = self.store.commit_frozen()?
            && let Err(error) = self.journal.truncate_before(seq + 1)
        {
            tracing::warn!(%error, "the journal could not release files; they are released later");
        }
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        publish(&self.store);
    }
}

fn publish(store: &Store) {
    let status = store.status();
    #[expect(clippy::cast_precision_loss, reason = "gauges are f64")]
    {
        metrics::gauge!("store_segments").set(status.segments as f64);
        metrics::gauge!("store_segment_bytes").set(status.segment_bytes as f64);
        metrics::gauge!("store_segment_rows").set(status.segment_rows as f64);
        metrics::gauge!("store_segments_damaged").set(status.damaged.len() as f64);
        metrics::gauge!("store_templates").set(status.templates as f64);
    }
}

/// Does upkeep until the stream ends.
pub(crate) struct Upkeep {
    pub store: Arc<Store>,
    pub clock: Arc<dyn Clock>,
    pub shared: Arc<Shared>,
    /// Closed when the stream ends.
    pub ended: Receiver<()>,
}

impl Upkeep {
    pub(crate) fn run(self) {
        let _guard = PanicGuard(Arc::clone(&self.shared));
        // The first round comes at once: a server that is restarted often has as much to merge and to forget as any.
        let mut wait = Duration::ZERO;
        while self.ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            // While there is something to merge, merging goes on.
            wait = if self.round() > 0 { Duration::ZERO } else { UPKEEP_EVERY };
            publish(&self.store);
        }
    }

    /// Lets ingest pass when it is behind; breaks off when the stream ends.
    fn pace(&self) -> ControlFlow<()> {
        let until = Instant::now() + YIELD_MAX;
        while self.store.is_frozen() && self.store.is_flush_due() && Instant::now() < until {
            if self.shared.is_stopping() {
                break;
            }
            std::thread::park_timeout(YIELD_FOR);
        }
        if self.shared.is_stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// One round; returns how many segments it rewrote.
    fn round(&self) -> usize {
        let merged = self.keep();
        if merged > 0 { merged } else { self.trim() }
    }

    /// Removes records whose time is over from one segment.
    fn trim(&self) -> usize {
        match self.store.trim(self.clock.now(), &|| self.pace()) {
            Ok(trimmed) => trimmed,
            Err(ScanError::Cancelled) => 0,
            Err(error) => {
                tracing::error!(%error, "records whose time is over could not be dropped; it is tried again");
                0
            }
        }
    }

    /// Drops, merges and moves segments; returns how many it merged.
    fn keep(&self) -> usize {
        match self.store.upkeep(self.clock.now(), &|| self.pace()) {
            Ok(report) if report == heimdall_store::UpkeepReport::default() => 0,
            Ok(report) => {
                tracing::info!(
                    expired = report.expired_segments,
                    shed = report.shed_segments,
                    dropped_rows = report.dropped_rows,
                    merged = report.merged_segments,
                    moved_to_cold = report.cold_segments,
                    "store upkeep"
                );
                report.merged_segments
            }
            Err(error) => {
                tracing::error!(%error, "store upkeep failed; it is tried again");
                0
            }
        }
    }
}
