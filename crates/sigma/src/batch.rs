//! Events in, ids of matching rules out, as JSON lines.
//!
//! In: `{"event_id": .., "logsource": [{"product": .., "category": .., "service": ..}], "event": {..}}`.
//! Out, for every event: `{"event_id": .., "rule_ids": [..]}`.

use std::io::{BufRead, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{Engine, Matcher};
use crate::rule::LogSource;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchSummary {
    /// Events judged.
    pub events: u64,
    /// Pairs of event and rule.
    pub matches: u64,
    /// Lines that are no event, each with its number (from 1) and what is wrong; nothing is written for them.
    pub rejected: Vec<(u64, String)>,
}

#[derive(Deserialize)]
struct Line {
    event_id: Value,
    #[serde(default)]
    logsource: Sources,
    event: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sources {
    Many(Vec<LogSource>),
    One(LogSource),
}

impl Default for Sources {
    fn default() -> Sources {
        Sources::Many(Vec::new())
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    event_id: &'a Value,
    rule_ids: Vec<&'a str>,
}

/// Judges every line of `reader`.
///
/// # Errors
/// Reading or writing failed. A line that is no event is in the summary instead.
pub fn batch(
    engine: &Arc<Engine>,
    reader: impl BufRead,
    mut writer: impl Write,
) -> std::io::Result<BatchSummary> {
    let mut matcher = Matcher::new(Arc::clone(engine));
    let mut summary = BatchSummary::default();
    for (number, line) in (1..).zip(reader.lines()) {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let Line { event_id, logsource, event } = match serde_json::from_str(&line) {
            Ok(read) => read,
            Err(error) => {
                summary.rejected.push((number, error.to_string()));
                continue;
            }
        };
        let sources = match logsource {
            Sources::Many(sources) => sources,
            Sources::One(source) => vec![source],
        };
        let found = matcher.matches(&sources, &event);
        summary.events += 1;
        summary.matches += found.len() as u64;
        let rule_ids = found.iter().map(|rule| engine.meta(*rule).id.as_str()).collect();
        serde_json::to_writer(&mut writer, &Answer { event_id: &event_id, rule_ids })?;
        writer.write_all(b"\n")?;
    }
    writer.flush()?;
    Ok(summary)
}
