//! Tokens, the audit trail, receipts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heimdall_guard::{AuditEntry, NewToken, Outcome, Scope, Scopes, TenantAccess};
use heimdall_ingest::ReceiptFilter;
use heimdall_metastore::AuditFilter;
use heimdall_model::time::parse_duration;
use heimdall_model::{Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::Access;
use crate::extract::{Document, Params, Segment, limit, short, time, time_opt};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::problem::{FieldError, Problem, ProblemDocument};
use crate::routes::blocking;
use crate::wire::{IssuedToken, Page, ReceiptView, TokenView};
use crate::{AppState, error};

/// What a new token shall be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// For people: who or what will use it.
    #[serde(default)]
    name: String,
    /// Any of read, ingest, alerts:write, watch, admin.
    #[serde(default)]
    scopes: Vec<String>,
    /// The tenant it is bound to; absent: the tenant of this request, which `X-Scope-OrgID` names.
    #[serde(default)]
    tenant: Option<String>,
    /// Bound to no tenant: it may speak for each. Excludes `tenant` and `X-Scope-OrgID`.
    #[serde(default)]
    all_tenants: bool,
    /// No longer valid from this time on; absent: never expires.
    #[serde(default)]
    expires_at: Option<String>,
    /// The same as a duration from now, such as `8h`.
    #[serde(default)]
    expires_in: Option<String>,
}

/// Issues a token. The answer is the only place where its secret appears.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "access", request_body = TokenRequest,
    responses(
        (status = 201, description = "issued", body = IssuedToken),
        (status = 422, description = "not acceptable", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn issue_token(
    State(state): State<AppState>,
    access: Access,
    Document(request): Document<TokenRequest>,
) -> Result<Response, Problem> {
    let own = access.require(Scope::Admin)?;
    let new = new_token(&access, own, &request, state.clock.now())?;
    let issued = blocking(move || {
        let (info, secret) = state.tokens.issue(&new, &access.principal().name)?;
        let tenant = info.tenant.clone();
        let detail = format!("name `{}`, scopes {}", info.name, info.scopes);
        access.audit(&state, "token.issue", &info.id, tenant, Outcome::Done, Some(&detail));
        Ok(IssuedToken::new(info, &secret))
    });
    let issued = issued.await?.map_err(|error| error::token(&error))?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, Json(issued)).into_response())
}

/// Reads a request for a token, made for tenant `own`.
fn new_token(
    access: &Access,
    own: Tenant,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<NewToken, Problem> {
    let scopes =
        Scopes::parse(&request.scopes.join(",")).map_err(|error| fault("scopes", error.to_string()))?;
    let tenants = tenants(access, own, request)?;
    Ok(NewToken { name: request.name.clone(), tenants, scopes, expires_at: expiry(request, now)? })
}

/// The tenants of a new token: one, unless all were asked for. A principal bound to a tenant, or a request that names one
/// in its header, issues tokens of that tenant only.
fn tenants(access: &Access, own: Tenant, request: &TokenRequest) -> Result<TenantAccess, Problem> {
    let asked = request.tenant.as_deref().map(Tenant::new).transpose();
    let asked = asked.map_err(|error| fault("tenant", error.to_string()))?;
    let is_fixed = access.is_for_one_tenant();
    match asked {
        _ if request.all_tenants && is_fixed => {
            Err(fault("all_tenants", format!("this request is for the tenant `{own}` only")))
        }
        Some(_) if request.all_tenants => Err(fault("all_tenants", "excludes `tenant`")),
        None if request.all_tenants => Ok(TenantAccess::Any),
        Some(asked) if is_fixed && asked != own => Err(fault("tenant", format!("may only be `{own}`"))),
        asked => Ok(TenantAccess::One(asked.unwrap_or(own))),
    }
}

fn expiry(request: &TokenRequest, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    match (&request.expires_at, &request.expires_in) {
        (None, None) => Ok(None),
        (Some(at), None) => time("expires_at", at, now).map(Some),
        (None, Some(after)) => match parse_duration(after) {
            Some(ns) => Ok(Some(now.saturating_add_ns(ns))),
            None => Err(fault("expires_in", "is not a duration such as `8h` or `30d`")),
        },
        (Some(_), Some(_)) => Err(fault("expires_in", "excludes `expires_at`")),
    }
}

fn fault(field: &'static str, reason: impl Into<String>) -> Problem {
    let reason = reason.into();
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_token_request", format!("`{field}`: {reason}"))
        .with_errors(vec![FieldError::of(field, reason)])
}

/// Every token ever issued, revoked ones too, in order of issue; never their secrets.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "access",
    responses((status = 200, description = "the tokens", body = Page<TokenView>))
)]
pub(crate) async fn list_tokens(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Page<TokenView>>, Problem> {
    access.require(Scope::Admin)?;
    let own = access.bound_tenant().cloned();
    let tokens = Arc::clone(&state.tokens);
    let listed = blocking(move || tokens.list()).await?.map_err(|error| error::token(&error))?;
    let visible = |tenant: &Option<Tenant>| own.is_none() || *tenant == own;
    let views = listed.into_iter().filter(|info| visible(&info.tenant)).map(TokenView::from);
    Ok(Json(Page::whole(views.collect())))
}

/// Revokes a token: it is refused from now on, and its live sessions are cut within a second.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "access",
    params(("id" = String, Path, description = "public half of the token")),
    responses(
        (status = 204, description = "revoked"),
        (status = 404, description = "no such token", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn revoke_token(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<String>,
) -> Result<StatusCode, Problem> {
    access.require(Scope::Admin)?;
    let revoked = blocking(move || {
        let listed = state.tokens.list().map_err(|error| error::token(&error))?;
        let tenant = listed.into_iter().find(|info| info.id == id).map(|info| info.tenant);
        let own = access.bound_tenant();
        let tenant = tenant
            .filter(|tenant| own.is_none() || tenant.as_ref() == own)
            .ok_or_else(|| Problem::not_found("token", short(&id)))?;
        state.tokens.revoke(&id).map_err(|error| error::token(&error))?;
        access.audit(&state, "token.revoke", &id, tenant, Outcome::Done, None);
        Ok(())
    });
    revoked.await?.map(|()| StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParams {
    /// Exactly this principal.
    principal: Option<String>,
    /// Exactly this action.
    action: Option<String>,
    /// At this time or later.
    since: Option<String>,
    /// Lines at most; default 100.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A line of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditView {
    /// `{seq, at, principal, tenant, action, target, outcome, detail, source_ip, prev_hash, hash}`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    entry: AuditEntry,
}

/// The audit trail, newest first, hash-chained.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "access", params(AuditParams),
    responses((status = 200, description = "a page of lines", body = Page<AuditView>))
)]
pub(crate) async fn audit(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<AuditParams>,
) -> Result<Json<Page<AuditView>>, Problem> {
    access.require(Scope::Admin)?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let before = params.cursor.as_deref().map(number_cursor).transpose()?;
    let filter = AuditFilter {
        tenant: access.bound_tenant().cloned(),
        principal: params.principal,
        action: params.action,
        since: time_opt("since", params.since.as_deref(), state.clock.now())?,
    };
    let trail = Arc::clone(&state.audit);
    let page = blocking(move || trail.list(&filter, before, limit)).await?;
    let page = page.map_err(|error| error::audit(&error))?;
    let next = page.next.map(|seq| seq.to_string());
    Ok(Json(Page { items: page.items.into_iter().map(|entry| AuditView { entry }).collect(), next }))
}

fn number_cursor(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::parameter("cursor", "is none of this list"))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReceiptParams {
    /// Receipts at most; default 100.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// The door they came through, such as `http`.
    door: Option<String>,
    /// The sender's address.
    peer: Option<String>,
    /// A part of the shipper's name.
    shipper: Option<String>,
    /// At least one such record: `accepted`, `deduplicated`, `rejected`, `coerced`, `redacted`, `quarantined`, `dropped`, or `failed`
    /// (a step of a pipeline).
    outcome: Option<String>,
    /// From this arrival on (RFC 3339, epoch, or now-15m).
    from: Option<String>,
    /// Before this arrival.
    to: Option<String>,
}

impl ReceiptParams {
    fn filter(&self, now: Timestamp) -> Result<ReceiptFilter, Problem> {
        let peer = self.peer.as_deref().map(str::parse).transpose();
        let outcome = self.outcome.as_deref().map(word).transpose();
        Ok(ReceiptFilter {
            door: self.door.clone(),
            peer: peer.map_err(|_| Problem::parameter("peer", "is no address"))?,
            shipper: self.shipper.clone(),
            outcome: outcome.map_err(|()| Problem::parameter("outcome", "is none of the outcomes"))?,
            from: time_opt("from", self.from.as_deref(), now)?,
            to: time_opt("to", self.to.as_deref(), now)?,
        })
    }
}

/// A word of a closed set, as its type reads it.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ()> {
    serde_json::from_value(Value::from(text)).map_err(|_| ())
}

/// The latest ingest receipts, newest first.
#[utoipa::path(
    get, path = "/api/v1/receipts", tag = "ingest", params(ReceiptParams),
    responses((status = 200, description = "a page of receipts", body = Page<ReceiptView>))
)]
pub(crate) async fn receipts(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<ReceiptParams>,
) -> Result<Json<Value>, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Ingest])?;
    let limit = limit(params.limit, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)?;
    let before = params.cursor.as_deref().map(number_cursor).transpose()?;
    let filter = params.filter(state.clock.now())?;
    let page = state.intake.receipts_where(&tenant, &filter, limit, before);
    let items: Vec<_> = page.items.iter().map(|receipt| ReceiptView::from(receipt.as_ref())).collect();
    let page = Page { items, next: page.next.map(|number| number.to_string()) };
    Ok(Json(serde_json::to_value(page).expect("plain data serialises")))
}

/// What each shipper sent through each door since the server started, the latest first.
#[utoipa::path(
    get, path = "/api/v1/receipts/summary", tag = "ingest",
    responses((status = 200, description = "counts, last seen and last trouble by door and shipper", body = Object))
)]
pub(crate) async fn receipts_summary(
    State(state): State<AppState>,
    access: Access,
) -> Result<Json<Value>, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Ingest])?;
    let items = state.intake.shippers(&tenant);
    Ok(Json(serde_json::json!({ "items": items })))
}

/// One ingest receipt, while it is kept (the latest 10,000).
#[utoipa::path(
    get, path = "/api/v1/receipts/{id}", tag = "ingest",
    params(("id" = Uuid, Path, description = "`receipt` of an ingest answer")),
    responses(
        (status = 200, description = "the receipt", body = ReceiptView),
        (status = 404, description = "not kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn receipt(
    State(state): State<AppState>,
    access: Access,
    Segment(id): Segment<Uuid>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Ingest])?;
    let receipt = state.intake.receipt(&tenant, id).ok_or_else(|| Problem::not_found("receipt", id))?;
    Ok(Json(ReceiptView::from(receipt.as_ref())).into_response())
}
