//! Values that stand in the data, so that questions ask for what is there.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use heimdall_model::Timestamp;
use serde_json::{Value, json};

use super::ask::Asker;
use super::questions::{Span, needs};

/// Spans of time records are taken from.
const WINDOWS: i64 = 16;
/// Records taken of each.
const WINDOW_ROWS: usize = 8;
/// Values kept of each kind.
const VALUES_MAX: usize = 64;
/// Shortest text taken for a token that few records hold.
const TOKEN_CHARS_MIN: usize = 6;
const MINUTE_NS: i64 = 60_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;
/// Before any record, and after.
const FROM: &str = "1970-01-01T00:00:00Z";
const TO: &str = "2200-01-01T00:00:00Z";

/// What was found in the data.
pub(super) struct Sample {
    /// Time of the first record and of the last.
    pub bounds: (Timestamp, Timestamp),
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Sample {
    /// Takes records from all over the data.
    pub(super) async fn take(asker: &Asker) -> Result<Sample> {
        let all = |line: &'static str| asker.search(line, Some((FROM.to_owned(), TO.to_owned())), 20);
        let first = all("| sort timestamp | limit 1 | fields timestamp").await?;
        let last = all("| limit 1 | fields timestamp").await?;
        let time =
            |answer: &Value| answer.pointer("/rows/0/0").and_then(Value::as_str).and_then(Timestamp::parse);
        let bounds = time(&first).zip(time(&last)).context("the store holds no log records")?;
        let mut sample = Sample { bounds, values: BTreeMap::new() };
        let span = bounds.1.0.saturating_sub(bounds.0.0);
        for window in 0..WINDOWS {
            let to = bounds.0.saturating_add_ns(span / WINDOWS * (window + 1) + 1);
            let from = Timestamp(to.0 - (span / WINDOWS).max(1));
            let range = Some((from.to_string(), to.to_string()));
            sample.learn(&asker.search("", range, WINDOW_ROWS).await?);
        }
        // Tokens that one record alone holds, where the data was generated.
        let messages = all("\"one-time token\" | limit 20 | fields message").await?;
        let tokens: Vec<String> =
            texts(&messages).flat_map(words).filter(|word| is_generated_token(word)).collect();
        if !tokens.is_empty() {
            sample.values.insert("token", tokens);
        }
        let busy = all("level>=error | stats count() by service | sort -count | limit 20").await?;
        let services: Vec<String> = texts(&busy).map(quoted).collect();
        if !services.is_empty() {
            sample.values.insert("service", services);
        }
        Ok(sample)
    }

    fn learn(&mut self, answer: &Value) {
        let columns: Vec<&str> =
            answer["columns"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
        for row in answer["rows"].as_array().into_iter().flatten().filter_map(Value::as_array) {
            for (column, value) in columns.iter().zip(row) {
                match (*column, value) {
                    ("trace_id", Value::String(id)) => self.put("trace_id", id.clone()),
                    ("request_id", Value::String(id)) => self.put("request_id", id.clone()),
                    ("user_id", Value::String(id)) => self.put("user_id", quoted(id)),
                    ("service", Value::String(name)) => self.put("service", quoted(name)),
                    ("message", Value::String(message)) => self.learn_message(message),
                    ("attributes", Value::Object(attributes)) => self.learn_attribute(attributes),
                    _ => {}
                }
            }
        }
    }

    fn learn_message(&mut self, message: &str) {
        let words: Vec<String> = words(message).collect();
        let is_word = |word: &&String| word.len() > 3 && word.chars().all(|c| c.is_ascii_lowercase());
        if let Some(word) = words.iter().find(is_word) {
            self.put("word", word.clone());
        }
        if let Some(pair) = words.windows(2).find(|pair| pair.iter().all(|word| is_word(&word))) {
            let phrase = pair.join(" ");
            if message.contains(&phrase) {
                self.put("phrase", phrase);
            }
        }
        let digits = |word: &&String| word.chars().filter(char::is_ascii_digit).count();
        let token = words.iter().filter(|word| word.len() >= TOKEN_CHARS_MIN).max_by_key(digits);
        if let Some(token) = token.filter(|token| digits(token) > 3) {
            self.put("token", token.clone());
        }
    }

    fn learn_attribute(&mut self, attributes: &serde_json::Map<String, Value>) {
        let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        for (name, value) in attributes.iter().filter(|(name, _)| plain(name)) {
            let value = match value {
                Value::String(text) => quoted(text),
                Value::Number(number) => number.to_string(),
                _ => continue,
            };
            if !self.values.contains_key("attribute") {
                self.put("attribute", name.clone());
            }
            if self.values["attribute"][0] == *name {
                self.put("attribute_value", value);
            }
        }
    }

    fn put(&mut self, kind: &'static str, value: String) {
        let values = self.values.entry(kind).or_default();
        if values.len() < VALUES_MAX && !values.contains(&value) {
            values.push(value);
        }
    }

    /// The text with a value for every name; `pick` chooses among so many. Or the name of which there is none.
    pub(super) fn fill<'t>(
        &self,
        text: &'t str,
        mut pick: impl FnMut(usize) -> usize,
    ) -> Result<String, &'t str> {
        let mut filled = text.to_owned();
        for name in needs(text) {
            let values = self.values.get(name).filter(|values| !values.is_empty()).ok_or(name)?;
            filled = filled.replace(&format!("{{{name}}}"), &values[pick(values.len())]);
        }
        Ok(filled)
    }

    /// As [`Sample::fill`] with the first of all values, for SQL: there the text has quotes of its own.
    pub(super) fn fill_sql<'t>(&self, text: &'t str) -> Result<String, &'t str> {
        let bare = |value: &String| value.trim_matches('"').replace('\'', "''");
        let values = self.values.iter().map(|(name, values)| (*name, values.iter().map(bare).collect()));
        Sample { values: values.collect(), bounds: self.bounds }.fill(text, |_| 0)
    }

    /// `from` and `to` of a span.
    pub(super) fn range(&self, span: Span) -> (String, String) {
        let floor = |time: Timestamp, unit: i64| Timestamp(time.0.div_euclid(unit) * unit);
        let end = floor(self.bounds.1, MINUTE_NS).saturating_add_ns(MINUTE_NS);
        let (from, to) = match span {
            Span::All => (floor(self.bounds.0, HOUR_NS), end),
            Span::LastDay => (end.saturating_add_ns(-24 * HOUR_NS), end),
            Span::LastHour => (end.saturating_add_ns(-HOUR_NS), end),
            Span::LastHourToTheNs => {
                (self.bounds.1.saturating_add_ns(1 - HOUR_NS), self.bounds.1.saturating_add_ns(1))
            }
        };
        (from.to_string(), to.to_string())
    }

    /// The bin of a chart over a span of time: about a hundred of them.
    pub(super) fn bin(span_ns: i64) -> &'static str {
        match span_ns / HOUR_NS {
            0..=2 => "1m",
            3..=24 => "10m",
            25..=200 => "1h",
            _ => "1d",
        }
    }

    /// How many values of each kind there are.
    pub(super) fn counts(&self) -> Value {
        self.values
            .iter()
            .map(|(name, values)| ((*name).to_owned(), json!(values.len())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

fn texts(answer: &Value) -> impl Iterator<Item = &str> {
    let rows = answer["rows"].as_array().into_iter().flatten();
    rows.filter_map(|row| row.get(0)?.as_str())
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

fn is_generated_token(word: &str) -> bool {
    word.len() == 18 && word.starts_with("rt") && word[2..].bytes().all(|b| b.is_ascii_hexdigit())
}

/// A value as the search line reads it back.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
