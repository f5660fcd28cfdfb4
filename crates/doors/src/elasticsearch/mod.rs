//! Elasticsearch's ingestion: what Beats, Logstash, Fluent Bit, Vector, rsyslog and the client libraries send, unmodified.
//!
//! - [`bulk`]: bodies; [`handshake`]: what clients ask before they send; [`answer`]: how they are answered
//!
//! Invariants:
//! - every answer has `X-Elastic-Product: Elasticsearch`: clients refuse whoever lacks it;
//! - an item is answered with 201 only when its record is durable; a request refused by the intake is refused whole, and may be
//!   sent again (item by item to clients that know nothing else: see [`is_held`]);
//! - the same paths are served at the root and below [`PREFIXES`], with and without a slash at the end.
//!
//! Not here: searching in Elasticsearch's language.

mod answer;
mod bulk;
mod handshake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, head, post};
use heimdall_ingest::{BodyError, Caller, Reading, Receipt, Refused, Submission};
use serde::{Deserialize, Serialize};

use self::answer::Detail;
use self::bulk::{Action, Bulk, Item};
use crate::http::{Failure, Visitor, arrive};
use crate::{DoorError, Shared};

/// Name of the door.
const DOOR: &str = "elasticsearch";
/// What the paths may begin with besides `/`: for clients that are given a prefix, and where another path is in the way.
const PREFIXES: [&str; 3] = ["", "/elasticsearch", "/insert/elasticsearch"];

/// Longest time that a client which cannot be sent away waits for its answer.
const HELD_MAX: Duration = Duration::from_secs(120);
/// Longest pause between two looks whether there is room for it.
const HELD_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Elasticsearch's ingestion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElasticsearchConfig {
    /// Version that clients are told. Default `8.9.0`; Beats refuse a version lower than their own.
    pub version: String,
}

impl Default for ElasticsearchConfig {
    fn default() -> Self {
        ElasticsearchConfig { version: "8.9.0".to_owned() }
    }
}

impl ElasticsearchConfig {
    /// Checks what can be checked before anything runs.
    ///
    /// # Errors
    /// [`DoorError::Config`].
    pub(crate) fn check(&self) -> Result<(), DoorError> {
        let parts: Vec<_> = self.version.split('.').collect();
        let is_number = |part: &&str| part.parse::<u16>().is_ok();
        if parts.len() == 3 && parts.iter().all(is_number) {
            return Ok(());
        }
        let detail = format!("`version` is `{}`: expected three numbers, such as `8.9.0`", self.version);
        Err(DoorError::Config { door: DOOR, detail })
    }
}

/// What handlers work with.
#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    version: Arc<str>,
}

/// The paths of this door.
pub(crate) fn routes(shared: Arc<Shared>, config: &ElasticsearchConfig) -> Router {
    let door = Door { shared, version: Arc::from(config.version.as_str()) };
    let mut router = Router::new();
    for prefix in PREFIXES {
        for (path, methods) in paths() {
            let path = format!("{prefix}{path}");
            router = router.route(&format!("{path}/"), methods.clone());
            if !path.is_empty() {
                router = router.route(&path, methods);
            }
        }
        for below in KEPT_ELSEWHERE {
            router = router.route(&format!("{prefix}{below}/{{*rest}}"), any(handshake::kept_elsewhere));
        }
    }
    router.method_not_allowed_fallback(wrong_method).layer(map_response(as_elasticsearch)).with_state(door)
}

/// Where clients keep what this server does not need; see [`handshake`].
const KEPT_ELSEWHERE: [&str; 7] = [
    "/_ilm",
    "/_index_template",
    "/_component_template",
    "/_template",
    "/_data_stream",
    "/_ingest/pipeline",
    "/_logstash",
];

fn paths() -> Vec<(&'static str, MethodRouter<Door>)> {
    let mut paths = vec![
        ("", get(handshake::root)),
        ("/_bulk", post(bulk_of_any).put(bulk_of_any)),
        ("/{index}/_bulk", post(bulk_of_index).put(bulk_of_index)),
        ("/{index}/_doc", post(add).put(add)),
        ("/{index}/_doc/{id}", post(add_with_id).put(add_with_id)),
        ("/{index}/_create/{id}", post(create).put(create)),
        ("/{index}", head(handshake::index).put(handshake::index).fallback(handshake::not_there)),
        ("/_license", get(handshake::license)),
        ("/_xpack", get(handshake::xpack)),
        ("/_nodes", get(handshake::nodes)),
        ("/_nodes/http", get(handshake::nodes)),
        ("/_nodes/_local", get(handshake::nodes)),
        ("/_nodes/_all/http", get(handshake::nodes)),
        ("/_cluster/health", get(handshake::health)),
        ("/_cluster/settings", get(handshake::settings).put(handshake::settings)),
        ("/_cat/health", get(handshake::cat_health)),
    ];
    paths.extend(KEPT_ELSEWHERE.map(|path| (path, any(handshake::kept_elsewhere))));
    paths
}

async fn as_elasticsearch(mut response: Response) -> Response {
    let name = HeaderName::from_static("x-elastic-product");
    response.headers_mut().insert(name, HeaderValue::from_static("Elasticsearch"));
    response
}

async fn wrong_method(method: Method) -> Response {
    let method: String = method.as_str().chars().take(20).collect();
    let reason = format!("method [{method}] is not allowed here");
    answer::error(StatusCode::METHOD_NOT_ALLOWED, "illegal_argument_exception", &reason)
}

/// Parameters of requests. Those that tell Elasticsearch how to index (`pipeline`, `refresh`, `routing`, …) are ignored.
#[derive(Debug, Default, Deserialize)]
struct Parameters {
    filter_path: Option<String>,
    op_type: Option<String>,
}

/// Parameters, unless they cannot be read.
type Asked = Result<Query<Parameters>, QueryRejection>;

async fn bulk_of_any(
    State(door): State<Door>,
    visitor: Visitor,
    parameters: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    take_bulk(&door, &visitor, None, parameters, &headers, body).await
}

async fn bulk_of_index(
    State(door): State<Door>,
    visitor: Visitor,
    Path(index): Path<String>,
    parameters: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    take_bulk(&door, &visitor, Some(index), parameters, &headers, body).await
}

async fn take_bulk(
    door: &Door,
    visitor: &Visitor,
    index: Option<String>,
    parameters: Asked,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let started = Instant::now();
    let Query(parameters) = parameters.unwrap_or_default();
    let decode = move |body: &[u8], reading: Reading<'_>| bulk::decode(body, reading, index.as_deref());
    match take(&door.shared, visitor, headers, body, decode).await {
        Ok((items, Ok(receipt))) => {
            let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            answer::bulk(&items, &receipt, took_ms, Detail::of(parameters.filter_path.as_deref()))
        }
        Ok((items, Err(refused))) if is_held(headers) => {
            answer::refused_items(&items, &Failure::Refused(refused))
        }
        Ok((_, Err(refused))) => answer::failure(&Failure::Refused(refused)),
        Err(failure) => answer::failure(&failure),
    }
}

async fn add(
    State(door): State<Door>,
    visitor: Visitor,
    Path(index): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    take_document(&door, &visitor, Action::Index, (index, None), &headers, body).await
}

async fn add_with_id(
    State(door): State<Door>,
    visitor: Visitor,
    Path((index, id)): Path<(String, String)>,
    parameters: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let is_create = parameters.is_ok_and(|Query(given)| given.op_type.as_deref() == Some("create"));
    let action = if is_create { Action::Create } else { Action::Index };
    take_document(&door, &visitor, action, (index, Some(id)), &headers, body).await
}

async fn create(
    State(door): State<Door>,
    visitor: Visitor,
    Path((index, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    take_document(&door, &visitor, Action::Create, (index, Some(id)), &headers, body).await
}

async fn take_document(
    door: &Door,
    visitor: &Visitor,
    action: Action,
    (index, id): (String, Option<String>),
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let decode = move |body: &[u8], reading: Reading<'_>| bulk::decode_one(body, reading, action, &index, id);
    match take(&door.shared, visitor, headers, body, decode).await {
        Ok((items, Ok(receipt))) => match items.first() {
            Some(item) => answer::document(item, &receipt),
            None => answer::failure(&Failure::Body(BodyError::Empty)),
        },
        Ok((_, Err(refused))) => answer::failure(&Failure::Refused(refused)),
        Err(failure) => answer::failure(&failure),
    }
}

/// Items, and the receipt of what was made durable, or why nothing was.
type Taken = (Vec<Item>, Result<Receipt, Refused>);

/// Takes a body.
async fn take(
    shared: &Shared,
    visitor: &Visitor,
    headers: &HeaderMap,
    body: Body,
    decode: impl FnOnce(&[u8], Reading<'_>) -> Result<Bulk, BodyError> + Send + 'static,
) -> Result<Taken, Failure> {
    let caller = visitor.caller()?;
    let held_until = is_held(headers).then(|| Instant::now() + HELD_MAX);
    if let Some(until) = held_until {
        wait_for_room(shared, &caller, headers, until).await;
    }
    let arrived = arrive(shared, &caller, headers, body).await?;
    let body_bytes = arrived.body.len() as u64;
    let Bulk { decoded, items, key } = shared.decode_from(&caller, DOOR, arrived.body, decode).await?;
    let submission = Submission { caller, door: DOOR, idempotency_key: key, decoded, body_bytes };
    let admitted = match held_until {
        Some(until) => shared.intake.admit_patiently(submission, given_up(shared, until)).await,
        None => shared.intake.admit(submission).await,
    };
    drop(arrived.permit); // held until now: what was decoded takes room
    Ok((items, admitted))
}

// ---- clients that cannot be sent away ---------------------------------------------------------------------------------

/// Whether the client is one that loses what is refused: rsyslog up to 8.2302 (at least) drops a bulk that is answered with
/// 429 or 503. It is told by its naming no `User-Agent`; every other shipper names one. It is held instead, until there is room.
fn is_held(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::USER_AGENT)
}

/// Ends when a held client is to be answered, whatever the answer.
async fn given_up(shared: &Shared, until: Instant) {
    tokio::select! {
        () = tokio::time::sleep_until(until.into()) => {}
        () = shared.shutdown.cancelled() => {}
    }
}

/// Waits, before a body is read, until there is room for it. Somebody else may take the room first; then the client is refused.
async fn wait_for_room(shared: &Shared, caller: &Caller, headers: &HeaderMap, until: Instant) {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let length: usize = length.unwrap_or(0);
    if length as u64 > shared.limits.body.bytes_max {
        return;
    }
    let mut given_up = std::pin::pin!(given_up(shared, until));
    while let Err(refused) = shared.intake.reserve(caller, length) {
        let Some(pause) = refused.retry_after() else { return };
        tokio::select! {
            () = tokio::time::sleep(pause.min(HELD_PAUSE_MAX)) => {}
            () = &mut given_up => return,
        }
    }
}

#[cfg(test)]
mod tests;
