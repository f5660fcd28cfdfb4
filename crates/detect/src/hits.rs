//! Single events in order of event time, for exact sliding windows over few events.
//!
//! Invariants:
//! - sorted by (time, position); at most [`HITS_MAX`], the oldest go first;
//! - a window is inclusive at both ends: `[t - within, t]`.
//!
//! Cost: 24 bytes an event, so 3 KiB a key at most; a key with few events takes what they need.

use std::collections::VecDeque;

use heimdall_model::verdict::EVIDENCE_MAX;
use heimdall_model::{Position, RecordId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::Period;

/// Most events kept for a key. A longer burst goes on being found; only the count shown stops there.
pub(crate) const HITS_MAX: usize = 128;
/// Most events that may share a weight's worth of log lines ("message repeated N times").
pub(crate) const WEIGHT_MAX: u16 = 10_000;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hit {
    pub(crate) time: i64,
    pub(crate) position: u64,
    /// Hash of what distinct counts go by (the user, the source); 0 is "unknown".
    pub(crate) who: u32,
    /// Events this record stands for.
    pub(crate) weight: u16,
    /// Who reported it: reports of the same events by different reporters are not added up.
    pub(crate) reporter: u8,
}

/// Reporters told apart.
const REPORTERS: usize = 2;

/// Events of one key.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Hits {
    hits: VecDeque<Hit>,
}

/// A window of events that holds the newest one added.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    hits: &'a VecDeque<Hit>,
    from: usize,
    to: usize,
}

impl Hits {
    /// Time of the newest event.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.hits.back().map(|hit| hit.time)
    }

    /// Adds an event in its place. `false` when it is later than `lateness` behind the newest. Events that no late
    /// record can reach through a window of length `keep` are forgotten.
    pub(crate) fn add(&mut self, hit: Hit, lateness: Period, keep: Period) -> bool {
        let newest = self.newest().map_or(hit.time, |newest| newest.max(hit.time));
        if hit.time < newest.saturating_sub(lateness.ns()) {
            return false;
        }
        let at = self.hits.partition_point(|known| (known.time, known.position) <= (hit.time, hit.position));
        self.hits.insert(at, hit);
        let horizon = newest.saturating_sub(lateness.ns()).saturating_sub(keep.ns());
        while self.hits.len() > HITS_MAX || self.hits.front().is_some_and(|first| first.time < horizon) {
            self.hits.pop_front();
        }
        true
    }

    /// Every window of length `within` that holds the time `at` and ends at an event.
    pub(crate) fn windows(&self, at: i64, within: Period) -> impl Iterator<Item = Window<'_>> {
        let first = self.hits.partition_point(|hit| hit.time < at);
        let last = self.hits.partition_point(|hit| hit.time <= at.saturating_add(within.ns()));
        let mut from = 0;
        (first..last).filter_map(move |end| {
            let same_time_follows =
                self.hits.get(end + 1).is_some_and(|next| next.time == self.hits[end].time);
            let start = self.hits[end].time.saturating_sub(within.ns());
            while self.hits[from].time < start {
                from += 1;
            }
            (!same_time_follows).then_some(Window { hits: &self.hits, from, to: end + 1 })
        })
    }

    /// Whether an event lies within `[at - within, at]`.
    pub(crate) fn any_before(&self, at: i64, within: Period) -> bool {
        self.hits.iter().any(|hit| hit.time <= at && hit.time >= at.saturating_sub(within.ns()))
    }
}

impl<'a> Window<'a> {
    fn iter(self) -> impl DoubleEndedIterator<Item = &'a Hit> {
        self.hits.range(self.from..self.to)
    }

    /// Events in the window: what the more talkative reporter says.
    pub(crate) fn count(self) -> u64 {
        let mut counts = [0_u64; REPORTERS];
        for hit in self.iter() {
            counts[usize::from(hit.reporter) % REPORTERS] += u64::from(hit.weight);
        }
        counts.into_iter().max().unwrap_or(0)
    }

    /// Records of one reporter.
    pub(crate) fn count_of(self, reporter: u8) -> usize {
        self.iter().filter(|hit| hit.reporter == reporter).count()
    }

    /// Distinct known values of `who`.
    pub(crate) fn distinct(self) -> usize {
        let mut known: Vec<u32> = self.iter().map(|hit| hit.who).filter(|who| *who != 0).collect();
        known.sort_unstable();
        known.dedup();
        known.len()
    }

    /// Whether some event does not say who.
    pub(crate) fn any_unknown(self) -> bool {
        self.iter().any(|hit| hit.who == 0)
    }

    /// Time from the first to the last event, ns.
    pub(crate) fn span_ns(self) -> i64 {
        match (self.hits.get(self.from), self.hits.get(self.to.wrapping_sub(1))) {
            (Some(first), Some(last)) => last.time.saturating_sub(first.time),
            _ => 0,
        }
    }

    /// Ids of the newest events, newest last.
    pub(crate) fn evidence(self) -> Vec<RecordId> {
        let mut ids: Vec<RecordId> = self.iter().rev().take(EVIDENCE_MAX).map(Hit::id).collect();
        ids.reverse();
        ids
    }
}

impl Hit {
    fn id(&self) -> RecordId {
        RecordId::new(Timestamp(self.time), Position(self.position))
    }
}

/// A hash that is the same on every machine and run (FNV-1a, 32 bit), never 0.
pub(crate) fn who(text: &str) -> u32 {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(times: &[i64]) -> Hits {
        let mut hits = Hits::default();
        for (position, time) in (0..).zip(times) {
            let hit = Hit { time: *time, position, who: 0, weight: 1, reporter: 0 };
            assert!(hits.add(hit, Period(1_000), Period(100)));
        }
        hits
    }

    #[track_caller]
    fn check(times: &[i64], at: i64, counts: &[u64]) {
        let hits = hits(times);
        let found: Vec<u64> = hits.windows(at, Period(60)).map(Window::count).collect();
        assert_eq!(found, counts, "{times:?} at {at}");
    }

    #[test]
    fn windows_are_inclusive_and_hold_the_added_event() {
        check(&[0, 10, 60], 60, &[3]);
        check(&[0, 10, 61], 61, &[2]);
        check(&[0, 40, 80, 20], 20, &[2, 3, 3]);
        check(&[5, 5, 5], 5, &[3]);
    }

    #[test]
    fn too_late_events_are_refused_and_the_number_is_bounded() {
        let mut hits = hits(&[5_000]);
        let late = Hit { time: 3_999, position: 1, who: 0, weight: 1, reporter: 0 };
        assert!(!hits.add(late, Period(1_000), Period(100)));
        for position in 0..1_000 {
            hits.add(Hit { time: 5_000, position, ..late }, Period(1_000), Period(100));
        }
        assert_eq!(hits.hits.len(), HITS_MAX);
        assert_eq!(
            hits.windows(5_000, Period(60)).last().map(|window| window.evidence().len()),
            Some(EVIDENCE_MAX)
        );
    }
}
