//! Telegram by a bot: one message per group, changed as the group changes; what people must hear is said in answer to it.
//!
//! Invariants:
//! - the token, which is part of every address, is in no error;
//! - text from records is escaped for Telegram's HTML and stands in `<code>`, where Telegram does not turn `@name`, `/command` or
//!   addresses into links as it does elsewhere; in titles, which are bold, an invisible word joiner keeps it from that.
//!
//! Source: core.telegram.org/bots/api: "sendMessage", "editMessageText", "HTML style", "ResponseParameters".

use futures::future::BoxFuture;
use heimdall_model::Severity;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{ChannelContext, ChannelError, TelegramChannelConfig};
use super::http::{Answer, Call, Http, below, pause, web_url};
use super::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
use super::secret::SecretSource;
use super::text::{Measure, Telling, escaped};

/// Longest text (UTF-16 code units after markup is read; Telegram allows 4,096, we count the markup too).
const TEXT_UNITS_MAX: usize = 4_096;
/// Room kept for the links at the end.
const LINKS_UNITS: usize = 700;

struct Telegram {
    http: Http,
    base: Url,
    token: SecretSource,
    chat_id: String,
    base_url: Option<String>,
}

/// The message of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sent {
    message_id: i64,
    severity: Severity,
}

pub(crate) fn build(
    config: &TelegramChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let (given, file) = (config.token.as_ref(), config.token_file.as_deref());
    let token = SecretSource::need("token", given, "token_file", file)?;
    let chat_id = config.chat_id.trim().to_owned();
    if chat_id.is_empty() {
        return Err(ChannelError::new("chat_id", "missing"));
    }
    let base = web_url("base_url", &config.base_url)?;
    let http = Http::new("Telegram", config.timeout, None, context.clock)?;
    Ok(Box::new(Telegram { http, base, token, chat_id, base_url: context.base_url }))
}

impl Telegram {
    async fn tell(
        &self,
        notice: &Notice,
        previous: Option<&Receipt>,
    ) -> Result<Option<Receipt>, NotifyError> {
        let previous: Option<Sent> =
            previous.and_then(|receipt| serde_json::from_value(receipt.0.clone()).ok());
        let is_new = matches!(notice.kind, NoticeKind::Raised | NoticeKind::Digest | NoticeKind::Test);
        let telling = Telling::of(notice, self.base_url.as_deref());
        let sent = match previous.filter(|_| !is_new) {
            Some(sent) if self.edit(&telling, &sent).await? => {
                let is_worse = telling.severity > sent.severity;
                if is_worse || matches!(notice.kind, NoticeKind::Escalated | NoticeKind::Resolved) {
                    self.answer(notice, &telling, &sent).await?;
                }
                Sent { severity: sent.severity.max(telling.severity), ..sent }
            }
            _ => self.post(&telling).await?,
        };
        Ok(serde_json::to_value(sent).ok().map(Receipt))
    }

    async fn post(&self, telling: &Telling) -> Result<Sent, NotifyError> {
        let answer = self.call("sendMessage", json!({"text": text(telling)})).await?;
        let said = checked(&answer)?;
        let message_id = said["result"]["message_id"].as_i64().ok_or_else(|| answer.garbled())?;
        Ok(Sent { message_id, severity: telling.severity })
    }

    /// Changes the message; false when there is none any more that can be changed.
    async fn edit(&self, telling: &Telling, sent: &Sent) -> Result<bool, NotifyError> {
        let body = json!({"text": text(telling), "message_id": sent.message_id});
        let answer = self.call("editMessageText", body).await?;
        let said = answer.json();
        let reason = said["description"].as_str().unwrap_or_default();
        let is = |words: &str| answer.status.as_u16() == 400 && reason.contains(words);
        if is("message is not modified") {
            return Ok(true);
        }
        if is("message to edit not found") || is("message can't be edited") {
            return Ok(false);
        }
        checked(&answer).map(|_| true)
    }

    async fn answer(&self, notice: &Notice, telling: &Telling, sent: &Sent) -> Result<(), NotifyError> {
        let text = format!("<b>{}</b>\n<code>{}</code>", title(telling), escape(&notice.reason, 1_000));
        let to = json!({"message_id": sent.message_id, "allow_sending_without_reply": true});
        let answer = self.call("sendMessage", json!({"text": text, "reply_parameters": to})).await?;
        checked(&answer).map(|_| ())
    }

    async fn call(&self, method: &str, mut body: Value) -> Result<Answer, NotifyError> {
        let token = self.token.get().await;
        body["chat_id"] = json!(self.chat_id);
        body["parse_mode"] = json!("HTML");
        body["link_preview_options"] = json!({"is_disabled": true});
        let url = below(&self.base, &[&format!("bot{}", token.expose()), method]);
        self.http.call(Call::json(url, &body).hiding(&token)).await
    }
}

/// The answer when it says `ok`; its own pause counts, which is in the body.
fn checked(answer: &Answer) -> Result<Value, NotifyError> {
    let said = answer.json();
    match (answer.is_success(), said["ok"].as_bool()) {
        (true, Some(true)) => Ok(said),
        (true, _) => Err(answer.garbled()),
        (false, _) => {
            let mut error = answer.refused(said["description"].as_str());
            let asked = said["parameters"]["retry_after"].as_f64().and_then(pause);
            error.retry_after = asked.or(error.retry_after);
            Err(error)
        }
    }
}

/// The message in Telegram's HTML. Lines are left out from the end when there is no room.
fn text(telling: &Telling) -> String {
    let mut text = format!("<b>{}</b>", title(telling));
    let mut add = |name: &str, value: &str| {
        let name = escape(name, 100);
        let room = (TEXT_UNITS_MAX - LINKS_UNITS).saturating_sub(Measure::Utf16.of(&text) + 120);
        let value = escape(value, room);
        if !value.is_empty() {
            text.push_str(&format!("\n{name}<code>{value}</code>"));
        }
    };
    add("", &telling.summary);
    telling.fields.iter().for_each(|(name, value)| add(&format!("{name}:\u{a0}"), value));
    telling.steps.iter().zip(1..).for_each(|(step, n)| add(&format!("do {n}.\u{a0}"), step));
    telling.others.iter().for_each(|line| add("•\u{a0}", line));
    telling.more_line().iter().for_each(|line| add("", line));
    for link in &telling.links {
        let line = format!("\n<a href=\"{}\">{}</a>", link.url.replace('&', "&amp;"), link.text);
        if Measure::Utf16.of(&text) + Measure::Utf16.of(&line) <= TEXT_UNITS_MAX {
            text.push_str(&line);
        }
    }
    text
}

fn title(telling: &Telling) -> String {
    unlinked(&format!("{} {}", telling.sign(), telling.title), 1_000)
}

/// Text as Telegram takes it literally, within `<code>`.
fn escape(text: &str, units_max: usize) -> String {
    escaped(text, units_max, Measure::Utf16, escape_char)
}

/// Text as Telegram takes it literally, where it looks for links.
fn unlinked(text: &str, units_max: usize) -> String {
    escaped(text, units_max, Measure::Utf16, |c, out| {
        escape_char(c, out);
        if matches!(c, '@' | '/' | '.' | '#' | '$') {
            out.push('\u{2060}');
        }
    })
}

fn escape_char(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        c => out.push(c),
    }
}

impl Notifier for Telegram {
    fn kind(&self) -> &'static str {
        "telegram"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice, previous)))
    }
}
