//! What clients ask before they send: which version this is, its licence, whether their templates and policies are there.
//!
//! Nothing of it is kept: fields need no mapping here, and retention is the server's own configuration. So whatever a client
//! looks for is there, and whatever it installs is acknowledged.

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Door, answer};
use crate::http::Visitor;

/// Name of the one cluster there is.
const CLUSTER: &str = "heimdall";
/// Its id: clients compare it, and it never changes.
const CLUSTER_UUID: &str = "aGVpbWRhbGwtY2x1c3Rlcg";
/// Id of the one node.
const NODE: &str = "aGVpbWRhbGwtbm9kZS0xAA";
/// Id of the licence.
const LICENCE: &str = "68656d64-616c-4c00-8000-000000000001";
/// Bytes of a `Host` header that is repeated.
const HOST_BYTES_MAX: usize = 255;
/// Bytes of an index name.
const INDEX_BYTES_MAX: usize = 255;

/// Answers whoever is known.
fn to(visitor: &Visitor, body: impl FnOnce() -> Value) -> Response {
    match visitor.known() {
        Ok(()) => answer::json(StatusCode::OK, &body()),
        Err(failure) => answer::failure(&failure),
    }
}

/// `GET /`.
pub(super) async fn root(State(door): State<Door>, visitor: Visitor) -> Response {
    to(&visitor, || {
        json!({
            "name": CLUSTER,
            "cluster_name": CLUSTER,
            "cluster_uuid": CLUSTER_UUID,
            "version": {
                "number": &*door.version,
                "build_flavor": "default",
                "build_type": "tar",
                "build_hash": "0000000000000000000000000000000000000000",
                "build_date": "2023-07-19T14:50:04.000000000Z",
                "build_snapshot": false,
                "lucene_version": "9.7.0",
                "minimum_wire_compatibility_version": "7.17.0",
                "minimum_index_compatibility_version": "7.0.0",
            },
            "tagline": "You Know, for Search",
        })
    })
}

/// `GET /_license`.
pub(super) async fn license(visitor: Visitor) -> Response {
    to(&visitor, || {
        json!({"license": {
            "status": "active", "uid": LICENCE, "type": "basic", "mode": "basic", "issue_date_in_millis": 0,
            "max_nodes": 1000, "issued_to": CLUSTER, "issuer": CLUSTER, "start_date_in_millis": -1,
        }})
    })
}

/// `GET /_xpack`.
pub(super) async fn xpack(visitor: Visitor) -> Response {
    to(&visitor, || {
        json!({
            "build": {"hash": "0000000000000000000000000000000000000000", "date": "2023-07-19T14:50:04.000000000Z"},
            "license": {"uid": LICENCE, "type": "basic", "mode": "basic", "status": "active"},
            "features": {
                "ilm": {"available": true, "enabled": true},
                "data_streams": {"available": true, "enabled": true},
                "security": {"available": true, "enabled": true},
            },
            "tagline": "You know, for X",
        })
    })
}

/// Policies, templates, pipelines and the like: there when asked for, acknowledged when sent.
pub(super) async fn kept_elsewhere(visitor: Visitor, method: Method) -> Response {
    let is_asked = method == Method::GET || method == Method::HEAD;
    to(&visitor, || if is_asked { json!({}) } else { json!({"acknowledged": true}) })
}

/// `GET /_nodes*`: one node, at the address the client used, so that clients that look for more find the same.
pub(super) async fn nodes(State(door): State<Door>, visitor: Visitor, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|host| host.len() <= HOST_BYTES_MAX).map(str::to_owned);
    let address = host.or_else(|| visitor.local().map(|local| local.to_string())).unwrap_or_default();
    to(&visitor, || {
        json!({
            "_nodes": {"total": 1, "successful": 1, "failed": 0},
            "cluster_name": CLUSTER,
            "nodes": {NODE: {
                "name": CLUSTER, "host": address, "version": &*door.version, "roles": ["data", "ingest", "master"],
                "http": {"bound_address": [address], "publish_address": address},
            }},
        })
    })
}

/// `GET /_cluster/health`.
pub(super) async fn health(visitor: Visitor) -> Response {
    to(&visitor, || {
        json!({
            "cluster_name": CLUSTER, "status": "green", "timed_out": false, "number_of_nodes": 1,
            "number_of_data_nodes": 1, "active_primary_shards": 1, "active_shards": 1, "relocating_shards": 0,
            "initializing_shards": 0, "unassigned_shards": 0, "delayed_unassigned_shards": 0,
            "number_of_pending_tasks": 0, "number_of_in_flight_fetch": 0, "task_max_waiting_in_queue_millis": 0,
            "active_shards_percent_as_number": 100.0,
        })
    })
}

/// `GET /_cat/health`, as rsyslog asks for it.
pub(super) async fn cat_health(visitor: Visitor, RawQuery(query): RawQuery) -> Response {
    if let Err(failure) = visitor.known() {
        return answer::failure(&failure);
    }
    if query.is_some_and(|query| query.split('&').any(|part| part == "format=json")) {
        return answer::json(
            StatusCode::OK,
            &json!([{"cluster": CLUSTER, "status": "green", "node.total": "1"}]),
        );
    }
    format!("0 00:00:00 {CLUSTER} green 1 1 1 1 0 0 0 0 - 100.0%\n").into_response()
}

/// `_cluster/settings`.
pub(super) async fn settings(visitor: Visitor, method: Method) -> Response {
    to(&visitor, || {
        let mut settings = json!({"persistent": {}, "transient": {}});
        if method == Method::PUT {
            settings["acknowledged"] = true.into();
        }
        settings
    })
}

/// `HEAD` and `PUT` of an index: every index is there, since none has to be made.
pub(super) async fn index(visitor: Visitor, method: Method, Path(index): Path<String>) -> Response {
    if !is_index_name(&index) {
        let reason =
            format!("invalid index name [{}]", index.chars().take(INDEX_BYTES_MAX).collect::<String>());
        return answer::error(StatusCode::BAD_REQUEST, "invalid_index_name_exception", &reason);
    }
    to(&visitor, || match method {
        Method::PUT => json!({"acknowledged": true, "shards_acknowledged": true, "index": index}),
        _ => json!({}),
    })
}

/// Any other question about what could be an index: as everything unknown, in the words of both.
pub(super) async fn not_there(Path(index): Path<String>) -> Response {
    let name: String = index.chars().take(INDEX_BYTES_MAX).collect();
    let detail = format!("there is nothing at `/{name}`");
    let cause = json!({"type": "resource_not_found_exception", "reason": detail});
    let body = json!({
        "type": "about:blank", "title": "Not Found", "status": 404, "code": "path_unknown", "detail": detail,
        "error": {"root_cause": [cause], "type": "resource_not_found_exception", "reason": detail},
    });
    let mut response = answer::json(StatusCode::NOT_FOUND, &body);
    let problem = header::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, problem);
    response
}

/// As Elasticsearch has it, date math (`<logs-{now/d}>`) allowed.
fn is_index_name(name: &str) -> bool {
    let is_forbidden =
        |c: char| c.is_ascii_uppercase() || matches!(c, '\\' | '*' | '?' | '"' | '|' | ' ' | ',' | '#');
    let is_date_math = name.starts_with('<') && name.ends_with('>');
    !name.is_empty()
        && name.len() <= INDEX_BYTES_MAX
        && !name.starts_with(['-', '_', '+', '.'])
        && (is_date_math || !name.contains(['<', '>', '/']) && !name.contains(is_forbidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_names_are_those_of_elasticsearch() {
        for name in ["logs-nginx-prod", "a.b", "<logstash-{now/d{yyyy.MM.dd}}-000001>"] {
            assert!(is_index_name(name), "{name}");
        }
        for name in ["", "_x", "-x", "Upper", "a b", "a*", "<a", &"x".repeat(256)] {
            assert!(!is_index_name(name), "{name}");
        }
    }
}
