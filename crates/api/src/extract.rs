//! Extractors whose rejections are problems.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use heimdall_ingest::arrive::{self, BodyLimits};
use heimdall_model::time::parse_duration;
use heimdall_model::{LabelMatcher, Timestamp};
use serde::de::DeserializeOwned;

use crate::limits::DOCUMENT_BYTES_MAX;
use crate::problem::{FieldError, Problem};
use crate::{error, json_place};

/// A small document not complete after this long is given up.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a body that another system posts in a form of its own: 413 above.
const POSTED_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Matchers of one request.
const MATCHERS_MAX: usize = 64;

/// Query parameters.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(params)| Params(params)).map_err(|rejection| not_the_parameters(&rejection))
    }
}

/// Names the parameter at fault, which the reader puts before the reason; empty when it is the whole.
fn not_the_parameters(rejection: &QueryRejection) -> Problem {
    let text = rejection.body_text();
    let fault = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
    let (field, reason) = fault.split_once(": ").unwrap_or(("", fault));
    let error = FieldError { index: None, field: short(field).into(), reason: reason.to_owned().into() };
    Problem::bad_request("invalid_parameter", fault.to_owned()).with_errors(vec![error])
}

/// Query parameters as they come, for those that may be given several times.
#[derive(Debug)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Params::from_request_parts(parts, state).await.map(|Params(pairs)| Pairs(pairs))
    }
}

impl Pairs {
    /// The last value of a parameter; an empty one is none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().rev().find(|(given, _)| given == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter that is true or false.
    ///
    /// # Errors
    /// 400: it is neither.
    pub(crate) fn flag(&self, name: &'static str, default: bool) -> Result<bool, Problem> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let neither = || Problem::parameter(name, format!("`{}` is neither true nor false", short(value)));
        value.parse().map_err(|_| neither())
    }

    /// Every `filter`, as matchers.
    ///
    /// # Errors
    /// 400: one is no matcher, or there are too many.
    pub(crate) fn matchers(&self) -> Result<Vec<LabelMatcher>, Problem> {
        let filters = self.0.iter().filter(|(name, value)| name == "filter" && !value.is_empty());
        let matchers: Vec<&str> = filters.map(|(_, value)| value.as_str()).collect();
        read_matchers(&matchers).map_err(|reason| Problem::parameter("filter", reason))
    }
}

/// Reads matchers such as `service="payment"`.
pub(crate) fn read_matchers<T: AsRef<str>>(texts: &[T]) -> Result<Vec<LabelMatcher>, String> {
    if texts.len() > MATCHERS_MAX {
        return Err(format!("there are more than {MATCHERS_MAX} matchers"));
    }
    let read = |text: &T| text.as_ref().parse::<LabelMatcher>().map_err(|error| error.to_string());
    texts.iter().map(read).collect()
}

/// A body as it comes, up to 4 MiB: what others post in forms of their own, and what signatures are computed over.
#[derive(Debug)]
pub(crate) struct RawBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let announced = announced_length(request.headers(), POSTED_BYTES_MAX)?;
        let limits =
            BodyLimits { bytes_max: POSTED_BYTES_MAX, idle: DOCUMENT_TIMEOUT, total: DOCUMENT_TIMEOUT };
        collect(request.into_body(), announced, &limits).await.map(RawBody)
    }
}

impl RawBody {
    /// Reads it as a JSON document.
    ///
    /// # Errors
    /// 400 or 422: it is none.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.0).map_err(|error| not_the_document(&self.0, &error))
    }
}

/// A part of the path.
#[derive(Debug)]
pub(crate) struct Segment<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segment<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let rejected = |rejection: PathRejection| Problem::bad_request("invalid_path", rejection.body_text());
        Path::from_request_parts(parts, state).await.map(|Path(segment)| Segment(segment)).map_err(rejected)
    }
}

/// A small JSON document; an empty body reads as `T::default()`.
#[derive(Debug)]
pub(crate) struct Document<T, const BYTES_MAX: usize = DOCUMENT_BYTES_MAX>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default, const BYTES_MAX: usize> FromRequest<S>
    for Document<T, BYTES_MAX>
{
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        expect_json(request.headers())?;
        let limits =
            BodyLimits { bytes_max: BYTES_MAX as u64, idle: DOCUMENT_TIMEOUT, total: DOCUMENT_TIMEOUT };
        let body = collect(request.into_body(), None, &limits).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Document(T::default()));
        }
        serde_json::from_slice(&body).map(Document).map_err(|error| not_the_document(&body, &error))
    }
}

/// JSON, or nothing said, or what curl says when nobody told it.
fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let name = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let fits = name.eq_ignore_ascii_case("application/json")
        || name.to_ascii_lowercase().ends_with("+json")
        || name.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    if fits { Ok(()) } else { Err(unsupported_media(name)) }
}

/// 415 for a content type.
pub(crate) fn unsupported_media(name: &str) -> Problem {
    let detail = format!("content type `{name}` is not accepted here; send `application/json`");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

/// Names the field at fault by where the reader stopped.
fn not_the_document(body: &[u8], error: &serde_json::Error) -> Problem {
    let (status, code, field) = match error.classify() {
        serde_json::error::Category::Data => {
            let field = json_place::field_at(body, error.line(), error.column());
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_document", short(&field))
        }
        _ => (StatusCode::BAD_REQUEST, "invalid_json", String::new()),
    };
    Problem::new(status, code, error.to_string()).with_errors(vec![FieldError {
        index: None,
        field: field.into(),
        reason: error.to_string().into(),
    }])
}

/// The announced length of a body.
///
/// # Errors
/// 413 when it is above `bytes_max`: refused before a byte of it is read.
pub(crate) fn announced_length(headers: &HeaderMap, bytes_max: u64) -> Result<Option<u64>, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        Some(length) if length > bytes_max => Err(Problem::too_large(bytes_max)),
        other => Ok(other),
    }
}

/// Reads a small document to its end.
async fn collect(body: Body, announced: Option<u64>, limits: &BodyLimits) -> Result<Bytes, Problem> {
    let collected = arrive::collect(body.into_data_stream(), announced, limits, &mut |_| Ok(())).await;
    collected.map_err(|error| error::arrive(&error))
}

/// Reads a time parameter: RFC 3339, epoch s, ms, µs or ns, or `now-15m`.
pub(crate) fn time(name: &'static str, text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    Timestamp::parse_when(text, now).ok_or_else(|| {
        let reason = format!("`{}` is not a time: RFC 3339, epoch s/ms/µs/ns or `now-15m`", short(text));
        Problem::parameter(name, reason)
    })
}

/// The same for a parameter that may be absent.
pub(crate) fn time_opt(
    name: &'static str,
    text: Option<&str>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Problem> {
    text.filter(|text| !text.is_empty()).map(|text| time(name, text, now)).transpose()
}

/// The end of a period that a document states as `until` or `for`; none when it states neither.
///
/// # Errors
/// 422 naming the field: it is no time or duration, both are given, or the end is not in the future.
pub(crate) fn end_of_period(
    until: Option<&str>,
    period: Option<&str>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Problem> {
    let (field, end) = match (until, period) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(Problem::field("until", "goes without `for`")),
        (Some(until), None) => ("until", Timestamp::parse_when(until, now)),
        (None, Some(period)) => ("for", parse_duration(period).map(|ns| now.saturating_add_ns(ns))),
    };
    let given = short(until.or(period).unwrap_or_default());
    match end {
        None => Err(Problem::field(field, format!("`{given}` is no time or duration, such as `2h`"))),
        Some(end) if end <= now => Err(Problem::field(field, format!("`{given}` is not in the future"))),
        Some(end) => Ok(Some(end)),
    }
}

/// Checks a `limit` parameter.
pub(crate) fn limit(given: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match given {
        None => Ok(default),
        Some(limit) if (1..=max).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::parameter("limit", format!("must be 1 to {max}"))),
    }
}

/// The start of a text from a client, for messages.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_ends_in_the_future() {
        let now = Timestamp(1_795_780_800_000_000_000);
        let ends = |until, period| end_of_period(until, period, now).map(|end| end.map(|end| end.0 - now.0));
        let hour = 3_600_000_000_000;
        assert_eq!(ends(None, None).unwrap(), None);
        assert_eq!(ends(None, Some("2h")).unwrap(), Some(2 * hour));
        assert_eq!(ends(Some("now+1h"), None).unwrap(), Some(hour));
        for (until, period) in [
            (Some("now-1h"), None),
            (Some("x"), None),
            (None, Some("0s")),
            (None, Some("x")),
            (Some("now+1h"), Some("2h")),
        ] {
            assert_eq!(ends(until, period).unwrap_err().code(), "invalid_document", "{until:?} {period:?}");
        }
    }
}
