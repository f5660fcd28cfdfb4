//! The mix of levels of one service, block by block, against the usual mix.
//!
//! The distance is the Jensen-Shannon divergence: 0 for equal mixes, 1 bit for mixes that share no level. What is
//! usual includes how far blocks usually are from the usual mix, so that a service which is another one at night has a
//! wider bound. A mix that is news is not learnt until it has lasted.
//!
//! Source: Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37(1), 1991.

use serde::{Deserialize, Serialize};

use crate::config::TemplatesConfig;
use crate::snapshot;

/// No level, and the six levels.
pub(super) const LEVELS: usize = 7;
/// Blocks before a mix is known: two hours.
const BLOCKS_MIN: u32 = 24;
/// Blocks the usual mix remembers: a day.
const MEMORY: f64 = 288.0;
/// Deviations of the usual distance that are news.
const DEVIATIONS: f64 = 6.0;
/// Blocks in a row that make news.
const RUN: u32 = 2;

/// Baseline of one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Mix {
    blocks: u32,
    shares: [Bits; LEVELS],
    #[serde(with = "snapshot::bits")]
    mean: f64,
    #[serde(with = "snapshot::bits")]
    variance: f64,
    /// Unusual blocks in a row.
    run: u32,
}

/// A float that is saved as its bits.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Bits(#[serde(with = "snapshot::bits")] f64);

/// An unusual mix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shifted {
    /// Distance from the usual mix, in bits, and the bound.
    pub(super) divergence: f64,
    pub(super) bound: f64,
    /// Usual distance and its deviation.
    pub(super) mean: f64,
    pub(super) stddev: f64,
    pub(super) blocks: u32,
    /// Records of the block.
    pub(super) records: u32,
    /// The G statistic of the block against the usual mix, in nats (6 degrees of freedom).
    pub(super) g: f64,
    /// Share of every level now and usually, and its part in the divergence.
    pub(super) now: [f64; LEVELS],
    pub(super) usual: [f64; LEVELS],
    pub(super) parts: [f64; LEVELS],
}

impl Mix {
    /// Judges a block that is over, and learns it unless it is unusual. `quiet` learns only.
    pub(super) fn end_block(
        &mut self,
        counts: &[u32; LEVELS],
        quiet: bool,
        config: &TemplatesConfig,
    ) -> Option<Shifted> {
        let records: u32 = counts.iter().sum();
        if records < config.mix_records_min {
            return None;
        }
        let shifted = self.compare(counts, records, config);
        let is_unusual = self.blocks >= BLOCKS_MIN && shifted.divergence > shifted.bound;
        let lasting = u32::try_from(config.relearn_after.ns() / super::BLOCK_NS).unwrap_or(u32::MAX);
        if !is_unusual || quiet || self.run >= lasting {
            if self.run >= lasting {
                self.blocks = 0;
            }
            self.run = 0;
            self.learn(&shifted);
            return None;
        }
        self.run += 1;
        (self.run == RUN).then_some(shifted)
    }

    /// Learns the mix anew.
    pub(super) fn restart(&mut self) {
        *self = Mix::default();
    }

    fn compare(&self, counts: &[u32; LEVELS], records: u32, config: &TemplatesConfig) -> Shifted {
        let (mut now, mut usual, mut parts) = ([0.0; LEVELS], [0.0; LEVELS], [0.0; LEVELS]);
        let total = f64::from(records);
        let mut g = 0.0;
        for level in 0..LEVELS {
            let (p, q) = (f64::from(counts[level]) / total, self.shares[level].0);
            let half = f64::midpoint(p, q);
            let part = |share: f64| if share > 0.0 { 0.5 * share * (share / half).log2() } else { 0.0 };
            (now[level], usual[level], parts[level]) = (p, q, part(p) + part(q));
            // A level that was never there counts as seen half a time.
            g += if p > 0.0 { 2.0 * total * p * (p / q.max(0.5 / total)).ln() } else { 0.0 };
        }
        let stddev = self.variance.sqrt();
        // Chance alone moves a mix by about its free levels over the records.
        let by_chance = f64::midpoint(LEVELS as f64, 3.0) / total;
        let bound = (self.mean + DEVIATIONS * stddev).max(config.mix_divergence_min + by_chance);
        let divergence = parts.iter().sum();
        let (mean, blocks) = (self.mean, self.blocks);
        Shifted { divergence, bound, mean, stddev, blocks, records, g, now, usual, parts }
    }

    fn learn(&mut self, block: &Shifted) {
        self.blocks = self.blocks.saturating_add(1);
        let gain = (1.0 / f64::from(self.blocks)).max(1.0 / MEMORY);
        for (share, now) in self.shares.iter_mut().zip(block.now) {
            share.0 += gain * (now - share.0);
        }
        if self.blocks > 1 {
            let gain = (1.0 / f64::from(self.blocks - 1)).max(1.0 / MEMORY);
            let delta = block.divergence - self.mean;
            self.mean += gain * delta;
            self.variance = (1.0 - gain) * (self.variance + gain * delta * delta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_rise_are_a_shift_and_more_of_the_same_is_none() {
        let (mut mix, config) = (Mix::default(), TemplatesConfig::default());
        for n in 0..300 {
            let counts = [0, 0, 10 + n % 7, 900 + n, 20, 4 + n % 3, 0];
            assert!(mix.end_block(&counts, false, &config).is_none(), "{n}");
        }
        assert!(mix.end_block(&[0, 0, 100, 9_000, 210, 50, 0], false, &config).is_none());
        assert!(mix.end_block(&[0, 0, 10, 700, 20, 300, 0], false, &config).is_none(), "once is no shift");
        let shifted = mix.end_block(&[0, 0, 10, 700, 20, 300, 0], false, &config).unwrap();
        assert!(shifted.divergence > 0.1 && shifted.parts[5] > shifted.parts[3], "{shifted:?}");
        // It is news once, and learnt when it lasts.
        for _ in 0..100 {
            assert!(mix.end_block(&[0, 0, 10, 700, 20, 300, 0], false, &config).is_none());
        }
        assert_eq!(mix.run, 0);
    }
}
