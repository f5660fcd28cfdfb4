//! From a question to its answer: every language compiles to one [`Query`], and one [`Engine`] runs it over the store.
//!
//! - [`query`]: the query form
//! - [`search`]: the search line: parse, print, complete
//! - [`ask`]: questions in plain words, which become search lines
//! - [`engine`]: execution within limits, [`engine::Explain`]; `plan`: what the store does and what follows
//! - `ways`: how a `stats` can be answered, and what each way costs; `summaries`: going the way of summaries
//! - `cost`: what a query is expected to cost
//! - [`answer`]: what comes back
//! - `early`: rows handed out while the query still runs; `pages`: lists that go on where one ended
//! - [`cache`]: answers given again while they are right; `chart`: those over time, of which only the new part is computed
//! - `expression`, `evaluate`: what `eval` computes; what `parse` finds is in `heimdall-extract`; `stage`: both for each record on its way;
//!   `records`: lists of records that go that way; `context`, `join`: what those pipes read beside them
//! - `group`, `aggregate`: `stats`; `parts`: one whose groups do not fit into memory at once; `top`: the first rows by a sort; `table`: pipes in memory
//! - `cell`: one value of one row, whatever holds it
//!
//! Knows nothing of HTTP or terminals. Reference of the search line: docs/search-line.md.

mod aggregate;
pub mod answer;
pub mod ask;
pub mod cache;
mod cell;
mod chart;
mod codes;
mod context;
mod cost;
mod early;
pub mod engine;
mod evaluate;
mod expression;
mod group;
mod join;
mod pages;
mod parts;
mod plan;
mod pushdown;
pub mod query;
mod records;
pub mod search;
mod stage;
mod summaries;
mod table;
#[cfg(test)]
mod tests;
mod top;
mod ways;

pub use answer::{Answer, AnswerStats, Column};
pub use cache::CacheUse;
pub use cost::{CostClass, QueryCost};
pub use early::{EachRows, EarlyRows};
pub use engine::{Engine, Explain, QueryError, RunLimits, Strategy};
pub use pages::PagePlace;
pub use query::{Aggregate, ColumnType, Func, GroupKey, Pipe, Query, SortKey, TimeRange};
pub use search::{ParseContext, ParseError};
pub use ways::WayPlan;
