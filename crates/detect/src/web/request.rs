//! Finding the HTTP request a record tells of: in its attributes, or in its message.
//!
//! Invariants:
//! - texts are as logged; nothing is decoded here;
//! - a record without a request path or target has no request.

use std::borrow::Cow;
use std::sync::LazyLock;

use heimdall_model::attributes::{self, Attribute};
use heimdall_model::batch::Row;
use heimdall_model::schema::logs;
use memchr::memmem;

/// A request as logged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request<'a> {
    /// Method, such as `GET`.
    pub method: Option<Cow<'a, str>>,
    /// Path, without the query.
    pub path: Cow<'a, str>,
    /// What follows the first `?`.
    pub query: Option<Cow<'a, str>>,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Page the client says it came from.
    pub referer: Option<Cow<'a, str>>,
    /// What the client says it is.
    pub user_agent: Option<Cow<'a, str>>,
    /// Cookies the client sent, where they are logged.
    pub cookie: Option<Cow<'a, str>>,
    /// Body of the request, where it is logged.
    pub body: Option<Cow<'a, str>>,
    /// The request line was not `METHOD target PROTOCOL`; it is then the path.
    pub malformed: bool,
}

/// What an attribute says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Method,
    Path,
    Query,
    /// Path and query, perhaps after scheme and host.
    Target,
    /// A whole request line.
    Line,
    Status,
    Referer,
    Agent,
    Cookie,
    Body,
}

/// Names of attributes: those of the access log decoder, of OpenTelemetry (old and new), of ECS, and of common loggers.
const NAMES: &[(&str, Part)] = &[
    ("method", Part::Method),
    ("http.method", Part::Method),
    ("http.request.method", Part::Method),
    ("request_method", Part::Method),
    ("verb", Part::Method),
    ("path", Part::Path),
    ("http.path", Part::Path),
    ("url.path", Part::Path),
    ("request_path", Part::Path),
    ("uri_path", Part::Path),
    ("cs-uri-stem", Part::Path),
    ("query", Part::Query),
    ("http.query", Part::Query),
    ("url.query", Part::Query),
    ("query_string", Part::Query),
    ("cs-uri-query", Part::Query),
    ("target", Part::Target),
    ("http.target", Part::Target),
    ("url", Part::Target),
    ("http.url", Part::Target),
    ("url.full", Part::Target),
    ("url.original", Part::Target),
    ("uri", Part::Target),
    ("http.uri", Part::Target),
    ("request_uri", Part::Target),
    ("request.uri", Part::Target),
    ("request.url", Part::Target),
    ("request.path", Part::Target),
    ("request.method", Part::Method),
    ("request", Part::Line),
    ("status", Part::Status),
    ("status_code", Part::Status),
    ("http.status", Part::Status),
    ("http.status_code", Part::Status),
    ("http.response.status_code", Part::Status),
    ("sc-status", Part::Status),
    ("referer", Part::Referer),
    ("referrer", Part::Referer),
    ("http_referer", Part::Referer),
    ("http.referer", Part::Referer),
    ("http.request.referrer", Part::Referer),
    ("user_agent", Part::Agent),
    ("http.user_agent", Part::Agent),
    ("http_user_agent", Part::Agent),
    ("user_agent.original", Part::Agent),
    ("useragent", Part::Agent),
    ("cookie", Part::Cookie),
    ("http_cookie", Part::Cookie),
    ("http.request.header.cookie", Part::Cookie),
    ("request_body", Part::Body),
    ("request.body", Part::Body),
    ("http.request.body", Part::Body),
    ("http.request.body.content", Part::Body),
    ("post_data", Part::Body),
];
/// Objects whose members count under `object.member`.
const OBJECTS: &[&str] = &["http", "url", "request", "user_agent", "http.request", "http.response"];
/// Longest method looked for before a target in a message.
const METHOD_BYTES_MAX: usize = 20;

/// The names by their length, so that most keys are compared with a few.
static BY_LENGTH: LazyLock<Vec<Vec<(&'static str, Part)>>> = LazyLock::new(|| {
    let longest = NAMES.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let of = |length: usize| NAMES.iter().filter(|(name, _)| name.len() == length).copied().collect();
    (0..=longest).map(of).collect()
});

/// What an attribute with this name says of a request.
fn part_of(key: &str) -> Option<Part> {
    let names = BY_LENGTH.get(key.len())?;
    names.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, part)| *part)
}

impl<'a> Request<'a> {
    /// The request a log record tells of.
    #[must_use]
    pub fn of(row: &Row<'a>) -> Option<Request<'a>> {
        let from_attributes = row.attributes().and_then(Request::from_attributes);
        from_attributes.or_else(|| Request::from_text(row.text(logs::MESSAGE)?))
    }

    /// The request that structured attributes describe.
    #[must_use]
    pub fn from_attributes(json: &'a str) -> Option<Request<'a>> {
        let mut request = Request::default();
        let mut found = false;
        for (key, value) in attributes::entries(json) {
            request.take(&key, value, &mut found);
        }
        found.then_some(request)
    }

    fn take(&mut self, key: &str, value: Attribute<'a>, found: &mut bool) {
        match value {
            Attribute::Object(members) if OBJECTS.contains(&key) => {
                let mut name = format!("{key}.");
                for (member, value) in attributes::entries(members) {
                    name.truncate(key.len() + 1);
                    name.push_str(&member);
                    self.take(&name, value, found);
                }
            }
            Attribute::Text(text) => {
                if let Some(part) = part_of(key) {
                    *found |= self.set(part, text);
                }
            }
            Attribute::Number(raw) if part_of(key) == Some(Part::Status) => {
                self.status = self.status.or(raw.parse().ok());
            }
            _ => {}
        }
    }

    /// Takes one part; `true` when it makes the record a request.
    fn set(&mut self, part: Part, text: Cow<'a, str>) -> bool {
        match part {
            Part::Method => self.method = Some(text),
            Part::Path if text.starts_with('/') || text.contains("://") => {
                self.path = text;
                return true;
            }
            Part::Query => self.query = Some(text),
            Part::Target if text.starts_with('/') || text.contains("://") => {
                if self.path.is_empty() {
                    self.set_target(text);
                }
                return true;
            }
            Part::Line => return self.set_line(text),
            Part::Status => self.status = text.parse().ok(),
            Part::Referer => self.referer = Some(text),
            Part::Agent => self.user_agent = Some(text),
            Part::Cookie => self.cookie = Some(text),
            Part::Body => self.body = Some(text),
            Part::Path | Part::Target => {}
        }
        false
    }

    /// A request line, or what came in its place.
    fn set_line(&mut self, text: Cow<'a, str>) -> bool {
        let parsed = match &text {
            Cow::Borrowed(line) => Request::from_line(line).map(|line| (line.method, line.path, line.query)),
            Cow::Owned(line) => Request::from_line(line).map(|line| {
                let own = |part: Cow<'_, str>| Cow::Owned(part.into_owned());
                (line.method.map(own), own(line.path), line.query.map(own))
            }),
        };
        if let Some((method, path, query)) = parsed {
            (self.method, self.path, self.query) = (method, path, query);
        } else {
            self.path = text;
            self.malformed = true;
        }
        true
    }

    fn set_target(&mut self, text: Cow<'a, str>) {
        match text {
            Cow::Borrowed(text) => (self.path, self.query) = split_target(text),
            Cow::Owned(text) => {
                let (path, query) = split_target(&text);
                (self.path, self.query) =
                    (Cow::Owned(path.into_owned()), query.map(|query| Cow::Owned(query.into_owned())));
            }
        }
    }

    /// `METHOD target PROTOCOL`; spaces in the target belong to it.
    #[must_use]
    pub fn from_line(line: &'a str) -> Option<Request<'a>> {
        let (method, target) = line.split_once(' ')?;
        let is_method =
            !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
        let (target, protocol) = target.rsplit_once(' ').unwrap_or((target, ""));
        if !is_method || !protocol.starts_with("HTTP/") {
            return None;
        }
        let (path, query) = split_target(target);
        Some(Request { method: Some(Cow::Borrowed(method)), path, query, ..Request::default() })
    }

    /// A request inside a text: a line of a combined log, or `… "GET /x HTTP/1.1" …` in any other.
    #[must_use]
    pub fn from_text(text: &'a str) -> Option<Request<'a>> {
        let end = memmem::find(text.as_bytes(), b" HTTP/")?;
        let before = &text[..end];
        let start = request_start(before)?;
        let (method, target) = before[start..].split_once(' ')?;
        let (path, query) = split_target(target);
        let mut request = Request { method: Some(Cow::Borrowed(method)), path, query, ..Request::default() };
        let rest = &text[end + 1..];
        if let Some(rest) = rest.find("\" ").map(|quote| &rest[quote + 2..]) {
            request.read_combined(rest);
        }
        Some(request)
    }

    /// ` status bytes "referer" "user agent"`, as far as it is there.
    fn read_combined(&mut self, rest: &'a str) {
        let mut words = rest.split_ascii_whitespace();
        self.status =
            words.next().and_then(|word| word.parse().ok()).filter(|status| (100..600).contains(status));
        let mut rest = if self.status.is_some() { rest } else { "" };
        for part in [Part::Referer, Part::Agent] {
            let Some((text, after)) = quoted(rest) else { return };
            if text != "-" {
                self.set(part, Cow::Borrowed(text));
            }
            rest = after;
        }
    }
}

/// Where `METHOD /target` starts in the text before the protocol: the last upper-case word that a target follows.
fn request_start(before: &str) -> Option<usize> {
    let bytes = before.as_bytes();
    let mut to = bytes.len();
    let mut found = None;
    while let Some(space) = memchr::memrchr(b' ', &bytes[..to]) {
        let head = &bytes[..space];
        let len = head.iter().rev().take_while(|byte| byte.is_ascii_uppercase()).count();
        let starts_target = matches!(bytes.get(space + 1), Some(b'/' | b'h' | b'*'));
        let own_word = head.len() == len || !head[head.len() - len - 1].is_ascii_alphanumeric();
        if (3..=METHOD_BYTES_MAX).contains(&len) && starts_target && own_word {
            found = Some(space - len);
            if head.len() == len || head[head.len() - len - 1] == b'"' {
                break;
            }
        }
        to = space;
    }
    found
}

/// The next text between quotes, a backslash hiding the quote after it, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inner = &text[text.find('"')? + 1..];
    let bytes = inner.as_bytes();
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if bytes[at] == b'"' {
            return Some((&inner[..at], &inner[at + 1..]));
        }
        at += 2;
    }
}

/// Path and query of a target; scheme and host of an absolute one are left out.
fn split_target(target: &str) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    let rest = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    match rest.split_once('?') {
        Some((path, query)) => (Cow::Borrowed(path), Some(Cow::Borrowed(query))),
        None => (Cow::Borrowed(rest), None),
    }
}

/// Names and values of a query, still encoded. `&` before `#` belongs to an HTML entity.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(query);
    let pairs = std::iter::from_fn(move || {
        let text = rest?;
        let mut from = 0;
        let cut = loop {
            match text[from..].find('&').map(|at| from + at) {
                Some(at) if text[at + 1..].starts_with('#') => from = at + 1,
                other => break other,
            }
        };
        let (pair, next) = cut.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
        rest = next;
        Some(pair)
    });
    pairs.filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(request: Option<&Request<'_>>) -> String {
        let Some(r) = request else { return "none".to_owned() };
        let text = |part: &Option<Cow<'_, str>>| part.as_deref().unwrap_or("-").to_owned();
        format!(
            "{} {} {} {} {} {}{}",
            text(&r.method),
            r.path,
            text(&r.query),
            r.status.map_or("-".to_owned(), |status| status.to_string()),
            text(&r.referer),
            text(&r.user_agent),
            if r.malformed { " malformed" } else { "" }
        )
    }

    #[track_caller]
    fn check_attributes(json: &str, shown: &str) {
        assert_eq!(show(Request::from_attributes(json).as_ref()), shown, "{json}");
    }

    #[test]
    fn attributes_of_decoders_and_loggers() {
        check_attributes(
            r#"{"method":"GET","path":"/a","query":"x=\"1\"","status":200,"user_agent":"ua"}"#,
            r#"GET /a x="1" 200 - ua"#,
        );
        check_attributes(
            r#"{"http.request.method":"PUT","url.full":"https://h.example/a?b=1","http.response.status_code":404}"#,
            "PUT /a b=1 404 - -",
        );
        check_attributes(
            r#"{"http":{"method":"GET","target":"/q?z","status_code":500},"user_agent":{"original":"ua"}}"#,
            "GET /q z 500 - ua",
        );
        check_attributes(r#"{"request":"GET /x?y HTTP/1.1","status":"200"}"#, "GET /x y 200 - -");
        check_attributes(r#"{"request":"\\x16\\x03"}"#, r"- \x16\x03 - - - - malformed");
        check_attributes(r#"{"status":200,"user":"x","path":"C:\\tmp"}"#, "none");
    }

    #[track_caller]
    fn check_text(text: &str, shown: &str) {
        assert_eq!(show(Request::from_text(text).as_ref()), shown, "{text}");
    }

    #[test]
    fn requests_inside_messages() {
        check_text(
            r#"192.0.2.1 - - [09/Feb/2026:13:55:36 +0000] "GET /a?b=c d HTTP/1.1" 404 1 "-" "a \"b\"""#,
            r#"GET /a b=c d 404 - a \"b\""#,
        );
        check_text("open() failed, request: \"POST /x HTTP/1.0\", host: \"h\"", "POST /x - - - -");
        check_text("GET /item?id=1 HTTP/1.1", "GET /item id=1 - - -");
        check_text("GET http://h/p?q=1 HTTP/1.1", "GET /p q=1 - - -");
        check_text("speaks HTTP/2", "none");
        check_text("the API HTTP/1.1 spec", "none");
    }

    #[test]
    fn parameters_are_split_and_entities_stay() {
        let pairs: Vec<_> = parameters("a=1&&b&c=&#60;x&d=e=f").collect();
        assert_eq!(pairs, [("a", "1"), ("b", ""), ("c", "&#60;x"), ("d", "e=f")]);
    }
}
