//! Steps: what a pipeline does with a record, one after the other.
//!
//! Invariants:
//! - a step that fails leaves the record as it was, but for the attribute `pipeline_error` that names the step;
//! - only `drop`, `sample` and `schema` end a record's way, and each such end is counted.

use std::borrow::Cow;
use std::sync::Arc;

use heimdall_extract::compile_regex;
use heimdall_model::Dataset;
use regex::Regex;
use serde::Deserialize;

use super::condition::{Condition, OneOrMore, glob_regex};
use super::doc::{Doc, FieldRef, Found, Val};
use super::parse::{Parse, WrittenParse};
use super::redact::{Redact, WrittenRedact};
use super::table::{KeyColumn, Table};
use super::template::Template;
use super::time::{TimeStep, WrittenTime};
use super::{Context, End, Tools};
use crate::schema::Schemas;

/// The attribute that says what went wrong.
pub(crate) const ERROR: &str = "pipeline_error";
/// Fields named in one step.
const FIELDS_MAX: usize = 500;

/// A step, ready but for what is outside of its file.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) when: Option<Condition>,
    pub(crate) ignore_failure: bool,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    Rename(Vec<(FieldRef, FieldRef)>),
    Copy(Vec<(FieldRef, FieldRef)>),
    Set(Vec<(FieldRef, Source)>),
    Remove(Vec<FieldRef>),
    Keep(Regex),
    Parse(Box<Parse>),
    Timestamp(Box<TimeStep>),
    Convert(Vec<(FieldRef, Kind)>),
    Map(&'static str, fn(&str) -> String, Vec<FieldRef>),
    Replace(FieldRef, Regex, String),
    Drop,
    Sample { rate: f64, below: u64, by: Option<FieldRef> },
    Route { sets: Vec<(FieldRef, Template)>, to: Option<String> },
    Enrich(Box<Enrich>),
    Redact(Box<Redact>),
    Schema { subject: Template, version: Option<u32>, on_fail: OnFail, schemas: Option<Schemas> },
}

#[derive(Debug)]
pub(crate) enum Source {
    Template(Template),
    Json(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Int,
    Float,
    Bool,
    String,
    Json,
}

/// What becomes of a record that breaks its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFail {
    /// The sender is told.
    Reject,
    /// Kept aside, among the dead letters.
    Quarantine,
    /// Kept, with the reason in `pipeline_error`.
    #[default]
    Tag,
}

#[derive(Debug)]
pub(crate) struct Enrich {
    field: FieldRef,
    name: String,
    key: KeyColumn,
    /// Columns of the table, and where each goes.
    columns: Vec<String>,
    targets: Vec<String>,
    prefix: String,
    table: Option<Arc<Table>>,
}

// ---- as written ---------------------------------------------------------------------------------------------------

/// A mapping in the order it was written.
#[derive(Debug, Clone)]
struct Ordered<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<V> {
            type Value = Ordered<V>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if list.len() == FIELDS_MAX {
                        return Err(serde::de::Error::custom(format!(
                            "a step names at most {FIELDS_MAX} fields"
                        )));
                    }
                    list.push(entry);
                }
                Ok(Ordered(list))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    #[serde(default)]
    r#if: Option<Condition>,
    #[serde(default)]
    ignore_failure: bool,
    #[serde(default)]
    rename: Option<Ordered<String>>,
    #[serde(default)]
    copy: Option<Ordered<String>>,
    #[serde(default)]
    set: Option<Ordered<serde_json::Value>>,
    #[serde(default)]
    remove: Option<OneOrMore>,
    #[serde(default)]
    keep: Option<OneOrMore>,
    #[serde(default)]
    parse: Option<WrittenParse>,
    #[serde(default)]
    timestamp: Option<WrittenTime>,
    #[serde(default)]
    convert: Option<Ordered<Kind>>,
    #[serde(default)]
    lowercase: Option<OneOrMore>,
    #[serde(default)]
    uppercase: Option<OneOrMore>,
    #[serde(default)]
    trim: Option<OneOrMore>,
    #[serde(default)]
    replace: Option<WrittenReplace>,
    #[serde(default)]
    drop: Option<WrittenDrop>,
    #[serde(default)]
    sample: Option<WrittenSample>,
    #[serde(default)]
    route: Option<WrittenRoute>,
    #[serde(default)]
    enrich: Option<WrittenEnrich>,
    #[serde(default)]
    redact: Option<WrittenRedact>,
    #[serde(default)]
    schema: Option<WrittenSchema>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenReplace {
    field: String,
    pattern: String,
    with: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDrop {
    #[serde(default)]
    when: Option<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSample {
    rate: f64,
    #[serde(default)]
    by: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoute {
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    retention_policy: Option<String>,
    #[serde(default)]
    classification: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEnrich {
    table: String,
    field: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    network: Option<String>,
    fields: Columns,
    #[serde(default)]
    prefix: String,
}

/// Columns under their own names, or each with another.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Columns {
    Names(Vec<String>),
    Renamed(Ordered<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSchema {
    subject: String,
    #[serde(default)]
    version: Option<u32>,
    #[serde(default)]
    on_fail: OnFail,
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Step, D::Error> {
        let written = WrittenStep::deserialize(deserializer)?;
        Step::of(written).map_err(serde::de::Error::custom)
    }
}

impl Step {
    fn of(written: WrittenStep) -> Result<Step, String> {
        let mut actions = Vec::new();
        let w = written;
        let mut when = w.r#if;
        actions.extend(w.rename.map(|map| pairs(map).map(Action::Rename)));
        actions.extend(w.copy.map(|map| pairs(map).map(Action::Copy)));
        actions.extend(w.set.map(sets));
        actions.extend(w.remove.map(|list| fields(&list).map(Action::Remove)));
        actions.extend(w.keep.map(|list| glob_regex(list.as_slice()).map(Action::Keep)));
        actions.extend(w.parse.map(|parse| Parse::new(parse).map(|parse| Action::Parse(Box::new(parse)))));
        actions.extend(
            w.timestamp.map(|time| TimeStep::new(time).map(|time| Action::Timestamp(Box::new(time)))),
        );
        actions.extend(w.convert.map(|map| {
            let each = map.0.into_iter().map(|(field, kind)| Ok((FieldRef::new(&field)?, kind)));
            each.collect::<Result<_, String>>().map(Action::Convert)
        }));
        actions
            .extend(w.lowercase.map(|list| Ok(Action::Map("lowercase", str::to_lowercase, fields(&list)?))));
        actions
            .extend(w.uppercase.map(|list| Ok(Action::Map("uppercase", str::to_uppercase, fields(&list)?))));
        actions.extend(
            w.trim.map(|list| Ok(Action::Map("trim", |text| text.trim().to_owned(), fields(&list)?))),
        );
        actions.extend(w.replace.map(|replace| {
            Ok(Action::Replace(
                FieldRef::new(&replace.field)?,
                compile_regex(&replace.pattern)?,
                replace.with,
            ))
        }));
        if let Some(drop) = w.drop {
            if drop.when.is_some() && when.is_some() {
                return Err("`drop` has its condition in `when` or in `if`, not in both".to_owned());
            }
            when = drop.when.or(when);
            actions.push(Ok(Action::Drop));
        }
        actions.extend(w.sample.map(sample));
        actions.extend(w.route.map(route));
        actions.extend(w.enrich.map(enrich));
        actions.extend(
            w.redact.map(|redact| Redact::new(redact).map(|redact| Action::Redact(Box::new(redact)))),
        );
        actions.extend(w.schema.map(|schema| {
            Ok(Action::Schema {
                subject: Template::new(&schema.subject)?,
                version: schema.version,
                on_fail: schema.on_fail,
                schemas: None,
            })
        }));
        match actions.len() {
            0 => Err(format!("a step is one of {}", NAMES.join(", "))),
            1 => Ok(Step { when, ignore_failure: w.ignore_failure, action: actions.remove(0)? }),
            _ => Err("a step does one thing: make two steps of it".to_owned()),
        }
    }

    /// Gets what the step needs from outside of its file.
    pub(crate) fn equip(&mut self, tools: &Tools<'_>) -> Result<(), String> {
        match &mut self.action {
            Action::Enrich(enrich) => {
                let table = tools.tables.get(&enrich.name, enrich.key.clone())?;
                if let Some(columns) = table.columns()
                    && let Some(absent) = enrich.columns.iter().find(|name| !columns.contains(name))
                {
                    return Err(format!(
                        "table `{}` has no column `{absent}`; it has {}",
                        enrich.name,
                        columns.join(", ")
                    ));
                }
                enrich.table = Some(table);
            }
            Action::Schema { schemas, .. } => *schemas = Some(tools.schemas.clone()),
            _ => {}
        }
        Ok(())
    }
}

const NAMES: [&str; 19] = [
    "rename",
    "copy",
    "set",
    "remove",
    "keep",
    "parse",
    "timestamp",
    "convert",
    "lowercase",
    "uppercase",
    "trim",
    "replace",
    "drop",
    "sample",
    "route",
    "enrich",
    "redact",
    "schema",
    "if",
];

fn fields(list: &OneOrMore) -> Result<Vec<FieldRef>, String> {
    match list.as_slice().len() {
        1..=FIELDS_MAX => list.as_slice().iter().map(|name| FieldRef::new(name)).collect(),
        _ => Err(format!("a step names 1 to {FIELDS_MAX} fields")),
    }
}

fn pairs(map: Ordered<String>) -> Result<Vec<(FieldRef, FieldRef)>, String> {
    map.0.iter().map(|(from, to)| Ok((FieldRef::new(from)?, FieldRef::new(to)?))).collect()
}

fn sets(map: Ordered<serde_json::Value>) -> Result<Action, String> {
    let source = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Template::new(&text).map(Source::Template),
        other => Ok(Source::Json(other.to_string())),
    };
    let each = map.0.into_iter().map(|(field, value)| Ok((FieldRef::new(&field)?, source(value)?)));
    each.collect::<Result<_, String>>().map(Action::Set)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of the range"
)]
fn sample(written: WrittenSample) -> Result<Action, String> {
    if !(0.0..=1.0).contains(&written.rate) {
        return Err("`rate` is a share of the records, 0 to 1".to_owned());
    }
    let below = (written.rate * u64::MAX as f64) as u64;
    let by = written.by.as_deref().map(FieldRef::new).transpose()?;
    Ok(Action::Sample { rate: written.rate, below, by })
}

fn route(written: WrittenRoute) -> Result<Action, String> {
    const CLASSES: [&str; 4] = ["public", "internal", "confidential", "restricted"];
    if let Some(class) = &written.classification
        && !class.contains("${")
        && !CLASSES.contains(&class.as_str())
    {
        return Err(format!("`classification` is one of {}", CLASSES.join(", ")));
    }
    let named = [
        ("service", written.service),
        ("retention_policy", written.retention_policy),
        ("classification", written.classification),
    ];
    let each = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let sets: Vec<_> = each
        .map(|(name, value)| Ok((FieldRef::new(name)?, Template::new(&value)?)))
        .collect::<Result<_, String>>()?;
    if sets.is_empty() && written.to.is_none() {
        return Err("`route` needs service, retention_policy, classification or to".to_owned());
    }
    Ok(Action::Route { sets, to: written.to })
}

fn enrich(written: WrittenEnrich) -> Result<Action, String> {
    let key = match (written.key, written.network) {
        (Some(_), Some(_)) => {
            return Err("`enrich` looks up by `key` or by `network`, not by both".to_owned());
        }
        (key, None) => KeyColumn::Key(key),
        (None, Some(network)) => KeyColumn::Network(network),
    };
    let (columns, targets): (Vec<String>, Vec<String>) = match written.fields {
        Columns::Names(names) => names.into_iter().map(|name| (name.clone(), name)).unzip(),
        Columns::Renamed(map) => map.0.into_iter().unzip(),
    };
    if columns.is_empty() || columns.len() > FIELDS_MAX {
        return Err(format!("`enrich` adds 1 to {FIELDS_MAX} `fields`"));
    }
    let enrich = Enrich {
        field: FieldRef::new(&written.field)?,
        name: written.table,
        key,
        columns,
        targets,
        prefix: written.prefix,
        table: None,
    };
    Ok(Action::Enrich(Box::new(enrich)))
}

// ---- at work ------------------------------------------------------------------------------------------------------

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// The record goes on.
    On,
    /// It goes on in another pipeline.
    To(String),
    /// Its way ends here.
    End(End),
}

type Failure = Cow<'static, str>;

impl Action {
    /// The name as written.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Action::Rename(_) => "rename",
            Action::Copy(_) => "copy",
            Action::Set(_) => "set",
            Action::Remove(_) => "remove",
            Action::Keep(_) => "keep",
            Action::Parse(_) => "parse",
            Action::Timestamp(_) => "timestamp",
            Action::Convert(_) => "convert",
            Action::Map(name, ..) => name,
            Action::Replace(..) => "replace",
            Action::Drop => "drop",
            Action::Sample { .. } => "sample",
            Action::Route { .. } => "route",
            Action::Enrich(_) => "enrich",
            Action::Redact(_) => "redact",
            Action::Schema { .. } => "schema",
        }
    }

    /// Where the record is sent, when it is.
    pub(crate) fn target(&self) -> Option<&str> {
        match self {
            Action::Route { to, .. } => to.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn run(&self, doc: &mut Doc<'_>, context: &mut Context<'_>) -> Result<Done, Failure> {
        let dataset = context.dataset;
        match self {
            Action::Rename(pairs) => {
                for (from, to) in pairs {
                    if let Some(value) = from.take(doc, dataset) {
                        doc.set(to.path(), value);
                    }
                }
            }
            Action::Copy(pairs) => {
                for (from, to) in pairs {
                    if let Some(value) = from.get(doc, dataset).map(|found| found.to_val()) {
                        doc.set(to.path(), value);
                    }
                }
            }
            Action::Set(sets) => {
                for (field, source) in sets {
                    let value = match source {
                        Source::Json(json) => Some(Val::json(json.as_str())),
                        Source::Template(template) => template.value(doc, dataset),
                    };
                    if let Some(value) = value {
                        field.set(doc, dataset, value);
                    }
                }
            }
            Action::Remove(fields) => fields.iter().for_each(|field| drop(field.take(doc, dataset))),
            Action::Keep(names) => {
                // The time and the reason of an earlier failure are no matter of taste.
                doc.retain(|name| name == ERROR || names.is_match(name) || is_time(name, dataset));
            }
            Action::Parse(parse) => parse.apply(doc, dataset, context.now)?,
            Action::Timestamp(time) => time.apply(doc, dataset, context.now)?,
            Action::Convert(fields) => return convert(fields, doc, dataset),
            Action::Map(_, change, fields) => {
                for field in fields {
                    if let Some(Found::Text(text)) = field.get(doc, dataset) {
                        let changed = change(&text);
                        field.set(doc, dataset, Val::text(changed));
                    }
                }
            }
            Action::Replace(field, regex, with) => {
                let Some(found) = field.get(doc, dataset) else { return Ok(Done::On) };
                let text = found.into_text();
                if let Cow::Owned(changed) = regex.replace_all(&text, with.as_str()) {
                    if changed.len() > super::template::TEXT_BYTES_MAX.max(text.len()) {
                        return Err("what it makes is too long".into());
                    }
                    field.set(doc, dataset, Val::text(changed));
                }
            }
            Action::Drop => return Ok(Done::End(End::Dropped)),
            Action::Sample { rate, below, by } => {
                let hash = match by {
                    Some(field) => match field.get(doc, dataset) {
                        Some(found) => hash(found.into_text().as_bytes()),
                        None => return Ok(Done::On),
                    },
                    None => hash(doc.to_json().as_bytes()),
                };
                if hash > *below || *rate == 0.0 {
                    return Ok(Done::End(End::Sampled));
                }
                doc.set("sample_rate", Val::json(rate.to_string()));
            }
            Action::Route { sets, to } => {
                for (field, template) in sets {
                    if let Some(text) = template.text(doc, dataset) {
                        field.set(doc, dataset, Val::text(text));
                    }
                }
                return Ok(to.clone().map_or(Done::On, Done::To));
            }
            Action::Enrich(enrich) => enrich.apply(doc, dataset)?,
            Action::Redact(redact) => context.redacted |= redact.apply(doc, dataset),
            Action::Schema { subject, version, on_fail, schemas } => {
                let Some(schemas) = schemas else { return Err("there are no schemas".into()) };
                return check_schema(schemas, subject, *version, *on_fail, doc, context);
            }
        }
        Ok(Done::On)
    }
}

fn is_time(name: &str, dataset: Dataset) -> bool {
    let time = &dataset.fields()[0];
    time.name == name || time.aliases.contains(&name)
}

fn convert(fields: &[(FieldRef, Kind)], doc: &mut Doc<'_>, dataset: Dataset) -> Result<Done, Failure> {
    let mut values = Vec::with_capacity(fields.len());
    for (field, kind) in fields {
        let Some(found) = field.get(doc, dataset) else { continue };
        let Some(value) = converted(&found, *kind) else {
            let kind = format!("{kind:?}").to_lowercase();
            return Err(format!("`{}` cannot become {kind}", field.path()).into());
        };
        values.push((field, value));
    }
    for (field, value) in values {
        field.set(doc, dataset, value);
    }
    Ok(Done::On)
}

fn converted(found: &Found<'_>, kind: Kind) -> Option<Val<'static>> {
    let text = match found {
        Found::Text(text) => text.trim(),
        Found::Json(json) => json,
    };
    match kind {
        Kind::String => Some(Val::text(text)),
        Kind::Int => {
            let whole = text.parse::<i64>().ok();
            #[expect(clippy::cast_possible_truncation, reason = "checked to lie within i64")]
            let number =
                whole.or_else(|| found.number().filter(|x| x.abs() < 9.2e18).map(|x| x.trunc() as i64));
            number.map(|number| Val::json(number.to_string()))
        }
        Kind::Float => {
            found.number().and_then(serde_json::Number::from_f64).map(|number| Val::json(number.to_string()))
        }
        Kind::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(Val::json("true")),
            "false" | "0" | "no" | "off" => Some(Val::json("false")),
            _ => None,
        },
        Kind::Json => {
            // The scanner knows more bounds than JSON itself.
            let doc = format!("{{\"v\":{text}}}");
            let doc = Doc::parse(&doc).ok().filter(|doc| doc.len() == 1)?;
            doc.get("v").map(|found| found.to_val())
        }
    }
}

impl Enrich {
    fn apply(&self, doc: &mut Doc<'_>, dataset: Dataset) -> Result<(), Failure> {
        let Some(table) = &self.table else {
            return Err(format!("table `{}` is not loaded", self.name).into());
        };
        let Some(key) = self.field.get(doc, dataset) else { return Ok(()) };
        let found = table.find(&key.into_text(), &self.columns);
        let found = found.map_err(|reason| format!("`{}` {reason}", self.field.path()))?;
        for (n, value) in found.unwrap_or_default() {
            doc.set(&format!("{}{}", self.prefix, self.targets[n]), Val::of_json(&value));
        }
        Ok(())
    }
}

fn check_schema(
    schemas: &Schemas,
    subject: &Template,
    version: Option<u32>,
    on_fail: OnFail,
    doc: &mut Doc<'_>,
    context: &mut Context<'_>,
) -> Result<Done, Failure> {
    let dataset = context.dataset;
    let Some(subject) = subject.text(doc, dataset) else {
        return Err("the subject of the schema is absent".into());
    };
    let stated = || {
        let found = doc.get("version").or_else(|| doc.get("schema_version"))?;
        found.into_text().trim().parse::<u32>().ok()
    };
    let version = version.or_else(stated);
    let (field, reason) = match schemas.get(context.tenant, &subject, version) {
        None => {
            let version = version.map_or(String::new(), |version| format!(" version {version}"));
            (String::new(), format!("there is no schema `{subject}`{version}"))
        }
        Some(schema) => match schema.check(&doc.to_json()) {
            Ok(()) => return Ok(Done::On),
            Err(broken) => (broken.field, broken.reason),
        },
    };
    match on_fail {
        OnFail::Reject => Ok(Done::End(End::Rejected { field, reason })),
        OnFail::Quarantine => Ok(Done::End(End::Quarantined { field, reason })),
        OnFail::Tag => Err(format!("{field}: {reason}").trim_start_matches(": ").to_owned().into()),
    }
}

/// A hash that is the same for ever, whatever the machine: FNV-1a, mixed so that its high bits are even.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
