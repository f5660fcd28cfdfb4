//! Hash grouping: rows in, one row of keys and aggregates per group out.
//!
//! Invariant: groups and their memory stay within the limits, or the rows are refused with an error.

use std::collections::HashMap;

use heimdall_model::filter::Target;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Timestamp, Value};
use heimdall_store::Bin;

use crate::aggregate::State;
use crate::cell::{Cell, Rows};
use crate::engine::{QueryError, RunLimits};
use crate::query::{Aggregate, Func, GroupKey, TimeRange};

/// Groups of one `stats`.
pub(crate) struct Grouping<'q> {
    aggregates: &'q [Aggregate],
    by: &'q [GroupKey],
    limits: RunLimits,
    /// Group by its encoded keys.
    index: HashMap<Box<[u8]>, usize>,
    keys: Vec<Value>,
    // INVARIANT: group `g` has its states at `g * aggregates.len()..` and its keys at `g * by.len()..`.
    states: Vec<State>,
    groups: usize,
    /// The group of the row before: stored rows come in runs.
    last: Option<usize>,
    last_key: Vec<u8>,
    scratch: Vec<u8>,
    bytes: usize,
    /// Earliest and latest time seen.
    seen: Option<(Timestamp, Timestamp)>,
}

/// Bytes a group costs beside its keys and states.
const GROUP_BYTES: usize = 64;

impl<'q> Grouping<'q> {
    pub(crate) fn new(aggregates: &'q [Aggregate], by: &'q [GroupKey], limits: RunLimits) -> Grouping<'q> {
        Grouping {
            aggregates,
            by,
            limits,
            index: HashMap::new(),
            keys: Vec::new(),
            states: Vec::new(),
            groups: 0,
            last: None,
            last_key: Vec::new(),
            scratch: Vec::new(),
            bytes: 0,
            seen: None,
        }
    }

    /// Adds one row.
    pub(crate) fn add(&mut self, rows: &impl Rows, row: usize) -> Result<(), QueryError> {
        let group = self.group(rows, row)?;
        let place = rows.order(row);
        let states = &mut self.states[group * self.aggregates.len()..];
        for (state, aggregate) in states.iter_mut().zip(self.aggregates) {
            match &aggregate.arg {
                None => state.add_rows(1),
                Some(target) => {
                    let cell = rows.cell(target, row);
                    if !cell.is_null() {
                        self.bytes += state.add(&cell, place);
                    }
                }
            }
        }
        self.see(rows.time(row));
        self.check_bytes()
    }

    /// Adds `count` rows that are alike in every key; the aggregates only count rows.
    pub(crate) fn add_counted(&mut self, rows: &impl Rows, count: u64) -> Result<(), QueryError> {
        let group = self.group(rows, 0)?;
        let states = &mut self.states[group * self.aggregates.len()..];
        states.iter_mut().take(self.aggregates.len()).for_each(|state| state.add_rows(count));
        Ok(())
    }

    fn see(&mut self, time: Option<Timestamp>) {
        if let Some(time) = time {
            let (min, max) = self.seen.unwrap_or((time, time));
            self.seen = Some((min.min(time), max.max(time)));
        }
    }

    fn check_bytes(&self) -> Result<(), QueryError> {
        if self.bytes > self.limits.group_bytes_max {
            return Err(QueryError::TooMuchMemory { bytes_max: self.limits.group_bytes_max });
        }
        Ok(())
    }

    /// The group of a row, made if it is new.
    fn group(&mut self, rows: &impl Rows, row: usize) -> Result<usize, QueryError> {
        self.scratch.clear();
        for key in self.by {
            key_cell(key, rows, row).encode(&mut self.scratch);
        }
        if let Some(last) = self.last
            && self.last_key == self.scratch
        {
            return Ok(last);
        }
        let group = match self.index.get(self.scratch.as_slice()) {
            Some(group) => *group,
            None => self.new_group(rows, row)?,
        };
        self.last = Some(group);
        std::mem::swap(&mut self.last_key, &mut self.scratch);
        Ok(group)
    }

    fn new_group(&mut self, rows: &impl Rows, row: usize) -> Result<usize, QueryError> {
        if self.groups == self.limits.groups_max {
            return Err(QueryError::TooManyGroups { groups_max: self.limits.groups_max });
        }
        let group = self.groups;
        self.groups += 1;
        self.index.insert(self.scratch.as_slice().into(), group);
        self.keys.extend(self.by.iter().map(|key| key_cell(key, rows, row).to_value()));
        self.states.extend(self.aggregates.iter().map(|aggregate| State::new(aggregate.func)));
        self.bytes += GROUP_BYTES
            + 2 * self.scratch.len()
            + self.by.len() * size_of::<Value>()
            + self.aggregates.len() * size_of::<State>();
        self.check_bytes()?;
        Ok(group)
    }

    /// The rows of the groups in the order of their keys, and notes on estimates. Without keys there is one row, even
    /// when nothing was added.
    pub(crate) fn finish(mut self, range: TimeRange) -> (Vec<Vec<Value>>, Vec<String>) {
        if self.by.is_empty() && self.groups == 0 {
            self.states.extend(self.aggregates.iter().map(|aggregate| State::new(aggregate.func)));
            self.groups = 1;
        }
        let notes = self.notes();
        let seconds = self.rate_seconds(range);
        let (width, by) = (self.aggregates.len(), self.by.len());
        let mut keys = self.keys.into_iter();
        let mut states = self.states.into_iter();
        let mut rows: Vec<Vec<Value>> = (0..self.groups)
            .map(|_| {
                let mut row: Vec<Value> = keys.by_ref().take(by).collect();
                let results = states.by_ref().take(width).zip(self.aggregates);
                row.extend(results.map(|(state, aggregate)| state.result(aggregate.func, seconds)));
                row
            })
            .collect();
        rows.sort_by(|a, b| compare_keys(&a[..by], &b[..by]));
        (rows, notes)
    }

    fn notes(&self) -> Vec<String> {
        let width = self.aggregates.len();
        let estimated = |index: usize| self.states.iter().skip(index).step_by(width).any(State::is_estimate);
        let note = |(index, aggregate): (usize, &Aggregate)| {
            estimated(index).then(|| match aggregate.func {
                Func::CountDistinct => {
                    format!("{} is an estimate: standard error 0.8 %", aggregate.alias)
                }
                _ => format!("{} is an estimate: relative error at most 1 %", aggregate.alias),
            })
        };
        self.aggregates.iter().enumerate().filter_map(note).collect()
    }

    /// Seconds that `rate` divides by: a bin, else the range, else from the first to the last record.
    fn rate_seconds(&self, range: TimeRange) -> Option<f64> {
        let bin = self.by.iter().find_map(|key| match key {
            GroupKey::Bin(span) => Some(*span),
            GroupKey::Field(_) => None,
        });
        let ns = bin
            .or_else(|| range_ns(range))
            .or_else(|| self.seen.map(|(min, max)| max.0.saturating_sub(min.0).max(NS_PER_SECOND)))?;
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let seconds = ns as f64 / NS_PER_SECOND as f64;
        Some(seconds)
    }
}

/// Length of a range that is open on neither side.
pub(crate) fn range_ns(range: TimeRange) -> Option<i64> {
    let closed = range.from != TimeRange::ALL.from && range.to != TimeRange::ALL.to;
    closed.then(|| range.to.0.saturating_sub(range.from.0))
}

/// Start of the span that holds a time: spans count from the epoch, whole weeks from a Monday.
pub(crate) fn bin_start(time: Timestamp, span: i64) -> Timestamp {
    Bin { span_ns: span }.start(time)
}

fn key_cell<'a>(key: &GroupKey, rows: &'a impl Rows, row: usize) -> Cell<'a> {
    match key {
        GroupKey::Field(target) => rows.cell(target, row),
        GroupKey::Bin(span) => rows.time(row).map_or(Cell::Null, |time| Cell::Time(bin_start(time, *span))),
    }
}

/// Order of groups: by their keys, the first first.
pub(crate) fn compare_keys(a: &[Value], b: &[Value]) -> std::cmp::Ordering {
    let orders = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    orders.into_iter().find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
}

/// Targets that grouping reads.
pub(crate) fn targets<'q>(
    aggregates: &'q [Aggregate],
    by: &'q [GroupKey],
) -> impl Iterator<Item = Target> + 'q {
    let args = aggregates.iter().filter_map(|aggregate| aggregate.arg.clone());
    by.iter().map(GroupKey::target).chain(args)
}
