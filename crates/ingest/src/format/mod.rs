//! Text lines to fields: which format a file is in, and what one line of it says.
//!
//! Invariants:
//! - `parse_line` never fails and never loses text: what is not of the format is the message, whole, with a
//!   diagnostic; a line that is wholly of its format has no diagnostics;
//! - a parsed field borrows from the line, or is owned only where an escape was resolved;
//! - names are canonical field names (`host`, `service`, `source_ip`, `user_id`) or attribute names.
//!
//! Not here: JSON (its own reader), field aliases (the schema), reading files, limits on line length (the reader's).

use std::borrow::Cow;

use heimdall_model::{Level, Timestamp};

mod access;
mod cef;
mod cisco;
mod detect;
mod event;
mod leef;
mod logfmt;
mod multiline;
mod plain;
mod syslog;
mod zone;

pub use detect::{Detection, SAMPLE_LINES_MAX, detect, explain};
pub use multiline::{
    JoinMultiline, JoinedLine, RECORD_BYTES_MAX, RECORD_LINES_MAX, is_continuation, join_multiline,
};

pub use zone::Zone;

/// Fields taken from one line at most; a line with more keeps the rest in its message, and says so.
pub const FIELDS_MAX: usize = 1_024;

/// The format of a file of lines.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Syslog: RFC 5424, RFC 3164, and the lines syslog daemons write to disk.
    Syslog,
    /// Apache and nginx access logs: common and combined.
    Access,
    /// `key=value` pairs.
    Logfmt,
    /// Anything else: a time and a level are looked for near the start.
    Plain,
}

impl Format {
    /// Every format, the most specific first.
    pub const ALL: [Format; 5] =
        [Format::Ndjson, Format::Access, Format::Syslog, Format::Logfmt, Format::Plain];

    /// The name used in options and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Ndjson => "ndjson",
            Format::Syslog => "syslog",
            Format::Access => "access",
            Format::Logfmt => "logfmt",
            Format::Plain => "plain",
        }
    }

    /// The format of a name, or of one of its usual other names (`jsonl`, `combined`, `nginx`, `text`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Format> {
        match name {
            "ndjson" | "jsonl" | "json" => Some(Format::Ndjson),
            "syslog" => Some(Format::Syslog),
            "access" | "combined" | "common" | "apache" | "nginx" => Some(Format::Access),
            "logfmt" => Some(Format::Logfmt),
            "plain" | "text" => Some(Format::Plain),
            _ => None,
        }
    }

    /// Whether a record of this format may go on over several lines (see [`join_multiline`]).
    #[must_use]
    pub const fn is_multiline(self) -> bool {
        matches!(self, Format::Plain | Format::Syslog)
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One value of a field, as the line wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text, escapes resolved.
    Text(Cow<'a, str>),
    /// A whole number.
    Int(i64),
    /// A decimal number; finite.
    Float(f64),
    /// True or false; also a key without a value.
    Bool(bool),
}

impl<'a> Value<'a> {
    fn text(text: &'a str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }

    /// A number without its leading zeros, when it is one that fits.
    fn sequence(digits: &'a str) -> Self {
        digits.parse().map_or_else(|_| Value::text(digits), Value::Int)
    }

    /// A whole number when `text` is one in its shortest form, else the text.
    fn int_or_text(text: &'a str) -> Self {
        let is_canonical = !text.starts_with(['+', '-']) && (text == "0" || !text.starts_with('0'));
        match text.parse() {
            Ok(number) if is_canonical => Value::Int(number),
            _ => Value::text(text),
        }
    }
}

/// What one line says.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedLine<'a> {
    /// Event time, when the line states one.
    pub timestamp: Option<Timestamp>,
    /// Level, when the line states or implies one.
    pub level: Option<Level>,
    /// Other fields in the order of the line; a name may occur twice if the line repeats it.
    pub fields: Vec<(Cow<'a, str>, Value<'a>)>,
    /// The text: the message part where the format has one, else the whole line.
    pub message: Cow<'a, str>,
    /// Why the line, or a part of it, is not of the format; empty when it is.
    pub diagnostics: Vec<&'static str>,
}

impl<'a> ParsedLine<'a> {
    fn whole(line: &'a str) -> Self {
        ParsedLine {
            timestamp: None,
            level: None,
            fields: Vec::new(),
            message: Cow::Borrowed(line),
            diagnostics: Vec::new(),
        }
    }

    fn push(&mut self, name: &'static str, value: Value<'a>) {
        self.fields.push((Cow::Borrowed(name), value));
    }

    fn push_text(&mut self, name: &'static str, text: &'a str) {
        self.push(name, Value::text(text));
    }
}

/// Parses one line of a file in `format`; its line ending is not part of it.
///
/// `now` gives the year to times that state none. `Ndjson` lines have their own reader; here they are plain text.
/// Cost: one pass, 0.1 to 1 µs for lines of usual length.
#[must_use]
pub fn parse_line<'a>(format: Format, line: &'a str, now: Timestamp) -> ParsedLine<'a> {
    let line = line.trim_end_matches(['\r', '\n']);
    match format {
        Format::Syslog => syslog::parse(line, zone::When { now, zone: &Zone::UTC }),
        Format::Access => access::parse(line),
        Format::Logfmt => logfmt::parse(line, now),
        Format::Plain | Format::Ndjson => plain::parse(line, now),
    }
}

/// As [`parse_line`] of [`Format::Syslog`], from a sender whose times without a zone are of `zone`.
#[must_use]
pub fn parse_syslog<'a>(line: &'a str, now: Timestamp, zone: &Zone) -> ParsedLine<'a> {
    syslog::parse(line.trim_end_matches(['\r', '\n']), zone::When { now, zone })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// The line's parse as `time level | name=value … | message ! diagnostics`; text values are quoted.
    pub(super) fn show(format: Format, line: &str) -> String {
        let now = Timestamp::parse("2026-03-01T12:00:00Z").unwrap();
        let parsed = parse_line(format, line, now);
        let time = parsed.timestamp.map_or("-".to_owned(), |time| time.to_string());
        let mut text = format!("{time} {} |", parsed.level.map_or("-", Level::as_str));
        for (name, value) in &parsed.fields {
            match value {
                Value::Text(value) => write!(text, " {name}={value:?}").unwrap(),
                Value::Int(value) => write!(text, " {name}={value}").unwrap(),
                Value::Float(value) => write!(text, " {name}={value}").unwrap(),
                Value::Bool(value) => write!(text, " {name}={value}").unwrap(),
            }
        }
        let message = if parsed.message == line { "(whole)" } else { &parsed.message };
        write!(text, " | {message}").unwrap();
        for diagnostic in parsed.diagnostics {
            write!(text, " ! {diagnostic}").unwrap();
        }
        text
    }

    #[test]
    fn names_round_trip() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.as_str()), Some(format));
        }
    }

    #[test]
    fn hostile_lines_are_kept_whole_in_every_format() {
        let lines = [
            "",
            " ",
            "<",
            "<>",
            "<34>",
            "[",
            "]",
            "\"",
            "=",
            "=\"",
            "a=\"\\",
            "\u{feff}",
            "é\u{0}é",
            "- - -",
            "<13>1 - - - - - [",
            "<13>1 - - - - - [a b=\"\\",
            "1.2.3.4 - - [",
            "1.2.3.4 - - [10/Oct/2000:13:55:36 +0000] \"",
            "I0203",
            "9999999999999999999999",
            "Jun",
            "Jun  9 06:06:20",
            "Mon,",
            "CEF:",
            "CEF:0|||||||=",
            "CEF:0|a|b|c|d|e\\|5|=\\",
            "CEF:0|a|b|c|d|e|5|k=\\",
            "<1>CEF:0|a|b|c|d|e|5|cs1Label= cs1=x",
            "LEEF:2.0|||||",
            "LEEF:2.0|a|b|c|d|x110000|a=b",
            "<189>: %",
            "<189>: %A-5-B:",
            "<189>2026 Feb  %A-5-B:",
            "<189>*:*:. %A-5-B:",
        ];
        for line in lines {
            for format in Format::ALL {
                let shown = show(format, line);
                assert!(shown.contains("(whole)") || shown.contains('='), "{format} {line:?}: {shown}");
            }
        }
    }
}
