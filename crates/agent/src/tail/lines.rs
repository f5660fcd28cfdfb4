//! Bytes to lines to records.
//!
//! Invariants:
//! - [`Splitter::push`] and [`Splitter::take`] together see every byte once, and `consumed` counts up to the end of the last
//!   record taken: bytes of a record that is not whole are not consumed;
//! - a line holds at most `line_bytes_max` bytes; the rest of a longer one is counted, not kept.

use heimdall_ingest::format::{
    Format, ParsedLine, RECORD_BYTES_MAX, RECORD_LINES_MAX, Value, is_continuation, parse_line,
};
use heimdall_ingest::{BodyFormat, DecodeLimits, body};
use heimdall_model::{Batch, Dataset, Timestamp};
use regex::Regex;
use serde::de::IgnoredAny;
use serde_json::{Map, json};

use super::TailCounts;

/// Which lines go on the record before.
pub(super) enum Joining<'a> {
    /// As the format says.
    ByFormat,
    /// Those that do not match.
    Pattern(&'a Regex),
}

/// Cuts what was read into records.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The line being read, cut.
    line: Vec<u8>,
    /// Its bytes in the file so far.
    line_bytes: u64,
    /// The record being read: whole lines, without the last line end.
    record: Vec<u8>,
    record_bytes: u64,
    record_lines: usize,
    /// Whole records, each without its last line end.
    ready: Vec<Vec<u8>>,
    ready_bytes: u64,
}

impl Splitter {
    /// Whether a line or a record is not whole.
    pub(super) fn is_pending(&self) -> bool {
        self.line_bytes > 0 || self.record_bytes > 0
    }

    /// Takes bytes of the file.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        line_bytes_max: usize,
        joins: impl Fn(&[u8]) -> bool,
        counts: &mut TailCounts,
    ) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end], line_bytes_max, counts);
            self.line_bytes += 1;
            self.end_line(&joins, counts);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes, line_bytes_max, counts);
    }

    fn extend(&mut self, bytes: &[u8], line_bytes_max: usize, counts: &mut TailCounts) {
        let room = line_bytes_max.saturating_sub(self.line.len()).min(bytes.len());
        let was_whole = self.line.len() as u64 == self.line_bytes;
        self.line.extend_from_slice(&bytes[..room]);
        self.line_bytes += bytes.len() as u64;
        if room < bytes.len() {
            counts.lines_cut += u64::from(was_whole);
            counts.bytes_cut += (bytes.len() - room) as u64;
        }
    }

    /// Ends the line being read.
    fn end_line(&mut self, joins: &impl Fn(&[u8]) -> bool, counts: &mut TailCounts) {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        counts.lines += 1;
        counts.lines_not_utf8 += u64::from(std::str::from_utf8(&line).is_err());
        let is_blank = line.trim_ascii().is_empty();
        let has_room =
            self.record_lines < RECORD_LINES_MAX && self.record.len() + line.len() < RECORD_BYTES_MAX / 2;
        if self.record_bytes > 0 && !is_blank && !(has_room && joins(&line)) {
            self.end_record();
        }
        if !is_blank {
            if !self.record.is_empty() {
                self.record.push(b'\n');
            }
            self.record.extend_from_slice(&line);
            self.record_lines += 1;
        }
        self.record_bytes += std::mem::take(&mut self.line_bytes);
    }

    fn end_record(&mut self) {
        self.ready_bytes += std::mem::take(&mut self.record_bytes);
        self.record_lines = 0;
        if !self.record.is_empty() {
            self.ready.push(std::mem::take(&mut self.record));
        }
    }

    /// Ends the record of whole lines; the line being read stays.
    pub(super) fn flush_record(&mut self) {
        if self.record_bytes > 0 {
            self.end_record();
        }
    }

    /// Ends everything: the file says no more.
    pub(super) fn flush(&mut self, joins: impl Fn(&[u8]) -> bool, counts: &mut TailCounts) {
        if self.line_bytes > 0 {
            self.end_line(&joins, counts);
        }
        self.flush_record();
    }

    /// The whole records, and the bytes of the file they are.
    pub(super) fn take(&mut self) -> (Vec<Vec<u8>>, u64) {
        (std::mem::take(&mut self.ready), std::mem::take(&mut self.ready_bytes))
    }
}

/// Whether a line goes on the record before, in this format.
pub(super) fn joins(joining: &Joining<'_>, format: BodyFormat, line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    match (joining, format) {
        (Joining::Pattern(pattern), _) => !pattern.is_match(&text),
        (Joining::ByFormat, BodyFormat::Text(format)) => format.is_multiline() && is_continuation(&text),
        (Joining::ByFormat, BodyFormat::Json | BodyFormat::Auto) => false,
    }
}

/// Whether any line can go on the record before.
pub(super) fn may_join(joining: &Joining<'_>, format: BodyFormat) -> bool {
    match (joining, format) {
        (Joining::Pattern(_), _) | (Joining::ByFormat, BodyFormat::Auto) => true,
        (Joining::ByFormat, BodyFormat::Text(format)) => format.is_multiline(),
        (Joining::ByFormat, BodyFormat::Json) => false,
    }
}

/// The records as a batch that arrived at `now`, each with the file's path as `log.file.path`. No record is lost: what is
/// not of the format is a plain message.
pub(super) fn decode(
    records: &[Vec<u8>],
    format: BodyFormat,
    path: &str,
    now: Timestamp,
    counts: &mut TailCounts,
) -> Option<Batch> {
    if records.is_empty() {
        return None;
    }
    let member = format!("\"log.file.path\":{}", serde_json::Value::from(path));
    let lines: Vec<String> = records
        .iter()
        .map(|record| {
            let text = String::from_utf8_lossy(record);
            match format {
                BodyFormat::Text(format) if format != Format::Ndjson => {
                    line_of(format, &text, &member, now, counts)
                }
                _ => json_line_of(&text, &member, now, counts),
            }
        })
        .collect();
    let decoded = decode_lines(&lines, now).filter(|batch| batch.rows() == records.len());
    decoded.or_else(|| {
        // Some record breaks a limit of its own (fields, nesting): those are kept whole as messages.
        let whole = lines.iter().zip(records).map(|(line, record)| {
            let fits = decode_lines(std::slice::from_ref(line), now).is_some_and(|batch| batch.rows() == 1);
            let message = || message_line(&String::from_utf8_lossy(record), &member);
            counts.lines_not_of_format += u64::from(!fits);
            if fits { line.clone() } else { message() }
        });
        decode_lines(&whole.collect::<Vec<_>>(), now)
    })
}

fn decode_lines(lines: &[String], now: Timestamp) -> Option<Batch> {
    // Records are at most half a MiB, and so within what a decoder takes, even when every byte is escaped.
    let limits = DecodeLimits { record_bytes_max: 8 * RECORD_BYTES_MAX, ..DecodeLimits::default() };
    let body = lines.join("\n");
    body::decode(Dataset::Logs, BodyFormat::Json, body.as_bytes(), now, &limits)
        .ok()
        .map(|decoded| decoded.batch)
}

fn message_line(text: &str, member: &str) -> String {
    format!("{{{member},\"message\":{}}}", serde_json::Value::from(text))
}

/// A JSON object as it is written; anything else as a message.
fn json_line_of(text: &str, member: &str, now: Timestamp, counts: &mut TailCounts) -> String {
    let inside = text.trim_ascii().strip_prefix('{').map(str::trim_ascii_start);
    match inside {
        Some("}") => format!("{{{member}}}"),
        Some(inside) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            // Line ends within an object are white space: in texts they are escaped.
            format!("{{{member},{}", inside.replace('\n', " "))
        }
        _ => {
            counts.lines_not_of_format += 1;
            object_line(fields_of(&parse_line(Format::Plain, text, now)), member)
        }
    }
}

fn object_line(object: Map<String, serde_json::Value>, member: &str) -> String {
    let text = serde_json::Value::Object(object).to_string();
    format!("{{{member},{}", &text[1..])
}

fn line_of(format: Format, text: &str, member: &str, now: Timestamp, counts: &mut TailCounts) -> String {
    object_line(object_of(format, text, now, counts), member)
}

fn object_of(
    format: Format,
    text: &str,
    now: Timestamp,
    counts: &mut TailCounts,
) -> Map<String, serde_json::Value> {
    let parsed = parse_line(format, text, now);
    counts.lines_not_of_format += u64::from(!parsed.diagnostics.is_empty());
    let limits = DecodeLimits::default();
    let fits = parsed.fields.len() + 4 < limits.fields_max
        && parsed.fields.iter().all(|(name, _)| name.len() <= limits.key_bytes_max);
    if fits { fields_of(&parsed) } else { Map::from_iter([("message".to_owned(), json!(text))]) }
}

fn fields_of(parsed: &ParsedLine<'_>) -> Map<String, serde_json::Value> {
    let mut object = Map::from_iter([("message".to_owned(), json!(parsed.message))]);
    if let Some(time) = parsed.timestamp {
        object.insert("timestamp".to_owned(), time.to_string().into());
    }
    if let Some(level) = parsed.level {
        object.insert("level".to_owned(), level.as_str().into());
    }
    for (name, value) in &parsed.fields {
        let value = match value {
            Value::Text(text) => json!(text),
            Value::Int(number) => json!(number),
            Value::Float(number) => json!(number),
            Value::Bool(is_true) => json!(is_true),
        };
        object.insert(name.clone().into_owned(), value);
    }
    object
}
