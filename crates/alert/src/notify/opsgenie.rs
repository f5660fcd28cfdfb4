//! Opsgenie: an alert per group by the Alert API, under the group's key as alias, acknowledged and closed with it.
//!
//! Invariants:
//! - the API key is in no error;
//! - the same group has the same alias for ever: while its alert is open, Opsgenie counts a repeat instead of opening another.
//!
//! Source: docs.opsgenie.com: "Alert API" (create, acknowledge and close alert).

use futures::future::BoxFuture;
use heimdall_model::Priority;
use reqwest::{StatusCode, Url};
use serde_json::{Map, Value, json};

use super::config::{ChannelContext, ChannelError, OpsgenieChannelConfig};
use super::http::{Call, Http, below, web_url};
use super::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
use super::secret::SecretSource;
use super::text::{Measure, Telling, cut, escaped, key};

/// Limits of the Alert API (characters).
const MESSAGE_CHARS_MAX: usize = 130;
const ALIAS_CHARS_MAX: usize = 512;
const ENTITY_CHARS_MAX: usize = 512;
const TAG_CHARS_MAX: usize = 50;
const NOTE_CHARS_MAX: usize = 25_000;

struct Opsgenie {
    http: Http,
    base: Url,
    api_key: SecretSource,
    base_url: Option<String>,
}

pub(crate) fn build(
    config: &OpsgenieChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let (given, file) = (config.api_key.as_ref(), config.api_key_file.as_deref());
    let api_key = SecretSource::need("api_key", given, "api_key_file", file)?;
    let base = web_url("base_url", &config.base_url)?;
    let http = Http::new("Opsgenie", config.timeout, None, context.clock)?;
    Ok(Box::new(Opsgenie { http, base, api_key, base_url: context.base_url }))
}

impl Opsgenie {
    async fn tell(&self, notice: &Notice) -> Result<Option<Receipt>, NotifyError> {
        let api_key = self.api_key.get().await;
        let alias = key(&notice.group_key, ALIAS_CHARS_MAX);
        let note = json!({"source": "Heimdall", "note": cut(&notice.reason, NOTE_CHARS_MAX)});
        let (url, body) = match notice.kind {
            NoticeKind::Acknowledged => (self.step(&alias, "acknowledge"), note),
            NoticeKind::Resolved => (self.step(&alias, "close"), note),
            _ => (below(&self.base, &["v2", "alerts"]), alert(notice, &alias, self.base_url.as_deref())),
        };
        let answer = self.http.call(Call::json(url, &body).authorised("GenieKey", &api_key)?).await?;
        let said = answer.json();
        match answer.status {
            StatusCode::ACCEPTED if said["requestId"].is_string() => {
                Ok(Some(Receipt(json!({"alias": alias, "request_id": said["requestId"]}))))
            }
            status if status.is_success() => Err(answer.garbled()),
            _ => Err(answer.refused(said["message"].as_str())),
        }
    }

    fn step(&self, alias: &str, step: &str) -> Url {
        let mut url = below(&self.base, &["v2", "alerts", alias, step]);
        url.query_pairs_mut().append_pair("identifierType", "alias");
        url
    }
}

fn alert(notice: &Notice, alias: &str, base_url: Option<&str>) -> Value {
    let telling = Telling::of(notice, base_url);
    let first = notice.alerts.first();
    let priority = match notice.alerts.iter().map(|alert| alert.priority).min() {
        Some(Priority::P1) => "P1",
        Some(Priority::P2) => "P2",
        Some(Priority::P3) | None => "P3",
    };
    let details: Map<String, Value> =
        telling.fields.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let tags = [Some(telling.severity.as_str()), first.map(|alert| alert.rule.as_str())];
    let tags: Vec<String> = tags.into_iter().flatten().map(tag).filter(|tag| !tag.is_empty()).collect();
    json!({
        "message": cut(&telling.title, MESSAGE_CHARS_MAX),
        "alias": alias,
        // At most 3 steps of 500, 10 lines of 260 and 9 fields: below the 15,000 characters allowed.
        "description": telling.lines().join("\n"),
        "details": details,
        "entity": first.map(|alert| cut(&alert.entity.value, ENTITY_CHARS_MAX)).unwrap_or_default(),
        "tags": tags,
        "source": "Heimdall",
        "priority": priority,
    })
}

/// A tag; a comma would make two of it.
fn tag(text: &str) -> String {
    escaped(text, TAG_CHARS_MAX, Measure::Chars, |c, out| out.push(if c == ',' { ' ' } else { c }))
}

impl Notifier for Opsgenie {
    fn kind(&self) -> &'static str {
        "opsgenie"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        _previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice)))
    }
}
