//! Counts by bucket of event time, for windows over many events.
//!
//! Invariants:
//! - sorted by bucket, only buckets that saw something, none older than the horizon behind the newest;
//! - a record for a bucket behind the horizon is refused.
//!
//! Cost: 16 bytes for each bucket that saw something.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Counts of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// Event time divided by the width.
    pub(crate) at: i64,
    pub(crate) total: u32,
    pub(crate) errors: u32,
}

/// Counts of one key.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Buckets {
    buckets: VecDeque<Bucket>,
}

impl Buckets {
    /// The newest bucket.
    pub(crate) fn newest(&self) -> Option<Bucket> {
        self.buckets.back().copied()
    }

    /// Counts one record and returns its bucket, unless it lies more than `horizon` buckets behind the newest.
    pub(crate) fn add(&mut self, at: i64, error: bool, horizon: i64) -> Option<Bucket> {
        let newest = self.buckets.back().map_or(at, |bucket| bucket.at.max(at));
        if at < newest.saturating_sub(horizon) {
            return None;
        }
        while self.buckets.front().is_some_and(|bucket| bucket.at < newest.saturating_sub(horizon)) {
            self.buckets.pop_front();
        }
        let index = match self.buckets.back() {
            Some(last) if last.at == at => self.buckets.len() - 1,
            _ => self.place(at),
        };
        let bucket = &mut self.buckets[index];
        bucket.total = bucket.total.saturating_add(1);
        bucket.errors = bucket.errors.saturating_add(u32::from(error));
        Some(*bucket)
    }

    fn place(&mut self, at: i64) -> usize {
        let index = self.buckets.partition_point(|bucket| bucket.at < at);
        if self.buckets.get(index).is_none_or(|bucket| bucket.at != at) {
            self.buckets.insert(index, Bucket { at, total: 0, errors: 0 });
        }
        index
    }

    /// Totals and errors of the buckets in `from..=to`.
    pub(crate) fn sum(&self, from: i64, to: i64) -> (u64, u64) {
        self.range(from, to).fold((0, 0), |(total, errors), bucket| {
            (total + u64::from(bucket.total), errors + u64::from(bucket.errors))
        })
    }

    /// Buckets in `from..=to` that saw something, newest first.
    pub(crate) fn range(&self, from: i64, to: i64) -> impl Iterator<Item = &Bucket> {
        let newest_first = self.buckets.iter().rev();
        newest_first.skip_while(move |bucket| bucket.at > to).take_while(move |bucket| bucket.at >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_records_count_where_they_belong_until_the_horizon() {
        let mut buckets = Buckets::default();
        for (at, error) in [(10, false), (12, true), (10, true), (11, false), (12, false)] {
            assert!(buckets.add(at, error, 5).is_some());
        }
        assert_eq!(buckets.sum(10, 12), (5, 2));
        assert_eq!(buckets.sum(11, 11), (1, 0));
        assert_eq!(buckets.add(6, false, 5), None);
        assert_eq!(buckets.add(17, false, 5).map(|bucket| bucket.total), Some(1));
        assert_eq!(buckets.sum(0, 20), (3, 1), "what fell behind the horizon is gone");
    }
}
