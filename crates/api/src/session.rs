//! Sessions that outlive a request: WebSocket, SSE, technician connections.
//!
//! Invariants:
//! - a session holds a seat; when none is free it is refused, so that sessions are bounded;
//! - a session ends when its token is revoked or expires, when it is closed by who may, and when the server shuts down;
//! - it is listed (see `sessions`) for as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use axum::http::StatusCode;
use heimdall_guard::Revocations;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::problem::Problem;
use crate::sessions::Listed;

/// When to come back after there was no seat.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Wait for a close frame to be taken.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its token is no longer valid.
    Revoked,
    /// Somebody who may closed it.
    Closed,
    /// The server shuts down.
    Shutdown,
}

impl End {
    /// For the client.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            End::Revoked => "token revoked",
            End::Closed => "closed by an administrator",
            End::Shutdown => "server is shutting down",
        }
    }

    fn close_code(self) -> u16 {
        match self {
            End::Revoked | End::Closed => close_code::POLICY,
            End::Shutdown => close_code::AWAY,
        }
    }
}

/// A seat among the sessions of one kind; counted in a gauge while held.
pub(crate) struct Seat {
    gauge: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Takes a free seat.
    pub(crate) fn take(seats: &Arc<Semaphore>, gauge: &'static str) -> Option<Seat> {
        let permit = Arc::clone(seats).try_acquire_owned().ok()?;
        metrics::gauge!(gauge).increment(1.0);
        Some(Seat { gauge, _permit: permit })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!(self.gauge).decrement(1.0);
    }
}

/// 503: no seat is free.
pub(crate) fn no_seat() -> Problem {
    Problem::busy(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_sessions",
        "too many live sessions are open",
        RETRY_AFTER,
    )
}

/// What a session lives by.
pub(crate) struct Life {
    pub(crate) revocations: Revocations,
    pub(crate) shutdown: CancellationToken,
    /// Listed until it is dropped.
    pub(crate) listed: Listed,
}

impl Life {
    /// Returns when the session has to end. Cancel safe.
    pub(crate) async fn ended(&mut self) -> End {
        tokio::select! {
            () = self.revocations.ended() => End::Revoked,
            () = self.listed.closed() => End::Closed,
            () = self.shutdown.cancelled() => End::Shutdown,
        }
    }
}

/// The session is over: the client is gone, or too slow.
#[derive(Debug)]
pub(crate) struct Gone;

/// Sends one message; a client that takes no byte for `timeout` is cut.
pub(crate) async fn send(socket: &mut WebSocket, message: Message, timeout: Duration) -> Result<(), Gone> {
    match tokio::time::timeout(timeout, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Gone),
        Err(_) => {
            metrics::counter!("live_sessions_cut_total", "reason" => "slow").increment(1);
            Err(Gone)
        }
    }
}

/// Says why, then closes. A client that does not listen any more is left to itself.
pub(crate) async fn close(mut socket: WebSocket, end: End) {
    let frame = CloseFrame { code: end.close_code(), reason: Utf8Bytes::from_static(end.reason()) };
    let _ = send(&mut socket, Message::Close(Some(frame)), CLOSE_TIMEOUT).await;
}

/// Waits until the client is gone; what it says is ignored. Cancel safe.
pub(crate) async fn hung_up(socket: &mut WebSocket) {
    loop {
        match socket.recv().await {
            None | Some(Err(_) | Ok(Message::Close(_))) => return,
            Some(Ok(_)) => {}
        }
    }
}
