//! A log record as a Sigma rule sees it: by the field names of Sigma, whatever schema the record follows.
//!
//! A name is looked for as it is written, then below the places where Windows shippers put event data, then under its other
//! names: those of ECS, OpenTelemetry, the audit daemon and access logs, as the built-in pipelines know them. The first that the
//! record has counts.
//!
//! Invariant: every text that [`Event::values`] can give is among those of [`Event::for_each_string`].

use std::collections::HashMap;

use foldhash::fast::FixedState;
use heimdall_model::attributes::{self, Attribute};
use heimdall_model::batch::Row;
use heimdall_model::schema::{Field, logs};
use heimdall_model::{Dataset, FieldId, FieldType, Target};
use heimdall_sigma::{Event, Pipeline, Value};

/// Where Windows events keep what is special to them.
const EVENT_DATA: &[&str] = &["winlog.event_data", "event_data", "EventData"];

/// What routes and rules call the program that wrote a record.
const PROGRAM_NAMES: &[&str] = &["appname", "ident", "program", "process.name"];

/// Other names of Sigma's fields, and the fields of a record that hold text.
#[derive(Debug)]
pub(super) struct Aliases {
    names: HashMap<String, Vec<Target>, FixedState>,
    texts: Vec<FieldId>,
}

impl Aliases {
    /// Those of all built-in pipelines.
    pub(super) fn new() -> Aliases {
        let mut aliases: HashMap<String, Vec<Target>, FixedState> = HashMap::default();
        for pipeline in Pipeline::builtin_names().filter_map(Pipeline::builtin) {
            for (name, others) in pipeline.renames() {
                let known = aliases.entry(name.to_owned()).or_default();
                for other in others.iter().map(|other| Target::resolve(Dataset::Logs, other)) {
                    if !known.contains(&other) {
                        known.push(other);
                    }
                }
            }
        }
        for name in PROGRAM_NAMES {
            aliases.entry((*name).to_owned()).or_default().push(Target::Field(logs::SERVICE));
        }
        let is_text = |field: &&Field| field.ty == FieldType::Text;
        let texts = Dataset::Logs.fields().iter().filter(is_text);
        Aliases {
            names: aliases,
            texts: texts.filter_map(|field| Dataset::Logs.resolve(field.name)).collect(),
        }
    }
}

/// A log record.
#[derive(Clone, Copy)]
pub(super) struct RecordEvent<'r, 'a> {
    pub(super) row: &'r Row<'a>,
    pub(super) aliases: &'r Aliases,
}

impl Event for RecordEvent<'_, '_> {
    fn values(&self, field: &str, visit: &mut dyn FnMut(Value<'_>)) {
        if let Some(json) = self.row.attributes() {
            if give(attributes::get(json, field), visit) {
                return;
            }
            for place in EVENT_DATA {
                if let Some(Attribute::Object(data)) = attributes::get(json, place)
                    && give(attributes::get(data, field), visit)
                {
                    return;
                }
            }
        }
        if self.canonical(field, visit) {
            return;
        }
        for other in self.aliases.names.get(field).into_iter().flatten() {
            let found = match other {
                Target::Attribute(path) => {
                    self.row.attributes().is_some_and(|json| give(attributes::get(json, path), visit))
                }
                Target::Field(id) => self.field(*id, visit),
                Target::Id | Target::Template => false,
            };
            if found {
                return;
            }
        }
    }

    fn for_each_string(&self, visit: &mut dyn FnMut(&str)) {
        for id in &self.aliases.texts {
            self.row.text(*id).into_iter().for_each(&mut *visit);
        }
        if let Some(level) = self.row.level() {
            visit(level.as_str());
        }
        if let Some(json) = self.row.attributes() {
            attributes::entries(json).for_each(|(_, value)| each_text(&value, visit));
        }
    }
}

impl RecordEvent<'_, '_> {
    /// A field of the schema by its own name.
    fn canonical(&self, field: &str, visit: &mut dyn FnMut(Value<'_>)) -> bool {
        Dataset::Logs.resolve(field).is_some_and(|id| self.field(id, visit))
    }

    fn field(&self, id: FieldId, visit: &mut dyn FnMut(Value<'_>)) -> bool {
        let found = match Dataset::Logs.field(id).ty {
            FieldType::Text if id != logs::ATTRIBUTES => self.row.text(id).map(Value::Text),
            FieldType::Level => self.row.level().map(|level| Value::Text(level.as_str())),
            FieldType::Int => self.row.int(id).map(|n| Value::Int(i128::from(n))),
            FieldType::Float => self.row.float(id).map(Value::Float),
            _ => None,
        };
        found.map(visit).is_some()
    }
}

/// Hands out a value, the elements of a list one by one. Whether there was one.
fn give(value: Option<Attribute<'_>>, visit: &mut dyn FnMut(Value<'_>)) -> bool {
    let Some(value) = value else { return false };
    match value {
        Attribute::Text(text) => visit(Value::Text(&text)),
        Attribute::Bool(yes) => visit(Value::Bool(yes)),
        Attribute::Number(raw) => visit(number(raw)),
        Attribute::Object(_) => visit(Value::Other),
        Attribute::Array(raw) => {
            let mut elements = attributes::elements(raw).peekable();
            if elements.peek().is_none() {
                visit(Value::Other);
            }
            elements.for_each(|element| {
                give(Some(element), visit);
            });
        }
    }
    true
}

fn number(raw: &str) -> Value<'static> {
    match (raw.parse::<i64>(), raw.parse::<f64>()) {
        (Ok(whole), _) => Value::Int(i128::from(whole)),
        (_, Ok(float)) => Value::Float(float),
        _ => Value::Other,
    }
}

fn each_text(value: &Attribute<'_>, visit: &mut dyn FnMut(&str)) {
    match value {
        Attribute::Text(text) => visit(text),
        Attribute::Array(raw) => attributes::elements(raw).for_each(|inner| each_text(&inner, visit)),
        Attribute::Object(raw) => attributes::entries(raw).for_each(|(_, inner)| each_text(&inner, visit)),
        Attribute::Number(_) | Attribute::Bool(_) => {}
    }
}
