//! Random draws in the shapes the world needs, from any generator.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::json::whole;

/// Half width of [`noise`] in standard deviations: the reason why a quiet world crosses no 2.5 σ threshold.
#[cfg(test)]
pub(crate) const NOISE_DEVIATIONS_MAX: f64 = 2.2;

/// A generator of its own for part `stream` of the world, so that parts do not disturb each other's draws.
pub(crate) fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// A whole number in `0..n`; 0 when `n` is 0.
pub(crate) fn below<R: RngCore>(rng: &mut R, n: u64) -> u64 {
    scale(rng.next_u64(), n)
}

/// Maps the 64 random bits `bits` onto `0..n` (the high half of the product).
pub(crate) fn scale(bits: u64, n: u64) -> u64 {
    ((u128::from(bits) * u128::from(n)) >> 64) as u64
}

/// A number in `0.0..1.0`.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact in f64")]
pub(crate) fn unit<R: RngCore>(rng: &mut R) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Whether something of probability `p` happens.
pub(crate) fn chance<R: RngCore>(rng: &mut R, p: f64) -> bool {
    unit(rng) < p
}

/// One of `items`, which are not empty.
pub(crate) fn pick<'a, T, R: RngCore>(rng: &mut R, items: &'a [T]) -> &'a T {
    &items[index(rng, items.len())]
}

/// An index in `0..len`; 0 when `len` is 0.
#[expect(clippy::cast_possible_truncation, reason = "below `len`, which is a usize")]
pub(crate) fn index<R: RngCore>(rng: &mut R, len: usize) -> usize {
    below(rng, len as u64) as usize
}

/// A number in `-1.0..1.0`, more often near the middle, never further than [`NOISE_DEVIATIONS_MAX`] of its standard
/// deviations from it.
pub(crate) fn noise<R: RngCore>(rng: &mut R) -> f64 {
    1.5 * unit(rng) + 0.5 * unit(rng) - 1.0
}

/// A factor around 1 with a long upper tail, as durations have: median 1, p99 about 5.
pub(crate) fn long_tail<R: RngCore>(rng: &mut R) -> f64 {
    let normal = (0..6).map(|_| unit(rng)).sum::<f64>() - 3.0;
    (normal * 1.41 * 0.7).exp()
}

/// The pause in ns before the next of events that come at random, `per_second` on average. At least 1 ns.
pub(crate) fn pause_ns<R: RngCore>(rng: &mut R, per_second: f64) -> i64 {
    let seconds = -(1.0 - unit(rng)).ln() / per_second;
    ns(seconds).max(1)
}

/// Seconds as ns, saturating; 0 for what is negative.
pub(crate) fn ns(seconds: f64) -> i64 {
    i64::try_from(whole(seconds * 1e9)).unwrap_or(i64::MAX)
}

/// `N` random bytes, not all zero (an all-zero trace or span id is invalid).
pub(crate) fn id<const N: usize, R: RngCore>(rng: &mut R) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes[0] |= 1;
    bytes
}

/// Mixes two numbers into one that looks random (the finaliser of SplitMix64).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64: a few ns per number, good enough for text, and startable at any row.
///
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    /// The generator of row `row` in the run `seed`.
    pub(crate) fn at(seed: u64, row: u64) -> SplitMix {
        SplitMix(mix(seed, row.wrapping_add(1)))
    }
}

impl RngCore for SplitMix {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0, 0)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_bounded_and_centred() {
        let mut rng = stream(1, 1);
        let draws: Vec<f64> = (0..20_000).map(|_| noise(&mut rng)).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let deviation = (draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0).sqrt();
        assert!(mean.abs() < 0.01, "{mean}");
        assert!(1.0 / deviation < NOISE_DEVIATIONS_MAX, "{deviation}");
    }

    #[test]
    fn pauses_have_the_rate_asked_for() {
        let mut rng = stream(1, 2);
        let total: i64 = (0..10_000).map(|_| pause_ns(&mut rng, 50.0)).sum();
        assert!((190_000_000_000..210_000_000_000).contains(&total), "{total}");
    }
}
