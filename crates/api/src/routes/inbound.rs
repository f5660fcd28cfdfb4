//! What other systems send us about alerts: Alertmanager's webhook, Slack's buttons, PagerDuty's webhooks.
//!
//! Slack and PagerDuty prove who they are by a signature over the body, not by a token: nothing of a body is read before its
//! signature is verified, and without a secret these routes are not there. Whoever pressed a button or took an incident acts as
//! `slack:NAME` or `pagerduty:NAME`, may do no more than `alerts:write` allows, and is in the history and in the audit trail.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use heimdall_alert::Step;
use heimdall_alert::notify::alertmanager;
use heimdall_alert::notify::pagerduty::{self, PagerDutyActionKind};
use heimdall_alert::notify::slack::{self, SlackAction, SlackActionKind};
use heimdall_alert::notify::{InboundError, Secret, SignatureError};
use heimdall_guard::{NewAuditEvent, Outcome, Principal, PrincipalKind, Scope, Scopes, TenantAccess};
use heimdall_model::{AlertId, Tenant};
use serde_json::{Value, json};

use crate::access::Access;
use crate::extract::RawBody;
use crate::problem::{FieldError, Problem, ProblemDocument};
use crate::routes::{blocking, notifications};
use crate::{AppState, error};

/// Slack waits three seconds for an answer: what is slower than this goes on without it.
const SLACK_PATIENCE: Duration = Duration::from_millis(2_500);

/// How others that send us things prove who they are, and who their people are here.
#[derive(Debug, Clone, Default)]
pub struct Inbound {
    /// Slack's signing secret; without it buttons are not answered.
    pub slack_signing_secret: Option<Secret>,
    /// People of Slack, by its id of them (`U024BE7LH`): who they are here. When anybody is named, nobody else may press.
    pub slack_users: BTreeMap<String, String>,
    /// Secret of PagerDuty's webhook subscription; without it its webhooks are not taken.
    pub pagerduty_secret: Option<Secret>,
}

// ---- Alertmanager ---------------------------------------------------------------------------------------------

/// Takes alerts as Alertmanager's webhook (version 4) tells them: a receiver `webhook_configs` with this address.
#[utoipa::path(
    post, path = "/api/v1/alertmanager/webhook", tag = "inbound",
    request_body(content = Object),
    responses(
        (status = 200, description = "taken, and on disk"),
        (status = 400, description = "not such a message", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn alertmanager_webhook(
    State(state): State<AppState>,
    access: Access,
    body: RawBody,
) -> Result<StatusCode, Problem> {
    let tenant = access.require(Scope::AlertsWrite)?;
    let posted = alertmanager::parse_webhook(&body.0).map_err(|error| inbound(&error))?;
    let by = access.principal().name.clone();
    let taken = blocking(move || state.alerts.post(&tenant, posted, &by)).await?;
    taken.map_err(|error| error::alert(&error))?;
    Ok(StatusCode::OK)
}

// ---- Slack ----------------------------------------------------------------------------------------------------

/// Does what a button in one of our Slack messages asks for. Slack signs the request; no token is needed.
#[utoipa::path(
    post, path = "/api/v1/slack/interactions", tag = "inbound", security(()),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "done, or said why not to who pressed"),
        (status = 401, description = "not signed by Slack", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no signing secret is configured", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn slack_interactions(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, Problem> {
    let secret = state.inbound.slack_signing_secret.as_ref().ok_or_else(|| not_configured("Slack"))?;
    slack::verify(secret, &headers, &body.0, state.clock.now()).map_err(|error| unsigned(&error))?;
    let action = slack::parse_interaction(&body.0).map_err(|error| inbound(&error))?;
    let pressed = tokio::time::timeout(SLACK_PATIENCE, blocking(move || press(&state, &action))).await;
    let said = match pressed {
        Ok(said) => said?,
        Err(_) => Some("The server is slow: it is being done.".to_owned()),
    };
    match said {
        None => Ok(StatusCode::OK.into_response()),
        Some(said) => Ok(Json(ephemeral(&said)).into_response()),
    }
}

/// An answer only who pressed sees, which leaves the message as it is: the pipeline shows the new state in it.
fn ephemeral(text: &str) -> Value {
    json!({ "response_type": "ephemeral", "replace_original": false, "text": text })
}

/// Takes the step; what who pressed must hear is returned. Blocks.
fn press(state: &AppState, action: &SlackAction) -> Option<String> {
    let now = state.clock.now();
    let step = match action.kind {
        SlackActionKind::Open => return None,
        SlackActionKind::Acknowledge => Step::Acknowledge,
        SlackActionKind::Suppress(period) => {
            let ns = i64::try_from(period.as_nanos()).unwrap_or(i64::MAX);
            Step::Suppress { until: Some(now.saturating_add_ns(ns)) }
        }
    };
    let who = slack_name(&state.inbound, action);
    let principal = stranger("slack", who.as_deref().unwrap_or(&action.user_name), &action.user_id);
    let targets: Vec<(Tenant, AlertId)> =
        action.alerts.iter().map(|id| (action.tenant.clone(), *id)).collect();
    if who.is_none() {
        audit(state, &principal, step, &targets, Outcome::Denied);
        return Some("You are not named in Heimdall's configuration, so nothing was done.".to_owned());
    }
    let failed = take(state, &principal, step, &targets, "pressed in Slack");
    failed.map(|failed| format!("Not all of it was done: {failed}"))
}

/// Who pressed, here; none when they may not.
fn slack_name(inbound: &Inbound, action: &SlackAction) -> Option<String> {
    if inbound.slack_users.is_empty() {
        return Some(if action.user_name.is_empty() { &action.user_id } else { &action.user_name }.clone());
    }
    inbound.slack_users.get(&action.user_id).cloned()
}

// ---- PagerDuty ------------------------------------------------------------------------------------------------

/// Mirrors what people do in PagerDuty: acknowledged, unacknowledged, resolved. PagerDuty signs the request (V3); no token is
/// needed.
#[utoipa::path(
    post, path = "/api/v1/pagerduty/webhook", tag = "inbound", security(()),
    request_body(content = Object),
    responses(
        (status = 200, description = "done, or nothing to do"),
        (status = 401, description = "not signed by PagerDuty", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "no secret is configured", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn pagerduty_webhook(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<StatusCode, Problem> {
    let secret = state.inbound.pagerduty_secret.as_ref().ok_or_else(|| not_configured("PagerDuty"))?;
    pagerduty::verify(secret, &headers, &body.0).map_err(|error| unsigned(&error))?;
    let Some(action) = pagerduty::parse_webhook(&body.0).map_err(|error| inbound(&error))? else {
        return Ok(StatusCode::OK);
    };
    // What an integration did is our own event coming back.
    let Some(by) = action.by else { return Ok(StatusCode::OK) };
    let step = match action.kind {
        PagerDutyActionKind::Acknowledge => Step::Acknowledge,
        PagerDutyActionKind::Unacknowledge => Step::Reopen,
        PagerDutyActionKind::Resolve => Step::Resolve,
    };
    let done = blocking(move || {
        let mut targets = notifications::alerts_of_group(&state, &action.group_key)?;
        // An alert that is over does not come back because somebody let go of the page.
        targets.retain(|(tenant, id)| is_live(&state, tenant, *id));
        let principal = stranger("pagerduty", &by, &action.incident_id);
        take(&state, &principal, step, &targets, "done in PagerDuty");
        Ok::<_, Problem>(())
    });
    done.await??;
    Ok(StatusCode::OK)
}

fn is_live(state: &AppState, tenant: &Tenant, id: AlertId) -> bool {
    let alert = state.alerts.get(Some(tenant), id);
    alert.is_ok_and(|alert| alert.status != heimdall_model::Status::Resolved)
}

// ---- what both do ---------------------------------------------------------------------------------------------

/// Somebody another system vouches for.
fn stranger(system: &str, name: &str, id: &str) -> Principal {
    Principal {
        name: format!("{system}:{}", crate::extract::short(name)),
        kind: PrincipalKind::Token(format!("{system}:{}", crate::extract::short(id))),
        tenants: TenantAccess::Any,
        scopes: Scopes::from_iter([Scope::AlertsWrite]),
    }
}

/// Takes a step with each of these alerts; returns the first thing that went wrong.
fn take(
    state: &AppState,
    principal: &Principal,
    step: Step,
    targets: &[(Tenant, AlertId)],
    note: &str,
) -> Option<String> {
    let mut by_tenant: BTreeMap<&Tenant, Vec<AlertId>> = BTreeMap::new();
    targets.iter().for_each(|(tenant, id)| by_tenant.entry(tenant).or_default().push(*id));
    let mut failed = None;
    for (tenant, ids) in by_tenant {
        let taken = state.alerts.step_many(Some(tenant), &ids, step, &principal.name, Some(note));
        for (id, taken) in ids.iter().zip(taken) {
            let outcome = if taken.is_ok() { Outcome::Done } else { Outcome::Failed };
            audit(state, principal, step, &[(tenant.clone(), *id)], outcome);
            failed = failed.or(taken.err().map(|error| error.to_string()));
        }
    }
    failed
}

fn audit(
    state: &AppState,
    principal: &Principal,
    step: Step,
    targets: &[(Tenant, AlertId)],
    outcome: Outcome,
) {
    let action = match step {
        Step::Acknowledge => "alert.acknowledge",
        Step::Suppress { .. } => "alert.suppress",
        Step::Resolve => "alert.resolve",
        Step::Reopen => "alert.reopen",
    };
    for (tenant, id) in targets {
        let target = id.to_string();
        let event = NewAuditEvent {
            principal,
            tenant: Some(tenant.clone()),
            action,
            target: &target,
            outcome,
            detail: None,
            source_ip: None,
        };
        if let Err(error) = state.audit.append(&event) {
            tracing::error!(%error, action, target, "could not write the audit trail");
        }
    }
}

fn not_configured(system: &str) -> Problem {
    let detail = format!("nothing is taken from {system}: no secret of it is configured");
    Problem::new(StatusCode::NOT_FOUND, "not_configured", detail)
}

fn unsigned(error: &SignatureError) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "signature_invalid", error.to_string())
}

fn inbound(error: &InboundError) -> Problem {
    match error {
        InboundError::TooLong { .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error.to_string())
        }
        InboundError::Malformed { field, reason } => {
            let fault =
                FieldError { index: None, field: field.clone().into(), reason: reason.clone().into() };
            Problem::bad_request("invalid_message", error.to_string()).with_errors(vec![fault])
        }
        other => Problem::bad_request("invalid_message", other.to_string()),
    }
}
