//! An action, what it touches, how it is undone; and the port behind which actions are done.
//!
//! Invariants every [`ActionRunner`] keeps:
//! - `describe`, `look` and `progress` change nothing;
//! - `run` is bounded by the deadline it is given, and says so when it passes: it never hangs;
//! - secrets of an action (tokens, passwords) are in no error, effect or outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing to do: a kind, a target and parameters, fully resolved (no placeholders left).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Kind, such as `docker.restart`, `service.restart`, `cache.flush`, `block.ip`.
    pub kind: String,
    /// What it is done to, as never-touch lists and limits see it: a container, unit, address, key pattern.
    pub target: String,
    /// Parameters of the kind.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
}

impl Action {
    /// A text parameter.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.with.get(name).and_then(Value::as_str)
    }

    /// A whole number parameter.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.with.get(name).and_then(Value::as_i64)
    }
}

/// What an action will do, found without doing it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// One sentence for people: what would happen to what.
    pub summary: String,
    /// The action that undoes it; none when nothing is to undo (a restart) or nothing can.
    pub inverse: Option<Action>,
    /// What else it touches.
    pub reach: Reach,
    /// Whether doing it again after an unknown end is harmless.
    pub is_idempotent: bool,
}

/// How much an action touches: what blast-radius limits are about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    /// Service whose instances it touches, where there is one.
    pub service: Option<String>,
    /// Instances it touches.
    pub touched: u32,
    /// Instances there are; 0 when unknown.
    pub instances: u32,
}

/// What an action did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// One sentence for people: what happened.
    pub summary: String,
    /// The action that undoes it, with what only the doing told (such as the replica count before); wins over
    /// [`Effect::inverse`].
    pub inverse: Option<Action>,
}

/// What is known of an action that may have been done before a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Its effect is there.
    Done,
    /// Its effect is not there.
    NotDone,
    /// Nobody can tell.
    Unknown,
}

/// Why an action was not done. Its text holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// The action makes no sense: a parameter is missing or wrong. Found by `describe`, before anything is done.
    #[error("`{parameter}`: {reason}")]
    Invalid {
        /// Which parameter, or `target`.
        parameter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such target.
    #[error("there is no `{target}`")]
    NotFound {
        /// The target.
        target: String,
    },
    /// The other side cannot be reached: worth an alert of its own.
    #[error("{system} cannot be reached: {detail}")]
    Unreachable {
        /// `docker`, `redis` …
        system: String,
        /// What happened.
        detail: String,
    },
    /// The other side refused or failed.
    #[error("{system}: {detail}")]
    Failed {
        /// `docker`, `redis` …
        system: String,
        /// What it said.
        detail: String,
    },
    /// The deadline passed; whether it was done is not known.
    #[error("not done within {} ms", .after.as_millis())]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
}

/// Does actions of some kinds. One per system: Docker, services, Redis, Kubernetes, webhooks …
pub trait ActionRunner: Send + Sync {
    /// The kinds it does, such as `["docker.restart", "docker.stop", "docker.start"]`.
    fn kinds(&self) -> &'static [&'static str];

    /// Checks parameters and says what the action would do, from the parameters alone: no IO.
    ///
    /// # Errors
    /// [`ActionError::Invalid`].
    fn describe(&self, action: &Action) -> Result<Effect, ActionError>;

    /// Looks at the target, and says what the action would do there: instances found, what is running. Changes nothing.
    ///
    /// # Errors
    /// Any but [`ActionError::Invalid`] when `describe` passed.
    fn look<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Effect, ActionError>>;

    /// Does it.
    ///
    /// # Errors
    /// It was not done, or with [`ActionError::TimedOut`] nobody knows.
    fn run<'a>(
        &'a self,
        action: &'a Action,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Outcome, ActionError>>;

    /// How long after it was begun the other side may still be at it by itself when whoever asked is gone: an engine goes on
    /// with a restart whose caller was killed. Until then, what is not done may yet be, and is not begun again.
    fn lingers(&self, _action: &Action) -> Duration {
        Duration::ZERO
    }

    /// Says whether an action begun at `since` took effect, for resuming after a crash. Changes nothing.
    ///
    /// # Errors
    /// The target cannot be asked.
    fn progress<'a>(
        &'a self,
        action: &'a Action,
        since: Timestamp,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Progress, ActionError>>;
}
