//! Decoded blocks of many sidecars, bounded by bytes: the least recently used go first.
//!
//! Beside them it keeps what was made of blocks of several sidecars, within the same bound.
//!
//! Always true: the sum of the entries' bytes is at most the bound; a block larger than the bound is not kept at all; what was
//! made of a sidecar's blocks goes with it.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::HashMap;
use parking_lot::Mutex;

/// A block in the cache: which sidecar, which kind. What was made of several has [`DERIVED`] for a kind.
type Key = (u64, u32);

/// No kind of a block.
const DERIVED: u32 = u32::MAX;
/// Keys that are remembered as wanted.
const WANTED_MAX: usize = 1_024;

/// The shared cache of a store.
pub(crate) struct BlockCache {
    bytes_max: usize,
    files: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// Keys by the time of their last use.
    by_use: BTreeMap<u64, Key>,
    bytes: usize,
    clock: u64,
    /// What is kept that was made of blocks of a sidecar.
    made_of: HashMap<u64, Vec<u64>>,
    /// Keys of what was wanted and is not kept, the last wanted last.
    wanted: VecDeque<u64>,
}

struct Entry {
    block: Arc<dyn Any + Send + Sync>,
    bytes: usize,
    used: u64,
    /// The sidecars it was made of, when it is none's own.
    made_of: Vec<u64>,
}

impl BlockCache {
    pub(crate) fn new(bytes_max: usize) -> BlockCache {
        BlockCache { bytes_max, files: AtomicU64::new(0), state: Mutex::default() }
    }

    /// A number for one more sidecar.
    pub(crate) fn register(&self) -> u64 {
        self.files.fetch_add(1, Ordering::Relaxed)
    }

    /// The block of this sidecar and kind, when it is kept.
    pub(crate) fn get<T: Send + Sync + 'static>(&self, file: u64, kind: u32) -> Option<Arc<T>> {
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        let entry = state.entries.get_mut(&(file, kind))?;
        let before = std::mem::replace(&mut entry.used, now);
        let block = Arc::clone(&entry.block);
        state.by_use.remove(&before);
        state.by_use.insert(now, (file, kind));
        drop(state);
        block.downcast().ok()
    }

    /// Keeps a block, at the cost of those not used for longest.
    pub(crate) fn put<T: Send + Sync + 'static>(&self, file: u64, kind: u32, block: Arc<T>, bytes: usize) {
        self.keep((file, kind), Vec::new(), block, bytes);
    }

    /// What was made under this key, when it is kept.
    pub(crate) fn derived<T: Send + Sync + 'static>(&self, key: u64) -> Option<Arc<T>> {
        self.get(key, DERIVED)
    }

    /// Keeps what was made of blocks of some sidecars: as long as there is room, and all of them are read.
    pub(crate) fn put_derived<T: Send + Sync + 'static>(
        &self,
        key: u64,
        made_of: Vec<u64>,
        made: Arc<T>,
        bytes: usize,
    ) {
        self.keep((key, DERIVED), made_of, made, bytes);
    }

    /// Whether it pays to make something of so many bytes of blocks, to be kept: it may become twice as large, unpacked, and should
    /// not drive out most of what else is kept.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        bytes <= self.bytes_max / 4
    }

    /// Whether this was wanted lately; it is from now on.
    pub(crate) fn was_wanted(&self, key: u64) -> bool {
        let mut state = self.state.lock();
        let place = state.wanted.iter().position(|wanted| *wanted == key);
        place.and_then(|place| state.wanted.remove(place));
        if state.wanted.len() == WANTED_MAX {
            state.wanted.pop_front();
        }
        state.wanted.push_back(key);
        place.is_some()
    }

    fn keep<T: Send + Sync + 'static>(&self, key: Key, made_of: Vec<u64>, block: Arc<T>, bytes: usize) {
        if bytes > self.bytes_max {
            return;
        }
        let mut state = self.state.lock();
        state.remove(key);
        while state.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_use.first_key_value() else { break };
            let oldest = *oldest;
            state.remove(oldest);
        }
        state.clock += 1;
        let used = state.clock;
        state.bytes += bytes;
        state.by_use.insert(used, key);
        made_of.iter().for_each(|file| state.made_of.entry(*file).or_default().push(key.0));
        state.entries.insert(key, Entry { block, bytes, used, made_of });
    }

    /// Forgets every block of a sidecar that is no longer read, and what was made of them.
    pub(crate) fn forget(&self, file: u64) {
        let mut state = self.state.lock();
        let is_its = |key: &&Key| key.0 == file && key.1 != DERIVED;
        let mut keys: Vec<Key> = state.entries.keys().filter(is_its).copied().collect();
        keys.extend(state.made_of.get(&file).into_iter().flatten().map(|key| (*key, DERIVED)));
        keys.into_iter().for_each(|key| state.remove(key));
    }

    /// Bytes kept.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl State {
    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
            for file in entry.made_of {
                if let Some(made) = self.made_of.get_mut(&file) {
                    made.retain(|made| *made != key.0);
                    if made.is_empty() {
                        self.made_of.remove(&file);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_block_goes_first() {
        let cache = BlockCache::new(100);
        let file = cache.register();
        cache.put(file, 1, Arc::new(1_u32), 40);
        cache.put(file, 2, Arc::new(2_u32), 40);
        assert_eq!(cache.get::<u32>(file, 1).as_deref(), Some(&1));
        cache.put(file, 3, Arc::new(3_u32), 40);
        assert_eq!(cache.get::<u32>(file, 2), None);
        assert_eq!(cache.get::<u32>(file, 1).as_deref(), Some(&1));
        cache.put(file, 4, Arc::new(4_u32), 101);
        assert_eq!(cache.get::<u32>(file, 4), None);
        assert_eq!(cache.bytes(), 80);
        cache.forget(file);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn what_was_made_of_several_goes_with_the_first_of_them() {
        let cache = BlockCache::new(100);
        let files = [cache.register(), cache.register()];
        assert!(!cache.was_wanted(7) && cache.was_wanted(7));
        cache.put(files[0], 1, Arc::new(1_u32), 10);
        cache.put_derived(7, files.to_vec(), Arc::new(7_u32), 40);
        cache.put_derived(8, vec![files[1]], Arc::new(8_u32), 40);
        assert_eq!(cache.derived::<u32>(7).as_deref(), Some(&7));
        cache.forget(files[0]);
        assert_eq!((cache.derived::<u32>(7), cache.bytes()), (None, 40));
        assert_eq!(cache.derived::<u32>(8).as_deref(), Some(&8));
        cache.put(files[1], 1, Arc::new(1_u32), 70);
        assert_eq!((cache.derived::<u32>(8), cache.bytes()), (None, 70), "it made room");
        cache.forget(files[1]);
        assert_eq!(cache.bytes(), 0);
        assert!(cache.state.lock().made_of.is_empty());
    }
}
