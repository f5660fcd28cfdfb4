//! Upkeep: retention by time and size, and merging of small segments.
//!
//! Invariants:
//! - a record is kept for the retention time from its event time or its arrival, whichever is later;
//! - nothing is removed before the manifest that no longer names it is durable;
//! - a merge changes which files hold rows, never which rows there are.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use heimdall_model::Timestamp;
use serde::Serialize;

use crate::manifest::Manifest;
use crate::memtable::Chunk;
use crate::segment::{SEGMENT_ROWS_MAX, Segment, SegmentMeta, TableKey};
use crate::store::{Store, StoreError};

/// Fewest small segments of a day worth merging.
const MERGE_SEGMENTS_MIN: usize = 4;
const DAY_NS: i64 = 86_400_000_000_000;

/// What one round of upkeep did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UpkeepReport {
    /// Segments dropped because the retention of all their records is over.
    pub expired_segments: usize,
    /// Segments dropped, oldest first, to get below the size limit.
    pub shed_segments: usize,
    /// Rows in the dropped segments.
    pub dropped_rows: u64,
    /// Segments merged into larger ones.
    pub merged_segments: usize,
}

/// From when a segment's retention counts: its last arrival, or its newest event time when that is later by a clock's
/// usual error. A clock that is years ahead must not keep a segment for years.
fn newest(meta: &SegmentMeta) -> Timestamp {
    meta.arrived.max(meta.max.min(meta.arrived.saturating_add_ns(DAY_NS)))
}

impl Store {
    /// Drops what retention no longer keeps, then merges small segments of one table and day, one group a call.
    ///
    /// # Errors
    /// A file could not be read or written; nothing has changed then.
    pub fn upkeep(&self, now: Timestamp) -> Result<UpkeepReport, StoreError> {
        let mut report = self.retain(now)?;
        report.merged_segments = self.compact()?;
        Ok(report)
    }

    /// Drops what retention no longer keeps.
    ///
    /// # Errors
    /// The manifest could not be written; nothing has changed then.
    pub fn retain(&self, now: Timestamp) -> Result<UpkeepReport, StoreError> {
        let mut report = UpkeepReport::default();
        let metas = self.metas();
        let expired = |meta: &&SegmentMeta| {
            let age = now.0.saturating_sub(newest(meta).0);
            let keep = i64::try_from(self.config.retention.as_nanos()).unwrap_or(i64::MAX);
            keep > 0 && age > keep
        };
        let mut dropped: HashSet<u64> = metas.iter().filter(expired).map(|meta| meta.id).collect();
        report.expired_segments = dropped.len();
        if self.config.retention_bytes > 0 {
            let mut kept: Vec<&SegmentMeta> =
                metas.iter().filter(|meta| !dropped.contains(&meta.id)).collect();
            kept.sort_by_key(|meta| newest(meta));
            let mut bytes: u64 = kept.iter().map(|meta| meta.bytes + meta.sidecar_bytes).sum();
            for meta in kept {
                if bytes <= self.config.retention_bytes {
                    break;
                }
                bytes -= meta.bytes + meta.sidecar_bytes;
                dropped.insert(meta.id);
                report.shed_segments += 1;
            }
        }
        if !dropped.is_empty() {
            report.dropped_rows =
                metas.iter().filter(|meta| dropped.contains(&meta.id)).map(|meta| meta.rows).sum();
            self.replace(&dropped, |_| Ok(Vec::new()))?;
            metrics::counter!("store_rows_dropped_total", "reason" => "retention")
                .increment(report.dropped_rows);
        }
        Ok(report)
    }

    fn compact(&self) -> Result<usize, StoreError> {
        let Some((table, sources)) = self.mergeable() else { return Ok(0) };
        let ids: HashSet<u64> = sources.iter().map(|segment| segment.meta.id).collect();
        let mut chunks = Vec::new();
        for segment in &sources {
            let rows = usize::try_from(segment.meta.rows).unwrap_or(0);
            segment.read(std::slice::from_ref(&(0..rows)), None, &mut |block, _| {
                chunks.push(Arc::new(Chunk::new(block)));
                ControlFlow::Continue(())
            })?;
        }
        self.replace(&ids, |manifest| Ok(vec![self.write_segment(manifest, &table, &chunks)?]))?;
        Ok(sources.len())
    }

    /// The largest group of small segments of one table and day that is worth a merge.
    fn mergeable(&self) -> Option<(TableKey, Vec<Arc<Segment>>)> {
        let state = self.state.read();
        let mut largest: Option<(TableKey, Vec<Arc<Segment>>)> = None;
        for (table, segments) in &state.segments {
            let mut by_day: BTreeMap<i64, Vec<Arc<Segment>>> = BTreeMap::new();
            for segment in segments.iter().filter(|s| s.meta.rows < self.config.compact_below_rows) {
                let day = segment.meta.min.0.div_euclid(DAY_NS);
                by_day.entry(day).or_default().push(Arc::clone(segment));
            }
            for mut group in by_day.into_values() {
                group.sort_by_key(|segment| segment.meta.rows);
                let (mut rows, mut bytes) = (0, 0);
                group.retain(|segment| {
                    rows += segment.meta.rows;
                    bytes += segment.meta.memory_bytes;
                    rows <= SEGMENT_ROWS_MAX as u64 && bytes <= self.config.compact_bytes_max
                });
                let beats = |(_, best): &(TableKey, Vec<Arc<Segment>>)| group.len() > best.len();
                if group.len() >= MERGE_SEGMENTS_MIN && largest.as_ref().is_none_or(beats) {
                    largest = Some((table.clone(), group));
                }
            }
        }
        largest
    }

    /// Commits a manifest without some segments and with what `make` writes, then drops their files.
    fn replace(
        &self,
        dropped: &HashSet<u64>,
        make: impl FnOnce(&mut Manifest) -> Result<Vec<Arc<Segment>>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut current = self.manifest.lock();
        let mut next = Manifest { number: current.number + 1, ..current.clone() };
        next.segments.retain(|meta| !dropped.contains(&meta.id));
        let fresh = make(&mut next).inspect_err(|_| self.give_up(&mut current, &next))?;
        next.commit(self.disk.as_ref(), &self.root).inspect_err(|_| current.burn(&next))?;
        let mut removed = Vec::new();
        {
            let mut state = self.state.write();
            for segments in state.segments.values_mut() {
                removed.extend(segments.extract_if(.., |segment| dropped.contains(&segment.meta.id)));
            }
            for segment in fresh {
                state.segments.entry(segment.meta.table.clone()).or_default().push(segment);
            }
        }
        removed.iter().for_each(|segment| segment.retire());
        *current = next;
        Ok(())
    }
}
