//! A whole body, in whichever format it is: the entry for doors that take more than one.

use heimdall_model::{Dataset, Timestamp};

use crate::decoded::Decoded;
use crate::format::{self, Format};
use crate::records::Reading;
use crate::{json, text};

/// Lines looked at to tell the format of a body.
const SAMPLE_LINES: usize = 100;

/// What one body may hold. Depth of nesting is limited too: see [`json::DEPTH_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of one record as written (default 1 MiB); a larger one is rejected.
    pub record_bytes_max: usize,
    /// Fields of one record (default 1,000); a record with more is rejected.
    pub fields_max: usize,
    /// Bytes of one field name (default 256); a record with a longer one is rejected.
    pub key_bytes_max: usize,
    /// Records of one body (default 1,000,000); a body with more is refused whole.
    pub records_max: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits {
            record_bytes_max: 1024 * 1024,
            fields_max: 1_000,
            key_bytes_max: 256,
            records_max: 1_000_000,
        }
    }
}

const _: () = assert!(heimdall_model::id::FRAME_ROWS_MAX > 1_000_000, "a default batch fits one frame");

/// Why a body was refused whole: nothing of it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// There is nothing in it but white space.
    #[error("body is empty")]
    Empty,
    /// It is not JSON.
    #[error("body is not JSON at line {line} (byte {byte}): {detail}")]
    Syntax {
        /// Where, from 0.
        byte: usize,
        /// In which line, from 1.
        line: usize,
        /// What is wrong there.
        detail: &'static str,
    },
    /// It is not UTF-8.
    #[error("body is not UTF-8 at byte {byte}")]
    Utf8 {
        /// Where, from 0.
        byte: usize,
    },
    /// It has too many records.
    #[error("body has more than {records_max} records")]
    TooManyRecords {
        /// The limit.
        records_max: u64,
    },
    /// What is said once for many records makes them larger, all together, than any body should be.
    #[error("records of the body have more than {bytes_max} bytes")]
    RecordsTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// It is not of the protocol's form.
    #[error("body is not {format}: {detail}")]
    Malformed {
        /// The form, as its users call it.
        format: &'static str,
        /// What is wrong, and where.
        detail: String,
    },
    /// Lines of text hold log records only.
    #[error("{dataset} are read from JSON only")]
    TextFormat {
        /// The dataset asked for.
        dataset: Dataset,
    },
}

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// JSON object, array, or objects one after the other.
    Json,
    /// Lines of text.
    Text(Format),
    /// To be found out from the first lines.
    Auto,
}

impl BodyFormat {
    /// The format of a name in a request: `auto`, or as [`Format::from_name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<BodyFormat> {
        match Format::from_name(name) {
            Some(Format::Ndjson) => Some(BodyFormat::Json),
            Some(format) => Some(BodyFormat::Text(format)),
            None => (name == "auto").then_some(BodyFormat::Auto),
        }
    }

    /// The format that `body` has, when the name leaves it open.
    #[must_use]
    pub fn settled(self, body: &[u8]) -> BodyFormat {
        match self {
            BodyFormat::Text(Format::Ndjson) => BodyFormat::Json,
            BodyFormat::Auto => detected(body),
            other => other,
        }
    }
}

fn detected(body: &[u8]) -> BodyFormat {
    let start = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let opens_json = match start.split_first() {
        None => true,
        Some((b'{', inside)) => matches!(inside.trim_ascii_start().first(), Some(b'"' | b'}')),
        Some((b'[', inside)) => matches!(inside.trim_ascii_start().first(), Some(b'{' | b'"' | b']')),
        Some(_) => false, // many logs begin with `[` and a time
    };
    if opens_json {
        return BodyFormat::Json;
    }
    match format_of_lines(start) {
        Format::Ndjson => BodyFormat::Json,
        format => BodyFormat::Text(format),
    }
}

fn format_of_lines(body: &[u8]) -> Format {
    let lines: Vec<_> = body.split(|b| *b == b'\n').take(SAMPLE_LINES).map(String::from_utf8_lossy).collect();
    let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    format::detect(&lines)
}

/// Decodes a body into records of `dataset` that arrived at `now`.
///
/// # Errors
/// [`BodyError`] when nothing of the body can be accepted; a bad record among good ones is in [`Decoded::rejected`].
pub fn decode(
    dataset: Dataset,
    body_format: BodyFormat,
    body: &[u8],
    now: Timestamp,
    limits: &DecodeLimits,
) -> Result<Decoded, BodyError> {
    read(dataset, body_format, body, Reading::new(now, limits))
}

/// The same, as a door is told to read.
///
/// # Errors
/// As [`decode`].
pub fn read(
    dataset: Dataset,
    body_format: BodyFormat,
    body: &[u8],
    reading: Reading<'_>,
) -> Result<Decoded, BodyError> {
    match body_format.settled(body) {
        BodyFormat::Text(_) if dataset != Dataset::Logs => Err(BodyError::TextFormat { dataset }),
        BodyFormat::Text(format) => text::read(format, body, reading),
        BodyFormat::Json | BodyFormat::Auto => json::read(dataset, body, reading),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: BodyFormat) {
        assert_eq!(BodyFormat::Auto.settled(body.as_bytes()), expected, "{body}");
    }

    #[test]
    fn the_format_is_told_from_the_first_lines() {
        check("\u{feff}{\n \"a\": 1\n}", BodyFormat::Json);
        check("{\"a\":oops\n{\"b\":1}", BodyFormat::Json);
        check("[ ]", BodyFormat::Json);
        check("[{}", BodyFormat::Json);
        check("[Sun Dec 04 04:47:44 2005] [notice] ready\n", BodyFormat::Text(Format::Plain));
        check("level=info msg=a\nlevel=warn msg=b\n", BodyFormat::Text(Format::Logfmt));
    }

    #[test]
    fn text_holds_log_records_only() {
        let found = decode(
            Dataset::Metrics,
            BodyFormat::from_name("syslog").expect("a format"),
            b"x",
            Timestamp(0),
            &DecodeLimits::default(),
        );
        assert_eq!(
            found.map(|decoded| decoded.batch.rows()),
            Err(BodyError::TextFormat { dataset: Dataset::Metrics })
        );
    }
}
