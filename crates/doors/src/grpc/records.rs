//! Batches of Heimdall's protocol as records.
//!
//! A batch is not decoded as a whole: a record that cannot be read is rejected alone, and an empty one costs what it weighs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Decoded, Object, Reading, Records, RejectKind};
use heimdall_model::time::NS_PER_MS;
use heimdall_model::{Dataset, Timestamp};
use prost::Message;

use super::proto::value::Kind;
use super::proto::{KeyValue, LogRecord, Sample, Span, SpanEvent, SpanLink, Value};
use crate::wire::{Fields, Wire};

/// Fields of a batch.
const BATCH_ID: u32 = 1;
const ITEMS: u32 = 2;
/// Bytes of a batch's id.
const BATCH_ID_BYTES_MAX: usize = 256;

/// A batch, decoded.
pub(super) struct Batch {
    pub(super) id: String,
    pub(super) decoded: Decoded,
}

/// What a batch holds.
pub(super) trait Item: Message + Default + 'static {
    const DATASET: Dataset;
    /// Writes it as a record.
    fn write(&self, object: &mut Object);
}

/// Decodes a batch.
///
/// # Errors
/// [`BodyError`]: nothing of it was accepted.
pub(super) fn decode<T: Item>(body: &[u8], reading: Reading<'_>) -> Result<Batch, BodyError> {
    let malformed = |detail: String| BodyError::Malformed { format: "a batch", detail };
    let mut records = Records::new(T::DATASET, reading);
    let mut object = Object::new();
    let mut id = "";
    for field in Fields::new(body) {
        match field.map_err(|error| malformed(error.to_string()))? {
            (BATCH_ID, Wire::Bytes(bytes)) => {
                id = std::str::from_utf8(bytes).map_err(|_| malformed("batch_id is not UTF-8".to_owned()))?;
            }
            (ITEMS, Wire::Bytes(bytes)) => {
                records.has_room()?;
                item::<T>(bytes, reading, &mut records, &mut object);
            }
            _ => {}
        }
    }
    if id.len() > BATCH_ID_BYTES_MAX {
        return Err(malformed(format!("batch_id is longer than {BATCH_ID_BYTES_MAX} bytes")));
    }
    Ok(Batch { id: id.to_owned(), decoded: records.finish() })
}

/// Takes one record; a rejected one is noted.
fn item<T: Item>(bytes: &[u8], reading: Reading<'_>, records: &mut Records<'_>, object: &mut Object) {
    let bytes_max = reading.limits.record_bytes_max;
    if bytes.len() > bytes_max {
        let reason = format!("record is larger than {bytes_max} bytes");
        records.reject_raw(RejectKind::TooLarge, "", reason, bytes);
        return;
    }
    match T::decode(bytes) {
        Err(error) => {
            records.reject_raw(RejectKind::Syntax, "", format!("record cannot be read: {error}"), bytes);
        }
        Ok(item) => {
            item.write(object);
            let _noted = records.object(object);
        }
    }
}

fn time(object: &mut Object, key: &str, unix_nano: i64) {
    if unix_nano != 0 {
        object.time(key, Timestamp(unix_nano));
    }
}

fn id(object: &mut Object, key: &str, bytes: &[u8]) {
    if bytes.iter().any(|byte| *byte != 0) {
        object.hex(key, bytes);
    }
}

/// Names of the message's own fields: an attribute of that name is kept as it is.
const LOG_FIELDS: [&str; 19] = [
    "timestamp",
    "level",
    "message",
    "service",
    "instance",
    "region",
    "environment",
    "host",
    "trace_id",
    "span_id",
    "parent_span_id",
    "trace_flags",
    "user_id",
    "session_id",
    "request_id",
    "customer_id",
    "source_ip",
    "duration_ms",
    "category",
];

impl Item for LogRecord {
    const DATASET: Dataset = Dataset::Logs;

    fn write(&self, object: &mut Object) {
        time(object, "timestamp", self.time_unix_nano);
        let texts = [
            ("level", &self.level),
            ("message", &self.message),
            ("service", &self.service),
            ("instance", &self.instance),
            ("region", &self.region),
            ("environment", &self.environment),
            ("host", &self.host),
            ("user_id", &self.user_id),
            ("session_id", &self.session_id),
            ("request_id", &self.request_id),
            ("customer_id", &self.customer_id),
            ("source_ip", &self.source_ip),
            ("category", &self.category),
        ];
        for (key, text) in texts {
            object.text_if(key, text);
        }
        id(object, "trace_id", &self.trace_id);
        id(object, "span_id", &self.span_id);
        id(object, "parent_span_id", &self.parent_span_id);
        if self.trace_flags > 0 {
            object.uint("trace_flags", self.trace_flags.into());
        }
        if let Some(ms) = self.duration_ms {
            object.float("duration_ms", ms);
        }
        for attribute in &self.attributes {
            if LOG_FIELDS.contains(&attribute.key.as_str()) {
                object.value("attributes", |out| write_attributes(out, std::slice::from_ref(attribute)));
            } else {
                object.value(&attribute.key, |out| write_value(out, attribute.value.as_ref()));
            }
        }
    }
}

impl Item for Sample {
    const DATASET: Dataset = Dataset::Metrics;

    fn write(&self, object: &mut Object) {
        time(object, "timestamp", self.time_unix_nano);
        object.text("name", &self.name);
        object.float("value", self.value);
        object.text_if("service", &self.service);
        object.text_if("host", &self.host);
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|(key, text)| (key.as_str(), text));
            object.value("labels", |out| write::object(out, labels, |out, text| write::text(out, text)));
        }
    }
}

impl Item for Span {
    const DATASET: Dataset = Dataset::Spans;

    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of a span: exact up to 104 days, and then nearly so"
    )]
    fn write(&self, object: &mut Object) {
        time(object, "timestamp", self.start_unix_nano);
        object.text("name", &self.name);
        let texts = [
            ("service", &self.service),
            ("kind", &self.kind),
            ("status", &self.status),
            ("status_message", &self.status_message),
            ("peer_service", &self.peer_service),
            ("host", &self.host),
            ("instance", &self.instance),
            ("environment", &self.environment),
            ("scope", &self.scope),
            ("trace_state", &self.trace_state),
        ];
        for (key, text) in texts {
            object.text_if(key, text);
        }
        id(object, "trace_id", &self.trace_id);
        id(object, "span_id", &self.span_id);
        id(object, "parent_span_id", &self.parent_span_id);
        if self.trace_flags > 0 {
            object.uint("trace_flags", self.trace_flags.into());
        }
        if self.end_unix_nano != 0
            && let Some(ns) = self.end_unix_nano.checked_sub(self.start_unix_nano).filter(|ns| *ns >= 0)
        {
            object.float("duration_ms", ns as f64 / NS_PER_MS as f64);
        }
        if !self.events.is_empty() {
            object.value("events", |out| write::array(out, &self.events, write_event));
        }
        if !self.links.is_empty() {
            object.value("links", |out| write::array(out, &self.links, write_link));
        }
        if !self.attributes.is_empty() {
            object.value("attributes", |out| write_attributes(out, &self.attributes));
        }
    }
}

fn write_event(out: &mut String, event: &SpanEvent) {
    let mut object = Object::new();
    time(&mut object, "time", event.time_unix_nano);
    object.text("name", &event.name);
    if !event.attributes.is_empty() {
        object.value("attributes", |out| write_attributes(out, &event.attributes));
    }
    out.push_str(&object.to_json());
}

fn write_link(out: &mut String, link: &SpanLink) {
    let mut object = Object::new();
    object.hex("trace_id", &link.trace_id);
    object.hex("span_id", &link.span_id);
    if !link.attributes.is_empty() {
        object.value("attributes", |out| write_attributes(out, &link.attributes));
    }
    out.push_str(&object.to_json());
}

fn write_attributes(out: &mut String, attributes: &[KeyValue]) {
    let members = attributes.iter().map(|attribute| (attribute.key.as_str(), attribute.value.as_ref()));
    write::object(out, members, write_value);
}

/// Nesting is bounded by prost, which decodes 100 messages within one another, and each level here is two of them.
fn write_value(out: &mut String, value: Option<&Value>) {
    match value.and_then(|value| value.kind.as_ref()) {
        None => out.push_str("null"),
        Some(Kind::Text(text)) => write::text(out, text),
        Some(Kind::Flag(is)) => out.push_str(if *is { "true" } else { "false" }),
        Some(Kind::Int(number)) => write::number(out, number),
        Some(Kind::Float(number)) => write::float(out, *number),
        Some(Kind::Bytes(bytes)) => write::text(out, &STANDARD.encode(bytes)),
        Some(Kind::List(list)) => write::array(out, &list.values, |out, value| write_value(out, Some(value))),
        Some(Kind::Map(map)) => write_attributes(out, &map.entries),
    }
}
