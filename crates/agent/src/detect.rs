//! Judging on the host itself, without a server: rules, fixed bounds, z-score, and an isolation forest over the whole host.
//!
//! Invariants:
//! - each batch is judged in the order it came; one thread judges at a time;
//! - a panic in a detector is caught and counted: measuring and sending go on;
//! - a finding is in the log of actions before a healer is told.
//!
//! Not here: what is done about a finding (the healer's).

pub mod isolation;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use heimdall_detect::{DetectConfig, Findings, Judge, RuleSet};
use heimdall_model::{Batch, Recovery, Tenant, Verdict};
use parking_lot::Mutex;

use self::isolation::Isolation;
use crate::action_log::ActionLog;
use crate::config::DetectorConfig;

/// Keys a detector keeps here: one host and its containers, not a fleet.
const KEYS_MAX: usize = 2_000;
/// Rows of a process or a device: their values differ by whose they are, so that a baseline over all of them says nothing.
const NOT_JUDGED: [&str; 8] = [
    "process.cpu.utilization",
    "process.memory.usage",
    "system.cpu.utilization",
    "system.filesystem.usage",
    "system.filesystem.utilization",
    "system.memory.usage",
    "system.paging.usage",
    "system.uptime",
];

/// Does something about findings: the binary connects it to the responder.
pub trait Healer: Send + Sync {
    /// Takes a finding. Returns at once: what it does, it does elsewhere, and within its own limits.
    fn heal(&self, verdict: &Verdict);

    /// Hears that a finding is over. Returns at once.
    fn recovered(&self, _recovery: &Recovery) {}

    /// What came of the actions so far.
    fn tally(&self) -> HealTally {
        HealTally::default()
    }
}

/// Actions and what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HealTally {
    /// Actions that ended.
    pub tried: u64,
    /// Those whose effect was verified.
    pub succeeded: u64,
}

impl HealTally {
    /// Share that succeeded; 1 while none was tried.
    #[must_use]
    pub fn success_rate(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share is shown")]
        if self.tried == 0 { 1.0 } else { self.succeeded as f64 / self.tried as f64 }
    }
}

/// Thresholds for one host: the detectors that need little memory.
#[must_use]
pub fn small() -> DetectConfig {
    let mut config = DetectConfig::default();
    config.flood.enabled = false;
    config.web.enabled = false;
    config.scan.enabled = false;
    config.templates.enabled = false;
    config.ensemble.enabled = false;
    config.baseline.enabled = false;
    config.zscore.skip_suffixes.extend(NOT_JUDGED.iter().map(|name| (*name).to_owned()));
    for limits in [
        &mut config.zscore.limits,
        &mut config.threshold.limits,
        &mut config.auth.limits,
        &mut config.error_rate.limits,
        &mut config.signature.limits,
        &mut config.sigma.limits,
    ] {
        limits.keys_max = KEYS_MAX;
    }
    config
}

/// The judge of one host.
pub(crate) struct Watchman {
    judge: Mutex<Judge>,
    tenant: Tenant,
    log: ActionLog,
    healer: Option<Arc<dyn Healer>>,
    panics: AtomicU64,
}

impl Watchman {
    /// A judge with nothing learnt. The configuration has been checked.
    pub(crate) fn new(
        config: &DetectorConfig,
        rules: RuleSet,
        tenant: Tenant,
        log: ActionLog,
        healer: Option<Arc<dyn Healer>>,
    ) -> Watchman {
        let mut judge = Judge::new(config.judge(), rules);
        judge.add(Box::new(Isolation::new(config)));
        Watchman { judge: Mutex::new(judge), tenant, log, healer, panics: AtomicU64::new(0) }
    }

    /// Judges a batch, tells what was found, and returns how much it was.
    pub(crate) fn observe(&self, batch: &Batch) -> u64 {
        let mut found = Findings::default();
        let mut judge = self.judge.lock();
        let judged =
            std::panic::catch_unwind(AssertUnwindSafe(|| judge.observe(&self.tenant, batch, &mut found)));
        drop(judge);
        if judged.is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
            self.log.event(crate::LogLevel::Error, "detector_failed", "a detector panicked; others go on");
        }
        found.verdicts.iter().for_each(|verdict| self.tell(verdict));
        for recovery in &found.recovered {
            self.log.event(crate::LogLevel::Info, "anomaly_over", &recovery.summary);
            if let Some(healer) = &self.healer {
                healer.recovered(recovery);
            }
        }
        found.verdicts.len() as u64
    }

    /// Times a detector panicked.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    fn tell(&self, verdict: &Verdict) {
        self.log.anomaly(verdict, None);
        if let Some(healer) = &self.healer {
            healer.heal(verdict);
        }
    }
}
