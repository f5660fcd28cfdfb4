//! Who is asking: name, scopes, and the tenants they may speak for.
//!
//! Invariant: `admin` implies every scope, and only a principal with [`TenantAccess::Any`] ever gets a tenant it names itself.

use std::fmt;

use heimdall_model::Tenant;
use serde::{Deserialize, Serialize};

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Search and list.
    #[serde(rename = "read")]
    Read,
    /// Send records.
    #[serde(rename = "ingest")]
    Ingest,
    /// Acknowledge, suppress, resolve and reopen alerts.
    #[serde(rename = "alerts:write")]
    AlertsWrite,
    /// Hold a live alert session.
    #[serde(rename = "watch")]
    Watch,
    /// Everything, tokens included.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 5] = [Scope::Read, Scope::Ingest, Scope::AlertsWrite, Scope::Watch, Scope::Admin];

    /// Its name: `read`, `ingest`, `alerts:write`, `watch` or `admin`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Ingest => "ingest",
            Scope::AlertsWrite => "alerts:write",
            Scope::Watch => "watch",
            Scope::Admin => "admin",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A set of scopes; in JSON a list of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u8);

/// A text names something that is no scope.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a scope: read, ingest, alerts:write, watch, admin")]
pub struct ScopeError(pub String);

impl Scopes {
    /// Reads names separated by commas; spaces and empty parts are ignored.
    ///
    /// # Errors
    /// The first part that is no scope.
    pub fn parse(text: &str) -> Result<Scopes, ScopeError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| Scope::parse(part).ok_or_else(|| ScopeError(part.chars().take(40).collect())))
            .collect()
    }

    /// Says whether the scope is granted, by itself or by `admin`.
    #[must_use]
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// Says whether nothing is granted.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes named, without those `admin` implies.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Scopes(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Scope::as_str).collect();
        f.pad(&names.join(","))
    }
}

/// Which tenants a principal may speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantAccess {
    /// This one only.
    One(Tenant),
    /// Whichever a request names; `default` when it names none.
    Any,
}

/// How the principal proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalKind {
    /// By being on this machine.
    Loopback,
    /// By the token with this id.
    Token(String),
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Name for the audit trail: `loopback`, or the name of the token.
    pub name: String,
    /// Tenants it may speak for.
    pub tenants: TenantAccess,
    /// What it may do.
    pub scopes: Scopes,
    /// How it proved who it is.
    pub kind: PrincipalKind,
}

impl Principal {
    /// Whoever is on this machine, on a listener only this machine reaches: everything is allowed.
    #[must_use]
    pub fn loopback() -> Principal {
        Principal {
            name: "loopback".to_owned(),
            tenants: TenantAccess::Any,
            scopes: Scopes::from_iter([Scope::Admin]),
            kind: PrincipalKind::Loopback,
        }
    }

    /// Checks that the scope is granted.
    ///
    /// # Errors
    /// [`Denied::Scope`].
    pub fn require(&self, scope: Scope) -> Result<(), Denied> {
        if self.scopes.allow(scope) { Ok(()) } else { Err(Denied::Scope { needed: scope }) }
    }

    /// Returns the tenant of a request that names this one, or none.
    ///
    /// # Errors
    /// [`Denied::Tenant`] when the principal is bound to another.
    pub fn tenant(&self, requested: Option<&Tenant>) -> Result<Tenant, Denied> {
        match (&self.tenants, requested) {
            (TenantAccess::Any, requested) => Ok(requested.cloned().unwrap_or_default()),
            (TenantAccess::One(own), None) => Ok(own.clone()),
            (TenantAccess::One(own), Some(requested)) if own == requested => Ok(own.clone()),
            (TenantAccess::One(_), Some(requested)) => Err(Denied::Tenant { requested: requested.clone() }),
        }
    }
}

/// Why access is denied. No variant carries a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// A token is needed and none was sent.
    #[error("a token is needed: send `Authorization: Bearer hmd_…`")]
    NoToken,
    /// The token is malformed, unknown or revoked.
    #[error("the token is not valid")]
    BadToken,
    /// The token was valid once.
    #[error("the token has expired")]
    Expired,
    /// The principal is known but lacks a scope.
    #[error("this needs the scope `{needed}`")]
    Scope {
        /// The scope.
        needed: Scope,
    },
    /// The principal is bound to another tenant.
    #[error("this principal may not speak for tenant `{requested}`")]
    Tenant {
        /// The tenant it asked for.
        requested: Tenant,
    },
    /// The `Host` header is not a name of this machine: possibly DNS rebinding.
    #[error("`{host}` is not a host of this listener; use localhost or its address, or send a token")]
    Host {
        /// What the header said, cut short.
        host: String,
    },
    /// The request comes from a web page elsewhere.
    #[error("requests from web pages of `{origin}` are refused")]
    Origin {
        /// What the header said, cut short.
        origin: String,
    },
}

impl Denied {
    /// Says whether a (better) token could help: HTTP 401 rather than 403.
    #[must_use]
    pub const fn is_unauthenticated(&self) -> bool {
        matches!(self, Denied::NoToken | Denied::BadToken | Denied::Expired)
    }

    /// Stable code for clients.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Denied::NoToken => "token_missing",
            Denied::BadToken => "token_invalid",
            Denied::Expired => "token_expired",
            Denied::Scope { .. } => "scope_missing",
            Denied::Tenant { .. } => "tenant_denied",
            Denied::Host { .. } => "host_denied",
            Denied::Origin { .. } => "origin_denied",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_write_and_admin_implies_all() {
        let scopes = Scopes::parse("watch, read,").unwrap();
        assert_eq!(scopes.to_string(), "read,watch");
        assert_eq!(serde_json::to_string(&scopes).unwrap(), r#"["read","watch"]"#);
        assert!(scopes.allow(Scope::Watch) && !scopes.allow(Scope::AlertsWrite));
        assert!(Scope::ALL.into_iter().all(|scope| Scopes::from_iter([Scope::Admin]).allow(scope)));
        assert_eq!(Scopes::parse("read,root").unwrap_err().0, "root");
    }

    #[test]
    fn a_bound_principal_cannot_choose_its_tenant() {
        let (own, other) = (Tenant::new("a").unwrap(), Tenant::new("b").unwrap());
        let bound = Principal { tenants: TenantAccess::One(own.clone()), ..Principal::loopback() };
        assert_eq!(bound.tenant(None), Ok(own.clone()));
        assert_eq!(bound.tenant(Some(&own)), Ok(own));
        assert_eq!(bound.tenant(Some(&other)), Err(Denied::Tenant { requested: other.clone() }));
        assert_eq!(Principal::loopback().tenant(Some(&other)), Ok(other));
        assert_eq!(Principal::loopback().tenant(None), Ok(Tenant::default()));
    }
}
