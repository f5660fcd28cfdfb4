//! Bodies in, records and notes out; and the same records as a slow reader built on serde_json finds.

use heimdall_model::schema::{self, FieldType};
use heimdall_model::{FieldId, Level};
use heimdall_testkit::data::bad_inputs;
use heimdall_testkit::mutants::{Seeds, fuzz};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::testing::check_batch;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

fn decode_in(dataset: Dataset, body: &[u8]) -> Result<Decoded, BodyError> {
    decode(dataset, body, NOW, &DecodeLimits::default())
}

/// Every present field but the times, by name; attributes as JSON.
fn fields(decoded: &Decoded, row: usize) -> Map<String, Value> {
    let row = decoded.batch.row(row);
    let dataset = decoded.batch.dataset;
    let ids = (0_u8..).map(FieldId).take(dataset.fields().len());
    ids.filter(|id| ![schema::TIMESTAMP, schema::OBSERVED].contains(id))
        .filter(|id| !row.value(*id).is_null())
        .map(|id| (dataset.field(id).name.to_owned(), row.value(id).to_json()))
        .collect()
}

/// Rows as `fields`, then `! index field: reason` of what was rejected and `~ …` of what was coerced.
fn show(dataset: Dataset, body: &[u8]) -> String {
    let decoded = match decode_in(dataset, body) {
        Err(error) => return format!("{error}"),
        Ok(decoded) => decoded,
    };
    let rows = (0..decoded.batch.rows()).map(|row| Value::Object(fields(&decoded, row)).to_string());
    let rejected = decoded.rejected.iter().map(|r| format!("! {} {}: {}", r.index, r.field, r.reason));
    let coerced = decoded.coerced.iter().map(|c| format!("~ {} {}: {}", c.index, c.field, c.reason));
    rows.chain(rejected).chain(coerced).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(body: &str, expected: &str) {
    assert_eq!(show(Dataset::Logs, body.as_bytes()), expected, "{body}");
}

#[test]
fn one_object_an_array_lines_and_documents() {
    let two = "{\"message\":\"a\"}\n{\"message\":\"b\"}";
    check("\u{feff} {\"message\":\"a\"} ", "{\"message\":\"a\"}");
    check("[{\"message\":\"a\"} , {\"message\":\"b\"}]\n", two);
    check("{\"message\":\"a\"}\r\n\r\n {\"message\":\"b\"}", two);
    check("{\"message\":\"a\"}{\"message\":\"b\"}", two);
    check("{\n \"message\":\"a\"\n}\n{\"message\":\n\"b\"}", two);
    check(" [] ", "");
    check("{}", "{}");
    check("", "body is empty");
    check("\u{feff}\n", "body is empty");
}

#[test]
fn values_that_are_not_objects_are_messages() {
    check(
        "[\"a\\nb\",-0.1,null,[1, {}],true]",
        "{\"message\":\"a\\nb\"}\n{\"message\":\"-0.1\"}\n{\"message\":\"null\"}\n{\"message\":\"[1,{}]\"}\n{\"message\":\"true\"}",
    );
    check("false\n[1 ]", "{\"message\":\"false\"}\n{\"message\":\"[1]\"}");
}

#[test]
fn a_broken_line_is_rejected_alone_and_a_broken_document_whole() {
    check(
        "{\"a\":1,}\n{\"message\":\"b\"}\n{\"a\":\"cut",
        "{\"message\":\"b\"}\n! 0 : line is not JSON at byte 7: expected a field name in quotes\n! 2 : line is not JSON at byte 9: string is not closed",
    );
    check("{\"a\": true} \"x\"", "body is not JSON at line 1 (byte 12): text after the end of the value");
    check(
        "{\"message\":\"m\"}\n{\"a\":1} {\"b\":2} x",
        "{\"message\":\"m\"}\n! 1 : line is not JSON at byte 16: text after the end of the value",
    );
    check("[{\"a\":1},\n{\"b\":2}", "body is not JSON at line 2 (byte 17): expected `,` or `]`");
    check(
        "{\"list\":[\n{\"b\":1}\n],}",
        "body is not JSON at line 3 (byte 20): expected a field name in quotes",
    );
    check(
        "{\"a\":\"cut\n{\"message\":\"b\"}",
        "{\"message\":\"b\"}\n! 0 : line is not JSON at byte 9: string is not closed",
    );
}

#[test]
fn bytes_that_are_not_utf8_reject_their_line_only() {
    let shown = show(Dataset::Logs, b"{\"a\":\"\xff\"}\n{\"message\":\"b\"}");
    assert_eq!(shown, "{\"message\":\"b\"}\n! 0 : line is not UTF-8 at byte 6");
    assert_eq!(show(Dataset::Logs, b"[\"\xff\"]"), "body is not UTF-8 at byte 2");
}

#[test]
fn depth_is_limited_without_recursion() {
    let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(decode_in(Dataset::Logs, nested(63).as_bytes()).map(|d| d.batch.rows()), Ok(1));
    check(&nested(64), "body is not JSON at line 1 (byte 68): nested deeper than 64");
    check(&"[".repeat(100_000), "body is not JSON at line 1 (byte 65): nested deeper than 64");
    let outer = "{\"source\":".repeat(100_000);
    check(&outer, "body is not JSON at line 1 (byte 640): nested deeper than 64");
}

#[test]
fn names_aliases_and_nested_names_go_to_their_fields() {
    check(
        r#"{"msg":"m","Severity":"WARNING","source":{"service":"s","zone":"z"},"trace":{"traceId":"0AF7651916cd43dd8448eb211c80319c"},"k8s":{"pod":{"name":"p","uid":"u"}},"metrics":{"duration":"1.5"},"user_id":7,"version":1,"security":{"classification":"Internal","piiFields":["a", "b"]}}"#,
        r#"{"attributes":{"k8s":{"pod":{"uid":"u"}},"source":{"zone":"z"}},"classification":"internal","duration_ms":1.5,"instance":"p","level":"warn","message":"m","pii_fields":["a","b"],"service":"s","trace_id":"0af7651916cd43dd8448eb211c80319c","user_id":"7","version":1}"#,
    );
    check(
        r#"{"message":{"raw":"m","template":"t","structured":{"x":1}},"attributes":{"y":2,"level":"l"},"z":null}"#,
        r#"{"attributes":{"level":"l","message":{"template":"t"},"x":1,"y":2,"z":null},"message":"m"}"#,
    );
}

#[test]
fn a_name_of_its_own_beats_an_alias_and_nothing_is_lost() {
    check(
        r#"{"severity":"info","level":"error","host":{"name":"n"},"hostname":"h","lvl":"warn"}"#,
        r#"{"attributes":{"hostname":"h","lvl":"warn","severity":"info"},"host":"n","level":"error"}"#,
    );
    check(r#"{"host":{"name":"n"},"host":"h"}"#, r#"{"attributes":{"host.name":"n"},"host":"h"}"#);
}

#[test]
fn values_that_do_not_suit_stay_in_the_attributes_and_are_noted() {
    check(
        r#"{"trace_id":"xyz","level":"loud","duration_ms":"soon","timestamp":"later","message":[1],"span_id":"","cpu_usage":1e999,"attributes":5,"trace":{"flags":"x"}}"#,
        "{\"attributes\":{\"attributes\":5,\"cpu_usage\":\"1e999\",\"duration_ms\":\"soon\",\"level\":\"loud\",\"message\":[1],\"timestamp\":\"later\",\"trace\":{\"flags\":\"x\"},\"trace_id\":\"xyz\"}}\n\
         ~ 0 trace_id: is not 32 hex digits, or all of them are zero\n~ 0 level: is not a level\n~ 0 duration_ms: is not a finite number\n~ 0 timestamp: is not a time\n~ 0 message: is not text\n\
         ~ 0 cpu_usage: is not a finite number\n~ 0 cpu_usage: is beyond the range of a double: kept as text\n~ 0 attributes: is not an object\n~ 0 flags: is not a whole number",
    );
}

#[test]
fn equal_keys_and_odd_escapes_are_settled_and_noted() {
    check(
        r#"{"a":1,"b":2,"a":3,"message":"x","message":"y"}"#,
        "{\"attributes\":{\"a\":3,\"b\":2},\"message\":\"y\"}\n~ 0 a: occurs more than once: the last value was taken\n~ 0 message: occurs more than once: the last value was taken",
    );
    check(
        r#"{"message":"a\u0000b\uD800","x":{"y": "\uDFAA"},"\u006cevel":"info","\u006b\n":1}"#,
        "{\"attributes\":{\"k\\n\":1,\"x\":{\"y\":\"\u{fffd}\"}},\"level\":\"info\",\"message\":\"a\u{fffd}b\u{fffd}\"}\n\
         ~ 0 message: has NUL or half a surrogate pair: replaced by U+FFFD\n~ 0 x: has NUL or half a surrogate pair: replaced by U+FFFD",
    );
    let decoded = decode_in(Dataset::Logs, br#"{"n":[9223372036854775808, 0.10]}"#).expect("JSON");
    assert_eq!(decoded.batch.row(0).attributes(), Some(r#"{"n":[9223372036854775808,0.10]}"#));
}

#[test]
fn times_of_every_form_and_the_arrival_time_for_the_rest() {
    let body = "{\"ts\":\"2023-11-14T22:13:20Z\"}\n{\"ts\":1700000000}\n{\"ts\":\"1700000000000\"}\n{\"ts\":1700000000.0}\n{\"ts\":1.7e9}\n{}\n{\"ts\":\"x\"}";
    let decoded = decode_in(Dataset::Logs, body.as_bytes()).expect("JSON");
    assert!(decoded.batch.iter().all(|row| row.timestamp() == NOW));
    assert_eq!((decoded.timestamps_assigned, decoded.coerced_total), (2, 1));
}

#[test]
fn limits_reject_the_record_and_name_themselves() {
    let many: Vec<String> = (0..1_001).map(|n| format!("\"k{n}\":{n}")).collect();
    check(
        &format!("{{{}}}\n{{\"message\":\"b\"}}", many.join(",")),
        "{\"message\":\"b\"}\n! 0 : record has more than 1000 fields",
    );
    let key = "k".repeat(257);
    check(
        &format!("[{{\"{key}\":1}}]"),
        &format!("! 0 {}…: field name is longer than 256 bytes", &key[..120]),
    );
    check(&format!("[\"{}\"]", "x".repeat(1024 * 1024)), "! 0 : record is larger than 1048576 bytes");
    let limits = DecodeLimits { records_max: 2, ..DecodeLimits::default() };
    let refused = decode(Dataset::Logs, b"[1,2,3]", NOW, &limits).map(|decoded| decoded.batch.rows());
    assert_eq!(refused, Err(BodyError::TooManyRecords { records_max: 2 }));
}

#[test]
fn samples_need_a_name_and_a_finite_value() {
    let shown = show(
        Dataset::Metrics,
        br#"[{"metric":"cpu","value":1,"service":"s","tags":{"a":"b"},"zone":"z"},{"name":"x"},{"name":"x","value":1e999},{"value":1,"name":""},3]"#,
    );
    assert_eq!(
        shown,
        "{\"labels\":{\"a\":\"b\",\"zone\":\"z\"},\"name\":\"cpu\",\"service\":\"s\",\"value\":1.0}\n\
         ! 1 value: is missing\n! 2 value: is not a finite number\n! 3 name: is empty\n! 4 : is not an object"
    );
}

// ---- against a slow reader ------------------------------------------------------------------------------------

/// What the module promises, said again with serde_json, one member at a time.
#[derive(Default)]
struct Slow {
    fields: Map<String, Value>,
    /// The field's name, to the member that set it: its name or dotted path, its value, whether it is the field's own name.
    from: std::collections::HashMap<&'static str, (String, Value, bool)>,
    attributes: Map<String, Value>,
}

impl Slow {
    fn read(record: &Value) -> Map<String, Value> {
        let mut slow = Slow::default();
        match record {
            Value::Object(members) => {
                for (key, value) in members {
                    if let Some(left) = slow.member(key, value) {
                        slow.attributes.insert(key.clone(), left);
                    }
                }
            }
            Value::String(text) => slow.set("message", text.clone().into()),
            other => slow.set("message", other.to_string().into()),
        }
        if !slow.attributes.is_empty() {
            slow.fields.insert("attributes".to_owned(), slow.attributes.into());
        }
        slow.fields
    }

    fn set(&mut self, field: &str, value: Value) {
        if field != "timestamp" {
            self.fields.insert(field.to_owned(), value);
        }
    }

    /// Takes a member; returns what stays where it was.
    fn member(&mut self, path: &str, value: &Value) -> Option<Value> {
        let field = Dataset::Logs.resolve(path).map(|id| Dataset::Logs.field(id));
        let is_outer = Dataset::Logs.names().any(|(_, name)| name.starts_with(&format!("{path}.")));
        if let Value::Object(members) = value {
            if field.is_some_and(|field| field.name == "attributes") {
                self.attributes.extend(members.clone());
                return None;
            }
            if is_outer {
                let left: Map<_, _> = members
                    .iter()
                    .filter_map(|(key, value)| {
                        Some((key.clone(), self.member(&format!("{path}.{key}"), value)?))
                    })
                    .collect();
                return (!left.is_empty()).then_some(left.into());
            }
        }
        let Some(field) = field else { return Some(value.clone()) };
        if value.is_null() {
            return None;
        }
        let is_first = path.eq_ignore_ascii_case(field.name);
        let before = self.from.get(field.name).cloned();
        if before.as_ref().is_some_and(|(_, _, before_is_first)| *before_is_first || !is_first) {
            return Some(value.clone());
        }
        let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if plain.is_empty() && field.ty != FieldType::Text {
            return None;
        }
        let is_scalar = value.is_string() || value.is_number();
        let taken = match field.ty {
            FieldType::Text => (is_scalar || value.is_boolean()).then(|| plain.into()),
            FieldType::Float => {
                plain.trim().parse().ok().filter(|x: &f64| is_scalar && x.is_finite()).map(Into::into)
            }
            FieldType::Level => {
                Level::parse(&plain).filter(|_| value.is_string()).map(|level| level.as_str().into())
            }
            FieldType::Id16 => {
                let is_id = plain.len() == 32
                    && plain.bytes().all(|b| b.is_ascii_hexdigit())
                    && plain.bytes().any(|b| b != b'0');
                (is_id && value.is_string()).then(|| plain.to_lowercase().into())
            }
            FieldType::Time => Timestamp::parse(&plain).filter(|_| is_scalar).map(|_| Value::Null),
            _ => None,
        };
        let Some(taken) = taken else { return Some(value.clone()) };
        if let Some((name, value, _)) = before {
            self.attributes.insert(name, value);
        }
        self.set(field.name, taken);
        self.from.insert(field.name, (path.to_owned(), value.clone(), is_first));
        None
    }
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "message",
            "msg",
            "level",
            "severity",
            "service",
            "source",
            "trace_id",
            "traceId",
            "trace",
            "traceId",
            "host",
            "name",
            "duration_ms",
            "duration",
            "metrics",
            "k8s",
            "pod",
            "attributes",
            "timestamp",
            "user",
            "id",
            "LEVEL",
            "user_id",
            "raw",
        ])
        .prop_map(str::to_owned),
        "[a-z\"\\\\é\n]{0,6}",
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| (f64::from(n) / 8.0).into()),
        "[ -~é\u{1F600}\n\t\"\\\\]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "info",
            "WARN",
            "1.5",
            "0af7651916cd43dd8448eb211c80319c",
            "2023-11-14T22:13:20Z"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_key(), inner), 0..6)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn records_are_what_a_slow_reader_finds(records in prop::collection::vec(any_value(), 1..5), framing in 0..3) {
        let texts: Vec<_> = records.iter().map(Value::to_string).collect();
        let body = match framing {
            0 => format!("[{}]", texts.join(" ,\n")),
            1 => serde_json::to_string_pretty(&records).expect("JSON"),
            _ => format!("{{}}\n{}", texts.join("\r\n")),
        };
        let decoded = decode_in(Dataset::Logs, body.as_bytes()).expect("valid JSON");
        let skipped = usize::from(framing == 2);
        prop_assert_eq!(decoded.batch.rows(), records.len() + skipped);
        prop_assert_eq!(decoded.rejected_total(), 0);
        for (row, record) in records.iter().enumerate() {
            prop_assert_eq!(fields(&decoded, row + skipped), Slow::read(record), "{}", body);
        }
    }

    #[test]
    fn damaged_bodies_never_panic_and_rows_stay_readable(
        records in prop::collection::vec(any_value(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        is_array in any::<bool>(),
    ) {
        let texts: Vec<_> = records.iter().map(Value::to_string).collect();
        let mut body = if is_array { json!(records).to_string() } else { texts.join("\n") }.into_bytes();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        for dataset in Dataset::ALL {
            if let Ok(decoded) = decode_in(dataset, &body) {
                for row in 0..decoded.batch.rows() {
                    let raw = decoded.batch.row(row).attributes();
                    prop_assert!(raw.is_none_or(|raw| serde_json::from_str::<Map<_, _>>(raw).is_ok()), "{:?}", raw);
                }
            }
        }
    }

    #[test]
    fn any_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..64), text in r#"[\[\]{}",:\\u0-9a-f e+.\n-]{0,48}"#) {
        let _ = decode_in(Dataset::Logs, &body);
        let _ = decode_in(Dataset::Metrics, text.as_bytes());
        let _ = crate::typed::decode(text.as_bytes(), NOW, &DecodeLimits::default());
    }
}

fn seeds() -> Seeds {
    Seeds::text([
        json!({"@timestamp": "2026-01-02T03:04:05.678Z", "level": "warn", "message": "m \u{e9}\n", "service.name": "s", "host": {"name": "h"},
            "trace_id": "5b8efff798038103d269b633813fc60c", "duration_ms": 1.5, "a": {"b": [1, {"c": null}]}, "labels": {"x": "y"}})
        .to_string(),
        "{\"name\":\"up\",\"value\":1,\"labels\":{\"a\":\"b\"},\"timestamp\":1700000000123}\n{\"name\":\"x\",\"value\":\"2\"}\r\n\n{\"msg\":\"\\u00e9\\ud83d\\ude00\"}\n".to_owned(),
        r#"[{"event_id":"e1","timestamp":"2026-01-02T03:04:05Z","service":"s","severity":"INFO","message":"m","attributes":{"k":"v"}}, {"a":-0.0e-3}]"#.to_owned(),
        r#"{"trace_id":"5b8efff798038103d269b633813fc60c","span_id":"eee19b7ec3c1b174","name":"n","start":"2026-01-02T03:04:05Z","duration_ms":5}"#.to_owned(),
    ])
}

#[test]
fn mutants_are_read_or_refused() {
    fuzz(&seeds(), |mutant, _| {
        for dataset in Dataset::ALL {
            if let Ok(decoded) = decode_in(dataset, mutant) {
                check_batch(&decoded, mutant.len());
            }
        }
        let _ = values(mutant, 10);
    });
}

#[test]
fn mutants_of_typed_events_are_read_or_refused() {
    fuzz(&seeds(), |mutant, _| {
        if let Ok(decoded) = crate::typed::decode(mutant, NOW, &DecodeLimits::default()) {
            check_batch(&decoded, mutant.len());
        }
    });
}

/// Inputs that are no good JSON, from a public collection, when it is there: nothing of a broken text is taken as what it is not.
#[test]
fn bad_inputs_are_refused_or_read_and_good_ones_are_taken() {
    for input in bad_inputs() {
        let most = input.bytes.len() + 1;
        for dataset in Dataset::ALL {
            if let Ok(decoded) = decode_in(dataset, &input.bytes) {
                check_batch(&decoded, most);
            }
        }
        if let Ok(decoded) = crate::typed::decode(&input.bytes, NOW, &DecodeLimits::default()) {
            check_batch(&decoded, most);
        }
        for format in crate::format::Format::ALL {
            if let Ok(decoded) = crate::text::decode(format, &input.bytes, NOW, &DecodeLimits::default()) {
                check_batch(&decoded, most);
            }
        }
        let is_object = serde_json::from_slice::<Map<String, Value>>(&input.bytes).is_ok();
        if input.name.starts_with("y_") && is_object {
            let rows = decode_in(Dataset::Logs, &input.bytes).expect(&input.name).batch.rows();
            assert_eq!(rows, 1, "{}", input.name);
        }
        let one_line: Vec<u8> = input.bytes.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
        let lines = [&b"{\"message\":\"first\"}\n"[..], &one_line, b"\n{\"message\":\"good\"}\n"].concat();
        let last = decode_in(Dataset::Logs, &lines).map(|decoded| fields(&decoded, decoded.batch.rows() - 1));
        let is_taken = last.as_ref().is_ok_and(|last| last.get("message") == Some(&json!("good")));
        assert!(is_taken || std::str::from_utf8(&input.bytes).is_err(), "{}: {last:?}", input.name);
    }
}
