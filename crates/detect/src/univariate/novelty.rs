//! How rarely a statistic took a value like this one, in bits, learnt as the values come.
//!
//! A histogram over the range seen so far gives each value its probability: smoothed over the neighbouring bins, with
//! half a count in every bin beforehand (the Jeffreys prior). A value outside the range has the probability of an
//! empty bin, and one more bit for every doubling of its distance in bins. So 10 bits mean: once in about 1,000 values,
//! whatever the unit or the shape of the distribution, and a young histogram cannot be very surprised.
//!
//! Invariants:
//! - bits are in `[0, BITS_MAX]`; `low < high` once a value was seen, and both are finite;
//! - a value is judged by what came before it only;
//! - one outlier widens the range to nine times itself at most, so it cannot press everything else into one bin; a
//!   range that turns out too wide is narrowed again when old counts are halved.
//!
//! Cost: about 10 ns a value; `BINS` f32 and three numbers, 300 bytes.
//!
//! Source: Krichevsky, Trofimov, "The performance of universal encoding", IEEE Trans. Inf. Theory 27(2), 1981.

use serde::{Deserialize, Serialize};

use super::exact;
use crate::snapshot;

/// Bins over the range: a sixty-fourth of the range is the finest difference told apart.
const BINS: usize = 64;
/// Count every bin starts with.
const PRIOR: f64 = 0.5;
/// Counts at which all are halved: the memory is 4,096 to 8,192 values, two to four weeks of 5-minute samples.
const COUNT_MAX: f64 = 8_192.0;
/// Room left beyond a new extreme, as a share of the new range: its neighbours are not new extremes again.
const ROOM: f64 = 0.1;
/// The range grows by this many times itself at a time, on one side.
const GROWTH_MAX: f64 = 4.0;
/// A range is narrowed when all counts lie in so small a part of it.
const OCCUPIED_MIN: usize = BINS / 4;
/// A bin below this count is empty when the range is narrowed.
const EMPTY: f32 = 0.25;
/// Bits beyond which nothing gets worse.
pub(crate) const BITS_MAX: f64 = 60.0;

/// The histogram of one statistic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Novelty {
    #[serde(with = "snapshot::bits")]
    low: f64,
    #[serde(with = "snapshot::bits")]
    high: f64,
    #[serde(with = "snapshot::bits")]
    total: f64,
    /// Values seen, which is not halved.
    seen: u64,
    // INVARIANT: `BINS` counts; a snapshot with any other number is refused.
    #[serde(with = "exact::bins")]
    counts: Box<[f32; BINS]>,
}

impl Default for Novelty {
    fn default() -> Self {
        Novelty { low: 0.0, high: 0.0, total: 0.0, seen: 0, counts: Box::new([0.0; BINS]) }
    }
}

impl Novelty {
    /// Bytes on the heap.
    pub(crate) const HEAP_BYTES: usize = BINS * size_of::<f32>();

    /// Whether a restored histogram keeps its invariants.
    pub(crate) fn is_sound(&self) -> bool {
        let range = self.low < self.high && (self.high - self.low).is_finite();
        (self.seen == 0 || range) && self.total.is_finite() && self.counts.iter().all(|count| *count >= 0.0)
    }

    /// Values seen so far.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// The surprise of a value in bits, which then counts as seen. `finest` is the smallest difference that means
    /// anything, in the unit of the statistic: no bin is narrower.
    pub(crate) fn observe(&mut self, value: f64, finest: f64) -> f64 {
        self.keep_bins_wide(value, finest);
        let bits = self.bits(value);
        self.widen_to(value);
        self.count(value);
        bits
    }

    /// The first value on the way from `from` to `to` as rare as `bits`, to the nearest bin; `to` when none is.
    pub(crate) fn bound(&self, from: f64, to: f64, bits: f64) -> f64 {
        if self.seen == 0 {
            return to;
        }
        let step = if to >= from { self.width() } else { -self.width() };
        let start = from.clamp(self.low, self.high);
        let on_the_way = (1..=BINS).map(|at| start + at as f64 * step);
        let short_of_it = |value: &f64| (to - value) * step.signum() > 0.0;
        on_the_way.take_while(short_of_it).find(|value| self.bits(*value) >= bits).unwrap_or(to)
    }

    fn keep_bins_wide(&mut self, value: f64, finest: f64) {
        let least = finest.max(f64::MIN_POSITIVE) * BINS as f64;
        if self.seen == 0 {
            (self.low, self.high) = (value - least / 2.0, value + least / 2.0);
        }
        let missing = least - (self.high - self.low);
        if missing > least * 1e-9 {
            self.spread_over(self.low - missing / 2.0, self.high + missing / 2.0);
        }
        if self.low >= self.high {
            (self.low, self.high) = (self.low - 1.0 - self.low.abs(), self.high + 1.0 + self.high.abs());
        }
    }

    fn bits(&self, value: f64) -> f64 {
        let outside = (self.low - value).max(value - self.high).max(0.0);
        let share = (self.smoothed(value) + PRIOR) / (self.total + PRIOR * BINS as f64);
        let beyond = if outside > 0.0 { (1.0 + outside / self.width()).log2() } else { 0.0 };
        (beyond - share.log2()).clamp(0.0, BITS_MAX)
    }

    /// Count near a value: half its bin, a quarter of each neighbour. Nothing outside the range.
    fn smoothed(&self, value: f64) -> f64 {
        if value < self.low || value > self.high {
            return 0.0;
        }
        let at = self.bin(value);
        let count = |at: usize| self.counts.get(at).copied().map_or(0.0, f64::from);
        0.5 * count(at) + 0.25 * (count(at.wrapping_sub(1)) + count(at + 1))
    }

    fn width(&self) -> f64 {
        (self.high - self.low) / BINS as f64
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the bins")]
    fn bin(&self, value: f64) -> usize {
        ((value - self.low) / self.width()).clamp(0.0, (BINS - 1) as f64) as usize
    }

    fn widen_to(&mut self, value: f64) {
        if (self.low..=self.high).contains(&value) {
            return;
        }
        let (range, low, high) = (self.high - self.low, self.low.min(value), self.high.max(value));
        let room = ROOM * (high - low);
        let low = if value < self.low { (low - room).max(self.low - GROWTH_MAX * range) } else { low };
        let high = if value > self.high { (high + room).min(self.high + GROWTH_MAX * range) } else { high };
        self.spread_over(low, high);
    }

    fn count(&mut self, value: f64) {
        let at = self.bin(value);
        self.counts[at] += 1.0;
        self.total += 1.0;
        self.seen += 1;
        if self.total > COUNT_MAX {
            self.counts.iter_mut().for_each(|count| *count *= 0.5);
            self.total *= 0.5;
            self.narrow();
        }
    }

    /// Too coarse counts say nothing about finer bins, so a narrowed range is counted anew.
    fn narrow(&mut self) {
        let occupied = |count: &f32| *count >= EMPTY;
        let (Some(first), Some(last)) =
            (self.counts.iter().position(occupied), self.counts.iter().rposition(occupied))
        else {
            return;
        };
        if last - first < OCCUPIED_MIN {
            let width = self.width();
            let (low, high) =
                (self.low + (first as f64 - 1.0) * width, self.low + (last as f64 + 2.0) * width);
            (self.low, self.high, self.total) = (low, high, 0.0);
            self.counts.fill(0.0);
        }
    }

    /// Takes a new range; every old bin's count goes to the new bins it overlaps, in proportion. What lies outside goes
    /// to the outermost bins.
    fn spread_over(&mut self, low: f64, high: f64) {
        let old = self.clone();
        (self.low, self.high) = (low, high);
        self.counts.fill(0.0);
        for (at, count) in old.counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let from = old.low + at as f64 * old.width();
            let (first, last) = (self.bin(from), self.bin(from + old.width()));
            let width = self.width();
            let edge = |at: usize| low + at as f64 * width;
            let overlap = |at: usize| {
                (edge(at + 1).min(from + old.width()) - edge(at).max(from)).max(0.0) / old.width()
            };
            let inner: f64 = (first + 1..=last).map(overlap).sum();
            for at in first + 1..=last {
                #[expect(clippy::cast_possible_truncation, reason = "a share of a count needs no more")]
                let part = (f64::from(*count) * overlap(at)) as f32;
                self.counts[at] += part;
            }
            #[expect(clippy::cast_possible_truncation, reason = "a share of a count needs no more")]
            let rest = (f64::from(*count) * (1.0 - inner).max(0.0)) as f32;
            self.counts[first] += rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(values: impl IntoIterator<Item = f64>) -> Novelty {
        let mut novelty = Novelty::default();
        values.into_iter().for_each(|value| {
            novelty.observe(value, 0.001);
        });
        novelty
    }

    #[test]
    fn bits_are_the_logarithm_of_how_rare_a_value_is() {
        let even = after((0..6_400).map(|n| f64::from(n * 37 % 64)));
        let usual = even.clone().observe(31.0, 0.001);
        assert!((5.0..7.0).contains(&usual), "one of 64 values, in a bin and its neighbours: {usual}");
        let new = even.clone().observe(80.0, 0.001);
        assert!((13.0..18.0).contains(&new), "beyond all 6,400 values: {new}");
        let far = even.clone().observe(6_400.0, 0.001);
        assert!((24.0..30.0).contains(&far), "a hundred ranges beyond: {far}");
    }

    #[test]
    fn a_young_histogram_is_not_sure() {
        let few = after((0..20).map(f64::from)).observe(1_000.0, 0.001);
        let many = after((0..2_000).map(|n| f64::from(n % 20))).observe(1_000.0, 0.001);
        assert!(many - few > 4.0, "{few} {many}");
    }

    #[test]
    fn one_outlier_leaves_the_others_apart_and_is_still_one_when_it_returns() {
        let mut novelty = after((0..2_000).map(|n| f64::from(n % 20)));
        novelty.observe(1e9, 0.001);
        assert!(novelty.high < 200.0, "{}", novelty.high);
        assert!(novelty.observe(1e9, 0.001) > 20.0);
        assert!(novelty.observe(10.0, 0.001) < 6.0);
    }

    #[test]
    fn a_range_too_wide_is_narrowed() {
        let mut novelty = after((0..2_000).map(|n| f64::from(n % 20)));
        (0..8).for_each(|_| {
            novelty.observe(1e9, 0.001);
        });
        let wide = novelty.high - novelty.low;
        (0..60_000).for_each(|n| {
            novelty.observe(f64::from(n % 20), 0.001);
        });
        let narrow = novelty.high - novelty.low;
        assert!(wide > 1e6 && narrow < 100.0, "{wide} {narrow}");
    }

    #[test]
    fn what_means_nothing_is_not_new() {
        let mut constant = after([100.0; 500]);
        assert!(constant.clone().observe(100.02, 0.1) < 2.0);
        assert!(constant.observe(110.0, 0.1) > 10.0);
    }

    proptest! {
        #[test]
        fn any_values_keep_the_invariants(values in prop::collection::vec(-1e100f64..1e100, 1..200), scale in -300i32..1) {
            let mut novelty = Novelty::default();
            for value in values {
                let bits = novelty.observe(value * 10f64.powi(scale), 0.0);
                prop_assert!((0.0..=BITS_MAX).contains(&bits), "{bits}");
                prop_assert!(novelty.low < novelty.high && (novelty.high - novelty.low).is_finite());
            }
            let held: f64 = novelty.counts.iter().copied().map(f64::from).sum();
            prop_assert!((held - novelty.total).abs() < 0.01 * novelty.total + 0.1, "{held} {}", novelty.total);
        }

        #[test]
        fn serde_is_exact(values in prop::collection::vec(-1e6f64..1e6, 0..300)) {
            let novelty = after(values);
            let text = serde_json::to_string(&novelty).unwrap();
            let back: Novelty = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(format!("{novelty:?}"), format!("{back:?}"));
        }
    }
}
