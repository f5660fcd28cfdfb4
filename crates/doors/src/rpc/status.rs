//! Refusals as `google.rpc.Status`: over gRPC, and in the bodies of OTLP over HTTP.
//!
//! OpenTelemetry's senders keep what is refused with `UNAVAILABLE`, and with `RESOURCE_EXHAUSTED` when a time to come back is
//! named; everything else they drop. So those two are for what waiting cures, and for nothing else.

use std::time::Duration;

use bytes::Bytes;
use heimdall_ingest::Refused;
use heimdall_ingest::arrive::ArriveError;
use heimdall_ingest::compression::CompressionError;
use prost::Message;
use serde_json::{Value, json};
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::{Code, Status};

use crate::http::Failure;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// When to come back after a failure that names no time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Delay {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

impl From<Duration> for RetryInfo {
    fn from(delay: Duration) -> RetryInfo {
        let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
        let nanos = i32::try_from(delay.subsec_nanos()).unwrap_or(0);
        RetryInfo { retry_delay: Some(Delay { seconds, nanos }) }
    }
}

/// The code of a failure.
pub(crate) fn code(failure: &Failure) -> Code {
    match failure {
        Failure::Denied(denied) if denied.is_unauthenticated() => Code::Unauthenticated,
        Failure::Denied(_) => Code::PermissionDenied,
        Failure::Arrive(ArriveError::Refused(refused)) | Failure::Refused(refused) => {
            code_of_refused(refused)
        }
        Failure::Arrive(ArriveError::TooSlow) => Code::DeadlineExceeded,
        Failure::Arrive(ArriveError::Incomplete) => Code::Cancelled,
        Failure::Arrive(ArriveError::Compression(CompressionError::Unsupported { .. })) => {
            Code::Unimplemented
        }
        _ => Code::InvalidArgument,
    }
}

fn code_of_refused(refused: &Refused) -> Code {
    match refused {
        Refused::RateLimited { .. } | Refused::Busy { .. } => Code::ResourceExhausted,
        Refused::TooLarge { .. } => Code::InvalidArgument,
        _ => Code::Unavailable,
    }
}

/// When the same call may pass; `None` when it never will.
pub(crate) fn retry_after(failure: &Failure) -> Option<Duration> {
    let is_worth_it = matches!(code(failure), Code::ResourceExhausted | Code::Unavailable);
    is_worth_it.then(|| failure.retry_after().unwrap_or(RETRY_AFTER))
}

/// What went wrong, with the causes below it.
fn message(failure: &Failure) -> String {
    use std::error::Error;
    let mut text = failure.to_string();
    let mut source = match failure {
        Failure::Refused(refused) => refused.source(),
        _ => None,
    };
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl RpcStatus {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> RpcStatus {
        RpcStatus { code: code as i32, message: message.into(), details: Vec::new() }
    }

    pub(crate) fn of(failure: &Failure) -> RpcStatus {
        let retry = retry_after(failure).map(|delay| Any {
            type_url: RETRY_INFO.to_owned(),
            value: RetryInfo::from(delay).encode_to_vec(),
        });
        RpcStatus { details: retry.into_iter().collect(), ..RpcStatus::new(code(failure), message(failure)) }
    }

    /// Protobuf's JSON of it.
    pub(crate) fn to_json(&self) -> Value {
        let details = self.details.iter().filter_map(|any| {
            let delay = RetryInfo::decode(any.value.as_slice()).ok()?.retry_delay?;
            Some(json!({"@type": any.type_url, "retryDelay": format!("{}.{:09}s", delay.seconds, delay.nanos)}))
        });
        json!({"code": self.code, "message": self.message, "details": details.collect::<Vec<_>>()})
    }
}

/// A failure as the status of a call.
pub(crate) fn status(failure: &Failure) -> Status {
    let details: Bytes = RpcStatus::of(failure).encode_to_vec().into();
    let mut metadata = MetadataMap::new();
    if let Some(delay) = retry_after(failure) {
        // The one is gRPC's own; the other is where some SDKs look instead of in the details.
        let ms = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
        metadata.insert("grpc-retry-pushback-ms", ms.into());
        let info = RetryInfo::from(delay).encode_to_vec();
        metadata.insert_bin("google.rpc.retryinfo-bin", BinaryMetadataValue::from_bytes(&info));
    }
    Status::with_details_and_metadata(code(failure), message(failure), details, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_cures_names_a_time_and_nothing_else_does() {
        let busy = Failure::Refused(Refused::Busy { retry_after: Duration::from_millis(1500) });
        let told = status(&busy);
        assert_eq!((told.code(), told.message()), (Code::ResourceExhausted, "server is busy"));
        let decoded = RpcStatus::decode(told.details()).expect("a status");
        assert_eq!(
            decoded.to_json(),
            json!({"code": 8, "message": "server is busy", "details": [{"@type": RETRY_INFO, "retryDelay": "1.500000000s"}]})
        );
        assert_eq!(
            told.metadata().get("grpc-retry-pushback-ms").map(|ms| ms.to_str().ok()),
            Some(Some("1500"))
        );
        assert_eq!(code(&Failure::Refused(Refused::Latched)), Code::Unavailable);
        assert_eq!(retry_after(&Failure::Refused(Refused::Closing)), Some(RETRY_AFTER));
        for failure in [
            Failure::Bad("x".to_owned()),
            Failure::Refused(Refused::TooLarge { bytes: 2, bytes_max: 1 }),
            Failure::Arrive(ArriveError::TooLarge { bytes_max: 1 }),
            Failure::Denied(heimdall_guard::Denied::NoToken),
        ] {
            assert_eq!(retry_after(&failure), None, "{failure}");
            assert_eq!(status(&failure).metadata().len(), 0);
        }
    }
}
