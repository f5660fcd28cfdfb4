//! What can be set: unit, default and reason of every key, and the key of the endpoint as a type that never prints.
//!
//! Invariants:
//! - an [`ApiKey`] is in no `Debug`, `Display`, serialised or error text;
//! - a configuration that passed [`LlmConfig::check`] has bounds above zero and an address that holds no secret.
//!
//! Not here: the environment (`LLM_ENABLED`, `OPENAI_API_KEY`, `OPENAI_MODEL`, `OPENAI_BASE_URL`), which the binary reads.

use std::fmt;
use std::time::Duration;

use heimdall_model::Severity;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where OpenAI answers; without a key, nothing else is known to answer there.
pub(crate) const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// Longest key (bytes): far above any in use, so that a file given by mistake is not sent as a header.
const KEY_BYTES_MAX: usize = 1_024;
/// Longest name of a model (bytes): it stands in every summary.
const MODEL_BYTES_MAX: usize = 100;
/// Tokens that the answer to one template needs at least; with fewer every answer would be cut off.
const OUTPUT_TOKENS_PER_TEMPLATE: usize = 60;
/// Most templates of one question: ids, bounds of the answer and the size of the prompt are sized for it.
pub(crate) const TEMPLATES_PER_REQUEST_MAX: usize = 50;

/// The secret that the endpoint is asked with.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key; spaces around it, which come with copied files and variables, are not part of it.
    ///
    /// # Errors
    /// It is empty, longer than 1 KiB, or has characters that a header cannot carry. The text is not in the error.
    pub fn parse(text: &str) -> Result<ApiKey, ApiKeyError> {
        let key = text.trim();
        let fits = !key.is_empty() && key.len() <= KEY_BYTES_MAX && key.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(ApiKey(key.to_owned())) } else { Err(ApiKeyError) }
    }

    /// The value of the `Authorization` header, marked so that HTTP code does not print it either.
    pub(crate) fn bearer(&self) -> HeaderValue {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0))
            .expect("visible ASCII characters are a header's value");
        value.set_sensitive(true);
        value
    }
}

/// A text is not a key. Does not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the API key must be 1 to 1024 visible ASCII characters")]
pub struct ApiKeyError;

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl Serialize for ApiKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<secret>")
    }
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ApiKey, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

/// Reads a string; serde's own answer to other types would show the value.
struct KeyVisitor;

impl de::Visitor<'_> for KeyVisitor {
    type Value = ApiKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an API key as a string")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<ApiKey, E> {
        ApiKey::parse(text).map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<ApiKey, E> {
        Err(E::custom("the API key must be a string"))
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<ApiKey, E> {
        Err(E::custom("the API key must be a string"))
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<ApiKey, E> {
        Err(E::custom("the API key must be a string"))
    }
}

/// A value does not fit its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` must be {wants}")]
pub struct ConfigError {
    /// Dotted key below the section of this configuration, such as `budget.tokens_per_day`.
    pub key: &'static str,
    /// What would do.
    pub wants: &'static str,
}

/// How the endpoint is asked to form its answer. Gateways differ in what they know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFormat {
    /// `response_format` `json_object`: known to most servers.
    JsonObject,
    /// `response_format` `json_schema`: the schema is enforced where it is known.
    JsonSchema,
    /// No `response_format`: for servers that know none. The answer is checked all the same.
    Text,
}

/// Configuration of the review by a language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlmConfig {
    /// Whether templates are reviewed; also `LLM_ENABLED`. Default `false`: text of records leaves the process only when
    /// somebody decided so.
    pub enabled: bool,
    /// Address of the chat-completions API up to, without, `/chat/completions`; also `OPENAI_BASE_URL`. Any compatible
    /// gateway or local server. Must not hold user or password. Default `https://api.openai.com/v1`.
    pub base_url: String,
    /// Key of the endpoint; also `OPENAI_API_KEY`. A secret: never printed. Without one, OpenAI is not asked (key words
    /// decide), other addresses are asked without. Default none.
    pub api_key: Option<ApiKey>,
    /// Model asked; also `OPENAI_MODEL`. Default `gpt-4o-mini`: labels short texts well at a small price.
    pub model: String,
    /// Time one attempt may take, connection and body included. Default `30s`: an answer of `max_output_tokens` at the 50
    /// tokens a second of a slow server.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// Most templates in one question, 1 to 50. Default 10: the fixed part of the prompt is shared, and an answer to ten fits
    /// `budget.max_output_tokens`.
    pub templates_per_request: usize,
    /// How long a template waits for others to share its question. Default `5s`: new templates come in bursts.
    #[serde(with = "duration_text")]
    pub linger: Duration,
    /// Templates waiting, of all tenants; beyond, the tenant with the most loses its newest, counted. Default 1,024: about
    /// 2 MiB, and as much as 100 questions, more than a budget usually gives in an hour.
    pub queued_max: usize,
    /// Labels remembered; beyond, the one unused for longest is forgotten. Default 10,000: more templates than a feed has, in
    /// about 10 MiB.
    pub cache_max: usize,
    /// How long a label of the model is good for. Default `24h`: a template's meaning does not change, but models and prompts do.
    #[serde(with = "duration_text")]
    pub cache_ttl: Duration,
    /// How long a label by key words is good for while the model could not be asked. Default `15m`: then the model gets its chance.
    #[serde(with = "duration_text")]
    pub fallback_ttl: Duration,
    /// A template labelled bad that goes on is reported again, with new numbers, at most this often. Default `60s`, as with the
    /// other detectors.
    #[serde(with = "duration_text")]
    pub repeat_every: Duration,
    /// Worst severity a review can give. Default `WARNING`: what a text says about itself must not wake anybody by itself.
    pub max_severity: Severity,
    /// Confidence below which a label is remembered but not reported, 0 to 1. Default 0.5: more likely wrong than right.
    pub min_confidence: f64,
    /// How the answer is asked for. Default `json_object`.
    pub answer_format: AnswerFormat,
    /// Ask with temperature 0. Default `true`: the same template gets the same label. `false` for models that refuse the
    /// parameter (reasoning models).
    pub deterministic: bool,
    /// What may be spent.
    pub budget: BudgetConfig,
    /// Attempts.
    pub retry: RetryConfig,
    /// When the endpoint is left alone.
    pub breaker: BreakerConfig,
}

impl Default for LlmConfig {
    fn default() -> Self {
        LlmConfig {
            enabled: false,
            base_url: OPENAI_BASE_URL.to_owned(),
            api_key: None,
            model: "gpt-4o-mini".to_owned(),
            timeout: Duration::from_secs(30),
            templates_per_request: 10,
            linger: Duration::from_secs(5),
            queued_max: 1_024,
            cache_max: 10_000,
            cache_ttl: Duration::from_secs(24 * 3_600),
            fallback_ttl: Duration::from_secs(15 * 60),
            repeat_every: Duration::from_secs(60),
            max_severity: Severity::Warning,
            min_confidence: 0.5,
            answer_format: AnswerFormat::JsonObject,
            deterministic: true,
            budget: BudgetConfig::default(),
            retry: RetryConfig::default(),
            breaker: BreakerConfig::default(),
        }
    }
}

/// What may be spent; at the limit, key words decide until the next hour or day (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Attempts in one UTC hour, retries included. Default 60: 600 templates.
    pub requests_per_hour: u32,
    /// Tokens in one UTC day, prompts and answers. Default 200,000: about 100 questions, which covers the new templates of a
    /// day, and bounds the bill.
    pub tokens_per_day: u64,
    /// Longest answer (tokens). Default 1,500: 150 for each of ten templates.
    pub max_output_tokens: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        BudgetConfig { requests_per_hour: 60, tokens_per_day: 200_000, max_output_tokens: 1_500 }
    }
}

/// Attempts at one question.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts at one question. Default 3: what three do not mend is an outage, for which there is the breaker.
    pub attempts_max: u32,
    /// Pause after the first failure, doubled after each; half of it is random. Default `1s`.
    #[serde(with = "duration_text")]
    pub backoff_min: Duration,
    /// Longest pause. A `Retry-After` beyond it ends the question and opens the breaker for that time. Default `60s`.
    #[serde(with = "duration_text")]
    pub backoff_max: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        RetryConfig {
            attempts_max: 3,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
        }
    }
}

/// When the endpoint is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failed attempts in a row that open the breaker. Default 5: more than the attempts of one question.
    pub failures_max: u32,
    /// How long it stays open the first time, doubled each time it opens again. Default `60s`.
    #[serde(with = "duration_text")]
    pub open_for: Duration,
    /// Longest time it stays open. Default `30m`: a mended endpoint is noticed within the half hour.
    #[serde(with = "duration_text")]
    pub open_for_max: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            failures_max: 5,
            open_for: Duration::from_secs(60),
            open_for_max: Duration::from_secs(30 * 60),
        }
    }
}

impl LlmConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first key whose value does not fit. The address is not shown: it may hold a secret.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fits = |key, fits: bool, wants| if fits { Ok(()) } else { Err(ConfigError { key, wants }) };
        let is_time = |time: Duration| (Duration::from_millis(1)..=MAX_TIME).contains(&time);
        const TIME: &str = "between `1ms` and `30d`";
        fits(
            "base_url",
            self.endpoint().is_some(),
            "an http(s) URL without user, password, query and fragment",
        )?;
        let is_name = !self.model.is_empty()
            && self.model.len() <= MODEL_BYTES_MAX
            && self.model.bytes().all(|b| b.is_ascii_graphic());
        fits("model", is_name, "1 to 100 visible ASCII characters")?;
        let batch = 1..=TEMPLATES_PER_REQUEST_MAX;
        fits("templates_per_request", batch.contains(&self.templates_per_request), "1 to 50")?;
        fits("queued_max", (1..=1_000_000).contains(&self.queued_max), "1 to 1000000")?;
        fits("cache_max", (1..=10_000_000).contains(&self.cache_max), "1 to 10000000")?;
        fits("min_confidence", (0.0..=1.0).contains(&self.min_confidence), "between 0 and 1")?;
        let output_tokens = usize::try_from(self.budget.max_output_tokens).unwrap_or(usize::MAX);
        let is_enough = output_tokens >= OUTPUT_TOKENS_PER_TEMPLATE * self.templates_per_request;
        fits("budget.max_output_tokens", is_enough, "at least 60 for each of `templates_per_request`")?;
        fits("retry.attempts_max", (1..=20).contains(&self.retry.attempts_max), "1 to 20")?;
        fits("breaker.failures_max", self.breaker.failures_max > 0, "above 0")?;
        fits("linger", self.linger <= MAX_TIME, "at most `30d`")?;
        for (key, time) in [
            ("timeout", self.timeout),
            ("cache_ttl", self.cache_ttl),
            ("fallback_ttl", self.fallback_ttl),
            ("repeat_every", self.repeat_every),
            ("retry.backoff_min", self.retry.backoff_min),
            ("retry.backoff_max", self.retry.backoff_max),
            ("breaker.open_for", self.breaker.open_for),
            ("breaker.open_for_max", self.breaker.open_for_max),
        ] {
            fits(key, is_time(time), TIME)?;
        }
        fits(
            "retry.backoff_max",
            self.retry.backoff_max >= self.retry.backoff_min,
            "at least `retry.backoff_min`",
        )?;
        fits(
            "breaker.open_for_max",
            self.breaker.open_for_max >= self.breaker.open_for,
            "at least `breaker.open_for`",
        )
    }

    /// Where questions go, if the address does.
    pub(crate) fn endpoint(&self) -> Option<Url> {
        let base = Url::parse(self.base_url.trim().trim_end_matches('/')).ok()?;
        let is_http = matches!(base.scheme(), "http" | "https") && base.has_host();
        let is_bare = base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.fragment().is_none();
        let path = format!("{}/chat/completions", base.path().trim_end_matches('/'));
        let mut url = base;
        url.set_path(&path);
        (is_http && is_bare).then_some(url)
    }

    /// Whether the address is OpenAI's own.
    pub(crate) fn is_openai(&self) -> bool {
        self.endpoint().is_some_and(|url| url.host_str() == Some("api.openai.com"))
    }
}

/// Longest time any key takes: sums of times stay far from overflow.
const MAX_TIME: Duration = Duration::from_secs(30 * 86_400);

/// Durations as `30s` or `1h30m`.
mod duration_text {
    use std::time::Duration;

    use heimdall_model::{format_duration, parse_duration};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ns = parse_duration(&text).and_then(|ns| u64::try_from(ns).ok());
        ns.map(Duration::from_nanos).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not a duration; write it like `60s` or `1h30m`"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_off_fit_and_survive_their_text() {
        let config = LlmConfig::default();
        assert!(!config.enabled && config.api_key.is_none());
        assert_eq!(config.max_severity, Severity::Warning);
        config.check().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<LlmConfig>(&text).unwrap(), config, "{text}");
        assert!(toml::from_str::<LlmConfig>("modell = 'x'").is_err(), "unknown keys are errors");
    }

    #[test]
    fn a_key_is_in_no_text_made_of_it() {
        let config: LlmConfig = toml::from_str("api_key = ' sk-s3cret '").unwrap();
        let printed = format!("{config:?} {}", toml::to_string(&config).unwrap());
        assert!(!printed.contains("s3cret") && printed.contains("<secret>"), "{printed}");
        assert_eq!(config.api_key.unwrap().bearer(), "Bearer sk-s3cret");
        for wrong in
            ["api_key = 's3cret\\n4711'", "api_key = \"s3cret\\n4711\"", "api_key = 4711", "api_key = 47.11"]
        {
            let Err(error) = toml::from_str::<LlmConfig>(wrong) else { continue };
            assert!(!error.message().contains("4711") && !error.message().contains("s3cret"), "{error:?}");
        }
        assert!(
            ApiKey::parse(" ").is_err()
                && ApiKey::parse("a b").is_err()
                && ApiKey::parse("schlüssel").is_err()
        );
    }

    #[test]
    fn addresses_are_joined_and_those_with_secrets_refused() {
        let endpoint = |base_url: &str| {
            LlmConfig { base_url: base_url.to_owned(), ..LlmConfig::default() }
                .endpoint()
                .map(|url| url.to_string())
        };
        assert_eq!(endpoint(OPENAI_BASE_URL).unwrap(), "https://api.openai.com/v1/chat/completions");
        assert_eq!(
            endpoint("http://127.0.0.1:11434/v1/ ").unwrap(),
            "http://127.0.0.1:11434/v1/chat/completions"
        );
        assert_eq!(endpoint("http://gateway").unwrap(), "http://gateway/chat/completions");
        for bad in ["", "gateway", "ftp://gateway", "http://u:s3cret@gateway", "http://gateway?key=s3cret"] {
            assert_eq!(endpoint(bad), None, "{bad}");
        }
        let config = LlmConfig { base_url: "http://u:s3cret@gateway".to_owned(), ..LlmConfig::default() };
        assert!(!config.check().unwrap_err().to_string().contains("s3cret"));
    }

    #[test]
    fn values_that_would_divide_by_zero_or_wait_for_ever_are_refused() {
        let check = |text: &str| toml::from_str::<LlmConfig>(text).unwrap().check().unwrap_err().key;
        assert_eq!(check("templates_per_request = 0"), "templates_per_request");
        assert_eq!(check("templates_per_request = 50"), "budget.max_output_tokens");
        assert_eq!(check("timeout = '0s'"), "timeout");
        assert_eq!(check("min_confidence = nan"), "min_confidence");
        assert_eq!(check("model = \"a\\nb\""), "model");
        assert_eq!(check("[retry]\nbackoff_max = '1ms'"), "retry.backoff_max");
        assert_eq!(check("[breaker]\nfailures_max = 0"), "breaker.failures_max");
    }
}
