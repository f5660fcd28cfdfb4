//! The log of deliveries, and the decisions behind them: what was told to whom, and why somebody was not told.
//!
//! Invariants:
//! - every alert a notice tells of is in its delivery; every decision names its alert;
//! - both are bounded by age and by number, the oldest go first.

use heimdall_metastore::{Document, DocumentCursor, DocumentStore, MetastoreError};
use heimdall_model::{AlertId, Tenant, Timestamp};
use rand::Rng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::notify::notice::NoticeKind;

pub(crate) const GROUPS: &str = "group";
pub(crate) const DELIVERIES: &str = "delivery";
pub(crate) const DECISIONS: &str = "decision";
/// Rows deleted by one call.
const DELETE_ROWS_MAX: usize = 1_000;

/// What was decided about telling a receiver of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A message of its own was sent.
    Sent,
    /// The message was sent again or changed: more alerts, worse, or still so.
    Updated,
    /// It joined a group whose message is there already.
    Grouped,
    /// It waits, until the time in the detail.
    Waiting,
    /// The message shows that somebody took it.
    Acknowledged,
    /// The receiver was told that it is over.
    Resolved,
    /// Over before the receiver was told of it.
    OverUntold,
    /// Nobody acknowledged: this receiver is told too.
    Escalated,
    /// Told in a digest.
    Digest,
    /// Too many messages: it waits for the next digest.
    RateLimited,
    /// It is `SUPPRESSED`.
    Suppressed,
    /// A silence keeps it quiet.
    Silenced,
    /// A maintenance window does.
    Maintenance,
    /// Another alert does.
    Inhibited,
    /// It comes and goes.
    Flapping,
    /// The route's time intervals do.
    QuietTime,
    /// No route leads to a receiver.
    NoRoute,
    /// The receiver has no channel.
    NoChannel,
    /// The channel did not take it; it is tried again.
    Failed,
    /// It is about the very channel it would go through.
    AboutItself,
    /// The routing changed, and this receiver is not told of it any more.
    Rerouted,
}

/// One decision about an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// For which receiver; none when it concerns them all.
    pub receiver: Option<String>,
    /// What was decided.
    pub outcome: Outcome,
    /// In words: until when, by which silence, after how many attempts.
    pub detail: String,
    /// The delivery it belongs to.
    pub delivery: Option<Uuid>,
}

/// Where a delivery, or its part of one channel, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// On its way.
    Queued,
    /// A channel took it.
    Sent,
    /// No channel took it; its alerts are told by a later one.
    Failed,
    /// The server stopped meanwhile; what was not told is told by a later one.
    Interrupted,
}

impl DeliveryState {
    /// `queued`, `sent`, `failed` or `interrupted`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Queued => "queued",
            DeliveryState::Sent => "sent",
            DeliveryState::Failed => "failed",
            DeliveryState::Interrupted => "interrupted",
        }
    }
}

/// One notice to one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The notice's id.
    pub id: Uuid,
    /// Owner of the alerts.
    pub tenant: Tenant,
    /// Who was told.
    pub receiver: String,
    /// The group, as channels know it.
    pub group_key: String,
    /// Why it was sent.
    pub kind: NoticeKind,
    /// In words.
    pub reason: String,
    /// Every alert it tells of.
    pub alerts: Vec<AlertId>,
    /// Where it is.
    pub state: DeliveryState,
    /// Its channels.
    pub channels: Vec<ChannelDelivery>,
    /// When it was made.
    pub at: Timestamp,
    /// When the last channel was done.
    pub done_at: Option<Timestamp>,
}

/// A delivery's part of one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelDelivery {
    /// The channel within its receiver: `0-slack`.
    pub channel: String,
    /// Where it is.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// The people it was for, as on-call schedules resolved them.
    pub to: Vec<String>,
    /// What the last failure said.
    pub error: Option<String>,
}

/// Which deliveries to list; an absent part lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// To this receiver.
    pub receiver: Option<String>,
    /// In any of these states.
    pub states: Vec<DeliveryState>,
    /// Made at this time or later.
    pub since: Option<Timestamp>,
}

/// Some deliveries, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryPage {
    /// The deliveries.
    pub items: Vec<Delivery>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<DocumentCursor>,
}

impl Delivery {
    pub(crate) fn document(&self) -> Document {
        Document {
            id: self.id.to_string(),
            tenant: self.tenant.clone(),
            at: self.at,
            state: self.state.as_str().to_owned(),
            key: self.receiver.clone(),
            body: json(self),
        }
    }

    /// Whether every channel is done.
    pub(crate) fn is_done(&self) -> bool {
        self.channels.iter().all(|channel| channel.state != DeliveryState::Queued)
    }

    pub(crate) fn was_taken(&self) -> bool {
        self.channels.iter().any(|channel| channel.state == DeliveryState::Sent)
    }
}

/// The decisions of one round about one alert.
pub(crate) fn decisions_document(tenant: &Tenant, alert: AlertId, decisions: &[Decision]) -> Document {
    let at = decisions.last().map_or(Timestamp(0), |decision| decision.at);
    Document {
        id: new_id(at).to_string(),
        tenant: tenant.clone(),
        at,
        state: String::new(),
        key: alert.to_string(),
        body: json(&decisions),
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with text keys is JSON")
}

/// Reads a document's body; one that cannot be read, of a later release perhaps, is left out and counted.
pub(crate) fn read<T: DeserializeOwned>(kind: &'static str, document: &Document) -> Option<T> {
    serde_json::from_str(&document.body)
        .map_err(|error| {
            tracing::warn!(kind, id = document.id, %error, "document not readable");
            metrics::counter!("notification_documents_unreadable_total", "kind" => kind).increment(1);
        })
        .ok()
}

/// UUID version 7.
pub(crate) fn new_id(now: Timestamp) -> Uuid {
    let ms = u64::try_from(now.0 / 1_000_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(ms, &rand::rng().random()).into_uuid()
}

/// Deletes documents in these states (in any, when empty) from before a time, and the oldest beyond a number.
pub(crate) fn bound(
    store: &dyn DocumentStore,
    kind: &str,
    states: &[&str],
    before: Timestamp,
    max: u64,
    now: Timestamp,
) -> Result<(), MetastoreError> {
    while store.delete_before(kind, states, before, DELETE_ROWS_MAX)? == DELETE_ROWS_MAX {}
    let counts = store.counts(kind, None)?;
    let is_counted = |state: &str| states.is_empty() || states.contains(&state);
    let count: u64 = counts.iter().filter(|(state, _)| is_counted(state)).map(|(_, count)| count).sum();
    let mut excess = usize::try_from(count.saturating_sub(max)).unwrap_or(usize::MAX);
    while excess > 0 {
        let deleted = store.delete_before(kind, states, now, excess.min(DELETE_ROWS_MAX))?;
        if deleted == 0 {
            break;
        }
        excess -= deleted.min(excess);
    }
    Ok(())
}
