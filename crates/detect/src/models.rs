//! Models that learn what is usual: pure libraries over rows of numbers.
//!
//! - [`forest`], [`svm`]: how unlike the known rows is this row?
//! - [`markov`], [`hmm`]: how unlikely is this row after the ones before it?
//! - [`temporal`], [`gru`]: what should come next, and how far off is what came?
//! - [`calibration`]: from any model's score to a probability that means the same for all of them
//!
//! Invariants:
//! - the same rows, settings and seed give the same model, to the last bit, on the same machine;
//! - memory and time are bounded by the rows given; nothing here reads a clock, keeps a thread or does IO;
//! - rows are finite; what is missing has been filled in by the caller.
//!
//! Not here: which rows to learn from and when (see [`crate::ensemble`]).

pub mod calibration;
pub mod forest;
pub mod gru;
pub mod hmm;
pub mod markov;
pub mod rng;
pub mod svm;
pub mod temporal;

use serde::{Deserialize, Serialize};

/// Rows of equal width in one allocation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Rows {
    width: usize,
    // INVARIANT: its length is a multiple of `width`.
    values: Vec<f64>,
}

impl Rows {
    /// No rows of this width, which is at least 1.
    #[must_use]
    pub fn new(width: usize) -> Rows {
        Rows { width: width.max(1), values: Vec::new() }
    }

    /// The rows, all of `width`. A row of another width is cut or filled with 0.
    #[must_use]
    pub fn from_rows(width: usize, rows: &[Vec<f64>]) -> Rows {
        let mut made = Rows::new(width);
        rows.iter().for_each(|row| made.push(row));
        made
    }

    /// Adds a row. One of another width is cut or filled with 0.
    pub fn push(&mut self, row: &[f64]) {
        let filled = row.iter().copied().chain(std::iter::repeat(0.0)).take(self.width);
        self.values.extend(filled);
    }

    /// Numbers in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One row, which exists.
    #[must_use]
    pub fn row(&self, at: usize) -> &[f64] {
        &self.values[at * self.width..(at + 1) * self.width]
    }

    /// The rows in order.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.width.max(1))
    }

    /// One column, copied.
    #[must_use]
    pub fn column(&self, at: usize) -> Vec<f64> {
        self.iter().map(|row| row[at]).collect()
    }

    /// The rows of a range, copied.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Rows {
        Rows {
            width: self.width,
            values: self.values[range.start * self.width..range.end * self.width].to_vec(),
        }
    }

    /// The median of every column; 0 when there are no rows.
    #[must_use]
    pub fn medians(&self) -> Vec<f64> {
        (0..self.width).map(|at| quantile(&mut self.column(at), 0.5)).collect()
    }
}

/// The `q`-quantile with linear interpolation, as numpy's default; sorts `values`. 0 when there are none.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let below = at as usize;
    let above = (below + 1).min(last);
    values[below] + (at - below as f64) * (values[above] - values[below])
}

/// How much each number of a row adds to its score, as shares that sum to 1 (all 0 when none adds anything).
///
/// The mean of two differences: what the score loses when the number alone is set to its usual value, and what it
/// gains over the usual row when the number alone is put there. The first sees what only matters together, the second
/// sees numbers that stand for each other, where dropping one changes nothing. These are the first and the last term
/// of the Shapley value (Lundberg, Lee, "A unified approach to interpreting model predictions", NeurIPS 2017).
/// Cost: `2 * width + 2` scores.
pub fn contributions(row: &[f64], usual: &[f64], mut score: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    let (whole, nothing) = (score(row), score(usual));
    let mut shares: Vec<f64> = (0..row.len().min(usual.len()))
        .map(|at| {
            let mut without = row.to_vec();
            without[at] = usual[at];
            let mut alone = usual.to_vec();
            alone[at] = row[at];
            let both = 0.5 * ((whole - score(&without)) + (score(&alone) - nothing));
            if both.is_finite() { both.max(0.0) } else { 0.0 }
        })
        .collect();
    let sum: f64 = shares.iter().sum();
    if sum > 0.0 {
        shares.iter_mut().for_each(|share| *share /= sum);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numpys() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 0.9, 1.0].map(|q| quantile(&mut values, q)), [1.0, 2.5, 3.7, 4.0]);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }

    #[test]
    fn contributions_find_what_stands_out_even_when_two_stand_for_each_other() {
        let score = |row: &[f64]| row[0].max(row[1]) + 0.1 * row[2];
        let shares = contributions(&[8.0, 8.0, 1.0], &[0.0; 3], score);
        assert!(shares[0] > 0.45 && shares[1] > 0.45 && shares[2] < 0.05, "{shares:?}");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(contributions(&[0.0; 3], &[0.0; 3], score), [0.0; 3]);
    }
}
