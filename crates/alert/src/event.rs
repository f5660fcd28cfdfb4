//! What happened to an alert, for whoever tells people and heals.

use std::sync::Arc;

use heimdall_model::{Alert, Status};

/// A change of one alert that is stored, with the alert as it was then.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertEvent {
    /// The alert.
    pub alert: Arc<Alert>,
    /// What happened to it.
    pub cause: Cause,
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is new, or came back.
    Raised,
    /// Its severity rose.
    Worse,
    /// Its status changed.
    Status {
        /// What it was.
        from: Status,
    },
    /// Nobody is to be told of it any more.
    Muted,
    /// People are to be told of it again.
    Unmuted,
    /// Something else people see: assignee, comment, priority.
    Changed,
}
