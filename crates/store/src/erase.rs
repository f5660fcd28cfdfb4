//! Erasing: the rows that pass a filter leave every segment, wherever it is.
//!
//! Invariants:
//! - all of them go with one manifest, or none does; a row that does not pass stays, with its id;
//! - rows are decided one by one by the same filter that finds them, and as many are left out as were counted before;
//! - segments are written anew: a kept row is read, with its checksums, from the old one;
//! - a segment that cannot be read as a whole stays as it is and is named: its rows are never said to be erased.
//!
//! Rows still in memory are not touched: whoever erases writes them out before (see `heimdall-stream`), so that the journal
//! does not bring them back.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::buffer::BooleanBuffer;
use heimdall_model::Timestamp;
use serde::Serialize;

use crate::aside::DamagedSegment;
use crate::block::RowBlock;
use crate::eval::Memo;
use crate::scan::{Control, ScanError, ScanRequest};
use crate::segment::Segment;
use crate::store::{Attempt, Store, StoreError};
use crate::tiers::Tier;
use crate::upkeep::Pace;
use crate::view::View;

/// Rows of one segment that are erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErasedSegment {
    /// File name of the segment.
    pub segment: String,
    /// Where it was.
    pub tier: Tier,
    /// Rows it had.
    pub rows: u64,
    /// Rows of it that are erased.
    pub erased: u64,
}

/// What was, or would be, erased.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EraseReport {
    /// Whether it was only looked at.
    pub dry_run: bool,
    /// Segments with rows that are meant; the others are not touched.
    pub segments: Vec<ErasedSegment>,
    /// Rows erased.
    pub erased: u64,
    /// Damaged segments that hold rows that are meant, or may: they are not erased.
    pub not_erased: Vec<DamagedSegment>,
    /// Rows in memory that are meant, when it was only looked at.
    pub in_memory: u64,
    /// Rows that pass the filter afterwards, counted anew: records that arrived meanwhile. Not those of damaged segments.
    pub remaining: u64,
}

impl EraseReport {
    /// Takes note of a segment that could not be read, when it is because it is damaged.
    fn leaves(&mut self, segment: &Segment, error: ScanError) -> Result<(), ScanError> {
        match (&error, segment.damage()) {
            (ScanError::Store(StoreError::Corrupt { .. }), Some(damaged)) => {
                self.not_erased.push(damaged);
                Ok(())
            }
            _ => Err(error),
        }
    }
}

impl Store {
    /// Erases the rows of segments that pass a filter; `dry_run` only says which. Waits for upkeep that is under way. A damaged
    /// segment is told of in [`EraseReport::not_erased`].
    ///
    /// # Errors
    /// [`ScanError`]: a segment could not be read or written for another reason, or `pace` broke it off ([`ScanError::Cancelled`]). Nothing has
    /// changed then.
    pub fn erase(
        self: &Arc<Self>,
        request: &ScanRequest,
        now: Timestamp,
        dry_run: bool,
        pace: &Pace<'_>,
    ) -> Result<EraseReport, ScanError> {
        let _alone = self.upkeep.lock();
        let view = self.view(&request.tenant, request.dataset);
        let mut report = EraseReport { dry_run, ..EraseReport::default() };
        let mut concerned = Vec::new();
        for segment in view.segments.iter().filter(|it| request.range.touches(it.meta.min, it.meta.max)) {
            if pace().is_break() {
                return Err(ScanError::Cancelled);
            }
            match self.count_segment(&view, segment, request) {
                Ok(0) => {}
                Ok(rows) => concerned.push((segment, rows)),
                Err(error) => report.leaves(segment, error)?,
            }
        }
        let mut attempt = Attempt::new(self);
        if !dry_run {
            let mut left = Vec::new();
            for (segment, rows) in concerned {
                match self.leave_out(&mut attempt, segment, rows, request, pace) {
                    Ok(()) => left.push((segment, rows)),
                    Err(error) => report.leaves(segment, error)?,
                }
            }
            concerned = left;
        }
        for (segment, erased) in &concerned {
            let (tier, rows) = (Tier::of(&segment.meta, now), segment.meta.rows);
            let segment = segment.meta.parquet_name();
            report.segments.push(ErasedSegment { segment, tier, rows, erased: *erased });
            report.erased += erased;
        }
        if dry_run {
            let memory = View { segments: Vec::new(), ..view.clone() };
            report.in_memory = self.count_in(&memory, request, &Control::default())?.0;
        } else if !concerned.is_empty() {
            let dropped: HashSet<u64> = concerned.iter().map(|(segment, _)| segment.meta.id).collect();
            attempt.commit(&dropped)?;
            metrics::counter!("store_rows_dropped_total", "reason" => "erase").increment(report.erased);
        }
        let without = Control { without_damaged: true, ..Control::default() };
        report.remaining = self.past_damage(|| self.count(request, &without))?.0;
        Ok(report)
    }

    /// Writes a segment without the rows that pass a filter, of which there are `count`.
    pub(crate) fn leave_out(
        self: &Arc<Self>,
        attempt: &mut Attempt<'_>,
        segment: &Arc<Segment>,
        count: u64,
        request: &ScanRequest,
        pace: &Pace<'_>,
    ) -> Result<(), ScanError> {
        if count == segment.meta.rows {
            return Ok(());
        }
        let predicate = self.predicate(request)?;
        let (mut memo, mut left_out) = (Memo::default(), 0);
        let mut keep = |block: RowBlock| {
            let passing = predicate.evaluate(&block, &mut memo);
            let kept = BooleanBuffer::collect_bool(block.rows(), |row| {
                let time = block.timestamp(row);
                !(passing.value(row) && request.range.from <= time && time < request.range.to)
            });
            left_out += (block.rows() - kept.count_set_bits()) as u64;
            Some(block.filtered(&BooleanArray::new(kept, None)))
        };
        let table = segment.meta.table.clone();
        if !self.rewrite(attempt, &table, std::slice::from_ref(segment), &mut keep, pace)? {
            return Err(ScanError::Cancelled);
        }
        if left_out != count {
            let detail = format!("{left_out} rows pass the filter where {count} were counted");
            return Err(StoreError::Corrupt { path: segment.path(), detail }.into());
        }
        Ok(())
    }
}

/// Goes on until it is done.
pub const UNHURRIED: &Pace<'static> = &|| ControlFlow::Continue(());
