//! The live sessions there are: who holds them, since when, and the way to close one.
//!
//! Invariants:
//! - a session is listed exactly while its [`Listed`] lives;
//! - there are no more than there are seats for sessions, so the list needs no bound of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use heimdall_guard::{Principal, PrincipalKind};
use heimdall_model::{Tenant, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionKind {
    /// Alerts over WebSocket.
    WsAlerts,
    /// Records as they come, over WebSocket or server-sent events.
    Tail,
    /// A technician's TCP connection.
    Technician,
}

/// A live session.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Session {
    /// Its id.
    pub(crate) id: Uuid,
    /// What it is for.
    pub(crate) kind: SessionKind,
    /// Who holds it.
    pub(crate) principal: String,
    /// The public half of their token; null on this machine without one.
    pub(crate) token: Option<String>,
    /// Whose alerts or records it shows.
    #[schema(value_type = String)]
    pub(crate) tenant: Tenant,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// From which address.
    #[schema(value_type = String)]
    pub(crate) remote: IpAddr,
}

/// The public half of a principal's token.
pub(crate) fn token_of(principal: &Principal) -> Option<String> {
    match &principal.kind {
        PrincipalKind::Token(id) => Some(id.clone()),
        PrincipalKind::Loopback => None,
    }
}

type Open = BTreeMap<Uuid, (Session, CancellationToken)>;

/// The live sessions; clones are the same list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<Open>>);

impl Sessions {
    /// Lists a session until what is returned is dropped.
    pub(crate) fn open(&self, session: Session) -> Listed {
        let (id, closed) = (session.id, CancellationToken::new());
        self.0.lock().insert(id, (session, closed.clone()));
        Listed { sessions: self.clone(), id, closed }
    }

    /// Those of a tenant, or all; the longest first.
    pub(crate) fn list(&self, tenant: Option<&Tenant>) -> Vec<Session> {
        let open = self.0.lock();
        let of = open.values().map(|(session, _)| session);
        let mut listed: Vec<Session> =
            of.filter(|session| tenant.is_none_or(|tenant| session.tenant == *tenant)).cloned().collect();
        listed.sort_by_key(|session| (session.since, session.id));
        listed
    }

    /// Ends one; returns it, or `None` when there is none that is the tenant's.
    pub(crate) fn close(&self, id: Uuid, tenant: Option<&Tenant>) -> Option<Session> {
        let open = self.0.lock();
        let (session, closed) = open.get(&id)?;
        if tenant.is_some_and(|tenant| session.tenant != *tenant) {
            return None;
        }
        closed.cancel();
        Some(session.clone())
    }
}

/// The place of a session in the list.
#[derive(Debug)]
pub(crate) struct Listed {
    sessions: Sessions,
    id: Uuid,
    closed: CancellationToken,
}

impl Listed {
    /// Returns when somebody closes the session. Cancel safe.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.sessions.0.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(tenant: &str) -> Session {
        Session {
            id: Uuid::now_v7(),
            kind: SessionKind::Tail,
            principal: "x".to_owned(),
            token: None,
            tenant: Tenant::new(tenant).unwrap(),
            since: Timestamp(1),
            remote: IpAddr::from([127, 0, 0, 1]),
        }
    }

    #[tokio::test]
    async fn a_session_is_listed_while_it_lives_and_ends_when_it_is_closed() {
        let sessions = Sessions::default();
        let (mine, other) = (sessions.open(session("a")), sessions.open(session("b")));
        let tenant = Tenant::new("a").unwrap();
        assert_eq!((sessions.list(None).len(), sessions.list(Some(&tenant)).len()), (2, 1));
        assert!(sessions.close(other.id, Some(&tenant)).is_none(), "another tenant's");
        assert!(sessions.close(mine.id, Some(&tenant)).is_some());
        mine.closed().await;
        drop(mine);
        assert!(sessions.list(Some(&tenant)).is_empty());
        assert_eq!(sessions.list(None).len(), 1);
    }
}
