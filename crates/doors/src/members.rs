//! JSON that senders wrote, taken apart without reading the values: members of an object, elements of an array, values one
//! after the other. Values stay text, so that [`heimdall_ingest::Records`] alone decides what they mean.
//!
//! Invariants:
//! - no recursion on what the text nests;
//! - lists are walked, not gathered: memory does not grow with the number of elements. [`Members`] alone gathers, so it is
//!   for one record or a part of one, whose size is limited.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The members of an object, in its order. Of equal keys the last counts.
#[derive(Debug, Default)]
pub(crate) struct Members<'a> {
    list: Vec<(Cow<'a, str>, &'a RawValue)>,
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut list = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    list.push((key, value));
                }
                Ok(Members { list })
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'a> Members<'a> {
    /// Takes an object apart; `None` when the text is not one.
    pub(crate) fn read(text: &'a str) -> Option<Members<'a>> {
        serde_json::from_str(text).ok()
    }

    /// The value of a key as written.
    pub(crate) fn raw(&self, key: &str) -> Option<&'a str> {
        self.list.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.get())
    }

    /// The value of a key as text: that of a string, the digits of a number.
    pub(crate) fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.raw(key).and_then(text_of)
    }

    /// The members of an object under a key.
    pub(crate) fn members(&self, key: &str) -> Option<Members<'a>> {
        self.raw(key).and_then(Members::read)
    }

    /// Whether there is such a key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    /// Keys and values as written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.list.iter().map(|(key, value)| (key.as_ref(), value.get()))
    }
}

/// A value as text: that of a string, the digits of a number; nothing of anything else, nor of an empty string.
pub(crate) fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => {
            serde_json::from_str::<Key<'_>>(raw).ok().map(|Key(text)| text).filter(|text| !text.is_empty())
        }
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
        _ => None,
    }
}

/// Hands over each element of an array as written; stops at the first error of `each`.
///
/// # Errors
/// The outer one: the text is not an array of JSON values.
pub(crate) fn each_element<'a, E>(
    text: &'a str,
    mut each: impl FnMut(&'a str) -> Result<(), E>,
) -> Result<Result<(), E>, serde_json::Error> {
    let mut stopped = None;
    let mut reader = serde_json::Deserializer::from_str(text);
    let walked =
        Walk { each: &mut each, stopped: &mut stopped }.deserialize(&mut reader).and_then(|()| reader.end());
    match stopped {
        Some(error) => Ok(Err(error)),
        None => walked.map(Ok),
    }
}

struct Walk<'w, F, E> {
    each: &'w mut F,
    stopped: &'w mut Option<E>,
}

impl<'de, E, F: FnMut(&'de str) -> Result<(), E>> DeserializeSeed<'de> for Walk<'_, F, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, E, F: FnMut(&'de str) -> Result<(), E>> Visitor<'de> for Walk<'_, F, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<&'de RawValue>()? {
            if let Err(error) = (self.each)(element.get()) {
                *self.stopped = Some(error);
                return Err(de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Hands over each value of a text that is JSON values one after the other, and each element of those that are arrays.
///
/// # Errors
/// The outer one: the text is not that. What came before the fault was handed over.
pub(crate) fn each_value<'a, E>(
    text: &'a str,
    mut each: impl FnMut(&'a str) -> Result<(), E>,
) -> Result<Result<(), E>, serde_json::Error> {
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value?.get();
        let done = if value.starts_with('[') { each_element(value, &mut each)? } else { each(value) };
        if done.is_err() {
            return Ok(done);
        }
    }
    Ok(Ok(()))
}

/// Whether a text is JSON values one after the other, as [`each_value`] takes them. Cost: one pass.
pub(crate) fn are_values(text: &str) -> bool {
    each_value(text, |_| Ok::<(), std::convert::Infallible>(())).is_ok()
}

/// Writes the object `document` with the members `more` (JSON without braces, never empty) after its own.
///
/// A `document` that is not well-formed does not become so, and positions in it stay what they were: [`heimdall_ingest::Records::json`]
/// finds its faults where its sender will.
pub(crate) fn with_members(document: &str, more: &str, out: &mut String) {
    out.clear();
    out.reserve(document.len() + more.len() + 1);
    let document = document.trim_ascii();
    let Some(inside) = document.strip_suffix('}') else { return out.push_str(document) };
    out.push_str(inside);
    if inside.trim_ascii() != "{" {
        out.push(',');
    }
    out.push_str(more);
    out.push('}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_keep_their_text_and_the_last_of_equal_keys_counts() {
        let members =
            Members::read(r#" {"a":1.50,"b\n":"x\u0041","a":[1, 2],"c":{"d":null},"e":"\ud800"} "#).unwrap();
        assert_eq!(members.raw("a"), Some("[1, 2]"));
        assert_eq!(members.text("b\n").as_deref(), Some("xA"));
        assert_eq!((members.text("a"), members.text("e")), (None, None));
        assert_eq!(members.members("c").unwrap().raw("d"), Some("null"));
        assert_eq!(members.iter().count(), 5);
        assert!(Members::read("[1]").is_none() && Members::read("{\"a\":1}x").is_none());
    }

    #[test]
    fn values_and_elements_come_one_after_the_other() {
        let seen = |text| {
            let mut seen = Vec::new();
            let done = each_value(text, |value| {
                seen.push(value);
                if value == "0" { Err("zero") } else { Ok(()) }
            });
            (seen, done.ok())
        };
        assert_eq!(seen("{\"a\":1}\n[2,\"x\"]{} "), (vec!["{\"a\":1}", "2", "\"x\"", "{}"], Some(Ok(()))));
        assert_eq!(seen("[1,0,2]"), (vec!["1", "0"], Some(Err("zero"))));
        assert_eq!(seen("[1,2"), (vec![], None));
        assert_eq!(seen(""), (vec![], Some(Ok(()))));
        assert!(are_values(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))));
    }

    #[test]
    fn members_are_added_at_the_end() {
        let check = |document: &str, expected: &str| {
            let mut out = String::new();
            with_members(document, r#""x":1"#, &mut out);
            assert_eq!(out, expected);
        };
        check("{}", r#"{"x":1}"#);
        check("{ } ", r#"{ "x":1}"#);
        check(r#"{"a":"}"}"#, r#"{"a":"}","x":1}"#);
        check(r#"{"a":1"#, r#"{"a":1"#);
    }

    proptest! {
        #[test]
        fn what_is_no_object_does_not_become_one(text in r#"[\[\]{}",:\\u0-9a-f e+.\n-]{0,24}"#) {
            let mut out = String::new();
            with_members(&text, r#""_x":1"#, &mut out);
            let is_object = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
            if !text.trim_ascii().is_empty() {
                prop_assert_eq!(is_object(&text), is_object(&out), "{} {}", text, out);
            }
            let _ = each_value(&text, |_| Ok::<(), ()>(()));
        }
    }
}
