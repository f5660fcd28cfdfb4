//! The client side of the HTTP API, for the commands that talk to a server.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::args::Remote;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one server as one principal.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    remote: Remote,
}

impl Client {
    pub(crate) fn new(remote: &Remote) -> Result<Client> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(Client { http, remote: remote.clone() })
    }

    /// The token it speaks with, where it needs one.
    pub(crate) fn token(&self) -> Option<&str> {
        self.remote.token.as_deref()
    }

    /// A request with the principal's headers.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.remote.url.trim_end_matches('/'));
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.remote.token {
            request = request.bearer_auth(token);
        }
        if let Some(tenant) = &self.remote.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        request
    }

    /// Sends, and turns a problem document into an error for people.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request
            .send()
            .await
            .with_context(|| format!("no answer from {}; is the server running?", self.remote.url))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        bail!("{}", problem(status.as_u16(), &body));
    }

    /// Sends and reads the answer as JSON.
    pub(crate) async fn json(&self, request: RequestBuilder) -> Result<Value> {
        Ok(self.send(request).await?.json().await?)
    }

    /// `GET path` as JSON.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.json(self.request(Method::GET, path)).await
    }
}

/// A problem document (RFC 9457) in one or more lines.
pub(crate) fn problem(status: u16, body: &Value) -> String {
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let what = text("detail").or_else(|| text("title")).unwrap_or_else(|| format!("HTTP status {status}"));
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    let more = errors.filter_map(|error| {
        let reason = error.get("reason")?.as_str()?;
        let field = error.get("field").and_then(Value::as_str).unwrap_or_default();
        Some(format!("\n  {field}{}{reason}", if field.is_empty() { "" } else { ": " }))
    });
    let code = text("code").map(|code| format!(" [{code}]")).unwrap_or_default();
    let suggestions = body.get("suggestions").and_then(Value::as_array).into_iter().flatten();
    let instead = suggestions.filter_map(Value::as_str).map(|text| format!("\n  ask instead: {text}"));
    std::iter::once(format!("{what}{code}")).chain(more).chain(instead).collect()
}
