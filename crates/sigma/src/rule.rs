//! A Sigma rule as written: metadata, log source, detections and conditions. Values and modifiers are kept unapplied, so
//! that pipelines can rename fields and fill placeholders first.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use yaml_serde::{Mapping, Value};

use crate::condition::{self, Condition};
use crate::error::Fault;

/// Deepest nesting of lists and maps in a detection.
const DEPTH_MAX: usize = 16;
/// Most values of one detection item.
pub const VALUES_MAX: usize = 100_000;

/// What a rule says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Metadata {
    /// Stable id; where the file has none, its name, else file and line.
    pub id: String,
    /// Name by which correlations may refer to it.
    pub name: Option<String>,
    /// Short name for people.
    pub title: String,
    /// How far the rule is trusted.
    pub status: Option<Status>,
    /// How bad a match is.
    pub level: Option<Level>,
    /// What it finds.
    pub description: String,
    /// Who wrote it; the Detection Rule License asks to keep the name with every match.
    pub author: String,
    /// Licence, when stated.
    pub license: Option<String>,
    /// Day of creation, as written.
    pub date: Option<String>,
    /// Day of the last change, as written.
    pub modified: Option<String>,
    /// Tags such as `attack.t1059.001`.
    pub tags: Vec<String>,
    /// Links.
    pub references: Vec<String>,
    /// What else may look like this.
    pub falsepositives: Vec<String>,
    /// Fields worth showing with a match.
    pub fields: Vec<String>,
    /// File it came from.
    pub file: String,
    /// Line of its document, from 1.
    pub line: usize,
}

/// How far a rule is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of the specification")]
pub enum Status {
    Stable,
    Test,
    Experimental,
    Deprecated,
    Unsupported,
}

/// How bad a match is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of the specification")]
pub enum Level {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

/// Where events come from. In a rule, what is not named may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct LogSource {
    /// Such as `process_creation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Such as `windows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Such as `security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl std::fmt::Display for LogSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [("product", &self.product), ("category", &self.category), ("service", &self.service)];
        let named = parts.iter().filter_map(|(name, part)| Some(format!("{name} {}", part.as_ref()?)));
        f.write_str(&named.collect::<Vec<_>>().join(", "))
    }
}

impl LogSource {
    /// A log source; empty texts are parts that are not named.
    #[must_use]
    pub fn new(category: &str, product: &str, service: &str) -> LogSource {
        let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        LogSource { category: part(category), product: part(product), service: part(service) }
    }

    /// Whether a rule of this log source is meant for events of `source`.
    #[must_use]
    pub fn covers(&self, source: &LogSource) -> bool {
        let part = |mine: &Option<String>, theirs: &Option<String>| match (mine, theirs) {
            (None, _) => true,
            (Some(mine), Some(theirs)) => mine.eq_ignore_ascii_case(theirs),
            (Some(_), None) => false,
        };
        part(&self.category, &source.category)
            && part(&self.product, &source.product)
            && part(&self.service, &source.service)
    }

    /// Whether no part is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.category.is_none() && self.product.is_none() && self.service.is_none()
    }
}

/// A rule as written.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it says of itself.
    pub meta: Metadata,
    /// Whose events it is for.
    pub logsource: LogSource,
    pub(crate) detections: Vec<(String, Detection)>,
    /// One is enough.
    pub(crate) conditions: Vec<Condition>,
    /// The document, to find the line of what turns out wrong later.
    pub(crate) text: Arc<str>,
}

/// What a named detection wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Detection {
    All(Vec<Detection>),
    Any(Vec<Detection>),
    Item(Item),
}

/// `field|modifiers: values`; no field means any string of the event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub field: Option<String>,
    pub modifiers: Vec<Modifier>,
    pub values: Vec<Scalar>,
    /// The key as written, for errors.
    pub key: String,
    /// Whether a pipeline gave the field another name.
    pub renamed: bool,
}

/// A value as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
}

macro_rules! modifiers {
    ($($variant:ident: $($name:literal)+),* $(,)?) => {
        /// A modifier, by the names of Sigma 2.1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Modifier { $($variant),* }

        impl Modifier {
            fn named(name: &str) -> Option<Modifier> {
                match name { $($($name)|+ => Some(Modifier::$variant),)* _ => None }
            }
        }
    };
}

modifiers! {
    All: "all", Contains: "contains", StartsWith: "startswith", EndsWith: "endswith", Exists: "exists",
    Cased: "cased", Neq: "neq", Windash: "windash", Re: "re", IgnoreCase: "i" "ignorecase",
    MultiLine: "m" "multiline", DotAll: "s" "dotall", Base64: "base64", Base64Offset: "base64offset",
    Utf16Le: "utf16le" "wide", Utf16Be: "utf16be", Utf16: "utf16", Lt: "lt", Lte: "lte", Gt: "gt", Gte: "gte",
    Minute: "minute", Hour: "hour", Day: "day", Week: "week", Month: "month", Year: "year", Cidr: "cidr",
    Expand: "expand", FieldRef: "fieldref",
}

impl Rule {
    pub(crate) fn read(doc: &Mapping, file: &str, line: usize, text: &str) -> Result<Rule, Fault> {
        let meta = Metadata::read(doc, file, line)?;
        let logsource = read_logsource(doc)?;
        let section = map(doc, "detection")?;
        let (detections, conditions) = read_detections(section, &[])?;
        Ok(Rule { meta, logsource, detections, conditions, text: text.into() })
    }
}

/// Named detections, and conditions over them.
pub(crate) type Section = (Vec<(String, Detection)>, Vec<Condition>);

/// The named detections of a section and its conditions; `skip` names keys that are something else.
pub(crate) fn read_detections(section: &Mapping, skip: &[&str]) -> Result<Section, Fault> {
    let mut detections = Vec::new();
    let mut conditions = Vec::new();
    for (key, value) in section {
        let name = key_text(key)?;
        match name.as_str() {
            "condition" => conditions = read_conditions(value)?,
            "timeframe" => {
                return Err(
                    Fault::new("`timeframe` is not part of Sigma 2: write a correlation rule").near(&name)
                );
            }
            other if skip.contains(&other) => {}
            _ => detections.push((name.clone(), detection(value, 0).map_err(|f| f.near(&name))?)),
        }
    }
    if conditions.is_empty() {
        return Err(Fault::new("`condition` is missing").near("detection"));
    }
    if detections.is_empty() {
        return Err(Fault::new("no detection is defined").near("detection"));
    }
    Ok((detections, conditions))
}

fn read_conditions(value: &Value) -> Result<Vec<Condition>, Fault> {
    let texts = texts(value).ok_or_else(|| Fault::new("`condition` must be text").near("condition"))?;
    texts.iter().map(|text| condition::parse(text)).collect()
}

pub(crate) fn read_logsource(doc: &Mapping) -> Result<LogSource, Fault> {
    let section = map(doc, "logsource")?;
    let part = |name: &str| text(section, name).filter(|text| !text.is_empty());
    let source = LogSource { category: part("category"), product: part("product"), service: part("service") };
    if source.is_empty() {
        return Err(Fault::new("`logsource` names no category, product or service").near("logsource"));
    }
    Ok(source)
}

fn detection(value: &Value, depth: usize) -> Result<Detection, Fault> {
    if depth > DEPTH_MAX {
        return Err(Fault::new(format!("a detection is nested deeper than {DEPTH_MAX}")));
    }
    match value {
        Value::Mapping(section) if section.is_empty() => Err(Fault::new("a detection is empty")),
        Value::Mapping(section) => {
            let items: Result<Vec<_>, Fault> =
                section.iter().map(|(key, value)| item(&key_text(key)?, value)).collect();
            Ok(Detection::All(items?))
        }
        Value::Sequence(list) if list.is_empty() => Err(Fault::new("a detection is empty")),
        Value::Sequence(list) if list.iter().all(|value| scalar(value).is_some()) => {
            Ok(Detection::Item(Item::read("", value)?))
        }
        Value::Sequence(list) => Ok(Detection::Any(
            list.iter().map(|value| detection(value, depth + 1)).collect::<Result<_, _>>()?,
        )),
        plain => Ok(Detection::Item(Item::read("", plain)?)),
    }
}

fn item(key: &str, value: &Value) -> Result<Detection, Fault> {
    Item::read(key, value).map(Detection::Item).map_err(|fault| fault.near(key))
}

impl Item {
    pub(crate) fn read(key: &str, value: &Value) -> Result<Item, Fault> {
        let mut parts = key.split('|');
        let field = parts.next().filter(|name| !name.is_empty()).map(str::to_owned);
        let modifiers: Result<Vec<_>, Fault> = parts
            .map(|name| {
                Modifier::named(name)
                    .ok_or_else(|| Fault::new(format!("unknown modifier `{name}` in `{key}`")))
            })
            .collect();
        let values = match value {
            Value::Sequence(list) => list
                .iter()
                .map(|value| {
                    scalar(value).ok_or_else(|| Fault::new(format!("`{key}` holds a list or map as a value")))
                })
                .collect::<Result<Vec<_>, _>>()?,
            plain => vec![
                scalar(plain)
                    .ok_or_else(|| Fault::new(format!("`{key}` holds a map, want a value or a list")))?,
            ],
        };
        if values.is_empty() {
            return Err(Fault::new(format!("`{key}` has no values")));
        }
        if values.len() > VALUES_MAX {
            return Err(Fault::new(format!("`{key}` has more than {VALUES_MAX} values")));
        }
        Ok(Item { field, modifiers: modifiers?, values, key: key.to_owned(), renamed: false })
    }

    pub(crate) fn has(&self, modifier: Modifier) -> bool {
        self.modifiers.contains(&modifier)
    }
}

pub(crate) fn scalar(value: &Value) -> Option<Scalar> {
    match value {
        Value::Null => Some(Scalar::Null),
        Value::Bool(yes) => Some(Scalar::Bool(*yes)),
        Value::Number(number) => {
            let int = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            int.map(Scalar::Int).or_else(|| number.as_f64().map(Scalar::Float))
        }
        Value::String(text) => Some(Scalar::Text(text.clone())),
        Value::Tagged(tagged) => scalar(&tagged.value),
        Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

impl Scalar {
    /// As text; null has none.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Scalar::Null => None,
            Scalar::Bool(yes) => Some(yes.to_string()),
            Scalar::Int(number) => Some(number.to_string()),
            Scalar::Float(number) => Some(format!("{number:?}")),
            Scalar::Text(text) => Some(text.clone()),
        }
    }
}

impl Metadata {
    pub(crate) fn read(doc: &Mapping, file: &str, line: usize) -> Result<Metadata, Fault> {
        let title = text(doc, "title").ok_or_else(|| Fault::new("`title` is missing"))?;
        let name = text(doc, "name");
        let id = text(doc, "id").or_else(|| name.clone()).unwrap_or_else(|| format!("{file}:{line}"));
        Ok(Metadata {
            id,
            name,
            title,
            status: word(doc, "status")?,
            level: word(doc, "level")?,
            description: text(doc, "description").unwrap_or_default(),
            author: text(doc, "author").unwrap_or_default(),
            license: text(doc, "license"),
            date: text(doc, "date"),
            modified: text(doc, "modified"),
            tags: list(doc, "tags"),
            references: list(doc, "references"),
            falsepositives: list(doc, "falsepositives"),
            fields: list(doc, "fields"),
            file: file.to_owned(),
            line,
        })
    }
}

/// Id or title, for errors about a document that may not load.
pub(crate) fn name_of(doc: &Mapping) -> Option<String> {
    text(doc, "id").or_else(|| text(doc, "title"))
}

pub(crate) fn text(doc: &Mapping, key: &str) -> Option<String> {
    doc.get(key).and_then(scalar).and_then(|value| value.text())
}

pub(crate) fn map<'a>(doc: &'a Mapping, key: &str) -> Result<&'a Mapping, Fault> {
    match doc.get(key) {
        Some(Value::Mapping(section)) => Ok(section),
        Some(_) => Err(Fault::new(format!("`{key}` must be a map")).near(key)),
        None => Err(Fault::new(format!("`{key}` is missing"))),
    }
}

/// A text or a list of texts.
pub(crate) fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Sequence(list) => {
            list.iter().map(|value| scalar(value).and_then(|value| value.text())).collect()
        }
        plain => Some(vec![scalar(plain)?.text()?]),
    }
}

/// A list for people: what is not text is left out.
fn list(doc: &Mapping, key: &str) -> Vec<String> {
    match doc.get(key) {
        Some(Value::Sequence(list)) => {
            list.iter().filter_map(|value| scalar(value).and_then(|value| value.text())).collect()
        }
        Some(plain) => scalar(plain).and_then(|value| value.text()).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A word of a closed set.
fn word<T: serde::de::DeserializeOwned>(doc: &Mapping, key: &str) -> Result<Option<T>, Fault> {
    let Some(word) = text(doc, key) else {
        return Ok(None);
    };
    yaml_serde::from_value(Value::String(word.to_lowercase()))
        .map(Some)
        .map_err(|error| Fault::new(format!("`{key}`: {error}")).near(key))
}

pub(crate) fn key_text(key: &Value) -> Result<String, Fault> {
    scalar(key).and_then(|key| key.text()).ok_or_else(|| Fault::new("a key of the document is not text"))
}
