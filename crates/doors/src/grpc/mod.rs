//! Heimdall's own protocol over gRPC: the shortest way from a program to a durable record.
//!
//! One call with one batch, or a stream of batches with an acknowledgement for each, in order, while later ones are on their way.
//! The protocol is `proto/heimdall/v1/ingest.proto`; reflection serves it. `tests/protocol.rs` makes `proto/generated` of it.
//!
//! Invariants:
//! - a receipt is sent only for records that are durable;
//! - at most [`IN_FLIGHT_MAX`] batches of a stream are not acknowledged; the next is not read;
//! - a batch that is refused does not end its stream; bytes that are no message do.

mod records;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::routing::post;
use futures::{StreamExt, stream};
use heimdall_ingest::arrive::Arrived;
use heimdall_ingest::{Caller, Refused};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};

use self::records::Item;
use crate::http::Failure;
use crate::rpc::caller::Credentials;
use crate::rpc::health::Health;
use crate::rpc::messages::{Messages, NoRoom};
use crate::rpc::status::{code, retry_after};
use crate::rpc::{Service, answer};
use crate::shared::Handover;
use crate::{DoorError, Shared};

/// Messages and client of the protocol.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from the protocol, which says what they are"
)]
pub mod proto {
    include!("../../proto/generated/heimdall.v1.rs");
}

use self::proto::{Acknowledgement, LogRecord, Receipt, Refusal, Rejection, Sample, Span, acknowledgement};

const DOOR: &str = "grpc";
const SERVICES: [&str; 1] = ["heimdall.v1.Ingest"];
/// Batches of one stream that are being made durable at once.
const IN_FLIGHT_MAX: usize = 32;
/// The protocol, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!("../../proto/generated/heimdall.v1.bin");

/// The service.
///
/// # Errors
/// [`DoorError::Config`]: never, unless the build was broken.
pub(crate) fn service(shared: &Arc<Shared>) -> Result<Service, DoorError> {
    let (health, health_routes) = Health::new(&SERVICES);
    let routes = Router::new()
        .route("/heimdall.v1.Ingest/PushRecords", post(push::<LogRecord>))
        .route("/heimdall.v1.Ingest/PushSamples", post(push::<Sample>))
        .route("/heimdall.v1.Ingest/PushSpans", post(push::<Span>))
        .route("/heimdall.v1.Ingest/StreamRecords", post(stream_of::<LogRecord>))
        .route("/heimdall.v1.Ingest/StreamSamples", post(stream_of::<Sample>))
        .route("/heimdall.v1.Ingest/StreamSpans", post(stream_of::<Span>))
        .merge(health_routes)
        .merge(reflection()?)
        .fallback(unknown)
        .with_state(Arc::clone(shared));
    Ok(Service { routes, health })
}

const GZIP: CompressionEncoding = CompressionEncoding::Gzip;
const ZSTD: CompressionEncoding = CompressionEncoding::Zstd;

fn reflection() -> Result<Router<Arc<Shared>>, DoorError> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let bad = |error: tonic_reflection::server::Error| DoorError::Config {
        door: DOOR,
        detail: format!("reflection: {error}"),
    };
    Ok(Router::new()
        .route_service("/grpc.reflection.v1.ServerReflection/{call}", builder().build_v1().map_err(bad)?)
        .route_service(
            "/grpc.reflection.v1alpha.ServerReflection/{call}",
            builder().build_v1alpha().map_err(bad)?.accept_compressed(GZIP).accept_compressed(ZSTD),
        ))
}

async fn unknown(request: Request) -> Response<Body> {
    let path: String = request.uri().path().chars().take(120).collect();
    answer::refused_with(Status::new(
        Code::Unimplemented,
        format!("`{path}` is not a call of heimdall.v1.Ingest"),
    ))
}

// ---- one batch --------------------------------------------------------------------------------------------------------

async fn push<T: Item>(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    answer::one(push_batch::<T>(&shared, request).await)
}

async fn push_batch<T: Item>(shared: &Shared, request: Request) -> Result<Receipt, Failure> {
    let (parts, body) = request.into_parts();
    let caller = Credentials::of(&parts).caller(shared)?;
    let arrived = Messages::new(&parts.headers, body, NoRoom::Refuse).only(shared, &caller).await?;
    take::<T>(shared, caller, arrived, NoRoom::Refuse).await.1
}

/// Makes a batch durable: its id, as far as it could be read, and what became of it.
async fn take<T: Item>(
    shared: &Shared,
    caller: Caller,
    arrived: Arrived,
    no_room: NoRoom,
) -> (String, Result<Receipt, Failure>) {
    let Arrived { body, permit } = arrived;
    let bytes = body.len() as u64;
    let batch = match shared.decode_from(&caller, DOOR, body, records::decode::<T>).await {
        Ok(batch) => batch,
        Err(error) => return (String::new(), Err(error.into())),
    };
    let id = batch.id;
    let key = (!id.is_empty()).then(|| id.clone());
    let handover = Handover { caller, door: DOOR, key, decoded: vec![batch.decoded], bytes };
    let admitted = match no_room {
        NoRoom::Refuse => shared.admit(handover, Some(permit)).await,
        NoRoom::Wait => shared.admit_patiently(handover, Some(permit)).await,
    };
    let receipt =
        admitted.map(|receipts| receipt_of(&id, receipts.into_iter().next())).map_err(Failure::from);
    (id, receipt)
}

fn receipt_of(batch_id: &str, receipt: Option<heimdall_ingest::Receipt>) -> Receipt {
    let batch_id = batch_id.to_owned();
    let Some(receipt) = receipt else { return Receipt { batch_id, ..Receipt::default() } };
    let rejections = receipt.rejected.into_iter().map(|rejected| Rejection {
        index: rejected.index,
        field: rejected.field.into_owned(),
        reason: rejected.reason.into_owned(),
    });
    Receipt {
        batch_id,
        receipt_id: receipt.id.to_string(),
        accepted: receipt.accepted,
        deduplicated: receipt.deduplicated,
        rejected: receipt.rejected_total,
        rejections: rejections.collect(),
        coerced: receipt.coerced_total,
        timestamps_assigned: receipt.timestamps_assigned,
    }
}

// ---- a stream of batches ----------------------------------------------------------------------------------------------

async fn stream_of<T: Item>(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let credentials = Credentials::of(&parts);
    if let Err(failure) = credentials.caller(&shared) {
        return answer::refused(&failure);
    }
    let messages = Messages::new(&parts.headers, body, NoRoom::Wait);
    let batches = Batches { shared: Arc::clone(&shared), credentials, messages };
    let batches = stream::unfold(Some(batches), |batches| async move {
        let mut batches = batches?;
        match batches.next().await {
            Ok(None) => None,
            Ok(Some(batch)) => Some((Ok(batch), Some(batches))),
            Err(failure) => Some((Err(failure), None)),
        }
    });
    let acknowledged = batches.enumerate().map(move |(sequence, batch)| {
        let shared = Arc::clone(&shared);
        async move {
            let (caller, arrived) = batch?;
            let taken = take::<T>(&shared, caller, arrived, NoRoom::Wait).await;
            Ok(acknowledgement_of(sequence as u64, taken))
        }
    });
    answer::many(acknowledged.buffered(IN_FLIGHT_MAX))
}

/// The batches of a stream as they arrive.
struct Batches {
    shared: Arc<Shared>,
    credentials: Credentials,
    messages: Messages,
}

impl Batches {
    /// The next batch and who sends it, asked anew.
    async fn next(&mut self) -> Result<Option<(Caller, Arrived)>, Failure> {
        let Batches { shared, credentials, messages } = self;
        let caller = credentials.caller(shared)?;
        let next = messages.next(shared, &caller);
        match shared.shutdown.run_until_cancelled(next).await {
            None => Err(Failure::Refused(Refused::Closing)),
            Some(arrived) => {
                let Some(arrived) = arrived? else { return Ok(None) };
                Ok(Some((credentials.caller(shared)?, arrived))) // it may have been a long wait
            }
        }
    }
}

fn acknowledgement_of(
    sequence: u64,
    (batch_id, taken): (String, Result<Receipt, Failure>),
) -> Acknowledgement {
    let outcome = match taken {
        Ok(receipt) => acknowledgement::Outcome::Receipt(receipt),
        Err(failure) => acknowledgement::Outcome::Refusal(Refusal {
            batch_id,
            code: code(&failure) as i32,
            message: failure.to_string(),
            retry_after_ms: retry_after(&failure)
                .map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1)),
        }),
    };
    Acknowledgement { sequence, outcome: Some(outcome) }
}
