//! Errors as Alertmanager answers them, for clients that read nothing else.
//!
//! A client that accepts `application/json` and no problem document, as `amtool` and others made from the description do,
//! gets the words of a problem as a JSON string; all others get the problem.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;

/// Bytes of a problem that are read again; none is as long.
const PROBLEM_BYTES_MAX: usize = 1024 * 1024;

/// Turns problems into JSON strings where the client asked for nothing else.
pub(super) async fn plain_errors(request: Request, next: Next) -> Response {
    let is_plain = wants_plain(request.headers());
    let response = next.run(request).await;
    if is_plain && is_problem(response.headers()) { plain(response).await } else { response }
}

fn wants_plain(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = accepted
        .flat_map(|value| value.split(','))
        .map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let kinds: Vec<&str> = kinds.collect();
    !kinds.is_empty() && kinds.iter().all(|kind| kind.eq_ignore_ascii_case("application/json"))
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
}

async fn plain(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let text = Value::String(words(&serde_json::from_slice(&body).unwrap_or_default())).to_string();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    Response::from_parts(parts, Body::from(text))
}

/// What a problem says, in one line.
fn words(problem: &Value) -> String {
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("the request failed");
    let errors = problem.get("errors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let reasons = errors.iter().filter_map(|error| error.get("reason")?.as_str());
    let reasons: Vec<&str> = reasons.filter(|reason| !detail.contains(reason)).collect();
    if reasons.is_empty() { detail.to_owned() } else { format!("{detail}: {}", reasons.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{FieldError, Problem};

    #[test]
    fn only_who_accepts_nothing_but_json_gets_a_string() {
        let wants = |accept: &'static str| {
            wants_plain(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert!(wants("application/json"));
        for accept in ["*/*", "application/json, application/problem+json", "text/html,*/*"] {
            assert!(!wants(accept), "{accept}");
        }
        assert!(!wants_plain(&HeaderMap::new()));
    }

    #[test]
    fn the_words_of_a_problem_are_kept() {
        let problem = Problem::bad_request("invalid_document", "2 alerts are none")
            .with_errors(vec![FieldError::of("labels", "at least one"), FieldError::of("x", "y")]);
        let problem = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(words(&problem), "2 alerts are none: at least one; y");
    }
}
