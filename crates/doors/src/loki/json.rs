//! The JSON form of a push, today's and the one of `/api/prom/push`.
//!
//! Format: Loki HTTP API, "Ingest logs": `{"streams": [{"stream": {labels}, "values": [[ns, line, {metadata}?]]}]}`; before that
//! `{"streams": [{"labels": "{a=\"b\"}", "entries": [{"ts": time, "line": text}]}]}`.

use heimdall_ingest::{BodyError, Decoded, Object, Reading, Records, RejectKind};
use heimdall_model::{Dataset, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::entry::{Entry, Line, Stream};
use super::labels;
use crate::raw_json::{self, Kind, Stopped};

const FORMAT: &str = "a Loki push";
/// Characters of a name in a reason.
const NAME_CHARS_SHOWN: usize = 80;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    streams: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawStream<'a> {
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    values: Option<&'a RawValue>,
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
    #[serde(borrow)]
    entries: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    line: Option<&'a RawValue>,
    #[serde(borrow, rename = "structuredMetadata", alias = "structured_metadata")]
    metadata: Option<&'a RawValue>,
}

/// Decodes a body of JSON.
pub(super) fn decode(body: &[u8], reading: Reading<'_>) -> Result<Decoded, BodyError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|error| BodyError::Utf8 { byte: error.valid_up_to() })?;
    if text.trim().is_empty() {
        return Err(BodyError::Empty);
    }
    let Body { streams } = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    let mut push = Push { records: Records::new(Dataset::Logs, reading), object: Object::new() };
    let streams = streams.map_or("[]", RawValue::get);
    flat(raw_json::elements(streams, |stream| push.stream(stream)))?;
    Ok(push.records.finish())
}

fn malformed(error: &dyn std::fmt::Display) -> BodyError {
    BodyError::Malformed { format: FORMAT, detail: error.to_string() }
}

fn flat(read: Result<(), Stopped<BodyError>>) -> Result<(), BodyError> {
    read.map_err(|stopped| match stopped {
        Stopped::Json(error) => malformed(&error),
        Stopped::Taker(error) => error,
    })
}

struct Push<'r> {
    records: Records<'r>,
    object: Object,
}

impl Push<'_> {
    fn stream(&mut self, stream: &RawValue) -> Result<(), BodyError> {
        let raw: RawStream<'_> = serde_json::from_str(stream.get()).map_err(|error| malformed(&error))?;
        let (entries, is_tuple) = match (raw.values, raw.entries) {
            (Some(values), _) => (values, true),
            (None, Some(entries)) => (entries, false),
            (None, None) => return Ok(()), // a stream without entries says nothing
        };
        let stream = stream_of(&raw);
        flat(raw_json::elements(entries.get(), |entry| {
            self.records.has_room()?;
            let taken = match &stream {
                Err(reason) => Err(reason.clone()),
                Ok(stream) if is_tuple => self.tuple(stream, entry),
                Ok(stream) => self.entry(stream, entry),
            };
            if let Err(reason) = taken {
                self.records.reject_raw(RejectKind::Invalid, "", reason, entry.get().as_bytes());
            }
            Ok(())
        }))
    }

    /// `[time, line, metadata?]`; an error says why it is no entry, and what the records say is noted already.
    fn tuple(&mut self, stream: &Stream, entry: &RawValue) -> Result<(), String> {
        let mut parts: [Option<&RawValue>; 3] = [None; 3];
        let mut count = 0;
        let read = raw_json::elements(entry.get(), |part| {
            if let Some(slot) = parts.get_mut(count) {
                *slot = Some(part);
            }
            count += 1;
            Ok::<(), ()>(())
        });
        if read.is_err() || !(2..=3).contains(&count) {
            return Err("an entry is not [time, line] or [time, line, metadata]".to_owned());
        }
        let [time, line, metadata] = parts;
        self.record(stream, time, line, metadata)
    }

    /// `{"ts": .., "line": ..}`.
    fn entry(&mut self, stream: &Stream, entry: &RawValue) -> Result<(), String> {
        let raw: RawEntry<'_> = serde_json::from_str(entry.get())
            .map_err(|error| format!("an entry is not {{ts, line}}: {error}"))?;
        self.record(stream, raw.ts, raw.line, raw.metadata)
    }

    fn record(
        &mut self,
        stream: &Stream,
        time: Option<&RawValue>,
        line: Option<&RawValue>,
        metadata: Option<&RawValue>,
    ) -> Result<(), String> {
        let line = line.ok_or("an entry has no line")?;
        let metadata = metadata.filter(|metadata| raw_json::kind(metadata) != Kind::Null);
        if metadata.is_some_and(|metadata| raw_json::kind(metadata) != Kind::Object) {
            return Err("structured metadata is not an object".to_owned());
        }
        let time = time.and_then(time_of);
        if time.is_none() {
            self.records.note("timestamp", "is not a time: that of the arrival was taken");
        }
        let message = match raw_json::kind(line) {
            Kind::Text => Line::Json(line.get()),
            _ => {
                self.records.note("message", "is not text: kept as JSON");
                Line::Text(line.get())
            }
        };
        let mut entry = Entry::of(stream, &mut self.object, time, message);
        if let Some(metadata) = metadata {
            let read = raw_json::members(metadata.get(), |name, value| {
                entry.metadata(&name, &raw_json::text(value));
                Ok::<(), ()>(())
            });
            debug_assert!(read.is_ok(), "an object was read before");
        }
        let _ = entry.end(&mut self.records); // what was rejected is noted
        Ok(())
    }
}

/// Nanoseconds as text or number; another unit is told by its magnitude, and a date is read as well.
fn time_of(raw: &RawValue) -> Option<Timestamp> {
    let text = raw_json::text(raw);
    match text.parse::<i64>() {
        Ok(number) => Timestamp::from_epoch_int(number),
        Err(_) => Timestamp::parse(&text),
    }
    .filter(|time| time.0 < i64::MAX)
}

fn stream_of(raw: &RawStream<'_>) -> Result<Stream, String> {
    let mut stream = Stream::default();
    match (raw.stream, raw.labels) {
        (Some(labels), _) => {
            let mut bad = None;
            let read = raw_json::members(labels.get(), |name, value| match raw_json::kind(value) {
                Kind::Object | Kind::Array => {
                    let name: String = name.chars().take(NAME_CHARS_SHOWN).collect(); // said of every entry
                    bad = Some(format!("label `{name}` is not text"));
                    Err(())
                }
                _ => {
                    stream.label(&name, &raw_json::text(value));
                    Ok(())
                }
            });
            match bad {
                Some(bad) => return Err(bad),
                None => read.map_err(|_| "the labels of a stream are not an object".to_owned())?,
            }
        }
        (None, Some(labels)) => {
            let text = raw_json::text(labels);
            for (name, value) in labels::parse(&text).map_err(|error| error.to_string())? {
                stream.label(name, &value);
            }
        }
        (None, None) => return Err("a stream has no labels".to_owned()),
    }
    Ok(stream)
}
