//! The Alertmanager API v2, so that Prometheus, `amtool`, Grafana and others work against Heimdall unchanged.
//!
//! Served under `/api/v2` and `/alertmanager/api/v2`. What differs from Alertmanager: alerts of Heimdall's own detectors are
//! there too; an alert people suppressed is `suppressed` without a silence; errors are problems for who can read them
//! (see [`plain_errors`]).
//!
//! Posting alerts leaves no line in the audit trail: Prometheus repeats it every minute, and the history of an alert says
//! who reported it. Silences do.

mod plain_errors;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use heimdall_alert::routing::{Route, Routing};
use heimdall_alert::{AlertCursor, AlertError, Silence, SilenceDraft, SilenceKind, SilenceState, Silences};
use heimdall_guard::Scope;
use heimdall_model::{Alert, LabelMatcher, Tenant, Timestamp};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::plain_errors::plain_errors;
use self::wire::{
    AlertGroup, AlertStatus, Cluster, ConfigView, GettableAlert, GettableSilence, Moment, PostableAlert,
    PostableSilence, Receiver, SilenceMade, SilenceStatus, StatusView, VersionInfo, labels,
};
use crate::access::Access;
use crate::extract::{Pairs, RawBody, Segment, short};
use crate::problem::{FieldError, Problem, ProblemDocument};
use crate::routes::{blocking, silences};
use crate::{AppState, VERSION, error};

/// The release of Alertmanager whose API this is; clients compare it with their own.
const ALERTMANAGER_VERSION: &str = "0.25.0";
/// Alerts of one request: 413 above. Prometheus sends 64 at once.
const POSTED_ALERTS_MAX: usize = 10_000;
/// Alerts of one answer; a header says that there are more.
const ANSWERED_ALERTS_MAX: usize = 10_000;
/// Live alerts read at once.
const READ_ALERTS: usize = 1_000;
/// Longest pattern of receivers (bytes).
const RECEIVER_BYTES_MAX: usize = 1_000;
/// Says that an answer is not whole.
const PARTIAL_HEADER: HeaderName = HeaderName::from_static("heimdall-partial");

/// The routes, with errors as their clients read them.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(am_status))
        .routes(routes!(am_receivers))
        .routes(routes!(am_alerts, am_post_alerts))
        .routes(routes!(am_groups))
        .routes(routes!(am_silences, am_post_silence))
        .routes(routes!(am_silence, am_delete_silence))
        .layer(from_fn(plain_errors))
}

/// The same below `/alertmanager`, where Grafana and others look behind a gateway; described once only.
pub(crate) fn prefixed() -> OpenApiRouter<AppState> {
    let legacy = Router::new().route("/api/v1/alerts", axum::routing::post(am_v1_alerts));
    let (router, _) = router().split_for_parts();
    OpenApiRouter::from(Router::new().nest("/alertmanager", router.merge(legacy)))
}

// ---- status ---------------------------------------------------------------------------------------------------

/// What the server is, in Alertmanager's words.
#[utoipa::path(
    get, path = "/api/v2/status", tag = "alertmanager",
    responses((status = 200, description = "the status", body = StatusView))
)]
pub(crate) async fn am_status(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<StatusView>, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    Ok(Json(StatusView {
        cluster: Cluster { status: "disabled", peers: [] },
        config: ConfigView { original: configuration(&receiver_names(&state)) },
        uptime: Moment(state.started_at()),
        version_info: VersionInfo {
            branch: "heimdall",
            build_date: "",
            build_user: "",
            go_version: "",
            revision: VERSION,
            version: ALERTMANAGER_VERSION.to_owned(),
        },
    }))
}

/// The receivers as a configuration Alertmanager and `amtool` can read. Names are JSON strings, which YAML reads.
fn configuration(receivers: &[String]) -> String {
    let quoted = |name: &String| serde_json::Value::from(name.as_str()).to_string();
    let first = receivers.first().map_or_else(|| "\"none\"".to_owned(), quoted);
    let mut text = format!("route:\n  receiver: {first}\nreceivers:\n");
    if receivers.is_empty() {
        text.push_str("- name: \"none\"\n");
    }
    receivers.iter().for_each(|name| text.push_str(&format!("- name: {}\n", quoted(name))));
    text
}

/// Receivers.
#[utoipa::path(
    get, path = "/api/v2/receivers", tag = "alertmanager",
    responses((status = 200, description = "the receivers", body = Vec<Receiver>))
)]
pub(crate) async fn am_receivers(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Vec<Receiver>>, Problem> {
    access.require_any(&[Scope::Read, Scope::Watch])?;
    Ok(Json(receiver_names(&state).into_iter().map(|name| Receiver { name }).collect()))
}

fn receiver_names(state: &AppState) -> Vec<String> {
    state.pipeline.routing().receivers().iter().map(|receiver| receiver.name.clone()).collect()
}

// ---- alerts ---------------------------------------------------------------------------------------------------

/// Which alerts are asked for.
struct Wanted {
    active: bool,
    silenced: bool,
    inhibited: bool,
    matchers: Vec<LabelMatcher>,
    receiver: Option<LabelMatcher>,
}

impl Wanted {
    fn read(pairs: &Pairs) -> Result<Wanted, Problem> {
        // Whole texts only, as everywhere: a matcher does that.
        let receiver = pairs.get("receiver").map(|pattern| {
            if pattern.len() > RECEIVER_BYTES_MAX {
                return Err(Problem::parameter("receiver", "is too long"));
            }
            let matcher = LabelMatcher::new("receiver", pattern, true, true);
            matcher.map_err(|error| Problem::parameter("receiver", error.reason))
        });
        // Nothing of ours is ever unprocessed, so that flag changes nothing; it must be one all the same.
        pairs.flag("unprocessed", true)?;
        Ok(Wanted {
            active: pairs.flag("active", true)?,
            silenced: pairs.flag("silenced", true)?,
            inhibited: pairs.flag("inhibited", true)?,
            matchers: pairs.matchers()?,
            receiver: receiver.transpose()?,
        })
    }

    fn takes(&self, alert: &Alert, receivers: &[String]) -> bool {
        let status = AlertStatus::of(alert);
        let is_silenced = !status.silenced_by.is_empty() || !status.muted_by.is_empty();
        (self.active || status.state != "active")
            && (self.silenced || !is_silenced)
            && (self.inhibited || status.inhibited_by.is_empty())
            && self.matchers.iter().all(|matcher| matcher.matches(alert))
            && self.receiver.as_ref().is_none_or(|wanted| receivers.iter().any(|name| wanted.is_match(name)))
    }
}

/// A live alert, and who is told of it.
struct Routed {
    alert: Arc<Alert>,
    receivers: Vec<String>,
}

/// The live alerts asked for, in no order; the flag says that there are more. Blocks.
fn find(state: &AppState, tenant: &Tenant, wanted: &Wanted) -> Result<(Vec<Routed>, bool), Problem> {
    let routing = state.pipeline.routing();
    let mut found = Vec::new();
    let mut after: Option<AlertCursor> = None;
    loop {
        let page = state.alerts.live(Some(tenant), after.as_ref(), READ_ALERTS);
        let page = page.map_err(|error| error::alert(&error))?;
        for alert in page.items {
            let receivers = receivers_of(&routing, &alert);
            if wanted.takes(&alert, &receivers) {
                if found.len() == ANSWERED_ALERTS_MAX {
                    return Ok((found, true));
                }
                found.push(Routed { alert, receivers });
            }
        }
        let Some(next) = page.next else { return Ok((found, false)) };
        after = Some(next);
    }
}

/// Who is told of an alert, each once.
fn receivers_of(routing: &Routing, alert: &Alert) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for route in routing.routes_of(alert) {
        if !names.contains(&route.receiver) {
            names.push(route.receiver.clone());
        }
    }
    names
}

/// An answer that says when it is not whole.
fn answer(body: impl IntoResponse, is_partial: bool) -> Response {
    let mut response = body.into_response();
    if is_partial {
        response.headers_mut().insert(PARTIAL_HEADER, HeaderValue::from_static("true"));
    }
    response
}

/// Alerts that are not over.
#[utoipa::path(
    get, path = "/api/v2/alerts", tag = "alertmanager",
    params(
        ("active" = Option<bool>, Query, description = "those people hear of; default true"),
        ("silenced" = Option<bool>, Query, description = "those a silence keeps quiet, and suppressed ones; default true"),
        ("inhibited" = Option<bool>, Query, description = "those another alert keeps quiet; default true"),
        ("unprocessed" = Option<bool>, Query, description = "changes nothing"),
        ("filter" = Option<Vec<String>>, Query, description = "only those that pass all these matchers"),
        ("receiver" = Option<String>, Query, description = "only those that go to a receiver of this pattern"),
    ),
    responses(
        (status = 200, description = "the alerts", body = Vec<GettableAlert>),
        (status = 400, description = "no filter", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn am_alerts(
    State(state): State<AppState>,
    access: Access,
    pairs: Pairs,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let wanted = Wanted::read(&pairs)?;
    let now = state.clock.now();
    let found = blocking(move || find(&state, &tenant, &wanted));
    let (found, is_partial) = found.await??;
    let view = |routed: &Routed| GettableAlert::new(&routed.alert, &routed.receivers, now);
    let mut alerts: Vec<GettableAlert> = found.iter().map(view).collect();
    alerts.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    Ok(answer(Json(alerts), is_partial))
}

/// Takes alerts of another system, such as Prometheus. Those that are well formed are taken even when others are not.
#[utoipa::path(
    post, path = "/api/v2/alerts", tag = "alertmanager",
    request_body(content = Vec<PostableAlert>),
    responses(
        (status = 200, description = "taken, and on disk"),
        (status = 400, description = "some are no alerts; `errors` names them by index, the others are taken", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "more than 10,000 alerts, or 4 MiB", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn am_post_alerts(
    State(state): State<AppState>,
    access: Access,
    body: RawBody,
) -> Result<StatusCode, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let posted: Vec<PostableAlert> = body.json()?;
    if posted.len() > POSTED_ALERTS_MAX {
        let detail = format!("more than {POSTED_ALERTS_MAX} alerts in one request");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_alerts", detail));
    }
    let now = state.clock.now();
    let (mut alerts, mut indexes, mut faults) = (Vec::with_capacity(posted.len()), Vec::new(), Vec::new());
    for (index, alert) in (0_u64..).zip(posted) {
        match alert.into_posted(now) {
            Ok(alert) => {
                alerts.push(alert);
                indexes.push(index);
            }
            Err((field, reason)) => faults.push(fault(index, field, reason)),
        }
    }
    let by = access.principal().name.clone();
    match blocking(move || state.alerts.post(&tenant, alerts, &by)).await? {
        Ok(_) => {}
        Err(AlertError::Posted { index, fault: found, .. }) => {
            faults.push(fault(indexes.get(index).copied().unwrap_or_default(), found.field, found.reason));
        }
        Err(other) => return Err(error::alert(&other)),
    }
    if faults.is_empty() { Ok(StatusCode::OK) } else { Err(not_all(faults)) }
}

fn fault(index: u64, field: &'static str, reason: String) -> FieldError {
    FieldError { index: Some(index), field: field.into(), reason: reason.into() }
}

fn not_all(faults: Vec<FieldError>) -> Problem {
    let detail = format!("{} of the alerts were not taken; the others were", faults.len());
    Problem::bad_request("invalid_alerts", detail).with_errors(faults)
}

/// What became of the API before v2.
#[utoipa::path(
    post, path = "/api/v1/alerts", tag = "alertmanager",
    responses((status = 410, description = "gone", body = ProblemDocument, content_type = "application/problem+json"))
)]
pub(crate) async fn am_v1_alerts(access: Access) -> Result<StatusCode, Problem> {
    access.require(Scope::AlertsWrite)?;
    let detail =
        "the Alertmanager API v1 is gone: post to `/api/v2/alerts` (in Prometheus: `api_version: v2`)";
    Err(Problem::new(StatusCode::GONE, "api_version_gone", detail))
}

/// Live alerts, in the groups people are told of.
#[utoipa::path(
    get, path = "/api/v2/alerts/groups", tag = "alertmanager",
    params(
        ("active" = Option<bool>, Query, description = "as in /api/v2/alerts"),
        ("silenced" = Option<bool>, Query, description = "as in /api/v2/alerts"),
        ("inhibited" = Option<bool>, Query, description = "as in /api/v2/alerts"),
        ("filter" = Option<Vec<String>>, Query, description = "as in /api/v2/alerts"),
        ("receiver" = Option<String>, Query, description = "as in /api/v2/alerts"),
    ),
    responses((status = 200, description = "the groups", body = Vec<AlertGroup>))
)]
pub(crate) async fn am_groups(
    State(state): State<AppState>,
    access: Access,
    pairs: Pairs,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let wanted = Wanted::read(&pairs)?;
    let grouped = blocking(move || {
        let (found, is_partial) = find(&state, &tenant, &wanted)?;
        Ok::<_, Problem>((groups(&state, &found, &wanted, state.clock.now()), is_partial))
    });
    let (groups, is_partial) = grouped.await??;
    Ok(answer(Json(groups), is_partial))
}

/// By receiver and the labels its route groups by.
fn groups(state: &AppState, found: &[Routed], wanted: &Wanted, now: Timestamp) -> Vec<AlertGroup> {
    let routing = state.pipeline.routing();
    let mut groups: BTreeMap<(BTreeMap<String, String>, String), Vec<GettableAlert>> = BTreeMap::new();
    for Routed { alert, receivers } in found {
        for route in routing.routes_of(alert) {
            if wanted.receiver.as_ref().is_none_or(|wanted| wanted.is_match(&route.receiver)) {
                let key = (group_labels(route, alert), route.receiver.clone());
                groups.entry(key).or_default().push(GettableAlert::new(alert, receivers, now));
            }
        }
    }
    let shown = groups.into_iter().map(|((labels, name), mut alerts)| {
        alerts.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
        AlertGroup { alerts, labels, receiver: Receiver { name } }
    });
    shown.collect()
}

/// The labels a route groups an alert by.
fn group_labels(route: &Route, alert: &Alert) -> BTreeMap<String, String> {
    let Some(names) = &route.group_by else { return labels(alert) };
    names.iter().filter_map(|name| Some((name.clone(), alert.label(name)?.into_owned()))).collect()
}

// ---- silences -------------------------------------------------------------------------------------------------

fn silence_view(silence: &Silence, now: Timestamp) -> GettableSilence {
    let state = match Silences::state(silence, now) {
        SilenceState::Pending => "pending",
        SilenceState::Active => "active",
        SilenceState::Expired => "expired",
    };
    GettableSilence {
        id: silence.id.to_string(),
        status: SilenceStatus { state },
        updated_at: Moment(silence.updated_at),
        comment: silence.comment.clone(),
        created_by: silence.created_by.clone(),
        ends_at: Moment(silence.ends_at),
        matchers: silence.matchers.iter().map(Into::into).collect(),
        starts_at: Moment(silence.starts_at),
    }
}

/// Silences, maintenance windows too; those in force first.
#[utoipa::path(
    get, path = "/api/v2/silences", tag = "alertmanager",
    params(("filter" = Option<Vec<String>>, Query, description = "only those that have all these matchers")),
    responses((status = 200, description = "the silences", body = Vec<GettableSilence>))
)]
pub(crate) async fn am_silences(
    State(state): State<AppState>,
    access: Access,
    pairs: Pairs,
) -> Result<Json<Vec<GettableSilence>>, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let now = state.clock.now();
    let found = silences::with_matchers(state.alerts.silences(), &tenant, &pairs.matchers()?);
    let mut shown: Vec<_> = found.iter().map(|silence| silence_view(silence, now)).collect();
    shown.sort_by_cached_key(|silence| (silence.rank(), silence.id.clone()));
    Ok(Json(shown))
}

/// Makes a silence, or changes one.
#[utoipa::path(
    post, path = "/api/v2/silences", tag = "alertmanager",
    request_body(content = PostableSilence),
    responses(
        (status = 200, description = "its id", body = SilenceMade),
        (status = 400, description = "it cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no such silence", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn am_post_silence(
    State(state): State<AppState>,
    access: Access,
    body: RawBody,
) -> Result<Json<SilenceMade>, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let posted: PostableSilence = body.json()?;
    let author = posted.created_by.clone();
    let mut draft = draft(posted, tenant)?;
    // What this API cannot say stays as it is: a maintenance window, the times it recurs at.
    let known = draft.id.and_then(|id| state.alerts.silences().get(Some(&draft.tenant), id).ok());
    if let Some(known) = known {
        (draft.kind, draft.recurrence) = (known.kind, known.recurrence);
    }
    let silence = silences::put(state, access, draft, Some(author)).await?;
    Ok(Json(SilenceMade { silence_id: silence.id.to_string() }))
}

fn draft(posted: PostableSilence, tenant: Tenant) -> Result<SilenceDraft, Problem> {
    let id = posted
        .id
        .filter(|id| !id.is_empty())
        .map(|id| Uuid::try_parse(&id).map_err(|_| Problem::not_found("silence", short(&id))));
    let matchers = posted.matchers.iter().map(wire::Matcher::read).collect::<Result<Vec<_>, _>>();
    let no_time = |field| Problem::field(field, "is needed");
    Ok(SilenceDraft {
        id: id.transpose()?,
        tenant,
        kind: SilenceKind::Silence,
        matchers: matchers.map_err(|error| Problem::field("matchers", error.to_string()))?,
        starts_at: posted.starts_at.ok_or_else(|| no_time("startsAt"))?,
        ends_at: posted.ends_at.ok_or_else(|| no_time("endsAt"))?,
        recurrence: None,
        comment: posted.comment,
    })
}

/// One silence.
#[utoipa::path(
    get, path = "/api/v2/silence/{id}", tag = "alertmanager",
    params(("id" = Uuid, Path, description = "id of the silence")),
    responses(
        (status = 200, description = "the silence", body = GettableSilence),
        (status = 404, description = "no such silence", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn am_silence(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<Uuid>,
) -> Result<Json<GettableSilence>, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let silence = state.alerts.silences().get(Some(&tenant), id).map_err(|error| error::silence(&error))?;
    Ok(Json(silence_view(&silence, state.clock.now())))
}

/// Ends a silence.
#[utoipa::path(
    delete, path = "/api/v2/silence/{id}", tag = "alertmanager",
    params(("id" = Uuid, Path, description = "id of the silence")),
    responses(
        (status = 200, description = "it is over"),
        (status = 404, description = "no such silence", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn am_delete_silence(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<Uuid>,
) -> Result<StatusCode, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    silences::expire(state, access, tenant, id).await?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_yaml_whatever_receivers_are_called() {
        let text = configuration(&["ops".to_owned(), "a: \"b\"\n".to_owned()]);
        assert_eq!(
            text,
            "route:\n  receiver: \"ops\"\nreceivers:\n- name: \"ops\"\n- name: \"a: \\\"b\\\"\\n\"\n"
        );
        assert!(configuration(&[]).contains("receiver: \"none\""));
    }
}
