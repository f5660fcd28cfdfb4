//! The thread that stores alerts: one round every interval, at once when somebody waits for it.
//!
//! Invariants:
//! - an alert changed a hundred times between two rounds is stored once;
//! - notifiers hear of an alert only after the round that stored it;
//! - a failing metastore loses nothing: what is pending stays so and is tried again, and `ingest` waits when it is full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use heimdall_metastore::{AlertRow, Metastore, MetastoreError};
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::alerts::WRITE_INTERVAL;
use crate::state::{Item, State};
use crate::stream::AlertChange;

/// Alerts stored in one transaction.
const TRANSACTION_ROWS_MAX: usize = 1_000;
/// Pause after the metastore failed.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// Rounds tried once closed; then what is pending is given up, loudly.
const CLOSING_ROUNDS_MAX: u32 = 3;

/// The queue of one notifier.
pub(crate) struct Queue {
    pub(crate) channel: &'static str,
    pub(crate) sender: mpsc::Sender<AlertChange>,
}

/// What the writer and the callers share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Metastore>,
    pub(crate) state: Mutex<State>,
    /// Wakes the writer.
    pub(crate) wake: Condvar,
    /// Wakes whoever waits for a round to end.
    pub(crate) stored: Condvar,
    pub(crate) queues: Mutex<Vec<Queue>>,
}

impl Shared {
    /// The writer thread: returns once closed and empty.
    pub(crate) fn write_until_closed(&self) {
        let mut closing_rounds = 0;
        loop {
            let (items, version, is_closed) = self.next_round();
            let outcome = self.store_all(&items);
            match &outcome {
                Ok(()) => self.finish_round(version),
                Err(error) => {
                    tracing::warn!(%error, pending = items.len(), "alerts not stored, retrying");
                    metrics::counter!("alert_store_failures_total").increment(1);
                }
            }
            if is_closed {
                closing_rounds += 1;
                if outcome.is_ok() || closing_rounds == CLOSING_ROUNDS_MAX {
                    return report_lost(outcome.is_err(), items.len());
                }
            }
            if outcome.is_err() {
                std::thread::sleep(RETRY_WAIT);
            }
        }
    }

    fn next_round(&self) -> (Vec<Item>, u64, bool) {
        let mut state = self.state.lock();
        let due = Instant::now() + WRITE_INTERVAL;
        while !state.is_urgent && !state.is_closed {
            if self.wake.wait_until(&mut state, due).timed_out() {
                break;
            }
        }
        state.is_urgent = false;
        let (items, version) = state.round();
        (items, version, state.is_closed)
    }

    fn store_all(&self, items: &[Item]) -> Result<(), MetastoreError> {
        items.chunks(TRANSACTION_ROWS_MAX).try_for_each(|chunk| self.store_chunk(chunk))
    }

    fn store_chunk(&self, chunk: &[Item]) -> Result<(), MetastoreError> {
        let rows: Vec<AlertRow> = chunk.iter().map(|item| item.row.clone()).collect();
        match self.store.alerts().put(&rows) {
            Err(MetastoreError::Conflict { .. }) => rows.iter().try_for_each(|row| self.store_one(row))?,
            outcome => outcome?,
        }
        let mut state = self.state.lock();
        let mut notices: Vec<_> = chunk.iter().flat_map(|item| state.stored(item)).collect();
        drop(state);
        notices.sort_by_key(|(version, _)| *version);
        notices.into_iter().for_each(|(_, change)| self.enqueue(change));
        Ok(())
    }

    /// Stores one alert of a chunk that was refused; only the one that contradicts the store is given up.
    fn store_one(&self, row: &AlertRow) -> Result<(), MetastoreError> {
        match self.store.alerts().put(std::slice::from_ref(row)) {
            Err(MetastoreError::Conflict { detail }) => {
                metrics::counter!("alerts_lost_total", "reason" => "conflict").increment(1);
                tracing::error!(alert = %row.alert.id, detail, "alert contradicts the metastore and is not stored");
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn finish_round(&self, version: u64) {
        let mut state = self.state.lock();
        state.committed = state.committed.max(version);
        drop(state);
        self.stored.notify_all();
    }

    fn enqueue(&self, change: AlertChange) {
        for queue in self.queues.lock().iter() {
            let reason = match queue.sender.try_send(change.clone()) {
                Ok(()) => continue,
                Err(TrySendError::Full(_)) => "queue_full",
                Err(TrySendError::Closed(_)) => "closed",
            };
            let (channel, alert) = (queue.channel, change.alert().id);
            metrics::counter!("alert_notifications_dropped_total", "channel" => channel, "reason" => reason)
                .increment(1);
            tracing::error!(channel, %alert, reason, "alert notification dropped");
        }
    }
}

fn report_lost(is_lost: bool, count: usize) {
    if is_lost {
        metrics::counter!("alerts_lost_total", "reason" => "closed").increment(count as u64);
        tracing::error!(count, "alerts closed before they could be stored");
    }
}
