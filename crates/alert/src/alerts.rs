//! The alerts of this server: dedup, lifecycle, feedback, persistence, lists, live stream.
//!
//! Invariants:
//! - one live alert per fingerprint; a verdict at or below the position of the latest alert of its finding is a replay and
//!   changes nothing, whatever that alert's status;
//! - `ingest` may be called again with the same verdicts after an error: what was applied is ignored;
//! - a change of status and feedback are durable when their call returns `Ok`; findings are durable after [`Alerts::flush`].
//!
//! Every call may block on disk: async code calls from a blocking thread. Not here: who may call (see `heimdall-guard`).

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use heimdall_metastore::{
    AlertCount, AlertCursor, AlertFilter, AlertRow, AlertStore, FeedbackCount, Metastore, PAGE_ROWS_MAX,
};
use heimdall_model::time::format_duration;
use heimdall_model::{Alert, AlertId, Clock, FeedbackVerdict, Status, Tenant, Timestamp, Verdict};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::mpsc;

use crate::error::AlertError;
use crate::lifecycle::{HEIMDALL, Step, change_status, fingerprint, judge, may_follow, raise, repeat};
use crate::state::{State, Tell};
use crate::stream::{AlertChange, Snapshot, Subscription};
use crate::writer::{Queue, Shared};

/// Repeats of one alert within this are stored and told once.
pub const WRITE_INTERVAL: Duration = Duration::from_millis(200);
/// Alerts not stored yet; at it, `ingest` waits for the metastore.
pub const PENDING_MAX: usize = 20_000;
/// Verdicts taken under one lock.
const CHUNK_VERDICTS_MAX: usize = 1_000;
/// How long a change of status, or `flush`, waits to be durable.
const FLUSH_WAIT: Duration = Duration::from_secs(10);
/// How long a list waits for the newest changes to be stored, before it shows what is.
const LIST_WAIT: Duration = Duration::from_secs(2);
/// Alerts resolved, and old ones deleted, by one tick.
const TICK_ROWS_MAX: usize = 1_000;

const _: () = assert!(CHUNK_VERDICTS_MAX <= PENDING_MAX);

/// How alerts age.
#[derive(Debug, Clone)]
pub struct AlertConfig {
    /// An `OPEN` or `ACKNOWLEDGED` alert without findings for this long is resolved (wall time; default 1 h; 0 = never).
    pub resolve_after: Duration,
    /// A `RESOLVED` alert is deleted after this long (wall time; default 90 days; 0 = never).
    pub keep_resolved: Duration,
    /// Findings whose latest alert is kept in memory (default 50,000, about 100 MiB); the others are read when they recur.
    pub cached_max: usize,
}

impl Default for AlertConfig {
    fn default() -> Self {
        AlertConfig {
            resolve_after: Duration::from_secs(3_600),
            keep_resolved: Duration::from_secs(90 * 86_400),
            cached_max: 50_000,
        }
    }
}

/// Some alerts, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertPage {
    /// The alerts.
    pub items: Vec<Arc<Alert>>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<AlertCursor>,
}

/// The alerts of this server.
pub struct Alerts {
    shared: Arc<Shared>,
    config: AlertConfig,
    clock: Arc<dyn Clock>,
    opened_at: Timestamp,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Alerts {
    /// Opens the alerts of a metastore and starts their writer.
    ///
    /// # Errors
    /// [`AlertError::Store`] or [`AlertError::Start`].
    pub fn open(
        store: Arc<dyn Metastore>,
        config: AlertConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Alerts>, AlertError> {
        let state = State::new(&store.alerts().counts(None)?);
        state.show_gauges();
        let shared = Arc::new(Shared {
            store,
            state: Mutex::new(state),
            wake: Condvar::new(),
            stored: Condvar::new(),
            queues: Mutex::new(Vec::new()),
        });
        let of_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("alert-writer".to_owned())
            .spawn(move || of_writer.write_until_closed())
            .map_err(AlertError::Start)?;
        let opened_at = clock.now();
        Ok(Arc::new(Alerts { shared, config, clock, opened_at, writer: Mutex::new(Some(writer)) }))
    }

    // ---- findings -------------------------------------------------------------------------------------------------

    /// Takes findings: each raises an alert, repeats one, or is a replay. Returns one change per alert, with its final state.
    ///
    /// Waits while [`PENDING_MAX`] alerts are not stored yet.
    ///
    /// # Errors
    /// [`AlertError::Store`] when the past of a finding cannot be read: call again with the same verdicts.
    pub fn ingest(&self, mut verdicts: Vec<Verdict>) -> Result<Vec<AlertChange>, AlertError> {
        verdicts.sort_by_key(|verdict| verdict.position);
        let mut all = Vec::new();
        while !verdicts.is_empty() {
            let rest = verdicts.split_off(CHUNK_VERDICTS_MAX.min(verdicts.len()));
            all.append(&mut self.ingest_chunk(std::mem::replace(&mut verdicts, rest))?);
        }
        Ok(all)
    }

    fn ingest_chunk(&self, verdicts: Vec<Verdict>) -> Result<Vec<AlertChange>, AlertError> {
        let now = self.clock.now();
        let mut state = self.wait_for_room(verdicts.len())?;
        let mut changes = Changes::default();
        let outcome =
            verdicts.into_iter().try_for_each(|verdict| self.apply(&mut state, verdict, now, &mut changes));
        let told = changes.tell(&mut state);
        state.evict(self.config.cached_max);
        state.show_gauges();
        let is_urgent = state.is_urgent;
        drop(state);
        if is_urgent {
            self.shared.wake.notify_one();
        }
        outcome.map(|()| told)
    }

    fn apply(
        &self,
        state: &mut State,
        verdict: Verdict,
        now: Timestamp,
        changes: &mut Changes,
    ) -> Result<(), AlertError> {
        let fingerprint = fingerprint(&verdict.tenant, &verdict.rule, &verdict.entity);
        let latest = state.latest(&fingerprint, self.store())?;
        if latest.as_ref().is_some_and(|row| verdict.position <= row.alert.position) {
            metrics::counter!("alert_verdicts_replayed_total").increment(1);
            return Ok(());
        }
        match latest {
            Some(row) if row.alert.status != Status::Resolved => {
                let mut alert = Alert::clone(&row.alert);
                repeat(&mut alert, verdict);
                changes.repeated(&row.alert, &alert);
                state.change(AlertRow { alert: Arc::new(alert), touched_at: now }, Tell::Later);
            }
            previous => {
                let previous = previous.as_ref().map(|row| &*row.alert);
                let alert = Arc::new(raise(verdict, fingerprint, previous, now));
                metrics::counter!("alerts_raised_total", "severity" => alert.severity.as_str(), "detector" => alert.detector.clone()).increment(1);
                state.moved(None, Status::Open);
                changes.raised(alert.id);
                state.change(AlertRow { alert, touched_at: now }, Tell::Later);
            }
        }
        Ok(())
    }

    fn wait_for_room(&self, verdict_count: usize) -> Result<MutexGuard<'_, State>, AlertError> {
        let deadline = Instant::now() + FLUSH_WAIT;
        let mut state = self.shared.state.lock();
        while state.pending_count() + verdict_count > PENDING_MAX && !state.is_closed {
            state.is_urgent = true;
            self.shared.wake.notify_one();
            if self.shared.stored.wait_until(&mut state, deadline).timed_out() {
                return Err(AlertError::NotDurable);
            }
        }
        Ok(state)
    }

    /// Waits until every change made so far is durable: before a checkpoint moves past the verdicts that made it.
    ///
    /// # Errors
    /// [`AlertError::NotDurable`] when the metastore has not answered for ten seconds.
    pub fn flush(&self) -> Result<(), AlertError> {
        self.flush_within(FLUSH_WAIT)
    }

    fn flush_within(&self, wait: Duration) -> Result<(), AlertError> {
        let deadline = Instant::now() + wait;
        let mut state = self.shared.state.lock();
        let version = state.version;
        while state.committed < version {
            state.is_urgent = true;
            self.shared.wake.notify_one();
            if self.shared.stored.wait_until(&mut state, deadline).timed_out() {
                return Err(AlertError::NotDurable);
            }
        }
        Ok(())
    }

    // ---- lifecycle ------------------------------------------------------------------------------------------------

    /// Changes the status of an alert; a step to the status it has changes nothing and is `Ok`.
    ///
    /// # Errors
    /// [`AlertError::NotFound`], [`AlertError::Conflict`], [`AlertError::Superseded`]: nothing changed.
    /// [`AlertError::NotDurable`]: it changed, and is stored as soon as the metastore answers. [`AlertError::Store`]: nothing changed.
    pub fn step(
        &self,
        tenant: Option<&Tenant>,
        id: AlertId,
        step: Step,
        by: &str,
        note: Option<&str>,
    ) -> Result<Arc<Alert>, AlertError> {
        let alert = {
            let mut state = self.shared.state.lock();
            let row = self.owned(&state, tenant, id)?;
            self.check_step(&mut state, &row.alert, step.target())?;
            if row.alert.status == step.target() {
                return Ok(row.alert);
            }
            self.move_to(&mut state, &row, step.target(), by, note)
        };
        self.flush()?;
        Ok(alert)
    }

    fn owned(&self, state: &State, tenant: Option<&Tenant>, id: AlertId) -> Result<AlertRow, AlertError> {
        let found = state.find(id, self.store())?;
        found
            .filter(|row| tenant.is_none_or(|tenant| *tenant == row.alert.tenant))
            .ok_or(AlertError::NotFound { id })
    }

    fn check_step(&self, state: &mut State, alert: &Alert, to: Status) -> Result<(), AlertError> {
        let from = alert.status;
        if from != to && !may_follow(from, to) {
            return Err(AlertError::Conflict { id: alert.id, from, to });
        }
        if from == Status::Resolved && to != Status::Resolved {
            let latest = state.latest(&alert.fingerprint, self.store())?;
            if let Some(newer) = latest.filter(|latest| latest.alert.id != alert.id) {
                return Err(AlertError::Superseded { id: alert.id, newer: newer.alert.id });
            }
        }
        Ok(())
    }

    fn move_to(
        &self,
        state: &mut State,
        row: &AlertRow,
        to: Status,
        by: &str,
        note: Option<&str>,
    ) -> Arc<Alert> {
        let now = self.clock.now();
        let mut alert = Alert::clone(&row.alert);
        change_status(&mut alert, to, by, note, now);
        let alert = Arc::new(alert);
        state.moved(Some(row.alert.status), to);
        state.change(AlertRow { alert: alert.clone(), touched_at: now }, Tell::Now);
        state.show_gauges();
        alert
    }

    /// Housekeeping, to be called every few seconds: resolves alerts gone quiet and deletes old resolved ones, at most 1,000 of
    /// each. Quiet is counted from the start of this server at the earliest, since before it nobody looked. Returns how many
    /// were resolved.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn tick(&self, now: Timestamp) -> Result<usize, AlertError> {
        if let Some(before) = ago(now, self.config.keep_resolved) {
            self.store().delete_resolved(before, TICK_ROWS_MAX)?;
        }
        match ago(now, self.config.resolve_after) {
            Some(before) if before > self.opened_at => self.resolve_quiet(before),
            _ => Ok(0),
        }
    }

    fn resolve_quiet(&self, before: Timestamp) -> Result<usize, AlertError> {
        let candidates = self.store().quiet(before, TICK_ROWS_MAX)?;
        let after = i64::try_from(self.config.resolve_after.as_nanos()).unwrap_or(i64::MAX);
        let note = format!("no finding for {}", format_duration(after));
        let mut resolved = 0;
        for id in candidates {
            let mut state = self.shared.state.lock();
            let Some(row) = state.find(id, self.store())? else { continue };
            let is_watched = matches!(row.alert.status, Status::Open | Status::Acknowledged);
            if is_watched && row.touched_at < before {
                self.move_to(&mut state, &row, Status::Resolved, HEIMDALL, Some(&note));
                resolved += 1;
            }
        }
        Ok(resolved)
    }

    // ---- feedback -------------------------------------------------------------------------------------------------

    /// Notes whether a person finds an alert right. It may be said again, which changes nothing, and otherwise, which
    /// replaces it; in every status, also of an alert that came back since.
    ///
    /// # Errors
    /// [`AlertError::NotFound`], [`AlertError::Store`]: nothing changed. [`AlertError::NotDurable`]: it is noted, and stored as
    /// soon as the metastore answers.
    pub fn judge(
        &self,
        tenant: Option<&Tenant>,
        id: AlertId,
        verdict: FeedbackVerdict,
        by: &str,
        note: Option<&str>,
    ) -> Result<Arc<Alert>, AlertError> {
        let alert = {
            let mut state = self.shared.state.lock();
            let row = self.owned(&state, tenant, id)?;
            let mut alert = Alert::clone(&row.alert);
            if judge(&mut alert, verdict, by, note, self.clock.now()) {
                // The alert may be an old one: what is known of its finding stays the latest.
                state.latest(&alert.fingerprint, self.store())?;
                let alert = Arc::new(alert);
                state.change(AlertRow { alert: alert.clone(), touched_at: row.touched_at }, Tell::Now);
                state.feedback_version += 1;
                metrics::counter!("alert_feedback_total", "verdict" => verdict.as_str()).increment(1);
                alert
            } else {
                row.alert
            }
        };
        self.flush()?;
        Ok(alert)
    }

    /// A number that rises whenever feedback changes: as long as it stays, so do the counts.
    #[must_use]
    pub fn feedback_version(&self) -> u64 {
        self.shared.state.lock().feedback_version
    }

    /// Counts the feedback of a tenant, or of all, by tenant, detector and rule; alerts deleted since count too.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn feedback_counts(&self, tenant: Option<&Tenant>) -> Result<Vec<FeedbackCount>, AlertError> {
        self.settle();
        Ok(self.store().feedback_counts(tenant)?)
    }

    /// Returns at most `limit` earlier alerts that are like this one, the closest first (see [`AlertStore::similar`]).
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn similar(&self, alert: &Alert, limit: usize) -> Result<Vec<Arc<Alert>>, AlertError> {
        Ok(self.store().similar(alert, limit)?.into_iter().map(Arc::new).collect())
    }

    // ---- views ----------------------------------------------------------------------------------------------------

    /// Returns an alert of this tenant, or of any.
    ///
    /// # Errors
    /// [`AlertError::NotFound`] or [`AlertError::Store`].
    pub fn get(&self, tenant: Option<&Tenant>, id: AlertId) -> Result<Arc<Alert>, AlertError> {
        let state = self.shared.state.lock();
        Ok(self.owned(&state, tenant, id)?.alert)
    }

    /// Returns at most `limit` (1 to 1,000) alerts older than the cursor, newest first by `raised_at`.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn list(
        &self,
        filter: &AlertFilter,
        after: Option<&AlertCursor>,
        limit: usize,
    ) -> Result<AlertPage, AlertError> {
        self.settle();
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let alerts = self.store().list(filter, after, limit)?;
        let last = alerts.last().map(|last| AlertCursor { raised_at: last.raised_at, id: last.id });
        let next = last.filter(|_| alerts.len() == limit);
        Ok(AlertPage { items: alerts.into_iter().map(Arc::new).collect(), next })
    }

    /// Counts the alerts of a tenant, or of all, by status and severity; pairs without alerts are left out.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<AlertCount>, AlertError> {
        self.settle();
        Ok(self.store().counts(tenant)?)
    }

    /// Lets the store catch up, so that a list shows what its reader just did; an unwell metastore only makes lists older.
    fn settle(&self) {
        if self.flush_within(LIST_WAIT).is_err() {
            tracing::debug!("list of alerts without the newest changes");
        }
    }

    /// Subscribes to the changes from now on, of one tenant or of all.
    #[must_use]
    pub fn subscribe(&self, tenant: Option<&Tenant>) -> Subscription {
        let state = self.shared.state.lock();
        Subscription::new(state.deltas.subscribe(), tenant, state.seq)
    }

    /// Returns the newest alerts and the number of the last delta they include.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn snapshot(&self, tenant: Option<&Tenant>, limit: usize) -> Result<Snapshot, AlertError> {
        self.snapshot_of(&self.shared.state.lock(), tenant, limit)
    }

    /// Returns a snapshot and exactly the deltas after it.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn watch(
        &self,
        tenant: Option<&Tenant>,
        limit: usize,
    ) -> Result<(Snapshot, Subscription), AlertError> {
        let state = self.shared.state.lock();
        let snapshot = self.snapshot_of(&state, tenant, limit)?;
        let subscription = Subscription::new(state.deltas.subscribe(), tenant, snapshot.seq);
        Ok((snapshot, subscription))
    }

    /// What is stored, overlaid with what is pending. The lock is held, so nothing moves in between.
    fn snapshot_of(
        &self,
        state: &State,
        tenant: Option<&Tenant>,
        limit: usize,
    ) -> Result<Snapshot, AlertError> {
        let filter = AlertFilter { tenant: tenant.cloned(), ..AlertFilter::default() };
        let stored = self.store().list(&filter, None, limit)?;
        let mut newest: HashMap<AlertId, Arc<Alert>> =
            stored.into_iter().map(|alert| (alert.id, Arc::new(alert))).collect();
        let pending = state.pending_rows().map(|row| &row.alert);
        let mine = pending.filter(|alert| tenant.is_none_or(|tenant| *tenant == alert.tenant));
        newest.extend(mine.map(|alert| (alert.id, alert.clone())));
        let mut alerts: Vec<_> = newest.into_values().collect();
        alerts.sort_unstable_by_key(|alert| std::cmp::Reverse((alert.raised_at, alert.id)));
        alerts.truncate(limit);
        Ok(Snapshot { seq: state.seq, alerts })
    }

    // ---- notifiers ------------------------------------------------------------------------------------------------

    /// Adds a channel that is told of new and escalated alerts once they are stored.
    pub(crate) fn add_queue(&self, channel: &'static str, queued_max: usize) -> mpsc::Receiver<AlertChange> {
        let (sender, receiver) = mpsc::channel(queued_max);
        self.shared.queues.lock().push(Queue { channel, sender });
        receiver
    }

    /// Says whether a channel shall still be told: not when it was, nor when the alert is being kept quiet by now.
    pub(crate) fn is_due(&self, change: &AlertChange, channel: &str) -> bool {
        let state = self.shared.state.lock();
        let alert = state.in_memory(change.alert().id).map_or(change.alert(), |row| &row.alert);
        let was_told = alert.notified.iter().any(|told| told == channel);
        let is_new = matches!(change, AlertChange::Raised(_));
        alert.status != Status::Suppressed && !(is_new && was_told)
    }

    /// Notes in the alert that a channel was told.
    pub(crate) fn record_notified(&self, id: AlertId, channel: &str) -> Result<(), AlertError> {
        let mut state = self.shared.state.lock();
        let Some(row) = state.find(id, self.store())? else { return Ok(()) };
        if !row.alert.notified.iter().any(|told| told == channel) {
            let mut alert = Alert::clone(&row.alert);
            alert.notified.push(channel.to_owned());
            state.change(AlertRow { alert: Arc::new(alert), touched_at: row.touched_at }, Tell::Later);
        }
        Ok(())
    }

    /// `OPEN` alerts raised within `window` that a channel was not told of, oldest first: a stop came in between.
    pub(crate) fn untold(&self, channel: &str, window: Duration) -> Result<Vec<AlertChange>, AlertError> {
        let since = ago(self.clock.now(), window);
        let filter = AlertFilter { statuses: vec![Status::Open], since, ..AlertFilter::default() };
        let alerts = self.store().list(&filter, None, PAGE_ROWS_MAX)?;
        let untold = alerts.into_iter().filter(|alert| !alert.notified.iter().any(|told| told == channel));
        Ok(untold.rev().map(|alert| AlertChange::Raised(Arc::new(alert))).collect())
    }

    /// Stores what is pending and stops the writer; later changes are not stored. Dropping does the same.
    pub fn close(&self) {
        self.shared.state.lock().is_closed = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the alert writer panicked");
        }
        self.shared.stored.notify_all();
    }

    fn store(&self) -> &dyn AlertStore {
        self.shared.store.alerts()
    }
}

impl Drop for Alerts {
    fn drop(&mut self) {
        self.close();
    }
}

/// What one chunk of verdicts did, in order of first effect.
#[derive(Default)]
struct Changes {
    order: Vec<AlertId>,
    by_id: HashMap<AlertId, Effect>,
}

#[derive(Default, Clone, Copy)]
struct Effect {
    is_raised: bool,
    is_escalated: bool,
}

impl Changes {
    fn raised(&mut self, id: AlertId) {
        self.effect(id).is_raised = true;
    }

    fn repeated(&mut self, before: &Alert, after: &Alert) {
        let is_escalated = after.severity > before.severity && after.status != Status::Suppressed;
        self.effect(after.id).is_escalated |= is_escalated;
    }

    fn effect(&mut self, id: AlertId) -> &mut Effect {
        let order = &mut self.order;
        self.by_id.entry(id).or_insert_with(|| {
            order.push(id);
            Effect::default()
        })
    }

    /// Tells subscribers of what is new, queues what people must hear, and returns the changes.
    fn tell(self, state: &mut State) -> Vec<AlertChange> {
        let mut changes = Vec::with_capacity(self.order.len());
        for id in self.order {
            let effect = self.by_id.get(&id).copied().unwrap_or_default();
            let Some(alert) = state.in_memory(id).map(|row| row.alert.clone()) else { continue };
            let change = if effect.is_raised {
                state.publish_raised(&alert);
                AlertChange::Raised(alert)
            } else {
                AlertChange::Updated(alert)
            };
            if effect.is_raised || effect.is_escalated {
                state.notify(change.clone());
            }
            changes.push(change);
        }
        changes
    }
}

/// The time this long before `now`; none for the duration 0, which means never.
fn ago(now: Timestamp, duration: Duration) -> Option<Timestamp> {
    let ns = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    (ns > 0).then(|| now.saturating_add_ns(-ns))
}

#[cfg(test)]
pub(crate) mod tests;
