//! PagerDuty: an incident per group by the Events API v2, acknowledged and resolved with it; and its V3 webhooks, so that what
//! people do there is done here.
//!
//! Invariants:
//! - the routing key is in no error;
//! - the same group has the same `dedup_key` for ever, so that a repeat never opens a second incident.
//!
//! Source: developer.pagerduty.com: "Send an Alert Event" (Events API v2), "PD-CEF", "Webhooks V3", "Verifying Signatures".

use futures::future::BoxFuture;
use heimdall_model::{Severity, Timestamp};
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::{ChannelContext, ChannelError, PagerDutyChannelConfig, Secret};
use super::http::{Answer, Call, Http, below, web_url};
use super::inbound::{InboundError, check_len};
use super::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
use super::secret::SecretSource;
use super::signature::{SignatureError, is_signed};
use super::text::{Telling, cut, key};

/// Longest summary (characters).
const SUMMARY_CHARS_MAX: usize = 1_024;
/// Longest `dedup_key` (characters).
const KEY_CHARS_MAX: usize = 255;
const SIGNATURE_HEADER: &str = "x-pagerduty-signature";

struct PagerDuty {
    http: Http,
    url: Url,
    routing_key: SecretSource,
    base_url: Option<String>,
}

pub(crate) fn build(
    config: &PagerDutyChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let (given, file) = (config.routing_key.as_ref(), config.routing_key_file.as_deref());
    let routing_key = SecretSource::need("routing_key", given, "routing_key_file", file)?;
    let url = below(&web_url("base_url", &config.base_url)?, &["v2", "enqueue"]);
    let http = Http::new("PagerDuty", config.timeout, None, context.clock)?;
    Ok(Box::new(PagerDuty { http, url, routing_key, base_url: context.base_url }))
}

impl PagerDuty {
    async fn tell(&self, notice: &Notice) -> Result<Option<Receipt>, NotifyError> {
        let routing_key = self.routing_key.get().await;
        let mut event = event(notice, self.base_url.as_deref());
        let dedup_key = event["dedup_key"].clone();
        event["routing_key"] = json!(routing_key.expose());
        let answer = self.http.call(Call::json(self.url.clone(), &event).hiding(&routing_key)).await?;
        let said = answer.json();
        match answer.status {
            StatusCode::ACCEPTED if said["status"] == "success" => {
                Ok(Some(Receipt(json!({"dedup_key": dedup_key}))))
            }
            status if status.is_success() => Err(answer.garbled()),
            _ => Err(refused(&answer, &said)),
        }
    }
}

/// The message and the faults PagerDuty found.
fn refused(answer: &Answer, said: &Value) -> NotifyError {
    let faults = said["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let parts: Vec<&str> = said["message"].as_str().into_iter().chain(faults).collect();
    answer.refused(Some(&parts.join(", ")))
}

/// The event, without the routing key.
fn event(notice: &Notice, base_url: Option<&str>) -> Value {
    let action = match notice.kind {
        NoticeKind::Acknowledged => "acknowledge",
        NoticeKind::Resolved => "resolve",
        _ => "trigger",
    };
    let dedup_key = key(&notice.group_key, KEY_CHARS_MAX);
    if action != "trigger" {
        return json!({"event_action": action, "dedup_key": dedup_key});
    }
    let telling = Telling::of(notice, base_url);
    let links: Vec<Value> =
        telling.links.iter().map(|link| json!({"href": link.url, "text": link.text})).collect();
    let mut event = json!({
        "event_action": action,
        "dedup_key": dedup_key,
        "payload": payload(notice, &telling),
        "links": links,
        "client": "Heimdall",
    });
    if let Some(link) = telling.links.first() {
        event["client_url"] = json!(link.url);
    }
    event
}

fn payload(notice: &Notice, telling: &Telling) -> Value {
    let alert = notice.alerts.first();
    let summary = cut(&format!("{}: {}", telling.title, telling.summary), SUMMARY_CHARS_MAX);
    let source = alert.map(|alert| cut(&alert.entity.value, SUMMARY_CHARS_MAX));
    let source = source.filter(|source| !source.is_empty()).unwrap_or_else(|| "heimdall".to_owned());
    let severity = match telling.severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Normal => "info",
    };
    let mut payload = json!({
        "summary": summary,
        "source": source,
        "severity": severity,
        "timestamp": notice.at,
        "custom_details": details(notice, telling),
    });
    if let Some(alert) = alert {
        payload["class"] = json!(cut(&alert.rule, SUMMARY_CHARS_MAX));
        if let Some(service) = &alert.service {
            payload["component"] = json!(cut(service, SUMMARY_CHARS_MAX));
        }
    }
    payload
}

fn details(notice: &Notice, telling: &Telling) -> Value {
    let mut details: Map<String, Value> =
        telling.fields.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    details.insert("summary".to_owned(), json!(telling.summary));
    details.insert("what to do now".to_owned(), json!(telling.steps));
    details.insert("alerts".to_owned(), json!(notice.total));
    details.insert("others".to_owned(), json!(telling.others));
    let ids: Vec<_> = notice.alerts.iter().map(|alert| alert.id).collect();
    details.insert("alert ids".to_owned(), json!(ids));
    Value::Object(details)
}

impl Notifier for PagerDuty {
    fn kind(&self) -> &'static str {
        "pagerduty"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        _previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice)))
    }
}

/// What happened to an incident in PagerDuty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagerDutyAction {
    /// What to do here.
    pub kind: PagerDutyActionKind,
    /// The group, as [`Notice::group_key`] (which was the `dedup_key`).
    pub group_key: String,
    /// Who did it, by name; none when an integration did, such as our own event coming back.
    pub by: Option<String>,
    /// When.
    pub at: Timestamp,
    /// PagerDuty's id of this event: the same when it is sent again.
    pub event_id: String,
    /// PagerDuty's id of the incident.
    pub incident_id: String,
}

/// What to do here when something was done in PagerDuty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PagerDutyActionKind {
    /// Somebody took it.
    Acknowledge,
    /// Nobody has it any more.
    Unacknowledge,
    /// It is over.
    Resolve,
}

/// Checks that PagerDuty signed these bytes with the subscription's secret. Several signatures are sent while a secret is
/// changed: one that matches is enough.
///
/// # Errors
/// [`SignatureError`]; the body must not be looked at then.
pub fn verify(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> Result<(), SignatureError> {
    let values = headers.get_all(SIGNATURE_HEADER).iter().filter_map(|value| value.to_str().ok());
    let signatures =
        values.flat_map(|value| value.split(',')).filter_map(|part| part.trim().strip_prefix("v1="));
    let mut signatures = signatures.take(10).peekable();
    if signatures.peek().is_none() {
        return Err(SignatureError::Header { header: SIGNATURE_HEADER });
    }
    let is_genuine = signatures.any(|signature| is_signed(secret.expose(), &[body], signature));
    if is_genuine { Ok(()) } else { Err(SignatureError::Mismatch) }
}

#[derive(Deserialize)]
struct Delivery {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    id: String,
    event_type: String,
    occurred_at: Timestamp,
    #[serde(default)]
    agent: Option<Agent>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Agent {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    id: Option<String>,
}

#[derive(Deserialize)]
struct IncidentData {
    id: String,
    #[serde(default)]
    incident_key: Option<String>,
}

/// Reads a V3 webhook. None: an event that asks for nothing here, such as `pagey.ping` or a note.
///
/// # Errors
/// [`InboundError`]: it is something else.
pub fn parse_webhook(body: &[u8]) -> Result<Option<PagerDutyAction>, InboundError> {
    check_len(body)?;
    let delivery: Delivery =
        serde_json::from_slice(body).map_err(|error| InboundError::at("event", error))?;
    let event = delivery.event;
    let kind = match event.event_type.as_str() {
        "incident.acknowledged" => PagerDutyActionKind::Acknowledge,
        "incident.unacknowledged" => PagerDutyActionKind::Unacknowledge,
        "incident.resolved" => PagerDutyActionKind::Resolve,
        _ => return Ok(None),
    };
    let data =
        IncidentData::deserialize(event.data).map_err(|error| InboundError::at("event.data", error))?;
    // An incident somebody made by hand, or of another integration, has no key of ours.
    let Some(group_key) = data.incident_key.filter(|key| !key.is_empty()) else { return Ok(None) };
    let person = event.agent.filter(|agent| agent.r#type.starts_with("user"));
    let by = person.and_then(|agent| agent.summary.or(agent.id)).map(|name| cut(&name, 200));
    let (at, event_id) = (event.occurred_at, event.id);
    Ok(Some(PagerDutyAction { kind, group_key, by, at, event_id, incident_id: data.id }))
}
