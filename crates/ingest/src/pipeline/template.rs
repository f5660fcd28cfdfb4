//! Texts with fields in them: `${host}:${port:-514}`.
//!
//! - a text that is one field only keeps the type of its value;
//! - `${field:-text}` is `text` where the field is absent; without it the whole template is absent then;
//! - `$${` is `${`.

use heimdall_model::Dataset;

use super::doc::{Doc, FieldRef, Val};

/// Longest text a template makes; a longer one is cut at a character.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;

/// A template, ready.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Field(FieldRef, Option<String>),
}

impl Template {
    pub(crate) fn new(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                plain.push_str(&rest[..at - 1]);
                plain.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            plain.push_str(&rest[..at]);
            let inside = &rest[at + 2..];
            let end = inside.find('}').ok_or_else(|| format!("a `${{` is not closed in `{text}`"))?;
            let (name, default) = match inside[..end].split_once(":-") {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (&inside[..end], None),
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Field(FieldRef::new(name.trim())?, default));
            rest = &inside[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }

    /// The value for a record; `None` when a field is absent.
    pub(crate) fn value(&self, doc: &Doc<'_>, dataset: Dataset) -> Option<Val<'static>> {
        if let [Part::Field(field, None)] = self.parts.as_slice() {
            return field.get(doc, dataset).map(|found| found.to_val());
        }
        self.text(doc, dataset).map(Val::text)
    }

    /// The same as text.
    pub(crate) fn text(&self, doc: &Doc<'_>, dataset: Dataset) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field, default) => match (field.get(doc, dataset), default) {
                    (Some(found), _) => out.push_str(&found.into_text()),
                    (None, Some(default)) => out.push_str(default),
                    (None, None) => return None,
                },
            }
        }
        if out.len() > TEXT_BYTES_MAX {
            out.truncate(out.floor_char_boundary(TEXT_BYTES_MAX));
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: Option<&str>) {
        let doc = Doc::parse(r#"{"host":"h","port":514,"list":[1,2]}"#).expect("JSON");
        let template = Template::new(template).expect("a template");
        let mut made = Doc::default();
        if let Some(value) = template.value(&doc, Dataset::Logs) {
            made.set("v", value);
        }
        let expected = expected.map_or("{}".to_owned(), |json| format!("{{\"v\":{json}}}"));
        assert_eq!(made.to_json(), expected);
    }

    #[test]
    fn fields_are_filled_in() {
        check("${host}:${port}", Some("\"h:514\""));
        check("${port}", Some("514"));
        check("${list}", Some("[1,2]"));
        check("${none}", None);
        check("a ${none:-b} c", Some("\"a b c\""));
        check("$${host} $x", Some("\"${host} $x\""));
        assert!(Template::new("${a").is_err() && Template::new("${}").is_err());
    }
}
