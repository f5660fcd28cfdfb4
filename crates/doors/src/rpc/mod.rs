//! gRPC as the doors speak it: HTTP/2, messages in and out, who calls, and what went wrong.
//!
//! - [`serve`]: connections; [`health`]: whether it serves; [`caller`]: who is on one; [`messages`]: what comes; [`answer`]: what goes; [`status`]: refusals
//!
//! Why not `tonic`'s server: it reads a message into memory that nobody counts, and unpacks it on the async threads. Here a message
//! takes room in the intake before it is read, as every other body does. Client, health and reflection are tonic's.
//!
//! Invariants:
//! - a caller is known before a byte of the body is read;
//! - a message is held only with room in the intake, and is never larger than the limits of bodies.
//!
//! Not here: services.

pub(crate) mod answer;
pub(crate) mod caller;
pub(crate) mod health;
pub(crate) mod messages;
pub(crate) mod serve;
pub(crate) mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use heimdall_detect::Period;
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use crate::net::{Binder, TcpDoor, TlsConfig};
use crate::{DoorError, Opened, Shared};

/// What a gRPC listener may hold. Sizes of messages are those of request bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RpcLimits {
    /// Connections open at once; more wait to be accepted. Default 1024.
    pub connections_max: usize,
    /// Calls open at once on one connection; more wait at the client. Default 128.
    pub calls_max: u32,
    /// A connection without calls for this long is closed; its client opens another when it needs one. Default `10m`.
    pub idle_timeout: Period,
    /// How often a quiet connection is asked whether it is alive; without an answer in 20 s it is closed. Default `60s`.
    pub keepalive: Period,
}

impl Default for RpcLimits {
    fn default() -> Self {
        RpcLimits {
            connections_max: 1024,
            calls_max: 128,
            idle_timeout: Period::minutes(10),
            keepalive: Period::seconds(60),
        }
    }
}

/// What a listener serves.
pub(crate) struct Service {
    pub(crate) routes: Router,
    pub(crate) health: health::Health,
}

/// A listener of gRPC.
pub(crate) struct RpcDoor<'c> {
    pub(crate) name: &'static str,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) port: u16,
    pub(crate) tls: &'c TlsConfig,
    pub(crate) limits: &'c RpcLimits,
}

impl RpcDoor<'_> {
    /// Binds it; `None` when its usual port is taken.
    pub(crate) fn open(
        &self,
        binder: &Binder,
        shared: &Arc<Shared>,
        service: Service,
    ) -> Result<Option<Opened>, DoorError> {
        let tls = self.tls.acceptor(self.name)?.map(|tls| speaking_h2(&tls));
        let Some(listener) = binder.tcp_or_default(self.name, self.listen, self.port)? else {
            return Ok(None);
        };
        let addr = listener.local_addr().ok();
        let door = TcpDoor {
            name: self.name,
            listener,
            tls,
            connections_max: self.limits.connections_max.max(1),
            allow: Vec::new(),
        };
        let Service { routes, health } = service;
        let (limits, shutdown) = (self.limits.clone(), shared.shutdown.clone());
        let run = async move {
            tokio::join!(serve::serve(door, routes, limits, shutdown.clone()), health.tell(shutdown));
        };
        Ok(Some(Opened { name: self.name, addr, run: Box::pin(run) }))
    }
}

/// gRPC clients insist that the server agrees to HTTP/2 while TLS is set up.
fn speaking_h2(tls: &TlsAcceptor) -> TlsAcceptor {
    let mut config = rustls::ServerConfig::clone(tls.config());
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
