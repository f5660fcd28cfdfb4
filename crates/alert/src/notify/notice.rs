//! What a channel is asked to tell, and the port every channel is behind.
//!
//! Invariants:
//! - a notice shows at most [`NOTICE_ALERTS_MAX`] alerts, the worst first, and says how many there are;
//! - one call of [`Notifier::send`] is one attempt with a deadline of its own: retries, rates and the log belong to whoever calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_model::{Alert, Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Alerts one notice carries; it says how many more there are.
pub const NOTICE_ALERTS_MAX: usize = 50;

/// Why a notice is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The group is new to the receiver.
    Raised,
    /// More alerts joined, one grew worse, or it is still so after the repeat interval.
    Updated,
    /// Somebody took it.
    Acknowledged,
    /// Nobody took it in time: somebody else is told.
    Escalated,
    /// Over.
    Resolved,
    /// Many groups in one message, by schedule or because there were too many to tell one by one.
    Digest,
    /// Somebody tries the channel.
    Test,
}

/// One message for one receiver about one group of alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Its id, UUID version 7; the same over all attempts.
    pub id: Uuid,
    /// Owner of the alerts.
    pub tenant: Tenant,
    /// Name of the receiver, as routing has it.
    pub receiver: String,
    /// Why it is sent.
    pub kind: NoticeKind,
    /// Stable name of the group for this receiver, at most 255 bytes: what PagerDuty and others deduplicate by.
    pub group_key: String,
    /// The labels all alerts of the group share by its `group_by`.
    pub group_labels: BTreeMap<String, String>,
    /// Alerts shown, the worst and newest first; those resolved since the last notice too.
    pub alerts: Vec<Arc<Alert>>,
    /// Alerts in the group, those not shown too.
    pub total: usize,
    /// In words, why now: `new`, `2 more alerts`, `not acknowledged for 15m` …
    pub reason: String,
    /// People or addresses it is for, as on-call rotations resolved them; empty where the channel has an address of its own.
    pub to: Vec<String>,
    /// Address of Heimdall as people reach it, such as `https://heimdall.example.org`; none when not configured.
    pub base_url: Option<String>,
    /// When it was made.
    pub at: Timestamp,
}

/// What a channel needs to change or answer its earlier message of the group: Slack's `ts`, an email's `Message-ID`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt(pub Value);

/// An unsuccessful attempt to tell somebody. Its text never holds the secret of the channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct NotifyError {
    /// Whether the same attempt may succeed later.
    pub is_retryable: bool,
    /// How long the other side asked to wait.
    pub retry_after: Option<Duration>,
    /// What went wrong.
    pub detail: String,
}

/// A channel to people.
pub trait Notifier: Send + Sync {
    /// What it is: `stdout`, `slack`, `pagerduty`, `email`, `webhook` …: short, and the same for ever.
    fn kind(&self) -> &'static str;

    /// Whether it shows in its earlier message that somebody took the alerts, or that they are over, without a new one: what
    /// bothers nobody is told to such channels alone.
    fn mirrors(&self) -> bool {
        matches!(self.kind(), "slack" | "pagerduty" | "opsgenie" | "webhook" | "alertmanager")
    }

    /// Tries once to tell. `previous` is what the channel returned for the group's last notice. It may be asked to tell the
    /// same notice twice, when a stop came between delivery and its record.
    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>>;
}
