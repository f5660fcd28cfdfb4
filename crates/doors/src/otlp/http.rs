//! OTLP over HTTP: `/v1/logs`, `/v1/metrics`, `/v1/traces`, and the same below `/otlp`, as Loki has it.
//!
//! Answers are in the encoding of the request. A refusal is a `google.rpc.Status`; 429 and 503 say when to come back, everything
//! else is not to be sent again.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use prost::Message;
use serde_json::Value;
use tonic::Code;

use super::export::{self, Answer};
use super::{Encoding, Signal};
use crate::Shared;
use crate::http::{Failure, Visitor, arrive};
use crate::rpc::status::{RpcStatus, retry_after};

const DOOR: &str = "otlp";
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(crate) fn routes() -> Router<Arc<Shared>> {
    let mut routes = Router::new();
    for prefix in ["", "/otlp"] {
        for (path, signal) in
            [("logs", Signal::Logs), ("metrics", Signal::Metrics), ("traces", Signal::Traces)]
        {
            let handler =
                move |State(shared): State<Arc<Shared>>, visitor: Visitor, headers: HeaderMap, body: Body| {
                    handle(signal, shared, visitor, headers, body)
                };
            routes = routes.route(&format!("{prefix}/v1/{path}"), post(handler));
        }
        routes = routes.route(&format!("{prefix}/v1development/profiles"), any(profiles));
    }
    routes
}

async fn handle(
    signal: Signal,
    shared: Arc<Shared>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(encoding) = encoding_of(&headers) else {
        let message = "content type must be application/x-protobuf or application/json";
        let status = RpcStatus::new(Code::InvalidArgument, message);
        return answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, Encoding::Json, &status, status.to_json());
    };
    match take(signal, encoding, &shared, &visitor, &headers, body).await {
        Ok(taken) => answer(StatusCode::OK, encoding, &taken, taken.to_json(signal)),
        Err(failure) => refused(&failure, encoding),
    }
}

async fn take(
    signal: Signal,
    encoding: Encoding,
    shared: &Shared,
    visitor: &Visitor,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Failure> {
    let caller = visitor.caller()?;
    let arrived = arrive(shared, &caller, headers, body).await?;
    export::take(shared, caller, DOOR, signal, encoding, arrived).await
}

async fn profiles(headers: HeaderMap) -> Response {
    let status = RpcStatus::new(Code::Unimplemented, "profiles are not taken: send logs, metrics and traces");
    answer(StatusCode::NOT_FOUND, encoding_of(&headers).unwrap_or(Encoding::Json), &status, status.to_json())
}

fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/x-protobuf" | "application/protobuf" => Some(Encoding::Protobuf),
        "application/json" => Some(Encoding::Json),
        _ => None,
    }
}

/// Senders come back after 429, 502, 503 and 504 only: what waiting may cure is one of them.
fn status_of(failure: &Failure) -> StatusCode {
    match failure.status() {
        StatusCode::REQUEST_TIMEOUT | StatusCode::INTERNAL_SERVER_ERROR => StatusCode::SERVICE_UNAVAILABLE,
        other => other,
    }
}

fn refused(failure: &Failure, encoding: Encoding) -> Response {
    let status = RpcStatus::of(failure);
    let code = status_of(failure);
    let mut response = answer(code, encoding, &status, status.to_json());
    failure.hint(response.headers_mut());
    if let (Some(after), false) = (retry_after(failure), response.headers().contains_key(header::RETRY_AFTER))
    {
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    if code == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static(r#"Bearer realm="heimdall""#);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn answer(code: StatusCode, encoding: Encoding, message: &impl Message, json: Value) -> Response {
    let (content_type, body) = match encoding {
        Encoding::Protobuf => (PROTOBUF, message.encode_to_vec()),
        Encoding::Json => (JSON, json.to_string().into_bytes()),
    };
    (code, [(header::CONTENT_TYPE, content_type)], body).into_response()
}
