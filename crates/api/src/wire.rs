//! Documents as they go over the wire: views of domain values, with their schemas.
//!
//! Invariant: times are RFC 3339 with nanoseconds, ids are text, no 64-bit integer becomes a float.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use heimdall_guard::{TokenInfo, TokenSecret};
use heimdall_ingest::{Coerced, Receipt, Rejected};
use heimdall_model::verdict::{Baseline, Entity, Feature};
use heimdall_model::{
    Alert, Comment, Feedback, IncidentId, Mute, Priority, RecordId, Severity, Status, Tenant, Timestamp,
    Transition,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::FieldError;

/// What became of one ingest request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(crate) struct ReceiptView<'a> {
    /// Records made durable.
    accepted: u64,
    /// Records not written again: the same idempotency key came before.
    deduplicated: u64,
    /// The first rejected records.
    #[schema(value_type = Vec<FieldError>)]
    rejected: &'a [Rejected],
    /// How many were rejected in all.
    rejected_total: u64,
    /// Id of this receipt.
    receipt: Uuid,
    /// The first values kept in another form.
    #[schema(value_type = Vec<FieldError>)]
    coerced: &'a [Coerced],
    /// How many there were in all.
    coerced_total: u64,
    /// Records that stated no time and were given the arrival time.
    timestamps_assigned: u64,
    /// Records in which a pipeline replaced personal data.
    redacted: u64,
    /// Records kept aside among the dead letters.
    quarantined: u64,
    /// Records that pipelines dropped or sampled away.
    dropped: u64,
    /// Steps of pipelines that failed; their records were kept.
    pipeline_errors: u64,
    /// Owner of the records.
    #[schema(value_type = String)]
    tenant: &'a Tenant,
    /// The door they came through.
    door: &'a str,
    /// The program that sent them, as it names itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    shipper: Option<&'a str>,
    /// The sender's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    peer: Option<IpAddr>,
    /// Id of the sender's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// Arrival.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Bytes of the body, unpacked.
    bytes: u64,
}

impl<'a> From<&'a Receipt> for ReceiptView<'a> {
    fn from(receipt: &'a Receipt) -> ReceiptView<'a> {
        ReceiptView {
            accepted: receipt.accepted,
            deduplicated: receipt.deduplicated,
            rejected: &receipt.rejected,
            rejected_total: receipt.rejected_total,
            receipt: receipt.id,
            coerced: &receipt.coerced,
            coerced_total: receipt.coerced_total,
            timestamps_assigned: receipt.timestamps_assigned,
            redacted: receipt.redacted,
            quarantined: receipt.quarantined,
            dropped: receipt.dropped,
            pipeline_errors: receipt.pipeline_errors,
            tenant: &receipt.tenant,
            door: &receipt.door,
            shipper: receipt.shipper.as_deref(),
            peer: receipt.peer,
            token: receipt.token.as_deref(),
            time: receipt.time,
            bytes: receipt.bytes,
        }
    }
}

/// An alert: one ongoing finding about one entity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub(crate) struct AlertView<'a> {
    /// Its id.
    id: Uuid,
    /// Tenant, rule and entity: repeats of the same find the same alert.
    fingerprint: &'a str,
    /// Owner.
    #[schema(value_type = String)]
    tenant: &'a Tenant,
    /// Rule that fired.
    rule: &'a str,
    /// Detector behind the rule.
    detector: &'a str,
    /// Short name for people.
    title: &'a str,
    /// One sentence: what happened, with numbers.
    summary: &'a str,
    /// How bad, the worst seen so far: NORMAL, WARNING or CRITICAL.
    #[schema(value_type = String, example = "CRITICAL")]
    severity: Severity,
    /// How urgent: P1, P2 or P3.
    #[schema(value_type = String, example = "P1")]
    priority: Priority,
    /// Where in its life: OPEN, ACKNOWLEDGED, SUPPRESSED or RESOLVED.
    #[schema(value_type = String, example = "OPEN")]
    status: Status,
    /// What it is about: `{kind, value}`.
    #[schema(value_type = Object)]
    entity: &'a Entity,
    /// Service concerned, when known.
    service: Option<&'a str>,
    /// When it was raised.
    #[schema(value_type = String, format = DateTime)]
    raised_at: Timestamp,
    /// Event time of the first finding.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// Event time of the latest finding.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// Findings so far.
    count: u64,
    /// Highest score so far, 0 to 1.
    score: f64,
    /// What the value was compared with: `{mean, stddev, samples, threshold, observed}`.
    #[schema(value_type = Option<Object>)]
    baseline: Option<&'a Baseline>,
    /// The numbers that contributed: `{name, value}` each.
    #[schema(value_type = Vec<Object>)]
    features: &'a [Feature],
    /// Ids of the records that are the evidence, newest last.
    #[schema(value_type = Vec<String>)]
    evidence: &'a [RecordId],
    /// What to do now, one step each.
    mitigation: &'a [String],
    /// Channels told so far.
    notified: &'a [String],
    /// Status changes, oldest first: `{at, from, to, by, note}` each.
    #[schema(value_type = Vec<Object>)]
    history: &'a [Transition],
    /// What a person says of it: `{verdict, by, at, note}`, the verdict `true_positive` or `false_positive`; null until then.
    #[schema(value_type = Option<Object>)]
    feedback: Option<&'a Feedback>,
    /// Labels beyond those the fields above give; of alerts another system posted, all of theirs.
    labels: &'a BTreeMap<String, String>,
    /// Texts another system posted with it.
    annotations: &'a BTreeMap<String, String>,
    /// Where the system that posted it shows it.
    source_url: Option<&'a str>,
    /// When it is over unless it is posted or found again.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// Until when it is SUPPRESSED; null: until somebody says otherwise.
    #[schema(value_type = Option<String>, format = DateTime)]
    suppressed_until: Option<Timestamp>,
    /// Who works on it.
    assignee: Option<&'a str>,
    /// What people wrote, oldest first: `{at, by, text}` each.
    #[schema(value_type = Vec<Object>)]
    comments: &'a [Comment],
    /// The incident it belongs to.
    #[schema(value_type = Option<String>, format = Uuid)]
    incident: Option<IncidentId>,
    /// Why nobody is told of it at present: `{kind, by, reason, since}`; `kind` is `silence`, `maintenance`, `inhibition` or
    /// `flapping`.
    #[schema(value_type = Option<Object>)]
    muted: Option<&'a Mute>,
}

impl<'a> From<&'a Alert> for AlertView<'a> {
    fn from(alert: &'a Alert) -> AlertView<'a> {
        AlertView {
            id: alert.id,
            fingerprint: &alert.fingerprint,
            tenant: &alert.tenant,
            rule: &alert.rule,
            detector: &alert.detector,
            title: &alert.title,
            summary: &alert.summary,
            severity: alert.severity,
            priority: alert.priority,
            status: alert.status,
            entity: &alert.entity,
            service: alert.service.as_deref(),
            raised_at: alert.raised_at,
            first_seen: alert.first_seen,
            last_seen: alert.last_seen,
            count: alert.count,
            score: alert.score,
            baseline: alert.baseline.as_ref(),
            features: &alert.features,
            evidence: &alert.evidence,
            mitigation: &alert.mitigation,
            notified: &alert.notified,
            history: &alert.history,
            feedback: alert.feedback.as_ref(),
            labels: &alert.labels,
            annotations: &alert.annotations,
            source_url: alert.source_url.as_deref(),
            ends_at: alert.ends_at,
            suppressed_until: alert.suppressed_until,
            assignee: alert.assignee.as_deref(),
            comments: &alert.comments,
            incident: alert.incident,
            muted: alert.muted.as_ref(),
        }
    }
}

/// An alert and what was done with those like it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertDetail<'a> {
    /// The alert.
    #[serde(flatten)]
    alert: AlertView<'a>,
    /// Earlier alerts like it, the closest first, at most 5.
    similar: Vec<SimilarView<'a>>,
}

impl<'a> AlertDetail<'a> {
    pub(crate) fn new(alert: &'a Alert, similar: &'a [Arc<Alert>]) -> AlertDetail<'a> {
        let similar = similar.iter().map(|earlier| SimilarView::new(earlier, alert)).collect();
        AlertDetail { alert: alert.into(), similar }
    }
}

/// An earlier alert: what it was, how it ended, what people said.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SimilarAlert)]
pub(crate) struct SimilarView<'a> {
    /// Its id.
    id: Uuid,
    /// What it has in common: `finding` (rule and entity), `rule` (about another entity of the kind) or `entity`.
    same: &'static str,
    /// Short name for people.
    title: &'a str,
    /// What it was about: `{kind, value}`.
    #[schema(value_type = Object)]
    entity: &'a Entity,
    /// Where in its life: OPEN, ACKNOWLEDGED, SUPPRESSED or RESOLVED.
    #[schema(value_type = String, example = "RESOLVED")]
    status: Status,
    /// When it was raised.
    #[schema(value_type = String, format = DateTime)]
    raised_at: Timestamp,
    /// Who took the last step with it.
    by: Option<&'a str>,
    /// Why, in their words: of a resolved alert, what ended it.
    note: Option<&'a str>,
    /// What a person says of it: `{verdict, by, at, note}`.
    #[schema(value_type = Option<Object>)]
    feedback: Option<&'a Feedback>,
}

impl<'a> SimilarView<'a> {
    fn new(earlier: &'a Alert, alert: &Alert) -> SimilarView<'a> {
        let last = earlier.history.last();
        SimilarView {
            id: earlier.id,
            same: match () {
                () if earlier.fingerprint == alert.fingerprint => "finding",
                () if earlier.rule == alert.rule => "rule",
                () => "entity",
            },
            title: &earlier.title,
            entity: &earlier.entity,
            status: earlier.status,
            raised_at: earlier.raised_at,
            by: last.map(|step| step.by.as_str()),
            note: last.and_then(|step| step.note.as_deref()),
            feedback: earlier.feedback.as_ref(),
        }
    }
}

/// An access token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct TokenView {
    /// Public half: names the token in lists and when it is revoked.
    id: String,
    /// Name given at issue.
    name: String,
    /// Tenant it is bound to; none when it may choose.
    #[schema(value_type = Option<String>)]
    tenant: Option<Tenant>,
    /// What it may do: read, ingest, alerts:write, watch, admin.
    scopes: Vec<Cow<'static, str>>,
    /// Issued at.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Principal that issued it.
    created_by: String,
    /// No longer valid from this time on.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Latest use.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// Revoked at.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl From<TokenInfo> for TokenView {
    fn from(info: TokenInfo) -> TokenView {
        TokenView {
            id: info.id,
            name: info.name,
            tenant: info.tenant,
            scopes: info.scopes.iter().map(|scope| scope.as_str().into()).collect(),
            created_at: info.created_at,
            created_by: info.created_by,
            expires_at: info.expires_at,
            last_used_at: info.last_used_at,
            revoked_at: info.revoked_at,
        }
    }
}

/// A token just issued: the only answer that ever holds its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedToken {
    /// The whole token, to be sent as `Authorization: Bearer`. It cannot be had again.
    token: String,
    /// What is known of it.
    #[serde(flatten)]
    info: TokenView,
}

impl IssuedToken {
    pub(crate) fn new(info: TokenInfo, secret: &TokenSecret) -> IssuedToken {
        IssuedToken { token: secret.expose().to_owned(), info: info.into() }
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// Pass it as `cursor` for the next page; null on the last.
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// A list that fits one page.
    pub(crate) fn whole(items: Vec<T>) -> Page<T> {
        Page { items, next: None }
    }
}
