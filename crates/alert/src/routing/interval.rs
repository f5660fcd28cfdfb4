//! Times of day, week, month and year: when a route is quiet or active.
//!
//! Invariant: an interval is judged to the minute, in its own zone. Its parts are all to hold; the ranges of one part are
//! alternatives. A time interval of several such is alternatives again.
//!
//! Source: prometheus.io, "Alertmanager configuration", `<time_interval>`.

use std::ops::RangeInclusive;

use heimdall_model::Timestamp;
use jiff::Zoned;
use jiff::tz::TimeZone;

use super::yaml::{Fields, Node};

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// Keys of one interval.
const KEYS: [&str; 6] = ["times", "weekdays", "days_of_month", "months", "years", "location"];

/// A named set of times.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeInterval {
    /// Its name.
    pub name: String,
    alternatives: Vec<Span>,
}

#[derive(Debug, Clone, PartialEq)]
struct Span {
    /// Minutes of the day, the end excluded.
    times: Vec<(i32, i32)>,
    /// Sunday is 0.
    weekdays: Vec<RangeInclusive<i32>>,
    /// From 1; below zero from the end of the month.
    days_of_month: Vec<RangeInclusive<i32>>,
    months: Vec<RangeInclusive<i32>>,
    years: Vec<RangeInclusive<i32>>,
    zone: TimeZone,
}

impl TimeInterval {
    /// Whether a moment is within.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.alternatives.iter().any(|span| span.contains(&local(at, &span.zone)))
    }

    /// Reads `{name, time_intervals: […]}`.
    pub(crate) fn read(node: &Node<'_>) -> Option<TimeInterval> {
        let fields = node.fields(&["name", "time_intervals"])?;
        let name = fields.need("name").and_then(|name| name.text());
        let alternatives = fields.need("time_intervals").map(|list| list.items()).unwrap_or_default();
        let alternatives = alternatives.iter().filter_map(Span::read).collect();
        Some(TimeInterval { name: name?, alternatives })
    }
}

/// A moment as clocks of a zone show it.
pub(crate) fn local(at: Timestamp, zone: &TimeZone) -> Zoned {
    let at = jiff::Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned(zone.clone())
}

impl Span {
    fn contains(&self, local: &Zoned) -> bool {
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let weekday = i32::from(local.weekday().to_sunday_zero_offset());
        let (day, last) = (i32::from(local.day()), i32::from(local.days_in_month()));
        let day_is_in = |range: &RangeInclusive<i32>| {
            let absolute = |day: i32| if day < 0 { last + day + 1 } else { day };
            (absolute(*range.start()).max(1)..=absolute(*range.end()).min(last)).contains(&day)
        };
        let any = |ranges: &[RangeInclusive<i32>], value: i32| {
            ranges.is_empty() || ranges.iter().any(|range| range.contains(&value))
        };
        (self.times.is_empty() || self.times.iter().any(|(from, to)| (*from..*to).contains(&minute)))
            && any(&self.weekdays, weekday)
            && (self.days_of_month.is_empty() || self.days_of_month.iter().any(day_is_in))
            && any(&self.months, i32::from(local.month()))
            && any(&self.years, i32::from(local.year()))
    }

    fn read(node: &Node<'_>) -> Option<Span> {
        let fields = node.fields(&KEYS)?;
        let zone = fields.get("location").map_or(Some(TimeZone::UTC), |node| node.parsed(zone));
        Some(Span {
            times: fields.items("times").iter().filter_map(times).collect(),
            weekdays: ranges(&fields, "weekdays", |word| name_in(word, &WEEKDAYS, 0, "a weekday")),
            days_of_month: ranges(&fields, "days_of_month", day_of_month),
            months: ranges(&fields, "months", |word| match word.parse() {
                Ok(month @ 1..=12) => Ok(month),
                _ => name_in(word, &MONTHS, 1, "a month"),
            }),
            years: ranges(&fields, "years", |word| {
                word.parse()
                    .ok()
                    .filter(|year| (1..=9_999).contains(year))
                    .ok_or(format!("`{word}` is no year"))
            }),
            zone: zone?,
        })
    }
}

/// Reads a time zone of the IANA database.
pub(crate) fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("`{name}` is not a time zone; write it like `Europe/Berlin`"))
}

/// `09:00` as minutes of the day; `24:00` is the end of the day.
pub(crate) fn minutes(text: &str) -> Result<i32, String> {
    let parse = || {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute): (i32, i32) = (hour.parse().ok()?, minute.parse().ok()?);
        let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) || (hour, minute) == (24, 0);
        is_time.then_some(hour * 60 + minute)
    };
    parse().ok_or_else(|| format!("`{text}` is not a time of day; write it like '09:00', in quotes"))
}

fn times(node: &Node<'_>) -> Option<(i32, i32)> {
    let fields = node.fields(&["start_time", "end_time"])?;
    let from = fields.need("start_time").and_then(|node| node.parsed(minutes));
    let to = fields.need("end_time").and_then(|node| node.parsed(minutes));
    let (from, to) = (from?, to?);
    if from >= to {
        node.fault(
            "`start_time` is not before `end_time`; write a night as two intervals, to and from '24:00'",
        );
        return None;
    }
    Some((from, to))
}

/// `a` or `a:b`, each item of the list.
fn ranges(
    fields: &Fields<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<i32, String>,
) -> Vec<RangeInclusive<i32>> {
    let range = |text: &str| {
        let (from, to) = text.split_once(':').unwrap_or((text, text));
        let (from, to) = (parse(from.trim())?, parse(to.trim())?);
        if from > to && from.signum() == to.signum() {
            return Err(format!("`{text}` ends before it begins"));
        }
        Ok(from..=to)
    };
    fields.items(key).iter().filter_map(|node| node.parsed(range)).collect()
}

fn day_of_month(word: &str) -> Result<i32, String> {
    let is_day = |day: &i32| (1..=31).contains(day) || (-31..=-1).contains(day);
    word.parse()
        .ok()
        .filter(is_day)
        .ok_or_else(|| format!("`{word}` is no day of a month: 1 to 31, or -1 to -31"))
}

fn name_in(word: &str, names: &[&str], first: i32, what: &str) -> Result<i32, String> {
    let index = names.iter().position(|name| name.eq_ignore_ascii_case(word));
    let index = index.and_then(|index| i32::try_from(index).ok());
    index
        .map(|index| index + first)
        .ok_or_else(|| format!("`{word}` is not {what}; write it like `{}`", names[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::yaml::Faults;

    #[track_caller]
    fn check(spans: &str, within: &[&str], outside: &[&str]) {
        let text = format!("{{name: n, time_intervals: [{spans}]}}");
        let value = yaml_serde::from_str(&text).unwrap();
        let faults = Faults::default();
        let interval = TimeInterval::read(&Node::top(&value, &faults)).unwrap();
        assert_eq!(faults.locate("f", &text), []);
        let contains = |at: &&str| interval.contains(Timestamp::parse(at).unwrap());
        within.iter().for_each(|at| assert!(contains(at), "{at} is within {spans}"));
        outside.iter().for_each(|at| assert!(!contains(at), "{at} is not within {spans}"));
    }

    #[test]
    fn times_are_judged_to_the_minute_in_their_zone() {
        check(
            "{weekdays: ['monday:friday'], times: [{start_time: '09:00', end_time: '17:00'}]}",
            &["2026-03-02T09:00:00Z", "2026-03-06T16:59:59Z"],
            &["2026-03-02T17:00:00Z", "2026-03-01T12:00:00Z", "2026-03-02T08:59:59Z"],
        );
        check(
            "{times: [{start_time: '00:00', end_time: '24:00'}], location: Europe/Berlin, weekdays: [sunday]}",
            &["2026-02-28T23:00:00Z", "2026-03-01T22:59:00Z"],
            &["2026-03-01T23:00:00Z"],
        );
        check(
            "{days_of_month: ['-2:-1', '1'], months: [february, '6:7'], years: ['2026']}",
            &["2026-02-28T00:00:00Z", "2026-02-27T00:00:00Z", "2026-06-30T12:00:00Z", "2026-07-01T12:00:00Z"],
            &["2026-02-26T00:00:00Z", "2027-02-28T00:00:00Z", "2026-03-31T00:00:00Z"],
        );
        check(
            "{years: ['2025']}, {months: ['3']}",
            &["2025-07-01T00:00:00Z", "2026-03-01T00:00:00Z"],
            &["2026-04-01T00:00:00Z"],
        );
    }
}
