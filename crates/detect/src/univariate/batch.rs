//! Scores JSON lines of many series, each answered before the next is read.

use std::collections::HashMap;
use std::io::{BufRead, Write};

use foldhash::quality::RandomState;
use heimdall_model::{Severity, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Scorer, Settings};

/// Most series of one run; 100,000 of them take 160 MB.
const SERIES_MAX: usize = 100_000;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A line is not what was asked for.
    #[error("line {line}: {detail}")]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// More series than fit into memory.
    #[error("line {line}: more than {SERIES_MAX} series")]
    TooManySeries {
        /// Number of the line, from 1.
        line: u64,
    },
    /// Reading or writing failed.
    #[error("could not read or write")]
    Io(#[from] std::io::Error),
}

/// A line of input. What else it holds is passed over.
#[derive(Deserialize)]
struct Point {
    #[serde(default)]
    series: Value,
    timestamp: Value,
    value: Option<f64>,
}

/// A line of output: series and timestamp as they came.
#[derive(Serialize)]
struct Answer<'a> {
    series: &'a Value,
    timestamp: &'a Value,
    anomaly_score: f64,
    is_anomaly: bool,
    severity: Severity,
}

/// Reads `{"series","timestamp","value"}` lines and writes one
/// `{"series","timestamp","anomaly_score","is_anomaly","severity"}` line for each, flushed before the next is read.
///
/// Timestamps are texts that [`Timestamp::parse`] reads (`2014-02-14 14:30:00`, RFC 3339) or epoch numbers. A value
/// that is `null` scores 0 and is not learnt. Empty lines are passed over. Returns the number of points.
///
/// # Errors
/// The first line that is not such a point, or that cannot be read or written; points before it are answered.
pub fn batch_anomaly(
    settings: &Settings,
    mut reader: impl BufRead,
    mut writer: impl Write,
) -> Result<u64, BatchError> {
    let mut series: HashMap<String, Scorer, RandomState> = HashMap::default();
    let (mut text, mut line, mut points) = (String::new(), 0, 0);
    loop {
        text.clear();
        line += 1;
        if reader.read_line(&mut text)? == 0 {
            return Ok(points);
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let broken = |detail: String| BatchError::Line { line, detail };
        let point: Point = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        let time = time_of(&point.timestamp)
            .ok_or_else(|| broken(format!("`{}` is not a time", point.timestamp)))?;
        let name = point.series.as_str().map_or_else(|| point.series.to_string(), str::to_owned);
        if series.len() >= SERIES_MAX && !series.contains_key(&name) {
            return Err(BatchError::TooManySeries { line });
        }
        let scorer = series.entry(name).or_insert_with(|| Scorer::new(settings));
        let scored = scorer.observe(settings, time.0, point.value.unwrap_or(f64::NAN));
        let answer = Answer {
            series: &point.series,
            timestamp: &point.timestamp,
            anomaly_score: scored.score,
            is_anomaly: scored.is_anomaly,
            severity: scored.severity,
        };
        serde_json::to_writer(&mut writer, &answer).map_err(std::io::Error::from)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
        points += 1;
    }
}

fn time_of(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => Timestamp::parse(text),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Timestamp::from_epoch_int(whole),
            None => Timestamp::from_epoch_float(number.as_f64()?),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &str) -> (String, Result<u64, BatchError>) {
        let mut out = Vec::new();
        let done = batch_anomaly(&Settings::default(), input.as_bytes(), &mut out);
        (String::from_utf8(out).unwrap(), done)
    }

    #[test]
    fn points_are_answered_with_their_own_series_and_time() {
        let (out, done) = run(concat!(
            r#"{"series":"a","timestamp":"2014-02-14 14:30:00","value":1.5}"#,
            "\n\n",
            r#"{"series":7,"timestamp":1392388200,"value":null,"extra":true}"#,
            "\n",
            r#"{"series":"a","timestamp":"2014-02-14T14:35:00Z","value":2}"#,
        ));
        assert_eq!(done.unwrap(), 3);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"series":"a","timestamp":"2014-02-14 14:30:00","anomaly_score":0.0,"is_anomaly":false,"severity":"NORMAL"}"#
        );
        assert!(lines[1].starts_with(r#"{"series":7,"timestamp":1392388200,"#), "{}", lines[1]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_broken_line_is_named() {
        let good = r#"{"series":"a","timestamp":0,"value":1}"#;
        for (bad, says) in [
            ("{", "line 2: "),
            (r#"{"series":"a","timestamp":"noon","value":1}"#, "line 2: `\"noon\"` is not a time"),
            (r#"{"series":"a","value":1}"#, "line 2: missing field `timestamp`"),
        ] {
            let (out, done) = run(&format!("{good}\n{bad}\n{good}\n"));
            assert!(done.unwrap_err().to_string().starts_with(says), "{bad}");
            assert_eq!(out.lines().count(), 1);
        }
    }

    /// A reader that fails the test when a line is asked for before the one before it was answered.
    #[test]
    fn every_point_is_flushed_before_the_next_is_read() {
        use std::cell::Cell;
        struct Lines<'a> {
            read: usize,
            flushed: &'a Cell<usize>,
            line: Vec<u8>,
            at: usize,
        }
        impl std::io::Read for Lines<'_> {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                unreachable!("lines are read through `BufRead`")
            }
        }
        impl BufRead for Lines<'_> {
            fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
                if self.at == self.line.len() && self.read < 20 {
                    assert_eq!(self.flushed.get(), self.read);
                    self.line =
                        format!("{{\"series\":\"a\",\"timestamp\":{},\"value\":1}}\n", self.read).into();
                    (self.at, self.read) = (0, self.read + 1);
                }
                Ok(&self.line[self.at..])
            }
            fn consume(&mut self, amount: usize) {
                self.at += amount;
            }
        }
        struct Sink<'a>(&'a Cell<usize>);
        impl Write for Sink<'_> {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                self.0.set(self.0.get() + 1);
                Ok(())
            }
        }
        let flushed = Cell::new(0);
        let lines = Lines { read: 0, flushed: &flushed, line: Vec::new(), at: 0 };
        assert_eq!(batch_anomaly(&Settings::default(), lines, Sink(&flushed)).unwrap(), 20);
    }
}
