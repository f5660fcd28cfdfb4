//! Slack: an incoming webhook, which can only say; or a bot, which keeps one message per group true and answers in its thread.
//!
//! Invariants:
//! - token and webhook address are in no error;
//! - text from records is in `plain_text` objects, escaped: it cannot mention people, link or format;
//! - every part stays within Slack's limits, whatever the texts are.
//!
//! The bot posts a new message when the group is new, and changes that message afterwards. Changing a message makes no sound,
//! so what people must hear (escalated, worse, over) is said in its thread besides.
//!
//! Source: docs.slack.dev: "Sending messages using incoming webhooks", `chat.postMessage`, `chat.update`, "Rate limits".

mod inbound;
mod message;

use futures::future::BoxFuture;
use heimdall_model::Severity;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::inbound::{SlackAction, SlackActionKind, parse_interaction, verify};
use super::config::{ChannelContext, ChannelError, SlackChannelConfig};
use super::http::{Answer, Call, Http, SecretUrl, below, web_url};
use super::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
use super::secret::SecretSource;
use super::text;

/// Errors of the Web API after which the same call may succeed.
const PASSING: &[&str] = &[
    "ratelimited",
    "rate_limited",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
];
/// Errors that say that the earlier message cannot be changed any more, so that a new one is needed.
const GONE: &[&str] = &[
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "thread_not_found",
    "channel_not_found",
];

struct Webhook {
    http: Http,
    url: SecretUrl,
    style: message::Style,
}

struct Bot {
    http: Http,
    base: Url,
    token: SecretSource,
    channel: String,
    style: message::Style,
}

/// The bot's message of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Posted {
    channel: String,
    ts: String,
    /// The worst that people heard of.
    severity: Severity,
}

pub(crate) fn build(
    config: &SlackChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let style = message::Style { is_interactive: config.interactive, base_url: context.base_url };
    let token =
        SecretSource::find("token", config.token.as_ref(), "token_file", config.token_file.as_deref())?;
    let has_webhook = config.webhook_url.is_some() || config.webhook_url_file.is_some();
    let Some(token) = token else {
        let (given, file) = (config.webhook_url.as_ref(), config.webhook_url_file.as_deref());
        let url = SecretUrl::need("webhook_url", given, "webhook_url_file", file)?;
        let http = Http::new("the Slack webhook", config.timeout, None, context.clock)?;
        return Ok(Box::new(Webhook { http, url, style }));
    };
    if has_webhook {
        return Err(ChannelError::new("token", "give it or `webhook_url`, not both"));
    }
    let channel = config.channel.clone().filter(|channel| !channel.trim().is_empty());
    let channel = channel.ok_or_else(|| ChannelError::new("channel", "needed with `token`"))?;
    let base = web_url("base_url", &config.base_url)?;
    let http = Http::new("Slack", config.timeout, None, context.clock)?;
    Ok(Box::new(Bot { http, base, token, channel, style }))
}

impl Webhook {
    async fn tell(&self, notice: &Notice) -> Result<Option<Receipt>, NotifyError> {
        let (url, secret) = self.url.get().await?;
        let call = Call::json(url, &message::of(notice, &self.style)).hiding(&secret);
        let answer = self.http.call(call).await?;
        // A webhook says why in a word: `invalid_blocks`, `no_service`. Servers that speak like Slack say other things than `ok`.
        let said = String::from_utf8_lossy(&answer.body).trim().to_owned();
        match answer.is_success() {
            true if answer.is_page() => Err(answer.garbled()),
            true => Ok(None),
            false => Err(answer.refused(Some(said.as_str()).filter(|said| is_code(said)))),
        }
    }
}

/// Whether a text is a code such as `channel_not_found`, not a page.
fn is_code(text: &str) -> bool {
    text.len() <= 100 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

impl Bot {
    async fn tell(
        &self,
        notice: &Notice,
        previous: Option<&Receipt>,
    ) -> Result<Option<Receipt>, NotifyError> {
        let previous: Option<Posted> =
            previous.and_then(|receipt| serde_json::from_value(receipt.0.clone()).ok());
        let is_new = matches!(notice.kind, NoticeKind::Raised | NoticeKind::Digest | NoticeKind::Test);
        let posted = match previous.filter(|_| !is_new) {
            Some(posted) => match self.change(notice, &posted).await? {
                Some(posted) => posted,
                None => self.post(notice).await?,
            },
            None => self.post(notice).await?,
        };
        Ok(serde_json::to_value(posted).ok().map(Receipt))
    }

    async fn post(&self, notice: &Notice) -> Result<Posted, NotifyError> {
        let mut body = message::of(notice, &self.style);
        body["channel"] = json!(self.channel);
        let (answer, said) = self.call("chat.postMessage", &body).await?;
        if let Some(error) = said["error"].as_str() {
            return Err(refused(&answer, error));
        }
        match (said["channel"].as_str(), said["ts"].as_str()) {
            (Some(channel), Some(ts)) => {
                let severity = text::severity(notice);
                Ok(Posted { channel: channel.to_owned(), ts: ts.to_owned(), severity })
            }
            _ => Err(answer.garbled()),
        }
    }

    /// Changes the message and says aloud what people must hear; none when there is no message to change any more.
    async fn change(&self, notice: &Notice, posted: &Posted) -> Result<Option<Posted>, NotifyError> {
        let mut body = message::of(notice, &self.style);
        body["channel"] = json!(posted.channel);
        body["ts"] = json!(posted.ts);
        let (answer, said) = self.call("chat.update", &body).await?;
        match said["error"].as_str() {
            Some(error) if GONE.contains(&error) => return Ok(None),
            Some(error) => return Err(refused(&answer, error)),
            None => {}
        }
        let is_worse = text::severity(notice) > posted.severity;
        if is_worse || matches!(notice.kind, NoticeKind::Escalated | NoticeKind::Resolved) {
            self.reply(notice, posted, is_worse).await?;
        }
        let severity = posted.severity.max(text::severity(notice));
        Ok(Some(Posted { severity, ..posted.clone() }))
    }

    async fn reply(&self, notice: &Notice, posted: &Posted, is_worse: bool) -> Result<(), NotifyError> {
        let mut body = message::reply(notice, &self.style);
        body["channel"] = json!(posted.channel);
        body["thread_ts"] = json!(posted.ts);
        body["reply_broadcast"] = json!(is_worse || notice.kind == NoticeKind::Escalated);
        let (answer, said) = self.call("chat.postMessage", &body).await?;
        said["error"].as_str().map_or(Ok(()), |error| Err(refused(&answer, error)))
    }

    /// Calls a method; the answer has `ok` true or an `error`.
    async fn call(&self, method: &str, body: &Value) -> Result<(Answer, Value), NotifyError> {
        let token = self.token.get().await;
        let call = Call::json(below(&self.base, &[method]), body).authorised("Bearer", &token)?;
        let answer = self.http.call(call).await?;
        let said = answer.json();
        match (answer.is_success(), said["ok"].as_bool(), said["error"].as_str()) {
            (false, ..) => Err(answer.refused(said["error"].as_str())),
            (true, Some(true), _) => Ok((answer, Value::Object(without_error(said)))),
            (true, Some(false), Some(_)) => Ok((answer, said)),
            _ => Err(answer.garbled()),
        }
    }
}

/// An answer that says `ok` has no error, only warnings.
fn without_error(said: Value) -> serde_json::Map<String, Value> {
    let Value::Object(mut said) = said else { return serde_json::Map::new() };
    said.remove("error");
    said
}

fn refused(answer: &Answer, error: &str) -> NotifyError {
    answer.error(PASSING.contains(&error), error)
}

impl Notifier for Webhook {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        _previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice)))
    }
}

impl Notifier for Bot {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice, previous)))
    }
}
