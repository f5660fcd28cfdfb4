//! Stand-ins for tests: an alert, a world with a runner that fails, hangs or forgets as told, ports that remember, a metastore that
//! stops at a given write.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_metastore::{
    AlertStore, AuditStore, Document, DocumentCursor, DocumentFilter, DocumentStore, Metastore,
    MetastoreError, TokenStore,
};
use heimdall_model::{
    Alert, AlertId, Clock, Entity, LabelMatcher, Position, Priority, Severity, Status, Tenant, Timestamp,
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress, Reach};
use crate::ports::{
    Escalated, Escalation, EscalationError, Health, HealthError, Ledger, LedgerEntry, LedgerError,
    LedgerOutcome, Probe, Probed,
};

/// The time tests begin at.
pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

/// An open alert of this rule about this service.
pub(crate) fn alert(rule: &str, service: &str) -> Alert {
    Alert {
        id: Uuid::now_v7(),
        fingerprint: format!("{rule}-{service}"),
        tenant: Tenant::default(),
        rule: rule.to_owned(),
        detector: "threshold".to_owned(),
        title: format!("{rule} of {service}"),
        summary: String::new(),
        severity: Severity::Warning,
        priority: Priority::P2,
        status: Status::Open,
        entity: Entity::new("service", service),
        service: Some(service.to_owned()),
        raised_at: START,
        first_seen: START,
        last_seen: START,
        count: 1,
        score: 0.9,
        baseline: None,
        features: Vec::new(),
        evidence: Vec::new(),
        mitigation: Vec::new(),
        notified: Vec::new(),
        history: Vec::new(),
        feedback: None,
        position: Position::new(1, 0),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        source_url: None,
        ends_at: None,
        suppressed_until: None,
        assignee: None,
        comments: Vec::new(),
        incident: None,
        muted: None,
        returns: Vec::new(),
    }
}

/// A clock that goes with tokio's, which tests pause.
pub(crate) struct PausedClock(tokio::time::Instant);

impl PausedClock {
    pub(crate) fn new() -> PausedClock {
        PausedClock(tokio::time::Instant::now())
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        START.saturating_add_ns(i64::try_from(self.0.elapsed().as_nanos()).unwrap())
    }
}

/// What a runner does when told to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Fail,
    Hang,
    /// It is done, and the answer never comes.
    DoneThenHang,
    Unreachable,
    Panic,
}

/// Everything outside the responder.
#[derive(Default)]
pub(crate) struct World {
    /// Actions that took effect, in order.
    pub(crate) done: Mutex<Vec<(String, Timestamp)>>,
    /// What the next acts of a kind do; without: they succeed.
    pub(crate) behaviour: Mutex<HashMap<String, VecDeque<Behaviour>>>,
    /// Nobody can tell whether anything was done.
    pub(crate) is_forgetful: AtomicBool,
    pub(crate) is_healthy: AtomicBool,
    pub(crate) alerts: Mutex<HashMap<AlertId, Arc<Alert>>>,
    pub(crate) ledger: Mutex<Vec<LedgerEntry>>,
    pub(crate) is_ledger_broken: AtomicBool,
    pub(crate) notices: Mutex<Vec<Escalated>>,
    pub(crate) resolved: Mutex<Vec<String>>,
    pub(crate) under_way: AtomicUsize,
    pub(crate) under_way_max: AtomicUsize,
    /// How long an act takes (ms).
    pub(crate) takes_ms: AtomicUsize,
}

impl World {
    pub(crate) fn will(&self, kind: &str, behaviours: &[Behaviour]) {
        self.behaviour.lock().entry(kind.to_owned()).or_default().extend(behaviours);
    }

    pub(crate) fn done(&self) -> Vec<String> {
        self.done.lock().iter().map(|(what, _)| what.clone()).collect()
    }

    pub(crate) fn put(&self, alert: &Arc<Alert>) {
        self.alerts.lock().insert(alert.id, Arc::clone(alert));
    }

    /// Events of the trail, with their outcome.
    pub(crate) fn trail(&self) -> Vec<String> {
        let line = |entry: &LedgerEntry| {
            let outcome = match entry.outcome {
                LedgerOutcome::Begun => "begun",
                LedgerOutcome::Done => "done",
                LedgerOutcome::Denied => "denied",
                LedgerOutcome::Failed => "failed",
            };
            format!("{} {outcome}", entry.action.trim_start_matches("response."))
        };
        self.ledger.lock().iter().map(line).collect()
    }
}

/// A runner of a world.
pub(crate) struct StandInRunner {
    pub(crate) world: Arc<World>,
    pub(crate) clock: Arc<dyn Clock>,
}

fn named(action: &Action) -> String {
    format!("{} {}", action.kind, action.target)
}

impl StandInRunner {
    fn effect(&self, action: &Action) -> Effect {
        let to = |kind: &str| Action { kind: kind.to_owned(), ..action.clone() };
        let inverse = match action.kind.as_str() {
            "scale.up" => Some(to("scale.down")),
            "block.ip" => Some(to("unblock.ip")),
            _ => None,
        };
        Effect {
            summary: named(action),
            inverse,
            reach: Reach { service: Some(action.target.clone()), touched: 1, instances: 1 },
            is_idempotent: !action.kind.starts_with("scale."),
        }
    }

    async fn act(&self, action: &Action) -> Result<Outcome, ActionError> {
        let behaviour = self.world.behaviour.lock().get_mut(&action.kind).and_then(VecDeque::pop_front);
        let system = || "docker".to_owned();
        match behaviour {
            None | Some(Behaviour::DoneThenHang) => {
                let takes = self.world.takes_ms.load(Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(takes as u64)).await;
                self.world.done.lock().push((named(action), self.clock.now()));
                if behaviour.is_some() {
                    std::future::pending::<()>().await;
                }
                Ok(Outcome { summary: format!("did {}", named(action)), inverse: None })
            }
            Some(Behaviour::Fail) => Err(ActionError::Failed { system: system(), detail: "no".to_owned() }),
            Some(Behaviour::Unreachable) => {
                Err(ActionError::Unreachable { system: system(), detail: "refused".to_owned() })
            }
            Some(Behaviour::Hang) => std::future::pending().await,
            Some(Behaviour::Panic) => panic!("a runner that breaks"),
        }
    }
}

impl ActionRunner for StandInRunner {
    fn kinds(&self) -> &'static [&'static str] {
        &["docker.restart", "service.restart", "scale.up", "scale.down", "block.ip", "unblock.ip", "annotate"]
    }

    fn describe(&self, action: &Action) -> Result<Effect, ActionError> {
        let invalid = |parameter: &str, reason: &str| ActionError::Invalid {
            parameter: parameter.to_owned(),
            reason: reason.to_owned(),
        };
        if action.kind == "block.ip" && action.target.parse::<std::net::IpAddr>().is_err() {
            return Err(invalid("target", "is no address"));
        }
        if action.kind == "scale.up" && action.number("by").is_some_and(|by| by < 1) {
            return Err(invalid("by", "is at least 1"));
        }
        Ok(self.effect(action))
    }

    fn look<'a>(&'a self, action: &'a Action, _: Duration) -> BoxFuture<'a, Result<Effect, ActionError>> {
        Box::pin(async { Ok(self.effect(action)) })
    }

    fn run<'a>(&'a self, action: &'a Action, _: Duration) -> BoxFuture<'a, Result<Outcome, ActionError>> {
        Box::pin(async {
            let now = self.world.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.world.under_way_max.fetch_max(now, Ordering::SeqCst);
            let _left = LeaveOnDrop(&self.world.under_way);
            self.act(action).await
        })
    }

    fn progress<'a>(
        &'a self,
        action: &'a Action,
        since: Timestamp,
        _: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>> {
        let name = named(action);
        let is_done = self.world.done.lock().iter().any(|(what, at)| *what == name && *at >= since);
        let progress = match (self.world.is_forgetful.load(Ordering::Relaxed), is_done) {
            (true, _) => Progress::Unknown,
            (false, true) => Progress::Done,
            (false, false) => Progress::NotDone,
        };
        Box::pin(std::future::ready(Ok(progress)))
    }
}

struct LeaveOnDrop<'a>(&'a AtomicUsize);

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Health for World {
    fn alert<'a>(
        &'a self,
        _: &'a Tenant,
        id: AlertId,
    ) -> BoxFuture<'a, Result<Option<Arc<Alert>>, HealthError>> {
        let alert = self.alerts.lock().get(&id).cloned();
        Box::pin(std::future::ready(Ok(alert)))
    }

    fn is_live<'a>(
        &'a self,
        _: &'a Tenant,
        matchers: &'a [LabelMatcher],
        except: AlertId,
    ) -> BoxFuture<'a, Result<bool, HealthError>> {
        let alerts = self.alerts.lock();
        let others = alerts.values().filter(|alert| alert.id != except && alert.status != Status::Resolved);
        let is_live = others.into_iter().any(|alert| matchers.iter().all(|matcher| matcher.matches(alert)));
        Box::pin(std::future::ready(Ok(is_live)))
    }

    fn probe<'a>(
        &'a self,
        _: &'a Tenant,
        _: &'a Probe,
        _: Duration,
    ) -> BoxFuture<'a, Result<Probed, HealthError>> {
        let is_healthy = self.is_healthy.load(Ordering::Relaxed);
        let detail = if is_healthy { "it answers" } else { "it does not answer" }.to_owned();
        Box::pin(std::future::ready(Ok(Probed { is_healthy, detail })))
    }
}

impl Ledger for World {
    fn record(&self, entry: &LedgerEntry) -> Result<(), LedgerError> {
        if self.is_ledger_broken.load(Ordering::Relaxed) {
            return Err(LedgerError("disk full".to_owned()));
        }
        self.ledger.lock().push(entry.clone());
        Ok(())
    }
}

impl Escalation for World {
    fn raise<'a>(&'a self, notice: &'a Escalated) -> BoxFuture<'a, Result<(), EscalationError>> {
        self.notices.lock().push(notice.clone());
        Box::pin(std::future::ready(Ok(())))
    }

    fn resolve<'a>(&'a self, _: &'a Tenant, id: &'a str) -> BoxFuture<'a, Result<(), EscalationError>> {
        self.resolved.lock().push(id.to_owned());
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Which side of a write a crash is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The write is lost.
    Before,
    /// The write is durable, and nobody hears of it.
    After,
}

/// A metastore that stops working at a given write of a document.
pub(crate) struct CrashStore {
    pub(crate) inner: Arc<dyn Metastore>,
    pub(crate) writes: AtomicUsize,
    pub(crate) crash: Option<(usize, Crash)>,
}

impl CrashStore {
    pub(crate) fn new(inner: &Arc<dyn Metastore>, crash: Option<(usize, Crash)>) -> Arc<CrashStore> {
        Arc::new(CrashStore { inner: Arc::clone(inner), writes: AtomicUsize::new(0), crash })
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.crash.is_some_and(|(at, _)| self.writes.load(Ordering::SeqCst) >= at)
    }

    fn write(&self, write: impl FnOnce() -> Result<(), MetastoreError>) -> Result<(), MetastoreError> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        match self.crash {
            Some((at, _)) if number > at => Err(MetastoreError::Full),
            Some((at, Crash::Before)) if number == at => Err(MetastoreError::Full),
            Some((at, Crash::After)) if number == at => write().and(Err(MetastoreError::Full)),
            _ => write(),
        }
    }
}

impl Metastore for CrashStore {
    fn alerts(&self) -> &dyn AlertStore {
        self.inner.alerts()
    }

    fn tokens(&self) -> &dyn TokenStore {
        self.inner.tokens()
    }

    fn audit(&self) -> &dyn AuditStore {
        self.inner.audit()
    }

    fn documents(&self) -> &dyn DocumentStore {
        self
    }
}

impl DocumentStore for CrashStore {
    fn insert(&self, kind: &str, document: &Document) -> Result<(), MetastoreError> {
        self.write(|| self.inner.documents().insert(kind, document))
    }

    fn put(&self, kind: &str, documents: &[Document]) -> Result<(), MetastoreError> {
        self.write(|| self.inner.documents().put(kind, documents))
    }

    fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, MetastoreError> {
        self.inner.documents().get(kind, id)
    }

    fn list(
        &self,
        kind: &str,
        filter: &DocumentFilter,
        after: Option<&DocumentCursor>,
        limit: usize,
    ) -> Result<Vec<Document>, MetastoreError> {
        self.inner.documents().list(kind, filter, after, limit)
    }

    fn counts(&self, kind: &str, tenant: Option<&Tenant>) -> Result<Vec<(String, u64)>, MetastoreError> {
        self.inner.documents().counts(kind, tenant)
    }

    fn delete(&self, kind: &str, id: &str) -> Result<bool, MetastoreError> {
        self.inner.documents().delete(kind, id)
    }

    fn delete_before(
        &self,
        kind: &str,
        states: &[&str],
        before: Timestamp,
        limit: usize,
    ) -> Result<usize, MetastoreError> {
        self.inner.documents().delete_before(kind, states, before, limit)
    }
}
