//! State by key, bounded: beyond the bound the tenant with the most keys loses its least recently used one, and idle
//! keys go by themselves.
//!
//! Invariants:
//! - at most `keys_max` keys, whatever arrives;
//! - a tenant loses a key to another tenant's only while it holds more keys than that tenant, so one tenant's flood of
//!   keys cannot make the state of a smaller one be forgotten;
//! - the order of use and the choice of tenant depend only on the sequence of calls and on the tenants' names, so that
//!   replay and restore evict alike.
//!
//! Cost: about 120 bytes a key beside its text and its value. A look-up is one hash, or none when the key is the same
//! as in the call before; a new or evicted key also moves its tenant in a set ordered by number of keys, which costs
//! the logarithm of the number of tenants.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::quality::RandomState;
use heimdall_model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::KeyLimits;

/// Most keys any configuration may ask for.
pub(crate) const KEYS_MAX: usize = 10_000_000;
/// Idle keys forgotten per call: more than one, so that they go faster than keys come.
const EXPIRED_PER_CALL: usize = 2;
/// Separates the parts of a key. A part that contains it can only reach keys of its own tenant, which comes first and
/// cannot contain it.
const SEPARATOR: char = '\u{1f}';
const NONE: u32 = u32::MAX;

/// Puts a key together in `buffer`.
pub(crate) fn key<'a>(buffer: &'a mut String, parts: &[&str]) -> &'a str {
    buffer.clear();
    for part in parts {
        buffer.push_str(part);
        buffer.push(SEPARATOR);
    }
    buffer
}

/// A part of a key; empty when there is none.
pub(crate) fn part(key: &str, index: usize) -> &str {
    key.split(SEPARATOR).nth(index).unwrap_or_default()
}

/// The tenant of a key: its first part.
fn tenant_of(key: &str) -> &str {
    key.split_once(SEPARATOR).map_or("", |(tenant, _)| tenant)
}

/// Values by key, in order of use.
#[derive(Debug)]
pub(crate) struct Keyed<V> {
    index: HashMap<Arc<str>, u32, RandomState>,
    slots: Vec<Slot<V>>,
    ends: Link,
    tenants: Tenants,
    evicted: u64,
}

#[derive(Debug)]
struct Slot<V> {
    key: Arc<str>,
    value: V,
    seen: Timestamp,
    tenant: u32,
    among_all: Link,
    among_tenant: Link,
}

/// A place in a ring ordered by use. The ends of the order are a place too, named [`NONE`]: `older` of the ends is the
/// newest slot, `newer` the oldest.
#[derive(Debug, Clone, Copy)]
struct Link {
    newer: u32,
    older: u32,
}

impl Link {
    const ALONE: Link = Link { newer: NONE, older: NONE };
}

/// One of the two orders of use a slot is in.
#[derive(Debug, Clone, Copy)]
enum Order {
    All,
    Tenant(u32),
}

/// The tenants that hold keys.
#[derive(Debug, Default)]
struct Tenants {
    index: HashMap<Arc<str>, u32, RandomState>,
    known: Vec<TenantKeys>,
    /// Places in `known` whose tenant lost its last key.
    free: Vec<u32>,
    /// Number of keys, name and place of every tenant that has keys.
    by_keys: BTreeSet<(u32, Arc<str>, u32)>,
}

#[derive(Debug)]
struct TenantKeys {
    name: Arc<str>,
    keys: u32,
    ends: Link,
}

impl Tenants {
    /// Counts one more key of a tenant and gives its place.
    fn gain(&mut self, name: &str) -> u32 {
        let at = self.index.get(name).copied().unwrap_or_else(|| self.add(Arc::from(name)));
        let tenant = &mut self.known[at as usize];
        let mut entry = (tenant.keys, Arc::clone(&tenant.name), at);
        self.by_keys.remove(&entry);
        tenant.keys += 1;
        entry.0 = tenant.keys;
        self.by_keys.insert(entry);
        at
    }

    fn add(&mut self, name: Arc<str>) -> u32 {
        let tenant = TenantKeys { name: Arc::clone(&name), keys: 0, ends: Link::ALONE };
        let at = if let Some(at) = self.free.pop() {
            self.known[at as usize] = tenant;
            at
        } else {
            self.known.push(tenant);
            u32::try_from(self.known.len() - 1).expect("no more tenants than keys")
        };
        self.index.insert(name, at);
        at
    }

    /// Counts one key less; a tenant without keys is forgotten.
    fn lose(&mut self, at: u32) {
        let tenant = &mut self.known[at as usize];
        let mut entry = (tenant.keys, Arc::clone(&tenant.name), at);
        self.by_keys.remove(&entry);
        tenant.keys -= 1;
        entry.0 = tenant.keys;
        if tenant.keys > 0 {
            self.by_keys.insert(entry);
        } else {
            self.index.remove(&tenant.name);
            self.free.push(at);
        }
    }

    /// The oldest key of the tenant that has to give way to a key of `newcomer`: of those with the most keys the
    /// newcomer's own tenant, else the last by name.
    fn oldest_of_largest(&self, newcomer: &str) -> Option<u32> {
        let (most, _, last) = self.by_keys.last()?;
        let own = self.index.get(newcomer).filter(|own| self.known[**own as usize].keys == *most);
        Some(self.known[*own.unwrap_or(last) as usize].ends.newer)
    }
}

/// One key as written to a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved<V> {
    key: String,
    seen: i64,
    value: V,
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Keyed {
            index: HashMap::default(),
            slots: Vec::new(),
            ends: Link::ALONE,
            tenants: Tenants::default(),
            evicted: 0,
        }
    }
}

impl<V> Keyed<V> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The value of a key, made when it is new; `now` is arrival time.
    pub(crate) fn entry(
        &mut self,
        key: &str,
        now: Timestamp,
        limits: &KeyLimits,
        make: impl FnOnce() -> V,
    ) -> &mut V {
        let at = self.place(key, now, limits, make);
        &mut self.slots[at as usize].value
    }

    /// As [`Keyed::entry`], but gives the place of the value, for [`Keyed::at`]. Places are good until a key is evicted.
    pub(crate) fn place(
        &mut self,
        key: &str,
        now: Timestamp,
        limits: &KeyLimits,
        make: impl FnOnce() -> V,
    ) -> u32 {
        let at = match self.find(key) {
            Some(at) => {
                self.touch(at);
                at
            }
            None => {
                self.make_room(tenant_of(key), now, limits);
                self.insert(Arc::from(key), make())
            }
        };
        self.slots[at as usize].seen = now;
        at
    }

    /// The value at a place, which counts as use at `now`.
    pub(crate) fn at(&mut self, place: u32, now: Timestamp) -> &mut V {
        self.touch(place);
        let slot = &mut self.slots[place as usize];
        slot.seen = now;
        &mut slot.value
    }

    /// Keys and values of one tenant, in no order that means anything; looking does not count as use.
    pub(crate) fn of_tenant(&mut self, tenant: &str) -> impl Iterator<Item = (&str, &mut V)> {
        let tenant = self.tenants.index.get(tenant).copied();
        let own = self.slots.iter_mut().filter(move |slot| Some(slot.tenant) == tenant);
        own.map(|slot| (&*slot.key, &mut slot.value))
    }

    /// All values, in no order that means anything.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().map(|slot| &slot.value)
    }

    /// All values, to be changed, in no order that means anything.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().map(|slot| &mut slot.value)
    }

    /// The value of a known key, which counts as use.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        let at = self.find(key)?;
        self.touch(at);
        Some(&mut self.slots[at as usize].value)
    }

    fn find(&self, key: &str) -> Option<u32> {
        let newest = self.ends.older;
        if self.slots.get(newest as usize).is_some_and(|slot| &*slot.key == key) {
            return Some(newest);
        }
        self.index.get(key).copied()
    }

    fn touch(&mut self, at: u32) {
        if at == self.ends.older {
            return;
        }
        for order in self.orders(at) {
            if self.link(order, NONE).older != at {
                self.unlink(order, at);
                self.link_newest(order, at);
            }
        }
    }

    fn make_room(&mut self, newcomer: &str, now: Timestamp, limits: &KeyLimits) {
        for _ in 0..EXPIRED_PER_CALL {
            let oldest = self.ends.newer;
            let idle = |slot: &Slot<V>| slot.seen.0.saturating_add(limits.idle.ns()) < now.0;
            if self.slots.get(oldest as usize).is_some_and(idle) {
                self.evict(oldest);
            }
        }
        while self.slots.len() >= limits.keys_max.clamp(1, KEYS_MAX) {
            let Some(at) = self.tenants.oldest_of_largest(newcomer) else { return };
            self.evict(at);
        }
    }

    fn insert(&mut self, key: Arc<str>, value: V) -> u32 {
        let at = u32::try_from(self.slots.len()).expect("keys_max is at most 10 million");
        let tenant = self.tenants.gain(tenant_of(&key));
        self.index.insert(Arc::clone(&key), at);
        let (among_all, among_tenant) = (Link::ALONE, Link::ALONE);
        self.slots.push(Slot { key, value, seen: Timestamp(0), tenant, among_all, among_tenant });
        for order in self.orders(at) {
            self.link_newest(order, at);
        }
        at
    }

    /// Removes a slot; the last slot of the vector takes its place.
    fn evict(&mut self, at: u32) {
        for order in self.orders(at) {
            self.unlink(order, at);
        }
        let gone = self.slots.swap_remove(at as usize);
        self.index.remove(&gone.key);
        self.tenants.lose(gone.tenant);
        self.evicted += 1;
        let Some(moved) = self.slots.get(at as usize) else { return };
        self.index.insert(Arc::clone(&moved.key), at);
        for order in self.orders(at) {
            let Link { newer, older } = *self.link(order, at);
            self.link(order, newer).older = at;
            self.link(order, older).newer = at;
        }
    }

    fn orders(&self, at: u32) -> [Order; 2] {
        [Order::All, Order::Tenant(self.slots[at as usize].tenant)]
    }

    /// The place of a slot in an order, or the ends of the order.
    fn link(&mut self, order: Order, at: u32) -> &mut Link {
        match (self.slots.get_mut(at as usize), order) {
            (Some(slot), Order::All) => &mut slot.among_all,
            (Some(slot), Order::Tenant(_)) => &mut slot.among_tenant,
            (None, Order::All) => &mut self.ends,
            (None, Order::Tenant(tenant)) => &mut self.tenants.known[tenant as usize].ends,
        }
    }

    fn unlink(&mut self, order: Order, at: u32) {
        let Link { newer, older } = *self.link(order, at);
        self.link(order, newer).older = older;
        self.link(order, older).newer = newer;
    }

    fn link_newest(&mut self, order: Order, at: u32) {
        let second = self.link(order, NONE).older;
        *self.link(order, at) = Link { newer: NONE, older: second };
        self.link(order, second).newer = at;
        self.link(order, NONE).older = at;
    }
}

impl<V: Clone> Keyed<V> {
    /// Every key, oldest use first.
    pub(crate) fn save(&self) -> Vec<Saved<V>> {
        let mut saved = Vec::with_capacity(self.slots.len());
        let mut at = self.ends.newer;
        while let Some(slot) = self.slots.get(at as usize) {
            saved.push(Saved { key: slot.key.to_string(), seen: slot.seen.0, value: slot.value.clone() });
            at = slot.among_all.newer;
        }
        saved
    }

    /// The state that [`Keyed::save`] saw.
    pub(crate) fn load(saved: Vec<Saved<V>>) -> Keyed<V> {
        let mut keyed = Keyed::default();
        for Saved { key, seen, value } in saved.into_iter().take(KEYS_MAX) {
            let at = keyed.insert(Arc::from(key), value);
            keyed.slots[at as usize].seen = Timestamp(seen);
        }
        keyed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Period;
    use proptest::prelude::*;

    fn limits(keys_max: usize) -> KeyLimits {
        KeyLimits { keys_max, idle: Period(100), repeat_every: Period(1) }
    }

    #[test]
    fn a_million_keys_stay_bounded() {
        let mut keyed = Keyed::default();
        for n in 0..1_000_000_u32 {
            *keyed.entry(&n.to_string(), Timestamp(0), &limits(1_000), || 0) = n;
        }
        assert_eq!((keyed.len(), keyed.index.len(), keyed.evicted()), (1_000, 1_000, 999_000));
        assert_eq!(*keyed.entry("999000", Timestamp(0), &limits(1_000), || 7), 999_000);
    }

    #[test]
    fn idle_keys_go_as_new_ones_come() {
        let mut keyed = Keyed::default();
        for (key, now) in [("a", 0), ("b", 50), ("c", 101)] {
            keyed.entry(key, Timestamp(now), &limits(10), || ());
        }
        let keys: Vec<String> = keyed.save().into_iter().map(|saved| saved.key).collect();
        assert_eq!(keys, ["b", "c"]);
    }

    /// Whoever came first, and although the flooder used its keys last.
    #[test]
    fn a_flood_of_keys_evicts_only_the_flooder() {
        let mut keyed = Keyed::default();
        let mut enter = |tenant: &str, n: u32| {
            let mut buffer = String::new();
            keyed.entry(key(&mut buffer, &[tenant, &n.to_string()]), Timestamp(0), &limits(100), || n);
        };
        (0..20).for_each(|n| enter("small", n));
        (0..10_000).for_each(|n| enter("flooder", n));
        (0..30).for_each(|n| enter("third", n));
        (0..10_000).for_each(|n| enter("flooder", n));
        let held = |tenant: &str| keyed.save().iter().filter(|saved| tenant_of(&saved.key) == tenant).count();
        assert_eq!((held("small"), held("third"), held("flooder")), (20, 30, 50));
        assert_eq!(keyed.len(), 100);
    }

    #[test]
    fn tenants_that_come_and_go_leave_nothing_behind() {
        let mut keyed = Keyed::default();
        for n in 0..1_000 {
            let mut buffer = String::new();
            keyed.entry(key(&mut buffer, &[&format!("t{n}"), "x"]), Timestamp(0), &limits(10), || ());
        }
        let Tenants { index, known, free, by_keys } = &keyed.tenants;
        assert_eq!((index.len(), known.len(), free.len(), by_keys.len()), (10, 10, 0, 10));
    }

    /// What [`Keyed`] does, with a plain list of tenant and key in order of use.
    fn naive(list: &mut Vec<(u8, u8)>, new: (u8, u8), max: usize) {
        let known = list.contains(&new);
        list.retain(|known| *known != new);
        if !known && list.len() == max {
            let held = |tenant: u8| list.iter().filter(|(of, _)| *of == tenant).count();
            let loser = (0..=9).max_by_key(|tenant| (held(*tenant), *tenant == new.0, *tenant)).unwrap();
            let at = list.iter().position(|(tenant, _)| *tenant == loser).unwrap();
            list.remove(at);
        }
        list.push(new);
    }

    proptest! {
        /// Restored at any moment, it goes on as if it had not been.
        #[test]
        fn evicts_the_oldest_key_of_the_largest_tenant(
            calls in proptest::collection::vec((0..4_u8, 0..6_u8, any::<bool>()), 0..200),
            max in 1..12_usize,
        ) {
            let (mut keyed, mut list, mut buffer) = (Keyed::default(), Vec::new(), String::new());
            for (tenant, part, restored) in calls {
                naive(&mut list, (tenant, part), max);
                let parts = [&*tenant.to_string(), &*part.to_string()];
                keyed.entry(key(&mut buffer, &parts), Timestamp(0), &limits(max), || ());
                if restored {
                    keyed = Keyed::load(keyed.save());
                }
                let saved: Vec<String> = keyed.save().into_iter().map(|saved| saved.key).collect();
                let expected: Vec<String> =
                    list.iter().map(|(tenant, part)| format!("{tenant}\u{1f}{part}\u{1f}")).collect();
                prop_assert_eq!(saved, expected);
                prop_assert_eq!(keyed.index.len(), list.len());
            }
        }
    }
}
