//! Amazon Data Firehose to an HTTP endpoint: a request of records in base64, acknowledged by its id.
//!
//! Firehose sends a request again until it is answered with 200 and the same id, for as long as its delivery stream says; its id
//! stays the same, so nothing is written twice.
//!
//! Format: <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use heimdall_ingest::compression::CompressionLimits;
use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Object, Permit, Reading, RejectKind};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::payload::{Payload, Text};
use super::{Delivery, take, text};
use crate::Shared;
use crate::http::{Failure, Visitor};
use crate::members::{Members, each_element};

/// Name of the door.
const DOOR: &str = "firehose";
/// Characters of an error that Firehose shows.
const ERROR_CHARS_MAX: usize = 2_000;
/// Bytes of an id that is repeated.
const ID_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    request_id: Option<String>,
    #[serde(borrow)]
    records: &'a RawValue,
}

#[derive(Deserialize)]
struct Record {
    data: String,
}

pub(super) async fn deliver(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let id = text(&headers, "x-amz-firehose-request-id").filter(|id| id.len() <= ID_BYTES_MAX);
    let given = given(&headers);
    let limits = shared.limits.compression.clone();
    let header_id = id.map(str::to_owned);
    let decode = move |body: &[u8], reading: Reading<'_>, permit: &mut Permit| {
        decode(body, reading, permit, &limits, &given, header_id)
    };
    let taken = take(&shared, &visitor, DOOR, &headers, body, decode).await;
    let now_ms = shared.intake.now().0 / 1_000_000;
    match taken {
        Ok(id) => Json(json!({"requestId": id.unwrap_or_default(), "timestamp": now_ms})).into_response(),
        Err(failure) => failed(&failure, id, now_ms),
    }
}

fn failed(failure: &Failure, id: Option<&str>, now_ms: i64) -> Response {
    let message: String = failure.to_string().chars().take(ERROR_CHARS_MAX).collect();
    let status: StatusCode = failure.status();
    let body = json!({"requestId": id.unwrap_or_default(), "timestamp": now_ms, "errorMessage": message});
    let mut response = (status, Json(body)).into_response();
    failure.hint(response.headers_mut());
    response
}

/// What the delivery stream gives to every record: its common attributes and its own name.
fn given(headers: &HeaderMap) -> Object {
    let common = text(headers, "x-amz-firehose-common-attributes").and_then(Members::read);
    let common = common.and_then(|all| all.members("commonAttributes")).unwrap_or_default();
    let arn = text(headers, "x-amz-firehose-source-arn");
    let mut object = Object::new();
    let arn = arn.map(|arn| {
        let mut json = String::new();
        write::text(&mut json, arn);
        ("aws.firehose.arn", json)
    });
    let common = common.iter().map(|(key, raw)| (key, raw.to_owned()));
    let members: Vec<_> = common.chain(arn).collect();
    if !members.is_empty() {
        object.value("attributes", |out| write::object(out, members, |out, json| out.push_str(&json)));
    }
    object
}

pub(super) fn decode(
    body: &[u8],
    reading: Reading<'_>,
    permit: &mut Permit,
    limits: &CompressionLimits,
    given: &Object,
    header_id: Option<String>,
) -> Result<Delivery, Failure> {
    let malformed = |error: serde_json::Error| BodyError::Malformed {
        format: "a request of Firehose",
        detail: error.to_string(),
    };
    let request: Request<'_> = serde_json::from_slice(body).map_err(malformed)?;
    let mut payload = Payload::new(reading, limits, body.len(), permit);
    payload.give(given);
    each_element(request.records.get(), |record| match serde_json::from_str::<Record>(record) {
        Ok(record) => payload.base64(&record.data, Text::Lines),
        Err(_) => {
            payload.records.has_room()?;
            let reason = "record has no `data` in base64";
            payload.records.reject_raw(RejectKind::Missing, "data", reason, record.as_bytes());
            Ok(())
        }
    })
    .map_err(malformed)??;
    let id = header_id.or(request.request_id).filter(|id| id.len() <= ID_BYTES_MAX);
    Ok(Delivery { decoded: payload.records.finish(), id })
}
