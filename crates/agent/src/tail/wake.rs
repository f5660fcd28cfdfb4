//! When to look at files: as soon as something in their folders changes, and every few seconds where changes are not told
//! (network file systems, exhausted watches).
//!
//! Invariant: a wake is a hint: a missed one costs [`LOOK_EVERY`], never a line.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Looked at without being told.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Changes are gathered for so long, so that a busy folder is not looked at for each line.
const SETTLE: Duration = Duration::from_millis(100);
/// Folders watched at most; more are looked at every [`LOOK_EVERY`].
const FOLDERS_MAX: usize = 1_000;

/// Tells when folders changed.
#[derive(Debug)]
pub struct Wake {
    told: Arc<Notify>,
    names_changed: Arc<AtomicBool>,
    watcher: Option<RecommendedWatcher>,
    watched: HashSet<PathBuf>,
}

impl Wake {
    /// Watches nothing yet.
    #[must_use]
    pub fn new() -> Wake {
        let told = Arc::new(Notify::new());
        let names_changed = Arc::new(AtomicBool::new(false));
        let (tell, names) = (Arc::clone(&told), Arc::clone(&names_changed));
        let changed = move |event: notify::Result<notify::Event>| {
            // Reading is an event too, and ours would wake us for ever.
            let Some(kind) = event.ok().map(|event| event.kind).filter(|kind| !kind.is_access()) else {
                return;
            };
            if !matches!(kind, EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_))) {
                names.store(true, Ordering::Relaxed);
            }
            tell.notify_one();
        };
        let watcher = notify::recommended_watcher(changed);
        let watcher = watcher.inspect_err(|error| tracing::info!(%error, "file changes are not told")).ok();
        Wake { told, names_changed, watcher, watched: HashSet::new() }
    }

    /// Watches these folders from now on, and no others.
    pub fn watch(&mut self, folders: Vec<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted: HashSet<PathBuf> = folders.into_iter().take(FOLDERS_MAX).collect();
        for gone in self.watched.difference(&wanted) {
            let _may_be_deleted = watcher.unwatch(gone);
        }
        self.watched.retain(|folder| wanted.contains(folder));
        for folder in wanted {
            if !self.watched.contains(&folder) && watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok()
            {
                self.watched.insert(folder);
            }
        }
    }

    /// Whether files came, went or were renamed since the last call.
    #[must_use]
    pub fn names_changed(&self) -> bool {
        self.names_changed.swap(false, Ordering::Relaxed)
    }

    /// Waits for a change, or [`LOOK_EVERY`]. Cancel safe.
    pub async fn wait(&self) {
        if tokio::time::timeout(LOOK_EVERY, self.told.notified()).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
    }
}

impl Default for Wake {
    fn default() -> Self {
        Wake::new()
    }
}
