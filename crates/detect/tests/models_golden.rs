//! Our models beside scikit-learn's and hmmlearn's, on the data of `scripts/golden/models.py`.

use heimdall_detect::models::Rows;
use heimdall_detect::models::forest::{Forest, ForestConfig};
use heimdall_detect::models::hmm::{Filter, Hmm, HmmConfig};
use heimdall_detect::models::svm::{OneClassSvm, SvmConfig};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    train: Vec<Vec<f64>>,
    test: Vec<Vec<f64>>,
    forest: ForestGolden,
    svm: Vec<SvmGolden>,
    hmm: HmmGolden,
}

#[derive(Deserialize)]
struct ForestGolden {
    scores: Vec<f64>,
    train_scores: Vec<f64>,
    offset: f64,
}

#[derive(Deserialize)]
struct SvmGolden {
    nu: f64,
    gamma: Option<f64>,
    scores: Vec<f64>,
    support: usize,
}

#[derive(Deserialize)]
struct Parameters {
    start: Vec<f64>,
    transitions: Vec<Vec<f64>>,
    means: Vec<Vec<f64>>,
    variances: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct HmmGolden {
    rows: Vec<Vec<f64>>,
    from: Parameters,
    iterations: usize,
    variance_prior: f64,
    start_log_likelihood: f64,
    start_posteriors: Vec<Vec<f64>>,
    log_likelihood: f64,
    start: Vec<f64>,
    transitions: Vec<Vec<f64>>,
    means: Vec<Vec<f64>>,
    variances: Vec<Vec<f64>>,
    viterbi: Vec<usize>,
    filtered: Vec<Vec<f64>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/models.json"))
        .expect("the golden file is what the script wrote")
}

fn rows(rows: &[Vec<f64>]) -> Rows {
    Rows::from_rows(rows[0].len(), rows)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    order.iter().enumerate().for_each(|(rank, at)| ranks[*at] = rank as f64);
    ranks
}

fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let distance: f64 = ranks(a).iter().zip(ranks(b)).map(|(a, b)| (a - b).powi(2)).sum();
    1.0 - 6.0 * distance / (n * (n * n - 1.0))
}

fn mean_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], within: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= within, "{what}: {found} instead of {expected}");
    }
}

#[test]
fn the_forest_scores_as_scikit_learn_does() {
    let golden = golden();
    let forest = Forest::fit(&rows(&golden.train), &ForestConfig::default()).expect("300 rows");
    for (data, expected) in
        [(&golden.test, &golden.forest.scores), (&golden.train, &golden.forest.train_scores)]
    {
        let found: Vec<f64> = data.iter().map(|row| forest.score(row)).collect();
        let (rank, difference) = (spearman(&found, expected), mean_difference(&found, expected));
        println!("forest: spearman {rank:.4}, mean difference {difference:.4}");
        assert!(rank >= 0.95 && difference <= 0.03, "{rank} {difference}");
    }
    assert!((forest.offset() - golden.forest.offset).abs() < 0.02, "{}", forest.offset());
}

#[test]
fn the_boundary_is_scikit_learns() {
    let golden = golden();
    for case in &golden.svm {
        let config = SvmConfig { nu: case.nu, gamma: case.gamma, tolerance: 1e-8 };
        let svm = OneClassSvm::fit(&rows(&golden.train), &config).expect("300 rows");
        let found: Vec<f64> = golden.test.iter().map(|row| svm.score(row)).collect();
        close(&found, &case.scores, 1e-5, "decision");
        assert_eq!(svm.support_vectors(), case.support);
    }
}

#[test]
fn the_hidden_model_learns_and_decodes_as_hmmlearn_does() {
    let HmmGolden { rows: data, from, .. } = golden().hmm;
    let golden = golden().hmm;
    let data = rows(&data);
    let mut hmm = Hmm {
        start: from.start,
        transitions: rows(&from.transitions),
        means: rows(&from.means),
        variances: rows(&from.variances),
    };
    close(&[hmm.log_likelihood(&data)], &[golden.start_log_likelihood], 1e-6, "likelihood before");
    let posteriors = hmm.posteriors(&data);
    for (n, expected) in golden.start_posteriors.iter().enumerate() {
        close(posteriors.row(20 * n), expected, 1e-6, "posterior");
    }
    let config = HmmConfig {
        iterations: golden.iterations,
        tolerance: f64::NEG_INFINITY,
        variance_prior: golden.variance_prior,
    };
    hmm.learn(&data, &config);
    close(&[hmm.log_likelihood(&data)], &[golden.log_likelihood], 1e-4, "likelihood");
    close(&hmm.start, &golden.start, 1e-4, "start");
    for state in 0..3 {
        close(hmm.transitions.row(state), &golden.transitions[state], 1e-4, "transitions");
        close(hmm.means.row(state), &golden.means[state], 1e-4, "means");
        close(hmm.variances.row(state), &golden.variances[state], 1e-4, "variances");
    }
    assert_eq!(hmm.viterbi(&data), golden.viterbi);
    let mut filter = Filter::new();
    for (n, row) in data.iter().enumerate() {
        filter.step(&hmm, row);
        if n % 10 == 0 {
            close(&filter.states, &golden.filtered[n / 10], 1e-4, "filter");
        }
    }
}
