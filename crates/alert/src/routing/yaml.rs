//! A YAML file read key by key, so that every fault is told, not only the first, each with its line.
//!
//! Invariants:
//! - reading goes on after a fault: what cannot be read is absent;
//! - at most [`FAULTS_MAX`] faults are kept;
//! - a fault never holds the value of a key, which could be a secret, unless the key is known to hold none.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use heimdall_model::time::parse_duration;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use yaml_serde::Value;

use super::RoutingFault;
use super::nearest::nearest;

/// Faults told of one file.
pub const FAULTS_MAX: usize = 100;
/// What the seeker's error says when it is there; no file can hold it, as it never meets the text.
const HERE: &str = "heimdall is here";

/// One step from the top of a file to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

type Path = Vec<Step>;

/// The faults of a file, as they are found.
#[derive(Default)]
pub(crate) struct Faults(RefCell<Vec<(Path, String)>>);

impl Faults {
    fn add(&self, path: Path, reason: String) {
        let mut found = self.0.borrow_mut();
        if found.len() < FAULTS_MAX {
            found.push((path, reason));
        }
    }

    /// The faults with their lines, in the order of the file.
    pub(crate) fn locate(self, file: &str, text: &str) -> Vec<RoutingFault> {
        let of = |(path, reason): (Path, String)| RoutingFault {
            file: file.to_owned(),
            line: line_of(text, &path),
            key: shown(&path),
            reason,
        };
        let mut faults: Vec<_> = self.0.into_inner().into_iter().map(of).collect();
        faults.sort_by_key(|fault| fault.line);
        faults
    }
}

/// `route.routes[1].group_wait`.
fn shown(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// A value with its place in the file.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    value: &'a Value,
    path: Path,
    faults: &'a Faults,
}

/// The keys of a mapping.
pub(crate) struct Fields<'a> {
    node: Node<'a>,
    values: HashMap<&'a str, &'a Value>,
}

impl<'a> Node<'a> {
    pub(crate) fn top(value: &'a Value, faults: &'a Faults) -> Node<'a> {
        Node { value, path: Vec::new(), faults }
    }

    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    /// Its line, from 1.
    pub(crate) fn line(&self, text: &str) -> usize {
        line_of(text, &self.path)
    }

    pub(crate) fn fault(&self, reason: impl Into<String>) {
        self.faults.add(self.path.clone(), reason.into());
    }

    /// A fault of a key of this mapping, or of the mapping where it lacks the key.
    pub(crate) fn fault_at(&self, key: &str, reason: impl Into<String>) {
        self.faults.add(self.under(Step::Key(key.to_owned())), reason.into());
    }

    fn under(&self, step: Step) -> Path {
        let mut path = self.path.clone();
        path.push(step);
        path
    }

    /// The mapping here; keys other than these are faults.
    pub(crate) fn fields(&self, known: &[&str]) -> Option<Fields<'a>> {
        let fields = self.any_fields()?;
        let mut unknown: Vec<_> = fields.values.keys().filter(|key| !known.contains(key)).copied().collect();
        unknown.sort_unstable();
        for key in unknown {
            let hint = nearest(key, known.iter().copied());
            let hint = hint.map_or_else(
                || format!("; known here: {}", known.join(", ")),
                |near| format!("; did you mean `{near}`?"),
            );
            self.fault_at(key, format!("unknown key `{key}`{hint}"));
        }
        Some(fields)
    }

    /// The mapping here, whatever its keys.
    pub(crate) fn any_fields(&self) -> Option<Fields<'a>> {
        let Value::Mapping(mapping) = self.value else {
            self.fault("expected a mapping of keys to values");
            return None;
        };
        let mut values = HashMap::new();
        for (key, value) in mapping {
            match key {
                Value::String(key) => drop(values.insert(key.as_str(), value)),
                _ => self.fault("a key is not a text; write it in quotes"),
            }
        }
        Some(Fields { node: self.clone(), values })
    }

    /// The items of the list here.
    pub(crate) fn items(&self) -> Vec<Node<'a>> {
        let Value::Sequence(items) = self.value else {
            self.fault("expected a list: `- …` lines or `[…]`");
            return Vec::new();
        };
        let node = |(index, value)| Node { value, path: self.under(Step::Index(index)), faults: self.faults };
        items.iter().enumerate().map(node).collect()
    }

    /// The text here; a number or `true` is taken as written.
    pub(crate) fn text(&self) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => {
                self.fault("expected a text");
                None
            }
        }
    }

    /// The text here, as something else; the error says what is wrong with it.
    pub(crate) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text()?;
        parse(&text).map_err(|reason| self.fault(reason)).ok()
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        self.parsed(|text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("`{text}` is neither `true` nor `false`")),
        })
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        self.parsed(duration)
    }

    /// The texts of the list here.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.items().iter().filter_map(Node::text).collect()
    }
}

impl<'a> Fields<'a> {
    /// The value of a key; none where it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = *self.values.get(key)?;
        let is_given = !matches!(value, Value::Null);
        is_given.then(|| self.of(key, value))
    }

    /// The value of a key, whose absence is a fault.
    pub(crate) fn need(&self, key: &str) -> Option<Node<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.node.fault_at(key, format!("`{key}` is missing"));
        }
        found
    }

    /// Every key with its value, in the order of the keys.
    pub(crate) fn all(&self) -> Vec<(&'a str, Node<'a>)> {
        let mut all: Vec<_> = self.values.iter().map(|(key, value)| (*key, self.of(key, value))).collect();
        all.sort_by_key(|(key, _)| *key);
        all
    }

    pub(crate) fn items(&self, key: &str) -> Vec<Node<'a>> {
        self.get(key).map(|node| node.items()).unwrap_or_default()
    }

    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        self.get(key).map(|node| node.texts()).unwrap_or_default()
    }

    fn of(&self, key: &str, value: &'a Value) -> Node<'a> {
        Node { value, path: self.node.under(Step::Key(key.to_owned())), faults: self.node.faults }
    }
}

/// `10m`, `1h30m`; at most a year.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(366 * 86_400);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let found = parse_duration(text).map(|ns| Duration::from_nanos(ns.unsigned_abs()));
    found
        .filter(|found| *found <= YEAR)
        .ok_or_else(|| format!("`{text}` is not a duration up to a year; write it like `30s`, `10m` or `4h`"))
}

// ---- lines ----------------------------------------------------------------------------------------------------

/// The line (from 1) of a value, or of what is nearest above it.
fn line_of(text: &str, path: &[Step]) -> usize {
    let find = |length| seek(text, &path[..length]);
    (1..=path.len()).rev().find_map(find).unwrap_or(1)
}

/// Reads the file again up to the value and takes the position of the error raised there: the parser alone knows lines.
fn seek(text: &str, path: &[Step]) -> Option<usize> {
    let error = Seek(path).deserialize(yaml_serde::Deserializer::from_str(text)).err()?;
    error.to_string().contains(HERE).then(|| error.location().map(|at| at.line()))?
}

#[derive(Clone, Copy)]
struct Seek<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HERE)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else { return Err(here()) };
        while let Some(is_wanted) = map.next_key_seed(SeekKey { wanted, is_last: rest.is_empty() })? {
            if is_wanted {
                return map.next_value_seed(Seek(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else { return Err(here()) };
        for _ in 0..*wanted {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Seek(rest)).map(drop)
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Err(here())
    }
    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Err(here())
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Err(here())
    }
    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Err(here())
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(here())
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(here())
    }
}

/// Reads a key: an error when the path ends with it, else whether it is the one.
struct SeekKey<'p> {
    wanted: &'p str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for SeekKey<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for SeekKey<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        if key == self.wanted && self.is_last { Err(here()) } else { Ok(key == self.wanted) }
    }
}

fn here<E: serde::de::Error>() -> E {
    E::custom(HERE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, path: &[Step], line: usize) {
        assert_eq!(line_of(text, path), line, "{}", shown(path));
    }

    #[test]
    fn every_value_has_its_line() {
        let key = |key: &str| Step::Key(key.to_owned());
        let text = "# head\nroute:\n  receiver: a\n  routes:\n  - match: {a: b}\n\n  - receiver: b\n    \"group_wait\": 5\n\
                    receivers: [{name: a},\n  {name: b}]\n";
        check(text, &[key("route")], 2);
        check(text, &[key("route"), key("routes"), Step::Index(1)], 7);
        check(text, &[key("route"), key("routes"), Step::Index(1), key("group_wait")], 8);
        check(text, &[key("receivers"), Step::Index(1), key("name")], 10);
        check(text, &[key("route"), key("missing")], 2);
        check(text, &[key("missing")], 1);
    }
}
