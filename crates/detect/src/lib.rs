//! Detectors: pure state machines that read records in journal order and say what is anomalous, and why.
//!
//! - [`judge`]: all detectors together, as the stream runs them; [`detector`]: the trait each of them is
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
//! - [`console`]: the audit line of one assessment
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
pub mod judge;
pub mod models;
pub mod multivariate;
pub mod rules;
pub mod scan;
pub mod sigma;
pub mod signature;
pub mod templates;
pub mod threshold;
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
pub use rules::{Rule, RuleError, RuleSet, SampleFailure};
