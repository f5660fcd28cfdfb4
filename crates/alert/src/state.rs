//! What is known of alerts in memory: the latest alert of each finding, and what is not stored yet.
//!
//! Invariants:
//! - an alert that is not stored yet is in `pending`, newest state, and is never evicted from `latest`;
//! - `latest` holds at most one alert per fingerprint: the live one, else the one raised last;
//! - versions rise with every change; everything up to `committed` is stored.

use std::collections::HashMap;
use std::sync::Arc;

use heimdall_metastore::{AlertCount, AlertRow, AlertStore, MetastoreError};
use heimdall_model::{Alert, AlertId, Status};
use tokio::sync::broadcast;

use crate::event::{AlertEvent, Cause};
use crate::flapping::FlapConfig;
use crate::live::Live;
use crate::priority::PriorityRule;
use crate::stream::{AlertChange, DELTAS_KEPT, Delta};

/// Events of one alert that wait for the metastore; beyond, the oldest go, and the readers are told that they missed some.
const EVENTS_WAITING_MAX: usize = 32;

/// A change waiting for the metastore.
pub(crate) struct Pending {
    pub(crate) row: AlertRow,
    pub(crate) version: u64,
    /// Subscribers have not been told of the latest state.
    is_untold: bool,
    /// To be sent once stored, each with the version it was made at.
    events: Vec<(u64, AlertEvent)>,
}

/// One alert of a round of the writer.
pub(crate) struct Item {
    pub(crate) row: AlertRow,
    version: u64,
    event_count: usize,
}

struct Cached {
    row: AlertRow,
    used: u64,
}

/// Whether subscribers hear of a change at once or with the next round of the writer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    Now,
    Later,
}

pub(crate) struct State {
    latest: HashMap<String, Cached>,
    fingerprints: HashMap<AlertId, String>,
    pending: HashMap<AlertId, Pending>,
    pub(crate) version: u64,
    pub(crate) committed: u64,
    pub(crate) seq: u64,
    pub(crate) deltas: broadcast::Sender<Delta>,
    /// Alerts by status, in the order of `Status::ALL`; resolved ones are not counted.
    by_status: [u64; Status::ALL.len()],
    /// Rises whenever feedback changes.
    pub(crate) feedback_version: u64,
    /// What must be known of every live alert.
    pub(crate) live: Live,
    /// Hot rules.
    pub(crate) flapping: FlapConfig,
    pub(crate) priorities: Arc<Vec<PriorityRule>>,
    /// Events were dropped before they could be sent.
    pub(crate) has_dropped_events: bool,
    /// The writer shall not wait for its interval.
    pub(crate) is_urgent: bool,
    pub(crate) is_closed: bool,
}

impl State {
    pub(crate) fn new(counts: &[AlertCount], flapping: FlapConfig, priorities: Vec<PriorityRule>) -> State {
        let mut by_status = [0; Status::ALL.len()];
        for count in counts.iter().filter(|count| count.status != Status::Resolved) {
            by_status[count.status as usize] += count.count;
        }
        State {
            latest: HashMap::new(),
            fingerprints: HashMap::new(),
            pending: HashMap::new(),
            version: 0,
            committed: 0,
            seq: 0,
            deltas: broadcast::Sender::new(DELTAS_KEPT),
            by_status,
            feedback_version: 0,
            live: Live::default(),
            flapping,
            priorities: Arc::new(priorities),
            has_dropped_events: false,
            is_urgent: false,
            is_closed: false,
        }
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn pending_rows(&self) -> impl Iterator<Item = &AlertRow> {
        self.pending.values().map(|pending| &pending.row)
    }

    /// The newest state of an alert as far as memory knows it.
    pub(crate) fn in_memory(&self, id: AlertId) -> Option<&AlertRow> {
        let cached = || {
            let cached = self.latest.get(self.fingerprints.get(&id)?)?;
            (cached.row.alert.id == id).then_some(&cached.row)
        };
        self.pending.get(&id).map(|pending| &pending.row).or_else(cached)
    }

    /// The newest state of an alert.
    pub(crate) fn find(
        &self,
        id: AlertId,
        store: &dyn AlertStore,
    ) -> Result<Option<AlertRow>, MetastoreError> {
        match self.in_memory(id) {
            Some(row) => Ok(Some(row.clone())),
            None => store.get(id),
        }
    }

    /// The live alert of a finding, else the one raised last.
    pub(crate) fn latest(
        &mut self,
        fingerprint: &str,
        store: &dyn AlertStore,
    ) -> Result<Option<AlertRow>, MetastoreError> {
        if let Some(cached) = self.latest.get_mut(fingerprint) {
            cached.used = self.version;
            return Ok(Some(cached.row.clone()));
        }
        let found = store.latest(fingerprint)?;
        if let Some(row) = &found {
            self.remember(row.clone());
        }
        Ok(found)
    }

    /// Takes the new state of an alert: to be stored, and to be told to subscribers now or with the next round.
    pub(crate) fn change(&mut self, row: AlertRow, tell: Tell) {
        self.version += 1;
        self.live.put(&row.alert, &self.flapping);
        if tell == Tell::Now {
            self.publish(AlertChange::Updated(row.alert.clone()));
        }
        let version = self.version;
        let pending = self.pending.entry(row.alert.id).or_insert_with(|| Pending {
            row: row.clone(),
            version,
            is_untold: false,
            events: Vec::new(),
        });
        (pending.row, pending.version) = (row.clone(), version);
        pending.is_untold = tell == Tell::Later;
        self.remember(row);
    }

    /// Tells subscribers of a new alert, whose state was just given to [`Self::change`].
    pub(crate) fn publish_raised(&mut self, alert: &Arc<Alert>) {
        if let Some(pending) = self.pending.get_mut(&alert.id) {
            pending.is_untold = false;
        }
        self.publish(AlertChange::Raised(alert.clone()));
    }

    /// Sends an event once the alert, whose state was just given to [`Self::change`], is stored.
    pub(crate) fn event(&mut self, alert: &Arc<Alert>, cause: Cause) {
        let Some(pending) = self.pending.get_mut(&alert.id) else { return };
        if pending.events.len() >= EVENTS_WAITING_MAX {
            pending.events.remove(0);
            self.has_dropped_events = true;
        }
        pending.events.push((self.version, AlertEvent { alert: Arc::clone(alert), cause }));
        self.is_urgent = true;
    }

    /// Counts an alert out of one status and into another.
    pub(crate) fn moved(&mut self, from: Option<Status>, to: Status) {
        if let Some(from) = from.filter(|from| *from != Status::Resolved) {
            let count = &mut self.by_status[from as usize];
            *count = count.saturating_sub(1);
        }
        if to != Status::Resolved {
            self.by_status[to as usize] += 1;
        }
    }

    /// Shows the number of live alerts in the metrics.
    pub(crate) fn show_gauges(&self) {
        for status in [Status::Open, Status::Acknowledged, Status::Suppressed] {
            #[expect(clippy::cast_precision_loss, reason = "a gauge; exact up to 2^53 alerts")]
            metrics::gauge!("alerts_open", "status" => status.as_str())
                .set(self.by_status[status as usize] as f64);
        }
    }

    /// Begins a round of the writer: tells subscribers what they do not know, and returns all that is to be stored, the
    /// resolved first, since only then may another alert of the same finding be live.
    pub(crate) fn round(&mut self) -> (Vec<Item>, u64) {
        let mut untold: Vec<_> = self
            .pending
            .values_mut()
            .filter_map(|pending| {
                let is_untold = std::mem::take(&mut pending.is_untold);
                is_untold.then(|| (pending.version, pending.row.alert.clone()))
            })
            .collect();
        untold.sort_unstable_by_key(|(version, _)| *version);
        untold.into_iter().for_each(|(_, alert)| self.publish(AlertChange::Updated(alert)));
        let mut items: Vec<_> = self
            .pending
            .values()
            .map(|pending| Item {
                row: pending.row.clone(),
                version: pending.version,
                event_count: pending.events.len(),
            })
            .collect();
        items.sort_unstable_by_key(|item| (item.row.alert.status != Status::Resolved, item.version));
        (items, self.version)
    }

    /// Notes that an item is stored; returns what may be sent now, with versions to order it by.
    pub(crate) fn stored(&mut self, item: &Item) -> Vec<(u64, AlertEvent)> {
        let id = item.row.alert.id;
        let Some(pending) = self.pending.get_mut(&id) else { return Vec::new() };
        let sent = item.event_count.min(pending.events.len());
        let events: Vec<_> = pending.events.drain(..sent).collect();
        if pending.version == item.version {
            self.pending.remove(&id);
        }
        events
    }

    /// Keeps at most `max` stored findings in memory; the least recently used go, a sixteenth at a time.
    pub(crate) fn evict(&mut self, max: usize) {
        if self.latest.len() <= max {
            return;
        }
        let mut stored: Vec<_> = self
            .latest
            .iter()
            .filter(|(_, cached)| !self.pending.contains_key(&cached.row.alert.id))
            .map(|(fingerprint, cached)| (cached.used, cached.row.alert.id, fingerprint.clone()))
            .collect();
        let excess = self.latest.len() - (max - max / 16);
        if excess < stored.len() {
            stored.select_nth_unstable(excess);
            stored.truncate(excess);
        }
        for (_, id, fingerprint) in stored {
            self.latest.remove(&fingerprint);
            self.fingerprints.remove(&id);
        }
    }

    #[cfg(test)]
    pub(crate) fn cached_count(&self) -> usize {
        self.latest.len()
    }

    fn remember(&mut self, row: AlertRow) {
        let (id, fingerprint) = (row.alert.id, row.alert.fingerprint.clone());
        if self.latest.get(&fingerprint).is_some_and(|cached| is_outranked(&row.alert, &cached.row.alert)) {
            return;
        }
        let used = self.version;
        if let Some(before) = self.latest.insert(fingerprint.clone(), Cached { row, used })
            && before.row.alert.id != id
        {
            self.fingerprints.remove(&before.row.alert.id);
        }
        self.fingerprints.insert(id, fingerprint);
    }

    fn publish(&mut self, change: AlertChange) {
        self.seq += 1;
        // An error only says that nobody is subscribed.
        let _ = self.deltas.send(Delta { seq: self.seq, change });
    }
}

/// Whether another alert of the same finding stays the latest when this one changes.
fn is_outranked(changed: &Alert, latest: &Alert) -> bool {
    latest.id != changed.id && changed.status == Status::Resolved && latest.raised_at >= changed.raised_at
}
