//! A record on its way through pipelines: the members of one JSON object, taken apart no further than steps ask.
//!
//! Invariants:
//! - a member that no step touches is written back byte for byte: its numbers keep their text, its escapes stay;
//! - of members with equal keys the last one counts, as everywhere;
//! - a path `a.b` means the key `a.b` where there is one, else the key `b` inside `a`.

use std::borrow::Cow;

use heimdall_model::attributes::{self, Attribute};
use heimdall_model::{Dataset, Value};

use crate::json::scan::{Flags, Kind, Scanner, Syntax};
use crate::json::text::{escape, unescape};

/// The members of an object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doc<'a> {
    members: Vec<Member<'a>>,
}

#[derive(Debug, Clone)]
struct Member<'a> {
    key: Cow<'a, str>,
    value: Val<'a>,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Val<'a> {
    /// A text, unescaped.
    Text(Cow<'a, str>),
    /// JSON text of any value, strings in their quotes included.
    Json(Cow<'a, str>),
}

/// A value looked up; JSON null counts as absent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found<'d> {
    /// A text.
    Text(Cow<'d, str>),
    /// JSON text of anything else.
    Json(&'d str),
}

impl<'d> Found<'d> {
    /// The text of it: of a text itself, of other values their JSON.
    pub(crate) fn into_text(self) -> Cow<'d, str> {
        match self {
            Found::Text(text) => text,
            Found::Json(json) => Cow::Borrowed(json),
        }
    }

    /// The number it is or reads as.
    pub(crate) fn number(&self) -> Option<f64> {
        let text = match self {
            Found::Text(text) => text.as_ref(),
            Found::Json(json) => json,
        };
        text.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    pub(crate) fn to_val(&self) -> Val<'static> {
        match self {
            Found::Text(text) => Val::text(text.as_ref()),
            Found::Json(json) => Val::json((*json).to_owned()),
        }
    }
}

impl Val<'static> {
    pub(crate) fn text(text: impl Into<String>) -> Val<'static> {
        Val::Text(Cow::Owned(text.into()))
    }

    /// `json` is the text of one JSON value.
    pub(crate) fn json(json: impl Into<String>) -> Val<'static> {
        Val::Json(Cow::Owned(json.into()))
    }

    /// `None` where there is no value.
    pub(crate) fn of(value: Value) -> Option<Val<'static>> {
        match value {
            Value::Null => None,
            Value::Text(text) => Some(Val::text(text)),
            other => Some(Val::json(other.to_json().to_string())),
        }
    }

    pub(crate) fn of_json(value: &serde_json::Value) -> Val<'static> {
        match value {
            serde_json::Value::String(text) => Val::text(text.as_str()),
            other => Val::json(other.to_string()),
        }
    }
}

impl Val<'_> {
    fn found(&self) -> Option<Found<'_>> {
        match self {
            Val::Text(text) => Some(Found::Text(Cow::Borrowed(text))),
            Val::Json(json) => match json.as_bytes().first()? {
                b'n' => None,
                b'"' if json.len() >= 2 => Some(Found::Text(unquoted(&json[1..json.len() - 1]))),
                _ => Some(Found::Json(json)),
            },
        }
    }

    fn object(&self) -> Option<&str> {
        match self {
            Val::Json(json) if json.starts_with('{') => Some(json),
            _ => None,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Val::Text(text) => {
                out.push('"');
                escape(text, out);
                out.push('"');
            }
            Val::Json(json) => out.push_str(json),
        }
    }
}

fn unquoted(inner: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    unescape(inner, &mut text);
    Cow::Owned(text)
}

impl<'a> Doc<'a> {
    /// Takes the text of one JSON value apart. One that is no object is the message of a record.
    pub(crate) fn parse(text: &'a str) -> Result<Doc<'a>, Syntax> {
        let mut scan = Scanner::new(text);
        scan.skip_space();
        let mut doc = Doc { members: Vec::with_capacity(16) };
        if scan.peek() == Some(b'{') {
            doc.read_members(&mut scan)?;
        } else {
            let token = scan.value()?;
            let raw = token.span.of(text);
            let value =
                if token.kind == Kind::String { Val::Json(raw.into()) } else { Val::Text(raw.into()) };
            doc.members.push(Member { key: Cow::Borrowed("message"), value });
        }
        scan.skip_space();
        if scan.peek().is_some() { scan.fail("text after the end of the value") } else { Ok(doc) }
    }

    fn read_members(&mut self, scan: &mut Scanner<'a>) -> Result<(), Syntax> {
        scan.enter()?;
        scan.skip_space();
        if scan.peek() == Some(b'}') {
            scan.leave();
            return Ok(());
        }
        loop {
            if scan.peek() != Some(b'"') {
                return scan.fail("expected a field name in quotes");
            }
            let mut flags = Flags::default();
            let span = scan.string(&mut flags)?;
            let key = unquoted(span.of(scan.text));
            scan.skip_space();
            if !scan.take(b':') {
                return scan.fail("expected `:` after a field name");
            }
            scan.skip_space();
            let token = scan.value()?;
            self.members.push(Member { key, value: Val::Json(token.span.of(scan.text).into()) });
            scan.skip_space();
            match scan.peek() {
                Some(b',') => scan.at += 1,
                Some(b'}') => {
                    scan.leave();
                    return Ok(());
                }
                Some(_) => return scan.fail("expected `,` or `}`"),
                None => return scan.fail("object is not closed"),
            }
            scan.skip_space();
        }
    }

    /// The value at a path.
    pub(crate) fn get(&self, path: &str) -> Option<Found<'_>> {
        if let Some(member) = self.members.iter().rev().find(|member| member.key == path) {
            return member.value.found();
        }
        dots(path).find_map(|(outer, inner)| {
            let member = self.members.iter().rev().find(|member| member.key == outer)?;
            Some(match attributes::get(member.value.object()?, inner)? {
                Attribute::Text(text) => Found::Text(text),
                Attribute::Number(raw) | Attribute::Array(raw) | Attribute::Object(raw) => Found::Json(raw),
                Attribute::Bool(is_true) => Found::Json(if is_true { "true" } else { "false" }),
            })
        })
    }

    /// Takes the value at a path out.
    pub(crate) fn remove(&mut self, path: &str) -> Option<Val<'a>> {
        if let Some(at) = self.members.iter().rposition(|member| member.key == path) {
            let removed = self.members.remove(at).value;
            self.members.retain(|member| member.key != path);
            return Some(removed);
        }
        dots(path).find_map(|(outer, inner)| {
            let at = self.members.iter().rposition(|member| member.key == outer)?;
            let mut nested = Doc::parse(self.members[at].value.object()?).ok()?;
            let removed = nested.remove(inner)?.into_owned();
            if nested.members.is_empty() {
                self.members.remove(at);
            } else {
                let json = nested.to_json();
                self.members[at].value = Val::json(json);
            }
            Some(removed)
        })
    }

    /// Sets the value at a path: in place where there is one, else inside the object the path begins with, else as a member.
    pub(crate) fn set(&mut self, path: &str, value: Val<'a>) {
        if let Some(member) = self.members.iter_mut().rev().find(|member| member.key == path) {
            member.value = value;
            return;
        }
        let outer = dots(path).find_map(|(outer, inner)| {
            let at = self.members.iter().rposition(|member| member.key == outer)?;
            self.members[at].value.object().map(|_| (at, inner))
        });
        let nested = outer.and_then(|(at, inner)| {
            let mut nested = Doc::parse(self.members[at].value.object()?).ok()?;
            nested.set(inner, value.clone().into_owned());
            Some((at, nested.to_json()))
        });
        match nested {
            Some((at, json)) => self.members[at].value = Val::json(json),
            None => self.members.push(Member { key: Cow::Owned(path.to_owned()), value }),
        }
    }

    /// Adds a member of this very name, replacing one.
    pub(crate) fn put(&mut self, key: Cow<'a, str>, value: Val<'a>) {
        match self.members.iter_mut().rev().find(|member| member.key == key) {
            Some(member) => member.value = value,
            None => self.members.push(Member { key, value }),
        }
    }

    /// Keeps the members `keeps` says yes to.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(&str) -> bool) {
        self.members.retain(|member| keeps(&member.key));
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.key.as_ref())
    }

    /// Gives another name to a member, its place stays.
    pub(crate) fn rename_key(&mut self, from: &str, to: &str) {
        if let Some(member) = self.members.iter_mut().rev().find(|member| member.key == from) {
            member.key = Cow::Owned(to.to_owned());
        }
    }

    /// Moves members into this one; equal keys are replaced.
    pub(crate) fn merge(&mut self, other: Doc<'_>, mut name: impl FnMut(&str) -> String) {
        for member in other.members {
            self.put(Cow::Owned(name(&member.key)), member.value.into_owned());
        }
    }

    pub(crate) fn write(&self, out: &mut String) {
        out.push('{');
        for (n, member) in self.members.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            out.push('"');
            escape(&member.key, out);
            out.push_str("\":");
            member.value.write(out);
        }
        out.push('}');
    }

    pub(crate) fn to_json(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write(&mut out);
        out
    }
}

impl Val<'_> {
    pub(crate) fn into_owned(self) -> Val<'static> {
        match self {
            Val::Text(text) => Val::Text(Cow::Owned(text.into_owned())),
            Val::Json(json) => Val::Json(Cow::Owned(json.into_owned())),
        }
    }
}

/// The ways to cut a path in two at a dot.
fn dots(path: &str) -> impl Iterator<Item = (&str, &str)> {
    path.match_indices('.').map(|(at, _)| (&path[..at], &path[at + 1..]))
}

/// A field as a pipeline names it: a path, or the name of a canonical field, which its aliases answer to as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldRef {
    path: String,
    /// For each dataset, other names of the canonical field of this name.
    others: [Vec<&'static str>; Dataset::ALL.len()],
}

/// Longest path of a field.
pub(crate) const PATH_BYTES_MAX: usize = 256;

impl FieldRef {
    pub(crate) fn new(path: &str) -> Result<FieldRef, String> {
        if path.is_empty() || path.len() > PATH_BYTES_MAX {
            return Err(format!("a field name has 1 to {PATH_BYTES_MAX} bytes"));
        }
        let others = Dataset::ALL.map(|dataset| {
            let field = dataset.fields().iter().find(|field| field.name == path);
            field.map_or_else(Vec::new, |field| field.aliases.to_vec())
        });
        Ok(FieldRef { path: path.to_owned(), others })
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The name under which the record has it.
    pub(crate) fn name_in(&self, doc: &Doc<'_>, dataset: Dataset) -> Option<&str> {
        self.names(dataset).find(|name| doc.get(name).is_some())
    }

    pub(crate) fn get<'d>(&self, doc: &'d Doc<'_>, dataset: Dataset) -> Option<Found<'d>> {
        self.names(dataset).find_map(|name| doc.get(name))
    }

    /// Takes the value out.
    pub(crate) fn take<'a>(&self, doc: &mut Doc<'a>, dataset: Dataset) -> Option<Val<'a>> {
        let name = self.name_in(doc, dataset)?;
        doc.remove(name)
    }

    /// Sets the value under the name by which the record has it already, else under its own.
    pub(crate) fn set<'a>(&self, doc: &mut Doc<'a>, dataset: Dataset, value: Val<'a>) {
        let name = self.name_in(doc, dataset).unwrap_or(&self.path);
        doc.set(name, value);
    }

    fn names(&self, dataset: Dataset) -> impl Iterator<Item = &str> {
        let others = self.others[usize::from(dataset.code()) - 1].iter().copied();
        std::iter::once(self.path.as_str()).chain(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_is_written_back() {
        let text = r#"{"a":1.50,"b":"x\u00e9\n","c":{"d":[1, 2]},"e":18446744073709551616}"#;
        assert_eq!(Doc::parse(text).expect("JSON").to_json(), text);
        assert_eq!(Doc::parse("\"a \\\"b\\\"\"").expect("JSON").to_json(), r#"{"message":"a \"b\""}"#);
        assert_eq!(Doc::parse("[1]").expect("JSON").to_json(), r#"{"message":"[1]"}"#);
        for bad in ["", "{", "{\"a\"}", "{\"a\":1,}", "{} x", "{\"a\":1 \"b\":2}"] {
            assert!(Doc::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_reach_dotted_and_nested_names() {
        let mut doc =
            Doc::parse(r#"{"a.b":1,"a":{"b":2,"c":{"d":"x"}},"n":null,"k":1,"k":2}"#).expect("JSON");
        assert_eq!(doc.get("a.b"), Some(Found::Json("1")));
        assert_eq!(doc.get("a.c.d"), Some(Found::Text("x".into())));
        assert_eq!(doc.get("n"), None);
        assert_eq!(doc.get("k"), Some(Found::Json("2")));
        doc.set("a.c.e", Val::text("y"));
        doc.set("z.y", Val::json("true"));
        assert!(doc.remove("a.b").is_some() && doc.remove("a.b").is_some() && doc.remove("a.c.d").is_some());
        assert!(doc.remove("k").is_some());
        assert_eq!(doc.to_json(), r#"{"a":{"c":{"e":"y"}},"n":null,"z.y":true}"#);
        assert!(doc.remove("a.c.e").is_some());
        assert_eq!(doc.to_json(), r#"{"n":null,"z.y":true}"#);
    }

    #[test]
    fn a_canonical_name_answers_to_its_aliases() {
        let mut doc = Doc::parse(r#"{"msg":"m","service":{"name":"s"}}"#).expect("JSON");
        let field = |name| FieldRef::new(name).expect("a name");
        assert_eq!(field("message").get(&doc, Dataset::Logs), Some(Found::Text("m".into())));
        assert_eq!(field("message").get(&doc, Dataset::Metrics), None);
        assert_eq!(field("service.name").get(&doc, Dataset::Logs), Some(Found::Text("s".into())));
        field("message").set(&mut doc, Dataset::Logs, Val::text("n"));
        assert_eq!(doc.to_json(), r#"{"msg":"n","service":{"name":"s"}}"#);
    }
}
