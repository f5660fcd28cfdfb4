//! One window of one service: sums while it is open, a row of numbers once it is closed.
//!
//! Counts are taken as twice their root (Anscombe), latencies as logarithms: the deviation of a quiet service is then
//! about the same at night and at noon, and 1 for a Poisson count. What the models judge is the difference from a slow
//! average of the same number, so that the course of the day is no news.
//!
//! Invariant: sums stay finite; a value that is negative, not finite or above [`VALUE_MAX`] is refused.
//! Cost: about 150 bytes, and 600 more once a latency is seen.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::snapshot;

/// Numbers of a window.
pub(super) const FEATURES: usize = 6;
pub(super) const ERRORS: usize = 0;
pub(super) const VOLUME: usize = 1;
pub(super) const LATENCY: usize = 2;
pub(super) const LATENCY_P95: usize = 3;
pub(super) const CPU: usize = 4;
pub(super) const MEMORY: usize = 5;

/// Their names in verdicts.
pub(super) const NAMES: [&str; FEATURES] = [
    "error_percent",
    "records_per_window",
    "latency_mean_ms",
    "latency_p95_ms",
    "cpu_percent",
    "memory_percent",
];
/// Smallest deviation assumed: 1 is what a Poisson count has, and half of it makes one error where there are none two
/// deviations; a latency may wobble by 5 % (mean) and 10 % (p95), which has the steps of the histogram in it; a
/// resource by 1 %.
pub(super) const SCALE_MIN: [f64; FEATURES] = [0.5, 1.0, 0.05, 0.1, 1.0, 1.0];
/// The same of the volume as a share of it: 5 % more or fewer records are no news, however steady they are.
pub(super) const VOLUME_SCALE_MIN: f64 = 0.05;
/// Which way is worse: severity of the hidden states. Volume may be off to both sides and says nothing.
pub(super) const SEVERITY: [f64; FEATURES] = [1.0, 0.0, 1.0, 1.0, 1.0, 1.0];

/// Largest value taken into a sum, so that 2^32 of them stay finite.
const VALUE_MAX: f64 = 1e15;
/// Records remembered for each window beside the slowest: its first and three errors.
const EVIDENCE_KEPT: usize = 4;
/// Windows the slow average remembers (twenty minutes by default): short against the day, long against a fault.
const MEMORY_WINDOWS: f64 = 120.0;
/// Share of its usual pace at which the average follows while something is wrong: a fault does not become usual within
/// minutes, and an average that was wrong itself does not stay so.
const SLOWED: f64 = 0.25;
/// Usual deviations beyond which a number moves its slow average no further: one burst must not make what follows it
/// look unusual. A lasting change widens the usual deviation, and so is followed all the same.
const CUT: f64 = 4.0;
/// Windows before the usual deviation is known well enough to cut by.
const CUT_AFTER: u64 = 10;
/// Mean absolute deviation of a normal distribution of deviation 1.
const MEAN_ABSOLUTE: f64 = 0.8;
/// Deviations below the usual that errors are taken to have at most: fewer of them are no reason for an alert.
const FEWER_ERRORS: f64 = 2.0;
/// Windows a gauge is taken to stay where it was: collectors that report each minute or two.
const CARRIED_MAX: u32 = 12;
/// Smallest latency told apart: 1 µs, in ms.
const LATENCY_MIN: f64 = 1e-3;

/// Buckets of the latency histogram: four for each doubling, from 2^-10 ms (1 µs) to 2^22 ms (70 minutes).
const BUCKETS: usize = 4 * 32;
const EXPONENT_MIN: u64 = 1_023 - 10;

/// An open window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Window {
    /// Event time divided by the width.
    pub(super) at: i64,
    pub(super) records: u32,
    pub(super) errors: u32,
    pub(super) logs_latency: Option<Box<Latency>>,
    pub(super) metrics_latency: Option<Box<Latency>>,
    pub(super) cpu: Mean,
    pub(super) memory: Mean,
    evidence: VecDeque<(i64, u64)>,
    #[serde(with = "snapshot::bits")]
    slowest: f64,
    slowest_record: Option<(i64, u64)>,
}

/// A mean of a gauge.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Mean {
    #[serde(with = "snapshot::bits")]
    sum: f64,
    count: u32,
}

/// Latencies in ms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Latency {
    mean: Mean,
    buckets: Vec<u32>,
}

fn fits(value: f64) -> bool {
    (0.0..=VALUE_MAX).contains(&value)
}

impl Mean {
    /// `false` when the value is refused.
    pub(super) fn add(&mut self, value: f64) -> bool {
        if fits(value) {
            self.sum += value;
            self.count = self.count.saturating_add(1);
        }
        fits(value)
    }

    fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

impl Default for Latency {
    fn default() -> Self {
        Latency { mean: Mean::default(), buckets: vec![0; BUCKETS] }
    }
}

/// Bucket of a latency: exponent and the first two bits behind the point, as they stand in the number.
fn bucket(ms: f64) -> usize {
    let at = (ms.to_bits() >> 50).saturating_sub(EXPONENT_MIN << 2);
    usize::try_from(at).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1))
}

/// Where a bucket begins, in ms.
fn begin(bucket: usize) -> f64 {
    f64::from_bits(((EXPONENT_MIN << 2) + bucket as u64) << 50)
}

impl Latency {
    pub(super) fn add(&mut self, ms: f64) -> bool {
        let fits = self.mean.add(ms);
        if fits {
            self.buckets[bucket(ms)] += 1;
        }
        fits
    }

    /// The latency that 95 % do not exceed, to about 12 %: buckets are a fifth wide and it is taken as evenly spread.
    fn p95(&self) -> f64 {
        let wanted = 0.95 * f64::from(self.mean.count);
        let mut seen = 0.0;
        for (at, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(*count);
            if seen + count >= wanted {
                let (low, high) = (begin(at), begin(at + 1));
                return low + (wanted - seen) / count * (high - low);
            }
            seen += count;
        }
        0.0
    }
}

impl Window {
    pub(super) fn new(at: i64) -> Window {
        Window { at, ..Window::default() }
    }

    pub(super) fn remember(&mut self, time: i64, at: u64) {
        if self.evidence.len() < EVIDENCE_KEPT {
            self.evidence.push_back((time, at));
        }
    }

    /// Takes a latency of a log record and remembers the slowest.
    pub(super) fn latency(&mut self, ms: f64, time: i64, at: u64) -> bool {
        if ms > self.slowest {
            (self.slowest, self.slowest_record) = (ms, Some((time, at)));
        }
        self.logs_latency.get_or_insert_default().add(ms)
    }

    /// The records that show what this window was like: errors first, then the slowest.
    pub(super) fn evidence(&self) -> impl Iterator<Item = (i64, u64)> {
        self.evidence.iter().copied().chain(self.slowest_record)
    }

    pub(super) fn error_share(&self) -> f64 {
        f64::from(self.errors) / f64::from(self.records.max(1))
    }
}

/// A closed window: what was measured and how far it lies from the slow averages. What is missing is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    pub(super) at: i64,
    pub(super) levels: [f64; FEATURES],
    pub(super) deviations: [f64; FEATURES],
}

/// Slow averages of one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Usual {
    averages: [Average; FEATURES],
    /// Of errors and of records in a window.
    errors: Average,
    records: Average,
    /// Whether any log record was seen: else its volume is not 0 but unknown.
    has_logs: bool,
    carried: [Carried; 2],
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Average {
    #[serde(with = "snapshot::bits")]
    mean: f64,
    /// Mean absolute deviation.
    #[serde(with = "snapshot::bits")]
    spread: f64,
    count: u64,
}

/// The last value of a gauge and how many windows ago it was.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Carried {
    #[serde(with = "snapshot::bits")]
    value: f64,
    windows: Option<u32>,
}

impl Average {
    /// Takes a number in at this share of the usual pace, as one of at most [`CUT`] usual deviations, which are at least
    /// `scale_min`.
    fn learn(&mut self, x: f64, scale_min: f64, pace: f64) {
        let room = CUT * (self.spread / MEAN_ABSOLUTE).max(scale_min);
        let is_known = self.count >= CUT_AFTER;
        let off = if is_known { (x - self.mean).clamp(-room, room) } else { x - self.mean };
        self.count += 1;
        let gain = pace * (1.0 / self.count as f64).max(2.0 / (MEMORY_WINDOWS + 1.0));
        self.mean += gain * off;
        self.spread += gain * (off.abs() - self.spread);
    }
}

impl Carried {
    fn take(&mut self, value: Option<f64>) -> f64 {
        match value {
            Some(value) => (self.value, self.windows) = (value, Some(0)),
            None => self.windows = self.windows.map(|windows| windows + 1).filter(|n| *n <= CARRIED_MAX),
        }
        self.windows.map_or(f64::NAN, |_| self.value)
    }
}

/// Twice the root of a count, whose deviation is 1 when the count is Poisson's (Anscombe, Biometrika 35, 1948).
fn rooted(count: f64) -> f64 {
    2.0 * (count + 0.375).sqrt()
}

fn counted(rooted: f64) -> f64 {
    (rooted / 2.0).powi(2) - 0.375
}

impl Usual {
    /// The numbers of a window that has closed. Gauges are carried on, averages stay as they are.
    pub(super) fn measure(&mut self, window: &Window) -> Measured {
        self.has_logs |= window.records > 0;
        let latency = window.logs_latency.as_ref().or(window.metrics_latency.as_ref());
        let log = |x: f64| x.max(LATENCY_MIN).ln();
        let records = f64::from(window.records);
        let mut levels = [f64::NAN; FEATURES];
        if window.records > 0 {
            let off = rooted(f64::from(window.errors)) - rooted(self.expected_errors(records));
            levels[ERRORS] = off.max(-FEWER_ERRORS);
        }
        if self.has_logs {
            levels[VOLUME] = rooted(records);
        }
        if let Some(mean) = latency.and_then(|latency| latency.mean.value()) {
            levels[LATENCY] = log(mean);
            levels[LATENCY_P95] = latency.map_or(f64::NAN, |latency| log(latency.p95()));
        }
        levels[CPU] = self.carried[0].take(window.cpu.value());
        levels[MEMORY] = self.carried[1].take(window.memory.value());
        let mut deviations = levels;
        for (deviation, average) in deviations.iter_mut().zip(&self.averages).skip(VOLUME) {
            *deviation = if average.count > 0 { *deviation - average.mean } else { 0.0 * *deviation };
        }
        Measured { at: window.at, levels, deviations }
    }

    /// Takes a window into the averages, slowly while it is suspicious.
    pub(super) fn learn(&mut self, window: &Window, measured: &Measured, is_suspicious: bool) {
        let pace = if is_suspicious { SLOWED } else { 1.0 };
        let records = f64::from(window.records);
        if self.has_logs {
            let most = counted(rooted(self.expected_errors(records)) + CUT);
            let errors = f64::from(window.errors);
            let is_known = self.errors.count >= CUT_AFTER;
            self.errors.learn(if is_known { errors.min(most) } else { errors }, f64::INFINITY, pace);
            self.records.learn(records, f64::INFINITY, pace);
        }
        let averages = self.averages.iter_mut().zip(SCALE_MIN).zip(measured.levels);
        for ((average, scale_min), level) in averages.filter(|(_, level)| level.is_finite()) {
            average.learn(level, scale_min, pace);
        }
    }

    fn expected_errors(&self, records: f64) -> f64 {
        if self.records.mean > 0.0 { self.errors.mean / self.records.mean * records } else { 0.0 }
    }

    /// A number as people know it, observed and usual, and what one deviation of `scale` is in its unit.
    pub(super) fn natural(
        &self,
        feature: usize,
        window: &Window,
        measured: &Measured,
        scale: f64,
    ) -> Natural {
        let level = measured.levels[feature];
        let usual = self.averages[feature].mean;
        let (observed, usual, above) = match feature {
            ERRORS => {
                let records = f64::from(window.records.max(1));
                let share = self.errors.mean / self.records.mean.max(f64::MIN_POSITIVE);
                let above = counted(rooted(share * records) + scale) / records;
                (100.0 * window.error_share(), 100.0 * share.min(1.0), 100.0 * above)
            }
            VOLUME => (f64::from(window.records), counted(usual).max(0.0), counted(usual + scale)),
            LATENCY | LATENCY_P95 => (level.exp(), usual.exp(), (usual + scale).exp()),
            _ => (level, usual, usual + scale),
        };
        Natural { observed, usual, deviation: (above - usual).max(0.0) }
    }
}

/// A number in its own unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Natural {
    pub(super) observed: f64,
    pub(super) usual: f64,
    pub(super) deviation: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_a_fifth_wide_and_hold_every_latency() {
        for at in 0..BUCKETS - 1 {
            assert_eq!((bucket(begin(at)), bucket(begin(at + 1) * 0.999_999)), (at, at));
            assert!(begin(at + 1) / begin(at) <= 1.25);
        }
        assert_eq!((bucket(0.0), bucket(VALUE_MAX)), (0, BUCKETS - 1));
        let mut latency = Latency::default();
        (1..=1_000).for_each(|ms| assert!(latency.add(f64::from(ms))));
        assert!((latency.p95() / 950.0 - 1.0).abs() < 0.05, "{}", latency.p95());
        assert!(![-1.0, f64::NAN, f64::INFINITY].into_iter().any(|x| latency.add(x)));
    }

    #[test]
    fn one_burst_hardly_moves_what_is_usual() {
        let (mut usual, mut rng) = (Usual::default(), crate::models::rng::Rng::new(2));
        let mut close = |errors: u32| {
            let window = Window { records: 3_000, errors, ..Window::new(0) };
            let measured = usual.measure(&window);
            usual.learn(&window, &measured, false);
            measured.deviations[ERRORS]
        };
        (0..200).for_each(|_| {
            close(rng.poisson(30.0));
        });
        assert!(close(600) > 30.0, "the burst itself is far off");
        assert!(close(30).abs() < 1.0, "what follows is not");
        (0..600).for_each(|_| {
            close(60);
        });
        assert!(close(60).abs() < 1.0, "a lasting change is followed");
    }

    #[test]
    fn quiet_counts_have_deviation_one_at_any_rate() {
        let mut rng = crate::models::rng::Rng::new(1);
        for rate in [5.0, 100.0, 20_000.0] {
            let mut usual = Usual::default();
            let mut found = Vec::new();
            for at in 0..2_000 {
                let records = rng.poisson(rate);
                let window =
                    Window { records, errors: rng.poisson(rate * 0.2).min(records), ..Window::new(at) };
                let measured = usual.measure(&window);
                usual.learn(&window, &measured, false);
                found.push(measured.deviations.map(|d| if d.is_nan() { 0.0 } else { d }));
            }
            for feature in [ERRORS, VOLUME] {
                let mean_square = found[100..].iter().map(|d| d[feature].powi(2)).sum::<f64>() / 1_900.0;
                assert!((0.7..1.4).contains(&mean_square), "{rate} {feature}: {mean_square}");
            }
        }
    }
}
