//! The first rows by a sort, kept while every row passes by.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use heimdall_model::Value;

use crate::cell::Rows;
use crate::query::SortKey;
use crate::table::directed;

/// At most a fixed number of rows: those that sort first. Ties go to the newer record.
pub(crate) struct TopRows<'q> {
    sort: &'q [SortKey],
    rows_max: usize,
    // The root is the row that sorts last.
    heap: BinaryHeap<Ranked>,
}

struct Ranked {
    keys: Vec<(Value, bool)>,
    place: (i64, u64),
    row: Vec<Value>,
}

impl<'q> TopRows<'q> {
    pub(crate) fn new(sort: &'q [SortKey], rows_max: usize) -> TopRows<'q> {
        TopRows { sort, rows_max, heap: BinaryHeap::new() }
    }

    /// How many rows are kept.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The rows that are kept, in no order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Vec<Value>> {
        self.heap.iter().map(|ranked| &ranked.row)
    }

    /// Considers a row; `values` is asked only when the row is kept for now.
    pub(crate) fn offer(&mut self, rows: &impl Rows, row: usize, values: impl FnOnce() -> Vec<Value>) {
        let place = rows.order(row);
        if self.heap.len() >= self.rows_max && !self.beats_last(rows, row, place) {
            return;
        }
        let keys =
            self.sort.iter().map(|key| (rows.cell(&key.target, row).to_value(), key.descending)).collect();
        self.heap.push(Ranked { keys, place, row: values() });
        if self.heap.len() > self.rows_max {
            self.heap.pop();
        }
    }

    /// Adds the rows another one has kept.
    pub(crate) fn merge(&mut self, other: TopRows<'q>) {
        self.heap.extend(other.heap);
        while self.heap.len() > self.rows_max {
            self.heap.pop();
        }
    }

    fn beats_last(&self, rows: &impl Rows, row: usize, place: (i64, u64)) -> bool {
        let Some(last) = self.heap.peek() else { return false };
        let orders =
            self.sort.iter().zip(&last.keys).map(|(key, (value, _))| {
                directed(rows.cell(&key.target, row).cmp_value(value), key.descending)
            });
        orders.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| last.place.cmp(&place)).is_lt()
    }

    /// The rows, first first.
    pub(crate) fn into_rows(self) -> Vec<Vec<Value>> {
        self.into_placed().map(|(_, row)| row).collect()
    }

    /// The same, each with its place in the order of arrival of events.
    pub(crate) fn into_placed(self) -> impl Iterator<Item = ((i64, u64), Vec<Value>)> {
        self.heap.into_sorted_vec().into_iter().map(|ranked| (ranked.place, ranked.row))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let orders = self
            .keys
            .iter()
            .zip(&other.keys)
            .map(|((a, descending), (b, _))| directed(a.total_cmp(b), *descending));
        orders.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| other.place.cmp(&self.place))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}
