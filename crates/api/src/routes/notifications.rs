//! Who is told of what: the log of deliveries, receivers, where an alert would go, who is on call.
//!
//! Receivers, routes and schedules belong to the server, deliveries to the tenant of their alerts.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use heimdall_alert::notify::notice::NoticeKind;
use heimdall_alert::pipeline::{ChannelDelivery, Delivery, DeliveryFilter, DeliveryState, TestResult};
use heimdall_alert::routing::RouteStep;
use heimdall_guard::{Outcome, Scope};
use heimdall_metastore::DocumentCursor;
use heimdall_model::{AlertId, Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::Access;
use crate::extract::{Document, Params, limit, short, time, time_opt};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::{Deed, blocking};
use crate::wire::Page;
use crate::{AppState, error};

/// One notice to one receiver.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView<'a> {
    /// The notice's id.
    id: Uuid,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who was told.
    receiver: &'a str,
    /// Its channels: `{channel, state, attempts, to, error}` each.
    #[schema(value_type = Vec<Object>)]
    channels: &'a [ChannelDelivery],
    /// Why it was sent: `raised`, `updated`, `acknowledged`, `escalated`, `resolved`, `digest`.
    #[schema(value_type = String, example = "raised")]
    kind: NoticeKind,
    /// In words.
    reason: &'a str,
    /// `queued`, `sent`, `failed` or `interrupted`.
    #[schema(value_type = String, example = "sent")]
    state: DeliveryState,
    /// The group, as channels know it.
    group_key: &'a str,
    /// Every alert it tells of.
    #[schema(value_type = Vec<String>)]
    alerts: &'a [AlertId],
    /// When the last channel was done.
    #[schema(value_type = Option<String>, format = DateTime)]
    done_at: Option<Timestamp>,
}

impl<'a> From<&'a Delivery> for DeliveryView<'a> {
    fn from(delivery: &'a Delivery) -> DeliveryView<'a> {
        DeliveryView {
            id: delivery.id,
            at: delivery.at,
            receiver: &delivery.receiver,
            channels: &delivery.channels,
            kind: delivery.kind,
            reason: &delivery.reason,
            state: delivery.state,
            group_key: &delivery.group_key,
            alerts: &delivery.alerts,
            done_at: delivery.done_at,
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveryParams {
    /// To this receiver.
    receiver: Option<String>,
    /// Any of these states, separated by commas: queued, sent, failed, interrupted.
    state: Option<String>,
    /// Made at this time or later.
    since: Option<String>,
    /// Deliveries at most; default 100, at most 1,000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl DeliveryParams {
    fn filter(&self, now: Timestamp) -> Result<DeliveryFilter, Problem> {
        let names = self.state.as_deref().unwrap_or_default().split(',').map(str::trim);
        let states = names.filter(|name| !name.is_empty()).map(delivery_state);
        Ok(DeliveryFilter {
            receiver: self.receiver.clone(),
            states: states.collect::<Result<_, _>>()?,
            since: time_opt("since", self.since.as_deref(), now)?,
        })
    }
}

fn delivery_state(name: &str) -> Result<DeliveryState, Problem> {
    let known =
        [DeliveryState::Queued, DeliveryState::Sent, DeliveryState::Failed, DeliveryState::Interrupted];
    let unknown = || Problem::parameter("state", format!("`{}` is none", short(name)));
    known.into_iter().find(|state| state.as_str() == name).ok_or_else(unknown)
}

/// What was sent to whom and what came of it, newest first.
#[utoipa::path(
    get, path = "/api/v1/notifications", tag = "notifications", params(DeliveryParams),
    responses((status = 200, description = "a page of deliveries", body = Page<DeliveryView>))
)]
pub(crate) async fn list_deliveries(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<DeliveryParams>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let filter = params.filter(state.clock.now())?;
    let cursor = params.cursor.as_deref().map(str::parse::<DocumentCursor>).transpose();
    let cursor = cursor.map_err(|_| Problem::parameter("cursor", "is none of this list"))?;
    let page =
        blocking(move || state.pipeline.deliveries(Some(&tenant), &filter, cursor.as_ref(), limit)).await?;
    let page = page.map_err(|error| error::metastore(&error))?;
    let items: Vec<DeliveryView<'_>> = page.items.iter().map(DeliveryView::from).collect();
    Ok(Json(Page { items, next: page.next.map(|cursor| cursor.to_string()) }).into_response())
}

/// Receivers as they are now: channels, whether they take notices, the people they are for.
#[utoipa::path(
    get, path = "/api/v1/notifications/receivers", tag = "notifications",
    responses((status = 200, description = "`{name, channels, people, folded}` each", body = Page<serde_json::Value>))
)]
pub(crate) async fn receivers(State(state): State<AppState>, access: Access) -> Result<Response, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    let receivers = blocking(move || state.pipeline.receivers()).await?;
    Ok(Json(Page::whole(receivers)).into_response())
}

/// Which receiver to try.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReceiverTestRequest {
    /// Its name.
    #[serde(default)]
    receiver: String,
}

/// Sends a test message through every channel of a receiver, and says how each took it.
#[utoipa::path(
    post, path = "/api/v1/notifications/test", tag = "notifications",
    request_body(content = ReceiverTestRequest),
    responses(
        (status = 200, description = "`{channel, error}` each; no error: taken", body = Page<serde_json::Value>),
        (status = 404, description = "no such receiver", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn test_receiver(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<ReceiverTestRequest>,
) -> Result<Json<Page<TestResult>>, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let tested = state.pipeline.test(&request.receiver).await;
    let tested = tested.map_err(|error| Problem::not_found("receiver", short(&error.name)))?;
    let outcome =
        if tested.iter().all(|result| result.error.is_none()) { Outcome::Done } else { Outcome::Failed };
    let deed = Deed::new("notification.test", &request.receiver, &tenant);
    blocking(move || deed.audit(&state, &access, outcome)).await?;
    Ok(Json(Page::whole(tested)))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RouteParams {
    /// Id of the alert.
    #[param(value_type = Option<String>, format = Uuid)]
    alert: Option<AlertId>,
}

/// Where an alert would go: every route looked at, whether it matches, and whether it is taken.
#[utoipa::path(
    get, path = "/api/v1/notifications/routes", tag = "notifications", params(RouteParams),
    responses(
        (status = 200, description = "`{path, matchers, is_match, is_taken, receiver}` each", body = Page<serde_json::Value>),
        (status = 404, description = "no such alert", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn routes(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<RouteParams>,
) -> Result<Json<Page<RouteStep>>, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let id = params.alert.ok_or_else(|| Problem::parameter("alert", "is needed: the id of an alert"))?;
    let steps = blocking(move || {
        let alert = state.alerts.get(Some(&tenant), id).map_err(|error| error::alert(&error))?;
        Ok::<_, Problem>(state.pipeline.route_of(&alert))
    });
    Ok(Json(Page::whole(steps.await??)))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OnCallParams {
    /// Only this schedule.
    schedule: Option<String>,
    /// At this time; now when absent.
    at: Option<String>,
}

/// Who is on call by a schedule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OnCall)]
pub(crate) struct OnCallView {
    /// The schedule.
    schedule: String,
    /// Who; null in a gap of the schedule.
    person: Option<String>,
    /// Until when at least.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// Who is on call, by schedule.
#[utoipa::path(
    get, path = "/api/v1/notifications/oncall", tag = "notifications", params(OnCallParams),
    responses(
        (status = 200, description = "one for each schedule", body = Page<OnCallView>),
        (status = 404, description = "no such schedule", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn on_call(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<OnCallParams>,
) -> Result<Json<Page<OnCallView>>, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    let now = state.clock.now();
    let at = params.at.as_deref().map_or(Ok(now), |text| time("at", text, now))?;
    let routing = state.pipeline.routing();
    let names: Vec<String> = match params.schedule {
        Some(name) => vec![name],
        None => routing.schedules().map(str::to_owned).collect(),
    };
    let view = |schedule: String| {
        let on_call = routing.on_call(&schedule, at);
        let on_call = on_call.ok_or_else(|| Problem::not_found("schedule", short(&schedule)))?;
        Ok::<_, Problem>(OnCallView { schedule, person: on_call.person, until: on_call.until })
    };
    Ok(Json(Page::whole(names.into_iter().map(view).collect::<Result<_, _>>()?)))
}

/// The alerts of a group of this key that people were told of lately, newest notice first. Blocks.
pub(crate) fn alerts_of_group(state: &AppState, key: &str) -> Result<Vec<(Tenant, AlertId)>, Problem> {
    let mut cursor = None;
    let mut found: Vec<(Tenant, AlertId)> = Vec::new();
    for _ in 0..GROUP_PAGES_MAX {
        let page =
            state.pipeline.deliveries(None, &DeliveryFilter::default(), cursor.as_ref(), PAGE_ITEMS_MAX);
        let page = page.map_err(|error| error::metastore(&error))?;
        for delivery in page.items.iter().filter(|delivery| delivery.group_key == key) {
            let alerts = delivery.alerts.iter().map(|id| (delivery.tenant.clone(), *id));
            found.extend(alerts.filter(|named| !found.contains(named)).collect::<Vec<_>>());
        }
        cursor = page.next;
        if cursor.is_none() || found.len() >= GROUP_ALERTS_MAX {
            break;
        }
    }
    found.truncate(GROUP_ALERTS_MAX);
    Ok(found)
}

/// Pages of the log that are looked through for a group: 10,000 deliveries, days of them.
const GROUP_PAGES_MAX: usize = 10;
/// Alerts of one group that are stepped at once.
const GROUP_ALERTS_MAX: usize = 1_000;
