//! Detectors: pure state machines that read records in journal order and say what is anomalous, and why.
//!
//! - [`judge`]: all detectors together, as the stream runs them; [`detector`]: the trait each of them is
//! - [`switch`]: detectors on and off by name
//! - [`adjust`]: from what people say of alerts to a factor on thresholds
//! - [`config`]: every threshold with its unit, default and reason
//! - [`zscore`], [`threshold`]: values that leave their baseline, or a fixed bound
//! - [`baseline`]: values rarer than the history of their series; [`univariate`]: the score it is made of
//! - [`multivariate`]: ranges of rows unlike a training table
//! - [`flood`], [`error_rate`]: too many records, too many failed ones
//! - [`auth`]: failed-login bursts, password spraying, success after brute force
//! - [`signature`], [`sigma`]: rules as data (see [`rules`]), read from the `rules/` folder
//! - [`web`]: attacks in requests; [`scan`]: many paths, ports or hosts tried by one source
//! - [`templates`]: what log messages are: new, vanished and shifted templates, values, levels, and fast users
//! - [`ensemble`]: learnt models over windows of each service (see [`models`]), which speak when they agree
//! - [`modes`]: rules that are off or in rehearsal for some tenants; [`trial`]: rules tried on records, without consequence
//! - [`console`]: the audit line of one assessment; [`hint`]: what was meant by a name that is not known
//!
//! Invariants:
//! - no IO, no clock, no async: time is the records' event time and the batches' arrival time;
//! - the same batches in the same order give the same findings, also across a snapshot and however rows are grouped;
//! - memory is bounded: every detector keeps at most `keys_max` keys of a stated size.
//!
//! Not here: what happens to a verdict (see `heimdall-alert`), where snapshots and rule files are kept.

pub mod adjust;
pub mod auth;
pub mod availability;
pub mod baseline;
pub mod config;
pub mod console;
pub mod detector;
pub mod ensemble;
pub mod error_rate;
pub mod flood;
pub mod hint;
pub mod judge;
pub mod models;
pub mod modes;
pub mod multivariate;
pub mod rules;
pub mod scan;
pub mod sigma;
pub mod signature;
pub mod switch;
pub mod templates;
pub mod threshold;
pub mod trial;
pub mod univariate;
pub mod web;
pub mod zscore;

mod arrival;
mod buckets;
mod fields;
mod hits;
mod keyed;
mod snapshot;
#[cfg(test)]
mod testing;

pub use config::{ConfigError, DetectConfig, Period};
pub use detector::{Counters, Detector, Findings, Observed, SnapshotError};
pub use judge::{DetectorStatus, Judge};
pub use modes::{Mode, Modes};
pub use rules::{FilterFault, Rule, RuleError, RuleFile, RuleSet, SampleFailure};
pub use trial::{AlertCount, RuleInfo, RuleKind, Trial};
