//! Ids of acknowledgement, given out for each channel.
//!
//! An id is given only after the records are durable, so every id that was given is acknowledged: what is kept of a channel
//! is the range of its ids, and asking twice answers twice.
//!
//! Invariants:
//! - at most `channels_max` channels are known; beyond, the one that was used longest ago is forgotten, and counted;
//! - an id of a channel that is not known answers false, as does one that was not given: the sender sends again;
//! - the ids of a channel begin at the time it is first used (µs), so that those from before a restart, or from before the channel
//!   was forgotten, are not mistaken for new ones.

use std::collections::HashMap;
use std::time::Duration;

use heimdall_model::time::NS_PER_US;
use heimdall_model::{Tenant, Timestamp};
use metrics::counter;
use parking_lot::Mutex;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Channel {
    tenant: Tenant,
    id: u128,
}

#[derive(Debug)]
struct Given {
    first: u64,
    next: u64,
    used: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Acks {
    channels: Mutex<HashMap<Channel, Given>>,
    channels_max: usize,
    idle_max: Duration,
}

impl Acks {
    pub(super) fn new(channels_max: usize, idle_max: Duration) -> Acks {
        Acks { channels: Mutex::default(), channels_max: channels_max.max(1), idle_max }
    }

    /// The id for records that are durable.
    pub(super) fn give(&self, tenant: &Tenant, id: u128, now: Timestamp) -> u64 {
        let mut channels = self.channels.lock();
        let channel = Channel { tenant: tenant.clone(), id };
        if !channels.contains_key(&channel) && channels.len() >= self.channels_max {
            self.make_room(&mut channels, now);
        }
        let epoch = u64::try_from(now.0 / NS_PER_US).unwrap_or_default();
        let given = channels.entry(channel).or_insert(Given { first: epoch, next: epoch, used: now });
        given.used = now;
        given.next += 1;
        given.next - 1
    }

    /// Whether this id was given on the channel.
    pub(super) fn is_given(&self, tenant: &Tenant, id: u128, ack: u64, now: Timestamp) -> bool {
        let mut channels = self.channels.lock();
        let Some(given) = channels.get_mut(&Channel { tenant: tenant.clone(), id }) else { return false };
        given.used = now;
        (given.first..given.next).contains(&ack)
    }

    fn make_room(&self, channels: &mut HashMap<Channel, Given>, now: Timestamp) {
        let idle_ns = i64::try_from(self.idle_max.as_nanos()).unwrap_or(i64::MAX);
        let before = channels.len();
        channels.retain(|_, given| now.0.saturating_sub(given.used.0) <= idle_ns);
        counter!("hec_channels_forgotten_total", "reason" => "idle")
            .increment((before - channels.len()) as u64);
        while channels.len() >= self.channels_max {
            let Some(oldest) =
                channels.iter().min_by_key(|(_, given)| given.used).map(|(key, _)| key.clone())
            else {
                return;
            };
            channels.remove(&oldest);
            counter!("hec_channels_forgotten_total", "reason" => "full").increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

    fn later(seconds: i64) -> Timestamp {
        NOW.saturating_add_ns(seconds * 1_000_000_000)
    }

    #[test]
    fn an_id_is_true_on_its_channel_and_of_its_tenant_only() {
        let acks = Acks::new(10, Duration::from_secs(60));
        let (a, b) = (Tenant::new("a").expect("a name"), Tenant::new("b").expect("a name"));
        let first = acks.give(&a, 1, NOW);
        let second = acks.give(&a, 1, later(1));
        assert_eq!(second, first + 1);
        assert!(acks.is_given(&a, 1, first, NOW) && acks.is_given(&a, 1, second, NOW));
        assert!(acks.is_given(&a, 1, first, NOW), "asked again");
        assert!(!acks.is_given(&a, 1, second + 1, NOW) && !acks.is_given(&a, 1, first - 1, NOW));
        assert!(!acks.is_given(&a, 2, first, NOW) && !acks.is_given(&b, 1, first, NOW));
        let restarted = Acks::new(10, Duration::from_secs(60));
        assert!(restarted.give(&a, 1, later(2)) > second, "ids of the run before mean nothing now");
        assert!(!restarted.is_given(&a, 1, second, later(2)));
    }

    #[test]
    fn the_channel_used_longest_ago_goes_first() {
        let acks = Acks::new(2, Duration::from_secs(60));
        let tenant = Tenant::default();
        let first = acks.give(&tenant, 1, NOW);
        let second = acks.give(&tenant, 2, later(1));
        assert!(acks.is_given(&tenant, 1, first, later(2)), "which is a use");
        let third = acks.give(&tenant, 3, later(3));
        let known =
            [(1, first), (2, second), (3, third)].map(|(id, ack)| acks.is_given(&tenant, id, ack, later(3)));
        assert_eq!(known, [true, false, true]);
        acks.give(&tenant, 4, later(100));
        assert!(!acks.is_given(&tenant, 3, third, later(100)), "idle");
    }
}
