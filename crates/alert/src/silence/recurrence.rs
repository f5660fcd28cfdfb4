//! Times that come every week: weekdays and a time of day in a zone. Pure but for the zone database.
//!
//! Invariants:
//! - a window belongs to the day it begins on; `to` at or before `from` is on the next day;
//! - a time of day that a change of clocks skips is taken after it, one that comes twice is taken the first time.

use heimdall_model::Timestamp;
use jiff::civil::{Date, Weekday as Day};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp as Instant};
use serde::{Deserialize, Serialize};

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "days name themselves")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// When, week by week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recurrence {
    /// Days on which a window begins; empty means every day.
    #[serde(default)]
    pub weekdays: Vec<Weekday>,
    /// Time of day it begins, `HH:MM`.
    pub from: String,
    /// Time of day it ends, `HH:MM` or `24:00`; at or before `from` it is on the next day.
    pub to: String,
    /// IANA time zone, such as `Europe/Berlin` or `UTC`.
    pub zone: String,
}

/// What is wrong with a recurrence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct RecurrenceError {
    /// `from`, `to` or `zone`.
    pub field: &'static str,
    /// Why it cannot be.
    pub reason: String,
}

/// A recurrence that was checked.
#[derive(Debug, Clone)]
pub struct Windows {
    weekdays: Vec<Day>,
    from_minute: u16,
    to_minute: u16,
    zone: TimeZone,
}

impl Recurrence {
    /// Checks it.
    ///
    /// # Errors
    /// Names the field that cannot be.
    pub fn windows(&self) -> Result<Windows, RecurrenceError> {
        let minute = |field, text: &str| {
            minute_of_day(text).ok_or_else(|| RecurrenceError {
                field,
                reason: format!("`{text}` is no time of day such as 22:30"),
            })
        };
        let zone = TimeZone::get(&self.zone).map_err(|_| RecurrenceError {
            field: "zone",
            reason: format!("`{}` is no time zone known here", self.zone.escape_debug()),
        })?;
        let from_minute = minute("from", &self.from)?;
        if from_minute == DAY_MINUTES {
            return Err(RecurrenceError {
                field: "from",
                reason: "24:00 begins on the next day: say 00:00".to_owned(),
            });
        }
        Ok(Windows {
            weekdays: self.weekdays.iter().map(|day| day.of_jiff()).collect(),
            from_minute,
            to_minute: minute("to", &self.to)?,
            zone,
        })
    }
}

impl Weekday {
    const fn of_jiff(self) -> Day {
        match self {
            Weekday::Monday => Day::Monday,
            Weekday::Tuesday => Day::Tuesday,
            Weekday::Wednesday => Day::Wednesday,
            Weekday::Thursday => Day::Thursday,
            Weekday::Friday => Day::Friday,
            Weekday::Saturday => Day::Saturday,
            Weekday::Sunday => Day::Sunday,
        }
    }
}

impl Windows {
    /// The window `now` is in, else the next one: from its begin until before its end. None beyond what calendars hold.
    #[must_use]
    pub fn at_or_after(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let today = Instant::from_nanosecond(i128::from(now.0)).ok()?.to_zoned(self.zone.clone()).date();
        let days = (-1..=8).filter_map(|n| today.checked_add(Span::new().days(n)).ok());
        let begins = days.filter(|day| self.weekdays.is_empty() || self.weekdays.contains(&day.weekday()));
        begins.filter_map(|day| self.window_of(day)).find(|(_, end)| now < *end)
    }

    /// Whether `now` is in a window.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.at_or_after(now).is_some_and(|(begin, _)| begin <= now)
    }

    fn window_of(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let next = || day.checked_add(Span::new().days(1)).ok();
        let end_day = if self.to_minute <= self.from_minute { next()? } else { day };
        let begin = self.instant(day, self.from_minute)?;
        let end = match self.to_minute {
            DAY_MINUTES => self.instant(next()?, 0)?,
            minute => self.instant(end_day, minute)?,
        };
        (begin < end).then_some((begin, end))
    }

    fn instant(&self, day: Date, minute: u16) -> Option<Timestamp> {
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        let zoned = day.at(hour, minute, 0, 0).to_zoned(self.zone.clone()).ok()?;
        i64::try_from(zoned.timestamp().as_nanosecond()).ok().map(Timestamp)
    }
}

/// Minutes since midnight of `HH:MM`, up to `24:00`.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<u16>().ok())
            .flatten()
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (minute < 60 && hour * 60 + minute <= DAY_MINUTES).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(weekdays: &[Weekday], (from, to): (&str, &str), zone: &str, now: &str, window: (&str, &str)) {
        let recurrence =
            Recurrence { weekdays: weekdays.to_vec(), from: from.into(), to: to.into(), zone: zone.into() };
        let time = |text: &str| Timestamp::parse(text).unwrap();
        let found = recurrence.windows().unwrap().at_or_after(time(now)).unwrap();
        assert_eq!(found, (time(window.0), time(window.1)), "{now}");
    }

    #[test]
    fn the_window_of_now_else_the_next_one() {
        use Weekday::{Friday, Saturday, Sunday};
        let night = ("22:00", "06:00");
        // 2026-03-06 is a Friday.
        let friday = ("2026-03-06T22:00:00Z", "2026-03-07T06:00:00Z");
        check(&[Friday], night, "UTC", "2026-03-05T12:00:00Z", friday);
        check(&[Friday], night, "UTC", "2026-03-06T22:00:00Z", friday);
        check(&[Friday], night, "UTC", "2026-03-07T05:59:59Z", friday);
        let week_later = ("2026-03-13T22:00:00Z", "2026-03-14T06:00:00Z");
        check(&[Friday], night, "UTC", "2026-03-07T06:00:00Z", week_later);
        let all_day = ("00:00", "24:00");
        let sunday = ("2026-03-08T00:00:00Z", "2026-03-09T00:00:00Z");
        check(&[Saturday, Sunday], all_day, "UTC", "2026-03-08T00:00:00Z", sunday);
        check(
            &[],
            ("10:00", "10:00"),
            "UTC",
            "2026-03-08T09:00:00Z",
            ("2026-03-07T10:00:00Z", "2026-03-08T10:00:00Z"),
        );
    }

    #[test]
    fn local_time_is_kept_when_clocks_change() {
        // Berlin goes from UTC+1 to UTC+2 in the night to 2026-03-29: 02:30 does not exist.
        let nightly = ("01:00", "04:00");
        check(
            &[],
            nightly,
            "Europe/Berlin",
            "2026-03-28T00:30:00Z",
            ("2026-03-28T00:00:00Z", "2026-03-28T03:00:00Z"),
        );
        check(
            &[],
            nightly,
            "Europe/Berlin",
            "2026-03-29T00:30:00Z",
            ("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"),
        );
        check(
            &[],
            ("02:30", "05:00"),
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            ("2026-03-29T01:30:00Z", "2026-03-29T03:00:00Z"),
        );
    }

    #[test]
    fn what_cannot_be_is_named() {
        let of = |from: &str, to: &str, zone: &str| {
            Recurrence { weekdays: vec![], from: from.into(), to: to.into(), zone: zone.into() }
                .windows()
                .unwrap_err()
                .field
        };
        assert_eq!(of("7:00", "08:00", "UTC"), "from");
        assert_eq!(of("24:00", "08:00", "UTC"), "from");
        assert_eq!(of("07:00", "24:01", "UTC"), "to");
        assert_eq!(of("07:00", "08:00", "Mars/Olympus"), "zone");
    }
}
