//! Serving HTTP/2 on the connections of a door.
//!
//! Invariants:
//! - a connection that is silent is asked whether it is alive; one without calls for `idle_timeout` is closed, one that never
//!   made a call sooner;
//! - after `shutdown` no call is accepted; those under way may end within [`DRAIN`].

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use heimdall_detect::Period;
use heimdall_guard::Ends;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics::counter;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::RpcLimits;
use crate::net::{Peer, Stream, TcpDoor};

/// Time for calls under way once the server is to end.
const DRAIN: Duration = Duration::from_secs(5);
/// Wait for the first call of a connection: one that never says anything holds a seat no longer.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Wait for the answer to the question whether a connection is alive.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a call that may be on their way without having been asked for.
const CALL_WINDOW_BYTES: u32 = 512 * 1024;
/// The same for all calls of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Headers of a call.
const HEADERS_BYTES_MAX: u32 = 16 * 1024;

/// Serves until `shutdown`, then drains.
pub(crate) async fn serve(door: TcpDoor, routes: Router, limits: RpcLimits, shutdown: CancellationToken) {
    let name = door.name;
    let stop = shutdown.clone();
    let handle = move |stream, peer: Peer| {
        connection(name, stream, peer.ends, routes.clone(), limits.clone(), stop.clone())
    };
    door.serve(shutdown, handle).await;
}

async fn connection(
    name: &'static str,
    stream: Box<dyn Stream>,
    ends: Ends,
    routes: Router,
    limits: RpcLimits,
    shutdown: CancellationToken,
) {
    let calls = Arc::new(Calls::new());
    let service = {
        let (calls, routes) = (Arc::clone(&calls), TowerToHyperService::new(routes));
        hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let call = Call::begin(&calls);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ends);
            let answer = routes.call(request);
            async move { answer.await.map(|answer| answer.map(|body| Counted { body, _call: call })) }
        })
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.calls_max.max(1))
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .keep_alive_interval(duration(limits.keepalive))
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        reason = ending(&calls, duration(limits.idle_timeout), &shutdown) => {
            tracing::debug!(door = name, peer = %ends.peer, reason, "closing a connection");
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN, connection.as_mut()).await {
                Ok(served) => served,
                Err(_) => {
                    counter!("door_connections_refused_total", "door" => name, "reason" => "cut").increment(1);
                    Ok(())
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(door = name, peer = %ends.peer, %error, "connection ended early");
    }
}

fn duration(period: Period) -> Duration {
    Duration::from_nanos(u64::try_from(period.ns()).unwrap_or(0)).max(Duration::from_secs(1))
}

/// Waits until the connection is to be closed: nobody has called for long, or the server ends.
async fn ending(calls: &Calls, idle_timeout: Duration, shutdown: &CancellationToken) -> &'static str {
    loop {
        let patience = if calls.were_none() { idle_timeout.min(FIRST_CALL_TIMEOUT) } else { idle_timeout };
        let idle_since = calls.idle_since();
        if calls.are_none() && idle_since.elapsed() >= patience {
            return "idle";
        }
        let from = if calls.are_none() { idle_since } else { Instant::now() };
        let look_again = from + patience;
        if shutdown.run_until_cancelled(tokio::time::sleep_until(look_again)).await.is_none() {
            return "shutdown";
        }
    }
}

/// The calls of a connection.
struct Calls {
    opened: Instant,
    open: AtomicUsize,
    /// When the last call began or ended, ms after `opened`; 0 before the first.
    last_ms: AtomicU64,
}

impl Calls {
    fn new() -> Calls {
        Calls { opened: Instant::now(), open: AtomicUsize::new(0), last_ms: AtomicU64::new(0) }
    }

    fn touch(&self) {
        let ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms.max(1), Ordering::Relaxed);
    }

    fn idle_since(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }

    fn were_none(&self) -> bool {
        self.last_ms.load(Ordering::Relaxed) == 0
    }

    fn are_none(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }
}

/// One call, from its headers to the end of its answer.
struct Call(Arc<Calls>);

impl Call {
    fn begin(calls: &Arc<Calls>) -> Call {
        calls.open.fetch_add(1, Ordering::Relaxed);
        calls.touch();
        Call(Arc::clone(calls))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

/// The body of an answer, and its call, which is open as long.
struct Counted {
    body: Body,
    _call: Call,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_closed_when_nobody_calls_for_long() {
        let stop = CancellationToken::new();
        let calls = Arc::new(Calls::new());
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let start = Instant::now();
        assert_eq!(ending(&calls, minutes(10), &stop).await, "idle");
        assert_eq!(start.elapsed(), FIRST_CALL_TIMEOUT);

        let call = Call::begin(&calls);
        let open = tokio::time::timeout(minutes(60), ending(&calls, minutes(10), &stop)).await;
        assert!(open.is_err(), "a call is open");
        drop(call);
        let start = Instant::now();
        assert_eq!(ending(&calls, minutes(10), &stop).await, "idle");
        assert!(start.elapsed() >= minutes(10) && start.elapsed() < minutes(11));
        stop.cancel();
        let _call = Call::begin(&calls);
        assert_eq!(ending(&calls, minutes(10), &stop).await, "shutdown");
    }
}
