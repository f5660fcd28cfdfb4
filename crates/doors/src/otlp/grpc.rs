//! OTLP over gRPC: the three `Export` calls, and health for those who balance load.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::routing::post;
use tonic::{Code, Status};

use super::export::{self, Answer};
use super::{Encoding, Signal};
use crate::Shared;
use crate::http::Failure;
use crate::rpc::caller::Credentials;
use crate::rpc::health::Health;
use crate::rpc::messages::{Messages, NoRoom};
use crate::rpc::{Service, answer};

const DOOR: &str = "otlp_grpc";
const SERVICES: [&str; 3] = [
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.trace.v1.TraceService",
];
const CALLS: [(&str, Signal); 3] = [
    ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", Signal::Logs),
    ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Signal::Metrics),
    ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", Signal::Traces),
];

/// The service.
pub(crate) fn service(shared: &Arc<Shared>) -> Service {
    let (health, health_routes) = Health::new(&SERVICES);
    let mut routes: Router<Arc<Shared>> = Router::new();
    for (path, signal) in CALLS {
        let handler = move |State(shared): State<Arc<Shared>>, request: Request| async move {
            answer::one(take(signal, &shared, request).await)
        };
        routes = routes.route(path, post(handler));
    }
    let routes = routes.merge(health_routes).fallback(unknown).with_state(Arc::clone(shared));
    Service { routes, health }
}

async fn take(signal: Signal, shared: &Shared, request: Request) -> Result<Answer, Failure> {
    let (parts, body) = request.into_parts();
    let caller = Credentials::of(&parts).caller(shared)?;
    let arrived = Messages::new(&parts.headers, body, NoRoom::Refuse).only(shared, &caller).await?;
    export::take(shared, caller, DOOR, signal, Encoding::Protobuf, arrived).await
}

async fn unknown(request: Request) -> Response<Body> {
    let path: String = request.uri().path().chars().take(120).collect();
    let message = format!("`{path}` is not taken: Export of logs, metrics and traces is");
    answer::refused_with(Status::new(Code::Unimplemented, message))
}
