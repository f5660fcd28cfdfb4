//! Where mapped records go: batches that fit the journal, and what was rejected, counted as OpenTelemetry counts.
//!
//! Invariants:
//! - a batch ends after [`BATCH_BYTES`] of records: one body may become several;
//! - all records of a body together are at most [`EXPANDED_BYTES_MAX`] long: attributes of a resource are written once but
//!   belong to each of its records, so a small body could mean a large one.

use heimdall_ingest::{BodyError, Decoded, Object, Reading, Records, RejectKind};
use heimdall_model::Dataset;

use super::node::Node;

/// A batch is ended once its records, as JSON, are this long.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Records of one body, as JSON; a body with more is refused whole.
const EXPANDED_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Reasons repeated in an answer.
const REASONS_MAX: usize = 3;

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Export {
    /// The records; none when the request held none.
    pub(crate) batches: Vec<Decoded>,
    /// Log records, data points or spans of which something was rejected.
    pub(crate) rejected: u64,
    /// The first reasons.
    pub(crate) reasons: Vec<String>,
}

impl Export {
    /// Whether every record states its own time: then the same bytes are the same batch.
    pub(crate) fn is_timed(&self) -> bool {
        self.batches.iter().all(|decoded| decoded.timestamps_assigned == 0)
    }
}

/// See the module.
pub(super) struct Sink<'a> {
    dataset: Dataset,
    reading: Reading<'a>,
    records: Records<'a>,
    /// The next record.
    pub(super) object: Object,
    done: Vec<Decoded>,
    count: u64,
    batch_bytes: usize,
    expanded_bytes: usize,
    expanded_bytes_max: usize,
    rejected: u64,
    reasons: Vec<String>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(dataset: Dataset, reading: Reading<'a>) -> Sink<'a> {
        Sink {
            dataset,
            reading,
            records: Records::new(dataset, reading),
            object: Object::new(),
            done: Vec::new(),
            count: 0,
            batch_bytes: 0,
            expanded_bytes: 0,
            expanded_bytes_max: EXPANDED_BYTES_MAX,
            rejected: 0,
            reasons: Vec::new(),
        }
    }

    /// Elements a list may have.
    pub(super) fn list_max(&self) -> u64 {
        self.reading.limits.records_max
    }

    /// Bytes one record may have as encoded. JSON of a record with many short names is shorter than OTLP's JSON of it.
    pub(super) fn node_bytes_max(&self) -> usize {
        self.reading.limits.record_bytes_max.saturating_mul(4)
    }

    /// Takes the record in `object`; whether it was accepted.
    ///
    /// # Errors
    /// The body is to be refused whole.
    pub(super) fn take(&mut self) -> Result<bool, BodyError> {
        self.has_room()?;
        let bytes = self.object.byte_len();
        self.expanded_bytes += bytes;
        if self.expanded_bytes > self.expanded_bytes_max {
            let detail = format!(
                "its records, each with its resource, are larger than {} bytes in all: send fewer at once",
                self.expanded_bytes_max
            );
            return Err(BodyError::Malformed { format: "OTLP of a size that can be taken", detail });
        }
        self.count += 1;
        self.batch_bytes += bytes;
        let taken = self.records.object(&mut self.object);
        if let Err(rejected) = &taken {
            let reason = match rejected.field.as_ref() {
                "" => format!("#{}: {}", self.count - 1, rejected.reason),
                field => format!("#{}: `{field}` {}", self.count - 1, rejected.reason),
            };
            self.remember(reason);
        }
        if self.batch_bytes >= BATCH_BYTES {
            self.cut();
        }
        Ok(taken.is_ok())
    }

    /// Counts a log record, data point or span that could not be read; `raw` is kept among the dead letters.
    ///
    /// # Errors
    /// As [`Sink::take`].
    pub(super) fn reject(
        &mut self,
        kind: RejectKind,
        field: &str,
        reason: &str,
        raw: Node<'_>,
    ) -> Result<(), BodyError> {
        self.has_room()?;
        self.records.reject_raw(kind, field, reason, raw.bytes());
        self.remember(format!("#{}: {field}{}{reason}", self.count, if field.is_empty() { "" } else { " " }));
        self.count += 1;
        self.rejected += 1;
        Ok(())
    }

    /// Counts a log record, data point or span of which something was rejected.
    pub(super) fn count_rejected(&mut self) {
        self.rejected += 1;
    }

    /// Notes something about the next record.
    pub(super) fn note(&mut self, field: &str, reason: &'static str) {
        self.records.note(field, reason);
    }

    fn has_room(&self) -> Result<(), BodyError> {
        let records_max = self.reading.limits.records_max;
        if self.count < records_max { Ok(()) } else { Err(BodyError::TooManyRecords { records_max }) }
    }

    fn remember(&mut self, reason: String) {
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        }
    }

    fn cut(&mut self) {
        let records = std::mem::replace(&mut self.records, Records::new(self.dataset, self.reading));
        self.batch_bytes = 0;
        self.done.push(records.finish());
    }

    pub(super) fn finish(mut self) -> Export {
        let is_noted = !self.records.is_empty();
        let last = self.records.finish();
        if is_noted || last.coerced_total > 0 {
            self.done.push(last);
        }
        Export { batches: self.done, rejected: self.rejected, reasons: self.reasons }
    }
}

#[cfg(test)]
mod tests {
    use heimdall_ingest::DecodeLimits;
    use heimdall_model::Timestamp;

    use super::*;

    #[test]
    fn a_large_body_becomes_several_batches_and_one_too_large_is_refused() {
        let limits = DecodeLimits::default();
        let mut sink = Sink::new(Dataset::Logs, Reading::new(Timestamp(1), &limits));
        sink.expanded_bytes_max = 40 << 20;
        let text = "x".repeat(1 << 19);
        let put = |sink: &mut Sink<'_>| {
            sink.object.text("message", &text);
            sink.take()
        };
        for _ in 0..79 {
            assert_eq!(put(&mut sink), Ok(true));
        }
        assert!(matches!(put(&mut sink), Err(BodyError::Malformed { .. })));
        let rows: Vec<_> = sink.finish().batches.iter().map(|decoded| decoded.batch.rows()).collect();
        assert_eq!(rows, [32, 32, 15]);
    }

    #[test]
    fn the_number_of_records_is_bounded_over_all_batches() {
        let limits = DecodeLimits { records_max: 2, ..DecodeLimits::default() };
        let mut sink = Sink::new(Dataset::Logs, Reading::new(Timestamp(1), &limits));
        sink.take().expect("room");
        sink.cut();
        sink.reject(RejectKind::Syntax, "", "broken", Node::Protobuf(b"\xff")).expect("room");
        assert_eq!(sink.take(), Err(BodyError::TooManyRecords { records_max: 2 }));
        let export = sink.finish();
        assert_eq!((export.rejected, export.reasons), (1, vec!["#1: broken".to_owned()]));
    }
}
