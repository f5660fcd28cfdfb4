//! What a rule sees of an event.

use serde_json::Value as Json;

/// A value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Present, and said to be nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Present, but nothing a rule can compare with: an object or an empty list.
    Other,
}

/// An event to match, in whatever form it is kept.
pub trait Event {
    /// Calls `visit` with every value of the field: none when it is absent, several when it is a list.
    fn values(&self, field: &str, visit: &mut dyn FnMut(Value<'_>));

    /// Calls `visit` with every text of the event.
    ///
    /// The prefilter rests on this: a text that [`Event::values`] can give for some field must be among them.
    fn for_each_string(&self, visit: &mut dyn FnMut(&str));
}

/// A dotted name is a key with dots, or a path through nested objects; lists on the way are gone through.
impl Event for Json {
    fn values(&self, field: &str, visit: &mut dyn FnMut(Value<'_>)) {
        walk(self, field, visit);
    }

    fn for_each_string(&self, visit: &mut dyn FnMut(&str)) {
        match self {
            Json::String(text) => visit(text),
            Json::Array(list) => list.iter().for_each(|inner| inner.for_each_string(visit)),
            Json::Object(map) => map.values().for_each(|inner| inner.for_each_string(visit)),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
}

fn walk(value: &Json, path: &str, visit: &mut dyn FnMut(Value<'_>)) {
    match value {
        Json::Object(map) => {
            if let Some(found) = map.get(path) {
                give(found, visit);
            }
            for (dot, _) in path.match_indices('.') {
                if let Some(inner) = map.get(&path[..dot]) {
                    walk(inner, &path[dot + 1..], visit);
                }
            }
        }
        Json::Array(list) => list.iter().for_each(|inner| walk(inner, path, visit)),
        _ => {}
    }
}

fn give(value: &Json, visit: &mut dyn FnMut(Value<'_>)) {
    match value {
        Json::Null => visit(Value::Null),
        Json::Bool(yes) => visit(Value::Bool(*yes)),
        Json::Number(number) => visit(give_number(number)),
        Json::String(text) => visit(Value::Text(text)),
        Json::Array(list) if !list.is_empty() => list.iter().for_each(|inner| give(inner, visit)),
        Json::Array(_) | Json::Object(_) => visit(Value::Other),
    }
}

fn give_number(number: &serde_json::Number) -> Value<'static> {
    let int = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (int, number.as_f64()) {
        (Some(int), _) => Value::Int(int),
        (None, Some(float)) => Value::Float(float),
        (None, None) => Value::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(event: &Json, field: &str, found: &[&str]) {
        let mut seen = Vec::new();
        event.values(field, &mut |value| seen.push(format!("{value:?}")));
        assert_eq!(seen, found);
    }

    #[test]
    fn paths_keys_and_lists() {
        let event = json!({"a": {"b": {"c": 1}, "b.c": "x"}, "a.b": {"c": true}, "a.b.c": null, "l": [1, 2.5, "z"], "o": [{"k": "v"}, {"k": ["w"]}], "e": []});
        check(&event, "a.b.c", &["Null", "Text(\"x\")", "Int(1)", "Bool(true)"]);
        check(&event, "a", &["Other"]);
        check(&event, "l", &["Int(1)", "Float(2.5)", "Text(\"z\")"]);
        check(&event, "o.k", &["Text(\"v\")", "Text(\"w\")"]);
        check(&event, "e", &["Other"]);
        check(&event, "absent", &[]);
        check(&event, "A", &[]);
        check(&json!({"": {"": 1}}), ".", &["Int(1)"]);
    }

    #[test]
    fn every_text() {
        let mut seen = Vec::new();
        json!({"a": "1", "b": [{"c": "2"}, 3, null]}).for_each_string(&mut |text| seen.push(text.to_owned()));
        assert_eq!(seen, ["1", "2"]);
    }
}
