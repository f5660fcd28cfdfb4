//! What is done about alerts: the responder's ports onto the rest of the server, and the task that offers it alerts.
//!
//! Invariants:
//! - the responder hears of every alert: of what it missed while it was slow or away, as soon as it can;
//! - what it did is in the audit trail and on the alert's incident before it is done;
//! - a failure it cannot mend is an alert of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::BoxFuture;
use heimdall_alert::{
    AlertError, AlertFilter, AlertPage, Alerts, Cause, EntryKind, Event, EventQueue, Incidents,
    PipelineHandle, PostedAlert,
};
use heimdall_guard::{Audit, NewAuditEvent, Outcome, Principal};
use heimdall_metastore::{Document, Metastore};
use heimdall_model::{Alert, AlertId, Clock, Dataset, LabelMatcher, Status, Tenant, Value};
use heimdall_query::search::{self, ParseContext};
use heimdall_query::{Answer, Engine, RunLimits};
use heimdall_respond::runners::{Note, Notebook, Page, Pager, Runners};
use heimdall_respond::{
    ActionError, ActionRunner, Change, Escalated, Escalation, EscalationError, Health, HealthError, Ledger,
    LedgerEntry, LedgerError, LedgerOutcome, Playbook, PlaybookFault, Probe, Probed, Prober, Responder,
    built_in,
};
use heimdall_store::Control;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::rule_files;

/// Events that wait for the responder; beyond, it looks at the live alerts again.
pub(crate) const EVENTS_MAX: usize = 4_096;
/// Live alerts read at once when the responder looks at all of them.
const PAGE: usize = 1_000;
/// Time between rounds of housekeeping of the runners: expiring blocks, breakers that try again.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// Time between looks at the folder of playbooks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long an alert of the responder's own stands unless it is said to be over.
const ESCALATED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Who the machine is in histories and the audit trail.
const HEIMDALL: &str = "heimdall";
/// Kind of documents that mark moments on charts.
const ANNOTATION: &str = "annotation";

// ---- playbooks ------------------------------------------------------------------------------------------------

/// Who does actions: what playbooks are checked against.
pub(crate) type Hands = Vec<Arc<dyn ActionRunner>>;

/// The playbooks that come with Heimdall, and those of the folder, which win over built-in ones of the same id. Kinds of
/// actions and their parameters are checked by who would do them.
pub(crate) fn playbooks(dir: Option<&Path>, hands: &Hands) -> Result<Vec<Playbook>, Vec<PlaybookFault>> {
    let mut own = Vec::new();
    let mut faults = Vec::new();
    if let Some(dir) = dir {
        let files = rule_files::read(&[dir.to_owned()]).map_err(|error| vec![unreadable(dir, &error)])?;
        for (file, text) in &files {
            match Playbook::load(file, text, hands) {
                Ok(more) => own.extend(more),
                Err(more) => faults.extend(more),
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let is_replaced = |built_in: &Playbook| own.iter().any(|own: &Playbook| own.id == built_in.id);
    let mut all: Vec<Playbook> = built_in().into_iter().filter(|playbook| !is_replaced(playbook)).collect();
    all.extend(own);
    Ok(all)
}

fn unreadable(dir: &Path, error: &std::io::Error) -> PlaybookFault {
    PlaybookFault {
        file: dir.display().to_string(),
        line: 1,
        key: String::new(),
        reason: format!("cannot be read: {error}"),
    }
}

/// Faults, a line each.
pub(crate) fn listed(faults: &[PlaybookFault]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    format!("playbooks cannot be used:\n{}", lines.join("\n"))
}

/// Takes changes of the folder of playbooks until `shutdown` fires; a folder with a fault changes nothing.
pub(crate) async fn watch(
    dir: Option<PathBuf>,
    hands: Hands,
    responder: Arc<Responder>,
    shutdown: CancellationToken,
) {
    let Some(dir) = dir else { return };
    let mut seen = rule_files::fingerprint(&dir);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = rule_files::fingerprint(&dir);
        if now == seen {
            continue;
        }
        seen = now;
        match reload(&dir, &hands, &responder) {
            Ok(count) => tracing::info!(playbooks = count, "playbooks reloaded"),
            Err(error) => tracing::error!(%error, "the playbooks stay as they were"),
        }
    }
}

fn reload(dir: &Path, hands: &Hands, responder: &Responder) -> Result<usize> {
    let playbooks = playbooks(Some(dir), hands).or_else(|faults| bail!(listed(&faults)))?;
    let count = playbooks.len();
    responder.set_playbooks(playbooks)?;
    Ok(count)
}

// ---- the responder at work ------------------------------------------------------------------------------------

/// Offers every alert to the responder until `shutdown` fires.
pub(crate) async fn attend(
    alerts: Arc<Alerts>,
    responder: Arc<Responder>,
    mut events: EventQueue,
    shutdown: CancellationToken,
) {
    offer_live(&alerts, &responder).await;
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            None => return,
            Some(Event::Missed) => offer_live(&alerts, &responder).await,
            Some(Event::Alert(event)) => {
                let change = match event.cause {
                    Cause::Raised => Change::Raised,
                    Cause::Worse => Change::Worse,
                    _ => Change::Other,
                };
                responder.consider(&event.alert, change);
            }
        }
    }
}

/// Offers what is live, as after a start or a moment of being too slow.
async fn offer_live(alerts: &Arc<Alerts>, responder: &Arc<Responder>) {
    let mut after = None;
    loop {
        let (of, cursor) = (Arc::clone(alerts), after.take());
        let page = spawn_blocking(move || of.live(None, cursor.as_ref(), PAGE)).await;
        let AlertPage { items, next } = match page {
            Ok(Ok(page)) => page,
            Ok(Err(error)) => {
                tracing::error!(%error, "live alerts could not be read; playbooks wait for news of them");
                return;
            }
            Err(_) => return,
        };
        for alert in &items {
            responder.consider(alert, Change::Live);
        }
        if next.is_none() {
            return;
        }
        after = next;
    }
}

/// Keeps what runners keep: puts it back after a start, lets blocks and breakers expire.
pub(crate) async fn keep(runners: Runners, shutdown: CancellationToken) {
    let mut faults = runners.resume().await;
    let mut known = String::new();
    loop {
        // A fault that lasts is told once, not every second.
        let now = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if now != known && !now.is_empty() {
            tracing::warn!(faults = now, "runners could not do their housekeeping, it is tried again");
        }
        known = now;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(TICK_EVERY) => {}
        }
        faults = runners.tick().await;
    }
}

// ---- ports ----------------------------------------------------------------------------------------------------

/// How things are: alerts, records, and whatever a probe reaches.
#[derive(Clone)]
pub(crate) struct Ward {
    pub alerts: Arc<Alerts>,
    /// Records; none on an agent, which keeps none to be asked about.
    pub engine: Option<Engine>,
    pub prober: Prober,
    pub clock: Arc<dyn Clock>,
}

impl Ward {
    /// The one number a search line answers.
    fn ask(&self, tenant: &Tenant, line: &str, deadline: Duration) -> Result<f64, HealthError> {
        let engine = self.engine.as_ref();
        let engine =
            engine.ok_or_else(|| HealthError("there are no records to ask about here".to_owned()))?;
        let context = ParseContext::new(tenant.clone(), Dataset::Logs, self.clock.now());
        let query = search::parse(line, &context).map_err(|error| HealthError(error.to_string()))?;
        let control = Control { deadline: Some(Instant::now() + deadline), ..Control::default() };
        let answer = engine.run(&query, &control, RunLimits::default());
        number(&answer.map_err(|error| HealthError(error.to_string()))?)
    }
}

/// The last number of the only row; no row counts as 0.
fn number(answer: &Answer) -> Result<f64, HealthError> {
    let [row] = answer.rows.as_slice() else {
        let rows = answer.rows.len();
        return if rows == 0 {
            Ok(0.0)
        } else {
            Err(HealthError(format!("{rows} rows, where one is wanted")))
        };
    };
    let found = row.iter().rev().find_map(|value| match value {
        #[expect(clippy::cast_precision_loss, reason = "compared with a threshold of a person")]
        Value::Int(n) => Some(*n as f64),
        Value::Float(x) => Some(*x),
        _ => None,
    });
    found.ok_or_else(|| HealthError("the answer has no number".to_owned()))
}

fn failed(error: &dyn std::fmt::Display) -> HealthError {
    HealthError(error.to_string())
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HealthError> + Send + 'static,
) -> Result<T, HealthError> {
    spawn_blocking(work).await.map_err(|_| HealthError("the question panicked".to_owned()))?
}

impl Health for Ward {
    fn alert<'a>(
        &'a self,
        tenant: &'a Tenant,
        id: AlertId,
    ) -> BoxFuture<'a, Result<Option<Arc<Alert>>, HealthError>> {
        let (alerts, tenant) = (Arc::clone(&self.alerts), tenant.clone());
        Box::pin(blocking(move || match alerts.get(Some(&tenant), id) {
            Ok(alert) => Ok(Some(alert)),
            Err(AlertError::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&error)),
        }))
    }

    fn is_live<'a>(
        &'a self,
        tenant: &'a Tenant,
        matchers: &'a [LabelMatcher],
        except: AlertId,
    ) -> BoxFuture<'a, Result<bool, HealthError>> {
        let alerts = Arc::clone(&self.alerts);
        let filter = AlertFilter {
            tenant: Some(tenant.clone()),
            statuses: vec![Status::Open, Status::Acknowledged],
            labels: matchers.to_vec(),
            ..AlertFilter::default()
        };
        Box::pin(blocking(move || {
            let page = alerts.list(&filter, None, 2).map_err(|error| failed(&error))?;
            Ok(page.items.iter().any(|alert| alert.id != except))
        }))
    }

    fn probe<'a>(
        &'a self,
        tenant: &'a Tenant,
        probe: &'a Probe,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Probed, HealthError>> {
        let Probe::Query { query, at_most, at_least } = probe else {
            return Box::pin(self.prober.probe(probe, deadline));
        };
        let (ward, tenant, query) = (self.clone(), tenant.clone(), query.clone());
        Box::pin(async move {
            let found = blocking(move || ward.ask(&tenant, &query, deadline)).await?;
            let is_low = at_least.is_some_and(|least| found < least);
            let is_high = at_most.is_some_and(|most| found > most);
            Ok(Probed { is_healthy: !is_low && !is_high, detail: format!("the query answers {found}") })
        })
    }
}

/// The audit trail, as the responder writes into it, and the timeline of the incident of its alert.
pub(crate) struct Book {
    pub audit: Arc<Audit>,
}

impl Ledger for Book {
    fn record(&self, entry: &LedgerEntry) -> Result<(), LedgerError> {
        let outcome = match entry.outcome {
            LedgerOutcome::Begun | LedgerOutcome::Done => Outcome::Done,
            LedgerOutcome::Denied => Outcome::Denied,
            LedgerOutcome::Failed => Outcome::Failed,
        };
        let principal = Principal { name: entry.principal.clone(), ..Principal::loopback() };
        let detail = detail(entry);
        let event = NewAuditEvent {
            principal: &principal,
            tenant: Some(entry.tenant.clone()),
            action: &entry.action,
            target: &entry.target,
            outcome,
            detail: Some(&detail),
            source_ip: None,
        };
        self.audit.append(&event).map(drop).map_err(|error| LedgerError(error.to_string()))
    }
}

/// What stands in no column of the audit trail.
fn detail(entry: &LedgerEntry) -> String {
    let named =
        [("kind", &entry.kind), ("rule", &entry.rule), ("playbook", &entry.playbook), ("run", &entry.run)];
    let named = named.into_iter().filter(|(_, value)| !value.is_empty());
    let mut parts: Vec<String> = named.map(|(name, value)| format!("{name}={value}")).collect();
    parts.extend(entry.is_dry_run.then(|| "dry run".to_owned()));
    parts.extend(entry.is_rollback.then(|| "rollback".to_owned()));
    parts.extend((entry.outcome == LedgerOutcome::Begun).then(|| "begun".to_owned()));
    parts.extend((!entry.detail.is_empty()).then(|| entry.detail.clone()));
    parts.join(", ")
}

/// Tells people through alerts of its own.
pub(crate) struct Caller {
    pub alerts: Arc<Alerts>,
    pub clock: Arc<dyn Clock>,
}

impl Caller {
    fn post(&self, tenant: &Tenant, posted: PostedAlert) -> BoxFuture<'static, Result<(), EscalationError>> {
        let (alerts, tenant) = (Arc::clone(&self.alerts), tenant.clone());
        Box::pin(async move {
            let post = move || alerts.post(&tenant, vec![posted], HEIMDALL).map(drop);
            let done =
                spawn_blocking(post).await.map_err(|_| EscalationError("posting panicked".to_owned()))?;
            done.map_err(|error| EscalationError(error.to_string()))
        })
    }
}

/// The label by which a notice of the responder is found again.
const NOTICE: &str = "notice";

impl Escalation for Caller {
    fn raise<'a>(&'a self, notice: &'a Escalated) -> BoxFuture<'a, Result<(), EscalationError>> {
        let mut labels = BTreeMap::from([
            ("alertname".to_owned(), notice.rule.clone()),
            ("severity".to_owned(), notice.severity.as_str().to_ascii_lowercase()),
            (NOTICE.to_owned(), notice.id.clone()),
        ]);
        labels.extend(notice.service.clone().map(|service| ("service".to_owned(), service)));
        labels.extend(notice.page.then(|| ("page".to_owned(), "true".to_owned())));
        labels.extend(notice.alert.map(|id| ("alert".to_owned(), id.to_string())));
        let annotations = BTreeMap::from([
            ("title".to_owned(), notice.title.clone()),
            ("summary".to_owned(), notice.summary.clone()),
        ]);
        let ends_at = Some(self.clock.now().saturating_add_ns(ns(ESCALATED_FOR)));
        let posted =
            PostedAlert { labels, annotations, starts_at: Some(notice.at), ends_at, source_url: None };
        self.post(&notice.tenant, posted)
    }

    fn resolve<'a>(&'a self, tenant: &'a Tenant, id: &'a str) -> BoxFuture<'a, Result<(), EscalationError>> {
        let (alerts, tenant) = (Arc::clone(&self.alerts), tenant.clone());
        let matcher = LabelMatcher::new(NOTICE, id, false, true);
        Box::pin(async move {
            let matcher = matcher.map_err(|error| EscalationError(error.to_string()))?;
            let resolve = move || resolve_all(&alerts, tenant, matcher);
            let done =
                spawn_blocking(resolve).await.map_err(|_| EscalationError("it panicked".to_owned()))?;
            done.map_err(|error| EscalationError(error.to_string()))
        })
    }
}

fn resolve_all(alerts: &Alerts, tenant: Tenant, matcher: LabelMatcher) -> Result<(), AlertError> {
    let filter = AlertFilter {
        tenant: Some(tenant.clone()),
        statuses: vec![Status::Open, Status::Acknowledged, Status::Suppressed],
        labels: vec![matcher],
        ..AlertFilter::default()
    };
    for alert in alerts.list(&filter, None, PAGE)?.items {
        alerts.step(Some(&tenant), alert.id, heimdall_alert::Step::Resolve, HEIMDALL, None)?;
    }
    Ok(())
}

/// Where playbooks write: on an alert, on an incident, or on the charts of a service.
pub(crate) struct Pen {
    pub alerts: Arc<Alerts>,
    pub store: Arc<dyn Metastore>,
    pub clock: Arc<dyn Clock>,
}

impl Notebook for Pen {
    fn annotate<'a>(&'a self, note: &'a Note) -> BoxFuture<'a, Result<(), ActionError>> {
        let (alerts, store, note) = (Arc::clone(&self.alerts), Arc::clone(&self.store), note.clone());
        let now = self.clock.now();
        Box::pin(async move {
            let write = move || {
                let incidents: &Incidents = alerts.incidents();
                if let Ok(id) = note.target.parse::<Uuid>() {
                    if alerts.comment(None, id, HEIMDALL, &note.text).is_ok() {
                        return Ok(());
                    }
                    return incidents
                        .note(id, EntryKind::Note, &note.text, HEIMDALL)
                        .map_err(|_| ActionError::NotFound { target: note.target.clone() });
                }
                store.documents().insert(ANNOTATION, &mark(&note, now)).map_err(|error| ActionError::Failed {
                    system: "the metastore".to_owned(),
                    detail: error.to_string(),
                })
            };
            spawn_blocking(write).await.map_err(|_| ActionError::Failed {
                system: HEIMDALL.to_owned(),
                detail: "writing panicked".to_owned(),
            })?
        })
    }
}

/// A mark on the charts of a service.
fn mark(note: &Note, now: heimdall_model::Timestamp) -> Document {
    let body = serde_json::json!({
        "at": now, "kind": "investigation", "service": note.target, "text": note.text, "by": HEIMDALL,
    });
    Document {
        id: Uuid::now_v7().to_string(),
        tenant: Tenant::default(),
        at: now,
        state: "investigation".to_owned(),
        key: note.target.clone(),
        body: body.to_string(),
    }
}

/// Calls people: an alert that goes to the receiver it names.
pub(crate) struct Bell {
    pub alerts: Arc<Alerts>,
    /// Who can be called; none on an agent: its alerts tell the server's people through its log.
    pub pipeline: Option<PipelineHandle>,
    pub clock: Arc<dyn Clock>,
}

impl Pager for Bell {
    fn page<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<(), ActionError>> {
        let is_unknown = |pipeline: &PipelineHandle| pipeline.routing().receiver(&page.receiver).is_none();
        if self.pipeline.as_ref().is_some_and(is_unknown) {
            let target = format!("receiver {}", page.receiver);
            return Box::pin(async { Err(ActionError::NotFound { target }) });
        }
        let now = self.clock.now();
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let posted = PostedAlert {
            labels: BTreeMap::from([
                label("alertname", "response.page"),
                label("severity", "critical"),
                label("receiver", &page.receiver),
                label(NOTICE, &Uuid::now_v7().to_string()),
            ]),
            annotations: BTreeMap::from([label("summary", &page.text)]),
            starts_at: Some(now),
            ends_at: Some(now.saturating_add_ns(ns(ESCALATED_FOR))),
            source_url: None,
        };
        let alerts = Arc::clone(&self.alerts);
        Box::pin(async move {
            let failed = |detail: String| ActionError::Failed { system: HEIMDALL.to_owned(), detail };
            let post = move || alerts.post(&Tenant::default(), vec![posted], HEIMDALL).map(drop);
            let done = spawn_blocking(post).await.map_err(|_| failed("paging panicked".to_owned()))?;
            done.map_err(|error| failed(error.to_string()))
        })
    }
}

fn ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
