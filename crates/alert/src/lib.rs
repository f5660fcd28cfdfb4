//! Verdicts become alerts, and alerts reach people.
//!
//! - [`alerts`]: the alerts of this server: dedup, lifecycle, persistence, lists, live stream
//! - [`lifecycle`]: what a verdict does to an alert and which status follows which: pure
//! - [`feedback`]: how often alerts are right, by what people say of them: pure
//! - [`stream`]: snapshot and deltas for live views; [`event`]: what happened, for whoever tells people and heals
//! - [`silence`], [`inhibit`], [`flapping`]: what keeps an alert quiet; [`priority`]: how urgent it is, by rule
//! - [`incident`]: alerts that belong together, and the work on them
//! - [`posted`]: alerts of other systems
//! - [`routing`]: who is told of what; [`pipeline`]: groups, timing, rates, delivery and its log; [`notify`]: the channels
//!
//! Not here: deciding what is anomalous (`heimdall-detect`), who may change an alert (`heimdall-guard`), HTTP.

pub mod alerts;
mod error;
pub mod event;
pub mod feedback;
pub mod flapping;
pub mod incident;
pub mod inhibit;
pub mod lifecycle;
mod live;
pub mod notify;
pub mod pipeline;
pub mod posted;
pub mod priority;
pub mod routing;
pub mod silence;
mod state;
pub mod stream;
mod writer;

pub use alerts::{AlertConfig, AlertPage, AlertRules, Alerts};
pub use error::AlertError;
pub use event::{AlertEvent, Cause, Event, EventQueue};
pub use feedback::Precision;
pub use flapping::FlapConfig;
pub use heimdall_metastore::{
    AlertCount, AlertCursor, AlertFilter, AlertSort, DocumentCursor, FeedbackCount,
};
pub use incident::book::Incidents;
pub use incident::post_mortem::post_mortem;
pub use incident::{
    EntryKind, Incident, IncidentConfig, IncidentError, IncidentFilter, IncidentPage, TimelineEntry,
};
pub use inhibit::InhibitRule;
pub use lifecycle::{Step, fingerprint};
pub use notify::notice::{Notice, NoticeKind, Notifier, NotifyError, Receipt};
pub use notify::{ChannelConfig, ChannelContext, ChannelError};
pub use pipeline::{Pipeline, PipelineConfig, PipelineHandle};
pub use posted::{PostedAlert, PostedFault};
pub use priority::{PriorityRule, priority_of};
pub use routing::{Routing, RoutingFault};
pub use silence::{
    Recurrence, Silence, SilenceDraft, SilenceError, SilenceKind, SilenceState, Silences, Weekday,
};
pub use stream::{AlertChange, Delivery, Delta, Snapshot, Subscription};
