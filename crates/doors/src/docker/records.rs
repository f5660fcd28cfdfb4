//! A container's lines to log records.
//!
//! Invariants:
//! - every entry that is not blank is in a record, in the order in which they came;
//! - a continuation line belongs to the line before it of the same output;
//! - a line's own fields are kept; what the container says of itself gives way to them.
//!
//! Not here: reading logs.

use heimdall_ingest::format::{
    Format, RECORD_BYTES_MAX, RECORD_LINES_MAX, Value, detect, is_continuation, parse_line,
};
use heimdall_ingest::{Decoded, Object, Reading, Records};
use heimdall_model::{Dataset, Timestamp};
use serde::de::IgnoredAny;

use super::lines::{Entry, Output};

/// What is known of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) service: String,
    /// Docker Compose's project.
    pub(crate) project: String,
}

/// A line and its continuation lines.
struct Joined {
    output: Output,
    time: Timestamp,
    text: String,
    lines: usize,
}

/// Decodes entries.
pub(crate) fn decode(container: &Container, entries: &[Entry], reading: Reading<'_>) -> Decoded {
    let joined = join(entries);
    let plain: Vec<&str> =
        joined.iter().map(|line| line.text.as_str()).filter(|text| !is_json_object(text)).collect();
    let format = match detect(&plain) {
        Format::Ndjson => Format::Plain,
        format => format,
    };
    let mut records = Records::new(Dataset::Logs, reading);
    let mut object = Object::new();
    for line in &joined {
        put_container(&mut object, container, line.output);
        let inner = line.text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match inner.filter(|_| is_json_object(&line.text)) {
            Some(inner) => {
                // The line's own time counts, if it states one: an alias that comes last gives way.
                let (mut json, mut capture) = (object.to_json(), Object::new());
                capture.time("_time", line.time);
                json.pop();
                json.push(',');
                json.push_str(inner);
                json.push(',');
                json.push_str(&capture.to_json()[1..]);
                let _ = records.json(&json); // why it was rejected is noted
                object.clear();
            }
            None => {
                put_line(&mut object, format, line, reading.now);
                let _ = records.object(&mut object); // as above
            }
        }
    }
    records.finish()
}

fn join(entries: &[Entry]) -> Vec<Joined> {
    let mut joined: Vec<Joined> = Vec::new();
    let mut open: [Option<usize>; 2] = [None, None];
    for entry in entries {
        let text = String::from_utf8_lossy(&entry.text);
        if text.trim().is_empty() {
            continue;
        }
        let open = &mut open[usize::from(entry.output == Output::Stderr)];
        let before = open.and_then(|at| joined.get_mut(at)).filter(|before| {
            let has_room =
                before.lines < RECORD_LINES_MAX && before.text.len() + text.len() < RECORD_BYTES_MAX / 2;
            has_room && is_continuation(&text) && !is_json_object(&before.text)
        });
        match before {
            Some(before) => {
                before.text.push('\n');
                before.text.push_str(&text);
                before.lines += 1;
            }
            None => {
                *open = Some(joined.len());
                joined.push(Joined {
                    output: entry.output,
                    time: entry.time,
                    text: text.into_owned(),
                    lines: 1,
                });
            }
        }
    }
    joined
}

/// Whether an entry may be the first of a record.
pub(crate) fn begins_record(entry: &Entry) -> bool {
    !is_continuation(&String::from_utf8_lossy(&entry.text))
}

fn is_json_object(text: &str) -> bool {
    let text = text.trim();
    let is_framed = text.len() > 2 && text.starts_with("{\"") && text.ends_with('}');
    is_framed && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn put_container(object: &mut Object, container: &Container, output: Output) {
    object.text_if("service", &container.service);
    object.text("container_id", &container.id);
    object.text_if("container_name", &container.name);
    object.text_if("container_image", &container.image);
    object.text_if("compose_project", &container.project);
    object.text("stream", output.as_str());
}

fn put_line(object: &mut Object, format: Format, line: &Joined, now: Timestamp) {
    let parsed = parse_line(format, &line.text, now);
    for (name, value) in &parsed.fields {
        match value {
            Value::Text(text) => object.text(name, text),
            Value::Int(number) => object.int(name, *number),
            Value::Float(number) => object.float(name, *number),
            Value::Bool(is_true) => object.bool(name, *is_true),
        }
    }
    if let Some(level) = parsed.level {
        object.text("level", level.as_str());
    }
    object.text("message", &parsed.message);
    object.time("timestamp", line.time);
}

#[cfg(test)]
mod tests {
    use heimdall_ingest::DecodeLimits;
    use heimdall_model::Level;
    use heimdall_model::schema::logs;
    use heimdall_testkit::data::bad_inputs;
    use heimdall_testkit::mutants::{Seeds, fuzz};

    use super::super::lines::{Assembler, Position};
    use super::*;
    use crate::testing::check_batch;

    fn entry(output: Output, ns: i64, text: &str) -> Entry {
        Entry { output, time: Timestamp(ns), text: text.as_bytes().to_vec() }
    }

    fn decode_all(entries: &[Entry]) -> Decoded {
        let container = Container {
            id: "abc".into(),
            name: "web-1".into(),
            service: "web".into(),
            ..Container::default()
        };
        let limits = DecodeLimits::default();
        decode(&container, entries, Reading::new(Timestamp(5), &limits))
    }

    #[test]
    fn stack_traces_are_one_record_also_between_lines_of_the_other_output() {
        let decoded = decode_all(&[
            entry(Output::Stderr, 1, "ERROR it broke"),
            entry(Output::Stdout, 2, "INFO fine"),
            entry(Output::Stderr, 3, "  at a.B"),
            entry(Output::Stdout, 4, ""),
            entry(Output::Stderr, 5, "caf\u{e9}"),
        ]);
        assert_eq!((decoded.batch.rows(), decoded.rejected_total()), (3, 0));
        let row = decoded.batch.row(0);
        assert_eq!(
            (row.timestamp(), row.level(), row.service()),
            (Timestamp(1), Some(Level::Error), Some("web"))
        );
        assert!(row.text(logs::MESSAGE).expect("a message").ends_with("it broke\n  at a.B"));
        let attributes = row.attributes().expect("some");
        assert_eq!(attributes, r#"{"container_id":"abc","container_name":"web-1","stream":"stderr"}"#);
    }

    #[test]
    fn json_lines_are_understood_and_their_own_fields_count() {
        let decoded = decode_all(&[
            entry(
                Output::Stdout,
                1,
                r#"{"msg":"a","level":"warn","ts":"2026-01-02T03:04:05Z","service":"own"}"#,
            ),
            entry(Output::Stdout, 2, r#"{"msg":"b","n":1}"#),
            entry(Output::Stdout, 3, r#"{"broken":"#),
        ]);
        assert_eq!((decoded.batch.rows(), decoded.rejected_total()), (3, 0));
        let (own, without, broken) = (decoded.batch.row(0), decoded.batch.row(1), decoded.batch.row(2));
        assert_eq!(own.timestamp(), Timestamp::parse("2026-01-02T03:04:05Z").expect("a time"));
        assert_eq!(
            (own.service(), own.level(), own.text(logs::MESSAGE)),
            (Some("own"), Some(Level::Warn), Some("a"))
        );
        assert_eq!((without.timestamp(), without.service()), (Timestamp(2), Some("web")));
        assert!(without.attributes().expect("some").contains(r#""n":1"#));
        assert_eq!(broken.text(logs::MESSAGE), Some(r#"{"broken":"#));
    }

    #[test]
    fn mutants_of_lines_are_records() {
        let seeds = Seeds::text([
            "ERROR it broke\n  at a.B\nCaused by: x\n\nINFO fine",
            r#"{"msg":"a","level":"warn","ts":"2026-01-02T03:04:05Z","service":"own","a":{"b":[1]}}"#,
            "level=info msg=\"x y\" a=1\nlevel=warn msg=z",
            "10.0.0.1 - - [10/Oct/2026:13:55:36 +0000] \"GET / HTTP/1.1\" 200 5",
        ]);
        fuzz(&seeds, |mutant, rng| {
            let lines = mutant.split(|byte| *byte == b'\n').take(200);
            let entries: Vec<Entry> = lines
                .map(|line| Entry {
                    output: *rng.one_of(&[Output::Stdout, Output::Stderr]),
                    time: Timestamp(1_700_000_000_000_000_000),
                    text: line.to_vec(),
                })
                .collect();
            check_batch(&decode_all(&entries), entries.len());
        });
    }

    #[test]
    fn after_bad_lines_a_good_one_is_taken() {
        for input in bad_inputs() {
            let mut entries = Vec::new();
            let mut lines = Assembler::resume(Position::default(), 1 << 19);
            let good = b"2026-01-02T03:04:05.000000001Z good\n";
            for piece in [&b"2026-01-02T03:04:05.000000000Z "[..], &input.bytes, b"\n", good] {
                lines.take(Output::Stdout, piece, Timestamp(5), |entry| entries.push(entry));
            }
            let decoded = decode_all(&entries);
            let last = decoded.batch.iter().last().expect("the good one");
            assert_eq!(last.text(logs::MESSAGE), Some("good"), "{}", input.name);
            check_batch(&decoded, entries.len());
        }
    }
}
