//! The work of a scan, cut into parts of similar size.
//!
//! Invariant: the parts are the same whoever works at them.

use std::sync::Arc;

use super::ScanError;
use super::lanes;
use super::task::Scan;
use crate::candidates::{Candidates, Piece, Residue};
use crate::memtable::Chunk;
use crate::segment::{GROUP_ROWS, Segment};
use crate::sidecar::PAGE_ROWS;
use crate::store::StoreError;

/// A part of the work.
pub(super) enum Unit {
    /// Rows in memory.
    Chunk(Arc<Chunk>),
    /// Rows of one row group.
    Pages(Arc<Segment>, Vec<Piece>),
}

impl Unit {
    pub(super) fn rows(&self) -> u64 {
        match self {
            Unit::Chunk(chunk) => chunk.block.rows() as u64,
            Unit::Pages(_, pieces) => pieces.iter().map(|piece| piece.rows.len() as u64).sum(),
        }
    }
}

/// All of the work.
pub(super) struct Plan {
    pub units: Vec<Unit>,
    /// Rows that pass and are not among the units.
    pub yes_rows: u64,
    threads: usize,
    unit_rows: usize,
}

impl Plan {
    /// Every row that may pass.
    pub(super) fn of(scan: &Scan) -> Result<Plan, ScanError> {
        Plan::new(scan, |candidates| (candidates, 0))
    }

    /// Every row that may pass, those that do for certain counted only.
    pub(super) fn of_count(scan: &Scan) -> Result<Plan, ScanError> {
        Plan::new(scan, |mut candidates| {
            let yes = candidates.yes_rows();
            candidates.0.retain(|piece| piece.ask != Residue::NOTHING);
            (candidates, yes)
        })
    }

    fn new(scan: &Scan, keep: impl Fn(Candidates) -> (Candidates, u64)) -> Result<Plan, ScanError> {
        let mut units: Vec<Unit> = scan.chunks.iter().map(|chunk| Unit::Chunk(Arc::clone(chunk))).collect();
        let mut yes_rows = 0;
        for (segment, found) in scan.segments.iter().zip(candidates_of_all(scan)) {
            let (candidates, yes) = keep(found?);
            yes_rows += yes;
            let parts = parts(candidates.0, scan.unit_rows);
            units.extend(parts.into_iter().map(|pieces| Unit::Pages(Arc::clone(segment), pieces)));
        }
        Ok(Plan { units, yes_rows, threads: scan.turns.threads(), unit_rows: scan.unit_rows })
    }

    /// Rows to look at.
    pub(super) fn rows(&self) -> u64 {
        self.units.iter().map(Unit::rows).sum()
    }

    /// How many threads to work with: unit `n` is for number `n` modulo this. Another one pays for a unit's rows.
    pub(super) fn lanes(&self) -> usize {
        let worth = usize::try_from(self.rows()).unwrap_or(usize::MAX) / self.unit_rows;
        worth.min(self.units.len()).clamp(1, self.threads)
    }
}

/// The candidates of every segment, by several threads where segments are many.
fn candidates_of_all(scan: &Scan) -> Vec<Result<Candidates, StoreError>> {
    const SEGMENTS_EACH: usize = 16;
    let lanes = (scan.segments.len() / SEGMENTS_EACH).clamp(1, scan.turns.threads());
    lanes::map(&scan.turns, &scan.spent, lanes, &scan.segments, &|segment| scan.candidates(segment))
}

/// Groups pieces so that each group has about `rows` rows, of one row group.
pub(super) fn parts(pieces: Vec<Piece>, rows: usize) -> Vec<Vec<Piece>> {
    let mut groups: Vec<Vec<Piece>> = Vec::new();
    let (mut room, mut row_group) = (0, usize::MAX);
    for Piece { rows: range, ask } in pieces {
        let mut at = range.start;
        while at < range.end {
            let group = at / GROUP_ROWS;
            if room == 0 || group != row_group {
                groups.push(Vec::new());
                (room, row_group) = (rows, group);
            }
            let page_end = (at + room).next_multiple_of(PAGE_ROWS);
            let end = range.end.min(page_end).min((group + 1) * GROUP_ROWS);
            groups.last_mut().expect("one was just pushed").push(Piece { rows: at..end, ask });
            room = room.saturating_sub(end - at);
            at = end;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT_ROWS: usize = 32 * PAGE_ROWS;

    #[test]
    fn parts_hold_every_row_once_and_none_spans_row_groups() {
        let piece = |rows| Piece { rows, ask: Residue::NOTHING };
        let pieces = vec![piece(0..10), piece(20..300_000), piece(GROUP_ROWS - 5..GROUP_ROWS + 5)];
        let groups = parts(pieces.clone(), UNIT_ROWS);
        let rows = |pieces: &[Piece]| pieces.iter().flat_map(|piece| piece.rows.clone()).collect::<Vec<_>>();
        assert_eq!(groups.iter().flat_map(|group| rows(group)).collect::<Vec<_>>(), rows(&pieces));
        for group in &groups {
            let rows = rows(group);
            assert!(rows.len() <= UNIT_ROWS + PAGE_ROWS);
            let last = rows.last().expect("no group is empty");
            assert_eq!(rows[0] / GROUP_ROWS, last / GROUP_ROWS);
        }
        assert_eq!(groups.len(), 4);
    }
}
