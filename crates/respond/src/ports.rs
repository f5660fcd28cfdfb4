//! What the responder needs of the rest of Heimdall: the state of alerts, probes, the audit trail, people.
//!
//! Invariants every implementation keeps:
//! - a call ends within its deadline, or soon after; the responder gives it up then anyway;
//! - [`Ledger::record`] returns `Ok` only once the line is durable: an action whose line cannot be written is not begun;
//! - [`Escalation`] may be told the same twice (after a crash): the same id is the same notice.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use heimdall_metastore::Metastore;
use heimdall_model::{Alert, AlertId, Clock, LabelMatcher, Severity, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

use crate::action::ActionRunner;
use crate::config::span;

/// Everything a responder stands on.
#[derive(Clone)]
pub struct Ports {
    /// Who does actions; each kind belongs to the first that has it.
    pub runners: Vec<Arc<dyn ActionRunner>>,
    /// Where runs are kept.
    pub metastore: Arc<dyn Metastore>,
    /// How things are.
    pub health: Arc<dyn Health>,
    /// Where every action leaves its line.
    pub ledger: Arc<dyn Ledger>,
    /// Whom to tell when the machine cannot help.
    pub escalation: Arc<dyn Escalation>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// One question about the world, whose answer proves that an action helped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Probe {
    /// An address answers as expected.
    Http {
        /// Absolute `http` or `https` address.
        url: String,
        /// Status expected; none: any below 400.
        status: Option<u16>,
        /// Text the body (its first 64 KiB) must hold.
        contains: Option<String>,
    },
    /// A port accepts connections.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A container runs, and is healthy if it says so at all.
    Container {
        /// Name or id.
        name: String,
    },
    /// The one number a search line or statement answers lies within bounds.
    Query {
        /// The question, such as `service:payment level>=error last 1m | stats count()`.
        query: String,
        /// Healthy at most here.
        at_most: Option<f64>,
        /// Healthy at least here.
        at_least: Option<f64>,
    },
}

/// The answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// Whether all is well.
    pub is_healthy: bool,
    /// What was seen, for people.
    pub detail: String,
}

/// A question could not be asked; the responder takes it for not healthy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HealthError(pub String);

/// How things are.
pub trait Health: Send + Sync {
    /// Returns the alert as it is now; none when it is gone.
    ///
    /// # Errors
    /// Nobody can say.
    fn alert<'a>(
        &'a self,
        tenant: &'a Tenant,
        id: AlertId,
    ) -> BoxFuture<'a, Result<Option<Arc<Alert>>, HealthError>>;

    /// Whether an `OPEN` or `ACKNOWLEDGED` alert of the tenant other than this one passes all matchers.
    ///
    /// # Errors
    /// Nobody can say.
    fn is_live<'a>(
        &'a self,
        tenant: &'a Tenant,
        matchers: &'a [LabelMatcher],
        except: AlertId,
    ) -> BoxFuture<'a, Result<bool, HealthError>>;

    /// Asks a probe. [`crate::Prober`] does all but queries.
    ///
    /// # Errors
    /// It could not be asked; an address that does not answer is an answer, not an error.
    fn probe<'a>(
        &'a self,
        tenant: &'a Tenant,
        probe: &'a Probe,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Probed, HealthError>>;
}

/// A line could not be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LedgerError(pub String);

/// One line of what the responder did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// When.
    pub at: Timestamp,
    /// Owner.
    pub tenant: Tenant,
    /// Who: a principal, or `heimdall`.
    pub principal: String,
    /// What: `response.act`, `response.done`, `response.approve` …; see [`crate::run::event`].
    pub action: String,
    /// How it stands.
    pub outcome: LedgerOutcome,
    /// Rule of the alert; empty where no alert is concerned.
    pub rule: String,
    /// Playbook with its version, as `restart-on-memory v1 (3f2a…)`; empty where none is concerned.
    pub playbook: String,
    /// Run; empty where none is concerned.
    pub run: String,
    /// Kind of action; empty where none is concerned.
    pub kind: String,
    /// Target of the action, or what else was touched.
    pub target: String,
    /// Whether nothing was touched.
    pub is_dry_run: bool,
    /// Whether it undoes an earlier action.
    pub is_rollback: bool,
    /// More, in words; no secrets.
    pub detail: String,
}

/// How what a line tells of ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerOutcome {
    /// It is about to be done.
    Begun,
    /// Done.
    Done,
    /// Not allowed.
    Denied,
    /// Tried and failed.
    Failed,
}

/// Where every action leaves its line. Called from blocking threads.
pub trait Ledger: Send + Sync {
    /// Writes a line; durable when `Ok`.
    ///
    /// # Errors
    /// It is not written.
    fn record(&self, entry: &LedgerEntry) -> Result<(), LedgerError>;
}

/// What people are told when the machine cannot help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Escalated {
    /// The same id is the same notice: `run:<id>` or `unreachable:<system>`.
    pub id: String,
    /// Owner.
    pub tenant: Tenant,
    /// Rule of the alert to raise: `response.failed` or `response.unreachable`.
    pub rule: String,
    /// How bad.
    pub severity: Severity,
    /// Short name.
    pub title: String,
    /// What happened, and what is left to do.
    pub summary: String,
    /// Service concerned.
    pub service: Option<String>,
    /// The alert whose run failed.
    pub alert: Option<AlertId>,
    /// Whether somebody is to be paged whatever the routes say.
    pub page: bool,
    /// When.
    pub at: Timestamp,
}

/// A notice could not be handed over; it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EscalationError(pub String);

/// Whom to tell: the binary posts an alert.
pub trait Escalation: Send + Sync {
    /// Tells.
    ///
    /// # Errors
    /// Nobody was told.
    fn raise<'a>(&'a self, notice: &'a Escalated) -> BoxFuture<'a, Result<(), EscalationError>>;

    /// What the notice of this id told of is over. An unknown id is `Ok`.
    ///
    /// # Errors
    /// The notice stands.
    fn resolve<'a>(&'a self, tenant: &'a Tenant, id: &'a str) -> BoxFuture<'a, Result<(), EscalationError>>;
}

/// What proves that an action helped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The alert is resolved, or its detector found nothing for this long.
    AlertQuiet {
        /// How long.
        #[serde(with = "span")]
        quiet_for: Duration,
    },
    /// A probe is healthy.
    Probe(Probe),
}
