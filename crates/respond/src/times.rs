//! Times of the week in a zone, as conditions write them.

use heimdall_model::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Days of the week as written, Monday first.
pub const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_PER_DAY: u16 = 24 * 60;

/// A time of the week: on these days from one minute of the day until before another.
///
/// An end at or before the start is on the next day. No days means every day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeInterval {
    /// Index of each day, Monday 0; empty is every day.
    pub weekdays: Vec<u8>,
    /// First minute of the day.
    pub from: u16,
    /// Minute it ends before.
    pub to: u16,
    /// Zone of the IANA database, such as `Europe/Berlin`.
    pub zone: String,
}

impl TimeInterval {
    /// Whether the time lies in it. A zone that is no longer known holds nothing.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        let Some(local) = self.local(at) else { return false };
        let minute = u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or(0);
        let today = index(local.weekday());
        let is_overnight = self.to <= self.from;
        let began_today = self.is_on(today) && minute >= self.from && (is_overnight || minute < self.to);
        let began_yesterday = is_overnight && self.is_on((today + 6) % 7) && minute < self.to;
        began_today || began_yesterday
    }

    fn local(&self, at: Timestamp) -> Option<jiff::Zoned> {
        let zone = zone(&self.zone)?;
        Some(jiff::Timestamp::from_nanosecond(i128::from(at.0)).ok()?.to_zoned(zone))
    }

    fn is_on(&self, day: u8) -> bool {
        self.weekdays.is_empty() || self.weekdays.contains(&day)
    }
}

fn index(day: Weekday) -> u8 {
    u8::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

/// The zone of this name.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() }
}

/// Minute of the day of `HH:MM`; `24:00` is its end.
pub(crate) fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let is_two = |digits: &str| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute): (u16, u16) =
        (is_two(hour) && is_two(minute)).then(|| Some((hour.parse().ok()?, minute.parse().ok()?)))??;
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= MINUTES_PER_DAY).then_some(of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(interval: (&[u8], &str, &str, &str), at: &str, holds: bool) {
        let (weekdays, from, to, zone) = interval;
        let (from, to) = (minute(from).unwrap(), minute(to).unwrap());
        let interval = TimeInterval { weekdays: weekdays.to_vec(), from, to, zone: zone.to_owned() };
        assert_eq!(interval.holds(Timestamp::parse(at).unwrap()), holds, "{at}");
    }

    #[test]
    fn days_nights_and_zones() {
        let office: (&[u8], _, _, _) = (&[0, 1, 2, 3, 4], "08:00", "18:00", "Europe/Berlin");
        check(office, "2026-03-02T07:00:00Z", true); // Monday, 08:00 there
        check(office, "2026-03-02T06:59:59Z", false);
        check(office, "2026-03-02T17:00:00Z", false);
        check(office, "2026-03-01T10:00:00Z", false); // Sunday
        let night: (&[u8], _, _, _) = (&[4], "22:00", "06:00", "UTC");
        check(night, "2026-03-06T23:00:00Z", true); // Friday
        check(night, "2026-03-07T05:59:00Z", true);
        check(night, "2026-03-07T23:00:00Z", false);
        check((&[], "00:00", "24:00", "UTC"), "2026-03-07T23:59:59Z", true);
        check((&[], "00:00", "24:00", "Nowhere/Atall"), "2026-03-07T23:59:59Z", false);
    }

    #[test]
    fn minutes_of_the_day() {
        assert_eq!(minute("24:00"), Some(1440));
        for bad in ["24:01", "8:00", "08:60", "0800", "+8:00", "aa:bb"] {
            assert_eq!(minute(bad), None, "{bad}");
        }
    }
}
