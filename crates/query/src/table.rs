//! A small table in memory, and the pipes that run on it.

use std::cmp::Ordering;

use foldhash::{HashMap, HashMapExt};
use heimdall_model::filter::Target;
use heimdall_model::{Dataset, Matcher, Timestamp, Value, schema};

use crate::cell::{Cell, Rows, passes};
use crate::engine::{QueryError, RunLimits, value_bytes};
use crate::group::Grouping;
use crate::join::Right;
use crate::query::{ColumnType, Named, Pipe, Scope, SortKey, TimeRange};
use crate::stage::Stage;

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
        rights: &[Right],
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
                Pipe::Test(_) | Pipe::Eval(_) | Pipe::Parse(_) | Pipe::Join(_) => {
                    self.compute(pipe, dataset, limits, rights)?
                }
                Pipe::Context(_) => {
                    let reason = "only conditions and a limit may stand before it".to_owned();
                    return Err(QueryError::InvalidPipe { pipe: "context", reason });
                }
                Pipe::Dedup { rows, by } => self.dedup(*rows, by),
                Pipe::Share { of, alias } => self.share(of, alias),
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

    /// Adds what a pipe computes for each row.
    fn compute(
        &mut self,
        pipe: &Pipe,
        dataset: Dataset,
        limits: RunLimits,
        rights: &[Right],
    ) -> Result<(), QueryError> {
        let stage = Stage::new(std::slice::from_ref(pipe), dataset, rights)?;
        let mut columns = self.columns.clone();
        let made = Scope::Columns(Vec::new()).after(pipe, dataset);
        let Scope::Columns(made) = made else { unreachable!("columns stay columns") };
        for column in &made {
            match columns.iter_mut().find(|other| other.target == column.target) {
                Some(place) => place.ty = column.ty,
                None => columns.push(column.clone()),
            }
        }
        let too_large = |limit: String| {
            let pipe = match pipe {
                Pipe::Eval(_) => "eval",
                Pipe::Parse(_) => "parse",
                Pipe::Test(_) => "where",
                _ => "join",
            };
            Err(QueryError::PipeTooLarge { pipe, limit, advice: "put `limit` or `fields` before it" })
        };
        let mut rows: Vec<Vec<Value>> = Vec::with_capacity(self.rows.len());
        let mut bytes = 0;
        for row in 0..self.rows.len() {
            stage.row(&*self, row, |computed| {
                let value = |(at, column): (usize, &Named)| match self.rows[row].get(at) {
                    Some(own) if !computed.may_hide(&column.target) => own.clone(),
                    _ => computed.cell(&column.target, 0).to_value(),
                };
                let values: Vec<Value> = columns.iter().enumerate().map(value).collect();
                bytes += values.iter().map(value_bytes).sum::<usize>();
                if bytes > limits.group_bytes_max {
                    return too_large(format!("{} MiB", limits.group_bytes_max >> 20));
                }
                if rows.len() == limits.groups_max {
                    return too_large(format!("{} rows", limits.groups_max));
                }
                rows.push(values);
                Ok(())
            })?;
        }
        (self.columns, self.rows) = (columns, rows);
        for column in made {
            self.show(&column);
        }
        Ok(())
    }

    /// Shows a column, in place of one of the same name.
    fn show(&mut self, column: &Named) {
        let Some(at) = self.position(&column.target) else { return };
        let of_that_name = |shown: &&mut usize| self.columns[**shown].name == column.name;
        match self.shown.iter_mut().find(of_that_name) {
            Some(place) => *place = at,
            None => self.shown.push(at),
        }
    }

    fn dedup(&mut self, rows: usize, by: &[Target]) {
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut keep = Vec::with_capacity(self.rows.len());
        for row in 0..self.rows.len() {
            let mut key = Vec::new();
            by.iter().for_each(|target| self.cell(target, row).encode(&mut key));
            let count = seen.entry(key).or_default();
            *count += 1;
            keep.push(*count <= rows);
        }
        let mut keep = keep.into_iter();
        self.rows.retain(|_| keep.next().unwrap_or(false));
    }

    fn share(&mut self, of: &Target, alias: &str) {
        let target = Target::Attribute(alias.to_owned());
        let numbers: Vec<Option<f64>> = (0..self.rows.len()).map(|row| self.cell(of, row).number()).collect();
        let sum: f64 = numbers.iter().flatten().sum();
        let column = Named { name: alias.to_owned(), target, ty: ColumnType::Float };
        let at = self.position(&column.target);
        for (row, number) in self.rows.iter_mut().zip(numbers) {
            let share =
                number.filter(|_| sum != 0.0).map_or(Value::Null, |number| Value::Float(number / sum));
            match at {
                Some(at) => row[at] = share,
                None => row.push(share),
            }
        }
        if at.is_none() {
            self.columns.push(column.clone());
        }
        self.show(&column);
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
