//! The idempotency keys of durable frames, within a window of time and count.
//!
//! Invariants:
//! - `order` is in order of `seq`; `index[key]` is the ordinal of the newest entry of `key`;
//! - at most `keys_max` entries, none older than the window against the newest time seen.
//!
//! Not here: keys of appends that are not durable yet (see `shared`).

use crate::format::{Key, KeyEntry};
use std::collections::{HashMap, VecDeque};

/// Remembers which frame carried a key.
pub(crate) struct KeyTable {
    window_ns: i64,
    keys_max: usize,
    newest_ns: i64,
    order: VecDeque<KeyEntry>,
    /// Ordinal of the front of `order`; ordinals wrap.
    front: u32,
    /// The hasher is keyed: keys are chosen by clients.
    index: HashMap<Key, u32>,
}

impl KeyTable {
    pub(crate) fn new(window: std::time::Duration, keys_max: usize) -> Self {
        Self {
            window_ns: i64::try_from(window.as_nanos()).unwrap_or(i64::MAX),
            keys_max,
            newest_ns: i64::MIN,
            order: VecDeque::new(),
            front: 0,
            index: HashMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Entries `from..from + count` in order, fewer at the end.
    pub(crate) fn entries(&self, from: usize, count: usize) -> impl Iterator<Item = &KeyEntry> {
        self.order.iter().skip(from).take(count)
    }

    /// Returns the frame that carried `key`, unless it is older than the window at `time_ns`.
    pub(crate) fn get(&self, key: &Key, time_ns: i64) -> Option<&KeyEntry> {
        let position = self.index.get(key)?.wrapping_sub(self.front);
        self.order.get(position as usize).filter(|entry| !self.expired(entry, time_ns))
    }

    /// Remembers an entry of a later frame than all before, and forgets what falls out of the window.
    pub(crate) fn insert(&mut self, entry: KeyEntry) {
        self.newest_ns = self.newest_ns.max(entry.time_ns);
        let count = u32::try_from(self.order.len()).expect("keys_max is checked to be far below u32::MAX");
        self.index.insert(entry.key, self.front.wrapping_add(count));
        self.order.push_back(entry);
        while self
            .order
            .front()
            .is_some_and(|oldest| self.order.len() > self.keys_max || self.expired(oldest, self.newest_ns))
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            if self.index.get(&oldest.key) == Some(&self.front) {
                self.index.remove(&oldest.key);
            }
            self.front = self.front.wrapping_add(1);
        }
    }

    fn expired(&self, entry: &KeyEntry, now_ns: i64) -> bool {
        now_ns.saturating_sub(entry.time_ns) > self.window_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn entry(key: u8, seq: u64, time_ns: i64) -> KeyEntry {
        KeyEntry { key: [key; 16], seq, rows: 1, time_ns }
    }

    fn seq(table: &KeyTable, key: u8, time_ns: i64) -> Option<u64> {
        table.get(&[key; 16], time_ns).map(|entry| entry.seq)
    }

    #[test]
    fn forgets_by_count_and_by_time() {
        let mut table = KeyTable::new(Duration::from_nanos(10), 2);
        table.insert(entry(1, 1, 0));
        table.insert(entry(2, 2, 5));
        assert_eq!((seq(&table, 1, 10), seq(&table, 1, 11)), (Some(1), None), "expired at the asker's time");
        table.insert(entry(3, 3, 6));
        assert_eq!(
            (seq(&table, 1, 6), seq(&table, 2, 6), table.len()),
            (None, Some(2), 2),
            "the oldest gives way"
        );
        table.insert(entry(4, 4, 16));
        assert_eq!((seq(&table, 2, 6), seq(&table, 3, 16), seq(&table, 4, 16)), (None, Some(3), Some(4)));
    }

    #[test]
    fn a_key_used_again_after_its_window_is_remembered_anew() {
        let mut table = KeyTable::new(Duration::from_nanos(10), 3);
        table.insert(entry(1, 1, 0));
        table.insert(entry(1, 2, 10));
        table.insert(entry(2, 3, 12));
        assert_eq!(
            (seq(&table, 1, 12), table.len()),
            (Some(2), 2),
            "the old entry left without taking the new one along"
        );
    }
}
