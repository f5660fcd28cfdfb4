//! One record after the other into a batch: what every decoder ends in that makes its records itself.
//!
//! A record is handed over as a JSON object: one a sender wrote ([`Records::json`]), or one a decoder wrote from a protocol of
//! another form ([`Object`], [`Records::object`]). So names, aliases, types, limits and notes mean the same whatever the door.
//!
//! Invariants:
//! - a record is in the batch whole or not at all; one that is not is in [`Decoded::rejected`] with its reason;
//! - an [`Object`] holds a well-formed JSON object at every moment, whatever it was given.
//!
//! Not here: bodies of JSON or text as a whole (see [`crate::body`]), protocols.

use heimdall_model::{Dataset, Timestamp};

use crate::body::{BodyError, DecodeLimits};
use crate::decoded::{Decoded, RejectKind, Rejected};
use crate::format::ParsedLine;
use crate::json::text::escape;
use crate::json::{RecordReader, profile_of};
use crate::pipeline::Pipes;
use crate::text::{KEPT_WHOLE, write_line};

/// Bytes of all records of one body, as the objects they are handed over as: where a protocol says something once for many records
/// (labels, tags, a host), a small body makes large records.
pub const RECORDS_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What decoders are told besides the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Arrival: the time of records that state none, and the year and zone of times that lack them.
    pub now: Timestamp,
    /// What one body may hold.
    pub limits: &'a DecodeLimits,
    /// What is done with records before they are taken.
    pub pipelines: Option<Pipes<'a>>,
}

impl<'a> Reading<'a> {
    /// Without pipelines.
    #[must_use]
    pub fn new(now: Timestamp, limits: &'a DecodeLimits) -> Reading<'a> {
        Reading { now, limits, pipelines: None }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Records<'a> {
    reader: RecordReader<'a>,
    limits: &'a DecodeLimits,
    /// A line as the object it stands for.
    line: String,
    /// Bytes handed over, those of rejected records included.
    bytes: u64,
}

impl<'a> Records<'a> {
    /// No records yet.
    #[must_use]
    pub fn new(dataset: Dataset, reading: Reading<'a>) -> Records<'a> {
        let reader = RecordReader::new(profile_of(dataset), reading);
        Records { reader, limits: reading.limits, line: String::new(), bytes: 0 }
    }

    /// Index of the next record: how many were handed over, rejected ones included.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.reader.index()
    }

    /// Whether nothing was handed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index() == 0
    }

    /// Sets when the records that come next were sent, by the envelope they came in: their time, if they state none themselves.
    pub fn sent_at(&mut self, time: Option<Timestamp>) {
        self.reader.sent_at(time);
    }

    /// Checks that another record is allowed: ask before each.
    ///
    /// # Errors
    /// [`BodyError::TooManyRecords`], [`BodyError::RecordsTooLarge`]: the body is to be refused whole.
    pub fn has_room(&self) -> Result<(), BodyError> {
        let records_max = self.limits.records_max;
        if self.bytes > RECORDS_BYTES_MAX {
            return Err(BodyError::RecordsTooLarge { bytes_max: RECORDS_BYTES_MAX });
        }
        if self.index() < records_max { Ok(()) } else { Err(BodyError::TooManyRecords { records_max }) }
    }

    /// Takes a record a sender wrote: the text of one JSON value.
    ///
    /// # Errors
    /// Why it was rejected; it is noted already.
    pub fn json(&mut self, text: &str) -> Result<(), Rejected> {
        self.bytes += text.len() as u64;
        self.reader.take_text(text)
    }

    /// The same of bytes that may be no UTF-8.
    ///
    /// # Errors
    /// As [`Records::json`].
    pub fn json_bytes(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.json(text),
            Err(error) => {
                let reason = format!("record is not UTF-8 at byte {}", error.valid_up_to());
                Err(self.reject_raw(RejectKind::Utf8, "", reason, bytes))
            }
        }
    }

    /// Takes the record a decoder wrote, and clears the object for the next one.
    ///
    /// # Errors
    /// As [`Records::json`].
    pub fn object(&mut self, object: &mut Object) -> Result<(), Rejected> {
        let text = object.close();
        self.bytes += text.len() as u64;
        let taken = self.reader.take_text(text);
        object.clear();
        taken
    }

    /// Takes what a line of text says, and what the door knows besides (a few members, which win over the line's). A line
    /// whose fields break a limit is kept whole as the message.
    ///
    /// # Errors
    /// As [`Records::json`].
    pub fn line(&mut self, line: &str, parsed: &ParsedLine<'_>, more: &Object) -> Result<(), Rejected> {
        for diagnostic in &parsed.diagnostics {
            self.note("message", diagnostic);
        }
        if !write_line(parsed, line, self.limits, &mut self.line) {
            self.note("message", KEPT_WHOLE);
        }
        if !more.is_empty() {
            self.line.pop();
            self.line.push(',');
            self.line.push_str(&more.json[1..]);
            self.line.push('}');
        }
        self.bytes += self.line.len() as u64;
        self.reader.take_text(&self.line)
    }

    /// Counts a record that could not be read; `raw`, the record as it came, is kept among the dead letters. It may be no text. Empty
    /// where there is nothing to keep.
    pub fn reject_raw(
        &mut self,
        kind: RejectKind,
        field: &str,
        reason: impl Into<String>,
        raw: &[u8],
    ) -> Rejected {
        self.reader.reject_unread_field(kind, field, reason.into(), raw)
    }

    /// Notes that something of the next record is kept in another form, or not at all.
    pub fn note(&mut self, field: &str, reason: &'static str) {
        let index = self.reader.index();
        self.reader.notes.coerce(index, field, reason);
    }

    /// The outcome.
    #[must_use]
    pub fn finish(self) -> Decoded {
        self.reader.finish()
    }
}

/// A JSON object in the making. Keys may be given in any order; of equal ones the last counts.
#[derive(Debug, Clone)]
pub struct Object {
    json: String,
}

impl Default for Object {
    fn default() -> Self {
        Object::new()
    }
}

impl Object {
    /// An empty object.
    #[must_use]
    pub fn new() -> Object {
        Object { json: "{".to_owned() }
    }

    /// Empties it; the memory is kept.
    pub fn clear(&mut self) {
        self.json.truncate(1);
    }

    /// Whether it has no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.json.len() == 1
    }

    /// Bytes of its text so far.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.json.len()
    }

    /// A text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.value(key, |out| write::text(out, value));
    }

    /// A text, unless it is empty.
    pub fn text_if(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    /// Bytes as text; what is no UTF-8 becomes U+FFFD. Whether that was so.
    pub fn lossy(&mut self, key: &str, value: &[u8]) -> bool {
        let text = String::from_utf8_lossy(value);
        self.text(key, &text);
        matches!(text, std::borrow::Cow::Owned(_))
    }

    /// A whole number.
    pub fn int(&mut self, key: &str, value: i64) {
        self.value(key, |out| write::number(out, value));
    }

    /// A whole number that is not negative.
    pub fn uint(&mut self, key: &str, value: u64) {
        self.value(key, |out| write::number(out, value));
    }

    /// A number; one that is not finite becomes the text `NaN`, `Infinity` or `-Infinity`.
    pub fn float(&mut self, key: &str, value: f64) {
        self.value(key, |out| write::float(out, value));
    }

    /// True or false.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.value(key, |out| out.push_str(if value { "true" } else { "false" }));
    }

    /// A moment, to the nanosecond.
    pub fn time(&mut self, key: &str, value: Timestamp) {
        self.value(key, |out| write::time(out, value));
    }

    /// Bytes as hex digits.
    pub fn hex(&mut self, key: &str, value: &[u8]) {
        self.value(key, |out| write::hex(out, value));
    }

    /// A value written with [`write`]: exactly one JSON value.
    pub fn value(&mut self, key: &str, write: impl FnOnce(&mut String)) {
        if self.json.len() > 1 {
            self.json.push(',');
        }
        write::text(&mut self.json, key);
        self.json.push(':');
        let start = self.json.len();
        write(&mut self.json);
        if self.json.len() == start {
            self.json.push_str("null");
        }
    }

    /// The members of another object, after those that are here.
    pub fn extend(&mut self, other: &Object) {
        if other.is_empty() {
            return;
        }
        if self.json.len() > 1 {
            self.json.push(',');
        }
        self.json.push_str(&other.json[1..]);
    }

    /// The text of the object so far.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{}}}", self.json)
    }

    fn close(&mut self) -> &str {
        self.json.push('}');
        &self.json
    }
}

/// Values as JSON text.
pub mod write {
    use std::fmt::Write as _;

    use super::{Timestamp, escape};

    /// A text in quotes.
    pub fn text(out: &mut String, value: &str) {
        out.push('"');
        escape(value, out);
        out.push('"');
    }

    /// A whole number.
    pub fn number(out: &mut String, value: impl std::fmt::Display) {
        write!(out, "{value}").expect("writing to a string cannot fail");
    }

    /// A number; one that is not finite becomes a text.
    pub fn float(out: &mut String, value: f64) {
        if value.is_finite() {
            number(out, value);
        } else if value.is_nan() {
            out.push_str("\"NaN\"");
        } else {
            out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
        }
    }

    /// A moment, to the nanosecond.
    pub fn time(out: &mut String, value: Timestamp) {
        write!(out, "\"{value}\"").expect("writing to a string cannot fail");
    }

    /// Hex digits in quotes.
    pub fn hex(out: &mut String, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        out.push('"');
        for byte in bytes {
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        out.push('"');
    }

    /// An array of what `item` writes for each of `items`.
    pub fn array<T>(
        out: &mut String,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut String, T),
    ) {
        out.push('[');
        for (n, one) in items.into_iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            item(out, one);
        }
        out.push(']');
    }

    /// An object of what `member` writes as value for each key.
    pub fn object<'k, T>(
        out: &mut String,
        members: impl IntoIterator<Item = (&'k str, T)>,
        mut member: impl FnMut(&mut String, T),
    ) {
        out.push('{');
        for (n, (key, one)) in members.into_iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            text(out, key);
            out.push(':');
            member(out, one);
        }
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use heimdall_model::schema::{logs, metrics, spans};

    use super::*;

    fn records<'a>(dataset: Dataset, limits: &'a DecodeLimits) -> Records<'a> {
        Records::new(dataset, Reading::new(Timestamp(5), limits))
    }

    #[test]
    fn what_a_decoder_writes_is_a_record_with_every_value() {
        let limits = DecodeLimits::default();
        let mut records = records(Dataset::Logs, &limits);
        let mut object = Object::new();
        object.time("timestamp", Timestamp(1_795_780_800_123_456_789));
        object.text("message", "a \"b\"\n\u{1}");
        object.hex("trace_id", &[0xab; 16]);
        object.uint("big", u64::MAX);
        object.float("nan", f64::NAN);
        object.value("list", |out| write::array(out, [1, 2], write::number));
        object.value("nothing", |_| {});
        records.object(&mut object).expect("a record");
        assert!(object.is_empty());
        let decoded = records.finish();
        let row = decoded.batch.row(0);
        assert_eq!(row.timestamp(), Timestamp(1_795_780_800_123_456_789));
        assert_eq!(row.text(logs::MESSAGE), Some("a \"b\"\n\u{1}"));
        assert_eq!(
            row.attributes(),
            Some(r#"{"big":18446744073709551615,"nan":"NaN","list":[1,2],"nothing":null}"#)
        );
        assert_eq!(decoded.timestamps_assigned, 0);
    }

    #[test]
    fn a_line_is_a_record_with_what_the_door_adds() {
        let limits = DecodeLimits { fields_max: 20, ..DecodeLimits::default() };
        let mut records = records(Dataset::Logs, &limits);
        let mut more = Object::new();
        more.text("peer_ip", "192.0.2.1");
        let line = "level=warn msg=\"a \\\"b\\\"\" shard=3 peer_ip=forged";
        let parsed = crate::format::parse_line(crate::format::Format::Logfmt, line, Timestamp(5));
        records.line(line, &parsed, &more).expect("a record");
        let many = "k=v ".repeat(9) + &(0..9).map(|n| format!("k{n}=v ")).collect::<String>();
        let parsed = crate::format::parse_line(crate::format::Format::Logfmt, &many, Timestamp(5));
        records.line(&many, &parsed, &more).expect("a record");
        let decoded = records.finish();
        assert_eq!(decoded.batch.row(0).attributes(), Some(r#"{"shard":3,"peer_ip":"192.0.2.1"}"#));
        assert_eq!(decoded.batch.row(1).text(logs::MESSAGE), Some(&*many));
        assert_eq!(decoded.batch.row(1).attributes(), Some(r#"{"peer_ip":"192.0.2.1"}"#));
    }

    #[test]
    fn what_is_said_once_for_many_records_has_an_end() {
        let limits = DecodeLimits::default();
        let mut records = records(Dataset::Logs, &limits);
        let mut object = Object::new();
        let long = "x".repeat(40 << 20);
        for _ in 0..7 {
            records.has_room().expect("room");
            object.text("a", &long);
            assert_eq!(records.object(&mut object).unwrap_err().kind, RejectKind::TooLarge);
        }
        assert_eq!(records.has_room(), Err(BodyError::RecordsTooLarge { bytes_max: RECORDS_BYTES_MAX }));
    }

    #[test]
    fn a_bad_record_says_why_and_the_next_one_is_taken() {
        let limits = DecodeLimits::default();
        let mut records = records(Dataset::Metrics, &limits);
        assert_eq!(records.json(r#"{"name":"a"}"#).unwrap_err().reason, "is missing");
        assert_eq!(records.json(r#"{"name":"a","value":1} x"#).unwrap_err().kind, RejectKind::Syntax);
        assert_eq!(records.json_bytes(b"{\"\xff\":1}").unwrap_err().kind, RejectKind::Utf8);
        assert!(records.json(r#"{"name":"a","value":1.5}"#).is_ok());
        assert_eq!(records.index(), 4);
        let decoded = records.finish();
        assert_eq!((decoded.batch.rows(), decoded.rejected_total()), (1, 3));
        assert_eq!(decoded.batch.row(0).float(metrics::VALUE), Some(1.5));
        assert_eq!(decoded.rejected.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn the_envelope_dates_records_that_do_not() {
        let limits = DecodeLimits::default();
        let mut records = records(Dataset::Logs, &limits);
        records.sent_at(Some(Timestamp(9)));
        records.json(r#"{"message":"a"}"#).expect("a record");
        records.json(r#"{"message":"b","@timestamp":"1970-01-01T00:00:01Z"}"#).expect("a record");
        records.sent_at(None);
        records.json(r#"{"message":"c"}"#).expect("a record");
        let decoded = records.finish();
        let times: Vec<_> = decoded.batch.iter().map(|row| row.timestamp().0).collect();
        assert_eq!((times, decoded.timestamps_assigned), (vec![9, 1_000_000_000, 5], 1));
    }

    #[test]
    fn a_span_needs_its_name_and_ids() {
        let limits = DecodeLimits::default();
        let mut records = records(Dataset::Spans, &limits);
        let mut object = Object::new();
        object.text("name", "GET /");
        object.hex("trace_id", &[1; 16]);
        assert_eq!(records.object(&mut object).unwrap_err().field, "span_id");
        object.text("name", "GET /");
        object.hex("trace_id", &[1; 16]);
        object.hex("span_id", &[2; 8]);
        object.value("events", |out| out.push_str(r#"[{"name":"e"}]"#));
        records.object(&mut object).expect("a span");
        let decoded = records.finish();
        assert_eq!(decoded.batch.row(0).text(spans::EVENTS), Some(r#"[{"name":"e"}]"#));
    }
}
