//! The handlers, one file per area, and what several of them need.

pub(crate) mod actions;
pub(crate) mod admin;
pub(crate) mod alertmanager;
pub(crate) mod alerts;
pub(crate) mod alerts_live;
pub(crate) mod annotations;
pub(crate) mod dashboards;
pub(crate) mod dead_letters;
pub(crate) mod description;
pub(crate) mod detection;
pub(crate) mod doors;
pub(crate) mod explore;
pub(crate) mod fields;
pub(crate) mod inbound;
pub(crate) mod incidents;
pub(crate) mod ingest;
pub(crate) mod notifications;
pub(crate) mod operations;
pub(crate) mod page;
pub(crate) mod pipelines;
pub(crate) mod progressive;
pub(crate) mod query;
pub(crate) mod records;
pub(crate) mod rules;
pub(crate) mod saved_queries;
pub(crate) mod silences;
pub(crate) mod status;
pub(crate) mod storage;
pub(crate) mod tail;
pub(crate) mod trials;
pub(crate) mod vitals;
pub(crate) mod whoami;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use heimdall_guard::Outcome;
use heimdall_model::{Dataset, Tenant};
use heimdall_store::{Control, Store};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use crate::AppState;
use crate::access::Access;
use crate::extract::short;
use crate::problem::Problem;

/// When to come back after the queries were too many.
const RETRY_AFTER_QUERIES: Duration = Duration::from_secs(2);

/// Runs blocking or long work off the async threads.
///
/// # Errors
/// 500 when the work panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    // One type of task for all: what a task is made of is else compiled anew for each of a hundred callers.
    let result = Arc::new(Mutex::new(None));
    let there = Arc::clone(&result);
    let work: Box<dyn FnOnce() + Send> = Box::new(move || *there.lock() = Some(work()));
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))?;
    Ok(result.lock().take().expect("work that ended without a panic left its result"))
}

/// A change somebody asks for, as the audit trail has it.
pub(crate) struct Deed {
    /// Such as `silence.add`.
    pub(crate) action: &'static str,
    /// What it is done to: an id or a name.
    pub(crate) target: String,
    /// Whose it is.
    pub(crate) tenant: Tenant,
    /// In words.
    pub(crate) detail: Option<String>,
}

impl Deed {
    pub(crate) fn new(action: &'static str, target: impl ToString, tenant: &Tenant) -> Deed {
        Deed { action, target: target.to_string(), tenant: tenant.clone(), detail: None }
    }

    pub(crate) fn with(mut self, detail: impl Into<Option<String>>) -> Deed {
        self.detail = detail.into();
        self
    }

    /// Writes it down. Blocks on disk.
    pub(crate) fn audit(&self, state: &AppState, access: &Access, outcome: Outcome) {
        access.audit(
            state,
            self.action,
            &self.target,
            Some(self.tenant.clone()),
            outcome,
            self.detail.as_deref(),
        );
    }
}

/// Makes a change off the async threads, and writes it down whatever comes of it; what is not there leaves no line.
pub(crate) async fn change<T: Send + 'static>(
    state: AppState,
    access: Access,
    deed: Deed,
    work: impl FnOnce(&AppState, &str) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = blocking(move || {
        let done = work(&state, &access.principal().name);
        match &done {
            Err(problem) if problem.status() == StatusCode::NOT_FOUND => {}
            Err(_) => deed.audit(&state, &access, Outcome::Failed),
            Ok(_) => deed.audit(&state, &access, Outcome::Done),
        }
        done
    });
    done.await?
}

/// Tells a query that nobody waits for its answer any more.
pub(crate) struct CancelOnDrop(pub(crate) Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a query when its turn comes: on a blocking thread, with a deadline, cancelled when the client goes away. It
/// holds its turn until it has really ended.
///
/// # Errors
/// 503 with `Retry-After` when its turn does not come in time.
pub(crate) async fn in_turn<T: Send + 'static>(
    state: &AppState,
    timeout: Duration,
    work: impl FnOnce(&Control) -> T + Send + 'static,
) -> Result<T, Problem> {
    let turn = turn(state).await?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let _cancel = CancelOnDrop(Arc::clone(&cancelled));
    let deadline = Some(Instant::now() + timeout);
    let control = Control { deadline, cancelled, ..Control::default() };
    blocking(move || {
        let answer = work(&control);
        drop(turn);
        answer
    })
    .await
}

async fn turn(state: &AppState) -> Result<OwnedSemaphorePermit, Problem> {
    let turn = Arc::clone(&state.query_turns).acquire_owned();
    match tokio::time::timeout(state.limits.query_wait, turn).await {
        Ok(turn) => Ok(turn.expect("the semaphore is never closed")),
        Err(_) => Err(Problem::busy(
            StatusCode::SERVICE_UNAVAILABLE,
            "queries_busy",
            "too many queries are running",
            RETRY_AFTER_QUERIES,
        )),
    }
}

/// A dataset parameter; absent: logs.
pub(crate) fn dataset(name: Option<&str>) -> Result<Dataset, Problem> {
    match name {
        None | Some("") => Ok(Dataset::Logs),
        Some(name) => Dataset::parse(name).ok_or_else(|| {
            Problem::parameter("dataset", format!("`{}` is none: logs, metrics or spans", short(name)))
        }),
    }
}

/// Text of the template a record's `template_id` names.
pub(crate) fn template_of(store: &Store, tenant: &Tenant, id: Option<i64>) -> Option<Arc<str>> {
    let id = u32::try_from(id?).ok().filter(|id| *id > 0)?;
    store.template_text(tenant, id)
}

/// Adds the template's text to a record's document.
pub(crate) fn put_template(record: &mut Map<String, Value>, template: Option<&str>) {
    if let Some(template) = template {
        record.insert("template".to_owned(), template.into());
    }
}
