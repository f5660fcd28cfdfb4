//! Histograms as series of cumulative buckets, named by their upper bounds.
//!
//! Invariants:
//! - bounds ascend, counts do not descend, and the last bucket is `+Inf` with the count of all;
//! - bounds of exponential histograms are computed to within one unit in the last place, powers of two exactly;
//! - a histogram has at most [`BUCKETS_MAX`] buckets.

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, HistogramDataPoint};

/// Buckets of one data point, empty ones included.
const BUCKETS_MAX: usize = 10_000;
/// Scales of exponential histograms: finer than any SDK has, and coarser than a double can tell apart.
const SCALES: std::ops::RangeInclusive<i32> = -11..=32;

/// A bucket: how many observations are at most `le`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub(super) le: f64,
    pub(super) cumulative: u64,
}

/// The buckets of a histogram with explicit bounds; none when it has none.
pub(super) fn explicit(point: &HistogramDataPoint) -> Result<Vec<Bucket>, &'static str> {
    let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
    if bounds.is_empty() && counts.is_empty() {
        return Ok(Vec::new());
    }
    if counts.len() != bounds.len() + 1 {
        return Err("bucket_counts must be one more than explicit_bounds");
    }
    if counts.len() > BUCKETS_MAX {
        return Err("has more than 10000 buckets");
    }
    if !bounds.is_sorted_by(|a, b| a < b) || bounds.iter().any(|bound| bound.is_nan()) {
        return Err("explicit_bounds must ascend");
    }
    let mut buckets = Cumulative::new(bounds.len() + 1);
    for (le, count) in bounds.iter().zip(counts) {
        buckets.add(*le, *count);
    }
    Ok(buckets.end(point.count))
}

/// The buckets of an exponential histogram. Empty buckets are left out, except where one ends and one with observations begins.
pub(super) fn exponential(point: &ExponentialHistogramDataPoint) -> Result<Vec<Bucket>, &'static str> {
    let none = Buckets::default();
    let positive = point.positive.as_ref().unwrap_or(&none);
    let negative = point.negative.as_ref().unwrap_or(&none);
    if !SCALES.contains(&point.scale) {
        return Err("scale must be from -11 to 32");
    }
    if positive.bucket_counts.len() + negative.bucket_counts.len() > BUCKETS_MAX {
        return Err("has more than 10000 buckets");
    }
    if point.zero_threshold.is_nan() || point.zero_threshold < 0.0 {
        return Err("zero_threshold must not be negative");
    }
    let mut buckets = Cumulative::new(positive.bucket_counts.len() + negative.bucket_counts.len() + 2);
    for (index, count) in indexed(negative).rev() {
        // The bucket holds -base^(index+1) to -base^index; the second is its upper bound.
        buckets.add_sparse(-bound(point.scale, index), -bound(point.scale, index + 1), count);
    }
    buckets.add_sparse(point.zero_threshold, -point.zero_threshold, point.zero_count);
    for (index, count) in indexed(positive) {
        buckets.add_sparse(bound(point.scale, index + 1), bound(point.scale, index), count);
    }
    Ok(buckets.end(point.count))
}

fn indexed(buckets: &Buckets) -> impl DoubleEndedIterator<Item = (i64, u64)> {
    let offset = i64::from(buckets.offset);
    let counts = buckets.bucket_counts.iter().enumerate();
    counts.map(move |(n, count)| (offset.saturating_add(i64::try_from(n).unwrap_or(i64::MAX)), *count))
}

/// `2^(index / 2^scale)`: zero or infinite where a double ends.
fn bound(scale: i32, index: i64) -> f64 {
    if scale <= 0 {
        return power_of_two(index.saturating_mul(1 << -scale));
    }
    let parts = 1_i64 << scale;
    let (whole, part) = (index.div_euclid(parts), index.rem_euclid(parts));
    fraction(part, parts).exp2() * power_of_two(whole)
}

#[expect(clippy::cast_precision_loss, reason = "both are below 2^33")]
fn fraction(part: i64, parts: i64) -> f64 {
    part as f64 / parts as f64
}

fn power_of_two(exponent: i64) -> f64 {
    let exponent = i32::try_from(exponent.clamp(-1100, 1100)).unwrap_or(0);
    // Two factors: the smallest doubles are no powers that `powi` can take the inverse of.
    2_f64.powi(exponent / 2) * 2_f64.powi(exponent - exponent / 2)
}

struct Cumulative {
    buckets: Vec<Bucket>,
    cumulative: u64,
}

impl Cumulative {
    fn new(capacity: usize) -> Cumulative {
        Cumulative { buckets: Vec::with_capacity(capacity), cumulative: 0 }
    }

    fn add(&mut self, le: f64, count: u64) {
        self.cumulative = self.cumulative.saturating_add(count);
        if le < f64::INFINITY {
            self.buckets.push(Bucket { le, cumulative: self.cumulative });
        }
    }

    /// Adds a bucket that has observations, and the end of the empty ones before it.
    fn add_sparse(&mut self, le: f64, lower: f64, count: u64) {
        if count == 0 {
            return;
        }
        if self.buckets.last().is_none_or(|last| last.le < lower) && lower.is_finite() {
            self.buckets.push(Bucket { le: lower, cumulative: self.cumulative });
        }
        if self.buckets.last().is_some_and(|last| last.le >= le) {
            // Bounds that a double cannot tell apart, or below the threshold of zero: one bucket.
            self.cumulative = self.cumulative.saturating_add(count);
            if let Some(last) = self.buckets.last_mut() {
                last.cumulative = self.cumulative;
            }
            return;
        }
        self.add(le, count);
    }

    /// The last bucket: all observations, those that no bucket counts included.
    fn end(mut self, count: u64) -> Vec<Bucket> {
        self.buckets.push(Bucket { le: f64::INFINITY, cumulative: count.max(self.cumulative) });
        self.buckets
    }
}

/// A number in a label, as Prometheus writes it.
pub(super) fn label(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let magnitude = number.abs();
    if number == 0.0 {
        "0".to_owned()
    } else if (1e-5..1e21).contains(&magnitude) {
        number.to_string()
    } else {
        format!("{number:e}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(buckets: &[Bucket]) -> Vec<(String, u64)> {
        buckets.iter().map(|bucket| (label(bucket.le), bucket.cumulative)).collect()
    }

    fn list(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(le, count)| ((*le).to_owned(), *count)).collect()
    }

    #[test]
    fn explicit_buckets_become_cumulative() {
        let point = HistogramDataPoint {
            count: 6,
            bucket_counts: vec![1, 0, 3, 2],
            explicit_bounds: vec![0.005, 10.0, 1e22],
            ..HistogramDataPoint::default()
        };
        assert_eq!(
            pairs(&explicit(&point).expect("buckets")),
            list(&[("0.005", 1), ("10", 1), ("1e22", 4), ("+Inf", 6)])
        );
        let only_count = HistogramDataPoint { count: 2, ..HistogramDataPoint::default() };
        assert_eq!(explicit(&only_count).expect("none"), []);
        let one = HistogramDataPoint { count: 2, bucket_counts: vec![2], ..HistogramDataPoint::default() };
        assert_eq!(pairs(&explicit(&one).expect("one")), list(&[("+Inf", 2)]));
        for bounds in [vec![1.0], vec![1.0, 1.0, 2.0], vec![1.0, f64::NAN, 2.0]] {
            assert!(explicit(&HistogramDataPoint { explicit_bounds: bounds, ..point.clone() }).is_err());
        }
    }

    #[test]
    fn exponential_bounds_are_powers_of_the_base() {
        let point = ExponentialHistogramDataPoint {
            count: 12,
            scale: 0,
            zero_count: 2,
            zero_threshold: 0.5,
            positive: Some(Buckets { offset: 0, bucket_counts: vec![3, 0, 0, 4] }),
            negative: Some(Buckets { offset: 1, bucket_counts: vec![1, 2] }),
            ..ExponentialHistogramDataPoint::default()
        };
        assert_eq!(
            pairs(&exponential(&point).expect("buckets")),
            list(&[
                ("-8", 0),
                ("-4", 2),
                ("-2", 3),
                ("-0.5", 3),
                ("0.5", 5),
                ("1", 5),
                ("2", 8),
                ("8", 8),
                ("16", 12),
                ("+Inf", 12)
            ])
        );
        assert_eq!(bound(3, 8), 2.0);
        assert_eq!(bound(1, 1), std::f64::consts::SQRT_2);
        assert_eq!(bound(1, -1), std::f64::consts::FRAC_1_SQRT_2);
        assert_eq!(bound(-2, 1), 16.0);
        assert_eq!(bound(0, -1074), f64::from_bits(1));
        assert_eq!((bound(0, 5000), bound(0, -5000)), (f64::INFINITY, 0.0));
    }

    #[test]
    fn what_no_double_tells_apart_is_one_bucket() {
        let point = ExponentialHistogramDataPoint {
            count: 6,
            scale: 32,
            positive: Some(Buckets { offset: i32::MAX - 1, bucket_counts: vec![1, 2, 3] }),
            ..ExponentialHistogramDataPoint::default()
        };
        let buckets = exponential(&point).expect("buckets");
        assert!(buckets.is_sorted_by(|a, b| a.le < b.le), "{buckets:?}");
        assert_eq!(buckets.last().map(|bucket| bucket.cumulative), Some(6));
        for scale in [i32::MIN, i32::MAX, -12, 33] {
            assert!(exponential(&ExponentialHistogramDataPoint { scale, ..point.clone() }).is_err());
        }
    }

    proptest! {
        #[test]
        fn buckets_ascend_whatever_comes(
            scale in any::<i32>(),
            offset in any::<i32>(),
            positive in proptest::collection::vec(any::<u64>(), 0..20),
            negative in proptest::collection::vec(0_u64..3, 0..20),
            zero_threshold in any::<f64>(),
            zero_count in any::<u64>(),
            count in any::<u64>(),
        ) {
            for scale in [scale, scale % 33] {
                let point = ExponentialHistogramDataPoint {
                    count, scale, zero_count, zero_threshold,
                    positive: Some(Buckets { offset, bucket_counts: positive.clone() }),
                    negative: Some(Buckets { offset: offset % 100, bucket_counts: negative.clone() }),
                    ..ExponentialHistogramDataPoint::default()
                };
                if let Ok(buckets) = exponential(&point) {
                    prop_assert!(buckets.is_sorted_by(|a, b| a.le < b.le && a.cumulative <= b.cumulative), "{buckets:?}");
                    prop_assert_eq!(buckets.last().map(|last| last.le), Some(f64::INFINITY));
                }
            }
        }
    }
}
