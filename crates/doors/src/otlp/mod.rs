//! OpenTelemetry's protocol: logs, metrics and traces, over gRPC and HTTP, in protobuf and JSON.
//!
//! - [`node`]: a request opened level by level; [`json`]: its JSON
//! - [`logs`], [`metrics`] (with [`histogram`]), [`spans`]: what becomes of each message; [`value`]: of attributes; [`sink`]: batches
//! - [`http`], [`grpc`]: the two transports; [`export`]: what they share
//!
//! Invariants:
//! - a record that cannot be read is rejected alone, and the answer says how many and why;
//! - a request is refused whole only when its outer levels cannot be read, or it is over a limit;
//! - the same bytes sent again are not written again, when every record states its time.
//!
//! Not here: profiles (refused, plainly); `http/json` of other versions than 1.

mod export;
pub(crate) mod grpc;
mod histogram;
pub(crate) mod http;
mod json;
mod logs;
mod metrics;
mod node;
mod scope;
mod sink;
mod spans;
#[cfg(test)]
pub(crate) mod tests;
mod value;

use heimdall_ingest::{BodyError, Reading};
use heimdall_model::Dataset;

pub(crate) use self::node::Encoding;
use self::node::Node;
pub(crate) use self::sink::Export;
use self::sink::Sink;

/// What a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Log records.
    Logs,
    /// Metrics.
    Metrics,
    /// Spans.
    Traces,
}

impl Signal {
    fn dataset(self) -> Dataset {
        match self {
            Signal::Logs => Dataset::Logs,
            Signal::Metrics => Dataset::Metrics,
            Signal::Traces => Dataset::Spans,
        }
    }
}

/// Decodes a request.
///
/// # Errors
/// [`BodyError`]: nothing of it was accepted.
pub(crate) fn decode(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
    reading: Reading<'_>,
) -> Result<Export, BodyError> {
    let root = Node::root(encoding, body)?;
    let mut sink = Sink::new(signal.dataset(), reading);
    match signal {
        Signal::Logs => scope::each(root, &mut sink, &logs::PATH, logs::take),
        Signal::Metrics => scope::each(root, &mut sink, &metrics::PATH, metrics::take),
        Signal::Traces => scope::each(root, &mut sink, &spans::PATH, spans::take),
    }?;
    Ok(sink.finish())
}

/// For measuring; see `examples/otlp_cost.rs`. How many records came of a request.
///
/// # Errors
/// As the door's.
#[doc(hidden)]
pub fn decode_for_measure(
    signal: &str,
    is_json: bool,
    body: &[u8],
    reading: Reading<'_>,
) -> Result<usize, BodyError> {
    let signal = match signal {
        "logs" => Signal::Logs,
        "metrics" => Signal::Metrics,
        _ => Signal::Traces,
    };
    let encoding = if is_json { Encoding::Json } else { Encoding::Protobuf };
    Ok(decode(signal, encoding, body, reading)?.batches.iter().map(|decoded| decoded.batch.rows()).sum())
}
