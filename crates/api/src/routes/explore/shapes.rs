//! What answers of `/api/v1/query` look like: types for the description of the API alone, beside those that are written.
#![expect(dead_code, reason = "they are described, not made: the engine's own types are written")]

use serde::Serialize;
use utoipa::ToSchema;

use super::super::query::AnswerView;

/// A column of an answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct AnswerColumn {
    /// Its name; names within one answer differ.
    name: String,
    /// Type of its values, where present.
    #[serde(rename = "type")]
    ty: AnswerColumnType,
}

/// Type of the values of a column.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AnswerColumnType {
    /// RFC 3339 text with nanoseconds.
    Time,
    /// Level name.
    Level,
    /// Whole number.
    Int,
    /// Number.
    Float,
    /// Text.
    Text,
    /// JSON object or array.
    Json,
    /// Any of them: attributes hold any type.
    Any,
}

/// How an answer was found, and whether it is whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct AnswerStatistics {
    /// Wall time of planning and execution, ms.
    elapsed_ms: f64,
    /// How the records were looked at: `rollup`, `scan`, `newest-first` …
    strategy: String,
    /// What the result cache did: `off`, `hit`, `partial` or `miss`.
    cache: String,
    /// Rows looked at.
    rows_scanned: u64,
    /// Rows that passed the filter, as far as they were counted.
    rows_matched: u64,
    /// Bytes read from segment files.
    bytes_read: u64,
    /// Segments of the dataset.
    segments_total: usize,
    /// Segments of which something was read.
    segments_scanned: usize,
    /// Rows of the memtable that were looked at.
    memtable_rows: u64,
    /// Whether something that was asked for is missing; `warnings` says what.
    partial: bool,
    /// The limit that applied because the query named none, when it was reached: there may be more records.
    default_limit: Option<usize>,
    /// Pass it as `cursor` for the next page of a list of records; null on the last page, and for other answers.
    next: Option<String>,
    /// What the asker should know: parts that are missing, names that look misspelt.
    warnings: Vec<String>,
    /// What the figures mean, such as the error of an estimate.
    notes: Vec<String>,
}

/// What a question in plain words was understood as.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CompiledQuestion {
    /// Always `search`.
    pub(crate) language: &'static str,
    /// The search line.
    pub(crate) query: String,
    /// Start of the time range (inclusive), when the question names one.
    pub(crate) from: Option<String>,
    /// End of the time range (exclusive), when the question names one.
    pub(crate) to: Option<String>,
    /// Which words mean which part of the line.
    pub(crate) because: Vec<CompiledPart>,
}

/// A part of a question and what it means.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CompiledPart {
    /// The words of the question.
    pub(crate) words: String,
    /// What they are taken for, such as `time`, `level`, `service`, `count`.
    pub(crate) kind: &'static str,
    /// What they mean in the line.
    pub(crate) means: String,
}

/// What a query would do.
#[derive(Serialize, ToSchema)]
#[schema(as = Explain)]
pub(crate) struct ExplainView {
    /// The query as a search line.
    query: String,
    /// Whose records.
    tenant: String,
    /// Which records.
    dataset: String,
    /// From when (inclusive).
    from: String,
    /// Until when (exclusive).
    to: String,
    /// How the records are looked at.
    strategy: String,
    /// The steps, in order.
    steps: Vec<String>,
    /// The ways a `stats` could be answered, the cheapest first; none for a list of records.
    ways: Vec<ExplainWay>,
    /// What the store would read.
    scans: Vec<ExplainScan>,
    /// Rows that would be looked at, at most.
    rows_estimate: u64,
    /// Bytes that would be read, at most.
    bytes_estimate: u64,
    /// What it would cost.
    cost: ExplainCost,
    /// What the question was understood as; only for questions in plain words.
    compiled: Option<CompiledQuestion>,
}

/// What a query would cost.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExplainCost {
    /// `cheap` (an instant), `moderate` (seconds) or `heavy` (ask before running it).
    class: ExplainCostClass,
    /// Rows that are expected to be looked at.
    rows: u64,
    /// Bytes that are expected to be read.
    bytes: u64,
    /// CPU time that is expected, of one core, ms.
    cpu_ms: f64,
    /// In words: what the estimate rests on.
    why: String,
}

/// How much a query would cost.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExplainCostClass {
    /// Answered in an instant.
    Cheap,
    /// Takes a moment.
    Moderate,
    /// Reads much: worth a narrower range.
    Heavy,
}

/// One way to answer a `stats`.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExplainWay {
    /// How the records would be looked at.
    strategy: String,
    /// Estimated CPU time on one core, ms.
    cost_ms: f64,
    /// Rows that would be looked at, at most.
    rows: u64,
    /// Bytes that would be read, at most.
    bytes: u64,
    /// Whether it is the one taken.
    chosen: bool,
}

/// What one scan would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExplainScan {
    /// Segments of the dataset.
    segments_total: usize,
    /// Segments of which something would be read.
    segments: usize,
    /// Rows of the dataset.
    rows_total: u64,
    /// Rows that would be looked at, at most.
    rows_estimate: u64,
    /// Bytes that would be read, at most.
    bytes_estimate: u64,
    /// What rules rows out, in words.
    pruning: Vec<String>,
}

/// An answer, or with `explain` what it would take.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum QueryReply<'a> {
    /// The answer.
    Answer(AnswerView<'a>),
    /// The plan.
    Explain(Box<ExplainView>),
}
