//! Plain data shared by every role of Heimdall: no IO, no async, no wire formats.
//!
//! - [`time`]: nanosecond timestamps, their text forms, the `Clock` port
//! - [`schema`]: the datasets and their canonical fields and aliases
//! - [`attributes`]: reading one value out of the catch-all JSON object
//! - [`batch`]: records of one dataset in columns, the form that travels the road; [`codec`]: its bytes in the journal
//! - [`value`]: one value of one field
//! - [`id`]: journal positions and the record ids derived from them
//! - [`filter`]: the filter tree behind every language and every rule; [`matcher`]: its compiled form
//! - [`verdict`]: what detectors say; [`alert`]: what people are told
//! - [`label`]: conditions on an alert's labels, as silences, routes and playbooks write them
//! - [`size`]: numbers of bytes as people write them
//! - [`tenant`], [`level`]: small closed vocabularies

pub mod alert;
pub mod attributes;
pub mod batch;
pub mod codec;
pub mod filter;
pub mod id;
pub mod label;
pub mod level;
pub mod matcher;
pub mod schema;
pub mod size;
pub mod tenant;
pub mod time;
pub mod value;
pub mod verdict;

pub use alert::{
    Alert, AlertId, Comment, Feedback, FeedbackVerdict, IncidentId, Judged, Mute, MuteKind, Priority, Status,
    Transition,
};
pub use batch::{Batch, BatchBuilder, Column, Row};
pub use filter::{Compare, Filter, Literal, Target, Test};
pub use id::{Position, RecordId};
pub use label::{LabelMatcher, LabelMatcherError};
pub use level::Level;
pub use matcher::Matcher;
pub use schema::{Dataset, Field, FieldId, FieldType};
pub use size::Size;
pub use tenant::Tenant;
pub use time::{Clock, ManualClock, SystemClock, Timestamp, format_duration, parse_duration};
pub use value::Value;
pub use verdict::{Assessment, Baseline, Entity, Feature, Recovery, Severity, Verdict};
