//! Reading the parameters of actions, and the allow-lists they are held against. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use heimdall_model::parse_duration;
use serde_json::Value;

use crate::action::{Action, ActionError, Effect, Reach};

/// Longest target (bytes).
const TARGET_BYTES_MAX: usize = 512;

pub(crate) fn invalid(parameter: &str, reason: impl Into<String>) -> ActionError {
    ActionError::Invalid { parameter: parameter.to_owned(), reason: reason.into() }
}

/// Refuses parameters that the kind does not know, and a target that is none.
pub(crate) fn only(action: &Action, known: &[&str]) -> Result<(), ActionError> {
    if let Some(name) = action.with.keys().find(|name| !known.contains(&name.as_str())) {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(invalid(name, format!("`{}` has no such parameter; it has: {known}", action.kind)));
    }
    if action.target.is_empty() || action.target.len() > TARGET_BYTES_MAX {
        return Err(invalid("target", format!("must have 1 to {TARGET_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// A text; other types are refused.
pub(crate) fn text<'a>(action: &'a Action, name: &str) -> Result<Option<&'a str>, ActionError> {
    let value = action.with.get(name);
    value.map(|value| value.as_str().ok_or_else(|| invalid(name, "must be a text"))).transpose()
}

/// A whole number of `u32`, also written as a text, which is what placeholders give.
pub(crate) fn count(action: &Action, name: &str) -> Result<Option<u32>, ActionError> {
    let Some(value) = action.with.get(name) else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    let number = number.and_then(|number| u32::try_from(number).ok());
    number.map(Some).ok_or_else(|| invalid(name, "must be a whole number, 0 or more"))
}

/// A time: `10m`, or a whole number of seconds.
pub(crate) fn duration(action: &Action, name: &str) -> Result<Option<Duration>, ActionError> {
    let Some(value) = action.with.get(name) else { return Ok(None) };
    let seconds = value.as_u64().map(Duration::from_secs);
    let written =
        || parse_duration(value.as_str()?).and_then(|ns| u64::try_from(ns).ok()).map(Duration::from_nanos);
    seconds.or_else(written).map(Some).ok_or_else(|| invalid(name, "must be a time such as `30s` or `10m`"))
}

/// A time above zero and up to `max`.
pub(crate) fn ttl(action: &Action, default: Duration, max: Duration) -> Result<Duration, ActionError> {
    let ttl = duration(action, "ttl")?.unwrap_or(default);
    if ttl < Duration::from_secs(1) || ttl > max {
        return Err(invalid("ttl", format!("must be between 1s and {}s", max.as_secs())));
    }
    Ok(ttl)
}

/// An action of these parameters.
pub(crate) fn action<const N: usize>(kind: &str, target: &str, with: [(&str, Value); N]) -> Action {
    let with = with.into_iter().map(|(name, value)| (name.to_owned(), value));
    Action { kind: kind.to_owned(), target: target.to_owned(), with: BTreeMap::from_iter(with) }
}

/// What happens to one thing of no service.
pub(crate) fn effect(summary: impl Into<String>, inverse: Option<Action>, is_idempotent: bool) -> Effect {
    let reach = Reach { service: None, touched: 1, instances: 0 };
    Effect { summary: summary.into(), inverse, reach, is_idempotent }
}

/// The last part of a kind: `restart` of `docker.restart`.
pub(crate) fn verb(action: &Action) -> &str {
    action.kind.rsplit('.').next().unwrap_or_default()
}

/// Whether one of the patterns matches the whole text. An empty list matches nothing.
pub(crate) fn is_allowed(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern.as_bytes(), text.as_bytes()))
}

/// `*` is any run of bytes, `?` one byte. Linear in the product of both lengths, without recursion.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Text of another system, fit for a sentence: one line, of at most 300 characters.
pub(crate) fn one_line(text: &str) -> String {
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(301).collect();
    if line.chars().count() > 300 { line.chars().take(299).chain(['…']).collect() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(is_allowed(&[pattern.to_owned()], text), expected, "{pattern} {text}");
        };
        check("payment-*.service", "payment-api.service", true);
        check("payment-*.service", "payment-api.service.d", false);
        check("web-?", "web-1", true);
        check("web-?", "web-10", false);
        check("*", "", true);
        check("a*b*c", "aXbYbZc", true);
        check("a*b*c", "aXbYbZ", false);
        assert!(!is_allowed(&[], "anything"), "an empty list allows nothing");
    }

    #[test]
    fn parameters_are_read_as_people_and_placeholders_write_them() {
        let action =
            action("x.y", "t", [("n", "3".into()), ("m", 4.into()), ("d", "10m".into()), ("s", 30.into())]);
        assert_eq!(count(&action, "n"), Ok(Some(3)));
        assert_eq!(count(&action, "m"), Ok(Some(4)));
        assert_eq!(count(&action, "none"), Ok(None));
        assert!(count(&action, "d").is_err() && text(&action, "m").is_err());
        assert_eq!(duration(&action, "d"), Ok(Some(Duration::from_secs(600))));
        assert_eq!(duration(&action, "s"), Ok(Some(Duration::from_secs(30))));
        let error = only(&action, &["n", "m", "d"]).unwrap_err();
        assert_eq!(error.to_string(), "`s`: `x.y` has no such parameter; it has: n, m, d");
    }
}
