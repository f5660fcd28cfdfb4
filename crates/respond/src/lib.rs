//! What is done about an alert: playbooks choose actions, safety allows them, runners do them, verification proves them.
//!
//! - [`action`]: an action, what it touches and how it is undone; the port [`ActionRunner`] behind which actions are done
//!
//! Not here: deciding what is anomalous (`heimdall-detect`), telling people (`heimdall-alert`).

pub mod action;

pub use action::{Action, ActionError, ActionRunner, Effect, Outcome, Progress, Reach};
