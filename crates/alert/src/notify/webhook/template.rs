//! A JSON text with placeholders `{{ path.to.field }}` over a document. Pure.
//!
//! Invariants:
//! - what is rendered is JSON when the template is: a value within a string is escaped for it, a value elsewhere is JSON itself;
//! - a value is never read as a template: braces in it are just braces.
//!
//! A path names fields, and places in lists from 0: `alerts.0.title`. What is not there is empty in a string, `null` elsewhere.

use serde_json::Value;

/// Longest template (bytes).
const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// Placeholders of a template.
const PLACEHOLDERS_MAX: usize = 200;

/// A template that renders to JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Field { path: Vec<String>, is_in_string: bool },
}

/// A text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("has more than {TEMPLATE_BYTES_MAX} bytes")]
    TooLong,
    #[error("has more than {PLACEHOLDERS_MAX} placeholders")]
    TooMany,
    #[error("line {line}: a placeholder is not closed with `}}}}`")]
    Open { line: usize },
    #[error("line {line}: `{name}` is not a field of the notice; known are: {known}")]
    Unknown { line: usize, name: String, known: String },
    #[error("does not make JSON: {0}")]
    NotJson(String),
}

impl Template {
    /// Reads a template. `example` names the fields there are, and what it renders to must be JSON.
    pub(super) fn parse(text: &str, example: &Value) -> Result<Template, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        let (mut parts, mut rest, mut scan) = (Vec::new(), text, Scan::default());
        while let Some((before, after)) = rest.split_once("{{") {
            scan.read(before);
            let line = text[..text.len() - rest.len() + before.len()].matches('\n').count() + 1;
            let (name, after) = after.split_once("}}").ok_or(TemplateError::Open { line })?;
            let path = known_path(name.trim(), example, line)?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Field { path, is_in_string: scan.is_in_string });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        if parts.len() > 2 * PLACEHOLDERS_MAX + 1 {
            return Err(TemplateError::TooMany);
        }
        let template = Template { parts };
        serde_json::from_str::<Value>(&template.render(example))
            .map_err(|error| TemplateError::NotJson(error.to_string()))?;
        Ok(template)
    }

    /// The text with the values of `document`.
    pub(super) fn render(&self, document: &Value) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field { path, is_in_string } => {
                    let value = find(document, path);
                    if *is_in_string {
                        out.push_str(&within_string(value))
                    } else {
                        out.push_str(&value.to_string())
                    }
                }
            }
        }
        out
    }
}

/// Whether the text so far ends within a JSON string.
#[derive(Default)]
struct Scan {
    is_in_string: bool,
    is_escaped: bool,
}

impl Scan {
    fn read(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' if self.is_in_string => self.is_escaped = true,
                '"' => self.is_in_string = !self.is_in_string,
                _ => {}
            }
        }
    }
}

fn known_path(name: &str, example: &Value, line: usize) -> Result<Vec<String>, TemplateError> {
    let path: Vec<String> = name.split('.').map(|part| part.trim().to_owned()).collect();
    let root = path.first().map(String::as_str).unwrap_or_default();
    let fields = example.as_object();
    if fields.is_some_and(|fields| fields.contains_key(root)) && path.iter().all(|part| !part.is_empty()) {
        return Ok(path);
    }
    let known: Vec<&str> = fields.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    Err(TemplateError::Unknown { line, name: name.chars().take(60).collect(), known: known.join(", ") })
}

fn find<'a>(document: &'a Value, path: &[String]) -> &'a Value {
    const NOTHING: &Value = &Value::Null;
    path.iter().fold(document, |value, part| match value {
        Value::Array(items) => part.parse().ok().and_then(|n: usize| items.get(n)).unwrap_or(NOTHING),
        other => other.get(part).unwrap_or(NOTHING),
    })
}

/// A value as the inside of a JSON string.
fn within_string(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let quoted = Value::String(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(template: &str, expected: Result<&str, &str>) {
        let document = json!({"title": "a \"b\" {{ n }}\n", "n": 5, "list": [{"x": 1}], "gone": null});
        let rendered = Template::parse(template, &document).map(|template| template.render(&document));
        match expected {
            Ok(text) => assert_eq!(rendered.unwrap(), text),
            Err(text) => assert!(rendered.as_ref().unwrap_err().to_string().contains(text), "{rendered:?}"),
        }
    }

    #[test]
    fn values_are_escaped_for_where_they_stand() {
        check(r#"{"t": "[{{ title }}]"}"#, Ok(r#"{"t": "[a \"b\" {{ n }}\n]"}"#));
        check(
            r#"{"t": {{title}}, "n": {{n}}, "s": "{{n}}"}"#,
            Ok(r#"{"t": "a \"b\" {{ n }}\n", "n": 5, "s": "5"}"#),
        );
        check(r#"{"l": {{list}}, "s": "{{list}}"}"#, Ok(r#"{"l": [{"x":1}], "s": "[{\"x\":1}]"}"#));
        check(
            r#"{"x": {{list.0.x}}, "y": {{list.7.x}}, "z": "{{gone.a.b}}"}"#,
            Ok(r#"{"x": 1, "y": null, "z": ""}"#),
        );
        check(r#"{"quote\" {{n}}": 1}"#, Ok(r#"{"quote\" 5": 1}"#));
    }

    #[test]
    fn faults_name_line_and_field() {
        check(
            "{\n\"t\": {{ titel }}}",
            Err("line 2: `titel` is not a field of the notice; known are: gone, list, n, title"),
        );
        check("{\n\n\"t\": {{ title }", Err("line 3: a placeholder is not closed"));
        check("{\"t\": {{ title }}", Err("does not make JSON"));
        check("hello {{ title }}", Err("does not make JSON"));
        check("{\"t\": {{ title. }}}", Err("is not a field"));
        check(&"{{n}}".repeat(300), Err("more than 200 placeholders"));
        check(&" ".repeat(70_000), Err("more than 65536 bytes"));
    }
}
