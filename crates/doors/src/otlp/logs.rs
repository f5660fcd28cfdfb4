//! Log records.

use std::collections::HashSet;

use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Object, RejectKind};
use heimdall_model::{Dataset, Level};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::node::{Node, field};
use super::scope::{Context, Path};
use super::sink::Sink;
use super::value;

pub(super) const PATH: Path = Path {
    resources: field(1, "resourceLogs", "resource_logs"),
    scopes: field(2, "scopeLogs", "scope_logs"),
    items: field(2, "logRecords", "log_records"),
    dataset: Dataset::Logs,
};

pub(super) fn take(node: Node<'_>, context: &Context<'_>, sink: &mut Sink<'_>) -> Result<(), BodyError> {
    if node.len() > sink.node_bytes_max() {
        let reason = format!("log record is larger than {} bytes", sink.node_bytes_max());
        return sink.reject(RejectKind::TooLarge, "", &reason, node);
    }
    match node.message::<LogRecord>() {
        Err(bad) => {
            sink.reject(RejectKind::Syntax, "", &format!("log record cannot be read: {}", bad.0), node)
        }
        Ok(record) => {
            context.put(&mut sink.object);
            write_record(&mut sink.object, &record);
            if !sink.take()? {
                sink.count_rejected();
            }
            Ok(())
        }
    }
}

fn write_record(object: &mut Object, record: &LogRecord) {
    let LogRecord { time_unix_nano, observed_time_unix_nano, .. } = *record;
    let is_observed_only = time_unix_nano == 0;
    let has_time = value::time(
        object,
        "timestamp",
        if is_observed_only { observed_time_unix_nano } else { time_unix_nano },
    );
    if !is_observed_only && observed_time_unix_nano != time_unix_nano {
        value::time(object, "observed_time", observed_time_unix_nano);
    }
    severity(object, record);
    value::id(object, "trace_id", &record.trace_id);
    value::id(object, "span_id", &record.span_id);
    value::flags(object, record.flags);
    object.text_if("event_name", &record.event_name);
    value::count(object, "dropped_attributes_count", record.dropped_attributes_count);
    let mut stated = Stated {
        has_time,
        has_level: level(record.severity_number).is_some(),
        has_message: false,
        has_trace: !record.trace_id.is_empty(),
        has_span: !record.span_id.is_empty(),
        has_flags: record.flags > 0,
    };
    stated.has_message = body(object, record.body.as_ref(), &record.attributes, &stated);
    for attribute in &record.attributes {
        member(object, attribute, &stated);
    }
}

/// Fields the record itself states: an attribute of the same name is kept among the attributes.
struct Stated {
    has_time: bool,
    has_level: bool,
    has_message: bool,
    has_trace: bool,
    has_span: bool,
    has_flags: bool,
}

impl Stated {
    fn takes(&self, key: &str) -> bool {
        match key {
            "timestamp" => self.has_time,
            "level" => self.has_level,
            "message" => self.has_message,
            "trace_id" => self.has_trace,
            "span_id" => self.has_span,
            "trace_flags" => self.has_flags,
            "event_name" | "observed_time" | "severity_text" | "severity_number" | "flags" => true,
            _ => false,
        }
    }
}

/// An attribute or a member of the body: it has the names and aliases of fields; one that would take the place of what the
/// record states is kept as it is.
fn member(object: &mut Object, attribute: &KeyValue, stated: &Stated) {
    if stated.takes(&attribute.key) {
        value::kept(object, "attributes", std::slice::from_ref(attribute));
    } else {
        value::member(object, attribute);
    }
}

/// The body: text is the message; a map becomes fields, those of a name that an attribute has too under `body.`; else its JSON is
/// the message. Whether the message is stated.
fn body(object: &mut Object, body: Option<&AnyValue>, attributes: &[KeyValue], stated: &Stated) -> bool {
    match body.and_then(|any| any.value.as_ref()) {
        None => false,
        Some(Value::StringValue(text)) => {
            object.text("message", text);
            true
        }
        Some(Value::KvlistValue(map)) => {
            let taken: HashSet<&str> = attributes.iter().map(|attribute| attribute.key.as_str()).collect();
            for one in &map.values {
                if taken.contains(one.key.as_str()) && one.key != "message" {
                    let key = format!("body.{}", one.key);
                    object.value(&key, |out| value::write_any(out, one.value.as_ref()));
                } else {
                    member(object, one, stated);
                }
            }
            map.values.iter().any(|one| one.key == "message")
        }
        Some(_) => {
            let mut json = String::new();
            value::write_any(&mut json, body);
            let text = json.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&json);
            object.value("message", |out| write::text(out, text));
            true
        }
    }
}

fn severity(object: &mut Object, record: &LogRecord) {
    let number = record.severity_number;
    let level = level(number);
    if let Some(level) = level {
        object.text("level", level.as_str());
    }
    let says_more = level.is_none() || (number - 1) % 4 != 0;
    if number != 0 && says_more {
        object.int("severity_number", number.into());
    }
    if !level.is_some_and(|level| record.severity_text.eq_ignore_ascii_case(level.as_str())) {
        object.text_if("severity_text", &record.severity_text);
    }
}

/// Four numbers each, from 1 to 24.
fn level(severity_number: i32) -> Option<Level> {
    let index = usize::try_from(severity_number.checked_sub(1)? / 4).ok()?;
    (severity_number > 0).then(|| Level::ALL.get(index).copied()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_four_numbers_each() {
        let name = |number| level(number).map(Level::as_str);
        assert_eq!(
            [1, 4, 5, 9, 13, 17, 21, 24].map(name),
            ["trace", "trace", "debug", "info", "warn", "error", "fatal", "fatal"].map(Some)
        );
        assert_eq!([0, -1, 25, i32::MIN, i32::MAX].map(name), [None; 5]);
    }
}
