//! SQL over the datasets, read-only: DataFusion plans and joins, our store reads, filters and aggregates.
//!
//! - [`engine`]: a statement in, an answer out, within limits of memory, time and rows; [`error`]: why there is none
//! - [`gate`]: the one statement that may run; [`functions`]: ours beside DataFusion's
//! - [`columns`]: a dataset as a table; [`filter`]: conditions that the store decides; [`table`]: what DataFusion asks
//! - [`scan`], [`stats`]: rows and groups as DataFusion takes them; [`rewrite`]: which parts of a plan become them
//! - [`answer`]: Arrow to the answer every language has; [`formats`]: answers as Arrow and CSV; [`rows`]: tables that are not datasets
//!
//! Nobody else depends on DataFusion, and none of its types is in a signature here. Reference: docs/sql.md.

mod answer;
mod columns;
pub mod engine;
mod error;
mod filter;
pub mod formats;
mod functions;
mod gate;
mod rewrite;
pub mod rows;
mod scan;
mod stats;
mod table;

pub use engine::{SqlConfig, SqlEngine, SqlExplain, SqlRequest};
pub use error::SqlError;
pub use rows::RowSource;

#[cfg(test)]
mod tests;
