//! Number of different values in bounded space, by the [hashes](super::hash64) of the values.
//!
//! Exact up to [`Distinct::EXACT_MAX`] values; then HyperLogLog with 2^14 registers, standard error 1.04 / sqrt(2^14) =
//! 0.8 %. Source: Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog", AOFA 2007; linear counting below 2.5 m.
//!
//! Invariant: what was added, in whatever order and however split over sketches that were merged, gives the same count.

use super::codec::{Damage, Reader, put};

const REGISTER_BITS: u32 = 14;
const REGISTERS: usize = 1 << REGISTER_BITS;
/// Slots a set begins with, and those it has when it holds the most hashes.
const SLOTS_MIN: usize = 16;
const SLOTS_MAX: usize = 2 * Distinct::EXACT_MAX;

/// Values seen so far.
#[derive(Debug, Clone)]
pub struct Distinct {
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    /// An open-addressing table, a power of two in size, at most half full; 0 is an empty slot.
    Exact {
        slots: Vec<u64>,
        len: usize,
    },
    Registers(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct { form: Form::Exact { slots: Vec::new(), len: 0 } }
    }
}

impl Distinct {
    /// Values counted exactly before estimation takes over.
    pub const EXACT_MAX: usize = 2_048;
    /// Standard error of an estimate.
    pub const STANDARD_ERROR: f64 = 0.008_125;

    /// Adds the value with this hash; returns by how many bytes the set grew.
    #[inline]
    pub fn add(&mut self, hash: u64) -> usize {
        match &mut self.form {
            Form::Registers(registers) => {
                register(registers, hash);
                0
            }
            Form::Exact { slots, len } => {
                // Zero marks an empty slot: that one hash of 2^64 counts as another.
                let hash = hash.max(1);
                if !slots.is_empty() && slots[find(slots, hash)] == hash {
                    return 0;
                }
                if 2 * (*len + 1) > slots.len() {
                    return self.grow(hash);
                }
                let at = find(slots, hash);
                slots[at] = hash;
                *len += 1;
                0
            }
        }
    }

    #[cold]
    fn grow(&mut self, hash: u64) -> usize {
        let Form::Exact { slots, len } = &mut self.form else { return 0 };
        if slots.len() >= SLOTS_MAX {
            self.estimate();
            return REGISTERS.saturating_sub(SLOTS_MAX * size_of::<u64>()) + self.add(hash);
        }
        let size = (2 * slots.len()).max(SLOTS_MIN);
        let grown = (size - slots.len()) * size_of::<u64>();
        let old = std::mem::replace(slots, vec![0; size]);
        for hash in old.into_iter().filter(|hash| *hash != 0).chain([hash]) {
            let at = find(slots, hash);
            slots[at] = hash;
        }
        *len += 1;
        grown
    }

    /// Goes over to registers.
    fn estimate(&mut self) {
        if let Form::Exact { slots, .. } = &self.form {
            let mut registers = Box::new([0; REGISTERS]);
            slots.iter().filter(|hash| **hash != 0).for_each(|hash| register(&mut registers, *hash));
            self.form = Form::Registers(registers);
        }
    }

    /// Adds everything another one has seen; returns by how many bytes this one grew.
    pub fn merge(&mut self, other: &Distinct) -> usize {
        match &other.form {
            Form::Exact { slots, .. } => {
                slots.iter().filter(|hash| **hash != 0).map(|hash| self.add(*hash)).sum()
            }
            Form::Registers(theirs) => {
                let exact = if let Form::Exact { slots, .. } = &self.form { slots.len() } else { REGISTERS };
                self.estimate();
                if let Form::Registers(ours) = &mut self.form {
                    ours.iter_mut().zip(theirs.iter()).for_each(|(our, their)| *our = (*our).max(*their));
                }
                REGISTERS.saturating_sub(exact * size_of::<u64>())
            }
        }
    }

    /// Whether the count is an estimate by now.
    #[must_use]
    pub fn is_estimate(&self) -> bool {
        matches!(self.form, Form::Registers(_))
    }

    /// How many different values there were.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate is positive and far below 2^53"
    )]
    pub fn count(&self) -> u64 {
        let registers = match &self.form {
            Form::Exact { len, .. } => return *len as u64,
            Form::Registers(registers) => registers,
        };
        let m = REGISTERS as f64;
        let mut ranks = [0_u32; 65];
        registers.iter().for_each(|rank| ranks[usize::from(*rank)] += 1);
        let sum: f64 = (0_i32..).zip(ranks).map(|(rank, count)| f64::from(count) * 2_f64.powi(-rank)).sum();
        let estimate = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let estimate =
            if estimate <= 2.5 * m && ranks[0] > 0 { m * (m / f64::from(ranks[0])).ln() } else { estimate };
        estimate.round() as u64
    }

    /// Appends the bytes of a file: hashes in rising order, or registers.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match &self.form {
            Form::Exact { slots, len } => {
                out.push(0);
                put(out, *len as u64);
                let mut hashes: Vec<u64> = slots.iter().copied().filter(|hash| *hash != 0).collect();
                hashes.sort_unstable();
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Form::Registers(registers) => {
                out.push(1);
                out.extend_from_slice(registers.as_slice());
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Distinct, Damage> {
        let mut distinct = Distinct::default();
        match reader.u8()? {
            0 => {
                let len = reader.count()?;
                for hash in reader.take(len.saturating_mul(8))?.as_chunks::<8>().0 {
                    distinct.add(u64::from_le_bytes(*hash));
                }
            }
            1 => {
                let ranks = reader.take(REGISTERS)?;
                if ranks.iter().any(|rank| u32::from(*rank) > 65 - REGISTER_BITS) {
                    return Err(reader.damage("rank is too large"));
                }
                let mut registers = Box::new([0; REGISTERS]);
                registers.copy_from_slice(ranks);
                distinct.form = Form::Registers(registers);
            }
            _ => return Err(reader.damage("unknown form of a distinct sketch")),
        }
        Ok(distinct)
    }
}

/// The slot of a hash, or the empty one where it belongs.
fn find(slots: &[u64], hash: u64) -> usize {
    let mask = slots.len() - 1;
    #[expect(clippy::cast_possible_truncation, reason = "masked to the table")]
    let mut at = hash as usize & mask;
    while slots[at] != 0 && slots[at] != hash {
        at = (at + 1) & mask;
    }
    at
}

fn register(registers: &mut [u8; REGISTERS], hash: u64) {
    let index = usize::try_from(hash >> (64 - REGISTER_BITS)).unwrap_or(0);
    let zeros = (hash << REGISTER_BITS).leading_zeros().min(64 - REGISTER_BITS);
    let rank = u8::try_from(zeros + 1).unwrap_or(u8::MAX);
    registers[index] = registers[index].max(rank);
}

#[cfg(test)]
mod tests {
    use super::super::hash64;
    use super::*;
    use proptest::prelude::*;

    fn of(numbers: impl Iterator<Item = u64>) -> Distinct {
        let mut distinct = Distinct::default();
        numbers.for_each(|n| {
            distinct.add(hash64(0, &n.to_le_bytes()));
        });
        distinct
    }

    #[test]
    fn exact_while_small_then_within_two_percent() {
        let small = of((0..3_000).map(|n| n % 1_500));
        assert_eq!((small.count(), small.is_estimate()), (1_500, false));
        assert_eq!(of(0..2_048).count(), 2_048);
        for total in [20_000_u64, 100_000, 1_000_000] {
            let distinct = of(0..total);
            let error = distinct.count().abs_diff(total);
            assert!(distinct.is_estimate() && error * 50 < total, "{} for {total}", distinct.count());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn parts_merged_and_stored_count_as_the_whole(a in 0..5_000_u64, b in 0..5_000_u64, overlap in 0..3_000_u64) {
            let whole = of((0..a).chain(a.saturating_sub(overlap)..a + b));
            let mut merged = of(0..a);
            merged.merge(&of(a.saturating_sub(overlap)..a + b));
            prop_assert_eq!(merged.count(), whole.count());
            let mut bytes = Vec::new();
            merged.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            let decoded = Distinct::decode(&mut reader).expect("decodes");
            prop_assert_eq!((decoded.count(), reader.end()), (whole.count(), Ok(())));
        }
    }
}
