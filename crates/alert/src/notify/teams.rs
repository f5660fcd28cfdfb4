//! Microsoft Teams: an Adaptive Card per notice, through a Workflows webhook ("Post to a channel when a webhook request is
//! received").
//!
//! Invariants:
//! - the address is in no error;
//! - text from records is in `TextRun`s, which know no Markdown: it cannot format or link, and mentions need an entity, which no
//!   card of ours has;
//! - a card stays below Teams' 28 KB.
//!
//! A workflow does not say which message it made, so a card is never changed: each notice is a message.
//!
//! Source: learn.microsoft.com: "Create and send messages" (Adaptive Cards by webhook), adaptivecards.io: `RichTextBlock`.

use futures::future::BoxFuture;
use heimdall_model::Severity;
use serde_json::{Value, json};

use super::config::{ChannelContext, ChannelError, TeamsChannelConfig};
use super::http::{Call, Http, SecretUrl};
use super::notice::{Notice, Notifier, NotifyError, Receipt};
use super::text::Telling;

/// Bytes of a card's elements; with its frame and link it stays below Teams' 28 KB.
const BODY_BYTES_MAX: usize = 24_000;

struct Teams {
    http: Http,
    url: SecretUrl,
    base_url: Option<String>,
}

pub(crate) fn build(
    config: &TeamsChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let (given, file) = (config.webhook_url.as_ref(), config.webhook_url_file.as_deref());
    let url = SecretUrl::need("webhook_url", given, "webhook_url_file", file)?;
    let http = Http::new("the Teams workflow", config.timeout, None, context.clock)?;
    Ok(Box::new(Teams { http, url, base_url: context.base_url }))
}

impl Teams {
    async fn tell(&self, notice: &Notice) -> Result<Option<Receipt>, NotifyError> {
        let (url, secret) = self.url.get().await?;
        let call = Call::json(url, &message(notice, self.base_url.as_deref())).hiding(&secret);
        let answer = self.http.call(call).await?;
        match answer.is_success() {
            true if answer.is_page() => Err(answer.garbled()),
            true => Ok(None),
            false => Err(answer.refused(answer.json()["error"]["message"].as_str())),
        }
    }
}

fn message(notice: &Notice, base_url: Option<&str>) -> Value {
    let telling = Telling::of(notice, base_url);
    let actions: Vec<Value> = telling
        .links
        .iter()
        .map(|link| json!({"type": "Action.OpenUrl", "title": link.text, "url": link.url}))
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "fallbackText": telling.title,
                "body": body(&telling),
                "actions": actions,
            },
        }],
    })
}

fn body(telling: &Telling) -> Vec<Value> {
    let colour = match telling.severity {
        _ if telling.is_over => "Good",
        Severity::Critical => "Attention",
        Severity::Warning => "Warning",
        Severity::Normal => "Accent",
    };
    let mut title = run(&format!("{} {}", telling.sign(), telling.title));
    title["size"] = json!("Large");
    title["weight"] = json!("Bolder");
    title["color"] = json!(colour);
    let mut body = vec![block(vec![title]), block(vec![run(&telling.summary)])];
    body.extend(
        telling.fields.iter().map(|(name, value)| block(vec![bold(&format!("{name}: ")), run(value)])),
    );
    if !telling.steps.is_empty() {
        body.push(block(vec![bold("What to do now")]));
        let steps = telling.steps.iter().zip(1..);
        body.extend(steps.map(|(step, n)| block(vec![run(&format!("{n}. {step}"))])));
    }
    body.extend(telling.others.iter().map(|line| block(vec![run(&format!("• {line}"))])));
    body.extend(telling.more_line().map(|line| block(vec![run(&line)])));
    fitting(body)
}

/// The first elements that fit; the last ones tell least.
fn fitting(body: Vec<Value>) -> Vec<Value> {
    let mut bytes = 0;
    let fits = |element: &Value| {
        bytes += element.to_string().len() + 1;
        bytes <= BODY_BYTES_MAX
    };
    body.into_iter().take_while(fits).collect()
}

fn block(inlines: Vec<Value>) -> Value {
    json!({"type": "RichTextBlock", "inlines": inlines})
}

fn run(text: &str) -> Value {
    json!({"type": "TextRun", "text": text})
}

fn bold(text: &str) -> Value {
    json!({"type": "TextRun", "text": text, "weight": "Bolder"})
}

impl Notifier for Teams {
    fn kind(&self) -> &'static str {
        "teams"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        _previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice)))
    }
}
