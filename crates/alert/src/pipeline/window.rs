//! How many messages a receiver got lately. Pure.
//!
//! Invariants:
//! - in any period of a rate at most its count of messages are sent;
//! - a part of them, a quarter and at most ten, is kept for digests, which are spread over the period: what does not fit is told
//!   late and together, never not at all;
//! - of the others, a quarter is kept for CRITICAL.

use std::collections::VecDeque;
use std::time::Duration;

use heimdall_model::Timestamp;

use super::group::after;
use crate::routing::Rate;

/// What overflows is gathered this long before its digest.
pub(crate) const GATHER: Duration = Duration::from_secs(5);

/// The messages of one receiver within the period of its rate.
#[derive(Debug, Default)]
pub(crate) struct Window {
    alone: VecDeque<Timestamp>,
    digests: VecDeque<Timestamp>,
}

impl Window {
    /// Whether a message of its own may be sent now.
    pub(crate) fn has_room(&mut self, rate: Rate, is_critical: bool, now: Timestamp) -> bool {
        self.forget(rate, now);
        let alone_max = rate.count - reserved(rate);
        let limit = if is_critical { alone_max } else { (alone_max * 3 / 4).max(1) };
        self.alone.len() < limit && self.total() < rate.count
    }

    /// When the next digest may be sent.
    pub(crate) fn digest_at(&mut self, rate: Rate, now: Timestamp) -> Timestamp {
        self.forget(rate, now);
        let spacing = rate.period / u32::try_from(reserved(rate)).unwrap_or(1);
        let spaced = self.digests.back().map_or(now, |last| after(*last, spacing));
        let oldest = [self.alone.front(), self.digests.front()].into_iter().flatten().min();
        let freed =
            oldest.filter(|_| self.total() >= rate.count).map_or(now, |oldest| after(*oldest, rate.period));
        spaced.max(freed).max(now)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total() == 0
    }

    pub(crate) fn sent(&mut self, is_digest: bool, now: Timestamp) {
        if is_digest { self.digests.push_back(now) } else { self.alone.push_back(now) }
    }

    fn total(&self) -> usize {
        self.alone.len() + self.digests.len()
    }

    fn forget(&mut self, rate: Rate, now: Timestamp) {
        for queue in [&mut self.alone, &mut self.digests] {
            while queue.front().is_some_and(|first| after(*first, rate.period) <= now) {
                queue.pop_front();
            }
        }
    }
}

fn reserved(rate: Rate) -> usize {
    (rate.count / 4).clamp(1, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_period_has_more_messages_than_its_rate() {
        let rate = Rate { count: 10, period: Duration::from_secs(100) };
        let (mut window, mut sent) = (Window::default(), Vec::new());
        for second in 0..1_000 {
            let now = Timestamp(second * 1_000_000_000);
            while window.has_room(rate, second % 3 == 0, now) {
                window.sent(false, now);
                sent.push(second);
            }
            if window.digest_at(rate, now) <= now {
                window.sent(true, now);
                sent.push(second);
            }
        }
        for from in 0..1_000 {
            let within = sent.iter().filter(|at| (from..from + 100).contains(*at)).count();
            assert!(within <= 10, "{within} from {from}");
        }
        assert!(sent.len() >= 90, "the rate is used: {}", sent.len());
    }
}
