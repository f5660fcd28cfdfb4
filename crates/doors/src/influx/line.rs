//! Influx's line protocol: `measurement,tag=value field=1,other="text" 1700000000000000000`.
//!
//! Invariants:
//! - each line is read whole or refused whole, with a reason; the next one is read from its own beginning;
//! - never panics, whatever the text, and reads each byte a bounded number of times.
//!
//! Source: InfluxData, "Line protocol reference".

use std::borrow::Cow;

/// Tags and fields of one line at most.
const PARTS_MAX: usize = 10_000;

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// `1`, `-1.5e3`.
    Float(f64),
    /// `1i`.
    Int(i64),
    /// `1u`.
    Uint(u64),
    /// `t`, `false`.
    Bool(bool),
    /// `"text"`.
    Text(Cow<'a, str>),
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point<'a> {
    pub(super) measurement: Cow<'a, str>,
    pub(super) tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) fields: Vec<(Cow<'a, str>, Value<'a>)>,
    /// As written, in the unit of the request.
    pub(super) time: Option<i64>,
    /// All of it as written.
    pub(super) line: &'a str,
}

/// Why a line was refused.
pub(super) type Refused = &'static str;

/// The lines of a body, one after the other; comments and empty ones are read over.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    /// Number of the line that was read last, from 1.
    number: usize,
    counted: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Lines<'a> {
        Lines { text, at: 0, number: 0, counted: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn line_end(&self) -> usize {
        memchr::memchr(b'\n', self.rest()).map_or(self.text.len(), |n| self.at + n)
    }

    /// Counts the lines up to where the next one begins.
    fn count(&mut self) {
        self.number += memchr::memchr_iter(b'\n', &self.text.as_bytes()[self.counted..self.at]).count();
        self.counted = self.at;
    }
}

impl<'a> Iterator for Lines<'a> {
    /// The number of the line, from 1, and what it says; refused: its text and why.
    type Item = (usize, Result<Point<'a>, (&'a str, Refused)>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rest().first()? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => self.at = self.line_end(),
                _ => break,
            }
        }
        self.count();
        let start = self.at;
        let mut scan = Scan { text: self.text, at: start };
        let point = scan.point();
        if point.is_ok() {
            self.at = scan.at;
        }
        let end = self.line_end();
        let line = self.text[start..end].trim_end();
        self.at = end;
        let point = point.map(|point| Point { line, ..point }).map_err(|reason| (line, reason));
        Some((self.number + 1, point))
    }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    fn space(&mut self) -> bool {
        let start = self.at;
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
        self.at > start
    }

    fn is_at_end(&self) -> bool {
        match self.peek() {
            None | Some(b'\n') => true,
            Some(b'\r') => matches!(self.text.as_bytes().get(self.at + 1), None | Some(b'\n')),
            Some(_) => false,
        }
    }

    /// Reads up to one of `ends` that no backslash is before; a backslash before one of `escaped` is not part of the text.
    fn word(&mut self, ends: &[u8], escaped: &[u8]) -> Cow<'a, str> {
        let start = self.at;
        let mut unescaped: Option<String> = None;
        let mut piece = start;
        let bytes = self.text.as_bytes();
        while let Some(byte) = self.peek() {
            let next = bytes.get(self.at + 1);
            if byte == b'\\' && next.is_some_and(|next| escaped.contains(next)) {
                let out = unescaped.get_or_insert_with(String::new);
                out.push_str(&self.text[piece..self.at]);
                piece = self.at + 1;
                self.at += 2;
            } else if byte == b'\n' || ends.contains(&byte) || self.is_at_end() {
                break;
            } else {
                self.at += 1;
            }
        }
        match unescaped {
            None => Cow::Borrowed(&self.text[start..self.at]),
            Some(mut out) => {
                out.push_str(&self.text[piece..self.at]);
                Cow::Owned(out)
            }
        }
    }

    fn point(&mut self) -> Result<Point<'a>, Refused> {
        let measurement = self.word(b", ", b", ");
        if measurement.is_empty() {
            return Err("missing measurement");
        }
        let mut tags = Vec::new();
        while self.take(b',') {
            tags.push(self.tag()?);
            if tags.len() > PARTS_MAX {
                return Err("too many tags");
            }
        }
        if !self.space() {
            return Err("missing fields");
        }
        let mut fields = Vec::new();
        loop {
            fields.push(self.field()?);
            if fields.len() > PARTS_MAX {
                return Err("too many fields");
            }
            if !self.take(b',') {
                break;
            }
        }
        let time = if self.space() && !self.is_at_end() { Some(self.time()?) } else { None };
        self.space();
        if self.is_at_end() {
            Ok(Point { measurement, tags, fields, time, line: "" })
        } else {
            Err("invalid field format")
        }
    }

    fn tag(&mut self) -> Result<(Cow<'a, str>, Cow<'a, str>), Refused> {
        let key = self.word(b",= ", b",= ");
        if key.is_empty() {
            return Err("missing tag key");
        }
        if !self.take(b'=') {
            return Err("missing tag value");
        }
        let value = self.word(b",= ", b",= ");
        match self.peek() {
            Some(b'=') => Err("invalid tag format"),
            _ if value.is_empty() => Err("missing tag value"),
            _ => Ok((key, value)),
        }
    }

    fn field(&mut self) -> Result<(Cow<'a, str>, Value<'a>), Refused> {
        let key = self.word(b",= ", b",= ");
        if key.is_empty() {
            return Err("missing fields");
        }
        if !self.take(b'=') {
            return Err("missing field value");
        }
        let value =
            if self.take(b'"') { Value::Text(self.string()?) } else { value_of(&self.word(b", ", b""))? };
        Ok((key, value))
    }

    /// A text in quotes, which may have line breaks.
    fn string(&mut self) -> Result<Cow<'a, str>, Refused> {
        let start = self.at;
        let mut unescaped: Option<String> = None;
        let mut piece = start;
        loop {
            let found =
                memchr::memchr2(b'"', b'\\', &self.text.as_bytes()[self.at..]).ok_or("unbalanced quotes")?;
            self.at += found;
            if self.peek() == Some(b'"') {
                break;
            }
            if matches!(self.text.as_bytes().get(self.at + 1), Some(b'"' | b'\\')) {
                let out = unescaped.get_or_insert_with(String::new);
                out.push_str(&self.text[piece..self.at]);
                piece = self.at + 1;
                self.at += 2;
            } else {
                self.at += 1;
            }
        }
        let last = &self.text[piece..self.at];
        self.at += 1;
        Ok(match unescaped {
            None => Cow::Borrowed(last),
            Some(mut out) => {
                out.push_str(last);
                Cow::Owned(out)
            }
        })
    }

    fn time(&mut self) -> Result<i64, Refused> {
        self.word(b" ", b"").parse().map_err(|_| "bad timestamp")
    }
}

fn value_of(text: &str) -> Result<Value<'static>, Refused> {
    const BAD: Refused = "invalid number";
    match text {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        "" => return Err("missing field value"),
        _ => {}
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eEiu".contains(&byte)); // no `inf`, no `nan`
    if !is_number {
        return Err("invalid field format");
    }
    if let Some(number) = text.strip_suffix('i') {
        return number.parse().map(Value::Int).map_err(|_| BAD);
    }
    if let Some(number) = text.strip_suffix('u') {
        return number.parse().map(Value::Uint).map_err(|_| BAD);
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float).ok_or(BAD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read<'t> = (usize, Result<Point<'t>, (&'t str, Refused)>);

    fn read(text: &str) -> Vec<Read<'_>> {
        Lines::of(text).collect()
    }

    #[track_caller]
    fn one(text: &str) -> Point<'_> {
        let mut lines = read(text);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0).1.expect("a point")
    }

    #[test]
    fn the_examples_of_the_reference_are_read() {
        let point = one(r#"myMeasurement,tag1=value1,tag2=value2 fieldKey="fieldValue" 1556813561098000000"#);
        assert_eq!(
            (point.measurement.as_ref(), point.tags.len(), point.time),
            ("myMeasurement", 2, Some(1_556_813_561_098_000_000))
        );
        assert_eq!(point.fields, [("fieldKey".into(), Value::Text("fieldValue".into()))]);
        let point = one(
            r#"my\ Measurement,tag\ Key\,1=tag\=Value field\=Key="string \"value\" \\ C:\\x",b=-1.5e3,c=1i,d=2u,e=t,f=FALSE"#,
        );
        assert_eq!(point.measurement, "my Measurement");
        assert_eq!(point.tags, [("tag Key,1".into(), "tag=Value".into())]);
        assert_eq!(
            point.fields,
            [
                ("field=Key".into(), Value::Text("string \"value\" \\ C:\\x".into())),
                ("b".into(), Value::Float(-1500.0)),
                ("c".into(), Value::Int(1)),
                ("d".into(), Value::Uint(2)),
                ("e".into(), Value::Bool(true)),
                ("f".into(), Value::Bool(false)),
            ]
        );
        let point = one("my\\Measurement,a=b\\ c é=\"🍭\" ");
        assert_eq!((point.measurement.as_ref(), point.time), ("my\\Measurement", None));
        assert_eq!(point.tags, [("a".into(), "b c".into())]);
    }

    #[test]
    fn lines_are_counted_and_a_bad_one_does_not_take_the_next_with_it() {
        let text = "# a comment\n\n cpu v=1 5\r\nbad\nm s=\"two\nlines\",t=1\nx v= 3\nm,t v=1\nlast v=1i\n";
        let lines = read(text);
        let numbers: Vec<_> = lines.iter().map(|(number, line)| (*number, line.is_ok())).collect();
        assert_eq!(numbers, [(3, true), (4, false), (5, true), (7, false), (8, false), (9, true)]);
        assert_eq!(lines[1].1, Err(("bad", "missing fields")));
        assert_eq!(lines[3].1, Err(("x v= 3", "missing field value")));
        assert_eq!(lines[4].1, Err(("m,t v=1", "missing tag value")));
        let Ok(point) = &lines[2].1 else { panic!("a point") };
        assert_eq!(point.fields[0].1, Value::Text("two\nlines".into()));
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let bad = [
            "m",
            "m ",
            "m,a=b",
            "m,=b v=1",
            "m,a= v=1",
            "m,a=b=c v=1",
            "m v",
            "m =1",
            "m v=1x",
            "m v=nan",
            "m v=inf",
            "m v=1e999",
            "m v=9223372036854775808i",
            "m v=-1u",
            "m v=\"open",
            "m v=\"a\"b",
            "m v=1 5x",
            "m v=1 5 6",
            "m v=1 99999999999999999999",
            "m v=1,",
            ",a=b v=1",
            "m v=1,,w=2",
        ];
        for text in bad {
            let lines = read(text);
            assert_eq!((lines.len(), lines[0].1.is_err()), (1, true), "{text}: {lines:?}");
        }
        assert_eq!(read("#\n \n\r\n"), []);
    }

    fn escaped(text: &str, specials: &str) -> String {
        text.chars().flat_map(|c| specials.contains(c).then_some('\\').into_iter().chain([c])).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            measurement in "[a-z, =é]{0,6}[a-z]",
            tags in proptest::collection::vec(("[a-z, =]{0,4}[a-z]", "[a-z, =\"]{0,4}[a-z]"), 0..3),
            field in "[a-z, =]{0,4}[a-z]",
            value in "[a-z \"\\\\\n=,é]{0,12}",
            time in proptest::option::of(any::<i64>()),
        ) {
            let mut line = escaped(&measurement, ", ");
            for (key, value) in &tags {
                line.push_str(&format!(",{}={}", escaped(key, ",= "), escaped(value, ",= ")));
            }
            line.push_str(&format!(" {}=\"{}\"", escaped(&field, ",= "), escaped(&value, "\"\\")));
            if let Some(time) = time {
                line.push_str(&format!(" {time}"));
            }
            let lines = read(&line);
            prop_assume!(!measurement.starts_with([' ', '=']) || !lines.is_empty());
            prop_assert_eq!(lines.len(), 1);
            let point = lines[0].1.as_ref().expect("a point");
            prop_assert_eq!(&point.measurement, &measurement);
            prop_assert_eq!(point.tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>(), tags);
            prop_assert_eq!(&point.fields[0].0, &field);
            prop_assert_eq!(&point.fields[0].1, &Value::Text(value.into()));
            prop_assert_eq!(point.time, time);
        }

        #[test]
        fn any_text_is_read_or_refused_line_by_line(text in "[a-c=,\" \\\\\n\r#1iué]{0,60}") {
            let lines = read(&text);
            prop_assert!(lines.len() <= text.lines().count());
        }
    }
}
