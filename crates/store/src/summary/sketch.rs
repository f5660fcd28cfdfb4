//! Percentiles of a stream of numbers in bounded space.
//!
//! Exact up to [`Sketch::EXACT_MAX`] numbers; then counts by buckets that divide each power of two into 64 equal parts, so
//! that the middle of a bucket is at most 1/128 from every number in it. The bucket of a number is the top of its bits:
//! no logarithm is taken. Source: Masson, Rim, Lee, "DDSketch", PVLDB 12(12), 2019, with the linear mapping of its section
//! on cheaper index functions.
//!
//! Invariant: what was added, in whatever order and however split over buckets that were merged, gives the same counts.

use super::codec::{Damage, Reader, put, put_signed};

/// Mantissa bits that tell buckets apart: 64 buckets for each power of two.
const SUB_BITS: u32 = 6;
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - SUB_BITS;
/// Numbers nearer to zero than this count as zero.
const TINY: f64 = 1e-12;
/// Numbers farther from zero than this count as this.
const HUGE: f64 = 1e18;
/// Buckets between the two, about.
const BUCKETS_MAX: u64 = 100 << SUB_BITS;

/// Numbers seen so far.
#[derive(Debug, Clone)]
pub enum Sketch {
    /// As they are, while they are few.
    Exact(Vec<f64>),
    /// Counted.
    Buckets(Box<Buckets>),
}

/// Counts of numbers by their size.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets {
    negative: Counts,
    zeros: u64,
    positive: Counts,
}

/// Counts by bucket key; `counts[0]` is that of `first`.
#[derive(Debug, Clone, Default)]
struct Counts {
    first: i32,
    counts: Vec<u64>,
}

impl Default for Sketch {
    fn default() -> Self {
        Sketch::Exact(Vec::new())
    }
}

impl Sketch {
    /// Relative error of a percentile once buckets are used.
    pub const ALPHA: f64 = 0.01;
    /// Numbers kept as they are before buckets take over.
    pub const EXACT_MAX: usize = 256;

    /// Adds a finite number; returns by how many bytes the sketch grew.
    pub fn add(&mut self, x: f64) -> usize {
        match self {
            Sketch::Buckets(buckets) => buckets.add(x),
            Sketch::Exact(numbers) if numbers.len() < Sketch::EXACT_MAX => {
                let before = numbers.capacity();
                numbers.push(x);
                (numbers.capacity() - before) * size_of::<f64>()
            }
            Sketch::Exact(_) => {
                let buckets = self.buckets();
                let grown = buckets.add(x);
                grown + buckets.byte_size()
            }
        }
    }

    /// Adds numbers that were counted elsewhere; returns by how many bytes the sketch grew.
    pub fn merge(&mut self, other: &Buckets) -> usize {
        let before = match self {
            Sketch::Exact(_) => 0,
            Sketch::Buckets(buckets) => buckets.byte_size(),
        };
        let buckets = self.buckets();
        buckets.merge(other);
        buckets.byte_size().saturating_sub(before)
    }

    /// Adds all numbers another has seen; returns by how many bytes the sketch grew.
    pub fn absorb(&mut self, other: &Sketch) -> usize {
        match other {
            Sketch::Exact(numbers) => numbers.iter().map(|x| self.add(*x)).sum(),
            Sketch::Buckets(buckets) => self.merge(buckets),
        }
    }

    /// Goes over to buckets.
    fn buckets(&mut self) -> &mut Buckets {
        if let Sketch::Exact(numbers) = self {
            let mut buckets = Box::new(Buckets::default());
            numbers.iter().for_each(|x| {
                buckets.add(*x);
            });
            *self = Sketch::Buckets(buckets);
        }
        match self {
            Sketch::Buckets(buckets) => buckets,
            Sketch::Exact(_) => unreachable!("it was just made buckets"),
        }
    }

    /// Whether percentiles are estimates by now.
    #[must_use]
    pub fn is_estimate(&self) -> bool {
        matches!(self, Sketch::Buckets(_))
    }

    /// The value at rank `ceil(q * count)` of the ordered numbers, `q` in (0, 1). `None` when empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        match self {
            Sketch::Exact(numbers) => {
                let mut sorted = numbers.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                let index = usize::try_from(rank(q, sorted.len() as u64)?).ok()?;
                sorted.get(index).copied()
            }
            Sketch::Buckets(buckets) => buckets.quantile(q),
        }
    }
}

/// Index from 0 of the number at quantile `q` among `count`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are far below 2^53 and q lies in (0, 1)"
)]
fn rank(q: f64, count: u64) -> Option<u64> {
    let last = count.checked_sub(1)?;
    Some(((q * count as f64).ceil() as u64).saturating_sub(1).min(last))
}

impl Buckets {
    /// Adds a finite number; returns by how many bytes the buckets grew.
    #[inline]
    pub fn add(&mut self, x: f64) -> usize {
        if x.abs() < TINY {
            self.zeros += 1;
            return 0;
        }
        let side = if x < 0.0 { &mut self.negative } else { &mut self.positive };
        side.add(key(x.abs().min(HUGE)), 1)
    }

    /// Adds all counts of another.
    pub fn merge(&mut self, other: &Buckets) {
        self.zeros += other.zeros;
        self.negative.merge(&other.negative);
        self.positive.merge(&other.positive);
    }

    /// Bytes of the counts in memory.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        (self.negative.counts.capacity() + self.positive.counts.capacity()) * size_of::<u64>()
    }

    fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.negative.total().saturating_add(self.zeros).saturating_add(self.positive.total());
        let mut left = rank(q, count)?;
        for (key, count) in self.negative.iter().rev() {
            match left.checked_sub(count) {
                Some(rest) => left = rest,
                None => return Some(-value(key)),
            }
        }
        match left.checked_sub(self.zeros) {
            Some(rest) => left = rest,
            None => return Some(0.0),
        }
        for (key, count) in self.positive.iter() {
            match left.checked_sub(count) {
                Some(rest) => left = rest,
                None => return Some(value(key)),
            }
        }
        None
    }

    /// Appends the bytes of a file.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.zeros);
        self.negative.encode(out);
        self.positive.encode(out);
    }

    /// Adds the counts of [`Buckets::encode`]d bytes.
    pub(crate) fn add_encoded(&mut self, reader: &mut Reader<'_>) -> Result<(), Damage> {
        self.zeros = self.zeros.saturating_add(reader.varint()?);
        self.negative.add_encoded(reader)?;
        self.positive.add_encoded(reader)
    }

    /// Passes over [`Buckets::encode`]d bytes.
    pub(crate) fn skip_encoded(reader: &mut Reader<'_>) -> Result<(), Damage> {
        reader.varint()?;
        for _ in 0..2 {
            for _ in 0..2 * reader.count()? {
                reader.varint()?;
            }
        }
        Ok(())
    }
}

impl Counts {
    #[inline]
    fn add(&mut self, key: i32, count: u64) -> usize {
        let at = usize::try_from(i64::from(key) - i64::from(self.first)).unwrap_or(usize::MAX);
        if let Some(slot) = self.counts.get_mut(at) {
            *slot = slot.saturating_add(count);
            return 0;
        }
        self.widen(key, count)
    }

    #[cold]
    fn widen(&mut self, key: i32, count: u64) -> usize {
        let before = self.counts.capacity();
        if self.counts.is_empty() {
            self.first = key;
        }
        if key < self.first {
            let missing = usize::try_from(self.first - key).unwrap_or(0);
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = key;
        }
        let at = usize::try_from(key - self.first).unwrap_or(0);
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] = self.counts[at].saturating_add(count);
        (self.counts.capacity() - before) * size_of::<u64>()
    }

    fn merge(&mut self, other: &Counts) {
        let (Some((first, _)), Some((last, _))) = (other.iter().next(), other.iter().next_back()) else {
            return;
        };
        self.add(first, 0);
        self.add(last, 0);
        let at = usize::try_from(first - self.first).unwrap_or(0);
        self.counts[at..]
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(ours, theirs)| *ours = ours.saturating_add(*theirs));
    }

    fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        let keys = self.first..self.first + i32::try_from(self.counts.len()).unwrap_or(0);
        keys.zip(self.counts.iter().copied())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let filled = || self.iter().filter(|(_, count)| *count > 0);
        put(out, filled().count() as u64);
        let mut last = 0;
        for (key, count) in filled() {
            put_signed(out, i64::from(key) - last);
            put(out, count);
            last = i64::from(key);
        }
    }

    fn add_encoded(&mut self, reader: &mut Reader<'_>) -> Result<(), Damage> {
        let mut key = 0;
        for _ in 0..reader.count()? {
            key = i64::saturating_add(key, reader.signed()?);
            let known = (i64::from(self::key(TINY)) - 1..=i64::from(self::key(HUGE))).contains(&key);
            let bucket = i32::try_from(key).ok().filter(|_| known);
            let bucket = bucket.ok_or_else(|| reader.damage("bucket is out of range"))?;
            self.add(bucket, reader.varint()?);
        }
        Ok(())
    }
}

impl PartialEq for Counts {
    fn eq(&self, other: &Counts) -> bool {
        let filled = |counts: &Counts| counts.iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
        filled(self) == filled(other)
    }
}

/// Bucket of a positive number: its exponent and the top of its mantissa.
#[inline]
fn key(x: f64) -> i32 {
    i32::try_from(x.to_bits() >> SHIFT).unwrap_or(i32::MAX)
}

/// The number that stands for a bucket: the middle of it.
fn value(key: i32) -> f64 {
    let bits = u64::try_from(key).unwrap_or(0) << SHIFT;
    f64::from_bits(bits | 1 << (SHIFT - 1))
}

const _: () = assert!(1.0 / (2 << SUB_BITS) as f64 <= Sketch::ALPHA);
const _: () = assert!(BUCKETS_MAX * 8 < 64 << 10, "the counts of one sketch stay below 64 KiB a side");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_is_exact_and_large_is_within_the_error() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.quantile(0.5), None);
        for n in 1..=100 {
            sketch.add(f64::from(n));
        }
        assert_eq!(sketch.quantile(0.5), Some(50.0));
        assert_eq!(sketch.quantile(0.99), Some(99.0));
        for n in -5_000..5_000 {
            sketch.add(f64::from(n) * 1.5);
        }
        assert!(sketch.is_estimate());
        let mut all: Vec<f64> =
            (1..=100).map(f64::from).chain((-5_000..5_000).map(|n| f64::from(n) * 1.5)).collect();
        all.sort_unstable_by(f64::total_cmp);
        for q in [0.01, 0.25, 0.5, 0.75, 0.99, 0.999] {
            let exact = all[usize::try_from(rank(q, all.len() as u64).expect("not empty")).expect("small")];
            let estimate = sketch.quantile(q).expect("not empty");
            assert!((estimate - exact).abs() <= exact.abs() * Sketch::ALPHA, "{q}: {estimate} for {exact}");
        }
    }

    proptest! {
        #[test]
        fn a_bucket_stands_for_its_numbers(x in prop_oneof![TINY..1.0, 1.0..1e6, 1e6..HUGE]) {
            prop_assert!((value(key(x)) - x).abs() <= x * Sketch::ALPHA);
        }

        #[test]
        fn merged_and_stored_parts_are_the_whole(a in prop::collection::vec(-1e9..1e9, 0..50), b in prop::collection::vec(-1.0..1.0, 0..50)) {
            let of = |numbers: &[f64]| {
                let mut buckets = Buckets::default();
                numbers.iter().for_each(|x| { buckets.add(*x); });
                buckets
            };
            let whole = of(&[a.as_slice(), b.as_slice()].concat());
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(&merged, &whole);
            let mut bytes = Vec::new();
            of(&b).encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            let mut added = of(&a);
            added.add_encoded(&mut reader).expect("decodes");
            prop_assert_eq!((&added, reader.end()), (&whole, Ok(())));
            let mut reader = Reader::new(&bytes);
            Buckets::skip_encoded(&mut reader).expect("decodes");
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
