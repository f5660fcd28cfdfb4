//! The time zone of senders whose times state none.
//!
//! Invariant: a time that states its zone is never moved.

use heimdall_model::Timestamp;
use heimdall_model::time::{TimeForm, TimePrefix};
use jiff::tz::TimeZone;

/// A time zone; UTC unless named.
#[derive(Debug, Clone, Default)]
pub struct Zone(Option<TimeZone>);

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone(None);

    /// The zone of an IANA name such as `Europe/Berlin`, by the machine's time zone database; `None` when it has no such zone.
    #[must_use]
    pub fn named(name: &str) -> Option<Zone> {
        match name {
            "UTC" | "Etc/UTC" | "Z" => Some(Zone::UTC),
            _ => TimeZone::get(name).ok().map(|zone| Zone(Some(zone))),
        }
    }

    /// What a clock on the wall of this zone shows at `at`, as if it were UTC.
    fn wall(&self, at: Timestamp) -> Timestamp {
        let offset_ns = |zone: &TimeZone| {
            let at = jiff::Timestamp::from_nanosecond(i128::from(at.0)).ok()?;
            Some(i64::from(zone.to_offset(at).seconds()) * heimdall_model::time::NS_PER_SECOND)
        };
        at.saturating_add_ns(self.0.as_ref().and_then(offset_ns).unwrap_or(0))
    }

    /// The moment at which a clock on the wall shows `wall`. In the hour that occurs twice: the first one; in the one
    /// that never occurs: as if the clock had not been put forward yet.
    fn moment(&self, wall: Timestamp) -> Timestamp {
        let moment = |zone: &TimeZone| {
            let civil = jiff::Timestamp::from_nanosecond(i128::from(wall.0)).ok()?;
            let civil = TimeZone::UTC.to_datetime(civil);
            let moment = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
            i64::try_from(moment.as_nanosecond()).ok().map(Timestamp)
        };
        self.0.as_ref().and_then(moment).unwrap_or(wall)
    }
}

/// What is known of times that do not say everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct When<'z> {
    /// Arrival: the year of times without one is chosen by it.
    pub(super) now: Timestamp,
    /// Zone of times without one.
    pub(super) zone: &'z Zone,
}

impl When<'_> {
    /// As [`Timestamp::parse_prefix`], in the zone.
    pub(super) fn prefix(self, text: &str) -> Option<TimePrefix> {
        if self.zone.0.is_none() {
            return Timestamp::parse_prefix(text, self.now);
        }
        let found = Timestamp::parse_prefix(text, self.zone.wall(self.now))?;
        if found.form == TimeForm::Epoch || states_zone(&text[..found.len]) {
            return Timestamp::parse_prefix(text, self.now);
        }
        Some(TimePrefix { timestamp: self.zone.moment(found.timestamp), ..found })
    }

    /// The time that the whole of a text is; white space around it is ignored.
    pub(super) fn whole(self, text: &str) -> Option<Timestamp> {
        let text = text.trim_ascii();
        match self.prefix(text) {
            Some(found) if found.len == text.len() => Some(found.timestamp),
            Some(_) => None,
            None => Timestamp::parse(text),
        }
    }
}

/// Whether a time that was read ends in a zone: anything after `12:34:56.789` but a year.
fn states_zone(time: &str) -> bool {
    let Some((_, clock)) = time.split_once(':') else {
        return time.ends_with(|c: char| c.is_ascii_alphabetic());
    };
    let rest = clock.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | ','));
    rest.contains(|c: char| c.is_ascii_alphabetic() || matches!(c, '+' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zone: &str, now: &str, text: &str, utc: &str) {
        let Some(zone) = Zone::named(zone) else {
            println!("skipped: this machine has no zone {zone}");
            return;
        };
        let when = When { now: Timestamp::parse(now).unwrap(), zone: &zone };
        assert_eq!(when.prefix(text).map(|found| found.timestamp), Timestamp::parse(utc), "{text}");
    }

    #[test]
    fn times_without_a_zone_are_of_the_senders_zone() {
        let now = "2026-11-27T18:00:00Z";
        check("Europe/Berlin", now, "Nov 27 18:59:59 box", "2026-11-27T17:59:59Z");
        check("Europe/Berlin", now, "Jul  1 12:00:00 box", "2026-07-01T10:00:00Z");
        check("America/New_York", now, "2026-11-27T12:00:00.5 box", "2026-11-27T17:00:00.5Z");
        check("America/New_York", now, "Mon Nov  2 12:00:00 2026 x", "2026-11-02T17:00:00Z");
        for stated in ["2026-11-27T12:00:00Z", "2026-11-27T13:00:00+01:00 x", "Nov 27 12:00:00 UTC: x"] {
            check("Asia/Tokyo", now, stated, "2026-11-27T12:00:00Z");
        }
        check("UTC", now, "Nov 27 12:00:00", "2026-11-27T12:00:00Z");
        assert!(Zone::named("Middle/Earth").is_none());
    }

    #[test]
    fn the_year_is_that_of_the_senders_calendar() {
        check("Asia/Tokyo", "2026-12-31T15:30:00Z", "Jan  1 00:30:00 box", "2026-12-31T15:30:00Z");
        check("Pacific/Kiritimati", "2026-12-31T10:00:01Z", "Jan  1 00:00:01 x", "2026-12-31T10:00:01Z");
        check("America/New_York", "2027-01-01T01:00:00Z", "Dec 31 20:00:00 box", "2027-01-01T01:00:00Z");
        check("UTC", "2027-01-01T00:00:05Z", "Dec 31 23:59:59 box", "2026-12-31T23:59:59Z");
    }

    #[test]
    fn hours_that_occur_twice_or_never_have_a_moment() {
        let now = "2026-11-27T18:00:00Z";
        check("Europe/Berlin", now, "2026-10-25 02:30:00", "2026-10-25T00:30:00Z");
        check("Europe/Berlin", now, "2026-03-29 02:30:00", "2026-03-29T01:30:00Z");
    }
}
