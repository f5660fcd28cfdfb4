//! The step `redact`: personal data and secrets replaced, and the fields noted in `pii_fields`.

use std::borrow::Cow;

use heimdall_extract::compile_regex;
use heimdall_model::Dataset;
use regex::{Captures, Regex};
use serde::Deserialize;

use super::condition::OneOrMore;
use super::doc::{Doc, FieldRef, Found, Val};

const REPLACEMENT: &str = "[REDACTED]";

/// Kinds of data that are known by their look.
const TYPES: [(&str, &str); 9] = [
    ("email", r"(?i)\b[a-z0-9._%+-]{1,64}@[a-z0-9.-]{1,255}\.[a-z]{2,24}\b"),
    ("ipv4", r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b"),
    ("credit_card", r"\b\d(?:[ -]?\d){12,18}\b"),
    ("iban", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    ("ssn", r"\b\d{3}-\d{2}-\d{4}\b"),
    ("phone", r"\+\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4}\b"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"),
    ("aws_key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    (
        "password",
        r#"(?i)\b(?P<keep>(?:password|passwd|pwd|secret|token|api[_-]?key)["']?\s*[=:]\s*["']?)[^\s"'&,;]+"#,
    ),
];

/// As written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenRedact {
    #[serde(default)]
    fields: Option<OneOrMore>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    pattern: Option<OneOrMore>,
    #[serde(default)]
    with: Option<String>,
}

/// The step, ready.
#[derive(Debug)]
pub(crate) struct Redact {
    /// None: every field with a text of its own.
    fields: Option<Vec<FieldRef>>,
    patterns: Vec<(Regex, Check)>,
    with: String,
    /// The whole value goes.
    is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    None,
    Luhn,
}

impl Redact {
    pub(crate) fn new(written: WrittenRedact) -> Result<Redact, String> {
        let mut patterns = Vec::new();
        for name in &written.types {
            let Some((_, pattern)) = TYPES.iter().find(|(known, _)| known == name) else {
                let known = TYPES.map(|(name, _)| name).join(", ");
                return Err(format!("`{name}` is no known kind of data: {known}"));
            };
            let check = if name == "credit_card" { Check::Luhn } else { Check::None };
            patterns.push((compile_regex(pattern)?, check));
        }
        for pattern in written.pattern.as_ref().map(OneOrMore::as_slice).unwrap_or_default() {
            patterns.push((compile_regex(pattern)?, Check::None));
        }
        let fields = written
            .fields
            .as_ref()
            .map(|fields| fields.as_slice().iter().map(|f| FieldRef::new(f)).collect());
        let fields: Option<Vec<FieldRef>> = fields.transpose()?;
        if fields.is_none() && patterns.is_empty() {
            return Err("`redact` needs `fields`, `types` or a `pattern`".to_owned());
        }
        let with = written.with.unwrap_or_else(|| REPLACEMENT.to_owned());
        Ok(Redact { fields, is_whole: patterns.is_empty(), patterns, with })
    }

    /// Whether anything was replaced.
    pub(crate) fn apply(&self, doc: &mut Doc<'_>, dataset: Dataset) -> bool {
        let mut found = Vec::new();
        match &self.fields {
            Some(fields) => {
                for field in fields {
                    let Some(name) = field.name_in(doc, dataset).map(str::to_owned) else { continue };
                    if self.one(doc, &name) {
                        found.push(name);
                    }
                }
            }
            None => {
                let names: Vec<String> = doc.keys().map(str::to_owned).collect();
                found.extend(names.into_iter().filter(|name| self.one(doc, name)));
            }
        }
        let is_changed = !found.is_empty();
        if is_changed {
            note(doc, dataset, found);
        }
        is_changed
    }

    /// Whether something of the member was replaced. Inside objects and lists the JSON text is looked through.
    fn one(&self, doc: &mut Doc<'_>, name: &str) -> bool {
        let Some(value) = doc.get(name) else { return false };
        if self.is_whole {
            drop(value);
            doc.set(name, Val::text(self.with.as_str()));
            return true;
        }
        let is_text = matches!(value, Found::Text(_));
        let text = value.into_text();
        let mut now: Cow<'_, str> = Cow::Borrowed(text.as_ref());
        for (regex, check) in &self.patterns {
            if let Cow::Owned(replaced) =
                regex.replace_all(&now, |captures: &Captures<'_>| self.instead(captures, *check))
            {
                now = Cow::Owned(replaced);
            }
        }
        if *now == *text {
            return false;
        }
        let now = now.into_owned();
        drop(text);
        // What was a number, or is no JSON any more with a piece replaced, becomes a text.
        let value = if !is_text
            && Doc::parse(&now).is_ok()
            && serde_json::from_str::<serde::de::IgnoredAny>(&now).is_ok()
        {
            Val::json(now)
        } else {
            Val::text(now)
        };
        doc.set(name, value);
        true
    }

    fn instead(&self, captures: &Captures<'_>, check: Check) -> String {
        let whole = captures.get(0).map_or("", |found| found.as_str());
        if check == Check::Luhn && !luhn(whole) {
            return whole.to_owned();
        }
        let kept = captures.name("keep").map_or("", |found| found.as_str());
        format!("{kept}{}", self.with)
    }
}

/// Adds to the list of fields with personal data.
fn note(doc: &mut Doc<'_>, dataset: Dataset, names: Vec<String>) {
    let field = FieldRef::new("pii_fields").expect("a name");
    let before = field.get(doc, dataset).map(|found| found.into_text().into_owned());
    let mut list: Vec<String> = before.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    for name in names {
        if !list.contains(&name) {
            list.push(name);
        }
    }
    let json = serde_json::to_string(&list).expect("texts serialise");
    field.set(doc, dataset, Val::json(json));
}

/// The check digit of payment cards (ISO/IEC 7812-1).
fn luhn(text: &str) -> bool {
    let digits = text.bytes().rev().filter(u8::is_ascii_digit).map(|digit| u32::from(digit - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(n, digit)| if n % 2 == 1 { if digit > 4 { digit * 2 - 9 } else { digit * 2 } } else { digit })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: &str, record: &str, expected: &str) {
        let step = Redact::new(yaml_serde::from_str(step).expect("a step")).expect("valid");
        let mut doc = Doc::parse(record).expect("JSON");
        let is_changed = step.apply(&mut doc, Dataset::Logs);
        assert_eq!(doc.to_json(), expected);
        assert_eq!(is_changed, record != expected);
    }

    #[test]
    fn what_is_personal_is_replaced_and_noted() {
        check(
            "{types: [email]}",
            r#"{"message":"a b@c.de d","n":1}"#,
            r#"{"message":"a [REDACTED] d","n":1,"pii_fields":["message"]}"#,
        );
        check(
            "{fields: user_id}",
            r#"{"user.id":"bob"}"#,
            r#"{"user.id":"[REDACTED]","pii_fields":["user.id"]}"#,
        );
        check(
            "{types: [credit_card], with: '****'}",
            r#"{"message":"4111 1111 1111 1111 and 4111 1111 1111 1112"}"#,
            r#"{"message":"**** and 4111 1111 1111 1112","pii_fields":["message"]}"#,
        );
        check(
            "{types: [password]}",
            r#"{"message":"login password=hunter2 ok"}"#,
            r#"{"message":"login password=[REDACTED] ok","pii_fields":["message"]}"#,
        );
        check(
            "{pattern: 'id=\\d+', fields: [message]}",
            r#"{"message":"id=77","pii_fields":["x"]}"#,
            r#"{"message":"[REDACTED]","pii_fields":["x","message"]}"#,
        );
        check(
            "{types: [email]}",
            r#"{"who":{"mail":"b@c.de","n":1}}"#,
            r#"{"who":{"mail":"[REDACTED]","n":1},"pii_fields":["who"]}"#,
        );
        check(
            "{types: [ssn, iban, jwt, aws_key, phone, ipv4]}",
            r#"{"message":"nothing here"}"#,
            r#"{"message":"nothing here"}"#,
        );
        assert!(Redact::new(yaml_serde::from_str("{types: [shoe_size]}").expect("a step")).is_err());
        assert!(Redact::new(yaml_serde::from_str("{with: x}").expect("a step")).is_err());
    }
}
