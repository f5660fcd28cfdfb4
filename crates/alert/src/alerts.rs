//! The alerts of this server: dedup, lifecycle, feedback, persistence, lists, live stream.
//!
//! - here: findings come in, and what became of them is made durable
//! - `people`: what people change; `post`: what other systems post; `recover`: findings that are over; `upkeep`: what time changes; `views`: lists and streams
//!
//! Invariants:
//! - one live alert per fingerprint; a verdict at or below the position of the latest alert of its finding is a replay and
//!   changes nothing, whatever that alert's status: it neither raises nor reopens;
//! - a finding that comes back within `reopen_within` of its resolution reopens the same alert, later it raises another;
//! - `ingest` may be called again with the same verdicts after an error: what was applied is ignored;
//! - a change of status and feedback are durable when their call returns `Ok`; findings are durable after [`Alerts::flush`];
//! - `muted` is right when an alert is raised, and again at most one tick after a silence or an inhibiting alert changed.
//!
//! Every call may block on disk: async code calls from a blocking thread. Locks are taken in the order alerts, incidents,
//! silences. Not here: who may call (see `heimdall-guard`).

mod people;
mod post;
mod recover;
mod told;
mod upkeep;
mod views;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use heimdall_metastore::{
    AlertCursor, AlertFilter, AlertRow, AlertSort, AlertStore, Metastore, PAGE_ROWS_MAX,
};
use heimdall_model::{
    Alert, AlertId, Clock, IncidentId, Mute, MuteKind, Severity, Status, Timestamp, Verdict,
};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::AlertError;
use crate::event::{Cause, EventQueue};
use crate::flapping::{FlapConfig, flapping_until, ns};
use crate::incident::book::Incidents;
use crate::incident::{EntryKind, IncidentConfig};
use crate::inhibit::InhibitRule;
use crate::lifecycle::{HEIMDALL, come_back, fingerprint, raise, repeat, resolved_at};
use crate::priority::{PriorityRule, priority_of};
use crate::silence::Silences;
use crate::state::{State, Tell};
use crate::stream::AlertChange;
use crate::writer::Shared;

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

/// Statuses of live alerts.
const LIVE: [Status; 3] = [Status::Open, Status::Acknowledged, Status::Suppressed];

const _: () = assert!(CHUNK_VERDICTS_MAX <= PENDING_MAX);

/// How alerts age, come back, and belong together.
#[derive(Debug, Clone)]
pub struct AlertConfig {
    /// An `OPEN` or `ACKNOWLEDGED` alert without findings for this long is resolved (wall time; default 1 h; 0 = never).
    pub resolve_after: Duration,
    /// A `RESOLVED` alert is deleted after this long (wall time; default 90 days; 0 = never).
    pub keep_resolved: Duration,
    /// Findings whose latest alert is kept in memory (default 50,000, about 100 MiB); the others are read when they recur.
    pub cached_max: usize,
    /// A posted alert that says no end is over after this long, unless it is posted again (default 5 min, as Alertmanager's
    /// `resolve_timeout`).
    pub posted_ends_after: Duration,
    /// Alerts that come and go.
    pub flapping: FlapConfig,
    /// Alerts that belong together.
    pub incidents: IncidentConfig,
}

impl Default for AlertConfig {
    fn default() -> Self {
        AlertConfig {
            resolve_after: Duration::from_secs(3_600),
            keep_resolved: Duration::from_secs(90 * 86_400),
            cached_max: 50_000,
            posted_ends_after: Duration::from_secs(300),
            flapping: FlapConfig::default(),
            incidents: IncidentConfig::default(),
        }
    }
}

/// Rules that may change while alerts live.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertRules {
    /// Which alerts keep others quiet; at most [`crate::inhibit::INHIBIT_RULES_MAX`].
    pub inhibit: Vec<InhibitRule>,
    /// How urgent alerts are when they are raised or grow worse.
    pub priorities: Vec<PriorityRule>,
    /// Alerts that come and go; none: as [`AlertConfig`] says.
    pub flapping: Option<FlapConfig>,
}

/// Some alerts, in the order asked for.
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
    silences: Arc<Silences>,
    opened_at: Timestamp,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Alerts {
    /// Opens the alerts of a metastore, their silences and incidents, and starts their writer.
    ///
    /// # Errors
    /// [`AlertError::Store`], [`AlertError::Silence`], [`AlertError::Incident`] or [`AlertError::Start`].
    pub fn open(
        store: Arc<dyn Metastore>,
        config: AlertConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Alerts>, AlertError> {
        let silences = Silences::open(Arc::clone(&store), Arc::clone(&clock))?;
        let incidents = Incidents::open(Arc::clone(&store), Arc::clone(&clock), config.incidents.clone())?;
        Alerts::open_with(store, config, clock, silences, incidents)
    }

    /// As [`Alerts::open`], with silences and incidents of the same metastore that were opened before.
    ///
    /// # Errors
    /// [`AlertError::Store`] or [`AlertError::Start`].
    pub fn open_with(
        store: Arc<dyn Metastore>,
        config: AlertConfig,
        clock: Arc<dyn Clock>,
        silences: Arc<Silences>,
        incidents: Arc<Incidents>,
    ) -> Result<Arc<Alerts>, AlertError> {
        let opened_at = clock.now();
        let mut state = State::new(&store.alerts().counts(None)?, config.flapping, Vec::new());
        read_live(&mut state, store.alerts(), &silences, &incidents, opened_at)?;
        state.show_gauges();
        let shared = Arc::new(Shared {
            store,
            state: Mutex::new(state),
            wake: Condvar::new(),
            stored: Condvar::new(),
            readers: Mutex::new(Vec::new()),
            incidents,
        });
        let of_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("alert-writer".to_owned())
            .spawn(move || of_writer.write_until_closed())
            .map_err(AlertError::Start)?;
        Ok(Arc::new(Alerts { shared, config, clock, silences, opened_at, writer: Mutex::new(Some(writer)) }))
    }

    /// The silences that mute these alerts.
    #[must_use]
    pub fn silences(&self) -> &Arc<Silences> {
        &self.silences
    }

    /// The incidents these alerts are in.
    #[must_use]
    pub fn incidents(&self) -> &Arc<Incidents> {
        &self.shared.incidents
    }

    /// Takes other rules. Inhibition is applied to live alerts by the next tick; priorities to what is raised or grows worse
    /// from now on, since people may have set those of live alerts.
    pub fn set_rules(&self, rules: AlertRules) {
        let mut state = self.shared.state.lock();
        state.priorities = Arc::new(rules.priorities);
        state.flapping = rules.flapping.unwrap_or(self.config.flapping);
        state.live.set_inhibit_rules(rules.inhibit);
    }

    /// What happens to alerts from now on, once it is stored. Of what happens while `max` events wait to be read, the reader
    /// only learns that it happened.
    #[must_use]
    pub fn events(&self, max: usize) -> EventQueue {
        let (sender, queue) = crate::event::queue(max);
        self.shared.readers.lock().push(sender);
        queue
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
        let told = self.end_chunk(state, changes);
        outcome.map(|()| told)
    }

    /// Ends a chunk of changes made under one lock: tells of them, and wakes the writer if somebody waits for it.
    fn end_chunk(&self, mut state: MutexGuard<'_, State>, changes: Changes) -> Vec<AlertChange> {
        let told = changes.tell(&mut state);
        state.evict(self.config.cached_max);
        state.show_gauges();
        let is_urgent = state.is_urgent;
        drop(state);
        if is_urgent {
            self.shared.wake.notify_one();
        }
        told
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
                self.repeated(state, &row.alert, alert, now, changes);
            }
            Some(row) if self.comes_back(state, &row.alert, now) => {
                let mut alert = Alert::clone(&row.alert);
                repeat(&mut alert, verdict);
                self.returned(state, alert, now, changes);
            }
            previous => {
                let previous = previous.as_ref().map(|row| &*row.alert);
                let mut alert = raise(verdict, fingerprint, previous, now);
                alert.priority = priority_of(&alert, &state.priorities);
                self.raised(state, alert, now, changes);
            }
        }
        Ok(())
    }

    /// Whether a finding that was resolved is still the same one.
    fn comes_back(&self, state: &State, alert: &Alert, now: Timestamp) -> bool {
        let since = ago(now, state.flapping.reopen_within);
        since.is_some_and(|since| resolved_at(alert).is_some_and(|at| at >= since))
    }

    /// A live alert was found again.
    fn repeated(
        &self,
        state: &mut State,
        before: &Alert,
        mut alert: Alert,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let is_worse = alert.severity > before.severity;
        let (id, incidents) = (alert.id, Arc::clone(&self.shared.incidents));
        if is_worse {
            alert.priority = alert.priority.min(priority_of(&alert, &state.priorities));
            changes.effect(id).is_worse = true;
            if alert.incident.is_none() && alert.severity == Severity::Critical {
                alert = self.correlated(state, alert, now, changes);
            }
            incidents.follow(&alert, EntryKind::Worse, &format!("{} now", alert.severity), HEIMDALL, now);
        } else {
            changes.effect(id);
        }
        state.change(AlertRow { alert: Arc::new(alert), touched_at: now }, Tell::Later);
        if is_worse {
            // Silences and inhibition may ask for the severity.
            state.live.recheck(vec![id]);
        }
    }

    /// A new alert.
    fn raised(&self, state: &mut State, alert: Alert, now: Timestamp, changes: &mut Changes) {
        metrics::counter!("alerts_raised_total", "severity" => alert.severity.as_str(), "detector" => alert.detector.clone()).increment(1);
        state.moved(None, Status::Open);
        changes.effect(alert.id).is_raised = true;
        self.begun(state, alert, now, changes);
    }

    /// A resolved alert is live again.
    fn returned(&self, state: &mut State, mut alert: Alert, now: Timestamp, changes: &mut Changes) {
        metrics::counter!("alerts_returned_total", "severity" => alert.severity.as_str()).increment(1);
        come_back(&mut alert, now);
        state.moved(Some(Status::Resolved), Status::Open);
        changes.effect(alert.id).is_returned = true;
        self.begun(state, alert, now, changes);
    }

    /// An alert begins to live: is it muted, and what does it belong to?
    fn begun(&self, state: &mut State, mut alert: Alert, now: Timestamp, changes: &mut Changes) {
        state.live.put(&alert, &state.flapping);
        alert.muted = self.mute_of(state, &alert, now);
        let alert = self.correlated(state, alert, now, changes);
        state.change(AlertRow { alert: Arc::new(alert), touched_at: now }, Tell::Later);
    }

    /// Finds or opens the incident of an alert.
    fn correlated(&self, state: &mut State, alert: Alert, now: Timestamp, changes: &mut Changes) -> Alert {
        let alert = Arc::new(alert);
        let joined = self.shared.incidents.raised(&alert, now);
        if let (Some(incident), Some(other)) = (joined.incident, joined.also) {
            match self.link(state, other, Some(incident), now, Tell::Later) {
                Ok(()) => changes.linked(other),
                // The incident lists it: the alert learns of it at the next start.
                Err(error) => {
                    tracing::warn!(alert = %other, %incident, %error, "alert does not know its incident yet")
                }
            }
        }
        let mut alert = Arc::unwrap_or_clone(alert);
        alert.incident = joined.incident.or(alert.incident);
        alert
    }

    /// Notes the incident of an alert.
    fn link(
        &self,
        state: &mut State,
        id: AlertId,
        incident: Option<IncidentId>,
        now: Timestamp,
        tell: Tell,
    ) -> Result<(), AlertError> {
        let Some(row) = state.find(id, self.store())? else { return Ok(()) };
        let mut alert = Alert::clone(&row.alert);
        alert.incident = incident;
        self.shared.incidents.attach(&alert, now);
        // The alert may be an old one: what is known of its finding stays the latest.
        state.latest(&alert.fingerprint, self.store())?;
        state.change(AlertRow { alert: Arc::new(alert), touched_at: row.touched_at }, tell);
        Ok(())
    }

    /// Why nobody is to be told of a live alert.
    fn mute_of(&self, state: &State, alert: &Alert, now: Timestamp) -> Option<Mute> {
        let inhibited = || {
            let by = state.live.inhibitor(alert.id)?;
            let reason = format!("alert {by} says it already");
            Some(Mute { kind: MuteKind::Inhibition, by: Some(by.to_string()), reason, since: now })
        };
        let flapping = || {
            flapping_until(&alert.returns, &state.flapping).filter(|until| *until > now)?;
            let reason = format!("it came back {} times lately", alert.returns.len());
            Some(Mute { kind: MuteKind::Flapping, by: None, reason, since: now })
        };
        let mute = self.silences.mute_of(alert, now).or_else(inhibited).or_else(flapping)?;
        let known = alert.muted.as_ref().filter(|known| is_same(known, &mute));
        Some(known.cloned().unwrap_or(mute))
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
        self.shared.readers.lock().drain(..).for_each(|reader| reader.close());
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
    is_returned: bool,
    is_worse: bool,
    /// A verdict is about it.
    is_found: bool,
    /// It learnt of its incident.
    is_linked: bool,
}

impl Changes {
    /// An alert learnt of its incident, whether or not a verdict of the chunk is about it.
    fn linked(&mut self, id: AlertId) {
        self.entry(id).is_linked = true;
    }

    /// What verdicts do to an alert.
    fn effect(&mut self, id: AlertId) -> &mut Effect {
        let effect = self.entry(id);
        effect.is_found = true;
        effect
    }

    fn entry(&mut self, id: AlertId) -> &mut Effect {
        let order = &mut self.order;
        self.by_id.entry(id).or_insert_with(|| {
            order.push(id);
            Effect::default()
        })
    }

    /// Tells subscribers of what is new, queues what others must hear, and returns the changes.
    fn tell(self, state: &mut State) -> Vec<AlertChange> {
        let mut changes = Vec::with_capacity(self.order.len());
        for id in self.order {
            let effect = self.by_id.get(&id).copied().unwrap_or_default();
            let Some(alert) = state.in_memory(id).map(|row| row.alert.clone()) else { continue };
            if effect.is_raised || effect.is_returned {
                state.event(&alert, Cause::Raised);
            } else if effect.is_worse {
                state.event(&alert, Cause::Worse);
            } else if effect.is_linked {
                state.event(&alert, Cause::Changed);
            }
            if effect.is_raised {
                state.publish_raised(&alert);
                changes.push(AlertChange::Raised(alert));
            } else if effect.is_found {
                changes.push(AlertChange::Updated(alert));
            }
        }
        changes
    }
}

/// Reads what must be known of every live alert, and mends what a stop between storing an incident and its alerts left.
fn read_live(
    state: &mut State,
    store: &dyn AlertStore,
    silences: &Silences,
    incidents: &Incidents,
    now: Timestamp,
) -> Result<(), AlertError> {
    let filter = AlertFilter { statuses: LIVE.to_vec(), ..AlertFilter::default() };
    let mut after: Option<AlertCursor> = None;
    let mut alone = Vec::new();
    loop {
        let page = store.list(&filter, after.as_ref(), PAGE_ROWS_MAX)?;
        let Some(last) = page.last() else { break };
        after = Some(AlertCursor::of(last, AlertSort::default()));
        for mut alert in page {
            let missed = incidents.attach(&alert, now);
            if missed.is_some() {
                alert.incident = missed;
                state.change(AlertRow { touched_at: now, alert: Arc::new(alert.clone()) }, Tell::Later);
            } else {
                state.live.put(&alert, &state.flapping);
            }
            let silenced = silences.mute_of(&alert, now);
            if silenced.is_some() || alert.muted.is_some() {
                state.live.recheck(vec![alert.id]);
            }
            if alert.incident.is_none() {
                alone.push(Arc::new(alert));
            }
        }
    }
    // The newest came first, and the newest is to be remembered.
    alone.iter().rev().for_each(|alert| incidents.remember(alert));
    Ok(())
}

/// Whether two mutes are by the same silence, alert or habit.
fn is_same(a: &Mute, b: &Mute) -> bool {
    (a.kind, &a.by) == (b.kind, &b.by)
}

/// The time this long before `now`; none for the duration 0, which means never.
fn ago(now: Timestamp, duration: Duration) -> Option<Timestamp> {
    (!duration.is_zero()).then(|| now.saturating_add_ns(-ns(duration)))
}

#[cfg(test)]
pub(crate) mod tests;
