//! State by key, bounded: the least recently used key goes first, idle keys go by themselves.
//!
//! Invariants:
//! - at most `keys_max` keys, whatever arrives;
//! - the order of use depends only on the sequence of calls, so that replay and restore evict alike.
//!
//! Cost: about 100 bytes a key beside its text and its value; a look-up is one hash, or none when the key is the same
//! as in the call before.

use std::collections::HashMap;
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

/// Values by key, in order of use.
#[derive(Debug)]
pub(crate) struct Keyed<V> {
    index: HashMap<Arc<str>, u32, RandomState>,
    slots: Vec<Slot<V>>,
    newest: u32,
    oldest: u32,
    evicted: u64,
}

#[derive(Debug)]
struct Slot<V> {
    key: Arc<str>,
    value: V,
    seen: Timestamp,
    newer: u32,
    older: u32,
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
        Keyed { index: HashMap::default(), slots: Vec::new(), newest: NONE, oldest: NONE, evicted: 0 }
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
        let at = match self.find(key) {
            Some(at) => {
                self.touch(at);
                at
            }
            None => {
                self.make_room(now, limits);
                self.insert(Arc::from(key), make())
            }
        };
        let slot = &mut self.slots[at as usize];
        slot.seen = now;
        &mut slot.value
    }

    /// The value of a known key, which counts as use.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        let at = self.find(key)?;
        self.touch(at);
        Some(&mut self.slots[at as usize].value)
    }

    fn find(&self, key: &str) -> Option<u32> {
        if self.slots.get(self.newest as usize).is_some_and(|slot| &*slot.key == key) {
            return Some(self.newest);
        }
        self.index.get(key).copied()
    }

    fn touch(&mut self, at: u32) {
        if at != self.newest {
            self.unlink(at);
            self.link_newest(at);
        }
    }

    fn make_room(&mut self, now: Timestamp, limits: &KeyLimits) {
        for _ in 0..EXPIRED_PER_CALL {
            let idle = |slot: &Slot<V>| slot.seen.0.saturating_add(limits.idle.ns()) < now.0;
            if self.slots.get(self.oldest as usize).is_some_and(idle) {
                self.evict_oldest();
            }
        }
        while self.slots.len() >= limits.keys_max.clamp(1, KEYS_MAX) {
            self.evict_oldest();
        }
    }

    fn insert(&mut self, key: Arc<str>, value: V) -> u32 {
        let at = u32::try_from(self.slots.len()).expect("keys_max is at most 10 million");
        self.index.insert(Arc::clone(&key), at);
        self.slots.push(Slot { key, value, seen: Timestamp(0), newer: NONE, older: NONE });
        self.link_newest(at);
        at
    }

    /// Removes the oldest slot; the last slot of the vector takes its place.
    fn evict_oldest(&mut self) {
        let at = self.oldest;
        self.unlink(at);
        let gone = self.slots.swap_remove(at as usize);
        self.index.remove(&gone.key);
        self.evicted += 1;
        let Some(moved) = self.slots.get(at as usize) else { return };
        let (newer, older) = (moved.newer, moved.older);
        self.index.insert(Arc::clone(&moved.key), at);
        *self.older_of(newer) = at;
        *self.newer_of(older) = at;
    }

    /// Where the slot `of` names its older neighbour, or the head of the list.
    fn older_of(&mut self, of: u32) -> &mut u32 {
        match self.slots.get_mut(of as usize) {
            Some(slot) => &mut slot.older,
            None => &mut self.newest,
        }
    }

    fn newer_of(&mut self, of: u32) -> &mut u32 {
        match self.slots.get_mut(of as usize) {
            Some(slot) => &mut slot.newer,
            None => &mut self.oldest,
        }
    }

    fn unlink(&mut self, at: u32) {
        let (newer, older) = (self.slots[at as usize].newer, self.slots[at as usize].older);
        *self.older_of(newer) = older;
        *self.newer_of(older) = newer;
    }

    fn link_newest(&mut self, at: u32) {
        let second = self.newest;
        (self.slots[at as usize].newer, self.slots[at as usize].older) = (NONE, second);
        *self.newer_of(second) = at;
        self.newest = at;
    }
}

impl<V: Clone> Keyed<V> {
    /// Every key, oldest use first.
    pub(crate) fn save(&self) -> Vec<Saved<V>> {
        let mut saved = Vec::with_capacity(self.slots.len());
        let mut at = self.oldest;
        while let Some(slot) = self.slots.get(at as usize) {
            saved.push(Saved { key: slot.key.to_string(), seen: slot.seen.0, value: slot.value.clone() });
            at = slot.newer;
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

    proptest! {
        /// Against a plain list kept in order of use.
        #[test]
        fn evicts_the_least_recently_used(keys in proptest::collection::vec(0..12_u8, 0..200), max in 1..8_usize) {
            let (mut keyed, mut list) = (Keyed::default(), Vec::<String>::new());
            for key in keys {
                let key = key.to_string();
                keyed.entry(&key, Timestamp(0), &limits(max), || ());
                list.retain(|known| *known != key);
                list.push(key);
                let surplus = list.len().saturating_sub(max);
                list.drain(..surplus);
                let saved: Vec<String> = keyed.save().into_iter().map(|saved| saved.key).collect();
                prop_assert_eq!(&saved, &list);
                let loaded: Vec<String> = Keyed::load(keyed.save()).save().into_iter().map(|s| s.key).collect();
                prop_assert_eq!(&loaded, &list);
            }
        }
    }
}
