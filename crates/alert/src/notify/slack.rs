//! Slack by incoming webhook: one message per alert.
//!
//! Invariants:
//! - the webhook's address is a secret: it is in no error, log or `Debug` output;
//! - text from records is escaped, so that it cannot mention people, link or format;
//! - every part stays within Slack's limits.
//!
//! Source: docs.slack.dev, "Sending messages using incoming webhooks", "Formatting message text", "Rate limits".

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::Alert;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde_json::{Value, json};

use super::one_line;
use crate::dispatch::{Notifier, NotifyError};
use crate::stream::AlertChange;

/// Longest header (characters; Slack allows 150).
const HEADER_CHARS_MAX: usize = 150;
/// Longest text of a section (characters; Slack allows 3,000, of which escaping may use up to five each).
const SECTION_CHARS_MAX: usize = 500;
/// Longest text of one field (characters; Slack allows 2,000).
const FIELD_CHARS_MAX: usize = 200;
/// Mitigation steps shown; each up to [`FIELD_CHARS_MAX`].
const STEPS_MAX: usize = 2;

/// Time one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The secret address of a webhook.
#[derive(Clone)]
pub struct WebhookUrl(Url);

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl(…)")
    }
}

/// The channel cannot be set up. No variant shows the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlackError {
    /// The address is not an `http` or `https` one.
    #[error("the Slack webhook address is not a http(s) URL")]
    Url,
    /// The HTTP client cannot be built.
    #[error("could not set up the HTTP client of the Slack channel")]
    Client(#[source] reqwest::Error),
}

impl WebhookUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// [`SlackError::Url`].
    pub fn parse(text: &str) -> Result<WebhookUrl, SlackError> {
        let url = Url::parse(text.trim()).map_err(|_| SlackError::Url)?;
        if matches!(url.scheme(), "http" | "https") { Ok(WebhookUrl(url)) } else { Err(SlackError::Url) }
    }
}

/// Posts one message per alert.
pub struct SlackWebhook {
    url: WebhookUrl,
    client: Client,
}

impl SlackWebhook {
    /// A channel to this webhook; one attempt takes at most 5 s. Needs a default rustls provider to be installed.
    ///
    /// # Errors
    /// [`SlackError::Client`].
    pub fn new(url: WebhookUrl) -> Result<SlackWebhook, SlackError> {
        SlackWebhook::with_timeout(url, TIMEOUT)
    }

    fn with_timeout(url: WebhookUrl, timeout: Duration) -> Result<SlackWebhook, SlackError> {
        let client = Client::builder()
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(SlackError::Client)?;
        Ok(SlackWebhook { url, client })
    }

    async fn post(&self, change: &AlertChange) -> Result<(), NotifyError> {
        let sent = self.client.post(self.url.0.clone()).json(&message(change)).send().await;
        let response = sent.map_err(|error| unreachable_webhook(&error))?;
        if response.status().is_success() { Ok(()) } else { Err(refused(&response)) }
    }
}

impl Notifier for SlackWebhook {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn notify<'a>(&'a self, change: &'a AlertChange) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(self.post(change))
    }
}

/// The text is made from the kind of error alone: reqwest's own names the address.
fn unreachable_webhook(error: &reqwest::Error) -> NotifyError {
    let detail = if error.is_timeout() {
        "the Slack webhook did not answer in time"
    } else if error.is_connect() {
        "the Slack webhook cannot be reached"
    } else {
        "the request to the Slack webhook failed"
    };
    NotifyError { is_retryable: true, retry_after: None, detail: detail.to_owned() }
}

fn refused(response: &Response) -> NotifyError {
    let status = response.status();
    let is_retryable = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    let seconds =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    NotifyError {
        is_retryable,
        retry_after: seconds.map(Duration::from_secs),
        detail: format!("the Slack webhook answered {}", status.as_u16()),
    }
}

/// The message: `text` for notifications and old clients, `blocks` for the rest.
fn message(change: &AlertChange) -> Value {
    let alert = change.alert();
    let kind = if matches!(change, AlertChange::Raised(_)) { "" } else { "escalated: " };
    let headline = format!("{kind}{} {}: {}", alert.severity, alert.priority.as_str(), alert.title);
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": cut(&headline, HEADER_CHARS_MAX)}}),
        section(&escaped(&alert.summary, SECTION_CHARS_MAX)),
        json!({"type": "section", "fields": fields(alert)}),
    ];
    if !alert.mitigation.is_empty() {
        let steps = alert.mitigation.iter().take(STEPS_MAX).zip(1..);
        let steps: Vec<String> =
            steps.map(|(step, n)| format!("{n}. {}", escaped(step, FIELD_CHARS_MAX))).collect();
        blocks.push(section(&format!("*What to do now*\n{}", steps.join("\n"))));
    }
    let context = format!("alert `{}` · rule `{}`", alert.id, escaped(&alert.rule, FIELD_CHARS_MAX));
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": context}]}));
    let place = format!("{}={}", alert.entity.kind, alert.entity.value);
    let text = format!("{headline} ({place}) {}", alert.summary);
    json!({"text": escaped(&text, SECTION_CHARS_MAX), "blocks": blocks})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

fn fields(alert: &Alert) -> Vec<Value> {
    let field = |name: &str, value: &str| json!({"type": "mrkdwn", "text": format!("*{name}*\n{}", escaped(value, FIELD_CHARS_MAX))});
    let mut fields = vec![field(&alert.entity.kind, &alert.entity.value)];
    if let Some(service) = alert.service.as_ref().filter(|_| alert.entity.kind != "service") {
        fields.push(field("service", service));
    }
    fields.push(field("seen", &format!("{} times", alert.count)));
    fields.push(field("since", &alert.first_seen.to_string()));
    fields.push(field("tenant", alert.tenant.as_str()));
    fields
}

/// Text from a record as Slack's markup takes it literally, on one line, cut before it is escaped.
fn escaped(text: &str, chars_max: usize) -> String {
    let text = cut(text, chars_max);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "'")
}

fn cut(text: &str, chars_max: usize) -> String {
    let line = one_line(text);
    match line.char_indices().nth(chars_max - 1) {
        Some((at, _)) if line[at..].chars().count() > 1 => format!("{}…", &line[..at]),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::raise;
    use crate::lifecycle::tests::verdict;
    use heimdall_model::Timestamp;
    use std::sync::Arc;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    fn change() -> AlertChange {
        let mut alert = raise(verdict("10.0.0.1", 1), "fp".into(), None, Timestamp(0));
        alert.summary = "<!channel> *12* failures & more".to_owned();
        AlertChange::Raised(Arc::new(alert))
    }

    /// Takes one request and gives this answer, or none; returns the body it got.
    async fn receive(listener: &TcpListener, answer: Option<&str>) -> Value {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        match answer {
            Some(head) => stream
                .write_all(
                    format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes(),
                )
                .await
                .unwrap(),
            // Silence until the client gives up.
            None => assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0),
        }
        serde_json::from_slice(&body).unwrap()
    }

    /// One attempt against a receiver with this answer.
    async fn attempt(answer: Option<&str>, timeout: Duration) -> (Result<(), NotifyError>, Value) {
        // A second install, by another test, is refused and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/services/T0/B0/s3cret", listener.local_addr().unwrap());
        let slack = SlackWebhook::with_timeout(WebhookUrl::parse(&url).unwrap(), timeout).unwrap();
        let change = change();
        let (outcome, body) = tokio::join!(slack.notify(&change), receive(&listener, answer));
        (outcome, body)
    }

    #[tokio::test]
    async fn a_message_is_complete_and_record_text_is_literal() {
        let (outcome, body) = attempt(Some("200 OK"), TIMEOUT).await;
        outcome.unwrap();
        assert_eq!(body["blocks"][0]["text"]["text"], "WARNING P2: Failed logins");
        assert_eq!(body["blocks"][1]["text"]["text"], "&lt;!channel&gt; *12* failures &amp; more");
        assert_eq!(body["blocks"][3]["text"]["text"], "*What to do now*\n1. block the address");
        let text = body["text"].as_str().unwrap();
        assert!(text.contains("source_ip=10.0.0.1") && !text.contains("<!channel>"), "{text}");
        assert!(body["blocks"][2]["fields"].as_array().unwrap().len() <= 10);
    }

    #[tokio::test]
    async fn misbehaviour_is_told_apart_and_never_shows_the_address() {
        for (answer, timeout, is_retryable, retry_after, detail) in [
            (Some("500 Oops"), TIMEOUT, true, None, "the Slack webhook answered 500"),
            (Some("429 Slow\r\nRetry-After: 30"), TIMEOUT, true, Some(30), "the Slack webhook answered 429"),
            (Some("404 no_service"), TIMEOUT, false, None, "the Slack webhook answered 404"),
            (
                Some("302 Found\r\nLocation: http://127.0.0.1:1/"),
                TIMEOUT,
                false,
                None,
                "the Slack webhook answered 302",
            ),
            (None, Duration::from_millis(100), true, None, "the Slack webhook did not answer in time"),
        ] {
            let retry_after = retry_after.map(Duration::from_secs);
            let expected = NotifyError { is_retryable, retry_after, detail: detail.to_owned() };
            assert_eq!(attempt(answer, timeout).await.0, Err(expected), "{answer:?}");
        }
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let url = WebhookUrl::parse(&format!("http://{closed}/s3cret")).unwrap();
        let error = SlackWebhook::new(url.clone()).unwrap().notify(&change()).await.unwrap_err();
        assert_eq!(error.detail, "the Slack webhook cannot be reached");
        assert!(error.is_retryable && !format!("{url:?}").contains("s3cret"));
    }

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert!(
            WebhookUrl::parse("ftp://x/s3cret").is_err_and(|error| !error.to_string().contains("s3cret"))
        );
    }
}
