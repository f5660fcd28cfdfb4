//! `join`: the rows of another question beside those of this one.
//!
//! Invariants:
//! - the right side is held in memory, whole and within [`JOIN_ROWS_MAX`] and [`JOIN_BYTES_MAX`], or the query is an error;
//! - values are equal when they read the same: 5 and "5"; what is absent equals nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use foldhash::HashMap;
use heimdall_model::Value;
use heimdall_model::filter::Target;
use heimdall_store::Control;

use crate::answer::AnswerStats;
use crate::cell::{Cell, Rows};
use crate::engine::{Engine, QueryError, RunLimits, value_bytes};
use crate::evaluate::text;
use crate::query::{Join, Pipe, Query};
use crate::search::split_time;

/// Most rows of the right side.
const JOIN_ROWS_MAX: usize = 100_000;
/// Most bytes of the right side.
const JOIN_BYTES_MAX: usize = 64 << 20;

/// Joined rows between two looks at whether the query is to end.
const LOOK_ROWS: u64 = 1_024;

/// The right side of a join.
#[derive(Debug)]
pub(crate) struct Right {
    join: Join,
    rows: Vec<Vec<Value>>,
    /// The values that are handed on, as places in a row.
    handed: Vec<Option<usize>>,
    /// Rows by the values they are joined on.
    index: HashMap<Vec<u8>, Vec<usize>>,
    /// When to end: one block of records may become millions of rows.
    control: Control,
    joined: AtomicU64,
}

impl Right {
    /// Asks the question of a join.
    pub(crate) fn load(
        engine: &Engine,
        left: &Query,
        join: &Join,
        control: &Control,
        stats: &mut AnswerStats,
    ) -> Result<Right, QueryError> {
        let (filter, times) = split_time(join.right.filter.clone());
        let mut query = Query::new(left.tenant.clone(), join.right.dataset, times.range_or(left.range));
        (query.filter, query.pipeline) = (filter, join.right.pipeline.clone());
        let limits = RunLimits {
            rows_default: JOIN_ROWS_MAX + 1,
            rows_max: JOIN_ROWS_MAX + 1,
            // One row more than may be kept shows that there are too many.
            result_bytes_max: 2 * JOIN_BYTES_MAX,
            ..RunLimits::default()
        };
        let answer = engine.run(&query, control, limits)?;
        let too_large = |limit: String| QueryError::PipeTooLarge {
            pipe: "join",
            limit,
            advice: "narrow the conditions in its parentheses, or aggregate there",
        };
        if answer.rows.len() > JOIN_ROWS_MAX {
            return Err(too_large(format!("{JOIN_ROWS_MAX} rows")));
        }
        let bytes: usize = answer.rows.iter().flatten().map(value_bytes).sum();
        if bytes > JOIN_BYTES_MAX {
            return Err(too_large(format!("{} MiB", JOIN_BYTES_MAX >> 20)));
        }
        stats.add_part(&answer.stats);
        let named = join.right.columns();
        let place = |name: &str| answer.columns.iter().position(|column| column.name == name);
        let place_of = |target: &Target| {
            named.iter().find(|column| column.target == *target).and_then(|column| place(&column.name))
        };
        let on: Vec<Option<usize>> = join.on.iter().map(|(_, right)| place_of(right)).collect();
        let handed = join.columns().iter().map(|column| place(&column.name)).collect();
        let mut index: HashMap<Vec<u8>, Vec<usize>> = HashMap::default();
        for (at, row) in answer.rows.iter().enumerate() {
            let cells = on.iter().map(|place| place.map_or(Cell::Null, |place| Cell::from(&row[place])));
            if let Some(key) = key(cells) {
                index.entry(key).or_default().push(at);
            }
        }
        let (join, control) = (join.clone(), control.clone());
        Ok(Right { join, rows: answer.rows, handed, index, control, joined: AtomicU64::new(0) })
    }

    pub(crate) fn join(&self) -> &Join {
        &self.join
    }

    /// Counts a joined row; an error when the query is to end.
    pub(crate) fn count(&self) -> Result<(), QueryError> {
        let rows_scanned = self.joined.fetch_add(1, Ordering::Relaxed);
        if rows_scanned.is_multiple_of(LOOK_ROWS) {
            if self.control.cancelled.load(Ordering::Relaxed) {
                return Err(QueryError::Cancelled);
            }
            if self.control.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(QueryError::OutOfTime { rows_scanned });
            }
        }
        Ok(())
    }

    /// How many values it adds to a row.
    pub(crate) fn width(&self) -> usize {
        self.handed.len()
    }

    /// Its rows that belong to a row of the left side, which is the only one there.
    pub(crate) fn of(&self, rows: &impl Rows) -> &[usize] {
        let key = key(self.join.on.iter().map(|(left, _)| rows.cell(left, 0)));
        key.and_then(|key| self.index.get(&key)).map_or(&[], Vec::as_slice)
    }

    /// The values of one of its rows.
    pub(crate) fn values(&self, row: usize) -> impl Iterator<Item = Value> {
        let value = move |place: usize| self.rows[row][place].clone();
        self.handed.iter().map(move |place| place.map_or(Value::Null, value))
    }
}

/// The values rows are joined on, unless one is absent.
fn key<'a>(cells: impl Iterator<Item = Cell<'a>>) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    for cell in cells {
        Cell::Text(text(cell)?).encode(&mut key);
    }
    Some(key)
}

/// The right sides of a pipeline.
pub(crate) fn load_all(
    engine: &Engine,
    query: &Query,
    control: &Control,
    stats: &mut AnswerStats,
) -> Result<Vec<Right>, QueryError> {
    let joins =
        query.pipeline.iter().filter_map(|pipe| if let Pipe::Join(join) = pipe { Some(join) } else { None });
    joins.map(|join| Right::load(engine, query, join, control, stats)).collect()
}
