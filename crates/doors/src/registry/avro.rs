//! Avro messages to JSON text, by the schema they were written with.
//!
//! Invariants:
//! - never panics and never recurses deeper than [`DEPTH_MAX`], whatever the bytes and the schema;
//! - the JSON text of a message is at most `out_bytes_max` long, whatever lengths the bytes announce.
//!
//! What becomes of types: timestamps and dates ISO 8601, decimals numbers with all their digits, UUIDs text, bytes and fixed
//! base64, enums their symbols, unions the value that was chosen, durations `{months, days, millis}`.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heimdall_ingest::records::write;
use heimdall_model::Timestamp;

/// How deep values may nest.
pub(crate) const DEPTH_MAX: usize = 64;
/// Longest decimal: 128 bits.
const DECIMAL_BYTES_MAX: usize = 16;
/// Most decimal places that are written as a number.
const SCALE_MAX: usize = 64;
const NS_PER_DAY: i64 = 86_400_000_000_000;

/// A schema, ready to read with.
#[derive(Debug)]
pub(crate) struct AvroDecoder {
    nodes: Vec<Node>,
    root: usize,
}

#[derive(Debug)]
enum Node {
    Null,
    Bool,
    Int,
    Float,
    Double,
    Bytes,
    Text,
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<(String, usize)>),
    Enum(Vec<String>),
    Fixed(usize),
    /// Decimal places, and the length where it is fixed.
    Decimal(usize, Option<usize>),
    Uuid(Option<usize>),
    Date,
    /// Times of a day, in units of as many ns.
    TimeOfDay(i64),
    /// Moments, in units of as many ns.
    Moment(i64),
    Duration,
    /// A name that is not defined yet.
    Undefined,
}

impl AvroDecoder {
    /// Makes a decoder of a schema and those it refers to.
    pub(crate) fn new(schema: &str, references: &[&str]) -> Result<AvroDecoder, String> {
        let (schema, others) = parse(schema, references)?;
        let mut build = Build { nodes: Vec::new(), names: HashMap::new() };
        for other in &others {
            build.add(other, None, 0)?;
        }
        let root = build.add(&schema, None, 0)?;
        let undefined = build.names.iter().find(|(_, at)| matches!(build.nodes[**at], Node::Undefined));
        match undefined {
            Some((name, _)) => Err(format!("`{name}` is not defined")),
            None => Ok(AvroDecoder { nodes: build.nodes, root }),
        }
    }

    /// Appends the JSON text of a message to `out`.
    pub(crate) fn decode(&self, bytes: &[u8], out: &mut String, out_bytes_max: usize) -> Result<(), String> {
        let mut reader = Reader { nodes: &self.nodes, bytes, at: 0, out_bytes_max, out };
        reader.value(self.root, 0)?;
        if reader.at == bytes.len() {
            Ok(())
        } else {
            Err(format!("{} bytes are left after the value", bytes.len() - reader.at))
        }
    }
}

/// Parses a schema and those it refers to.
pub(crate) fn parse(schema: &str, references: &[&str]) -> Result<(Schema, Vec<Schema>), String> {
    // A chain of causes, each in its line, is more than a sender can use.
    Schema::parse_str_with_list(schema, references).map_err(|error| error.to_string())
}

struct Build {
    nodes: Vec<Node>,
    names: HashMap<String, usize>,
}

impl Build {
    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The place of a named type, defined or not.
    fn named(&mut self, name: &Name, space: Option<&str>) -> usize {
        let full = name.fullname(space);
        if let Some(at) = self.names.get(&full) {
            return *at;
        }
        let at = self.push(Node::Undefined);
        self.names.insert(full, at);
        at
    }

    fn define(&mut self, name: &Name, space: Option<&str>, node: Node) -> usize {
        let at = self.named(name, space);
        self.nodes[at] = node;
        at
    }

    fn add(&mut self, schema: &Schema, space: Option<&str>, depth: usize) -> Result<usize, String> {
        if depth > DEPTH_MAX {
            return Err(format!("nests deeper than {DEPTH_MAX}"));
        }
        Ok(match schema {
            Schema::Null => self.push(Node::Null),
            Schema::Boolean => self.push(Node::Bool),
            Schema::Int | Schema::Long => self.push(Node::Int),
            Schema::Float => self.push(Node::Float),
            Schema::Double => self.push(Node::Double),
            Schema::Bytes | Schema::BigDecimal => self.push(Node::Bytes),
            Schema::String | Schema::Uuid(UuidSchema::String) => self.push(Node::Text),
            Schema::Array(array) => {
                let items = self.add(&array.items, space, depth + 1)?;
                self.push(Node::Array(items))
            }
            Schema::Map(map) => {
                let values = self.add(&map.types, space, depth + 1)?;
                self.push(Node::Map(values))
            }
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|variant| self.add(variant, space, depth + 1));
                let variants = variants.collect::<Result<_, _>>()?;
                self.push(Node::Union(variants))
            }
            Schema::Record(record) => {
                let at = self.named(&record.name, space);
                let inner = record.name.namespace().or(space);
                let fields = record.fields.iter();
                let fields = fields
                    .map(|field| Ok((field.name.clone(), self.add(&field.schema, inner, depth + 1)?)))
                    .collect::<Result<_, String>>()?;
                self.nodes[at] = Node::Record(fields);
                at
            }
            Schema::Enum(symbols) => self.define(&symbols.name, space, Node::Enum(symbols.symbols.clone())),
            Schema::Fixed(fixed) => self.define(&fixed.name, space, Node::Fixed(fixed.size)),
            Schema::Duration(fixed) => self.define(&fixed.name, space, Node::Duration),
            Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.define(&fixed.name, space, Node::Uuid(Some(fixed.size)))
            }
            Schema::Uuid(UuidSchema::Bytes) => self.push(Node::Uuid(None)),
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => self.push(Node::Decimal(decimal.scale, None)),
                InnerDecimalSchema::Fixed(fixed) => {
                    self.define(&fixed.name, space, Node::Decimal(decimal.scale, Some(fixed.size)))
                }
            },
            Schema::Date => self.push(Node::Date),
            Schema::TimeMillis => self.push(Node::TimeOfDay(1_000_000)),
            Schema::TimeMicros => self.push(Node::TimeOfDay(1_000)),
            Schema::TimestampMillis | Schema::LocalTimestampMillis => self.push(Node::Moment(1_000_000)),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => self.push(Node::Moment(1_000)),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => self.push(Node::Moment(1)),
            Schema::Ref { name } => self.named(name, space),
        })
    }
}

struct Reader<'a> {
    nodes: &'a [Node],
    bytes: &'a [u8],
    at: usize,
    out_bytes_max: usize,
    out: &'a mut String,
}

impl<'a> Reader<'a> {
    fn value(&mut self, node: usize, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("values nest deeper than {DEPTH_MAX}"));
        }
        if self.out.len() > self.out_bytes_max {
            return Err(format!("more than {} bytes of JSON", self.out_bytes_max));
        }
        let nodes = self.nodes;
        match &nodes[node] {
            Node::Null | Node::Undefined => self.out.push_str("null"),
            Node::Bool => {
                let is_true = self.take(1)?[0] != 0;
                self.out.push_str(if is_true { "true" } else { "false" });
            }
            Node::Int => {
                let number = self.long()?;
                write::number(self.out, number);
            }
            Node::Float => {
                let bytes = self.array()?;
                write::float(self.out, f64::from(f32::from_le_bytes(bytes)));
            }
            Node::Double => {
                let bytes = self.array()?;
                write::float(self.out, f64::from_le_bytes(bytes));
            }
            Node::Bytes => {
                let bytes = self.counted()?;
                self.base64(bytes);
            }
            Node::Text => {
                let bytes = self.counted()?;
                write::text(self.out, &String::from_utf8_lossy(bytes));
            }
            Node::Fixed(size) => {
                let bytes = self.take(*size)?;
                self.base64(bytes);
            }
            Node::Enum(symbols) => {
                let index = self.long()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                write::text(self.out, symbol.ok_or_else(|| format!("an enum has no symbol {index}"))?);
            }
            Node::Union(variants) => {
                let index = self.long()?;
                let variant = usize::try_from(index).ok().and_then(|index| variants.get(index));
                self.value(*variant.ok_or_else(|| format!("a union has no branch {index}"))?, depth + 1)?;
            }
            Node::Record(fields) => self.record(fields, depth)?,
            Node::Array(items) => self.array_of(*items, depth)?,
            Node::Map(values) => self.map_of(*values, depth)?,
            Node::Decimal(scale, size) => {
                let bytes = match size {
                    Some(size) => self.take(*size)?,
                    None => self.counted()?,
                };
                self.decimal(bytes, *scale);
            }
            Node::Uuid(size) => {
                let bytes = match size {
                    Some(size) => self.take(*size)?,
                    None => self.counted()?,
                };
                match uuid::Uuid::from_slice(bytes) {
                    Ok(id) => write::text(self.out, &id.to_string()),
                    Err(_) => self.base64(bytes),
                }
            }
            Node::Date => {
                let days = self.long()?;
                match days.checked_mul(NS_PER_DAY) {
                    Some(ns) => write::text(self.out, &Timestamp(ns).to_string()[..10]),
                    None => write::number(self.out, days),
                }
            }
            Node::TimeOfDay(unit) => {
                let count = self.long()?;
                match count.checked_mul(*unit).filter(|ns| (0..NS_PER_DAY).contains(ns)) {
                    Some(ns) => {
                        let text = Timestamp(ns).to_string();
                        let text = text.trim_end_matches('Z');
                        write::text(self.out, text.split_once('T').map_or(text, |(_, time)| time));
                    }
                    None => write::number(self.out, count),
                }
            }
            Node::Moment(unit) => {
                let count = self.long()?;
                match count.checked_mul(*unit) {
                    Some(ns) => write::time(self.out, Timestamp(ns)),
                    None => write::number(self.out, count),
                }
            }
            Node::Duration => {
                let [months, days, millis] =
                    [self.array()?, self.array()?, self.array()?].map(u32::from_le_bytes);
                write::object(
                    self.out,
                    [("months", months), ("days", days), ("millis", millis)],
                    |out, n| {
                        write::number(out, n);
                    },
                );
            }
        }
        Ok(())
    }

    fn record(&mut self, fields: &[(String, usize)], depth: usize) -> Result<(), String> {
        self.out.push('{');
        for (n, (name, node)) in fields.iter().enumerate() {
            if n > 0 {
                self.out.push(',');
            }
            write::text(self.out, name);
            self.out.push(':');
            self.value(*node, depth + 1).map_err(|error| format!("{name}: {error}"))?;
        }
        self.out.push('}');
        Ok(())
    }

    fn array_of(&mut self, items: usize, depth: usize) -> Result<(), String> {
        self.out.push('[');
        let mut is_first = true;
        self.blocks(|reader| {
            if !std::mem::take(&mut is_first) {
                reader.out.push(',');
            }
            reader.value(items, depth + 1)
        })?;
        self.out.push(']');
        Ok(())
    }

    fn map_of(&mut self, values: usize, depth: usize) -> Result<(), String> {
        self.out.push('{');
        let mut is_first = true;
        self.blocks(|reader| {
            if !std::mem::take(&mut is_first) {
                reader.out.push(',');
            }
            let key = reader.counted()?;
            write::text(reader.out, &String::from_utf8_lossy(key));
            reader.out.push(':');
            reader.value(values, depth + 1)
        })?;
        self.out.push('}');
        Ok(())
    }

    /// Reads the items of an array or a map: blocks of as many as they say, until an empty one.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.long()?; // the block's length in bytes: for readers that pass over it
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
        }
    }

    fn decimal(&mut self, bytes: &[u8], scale: usize) {
        if bytes.is_empty() || bytes.len() > DECIMAL_BYTES_MAX || scale > SCALE_MAX {
            return self.base64(bytes);
        }
        let fill = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
        let mut wide = [fill; DECIMAL_BYTES_MAX];
        wide[DECIMAL_BYTES_MAX - bytes.len()..].copy_from_slice(bytes);
        let number = i128::from_be_bytes(wide);
        let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
        let (whole, part) = digits.split_at(digits.len() - scale);
        if number < 0 {
            self.out.push('-');
        }
        self.out.push_str(whole);
        if scale > 0 {
            self.out.push('.');
            self.out.push_str(part);
        }
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.out.push('"');
        STANDARD.encode_string(bytes, self.out);
        self.out.push('"');
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("ends within a value, at byte {}", self.bytes.len()))?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn counted(&mut self) -> Result<&'a [u8], String> {
        let count = self.long()?;
        let count = usize::try_from(count).map_err(|_| format!("a length of {count}"))?;
        self.take(count)
    }

    fn long(&mut self) -> Result<i64, String> {
        let (number, used) =
            zigzag(&self.bytes[self.at..]).ok_or_else(|| format!("no number at byte {}", self.at))?;
        self.at += used;
        Ok(number)
    }
}

/// A number as Avro and Confluent's Protobuf prefix write it, and how many bytes it took.
pub(crate) fn zigzag(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut raw = 0_u64;
    for (n, byte) in bytes.iter().take(10).enumerate() {
        raw |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * n).ok()?)?;
        if byte & 0x80 == 0 {
            let number = i64::try_from(raw >> 1).ok()?;
            return Some((if raw & 1 == 0 { number } else { !number }, n + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Value;
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;

    const EVERYTHING: &str = r#"{"type":"record","name":"Event","namespace":"a.b","fields":[
        {"name":"message","type":"string"},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"day","type":{"type":"int","logicalType":"date"}},
        {"name":"time","type":{"type":"int","logicalType":"time-millis"}},
        {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
        {"name":"id","type":{"type":"string","logicalType":"uuid"}},
        {"name":"level","type":{"type":"enum","name":"Level","symbols":["LOW","HIGH"]}},
        {"name":"raw","type":"bytes"},
        {"name":"mac","type":{"type":"fixed","name":"Mac","size":2}},
        {"name":"tags","type":{"type":"array","items":["null","string"]}},
        {"name":"counts","type":{"type":"map","values":"long"}},
        {"name":"ratio","type":"double"},
        {"name":"next","type":["null","Event"],"default":null},
        {"name":"other","type":"Level"}]}"#;

    fn event(next: Value) -> Value {
        let field = |name: &str, value| (name.to_owned(), value);
        Value::Record(vec![
            field("message", Value::String("a \"b\"".to_owned())),
            field("at", Value::TimestampMicros(1_700_000_000_123_456)),
            field("day", Value::Date(19_675)),
            field("time", Value::TimeMillis(3_600_001)),
            field("price", Value::Decimal(apache_avro::Decimal::from(vec![0xff, 0x85]))),
            field("id", Value::Uuid("f81d4fae-7dec-11d0-a765-00a0c91e6bf6".parse().expect("an id"))),
            field("level", Value::Enum(1, "HIGH".to_owned())),
            field("raw", Value::Bytes(vec![1, 2, 255])),
            field("mac", Value::Fixed(2, vec![0, 1])),
            field(
                "tags",
                Value::Array(vec![
                    Value::Union(1, Box::new(Value::String("x".to_owned()))),
                    Value::Union(0, Box::new(Value::Null)),
                ]),
            ),
            field("counts", Value::Map([("n".to_owned(), Value::Long(-5))].into())),
            field("ratio", Value::Double(0.5)),
            field("next", next),
            field("other", Value::Enum(0, "LOW".to_owned())),
        ])
    }

    fn encoded(value: Value) -> Vec<u8> {
        let schema = Schema::parse_str(EVERYTHING).expect("a schema");
        #[expect(deprecated, reason = "the short form of the crate is enough for a test")]
        apache_avro::to_avro_datum(&schema, value).expect("a value of the schema")
    }

    #[test]
    fn every_type_has_its_form_in_json() {
        let inner = Value::Union(1, Box::new(event(Value::Union(0, Box::new(Value::Null)))));
        let decoder = AvroDecoder::new(EVERYTHING, &[]).expect("a schema");
        let mut out = String::new();
        decoder.decode(&encoded(event(inner)), &mut out, 1 << 20).expect("a value");
        let one = concat!(
            r#"{"message":"a \"b\"","at":"2023-11-14T22:13:20.123456000Z","day":"2023-11-14","time":"01:00:00.001000000","#,
            r#""price":-1.23,"id":"f81d4fae-7dec-11d0-a765-00a0c91e6bf6","level":"HIGH","raw":"AQL/","mac":"AAE=","#,
            r#""tags":["x",null],"counts":{"n":-5},"ratio":0.5,"next":NEXT,"other":"LOW"}"#
        );
        assert_eq!(out, one.replace("NEXT", &one.replace("NEXT", "null")));
    }

    #[test]
    fn references_are_other_schemas() {
        let level = r#"{"type":"enum","name":"a.Level","symbols":["LOW"]}"#;
        let record = r#"{"type":"record","name":"R","fields":[{"name":"l","type":"a.Level"}]}"#;
        assert!(AvroDecoder::new(record, &[]).is_err());
        let mut out = String::new();
        let decoder = AvroDecoder::new(record, &[level]).expect("both schemas");
        decoder.decode(&[0], &mut out, 100).expect("a value");
        assert_eq!(out, r#"{"l":"LOW"}"#);
    }

    #[test]
    fn endless_values_end() {
        let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        let decoder = AvroDecoder::new(list, &[]).expect("a schema");
        let error = decoder.decode(&[2; 1 << 20], &mut String::new(), 1 << 20).expect_err("too deep");
        assert!(error.contains("deeper"), "{error}");
        let nulls = AvroDecoder::new(r#"{"type":"array","items":"null"}"#, &[]).expect("a schema");
        let endless = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(
            nulls.decode(&endless, &mut String::new(), 1000).expect_err("too many").contains("1000 bytes")
        );
        let least = [0xff; 9].into_iter().chain([0x01, 0x00]).collect::<Vec<u8>>();
        assert!(nulls.decode(&least, &mut String::new(), 1000).is_err(), "the least number of all");
        let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(60), "}".repeat(60));
        assert!(AvroDecoder::new(&deep, &[]).is_ok());
        let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(100), "}".repeat(100));
        assert!(AvroDecoder::new(&deep, &[]).is_err());
    }

    #[test]
    fn what_is_left_over_is_an_error() {
        let decoder = AvroDecoder::new("\"int\"", &[]).expect("a schema");
        assert!(decoder.decode(&[2, 2], &mut String::new(), 100).is_err());
        assert!(decoder.decode(&[], &mut String::new(), 100).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_json_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let decoder = AvroDecoder::new(EVERYTHING, &[]).expect("a schema");
            let mut out = String::new();
            if decoder.decode(&bytes, &mut out, 1 << 16).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
            }
        }

        #[test]
        fn a_damaged_message_gives_json_or_an_error(at in 0_usize..200, byte in any::<u8>()) {
            let mut bytes = encoded(event(Value::Union(0, Box::new(Value::Null))));
            let at = at % bytes.len();
            bytes[at] = byte;
            let decoder = AvroDecoder::new(EVERYTHING, &[]).expect("a schema");
            let mut out = String::new();
            if decoder.decode(&bytes, &mut out, 1 << 16).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
            }
        }

        #[test]
        fn numbers_are_what_avro_wrote(number in any::<i64>()) {
            let schema = Schema::parse_str("\"long\"").expect("a schema");
            #[expect(deprecated, reason = "the short form of the crate is enough for a test")]
            let bytes = apache_avro::to_avro_datum(&schema, number).expect("a number");
            prop_assert_eq!(zigzag(&bytes), Some((number, bytes.len())));
        }
    }

    #[test]
    fn mutants_of_messages_give_json_or_an_error() {
        let inner = Value::Union(1, Box::new(event(Value::Union(0, Box::new(Value::Null)))));
        let seeds =
            Seeds::bytes([encoded(event(inner)), encoded(event(Value::Union(0, Box::new(Value::Null))))]);
        let decoder = AvroDecoder::new(EVERYTHING, &[]).expect("a schema");
        fuzz(&seeds, |mutant, _| {
            let mut out = String::new();
            if decoder.decode(mutant, &mut out, 1 << 16).is_ok() {
                assert!(serde_json::from_str::<&serde_json::value::RawValue>(&out).is_ok(), "{out}");
            }
            assert!(out.len() <= (1 << 16) + 64 * mutant.len(), "{} bytes", out.len());
        });
    }

    #[test]
    fn mutants_of_schemas_are_schemas_or_an_error() {
        let message = encoded(event(Value::Union(0, Box::new(Value::Null))));
        fuzz(&Seeds::text([EVERYTHING, r#"["null",{"type":"array","items":"long"}]"#]), |mutant, _| {
            if let Ok(decoder) = AvroDecoder::new(&String::from_utf8_lossy(mutant), &[]) {
                let mut out = String::new();
                if decoder.decode(&message, &mut out, 1 << 16).is_ok() {
                    assert!(serde_json::from_str::<&serde_json::value::RawValue>(&out).is_ok(), "{out}");
                }
            }
        });
    }
}
