//! Reading one value out of an attributes object without parsing the rest.
//!
//! The object is JSON text that ingest has checked and bounded in depth; on other text the answer is `None`, never a
//! panic. A path `a.b` means the key `a.b` where there is one, else the key `b` inside `a`.

use std::borrow::Cow;

use memchr::memmem;

/// A present value; JSON null counts as absent.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute<'a> {
    /// Text, unescaped.
    Text(Cow<'a, str>),
    /// A number as written.
    Number(&'a str),
    /// True or false.
    Bool(bool),
    /// JSON text of an array.
    Array(&'a str),
    /// JSON text of an object.
    Object(&'a str),
}

impl Attribute<'_> {
    /// The value as a number, when it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Attribute::Number(raw) => raw.parse().ok(),
            Attribute::Text(text) => text.parse().ok().filter(|n: &f64| n.is_finite()),
            _ => None,
        }
    }

    /// The value as a plain [`crate::Value`].
    #[must_use]
    pub fn to_value(&self) -> crate::Value {
        match self {
            Attribute::Text(text) => crate::Value::Text(text.to_string()),
            Attribute::Number(raw) => match raw.parse::<i64>() {
                Ok(n) => crate::Value::Int(n),
                Err(_) => raw.parse().map_or(crate::Value::Null, crate::Value::Float),
            },
            Attribute::Bool(b) => crate::Value::Bool(*b),
            Attribute::Array(raw) | Attribute::Object(raw) => {
                serde_json::from_str(raw).map_or(crate::Value::Null, crate::Value::Json)
            }
        }
    }
}

/// The value at `path`, unless absent or null.
#[must_use]
pub fn get<'a>(json: &'a str, path: &str) -> Option<Attribute<'a>> {
    let last = path.rsplit('.').next().unwrap_or(path);
    memmem::find(json.as_bytes(), last.as_bytes())?;
    find(json, path).and_then(classify)
}

/// Top-level keys with their values, in order of appearance.
pub fn entries(json: &str) -> impl Iterator<Item = (Cow<'_, str>, Attribute<'_>)> {
    Members::new(json, b'{').filter_map(|(key, raw)| Some((unescape(key?)?, classify(raw)?)))
}

/// Elements of an array's JSON text; nulls are left out.
pub fn elements(json: &str) -> impl Iterator<Item = Attribute<'_>> {
    Members::new(json, b'[').filter_map(|(_, raw)| classify(raw))
}

fn find<'a>(json: &'a str, path: &str) -> Option<&'a str> {
    let members = || Members::new(json, b'{').filter_map(|(key, raw)| Some((unescape(key?)?, raw)));
    if let Some((_, raw)) = members().find(|(key, _)| key == path) {
        return Some(raw);
    }
    members().find_map(|(key, raw)| {
        let rest = path.strip_prefix(key.as_ref())?.strip_prefix('.')?;
        find(raw, rest)
    })
}

fn classify(raw: &str) -> Option<Attribute<'_>> {
    match raw.as_bytes().first()? {
        b'"' => unescape(raw).map(Attribute::Text),
        b'{' => Some(Attribute::Object(raw)),
        b'[' => Some(Attribute::Array(raw)),
        b't' => Some(Attribute::Bool(true)),
        b'f' => Some(Attribute::Bool(false)),
        b'n' => None,
        _ => Some(Attribute::Number(raw)),
    }
}

/// The text of a JSON string with its quotes.
fn unescape(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(quoted).ok().map(Cow::Owned)
}

/// Walks the members of one object or array.
struct Members<'a> {
    json: &'a str,
    at: usize,
    keyed: bool,
}

impl<'a> Members<'a> {
    fn new(json: &'a str, open: u8) -> Members<'a> {
        let start = skip_space(json.as_bytes(), 0);
        let at = if json.as_bytes().get(start) == Some(&open) { start + 1 } else { json.len() };
        Members { json, at, keyed: open == b'{' }
    }

    fn token(&mut self) -> Option<&'a str> {
        let bytes = self.json.as_bytes();
        let start = skip_space(bytes, self.at);
        let end = value_end(bytes, start)?;
        self.at = skip_space(bytes, end);
        self.json.get(start..end)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Option<&'a str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.json.as_bytes();
        self.at = skip_space(bytes, self.at);
        if bytes.get(self.at) == Some(&b',') {
            self.at += 1;
        }
        let key = if self.keyed {
            let key = self.token()?;
            if bytes.get(self.at) != Some(&b':') {
                return None;
            }
            self.at += 1;
            Some(key)
        } else {
            None
        };
        let value = self.token()?;
        Some((key, value))
    }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// End of the JSON value that starts at `start`; brackets are counted, so depth costs no stack.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => string_end(bytes, start),
        b'{' | b'[' => {
            let (mut at, mut depth) = (start, 0_usize);
            loop {
                match bytes.get(at)? {
                    b'"' => at = string_end(bytes, at)?,
                    b'{' | b'[' => (at, depth) = (at + 1, depth + 1),
                    b'}' | b']' if depth == 1 => return Some(at + 1),
                    b'}' | b']' => (at, depth) = (at + 1, depth - 1),
                    _ => at += 1,
                }
            }
        }
        b',' | b'}' | b']' | b':' => None,
        _ => {
            let ends = |b: &u8| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace();
            Some(bytes[start..].iter().position(ends).map_or(bytes.len(), |n| start + n))
        }
    }
}

fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(json: &str, path: &str, expected: Option<&str>) {
        let found = get(json, path).map(|value| value.to_value().to_json().to_string());
        assert_eq!(found.as_deref(), expected, "{path} of {json}");
    }

    #[test]
    fn finds_plain_dotted_and_nested_keys() {
        let json = r#"{"a.b":1, "a":{"b":2,"c":{"d":"x\"y"}}, "n":null,"list":[1,{"a":3}],"t":true}"#;
        check(json, "a.b", Some("1"));
        check(json, "a.c.d", Some(r#""x\"y""#));
        check(json, "n", None);
        check(json, "t", Some("true"));
        check(json, "list", Some(r#"[1,{"a":3}]"#));
        check(json, "list.a", None);
        check(json, "zzz", None);
    }

    proptest! {
        #[test]
        fn never_panics_on_any_text(text in r#"[\[\]{}",:\\a1 ntf.-]{0,40}"#, path in "[a1.]{0,5}") {
            let _ = get(&text, &path);
            let _ = entries(&text).count();
            let _ = elements(&text).count();
        }
    }
}
