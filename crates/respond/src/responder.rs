//! The responder: alerts in, runs of playbooks out.
//!
//! Invariants:
//! - no action is begun without a durable intent and a line in the audit trail;
//! - an alert and a playbook have at most one run that has not ended;
//! - the kill switch holds from the moment the call is made.
//!
//! Calls that are not `async` block on disk, but for [`Responder::consider`]: async code makes them from a blocking thread.
//! At most [`CANDIDATES_MAX`] alerts wait to be looked at and [`WATCHED_MAX`] to be looked at again; further ones are refused and
//! counted (`respond_refusals_total`).

mod people;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heimdall_metastore::MetastoreError;
use heimdall_model::{Alert, AlertId, Status, Tenant, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::action::ActionRunner;
use crate::autonomy::Autonomy;
use crate::config::{RespondConfig, RespondConfigError, span};
use crate::outage::Outages;
use crate::playbook::{PLAYBOOKS_MAX, Playbook, Triggered};
use crate::ports::{LedgerOutcome, Ports};
use crate::run::{Next, Run, RunId, RunState, Said, event, key_of};
use crate::runs::Runs;
use crate::safety::{History, Limit, Limits, Refusal};
use crate::slots::Slots;

/// Most alerts that wait to be looked at.
pub const CANDIDATES_MAX: usize = 1_024;
/// Most alerts that wait for more findings, for their age or for the end of a cooldown.
pub const WATCHED_MAX: usize = 1_024;
/// Alerts looked at at once.
const EXAMINED_AT_ONCE: usize = 8;
/// How often expiries and watched alerts are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often an alert that needs more findings is looked at.
const COUNT_POLL_NS: i64 = 5_000_000_000;
/// How often old runs are deleted.
const FORGET_EVERY_NS: i64 = 3_600_000_000_000;
/// How long actions under way may take to end when the process is told to stop.
pub const STOP_WAIT: Duration = Duration::from_secs(8);
/// Alert and playbook pairs whose last run is remembered for the cooldown.
const RECENT_MAX: usize = 50_000;
/// Longest cooldown of a playbook.
const COOLDOWN_NS_MAX: i64 = 7 * 24 * 3_600_000_000_000;
/// The name actions are done under when nobody approved them.
pub const PRINCIPAL: &str = "heimdall";

/// How the rules of alerts begin that the responder raises.
const OWN_RULES: &str = "response.";

/// What happened to an alert, as far as playbooks care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new, or came back.
    Raised,
    /// Its severity rose.
    Worse,
    /// It was live before this process began to look, or changes were missed.
    Live,
    /// Anything else: status, mute, assignee.
    Other,
}

/// Which runs to list; an absent or empty part lets everything through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFilter {
    /// Owner.
    pub tenant: Option<Tenant>,
    /// Any of these states.
    pub states: Vec<RunState>,
    /// Of this playbook.
    pub playbook: Option<String>,
    /// Of this alert.
    pub alert: Option<AlertId>,
}

/// Why something asked of the responder was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// A value of the configuration does not suit its key.
    #[error(transparent)]
    Config(#[from] RespondConfigError),
    /// There is no such run of this tenant.
    #[error("there is no run `{id}`")]
    NoSuchRun {
        /// The id.
        id: RunId,
    },
    /// The run does not wait for an answer, or has ended.
    #[error("run `{id}` is `{}`", .state.as_str())]
    WrongState {
        /// The id.
        id: RunId,
        /// Where it is.
        state: RunState,
    },
    /// The playbook lets others answer.
    #[error("`{by}` may not answer for playbook `{playbook}`: it asks {}", .asks.join(", "))]
    NotAsked {
        /// The principal.
        by: String,
        /// The playbook.
        playbook: String,
        /// Whom it asks.
        asks: Vec<String>,
    },
    /// A limit forbids it now; the run still waits.
    #[error("not approved: {0}")]
    Refused(Refusal),
    /// Two playbooks share an id, or there are too many.
    #[error("{0}")]
    Playbooks(String),
    /// The audit trail cannot be written; nothing was done.
    #[error("the audit trail cannot be written: {0}")]
    Ledger(String),
    /// The metastore failed; nothing was done.
    #[error(transparent)]
    Store(#[from] MetastoreError),
}

/// Answers alerts.
pub struct Responder {
    pub(crate) ports: Ports,
    pub(crate) runs: Runs,
    pub(crate) autonomy: Autonomy,
    pub(crate) outages: Outages,
    pub(crate) slots: Arc<Slots>,
    shelf: RwLock<Arc<Shelf>>,
    pub(crate) desk: Mutex<Desk>,
    wake: Notify,
}

/// Playbooks and limits as they are now.
pub(crate) struct Shelf {
    pub(crate) playbooks: Vec<Entry>,
    pub(crate) limits: Limits,
}

/// A playbook with its hash.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) playbook: Arc<Playbook>,
    pub(crate) hash: Arc<str>,
}

/// What is going on.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) kill: Option<Said>,
    pub(crate) history: History,
    /// Runs that have not ended.
    live: HashMap<RunId, Arc<Live>>,
    /// Alert and playbook of runs that have not ended, or are about to be made.
    keys: BTreeSet<String>,
    /// When the last run of an alert and a playbook ended.
    recent: HashMap<String, Timestamp>,
    candidates: VecDeque<Candidate>,
    watched: BTreeMap<(AlertId, String), Watched>,
    /// Alerts that are over.
    over: BTreeSet<AlertId>,
    /// Runs to be driven.
    begin: Vec<RunId>,
}

/// An alert and a playbook that may answer it.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) alert: Arc<Alert>,
    pub(crate) entry: Entry,
}

struct Watched {
    tenant: Tenant,
    due: Timestamp,
}

/// A run that has not ended.
pub(crate) struct Live {
    current: RwLock<Arc<Run>>,
    /// Held while the run is written, on blocking threads only.
    writing: Mutex<()>,
    pub(crate) cancelled: CancellationToken,
    is_driven: AtomicBool,
}

impl Live {
    fn new(run: Run) -> Arc<Live> {
        let cancelled = CancellationToken::new();
        if run.cancel.is_some() {
            cancelled.cancel();
        }
        let current = RwLock::new(Arc::new(run));
        Arc::new(Live { current, writing: Mutex::new(()), cancelled, is_driven: AtomicBool::new(false) })
    }

    /// The run as stored.
    pub(crate) fn run(&self) -> Arc<Run> {
        Arc::clone(&self.current.read())
    }
}

/// Whether an alert was raised by the responder itself, or by a page of it: those are for people. A playbook for every alert
/// would answer its own for ever otherwise.
fn is_own(alert: &Alert) -> bool {
    alert.rule.starts_with(OWN_RULES)
}

impl Responder {
    /// A responder that goes on where the last one on this metastore stopped, once [`Responder::run`] runs. Blocks.
    ///
    /// # Errors
    /// The configuration or the playbooks are wrong, or the metastore cannot be read.
    pub fn open(
        config: RespondConfig,
        playbooks: Vec<Playbook>,
        ports: Ports,
    ) -> Result<Arc<Responder>, RespondError> {
        let limits = Limits::new(config)?;
        let runs = Runs(Arc::clone(&ports.metastore));
        let now = ports.clock.now();
        let since = now.saturating_add_ns(-limits.window_ns().max(COOLDOWN_NS_MAX));
        let desk = Desk::of(runs.recent(since)?, runs.switch()?);
        let responder = Responder {
            autonomy: Autonomy::open(Arc::clone(&ports.metastore))?,
            outages: Outages::default(),
            slots: Slots::new(limits.config().max_concurrent_actions),
            shelf: RwLock::new(Arc::new(Shelf { playbooks: shelve(playbooks)?, limits })),
            desk: Mutex::new(desk),
            wake: Notify::new(),
            runs,
            ports,
        };
        Ok(Arc::new(responder))
    }

    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    pub(crate) fn runner(&self, kind: &str) -> Option<&Arc<dyn ActionRunner>> {
        self.ports.runners.iter().find(|runner| runner.kinds().contains(&kind))
    }

    // ---- alerts in --------------------------------------------------------------------------------------------

    /// Looks whether a playbook answers this alert; what follows is done by [`Responder::run`]. Does not block.
    ///
    /// Returns how many playbooks will be considered. At start, and after missed changes, live alerts are offered with
    /// [`Change::Live`]: what was answered lately is not answered again.
    pub fn consider(&self, alert: &Arc<Alert>, change: Change) -> usize {
        if !matches!(alert.status, Status::Open | Status::Acknowledged) {
            self.desk.lock().over.insert(alert.id);
            self.wake.notify_one();
            return 0;
        }
        if change == Change::Other || is_own(alert) {
            return 0;
        }
        let shelf = self.shelf();
        if !shelf.limits.config().enabled {
            return 0;
        }
        let now = self.now();
        let enabled = shelf.playbooks.iter().filter(|entry| entry.playbook.enabled);
        let taken = enabled.filter(|entry| self.offer(alert, entry, now)).count();
        if taken > 0 {
            self.wake.notify_one();
        }
        taken
    }

    fn offer(&self, alert: &Arc<Alert>, entry: &Entry, now: Timestamp) -> bool {
        match entry.playbook.trigger.of(alert, now) {
            Triggered::No => false,
            Triggered::NotYet { until } => {
                let due = until.unwrap_or_else(|| now.saturating_add_ns(COUNT_POLL_NS));
                self.watch(alert, &entry.playbook.id, due);
                false
            }
            Triggered::Yes => {
                let mut desk = self.desk.lock();
                let is_full = desk.candidates.len() >= CANDIDATES_MAX;
                if is_full {
                    drop(desk);
                    refused(
                        &Refusal::new(Limit::Queue, "too many alerts wait to be looked at"),
                        &entry.playbook.id,
                    );
                    return false;
                }
                desk.candidates.push_back(Candidate { alert: Arc::clone(alert), entry: entry.clone() });
                true
            }
        }
    }

    /// Looks at this alert again then, should it be live.
    pub(crate) fn watch(&self, alert: &Alert, playbook: &str, due: Timestamp) {
        let mut desk = self.desk.lock();
        let key = (alert.id, playbook.to_owned());
        if desk.watched.len() >= WATCHED_MAX && !desk.watched.contains_key(&key) {
            drop(desk);
            refused(&Refusal::new(Limit::Queue, "too many alerts wait to be looked at again"), playbook);
            return;
        }
        desk.watched.insert(key, Watched { tenant: alert.tenant.clone(), due });
    }

    // ---- the loop ---------------------------------------------------------------------------------------------

    /// Serves until told to stop; then waits [`STOP_WAIT`] for actions under way. What is not done then is found out at the
    /// next start.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let (mut drivers, mut looks) = (JoinSet::new(), JoinSet::new());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut forgotten_at = Timestamp(0);
        self.desk.lock().begin_all();
        loop {
            self.start(&mut drivers, &mut looks, &shutdown);
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.wake.notified() => {}
                _ = tick.tick() => self.tick(&mut forgotten_at).await,
                Some(ended) = drivers.join_next() => report(ended),
                Some(ended) = looks.join_next() => report(ended),
            }
        }
        looks.shutdown().await;
        let drained = async { while drivers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, drained).await.is_err() {
            tracing::warn!(
                actions = drivers.len(),
                "actions under way at the stop are looked at when started again"
            );
        }
        drivers.shutdown().await;
    }

    fn start(
        self: &Arc<Self>,
        drivers: &mut JoinSet<()>,
        looks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        let begin = std::mem::take(&mut self.desk.lock().begin);
        for live in begin.iter().filter_map(|id| self.live(*id)) {
            if !live.is_driven.swap(true, Ordering::AcqRel) {
                let (responder, shutdown) = (Arc::clone(self), shutdown.clone());
                drivers.spawn(async move { responder.drive_until_idle(live, shutdown).await });
            }
        }
        while looks.len() < EXAMINED_AT_ONCE {
            let Some(candidate) = self.desk.lock().candidates.pop_front() else { break };
            let responder = Arc::clone(self);
            looks.spawn(async move { responder.examine(candidate).await });
        }
    }

    /// Drives a run until it ends or waits for a person, and once more should the answer have come just then.
    async fn drive_until_idle(self: Arc<Self>, live: Arc<Live>, shutdown: CancellationToken) {
        loop {
            self.drive(&live, &shutdown).await;
            live.is_driven.store(false, Ordering::Release);
            let has_more =
                !matches!(live.run().next(), Next::Await | Next::Ended) && !shutdown.is_cancelled();
            if !has_more || live.is_driven.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }

    async fn tick(self: &Arc<Self>, forgotten_at: &mut Timestamp) {
        let now = self.now();
        self.desk.lock().tidy(&self.shelf().limits, now);
        self.end_moot(now).await;
        self.look_again(now).await;
        if now.0.saturating_sub(forgotten_at.0) >= FORGET_EVERY_NS {
            *forgotten_at = now;
            self.forget(now).await;
        }
        metrics::gauge!("respond_runs_live").set(count(self.desk.lock().live.len()));
        metrics::gauge!("respond_actions_waiting").set(count(self.slots.waiting()));
    }

    /// Ends what nobody answered in time, and what waits though its alert is over.
    async fn end_moot(self: &Arc<Self>, now: Timestamp) {
        let (lives, over) = {
            let mut desk = self.desk.lock();
            (desk.live.values().cloned().collect::<Vec<_>>(), std::mem::take(&mut desk.over))
        };
        for live in lives {
            let run = live.run();
            let waits = matches!(run.state, RunState::AwaitingApproval | RunState::Queued);
            let is_expired = run.state == RunState::AwaitingApproval
                && run.approval.as_ref().is_some_and(|question| question.expires_at <= now);
            if is_expired {
                self.expire(&live, now).await;
            } else if waits && over.contains(&run.alert.id) {
                self.stop(&live, "the alert is over").await;
            }
        }
    }

    async fn expire(self: &Arc<Self>, live: &Arc<Live>, now: Timestamp) {
        let is_waiting = |run: &Run| run.state == RunState::AwaitingApproval && run.cancel.is_none();
        let change = move |run: &mut Run| {
            if is_waiting(run) {
                run.state = RunState::Expired;
                "nobody answered in time".clone_into(&mut run.reason);
                run.finished_at = Some(now);
                run.note(now, "expired: nobody answered in time");
            }
        };
        if self.try_write(live, change).await.is_ok_and(|run| run.state == RunState::Expired) {
            let run = live.run();
            self.ledger_of(&run, event::REJECT, LedgerOutcome::Denied, PRINCIPAL, "nobody answered in time")
                .await;
            self.ended(&run);
        }
    }

    /// Cancels a run on behalf of nobody.
    pub(crate) async fn stop(self: &Arc<Self>, live: &Arc<Live>, why: &'static str) {
        let said = Said { by: PRINCIPAL.to_owned(), at: self.now(), why: why.to_owned() };
        if self.try_write(live, move |run| cancel(run, said)).await.is_ok() {
            live.cancelled.cancel();
            self.begin(live.run().id);
        }
    }

    async fn look_again(&self, now: Timestamp) {
        let due: Vec<((AlertId, String), Tenant)> = {
            let mut desk = self.desk.lock();
            let is_due = desk.watched.extract_if(.., |_, watched| watched.due <= now);
            is_due.map(|(key, watched)| (key, watched.tenant)).collect()
        };
        let shelf = self.shelf();
        let deadline = shelf.limits.config().look_timeout;
        for ((id, playbook), tenant) in due {
            let Some(entry) = shelf.playbooks.iter().find(|entry| entry.playbook.id == playbook) else {
                continue;
            };
            match tokio::time::timeout(deadline, self.ports.health.alert(&tenant, id)).await {
                Ok(Ok(Some(alert))) if alert.status == Status::Open => {
                    self.offer(&alert, entry, now);
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => {
                    let due = now.saturating_add_ns(COUNT_POLL_NS);
                    self.desk.lock().watched.insert((id, playbook), Watched { tenant, due });
                }
            }
        }
    }

    async fn forget(&self, now: Timestamp) {
        let before = now.saturating_add_ns(-span::ns(self.shelf().limits.config().keep_runs));
        let runs = self.runs.clone();
        match blocking(move || runs.forget(before)).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old runs deleted"),
            Err(error) => tracing::warn!(%error, "old runs could not be deleted; tried again in an hour"),
        }
    }

    // ---- runs kept in mind ------------------------------------------------------------------------------------

    pub(crate) fn live(&self, id: RunId) -> Option<Arc<Live>> {
        self.desk.lock().live.get(&id).cloned()
    }

    pub(crate) fn begin(&self, id: RunId) {
        self.desk.lock().begin.push(id);
        self.wake.notify_one();
    }

    /// Takes the place of a run that is to be made; refuses what may not be.
    pub(crate) fn admit(&self, candidate: &Candidate, now: Timestamp) -> Result<String, Refusal> {
        let shelf = self.shelf();
        let playbook = &candidate.entry.playbook;
        let key = key_of(&candidate.alert.fingerprint, &playbook.id);
        let cooldown = playbook.cooldown.unwrap_or(shelf.limits.config().cooldown);
        let mut desk = self.desk.lock();
        desk.may_begin(&key, span::ns(cooldown), shelf.limits.config().runs_max, now)?;
        desk.keys.insert(key.clone());
        Ok(key)
    }

    /// Gives the place back: the run could not be made.
    pub(crate) fn give_up(&self, key: &str) {
        self.desk.lock().keys.remove(key);
    }

    /// Keeps a run that was stored in mind, or lets go of it when it has ended.
    pub(crate) fn keep(&self, run: Run) {
        if run.state.is_final() {
            self.ended(&run);
            return;
        }
        let (id, waits) = (run.id, run.state == RunState::AwaitingApproval);
        self.desk.lock().live.insert(id, Live::new(run));
        if !waits {
            self.begin(id);
        }
    }

    pub(crate) fn ended(&self, run: &Run) {
        let mut desk = self.desk.lock();
        desk.live.remove(&run.id);
        desk.keys.remove(&run.key());
        desk.recent.insert(run.key(), run.finished_at.unwrap_or(run.updated_at));
        drop(desk);
        metrics::counter!("respond_runs_total", "state" => run.state.as_str()).increment(1);
    }

    /// Changes a run and stores it; in memory it changes only once stored. Blocks.
    pub(crate) fn write_blocking(
        &self,
        live: &Live,
        change: impl FnOnce(&mut Run),
    ) -> Result<Arc<Run>, MetastoreError> {
        let _writing = live.writing.lock();
        let before = live.run();
        if before.state.is_final() {
            return Ok(before);
        }
        let mut run = (*before).clone();
        change(&mut run);
        run.updated_at = self.now();
        self.runs.put(&run)?;
        let run = Arc::new(run);
        *live.current.write() = Arc::clone(&run);
        Ok(run)
    }

    /// As [`Responder::write_blocking`], away from the async threads; fails once, with a line in the log.
    pub(crate) async fn try_write(
        self: &Arc<Self>,
        live: &Arc<Live>,
        change: impl FnOnce(&mut Run) + Send + 'static,
    ) -> Result<Arc<Run>, MetastoreError> {
        let (responder, live) = (Arc::clone(self), Arc::clone(live));
        let written = blocking(move || responder.write_blocking(&live, change)).await;
        written.inspect_err(|error| tracing::error!(%error, "a run could not be stored"))
    }
}

impl Desk {
    fn of(runs: Vec<Run>, kill: Option<Said>) -> Desk {
        let history = History::of(&runs);
        let (mut desk, mut live) = (Desk { kill, history, ..Desk::default() }, Vec::new());
        for run in runs {
            if run.state.is_final() {
                let at = run.finished_at.unwrap_or(run.updated_at);
                let recent = desk.recent.entry(run.key()).or_insert(at);
                *recent = at.max(*recent);
            } else {
                live.push(run);
            }
        }
        desk.keys = live.iter().map(Run::key).collect();
        desk.live = live.into_iter().map(|run| (run.id, Live::new(run))).collect();
        desk
    }

    fn begin_all(&mut self) {
        self.begin = self.live.keys().copied().collect();
    }

    fn may_begin(&self, key: &str, cooldown_ns: i64, runs_max: usize, now: Timestamp) -> Result<(), Refusal> {
        if self.keys.contains(key) {
            return Err(Refusal::new(Limit::Duplicate, "the same alert and playbook is under way"));
        }
        let until = self.recent.get(key).map(|ended| ended.saturating_add_ns(cooldown_ns));
        if let Some(until) = until.filter(|until| now < *until) {
            let reason =
                format!("the same alert started this playbook not long ago; not again before {until}");
            return Err(Refusal { limit: Limit::Cooldown, reason, until: Some(until) });
        }
        if self.keys.len() >= runs_max {
            return Err(Refusal::new(Limit::Runs, format!("{runs_max} runs have not ended")));
        }
        Ok(())
    }

    fn tidy(&mut self, limits: &Limits, now: Timestamp) {
        self.history.prune(limits, now);
        let oldest = now.saturating_add_ns(-COOLDOWN_NS_MAX);
        self.recent.retain(|_, ended| *ended > oldest);
        if self.recent.len() > RECENT_MAX {
            // The oldest go first: they are the likeliest to be past their cooldown.
            let mut ends: Vec<Timestamp> = self.recent.values().copied().collect();
            ends.sort_unstable();
            let cut = ends[self.recent.len() - RECENT_MAX];
            self.recent.retain(|_, ended| *ended > cut);
        }
    }
}

impl RunFilter {
    /// Whether the metastore can answer it alone.
    fn is_of_stored(&self) -> bool {
        self.playbook.is_none() && self.alert.is_none()
    }

    fn admits(&self, run: &Run) -> bool {
        self.playbook.as_ref().is_none_or(|playbook| *playbook == run.playbook)
            && self.alert.is_none_or(|alert| alert == run.alert.id)
    }
}

fn shelve(playbooks: Vec<Playbook>) -> Result<Vec<Entry>, RespondError> {
    if playbooks.len() > PLAYBOOKS_MAX {
        return Err(RespondError::Playbooks(format!("more than {PLAYBOOKS_MAX} playbooks")));
    }
    let mut files: BTreeMap<&str, &str> = BTreeMap::new();
    for playbook in &playbooks {
        if let Some(file) = files.insert(&playbook.id, &playbook.source.file) {
            let (id, other) = (&playbook.id, &playbook.source.file);
            return Err(RespondError::Playbooks(format!("playbook `{id}` is in `{file}` and in `{other}`")));
        }
    }
    let entry = |playbook: Playbook| Entry { hash: playbook.hash().into(), playbook: Arc::new(playbook) };
    Ok(playbooks.into_iter().map(entry).collect())
}

fn cancel(run: &mut Run, said: Said) {
    if run.cancel.is_none() {
        run.note(said.at, format!("cancelled by {}: {}", said.by, said.why));
        run.cancel = Some(said);
    }
}

/// Counts a refusal.
pub(crate) fn refused(refusal: &Refusal, playbook: &str) {
    metrics::counter!("respond_refusals_total", "reason" => refusal.limit.as_str()).increment(1);
    let (limit, reason) = (refusal.limit.as_str(), &refusal.reason);
    // Those come with every repeat of an alert: the counter tells how many.
    if matches!(refusal.limit, Limit::Queue | Limit::Duplicate | Limit::Cooldown) {
        tracing::debug!(playbook, limit, reason, "a playbook was not begun");
    } else {
        tracing::info!(playbook, limit, reason, "a playbook was not begun");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        metrics::counter!("respond_panics_total").increment(1);
        tracing::error!(%error, "a run stopped by a fault in Heimdall; it goes on at the next start");
    }
}

/// A small number for a gauge.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Does blocking work away from the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends: nobody waits for the answer.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
