//! One value while rows are filtered, grouped and ordered: borrowed where it can be, from whatever holds the rows.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use heimdall_model::attributes::Attribute;
use heimdall_model::filter::Target;
use heimdall_model::matcher::{Leaf, Node, to_hex};
use heimdall_model::schema::{self, FieldType};
use heimdall_model::{Level, Tenant, Timestamp, Value};
use heimdall_store::summary::SummaryValue;
use heimdall_store::{RowBlock, Store};

/// A value of one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Level(Level),
    Time(Timestamp),
    Text(Cow<'a, str>),
    /// JSON text.
    Json(Cow<'a, str>),
}

/// Rows that cells are read from.
pub(crate) trait Rows {
    /// The value of a target.
    fn cell(&self, target: &Target, row: usize) -> Cell<'_>;
    /// Event time, where the rows have one.
    fn time(&self, row: usize) -> Option<Timestamp>;
    /// Place in the order of arrival of events: what is earlier compares less.
    fn order(&self, row: usize) -> (i64, u64);
}

impl Cell<'_> {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Cell::Null)
    }

    /// The value as a finite number, when it is one or its text reads as one.
    pub(crate) fn number(&self) -> Option<f64> {
        let number = match self {
            #[expect(clippy::cast_precision_loss, reason = "numbers are aggregated as f64")]
            Cell::Int(n) => Some(*n as f64),
            Cell::Float(x) => Some(*x + 0.0),
            Cell::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|x: &f64| x.is_finite())
    }

    /// The value on its own.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Bool(b) => Value::Bool(*b),
            Cell::Int(n) => Value::Int(*n),
            // Both zeros are one.
            Cell::Float(x) => Value::Float(*x + 0.0),
            Cell::Level(level) => Value::Level(*level),
            Cell::Time(time) => Value::Time(*time),
            Cell::Text(text) => Value::Text(text.to_string()),
            Cell::Json(raw) => serde_json::from_str(raw).map_or(Value::Null, Value::Json),
        }
    }

    /// Orders the cell against a value as [`Value::total_cmp`] does, without copying texts.
    pub(crate) fn cmp_value(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Cell::Text(a), Value::Text(b)) => a.as_ref().cmp(b.as_str()),
            (Cell::Float(a), Value::Float(b)) => (a + 0.0).total_cmp(b),
            (cell, other) => cell.to_value().total_cmp(other),
        }
    }

    /// The value as summaries keep it: equal and of the same hash exactly for equal values.
    pub(crate) fn summary(&self) -> SummaryValue<'_> {
        match self {
            Cell::Null => SummaryValue::Null,
            Cell::Bool(b) => SummaryValue::Bool(*b),
            Cell::Int(n) => SummaryValue::Int(*n),
            Cell::Float(x) => SummaryValue::number(*x),
            Cell::Level(level) => SummaryValue::Level(*level),
            Cell::Time(time) => SummaryValue::Time(*time),
            Cell::Text(text) => SummaryValue::Text(text),
            Cell::Json(raw) => SummaryValue::Json(raw),
        }
    }

    /// Appends bytes that are equal exactly for equal values; 5 and 5.0 are equal.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |tag: u8, bytes: &[u8]| {
            out.push(tag);
            out.extend_from_slice(bytes);
        };
        match self {
            Cell::Null => put(0, &[]),
            Cell::Bool(b) => put(1, &[u8::from(*b)]),
            Cell::Int(n) => put(2, &n.to_le_bytes()),
            Cell::Float(x) => match whole(*x) {
                Some(n) => put(2, &n.to_le_bytes()),
                None => put(3, &x.to_bits().to_le_bytes()),
            },
            Cell::Level(level) => put(4, &[level.code()]),
            Cell::Time(time) => put(5, &time.0.to_le_bytes()),
            Cell::Text(text) => {
                put(6, &(text.len() as u64).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Cell::Json(raw) => {
                put(7, &(raw.len() as u64).to_le_bytes());
                out.extend_from_slice(raw.as_bytes());
            }
        }
    }
}

/// The whole number a float is, when every such float is exact.
fn whole(x: f64) -> Option<i64> {
    const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
    let n = (x.fract() == 0.0 && x.abs() < EXACT_BELOW).then_some(x as i64);
    n
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Cell<'a> {
        match value {
            Value::Null => Cell::Null,
            Value::Bool(b) => Cell::Bool(*b),
            Value::Int(n) => Cell::Int(*n),
            Value::Float(x) => Cell::Float(*x),
            Value::Text(text) => Cell::Text(Cow::Borrowed(text)),
            Value::Time(time) => Cell::Time(*time),
            Value::Level(level) => Cell::Level(*level),
            Value::Json(json) => Cell::Json(Cow::Owned(json.to_string())),
        }
    }
}

impl<'a> From<SummaryValue<'a>> for Cell<'a> {
    fn from(value: SummaryValue<'a>) -> Cell<'a> {
        match value {
            SummaryValue::Null => Cell::Null,
            SummaryValue::Bool(b) => Cell::Bool(b),
            SummaryValue::Int(n) => Cell::Int(n),
            SummaryValue::Float(x) => Cell::Float(x),
            SummaryValue::Level(level) => Cell::Level(level),
            SummaryValue::Time(time) => Cell::Time(time),
            SummaryValue::Text(text) => Cell::Text(Cow::Borrowed(text)),
            SummaryValue::Json(raw) => Cell::Json(Cow::Borrowed(raw)),
        }
    }
}

impl<'a> From<Attribute<'a>> for Cell<'a> {
    fn from(attribute: Attribute<'a>) -> Cell<'a> {
        match attribute {
            Attribute::Text(text) => Cell::Text(text),
            Attribute::Number(raw) => match raw.parse::<i64>() {
                Ok(n) => Cell::Int(n),
                Err(_) => raw.parse::<f64>().map_or(Cell::Null, Cell::Float),
            },
            Attribute::Bool(b) => Cell::Bool(b),
            Attribute::Array(raw) | Attribute::Object(raw) => Cell::Json(Cow::Borrowed(raw)),
        }
    }
}

/// Texts of templates, asked of the catalog once each.
pub(crate) struct Templates<'s> {
    store: &'s Store,
    tenant: &'s Tenant,
    texts: HashMap<u32, Option<Arc<str>>>,
}

impl<'s> Templates<'s> {
    pub(crate) fn new(store: &'s Store, tenant: &'s Tenant) -> Templates<'s> {
        Templates { store, tenant, texts: HashMap::new() }
    }

    /// Learns the texts of a block's templates.
    pub(crate) fn learn(&mut self, block: &RowBlock) {
        for id in (0..block.rows()).filter_map(|row| block.template_id(row)) {
            self.texts.entry(id).or_insert_with(|| self.store.template_text(self.tenant, id));
        }
    }

    fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(&id)?.as_deref()
    }
}

/// Rows of a stored block, with the texts of its templates.
pub(crate) struct BlockRows<'a> {
    pub(crate) block: &'a RowBlock,
    pub(crate) templates: &'a Templates<'a>,
}

impl Rows for BlockRows<'_> {
    fn cell(&self, target: &Target, row: usize) -> Cell<'_> {
        let block = self.block;
        let found = match target {
            Target::Field(id) => match block.dataset().field(*id).ty {
                FieldType::Text => block.text(*id, row).map(|text| Cell::Text(Cow::Borrowed(text))),
                FieldType::Json => block.text(*id, row).map(|text| Cell::Json(Cow::Borrowed(text))),
                FieldType::Time => block.int(*id, row).map(|ns| Cell::Time(Timestamp(ns))),
                FieldType::Int => block.int(*id, row).map(Cell::Int),
                FieldType::Float => block.float(*id, row).map(Cell::Float),
                FieldType::Level => block.level(row).map(Cell::Level),
                FieldType::Id16 | FieldType::Id8 => {
                    block.bytes(*id, row).map(|bytes| Cell::Text(Cow::Owned(to_hex(bytes))))
                }
            },
            Target::Attribute(path) => block.attribute(path, row).map(Cell::from),
            Target::Id => Some(Cell::Text(Cow::Owned(block.id(row).to_string()))),
            Target::Template => {
                let text = block.template_id(row).and_then(|id| self.templates.text(id));
                text.map(|text| Cell::Text(Cow::Borrowed(text)))
            }
        };
        found.unwrap_or(Cell::Null)
    }

    fn time(&self, row: usize) -> Option<Timestamp> {
        self.block.has(schema::TIMESTAMP).then(|| self.block.timestamp(row))
    }

    fn order(&self, row: usize) -> (i64, u64) {
        (self.block.timestamp(row).0, self.block.position(row).0)
    }
}

/// Whether a row passes a compiled filter, as [`heimdall_model::Matcher`] decides on a record.
pub(crate) fn passes(node: &Node, rows: &impl Rows, row: usize) -> bool {
    match node {
        Node::All => true,
        Node::And(parts) => parts.iter().all(|part| passes(part, rows, row)),
        Node::Or(parts) => parts.iter().any(|part| passes(part, rows, row)),
        Node::Not(part) => !passes(part, rows, row),
        Node::Leaf(leaf) => leaf_passes(leaf, &rows.cell(&leaf.target, row)),
    }
}

fn leaf_passes(leaf: &Leaf, cell: &Cell<'_>) -> bool {
    let is_attribute = matches!(leaf.target, Target::Attribute(_));
    match cell {
        Cell::Null => false,
        Cell::Bool(b) => leaf.text(if *b { "true" } else { "false" }),
        Cell::Int(n) => leaf.int(*n),
        Cell::Float(x) => leaf.float(*x),
        // What is computed may be of any type; a literal beside it is text or a number.
        Cell::Level(level) if is_attribute => leaf.text(level.as_str()),
        Cell::Time(time) if is_attribute => leaf.text(&time.to_string()),
        Cell::Level(level) => leaf.int(i64::from(level.code())),
        Cell::Time(time) => leaf.int(time.0),
        // An attribute's text may compare as a number and its array element by element: the model's rules, on its form.
        Cell::Text(text) if is_attribute => {
            leaf.attribute(&format!("{{\"v\":{}}}", serde_json::Value::from(text.as_ref())), "v")
        }
        Cell::Json(raw) if is_attribute => leaf.attribute(&format!("{{\"v\":{raw}}}"), "v"),
        Cell::Text(text) | Cell::Json(text) => leaf.text(text),
    }
}
