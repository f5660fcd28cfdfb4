//! A request taken, and its answer: the same for both transports.

use heimdall_ingest::arrive::Arrived;
use heimdall_ingest::{BodyError, Caller};
use prost::Message;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{Encoding, Export, Signal, decode};
use crate::Shared;
use crate::http::Failure;
use crate::shared::Handover;

/// The answer of any of the three services: they differ in the name of a member only.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

/// How many were rejected, and why.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

impl Answer {
    fn new(signal: Signal, export: &Export) -> Answer {
        if export.rejected == 0 {
            return Answer { partial_success: None };
        }
        let more = export.rejected > export.reasons.len() as u64;
        let error_message = format!(
            "{} {} rejected: {}{}",
            export.rejected,
            signal.items(),
            export.reasons.join("; "),
            if more { "; …" } else { "" }
        );
        let rejected = i64::try_from(export.rejected).unwrap_or(i64::MAX);
        Answer { partial_success: Some(PartialSuccess { rejected, error_message }) }
    }

    /// Protobuf's JSON of it: 64-bit numbers are texts.
    pub(super) fn to_json(&self, signal: Signal) -> Value {
        match &self.partial_success {
            None => json!({}),
            Some(partial) => json!({"partialSuccess": {
                signal.rejected_member(): partial.rejected.to_string(),
                "errorMessage": partial.error_message,
            }}),
        }
    }
}

impl Signal {
    fn items(self) -> &'static str {
        match self {
            Signal::Logs => "log records",
            Signal::Metrics => "data points",
            Signal::Traces => "spans",
        }
    }

    fn rejected_member(self) -> &'static str {
        match self {
            Signal::Logs => "rejectedLogRecords",
            Signal::Metrics => "rejectedDataPoints",
            Signal::Traces => "rejectedSpans",
        }
    }
}

/// Makes the records of a request durable.
///
/// # Errors
/// [`Failure`]; nothing was written, or, after a refusal in the midst of a large request, a part that will not be written again.
pub(super) async fn take(
    shared: &Shared,
    caller: Caller,
    door: &'static str,
    signal: Signal,
    encoding: Encoding,
    arrived: Arrived,
) -> Result<Answer, Failure> {
    let Arrived { body, permit } = arrived;
    let bytes = body.len() as u64;
    let (mut export, key) = shared
        .decode_from(&caller, door, body, move |body, reading| {
            let export = decode(signal, encoding, body, reading)?;
            let key = export.is_timed().then(|| hex(digest(&SHA256, body).as_ref()));
            Ok::<_, BodyError>((export, key))
        })
        .await?;
    let answer = Answer::new(signal, &export);
    let decoded = std::mem::take(&mut export.batches);
    if !decoded.is_empty() {
        shared.admit(Handover { caller, door, key, decoded, bytes }, Some(permit)).await?;
    }
    Ok(answer)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len() + 2);
    heimdall_ingest::records::write::hex(&mut text, bytes);
    text.trim_matches('"').to_owned()
}
