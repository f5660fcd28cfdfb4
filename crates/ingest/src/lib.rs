//! From bytes at a door to durable records: decoders, limits, admission and receipts.
//!
//! - [`body`]: a whole request body in any of the accepted formats; what came of it is a [`Decoded`]
//! - [`json`]: JSON documents, arrays and lines; [`typed`]: the strict event of `POST /ingest`
//! - [`format`]: text formats, line by line; [`text`]: bodies of such lines
//! - [`compression`]: gzip, deflate and zstd bodies, bounded
//! - [`intake`]: the one admission path of every door; [`rate`]: its token buckets; [`receipt`]: what was taken, kept for a while
//! - [`pipeline`]: what is done with records between decoder and batch; [`schema`]: what they are checked against
//! - [`dead`]: what was not taken, kept for a while to be looked at and tried again
//! - [`arrive`]: how whole bodies arrive; [`records`]: how decoders of other crates make records
//! - [`frames`]: what the journal's frames hold
//! - [`journald`]: entries of systemd's journal
//!
//! Not here: HTTP and other protocols (they call [`Intake`]), what becomes of records after the journal.

pub mod arrive;
pub mod body;
pub mod compression;
pub mod dead;
mod decoded;
pub mod format;
pub mod frames;
pub mod intake;
pub mod journald;
pub mod json;
mod lines;
pub mod pipeline;
pub mod rate;
pub mod receipt;
pub mod records;
pub mod schema;
#[cfg(test)]
mod testing;
pub mod text;
pub mod typed;

pub use body::{BodyError, BodyFormat, DecodeLimits};
pub use dead::{DeadConfig, DeadLetters, Letter, LetterFilter, WholeLetter};
pub use decoded::{
    Coerced, DEAD_BYTES_MAX, DEAD_RECORD_BYTES_MAX, DEAD_RECORDS_MAX, Dead, Decoded, Encoding, NOTES_MAX,
    RejectKind, Rejected,
};
pub use intake::{Caller, Intake, IntakeLimits, Permit, Refused, Replayed, Submission};
pub use pipeline::{Origin, Pipelines, Pipes};
pub use receipt::{Receipt, ReceiptFilter, ReceiptPage, ShipperSummary};
pub use records::{Object, Reading, Records};
