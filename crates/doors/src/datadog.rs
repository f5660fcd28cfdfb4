//! Datadog's intake of logs: what its Agent, its libraries and its forwarders send.
//!
//! Invariants:
//! - an answer of 2xx comes after what was sent is durable; an empty object or list, by which clients try the way, is not a record;
//! - tags never take a field from what the record says itself.
//!
//! Not here: metrics, traces and checks of Datadog.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use heimdall_ingest::format::{Format, parse_line};
use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Decoded, Object, Reading, Records};
use heimdall_model::{Dataset, Level};
use serde::Deserialize;
use serde_json::json;

use crate::Shared;
use crate::http::{Failure, Visitor, arrive, is_nothing, something_taken};
use crate::members::{Members, each_value, text_of};
use crate::shared::Handover;

/// Name of the door.
const DOOR: &str = "datadog";
/// Tags of one record that are read; what follows stays as text.
const TAGS_MAX: usize = 200;

const NOT_UTF8: &str = "body has bytes that are not UTF-8: replaced by U+FFFD";

/// The paths of this door.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v2/logs", post(v2))
        .route("/v1/input", post(v1))
        // A key in the path is no credential: paths end up in logs.
        .route("/v1/input/{key}", post(v1))
        .route("/api/v1/validate", get(validate))
}

/// What a request says of all its records.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Given {
    ddsource: Option<String>,
    ddtags: Option<String>,
    hostname: Option<String>,
    service: Option<String>,
}

type Asked = Result<Query<Given>, QueryRejection>;

async fn validate(visitor: Visitor) -> Response {
    match visitor.known() {
        Ok(()) => Json(json!({"valid": true})).into_response(),
        Err(failure) => failed(&failure),
    }
}

async fn v2(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    given: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answered(take(&shared, &visitor, given, &headers, body).await, StatusCode::ACCEPTED)
}

async fn v1(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    given: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answered(take(&shared, &visitor, given, &headers, body).await, StatusCode::OK)
}

fn answered(taken: Result<(), Failure>, status: StatusCode) -> Response {
    match taken {
        Ok(()) => (status, Json(json!({}))).into_response(),
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> Response {
    let status = failure.status();
    let error = json!({
        "status": status.as_str(), "title": status.canonical_reason().unwrap_or_default(), "detail": failure.to_string(),
    });
    let mut response = (status, Json(json!({"errors": [error]}))).into_response();
    failure.hint(response.headers_mut());
    response
}

async fn take(
    shared: &Shared,
    visitor: &Visitor,
    given: Asked,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), Failure> {
    let caller = visitor.caller()?;
    let Query(given) = given.unwrap_or_default();
    let is_text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.trim_start().to_ascii_lowercase())
        .is_some_and(|value| value.starts_with("text/") || value.starts_with("application/logplex"));
    let arrived = arrive(shared, &caller, headers, body).await?;
    let bytes = arrived.body.len() as u64;
    let decode = move |body: &[u8], reading: Reading<'_>| match is_text {
        true => decode_text(body, reading, &given),
        false => decode_json(body, reading, &given),
    };
    let decoded = shared.decode_from(&caller, DOOR, arrived.body, decode).await?;
    if is_nothing(&decoded) {
        return Ok(());
    }
    let handover = Handover { caller, door: DOOR, key: None, decoded: vec![decoded], bytes };
    let receipts = shared.admit(handover, Some(arrived.permit)).await?;
    receipts.iter().try_for_each(something_taken)
}

/// Reads JSON: objects one after the other, or lists of them.
fn decode_json(body: &[u8], reading: Reading<'_>, given: &Given) -> Result<Decoded, BodyError> {
    let text = String::from_utf8_lossy(body);
    let mut reader = Reader::new(reading, given);
    if matches!(text, Cow::Owned(_)) {
        reader.records.note("", NOT_UTF8);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.trim_ascii().is_empty() {
        return Err(BodyError::Empty);
    }
    each_value(text, |value| reader.take(value))
        .map_err(|error| BodyError::Malformed { format: "JSON", detail: error.to_string() })??;
    Ok(reader.records.finish())
}

/// Reads lines of text: each is a record.
fn decode_text(body: &[u8], reading: Reading<'_>, given: &Given) -> Result<Decoded, BodyError> {
    let text = String::from_utf8_lossy(body);
    let mut reader = Reader::new(reading, given);
    if matches!(text, Cow::Owned(_)) {
        reader.records.note("message", NOT_UTF8);
    }
    for line in text.lines().filter(|line| !line.trim_ascii().is_empty()) {
        reader.records.has_room()?;
        reader.line(line);
    }
    if reader.records.is_empty() { Err(BodyError::Empty) } else { Ok(reader.records.finish()) }
}

struct Reader<'r> {
    records: Records<'r>,
    given: &'r Given,
    reading: Reading<'r>,
    object: Object,
}

impl<'r> Reader<'r> {
    fn new(reading: Reading<'r>, given: &'r Given) -> Reader<'r> {
        Reader { records: Records::new(Dataset::Logs, reading), given, reading, object: Object::new() }
    }

    fn line(&mut self, line: &str) {
        let parsed = parse_line(Format::Plain, line, self.reading.now);
        let tags = Tags::of([self.given.ddtags.as_deref(), None]);
        tags.write(&mut self.object, |_| false);
        self.object.text("message", line);
        if let Some(time) = parsed.timestamp {
            self.object.time("timestamp", time);
        }
        if let Some(level) = parsed.level {
            self.object.text("level", level.as_str());
        }
        let given = self.given;
        for (key, value) in
            [("ddsource", &given.ddsource), ("host", &given.hostname), ("service", &given.service)]
        {
            self.object.text_if(key, value.as_deref().unwrap_or_default());
        }
        let _ = self.records.object(&mut self.object); // what was rejected is noted
    }

    fn take(&mut self, value: &str) -> Result<(), BodyError> {
        let is_small = value.len() <= self.reading.limits.record_bytes_max;
        let members = is_small.then(|| Members::read(value)).flatten();
        if members.as_ref().is_some_and(|members| members.iter().next().is_none()) {
            return Ok(()); // a client tries the way
        }
        self.records.has_room()?;
        let _ = match members {
            Some(members) => self.members(&members),
            None => self.records.json(value),
        }; // what was rejected is noted
        Ok(())
    }

    fn members(&mut self, members: &Members<'_>) -> Result<(), heimdall_ingest::Rejected> {
        let own_tags = members.text("ddtags");
        let tags = Tags::of([self.given.ddtags.as_deref(), own_tags.as_deref()]);
        let has = |key: &str| {
            members.has(key)
                || match key {
                    "host" => members.has("hostname") || self.given.hostname.is_some(),
                    "service" => self.given.service.is_some(),
                    _ => false,
                }
        };
        tags.write(&mut self.object, has);
        let given = self.given;
        for (key, value) in
            [("ddsource", &given.ddsource), ("hostname", &given.hostname), ("service", &given.service)]
        {
            let is_absent = !members.has(key);
            self.object.text_if(key, value.as_deref().filter(|_| is_absent).unwrap_or_default());
        }
        let nested = members.members("message");
        if let Some(nested) = &nested {
            copy(&mut self.object, nested, |_| true);
        }
        // Looked for once: a record may have many members of one name.
        let status = members.raw("status");
        let level = status.and_then(level_of).filter(|_| !members.has("level"));
        if let Some(level) = level {
            self.object.text("level", level.as_str());
        }
        let keeps_status = level.is_none() || status.is_some_and(is_ok);
        let is_kept = |key: &str| match key {
            "ddtags" => own_tags.is_none(),
            "message" => nested.is_none(),
            "status" => keeps_status,
            _ => true,
        };
        copy(&mut self.object, members, is_kept);
        self.trace(members);
        self.records.object(&mut self.object)
    }

    /// Datadog's ids are numbers of 64 bits; newer trace ids are 32 hex digits.
    fn trace(&mut self, members: &Members<'_>) {
        let nested = members.members("dd");
        let id = |flat: &str, key: &str| {
            members.text(flat).or_else(|| nested.as_ref().and_then(|nested| nested.text(key)))
        };
        for (flat, key, digits) in [("dd.trace_id", "trace_id", 32), ("dd.span_id", "span_id", 16)] {
            if !members.has(key)
                && let Some(id) = id(flat, key).as_deref().and_then(|id| hex_id(id, digits))
            {
                self.object.text(key, &id);
            }
        }
    }
}

fn copy(object: &mut Object, members: &Members<'_>, is_kept: impl Fn(&str) -> bool) {
    for (key, raw) in members.iter().filter(|(key, _)| is_kept(key)) {
        object.value(key, |out| out.push_str(raw));
    }
}

fn hex_id(id: &str, digits: usize) -> Option<String> {
    if id.len() == digits && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits == 32 {
        return Some(id.to_owned());
    }
    let number = id.parse::<u64>().ok().filter(|number| *number != 0)?;
    Some(format!("{number:0digits$x}"))
}

/// The level that a status means, by its first letters, or by the number of syslog.
fn level_of(raw: &str) -> Option<Level> {
    let text = text_of(raw)?;
    if let Ok(number) = text.parse::<u8>() {
        return match number {
            0..=2 => Some(Level::Fatal),
            3 => Some(Level::Error),
            4 => Some(Level::Warn),
            5 | 6 => Some(Level::Info),
            7 => Some(Level::Debug),
            _ => None,
        };
    }
    Level::parse(&text).or_else(|| by_prefix(&text.to_ascii_lowercase()))
}

fn by_prefix(status: &str) -> Option<Level> {
    const PREFIXES: [(&str, Level); 11] = [
        ("emerg", Level::Fatal),
        ("f", Level::Fatal),
        ("a", Level::Fatal),
        ("c", Level::Fatal),
        ("e", Level::Error),
        ("w", Level::Warn),
        ("n", Level::Info),
        ("i", Level::Info),
        ("d", Level::Debug),
        ("t", Level::Trace),
        ("v", Level::Trace),
    ];
    let found = PREFIXES.iter().find(|(prefix, _)| status.starts_with(prefix));
    found.map(|(_, level)| *level).or((status == "ok" || status == "success").then_some(Level::Info))
}

/// Whether a status says more than its level.
fn is_ok(raw: &str) -> bool {
    text_of(raw).is_some_and(|text| text.eq_ignore_ascii_case("ok") || text.eq_ignore_ascii_case("success"))
}

/// `env:prod,team:a,canary`, taken apart.
struct Tags<'t> {
    /// By key, in the order of their first value.
    pairs: Vec<(&'t str, Vec<&'t str>)>,
    /// Without a value.
    words: Vec<&'t str>,
}

impl<'t> Tags<'t> {
    fn of(lists: [Option<&'t str>; 2]) -> Tags<'t> {
        let mut tags = Tags { pairs: Vec::new(), words: Vec::new() };
        let texts = lists.into_iter().flatten().flat_map(|list| list.split(','));
        for tag in texts.map(str::trim).filter(|tag| !tag.is_empty()).take(TAGS_MAX) {
            match tag.split_once(':').filter(|(key, _)| !key.is_empty()) {
                Some((key, value)) => tags.push(key, value),
                None if !tags.words.contains(&tag) => tags.words.push(tag),
                None => {}
            }
        }
        tags
    }

    fn push(&mut self, key: &'t str, value: &'t str) {
        match self.pairs.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => self.pairs.push((key, vec![value])),
        }
    }

    /// Writes fields for the tags that mean one the record lacks, and attributes for all others.
    fn write(&self, object: &mut Object, has: impl Fn(&str) -> bool) {
        let field_of = |key: &str, values: &[&str]| {
            let field = match key {
                "service" => "service",
                "env" => "environment",
                "host" => "host",
                _ => return None,
            };
            (values.len() == 1 && !has(key) && !has(field)).then_some(field)
        };
        for (key, values) in &self.pairs {
            if let Some(field) = field_of(key, values) {
                object.text_if(field, values[0]);
            }
        }
        let attributes = self.pairs.iter().filter(|(key, values)| field_of(key, values).is_none());
        let attributes = attributes
            .map(|(key, values)| (if *key == "version" { "service.version" } else { *key }, values));
        let words = (!self.words.is_empty()).then_some(("tags", &self.words));
        let attributes: Vec<_> = attributes.chain(words).collect();
        if !attributes.is_empty() {
            object.value("attributes", |out| {
                write::object(out, attributes, |out, values| match values.as_slice() {
                    [one] => write::text(out, one),
                    many => write::array(out, many, |out, one| write::text(out, one)),
                });
            });
        }
    }
}

#[cfg(test)]
mod tests;
