//! What has changed since: the version of a table's rows, and which event times were touched after one.
//!
//! Invariants:
//! - two equal versions of a table have the same rows; every append, and everything that removes rows, makes a new one;
//! - a version is read before the rows it stands for: an answer computed after [`Store::version`] holds every row of
//!   that version, and rows appended meanwhile are told by [`Store::touched_since`];
//! - the log of touched times is bounded: when it is full its oldest entries become one that covers both.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use heimdall_model::{Batch, Dataset, Tenant, Timestamp};

use crate::memtable::Memtable;
use crate::segment::TableKey;
use crate::store::{State, Store};

/// Entries of the log of touched times.
const TOUCHES_MAX: usize = 1_024;

/// The state of a table's rows, for comparison: equal versions have the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataVersion {
    /// Appends since the store was opened.
    appends: u64,
    /// Rows that are gone since then, whatever removed them.
    removed: u64,
    /// Commits since then: which files hold the rows.
    commits: u64,
}

/// What has happened to the rows of one table since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    appends: u64,
    /// Rows there were at the start, and rows appended since.
    rows: u64,
    // INVARIANT: ascending by `last`; every append is in one entry.
    touches: VecDeque<Touch>,
    /// Number of appends when a version was last read: later ones get an entry of their own.
    read: AtomicU64,
}

/// Event times that some appends touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Touch {
    /// Number of the last of the appends.
    last: u64,
    min: Timestamp,
    max: Timestamp,
}

impl Changes {
    /// Notes rows found in segments at the start.
    pub(crate) fn found(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Notes an append.
    pub(crate) fn append(&mut self, rows: u64, min: Timestamp, max: Timestamp) {
        let read = *self.read.get_mut();
        self.rows += rows;
        self.appends += 1;
        let touch = Touch { last: self.appends, min, max };
        match self.touches.back_mut() {
            Some(back) if back.last > read => *back = back.and(touch),
            _ => self.touches.push_back(touch),
        }
        if self.touches.len() > TOUCHES_MAX
            && let (Some(a), Some(b)) = (self.touches.pop_front(), self.touches.pop_front())
        {
            self.touches.push_front(a.and(b));
        }
    }

    fn read(&self, rows: u64, commits: u64) -> DataVersion {
        self.read.fetch_max(self.appends, Ordering::Relaxed);
        DataVersion { appends: self.appends, removed: self.rows.wrapping_sub(rows), commits }
    }
}

impl Touch {
    /// Both; `later` came later.
    fn and(self, later: Touch) -> Touch {
        Touch { last: later.last, min: self.min.min(later.min), max: self.max.max(later.max) }
    }
}

/// Earliest and latest event time of a batch; it must not be empty.
pub(crate) fn bounds(batch: &Batch) -> (Timestamp, Timestamp) {
    batch.iter().fold((Timestamp(i64::MAX), Timestamp(i64::MIN)), |(min, max), row| {
        let time = row.timestamp();
        (min.min(time), max.max(time))
    })
}

impl State {
    /// Rows of a table that a reader sees: not those of segments that are set aside.
    fn rows(&self, table: &TableKey) -> u64 {
        let live = self.live.get(table).map_or(0, |memtable: &Memtable| memtable.rows as u64);
        let frozen = self.frozen.as_ref().map_or(0, |frozen| frozen.rows_of(table));
        let segments = self.segments.get(table).into_iter().flatten().filter(|segment| segment.is_sound());
        live + frozen + segments.map(|segment| segment.meta.rows).sum::<u64>()
    }
}

impl Store {
    /// The version of a dataset's rows as of now.
    #[must_use]
    pub fn version(&self, tenant: &Tenant, dataset: Dataset) -> DataVersion {
        let table = TableKey { tenant: tenant.clone(), dataset };
        let state = self.state.read();
        let (rows, commits) = (state.rows(&table), state.commits);
        match state.changes.get(&table) {
            Some(changes) => changes.read(rows, commits),
            None => DataVersion { appends: 0, removed: 0, commits },
        }
    }

    /// Spans of event time, ends included, outside of which the rows now are those of version `then`. `None` when rows
    /// may be missing anywhere: some were removed.
    #[must_use]
    pub fn touched_since(
        &self,
        tenant: &Tenant,
        dataset: Dataset,
        then: DataVersion,
    ) -> Option<Vec<(Timestamp, Timestamp)>> {
        let table = TableKey { tenant: tenant.clone(), dataset };
        let state = self.state.read();
        let Some(changes) = state.changes.get(&table) else {
            return (then.appends == 0 && then.removed == 0).then(Vec::new);
        };
        if changes.rows.wrapping_sub(state.rows(&table)) != then.removed || then.appends > changes.appends {
            return None;
        }
        let later = changes.touches.iter().rev().take_while(|touch| touch.last > then.appends);
        Some(later.map(|touch| (touch.min, touch.max)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(changes: &Changes, since: u64) -> Vec<(i64, i64)> {
        let later = changes.touches.iter().filter(|touch| touch.last > since);
        later.map(|touch| (touch.min.0, touch.max.0)).collect()
    }

    #[test]
    fn appends_between_two_reads_are_one_entry() {
        let mut changes = Changes::default();
        changes.append(1, Timestamp(10), Timestamp(20));
        changes.append(1, Timestamp(5), Timestamp(6));
        let before = changes.read(2, 0);
        changes.append(1, Timestamp(30), Timestamp(31));
        changes.append(1, Timestamp(32), Timestamp(33));
        assert_eq!(touched(&changes, 0), [(5, 20), (30, 33)]);
        assert_eq!(touched(&changes, before.appends), [(30, 33)]);
        assert_eq!((before.removed, changes.read(1, 0).removed), (0, 3), "rows that are gone make a version");
    }

    #[test]
    fn the_log_is_bounded_and_forgets_nothing() {
        let mut changes = Changes::default();
        for n in 0..5_000 {
            changes.append(1, Timestamp(n), Timestamp(n));
            changes.read(1, 0);
        }
        assert_eq!(changes.touches.len(), TOUCHES_MAX);
        assert_eq!(touched(&changes, 4_999), [(4_999, 4_999)]);
        let all = touched(&changes, 0);
        assert!((0..5_000).all(|n| all.iter().any(|(min, max)| (*min..=*max).contains(&n))));
    }
}
