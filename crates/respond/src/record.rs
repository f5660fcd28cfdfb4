//! The action log: one JSON object per thing that happened, `{timestamp, level, event, metric, value, action, target}`.

use heimdall_model::Timestamp;
use serde_json::{Value, json};

use crate::run::Run;

/// `tracing` target of the lines.
pub const TARGET: &str = "heimdall::actions";

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordLevel {
    /// Something was done.
    Info,
    /// Something is wrong.
    Warning,
    /// Something did not work.
    Error,
}

impl RecordLevel {
    /// `INFO`, `WARNING` or `ERROR`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RecordLevel::Info => "INFO",
            RecordLevel::Warning => "WARNING",
            RecordLevel::Error => "ERROR",
        }
    }
}

/// A line of the action log: `event` such as `anomaly_detected`, `action_begun`, `action_done`, `action_failed`,
/// `rollback_done`, `verified`; `action` with underscores for dots.
#[must_use]
pub fn action_record(
    at: Timestamp,
    level: RecordLevel,
    event: &str,
    run: &Run,
    kind: &str,
    target: &str,
) -> Value {
    json!({
        "timestamp": at.to_string(),
        "level": level.as_str(),
        "event": event,
        "metric": run.alert.metric,
        "value": run.alert.value,
        "action": kind.replace('.', "_"),
        "target": target,
    })
}

/// Writes a line of the action log.
pub(crate) fn log(at: Timestamp, level: RecordLevel, event: &str, run: &Run, kind: &str, target: &str) {
    let record = action_record(at, level, event, run, kind, target);
    let run = run.id;
    match level {
        RecordLevel::Info => tracing::info!(target: TARGET, %run, %record, "{event}"),
        RecordLevel::Warning => tracing::warn!(target: TARGET, %run, %record, "{event}"),
        RecordLevel::Error => tracing::error!(target: TARGET, %run, %record, "{event}"),
    }
}
