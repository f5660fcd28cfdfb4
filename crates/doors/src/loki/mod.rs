//! Loki's push API: log records from Promtail, Alloy, Docker's driver, Fluent Bit, Vector and others.
//!
//! - [`json`], [`proto`]: the two forms of a body; [`labels`]: the text of a stream's labels; [`entry`]: what becomes of them
//!
//! Invariants:
//! - 204 means that every entry is durable; when some were rejected the answer is 400 and says which and why, and that the
//!   others are kept;
//! - the same bytes a second time are not written again, as long as every entry states its own time.
//!
//! Not here: queries. Source: Loki HTTP API.

mod entry;
mod json;
mod labels;
mod proto;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use heimdall_ingest::{BodyError, Caller, Decoded, Permit, Receipt, Rejected};

use crate::http::{self, Failure, Visitor};
use crate::shared::Handover;
use crate::{Shared, key};

/// Name in receipts and metrics.
const DOOR: &str = "loki";
/// Rejected entries named in an answer.
const NAMED_MAX: usize = 10;
/// As Loki says it.
const NO_STREAMS: &str = "error at least one valid stream is required for ingestion";

/// The paths of this door.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/loki/api/v1/push", post(push))
        .route("/api/prom/push", post(push))
        .route("/insert/loki/api/v1/push", post(push))
        .route("/ready", get(ready))
        .with_state(shared)
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.shutdown.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    (StatusCode::OK, "ready\n").into_response()
}

async fn push(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match take(&shared, &visitor, headers, body).await {
        Ok(receipts) => answer(&receipts),
        Err(failure) => {
            let mut response = (failure.status(), format!("{failure}\n")).into_response();
            failure.hint(response.headers_mut());
            response
        }
    }
}

async fn take(
    shared: &Shared,
    visitor: &Visitor,
    mut headers: HeaderMap,
    body: Body,
) -> Result<Vec<Receipt>, Failure> {
    let caller = visitor.caller()?;
    // Some say that the body is a block of Snappy, which is what the protocol means anyway.
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "snappy") {
        headers.remove(header::CONTENT_ENCODING);
    }
    let arrived = http::arrive(shared, &caller, &headers, body).await?;
    let mut permit = arrived.permit;
    let (decoded, key, bytes) = if is_json(&headers, &arrived.body) {
        let len = arrived.body.len();
        let (decoded, key) = shared
            .decode_from(&caller, DOOR, arrived.body, |body, reading| {
                json::decode(body, reading).map(|d| (d, key::of_body(&[body])))
            })
            .await?;
        (decoded, key, len)
    } else {
        unpacked(shared, &caller, arrived.body, &mut permit).await?
    };
    let key = (decoded.timestamps_assigned == 0).then_some(key);
    let handover = Handover { caller, door: DOOR, key, decoded: vec![decoded], bytes: bytes as u64 };
    Ok(shared.admit(handover, Some(permit)).await?)
}

/// A block of Snappy: room for what it unpacks to is taken first.
async fn unpacked(
    shared: &Shared,
    caller: &Caller,
    block: Bytes,
    permit: &mut Permit,
) -> Result<(Decoded, String, usize), Failure> {
    if block.is_empty() {
        return Err(BodyError::Empty.into());
    }
    let len = proto::unpacked_len(&block, shared.limits.compression.decompressed_bytes_max)?;
    permit.grow(block.len().saturating_add(len))?;
    let decoded = shared
        .decode_from(caller, DOOR, block, move |block, reading| {
            let message = proto::unpack(block)?;
            Ok::<_, BodyError>((proto::decode(&message, reading)?, key::of_body(&[&message])))
        })
        .await?;
    Ok((decoded.0, decoded.1, len))
}

/// By what the request says; where it says neither, by its first bytes: no block of Snappy begins as an object of JSON does.
fn is_json(headers: &HeaderMap, body: &[u8]) -> bool {
    let stated = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let stated = stated.split(';').next().unwrap_or_default().trim();
    if stated.eq_ignore_ascii_case("application/json") || stated.eq_ignore_ascii_case("text/json") {
        return true;
    }
    if stated.eq_ignore_ascii_case("application/x-protobuf") {
        return false;
    }
    let start = body.trim_ascii_start();
    matches!(start.split_first(), Some((b'{', inside)) if matches!(inside.trim_ascii_start().first(), Some(b'"' | b'}')))
}

fn answer(receipts: &[Receipt]) -> Response {
    let kept: u64 = receipts.iter().map(|receipt| receipt.accepted + receipt.deduplicated).sum();
    let rejected: u64 = receipts.iter().map(|receipt| receipt.rejected_total).sum();
    if rejected > 0 {
        let named = receipts.iter().flat_map(|receipt| &receipt.rejected);
        return (StatusCode::BAD_REQUEST, rejections(named, rejected, kept)).into_response();
    }
    if kept == 0 {
        return (StatusCode::UNPROCESSABLE_ENTITY, format!("{NO_STREAMS}\n")).into_response();
    }
    StatusCode::NO_CONTENT.into_response()
}

fn rejections<'r>(named: impl Iterator<Item = &'r Rejected>, rejected: u64, kept: u64) -> String {
    let mut text = String::new();
    for Rejected { index, field, reason, .. } in named.take(NAMED_MAX) {
        let field = if field.is_empty() { String::new() } else { format!("`{field}` ") };
        let _infallible = writeln!(text, "entry {index} ignored, reason: {field}{reason}");
    }
    let total = rejected + kept;
    let rest = match kept {
        0 => "nothing of this push is stored".to_owned(),
        kept => format!("the other {kept} are stored: do not send them again"),
    };
    let _infallible = writeln!(text, "total ignored: {rejected} out of {total}; {rest}");
    text
}
