//! Incidents: alerts that belong together, and what people do about them.
//!
//! - [`book`]: the incidents of this server
//! - [`correlate`]: which alerts belong together: pure
//! - [`post_mortem`](self::post_mortem::post_mortem): an incident as a Markdown report: pure
//!
//! Invariants:
//! - everything in an incident is bounded; what no longer fits is counted;
//! - an incident's id follows from the alert that opened it, so that a replay after a crash opens the same one again.

pub mod book;
mod correlate;
pub mod post_mortem;

use std::time::Duration;

use heimdall_metastore::{DocumentCursor, MetastoreError};
use heimdall_model::{
    Alert, AlertId, Comment, Entity, IncidentId, Priority, Severity, Status, Tenant, Timestamp,
};
use serde::{Deserialize, Serialize};

/// Alerts an incident lists; beyond, they are counted and know their incident themselves.
pub const INCIDENT_ALERTS_MAX: usize = 1_000;
/// Services, entities and traces an incident lists, of each.
pub const INCIDENT_PARTS_MAX: usize = 100;
/// Entries of a timeline; beyond, the oldest after the opening go, and are counted.
pub const TIMELINE_MAX: usize = 500;
/// Longest text of an entry or comment (characters); the rest is cut.
pub const TEXT_CHARS_MAX: usize = 2_000;

/// How alerts become incidents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentConfig {
    /// An alert joins an incident whose latest alert is at most this old (wall time; default 15 min).
    pub window: Duration,
    /// An incident resolves once all its alerts have been resolved for this long (default 5 min).
    pub quiet: Duration,
    /// A resolved incident is deleted after this long (default 365 days; 0 = never).
    pub keep_resolved: Duration,
    /// Incidents that may be live at once (default 10,000); beyond, alerts stay on their own, and are counted.
    pub live_max: usize,
}

impl Default for IncidentConfig {
    fn default() -> Self {
        IncidentConfig {
            window: Duration::from_secs(15 * 60),
            quiet: Duration::from_secs(5 * 60),
            keep_resolved: Duration::from_secs(365 * 86_400),
            live_max: 10_000,
        }
    }
}

/// What an entry of a timeline is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// The incident opened, or opened again.
    Opened,
    /// An alert was raised or came back.
    Raised,
    /// An alert grew worse.
    Worse,
    /// The status of an alert or of the incident changed.
    Status,
    /// An alert was muted, or is no longer.
    Mute,
    /// Somebody was told.
    Notification,
    /// The machine did something, or proposes to.
    Action,
    /// Somebody wrote something.
    Comment,
    /// Somebody took it, or gave it away.
    Owner,
    /// An alert was added or removed by a person.
    Link,
    /// Anything else.
    Note,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// Principal, channel or part of Heimdall.
    pub by: String,
    /// What it is about.
    pub kind: EntryKind,
    /// In words.
    pub text: String,
    /// The alert concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertId>,
}

/// Alerts that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id, UUID version 7.
    pub id: IncidentId,
    /// Owner of the alerts.
    pub tenant: Tenant,
    /// Number people call it by, from 1, per tenant.
    pub number: u64,
    /// Short name.
    pub title: String,
    /// `OPEN`, `ACKNOWLEDGED` or `RESOLVED`.
    pub status: Status,
    /// The worst of its alerts.
    pub severity: Severity,
    /// The most urgent of its alerts.
    pub priority: Priority,
    /// Who leads the work.
    pub owner: Option<String>,
    /// Services concerned, at most [`INCIDENT_PARTS_MAX`].
    pub services: Vec<String>,
    /// Entities concerned, at most [`INCIDENT_PARTS_MAX`].
    pub entities: Vec<Entity>,
    /// Traces concerned, at most [`INCIDENT_PARTS_MAX`].
    #[serde(default)]
    pub traces: Vec<String>,
    /// Its alerts, oldest first, at most [`INCIDENT_ALERTS_MAX`].
    pub alerts: Vec<AlertId>,
    /// How many alerts it has, those not listed too.
    pub alert_count: u64,
    /// Earliest event time of its alerts.
    pub began_at: Timestamp,
    /// When it was opened.
    pub started_at: Timestamp,
    /// When the latest alert was raised or came back.
    pub last_at: Timestamp,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// What happened, oldest first, at most [`TIMELINE_MAX`].
    pub timeline: Vec<TimelineEntry>,
    /// Entries the timeline had no room for.
    #[serde(default)]
    pub timeline_dropped: u64,
    /// What people wrote, oldest first.
    #[serde(default)]
    pub comments: Vec<Comment>,
}

/// Which incidents to list; an absent or empty part lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// Any of these statuses.
    pub statuses: Vec<Status>,
    /// Exactly this severity.
    pub severity: Option<Severity>,
    /// Exactly this owner; the empty text means nobody.
    pub owner: Option<String>,
    /// Concerns this service.
    pub service: Option<String>,
    /// Opened at this time or later.
    pub since: Option<Timestamp>,
    /// Opened before this time.
    pub until: Option<Timestamp>,
}

/// Some incidents, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentPage {
    /// The incidents.
    pub items: Vec<Incident>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<DocumentCursor>,
}

/// Why an incident could not be found or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IncidentError {
    /// No such incident, or it belongs to another tenant.
    #[error("incident `{id}` not found")]
    NotFound {
        /// The id asked for.
        id: IncidentId,
    },
    /// The lifecycle has no such step.
    #[error("incident `{id}` is {from} and cannot become {to}")]
    Conflict {
        /// The incident.
        id: IncidentId,
        /// Its status.
        from: Status,
        /// The status asked for.
        to: Status,
    },
    /// The alert is not, or is already, part of the incident.
    #[error("alert `{alert}` {reason}")]
    Alert {
        /// The alert.
        alert: AlertId,
        /// Why it cannot be.
        reason: &'static str,
    },
    /// There are too many live incidents already.
    #[error("there are {max} live incidents already: resolve some")]
    TooMany {
        /// The limit, `live_max`.
        max: usize,
    },
    /// The metastore failed. The change is not durable; it may be made again.
    #[error(transparent)]
    Store(#[from] MetastoreError),
}

impl IncidentFilter {
    fn passes(&self, incident: &Incident) -> bool {
        let owner = incident.owner.as_deref().unwrap_or_default();
        (self.statuses.is_empty() || self.statuses.contains(&incident.status))
            && self.severity.is_none_or(|severity| severity == incident.severity)
            && self.owner.as_deref().is_none_or(|wanted| wanted == owner)
            && self.service.as_ref().is_none_or(|service| incident.services.contains(service))
            && self.since.is_none_or(|since| incident.started_at >= since)
            && self.until.is_none_or(|until| incident.started_at < until)
    }
}

impl Incident {
    /// Writes something into the timeline.
    pub(crate) fn note(
        &mut self,
        at: Timestamp,
        kind: EntryKind,
        text: &str,
        by: &str,
        alert: Option<AlertId>,
    ) {
        if self.timeline.len() >= TIMELINE_MAX {
            self.timeline.remove(1);
            self.timeline_dropped += 1;
        }
        self.timeline.push(TimelineEntry { at, by: cut(by), kind, text: cut(text), alert });
    }

    /// Takes in what an alert is about.
    pub(crate) fn cover(&mut self, alert: &Alert) {
        self.severity = self.severity.max(alert.severity);
        self.priority = self.priority.min(alert.priority);
        self.began_at = self.began_at.min(alert.first_seen);
        add(&mut self.services, alert.service.as_ref());
        add(&mut self.entities, Some(&alert.entity));
        add(&mut self.traces, alert.labels.get(correlate::TRACE_LABEL));
    }

    pub(crate) const fn is_live(&self) -> bool {
        !matches!(self.status, Status::Resolved)
    }
}

fn add<T: Clone + PartialEq>(known: &mut Vec<T>, new: Option<&T>) {
    if let Some(new) = new
        && known.len() < INCIDENT_PARTS_MAX
        && !known.contains(new)
    {
        known.push(new.clone());
    }
}

/// A text as it is kept.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
