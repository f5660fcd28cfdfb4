//! One value of one field, as it leaves the store or arrives in a query.

use serde::{Serialize, Serializer};

use crate::{Level, Timestamp};

/// A typed value. Serialises to the JSON an API answer carries: times as RFC 3339, ids as hex, JSON as itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent.
    Null,
    /// True or false.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Number; a non-finite one serialises to null.
    Float(f64),
    /// Text.
    Text(String),
    /// Point in time.
    Time(Timestamp),
    /// Log level.
    Level(Level),
    /// JSON object or array.
    Json(serde_json::Value),
}

impl Value {
    /// The value as a number, when it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "numbers are compared and aggregated as f64")]
            Value::Int(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// Whether the value is absent.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The JSON form.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(n) => (*n).into(),
            Value::Float(x) => (*x).into(),
            Value::Text(text) => text.clone().into(),
            Value::Time(time) => time.to_string().into(),
            Value::Level(level) => level.as_str().into(),
            Value::Json(json) => json.clone(),
        }
    }

    /// The value of a JSON document.
    #[must_use]
    pub fn from_json(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(b) => Value::Bool(b),
            serde_json::Value::Number(n) => {
                n.as_i64().map_or_else(|| n.as_f64().map_or(Value::Null, Value::Float), Value::Int)
            }
            serde_json::Value::String(text) => Value::Text(text),
            other => Value::Json(other),
        }
    }

    /// Orders any two values: absent first, then by kind (numbers together), then by value.
    #[must_use]
    pub fn total_cmp(&self, other: &Value) -> std::cmp::Ordering {
        let rank = |value: &Value| match value {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Int(_) | Value::Float(_) => 2,
            Value::Level(_) => 3,
            Value::Time(_) => 4,
            Value::Text(_) => 5,
            Value::Json(_) => 6,
        };
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Level(a), Value::Level(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Json(a), Value::Json(b)) => a.to_string().cmp(&b.to_string()),
            (a, b) => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => rank(a).cmp(&rank(b)),
            },
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(n) => serializer.serialize_i64(*n),
            Value::Float(x) if x.is_finite() => serializer.serialize_f64(*x),
            Value::Float(_) => serializer.serialize_unit(),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Time(time) => serializer.collect_str(time),
            Value::Level(level) => serializer.serialize_str(level.as_str()),
            Value::Json(json) => json.serialize(serializer),
        }
    }
}

impl std::fmt::Display for Value {
    /// The text a person reads: no quotes around text, nothing for an absent value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Null => Ok(()),
            Value::Bool(b) => b.fmt(f),
            Value::Int(n) => n.fmt(f),
            Value::Float(x) => x.fmt(f),
            Value::Text(text) => f.write_str(text),
            Value::Time(time) => time.fmt(f),
            Value::Level(level) => level.fmt(f),
            Value::Json(json) => json.fmt(f),
        }
    }
}
