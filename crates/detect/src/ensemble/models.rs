//! The three models of one service: learnt from its windows, calibrated on those they have not seen.
//!
//! Learning is done twice: on the first half of the windows, to see how high quiet windows score that come after what was
//! learnt, and on all of them, to judge with. The first is what the probabilities rest on; like the windows that are
//! judged later, its windows lie up to an hour behind what was learnt.
//!
//! Numbers that vary less than is worth a word are blurred up to that ([`SCALE_MIN`], [`VOLUME_SCALE_MIN`]) in what is
//! learnt from. So an error after an hour without any, or 5 % more records where they hardly vary, is little news to
//! any model, and a forest can cut a number that has been constant.
//!
//! Invariant: the same windows and choice give the same models, so a snapshot holds windows and not models.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::window::{FEATURES, Measured, SCALE_MIN, SEVERITY, VOLUME, VOLUME_SCALE_MIN};
use crate::config::{BehaviouralModel, EnsembleConfig, StatisticalModel, TemporalModel};
use crate::models::calibration::Calibration;
use crate::models::forest::{Forest, ForestConfig};
use crate::models::gru::{Gru, GruConfig, Memory};
use crate::models::hmm::{Filter, Hmm, HmmConfig};
use crate::models::markov::Markov;
use crate::models::rng::Rng;
use crate::models::svm::{OneClassSvm, SvmConfig};
use crate::models::temporal::{Decomposition, DecompositionConfig};
use crate::models::{Rows, contributions, quantile};

/// Number of models.
pub(super) const MODELS: usize = 3;
/// Share of the windows that must have a number for the models to learn it.
const PRESENT_MIN: f64 = 0.5;
/// Deviations beyond which a number is cut off: it is as unusual as can be, and sums stay sane.
const CUT: f64 = 30.0;
/// Deviations between which a number is far off, off, usual, off or far off to the Markov chain: 2.3 % of quiet windows
/// lie beyond the inner ones to each side, next to none beyond the outer ones.
const LEVELS: [f64; 4] = [-4.0, -2.0, 2.0, 4.0];
const STATES: u32 = 5;
/// Start of the random numbers that blur.
const BLUR_SEED: u64 = 7;
/// Transitions whose surprise the Markov chain adds up: a rare state is entered now and then, a fault stays rare.
const TRANSITIONS: usize = 3;
/// Interquartile range of a normal distribution of deviation 1.
const QUARTILES: f64 = 1.349;

/// Which models are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) statistical: StatisticalModel,
    pub(super) behavioural: BehaviouralModel,
    pub(super) temporal: TemporalModel,
    /// Length of a window, ns.
    width: i64,
}

impl Choice {
    pub(super) fn of(config: &EnsembleConfig) -> Choice {
        let EnsembleConfig { statistical, behavioural, temporal, .. } = *config;
        Choice { statistical, behavioural, temporal, width: config.window.ns() }
    }

    pub(super) fn names(&self) -> [&'static str; MODELS] {
        [self.statistical.as_str(), self.behavioural.as_str(), self.temporal.as_str()]
    }
}

#[derive(Debug)]
enum Statistical {
    Forest(Forest),
    Svm(OneClassSvm),
}

#[derive(Debug)]
enum Behavioural {
    Hidden(Hmm),
    /// One for each number: states of all numbers together would nearly all be rare.
    Chains(Vec<Markov>),
}

#[derive(Debug)]
enum Temporal {
    Series(Vec<Decomposition>),
    Network(Gru),
}

/// The models before their calibration.
#[derive(Debug)]
struct Learnt {
    statistical: Statistical,
    behavioural: Behavioural,
    temporal: Temporal,
}

/// The models of one service.
#[derive(Debug)]
pub(super) struct Models {
    pub(super) choice: Choice,
    frame: Frame,
    learnt: Learnt,
    calibrations: [Calibration; MODELS],
}

/// What the models remember of the windows so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Online {
    filter: Filter,
    states: Vec<u32>,
    /// Surprise of the last transitions, newest last.
    surprises: VecDeque<f64>,
    memory: Memory,
}

/// What the models say of one window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged {
    /// Probability of so high a score on quiet data, by model.
    pub(super) probabilities: [f64; MODELS],
    /// The window as the models see it.
    row: Seen,
}

impl Judged {
    /// Probability by the second most convinced model: what two agree on.
    pub(super) fn agreed(&self) -> f64 {
        let mut sorted = self.probabilities;
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[1]
    }
}

/// How numbers are brought to like size: which are there, and their middle and deviation.
#[derive(Debug, Clone)]
struct Frame {
    present: Vec<usize>,
    deviations: Vec<(f64, f64)>,
    levels: Vec<(f64, f64)>,
}

/// A window in the frame; what is missing is in the middle.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    time: f64,
    deviations: Vec<f64>,
    levels: Vec<f64>,
}

impl Frame {
    fn of(windows: &[Measured]) -> Frame {
        let column = |pick: fn(&Measured) -> &[f64; FEATURES], at: usize| {
            let mut values: Vec<f64> =
                windows.iter().map(|w| pick(w)[at]).filter(|x| x.is_finite()).collect();
            let middle = quantile(&mut values, 0.5);
            let quartiles = quantile(&mut values, 0.75) - quantile(&mut values, 0.25);
            (middle, (quartiles / QUARTILES).max(SCALE_MIN[at]), values.len())
        };
        let wanted = PRESENT_MIN * windows.len() as f64;
        let present: Vec<usize> =
            (0..FEATURES).filter(|at| column(|w| &w.deviations, *at).2 as f64 >= wanted).collect();
        let scales = |pick: fn(&Measured) -> &[f64; FEATURES]| -> Vec<(f64, f64)> {
            present.iter().map(|at| column(pick, *at)).map(|(middle, scale, _)| (middle, scale)).collect()
        };
        let (mut deviations, levels) = (scales(|w| &w.deviations), scales(|w| &w.levels));
        if let Some(at) = present.iter().position(|at| *at == VOLUME) {
            // A count of n has the level 2 sqrt(n), and a share more of it moves the level by that share of sqrt(n).
            let floor = VOLUME_SCALE_MIN * 0.5 * levels[at].0;
            deviations[at].1 = deviations[at].1.max(floor);
        }
        Frame { deviations, levels, present }
    }

    fn see(&self, window: &Measured, width: i64) -> Seen {
        let framed = |values: &[f64; FEATURES], scales: &[(f64, f64)]| -> Vec<f64> {
            let framed = self.present.iter().zip(scales).map(|(at, (middle, scale))| {
                let x = (values[*at] - middle) / scale;
                if x.is_finite() { x.clamp(-CUT, CUT) } else { 0.0 }
            });
            framed.collect()
        };
        Seen {
            time: window.at as f64 * (width as f64 / 1e9),
            deviations: framed(&window.deviations, &self.deviations),
            levels: framed(&window.levels, &self.levels),
        }
    }

    /// Adds noise to numbers that vary less than one deviation of the frame, so that they vary by it.
    fn blur(&self, rows: &mut [Seen]) {
        let mut rng = Rng::new(BLUR_SEED);
        for (at, ((_, scale), (_, level_scale))) in self.deviations.iter().zip(&self.levels).enumerate() {
            // A few windows far off do not make a number one that varies.
            let square = |row: &Seen| row.deviations[at].clamp(-2.0, 2.0).powi(2);
            let varies = rows.iter().map(square).sum::<f64>() / rows.len().max(1) as f64;
            let noise = (1.0 - varies).max(0.0).sqrt();
            for row in rows.iter_mut() {
                let blur = noise * rng.normal();
                row.deviations[at] += blur;
                row.levels[at] += blur * scale / level_scale;
            }
        }
    }

    fn severity(&self) -> Vec<f64> {
        self.present.iter().map(|at| SEVERITY[*at]).collect()
    }
}

/// The state of a number's Markov chain.
fn state_of(x: f64) -> u32 {
    LEVELS.iter().map(|level| u32::from(x > *level)).sum()
}

impl Learnt {
    fn fit(rows: &[Seen], severity: &[f64], choice: &Choice) -> Option<Learnt> {
        let width = severity.len();
        let mut deviations = Rows::new(width);
        rows.iter().for_each(|row| deviations.push(&row.deviations));
        let statistical = match choice.statistical {
            StatisticalModel::IsolationForest => {
                Statistical::Forest(Forest::fit(&deviations, &ForestConfig::default())?)
            }
            StatisticalModel::OneClassSvm => {
                Statistical::Svm(OneClassSvm::fit(&deviations, &SvmConfig::default())?)
            }
        };
        let behavioural = match choice.behavioural {
            BehaviouralModel::HiddenMarkov => {
                Behavioural::Hidden(Hmm::fit(&deviations, severity, &HmmConfig::default())?)
            }
            BehaviouralModel::MarkovChain => {
                let chain = |at: usize| {
                    let states: Vec<u32> = rows.iter().map(|row| state_of(row.deviations[at])).collect();
                    Markov::fit(&states, STATES)
                };
                Behavioural::Chains((0..width).map(chain).collect::<Option<_>>()?)
            }
        };
        let temporal = match choice.temporal {
            TemporalModel::Prophet => {
                let series = |at: usize| {
                    let points: Vec<(f64, f64)> = rows.iter().map(|row| (row.time, row.levels[at])).collect();
                    Decomposition::fit(&points, &DecompositionConfig::default())
                };
                Temporal::Series((0..width).map(series).collect::<Option<_>>()?)
            }
            TemporalModel::Lstm | TemporalModel::Gru => {
                let mut levels = Rows::new(width);
                rows.iter().for_each(|row| levels.push(&row.levels));
                Temporal::Network(Gru::fit(&levels, &GruConfig::default())?)
            }
        };
        Some(Learnt { statistical, behavioural, temporal })
    }

    /// The scores of the next window, which the memory then holds.
    fn scores(&self, row: &Seen, online: &mut Online) -> [f64; MODELS] {
        let behavioural = match &self.behavioural {
            Behavioural::Hidden(hmm) => online.filter.step(hmm, &row.deviations),
            Behavioural::Chains(chains) => {
                let states: Vec<u32> = row.deviations.iter().map(|x| state_of(*x)).collect();
                let before = if online.states.len() == states.len() { &online.states } else { &states };
                let moves = chains.iter().zip(before.iter().zip(&states));
                let surprise: f64 = moves.map(|(chain, (from, to))| chain.surprise(*from, *to)).sum();
                online.states = states;
                if online.surprises.len() == TRANSITIONS {
                    online.surprises.pop_front();
                }
                online.surprises.push_back(surprise);
                online.surprises.iter().sum()
            }
        };
        let furthest =
            |residuals: &mut dyn Iterator<Item = f64>| residuals.fold(0.0_f64, |far, x| far.max(x.abs()));
        let temporal = match &self.temporal {
            Temporal::Series(series) => {
                let pairs = series.iter().zip(&row.levels);
                furthest(&mut pairs.map(|(series, level)| series.predict(row.time).residual(*level)))
            }
            Temporal::Network(network) => {
                let forecasts = network.predict(&online.memory);
                network.step(&mut online.memory, &row.levels);
                furthest(&mut forecasts.iter().zip(&row.levels).map(|(forecast, x)| forecast.residual(*x)))
            }
        };
        [self.statistical(&row.deviations), behavioural, temporal]
    }

    fn statistical(&self, deviations: &[f64]) -> f64 {
        match &self.statistical {
            Statistical::Forest(forest) => forest.score(deviations),
            Statistical::Svm(svm) => svm.score(deviations),
        }
    }
}

impl Models {
    /// Learns from windows in order. `None` when they are too few or say too little.
    pub(super) fn fit(windows: &[Measured], choice: Choice) -> Option<(Models, Online)> {
        let frame = Frame::of(windows);
        if frame.present.is_empty() {
            return None;
        }
        let mut rows: Vec<Seen> = windows.iter().map(|window| frame.see(window, choice.width)).collect();
        frame.blur(&mut rows);
        let severity = frame.severity();
        let known = rows.len() / 2;
        let first = Learnt::fit(&rows[..known], &severity, &choice)?;
        let mut online = Online::default();
        let scores: Vec<[f64; MODELS]> = rows.iter().map(|row| first.scores(row, &mut online)).collect();
        let held_out = |model: usize| scores[known..].iter().map(|scores| scores[model]).collect();
        let calibrate = |model: usize| Calibration::new(held_out(model));
        let calibrations = [calibrate(0)?, calibrate(1)?, calibrate(2)?];
        let learnt = Learnt::fit(&rows, &severity, &choice)?;
        let mut online = Online::default();
        rows.iter().for_each(|row| {
            learnt.scores(row, &mut online);
        });
        Some((Models { choice, frame, learnt, calibrations }, online))
    }

    /// Judges the next window, which the memory then holds.
    pub(super) fn judge(&self, window: &Measured, online: &mut Online) -> Judged {
        let row = self.frame.see(window, self.choice.width);
        let scores = self.learnt.scores(&row, online);
        let probability = |model: usize| self.calibrations[model].probability(scores[model]);
        Judged { probabilities: std::array::from_fn(probability), row }
    }

    /// Share of each number in the verdict, largest first, with its deviation in the models' frame.
    pub(super) fn shares(&self, judged: &Judged) -> Vec<Share> {
        let row = &judged.row.deviations;
        let usual = vec![0.0; row.len()];
        let by_model = contributions(row, &usual, |row| self.learnt.statistical(row));
        // The models of the past see distance: its square is what Gaussian surprise adds up.
        let by_distance = contributions(row, &usual, |row| row.iter().map(|x| x * x).sum());
        let mut shares: Vec<Share> = self
            .frame
            .present
            .iter()
            .enumerate()
            .map(|(at, feature)| Share {
                feature: *feature,
                weight: 0.5 * (by_model[at] + by_distance[at]),
                scale: self.frame.deviations[at].1,
            })
            .collect();
        shares.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        shares
    }

    /// Nodes of the forest, if that is the model.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        match &self.learnt.statistical {
            Statistical::Forest(forest) => forest.nodes(),
            Statistical::Svm(_) => 0,
        }
    }

    /// Probability of the critical hidden state after the windows so far, when that is the model.
    pub(super) fn critical(&self, online: &Online) -> Option<f64> {
        match self.learnt.behavioural {
            Behavioural::Hidden(_) => online.filter.states.last().copied(),
            Behavioural::Chains(_) => None,
        }
    }
}

/// Part of one number in a verdict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) feature: usize,
    pub(super) weight: f64,
    pub(super) scale: f64,
}
