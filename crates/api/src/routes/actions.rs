//! What Heimdall does about alerts by itself: plans, runs, approvals, the kill switch, playbooks, breakers.
//!
//! Playbooks, the kill switch and breakers belong to the server, runs to the tenant of their alert. Whoever works with alerts
//! (`alerts:write`) may answer a run that waits, stop one, and turn the kill switch on; to turn it off takes an `admin` who is
//! not bound to one tenant.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heimdall_guard::{Outcome, Scope};
use heimdall_metastore::DocumentCursor;
use heimdall_model::{AlertId, Tenant, Timestamp};
use heimdall_respond::run::{Question, Said};
use heimdall_respond::runners::{Breaker, BreakerState};
use heimdall_respond::{
    ActionError, Mode, Plan, RespondError, RespondStatus, Run, RunFilter, RunId, RunState,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{self, Access};
use crate::extract::{Document, Params, Segment, end_of_period, limit, short};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::{Deed, blocking, change};
use crate::wire::Page;
use crate::{AppState, error};

/// How long the files, the store and the webhook of a breaker may take.
const BREAKER_TIMEOUT: Duration = Duration::from_secs(10);

// ---- plans ----------------------------------------------------------------------------------------------------

/// What playbooks would do about an alert now. Looks at targets, changes nothing.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}/plan", tag = "actions",
    params(("id" = Uuid, Path, description = "id of the alert")),
    responses(
        (status = 200, description = "one plan per playbook: `{playbook, version, title, mode, mode_reason, would, script, looked}`", body = Page<serde_json::Value>),
        (status = 404, description = "no such alert", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn plan_alert(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<AlertId>,
) -> Result<Json<Page<Plan>>, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let responder = Arc::clone(&state.responder);
    let alert = blocking(move || state.alerts.get(Some(&tenant), id)).await?;
    let alert = alert.map_err(|error| error::alert(&error))?;
    Ok(Json(Page::whole(responder.plan(&alert).await)))
}

// ---- runs -----------------------------------------------------------------------------------------------------

/// A run in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Run)]
pub(crate) struct RunView<'a> {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: RunId,
    /// The playbook.
    playbook: &'a str,
    /// Its version.
    version: u32,
    /// How far it may go by itself: `dry_run`, `approve`, `earn` or `auto`.
    #[schema(value_type = String, example = "approve")]
    mode: Mode,
    /// The alert it answers: `{id, rule, title}`.
    #[schema(value_type = Object)]
    alert: RunAlert<'a>,
    /// Where in its life: `awaiting_approval`, `running`, `succeeded`, `rehearsed` …
    #[schema(value_type = String, example = "awaiting_approval")]
    state: RunState,
    /// Why there, in words.
    reason: &'a str,
    /// What it does, one `kind target` per step.
    actions: Vec<String>,
    /// The question to a person, where one is asked: `{why, by, expires_at, answer, is_approved}`.
    #[schema(value_type = Option<Object>)]
    approval: Option<&'a Question>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last written.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct RunAlert<'a> {
    id: AlertId,
    rule: &'a str,
    title: &'a str,
}

impl<'a> From<&'a Run> for RunView<'a> {
    fn from(run: &'a Run) -> RunView<'a> {
        let named =
            run.script.steps.iter().map(|step| format!("{} {}", step.action.kind, step.action.target));
        RunView {
            id: run.id,
            playbook: &run.playbook,
            version: run.version,
            mode: run.mode,
            alert: RunAlert { id: run.alert.id, rule: &run.alert.rule, title: &run.alert.title },
            state: run.state,
            reason: &run.reason,
            actions: named.map(|name| name.trim().to_owned()).collect(),
            approval: run.approval.as_ref(),
            created_at: run.created_at,
            updated_at: run.updated_at,
            finished_at: run.finished_at,
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunParams {
    /// Any of these states, separated by commas.
    state: Option<String>,
    /// Of this playbook.
    playbook: Option<String>,
    /// About this alert.
    #[param(value_type = Option<String>, format = Uuid)]
    alert: Option<AlertId>,
    /// Runs at most; default 100, at most 1,000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl RunParams {
    fn filter(&self, tenant: Tenant) -> Result<RunFilter, Problem> {
        let names = self.state.as_deref().unwrap_or_default().split(',').map(str::trim);
        let unknown = |name| Problem::parameter("state", format!("`{}` is none", short(name)));
        let states = names
            .filter(|name| !name.is_empty())
            .map(|name| RunState::parse(name).ok_or_else(|| unknown(name)));
        Ok(RunFilter {
            tenant: Some(tenant),
            states: states.collect::<Result<_, _>>()?,
            playbook: self.playbook.clone(),
            alert: self.alert,
        })
    }
}

/// Runs of playbooks: what was done, is being done, or waits for a person; newest first.
#[utoipa::path(
    get, path = "/api/v1/actions", tag = "actions", params(RunParams),
    responses((status = 200, description = "a page of runs", body = Page<RunView>))
)]
pub(crate) async fn list_runs(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<RunParams>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let filter = params.filter(tenant)?;
    let cursor = params.cursor.as_deref().map(str::parse::<DocumentCursor>).transpose();
    let cursor = cursor.map_err(|_| Problem::parameter("cursor", "is none of this list"))?;
    let page = blocking(move || state.responder.runs(&filter, cursor.as_ref(), limit)).await?;
    let page = page.map_err(|error| respond(&error))?;
    let items: Vec<RunView<'_>> = page.items.iter().map(RunView::from).collect();
    Ok(Json(Page { items, next: page.next }).into_response())
}

/// One run: its steps and attempts, what was verified, what was undone, its timeline.
#[utoipa::path(
    get, path = "/api/v1/actions/{id}", tag = "actions",
    params(("id" = Uuid, Path, description = "id of the run")),
    responses(
        (status = 200, description = "the run", body = Object),
        (status = 404, description = "no such run", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn one_run(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<RunId>,
) -> Result<Json<Run>, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let run = blocking(move || state.responder.get(Some(&tenant), id)).await?;
    run.map(Json).map_err(|error| respond(&error))
}

/// Why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerRequest {
    /// In the words of whoever answers.
    #[serde(default)]
    note: Option<String>,
}

/// What a person does with a run.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Approve,
    Reject,
    Cancel,
}

/// Lets a run that waits for a person go on. Limits are asked again.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/approve", tag = "actions",
    params(("id" = Uuid, Path, description = "id of the run")),
    request_body(content = Option<AnswerRequest>),
    responses(
        (status = 200, description = "the run", body = RunView),
        (status = 403, description = "the playbook asks others", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such run", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "it does not wait, or a limit forbids it now", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn approve_run(
    state: State<AppState>,
    access: Access,
    id: Segment<RunId>,
    document: Document<AnswerRequest>,
) -> Result<Response, Problem> {
    answer(state, access, id, document, Answer::Approve).await
}

/// Ends a run that waits for a person.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/reject", tag = "actions",
    params(("id" = Uuid, Path, description = "id of the run")),
    request_body(content = Option<AnswerRequest>),
    responses(
        (status = 200, description = "the run", body = RunView),
        (status = 404, description = "no such run", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "it does not wait", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn reject_run(
    state: State<AppState>,
    access: Access,
    id: Segment<RunId>,
    document: Document<AnswerRequest>,
) -> Result<Response, Problem> {
    answer(state, access, id, document, Answer::Reject).await
}

/// Stops a run once the action under way has ended. What was done stays.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/cancel", tag = "actions",
    params(("id" = Uuid, Path, description = "id of the run")),
    request_body(content = Option<AnswerRequest>),
    responses(
        (status = 200, description = "the run", body = RunView),
        (status = 404, description = "no such run", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "it has ended", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn cancel_run(
    state: State<AppState>,
    access: Access,
    id: Segment<RunId>,
    document: Document<AnswerRequest>,
) -> Result<Response, Problem> {
    answer(state, access, id, document, Answer::Cancel).await
}

async fn answer(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<RunId>,
    Document(request): Document<AnswerRequest>,
    answer: Answer,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let action = match answer {
        Answer::Approve => "action.approve",
        Answer::Reject => "action.reject",
        Answer::Cancel => "action.cancel",
    };
    let deed = Deed::new(action, id, &tenant).with(request.note.clone());
    let run = change(state, access, deed, move |state, by| {
        let (responder, why) = (&state.responder, request.note.as_deref().unwrap_or_default());
        let answered = match answer {
            Answer::Approve => responder.approve(Some(&tenant), id, by, why),
            Answer::Reject => responder.reject(Some(&tenant), id, by, why),
            Answer::Cancel => responder.cancel(Some(&tenant), id, by, why),
        };
        answered.map_err(|error| respond(&error))
    });
    Ok(Json(RunView::from(&run.await?)).into_response())
}

/// Something asked of the responder was not done.
pub(crate) fn respond(error: &RespondError) -> Problem {
    let detail = error.to_string();
    let conflict = |code| Problem::new(StatusCode::CONFLICT, code, detail.clone());
    match error {
        RespondError::NoSuchRun { id } => Problem::not_found("run", id),
        RespondError::WrongState { state, .. } => {
            conflict("run_state_conflict").with_member("state", state.as_str().into())
        }
        RespondError::NotAsked { .. } => Problem::new(StatusCode::FORBIDDEN, "not_asked", detail),
        RespondError::Refused(refusal) => {
            conflict("action_refused").with_member("refusal", serde_json::json!(refusal))
        }
        RespondError::Ledger(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", detail),
        RespondError::Store(error) => error::metastore(error),
        other => Problem::internal(other),
    }
}

// ---- the kill switch ------------------------------------------------------------------------------------------

/// How the kill switch stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KillSwitchView {
    /// Whether no action is taken.
    on: bool,
    /// Who turned it on.
    by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Why.
    note: Option<String>,
}

impl From<Option<Said>> for KillSwitchView {
    fn from(said: Option<Said>) -> KillSwitchView {
        match said {
            None => KillSwitchView { on: false, by: None, at: None, note: None },
            Some(Said { by, at, why }) => {
                KillSwitchView { on: true, by: Some(by), at: Some(at), note: Some(why) }
            }
        }
    }
}

/// How the kill switch stands.
#[utoipa::path(
    get, path = "/api/v1/actions/kill-switch", tag = "actions",
    responses((status = 200, description = "how it stands", body = KillSwitchView))
)]
pub(crate) async fn kill_switch(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<KillSwitchView>, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    Ok(Json(state.responder.killed().into()))
}

/// Where to turn the kill switch.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KillSwitchRequest {
    /// True: no action is begun any more and every run is cancelled, on the whole server.
    #[serde(default)]
    #[schema(value_type = bool)]
    on: Option<bool>,
    /// Why.
    #[serde(default)]
    note: Option<String>,
}

/// Turns the kill switch. It holds over restarts.
#[utoipa::path(
    put, path = "/api/v1/actions/kill-switch", tag = "actions",
    request_body(content = KillSwitchRequest),
    responses(
        (status = 200, description = "how it stands", body = KillSwitchView),
        (status = 403, description = "turning it off takes an admin of all tenants", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn turn_kill_switch(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<KillSwitchRequest>,
) -> Result<Json<KillSwitchView>, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let on = request.on.ok_or_else(|| Problem::field("on", "must be true or false"))?;
    if !on {
        access.require(Scope::Admin)?;
        access::of_all_tenants(&access, "the kill switch is turned off")?;
    }
    let target = if on { "on" } else { "off" };
    let deed = Deed::new("action.kill_switch", target, &tenant).with(request.note.clone());
    let said = change(state, access, deed, move |state, by| {
        let why = request.note.as_deref().unwrap_or_default();
        state.responder.kill_switch(on, by, why).map_err(|error| respond(&error))?;
        Ok(state.responder.killed())
    });
    Ok(Json(said.await?.into()))
}

// ---- what is in force -----------------------------------------------------------------------------------------

/// Playbooks in force, each with how far it may go at present and why.
#[utoipa::path(
    get, path = "/api/v1/actions/playbooks", tag = "actions",
    responses((status = 200, description = "the playbooks", body = Page<serde_json::Value>))
)]
pub(crate) async fn playbooks(State(state): State<AppState>, access: Access) -> Result<Response, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    let playbooks = blocking(move || state.responder.playbooks()).await?;
    Ok(Json(Page::whole(playbooks)).into_response())
}

/// What playbooks have earned by verified successes, by playbook and kind of action.
#[utoipa::path(
    get, path = "/api/v1/actions/autonomy", tag = "actions",
    responses((status = 200, description = "`{playbook, kind, streak, successes, failures, needed, is_earned}` each", body = Page<serde_json::Value>))
)]
pub(crate) async fn autonomy(State(state): State<AppState>, access: Access) -> Result<Response, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    let autonomy = blocking(move || state.responder.autonomy()).await?;
    Ok(Json(Page::whole(autonomy)).into_response())
}

/// How responding stands: mode, what is under way and waits, limits in use, systems that do not answer. Limits and counts of
/// runs are the whole server's, and shown only to who may see all tenants.
#[utoipa::path(
    get, path = "/api/v1/actions/status", tag = "actions",
    responses((status = 200, description = "how it stands", body = Object))
)]
pub(crate) async fn actions_status(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<RespondStatus>, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    let status = blocking(move || state.responder.status()).await?;
    let mut status = status.map_err(|error| respond(&error))?;
    if access.bound_tenant().is_some() {
        (status.runs, status.limits) = (Vec::new(), Vec::new());
    }
    Ok(Json(status))
}

// ---- breakers -------------------------------------------------------------------------------------------------

/// Circuit breakers that are or were set.
#[utoipa::path(
    get, path = "/api/v1/breakers", tag = "actions",
    responses((status = 200, description = "`{name, state, …}` each", body = Page<serde_json::Value>))
)]
pub(crate) async fn breakers(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Page<Breaker>>, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    let breakers = state.breakers.clone();
    let list = breakers.map(|breakers| breakers.list()).unwrap_or_default();
    Ok(Json(Page::whole(list)))
}

/// How one breaker stands, as a word a service or proxy can read: `closed`, `open` or `half_open`; JSON when asked for.
/// A breaker nobody ever set is closed.
#[utoipa::path(
    get, path = "/api/v1/breakers/{name}", tag = "actions",
    params(("name" = String, Path, description = "name of the breaker")),
    responses((status = 200, description = "its state", body = String, content_type = "text/plain"))
)]
pub(crate) async fn breaker(
    State(state): State<AppState>,
    access: Access,
    headers: HeaderMap,
    Segment(name): Segment<String>,
) -> Result<Response, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    let breaker = state.breakers.as_ref().map(|breakers| breakers.get(&name));
    let word = breaker.as_ref().map_or(BreakerState::Closed, |breaker| breaker.state).as_str();
    let wants_json = headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/json");
    if wants_json {
        return Ok(Json(serde_json::json!({ "name": name, "state": word })).into_response());
    }
    Ok(format!("{word}\n").into_response())
}

/// How to set a breaker.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BreakerRequest {
    /// `closed`, `open` or `half_open`.
    #[serde(default)]
    #[schema(value_type = String, example = "open")]
    state: Option<BreakerState>,
    /// For how long, such as `10m`; as configured when absent.
    #[serde(default, rename = "for")]
    period: Option<String>,
    /// Why.
    #[serde(default)]
    note: Option<String>,
}

/// Sets a breaker by hand.
#[utoipa::path(
    put, path = "/api/v1/breakers/{name}", tag = "actions",
    params(("name" = String, Path, description = "name of the breaker")),
    request_body(content = BreakerRequest),
    responses(
        (status = 200, description = "the breaker", body = Object),
        (status = 404, description = "breakers are off", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "it cannot be set", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn set_breaker(
    State(state): State<AppState>,
    access: Access,
    Segment(name): Segment<String>,
    Document(request): Document<BreakerRequest>,
) -> Result<Json<Breaker>, Problem> {
    let tenant = access.require(Scope::Admin)?;
    access::of_all_tenants(&access, "breakers are set")?;
    let to = request.state.ok_or_else(|| Problem::field("state", "must be closed, open or half_open"))?;
    let now = state.clock.now();
    let end = end_of_period(None, request.period.as_deref(), now)?;
    let ttl = end.map(|end| Duration::from_nanos(end.0.abs_diff(now.0)));
    let off = || Problem::new(StatusCode::NOT_FOUND, "not_configured", "circuit breakers are off");
    let breakers = state.breakers.clone().ok_or_else(off)?;
    let why = request.note.unwrap_or_default();
    let set = breakers.set(&name, to, ttl, &why, BREAKER_TIMEOUT).await;
    let outcome = if set.is_ok() { Outcome::Done } else { Outcome::Failed };
    let deed = Deed::new("breaker.set", &name, &tenant).with(format!("{}: {why}", to.as_str()));
    blocking(move || deed.audit(&state, &access, outcome)).await?;
    let refused =
        |error: ActionError| Problem::new(StatusCode::CONFLICT, "breaker_not_set", error.to_string());
    set.map_err(refused)?;
    Ok(Json(breakers.get(&name)))
}
