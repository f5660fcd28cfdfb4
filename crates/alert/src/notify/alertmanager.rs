//! Alertmanager's webhook, version 4, out and in: what is written for Alertmanager works with Heimdall, and an Alertmanager can
//! send to it.
//!
//! Invariants:
//! - the address and the token are in no error;
//! - names of labels and annotations are Prometheus names (`[a-zA-Z_][a-zA-Z0-9_]*`); the fingerprint of an alert is 16 hex
//!   digits and the same for ever.
//!
//! Source: prometheus.io/docs/alerting/latest/configuration, `<webhook_config>`; `template.Data` of Alertmanager 0.28.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use heimdall_model::{Alert, Status, Timestamp};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::{AlertmanagerChannelConfig, ChannelContext, ChannelError};
use super::http::{Call, Http, SecretUrl};
use super::inbound::{InboundError, check_len};
use super::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
use super::secret::SecretSource;
use super::signature::hex;
use super::text::clean_base;
use crate::posted::PostedAlert;

/// What Go writes for no time: an alert that is not over ends then.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Alerts of one message that are read.
const ALERTS_MAX: usize = 10_000;

type Labels = BTreeMap<String, String>;

struct Alertmanager {
    http: Http,
    url: SecretUrl,
    token: Option<SecretSource>,
    base_url: Option<String>,
}

pub(crate) fn build(
    config: &AlertmanagerChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let url = SecretUrl::need("url", config.url.as_ref(), "url_file", config.url_file.as_deref())?;
    let token =
        SecretSource::find("token", config.token.as_ref(), "token_file", config.token_file.as_deref())?;
    let http = Http::new("the webhook", config.timeout, config.ca_file.as_deref(), context.clock)?;
    Ok(Box::new(Alertmanager { http, url, token, base_url: context.base_url }))
}

impl Alertmanager {
    async fn tell(&self, notice: &Notice) -> Result<Option<Receipt>, NotifyError> {
        let (url, secret) = self.url.get().await?;
        let mut call = Call::json(url, &message(notice, self.base_url.as_deref())).hiding(&secret);
        if let Some(token) = &self.token {
            call = call.authorised("Bearer", &token.get().await)?;
        }
        let answer = self.http.call(call).await?;
        if answer.is_success() { Ok(None) } else { Err(answer.refused(None)) }
    }
}

fn message(notice: &Notice, base_url: Option<&str>) -> Value {
    let base = notice.base_url.as_deref().or(base_url).and_then(clean_base);
    let alerts: Vec<Sent> =
        notice.alerts.iter().map(|alert| Sent::of(alert, notice, base.as_deref())).collect();
    let is_firing = alerts.iter().any(|alert| !alert.is_over)
        || (alerts.is_empty() && notice.kind != NoticeKind::Resolved);
    json!({
        "version": "4",
        "groupKey": notice.group_key,
        "truncatedAlerts": notice.total.saturating_sub(alerts.len()),
        "status": if is_firing { "firing" } else { "resolved" },
        "receiver": notice.receiver,
        "groupLabels": named(&notice.group_labels),
        "commonLabels": common(alerts.iter().map(|alert| &alert.labels)),
        "commonAnnotations": common(alerts.iter().map(|alert| &alert.annotations)),
        "externalURL": base.unwrap_or_default(),
        "alerts": alerts.iter().map(Sent::json).collect::<Vec<_>>(),
    })
}

/// An alert as it is sent.
struct Sent {
    is_over: bool,
    labels: Labels,
    annotations: Labels,
    starts_at: Timestamp,
    ends_at: Timestamp,
    generator_url: String,
    fingerprint: String,
}

impl Sent {
    fn of(alert: &Alert, notice: &Notice, base: Option<&str>) -> Sent {
        let ended = alert.history.iter().rev().find(|change| change.to == Status::Resolved);
        let ends_at = ended.map(|change| change.at).or(alert.ends_at).unwrap_or(notice.at);
        let ours = || base.map(|base| format!("{base}/alerts/{}", alert.id));
        Sent {
            is_over: alert.status == Status::Resolved,
            labels: named(&alert.label_set()),
            annotations: annotations(alert),
            starts_at: alert.first_seen,
            ends_at: ends_at.max(alert.first_seen),
            generator_url: alert.source_url.clone().or_else(ours).unwrap_or_default(),
            fingerprint: fingerprint(alert),
        }
    }

    fn json(&self) -> Value {
        let ends_at = if self.is_over { json!(self.ends_at) } else { json!(NEVER) };
        json!({
            "status": if self.is_over { "resolved" } else { "firing" },
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": self.starts_at,
            "endsAt": ends_at,
            "generatorURL": self.generator_url,
            "fingerprint": self.fingerprint,
        })
    }
}

/// Those the alert came with, and ours where it came with none.
fn annotations(alert: &Alert) -> Labels {
    let mut annotations = named(&alert.annotations);
    let ours = [
        ("summary", alert.title.clone()),
        ("description", alert.summary.clone()),
        ("mitigation", alert.mitigation.join("\n")),
    ];
    for (name, text) in ours.into_iter().filter(|(_, text)| !text.is_empty()) {
        annotations.entry(name.to_owned()).or_insert(text);
    }
    annotations
}

/// 16 hex digits: the start of the alert's own name where that is hex, else of its hash.
fn fingerprint(alert: &Alert) -> String {
    let own = alert
        .fingerprint
        .get(..16)
        .filter(|head| head.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    let hashed = || hex(&digest(&SHA256, alert.fingerprint.as_bytes()).as_ref()[..8]);
    own.map_or_else(hashed, str::to_owned)
}

/// Labels under names Prometheus takes; a name that is one already wins over one that was made to be.
fn named(labels: &Labels) -> Labels {
    let (good, odd): (Vec<_>, Vec<_>) = labels.iter().partition(|(name, _)| is_name(name));
    let mut named: Labels = good.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    for (name, value) in odd {
        let name = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>();
        let name = if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
            format!("_{name}")
        } else {
            name
        };
        named.entry(name).or_insert_with(|| value.clone());
    }
    named
}

fn is_name(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(is_inner)
}

/// What all have in common.
fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut common = all.next().cloned().unwrap_or_default();
    for labels in all {
        common.retain(|name, value| labels.get(name) == Some(value));
    }
    common
}

impl Notifier for Alertmanager {
    fn kind(&self) -> &'static str {
        "alertmanager"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        _previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    version: String,
    alerts: Vec<Received>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    status: String,
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: Option<String>,
}

/// Reads what an Alertmanager sends to its webhooks. A firing alert has no end, whatever end it was sent with.
///
/// # Errors
/// [`InboundError`] names the field; nothing of the message is taken then.
pub fn parse_webhook(body: &[u8]) -> Result<Vec<PostedAlert>, InboundError> {
    check_len(body)?;
    let message: Message = serde_json::from_slice(body).map_err(|error| InboundError::at("body", error))?;
    if message.version != "4" {
        return Err(InboundError::at("version", "must be `4`"));
    }
    if message.alerts.len() > ALERTS_MAX {
        return Err(InboundError::at("alerts", format!("more than {ALERTS_MAX}")));
    }
    message.alerts.into_iter().enumerate().map(|(n, alert)| posted(n, alert)).collect()
}

fn posted(n: usize, alert: Received) -> Result<PostedAlert, InboundError> {
    let at = |field: &str| format!("alerts[{n}].{field}");
    if alert.labels.is_empty() {
        return Err(InboundError::at(&at("labels"), "must not be empty"));
    }
    let is_over = match alert.status.as_str() {
        "firing" => false,
        "resolved" => true,
        _ => return Err(InboundError::at(&at("status"), "must be `firing` or `resolved`")),
    };
    let starts_at = time(alert.starts_at.as_deref(), &at("startsAt"))?;
    let ends_at = time(alert.ends_at.as_deref(), &at("endsAt"))?;
    if is_over && ends_at.is_none() {
        return Err(InboundError::at(&at("endsAt"), "missing on a resolved alert"));
    }
    Ok(PostedAlert {
        labels: alert.labels,
        annotations: alert.annotations,
        starts_at,
        ends_at: ends_at.filter(|_| is_over),
        source_url: alert.generator_url.filter(|url| !url.is_empty()),
    })
}

/// A time; Go's zero time is none.
fn time(text: Option<&str>, field: &str) -> Result<Option<Timestamp>, InboundError> {
    match text {
        None | Some("" | NEVER) => Ok(None),
        Some(text) => {
            let time = Timestamp::parse(text).ok_or_else(|| InboundError::at(field, "is not a time"))?;
            Ok(Some(time))
        }
    }
}
