//! Alerts: lists, one alert, the steps people take with them, and what they say of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use heimdall_alert::{AlertCursor, AlertError, AlertFilter, Step};
use heimdall_guard::{Outcome, Scope};
use heimdall_model::verdict::Entity;
use heimdall_model::{Alert, AlertId, FeedbackVerdict, Severity, Status, Tenant};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::access::Access;
use crate::extract::{Document, Params, Segment, limit, short, time_opt};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{FieldError, Problem, ProblemDocument};
use crate::routes::blocking;
use crate::wire::{AlertDetail, AlertView, Page};
use crate::{AppState, error};

/// Earlier alerts told with one: enough to see what was done last time, few enough to read at night.
const SIMILAR_MAX: usize = 5;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlertParams {
    /// Alerts at most; default 100, at most 1,000.
    limit: Option<usize>,
    /// Any of these statuses, separated by commas: OPEN, ACKNOWLEDGED, SUPPRESSED, RESOLVED.
    status: Option<String>,
    /// Exactly this severity: NORMAL, WARNING or CRITICAL.
    severity: Option<String>,
    /// Exactly this rule.
    rule: Option<String>,
    /// Exactly this service.
    service: Option<String>,
    /// About exactly this entity, as `kind:value`, such as `source_ip:203.0.113.5`.
    entity: Option<String>,
    /// Raised at this time or later.
    since: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl AlertParams {
    fn filter(&self, state: &AppState, tenant: Tenant) -> Result<AlertFilter, Problem> {
        Ok(AlertFilter {
            tenant: Some(tenant),
            statuses: self.statuses()?,
            severity: self.severity.as_deref().map(severity).transpose()?,
            rule: self.rule.clone(),
            service: self.service.clone(),
            entity: self.entity.as_deref().map(entity).transpose()?,
            since: time_opt("since", self.since.as_deref(), state.clock.now())?,
        })
    }

    fn statuses(&self) -> Result<Vec<Status>, Problem> {
        let names = self.status.as_deref().unwrap_or_default().split(',').map(str::trim);
        let unknown = |name| Problem::parameter("status", format!("`{}` is none", short(name)));
        names
            .filter(|name| !name.is_empty())
            .map(|name| Status::parse(name).ok_or_else(|| unknown(name)))
            .collect()
    }
}

fn severity(name: &str) -> Result<Severity, Problem> {
    Severity::parse(name).ok_or_else(|| Problem::parameter("severity", "must be NORMAL, WARNING or CRITICAL"))
}

fn entity(text: &str) -> Result<Entity, Problem> {
    let (kind, value) = text.split_once(':').ok_or_else(|| {
        Problem::parameter("entity", "must be `kind:value`, such as `source_ip:203.0.113.5`")
    })?;
    Ok(Entity::new(kind, value))
}

fn shown(alerts: &[Arc<Alert>]) -> Vec<AlertView<'_>> {
    alerts.iter().map(|alert| AlertView::from(alert.as_ref())).collect()
}

/// The latest alerts as a plain array, newest first.
#[utoipa::path(
    get, path = "/alerts", tag = "alerts", params(AlertParams),
    responses((status = 200, description = "the alerts", body = Vec<AlertView>))
)]
pub(crate) async fn latest(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<AlertParams>,
) -> Result<Response, Problem> {
    let page = page(&state, &access, &params).await?;
    Ok(Json(shown(&page.items)).into_response())
}

/// Alerts by page, newest first.
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts", params(AlertParams),
    responses((status = 200, description = "a page of alerts", body = Page<AlertView>))
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<AlertParams>,
) -> Result<Response, Problem> {
    let page = page(&state, &access, &params).await?;
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(Json(Page { items: shown(&page.items), next }).into_response())
}

async fn page(
    state: &AppState,
    access: &Access,
    params: &AlertParams,
) -> Result<heimdall_alert::AlertPage, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let filter = params.filter(state, tenant)?;
    let cursor = params.cursor.as_deref().map(str::parse::<AlertCursor>).transpose();
    let cursor = cursor.map_err(|_| Problem::parameter("cursor", "is none of this list"))?;
    let alerts = Arc::clone(&state.alerts);
    let page = blocking(move || alerts.list(&filter, cursor.as_ref(), limit)).await?;
    page.map_err(|error| error::alert(&error))
}

/// One alert with its evidence and history, and earlier alerts like it.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}", tag = "alerts",
    params(("id" = Uuid, Path, description = "id of the alert")),
    responses(
        (status = 200, description = "the alert", body = AlertDetail),
        (status = 404, description = "no such alert", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn one(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<AlertId>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let found = blocking(move || {
        let alert = state.alerts.get(Some(&tenant), id)?;
        let similar = state.alerts.similar(&alert, SIMILAR_MAX)?;
        Ok((alert, similar))
    });
    let (alert, similar) = found.await?.map_err(|error: AlertError| error::alert(&error))?;
    Ok(Json(AlertDetail::new(&alert, &similar)).into_response())
}

/// Why a step is taken.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepRequest {
    /// In the words of whoever takes it; kept in the history.
    #[serde(default)]
    note: Option<String>,
}

/// Takes a step with an alert: acknowledge, suppress, resolve or reopen. Taking it again changes nothing.
#[utoipa::path(
    post, path = "/alerts/{id}/{step}", tag = "alerts",
    params(
        ("id" = Uuid, Path, description = "id of the alert"),
        ("step" = String, Path, description = "`acknowledge`, `suppress`, `resolve` or `reopen`"),
    ),
    request_body(content = Option<StepRequest>),
    responses(
        (status = 200, description = "the alert after it", body = AlertView),
        (status = 404, description = "no such alert or step", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "the lifecycle has no such step", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn step(
    state: State<AppState>,
    access: Access,
    segments: Segment<(AlertId, String)>,
    document: Document<StepRequest>,
) -> Result<Response, Problem> {
    take_step(state, access, segments, document).await
}

/// The same as `POST /alerts/{id}/{step}`.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/{step}", tag = "alerts",
    params(
        ("id" = Uuid, Path, description = "id of the alert"),
        ("step" = String, Path, description = "`acknowledge`, `suppress`, `resolve` or `reopen`"),
    ),
    request_body(content = Option<StepRequest>),
    responses(
        (status = 200, description = "the alert after it", body = AlertView),
        (status = 404, description = "no such alert or step", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "the lifecycle has no such step", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn step_v1(
    state: State<AppState>,
    access: Access,
    segments: Segment<(AlertId, String)>,
    document: Document<StepRequest>,
) -> Result<Response, Problem> {
    take_step(state, access, segments, document).await
}

async fn take_step(
    State(state): State<AppState>,
    access: Access,
    Segment((id, name)): Segment<(AlertId, String)>,
    Document(request): Document<StepRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let (step, action) = parse_step(&name).ok_or_else(|| Problem::not_found("step", short(&name)))?;
    let taken = blocking(move || {
        let note = request.note.as_deref();
        let taken = state.alerts.step(Some(&tenant), id, step, &access.principal().name, note);
        let outcome = if taken.is_ok() { Outcome::Done } else { Outcome::Failed };
        if !matches!(taken, Err(AlertError::NotFound { .. })) {
            access.audit(&state, action, &id.to_string(), Some(tenant), outcome, note);
        }
        taken
    });
    let alert = taken.await?.map_err(|error| error::alert(&error))?;
    Ok(Json(AlertView::from(alert.as_ref())).into_response())
}

/// The step of a name, and its name in the audit trail.
fn parse_step(name: &str) -> Option<(Step, &'static str)> {
    match name {
        "acknowledge" => Some((Step::Acknowledge, "alert.acknowledge")),
        "suppress" => Some((Step::Suppress, "alert.suppress")),
        "resolve" => Some((Step::Resolve, "alert.resolve")),
        "reopen" => Some((Step::Reopen, "alert.reopen")),
        _ => None,
    }
}

/// What a person says of an alert.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedbackRequest {
    /// `true_positive`: it was so and worth telling; `false_positive`: it was not, or nobody needed to know.
    #[serde(default)]
    #[schema(value_type = String, example = "false_positive")]
    verdict: Option<FeedbackVerdict>,
    /// Why, in their words.
    #[serde(default)]
    note: Option<String>,
}

/// Says whether an alert was right: precision is measured by it, and thresholds follow it. It may be said otherwise later;
/// saying it again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/feedback", tag = "alerts",
    params(("id" = Uuid, Path, description = "id of the alert")),
    request_body(content = FeedbackRequest),
    responses(
        (status = 200, description = "the alert after it", body = AlertView),
        (status = 404, description = "no such alert", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "no verdict", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn feedback(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<AlertId>,
    Document(request): Document<FeedbackRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let verdict = request.verdict.ok_or_else(no_verdict)?;
    let judged = blocking(move || {
        let note = request.note.as_deref();
        let judged = state.alerts.judge(Some(&tenant), id, verdict, &access.principal().name, note);
        let outcome = if judged.is_ok() { Outcome::Done } else { Outcome::Failed };
        if !matches!(judged, Err(AlertError::NotFound { .. })) {
            let detail = [Some(verdict.as_str()), note].into_iter().flatten().collect::<Vec<_>>().join(": ");
            access.audit(&state, "alert.feedback", &id.to_string(), Some(tenant), outcome, Some(&detail));
        }
        judged
    });
    let alert = judged.await?.map_err(|error| error::alert(&error))?;
    Ok(Json(AlertView::from(alert.as_ref())).into_response())
}

fn no_verdict() -> Problem {
    let detail = "`verdict` must be `true_positive` or `false_positive`";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_document", detail)
        .with_errors(vec![FieldError::of("verdict", detail)])
}
