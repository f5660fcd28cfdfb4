//! Completion: what could stand at the cursor of a search line.

use heimdall_model::{Dataset, Level};
use serde::Serialize;

use super::pipes::PIPES;
use crate::query::{Form, Func, Function};

/// Most suggestions given.
pub const SUGGESTIONS_MAX: usize = 50;

/// One thing that could stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// What to put in place of the characters from `from` to the cursor.
    pub text: String,
    /// What it is.
    pub kind: SuggestionKind,
    /// One line for people.
    pub doc: String,
    /// Byte offset where the started word begins.
    pub from: usize,
}

/// Kinds of suggestions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SuggestionKind {
    /// A canonical field.
    Field,
    /// A field of the data at hand.
    Attribute,
    /// A pipe.
    Pipe,
    /// An aggregate function.
    Function,
    /// A value of a closed set.
    Value,
}

/// Suggests what could stand at byte `cursor` of `line`, those that start as the text does first. A cursor inside a
/// character or past the end counts as the end of the line. `known_attributes` are attribute names seen in the data.
#[must_use]
pub fn suggest(line: &str, cursor: usize, dataset: Dataset, known_attributes: &[String]) -> Vec<Suggestion> {
    let before = line.get(..cursor).unwrap_or(line);
    let dataset = named_dataset(before).unwrap_or(dataset);
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '@');
    let from = before
        .rfind(|c| !is_part(c))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let (context, started) = before.split_at(from);
    let mut suggestions: Vec<Suggestion> = candidates(context, dataset, known_attributes)
        .filter(|(text, _, _)| matches_start(text, started))
        .map(|(text, kind, doc)| Suggestion { text, kind, doc, from })
        .collect();
    suggestions.sort_by_key(|suggestion| !suggestion.text.starts_with(started));
    suggestions.truncate(SUGGESTIONS_MAX);
    suggestions
}

/// The dataset a line starts with.
fn named_dataset(line: &str) -> Option<Dataset> {
    let (name, _) = line.trim_start().strip_prefix("dataset:")?.split_once(char::is_whitespace)?;
    Dataset::parse(name.trim_matches('"'))
}

type Candidate = (String, SuggestionKind, String);

fn matches_start(text: &str, started: &str) -> bool {
    let text = text.to_lowercase();
    let started = started.to_lowercase();
    text.starts_with(&started) || (started.len() >= 2 && text.contains(&started))
}

/// What fits after `context`, by the pipe the cursor is in.
fn candidates(context: &str, dataset: Dataset, attributes: &[String]) -> Box<dyn Iterator<Item = Candidate>> {
    let Ok(pipe) = last_pipe(context) else { return Box::new(std::iter::empty()) };
    if let Some(values) = closed_set(context, dataset) {
        return Box::new(
            values.into_iter().map(|value| (value.to_owned(), SuggestionKind::Value, String::new())),
        );
    }
    let words: Vec<&str> = pipe.unwrap_or_default().split_whitespace().collect();
    match (pipe, words.first().copied()) {
        (None, _) => fields(dataset, attributes),
        (Some(_), None) => Box::new(
            PIPES.into_iter().map(|(name, doc)| (name.to_owned(), SuggestionKind::Pipe, doc.to_owned())),
        ),
        (Some(pipe), Some("parse")) if words.contains(&"as") && !pipe.contains('"') => Box::new(
            Form::NAMES
                .into_iter()
                .map(|(name, doc)| (name.to_owned(), SuggestionKind::Function, doc.to_owned())),
        ),
        (Some(pipe), Some("eval")) if pipe.contains('=') => {
            let functions = Function::ALL.iter().map(|signature| {
                (format!("{}(", signature.name), SuggestionKind::Function, signature.doc.to_owned())
            });
            Box::new(functions.collect::<Vec<_>>().into_iter().chain(fields(dataset, attributes)))
        }
        (Some(pipe), Some("stats" | "timechart"))
            if !pipe.trim_end().ends_with('(') && !words.contains(&"by") =>
        {
            Box::new(
                Func::NAMES
                    .into_iter()
                    .map(|(name, _, doc)| (format!("{name}("), SuggestionKind::Function, doc.to_owned())),
            )
        }
        _ => fields(dataset, attributes),
    }
}

/// The values that a field can have, when it and an operator stand before the cursor and they are few and known.
fn closed_set(context: &str, dataset: Dataset) -> Option<Vec<&'static str>> {
    let before = context.trim_end_matches([':', '=', '<', '>', '!']);
    let name = before.rsplit(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.' | '@')).next()?;
    if before.len() == context.len() {
        return None;
    }
    match (name, dataset) {
        ("level", _) => Some(Level::ALL.into_iter().map(Level::as_str).collect()),
        ("dataset", _) => Some(Dataset::ALL.into_iter().map(Dataset::as_str).collect()),
        ("status", Dataset::Spans) => Some(vec!["unset", "ok", "error"]),
        ("kind", Dataset::Spans) => Some(vec!["internal", "server", "client", "producer", "consumer"]),
        _ => None,
    }
}

fn fields(dataset: Dataset, attributes: &[String]) -> Box<dyn Iterator<Item = Candidate>> {
    let canonical = dataset
        .fields()
        .iter()
        .map(|field| (field.name.to_owned(), SuggestionKind::Field, field.doc.to_owned()));
    let attributes: Vec<Candidate> = attributes
        .iter()
        .filter(|name| dataset.resolve(name).is_none())
        .map(|name| (name.clone(), SuggestionKind::Attribute, "attribute".to_owned()))
        .collect();
    Box::new(canonical.chain(attributes))
}

/// The cursor is inside quotes.
struct InQuotes;

/// The text after the last pipe outside quotes; `||` joins conditions.
fn last_pipe(text: &str) -> Result<Option<&str>, InQuotes> {
    let bytes = text.as_bytes();
    let mut quoted = false;
    let mut found = None;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            b'|' if !quoted && bytes.get(at + 1) == Some(&b'|') => at += 1,
            b'|' if !quoted => found = Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    if quoted { Err(InQuotes) } else { Ok(found.and_then(|at| text.get(at..))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, first: &str) {
        let attributes = ["http.status".to_owned()];
        let found = suggest(line, line.len(), Dataset::Logs, &attributes);
        assert_eq!(found.first().map_or("nothing", |suggestion| suggestion.text.as_str()), first, "{line}");
    }

    #[test]
    fn suggests_by_place() {
        check("serv", "service");
        check("level>=error -dur", "duration_ms");
        check("http", "http.status");
        check("level:wa", "warn");
        check("a | st", "stats");
        check("a | stats p9", "p90(");
        check("a | stats p99(dur", "duration_ms");
        check("a | stats count() by serv", "service");
        check("a || serv", "service");
        check("a | eval x = sta", "starts_with(");
        check("a | eval x = lower(serv", "service");
        check("a | parse mess", "message");
        check("a | parse message as gr", "grok");
        check("\"a | st", "nothing");
        check("dataset:sp", "spans");
        check("dataset:spans status:er", "error");
        check("dataset:spans kind:cl", "client");
        check("dataset:spans parent", "parent_span_id");
        check("status:er", "error_rate"); // of logs it is any attribute
        assert_eq!(suggest("é", 1, Dataset::Logs, &[]), []);
    }
}
