//! What people are told: an alert, its lifecycle status, its priority and its history; and what they say of it.
//!
//! Invariant: severity (how bad), priority (how urgent) and status (where in its life) are three separate fields.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::verdict::{Baseline, Entity, Feature, Severity};
use crate::{Position, RecordId, Tenant, Timestamp};

/// Id of an alert.
pub type AlertId = Uuid;
/// Id of an incident.
pub type IncidentId = Uuid;

/// Comments kept in one alert or incident; beyond, the oldest go.
pub const COMMENTS_MAX: usize = 100;

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

/// What somebody wrote on an alert or an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// When.
    pub at: Timestamp,
    /// Principal that wrote it.
    pub by: String,
    /// The words.
    pub text: String,
}

/// Why nobody is told of an alert at present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// What keeps it quiet.
    pub kind: MuteKind,
    /// Id of the silence or of the inhibiting alert, where there is one.
    pub by: Option<String>,
    /// In words, for people.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// What can keep an alert quiet besides its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MuteKind {
    /// A silence somebody made.
    Silence,
    /// A maintenance window.
    Maintenance,
    /// Another alert says it already.
    Inhibition,
    /// It comes and goes.
    Flapping,
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
    /// Labels beyond those [`Alert::label`] derives from the fields above; of alerts another system posted, all of theirs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Texts another system posted with it, such as `summary`, `description`, `runbook_url`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where the system that posted it shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// When it is over unless it is posted or found again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// Until when it is `SUPPRESSED`; it is `OPEN` again then. None: until somebody says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed_until: Option<Timestamp>,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// What people wrote, oldest first, at most [`COMMENTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<Comment>,
    /// The incident it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// Why nobody is told of it at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<Mute>,
    /// When it came back after it was resolved, newest last: what flapping is measured by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returns: Vec<Timestamp>,
}

impl Alert {
    /// The value of a label, as matchers of silences, routes, inhibitions and playbooks see it.
    ///
    /// Derived: `alertname` and `rule`, `detector`, `severity`, `priority`, `tenant`, `service`, `entity` (its value),
    /// `entity_kind`, and the entity's kind as a name of its own, such as `source_ip`. Labels the alert carries come first.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<Cow<'_, str>> {
        if let Some(value) = self.labels.get(name) {
            return Some(Cow::Borrowed(value));
        }
        let value = match name {
            "alertname" | "rule" => &self.rule,
            "detector" => &self.detector,
            "severity" => return Some(Cow::Owned(self.severity.as_str().to_ascii_lowercase())),
            "priority" => self.priority.as_str(),
            "tenant" => self.tenant.as_str(),
            "service" => return self.service.as_deref().map(Cow::Borrowed),
            "entity" => &self.entity.value,
            "entity_kind" => &self.entity.kind,
            name if name == self.entity.kind => &self.entity.value,
            _ => return None,
        };
        Some(Cow::Borrowed(value))
    }

    /// All labels, derived ones too.
    #[must_use]
    pub fn label_set(&self) -> BTreeMap<String, String> {
        let names = ["alertname", "detector", "severity", "priority", "service", "entity", "entity_kind"];
        let names = names.into_iter().chain([self.entity.kind.as_str()]).filter(|name| !name.is_empty());
        let derived = names.filter_map(|name| Some((name.to_owned(), self.label(name)?.into_owned())));
        derived.chain(self.labels.clone()).collect()
    }
}
