//! Bodies of text lines to log records, in any [`Format`].
//!
//! Invariants:
//! - every line that is not blank is in a record, or is counted as rejected (only when larger than the limit);
//! - a line the format cannot read, or whose fields break a limit, is a record with the whole line as its message;
//! - bytes that are not UTF-8 become U+FFFD, and that is noted.
//!
//! A parsed line takes the road of JSON from here, so that names, aliases and types mean the same in every format.
//!
//! Not here: what one line says (see [`crate::format`]), JSON lines (see [`crate::json`]).

use std::borrow::Cow;
use std::fmt::Write as _;

use heimdall_model::Timestamp;

use crate::body::{BodyError, DecodeLimits};
use crate::decoded::Decoded;
use crate::format::{Format, ParsedLine, Value, join_multiline, parse_line};
use crate::json::text::escape;
use crate::json::{Profile, RecordReader};
use crate::records::Reading;

/// Members of a line's object that are not its fields: message, time, level, and what a door adds.
const FIELDS_BESIDES: usize = 8;
const NOT_UTF8: &str = "has bytes that are not UTF-8: replaced by U+FFFD";
pub(crate) const KEPT_WHOLE: &str = "line breaks a limit on fields: kept whole as the message";

/// Decodes lines of text that arrived at `now`. Continuation lines of multi-line formats belong to the record before them.
///
/// # Errors
/// [`BodyError::Empty`], [`BodyError::TooManyRecords`].
pub fn decode(
    format: Format,
    body: &[u8],
    now: Timestamp,
    limits: &DecodeLimits,
) -> Result<Decoded, BodyError> {
    read(format, body, Reading::new(now, limits))
}

/// The same, as a door is told to read.
///
/// # Errors
/// As [`decode`].
pub fn read(format: Format, body: &[u8], reading: Reading<'_>) -> Result<Decoded, BodyError> {
    let text = String::from_utf8_lossy(body);
    let mut lines = Lines {
        format,
        now: reading.now,
        limits: reading.limits,
        reader: RecordReader::new(Profile::Logs, reading),
        json: String::new(),
    };
    if matches!(text, Cow::Owned(_)) {
        lines.reader.notes.coerce(0, "message", NOT_UTF8);
    }
    if format.is_multiline() {
        join_multiline(text.lines()).try_for_each(|line| lines.take(&line.text))?;
    } else {
        text.lines().filter(|line| !line.trim_ascii().is_empty()).try_for_each(|line| lines.take(line))?;
    }
    if lines.reader.index() == 0 { Err(BodyError::Empty) } else { Ok(lines.reader.finish()) }
}

struct Lines<'l> {
    format: Format,
    now: Timestamp,
    limits: &'l DecodeLimits,
    reader: RecordReader<'l>,
    /// The line as the JSON object it stands for.
    json: String,
}

impl Lines<'_> {
    fn take(&mut self, line: &str) -> Result<(), BodyError> {
        let records_max = self.limits.records_max;
        if self.reader.index() >= records_max {
            return Err(BodyError::TooManyRecords { records_max });
        }
        let parsed = parse_line(self.format, line, self.now);
        for diagnostic in &parsed.diagnostics {
            self.reader.notes.coerce(self.reader.index(), "message", diagnostic);
        }
        if !write_line(&parsed, line, self.limits, &mut self.json) {
            self.reader.notes.coerce(self.reader.index(), "message", KEPT_WHOLE);
        }
        let _ = self.reader.take_text(&self.json); // what was rejected is noted
        Ok(())
    }
}

/// The records of a body of lines, as JSON text each.
pub(crate) fn objects(format: Format, body: &[u8], now: Timestamp) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(body);
    let lines: Vec<String> = if format.is_multiline() {
        join_multiline(text.lines()).map(|line| line.text).collect()
    } else {
        text.lines().filter(|line| !line.trim_ascii().is_empty()).map(str::to_owned).collect()
    };
    lines.into_iter().map(move |line| {
        let mut json = String::new();
        write_object(&parse_line(format, &line, now), &mut json);
        json
    })
}

/// Writes the object that a line stands for; without its fields, and `false`, when they break a limit.
pub(crate) fn write_line(
    parsed: &ParsedLine<'_>,
    line: &str,
    limits: &DecodeLimits,
    json: &mut String,
) -> bool {
    write_object(parsed, json);
    let fits = parsed.fields.len() + FIELDS_BESIDES <= limits.fields_max
        && parsed.fields.iter().all(|(name, _)| name.len() <= limits.key_bytes_max)
        && json.len() <= limits.record_bytes_max;
    if !fits {
        let ParsedLine { timestamp, level, .. } = *parsed;
        let message = Cow::Borrowed(line);
        let whole = ParsedLine { timestamp, level, fields: Vec::new(), message, diagnostics: Vec::new() };
        write_object(&whole, json);
    }
    fits
}

pub(crate) fn write_object(parsed: &ParsedLine<'_>, json: &mut String) {
    json.clear();
    json.push_str("{\"message\":\"");
    escape(&parsed.message, json);
    json.push('"');
    if let Some(time) = parsed.timestamp {
        push(json, format_args!(",\"timestamp\":\"{time}\""));
    }
    if let Some(level) = parsed.level {
        push(json, format_args!(",\"level\":\"{level}\""));
    }
    for (name, value) in &parsed.fields {
        json.push_str(",\"");
        escape(name, json);
        json.push_str("\":");
        match value {
            Value::Text(text) => {
                json.push('"');
                escape(text, json);
                json.push('"');
            }
            Value::Int(number) => push(json, format_args!("{number}")),
            Value::Float(number) => push(json, format_args!("{number}")),
            Value::Bool(is_true) => push(json, format_args!("{is_true}")),
        }
    }
    json.push('}');
}

fn push(json: &mut String, piece: std::fmt::Arguments<'_>) {
    json.write_fmt(piece).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};

    use super::*;
    use crate::testing::check_batch;

    fn decode_text(format: Format, body: &[u8]) -> Decoded {
        decode(format, body, Timestamp(5), &DecodeLimits::default()).expect("lines")
    }

    #[test]
    fn lines_become_records_with_fields() {
        let body =
            b"level=warn msg=\"slow \\\"query\\\"\" service=db duration_ms=12.5 shard=3\n\nnot logfmt\n";
        let decoded = decode_text(Format::Logfmt, body);
        assert_eq!(decoded.batch.rows(), 2);
        let row = decoded.batch.row(0);
        assert_eq!(row.level(), Some(heimdall_model::Level::Warn));
        assert_eq!(row.service(), Some("db"));
        assert_eq!(row.float(heimdall_model::schema::logs::DURATION_MS), Some(12.5));
        assert_eq!(row.attributes(), Some(r#"{"shard":3}"#));
        let second = decoded.batch.row(1).text(heimdall_model::schema::logs::MESSAGE);
        assert_eq!(second, Some("not logfmt"));
        assert_eq!(decoded.timestamps_assigned, 2);
    }

    #[test]
    fn a_stack_trace_and_foreign_bytes_stay_in_the_message() {
        let decoded = decode_text(Format::Plain, b"ERROR caf\xe9\r\n  at a.B\nINFO next");
        assert_eq!(decoded.batch.rows(), 2);
        let message = decoded.batch.row(0).text(heimdall_model::schema::logs::MESSAGE).expect("a message");
        assert!(message.ends_with("caf\u{fffd}\n  at a.B"), "{message:?}");
        assert_eq!(decoded.coerced_total, 1);
    }

    #[test]
    fn too_many_fields_keep_the_line_whole() {
        let line: String = (0..1_010).map(|n| format!("k{n}={n} ")).collect();
        let decoded = decode_text(Format::Logfmt, line.as_bytes());
        assert_eq!((decoded.batch.rows(), decoded.rejected_total()), (1, 0));
        let message = decoded.batch.row(0).text(heimdall_model::schema::logs::MESSAGE).expect("a message");
        assert!(message.contains("k1009=1009"));
    }

    #[test]
    fn mutants_of_lines_are_kept_in_every_format() {
        let seeds = Seeds::text([
            "time=2026-01-02T03:04:05.678Z level=warn msg=\"slow \\\"query\\\"\" service=db duration_ms=12.5 shard=3 é=x flag\n",
            "2026-01-02 03:04:05,678 ERROR [main] com.x.Y - it broke\n  at a.B(C.java:5)\nCaused by: x\nI0203 04:05:06.789 1 a.go:7] klog\n",
            "10.0.0.1 - frank [10/Oct/2026:13:55:36 -0700] \"GET /a?b=c HTTP/1.1\" 200 2326 \"http://r\" \"Mozilla/5.0 \\\"x\\\"\" 0.012\n",
            "<165>1 2026-10-11T22:14:15.003Z h app 111 ID47 [ex@32473 iut=\"3\" a=\"\\\" \\]\"] text\n<34>Oct 11 22:14:15 h su[230]: 'su root' failed\n",
            "<13>Feb  9 12:00:00 fw CEF:0|S|t|1.0|100|worm \\= x|10|src=10.0.0.1 cs1Label=Rule cs1=a b=c\nLEEF:2.0|L|S|1.0|41|^|src=10.0.1.8^sev=5\n<189>12: *Feb  9 12:00:00.123: %LINEPROTO-5-UPDOWN: x\n",
            "{\"a\":1}\n{\"b\":[2]}\n[Mon Oct 11 22:14:15.123 2026] [core:error] [pid 1] x\nMon, 11 Oct 2026 22:14:15 GMT y\n1700000000.123 z\n",
        ]);
        fuzz(&seeds, |mutant, _| {
            for format in Format::ALL {
                if let Ok(decoded) =
                    decode(format, mutant, Timestamp(1_772_366_400_000_000_000), &DecodeLimits::default())
                {
                    check_batch(&decoded, mutant.len());
                    assert_eq!(decoded.rejected_total(), 0, "{:?}", decoded.rejected);
                }
            }
            let limits = DecodeLimits::default();
            if let Ok(decoded) = crate::body::decode(
                heimdall_model::Dataset::Logs,
                crate::BodyFormat::Auto,
                mutant,
                Timestamp(5),
                &limits,
            ) {
                check_batch(&decoded, mutant.len());
            }
            let text = String::from_utf8_lossy(mutant);
            let joined =
                crate::format::join_multiline(text.lines()).map(|line| line.line_count).sum::<usize>();
            assert!(joined <= text.lines().count());
        });
    }
}
