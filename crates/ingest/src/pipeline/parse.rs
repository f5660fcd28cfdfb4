//! The step `parse`: a text taken apart into members.
//!
//! Invariant: what it makes is bounded: at most [`PIECES_MAX`] members of at most the text's own bytes.

use std::borrow::Cow;
use std::sync::LazyLock;

use heimdall_extract::{Extractor, Form, group_values};
use heimdall_model::{Dataset, Timestamp};
use serde::Deserialize;

use super::condition::OneOrMore;
use super::doc::{Doc, FieldRef, Val};
use crate::format::{self, Format};

/// Most members one text is taken apart into.
pub(crate) const PIECES_MAX: usize = 500;
/// Longest text that is taken apart.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// As written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenParse {
    #[serde(default)]
    field: Option<String>,
    r#as: String,
    #[serde(default)]
    pattern: Option<OneOrMore>,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    separator: Option<char>,
    #[serde(default)]
    into: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default = "yes")]
    keep_source: bool,
}

fn yes() -> bool {
    true
}

/// The step, ready.
#[derive(Debug)]
pub(crate) struct Parse {
    field: FieldRef,
    way: Way,
    into: Option<String>,
    prefix: String,
    keep_source: bool,
}

#[derive(Debug)]
enum Way {
    /// The first of them that fits.
    Extract(Vec<Extractor>),
    Json,
    Csv {
        columns: Vec<String>,
        separator: u8,
    },
    UserAgent,
    Url,
    Lines(Format),
}

impl Parse {
    pub(crate) fn new(written: WrittenParse) -> Result<Parse, String> {
        let field = FieldRef::new(written.field.as_deref().unwrap_or("message"))?;
        let patterns = |form: fn(String) -> Form| {
            let patterns = written
                .pattern
                .as_ref()
                .ok_or_else(|| format!("`as: {}` needs a `pattern`", written.r#as))?;
            patterns
                .as_slice()
                .iter()
                .map(|pattern| Extractor::new(&form(pattern.clone())))
                .collect::<Result<Vec<_>, _>>()
                .map(Way::Extract)
        };
        let one = |form: Form| Extractor::new(&form).map(|extractor| Way::Extract(vec![extractor]));
        let way = match written.r#as.as_str() {
            "json" => Way::Json,
            "logfmt" => one(Form::Logfmt)?,
            "kv" => one(Form::Pairs)?,
            "regex" => patterns(Form::Regex)?,
            "grok" => patterns(Form::Grok)?,
            "pattern" => patterns(Form::Pattern)?,
            "csv" => csv_way(&written)?,
            "user_agent" => Way::UserAgent,
            "url" => Way::Url,
            "syslog" => Way::Lines(Format::Syslog),
            "access" | "combined" => Way::Lines(Format::Access),
            other => {
                const WAYS: [&str; 11] = [
                    "json",
                    "logfmt",
                    "kv",
                    "regex",
                    "grok",
                    "pattern",
                    "csv",
                    "user_agent",
                    "url",
                    "syslog",
                    "access",
                ];
                let near = heimdall_extract::nearest(other, WAYS.into_iter());
                let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                return Err(format!("`{other}` is no way to take a text apart ({}){hint}", WAYS.join(", ")));
            }
        };
        let takes_pattern = matches!(written.r#as.as_str(), "regex" | "grok" | "pattern");
        if written.pattern.is_some() && !takes_pattern {
            return Err(format!("`as: {}` takes no `pattern`", written.r#as));
        }
        if let Some(into) = &written.into {
            FieldRef::new(into)?;
        }
        let prefix = written.prefix.unwrap_or_default();
        Ok(Parse { field, way, into: written.into, prefix, keep_source: written.keep_source })
    }

    /// Takes the field's text apart; the record is as it was when that fails.
    pub(crate) fn apply(
        &self,
        doc: &mut Doc<'_>,
        dataset: Dataset,
        now: Timestamp,
    ) -> Result<(), Cow<'static, str>> {
        let Some(found) = self.field.get(doc, dataset) else {
            return Err(format!("`{}` is absent", self.field.path()).into());
        };
        let text = found.into_text();
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("`{}` is longer than {TEXT_BYTES_MAX} bytes", self.field.path()).into());
        }
        let pieces = self.way.pieces(&text, now)?;
        if pieces.len() > PIECES_MAX {
            return Err(format!("it has more than {PIECES_MAX} pieces").into());
        }
        drop(text);
        if !self.keep_source {
            self.field.take(doc, dataset);
        }
        match &self.into {
            Some(into) => {
                let mut inside = Doc::default();
                inside.merge(pieces, |key| format!("{}{key}", self.prefix));
                doc.set(into, Val::json(inside.to_json()));
            }
            None if self.prefix.is_empty() => doc.merge(pieces, str::to_owned),
            None => doc.merge(pieces, |key| format!("{}{key}", self.prefix)),
        }
        Ok(())
    }
}

fn csv_way(written: &WrittenParse) -> Result<Way, String> {
    let separator = u8::try_from(written.separator.unwrap_or(',')).ok().filter(u8::is_ascii);
    let separator = separator.ok_or("the separator is one ASCII character")?;
    if written.columns.is_empty() || written.columns.len() > PIECES_MAX {
        return Err(format!("`as: csv` needs 1 to {PIECES_MAX} `columns`"));
    }
    Ok(Way::Csv { columns: written.columns.clone(), separator })
}

impl Way {
    fn pieces(&self, text: &str, now: Timestamp) -> Result<Doc<'static>, Cow<'static, str>> {
        match self {
            Way::Extract(extractors) => extracted(extractors, text),
            Way::Json => object(text),
            Way::Csv { columns, separator } => csv(text, columns, *separator),
            Way::UserAgent => user_agent(text),
            Way::Url => url(text),
            Way::Lines(format) => line(*format, text, now),
        }
    }
}

fn extracted(extractors: &[Extractor], text: &str) -> Result<Doc<'static>, Cow<'static, str>> {
    for extractor in extractors {
        match extractor {
            Extractor::Document(read) => {
                if let Some(json) = read(text) {
                    return object(&json);
                }
            }
            Extractor::Groups { regex, groups } => {
                if !regex.is_match(text) {
                    continue;
                }
                let mut doc = Doc::default();
                for (group, value) in groups.iter().zip(group_values(regex, groups, Some(text))) {
                    if let Some(value) = Val::of(value) {
                        doc.put(Cow::Owned(group.name.clone()), value);
                    }
                }
                return Ok(doc);
            }
        }
    }
    Err("the text does not fit the pattern".into())
}

/// The object in a text, from its first brace on; what is no value any reader takes is refused.
fn object(text: &str) -> Result<Doc<'static>, Cow<'static, str>> {
    let json = text.find('{').map(|start| &text[start..]).ok_or("there is no JSON object in the text")?;
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<serde::de::IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => {}
        _ => return Err("the JSON object in the text is not valid".into()),
    }
    let json = &json[..values.byte_offset()];
    let doc = Doc::parse(json).map_err(|syntax| format!("the JSON object in the text: {}", syntax.detail))?;
    let mut owned = Doc::default();
    owned.merge(doc, str::to_owned);
    Ok(owned)
}

fn csv(text: &str, columns: &[String], separator: u8) -> Result<Doc<'static>, Cow<'static, str>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(text.as_bytes());
    let Some(Ok(row)) = reader.records().next() else { return Err("the text is no line of CSV".into()) };
    if row.len() != columns.len() {
        return Err(format!("it has {} columns, not {}", row.len(), columns.len()).into());
    }
    let mut doc = Doc::default();
    for (name, cell) in columns.iter().zip(&row) {
        // `-` and an empty name leave a column out.
        if !cell.is_empty() && !name.is_empty() && name != "-" {
            doc.put(Cow::Owned(name.clone()), Val::text(cell));
        }
    }
    Ok(doc)
}

fn user_agent(text: &str) -> Result<Doc<'static>, Cow<'static, str>> {
    static PARSER: LazyLock<woothee::parser::Parser> = LazyLock::new(woothee::parser::Parser::new);
    let Some(found) = PARSER.parse(text) else { return Err("the user agent is not known".into()) };
    let mut doc = Doc::default();
    let known = [
        ("user_agent.name", found.name),
        ("user_agent.version", found.version),
        ("user_agent.os.name", found.os),
        ("user_agent.os.version", found.os_version.as_ref()),
        ("user_agent.device", found.category),
        ("user_agent.vendor", found.vendor),
    ];
    for (name, value) in known.into_iter().filter(|(_, value)| !value.is_empty() && *value != "UNKNOWN") {
        doc.put(Cow::Borrowed(name), Val::text(value));
    }
    if doc.len() == 0 { Err("the user agent is not known".into()) } else { Ok(doc) }
}

/// The parts of a URL, or of the target of a request (`/path?query`). Percent-encoding stays, so that rules see what was sent.
fn url(text: &str) -> Result<Doc<'static>, Cow<'static, str>> {
    let text = text.trim();
    let mut doc = Doc::default();
    let mut put = |name: &'static str, value: &str| {
        if !value.is_empty() {
            doc.put(Cow::Borrowed(name), Val::text(value));
        }
    };
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let scheme_is = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let path = match rest.split_once("://").filter(|(scheme, _)| scheme_is(scheme)) {
        None if rest.starts_with('/') => rest,
        None => return Err("the text is no URL".into()),
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            let (host, port) = match host.rsplit_once(':') {
                Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                    (host, port)
                }
                _ => (host, ""),
            };
            put("url.scheme", scheme);
            // Never the password.
            put("url.username", user.split(':').next().unwrap_or_default());
            put("url.domain", host);
            put("url.port", port);
            path
        }
    };
    put("url.path", path);
    put("url.query", query);
    put("url.fragment", fragment);
    let name = path.rsplit('/').next().unwrap_or_default();
    put("url.extension", name.rsplit_once('.').map_or("", |(_, extension)| extension));
    Ok(doc)
}

fn line(format: Format, text: &str, now: Timestamp) -> Result<Doc<'static>, Cow<'static, str>> {
    let parsed = format::parse_line(format, text, now);
    if let Some(reason) = parsed.diagnostics.first() {
        return Err((*reason).into());
    }
    let mut json = String::new();
    crate::text::write_object(&parsed, &mut json);
    object(&json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: &str, record: &str, expected: &str) {
        let parse = Parse::new(yaml_serde::from_str(step).expect("a step")).expect("valid");
        let mut doc = Doc::parse(record).expect("JSON");
        let now = Timestamp::parse("2026-03-01T12:00:00Z").expect("a time");
        let found = match parse.apply(&mut doc, Dataset::Logs, now) {
            Ok(()) => doc.to_json(),
            Err(reason) => format!("{reason} | {}", doc.to_json()),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn each_way() {
        check("{as: json}", r#"{"msg":"got {\"a\":1.50}"}"#, r#"{"msg":"got {\"a\":1.50}","a":1.50}"#);
        check(
            "{as: json, into: body, keep_source: false}",
            r#"{"message":"{\"a\":1}"}"#,
            r#"{"body":{"a":1}}"#,
        );
        check(
            "{as: logfmt, prefix: k.}",
            r#"{"message":"a=1 b"}"#,
            r#"{"message":"a=1 b","k.a":1,"k.b":true}"#,
        );
        check("{as: kv, field: x}", r#"{"x":"q: a=1, b=2"}"#, r#"{"x":"q: a=1, b=2","a":1,"b":2}"#);
        check(
            r"{as: regex, pattern: '(?P<n>\d+) (?P<w>\w+)'}",
            r#"{"message":"12 ab"}"#,
            r#"{"message":"12 ab","n":12,"w":"ab"}"#,
        );
        check(
            "{as: grok, pattern: ['%{IP:ip} x', '%{WORD:verb} %{NUMBER:n:int}']}",
            r#"{"message":"GET 7"}"#,
            r#"{"message":"GET 7","verb":"GET","n":7}"#,
        );
        check(
            "{as: pattern, pattern: 'user <user> from <ip>', keep_source: false}",
            r#"{"message":"user bob from ::1"}"#,
            r#"{"user":"bob","ip":"::1"}"#,
        );
        check(
            "{as: csv, columns: [a, '-', c], separator: ';'}",
            r#"{"message":"1;2;\"x;y\""}"#,
            r#"{"message":"1;2;\"x;y\"","a":"1","c":"x;y"}"#,
        );
        check(
            "{as: url, field: u}",
            r#"{"u":"https://bob:pw@h.example:8443/a/b.php?q=1#f"}"#,
            r##"{"u":"https://bob:pw@h.example:8443/a/b.php?q=1#f","url.scheme":"https","url.username":"bob","url.domain":"h.example","url.port":"8443","url.path":"/a/b.php","url.query":"q=1","url.fragment":"f","url.extension":"php"}"##,
        );
        check(
            "{as: syslog, keep_source: false}",
            r#"{"message":"<34>Oct 11 22:14:15 m su[7]: failed"}"#,
            r#"{"message":"failed","timestamp":"2025-10-11T22:14:15.000000000Z","level":"fatal","facility":4,"severity_code":2,"host":"m","service":"su","pid":7}"#,
        );
        check(
            "{as: user_agent, field: ua, keep_source: false}",
            r#"{"ua":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"}"#,
            r#"{"user_agent.name":"Chrome","user_agent.version":"120.0.0.0","user_agent.os.name":"Windows 10","user_agent.os.version":"NT 10.0","user_agent.device":"pc","user_agent.vendor":"Google"}"#,
        );
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        check(
            "{as: json}",
            r#"{"message":"{a"}"#,
            r#"the JSON object in the text is not valid | {"message":"{a"}"#,
        );
        check(
            "{as: grok, pattern: '%{IP:ip}', keep_source: false}",
            r#"{"message":"x"}"#,
            r#"the text does not fit the pattern | {"message":"x"}"#,
        );
        check(
            "{as: csv, columns: [a]}",
            r#"{"message":"1,2"}"#,
            r#"it has 2 columns, not 1 | {"message":"1,2"}"#,
        );
        check("{as: url}", r#"{"message":"x"}"#, r#"the text is no URL | {"message":"x"}"#);
        check("{as: logfmt, field: y}", r#"{"message":"x"}"#, r#"`y` is absent | {"message":"x"}"#);
        for bad in
            ["{as: jsno}", "{as: grok}", "{as: csv}", "{as: regex, pattern: '('}", "{as: json, pattern: x}"]
        {
            assert!(Parse::new(yaml_serde::from_str(bad).expect("a step")).is_err(), "{bad}");
        }
    }
}
