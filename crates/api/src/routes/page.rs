//! The web app: its page for every path that people open, and its files.
//!
//! Invariants:
//! - what a program asks for is never answered with the page: a path of the API keeps its answers, its 404 included;
//! - page and files hold no data and need no token: the app asks the API, which does.

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use heimdall_web::{Answer, Ask};
use ring::rand::SystemRandom;

use crate::AppState;
use crate::problem::Problem;

/// First parts of paths below which nothing is a page; a test compares them with the routes. `/alerts` and `/logs` are not
/// here: to a browser that opens them they are pages, to everybody else the API.
const NO_PAGES_BELOW: [&str; 10] =
    ["alertmanager", "api", "assets", "health", "ingest", "livez", "metrics", "openapi.json", "readyz", "ws"];

/// Whether somebody opens a page: a browser asks for HTML at a path that is none of the API.
pub(crate) fn is_opened(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let first = uri.path().split('/').nth(1).unwrap_or_default();
    (method == Method::GET || method == Method::HEAD)
        && wants_html(headers)
        && !NO_PAGES_BELOW.contains(&first)
}

fn wants_html(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|value| value.split(',')).any(|range| {
        let mut parameters = range.split(';').map(str::trim);
        let is_html = parameters.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
        let weight = parameters.find_map(|parameter| parameter.strip_prefix("q="));
        is_html && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// Answers with the page where one is opened, and with a file where there is one; before any route, since doors take whole
/// families of paths (`/` and `/{index}` among them).
pub(crate) async fn pages(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let is_read = method == Method::GET || method == Method::HEAD;
    if is_read && state.web.has(uri.path()) {
        let (method, uri, headers) = (method.clone(), uri.clone(), headers.clone());
        return file(State(state), method, uri, headers).await;
    }
    if is_opened(method, uri, headers) {
        return page(&state);
    }
    next.run(request).await
}

fn page(state: &AppState) -> Response {
    match ring::rand::generate::<[u8; 16]>(&SystemRandom::new()) {
        Ok(nonce) => {
            let nonce: String = nonce.expose().iter().map(|byte| format!("{byte:02x}")).collect();
            response(state.web.page(&nonce))
        }
        Err(_) => {
            Problem::internal(&std::io::Error::other("the system has no random numbers")).into_response()
        }
    }
}

/// A file of the app; anything else is not there.
pub(crate) async fn file(
    State(state): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let ask =
        Ask { path: uri.path(), accept_encoding: text(ACCEPT_ENCODING), if_none_match: text(IF_NONE_MATCH) };
    let is_read = method == Method::GET || method == Method::HEAD;
    match state.web.file(&ask).filter(|_| is_read) {
        Some(answer) => response(answer),
        None => unknown_path(&uri).into_response(),
    }
}

fn unknown_path(uri: &Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(StatusCode::NOT_FOUND, "path_unknown", format!("there is nothing at `{path}`"))
}

fn response(answer: Answer) -> Response {
    let body = match answer.body {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("200 or 304");
    for (name, value) in answer.headers {
        let value = HeaderValue::from_str(&value).expect("made of plain characters");
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

    #[track_caller]
    fn check(method: Method, path: &str, accept: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        assert_eq!(
            is_opened(&method, &path.parse().unwrap(), &headers),
            expected,
            "{method} {path} {accept}"
        );
    }

    #[test]
    fn a_browser_opens_pages_and_a_program_never() {
        for path in ["/", "/alerts", "/alerts/0198c0de", "/logs?query=a", "/dashboards/x", "/apis", "/a.b"] {
            check(Method::GET, path, BROWSER, true);
            check(Method::HEAD, path, BROWSER, true);
            check(Method::GET, path, "*/*", false);
            check(Method::GET, path, "application/json", false);
            check(Method::POST, path, BROWSER, false);
        }
        for path in [
            "/api",
            "/api/v1/nothing",
            "/ws/alerts",
            "/metrics",
            "/metrics/summary",
            "/assets/x.js",
            "/health",
        ] {
            check(Method::GET, path, BROWSER, false);
        }
        check(Method::GET, "/", "text/html;q=0", false);
        check(Method::GET, "/", "text/html;q=0.0", false);
        check(Method::GET, "/", "TEXT/HTML; q=0.5", true);
        check(Method::GET, "/", "text/htmlx", false);
    }
}
