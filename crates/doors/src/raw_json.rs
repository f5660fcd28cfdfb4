//! JSON of protocols, value by value, without a tree: what one body costs is bounded by its own bytes.
//!
//! Invariant: values are handed over as the text they are, well-formed; nesting beyond serde_json's limit of 128 is an error.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why values stopped coming.
#[derive(Debug)]
pub(crate) enum Stopped<E> {
    /// The text is not what it should be.
    Json(serde_json::Error),
    /// Whoever took the values said so.
    Taker(E),
}

/// Calls `take` with each element of the array that `text` is.
pub(crate) fn elements<'a, E>(
    text: &'a str,
    mut take: impl FnMut(&'a RawValue) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let mut refused = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json
        .deserialize_seq(Elements(|value| take(value).map_err(|error| refused = Some(error)).is_ok()))
        .and_then(|()| json.end());
    settled(read, refused)
}

/// Calls `take` with each key and value of the object that `text` is.
pub(crate) fn members<'a, E>(
    text: &'a str,
    mut take: impl FnMut(Cow<'a, str>, &'a RawValue) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let mut refused = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json
        .deserialize_map(Members(|key, value| {
            take(key, value).map_err(|error| refused = Some(error)).is_ok()
        }))
        .and_then(|()| json.end());
    settled(read, refused)
}

fn settled<E>(read: serde_json::Result<()>, refused: Option<E>) -> Result<(), Stopped<E>> {
    match (read, refused) {
        (_, Some(refused)) => Err(Stopped::Taker(refused)),
        (Err(error), None) => Err(Stopped::Json(error)),
        (Ok(()), None) => Ok(()),
    }
}

/// What a value is, by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

pub(crate) fn kind(value: &RawValue) -> Kind {
    match value.get().as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

/// A string's text, anything else as its JSON.
pub(crate) fn text(value: &RawValue) -> Cow<'_, str> {
    let raw = value.get();
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => Cow::Borrowed(raw),
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        Some(plain) => serde_json::from_str(raw).map_or(Cow::Borrowed(plain), Cow::Owned), // half a surrogate pair
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct Elements<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> bool> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(value) = elements.next_element()? {
            if !(self.0)(value) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

struct Members<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue) -> bool> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = members.next_entry::<Key<'de>, &'de RawValue>()? {
            if !(self.0)(key, value) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_one_by_one_until_they_are_no_json_or_refused() {
        let mut seen = Vec::new();
        let read = elements(r#"[1,"a\n",{"b":[]}]"#, |value| {
            seen.push((kind(value), text(value).into_owned()));
            Ok::<(), ()>(())
        });
        assert!(read.is_ok());
        assert_eq!(
            seen,
            [
                (Kind::Number, "1".to_owned()),
                (Kind::Text, "a\n".to_owned()),
                (Kind::Object, "{\"b\":[]}".to_owned())
            ]
        );
        assert!(matches!(elements("[1,", |_| Ok::<(), ()>(())), Err(Stopped::Json(_))));
        assert!(matches!(elements("[1]x", |_| Ok::<(), ()>(())), Err(Stopped::Json(_))));
        assert!(matches!(elements("[1,2]", |_| Err(7)), Err(Stopped::Taker(7))));
        let mut keys = Vec::new();
        members(r#"{"a":1,"b\"":null}"#, |key, _| {
            keys.push(key.into_owned());
            Ok::<(), ()>(())
        })
        .expect("an object");
        assert_eq!(keys, ["a", "b\""]);
        assert!(matches!(members("[]", |_, _| Ok::<(), ()>(())), Err(Stopped::Json(_))));
    }
}
