//! All detectors together, as the stream runs them.
//!
//! Invariants:
//! - a detector that is switched off keeps its state and sees nothing;
//! - a detector or rule in rehearsal (`dry_run`) learns and judges as ever, but its verdicts raise nothing; so does a rule that is
//!   off for a tenant, and its verdicts are only counted;
//! - a snapshot holds every detector by name; restoring leaves detectors that are not in it empty.

use heimdall_model::{Batch, Tenant, Verdict};

use crate::auth::Auth;
use crate::availability::Availability;
use crate::baseline::Baseline;
use crate::config::DetectConfig;
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::ensemble::Ensemble;
use crate::error_rate::ErrorRate;
use crate::flood::Flood;
use crate::modes::{Mode, ModeByRule, Modes};
use crate::rules::RuleSet;
use crate::scan::Scan;
use crate::sigma::Sigma;
use crate::signature::Signature;
use crate::templates::Templates;
use crate::threshold::Threshold;
use crate::web::Web;
use crate::zscore::Zscore;

/// First bytes of a snapshot: name and version of its framing.
const MAGIC: &[u8; 4] = b"HDJ1";

/// The detectors with their configuration and rules.
pub struct Judge {
    config: DetectConfig,
    /// Of the rules in force.
    modes: Modes,
    /// Apart from the others, because rules reach these alone.
    signature: Signature,
    sigma: Sigma,
    others: Vec<Box<dyn Detector>>,
    /// In the order of [`Judge::each`].
    tallies: Vec<Tally>,
}

/// Work done by one detector.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    evaluated: u64,
    verdicts: u64,
    rehearsed: u64,
    silenced: u64,
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
    /// Verdicts it gave, those in rehearsal too.
    pub verdicts: u64,
    /// Verdicts that raised nothing, because `dry_run` names the detector or the rule.
    pub rehearsed: u64,
    /// Verdicts that were left out, because their rule is off for the tenant.
    pub silenced: u64,
    /// What it left out, by reason.
    pub counters: Counters,
}

impl Judge {
    /// Detectors with nothing learnt. The configuration has passed [`DetectConfig::check`].
    #[must_use]
    pub fn new(config: DetectConfig, rules: RuleSet) -> Judge {
        let others: Vec<Box<dyn Detector>> = vec![
            Box::new(Zscore::new(&config)),
            Box::new(Flood::new(&config)),
            Box::new(Threshold::new(&config)),
            Box::new(Availability::new(&config)),
            Box::new(Auth::new(&config)),
            Box::new(ErrorRate::new(&config)),
            Box::new(Web::new(&config)),
            Box::new(Scan::new(&config)),
            Box::new(Templates::new(&config)),
            Box::new(Ensemble::new(&config)),
            Box::new(Baseline::new(&config)),
        ];
        let sigma = Sigma::new(&config, &rules);
        let modes = rules.modes().clone();
        Judge { modes, signature: Signature::new(&config, rules), sigma, others, tallies: Vec::new(), config }
    }

    /// Adds a detector from elsewhere. Its name must be its own: snapshots and `dry_run` go by it.
    pub fn add(&mut self, detector: Box<dyn Detector>) {
        self.others.push(detector);
    }

    /// Judges a batch of one tenant; batches come in journal order.
    pub fn observe(&mut self, tenant: &Tenant, batch: &Batch, out: &mut Findings) {
        let observed = Observed { tenant, batch };
        let Judge { config, modes, signature, sigma, others, tallies } = self;
        let part = Parting { dry_run: &config.dry_run, modes: modes.of(tenant) };
        tallies.resize(2 + others.len(), Tally::default());
        for (detector, tally) in all(signature, sigma, others).zip(tallies) {
            if detector.is_enabled() {
                let before = out.verdicts.len();
                detector.observe(&observed, out);
                tally.evaluated += batch.rows() as u64;
                tally.verdicts += (out.verdicts.len() - before) as u64;
                let (rehearsed, silenced) = part.verdicts(before, out);
                tally.rehearsed += rehearsed;
                tally.silenced += silenced;
            }
        }
    }

    /// Takes a new configuration, which has passed [`DetectConfig::check`]; what was learnt is kept.
    pub fn reconfigure(&mut self, config: DetectConfig) {
        all(&mut self.signature, &mut self.sigma, &mut self.others)
            .for_each(|detector| detector.reconfigure(&config));
        self.config = config;
    }

    /// Takes new rules; what was counted for rules that stay is kept.
    pub fn set_rules(&mut self, rules: RuleSet) {
        self.sigma.set_rules(&rules);
        self.modes = rules.modes().clone();
        self.signature.set_rules(rules);
    }

    /// Takes what is said of rules from now on: which are off or in rehearsal, and for whom.
    pub fn set_modes(&mut self, modes: Modes) {
        self.modes = modes;
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
        for detector in self.each() {
            for part in [detector.name().as_bytes(), &detector.snapshot()] {
                bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }

    /// Replaces the state of every detector by that of [`Judge::snapshot`]. Detectors unknown here are passed over.
    ///
    /// # Errors
    /// The bytes are not a snapshot, or a detector refuses its part. Detectors before the refusing one have then taken
    /// theirs: start a new judge and replay instead.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut parts = parts_of(bytes)?;
        for detector in all(&mut self.signature, &mut self.sigma, &mut self.others) {
            let part = parts.iter().position(|(name, _)| *name == detector.name().as_bytes());
            if let Some(part) = part {
                detector.restore(parts.swap_remove(part).1)?;
            }
        }
        Ok(())
    }

    /// How every detector is doing.
    #[must_use]
    pub fn status(&self) -> Vec<DetectorStatus> {
        let status = |(index, detector): (usize, &dyn Detector)| {
            let tally = self.tallies.get(index).copied().unwrap_or_default();
            DetectorStatus {
                name: detector.name(),
                enabled: detector.is_enabled(),
                keys: detector.state_keys(),
                evaluated: tally.evaluated,
                verdicts: tally.verdicts,
                rehearsed: tally.rehearsed,
                silenced: tally.silenced,
                counters: detector.counters(),
            }
        };
        self.each().enumerate().map(status).collect()
    }

    fn each(&self) -> impl Iterator<Item = &dyn Detector> {
        let others = self.others.iter().map(|detector| detector.as_ref() as &dyn Detector);
        others.chain([&self.signature as &dyn Detector, &self.sigma])
    }
}

/// Every detector, in the order of [`Judge::each`].
fn all<'j>(
    signature: &'j mut Signature,
    sigma: &'j mut Sigma,
    others: &'j mut [Box<dyn Detector>],
) -> impl Iterator<Item = &'j mut dyn Detector> {
    let others = others.iter_mut().map(|detector| detector.as_mut() as &mut dyn Detector);
    others.chain([signature as &mut dyn Detector, sigma])
}

/// Which verdicts raise nothing: what is said of a rule for a tenant goes before what the configuration says.
struct Parting<'a> {
    dry_run: &'a [String],
    modes: Option<&'a ModeByRule>,
}

impl Parting<'_> {
    /// Puts the verdicts from `start` on that are in rehearsal aside and drops those of rules that are off. Returns how many
    /// each.
    fn verdicts(&self, start: usize, out: &mut Findings) -> (u64, u64) {
        if (self.dry_run.is_empty() && self.modes.is_none()) || out.verdicts.len() == start {
            return (0, 0);
        }
        let before = out.rehearsed.len();
        let mut silenced = 0;
        let aside = out.verdicts.extract_if(start.., |verdict| self.mode(verdict) != Mode::On);
        for verdict in aside {
            match self.mode(&verdict) {
                Mode::Off => silenced += 1,
                _ => out.rehearsed.push(verdict),
            }
        }
        ((out.rehearsed.len() - before) as u64, silenced)
    }

    fn mode(&self, verdict: &Verdict) -> Mode {
        let said = self.modes.and_then(|modes| modes.get(&verdict.rule)).copied();
        let is_named = || self.dry_run.iter().any(|name| *name == verdict.detector || *name == verdict.rule);
        said.unwrap_or_else(|| if is_named() { Mode::DryRun } else { Mode::On })
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
