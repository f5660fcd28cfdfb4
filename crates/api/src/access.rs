//! Who is asking, for which tenant, and whether they may: the one gate of every route.
//!
//! Invariants:
//! - a request from a web page elsewhere (`Host` or `Origin` does not fit) is refused before any route sees it;
//! - a handler learns the tenant only through [`Access::tenant`], which checks that the principal may speak for it;
//! - tokens are read from headers only, never from URLs, and never logged.
//!
//! Every handler that is not public takes [`Access`] and calls [`Access::require`] first; a test walks all routes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use heimdall_guard::{
    Admitted, Denied, Ends, Guard, Knock, NewAuditEvent, Outcome, Principal, PrincipalKind, Scope,
};
use heimdall_ingest::Caller;
use heimdall_ingest::intake::shipper;
use heimdall_model::Tenant;
use serde_json::json;
use uuid::Uuid;

use crate::AppState;
use crate::problem::Problem;
use crate::routes::page;
use crate::session::Life;
use crate::sessions::{Session, SessionKind, token_of};

/// The header that names a tenant, as Loki, Mimir and Tempo have it.
pub(crate) const TENANT_HEADER: &str = "x-scope-orgid";
/// Subprotocol a browser offers to carry its token, which no browser can send in a header of a WebSocket.
const TOKEN_SUBPROTOCOL: &str = "bearer.";
/// The subprotocol the server chooses when it is offered.
pub(crate) const SUBPROTOCOL: &str = "heimdall.v1";

/// Headers in which senders that have no `Authorization` carry their token.
const KEY_HEADERS: [&str; 3] = ["dd-api-key", "x-amz-firehose-access-key", "x-api-key"];

/// Headers that proxies add: whoever asked is behind one.
const FORWARDED_HEADERS: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// The gate: finds out who is asking. Routes decide whether that is enough.
pub(crate) async fn gate(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let ends = request.extensions().get::<Ends>().copied().unwrap_or(NOWHERE);
    let admitted = admit(&state.guard, ends, &request);
    if let Err(denied @ (Denied::Host { .. } | Denied::Origin { .. })) = &admitted {
        return problem(denied).into_response();
    }
    request.extensions_mut().insert(Admitted(admitted.map(Arc::new)));
    next.run(request).await
}

/// Ends of a request that did not come through a listener of ours: never loopback.
const NOWHERE: Ends = Ends {
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
};

fn admit(guard: &Guard, ends: Ends, request: &Request) -> Result<Principal, Denied> {
    let (headers, uri) = (request.headers(), request.uri());
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let offered = offered_token(headers).or_else(|| key_header(headers));
    let offered = offered.map(|token| format!("Bearer {token}"));
    guard.admit(&Knock {
        peer: ends.peer.ip(),
        listener: ends.local,
        authorization: text(AUTHORIZATION).or(offered.as_deref()),
        host: text(HOST).or_else(|| uri.authority().map(|authority| authority.as_str())),
        origin: text(ORIGIN),
        is_forwarded: FORWARDED_HEADERS.iter().any(|name| headers.contains_key(*name)),
        is_cross_site: is_cross_site(request.method(), uri, headers),
    })
}

fn key_header(headers: &HeaderMap) -> Option<&str> {
    KEY_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok())
}

/// Whether a browser says that a page of another site caused the request. Following a link to a page of ours is no matter.
fn is_cross_site(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let says = |name, value: &str| headers.get(name).is_some_and(|said| said == value);
    let opens_a_page = page::is_opened(method, uri, headers)
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document");
    (says("sec-fetch-site", "cross-site") || says("sec-fetch-site", "same-site")) && !opens_a_page
}

/// The token among the subprotocols a WebSocket client offers.
fn offered_token(headers: &HeaderMap) -> Option<&str> {
    let offers = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    offers.split(',').find_map(|offer| offer.trim().strip_prefix(TOKEN_SUBPROTOCOL))
}

/// The problem of a denial: 401 where a token could help, else 403.
pub(crate) fn problem(denied: &Denied) -> Problem {
    if denied.is_unauthenticated() {
        let challenge = match denied {
            Denied::NoToken => r#"Bearer realm="heimdall""#,
            _ => r#"Bearer realm="heimdall", error="invalid_token""#,
        };
        return Problem::new(StatusCode::UNAUTHORIZED, denied.code(), denied.to_string())
            .with_challenge(challenge);
    }
    let problem = Problem::new(StatusCode::FORBIDDEN, denied.code(), denied.to_string());
    match denied {
        Denied::Scope { needed } => problem
            .with_challenge(r#"Bearer realm="heimdall", error="insufficient_scope""#)
            .with_member("scope", json!(needed.as_str())),
        _ => problem,
    }
}

/// Checks that whoever asks may speak for every tenant: what follows concerns all of them.
///
/// # Errors
/// 403.
pub(crate) fn of_all_tenants(access: &Access, what: &'static str) -> Result<(), Problem> {
    match access.bound_tenant() {
        None => Ok(()),
        Some(_) => {
            let detail = format!("{what} for all tenants: by a token that may speak for all of them");
            Err(Problem::new(StatusCode::FORBIDDEN, "tenant_denied", detail))
        }
    }
}

/// Whoever is asking, in a handler.
pub(crate) struct Access {
    principal: Arc<Principal>,
    requested: Option<Tenant>,
    /// Where the request came from.
    pub(crate) source_ip: IpAddr,
    /// The program that asks, as it names itself.
    shipper: Option<Arc<str>>,
}

impl FromRequestParts<AppState> for Access {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Access, Problem> {
        let admitted = parts.extensions.get::<Admitted>().cloned();
        let Admitted(admitted) = admitted.unwrap_or(Admitted(Err(Denied::NoToken)));
        let principal = admitted.map_err(|denied| problem(&denied))?;
        let ends = parts.extensions.get::<Ends>().copied().unwrap_or(NOWHERE);
        let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Access {
            principal,
            requested: requested_tenant(&parts.headers)?,
            source_ip: ends.peer.ip(),
            shipper: agent.and_then(shipper),
        })
    }
}

fn requested_tenant(headers: &HeaderMap) -> Result<Option<Tenant>, Problem> {
    let Some(value) = headers.get(TENANT_HEADER) else { return Ok(None) };
    let name = value.to_str().unwrap_or_default();
    Tenant::new(name).map(Some).map_err(|error| Problem::parameter("X-Scope-OrgID", error.to_string()))
}

impl Access {
    /// Checks a scope, and the tenant along with it.
    ///
    /// # Errors
    /// 403 naming the scope or the tenant.
    pub(crate) fn require(&self, scope: Scope) -> Result<Tenant, Problem> {
        self.principal.require(scope).map_err(|denied| problem(&denied))?;
        self.tenant()
    }

    /// Checks that any of the scopes is granted, and the tenant along with it.
    ///
    /// # Errors
    /// 403 naming the first scope, or the tenant.
    pub(crate) fn require_any(&self, scopes: &[Scope]) -> Result<Tenant, Problem> {
        match scopes.iter().find(|scope| self.principal.scopes.allow(**scope)) {
            Some(_) => self.tenant(),
            None => self.require(scopes[0]),
        }
    }

    /// The tenant of a request that needs no scope: whoever is let in may know who they are.
    ///
    /// # Errors
    /// 403 naming the tenant.
    pub(crate) fn of_anybody(&self) -> Result<Tenant, Problem> {
        self.tenant()
    }

    fn tenant(&self) -> Result<Tenant, Problem> {
        self.principal.tenant(self.requested.as_ref()).map_err(|denied| problem(&denied))
    }

    /// The tenant the principal is bound to, unless it may choose any.
    pub(crate) fn bound_tenant(&self) -> Option<&Tenant> {
        match &self.principal.tenants {
            heimdall_guard::TenantAccess::One(tenant) => Some(tenant),
            heimdall_guard::TenantAccess::Any => None,
        }
    }

    /// Whether the tenant is settled: the principal is bound to it, or the request names it.
    pub(crate) fn is_for_one_tenant(&self) -> bool {
        self.requested.is_some() || self.bound_tenant().is_some()
    }

    /// Who is asking.
    pub(crate) fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// The same as the intake knows it.
    pub(crate) fn caller(&self, tenant: Tenant) -> Caller {
        let token = match &self.principal.kind {
            PrincipalKind::Token(id) => Some(Arc::from(id.as_str())),
            PrincipalKind::Loopback => None,
        };
        Caller { tenant, token, peer: Some(self.source_ip), shipper: self.shipper.clone() }
    }

    /// The life of a session of this principal: it ends with its token, and is listed until then.
    pub(crate) fn life(&self, state: &AppState, kind: SessionKind, tenant: &Tenant) -> Life {
        let listed = state.sessions.open(Session {
            id: Uuid::now_v7(),
            kind,
            principal: self.principal.name.clone(),
            token: token_of(&self.principal),
            tenant: tenant.clone(),
            since: state.clock.now(),
            remote: self.source_ip,
        });
        let revocations = state.tokens.subscribe_revocations(&self.principal);
        Life { revocations, shutdown: state.shutdown.clone(), listed }
    }

    /// Writes an action to the audit trail. Blocks on disk: call it from a blocking thread.
    pub(crate) fn audit(
        &self,
        state: &AppState,
        action: &str,
        target: &str,
        tenant: Option<Tenant>,
        outcome: Outcome,
        detail: Option<&str>,
    ) {
        let event = NewAuditEvent {
            principal: &self.principal,
            tenant,
            action,
            target,
            outcome,
            detail,
            source_ip: Some(self.source_ip),
        };
        if let Err(error) = state.audit.append(&event) {
            tracing::error!(%error, action, target, "could not write the audit trail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_offers_its_token_as_a_subprotocol() {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, "heimdall.v1, bearer.hmd_1_2".parse().unwrap());
        assert_eq!(offered_token(&headers), Some("hmd_1_2"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, "graphql-ws".parse().unwrap());
        assert_eq!(offered_token(&headers), None);
    }
}
