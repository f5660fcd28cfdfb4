//! Markov chain over numbered states: how surprising is this state after the one before?
//!
//! The probability of a transition is its frequency, drawn towards the overall frequency of the state entered as long
//! as few departures are known (Dirichlet prior), which in turn leaves something for states never seen.
//!
//! Invariants: the probabilities of all states after any state sum to 1; only transitions seen are kept, so memory is
//! bounded by the rows learnt from, however many states there are.
//! Cost: 12 bytes a transition seen; learning is one pass.
//!
//! Source: Ye, "A Markov chain model of temporal behavior for anomaly detection", IEEE Information Assurance
//! Workshop, 2000; MacKay, Peto, "A hierarchical Dirichlet language model", Natural Language Engineering 1(3), 1995.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Departures from a state that weigh as much as the overall frequencies.
const PRIOR_DEPARTURES: f64 = 2.0;
/// Sightings every state is given beforehand, over all states together: one.
const PRIOR_SIGHTINGS: f64 = 1.0;

/// A learnt chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Markov {
    states: u32,
    sightings: u32,
    /// Sightings by state, and departures: the last state of the sequence has one sighting more than departures.
    seen: BTreeMap<u32, (u32, u32)>,
    /// Sorted by the states left and entered.
    transitions: Vec<(u32, u32, u32)>,
}

impl Markov {
    /// Learns a sequence of states below `states`. `None` with fewer than two, or with a state beyond.
    #[must_use]
    pub fn fit(sequence: &[u32], states: u32) -> Option<Markov> {
        if sequence.len() < 2 || sequence.iter().any(|state| *state >= states) {
            return None;
        }
        let mut seen: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        let mut counts: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for state in sequence {
            seen.entry(*state).or_default().0 += 1;
        }
        for pair in sequence.windows(2) {
            seen.entry(pair[0]).or_default().1 += 1;
            *counts.entry((pair[0], pair[1])).or_default() += 1;
        }
        let transitions = counts.into_iter().map(|((from, to), count)| (from, to, count)).collect();
        Some(Markov { states, sightings: u32::try_from(sequence.len()).ok()?, seen, transitions })
    }

    /// Probability of entering `to` from `from`.
    #[must_use]
    pub fn probability(&self, from: u32, to: u32) -> f64 {
        let sightings = self.seen.get(&to).map_or(0.0, |(sightings, _)| f64::from(*sightings));
        let overall = (sightings + PRIOR_SIGHTINGS / f64::from(self.states))
            / (f64::from(self.sightings) + PRIOR_SIGHTINGS);
        let departures = self.seen.get(&from).map_or(0.0, |(_, departures)| f64::from(*departures));
        let found = self.transitions.binary_search_by_key(&(from, to), |(from, to, _)| (*from, *to));
        let count = found.map_or(0.0, |at| f64::from(self.transitions[at].2));
        (count + PRIOR_DEPARTURES * overall) / (departures + PRIOR_DEPARTURES)
    }

    /// Surprise of a transition in nats: minus the logarithm of its probability.
    #[must_use]
    pub fn surprise(&self, from: u32, to: u32) -> f64 {
        -self.probability(from, to).ln()
    }

    /// Log-likelihood of a sequence, given its first state.
    #[must_use]
    pub fn log_likelihood(&self, sequence: &[u32]) -> f64 {
        sequence.windows(2).map(|pair| -self.surprise(pair[0], pair[1])).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_from_states_seen_and_not_seen() {
        let chain = Markov::fit(&[0, 1, 0, 1, 2, 0, 1], 6).unwrap();
        for from in 0..6 {
            let sum: f64 = (0..6).map(|to| chain.probability(from, to)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{from}: {sum}");
        }
    }

    #[test]
    fn what_breaks_the_order_surprises() {
        let usual: Vec<u32> = (0..300).map(|n| n % 3).collect();
        let chain = Markov::fit(&usual, 9).unwrap();
        assert!(chain.surprise(0, 1) < 0.1);
        assert!(chain.surprise(1, 0) > 4.0, "both states are usual, their order is not");
        assert!(chain.surprise(0, 7) > chain.surprise(1, 0), "a new state is more than a new order");
        assert!(chain.surprise(7, 7) > 5.0, "and stays so while it lasts");
        assert!(chain.log_likelihood(&[0, 1, 2, 0]) > chain.log_likelihood(&[0, 2, 1, 0]));
    }

    #[test]
    fn what_cannot_be_learnt_is_refused() {
        assert_eq!(Markov::fit(&[0], 3), None);
        assert_eq!(Markov::fit(&[0, 3], 3), None);
    }
}
