//! Which format a file is in, judged by a sample of its lines.
//!
//! Each line votes for the most specific format it is wholly of. A format wins with more than half of the votes, so a few
//! odd lines change nothing and a mixed file is plain text, which loses nothing. Blank lines and continuation
//! lines (stack traces) do not vote.

use std::fmt;

use heimdall_model::Timestamp;

use super::{Format, access, is_continuation, logfmt, syslog};

/// Lines looked at; more add nothing to the verdict.
pub const SAMPLE_LINES_MAX: usize = 1_000;

/// A verdict and its grounds; shown as `syslog: 96 of 100 lines match`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Detection {
    /// The format that won.
    pub format: Format,
    /// Lines wholly of that format.
    pub matched_lines: usize,
    /// Lines that voted.
    pub considered_lines: usize,
}

impl fmt::Display for Detection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} lines match", self.format, self.matched_lines, self.considered_lines)
    }
}

/// Returns the format of a file from a sample of its lines; [`Format::Plain`] when empty or mixed.
#[must_use]
pub fn detect(sample_lines: &[&str]) -> Format {
    explain(sample_lines).format
}

/// As [`detect`], with the count of lines that led to the verdict.
#[must_use]
pub fn explain(sample_lines: &[&str]) -> Detection {
    let mut votes = Format::ALL.map(|format| (format, 0));
    let mut considered_lines = 0;
    let voters = sample_lines.iter().take(SAMPLE_LINES_MAX).filter(|line| !line.trim().is_empty());
    for line in voters.filter(|line| !is_continuation(line)) {
        let voted = format_of(line.trim_end());
        considered_lines += 1;
        votes.iter_mut().filter(|(format, _)| *format == voted).for_each(|(_, count)| *count += 1);
    }
    votes
        .into_iter()
        .find(|(_, count)| count * 2 > considered_lines)
        .map(|(format, matched_lines)| Detection { format, matched_lines, considered_lines })
        .unwrap_or(Detection { format: Format::Plain, matched_lines: considered_lines, considered_lines })
}

/// The most specific format the line is wholly of.
fn format_of(line: &str) -> Format {
    // The year of a time without one does not matter here, so any `now` does that is not before every leap day.
    const ANY_NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);
    if line.starts_with('{') && line.ends_with('}') {
        Format::Ndjson
    } else if access::recognises(line) {
        Format::Access
    } else if syslog::recognises(line, ANY_NOW) {
        Format::Syslog
    } else if logfmt::recognises(line) {
        Format::Logfmt
    } else {
        Format::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], explained: &str) {
        assert_eq!(explain(lines).to_string(), explained);
    }

    #[test]
    fn each_format_is_recognised_among_odd_lines() {
        check(&["{\"a\":1}", "{\"b\":[]}", "broken {", ""], "ndjson: 2 of 3 lines match");
        check(
            &[
                "192.0.2.1 - - [09/Feb/2026:13:55:36 +0000] \"GET / HTTP/1.1\" 200 1",
                "192.0.2.1 - - [09/Feb/2026:13:55:37 +0000] \"GET /a HTTP/1.1\" 404 1",
                "rotated",
            ],
            "access: 2 of 3 lines match",
        );
        check(
            &["<13>1 - h a - - - x", "Feb  9 15:16:01 box kernel: up", "\tat trace", "-- MARK --"],
            "syslog: 2 of 3 lines match",
        );
        check(&["level=info msg=\"a b\"", "ts=1 level=warn retry"], "logfmt: 2 of 2 lines match");
    }

    #[test]
    fn generic_application_logs_are_plain() {
        check(
            &[
                "2026-02-09 20:25:01,747 - INFO  [main] - x=1 y=2",
                "2026-02-09T20:25:01Z INFO worker: started",
                "02-09 20:25:01.747  1702  2395 D Painter: drawn",
                "[Mon Feb 09 20:25:01 2026] [error] child=1 died",
            ],
            "plain: 4 of 4 lines match",
        );
        check(&[], "plain: 0 of 0 lines match");
        check(&["{}", "Feb  9 15:16:01 box kernel: up"], "plain: 2 of 2 lines match");
    }
}
