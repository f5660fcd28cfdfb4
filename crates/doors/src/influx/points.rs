//! Points to records.
//!
//! - a number or a truth is a sample: `MEASUREMENT_FIELD`, or `MEASUREMENT` alone when the field is called `value`; true is 1;
//! - the texts of one point are one log record: the field that is a message by the schema is the message, else the only text, else all
//!   of them as `field=text`; the measurement is the service, unless a tag names one;
//! - tags are labels, and fields of log records; the database or bucket is the label `db`.

use std::fmt::Write as _;

use heimdall_ingest::{BodyError, Decoded, Object, Reading, Records, RejectKind};
use heimdall_model::time::{NS_PER_HOUR, NS_PER_MINUTE, NS_PER_MS, NS_PER_SECOND, NS_PER_US};
use heimdall_model::{Dataset, Timestamp};

use super::line::{Lines, Point, Value};
use crate::names::{means_message, means_service};
use crate::sample;

/// Refused lines named in an answer.
const NAMED_MAX: usize = 10;
/// Characters of a refused line in an answer.
const SHOWN_CHARS_MAX: usize = 120;

/// Unit of the times of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// So many nanoseconds.
    Ns(i64),
    /// By the magnitude of each.
    Auto,
}

impl Precision {
    /// Reads the names of all versions of the API.
    pub(super) fn from_name(name: &str) -> Option<Precision> {
        Some(match name {
            "" | "n" | "ns" | "nanosecond" => Precision::Ns(1),
            "u" | "us" | "µ" | "µs" | "microsecond" => Precision::Ns(NS_PER_US),
            "ms" | "millisecond" => Precision::Ns(NS_PER_MS),
            "s" | "second" => Precision::Ns(NS_PER_SECOND),
            "m" => Precision::Ns(NS_PER_MINUTE),
            "h" => Precision::Ns(NS_PER_HOUR),
            "auto" => Precision::Auto,
            _ => return None,
        })
    }

    fn time(self, number: i64) -> Option<Timestamp> {
        let time = match self {
            Precision::Ns(unit) => number.checked_mul(unit).map(Timestamp),
            Precision::Auto => Timestamp::from_epoch_int(number),
        };
        time.filter(|time| time.0 < i64::MAX)
    }
}

/// A line that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dropped {
    /// From 1.
    pub(super) number: usize,
    /// Its beginning.
    pub(super) line: String,
    pub(super) reason: String,
}

/// What came of a body.
#[derive(Debug)]
pub(super) struct Points {
    /// Samples and log records, those that are not empty.
    pub(super) decoded: Vec<Decoded>,
    /// Lines accepted.
    pub(super) lines: u64,
    /// The first that were refused.
    pub(super) dropped: Vec<Dropped>,
    /// How many were.
    pub(super) dropped_total: u64,
}

/// Decodes lines.
pub(super) fn decode(
    body: &[u8],
    precision: Precision,
    db: &str,
    reading: Reading<'_>,
) -> Result<Points, BodyError> {
    let text = String::from_utf8_lossy(body);
    let mut writer = Writer {
        precision,
        db,
        samples: Records::new(Dataset::Metrics, reading),
        logs: Records::new(Dataset::Logs, reading),
        common: Object::new(),
        object: Object::new(),
    };
    if matches!(text, std::borrow::Cow::Owned(_)) {
        writer.samples.note("", "the body has bytes that are not UTF-8: replaced by U+FFFD");
    }
    let (mut lines, mut dropped, mut dropped_total) = (0, Vec::new(), 0);
    for (number, point) in Lines::of(&text) {
        let refused = match point {
            Ok(point) => writer.point(&point)?.err().map(|reason| (point.measurement.into_owned(), reason)),
            Err((line, reason)) => {
                writer.samples.has_room()?;
                writer.samples.reject_raw(RejectKind::Syntax, "", reason, line.as_bytes());
                Some((line.chars().take(SHOWN_CHARS_MAX).collect(), reason.to_owned()))
            }
        };
        match refused {
            None => lines += 1,
            Some((line, reason)) => {
                dropped_total += 1;
                if dropped.len() < NAMED_MAX {
                    dropped.push(Dropped { number, line, reason });
                }
            }
        }
    }
    let decoded = [writer.samples, writer.logs].into_iter().filter(|records| !records.is_empty());
    Ok(Points { decoded: decoded.map(Records::finish).collect(), lines, dropped, dropped_total })
}

struct Writer<'r> {
    precision: Precision,
    db: &'r str,
    samples: Records<'r>,
    logs: Records<'r>,
    /// What is the same in every sample of a point.
    common: Object,
    object: Object,
}

impl Writer<'_> {
    /// Writes one point; the inner error says why something of it is not kept.
    fn point(&mut self, point: &Point<'_>) -> Result<Result<(), String>, BodyError> {
        let time = match point.time.map(|time| self.precision.time(time)) {
            Some(None) => {
                self.samples.has_room()?;
                let raw = point.line.as_bytes();
                self.samples.reject_raw(RejectKind::Invalid, "timestamp", "time outside range", raw);
                return Ok(Err("time outside range".to_owned()));
            }
            Some(time) => time,
            None => None,
        };
        let mut kept = Ok(());
        if point.fields.iter().any(|(_, value)| !matches!(value, Value::Text(_))) {
            kept = self.write_samples(point, time)?;
        }
        if point.fields.iter().any(|(_, value)| matches!(value, Value::Text(_))) {
            self.logs.has_room()?;
            kept = kept.and(self.write_log(point, time));
        }
        Ok(kept)
    }

    fn write_samples(
        &mut self,
        point: &Point<'_>,
        time: Option<Timestamp>,
    ) -> Result<Result<(), String>, BodyError> {
        let common = &mut self.common;
        common.clear();
        if let Some(time) = time {
            common.time("timestamp", time);
        }
        common.text_if("db", self.db);
        point.tags.iter().for_each(|(key, value)| sample::label(common, key, value));
        let mut kept = Ok(());
        for (key, value) in &point.fields {
            if matches!(value, Value::Text(_)) {
                continue;
            }
            self.samples.has_room()?;
            let object = &mut self.object;
            object.clear();
            match key.as_ref() {
                "value" => object.text("name", &point.measurement),
                key => object.text("name", &format!("{}_{key}", point.measurement)),
            }
            write_value(object, value);
            object.extend(&self.common);
            let taken = self.samples.object(object).map_err(|rejected| rejected.reason.into_owned());
            kept = kept.and(taken);
        }
        Ok(kept)
    }

    fn write_log(&mut self, point: &Point<'_>, time: Option<Timestamp>) -> Result<(), String> {
        let object = &mut self.object;
        object.clear();
        if let Some(time) = time {
            object.time("timestamp", time);
        }
        let texts = || {
            point.fields.iter().filter_map(|(key, value)| match value {
                Value::Text(text) => Some((key.as_ref(), text.as_ref())),
                _ => None,
            })
        };
        let message = texts()
            .find(|(key, _)| means_message(key))
            .or_else(|| texts().next().filter(|_| texts().count() == 1));
        match message {
            Some((_, text)) => object.text("message", text),
            None => object.text("message", &joined(texts())),
        }
        if !point.tags.iter().any(|(key, _)| means_service(key)) {
            object.text("service", &point.measurement);
        }
        object.text("measurement", &point.measurement);
        object.text_if("db", self.db);
        let others = texts().filter(|(key, _)| !means_message(key));
        for (key, text) in point.tags.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).chain(others)
        {
            let is_taken = ["timestamp", "message", "measurement", "db"]
                .iter()
                .any(|taken| taken.eq_ignore_ascii_case(key));
            if is_taken { object.text(&format!("label.{key}"), text) } else { object.text(key, text) }
        }
        self.logs.object(object).map_err(|rejected| rejected.reason.into_owned())
    }
}

fn write_value(object: &mut Object, value: &Value<'_>) {
    match value {
        Value::Float(number) => object.float("value", *number),
        Value::Int(number) => object.int("value", *number),
        Value::Uint(number) => object.uint("value", *number),
        Value::Bool(is_true) => object.uint("value", u64::from(*is_true)),
        Value::Text(_) => {}
    }
}

fn joined<'t>(texts: impl Iterator<Item = (&'t str, &'t str)>) -> String {
    texts.enumerate().fold(String::new(), |mut out, (n, (key, text))| {
        let _infallible = write!(out, "{}{key}={text}", if n > 0 { " " } else { "" });
        out
    })
}
