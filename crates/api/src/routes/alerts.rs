//! Alerts: lists, one alert, the steps people take with them, and what they say of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use heimdall_alert::{AlertCursor, AlertError, AlertFilter, AlertPage, AlertSort, Step};
use heimdall_guard::{Outcome, Scope};
use heimdall_model::verdict::Entity;
use heimdall_model::{
    Alert, AlertId, FeedbackVerdict, LabelMatcher, Priority, Severity, Status, Tenant, Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Access;
use crate::csv::{Csv, wants_csv};
use crate::extract::{
    Document, Pairs, Params, Segment, end_of_period, limit, read_matchers, short, time_opt,
};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::incidents::{CommentRequest, find as find_incident};
use crate::routes::{Deed, blocking, change};
use crate::wire::{AlertDetail, AlertView, Page};
use crate::{AppState, error};

/// Earlier alerts told with one: enough to see what was done last time, few enough to read at night.
const SIMILAR_MAX: usize = 5;
/// Alerts of one bulk step.
const BULK_MAX: usize = 1_000;
/// Ids in one line of the audit trail.
const AUDIT_IDS_MAX: usize = 25;
/// Longest comment or name (characters).
const WORDS_CHARS_MAX: usize = 1_000;

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
    /// Raised before this time.
    until: Option<String>,
    /// Exactly this priority: P1, P2 or P3.
    priority: Option<String>,
    /// Only those that are kept quiet (`true`) by a silence, a maintenance window, another alert or flapping, or only the others.
    muted: Option<bool>,
    /// In which order: `newest` (default), `last_seen` or `worst`. A cursor holds for the order it was made in.
    sort: Option<String>,
    /// Somebody works on it; `nobody` for those nobody does.
    assignee: Option<String>,
    /// Of the incident with this id or number.
    incident: Option<String>,
    /// Says this somewhere, in any case: title, summary, rule, service, entity, assignee or labels.
    text: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl AlertParams {
    fn filter(
        &self,
        state: &AppState,
        tenant: &Tenant,
        labels: Vec<LabelMatcher>,
    ) -> Result<AlertFilter, Problem> {
        let now = state.clock.now();
        let assignee = self.assignee.as_deref().map(|name| if name == "nobody" { "" } else { name });
        let priority = self.priority.as_deref().map(|name| {
            priority_of(name).ok_or_else(|| Problem::parameter("priority", "must be P1, P2 or P3"))
        });
        Ok(AlertFilter {
            tenant: Some(tenant.clone()),
            statuses: statuses(self.status.as_deref())?,
            severity: self.severity.as_deref().map(severity).transpose()?,
            priority: priority.transpose()?,
            rule: self.rule.clone(),
            service: self.service.clone(),
            entity: self.entity.as_deref().map(entity).transpose()?,
            since: time_opt("since", self.since.as_deref(), now)?,
            until: time_opt("until", self.until.as_deref(), now)?,
            assignee: assignee.map(str::to_owned),
            incident: None,
            is_muted: self.muted,
            labels,
            text: self.text.clone().filter(|text| !text.is_empty()),
            sort: sort(self.sort.as_deref())?,
        })
    }
}

fn sort(name: Option<&str>) -> Result<AlertSort, Problem> {
    match name {
        None | Some("" | "newest") => Ok(AlertSort::Newest),
        Some("last_seen") => Ok(AlertSort::LastSeen),
        Some("worst") => Ok(AlertSort::Worst),
        Some(_) => Err(Problem::parameter("sort", "must be newest, last_seen or worst")),
    }
}

/// A priority by name.
fn priority_of(name: &str) -> Option<Priority> {
    [Priority::P1, Priority::P2, Priority::P3].into_iter().find(|priority| priority.as_str() == name)
}

/// Statuses separated by commas.
pub(crate) fn statuses(names: Option<&str>) -> Result<Vec<Status>, Problem> {
    let names = names.unwrap_or_default().split(',').map(str::trim);
    let unknown = |name| Problem::parameter("status", format!("`{}` is none", short(name)));
    names
        .filter(|name| !name.is_empty())
        .map(|name| Status::parse(name).ok_or_else(|| unknown(name)))
        .collect()
}

/// Words of a person: none when empty, refused when too long to be kept whole.
pub(crate) fn words(field: &'static str, text: Option<String>) -> Result<Option<String>, Problem> {
    let Some(text) = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > WORDS_CHARS_MAX {
        return Err(Problem::field(field, format!("is longer than {WORDS_CHARS_MAX} characters")));
    }
    Ok(Some(text))
}

/// A severity by name.
pub(crate) fn severity(name: &str) -> Result<Severity, Problem> {
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
    get, path = "/alerts", tag = "alerts",
    params(AlertParams, ("filter" = Option<Vec<String>>, Query, description = "only those that pass all these matchers, such as `service=~\"pay.*\"`")),
    responses((status = 200, description = "the alerts", body = Vec<AlertView>))
)]
pub(crate) async fn latest(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<AlertParams>,
    pairs: Pairs,
) -> Result<Response, Problem> {
    let page = page(&state, &access, params, &pairs).await?;
    Ok(Json(shown(&page.items)).into_response())
}

/// Alerts by page, newest first unless `sort` says otherwise; as CSV when asked for.
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts",
    params(AlertParams, ("filter" = Option<Vec<String>>, Query, description = "only those that pass all these matchers, such as `service=~\"pay.*\"`")),
    responses((status = 200, description = "a page of alerts", body = Page<AlertView>))
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    access: Access,
    headers: HeaderMap,
    Params(params): Params<AlertParams>,
    pairs: Pairs,
) -> Result<Response, Problem> {
    let page = page(&state, &access, params, &pairs).await?;
    let next = page.next.map(|cursor| cursor.to_string());
    if wants_csv(&headers) {
        return Ok(csv(&page.items, next));
    }
    Ok(Json(Page { items: shown(&page.items), next }).into_response())
}

async fn page(
    state: &AppState,
    access: &Access,
    params: AlertParams,
    pairs: &Pairs,
) -> Result<AlertPage, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let cursor = params.cursor.as_deref().map(str::parse::<AlertCursor>).transpose();
    let cursor = cursor.map_err(|_| Problem::parameter("cursor", "is none of this list"))?;
    let filter = params.filter(state, &tenant, pairs.matchers()?)?;
    let (state, incident) = (state.clone(), params.incident);
    let page = blocking(move || {
        let filter = of_incident(&state, &tenant, filter, incident.as_deref())?;
        state.alerts.list(&filter, cursor.as_ref(), limit).map_err(|error| error::alert(&error))
    });
    page.await?
}

/// The filter, narrowed to an incident of this id or number. Blocks.
fn of_incident(
    state: &AppState,
    tenant: &Tenant,
    filter: AlertFilter,
    incident: Option<&str>,
) -> Result<AlertFilter, Problem> {
    let incident = incident.filter(|name| !name.is_empty()).map(|name| find_incident(state, tenant, name));
    let incident = incident.transpose()?.map(|incident| incident.id);
    Ok(AlertFilter { incident, ..filter })
}

fn csv(alerts: &[Arc<Alert>], next: Option<String>) -> Response {
    let mut csv = Csv::new(&[
        "id",
        "status",
        "severity",
        "priority",
        "rule",
        "service",
        "entity_kind",
        "entity",
        "raised_at",
        "last_seen",
        "count",
        "assignee",
        "incident",
        "title",
        "summary",
    ]);
    for alert in alerts {
        csv.row(&[
            &alert.id.to_string(),
            alert.status.as_str(),
            alert.severity.as_str(),
            alert.priority.as_str(),
            &alert.rule,
            alert.service.as_deref().unwrap_or_default(),
            &alert.entity.kind,
            &alert.entity.value,
            &alert.raised_at.to_string(),
            &alert.last_seen.to_string(),
            &alert.count.to_string(),
            alert.assignee.as_deref().unwrap_or_default(),
            &alert.incident.map(|id| id.to_string()).unwrap_or_default(),
            &alert.title,
            &alert.summary,
        ]);
    }
    csv.answer(next)
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
    /// With `suppress`: only until this time; it is open again then.
    #[serde(default)]
    until: Option<String>,
    /// With `suppress`: only for this long, such as `2h`.
    #[serde(default, rename = "for")]
    period: Option<String>,
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
    let until = end_of_period(request.until.as_deref(), request.period.as_deref(), state.clock.now())?;
    let (step, action) = parse_step(&name, until)?.ok_or_else(|| Problem::not_found("step", short(&name)))?;
    let deed = Deed::new(action, id, &tenant).with(step_words(until, request.note.as_deref()));
    let alert = change(state, access, deed, move |state, by| {
        let taken = state.alerts.step(Some(&tenant), id, step, by, request.note.as_deref());
        taken.map_err(|error| error::alert(&error))
    });
    Ok(Json(AlertView::from(alert.await?.as_ref())).into_response())
}

/// The step of a name, and its name in the audit trail.
///
/// # Errors
/// 422: only suppressing has an end.
fn parse_step(name: &str, until: Option<Timestamp>) -> Result<Option<(Step, &'static str)>, Problem> {
    let found = match name {
        "acknowledge" => (Step::Acknowledge, "alert.acknowledge"),
        "suppress" => return Ok(Some((Step::Suppress { until }, "alert.suppress"))),
        "resolve" => (Step::Resolve, "alert.resolve"),
        "reopen" => (Step::Reopen, "alert.reopen"),
        _ => return Ok(None),
    };
    match until {
        None => Ok(Some(found)),
        Some(_) => Err(Problem::field("until", "goes with `suppress` only")),
    }
}

/// A step in the audit trail.
fn step_words(until: Option<Timestamp>, note: Option<&str>) -> Option<String> {
    match (until, note) {
        (None, note) => note.map(str::to_owned),
        (Some(until), None) => Some(format!("until {until}")),
        (Some(until), Some(note)) => Some(format!("until {until}: {note}")),
    }
}

// ---- many at once ---------------------------------------------------------------------------------------------

/// A step with many alerts.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkRequest {
    /// Which: at most 1,000.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    ids: Option<Vec<AlertId>>,
    /// Or those that pass: the newest 1,000 of them.
    #[serde(default)]
    filter: Option<BulkFilter>,
    /// `acknowledge`, `suppress`, `resolve` or `reopen`.
    #[serde(default)]
    step: String,
    /// In the words of whoever takes it.
    #[serde(default)]
    note: Option<String>,
    /// With `suppress`: only until this time.
    #[serde(default)]
    until: Option<String>,
    /// With `suppress`: only for this long, such as `2h`.
    #[serde(default, rename = "for")]
    period: Option<String>,
}

/// Which alerts, as in the list.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BulkFilter {
    status: Option<String>,
    severity: Option<String>,
    rule: Option<String>,
    service: Option<String>,
    entity: Option<String>,
    since: Option<String>,
    assignee: Option<String>,
    incident: Option<String>,
    text: Option<String>,
    /// Matchers, such as `service=~"pay.*"`.
    filter: Vec<String>,
}

/// What became of a step with many alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BulkView {
    /// Alerts that are where the step leads, those that were there already too.
    changed: usize,
    /// The others.
    failed: Vec<BulkFault>,
    /// Whether more alerts pass the filter than were looked at: ask again.
    more: bool,
}

/// An alert a step was not taken with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BulkFault {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: AlertId,
    /// As in a problem.
    code: &'static str,
    /// In words.
    detail: String,
}

/// Takes a step with many alerts, each for itself: those it does not fit are named, the others are taken.
#[utoipa::path(
    post, path = "/api/v1/alerts/steps", tag = "alerts",
    request_body(content = BulkRequest),
    responses(
        (status = 200, description = "what became of it", body = BulkView),
        (status = 422, description = "no step, or neither `ids` nor `filter`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn steps(
    State(state): State<AppState>,
    access: Access,
    Document(mut request): Document<BulkRequest>,
) -> Result<Json<BulkView>, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let until = end_of_period(request.until.as_deref(), request.period.as_deref(), state.clock.now())?;
    let no_step = || Problem::field("step", "must be `acknowledge`, `suppress`, `resolve` or `reopen`");
    let (step, action) = parse_step(&request.step, until)?.ok_or_else(no_step)?;
    let chosen = chosen(&state, &tenant, request.ids.take(), request.filter.take())?;
    let done = blocking(move || {
        let note = request.note.as_deref();
        let (ids, more) = chosen(&state)?;
        let taken = state.alerts.step_many(Some(&tenant), &ids, step, &access.principal().name, note);
        audit_many(&state, &access, &tenant, action, step_words(until, note), &ids, &taken);
        Ok::<_, Problem>(bulk_view(&ids, taken, more))
    });
    Ok(Json(done.await??))
}

/// How the alerts of a bulk step are found, off the async threads; the flag says that there are more.
type Chosen = Box<dyn FnOnce(&AppState) -> Result<(Vec<AlertId>, bool), Problem> + Send>;

fn chosen(
    state: &AppState,
    tenant: &Tenant,
    ids: Option<Vec<AlertId>>,
    filter: Option<BulkFilter>,
) -> Result<Chosen, Problem> {
    match (ids, filter) {
        (Some(ids), None) if ids.len() <= BULK_MAX => Ok(Box::new(move |_: &AppState| Ok((ids, false)))),
        (Some(_), None) => Err(Problem::field("ids", format!("are more than {BULK_MAX}"))),
        (None, Some(filter)) => passing(state, tenant.clone(), filter),
        _ => Err(Problem::field("ids", "give them, or a `filter`")),
    }
}

fn passing(state: &AppState, tenant: Tenant, bulk: BulkFilter) -> Result<Chosen, Problem> {
    let matchers = read_matchers(&bulk.filter).map_err(|reason| Problem::field("filter", reason))?;
    let params = AlertParams {
        status: bulk.status,
        severity: bulk.severity,
        rule: bulk.rule,
        service: bulk.service,
        entity: bulk.entity,
        since: bulk.since,
        assignee: bulk.assignee,
        text: bulk.text,
        ..AlertParams::default()
    };
    let filter = params.filter(state, &tenant, matchers)?;
    Ok(Box::new(move |state: &AppState| {
        let filter = of_incident(state, &tenant, filter, bulk.incident.as_deref())?;
        let page = state.alerts.list(&filter, None, BULK_MAX).map_err(|error| error::alert(&error))?;
        Ok((page.items.iter().map(|alert| alert.id).collect(), page.next.is_some()))
    }))
}

/// Writes down which alerts a step was taken with, several ids a line.
fn audit_many(
    state: &AppState,
    access: &Access,
    tenant: &Tenant,
    action: &'static str,
    words: Option<String>,
    ids: &[AlertId],
    taken: &[Result<Arc<Alert>, AlertError>],
) {
    let done: Vec<String> =
        ids.iter().zip(taken).filter(|(_, taken)| taken.is_ok()).map(|(id, _)| id.to_string()).collect();
    for ids in done.chunks(AUDIT_IDS_MAX) {
        Deed::new(action, ids.join(" "), tenant).with(words.clone()).audit(state, access, Outcome::Done);
    }
}

fn bulk_view(ids: &[AlertId], taken: Vec<Result<Arc<Alert>, AlertError>>, more: bool) -> BulkView {
    let changed = taken.iter().filter(|taken| taken.is_ok()).count();
    let fault = |(id, taken): (&AlertId, Result<Arc<Alert>, AlertError>)| {
        let problem = error::alert(&taken.err()?);
        Some(BulkFault { id: *id, code: problem.code(), detail: problem.detail().to_owned() })
    };
    BulkView { changed, failed: ids.iter().zip(taken).filter_map(fault).collect(), more }
}

// ---- other changes --------------------------------------------------------------------------------------------

/// Who works on it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssignRequest {
    /// Their name; null: nobody.
    #[serde(default)]
    assignee: Option<String>,
}

/// Gives an alert to somebody, or to nobody.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/assign", tag = "alerts",
    params(("id" = Uuid, Path, description = "id of the alert")),
    request_body(content = AssignRequest),
    responses(
        (status = 200, description = "the alert after it", body = AlertView),
        (status = 404, description = "no such alert", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn assign(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<AlertId>,
    Document(request): Document<AssignRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let assignee = words("assignee", request.assignee)?;
    let deed = Deed::new("alert.assign", id, &tenant).with(assignee.clone());
    let alert = change(state, access, deed, move |state, by| {
        let assigned = state.alerts.assign(Some(&tenant), id, assignee.as_deref(), by);
        assigned.map_err(|error| error::alert(&error))
    });
    Ok(Json(AlertView::from(alert.await?.as_ref())).into_response())
}

/// Writes a comment on an alert.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/comments", tag = "alerts",
    params(("id" = Uuid, Path, description = "id of the alert")),
    request_body(content = CommentRequest),
    responses(
        (status = 200, description = "the alert after it", body = AlertView),
        (status = 404, description = "no such alert", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "no words, or too many", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn comment(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<AlertId>,
    Document(request): Document<CommentRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let text = words("text", Some(request.text))?.ok_or_else(|| Problem::field("text", "is empty"))?;
    let deed = Deed::new("alert.comment", id, &tenant).with(text.clone());
    let alert = change(state, access, deed, move |state, by| {
        state.alerts.comment(Some(&tenant), id, by, &text).map_err(|error| error::alert(&error))
    });
    Ok(Json(AlertView::from(alert.await?.as_ref())).into_response())
}

/// How urgent it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriorityRequest {
    /// P1, P2 or P3.
    #[serde(default)]
    priority: String,
}

/// Says how urgent an alert is.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/priority", tag = "alerts",
    params(("id" = Uuid, Path, description = "id of the alert")),
    request_body(content = PriorityRequest),
    responses(
        (status = 200, description = "the alert after it", body = AlertView),
        (status = 404, description = "no such alert", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "no priority", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn priority(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<AlertId>,
    Document(request): Document<PriorityRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let none = || Problem::field("priority", "must be P1, P2 or P3");
    let priority = priority_of(&request.priority).ok_or_else(none)?;
    let deed = Deed::new("alert.priority", id, &tenant).with(priority.as_str().to_owned());
    let alert = change(state, access, deed, move |state, by| {
        let set = state.alerts.set_priority(Some(&tenant), id, priority, by);
        set.map_err(|error| error::alert(&error))
    });
    Ok(Json(AlertView::from(alert.await?.as_ref())).into_response())
}

/// Who was told of an alert, who was not, and why: every decision, newest first.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}/decisions", tag = "notifications",
    params(("id" = Uuid, Path, description = "id of the alert")),
    responses(
        (status = 200, description = "`{at, receiver, outcome, detail}` each", body = Page<serde_json::Value>),
        (status = 404, description = "no such alert", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn decisions(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<AlertId>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let found = blocking(move || {
        let alert = state.alerts.get(Some(&tenant), id).map_err(|error| error::alert(&error))?;
        state.pipeline.why(alert.id).map_err(|error| error::metastore(&error))
    });
    Ok(Json(Page::whole(found.await??)).into_response())
}

// ---- feedback -------------------------------------------------------------------------------------------------

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
    let said = [Some(verdict.as_str()), request.note.as_deref()].into_iter().flatten();
    let deed = Deed::new("alert.feedback", id, &tenant).with(said.collect::<Vec<_>>().join(": "));
    let alert = change(state, access, deed, move |state, by| {
        let judged = state.alerts.judge(Some(&tenant), id, verdict, by, request.note.as_deref());
        judged.map_err(|error| error::alert(&error))
    });
    Ok(Json(AlertView::from(alert.await?.as_ref())).into_response())
}

fn no_verdict() -> Problem {
    Problem::field("verdict", "must be `true_positive` or `false_positive`")
}
