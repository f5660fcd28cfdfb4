//! Parts of a time, for the modifiers `minute` to `year`.
//!
//! The time is taken as written: no time zone is converted. Numbers are seconds since 1970 or, where they are too large
//! for that, milli-, micro- or nanoseconds.

/// A part of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// A day and a minute of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
}

/// Seconds from which a number is taken for milliseconds: the year 5138.
const SECONDS_MAX: i128 = 100_000_000_000;

/// The part of the time that a text writes: `2026-01-31T23:59:01Z`, `2026-01-31 23:59`, `2026-01-31`, `1767225600`.
pub(crate) fn part_of_text(text: &str, part: TimePart) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return part_of_number(number, part);
    }
    Civil::parse(text).map(|civil| civil.part(part))
}

/// The part of the time that a number stands for.
pub(crate) fn part_of_number(number: i128, part: TimePart) -> Option<i64> {
    let mut seconds = number;
    while seconds.abs() >= SECONDS_MAX {
        seconds = seconds.div_euclid(1000);
    }
    let seconds = i64::try_from(seconds).ok()?;
    Some(Civil::from_seconds(seconds).part(part))
}

impl Civil {
    fn parse(text: &str) -> Option<Civil> {
        let (date, time) = text.split_at_checked(10)?;
        let mut date = date.split('-');
        let mut next = || digits(date.next()?);
        let (year, month, day) = (next()?, next()?, next()?);
        let (hour, minute) = match time.strip_prefix(['T', 't', ' ']) {
            Some(time) => (digits(time.get(0..2)?)?, digits(time.get(2..5)?.strip_prefix(':')?)?),
            None if time.is_empty() => (0, 0),
            None => return None,
        };
        let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
        valid.then_some(Civil { year, month, day, hour, minute })
    }

    fn from_seconds(seconds: i64) -> Civil {
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days to a date, in years that begin in March. Source: Hinnant, "chrono-compatible low-level date algorithms".
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Civil { year, month, day, hour: second / 3600, minute: second / 60 % 60 }
    }

    fn part(self, part: TimePart) -> i64 {
        match part {
            TimePart::Minute => self.minute,
            TimePart::Hour => self.hour,
            TimePart::Day => self.day,
            TimePart::Week => self.week(),
            TimePart::Month => self.month,
            TimePart::Year => self.year,
        }
    }

    /// Days since 1970-01-01.
    fn days(self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    /// Week by ISO 8601: weeks begin on Monday, week 1 holds the first Thursday.
    fn week(self) -> i64 {
        let days = self.days();
        let thursday = days - (days + 3).rem_euclid(7) + 3;
        let year = Civil::from_seconds(thursday * 86_400).year;
        let first = Civil { year, month: 1, day: 1, hour: 0, minute: 0 }.days();
        (thursday - first) / 7 + 1
    }
}

fn digits(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<[i64; 6]> {
        use TimePart::{Day, Hour, Minute, Month, Week, Year};
        let all: Option<Vec<i64>> =
            [Year, Month, Week, Day, Hour, Minute].iter().map(|part| part_of_text(text, *part)).collect();
        all?.try_into().ok()
    }

    #[test]
    fn texts_and_numbers() {
        assert_eq!(parts("2026-11-27T09:15:30.5Z"), Some([2026, 11, 48, 27, 9, 15]));
        assert_eq!(parts("2024-02-29 23:59"), Some([2024, 2, 9, 29, 23, 59]));
        assert_eq!(parts("2021-01-03"), Some([2021, 1, 53, 3, 0, 0]));
        assert_eq!(parts("2020-12-31"), Some([2020, 12, 53, 31, 0, 0]));
        assert_eq!(parts("2018-12-31"), Some([2018, 12, 1, 31, 0, 0]));
        for number in ["1767225661", "1767225661000", "1767225661000000", "1767225661000000000"] {
            assert_eq!(parts(number), Some([2026, 1, 1, 1, 0, 1]), "{number}");
        }
        assert_eq!(parts("-1"), Some([1969, 12, 1, 31, 23, 59]));
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "x",
            "2026-13-01",
            "2026-01-01T25:00",
            "2026-01-01X",
            "2026/01/01",
            "2026-01-01T",
            "漢字漢字漢字",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn days_and_back() {
        for day in (-800_000..800_000).step_by(97) {
            assert_eq!(Civil::from_seconds(day * 86_400).days(), day);
        }
    }
}
