//! OpenTelemetry's values and attributes as JSON.
//!
//! Bytes become base64, numbers that are not finite texts, a value of no kind null.
//!
//! Invariant: what is written nests at most [`VALUE_DEPTH_MAX`] deep; what is below that is null.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heimdall_ingest::Object;
use heimdall_ingest::records::write;
use heimdall_model::Timestamp;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// Levels of lists and maps in a value. Both encodings are refused by their readers before: a bound of our own.
pub(super) const VALUE_DEPTH_MAX: usize = 48;

const _: () = assert!(
    VALUE_DEPTH_MAX + 5 < heimdall_ingest::json::DEPTH_MAX as usize,
    "an event of a span, and its value"
);

/// Writes a value.
pub(super) fn write_any(out: &mut String, any: Option<&AnyValue>) {
    write_nested(out, any, VALUE_DEPTH_MAX);
}

fn write_nested(out: &mut String, any: Option<&AnyValue>, levels: usize) {
    match any.and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => write::text(out, text),
        Some(Value::BoolValue(is)) => out.push_str(if *is { "true" } else { "false" }),
        Some(Value::IntValue(number)) => write::number(out, number),
        Some(Value::DoubleValue(number)) => write::float(out, *number),
        Some(Value::BytesValue(bytes)) => write::text(out, &STANDARD.encode(bytes)),
        Some(Value::ArrayValue(list)) if levels > 0 => {
            write::array(out, &list.values, |out, any| write_nested(out, Some(any), levels - 1));
        }
        Some(Value::KvlistValue(map)) if levels > 0 => {
            let members = map.values.iter().map(|member| (member.key.as_str(), member.value.as_ref()));
            write::object(out, members, |out, any| write_nested(out, any, levels - 1));
        }
        _ => out.push_str("null"),
    }
}

/// Writes attributes as an object.
pub(super) fn write_attributes(out: &mut String, attributes: &[KeyValue]) {
    let members = attributes.iter().map(|attribute| (attribute.key.as_str(), attribute.value.as_ref()));
    write::object(out, members, write_any);
}

/// An attribute as a member.
pub(super) fn member(object: &mut Object, attribute: &KeyValue) {
    object.value(&attribute.key, |out| write_any(out, attribute.value.as_ref()));
}

/// Attributes under the catch-all's own name, so that none of them is taken for a field; nothing when there are none.
pub(super) fn kept(object: &mut Object, catch_all: &str, attributes: &[KeyValue]) {
    if !attributes.is_empty() {
        object.value(catch_all, |out| write_attributes(out, attributes));
    }
}

/// The text of an attribute.
pub(super) fn text_of<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// A moment in nanoseconds since 1970, where 0 is none; one after 2262 has no place in a field, and is kept as a number.
pub(super) fn time(object: &mut Object, key: &str, unix_nano: u64) -> bool {
    match i64::try_from(unix_nano) {
        Ok(0) => false,
        Ok(ns) if ns < i64::MAX => {
            object.time(key, Timestamp(ns));
            true
        }
        _ => {
            object.uint(&format!("{key}_unix_nano"), unix_nano);
            false
        }
    }
}

/// An id, unless there is none: no bytes, or all of them zero.
pub(super) fn id(object: &mut Object, key: &str, bytes: &[u8]) {
    if bytes.iter().any(|byte| *byte != 0) {
        object.hex(key, bytes);
    }
}

/// A count that is kept unless it is zero.
pub(super) fn count(object: &mut Object, key: &str, count: u32) {
    if count > 0 {
        object.uint(key, count.into());
    }
}

/// W3C trace flags are the low eight bits; with others, all of them are kept besides.
pub(super) fn flags(object: &mut Object, flags: u32) {
    if flags > 0 {
        object.uint("trace_flags", (flags & 0xff).into());
    }
    if flags > 0xff {
        object.uint("flags", flags.into());
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::ArrayValue;

    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    #[test]
    fn values_of_every_kind() {
        let check = |value, text: &str| {
            let mut out = String::new();
            write_any(&mut out, Some(&any(value)));
            assert_eq!(out, text);
        };
        check(Value::StringValue("a\"b".to_owned()), r#""a\"b""#);
        check(Value::IntValue(i64::MIN), "-9223372036854775808");
        check(Value::DoubleValue(f64::NEG_INFINITY), r#""-Infinity""#);
        check(Value::BytesValue(vec![255, 254]), r#""//4=""#);
        check(
            Value::ArrayValue(ArrayValue {
                values: vec![AnyValue { value: None }, any(Value::BoolValue(true))],
            }),
            "[null,true]",
        );
        check(Value::StringValueStrindex(3), "null");
    }

    #[test]
    fn deep_values_end_at_the_bound() {
        let mut deep = any(Value::IntValue(1));
        for _ in 0..500 {
            deep = any(Value::ArrayValue(ArrayValue { values: vec![deep] }));
        }
        let mut out = String::new();
        write_any(&mut out, Some(&deep));
        assert_eq!(out, format!("{}null{}", "[".repeat(VALUE_DEPTH_MAX), "]".repeat(VALUE_DEPTH_MAX)));
    }
}
