//! Why an alert could not be found or changed.

use heimdall_metastore::MetastoreError;
use heimdall_model::{AlertId, Status};

use crate::incident::IncidentError;
use crate::posted::PostedFault;
use crate::silence::SilenceError;

/// Why an alert could not be found or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AlertError {
    /// No such alert, or it belongs to another tenant.
    #[error("alert `{id}` not found")]
    NotFound {
        /// The id asked for.
        id: AlertId,
    },
    /// The lifecycle has no such step.
    #[error("alert `{id}` is {from} and cannot become {to}")]
    Conflict {
        /// The alert.
        id: AlertId,
        /// Its status.
        from: Status,
        /// The status asked for.
        to: Status,
    },
    /// A resolved alert cannot be reopened because its finding came back as a new alert.
    #[error("alert `{id}` came back as alert `{newer}`: work on that one")]
    Superseded {
        /// The alert.
        id: AlertId,
        /// The one that took its place.
        newer: AlertId,
    },
    /// A value of the change cannot be.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which one.
        field: &'static str,
        /// Why it cannot be.
        reason: String,
    },
    /// Posted alerts cannot be; the others of the call are taken.
    #[error("{refused} posted alerts are refused, the first is alert {index}: {fault}")]
    Posted {
        /// Place of the first in the call, from 0.
        index: usize,
        /// What is wrong with it.
        fault: PostedFault,
        /// How many there are.
        refused: usize,
    },
    /// The incident cannot be changed so.
    #[error(transparent)]
    Incident(#[from] IncidentError),
    /// The silences cannot be read.
    #[error(transparent)]
    Silence(#[from] SilenceError),
    /// The change holds and is shown, but is not durable yet: the metastore does not answer. It is written when it does.
    #[error("the alert is not stored yet: the metastore does not answer")]
    NotDurable,
    /// The metastore failed.
    #[error(transparent)]
    Store(#[from] MetastoreError),
    /// The writer thread could not be started.
    #[error("could not start the alert writer")]
    Start(#[source] std::io::Error),
}
