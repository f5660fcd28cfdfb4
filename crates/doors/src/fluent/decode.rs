//! Fluent's messages to log records: Message, Forward, PackedForward and CompressedPackedForward.
//!
//! Invariants:
//! - an entry is a record or is counted as rejected; what follows it in the same message is read all the same;
//! - the batches of a message with a `chunk` hold nothing of another message, and are cut at the same places each time it comes;
//! - unpacked bytes are counted as they are made, and room for them is asked for before they become records.
//!
//! Not here: where messages begin and end (see [`super::msgpack`]), sockets.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use heimdall_ingest::compression::{CompressionLimits, decompress};
use heimdall_ingest::records::RECORDS_BYTES_MAX;
use heimdall_ingest::{BodyError, Decoded, Object, Reading, Records, RejectKind};
use heimdall_model::{Dataset, Timestamp};

use super::msgpack::{Malformed, Reader, Token};

/// A batch is closed once it holds this many bytes of entries.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Fluent Bit's times that open and close a group of entries: the seconds -1 and -2, as 32 bits.
const GROUP_START: u32 = u32::MAX;
const GROUP_END: u32 = u32::MAX - 1;

const NOT_UTF8: &str = "has bytes that are not UTF-8: replaced by U+FFFD";
const FORMAT: &str = "Fluent forward";

/// What is made durable and acknowledged as one.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The `chunk` option as it came, MessagePack: to be sent back once the batches are durable.
    pub(crate) ack: Option<Bytes>,
    /// Its batch key.
    pub(crate) key: Option<String>,
    pub(crate) decoded: Vec<Decoded>,
    /// Bytes, unpacked.
    pub(crate) bytes: usize,
}

/// Why a message was not taken: the connection ends, and its sender keeps it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    /// It is not of the protocol, or has too many records.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It unpacks to too much.
    #[error("message is larger than {bytes_max} bytes once unpacked")]
    Unpacked { bytes_max: usize },
    /// There is no room for what it unpacks to.
    #[error("there is no room for the unpacked message now")]
    Busy,
}

impl MessageError {
    /// The label of `door_frames_rejected_total`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            MessageError::Body(BodyError::TooManyRecords { .. }) => "too_many_records",
            MessageError::Body(_) => "malformed",
            MessageError::Unpacked { .. } => "unpacked_too_large",
            MessageError::Busy => "busy",
        }
    }
}

/// What a decoder needs besides the bytes.
pub(crate) struct Surroundings<'s> {
    pub(crate) reading: Reading<'s>,
    pub(crate) unpack: &'s CompressionLimits,
    /// Takes room for so many bytes in all; `false`: there is none.
    pub(crate) room: &'s mut dyn FnMut(usize) -> bool,
}

/// Decodes whole messages, one after the other: `ends` are the offsets at which they end.
/// With an error, the messages before the one at fault are in the units.
pub(crate) fn decode(
    bytes: &[u8],
    ends: &[usize],
    surroundings: Surroundings<'_>,
) -> (Vec<Unit>, Result<(), MessageError>) {
    let reading = surroundings.reading;
    let mut messages =
        Messages { surroundings, units: Vec::new(), open: Batches::new(reading), total: Total::default() };
    let mut start = 0;
    let mut outcome = Ok(());
    for end in ends {
        let message = bytes.get(start..*end).unwrap_or_default();
        start = *end;
        outcome = messages.take(message);
        if outcome.is_err() {
            break;
        }
    }
    messages.close();
    (messages.units, outcome)
}

struct Messages<'s> {
    surroundings: Surroundings<'s>,
    units: Vec<Unit>,
    /// Entries of messages without a `chunk`.
    open: Batches<'s>,
    total: Total,
}

/// What came of the messages so far.
#[derive(Debug, Default)]
struct Total {
    records: u64,
    /// Of the records: a tag, and what is said of a group, is in each of them.
    bytes: u64,
}

impl Total {
    /// Counts a record before it is made.
    fn add_record(&mut self, records_max: u64) -> Result<(), BodyError> {
        self.records += 1;
        if self.records > records_max { Err(BodyError::TooManyRecords { records_max }) } else { Ok(()) }
    }

    fn add_bytes(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.bytes += bytes as u64;
        let bytes_max = RECORDS_BYTES_MAX;
        if self.bytes > bytes_max { Err(BodyError::RecordsTooLarge { bytes_max }) } else { Ok(()) }
    }
}

/// A message's options.
#[derive(Default)]
struct Options<'m> {
    chunk: Option<&'m [u8]>,
    compressed: Option<Cow<'m, str>>,
    signal: u64,
}

/// A message's entries, as it holds them.
enum Entries<'m> {
    /// Time and record of the only one.
    One(&'m [u8], &'m [u8]),
    Array(&'m [u8]),
    Packed(&'m [u8]),
}

impl<'m> Entries<'m> {
    /// As they came.
    fn bytes(&self) -> &'m [u8] {
        match self {
            Entries::One(_, bytes) | Entries::Array(bytes) | Entries::Packed(bytes) => bytes,
        }
    }
}

impl Messages<'_> {
    fn take(&mut self, message: &[u8]) -> Result<(), MessageError> {
        if message == [0xc0] {
            return Ok(()); // nil: a sign of life
        }
        let (tag, entries, options) = parts(message)
            .map_err(|error| BodyError::Malformed { format: FORMAT, detail: format!("message {error}") })?;
        let Some(chunk) = options.chunk else {
            let mut open = std::mem::replace(&mut self.open, Batches::new(self.surroundings.reading));
            let taken = self.entries(&tag, entries, &options, &mut open, message.len());
            self.open = open;
            return taken.map(|_| ());
        };
        self.close();
        let mut batches = Batches::new(self.surroundings.reading);
        let content = self.entries(&tag, entries, &options, &mut batches, message.len())?;
        let is_refused = options.signal > 0;
        let ack = (!is_refused).then(|| Bytes::copy_from_slice(chunk));
        let key = Some(batch_key(chunk, &tag, &content));
        self.units.push(Unit { ack, key, bytes: batches.bytes, decoded: batches.finish() });
        Ok(())
    }

    /// Reads a message's entries into batches; returns the bytes that make it the same message when it comes again.
    fn entries<'m>(
        &mut self,
        tag: &str,
        entries: Entries<'m>,
        options: &Options<'_>,
        batches: &mut Batches<'_>,
        message_bytes: usize,
    ) -> Result<Cow<'m, [u8]>, MessageError> {
        batches.bytes += message_bytes;
        if options.signal > 0 {
            let reason = "metrics and traces of Fluent Bit cannot be read: send them by OpenTelemetry";
            batches.records.reject_raw(RejectKind::Invalid, "fluent_signal", reason, entries.bytes());
            return Ok(Cow::Borrowed(&[]));
        }
        let mut source = Source { tag, group: Object::new(), total: &mut self.total };
        match entries {
            Entries::One(time, record) => {
                source.entry(batches, time, record)?;
                Ok(Cow::Owned([time, record].concat()))
            }
            Entries::Array(array) => {
                let mut reader = Reader::new(array);
                let count = reader.array().unwrap_or(0);
                for _ in 0..count {
                    source.next_entry(batches, &mut reader)?;
                }
                Ok(Cow::Borrowed(array))
            }
            Entries::Packed(packed) => {
                let packed = match options.compressed.as_deref() {
                    None | Some("" | "text") => Cow::Borrowed(packed),
                    Some(encoding) => match self.surroundings.unpack(encoding, packed, batches)? {
                        Some(unpacked) => Cow::Owned(unpacked.into()),
                        None => return Ok(Cow::Borrowed(packed)),
                    },
                };
                let mut reader = Reader::new(&packed);
                while !reader.is_at_end() && source.next_entry(batches, &mut reader)? {}
                Ok(packed)
            }
        }
    }

    /// Makes a unit of the entries without a `chunk` so far.
    fn close(&mut self) {
        let open = std::mem::replace(&mut self.open, Batches::new(self.surroundings.reading));
        if open.bytes > 0 {
            self.units.push(Unit { ack: None, key: None, bytes: open.bytes, decoded: open.finish() });
        }
    }
}

impl Surroundings<'_> {
    /// Unpacks entries; `None`: they are not what the options say, which is noted.
    fn unpack(
        &mut self,
        encoding: &str,
        packed: &[u8],
        batches: &mut Batches<'_>,
    ) -> Result<Option<Bytes>, MessageError> {
        use heimdall_ingest::compression::CompressionError;
        match decompress(Some(encoding), Bytes::copy_from_slice(packed), self.unpack) {
            Ok(unpacked) => {
                batches.bytes += unpacked.len();
                if (self.room)(batches.bytes) { Ok(Some(unpacked)) } else { Err(MessageError::Busy) }
            }
            Err(CompressionError::TooLarge { bytes_max }) => Err(MessageError::Unpacked { bytes_max }),
            Err(CompressionError::Bomb { .. }) => {
                Err(MessageError::Unpacked { bytes_max: self.unpack.decompressed_bytes_max })
            }
            Err(error) => {
                batches.records.reject_raw(RejectKind::Syntax, "compressed", error.to_string(), packed);
                Ok(None)
            }
        }
    }
}

/// Takes a message apart: tag, entries, options.
fn parts(message: &[u8]) -> Result<(Cow<'_, str>, Entries<'_>, Options<'_>), Malformed> {
    let mut reader = Reader::new(message);
    let count = reader.array()?;
    if !(2..=4).contains(&count) {
        return Err(Malformed::Not("an array of two to four"));
    }
    let tag = match reader.token()? {
        Token::Text(tag) | Token::Binary(tag) => String::from_utf8_lossy(tag),
        Token::Nil => Cow::Borrowed(""),
        _ => return Err(Malformed::Not("begun with a tag")),
    };
    let second = reader.whole()?;
    let (entries, used) = match Reader::new(second).token()? {
        Token::Array(_) => (Entries::Array(second), 2),
        Token::Text(packed) | Token::Binary(packed) => (Entries::Packed(packed), 2),
        _ if count > 2 => (Entries::One(second, reader.whole()?), 3),
        _ => return Err(Malformed::Not("a tag with a time and a record, or with entries")),
    };
    let options = if count > used { read_options(&mut reader)? } else { Options::default() };
    Ok((tag, entries, options))
}

fn read_options<'m>(reader: &mut Reader<'m>) -> Result<Options<'m>, Malformed> {
    let mut options = Options::default();
    let pairs = match reader.token()? {
        Token::Map(pairs) => pairs,
        _ => 0, // nil, as some write for none
    };
    for _ in 0..pairs {
        let key = reader.token()?.key()?;
        let value = reader.whole()?;
        match (&*key, Reader::new(value).token()?) {
            ("chunk", Token::Text(_) | Token::Binary(_)) => options.chunk = Some(value),
            ("compressed", Token::Text(name)) => options.compressed = Some(String::from_utf8_lossy(name)),
            ("fluent_signal", Token::Uint(signal)) => options.signal = signal,
            _ => {} // `size` says what the entries say, and others are for servers that know them
        }
    }
    Ok(options)
}

/// A chunk is the same when its id, its tag and its entries are: an id alone may be used again by a simple sender.
fn batch_key(chunk: &[u8], tag: &str, content: &[u8]) -> String {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for part in [chunk, tag.as_bytes(), content] {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    super::handshake::hex(digest.finish().as_ref())
}

/// Batches of at most about [`BATCH_BYTES`] each.
struct Batches<'r> {
    reading: Reading<'r>,
    records: Records<'r>,
    object: Object,
    /// Bytes of entries in `records`.
    filled: usize,
    full: Vec<Decoded>,
    /// Bytes of the messages.
    bytes: usize,
}

impl<'r> Batches<'r> {
    fn new(reading: Reading<'r>) -> Batches<'r> {
        let records = Records::new(Dataset::Logs, reading);
        Batches { reading, records, object: Object::new(), filled: 0, full: Vec::new(), bytes: 0 }
    }

    fn took(&mut self, bytes: usize) {
        self.filled += bytes;
        if self.filled >= BATCH_BYTES {
            self.filled = 0;
            let full = std::mem::replace(&mut self.records, Records::new(Dataset::Logs, self.reading));
            self.full.push(full.finish());
        }
    }

    fn finish(mut self) -> Vec<Decoded> {
        if !self.records.is_empty() || self.full.is_empty() {
            self.full.push(self.records.finish());
        }
        self.full
    }
}

/// Where entries come from.
struct Source<'m> {
    tag: &'m str,
    /// What Fluent Bit says of the group of entries that is open.
    group: Object,
    total: &'m mut Total,
}

impl Source<'_> {
    /// Reads the entry that comes next; `false`: the bytes are no entries from here on.
    fn next_entry(
        &mut self,
        batches: &mut Batches<'_>,
        reader: &mut Reader<'_>,
    ) -> Result<bool, MessageError> {
        let rest = reader.rest();
        let entry = match reader.whole() {
            Ok(entry) => entry,
            Err(error) => {
                batches.records.reject_raw(RejectKind::Syntax, "", format!("entry {error}"), rest);
                return Ok(false);
            }
        };
        let mut inner = Reader::new(entry);
        match inner.array().and_then(|count| Ok((count, inner.whole()?, inner.whole()?))) {
            Ok((_, time, record)) => self.entry(batches, time, record)?,
            Err(_) => {
                let reason = "entry is not a time and a record";
                batches.records.reject_raw(RejectKind::NotObject, "", reason, entry);
            }
        }
        Ok(true)
    }

    fn entry(&mut self, batches: &mut Batches<'_>, time: &[u8], record: &[u8]) -> Result<(), MessageError> {
        self.total.add_record(batches.reading.limits.records_max)?;
        let (time, metadata) = stamp(time);
        match group_mark(time) {
            Some(GROUP_START) => {
                self.group.clear();
                let _ = write_record(&mut self.group, record); // what is not readable is not said of the entries
                return Ok(());
            }
            Some(_) => {
                self.group.clear();
                return Ok(());
            }
            None => {}
        }
        let object = &mut batches.object;
        let written = write_record(object, record).map(|told| {
            object.extend(&self.group);
            if let Some(metadata) = metadata {
                object.value("metadata", |out| out.push_str(&metadata));
            }
            told.finish(object, self.tag, time.and_then(Token::time));
            told.is_utf8
        });
        let bytes = object.byte_len();
        match written {
            Ok(is_utf8) => {
                if !is_utf8 {
                    batches.records.note("", NOT_UTF8);
                }
                let _ = batches.records.object(object); // why it was rejected is noted
            }
            Err(error) => {
                object.clear();
                let kind = match error {
                    Malformed::Not(_) => RejectKind::NotObject,
                    Malformed::TooDeep => RejectKind::TooLarge,
                    _ => RejectKind::Syntax,
                };
                batches.records.reject_raw(kind, "", format!("record {error}"), record);
            }
        }
        batches.took(bytes.max(record.len()));
        Ok(self.total.add_bytes(bytes)?)
    }
}

/// The time of an entry, and what Fluent Bit's newer form says besides: `[time, metadata]`.
fn stamp(time: &[u8]) -> (Option<Token<'_>>, Option<String>) {
    let mut reader = Reader::new(time);
    match reader.token() {
        Ok(Token::Array(2)) => {
            let time = reader.token().ok();
            let is_empty = matches!(reader.clone().token(), Ok(Token::Map(0)) | Err(_));
            let mut json = String::new();
            let metadata = !is_empty && reader.json(&mut json).is_ok();
            (time, metadata.then_some(json))
        }
        Ok(token) => (Some(token), None),
        Err(_) => (None, None),
    }
}

fn group_mark(time: Option<Token<'_>>) -> Option<u32> {
    match time? {
        Token::Int(-1) => Some(GROUP_START),
        Token::Int(-2) => Some(GROUP_END),
        Token::Ext(0, &[a, b, c, d, _, _, _, _]) => {
            Some(u32::from_be_bytes([a, b, c, d])).filter(|seconds| *seconds >= GROUP_END)
        }
        _ => None,
    }
}

/// What a record says of itself that other fields follow from.
#[derive(Default)]
struct Told<'m> {
    is_utf8: bool,
    has_service: bool,
    has_host: bool,
    has_instance: bool,
    has_tag: bool,
    docker_name: Option<Cow<'m, str>>,
    kubernetes: Option<&'m [u8]>,
}

fn write_record<'m>(object: &mut Object, record: &'m [u8]) -> Result<Told<'m>, Malformed> {
    let mut told = Told { is_utf8: true, ..Told::default() };
    let mut reader = Reader::new(record);
    let pairs = match reader.token()? {
        Token::Map(pairs) => pairs,
        Token::Text(text) | Token::Binary(text) => {
            told.is_utf8 = !object.lossy("message", text);
            return Ok(told);
        }
        _ => return Err(Malformed::Not("a map")),
    };
    for _ in 0..pairs {
        let key = reader.token()?.key()?;
        let value = reader.whole()?;
        let key = told.of(&key, value).unwrap_or(key);
        let mut written = Ok(true);
        object.value(&key, |out| written = Reader::new(value).json(out));
        told.is_utf8 &= written?;
    }
    Ok(told)
}

impl<'m> Told<'m> {
    /// Notes a member; another key when it is to be kept under that.
    fn of(&mut self, key: &str, value: &'m [u8]) -> Option<Cow<'m, str>> {
        let text = || match Reader::new(value).token() {
            Ok(Token::Text(text) | Token::Binary(text)) => Some(String::from_utf8_lossy(text)),
            _ => None,
        };
        match key {
            "service" | "service.name" | "service_name" | "app" | "application" => self.has_service = true,
            "host" | "host.name" | "hostname" | "host_name" => self.has_host = true,
            "instance" | "pod" | "service.instance.id" => self.has_instance = true,
            "tag" => self.has_tag = true,
            "container_name" => self.docker_name = text(),
            "kubernetes" => self.kubernetes = Some(value),
            // Docker's driver says by it which stream the line is of; elsewhere it is the service.
            "source" if text().is_some_and(|text| text == "stdout" || text == "stderr") => {
                return Some(Cow::Borrowed("stream"));
            }
            // The message's time is the event's; another that the record states is kept beside it.
            "timestamp" => return Some(Cow::Borrowed("record_timestamp")),
            _ => {}
        }
        None
    }

    /// Adds what the protocol says, and what follows for fields the record does not state.
    fn finish(&self, object: &mut Object, tag: &str, time: Option<Timestamp>) {
        if let Some(time) = time {
            object.time("timestamp", time);
        }
        if !tag.is_empty() {
            object.text(if self.has_tag { "fluent_tag" } else { "tag" }, tag);
        }
        let pod = self.kubernetes.map(Pod::read).unwrap_or_default();
        let named =
            pod.service.as_deref().or(self.docker_name.as_deref().map(|name| name.trim_start_matches('/')));
        if let Some(service) = named.filter(|_| !self.has_service) {
            object.text_if("service", service);
        }
        if let Some(host) = pod.host.as_deref().filter(|_| !self.has_host) {
            object.text_if("host", host);
        }
        if let Some(name) = pod.name.as_deref().filter(|_| !self.has_instance) {
            object.text_if("instance", name);
        }
    }
}

/// What Fluent's Kubernetes filters say.
#[derive(Default)]
struct Pod<'m> {
    name: Option<Cow<'m, str>>,
    host: Option<Cow<'m, str>>,
    service: Option<Cow<'m, str>>,
}

/// Labels that name the service, the best last.
const SERVICE_LABELS: [&str; 4] = ["k8s-app", "app", "app_kubernetes_io/name", "app.kubernetes.io/name"];

impl<'m> Pod<'m> {
    fn read(metadata: &'m [u8]) -> Pod<'m> {
        let mut pod = Pod::default();
        let mut best = 0;
        each_member(metadata, |key, value| match key {
            "pod_name" => pod.name = scalar(value),
            "host" => pod.host = scalar(value),
            "container_name" if best == 0 => pod.service = scalar(value),
            "labels" => each_member(value, |label, value| {
                let rank = SERVICE_LABELS.iter().position(|name| *name == label).map_or(0, |n| n + 1);
                if rank > best {
                    best = rank;
                    pod.service = scalar(value);
                }
            }),
            _ => {}
        });
        pod
    }
}

fn each_member<'m>(map: &'m [u8], mut member: impl FnMut(&str, &'m [u8])) {
    let mut reader = Reader::new(map);
    let Ok(Token::Map(pairs)) = reader.token() else { return };
    for _ in 0..pairs {
        let Ok(Ok(key)) = reader.token().map(Token::key) else { return };
        let Ok(value) = reader.whole() else { return };
        member(&key, value);
    }
}

fn scalar(value: &[u8]) -> Option<Cow<'_, str>> {
    match Reader::new(value).token() {
        Ok(Token::Text(text) | Token::Binary(text)) => Some(String::from_utf8_lossy(text)),
        _ => None,
    }
}

/// The chunk's answer: `{"ack": chunk}`.
pub(crate) fn ack(chunk: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunk.len() + 8);
    super::msgpack::put::map(&mut out, 1);
    super::msgpack::put::text(&mut out, "ack");
    out.extend_from_slice(chunk);
    out
}

/// The chunk for people.
pub(crate) fn chunk_text(chunk: &[u8]) -> String {
    let mut text = String::new();
    if let Ok(name) = Reader::new(chunk).token().and_then(Token::key) {
        let _ = write!(text, "{name}"); // writing to a string cannot fail
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use heimdall_ingest::DecodeLimits;
    use heimdall_model::schema::logs;
    use heimdall_testkit::data::bad_inputs;
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::super::msgpack::put;
    use super::*;
    use crate::testing::check_batch;

    const NOW: Timestamp = Timestamp(5);

    fn decode_all(bytes: &[u8]) -> (Vec<Unit>, Result<(), MessageError>) {
        let limits = DecodeLimits::default();
        let unpack = CompressionLimits::default();
        let mut scanner = super::super::msgpack::Scanner::default();
        let (mut ends, mut start) = (Vec::new(), 0);
        while let Ok(Some(end)) = scanner.end(&bytes[start..], 1 << 20) {
            start += end;
            ends.push(start);
        }
        let reading = Reading::new(NOW, &limits);
        decode(bytes, &ends, Surroundings { reading, unpack: &unpack, room: &mut |_| true })
    }

    fn record(out: &mut Vec<u8>, message: &str) {
        put::map(out, 2);
        put::text(out, "log");
        put::text(out, message);
        put::text(out, "n");
        put::map(out, 1);
        put::text(out, "deep");
        put::binary(out, b"b\xff");
    }

    fn entry(out: &mut Vec<u8>, message: &str) {
        put::array(out, 2);
        put::event_time(out, 1_700_000_000, 7);
        record(out, message);
    }

    fn options(out: &mut Vec<u8>, chunk: &str, compressed: Option<&str>) {
        put::map(out, 1 + u32::from(compressed.is_some()));
        put::text(out, "chunk");
        put::text(out, chunk);
        if let Some(compressed) = compressed {
            put::text(out, "compressed");
            put::text(out, compressed);
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).expect("memory");
        packer.finish().expect("memory")
    }

    fn packed(body: &[u8], chunk: &str, compressed: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        put::array(&mut out, 3);
        put::text(&mut out, "app.web");
        put::binary(&mut out, body);
        options(&mut out, chunk, compressed);
        out
    }

    #[test]
    fn the_four_modes_say_the_same() {
        let mut message = Vec::new();
        put::array(&mut message, 3);
        put::text(&mut message, "app.web");
        put::event_time(&mut message, 1_700_000_000, 7);
        record(&mut message, "hello");
        let mut forward = Vec::new();
        put::array(&mut forward, 2);
        put::text(&mut forward, "app.web");
        put::array(&mut forward, 1);
        entry(&mut forward, "hello");
        let mut one = Vec::new();
        entry(&mut one, "hello");
        let two_members = [gzip(&one), gzip(&one)].concat();
        let bytes = [
            message,
            forward,
            packed(&one, "c1", None),
            packed(&two_members, "c2", Some("gzip")),
            packed(&zstd::encode_all(&one[..], 1).expect("memory"), "c3", Some("zstd")),
        ]
        .concat();
        let (units, outcome) = decode_all(&bytes);
        outcome.expect("all of it is of the protocol");
        let rows: Vec<_> = units.iter().map(|unit| unit.decoded[0].batch.rows()).collect();
        assert_eq!(rows, [2, 1, 2, 1]);
        for unit in &units {
            let row = unit.decoded[0].batch.row(0);
            assert_eq!(row.timestamp(), Timestamp(1_700_000_000_000_000_007));
            assert_eq!(row.text(logs::MESSAGE), Some("hello"));
            assert_eq!(row.attributes(), Some("{\"n\":{\"deep\":\"b\u{fffd}\"},\"tag\":\"app.web\"}"));
        }
        let chunks: Vec<_> = units.iter().map(|unit| unit.ack.as_deref().map(chunk_text)).collect();
        assert_eq!(chunks, [None, Some("c1".into()), Some("c2".into()), Some("c3".into())]);
        assert_eq!(ack(units[1].ack.as_deref().expect("a chunk")), b"\x81\xa3ack\xa2c1");
    }

    #[test]
    fn a_key_is_of_the_chunk_and_of_what_is_in_it() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        entry(&mut one, "one");
        entry(&mut other, "other");
        let key = |bytes: Vec<u8>| decode_all(&bytes).0.remove(0).key.expect("a chunk");
        let first = key(packed(&one, "c", None));
        assert_eq!(first, key(packed(&gzip(&one), "c", Some("gzip"))), "packed anew, it is the same");
        assert_ne!(first, key(packed(&other, "c", None)));
        assert_ne!(first, key(packed(&one, "d", None)));
    }

    #[test]
    fn bad_entries_are_rejected_and_the_rest_is_kept() {
        let mut body = Vec::new();
        entry(&mut body, "good");
        put::array(&mut body, 2);
        put::uint(&mut body, 1_700_000_000);
        put::uint(&mut body, 3);
        put::uint(&mut body, 3);
        entry(&mut body, "good");
        body.extend([0x92, 0xc1]);
        let (units, outcome) = decode_all(&packed(&body, "c", None));
        outcome.expect("the message is whole");
        let decoded = &units[0].decoded[0];
        assert_eq!((decoded.batch.rows(), decoded.rejected_total(), decoded.dead.len()), (2, 3, 3));
        let (units, _) = decode_all(&packed(b"no gzip", "c", Some("gzip")));
        assert_eq!(units[0].decoded[0].rejected_total(), 1);
        assert_eq!(units[0].decoded[0].dead[0].raw, "no gzip");
    }

    #[test]
    fn what_is_no_message_is_an_error_and_what_came_before_is_kept() {
        let mut bytes = Vec::new();
        put::array(&mut bytes, 2);
        put::text(&mut bytes, "t");
        put::array(&mut bytes, 1);
        entry(&mut bytes, "kept");
        bytes.extend([0xc0, 0x07]);
        let (units, outcome) = decode_all(&bytes);
        assert_eq!(outcome.unwrap_err().reason(), "malformed");
        assert_eq!(units[0].decoded[0].batch.rows(), 1);
    }

    fn fields(out: &mut Vec<u8>, pairs: &[(&str, &str)]) {
        put::map(out, u32::try_from(pairs.len()).expect("few"));
        for (key, value) in pairs {
            put::text(out, key);
            put::text(out, value);
        }
    }

    #[test]
    fn docker_and_kubernetes_name_service_stream_and_host() {
        let mut bytes = Vec::new();
        put::array(&mut bytes, 3);
        put::text(&mut bytes, "d");
        put::uint(&mut bytes, 1_700_000_000);
        let docker =
            [("container_id", "abc"), ("container_name", "/web"), ("source", "stderr"), ("log", "oops")];
        fields(&mut bytes, &docker);
        put::array(&mut bytes, 3);
        put::text(&mut bytes, "k");
        put::uint(&mut bytes, 1_700_000_000);
        put::map(&mut bytes, 2);
        put::text(&mut bytes, "message");
        put::text(&mut bytes, "m");
        put::text(&mut bytes, "kubernetes");
        put::map(&mut bytes, 3);
        put::text(&mut bytes, "pod_name");
        put::text(&mut bytes, "cart-1");
        put::text(&mut bytes, "host");
        put::text(&mut bytes, "node-a");
        put::text(&mut bytes, "labels");
        fields(&mut bytes, &[("app", "x"), ("app.kubernetes.io/name", "cart")]);
        let (units, outcome) = decode_all(&bytes);
        outcome.expect("two messages");
        let batch = &units[0].decoded[0].batch;
        assert_eq!((batch.row(0).service(), batch.row(0).text(logs::MESSAGE)), (Some("web"), Some("oops")));
        let attributes = batch.row(0).attributes().expect("some");
        assert!(attributes.contains(r#""stream":"stderr""#), "{attributes}");
        assert_eq!((batch.row(1).service(), batch.row(1).text(logs::HOST)), (Some("cart"), Some("node-a")));
        assert_eq!(batch.row(1).text(logs::INSTANCE), Some("cart-1"));
    }

    #[test]
    fn fluent_bits_newer_entries_and_groups() {
        let mut body = Vec::new();
        put::array(&mut body, 2);
        put::array(&mut body, 2);
        put::event_time(&mut body, u32::MAX, 0);
        put::map(&mut body, 0);
        fields(&mut body, &[("resource", "r")]);
        put::array(&mut body, 2);
        put::array(&mut body, 2);
        put::event_time(&mut body, 1_700_000_000, 1);
        fields(&mut body, &[("m", "1")]);
        fields(&mut body, &[("message", "in a group")]);
        put::array(&mut body, 2);
        put::array(&mut body, 2);
        put::event_time(&mut body, u32::MAX - 1, 0);
        put::map(&mut body, 0);
        put::map(&mut body, 0);
        let (units, outcome) = decode_all(&packed(&body, "c", None));
        outcome.expect("a message");
        let batch = &units[0].decoded[0].batch;
        assert_eq!(batch.rows(), 1);
        assert_eq!(
            batch.row(0).attributes(),
            Some(r#"{"resource":"r","metadata":{"m":"1"},"tag":"app.web"}"#)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_all(&bytes);
            let _ = decode_all(&packed(&bytes, "c", None));
            let _ = decode_all(&packed(&bytes, "c", Some("gzip")));
        }

        #[test]
        fn changed_messages_do_not_panic(at in 0_usize..120, byte: u8) {
            let mut body = Vec::new();
            entry(&mut body, "one");
            entry(&mut body, "two");
            let mut bytes = packed(&body, "c", None);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode_all(&bytes);
        }
    }

    #[test]
    fn mutants_are_records_or_an_error() {
        let mut events = Vec::new();
        entry(&mut events, "one");
        entry(&mut events, "two");
        let mut message = Vec::new();
        put::array(&mut message, 4);
        put::text(&mut message, "kube.var.log.containers.web_shop_app-0123.log");
        put::event_time(&mut message, 1_700_000_000, 7);
        fields(
            &mut message,
            &[
                ("log", "hello"),
                ("stream", "stderr"),
                ("time", "2026-01-02T03:04:05Z"),
                ("container_name", "/web"),
            ],
        );
        options(&mut message, "c", None);
        let mut forward = Vec::new();
        put::array(&mut forward, 2);
        put::text(&mut forward, "app.web");
        put::array(&mut forward, 2);
        forward.extend_from_slice(&events);
        let seeds = Seeds::bytes([
            message,
            forward,
            packed(&events, "c", None),
            packed(&gzip(&events), "c", Some("gzip")),
            events,
        ]);
        fuzz(&seeds, |mutant, _| {
            for bytes in [mutant, &packed(mutant, "c", None), &packed(&gzip(mutant), "c", Some("gzip"))] {
                let (units, _) = decode_all(bytes);
                for decoded in units.iter().flat_map(|unit| &unit.decoded) {
                    check_batch(decoded, mutant.len() + 3);
                }
            }
        });
    }

    #[test]
    fn after_bad_inputs_a_good_entry_is_taken() {
        for input in bad_inputs() {
            let (units, _) = decode_all(&input.bytes);
            units
                .iter()
                .flat_map(|unit| &unit.decoded)
                .for_each(|decoded| check_batch(decoded, input.bytes.len()));
            let mut body = Vec::new();
            put::array(&mut body, 2);
            put::event_time(&mut body, 1_700_000_000, 7);
            put::map(&mut body, 1);
            put::text(&mut body, "log");
            put::binary(&mut body, &input.bytes);
            entry(&mut body, "good");
            let (units, outcome) = decode_all(&packed(&body, "c", None));
            outcome.expect("a message");
            let decoded = &units[0].decoded[0];
            assert_eq!(decoded.batch.rows() as u64 + decoded.rejected_total(), 2, "{}", input.name);
            let last = decoded.batch.iter().last().expect("the good one");
            assert_eq!(last.text(logs::MESSAGE), Some("good"), "{}", input.name);
        }
    }

    /// A tag, or what was said of a group, was copied into every entry without bound: a few megabytes filled the memory.
    #[test]
    fn what_is_said_once_for_many_entries_is_bounded() {
        let mut body = Vec::new();
        for _ in 0..4_000 {
            put::array(&mut body, 2);
            put::uint(&mut body, 5);
            put::map(&mut body, 0);
        }
        let mut message = Vec::new();
        put::array(&mut message, 3);
        put::text(&mut message, &"t".repeat(100_000));
        put::binary(&mut message, &body);
        options(&mut message, "c", None);
        let refused = |message: &[u8]| {
            let outcome = decode_all(message).1.expect_err("too large");
            assert!(matches!(outcome, MessageError::Body(BodyError::RecordsTooLarge { .. })), "{outcome}");
        };
        refused(&message);
        let mut grouped = Vec::new();
        put::array(&mut grouped, 2);
        grouped.push(0xff); // -1: a group begins
        fields(&mut grouped, &[("group", &"g".repeat(100_000))]);
        grouped.extend_from_slice(&body);
        refused(&packed(&grouped, "c", None));
    }
}
