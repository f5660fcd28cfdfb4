//! Thresholds that follow what people say of alerts: reads the feedback, and tells the stream when a factor changes.
//!
//! Invariants:
//! - what the stream runs is the configuration as it was read, adjusted by the factors that are shown;
//! - a factor never builds on an adjusted threshold: each starts from the configuration.
//!
//! Not here: how a factor is made (`heimdall-detect`, `adjust`).

use std::collections::BTreeMap;

use heimdall_alert::{AlertError, Alerts, FeedbackCount};
use heimdall_detect::{DetectConfig, adjust};
use heimdall_model::{Judged, Tenant};
use heimdall_stream::{Command, Stream};
use parking_lot::Mutex;

/// The configuration of the detectors and the factors on it.
pub(crate) struct Tuning {
    config: DetectConfig,
    applied: Mutex<Applied>,
}

#[derive(Clone)]
struct Applied {
    /// Of the feedback, see [`Alerts::feedback_version`].
    version: u64,
    /// By detector; what is absent is 1.
    factors: BTreeMap<String, f64>,
}

impl Tuning {
    /// The configuration with the factors that follow from the feedback so far.
    pub(crate) fn new(config: DetectConfig, alerts: &Alerts) -> Result<Tuning, AlertError> {
        let version = alerts.feedback_version();
        let factors = factors(&alerts.feedback_counts(None)?, &config);
        show(&BTreeMap::new(), &factors);
        Ok(Tuning { config, applied: Mutex::new(Applied { version, factors }) })
    }

    /// What the detectors shall run with.
    pub(crate) fn adjusted(&self) -> DetectConfig {
        self.config.adjusted(&self.applied.lock().factors)
    }

    /// The factor on the thresholds of a detector.
    pub(crate) fn factor(&self, detector: &str) -> f64 {
        self.applied.lock().factors.get(detector).copied().unwrap_or(1.0)
    }

    /// Whether a rule had better be in rehearsal, and is not.
    pub(crate) fn is_better_rehearsed(&self, rule: &str, judged: Judged) -> bool {
        let is_rehearsed = self.config.dry_run.iter().any(|name| name == rule);
        !is_rehearsed && adjust::is_better_rehearsed(judged, &self.config.feedback)
    }

    /// Looks whether feedback changed, and tells the stream when a factor did. One caller at a time. Blocks on disk.
    ///
    /// # Errors
    /// The feedback cannot be read; the next look tries again.
    pub(crate) fn follow(&self, alerts: &Alerts, stream: &Stream) -> Result<(), AlertError> {
        let version = alerts.feedback_version();
        let before = self.applied.lock().clone();
        if version == before.version {
            return Ok(());
        }
        // What this version says is counted only once it is stored.
        alerts.flush()?;
        let factors = factors(&alerts.feedback_counts(None)?, &self.config);
        if factors != before.factors {
            let config = Box::new(self.config.adjusted(&factors));
            if !stream.command(Command::Reconfigure(config)) {
                return Ok(()); // Busy: the next look tries again.
            }
            show(&before.factors, &factors);
        }
        *self.applied.lock() = Applied { version, factors };
        Ok(())
    }
}

/// The factors that follow from the feedback of all tenants, ordered by tenant and detector.
fn factors(counts: &[FeedbackCount], config: &DetectConfig) -> BTreeMap<String, f64> {
    let mut judged: BTreeMap<(&Tenant, &str), Judged> = BTreeMap::new();
    for count in counts {
        *judged.entry((&count.tenant, &count.detector)).or_default() += count.judged;
    }
    let by_tenant = judged.into_iter().map(|((_, detector), judged)| (detector, judged));
    adjust::factors(by_tenant, &config.feedback)
}

/// Shows the factors in the log and in the metrics; detectors that are no longer adjusted are shown with 1.
fn show(before: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) {
    if before != now {
        tracing::info!(factors = ?now, "thresholds follow the feedback on alerts");
    }
    for detector in before.keys().chain(now.keys()) {
        let factor = now.get(detector).copied().unwrap_or(1.0);
        metrics::gauge!("detector_threshold_factor", "detector" => detector.clone()).set(factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feedback_is_summed_over_the_rules_of_a_detector_by_tenant() {
        let count = |tenant: &str, detector: &str, rule: &str, false_positives: u64| FeedbackCount {
            tenant: Tenant::new(tenant).expect("a tenant"),
            detector: detector.to_owned(),
            rule: rule.to_owned(),
            judged: Judged { true_positives: 0, false_positives },
        };
        let config = DetectConfig::default();
        let of = |counts: &[FeedbackCount]| factors(counts, &config);
        assert_eq!(of(&[]), BTreeMap::new());
        let spread = [count("a", "web", "web.sqli", 2), count("a", "web", "web.xss", 3)];
        assert_eq!(of(&spread), BTreeMap::from([("web".to_owned(), 1.25)]));
        let apart = [count("a", "web", "web.sqli", 2), count("b", "web", "web.sqli", 3)];
        assert_eq!(of(&apart), BTreeMap::new(), "neither tenant has said enough");
    }
}
