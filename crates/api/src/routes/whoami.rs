//! Who is asking, as the server sees it.

use axum::Json;
use axum::extract::State;
use heimdall_guard::PrincipalKind;
use heimdall_model::{Tenant, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Access;
use crate::problem::{Problem, ProblemDocument};
use crate::{AppState, VERSION};

/// Whoever is asking, and what they may.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhoAmI {
    /// Name for the audit trail: `loopback`, or the name of the token.
    principal: String,
    /// How that was proved: `loopback` (being on this machine) or `token`.
    kind: &'static str,
    /// What it may do: read, ingest, alerts:write, watch, admin. `admin` allows everything.
    scopes: Vec<&'static str>,
    /// Tenant this request speaks for.
    #[schema(value_type = String)]
    tenant: Tenant,
    /// Whether it may choose another with `X-Scope-OrgID`.
    all_tenants: bool,
    /// Whether the server asks everybody for a token.
    auth_enabled: bool,
    /// The release of the server.
    version: &'static str,
    /// The time of the server.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
}

/// Who is asking, and what they may. Any valid token will do.
#[utoipa::path(
    get, path = "/api/v1/whoami", tag = "access",
    responses(
        (status = 200, description = "whoever asks", body = WhoAmI),
        (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn whoami(State(state): State<AppState>, access: Access) -> Result<Json<WhoAmI>, Problem> {
    let tenant = access.of_anybody()?;
    let principal = access.principal();
    Ok(Json(WhoAmI {
        principal: principal.name.clone(),
        kind: match principal.kind {
            PrincipalKind::Loopback => "loopback",
            PrincipalKind::Token(_) => "token",
        },
        scopes: principal.scopes.iter().map(heimdall_guard::Scope::as_str).collect(),
        tenant,
        all_tenants: access.bound_tenant().is_none(),
        auth_enabled: state.guard.asks_everybody(),
        version: VERSION,
        time: state.clock.now(),
    }))
}
