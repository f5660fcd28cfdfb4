//! The technician listener: one JSON object a line over TCP, alerts as they happen.
//!
//! Invariants:
//! - nothing is told before the technician has shown a valid token (or is on this machine, where no token is needed);
//! - at most `watch_sessions_max` sessions; one more is told goodbye at once;
//! - a session ends within a second of its token's revocation; a reader that takes no byte for `live_send_timeout` is cut.
//!
//! Format: docs/formats/watch.md.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use heimdall_alert::Delivery;
use heimdall_guard::{Denied, Knock, NewAuditEvent, Outcome, Principal, Scope};
use heimdall_model::Tenant;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::AppState;
use crate::routes::alerts_live::{alert_text, gap_text, snapshot_text, watch};
use crate::routes::blocking;
use crate::session::{End, Gone, Life, Seat};
use crate::sessions::{Session, SessionKind, token_of};

/// Longest first line of a technician.
const HELLO_BYTES_MAX: u64 = 4 * 1024;
/// Wait for a goodbye to be taken.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause after an accept that failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a technician says first.
#[derive(Deserialize)]
struct Hello {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    tenant: Option<Tenant>,
}

/// Why a technician was not let in.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the first line must be a JSON object with a `token`, at most 4096 bytes")]
    Hello,
    #[error("no token arrived in time")]
    Timeout,
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl Refused {
    fn code(&self) -> &'static str {
        match self {
            Refused::Hello => "hello_invalid",
            Refused::Timeout => "hello_timeout",
            Refused::Denied(denied) => denied.code(),
        }
    }
}

/// Serves technicians until `shutdown`; every session is told goodbye then.
pub async fn serve(listener: TcpListener, state: AppState, shutdown: CancellationToken) {
    let seats = Arc::new(Semaphore::new(state.limits.watch_sessions_max));
    let sessions = TaskTracker::new();
    loop {
        let accepted = match shutdown.run_until_cancelled(listener.accept()).await {
            None => break,
            Some(accepted) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let seat = Seat::take(&seats, "watch_sessions");
                sessions.spawn(session(stream, peer, seat, state.clone(), shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a technician, retrying");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    sessions.close();
    if tokio::time::timeout(state.limits.drain, sessions.wait()).await.is_err() {
        tracing::warn!(sessions = sessions.len(), "technician sessions were cut at shutdown");
    }
}

async fn session(
    stream: TcpStream,
    peer: SocketAddr,
    seat: Option<Seat>,
    state: AppState,
    shutdown: CancellationToken,
) {
    let Ok(local) = stream.local_addr() else { return };
    let (read, write) = stream.into_split();
    let mut line = Line { write, timeout: state.limits.live_send_timeout, is_mid_line: false };
    let Some(_seat) = seat else {
        let _ = line.goodbye("too many sessions").await;
        return;
    };
    let mut read = BufReader::new(read);
    let admitted = tokio::select! {
        admitted = admit(&state, &mut read, peer, local) => admitted,
        () = shutdown.cancelled() => return,
    };
    match admitted {
        Ok((principal, tenant)) => {
            note_session(&state, &principal, &tenant, peer).await;
            let revocations = state.tokens.subscribe_revocations(&principal);
            let listed = state.sessions.open(Session {
                id: Uuid::now_v7(),
                kind: SessionKind::Technician,
                principal: principal.name.clone(),
                token: token_of(&principal),
                tenant: tenant.clone(),
                since: state.clock.now(),
                remote: peer.ip(),
            });
            let mut life = Life { revocations, shutdown, listed };
            let end = tokio::select! {
                biased;
                end = life.ended() => Ok(end),
                told = talk(&state, &principal, &tenant, read, &mut line) => told,
            };
            if let Ok(end) = end {
                let _ = line.goodbye(end.reason()).await;
            }
        }
        Err(refused) => {
            metrics::counter!("watch_refused_total", "reason" => refused.code()).increment(1);
            tracing::info!(%peer, reason = refused.code(), "technician refused");
            let said = json!({ "type": "error", "code": refused.code(), "detail": refused.to_string() });
            let _ = line.say(&said.to_string()).await;
        }
    }
}

/// Reads the first line and finds out who it is.
async fn admit(
    state: &AppState,
    read: &mut BufReader<OwnedReadHalf>,
    peer: SocketAddr,
    local: SocketAddr,
) -> Result<(Principal, Tenant), Refused> {
    let line = tokio::time::timeout(state.limits.watch_hello_timeout, first_line(read))
        .await
        .map_err(|_| Refused::Timeout)?
        .ok_or(Refused::Hello)?;
    let hello: Hello = serde_json::from_slice(&line).map_err(|_| Refused::Hello)?;
    let authorization = hello.token.map(|token| format!("Bearer {token}"));
    let principal = state.guard.admit(&Knock {
        peer: peer.ip(),
        listener: local,
        authorization: authorization.as_deref(),
        host: Some("localhost"),
        origin: None,
        is_forwarded: false,
        is_cross_site: false,
    })?;
    principal.require(Scope::Watch)?;
    let tenant = principal.tenant(hello.tenant.as_ref())?;
    Ok((principal, tenant))
}

/// A whole line within the limit.
async fn first_line(read: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    read.take(HELLO_BYTES_MAX).read_until(b'\n', &mut line).await.ok()?;
    line.ends_with(b"\n").then_some(line)
}

async fn note_session(state: &AppState, principal: &Principal, tenant: &Tenant, peer: SocketAddr) {
    let (audit, principal, tenant) = (Arc::clone(&state.audit), principal.clone(), tenant.clone());
    let noted = blocking(move || {
        audit.append(&NewAuditEvent {
            principal: &principal,
            tenant: Some(tenant),
            action: "watch.open",
            target: "technician session",
            outcome: Outcome::Done,
            detail: None,
            source_ip: Some(peer.ip()),
        })
    });
    if let Ok(Err(error)) = noted.await {
        tracing::error!(%error, "could not write the audit trail");
    }
}

async fn talk(
    state: &AppState,
    principal: &Principal,
    tenant: &Tenant,
    mut read: BufReader<OwnedReadHalf>,
    line: &mut Line,
) -> Result<End, Gone> {
    let heartbeat = state.limits.heartbeat;
    let hello = json!({
        "type": "hello", "product": "heimdall", "version": crate::VERSION, "principal": principal.name,
        "tenant": tenant, "heartbeat_seconds": heartbeat.as_secs(),
    });
    line.say(&hello.to_string()).await?;
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
    loop {
        let (snapshot, mut changes) = watch(&state.alerts, tenant).await?;
        line.say(&snapshot_text(&snapshot)).await?;
        loop {
            let told = tokio::select! {
                () = hung_up(&mut read) => return Err(Gone),
                _ = heartbeat.tick() => {
                    let beat = json!({ "type": "heartbeat", "at": state.clock.now().to_string() });
                    line.say(&beat.to_string()).await?;
                    continue;
                }
                told = changes.next() => told,
            };
            match told {
                None => return Ok(End::Shutdown),
                Some(Delivery::Delta(delta)) => {
                    line.say(&alert_text("alert", delta.change.alert(), delta.seq)).await?;
                }
                Some(Delivery::Gap { missed }) => {
                    line.say(&gap_text(missed)).await?;
                    break;
                }
            }
        }
    }
}

/// Waits until the technician is gone; what it says is thrown away. Cancel safe.
async fn hung_up(read: &mut (impl AsyncRead + Unpin)) {
    let mut thrown_away = [0; 256];
    while matches!(read.read(&mut thrown_away).await, Ok(1..)) {}
}

/// The way to the technician.
struct Line {
    write: OwnedWriteHalf,
    timeout: Duration,
    /// Part of a line has been sent and not the rest: nothing sensible can follow.
    is_mid_line: bool,
}

impl Line {
    /// Sends one line; a reader that takes no byte for the timeout is gone.
    async fn say(&mut self, json: &str) -> Result<(), Gone> {
        let line = format!("{json}\n");
        let mut rest = line.as_bytes();
        self.is_mid_line = true;
        while !rest.is_empty() {
            match tokio::time::timeout(self.timeout, self.write.write(rest)).await {
                Ok(Ok(sent @ 1..)) => rest = &rest[sent..],
                Ok(_) => return Err(Gone),
                Err(_) => {
                    metrics::counter!("watch_sessions_cut_total", "reason" => "slow").increment(1);
                    return Err(Gone);
                }
            }
        }
        self.is_mid_line = false;
        Ok(())
    }

    /// Says why, unless the technician does not listen any more.
    async fn goodbye(&mut self, reason: &str) -> Result<(), Gone> {
        if self.is_mid_line {
            return Err(Gone);
        }
        self.timeout = GOODBYE_TIMEOUT;
        self.say(&json!({ "type": "goodbye", "reason": reason }).to_string()).await
    }
}
