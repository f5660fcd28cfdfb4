//! The synthetic world behind `heimdall demo`, `heimdall generate`, benches and load tests.
//!
//! Three generators, all pure (no IO, no clock: time is handed in) and deterministic for a seed:
//! - [`World`]: a company of services, users and hosts that lives through a day and through scheduled incidents;
//! - [`IntervalStream`]: one event after random pauses, for `heimdall generate`;
//! - [`BenchLines`]: log lines by the million, addressable by row, for benches; [`BenchForm`] has them as senders of
//!   other doors write them.
//!
//! Not here: sending what is generated, and waiting for the time it carries.

mod bench;
mod catalogue;
mod company;
mod dice;
mod error;
mod event;
mod faults;
mod form;
mod interval;
mod json;
mod metrics;
mod remedy;
mod rhythm;
mod scenario;
mod template;
mod traffic;
mod world;

pub use bench::{BENCH_RARE_EVERY, BenchLines};
pub use company::Service;
pub use error::SimulateError;
pub use event::{AttributeValue, Event, Level, LogEvent, SampleEvent, SessionId, SpanId, TraceId, UserId};
pub use form::BenchForm;
pub use interval::{IntervalConfig, IntervalStream};
pub use remedy::{Remedy, Target};
pub use scenario::{ATTACKER_IP, Incident, IncidentKind, Scenario, ScheduledIncident};
pub use world::{World, WorldConfig};
