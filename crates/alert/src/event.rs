//! What happened to an alert, for whoever tells people and heals; and the bounded queue it travels through.
//!
//! Invariants:
//! - an event is sent only once the alert is stored as the event shows it, and in the order things happened;
//! - sending never blocks: a full queue forgets what it holds, says [`Event::Missed`] once, and goes on with what follows. The
//!   reader then reads the live alerts again ([`crate::Alerts::live`]): what was forgotten is in them.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use heimdall_model::{Alert, Status};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A change of one alert that is stored, with the alert as it was then.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertEvent {
    /// The alert.
    pub alert: Arc<Alert>,
    /// What happened to it.
    pub cause: Cause,
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is new, or came back.
    Raised,
    /// Its severity rose.
    Worse,
    /// Its status changed.
    Status {
        /// What it was.
        from: Status,
    },
    /// Nobody is to be told of it any more.
    Muted,
    /// People are to be told of it again.
    Unmuted,
    /// Something else people see: assignee, comment, priority, incident, how long it is suppressed.
    Changed,
}

/// What a reader of the queue receives.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A change.
    Alert(AlertEvent),
    /// The reader was too slow and changes are lost to it: the live alerts show the present.
    Missed,
}

/// The changes from one moment on, for one reader. Dropping it ends its part.
pub struct EventQueue {
    shared: Arc<Shared>,
}

/// The end of a queue that [`crate::Alerts`] holds.
pub(crate) struct EventSender {
    shared: Weak<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    wake: Notify,
    max: usize,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<AlertEvent>,
    has_missed: bool,
    is_closed: bool,
}

/// A queue that holds at most `max` events (at least one), and its sender.
pub(crate) fn queue(max: usize) -> (EventSender, EventQueue) {
    let shared = Arc::new(Shared { inner: Mutex::default(), wake: Notify::new(), max: max.max(1) });
    (EventSender { shared: Arc::downgrade(&shared) }, EventQueue { shared })
}

impl EventQueue {
    /// Waits for the next change; `None` once the alerts are closed and everything was read. Cancel safe.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            let woken = self.shared.wake.notified();
            {
                let mut inner = self.shared.inner.lock();
                if let Some(event) = inner.next() {
                    return Some(event);
                }
                if inner.is_closed {
                    return None;
                }
            }
            woken.await;
        }
    }

    /// The next change, if there is one already.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.shared.inner.lock().next()
    }
}

impl Inner {
    fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.has_missed) {
            return Some(Event::Missed);
        }
        self.events.pop_front().map(Event::Alert)
    }
}

impl EventSender {
    /// Sends a change; returns false when nobody reads the queue any more.
    pub(crate) fn send(&self, event: AlertEvent) -> bool {
        self.with(|inner, max| {
            if inner.events.len() >= max {
                let missed = inner.events.len() as u64;
                metrics::counter!("alert_events_missed_total").increment(missed);
                tracing::warn!(
                    missed,
                    "a reader of alert events is too slow and reads the live alerts again"
                );
                inner.events.clear();
                inner.has_missed = true;
            }
            inner.events.push_back(event);
        })
    }

    /// Says that changes are lost.
    pub(crate) fn miss(&self) -> bool {
        self.with(|inner, _| inner.has_missed = true)
    }

    /// No more will come.
    pub(crate) fn close(&self) {
        self.with(|inner, _| inner.is_closed = true);
    }

    fn with(&self, change: impl FnOnce(&mut Inner, usize)) -> bool {
        let Some(shared) = self.shared.upgrade() else { return false };
        change(&mut shared.inner.lock(), shared.max);
        shared.wake.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{raise, tests::verdict};
    use heimdall_model::Timestamp;

    fn event(position: u64) -> AlertEvent {
        let alert = raise(verdict("10.0.0.1", position), "fp".to_owned(), None, Timestamp(1));
        AlertEvent { alert: Arc::new(alert), cause: Cause::Raised }
    }

    #[tokio::test]
    async fn a_full_queue_says_so_once_and_goes_on_with_what_follows() {
        let (sender, mut queue) = queue(2);
        for position in 1..=3 {
            assert!(sender.send(event(position)));
        }
        assert_eq!(queue.recv().await, Some(Event::Missed));
        assert_eq!(queue.recv().await, Some(Event::Alert(event(3))));
        assert_eq!(queue.try_recv(), None);
        sender.send(event(4));
        sender.close();
        assert_eq!(queue.recv().await, Some(Event::Alert(event(4))), "what was sent before the end is read");
        assert_eq!(queue.recv().await, None);
        drop(queue);
        assert!(!sender.send(event(5)));
    }
}
