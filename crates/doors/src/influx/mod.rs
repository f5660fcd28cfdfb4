//! Influx's write API, versions 1 to 3: line protocol from Telegraf, client libraries, Home Assistant, Proxmox and others.
//!
//! - [`line`]: the protocol; [`points`]: what becomes of it
//!
//! Invariants:
//! - 204 means that every line is durable; when some were refused the answer is 400, names them, and the others are kept;
//! - the same bytes a second time are not written again, as long as every line states its own time.
//!
//! Not here: queries (only what clients ask before they write). Source: InfluxData, "InfluxDB API".

mod line;
mod points;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use self::points::{Points, Precision};
use crate::http::{self, Failure, Visitor};
use crate::shared::Handover;
use crate::{Shared, key};

/// Name in receipts and metrics.
const DOOR: &str = "influx";
/// What clients that look for a version are told.
const VERSION: &str = "1.8.10";

type Params = Query<HashMap<String, String>>;

/// Whose form an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    V1,
    V2,
    V3,
}

/// The paths of this door.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let write = |api| {
        post(
            move |State(shared): State<Arc<Shared>>,
                  visitor: Visitor,
                  Query(params): Params,
                  headers: HeaderMap,
                  body: Body| async move {
                write(api, &shared, &visitor, &params, &headers, body).await
            },
        )
    };
    Router::new()
        .route("/write", write(Api::V1))
        .route("/insert/influx/write", write(Api::V1))
        .route("/api/v2/write", write(Api::V2))
        .route("/api/v3/write_lp", write(Api::V3))
        .route("/ping", get(ping))
        .route("/query", get(query).post(query))
        .with_state(shared)
}

async fn ping(Query(params): Params) -> Response {
    let version = [("x-influxdb-version", VERSION), ("x-influxdb-build", "heimdall")];
    if params.get("verbose").is_some_and(|verbose| verbose == "true") {
        return (StatusCode::OK, version, axum::Json(json!({ "version": VERSION }))).into_response();
    }
    (StatusCode::NO_CONTENT, version).into_response()
}

async fn write(
    api: Api,
    shared: &Shared,
    visitor: &Visitor,
    params: &HashMap<String, String>,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    match take(api, shared, visitor, params, headers, body).await {
        Ok(points) if points.dropped_total == 0 => StatusCode::NO_CONTENT.into_response(),
        Ok(points) => partial(api, &points),
        Err(failure) => {
            let mut response = error(api, failure.status(), &failure.to_string());
            failure.hint(response.headers_mut());
            response
        }
    }
}

async fn take(
    api: Api,
    shared: &Shared,
    visitor: &Visitor,
    params: &HashMap<String, String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Points, Failure> {
    let caller = visitor.caller()?;
    let param = |name: &str| params.get(name).map_or("", String::as_str);
    let named = param("precision");
    let named = if api == Api::V3 && named.is_empty() { "auto" } else { named };
    let precision = Precision::from_name(named)
        .ok_or_else(|| Failure::Bad(format!("invalid precision `{named}`: use ns, us, ms, s, m or h")))?;
    let db = if api == Api::V2 { param("bucket") } else { param("db") }.to_owned();
    let arrived = http::arrive(shared, &caller, headers, body).await?;
    let bytes = arrived.body.len() as u64;
    let named = named.to_owned();
    let (mut points, key) = shared
        .decode_from(&caller, DOOR, arrived.body, move |body, reading| {
            let key = key::of_body(&[db.as_bytes(), named.as_bytes(), body]);
            points::decode(body, precision, &db, reading).map(|points| (points, key))
        })
        .await?;
    let decoded = std::mem::take(&mut points.decoded);
    let states_times = decoded.iter().all(|decoded| decoded.timestamps_assigned == 0);
    let handover = Handover { caller, door: DOOR, key: states_times.then_some(key), decoded, bytes };
    shared.admit(handover, Some(arrived.permit)).await?;
    Ok(points)
}

/// Some lines were refused, the others are durable.
fn partial(api: Api, points: &Points) -> Response {
    let named = points.dropped.iter().map(|dropped| {
        format!("unable to parse '{}': {} (line {})", dropped.line, dropped.reason, dropped.number)
    });
    let named: Vec<_> = named.collect();
    let text = match points.lines {
        0 => named.join("\n"),
        _ => format!("partial write: {} dropped={}", named.join("\n"), points.dropped_total),
    };
    if api == Api::V3 {
        let data: Vec<_> = points
            .dropped
            .iter()
            .map(|dropped| {
                json!({
                    "original_line": dropped.line, "line_number": dropped.number, "error_message": dropped.reason
                })
            })
            .collect();
        let answer = json!({ "error": "partial write of line protocol occurred", "data": data });
        return (StatusCode::BAD_REQUEST, axum::Json(answer)).into_response();
    }
    error(api, StatusCode::BAD_REQUEST, &text)
}

fn error(api: Api, status: StatusCode, text: &str) -> Response {
    let answer = match api {
        Api::V1 | Api::V3 => json!({ "error": text }),
        Api::V2 => json!({ "code": code_of(status), "message": text }),
    };
    (status, axum::Json(answer)).into_response()
}

/// As version 2 names what went wrong.
fn code_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::TOO_MANY_REQUESTS => "too many requests",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        status if status.is_server_error() => "internal error",
        _ => "invalid",
    }
}

/// What clients ask before they write: that a database is there. Every one is.
async fn query(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    Query(params): Params,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asked = async {
        let caller = visitor.caller()?;
        if let Some(asked) = params.get("q") {
            return Ok(asked.clone());
        }
        let arrived = http::arrive(&shared, &caller, &headers, body).await?;
        Ok::<_, Failure>(form_value(&arrived.body, "q").unwrap_or_default())
    };
    let asked = match asked.await {
        Ok(asked) => asked,
        Err(failure) => {
            let mut response = error(Api::V1, failure.status(), &failure.to_string());
            failure.hint(response.headers_mut());
            return response;
        }
    };
    let upper = asked.trim_start().to_ascii_uppercase();
    let does_nothing = ["CREATE DATABASE", "CREATE RETENTION POLICY", "ALTER RETENTION POLICY"];
    if does_nothing.iter().any(|statement| upper.starts_with(statement)) {
        return axum::Json(json!({ "results": [{ "statement_id": 0 }] })).into_response();
    }
    if upper.starts_with("SHOW DATABASES") {
        let series = json!([{ "name": "databases", "columns": ["name"] }]);
        return axum::Json(json!({ "results": [{ "statement_id": 0, "series": series }] })).into_response();
    }
    error(Api::V1, StatusCode::BAD_REQUEST, "only CREATE DATABASE is answered here: see the query API")
}

/// A value of a form.
fn form_value(body: &[u8], name: &str) -> Option<String> {
    let uri = format!("/?{}", std::str::from_utf8(body).ok()?.trim()).parse().ok()?;
    Query::<HashMap<String, String>>::try_from_uri(&uri).ok()?.0.remove(name)
}
