//! One-class support vector machine: a boundary around the known rows, in the space of a Gaussian kernel.
//!
//! At most a share `nu` of the known rows lies outside. The score has the meaning of scikit-learn's
//! `-decision_function`: above 0 is outside. Columns should be of like size: the kernel weighs them equally.
//!
//! Invariants:
//! - at most [`ROWS_MAX`] rows are learnt from (the newest), so the kernel is at most 2 MiB while it learns;
//! - every multiplier stays in `[0, 1]` and their sum stays `nu * rows`.
//!
//! Cost: `rows^2 * width` to make the kernel, `rows` for each of usually some hundred steps: about 5 ms for 512 rows;
//! a score costs `support vectors * width`.
//!
//! Sources: Schölkopf, Platt, Shawe-Taylor, Smola, Williamson, "Estimating the support of a high-dimensional
//! distribution", Neural Computation 13(7), 2001; Fan, Chen, Lin, "Working set selection using second order
//! information", JMLR 6, 2005. Checked against scikit-learn 1.9.

use serde::{Deserialize, Serialize};

use super::Rows;

/// Most rows learnt from.
pub const ROWS_MAX: usize = 512;
/// Fewest rows.
pub const ROWS_MIN: usize = 20;
/// Most optimisation steps: some hundred times what is usual; what is reached by then is used.
const STEPS_MAX: usize = 100_000;
/// Smallest curvature assumed along a step.
const CURVATURE_MIN: f64 = 1e-12;

/// How the boundary is learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SvmConfig {
    /// Most rows outside, as a share in `(0, 1)`.
    pub nu: f64,
    /// Width of the kernel `exp(-gamma * distance^2)`; `None` is scikit-learn's `scale`: one over columns times variance.
    pub gamma: Option<f64>,
    /// Violation of the optimality conditions at which learning ends.
    pub tolerance: f64,
}

impl Default for SvmConfig {
    /// 5 % outside, `scale`, libsvm's tolerance.
    fn default() -> Self {
        SvmConfig { nu: 0.05, gamma: None, tolerance: 1e-3 }
    }
}

/// A learnt boundary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OneClassSvm {
    gamma: f64,
    rho: f64,
    support: Rows,
    multipliers: Vec<f64>,
}

impl OneClassSvm {
    /// Learns from the newest [`ROWS_MAX`] rows. `None` with fewer than [`ROWS_MIN`].
    #[must_use]
    pub fn fit(rows: &Rows, config: &SvmConfig) -> Option<OneClassSvm> {
        if rows.len() < ROWS_MIN {
            return None;
        }
        let rows = rows.slice(rows.len().saturating_sub(ROWS_MAX)..rows.len());
        let gamma = config.gamma.unwrap_or_else(|| scale(&rows));
        let kernel = Kernel::of(&rows, gamma);
        let mut solver = Solver::start(&kernel, config.nu.clamp(1e-3, 1.0));
        for _ in 0..STEPS_MAX {
            let Some((up, low)) = solver.choose(config.tolerance) else { break };
            solver.step(up, low);
        }
        let rho = solver.rho();
        let mut svm = OneClassSvm { gamma, rho, support: Rows::new(rows.width()), multipliers: Vec::new() };
        for (row, multiplier) in rows.iter().zip(solver.alpha).filter(|(_, alpha)| *alpha > 0.0) {
            svm.support.push(row);
            svm.multipliers.push(multiplier);
        }
        Some(svm)
    }

    /// How far outside: scikit-learn's `-decision_function`.
    #[must_use]
    pub fn score(&self, row: &[f64]) -> f64 {
        let inside: f64 = self
            .support
            .iter()
            .zip(&self.multipliers)
            .map(|(known, multiplier)| multiplier * gaussian(known, row, self.gamma))
            .sum();
        self.rho - inside
    }

    /// Rows that carry the boundary.
    #[must_use]
    pub fn support_vectors(&self) -> usize {
        self.multipliers.len()
    }
}

/// scikit-learn's `gamma="scale"`.
fn scale(rows: &Rows) -> f64 {
    let n = rows.values.len() as f64;
    let mean = rows.values.iter().sum::<f64>() / n;
    let variance = rows.values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    if variance > 0.0 { 1.0 / (rows.width() as f64 * variance) } else { 1.0 }
}

fn gaussian(a: &[f64], b: &[f64], gamma: f64) -> f64 {
    let distance: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (-gamma * distance).exp()
}

/// The kernel of all pairs.
struct Kernel {
    n: usize,
    values: Vec<f64>,
}

impl Kernel {
    fn of(rows: &Rows, gamma: f64) -> Kernel {
        let n = rows.len();
        let mut values = vec![1.0; n * n];
        for a in 0..n {
            for b in 0..a {
                let value = gaussian(rows.row(a), rows.row(b), gamma);
                values[a * n + b] = value;
                values[b * n + a] = value;
            }
        }
        Kernel { n, values }
    }

    fn row(&self, at: usize) -> &[f64] {
        &self.values[at * self.n..(at + 1) * self.n]
    }
}

/// Sequential minimal optimisation of `1/2 a'Ka` with `0 <= a <= 1` and a fixed sum, as libsvm does it.
struct Solver<'a> {
    kernel: &'a Kernel,
    alpha: Vec<f64>,
    gradient: Vec<f64>,
}

impl Solver<'_> {
    fn start(kernel: &Kernel, nu: f64) -> Solver<'_> {
        let total = nu * kernel.n as f64;
        let alpha: Vec<f64> = (0..kernel.n).map(|at| (total - at as f64).clamp(0.0, 1.0)).collect();
        let mut gradient = vec![0.0; kernel.n];
        for (at, a) in alpha.iter().enumerate().filter(|(_, a)| **a > 0.0) {
            gradient.iter_mut().zip(kernel.row(at)).for_each(|(g, k)| *g += a * k);
        }
        Solver { kernel, alpha, gradient }
    }

    /// The pair to move next: one multiplier that should grow and one that should shrink; `None` at the optimum.
    fn choose(&self, tolerance: f64) -> Option<(usize, usize)> {
        let n = self.kernel.n;
        let grows = (0..n).filter(|at| self.alpha[*at] < 1.0);
        let up = grows.min_by(|a, b| self.gradient[*a].total_cmp(&self.gradient[*b]))?;
        let (lowest, row) = (self.gradient[up], self.kernel.row(up));
        let mut best: Option<(usize, f64)> = None;
        let mut violation = 0.0_f64;
        for at in (0..n).filter(|at| self.alpha[*at] > 0.0) {
            let difference = self.gradient[at] - lowest;
            violation = violation.max(difference);
            if difference > 0.0 {
                let gain = difference * difference / (2.0 - 2.0 * row[at]).max(CURVATURE_MIN);
                if best.is_none_or(|(_, most)| gain > most) {
                    best = Some((at, gain));
                }
            }
        }
        best.filter(|_| violation >= tolerance).map(|(low, _)| (up, low))
    }

    fn step(&mut self, up: usize, low: usize) {
        let curvature = (2.0 - 2.0 * self.kernel.row(up)[low]).max(CURVATURE_MIN);
        let wanted = (self.gradient[low] - self.gradient[up]) / curvature;
        let moved = wanted.min(1.0 - self.alpha[up]).min(self.alpha[low]);
        // Set to the bound itself when it is reached, so that rounding cannot leave a multiplier just beside it.
        self.alpha[up] = if moved == 1.0 - self.alpha[up] { 1.0 } else { self.alpha[up] + moved };
        self.alpha[low] = if moved == self.alpha[low] { 0.0 } else { self.alpha[low] - moved };
        let (grows, shrinks) = (self.kernel.row(up), self.kernel.row(low));
        for ((g, a), b) in self.gradient.iter_mut().zip(grows).zip(shrinks) {
            *g += moved * (a - b);
        }
    }

    /// The gradient at which multipliers are free; between its bounds when none is.
    fn rho(&self) -> f64 {
        let (mut sum, mut free) = (0.0, 0_u32);
        let (mut most, mut least) = (f64::INFINITY, f64::NEG_INFINITY);
        for (alpha, gradient) in self.alpha.iter().zip(&self.gradient) {
            if *alpha >= 1.0 {
                least = least.max(*gradient);
            } else if *alpha <= 0.0 {
                most = most.min(*gradient);
            } else {
                (sum, free) = (sum + gradient, free + 1);
            }
        }
        match (free, least.is_finite() && most.is_finite()) {
            (0, true) => 0.5 * (least + most),
            (0, false) => {
                if least.is_finite() {
                    least
                } else {
                    most
                }
            }
            (free, _) => sum / f64::from(free),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    fn cloud(n: usize, seed: u64) -> Rows {
        let mut rng = Rng::new(seed);
        let mut rows = Rows::new(3);
        (0..n).for_each(|_| rows.push(&[rng.normal(), rng.normal(), rng.normal()]));
        rows
    }

    #[test]
    fn about_nu_of_the_rows_lie_outside_and_far_ones_do() {
        let rows = cloud(400, 1);
        let svm = OneClassSvm::fit(&rows, &SvmConfig { nu: 0.1, gamma: Some(0.1), ..SvmConfig::default() })
            .unwrap();
        let outside = rows.iter().filter(|row| svm.score(row) > 1e-3).count();
        assert!((20..=40).contains(&outside), "{outside}");
        assert!(svm.support_vectors() >= 40, "at least nu of the rows");
        assert!(svm.score(&[6.0, 0.0, 0.0]) > svm.score(&[2.0, 0.0, 0.0]));
        assert!(svm.score(&[0.0; 3]) < 0.0 && svm.score(&[6.0, 0.0, 0.0]) > 0.0);
    }

    #[test]
    fn equal_rows_and_many_rows_are_no_trouble() {
        let equal = Rows::from_rows(2, &vec![vec![1.0, 1.0]; 60]);
        let svm = OneClassSvm::fit(&equal, &SvmConfig::default()).unwrap();
        assert!(svm.score(&[1.0, 1.0]).abs() < 1e-9 && svm.score(&[9.0, 1.0]) > 0.0);
        assert!(OneClassSvm::fit(&cloud(2_000, 2), &SvmConfig::default()).is_some());
        assert!(OneClassSvm::fit(&cloud(ROWS_MIN - 1, 2), &SvmConfig::default()).is_none());
    }
}
