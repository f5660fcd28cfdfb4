//! The road's middle: consumes the journal in order, and for every batch assigns templates, judges, stores and feeds
//! the live tail; then makes progress durable and lets the journal forget.
//!
//! - [`stream`]: the thread that consumes; [`keeper`]: the threads that write segments and do upkeep
//! - [`tail`]: the live feed of batches
//!
//! Not here: what the steps do (see `heimdall-store`, `heimdall-detect`), what becomes of findings (the caller's sink).

mod keeper;
mod stream;
pub mod tail;

pub use stream::{Command, Parts, Sink, Stream, StreamConfig, StreamError, StreamStatus};
pub use tail::{Tail, TailBatch};
