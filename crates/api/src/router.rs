//! Every route, registered once: the router and the API description are made from the same lines.

use axum::http::{Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Router, extract::DefaultBodyLimit};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::problem::Problem;
use crate::routes::{
    actions, admin, alertmanager, alerts, alerts_live, annotations, dashboards, dead_letters, description,
    detection, doors, explore, fields, inbound, incidents, ingest, notifications, operations, page,
    pipelines, query, records, rules, saved_queries, silences, status, storage, tail, trials, vitals, whoami,
};
use crate::{access, edge, vitals as measured};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Heimdall",
        description = "Logs, metrics, security events and alerts. Errors are RFC 9457 problems with a stable `code`."
    ),
    modifiers(&Bearer)
)]
struct Description;

/// Says that requests carry a bearer token, where one is needed.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The router of the HTTP listeners; `doors` are the paths of protocols that are not ours, behind the same gate.
pub fn router(state: AppState, doors: Router) -> Router {
    let (router, openapi) = registered().split_for_parts();
    state.description.set(&openapi);
    router
        .merge(doors.with_state(()))
        .route("/assets/{*path}", get(page::file))
        .fallback(page::file)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), page::pages))
        .layer(from_fn_with_state(state.clone(), access::gate))
        .layer(from_fn(edge::edge))
        .layer(from_fn_with_state(state.clone(), measured::measure))
        .layer(DefaultBodyLimit::disable())
        .with_state(state)
}

fn registered() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(description::openapi))
        .routes(routes!(status::health))
        .routes(routes!(status::livez))
        .routes(routes!(status::readyz))
        .routes(routes!(status::metrics))
        .routes(routes!(status::summary))
        .routes(routes!(status::status))
        .routes(routes!(detection::detectors))
        .routes(routes!(detection::rules))
        .merge(desk())
        .routes(routes!(doors::doors))
        .routes(routes!(ingest::event))
        .routes(routes!(ingest::records))
        .routes(routes!(admin::receipts))
        .routes(routes!(admin::receipts_summary))
        .routes(routes!(admin::receipt))
        .routes(routes!(dead_letters::list_dead_letters, dead_letters::purge_dead_letters))
        .routes(routes!(dead_letters::replay_dead_letters))
        .routes(routes!(dead_letters::one_dead_letter))
        .routes(routes!(pipelines::list_pipelines))
        .routes(routes!(pipelines::test_pipeline))
        .routes(routes!(records::logs))
        .routes(routes!(query::get, query::post))
        .routes(routes!(tail::tail))
        .routes(routes!(fields::fields))
        .routes(routes!(fields::templates))
        .routes(routes!(fields::suggest))
        .routes(routes!(alerts::latest))
        .routes(routes!(alerts::step))
        .routes(routes!(alerts::list, alertmanager::am_v1_alerts))
        .routes(routes!(alerts::steps))
        .routes(routes!(alerts::one))
        .routes(routes!(alerts::feedback))
        .routes(routes!(alerts::assign))
        .routes(routes!(alerts::comment))
        .routes(routes!(alerts::priority))
        .routes(routes!(alerts::decisions))
        .routes(routes!(alerts::step_v1))
        .routes(routes!(alerts_live::follow))
        .merge(kept())
        .merge(explore::router())
        .merge(work())
        .merge(alertmanager::router())
        .merge(alertmanager::prefixed())
        .routes(routes!(whoami::whoami))
        .routes(routes!(admin::issue_token, admin::list_tokens))
        .routes(routes!(admin::revoke_token))
        .routes(routes!(admin::audit))
        .merge(operations())
        .routes(routes!(storage::erase))
        .routes(routes!(storage::segments))
}

/// What people keep.
fn kept() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(dashboards::list_dashboards, dashboards::add_dashboard))
        .routes(routes!(
            dashboards::one_dashboard,
            dashboards::replace_dashboard,
            dashboards::delete_dashboard
        ))
        .routes(routes!(saved_queries::list_saved_queries, saved_queries::add_saved_query))
        .routes(routes!(
            saved_queries::one_saved_query,
            saved_queries::replace_saved_query,
            saved_queries::delete_saved_query
        ))
        .routes(routes!(annotations::list_annotations, annotations::add_annotation))
        .routes(routes!(annotations::replace_annotation, annotations::delete_annotation))
}

/// What people do with rules and detectors.
fn desk() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(rules::check))
        .routes(routes!(rules::test))
        .routes(routes!(trials::backtest))
        .routes(routes!(rules::rule, rules::put_rule, rules::delete_rule))
        .routes(routes!(rules::set_mode))
        .routes(routes!(trials::tune))
        .routes(routes!(trials::preview))
}

/// What an operator looks after.
fn operations() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(operations::sessions))
        .routes(routes!(operations::close_session))
        .routes(routes!(operations::tenants))
        .routes(routes!(operations::storage_summary))
        .routes(routes!(operations::verify_audit))
        .routes(routes!(vitals::status_self))
}

/// What people and the machine do about alerts.
fn work() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(incidents::list_incidents))
        .routes(routes!(incidents::one_incident))
        .routes(routes!(incidents::postmortem))
        .routes(routes!(incidents::assign_incident))
        .routes(routes!(incidents::comment_incident))
        .routes(routes!(incidents::add_alert, incidents::remove_alert))
        .routes(routes!(incidents::step_incident))
        .routes(routes!(silences::list_silences, silences::put_silence))
        .routes(routes!(silences::one_silence, silences::expire_silence))
        .routes(routes!(notifications::list_deliveries))
        .routes(routes!(notifications::receivers))
        .routes(routes!(notifications::test_receiver))
        .routes(routes!(notifications::routes))
        .routes(routes!(notifications::on_call))
        .routes(routes!(actions::plan_alert))
        .routes(routes!(actions::list_runs))
        .routes(routes!(actions::kill_switch, actions::turn_kill_switch))
        .routes(routes!(actions::playbooks))
        .routes(routes!(actions::autonomy))
        .routes(routes!(actions::actions_status))
        .routes(routes!(actions::one_run))
        .routes(routes!(actions::approve_run))
        .routes(routes!(actions::reject_run))
        .routes(routes!(actions::cancel_run))
        .routes(routes!(actions::breakers))
        .routes(routes!(actions::breaker, actions::set_breaker))
        .routes(routes!(inbound::alertmanager_webhook))
        .routes(routes!(inbound::slack_interactions))
        .routes(routes!(inbound::pagerduty_webhook))
}

async fn wrong_method(method: Method) -> Problem {
    let method: String = method.as_str().chars().take(20).collect();
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("`{method}` is not allowed here"),
    )
}
