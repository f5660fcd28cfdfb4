//! Detectors as people want them: what they switched and set by hand, and thresholds that follow what they say of alerts.
//!
//! Invariants:
//! - what the stream runs is the configuration as it was read, with what people changed, adjusted by the factors that are shown;
//! - a factor never builds on an adjusted threshold: each starts from the configuration;
//! - what a person changed is stored before it is in force, and holds after a restart.
//!
//! Not here: how a factor is made (`heimdall-detect`, `adjust`).

use std::collections::BTreeMap;
use std::sync::Arc;

use heimdall_alert::{AlertError, Alerts, FeedbackCount};
use heimdall_api::TunedView;
use heimdall_api::desk::{DeskError, DetectorChange, THRESHOLD_FACTOR_MAX, THRESHOLD_FACTOR_MIN};
use heimdall_detect::{DetectConfig, adjust, switch};
use heimdall_metastore::{Document, Metastore};
use heimdall_model::{Judged, Tenant, Timestamp};
use heimdall_stream::{Command, Stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::rulebook;

/// Documents of what people changed about detectors, one each.
const TUNING_KIND: &str = "detector-tuning";

/// What people changed about a detector, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tuned {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(default)]
    threshold_factor: Option<f64>,
    by: String,
    at: Timestamp,
}

impl Tuned {
    /// As the API shows it.
    pub(crate) fn view(&self) -> TunedView {
        let Tuned { enabled, dry_run, threshold_factor, by, at } = self.clone();
        TunedView { enabled, dry_run, threshold_factor, by, at }
    }
}

/// The configuration of the detectors, what people changed, and the factors on it.
pub(crate) struct Tuning {
    config: DetectConfig,
    store: Arc<dyn Metastore>,
    /// Held while a change is stored, so that changes are made one by one; nobody who only looks waits for it.
    changing: Mutex<()>,
    applied: Mutex<Applied>,
}

#[derive(Clone)]
struct Applied {
    /// Of the feedback, see [`Alerts::feedback_version`].
    version: u64,
    /// By detector; what is absent is 1.
    factors: BTreeMap<String, f64>,
    /// By detector.
    tuned: BTreeMap<String, Tuned>,
    /// The stream did not take the last change.
    is_waiting: bool,
}

impl Tuning {
    /// The configuration with what people changed and the factors that follow from the feedback so far.
    pub(crate) fn new(
        config: DetectConfig,
        alerts: &Alerts,
        store: Arc<dyn Metastore>,
    ) -> Result<Tuning, AlertError> {
        let version = alerts.feedback_version();
        let factors = factors(&alerts.feedback_counts(None)?, &config);
        show(&BTreeMap::new(), &factors);
        let mut tuned = BTreeMap::new();
        for document in rulebook::all(store.as_ref(), TUNING_KIND)? {
            match serde_json::from_str::<Tuned>(&document.body) {
                Ok(one) => drop(tuned.insert(document.id, one)),
                Err(error) => {
                    tracing::error!(%error, detector = document.id, "what was changed about a detector cannot be read");
                }
            }
        }
        let applied = Applied { version, factors, tuned, is_waiting: false };
        Ok(Tuning { config, store, changing: Mutex::new(()), applied: Mutex::new(applied) })
    }

    /// What the detectors shall run with.
    pub(crate) fn adjusted(&self) -> DetectConfig {
        self.applied.lock().config(&self.config)
    }

    /// The same, had a person set this factor.
    pub(crate) fn with_factor(&self, detector: &str, factor: f64) -> Result<DetectConfig, DeskError> {
        check(detector, &DetectorChange { threshold_factor: Some(factor), ..DetectorChange::default() })?;
        let mut applied = self.applied.lock().clone();
        applied.change(
            detector,
            DetectorChange { threshold_factor: Some(factor), ..DetectorChange::default() },
            "",
            Timestamp(0),
        );
        Ok(applied.config(&self.config))
    }

    /// Changes a detector: stored first, then in force from the next batch on. Blocks on disk.
    pub(crate) fn tune(
        &self,
        detector: &str,
        change: DetectorChange,
        by: &str,
        now: Timestamp,
        stream: &Stream,
    ) -> Result<(), DeskError> {
        check(detector, &change)?;
        let _one = self.changing.lock();
        let mut next = self.applied.lock().clone();
        let tuned = next.change(detector, change, by, now);
        let config = next.config(&self.config);
        if let Err(error) = config.check() {
            return Err(DeskError::Field { field: "threshold_factor", reason: error.to_string() });
        }
        let document = Document {
            id: detector.to_owned(),
            tenant: Tenant::default(),
            at: now,
            state: String::new(),
            key: String::new(),
            body: serde_json::to_string(&tuned).expect("plain data serialises"),
        };
        self.store.documents().put(TUNING_KIND, &[document])?;
        let mut applied = self.applied.lock();
        applied.tuned.insert(detector.to_owned(), tuned);
        let config = Box::new(applied.config(&self.config));
        // When the stream is busy, the next look tries again.
        applied.is_waiting = !stream.command(Command::Reconfigure(config));
        Ok(())
    }

    /// What people changed about a detector.
    pub(crate) fn tuned(&self, detector: &str) -> Option<Tuned> {
        self.applied.lock().tuned.get(detector).cloned()
    }

    /// The factor on the thresholds of a detector that a person set.
    pub(crate) fn factor_by_hand(&self, detector: &str) -> f64 {
        self.applied.lock().tuned.get(detector).and_then(|tuned| tuned.threshold_factor).unwrap_or(1.0)
    }

    /// The factor on the thresholds of a detector.
    pub(crate) fn factor(&self, detector: &str) -> f64 {
        self.applied.lock().factors.get(detector).copied().unwrap_or(1.0)
    }

    /// Whether a rule had better be in rehearsal, and is not.
    pub(crate) fn is_better_rehearsed(&self, rule: &str, judged: Judged) -> bool {
        let is_rehearsed = self.adjusted().dry_run.iter().any(|name| name == rule);
        !is_rehearsed && adjust::is_better_rehearsed(judged, &self.config.feedback)
    }

    /// Looks whether feedback changed, and tells the stream when a factor did. One caller at a time. Blocks on disk.
    ///
    /// # Errors
    /// The feedback cannot be read; the next look tries again.
    pub(crate) fn follow(&self, alerts: &Alerts, stream: &Stream) -> Result<(), AlertError> {
        let version = alerts.feedback_version();
        let (known, is_waiting) = {
            let applied = self.applied.lock();
            (applied.version, applied.is_waiting)
        };
        if version == known && !is_waiting {
            return Ok(());
        }
        // What this version says is counted only once it is stored.
        alerts.flush()?;
        let factors = factors(&alerts.feedback_counts(None)?, &self.config);
        let mut applied = self.applied.lock();
        if factors != applied.factors || applied.is_waiting {
            let next = Applied { factors: factors.clone(), ..applied.clone() };
            if !stream.command(Command::Reconfigure(Box::new(next.config(&self.config)))) {
                return Ok(()); // Busy: the next look tries again.
            }
            show(&applied.factors, &factors);
        }
        (applied.version, applied.factors, applied.is_waiting) = (version, factors, false);
        Ok(())
    }
}

impl Applied {
    /// The configuration with all of this.
    fn config(&self, base: &DetectConfig) -> DetectConfig {
        let (mut config, mut factors) = (base.clone(), self.factors.clone());
        for (detector, tuned) in &self.tuned {
            if let Some(enabled) = tuned.enabled {
                config.set_enabled(detector, enabled);
            }
            if let Some(dry_run) = tuned.dry_run {
                config.dry_run.retain(|name| name != detector);
                if dry_run {
                    config.dry_run.push(detector.clone());
                }
            }
            if let Some(factor) = tuned.threshold_factor {
                *factors.entry(detector.clone()).or_insert(1.0) *= factor;
            }
        }
        config.adjusted(&factors)
    }

    /// Adds a change to what was changed before.
    fn change(&mut self, detector: &str, change: DetectorChange, by: &str, at: Timestamp) -> Tuned {
        let before = self.tuned.get(detector);
        let tuned = Tuned {
            enabled: change.enabled.or(before.and_then(|tuned| tuned.enabled)),
            dry_run: change.dry_run.or(before.and_then(|tuned| tuned.dry_run)),
            threshold_factor: change.threshold_factor.or(before.and_then(|tuned| tuned.threshold_factor)),
            by: by.to_owned(),
            at,
        };
        self.tuned.insert(detector.to_owned(), tuned.clone());
        tuned
    }
}

fn check(detector: &str, change: &DetectorChange) -> Result<(), DeskError> {
    if !switch::DETECTORS.contains(&detector) {
        return Err(DeskError::NotFound { what: "detector", id: detector.chars().take(80).collect() });
    }
    let Some(factor) = change.threshold_factor else { return Ok(()) };
    let refused = |reason: String| Err(DeskError::Field { field: "threshold_factor", reason });
    if !adjust::is_adjustable(detector) {
        return refused(format!(
            "`{detector}` has counts and bounds that a person chose, and no factor: see its configuration"
        ));
    }
    if !(THRESHOLD_FACTOR_MIN..=THRESHOLD_FACTOR_MAX).contains(&factor) {
        return refused(format!("must be {THRESHOLD_FACTOR_MIN} to {THRESHOLD_FACTOR_MAX}"));
    }
    Ok(())
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
    fn what_people_set_goes_together_with_the_feedback() {
        let mut applied = Applied {
            version: 0,
            factors: BTreeMap::from([("zscore".to_owned(), 1.5)]),
            tuned: BTreeMap::new(),
            is_waiting: false,
        };
        let usual = DetectConfig { dry_run: vec!["scan".to_owned()], ..DetectConfig::default() };
        let multiplier = usual.zscore.warning_multiplier;
        let set = |factor| DetectorChange { threshold_factor: Some(factor), ..DetectorChange::default() };
        applied.change("zscore", set(2.0), "ada", Timestamp(1));
        let off = DetectorChange { enabled: Some(false), dry_run: Some(true), ..DetectorChange::default() };
        applied.change("zscore", off, "bob", Timestamp(2));
        let live = DetectorChange { dry_run: Some(false), ..DetectorChange::default() };
        applied.change("scan", live, "bob", Timestamp(3));
        let config = applied.config(&usual);
        assert_eq!(config.zscore.warning_multiplier, multiplier * 3.0);
        assert!(!config.zscore.enabled);
        assert_eq!(config.dry_run, ["zscore"]);
        let refused = |detector: &str, factor| check(detector, &set(factor)).unwrap_err().to_string();
        assert_eq!(refused("zscore", 9.0), "`threshold_factor`: must be 0.25 to 4");
        assert_eq!(refused("zscore", f64::NAN), "`threshold_factor`: must be 0.25 to 4");
        assert!(refused("auth", 1.5).contains("no factor"));
        assert_eq!(refused("made-up", 1.5), "no detector `made-up`");
    }

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
