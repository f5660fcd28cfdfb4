//! What the API asks of whoever keeps rules and detectors, and of the machine; the binary, which wires them, implements it.
//!
//! Invariants every implementation keeps:
//! - a change is durable when the call returns `Ok`, and is in force from the next batch the stream takes;
//! - what one tenant does with rules changes nothing for another: its own rules are about its records, a mode is for it alone;
//! - detectors are the server's: who changes them speaks for all tenants (the caller checks).
//!
//! Calls block on disk and on the compiling of rules: from a blocking thread.

use std::time::Duration;

use heimdall_detect::{DetectConfig, Mode, RuleError, RuleFile, RuleSet};
use heimdall_metastore::MetastoreError;
use heimdall_model::{Tenant, Timestamp};
use heimdall_query::search;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Rules of its own that a tenant may keep.
pub const OWN_RULES_MAX: usize = 500;
/// Bytes of one rule of a tenant, as YAML.
pub const RULE_BYTES_MAX: usize = 64 * 1024;
/// Documents in the YAML of one rule: a correlation comes with the rules it names.
pub const RULE_DOCUMENTS_MAX: usize = 20;
/// Rules a tenant may have switched off or put into rehearsal.
pub const MODES_MAX: usize = 10_000;
/// Smallest factor on the thresholds of a detector that a person may set.
pub const THRESHOLD_FACTOR_MIN: f64 = 0.25;
/// Largest factor on the thresholds of a detector that a person may set.
pub const THRESHOLD_FACTOR_MAX: f64 = 4.0;

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleOrigin {
    /// It comes with the product.
    BuiltIn,
    /// The folder of the operator.
    Folder,
    /// The tenant keeps it here.
    Own,
}

/// The text of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSource {
    /// As written.
    pub yaml: String,
    /// The file, or what stands for one.
    pub file: String,
    /// Line of `yaml` in that file, from 1.
    pub line: usize,
    /// Where it comes from.
    pub origin: RuleOrigin,
    /// Who keeps it, and since when; of a tenant's own rule only.
    pub kept: Option<Kept>,
}

/// The life of a document that people change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Counts its changes, from 1.
    pub revision: u64,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Who changed it last.
    pub updated_by: String,
    /// When.
    pub updated_at: Timestamp,
}

/// What shall be different about a detector; what is absent stays.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DetectorChange {
    /// Whether it runs.
    pub enabled: Option<bool>,
    /// Whether its findings raise nothing.
    pub dry_run: Option<bool>,
    /// Factor on its thresholds, beside that of the feedback.
    pub threshold_factor: Option<f64>,
}

/// Why rules or detectors were not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// There is none.
    #[error("no {what} `{id}`")]
    NotFound {
        /// `rule` or `detector`.
        what: &'static str,
        /// Its id, cut short.
        id: String,
    },
    /// The rule is not the tenant's own.
    #[error("rule `{id}` is not the tenant's own: switch it off or to rehearsal, or write one of another id")]
    NotOwn {
        /// Its id.
        id: String,
    },
    /// Somebody else changed it meanwhile.
    #[error("`{id}` is at revision {current}: read it again")]
    Revision {
        /// Its id.
        id: String,
        /// Where it is now; 0 when it is not there.
        current: u64,
    },
    /// It does not load.
    #[error("the rule does not load: {}", faults.first().map(ToString::to_string).unwrap_or_default())]
    Invalid {
        /// Everything that is wrong.
        faults: Vec<RuleError>,
    },
    /// Something that was asked for does not fit.
    #[error("`{field}`: {reason}")]
    Field {
        /// Of the request.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit is reached.
    #[error("there are {max} {what} already")]
    TooMany {
        /// What.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The metastore failed; nothing was changed.
    #[error(transparent)]
    Store(#[from] MetastoreError),
}

/// Keeps rules and the tuning of detectors.
pub trait Desk: Send + Sync {
    /// The text of a rule that is in force for a tenant, or that the tenant keeps; `None` when there is none.
    ///
    /// # Errors
    /// The metastore cannot be read.
    fn rule(&self, tenant: &Tenant, id: &str) -> Result<Option<RuleSource>, DeskError>;

    /// Whether the id is of a rule that is not the tenant's own, and in force for it.
    fn is_shared(&self, id: &str) -> bool;

    /// A rule that is in force for a tenant, compiled alone, with what it needs: pipelines, and the rules it correlates.
    ///
    /// # Errors
    /// [`DeskError::NotFound`].
    fn compiled(&self, tenant: &Tenant, id: &str) -> Result<RuleSet, DeskError>;

    /// Makes or changes a rule of a tenant. `revision` is the one that was read; 0 makes a new one.
    ///
    /// # Errors
    /// [`DeskError::Invalid`] when it does not load; nothing is changed by any error.
    fn put_rule(
        &self,
        tenant: &Tenant,
        id: &str,
        yaml: &str,
        revision: u64,
        by: &str,
    ) -> Result<RuleSource, DeskError>;

    /// Removes a rule of a tenant; its mode goes with it.
    ///
    /// # Errors
    /// [`DeskError::NotFound`], [`DeskError::NotOwn`], [`DeskError::Revision`].
    fn delete_rule(&self, tenant: &Tenant, id: &str, revision: Option<u64>) -> Result<(), DeskError>;

    /// Says what becomes of the findings of a rule of a tenant.
    ///
    /// # Errors
    /// [`DeskError::NotFound`].
    fn set_mode(&self, tenant: &Tenant, id: &str, mode: Mode, by: &str) -> Result<(), DeskError>;

    /// The configuration of the detectors as it is in force: as it was read, with what people and feedback changed.
    fn config(&self) -> DetectConfig;

    /// The same, had a person set this factor on the thresholds of a detector.
    ///
    /// # Errors
    /// [`DeskError::NotFound`], [`DeskError::Field`].
    fn config_with(&self, detector: &str, factor: f64) -> Result<DetectConfig, DeskError>;

    /// Changes a detector.
    ///
    /// # Errors
    /// [`DeskError::NotFound`], [`DeskError::Field`].
    fn tune(&self, detector: &str, change: DetectorChange, by: &str) -> Result<(), DeskError>;

    /// How long an alert is quiet before it is resolved.
    fn resolve_after(&self) -> Duration;
}

/// Shares of what the machine has, 0 to 1; `None` where it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Saturation {
    /// Processors that were busy since the last look.
    pub cpu: Option<f64>,
    /// Of it, by this process.
    pub cpu_own: Option<f64>,
    /// Memory in use; within a container with a limit, of that.
    pub memory: Option<f64>,
    /// Of it, by this process.
    pub memory_own: Option<f64>,
    /// Space in use on the disk of the data folder.
    pub disk: Option<f64>,
}

/// The disk of the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct DiskSpace {
    /// Bytes that may be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Free space below which records are refused.
    pub refuse_below_bytes: u64,
    /// Free space below which old segments leave the folder; 0: never.
    pub shed_below_bytes: u64,
}

/// The machine the server is on, and the part of its memory that outlives it.
pub trait Machine: Send + Sync {
    /// What is in use. Called once a second, by one caller; reads a few small files.
    fn saturation(&self) -> Saturation;

    /// The disk of the data folder; `None` when it cannot be asked.
    fn disk(&self) -> Option<DiskSpace>;

    /// Everything kept under [`Machine::keep_vitals`], oldest first.
    ///
    /// # Errors
    /// The metastore cannot be read.
    fn vitals(&self) -> Result<Vec<String>, MetastoreError>;

    /// Keeps the vitals of one hour in place of what was kept of it, and forgets those from before `forget_before`.
    ///
    /// # Errors
    /// The metastore cannot be written.
    fn keep_vitals(
        &self,
        hour: Timestamp,
        document: &str,
        forget_before: Timestamp,
    ) -> Result<(), MetastoreError>;
}

/// Compiles files of rules; their conditions are search lines.
#[must_use]
pub fn compile_rules(files: &[RuleFile]) -> (RuleSet, Vec<RuleError>) {
    RuleSet::load(files, &|line, dataset| {
        search::parse_filter(line, dataset, Timestamp::default()).map_err(|error| {
            heimdall_detect::FilterFault {
                reason: error.message,
                column: Some(error.column),
                hint: error.hint,
            }
        })
    })
}
