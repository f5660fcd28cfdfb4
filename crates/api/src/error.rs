//! Domain errors as problems: one function per error enum of the crates below.

use std::time::Duration;

use axum::http::StatusCode;
use heimdall_alert::{AlertError, SilenceError};
use heimdall_guard::{AuditError, TokenError};
use heimdall_ingest::arrive::ArriveError;
use heimdall_ingest::compression::CompressionError;
use heimdall_ingest::{BodyError, Refused, Rejected};
use heimdall_metastore::MetastoreError;
use heimdall_query::{ParseError, QueryError};
use heimdall_sql::SqlError;
use heimdall_store::ScanError;
use serde_json::json;

use crate::problem::{FieldError, Problem};

/// When to come back after a failure that waiting may cure.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The intake sent a submission away.
pub(crate) fn refused(refused: &Refused) -> Problem {
    let detail = refused.to_string();
    let unavailable =
        |code, after| Problem::busy(StatusCode::SERVICE_UNAVAILABLE, code, detail.clone(), after);
    match refused {
        Refused::RateLimited { retry_after, .. } => {
            Problem::busy(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail, *retry_after)
        }
        Refused::Busy { retry_after } => unavailable("busy", *retry_after),
        Refused::JournalFull { retry_after } => unavailable("journal_full", *retry_after),
        Refused::DiskFull { retry_after } => unavailable("disk_full", *retry_after),
        Refused::Closing => unavailable("shutting_down", RETRY_AFTER),
        Refused::Latched => unavailable("journal_latched", RETRY_AFTER),
        Refused::TooLarge { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large", detail),
        other => Problem::internal(other),
    }
}

/// A body that was refused whole.
pub(crate) fn body(error: &BodyError) -> Problem {
    let detail = error.to_string();
    match error {
        BodyError::Empty => Problem::bad_request("body_empty", detail),
        BodyError::Syntax { .. } => Problem::bad_request("invalid_json", detail),
        BodyError::Utf8 { .. } => Problem::bad_request("invalid_utf8", detail),
        BodyError::TooManyRecords { .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_records", detail)
        }
        BodyError::RecordsTooLarge { .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "records_too_large", detail)
        }
        BodyError::TextFormat { .. } => Problem::bad_request("format_not_for_dataset", detail),
        _ => Problem::bad_request("invalid_body", detail),
    }
}

/// A body that could not be unpacked.
pub(crate) fn compression(error: &CompressionError) -> Problem {
    let detail = error.to_string();
    match error {
        CompressionError::Unsupported { .. } => {
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail)
        }
        CompressionError::TooLarge { .. } | CompressionError::Bomb { .. } => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        }
        _ => Problem::bad_request("invalid_compression", detail),
    }
}

/// A body that did not arrive.
pub(crate) fn arrive(failed: &ArriveError) -> Problem {
    match failed {
        ArriveError::TooLarge { bytes_max } => Problem::too_large(*bytes_max),
        ArriveError::TooSlow => Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", failed.to_string()),
        ArriveError::Refused(error) => refused(error),
        ArriveError::Compression(error) => compression(error),
        _ => Problem::bad_request("body_incomplete", failed.to_string()),
    }
}

/// A record that was not accepted.
pub(crate) fn rejected(rejected: &Rejected) -> FieldError {
    FieldError { index: Some(rejected.index), field: rejected.field.clone(), reason: rejected.reason.clone() }
}

/// A search line that does not parse.
pub(crate) fn parse(error: &ParseError) -> Problem {
    Problem::bad_request("invalid_query", error.to_string())
        .with_errors(vec![FieldError::of("query", error.message.clone())])
        .with_member("column", json!(error.column))
        .with_member("length", json!(error.len))
        .with_member("hint", json!(error.hint))
}

/// A query without an answer.
pub(crate) fn query(error: &QueryError) -> Problem {
    let detail = error.to_string();
    let unprocessable = |code| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
    match error {
        QueryError::Cancelled => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "query_cancelled", detail),
        QueryError::OutOfTime { .. } => Problem::new(StatusCode::GATEWAY_TIMEOUT, "query_timeout", detail),
        QueryError::OutOfBudget { .. } => unprocessable("query_budget_exceeded"),
        QueryError::TooManyGroups { .. } => unprocessable("too_many_groups"),
        QueryError::TooMuchMemory { .. } => unprocessable("query_memory_exceeded"),
        QueryError::AnswerTooLarge { .. } => unprocessable("answer_too_large"),
        QueryError::PipeTooLarge { .. } => unprocessable("pipe_too_large"),
        QueryError::InvalidPipe { .. } | QueryError::Filter(_) => {
            Problem::bad_request("invalid_query", detail)
        }
        other => Problem::internal(other),
    }
}

/// A statement without an answer.
pub(crate) fn sql(error: &SqlError) -> Problem {
    let detail = error.to_string();
    let about = |problem: Problem| problem.with_errors(vec![FieldError::of("query", error.to_string())]);
    match error {
        SqlError::Syntax { at, .. } => about(Problem::bad_request("invalid_sql", detail))
            .with_member("line", json!(at.map(|at| at.0)))
            .with_member("column", json!(at.map(|at| at.1))),
        SqlError::ReadOnly { .. } => about(Problem::bad_request("sql_not_read_only", detail)),
        SqlError::Plan(_) => about(Problem::bad_request("invalid_sql", detail)),
        SqlError::TooMuchMemory(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "query_memory_exceeded", detail)
        }
        SqlError::OutOfTime => Problem::new(StatusCode::GATEWAY_TIMEOUT, "query_timeout", detail),
        SqlError::Cancelled => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "query_cancelled", detail),
        SqlError::Query(inner) => query(inner),
        other => Problem::internal(other),
    }
}

/// A scan without an answer.
pub(crate) fn scan(error: &ScanError) -> Problem {
    let detail = error.to_string();
    match error {
        ScanError::Cancelled => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "query_cancelled", detail),
        ScanError::DeadlineExceeded { stats } => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "query_timeout", detail)
                .with_member("stats", json!(stats))
        }
        ScanError::BudgetExceeded { stats, .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "query_budget_exceeded", detail)
                .with_member("stats", json!(stats))
        }
        ScanError::AnswerTooLarge { .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "answer_too_large", detail)
        }
        ScanError::Filter(_) => Problem::bad_request("invalid_query", detail),
        other => Problem::internal(other),
    }
}

/// An alert that could not be found or changed.
pub(crate) fn alert(error: &AlertError) -> Problem {
    let detail = error.to_string();
    match error {
        AlertError::NotFound { id } => Problem::not_found("alert", id),
        AlertError::Conflict { from, to, .. } => {
            Problem::new(StatusCode::CONFLICT, "alert_step_conflict", detail)
                .with_members(json!({ "from": from, "to": to }))
        }
        AlertError::Superseded { newer, .. } => {
            Problem::new(StatusCode::CONFLICT, "alert_superseded", detail).with_member("newer", json!(newer))
        }
        AlertError::Invalid { field, reason } => Problem::field(*field, reason.clone()),
        AlertError::Posted { index, fault, .. } => Problem::bad_request("invalid_alerts", detail)
            .with_errors(vec![FieldError {
                index: Some(*index as u64),
                field: fault.field.into(),
                reason: fault.reason.clone().into(),
            }]),
        AlertError::Incident(error) => crate::routes::incidents::incident(error),
        AlertError::Silence(error) => silence(error),
        AlertError::NotDurable => {
            Problem::busy(StatusCode::SERVICE_UNAVAILABLE, "alert_not_durable", detail, RETRY_AFTER)
        }
        AlertError::Store(error) => metastore(error),
        other => Problem::internal(other),
    }
}

/// A silence that could not be made, changed or found.
pub(crate) fn silence(error: &SilenceError) -> Problem {
    match error {
        SilenceError::NotFound { id } => Problem::not_found("silence", id),
        SilenceError::Invalid { field, reason } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_document", error.to_string())
                .with_errors(vec![FieldError::of(field, reason.clone())])
        }
        SilenceError::TooMany => Problem::new(StatusCode::CONFLICT, "too_many_silences", error.to_string()),
        SilenceError::Store(error) => metastore(error),
        other => Problem::internal(other),
    }
}

/// A token that could not be issued, listed or revoked.
pub(crate) fn token(error: &TokenError) -> Problem {
    let unprocessable = |field| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_token_request", error.to_string())
            .with_errors(vec![FieldError::of(field, error.to_string())])
    };
    match error {
        TokenError::NotFound { id } => Problem::not_found("token", id),
        TokenError::Name => unprocessable("name"),
        TokenError::NoScope => unprocessable("scopes"),
        TokenError::ExpiryPassed => unprocessable("expires_at"),
        TokenError::TooMany => Problem::new(StatusCode::CONFLICT, "too_many_tokens", error.to_string()),
        TokenError::Store(error) => metastore(error),
        other => Problem::internal(other),
    }
}

/// The audit trail failed.
pub(crate) fn audit(error: &AuditError) -> Problem {
    match error {
        AuditError::Store(error) => metastore(error),
        other => Problem::internal(other),
    }
}

/// The metastore failed.
pub(crate) fn metastore(error: &MetastoreError) -> Problem {
    match error {
        MetastoreError::Full => {
            Problem::busy(StatusCode::SERVICE_UNAVAILABLE, "disk_full", error.to_string(), RETRY_AFTER)
        }
        other => Problem::internal(other),
    }
}
