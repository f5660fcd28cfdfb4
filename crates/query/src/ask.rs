//! Questions in plain words: a fixed grammar that compiles to a search line.
//!
//! Invariants:
//! - the same question in the same context gives the same line: there is no model and no network;
//! - every word is accounted for: it is part of something understood ([`Asked::because`]), a word without meaning here
//!   (`show`, `the`), or it is given back as [`NotUnderstood::unclear`] and there is no line: nothing is guessed;
//! - the line is read by the one parser of search lines, like a line that somebody wrote.
//!
//! - `words`: the question in tokens; `time`: phrases of time, in a zone; `names`: services and how people call them
//! - `grammar`: what words mean; `compile`: the line they make
//!
//! Reference for people: docs/ask.md.

mod compile;
mod grammar;
mod names;
#[cfg(test)]
mod tests;
mod time;
mod words;

use heimdall_model::Timestamp;
use jiff::tz::TimeZone;

use crate::query::TimeRange;

/// Attributes that may hold the status of a request: [`AskContext::attributes`] says which of them there are.
pub const STATUS_ATTRIBUTES: [&str; 5] = compile::STATUS;
/// Longest question in bytes.
pub const QUESTION_BYTES_MAX: usize = 16 * 1024;
/// Most suggestions given.
const SUGGESTIONS_MAX: usize = 5;

/// What a question is read against.
#[derive(Clone)]
pub struct AskContext<'a> {
    /// What `now` means.
    pub now: Timestamp,
    /// The zone of days and times of day.
    pub zone: TimeZone,
    /// Services that there are.
    pub services: &'a [String],
    /// Attributes that there are: says which one holds the status of a request.
    pub attributes: &'a [String],
    /// Templates like a text: their ids, when messages of its form are known.
    pub like: &'a dyn Fn(&str) -> Vec<u32>,
    /// Whether the request names a time range of its own.
    pub has_range: bool,
}

impl std::fmt::Debug for AskContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let AskContext { now, zone, services, attributes, has_range, like: _ } = self;
        let parts = (now, zone, services.len(), attributes.len(), has_range);
        f.debug_tuple("AskContext").field(&parts).finish()
    }
}

impl AskContext<'_> {
    /// A context without services, attributes and templates, in UTC.
    #[must_use]
    pub fn new(now: Timestamp) -> AskContext<'static> {
        AskContext {
            now,
            zone: TimeZone::UTC,
            services: &[],
            attributes: &[],
            like: &|_| Vec::new(),
            has_range: false,
        }
    }
}

/// The zone of this name; `None` when there is none.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name.eq_ignore_ascii_case("utc") {
        return Some(TimeZone::UTC);
    }
    TimeZone::get(name).ok()
}

/// A part of a question and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because {
    /// The words.
    pub words: String,
    /// What they are taken for.
    pub kind: &'static str,
    /// What they mean.
    pub means: String,
}

/// A question understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The search line.
    pub line: String,
    /// The time range, when the question names one or the request names none.
    pub range: Option<TimeRange>,
    /// Which words mean what, in the order of the question.
    pub because: Vec<Because>,
}

/// Why a question has no line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotUnderstood {
    /// In words.
    pub reason: String,
    /// What was understood.
    pub understood: Vec<Because>,
    /// Words that mean nothing here.
    pub unclear: Vec<String>,
    /// Questions that are understood, the nearest first.
    pub suggestions: Vec<String>,
}

/// Reads a question.
///
/// # Errors
/// [`NotUnderstood`], with what was understood and what can be asked.
pub fn read(question: &str, context: &AskContext<'_>) -> Result<Asked, NotUnderstood> {
    if question.len() > QUESTION_BYTES_MAX {
        return Err(NotUnderstood::because(format!("a question has at most {QUESTION_BYTES_MAX} bytes")));
    }
    let parts = grammar::Reader::new(question, context).read()?;
    Ok(compile::compile(parts, context))
}

impl NotUnderstood {
    fn because(reason: String) -> NotUnderstood {
        let suggestions = [
            "errors in the last hour",
            "top 10 services by errors today",
            "p95 latency by service in the last hour",
        ];
        NotUnderstood {
            reason,
            understood: Vec::new(),
            unclear: Vec::new(),
            suggestions: suggestions.map(str::to_owned).to_vec(),
        }
    }
}
