//! A scan under way: the rows it is of, what it asks of them, and what it has done.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use heimdall_model::schema::{self, logs};
use heimdall_model::{FieldId, Matcher};
use parking_lot::Mutex;

use super::lanes::{Spent, Turns};
use super::units::Plan;
use super::{Along, Control, ScanError, ScanRequest, ScanStats, TimeRange};
use crate::aside::DamagedSegment;
use crate::candidates::{self, Ask, Candidates, Residue};
use crate::eval::Predicate;
use crate::fields::FieldSet;
use crate::memtable::Chunk;
use crate::pages::Columns;
use crate::segment::Segment;
use crate::store::{Store, StoreError};
use crate::view::View;

/// One scan. Shared by the threads that work at it.
pub(super) struct Scan {
    pub range: TimeRange,
    pub predicate: Predicate,
    /// What whoever asked wants of passing rows.
    pub wanted: Columns,
    /// What the filter reads.
    tested: Columns,
    /// Chunks that the range touches.
    pub chunks: Vec<Arc<Chunk>>,
    /// Segments that the range touches.
    pub segments: Vec<Arc<Segment>>,
    /// Columns that the run directory tells.
    pub told: FieldSet,
    pub turns: Arc<Turns>,
    pub spent: Spent,
    /// Rows of a part of the work.
    pub unit_rows: usize,
    /// Bytes of rows that may wait for whoever asked.
    pub bytes_max: usize,
    /// Bytes of rows that a search may hold.
    pub search_bytes_max: usize,
    control: Control,
    segments_total: usize,
    /// Segments it goes without.
    missing: Vec<DamagedSegment>,
    bytes_before: u64,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    rows_scanned: AtomicU64,
    rows_matched: AtomicU64,
    memtable_rows: AtomicU64,
    segments: Mutex<HashSet<u64>>,
}

impl Store {
    /// The filter of a request, made ready. The rows it will be asked of must have been taken before.
    pub(crate) fn predicate(self: &Arc<Self>, request: &ScanRequest) -> Result<Predicate, ScanError> {
        let matcher = Box::new(Matcher::compile(&request.filter, request.dataset)?);
        let decisions = self.decide(&request.tenant, request.dataset, &matcher.root);
        let (store, tenant) = (Arc::clone(self), request.tenant.clone());
        let text = Box::new(move |id| store.template_text(&tenant, id));
        Ok(Predicate::new(matcher, request.dataset, decisions, text))
    }

    pub(super) fn begin(
        self: &Arc<Self>,
        view: View,
        request: &ScanRequest,
        along: Along,
        control: &Control,
    ) -> Result<Scan, ScanError> {
        let dataset = request.dataset;
        let view = if control.without_damaged { view.without_damaged() } else { view };
        let missing = view.missing(request.range).cloned().collect();
        let View { mut chunks, mut segments, segments_total, .. } = view;
        // After the rows: see `decisions`.
        let predicate = self.predicate(request)?;
        let (fields, positions) = predicate.fields(dataset);
        chunks.retain(|chunk| request.range.touches(chunk.min, chunk.max));
        segments.retain(|segment| request.range.touches(segment.meta.min, segment.meta.max));
        Ok(Scan {
            range: request.range,
            wanted: wanted(request.fields.as_deref(), along),
            tested: Columns { fields, positions, coded: true },
            told: [dataset.service(), logs::TEMPLATE_ID].into_iter().collect(),
            bytes_before: bytes_read(&segments),
            turns: Arc::clone(&self.turns),
            spent: Spent::default(),
            unit_rows: self.config.scan_unit_rows.max(1),
            bytes_max: self.config.scan_bytes_max,
            search_bytes_max: self.config.search_bytes_max,
            control: control.clone(),
            tally: Tally::default(),
            predicate,
            chunks,
            segments,
            segments_total,
            missing,
        })
    }
}

fn wanted(fields: Option<&[FieldId]>, along: Along) -> Columns {
    let fields = fields.map_or(FieldSet::ALL, |fields| fields.iter().copied().collect());
    match along {
        Along::Ids => Columns { fields: fields.with(schema::TIMESTAMP), positions: true, coded: true },
        Along::Nothing => Columns::coded(fields),
    }
}

fn bytes_read(segments: &[Arc<Segment>]) -> u64 {
    segments.iter().map(|segment| segment.bytes_read()).sum()
}

impl Scan {
    /// The columns that have to be read to ask what is left to be asked.
    pub(super) fn tested(&self, ask: Residue) -> Columns {
        let filter = match ask.filter {
            Ask::Nothing => Columns::coded(FieldSet::default()),
            Ask::WithoutMessages => {
                Columns { fields: self.tested.fields.without(logs::MESSAGE), ..self.tested }
            }
            Ask::Everything => self.tested,
        };
        let time = if ask.time { filter.fields.with(schema::TIMESTAMP) } else { filter.fields };
        Columns { fields: time, ..filter }
    }

    pub(super) fn candidates(&self, segment: &Segment) -> Result<Candidates, StoreError> {
        // Looking where rows stand within runs takes about as long as looking at a quarter of a part.
        candidates::of(segment, &self.predicate, self.range, Some(self.unit_rows as u64 / 4))
    }

    /// The same in as few pieces as there are pages: for whom reads them one by one.
    pub(super) fn candidates_by_page(&self, segment: &Segment) -> Result<Candidates, StoreError> {
        candidates::of(segment, &self.predicate, self.range, None)
    }

    /// The work, for rows that are to be handed out.
    pub(super) fn plan(&self) -> Result<Plan, ScanError> {
        let plan = Plan::of(self)?;
        self.expect(plan.rows());
        Ok(plan)
    }

    /// The work, where rows that pass for certain need only be counted.
    pub(super) fn plan_count(&self) -> Result<Plan, ScanError> {
        let plan = Plan::of_count(self)?;
        self.expect(plan.rows());
        Ok(plan)
    }

    pub(super) fn expect(&self, rows: u64) {
        if let Some(progress) = &self.control.progress {
            progress.expect(rows);
        }
    }

    /// Takes note of rows looked at.
    pub(super) fn saw(&self, rows: usize, matched: usize) -> Result<(), ScanError> {
        let (rows, matched) = (rows as u64, matched as u64);
        self.tally.rows_scanned.fetch_add(rows, Ordering::Relaxed);
        self.tally.rows_matched.fetch_add(matched, Ordering::Relaxed);
        if let Some(progress) = &self.control.progress {
            progress.add(rows, matched);
        }
        self.check()
    }

    /// Takes note of rows that are not needed any more.
    pub(super) fn skipped(&self, rows: u64) {
        if let Some(progress) = &self.control.progress {
            progress.add(rows, 0);
        }
    }

    /// Takes note that rows looked at are of the memtable.
    pub(super) fn saw_chunk(&self, chunk: &Chunk) {
        self.tally.memtable_rows.fetch_add(chunk.block.rows() as u64, Ordering::Relaxed);
    }

    /// Takes note that something of a segment is read.
    pub(super) fn saw_segment(&self, segment: &Segment) {
        self.tally.segments.lock().insert(segment.meta.id);
    }

    /// Whether the scan may go on.
    pub(super) fn check(&self) -> Result<(), ScanError> {
        let control = &self.control;
        if control.cancelled.load(Ordering::Relaxed) {
            return Err(ScanError::Cancelled);
        }
        if control.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(ScanError::DeadlineExceeded { stats: Box::new(self.stats()) });
        }
        match control.rows_scanned_max {
            Some(max) if self.tally.rows_scanned.load(Ordering::Relaxed) > max => {
                Err(ScanError::BudgetExceeded { rows_max: max, stats: Box::new(self.stats()) })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn stats(&self) -> ScanStats {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ScanStats {
            segments_total: self.segments_total,
            segments_scanned: self.tally.segments.lock().len(),
            memtable_rows: of(&self.tally.memtable_rows),
            rows_scanned: of(&self.tally.rows_scanned),
            rows_matched: of(&self.tally.rows_matched),
            bytes_read: bytes_read(&self.segments).saturating_sub(self.bytes_before),
            missing: self.missing.clone(),
        }
    }
}
