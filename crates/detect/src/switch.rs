//! Detectors switched on and off by name.
//!
//! Invariant: a name here is that of [`crate::Detector::name`], and every detector of [`crate::Judge`] is here (a test).

use heimdall_model::Dataset;

use crate::config::DetectConfig;

/// Every detector that a configuration can switch.
pub const DETECTORS: [&str; 13] = [
    "zscore",
    "flood",
    "threshold",
    "availability",
    "auth",
    "error-rate",
    "web",
    "scan",
    "templates",
    "ensemble",
    "baseline",
    "signature",
    "sigma",
];

/// The detectors that read rules.
pub const RULE_DETECTORS: [&str; 2] = ["signature", "sigma"];

/// The datasets a detector reads.
#[must_use]
pub fn datasets_of(detector: &str) -> &'static [Dataset] {
    match detector {
        "availability" | "baseline" => &[Dataset::Metrics],
        "auth" | "error-rate" | "web" | "scan" | "templates" | "sigma" => &[Dataset::Logs],
        _ => &[Dataset::Logs, Dataset::Metrics],
    }
}

impl DetectConfig {
    fn switch(&mut self, detector: &str) -> Option<&mut bool> {
        Some(match detector {
            "zscore" => &mut self.zscore.enabled,
            "flood" => &mut self.flood.enabled,
            "threshold" => &mut self.threshold.enabled,
            "availability" => &mut self.availability.enabled,
            "auth" => &mut self.auth.enabled,
            "error-rate" => &mut self.error_rate.enabled,
            "web" => &mut self.web.enabled,
            "scan" => &mut self.scan.enabled,
            "templates" => &mut self.templates.enabled,
            "ensemble" => &mut self.ensemble.enabled,
            "baseline" => &mut self.baseline.enabled,
            "signature" => &mut self.signature.enabled,
            "sigma" => &mut self.sigma.enabled,
            _ => return None,
        })
    }

    /// Switches a detector on or off; `false` when there is none of this name.
    pub fn set_enabled(&mut self, detector: &str, enabled: bool) -> bool {
        self.switch(detector).map(|switch| *switch = enabled).is_some()
    }

    /// This configuration with these detectors on and all others off, and nothing in rehearsal.
    #[must_use]
    pub fn only(&self, detectors: &[&str]) -> DetectConfig {
        let mut only = DetectConfig { dry_run: Vec::new(), ..self.clone() };
        for detector in DETECTORS {
            only.set_enabled(detector, detectors.contains(&detector));
        }
        only
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Judge, RuleSet};

    #[test]
    fn every_detector_has_a_switch_of_its_name() {
        for detector in DETECTORS {
            let judge = Judge::new(DetectConfig::default().only(&[detector]), RuleSet::default());
            let on: Vec<_> = judge.status().iter().filter(|status| status.enabled).map(|s| s.name).collect();
            assert_eq!(on, [detector]);
        }
        let all = Judge::new(DetectConfig::default(), RuleSet::default()).status();
        assert!(all.iter().all(|status| DETECTORS.contains(&status.name)) && all.len() == DETECTORS.len());
        assert!(!DetectConfig::default().set_enabled("made-up", true));
    }
}
