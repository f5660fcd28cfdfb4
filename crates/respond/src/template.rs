//! Placeholders: `{{ service }}` in a playbook becomes the service of the alert.
//!
//! `{{ labels.container | service | "api" }}` is the first of these that has a value.
//!
//! Invariants:
//! - what an alert says never becomes more than a value: it is not read for placeholders again, holds no control characters, is
//!   at most [`VALUE_BYTES_MAX`] long, and where it becomes part of a query or address has safe characters only;
//! - a text whose placeholders passed [`check`] renders, or names the placeholder that has no value.

use heimdall_model::Alert;
use serde_json::Value;

/// Longest value a placeholder takes (bytes); a longer one counts as absent.
pub(crate) const VALUE_BYTES_MAX: usize = 1_024;

/// What stands alone as a placeholder.
const NAMES: [&str; 13] = [
    "service",
    "entity.value",
    "entity.kind",
    "rule",
    "detector",
    "severity",
    "priority",
    "tenant",
    "title",
    "summary",
    "alert.id",
    "alert.fingerprint",
    "value",
];
/// What takes a name after a dot.
const FAMILIES: [&str; 3] = ["labels", "annotations", "features"];

/// Where a rendered value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A target, parameter or message: the runner checks it.
    Value,
    /// Part of a query or address.
    Syntax,
}

/// A placeholder has no value in this alert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{{{{ {placeholder} }}}}` {reason}")]
pub(crate) struct Missing {
    /// The placeholder.
    pub placeholder: String,
    /// Why it has no value.
    pub reason: &'static str,
}

/// A piece of a text.
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find("{{") {
        let (before, after) = rest.split_at(start);
        let end = after.find("}}").ok_or("`{{` without `}}`")?;
        pieces.push(Piece::Text(before));
        pieces.push(Piece::Placeholder(after[2..end].trim()));
        rest = &after[end + 2..];
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn alternatives(placeholder: &str) -> impl Iterator<Item = &str> {
    placeholder.split('|').map(str::trim)
}

fn literal(name: &str) -> Option<&str> {
    name.strip_prefix('"')?.strip_suffix('"')
}

/// Whether a text has placeholders.
pub(crate) fn has_placeholders(text: &str) -> bool {
    text.contains("{{")
}

/// Checks that every placeholder is known.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn check(text: &str) -> Result<(), String> {
    for piece in pieces(text)? {
        let Piece::Placeholder(placeholder) = piece else { continue };
        for name in alternatives(placeholder) {
            let family = name.split_once('.').filter(|(_, rest)| !rest.is_empty()).map(|(family, _)| family);
            let is_known = literal(name).is_some()
                || NAMES.contains(&name)
                || family.is_some_and(|family| FAMILIES.contains(&family));
            if !is_known {
                let known = NAMES.iter().chain(&FAMILIES).copied();
                let near = super::nearest(name, known).map(|near| format!("; did you mean `{near}`?"));
                return Err(format!("`{{{{ {name} }}}}` is no placeholder{}", near.unwrap_or_default()));
            }
        }
    }
    Ok(())
}

/// Fills in the placeholders.
///
/// # Errors
/// One has no value; a text that [`check`] refuses has none either.
pub(crate) fn render(text: &str, alert: &Alert, place: Place) -> Result<String, Missing> {
    let broken = |_| Missing { placeholder: text.chars().take(80).collect(), reason: "is no placeholder" };
    let mut out = String::new();
    for piece in pieces(text).map_err(broken)? {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Placeholder(placeholder) => out.push_str(&value(placeholder, alert, place)?),
        }
    }
    Ok(out)
}

/// As [`render`], in every text inside a JSON value.
pub(crate) fn render_json(value: &Value, alert: &Alert) -> Result<Value, Missing> {
    Ok(match value {
        Value::String(text) => Value::String(render(text, alert, Place::Value)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| render_json(item, alert)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| Ok((key.clone(), render_json(value, alert)?));
            Value::Object(map.iter().map(pair).collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

fn value(placeholder: &str, alert: &Alert, place: Place) -> Result<String, Missing> {
    let mut reason = "has no value in this alert";
    for name in alternatives(placeholder) {
        let Some(value) = literal(name).map(str::to_owned).or_else(|| field(name, alert)) else { continue };
        match unfit(&value, place) {
            None => return Ok(value),
            Some(why) => reason = why,
        }
    }
    Err(Missing { placeholder: placeholder.to_owned(), reason })
}

fn unfit(value: &str, place: Place) -> Option<&'static str> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "._:@/+-".contains(c);
    if value.is_empty() {
        Some("is empty in this alert")
    } else if value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) {
        Some("has a value too long, or with control characters, in this alert")
    } else if place == Place::Syntax && !value.chars().all(is_safe) {
        Some("has characters in this alert that must not become part of a query or address")
    } else {
        None
    }
}

fn field(name: &str, alert: &Alert) -> Option<String> {
    if let Some(label) = name.strip_prefix("labels.") {
        return alert.label(label).map(std::borrow::Cow::into_owned);
    }
    if let Some(annotation) = name.strip_prefix("annotations.") {
        return alert.annotations.get(annotation).cloned();
    }
    if let Some(feature) = name.strip_prefix("features.") {
        return alert.features.iter().find(|f| f.name == feature).map(|f| f.value.to_string());
    }
    Some(match name {
        "service" => alert.service.clone()?,
        "entity.value" => alert.entity.value.clone(),
        "entity.kind" => alert.entity.kind.clone(),
        "rule" => alert.rule.clone(),
        "detector" => alert.detector.clone(),
        "severity" => alert.severity.as_str().to_owned(),
        "priority" => alert.priority.as_str().to_owned(),
        "tenant" => alert.tenant.as_str().to_owned(),
        "title" => alert.title.clone(),
        "summary" => alert.summary.clone(),
        "alert.id" => alert.id.to_string(),
        "alert.fingerprint" => alert.fingerprint.clone(),
        "value" => alert.baseline.as_ref()?.observed.to_string(),
        _ => return None,
    })
}

/// Fills every placeholder with one sample, to let a runner check the rest.
pub(crate) fn sample(text: &str, sample: &str) -> String {
    let fill = |piece: Piece<'_>| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Placeholder(_) => sample.to_owned(),
    };
    pieces(text).map_or_else(|_| text.to_owned(), |pieces| pieces.into_iter().map(fill).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alert;

    #[track_caller]
    fn check_render(text: &str, place: Place, rendered: &str) {
        let mut alert = alert("threshold.memory", "payment");
        alert.labels.insert("container".to_owned(), "pay-1".to_owned());
        alert.labels.insert("evil".to_owned(), "{{ service }}\" OR 1".to_owned());
        alert.labels.insert("bell".to_owned(), "a\u{7}".to_owned());
        let got = check(text)
            .and_then(|()| render(text, &alert, place).map_err(|missing| missing.to_string()))
            .unwrap_or_else(|error| error);
        assert_eq!(got, rendered);
    }

    #[test]
    fn placeholders_take_the_first_value_there_is() {
        check_render("a {{ service }} {{entity.kind}}", Place::Value, "a payment service");
        check_render("{{ labels.none | labels.container | \"x\" }}", Place::Value, "pay-1");
        check_render("{{ labels.none | \"x y\" }}", Place::Value, "x y");
        check_render("{{ labels.none }}", Place::Value, "`{{ labels.none }}` has no value in this alert");
    }

    #[test]
    fn a_value_is_never_more_than_a_value() {
        check_render("{{ labels.evil }}", Place::Value, "{{ service }}\" OR 1");
        let refused = "has characters in this alert that must not become part of a query or address";
        check_render("{{ labels.evil }}", Place::Syntax, &format!("`{{{{ labels.evil }}}}` {refused}"));
        let refused = "has a value too long, or with control characters, in this alert";
        check_render("{{ labels.bell }}", Place::Value, &format!("`{{{{ labels.bell }}}}` {refused}"));
    }

    #[test]
    fn unknown_placeholders_are_named() {
        check_render(
            "{{ servce }}",
            Place::Value,
            "`{{ servce }}` is no placeholder; did you mean `service`?",
        );
        check_render("{{ service", Place::Value, "`{{` without `}}`");
        check_render(
            "{{ labels. }}",
            Place::Value,
            "`{{ labels. }}` is no placeholder; did you mean `labels`?",
        );
    }
}
