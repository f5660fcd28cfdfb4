//! Names with `*` and `?`, or regular expressions between slashes: how people list targets, services and kinds.

use std::fmt;

use regex::Regex;

/// Longest pattern (bytes).
pub const PATTERN_BYTES_MAX: usize = 512;

/// A compiled pattern; it matches whole names, in any case.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// A text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a pattern: {reason}")]
pub struct PatternError {
    /// The text, cut.
    pub text: String,
    /// What is wrong.
    pub reason: String,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// It is empty, too long, or the regular expression between the slashes is none.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let fault =
            |reason: &str| PatternError { text: text.chars().take(80).collect(), reason: reason.to_owned() };
        if text.is_empty() {
            return Err(fault("it is empty"));
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(fault(&format!("it is longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).filter(|_| text.len() > 2);
        // Between slashes people write what to find; a name matches whole.
        let source = inner.map_or_else(|| format!("^{}$", of_glob(text)), str::to_owned);
        let regex =
            regex::RegexBuilder::new(&source).case_insensitive(true).dot_matches_new_line(true).build();
        let last =
            |error: regex::Error| error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        let regex = regex.map_err(|error| fault(&last(error)))?;
        Ok(Pattern { text: text.to_owned(), regex })
    }

    /// Whether a name is meant.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl serde::Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        let text = String::deserialize(deserializer)?;
        Pattern::parse(&text).map_err(serde::de::Error::custom)
    }
}

fn of_glob(text: &str) -> String {
    let piece = |c: char| match c {
        '*' => ".*".to_owned(),
        '?' => ".".to_owned(),
        c => regex::escape(c.encode_utf8(&mut [0; 4])),
    };
    text.chars().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, is_match: bool) {
        assert_eq!(Pattern::parse(pattern).unwrap().is_match(name), is_match, "{pattern} {name}");
    }

    #[test]
    fn names_match_whole_and_expressions_where_they_find() {
        check("db-*", "db-1", true);
        check("db-*", "my-db-1", false);
        check("DB-?", "db-1", true);
        check("a.b", "axb", false);
        check("/^db-[0-9]+$/", "db-12", true);
        check("/postgres/", "my-postgres-1", true);
        check("*", "a\nb", true);
        assert!(Pattern::parse("").is_err() && Pattern::parse("/(/").is_err());
    }
}
