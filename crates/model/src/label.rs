//! Matchers of labels, as silences, routes, inhibitions and playbooks write them: `service="AUTH-API"`, `severity=~"crit.*"`.
//!
//! Invariants:
//! - an absent label reads as the empty text, as in Prometheus;
//! - a regular expression matches the whole value;
//! - the text form reads back to the same matcher.
//!
//! Source: prometheus.io, "Alertmanager configuration", `<matcher>`.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Alert;

/// Longest value of a matcher (bytes).
pub const MATCHER_BYTES_MAX: usize = 4_096;

/// One condition on one label.
#[derive(Debug, Clone)]
pub struct LabelMatcher {
    name: String,
    value: String,
    is_equal: bool,
    regex: Option<Regex>,
}

/// A text is not a matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a matcher: {reason}")]
pub struct LabelMatcherError {
    /// The text, cut.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl LabelMatcher {
    /// A matcher; `is_equal` false turns it around.
    ///
    /// # Errors
    /// The name is empty, the value too long, or no regular expression.
    pub fn new(
        name: &str,
        value: &str,
        is_regex: bool,
        is_equal: bool,
    ) -> Result<LabelMatcher, LabelMatcherError> {
        let fault = |reason: String| LabelMatcherError { text: cut(&format!("{name}={value}")), reason };
        if name.is_empty() {
            return Err(fault("it names no label".to_owned()));
        }
        if value.len() > MATCHER_BYTES_MAX {
            return Err(fault(format!("its value is longer than {MATCHER_BYTES_MAX} bytes")));
        }
        let compile =
            || Regex::new(&format!("^(?:{value})$")).map_err(|error| fault(last_line(&error.to_string())));
        let regex = is_regex.then(compile).transpose()?;
        Ok(LabelMatcher { name: name.to_owned(), value: value.to_owned(), is_equal, regex })
    }

    /// The label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text or pattern it is compared with.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether the value is a pattern.
    #[must_use]
    pub const fn is_regex(&self) -> bool {
        self.regex.is_some()
    }

    /// Whether it wants the label to be so, or not to be so.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.is_equal
    }

    /// Whether a value of the label passes; absent is the empty text.
    #[must_use]
    pub fn is_match(&self, value: &str) -> bool {
        let is_so = self.regex.as_ref().map_or(value == self.value, |regex| regex.is_match(value));
        is_so == self.is_equal
    }

    /// Whether an alert passes.
    #[must_use]
    pub fn matches(&self, alert: &Alert) -> bool {
        self.is_match(alert.label(&self.name).as_deref().unwrap_or_default())
    }
}

impl PartialEq for LabelMatcher {
    fn eq(&self, other: &LabelMatcher) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for LabelMatcher {}

impl LabelMatcher {
    fn parts(&self) -> (&str, &str, bool, bool) {
        (&self.name, &self.value, self.is_regex(), self.is_equal)
    }
}

impl fmt::Display for LabelMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match (self.is_equal, self.is_regex()) {
            (true, false) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (false, true) => "!~",
        };
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(f, "{}{operator}\"{value}\"", self.name)
    }
}

impl FromStr for LabelMatcher {
    type Err = LabelMatcherError;
    fn from_str(text: &str) -> Result<LabelMatcher, LabelMatcherError> {
        let fault = |reason: &str| LabelMatcherError { text: cut(text), reason: reason.to_owned() };
        let at = text.find(['=', '!']).ok_or_else(|| fault("it has none of = != =~ !~"))?;
        let (name, rest) = text.split_at(at);
        let operators = [("=~", true, true), ("!~", true, false), ("!=", false, false), ("=", false, true)];
        let (operator, is_regex, is_equal) = operators
            .into_iter()
            .find(|(operator, ..)| rest.starts_with(operator))
            .ok_or_else(|| fault("it has none of = != =~ !~"))?;
        let name = name.trim();
        if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | ':')) {
            return Err(fault("its label has characters other than letters, digits and `_.-:`"));
        }
        let value = unquote(rest[operator.len()..].trim()).ok_or_else(|| fault("its quotes do not close"))?;
        LabelMatcher::new(name, &value, is_regex, is_equal)
    }
}

/// A value without its quotes and escapes; bare values are taken as they are.
fn unquote(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return chars.next().is_none().then_some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                other @ ('"' | '\\') => value.push(other),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The line of a pattern's error that says what is wrong.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").to_owned()
}

impl Serialize for LabelMatcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LabelMatcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LabelMatcher, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str, yes: &[&str], no: &[&str]) {
        let matcher: LabelMatcher = text.parse().unwrap();
        assert_eq!(matcher.to_string(), shown);
        assert_eq!(matcher.to_string().parse::<LabelMatcher>().unwrap(), matcher);
        yes.iter().for_each(|value| assert!(matcher.is_match(value), "{text} on `{value}`"));
        no.iter().for_each(|value| assert!(!matcher.is_match(value), "{text} on `{value}`"));
    }

    #[test]
    fn the_four_operators() {
        check("service=AUTH-API", r#"service="AUTH-API""#, &["AUTH-API"], &["", "auth-api", "AUTH-API-2"]);
        check(r#"service != "a b""#, r#"service!="a b""#, &["", "a"], &["a b"]);
        check(
            "severity=~crit.*|warning",
            r#"severity=~"crit.*|warning""#,
            &["critical", "warning"],
            &["", "a critical"],
        );
        check(r#"host!~"db-\d+""#, r#"host!~"db-\\d+""#, &["web-1", ""], &["db-12"]);
        check(r#"msg="say \"hi\"\n""#, r#"msg="say \"hi\"\n""#, &["say \"hi\"\n"], &["say"]);
        check("owner=", r#"owner="""#, &[""], &["me"]);
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, reason) in [
            ("service", "has none of"),
            ("=x", "names no label"),
            ("a b=x", "characters other"),
            (r#"a="x"#, "quotes"),
            ("a=~(", "unclosed group"),
        ] {
            let error = text.parse::<LabelMatcher>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
