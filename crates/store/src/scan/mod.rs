//! The one scan operator: which rows of a table pass a filter, read with as little as possible.
//!
//! - [`task`]: a scan under way, what it asks and what it has done; [`units`]: the work cut into parts
//! - [`worker`]: the rows of one part; [`lanes`]: several threads at it; [`stream`]: rows as an iterator
//! - [`search`]: the first rows in the order of time
//!
//! Invariants:
//! - an answer covers exactly the rows appended before the scan began, each once;
//! - a scan that cannot finish is an error that says why: it never returns a part as the whole;
//! - the answer does not depend on how many threads there are, nor on which is faster;
//! - cancel flag, deadline and budget are looked at after every block.
//!
//! Order of work: time range rules out segments; signatures, the run directory and page zones rule out pages; then the
//! filter's columns are read, and the other columns of passing rows only.

mod lanes;
mod progress;
mod search;
mod stream;
mod task;
mod units;
mod windows;
mod worker;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use heimdall_model::matcher::FilterError;
use heimdall_model::{Dataset, FieldId, Filter, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

use crate::aside::DamagedSegment;
use crate::block::RowBlock;
use crate::segment::Place;
use crate::sidecar::PAGE_ROWS;
use crate::store::{Store, StoreError};
use crate::view::View;

pub(crate) use lanes::{Spent, Turns, map, on_threads};
pub use progress::Progress;
pub use search::{EachHits, Hit, Order, Wanted};
pub use stream::RowStream;

use worker::Worker;

/// A span of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// First nanosecond in it.
    pub from: Timestamp,
    /// First nanosecond after it.
    pub to: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX) };

    /// The whole units of it, if there are any: spans of `unit_ns` from the epoch on. An open end stays open.
    #[must_use]
    pub fn whole(self, unit_ns: i64) -> Option<TimeRange> {
        let floor = |ns: i64| ns.div_euclid(unit_ns).checked_mul(unit_ns);
        let from = if self.from == TimeRange::ALL.from {
            self.from.0
        } else {
            floor(self.from.0.checked_add(unit_ns - 1)?)?
        };
        let to = if self.to == TimeRange::ALL.to { self.to.0 } else { floor(self.to.0)? };
        (from < to).then_some(TimeRange { from: Timestamp(from), to: Timestamp(to) })
    }

    /// What of it lies before and after a part of it; all of it without one.
    pub fn without(self, inner: Option<TimeRange>) -> impl Iterator<Item = TimeRange> {
        let ends = match inner {
            Some(inner) => {
                [TimeRange { from: self.from, to: inner.from }, TimeRange { from: inner.to, to: self.to }]
            }
            None => [self, TimeRange { from: self.to, to: self.to }],
        };
        ends.into_iter().filter(|end| end.from < end.to)
    }

    /// What lies in both.
    pub(crate) fn intersection(self, other: TimeRange) -> TimeRange {
        TimeRange { from: self.from.max(other.from), to: self.to.min(other.to) }
    }

    /// From where the first begins to where the last ends.
    pub(crate) fn joined(self, other: TimeRange) -> TimeRange {
        TimeRange { from: self.from.min(other.from), to: self.to.max(other.to) }
    }

    pub(crate) fn covers(self, min: Timestamp, max: Timestamp) -> bool {
        self.from <= min && max < self.to
    }

    pub(crate) fn touches(self, min: Timestamp, max: Timestamp) -> bool {
        self.from <= max && min < self.to
    }
}

/// What to scan.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// Owner of the rows.
    pub tenant: Tenant,
    /// Which dataset.
    pub dataset: Dataset,
    /// Event times of interest.
    pub range: TimeRange,
    /// Which rows.
    pub filter: Filter,
    /// Fields wanted; event times and positions, which make the ids, come along unless the call says otherwise. `None`
    /// is all of them.
    pub fields: Option<Vec<FieldId>>,
}

/// Bounds of one scan. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Set by whoever no longer wants the answer.
    pub cancelled: Arc<AtomicBool>,
    /// Go without segments that are set aside, and tell of them in [`ScanStats::missing`]; otherwise they are an error.
    pub without_damaged: bool,
    /// Most rows to look at.
    pub rows_scanned_max: Option<u64>,
    /// Where to tell how far the scan is.
    pub progress: Option<Arc<Progress>>,
}

/// What a scan did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ScanStats {
    /// Segments of the table.
    pub segments_total: usize,
    /// Segments of which something was read.
    pub segments_scanned: usize,
    /// Rows of the memtable that were looked at.
    pub memtable_rows: u64,
    /// Rows looked at, memtable included.
    pub rows_scanned: u64,
    /// Rows that passed.
    pub rows_matched: u64,
    /// Bytes read from segment files.
    pub bytes_read: u64,
    /// Segments the answer goes without, because they are damaged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<DamagedSegment>,
}

impl ScanStats {
    /// Adds what another scan of the same table did.
    pub fn add(&mut self, other: &ScanStats) {
        self.segments_total = self.segments_total.max(other.segments_total);
        self.segments_scanned += other.segments_scanned;
        self.memtable_rows += other.memtable_rows;
        self.rows_scanned += other.rows_scanned;
        self.rows_matched += other.rows_matched;
        self.bytes_read += other.bytes_read;
        let more = other.missing.iter().filter(|damaged| !self.missing.contains(damaged));
        self.missing.extend(more.cloned().collect::<Vec<_>>());
    }
}

/// Why a scan has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// Whoever asked no longer wants it.
    #[error("the query was cancelled")]
    Cancelled,
    /// The deadline passed.
    #[error("the query ran out of time after {} rows", stats.rows_scanned)]
    DeadlineExceeded {
        /// What was done until then.
        stats: Box<ScanStats>,
    },
    /// The row budget is spent.
    #[error("the query looked at more than {rows_max} rows")]
    BudgetExceeded {
        /// The budget.
        rows_max: u64,
        /// What was done until then.
        stats: Box<ScanStats>,
    },
    /// The rows found do not fit memory's share of one answer.
    #[error("the rows found are larger than {} MiB; ask for fewer rows or fewer fields", bytes_max >> 20)]
    AnswerTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The filter does not compile.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A segment could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread of the scan came to a bad end.
    #[error("a thread of the scan ended early")]
    ThreadLost,
}

/// What a scan would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScanPlan {
    /// Segments of the table.
    pub segments_total: usize,
    /// Segments of which something would be read.
    pub segments: usize,
    /// Rows of the table, memtable included.
    pub rows_total: u64,
    /// Rows that would be looked at, at most.
    pub rows_estimate: u64,
    /// Bytes that would be read at most.
    pub bytes_estimate: u64,
    /// What rules rows out, in words.
    pub pruning: Vec<String>,
}

/// What rows handed out carry besides the fields asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Event time and position: their ids, and their places in the order of events.
    Ids,
    /// Nothing: the event time only when it is among the fields.
    Nothing,
}

impl Store {
    /// Hands every passing row to `each`, in blocks, in no particular order but always the same.
    ///
    /// # Errors
    /// [`ScanError`]; what `each` has seen until then is not the whole.
    pub fn scan(
        self: &Arc<Self>,
        request: &ScanRequest,
        control: &Control,
        each: &mut dyn FnMut(&RowBlock) -> ControlFlow<()>,
    ) -> Result<ScanStats, ScanError> {
        self.scan_in(&self.view(&request.tenant, request.dataset), request, control, each)
    }

    /// As [`Store::scan`], of the rows of a view. The view is of the request's tenant and dataset.
    ///
    /// # Errors
    /// [`ScanError`]; what `each` has seen until then is not the whole.
    pub fn scan_in(
        self: &Arc<Self>,
        view: &View,
        request: &ScanRequest,
        control: &Control,
        each: &mut dyn FnMut(&RowBlock) -> ControlFlow<()>,
    ) -> Result<ScanStats, ScanError> {
        let scan = Arc::new(self.begin(view.clone(), request, Along::Ids, control)?);
        let plan = scan.plan()?;
        if plan.lanes() > 1 {
            let mut stream = RowStream::new(Arc::clone(&scan), plan, None);
            while let Some(block) = stream.next().transpose()? {
                if each(&block).is_break() {
                    break;
                }
            }
            return Ok(scan.stats());
        }
        let mut worker = Worker::default();
        for unit in &plan.units {
            if worker.read(&scan, unit, &mut |block, _| each(&block))?.is_break() {
                break;
            }
        }
        Ok(scan.stats())
    }

    /// The passing rows as an iterator of blocks, read ahead by threads of its own within
    /// [`crate::StoreConfig::scan_bytes_max`]; at most `limit` rows. In no particular order but always the same.
    ///
    /// # Errors
    /// [`ScanError`] when the scan cannot begin.
    pub fn stream(
        self: &Arc<Self>,
        request: &ScanRequest,
        along: Along,
        control: &Control,
        limit: Option<usize>,
    ) -> Result<RowStream, ScanError> {
        let view = self.view(&request.tenant, request.dataset);
        let scan = Arc::new(self.begin(view, request, along, control)?);
        let plan = scan.plan()?;
        Ok(RowStream::new(scan, plan, limit))
    }

    /// Folds every passing row: several threads each fold a part into a state of their own, and the states are merged
    /// in a fixed order. `each` must not scan this store. Returns the state even when the scan failed: it then covers a
    /// part of the rows.
    ///
    /// # Errors
    /// [`ScanError`]. That `each` breaks off is no error: the state says why.
    pub fn fold<S: Send>(
        self: &Arc<Self>,
        request: &ScanRequest,
        along: Along,
        control: &Control,
        make: impl Fn() -> S + Sync,
        each: impl Fn(&mut S, &RowBlock) -> ControlFlow<()> + Sync,
        merge: impl FnMut(&mut S, S),
    ) -> (S, Result<ScanStats, ScanError>) {
        let view = self.view(&request.tenant, request.dataset);
        self.fold_in(&view, request, along, control, make, each, merge)
    }

    /// As [`Store::fold`], of the rows of a view. The view is of the request's tenant and dataset.
    ///
    /// # Errors
    /// [`ScanError`].
    #[expect(clippy::too_many_arguments, reason = "what to read, and the three parts of a fold")]
    pub fn fold_in<S: Send>(
        self: &Arc<Self>,
        view: &View,
        request: &ScanRequest,
        along: Along,
        control: &Control,
        make: impl Fn() -> S + Sync,
        each: impl Fn(&mut S, &RowBlock) -> ControlFlow<()> + Sync,
        mut merge: impl FnMut(&mut S, S),
    ) -> (S, Result<ScanStats, ScanError>) {
        let begun = self.begin(view.clone(), request, along, control);
        let begun = begun.and_then(|scan| scan.plan().map(|plan| (scan, plan)));
        let (scan, plan) = match begun {
            Ok(begun) => begun,
            Err(error) => return (make(), Err(error)),
        };
        let (states, result) = lanes::fold(&scan, &plan, &make, &|worker, state, unit| {
            worker.read(&scan, unit, &mut |block, _| each(state, &block))
        });
        let mut states = states.into_iter();
        let mut all = states.next().unwrap_or_else(&make);
        states.for_each(|state| merge(&mut all, state));
        (all, result.map(|()| scan.stats()))
    }

    /// Counts the passing rows, without reading what signatures, runs and zones already decide.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn count(
        self: &Arc<Self>,
        request: &ScanRequest,
        control: &Control,
    ) -> Result<(u64, ScanStats), ScanError> {
        self.count_in(&self.view(&request.tenant, request.dataset), request, control)
    }

    /// As [`Store::count`], of the rows of a view. The view is of the request's tenant and dataset.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn count_in(
        self: &Arc<Self>,
        view: &View,
        request: &ScanRequest,
        control: &Control,
    ) -> Result<(u64, ScanStats), ScanError> {
        let request = ScanRequest { fields: Some(Vec::new()), ..request.clone() };
        let scan = self.begin(view.clone(), &request, Along::Nothing, control)?;
        let plan = scan.plan_count()?;
        let (counts, result) = lanes::fold(&scan, &plan, &|| 0, &|worker, count: &mut u64, unit| {
            *count += worker.count(&scan, unit)?;
            Ok(ControlFlow::Continue(()))
        });
        result?;
        let count = plan.yes_rows + counts.iter().sum::<u64>();
        Ok((count, ScanStats { rows_matched: count, ..scan.stats() }))
    }

    /// What a scan would do, without doing it. It would go without segments that are set aside.
    ///
    /// # Errors
    /// The filter does not compile, or a sidecar cannot be read.
    pub fn explain(self: &Arc<Self>, request: &ScanRequest) -> Result<ScanPlan, ScanError> {
        let view = self.view(&request.tenant, request.dataset).without_damaged();
        let damaged = view.missing(request.range).count();
        let (all_segments, rows_of_all) = (view.segments_total, view.rows());
        let scan = self.begin(view, request, Along::Ids, &Control::default())?;
        let (mut rows, mut bytes, mut cold, mut segments) = (0, 0, 0, 0);
        let mut pages = (0, 0);
        for segment in &scan.segments {
            let candidates = scan.candidates(segment)?.rows();
            pages.0 += candidates.div_ceil(PAGE_ROWS as u64);
            pages.1 += segment.meta.rows.div_ceil(PAGE_ROWS as u64);
            segments += usize::from(candidates > 0);
            rows += candidates;
            let here = segment.meta.bytes * candidates / segment.meta.rows.max(1);
            bytes += here;
            cold += if segment.meta.place == Place::Cold { here } else { 0 };
        }
        let memtable: u64 = scan.chunks.iter().map(|chunk| chunk.block.rows() as u64).sum();
        Ok(ScanPlan {
            segments_total: all_segments,
            segments,
            rows_total: rows_of_all,
            rows_estimate: rows + memtable,
            bytes_estimate: bytes,
            pruning: vec![
                format!("time range: {} of {all_segments} segments", scan.segments.len()),
                format!("signatures, runs and zones: {} of {} pages", pages.0, pages.1),
                format!("memtable: {memtable} rows"),
            ]
            .into_iter()
            .chain((damaged > 0).then(|| format!("damaged and set aside: {damaged} segments")))
            .chain((cold > 0).then(|| format!("cold tier: up to {cold} bytes")))
            .collect(),
        })
    }
}
