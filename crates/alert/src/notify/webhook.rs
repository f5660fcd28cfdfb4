//! Any address: the notice as JSON, or a JSON text of one's own with placeholders; signed.
//!
//! Invariants:
//! - the address, the key and the values of headers are in no error;
//! - what is sent is JSON, whatever texts the alerts hold: values enter a template escaped for where they stand;
//! - the same notice has the same `Idempotency-Key` over all attempts.
//!
//! Format: docs/channels.md, "Webhook".

mod template;

use futures::future::BoxFuture;
use heimdall_model::time::NS_PER_SECOND;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use self::template::Template;
use super::config::{ChannelContext, ChannelError, Secret, WebhookChannelConfig};
use super::http::{Call, Http, SecretUrl};
use super::notice::{Notice, Notifier, NotifyError, Receipt};
use super::secret::SecretSource;
use super::signature::sign;
use super::text::Telling;

/// Version of the notice's JSON: raised when a field goes or changes its meaning, not when one is added.
const VERSION: u32 = 1;
/// Custom headers.
const HEADERS_MAX: usize = 20;
/// Headers that are ours or HTTP's.
const HEADERS_TAKEN: &[&str] = &[
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "transfer-encoding",
    "x-heimdall-signature",
];

struct Webhook {
    http: Http,
    url: SecretUrl,
    secret: Option<SecretSource>,
    headers: Vec<(HeaderName, Secret)>,
    template: Option<Template>,
    base_url: Option<String>,
}

pub(crate) fn build(
    config: &WebhookChannelConfig,
    context: ChannelContext,
) -> Result<Box<dyn Notifier>, ChannelError> {
    let url = SecretUrl::need("url", config.url.as_ref(), "url_file", config.url_file.as_deref())?;
    let (given, file) = (config.secret.as_ref(), config.secret_file.as_deref());
    let secret = SecretSource::find("secret", given, "secret_file", file)?;
    let headers = headers(config)?;
    let template = config.body.as_deref().map(|text| Template::parse(text, &example())).transpose();
    let template = template.map_err(|error| ChannelError::new("body", error.to_string()))?;
    let http = Http::new("the webhook", config.timeout, config.ca_file.as_deref(), context.clock)?;
    Ok(Box::new(Webhook { http, url, secret, headers, template, base_url: context.base_url }))
}

fn headers(config: &WebhookChannelConfig) -> Result<Vec<(HeaderName, Secret)>, ChannelError> {
    if config.headers.len() > HEADERS_MAX {
        return Err(ChannelError::new("headers", format!("more than {HEADERS_MAX}")));
    }
    let check = |(name, value): (&String, &Secret)| {
        let wrong = |why: &str| ChannelError::new("headers", format!("`{name}` {why}"));
        let header =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is not a name of a header"))?;
        if HEADERS_TAKEN.contains(&header.as_str()) {
            return Err(wrong("is set by Heimdall"));
        }
        HeaderValue::from_str(value.expose()).map_err(|_| wrong("has a value that no header takes"))?;
        Ok((header, value.clone()))
    };
    config.headers.iter().map(check).collect()
}

impl Webhook {
    async fn tell(&self, notice: &Notice) -> Result<Option<Receipt>, NotifyError> {
        let (url, address) = self.url.get().await?;
        let document = document(notice, self.base_url.as_deref());
        let body = match &self.template {
            Some(template) => template.render(&document),
            None => document.to_string(),
        };
        let mut call = Call::bytes(url, body.into_bytes()).hiding(&address);
        if let Ok(id) = HeaderValue::from_str(&notice.id.to_string()) {
            call.headers.insert("idempotency-key", id);
        }
        for (name, value) in &self.headers {
            call = call.with_secret_header(name.clone(), value.expose(), value)?;
        }
        if let Some(secret) = &self.secret {
            let secret = secret.get().await;
            let time = self.http.now().0.div_euclid(NS_PER_SECOND).to_string();
            let signature = sign(secret.expose(), &[time.as_bytes(), b".", &call.body]);
            let value = format!("t={time},v1={signature}");
            call = call.hiding(&secret);
            if let Ok(value) = HeaderValue::from_str(&value) {
                call.headers.insert("x-heimdall-signature", value);
            }
        }
        let answer = self.http.call(call).await?;
        if answer.is_success() { Ok(None) } else { Err(answer.refused(None)) }
    }
}

/// The notice as JSON, version 1.
pub(super) fn document(notice: &Notice, base_url: Option<&str>) -> Value {
    let telling = Telling::of(notice, base_url);
    let fields: Vec<Value> =
        telling.fields.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "version": VERSION,
        "id": notice.id,
        "at": notice.at,
        "kind": notice.kind,
        "tenant": notice.tenant,
        "receiver": notice.receiver,
        "group_key": notice.group_key,
        "group_labels": notice.group_labels,
        "reason": notice.reason,
        "to": notice.to,
        "total": notice.total,
        "title": telling.title,
        "summary": telling.summary,
        "severity": telling.severity,
        "is_over": telling.is_over,
        "fields": fields,
        "steps": telling.steps,
        "url": telling.links.first().map(|link| &link.url),
        "alerts": notice.alerts.iter().map(|alert| &**alert).collect::<Vec<_>>(),
    })
}

/// A notice whose fields a template may name.
fn example() -> Value {
    json!({
        "version": VERSION, "id": "", "at": "", "kind": "", "tenant": "", "receiver": "", "group_key": "",
        "group_labels": {}, "reason": "", "to": [], "total": 0, "title": "", "summary": "", "severity": "",
        "is_over": false, "fields": [], "steps": [], "url": null, "alerts": [],
    })
}

impl Notifier for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        _previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        Box::pin(self.http.attempt(self.tell(notice)))
    }
}
