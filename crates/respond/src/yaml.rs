//! Reading YAML with every fault and its line.
//!
//! Invariants:
//! - a fault is noted and reading goes on: one pass finds all of them, up to [`FAULTS_MAX`];
//! - lines are those of the parser: a fault's path is sought in the text again, so nothing is guessed from indentation.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use yaml_serde::{Mapping, Value};

use crate::config::span;

/// Most faults told of one file.
pub(crate) const FAULTS_MAX: usize = 100;
/// Largest file (bytes).
pub(crate) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Key(String),
    Index(usize),
}

/// Where and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: Vec<Part>,
    pub(crate) reason: String,
}

/// Faults of one document.
#[derive(Debug, Default)]
pub(crate) struct Faults(RefCell<Vec<Found>>);

impl Faults {
    pub(crate) fn into_vec(self) -> Vec<Found> {
        self.0.into_inner()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// A value, where it stands, and where its faults go.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    value: &'a Value,
    path: Vec<Part>,
    faults: &'a Faults,
}

impl<'a> Node<'a> {
    pub(crate) fn root(value: &'a Value, faults: &'a Faults) -> Node<'a> {
        Node { value, path: Vec::new(), faults }
    }

    /// Notes a fault here.
    pub(crate) fn fault(&self, reason: impl Into<String>) {
        self.faults.0.borrow_mut().push(Found { path: self.path.clone(), reason: reason.into() });
    }

    fn wants(&self, what: &str) {
        self.fault(format!("{what} is wanted here, not {}", kind_of(self.value)));
    }

    fn child(&self, part: Part, value: &'a Value) -> Node<'a> {
        let mut path = self.path.clone();
        path.push(part);
        Node { value, path, faults: self.faults }
    }

    /// This as a mapping of these keys; others are faults.
    pub(crate) fn map(&self, known: &[&str]) -> Option<Map<'a>> {
        let Value::Mapping(mapping) = self.value else {
            self.wants("a mapping");
            return None;
        };
        for (key, value) in mapping {
            let Some(name) = key.as_str() else {
                self.fault(format!("keys are texts, not {}", kind_of(key)));
                continue;
            };
            if !known.contains(&name) {
                let near = crate::nearest(name, known.iter().copied());
                let hint = near.map_or_else(
                    || format!("known: {}", known.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.child(Part::Key(name.to_owned()), value).fault(format!("unknown key; {hint}"));
            }
        }
        Some(Map { mapping, node: self.clone() })
    }

    /// The only key of this mapping, with its value.
    pub(crate) fn single(&self) -> Option<(String, Node<'a>)> {
        let Value::Mapping(mapping) = self.value else {
            self.wants("a mapping of one key");
            return None;
        };
        let mut pairs = mapping.iter().filter_map(|(key, value)| Some((key.as_str()?, value)));
        let (first, rest) = (pairs.next(), pairs.next());
        match (first, rest) {
            (Some((key, value)), None) => {
                Some((key.to_owned(), self.child(Part::Key(key.to_owned()), value)))
            }
            _ => {
                self.fault("exactly one key is wanted here");
                None
            }
        }
    }

    /// Whether this is a mapping.
    pub(crate) fn is_map(&self) -> bool {
        self.value.is_mapping()
    }

    /// Items of a list; a single value counts as a list of one.
    pub(crate) fn items(&self, most: usize) -> Vec<Node<'a>> {
        let Value::Sequence(items) = self.value else { return vec![self.clone()] };
        if items.len() > most {
            self.fault(format!("{} entries; at most {most} may be", items.len()));
        }
        items.iter().take(most).enumerate().map(|(i, value)| self.child(Part::Index(i), value)).collect()
    }

    /// As [`Node::items`], but a single value is a fault.
    pub(crate) fn list(&self, most: usize) -> Vec<Node<'a>> {
        if self.value.is_sequence() {
            return self.items(most);
        }
        self.wants("a list");
        Vec::new()
    }

    /// A text that is not empty; numbers and booleans count as written.
    pub(crate) fn text(&self) -> Option<String> {
        let text = match self.value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(bool) => bool.to_string(),
            _ => {
                self.wants("a text");
                return None;
            }
        };
        if text.trim().is_empty() {
            self.fault("is empty");
            return None;
        }
        Some(text)
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        let value = self.value.as_bool();
        value.or_else(|| {
            self.wants("`true` or `false`");
            None
        })
    }

    pub(crate) fn whole(&self, least: u64, most: u64) -> Option<u64> {
        let value = self.value.as_u64().filter(|n| (least..=most).contains(n));
        value.or_else(|| {
            self.wants(&format!("a whole number from {least} to {most}"));
            None
        })
    }

    pub(crate) fn number(&self) -> Option<f64> {
        let value = self.value.as_f64().filter(|n| n.is_finite());
        value.or_else(|| {
            self.wants("a number");
            None
        })
    }

    pub(crate) fn duration(&self, least: Duration, most: Duration) -> Option<Duration> {
        let read = match self.value {
            Value::String(text) => span::parse(text),
            Value::Number(number) => number.as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok()),
            _ => None,
        };
        let fits = read.filter(|read| (least..=most).contains(read));
        fits.or_else(|| {
            let (least, most) = (span::show(least), span::show(most));
            self.wants(&format!("a duration from {least} to {most}, such as `30s`,"));
            None
        })
    }

    /// One of these words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.value.as_str().unwrap_or_default();
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        if let Some((_, value)) = found {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let near = crate::nearest(text, known.iter().copied());
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        self.fault(format!("{} is not one of {}{hint}", kind_of(self.value), known.join(", ")));
        None
    }

    /// This as JSON.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        let json = serde_json::to_value(self.value);
        json.map_err(|error| self.fault(format!("cannot be a parameter: {error}"))).ok()
    }
}

/// A mapping whose keys were checked.
pub(crate) struct Map<'a> {
    mapping: &'a Mapping,
    node: Node<'a>,
}

impl<'a> Map<'a> {
    /// The value of a key; none when it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.mapping.get(key).filter(|value| !value.is_null())?;
        Some(self.node.child(Part::Key(key.to_owned()), value))
    }

    /// As [`Map::get`]; an absent key is a fault.
    pub(crate) fn need(&self, key: &str) -> Option<Node<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.node.fault(format!("`{key}` is missing"));
        }
        found
    }

    /// Every pair, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (String, Node<'a>)> + '_ {
        self.mapping.iter().filter_map(|(key, value)| {
            let key = key.as_str()?.to_owned();
            Some((key.clone(), self.node.child(Part::Key(key), value)))
        })
    }
}

/// A mapping of any keys.
pub(crate) fn open_map<'a>(node: &Node<'a>) -> Option<Map<'a>> {
    let Value::Mapping(mapping) = node.value else {
        node.wants("a mapping");
        return None;
    };
    Some(Map { mapping, node: node.clone() })
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(bool) => format!("`{bool}`"),
        Value::Number(number) => format!("`{number}`"),
        Value::String(text) => format!("`{}`", text.chars().take(60).collect::<String>()),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Tagged(_) => "a tagged value".to_owned(),
    }
}

/// A path as people read it: `steps[0].with.replicas`.
pub(crate) fn dotted(path: &[Part]) -> String {
    let mut out = String::new();
    for part in path {
        match part {
            Part::Key(key) if out.is_empty() => out.push_str(key),
            Part::Key(key) => out.push_str(&format!(".{key}")),
            Part::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

/// The documents of a text, or where its syntax is wrong: line and reason.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, (usize, String)> {
    if text.len() > FILE_BYTES_MAX {
        return Err((1, format!("the file is larger than {FILE_BYTES_MAX} bytes")));
    }
    let mut documents = Vec::new();
    for document in yaml_serde::Deserializer::from_str(text) {
        let value = Value::deserialize(document)
            .map_err(|error| (error.location().map_or(1, |location| location.line()), error.to_string()))?;
        documents.push(value);
    }
    Ok(documents)
}

/// The line at which a path of a document begins, from 1: that of its last key, or of the value an index leads to.
pub(crate) fn line_of(text: &str, document: usize, path: &[Part]) -> usize {
    (0..=path.len())
        .rev()
        .find_map(|len| {
            let deserializer = yaml_serde::Deserializer::from_str(text).nth(document)?;
            let error = Seek { path: &path[..len] }.deserialize(deserializer).err()?;
            error.location().map(|location| location.line())
        })
        .unwrap_or(1)
}

/// Stops with an error at the end of a path: the parser then says where it is.
struct Seek<'p> {
    path: &'p [Part],
}

/// As [`Seek`], for a key: stops at it when it is the end of the path.
struct SeekKey<'p> {
    key: &'p str,
    is_end: bool,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seek<'_> {
    fn leaf<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.path.is_empty() { Err(E::custom("here")) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return self.leaf() };
        let Part::Key(key) = first else { return Ok(()) };
        while let Some(is_it) = map.next_key_seed(SeekKey { key, is_end: rest.is_empty() })? {
            if is_it {
                map.next_value_seed(Seek { path: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return self.leaf() };
        let Part::Index(index) = first else { return Ok(()) };
        for _ in 0..*index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Seek { path: rest })?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.leaf()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.leaf()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.leaf()
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.leaf()
    }
}

impl<'de> DeserializeSeed<'de> for SeekKey<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for SeekKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        let is_it = key == self.key;
        if is_it && self.is_end { Err(E::custom("here")) } else { Ok(is_it) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, path: &[Part], line: usize) {
        assert_eq!(line_of(text, 0, path), line, "{}", dotted(path));
    }

    #[test]
    fn lines_are_those_of_keys_and_entries() {
        let key = |key: &str| Part::Key(key.to_owned());
        let text =
            "a: 1\n# x\nb:\n  - c: [1,\n      2]\n  -\n    d: {e: 1,\n      f: 2}\n\"g h\": |\n  i: 1\n";
        check(text, &[], 1);
        check(text, &[key("b")], 3);
        check(text, &[key("b"), Part::Index(0), key("c"), Part::Index(1)], 5);
        check(text, &[key("b"), Part::Index(1)], 7);
        check(text, &[key("b"), Part::Index(1), key("d"), key("f")], 8);
        check(text, &[key("g h")], 9);
        check(text, &[key("b"), Part::Index(0), key("absent")], 4); // the nearest there is
    }
}
