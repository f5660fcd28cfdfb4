//! The part of XML-RPC that supervisord speaks: calls with texts and truth values, answers with structures.
//!
//! Invariant: no input makes it recurse deeper than [`DEPTH_MAX`] or panic; what it cannot read is `None`.
//!
//! Source: xmlrpc.com/spec.

use std::collections::BTreeMap;

/// Deepest nesting of values read; supervisord's have two.
const DEPTH_MAX: usize = 8;

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Struct(BTreeMap<String, Value>),
    /// Of a type nobody here asks for.
    Other,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: i64,
    pub(super) text: String,
}

impl Value {
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        if let Value::Struct(members) = self { members.get(name) } else { None }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn number(&self) -> Option<i64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }
}

/// A call with a text and perhaps a truth value.
pub(super) fn call(method: &str, text: &str, flag: Option<bool>) -> String {
    let flag = flag.map_or(String::new(), |flag| {
        format!("<param><value><boolean>{}</boolean></value></param>", u8::from(flag))
    });
    format!(
        "<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params>\
         <param><value><string>{}</string></value></param>{flag}</params></methodCall>",
        escape(text)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// What an answer says; `None` when it is none.
pub(super) fn answer(text: &str) -> Option<Result<Value, Fault>> {
    let mut input = text;
    skip_until(&mut input, "<methodResponse>")?;
    if take(&mut input, "<fault>") {
        let fault = value(&mut input, 0)?;
        let code = fault.member("faultCode").and_then(Value::number)?;
        let text = fault.member("faultString").and_then(Value::text)?.to_owned();
        return Some(Err(Fault { code, text }));
    }
    take(&mut input, "<params>").then_some(())?;
    take(&mut input, "<param>").then_some(())?;
    value(&mut input, 0).map(Ok)
}

fn value(input: &mut &str, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX || !take(input, "<value>") {
        return None;
    }
    let value = if take(input, "<struct>") {
        structure(input, depth)?
    } else if input.trim_start().starts_with('<') && !input.trim_start().starts_with("</value>") {
        scalar(input)?
    } else {
        Value::Text(unescape(skip_until_start(input, "</value>")?))
    };
    take(input, "</value>").then_some(value)
}

fn structure(input: &mut &str, depth: usize) -> Option<Value> {
    let mut members = BTreeMap::new();
    while take(input, "<member>") {
        take(input, "<name>").then_some(())?;
        let name = unescape(skip_until(input, "</name>")?);
        members.insert(name, value(input, depth + 1)?);
        take(input, "</member>").then_some(())?;
    }
    take(input, "</struct>").then_some(Value::Struct(members))
}

/// A value of a type without parts; those with parts that nobody asks for are passed over.
fn scalar(input: &mut &str) -> Option<Value> {
    let rest = input.trim_start().strip_prefix('<')?;
    let (tag, rest) = rest.split_once('>')?;
    *input = rest;
    if tag.ends_with('/') {
        return Some(if tag.trim_end_matches('/') == "string" {
            Value::Text(String::new())
        } else {
            Value::Other
        });
    }
    let content = skip_until(input, &format!("</{tag}>"))?;
    Some(match tag {
        "string" => Value::Text(unescape(content)),
        "int" | "i4" | "i8" | "boolean" => Value::Number(content.trim().parse().ok()?),
        _ => Value::Other,
    })
}

/// Takes a token, spaces before it included.
fn take(input: &mut &str, token: &str) -> bool {
    match input.trim_start().strip_prefix(token) {
        Some(rest) => {
            *input = rest;
            true
        }
        None => false,
    }
}

/// The text before a token; both are taken.
fn skip_until<'a>(input: &mut &'a str, token: &str) -> Option<&'a str> {
    let (before, rest) = input.split_once(token)?;
    *input = rest;
    Some(before)
}

/// The text before a token, which is left.
fn skip_until_start<'a>(input: &mut &'a str, token: &str) -> Option<&'a str> {
    let (before, rest) = input.split_at_checked(input.find(token)?)?;
    *input = rest;
    Some(before)
}

/// Base64 as HTTP's basic authentication wants it (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |group: u32, at: u32| {
        let index = usize::try_from((group >> (18 - 6 * at)) & 63).unwrap_or_default();
        char::from(ALPHABET[index])
    };
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            [16, 8, 0].iter().zip(chunk).fold(0, |group, (shift, byte)| group | (u32::from(*byte) << shift));
        let letters = u32::try_from(chunk.len()).unwrap_or(3) + 1;
        out.extend((0..4).map(|at| if at < letters { letter(group, at) } else { '=' }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_anything_else_is_none() {
        let info = "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><struct>\n<member>\n<name>name</name>\n\
            <value><string>a&amp;b</string></value>\n</member>\n<member>\n<name>start</name>\n<value><int>17</int></value>\n\
            </member>\n<member><name>bare</name><value>text</value></member>\n</struct></value>\n</param>\n</params>\n</methodResponse>";
        let value = answer(info).unwrap().unwrap();
        assert_eq!(value.member("name").and_then(Value::text), Some("a&b"));
        assert_eq!(value.member("start").and_then(Value::number), Some(17));
        assert_eq!(value.member("bare").and_then(Value::text), Some("text"));
        let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>10</int></value></member>\
            <member><name>faultString</name><value><string>BAD_NAME: x</string></value></member></struct></value></fault></methodResponse>";
        assert_eq!(answer(fault), Some(Err(Fault { code: 10, text: "BAD_NAME: x".to_owned() })));
        for cut in 0..info.len() {
            let _ = answer(&info[..cut]);
        }
        let deep = format!(
            "<methodResponse><params><param>{}",
            "<value><struct><member><name>a</name>".repeat(50_000)
        );
        assert_eq!(answer(&deep), None);
    }

    #[test]
    fn calls_escape_and_base64_is_the_standards() {
        assert!(call("m", "<a&b>", Some(true)).contains("<string>&lt;a&amp;b&gt;</string>"));
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
