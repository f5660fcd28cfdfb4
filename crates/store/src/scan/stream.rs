//! The passing rows of a scan as an iterator.
//!
//! Invariants:
//! - blocks come in the order of the parts, whatever the threads do;
//! - when the iterator is dropped its threads stop after the block they are at, and nothing is left behind.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::lanes::{Giver, Item, Lane};
use super::task::Scan;
use super::units::{Plan, Unit};
use super::worker::Worker;
use super::{ScanError, ScanStats};
use crate::block::RowBlock;
use crate::pages::READ_ROWS;

/// Blocks of passing rows. After an error there are no more.
pub struct RowStream {
    scan: Arc<Scan>,
    plan: Arc<Plan>,
    /// The part whose rows come next.
    unit: usize,
    /// Rows that are still wanted.
    room: usize,
    source: Source,
}

enum Source {
    /// The reader reads by itself: there is little.
    Own(Box<Worker>, VecDeque<RowBlock>),
    /// Threads read ahead: number `n` the parts that are `n` modulo their number.
    Lanes(Vec<Arc<Lane>>),
}

impl std::fmt::Debug for RowStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowStream").field("unit", &self.unit).finish_non_exhaustive()
    }
}

impl Drop for RowStream {
    fn drop(&mut self) {
        self.close();
    }
}

impl RowStream {
    pub(super) fn new(scan: Arc<Scan>, plan: Plan, limit: Option<usize>) -> RowStream {
        let plan = Arc::new(plan);
        let own = || Source::Own(Box::default(), VecDeque::new());
        let source = match plan.lanes() {
            1 if plan.rows() <= READ_ROWS as u64 => own(),
            lanes => lanes_of(&scan, &plan, lanes).map_or_else(own, Source::Lanes),
        };
        RowStream { scan, plan, unit: 0, room: limit.unwrap_or(usize::MAX), source }
    }

    /// What was done until now.
    #[must_use]
    pub fn stats(&self) -> ScanStats {
        self.scan.stats()
    }

    /// The next block, of any number of rows.
    fn advance(&mut self) -> Result<Option<RowBlock>, ScanError> {
        while let Some(unit) = self.plan.units.get(self.unit) {
            match &mut self.source {
                Source::Own(worker, ready) => {
                    if let Some(block) = ready.pop_front() {
                        return Ok(Some(block));
                    }
                    let _ = worker.read(&self.scan, unit, &mut |block, _| {
                        ready.push_back(block);
                        ControlFlow::Continue(())
                    })?;
                    self.unit += 1;
                }
                Source::Lanes(lanes) => match lanes[self.unit % lanes.len()].pop() {
                    Some(Item::Block(block, _)) => return Ok(Some(block)),
                    Some(Item::UnitDone) => self.unit += 1,
                    Some(Item::Failed(error)) => return Err(error),
                    None => return Err(ScanError::ThreadLost),
                },
            }
        }
        Ok(match &mut self.source {
            Source::Own(_, ready) => ready.pop_front(),
            Source::Lanes(_) => None,
        })
    }

    /// Ends it.
    fn close(&mut self) {
        self.unit = usize::MAX;
        match &mut self.source {
            Source::Own(_, ready) => ready.clear(),
            Source::Lanes(lanes) => lanes.iter().for_each(|lane| lane.close()),
        }
    }
}

impl Iterator for RowStream {
    type Item = Result<RowBlock, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.room == 0 {
            self.close();
            return None;
        }
        let next = self.advance().transpose()?.map(|block| {
            let rows = block.rows().min(self.room);
            self.room -= rows;
            if rows < block.rows() { block.first(rows) } else { block }
        });
        if next.is_err() {
            self.close();
        }
        Some(next)
    }
}

/// Starts the threads; `None` when the system has none left.
fn lanes_of(scan: &Arc<Scan>, plan: &Arc<Plan>, count: usize) -> Option<Vec<Arc<Lane>>> {
    let bytes_max = scan.bytes_max / count;
    let lanes: Vec<Arc<Lane>> = (0..count).map(|_| Arc::new(Lane::new(bytes_max))).collect();
    for (number, lane) in lanes.iter().enumerate() {
        let giver = Giver(Arc::clone(lane));
        let (scan, plan) = (Arc::clone(scan), Arc::clone(plan));
        let builder = std::thread::Builder::new().name(format!("scan-{number}"));
        let work = move || {
            let units = plan.units.iter().skip(number).step_by(count);
            let _ = give(&scan, units, &giver.0);
        };
        if builder.spawn(work).is_err() {
            lanes.iter().for_each(|lane| lane.close());
            return None;
        }
    }
    Some(lanes)
}

/// Reads parts and hands out their rows, until there is no more or the reader wants no more.
fn give<'a>(scan: &Scan, units: impl Iterator<Item = &'a Unit>, lane: &Lane) -> ControlFlow<()> {
    let mut worker = Worker::default();
    let mut turn = None;
    for unit in units {
        turn = turn.or_else(|| Some(scan.turns.take(&scan.spent)));
        let read = worker.read(scan, unit, &mut |block, _| {
            let bytes = block.byte_size();
            lane.push(Item::Block(block, bytes), (&scan.turns, &scan.spent), &mut turn)
        });
        match read {
            Ok(ControlFlow::Continue(())) => {
                lane.push(Item::UnitDone, (&scan.turns, &scan.spent), &mut turn)?
            }
            Ok(ControlFlow::Break(())) => return ControlFlow::Break(()),
            Err(error) => return lane.push(Item::Failed(error), (&scan.turns, &scan.spent), &mut turn),
        }
        // Others may go first.
        turn = None;
    }
    ControlFlow::Continue(())
}
