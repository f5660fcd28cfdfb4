//! A small table in memory, and the pipes that run on it.

use std::cmp::Ordering;

use heimdall_model::filter::Target;
use heimdall_model::{Dataset, Matcher, Timestamp, Value, schema};

use crate::cell::{Cell, Rows, passes};
use crate::engine::{QueryError, RunLimits};
use crate::group::Grouping;
use crate::query::{Named, Pipe, Scope, SortKey, TimeRange};

/// Rows with named columns.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Columns of every row.
    pub(crate) columns: Vec<Named>,
    // INVARIANT: every row has one value per column.
    pub(crate) rows: Vec<Vec<Value>>,
    /// Indices of the columns that are shown, in order; others are there for later pipes.
    pub(crate) shown: Vec<usize>,
}

impl Rows for Table {
    fn cell(&self, target: &Target, row: usize) -> Cell<'_> {
        self.position(target).map_or(Cell::Null, |column| Cell::from(&self.rows[row][column]))
    }

    fn time(&self, row: usize) -> Option<Timestamp> {
        match self.cell(&Target::Field(schema::TIMESTAMP), row) {
            Cell::Time(time) => Some(time),
            _ => None,
        }
    }

    fn order(&self, row: usize) -> (i64, u64) {
        (self.time(row).map_or(0, |time| time.0), row as u64)
    }
}

impl Table {
    pub(crate) fn position(&self, target: &Target) -> Option<usize> {
        self.columns.iter().position(|column| column.target == *target)
    }

    /// Runs pipes one after the other; returns notes on estimates.
    pub(crate) fn run(
        &mut self,
        pipes: &[Pipe],
        dataset: Dataset,
        range: TimeRange,
        limits: RunLimits,
    ) -> Result<Vec<String>, QueryError> {
        let mut notes = Vec::new();
        for pipe in pipes {
            match pipe {
                Pipe::Where(filter) => {
                    let matcher = Matcher::compile(filter, dataset).map_err(QueryError::Filter)?;
                    let keep: Vec<bool> =
                        (0..self.rows.len()).map(|row| passes(&matcher.root, &*self, row)).collect();
                    let mut keep = keep.into_iter();
                    self.rows.retain(|_| keep.next().unwrap_or(false));
                }
                Pipe::Sort(keys) => self.sort(keys),
                Pipe::Limit(rows) => self.rows.truncate(*rows),
                Pipe::Fields(targets) => {
                    self.shown = targets.iter().filter_map(|target| self.position(target)).collect();
                }
                Pipe::Drop(targets) => {
                    let columns = &self.columns;
                    self.shown.retain(|column| !targets.contains(&columns[*column].target));
                }
                Pipe::Stats { aggregates, by } => {
                    let mut grouping = Grouping::new(aggregates, by, limits);
                    (0..self.rows.len()).try_for_each(|row| grouping.add(&*self, row))?;
                    let (rows, more) = grouping.finish(range);
                    notes.extend(more);
                    *self = Table::of_groups(Scope::Columns(self.columns.clone()), pipe, rows, dataset);
                }
            }
        }
        Ok(notes)
    }

    /// The table a `stats` pipe makes.
    pub(crate) fn of_groups(scope: Scope, pipe: &Pipe, rows: Vec<Vec<Value>>, dataset: Dataset) -> Table {
        let Scope::Columns(columns) = scope.after(pipe, dataset) else {
            unreachable!("after `stats` there are columns")
        };
        let shown = (0..columns.len()).collect();
        Table { columns, rows, shown }
    }

    fn sort(&mut self, keys: &[SortKey]) {
        let keys: Vec<(usize, bool)> = keys
            .iter()
            .filter_map(|key| self.position(&key.target).map(|column| (column, key.descending)))
            .collect();
        self.rows.sort_by(|a, b| {
            keys.iter()
                .map(|(column, descending)| directed(a[*column].total_cmp(&b[*column]), *descending))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
    }
}

/// An order, turned round when descending.
pub(crate) fn directed(order: Ordering, descending: bool) -> Ordering {
    if descending { order.reverse() } else { order }
}
