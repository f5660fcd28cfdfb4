//! How much every user (or address) of one service does in a minute, against the other users and against itself.
//!
//! Users are known by a hash of their name: two names that share one are counted together, and a bound that both exceed
//! together is a finding about the second.
//!
//! Invariants:
//! - at most `users_max` users in the present minute, [`BUSY_MAX`] with a memory of their own;
//! - a minute that was too fast is not learnt, unless it goes on for [`RELEARN_MINUTES`].

use std::collections::HashMap;

use foldhash::fast::FixedState;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::TemplatesConfig;
use crate::snapshot;

/// Users of one service that are told about in a minute: when there are more, it is not about users.
const TOLD_MAX: u32 = 5;
/// Users whose own rate is remembered: those of the uppermost percent.
const BUSY_MAX: usize = 64;
/// Minutes of a user before its own rate counts.
const BUSY_MINUTES_MIN: u32 = 10;
/// Minutes in a row of a user beyond its bound after which that is how it is.
const RELEARN_MINUTES: u32 = 60;
/// Minutes of users before the others are known.
const PEERS_MIN: u32 = 500;
/// Minutes of users after which older ones begin to count less.
const PEERS_MEMORY: u32 = 200_000;
/// Share of users' minutes below the percentile that is compared with.
const PERCENTILE: f64 = 0.999;
const BUSY_PERCENTILE: f64 = 0.99;
/// Minutes a user's own rate remembers.
const BUSY_MEMORY: f64 = 120.0;
/// Steps of the histogram per doubling, and steps in all (up to 2^16 a minute).
const STEPS_PER_DOUBLING: f64 = 4.0;
const STEPS: usize = 64;

/// Users of one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Users {
    minute: i64,
    #[serde(with = "sorted")]
    counts: HashMap<u64, Active, FixedState>,
    /// Users' minutes by their count, in steps of a quarter of a doubling.
    peers: Vec<u32>,
    busy: Vec<Busy>,
    /// Findings of this minute.
    told: u32,
    /// Users that were not counted in their minute because there were too many.
    pub(super) uncounted: u64,
}

/// What a user did in this minute.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Active {
    count: u32,
    /// Whether it was beyond its bound.
    fast: bool,
}

/// The usual rate of a busy user.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Busy {
    who: u64,
    #[serde(with = "snapshot::bits")]
    mean: f64,
    minutes: u32,
    fast_minutes: u32,
    seen: i64,
}

/// A user that is too fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fast {
    pub(super) count: u32,
    pub(super) bound: f64,
    /// 99.9th percentile of the users' minutes, and how many minutes there were.
    pub(super) peers: f64,
    pub(super) minutes: u32,
    /// The user's own rate, when it is known.
    pub(super) own: Option<f64>,
}

/// The user as it is known here.
pub(super) fn who(name: &str) -> u64 {
    use std::hash::BuildHasher;
    FixedState::with_seed(0x7573_6572).hash_one(name)
}

impl Users {
    /// Counts an action; the finding comes with the first action beyond the bound, and not again while that goes on. An
    /// action of a minute that is over is not counted.
    pub(super) fn act(
        &mut self,
        who: u64,
        minute: i64,
        quiet: bool,
        config: &TemplatesConfig,
    ) -> Option<Fast> {
        if minute != self.minute {
            if minute < self.minute {
                return None;
            }
            self.end_minute(minute, config);
        }
        let is_full = self.counts.len() >= config.users_max;
        let active = match self.counts.get_mut(&who) {
            Some(active) => active,
            None if is_full => {
                self.uncounted += 1;
                return None;
            }
            None => self.counts.entry(who).or_default(),
        };
        active.count = active.count.saturating_add(1);
        if active.count <= config.user_per_minute_min || active.fast {
            return None;
        }
        let count = active.count;
        let fast = self.judge(who, count, config)?;
        if let Some(active) = self.counts.get_mut(&who) {
            active.fast = true;
        }
        let goes_on = self.busy.iter().any(|busy| busy.who == who && busy.fast_minutes > 0);
        if quiet || goes_on || self.told == TOLD_MAX {
            return None;
        }
        self.told += 1;
        Some(fast)
    }

    #[cold]
    fn judge(&self, who: u64, count: u32, config: &TemplatesConfig) -> Option<Fast> {
        let minutes = self.peers.iter().sum();
        if minutes < PEERS_MIN {
            return None;
        }
        let peers = self.percentile(PERCENTILE);
        let own = self.busy.iter().find(|busy| busy.who == who && busy.minutes >= BUSY_MINUTES_MIN);
        let own = own.map(|busy| busy.mean);
        let bound = config.user_multiple * peers.max(own.unwrap_or(0.0));
        let bound = bound.max(f64::from(config.user_per_minute_min));
        (f64::from(count) > bound).then_some(Fast { count, bound, peers, minutes, own })
    }

    fn end_minute(&mut self, minute: i64, config: &TemplatesConfig) {
        self.peers.resize(STEPS, 0);
        let busy = self.percentile(BUSY_PERCENTILE).max(f64::from(config.user_per_minute_min) / 4.0);
        let mut counts: Vec<(u64, Active)> = self.counts.drain().collect();
        // The order in which busy users come decides who is forgotten.
        counts.sort_unstable_by_key(|(who, _)| *who);
        for (who, active) in counts {
            if !active.fast {
                self.peers[step(active.count)] += 1;
            }
            if f64::from(active.count) > busy || self.busy.iter().any(|busy| busy.who == who) {
                self.remember(who, active, minute);
            }
        }
        if self.peers.iter().sum::<u32>() > PEERS_MEMORY {
            self.peers.iter_mut().for_each(|minutes| *minutes /= 2);
        }
        (self.minute, self.told) = (minute, 0);
    }

    fn remember(&mut self, who: u64, active: Active, minute: i64) {
        let at = self.busy.iter().position(|busy| busy.who == who).unwrap_or_else(|| {
            let new = Busy { who, mean: 0.0, minutes: 0, fast_minutes: 0, seen: minute };
            if self.busy.len() < BUSY_MAX {
                self.busy.push(new);
                return self.busy.len() - 1;
            }
            let oldest = (0..BUSY_MAX).min_by_key(|at| self.busy[*at].seen).unwrap_or(0);
            self.busy[oldest] = new;
            oldest
        });
        let busy = &mut self.busy[at];
        busy.seen = minute;
        busy.fast_minutes = if active.fast { busy.fast_minutes + 1 } else { 0 };
        if active.fast && busy.fast_minutes < RELEARN_MINUTES {
            return;
        }
        busy.minutes = busy.minutes.saturating_add(1);
        let gain = (1.0 / f64::from(busy.minutes)).max(1.0 / BUSY_MEMORY);
        busy.mean += gain * (f64::from(active.count) - busy.mean);
        if active.fast {
            // It went on for long: this is how the user is now.
            (busy.mean, busy.minutes) = (f64::from(active.count), BUSY_MINUTES_MIN);
        }
    }

    fn percentile(&self, share: f64) -> f64 {
        let total: u32 = self.peers.iter().sum();
        let needed = f64::from(total) * share;
        let mut below = 0.0;
        for (step, minutes) in self.peers.iter().enumerate() {
            below += f64::from(*minutes);
            if below >= needed {
                return upper_end(step);
            }
        }
        0.0
    }
}

/// Step of the histogram that holds a count.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small step, not negative")]
fn step(count: u32) -> usize {
    ((f64::from(count.max(1)).log2() * STEPS_PER_DOUBLING) as usize).min(STEPS - 1)
}

#[expect(clippy::cast_precision_loss, reason = "a small step")]
fn upper_end(step: usize) -> f64 {
    ((step + 1) as f64 / STEPS_PER_DOUBLING).exp2()
}

/// Saves a map in order of its keys.
mod sorted {
    use super::{Active, Deserialize, Deserializer, FixedState, HashMap, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        map: &HashMap<u64, Active, FixedState>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_unstable_by_key(|(who, _)| **who);
        entries.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<HashMap<u64, Active, FixedState>, D::Error> {
        Ok(Vec::<(u64, Active)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(users: &mut Users, name: &str, minute: i64, times: u32) -> usize {
        let config = TemplatesConfig::default();
        (0..times).filter(|_| users.act(who(name), minute, false, &config).is_some()).count()
    }

    #[test]
    fn only_who_outruns_the_others_and_itself_is_found() {
        let mut users = Users::default();
        for minute in 0..60 {
            for user in 0..20 {
                assert_eq!(act(&mut users, &format!("u{user}"), minute, 3 + user), 0);
            }
            // Below the least that is too fast for anyone; its own rate is learnt.
            assert_eq!(act(&mut users, "robot", minute, 110), 0);
        }
        assert_eq!(act(&mut users, "u3", 60, 2_000), 1, "found once");
        assert_eq!(act(&mut users, "u3", 61, 2_000), 0, "and not again while it goes on");
        assert_eq!(act(&mut users, "robot", 61, 540), 0);
        assert_eq!(act(&mut users, "robot", 62, 2_000), 1);
    }

    #[test]
    fn many_users_are_bounded_and_time_goes_forward() {
        let mut users = Users::default();
        let config = TemplatesConfig { users_max: 10, ..TemplatesConfig::default() };
        for user in 0..100 {
            users.act(user, 5, false, &config);
        }
        users.act(1, 4, false, &config);
        assert_eq!((users.counts.len(), users.uncounted), (10, 90));
        let saved = serde_json::to_string(&users).unwrap();
        let back: Users = serde_json::from_str(&saved).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), saved);
    }
}
