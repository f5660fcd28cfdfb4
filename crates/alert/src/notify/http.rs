//! One attempt over HTTP, the same for every channel: a deadline, no redirects, a bounded answer, errors without secrets.
//!
//! Invariants:
//! - an attempt ends within its deadline, however many requests it makes;
//! - a redirect is not followed: it could carry a secret elsewhere;
//! - at most [`ANSWER_BYTES_MAX`] of an answer are read;
//! - no error shows an address or a header, and what the other side says is cut and cleaned of the secrets sent.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::{Clock, Timestamp};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url, redirect};
use serde_json::Value;

use super::config::{AttemptTimeout, ChannelError, Secret};
use super::notice::NotifyError;
use super::secret::SecretSource;
use super::text::cut;

/// Bytes of an answer that are read; what is needed of it is at its start.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest pause another side can ask for; longer ones count as this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Characters of what the other side says that errors repeat.
const SAID_CHARS_MAX: usize = 200;

/// Parts of a secret address from this length on (bytes) are hidden by themselves; shorter ones are words such as `api`.
const SECRET_PART_BYTES_MIN: usize = 8;

/// A client of one channel.
pub(crate) struct Http {
    client: Client,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    /// The other side in words, such as `the Slack webhook`.
    who: &'static str,
}

/// A request.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// What must not come back in an error.
    pub(crate) secrets: Vec<Secret>,
}

impl Call {
    /// A POST of JSON.
    pub(crate) fn json(url: Url, body: &Value) -> Call {
        Call::bytes(url, body.to_string().into_bytes())
    }

    /// A POST of bytes that are JSON.
    pub(crate) fn bytes(url: Url, body: Vec<u8>) -> Call {
        let headers = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        )]);
        Call { method: Method::POST, url, headers, body, secrets: Vec::new() }
    }

    /// With `Authorization: <scheme> <secret>`.
    pub(crate) fn authorised(self, scheme: &str, secret: &Secret) -> Result<Call, NotifyError> {
        self.with_secret_header(AUTHORIZATION, &format!("{scheme} {}", secret.expose()), secret)
    }

    /// With a header whose value is, or holds, a secret.
    pub(crate) fn with_secret_header(
        mut self,
        name: HeaderName,
        value: &str,
        secret: &Secret,
    ) -> Result<Call, NotifyError> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            later(format!("the secret for the header `{name}` has characters no header takes"))
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        self.secrets.push(secret.clone());
        Ok(self)
    }

    /// With a secret that is in the address or the body.
    pub(crate) fn hiding(mut self, secret: &Secret) -> Call {
        self.secrets.push(secret.clone());
        self
    }
}

/// What came back, whatever the status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    retry_after: Option<Duration>,
    secrets: Vec<Secret>,
    who: &'static str,
}

impl Http {
    pub(crate) fn new(
        who: &'static str,
        timeout: AttemptTimeout,
        ca_file: Option<&Path>,
        clock: Arc<dyn Clock>,
    ) -> Result<Http, ChannelError> {
        let mut builder = Client::builder()
            .timeout(timeout.0)
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("heimdall/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = ca_file {
            builder = builder.tls_certs_merge(certificates(path)?);
        }
        let client = builder
            .build()
            .map_err(|error| ChannelError::new("type", format!("could not set up HTTP: {}", cause(error))))?;
        Ok(Http { client, timeout: timeout.0, clock, who })
    }

    /// The present.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs one attempt, which may be several requests, within the deadline.
    pub(crate) async fn attempt<T>(
        &self,
        work: impl Future<Output = Result<T, NotifyError>>,
    ) -> Result<T, NotifyError> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.slow()),
        }
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, NotifyError> {
        let request = self.client.request(call.method, call.url).headers(call.headers).body(call.body);
        let failed = |error: reqwest::Error| self.failed(error, &call.secrets);
        let mut response = request.send().await.map_err(failed)?;
        let (status, retry_after) = (response.status(), self.retry_after(&response));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            let room = ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        Ok(Answer { status, body, retry_after, secrets: call.secrets, who: self.who })
    }

    fn slow(&self) -> NotifyError {
        later(format!("{} did not answer in time", self.who))
    }

    /// The text is made without reqwest's own, which names the address.
    fn failed(&self, error: reqwest::Error, secrets: &[Secret]) -> NotifyError {
        if error.is_timeout() {
            return self.slow();
        }
        let what = if error.is_connect() { "cannot be reached" } else { "did not take the request" };
        later(format!("{} {what}: {}", self.who, cleaned(&cause(error), secrets)))
    }

    fn retry_after(&self, response: &Response) -> Option<Duration> {
        let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
        let seconds = text.parse().ok().map(Duration::from_secs);
        let until = || {
            let ns = Timestamp::parse(text)?.0.saturating_sub(self.clock.now().0);
            Some(Duration::from_nanos(ns.max(0).unsigned_abs()))
        };
        seconds.or_else(until).map(|pause| pause.min(RETRY_AFTER_MAX))
    }
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Whether it is a web page: a portal or a proxy answered in place of the other side.
    pub(crate) fn is_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    /// The answer as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The error that a status other than success is, with what the other side says besides.
    pub(crate) fn refused(&self, said: Option<&str>) -> NotifyError {
        let is_busy = matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY
        );
        let note = if self.status.is_redirection() { ", a redirect, which is not followed" } else { "" };
        NotifyError {
            is_retryable: is_busy || self.status.is_server_error(),
            retry_after: self.retry_after,
            detail: format!("{} answered {}{note}{}", self.who, self.status.as_u16(), self.said(said)),
        }
    }

    /// The error that an answer is which is not what its documentation says. What it was asked may have been done.
    pub(crate) fn garbled(&self) -> NotifyError {
        later(format!("{} answered {} with something else than documented", self.who, self.status.as_u16()))
    }

    /// An error told within an answer.
    pub(crate) fn error(&self, is_retryable: bool, said: &str) -> NotifyError {
        let detail = format!("{} refused{}", self.who, self.said(Some(said)));
        NotifyError { is_retryable, retry_after: self.retry_after, detail }
    }

    fn said(&self, said: Option<&str>) -> String {
        let said = said.map(|text| cleaned(text, &self.secrets)).filter(|text| !text.is_empty());
        said.map(|text| format!(": {text}")).unwrap_or_default()
    }
}

/// A pause the other side asks for in its answer, in seconds.
pub(crate) fn pause(seconds: f64) -> Option<Duration> {
    let pause = Duration::try_from_secs_f64(seconds).ok()?;
    Some(pause.min(RETRY_AFTER_MAX))
}

/// An error that may be gone later.
pub(crate) fn later(detail: String) -> NotifyError {
    NotifyError { is_retryable: true, retry_after: None, detail }
}

/// What the other side said, without the secrets sent to it, on one line, cut.
pub(crate) fn cleaned(text: &str, secrets: &[Secret]) -> String {
    let hide = |text: String, secret: &String| text.replace(secret.as_str(), "…");
    let hidden =
        secrets.iter().flat_map(telling_parts).collect::<Vec<_>>().iter().fold(text.to_owned(), hide);
    cut(&hidden, SAID_CHARS_MAX)
}

/// A secret, and of an address the parts that are secret by themselves, the longest first.
fn telling_parts(secret: &Secret) -> Vec<String> {
    let mut parts = vec![secret.expose().to_owned()];
    if let Some(url) = parse(secret.expose()) {
        let segments = url.path_segments().into_iter().flatten().map(str::to_owned);
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        let user = [url.username().to_owned(), url.password().unwrap_or_default().to_owned()];
        parts.extend(segments.chain(values).chain(user).filter(|part| part.len() >= SECRET_PART_BYTES_MIN));
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts
}

/// The innermost cause of a failure: the outer ones name the address.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The address of an API.
pub(crate) fn web_url(key: &'static str, text: &str) -> Result<Url, ChannelError> {
    parse(text).ok_or_else(|| ChannelError::new(key, "must be a `http` or `https` address"))
}

fn parse(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// An address below another: `https://host/prefix` and `v2/alerts`. Each part is taken as it is, without its own slashes.
pub(crate) fn below(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    url
}

/// A secret address.
pub(crate) struct SecretUrl {
    key: &'static str,
    source: SecretSource,
}

impl SecretUrl {
    /// The address given by `key` or by the file that `file_key` names.
    pub(crate) fn need(
        key: &'static str,
        given: Option<&Secret>,
        file_key: &'static str,
        file: Option<&Path>,
    ) -> Result<SecretUrl, ChannelError> {
        let source = SecretSource::need(key, given, file_key, file)?;
        web_url(key, source.last().expose())?;
        Ok(SecretUrl { key, source })
    }

    /// The address as it is now, and the secret in it.
    pub(crate) async fn get(&self) -> Result<(Url, Secret), NotifyError> {
        let secret = self.source.get().await;
        let url = parse(secret.expose())
            .ok_or_else(|| later(format!("`{}` must be a `http` or `https` address", self.key)))?;
        Ok((url, secret))
    }
}

/// The certificates in a file.
fn certificates(path: &Path) -> Result<Vec<Certificate>, ChannelError> {
    let wrong = |why: &dyn std::fmt::Display| {
        ChannelError::new("ca_file", format!("could not read `{}`: {why}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|error| wrong(&error.kind()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|_| wrong(&"it holds no certificates"))?;
    if found.is_empty() { Err(wrong(&"it holds no certificates")) } else { Ok(found) }
}
