//! What detectors say: the state of one value ([`Assessment`]) and findings worth an alert ([`Verdict`]).

use serde::{Deserialize, Serialize};

use crate::{Position, RecordId, Tenant, Timestamp};

/// Most evidence record ids a verdict or alert carries.
pub const EVIDENCE_MAX: usize = 20;

/// How far a value is from normal. Not the priority of an alert, nor its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// As expected.
    Normal,
    /// Unusual; worth a look.
    Warning,
    /// Needs action now.
    Critical,
}

impl Severity {
    /// `NORMAL`, `WARNING` or `CRITICAL`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Normal => "NORMAL",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
        }
    }

    /// Reads the name in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Severity> {
        [Severity::Normal, Severity::Warning, Severity::Critical]
            .into_iter()
            .find(|severity| severity.as_str().eq_ignore_ascii_case(text))
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a verdict is about, such as a service, a source address, a user or a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// Canonical field name: `service`, `source_ip`, `user_id`, `host`.
    pub kind: String,
    /// Its value.
    pub value: String,
}

impl Entity {
    /// An entity of this kind.
    #[must_use]
    pub fn new(kind: &str, value: &str) -> Entity {
        Entity { kind: kind.to_owned(), value: value.to_owned() }
    }
}

/// What a value was compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Expected value, in the unit of the observed one.
    pub mean: f64,
    /// Usual deviation, same unit.
    pub stddev: f64,
    /// Values the baseline was learnt from.
    pub samples: u64,
    /// The value at which the verdict fires.
    pub threshold: f64,
    /// The observed value.
    pub observed: f64,
}

/// One number that contributed to a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Name with unit, such as `failures_in_60s`.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// A finding of a detector, with everything a person needs to judge and act on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Owner of the records.
    pub tenant: Tenant,
    /// Detector that spoke: `zscore`, `flood`, `auth`, `error-rate`, `threshold`, `signature` …
    pub detector: String,
    /// Stable rule id; with tenant and entity it makes the alert's fingerprint.
    pub rule: String,
    /// Short name for people.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// How sure or how far, 0 to 1.
    pub score: f64,
    /// What it is about.
    pub entity: Entity,
    /// Service concerned, when known.
    pub service: Option<String>,
    /// Event time of the record that completed the finding.
    pub time: Timestamp,
    /// Journal position of that record: a replayed verdict is recognised by it.
    pub position: Position,
    /// One sentence: what happened, with numbers and units.
    pub summary: String,
    /// What the value was compared with, when a baseline exists.
    pub baseline: Option<Baseline>,
    /// The numbers that contributed.
    pub features: Vec<Feature>,
    /// Records that are the evidence, newest last, at most [`EVIDENCE_MAX`].
    pub evidence: Vec<RecordId>,
    /// What to do now, one step each.
    pub mitigation: Vec<String>,
}

/// The end of a finding, as its detector sees it: the value is well again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Owner of the records.
    pub tenant: Tenant,
    /// Rule of the verdicts it ends; with tenant and entity it finds the alert.
    pub rule: String,
    /// What it is about.
    pub entity: Entity,
    /// Event time of the record that showed it.
    pub time: Timestamp,
    /// Journal position of that record.
    pub position: Position,
    /// One sentence: what is well again, with numbers and units.
    pub summary: String,
}

/// The state of one measured value: written to the audit line of its service whether or not it alerts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Owner.
    pub tenant: Tenant,
    /// Service measured.
    pub service: String,
    /// Metric name.
    pub metric: String,
    /// Event time.
    pub time: Timestamp,
    /// The value.
    pub value: f64,
    /// Its state.
    pub severity: Severity,
}
