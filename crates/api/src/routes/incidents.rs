//! Incidents: alerts that belong together, the people who work on them, and the report afterwards.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heimdall_alert::{Incident, IncidentError, IncidentFilter, Step, post_mortem};
use heimdall_guard::Scope;
use heimdall_metastore::DocumentCursor;
use heimdall_model::verdict::Entity;
use heimdall_model::{Alert, AlertId, Comment, IncidentId, Priority, Severity, Status, Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Access;
use crate::csv::{Csv, wants_csv};
use crate::extract::{Document, Params, Segment, limit, short, time_opt};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::alerts::{severity, statuses, words};
use crate::routes::{Deed, blocking, change};

use crate::wire::Page;
use crate::{AppState, error};

/// An incident in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Incident)]
pub(crate) struct IncidentView<'a> {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: IncidentId,
    /// Number people call it by.
    number: u64,
    /// Owner of its alerts.
    #[schema(value_type = String)]
    tenant: &'a Tenant,
    /// Short name.
    title: &'a str,
    /// OPEN, ACKNOWLEDGED or RESOLVED.
    #[schema(value_type = String, example = "OPEN")]
    status: Status,
    /// The worst of its alerts.
    #[schema(value_type = String, example = "CRITICAL")]
    severity: Severity,
    /// The most urgent of its alerts.
    #[schema(value_type = String, example = "P1")]
    priority: Priority,
    /// Who leads the work.
    owner: Option<&'a str>,
    /// Services concerned.
    services: &'a [String],
    /// Entities concerned: `{kind, value}` each.
    #[schema(value_type = Vec<Object>)]
    entities: &'a [Entity],
    /// How many alerts it has.
    alert_count: u64,
    /// Earliest event time of its alerts.
    #[schema(value_type = String, format = DateTime)]
    began_at: Timestamp,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When the latest alert was raised or came back.
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// When it was resolved.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
}

impl<'a> From<&'a Incident> for IncidentView<'a> {
    fn from(incident: &'a Incident) -> IncidentView<'a> {
        IncidentView {
            id: incident.id,
            number: incident.number,
            tenant: &incident.tenant,
            title: &incident.title,
            status: incident.status,
            severity: incident.severity,
            priority: incident.priority,
            owner: incident.owner.as_deref(),
            services: &incident.services,
            entities: &incident.entities,
            alert_count: incident.alert_count,
            began_at: incident.began_at,
            started_at: incident.started_at,
            last_at: incident.last_at,
            resolved_at: incident.resolved_at,
        }
    }
}

/// An incident with what happened.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IncidentDetail<'a> {
    /// The incident.
    #[serde(flatten)]
    incident: IncidentView<'a>,
    /// Ids of its alerts, oldest first, at most 1,000: `/api/v1/alerts?incident=` lists all of them.
    #[schema(value_type = Vec<String>)]
    alerts: &'a [AlertId],
    /// Traces concerned.
    traces: &'a [String],
    /// What happened, oldest first: `{at, by, kind, text, alert}` each.
    #[schema(value_type = Vec<Object>)]
    timeline: &'a [heimdall_alert::TimelineEntry],
    /// Entries the timeline had no room for.
    timeline_dropped: u64,
    /// What people wrote: `{at, by, text}` each.
    #[schema(value_type = Vec<Object>)]
    comments: &'a [Comment],
}

impl<'a> From<&'a Incident> for IncidentDetail<'a> {
    fn from(incident: &'a Incident) -> IncidentDetail<'a> {
        IncidentDetail {
            incident: incident.into(),
            alerts: &incident.alerts,
            traces: &incident.traces,
            timeline: &incident.timeline,
            timeline_dropped: incident.timeline_dropped,
            comments: &incident.comments,
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct IncidentParams {
    /// Any of these statuses, separated by commas: OPEN, ACKNOWLEDGED, RESOLVED.
    status: Option<String>,
    /// Exactly this severity: NORMAL, WARNING or CRITICAL.
    severity: Option<String>,
    /// Exactly this owner; `nobody` for those nobody leads.
    owner: Option<String>,
    /// Concerns this service.
    service: Option<String>,
    /// Opened at this time or later.
    since: Option<String>,
    /// Opened before this time.
    until: Option<String>,
    /// Incidents at most; default 100, at most 1,000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl IncidentParams {
    fn filter(&self, now: Timestamp) -> Result<IncidentFilter, Problem> {
        let owner = self.owner.as_deref().map(|owner| if owner == "nobody" { "" } else { owner });
        Ok(IncidentFilter {
            statuses: statuses(self.status.as_deref())?,
            severity: self.severity.as_deref().map(severity).transpose()?,
            owner: owner.map(str::to_owned),
            service: self.service.clone(),
            since: time_opt("since", self.since.as_deref(), now)?,
            until: time_opt("until", self.until.as_deref(), now)?,
        })
    }
}

/// Incidents by page, newest first; as CSV when asked for. A page of a filtered list may be short and still have a next one.
#[utoipa::path(
    get, path = "/api/v1/incidents", tag = "incidents", params(IncidentParams),
    responses((status = 200, description = "a page of incidents", body = Page<IncidentView>))
)]
pub(crate) async fn list_incidents(
    State(state): State<AppState>,
    access: Access,
    headers: HeaderMap,
    Params(params): Params<IncidentParams>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let filter = params.filter(state.clock.now())?;
    let cursor = params.cursor.as_deref().map(str::parse::<DocumentCursor>).transpose();
    let cursor = cursor.map_err(|_| Problem::parameter("cursor", "is none of this list"))?;
    let page =
        blocking(move || state.alerts.incidents().list(Some(&tenant), &filter, cursor.as_ref(), limit));
    let page = page.await?.map_err(|error| incident(&error))?;
    let next = page.next.map(|cursor| cursor.to_string());
    if wants_csv(&headers) {
        return Ok(csv(&page.items, next));
    }
    let items: Vec<IncidentView<'_>> = page.items.iter().map(IncidentView::from).collect();
    Ok(Json(Page { items, next }).into_response())
}

fn csv(incidents: &[Incident], next: Option<String>) -> Response {
    let mut csv = Csv::new(&[
        "number",
        "id",
        "status",
        "severity",
        "priority",
        "owner",
        "services",
        "alerts",
        "started_at",
        "last_at",
        "resolved_at",
        "title",
    ]);
    for incident in incidents {
        csv.row(&[
            &incident.number.to_string(),
            &incident.id.to_string(),
            incident.status.as_str(),
            incident.severity.as_str(),
            incident.priority.as_str(),
            incident.owner.as_deref().unwrap_or_default(),
            &incident.services.join(" "),
            &incident.alert_count.to_string(),
            &incident.started_at.to_string(),
            &incident.last_at.to_string(),
            &incident.resolved_at.map(|at| at.to_string()).unwrap_or_default(),
            &incident.title,
        ]);
    }
    csv.answer(next)
}

/// One incident, by id or number, with timeline and comments.
#[utoipa::path(
    get, path = "/api/v1/incidents/{id}", tag = "incidents",
    params(("id" = String, Path, description = "id or number of the incident")),
    responses(
        (status = 200, description = "the incident", body = IncidentDetail),
        (status = 404, description = "no such incident", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn one_incident(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let incident = blocking(move || find(&state, &tenant, &id)).await??;
    Ok(Json(IncidentDetail::from(&incident)).into_response())
}

/// The incident of an id or a number. Blocks.
pub(crate) fn find(state: &AppState, tenant: &Tenant, name: &str) -> Result<Incident, Problem> {
    let missing = || Problem::not_found("incident", short(name));
    let found = match (name.parse::<u64>(), IncidentId::try_parse(name)) {
        (Ok(number), _) => {
            state.alerts.incidents().by_number(tenant, number).map_err(|error| incident(&error))?
        }
        (_, Ok(id)) => {
            Some(state.alerts.incidents().get(Some(tenant), id).map_err(|error| incident(&error))?)
        }
        _ => None,
    };
    found.ok_or_else(missing)
}

/// The report of an incident, in Markdown: what happened when, what was done, what is left to say.
#[utoipa::path(
    get, path = "/api/v1/incidents/{id}/postmortem", tag = "incidents",
    params(("id" = String, Path, description = "id or number of the incident")),
    responses(
        (status = 200, description = "the report", body = String, content_type = "text/markdown"),
        (status = 404, description = "no such incident", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn postmortem(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let report = blocking(move || {
        let incident = find(&state, &tenant, &id)?;
        let kept = |id: &AlertId| state.alerts.get(Some(&tenant), *id).ok();
        let alerts: Vec<Arc<Alert>> = incident.alerts.iter().filter_map(kept).collect();
        Ok::<_, Problem>((incident.number, post_mortem(&incident, &alerts)))
    });
    let (number, report) = report.await??;
    let name = format!("inline; filename=\"incident-{number}.md\"");
    let headers = [
        (header::CONTENT_TYPE, "text/markdown; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, report).into_response())
}

// ---- changes --------------------------------------------------------------------------------------------------

/// Why a step is taken.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncidentStepRequest {
    /// In the words of whoever takes it.
    #[serde(default)]
    note: Option<String>,
    /// Whether its alerts are acknowledged or resolved too; default true. Reopening leaves them alone.
    #[serde(default)]
    alerts: Option<bool>,
}

/// Takes a step with an incident, and with its alerts unless told otherwise. Taking it again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/incidents/{id}/{step}", tag = "incidents",
    params(
        ("id" = String, Path, description = "id or number of the incident"),
        ("step" = String, Path, description = "`acknowledge`, `resolve` or `reopen`"),
    ),
    request_body(content = Option<IncidentStepRequest>),
    responses(
        (status = 200, description = "the incident after it", body = IncidentView),
        (status = 404, description = "no such incident or step", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "there is no such step from its status", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn step_incident(
    State(state): State<AppState>,
    access: Access,
    Segment((id, step)): Segment<(String, String)>,
    Document(request): Document<IncidentStepRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let (step, action) = match step.as_str() {
        "acknowledge" => (Step::Acknowledge, "incident.acknowledge"),
        "resolve" => (Step::Resolve, "incident.resolve"),
        "reopen" => (Step::Reopen, "incident.reopen"),
        other => return Err(Problem::not_found("step", short(other))),
    };
    let deed = Deed::new(action, &id, &tenant).with(request.note.clone());
    let with_alerts = request.alerts.unwrap_or(true) && step != Step::Reopen;
    let stepped = change(state, access, deed, move |state, by| {
        let note = request.note.as_deref();
        let found = find(state, &tenant, &id)?;
        let stepped = state.alerts.incidents().step(Some(&tenant), found.id, step, by, note);
        let stepped = stepped.map_err(|error| incident(&error))?;
        if with_alerts {
            step_alerts(state, &tenant, &found, step, by, note)?;
        }
        Ok(stepped)
    });
    Ok(Json(IncidentView::from(&stepped.await?)).into_response())
}

/// The same step with its alerts; those it does not fit, such as resolved ones, stay as they are.
fn step_alerts(
    state: &AppState,
    tenant: &Tenant,
    found: &Incident,
    step: Step,
    by: &str,
    note: Option<&str>,
) -> Result<(), Problem> {
    let taken = state.alerts.step_many(Some(tenant), &found.alerts, step, by, note);
    let lost = taken.into_iter().find(|taken| matches!(taken, Err(heimdall_alert::AlertError::Store(_))));
    lost.map_or(Ok(()), |lost| lost.map(|_| ()).map_err(|error| error::alert(&error)))
}

/// Who leads the work.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnerRequest {
    /// Their name; null: nobody.
    #[serde(default)]
    owner: Option<String>,
}

/// Gives an incident to somebody, or to nobody.
#[utoipa::path(
    post, path = "/api/v1/incidents/{id}/assign", tag = "incidents",
    params(("id" = String, Path, description = "id or number of the incident")),
    request_body(content = OwnerRequest),
    responses(
        (status = 200, description = "the incident after it", body = IncidentView),
        (status = 404, description = "no such incident", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn assign_incident(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Document(request): Document<OwnerRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let owner = words("owner", request.owner)?;
    let deed = Deed::new("incident.assign", &id, &tenant).with(owner.clone());
    let changed = change(state, access, deed, move |state, by| {
        let id = find(state, &tenant, &id)?.id;
        state
            .alerts
            .incidents()
            .assign(Some(&tenant), id, owner.as_deref(), by)
            .map_err(|error| incident(&error))
    });
    Ok(Json(IncidentView::from(&changed.await?)).into_response())
}

/// What somebody writes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommentRequest {
    /// The words.
    #[serde(default)]
    pub(crate) text: String,
}

/// Writes a comment on an incident.
#[utoipa::path(
    post, path = "/api/v1/incidents/{id}/comments", tag = "incidents",
    params(("id" = String, Path, description = "id or number of the incident")),
    request_body(content = CommentRequest),
    responses(
        (status = 200, description = "the incident after it", body = IncidentView),
        (status = 404, description = "no such incident", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn comment_incident(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
    Document(request): Document<CommentRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let text = words("text", Some(request.text))?.ok_or_else(|| Problem::field("text", "is empty"))?;
    let deed = Deed::new("incident.comment", &id, &tenant).with(text.clone());
    let changed = change(state, access, deed, move |state, by| {
        let id = find(state, &tenant, &id)?.id;
        state.alerts.incidents().comment(Some(&tenant), id, by, &text).map_err(|error| incident(&error))
    });
    Ok(Json(IncidentView::from(&changed.await?)).into_response())
}

/// Adds an alert to an incident; it leaves the one it was in.
#[utoipa::path(
    put, path = "/api/v1/incidents/{id}/alerts/{alert}", tag = "incidents",
    params(
        ("id" = String, Path, description = "id or number of the incident"),
        ("alert" = Uuid, Path, description = "id of the alert"),
    ),
    responses(
        (status = 200, description = "the incident after it", body = IncidentView),
        (status = 404, description = "no such incident or alert", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "the alert cannot be in it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn add_alert(
    state: State<AppState>,
    access: Access,
    segments: Segment<(String, AlertId)>,
) -> Result<Response, Problem> {
    link(state, access, segments, true).await
}

/// Removes an alert from an incident.
#[utoipa::path(
    delete, path = "/api/v1/incidents/{id}/alerts/{alert}", tag = "incidents",
    params(
        ("id" = String, Path, description = "id or number of the incident"),
        ("alert" = Uuid, Path, description = "id of the alert"),
    ),
    responses(
        (status = 200, description = "the incident after it", body = IncidentView),
        (status = 404, description = "no such incident or alert", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "the alert is not in it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove_alert(
    state: State<AppState>,
    access: Access,
    segments: Segment<(String, AlertId)>,
) -> Result<Response, Problem> {
    link(state, access, segments, false).await
}

async fn link(
    State(state): State<AppState>,
    access: Access,
    Segment((id, alert)): Segment<(String, AlertId)>,
    is_added: bool,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let action = if is_added { "incident.add_alert" } else { "incident.remove_alert" };
    let deed = Deed::new(action, &id, &tenant).with(alert.to_string());
    let changed = change(state, access, deed, move |state, by| {
        let id = find(state, &tenant, &id)?.id;
        let linked = if is_added {
            state.alerts.add_to_incident(Some(&tenant), id, alert, by)
        } else {
            state.alerts.remove_from_incident(Some(&tenant), id, alert, by)
        };
        linked.map_err(|error| error::alert(&error))?;
        state.alerts.incidents().get(Some(&tenant), id).map_err(|error| incident(&error))
    });
    Ok(Json(IncidentView::from(&changed.await?)).into_response())
}

/// An incident that could not be found or changed.
pub(crate) fn incident(error: &IncidentError) -> Problem {
    let detail = error.to_string();
    match error {
        IncidentError::NotFound { id } => Problem::not_found("incident", id),
        IncidentError::Conflict { from, to, .. } => {
            Problem::new(StatusCode::CONFLICT, "incident_step_conflict", detail)
                .with_members(serde_json::json!({ "from": from, "to": to }))
        }
        IncidentError::Alert { .. } => Problem::new(StatusCode::CONFLICT, "incident_alert_conflict", detail),
        IncidentError::TooMany { .. } => Problem::new(StatusCode::CONFLICT, "too_many_incidents", detail),
        IncidentError::Store(error) => error::metastore(error),
        other => Problem::internal(other),
    }
}
