//! What the pipeline knows, and its rounds: take what happened, send what is due, write down both.
//!
//! Invariants:
//! - a round is the only place where groups change, under one lock, on a blocking thread;
//! - what a round changed is written at its end, in the order groups, deliveries, decisions; what cannot be written is tried again
//!   by the next, and delays no message: people come before records;
//! - a group whose notice was taken is written with that before its next notice can be made.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use heimdall_metastore::{
    Document, DocumentCursor, DocumentFilter, Metastore, MetastoreError, PAGE_ROWS_MAX,
};
use heimdall_model::{AlertId, Clock, Tenant, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::group::{Group, Timing, Told, after};
use super::lane::{Done, Lane};
use super::log::{self, DECISIONS, DELIVERIES, GROUPS};
use super::take::Standing;
use super::window::Window;
use super::{
    ChannelStatus, Decision, Delivery, DeliveryFilter, DeliveryPage, DeliveryState, PipelineConfig,
    ReceiverStatus,
};
use crate::alerts::Alerts;
use crate::event::Event;
use crate::routing::{Receiver, Route, Routing};
use crate::silence::Silences;

/// Groups whose notice is made in one round; the others follow in the next, after what happened meanwhile.
const ROUND_GROUPS_MAX: usize = 500;
/// Documents written in one transaction.
const WRITE_ROWS_MAX: usize = 1_000;
/// Old documents are deleted this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Pause before what could not be written is tried again.
const WRITE_RETRY: Duration = Duration::from_secs(1);
/// State of a group that is.
const LIVE: &str = "live";
/// State of a group that is no more.
const OVER: &str = "over";

/// What a round is given.
#[derive(Default)]
pub(crate) struct Input {
    pub(crate) events: Vec<Event>,
    pub(crate) done: Vec<Done>,
    /// A routing that goes into force.
    pub(crate) desks: Option<(Arc<Routing>, Vec<Desk>)>,
    /// What the last process left is to be read first.
    pub(crate) must_load: bool,
}

/// A receiver at work.
pub(crate) struct Desk {
    pub(crate) receiver: Arc<Receiver>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) window: Window,
    pub(crate) overflow: BTreeMap<Tenant, Fold>,
}

/// Groups of a tenant that wait for the receiver's next digest.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    pub(crate) since: Timestamp,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) is_by_rate: bool,
}

/// A notice on its way.
pub(crate) struct Flight {
    pub(crate) delivery: Delivery,
    pub(crate) parts: Vec<Part>,
    pub(crate) is_mirror: bool,
    pub(crate) is_told: bool,
}

/// What a notice tells of one group.
pub(crate) struct Part {
    pub(crate) group: String,
    pub(crate) told: Vec<(AlertId, Told)>,
}

/// When groups are to be looked at.
#[derive(Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Timestamp, String)>,
    by_group: HashMap<String, Timestamp>,
}

pub(crate) struct State {
    pub(crate) routing: Arc<Routing>,
    pub(crate) desks: HashMap<String, Desk>,
    pub(crate) groups: HashMap<String, Group>,
    pub(crate) of_alert: HashMap<AlertId, Vec<String>>,
    pub(crate) timers: Timers,
    pub(crate) flights: HashMap<Uuid, Flight>,
    /// Groups to be written.
    pub(crate) dirty: HashSet<String>,
    /// Groups to be written off.
    pub(crate) over: Vec<Document>,
    /// Deliveries to be written.
    pub(crate) deliveries: HashMap<Uuid, Delivery>,
    /// Decisions to be written.
    pub(crate) decisions: BTreeMap<(AlertId, Tenant), Vec<Decision>>,
    swept_at: Option<Timestamp>,
    /// The last write failed.
    is_behind: bool,
}

pub(crate) struct Engine {
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) silences: Arc<Silences>,
    pub(crate) store: Arc<dyn Metastore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: PipelineConfig,
    state: Mutex<State>,
}

/// A round at work: the engine, its state, and the time, which stands still meanwhile.
pub(crate) struct Round<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) state: &'a mut State,
    pub(crate) now: Timestamp,
    /// Groups that took something and are not settled yet.
    pub(crate) touched: HashMap<String, Vec<Standing>>,
    /// A channel works again: alerts that had nowhere to go may have now.
    pub(crate) has_news_of_channels: bool,
}

impl Desk {
    pub(crate) fn new(receiver: Arc<Receiver>, lanes: Vec<Lane>) -> Desk {
        Desk { receiver, lanes, window: Window::default(), overflow: BTreeMap::new() }
    }

    pub(crate) fn mirrors(&self) -> bool {
        self.lanes.iter().any(|lane| lane.notifier.mirrors())
    }

    /// Whether no channel of it works.
    pub(crate) fn is_down(&self) -> bool {
        !self.lanes.is_empty() && self.lanes.iter().all(Lane::is_down)
    }
}

impl Timers {
    pub(crate) fn set(&mut self, group: &str, at: Option<Timestamp>) {
        if let Some(before) = self.by_group.remove(group) {
            self.by_time.remove(&(before, group.to_owned()));
        }
        if let Some(at) = at {
            self.by_group.insert(group.to_owned(), at);
            self.by_time.insert((at, group.to_owned()));
        }
    }

    fn pop(&mut self, now: Timestamp) -> Option<String> {
        let (_, group) = self.by_time.first().filter(|(at, _)| *at <= now)?.clone();
        self.set(&group, None);
        Some(group)
    }

    fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

impl Engine {
    pub(crate) fn new(
        alerts: Arc<Alerts>,
        silences: Arc<Silences>,
        store: Arc<dyn Metastore>,
        clock: Arc<dyn Clock>,
        config: PipelineConfig,
        routing: Arc<Routing>,
    ) -> Engine {
        let state = State {
            routing,
            desks: HashMap::new(),
            groups: HashMap::new(),
            of_alert: HashMap::new(),
            timers: Timers::default(),
            flights: HashMap::new(),
            dirty: HashSet::new(),
            over: Vec::new(),
            deliveries: HashMap::new(),
            decisions: BTreeMap::new(),
            swept_at: None,
            is_behind: false,
        };
        Engine { alerts, silences, store, clock, config, state: Mutex::new(state) }
    }

    /// Takes what happened, sends what is due, writes it down. Returns how long until the next thing is due.
    pub(crate) fn round(&self, input: Input) -> Duration {
        let now = self.clock.now();
        let mut guard = self.state.lock();
        let mut round = Round {
            engine: self,
            state: &mut guard,
            now,
            touched: HashMap::new(),
            has_news_of_channels: false,
        };
        round.all(input);
        let is_written = round.write();
        let next = round.next();
        show_gauges(&guard);
        drop(guard);
        let wait =
            next.map_or(super::SLEEP_MAX, |at| Duration::from_nanos((at.0 - now.0).max(0).unsigned_abs()));
        if is_written { wait } else { wait.min(WRITE_RETRY).max(Duration::from_millis(100)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn routing(&self) -> Arc<Routing> {
        Arc::clone(&self.state().routing)
    }

    pub(crate) fn in_flight_count(&self) -> usize {
        self.state().flights.len()
    }

    pub(crate) fn is_lane_down(&self, receiver: &str, lane: &str) -> bool {
        let state = self.state();
        let desk = state.desks.get(receiver);
        desk.is_some_and(|desk| desk.lanes.iter().any(|known| known.id == lane && known.is_down()))
    }

    /// Says what a stop leaves behind.
    pub(crate) fn stopped(&self) {
        let left = self.state().flights.len();
        if left > 0 {
            tracing::warn!(
                left,
                "stopped with notices on their way: their alerts are told after the next start"
            );
        }
    }

    pub(crate) fn channels(&self, receiver: &str) -> Option<super::Channels> {
        let state = self.state();
        let desk = state.desks.get(receiver)?;
        Some((Arc::clone(&desk.receiver), desk.lanes.iter().map(|lane| Arc::clone(&lane.notifier)).collect()))
    }

    pub(crate) fn receivers(&self) -> Vec<ReceiverStatus> {
        let (state, now) = (self.state(), self.clock.now());
        let status = |receiver: &Arc<Receiver>| {
            let desk = state.desks.get(&receiver.name)?;
            let channel = |lane: &Lane| ChannelStatus { kind: lane.notifier.kind(), is_down: lane.is_down() };
            Some(ReceiverStatus {
                name: receiver.name.clone(),
                channels: desk.lanes.iter().map(channel).collect(),
                people: state.routing.people_of(receiver, now),
                folded: desk.overflow.values().map(|fold| fold.groups.len()).sum(),
            })
        };
        state.routing.receivers().iter().filter_map(status).collect()
    }

    pub(crate) fn deliveries(
        &self,
        tenant: Option<&Tenant>,
        filter: &DeliveryFilter,
        after: Option<&DocumentCursor>,
        limit: usize,
    ) -> Result<DeliveryPage, MetastoreError> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let filter = DocumentFilter {
            tenant: tenant.cloned(),
            states: filter.states.iter().map(|state| state.as_str().to_owned()).collect(),
            key: filter.receiver.clone(),
            since: filter.since,
            until: None,
        };
        let documents = self.store.documents().list(DELIVERIES, &filter, after, limit)?;
        let last = documents.last().map(|last| DocumentCursor { at: last.at, id: last.id.clone() });
        let next = last.filter(|_| documents.len() == limit);
        let items = documents.iter().filter_map(|document| log::read(DELIVERIES, document)).collect();
        Ok(DeliveryPage { items, next })
    }

    pub(crate) fn why(&self, alert: AlertId) -> Result<Vec<Decision>, MetastoreError> {
        let filter = DocumentFilter { key: Some(alert.to_string()), ..DocumentFilter::default() };
        let documents = self.store.documents().list(DECISIONS, &filter, None, PAGE_ROWS_MAX)?;
        let read = |document: &Document| log::read::<Vec<Decision>>(DECISIONS, document);
        let mut decisions: Vec<_> = documents.iter().rev().filter_map(read).flatten().collect();
        decisions.sort_by_key(|decision| decision.at);
        Ok(decisions)
    }
}

impl Round<'_> {
    fn all(&mut self, input: Input) {
        if input.must_load {
            self.load();
        }
        let is_rerouted = input.desks.is_some() && !input.must_load;
        if let Some((routing, desks)) = input.desks {
            self.set_desks(routing, desks);
        }
        for done in input.done {
            self.done(done);
        }
        let mut has_missed = input.must_load || is_rerouted || self.has_news_of_channels;
        for event in input.events {
            match event {
                Event::Alert(event) => self.take_event(&event),
                Event::Missed => has_missed = true,
            }
        }
        if has_missed {
            self.reconcile();
        }
        self.settle_touched();
        if is_rerouted {
            self.move_orphans();
        }
        self.send_due();
    }

    fn set_desks(&mut self, routing: Arc<Routing>, desks: Vec<Desk>) {
        let mut before = std::mem::take(&mut self.state.desks);
        for mut desk in desks {
            if let Some(before) = before.remove(&desk.receiver.name) {
                (desk.window, desk.overflow) = (before.window, before.overflow);
            }
            self.state.desks.insert(desk.receiver.name.clone(), desk);
        }
        self.state.routing = routing;
        self.recall_rates();
    }

    fn send_due(&mut self) {
        for _ in 0..ROUND_GROUPS_MAX {
            let Some(group) = self.state.timers.pop(self.now) else { break };
            self.look_at(&group);
        }
        self.send_digests();
    }

    fn next(&mut self) -> Option<Timestamp> {
        let now = self.now;
        let digests = self.state.desks.values_mut().filter_map(|desk| desk.digest_at(now)).min();
        let swept = self.state.swept_at.map(|at| after(at, SWEEP_INTERVAL));
        [self.state.timers.next(), digests, swept].into_iter().flatten().min()
    }

    // ---- groups -------------------------------------------------------------------------------------------------

    /// What times a group; none when its receiver is no more.
    pub(crate) fn with_timing<T>(
        &mut self,
        key: &str,
        act: impl FnOnce(&mut Group, &Timing<'_>, &Routing) -> T,
    ) -> Option<T> {
        let routing = Arc::clone(&self.state.routing);
        let group = self.state.groups.get_mut(key)?;
        let desk = self.state.desks.get(&group.receiver)?;
        let route: &Route = routing.route(&group.path)?;
        let timing = Timing { route, mirrors: desk.mirrors(), sends_resolved: desk.receiver.sends_resolved };
        Some(act(group, &timing, &routing))
    }

    /// Settles a group and sets its timer; one without members is over.
    pub(crate) fn settle(&mut self, key: &str) {
        let now = self.now;
        let settled = self.with_timing(key, |group, timing, _| {
            let left = group.settle(timing, now);
            let next = [group.next(timing), group.escalation_at(timing.route)].into_iter().flatten().min();
            (next, left, group.members.is_empty() && group.in_flight.is_none())
        });
        let Some((next, left, is_over)) = settled else { return self.state.timers.set(key, None) };
        self.state.timers.set(key, next);
        for id in left {
            self.leave(id, key);
            self.state.dirty.insert(key.to_owned());
        }
        if is_over {
            self.end(key);
        }
    }

    /// Forgets that an alert is in a group.
    pub(crate) fn leave(&mut self, id: AlertId, key: &str) {
        if let Some(groups) = self.state.of_alert.get_mut(&id) {
            groups.retain(|known| known != key);
            if groups.is_empty() {
                self.state.of_alert.remove(&id);
            }
        }
    }

    /// Ends a group.
    pub(crate) fn end(&mut self, key: &str) {
        self.state.timers.set(key, None);
        self.state.dirty.remove(key);
        if let Some(group) = self.state.groups.remove(key) {
            group.members.keys().for_each(|id| self.leave(*id, key));
            for desk in self.state.desks.values_mut() {
                desk.overflow.values_mut().for_each(|fold| {
                    fold.groups.remove(key);
                });
            }
            if group.sent_at.is_some() || group.open_since.is_some() {
                let body = String::from("{}");
                self.state.over.push(Document { state: OVER.to_owned(), body, ..document(&group) });
            }
        }
    }

    // ---- what is stored -----------------------------------------------------------------------------------------

    /// Reads what the last process left: groups with what was told, and the notices a stop interrupted.
    fn load(&mut self) {
        let store = Arc::clone(&self.engine.store);
        let filter = DocumentFilter { states: vec![LIVE.to_owned()], ..DocumentFilter::default() };
        let read = pages(&*store, GROUPS, &filter, |document| {
            let Some(group) = log::read::<Group>(GROUPS, document) else { return };
            for id in group.members.keys() {
                self.state.of_alert.entry(*id).or_default().push(group.key.clone());
            }
            self.state.groups.insert(group.key.clone(), group);
        });
        if let Err(error) = read {
            tracing::error!(%error, "could not read what people were told: they may be told again");
        }
        let queued = DocumentFilter {
            states: vec![DeliveryState::Queued.as_str().to_owned()],
            ..DocumentFilter::default()
        };
        let read = pages(&*store, DELIVERIES, &queued, |document| {
            let Some(mut delivery) = log::read::<Delivery>(DELIVERIES, document) else { return };
            for channel in
                delivery.channels.iter_mut().filter(|channel| channel.state == DeliveryState::Queued)
            {
                channel.state = DeliveryState::Interrupted;
            }
            delivery.state =
                if delivery.was_taken() { DeliveryState::Sent } else { DeliveryState::Interrupted };
            self.state.deliveries.insert(delivery.id, delivery);
        });
        if let Err(error) = read {
            tracing::warn!(%error, "could not read interrupted deliveries");
        }
    }

    /// Fills the windows of new desks from the log, so that a restart gives nobody more messages than their rate.
    fn recall_rates(&mut self) {
        let store = Arc::clone(&self.engine.store);
        for desk in self.state.desks.values_mut().filter(|desk| desk.window.is_empty()) {
            let rate = desk.receiver.max_messages;
            let period = i64::try_from(rate.period.as_nanos()).unwrap_or(i64::MAX);
            let filter = DocumentFilter {
                key: Some(desk.receiver.name.clone()),
                since: Some(self.now.saturating_add_ns(-period)),
                ..DocumentFilter::default()
            };
            let Ok(found) = store.documents().list(DELIVERIES, &filter, None, rate.count.min(PAGE_ROWS_MAX))
            else {
                continue;
            };
            for document in found.iter().rev() {
                if let Some(delivery) = log::read::<Delivery>(DELIVERIES, document) {
                    desk.window.sent(delivery.kind == crate::notify::notice::NoticeKind::Digest, delivery.at);
                }
            }
        }
    }

    /// Writes what changed; returns false when something could not be written.
    fn write(&mut self) -> bool {
        let is_written = self.try_write().map_err(|error| {
            metrics::counter!("notification_store_failures_total").increment(1);
            if !self.state.is_behind {
                tracing::warn!(%error, "could not write down what people are told, trying again");
            }
        });
        self.state.is_behind = is_written.is_err();
        is_written.is_ok()
    }

    fn try_write(&mut self) -> Result<(), MetastoreError> {
        let store = self.engine.store.documents();
        let groups: Vec<_> = self.state.dirty.iter().filter_map(|key| self.state.groups.get(key)).collect();
        let mut documents: Vec<_> = groups.into_iter().map(document).collect();
        documents.extend(self.state.over.iter().cloned());
        put(store, GROUPS, &documents)?;
        self.state.dirty.clear();
        self.state.over.clear();
        let documents: Vec<_> = self.state.deliveries.values().map(Delivery::document).collect();
        put(store, DELIVERIES, &documents)?;
        self.state.deliveries.clear();
        let decisions = self.state.decisions.iter();
        let documents: Vec<_> = decisions
            .map(|((alert, tenant), decisions)| log::decisions_document(tenant, *alert, decisions))
            .collect();
        put(store, DECISIONS, &documents)?;
        self.state.decisions.clear();
        self.sweep()
    }

    fn sweep(&mut self) -> Result<(), MetastoreError> {
        let (store, config, now) = (self.engine.store.documents(), &self.engine.config, self.now);
        if self.state.swept_at.is_some_and(|at| after(at, SWEEP_INTERVAL) > now) {
            return Ok(());
        }
        self.state.swept_at = Some(now);
        let ago = |age: Duration| now.saturating_add_ns(-i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        let ended = [DeliveryState::Sent, DeliveryState::Failed, DeliveryState::Interrupted]
            .map(DeliveryState::as_str);
        log::bound(store, GROUPS, &[OVER], now, 0, now)?;
        log::bound(store, DELIVERIES, &ended, ago(config.keep_deliveries), config.deliveries_max, now)?;
        log::bound(store, DECISIONS, &[], ago(config.keep_decisions), config.decisions_max, now)
    }
}

fn put(
    store: &dyn heimdall_metastore::DocumentStore,
    kind: &str,
    documents: &[Document],
) -> Result<(), MetastoreError> {
    documents.chunks(WRITE_ROWS_MAX).try_for_each(|chunk| store.put(kind, chunk))
}

fn document(group: &Group) -> Document {
    Document {
        id: group.key.clone(),
        tenant: group.tenant.clone(),
        at: group.opened_at,
        state: LIVE.to_owned(),
        key: group.receiver.clone(),
        body: log::json(group),
    }
}

/// Calls `take` with every document, page by page.
fn pages(
    store: &dyn Metastore,
    kind: &str,
    filter: &DocumentFilter,
    mut take: impl FnMut(&Document),
) -> Result<(), MetastoreError> {
    let mut after = None;
    loop {
        let page = store.documents().list(kind, filter, after.as_ref(), PAGE_ROWS_MAX)?;
        page.iter().for_each(&mut take);
        match page.last() {
            Some(last) if page.len() == PAGE_ROWS_MAX => {
                after = Some(DocumentCursor { at: last.at, id: last.id.clone() });
            }
            _ => return Ok(()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges; exact up to 2^53")]
fn show_gauges(state: &State) {
    metrics::gauge!("notification_groups").set(state.groups.len() as f64);
    metrics::gauge!("notifications_in_flight").set(state.flights.len() as f64);
    let folded: usize =
        state.desks.values().flat_map(|desk| desk.overflow.values()).map(|fold| fold.groups.len()).sum();
    metrics::gauge!("notification_groups_folded").set(folded as f64);
    let lanes = state.desks.values().flat_map(|desk| &desk.lanes);
    metrics::gauge!("notification_channels_down").set(lanes.filter(|lane| lane.is_down()).count() as f64);
}
