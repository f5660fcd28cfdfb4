//! Exposition text: Prometheus' 0.0.4 and OpenMetrics 1.0, sample after sample.
//!
//! Both are read by one grammar; they differ in the unit of times and in that OpenMetrics must end in `# EOF`. Names in quotes, as
//! Prometheus 3 writes those that are not plain, are read in both. Comments (`HELP`, `TYPE`, `UNIT`) say nothing that is kept.
//!
//! Invariants: never more than a line is held; a line that cannot be read is named and the next one is read.
//!
//! Source: prometheus.io/docs/instrumenting/exposition_formats, the OpenMetrics specification 1.0.

use std::borrow::Cow;

use heimdall_model::Timestamp;
use heimdall_model::time::NS_PER_MS;

/// Which of the two a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

/// A label: its name and its value.
pub(super) type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One line.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: Cow<'a, str>,
    /// As written.
    pub(super) labels: Vec<Label<'a>>,
    pub(super) value: f64,
    pub(super) time: Option<Timestamp>,
    pub(super) has_exemplar: bool,
}

/// The samples of a text; `Err` is a line and what is wrong with it.
pub(super) struct Samples<'a> {
    rest: &'a [u8],
    format: Format,
    /// Whether the text ended as OpenMetrics must.
    pub(super) is_ended: bool,
}

impl<'a> Samples<'a> {
    pub(super) fn of(text: &'a [u8], format: Format) -> Samples<'a> {
        let rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Samples { rest, format, is_ended: false }
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() || self.is_ended {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(line.trim_ascii())
    }
}

impl<'a> Iterator for Samples<'a> {
    type Item = Result<Sample<'a>, (&'a [u8], &'static str)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.line()? {
                b"" => {}
                b"# EOF" if self.format == Format::OpenMetrics => self.is_ended = true,
                [b'#', ..] => {}
                line => {
                    let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8");
                    let sample = text.and_then(|text| Line { rest: text }.sample(self.format));
                    return Some(sample.map_err(|reason| (line, reason)));
                }
            }
        }
    }
}

/// What is left of a line.
struct Line<'a> {
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn sample(mut self, format: Format) -> Result<Sample<'a>, &'static str> {
        let mut name = Cow::Borrowed(self.until(|c| c == '{' || is_blank(c)));
        let mut labels = Vec::new();
        self.blanks();
        if self.takes('{') {
            self.labels(&mut name, &mut labels)?;
        }
        if name.is_empty() {
            return Err("has no name");
        }
        self.blanks();
        let value = number(self.until(is_blank)).ok_or("has a value that is no number")?;
        self.blanks();
        let time = match self.rest.chars().next() {
            None | Some('#') => None,
            Some(_) => Some(time(self.until(is_blank), format).ok_or("has a time that is none")?),
        };
        self.blanks();
        let has_exemplar = self.takes('#');
        if !has_exemplar && !self.rest.is_empty() {
            return Err("has something behind its time");
        }
        Ok(Sample { name, labels, value, time, has_exemplar })
    }

    fn labels(&mut self, name: &mut Cow<'a, str>, labels: &mut Vec<Label<'a>>) -> Result<(), &'static str> {
        const OPEN: &str = "has labels that do not end";
        loop {
            self.blanks();
            if self.takes('}') {
                return Ok(());
            }
            let is_quoted = self.rest.starts_with('"');
            let key = match is_quoted {
                true => self.quoted().ok_or(OPEN)?,
                false => Cow::Borrowed(self.until(|c| matches!(c, '=' | ',' | '}') || is_blank(c))),
            };
            self.blanks();
            if self.takes('=') {
                self.blanks();
                let value = self.quoted().ok_or("has a label whose value is not in quotes")?;
                labels.push((key, value));
            } else if is_quoted && name.is_empty() {
                *name = key;
            } else {
                return Err("has a label without a value");
            }
            self.blanks();
            if !self.takes(',') && !self.rest.starts_with('}') {
                return Err(OPEN);
            }
        }
    }

    /// A text in quotes, without its escapes.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let inner = self.rest.strip_prefix('"')?;
        let mut from = 0;
        let end = loop {
            let at = from + memchr::memchr2(b'"', b'\\', &inner.as_bytes()[from..])?;
            match inner.as_bytes()[at] {
                b'"' => break at,
                _ => from = at + 2, // what is behind a backslash
            }
            if from > inner.len() {
                return None;
            }
        };
        self.rest = &inner[end + 1..];
        let text = &inner[..end];
        Some(if text.contains('\\') { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) })
    }

    fn until(&mut self, is_end: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (found, rest) = self.rest.split_at(end);
        self.rest = rest;
        found
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(is_blank);
    }

    fn takes(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// `\n`, `\"` and `\\` are escapes; any other backslash is itself.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(escaped @ ('"' | '\\')) => out.push(escaped),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

/// A number as Go writes it; `+Inf`, `-Inf` and `NaN` are numbers.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn time(text: &str, format: Format) -> Option<Timestamp> {
    let ms = match format {
        Format::Prometheus => text.parse::<i64>().ok()?,
        Format::OpenMetrics => {
            let ms = number(text).map(|seconds| (seconds * 1e3).round())?;
            /// Beyond any time we hold, and exact as a double.
            const MS_MAX: f64 = 1e13;
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and within the bound")]
            (ms.abs() <= MS_MAX).then_some(ms as i64)?
        }
    };
    ms.checked_mul(NS_PER_MS).map(Timestamp)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// One line for each sample, to be compared as text.
    fn dump(text: &str, format: Format) -> String {
        let mut samples = Samples::of(text.as_bytes(), format);
        let mut out = String::new();
        for sample in samples.by_ref() {
            match sample {
                Ok(sample) => {
                    write!(out, "{}", sample.name).unwrap();
                    for (key, value) in &sample.labels {
                        write!(out, " {key}={value:?}").unwrap();
                    }
                    write!(out, " -> {}", sample.value).unwrap();
                    if let Some(time) = sample.time {
                        write!(out, " @{}", time.0 / NS_PER_MS).unwrap();
                    }
                    out.push_str(if sample.has_exemplar { " #\n" } else { "\n" });
                }
                Err((_, reason)) => writeln!(out, "! {reason}").unwrap(),
            }
        }
        if samples.is_ended {
            out.push_str("EOF\n");
        }
        out
    }

    #[test]
    fn the_text_format() {
        // The example of the format's own description, and what else is allowed.
        let text = r#"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
http_request_duration_seconds_bucket{le="+Inf"} 144320
	 spaced	{ a = "1" , b="2", } 	-1e-3 	
empty{} NaN
{"name.with dots","label-x"="y"} 1
odd{a="\d\\"} 0
"#;
        let expected = r#"http_requests_total method="post" code="200" -> 1027 @1395066363000
http_requests_total method="post" code="400" -> 3 @1395066363000
msdos_file_access_time_seconds path="C:\\DIR\\FILE.TXT" error="Cannot find file:\n\"FILE.TXT\"" -> 1458255915
metric_without_timestamp_and_labels -> 12.47
something_weird problem="division by zero" -> inf @-3982045
http_request_duration_seconds_bucket le="+Inf" -> 144320
spaced a="1" b="2" -> -0.001
empty -> NaN
name.with dots label-x="y" -> 1
odd a="\\d\\" -> 0
"#;
        assert_eq!(dump(text, Format::Prometheus), expected);
    }

    #[test]
    fn open_metrics() {
        let text = r#"# TYPE foo histogram
# UNIT foo seconds
foo_bucket{le="0.01"} 0
foo_bucket{le="0.1"} 8 1520879607.789 # {trace_id="a \"} b"} 0.054
foo_count 17.0 1520879607.789
foo_created 1520430000.123
# EOF
after 1
"#;
        let expected = r#"foo_bucket le="0.01" -> 0
foo_bucket le="0.1" -> 8 @1520879607789 #
foo_count -> 17 @1520879607789
foo_created -> 1520430000.123
EOF
"#;
        assert_eq!(dump(text, Format::OpenMetrics), expected);
        assert_eq!(dump("a 1\n# EOF\nb 1", Format::Prometheus), "a -> 1\nb -> 1\n");
    }

    #[test]
    fn a_bad_line_is_named_and_the_next_is_read() {
        let text = "{a=\"1\"} 1\nx\nx one\nx{a=\"1} 1\nx{a=1} 1\nx{a} 1\nx 1 2 3\nx 1 soon\nx{a=\"\\\nx{\"a\",\"b\"} 1\nx 1\n";
        let expected = "! has no name
! has a value that is no number
! has a value that is no number
! has a label whose value is not in quotes
! has a label whose value is not in quotes
! has a label without a value
! has something behind its time
! has a time that is none
! has a label whose value is not in quotes
! has a label without a value
x -> 1
";
        assert_eq!(dump(text, Format::Prometheus), expected);
        let broken: Vec<_> = Samples::of(b"a\xff 1\nb 1", Format::Prometheus).collect();
        assert_eq!(broken[0], Err((&b"a\xff 1"[..], "is not UTF-8")));
        assert!(broken[1].is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for format in [Format::Prometheus, Format::OpenMetrics] {
                prop_assert!(Samples::of(&bytes, format).count() <= bytes.len());
            }
        }

        #[test]
        fn any_line_ends(text in r#"[a-z{}"\\=, #é0-9.]{0,60}"#) {
            let _ = Samples::of(text.as_bytes(), Format::OpenMetrics).count();
        }

        #[test]
        fn labels_come_out_as_they_went_in(value in any::<String>(), number in proptest::num::f64::NORMAL) {
            let escaped = value.replace('\\', r"\\").replace('\n', r"\n").replace('"', "\\\"");
            let line = format!("x{{a=\"{escaped}\"}} {number:?}\n");
            let sample = Samples::of(line.as_bytes(), Format::Prometheus).next().expect("a line").expect("a sample");
            prop_assert_eq!(&*sample.labels[0].1, &*value);
            prop_assert_eq!(sample.value, number);
        }
    }
}
