//! Discord by webhook: one message per group, changed as the group changes; escalated, worse and over are messages of their own,
//! since a change makes no sound.
//!
//! Invariants:
//! - the address is in no error;
//! - nothing mentions anybody (`allowed_mentions` is empty), and text from records stands in code, where nothing links or formats.
//!
//! Source: docs.discord.com/developers: "Execute Webhook", "Edit Webhook Message", "Embed Limits", "Rate Limits".

use futures::future::BoxFuture;
use heimdall_model::Severity;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{ChannelContext, ChannelError, DiscordChannelConfig};
use super::http::{Answer, Call, Http, SecretUrl, below, pause};
use super::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
use super::text::{Measure, Telling, escaped};

/// Longest title of an embed (characters; the markup counts).
const TITLE_CHARS_MAX: usize = 256;
/// Longest description.
const DESCRIPTION_CHARS_MAX: usize = 4_096;
/// Most fields, and the longest name and value of one.
const FIELDS_MAX: usize = 25;
const NAME_CHARS_MAX: usize = 256;
const VALUE_CHARS_MAX: usize = 1_024;
/// All texts of an embed together.
const EMBED_CHARS_MAX: usize = 6_000;
/// What each part is given of it: 256 + 2,400 + 10 × (60 + 202) + 30 stays below.
const DESCRIPTION_CHARS: usize = 2_400;
const _: () = assert!(DESCRIPTION_CHARS <= DESCRIPTION_CHARS_MAX);
const FIELDS: usize = 10;
const NAME_CHARS: usize = 60;
const VALUE_CHARS: usize = 202;
const _: () = assert!(FIELDS <= FIELDS_MAX && NAME_CHARS <= NAME_CHARS_MAX && VALUE_CHARS <= VALUE_CHARS_MAX);
const _: () = assert!(
    TITLE_CHARS_MAX + DESCRIPTION_CHARS + FIELDS * (NAME_CHARS + VALUE_CHARS) + 30 <= EMBED_CHARS_MAX
);

struct Discord {
    http: Http,
    url: SecretUrl,
    base_url: Option<String>,
}

/// The message of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sent {
    id: String,
    severity: Severity,
}

pub(crate) fn build(
    config: &DiscordChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let (given, file) = (config.webhook_url.as_ref(), config.webhook_url_file.as_deref());
    let url = SecretUrl::need("webhook_url", given, "webhook_url_file", file)?;
    let http = Http::new("the Discord webhook", config.timeout, None, context.clock)?;
    Ok(Box::new(Discord { http, url, base_url: context.base_url }))
}

impl Discord {
    async fn tell(
        &self,
        notice: &Notice,
        previous: Option<&Receipt>,
    ) -> Result<Option<Receipt>, NotifyError> {
        let previous: Option<Sent> =
            previous.and_then(|receipt| serde_json::from_value(receipt.0.clone()).ok());
        let telling = Telling::of(notice, self.base_url.as_deref());
        let body = message(&telling, notice);
        let is_silent = matches!(notice.kind, NoticeKind::Updated | NoticeKind::Acknowledged);
        let known = previous.filter(|sent| is_silent && telling.severity <= sent.severity);
        let sent = match known {
            Some(sent) if self.edit(&body, &sent.id).await? => sent,
            _ => Sent { id: self.post(&body).await?, severity: telling.severity },
        };
        Ok(serde_json::to_value(sent).ok().map(Receipt))
    }

    async fn post(&self, body: &Value) -> Result<String, NotifyError> {
        let answer = self.call(Method::POST, body, |url| {
            url.query_pairs_mut().append_pair("wait", "true");
        });
        let answer = answer.await?;
        if !answer.is_success() {
            return Err(refused(&answer));
        }
        answer.json()["id"].as_str().map(str::to_owned).ok_or_else(|| answer.garbled())
    }

    /// Changes a message; false when it is not there any more.
    async fn edit(&self, body: &Value, id: &str) -> Result<bool, NotifyError> {
        let answer = self.call(Method::PATCH, body, |url| *url = below(url, &["messages", id])).await?;
        match answer.status.as_u16() {
            404 if answer.json()["code"] == 10_008 => Ok(false),
            _ if answer.is_success() => Ok(true),
            _ => Err(refused(&answer)),
        }
    }

    async fn call(
        &self,
        method: Method,
        body: &Value,
        place: impl FnOnce(&mut Url),
    ) -> Result<Answer, NotifyError> {
        let (mut url, secret) = self.url.get().await?;
        place(&mut url);
        let call = Call { method, ..Call::json(url, body).hiding(&secret) };
        self.http.call(call).await
    }
}

/// The error of an answer; its own pause is in the body, with fractions of a second.
fn refused(answer: &Answer) -> NotifyError {
    let said = answer.json();
    let mut error = answer.refused(said["message"].as_str());
    error.retry_after = said["retry_after"].as_f64().and_then(pause).or(error.retry_after);
    error
}

fn message(telling: &Telling, notice: &Notice) -> Value {
    let mut lines = vec![code(&telling.summary, 520)];
    lines.extend(telling.steps.iter().zip(1..).map(|(step, n)| format!("{n}. {}", code(step, 300))));
    lines.extend(telling.others.iter().map(|line| format!("- {}", code(line, 150))));
    lines.extend(telling.more_line());
    let fields = telling.fields.iter().take(FIELDS).map(|(name, value)| {
        json!({"name": plain(name, NAME_CHARS), "value": code(value, VALUE_CHARS), "inline": value.len() <= 40})
    });
    let mut embed = json!({
        "title": plain(&format!("{} {}", telling.sign(), telling.title), TITLE_CHARS_MAX),
        "description": fitting(&lines, DESCRIPTION_CHARS),
        "color": colour(telling),
        "fields": fields.collect::<Vec<_>>(),
        "timestamp": notice.at,
    });
    if let Some(link) = telling.links.first() {
        embed["url"] = json!(link.url);
    }
    json!({"embeds": [embed], "allowed_mentions": {"parse": []}})
}

const fn colour(telling: &Telling) -> u32 {
    match telling.severity {
        _ if telling.is_over => 0x2e_a0_43,
        Severity::Critical => 0xd7_3a_49,
        Severity::Warning => 0xe3_6f_09,
        Severity::Normal => 0x42_84_f3,
    }
}

/// The first lines that fit.
fn fitting(lines: &[String], chars_max: usize) -> String {
    let mut text = String::new();
    for line in lines {
        if Measure::Chars.of(&text) + Measure::Chars.of(line) + 1 > chars_max {
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// Text in a code span of at most this many characters; a backtick, which would end it, becomes an apostrophe.
fn code(text: &str, chars_max: usize) -> String {
    let text =
        escaped(text, chars_max - 2, Measure::Chars, |c, out| out.push(if c == '`' { '\'' } else { c }));
    if text.is_empty() { "–".to_owned() } else { format!("`{text}`") }
}

/// Text as Discord takes it literally outside of code; an address is kept from becoming a link.
fn plain(text: &str, chars_max: usize) -> String {
    let text = escaped(text, chars_max, Measure::Chars, |c, out| match c {
        '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']' | '(' | ')' | '@' | ':' | '-' => {
            out.extend(['\\', c]);
        }
        c => out.push(c),
    });
    if text.is_empty() { "–".to_owned() } else { text }
}

impl Notifier for Discord {
    fn kind(&self) -> &'static str {
        "discord"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice, previous)))
    }
}
