//! JSON bodies to records, in one pass over the bytes, without a document tree.
//!
//! What a body is, is told from its first line (a byte order mark and white space before it are skipped):
//! - it begins with `[`: **one array**; each element is a record;
//! - it begins with `{` and the first line ends inside brackets but outside a string, and more follows: **documents**, objects over
//!   several lines, one after the other;
//! - else **lines**: each line is one value, or several objects; blank lines are skipped, `\r\n` is fine.
//!
//! An array and documents are all or nothing: a syntax error anywhere refuses the body, so that a line of a broken
//! document is never taken for a record. Among lines, a broken one is rejected alone; when it is the only one, the body is refused.
//!
//! A value that is not an object is a log record whose message is the text of a string, or the JSON text of anything else.
//! Names, aliases (`msg`), dotted names (`trace.traceId`) and the same nested (`{"trace":{"traceId":…}}`) go to their fields;
//! everything else, and every value that does not suit its field, stays in the catch-all object. Numbers there keep their text.
//! An escaped NUL or half a surrogate pair becomes U+FFFD, and that is noted.
//!
//! Invariants: never panics, whatever the bytes; memory is bounded by the body and [`DecodeLimits`]; no recursion on
//! what the body nests.
//!
//! Not here: the typed event (see [`crate::typed`]), text formats (see [`crate::text`]), compression.

mod members;
mod names;
mod record;
pub(crate) mod scan;
pub(crate) mod text;

#[cfg(test)]
mod tests;

use heimdall_model::{Dataset, Timestamp};

pub(crate) use self::names::Profile;
pub(crate) use self::record::RecordReader;
pub use self::scan::DEPTH_MAX;
use self::scan::{Scanner, Syntax};
use crate::body::{BodyError, DecodeLimits};
use crate::decoded::{Decoded, RejectKind};
use crate::records::Reading;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Decodes a JSON body into records of `dataset` that arrived at `now`. Cost: about 1.5 ns a byte.
///
/// # Errors
/// [`BodyError`] when the body as a whole is not what the module says; nothing of it was accepted then.
pub fn decode(
    dataset: Dataset,
    body: &[u8],
    now: Timestamp,
    limits: &DecodeLimits,
) -> Result<Decoded, BodyError> {
    read(dataset, body, Reading::new(now, limits))
}

/// The same, as a door is told to read.
///
/// # Errors
/// As [`decode`].
pub fn read(dataset: Dataset, body: &[u8], reading: Reading<'_>) -> Result<Decoded, BodyError> {
    decode_as(profile_of(dataset), body, reading)
}

pub(crate) fn profile_of(dataset: Dataset) -> Profile {
    match dataset {
        Dataset::Logs => Profile::Logs,
        Dataset::Metrics => Profile::Metrics,
        Dataset::Spans => Profile::Spans,
    }
}

pub(crate) fn decode_as(profile: Profile, body: &[u8], reading: Reading<'_>) -> Result<Decoded, BodyError> {
    let marked = body.len() - body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).len();
    let start = body[marked..].iter().position(|byte| !is_space(*byte)).ok_or(BodyError::Empty)? + marked;
    let body = Body { bytes: body, start, limits: reading.limits };
    let reader = RecordReader::new(profile, reading);
    match framing(&body.bytes[start..]) {
        Framing::Array => body.array(reader),
        Framing::Documents => body.documents(reader),
        Framing::Lines => body.lines(reader),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Array,
    Documents,
    Lines,
}

/// What a body that starts here is; see the module.
fn framing(body: &[u8]) -> Framing {
    match body.first() {
        Some(b'[') => return Framing::Array,
        Some(b'{') => {}
        _ => return Framing::Lines,
    }
    let (mut depth, mut in_string, mut escaped) = (0_i64, false, false);
    for byte in body {
        match byte {
            b'\n' if depth > 0 && !in_string => return Framing::Documents,
            b'\n' => return Framing::Lines,
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    Framing::Lines
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// A body and where its first value starts.
struct Body<'b> {
    bytes: &'b [u8],
    start: usize,
    limits: &'b DecodeLimits,
}

impl<'b> Body<'b> {
    fn scanner(&self) -> Result<Scanner<'b>, BodyError> {
        let text =
            std::str::from_utf8(self.bytes).map_err(|error| BodyError::Utf8 { byte: error.valid_up_to() })?;
        Ok(Scanner::at(text, self.start))
    }

    fn syntax(&self, syntax: Syntax) -> BodyError {
        let line = 1 + memchr::memchr_iter(b'\n', &self.bytes[..syntax.at]).count();
        BodyError::Syntax { byte: syntax.at, line, detail: syntax.detail }
    }

    fn has_room(&self, reader: &RecordReader<'_>) -> Result<(), BodyError> {
        let records_max = self.limits.records_max;
        if reader.index() < records_max { Ok(()) } else { Err(BodyError::TooManyRecords { records_max }) }
    }

    fn array(&self, mut reader: RecordReader<'_>) -> Result<Decoded, BodyError> {
        let mut scan = self.scanner()?;
        scan.at += 1;
        scan.skip_space();
        let mut is_open = !scan.take(b']');
        while is_open {
            self.has_room(&reader)?;
            reader.record(&mut scan).map_err(|syntax| self.syntax(syntax))?;
            scan.skip_space();
            is_open = scan.take(b',');
            if !is_open && !scan.take(b']') {
                return Err(self.syntax(Syntax { at: scan.at, detail: "expected `,` or `]`" }));
            }
            scan.skip_space();
        }
        scan.skip_space();
        match scan.peek() {
            None => Ok(reader.finish()),
            Some(_) => Err(self.syntax(Syntax { at: scan.at, detail: "text after the end of the array" })),
        }
    }

    fn documents(&self, mut reader: RecordReader<'_>) -> Result<Decoded, BodyError> {
        let mut scan = self.scanner()?;
        while let Some(byte) = scan.peek() {
            if byte != b'{' {
                return Err(self.syntax(Syntax { at: scan.at, detail: "text after the end of the object" }));
            }
            self.has_room(&reader)?;
            reader.record(&mut scan).map_err(|syntax| self.syntax(syntax))?;
            scan.skip_space();
        }
        Ok(reader.finish())
    }

    fn lines(&self, mut reader: RecordReader<'_>) -> Result<Decoded, BodyError> {
        let mut at = self.start;
        let mut only_error = None;
        while at < self.bytes.len() {
            let end = memchr::memchr(b'\n', &self.bytes[at..]).map_or(self.bytes.len(), |n| at + n);
            let (start, line) = trimmed(self.bytes, at, end);
            at = end + 1;
            if line.is_empty() {
                continue;
            }
            self.has_room(&reader)?;
            only_error = self.line(&mut reader, start, line);
        }
        match only_error {
            Some(error) if reader.index() == 1 => Err(error),
            _ => Ok(reader.finish()),
        }
    }

    /// Takes one line; what the body's error is when this is its only line so far.
    fn line(&self, reader: &mut RecordReader<'_>, start: usize, line: &[u8]) -> Option<BodyError> {
        match std::str::from_utf8(line) {
            Err(error) => {
                let byte = error.valid_up_to();
                reader.reject_unread(RejectKind::Utf8, format!("line is not UTF-8 at byte {byte}"), line);
                (reader.index() == 1).then_some(BodyError::Utf8 { byte: start + byte })
            }
            Ok(text) => {
                let Syntax { at, detail } = self.line_text(reader, text).err()?;
                let reason = format!("line is not JSON at byte {at}: {detail}");
                reader.reject_unread(RejectKind::Syntax, reason, line);
                // Counts lines from the body's start: not for every bad line of a long body.
                (reader.index() == 1).then(|| self.syntax(Syntax { at: start + at, detail }))
            }
        }
    }

    /// The records of one line: all of them or, with an error, none.
    fn line_text(&self, reader: &mut RecordReader<'_>, text: &str) -> Result<(), Syntax> {
        let mut scan = Scanner::new(text);
        if reader.is_piped() {
            scan.value()?;
        } else {
            reader.read(&mut scan)?;
        }
        scan.skip_space();
        let is_one = scan.peek().is_none();
        if is_one && reader.is_piped() {
            return reader.record(&mut Scanner::new(text));
        } else if is_one {
            reader.commit(text);
            return Ok(());
        }
        if !reader.is_piped() {
            reader.abandon();
        }
        objects(text, |_| Ok(()))?;
        objects(text, |object| reader.record(&mut Scanner::new(object)))
    }
}

/// The texts of at most `max` values of a body, in its framing; a line that is none is there as it is.
pub(crate) fn values(body: &[u8], max: usize) -> Result<Vec<String>, BodyError> {
    let text = std::str::from_utf8(body).map_err(|error| BodyError::Utf8 { byte: error.valid_up_to() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii();
    let error = |syntax: Syntax| {
        let line = 1 + memchr::memchr_iter(b'\n', &text.as_bytes()[..syntax.at]).count();
        BodyError::Syntax { byte: syntax.at, line, detail: syntax.detail }
    };
    let mut found = Vec::new();
    match framing(text.as_bytes()) {
        Framing::Array => {
            let mut scan = Scanner::at(text, 1);
            scan.skip_space();
            while found.len() < max && scan.peek().is_some_and(|byte| byte != b']') {
                found.push(scan.value().map_err(error)?.span.of(text).to_owned());
                scan.skip_space();
                if !scan.take(b',') {
                    break;
                }
                scan.skip_space();
            }
        }
        Framing::Documents => {
            let mut scan = Scanner::new(text);
            while found.len() < max && scan.peek().is_some() {
                found.push(scan.value().map_err(error)?.span.of(text).to_owned());
                scan.skip_space();
            }
        }
        Framing::Lines => {
            found.extend(
                text.lines()
                    .map(str::trim_ascii)
                    .filter(|line| !line.is_empty())
                    .take(max)
                    .map(str::to_owned),
            );
        }
    }
    if found.is_empty() { Err(BodyError::Empty) } else { Ok(found) }
}

/// Calls `take` with each of the objects that `text` consists of.
fn objects(text: &str, mut take: impl FnMut(&str) -> Result<(), Syntax>) -> Result<(), Syntax> {
    let mut scan = Scanner::new(text);
    while let Some(byte) = scan.peek() {
        if byte != b'{' {
            return scan.fail("text after the end of the value");
        }
        take(scan.value()?.span.of(text))?;
        scan.skip_space();
    }
    Ok(())
}

/// The line from `start` to `end` without the white space around it, and where it starts then.
fn trimmed(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, &[u8]) {
    while start < end && is_space(bytes[start]) {
        start += 1;
    }
    while end > start && is_space(bytes[end - 1]) {
        end -= 1;
    }
    (start, &bytes[start..end])
}
