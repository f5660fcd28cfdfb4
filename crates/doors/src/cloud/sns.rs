//! Amazon SNS over HTTP(S): notifications, wrapped or raw.
//!
//! A subscription is confirmed by opening an address that SNS sends; this server never opens it, since whoever could send here
//! could make it open any address. The request to confirm becomes a log record that holds the address, for a person to open.
//!
//! Format: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use heimdall_ingest::compression::CompressionLimits;
use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Object, Permit, Reading};
use heimdall_model::Level;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::payload::{Payload, Text};
use super::{Delivery, take, text};
use crate::Shared;
use crate::http::{Failure, Visitor};
use crate::members::Members;

/// Name of the door.
const DOOR: &str = "sns";
/// Bytes of the attributes of one message that are read; SNS allows fewer.
const ATTRIBUTES_BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    r#type: String,
    #[serde(default)]
    message_id: String,
    #[serde(default)]
    topic_arn: String,
    subject: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    timestamp: String,
    #[serde(borrow)]
    message_attributes: Option<&'a RawValue>,
    #[serde(rename = "SubscribeURL", default)]
    subscribe_url: String,
}

/// What the headers of a raw delivery say.
struct Raw {
    id: Option<String>,
    topic: String,
}

impl Raw {
    fn of(headers: &HeaderMap) -> Option<Raw> {
        let is_raw =
            text(headers, "x-amz-sns-rawdelivery").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let topic = text(headers, "x-amz-sns-topic-arn").unwrap_or_default().to_owned();
        is_raw.then(|| Raw { id: text(headers, "x-amz-sns-message-id").map(str::to_owned), topic })
    }
}

pub(super) async fn deliver(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let raw = Raw::of(&headers);
    let limits = shared.limits.compression.clone();
    let decode = move |body: &[u8], reading: Reading<'_>, permit: &mut Permit| match raw {
        Some(raw) => decode_raw(body, reading, permit, &limits, raw),
        None => decode_wrapped(body, reading, permit, &limits),
    };
    match take(&shared, &visitor, DOOR, &headers, body, decode).await {
        Ok(_) => StatusCode::OK.into_response(),
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> Response {
    let mut response = (failure.status(), Json(json!({"error": failure.to_string()}))).into_response();
    failure.hint(response.headers_mut());
    response
}

fn decode_raw(
    body: &[u8],
    reading: Reading<'_>,
    permit: &mut Permit,
    limits: &CompressionLimits,
    raw: Raw,
) -> Result<Delivery, Failure> {
    let mut payload = Payload::new(reading, limits, body.len(), permit);
    payload.give(&given(raw.id.as_deref().unwrap_or_default(), &raw.topic, None, ""));
    payload.bytes(body.to_vec(), Text::Whole)?;
    Ok(Delivery { decoded: payload.records.finish(), id: raw.id })
}

pub(super) fn decode_wrapped(
    body: &[u8],
    reading: Reading<'_>,
    permit: &mut Permit,
    limits: &CompressionLimits,
) -> Result<Delivery, Failure> {
    let malformed = |detail: String| BodyError::Malformed { format: "a message of SNS", detail };
    let envelope: Envelope<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    let mut payload = Payload::new(reading, limits, body.len(), permit);
    let attributes = envelope.message_attributes.map(RawValue::get);
    let attributes = attributes.filter(|raw| raw.len() <= ATTRIBUTES_BYTES_MAX).and_then(Members::read);
    let mut more = given(&envelope.message_id, &envelope.topic_arn, attributes.as_ref(), &envelope.timestamp);
    more.text_if("aws.sns.subject", envelope.subject.as_deref().unwrap_or_default());
    payload.give(&more);
    match envelope.r#type.as_str() {
        "Notification" => payload.bytes(envelope.message.into_bytes(), Text::Whole)?,
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
            let object = payload.object();
            object.text("message", &envelope.message);
            object.text("level", Level::Warn.as_str());
            object.text("aws.sns.type", &envelope.r#type);
            object.text_if("SubscribeURL", &envelope.subscribe_url);
            payload.made()?;
        }
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(malformed(format!("its type is `{other}`")).into());
        }
    }
    let id = Some(envelope.message_id).filter(|id| !id.is_empty());
    Ok(Delivery { decoded: payload.records.finish(), id })
}

/// What every record of the message is given; the time of the notification counts where the record states none.
fn given(id: &str, topic: &str, attributes: Option<&Members<'_>>, time: &str) -> Object {
    let own = attributes
        .into_iter()
        .flat_map(Members::iter)
        .filter_map(|(key, raw)| Some((key, Members::read(raw)?.text("Value")?.into_owned())));
    let texts = [("aws.sns.message_id", id), ("aws.sns.topic_arn", topic)];
    let texts = texts.into_iter().filter(|(_, value)| !value.is_empty());
    let texts = texts.map(|(key, value)| (key, value.to_owned()));
    let mut object = Object::new();
    object.value("attributes", |out| {
        write::object(out, own.chain(texts), |out, value| write::text(out, &value));
    });
    object.text_if("_time", time);
    object
}
