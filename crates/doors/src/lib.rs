//! The protocols that shippers speak. Each door is a module: its decoder (pure: bytes to [`heimdall_ingest::Decoded`]), and how it
//! answers, in the protocol's own way, what the one intake said.
//!
//! - [`config`]: what is switched on, where, and within which limits
//! - [`kafka`], [`registry`]: topics of Kafka clusters, and the schemas of their messages
//! - [`shared`]: what every door works with; [`net`]: sockets; [`http`]: requests
//! - `framing`, `streams`, `datagrams`: doors whose protocol is messages one after the other, and no answer
//! - [`gelf`], [`syslog`]: the doors
//!
//! Invariants:
//! - a sender is told that its records are safe only after [`heimdall_ingest::Intake::admit`] returned a receipt;
//! - a door holds no records: what it cannot hand over it does not take, so that the sender keeps them;
//! - whoever sends has a tenant: by token where the protocol has one, else by the door's configuration.
//!
//! Not here: admission, limits of records and receipts (`heimdall-ingest`); who listens for HTTP (`heimdall-api`).

mod cloud;
pub mod config;
mod datadog;
mod datagrams;
mod docker;
pub mod elasticsearch;
mod fluent;
mod framing;
pub mod gelf;
pub mod grpc;
mod hec;
pub mod http;
mod influx;
mod journald;
pub mod kafka;
mod key;
mod loki;
mod lumberjack;
mod members;
mod mqtt;
mod names;
pub mod net;
pub mod otlp;
mod patience;
pub mod prometheus;
mod raw_json;
pub mod registry;
pub mod rpc;
mod sample;
pub mod shared;
mod statsd;
mod streams;
pub mod syslog;
#[cfg(test)]
mod testing;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

pub use self::config::DoorsConfig;
use self::config::{GrpcConfig, OtlpConfig};
use self::registry::Registry;
pub use self::shared::{Limits, Shared};

/// Why the doors did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// An address cannot be bound.
    #[error("{door}: could not listen on {addr}")]
    Bind {
        /// The door.
        door: &'static str,
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// An address may not be bound.
    #[error("{door}: {source}")]
    Wide {
        /// The door.
        door: &'static str,
        /// Why.
        source: heimdall_guard::BindRefused,
    },
    /// Its configuration cannot be used.
    #[error("{door}: {detail}")]
    Config {
        /// The door.
        door: &'static str,
        /// What is wrong.
        detail: String,
    },
}

/// A door that is bound and about to run.
pub struct Opened {
    /// Its name in `run/listeners.json`, in logs and in receipts.
    pub name: &'static str,
    /// Where it listens; none for doors that fetch.
    pub addr: Option<SocketAddr>,
    /// Runs until the shutdown of [`Shared`], and then until what was taken is durable.
    pub run: BoxFuture<'static, ()>,
}

/// A listener of HTTP that serves every path, on the address a protocol's clients expect.
pub struct HttpDoor {
    /// As [`Opened::name`].
    pub name: &'static str,
    /// Bound.
    pub listener: TcpListener,
}

/// Every door that is configured, bound.
pub struct Doors {
    opened: Vec<Opened>,
    /// To be served by whoever serves HTTP.
    pub http: Vec<HttpDoor>,
    /// Schemas of messages.
    pub registry: Arc<Registry>,
    /// Built once: what the doors of HTTP remember is the same on every listener.
    routes: Router,
}

impl Doors {
    /// Binds what is configured. With `ephemeral`, listeners whose address is not set take a free port.
    ///
    /// # Errors
    /// [`DoorError`], naming the door. A door that is on by default only and whose usual port is taken stays closed, with a warning.
    pub fn open(config: &DoorsConfig, shared: Arc<Shared>, ephemeral: bool) -> Result<Doors, DoorError> {
        config.elasticsearch.check()?;
        let binder = net::Binder { auth_enabled: shared.guard.asks_everybody(), ephemeral };
        let folder = shared.data_dir.join("registry");
        let registry = Registry::open(&folder).map_err(|error| DoorError::Config {
            door: "registry",
            detail: format!("`{}`: {error}", folder.display()),
        })?;
        let registry = Arc::new(registry);
        let schemas = registry::records::RecordSchemas::new(Arc::clone(&registry));
        shared.intake.pipelines().schemas().add(Arc::new(schemas));
        let routes = http::routes(&shared, config)
            .merge(registry::http::routes(Arc::clone(&shared), Arc::clone(&registry)));
        let mut doors = Doors { opened: Vec::new(), http: Vec::new(), registry, routes };
        for (name, listen, port) in
            [("otlp_http", config.otlp.http_listen, 4318), ("hec", config.hec.listen, 8088)]
        {
            let listener = binder.tcp_or_default(name, listen, port)?;
            doors.http.extend(listener.map(|listener| HttpDoor { name, listener }));
        }
        if let Some(addr) = config.journald.listen {
            doors.http.push(HttpDoor { name: "journald", listener: binder.tcp("journald", addr)? });
        }
        doors.open_rpc(config, &binder, &shared)?;
        doors.opened.extend(docker::open(&config.docker, &shared)?);
        doors.opened.extend(fluent::open(&config.fluent, &shared, binder)?);
        doors.opened.extend(gelf::open(&config.gelf, binder, &shared)?);
        doors.opened.extend(lumberjack::open(&config.lumberjack, &shared, binder)?);
        doors.opened.extend(kafka::open(&config.kafka, &shared, &doors.registry)?);
        doors.opened.extend(mqtt::open(&config.mqtt, &shared)?);
        doors.opened.extend(prometheus::scrape::open(&config.scrape, &shared)?);
        doors.opened.extend(statsd::open(&config.statsd, &shared, binder)?);
        doors.opened.extend(syslog::open(&config.syslog, binder, &shared)?);
        Ok(doors)
    }

    /// The doors that speak gRPC.
    fn open_rpc(
        &mut self,
        config: &DoorsConfig,
        binder: &net::Binder,
        shared: &Arc<Shared>,
    ) -> Result<(), DoorError> {
        let OtlpConfig { grpc_listen, tls, limits, .. } = &config.otlp;
        let door = rpc::RpcDoor { name: "otlp_grpc", listen: *grpc_listen, port: 4317, tls, limits };
        self.opened.extend(door.open(binder, shared, otlp::grpc::service(shared))?);
        let GrpcConfig { listen, tls, limits } = &config.grpc;
        let door = rpc::RpcDoor { name: "grpc", listen: *listen, port: 50051, tls, limits };
        self.opened.extend(door.open(binder, shared, grpc::service(shared)?)?);
        Ok(())
    }

    /// Name and address of every listener.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let http = self.http.iter().filter_map(|door| Some((door.name, door.listener.local_addr().ok()?)));
        self.opened.iter().filter_map(|door| Some((door.name, door.addr?))).chain(http)
    }

    /// Name of every door that listens or fetches, and where it listens.
    pub fn listed(&self) -> impl Iterator<Item = (String, Option<String>)> {
        let fetching = self.opened.iter().filter(|door| door.addr.is_none()).map(|door| (door.name, None));
        let listening = self.addresses().map(|(name, addr)| (name, Some(addr.to_string())));
        listening.chain(fetching).map(|(name, addr)| (name.to_owned(), addr))
    }

    /// The paths of the doors that speak HTTP, for the router behind the gate.
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Runs every door until the shutdown of [`Shared`]; ends when all that was taken is durable.
    pub async fn run(self) {
        let tasks = TaskTracker::new();
        for door in self.opened {
            tasks.spawn(door.run);
        }
        tasks.close();
        tasks.wait().await;
    }
}
