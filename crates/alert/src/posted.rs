//! Alerts of other systems, as Alertmanager's API and webhook carry them. Pure.
//!
//! Invariants:
//! - the fingerprint depends on tenant and labels alone, and is never that of a finding of ours;
//! - a posted alert comes from no journal: its position is 0 and says nothing; what is a repeat follows from times.
//!
//! Source: Alertmanager, `api/v2/openapi.yaml` (`postableAlert`), `types/types.go` (`Alert.Merge`).

use std::collections::BTreeMap;

use heimdall_model::{Alert, Entity, Position, Priority, Severity, Status, Tenant, Timestamp, Transition};

use crate::lifecycle::{cut, fingerprint_of, stable_id};

/// Labels, and annotations, of one posted alert.
pub const POSTED_PAIRS_MAX: usize = 64;
/// Longest name of a label or annotation (bytes).
pub const POSTED_NAME_BYTES_MAX: usize = 1_024;
/// Longest value of a label (bytes).
pub const POSTED_VALUE_BYTES_MAX: usize = 4_096;
/// Longest value of an annotation (characters); the rest is cut.
pub const ANNOTATION_CHARS_MAX: usize = 8_192;
/// Alerts one call may post.
pub const POSTED_MAX: usize = 10_000;
/// What [`Alert::detector`] of a posted alert is.
pub const EXTERNAL: &str = "external";

/// An alert as another system posts it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostedAlert {
    /// What identifies it; `alertname` and `severity` have a meaning to us. An empty value is as good as absent.
    pub labels: BTreeMap<String, String>,
    /// Texts about it: `summary`, `description`, `runbook_url` …
    pub annotations: BTreeMap<String, String>,
    /// When it began; none means now.
    pub starts_at: Option<Timestamp>,
    /// When it is over: in the past resolves it, in the future does then unless it is posted again before. None: after
    /// [`crate::AlertConfig::posted_ends_after`].
    pub ends_at: Option<Timestamp>,
    /// Where the other system shows it (`generatorURL`).
    pub source_url: Option<String>,
}

/// What is wrong with a posted alert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct PostedFault {
    /// Field of the alert.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// Checks a posted alert and brings it into its canonical form.
pub(crate) fn checked(mut posted: PostedAlert) -> Result<PostedAlert, PostedFault> {
    let fault = |field, reason: String| Err(PostedFault { field, reason });
    posted.labels.retain(|_, value| !value.is_empty());
    if posted.labels.is_empty() {
        return fault("labels", "there must be at least one".to_owned());
    }
    for (field, pairs) in [("labels", &posted.labels), ("annotations", &posted.annotations)] {
        if pairs.len() > POSTED_PAIRS_MAX {
            return fault(field, format!("there are {}, at most {POSTED_PAIRS_MAX} are taken", pairs.len()));
        }
        if let Some(name) = pairs.keys().find(|name| name.is_empty() || name.len() > POSTED_NAME_BYTES_MAX) {
            let reason = if name.is_empty() { "a name is empty" } else { "a name is longer than 1024 bytes" };
            return fault(field, reason.to_owned());
        }
    }
    if let Some((name, _)) = posted.labels.iter().find(|(_, value)| value.len() > POSTED_VALUE_BYTES_MAX) {
        return fault(
            "labels",
            format!("the value of `{name}` is longer than {POSTED_VALUE_BYTES_MAX} bytes"),
        );
    }
    if let (Some(starts_at), Some(ends_at)) = (posted.starts_at, posted.ends_at)
        && ends_at < starts_at
    {
        return fault("ends_at", "is before starts_at".to_owned());
    }
    for value in posted.annotations.values_mut().filter(|value| value.len() > ANNOTATION_CHARS_MAX) {
        *value = value.chars().take(ANNOTATION_CHARS_MAX).collect();
    }
    Ok(posted)
}

/// The stable name of a posted alert.
pub(crate) fn fingerprint(tenant: &Tenant, labels: &BTreeMap<String, String>) -> String {
    // An odd number of parts: never that of a finding, which has four.
    let mut parts = vec!["posted", "alert", tenant.as_str()];
    parts.extend(labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
    fingerprint_of(&parts)
}

/// The alert this raises.
pub(crate) fn raise(
    tenant: &Tenant,
    posted: PostedAlert,
    fingerprint: String,
    by: &str,
    now: Timestamp,
) -> Alert {
    let starts_at = posted.starts_at.unwrap_or(now);
    let label = |names: &[&str]| first(&posted.labels, names).map(|(_, value)| value);
    let severity = severity_of(label(&["severity"]));
    let rule = label(&["alertname"]).unwrap_or_else(|| "external".to_owned());
    let entity = first(&posted.labels, &["instance", "host", "node", "pod", "container", "service", "job"])
        .map_or_else(|| Entity::new("alert", &rule), |(kind, value)| Entity::new(kind, &value));
    let raised = Transition { at: now, from: None, to: Status::Open, by: by.to_owned(), note: None };
    let mut alert = Alert {
        id: stable_id(starts_at, &["posted", &fingerprint, &starts_at.0.to_string()]),
        fingerprint,
        tenant: tenant.clone(),
        service: label(&["service", "job"]),
        rule,
        detector: EXTERNAL.to_owned(),
        title: String::new(),
        summary: String::new(),
        severity,
        priority: Priority::of(severity),
        status: Status::Open,
        entity,
        raised_at: now,
        first_seen: starts_at,
        last_seen: now,
        count: 1,
        score: 1.0,
        baseline: None,
        features: Vec::new(),
        evidence: Vec::new(),
        mitigation: Vec::new(),
        notified: Vec::new(),
        history: vec![raised],
        feedback: None,
        position: Position(0),
        labels: posted.labels.clone(),
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
    describe(&mut alert, posted);
    alert
}

/// Takes what a repeat says; a repeat with another begin counts as another finding.
pub(crate) fn repeat(alert: &mut Alert, posted: PostedAlert, now: Timestamp) {
    let starts_at = posted.starts_at.unwrap_or(alert.first_seen);
    if starts_at > alert.last_seen {
        alert.count += 1;
    }
    alert.first_seen = alert.first_seen.min(starts_at);
    alert.last_seen = now;
    describe(alert, posted);
}

/// What people read of it, from the latest post.
fn describe(alert: &mut Alert, posted: PostedAlert) {
    let annotation = |names: &[&str]| first(&posted.annotations, names).map(|(_, value)| value);
    let title = annotation(&["title", "summary"]).unwrap_or_else(|| alert.rule.clone());
    let summary = annotation(&["description", "message", "summary"]).unwrap_or_else(|| {
        let pairs: Vec<_> = posted.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join(" ")
    });
    let runbook = annotation(&["runbook_url", "runbook"]);
    (alert.title, alert.summary) = (title.chars().take(200).collect(), cut(&summary));
    alert.mitigation = runbook.map(|url| format!("follow the runbook: {url}")).into_iter().collect();
    alert.annotations = posted.annotations;
    alert.source_url =
        posted.source_url.map(|url| url.chars().take(4_096).collect()).or(alert.source_url.take());
    alert.ends_at = posted.ends_at;
}

fn first<'n>(pairs: &BTreeMap<String, String>, names: &[&'n str]) -> Option<(&'n str, String)> {
    names.iter().find_map(|name| Some((*name, pairs.get(*name).filter(|value| !value.is_empty())?.clone())))
}

fn severity_of(label: Option<String>) -> Severity {
    match label.unwrap_or_default().to_ascii_lowercase().as_str() {
        "critical" | "page" | "error" | "fatal" | "emergency" | "high" => Severity::Critical,
        "info" | "none" | "notice" | "debug" | "normal" => Severity::Normal,
        _ => Severity::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(labels: &[(&str, &str)]) -> PostedAlert {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        PostedAlert { labels, ..PostedAlert::default() }
    }

    #[test]
    fn the_fingerprint_is_that_of_the_labels() {
        let of = |tenant: &str, labels: &[(&str, &str)]| {
            fingerprint(&Tenant::new(tenant).unwrap(), &posted(labels).labels)
        };
        assert_eq!(of("a", &[("x", "1"), ("y", "2")]), of("a", &[("y", "2"), ("x", "1")]));
        assert_ne!(of("a", &[("x", "1")]), of("b", &[("x", "1")]));
        assert_ne!(of("a", &[("x", "1y")]), of("a", &[("x1", "y")]));
    }

    #[test]
    fn labels_and_annotations_become_fields() {
        let mut full = posted(&[
            ("alertname", "DiskFull"),
            ("instance", "db-1:9100"),
            ("job", "node"),
            ("severity", "page"),
        ]);
        full.annotations.insert("summary".to_owned(), "disk is full".to_owned());
        full.annotations.insert("runbook_url".to_owned(), "https://runbooks/disk".to_owned());
        let alert = raise(&Tenant::default(), full, "fp".to_owned(), "prometheus", Timestamp(5));
        assert_eq!((alert.rule.as_str(), alert.service.as_deref()), ("DiskFull", Some("node")));
        assert_eq!(
            (alert.entity, alert.severity),
            (Entity::new("instance", "db-1:9100"), Severity::Critical)
        );
        assert_eq!((alert.title.as_str(), alert.summary.as_str()), ("disk is full", "disk is full"));
        assert_eq!(alert.mitigation, ["follow the runbook: https://runbooks/disk"]);
        let bare = raise(&Tenant::default(), posted(&[("a", "b")]), "fp".to_owned(), "me", Timestamp(5));
        assert_eq!(
            (bare.title.as_str(), bare.summary.as_str(), bare.severity),
            ("external", "a=b", Severity::Warning)
        );
    }

    #[test]
    fn what_cannot_be_names_its_field() {
        let field = |posted: PostedAlert| checked(posted).unwrap_err().field;
        assert_eq!(field(posted(&[("a", "")])), "labels");
        let many: Vec<_> = (0..65).map(|n| n.to_string()).collect();
        assert_eq!(field(posted(&many.iter().map(|n| (n.as_str(), "x")).collect::<Vec<_>>())), "labels");
        assert_eq!(field(posted(&[("a", &"x".repeat(5_000))])), "labels");
        let backwards = PostedAlert {
            starts_at: Some(Timestamp(2)),
            ends_at: Some(Timestamp(1)),
            ..posted(&[("a", "b")])
        };
        assert_eq!(field(backwards), "ends_at");
    }
}
