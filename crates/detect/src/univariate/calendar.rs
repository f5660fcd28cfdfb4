//! Which slot of the day, and of which kind of day, a time falls into.

use heimdall_model::Timestamp;
use heimdall_model::time::{NS_PER_DAY, NS_PER_MINUTE};

use crate::config::{CalendarConfig, ConfigError};

/// Length of a slot. Half an hour: fine enough for the edges of office hours, coarse enough that a slot holds several
/// samples at any usual interval.
pub(crate) const SLOT_NS: i64 = 30 * NS_PER_MINUTE;
/// Slots of a day.
pub(crate) const SLOTS_PER_DAY: usize = 48;
/// Place of Sunday among the kinds of day, which begin with "any day": 1 January 1970 was a Thursday.
const SUNDAY: usize = 7;
/// Most holidays: thirty years of a country with many.
const HOLIDAYS_MAX: usize = 512;

const _: () = assert!(SLOT_NS * SLOTS_PER_DAY as i64 == NS_PER_DAY);

/// A [`CalendarConfig`] ready for use.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Calendar {
    ahead_ns: i64,
    day_of_week: bool,
    /// Days since 1970, in order.
    holidays: Vec<i64>,
}

impl Calendar {
    /// Reads a configuration.
    ///
    /// # Errors
    /// A holiday is not a date, there are too many, or the time zone is further away than a day.
    pub fn new(config: &CalendarConfig) -> Result<Calendar, ConfigError> {
        let refused = |key: &str, wants| ConfigError { key: key.to_owned(), wants };
        let ahead_ns = i64::from(config.utc_offset_minutes) * NS_PER_MINUTE;
        if ahead_ns.abs() >= NS_PER_DAY {
            return Err(refused("calendar.utc_offset_minutes", "less than a day"));
        }
        if config.holidays.len() > HOLIDAYS_MAX {
            return Err(refused("calendar.holidays", "at most 512 dates"));
        }
        let dates = config.holidays.iter().map(|date| day_of(date));
        let days: Option<Vec<i64>> = dates.collect();
        let mut holidays = days.ok_or_else(|| refused("calendar.holidays", "dates like `2026-12-25`"))?;
        holidays.sort_unstable();
        if !config.use_holidays {
            holidays.clear();
        }
        Ok(Calendar { ahead_ns, day_of_week: config.day_of_week, holidays })
    }

    /// The slot of a time: its slot of the day, after whole days for each kind of day that comes before its own.
    pub(crate) fn slot(&self, time_ns: i64) -> usize {
        let local = time_ns.saturating_add(self.ahead_ns);
        let (day, of_day) = (local.div_euclid(NS_PER_DAY), local.rem_euclid(NS_PER_DAY) / SLOT_NS);
        self.kind_of(day) * SLOTS_PER_DAY + usize::try_from(of_day).unwrap_or(0)
    }

    /// 0 for any day, 1 to 7 for Monday to Sunday.
    fn kind_of(&self, day: i64) -> usize {
        if self.holidays.binary_search(&day).is_ok() {
            SUNDAY
        } else if self.day_of_week {
            usize::try_from((day + 3).rem_euclid(7) + 1).unwrap_or(SUNDAY)
        } else {
            0
        }
    }
}

/// Days from 1970 to a date.
fn day_of(date: &str) -> Option<i64> {
    let shaped = date.len() == 10 && date.bytes().filter(|byte| *byte == b'-').count() == 2;
    let midnight = shaped.then(|| Timestamp::parse(&format!("{date}T00:00:00Z")))??;
    Some(midnight.0.div_euclid(NS_PER_DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: &CalendarConfig, time: &str, slot: usize) {
        let time = Timestamp::parse(time).unwrap();
        assert_eq!(Calendar::new(config).unwrap().slot(time.0), slot);
    }

    #[test]
    fn slots_by_hour_weekday_and_holiday() {
        let hours = CalendarConfig::default();
        check(&hours, "2026-11-27T00:29:59Z", 0);
        check(&hours, "2026-11-27T13:30:00Z", 27);
        let berlin = CalendarConfig { utc_offset_minutes: 60, ..hours.clone() };
        check(&berlin, "2026-11-27T23:10:00Z", 0);
        let new_york = CalendarConfig { utc_offset_minutes: -300, ..hours.clone() };
        check(&new_york, "2026-11-27T00:10:00Z", 38);
        assert!(Calendar::new(&CalendarConfig { utc_offset_minutes: 1_440, ..hours.clone() }).is_err());
        let week = CalendarConfig { day_of_week: true, holidays: vec!["2026-12-25".to_owned()], ..hours };
        check(&week, "2026-11-23T00:00:00Z", 48);
        check(&week, "2026-11-29T00:00:00Z", 7 * 48);
        check(&week, "2026-12-25T01:00:00Z", 7 * 48 + 2);
        check(&CalendarConfig { use_holidays: false, ..week.clone() }, "2026-12-25T01:00:00Z", 5 * 48 + 2);
        check(&CalendarConfig { day_of_week: false, ..week.clone() }, "2026-12-24T01:00:00Z", 2);
        check(&CalendarConfig { day_of_week: false, ..week }, "2026-12-25T01:00:00Z", 7 * 48 + 2);
    }

    #[test]
    fn what_is_no_date_is_refused() {
        let with =
            |date: &str| CalendarConfig { holidays: vec![date.to_owned()], ..CalendarConfig::default() };
        for date in ["", "25.12.2026", "2026-13-01", "2026-12-25T00", "20261225"] {
            assert!(Calendar::new(&with(date)).is_err(), "{date}");
        }
    }
}
