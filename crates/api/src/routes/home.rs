//! `/` and `/openapi.json`: what there is.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::ports::Readiness;
use crate::{AppState, VERSION};

/// The page may style itself and link, nothing else.
const PAGE_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");

/// The description of the API, written once when the router is built.
#[derive(Debug, Clone, Default)]
pub(crate) struct Description(Arc<OnceLock<Bytes>>);

impl Description {
    pub(crate) fn set(&self, openapi: &utoipa::openapi::OpenApi) {
        let json = serde_json::to_vec(openapi).expect("plain data serialises");
        let _ = self.0.set(json.into());
    }
}

/// The description of this API, OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", tag = "status",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(crate) async fn openapi(State(state): State<AppState>) -> Response {
    let json = state.description.0.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

/// A page for people: what this is, how it is, where to go.
#[utoipa::path(
    get, path = "/", tag = "status",
    responses((status = 200, description = "a page", content_type = "text/html", body = String))
)]
pub(crate) async fn home(State(state): State<AppState>) -> Response {
    let status = match state.status.readiness() {
        Readiness::Ready => "ready",
        Readiness::NotReady(_) => "not ready",
    };
    let page = PAGE.replace("{version}", VERSION).replace("{status}", status);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
    ];
    (headers, page).into_response()
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Heimdall</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
code { font-family: ui-monospace, monospace; }
dt { font-weight: 600; margin-top: .6rem; }
dd { margin: 0 0 0 1rem; }
</style>
</head>
<body>
<main>
<h1>Heimdall {version}</h1>
<p>Logs, metrics and security events in one place. Status: <strong>{status}</strong>.</p>
<dl>
<dt><a href="/health"><code>GET /health</code></a></dt><dd>how the server is</dd>
<dt><a href="/alerts"><code>GET /alerts</code></a></dt><dd>latest alerts; <code>WS /ws/alerts</code> live</dd>
<dt><a href="/logs"><code>GET /logs</code></a></dt><dd>latest log records; <code>GET /api/v1/tail</code> live</dd>
<dt><a href="/metrics/summary"><code>GET /metrics/summary</code></a></dt><dd>counts, rates, services</dd>
<dt><code>POST /ingest</code></dt><dd>one event: timestamp, source, ip, message</dd>
<dt><code>POST /api/v1/ingest/logs</code></dt><dd>records as JSON, array or NDJSON, plain, gzip or zstd</dd>
<dt><code>GET /api/v1/query</code></dt><dd>search line in, columns and rows out</dd>
<dt><a href="/metrics"><code>GET /metrics</code></a></dt><dd>Prometheus</dd>
<dt><a href="/openapi.json"><code>GET /openapi.json</code></a></dt><dd>everything else, OpenAPI 3.1</dd>
</dl>
</main>
</body>
</html>
"#;
