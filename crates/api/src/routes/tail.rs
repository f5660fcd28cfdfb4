//! `GET /api/v1/tail`: records as they become findable, over WebSocket or SSE.
//!
//! Events: `record` (one record), `gap` (batches were missed because the client was slow). A number `batch.row` orders
//! records of one server run; it is the SSE event id and the `sequence` of WebSocket messages.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use heimdall_guard::Scope;
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, Filter, Matcher, Target, Tenant};
use heimdall_query::{ParseContext, search};
use heimdall_store::Store;
use heimdall_stream::TailBatch;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use crate::access::{Access, SUBPROTOCOL};
use crate::extract::Params;
use crate::problem::Problem;
use crate::session::{self, End, Gone, Life, Seat};
use crate::sessions::SessionKind;
use crate::{AppState, error};

/// Bytes a client may send in one message: it has nothing to say.
const CLIENT_MESSAGE_BYTES_MAX: usize = 4 * 1024;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TailParams {
    /// Search line without pipes; absent: every record.
    query: Option<String>,
    /// `logs` (default), `metrics` or `spans`.
    dataset: Option<String>,
}

/// Follows records live: WebSocket when upgraded, else Server-Sent Events.
#[utoipa::path(
    get, path = "/api/v1/tail", tag = "query", params(TailParams),
    responses(
        (status = 200, description = "events `record` and `gap`", content_type = "text/event-stream", body = String),
        (status = 101, description = "messages `{type: record|gap, …}`"),
    )
)]
pub(crate) async fn tail(
    State(state): State<AppState>,
    access: Access,
    Params(params): Params<TailParams>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let tenant = access.require(Scope::Read)?;
    let wanted = Wanted::parse(&state, tenant.clone(), &params)?;
    let seat = Seat::take(&state.live_seats, "live_sessions").ok_or_else(session::no_seat)?;
    let life = access.life(&state, SessionKind::Tail, &tenant);
    let feed = Feed { batches: state.tail.subscribe(), wanted, ready: VecDeque::new() };
    Ok(match upgrade {
        Ok(upgrade) => upgrade
            .protocols([SUBPROTOCOL])
            .max_message_size(CLIENT_MESSAGE_BYTES_MAX)
            .max_frame_size(CLIENT_MESSAGE_BYTES_MAX)
            .on_upgrade(move |socket| over_websocket(state, socket, feed, life, seat))
            .into_response(),
        Err(_) => over_sse(&state, feed, life, seat),
    })
}

/// Which records a client wants.
struct Wanted {
    tenant: Tenant,
    dataset: Dataset,
    matcher: Matcher,
    /// Whether the filter looks at the template's text: looked up before matching only then.
    by_template: bool,
    store: Arc<Store>,
}

impl Wanted {
    fn parse(state: &AppState, tenant: Tenant, params: &TailParams) -> Result<Wanted, Problem> {
        let dataset = super::dataset(params.dataset.as_deref())?;
        let line = params.query.as_deref().unwrap_or_default();
        let context = ParseContext::new(tenant, dataset, state.clock.now());
        let query = search::parse(line, &context).map_err(|error| error::parse(&error))?;
        if !query.pipeline.is_empty() {
            return Err(Problem::parameter("query", "a live tail takes no pipes: give the filter alone"));
        }
        let matcher = Matcher::compile(&query.filter, query.dataset)
            .map_err(|error| Problem::bad_request("invalid_query", error.to_string()))?;
        Ok(Wanted {
            tenant: query.tenant,
            dataset: query.dataset,
            matcher,
            by_template: looks_at_template(&query.filter),
            store: Arc::clone(&state.store),
        })
    }

    /// The wanted records of a batch, with their numbers.
    fn pick(&self, batch: &TailBatch) -> Vec<Item> {
        if batch.tenant != self.tenant || batch.batch.dataset != self.dataset {
            return Vec::new();
        }
        let mut items = Vec::new();
        for (index, row) in batch.batch.iter().enumerate() {
            let template = || super::template_of(&self.store, &self.tenant, row.int(logs::TEMPLATE_ID));
            let seen = if self.by_template { template() } else { None };
            if self.matcher.matches(&row, seen.as_deref()) {
                let mut record = row.to_json();
                super::put_template(&mut record, seen.or_else(template).as_deref());
                items.push(Item::Record { sequence: format!("{}.{index}", batch.sequence), record });
            }
        }
        items
    }
}

fn looks_at_template(filter: &Filter) -> bool {
    match filter {
        Filter::All => false,
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(looks_at_template),
        Filter::Not(inner) => looks_at_template(inner),
        Filter::Test(target, _) => *target == Target::Template,
    }
}

/// What a client is told.
enum Item {
    Record { sequence: String, record: Map<String, Value> },
    Gap { batches: u64 },
}

impl Item {
    fn into_message(self) -> Message {
        let json = match self {
            Item::Record { sequence, record } => {
                json!({ "type": "record", "sequence": sequence, "record": record })
            }
            Item::Gap { batches } => json!({ "type": "gap", "missed_batches": batches }),
        };
        Message::text(json.to_string())
    }

    fn into_event(self) -> Event {
        match self {
            Item::Record { sequence, record } => {
                Event::default().event("record").id(sequence).data(Value::Object(record).to_string())
            }
            Item::Gap { batches } => {
                Event::default().event("gap").data(json!({ "missed_batches": batches }).to_string())
            }
        }
    }
}

/// The live tail of one client: at most one batch is held, the rest waits in the bounded feed, which drops the oldest.
struct Feed {
    batches: broadcast::Receiver<Arc<TailBatch>>,
    wanted: Wanted,
    ready: VecDeque<Item>,
}

impl Feed {
    /// The next item; `None` when the stream has ended. Cancel safe.
    async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            match self.batches.recv().await {
                Ok(batch) => self.ready.extend(self.wanted.pick(&batch)),
                Err(RecvError::Lagged(batches)) => return Some(Item::Gap { batches }),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

async fn over_websocket(state: AppState, mut socket: WebSocket, mut feed: Feed, mut life: Life, seat: Seat) {
    let end = tokio::select! {
        biased;
        end = life.ended() => Ok(end),
        told = websocket_loop(&state, &mut socket, &mut feed) => told,
    };
    if let Ok(end) = end {
        session::close(socket, end).await;
    }
    drop(seat);
}

async fn websocket_loop(state: &AppState, socket: &mut WebSocket, feed: &mut Feed) -> Result<End, Gone> {
    let timeout = state.limits.live_send_timeout;
    let mut heartbeat = tokio::time::interval(state.limits.heartbeat);
    loop {
        let message = tokio::select! {
            () = session::hung_up(socket) => return Err(Gone),
            _ = heartbeat.tick() => Message::Ping(bytes::Bytes::new()),
            item = feed.next() => match item {
                Some(item) => item.into_message(),
                None => return Ok(End::Shutdown),
            },
        };
        session::send(socket, message, timeout).await?;
    }
}

fn over_sse(state: &AppState, feed: Feed, life: Life, seat: Seat) -> Response {
    let events = futures::stream::unfold((feed, life, seat), |(mut feed, mut life, seat)| async move {
        let item = tokio::select! {
            biased;
            _ = life.ended() => None,
            item = feed.next() => item,
        }?;
        Some((Ok::<_, Infallible>(item.into_event()), (feed, life, seat)))
    });
    let heartbeat = KeepAlive::new().interval(state.limits.heartbeat).text("heartbeat");
    let mut response = Sse::new(events).keep_alive(heartbeat).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
