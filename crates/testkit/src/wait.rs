//! Waiting for something to become so.

use std::time::{Duration, Instant};

/// Longest wait for anything that is expected to happen: far above what it takes, for busy machines.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between looks.
const POLL: Duration = Duration::from_millis(10);

/// Looks until `look` has an answer. Panics after [`PATIENCE`], naming `what` was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for_within(PATIENCE, what, look)
}

/// Looks until `look` has an answer. Panics when `limit` is over, naming `what` was waited for.
#[track_caller]
pub fn wait_for_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "after {limit:?} still waiting for: {what}");
        std::thread::sleep(POLL);
    }
}
