//! Prometheus remote write, versions 1 and 2: `POST /api/v1/write`.
//!
//! Invariants:
//! - what is acknowledged (204) is durable; 400 means that some samples could not be taken and sending them again will not help,
//!   while the others are kept; 429 and 5xx mean that nothing was taken and the same request may come again;
//! - a body is unpacked only into the length its header states, and only if its bytes can hold that much;
//! - the same body sent again by the same tenant is not written again: every sample states its time.
//!
//! Not kept: exemplars, metadata, start times; counted. Stale markers end a series at the sender and are no values: skipped, noted.
//!
//! Source: prometheus.io/docs/specs/prw/remote_write_spec (1.0) and remote_write_spec_2_0.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use heimdall_ingest::arrive::{Announced, ArriveError};
use heimdall_ingest::compression::CompressionError;
use heimdall_ingest::{BodyError, Decoded, Reading, Records, RejectKind};
use heimdall_model::time::NS_PER_MS;
use heimdall_model::{Dataset, Timestamp};
use metrics::counter;

use super::histogram::{Histogram, Unreadable, le};
use super::series::{self, Label, NAME, SeriesWriter};
use super::wire::{Fields, Value, WireError};
use crate::Shared;
use crate::http::{Failure, Visitor};
use crate::shared::Handover;

/// The door.
const DOOR: &str = "remote_write";
/// Texts a request of version 2 may list.
const SYMBOLS_MAX: usize = 1_000_000;
/// Labels one series may have; one with more is rejected.
const LABELS_MAX: usize = 1_000;
/// Snappy's longest copy is 64 bytes from three: no body unpacks to more than this many times its size.
const SNAPPY_RATIO_MAX: usize = 22;
/// The value that marks the end of a series.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

const STALE: &str = "the series ended (a stale marker): no sample";
const NOT_FINITE: &str = "is not a finite number: no sample";
const EXEMPLARS: &str = "exemplars are not kept";

/// The paths: Prometheus' own, Mimir's, and those of other receivers, so that only the host has to be changed.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    const PATHS: [&str; 4] =
        ["/api/v1/write", "/api/v1/push", "/api/v1/prom/remote/write", "/prometheus/api/v1/write"];
    PATHS.into_iter().fold(Router::new(), |router, path| router.route(path, post(write)))
}

/// Version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What came of a request.
#[derive(Debug)]
struct Written {
    decoded: Decoded,
    counts: Counts,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// Samples and histograms that were taken, stale markers included.
    samples: u64,
    histograms: u64,
    /// What is not kept.
    stale: u64,
    not_finite: u64,
    exemplars: u64,
    metadata: u64,
}

// ---- requests -----------------------------------------------------------------------------------------------------

async fn write(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let version = match version(&headers) {
        Ok(version) => version,
        Err(unknown) => return (StatusCode::UNSUPPORTED_MEDIA_TYPE, unknown).into_response(),
    };
    let (mut response, counts) = match take(&shared, version, &visitor, &headers, body).await {
        Ok((counts, None)) => (StatusCode::NO_CONTENT.into_response(), counts),
        Ok((counts, Some(reason))) => ((StatusCode::BAD_REQUEST, reason).into_response(), counts),
        Err(failure) => (refusal(&failure), Counts::default()),
    };
    if version == Version::Two {
        state_written(response.headers_mut(), counts);
    }
    response
}

fn refusal(failure: &Failure) -> Response {
    // Senders come back after 5xx and 429 only: what was lost on the way is worth another try.
    let status = match failure {
        Failure::Arrive(ArriveError::TooSlow | ArriveError::Incomplete) => StatusCode::SERVICE_UNAVAILABLE,
        failure => failure.status(),
    };
    let mut response = (status, failure.to_string()).into_response();
    failure.hint(response.headers_mut());
    response
}

fn state_written(headers: &mut HeaderMap, counts: Counts) {
    let mut state = |name, count: u64| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(count));
    };
    state("x-prometheus-remote-write-samples-written", counts.samples);
    state("x-prometheus-remote-write-histograms-written", counts.histograms);
    state("x-prometheus-remote-write-exemplars-written", 0);
}

/// The version a request is of; without a content type the first.
fn version(headers: &HeaderMap) -> Result<Version, String> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Version::One) };
    let text = value.to_str().unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-protobuf"));
    let proto = parts.find_map(|part| part.strip_prefix("proto=")).map(|name| name.trim_matches('"'));
    match proto {
        None | Some("prometheus.WriteRequest") if is_protobuf => Ok(Version::One),
        Some("io.prometheus.write.v2.Request") if is_protobuf => Ok(Version::Two),
        _ => Err(format!(
            "content type `{text}` is not supported: use application/x-protobuf, or \
             application/x-protobuf;proto=io.prometheus.write.v2.Request"
        )),
    }
}

/// Makes what a request holds durable; with the reason when part of it could not be taken.
async fn take(
    shared: &Shared,
    version: Version,
    visitor: &Visitor,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Counts, Option<String>), Failure> {
    let caller = visitor.caller()?;
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let encoding = text(header::CONTENT_ENCODING).map_or("snappy", str::trim);
    let is_snappy = encoding.eq_ignore_ascii_case("snappy");
    let announced = Announced {
        length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        encoding: (!is_snappy).then_some(encoding), // vmagent may send zstd
    };
    let arrived = shared.arrive(&caller, announced, body.into_data_stream()).await?;
    let mut permit = arrived.permit;
    if is_snappy {
        permit.grow(unpacked_len(&arrived.body, shared.limits.compression.decompressed_bytes_max)?)?;
    }
    let (written, key, bytes) = shared
        .decode_from(&caller, DOOR, arrived.body, move |body, reading| {
            let unpacked = if is_snappy { Some(unpack(body)?) } else { None };
            let body = unpacked.as_deref().unwrap_or(body);
            Ok::<_, Failure>((decode(version, body, reading)?, key_of(body), body.len() as u64))
        })
        .await?;
    let Written { decoded, counts } = written;
    count_ignored(counts);
    if decoded.batch.is_empty() && decoded.rejected_total() + decoded.coerced_total == 0 {
        return Ok((counts, None)); // metadata alone, or nothing: no receipt for it
    }
    let reason = reason(&decoded);
    let key = (decoded.timestamps_assigned == 0).then_some(key);
    let handover = Handover { caller, door: DOOR, key, decoded: vec![decoded], bytes };
    shared.admit(handover, Some(permit)).await?;
    Ok((counts, reason))
}

/// The length a block states, when its bytes can hold that much.
fn unpacked_len(packed: &[u8], bytes_max: usize) -> Result<usize, Failure> {
    let len = snap::raw::decompress_len(packed).map_err(|error| corrupt(&error))?;
    if len > bytes_max {
        return Err(Failure::Arrive(CompressionError::TooLarge { bytes_max }.into()));
    }
    if len > packed.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(corrupt("it states a length that its bytes cannot hold"));
    }
    Ok(len)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, Failure> {
    snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| corrupt(&error))
}

fn corrupt(detail: impl ToString) -> Failure {
    Failure::Body(BodyError::Malformed { format: "a snappy block", detail: detail.to_string() })
}

/// Requests have no id; the same bytes are the same request.
fn key_of(body: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}

fn reason(decoded: &Decoded) -> Option<String> {
    let first = decoded.rejected.first()?;
    let total = decoded.rejected_total();
    let taken = decoded.batch.rows();
    Some(format!(
        "{total} samples were not taken, {taken} were; the first: `{}` {}",
        first.field, first.reason
    ))
}

fn count_ignored(counts: Counts) {
    let Counts { stale, not_finite, exemplars, metadata, .. } = counts;
    for (kind, count) in
        [("stale", stale), ("not_finite", not_finite), ("exemplar", exemplars), ("metadata", metadata)]
    {
        if count > 0 {
            counter!("remote_write_ignored_total", "kind" => kind).increment(count);
        }
    }
}

// ---- decoding -----------------------------------------------------------------------------------------------------

/// Numbers of the fields of a series.
struct Layout {
    samples: u32,
    exemplars: u32,
    histograms: u32,
}

impl Version {
    const fn layout(self) -> Layout {
        match self {
            Version::One => Layout { samples: 2, exemplars: 3, histograms: 4 },
            Version::Two => Layout { samples: 2, histograms: 3, exemplars: 4 },
        }
    }

    const fn series(self) -> u32 {
        match self {
            Version::One => 1,
            Version::Two => 5,
        }
    }
}

/// Reads a request, unpacked.
///
/// # Errors
/// [`BodyError`]: nothing of it can be taken.
fn decode(version: Version, body: &[u8], reading: Reading<'_>) -> Result<Written, BodyError> {
    let symbols = match version {
        Version::One => Vec::new(),
        Version::Two => symbols(body)?,
    };
    let mut decoder = Decoder {
        version,
        symbols,
        labels: Vec::new(),
        label_bytes: 0,
        label_bytes_max: reading.limits.record_bytes_max,
        records: Records::new(Dataset::Metrics, reading),
        writer: SeriesWriter::default(),
        counts: Counts::default(),
    };
    for field in Fields::of(body) {
        match field.map_err(malformed)? {
            (number, value) if number == version.series() => {
                decoder.series(value.bytes().map_err(malformed)?)?;
            }
            (3, _) if version == Version::One => decoder.counts.metadata += 1,
            _ => {}
        }
    }
    Ok(Written { decoded: decoder.records.finish(), counts: decoder.counts })
}

fn malformed(error: WireError) -> BodyError {
    BodyError::Malformed { format: "a remote write request", detail: error.to_string() }
}

/// The table of texts; it may lie behind the series that use it.
fn symbols(body: &[u8]) -> Result<Vec<&str>, BodyError> {
    let mut symbols = Vec::new();
    for field in Fields::of(body) {
        let (4, value) = field.map_err(malformed)? else { continue };
        if symbols.len() == SYMBOLS_MAX {
            return Err(malformed(WireError("it lists more than 1000000 symbols")));
        }
        let bytes = value.bytes().map_err(malformed)?;
        symbols.push(std::str::from_utf8(bytes).map_err(|_| malformed(WireError("a symbol is not UTF-8")))?);
    }
    match symbols.first() {
        Some(first) if !first.is_empty() => Err(malformed(WireError("its first symbol is not empty"))),
        _ => Ok(symbols),
    }
}

struct Decoder<'a> {
    version: Version,
    symbols: Vec<&'a str>,
    /// Labels of the series at hand, in order.
    labels: Vec<Label<'a>>,
    /// Of those: names and values, which a table of symbols lets a series repeat at the cost of a byte or two.
    label_bytes: usize,
    label_bytes_max: usize,
    records: Records<'a>,
    writer: SeriesWriter,
    counts: Counts,
}

/// What is wrong with a series.
enum Bad {
    Wire(WireError),
    Labels { label: String, reason: &'static str },
}

impl From<WireError> for Bad {
    fn from(error: WireError) -> Self {
        Bad::Wire(error)
    }
}

impl Bad {
    fn label(label: &str, reason: &'static str) -> Bad {
        Bad::Labels { label: label.to_owned(), reason }
    }
}

impl<'a> Decoder<'a> {
    fn series(&mut self, message: &'a [u8]) -> Result<(), BodyError> {
        match self.read_labels(message) {
            Ok(name) => self.values(name, message),
            Err(Bad::Labels { label, reason }) => self.reject_all(message, &label, reason),
            Err(Bad::Wire(error)) => Err(malformed(error)),
        }
    }

    /// Reads, orders and checks the labels; the name of the series.
    fn read_labels(&mut self, message: &'a [u8]) -> Result<&'a str, Bad> {
        self.labels.clear();
        self.label_bytes = 0;
        for field in Fields::of(message) {
            match (field?, self.version) {
                ((1, value), Version::One) => self.label(value.bytes()?)?,
                ((1, value), Version::Two) => self.references(value)?,
                _ => {}
            }
        }
        // An empty value is the same as no label. The order is agreed on, but means nothing: senders exist that have another.
        self.labels.retain(|(_, value)| !value.is_empty());
        if !self.labels.is_sorted_by_key(|(name, _)| *name) {
            self.labels.sort_unstable_by_key(|(name, _)| *name);
        }
        if let Some(twice) = self.labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Bad::label(twice[0].0, "is a label twice"));
        }
        if self.labels.first().is_some_and(|(name, _)| name.is_empty()) {
            return Err(Bad::label("", "a label has no name"));
        }
        let name = self.labels.iter().find(|(name, _)| *name == NAME);
        name.map(|(_, name)| *name).ok_or_else(|| Bad::label(NAME, "is missing"))
    }

    fn label(&mut self, message: &'a [u8]) -> Result<(), Bad> {
        let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
        for field in Fields::of(message) {
            match field? {
                (1, bytes) => name = bytes.bytes()?,
                (2, bytes) => value = bytes.bytes()?,
                _ => {}
            }
        }
        let name = std::str::from_utf8(name).map_err(|_| Bad::label("", "a label's name is not UTF-8"))?;
        let value = std::str::from_utf8(value).map_err(|_| Bad::label(name, "is not UTF-8"))?;
        self.push(name, value)
    }

    fn push(&mut self, name: &'a str, value: &'a str) -> Result<(), Bad> {
        if self.labels.len() == LABELS_MAX {
            return Err(Bad::label("", "the series has more than 1000 labels"));
        }
        self.label_bytes += name.len() + value.len();
        if self.label_bytes > self.label_bytes_max {
            return Err(Bad::label("", "the labels are larger than a record may be"));
        }
        self.labels.push((name, value));
        Ok(())
    }

    /// Places of names and values in the table of symbols, in turn.
    fn references(&mut self, value: Value<'a>) -> Result<(), Bad> {
        let mut name = None;
        for reference in value.varints()? {
            let place = usize::try_from(reference?).unwrap_or(usize::MAX);
            let symbol = self.symbols.get(place).copied();
            let symbol =
                symbol.ok_or_else(|| Bad::label("", "a label refers to a symbol that is not there"))?;
            match name.take() {
                None => name = Some(symbol),
                Some(name) => self.push(name, symbol)?,
            }
        }
        match name {
            Some(name) => Err(Bad::label(name, "is a label without a value")),
            None => Ok(()),
        }
    }

    fn reject_all(&mut self, message: &[u8], label: &str, reason: &'static str) -> Result<(), BodyError> {
        let layout = self.version.layout();
        let mut is_kept = false;
        for field in Fields::of(message) {
            let (number, _) = field.map_err(malformed)?;
            if number == layout.samples || number == layout.histograms {
                self.records.has_room()?;
                // All of the series is kept, once.
                let raw: &[u8] = if is_kept { &[] } else { message };
                self.records.reject_raw(RejectKind::Invalid, label, reason, raw);
                is_kept = true;
            }
        }
        Ok(())
    }

    fn values(&mut self, name: &str, message: &[u8]) -> Result<(), BodyError> {
        let layout = self.version.layout();
        let mut is_begun = false;
        for field in Fields::of(message) {
            let (number, value) = field.map_err(malformed)?;
            if number == layout.samples {
                if !is_begun {
                    self.writer.begin(name, "", &self.labels, None);
                    is_begun = true;
                }
                self.sample(name, value.bytes().map_err(malformed)?)?;
            } else if number == layout.histograms {
                self.histogram(name, value.bytes().map_err(malformed)?)?;
                is_begun = false;
            } else if number == layout.exemplars {
                self.counts.exemplars += 1;
                self.records.note(name, EXEMPLARS);
            }
        }
        Ok(())
    }

    fn sample(&mut self, name: &str, message: &[u8]) -> Result<(), BodyError> {
        let (mut sample, mut timestamp_ms) = (0.0, 0);
        for field in Fields::of(message) {
            match field.map_err(malformed)? {
                (1, value) => sample = value.double().map_err(malformed)?,
                (2, value) => timestamp_ms = value.int().map_err(malformed)?,
                _ => {}
            }
        }
        if is_stale(sample) {
            self.counts.samples += 1;
            self.stale(name);
            return Ok(());
        }
        let taken = self.put(name, timestamp_ms, sample)?;
        self.counts.samples += u64::from(taken);
        Ok(())
    }

    /// One value of the series at hand; whether it was taken.
    fn put(&mut self, name: &str, timestamp_ms: i64, value: f64) -> Result<bool, BodyError> {
        if !value.is_finite() {
            self.counts.not_finite += 1;
            self.records.note(name, NOT_FINITE);
            return Ok(false);
        }
        self.records.has_room()?;
        let Some(time) = timestamp_ms.checked_mul(NS_PER_MS) else {
            let raw = format!("{} {timestamp_ms}", series::text_of(name, &self.labels, value));
            self.records.reject_raw(RejectKind::Invalid, "timestamp", "is not a time", raw.as_bytes());
            return Ok(false);
        };
        Ok(self.writer.sample(&mut self.records, Timestamp(time), value).is_ok())
    }

    fn stale(&mut self, name: &str) {
        self.counts.stale += 1;
        self.records.note(name, STALE);
    }

    fn histogram(&mut self, name: &str, message: &[u8]) -> Result<(), BodyError> {
        let read = Histogram::read(message).and_then(|histogram| {
            if is_stale(histogram.sum) {
                return Ok(None);
            }
            let buckets = histogram.cumulative().map_err(Unreadable::Invalid)?;
            Ok(Some((histogram, buckets)))
        });
        let (histogram, buckets) = match read {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.counts.histograms += 1;
                self.stale(name);
                return Ok(());
            }
            Err(Unreadable::Wire(error)) => return Err(malformed(error)),
            Err(Unreadable::Invalid(reason)) => {
                self.records.has_room()?;
                self.records.reject_raw(RejectKind::Invalid, name, reason, message);
                return Ok(());
            }
        };
        let Histogram { count, sum, timestamp_ms, .. } = histogram;
        for (bound, total) in buckets.into_iter().chain([(f64::INFINITY, count)]) {
            self.writer.begin(name, "_bucket", &self.labels, Some(("le", &le(bound))));
            self.put(name, timestamp_ms, total)?;
        }
        self.writer.begin(name, "_sum", &self.labels, None);
        self.put(name, timestamp_ms, sum)?;
        self.writer.begin(name, "_count", &self.labels, None);
        let taken = self.put(name, timestamp_ms, count)?;
        self.counts.histograms += u64::from(taken);
        Ok(())
    }
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

#[cfg(test)]
mod tests;
