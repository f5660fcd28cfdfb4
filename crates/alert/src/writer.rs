//! The thread that stores alerts: one round every interval, at once when somebody waits for it.
//!
//! Invariants:
//! - an alert changed a hundred times between two rounds is stored once;
//! - nobody is sent an event before the round that stored its alert; events go out in the order things happened;
//! - incidents are stored before the alerts of the round: a replay finds the incident its alert was in;
//! - a failing metastore loses nothing: what is pending stays so and is tried again, and `ingest` waits when it is full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use heimdall_metastore::{AlertRow, Metastore, MetastoreError};
use parking_lot::{Condvar, Mutex};

use crate::alerts::WRITE_INTERVAL;
use crate::event::{AlertEvent, EventSender};
use crate::incident::book::Incidents;
use crate::state::{Item, State};

/// Alerts stored in one transaction.
const TRANSACTION_ROWS_MAX: usize = 1_000;
/// Pause after the metastore failed.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// Rounds tried once closed; then what is pending is given up, loudly.
const CLOSING_ROUNDS_MAX: u32 = 3;

/// What the writer and the callers share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Metastore>,
    pub(crate) state: Mutex<State>,
    /// Wakes the writer.
    pub(crate) wake: Condvar,
    /// Wakes whoever waits for a round to end.
    pub(crate) stored: Condvar,
    /// Readers of events.
    pub(crate) readers: Mutex<Vec<EventSender>>,
    pub(crate) incidents: Arc<Incidents>,
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
        self.incidents.flush()?;
        let mut events = Vec::new();
        let outcome =
            items.chunks(TRANSACTION_ROWS_MAX).try_for_each(|chunk| self.store_chunk(chunk, &mut events));
        self.send(events);
        outcome
    }

    fn store_chunk(&self, chunk: &[Item], events: &mut Vec<(u64, AlertEvent)>) -> Result<(), MetastoreError> {
        let rows: Vec<AlertRow> = chunk.iter().map(|item| item.row.clone()).collect();
        match self.store.alerts().put(&rows) {
            Err(MetastoreError::Conflict { .. }) => rows.iter().try_for_each(|row| self.store_one(row))?,
            outcome => outcome?,
        }
        let mut state = self.state.lock();
        events.extend(chunk.iter().flat_map(|item| state.stored(item)));
        Ok(())
    }

    fn send(&self, mut events: Vec<(u64, AlertEvent)>) {
        events.sort_by_key(|(version, _)| *version);
        let has_dropped = std::mem::take(&mut self.state.lock().has_dropped_events);
        let mut readers = self.readers.lock();
        if has_dropped {
            readers.retain(EventSender::miss);
        }
        for (_, event) in events {
            readers.retain(|reader| reader.send(event.clone()));
        }
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
}

fn report_lost(is_lost: bool, count: usize) {
    if is_lost {
        metrics::counter!("alerts_lost_total", "reason" => "closed").increment(count as u64);
        tracing::error!(count, "alerts closed before they could be stored");
    }
}
