//! Watches one host from within: what it measures, probes and reads becomes batches, kept on disk until a server has them.
//!
//! - [`Agent`]: the whole, as a library: `builder()`, `start()`, `status()`, `stop()`; [`config`]: every key
//! - [`collect`]: what the host says of itself; [`containers`]: the same of Docker's containers
//! - [`probe`]: endpoints asked from outside: latency, availability, days a certificate has left
//! - [`tail`]: files that grow, with rotation and checkpoints; [`journald`]: the system's journal
//! - [`buffer`]: the disk between the two: what is kept survives; [`ship`]: to the server, each frame once
//! - [`detect`]: judging on the host itself; [`action_log`]: what was found and done, one line each
//!
//! Invariants:
//! - a record that was kept is sent until the server has it, and counts there once (see [`ship`]);
//! - a full buffer loses nothing in silence: tails wait, samples that cannot be kept are judged and counted;
//! - every queue, line, file list, answer and wait has a named limit.
//!
//! Not here: what a server does with records (`heimdall-stream`), how an action is done (`heimdall-respond`).

pub mod action_log;
mod agent;
pub mod buffer;
pub mod collect;
pub mod config;
pub mod containers;
pub mod detect;
mod encode;
pub mod journald;
mod pipeline;
pub mod probe;
mod samples;
pub mod ship;
mod state;
mod status;
pub mod tail;

pub use action_log::{ActionLog, LogLevel};
pub use agent::{Agent, AgentBuilder, AgentError};
pub use config::AgentConfig;
pub use detect::{HealTally, Healer};
pub use samples::Samples;
pub use state::{Mark, Marks};
pub use status::{AgentStatus, ServiceStatus};
