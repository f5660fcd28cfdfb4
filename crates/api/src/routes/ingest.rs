//! `POST /ingest` and `POST /api/v1/ingest/{dataset}`: the hot path.
//!
//! Order of work: scope and tenant, announced length, room (429 or 503 before a byte is read), body, unpack, decode,
//! durable append, receipt. Small bodies are decoded where they were read, larger ones off the async threads.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use heimdall_guard::Scope;
use heimdall_ingest::arrive::{Announced, Arrived, BodyLimits, arrive};
use heimdall_ingest::{
    BodyFormat, Decoded, Intake, Origin, Permit, Pipes, Reading, Receipt, Submission, body, typed,
};
use heimdall_model::{Dataset, Tenant, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AppState;
use crate::access::Access;
use crate::error;
use crate::extract::{self, Params, Segment, announced_length, unsupported_media};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::blocking;
use crate::wire::ReceiptView;

/// The door of receipts, counters and idempotency keys.
const DOOR: &str = "http";
/// Longest `Idempotency-Key`.
const KEY_BYTES_MAX: usize = 256;

/// Longest `service` of a request.
const SERVICE_BYTES_MAX: usize = 256;

/// How a body is to be read.
#[derive(Debug, Clone)]
enum Reader {
    /// The strict event of `POST /ingest`.
    Event,
    /// Records of a dataset, and the service of those that name none.
    Records(Dataset, BodyFormat, Option<String>),
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct IngestParams {
    /// Format of the body: `json` (object, array or NDJSON; default), `syslog`, `combined`, `logfmt`, `text` or `auto`.
    format: Option<String>,
    /// Service of the records that name none.
    service: Option<String>,
}

/// Takes one event `{timestamp, source, ip, message}`, or several.
///
/// Answers once the records are durable. A record that is rejected does not hold up the others.
#[utoipa::path(
    post, path = "/ingest", tag = "ingest",
    params(("Idempotency-Key" = Option<String>, Header, description = "a second request with it is not written again")),
    request_body(content = Object, content_type = "application/json",
        example = json!({"timestamp":"2025-01-15T10:30:00Z","source":"web-firewall","ip":"203.0.113.5","message":"Multiple failed logins detected; possible brute force"})),
    responses(
        (status = 200, description = "something was accepted", body = ReceiptView),
        (status = 400, description = "nothing was accepted", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn event(
    State(state): State<AppState>,
    access: Access,
    request: Request,
) -> Result<Response, Problem> {
    take(&state, &access, Reader::Event, request).await
}

/// Takes records of a dataset: a JSON object, array or NDJSON, or lines of text with `format`.
///
/// `Content-Encoding`: gzip, deflate, zstd. Answers once the records are durable.
#[utoipa::path(
    post, path = "/api/v1/ingest/{dataset}", tag = "ingest",
    params(
        ("dataset" = String, Path, description = "`logs`, `metrics` or `spans`"),
        IngestParams,
        ("Idempotency-Key" = Option<String>, Header, description = "a second request with it is not written again"),
        ("X-Scope-OrgID" = Option<String>, Header, description = "tenant, where the caller may choose"),
    ),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "something was accepted", body = ReceiptView),
        (status = 400, description = "nothing was accepted", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "body too large", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "rate limit; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "no room or disk full; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn records(
    State(state): State<AppState>,
    access: Access,
    Segment(dataset): Segment<String>,
    Params(params): Params<IngestParams>,
    request: Request,
) -> Result<Response, Problem> {
    access.require(Scope::Ingest)?;
    let dataset =
        Dataset::parse(&dataset).ok_or_else(|| Problem::not_found("dataset", extract::short(&dataset)))?;
    let format = match params.format.as_deref() {
        None => BodyFormat::Json,
        Some(name) => BodyFormat::from_name(name).ok_or_else(|| {
            Problem::parameter("format", "must be json, syslog, combined, logfmt, text or auto")
        })?,
    };
    if params.service.as_deref().is_some_and(|name| !is_service_name(name)) {
        return Err(Problem::parameter("service", "must be 1 to 256 bytes without control characters"));
    }
    take(&state, &access, Reader::Records(dataset, format, params.service), request).await
}

fn is_service_name(name: &str) -> bool {
    (1..=SERVICE_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

async fn take(
    state: &AppState,
    access: &Access,
    reader: Reader,
    request: Request,
) -> Result<Response, Problem> {
    let caller = access.caller(access.require(Scope::Ingest)?);
    let (parts, body) = request.into_parts();
    check_content_type(&parts.headers)?;
    let idempotency_key = idempotency_key(&parts.headers)?;
    let text = |name| parts.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let announced = Announced {
        length: announced_length(&parts.headers, state.limits.body_bytes_max)?,
        encoding: text(header::CONTENT_ENCODING),
    };
    let limits = BodyLimits {
        bytes_max: state.limits.body_bytes_max,
        idle: state.limits.body_idle_timeout,
        total: state.limits.body_timeout,
    };
    let pieces = body.into_data_stream();
    let arrived = arrive(&state.intake, &caller, announced, pieces, &limits, &state.compression).await;
    let Arrived { body, permit } = arrived.map_err(|error| error::arrive(&error))?;
    let now = state.intake.now();
    let body_bytes = body.len() as u64;
    let decoded = decode(state, reader, caller.tenant.clone(), body, now).await?;
    let submission = Submission { caller, door: DOOR, idempotency_key, decoded, body_bytes };
    let receipt = admit(&state.intake, submission, permit).await?;
    Ok(answer(&receipt))
}

/// Runs to its end even when the client goes away, so that what was written is counted and its room given back.
async fn admit(
    intake: &std::sync::Arc<Intake>,
    submission: Submission,
    permit: Permit,
) -> Result<Receipt, Problem> {
    let receipt = intake.admit(submission).await.map_err(|refused| error::refused(&refused));
    drop(permit);
    receipt
}

fn answer(receipt: &Receipt) -> Response {
    let view = ReceiptView::from(receipt);
    if receipt.is_success() {
        return Json(view).into_response();
    }
    let errors = receipt.rejected.iter().map(error::rejected).collect();
    Problem::bad_request("all_rejected", "none of the records was accepted")
        .with_errors(errors)
        .with_members(serde_json::to_value(view).expect("plain data serialises"))
        .into_response()
}

async fn decode(
    state: &AppState,
    reader: Reader,
    tenant: Tenant,
    body: Bytes,
    now: Timestamp,
) -> Result<Decoded, Problem> {
    let decoded = if body.len() <= state.limits.inline_decode_bytes_max {
        decode_now(state, &reader, &tenant, &body, now)
    } else {
        let state = state.clone();
        blocking(move || decode_now(&state, &reader, &tenant, &body, now)).await?
    };
    decoded.map_err(|error| error::body(&error))
}

fn decode_now(
    state: &AppState,
    reader: &Reader,
    tenant: &Tenant,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Decoded, body::BodyError> {
    let set = state.intake.pipelines().current();
    let reading = |service| {
        let origin = Origin { door: DOOR, tenant, service };
        Reading { now, limits: &state.decode, pipelines: Some(Pipes { set: &set, origin }) }
    };
    match reader {
        Reader::Event => typed::read(bytes, reading(None)),
        Reader::Records(dataset, format, service) => {
            let mut decoded = body::read(*dataset, *format, bytes, reading(service.as_deref()))?;
            service.iter().for_each(|name| decoded.default_service(name));
            Ok(decoded)
        }
    }
}

/// What a body of records is called is often wrong; what can be no such body is refused.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let name = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = name.split('/').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "multipart" | "image" | "audio" | "video" | "font" | "model" => Err(unsupported_media(name)),
        _ => Ok(()),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::parameter("Idempotency-Key", "must be 1 to 256 visible ASCII characters")),
    }
}
