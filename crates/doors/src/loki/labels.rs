//! The text of a stream's labels: `{app="web", path="C:\\x"}`.
//!
//! Invariants:
//! - strict: what is no list of labels is an error, never a guess;
//! - never panics, whatever the text.
//!
//! Source: Loki, `pkg/logql/syntax` (a stream selector of `=` matchers); strings are Go's, quoted or raw.

use std::borrow::Cow;

/// Labels of one stream at most; Loki's own default is 15.
pub(super) const LABELS_MAX: usize = 1_000;

/// Why a text is no list of labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("labels are not `{{name=\"value\"}}`: {detail} at byte {byte}")]
pub(super) struct LabelsError {
    byte: usize,
    detail: &'static str,
}

/// Reads names and values, in the order they were written.
pub(super) fn parse(text: &str) -> Result<Vec<(&str, Cow<'_, str>)>, LabelsError> {
    let mut scan = Scan { text, at: 0 };
    let mut labels = Vec::new();
    scan.space();
    scan.expect(b'{', "expected `{`")?;
    scan.space();
    let mut is_open = !scan.take(b'}');
    while is_open {
        if labels.len() == LABELS_MAX {
            return Err(scan.fail("too many labels"));
        }
        let name = scan.name()?;
        scan.space();
        scan.expect(b'=', "expected `=`")?;
        scan.space();
        labels.push((name, scan.value()?));
        scan.space();
        is_open = scan.take(b',');
        scan.space();
        if !is_open {
            scan.expect(b'}', "expected `,` or `}`")?;
        } else if scan.take(b'}') {
            is_open = false;
        }
    }
    scan.space();
    if scan.at == text.len() { Ok(labels) } else { Err(scan.fail("text after `}`")) }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn fail(&self, detail: &'static str) -> LabelsError {
        LabelsError { byte: self.at, detail }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, byte: u8, detail: &'static str) -> Result<(), LabelsError> {
        if self.take(byte) { Ok(()) } else { Err(self.fail(detail)) }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn name(&mut self) -> Result<&'a str, LabelsError> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            let is_first = self.at == start;
            let fits = byte.is_ascii_alphabetic()
                || matches!(byte, b'_' | b':')
                || !is_first && (byte.is_ascii_digit() || byte == b'.');
            if !fits {
                break;
            }
            self.at += 1;
        }
        if self.at == start {
            Err(self.fail("expected a label name"))
        } else {
            Ok(&self.text[start..self.at])
        }
    }

    fn value(&mut self) -> Result<Cow<'a, str>, LabelsError> {
        if self.take(b'`') {
            let rest = &self.text[self.at..];
            let end = rest.find('`').ok_or_else(|| self.fail("the value is not closed"))?;
            self.at += end + 1;
            return Ok(Cow::Borrowed(&rest[..end]));
        }
        self.expect(b'"', "expected a value in quotes")?;
        let start = self.at;
        let mut unescaped: Option<Vec<u8>> = None;
        loop {
            match self.peek() {
                None => return Err(self.fail("the value is not closed")),
                Some(b'\n') => return Err(self.fail("a line break within a value")),
                Some(b'"') => break,
                Some(b'\\') => {
                    let mut out =
                        unescaped.take().unwrap_or_else(|| self.text.as_bytes()[start..self.at].to_vec());
                    self.escape(&mut out)?;
                    unescaped = Some(out);
                }
                Some(byte) => {
                    if let Some(out) = &mut unescaped {
                        out.push(byte);
                    }
                    self.at += 1;
                }
            }
        }
        let plain = &self.text[start..self.at];
        self.at += 1;
        Ok(match unescaped {
            None => Cow::Borrowed(plain),
            // `\xff` may make bytes that are no UTF-8.
            Some(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }

    /// Reads one escape of a Go string.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), LabelsError> {
        let bad = LabelsError { byte: self.at, detail: "an escape that is none" };
        self.at += 1;
        let kind = self.peek().ok_or_else(|| bad.clone())?;
        self.at += 1;
        match kind {
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'\\' | b'"' | b'\'' => out.push(kind),
            b'x' => out.push(u8::try_from(self.digits(2, 16, &bad)?).map_err(|_| bad)?),
            b'0'..=b'7' => {
                self.at -= 1;
                out.push(u8::try_from(self.digits(3, 8, &bad)?).map_err(|_| bad)?);
            }
            b'u' | b'U' => {
                let code = self.digits(if kind == b'u' { 4 } else { 8 }, 16, &bad)?;
                let char = char::from_u32(code).ok_or(bad)?;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return Err(bad),
        }
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32, bad: &LabelsError) -> Result<u32, LabelsError> {
        let digits = self.text.get(self.at..self.at + count).ok_or_else(|| bad.clone())?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad.clone()); // no sign
        }
        self.at += count;
        u32::from_str_radix(digits, radix).map_err(|_| bad.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        let labels: Vec<_> = labels.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{{{}}}", labels.join(", "))
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let labels = parse(text).expect("labels");
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        assert_eq!(labels, expected, "{text}");
    }

    #[test]
    fn labels_with_escapes_and_raw_strings_are_read() {
        check("{}", &[]);
        check(r#" { app = "web" ,b="x,y={}" , } "#, &[("app", "web"), ("b", "x,y={}")]);
        check(
            r#"{a="q\"\\\n\té\u00e9\x41\101\U0001F600", k8s.pod=`c:\x`}"#,
            &[("a", "q\"\\\n\téé\u{41}A😀"), ("k8s.pod", "c:\\x")],
        );
        check(r#"{a="\xff"}"#, &[("a", "\u{fffd}")]);
    }

    #[test]
    fn what_is_no_list_of_labels_is_refused() {
        let bad = [
            "",
            "{",
            "}",
            "a=b",
            "{a}",
            "{a=}",
            "{a=b}",
            r#"{a="b}"#,
            r#"{a="b"}x"#,
            r#"{a="b" c="d"}"#,
            r#"{1="b"}"#,
            r#"{a!="b"}"#,
            r#"{a=~"b"}"#,
            r#"{,}"#,
            r#"{a="\q"}"#,
            r#"{a="\u12"}"#,
            r#"{a="\ud800"}"#,
            "{a=\"x\ny\"}",
            r#"{a="\x+1"}"#,
            r#"{a="\777"}"#,
            "{a=`b}",
            "{a=\"\\",
            "{a=\"\\u00é",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
        let many = write((0..=LABELS_MAX).map(|_| ("a", "b")));
        assert!(parse(&many).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(labels in proptest::collection::vec(("[a-zA-Z_][a-zA-Z0-9_]{0,9}", "[a-z\"\\\\\n\té ,={}]{0,12}"), 0..6)) {
            let text = write(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let read = parse(&text).expect("labels");
            prop_assert_eq!(read.len(), labels.len());
            for ((name, value), (read_name, read_value)) in labels.iter().zip(&read) {
                prop_assert_eq!(name, read_name);
                prop_assert_eq!(value, read_value);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[{}=,\"`\\\\a1xué\n ]{0,30}") {
            let _ = parse(&text);
        }
    }
}
