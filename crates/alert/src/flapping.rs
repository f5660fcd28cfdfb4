//! Alerts that come and go. Pure.
//!
//! Invariant: whether an alert flaps follows from the times of its returns alone, so that a restart says the same.

use std::time::Duration;

use heimdall_model::Timestamp;

/// Returns kept in one alert; beyond, the oldest go.
pub const RETURNS_MAX: usize = 32;

/// When an alert that comes and goes is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlapConfig {
    /// An alert that comes back this soon after it was resolved is the same alert (wall time; default 10 min; 0 = never).
    pub reopen_within: Duration,
    /// It flaps once it came back this often within `within` (default 4, at most [`RETURNS_MAX`]; 0 = never).
    pub returns: usize,
    /// See `returns` (default 1 h).
    pub within: Duration,
    /// It flaps until it has not come back for this long (default 30 min).
    pub stable: Duration,
}

impl Default for FlapConfig {
    fn default() -> Self {
        FlapConfig {
            reopen_within: Duration::from_secs(600),
            returns: 4,
            within: Duration::from_secs(3_600),
            stable: Duration::from_secs(1_800),
        }
    }
}

/// Until when an alert with these returns (oldest first) flaps; none when it does not.
#[must_use]
pub fn flapping_until(returns: &[Timestamp], config: &FlapConfig) -> Option<Timestamp> {
    let needed = config.returns.min(RETURNS_MAX);
    if needed == 0 {
        return None;
    }
    let mut until = None;
    for (n, at) in returns.iter().enumerate() {
        let goes_on = until.is_some_and(|until| *at < until);
        let begins = n + 1 >= needed && returns[n + 1 - needed] > at.saturating_add_ns(-ns(config.within));
        until = (goes_on || begins).then(|| at.saturating_add_ns(ns(config.stable)));
    }
    until
}

/// A duration in nanoseconds, at most 292 years.
pub(crate) fn ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(returns_min: &[i64], until_min: Option<i64>) {
        let minute = 60_000_000_000;
        let returns: Vec<_> = returns_min.iter().map(|min| Timestamp(min * minute)).collect();
        let until = flapping_until(&returns, &FlapConfig::default());
        assert_eq!(until.map(|until| until.0 / minute), until_min, "{returns_min:?}");
    }

    #[test]
    fn four_returns_within_an_hour_flap_until_half_an_hour_of_peace() {
        check(&[], None);
        check(&[0, 10, 20], None);
        check(&[0, 10, 20, 30], Some(60));
        check(&[0, 20, 40, 61], None);
        check(&[0, 10, 20, 30, 59], Some(89));
        check(&[0, 10, 20, 30, 59, 88], Some(118));
        check(&[0, 10, 20, 30, 90], None);
        let never = FlapConfig { returns: 0, ..FlapConfig::default() };
        assert_eq!(flapping_until(&[Timestamp(1); 9], &never), None);
    }
}
