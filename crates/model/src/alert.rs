//! What people are told: an alert, its lifecycle status, its priority and its history; and what they say of it.
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

/// Whether an alert was right, in the eyes of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackVerdict {
    /// What it says was so, and worth telling.
    TruePositive,
    /// It was not so, or nobody needed to know.
    FalsePositive,
}

impl FeedbackVerdict {
    /// Every verdict.
    pub const ALL: [FeedbackVerdict; 2] = [FeedbackVerdict::TruePositive, FeedbackVerdict::FalsePositive];

    /// `true_positive` or `false_positive`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FeedbackVerdict::TruePositive => "true_positive",
            FeedbackVerdict::FalsePositive => "false_positive",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<FeedbackVerdict> {
        FeedbackVerdict::ALL.into_iter().find(|verdict| verdict.as_str() == text)
    }
}

/// Alerts that people judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Those that were right.
    pub true_positives: u64,
    /// Those that were not.
    pub false_positives: u64,
}

impl Judged {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.true_positives + self.false_positives
    }
}

impl std::ops::AddAssign for Judged {
    fn add_assign(&mut self, other: Judged) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
    }
}

/// What a person says of an alert; the latest word counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// Whether it was right.
    pub verdict: FeedbackVerdict,
    /// Principal that says so.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in their words.
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
    /// What a person says of it; none in alerts stored before there was feedback.
    #[serde(default)]
    pub feedback: Option<Feedback>,
    /// Journal position of the latest finding: an older or equal one is a replay and is ignored.
    pub position: Position,
}
