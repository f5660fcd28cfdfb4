//! The chat-completions API of OpenAI, which gateways and local servers speak too.
//!
//! Invariants:
//! - one call is one request, which ends within the timeout; redirects are not followed: text goes where the operator said;
//! - at most [`BODY_BYTES_MAX`] bytes of an answer are read, whatever its head says;
//! - the key is in no error, log or `Debug` output, and neither is text of the other side, which may repeat it.
//!
//! Source: platform.openai.com, "API reference: Chat completions", "Error codes"; RFC 9110, 10.2.3 (Retry-After).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::{Clock, Timestamp};
use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{AnswerFormat, ApiKey, ConfigError, LlmConfig};
use crate::model::{Completion, LanguageModel, ModelError, Prompt, Usage};

/// Most bytes of an answer: some ten times what the largest sensible one has.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 10;
/// Most bytes read of an answer that is a refusal, for its code.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Codes of refusals that help the operator. Others are not shown: they are text of the other side.
const KNOWN_CODES: &[&str] = &[
    "insufficient_quota",
    "invalid_api_key",
    "model_not_found",
    "context_length_exceeded",
    "unsupported_parameter",
    "unsupported_value",
];

/// The model cannot be set up. No variant shows the key or the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LlmError {
    /// A key of the configuration does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The HTTP client cannot be built.
    #[error("could not set up the HTTP client of the language model")]
    Client(#[source] reqwest::Error),
}

/// A model behind the chat-completions API.
pub struct OpenAi {
    url: Url,
    key: Option<ApiKey>,
    client: Client,
    clock: Arc<dyn Clock>,
    model: String,
    format: AnswerFormat,
    temperature: Option<f64>,
    /// Name of the parameter for the longest answer: OpenAI has renamed it, others have not.
    limit: &'static str,
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi").field("model", &self.model).field("key", &self.key).finish_non_exhaustive()
    }
}

impl OpenAi {
    /// The model that the configuration names, or `None` where it cannot answer: OpenAI without a key. `clock` is for
    /// `Retry-After` with a date. Needs a default rustls provider to be installed.
    ///
    /// # Errors
    /// [`LlmError`]: a key that does not fit, or no HTTP client.
    pub fn connect(config: &LlmConfig, clock: Arc<dyn Clock>) -> Result<Option<OpenAi>, LlmError> {
        config.check()?;
        let Some(url) = config.endpoint() else { return Ok(None) };
        if config.api_key.is_none() && config.is_openai() {
            return Ok(None);
        }
        let is_local = is_local(&url);
        if config.api_key.is_some() && url.scheme() == "http" && !is_local {
            tracing::warn!("`base_url` is plain http: the API key and templates can be read on the way");
        }
        let builder = Client::builder().timeout(config.timeout).redirect(redirect::Policy::none());
        // A proxy is for the way out, not for this machine.
        let builder = if is_local { builder.no_proxy() } else { builder };
        Ok(Some(OpenAi {
            url,
            key: config.api_key.clone(),
            client: builder.build().map_err(LlmError::Client)?,
            clock,
            model: config.model.clone(),
            format: config.answer_format,
            temperature: config.deterministic.then_some(0.0),
            limit: if config.is_openai() { "max_completion_tokens" } else { "max_tokens" },
        }))
    }

    fn body(&self, prompt: &Prompt) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
            self.limit: prompt.max_output_tokens,
        });
        if let Some(temperature) = self.temperature {
            body["temperature"] = json!(temperature);
        }
        match self.format {
            AnswerFormat::JsonObject => body["response_format"] = json!({"type": "json_object"}),
            AnswerFormat::JsonSchema => {
                let schema = json!({"name": "review", "strict": true, "schema": prompt.schema});
                body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
            }
            AnswerFormat::Text => {}
        }
        body
    }

    async fn ask(&self, prompt: &Prompt) -> Result<Completion, ModelError> {
        let mut request = self.client.post(self.url.clone()).json(&self.body(prompt));
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.bearer());
        }
        let response = request.send().await.map_err(|error| failed(&error))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let body = read(response, BODY_BYTES_MAX).await?;
        completion(&body)
    }

    /// What an answer that is none means.
    async fn refusal(&self, response: Response) -> ModelError {
        let status = response.status();
        let retry_after = retry_after(response.headers(), self.clock.now());
        let code = known_code(&read(response, ERROR_BYTES_MAX).await.unwrap_or_default());
        // No credit left is told with 429 too, but waiting does not mend it.
        let is_busy = code != "insufficient_quota"
            && (status.is_server_error()
                || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT));
        let status = status.as_u16();
        if is_busy { ModelError::Busy { status, retry_after } } else { ModelError::Refused { status, code } }
    }
}

impl LanguageModel for OpenAi {
    fn name(&self) -> &str {
        &self.model
    }

    fn complete<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Result<Completion, ModelError>> {
        Box::pin(self.ask(prompt))
    }
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The kind of error alone: reqwest's own text names the address.
fn failed(error: &reqwest::Error) -> ModelError {
    if error.is_timeout() {
        ModelError::Timeout
    } else if error.is_connect() {
        ModelError::Unreachable
    } else {
        ModelError::Broken
    }
}

/// The body, if it is no longer than `bytes_max`.
async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, ModelError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(ModelError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `Retry-After` in seconds or as a date, or OpenAI's `retry-after-ms`.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.parse().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // A plain number that is no u64 is no date either.
    let date = Timestamp::parse(value).filter(|_| value.contains(':'))?;
    Some(Duration::from_nanos(u64::try_from(date.0.saturating_sub(now.0)).unwrap_or(0)))
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalDetail,
}

#[derive(Deserialize)]
struct RefusalDetail {
    code: Option<Value>,
    r#type: Option<Value>,
}

fn known_code(body: &[u8]) -> &'static str {
    let Ok(Refusal { error }) = serde_json::from_slice(body) else { return "" };
    let told = [error.code, error.r#type];
    let told = told.iter().flatten().filter_map(Value::as_str);
    told.filter_map(|told| KNOWN_CODES.iter().find(|known| **known == told)).next().copied().unwrap_or("")
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

/// The text and cost in the body of an answer.
fn completion(body: &[u8]) -> Result<Completion, ModelError> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| ModelError::Malformed("not a chat completion"))?;
    let choice = answer.choices.into_iter().next().ok_or(ModelError::Malformed("no choice"))?;
    if choice.finish_reason.as_deref() == Some("length") {
        return Err(ModelError::CutOff);
    }
    let text = choice.message.content.ok_or(ModelError::Malformed("no content"))?;
    Ok(Completion { text, usage: answer.usage.as_ref().and_then(usage) })
}

/// What was used; gateways that count nothing tell 0 or nothing.
fn usage(told: &Value) -> Option<Usage> {
    let count = |name: &str| told.get(name).and_then(Value::as_u64);
    let usage = Usage {
        input_tokens: count("prompt_tokens")?,
        output_tokens: count("completion_tokens").unwrap_or(0),
    };
    (usage.input_tokens > 0).then_some(usage)
}

#[cfg(test)]
mod tests;
