//! Phrases of time: `in the last hour`, `yesterday afternoon`, `since 9:00`, `between 9:00 and 11:30 on Monday`.
//!
//! Days and times of day are those of a zone; a day may have 23 or 25 hours there. A time of day without a day is today's,
//! or yesterday's when that is still to come.

use heimdall_model::Timestamp;
use heimdall_model::time::{NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use super::words::Token;
use crate::query::TimeRange;

/// Half of what `around 14:30` means.
const AROUND_NS: i64 = 15 * NS_PER_MINUTE;

/// A clock in a zone.
pub(super) struct Clock {
    pub(super) now: Timestamp,
    local: Zoned,
}

/// What a phrase says of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phrase {
    /// From, and until.
    Span(Option<Timestamp>, Option<Timestamp>),
    /// A day, or several: its first, the first after it.
    Days(Date, Date),
    /// A part of a day: from this time of day until another; past midnight when it is not later.
    Hours(Time, Time),
    /// From, or until, a time of day.
    SinceTime(Time),
    UntilTime(Time),
    /// The minutes around a time of day.
    AroundTime(Time),
}

/// A point of time as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    At(Timestamp),
    Day(Date),
    Time(Time),
}

/// All that was said of time.
#[derive(Debug, Default)]
pub(super) struct Said {
    phrases: Vec<Phrase>,
}

pub(super) fn unit_ns(word: &str) -> Option<i64> {
    Some(match word {
        "s" | "sec" | "secs" | "second" | "seconds" => NS_PER_SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => NS_PER_MINUTE,
        "h" | "hr" | "hrs" | "hour" | "hours" => NS_PER_HOUR,
        "d" | "day" | "days" => NS_PER_DAY,
        "w" | "week" | "weeks" => 7 * NS_PER_DAY,
        "month" | "months" => 30 * NS_PER_DAY,
        _ => return None,
    })
}

/// A number in digits or words.
pub(super) fn count(word: &str) -> Option<i64> {
    const WORDS: [&str; 13] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    if let Some(at) = WORDS.iter().position(|known| *known == word) {
        return i64::try_from(at).ok();
    }
    match word {
        "a" | "an" | "single" => Some(1),
        "couple" => Some(2),
        "fifteen" => Some(15),
        "twenty" => Some(20),
        "thirty" => Some(30),
        "hundred" => Some(100),
        _ => word.replace(',', "").parse().ok().filter(|n| (0..=1_000_000).contains(n)),
    }
}

/// `15m`, `24h`, `2hours`.
fn glued(word: &str) -> Option<i64> {
    let digits = word.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = word[..digits].parse().ok()?;
    number.checked_mul(unit_ns(&word[digits..])?)
}

/// A length of time at the start of tokens: `15 minutes`, `15m`, `hour`, `a day`, `half an hour`; how many tokens it takes.
pub(super) fn length(tokens: &[Token]) -> Option<(i64, usize)> {
    let low = |at: usize| tokens.get(at).filter(|token| !token.is_quoted).map(|token| token.low.as_str());
    let first = low(0)?;
    if let ("half", Some("an" | "a"), Some(unit)) = (first, low(1), low(2)) {
        return unit_ns(unit).map(|ns| (ns / 2, 3));
    }
    if let Some(ns) = glued(first) {
        return Some((ns, 1));
    }
    if let Some(ns) = unit_ns(first).filter(|_| first.len() > 1) {
        return Some((ns, 1));
    }
    let number = count(first)?;
    let skip = usize::from(matches!(low(1), Some("of" | "few")));
    let ns = unit_ns(low(1 + skip)?)?;
    Some((number.checked_mul(ns)?, 2 + skip))
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word.trim_end_matches('s') {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wedne" | "wed" => Weekday::Wednesday,
        "thursday" | "thur" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

fn part_of_day(word: &str) -> Option<(Time, Time)> {
    let hours = |from, to| Some((Time::constant(from, 0, 0, 0), Time::constant(to, 0, 0, 0)));
    match word {
        "morning" => hours(6, 12),
        "afternoon" => hours(12, 18),
        "evening" => hours(18, 23),
        "night" => hours(21, 6),
        _ => None,
    }
}

/// A time of day at the start of tokens: `9:00`, `14:05:10`, `9am`, `3 pm`, `noon`.
fn time_of_day(tokens: &[Token]) -> Option<(Time, usize)> {
    let low = |at: usize| tokens.get(at).map(|token| token.low.as_str());
    let first = low(0)?;
    match first {
        "noon" => return Some((Time::midnight().with().hour(12).build().ok()?, 1)),
        "midnight" => return Some((Time::midnight(), 1)),
        _ => {}
    }
    let digits = first.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(first.len());
    let (clock, half) = first.split_at(digits);
    let (half, taken) = match (half, low(1)) {
        ("", Some(half @ ("am" | "pm"))) => (half, 2),
        (half, _) => (half, 1),
    };
    if !matches!(half, "" | "am" | "pm") || (half.is_empty() && !clock.contains(':')) {
        return None;
    }
    let mut parts = clock.split(':');
    let mut next = || parts.next().map(|part| part.parse::<i8>().ok());
    let hour = next()??;
    let (minute, second) = (next().map_or(Some(0), |m| m)?, next().map_or(Some(0), |s| s)?);
    let hour = match half {
        "" => hour,
        _ if !(1..=12).contains(&hour) => return None,
        "am" => hour % 12,
        _ => hour % 12 + 12,
    };
    Time::new(hour, minute, second, 0).ok().map(|time| (time, taken))
}

impl Clock {
    pub(super) fn new(now: Timestamp, zone: &TimeZone) -> Clock {
        let instant =
            jiff::Timestamp::from_nanosecond(i128::from(now.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Clock { now, local: instant.to_zoned(zone.clone()) }
    }

    fn today(&self) -> Date {
        self.local.date()
    }

    fn days(&self, days: i64) -> Date {
        self.today().saturating_add(Span::new().days(days))
    }

    fn at(&self, day: Date, time: Time) -> Timestamp {
        let zoned = day.to_datetime(time).to_zoned(self.local.time_zone().clone());
        let ns = zoned.map(|zoned| zoned.timestamp().as_nanosecond()).unwrap_or_default();
        Timestamp(i64::try_from(ns).unwrap_or_default())
    }

    /// The latest such day before today.
    fn latest(&self, weekday: Weekday) -> Date {
        let back = i64::from(self.today().weekday().since(weekday));
        self.days(if back == 0 { -7 } else { -back })
    }

    fn monday(&self) -> Date {
        self.days(-i64::from(self.today().weekday().to_monday_zero_offset()))
    }

    /// A point of time at the start of tokens.
    fn point(&self, tokens: &[Token]) -> Option<(Point, usize)> {
        let first = tokens.first().filter(|token| !token.is_quoted)?;
        let low = |at: usize| tokens.get(at).map(|token| token.low.as_str());
        let day = |day: Date| -> Option<(Point, usize)> {
            let skip = 1 + usize::from(matches!(low(1), Some("at" | "," | "around")));
            if let Some((time, taken)) = time_of_day(tokens.get(skip..).unwrap_or_default()) {
                return Some((Point::At(self.at(day, time)), skip + taken));
            }
            Some((Point::Day(day), 1))
        };
        match first.low.as_str() {
            "now" => return Some((Point::At(self.now), 1)),
            "today" => return day(self.today()),
            "yesterday" => return day(self.days(-1)),
            _ => {}
        }
        if let Some((time, taken)) = time_of_day(tokens) {
            let of_day = match low(taken) {
                Some("yesterday") => Some((self.days(-1), 1)),
                Some("today") => Some((self.today(), 1)),
                _ => None,
            };
            return Some(match of_day {
                Some((day, more)) => (Point::At(self.at(day, time)), taken + more),
                None => (Point::Time(time), taken),
            });
        }
        if let Some(weekday) = weekday(&first.low) {
            return day(self.latest(weekday));
        }
        if let Ok(date) = first.text.parse::<Date>()
            && first.text.len() == "2026-11-27".len()
        {
            return day(date);
        }
        if first.text.contains('T')
            && let Ok(local) = first.text.parse::<jiff::civil::DateTime>()
            && !first.text.ends_with('Z')
        {
            return Some((Point::At(self.at(local.date(), local.time())), 1));
        }
        if first.text.starts_with(|c: char| c.is_ascii_digit())
            && first.text.len() > "2026-11-27".len()
            && let Some(time) = Timestamp::parse(&first.text)
        {
            return Some((Point::At(time), 1));
        }
        if let Some((ns, taken)) = length(tokens)
            && low(taken) == Some("ago")
        {
            return Some((Point::At(self.now.saturating_add_ns(-ns)), taken + 1));
        }
        None
    }

    /// A phrase at the start of tokens, and how many of them it takes.
    pub(super) fn phrase(&self, tokens: &[Token]) -> Option<(Phrase, usize)> {
        let low = |at: usize| {
            tokens.get(at).filter(|token| !token.is_quoted).map_or("", |token| token.low.as_str())
        };
        let rest = |at: usize| tokens.get(at..).unwrap_or_default();
        let lead = usize::from(matches!(
            low(0),
            "in" | "over" | "during" | "within" | "for" | "on" | "from" | "of" | "at"
        ));
        let the = usize::from(low(lead) == "the");
        let at = lead + the;
        let is_the = the == 1;
        match low(at) {
            "last" | "past" | "previous" | "recent" => {
                let is_rolling = is_the || low(at) == "past";
                let unit = low(at + 1);
                if let Some((from, to)) = part_of_day(unit) {
                    return Some((self.hours_of(self.days(-1), from, to), at + 2));
                }
                let calendar = match unit {
                    "week" if !is_rolling => {
                        let monday = self.monday();
                        Some((monday.saturating_add(Span::new().days(-7)), monday))
                    }
                    "month" if !is_rolling => {
                        let first = self.today().first_of_month();
                        Some((first.saturating_add(Span::new().months(-1)), first))
                    }
                    _ => None,
                };
                if let Some((from, to)) = calendar {
                    return Some((Phrase::Days(from, to), at + 2));
                }
                if let Some(weekday) = weekday(unit) {
                    let day = self.latest(weekday);
                    return self.part_after(day, tokens, at + 2);
                }
                let (ns, taken) = length(rest(at + 1))?;
                Some((self.back(ns), at + 1 + taken))
            }
            "this" | "tonight" => {
                if low(at) == "tonight" {
                    let (from, to) = part_of_day("night")?;
                    return Some((self.hours_of(self.today(), from, to), at + 1));
                }
                let unit = low(at + 1);
                if let Some((from, to)) = part_of_day(unit) {
                    return Some((self.hours_of(self.today(), from, to), at + 2));
                }
                let from = match unit {
                    "hour" => {
                        let past = self.now.0.rem_euclid(NS_PER_HOUR);
                        return Some((
                            Phrase::Span(Some(self.now.saturating_add_ns(-past)), Some(self.now)),
                            at + 2,
                        ));
                    }
                    "week" => self.monday(),
                    "month" => self.today().first_of_month(),
                    _ => return None,
                };
                Some((Phrase::Span(Some(self.at(from, Time::midnight())), Some(self.now)), at + 2))
            }
            "since" | "after" | "starting" => {
                let skip = at + 1 + usize::from(matches!(low(at + 1), "at" | "from" | "last"));
                let (point, taken) = self.point(rest(skip))?;
                let phrase = match point {
                    Point::At(time) => Phrase::Span(Some(time), None),
                    Point::Day(day) => Phrase::Span(Some(self.at(day, Time::midnight())), None),
                    Point::Time(time) => Phrase::SinceTime(time),
                };
                Some((phrase, skip + taken))
            }
            "before" | "until" | "till" => {
                let (point, taken) = self.point(rest(at + 1))?;
                let phrase = match point {
                    Point::At(time) => Phrase::Span(None, Some(time)),
                    Point::Day(day) => Phrase::Span(None, Some(self.at(day, Time::midnight()))),
                    Point::Time(time) => Phrase::UntilTime(time),
                };
                Some((phrase, at + 1 + taken))
            }
            "between" => {
                self.pair(rest(at + 1), &["and", "to"]).map(|(phrase, taken)| (phrase, at + 1 + taken))
            }
            "around" | "about" | "near" => {
                let skip = at + 1 + usize::from(low(at + 1) == "at");
                let (point, taken) = self.point(rest(skip))?;
                let phrase = match point {
                    Point::At(time) => Phrase::Span(
                        Some(time.saturating_add_ns(-AROUND_NS)),
                        Some(time.saturating_add_ns(AROUND_NS)),
                    ),
                    Point::Time(time) => Phrase::AroundTime(time),
                    Point::Day(_) => return None,
                };
                Some((phrase, skip + taken))
            }
            _ if low(0) == "from"
                && let Some((phrase, taken)) = self.pair(rest(1), &["to", "until", "till"]) =>
            {
                Some((phrase, 1 + taken))
            }
            word => {
                if let Some((point, taken)) = self.point(rest(at)) {
                    return match point {
                        Point::Day(day) => self.part_after(day, tokens, at + taken),
                        Point::At(time) if low(at + taken - 1) == "ago" => {
                            let (ns, _) = length(rest(at))?;
                            let unit = ns.min(NS_PER_HOUR);
                            Some((Phrase::Span(Some(time), Some(time.saturating_add_ns(unit))), at + taken))
                        }
                        Point::At(time) => Some((
                            Phrase::Span(Some(time), Some(time.saturating_add_ns(NS_PER_MINUTE))),
                            at + taken,
                        )),
                        Point::Time(time) if lead == 1 => {
                            let end = time.wrapping_add(Span::new().minutes(1));
                            Some((Phrase::Hours(time, end), at + taken))
                        }
                        Point::Time(_) => None,
                    };
                }
                let (from, to) = part_of_day(word).filter(|_| lead == 1)?;
                Some((Phrase::Hours(from, to), at + 1))
            }
        }
    }

    /// A day, or the part of it that is named after it.
    fn part_after(&self, day: Date, tokens: &[Token], at: usize) -> Option<(Phrase, usize)> {
        let low = |at: usize| tokens.get(at).map_or("", |token| token.low.as_str());
        let skip = if low(at) == "in" && low(at + 1) == "the" { at + 2 } else { at };
        if let Some((from, to)) = part_of_day(low(skip)) {
            return Some((self.hours_of(day, from, to), skip + 1));
        }
        Some((Phrase::Days(day, day.saturating_add(Span::new().days(1))), at))
    }

    fn pair(&self, tokens: &[Token], and: &[&str]) -> Option<(Phrase, usize)> {
        let (from, taken) = self.point(tokens)?;
        let word = tokens.get(taken)?;
        if !and.contains(&word.low.as_str()) {
            return None;
        }
        let (to, more) = self.point(tokens.get(taken + 1..)?)?;
        let all = taken + 1 + more;
        let day = |day: Date| self.at(day, Time::midnight());
        let phrase = match (from, to) {
            (Point::Time(from), Point::Time(to)) => Phrase::Hours(from, to),
            (Point::At(from), Point::At(to)) => Phrase::Span(Some(from), Some(to)),
            (Point::Day(from), Point::Day(to)) => Phrase::Days(from, to.saturating_add(Span::new().days(1))),
            (Point::At(from), Point::Time(to)) => {
                let local = Clock::new(from, self.local.time_zone()).today();
                Phrase::Span(Some(from), Some(self.at(local, to)))
            }
            (Point::Time(from), Point::At(to)) => {
                let local = Clock::new(to, self.local.time_zone()).today();
                Phrase::Span(Some(self.at(local, from)), Some(to))
            }
            (Point::Day(from), Point::At(to)) => Phrase::Span(Some(day(from)), Some(to)),
            (Point::At(from), Point::Day(to)) => Phrase::Span(Some(from), Some(day(to))),
            _ => return None,
        };
        Some((phrase, all))
    }

    fn back(&self, ns: i64) -> Phrase {
        Phrase::Span(Some(self.now.saturating_add_ns(-ns)), Some(self.now))
    }

    fn hours_of(&self, day: Date, from: Time, to: Time) -> Phrase {
        let end = if to > from { day } else { day.saturating_add(Span::new().days(1)) };
        Phrase::Span(Some(self.at(day, from)), Some(self.at(end, to)))
    }

    /// The day of a time of day that was said without one.
    fn day_of(&self, time: Time) -> Date {
        if self.at(self.today(), time) > self.now { self.days(-1) } else { self.today() }
    }
}

impl Said {
    pub(super) fn add(&mut self, phrase: Phrase) {
        self.phrases.push(phrase);
    }

    /// The range that all phrases together mean; `None` when nothing was said.
    pub(super) fn range(&self, clock: &Clock) -> Option<TimeRange> {
        if self.phrases.is_empty() {
            return None;
        }
        let days = self.phrases.iter().find_map(|phrase| match phrase {
            Phrase::Days(from, to) => Some((*from, *to)),
            _ => None,
        });
        let mut range = match days {
            Some((from, to)) => {
                TimeRange { from: clock.at(from, Time::midnight()), to: clock.at(to, Time::midnight()) }
            }
            None => TimeRange::ALL,
        };
        let mut narrow = |from: Option<Timestamp>, to: Option<Timestamp>| {
            range.from = range.from.max(from.unwrap_or(range.from));
            range.to = range.to.min(to.unwrap_or(range.to));
        };
        for phrase in &self.phrases {
            let day = |time: Time| days.map_or_else(|| clock.day_of(time), |(from, _)| from);
            match *phrase {
                Phrase::Days(..) => {}
                Phrase::Span(from, to) => narrow(from, to),
                Phrase::Hours(from, to) => {
                    if let Phrase::Span(from, to) = clock.hours_of(day(from), from, to) {
                        narrow(from, to);
                    }
                }
                Phrase::SinceTime(time) => narrow(Some(clock.at(day(time), time)), None),
                Phrase::UntilTime(time) => {
                    let day = day(time);
                    narrow(Some(clock.at(day, Time::midnight())), Some(clock.at(day, time)));
                }
                Phrase::AroundTime(time) => {
                    let at = clock.at(day(time), time);
                    narrow(Some(at.saturating_add_ns(-AROUND_NS)), Some(at.saturating_add_ns(AROUND_NS)));
                }
            }
        }
        if range.to == TimeRange::ALL.to {
            range.to = clock.now;
        }
        Some(range)
    }
}
