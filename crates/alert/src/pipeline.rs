//! From alerts to messages: groups, timing, rates, delivery, and the log of all of it.
//!
//! - `group`: what one receiver is told as one, and when: pure
//! - `window`: how many messages a receiver gets: pure
//! - `engine`: takes events, decides, remembers; `take` and `deliver` are its two halves
//! - `lane`: one channel's queue and retries
//! - `log`: deliveries and decisions as stored
//!
//! Invariants:
//! - people are told only of alerts that are stored, and never of suppressed or muted ones;
//! - every alert ends told, or in the log with the reason why not: nothing is dropped silently;
//! - a receiver gets no more messages than its rate; what is beyond comes in digests;
//! - a slow or dead channel delays no other receiver, and raises an alert of its own;
//! - what was told is remembered before anything else happens to its group, so that a stop at any instant leads to a repeat only
//!   of what was on its way just then.
//!
//! Not here: who is told of what (see `routing`), how a message reads (see `notify`), what is silenced (see `silence`).

use std::sync::Arc;
use std::time::Duration;

use heimdall_metastore::{DocumentCursor, Metastore, MetastoreError};
use heimdall_model::{Alert, AlertId, Clock, Tenant, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::alerts::Alerts;
use crate::event::{Event, EventQueue};
use crate::notify::ChannelContext;
use crate::notify::notice::{Notice, NoticeKind, Notifier};
use crate::routing::{Channel, OnCall, Receiver, RouteStep, Routing, RoutingFault};
use crate::silence::Silences;

mod deliver;
mod engine;
mod group;
mod lane;
mod log;
mod take;
mod window;

use engine::{Desk, Engine, Input};
pub use lane::QUEUED_MAX;
pub use log::{ChannelDelivery, Decision, Delivery, DeliveryFilter, DeliveryPage, DeliveryState, Outcome};

/// Name of the alert about a channel that does not work.
pub const CHANNEL_DOWN: &str = "NotificationChannelDown";
/// Events taken in one round: what is due goes out between rounds.
const ROUND_EVENTS_MAX: usize = 1_000;
/// Longest sleep between rounds, so that a clock that is set shows soon.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// How long a test of a receiver may take in all.
const TEST_MAX: Duration = Duration::from_secs(30);

/// Limits of the pipeline.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// Address of Heimdall as people reach it (default none): links in messages.
    pub base_url: Option<String>,
    /// Events waiting to be taken (default 16,384); beyond, the live alerts are read again, and nothing is lost.
    pub events_max: usize,
    /// Attempts for one notice on one channel (default 6, about 15 s); then its alerts wait and are told by a later notice.
    pub attempts_max: u32,
    /// Pause after the first failure, doubled after each (default 500 ms); half of it is random.
    pub backoff_min: Duration,
    /// Longest such pause (default 60 s).
    pub backoff_max: Duration,
    /// Longest pause the other side can ask for (default 5 min).
    pub retry_after_max: Duration,
    /// After the stop signal, what is on its way is waited for this long (default 3 s).
    pub grace: Duration,
    /// Deliveries are kept this long (default 30 days).
    pub keep_deliveries: Duration,
    /// Most deliveries kept (default 100,000).
    pub deliveries_max: u64,
    /// Decisions are kept this long (default 7 days).
    pub keep_decisions: Duration,
    /// Most records of decisions kept (default 200,000); one holds what was decided about one alert at one time.
    pub decisions_max: u64,
}

impl Default for PipelineConfig {
    fn default() -> PipelineConfig {
        const DAY: Duration = Duration::from_secs(86_400);
        PipelineConfig {
            base_url: None,
            events_max: 16_384,
            attempts_max: 6,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            retry_after_max: Duration::from_secs(300),
            grace: Duration::from_secs(3),
            keep_deliveries: DAY * 30,
            deliveries_max: 100_000,
            keep_decisions: DAY * 7,
            decisions_max: 200_000,
        }
    }
}

/// Tells people.
pub struct Pipeline {
    engine: Arc<Engine>,
    events: EventQueue,
    done: mpsc::Receiver<lane::Done>,
    lanes: lane::Shared,
    staged: Arc<Staged>,
    workers: JoinSet<()>,
    /// A round panicked: the next reads the live alerts, since it may have lost what happened.
    has_panicked: bool,
}

/// Asks and changes a running [`Pipeline`]. Calls that read or write may block on disk: async code calls from a blocking thread.
#[derive(Clone)]
pub struct PipelineHandle {
    engine: Arc<Engine>,
    staged: Arc<Staged>,
}

/// A receiver with its channels.
type Channels = (Arc<Receiver>, Vec<Arc<dyn Notifier>>);

/// A routing with its channels, ready to go into force.
struct Built {
    routing: Arc<Routing>,
    desks: Vec<Channels>,
}

/// The routing that waits to go into force.
#[derive(Default)]
struct Staged {
    built: Mutex<Option<Built>>,
    wake: tokio::sync::Notify,
}

/// How a channel took a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// The channel: `slack`.
    pub channel: String,
    /// What went wrong; none when it was taken.
    pub error: Option<String>,
}

/// A receiver as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceiverStatus {
    /// Its name.
    pub name: String,
    /// Its channels.
    pub channels: Vec<ChannelStatus>,
    /// The people its notices are for now.
    pub people: Vec<String>,
    /// Groups that wait for its next digest.
    pub folded: usize,
}

/// A channel as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelStatus {
    /// `slack`, `email` …
    pub kind: &'static str,
    /// It does not take notices.
    pub is_down: bool,
}

/// There is no such receiver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no receiver `{name}`")]
pub struct UnknownReceiver {
    /// The name asked for.
    pub name: String,
}

impl Pipeline {
    /// Connects a pipeline to the alerts: what happens to them from now on waits for [`Pipeline::run`].
    ///
    /// # Errors
    /// The faults of channels that cannot be made.
    pub fn new(
        alerts: Arc<Alerts>,
        silences: Arc<Silences>,
        store: Arc<dyn Metastore>,
        clock: Arc<dyn Clock>,
        routing: Routing,
        config: PipelineConfig,
    ) -> Result<Pipeline, Vec<RoutingFault>> {
        let built = build(routing, &config, &clock)?;
        let events = alerts.events(config.events_max);
        let (sender, done) = mpsc::channel(QUEUED_MAX);
        let staged = Arc::new(Staged::default());
        let lanes = lane::Shared {
            done: sender,
            clock: Arc::clone(&clock),
            config: config.clone(),
            stop: CancellationToken::new(),
        };
        let engine =
            Arc::new(Engine::new(alerts, silences, store, clock, config, Arc::clone(&built.routing)));
        *staged.built.lock() = Some(built);
        Ok(Pipeline { engine, events, done, lanes, staged, workers: JoinSet::new(), has_panicked: false })
    }

    /// A handle to ask and change it, before and while it runs.
    #[must_use]
    pub fn handle(&self) -> PipelineHandle {
        PipelineHandle { engine: Arc::clone(&self.engine), staged: Arc::clone(&self.staged) }
    }

    /// Tells people until `shutdown` fires; what is on its way then is waited for within the grace.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let desks = self.desks();
        let mut next = self.round(Input { desks, must_load: true, ..Input::default() }).await;
        loop {
            let mut input = Input::default();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(done) = self.done.recv() => input.done.push(done),
                () = self.staged.wake.notified() => input.desks = self.desks(),
                event = self.events.recv() => match event {
                    Some(event) => input.events.push(event),
                    None => break,
                },
                () = tokio::time::sleep(next) => {}
            }
            self.gather(&mut input);
            next = self.round(input).await;
        }
        self.finish().await;
    }

    /// Adds what else is there already.
    fn gather(&mut self, input: &mut Input) {
        while let Ok(done) = self.done.try_recv() {
            input.done.push(done);
        }
        while input.events.len() < ROUND_EVENTS_MAX
            && let Some(event) = self.events.try_recv()
        {
            let has_missed = event == Event::Missed;
            input.events.push(event);
            if has_missed {
                break;
            }
        }
        while self.workers.try_join_next().is_some() {}
    }

    /// One round of the engine on a blocking thread; returns how long until the next is due.
    async fn round(&mut self, mut input: Input) -> Duration {
        let engine = Arc::clone(&self.engine);
        input.events.extend(std::mem::take(&mut self.has_panicked).then_some(Event::Missed));
        match spawn_blocking(move || engine.round(input)).await {
            Ok(next) => next.min(SLEEP_MAX),
            Err(error) => {
                tracing::error!(%error, "a round of notifications failed: this is a bug of Heimdall");
                metrics::counter!("notification_rounds_failed_total").increment(1);
                self.has_panicked = true;
                Duration::from_secs(1)
            }
        }
    }

    /// The desks of the routing that waits to go into force, with their workers at work.
    fn desks(&mut self) -> Option<(Arc<Routing>, Vec<Desk>)> {
        let built = self.staged.built.lock().take()?;
        let mut desks = Vec::new();
        for (receiver, notifiers) in built.desks {
            let mut lanes = Vec::new();
            for (index, notifier) in notifiers.into_iter().enumerate() {
                let id = format!("{index}-{}", notifier.kind());
                let was_down = self.engine.is_lane_down(&receiver.name, &id);
                let (lane, worker) = lane::lane(index, &receiver, notifier, was_down, &self.lanes);
                self.workers.spawn(worker.run());
                lanes.push(lane);
            }
            desks.push(Desk::new(receiver, lanes));
        }
        Some((built.routing, desks))
    }

    /// Takes what happened last, sends it, and waits for what is on its way.
    async fn finish(mut self) {
        let deadline = tokio::time::Instant::now() + self.engine.config.grace;
        self.lanes.stop.cancel();
        let mut input = Input::default();
        self.gather(&mut input);
        self.round(input).await;
        while self.engine.in_flight_count() > 0 {
            let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.done.recv()).await else { break };
            let mut input = Input { done: vec![done], ..Input::default() };
            self.gather(&mut input);
            self.round(input).await;
        }
        self.engine.stopped();
    }
}

/// Makes the channels of a routing.
fn build(
    routing: Routing,
    config: &PipelineConfig,
    clock: &Arc<dyn Clock>,
) -> Result<Built, Vec<RoutingFault>> {
    let context = ChannelContext { base_url: config.base_url.clone(), clock: Arc::clone(clock) };
    let (mut desks, mut faults) = (Vec::new(), Vec::new());
    for receiver in routing.receivers() {
        let mut notifiers: Vec<Arc<dyn Notifier>> = Vec::new();
        for (index, channel) in receiver.channels.iter().enumerate() {
            match channel {
                Channel::Given(notifier) => notifiers.push(Arc::clone(notifier)),
                Channel::Configured(configured) => match configured.build(context.clone()) {
                    Ok(notifier) => notifiers.push(notifier.into()),
                    Err(error) => {
                        faults.push(routing.channel_fault(receiver, index, error.key, error.reason))
                    }
                },
            }
        }
        desks.push((Arc::clone(receiver), notifiers));
    }
    if faults.is_empty() { Ok(Built { routing: Arc::new(routing), desks }) } else { Err(faults) }
}

impl PipelineHandle {
    /// Puts another routing into force: groups, what was told and what is on its way stay.
    ///
    /// # Errors
    /// The faults of channels that cannot be made; the routing in force stays.
    pub fn set_routing(&self, routing: Routing) -> Result<(), Vec<RoutingFault>> {
        let built = build(routing, &self.engine.config, &self.engine.clock)?;
        *self.staged.built.lock() = Some(built);
        self.staged.wake.notify_one();
        Ok(())
    }

    /// The routing in force.
    #[must_use]
    pub fn routing(&self) -> Arc<Routing> {
        self.engine.routing()
    }

    /// Sends a test notice through every channel of a receiver, one attempt each.
    ///
    /// # Errors
    /// [`UnknownReceiver`].
    pub async fn test(&self, receiver: &str) -> Result<Vec<TestResult>, UnknownReceiver> {
        let unknown = || UnknownReceiver { name: receiver.to_owned() };
        let (found, notifiers) = self.engine.channels(receiver).ok_or_else(unknown)?;
        let (routing, now) = (self.engine.routing(), self.engine.clock.now());
        let people = routing.people_of(&found, now);
        let mut results = Vec::new();
        for notifier in notifiers {
            let mut notice = test_notice(receiver, self.engine.config.base_url.clone(), now);
            notice.to = routing.addresses(&people, notifier.kind());
            let sent = tokio::time::timeout(TEST_MAX, notifier.send(&notice, None)).await;
            let error = match sent {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer within 30s".to_owned()),
            };
            results.push(TestResult { channel: notifier.kind().to_owned(), error });
        }
        Ok(results)
    }

    /// The log of deliveries of one tenant, or of all, newest first.
    ///
    /// # Errors
    /// The metastore cannot be read.
    pub fn deliveries(
        &self,
        tenant: Option<&Tenant>,
        filter: &DeliveryFilter,
        after: Option<&DocumentCursor>,
        limit: usize,
    ) -> Result<DeliveryPage, MetastoreError> {
        self.engine.deliveries(tenant, filter, after, limit)
    }

    /// Why an alert did or did not notify: every decision about it, oldest first, at most 1,000 rounds of them.
    ///
    /// # Errors
    /// The metastore cannot be read.
    pub fn why(&self, alert: AlertId) -> Result<Vec<Decision>, MetastoreError> {
        self.engine.why(alert)
    }

    /// Where an alert would go: every route looked at.
    #[must_use]
    pub fn route_of(&self, alert: &Alert) -> Vec<RouteStep> {
        self.engine.routing().explain(alert)
    }

    /// Who is on call by a schedule; none when there is no such schedule.
    #[must_use]
    pub fn on_call(&self, schedule: &str, at: Timestamp) -> Option<OnCall> {
        self.engine.routing().on_call(schedule, at)
    }

    /// The receivers as they are now.
    #[must_use]
    pub fn receivers(&self) -> Vec<ReceiverStatus> {
        self.engine.receivers()
    }
}

fn test_notice(receiver: &str, base_url: Option<String>, now: Timestamp) -> Notice {
    Notice {
        id: log::new_id(now),
        tenant: Tenant::default(),
        receiver: receiver.to_owned(),
        kind: NoticeKind::Test,
        group_key: format!("test-{receiver}"),
        group_labels: std::collections::BTreeMap::new(),
        alerts: Vec::new(),
        total: 0,
        reason: "somebody tries this channel".to_owned(),
        to: Vec::new(),
        base_url,
        at: now,
    }
}

#[cfg(test)]
mod tests;
