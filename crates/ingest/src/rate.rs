//! Token buckets: how many records a second each key may send.
//!
//! A batch passes when the bucket holds its tokens or is full; what it takes beyond is a debt to be waited for. So the
//! rate holds over time, and a batch larger than the burst is slowed down rather than refused for good.
//!
//! Invariants: at most [`KEYS_MAX`] keys are remembered; when all of them are busy, new keys share one bucket. Time is the caller's.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use heimdall_model::Timestamp;
use parking_lot::Mutex;

/// Keys remembered.
pub const KEYS_MAX: usize = 65_536;

/// A rate and how much of it may come at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Records a second, over time.
    pub records_per_second: f64,
    /// Records at once.
    pub burst_records: f64,
}

/// Buckets of one rate, by key.
#[derive(Debug)]
pub struct Buckets<K> {
    limit: RateLimit,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    buckets: HashMap<K, Bucket>,
    shared: Bucket,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Below zero: a debt.
    tokens: f64,
    at: Timestamp,
}

impl<K: Hash + Eq> Buckets<K> {
    /// Full buckets. A rate or burst below one is one.
    #[must_use]
    pub fn new(limit: RateLimit) -> Buckets<K> {
        let limit = RateLimit {
            records_per_second: limit.records_per_second.max(1.0),
            burst_records: limit.burst_records.max(1.0),
        };
        let shared = Bucket { tokens: limit.burst_records, at: Timestamp(i64::MIN) };
        Buckets { limit, state: Mutex::new(State { buckets: HashMap::new(), shared }) }
    }

    /// Takes `records` tokens of `key`.
    ///
    /// # Errors
    /// How long until the same would pass; nothing was taken.
    pub fn take(&self, key: K, records: usize, now: Timestamp) -> Result<(), Duration> {
        let records = as_tokens(records);
        self.with_bucket(key, now, |bucket, limit| {
            bucket.affords(records, limit)?;
            bucket.tokens -= records;
            Ok(())
        })
    }

    /// Whether [`Self::take`] would pass.
    ///
    /// # Errors
    /// How long until it would.
    pub fn check(&self, key: K, records: usize, now: Timestamp) -> Result<(), Duration> {
        self.with_bucket(key, now, |bucket, limit| bucket.affords(as_tokens(records), limit))
    }

    fn with_bucket<T>(&self, key: K, now: Timestamp, act: impl FnOnce(&mut Bucket, RateLimit) -> T) -> T {
        let mut state = self.state.lock();
        let State { buckets, shared } = &mut *state;
        if buckets.len() >= KEYS_MAX && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| {
                bucket.refill(now, self.limit);
                bucket.tokens < self.limit.burst_records
            });
        }
        let bucket = if buckets.len() < KEYS_MAX || buckets.contains_key(&key) {
            buckets.entry(key).or_insert(Bucket { tokens: self.limit.burst_records, at: now })
        } else {
            shared
        };
        bucket.refill(now, self.limit);
        act(bucket, self.limit)
    }
}

impl Bucket {
    fn refill(&mut self, now: Timestamp, limit: RateLimit) {
        if now > self.at {
            let ns = u64::try_from(now.0.saturating_sub(self.at.0)).unwrap_or(0);
            let seconds = Duration::from_nanos(ns).as_secs_f64();
            self.tokens = (self.tokens + seconds * limit.records_per_second).min(limit.burst_records);
            self.at = now;
        }
    }

    fn affords(&self, records: f64, limit: RateLimit) -> Result<(), Duration> {
        let needed = records.min(limit.burst_records) - self.tokens;
        if needed <= 0.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64(needed / limit.records_per_second))
    }
}

#[expect(clippy::cast_precision_loss, reason = "batches are far below 2^52 records")]
fn as_tokens(records: usize) -> f64 {
    records as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn the_rate_holds_over_time_and_a_large_batch_is_a_debt() {
        let buckets = Buckets::new(RateLimit { records_per_second: 10.0, burst_records: 20.0 });
        let start = Timestamp(0);
        assert_eq!(buckets.take("a", 15, start), Ok(()));
        assert_eq!(buckets.take("a", 15, start), Err(Duration::from_secs(1)));
        assert_eq!(buckets.take("b", 100, start), Ok(())); // another key; more than its burst
        assert_eq!(buckets.check("b", 1, start), Err(Duration::from_millis(8_100)));
        assert_eq!(buckets.take("a", 15, Timestamp(SECOND)), Ok(()));
        assert_eq!(buckets.take("b", 1, Timestamp(8 * SECOND)), Err(Duration::from_millis(100)));
        assert_eq!(buckets.take("b", 1, Timestamp(9 * SECOND)), Ok(()));
    }

    #[test]
    fn a_flood_of_keys_shares_one_bucket_until_others_are_idle() {
        let buckets = Buckets::new(RateLimit { records_per_second: 1.0, burst_records: 2.0 });
        (0..KEYS_MAX).for_each(|key| buckets.take(key, 1, Timestamp(0)).expect("a full bucket"));
        assert_eq!(buckets.take(KEYS_MAX + 1, 2, Timestamp(0)), Ok(()));
        assert_eq!(buckets.take(KEYS_MAX + 2, 1, Timestamp(0)), Err(Duration::from_secs(1)));
        assert_eq!(buckets.take(KEYS_MAX + 3, 2, Timestamp(SECOND)), Ok(()));
        assert_eq!(buckets.state.lock().buckets.len(), 1);
    }
}
