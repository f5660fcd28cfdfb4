//! Messages to records. Pure: schemas were looked up before.
//!
//! What a message is told to be by its format that it is not, is rejected with its reason and place. In the format `auto` nothing is
//! rejected for that: what is not what it seems is a record with the whole message as its text, and `kafka.error` says why.
//!
//! Invariants:
//! - never panics, whatever the bytes; every message with a value is in a record, or in a rejection that names its offset;
//! - the same messages with the same schemas give the same records in the same chunks.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use heimdall_ingest::format::{self, Format, Value};
use heimdall_ingest::{Decoded, Object, Reading, Records, RejectKind};
use heimdall_model::{Dataset, Timestamp};
use krafka::consumer::ConsumerRecord;
use serde_json::value::RawValue;

use super::config::MessageFormat;
use crate::registry::lookup::{Decoder, framed};

/// Bytes of JSON after which the records of a batch go on in another frame of the journal.
const CHUNK_BYTES: usize = 8 << 20;
/// Headers of a message that are kept.
const HEADERS_MAX: usize = 32;
/// Bytes of where one message came from, in all of its records: key and headers are in each.
const PLACES_BYTES_MAX: usize = 32 << 20;
/// Bytes of a key, a header's name or its value that are kept.
const PART_BYTES_MAX: usize = 1024;
/// Bytes of a message that could not be read that are kept.
const UNREAD_BYTES_MAX: usize = 64 << 10;

/// What messages become.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// What they are.
    pub format: MessageFormat,
    /// What they become.
    pub dataset: Dataset,
    /// Whether records say where they came from.
    pub metadata: bool,
    /// Service of records that state none.
    pub service: String,
}

/// Schemas by id; why not, where there is none.
pub(crate) type Schemas = HashMap<u32, Result<Arc<Decoder>, String>>;

/// Ids of the schemas that messages begin with.
pub(crate) fn schema_ids(messages: &[ConsumerRecord], format: MessageFormat) -> Vec<u32> {
    if matches!(format, MessageFormat::Text | MessageFormat::Raw) {
        return Vec::new();
    }
    let values = messages.iter().filter_map(|message| message.value.as_deref());
    let mut ids: Vec<u32> = values.filter_map(|value| Some(framed(value)?.0)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The records of messages, in chunks that fit a frame.
pub(crate) fn decode(
    messages: &[ConsumerRecord],
    schemas: &Schemas,
    options: &Options,
    reading: Reading<'_>,
) -> Vec<Decoded> {
    let mut work = Work {
        schemas,
        options,
        reading,
        records: Records::new(options.dataset, reading),
        bytes: 0,
        done: Vec::new(),
        json: String::new(),
        text: String::new(),
        place: Object::new(),
    };
    for message in messages {
        work.message(message);
    }
    work.finish()
}

struct Work<'a> {
    schemas: &'a Schemas,
    options: &'a Options,
    reading: Reading<'a>,
    records: Records<'a>,
    /// Of JSON in `records`.
    bytes: usize,
    done: Vec<Decoded>,
    /// The record being made.
    json: String,
    /// The message's JSON text.
    text: String,
    /// Where the message came from.
    place: Object,
}

/// What a message could not be read as, and why.
struct Unread {
    kind: RejectKind,
    reason: String,
}

fn unread(kind: RejectKind, reason: impl Into<String>) -> Unread {
    Unread { kind, reason: reason.into() }
}

impl Work<'_> {
    fn message(&mut self, message: &ConsumerRecord) {
        let Some(value) = message.value.as_deref() else { return }; // deletes what has its key; says nothing itself
        self.make_room();
        let sent = message.timestamp.checked_mul(1_000_000).filter(|_| message.timestamp > 0);
        self.records.sent_at(sent.map(Timestamp));
        self.place.clear();
        if self.options.metadata {
            place(&mut self.place, message);
        }
        let read = match (self.options.format, framed(value)) {
            (MessageFormat::Raw, _) => {
                self.raw(value, None);
                Ok(())
            }
            (MessageFormat::Text, _) => {
                self.line(value);
                Ok(())
            }
            (format, Some((id, rest))) => self.framed(format, id, rest),
            (MessageFormat::Json, None) => self.json_value(value),
            (MessageFormat::Auto, None) => self.guessed(value),
            (MessageFormat::Avro | MessageFormat::Protobuf, None) => {
                Err(unread(RejectKind::Invalid, "does not begin with the id of a schema"))
            }
        };
        if let Err(Unread { kind, reason }) = read {
            if self.options.format == MessageFormat::Auto && self.options.dataset == Dataset::Logs {
                self.raw(value, Some(&reason));
            } else {
                let ConsumerRecord { topic, partition, offset, .. } = message;
                let reason = format!("{topic}/{partition}@{offset}: {reason}");
                self.records.reject_raw(kind, "", reason, value);
            }
        }
    }

    fn framed(&mut self, format: MessageFormat, id: u32, rest: &[u8]) -> Result<(), Unread> {
        let schemas = self.schemas;
        let decoder = match schemas.get(&id) {
            Some(Ok(decoder)) => decoder,
            Some(Err(reason)) => return Err(unread(RejectKind::Invalid, reason.as_str())),
            None => return Err(unread(RejectKind::Invalid, format!("schema {id} was not looked up"))),
        };
        let suits = match (format, &**decoder) {
            (MessageFormat::Avro, decoder) => matches!(decoder, Decoder::Avro(_)),
            (MessageFormat::Protobuf, decoder) => matches!(decoder, Decoder::Protobuf(_)),
            (MessageFormat::Json, decoder) => matches!(decoder, Decoder::Json(_)),
            _ => true,
        };
        if !suits {
            return Err(unread(RejectKind::Invalid, format!("schema {id} is of another format")));
        }
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let read = decoder
            .decode(rest, &mut text, self.reading.limits.record_bytes_max)
            .map_err(|reason| unread(RejectKind::Invalid, reason))
            .and_then(|()| self.pieces(&text));
        self.text = text;
        read
    }

    fn json_value(&mut self, value: &[u8]) -> Result<(), Unread> {
        match std::str::from_utf8(value) {
            Ok(text) => self.pieces(text),
            Err(error) => {
                Err(unread(RejectKind::Utf8, format!("is not UTF-8 at byte {}", error.valid_up_to())))
            }
        }
    }

    fn guessed(&mut self, value: &[u8]) -> Result<(), Unread> {
        let start = value.strip_prefix(b"\xef\xbb\xbf").unwrap_or(value).trim_ascii_start();
        let opens_json = match start.split_first() {
            Some((b'{', _)) => true,
            Some((b'[', inside)) => {
                matches!(inside.trim_ascii_start().first(), Some(b'{' | b'[' | b'"' | b']'))
            }
            _ => self.options.dataset != Dataset::Logs,
        };
        if opens_json {
            self.json_value(value)
        } else {
            self.line(value);
            Ok(())
        }
    }

    /// Takes every value of a JSON text, and every element of an array; all, or with an error none.
    fn pieces(&mut self, text: &str) -> Result<(), Unread> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let syntax = |error: serde_json::Error| unread(RejectKind::Syntax, format!("is not JSON: {error}"));
        let mut pieces: Vec<&str> = Vec::new();
        for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
            let value = value.map_err(syntax)?.get();
            if value.starts_with('[') {
                let items: Vec<&RawValue> = serde_json::from_str(value).map_err(syntax)?;
                pieces.extend(items.into_iter().map(RawValue::get));
            } else {
                pieces.push(value);
            }
        }
        if pieces.is_empty() {
            return Err(unread(RejectKind::Syntax, "is empty"));
        }
        if self.place.byte_len().saturating_mul(pieces.len()) > PLACES_BYTES_MAX {
            self.place.clear();
            self.records.note("kafka", "too many records in one message: where it came from is left out");
        }
        for piece in pieces {
            self.piece(piece);
        }
        Ok(())
    }

    /// One JSON value as a record, with the message's place before its own members: those win.
    fn piece(&mut self, piece: &str) {
        self.make_room();
        let mut json = std::mem::take(&mut self.json);
        json.clear();
        match piece.strip_prefix('{') {
            Some(_) if self.place.is_empty() => json.push_str(piece),
            Some(inside) => {
                json.push_str(&self.place.to_json());
                json.pop();
                if !inside.trim_start().starts_with('}') {
                    json.push(',');
                }
                json.push_str(inside);
            }
            None => {
                let mut object = self.place.clone();
                match serde_json::from_str::<String>(piece) {
                    Ok(text) => object.text("message", &text),
                    Err(_) => object.text("message", piece),
                }
                json.push_str(&object.to_json());
            }
        }
        self.bytes += json.len();
        let _ = self.records.json(&json); // what was rejected is noted
        self.json = json;
    }

    /// A line of text in whatever format it is.
    fn line(&mut self, value: &[u8]) {
        let Ok(text) = std::str::from_utf8(value) else { return self.raw(value, None) };
        let text = text.trim_end_matches(['\n', '\r', '\0']);
        let format = match format::detect(&[text]) {
            _ if text.contains('\n') => Format::Plain,
            Format::Ndjson => Format::Plain,
            format => format,
        };
        let parsed = format::parse_line(format, text, self.reading.now);
        let fits = parsed.fields.len() + 16 + HEADERS_MAX <= self.reading.limits.fields_max
            && parsed.fields.iter().all(|(name, _)| name.len() <= self.reading.limits.key_bytes_max);
        if !fits {
            return self.raw(value, None);
        }
        let mut object = self.place.clone();
        object.text("message", &parsed.message);
        if let Some(time) = parsed.timestamp {
            object.time("timestamp", time);
        }
        if let Some(level) = parsed.level {
            object.text("level", &level.to_string());
        }
        for (name, value) in &parsed.fields {
            match value {
                Value::Text(text) => object.text(name, text),
                Value::Int(number) => object.int(name, *number),
                Value::Float(number) => object.float(name, *number),
                Value::Bool(is_true) => object.bool(name, *is_true),
            }
        }
        self.object(object);
    }

    /// A message as it is: text, or base64 of other bytes. With an error it is kept up to a bound.
    fn raw(&mut self, value: &[u8], error: Option<&str>) {
        let bound = if error.is_some() { UNREAD_BYTES_MAX } else { value.len() };
        let kept = &value[..value.len().min(bound)];
        let mut object = self.place.clone();
        match std::str::from_utf8(kept) {
            Ok(text) => object.text("message", text),
            // Cut within a character.
            Err(cut) if cut.error_len().is_none() && kept.len() < value.len() => {
                object.text("message", &String::from_utf8_lossy(&kept[..cut.valid_up_to()]));
            }
            Err(_) => {
                object.text("message", &STANDARD.encode(kept));
                object.text("kafka.encoding", "base64");
            }
        }
        if let Some(error) = error {
            object.text("kafka.error", error);
        }
        self.object(object);
    }

    fn object(&mut self, mut object: Object) {
        self.bytes += object.to_json().len();
        let _ = self.records.object(&mut object); // what was rejected is noted
    }

    fn make_room(&mut self) {
        if self.bytes >= CHUNK_BYTES || self.records.has_room().is_err() {
            let next = Records::new(self.options.dataset, self.reading);
            self.bytes = 0;
            let full = std::mem::replace(&mut self.records, next);
            self.close(full);
        }
    }

    fn close(&mut self, records: Records<'_>) {
        let mut decoded = records.finish();
        if !self.options.service.is_empty() && !decoded.batch.is_empty() {
            decoded.batch.fill_text(self.options.dataset.service(), &self.options.service);
        }
        self.done.push(decoded);
    }

    fn finish(mut self) -> Vec<Decoded> {
        let last = std::mem::replace(&mut self.records, Records::new(self.options.dataset, self.reading));
        if !last.is_empty() || self.done.is_empty() {
            self.close(last);
        }
        self.done
    }
}

/// Writes where a message came from.
fn place(object: &mut Object, message: &ConsumerRecord) {
    object.text("kafka.topic", &message.topic);
    object.int("kafka.partition", i64::from(message.partition));
    object.int("kafka.offset", message.offset);
    if let Some(key) = &message.key {
        object.text("kafka.key", &part(key));
    }
    for (name, value) in message.headers.iter().take(HEADERS_MAX) {
        let name: String = name.chars().take(128).collect();
        match value {
            Some(value) => object.text(&format!("kafka.header.{name}"), &part(value)),
            None => object.value(&format!("kafka.header.{name}"), |out| out.push_str("null")),
        }
    }
}

fn part(bytes: &Bytes) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(PART_BYTES_MAX)]).into_owned()
}

#[cfg(test)]
mod tests {
    use heimdall_ingest::DecodeLimits;
    use heimdall_ingest::schema::Schema;
    use heimdall_testkit::data::bad_inputs;
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;
    use crate::registry::avro::AvroDecoder;
    use crate::registry::protobuf::ProtobufDecoder;
    use crate::testing::check_batch;

    const SENT_MS: i64 = 1_700_000_000_000;

    fn options(format: MessageFormat) -> Options {
        Options { format, dataset: Dataset::Logs, metadata: false, service: String::new() }
    }

    fn message(value: impl Into<Bytes>) -> ConsumerRecord {
        let mut message = ConsumerRecord::new("t", 3, 17, Some("k".into()), Some(value.into()));
        message.timestamp = SENT_MS;
        message
    }

    fn all(messages: &[ConsumerRecord], options: &Options, schemas: &Schemas) -> (Vec<String>, Vec<String>) {
        let limits = DecodeLimits::default();
        let decoded = decode(messages, schemas, options, Reading::new(Timestamp(5), &limits));
        let row = |row: heimdall_model::Row<'_>| {
            let mut json = row.to_json();
            json.remove("observed_timestamp");
            json.remove("observed");
            serde_json::Value::Object(json).to_string()
        };
        let rows = decoded.iter().flat_map(|decoded| decoded.batch.iter().map(row).collect::<Vec<_>>());
        let rejected =
            decoded.iter().flat_map(|decoded| decoded.rejected.iter().map(|r| r.reason.to_string()));
        (rows.collect(), rejected.collect())
    }

    #[track_caller]
    fn check(format: MessageFormat, value: &[u8], expected: &[&str]) {
        let (rows, rejected) = all(&[message(value.to_vec())], &options(format), &Schemas::new());
        assert_eq!(rows.len() + rejected.len(), expected.len(), "{rows:?} {rejected:?}");
        for (found, expected) in rows.iter().chain(&rejected).zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn each_message_is_what_it_looks_like() {
        use MessageFormat::{Auto, Json, Raw, Text};
        check(
            Auto,
            br#"{"source":"web-firewall","ip":"203.0.113.5","message":"m"}"#,
            &[r#""service":"web-firewall""#],
        );
        check(Auto, br#"[{"message":"a"},{"message":"b"}]"#, &["\"a\"", "\"b\""]);
        check(Auto, b"{\"message\":\"a\"}\n{\"message\":\"b\"}\n", &["\"a\"", "\"b\""]);
        check(Auto, b"level=warn msg=\"slow query\"", &["slow query"]);
        check(Auto, b"just words", &[r#""message":"just words""#]);
        check(Auto, b"{broken", &["is not JSON"]);
        check(Auto, b"\xff\xfe", &[r#""kafka.encoding":"base64""#]);
        check(Auto, &[0, 0, 0, 0, 7, 1], &["was not looked up"]);
        check(Json, b"{broken", &["t/3@17: is not JSON"]);
        check(Json, b"\"text\"", &[r#""message":"text""#]);
        check(Json, b"17", &[r#""message":"17""#]);
        check(Json, b"", &["is empty"]);
        check(Json, b"{\"a\":\"\xff\"}", &["is not UTF-8 at byte 6"]);
        check(MessageFormat::Avro, b"{}", &["does not begin with the id"]);
        check(Text, br#"{"a":1}"#, &[r#""message":"{\"a\":1}""#]);
        check(Raw, b"{\"a\":1}", &[r#""message":"{\"a\":1}""#]);
    }

    #[test]
    fn the_time_is_the_records_own_or_the_messages() {
        let (rows, _) = all(
            &[message(r#"{"a":1}"#), message(r#"{"a":2,"@timestamp":"2026-01-02T03:04:05Z"}"#)],
            &options(MessageFormat::Auto),
            &Schemas::new(),
        );
        assert!(rows[0].contains("2023-11-14T22:13:20"), "{}", rows[0]);
        assert!(rows[1].contains("2026-01-02T03:04:05"), "{}", rows[1]);
    }

    #[test]
    fn records_say_where_they_came_from_and_their_own_members_win() {
        let mut one = message(r#"{ "message":"m", "kafka.key":"own" }"#);
        one.headers.push(("h".to_owned(), Some("v".into())));
        one.headers.push(("none".to_owned(), None));
        let options = Options { metadata: true, service: "gate".to_owned(), ..options(MessageFormat::Auto) };
        let (rows, _) =
            all(&[one, message("{ }"), message(r#"{"service":"own"}"#)], &options, &Schemas::new());
        for part in [
            r#""kafka.topic":"t""#,
            r#""kafka.partition":3"#,
            r#""kafka.offset":17"#,
            r#""kafka.key":"own""#,
            r#""kafka.header.h":"v""#,
            r#""service":"gate""#,
        ] {
            assert!(rows[0].contains(part), "{part} in {}", rows[0]);
        }
        assert!(rows[1].contains(r#""kafka.key":"k""#), "{}", rows[1]);
        assert!(rows[2].contains(r#""service":"own""#), "{}", rows[2]);
    }

    #[test]
    fn a_schema_reads_what_begins_with_its_id() {
        let avro = AvroDecoder::new(
            r#"{"type":"record","name":"E","fields":[{"name":"message","type":"string"}]}"#,
            &[],
        );
        let decoder = Arc::new(Decoder::Avro(avro.expect("a schema")));
        let schemas = Schemas::from([(7, Ok(decoder)), (8, Err("schema 8 is not registered".to_owned()))]);
        let framed = |id: u8, rest: &[u8]| message([&[0, 0, 0, 0, id], rest].concat());
        let messages = [framed(7, &[4, b'h', b'i']), framed(7, &[4, b'h']), framed(8, &[])];
        assert_eq!(schema_ids(&messages, MessageFormat::Auto), [7, 8]);
        let (rows, rejected) = all(&messages, &options(MessageFormat::Avro), &schemas);
        assert!(rows.len() == 1 && rows[0].contains(r#""message":"hi""#), "{rows:?}");
        assert!(rejected[0].contains("ends within a value") && rejected[1].contains("not registered"));
        let (rows, rejected) = all(&messages, &options(MessageFormat::Auto), &schemas);
        assert_eq!((rows.len(), rejected.len()), (3, 0), "in auto nothing is lost");
        let (_, rejected) = all(&messages[..1], &options(MessageFormat::Protobuf), &schemas);
        assert!(rejected[0].contains("of another format"));
    }

    #[test]
    fn a_large_batch_goes_on_in_another_chunk() {
        let value = format!(r#"{{"message":"{}"}}"#, "x".repeat(900_000));
        let messages: Vec<_> = (0..12).map(|_| message(value.clone())).collect();
        let limits = DecodeLimits::default();
        let reading = Reading::new(Timestamp(5), &limits);
        let decoded = decode(&messages, &Schemas::new(), &options(MessageFormat::Auto), reading);
        assert_eq!(decoded.iter().map(|decoded| decoded.batch.rows()).collect::<Vec<_>>(), [10, 2]);
        let none = decode(&[], &Schemas::new(), &options(MessageFormat::Auto), reading);
        assert!(none.len() == 1 && none[0].batch.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_a_rejection(
            value in proptest::collection::vec(any::<u8>(), 0..300),
            format in 0_usize..6,
            metadata in any::<bool>(),
        ) {
            use MessageFormat::{Auto, Avro, Json, Protobuf, Raw, Text};
            let format = [Auto, Json, Avro, Protobuf, Text, Raw][format];
            let options = Options { metadata, ..options(format) };
            let (rows, rejected) = all(&[message(value)], &options, &Schemas::new());
            prop_assert!(!rows.is_empty() || !rejected.is_empty());
        }
    }

    #[test]
    fn mutants_of_values_are_records_or_reasons() {
        use MessageFormat::{Auto, Avro, Json, Protobuf, Raw, Text};
        let avro = r#"{"type":"record","name":"E","fields":[{"name":"message","type":"string"},{"name":"tags","type":{"type":"array","items":["null","long"]}}]}"#;
        let avro = Decoder::Avro(AvroDecoder::new(avro, &[]).expect("a schema"));
        let proto = r#"syntax = "proto3"; message E { string message = 1; repeated E more = 2; }"#;
        let proto = Decoder::Protobuf(ProtobufDecoder::new(proto, &[]).expect("a schema"));
        let schema = r#"{"type": "object", "properties": {"message": {"type": "string"}}}"#;
        let json = Decoder::Json(Some(Box::new(Schema::new(schema).expect("a schema"))));
        let decoders = [(7, avro), (8, proto), (9, json)];
        let schemas = Schemas::from(decoders.map(|(id, decoder)| (id, Ok(Arc::new(decoder)))));
        let seeds = Seeds::bytes([
            &b"\0\0\0\0\x07\x04hi\x04\x00\x02\x0e\x00"[..],
            b"\0\0\0\0\x08\0\x0a\x02hi\x12\x04\x0a\x02ho",
            b"\0\0\0\0\x09{\"message\":\"m\"}",
            b"{\"message\":\"m\",\"timestamp\":1700000000000}\n{\"a\":[1]}",
            b"[{\"message\":\"a\"},{\"message\":\"b\"}]",
            b"<13>Feb  9 12:00:00 h app: x",
        ]);
        let limits = DecodeLimits::default();
        fuzz(&seeds, |mutant, rng| {
            let options = Options {
                metadata: rng.below(2) == 0,
                ..options(*rng.one_of(&[Auto, Json, Avro, Protobuf, Text, Raw]))
            };
            let messages = [message(mutant.to_vec())];
            let decoded = decode(&messages, &schemas, &options, Reading::new(Timestamp(5), &limits));
            decoded.iter().for_each(|decoded| check_batch(decoded, mutant.len() + 1));
            let count: u64 =
                decoded.iter().map(|decoded| decoded.batch.rows() as u64 + decoded.rejected_total()).sum();
            assert!(count > 0);
        });
    }

    #[test]
    fn after_bad_values_a_good_one_is_taken() {
        use MessageFormat::{Auto, Avro, Json, Protobuf, Raw, Text};
        let avro = r#"{"type":"record","name":"E","fields":[{"name":"message","type":"string"}]}"#;
        let avro = Decoder::Avro(AvroDecoder::new(avro, &[]).expect("a schema"));
        let proto = ProtobufDecoder::new(r#"syntax = "proto3"; message E { string message = 1; }"#, &[]);
        let decoders = [(7, avro), (8, Decoder::Protobuf(proto.expect("a schema")))];
        let schemas = Schemas::from(decoders.map(|(id, decoder)| (id, Ok(Arc::new(decoder)))));
        for input in bad_inputs() {
            for (format, good) in [
                (Auto, &br#"{"message":"good"}"#[..]),
                (Json, br#"{"message":"good"}"#),
                (Avro, b"\0\0\0\0\x07\x08good"),
                (Protobuf, b"\0\0\0\0\x08\0\x0a\x04good"),
                (Text, b"good"),
                (Raw, b"good"),
            ] {
                let framed = [&[0, 0, 0, 0, if format == Avro { 7 } else { 8 }], &input.bytes[..]].concat();
                let messages = [message(input.bytes.clone()), message(framed), message(good)];
                let (rows, _) = all(&messages, &options(format), &schemas);
                assert!(rows.last().is_some_and(|row| row.contains(r#""good""#)), "{} {rows:?}", input.name);
            }
        }
    }

    /// Key and headers were copied into every record of a message without bound.
    #[test]
    fn many_records_of_one_message_do_not_all_say_where_it_came_from() {
        let mut many = message(format!("[{}]", vec!["{}"; 50_000].join(",")));
        many.headers = (0..32).map(|n| (format!("h{n}"), Some(vec![b'x'; 1024].into()))).collect();
        let options = Options { metadata: true, ..options(MessageFormat::Json) };
        let limits = DecodeLimits::default();
        let decoded = decode(&[many], &Schemas::new(), &options, Reading::new(Timestamp(5), &limits));
        assert_eq!(decoded.iter().map(|decoded| decoded.batch.rows()).sum::<usize>(), 50_000);
        assert!(decoded.iter().all(|decoded| decoded.batch.byte_size() < 32 << 20));
        assert_eq!(decoded[0].coerced[0].field, "kafka");
    }
}
