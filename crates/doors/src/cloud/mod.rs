//! What cloud services push over HTTP: Amazon Data Firehose, Google Pub/Sub, Amazon SNS.
//!
//! - [`firehose`], [`pubsub`], [`sns`]: the envelope of each, and its answers
//! - [`payload`]: what the envelopes carry
//!
//! Invariants:
//! - a delivery is acknowledged after its records are durable, and its id is the batch's key: a second delivery writes nothing;
//! - what is unpacked from one delivery is within the limit of one body, and room is taken for it;
//! - nothing that a delivery names is ever fetched.
//!
//! Not here: the meaning of what services write (CloudTrail, load balancers): that is for pipelines.

mod firehose;
mod payload;
mod pubsub;
mod sns;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::routing::post;
use heimdall_ingest::{Decoded, Permit, Reading};

use crate::Shared;
use crate::http::{Failure, Visitor, arrive, is_nothing, something_taken};
use crate::shared::Handover;

/// The paths of these doors.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/firehose", post(firehose::deliver))
        .route("/ingest/firehose", post(firehose::deliver))
        .route("/pubsub", post(pubsub::deliver))
        .route("/sns", post(sns::deliver))
}

/// A delivery, read.
#[derive(Debug)]
struct Delivery {
    decoded: Decoded,
    /// The sender's id of it.
    id: Option<String>,
}

/// Takes a delivery, if it holds records; its id.
async fn take(
    shared: &Shared,
    visitor: &Visitor,
    door: &'static str,
    headers: &HeaderMap,
    body: Body,
    decode: impl FnOnce(&[u8], Reading<'_>, &mut Permit) -> Result<Delivery, Failure> + Send + 'static,
) -> Result<Option<String>, Failure> {
    let caller = visitor.caller()?;
    let arrived = arrive(shared, &caller, headers, body).await?;
    let bytes = arrived.body.len() as u64;
    let mut permit = arrived.permit;
    let (delivery, permit) = shared
        .decode_from(&caller, door, arrived.body, move |body, reading| {
            (decode(body, reading, &mut permit), permit)
        })
        .await;
    let Delivery { decoded, id } = delivery?;
    if is_nothing(&decoded) {
        return Ok(id);
    }
    let handover = Handover { caller, door, key: id.clone(), decoded: vec![decoded], bytes };
    shared.admit(handover, Some(permit)).await?.iter().try_for_each(something_taken)?;
    Ok(id)
}

/// A header's text.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
