//! Daily and weekly rhythm of the company's customers (UTC).

const NS_PER_HOUR: f64 = 3.6e12;
/// Highest value of [`load`].
pub(crate) const LOAD_MAX: f64 = 1.3;
/// Load at every full hour of a working day, relative to the mean of the day.
const HOURS: [f64; 24] = [
    0.55, 0.48, 0.44, 0.42, 0.44, 0.52, 0.68, 0.86, 1.02, 1.14, 1.20, 1.22, 1.20, 1.18, 1.17, 1.18, 1.20,
    1.23, 1.28, 1.30, 1.24, 1.08, 0.86, 0.68,
];
/// Load of the days from Monday, relative to a working day.
const DAYS: [f64; 7] = [1.0, 0.98, 0.98, 1.0, 0.95, 0.78, 0.82];
/// 1970-01-01 was a Thursday.
const EPOCH_DAY_OF_WEEK: i64 = 3;

/// The load at a time, in `0.0..=LOAD_MAX`, 1 being usual; changes without jumps.
pub(crate) fn load(ns: i64) -> f64 {
    let hour = hours_since_epoch(ns);
    let (from, to) = (at_hour(hour), at_hour(hour + 1));
    from + (to - from) * share_of_hour(ns)
}

fn hours_since_epoch(ns: i64) -> i64 {
    ns.div_euclid(3_600_000_000_000)
}

#[expect(clippy::cast_precision_loss, reason = "an hour in ns is exact in f64")]
fn share_of_hour(ns: i64) -> f64 {
    ns.rem_euclid(3_600_000_000_000) as f64 / NS_PER_HOUR
}

fn at_hour(hour: i64) -> f64 {
    let day = (hour.div_euclid(24) + EPOCH_DAY_OF_WEEK).rem_euclid(7);
    HOURS[at(hour.rem_euclid(24))] * DAYS[at(day)]
}

fn at(index: i64) -> usize {
    usize::try_from(index).expect("a remainder of rem_euclid is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_time(text: &str) -> f64 {
        load(i64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap())
    }

    #[test]
    fn nights_and_weekends_are_quieter() {
        assert!(at_time("2026-02-09T03:00:00Z") < 0.5 * at_time("2026-02-09T19:00:00Z"));
        assert!(at_time("2026-02-14T12:00:00Z") < 0.9 * at_time("2026-02-13T12:00:00Z"));
        assert!((0..1000).all(|i| (0.0..=LOAD_MAX).contains(&load(i * 700_000_000_000_000))));
    }

    #[test]
    fn load_does_not_jump() {
        let steps = (0..7 * 24 * 60).map(|minute| load(minute * 60_000_000_000));
        let minutes: Vec<f64> = steps.collect();
        assert!(minutes.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.01));
    }
}
