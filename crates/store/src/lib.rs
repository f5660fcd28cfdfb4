//! Heimdall's embedded store: keeps records of every dataset, findable from the moment they arrive.
//!
//! - [`store`]: the whole: append, freeze, commit, recover; [`manifest`]: the commit point
//! - [`memtable`]: rows not yet in a segment; [`segment`]: immutable Parquet files with a [`sidecar`], both read by
//!   range ([`files`]); [`merge`]: several into one
//! - [`block`]: rows in columns; [`eval`]: filters over them; [`prune`], [`candidates`]: what a filter rules out
//!   unread, [`decisions`]: what templates tell of messages
//! - [`scan`]: the one scan operator behind search, aggregation and count
//! - [`template`]: the template miner and catalog; [`rollup`]: counts per minute, service and level
//! - [`version`]: what has changed since
//! - [`upkeep`]: retention by time and size, compaction of small segments
//!
//! Knows nothing of protocols, languages or alerts. Formats: docs/formats/segment.md, manifest.md, templates.md.

mod block;
mod candidates;
mod checksums;
mod decisions;
mod eval;
mod files;
mod manifest;
mod memtable;
mod merge;
mod prune;
mod rollup;
mod scan;
mod segment;
mod sidecar;
mod signature;
mod store;
pub mod template;
mod upkeep;
mod version;

pub use block::RowBlock;
pub use scan::{
    Control, Hit, Order, RollupVisitor, SEARCH_BYTES_MAX, ScanError, ScanPlan, ScanRequest, ScanStats,
    TimeRange,
};
pub use store::{Store, StoreConfig, StoreError, StoreStatus};
pub use upkeep::{Pace, UpkeepReport};
pub use version::DataVersion;
