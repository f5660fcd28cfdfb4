//! Why a rule, a correlation or a pipeline could not be used: always with file and line.

use std::fmt;

/// A document that cannot be used. The others of its file and folder work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LoadError {
    /// File as named by whoever read it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1, when known.
    pub column: Option<usize>,
    /// Id or title of the rule, when it could be read.
    pub rule: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: ", self.file, self.line)?;
        if let Some(rule) = &self.rule {
            write!(out, "rule `{rule}`: ")?;
        }
        out.write_str(&self.reason)
    }
}

/// What is wrong inside a document, before it is known where that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Text of the document near which the fault is; its line is looked for when the error is shown.
    pub near: Option<String>,
    pub reason: String,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<String>) -> Fault {
        Fault { near: None, reason: reason.into() }
    }

    /// Says which text of the document the fault is about, unless that is known more closely.
    pub(crate) fn near(mut self, text: &str) -> Fault {
        self.near.get_or_insert_with(|| text.to_owned());
        self
    }
}
