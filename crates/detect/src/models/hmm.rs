//! Hidden Markov model with Gaussian emissions of diagonal covariance: a service is in one of a few states that are
//! not seen, each with its own usual rows, and moves between them.
//!
//! Learnt by Baum-Welch from a start that splits the rows by severity; states are ordered by severity of their means,
//! so that with [`STATES`] of them they read normal, degraded, critical. Online, [`Filter`] keeps the probability of
//! each state given all rows so far, and says how surprising each row is.
//!
//! Invariants:
//! - start and transition probabilities sum to 1, and variances stay above [`VARIANCE_MIN`];
//! - emissions are scaled by the largest of a row and the scale is added back in logarithms, so rows of any length and
//!   any distance neither underflow nor overflow.
//!
//! Cost: learning takes `iterations * rows * states * (states + width)`: about 5 ms for 512 rows of 6; a filter step
//! `states * (states + width)`.
//!
//! Source: Rabiner, "A tutorial on hidden Markov models", Proceedings of the IEEE 77(2), 1989. Checked against
//! hmmlearn 0.3.

use serde::{Deserialize, Serialize};

use super::Rows;

/// States the product uses: normal, degraded, critical.
pub const STATES: usize = 3;
/// Names of [`STATES`] states in order of severity.
pub const STATE_NAMES: [&str; STATES] = ["normal", "degraded", "critical"];
/// Most states.
pub const STATES_MAX: usize = 16;
/// Smallest variance of an emission.
pub const VARIANCE_MIN: f64 = 1e-6;
/// Shares at which the rows, sorted by severity, are split for the start: most rows are normal, few critical.
const START_SPLITS: [f64; STATES - 1] = [0.6, 0.9];
/// Probability of staying in a state at the start.
const START_STAY: f64 = 0.9;

/// How a model is learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HmmConfig {
    /// Most iterations.
    pub iterations: usize,
    /// Gain of the log-likelihood below which learning ends.
    pub tolerance: f64,
    /// Added to the sum of squares of every state and column, so that a state of few rows cannot become a spike.
    pub variance_prior: f64,
}

impl Default for HmmConfig {
    /// 25 iterations: the gain is below the tolerance by then on most data. Prior 0.01 and tolerance 0.01 as hmmlearn.
    fn default() -> Self {
        HmmConfig { iterations: 25, tolerance: 0.01, variance_prior: 0.01 }
    }
}

/// A model, learnt or given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hmm {
    /// Probability of each state before the first row.
    pub start: Vec<f64>,
    /// Probability of moving from the row's state to the column's.
    pub transitions: Rows,
    /// Mean of each state.
    pub means: Rows,
    /// Variance of each state and column.
    pub variances: Rows,
}

/// Probability of each state given the rows so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// Sums to 1. Empty before the first row.
    pub states: Vec<f64>,
}

/// What the forward and backward passes say of each row.
struct Passes {
    log_likelihood: f64,
    /// Probability of each state at each row, given all rows.
    states: Rows,
    /// Expected number of each transition.
    moves: Rows,
}

impl Hmm {
    /// Learns [`STATES`] states; `severity` weighs the columns: positive where more is worse. `None` with fewer than ten
    /// rows a state.
    #[must_use]
    pub fn fit(rows: &Rows, severity: &[f64], config: &HmmConfig) -> Option<Hmm> {
        if rows.len() < 10 * STATES {
            return None;
        }
        let mut hmm = Hmm::start_from(rows, severity);
        hmm.learn(rows, config);
        Some(hmm.ordered(severity))
    }

    /// A start: the rows sorted by severity and split, with the means and variances of the parts.
    fn start_from(rows: &Rows, severity: &[f64]) -> Hmm {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|a, b| weigh(rows.row(*a), severity).total_cmp(&weigh(rows.row(*b), severity)));
        let (mut means, mut variances) = (Rows::new(rows.width()), Rows::new(rows.width()));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the length")]
        let border = |share: f64| (share * rows.len() as f64) as usize;
        let borders = [0, border(START_SPLITS[0]), border(START_SPLITS[1]), rows.len()];
        for ends in borders.windows(2) {
            let part = &order[ends[0]..ends[1]];
            let column = |at: usize| part.iter().map(move |row| rows.row(*row)[at]);
            let n = part.len() as f64;
            let mean: Vec<f64> = (0..rows.width()).map(|at| column(at).sum::<f64>() / n).collect();
            let spread = |at: usize| column(at).map(|x| (x - mean[at]).powi(2)).sum::<f64>() / n;
            variances.push(&(0..rows.width()).map(|at| spread(at).max(0.01)).collect::<Vec<_>>());
            means.push(&mean);
        }
        let mut transitions = Rows::new(STATES);
        for from in 0..STATES {
            let other = (1.0 - START_STAY) / (STATES - 1) as f64;
            let row: Vec<f64> = (0..STATES).map(|to| if to == from { START_STAY } else { other }).collect();
            transitions.push(&row);
        }
        Hmm { start: vec![1.0 / STATES as f64; STATES], transitions, means, variances }
    }

    /// Improves the model by Baum-Welch and gives the log-likelihood before each iteration.
    pub fn learn(&mut self, rows: &Rows, config: &HmmConfig) -> Vec<f64> {
        let mut history: Vec<f64> = Vec::new();
        for _ in 0..config.iterations {
            let passes = self.passes(rows);
            let gain = history.last().map(|last| passes.log_likelihood - last);
            history.push(passes.log_likelihood);
            self.maximise(rows, &passes, config);
            if gain.is_some_and(|gain| gain < config.tolerance) {
                break;
            }
        }
        history
    }

    /// Number of states.
    #[must_use]
    pub fn states(&self) -> usize {
        self.start.len()
    }

    fn maximise(&mut self, rows: &Rows, passes: &Passes, config: &HmmConfig) {
        if !passes.log_likelihood.is_finite() {
            return;
        }
        let (n, width) = (self.states(), rows.width());
        self.start = normalised(passes.states.row(0));
        let mut transitions = Rows::new(n);
        for (from, row) in passes.moves.iter().enumerate() {
            let left: f64 = row.iter().sum();
            transitions.push(&if left > 0.0 { normalised(row) } else { self.transitions.row(from).to_vec() });
        }
        self.transitions = transitions;
        let (mut means, mut variances) = (Rows::new(width), Rows::new(width));
        for state in 0..n {
            let weight = |at: usize| passes.states.row(at)[state];
            let total = (0..rows.len()).map(weight).sum::<f64>().max(1e-300);
            let mut mean = vec![0.0; width];
            for (at, row) in rows.iter().enumerate() {
                mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight(at) * x);
            }
            mean.iter_mut().for_each(|sum| *sum /= total);
            let mut variance = vec![config.variance_prior; width];
            for (at, row) in rows.iter().enumerate() {
                for ((sum, x), mean) in variance.iter_mut().zip(row).zip(&mean) {
                    *sum += weight(at) * (x - mean).powi(2);
                }
            }
            // hmmlearn divides by the weight alone, at least 1e-5; so a state without rows becomes wide, not narrow.
            variance.iter_mut().for_each(|sum| *sum = (*sum / total.max(1e-5)).max(VARIANCE_MIN));
            means.push(&mean);
            variances.push(&variance);
        }
        (self.means, self.variances) = (means, variances);
    }

    /// Log-density of the row in each state.
    fn emissions(&self, row: &[f64], out: &mut [f64]) {
        for (state, out) in out.iter_mut().enumerate() {
            let (means, variances) = (self.means.row(state), self.variances.row(state));
            *out = row.iter().zip(means).zip(variances).fold(0.0, |sum, ((x, mean), variance)| {
                sum - 0.5 * ((std::f64::consts::TAU * variance).ln() + (x - mean).powi(2) / variance)
            });
        }
    }

    fn passes(&self, rows: &Rows) -> Passes {
        let n = self.states();
        let mut filter = Filter::new();
        let (mut forward, mut scaled, mut totals) =
            (Rows::new(n), Rows::new(n), Vec::with_capacity(rows.len()));
        let mut log_likelihood = 0.0;
        let mut emitted = vec![0.0; n];
        for row in rows.iter() {
            self.emissions(row, &mut emitted);
            let step = filter.take(self, &mut emitted);
            log_likelihood += step.log_likelihood;
            totals.push(step.total);
            forward.push(&filter.states);
            scaled.push(&emitted);
        }
        let (mut states, mut moves) = (vec![0.0; rows.len() * n], vec![0.0; n * n]);
        let mut after = vec![1.0; n];
        for at in (0..rows.len()).rev() {
            for state in 0..n {
                states[at * n + state] = forward.row(at)[state] * after[state];
            }
            if at == 0 {
                break;
            }
            let ahead: Vec<f64> = (0..n).map(|to| scaled.row(at)[to] * after[to] / totals[at]).collect();
            for from in 0..n {
                let row = self.transitions.row(from);
                after[from] = row.iter().zip(&ahead).map(|(p, x)| p * x).sum();
                for to in 0..n {
                    moves[from * n + to] += forward.row(at - 1)[from] * row[to] * ahead[to];
                }
            }
        }
        Passes {
            log_likelihood,
            states: Rows { width: n, values: states },
            moves: Rows { width: n, values: moves },
        }
    }

    /// Log-likelihood of the rows.
    #[must_use]
    pub fn log_likelihood(&self, rows: &Rows) -> f64 {
        let mut filter = Filter::new();
        rows.iter().map(|row| -filter.step(self, row)).sum()
    }

    /// Probability of each state at each row given all rows (smoothed).
    #[must_use]
    pub fn posteriors(&self, rows: &Rows) -> Rows {
        self.passes(rows).states
    }

    /// The most probable sequence of states (Viterbi).
    #[must_use]
    pub fn viterbi(&self, rows: &Rows) -> Vec<usize> {
        let n = self.states();
        let logs = Rows { width: n, values: self.transitions.values.iter().map(|p| p.ln()).collect() };
        let mut best: Vec<f64> = self.start.iter().map(|p| p.ln()).collect();
        let mut from: Vec<Vec<usize>> = Vec::with_capacity(rows.len());
        let mut emitted = vec![0.0; n];
        for (at, row) in rows.iter().enumerate() {
            self.emissions(row, &mut emitted);
            if at > 0 {
                let (came, next) =
                    (0..n).map(|to| furthest((0..n).map(|a| best[a] + logs.row(a)[to]))).unzip();
                from.push(came);
                best = next;
            }
            best.iter_mut().zip(&emitted).for_each(|(best, log)| *best += log);
        }
        let (mut state, _) = furthest(best.into_iter());
        let mut states = vec![state; rows.len()];
        for (at, came) in from.iter().enumerate().rev() {
            state = came[state];
            states[at] = state;
        }
        states
    }

    /// The same model with its states in order of severity of their means.
    #[must_use]
    pub fn ordered(self, severity: &[f64]) -> Hmm {
        let mut order: Vec<usize> = (0..self.states()).collect();
        let weight = |state: usize| weigh(self.means.row(state), severity);
        order.sort_by(|a, b| weight(*a).total_cmp(&weight(*b)));
        let pick = |rows: &Rows| {
            let mut picked = Rows::new(rows.width());
            order.iter().for_each(|state| picked.push(rows.row(*state)));
            picked
        };
        let mut transitions = Rows::new(order.len());
        for from in &order {
            let row = self.transitions.row(*from);
            transitions.push(&order.iter().map(|to| row[*to]).collect::<Vec<_>>());
        }
        Hmm {
            start: order.iter().map(|state| self.start[*state]).collect(),
            transitions,
            means: pick(&self.means),
            variances: pick(&self.variances),
        }
    }
}

fn weigh(row: &[f64], severity: &[f64]) -> f64 {
    row.iter().zip(severity).map(|(x, weight)| x * weight).sum()
}

/// Index and value of the largest; the first of equals.
fn furthest(values: impl Iterator<Item = f64>) -> (usize, f64) {
    values.enumerate().fold((0, f64::NEG_INFINITY), |best, (at, x)| if x > best.1 { (at, x) } else { best })
}

fn normalised(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().sum();
    row.iter().map(|x| x / sum).collect()
}

/// What one row did to a filter.
struct Step {
    log_likelihood: f64,
    /// Sum over the states of prediction times scaled emission.
    total: f64,
}

impl Default for Filter {
    fn default() -> Self {
        Filter::new()
    }
}

impl Filter {
    /// Before the first row.
    #[must_use]
    pub fn new() -> Filter {
        Filter { states: Vec::new() }
    }

    /// Takes one row and gives its surprise in nats: minus the logarithm of its density given the rows before.
    pub fn step(&mut self, hmm: &Hmm, row: &[f64]) -> f64 {
        let mut emitted = vec![0.0; hmm.states()];
        hmm.emissions(row, &mut emitted);
        -self.take(hmm, &mut emitted).log_likelihood
    }

    /// Takes log-densities, which become densities over the largest of them.
    fn take(&mut self, hmm: &Hmm, emitted: &mut [f64]) -> Step {
        let predicted = self.predict(hmm);
        let largest = furthest(emitted.iter().copied()).1;
        if !largest.is_finite() {
            emitted.fill(1.0);
            self.states = predicted;
            return Step { log_likelihood: f64::MIN_POSITIVE.ln(), total: 1.0 };
        }
        emitted.iter_mut().for_each(|log| *log = (*log - largest).exp());
        let joint: Vec<f64> = predicted.iter().zip(emitted.iter()).map(|(p, e)| p * e).collect();
        let total: f64 = joint.iter().sum();
        if total <= 0.0 {
            // The only states that could have sent it cannot be entered: believe the row.
            self.states = normalised(emitted);
            return Step { log_likelihood: largest + f64::MIN_POSITIVE.ln(), total: emitted.iter().sum() };
        }
        self.states = joint.iter().map(|p| p / total).collect();
        Step { log_likelihood: largest + total.ln(), total }
    }

    fn predict(&self, hmm: &Hmm) -> Vec<f64> {
        if self.states.len() != hmm.states() {
            return hmm.start.clone();
        }
        let mut predicted = vec![0.0; hmm.states()];
        for (p, row) in self.states.iter().zip(hmm.transitions.iter()) {
            predicted.iter_mut().zip(row).for_each(|(sum, q)| *sum += p * q);
        }
        predicted
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    /// Stretches of three levels, worse ones seldom and short.
    fn stretches(n: usize, seed: u64) -> (Rows, Vec<usize>) {
        let mut rng = Rng::new(seed);
        let (mut rows, mut states, mut state) = (Rows::new(2), Vec::new(), 0);
        for _ in 0..n {
            if rng.unit() < [0.03, 0.1, 0.2][state] {
                state = rng.below(STATES);
            }
            let level = [0.0, 4.0, 9.0][state];
            rows.push(&[level + rng.normal(), 2.0 * level + rng.normal()]);
            states.push(state);
        }
        (rows, states)
    }

    #[test]
    fn finds_the_states_in_order_of_severity() {
        let (rows, states) = stretches(600, 1);
        let hmm = Hmm::fit(&rows, &[1.0, 1.0], &HmmConfig::default()).unwrap();
        for (state, level) in [0.0, 4.0, 9.0].into_iter().enumerate() {
            let mean = hmm.means.row(state);
            assert!((mean[0] - level).abs() < 0.4 && (mean[1] - 2.0 * level).abs() < 0.4, "{mean:?}");
        }
        let right = hmm.viterbi(&rows).iter().zip(&states).filter(|(a, b)| a == b).count();
        assert!(right >= 595, "{right} of 600");
        let mut filter = Filter::new();
        rows.iter().for_each(|row| {
            filter.step(&hmm, row);
        });
        let worse = filter.step(&hmm, &[9.0, 18.0]);
        assert!(filter.states[2] > 0.9, "{filter:?}");
        assert!(filter.step(&hmm, &[9.0, 18.0]) < worse, "the second critical row is expected");
    }

    #[test]
    fn learning_never_loses_likelihood_and_sums_stay_one() {
        let (rows, _) = stretches(400, 2);
        let mut hmm = Hmm::start_from(&rows, &[1.0, 1.0]);
        let config = HmmConfig { variance_prior: 0.0, tolerance: f64::NEG_INFINITY, ..HmmConfig::default() };
        let history = hmm.learn(&rows, &config);
        assert!(history.windows(2).all(|pair| pair[1] >= pair[0] - 1e-6), "{history:?}");
        assert!(hmm.transitions.iter().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-9));
        assert!(hmm.posteriors(&rows).iter().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-9));
    }

    #[test]
    fn constant_rows_and_absurd_rows_keep_it_finite() {
        let constant = Rows::from_rows(1, &vec![vec![5.0]; 100]);
        let hmm = Hmm::fit(&constant, &[1.0], &HmmConfig::default()).unwrap();
        let mut filter = Filter::new();
        assert!(filter.step(&hmm, &[5.0]).is_finite());
        for absurd in [1e9, -1e150, 1e300, 5.0] {
            filter.step(&hmm, &[absurd]);
            assert!((filter.states.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{filter:?}");
        }
    }
}
