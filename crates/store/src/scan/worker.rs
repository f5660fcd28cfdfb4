//! One thread's work at a scan: the passing rows of a part.
//!
//! Invariant: what a thread remembers from part to part changes how fast it is, never what it finds.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::buffer::{BooleanBuffer, ScalarBuffer};

use super::task::Scan;
use super::units::Unit;
use super::{ScanError, TimeRange};
use crate::block::RowBlock;
use crate::candidates::{Ask, Piece, Residue};
use crate::eval::Memo;
use crate::memtable::Chunk;
use crate::pages::{Buffers, Columns};
use crate::segment::Segment;

/// Takes passing rows, with their numbers in the chunk or segment.
pub(super) type EachRows<'a> = dyn FnMut(RowBlock, &[u32]) -> ControlFlow<()> + 'a;
/// Takes rows looked at, which of them pass, and their numbers.
type EachMask<'a> = dyn FnMut(RowBlock, BooleanBuffer, &[u32]) -> ControlFlow<()> + 'a;

/// What a thread keeps from part to part.
#[derive(Default)]
pub(super) struct Worker {
    memo: Memo,
    buffers: Arc<Buffers>,
    /// Whether most rows passed of late: then all columns are read together.
    is_dense: bool,
}

impl Worker {
    /// Hands out the passing rows of a part.
    pub(super) fn read(
        &mut self,
        scan: &Scan,
        unit: &Unit,
        each: &mut EachRows<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        match unit {
            Unit::Chunk(chunk) => self.chunk(scan, chunk, each),
            Unit::Pages(segment, pieces) => self.pages(scan, segment, pieces, each),
        }
    }

    /// Counts the passing rows of a part.
    pub(super) fn count(&mut self, scan: &Scan, unit: &Unit) -> Result<u64, ScanError> {
        let mut count = 0;
        match unit {
            Unit::Chunk(chunk) => count += self.chunk_mask(scan, chunk)?.count_set_bits(),
            Unit::Pages(segment, pieces) => {
                for (ask, ranges) in by_residue(pieces) {
                    let columns = scan.tested(ask);
                    let _ = self.masks(scan, segment, &ranges, ask, columns, &mut |_, mask, _| {
                        count += mask.count_set_bits();
                        ControlFlow::Continue(())
                    })?;
                }
            }
        }
        Ok(count as u64)
    }

    fn chunk_mask(&mut self, scan: &Scan, chunk: &Chunk) -> Result<BooleanBuffer, ScanError> {
        let time = !scan.range.covers(chunk.min, chunk.max);
        let mask = self.mask(scan, &chunk.block, Residue { filter: Ask::Everything, time });
        scan.saw_chunk(chunk);
        scan.saw(chunk.block.rows(), mask.count_set_bits())?;
        Ok(mask)
    }

    fn chunk(
        &mut self,
        scan: &Scan,
        chunk: &Chunk,
        each: &mut EachRows<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let mask = self.chunk_mask(scan, chunk)?;
        if mask.count_set_bits() == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let numbers: Vec<u32> =
            mask.set_indices().map(|row| u32::try_from(row).expect("chunks are small")).collect();
        let block = chunk.block.projected(scan.wanted);
        let block = if numbers.len() == block.rows() { block } else { passing(&block, mask) };
        Ok(each(block, &numbers))
    }

    /// The passing rows of some pieces of a segment.
    pub(super) fn pages(
        &mut self,
        scan: &Scan,
        segment: &Segment,
        pieces: &[Piece],
        each: &mut EachRows<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        for (ask, ranges) in by_residue(pieces) {
            let flow = if ask == Residue::NOTHING {
                self.masks(scan, segment, &ranges, ask, scan.wanted, &mut |block, _, rows| each(block, rows))?
            } else {
                self.passing(scan, segment, &ranges, ask, each)?
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn passing(
        &mut self,
        scan: &Scan,
        segment: &Segment,
        ranges: &[Range<usize>],
        ask: Residue,
        each: &mut EachRows<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let (tested, wanted) = (scan.tested(ask), scan.wanted);
        let all = Columns {
            fields: tested.fields.union(wanted.fields),
            positions: tested.positions | wanted.positions,
            coded: true,
        };
        let more = wanted.fields.minus(tested.fields).minus(scan.told);
        let is_tested = more.is_empty() && (tested.positions || !wanted.positions);
        let (mut rows, mut numbers) = (0, Vec::new());
        if is_tested || self.is_dense {
            let mut hits = 0;
            let flow = self.masks(scan, segment, ranges, ask, all, &mut |block, mask, of| {
                rows += of.len();
                hits += mask.count_set_bits();
                numbers.clear();
                numbers.extend(mask.set_indices().map(|row| of[row]));
                if numbers.is_empty() {
                    return ControlFlow::Continue(());
                }
                let block = block.projected(wanted);
                each(if numbers.len() == of.len() { block } else { passing(&block, mask) }, &numbers)
            })?;
            self.is_dense = hits * 2 >= rows;
            return Ok(flow);
        }
        let _ = self.masks(scan, segment, ranges, ask, tested, &mut |_, mask, of| {
            rows += of.len();
            numbers.extend(mask.set_indices().map(|row| of[row]));
            ControlFlow::Continue(())
        })?;
        self.is_dense = numbers.len() * 2 >= rows;
        self.fetch(scan, segment, &ranges_of(&numbers), wanted, each)
    }

    /// Reads columns of rows that are known to pass.
    pub(super) fn fetch(
        &mut self,
        scan: &Scan,
        segment: &Segment,
        ranges: &[Range<usize>],
        columns: Columns,
        each: &mut EachRows<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let mut result = Ok(ControlFlow::Continue(()));
        if !ranges.is_empty() {
            segment.read(ranges, columns, &self.buffers, &mut |block, rows| {
                result = scan.check().map(|()| each(block, rows));
                if matches!(result, Ok(ControlFlow::Continue(()))) {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
        }
        result
    }

    /// Reads rows and says which of them pass.
    fn masks(
        &mut self,
        scan: &Scan,
        segment: &Segment,
        ranges: &[Range<usize>],
        ask: Residue,
        columns: Columns,
        each: &mut EachMask<'_>,
    ) -> Result<ControlFlow<()>, ScanError> {
        scan.saw_segment(segment);
        let buffers = Arc::clone(&self.buffers);
        let mut result = Ok(ControlFlow::Continue(()));
        segment.read(ranges, columns, &buffers, &mut |block, rows| {
            let mask = self.mask(scan, &block, ask);
            result = scan.saw(rows.len(), mask.count_set_bits()).map(|()| each(block, mask, rows));
            if matches!(result, Ok(ControlFlow::Continue(()))) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        result
    }

    /// Which rows of a block pass what is left to be asked.
    fn mask(&mut self, scan: &Scan, block: &RowBlock, ask: Residue) -> BooleanBuffer {
        let mask = match ask.filter {
            Ask::Nothing => BooleanBuffer::new_set(block.rows()),
            Ask::WithoutMessages | Ask::Everything => scan.predicate.evaluate(block, &mut self.memo),
        };
        if !ask.time {
            return mask;
        }
        &mask & &in_range(block.times(), scan.range)
    }
}

/// Which of some times lie in a range.
fn in_range(times: &[i64], range: TimeRange) -> BooleanBuffer {
    // One comparison: what lies before the range wraps around to far beyond its end.
    let past = |time: i64| time.wrapping_sub(range.from.0).cast_unsigned();
    let length = if range.from < range.to { past(range.to.0) } else { 0 };
    let words = times.chunks(64).map(|times| {
        times.iter().rev().fold(0_u64, |word, time| word << 1 | u64::from(past(*time) < length))
    });
    BooleanBuffer::new(words.collect::<ScalarBuffer<u64>>().into_inner(), 0, times.len())
}

fn passing(block: &RowBlock, mask: BooleanBuffer) -> RowBlock {
    block.filtered(&BooleanArray::new(mask, None))
}

/// The ranges of pieces, by what is left to be asked of them.
fn by_residue(pieces: &[Piece]) -> Vec<(Residue, Vec<Range<usize>>)> {
    let mut groups: Vec<(Residue, Vec<Range<usize>>)> = Vec::new();
    for piece in pieces {
        match groups.iter_mut().find(|(ask, _)| *ask == piece.ask) {
            Some((_, ranges)) => ranges.push(piece.rows.clone()),
            None => groups.push((piece.ask, std::iter::once(piece.rows.clone()).collect())),
        }
    }
    groups
}

/// Rising row numbers as ranges.
pub(super) fn ranges_of(numbers: &[u32]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for number in numbers.iter().map(|number| *number as usize) {
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use heimdall_model::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_in_range_or_not(
            times in prop::collection::vec(prop_oneof![any::<i64>(), -9..9_i64, Just(i64::MIN), Just(i64::MAX)], 0..200),
            (from, to) in prop_oneof![any::<(i64, i64)>(), (-9..9_i64, -9..9_i64), Just((i64::MIN, i64::MAX)), Just((i64::MAX, i64::MIN))],
        ) {
            let found = in_range(&times, TimeRange { from: Timestamp(from), to: Timestamp(to) });
            let expected: Vec<bool> = times.iter().map(|time| from <= *time && *time < to).collect();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
    }
}
