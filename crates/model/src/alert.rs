//! What people are told: an alert, its lifecycle status, its priority and its history.
//!
//! Invariant: severity (how bad), priority (how urgent) and status (where in its life) are three separate fields.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::verdict::{Baseline, Entity, Feature, Severity};
use crate::{Position, RecordId, Tenant, Timestamp};

/// Id of an alert.
pub type AlertId = Uuid;

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Nobody has taken it.
    Open,
    /// Somebody has.
    Acknowledged,
    /// Kept quiet on purpose.
    Suppressed,
    /// Over.
    Resolved,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 4] = [Status::Open, Status::Acknowledged, Status::Suppressed, Status::Resolved];

    /// `OPEN`, `ACKNOWLEDGED`, `SUPPRESSED` or `RESOLVED`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Open => "OPEN",
            Status::Acknowledged => "ACKNOWLEDGED",
            Status::Suppressed => "SUPPRESSED",
            Status::Resolved => "RESOLVED",
        }
    }

    /// Reads the name in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text))
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Priority {
    /// Act now.
    P1,
    /// Act today.
    P2,
    /// Know about it.
    P3,
}

impl Priority {
    /// The priority an alert of this severity starts with.
    #[must_use]
    pub const fn of(severity: Severity) -> Priority {
        match severity {
            Severity::Critical => Priority::P1,
            Severity::Warning => Priority::P2,
            Severity::Normal => Priority::P3,
        }
    }

    /// `P1`, `P2` or `P3`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::P1 => "P1",
            Priority::P2 => "P2",
            Priority::P3 => "P3",
        }
    }
}

/// One change of an alert's status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// From which status; none when the alert was raised.
    pub from: Option<Status>,
    /// To which status.
    pub to: Status,
    /// Principal that did it, or `heimdall`.
    pub by: String,
    /// Why, in the words of whoever did it.
    pub note: Option<String>,
}

/// An alert: one ongoing finding about one entity. Repeats update it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id, UUID version 7.
    pub id: AlertId,
    /// Tenant, rule and entity, as one stable hex text: repeats of the same find the same alert.
    pub fingerprint: String,
    /// Owner.
    pub tenant: Tenant,
    /// Rule that fired.
    pub rule: String,
    /// Detector behind the rule.
    pub detector: String,
    /// Short name for people.
    pub title: String,
    /// One sentence: what happened, with numbers.
    pub summary: String,
    /// How bad, the worst seen so far.
    pub severity: Severity,
    /// How urgent.
    pub priority: Priority,
    /// Where in its life.
    pub status: Status,
    /// What it is about.
    pub entity: Entity,
    /// Service concerned, when known.
    pub service: Option<String>,
    /// Wall-clock time it was raised.
    pub raised_at: Timestamp,
    /// Event time of the first finding.
    pub first_seen: Timestamp,
    /// Event time of the latest finding.
    pub last_seen: Timestamp,
    /// Findings so far.
    pub count: u64,
    /// Highest score so far, 0 to 1.
    pub score: f64,
    /// What the value was compared with.
    pub baseline: Option<Baseline>,
    /// The numbers that contributed, of the latest finding.
    pub features: Vec<Feature>,
    /// Evidence record ids, newest last, at most [`crate::verdict::EVIDENCE_MAX`].
    pub evidence: Vec<RecordId>,
    /// What to do now, one step each.
    pub mitigation: Vec<String>,
    /// Channels told so far.
    pub notified: Vec<String>,
    /// Status changes, oldest first.
    pub history: Vec<Transition>,
    /// Journal position of the latest finding: an older or equal one is a replay and is ignored.
    pub position: Position,
}
