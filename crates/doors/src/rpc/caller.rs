//! Who calls, by the headers of the call: the same rules as the gate of the HTTP listeners.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use heimdall_guard::{Ends, Knock, PrincipalKind, Scope};
use heimdall_ingest::Caller;
use heimdall_ingest::intake::shipper;
use heimdall_model::Tenant;

use crate::Shared;
use crate::http::Failure;

/// Headers that proxies add: whoever calls is behind one.
const FORWARDED_HEADERS: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Ends of a call that did not come through a listener of ours: never loopback.
const NOWHERE: Ends = Ends {
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
};

/// What a call says of who makes it; asked again for each message of a long one, so that a revoked token ends it.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    ends: Ends,
    authorization: Option<String>,
    host: Option<String>,
    origin: Option<String>,
    is_forwarded: bool,
    is_cross_site: bool,
    tenant: Option<String>,
    shipper: Option<Arc<str>>,
}

impl Credentials {
    pub(crate) fn of(parts: &Parts) -> Credentials {
        let headers = &parts.headers;
        let key = text(headers, "x-api-key").map(|key| format!("Bearer {key}"));
        let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
        let is_cross_site = text(headers, "sec-fetch-site").is_some_and(|site| site.ends_with("-site"));
        Credentials {
            ends: parts.extensions.get::<Ends>().copied().unwrap_or(NOWHERE),
            authorization: text(headers, "authorization").or(key),
            host: text(headers, "host").or(authority),
            origin: text(headers, "origin"),
            is_forwarded: FORWARDED_HEADERS.iter().any(|name| headers.contains_key(*name)),
            is_cross_site,
            tenant: text(headers, "x-scope-orgid"),
            shipper: text(headers, "user-agent").and_then(|name| shipper(&name)),
        }
    }

    /// Who calls, when they may.
    pub(crate) fn caller(&self, shared: &Shared) -> Result<Caller, Failure> {
        let principal = shared
            .guard
            .admit(&Knock {
                peer: self.ends.peer.ip(),
                listener: self.ends.local,
                authorization: self.authorization.as_deref(),
                host: self.host.as_deref(),
                origin: self.origin.as_deref(),
                is_forwarded: self.is_forwarded,
                is_cross_site: self.is_cross_site,
            })
            .map_err(Failure::Denied)?;
        principal.require(Scope::Ingest).map_err(Failure::Denied)?;
        let requested = self.tenant.as_deref().map(Tenant::new).transpose();
        let requested = requested.map_err(|error| Failure::Bad(format!("x-scope-orgid: {error}")))?;
        let tenant = principal.tenant(requested.as_ref()).map_err(Failure::Denied)?;
        let token = match &principal.kind {
            PrincipalKind::Token(id) => Some(Arc::from(id.as_str())),
            PrincipalKind::Loopback => None,
        };
        Ok(Caller { tenant, token, peer: Some(self.ends.peer.ip()), shipper: self.shipper.clone() })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?").to_owned())
}
