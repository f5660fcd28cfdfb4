//! The one error answer of the API: RFC 9457 `application/problem+json` with a stable `code`.
//!
//! Invariant: `code` never changes its meaning and is never derived from a message; a server-side cause is logged, not sent.
//!
//! Not here: which domain error becomes which problem (see [`crate::error`]).

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Longest `Retry-After` sent.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// One thing wrong with one part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Index of the record in the body, from 0, where the request holds several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The field, parameter or header at fault; empty when it is the whole.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub reason: Cow<'static, str>,
}

impl FieldError {
    /// A fault in a parameter, header or field of a single document.
    #[must_use]
    pub fn of(field: &'static str, reason: impl Into<Cow<'static, str>>) -> FieldError {
        FieldError { index: None, field: field.into(), reason: reason.into() }
    }
}

/// An error answer.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    challenge: Option<&'static str>,
    members: serde_json::Map<String, serde_json::Value>,
}

/// The document as sent; also its schema in the API description.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem, title = "Problem")]
pub(crate) struct ProblemDocument<'a> {
    /// `urn:heimdall:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The HTTP status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// Stable, for programs.
    code: &'a str,
    /// What happened, for people.
    detail: &'a str,
    /// The parts at fault, where they can be named.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<FieldError>)]
    errors: &'a [FieldError],
}

/// The document, then the members of this one answer.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    document: ProblemDocument<'a>,
    #[serde(flatten)]
    members: &'a serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem of this status and code; `detail` is for people and goes to the client.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem(Box::new(Parts {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            challenge: None,
            members: serde_json::Map::new(),
        }))
    }

    /// 400: the request cannot be understood.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 422 `invalid_document`: one field of the document is at fault.
    #[must_use]
    pub fn field(field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Problem {
        let (field, reason) = (field.into(), reason.into());
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_document", format!("`{field}`: {reason}"))
            .with_errors(vec![FieldError { index: None, field, reason }])
    }

    /// 400 `invalid_parameter`: one parameter or header is at fault.
    #[must_use]
    pub fn parameter(name: &'static str, reason: impl Into<Cow<'static, str>>) -> Problem {
        let reason = reason.into();
        Problem::bad_request("invalid_parameter", format!("`{name}`: {reason}"))
            .with_errors(vec![FieldError::of(name, reason)])
    }

    /// 404: no such `thing`.
    #[must_use]
    pub fn not_found(thing: &'static str, id: impl std::fmt::Display) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", format!("no {thing} `{id}`"))
    }

    /// 413: the request is larger than `bytes_max`.
    #[must_use]
    pub fn too_large(bytes_max: u64) -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is larger than {bytes_max} bytes; split it"),
        )
    }

    /// 503 or 429 with `Retry-After`.
    #[must_use]
    pub fn busy(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
        retry_after: Duration,
    ) -> Problem {
        Problem::new(status, code, detail).with_retry_after(retry_after)
    }

    /// 500 whose cause is logged under the request and not sent.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Problem {
        tracing::error!(error = %Chain(error), "request failed");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed to answer; its log says why",
        )
    }

    /// The same naming the parts at fault.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Problem {
        self.0.errors = errors;
        self
    }

    /// The same asking to come back later.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Problem {
        self.0.retry_after = Some(after.min(RETRY_AFTER_MAX));
        self
    }

    /// The same asking for a token (`WWW-Authenticate`).
    #[must_use]
    pub fn with_challenge(mut self, challenge: &'static str) -> Problem {
        self.0.challenge = Some(challenge);
        self
    }

    /// The same with one more member (RFC 9457, 3.2).
    #[must_use]
    pub fn with_member(mut self, name: &str, value: serde_json::Value) -> Problem {
        self.0.members.insert(name.to_owned(), value);
        self
    }

    /// The same with the members of an object; the standard ones win.
    #[must_use]
    pub fn with_members(mut self, object: serde_json::Value) -> Problem {
        if let serde_json::Value::Object(members) = object {
            self.0.members.extend(members);
        }
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The words for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let parts = &self.0;
        let document = ProblemDocument {
            kind: format!("urn:heimdall:problem:{}", parts.code),
            title: parts.status.canonical_reason().unwrap_or("Error"),
            status: parts.status.as_u16(),
            code: parts.code,
            detail: &parts.detail,
            errors: &parts.errors,
        };
        let whole = Whole { document, members: &parts.members };
        serde_json::to_vec(&whole).expect("plain data serialises")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.0.retry_after {
            let seconds = after.as_millis().div_ceil(1_000).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(1)));
        }
        if let Some(challenge) = self.0.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// An error and its causes, `: ` between them.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_code_parts_and_headers() {
        let problem =
            Problem::parameter("limit", "is above 10000").with_retry_after(Duration::from_millis(1_200));
        assert_eq!(
            String::from_utf8(problem.to_json()).unwrap(),
            r#"{"type":"urn:heimdall:problem:invalid_parameter","title":"Bad Request","status":400,"code":"invalid_parameter","detail":"`limit`: is above 10000","errors":[{"field":"limit","reason":"is above 10000"}]}"#
        );
        let response = problem.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
