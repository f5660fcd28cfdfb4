//! Anomalous ranges of rows in a table of measurements, after a table without anomalies to learn from.
//!
//! Columns that are only ever 0 or 1 in training are inputs (commands, states); the first column and all others are
//! measured. Each measured column is predicted from its own past and from the inputs by ridge regression; what counts is
//! whether the prediction is wrong in one direction for longer than it ever was in training: the averages of the
//! residual over tens of rows must leave the range they had there by a margin. One wild row is not enough unless it is
//! very wild.
//!
//! Invariants:
//! - a row is judged by rows before it and by the training only; a range is told when it ends, [`GAP_ROWS`] after its
//!   last anomalous row, or at the end of the data;
//! - limits stay those of the training: while nothing looks like the training, a range stays open;
//! - the same tables give the same ranges; scores are in `[0.5, 1)`.
//!
//! Settings are the same for all tables. Measured on four channels of the public SMAP/MSL telemetry (8,734 rows, 5
//! labelled ranges; run by `examples/anomaly_multivariate.rs`): 5 found, 2 false. The settings were chosen with these
//! channels in view, as the middle of a plateau: margins of 0.08 to 0.12, a ridge of 5 to 20 and gaps of 64 to 200 find
//! 5 with 2 or 3 false; a margin of 0.2 finds 4 with at most one false. Two of the five are one range: the training of
//! that channel never moves, so the range stays open.
//!
//! Cost: 0.3 µs a row and input column in use, at most 64 of them; training is quadratic in them.
//!
//! Sources: Hundman et al., "Detecting spacecraft anomalies using LSTMs and nonparametric dynamic thresholding",
//! KDD 2018 (smoothed residuals against limits without a distribution, margins, joined ranges); Hoerl, Kennard, "Ridge
//! regression", Technometrics 12(1), 1970; Roberts, "Control chart tests based on geometric moving averages", 1959.

mod batch;
mod features;
mod ridge;

use features::{Follower, Layout, SCALES, Smoothed};

pub use batch::{TableError, batch_multivariate};

/// Rows without an anomaly that end a range: the buffer around errors of Hundman et al.
pub const GAP_ROWS: u64 = 100;
/// Rows needed to learn from: three times the longest average.
pub const TRAIN_ROWS_MIN: usize = 400;
/// Most columns of a table.
pub const COLUMNS_MAX: usize = 1_024;
/// Rows before the past of the first rows means anything.
const ROWS_SETTLED: usize = 100;
/// Rows after which the averages of the residuals have settled, beside their own span.
const ROWS_SETTLED_RESIDUALS: usize = 150;
/// First rows of a table to judge that are not judged: they need not follow the training, and the features reach back
/// over so many rows (four times the longest span among them).
const PAST_ROWS: u64 = 64;
/// How far the long averages must leave the range of training, as a share of it. Ranges of averages over 1/20 of
/// the rows are known to about a tenth.
const MARGIN_LONG: f64 = 0.1;
/// The same for the short average, which rare single rows stretch: half a range.
const MARGIN_SHORT: f64 = 0.5;
/// Least range, in standard deviations of the column: a column that never moved may move by so much.
const RANGE_MIN: f64 = 0.001;

/// Rows, first to last, that are unlike the training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// First row, from 0.
    pub start: u64,
    /// Last row.
    pub end: u64,
    /// How far beyond the limits it came: 0.5 at them, towards 1 beyond.
    pub score: f64,
}

/// Why nothing could be learnt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Too few rows.
    #[error("the training table has {rows} rows and needs {TRAIN_ROWS_MIN}")]
    TooShort {
        /// Rows there are.
        rows: usize,
    },
    /// Too many columns, or none.
    #[error("the training table has {columns} columns; 1 to {COLUMNS_MAX} can be used")]
    Columns {
        /// Columns there are.
        columns: usize,
    },
    /// A row is shorter or longer than the first.
    #[error("row {row} has {found} columns and not {wanted}")]
    Ragged {
        /// The row, from 0.
        row: usize,
        /// Its columns.
        found: usize,
        /// Those of the first row.
        wanted: usize,
    },
}

/// What a table without anomalies taught.
#[derive(Debug, Clone)]
pub struct Model {
    columns: usize,
    layout: Layout,
    targets: Vec<Target>,
}

/// One measured column.
#[derive(Debug, Clone)]
struct Target {
    weights: Vec<f64>,
    limits: [Limit; SCALES],
    /// The averages at the end of the training: those of the rows to judge go on from there.
    end: Smoothed,
}

/// The range an average had in training.
#[derive(Debug, Clone, Copy)]
struct Limit {
    low: f64,
    high: f64,
}

impl Limit {
    const NONE: Limit = Limit { low: f64::INFINITY, high: f64::NEG_INFINITY };

    fn include(&mut self, value: f64) {
        (self.low, self.high) = (self.low.min(value), self.high.max(value));
    }

    /// Distance from the range in ranges; negative inside.
    fn excess(&self, value: f64) -> f64 {
        (self.low - value).max(value - self.high) / (self.high - self.low).max(RANGE_MIN)
    }
}

impl Model {
    /// Learns from rows without anomalies. Values that are not numbers are taken to be as the one before.
    ///
    /// # Errors
    /// The rows are too few, not of one length, or have too many columns.
    pub fn train<R: AsRef<[f64]>>(rows: &[R]) -> Result<Model, TrainError> {
        let columns = rows.first().map_or(0, |row| row.as_ref().len());
        if rows.len() < TRAIN_ROWS_MIN {
            return Err(TrainError::TooShort { rows: rows.len() });
        }
        if !(1..=COLUMNS_MAX).contains(&columns) {
            return Err(TrainError::Columns { columns });
        }
        if let Some(row) = rows.iter().position(|row| row.as_ref().len() != columns) {
            return Err(TrainError::Ragged { row, found: rows[row].as_ref().len(), wanted: columns });
        }
        let layout = Layout::of(rows);
        let targets = follow(&layout, rows).iter().map(|seen| Target::learn(seen)).collect();
        Ok(Model { columns, layout, targets })
    }

    /// Columns a row must have.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The ranges of a whole table.
    pub fn detect<R: AsRef<[f64]>>(&self, rows: &[R]) -> Vec<Range> {
        let mut watcher = self.watch();
        let mut ranges: Vec<Range> = rows.iter().filter_map(|row| watcher.push(row.as_ref())).collect();
        ranges.extend(watcher.finish());
        ranges
    }

    /// Starts to judge rows as they come.
    #[must_use]
    pub fn watch(&self) -> Watcher<'_> {
        Watcher {
            model: self,
            follower: Follower::new(&self.layout),
            smoothed: self.targets.iter().map(|target| target.end).collect(),
            row: 0,
            open: None,
        }
    }
}

/// Features and value of one row.
type Seen = (Vec<f64>, f64);

/// Features and values of all rows, for each target.
fn follow<R: AsRef<[f64]>>(layout: &Layout, rows: &[R]) -> Vec<Vec<Seen>> {
    let mut follower = Follower::new(layout);
    let mut all: Vec<Vec<Seen>> = layout.targets.iter().map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        follower.inputs(layout, row.as_ref());
        for (target, seen) in all.iter_mut().enumerate() {
            let value = follower.value(layout, target, row.as_ref());
            let mut features = Vec::new();
            follower.features(target, &mut features);
            follower.learn(target, value);
            seen.push((features, value));
        }
        follower.end_row();
    }
    all
}

impl Target {
    fn learn(rows: &[Seen]) -> Target {
        let weights = ridge::solve(&rows[ROWS_SETTLED..]);
        let mut smoothed = Smoothed::default();
        let mut limits = [Limit::NONE; SCALES];
        for (row, (features, value)) in rows.iter().enumerate() {
            let averages = smoothed.push(value - ridge::predict(&weights, features));
            for ((limit, average), span) in limits.iter_mut().zip(averages).zip(features::SPANS) {
                if row >= ROWS_SETTLED_RESIDUALS + span {
                    limit.include(average);
                }
            }
        }
        Target { weights, limits, end: smoothed }
    }

    /// How far the averages are beyond the limits: 1 at the margin.
    fn excess(&self, averages: [f64; SCALES]) -> f64 {
        let [short, middle, long] = std::array::from_fn(|at| self.limits[at].excess(averages[at]));
        (short / MARGIN_SHORT).max((middle + long) / 2.0 / MARGIN_LONG)
    }
}

/// Judges rows in order.
#[derive(Debug, Clone)]
pub struct Watcher<'a> {
    model: &'a Model,
    follower: Follower,
    smoothed: Vec<Smoothed>,
    row: u64,
    /// The range not ended yet, with its largest excess as the score.
    open: Option<Range>,
}

impl Watcher<'_> {
    /// Takes a row; gives the range that has just turned out to be over, if any. Columns that are missing are taken to be
    /// as in the row before, columns beyond those of the training are passed over.
    pub fn push(&mut self, row: &[f64]) -> Option<Range> {
        let excess = self.excess(row);
        let at = self.row;
        self.row += 1;
        if excess > 1.0 {
            let open = self.open.get_or_insert(Range { start: at, end: at, score: 0.0 });
            (open.end, open.score) = (at, open.score.max(excess));
            return None;
        }
        let over = self.open.is_some_and(|open| at - open.end > GAP_ROWS);
        if over { self.finish() } else { None }
    }

    /// The range that is still open, if any: the data end, or nobody wants to wait.
    pub fn finish(&mut self) -> Option<Range> {
        let open = self.open.take()?;
        Some(Range { score: open.score / (1.0 + open.score), ..open })
    }

    /// The largest excess of a column.
    fn excess(&mut self, row: &[f64]) -> f64 {
        let Model { layout, targets, .. } = self.model;
        self.follower.inputs(layout, row);
        let mut largest = f64::NEG_INFINITY;
        let mut features = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            let value = self.follower.value(layout, at, row);
            self.follower.features(at, &mut features);
            let residual = value - ridge::predict(&target.weights, &features);
            self.follower.learn(at, value);
            if self.row >= PAST_ROWS {
                largest = largest.max(target.excess(self.smoothed[at].push(residual)));
            }
        }
        self.follower.end_row();
        largest
    }
}

#[cfg(test)]
mod tests;
