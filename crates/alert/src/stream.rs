//! Live views: a snapshot, then deltas with sequence numbers.
//!
//! Invariants:
//! - every delta has the sequence number after the one before it; all alerts of the server share one sequence;
//! - an alert is raised exactly once: either a snapshot with number `s` shows it, or a delta after `s` raises it;
//! - repeats are told at most once per [`crate::alerts::WRITE_INTERVAL`] and alert, with the alert as it is then; such a delta
//!   may repeat what a snapshot already shows;
//! - a subscriber that falls behind by [`DELTAS_KEPT`] gets a [`Delivery::Gap`], never a silent loss.

use std::sync::Arc;

use heimdall_model::{Alert, Tenant};
use tokio::sync::broadcast::{self, error::RecvError};

/// Deltas kept for slow subscribers; one further behind gets a gap.
pub const DELTAS_KEPT: usize = 4_096;

/// A change of one alert, with the alert as it is now.
#[derive(Debug, Clone, PartialEq)]
pub enum AlertChange {
    /// It is new.
    Raised(Arc<Alert>),
    /// It was seen again, changed status, or somebody was told.
    Updated(Arc<Alert>),
}

impl AlertChange {
    /// The alert.
    #[must_use]
    pub fn alert(&self) -> &Arc<Alert> {
        match self {
            AlertChange::Raised(alert) | AlertChange::Updated(alert) => alert,
        }
    }
}

/// A change with its place in the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// Place in the stream; restarts at 1 with the server.
    pub seq: u64,
    /// The change.
    pub change: AlertChange,
}

/// The newest alerts at one moment of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Number of the last delta it includes.
    pub seq: u64,
    /// Alerts, newest first by `raised_at`.
    pub alerts: Vec<Arc<Alert>>,
}

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// A change.
    Delta(Delta),
    /// The subscriber was too slow: this many deltas (of all tenants) are lost to it; a new snapshot shows the present.
    Gap {
        /// How many.
        missed: u64,
    },
}

/// The deltas from one moment on.
pub struct Subscription {
    deltas: broadcast::Receiver<Delta>,
    tenant: Option<Tenant>,
    /// Deltas up to this are in the snapshot the subscriber has.
    after_seq: u64,
}

impl Subscription {
    pub(crate) fn new(deltas: broadcast::Receiver<Delta>, tenant: Option<&Tenant>, after_seq: u64) -> Self {
        Subscription { deltas, tenant: tenant.cloned(), after_seq }
    }

    /// Waits for the next delta of the subscriber's tenant, or a gap; `None` once the alerts are closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            match self.deltas.recv().await {
                Ok(delta) if self.wants(&delta) => return Some(Delivery::Delta(delta)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some(Delivery::Gap { missed }),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&self, delta: &Delta) -> bool {
        delta.seq > self.after_seq
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == delta.change.alert().tenant)
    }
}
