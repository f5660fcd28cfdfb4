//! A small recurrent network (GRU) that predicts the next row from those before it: the learnt alternative to
//! [`super::temporal`] where what comes next depends on what came before and not on the hour.
//!
//! One layer of gated recurrent units and a linear output. Learnt by truncated back-propagation through time over
//! stretches of [`STRETCH`] rows with Adam; the state is carried from stretch to stretch. The deviation of a
//! prediction is that of its residuals over the last rows, which are not learnt from.
//!
//! Invariants: the same rows and seed give the same network; time is bounded by `epochs * rows`.
//! Cost: about 1,700 weights for 16 units and 6 columns; learning 512 rows takes about 50 ms, a step 2 µs.
//!
//! Sources: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014; Kingma, Ba, "Adam",
//! ICLR 2015; Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML 2013 (clipping).

use serde::{Deserialize, Serialize};

use super::Rows;
use super::rng::Rng;
use super::temporal::Forecast;

/// Fewest rows.
pub const ROWS_MIN: usize = 60;
/// Rows that gradients reach back over.
pub const STRETCH: usize = 32;
/// Share of the rows, at the end, that only measures the deviation.
const MEASURED: f64 = 0.25;
/// Largest norm of a gradient.
const NORM_MAX: f64 = 1.0;
/// Smallest deviation of a prediction, in the unit of the columns, which are of about deviation 1.
const STDDEV_MIN: f64 = 1e-3;

/// How a network is learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GruConfig {
    /// Units.
    pub hidden: usize,
    /// Passes over the rows.
    pub epochs: usize,
    /// Step size of Adam.
    pub rate: f64,
    /// Start of the random numbers.
    pub seed: u64,
}

impl Default for GruConfig {
    /// 16 units, 20 passes: enough for a few hundred rows of a few columns, and little enough to learn in a window's end.
    fn default() -> Self {
        GruConfig { hidden: 16, epochs: 20, rate: 0.01, seed: 42 }
    }
}

/// A learnt network. Columns should have mean 0 and deviation 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gru {
    shape: Shape,
    weights: Vec<f64>,
    stddev: Vec<f64>,
}

/// What the network remembers of the rows so far: one number a unit, or none before the first row.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory(pub Vec<f64>);

/// Where the weights of each part lie: three gates of `hidden` rows `[input, memory, bias]`, then the output's rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Shape {
    width: usize,
    hidden: usize,
}

const UPDATE: usize = 0;
const RESET: usize = 1;
const CANDIDATE: usize = 2;

/// One step forward, as the way back needs it.
struct Step {
    input: Vec<f64>,
    before: Vec<f64>,
    gates: [Vec<f64>; 3],
    after: Vec<f64>,
    error: Vec<f64>,
}

impl Shape {
    fn gate_row(self) -> usize {
        self.width + self.hidden + 1
    }

    fn gate(self, gate: usize, unit: usize) -> usize {
        (gate * self.hidden + unit) * self.gate_row()
    }

    fn output(self, column: usize) -> usize {
        3 * self.hidden * self.gate_row() + column * (self.hidden + 1)
    }

    fn weights(self) -> usize {
        self.output(self.width)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn dot(weights: &[f64], values: &[f64]) -> f64 {
    weights.iter().zip(values).map(|(w, x)| w * x).sum()
}

impl Gru {
    /// Learns to predict each row from those before. `None` with fewer than [`ROWS_MIN`].
    #[must_use]
    pub fn fit(rows: &Rows, config: &GruConfig) -> Option<Gru> {
        if rows.len() < ROWS_MIN {
            return None;
        }
        let mut gru = Gru::random(rows.width(), config);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the length")]
        let learnt = ((1.0 - MEASURED) * rows.len() as f64) as usize;
        let mut adam = Adam::new(gru.weights.len(), config.rate);
        for _ in 0..config.epochs {
            let mut memory = vec![0.0; config.hidden];
            let mut at = 0;
            while at + 1 < learnt {
                let end = (at + STRETCH).min(learnt - 1);
                let steps = gru.forward(rows, at..end, &mut memory);
                let gradient = gru.backward(&steps);
                adam.step(&mut gru.weights, &gradient);
                at = end;
            }
        }
        gru.measure(rows, learnt);
        Some(gru)
    }

    /// Uniform weights of variance one over the inputs of each row (Glorot), biases 0.
    fn random(width: usize, config: &GruConfig) -> Gru {
        let shape = Shape { width, hidden: config.hidden.max(1) };
        let mut rng = Rng::new(config.seed);
        let mut weights = vec![0.0; shape.weights()];
        let mut fill = |start: usize, inputs: usize| {
            let bound = (3.0 / inputs as f64).sqrt();
            weights[start..start + inputs].fill_with(|| bound * (2.0 * rng.unit() - 1.0));
        };
        for gate in [UPDATE, RESET, CANDIDATE] {
            (0..shape.hidden).for_each(|unit| fill(shape.gate(gate, unit), shape.gate_row() - 1));
        }
        (0..width).for_each(|column| fill(shape.output(column), shape.hidden));
        // An output near 0 predicts the mean at first, which is the best guess before anything is learnt.
        weights[shape.output(0)..].iter_mut().for_each(|w| *w *= 0.1);
        Gru { shape, weights, stddev: vec![1.0; width] }
    }

    fn measure(&mut self, rows: &Rows, from: usize) {
        let mut memory = Memory::default();
        let (mut sums, mut count) = (vec![0.0; rows.width()], 0_u32);
        for (at, row) in rows.iter().enumerate() {
            if at >= from {
                let expected = self.expected(&memory);
                sums.iter_mut()
                    .zip(row.iter().zip(expected))
                    .for_each(|(sum, (x, e))| *sum += (x - e) * (x - e));
                count += 1;
            }
            self.step(&mut memory, row);
        }
        let deviation = |sum: f64| (sum / f64::from(count.max(1))).sqrt().max(STDDEV_MIN);
        self.stddev = sums.into_iter().map(deviation).collect();
    }

    /// Takes one row in.
    pub fn step(&self, memory: &mut Memory, row: &[f64]) {
        if memory.0.len() != self.shape.hidden {
            memory.0 = vec![0.0; self.shape.hidden];
        }
        let [update, _, candidate] = self.gates(row, &memory.0);
        for ((h, z), c) in memory.0.iter_mut().zip(&update).zip(&candidate) {
            *h = (1.0 - z) * *h + z * c;
        }
    }

    /// What the next row should be, column by column.
    #[must_use]
    pub fn predict(&self, memory: &Memory) -> Vec<Forecast> {
        let expected = self.expected(memory).into_iter().zip(&self.stddev);
        expected.map(|(mean, stddev)| Forecast { mean, stddev: *stddev }).collect()
    }

    fn expected(&self, memory: &Memory) -> Vec<f64> {
        let hidden = self.shape.hidden;
        let output = |column: usize| {
            let at = self.shape.output(column);
            dot(&self.weights[at..at + hidden], &memory.0) + self.weights[at + hidden]
        };
        (0..self.shape.width).map(output).collect()
    }

    fn gates(&self, input: &[f64], before: &[f64]) -> [Vec<f64>; 3] {
        let Shape { width, hidden } = self.shape;
        let sum = |gate: usize, unit: usize, memory: &[f64]| {
            let row = &self.weights[self.shape.gate(gate, unit)..][..width + hidden + 1];
            dot(&row[..width], input) + dot(&row[width..width + hidden], memory) + row[width + hidden]
        };
        let update = (0..hidden).map(|unit| sigmoid(sum(UPDATE, unit, before))).collect();
        let reset: Vec<f64> = (0..hidden).map(|unit| sigmoid(sum(RESET, unit, before))).collect();
        let kept: Vec<f64> = before.iter().zip(&reset).map(|(h, r)| h * r).collect();
        let candidate = (0..hidden).map(|unit| sum(CANDIDATE, unit, &kept).tanh()).collect();
        [update, reset, candidate]
    }

    /// Steps over the rows of a range, each predicting the row after it.
    fn forward(&self, rows: &Rows, range: std::ops::Range<usize>, memory: &mut [f64]) -> Vec<Step> {
        let step = |at: usize| {
            let (input, before) = (rows.row(at).to_vec(), memory.to_vec());
            let gates = self.gates(&input, &before);
            for ((h, z), c) in memory.iter_mut().zip(&gates[UPDATE]).zip(&gates[CANDIDATE]) {
                *h = (1.0 - z) * *h + z * c;
            }
            let expected = self.expected(&Memory(memory.to_vec()));
            let error = expected.iter().zip(rows.row(at + 1)).map(|(e, x)| e - x).collect();
            Step { input, before, gates, after: memory.to_vec(), error }
        };
        range.map(step).collect()
    }

    /// Gradient of the mean squared error of the steps.
    fn backward(&self, steps: &[Step]) -> Vec<f64> {
        let Shape { width, hidden } = self.shape;
        let mut gradient = vec![0.0; self.weights.len()];
        let mut flow = vec![0.0; hidden];
        let weight = 2.0 / (steps.len().max(1) * width) as f64;
        for step in steps.iter().rev() {
            for (column, error) in step.error.iter().enumerate() {
                let at = self.shape.output(column);
                for unit in 0..hidden {
                    gradient[at + unit] += weight * error * step.after[unit];
                    flow[unit] += weight * error * self.weights[at + unit];
                }
                gradient[at + hidden] += weight * error;
            }
            flow = self.back_one(step, &flow, &mut gradient);
        }
        gradient
    }

    /// Adds one step's part of the gradient and gives what flows on to the step before.
    fn back_one(&self, step: &Step, flow: &[f64], gradient: &mut [f64]) -> Vec<f64> {
        let Shape { width, hidden } = self.shape;
        let [update, reset, candidate] = &step.gates;
        let mut back: Vec<f64> = flow.iter().zip(update).map(|(f, z)| f * (1.0 - z)).collect();
        let kept: Vec<f64> = step.before.iter().zip(reset).map(|(h, r)| h * r).collect();
        let mut add = |gate: usize, unit: usize, slope: f64, memory: &[f64], to: &mut [f64]| {
            let at = self.shape.gate(gate, unit);
            for (g, x) in gradient[at..at + width].iter_mut().zip(&step.input) {
                *g += slope * x;
            }
            for k in 0..hidden {
                gradient[at + width + k] += slope * memory[k];
                to[k] += slope * self.weights[at + width + k];
            }
            gradient[at + width + hidden] += slope;
        };
        let mut through_kept = vec![0.0; hidden];
        for unit in 0..hidden {
            let (z, c) = (update[unit], candidate[unit]);
            add(CANDIDATE, unit, flow[unit] * z * (1.0 - c * c), &kept, &mut through_kept);
            add(UPDATE, unit, flow[unit] * (c - step.before[unit]) * z * (1.0 - z), &step.before, &mut back);
        }
        for unit in 0..hidden {
            let r = reset[unit];
            back[unit] += through_kept[unit] * r;
            add(RESET, unit, through_kept[unit] * step.before[unit] * r * (1.0 - r), &step.before, &mut back);
        }
        back
    }
}

/// Adam's running moments.
struct Adam {
    rate: f64,
    steps: i32,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Adam {
    fn new(n: usize, rate: f64) -> Adam {
        Adam { rate, steps: 0, first: vec![0.0; n], second: vec![0.0; n] }
    }

    fn step(&mut self, weights: &mut [f64], gradient: &[f64]) {
        const BETA: (f64, f64) = (0.9, 0.999);
        self.steps += 1;
        let norm = dot(gradient, gradient).sqrt();
        let clip = if norm > NORM_MAX { NORM_MAX / norm } else { 1.0 };
        let rate = self.rate * (1.0 - BETA.1.powi(self.steps)).sqrt() / (1.0 - BETA.0.powi(self.steps));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((w, g), (first, second)) in weights.iter_mut().zip(gradient).zip(moments) {
            let g = g * clip;
            *first = BETA.0 * *first + (1.0 - BETA.0) * g;
            *second = BETA.1 * *second + (1.0 - BETA.1) * g * g;
            *w -= rate * *first / (second.sqrt() + 1e-8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, noise: f64) -> Rows {
        let mut rng = Rng::new(5);
        let mut rows = Rows::new(2);
        for at in 0..n {
            let phase = at as f64 * 0.5;
            rows.push(&[1.4 * phase.sin() + noise * rng.normal(), 1.4 * phase.cos() + noise * rng.normal()]);
        }
        rows
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_error() {
        let rows = wave(12, 0.3);
        let mut gru = Gru::random(2, &GruConfig { hidden: 4, ..GruConfig::default() });
        let loss = |gru: &Gru| {
            let steps = gru.forward(&rows, 0..11, &mut [0.1; 4]);
            steps.iter().flat_map(|step| &step.error).map(|e| e * e).sum::<f64>() / 22.0
        };
        let gradient = gru.backward(&gru.forward(&rows, 0..11, &mut [0.1; 4]));
        for (at, gradient) in gradient.into_iter().enumerate() {
            let kept = gru.weights[at];
            gru.weights[at] = kept + 1e-5;
            let above = loss(&gru);
            gru.weights[at] = kept - 1e-5;
            let slope = (above - loss(&gru)) / 2e-5;
            gru.weights[at] = kept;
            assert!((slope - gradient).abs() < 1e-7, "weight {at}: {slope} {gradient}");
        }
    }

    #[test]
    fn a_wave_is_predicted_far_better_than_its_mean() {
        let rows = wave(400, 0.05);
        let gru = Gru::fit(&rows, &GruConfig::default()).unwrap();
        assert!(gru.stddev.iter().all(|stddev| *stddev < 0.3), "{:?}", gru.stddev);
        let mut memory = Memory::default();
        (0..300).for_each(|at| gru.step(&mut memory, rows.row(at)));
        let forecast = gru.predict(&memory);
        assert!(forecast[0].residual(rows.row(300)[0]).abs() < 4.0, "{forecast:?}");
        assert!(forecast[0].residual(rows.row(300)[0] + 3.0).abs() > 6.0, "{forecast:?}");
        assert_eq!(Gru::fit(&rows, &GruConfig::default()).unwrap(), gru);
        assert!(Gru::fit(&rows.slice(0..ROWS_MIN - 1), &GruConfig::default()).is_none());
    }
}
