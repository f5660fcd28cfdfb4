//! What is wrong with a search line, and where.

use serde::Serialize;

/// A mistake in a search line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Where it starts: 1 is the first character of the line.
    pub column: usize,
    /// How many characters are meant; at least 1.
    pub len: usize,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ParseError {
    /// An error about bytes `start..end` of a line.
    pub(super) fn at(line: &str, start: usize, end: usize, message: impl Into<String>) -> ParseError {
        let chars = |from: usize, to: usize| line.get(from..to).map_or(0, |text| text.chars().count());
        ParseError {
            message: message.into(),
            column: chars(0, start) + 1,
            len: chars(start, end).max(1),
            hint: None,
        }
    }

    /// The same with a hint.
    pub(super) fn hint(self, hint: impl Into<String>) -> ParseError {
        ParseError { hint: Some(hint.into()), ..self }
    }

    /// The same with a nearest name as hint, when there is one.
    pub(super) fn did_you_mean(self, name: Option<&str>) -> ParseError {
        match name {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at column {}", self.message, self.column)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}
