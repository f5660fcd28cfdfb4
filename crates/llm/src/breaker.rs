//! Leaves an endpoint alone that fails: closed (asked), open (not asked), and then one attempt that decides.
//!
//! Invariants:
//! - while it is open nothing is asked; afterwards one failure opens it again, for twice as long up to a limit;
//! - a success closes it and forgets.
//!
//! Attempts come one at a time, so "half open" needs no state: the failures of before still count.
//!
//! Source: Nygard, "Release It!", 2nd edition, 2018, "Circuit Breaker".

use std::time::Duration;

use tokio::time::Instant;

use crate::config::BreakerConfig;

/// The breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    failures: u32,
    /// How long it opens next time.
    open_for: Duration,
    open_until: Option<Instant>,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Breaker {
        Breaker { config, failures: 0, open_for: config.open_for, open_until: None }
    }

    /// Whether nothing may be asked now.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&mut self) {
        *self = Breaker::new(self.config);
    }

    /// An attempt failed; `true` if that opens the breaker.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = self.failures >= self.config.failures_max;
        if opens {
            self.open(now, Duration::ZERO);
        }
        opens
    }

    /// Opens at once, for at least so long (within the limit): asking again is known to be useless.
    pub(crate) fn open(&mut self, now: Instant, at_least: Duration) {
        let time = self.open_for.max(at_least).min(self.config.open_for_max);
        self.failures = self.failures.max(self.config.failures_max);
        self.open_for = self.open_for.saturating_mul(2).min(self.config.open_for_max);
        self.open_until = Some(now + time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_longer_each_time_and_closes_on_success() {
        let config = BreakerConfig {
            failures_max: 3,
            open_for: Duration::from_secs(60),
            open_for_max: Duration::from_secs(150),
        };
        let (mut breaker, start) = (Breaker::new(config), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!breaker.failed(at(0)) && !breaker.failed(at(0)) && !breaker.is_open(at(0)));
        assert!(breaker.failed(at(0)));
        assert!(breaker.is_open(at(59)) && !breaker.is_open(at(60)));
        assert!(breaker.failed(at(60)), "one failure is enough now");
        assert!(breaker.is_open(at(179)) && !breaker.is_open(at(180)), "twice as long");
        assert!(breaker.failed(at(180)));
        assert!(breaker.is_open(at(329)) && !breaker.is_open(at(330)), "up to the limit");
        breaker.succeeded();
        assert!(!breaker.failed(at(400)) && !breaker.is_open(at(400)));
        breaker.open(at(500), Duration::from_secs(100));
        assert!(breaker.is_open(at(599)) && !breaker.is_open(at(600)));
    }
}
