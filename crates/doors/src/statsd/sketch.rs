//! Quantiles of values that are not kept: DDSketch, with weights.
//!
//! Invariants:
//! - a quantile is within [`ALPHA`] (1 %) of a true one, as long as the lowest buckets were not merged;
//! - at most [`BUCKETS_MAX`] buckets; beyond, the lowest two become one, so high quantiles stay exact to the same 1 %;
//! - count, sum, minimum and maximum are exact.
//!
//! Source: Masson, Rim, Lee, "DDSketch", PVLDB 12(12), 2019.

/// Relative error of a quantile.
pub(crate) const ALPHA: f64 = 0.01;
/// Buckets of one sketch: without merging they span a ratio of 1 to 8 * 10^8.
pub(crate) const BUCKETS_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sketch {
    pub(crate) count: f64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    // INVARIANT: sorted by `rank_of` of their values, ascending.
    buckets: Vec<Bucket>,
}

/// Values of one sign and nearly one size.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Negative values first, the largest of them by size first; then zero; then positive ones.
    place: i32,
    weight: f64,
}

/// Far from any logarithm of a double, so that sign and size fit one number.
const OFFSET: i32 = 1 << 20;

fn ln_gamma() -> f64 {
    ((1.0 + ALPHA) / (1.0 - ALPHA)).ln()
}

fn place_of(value: f64) -> i32 {
    if value == 0.0 {
        return 0;
    }
    // A double's logarithm to this base is between -37,300 and 35,500.
    #[expect(clippy::cast_possible_truncation, reason = "within the range above")]
    let log = (value.abs().ln() / ln_gamma()).ceil() as i32;
    if value > 0.0 { OFFSET + log } else { -OFFSET - log }
}

fn value_at(place: i32) -> f64 {
    if place == 0 {
        return 0.0;
    }
    let log = f64::from(place.abs() - OFFSET);
    let size = 2.0 * (log * ln_gamma()).exp() / ((ln_gamma()).exp() + 1.0);
    if place > 0 { size } else { -size }
}

impl Sketch {
    /// Adds a value that stands for `weight` of them. When `may_grow` is false and it has no bucket, the nearest takes it;
    /// the number of buckets that are new.
    pub(crate) fn add(&mut self, value: f64, weight: f64, may_grow: bool) -> usize {
        let is_first = self.count == 0.0;
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = if is_first { value } else { self.max.max(value) };
        self.count += weight;
        self.sum += value * weight;
        let place = place_of(value);
        match self.buckets.binary_search_by_key(&place, |bucket| bucket.place) {
            Ok(at) => self.buckets[at].weight += weight,
            Err(at) if !may_grow && !self.buckets.is_empty() => {
                let at = at.min(self.buckets.len() - 1);
                self.buckets[at].weight += weight;
            }
            Err(at) => {
                self.buckets.insert(at, Bucket { place, weight });
                if self.buckets.len() > BUCKETS_MAX {
                    let lowest = self.buckets.remove(0);
                    self.buckets[0].weight += lowest.weight;
                    return 0;
                }
                return 1;
            }
        }
        0
    }

    /// The `q`-quantile; `q` in `[0, 1]`.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let rank = q * (self.count - 1.0).max(0.0);
        let mut below = 0.0;
        for bucket in &self.buckets {
            below += bucket.weight;
            if below > rank {
                return value_at(bucket.place).clamp(self.min, self.max);
            }
        }
        self.max
    }

    #[cfg(test)]
    fn bucket_count(&self) -> usize {
        self.buckets.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn many_values_are_within_one_percent() {
        let mut sketch = Sketch::default();
        for n in 1..=10_000 {
            sketch.add(f64::from(n), 1.0, true);
        }
        for (q, expected) in [(0.0, 1.0), (0.5, 5000.0), (0.9, 9000.0), (0.99, 9900.0), (1.0, 10_000.0)] {
            let found = sketch.quantile(q);
            assert!((found - expected).abs() <= 1.01 * ALPHA * expected, "{q}: {found}");
        }
        assert!(sketch.bucket_count() < 500);
        assert_eq!((sketch.count, sketch.sum), (10_000.0, 50_005_000.0));
    }

    #[test]
    fn a_wide_range_stays_within_the_bound_and_high_quantiles_right() {
        let mut sketch = Sketch::default();
        for n in -300..300 {
            for _ in 0..3 {
                sketch.add(10_f64.powi(n), 1.0, true);
                sketch.add(-(10_f64.powi(n)), 1.0, true);
            }
        }
        assert!(sketch.bucket_count() <= BUCKETS_MAX);
        let p99 = sketch.quantile(0.99);
        assert!((p99.log10() - 288.0).abs() < 7.0, "{p99}");
    }

    proptest! {
        #[test]
        fn quantiles_are_near_true_ones(mut values in proptest::collection::vec(-1e6_f64..1e6, 1..200), q in 0.0_f64..1.0) {
            let mut sketch = Sketch::default();
            for value in &values {
                sketch.add(*value, 1.0, true);
            }
            values.sort_by(f64::total_cmp);
            let rank = q * (values.len() - 1) as f64;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
            let expected = values[rank.floor() as usize];
            let found = sketch.quantile(q);
            prop_assert!((found - expected).abs() <= 1.01 * ALPHA * expected.abs() + 1e-9, "{} {}", found, expected);
        }
    }
}
