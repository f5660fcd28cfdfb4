//! How far a scan is, told to whoever waits for it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one query, which may be several scans. Cheap to read at any time, from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    rows_total: AtomicU64,
    rows_done: AtomicU64,
    rows_matched: AtomicU64,
}

impl Progress {
    /// Rows that are to be looked at, as far as is known by now.
    #[must_use]
    pub fn rows_total(&self) -> u64 {
        self.rows_total.load(Ordering::Relaxed)
    }

    /// Rows looked at, or found not to be needed.
    #[must_use]
    pub fn rows_done(&self) -> u64 {
        self.rows_done.load(Ordering::Relaxed)
    }

    /// Rows that have passed.
    #[must_use]
    pub fn rows_matched(&self) -> u64 {
        self.rows_matched.load(Ordering::Relaxed)
    }

    /// Share done, 0 to 1; `None` before anything is known.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub fn share(&self) -> Option<f64> {
        let (done, total) = (self.rows_done(), self.rows_total());
        (total > 0).then(|| (done as f64 / total as f64).min(1.0))
    }

    pub(super) fn expect(&self, rows: u64) {
        self.rows_total.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn add(&self, rows: u64, matched: u64) {
        self.rows_done.fetch_add(rows, Ordering::Relaxed);
        self.rows_matched.fetch_add(matched, Ordering::Relaxed);
    }
}
