//! All detectors together, as the stream runs them.
//!
//! Invariants:
//! - a detector that is switched off keeps its state and sees nothing;
//! - a snapshot holds every detector by name; restoring leaves detectors that are not in it empty.

use heimdall_model::{Batch, Tenant};

use crate::auth::Auth;
use crate::config::DetectConfig;
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::error_rate::ErrorRate;
use crate::flood::Flood;
use crate::rules::RuleSet;
use crate::signature::Signature;
use crate::threshold::Threshold;
use crate::zscore::Zscore;

/// First bytes of a snapshot: name and version of its framing.
const MAGIC: &[u8; 4] = b"HDJ1";

/// The detectors with their configuration and rules.
pub struct Judge {
    config: DetectConfig,
    zscore: Zscore,
    flood: Flood,
    threshold: Threshold,
    auth: Auth,
    error_rate: ErrorRate,
    signature: Signature,
    added: Vec<Box<dyn Detector>>,
    tallies: Vec<Tally>,
}

/// Work done by one detector.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    evaluated: u64,
    verdicts: u64,
}

/// How a detector is doing, since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectorStatus {
    /// Its name.
    pub name: &'static str,
    /// Whether it runs.
    pub enabled: bool,
    /// Keys in its state.
    pub keys: usize,
    /// Records it was shown.
    pub evaluated: u64,
    /// Verdicts it gave.
    pub verdicts: u64,
    /// What it left out, by reason.
    pub counters: Counters,
}

impl Judge {
    /// Detectors with nothing learnt. The configuration has passed [`DetectConfig::check`].
    #[must_use]
    pub fn new(config: DetectConfig, rules: RuleSet) -> Judge {
        Judge {
            zscore: Zscore::new(&config),
            flood: Flood::new(&config),
            threshold: Threshold::new(&config),
            auth: Auth::new(&config),
            error_rate: ErrorRate::new(&config),
            signature: Signature::new(&config, rules),
            added: Vec::new(),
            tallies: Vec::new(),
            config,
        }
    }

    /// Adds a detector from elsewhere; it is always enabled.
    pub fn add(&mut self, detector: Box<dyn Detector>) {
        self.added.push(detector);
    }

    /// Judges a batch of one tenant; batches come in journal order.
    pub fn observe(&mut self, tenant: &Tenant, batch: &Batch, out: &mut Findings) {
        let observed = Observed { tenant, batch };
        let mut tallies = std::mem::take(&mut self.tallies);
        self.each(|index, enabled, detector| {
            if tallies.len() <= index {
                tallies.resize(index + 1, Tally::default());
            }
            if enabled {
                let before = out.verdicts.len();
                detector.observe(&observed, out);
                tallies[index].evaluated += batch.rows() as u64;
                tallies[index].verdicts += (out.verdicts.len() - before) as u64;
            }
        });
        self.tallies = tallies;
    }

    /// Takes a new configuration, which has passed [`DetectConfig::check`]; what was learnt is kept.
    pub fn reconfigure(&mut self, config: DetectConfig) {
        self.zscore.reconfigure(&config);
        self.flood.reconfigure(&config);
        self.threshold.reconfigure(&config);
        self.auth.reconfigure(&config);
        self.error_rate.reconfigure(&config);
        self.signature.reconfigure(&config);
        self.config = config;
    }

    /// Takes new rules; what was counted for rules that stay is kept.
    pub fn set_rules(&mut self, rules: RuleSet) {
        self.signature.set_rules(rules);
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        self.signature.rules()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &DetectConfig {
        &self.config
    }

    /// State of every detector as bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        self.peek(|_, _, detector| {
            for part in [detector.name().as_bytes(), &detector.snapshot()] {
                bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
                bytes.extend_from_slice(part);
            }
        });
        bytes
    }

    /// Replaces the state of every detector by that of [`Judge::snapshot`]. Detectors unknown here are passed over.
    ///
    /// # Errors
    /// The bytes are not a snapshot, or a detector refuses its part. Detectors before the refusing one have then taken
    /// theirs: start a new judge and replay instead.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut parts = parts_of(bytes)?;
        let mut refused = Ok(());
        self.each(|_, _, detector| {
            let part = parts.iter().position(|(name, _)| *name == detector.name().as_bytes());
            if let (Some(part), Ok(())) = (part, &refused) {
                refused = detector.restore(parts.swap_remove(part).1);
            }
        });
        refused
    }

    /// How every detector is doing.
    #[must_use]
    pub fn status(&self) -> Vec<DetectorStatus> {
        let mut status = Vec::new();
        self.peek(|index, enabled, detector| {
            let tally = self.tallies.get(index).copied().unwrap_or_default();
            status.push(DetectorStatus {
                name: detector.name(),
                enabled,
                keys: detector.state_keys(),
                evaluated: tally.evaluated,
                verdicts: tally.verdicts,
                counters: detector.counters(),
            });
        });
        status
    }

    fn each(&mut self, mut visit: impl FnMut(usize, bool, &mut dyn Detector)) {
        let enabled = self.enabled();
        let built_in: [&mut dyn Detector; 6] = [
            &mut self.zscore,
            &mut self.flood,
            &mut self.threshold,
            &mut self.auth,
            &mut self.error_rate,
            &mut self.signature,
        ];
        let built_in = built_in.into_iter().zip(enabled);
        let added = self.added.iter_mut().map(|detector| (detector.as_mut() as &mut dyn Detector, true));
        for (index, (detector, enabled)) in built_in.chain(added).enumerate() {
            visit(index, enabled, detector);
        }
    }

    fn peek(&self, mut visit: impl FnMut(usize, bool, &dyn Detector)) {
        let built_in: [&dyn Detector; 6] =
            [&self.zscore, &self.flood, &self.threshold, &self.auth, &self.error_rate, &self.signature];
        let built_in = built_in.into_iter().zip(self.enabled());
        let added = self.added.iter().map(|detector| (detector.as_ref() as &dyn Detector, true));
        for (index, (detector, enabled)) in built_in.chain(added).enumerate() {
            visit(index, enabled, detector);
        }
    }

    /// In the order of [`Judge::each`].
    fn enabled(&self) -> [bool; 6] {
        let config = &self.config;
        [
            config.zscore.enabled,
            config.flood.enabled,
            config.threshold.enabled,
            config.auth.enabled,
            config.error_rate.enabled,
            config.signature.enabled,
        ]
    }
}

/// Name and state of one detector in a snapshot.
type Part<'a> = (&'a [u8], &'a [u8]);

/// What a snapshot holds.
fn parts_of(bytes: &[u8]) -> Result<Vec<Part<'_>>, SnapshotError> {
    let broken = |detail: &str| SnapshotError::Broken { detail: detail.to_owned() };
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| broken("it does not begin like one"))?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (name, after) = part_of(rest).ok_or_else(|| broken("it is cut short"))?;
        let (state, after) = part_of(after).ok_or_else(|| broken("it is cut short"))?;
        parts.push((name, state));
        rest = after;
    }
    Ok(parts)
}

/// A length-prefixed piece, and what follows it.
fn part_of(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests;
