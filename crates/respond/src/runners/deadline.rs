//! The deadline of an action, kept for each step of it.
//!
//! Invariant: nothing awaited through a [`Deadline`] outlives it.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::action::ActionError;

/// When an action has to be over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    after: Duration,
    ends: Instant,
}

impl Deadline {
    pub(crate) fn new(after: Duration) -> Deadline {
        // A day is beyond every deadline in use, and keeps the sum within what the clock can say.
        let after = after.min(Duration::from_secs(86_400));
        Deadline { after, ends: Instant::now() + after }
    }

    /// Time left.
    pub(crate) fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// The same, or sooner.
    pub(crate) fn within(self, limit: Duration) -> Deadline {
        let limit = Deadline::new(limit);
        if limit.ends < self.ends { limit } else { self }
    }

    /// What is said of a deed whose connection broke.
    pub(crate) fn unknown(&self) -> ActionError {
        ActionError::TimedOut { after: self.after.saturating_sub(self.left()) }
    }

    /// What an error means when something was changed before it: that nothing was done cannot be said any more.
    pub(crate) fn midway(&self, error: ActionError) -> ActionError {
        if matches!(error, ActionError::Unreachable { .. }) { self.unknown() } else { error }
    }

    /// Awaits something that changes nothing: without an answer in time, the system is unreachable.
    pub(crate) async fn asking<T>(
        &self,
        system: &str,
        limit: Duration,
        question: impl Future<Output = Result<T, ActionError>>,
    ) -> Result<T, ActionError> {
        let limit = self.within(limit);
        timeout_at(limit.ends, question).await.unwrap_or_else(|_| {
            let detail = format!("no answer within {} ms", limit.after.as_millis());
            Err(unreachable(system, detail))
        })
    }

    /// Awaits something that changes the world: without an answer in time, nobody knows.
    pub(crate) async fn doing<T>(
        &self,
        deed: impl Future<Output = Result<T, ActionError>>,
    ) -> Result<T, ActionError> {
        timeout_at(self.ends, deed).await.unwrap_or(Err(ActionError::TimedOut { after: self.after }))
    }
}

pub(crate) fn unreachable(system: &str, detail: impl Into<String>) -> ActionError {
    ActionError::Unreachable { system: system.to_owned(), detail: detail.into() }
}

pub(crate) fn failed(system: &str, detail: impl Into<String>) -> ActionError {
    ActionError::Failed { system: system.to_owned(), detail: detail.into() }
}
