//! ntfy: one push message per notice, published as JSON.
//!
//! Invariants:
//! - topic and token are in no error;
//! - a message stays below the 4,096 bytes beyond which a server makes a file of it; it is plain text (`markdown` is not set).
//!
//! Source: docs.ntfy.sh/publish: "Publish as JSON", "Message priority", "Tags & emojis", "Action buttons", "Limitations".

use futures::future::BoxFuture;
use heimdall_model::Severity;
use reqwest::Url;
use serde_json::{Value, json};

use super::config::{ChannelContext, ChannelError, NtfyChannelConfig, Secret};
use super::http::{Call, Http, web_url};
use super::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
use super::secret::SecretSource;
use super::text::{Measure, Telling, escaped};

/// Longest message (bytes).
const MESSAGE_BYTES_MAX: usize = 4_000;
/// Longest title (bytes).
const TITLE_BYTES_MAX: usize = 250;
/// Longest topic (characters).
const TOPIC_CHARS_MAX: usize = 64;

struct Ntfy {
    http: Http,
    server: Url,
    topic: SecretSource,
    token: Option<SecretSource>,
    base_url: Option<String>,
}

pub(crate) fn build(
    config: &NtfyChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let (given, file) = (config.topic.as_ref(), config.topic_file.as_deref());
    let topic = SecretSource::need("topic", given, "topic_file", file)?;
    if !is_topic(&topic.last()) {
        return Err(ChannelError::new("topic", "must be 1 to 64 letters, digits, `_` or `-`"));
    }
    let token =
        SecretSource::find("token", config.token.as_ref(), "token_file", config.token_file.as_deref())?;
    let server = web_url("server", &config.server)?;
    let http = Http::new("the ntfy server", config.timeout, config.ca_file.as_deref(), context.clock)?;
    Ok(Box::new(Ntfy { http, server, topic, token, base_url: context.base_url }))
}

fn is_topic(topic: &Secret) -> bool {
    let topic = topic.expose();
    let is_plain = topic.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    topic.len() <= TOPIC_CHARS_MAX && is_plain
}

impl Ntfy {
    async fn tell(&self, notice: &Notice) -> Result<Option<Receipt>, NotifyError> {
        let topic = self.topic.get().await;
        let mut body = message(notice, self.base_url.as_deref());
        body["topic"] = json!(topic.expose());
        let mut call = Call::json(self.server.clone(), &body).hiding(&topic);
        if let Some(token) = &self.token {
            call = call.authorised("Bearer", &token.get().await)?;
        }
        let answer = self.http.call(call).await?;
        let said = answer.json();
        match (answer.is_success(), said["id"].as_str()) {
            (true, Some(id)) => Ok(Some(Receipt(json!({"id": id})))),
            (true, None) => Err(answer.garbled()),
            (false, _) => Err(answer.refused(said["error"].as_str())),
        }
    }
}

fn message(notice: &Notice, base_url: Option<&str>) -> Value {
    let telling = Telling::of(notice, base_url);
    let (priority, tag) = match telling.severity {
        _ if telling.is_over => (2, "white_check_mark"),
        Severity::Critical => (5, "rotating_light"),
        Severity::Warning => (4, "warning"),
        Severity::Normal => (3, "information_source"),
    };
    let priority = if notice.kind == NoticeKind::Escalated { 5 } else { priority };
    let plain = |text: &str, max: usize| escaped(text, max, Measure::Bytes, |c, out| out.push(c));
    let mut text = String::new();
    for line in telling.lines() {
        let room = MESSAGE_BYTES_MAX.saturating_sub(text.len() + 1);
        let line = plain(&line, room);
        if !line.is_empty() {
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(&line);
        }
    }
    let mut body = json!({
        "title": plain(&telling.title, TITLE_BYTES_MAX),
        "message": text,
        "priority": priority,
        "tags": [tag, telling.severity.as_str().to_ascii_lowercase()],
    });
    if let Some(link) = telling.links.first() {
        body["click"] = json!(link.url);
        body["actions"] = json!([{"action": "view", "label": link.text, "url": link.url}]);
    }
    body
}

impl Notifier for Ntfy {
    fn kind(&self) -> &'static str {
        "ntfy"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        _previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice)))
    }
}
