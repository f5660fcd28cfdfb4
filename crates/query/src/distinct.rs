//! Number of different values in bounded space.
//!
//! Exact up to [`EXACT_MAX`] values; then HyperLogLog with 2^14 registers, standard error 1.04 / sqrt(2^14) = 0.8 %.
//! Source: Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog", AOFA 2007; linear counting below 2.5 m.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};

/// Values kept before estimation takes over.
pub(crate) const EXACT_MAX: usize = 2_048;
const REGISTER_BITS: u32 = 14;
const REGISTERS: usize = 1 << REGISTER_BITS;

/// Values seen so far, by their hash.
#[derive(Debug, Clone)]
pub(crate) enum Distinct {
    Exact(HashSet<u64>),
    Registers(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::Exact(HashSet::new())
    }
}

impl Distinct {
    /// Adds the value with these bytes; returns by how many bytes the set grew.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let hash = hasher.finish();
        match self {
            Distinct::Registers(registers) => {
                register(registers, hash);
                0
            }
            Distinct::Exact(hashes) => {
                let before = hashes.capacity();
                hashes.insert(hash);
                let grown = (hashes.capacity() - before) * (size_of::<u64>() + 1);
                if hashes.len() <= EXACT_MAX {
                    return grown;
                }
                let mut registers = Box::new([0; REGISTERS]);
                hashes.iter().for_each(|hash| register(&mut registers, *hash));
                *self = Distinct::Registers(registers);
                0
            }
        }
    }

    /// Whether the count is an estimate by now.
    pub(crate) fn is_estimate(&self) -> bool {
        matches!(self, Distinct::Registers(_))
    }

    /// How many different values there were.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate is positive and far below 2^53"
    )]
    pub(crate) fn count(&self) -> u64 {
        let registers = match self {
            Distinct::Exact(hashes) => return hashes.len() as u64,
            Distinct::Registers(registers) => registers,
        };
        let m = REGISTERS as f64;
        let sum: f64 = registers.iter().map(|register| 2_f64.powi(-i32::from(*register))).sum();
        let estimate = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let empty = registers.iter().filter(|register| **register == 0).count();
        let estimate = if estimate <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { estimate };
        estimate.round() as u64
    }
}

fn register(registers: &mut [u8; REGISTERS], hash: u64) {
    let index = usize::try_from(hash >> (64 - REGISTER_BITS)).unwrap_or(0);
    let zeros = (hash << REGISTER_BITS).leading_zeros().min(64 - REGISTER_BITS);
    let rank = u8::try_from(zeros + 1).unwrap_or(u8::MAX);
    registers[index] = registers[index].max(rank);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_while_small_then_within_two_percent() {
        let mut distinct = Distinct::default();
        for n in 0..3_000_u64 {
            distinct.add(&(n % 1_500).to_le_bytes());
        }
        assert_eq!((distinct.count(), distinct.is_estimate()), (1_500, false));
        for total in [20_000_u64, 100_000] {
            (0..total).for_each(|n| {
                distinct.add(&n.to_le_bytes());
            });
            let error = distinct.count().abs_diff(total);
            assert!(error * 50 < total, "{} for {total}", distinct.count());
        }
    }
}
