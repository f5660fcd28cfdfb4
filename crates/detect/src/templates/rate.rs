//! The usual rate of one template: what a block of five minutes holds, by recent level and by hour of the day.
//!
//! Two references are kept: the recent level (an exponential average over three hours) and, for every hour of the day,
//! the mean (over a week) and the fullest block. A count is unusual only when it is so against both, and against the
//! hours before and after: a ramp in the morning or a job that starts ten minutes late is neither.
//!
//! Invariants:
//! - all numbers stay finite and not negative;
//! - only [`Rate::learn`] changes levels and means: the caller keeps incidents out.

use serde::{Deserialize, Serialize};

use super::tail;
use crate::snapshot;

/// Hours of a day.
pub(super) const HOURS: usize = 24;
/// Blocks before a rate is known at all.
pub(super) const BLOCKS_MIN: u32 = 12;
/// Blocks of an hour of the day before its mean counts: one whole hour.
const HOUR_BLOCKS_MIN: u8 = 12;
/// Blocks the recent level remembers (mean age): three hours.
const LEVEL_MEMORY: f64 = 36.0;
/// Blocks the mean of an hour of the day remembers: a week of twelve.
const HOUR_MEMORY: f64 = 84.0;
/// Blocks the dispersion remembers: a day.
const DISPERSION_MEMORY: f64 = 288.0;
/// Dispersion before anything is known, and the blocks that it weighs as: counts vary by a third around their mean.
const DISPERSION_PRIOR: f64 = 0.1;
const DISPERSION_PRIOR_BLOCKS: f64 = 12.0;
/// Bounds of the dispersion: even the steadiest rate drifts by 14 %, and beyond 4 a rate says nothing.
const DISPERSION_MIN: f64 = 0.02;
const DISPERSION_MAX: f64 = 4.0;
/// Smallest mean computed with: one record in a month.
const MEAN_MIN: f64 = 1e-4;
/// Times the usual peak, or the fullest block of the hour, that is unusual.
const PEAK_MARGIN: f64 = 1.5;
/// Share of the fullest block of an hour forgotten per block of it: half of it in eight days.
const FULLEST_DECAY: f64 = 0.007;
/// Share of the peak forgotten per block: half of it in five days.
const PEAK_DECAY: f64 = 0.0005;

/// Baseline of one template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rate {
    /// Blocks learnt since the rate was last learnt anew.
    blocks: u32,
    #[serde(with = "snapshot::bits")]
    level: f64,
    /// Sums whose quotient is the dispersion, and the blocks in them.
    dispersed: u32,
    #[serde(with = "snapshot::bits")]
    excess: f64,
    #[serde(with = "snapshot::bits")]
    squares: f64,
    /// Largest multiple of the baseline that was usual.
    #[serde(with = "snapshot::bits")]
    peak: f64,
    hours: [Hour; HOURS],
}

/// An hour of the day: the bits of the mean and of the fullest block, and the blocks they were learnt from.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Hour(u32, u32, u8);

impl Hour {
    fn mean(self) -> Option<f64> {
        (self.2 >= HOUR_BLOCKS_MIN).then(|| f64::from(f32::from_bits(self.0)))
    }

    fn fullest(self) -> f64 {
        f64::from(f32::from_bits(self.1))
    }

    fn see_full(&mut self, count: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "a count needs no more digits")]
        let fullest = (self.fullest() * (1.0 - FULLEST_DECAY)).max(count) as f32;
        self.1 = fullest.to_bits();
    }

    fn learn(&mut self, count: f64) {
        self.2 = self.2.saturating_add(1);
        let mean = f64::from(f32::from_bits(self.0));
        let gain = (1.0 / f64::from(self.2)).max(1.0 / HOUR_MEMORY);
        #[expect(clippy::cast_possible_truncation, reason = "a mean of counts needs no more digits")]
        let learnt = (mean + gain * (count - mean)) as f32;
        self.0 = learnt.to_bits();
        self.see_full(count);
    }
}

/// What a shift or burst must exceed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Times the baseline.
    pub(super) ratio: f64,
    /// Records per block.
    pub(super) records_min: f64,
    /// Chance.
    pub(super) chance: f64,
}

/// An unusual count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deviation {
    /// What was expected, and its deviation.
    pub(super) mean: f64,
    pub(super) stddev: f64,
    /// Blocks the baseline was learnt from.
    pub(super) blocks: u32,
    /// The count beyond which it is unusual.
    pub(super) bound: f64,
    /// The count.
    pub(super) count: u32,
    /// Chance of such a count or a further one.
    pub(super) chance: f64,
}

impl Default for Rate {
    fn default() -> Self {
        Rate {
            blocks: 0,
            level: 0.0,
            dispersed: 0,
            excess: 0.0,
            squares: 0.0,
            peak: 1.0,
            hours: [Hour::default(); HOURS],
        }
    }
}

impl Rate {
    /// Whether the recent level is known.
    pub(super) fn is_known(&self) -> bool {
        self.blocks >= BLOCKS_MIN
    }

    /// Lowest and highest mean that is usual in a block of this hour.
    pub(super) fn band(&self, hour: usize) -> (f64, f64) {
        let mut band = (self.level, self.level);
        if self.hours[hour].mean().is_some() {
            for at in [hour + HOURS - 1, hour, hour + 1] {
                if let Some(mean) = self.hours[at % HOURS].mean() {
                    band = (band.0.min(mean), band.1.max(mean));
                }
            }
        }
        band
    }

    pub(super) fn dispersion(&self) -> f64 {
        let prior = DISPERSION_PRIOR_BLOCKS * (self.level * self.level).max(1.0);
        let learnt = f64::from(self.dispersed).min(DISPERSION_MEMORY);
        let quotient = (learnt * self.excess + DISPERSION_PRIOR * prior) / (learnt * self.squares + prior);
        quotient.clamp(DISPERSION_MIN, DISPERSION_MAX)
    }

    /// Count above which a block of this hour is unusually full.
    pub(super) fn upper(&self, hour: usize, bounds: &Bounds) -> f64 {
        let mean = self.band(hour).1;
        let ratio = bounds.ratio.max(PEAK_MARGIN * self.peak);
        let by_chance = tail::bound(mean.max(MEAN_MIN), self.dispersion(), bounds.chance);
        let by_hour = PEAK_MARGIN * self.fullest(hour);
        (ratio * mean.max(1.0)).max(mean + bounds.records_min).max(by_hour).max(by_chance)
    }

    /// Records of the fullest block of this hour and the hours beside it.
    fn fullest(&self, hour: usize) -> f64 {
        let near = [hour + HOURS - 1, hour, hour + 1];
        near.iter().map(|at| self.hours[at % HOURS].fullest()).fold(0.0, f64::max)
    }

    /// Notes how full a block of this hour may be, without learning it: it is so every day.
    pub(super) fn recurred(&mut self, count: u32, hour: usize) {
        self.hours[hour].see_full(f64::from(count));
    }

    /// Whether a count is unusually high; the chance is exact.
    pub(super) fn above(&self, count: u32, hour: usize, bounds: &Bounds) -> Option<Deviation> {
        let mean = self.band(hour).1;
        // The cheap part of the bound first: it is asked for every template and block.
        if !self.is_known() || f64::from(count) < bounds.records_min.max(bounds.ratio * mean) {
            return None;
        }
        let bound = self.upper(hour, bounds);
        if f64::from(count) <= bound {
            return None;
        }
        let mean = mean.max(MEAN_MIN);
        let chance = tail::at_least(count, mean, self.dispersion());
        (chance <= bounds.chance).then(|| self.deviation(count, mean, bound, chance))
    }

    /// Whether a count is unusually low, but not nothing.
    pub(super) fn below(&self, count: u32, hour: usize, bounds: &Bounds) -> Option<Deviation> {
        let mean = self.band(hour).0;
        let bound = (mean / bounds.ratio).min(mean - bounds.records_min);
        if !self.is_known() || count == 0 || f64::from(count) > bound {
            return None;
        }
        let chance = tail::at_most(count, mean, self.dispersion());
        (chance <= bounds.chance).then(|| self.deviation(count, mean, bound, chance))
    }

    /// Whether so many records that were expected and did not come are too many for chance. `missing` adds up the lower
    /// ends of [`Rate::band`].
    pub(super) fn stopped(&self, missing: f64, chance_max: f64) -> Option<Deviation> {
        if !self.is_known() || missing <= 0.0 {
            return None;
        }
        let chance = tail::at_most(0, missing, self.dispersion());
        (chance <= chance_max).then(|| self.deviation(0, missing, 0.0, chance))
    }

    fn deviation(&self, count: u32, mean: f64, bound: f64, chance: f64) -> Deviation {
        let stddev = (mean + self.dispersion() * mean * mean).sqrt();
        Deviation { mean, stddev, blocks: self.blocks, bound, count, chance }
    }

    /// Takes a block into the baseline.
    pub(super) fn learn(&mut self, count: u32, hour: usize) {
        let count = f64::from(count);
        if self.blocks > 0 {
            let (low, high) = self.band(hour);
            self.disperse(count, count.clamp(low, high), high);
        }
        self.blocks = self.blocks.saturating_add(1);
        let gain = (1.0 / f64::from(self.blocks)).max(1.0 / LEVEL_MEMORY);
        self.level += gain * (count - self.level);
        self.hours[hour].learn(count);
        if self.hours[hour].2 == HOUR_BLOCKS_MIN && self.hours.iter().all(|hour| hour.mean().is_some()) {
            // Until now the ramps of the day were taken for bursts.
            (self.dispersed, self.peak) = (0, 1.0);
        }
    }

    fn disperse(&mut self, count: f64, expected: f64, high: f64) {
        self.dispersed = self.dispersed.saturating_add(1);
        let gain = (1.0 / f64::from(self.dispersed)).max(1.0 / DISPERSION_MEMORY);
        let residual = count - expected;
        self.excess += gain * ((residual * residual - expected).max(0.0) - self.excess);
        self.squares += gain * (expected * expected - self.squares);
        self.remember_peak(count, high);
        self.peak = (self.peak * (1.0 - PEAK_DECAY)).max(1.0);
    }

    fn remember_peak(&mut self, count: f64, high: f64) {
        if self.blocks >= BLOCKS_MIN {
            self.peak = self.peak.max(count / high.max(1.0));
        }
    }

    /// Notes a peak that passed within one block, without learning it: this template does so now and then.
    pub(super) fn spiked(&mut self, count: u32, hour: usize) {
        self.remember_peak(f64::from(count), self.band(hour).1);
    }

    /// Learns the recent level anew; what hours are usually like is kept.
    pub(super) fn restart(&mut self) {
        self.blocks = 0;
    }

    /// Takes in the rate of a template that turned out to be the same.
    pub(super) fn join(&mut self, other: &Rate) {
        self.level += other.level;
        self.blocks = self.blocks.max(other.blocks);
        self.dispersed = self.dispersed.max(other.dispersed);
        self.excess += other.excess;
        self.squares += other.squares;
        self.peak = self.peak.max(other.peak);
        for (hour, theirs) in self.hours.iter_mut().zip(&other.hours) {
            let add = |a: u32, b: u32| (f32::from_bits(a) + f32::from_bits(b)).to_bits();
            *hour = Hour(add(hour.0, theirs.0), add(hour.1, theirs.1), hour.2.max(theirs.2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { ratio: 3.0, records_min: 20.0, chance: 1e-7 };

    #[test]
    fn a_steady_rate_is_left_only_by_much() {
        let mut rate = Rate::default();
        (0..40).for_each(|n| rate.learn(100 + n % 5, 3));
        assert!(rate.above(250, 3, &BOUNDS).is_none() && rate.above(500, 3, &BOUNDS).is_some());
        assert!(rate.below(40, 3, &BOUNDS).is_none() && rate.below(20, 3, &BOUNDS).is_some());
        assert!(rate.stopped(12.0, 1e-7).is_none() && rate.stopped(102.0, 1e-7).is_some());
    }

    #[test]
    fn the_hour_of_the_day_excuses_what_it_usually_does() {
        let mut rate = Rate::default();
        for day in 0..3 {
            for hour in 0..HOURS {
                let count = if (9..17).contains(&hour) { 400 } else { 20 };
                (0..12).for_each(|_| rate.learn(count, hour));
                assert!(day == 0 || rate.above(400, 9, &BOUNDS).is_none(), "day {day} hour {hour}");
            }
        }
        assert!(rate.above(2_000, 9, &BOUNDS).is_some(), "not even at nine");
        assert!(rate.above(300, 3, &BOUNDS).is_some(), "not at three");
        assert!(rate.stopped(rate.band(17).0 * 2.0, 1e-7).is_some());
    }

    #[test]
    fn a_template_that_peaks_may_peak() {
        let mut rate = Rate::default();
        for n in 0..200 {
            rate.learn(if n % 20 == 19 { 60 } else { 1 }, 3);
        }
        assert!(rate.above(80, 3, &BOUNDS).is_none(), "{rate:?}");
    }
}
