//! What the API reads of parts that run beside it; the binary, which wires them, implements it.

use std::time::Duration;

use heimdall_model::{Dataset, Judged, Severity, Tenant};
use serde::Serialize;
use utoipa::ToSchema;

use crate::desk::RuleOrigin;

/// Whether the server can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It takes records and answers queries.
    Ready,
    /// Not yet or no longer, and why.
    NotReady(String),
}

/// Where the stream stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StreamView {
    /// Last journal frame that is durable.
    pub durable_seq: u64,
    /// Last journal frame that is findable and judged.
    pub processed_seq: u64,
    /// Bytes the journal occupies on disk.
    pub journal_bytes: u64,
    /// Records processed since the server started.
    pub records: u64,
    /// Why segments cannot be written at the moment.
    pub trouble: Option<String>,
}

/// A detector and how it fares since the server started.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DetectorView {
    /// Its name: `zscore`, `flood`, `auth` …
    pub name: String,
    /// Whether it runs.
    pub enabled: bool,
    /// Keys (services, sources, users …) it keeps state of.
    pub keys: u64,
    /// Records it was shown.
    pub evaluated: u64,
    /// Findings, those in rehearsal too.
    pub verdicts: u64,
    /// Findings that raised no alert, because the detector or the rule is in rehearsal.
    pub rehearsed: u64,
    /// Findings that were only counted, because their rule is off for the tenant.
    pub silenced: u64,
    /// Records later than the allowed lateness, left out.
    pub late: u64,
    /// Records too far ahead of the clock, judged at their arrival time.
    pub ahead: u64,
    /// Values that are no finite numbers, left out.
    pub invalid: u64,
    /// Keys forgotten because there were too many or they were idle.
    pub evicted: u64,
    /// Factor on its thresholds that follows from feedback: 1 leaves them as configured, more makes it less sensitive.
    pub adjustment: f64,
    /// Factor on its thresholds that a person set, beside it; 1 when nobody did.
    pub threshold_factor: f64,
    /// Whether it has thresholds that a factor moves.
    pub adjustable: bool,
    /// Whether all of its findings are in rehearsal.
    pub dry_run: bool,
    /// What a person changed about it, and is kept; null when nobody did.
    pub tuned: Option<TunedView>,
}

/// Who changed a detector last.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TunedView {
    /// Whether it runs, where a person said so.
    pub enabled: Option<bool>,
    /// Whether its findings raise nothing, where a person said so.
    pub dry_run: Option<bool>,
    /// Factor on its thresholds, where a person set one.
    pub threshold_factor: Option<f64>,
    /// Who.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: heimdall_model::Timestamp,
}

/// A loaded rule.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RuleView {
    /// Stable id.
    pub id: String,
    /// Short name for people.
    pub title: String,
    /// What it finds and why that matters.
    pub description: String,
    /// Severity of its findings.
    #[schema(value_type = String, example = "WARNING")]
    pub severity: Severity,
    /// Dataset it reads.
    #[schema(value_type = String, example = "logs")]
    pub dataset: Dataset,
    /// The condition, as a search line.
    pub when: String,
    /// What to do, one step each.
    pub mitigation: Vec<String>,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// File it came from.
    pub file: String,
    /// `signature` (a rule of Heimdall's own kind), `sigma` or `correlation` (of Sigma).
    pub kind: &'static str,
    /// In the rule's own words: `warning` or `critical`; of Sigma `informational`, `low`, `medium`, `high` or `critical`.
    pub level: &'static str,
    /// Tags, such as `attack.t1110`.
    pub tags: Vec<String>,
    /// `built_in`, `folder` or `own`: only the tenant's own can be changed.
    pub origin: RuleOrigin,
    /// What becomes of its findings for this tenant: `on`, `dry_run` or `off`.
    pub mode: &'static str,
    /// Counts the changes of one's own rule; 0 for others.
    pub revision: u64,
}

/// A rule that could not be loaded; the others are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RuleFault {
    /// The file.
    pub file: String,
    /// Line in the file, from 1, when known.
    pub line: Option<usize>,
    /// Character in the line, from 1, when known.
    pub column: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

/// Who writes what is in memory to segments.
pub trait Writer: Send + Sync {
    /// Waits until every record accepted before is in a segment; `false` when it is not in time. Blocks.
    fn write_out(&self, timeout: Duration) -> bool;
}

/// State of the running parts. Calls are cheap: they run on async threads.
pub trait StatusSource: Send + Sync {
    /// Whether records are taken and queries answered.
    fn readiness(&self) -> Readiness;
    /// How far the stream has come.
    fn stream(&self) -> StreamView;
    /// Every detector, by name.
    fn detectors(&self) -> Vec<DetectorView>;
    /// Every rule that is in force for a tenant, by id.
    fn rules(&self, tenant: &Tenant) -> Vec<RuleView>;
    /// Whether a rule whose alerts people judged so had better be in rehearsal (`detect.dry_run`), and is not yet.
    fn is_better_rehearsed(&self, rule: &str, judged: Judged) -> bool;
    /// Rules that could not be loaded: everybody's, and the tenant's own.
    fn rule_faults(&self, tenant: &Tenant) -> Vec<RuleFault>;
}
