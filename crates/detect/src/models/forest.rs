//! Isolation forest: rows that random cuts separate soon are unlike the others.
//!
//! The score has the meaning of scikit-learn's `-score_samples`: about 0.5 or less for usual rows, towards 1 for rows
//! that are isolated at once. `contamination` only sets [`Forest::offset`], as there; a bound that promises a
//! false-positive rate comes from [`super::calibration`].
//!
//! Invariants:
//! - a tree is at most `ceil(log2(subsample))` deep, so a score costs at most `trees * depth` comparisons;
//! - cuts are kept as `f32`: rows are compared as `f32` when growing and when scoring.
//!
//! Cost: 8 bytes a node; 100 trees of 256 rows are about 100 KB, and grow in about 4 ms; a score costs about 2 µs.
//!
//! Source: Liu, Ting, Zhou, "Isolation forest", ICDM 2008. Checked against scikit-learn 1.9.

use serde::{Deserialize, Serialize};

use super::rng::Rng;
use super::{Rows, quantile};

/// Fewest rows a forest is grown from.
pub const ROWS_MIN: usize = 50;
/// Most rows per tree, so that node numbers fit 16 bits.
pub const SUBSAMPLE_MAX: usize = 4_096;
/// Most trees.
pub const TREES_MAX: usize = 1_000;

/// How a forest is grown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForestConfig {
    /// Number of trees.
    pub trees: usize,
    /// Rows drawn for each tree, without putting back.
    pub subsample: usize,
    /// Share of rows assumed unusual; sets the offset only.
    pub contamination: f64,
    /// Start of the random numbers.
    pub seed: u64,
}

impl Default for ForestConfig {
    /// 100 trees of 256 rows as in the paper, contamination 0.1.
    fn default() -> Self {
        ForestConfig { trees: 100, subsample: 256, contamination: 0.1, seed: 42 }
    }
}

/// A grown forest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forest {
    width: usize,
    /// Mean path length in a random tree of a subsample.
    normal: f64,
    offset: f64,
    trees: Vec<Vec<Node>>,
}

/// An inner node, or a leaf when `left` is 0: no node has the root as a child.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Node {
    /// Where the column is cut; of a leaf, the path length that ends there.
    cut: f32,
    column: u16,
    /// Number of the child for values up to `cut`; the other child comes right after it.
    left: u16,
}

impl Forest {
    /// Grows a forest. `None` with fewer than [`ROWS_MIN`] rows.
    #[must_use]
    pub fn fit(rows: &Rows, config: &ForestConfig) -> Option<Forest> {
        if rows.len() < ROWS_MIN || rows.width() > usize::from(u16::MAX) {
            return None;
        }
        let subsample = config.subsample.clamp(2, SUBSAMPLE_MAX).min(rows.len());
        let mut rng = Rng::new(config.seed);
        let trees = (0..config.trees.clamp(1, TREES_MAX))
            .map(|_| {
                let drawn = draw(rows.len(), subsample, &mut rng);
                Tree::grow(rows, drawn, &mut rng)
            })
            .collect();
        let mut forest = Forest { width: rows.width(), normal: mean_path(subsample), offset: 0.0, trees };
        let mut scores: Vec<f64> = rows.iter().map(|row| forest.score(row)).collect();
        forest.offset = quantile(&mut scores, 1.0 - config.contamination);
        Some(forest)
    }

    /// How soon the row is isolated, in `(0, 1]`: scikit-learn's `-score_samples`.
    #[must_use]
    pub fn score(&self, row: &[f64]) -> f64 {
        let sum: f64 = self.trees.iter().map(|tree| path(tree, row)).sum();
        (-(sum / self.trees.len() as f64) / self.normal).exp2()
    }

    /// The score above which the share `contamination` of the rows it learnt from lies: scikit-learn's `-offset_`.
    #[must_use]
    pub fn offset(&self) -> f64 {
        self.offset
    }

    /// Nodes of all trees, 8 bytes each.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.trees.iter().map(Vec::len).sum()
    }

    /// Numbers in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }
}

/// Mean path length of an unsuccessful search in a binary tree of `n` rows (equation 1 of the paper).
fn mean_path(n: usize) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        n => {
            let n = n as f64;
            2.0 * ((n - 1.0).ln() + EULER) - 2.0 * (n - 1.0) / n
        }
    }
}

fn path(tree: &[Node], row: &[f64]) -> f64 {
    let mut node = tree[0];
    while node.left != 0 {
        let goes_right = as_cut(row[usize::from(node.column)]) > node.cut;
        node = tree[usize::from(node.left) + usize::from(goes_right)];
    }
    f64::from(node.cut)
}

#[expect(clippy::cast_possible_truncation, reason = "cuts and rows are compared at the precision of f32")]
fn as_cut(x: f64) -> f32 {
    x as f32
}

/// `count` different numbers below `n` (a partial Fisher-Yates shuffle).
fn draw(n: usize, count: usize, rng: &mut Rng) -> Vec<u32> {
    let mut all: Vec<u32> = (0..u32::try_from(n).unwrap_or(u32::MAX)).collect();
    for at in 0..count {
        let other = at + rng.below(n - at);
        all.swap(at, other);
    }
    all.truncate(count);
    all
}

/// A tree while it grows.
struct Tree<'a> {
    rows: &'a Rows,
    depth_max: u32,
    nodes: Vec<Node>,
}

impl Tree<'_> {
    fn grow(rows: &Rows, mut drawn: Vec<u32>, rng: &mut Rng) -> Vec<Node> {
        let depth_max = drawn.len().next_power_of_two().trailing_zeros();
        let empty = Node { cut: 0.0, column: 0, left: 0 };
        let mut tree = Tree { rows, depth_max, nodes: vec![empty] };
        tree.split(0, &mut drawn, 0, rng);
        tree.nodes.shrink_to_fit();
        tree.nodes
    }

    /// Turns node `at` into the root of a tree over these rows.
    fn split(&mut self, at: usize, drawn: &mut [u32], depth: u32, rng: &mut Rng) {
        let cut = if depth < self.depth_max && drawn.len() > 1 { self.cut(drawn, rng) } else { None };
        let Some((column, cut)) = cut else {
            let length = f64::from(depth) + mean_path(drawn.len());
            self.nodes[at] = Node { cut: as_cut(length), column: 0, left: 0 };
            return;
        };
        let left = self.nodes.len();
        self.nodes.extend([Node { cut: 0.0, column: 0, left: 0 }; 2]);
        let narrow =
            |n: usize| u16::try_from(n).expect("SUBSAMPLE_MAX and the width keep numbers below 2^16");
        self.nodes[at] = Node { cut, column: narrow(column), left: narrow(left) };
        let rows = self.rows;
        let border = partition(drawn, |row| as_cut(rows.row(row as usize)[column]) <= cut);
        let (below, above) = drawn.split_at_mut(border);
        self.split(left, below, depth + 1, rng);
        self.split(left + 1, above, depth + 1, rng);
    }

    /// A column that is not constant over these rows, and a place in its range.
    fn cut(&self, drawn: &[u32], rng: &mut Rng) -> Option<(usize, f32)> {
        let mut columns: Vec<usize> = (0..self.rows.width()).collect();
        while !columns.is_empty() {
            let column = columns.swap_remove(rng.below(columns.len()));
            let values = drawn.iter().map(|row| as_cut(self.rows.row(*row as usize)[column]));
            let (low, high) =
                values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
            if low < high {
                let (low, high) = (f64::from(low), f64::from(high));
                let cut = as_cut(low + rng.unit() * (high - low));
                // Rounded up to the highest value, the cut would leave one side empty.
                return Some((column, if f64::from(cut) < high { cut } else { as_cut(low) }));
            }
        }
        None
    }
}

/// Moves what `belongs` to the front and says how many there are.
fn partition(drawn: &mut [u32], belongs: impl Fn(u32) -> bool) -> usize {
    let mut border = 0;
    for at in 0..drawn.len() {
        if belongs(drawn[at]) {
            drawn.swap(at, border);
            border += 1;
        }
    }
    border
}

#[cfg(test)]
mod tests {
    use super::super::calibration::Calibration;
    use super::*;

    fn cloud(n: usize, width: usize, seed: u64) -> Rows {
        let mut rng = Rng::new(seed);
        let mut rows = Rows::new(width);
        for _ in 0..n {
            rows.push(&(0..width).map(|_| rng.normal()).collect::<Vec<_>>());
        }
        rows
    }

    #[test]
    fn outliers_score_high_and_say_why() {
        let rows = cloud(512, 4, 1);
        let forest = Forest::fit(&rows, &ForestConfig::default()).unwrap();
        let [usual, odd_one, odd_all] =
            [[0.0; 4], [0.2, 9.0, -0.3, 0.1], [9.0; 4]].map(|row| forest.score(&row));
        assert!(usual < 0.45 && odd_one > usual + 0.1 && odd_all > 0.7, "{usual} {odd_one} {odd_all}");
        let odd = [0.2, 9.0, -0.3, 0.1];
        let shares = super::super::contributions(&odd, &rows.medians(), |row| forest.score(row));
        assert!(shares[1] > 0.8, "{shares:?}");
    }

    #[test]
    fn the_offset_leaves_the_contamination_above() {
        let rows = cloud(500, 3, 2);
        let forest = Forest::fit(&rows, &ForestConfig::default()).unwrap();
        let above = rows.iter().filter(|row| forest.score(row) > forest.offset()).count();
        assert_eq!(above, 50);
    }

    /// The configured quantile holds on rows the forest has not seen, which the offset does not promise.
    #[test]
    fn quiet_rows_cross_the_calibrated_bound_in_less_than_five_percent() {
        let (mut crossed, mut seen) = (0, 0);
        for seed in 0..20 {
            let rows = cloud(512, 5, 100 + seed);
            let forest = Forest::fit(&rows.slice(0..340), &ForestConfig::default()).unwrap();
            let held_out = rows.slice(340..512).iter().map(|row| forest.score(row)).collect();
            let threshold = Calibration::new(held_out).unwrap().threshold(0.95);
            let quiet = cloud(1_000, 5, 1_000 + seed);
            crossed += quiet.iter().filter(|row| forest.score(row) > threshold).count();
            seen += quiet.len();
        }
        let share = crossed as f64 / seen as f64;
        assert!(share < 0.05, "{share}");
    }

    #[test]
    fn few_or_equal_rows_are_no_trouble() {
        assert!(Forest::fit(&cloud(ROWS_MIN - 1, 2, 3), &ForestConfig::default()).is_none());
        let equal = Rows::from_rows(2, &vec![vec![1.0, 2.0]; 80]);
        let forest = Forest::fit(&equal, &ForestConfig::default()).unwrap();
        assert!(forest.trees.iter().all(|tree| tree.len() == 1));
        assert!(forest.score(&[5.0, 5.0]).is_finite());
    }

    #[test]
    fn the_same_seed_grows_the_same_forest_and_serde_keeps_it() {
        let rows = cloud(300, 3, 4);
        let forest = Forest::fit(&rows, &ForestConfig::default()).unwrap();
        assert_eq!(Forest::fit(&rows, &ForestConfig::default()).unwrap(), forest);
        let other = ForestConfig { seed: 43, ..ForestConfig::default() };
        assert_ne!(Forest::fit(&rows, &other).unwrap(), forest);
        let text = serde_json::to_string(&forest).unwrap();
        assert_eq!(serde_json::from_str::<Forest>(&text).unwrap(), forest);
        assert!(forest.nodes() * size_of::<Node>() < 400_000);
    }
}
