//! Time: the `Timestamp` every record carries, the forms it is written in, durations, and the clock.
//!
//! Invariants:
//! - a `Timestamp` is nanoseconds since the Unix epoch in UTC, 1677-09-21 to 2262-04-11; text outside that
//!   range does not parse, it never wraps;
//! - `Timestamp::parse(&t.to_string()) == Some(t)` for every `t`;
//! - parsing never panics, never allocates, and reads each byte a bounded number of times;
//! - `SystemClock` is the only reader of the machine's clock: everything else takes a `Clock` or a `Timestamp`.
//!
//! Not here: time zones by place name (an offset or one of the few fixed zone names is all a log line has).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Nanoseconds in a microsecond.
pub const NS_PER_US: i64 = 1_000;
/// Nanoseconds in a millisecond.
pub const NS_PER_MS: i64 = 1_000_000;
/// Nanoseconds in a second.
pub const NS_PER_SECOND: i64 = 1_000_000_000;
/// Nanoseconds in a minute.
pub const NS_PER_MINUTE: i64 = 60 * NS_PER_SECOND;
/// Nanoseconds in an hour.
pub const NS_PER_HOUR: i64 = 60 * NS_PER_MINUTE;
/// Nanoseconds in a day of 24 hours.
pub const NS_PER_DAY: i64 = 24 * NS_PER_HOUR;
/// Nanoseconds in a week of seven days.
pub const NS_PER_WEEK: i64 = 7 * NS_PER_DAY;

/// Length of the text written by [`Timestamp::write_rfc3339`].
pub const RFC3339_BYTES: usize = 30;

/// How far ahead of `now` a time without a year may lie before it is taken as last year's.
const YEARLESS_AHEAD_NS_MAX: i64 = NS_PER_DAY;
/// 29 February recurs within eight years (1896 to 1904), so the search for a year never needs more.
const YEARLESS_YEARS_BACK_MAX: i64 = 8;
/// Magnitudes below which an epoch number is read as seconds, milliseconds, microseconds (else nanoseconds).
const EPOCH_SECONDS_BELOW: u64 = 100_000_000_000;
const EPOCH_MS_BELOW: u64 = EPOCH_SECONDS_BELOW * 1_000;
const EPOCH_US_BELOW: u64 = EPOCH_MS_BELOW * 1_000;

/// A point in time: nanoseconds since the Unix epoch, UTC.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// A timestamp found at the start of a longer text by [`Timestamp::parse_prefix`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TimePrefix {
    /// The time read.
    pub timestamp: Timestamp,
    /// Bytes of the text it took, zone included.
    pub len: usize,
    /// How much the text said.
    pub form: TimeForm,
}

/// How much of a time a text states; what is missing was inferred.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// Date with year, and time of day.
    DateTime,
    /// A number since the Unix epoch.
    Epoch,
    /// Date without a year, and time of day; the year was chosen by `now`.
    NoYear,
    /// Date with year and no time of day; midnight was taken.
    DateOnly,
}

impl Timestamp {
    /// Parses a time that states its year, or an epoch number; surrounding white space is ignored.
    ///
    /// Reads RFC 3339 and ISO 8601 (`T` or space, `.` or `,` before the fraction, `Z`, `+02:00`, `+0200`, no zone =
    /// UTC, date alone, `20081109T203615Z`), epoch digits with an optional fraction (unit by magnitude), and the log
    /// forms `10/Oct/2000:13:55:36 -0700`, `Mon, 02 Jan 2006 15:04:05 GMT`, `Mon Jan  2 15:04:05 2006`,
    /// `2006/01/02 15:04:05`, `081109 203615`. Second 60 (a leap second) becomes the last nanosecond of second 59;
    /// fraction digits past the ninth are cut. `None` when it is none of these or out of range.
    pub fn parse(text: &str) -> Option<Self> {
        parse_whole(text.trim_ascii().as_bytes(), None)
    }

    /// As [`Timestamp::parse`], and also reads times without a year (`Jun  9 06:06:20`, `03-17 16:13:38.811`).
    ///
    /// The year is the latest that puts the time no more than one day after `now`.
    pub fn parse_with(text: &str, now: Self) -> Option<Self> {
        parse_whole(text.trim_ascii().as_bytes(), Some(now))
    }

    /// Parses a time at the very start of `text` that ends at a word boundary; the rest of `text` may be anything.
    ///
    /// Epoch numbers count only when they have 10, 13, 16 or 19 integer digits, since any text may start with a number.
    pub fn parse_prefix(text: &str, now: Self) -> Option<TimePrefix> {
        scan(text.as_bytes(), Some(now))
    }

    /// Parses a time as written in requests.
    ///
    /// Reads `now`, `now-15m`, `now+1h`, `-15m` and `15m` (both `now-15m`), each with an optional rounding down
    /// `/d` (units `s m h d w`, UTC, weeks start on Monday), else whatever [`Timestamp::parse_with`] reads.
    pub fn parse_when(text: &str, now: Self) -> Option<Self> {
        let text = text.trim_ascii();
        parse_relative(text, now).or_else(|| Self::parse_with(text, now))
    }

    /// Reads an epoch number as seconds, milliseconds, microseconds or nanoseconds, by its magnitude.
    ///
    /// Below 1e11 it is seconds, below 1e14 milliseconds, below 1e17 microseconds. `None` when out of range.
    pub fn from_epoch_int(number: i64) -> Option<Self> {
        number.checked_mul(epoch_unit_ns(number.unsigned_abs())).map(Self)
    }

    /// As [`Timestamp::from_epoch_int`] for a float; rounded to the microsecond, which is all a float of today holds.
    pub fn from_epoch_float(number: f64) -> Option<Self> {
        if !(number.is_finite() && number.abs() < 9.2e18) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "finite and checked to lie within i64")]
        let whole = number.trunc() as i64;
        let unit = epoch_unit_ns(whole.unsigned_abs());
        if unit == 1 {
            return Some(Self(whole));
        }
        #[expect(clippy::cast_precision_loss, reason = "a unit is at most 1e9")]
        let fraction_us = (number.fract() * unit as f64 / NS_PER_US as f64).round();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a fraction of a second is below 1e6 microseconds"
        )]
        let fraction_ns = fraction_us as i64 * NS_PER_US;
        whole.checked_mul(unit)?.checked_add(fraction_ns).map(Self)
    }

    /// Moves by `ns` (which may be negative), stopping at the ends of the range.
    #[must_use]
    pub fn saturating_add_ns(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Appends the RFC 3339 form with nine fraction digits and `Z`: always [`RFC3339_BYTES`] bytes of ASCII.
    pub fn write_rfc3339(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.rfc3339());
    }

    fn rfc3339(self) -> [u8; RFC3339_BYTES] {
        let seconds = self.0.div_euclid(NS_PER_SECOND);
        let second_of_day = seconds.rem_euclid(86_400);
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        put_digits(&mut text[0..4], year);
        put_digits(&mut text[5..7], month);
        put_digits(&mut text[8..10], day);
        put_digits(&mut text[11..13], second_of_day / 3_600);
        put_digits(&mut text[14..16], second_of_day / 60 % 60);
        put_digits(&mut text[17..19], second_of_day % 60);
        put_digits(&mut text[20..29], self.0.rem_euclid(NS_PER_SECOND));
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.rfc3339()).expect("only ASCII digits and punctuation are written"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(
            std::str::from_utf8(&self.rfc3339()).expect("only ASCII digits and punctuation are written"),
        )
    }
}

/// Reads whatever [`Timestamp::parse`] reads as a string, and epoch numbers as [`Timestamp::from_epoch_int`] does.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimestampVisitor)
    }
}

struct TimestampVisitor;

impl de::Visitor<'_> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 time or a number since the Unix epoch, within the years 1677 to 2262")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        Timestamp::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Timestamp, E> {
        Timestamp::from_epoch_int(number)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Timestamp, E> {
        i64::try_from(number)
            .ok()
            .and_then(Timestamp::from_epoch_int)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Timestamp, E> {
        Timestamp::from_epoch_float(number)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
    }
}

// ---- civil calendar -------------------------------------------------------------------------------------------

/// Days since 1970-01-01 of a proleptic Gregorian date. Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a count of days since 1970-01-01. Source: as [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn is_valid_date(year: i64, month: i64, day: i64) -> bool {
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days_in_month).contains(&day)
}

/// Writes `value` in decimal over the whole of `slots`, with leading zeros.
fn put_digits(slots: &mut [u8], mut value: i64) {
    for slot in slots.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

// ---- reading --------------------------------------------------------------------------------------------------

/// What a text said about a time, before the year is settled and the range is checked.
struct Parts {
    year: Option<i64>,
    month: i64,
    day: i64,
    time: Option<TimeOfDay>,
    offset_seconds: i64,
}

#[derive(Copy, Clone)]
struct TimeOfDay {
    seconds: i64,
    ns: i64,
}

impl Parts {
    fn date(year: Option<i64>, month: i64, day: i64) -> Self {
        Self { year, month, day, time: None, offset_seconds: 0 }
    }

    fn form(&self) -> TimeForm {
        match (self.year, self.time) {
            (None, _) => TimeForm::NoYear,
            (Some(_), None) => TimeForm::DateOnly,
            (Some(_), Some(_)) => TimeForm::DateTime,
        }
    }

    fn resolve(&self, now: Option<Timestamp>) -> Option<Timestamp> {
        match self.year {
            Some(year) => self.in_year(year),
            None => self.in_latest_year(now?),
        }
    }

    fn in_year(&self, year: i64) -> Option<Timestamp> {
        if !is_valid_date(year, self.month, self.day) {
            return None;
        }
        let time = self.time.unwrap_or(TimeOfDay { seconds: 0, ns: 0 });
        let seconds =
            days_from_civil(year, self.month, self.day) * 86_400 + time.seconds - self.offset_seconds;
        let ns = i128::from(seconds) * i128::from(NS_PER_SECOND) + i128::from(time.ns);
        i64::try_from(ns).ok().map(Timestamp) // i128: the first second of the range is below i64 before its fraction
    }

    fn in_latest_year(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = now.saturating_add_ns(YEARLESS_AHEAD_NS_MAX);
        let (year, _, _) = civil_from_days(latest.0.div_euclid(NS_PER_DAY));
        (0..=YEARLESS_YEARS_BACK_MAX)
            .filter_map(|back| self.in_year(year - back))
            .find(|candidate| *candidate <= latest)
    }
}

fn parse_whole(bytes: &[u8], now: Option<Timestamp>) -> Option<Timestamp> {
    if let Some(time) = parse_rfc3339_utc(bytes).or_else(|| parse_epoch(bytes)) {
        return Some(time);
    }
    let prefix = scan(bytes, now)?;
    (prefix.len == bytes.len() && prefix.form != TimeForm::Epoch).then_some(prefix.timestamp)
}

/// The form most records carry, `2026-02-09T20:25:01[.fraction]Z`, without a branch per byte.
///
/// `None` also for what the general reader must judge: other forms, second 60, years at the ends of the range.
fn parse_rfc3339_utc(bytes: &[u8]) -> Option<Timestamp> {
    let (head, rest) = bytes.split_first_chunk::<19>()?;
    let fraction = match rest {
        [b'Z'] => rest.get(..0)?,
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    if [head[4], head[7], head[10], head[13], head[16]] != *b"--T::" {
        return None;
    }
    let mut worst_digit = 0;
    let mut digit = |byte: u8| {
        let value = byte.wrapping_sub(b'0');
        worst_digit = value.max(worst_digit);
        i64::from(value)
    };
    let mut pair = |index: usize| digit(head[index]) * 10 + digit(head[index + 1]);
    let year = pair(0) * 100 + pair(2);
    let (month, day, hour, minute, second) = (pair(5), pair(8), pair(11), pair(14), pair(17));
    let ns = fraction.iter().fold(0, |value, byte| value * 10 + digit(*byte));
    let is_plain_time = hour <= 23 && minute <= 59 && second <= 59 && (1678..=2261).contains(&year);
    if worst_digit > 9 || !is_plain_time || !is_valid_date(year, month, day) {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Timestamp(seconds * NS_PER_SECOND + ns * POWERS_OF_TEN[9 - fraction.len()]))
}

const POWERS_OF_TEN: [i64; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Reads any form at the start of `bytes`; the form is told by the first few bytes, and only that one is tried.
fn scan(bytes: &[u8], now: Option<Timestamp>) -> Option<TimePrefix> {
    let mut cursor = Cursor { rest: bytes };
    let parts = match bytes.first()? {
        b'0'..=b'9' => match (leading_digits(bytes), bytes.get(leading_digits(bytes))) {
            (4, Some(b'-' | b'/' | b'.')) => year_first(&mut cursor)?,
            (1 | 2, Some(b'/' | b'-' | b' ')) if bytes.iter().take(4).any(u8::is_ascii_alphabetic) => {
                day_month_name_year(&mut cursor)?
            }
            (2, Some(b'-' | b'/' | b'.')) => month_day_yearless(&mut cursor, true)?,
            (4, Some(b' ')) => month_day_yearless(&mut cursor, false)?,
            (8, Some(b'T' | b' ')) => compact(&mut cursor, 4)?,
            (6, Some(b' ')) => compact(&mut cursor, 2)?,
            (10 | 13 | 16 | 19, _) => return epoch_prefix(bytes),
            _ => return None,
        },
        byte if byte.is_ascii_alphabetic() => name_first(&mut cursor)?,
        _ => return None,
    };
    if cursor.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let timestamp = parts.resolve(now)?;
    Some(TimePrefix { timestamp, len: bytes.len() - cursor.rest.len(), form: parts.form() })
}

/// `2026-02-09[T20:25:01[.123][Z]]`, also with `/` or `.` between the date's parts.
fn year_first(cursor: &mut Cursor<'_>) -> Option<Parts> {
    let year = cursor.fixed_digits::<4>()?;
    let separator = cursor.next()?;
    let month = cursor.fixed_digits::<2>()?;
    cursor.expect(separator)?;
    let day = cursor.fixed_digits::<2>()?;
    let mut parts = Parts::date(Some(year), month, day);
    cursor.optional(|c| {
        matches!(c.next()?, b'T' | b't' | b' ').then_some(())?;
        parts.time = Some(time_of_day(c)?);
        parts.offset_seconds = zone(c);
        Some(())
    });
    Some(parts)
}

/// `10/Oct/2000:13:55:36 -0700`, `02 Jan 2006 15:04:05 GMT`, `02-Jan-06 15:04:05 GMT`.
fn day_month_name_year(cursor: &mut Cursor<'_>) -> Option<Parts> {
    let day = cursor.one_or_two_digits()?;
    let separator = cursor.next()?;
    let month = month_name(cursor)?;
    cursor.expect(separator)?;
    let year = match leading_digits(cursor.rest) {
        4 => cursor.fixed_digits::<4>()?,
        2 => full_year(cursor.fixed_digits::<2>()?),
        _ => return None,
    };
    let mut parts = Parts::date(Some(year), month, day);
    cursor.optional(|c| {
        matches!(c.next()?, b':' | b' ').then_some(())?;
        parts.time = Some(time_of_day(c)?);
        parts.offset_seconds = zone(c);
        Some(())
    });
    Some(parts)
}

/// `03-17 16:13:38.811`, `10.30 16:49:06`, and without separator `0317 16:13:38.811`.
fn month_day_yearless(cursor: &mut Cursor<'_>, separated: bool) -> Option<Parts> {
    let month = cursor.fixed_digits::<2>()?;
    if separated {
        cursor.next()?;
    }
    let day = cursor.fixed_digits::<2>()?;
    cursor.expect(b' ')?;
    let time = Some(time_of_day(cursor)?);
    let offset_seconds = zone(cursor);
    Some(Parts { time, offset_seconds, ..Parts::date(None, month, day) })
}

/// `20081109 203615`, `20081109T203615Z`, `081109 203615`.
fn compact(cursor: &mut Cursor<'_>, year_digits: usize) -> Option<Parts> {
    let year = match year_digits {
        2 => full_year(cursor.fixed_digits::<2>()?),
        _ => cursor.fixed_digits::<4>()?,
    };
    let month = cursor.fixed_digits::<2>()?;
    let day = cursor.fixed_digits::<2>()?;
    cursor.next()?;
    let hour = cursor.fixed_digits::<2>()?;
    let minute = cursor.fixed_digits::<2>()?;
    let second = cursor.fixed_digits::<2>()?;
    let ns = fraction_ns(cursor);
    let time = Some(checked_time(hour, minute, second, ns)?);
    let offset_seconds = zone(cursor);
    Some(Parts { time, offset_seconds, ..Parts::date(Some(year), month, day) })
}

/// `Jun  9 06:06:20`, `Jun  9 2026 06:06:20`, `Mon Jan  2 15:04:05 2006`, `Mon, 02 Jan 2006 15:04:05 GMT`.
fn name_first(cursor: &mut Cursor<'_>) -> Option<Parts> {
    let has_weekday = cursor.optional(weekday_name).is_some();
    if has_weekday && cursor.peek()?.is_ascii_digit() {
        return day_month_name_year(cursor);
    }
    let month = month_name(cursor)?;
    cursor.expect(b' ')?;
    cursor.skip(b' ');
    let day = cursor.one_or_two_digits()?;
    cursor.skip(b',');
    cursor.expect(b' ')?;
    let year_before = cursor.optional(|c| {
        let year = c.fixed_digits::<4>()?;
        c.expect(b' ').map(|()| year)
    });
    let time = Some(time_of_day(cursor)?);
    let offset_seconds = zone(cursor);
    let year = year_before.or_else(|| cursor.optional(|c| year_after(c, has_weekday)));
    Some(Parts { time, offset_seconds, ..Parts::date(year, month, day) })
}

/// The year that ends `Mon Jan  2 15:04:05 2006`. Without a weekday it counts only at the end of the text: after a
/// syslog time comes a host name, which may be digits.
fn year_after(cursor: &mut Cursor<'_>, has_weekday: bool) -> Option<i64> {
    cursor.expect(b' ')?;
    let year = cursor.fixed_digits::<4>()?;
    let at_end = match cursor.peek() {
        None => true,
        Some(byte) => has_weekday && !byte.is_ascii_alphanumeric(),
    };
    at_end.then_some(year)
}

/// `HH:MM`, `HH:MM:SS`, `HH:MM:SS.fraction`.
fn time_of_day(cursor: &mut Cursor<'_>) -> Option<TimeOfDay> {
    let hour = cursor.fixed_digits::<2>()?;
    cursor.expect(b':')?;
    let minute = cursor.fixed_digits::<2>()?;
    if cursor.expect(b':').is_none() {
        return checked_time(hour, minute, 0, 0);
    }
    let second = cursor.fixed_digits::<2>()?;
    let ns = fraction_ns(cursor);
    checked_time(hour, minute, second, ns)
}

fn checked_time(hour: i64, minute: i64, second: i64, ns: i64) -> Option<TimeOfDay> {
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (second, ns) = if second == 60 { (59, NS_PER_SECOND - 1) } else { (second, ns) };
    Some(TimeOfDay { seconds: hour * 3_600 + minute * 60 + second, ns })
}

/// `.123` or `,123` when a digit follows, else nothing and zero.
fn fraction_ns(cursor: &mut Cursor<'_>) -> i64 {
    let [b'.' | b',', digits @ ..] = cursor.rest else { return 0 };
    let count = leading_digits(digits);
    if count == 0 {
        return 0;
    }
    cursor.rest = &digits[count..];
    decimal_fraction(&digits[..count])
}

/// Value of fraction digits in billionths; digits past the ninth are cut.
fn decimal_fraction(digits: &[u8]) -> i64 {
    let used = &digits[..digits.len().min(9)];
    let value = used.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    value * POWERS_OF_TEN[9 - used.len()]
}

/// Seconds east of UTC of the zone at the cursor; nothing taken and zero when there is none.
fn zone(cursor: &mut Cursor<'_>) -> i64 {
    cursor
        .optional(|c| {
            let spaced = c.skip(b' ');
            match c.peek()? {
                sign @ (b'+' | b'-') => numeric_zone(c, sign, spaced),
                byte if byte.is_ascii_alphabetic() => named_zone(c),
                _ => None,
            }
        })
        .unwrap_or(0)
}

/// `+02:00`, `+0200`, and directly after the time also `+02`.
fn numeric_zone(cursor: &mut Cursor<'_>, sign: u8, spaced: bool) -> Option<i64> {
    cursor.next()?;
    let hours = cursor.fixed_digits::<2>()?;
    let has_colon = cursor.skip(b':');
    let minutes = match leading_digits(cursor.rest) {
        2 => cursor.fixed_digits::<2>()?,
        0 if !spaced && !has_colon => 0,
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some(if sign == b'-' { -seconds } else { seconds })
}

/// The zone names of RFC 822 and the two of central Europe; other abbreviations mean different things in different places.
fn named_zone(cursor: &mut Cursor<'_>) -> Option<i64> {
    let hours = match cursor.take_word() {
        b"Z" | b"z" | b"UTC" | b"GMT" | b"UT" => 0,
        b"CET" => 1,
        b"CEST" => 2,
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        _ => return None,
    };
    Some(hours * 3_600)
}

fn weekday_name(cursor: &mut Cursor<'_>) -> Option<()> {
    const NAMES: [&[u8]; 7] =
        [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];
    let word = cursor.take_word();
    if !NAMES.iter().any(|name| word == *name || word == &name[..3]) {
        return None;
    }
    cursor.skip(b',');
    cursor.expect(b' ')
}

fn month_name(cursor: &mut Cursor<'_>) -> Option<i64> {
    let month = match cursor.take_word() {
        b"Jan" | b"JAN" | b"January" => 1,
        b"Feb" | b"FEB" | b"February" => 2,
        b"Mar" | b"MAR" | b"March" => 3,
        b"Apr" | b"APR" | b"April" => 4,
        b"May" | b"MAY" => 5,
        b"Jun" | b"JUN" | b"June" => 6,
        b"Jul" | b"JUL" | b"July" => 7,
        b"Aug" | b"AUG" | b"August" => 8,
        b"Sep" | b"SEP" | b"September" => 9,
        b"Oct" | b"OCT" | b"October" => 10,
        b"Nov" | b"NOV" | b"November" => 11,
        b"Dec" | b"DEC" | b"December" => 12,
        _ => return None,
    };
    Some(month)
}

/// POSIX: two-digit years 69 to 99 are of the twentieth century.
fn full_year(two_digits: i64) -> i64 {
    if two_digits >= 69 { 1900 + two_digits } else { 2000 + two_digits }
}

fn leading_digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Nanoseconds per unit of an epoch number of this magnitude.
fn epoch_unit_ns(magnitude: u64) -> i64 {
    match magnitude {
        0..EPOCH_SECONDS_BELOW => NS_PER_SECOND,
        EPOCH_SECONDS_BELOW..EPOCH_MS_BELOW => NS_PER_MS,
        EPOCH_MS_BELOW..EPOCH_US_BELOW => NS_PER_US,
        _ => 1,
    }
}

/// Reads `[-]digits[.digits]` and nothing else, exactly.
fn parse_epoch(bytes: &[u8]) -> Option<Timestamp> {
    let (negative, unsigned) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let count = leading_digits(unsigned);
    let (whole_digits, rest) = unsigned.split_at(count);
    let fraction = match rest {
        [] => rest,
        [b'.', digits @ ..] if !digits.is_empty() && leading_digits(digits) == digits.len() => digits,
        _ => return None,
    };
    if count == 0 {
        return None;
    }
    let whole = whole_digits
        .iter()
        .try_fold(0_i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))?;
    let unit = epoch_unit_ns(whole.unsigned_abs());
    let ns = whole.checked_mul(unit)?.checked_add(decimal_fraction(fraction) / (NS_PER_SECOND / unit))?;
    Some(Timestamp(if negative { -ns } else { ns }))
}

fn epoch_prefix(bytes: &[u8]) -> Option<TimePrefix> {
    let whole = leading_digits(bytes);
    let fraction = match &bytes[whole..] {
        [b'.', digits @ ..] => leading_digits(digits),
        _ => 0,
    };
    let len = if fraction > 0 { whole + 1 + fraction } else { whole };
    if bytes.get(len).is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    Some(TimePrefix { timestamp: parse_epoch(&bytes[..len])?, len, form: TimeForm::Epoch })
}

/// The unread rest of a text; every reader either takes its whole form or fails.
#[derive(Copy, Clone)]
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip(&mut self, byte: u8) -> bool {
        self.expect(byte).is_some()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        (*first == byte).then(|| self.rest = rest)
    }

    fn fixed_digits<const N: usize>(&mut self) -> Option<i64> {
        let (digits, rest) = self.rest.split_first_chunk::<N>()?;
        let mut value = 0;
        for digit in digits {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i64::from(digit);
        }
        self.rest = rest;
        Some(value)
    }

    fn one_or_two_digits(&mut self) -> Option<i64> {
        if leading_digits(&self.rest[..self.rest.len().min(2)]) == 1 {
            self.fixed_digits::<1>()
        } else {
            self.fixed_digits::<2>()
        }
    }

    fn take_word(&mut self) -> &'a [u8] {
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (word, rest) = self.rest.split_at(len);
        self.rest = rest;
        word
    }

    /// Runs `read`; when it fails, nothing was taken.
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let start = *self;
        let found = read(self);
        if found.is_none() {
            *self = start;
        }
        found
    }
}

// ---- relative times and durations -----------------------------------------------------------------------------

fn parse_relative(text: &str, now: Timestamp) -> Option<Timestamp> {
    let (shift, rounding) = match text.split_once('/') {
        Some((shift, unit)) => (shift, Some(unit)),
        None => (text, None),
    };
    let moved = match shift.strip_prefix("now") {
        Some("") => Some(now),
        Some(signed) => shifted(signed, now),
        None => shifted(shift, now).or_else(|| shift_back(shift, now)),
    }?;
    match rounding {
        Some(unit) => round_down(moved, unit),
        None => Some(moved),
    }
}

fn shifted(signed: &str, now: Timestamp) -> Option<Timestamp> {
    match signed.split_at_checked(1)? {
        ("-", duration) => shift_back(duration, now),
        ("+", duration) => now.0.checked_add(parse_duration(duration)?).map(Timestamp),
        _ => None,
    }
}

fn shift_back(duration: &str, now: Timestamp) -> Option<Timestamp> {
    now.0.checked_sub(parse_duration(duration)?).map(Timestamp)
}

fn round_down(time: Timestamp, unit: &str) -> Option<Timestamp> {
    // Day 0 of the epoch was a Thursday, so weeks are counted from the Monday three days before it.
    let (unit_ns, origin_ns) = match unit {
        "s" => (NS_PER_SECOND, 0),
        "m" => (NS_PER_MINUTE, 0),
        "h" => (NS_PER_HOUR, 0),
        "d" => (NS_PER_DAY, 0),
        "w" => (NS_PER_WEEK, -3 * NS_PER_DAY),
        _ => return None,
    };
    let past_ns = (i128::from(time.0) - i128::from(origin_ns)).rem_euclid(i128::from(unit_ns));
    time.0.checked_sub(i64::try_from(past_ns).ok()?).map(Timestamp)
}

/// Parses a duration such as `15m`, `1h30m`, `1.5s` or `500ms` into nanoseconds.
///
/// Units: `ns us µs ms s m h d w` (a day is 24 hours). Every number needs its unit; no sign, no spaces. `None` when
/// it is anything else, empty, or longer than 292 years.
pub fn parse_duration(text: &str) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut total_ns = 0_i64;
    while !rest.is_empty() {
        let (ns, after) = duration_term(rest)?;
        total_ns = total_ns.checked_add(ns)?;
        rest = after;
    }
    Some(total_ns)
}

/// One `number unit` at the start of `text`, and what follows it.
fn duration_term(text: &str) -> Option<(i64, &str)> {
    let (whole, rest) = text.split_at(leading_digits(text.as_bytes()));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => after.split_at(leading_digits(after.as_bytes())),
        None => ("0", rest),
    };
    if fraction.is_empty() {
        return None;
    }
    let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_len);
    let unit_ns = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => NS_PER_US,
        "ms" => NS_PER_MS,
        "s" => NS_PER_SECOND,
        "m" => NS_PER_MINUTE,
        "h" => NS_PER_HOUR,
        "d" => NS_PER_DAY,
        "w" => NS_PER_WEEK,
        _ => return None,
    };
    let whole_ns = whole.parse::<i64>().ok()?.checked_mul(unit_ns)?;
    let fraction_ns =
        i128::from(decimal_fraction(fraction.as_bytes())) * i128::from(unit_ns) / i128::from(NS_PER_SECOND);
    Some((whole_ns.checked_add(i64::try_from(fraction_ns).ok()?)?, rest))
}

/// Writes nanoseconds as [`parse_duration`] reads them: `1h30m`, `500ms`, `0s`, and with a sign `-15m`.
pub fn format_duration(ns: i64) -> String {
    const UNITS: [(u64, &str); 7] = [
        (NS_PER_DAY.unsigned_abs(), "d"),
        (NS_PER_HOUR.unsigned_abs(), "h"),
        (NS_PER_MINUTE.unsigned_abs(), "m"),
        (NS_PER_SECOND.unsigned_abs(), "s"),
        (NS_PER_MS.unsigned_abs(), "ms"),
        (NS_PER_US.unsigned_abs(), "us"),
        (1, "ns"),
    ];
    if ns == 0 {
        return "0s".to_owned();
    }
    let mut text = if ns < 0 { "-".to_owned() } else { String::new() };
    let mut left = ns.unsigned_abs();
    for (unit, name) in UNITS {
        if left >= unit {
            text.push_str(&(left / unit).to_string());
            text.push_str(name);
            left %= unit;
        }
    }
    text
}

// ---- clock ----------------------------------------------------------------------------------------------------

/// Where the present comes from; swapped for a [`ManualClock`] in tests and simulation.
pub trait Clock: Send + Sync {
    /// Returns the present. It may step back when the machine's clock is set.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// The machine's clock.
#[derive(Copy, Clone, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one Clock that reads the machine's time")]
        let now = SystemTime::now();
        match now.duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp(duration_ns(since)),
            Err(before) => Timestamp(-duration_ns(before.duration())),
        }
    }
}

/// A clock that moves only when told to; share it in an [`Arc`].
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts a clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Puts the clock to `now`, forwards or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves the clock forward and returns the new time.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let by_ns = duration_ns(by);
        Timestamp(self.0.fetch_add(by_ns, Ordering::SeqCst)).saturating_add_ns(by_ns)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Nanoseconds of a duration, at most `i64::MAX` (292 years).
fn duration_ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error as ValueError, F64Deserializer, StrDeserializer, U64Deserializer};

    fn now() -> Timestamp {
        Timestamp::parse("2026-03-01T12:00:00Z").unwrap()
    }

    #[track_caller]
    fn check(text: &str, rfc3339: &str) {
        let parsed = Timestamp::parse_with(text, now()).map(|time| time.to_string());
        assert_eq!(parsed.as_deref().unwrap_or("none"), rfc3339, "{text}");
    }

    #[track_caller]
    fn check_when(text: &str, rfc3339: &str) {
        let parsed = Timestamp::parse_when(text, now()).map(|time| time.to_string());
        assert_eq!(parsed.as_deref().unwrap_or("none"), rfc3339, "{text}");
    }

    /// A fixed stream of numbers spread over the whole of i64 (SplitMix64).
    fn spread(count: u64) -> impl Iterator<Item = i64> {
        (1..=count).map(|index| {
            let z = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)).cast_signed()
        })
    }

    #[test]
    fn format_then_parse_is_identity_and_agrees_with_jiff() {
        for ns in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX].into_iter().chain(spread(20_000)) {
            let time = Timestamp(ns);
            let text = time.to_string();
            assert_eq!(Timestamp::parse(&text), Some(time), "{ns}");
            let spaced = text.replace('T', " ");
            assert_eq!(Timestamp::parse(&spaced), Some(time), "the general reader, {ns}");
            let reference = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap();
            assert_eq!(text, format!("{reference:.9}"), "{ns}");
        }
    }

    #[test]
    fn iso_forms() {
        check("2026-02-09T20:25:01.123456789Z", "2026-02-09T20:25:01.123456789Z");
        check("2026-02-09t20:25:01.1234567891z", "2026-02-09T20:25:01.123456789Z");
        check(" 2026-02-09 20:25:01,123 ", "2026-02-09T20:25:01.123000000Z");
        check("2026-02-09T20:25:01+02:00", "2026-02-09T18:25:01.000000000Z");
        check("2026-02-09T20:25:01-0730", "2026-02-10T03:55:01.000000000Z");
        check("2026-02-09 20:25:01 +0200", "2026-02-09T18:25:01.000000000Z");
        check("2026-02-09 20:25:01.5 UTC", "2026-02-09T20:25:01.500000000Z");
        check("2026-02-09T20:25Z", "2026-02-09T20:25:00.000000000Z");
        check("2026-02-09", "2026-02-09T00:00:00.000000000Z");
        check("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000000Z");
        check("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn log_forms() {
        check("10/Oct/2000:13:55:36 -0700", "2000-10-10T20:55:36.000000000Z");
        check("Mon, 02 Jan 2006 15:04:05 GMT", "2006-01-02T15:04:05.000000000Z");
        check("Monday, 02-Jan-06 15:04:05 GMT", "2006-01-02T15:04:05.000000000Z");
        check("Mon Jan  2 15:04:05 2006", "2006-01-02T15:04:05.000000000Z");
        check("Mon Jan 02 15:04:05.000123 2006", "2006-01-02T15:04:05.000123000Z");
        check("Mon Jan  2 15:04:05 MST 2006", "2006-01-02T22:04:05.000000000Z");
        check("2006/01/02 15:04:05", "2006-01-02T15:04:05.000000000Z");
        check("20081109 203615", "2008-11-09T20:36:15.000000000Z");
        check("20081109T203615Z", "2008-11-09T20:36:15.000000000Z");
        check("081109 203615", "2008-11-09T20:36:15.000000000Z");
    }

    #[test]
    fn a_missing_year_is_the_latest_that_is_not_in_the_future() {
        check("Jun  9 06:06:20", "2025-06-09T06:06:20.000000000Z");
        check("Feb 28 06:06:20.5", "2026-02-28T06:06:20.500000000Z");
        check("Mar  2 11:59:59", "2026-03-02T11:59:59.000000000Z"); // within a day ahead: a fast clock
        check("Mar  2 12:00:01", "2025-03-02T12:00:01.000000000Z");
        check("Feb 29 10:00:00", "2024-02-29T10:00:00.000000000Z");
        check("03-17 16:13:38.811", "2025-03-17T16:13:38.811000000Z");
        check("Jun  9 2019 06:06:20", "2019-06-09T06:06:20.000000000Z");
        assert_eq!(Timestamp::parse("Jun  9 06:06:20"), None);
    }

    #[test]
    fn epoch_units_go_by_magnitude() {
        for text in ["1700000000", "1700000000000", "1700000000000000", "1700000000000000000", "1700000000.0"]
        {
            check(text, "2023-11-14T22:13:20.000000000Z");
        }
        check("1700000000.123456789", "2023-11-14T22:13:20.123456789Z");
        check("1700000000123.5", "2023-11-14T22:13:20.123500000Z");
        check("-1.5", "1969-12-31T23:59:58.500000000Z");
        assert_eq!(Timestamp::from_epoch_float(1_700_000_000.123), Timestamp::parse("1700000000.123"));
        assert_eq!(Timestamp::from_epoch_float(f64::NAN), None);
        assert_eq!(Timestamp::from_epoch_int(10_000_000_000), None);
    }

    #[test]
    fn what_is_no_time_does_not_parse() {
        for text in [
            "",
            "-",
            ".",
            "now",
            "hello",
            "2026-13-01",
            "2026-02-30",
            "2026-00-10",
            "2026-02-09T24:00:00Z",
            "2026-02-09T20:61:00Z",
            "2026-02-09T20:25:01ZZ",
            "2026-02-09T20:25:01+2:00",
            "2026-02-09x",
            "2026-2-9",
            "2263-01-01T00:00:00Z",
            "1677-01-01",
            "9999-12-31T23:59:59Z",
            "99999999999999999999",
            "1e9",
            "1.",
            "2026-02-09T20:25:01.Z",
            "31/Feb/2000:00:00:00",
            "Jun 31 06:06:20",
            "é",
            "2026-02-09T20:25:01é",
        ] {
            check(text, "none");
        }
    }

    #[test]
    fn a_prefix_stops_at_a_word_boundary() {
        let prefix = |text| Timestamp::parse_prefix(text, now()).map(|found| (found.len, found.form));
        assert_eq!(prefix("2026-02-09 20:25:01,747 - INFO x"), Some((23, TimeForm::DateTime)));
        assert_eq!(prefix("Jun  9 06:06:20 2024host x"), Some((15, TimeForm::NoYear)));
        assert_eq!(prefix("2026-02-09 hello"), Some((10, TimeForm::DateOnly)));
        assert_eq!(prefix("1700000000.5 x"), Some((12, TimeForm::Epoch)));
        assert_eq!(prefix("12 monkeys"), None);
        assert_eq!(prefix("1700000000abc"), None);
    }

    #[test]
    fn request_times() {
        check_when("now", "2026-03-01T12:00:00.000000000Z");
        for text in ["now-15m", "-15m", "15m", " now-15m "] {
            check_when(text, "2026-03-01T11:45:00.000000000Z");
        }
        check_when("now+1h30m", "2026-03-01T13:30:00.000000000Z");
        check_when("now/d", "2026-03-01T00:00:00.000000000Z");
        check_when("now-1w/w", "2026-02-16T00:00:00.000000000Z");
        check_when("1700000000", "2023-11-14T22:13:20.000000000Z");
        check_when("2006/01/02 15:04:05", "2006-01-02T15:04:05.000000000Z");
        for text in ["", "now-", "now-15", "now/y", "nowish", "-", "now-99999999w"] {
            check_when(text, "none");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h30m"), Some(90 * NS_PER_MINUTE));
        assert_eq!(parse_duration("1.5s"), Some(1_500 * NS_PER_MS));
        assert_eq!(parse_duration("2µs"), Some(2_000));
        for text in ["", "15", "m", "1x", "1.m", "-1s", "1 s", "99999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(format_duration(0), "0s");
        assert_eq!(format_duration(-15 * NS_PER_MINUTE), "-15m");
        for ns in spread(2_000).map(|ns| ns.saturating_abs()) {
            assert_eq!(parse_duration(&format_duration(ns)), Some(ns));
        }
    }

    #[test]
    fn serde_writes_rfc3339_and_reads_text_and_numbers() {
        struct Shown(Timestamp);
        impl fmt::Display for Shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.serialize(f)
            }
        }
        let time = Timestamp(1_700_000_000_000_000_000);
        assert_eq!(Shown(time).to_string(), "2023-11-14T22:13:20.000000000Z");
        let text: StrDeserializer<'_, ValueError> = "2023-11-14T22:13:20Z".into_deserializer();
        let integer: U64Deserializer<ValueError> = 1_700_000_000_000_u64.into_deserializer();
        let float: F64Deserializer<ValueError> = 1_700_000_000.0_f64.into_deserializer();
        assert_eq!(Timestamp::deserialize(text), Ok(time));
        assert_eq!(Timestamp::deserialize(integer), Ok(time));
        assert_eq!(Timestamp::deserialize(float), Ok(time));
        let bad: StrDeserializer<'_, ValueError> = "soon".into_deserializer();
        assert!(Timestamp::deserialize(bad).unwrap_err().to_string().contains("1677 to 2262"));
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Arc::new(ManualClock::new(Timestamp(5)));
        assert_eq!(clock.advance(Duration::from_nanos(7)), Timestamp(12));
        assert_eq!(clock.now(), Timestamp(12));
        clock.set(Timestamp(3));
        assert_eq!((&clock as &dyn Clock).now(), Timestamp(3));
    }
}
