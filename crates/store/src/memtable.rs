//! Rows of one table that no segment holds yet: searchable from the moment they are appended.
//!
//! Invariants:
//! - a sealed chunk never changes; small appends gather in one active batch of at most [`ACTIVE_ROWS_MAX`] rows;
//! - a snapshot sees every append that returned before it, and no part of a later one.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use heimdall_model::{Batch, Target, Timestamp};
use parking_lot::Mutex;

use crate::block::RowBlock;
use crate::sidecar::kind;
use crate::summary::{Block, CountsBuilder, ValuesBuilder};

/// Rows the active batch holds before it is sealed; a batch at least this large becomes a chunk of its own.
pub(crate) const ACTIVE_ROWS_MAX: usize = 4096;

/// An immutable block of rows with its bounds, and its summaries once they were asked for.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub block: RowBlock,
    pub min: Timestamp,
    pub max: Timestamp,
    pub bytes: usize,
    counts: OnceLock<Vec<Block>>,
    values: OnceLock<Vec<Block>>,
}

impl Chunk {
    pub(crate) fn new(block: RowBlock) -> Chunk {
        let times = || (0..block.rows()).map(|row| block.timestamp(row));
        let (min, max) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        let bytes = block.byte_size();
        Chunk { min, max, bytes, block, counts: OnceLock::new(), values: OnceLock::new() }
    }

    /// Bytes of a block of the summary: `None` when there is none, `Some(None)` when it is not made yet.
    pub(crate) fn summary_bytes(&self, kind: u32) -> Option<Option<u64>> {
        let made = if is_of_values(kind) { self.values.get() } else { self.counts.get() };
        let Some(blocks) = made else { return Some(None) };
        blocks.iter().find(|(of, _)| *of == kind).map(|(_, bytes)| Some(bytes.len() as u64))
    }

    /// A block of the summary: made when first asked for, kept as long as the rows.
    pub(crate) fn summary(&self, kind: u32, declared: &[Target]) -> Option<Bytes> {
        let blocks = if is_of_values(kind) {
            self.values.get_or_init(|| {
                let mut values = ValuesBuilder::new(declared, false);
                values.add(&self.block);
                values.finish(false)
            })
        } else {
            self.counts.get_or_init(|| {
                let mut counts = CountsBuilder::default();
                counts.add(&self.block);
                counts.finish()
            })
        };
        blocks.iter().find(|(of, _)| *of == kind).map(|(_, bytes)| bytes.clone())
    }
}

/// Whether a block is of the values of fields, not of counts.
fn is_of_values(kind: u32) -> bool {
    matches!(kind, kind::HOUR_CUBES | kind::FIELD_STATISTICS) || kind >= kind::CUBE_FIRST
}

/// The memtable of one tenant's dataset.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    sealed: Vec<Arc<Chunk>>,
    active: Option<Active>,
    /// The active rows as a chunk, made by the first snapshot after an append.
    view: Mutex<Option<Arc<Chunk>>>,
    pub rows: usize,
    pub bytes: usize,
}

#[derive(Debug)]
struct Active {
    batch: Batch,
    positions: Vec<u64>,
    observed: Vec<i64>,
}

impl Active {
    fn to_chunk(&self) -> Chunk {
        Chunk::new(RowBlock::from_batch(self.batch.clone(), self.positions.clone(), self.observed.clone()))
    }
}

/// Positions and arrival times of a batch's rows.
fn origins(batch: &Batch) -> (Vec<u64>, Vec<i64>) {
    let positions = (0..batch.rows() as u64).map(|row| batch.base.0 + row).collect();
    (positions, vec![batch.observed.0; batch.rows()])
}

impl Memtable {
    /// Adds a batch whose base position is set.
    pub(crate) fn append(&mut self, batch: Batch) {
        *self.view.get_mut() = None;
        self.rows += batch.rows();
        self.bytes += batch.byte_size() + batch.rows() * 16;
        let (positions, observed) = origins(&batch);
        if batch.rows() >= ACTIVE_ROWS_MAX {
            self.sealed.push(Arc::new(Chunk::new(RowBlock::from_batch(batch, positions, observed))));
            return;
        }
        match &mut self.active {
            None => self.active = Some(Active { batch, positions, observed }),
            Some(active) => {
                active.batch.append(&batch);
                active.positions.extend(positions);
                active.observed.extend(observed);
            }
        }
        if self.active.as_ref().is_some_and(|active| active.positions.len() >= ACTIVE_ROWS_MAX) {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if let Some(Active { batch, positions, observed }) = self.active.take() {
            self.sealed.push(Arc::new(Chunk::new(RowBlock::from_batch(batch, positions, observed))));
        }
        *self.view.get_mut() = None;
    }

    /// Every row, as chunks.
    pub(crate) fn snapshot(&self) -> Vec<Arc<Chunk>> {
        let mut chunks = self.sealed.clone();
        if let Some(active) = &self.active {
            let mut view = self.view.lock();
            chunks.push(Arc::clone(view.get_or_insert_with(|| Arc::new(active.to_chunk()))));
        }
        chunks
    }

    /// Every row, as chunks that need no copy.
    pub(crate) fn into_chunks(mut self) -> Vec<Arc<Chunk>> {
        self.seal();
        self.sealed
    }
}
