//! What a verdict does to an alert, and which status follows which. Pure: no IO, no clock.
//!
//! Invariants:
//! - the fingerprint depends on tenant, rule and entity alone; the id on the fingerprint and the verdict that raised the
//!   alert, so that a replay after a crash raises the same alert again, not a second one;
//! - floats of an alert are finite (JSON has no others), evidence and history are bounded;
//! - severity never falls while an alert lives.
//!
//! A history entry whose `from` and `to` are equal says that something else changed: assignee, priority, how long it is suppressed.

use std::collections::BTreeMap;

use heimdall_model::alert::COMMENTS_MAX;
use heimdall_model::verdict::EVIDENCE_MAX;
use heimdall_model::{
    Alert, AlertId, Baseline, Comment, Entity, Feature, Feedback, FeedbackVerdict, IncidentId, Priority,
    Status, Tenant, Timestamp, Transition, Verdict,
};
use ring::digest::{Context, SHA256};
use uuid::Uuid;

use crate::flapping::RETURNS_MAX;

/// Status changes kept in an alert; beyond, the oldest after its raising go (the audit trail has them all).
pub const HISTORY_MAX: usize = 100;
/// Longest note of a status change or of feedback (characters); the rest is cut.
pub const NOTE_CHARS_MAX: usize = 1_000;
/// Author of the changes nobody asked for.
pub const HEIMDALL: &str = "heimdall";

/// A change of status somebody can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Somebody takes it.
    Acknowledge,
    /// Keep quiet about it, and go on counting.
    Suppress {
        /// It is `OPEN` again then; none: until somebody says otherwise.
        until: Option<Timestamp>,
    },
    /// It is over.
    Resolve,
    /// It is not over, or nobody has it after all.
    Reopen,
}

impl Step {
    /// Until when it keeps the alert quiet.
    pub(crate) const fn until(self) -> Option<Timestamp> {
        match self {
            Step::Suppress { until } => until,
            Step::Acknowledge | Step::Resolve | Step::Reopen => None,
        }
    }

    /// The status it leads to.
    #[must_use]
    pub const fn target(self) -> Status {
        match self {
            Step::Acknowledge => Status::Acknowledged,
            Step::Suppress { .. } => Status::Suppressed,
            Step::Resolve => Status::Resolved,
            Step::Reopen => Status::Open,
        }
    }
}

/// Says whether an alert may go from one status to another: between live ones freely, and from `RESOLVED` to `OPEN` alone.
#[must_use]
pub fn may_follow(from: Status, to: Status) -> bool {
    from != to && (from != Status::Resolved || to == Status::Open)
}

/// The stable name of a finding: 32 hex digits of SHA-256 over tenant, rule and entity.
#[must_use]
pub fn fingerprint(tenant: &Tenant, rule: &str, entity: &Entity) -> String {
    fingerprint_of(&[tenant.as_str(), rule, &entity.kind, &entity.value])
}

/// 32 hex digits of a hash over these parts. Findings have four parts; whoever names other things takes another number.
pub(crate) fn fingerprint_of(parts: &[&str]) -> String {
    hash(parts)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 over the parts with their lengths, so that no two lists of parts read the same.
fn hash(parts: &[&str]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// UUID version 7: milliseconds of the finding, and a hash of fingerprint and position where others put random bits.
fn alert_id(fingerprint: &str, verdict: &Verdict) -> AlertId {
    stable_id(verdict.time, &[fingerprint, &verdict.position.0.to_string()])
}

/// Id of the incident this alert opens: the same for a replay of its raising, another when it came back since.
pub(crate) fn incident_id(alert: &Alert) -> IncidentId {
    let (seconds, ns) = alert.id.get_timestamp().map_or((0, 0), |time| time.to_unix());
    let ns = i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(i64::from(ns));
    let returned = alert.returns.last().map_or(0, |at| at.0);
    stable_id(Timestamp(ns), &["incident", &alert.id.to_string(), &returned.to_string()])
}

/// UUID version 7 with a hash of these parts where others put random bits.
pub(crate) fn stable_id(time: Timestamp, parts: &[&str]) -> Uuid {
    let mut tail = [0; 10];
    tail.copy_from_slice(&hash(parts)[..10]);
    uuid::Builder::from_unix_timestamp_millis(unix_ms(time), &tail).into_uuid()
}

/// A new id, UUID version 7.
pub(crate) fn fresh_id(now: Timestamp) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(unix_ms(now), &rand::random()).into_uuid()
}

fn unix_ms(time: Timestamp) -> u64 {
    u64::try_from(time.0 / 1_000_000).unwrap_or(0)
}

/// The alert a verdict raises; `previous` is the resolved alert of the same finding.
pub(crate) fn raise(
    verdict: Verdict,
    fingerprint: String,
    previous: Option<&Alert>,
    now: Timestamp,
) -> Alert {
    let raised = Transition {
        at: now,
        from: None,
        to: Status::Open,
        by: HEIMDALL.to_owned(),
        note: previous.map(|previous| format!("recurrence of alert {}", previous.id)),
    };
    let mut alert = Alert {
        id: alert_id(&fingerprint, &verdict),
        fingerprint,
        tenant: verdict.tenant,
        rule: verdict.rule,
        detector: verdict.detector,
        title: verdict.title,
        summary: verdict.summary,
        severity: verdict.severity,
        priority: Priority::of(verdict.severity),
        status: Status::Open,
        entity: verdict.entity,
        service: verdict.service,
        raised_at: now,
        first_seen: verdict.time,
        last_seen: verdict.time,
        count: 1,
        score: finite(verdict.score),
        baseline: verdict.baseline.map(finite_baseline),
        features: verdict.features.into_iter().map(finite_feature).collect(),
        evidence: verdict.evidence,
        mitigation: verdict.mitigation,
        notified: Vec::new(),
        history: vec![raised],
        feedback: None,
        position: verdict.position,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        source_url: None,
        ends_at: None,
        suppressed_until: None,
        assignee: None,
        comments: Vec::new(),
        incident: None,
        muted: None,
        returns: Vec::new(),
    };
    bound_evidence(&mut alert);
    alert
}

/// Adds a repeat of the same finding. What describes it follows the latest one; severity and score keep the worst.
pub(crate) fn repeat(alert: &mut Alert, verdict: Verdict) {
    alert.count += 1;
    alert.first_seen = alert.first_seen.min(verdict.time);
    alert.last_seen = alert.last_seen.max(verdict.time);
    alert.severity = alert.severity.max(verdict.severity);
    alert.score = alert.score.max(finite(verdict.score));
    alert.position = alert.position.max(verdict.position);
    alert.title = verdict.title;
    alert.summary = verdict.summary;
    alert.service = verdict.service.or(alert.service.take());
    alert.baseline = verdict.baseline.map(finite_baseline).or(alert.baseline.take());
    alert.features = verdict.features.into_iter().map(finite_feature).collect();
    alert.mitigation = verdict.mitigation;
    let known = std::mem::take(&mut alert.evidence);
    alert.evidence = known.into_iter().filter(|id| !verdict.evidence.contains(id)).collect();
    alert.evidence.extend(verdict.evidence);
    bound_evidence(alert);
}

/// A resolved alert is live again because what it is about came back: people are told anew.
pub(crate) fn come_back(alert: &mut Alert, now: Timestamp) {
    change_status(alert, Status::Open, HEIMDALL, Some("it came back"), now);
    let excess = (alert.returns.len() + 1).saturating_sub(RETURNS_MAX);
    alert.returns.drain(..excess);
    alert.returns.push(now);
    alert.notified.clear();
}

/// When an alert was resolved; none while it is not.
pub(crate) fn resolved_at(alert: &Alert) -> Option<Timestamp> {
    let last = alert.history.iter().rev().find(|step| step.to == Status::Resolved)?;
    (alert.status == Status::Resolved).then_some(last.at)
}

/// Changes the status and writes it into the history.
pub(crate) fn change_status(alert: &mut Alert, to: Status, by: &str, note: Option<&str>, now: Timestamp) {
    record(alert, to, by, note, now);
    alert.status = to;
    alert.suppressed_until = None;
    if to == Status::Resolved {
        alert.muted = None;
    }
}

/// Writes something into the history that leaves the status as it is.
pub(crate) fn remark(alert: &mut Alert, note: &str, by: &str, now: Timestamp) {
    record(alert, alert.status, by, Some(note), now);
}

fn record(alert: &mut Alert, to: Status, by: &str, note: Option<&str>, now: Timestamp) {
    if alert.history.len() >= HISTORY_MAX {
        alert.history.remove(1);
    }
    let note = note.map(cut);
    alert.history.push(Transition { at: now, from: Some(alert.status), to, by: by.to_owned(), note });
}

/// Adds what somebody wrote; the oldest goes when there are too many.
pub(crate) fn add_comment(comments: &mut Vec<Comment>, comment: Comment) {
    if comments.len() >= COMMENTS_MAX {
        comments.remove(0);
    }
    comments.push(comment);
}

/// Writes down what a person says of the alert. Returns false when that is what is written already; a note stays when the
/// same verdict comes without one.
pub(crate) fn judge(
    alert: &mut Alert,
    verdict: FeedbackVerdict,
    by: &str,
    note: Option<&str>,
    now: Timestamp,
) -> bool {
    let note = note.map(cut);
    if let Some(known) = &alert.feedback
        && known.verdict == verdict
        && (note.is_none() || note == known.note)
    {
        return false;
    }
    alert.feedback = Some(Feedback { verdict, by: by.to_owned(), at: now, note });
    true
}

/// A note as it is kept.
pub(crate) fn cut(note: &str) -> String {
    note.chars().take(NOTE_CHARS_MAX).collect()
}

fn bound_evidence(alert: &mut Alert) {
    let excess = alert.evidence.len().saturating_sub(EVIDENCE_MAX);
    alert.evidence.drain(..excess);
}

fn finite_baseline(baseline: Baseline) -> Baseline {
    Baseline {
        mean: finite(baseline.mean),
        stddev: finite(baseline.stddev),
        samples: baseline.samples,
        threshold: finite(baseline.threshold),
        observed: finite(baseline.observed),
    }
}

fn finite_feature(feature: Feature) -> Feature {
    Feature { value: finite(feature.value), ..feature }
}

/// The nearest number JSON can write; NaN becomes 0.
fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(f64::MIN, f64::MAX) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use heimdall_model::{Position, RecordId, Severity};

    /// A verdict about a source address, at this position of the journal.
    pub(crate) fn verdict(source: &str, position: u64) -> Verdict {
        let time = Timestamp(1_772_366_400_000_000_000 + position.cast_signed() * 1_000_000_000);
        Verdict {
            tenant: Tenant::default(),
            detector: "auth".to_owned(),
            rule: "brute-force".to_owned(),
            title: "Failed logins".to_owned(),
            severity: Severity::Warning,
            score: 0.5,
            entity: Entity::new("source_ip", source),
            service: Some("AUTH-API".to_owned()),
            time,
            position: Position(position),
            summary: "12 failures in 60 s".to_owned(),
            baseline: None,
            features: vec![],
            evidence: vec![RecordId::new(time, Position(position))],
            mitigation: vec!["block the address".to_owned()],
        }
    }

    #[test]
    fn fingerprints_tell_findings_apart_and_ids_survive_replay() {
        let of = |rule: &str, kind: &str, value: &str| {
            fingerprint(&Tenant::default(), rule, &Entity::new(kind, value))
        };
        assert_eq!(of("r", "host", "a"), of("r", "host", "a"));
        assert_ne!(of("r", "host", "a"), of("rh", "ost", "a"));
        let id = |position| {
            raise(verdict("10.0.0.1", position), "fp".into(), None, Timestamp(position.cast_signed())).id
        };
        assert_eq!(id(5), id(5));
        assert_ne!(id(5), id(6));
        assert_eq!(id(5).get_version_num(), 7);
    }

    #[test]
    fn a_repeat_keeps_the_worst_and_the_newest() {
        let mut alert = raise(verdict("10.0.0.1", 9), "fp".into(), None, Timestamp(1));
        let worse = Verdict {
            severity: Severity::Critical,
            score: f64::NAN,
            summary: "40 failures".into(),
            ..verdict("10.0.0.1", 30)
        };
        repeat(&mut alert, worse);
        repeat(&mut alert, verdict("10.0.0.1", 31));
        assert_eq!((alert.severity, alert.count), (Severity::Critical, 3));
        assert_eq!((alert.score, alert.position), (0.5, Position(31)));
        for position in 32..80 {
            repeat(&mut alert, verdict("10.0.0.1", position));
        }
        assert_eq!(alert.evidence.len(), EVIDENCE_MAX);
        assert_eq!(alert.evidence.last().map(|id| id.position()), Some(Position(79)));
    }

    #[test]
    fn an_alert_is_json_whatever_the_numbers() {
        let mut odd = verdict("10.0.0.1", 1);
        odd.baseline = Some(Baseline {
            mean: f64::NAN,
            stddev: 0.0,
            samples: 3,
            threshold: f64::NEG_INFINITY,
            observed: f64::INFINITY,
        });
        odd.features = vec![Feature { name: "z".into(), value: f64::INFINITY }];
        let alert = raise(odd, "fp".into(), None, Timestamp(1));
        let text = serde_json::to_string(&alert).unwrap();
        assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
    }

    #[test]
    fn which_status_follows_which() {
        let table: Vec<String> = Status::ALL
            .iter()
            .map(|from| {
                let next = Status::ALL.iter().filter(|to| may_follow(*from, **to)).map(|to| to.as_str());
                format!("{from}: {}", next.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(
            table,
            [
                "OPEN: ACKNOWLEDGED SUPPRESSED RESOLVED",
                "ACKNOWLEDGED: OPEN SUPPRESSED RESOLVED",
                "SUPPRESSED: OPEN ACKNOWLEDGED RESOLVED",
                "RESOLVED: OPEN",
            ]
        );
        let mut alert = raise(verdict("10.0.0.1", 1), "fp".into(), None, Timestamp(1));
        for n in 0..300 {
            change_status(&mut alert, Status::ALL[n % 2], "me", Some(&"x".repeat(5_000)), Timestamp(2));
        }
        assert_eq!((alert.history.len(), alert.history[0].from), (HISTORY_MAX, None));
    }
}
