//! Percentiles of a stream of numbers in bounded space.
//!
//! Exact up to [`EXACT_MAX`] numbers; then a DDSketch with relative error [`ALPHA`].
//! Source: Masson, Rim, Lee, "DDSketch", PVLDB 12(12), 2019.

/// Relative error of a percentile once a sketch is used.
pub(crate) const ALPHA: f64 = 0.01;
/// Numbers kept as they are before a sketch takes over.
pub(crate) const EXACT_MAX: usize = 256;
/// Numbers nearer to zero than this count as zero.
const TINY: f64 = 1e-12;
/// Numbers farther from zero than this count as this.
const HUGE: f64 = 1e18;

/// Numbers seen so far.
#[derive(Debug, Clone)]
pub(crate) enum Sketch {
    Exact(Vec<f64>),
    Buckets(Box<Buckets>),
}

/// Counts of numbers by the logarithm of their size.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buckets {
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
    /// Adds a finite number; returns by how many bytes the sketch grew.
    pub(crate) fn add(&mut self, x: f64) -> usize {
        match self {
            Sketch::Buckets(buckets) => buckets.add(x),
            Sketch::Exact(numbers) if numbers.len() < EXACT_MAX => {
                let before = numbers.capacity();
                numbers.push(x);
                (numbers.capacity() - before) * size_of::<f64>()
            }
            Sketch::Exact(numbers) => {
                let mut buckets = Box::new(Buckets::default());
                let grown: usize = numbers.iter().chain([&x]).map(|x| buckets.add(*x)).sum();
                *self = Sketch::Buckets(buckets);
                grown
            }
        }
    }

    /// Whether percentiles are estimates by now.
    pub(crate) fn is_estimate(&self) -> bool {
        matches!(self, Sketch::Buckets(_))
    }

    /// The value at rank `ceil(q * count)` of the ordered numbers, `q` in (0, 1). `None` when empty.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
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
    fn add(&mut self, x: f64) -> usize {
        if x.abs() < TINY {
            self.zeros += 1;
            return 0;
        }
        let side = if x < 0.0 { &mut self.negative } else { &mut self.positive };
        side.add(key(x.abs().min(HUGE)))
    }

    fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.negative.total() + self.zeros + self.positive.total();
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
}

impl Counts {
    fn add(&mut self, key: i32) -> usize {
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
        self.counts[at] += 1;
        (self.counts.capacity() - before) * size_of::<u64>()
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        let keys = self.first..self.first + i32::try_from(self.counts.len()).unwrap_or(0);
        keys.zip(self.counts.iter().copied())
    }
}

fn gamma() -> f64 {
    (1.0 + ALPHA) / (1.0 - ALPHA)
}

/// Bucket of a positive number: `ceil(log_gamma(x))`.
#[expect(clippy::cast_possible_truncation, reason = "within about 3,500 of zero for TINY..=HUGE")]
fn key(x: f64) -> i32 {
    (x.ln() / gamma().ln()).ceil() as i32
}

/// The number that stands for a bucket: at most ALPHA from every number in it.
fn value(key: i32) -> f64 {
    2.0 * gamma().powi(key) / (gamma() + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(
                (estimate - exact).abs() <= exact.abs() * ALPHA * 1.000_001,
                "{q}: {estimate} for {exact}"
            );
        }
    }
}
