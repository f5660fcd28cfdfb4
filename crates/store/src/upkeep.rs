//! Upkeep: what is too old goes (see `retention`), small segments are merged; then what is old moves on (see `tiers`).
//!
//! Invariants:
//! - a merge changes which files hold rows, never which rows there are;
//! - one at a time replaces segments (`Store::upkeep`); flushes go on meanwhile.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use heimdall_model::{FieldId, Timestamp};
use serde::Serialize;

use crate::block::RowBlock;
use crate::merge::merge;
use crate::segment::{COMPACTED_ROWS_MAX, Place, Segment, SegmentMeta, SegmentWriter, TableKey, day_of};
use crate::store::{Attempt, Store, StoreError};

/// Segments of a level that are merged while more may come.
const MERGE_SEGMENTS_MIN: usize = 4;
/// Most segments merged at once: each is read at the same time.
const MERGE_SEGMENTS_MAX: usize = 64;
/// Rows from which on a segment is of the next level. Only segments of one level are merged, so a row is written again
/// about once a level; those of the last one stay as they are.
pub(crate) const LEVEL_ROWS: [u64; 4] = [16_384, 65_536, 262_144, 2_097_152];

/// Asked between slices of a merge: it may wait, to let more urgent work pass, or break the merge off.
pub type Pace<'a> = dyn Fn() -> ControlFlow<()> + 'a;

/// What one round of upkeep did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UpkeepReport {
    /// Segments dropped because the retention of all their records is over.
    pub expired_segments: usize,
    /// Segments dropped to get below the size limit, or to make room on a full disk.
    pub shed_segments: usize,
    /// Rows in the dropped segments.
    pub dropped_rows: u64,
    /// Segments merged into larger ones.
    pub merged_segments: usize,
    /// Segments moved to the cold tier.
    pub cold_segments: usize,
}

pub(crate) fn level(meta: &SegmentMeta) -> usize {
    LEVEL_ROWS.iter().take_while(|rows| meta.rows >= **rows).count()
}

impl Store {
    /// Drops what retention no longer keeps, then merges segments of one table, day and level: one group a call. When there
    /// is none to merge, moves what is old to the cold tier.
    ///
    /// # Errors
    /// A file could not be read or written; what was done before stays done. That the cold tier does not answer is no error
    /// but told by [`Store::status`].
    pub fn upkeep(self: &Arc<Self>, now: Timestamp, pace: &Pace<'_>) -> Result<UpkeepReport, StoreError> {
        let _alone = self.upkeep.lock();
        let mut report = self.drop_expired(now)?;
        report.merged_segments = self.compact(now, pace)?;
        if report.merged_segments == 0 {
            report.cold_segments = self.move_to_cold(now, pace)?;
        }
        Ok(report)
    }

    /// Merges segments until no group is left to merge, as if nothing more would arrive. Hands every step to `each`: how
    /// many segments became one. Retention drops nothing.
    ///
    /// # Errors
    /// A file could not be read or written; what was merged before stays so.
    pub fn compact_all(&self, pace: &Pace<'_>, each: &mut dyn FnMut(usize)) -> Result<(), StoreError> {
        let _alone = self.upkeep.lock();
        loop {
            match self.compact(Timestamp(i64::MAX), pace)? {
                0 => return Ok(()),
                merged => each(merged),
            }
        }
    }

    fn compact(&self, now: Timestamp, pace: &Pace<'_>) -> Result<usize, StoreError> {
        let Some((table, sources)) = self.mergeable(now) else { return Ok(0) };
        let mut attempt = Attempt::new(self);
        if !self.rewrite(&mut attempt, &table, &sources, &mut Some, pace)? {
            return Ok(0);
        }
        attempt.commit(&sources.iter().map(|source| source.meta.id).collect())?;
        Ok(sources.len())
    }

    /// Writes one segment that holds what `keep` leaves of the rows of others, or none when nothing is left. `false` when it
    /// was broken off.
    pub(crate) fn rewrite(
        &self,
        attempt: &mut Attempt<'_>,
        table: &TableKey,
        sources: &[Arc<Segment>],
        keep: &mut dyn FnMut(RowBlock) -> Option<RowBlock>,
        pace: &Pace<'_>,
    ) -> Result<bool, StoreError> {
        let mut columns: Vec<FieldId> = Vec::new();
        for source in sources {
            columns.extend(source.columns()?);
        }
        columns.sort_unstable();
        columns.dedup();
        let first = sources.iter().map(|source| source.meta.min).min().unwrap_or_default();
        let mut writer: Option<SegmentWriter> = None;
        let mut is_broken_off = false;
        merge(sources, self.config.compact_memory_bytes, &mut |block| {
            if pace().is_break() {
                is_broken_off = true;
                return Ok(ControlFlow::Break(()));
            }
            let Some(block) = keep(block).filter(|block| block.rows() > 0) else {
                return Ok(ControlFlow::Continue(()));
            };
            if writer.is_none() {
                let id = self.new_segment_id();
                let columns = columns.clone();
                let created = SegmentWriter::create(&self.files, id, table, columns, first, &self.declared);
                writer = Some(created?);
            }
            if let Some(writer) = &mut writer {
                writer.write(&block)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if is_broken_off {
            return Ok(false);
        }
        if let Some(writer) = writer {
            attempt.segments.push(writer.finish()?);
        }
        Ok(true)
    }

    /// The group of segments whose merge is due first: the smallest first, as they are the most.
    fn mergeable(&self, now: Timestamp) -> Option<(TableKey, Vec<Arc<Segment>>)> {
        let state = self.state.read();
        let mut best: Option<(usize, TableKey, Vec<Arc<Segment>>)> = None;
        for (table, segments) in &state.segments {
            let mut groups: BTreeMap<(usize, i64), Vec<Arc<Segment>>> = BTreeMap::new();
            let is_open = |meta: &SegmentMeta| meta.place == Place::Local && level(meta) < LEVEL_ROWS.len();
            for segment in segments.iter().filter(|segment| is_open(&segment.meta) && segment.is_sound()) {
                let key = (level(&segment.meta), day_of(segment.meta.min));
                groups.entry(key).or_default().push(Arc::clone(segment));
            }
            for ((level, _), group) in groups {
                let Some(group) = self.worth_merging(level, group, now) else { continue };
                let beats = |(best_level, _, best): &(usize, TableKey, Vec<Arc<Segment>>)| {
                    (level, usize::MAX - group.len()) < (*best_level, usize::MAX - best.len())
                };
                if best.as_ref().is_none_or(beats) {
                    best = Some((level, table.clone(), group));
                }
            }
        }
        best.map(|(_, table, group)| (table, group))
    }

    /// What of a level's segments of one day is to be merged now, if anything.
    fn worth_merging(
        &self,
        level: usize,
        mut group: Vec<Arc<Segment>>,
        now: Timestamp,
    ) -> Option<Vec<Arc<Segment>>> {
        let settle_ns = i64::try_from(self.config.settle_age.as_nanos()).unwrap_or(i64::MAX);
        let is_settled = |segment: &Arc<Segment>| now.0.saturating_sub(segment.meta.arrived.0) >= settle_ns;
        let is_largest = level + 1 == LEVEL_ROWS.len();
        let all_settled = group.iter().all(is_settled);
        // The largest are the dearest to merge, and a burst that writes many of them needs the machine for itself.
        group.retain(|segment| !is_largest || is_settled(segment));
        group.sort_by_key(|segment| segment.meta.id);
        group.truncate(MERGE_SEGMENTS_MAX);
        let mut rows = 0;
        group.retain(|segment| {
            let fits = rows + segment.meta.rows <= COMPACTED_ROWS_MAX as u64;
            rows += if fits { segment.meta.rows } else { 0 };
            fits
        });
        let is_full = rows > COMPACTED_ROWS_MAX as u64 / 2;
        let is_worth = group.len() >= MERGE_SEGMENTS_MIN || (group.len() > 1 && (all_settled || is_full));
        is_worth.then_some(group)
    }
}
