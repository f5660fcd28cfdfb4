//! Streams the rows of several segments in the order of one.
//!
//! Invariants:
//! - memory holds at most two blocks of each source and one slice of the result;
//! - every row of every source comes exactly once; rows come ordered by service, template, time and position;
//! - a source that is not in that order is damaged, and an error.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::block::RowBlock;
use crate::segment::{SLICE_ROWS, Segment, SegmentBlocks};
use crate::store::StoreError;

/// Fewest and most rows read of a source at once.
const BLOCK_ROWS_MIN: usize = 64;
const BLOCK_ROWS_MAX: usize = 8_192;

/// Rows of each source to read at once so that all together hold about `memory_bytes`.
pub(crate) fn block_rows(sources: &[Arc<Segment>], memory_bytes: u64) -> usize {
    let bytes: u64 = sources.iter().map(|source| source.meta.memory_bytes).sum();
    let rows: u64 = sources.iter().map(|source| source.meta.rows).sum();
    let row_bytes = (bytes / rows.max(1)).max(1);
    // Two blocks of each source, and a slice that holds copies of their rows.
    let share = memory_bytes / (3 * sources.len().max(1) as u64) / row_bytes;
    usize::try_from(share).unwrap_or(BLOCK_ROWS_MAX).clamp(BLOCK_ROWS_MIN, BLOCK_ROWS_MAX)
}

/// Hands the rows of all sources to `each`, in order, in slices, until it breaks.
pub(crate) fn merge(
    sources: &[Arc<Segment>],
    memory_bytes: u64,
    each: &mut dyn FnMut(RowBlock) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let block_rows = block_rows(sources, memory_bytes);
    let slice_rows = (block_rows * sources.len()).clamp(BLOCK_ROWS_MIN, SLICE_ROWS);
    let mut slice = Slice::default();
    let mut cursors = Vec::with_capacity(sources.len());
    let mut heap = BinaryHeap::with_capacity(sources.len());
    for source in sources {
        if let Some(cursor) = Cursor::open(source, block_rows)? {
            heap.push(Reverse((cursor.key(), cursors.len())));
            cursors.push(cursor);
        }
    }
    while let Some(Reverse((_, index))) = heap.pop() {
        let cursor = &mut cursors[index];
        let limit = heap.peek().map(|Reverse((key, _))| key);
        let room = slice_rows - slice.picks.len();
        let start = cursor.at;
        cursor.advance(limit, room);
        slice.take(cursor, start);
        if slice.picks.len() >= slice_rows && each(slice.finish(&mut cursors))?.is_break() {
            return Ok(());
        }
        let cursor = &mut cursors[index];
        if cursor.at < cursor.block.rows() || cursor.load()? {
            heap.push(Reverse((cursor.key(), index)));
        }
    }
    if !slice.picks.is_empty() {
        let _ = each(slice.finish(&mut cursors))?;
    }
    Ok(())
}

/// Rows of the result, as they stand in the blocks they come from.
#[derive(Default)]
struct Slice {
    blocks: Vec<RowBlock>,
    picks: Vec<(usize, usize)>,
}

impl Slice {
    fn take(&mut self, cursor: &mut Cursor<'_>, start: usize) {
        let block = *cursor.in_slice.get_or_insert_with(|| {
            self.blocks.push(cursor.block.clone());
            self.blocks.len() - 1
        });
        self.picks.extend((start..cursor.at).map(|row| (block, row)));
    }

    fn finish(&mut self, cursors: &mut [Cursor<'_>]) -> RowBlock {
        let blocks: Vec<&RowBlock> = self.blocks.iter().collect();
        let rows = RowBlock::interleave(&blocks, &self.picks);
        self.blocks.clear();
        self.picks.clear();
        cursors.iter_mut().for_each(|cursor| cursor.in_slice = None);
        rows
    }
}

/// A service; none comes last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service(Option<Arc<str>>);

impl Ord for Service {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Some(left), Some(right)) => left.cmp(right),
            (left, right) => left.is_none().cmp(&right.is_none()),
        }
    }
}

impl PartialOrd for Service {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What the rows of a segment are ordered by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    service: Service,
    template: u32,
    place: Place,
}

/// Time and journal position of a row.
type Place = (i64, u64);

/// Rows of a block that share service and template.
struct Stretch {
    service: Service,
    template: u32,
    end: usize,
}

impl Stretch {
    fn group(&self) -> (&Service, u32) {
        (&self.service, self.template)
    }
}

/// The next row of one source.
struct Cursor<'a> {
    segment: &'a Segment,
    blocks: SegmentBlocks<'a>,
    block: RowBlock,
    /// INVARIANT: in order, of different groups, the last one ends with the block.
    stretches: Vec<Stretch>,
    /// INVARIANT: `at` lies in `stretches[stretch]`, unless the block is used up.
    stretch: usize,
    at: usize,
    /// Number of the block in the slice under way, once a row of it is there.
    in_slice: Option<usize>,
}

impl<'a> Cursor<'a> {
    /// `None` for a segment without rows.
    fn open(segment: &'a Segment, block_rows: usize) -> Result<Option<Cursor<'a>>, StoreError> {
        let mut blocks = segment.blocks(block_rows)?;
        let Some(block) = blocks.next().transpose()? else { return Ok(None) };
        let stretches = stretches(&block);
        let cursor = Cursor { segment, blocks, block, stretches, stretch: 0, at: 0, in_slice: None };
        cursor.check(None)?;
        Ok(Some(cursor))
    }

    /// Moves to the next block; `false` when there is none.
    fn load(&mut self) -> Result<bool, StoreError> {
        let Some(block) = self.blocks.next().transpose()? else { return Ok(false) };
        let last = self.stretches.pop().map(|stretch| {
            let place = place(&self.block, self.block.rows() - 1);
            Key { service: stretch.service, template: stretch.template, place }
        });
        self.stretches = stretches(&block);
        (self.block, self.stretch, self.at, self.in_slice) = (block, 0, 0, None);
        self.check(last.as_ref())?;
        Ok(true)
    }

    /// The block is in order, and after the one before.
    fn check(&self, last: Option<&Key>) -> Result<(), StoreError> {
        let groups = self.stretches.windows(2).all(|pair| pair[0].group() < pair[1].group());
        let mut start = 0;
        let rows = self.stretches.iter().all(|stretch| {
            let rows = std::mem::replace(&mut start, stretch.end)..stretch.end;
            rows.clone().skip(1).all(|row| place(&self.block, row - 1) <= place(&self.block, row))
        });
        if groups && rows && last.is_none_or(|last| *last <= self.key()) {
            Ok(())
        } else {
            Err(self.segment.out_of_order())
        }
    }

    fn key(&self) -> Key {
        let Stretch { service, template, .. } = &self.stretches[self.stretch];
        Key { service: service.clone(), template: *template, place: place(&self.block, self.at) }
    }

    /// Goes past the rows that come before or at `limit`, at least one and at most `room`, within the block.
    fn advance(&mut self, limit: Option<&Key>, room: usize) {
        let stop = self.block.rows().min(self.at + room.max(1));
        let first = self.at;
        while self.at < stop {
            let stretch = &self.stretches[self.stretch];
            let end = stretch.end.min(stop);
            let within =
                limit.map_or(Ordering::Less, |limit| stretch.group().cmp(&(&limit.service, limit.template)));
            self.at = match (within, limit) {
                (Ordering::Equal, Some(limit)) => self.rows_until(end, limit.place).max(first + 1),
                (Ordering::Greater, _) => self.at.max(first + 1),
                _ => end,
            };
            if self.at < end {
                return;
            }
            if self.at == stretch.end {
                self.stretch += 1;
            }
            if within == Ordering::Greater {
                return;
            }
        }
    }

    /// First row before `end` that comes after `limit`.
    fn rows_until(&self, end: usize, limit: Place) -> usize {
        let (mut low, mut high) = (self.at, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if place(&self.block, middle) <= limit {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

fn place(block: &RowBlock, row: usize) -> Place {
    (block.timestamp(row).0, block.position(row).0)
}

fn stretches(block: &RowBlock) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for row in 0..block.rows() {
        let (service, template) = (block.service(row), block.template_id(row).unwrap_or(0));
        match stretches.last_mut() {
            Some(last) if last.service.0.as_deref() == service && last.template == template => last.end += 1,
            _ => {
                let service = Service(service.map(Arc::from));
                stretches.push(Stretch { service, template, end: row + 1 });
            }
        }
    }
    stretches
}
