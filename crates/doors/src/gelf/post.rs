//! `POST /gelf`: one message, or several one after the other.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heimdall_ingest::arrive::{ArriveError, Arrived};
use heimdall_ingest::compression::decompress;

use super::decode::{decode_body, packed_by};
use crate::Shared;
use crate::http::{Failure, Visitor, arrive};
use crate::shared::Handover;
use crate::streams::off_the_async_threads;

const DOOR: &str = "gelf";

/// Answers `202` when the messages are durable, and `400` with the reason when none could be read.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // In a task of its own: some clients, such as graypy, hang up without waiting for the answer.
    let taken = tokio::spawn(async move { take(&shared, &visitor, headers, body).await });
    match taken.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(failure) => {
            let mut response = (failure.status(), format!("{failure}\n")).into_response();
            failure.hint(response.headers_mut());
            response
        }
    }
}

async fn take(shared: &Shared, visitor: &Visitor, mut headers: HeaderMap, body: Body) -> Result<(), Failure> {
    let caller = visitor.caller()?;
    // Some clients pack without a word, others name every encoding there is: the first bytes tell which it is.
    let names_several = |value: &header::HeaderValue| value.as_bytes().contains(&b',');
    if headers.get(header::CONTENT_ENCODING).is_some_and(names_several) {
        headers.remove(header::CONTENT_ENCODING);
    }
    let Arrived { mut body, mut permit } = arrive(shared, &caller, &headers, body).await?;
    if let Some(encoding) = packed_by(&body) {
        let limits = shared.limits.compression.clone();
        let packed = body;
        let unpacked = off_the_async_threads(shared, &caller, DOOR, move |_| {
            decompress(Some(encoding), packed, &limits)
        })
        .await;
        body = unpacked.map_err(ArriveError::from)?;
        permit.grow(body.len())?;
    }
    let bytes = body.len() as u64;
    let decoded = shared.decode_from(&caller, DOOR, body, decode_body).await?;
    let first = decoded.rejected.first().filter(|_| decoded.batch.is_empty());
    let reason = first.map(|rejected| format!("{} {}", rejected.field, rejected.reason).trim().to_owned());
    let handover = Handover { caller, door: DOOR, key: None, decoded: vec![decoded], bytes };
    shared.admit(handover, Some(permit)).await?;
    reason.map_or(Ok(()), |reason| Err(Failure::Bad(reason)))
}
