//! How often alerts are right, measured by what people say of them. Pure.
//!
//! Not here: what follows for the thresholds (`heimdall-detect`, `adjust`).

use heimdall_metastore::FeedbackCount;
use heimdall_model::Judged;

/// Deviations (σ) that hold 95 % of a normal distribution.
const Z: f64 = 1.96;

/// Share of judged alerts that were right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    /// The share, 0 to 1.
    pub share: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end of its 95 % interval.
    pub high: f64,
}

/// What people said of all the alerts these counts are of.
#[must_use]
pub fn total<'a>(counts: impl IntoIterator<Item = &'a FeedbackCount>) -> Judged {
    let mut total = Judged::default();
    counts.into_iter().for_each(|count| total += count.judged);
    total
}

/// Precision with its Wilson score interval, which holds for few alerts and for shares of 0 and 1 too; `None` when nobody
/// judged any.
///
/// Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22(158), 1927.
#[must_use]
pub fn precision(judged: Judged) -> Option<Precision> {
    #[expect(clippy::cast_precision_loss, reason = "people do not judge 2^53 alerts")]
    let (right, all) = (judged.true_positives as f64, judged.total() as f64);
    if all == 0.0 {
        return None;
    }
    let (share, weight) = (right / all, Z * Z / all);
    let middle = (share + weight / 2.0) / (1.0 + weight);
    let half = Z / (1.0 + weight) * (share * (1.0 - share) / all + weight / (4.0 * all)).sqrt();
    Some(Precision { share, low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(true_positives: u64, false_positives: u64, expected: [f64; 3]) {
        let precision = precision(Judged { true_positives, false_positives }).expect("some were judged");
        for (found, expected) in [precision.share, precision.low, precision.high].into_iter().zip(expected) {
            assert!((found - expected).abs() < 0.000_5, "{precision:?}");
        }
    }

    #[test]
    fn intervals_are_those_of_wilson() {
        // By hand from the formula, and as published for 10 of 10 (0.722 to 1).
        check(10, 0, [1.0, 0.722, 1.0]);
        check(0, 10, [0.0, 0.0, 0.278]);
        check(8, 2, [0.8, 0.490, 0.943]);
        check(1, 0, [1.0, 0.207, 1.0]);
        assert_eq!(precision(Judged::default()), None);
    }
}
