//! The protobuf form of a push, in a block of Snappy.
//!
//! Format: Loki, `pkg/push/push.proto`: `PushRequest { streams = 1: { labels = 1, entries = 2: { timestamp = 1: { seconds = 1,
//! nanos = 2 }, line = 2, structured_metadata = 3: { name = 1, value = 2 } } } }`.
//!
//! Invariant: the block's own statement of its size is checked before a byte of it is unpacked.

use heimdall_ingest::{BodyError, Decoded, Object, Reading, Records, RejectKind};
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Dataset, Timestamp};

use super::entry::{Entry, Line, Stream};
use super::labels;
use crate::wire::{Fields, Wire, WireError};

const FORMAT: &str = "a Loki push";

/// Bytes that a block unpacks to, when that is allowed.
pub(super) fn unpacked_len(block: &[u8], bytes_max: usize) -> Result<usize, BodyError> {
    let len = snap::raw::decompress_len(block).map_err(|error| malformed(&error))?;
    if len > bytes_max {
        return Err(malformed(&format_args!("it unpacks to {len} bytes, allowed are {bytes_max}")));
    }
    Ok(len)
}

/// Unpacks a block; [`unpacked_len`] was asked before.
pub(super) fn unpack(block: &[u8]) -> Result<Vec<u8>, BodyError> {
    snap::raw::Decoder::new().decompress_vec(block).map_err(|error| malformed(&error))
}

fn malformed(error: &dyn std::fmt::Display) -> BodyError {
    BodyError::Malformed { format: FORMAT, detail: error.to_string() }
}

/// Decodes an unpacked message.
pub(super) fn decode(message: &[u8], reading: Reading<'_>) -> Result<Decoded, BodyError> {
    let mut push = Push { records: Records::new(Dataset::Logs, reading), object: Object::new() };
    for field in Fields::new(message) {
        if let (1, Wire::Bytes(stream)) = field.map_err(|error| malformed(&error))? {
            push.stream(stream)?;
        }
    }
    Ok(push.records.finish())
}

struct Push<'r> {
    records: Records<'r>,
    object: Object,
}

impl Push<'_> {
    fn stream(&mut self, message: &[u8]) -> Result<(), BodyError> {
        let stream = stream_of(message).map_err(|error| malformed(&error))?;
        for field in Fields::new(message) {
            let (2, Wire::Bytes(entry)) = field.map_err(|error| malformed(&error))? else { continue };
            self.records.has_room()?;
            match &stream {
                Err(reason) => {
                    self.records.reject_raw(RejectKind::Invalid, "", reason.clone(), entry);
                }
                Ok(stream) => self.entry(stream, entry).map_err(|error| malformed(&error))?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, stream: &Stream, message: &[u8]) -> Result<(), WireError> {
        let (mut time, mut line) = (None, &[][..]);
        for field in Fields::new(message) {
            match field? {
                (1, Wire::Bytes(timestamp)) => time = time_of(timestamp)?,
                (2, Wire::Bytes(text)) => line = text,
                _ => {}
            }
        }
        if time.is_none() {
            self.records.note("timestamp", "is not a time: that of the arrival was taken");
        }
        let line = String::from_utf8_lossy(line);
        if matches!(line, std::borrow::Cow::Owned(_)) {
            self.records.note("message", "has bytes that are not UTF-8: replaced by U+FFFD");
        }
        let mut entry = Entry::of(stream, &mut self.object, time, Line::Text(&line));
        for field in Fields::new(message) {
            if let (3, Wire::Bytes(pair)) = field? {
                let (name, value) = pair_of(pair)?;
                entry.metadata(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value));
            }
        }
        let _ = entry.end(&mut self.records); // what was rejected is noted
        Ok(())
    }
}

/// The labels of a stream, wherever in its message they are; `Err` says what is wrong with them.
fn stream_of(message: &[u8]) -> Result<Result<Stream, String>, WireError> {
    let mut text = &[][..];
    for field in Fields::new(message) {
        if let (1, Wire::Bytes(labels)) = field? {
            text = labels;
        }
    }
    let Ok(text) = std::str::from_utf8(text) else { return Ok(Err("labels are not UTF-8".to_owned())) };
    Ok(labels::parse(text).map_err(|error| error.to_string()).map(|labels| {
        let mut stream = Stream::default();
        labels.iter().for_each(|(name, value)| stream.label(name, value));
        stream
    }))
}

fn pair_of(message: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value) = (&[][..], &[][..]);
    for field in Fields::new(message) {
        match field? {
            (1, Wire::Bytes(bytes)) => name = bytes,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((name, value))
}

/// `None` when it is out of range.
fn time_of(message: &[u8]) -> Result<Option<Timestamp>, WireError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in Fields::new(message) {
        match field? {
            (1, value) => seconds = value.int64().unwrap_or_default(),
            (2, value) => nanos = value.int64().unwrap_or_default(),
            _ => {}
        }
    }
    let ns = seconds.checked_mul(NS_PER_SECOND).and_then(|ns| ns.checked_add(nanos));
    Ok(ns.filter(|ns| *ns < i64::MAX).map(Timestamp))
}
