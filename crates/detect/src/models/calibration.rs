//! From a model's score to the probability of one as high on quiet data, so that models can be compared and a bound
//! means the same for all of them.
//!
//! Held-out scores (of rows the model has not learnt from) are ranked. A score at or above the conformal quantile `q`
//! is seen on at most a share `1 - q` of quiet rows, whatever the model and the distribution. Beyond the knee
//! at [`KNEE`], where scores get rare, the probability goes on as an exponential tail.
//!
//! Sources: Vovk, Gammerman, Shafer, "Algorithmic learning in a random world", 2005 (split conformal prediction);
//! Pickands, "Statistical inference using extreme order statistics", Annals of Statistics 3(1), 1975 (tails).

use serde::{Deserialize, Serialize};

/// Fewest held-out scores: with fewer, no score could have a probability of 5 %.
pub const SCORES_MIN: usize = 20;
/// Share of scores below the knee: a fifth of [`SCORES_MIN`] still leaves four to measure a tail by.
pub const KNEE: f64 = 0.8;
/// No score is less probable: beyond it the tail is a guess.
pub const PROBABILITY_MIN: f64 = 1e-12;

/// Held-out scores of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    // INVARIANT: sorted, finite, at least SCORES_MIN.
    scores: Vec<f64>,
    knee: f64,
    /// Share of scores above the knee.
    tail: f64,
    /// Mean distance of those from the knee.
    scale: f64,
}

impl Calibration {
    /// From held-out scores; those that are not finite are left out. `None` when fewer than [`SCORES_MIN`] remain.
    #[must_use]
    pub fn new(mut scores: Vec<f64>) -> Option<Calibration> {
        scores.retain(|score| score.is_finite());
        if scores.len() < SCORES_MIN {
            return None;
        }
        let knee = super::quantile(&mut scores, KNEE);
        let (middle, last) = (scores[scores.len() / 2], scores[scores.len() - 1]);
        let beyond: Vec<f64> =
            scores.iter().filter(|score| **score > knee).map(|score| score - knee).collect();
        let count = beyond.len().max(1) as f64;
        // The mean of few distances is uncertain by their root; when all are equal (discrete scores) the body's
        // width stands in, and at last the resolution of the numbers.
        let mean = beyond.iter().sum::<f64>() / count * (1.0 + 1.0 / count.sqrt());
        let floor = (0.1 * (knee - middle)).max(1e-9 * last.abs()).max(1e-12);
        let tail = (count + 1.0) / (scores.len() as f64 + 1.0);
        Some(Calibration { knee, tail, scale: mean.max(floor), scores })
    }

    /// Held-out scores it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether it knows none; never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// The score that at most a share `1 - q` of quiet rows reaches; the highest known when `q` asks for more than the
    /// scores can tell.
    #[must_use]
    pub fn threshold(&self, q: f64) -> f64 {
        let rank = (q.clamp(0.0, 1.0) * (self.scores.len() + 1) as f64).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the length + 1")]
        let at = (rank as usize).clamp(1, self.scores.len()) - 1;
        self.scores[at]
    }

    /// Probability of a score this high or higher on quiet data, in `[PROBABILITY_MIN, 1]`, never rising with the score.
    #[must_use]
    pub fn probability(&self, score: f64) -> f64 {
        if score.is_nan() {
            return 1.0;
        }
        if score > self.knee {
            return (self.tail * (-(score - self.knee) / self.scale).exp()).max(PROBABILITY_MIN);
        }
        let below = self.scores.partition_point(|known| *known < score);
        let above = (self.scores.len() - below + 1) as f64;
        (above / (self.scores.len() + 1) as f64).max(self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    #[test]
    fn quiet_scores_cross_the_bound_as_seldom_as_promised() {
        let mut rng = Rng::new(1);
        for draw in [Rng::normal as fn(&mut Rng) -> f64, |rng| -rng.unit().ln(), Rng::unit] {
            let (mut crossed, mut rare, trials, each) = (0, 0, 200, 500);
            for _ in 0..trials {
                let calibration = Calibration::new((0..170).map(|_| draw(&mut rng)).collect()).unwrap();
                let threshold = calibration.threshold(0.95);
                for _ in 0..each {
                    let score = draw(&mut rng);
                    crossed += u32::from(score > threshold);
                    rare += u32::from(calibration.probability(score) < 0.001);
                }
            }
            let n = f64::from(trials * each);
            assert!(f64::from(crossed) / n < 0.05, "{crossed} of {n}");
            assert!(f64::from(rare) / n < 0.001, "{rare} of {n}");
        }
    }

    #[test]
    fn probability_never_rises_and_ties_are_taken_the_careful_way() {
        let scores: Vec<f64> = (0..100).map(|n| f64::from(n % 4)).collect();
        let calibration = Calibration::new(scores).unwrap();
        let found: Vec<f64> = (-10..60).map(|n| calibration.probability(f64::from(n) / 10.0)).collect();
        assert!(found.windows(2).all(|pair| pair[1] <= pair[0]), "{found:?}");
        assert!(calibration.probability(3.0) >= 0.2, "a quarter of the scores are 3");
        assert!(calibration.probability(1e300) >= PROBABILITY_MIN);
        assert_eq!(calibration.probability(f64::NAN), 1.0);
    }

    #[test]
    fn too_few_scores_promise_nothing() {
        assert_eq!(Calibration::new(vec![1.0; SCORES_MIN - 1]), None);
        assert!(
            Calibration::new(vec![1.0; SCORES_MIN]).is_some_and(|all_equal| all_equal.probability(1.1) < 0.1)
        );
    }
}
