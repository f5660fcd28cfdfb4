//! Splunk's HTTP Event Collector: events, raw lines, metrics, health and indexer acknowledgement.
//!
//! - [`event`]: what a body holds; [`answer`]: what is said; [`acks`]: ids of acknowledgement
//!
//! Invariants:
//! - `Success`, with or without an id, is said only of events that are durable;
//! - the first event that is not accepted ends the request, as with Splunk: all before it are kept, it and those after it are
//!   not, and the answer says which it was.
//!
//! Not here: who may send (the gate), indexes (`index` is a field). Source: Splunk, "HTTP Event Collector REST API endpoints".

mod acks;
mod answer;
mod event;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use heimdall_ingest::{Caller, Reading};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use self::acks::Acks;
use self::answer::{Answer, Code};
use self::event::{Common, Events};
use crate::Shared;
use crate::config::{AckMode, HecConfig};
use crate::http::{self, Failure, Visitor};
use crate::raw_json;
use crate::shared::Handover;

/// Name in receipts and metrics.
const DOOR: &str = "hec";
/// The header that names a channel.
const CHANNEL_HEADER: &str = "x-splunk-request-channel";
/// Ids that one request may ask for.
const ASKED_MAX: usize = 100_000;

struct Hec {
    shared: Arc<Shared>,
    mode: AckMode,
    acks: Acks,
}

type Params = Query<HashMap<String, String>>;

/// The paths of this door, each with and without a slash at its end.
pub(crate) fn routes(shared: Arc<Shared>, config: &HecConfig) -> Router {
    let idle = Duration::from_nanos(config.channel_idle.ns().unsigned_abs());
    let hec = Arc::new(Hec { shared, mode: config.acks, acks: Acks::new(config.channels_max, idle) });
    let mut router = Router::new();
    let mut add = |paths: &[&str], methods: fn() -> MethodRouter<Arc<Hec>>| {
        for path in paths {
            let with_slash = format!("/services/collector{path}/");
            let without = with_slash.trim_end_matches('/').to_owned();
            let taken = std::mem::take(&mut router);
            router = taken.route(&without, methods()).route(&with_slash, methods());
        }
    };
    add(&["", "/event", "/event/1.0"], || post(events).options(health));
    add(&["/raw", "/raw/1.0"], || post(raw).options(health));
    add(&["/ack", "/ack/1.0"], || post(acknowledged));
    add(&["/health", "/health/1.0"], || get(health));
    router.with_state(hec)
}

async fn health(State(hec): State<Arc<Hec>>) -> Answer {
    Answer::of(if hec.shared.shutdown.is_cancelled() { Code::Unhealthy } else { Code::Healthy })
}

async fn events(
    State(hec): State<Arc<Hec>>,
    visitor: Visitor,
    Query(params): Params,
    headers: HeaderMap,
    body: Body,
) -> Response {
    hec.take(&visitor, &params, &headers, body, event::decode).await
}

async fn raw(
    State(hec): State<Arc<Hec>>,
    visitor: Visitor,
    Query(params): Params,
    headers: HeaderMap,
    body: Body,
) -> Response {
    hec.take(&visitor, &params, &headers, body, event::decode_raw).await
}

type Decode = fn(&[u8], &Common, heimdall_ingest::Reading<'_>) -> Result<Events, heimdall_ingest::BodyError>;

impl Hec {
    async fn take(
        &self,
        visitor: &Visitor,
        params: &HashMap<String, String>,
        headers: &HeaderMap,
        body: Body,
        decode: Decode,
    ) -> Response {
        let caller = match visitor.caller() {
            Ok(caller) => caller,
            Err(failure) => return failed(&failure, headers),
        };
        if self.shared.shutdown.is_cancelled() {
            return Answer::of(Code::ShuttingDown).into_response();
        }
        let channel = match self.channel(params, headers) {
            Ok(channel) => channel,
            Err(code) => return Answer::of(code).into_response(),
        };
        match self.admit(&caller, params, headers, body, decode).await {
            Err(failure) => failed(&failure, headers),
            Ok(events) => match events.stopped {
                Some((code, event)) => Answer::of(code).at(event).into_response(),
                None if events.count == 0 => Answer::of(Code::NoData).into_response(),
                None => {
                    let ack = channel.map(|id| self.acks.give(&caller.tenant, id, self.shared.intake.now()));
                    Answer::of(Code::Success).with_ack(ack).into_response()
                }
            },
        }
    }

    /// Makes durable what the body holds; what is left says what became of it.
    async fn admit(
        &self,
        caller: &Caller,
        params: &HashMap<String, String>,
        headers: &HeaderMap,
        body: Body,
        decode: Decode,
    ) -> Result<Events, Failure> {
        let arrived = http::arrive(&self.shared, caller, headers, body).await?;
        let common = common_of(params);
        let bytes = arrived.body.len() as u64;
        let decode = move |body: &[u8], reading: Reading<'_>| decode(body, &common, reading);
        let mut events = self.shared.decode_from(caller, DOOR, arrived.body, decode).await?;
        let decoded = std::mem::take(&mut events.decoded);
        let handover = Handover { caller: caller.clone(), door: DOOR, key: None, decoded, bytes };
        self.shared.admit(handover, Some(arrived.permit)).await?;
        Ok(events)
    }

    /// The channel of a request; none is needed unless ids are required.
    fn channel(&self, params: &HashMap<String, String>, headers: &HeaderMap) -> Result<Option<u128>, Code> {
        let stated = headers.get(CHANNEL_HEADER).map(|value| value.to_str().unwrap_or("?"));
        let stated = stated.or_else(|| params.get("channel").map(String::as_str));
        match (stated.filter(|stated| !stated.is_empty()), self.mode) {
            (_, AckMode::Off) => Ok(None),
            (None, AckMode::Required) => Err(Code::ChannelMissing),
            (None, AckMode::Offered) => Ok(None),
            (Some(stated), _) => {
                Uuid::parse_str(stated).map(|id| Some(id.as_u128())).map_err(|_| Code::ChannelInvalid)
            }
        }
    }
}

fn common_of(params: &HashMap<String, String>) -> Common {
    let param = |name: &str| params.get(name).filter(|value| !value.is_empty()).cloned();
    Common {
        time: param("time"),
        host: param("host"),
        source: param("source"),
        sourcetype: param("sourcetype"),
        index: param("index"),
    }
}

fn failed(failure: &Failure, headers: &HeaderMap) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let offers_token = authorization.is_some_and(|value| {
        let mut words = value.split_ascii_whitespace();
        let scheme = words.next().unwrap_or_default().to_ascii_lowercase();
        matches!(scheme.as_str(), "splunk" | "bearer" | "basic" | "token") && words.next().is_some()
    });
    let answer = Answer::of(Code::of(failure, offers_token));
    let status = failure.status();
    let is_rate = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT;
    let answer = if is_rate { answer.with_status(status) } else { answer };
    let mut response = answer.into_response();
    failure.hint(response.headers_mut());
    response
}

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    acks: &'a RawValue,
}

#[derive(Serialize)]
struct Acknowledged {
    acks: HashMap<u64, bool>,
}

/// Which of the ids are of events that are durable.
async fn acknowledged(
    State(hec): State<Arc<Hec>>,
    visitor: Visitor,
    Query(params): Params,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let caller = match visitor.caller() {
        Ok(caller) => caller,
        Err(failure) => return failed(&failure, &headers),
    };
    let channel = match hec.channel(&params, &headers) {
        _ if hec.mode == AckMode::Off => return Answer::of(Code::AckDisabled).into_response(),
        Ok(Some(channel)) => channel,
        Ok(None) => return Answer::of(Code::ChannelMissing).into_response(),
        Err(code) => return Answer::of(code).into_response(),
    };
    let arrived = match http::arrive(&hec.shared, &caller, &headers, body).await {
        Ok(arrived) => arrived,
        Err(failure) => return failed(&failure, &headers),
    };
    let Some(asked) = asked_of(&arrived.body) else { return Answer::of(Code::InvalidData).into_response() };
    let now = hec.shared.intake.now();
    let acks = asked.into_iter().map(|ack| (ack, hec.acks.is_given(&caller.tenant, channel, ack, now)));
    let body = serde_json::to_string(&Acknowledged { acks: acks.collect() }).unwrap_or_default();
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json; charset=UTF-8")], body).into_response()
}

fn asked_of(body: &[u8]) -> Option<Vec<u64>> {
    let asked: Asked<'_> = serde_json::from_slice(body).ok()?;
    let mut ids = Vec::new();
    let read = raw_json::elements(asked.acks.get(), |id| {
        ids.push(id.get().parse().map_err(|_| ())?);
        if ids.len() <= ASKED_MAX { Ok(()) } else { Err(()) }
    });
    read.ok().map(|()| ids)
}
