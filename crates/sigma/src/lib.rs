//! Sigma rules: the security community's format for detections, read, mapped to the fields at hand, and matched by
//! thousands at line rate.
//!
//! - [`collection`]: files of rules; [`rule`]: one as written; [`correlation`]: rules about several events
//! - [`pipeline`]: from Sigma's field names to those of the events, as data
//! - [`router`]: which log sources an event is of
//! - [`event`]: what a rule sees of an event; [`engine`]: rules ready to run
//! - [`correlator`]: correlations over event time, with bounded state
//! - [`batch()`]: events as JSON lines in, ids of matching rules out
//!
//! Invariants:
//! - no clock, no async; files are read by [`Collection::add_folder`] only;
//! - a rule that cannot be used is named with file, line and reason, and the others work;
//! - with and without the prefilter the same rules match.
//!
//! Source: the Sigma specification 2.1 (rules, modifiers, correlations, filters) by SigmaHQ.

pub mod collection;
pub mod correlation;
pub mod correlator;
pub mod engine;
pub mod error;
pub mod event;
pub mod pipeline;
pub mod router;
pub mod rule;

mod batch;
mod condition;
mod fold;
mod modifiers;
mod network;
mod prefilter;
mod program;
mod regexes;
#[cfg(test)]
mod semantics;
mod text;
mod time;

pub use batch::{BatchSummary, batch};
pub use collection::Collection;
pub use correlation::{Correlation, CorrelationSet};
pub use correlator::{Correlated, Correlator, CorrelatorLimits, Seen};
pub use engine::{Engine, Ground, Matcher, MatcherCounters, RuleIndex};
pub use error::LoadError;
pub use event::{Event, Value};
pub use modifiers::Placeholders;
pub use pipeline::Pipeline;
pub use router::Router;
pub use rule::{Level, LogSource, Metadata, Rule, Status};
