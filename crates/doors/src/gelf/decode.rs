//! Messages to records.
//!
//! Invariant: every member of a message is in its record, by the field it means, by its name without the underscore, or, when
//! that name is taken, by its name with it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use heimdall_ingest::compression::{CompressionError, CompressionLimits, decompress};
use heimdall_ingest::{BodyError, Decoded, Object, Reading, Records, RejectKind};
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, Level};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::framing::{Defect, Frame};

/// Bytes to which one batch of packed messages may unpack; those beyond it are rejected.
const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Unpacked bytes for each packed one, judged beyond 1 MiB.
const RATIO_MAX: usize = 1_000;

const NO_MESSAGE: &str = "is missing";
const EMPTY: &str = "message has no member";

/// Names that the record has from elsewhere.
const TAKEN: [&str; 10] = [
    "timestamp",
    "message",
    "level",
    "host",
    "short_message",
    "gelf_version",
    "severity_code",
    "facility",
    "peer_ip",
    "attributes",
];

/// Whether messages may be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// Never.
    None,
    /// By gzip or zlib, told by their first bytes.
    Any,
}

/// What is known of the senders.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Of messages that name none.
    pub(super) service: Option<String>,
    pub(super) packing: Packing,
    /// Of one message, unpacked.
    pub(super) bytes_max: usize,
}

/// The encoding of packed bytes; `None`: they are not packed.
pub(super) fn packed_by(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [method, flags, ..]
            if method & 15 == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31) =>
        {
            Some("deflate")
        }
        _ => None,
    }
}

/// The records of frames.
pub(super) fn decode(bytes: &[u8], frames: &[Frame], source: &Source, reading: Reading<'_>) -> Decoded {
    let mut messages = Messages::new(reading);
    let mut unpacked_max = UNPACKED_BYTES_MAX;
    for frame in frames {
        let message = &bytes[frame.range.clone()];
        if frame.defect == Some(Defect::Cut) {
            messages.records.reject_raw(RejectKind::TooLarge, "", too_large(source.bytes_max), message);
            continue;
        }
        messages.peer = Some(frame.peer);
        let taken = match packed_by(message).filter(|_| source.packing == Packing::Any) {
            None => messages.take(message),
            Some(encoding) => match unpack(encoding, message, source.bytes_max.min(unpacked_max)) {
                Ok(unpacked) => {
                    unpacked_max -= unpacked.len();
                    messages.take(&unpacked)
                }
                Err(error) => {
                    messages.reject_packed(&error, message);
                    Ok(())
                }
            },
        };
        if let Err(full) = taken {
            messages.records.reject_raw(RejectKind::TooLarge, "", full.to_string(), message);
        }
    }
    let mut decoded = messages.records.finish();
    if let Some(service) = &source.service {
        decoded.default_service(service);
    }
    decoded
}

/// The records of a body: messages one after the other.
///
/// # Errors
/// [`BodyError::TooManyRecords`].
pub(super) fn decode_body(body: &[u8], reading: Reading<'_>) -> Result<Decoded, BodyError> {
    let mut messages = Messages::new(reading);
    messages.take(body)?;
    Ok(messages.records.finish())
}

fn unpack(encoding: &'static str, packed: &[u8], bytes_max: usize) -> Result<Bytes, CompressionError> {
    let limits = CompressionLimits { decompressed_bytes_max: bytes_max, ratio_max: RATIO_MAX };
    decompress(Some(encoding), Bytes::copy_from_slice(packed), &limits)
}

fn too_large(bytes_max: usize) -> String {
    format!("message is larger than {bytes_max} bytes")
}

struct Messages<'r> {
    records: Records<'r>,
    object: Object,
    peer: Option<IpAddr>,
}

impl<'r> Messages<'r> {
    fn new(reading: Reading<'r>) -> Self {
        Messages { records: Records::new(Dataset::Logs, reading), object: Object::new(), peer: None }
    }

    fn reject_packed(&mut self, error: &CompressionError, packed: &[u8]) {
        let kind = match error {
            CompressionError::TooLarge { .. } | CompressionError::Bomb { .. } => RejectKind::TooLarge,
            _ => RejectKind::Syntax,
        };
        self.records.reject_raw(kind, "", error.to_string(), packed);
    }

    /// The messages of a text: usually one.
    ///
    /// # Errors
    /// [`BodyError::TooManyRecords`]; those before it were taken.
    fn take(&mut self, text: &[u8]) -> Result<(), BodyError> {
        let text = match std::str::from_utf8(text) {
            Ok(text) => text.trim_start_matches('\u{feff}'),
            Err(error) => {
                let reason = format!("message is not UTF-8 at byte {}", error.valid_up_to());
                self.records.reject_raw(RejectKind::Utf8, "", reason, text);
                return Ok(());
            }
        };
        let before = self.records.index();
        for message in serde_json::Deserializer::from_str(text).into_iter::<Members<'_>>() {
            self.records.has_room()?;
            match message {
                Ok(members) => self.message(&members),
                Err(error) => {
                    let reason = format!("message is not a JSON object: {error}");
                    self.records.reject_raw(RejectKind::Syntax, "", reason, text.as_bytes());
                    return Ok(());
                }
            }
        }
        if self.records.index() == before {
            self.records.reject_raw(RejectKind::Syntax, "", "message is empty", text.as_bytes());
        }
        Ok(())
    }

    fn message(&mut self, members: &Members<'_>) {
        if members.0.is_empty() {
            self.records.reject_raw(RejectKind::Missing, "", EMPTY, b"{}");
            return;
        }
        let has_message = write(members, &mut self.object);
        if !has_message {
            self.records.note("short_message", NO_MESSAGE);
        }
        if let Some(peer) = self.peer {
            self.object.text("peer_ip", &peer.to_string());
        }
        let _ = self.records.object(&mut self.object); // what was rejected is noted
    }
}

/// The members of an object in their order, values as written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl Members<'_> {
    /// The last value of a name that is not null or an empty text.
    fn get(&self, name: &str) -> Option<&RawValue> {
        let says = |value: &&RawValue| !matches!(value.get(), "null" | "\"\"");
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value).filter(says)
    }
}

/// Writes the record of a message; whether it has a text. A full message often is a backtrace only: the short one goes before
/// it, unless it begins with it.
fn write(members: &Members<'_>, out: &mut Object) -> bool {
    let (short, full) = (members.get("short_message"), members.get("full_message"));
    let message = match (short.or_else(|| members.get("message")), full) {
        (Some(short), Some(full)) if !begins(full, short) => {
            Some(format!("{}\n{}", text_of(short), text_of(full)).into())
        }
        (_, Some(full)) => Some(text_of(full)),
        (short, None) => short.map(text_of),
    };
    if let Some(message) = &message {
        out.text("message", message);
    }
    for (key, value) in &members.0 {
        match key.as_str() {
            "full_message" | "short_message" => {}
            "message" if short.is_none() => {}
            "version" => raw(out, "gelf_version", value),
            "level" => write_level(out, value),
            "host" | "timestamp" | "facility" => raw(out, key, value),
            _ => raw(out, &name_of(key), value),
        }
    }
    if let Some(container) = members.get("_container_name").filter(|_| !names_a_service(members)) {
        out.text("service", &text_of(container)); // Docker's driver names no service
    }
    message.is_some()
}

fn raw(out: &mut Object, key: &str, value: &RawValue) {
    out.value(key, |json| json.push_str(value.get()));
}

/// Severities 0 to 7 of syslog, as number or text; what is none stays for the reader of records to judge.
fn write_level(out: &mut Object, value: &RawValue) {
    let severity = text_of(value).trim().parse::<u8>().ok().filter(|severity| *severity <= 7);
    match severity {
        Some(severity) => {
            out.text("level", Level::from_syslog_severity(severity).as_str());
            out.uint("severity_code", u64::from(severity));
        }
        None => raw(out, "level", value),
    }
}

/// The name of an additional field, without its underscore unless that name is taken.
fn name_of(key: &str) -> Cow<'_, str> {
    let bare = key.strip_prefix('_').unwrap_or(key);
    let is_taken = bare.is_empty() || TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(bare));
    match (is_taken, key.starts_with('_')) {
        (false, _) => Cow::Borrowed(bare),
        (true, true) => Cow::Borrowed(key),
        (true, false) => Cow::Owned(format!("gelf.{key}")),
    }
}

fn names_a_service(members: &Members<'_>) -> bool {
    members.0.iter().any(|(key, _)| Dataset::Logs.resolve(&name_of(key)) == Some(logs::SERVICE))
}

/// Whether the short message is the beginning of the full one, and so no text of its own.
fn begins(full: &RawValue, short: &RawValue) -> bool {
    text_of(full).starts_with(text_of(short).trim_end())
}

/// A text without its quotes and escapes; any other value as it is written.
fn text_of(value: &RawValue) -> Cow<'_, str> {
    serde_json::from_str::<String>(value.get()).map_or(Cow::Borrowed(value.get()), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use heimdall_ingest::{DecodeLimits, Encoding};
    use heimdall_model::Timestamp;
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::framing::{Frames, NOBODY};
    use crate::testing::check_batch;

    fn source() -> Source {
        Source { service: None, packing: Packing::Any, bytes_max: 1000 }
    }

    fn decoded(messages: &[&[u8]]) -> Decoded {
        let mut frames = Frames::default();
        messages.iter().for_each(|message| frames.push(message, NOBODY, None));
        let limits = DecodeLimits::default();
        decode(&frames.bytes, &frames.list, &source(), Reading::new(Timestamp(5), &limits))
    }

    #[track_caller]
    fn check(message: &Value, expected: Value) {
        let decoded = decoded(&[message.to_string().as_bytes()]);
        assert_eq!((decoded.batch.rows(), decoded.rejected_total()), (1, 0), "{:?}", decoded.rejected);
        let mut record = decoded.batch.row(0).to_json();
        record.remove("observed");
        record.remove("id");
        assert_eq!(Value::Object(record), expected);
    }

    #[test]
    fn the_example_of_the_specification() {
        let message = r#"{"version":"1.1","host":"example.org","short_message":"A short message that helps you identify what is going on",
            "full_message":"Backtrace here\n\nmore stuff","timestamp":1385053862.3072,"level":1,"_user_id":9001,"_some_info":"foo","_some_env_var":"bar"}"#;
        let found = decoded(&[message.as_bytes()]);
        let row = found.batch.row(0);
        assert_eq!(row.timestamp().to_string(), "2013-11-21T17:11:02.307200000Z");
        assert_eq!(
            row.text(logs::MESSAGE),
            Some("A short message that helps you identify what is going on\nBacktrace here\n\nmore stuff")
        );
        assert_eq!((row.text(logs::HOST), row.text(logs::USER_ID)), (Some("example.org"), Some("9001")));
        assert_eq!(row.level(), Some(Level::Fatal));
        assert_eq!(
            row.attributes(),
            Some(
                r#"{"gelf_version":"1.1","severity_code":1,"some_info":"foo","some_env_var":"bar","peer_ip":"127.0.0.1"}"#
            )
        );
    }

    #[test]
    fn names_that_are_taken_keep_their_underscore() {
        let message = json!({"short_message": "m", "host": "h", "timestamp": 1, "_host": "x", "_message": "y", "_Level": "z", "_": 1,
            "_source": "svc", "file": "a.c", "line": 7, "facility": "gelf", "message": "other"});
        check(
            &message,
            json!({"message": "m", "host": "h", "timestamp": "1970-01-01T00:00:01.000000000Z", "service": "svc",
                "attributes": {"_host": "x", "_message": "y", "_Level": "z", "_": 1, "file": "a.c", "line": 7, "facility": "gelf",
                    "gelf.message": "other", "peer_ip": "127.0.0.1"}}),
        );
    }

    #[test]
    fn what_dockers_driver_sends() {
        let message = json!({"version": "1.1", "host": "box", "short_message": "hello", "timestamp": 1770639439.123, "level": 6,
            "_container_id": "abc", "_container_name": "web", "_created": "2026-02-09T12:00:00Z", "_image_name": "nginx", "_tag": "abc"});
        let found = decoded(&[message.to_string().as_bytes()]);
        assert_eq!(found.batch.row(0).service(), Some("web"));
        assert_eq!(found.batch.row(0).level(), Some(Level::Info));
        assert_eq!(found.coerced_total, 0);
    }

    #[test]
    fn packed_messages_and_bombs() {
        let text = br#"{"short_message":"packed"}"#;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).expect("memory");
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::none());
        zlib.write_all(text).expect("memory");
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        bomb.write_all(&[b' '; 100_000]).expect("memory");
        let [gzip, zlib, bomb] =
            [gzip.finish(), zlib.finish(), bomb.finish()].map(|packed| packed.expect("memory"));
        let found = decoded(&[&gzip, &zlib, &bomb, &gzip[..10]]);
        assert_eq!((found.batch.rows(), found.rejected_total()), (2, 2));
        assert_eq!(found.rejected[0].kind, RejectKind::TooLarge);
        assert!(found.dead.iter().all(|dead| dead.encoding == Encoding::Base64) && found.dead.len() == 2);
    }

    #[test]
    fn what_is_no_gelf_is_rejected_and_the_rest_kept() {
        let found = decoded(&[
            b"{\"short_message\":\"a\"}",
            b"hello",
            b"[1]",
            b"{}",
            b" ",
            b"\xff",
            b"{\"short_message\":",
            b"{\"_a\":1}",
        ]);
        assert_eq!((found.batch.rows(), found.rejected_total(), found.coerced_total), (2, 6, 1));
        let texts = ["hello", "[1]", "{}", " ", "/w==", "{\"short_message\":"];
        assert_eq!(found.dead.iter().map(|dead| dead.raw.as_str()).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn records_beyond_the_limit_are_rejected_with_a_reason() {
        let mut frames = Frames::default();
        (0..3).for_each(|_| frames.push(b"{\"short_message\":\"a\"}{\"short_message\":\"b\"}", NOBODY, None));
        let limits = DecodeLimits { records_max: 3, ..DecodeLimits::default() };
        let reading = Reading::new(Timestamp(5), &limits);
        let found = decode(&frames.bytes, &frames.list, &source(), reading);
        assert_eq!((found.batch.rows(), found.rejected_total()), (3, 2));
    }

    #[test]
    fn several_messages_in_one_body() {
        let limits = DecodeLimits { records_max: 2, ..DecodeLimits::default() };
        let reading = Reading::new(Timestamp(5), &limits);
        let one = decode_body(b"{\"short_message\":\"a\"}", reading).expect("room");
        assert_eq!(one.batch.rows(), 1);
        let three = b"{\"short_message\":\"a\"}\n{\"short_message\":\"b\"} {\"short_message\":\"c\"}";
        assert!(matches!(decode_body(three, reading), Err(BodyError::TooManyRecords { .. })));
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_one_record_or_one_reason(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            let found = decoded(&[&bytes]);
            prop_assert!(found.batch.rows() as u64 + found.rejected_total() >= 1);
        }

        #[test]
        fn hostile_members_are_kept(key in ".{0,20}", value in ".{0,20}") {
            let message = json!({"short_message": "m", key: value});
            let found = decoded(&[message.to_string().as_bytes()]);
            prop_assert_eq!((found.batch.rows(), found.rejected_total()), (1, 0));
        }
    }

    #[test]
    fn mutants_are_one_record_or_one_reason() {
        let full = json!({
            "version": "1.1", "host": "example.org", "short_message": "A short message", "full_message": "Backtrace here\nmore stuff",
            "timestamp": 1_385_053_862.307_2, "level": 1, "facility": "f", "_user_id": 9001, "_some_info": "foo", "_container_name": "web",
            "_nested": {"a": [1]},
        })
        .to_string();
        let seeds = Seeds::text([full.clone(), json!({"short_message": "m", "level": "3"}).to_string()]);
        let check = |message: &[u8], inner: &[u8]| {
            let found = decoded(&[message]);
            assert!(found.batch.rows() as u64 + found.rejected_total() >= u64::from(!message.is_empty()));
            check_batch(&found, message.len() + 1);
            let limits = DecodeLimits::default();
            if let Ok(found) = decode_body(inner, Reading::new(Timestamp(5), &limits)) {
                check_batch(&found, inner.len() + 1);
            }
        };
        fuzz(&seeds, |mutant, _| check(mutant, mutant));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(full.as_bytes()).expect("memory");
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::none());
        zlib.write_all(full.as_bytes()).expect("memory");
        let packed = Seeds::bytes([gzip.finish().expect("memory"), zlib.finish().expect("memory")]);
        fuzz(&packed, |mutant, _| check(mutant, b"{}"));
    }
}
