//! Silences and maintenance windows: what people do not want to hear of, and when.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use heimdall_alert::{
    Recurrence, Silence, SilenceDraft, SilenceError, SilenceKind, SilenceState, Silences, Weekday,
};
use heimdall_guard::Scope;
use heimdall_model::{LabelMatcher, Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::Access;
use crate::extract::{Document, Pairs, Params, Segment, end_of_period, limit, read_matchers, short};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::{Deed, change};
use crate::wire::Page;
use crate::{AppState, error};

/// A silence as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Silence)]
pub(crate) struct SilenceView<'a> {
    /// Its id.
    id: Uuid,
    /// `pending`, `active` or `expired`; a recurring one is pending between its windows.
    #[schema(value_type = String, example = "active")]
    state: SilenceState,
    /// `silence`: somebody does not want to hear of it; `maintenance`: work is being done.
    #[schema(value_type = String, example = "silence")]
    kind: SilenceKind,
    /// Conditions, all of which must hold, such as `service="payment"`.
    #[schema(value_type = Vec<String>)]
    matchers: &'a [LabelMatcher],
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    starts_at: Timestamp,
    /// Until before when.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// Between the two, only at these times: `{weekdays, from, to, zone}`.
    #[schema(value_type = Option<Object>)]
    recurrence: Option<&'a Recurrence>,
    /// Who made it.
    created_by: &'a str,
    /// Why.
    comment: &'a str,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl SilenceView<'_> {
    pub(crate) fn new(silence: &Silence, now: Timestamp) -> SilenceView<'_> {
        SilenceView {
            id: silence.id,
            state: Silences::state(silence, now),
            kind: silence.kind,
            matchers: &silence.matchers,
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            recurrence: silence.recurrence.as_ref(),
            created_by: &silence.created_by,
            comment: &silence.comment,
            updated_at: silence.updated_at,
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SilenceParams {
    /// Any of these states, separated by commas: pending, active, expired; all when absent.
    state: Option<String>,
    /// Silences at most; default 100, at most 1,000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<Uuid>,
}

/// Silences and maintenance windows, those in force first.
#[utoipa::path(
    get, path = "/api/v1/silences", tag = "silences",
    params(SilenceParams, ("filter" = Option<Vec<String>>, Query, description = "only those with all these matchers")),
    responses((status = 200, description = "a page of silences", body = Page<SilenceView>))
)]
pub(crate) async fn list_silences(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<SilenceParams>,
    pairs: Pairs,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let states = states(params.state.as_deref())?;
    let matchers = pairs.matchers()?;
    let now = state.clock.now();
    let mut silences = with_matchers(state.alerts.silences(), &tenant, &matchers);
    silences.retain(|silence| states.is_empty() || states.contains(&Silences::state(silence, now)));
    silences.sort_by_key(|silence| rank(silence, now));
    let from = match params.cursor {
        None => 0,
        Some(last) => {
            silences.iter().position(|silence| silence.id == last).map_or(silences.len(), |at| at + 1)
        }
    };
    let page: Vec<_> = silences.iter().skip(from).take(limit).collect();
    let next = page.last().filter(|_| from + page.len() < silences.len()).map(|last| last.id.to_string());
    let items: Vec<_> = page.iter().map(|silence| SilenceView::new(silence, now)).collect();
    Ok(Json(Page { items, next }).into_response())
}

/// Those in force first (the next to end first), then those to come, then those that are over, the latest first.
fn rank(silence: &Silence, now: Timestamp) -> (u8, i64, Uuid) {
    match Silences::state(silence, now) {
        SilenceState::Active => (0, silence.ends_at.0, silence.id),
        SilenceState::Pending => (1, silence.starts_at.0, silence.id),
        SilenceState::Expired => (2, -silence.ends_at.0, silence.id),
    }
}

fn states(text: Option<&str>) -> Result<Vec<SilenceState>, Problem> {
    let names = text.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let read = |name: &str| match name {
        "pending" => Ok(SilenceState::Pending),
        "active" => Ok(SilenceState::Active),
        "expired" => Ok(SilenceState::Expired),
        _ => Err(Problem::parameter("state", format!("`{}` is none: pending, active, expired", short(name)))),
    };
    names.map(read).collect()
}

/// The silences of a tenant that have each of these matchers, as Alertmanager filters them.
pub(crate) fn with_matchers(
    silences: &Silences,
    tenant: &Tenant,
    matchers: &[LabelMatcher],
) -> Vec<Arc<Silence>> {
    let mut all = silences.list(Some(tenant));
    all.retain(|silence| matchers.iter().all(|matcher| silence.matchers.contains(matcher)));
    all
}

/// One silence.
#[utoipa::path(
    get, path = "/api/v1/silences/{id}", tag = "silences",
    params(("id" = Uuid, Path, description = "id of the silence")),
    responses(
        (status = 200, description = "the silence", body = SilenceView),
        (status = 404, description = "no such silence", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn one_silence(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<Uuid>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let silence = state.alerts.silences().get(Some(&tenant), id).map_err(|error| error::silence(&error))?;
    Ok(Json(SilenceView::new(&silence, state.clock.now())).into_response())
}

/// A silence to be made, or with an id changed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SilenceRequest {
    /// The silence to change; absent: a new one.
    #[serde(default)]
    id: Option<Uuid>,
    /// `silence` (default) or `maintenance`.
    #[serde(default)]
    kind: Option<String>,
    /// Conditions, all of which must hold: `label="value"`, `!=`, `=~`, `!~`.
    #[serde(default)]
    matchers: Vec<String>,
    /// From when on; now when absent.
    #[serde(default)]
    starts_at: Option<String>,
    /// Until when.
    #[serde(default)]
    ends_at: Option<String>,
    /// Instead of `ends_at`: for how long from its start, such as `2h`.
    #[serde(default, rename = "for")]
    period: Option<String>,
    /// Between the two, only at these times.
    #[serde(default)]
    recurrence: Option<RecurrenceRequest>,
    /// Who; whoever asks when absent.
    #[serde(default)]
    created_by: Option<String>,
    /// Why.
    #[serde(default)]
    comment: String,
}

/// Times that come every week.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecurrenceRequest {
    /// Days on which it begins, `monday` to `sunday`; every day when empty.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    weekdays: Vec<Weekday>,
    /// Time of day it begins, `HH:MM`.
    from: String,
    /// Time of day it ends, `HH:MM`; at or before `from` it is on the next day.
    to: String,
    /// IANA time zone; UTC when absent.
    #[serde(default)]
    zone: Option<String>,
}

impl SilenceRequest {
    fn draft(self, tenant: &Tenant, now: Timestamp) -> Result<SilenceDraft, Problem> {
        let kind = match self.kind.as_deref() {
            None | Some("silence") => SilenceKind::Silence,
            Some("maintenance") => SilenceKind::Maintenance,
            Some(_) => return Err(Problem::field("kind", "must be `silence` or `maintenance`")),
        };
        let matchers = read_matchers(&self.matchers).map_err(|reason| Problem::field("matchers", reason))?;
        let not_a_time = || Problem::field("starts_at", "is no time");
        let starts_at =
            self.starts_at.as_deref().map(|text| Timestamp::parse_when(text, now).ok_or_else(not_a_time));
        let starts_at = starts_at.transpose()?.unwrap_or(now);
        let ends_at = match (&self.ends_at, &self.period) {
            (Some(text), None) => {
                Timestamp::parse_when(text, now).ok_or_else(|| Problem::field("ends_at", "is no time"))?
            }
            (None, Some(_)) => end_of_period(None, self.period.as_deref(), starts_at)?.unwrap_or(starts_at),
            _ => return Err(Problem::field("ends_at", "give it, or `for`")),
        };
        let recurrence = self.recurrence.map(|recurrence| Recurrence {
            weekdays: recurrence.weekdays,
            from: recurrence.from,
            to: recurrence.to,
            zone: recurrence.zone.unwrap_or_else(|| "UTC".to_owned()),
        });
        Ok(SilenceDraft {
            id: self.id,
            tenant: tenant.clone(),
            kind,
            matchers,
            starts_at,
            ends_at,
            recurrence,
            comment: self.comment,
        })
    }
}

/// Makes a silence, or changes one. A change that would rewrite the past ends the silence and makes a new one, with another id.
#[utoipa::path(
    post, path = "/api/v1/silences", tag = "silences",
    request_body(content = SilenceRequest),
    responses(
        (status = 200, description = "the silence", body = SilenceView),
        (status = 404, description = "no such silence", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "it cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_silence(
    State(state): State<AppState>,
    access: Access,
    Document(mut request): Document<SilenceRequest>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let now = state.clock.now();
    let by = request.created_by.take();
    let draft = request.draft(&tenant, now)?;
    let clock = Arc::clone(&state.clock);
    let silence = put(state, access, draft, by).await?;
    // Later than `now`, at which it had not begun yet.
    Ok(Json(SilenceView::new(&silence, clock.now())).into_response())
}

/// Makes or changes a silence, in the name of `author` or whoever asks.
pub(crate) async fn put(
    state: AppState,
    access: Access,
    draft: SilenceDraft,
    author: Option<String>,
) -> Result<Silence, Problem> {
    let action = if draft.id.is_some() { "silence.change" } else { "silence.add" };
    let matchers: Vec<String> = draft.matchers.iter().map(ToString::to_string).collect();
    let detail = format!("until {}: {}", draft.ends_at, draft.comment);
    let matchers = matchers.join(" ");
    let (target, detail) = match draft.id {
        Some(id) => (id.to_string(), format!("{matchers} {detail}")),
        None => (matchers, detail),
    };
    let deed = Deed::new(action, target, &draft.tenant).with(detail);
    change(state, access, deed, move |state, by| {
        let author = author.filter(|author| !author.trim().is_empty());
        let put = state.alerts.silences().put(draft, author.as_deref().unwrap_or(by));
        put.map_err(|error| error::silence(&error))
    })
    .await
}

/// Ends a silence now. One that is over already stays as it is.
#[utoipa::path(
    delete, path = "/api/v1/silences/{id}", tag = "silences",
    params(("id" = Uuid, Path, description = "id of the silence")),
    responses(
        (status = 200, description = "the silence, which is over", body = SilenceView),
        (status = 404, description = "no such silence", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn expire_silence(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<Uuid>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let clock = Arc::clone(&state.clock);
    let silence = expire(state, access, tenant, id).await?;
    Ok(Json(SilenceView::new(&silence, clock.now())).into_response())
}

/// Ends a silence.
pub(crate) async fn expire(
    state: AppState,
    access: Access,
    tenant: Tenant,
    id: Uuid,
) -> Result<Silence, Problem> {
    let deed = Deed::new("silence.expire", id, &tenant);
    change(state, access, deed, move |state, by| {
        state
            .alerts
            .silences()
            .expire(Some(&tenant), id, by)
            .map_err(|error: SilenceError| error::silence(&error))
    })
    .await
}
