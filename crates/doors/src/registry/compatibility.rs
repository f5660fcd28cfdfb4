//! Which schema may follow which: whether one reads what another wrote.
//!
//! - Avro: its rules of schema resolution; what they allow for some values only is not allowed;
//! - JSON Schema: a structural check of `type`, `properties`, `required`, `enum`, bounds, `items` and `additionalProperties`; other
//!   keywords are not judged;
//! - Protocol buffers: messages and fields by number; a field keeps a type of the same encoding.

use std::collections::HashMap;

use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use prost_reflect::{Cardinality, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::store::SchemaType;
use super::{avro, protobuf};

/// How deep JSON Schemas are compared.
const DEPTH_MAX: usize = 64;

/// A schema and what it refers to, by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// What it is written in.
    pub kind: SchemaType,
    /// The text.
    pub schema: &'a str,
    /// What it refers to.
    pub references: &'a [(String, String)],
}

impl<'a> Source<'a> {
    /// The texts it refers to.
    pub(crate) fn texts(&self) -> Vec<&'a str> {
        self.references.iter().map(|(_, text)| text.as_str()).collect()
    }
}

/// Checks a schema and writes it so that equal schemas are equal texts.
pub(crate) fn canonical(source: &Source<'_>) -> Result<String, String> {
    match source.kind {
        SchemaType::Avro => {
            avro::AvroDecoder::new(source.schema, &source.texts())?;
            Ok(sorted(&json(source.schema)?))
        }
        SchemaType::Json => {
            let value = json(source.schema)?;
            if !value.is_object() && !value.is_boolean() {
                return Err("a JSON Schema is an object or a boolean".to_owned());
            }
            Ok(sorted(&value))
        }
        SchemaType::Protobuf => {
            Ok(protobuf::serialized(&protobuf::compile(source.schema, source.references)?))
        }
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// JSON text with the members of objects in order.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            let member =
                |name: &String| format!("{}:{}", Value::String(name.clone()), sorted(&members[name]));
            format!("{{{}}}", names.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Whether `reader` reads what `writer` wrote; what is wrong.
pub(crate) fn can_read(reader: &Source<'_>, writer: &Source<'_>) -> Result<(), String> {
    if reader.kind != writer.kind {
        return Err("it is written in another language".to_owned());
    }
    match reader.kind {
        SchemaType::Avro => {
            let (reader, _) = avro::parse(reader.schema, &reader.texts())?;
            let (writer, _) = avro::parse(writer.schema, &writer.texts())?;
            match SchemaCompatibility::can_read(&writer, &reader) {
                Ok(Compatibility::Full) => Ok(()),
                Ok(_) => Err("some values of the writer cannot be read".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        }
        SchemaType::Json => json_can_read(&json(reader.schema)?, &json(writer.schema)?, "#", 0),
        SchemaType::Protobuf => {
            let reader = protobuf::compile(reader.schema, reader.references)?;
            let writer = protobuf::compile(writer.schema, writer.references)?;
            file_can_read(&reader, &writer)
        }
    }
}

/// Whether what `writer` accepts is accepted by `reader`.
fn json_can_read(reader: &Value, writer: &Value, at: &str, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("{at}: nests deeper than {DEPTH_MAX}"));
    }
    let (reader, writer) = match (reader, writer) {
        (Value::Bool(true), _) | (_, Value::Bool(false)) => return Ok(()),
        (Value::Bool(false), _) => return Err(format!("{at}: nothing is accepted any more")),
        (Value::Object(reader), Value::Object(writer)) => (reader, writer),
        (Value::Object(reader), _) if reader.is_empty() => return Ok(()),
        _ => return Err(format!("{at}: anything was accepted before")),
    };
    types_can_read(reader, writer, at)?;
    if let Some(values) = reader.get("enum").and_then(Value::as_array) {
        let written = writer.get("enum").and_then(Value::as_array);
        let fits = written.is_some_and(|written| written.iter().all(|value| values.contains(value)));
        if !fits {
            return Err(format!("{at}: `enum` is narrower"));
        }
    }
    bounds_can_read(reader, writer, at)?;
    properties_can_read(reader, writer, at, depth)?;
    if let Some(items) = reader.get("items") {
        let anything = Value::Bool(true);
        json_can_read(items, writer.get("items").unwrap_or(&anything), &format!("{at}/items"), depth + 1)?;
    }
    Ok(())
}

fn types_can_read(reader: &Map<String, Value>, writer: &Map<String, Value>, at: &str) -> Result<(), String> {
    let types = |schema: &Map<String, Value>| -> Option<Vec<String>> {
        match schema.get("type")? {
            Value::String(name) => Some(vec![name.clone()]),
            Value::Array(names) => Some(names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()),
            _ => None,
        }
    };
    let Some(read) = types(reader) else { return Ok(()) };
    let Some(written) = types(writer) else { return Err(format!("{at}: `type` was not limited before")) };
    let accepts =
        |name: &String| read.contains(name) || name == "integer" && read.iter().any(|r| r == "number");
    match written.iter().find(|name| !accepts(name)) {
        Some(name) => Err(format!("{at}: type `{name}` is not accepted any more")),
        None => Ok(()),
    }
}

fn bounds_can_read(reader: &Map<String, Value>, writer: &Map<String, Value>, at: &str) -> Result<(), String> {
    const LEAST: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
    const MOST: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];
    let bound = |schema: &Map<String, Value>, name: &str| schema.get(name).and_then(Value::as_f64);
    for (names, sign) in [(LEAST, 1.0), (MOST, -1.0)] {
        for name in names {
            let Some(read) = bound(reader, name) else { continue };
            if bound(writer, name).is_none_or(|written| read * sign > written * sign) {
                return Err(format!("{at}: `{name}` is narrower"));
            }
        }
    }
    match (reader.get("pattern"), writer.get("pattern")) {
        (Some(read), written) if written != Some(read) => Err(format!("{at}: `pattern` is another one")),
        _ => Ok(()),
    }
}

fn properties_can_read(
    reader: &Map<String, Value>,
    writer: &Map<String, Value>,
    at: &str,
    depth: usize,
) -> Result<(), String> {
    let empty = Map::new();
    let properties = |schema: &Map<String, Value>| {
        schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_else(|| empty.clone())
    };
    let required = |schema: &Map<String, Value>| -> Vec<String> {
        let names = schema.get("required").and_then(Value::as_array);
        names
            .map(|names| names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect())
            .unwrap_or_default()
    };
    let (read, written) = (properties(reader), properties(writer));
    let always = required(writer);
    for name in required(reader) {
        let has_default = read.get(&name).is_some_and(|schema| schema.get("default").is_some());
        if !always.contains(&name) && !has_default {
            return Err(format!("{at}: `{name}` is required now"));
        }
    }
    let anything = Value::Bool(true);
    let rest_read = reader.get("additionalProperties").unwrap_or(&anything);
    let rest_written = writer.get("additionalProperties").unwrap_or(&anything);
    for (name, schema) in &written {
        let read = read.get(name).unwrap_or(rest_read);
        json_can_read(read, schema, &format!("{at}/properties/{name}"), depth + 1)?;
    }
    for (name, schema) in read.iter().filter(|(name, _)| !written.contains_key(*name)) {
        json_can_read(schema, rest_written, &format!("{at}/properties/{name}"), depth + 1)?;
    }
    json_can_read(rest_read, rest_written, &format!("{at}/additionalProperties"), depth + 1)
}

fn file_can_read(reader: &FileDescriptor, writer: &FileDescriptor) -> Result<(), String> {
    if reader.package_name() != writer.package_name() {
        return Err(format!("the package was `{}`", writer.package_name()));
    }
    let read: HashMap<String, MessageDescriptor> = all_messages(reader.messages());
    for (name, written) in all_messages(writer.messages()) {
        match read.get(&name) {
            Some(message) => message_can_read(message, &written)?,
            None => return Err(format!("message `{name}` is gone")),
        }
    }
    Ok(())
}

/// Messages and those inside them, by full name; entries of maps are judged as fields.
fn all_messages(messages: impl Iterator<Item = MessageDescriptor>) -> HashMap<String, MessageDescriptor> {
    let mut open: Vec<MessageDescriptor> = messages.collect();
    let mut all = HashMap::new();
    while let Some(message) = open.pop() {
        if !message.is_map_entry() {
            open.extend(message.child_messages());
            all.insert(message.full_name().to_owned(), message);
        }
    }
    all
}

fn message_can_read(reader: &MessageDescriptor, writer: &MessageDescriptor) -> Result<(), String> {
    let is_required = |field: &FieldDescriptor| field.cardinality() == Cardinality::Required;
    for written in writer.fields() {
        let place = format!("{}.{}", writer.full_name(), written.name());
        match reader.get_field(written.number()) {
            None if is_required(&written) => return Err(format!("required field `{place}` is gone")),
            None => {}
            Some(read) => field_can_read(&read, &written, &place)?,
        }
    }
    let new = reader.fields().find(|field| is_required(field) && writer.get_field(field.number()).is_none());
    match new {
        Some(field) => Err(format!("field `{}.{}` is required now", reader.full_name(), field.name())),
        None => Ok(()),
    }
}

fn field_can_read(reader: &FieldDescriptor, writer: &FieldDescriptor, place: &str) -> Result<(), String> {
    if encoding(&reader.kind()) != encoding(&writer.kind()) {
        return Err(format!("field `{place}` has another type"));
    }
    // A field that is now the last of several is read; a list where there was none is read too, but not the other way round
    // for numbers, which lists pack.
    let is_scalar =
        |field: &FieldDescriptor| !matches!(field.kind(), Kind::Message(_) | Kind::String | Kind::Bytes);
    if reader.is_list() != writer.is_list() && is_scalar(reader) || reader.is_map() != writer.is_map() {
        return Err(format!("field `{place}` is not a list, or is one now"));
    }
    Ok(())
}

/// Types with the same encoding have the same name here.
fn encoding(kind: &Kind) -> String {
    match kind {
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => {
            "varint".to_owned()
        }
        Kind::Sint32 | Kind::Sint64 => "zigzag".to_owned(),
        Kind::Fixed32 | Kind::Sfixed32 => "fixed32".to_owned(),
        Kind::Fixed64 | Kind::Sfixed64 => "fixed64".to_owned(),
        Kind::Float => "float".to_owned(),
        Kind::Double => "double".to_owned(),
        Kind::String | Kind::Bytes => "bytes".to_owned(),
        Kind::Message(message) if message.is_map_entry() => {
            let field = |field: FieldDescriptor| encoding(&field.kind());
            let (key, value) = (message.map_entry_key_field(), message.map_entry_value_field());
            format!("map {} {}", field(key), field(value))
        }
        Kind::Message(message) => message.full_name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: SchemaType, reader: &str, writer: &str) -> Result<(), String> {
        let source = |schema| Source { kind, schema, references: &[] };
        can_read(&source(reader), &source(writer))
    }

    #[track_caller]
    fn check(kind: SchemaType, old: &str, new: &str, backward: bool, forward: bool) {
        let (reads_old, read_by_old) = (judged(kind, new, old), judged(kind, old, new));
        assert_eq!(reads_old.is_ok(), backward, "new reads old: {reads_old:?}");
        assert_eq!(read_by_old.is_ok(), forward, "old reads new: {read_by_old:?}");
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"E","fields":[{fields}]}}"#)
    }

    #[test]
    fn avro_follows_its_rules_of_resolution() {
        let a = r#"{"name":"a","type":"int"}"#;
        let avro = SchemaType::Avro;
        let with_default = format!(r#"{a},{{"name":"b","type":"string","default":"x"}}"#);
        let without = format!(r#"{a},{{"name":"b","type":"string"}}"#);
        check(avro, &record(a), &record(&with_default), true, true);
        check(avro, &record(a), &record(&without), false, true);
        check(avro, &record(a), &record(r#"{"name":"a","type":"long"}"#), true, false);
        check(avro, &record(a), &record(r#"{"name":"a","type":["null","int"]}"#), true, false);
        check(avro, &record(a), &record(r#"{"name":"a","type":"string"}"#), false, false);
        let symbols = |symbols: &str| format!(r#"{{"type":"enum","name":"L","symbols":[{symbols}]}}"#);
        check(avro, &symbols(r#""A""#), &symbols(r#""A","B""#), true, false);
        check(avro, "\"string\"", "\"bytes\"", true, true);
    }

    #[test]
    fn json_schemas_are_compared_by_structure() {
        let json = SchemaType::Json;
        let open = r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#;
        let closed =
            r#"{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":false}"#;
        check(json, closed, open, true, false);
        check(json, open, r#"{"type":"object","properties":{"a":{"type":"number"}}}"#, true, false);
        check(
            json,
            open,
            r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}}}"#,
            false,
            true,
        );
        let closed_b = r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"additionalProperties":false}"#;
        check(json, closed, closed_b, true, false);
        check(
            json,
            open,
            r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}"#,
            false,
            true,
        );
        check(json, r#"{"enum":["a","b"]}"#, r#"{"enum":["a"]}"#, false, true);
        check(json, r#"{"maximum":10}"#, r#"{"maximum":20}"#, true, false);
        check(json, r#"{"items":{"type":"string"}}"#, "true", true, false);
    }

    #[test]
    fn protobuf_fields_are_compared_by_number() {
        let proto = SchemaType::Protobuf;
        let schema = |body: &str| format!("syntax = \"proto3\"; {body}");
        let one = schema("message M { int32 a = 1; }");
        check(proto, &one, &schema("message M { int64 renamed = 1; string b = 2; }"), true, true);
        check(proto, &one, &schema("message M { string a = 1; }"), false, false);
        check(proto, &one, &schema("message M { repeated int32 a = 1; }"), false, false);
        check(proto, &one, &schema("message M { } message N { }"), true, false);
        check(proto, &one, &schema("package p; message M { int32 a = 1; }"), false, false);
        let two = "syntax = \"proto2\"; message M { optional int32 a = 1; }";
        check(
            proto,
            two,
            "syntax = \"proto2\"; message M { optional int32 a = 1; required int32 b = 2; }",
            false,
            false,
        );
    }

    #[test]
    fn equal_schemas_have_one_text() {
        let text = |kind, schema: &str| canonical(&Source { kind, schema, references: &[] });
        assert_eq!(
            text(SchemaType::Json, r#"{"b":[1, 2],"a":"x"}"#).as_deref(),
            Ok(r#"{"a":"x","b":[1,2]}"#)
        );
        let spaced = text(SchemaType::Protobuf, "syntax = \"proto3\";\n// words\nmessage M {\n}\n");
        assert_eq!(spaced, text(SchemaType::Protobuf, "syntax = \"proto3\"; message M {}"));
        assert!(text(SchemaType::Json, "[]").is_err());
    }
}
