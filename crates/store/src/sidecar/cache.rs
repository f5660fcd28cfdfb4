//! Decoded blocks of many sidecars, bounded by bytes: the least recently used go first.
//!
//! Always true: the sum of the entries' bytes is at most the bound; a block larger than the bound is not kept at all.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::HashMap;
use parking_lot::Mutex;

/// A block in the cache: which sidecar, which kind.
type Key = (u64, u32);

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
}

struct Entry {
    block: Arc<dyn Any + Send + Sync>,
    bytes: usize,
    used: u64,
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
        if bytes > self.bytes_max {
            return;
        }
        let mut state = self.state.lock();
        state.remove((file, kind));
        while state.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_use.first_key_value() else { break };
            let oldest = *oldest;
            state.remove(oldest);
        }
        state.clock += 1;
        let used = state.clock;
        state.bytes += bytes;
        state.by_use.insert(used, (file, kind));
        state.entries.insert((file, kind), Entry { block, bytes, used });
    }

    /// Forgets every block of a sidecar that is no longer read.
    pub(crate) fn forget(&self, file: u64) {
        let mut state = self.state.lock();
        let keys: Vec<Key> = state.entries.keys().filter(|key| key.0 == file).copied().collect();
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
}
