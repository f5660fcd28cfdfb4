//! Verdicts become alerts, and alerts reach people.
//!
//! - [`alerts`]: the alerts of this server: dedup, lifecycle, persistence, lists, live stream
//! - [`lifecycle`]: what a verdict does to an alert and which status follows which: pure
//! - [`feedback`]: how often alerts are right, by what people say of them: pure
//! - [`stream`]: snapshot and deltas for live views
//! - [`dispatch`]: the [`Notifier`] port, its queues and retries; [`notify`]: the channels
//!
//! Not here: deciding what is anomalous (`heimdall-detect`), who may change an alert (`heimdall-guard`), HTTP.

pub mod alerts;
pub mod dispatch;
mod error;
pub mod event;
pub mod feedback;
pub mod lifecycle;
pub mod notify;
mod state;
pub mod stream;
mod writer;

pub use alerts::{AlertConfig, AlertPage, Alerts};
pub use dispatch::{DispatchConfig, Dispatcher, Notifier, NotifyError};
pub use error::AlertError;
pub use event::{AlertEvent, Cause};
pub use feedback::Precision;
pub use heimdall_metastore::{AlertCount, AlertCursor, AlertFilter, FeedbackCount};
pub use lifecycle::{Step, fingerprint};
pub use notify::{SlackError, SlackWebhook, StdoutNotifier, WebhookUrl};
pub use stream::{AlertChange, Delivery, Delta, Snapshot, Subscription};
