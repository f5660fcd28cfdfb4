//! `grpc.health.v1`: serving from the start, not serving once the server is to end, so that callers go elsewhere.

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::Shared;

/// See the module.
pub(crate) struct Health {
    reporter: HealthReporter,
    services: &'static [&'static str],
}

impl Health {
    /// The state of these services, and the paths by which it is asked for.
    pub(crate) fn new(services: &'static [&'static str]) -> (Health, Router<Arc<Shared>>) {
        let (reporter, server) = health_reporter();
        let server =
            server.accept_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Zstd);
        let routes = Router::new().route_service("/grpc.health.v1.Health/{call}", server);
        (Health { reporter, services }, routes)
    }

    /// Says that the services serve, until `shutdown`.
    pub(crate) async fn tell(mut self, shutdown: CancellationToken) {
        self.say(ServingStatus::Serving).await;
        shutdown.cancelled().await;
        self.say(ServingStatus::NotServing).await;
        for service in self.services.iter().chain(&[""]) {
            self.reporter.clear_service_status(service).await; // ends the calls of those who watch: the server need not wait
        }
    }

    async fn say(&self, status: ServingStatus) {
        for service in self.services.iter().chain(&[""]) {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
