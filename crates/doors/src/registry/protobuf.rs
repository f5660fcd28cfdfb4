//! Protocol buffers to JSON text, by a schema that is known only when the program runs.
//!
//! A message of the registry begins with the way to its type: indexes into the messages of the file, and of those messages.
//!
//! Invariants:
//! - never panics, whatever the bytes; nesting is bounded by the decoder's own limit (100) and [`DEPTH_MAX`];
//! - schemas are bounded before they are parsed: text that nests too deep is refused.
//!
//! What becomes of types: 64-bit numbers stay numbers, bytes are base64, enums their names (numbers where they have none),
//! `google.protobuf` timestamps and durations text, wrappers and `Struct` what they hold. Fields that are not set are absent.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heimdall_ingest::records::write;
use heimdall_model::Timestamp;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, FileDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, Value,
};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::avro::zigzag;

/// How deep values may nest.
const DEPTH_MAX: usize = 64;
/// How deep the brackets of a schema may nest.
const SCHEMA_DEPTH_MAX: usize = 32;
/// Name of the file a schema is compiled as.
const FILE: &str = "schema.proto";
/// Longest way to a message's type.
const INDEXES_MAX: i64 = 32;

/// A schema, ready to read with.
#[derive(Debug)]
pub(crate) struct ProtobufDecoder {
    file: FileDescriptor,
}

impl ProtobufDecoder {
    /// Makes a decoder of a schema and those it imports, by name.
    pub(crate) fn new(schema: &str, references: &[(String, String)]) -> Result<ProtobufDecoder, String> {
        Ok(ProtobufDecoder { file: compile(schema, references)? })
    }

    /// Appends the JSON text of a message to `out`.
    pub(crate) fn decode(&self, bytes: &[u8], out: &mut String, out_bytes_max: usize) -> Result<(), String> {
        let (descriptor, used) = self.message_type(bytes)?;
        let message =
            DynamicMessage::decode(descriptor, &bytes[used..]).map_err(|error| error.to_string())?;
        Writer { out, out_bytes_max }.message(&message, 0)
    }

    fn message_type(&self, bytes: &[u8]) -> Result<(MessageDescriptor, usize), String> {
        let cut = || "ends within the way to its type".to_owned();
        let (count, mut at) = zigzag(bytes).ok_or_else(cut)?;
        if !(0..=INDEXES_MAX).contains(&count) {
            return Err(format!("a way of {count} steps to its type"));
        }
        let mut found: Option<MessageDescriptor> = None;
        for _ in 0..count.max(1) {
            let index = if count == 0 {
                0 // short for the first message of the file
            } else {
                let (index, used) = zigzag(&bytes[at..]).ok_or_else(cut)?;
                at += used;
                usize::try_from(index).map_err(|_| format!("no message {index}"))?
            };
            let next = match &found {
                None => self.file.messages().nth(index),
                Some(outer) => outer.child_messages().nth(index),
            };
            found = Some(next.ok_or_else(|| format!("the schema has no message {index} there"))?);
        }
        found.map(|descriptor| (descriptor, at)).ok_or_else(cut)
    }
}

/// A schema's file: of its source, or of the base64 of its descriptor, as some clients register it.
pub(crate) fn compile(schema: &str, references: &[(String, String)]) -> Result<FileDescriptor, String> {
    let mut sources: HashMap<String, String> = references.iter().cloned().collect();
    sources.insert(FILE.to_owned(), schema.to_owned());
    for source in sources.values() {
        check_depth(source)?;
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Sources(sources));
    resolver.add(GoogleFileResolver::new());
    // What is parsed comes from senders; a mistake of the compiler must cost them their schema and nothing else.
    let compiled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true);
        compiler.open_file(FILE).map_err(|error| error.to_string())?;
        Ok::<_, String>(compiler.descriptor_pool())
    }));
    let pool = compiled.unwrap_or_else(|_| Err("the schema cannot be compiled".to_owned()))?;
    check_keys(&pool)?;
    pool.get_file_by_name(FILE).ok_or_else(|| "the schema has no file".to_owned())
}

/// A descriptor may give a map any keys; reading a message of it would panic.
fn check_keys(pool: &DescriptorPool) -> Result<(), String> {
    let is_key = |field: Option<FieldDescriptor>| {
        field.is_some_and(|field| {
            let is_none = matches!(
                field.kind(),
                Kind::Double | Kind::Float | Kind::Bytes | Kind::Message(_) | Kind::Enum(_)
            );
            !is_none && !field.is_list()
        })
    };
    let is_map = |entry: &MessageDescriptor| is_key(entry.get_field(1)) && entry.get_field(2).is_some();
    match pool.all_messages().find(|message| message.is_map_entry() && !is_map(message)) {
        Some(entry) => Err(format!("the keys of the map `{}` are of no type for keys", entry.full_name())),
        None => Ok(()),
    }
}

/// The base64 of a file's descriptor, without the words beside it.
pub(crate) fn serialized(file: &FileDescriptor) -> String {
    let mut descriptor = file.file_descriptor_proto().clone();
    descriptor.source_code_info = None;
    STANDARD.encode(descriptor.encode_to_vec())
}

fn check_depth(source: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for byte in source.bytes() {
        match byte {
            b'{' | b'[' | b'<' | b'(' => depth += 1,
            b'}' | b']' | b'>' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > SCHEMA_DEPTH_MAX {
            return Err(format!("the schema nests deeper than {SCHEMA_DEPTH_MAX}"));
        }
    }
    Ok(())
}

struct Sources(HashMap<String, String>);

impl FileResolver for Sources {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().filter(|name| self.0.contains_key(*name)).map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let source = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        match descriptor(source) {
            Some(mut file) => {
                file.name = Some(name.to_owned());
                Ok(File::from_file_descriptor_proto(file))
            }
            None => File::from_source(name, source),
        }
    }
}

/// The descriptor that a schema is the base64 of.
fn descriptor(schema: &str) -> Option<FileDescriptorProto> {
    let bytes = STANDARD.decode(schema.trim()).ok()?;
    FileDescriptorProto::decode(bytes.as_slice()).ok()
}

struct Writer<'a> {
    out: &'a mut String,
    out_bytes_max: usize,
}

impl Writer<'_> {
    fn message(&mut self, message: &DynamicMessage, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("values nest deeper than {DEPTH_MAX}"));
        }
        let descriptor = message.descriptor();
        if let Some(name) = descriptor.full_name().strip_prefix("google.protobuf.")
            && self.well_known(name, message, depth)?
        {
            return Ok(());
        }
        self.out.push('{');
        for (n, (field, value)) in message.fields().enumerate() {
            if n > 0 {
                self.out.push(',');
            }
            write::text(self.out, field.name());
            self.out.push(':');
            self.value(value, &field.kind(), depth)?;
        }
        self.out.push('}');
        Ok(())
    }

    /// Writes a type that has a form of its own; whether it has.
    fn well_known(&mut self, name: &str, message: &DynamicMessage, depth: usize) -> Result<bool, String> {
        let number = |name: &str| -> i64 {
            let value = message.get_field_by_name(name);
            value.and_then(|value| value.as_i64().or(value.as_i32().map(i64::from))).unwrap_or(0)
        };
        match name {
            "Timestamp" | "Duration" => {
                let (seconds, nanos) = (number("seconds"), number("nanos"));
                let ns = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(nanos));
                match ns {
                    Some(ns) if name == "Timestamp" => write::time(self.out, Timestamp(ns)),
                    Some(ns) => {
                        let (sign, ns) = (if ns < 0 { "-" } else { "" }, ns.unsigned_abs());
                        let text = format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
                        let text = text.trim_end_matches('0').trim_end_matches('.');
                        write::text(self.out, &format!("{text}s"));
                    }
                    None => return Ok(false),
                }
            }
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
            | "BoolValue" | "StringValue" | "BytesValue" => {
                let Some(field) = message.descriptor().get_field(1) else { return Ok(false) };
                self.value(&message.get_field(&field), &field.kind(), depth)?;
            }
            "Struct" | "ListValue" => {
                let Some(field) = message.descriptor().get_field(1) else { return Ok(false) };
                self.value(&message.get_field(&field), &field.kind(), depth)?;
            }
            "Value" => match message.fields().next() {
                Some((field, _)) if field.name() == "null_value" => self.out.push_str("null"),
                Some((field, value)) => self.value(value, &field.kind(), depth)?,
                None => self.out.push_str("null"),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn value(&mut self, value: &Value, kind: &Kind, depth: usize) -> Result<(), String> {
        if self.out.len() > self.out_bytes_max {
            return Err(format!("more than {} bytes of JSON", self.out_bytes_max));
        }
        match value {
            Value::Bool(is_true) => self.out.push_str(if *is_true { "true" } else { "false" }),
            Value::I32(number) => write::number(self.out, number),
            Value::I64(number) => write::number(self.out, number),
            Value::U32(number) => write::number(self.out, number),
            Value::U64(number) => write::number(self.out, number),
            Value::F32(number) => write::float(self.out, f64::from(*number)),
            Value::F64(number) => write::float(self.out, *number),
            Value::String(text) => write::text(self.out, text),
            Value::Bytes(bytes) => write::text(self.out, &STANDARD.encode(bytes)),
            Value::EnumNumber(number) => {
                match kind.as_enum().and_then(|symbols| symbols.get_value(*number)) {
                    Some(symbol) => write::text(self.out, symbol.name()),
                    None => write::number(self.out, number),
                }
            }
            Value::Message(message) => self.message(message, depth + 1)?,
            Value::List(items) => {
                self.out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        self.out.push(',');
                    }
                    self.value(item, kind, depth)?; // a list holds no lists
                }
                self.out.push(']');
            }
            Value::Map(entries) => self.map(entries, kind, depth)?,
        }
        Ok(())
    }

    fn map(&mut self, entries: &HashMap<MapKey, Value>, kind: &Kind, depth: usize) -> Result<(), String> {
        let values = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
        let values = values.unwrap_or(Kind::Bytes);
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key); // the same bytes give the same record
        self.out.push('{');
        for (n, (key, value)) in sorted.into_iter().enumerate() {
            if n > 0 {
                self.out.push(',');
            }
            write::text(self.out, &name_of(key));
            self.out.push(':');
            self.value(value, &values, depth + 1)?;
        }
        self.out.push('}');
        Ok(())
    }
}

fn name_of(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;

    const SCHEMA: &str = r#"syntax = "proto3";
        package demo;
        import "google/protobuf/timestamp.proto";
        import "google/protobuf/struct.proto";
        import "google/protobuf/wrappers.proto";
        message Event {
          string message = 1;
          google.protobuf.Timestamp at = 2;
          Level level = 3;
          bytes raw = 4;
          map<string, int64> counts = 5;
          repeated Event children = 6;
          google.protobuf.Struct any = 7;
          google.protobuf.Int64Value size = 8;
          oneof who { string user = 9; uint64 id = 10; }
          message Inner { double ratio = 1; }
          Inner inner = 11;
        }
        enum Level { LOW = 0; HIGH = 1; }
        message Other { int32 n = 1; }"#;

    /// Tag and length of a field, and its bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("a short field");
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn json(prefix: &[u8], fields: &[Vec<u8>]) -> Result<String, String> {
        let decoder = ProtobufDecoder::new(SCHEMA, &[]).expect("a schema");
        let mut out = String::new();
        decoder.decode(&[prefix, &fields.concat()].concat(), &mut out, 1 << 16).map(|()| out)
    }

    #[test]
    fn every_type_has_its_form_in_json() {
        let fields = [
            field(1, b"a \"b\""),
            field(2, &[0x08, 0x80, 0xe2, 0xcf, 0xaa, 0x06, 0x10, 0x05]),
            vec![3 << 3, 1],
            field(4, &[1, 2, 255]),
            field(5, &[0x0a, 1, b'n', 0x10, 7]),
            field(6, &field(1, b"child")),
            field(7, &field(1, &[field(1, b"k"), field(2, &[vec![4 << 3, 1]].concat())].concat())),
            field(8, &[0x08, 9]),
            vec![10 << 3, 3],
            field(11, &[vec![1 << 3 | 1], 0.5_f64.to_le_bytes().to_vec()].concat()),
        ];
        let expected = concat!(
            r#"{"message":"a \"b\"","at":"2023-11-14T22:13:20.000000005Z","level":"HIGH","raw":"AQL/","#,
            r#""counts":{"n":7},"children":[{"message":"child"}],"any":{"k":true},"size":9,"id":3,"inner":{"ratio":0.5}}"#
        );
        assert_eq!(json(&[0], &fields).as_deref(), Ok(expected));
    }

    #[test]
    fn the_way_leads_to_the_type() {
        assert_eq!(json(&[2, 2], &[vec![1 << 3, 4]]).as_deref(), Ok(r#"{"n":4}"#));
        let ratio = [vec![1 << 3 | 1], 0.5_f64.to_le_bytes().to_vec()].concat();
        // The entries of the map are a nested message too, and come before it.
        assert_eq!(json(&[4, 0, 2], &[ratio]).as_deref(), Ok(r#"{"ratio":0.5}"#));
        for wrong in [&[2, 8][..], &[1], &[4, 0], &[0xfe, 0xff, 0xff, 0xff, 0x0f], &[]] {
            assert!(json(wrong, &[]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_serialized_descriptor_is_a_schema_too() {
        let file = compile(SCHEMA, &[]).expect("a schema");
        let decoder = ProtobufDecoder::new(&serialized(&file), &[]).expect("its descriptor");
        let mut out = String::new();
        decoder.decode(&[0, 0x0a, 1, b'x'], &mut out, 100).expect("a message");
        assert_eq!(out, r#"{"message":"x"}"#);
    }

    #[test]
    fn references_are_imports() {
        let main = r#"syntax = "proto3"; import "other.proto"; message M { Other o = 1; }"#;
        let other = r#"syntax = "proto3"; message Other { int32 n = 1; }"#;
        assert!(ProtobufDecoder::new(main, &[]).is_err());
        assert!(ProtobufDecoder::new(main, &[("other.proto".to_owned(), other.to_owned())]).is_ok());
    }

    #[test]
    fn what_nests_too_deep_is_refused() {
        let schema = format!("{}{}", "message M {".repeat(10_000), "}".repeat(10_000));
        assert!(compile(&schema, &[]).expect_err("too deep").contains("deeper"));
        let mut bytes = field(1, b"x");
        while bytes.len() < 120 {
            bytes = field(6, &bytes);
        }
        assert!(json(&[0], &[bytes]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_give_json_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(out) = json(&[0], &[bytes]) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{}", out);
            }
        }

        #[test]
        fn any_text_is_a_schema_or_an_error(text in "\\PC{0,200}") {
            let _ = compile(&text, &[]);
        }
    }

    /// A schema like this was taken, and every message of it ended the task that read it.
    #[test]
    fn a_descriptor_whose_map_has_impossible_keys_is_no_schema() {
        let mut file = compile(SCHEMA, &[]).expect("a schema").file_descriptor_proto().clone();
        let entry = &mut file.message_type[0].nested_type[0];
        assert!(entry.options.as_ref().is_some_and(|options| options.map_entry()));
        entry.field[0].set_type(prost_reflect::prost_types::field_descriptor_proto::Type::Double);
        let refused = compile(&STANDARD.encode(file.encode_to_vec()), &[]).expect_err("no schema");
        assert!(refused.contains("keys"), "{refused}");
    }

    fn message_with_everything() -> Vec<u8> {
        let fields = [
            field(1, b"a"),
            field(2, &[0x08, 0x80, 0xe2, 0xcf, 0xaa, 0x06, 0x10, 0x05]),
            vec![3 << 3, 1],
            field(4, &[1, 2, 255]),
            field(5, &[0x0a, 1, b'n', 0x10, 7]),
            field(6, &field(1, b"child")),
            field(7, &field(1, &[field(1, b"k"), field(2, &[vec![4 << 3, 1]].concat())].concat())),
            field(8, &[0x08, 9]),
            vec![10 << 3, 3],
            field(11, &[vec![1 << 3 | 1], 0.5_f64.to_le_bytes().to_vec()].concat()),
        ];
        fields.concat()
    }

    #[test]
    fn mutants_of_messages_give_json_or_an_error() {
        let decoder = ProtobufDecoder::new(SCHEMA, &[]).expect("a schema");
        fuzz(&Seeds::protobuf([message_with_everything()]), |mutant, rng| {
            let way = *rng.one_of(&[&[0][..], &[0], &[0], &[2, 2], &[4, 0, 2]]);
            let mut out = String::new();
            if decoder.decode(&[way, mutant].concat(), &mut out, 1 << 16).is_ok() {
                assert!(serde_json::from_str::<&serde_json::value::RawValue>(&out).is_ok(), "{out}");
            }
            assert!(out.len() <= (1 << 16) + 64 * mutant.len(), "{} bytes", out.len());
        });
    }

    #[test]
    fn mutants_of_schemas_are_schemas_or_an_error() {
        let message = [&[0][..], &message_with_everything()].concat();
        fuzz(&Seeds::text([SCHEMA]), |mutant, _| {
            if let Ok(decoder) = ProtobufDecoder::new(&String::from_utf8_lossy(mutant), &[]) {
                let _ = decoder.decode(&message, &mut String::new(), 1 << 16);
            }
        });
        let file = compile(SCHEMA, &[]).expect("a schema");
        fuzz(&Seeds::protobuf([file.file_descriptor_proto().encode_to_vec()]), |mutant, _| {
            let text = STANDARD.encode(mutant);
            if let Ok(decoder) = ProtobufDecoder::new(&text, &[]) {
                let _ = decoder.decode(&message, &mut String::new(), 1 << 16);
            }
        });
    }
}
