//! Answers as Elasticsearch writes them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Object, Receipt, Refused};
use serde_json::{Value, json};

use super::bulk::{Item, ItemError};
use crate::http::Failure;
use heimdall_ingest::arrive::ArriveError;

/// Index named in answers to whoever names none.
const NO_INDEX: &str = "logs";

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    text(status, body.to_string())
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// An error answer.
pub(super) fn error(status: StatusCode, kind: &str, reason: &str) -> Response {
    let cause = json!({"type": kind, "reason": reason});
    json(
        status,
        &json!({
            "error": {"root_cause": [cause], "type": kind, "reason": reason},
            "status": status.as_u16(),
        }),
    )
}

/// What a request that was not taken is told.
pub(super) fn failure(failure: &Failure) -> Response {
    let status = failure.status();
    let mut response = error(status, kind_of(failure, status), &failure.to_string());
    failure.hint(response.headers_mut());
    if status == StatusCode::UNAUTHORIZED {
        let challenge =
            HeaderValue::from_static(r#"Basic realm="heimdall", Bearer realm="heimdall", ApiKey"#);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn kind_of(failure: &Failure, status: StatusCode) -> &'static str {
    match failure {
        Failure::Denied(_) => "security_exception",
        Failure::Refused(Refused::RateLimited { .. }) | Failure::Arrive(ArriveError::Refused(_)) => REJECTED,
        Failure::Body(BodyError::Empty) => "parse_exception",
        _ => match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => REJECTED,
            StatusCode::PAYLOAD_TOO_LARGE => "content_too_long_exception",
            StatusCode::REQUEST_TIMEOUT => "timeout_exception",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "media_type_header_exception",
            StatusCode::INTERNAL_SERVER_ERROR => "exception",
            _ => "illegal_argument_exception",
        },
    }
}

/// What clients know as: too busy, send it again.
const REJECTED: &str = "es_rejected_execution_exception";

/// How much of each item an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Full,
    /// Status and error: what `filter_path` of shippers asks for.
    Brief,
}

impl Detail {
    /// By the parameter `filter_path`, decoded. Brief only when all that it names is in a brief answer.
    pub(super) fn of(filter_path: Option<&str>) -> Detail {
        let is_brief = |path: &str| {
            let mut parts = path.trim().split('.');
            matches!(
                (parts.next(), parts.next(), parts.next()),
                (Some("took" | "errors"), None, None) | (Some("items"), Some("*"), Some("status" | "error"))
            )
        };
        match filter_path {
            Some(paths) if paths.split(',').all(is_brief) => Detail::Brief,
            _ => Detail::Full,
        }
    }
}

/// The answer to a bulk whose records are durable.
pub(super) fn bulk(items: &[Item], receipt: &Receipt, took_ms: u64, detail: Detail) -> Response {
    let mut object = Object::new();
    object.uint("took", took_ms);
    object.bool("errors", items.iter().any(|item| item.error.is_some()));
    object.value("items", |out| {
        write::array(out, items.iter().enumerate(), |out, (n, item)| {
            write::object(out, [(item.action.as_str(), ())], |out, ()| {
                out.push_str(&outcome(n, item, receipt, detail).to_json());
            });
        });
    });
    text(StatusCode::OK, object.to_json())
}

/// The answer to a bulk of which nothing was taken, for clients that look at nothing but items: each is to be sent again, but
/// those that would never be taken.
pub(super) fn refused_items(items: &[Item], failure: &Failure) -> Response {
    let status = failure.status();
    let reason = failure.to_string();
    let mut object = Object::new();
    object.uint("took", 0);
    object.bool("errors", true);
    object.value("items", |out| {
        write::array(out, items, |out, item| {
            write::object(out, [(item.action.as_str(), ())], |out, ()| {
                let own = item.error.as_deref();
                let (status, kind, reason) = own.map_or((status, REJECTED, reason.as_str()), |own| {
                    (StatusCode::BAD_REQUEST, own.kind, own.reason.as_str())
                });
                out.push_str(&refused(item, status, kind, reason).to_json());
            });
        });
    });
    let mut response = text(StatusCode::OK, object.to_json());
    failure.hint(response.headers_mut());
    response
}

fn refused(item: &Item, status: StatusCode, kind: &str, reason: &str) -> Object {
    let mut object = Object::new();
    object.text("_index", item.index.as_deref().unwrap_or(NO_INDEX));
    object.text_if("_id", item.id.as_deref().unwrap_or_default());
    object.uint("status", status.as_u16().into());
    object.value("error", |out| {
        write::object(out, [("type", kind), ("reason", reason)], write::text);
    });
    object
}

/// The answer to one document.
pub(super) fn document(item: &Item, receipt: &Receipt) -> Response {
    match &item.error {
        Some(fault) => error(StatusCode::BAD_REQUEST, fault.kind, &fault.reason),
        None => text(StatusCode::CREATED, made(0, item, receipt).to_json()),
    }
}

fn outcome(n: usize, item: &Item, receipt: &Receipt, detail: Detail) -> Object {
    let mut object = match (&item.error, detail) {
        (_, Detail::Brief) => Object::new(),
        (None, Detail::Full) => made(n, item, receipt),
        (Some(_), Detail::Full) => named(n, item, receipt),
    };
    let status = if item.error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::CREATED };
    object.uint("status", status.as_u16().into());
    if let Some(ItemError { kind, reason }) = item.error.as_deref() {
        object.value("error", |out| {
            write::object(out, [("type", *kind), ("reason", reason.as_str())], |out, text| {
                write::text(out, text)
            });
        });
    }
    object
}

fn named(n: usize, item: &Item, receipt: &Receipt) -> Object {
    let mut object = Object::new();
    object.text("_index", item.index.as_deref().unwrap_or(NO_INDEX));
    match item.id.as_deref() {
        Some(id) => object.text("_id", id),
        None => object.text("_id", &format!("{}-{n}", receipt.id.simple())),
    }
    object
}

fn made(n: usize, item: &Item, receipt: &Receipt) -> Object {
    let mut object = named(n, item, receipt);
    object.uint("_version", 1);
    object.text("result", "created");
    object.value("_shards", |out| out.push_str(r#"{"total":1,"successful":1,"failed":0}"#));
    object.uint("_seq_no", receipt.seq.unwrap_or(0));
    object.uint("_primary_term", 1);
    object
}
