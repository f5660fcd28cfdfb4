//! Why a statement has no answer.

use datafusion::error::DataFusionError;
use heimdall_query::QueryError;
use heimdall_store::ScanError;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The text is no SQL.
    #[error("{message}")]
    Syntax {
        /// What is wrong.
        message: String,
        /// Line and column of it, both from 1 on, where they are known.
        at: Option<(u64, u64)>,
    },
    /// The statement would do something else than read.
    #[error("`{statement}` is not allowed: only one SELECT, EXPLAIN, SHOW TABLES or DESCRIBE is")]
    ReadOnly {
        /// What it begins with, or what was wrong with their number.
        statement: String,
    },
    /// A table, column or function is unknown, types do not fit, or SQL of this kind is not supported.
    #[error("{0}")]
    Plan(String),
    /// It needs more memory or disk than one statement may take.
    #[error("the statement needs more memory than it may take: {0}")]
    TooMuchMemory(String),
    /// The deadline passed.
    #[error("the statement ran out of time; narrow the time range or the conditions")]
    OutOfTime,
    /// Whoever asked no longer wants it.
    #[error("the statement was cancelled")]
    Cancelled,
    /// The engine that answers a part of it could not.
    #[error(transparent)]
    Query(QueryError),
    /// It could not be run for a reason of ours.
    #[error("the statement could not be run: {0}")]
    Internal(String),
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => (*inner).into(),
            DataFusionError::Collection(errors) => match errors.into_iter().next() {
                Some(first) => first.into(),
                None => SqlError::Internal("an empty list of errors".to_owned()),
            },
            DataFusionError::Shared(shared) => SqlError::of(&shared),
            DataFusionError::External(external) => match external.downcast::<Failed>() {
                Ok(failed) => failed.into_error(),
                Err(other) => SqlError::Internal(other.to_string()),
            },
            other => SqlError::of(&other),
        }
    }
}

impl SqlError {
    fn of(error: &DataFusionError) -> SqlError {
        match error {
            DataFusionError::SQL(parser, _) => SqlError::syntax(&parser.to_string()),
            DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) => {
                SqlError::Plan(clean(text))
            }
            DataFusionError::SchemaError(schema, _) => SqlError::Plan(clean(&schema.to_string())),
            DataFusionError::Execution(text) | DataFusionError::Configuration(text) => {
                SqlError::Plan(clean(text))
            }
            DataFusionError::ArrowError(arrow, _) if is_spill_limit(&arrow.to_string()) => {
                SqlError::TooMuchMemory("what does not fit in memory does not fit on disk either".to_owned())
            }
            DataFusionError::ArrowError(arrow, _) => SqlError::Plan(clean(&arrow.to_string())),
            DataFusionError::ResourcesExhausted(text) => SqlError::TooMuchMemory(clean(text)),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => SqlError::of(inner),
            DataFusionError::Shared(inner) => SqlError::of(inner),
            DataFusionError::External(external) => match external.downcast_ref::<Failed>() {
                Some(failed) => SqlError::Internal(failed.to_string()),
                None => SqlError::Internal(external.to_string()),
            },
            other => SqlError::Internal(clean(&other.to_string())),
        }
    }

    /// A parser's words, and the place they name.
    pub(crate) fn syntax(text: &str) -> SqlError {
        let text = text.strip_prefix("sql parser error: ").unwrap_or(text);
        let (message, at) = match text.split_once(" at Line: ") {
            None => (text, None),
            Some((message, place)) => (message, place_of(place)),
        };
        SqlError::Syntax { message: clean(message), at }
    }
}

/// Whether it is the limit on disk that spoke: it comes as an error of writing a file.
fn is_spill_limit(text: &str) -> bool {
    text.contains("disk space during the spilling process has exceeded")
}

/// `3, Column: 14…` as numbers.
fn place_of(text: &str) -> Option<(u64, u64)> {
    let (line, column) = text.split_once(", Column: ")?;
    let digits = column.find(|c: char| !c.is_ascii_digit()).unwrap_or(column.len());
    Some((line.trim().parse().ok()?, column[..digits].parse().ok()?))
}

/// One line, with its first letter small, as our messages are.
fn clean(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim_end_matches('.');
    let mut letters = line.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), second) if second.is_none_or(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => line.to_owned(),
    }
}

/// An error of ours on its way through DataFusion.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("{0}")]
    Rows(String),
}

impl Failed {
    pub(crate) fn wrap(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }

    fn into_error(self) -> SqlError {
        let query = match self {
            Failed::Scan(error) => QueryError::from(error),
            Failed::Query(error) => error,
            Failed::Rows(text) => return SqlError::Internal(text),
        };
        match query {
            QueryError::Cancelled => SqlError::Cancelled,
            QueryError::OutOfTime { .. } => SqlError::OutOfTime,
            other => SqlError::Query(other),
        }
    }
}
