//! What a value is compared with: four baselines, each of which turns a series into one statistic.
//!
//! - [`Mad`]: distance from the running median, with the median absolute deviation as its spread;
//! - [`Ewma`]: the short exponential average, as on an EWMA control chart;
//! - [`Changepoint`]: the two-sided CUSUM, which adds up small deviations that last;
//! - [`Seasonal`]: distance from what this half hour of the day usually brings.
//!
//! Whether a statistic is unusual is for [`super::novelty`] to say, so that no piece assumes a distribution.
//!
//! Invariant: every piece judges a value by earlier ones only, except that the averages of [`Ewma`] and
//! [`Changepoint`] contain the value itself, as control charts do.
//!
//! Sources: Hampel, "The influence curve and its role in robust estimation", JASA 69, 1974 (MAD); Roberts, "Control
//! chart tests based on geometric moving averages", Technometrics 1(3), 1959 (EWMA); Page, "Continuous inspection
//! schemes", Biometrika 41, 1954 (CUSUM).

use serde::{Deserialize, Serialize};

use super::calendar::{Calendar, SLOT_NS, SLOTS_PER_DAY};
use super::exact;
use crate::snapshot;

/// One value as a piece sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// What novelty is asked about.
    pub statistic: f64,
    /// The value expected.
    pub expected: f64,
    /// Usual distance from it, one standard deviation of a normal distribution; 0 when not known yet.
    pub spread: f64,
}

/// Mean and variance with fading memory: plain at first, exponential once `memory` values were seen.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Level {
    samples: u64,
    #[serde(with = "snapshot::bits")]
    mean: f64,
    #[serde(with = "snapshot::bits")]
    variance: f64,
}

impl Level {
    #[expect(clippy::cast_precision_loss, reason = "sample counts far below 2^53")]
    fn learn(&mut self, value: f64, memory: f64) {
        self.samples += 1;
        let gain = (1.0 / self.samples as f64).max(1.0 / memory);
        let delta = value - self.mean;
        self.mean += gain * delta;
        self.variance = (1.0 - gain) * (self.variance + gain * delta * delta);
    }

    fn deviation(&self) -> f64 {
        self.variance.sqrt()
    }
}

/// Distance from the running median.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Mad {
    #[serde(with = "exact::list")]
    recent: Vec<f64>,
    next: usize,
    // INVARIANT: the values of `recent` in order.
    #[serde(with = "exact::list")]
    sorted: Vec<f64>,
}

impl Mad {
    /// Values the median is of: half of them may be wrong, and a new level is the median after 64.
    const WINDOW: usize = 128;
    /// Values before there is a median worth a comparison.
    const SAMPLES_MIN: usize = 20;
    /// The MAD of a normal distribution is so many times smaller than its standard deviation.
    const NORMAL: f64 = 1.4826;

    /// Compares a value and takes it in. `None` until there is a median.
    pub fn observe(&mut self, value: f64) -> Option<Reading> {
        let ready = self.sorted.len() >= Mad::SAMPLES_MIN;
        let reading = ready.then(|| {
            let median = self.sorted[self.sorted.len() / 2];
            Reading { statistic: value - median, expected: median, spread: Mad::NORMAL * self.mad(median) }
        });
        self.take_in(value);
        reading
    }

    /// Median of the distances from the median: the distances below and above it are each in order already.
    fn mad(&self, median: f64) -> f64 {
        let middle = self.sorted.len() / 2;
        let (mut below, mut above) = (middle, middle);
        let mut distance = 0.0;
        for _ in 0..=middle {
            let down = below.checked_sub(1).map(|at| median - self.sorted[at]);
            let up = self.sorted.get(above).map(|value| value - median);
            match (down, up) {
                (Some(down), Some(up)) if down < up => (distance, below) = (down, below - 1),
                (_, Some(up)) => (distance, above) = (up, above + 1),
                (Some(down), None) => (distance, below) = (down, below - 1),
                (None, None) => break,
            }
        }
        distance
    }

    fn take_in(&mut self, value: f64) {
        if self.recent.len() < Mad::WINDOW {
            self.recent.push(value);
        } else if let Some(oldest) = self.recent.get_mut(self.next) {
            let gone = std::mem::replace(oldest, value);
            let at =
                self.sorted.partition_point(|held| *held < gone).min(self.sorted.len().saturating_sub(1));
            self.sorted.remove(at);
            self.next = (self.next + 1) % Mad::WINDOW;
        }
        let at = self.sorted.partition_point(|held| *held < value);
        self.sorted.insert(at, value);
    }

    fn is_sound(&self) -> bool {
        self.recent.len() == self.sorted.len() && self.recent.len() <= Mad::WINDOW && self.next < Mad::WINDOW
    }
}

/// The short exponential average.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ewma {
    short: Level,
    long: Level,
}

impl Ewma {
    /// Values the average is over: a weight of 1/12, within the 0.05 to 0.25 that control charts use. One wild value
    /// moves it by a twelfth of its distance, a new level by two thirds after 12 values.
    const SPAN: f64 = 12.0;
    /// Values the chart's centre remembers: a week of 5-minute samples.
    const MEMORY: f64 = 2_000.0;

    /// Takes a value in and gives the average.
    pub fn observe(&mut self, value: f64) -> Option<Reading> {
        let (expected, spread) = (self.long.mean, self.long.deviation());
        self.short.learn(value, Ewma::SPAN);
        self.long.learn(value, Ewma::MEMORY);
        Some(Reading { statistic: self.short.mean, expected, spread })
    }
}

/// The two-sided CUSUM.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Changepoint {
    level: Level,
    #[serde(with = "snapshot::bits")]
    risen: f64,
    #[serde(with = "snapshot::bits")]
    fallen: f64,
}

impl Changepoint {
    /// Deviation, in standard deviations, that does not add up: half of the smallest change looked for (1).
    const SLACK: f64 = 0.5;
    /// Sum beyond which a change is a change: one that is over is forgotten after 50 to 100 values.
    const SUM_MAX: f64 = 50.0;
    /// Deviations counted for one value: an outlier alone is no change.
    const STEP_MAX: f64 = 8.0;
    /// Values the level remembers: slow enough to see a change by, fast enough to settle on a new level within days.
    const MEMORY: f64 = 1_000.0;
    /// Values before the level is compared with.
    const SAMPLES_MIN: u64 = 30;
    /// Smallest difference of two sums, in their logarithm: 2 %.
    const FINEST: f64 = 0.02;

    /// Adds a value up and gives the larger sum, as its logarithm with the sign of the change.
    pub fn observe(&mut self, value: f64) -> Option<Reading> {
        let (expected, spread) = (self.level.mean, self.level.deviation());
        let ready = self.level.samples >= Changepoint::SAMPLES_MIN;
        let z = if ready && spread > 0.0 { (value - expected) / spread } else { 0.0 };
        let z = z.clamp(-Changepoint::STEP_MAX, Changepoint::STEP_MAX);
        self.risen = (self.risen + z - Changepoint::SLACK).clamp(0.0, Changepoint::SUM_MAX);
        self.fallen = (self.fallen - z - Changepoint::SLACK).clamp(0.0, Changepoint::SUM_MAX);
        self.level.learn(value, Changepoint::MEMORY);
        let statistic = if self.risen >= self.fallen { self.risen.ln_1p() } else { -self.fallen.ln_1p() };
        ready.then_some(Reading { statistic, expected, spread })
    }
}

/// Distance from what this half hour of the day usually brings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seasonal {
    // INVARIANT: as many means as weights; a multiple of `SLOTS_PER_DAY` that grows as kinds of day are met.
    #[serde(with = "exact::list")]
    means: Vec<f64>,
    /// Visits of the slot, in whole slots, up to `VISITS`; 0 when it was never met.
    #[serde(with = "exact::list")]
    visits: Vec<f64>,
    last_ns: Option<i64>,
    residual: Level,
}

impl Seasonal {
    /// Days a slot remembers, so that a slow drift is followed and one odd day does not stay.
    const VISITS: f64 = 5.0;
    /// Part of a slot that must have been seen before it is compared with: three 5-minute samples.
    const VISITED_MIN: f64 = 0.45;
    /// Least part of a slot one value counts for: samples closer together than 2 s count like that.
    const PART_MIN: f64 = 0.001;
    /// Values the spread remembers.
    const MEMORY: f64 = 2_000.0;

    /// Compares a value and takes it in. `None` while its slot of the day has not been seen yet.
    pub fn observe(&mut self, calendar: &Calendar, time_ns: i64, value: f64) -> Option<Reading> {
        let at = calendar.slot(time_ns);
        if self.means.len() <= at {
            let slots = (at / SLOTS_PER_DAY + 1) * SLOTS_PER_DAY;
            self.means.resize(slots, 0.0);
            self.visits.resize(slots, 0.0);
        }
        let known = [at, at % SLOTS_PER_DAY].into_iter().find(|at| self.visits[*at] >= Seasonal::VISITED_MIN);
        let reading = known.map(|known| {
            let expected = self.means[known];
            Reading { statistic: value - expected, expected, spread: self.residual.deviation() }
        });
        if let Some(reading) = reading {
            self.residual.learn(reading.statistic, Seasonal::MEMORY);
        }
        let part = self.part_of_slot(time_ns);
        self.learn(at, part, value);
        if at >= SLOTS_PER_DAY {
            self.learn(at % SLOTS_PER_DAY, part, value);
        }
        reading
    }

    /// How much of a slot the value stands for, by the time since the one before: any sampling interval will do.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds within a slot are far below 2^53")]
    fn part_of_slot(&mut self, time_ns: i64) -> f64 {
        let last_ns = self.last_ns.replace(time_ns).unwrap_or(time_ns);
        let since = time_ns.saturating_sub(last_ns).clamp(0, SLOT_NS);
        (since as f64 / SLOT_NS as f64).max(Seasonal::PART_MIN)
    }

    fn learn(&mut self, at: usize, part: f64, value: f64) {
        let visits = (self.visits[at] + part).min(Seasonal::VISITS);
        self.visits[at] = visits;
        self.means[at] += part / visits * (value - self.means[at]);
    }

    fn is_sound(&self) -> bool {
        self.means.len() == self.visits.len()
    }
}

/// A piece by its method.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Piece {
    Mad(Mad),
    Ewma(Ewma),
    Changepoint(Changepoint),
    Seasonal(Seasonal),
}

impl Piece {
    pub(crate) fn new(method: Method) -> Piece {
        match method {
            Method::Mad => Piece::Mad(Mad::default()),
            Method::Ewma => Piece::Ewma(Ewma::default()),
            Method::Changepoint => Piece::Changepoint(Changepoint::default()),
            Method::Seasonal => Piece::Seasonal(Seasonal::default()),
        }
    }

    pub(crate) fn method(&self) -> Method {
        match self {
            Piece::Mad(_) => Method::Mad,
            Piece::Ewma(_) => Method::Ewma,
            Piece::Changepoint(_) => Method::Changepoint,
            Piece::Seasonal(_) => Method::Seasonal,
        }
    }

    pub(crate) fn observe(&mut self, calendar: &Calendar, time_ns: i64, value: f64) -> Option<Reading> {
        match self {
            Piece::Mad(piece) => piece.observe(value),
            Piece::Ewma(piece) => piece.observe(value),
            Piece::Changepoint(piece) => piece.observe(value),
            Piece::Seasonal(piece) => piece.observe(calendar, time_ns, value),
        }
    }

    /// The smallest difference of the statistic that means anything, given that of the values.
    pub(crate) fn finest(&self, of_values: f64) -> f64 {
        match self {
            Piece::Changepoint(_) => Changepoint::FINEST,
            Piece::Mad(_) | Piece::Ewma(_) | Piece::Seasonal(_) => of_values,
        }
    }

    /// Whether its statistic is a distance from the expected value rather than a value.
    pub(crate) fn is_distance(&self) -> bool {
        matches!(self, Piece::Mad(_) | Piece::Seasonal(_))
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let numbers = match self {
            Piece::Mad(piece) => piece.recent.capacity() + piece.sorted.capacity(),
            Piece::Seasonal(piece) => piece.means.capacity() + piece.visits.capacity(),
            Piece::Ewma(_) | Piece::Changepoint(_) => 0,
        };
        numbers * size_of::<f64>()
    }

    /// Whether a restored piece keeps its invariants.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Piece::Mad(piece) => piece.is_sound(),
            Piece::Seasonal(piece) => piece.is_sound(),
            Piece::Ewma(_) | Piece::Changepoint(_) => true,
        }
    }
}

/// A baseline to compare with, as named in configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Distance from the running median: outliers, whatever the hour.
    Mad,
    /// The short average: levels and drifts.
    Ewma,
    /// CUSUM: small changes that last.
    Changepoint,
    /// Distance from what is usual at this time of day.
    Seasonal,
}

impl Method {
    /// Its name in configurations and features.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Mad => "mad",
            Method::Ewma => "ewma",
            Method::Changepoint => "changepoint",
            Method::Seasonal => "seasonal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000_000_000;

    proptest! {
        #[test]
        fn median_and_mad_are_those_of_the_window(values in prop::collection::vec(-100i32..100, 21..400)) {
            let mut mad = Mad::default();
            let mut last = None;
            for value in &values {
                last = mad.observe(f64::from(*value));
            }
            let (newest, before) = values.split_last().unwrap();
            let mut window: Vec<i32> = before.iter().rev().take(Mad::WINDOW).copied().collect();
            window.sort_unstable();
            let median = window[window.len() / 2];
            let mut distances: Vec<i32> = window.iter().map(|value| (value - median).abs()).collect();
            distances.sort_unstable();
            let reading = last.unwrap();
            prop_assert_eq!(reading.statistic, f64::from(newest - median));
            prop_assert_eq!(reading.spread, Mad::NORMAL * f64::from(distances[window.len() / 2]));
        }
    }

    #[test]
    fn mad_is_not_moved_by_outliers() {
        let mut mad = Mad::default();
        (0..100).for_each(|n| {
            mad.observe(if n % 3 == 0 { 1e9 } else { 10.0 + f64::from(n % 5) });
        });
        let reading = mad.observe(12.0).unwrap();
        assert!((10.0..16.0).contains(&reading.expected) && reading.spread < 10.0, "{reading:?}");
    }

    #[test]
    fn ewma_follows_a_level_and_not_a_spike() {
        let mut ewma = Ewma::default();
        (0..100).for_each(|_| {
            ewma.observe(10.0);
        });
        let spike = ewma.clone().observe(22.0).unwrap().statistic;
        let level = (0..24).map(|_| ewma.observe(22.0).unwrap().statistic).last().unwrap();
        assert!((spike - 11.0).abs() < 1e-9 && level > 20.0, "{spike} {level}");
    }

    #[test]
    fn changepoint_adds_up_what_is_too_small_to_see() {
        let mut chart = Changepoint::default();
        let noise = |n: i32| f64::from(n * 7919 % 101) / 100.0;
        let before = (0..500).map(|n| chart.observe(noise(n)).map_or(0.0, |read| read.statistic.abs()));
        let before = before.fold(0.0, f64::max);
        let after = (500..560).map(|n| chart.observe(noise(n) + 0.5).unwrap().statistic).last().unwrap();
        assert!(after > 1.3 * before, "{before} {after}");
        let fallen = (560..700).map(|n| chart.observe(noise(n) - 0.5).unwrap().statistic).last().unwrap();
        assert!(fallen < 0.0);
    }

    #[test]
    fn seasonal_knows_the_hour_at_any_sampling_interval() {
        for minutes in [1, 5, 30] {
            let mut seasonal = Seasonal::default();
            let calendar = Calendar::default();
            let value = |n: i64| if (n * minutes / 60) % 24 < 12 { 10.0 } else { 50.0 };
            let steps = 7 * 24 * 60 / minutes;
            (0..steps).for_each(|n| {
                seasonal.observe(&calendar, n * minutes * MINUTE, value(n));
            });
            let night = seasonal.observe(&calendar, steps * minutes * MINUTE, 50.0).unwrap();
            assert!(
                (night.expected - 10.0).abs() < 0.01 && (night.statistic - 40.0).abs() < 0.01,
                "{night:?}"
            );
        }
    }

    #[test]
    fn seasonal_is_silent_until_the_slot_was_seen() {
        let mut seasonal = Seasonal::default();
        let calendar = Calendar::default();
        assert!((0..24).all(|n| seasonal.observe(&calendar, n * 60 * MINUTE, 1.0).is_none()));
        assert!(
            seasonal.observe(&calendar, 24 * 60 * MINUTE, 1.0).is_none(),
            "the first value stood for no time"
        );
        assert!(seasonal.observe(&calendar, 25 * 60 * MINUTE, 1.0).is_some());
    }
}
