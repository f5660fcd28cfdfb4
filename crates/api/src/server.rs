//! Serving HTTP/1.1 on a listener, with TLS or without: connection limit, slow-client limits, graceful drain.
//!
//! Invariants:
//! - at most `connections_max` connections are open; the next waits in the listen queue;
//! - a connection that does not send a whole request head in time is closed, also an idle one;
//! - a connection whose client stops taking its answer is cut;
//! - after `shutdown` no connection is accepted, requests under way may finish within `drain`.
//!
//! Not here: routes and access (see [`crate::router`]).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use heimdall_guard::Ends;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::limits::HttpLimits;
use crate::stall::Impatient;

/// Pause after an accept that failed for want of resources, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Header lines of a request.
const HEADERS_MAX: usize = 128;

/// Why serving ended other than by a clean shutdown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Connections were still open after the drain time and were cut.
    #[error("{connections} connections were cut after {seconds} s of draining")]
    Cut {
        /// How many.
        connections: usize,
        /// The drain time.
        seconds: u64,
    },
}

/// Serves `router` until `shutdown`, then drains. Cancel safe only as a whole: dropping it cuts every connection.
///
/// # Errors
/// [`ServeError::Cut`] when connections remained after the drain time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    tls: Option<TlsAcceptor>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let seats = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let _cut_on_drop = cut.clone().drop_guard();
    while let Some((stream, ends, seat)) = accept(&listener, &seats, &shutdown).await {
        let (router, limits, tls) = (router.clone(), limits.clone(), tls.clone());
        let run = secured(stream, ends, tls, router, limits, shutdown.clone());
        let cut = cut.clone();
        connections.spawn(async move {
            let _seat = seat;
            let _ = cut.run_until_cancelled(run).await;
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_ok() {
        return Ok(());
    }
    Err(ServeError::Cut { connections: connections.len(), seconds: limits.drain.as_secs() })
}

/// The next connection, once there is a seat for it; `None` after `shutdown`.
async fn accept(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, Ends, OwnedSemaphorePermit)> {
    let seat = shutdown
        .run_until_cancelled(Arc::clone(seats).acquire_owned())
        .await?
        .expect("the semaphore is never closed");
    loop {
        match shutdown.run_until_cancelled(listener.accept()).await? {
            Ok((stream, peer)) => {
                let Ok(local) = stream.local_addr() else { continue };
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "could not disable Nagle's algorithm");
                }
                return Some((stream, Ends { peer, local }, seat));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection, retrying");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Shakes hands first, where the listener speaks TLS.
async fn secured(
    stream: TcpStream,
    ends: Ends,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    let Some(tls) = tls else { return connection(stream, ends, router, limits, shutdown).await };
    match tokio::time::timeout(limits.header_read_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, ends, router, limits, shutdown).await,
        failed => {
            metrics::counter!("http_connections_cut_total", "reason" => "handshake").increment(1);
            let error = failed.map(Result::err);
            tracing::debug!(peer = %ends.peer, ?error, "no TLS handshake");
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    ends: Ends,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ends);
        router.clone().oneshot(request)
    });
    let stream = Impatient::new(stream, limits.answer_stall_timeout);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_buf_size(limits.header_bytes_max.max(8 * 1024))
        .max_headers(HEADERS_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(peer = %ends.peer, %error, "connection ended early");
    }
}
