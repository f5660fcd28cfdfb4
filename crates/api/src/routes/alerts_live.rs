//! `WS /ws/alerts`: a snapshot, then every change.
//!
//! Messages: `{"type":"snapshot","alerts":[…],"sequence":n}`, `{"type":"delta","alert":{…},"sequence":n}`; a client that
//! was too slow gets `{"type":"gap","missed":n}` and a new snapshot.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use heimdall_alert::{AlertError, Alerts, Delivery, Snapshot, Subscription};
use heimdall_guard::Scope;
use heimdall_model::{Alert, Tenant};
use serde::Serialize;

use crate::AppState;
use crate::access::{Access, SUBPROTOCOL};
use crate::problem::{Chain, Problem};
use crate::routes::blocking;
use crate::session::{self, End, Gone, Life, Seat};
use crate::sessions::SessionKind;
use crate::wire::AlertView;

/// Alerts of a snapshot.
const SNAPSHOT_ALERTS: usize = 200;
/// Bytes a client may send in one message: it has nothing to say.
const CLIENT_MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// Follows alerts live over WebSocket.
#[utoipa::path(
    get, path = "/ws/alerts", tag = "alerts",
    responses(
        (status = 101, description = "messages `{type: snapshot|delta|gap, …}`"),
        (status = 426, description = "not a WebSocket request"),
    )
)]
pub(crate) async fn follow(
    State(state): State<AppState>,
    access: Access,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let tenant = access.require_any(&[Scope::Read, Scope::Watch])?;
    let upgrade = upgrade.map_err(|rejection| {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket_required", rejection.body_text())
    })?;
    let seat = Seat::take(&state.live_seats, "live_sessions").ok_or_else(session::no_seat)?;
    let life = access.life(&state, SessionKind::WsAlerts, &tenant);
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_frame_size(CLIENT_MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| serve(state, tenant, socket, life, seat))
        .into_response())
}

async fn serve(state: AppState, tenant: Tenant, mut socket: WebSocket, mut life: Life, seat: Seat) {
    let end = tokio::select! {
        biased;
        end = life.ended() => Ok(end),
        told = talk(&state, &tenant, &mut socket) => told,
    };
    if let Ok(end) = end {
        session::close(socket, end).await;
    }
    drop(seat);
}

async fn talk(state: &AppState, tenant: &Tenant, socket: &mut WebSocket) -> Result<End, Gone> {
    let timeout = state.limits.live_send_timeout;
    let mut heartbeat = tokio::time::interval(state.limits.heartbeat);
    loop {
        let (snapshot, mut changes) = watch(&state.alerts, tenant).await?;
        session::send(socket, Message::text(snapshot_text(&snapshot)), timeout).await?;
        loop {
            let told = tokio::select! {
                () = session::hung_up(socket) => return Err(Gone),
                _ = heartbeat.tick() => {
                    session::send(socket, Message::Ping(bytes::Bytes::new()), timeout).await?;
                    continue;
                }
                told = changes.next() => told,
            };
            match told {
                None => return Ok(End::Shutdown),
                Some(Delivery::Delta(delta)) => {
                    let text = alert_text("delta", delta.change.alert(), delta.seq);
                    session::send(socket, Message::text(text), timeout).await?;
                }
                Some(Delivery::Gap { missed }) => {
                    session::send(socket, Message::text(gap_text(missed)), timeout).await?;
                    break;
                }
            }
        }
    }
}

/// A snapshot and the changes after it; a metastore that fails ends the session.
pub(crate) async fn watch(alerts: &Arc<Alerts>, tenant: &Tenant) -> Result<(Snapshot, Subscription), Gone> {
    let (alerts, tenant) = (Arc::clone(alerts), tenant.clone());
    let watched = blocking(move || alerts.watch(Some(&tenant), SNAPSHOT_ALERTS)).await.map_err(|_| Gone)?;
    watched.map_err(|error: AlertError| {
        tracing::error!(error = %Chain(&error), "a live session could not read the alerts");
        Gone
    })
}

#[derive(Serialize)]
struct AlertMessage<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    alert: AlertView<'a>,
    sequence: u64,
}

/// One change as a message.
pub(crate) fn alert_text(kind: &str, alert: &Alert, sequence: u64) -> String {
    let message = AlertMessage { kind, alert: AlertView::from(alert), sequence };
    serde_json::to_string(&message).expect("plain data serialises")
}

/// A snapshot as a message.
pub(crate) fn snapshot_text(snapshot: &Snapshot) -> String {
    #[derive(Serialize)]
    struct SnapshotMessage<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        alerts: Vec<AlertView<'a>>,
        sequence: u64,
    }
    let alerts = snapshot.alerts.iter().map(|alert| AlertView::from(alert.as_ref())).collect();
    let message = SnapshotMessage { kind: "snapshot", alerts, sequence: snapshot.seq };
    serde_json::to_string(&message).expect("plain data serialises")
}

/// A gap as a message.
pub(crate) fn gap_text(missed: u64) -> String {
    serde_json::json!({ "type": "gap", "missed": missed }).to_string()
}
