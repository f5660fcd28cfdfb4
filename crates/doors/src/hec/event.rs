//! The bodies of Splunk's collector: events, one JSON object after the other, and raw lines.
//!
//! - an event that is text is the message; an event that is an object gives its members as fields, and its message is the member
//!   that is one by the schema (or `line`, as Docker's driver has it), else the JSON of the whole;
//! - `host`, `source`, `sourcetype` and `index` are fields of the record, `fields` as well; what an event's own member is called
//!   the same is kept as `event.NAME`;
//! - `"event": "metric"` is one sample for each `metric_name:NAME`, and for `metric_name` with `_value`; the other `fields` are labels.
//!
//! Invariant: reading stops at the first event that is not accepted; all before it are in the batches.
//!
//! Source: Splunk, "Format events for HTTP Event Collector", "Get metrics in from other sources".

use std::borrow::Cow;

use heimdall_ingest::{
    BodyError, DEAD_RECORD_BYTES_MAX, Decoded, Object, Reading, Records, RejectKind, Rejected,
};
use heimdall_model::{Dataset, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::Code;
use crate::names::means_message;
use crate::raw_json::{self, Kind, Stopped};
use crate::sample;

/// What all events of a request have in common, unless they say otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct Common {
    pub(super) time: Option<String>,
    pub(super) host: Option<String>,
    pub(super) source: Option<String>,
    pub(super) sourcetype: Option<String>,
    pub(super) index: Option<String>,
}

/// What came of a body.
#[derive(Debug)]
pub(super) struct Events {
    /// Log records and samples, those that are not empty.
    pub(super) decoded: Vec<Decoded>,
    /// Why reading stopped, and at which event from 0.
    pub(super) stopped: Option<(Code, u64)>,
    /// Events accepted.
    pub(super) count: u64,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    host: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    sourcetype: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
}

/// Decodes events.
pub(super) fn decode(body: &[u8], common: &Common, reading: Reading<'_>) -> Result<Events, BodyError> {
    let text = std::str::from_utf8(body).unwrap_or_else(|error| {
        std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default() // what comes before may be accepted
    });
    let is_cut = text.len() < body.len();
    let mut reader = Reader::new(common, reading);
    let mut stopped = None;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    while let Some(value) = values.next() {
        let taken = match value {
            Ok(value) if raw_json::kind(value) == Kind::Array => reader.array(value)?,
            Ok(value) => reader.event(value)?,
            Err(_) => {
                reader.refuse(&body[values.byte_offset().min(body.len())..]);
                Err(Code::InvalidData)
            }
        };
        if let Err(code) = taken {
            stopped = Some((code, reader.count));
            break;
        }
    }
    if stopped.is_none() && is_cut {
        reader.refuse(&body[text.len()..]);
        stopped = Some((Code::InvalidData, reader.count));
    }
    Ok(reader.finish(stopped))
}

/// Decodes raw lines.
pub(super) fn decode_raw(body: &[u8], common: &Common, reading: Reading<'_>) -> Result<Events, BodyError> {
    let mut reader = Reader::new(common, reading);
    let mut stopped = None;
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        reader.logs.has_room()?;
        if reader.line(line).is_err() {
            stopped = Some((Code::InvalidData, reader.count));
            break;
        }
        reader.count += 1;
    }
    Ok(reader.finish(stopped))
}

struct Reader<'r> {
    common: &'r Common,
    logs: Records<'r>,
    samples: Records<'r>,
    object: Object,
    count: u64,
    /// The records have noted why they rejected the event.
    is_noted: bool,
    /// The beginning of the event that was refused.
    refused: Vec<u8>,
}

type Taken = Result<Result<(), Code>, BodyError>;

impl<'r> Reader<'r> {
    fn new(common: &'r Common, reading: Reading<'r>) -> Reader<'r> {
        Reader {
            common,
            logs: Records::new(Dataset::Logs, reading),
            samples: Records::new(Dataset::Metrics, reading),
            object: Object::new(),
            count: 0,
            is_noted: false,
            refused: Vec::new(),
        }
    }

    fn finish(mut self, stopped: Option<(Code, u64)>) -> Events {
        if let Some((code, _)) = stopped
            && !self.is_noted
        {
            self.logs.reject_raw(RejectKind::Invalid, "event", code.text(), &self.refused);
        }
        let decoded = [self.logs, self.samples].into_iter().filter(|records| !records.is_empty());
        Events { decoded: decoded.map(Records::finish).collect(), stopped, count: self.count }
    }

    /// Keeps what was refused: nothing after it is read.
    fn refuse(&mut self, raw: &[u8]) {
        self.refused = raw[..raw.len().min(DEAD_RECORD_BYTES_MAX + 1)].to_vec(); // one more says that there was more
    }

    fn array(&mut self, array: &RawValue) -> Taken {
        let read = raw_json::elements(array.get(), |event| match self.event(event) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(code)) => Err(Ok(code)),
            Err(error) => Err(Err(error)),
        });
        match read {
            Ok(()) => Ok(Ok(())),
            Err(Stopped::Taker(Ok(code))) => Ok(Err(code)),
            Err(Stopped::Taker(Err(error))) => Err(error),
            Err(Stopped::Json(_)) => {
                self.refuse(array.get().as_bytes());
                Ok(Err(Code::InvalidData))
            }
        }
    }

    fn event(&mut self, event: &RawValue) -> Taken {
        self.logs.has_room()?;
        self.samples.has_room()?;
        let envelope = (raw_json::kind(event) == Kind::Object)
            .then(|| serde_json::from_str::<Envelope<'_>>(event.get()).ok())
            .flatten();
        let taken = envelope.map_or(Err(Code::InvalidData), |envelope| self.envelope(&envelope));
        if taken.is_err() {
            self.refuse(event.get().as_bytes());
        }
        self.count += u64::from(taken.is_ok());
        Ok(taken)
    }

    fn envelope(&mut self, envelope: &Envelope<'_>) -> Result<(), Code> {
        let is_flat = |fields: &RawValue| {
            raw_json::kind(fields) == Kind::Object
                && raw_json::members(fields.get(), |_, value| match raw_json::kind(value) {
                    Kind::Object => Err(()),
                    _ => Ok(()),
                })
                .is_ok()
        };
        if envelope.fields.is_some_and(|fields| !is_flat(fields)) {
            return Err(Code::IndexedFields);
        }
        let event = envelope.event.ok_or(Code::EventRequired)?;
        if raw_json::kind(event) == Kind::Text && raw_json::text(event).trim().is_empty() {
            return Err(Code::EventBlank);
        }
        match envelope.fields {
            Some(fields) if event.get() == "\"metric\"" && names_a_metric(fields) => {
                self.metrics(envelope, fields)
            }
            _ => self.log(envelope, event),
        }
    }

    /// Writes what comes with the event; which names are taken now.
    fn attend(&mut self, envelope: &Envelope<'_>) -> Taking {
        let mut taking = Taking::default();
        let time =
            envelope.time.map(raw_json::text).or_else(|| self.common.time.as_deref().map(Cow::Borrowed));
        if let Some(time) = time.as_deref().and_then(time_of) {
            self.object.time("timestamp", time);
            taking.timestamp = true;
        }
        let common = self.common;
        let named = [
            ("host", envelope.host, &common.host, &mut taking.host),
            ("source", envelope.source, &common.source, &mut taking.source),
            ("sourcetype", envelope.sourcetype, &common.sourcetype, &mut taking.sourcetype),
            ("index", envelope.index, &common.index, &mut taking.index),
        ];
        for (name, own, common, is_taken) in named {
            let value = own.map(raw_json::text).or_else(|| common.as_deref().map(Cow::Borrowed));
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                self.object.text(name, &value);
                *is_taken = true;
            }
        }
        taking
    }

    fn log(&mut self, envelope: &Envelope<'_>, event: &RawValue) -> Result<(), Code> {
        self.object.clear();
        let taking = self.attend(envelope);
        let object = &mut self.object;
        if let Some(fields) = envelope.fields {
            each(fields, |name, value| put(object, &taking, "fields", name, value));
        }
        if raw_json::kind(event) == Kind::Object {
            let mut message = Message::default();
            each(event, |name, value| {
                message.look_at(name, value);
                put(object, &taking, "event", name, value);
            });
            message.finish(object, event);
        } else {
            object.text("message", &raw_json::text(event));
        }
        let taken = self.logs.object(object);
        self.rejected(taken)
    }

    fn rejected(&mut self, taken: Result<(), Rejected>) -> Result<(), Code> {
        self.is_noted |= taken.is_err();
        taken.map_err(|_| Code::InvalidData)
    }

    /// The samples of one event, all of them or none.
    fn metrics(&mut self, envelope: &Envelope<'_>, fields: &RawValue) -> Result<(), Code> {
        self.object.clear();
        self.attend(envelope);
        let mut labels = Object::new();
        each(fields, |name, value| {
            if !is_metric_member(name) {
                sample::label(&mut labels, name, &raw_json::text(value));
            }
        });
        let samples = samples_of(fields)?;
        let common = std::mem::take(&mut self.object);
        for (name, value) in samples {
            self.samples.has_room().map_err(|_| Code::TooLarge)?;
            self.object.clear();
            self.object.extend(&common);
            self.object.text("name", &name);
            self.object.float("value", value);
            self.object.extend(&labels);
            let taken = self.samples.object(&mut self.object);
            self.rejected(taken)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Code> {
        self.object.clear();
        let nothing = Envelope {
            event: None,
            time: None,
            host: None,
            source: None,
            sourcetype: None,
            index: None,
            fields: None,
        };
        self.attend(&nothing);
        if self.object.lossy("message", line) {
            self.logs.note("message", "has bytes that are not UTF-8: replaced by U+FFFD");
        }
        let taken = self.logs.object(&mut self.object);
        self.rejected(taken)
    }
}

/// Which of the names that come with an event are taken.
#[derive(Debug, Default)]
struct Taking {
    timestamp: bool,
    host: bool,
    source: bool,
    sourcetype: bool,
    index: bool,
}

impl Taking {
    fn has(&self, name: &str) -> bool {
        let names = [
            ("timestamp", self.timestamp),
            ("host", self.host),
            ("source", self.source),
            ("sourcetype", self.sourcetype),
            ("index", self.index),
        ];
        names.iter().any(|(taken, is_taken)| *is_taken && taken.eq_ignore_ascii_case(name))
    }
}

/// Calls `take` with each member of what was read as an object before.
fn each<'a>(object: &'a RawValue, mut take: impl FnMut(&str, &'a RawValue)) {
    let read = raw_json::members(object.get(), |name, value| {
        take(&name, value);
        Ok::<(), ()>(())
    });
    debug_assert!(read.is_ok(), "an object was read before");
}

fn put(object: &mut Object, taking: &Taking, part: &str, name: &str, value: &RawValue) {
    let name = if taking.has(name) { Cow::Owned(format!("{part}.{name}")) } else { Cow::Borrowed(name) };
    object.value(&name, |out| out.push_str(value.get()));
}

/// Where in an event that is an object its message is.
#[derive(Debug, Default)]
struct Message<'a> {
    is_found: bool,
    line: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    fn look_at(&mut self, name: &str, value: &'a RawValue) {
        let is_text = raw_json::kind(value) == Kind::Text;
        self.is_found |= is_text && means_message(name);
        if is_text && name == "line" {
            self.line = Some(value);
        }
    }

    fn finish(self, object: &mut Object, event: &RawValue) {
        match self {
            Message { is_found: true, .. } => {}
            Message { line: Some(line), .. } => object.value("message", |out| out.push_str(line.get())),
            _ => object.text("message", event.get()),
        }
    }
}

fn is_metric_member(name: &str) -> bool {
    name.starts_with("metric_name:") || name == "metric_name" || name == "_value"
}

/// Name and value of every sample in the fields of one event; each has to be a finite number.
fn samples_of(fields: &RawValue) -> Result<Vec<(Cow<'_, str>, f64)>, Code> {
    let mut samples = Vec::new();
    let (mut single, mut single_value) = (None, None);
    each(fields, |name, value| {
        if let Some(metric) = name.strip_prefix("metric_name:") {
            samples.push((Cow::Owned(metric.to_owned()), number(value)));
        } else if name == "metric_name" {
            single = Some(raw_json::text(value));
        } else if name == "_value" {
            single_value = Some(number(value));
        }
    });
    samples.extend(single.zip(single_value));
    if samples.is_empty() {
        return Err(Code::IndexedFields);
    }
    samples
        .into_iter()
        .map(|(name, value)| Some((name, value?)))
        .collect::<Option<_>>()
        .ok_or(Code::IndexedFields)
}

fn number(value: &RawValue) -> Option<f64> {
    raw_json::text(value).trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn names_a_metric(fields: &RawValue) -> bool {
    let mut found = false;
    each(fields, |name, _| found |= name.starts_with("metric_name"));
    found
}

/// Seconds with a fraction, to the nanosecond; other units by magnitude, and dates, are read as well.
fn time_of(text: &str) -> Option<Timestamp> {
    let time = Timestamp::parse(text).or_else(|| Timestamp::from_epoch_float(text.trim().parse().ok()?));
    time.filter(|time| time.0 < i64::MAX)
}
