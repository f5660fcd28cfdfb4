//! Pipelines: from the field names of Sigma to those of the events at hand, as data.
//!
//! A useful part of pySigma's processing pipelines, in the same words:
//!
//! ```yaml
//! name: my-proxy
//! priority: 20                       # lower acts first
//! vars: {admins: [alice, bob]}       # values of placeholders: User|expand: '%admins%'
//! transformations:
//!   - type: field_name_mapping       # a list of names means: any of them
//!     mapping: {c-ip: source.ip, cs-host: [url.domain, destination.domain]}
//!     rule_conditions: [{type: logsource, category: proxy}]
//!   - type: change_logsource
//!     category: webserver
//! ```
//!
//! Kinds: `field_name_mapping`, `field_name_prefix_mapping`, `field_name_prefix`, `change_logsource`, `add_condition`,
//! `drop_detection_item`, `value_placeholders`, `wildcard_placeholders`. Conditions: `rule_conditions` by log source, of
//! which one is enough (with `rule_cond_op: and` all, with `rule_cond_not: true` none), and `field_name_conditions` with
//! `include_fields`, `exclude_fields`, or `not_renamed`: those that no transformation has renamed so far and that hold no dot. What one
//! transformation has renamed the next may rename again.

use std::collections::{BTreeMap, BTreeSet};

use yaml_serde::{Mapping, Value};

use crate::condition::Condition;
use crate::error::{Fault, LoadError};
use crate::modifiers::Placeholders;
use crate::rule::{self, Detection, Item, LogSource, Modifier, Rule, Scalar};

/// Pipelines that come with the product: name and content.
const BUILTIN: [(&str, &str); 4] = [
    ("ecs", include_str!("../pipelines/ecs.yml")),
    ("otel", include_str!("../pipelines/otel.yml")),
    ("auditd", include_str!("../pipelines/auditd.yml")),
    ("web", include_str!("../pipelines/web.yml")),
];

/// Changes to rules before they are compiled.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Name for people.
    pub name: String,
    /// Pipelines of lower priority act first.
    pub priority: i64,
    placeholders: Placeholders,
    transformations: Vec<Transformation>,
}

#[derive(Debug, Clone)]
struct Transformation {
    change: Change,
    logsources: Vec<LogSource>,
    all_logsources: bool,
    not_logsources: bool,
    fields: Option<FieldChoice>,
}

#[derive(Debug, Clone)]
enum FieldChoice {
    Include(BTreeSet<String>),
    Exclude(BTreeSet<String>),
    /// Not renamed so far, and no path.
    NotRenamed,
}

#[derive(Debug, Clone)]
enum Change {
    Rename(BTreeMap<String, Vec<String>>),
    RenamePrefix(BTreeMap<String, Vec<String>>),
    Prefix(String),
    LogSource(LogSource),
    Require(Box<Detection>, bool),
    Drop,
    AnyPlaceholder,
    Nothing,
}

impl Pipeline {
    /// A pipeline that comes with the product: `ecs` (Elastic Common Schema, Winlogbeat), `otel` (OpenTelemetry
    /// attributes), `auditd` (raw records of the audit daemon), `web` (access logs of Heimdall and others).
    #[must_use]
    pub fn builtin(name: &str) -> Option<Pipeline> {
        let (_, text) = BUILTIN.iter().find(|(known, _)| *known == name)?;
        Pipeline::parse(name, text).ok()
    }

    /// Names of the pipelines that come with the product.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// Reads a pipeline.
    ///
    /// # Errors
    /// It is not YAML, or holds what is not known here.
    pub fn parse(file: &str, text: &str) -> Result<Pipeline, LoadError> {
        let fail = |line: usize, column: Option<usize>, reason: String| LoadError {
            file: file.to_owned(),
            line,
            column,
            rule: None,
            reason,
        };
        let doc: Mapping = yaml_serde::from_str(text).map_err(|error| {
            let at = error.location();
            let (line, column) = at.map(|at| (at.line(), at.column().max(1))).unzip();
            fail(line.unwrap_or(1), column, format!("not a pipeline: {error}"))
        })?;
        Pipeline::read(&doc).map_err(|fault| {
            let near = fault.near.and_then(|near| crate::collection::place_of(text, &near));
            let (below, column) = near.unzip();
            fail(1 + below.unwrap_or(0), column, fault.reason)
        })
    }

    fn read(doc: &Mapping) -> Result<Pipeline, Fault> {
        known_keys(
            doc,
            &["name", "priority", "vars", "transformations", "allowed_backends", "postprocessing"],
        )?;
        let transformations = match doc.get("transformations") {
            None => Vec::new(),
            Some(Value::Sequence(list)) => list.iter().map(transformation).collect::<Result<_, _>>()?,
            Some(_) => return Err(Fault::new("`transformations` must be a list").near("transformations")),
        };
        Ok(Pipeline {
            name: rule::text(doc, "name").unwrap_or_default(),
            priority: doc.get("priority").and_then(Value::as_i64).unwrap_or(0),
            placeholders: match doc.get("vars") {
                None => Placeholders::new(),
                Some(vars) => lists(vars, "vars")?.into_iter().collect(),
            },
            transformations,
        })
    }

    /// Field names it changes, for whatever log source, each with what it becomes.
    pub fn renames(&self) -> impl Iterator<Item = (&str, &[String])> {
        let renames = self.transformations.iter().filter_map(|transformation| match &transformation.change {
            Change::Rename(names) => Some(names),
            _ => None,
        });
        renames.flatten().map(|(name, others)| (name.as_str(), others.as_slice()))
    }

    /// Adds values for a placeholder: what a rule writes as `%name%` under `expand`.
    pub fn set_placeholder(&mut self, name: &str, values: Vec<String>) {
        self.placeholders.insert(name.to_owned(), values);
    }

    /// Acts on a rule.
    pub(crate) fn apply(&self, rule: &mut Rule) {
        for transformation in &self.transformations {
            if transformation.is_for(&rule.logsource) {
                transformation.apply(rule);
            }
        }
    }

    /// The names by which a field of a correlation goes, as for a rule of the log source.
    pub(crate) fn rename(&self, field: &str, source: &LogSource) -> String {
        let (mut name, mut renamed) = (field.to_owned(), false);
        for transformation in self.transformations.iter().filter(|one| one.is_for(source)) {
            if let Some(first) =
                transformation.names(&name, renamed).and_then(|names| names.into_iter().next())
            {
                (name, renamed) = (first, true);
            }
        }
        name
    }
}

/// The placeholders of all pipelines; the later has the last word.
pub(crate) fn placeholders(pipelines: &[&Pipeline]) -> Placeholders {
    pipelines.iter().flat_map(|pipeline| pipeline.placeholders.clone()).collect()
}

impl Transformation {
    fn is_for(&self, source: &LogSource) -> bool {
        if self.logsources.is_empty() {
            return true;
        }
        let mut fits = self.logsources.iter().map(|wanted| wanted.covers(source));
        let holds = if self.all_logsources { fits.all(|fit| fit) } else { fits.any(|fit| fit) };
        holds != self.not_logsources
    }

    fn chooses(&self, field: &str, renamed: bool) -> bool {
        match &self.fields {
            None => true,
            Some(FieldChoice::NotRenamed) => !renamed && !field.contains('.'),
            Some(FieldChoice::Include(names)) => names.contains(field),
            Some(FieldChoice::Exclude(names)) => !names.contains(field),
        }
    }

    /// New names of a field; `None` when it keeps its name.
    fn names(&self, field: &str, renamed: bool) -> Option<Vec<String>> {
        if !self.chooses(field, renamed) {
            return None;
        }
        match &self.change {
            Change::Rename(names) => names.get(field).cloned(),
            Change::RenamePrefix(prefixes) => {
                let (old, new) = prefixes
                    .iter()
                    .filter(|(old, _)| field.starts_with(old.as_str()))
                    .max_by_key(|(old, _)| old.len())?;
                Some(new.iter().map(|new| format!("{new}{}", &field[old.len()..])).collect())
            }
            Change::Prefix(prefix) => Some(vec![format!("{prefix}{field}")]),
            _ => None,
        }
    }

    fn apply(&self, rule: &mut Rule) {
        match &self.change {
            Change::LogSource(source) => rule.logsource = source.clone(),
            Change::Require(detection, negated) => require(rule, detection, *negated),
            Change::Nothing => {}
            _ => {
                rule.detections = std::mem::take(&mut rule.detections)
                    .into_iter()
                    .filter_map(|(name, detection)| Some((name, self.change(detection)?)))
                    .collect()
            }
        }
    }

    /// The detection with its items changed; `None` when nothing is left of it.
    fn change(&self, detection: Detection) -> Option<Detection> {
        let parts = |parts: Vec<Detection>| -> Vec<Detection> {
            parts.into_iter().filter_map(|part| self.change(part)).collect()
        };
        match detection {
            Detection::All(list) => Some(Detection::All(parts(list))).filter(|kept| !is_empty(kept)),
            Detection::Any(list) => Some(Detection::Any(parts(list))).filter(|kept| !is_empty(kept)),
            Detection::Item(item) => self.change_item(item),
        }
    }

    fn change_item(&self, mut item: Item) -> Option<Detection> {
        if item.has(Modifier::FieldRef) {
            for value in &mut item.values {
                if let Scalar::Text(name) = value
                    && let Some(new) = self.names(name, false).and_then(|names| names.into_iter().next())
                {
                    *name = new;
                }
            }
        }
        if matches!(self.change, Change::AnyPlaceholder) && item.has(Modifier::Expand) {
            item.modifiers.retain(|modifier| *modifier != Modifier::Expand);
            item.values.iter_mut().for_each(open_placeholders);
        }
        let Some(field) = item.field.as_deref() else {
            return Some(Detection::Item(item));
        };
        if matches!(self.change, Change::Drop) && self.chooses(field, item.renamed) {
            return None;
        }
        match self.names(field, item.renamed) {
            None => Some(Detection::Item(item)),
            Some(names) => {
                let mut items: Vec<Detection> = names
                    .into_iter()
                    .map(|name| Detection::Item(Item { field: Some(name), renamed: true, ..item.clone() }))
                    .collect();
                if items.len() == 1 { items.pop() } else { Some(Detection::Any(items)) }
            }
        }
    }
}

fn is_empty(detection: &Detection) -> bool {
    matches!(detection, Detection::All(parts) | Detection::Any(parts) if parts.is_empty())
}

/// Makes every condition of the rule hold only where the detection does too.
fn require(rule: &mut Rule, detection: &Detection, negated: bool) {
    let mut name = "_pipeline".to_owned();
    while rule.detections.iter().any(|(known, _)| *known == name) {
        name.push('_');
    }
    rule.detections.push((name.clone(), detection.clone()));
    let named = Condition::Name(name);
    let wanted = if negated { Condition::Not(Box::new(named)) } else { named };
    for condition in &mut rule.conditions {
        let old = std::mem::replace(condition, Condition::Or(Vec::new()));
        *condition = Condition::And(vec![wanted.clone(), old]);
    }
}

fn open_placeholders(value: &mut Scalar) {
    if let Scalar::Text(text) = value {
        let parts: Vec<&str> = text.split('%').collect();
        if parts.len() >= 3 {
            *text = parts.iter().step_by(2).copied().collect::<Vec<_>>().join("*");
        }
    }
}

fn transformation(value: &Value) -> Result<Transformation, Fault> {
    let Value::Mapping(doc) = value else {
        return Err(Fault::new("a transformation must be a map").near("transformations"));
    };
    let kind = rule::text(doc, "type")
        .ok_or_else(|| Fault::new("a transformation has no `type`").near("transformations"))?;
    let flag = |key: &str| doc.get(key).and_then(Value::as_bool).unwrap_or(false);
    Ok(Transformation {
        change: change(&kind, doc)?,
        logsources: rule_conditions(doc)?,
        all_logsources: rule::text(doc, "rule_cond_op").is_some_and(|op| op.eq_ignore_ascii_case("and")),
        not_logsources: flag("rule_cond_not"),
        fields: field_conditions(doc)?,
    })
}

const COMMON_KEYS: [&str; 7] = [
    "id",
    "type",
    "rule_conditions",
    "rule_cond_op",
    "rule_cond_not",
    "field_name_conditions",
    "description",
];

fn change(kind: &str, doc: &Mapping) -> Result<Change, Fault> {
    let own = |keys: &[&str]| known_keys(doc, &[COMMON_KEYS.as_slice(), keys].concat());
    let mapping = || {
        lists(doc.get("mapping").unwrap_or(&Value::Null), "mapping").map(|list| list.into_iter().collect())
    };
    match kind {
        "field_name_mapping" => own(&["mapping"]).and_then(|()| mapping()).map(Change::Rename),
        "field_name_prefix_mapping" => own(&["mapping"]).and_then(|()| mapping()).map(Change::RenamePrefix),
        "field_name_prefix" => {
            own(&["prefix"])?;
            Ok(Change::Prefix(
                rule::text(doc, "prefix").ok_or_else(|| Fault::new("`prefix` is missing").near(kind))?,
            ))
        }
        "change_logsource" => {
            own(&["category", "product", "service"])?;
            let part = |name: &str| rule::text(doc, name);
            Ok(Change::LogSource(LogSource {
                category: part("category"),
                product: part("product"),
                service: part("service"),
            }))
        }
        "add_condition" => {
            own(&["conditions", "negated"])?;
            let items: Result<Vec<_>, Fault> = rule::map(doc, "conditions")?
                .iter()
                .map(|(key, value)| Item::read(&rule::key_text(key)?, value).map(Detection::Item))
                .collect();
            let negated = doc.get("negated").and_then(Value::as_bool).unwrap_or(false);
            Ok(Change::Require(Box::new(Detection::All(items?)), negated))
        }
        "drop_detection_item" => own(&[]).map(|()| Change::Drop),
        "wildcard_placeholders" => own(&["include", "exclude"]).map(|()| Change::AnyPlaceholder),
        "value_placeholders" => own(&["include", "exclude"]).map(|()| Change::Nothing),
        other => Err(Fault::new(format!("unknown transformation `{other}`")).near(other)),
    }
}

fn rule_conditions(doc: &Mapping) -> Result<Vec<LogSource>, Fault> {
    let mut out = Vec::new();
    for condition in each(doc, "rule_conditions")? {
        known_keys(condition, &["type", "category", "product", "service"])?;
        if rule::text(condition, "type").as_deref() != Some("logsource") {
            return Err(Fault::new("rule conditions must be of the type `logsource`").near("rule_conditions"));
        }
        let part = |name: &str| rule::text(condition, name);
        out.push(LogSource {
            category: part("category"),
            product: part("product"),
            service: part("service"),
        });
    }
    Ok(out)
}

fn field_conditions(doc: &Mapping) -> Result<Option<FieldChoice>, Fault> {
    let mut choice = None;
    for condition in each(doc, "field_name_conditions")? {
        let names = condition.get("fields").and_then(rule::texts).unwrap_or_default().into_iter().collect();
        choice = Some(match rule::text(condition, "type").as_deref() {
            Some("not_renamed") => FieldChoice::NotRenamed,
            Some("include_fields") => FieldChoice::Include(names),
            Some("exclude_fields") => FieldChoice::Exclude(names),
            _ => {
                return Err(Fault::new(
                    "field conditions must be `include_fields`, `exclude_fields` or `not_renamed`",
                )
                .near("field_name_conditions"));
            }
        });
    }
    Ok(choice)
}

fn each<'a>(doc: &'a Mapping, key: &str) -> Result<Vec<&'a Mapping>, Fault> {
    let fault = || Fault::new(format!("`{key}` must be a list of maps")).near(key);
    match doc.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Sequence(list)) => list.iter().map(|one| one.as_mapping().ok_or_else(fault)).collect(),
        Some(_) => Err(fault()),
    }
}

/// A map of texts or lists of texts.
fn lists(value: &Value, key: &str) -> Result<Vec<(String, Vec<String>)>, Fault> {
    let fault = || Fault::new(format!("`{key}` must be a map of texts or lists of texts")).near(key);
    let Value::Mapping(section) = value else {
        return Err(fault());
    };
    section
        .iter()
        .map(|(key, value)| Ok((rule::key_text(key)?, rule::texts(value).ok_or_else(fault)?)))
        .collect()
}

fn known_keys(doc: &Mapping, known: &[&str]) -> Result<(), Fault> {
    for (key, _) in doc {
        let key = rule::key_text(key)?;
        if !known.contains(&key.as_str()) {
            return Err(Fault::new(format!("unknown key `{key}`")).near(&key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::collection::Collection;
    use crate::engine::{Engine, Matcher};

    fn matches(pipelines: &[Pipeline], source: &LogSource, rule: &str, event: &Json) -> bool {
        let mut collection = Collection::default();
        collection.add_file("r.yml", rule);
        let engine = Engine::new(collection, pipelines);
        assert_eq!(engine.failures(), []);
        !Matcher::new(Arc::new(engine)).matches(std::slice::from_ref(source), event).is_empty()
    }

    fn rule(category: &str, detection: &str) -> String {
        format!(
            "title: t\nlogsource: {{category: {category}}}\ndetection:\n  s: {detection}\n  condition: s\n"
        )
    }

    fn pipeline(transformation: &str) -> Pipeline {
        Pipeline::parse("p.yml", &format!("name: p\ntransformations:\n  - {transformation}\n")).unwrap()
    }

    #[test]
    fn fields_are_renamed_where_the_log_source_fits() {
        let own = pipeline(
            "{type: field_name_mapping, mapping: {a: x.y, b: [p, q]}, rule_conditions: [{type: logsource, category: web}]}",
        );
        let (web, dns) = (LogSource::new("web", "", ""), LogSource::new("dns", "", ""));
        let own = [own];
        assert!(matches(&own, &web, &rule("web", "{a: 1, b: 2}"), &json!({"x": {"y": 1}, "q": 2})));
        assert!(!matches(&own, &web, &rule("web", "{a: 1, b: 2}"), &json!({"a": 1, "q": 2})));
        assert!(matches(&own, &dns, &rule("dns", "{a: 1}"), &json!({"a": 1})));
        assert!(matches(&own, &web, &rule("web", "{c|fieldref: a}"), &json!({"c": 5, "x.y": 5})));
    }

    #[test]
    fn other_changes() {
        let web = LogSource::new("web", "", "");
        let event = json!({"win.a": 1, "n": 3});
        assert!(matches(
            &[pipeline("{type: field_name_prefix, prefix: win.}")],
            &web,
            &rule("web", "{a: 1}"),
            &event
        ));
        let excluded = "{type: field_name_prefix, prefix: win., field_name_conditions: [{type: exclude_fields, fields: [n]}]}";
        assert!(matches(&[pipeline(excluded)], &web, &rule("web", "{a: 1, n: 3}"), &event));
        let moved = pipeline("{type: change_logsource, category: web}");
        assert!(matches(&[moved], &web, &rule("dns", "{n: 3}"), &event));
        let added = pipeline("{type: add_condition, conditions: {n: 4}}");
        assert!(!matches(&[added], &web, &rule("web", "{n: 3}"), &event));
        let dropped = pipeline(
            "{type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: [z]}]}",
        );
        assert!(matches(&[dropped], &web, &rule("web", "{n: 3, z: 1}"), &event));
        let prefixes = pipeline("{type: field_name_prefix_mapping, mapping: {x.: win.}}");
        assert!(matches(&[prefixes], &web, &rule("web", "{x.a: 1}"), &event));
    }

    #[test]
    fn placeholders_have_values() {
        let web = LogSource::new("web", "", "");
        let named = Pipeline::parse("p.yml", "name: p\nvars: {who: [root, 'adm*']}\n").unwrap();
        let rule_text = rule("web", "{u|expand: 'x-%who%'}");
        assert!(matches(std::slice::from_ref(&named), &web, &rule_text, &json!({"u": "x-admin"})));
        assert!(!matches(&[named], &web, &rule_text, &json!({"u": "x-bob"})));
        let open = pipeline("{type: wildcard_placeholders}");
        assert!(matches(&[open], &web, &rule_text, &json!({"u": "x-bob"})));
    }

    #[test]
    fn built_in_pipelines_load_and_map() {
        assert!(Pipeline::builtin_names().all(|name| Pipeline::builtin(name).is_some()));
        for name in Pipeline::builtin_names() {
            let text = BUILTIN.iter().find(|(known, _)| *known == name).unwrap().1;
            Pipeline::parse(name, text).unwrap();
        }
        let ecs = [Pipeline::builtin("ecs").unwrap()];
        let source = LogSource::new("process_creation", "windows", "");
        let text = "title: t\nlogsource: {category: process_creation, product: windows}\ndetection:\n  s: {Image|endswith: '\\x.exe', EventID: 1, Odd: y}\n  condition: s\n";
        let event = json!({"process": {"executable": "C:\\x.exe"}, "winlog": {"event_id": "1", "event_data": {"Odd": "y"}}});
        assert!(matches(&ecs, &source, text, &event));
    }

    #[test]
    fn what_is_unknown_is_named() {
        let error = Pipeline::parse("p.yml", "name: p\ntransformations:\n  - type: magic\n").unwrap_err();
        assert_eq!(error.to_string(), "p.yml:3: unknown transformation `magic`");
        let error = Pipeline::parse("p.yml", "name: p\nextra: 1\n").unwrap_err();
        assert_eq!(error.to_string(), "p.yml:2: unknown key `extra`");
    }
}
