//! Plain text lines: a time and a level are recognised near the start; the message is always the whole line.
//!
//! Covers `TIME LEVEL [component] message` in its many orders (log4j, Hadoop, ZooKeeper, Python, nginx and Apache
//! error logs), glog and Android logcat headers.
//!
//! Invariant: reads at most the first `HEAD_BYTES` for the time and `HEAD_BYTES` after it for the level.

use heimdall_model::time::{NS_PER_DAY, TimeForm, TimePrefix};
use heimdall_model::{Level, Timestamp};

use super::ParsedLine;

/// How far into a line a time may start, and how far after it a level may stand.
const HEAD_BYTES: usize = 80;
/// 2001-09-09, when epoch seconds reached ten digits: an older number in the text is not taken as a time.
const EPOCH_EARLIEST: Timestamp = Timestamp(1_000_000_000_000_000_000);

pub(super) fn parse(line: &str, now: Timestamp) -> ParsedLine<'_> {
    let mut parsed = ParsedLine::whole(line);
    if let Some((level, timestamp)) = glog_header(line, now) {
        parsed.level = Some(level);
        parsed.timestamp = Some(timestamp);
        return parsed;
    }
    let time = find_time(line, now);
    let after_time = time.map_or(0, |found| found.end);
    parsed.timestamp = time.map(|found| found.timestamp);
    parsed.level =
        logcat_level(&line[after_time..]).or_else(|| find_level(head(line, after_time + HEAD_BYTES)));
    parsed
}

#[derive(Copy, Clone)]
struct FoundTime {
    timestamp: Timestamp,
    end: usize,
}

/// The best time near the start: one that begins the line, else one with date and year, else an epoch number, ...
fn find_time(line: &str, now: Timestamp) -> Option<FoundTime> {
    let mut best: Option<(u8, FoundTime)> = None;
    let mut is_line_start = true;
    for start in token_starts(line) {
        let found = Timestamp::parse_prefix(&line[start..], now).filter(|found| is_plausible(found, now));
        if let Some(found) = found {
            let rank = rank(found.form, is_line_start);
            let here = FoundTime { timestamp: found.timestamp, end: start + found.len };
            if rank == 0 {
                return Some(here);
            }
            if best.as_ref().is_none_or(|(best_rank, _)| rank < *best_rank) {
                best = Some((rank, here));
            }
        }
        is_line_start = false;
    }
    best.map(|(_, found)| found)
}

fn rank(form: TimeForm, is_line_start: bool) -> u8 {
    match form {
        TimeForm::DateOnly => 3,
        _ if is_line_start => 0,
        TimeForm::DateTime => 0,
        TimeForm::Epoch => 1,
        TimeForm::NoYear => 2,
    }
}

fn is_plausible(found: &TimePrefix, now: Timestamp) -> bool {
    found.form != TimeForm::Epoch
        || (EPOCH_EARLIEST..=now.saturating_add_ns(NS_PER_DAY)).contains(&found.timestamp)
}

/// Where a word or number starts after white space or an opening mark, within the head of the line.
fn token_starts(line: &str) -> impl Iterator<Item = usize> {
    let bytes = line.as_bytes();
    (0..bytes.len().min(HEAD_BYTES)).filter(|&at| {
        let opens =
            at == 0 || matches!(bytes[at - 1], b' ' | b'\t' | b'[' | b'(' | b'<' | b'"' | b'|' | b'=' | b',');
        opens && bytes[at].is_ascii_alphanumeric()
    })
}

/// `I0203 12:34:56.789012   12345 file.go:123] message`.
fn glog_header(line: &str, now: Timestamp) -> Option<(Level, Timestamp)> {
    let level = match line.as_bytes().first()? {
        b'I' => Level::Info,
        b'W' => Level::Warn,
        b'E' => Level::Error,
        b'F' => Level::Fatal,
        _ => return None,
    };
    let time = Timestamp::parse_prefix(&line[1..], now)?;
    (time.form == TimeForm::NoYear).then_some((level, time.timestamp))
}

/// Level of an Android logcat line, given what follows its time: `  1702  2395 D WindowManager: ...`.
fn logcat_level(after_time: &str) -> Option<Level> {
    let mut words = after_time.split_ascii_whitespace();
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    if !(is_number(words.next()?) && is_number(words.next()?)) {
        return None;
    }
    match words.next()? {
        "V" => Some(Level::Trace),
        "D" => Some(Level::Debug),
        "I" => Some(Level::Info),
        "W" => Some(Level::Warn),
        "E" => Some(Level::Error),
        "F" | "A" => Some(Level::Fatal),
        _ => None,
    }
}

/// The first word of `text` that is written as a level is: in capitals, in brackets, or before a colon.
///
/// A bare lower-case `error` within a sentence is not a level.
pub(super) fn find_level(text: &str) -> Option<Level> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let start = at;
        at += bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if (LEVEL_WORD_BYTES_MIN..=LEVEL_WORD_BYTES_MAX).contains(&(at - start))
            && stands_as_level(bytes, start, at)
            && let Some(level) = Level::parse(&text[start..at])
        {
            return Some(level);
        }
    }
    None
}

const LEVEL_WORD_BYTES_MIN: usize = 3;
const LEVEL_WORD_BYTES_MAX: usize = 13;

fn stands_as_level(bytes: &[u8], start: usize, end: usize) -> bool {
    let before = start.checked_sub(1).map_or(b' ', |at| bytes[at]);
    let after = bytes.get(end).copied().unwrap_or(b' ');
    let is_part_of_name =
        matches!(before, b'_' | b'-' | b'.' | b'/' | b'$') || matches!(after, b'_' | b'-' | b'.');
    if is_part_of_name || before >= 0x80 || after >= 0x80 {
        return false;
    }
    if bytes[start..end].iter().all(u8::is_ascii_uppercase) {
        return true;
    }
    let is_column = after == b'\t' || bytes.get(end..end + 2) == Some(b"  ");
    match after {
        b']' | b'>' | b')' | b'|' => matches!(before, b'[' | b'<' | b'(' | b'|' | b':'),
        b':' => matches!(before, b' ' | b'\t'),
        _ => before == b'=' || (is_column && before == b' ' && bytes[start].is_ascii_uppercase()),
    }
}

/// At most the first `len` bytes of `text`, cut at a character boundary.
pub(super) fn head(text: &str, len: usize) -> &str {
    &text[..text.floor_char_boundary(len)]
}

/// The level stated near the start of a message.
pub(super) fn level_of_message(message: &str) -> Option<Level> {
    find_level(head(message, HEAD_BYTES))
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::show;

    #[track_caller]
    fn check(line: &str, time: &str, level: &str) {
        assert_eq!(show(Format::Plain, line), format!("{time} {level} | | (whole)"), "{line}");
    }

    #[test]
    fn generic_shapes() {
        let time = "2026-02-09T20:25:01.747000000Z";
        check("2026-02-09 20:25:01,747 - WARN  [Worker:12@774] - gone", time, "warn");
        check("2026-02-09T20:25:01.747Z error: no route", time, "error");
        check("[2026-02-09 20:25:01,747: INFO/MainProcess] ready", time, "info");
        check("2026-02-09 20:25:01.747, Info                  CBS    Loaded", time, "info");
        check("pool-1 [main] DEBUG 2026-02-09 20:25:01.747 tick", time, "debug");
        check("level=fatal at 1770668701747 stop", time, "fatal");
        check("260209 202501 148 INFO store.Node: stored", "2026-02-09T20:25:01.000000000Z", "info");
        check("2026/02/09 20:25:01 [crit] 7#0: *1 open() failed", "2026-02-09T20:25:01.000000000Z", "fatal");
        check("[Mon Feb 09 20:25:01 2026] [notice] ready", "2026-02-09T20:25:01.000000000Z", "info");
        check("[Mon Feb 09 20:25:01.747000 2026] [core:error] [pid 9] no", time, "error");
    }

    #[test]
    fn shapes_without_a_year() {
        check("02-09 20:25:01.747  1702  2395 V Painter: drawn", "2026-02-09T20:25:01.747000000Z", "trace");
        check("[02.09 20:25:01] browser.exe - closed", "2026-02-09T20:25:01.000000000Z", "-");
        check("E0209 20:25:01.747000   31 sync.go:12] lost", "2026-02-09T20:25:01.747000000Z", "error");
    }

    #[test]
    fn a_stated_year_or_epoch_wins_over_a_time_without_year() {
        check(
            "- 1131566461 2005.11.09 n1 Nov 9 12:01:01 n1/n1 cron: x",
            "2005-11-09T20:01:01.000000000Z",
            "-",
        );
        check("7 node-2 hw changed 1131566461 1 up", "2005-11-09T20:01:01.000000000Z", "-");
        check("order 9876543210 shipped", "-", "-");
    }

    #[test]
    fn words_within_a_sentence_are_not_levels() {
        check("all is fine and no error was seen, warning signs aside", "-", "-");
        check("wrote error.log, MAX_ERROR-COUNT is 3, /var/INFO", "-", "-");
        check("Schlüssel ÄERROR: nein", "-", "-");
    }
}
