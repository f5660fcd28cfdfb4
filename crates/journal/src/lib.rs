//! The durable, ordered log: a batch is acknowledged only after it is on disk, and is read back once, in order.
//!
//! Invariants:
//! - frames are numbered from 1, densely; a number a consumer may have seen is never used again;
//! - `consumed_seq <= durable_seq <= appended_seq`; an append is acknowledged, and a frame delivered, only up to `durable_seq`;
//! - after a failed sync the journal is latched: every later append returns [`JournalError::Latched`] until a restart;
//! - a key seen within the key window is written once, whatever the number of appends, restarts and deleted files.
//!
//! Not here: what a payload means (see `model`, `stream`), who may append (see `ingest`), retention of stored records
//! (see `store`). Format: `docs/formats/journal.md`.

mod config;
pub mod disk;
mod error;
mod format;
mod journal;
mod keys;
mod open;
mod reader;
mod scan;
mod shared;
mod telemetry;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use error::JournalError;
pub use journal::{Append, Appended, Journal, Status};
pub use reader::{Frame, Reader};
pub use verify::{VerifiedFile, verify};
