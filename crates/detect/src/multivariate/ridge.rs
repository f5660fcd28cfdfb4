//! Ridge regression by the normal equations.

/// Weight of the wish for small weights, in rows of data: an input seen in fewer rows than this is hardly believed.
const RIDGE: f64 = 10.0;

/// The weights that predict the value of each row from its features.
pub(super) fn solve(rows: &[(Vec<f64>, f64)]) -> Vec<f64> {
    let size = rows.first().map_or(0, |(features, _)| features.len());
    let mut matrix = vec![vec![0.0; size]; size];
    let mut right = vec![0.0; size];
    for (features, value) in rows {
        for (at, x) in features.iter().enumerate().filter(|(_, x)| **x != 0.0) {
            right[at] += x * value;
            for (cell, y) in matrix[at][..=at].iter_mut().zip(features) {
                *cell += x * y;
            }
        }
    }
    for (at, row) in matrix.iter_mut().enumerate() {
        row[at] += RIDGE;
    }
    cholesky(&mut matrix);
    substitute(&matrix, right)
}

/// Turns the lower half of a positive definite matrix into its Cholesky factor. It is positive definite: a sum of
/// squares plus [`RIDGE`].
fn cholesky(matrix: &mut [Vec<f64>]) {
    for at in 0..matrix.len() {
        let (above, rest) = matrix.split_at_mut(at);
        let row = &mut rest[0];
        for column in 0..at {
            let sum: f64 = (0..column).map(|k| row[k] * above[column][k]).sum();
            row[column] = (row[column] - sum) / above[column][column];
        }
        let sum: f64 = row[..at].iter().map(|x| x * x).sum();
        row[at] = (row[at] - sum).max(f64::MIN_POSITIVE).sqrt();
    }
}

/// Solves for the right side with the factor and its transpose.
fn substitute(factor: &[Vec<f64>], mut right: Vec<f64>) -> Vec<f64> {
    for at in 0..right.len() {
        let sum: f64 = (0..at).map(|k| factor[at][k] * right[k]).sum();
        right[at] = (right[at] - sum) / factor[at][at];
    }
    for at in (0..right.len()).rev() {
        let sum: f64 = (at + 1..right.len()).map(|k| factor[k][at] * right[k]).sum();
        right[at] = (right[at] - sum) / factor[at][at];
    }
    right
}

/// The value predicted.
pub(super) fn predict(weights: &[f64], features: &[f64]) -> f64 {
    weights.iter().zip(features).map(|(weight, x)| weight * x).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// At the solution the gradient of the penalised squares is zero.
        #[test]
        fn the_gradient_is_zero(
            rows in prop::collection::vec((prop::collection::vec(-3f64..3.0, 5), -3f64..3.0), 1..60),
        ) {
            let weights = solve(&rows);
            for at in 0..5 {
                let fit = |(features, value): &(Vec<f64>, f64)| features[at] * (value - predict(&weights, features));
                let gradient = rows.iter().map(fit).sum::<f64>() - RIDGE * weights[at];
                prop_assert!(gradient.abs() < 1e-8, "{gradient}");
            }
        }
    }
}
