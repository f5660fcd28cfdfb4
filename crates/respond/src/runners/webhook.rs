//! `webhook`: posts an action to an address of the configuration, signed, once.
//!
//! Invariants:
//! - the address, the key and the values of headers are in no error or outcome;
//! - one run is one request: retries are the engine's business, and carry the same `Idempotency-Key` when the action names one.
//!
//! Body: `{"version":1,"kind","target","with","idempotency_key","sent_at"}`. Signature, when there is a key: header
//! `X-Heimdall-Signature: t=SECONDS,v1=HEX`, where HEX is HMAC-SHA256 of `SECONDS.BODY`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Clock, Timestamp};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use ring::hmac;
use serde_json::{Value, json};
use uuid::Uuid;

use super::config::{ActionSecret, WebhookRunnerConfig};
use super::deadline::{Deadline, unreachable};
use super::parameters::{effect, invalid, text};
use super::{RunnersError, http, wrong};
use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress};

const SYSTEM: &str = "webhook";
/// Webhooks there may be.
const WEBHOOKS_MAX: usize = 100;
/// Parameter that names the run, the same when it is repeated.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency_key";

struct Webhook {
    url: Url,
    key: Option<hmac::Key>,
    headers: HeaderMap,
    timeout: Duration,
}

/// Every address that may be called, by name.
pub(crate) struct Webhooks {
    by_name: BTreeMap<String, Webhook>,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl Webhooks {
    pub(crate) fn build(
        config: &BTreeMap<String, WebhookRunnerConfig>,
        clock: Arc<dyn Clock>,
    ) -> Result<Webhooks, RunnersError> {
        if config.len() > WEBHOOKS_MAX {
            return Err(wrong("webhooks", format!("{} are more than {WEBHOOKS_MAX}", config.len())));
        }
        let client = http::client(Vec::new()).map_err(|reason| wrong("webhooks", reason))?;
        let built = config.iter().map(|(name, config)| {
            let webhook = Webhook::build(config)
                .map_err(|(key, reason)| wrong(format!("webhooks.{name}.{key}"), reason));
            Ok((name.clone(), webhook?))
        });
        Ok(Webhooks { by_name: built.collect::<Result<_, _>>()?, client, clock })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// A name of the configuration, checked to be one of a webhook.
    pub(crate) fn named(&self, key: &str, name: Option<&String>) -> Result<Option<String>, RunnersError> {
        match name {
            Some(name) if !self.by_name.contains_key(name) => {
                Err(wrong(key, format!("there is no webhook `{name}` in `webhooks`")))
            }
            name => Ok(name.cloned()),
        }
    }

    fn get(&self, name: &str) -> Result<&Webhook, ActionError> {
        self.by_name.get(name).ok_or_else(|| ActionError::NotFound { target: name.to_owned() })
    }

    /// Whether somebody listens there.
    pub(crate) async fn look(&self, name: &str, deadline: Deadline) -> Result<(), ActionError> {
        let webhook = self.get(name)?;
        let host = webhook.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = webhook.url.port_or_known_default().unwrap_or(443);
        let connected = async {
            let stream = tokio::net::TcpStream::connect((host, port)).await;
            stream.map(drop).map_err(|error| unreachable(SYSTEM, format!("`{name}`: {}", error.kind())))
        };
        deadline.asking(SYSTEM, webhook.timeout, connected).await
    }

    /// Posts the action; returns the JSON of the answer, `null` when it has none.
    pub(crate) async fn call(
        &self,
        name: &str,
        action: &Action,
        deadline: Deadline,
    ) -> Result<Value, ActionError> {
        let webhook = self.get(name)?;
        deadline.within(webhook.timeout).doing(self.post(webhook, action)).await
    }

    async fn post(&self, webhook: &Webhook, action: &Action) -> Result<Value, ActionError> {
        let since = Instant::now();
        let key = action.text(IDEMPOTENCY_KEY).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
        let body = self.body(action, &key);
        let mut request = self
            .client
            .post(webhook.url.clone())
            .headers(webhook.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", key);
        if let Some(secret) = &webhook.key {
            request = request.header("X-Heimdall-Signature", signature(secret, self.clock.now(), &body));
        }
        let response =
            request.body(body).send().await.map_err(|error| http::undone(SYSTEM, &error, since))?;
        let status = response.status();
        if !status.is_success() {
            // Not its text: it may repeat what it was sent.
            return Err(http::refused(SYSTEM, status, "", since));
        }
        let body = http::body(response).await.unwrap_or_default();
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    fn body(&self, action: &Action, key: &str) -> String {
        let mut with = action.with.clone();
        with.remove(IDEMPOTENCY_KEY);
        let (kind, target) = (&action.kind, &action.target);
        let sent_at = self.clock.now().to_string();
        json!({"version": 1, "kind": kind, "target": target, "with": with, "idempotency_key": key, "sent_at": sent_at})
            .to_string()
    }
}

impl Webhook {
    fn build(config: &WebhookRunnerConfig) -> Result<Webhook, (String, String)> {
        let url = Url::parse(config.url.expose())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| ("url".to_owned(), "must be a http(s) URL".to_owned()))?;
        let secret = secret_of(config.secret.as_ref(), config.secret_file.as_ref())
            .map_err(|reason| ("secret_file".to_owned(), reason))?;
        let key = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
        let headers =
            config.headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?;
        Ok(Webhook { url, key, headers, timeout: config.timeout })
    }
}

fn header(name: &str, value: &ActionSecret) -> Result<(HeaderName, HeaderValue), (String, String)> {
    let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value.expose()).ok());
    let (name, mut value) =
        parsed.ok_or_else(|| (format!("headers.{name}"), "is not a header".to_owned()))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// The secret itself, or the one in the file.
pub(crate) fn secret_of(
    secret: Option<&ActionSecret>,
    file: Option<&std::path::PathBuf>,
) -> Result<Option<ActionSecret>, String> {
    match (secret, file) {
        (Some(_), Some(_)) => Err("is given twice, itself and as a file".to_owned()),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, Some(file)) => ActionSecret::read(file).map(Some),
        (None, None) => Ok(None),
    }
}

fn signature(key: &hmac::Key, now: Timestamp, body: &str) -> String {
    let seconds = now.0 / NS_PER_SECOND;
    let tag = hmac::sign(key, format!("{seconds}.{body}").as_bytes());
    let hex = tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("t={seconds},v1={hex}")
}

/// Does `webhook`: the target is the name of one, every parameter goes into the body.
pub(crate) struct WebhookRunner {
    webhooks: Arc<Webhooks>,
}

impl WebhookRunner {
    pub(crate) fn new(webhooks: Arc<Webhooks>) -> WebhookRunner {
        WebhookRunner { webhooks }
    }
}

impl ActionRunner for WebhookRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["webhook"]
    }

    fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        let name = &action.target;
        self.webhooks.get(name).map_err(|_| invalid("target", format!("there is no webhook `{name}`")))?;
        let is_idempotent = text(action, IDEMPOTENCY_KEY)?.is_some();
        Ok(effect(format!("call the webhook `{name}`"), None, is_idempotent))
    }

    fn look<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Effect, ActionError>> {
        Box::pin(async move {
            self.webhooks.look(&action.target, Deadline::new(deadline)).await?;
            self.describe(action)
        })
    }

    fn run<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Outcome, ActionError>> {
        Box::pin(async move {
            self.describe(action)?;
            self.webhooks.call(&action.target, action, Deadline::new(deadline)).await?;
            Ok(Outcome { summary: format!("the webhook `{}` accepted", action.target), inverse: None })
        })
    }

    fn progress<'a>(
        &'a self,
        _: &'a Action,
        _: Timestamp,
        _: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        Box::pin(std::future::ready(Ok(Progress::Unknown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runners::testing::{HttpStandIn, black_hole, clock, closed_port, install_tls};

    const SOON: Duration = Duration::from_millis(400);

    fn runner(url: &str) -> WebhookRunner {
        install_tls();
        let config = WebhookRunnerConfig {
            url: ActionSecret::new(url),
            secret: Some(ActionSecret::new("k3y")),
            secret_file: None,
            headers: BTreeMap::from([("Authorization".to_owned(), ActionSecret::new("Bearer t0ken"))]),
            timeout: Duration::from_secs(10),
        };
        let webhooks = Webhooks::build(&BTreeMap::from([("ci".to_owned(), config)]), clock()).unwrap();
        WebhookRunner::new(Arc::new(webhooks))
    }

    fn action() -> Action {
        let with = [("service", "web".into()), (IDEMPOTENCY_KEY, "run-7".into())];
        super::super::parameters::action("webhook", "ci", with)
    }

    #[tokio::test]
    async fn posts_the_documented_body_signed_and_with_the_key_of_the_run() {
        let server = HttpStandIn::start(|_| (200, "{}".to_owned())).await;
        let runner = runner(&server.url("/hook?token=hidden"));
        assert!(runner.describe(&action()).unwrap().is_idempotent);
        runner.run(&action(), Duration::from_secs(5)).await.unwrap();
        let [request] = &server.requests()[..] else { panic!("one request") };
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?token=hidden"));
        assert_eq!(request.headers["idempotency-key"], "run-7");
        assert_eq!(request.headers["authorization"], "Bearer t0ken");
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["with"], json!({"service": "web"}));
        assert_eq!((&body["kind"], &body["idempotency_key"]), (&json!("webhook"), &json!("run-7")));
        let signature = &request.headers["x-heimdall-signature"];
        let (seconds, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"k3y");
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        hmac::verify(&key, format!("{seconds}.{}", request.body).as_bytes(), &bytes).unwrap();
    }

    #[tokio::test]
    async fn refusals_and_silence_are_told_apart_and_name_no_address() {
        let server = HttpStandIn::start(|_| (500, "hidden".to_owned())).await;
        let error = runner(&server.url("/hidden")).run(&action(), SOON).await.unwrap_err();
        assert_eq!(error.to_string(), "webhook: answered 500");

        let runner_of_nobody = runner(&format!("http://{}/hidden", closed_port()));
        for error in [
            runner_of_nobody.look(&action(), SOON).await.unwrap_err(),
            runner_of_nobody.run(&action(), SOON).await.unwrap_err(),
        ] {
            assert!(matches!(error, ActionError::Unreachable { .. }), "{error}");
            assert!(!error.to_string().contains("hidden"), "{error}");
        }

        let hole = black_hole();
        let error = runner(&format!("http://{}/", hole.address)).run(&action(), SOON).await.unwrap_err();
        assert!(matches!(error, ActionError::TimedOut { .. }), "it was sent, so nobody knows: {error}");
    }
}
