//! Google Pub/Sub's push subscriptions: one message a request, acknowledged with 204.
//!
//! Pub/Sub sends a message again until it is answered with 2xx, for as long as its subscription says; its id stays the same, so
//! nothing is written twice. Both forms are taken: wrapped, and without wrapper but with metadata headers.
//!
//! Format: <https://cloud.google.com/pubsub/docs/push>

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Object, Permit, Reading};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::payload::{Payload, Text};
use super::{Delivery, take, text};
use crate::Shared;
use crate::http::{Failure, Visitor};
use crate::members::{Members, text_of};

/// Name of the door.
const DOOR: &str = "pubsub";
/// Bytes of the attributes of one message that are read; Pub/Sub allows fewer.
const ATTRIBUTES_BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow)]
    message: Message<'a>,
    #[serde(default)]
    subscription: String,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    data: String,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
    // Both spellings are sent in every message.
    #[serde(rename = "messageId", borrow)]
    id: Option<&'a RawValue>,
    #[serde(rename = "message_id", borrow)]
    id_again: Option<&'a RawValue>,
    #[serde(rename = "publishTime")]
    published: Option<String>,
    #[serde(rename = "publish_time")]
    published_again: Option<String>,
    #[serde(rename = "orderingKey", default)]
    ordering_key: String,
}

/// What the headers of a push without wrapper say.
struct Unwrapped {
    id: String,
    subscription: String,
    published: String,
}

impl Unwrapped {
    fn of(headers: &HeaderMap) -> Option<Unwrapped> {
        let header = |name| text(headers, name).map(str::to_owned);
        Some(Unwrapped {
            id: header("x-goog-pubsub-message-id")?,
            subscription: header("x-goog-pubsub-subscription-name").unwrap_or_default(),
            published: header("x-goog-pubsub-publish-time").unwrap_or_default(),
        })
    }
}

pub(super) async fn deliver(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let unwrapped = Unwrapped::of(&headers);
    let limits = shared.limits.compression.clone();
    let decode = move |body: &[u8], reading: Reading<'_>, permit: &mut Permit| {
        let payload = Payload::new(reading, &limits, body.len(), permit);
        match unwrapped {
            Some(unwrapped) => decode_unwrapped(body, payload, unwrapped),
            None => decode_wrapped(body, payload),
        }
    };
    match take(&shared, &visitor, DOOR, &headers, body, decode).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> Response {
    let status = failure.status();
    let body = json!({"error": {"code": status.as_u16(), "message": failure.to_string()}});
    let mut response = (status, Json(body)).into_response();
    failure.hint(response.headers_mut());
    response
}

fn decode_unwrapped(body: &[u8], mut payload: Payload<'_>, given: Unwrapped) -> Result<Delivery, Failure> {
    payload.give(&envelope(&given.id, &given.subscription, &given.published, "", None));
    payload.bytes(body.to_vec(), Text::Whole)?;
    Ok(Delivery { decoded: payload.records.finish(), id: Some(given.id) })
}

pub(super) fn decode_wrapped(body: &[u8], mut payload: Payload<'_>) -> Result<Delivery, Failure> {
    let Push { message, subscription }: Push<'_> = serde_json::from_slice(body)
        .map_err(|error| BodyError::Malformed { format: "a push of Pub/Sub", detail: error.to_string() })?;
    let id =
        message.id.or(message.id_again).and_then(|id| text_of(id.get())).unwrap_or_default().into_owned();
    let published = message.published.or(message.published_again).unwrap_or_default();
    let attributes = message.attributes.map(RawValue::get).filter(|raw| raw.len() <= ATTRIBUTES_BYTES_MAX);
    let attributes = attributes.and_then(Members::read);
    payload.give(&envelope(&id, &subscription, &published, &message.ordering_key, attributes.as_ref()));
    payload.base64(&message.data, Text::Whole)?;
    if payload.records.is_empty() && attributes.is_some_and(|attributes| attributes.iter().next().is_some()) {
        payload.made()?; // a message may be nothing but its attributes
    }
    Ok(Delivery { decoded: payload.records.finish(), id: Some(id).filter(|id| !id.is_empty()) })
}

/// What every record of the message is given; the time of publishing counts where the record states none.
fn envelope(
    id: &str,
    subscription: &str,
    published: &str,
    ordering_key: &str,
    attributes: Option<&Members<'_>>,
) -> Object {
    let texts = [
        ("gcp.pubsub.message_id", id),
        ("gcp.pubsub.subscription", subscription),
        ("gcp.pubsub.ordering_key", ordering_key),
    ];
    let texts = texts.into_iter().filter(|(_, value)| !value.is_empty());
    let own = attributes.into_iter().flat_map(Members::iter);
    let mut object = Object::new();
    object.value("attributes", |out| {
        let quoted = texts.map(|(key, value)| {
            let mut json = String::new();
            write::text(&mut json, value);
            (key, json)
        });
        let own = own.map(|(key, raw)| (key, raw.to_owned()));
        write::object(out, own.chain(quoted), |out, json| out.push_str(&json));
    });
    object.text_if("_time", published);
    object
}
