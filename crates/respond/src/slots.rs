//! Room for actions: a number of permits, the most severe waiting first, then whoever waits longest.
//!
//! Invariants:
//! - permits out never exceed the number allowed, but after it was lowered, until enough came back;
//! - a wait that is given up loses no permit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use heimdall_model::Severity;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Room for actions.
pub(crate) struct Slots {
    inner: Mutex<Inner>,
}

struct Inner {
    most: usize,
    used: usize,
    next: u64,
    waiting: BinaryHeap<Waiter>,
}

struct Waiter {
    rank: (Severity, Reverse<u64>),
    call: oneshot::Sender<()>,
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Waiter) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Waiter {}

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Waiter) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiter {
    fn cmp(&self, other: &Waiter) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// Leave to do one action; given back when dropped.
pub(crate) struct Permit {
    slots: Arc<Slots>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slots.give_back();
    }
}

/// A wait that gives its call back when dropped.
struct Waiting {
    slots: Arc<Slots>,
    call: oneshot::Receiver<()>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.call.close();
        if self.call.try_recv().is_ok() {
            self.slots.give_back();
        }
    }
}

impl Slots {
    pub(crate) fn new(most: usize) -> Arc<Slots> {
        Arc::new(Slots { inner: Mutex::new(Inner { most, used: 0, next: 0, waiting: BinaryHeap::new() }) })
    }

    /// Waits for room. Cancel safe.
    pub(crate) async fn acquire(self: &Arc<Slots>, severity: Severity) -> Permit {
        let (tell, call) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            let rank = (severity, Reverse(inner.next));
            inner.next += 1;
            inner.waiting.push(Waiter { rank, call: tell });
            inner.call();
        }
        let mut waiting = Waiting { slots: Arc::clone(self), call };
        // The sender is dropped only once it has called.
        let _ = (&mut waiting.call).await;
        Permit { slots: Arc::clone(self) }
    }

    /// Allows so many from now on.
    pub(crate) fn set_most(&self, most: usize) {
        let mut inner = self.inner.lock();
        inner.most = most;
        inner.call();
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().waiting.iter().filter(|waiter| !waiter.call.is_closed()).count()
    }

    fn give_back(&self) {
        let mut inner = self.inner.lock();
        inner.used -= 1;
        inner.call();
    }
}

impl Inner {
    /// Calls whoever is next, while there is room.
    fn call(&mut self) {
        while self.used < self.most {
            let Some(waiter) = self.waiting.pop() else { return };
            if waiter.call.send(()).is_ok() {
                self.used += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_most_severe_go_first_and_nothing_is_lost() {
        let slots = Slots::new(1);
        let first = slots.acquire(Severity::Normal).await;
        let (order, mut seen) = tokio::sync::mpsc::channel(8);
        for (name, severity) in [("a", Severity::Normal), ("b", Severity::Critical), ("c", Severity::Warning)]
        {
            let (slots, order) = (Arc::clone(&slots), order.clone());
            tokio::spawn(async move {
                let _permit = slots.acquire(severity).await;
                order.send(name).await.unwrap();
            });
            tokio::task::yield_now().await;
        }
        let given_up =
            tokio::time::timeout(std::time::Duration::ZERO, slots.acquire(Severity::Critical)).await;
        assert!(given_up.is_err());
        drop(first);
        for expected in ["b", "c", "a"] {
            assert_eq!(seen.recv().await, Some(expected));
        }
        drop(slots.acquire(Severity::Normal).await);
        let used = slots.inner.lock().used;
        assert_eq!((used, slots.waiting()), (0, 0));
    }
}
