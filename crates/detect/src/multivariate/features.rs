//! What a value is predicted from: its own past, and the inputs now and lately.
//!
//! Invariant: the features of a row hold nothing of the value to be predicted; inputs of the same row count.

/// Earlier values that are features, in rows back: close ones for its course, 5 and 8 for what repeats or rings.
const LAGS: [usize; 5] = [1, 2, 3, 5, 8];
const PAST: usize = 8;
/// Rows the feature for the level is over.
const LEVEL_SPAN: f64 = 16.0;
/// Rows over which inputs are counted: now, and what they do for some rows after.
const INPUT_SPANS: [f64; 3] = [1.0, 4.0, 16.0];
/// An input counts for this much at most, however often it came.
const INPUT_MAX: f64 = 3.0;
/// Rows an input must have been 1 in, in training.
const INPUT_ROWS_MIN: usize = 3;
/// Most inputs used, those seen most often.
const INPUTS_MAX: usize = 64;
/// Values further away than this, in standard deviations, count as this, so that squares stay finite.
const VALUE_MAX: f64 = 1e6;

/// Rows the averages of the residuals are over: the first for a few wild rows, the others for what lasts.
pub(super) const SPANS: [usize; 3] = [4, 64, 128];
pub(super) const SCALES: usize = SPANS.len();

/// Which columns are what.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) targets: Vec<Scaled>,
    inputs: Vec<usize>,
}

/// A measured column: its values count from its mean, in standard deviations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaled {
    column: usize,
    mean: f64,
    deviation: f64,
}

impl Layout {
    /// The first column is measured, and every other that is not just 0 and 1.
    pub(super) fn of<R: AsRef<[f64]>>(rows: &[R]) -> Layout {
        let columns = rows.first().map_or(0, |row| row.as_ref().len());
        let of_column = |at: usize| rows.iter().map(move |row| row.as_ref()[at]);
        let is_input = |at: &usize| *at > 0 && of_column(*at).all(|x| x == 0.0 || x == 1.0);
        let mut inputs: Vec<(usize, usize)> = (0..columns)
            .filter(is_input)
            .map(|at| (of_column(at).filter(|x| *x == 1.0).count(), at))
            .filter(|(count, _)| *count >= INPUT_ROWS_MIN)
            .collect();
        inputs.sort_unstable_by_key(|(count, at)| (std::cmp::Reverse(*count), *at));
        inputs.truncate(INPUTS_MAX);
        Layout {
            targets: (0..columns)
                .filter(|at| !is_input(at))
                .map(|at| Scaled::of(at, of_column(at)))
                .collect(),
            inputs: inputs.into_iter().map(|(_, at)| at).collect(),
        }
    }
}

impl Scaled {
    #[expect(clippy::cast_precision_loss, reason = "row counts far below 2^53")]
    fn of(column: usize, values: impl Iterator<Item = f64> + Clone) -> Scaled {
        let values = values.filter(|x| x.is_finite());
        let count = values.clone().count().max(1) as f64;
        let mean = values.clone().map(|x| x / count).sum::<f64>();
        let deviation = values.map(|x| (x - mean) * ((x - mean) / count)).sum::<f64>().sqrt();
        // A column that never moved has no unit but its own size.
        let never_moved = deviation <= 1e-9 * mean.abs() || !deviation.is_normal();
        let own_size = if mean == 0.0 { 1.0 } else { mean.abs() };
        Scaled { column, mean, deviation: if never_moved { own_size } else { deviation } }
    }
}

/// An exponential average that begins as a plain one.
#[derive(Debug, Clone, Copy, Default)]
struct Average {
    rows: f64,
    mean: f64,
}

impl Average {
    fn push(&mut self, value: f64, span: f64) -> f64 {
        self.rows += 1.0;
        self.mean += (1.0 / self.rows).max(1.0 / span) * (value - self.mean);
        self.mean
    }
}

/// The averages of one column's residual.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Smoothed([Average; SCALES]);

impl Smoothed {
    #[expect(clippy::cast_precision_loss, reason = "spans are small")]
    pub(super) fn push(&mut self, residual: f64) -> [f64; SCALES] {
        std::array::from_fn(|at| self.0[at].push(residual, SPANS[at] as f64))
    }
}

/// The past of all columns in use.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    rows: usize,
    targets: Vec<Past>,
    inputs: Vec<[f64; INPUT_SPANS.len()]>,
    last_inputs: Vec<f64>,
}

/// The past of a measured column, newest value first.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    values: [f64; PAST],
    level: Average,
}

impl Follower {
    pub(super) fn new(layout: &Layout) -> Follower {
        Follower {
            rows: 0,
            targets: vec![Past::default(); layout.targets.len()],
            inputs: vec![[0.0; INPUT_SPANS.len()]; layout.inputs.len()],
            last_inputs: vec![0.0; layout.inputs.len()],
        }
    }

    /// Takes the inputs of a row in.
    pub(super) fn inputs(&mut self, layout: &Layout, row: &[f64]) {
        for ((column, counts), last) in layout.inputs.iter().zip(&mut self.inputs).zip(&mut self.last_inputs)
        {
            if let Some(input) = row.get(*column).filter(|input| input.is_finite()) {
                *last = input.clamp(-INPUT_MAX, INPUT_MAX);
            }
            for (count, span) in counts.iter_mut().zip(INPUT_SPANS) {
                *count = *count * (1.0 - 1.0 / span) + *last;
            }
        }
    }

    /// The value of a target in a row, from its mean in deviations; the one before when there is none.
    pub(super) fn value(&self, layout: &Layout, target: usize, row: &[f64]) -> f64 {
        let Scaled { column, mean, deviation } = layout.targets[target];
        match row.get(column) {
            Some(x) if x.is_finite() => ((x - mean) / deviation).clamp(-VALUE_MAX, VALUE_MAX),
            _ => self.targets[target].values[0],
        }
    }

    /// The features for the next value of a target.
    pub(super) fn features(&self, target: usize, out: &mut Vec<f64>) {
        let past = &self.targets[target];
        out.clear();
        out.push(1.0);
        out.extend(LAGS.map(|lag| past.values[lag - 1]));
        out.push(past.level.mean);
        out.extend(self.inputs.iter().flatten().map(|count| count.min(INPUT_MAX)));
    }

    /// Takes the value of a target in.
    pub(super) fn learn(&mut self, target: usize, value: f64) {
        let past = &mut self.targets[target];
        if self.rows == 0 {
            past.values = [value; PAST];
        }
        past.values.rotate_right(1);
        past.values[0] = value;
        past.level.push(value, LEVEL_SPAN);
    }

    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }
}
