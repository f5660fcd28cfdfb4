//! Heimdall's embedded store: keeps records of every dataset, findable from the moment they arrive.
//!
//! - [`store`]: the whole: append, freeze, commit, recover; [`manifest`]: the commit point
//! - [`memtable`]: rows not yet in a segment; [`segment`]: immutable Parquet files with a [`sidecar`], both read by
//!   range ([`files`], [`pages`]); [`merge`]: several into one
//! - [`block`]: rows in columns; [`eval`]: filters over them; [`prune`], [`candidates`]: what a filter rules out
//!   unread, [`ids`]: values found in undecoded pages, [`decisions`]: what templates tell of messages
//! - [`scan`]: the one scan operator behind search, aggregation and count
//! - [`version`]: what has changed since
//! - [`template`]: the template miner and catalog; [`summary`]: what is counted of rows when they are written, and
//!   [`view`]: what that answers; [`cubes`]: values counted over many segments; [`durations`] and [`template_counts`] added up over them, by [`steps`]
//! - [`erase`]: rows that pass a filter leave every segment
//! - [`aside`]: segments that are found damaged
//! - [`verify`]: every byte of all files looked at; [`export`]: rows as a Parquet file for other programs
//! - [`retention`]: how long records are kept, and what goes when space runs out; [`upkeep`]: compaction of small segments;
//!   [`tiers`], [`cold`]: old ones move to an object store
//!
//! Knows nothing of protocols, languages or alerts. Formats: docs/formats/segment.md, manifest.md, templates.md.

mod aside;
mod block;
mod candidates;
mod checksums;
mod cold;
mod cubes;
mod decisions;
mod durations;
mod erase;
mod eval;
mod export;
mod fields;
mod files;
mod ids;
mod manifest;
mod memtable;
mod merge;
mod pages;
mod prune;
mod retention;
mod scan;
mod segment;
mod sidecar;
mod signature;
mod steps;
mod store;
pub mod summary;
pub mod template;
mod template_counts;
mod tiers;
mod upkeep;
mod verify;
mod version;
mod view;

pub use aside::DamagedSegment;
pub use block::{Codes, RowBlock};
pub use cold::Cold;
pub use cubes::Cubes;
pub use durations::ServiceLatency;
pub use erase::{EraseReport, ErasedSegment, UNHURRIED};
pub use export::ExportError;
pub use retention::{NEVER, POLICIES_MAX, RetentionPolicy, SHED_AGE_MIN};
pub use scan::{
    Along, Control, EachHits, Hit, Order, Progress, RowStream, ScanError, ScanPlan, ScanRequest, ScanStats,
    TimeRange, Wanted,
};
pub use store::{Store, StoreConfig, StoreError, StoreStatus, annotate};
pub use template_counts::TemplateCounts;
pub use tiers::{SegmentInfo, Tier, segments_in};
pub use upkeep::{Pace, UpkeepReport};
pub use verify::{VerifiedFile, verify};
pub use version::DataVersion;
pub use view::{
    Bin, CountVisitor, CountsBy, Covered, Extent, FieldStatistics, Rest, RunOf, SummaryExtent, SummaryKind,
    View, has_latency,
};
