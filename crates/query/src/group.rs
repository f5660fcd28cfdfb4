//! Hash grouping: rows in, one row of keys and aggregates per group out.
//!
//! Invariant: groups and their memory stay within the limits, or the rows are refused with an error.

use foldhash::{HashMap, HashMapExt};
use heimdall_model::filter::Target;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Timestamp, Value};
use heimdall_store::Bin;
use heimdall_store::summary::Latency;

use crate::aggregate::State;
use crate::cell::{BlockRows, Cell, Rows};
use crate::codes::KeyCodes;
use crate::engine::{QueryError, RunLimits};
use crate::query::{Aggregate, Func, GroupKey, TimeRange};

/// Groups of one `stats`.
pub(crate) struct Grouping<'q> {
    aggregates: &'q [Aggregate],
    by: &'q [GroupKey],
    limits: RunLimits,
    /// One bit for each aggregate that is computed here; the others stay as they begin.
    active: u64,
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
    /// Whether different values are counted elsewhere: see [`Grouping::set_distinct`].
    is_told_distinct: bool,
    /// Whether a `rate` divides by the time between the first and the last record.
    sees_times: bool,
    /// Earliest and latest time seen, where that is needed.
    seen: Option<(Timestamp, Timestamp)>,
    /// Groups of a block's rows, and of its codes: kept for the next block.
    row_groups: Vec<usize>,
    code_groups: Vec<u32>,
}

/// No group: there are never so many.
const UNKNOWN: u32 = u32::MAX;
/// Bytes a group costs beside its keys and states.
const GROUP_BYTES: usize = 64;

impl<'q> Grouping<'q> {
    pub(crate) fn new(aggregates: &'q [Aggregate], by: &'q [GroupKey], limits: RunLimits) -> Grouping<'q> {
        let binned = by.iter().any(|key| matches!(key, GroupKey::Bin(_)));
        Grouping {
            sees_times: !binned && aggregates.iter().any(|aggregate| aggregate.func == Func::Rate),
            aggregates,
            by,
            limits,
            active: u64::MAX,
            index: HashMap::new(),
            keys: Vec::new(),
            states: Vec::new(),
            groups: 0,
            last: None,
            last_key: Vec::new(),
            scratch: Vec::new(),
            bytes: 0,
            is_told_distinct: false,
            seen: None,
            row_groups: Vec::new(),
            code_groups: Vec::new(),
        }
    }

    /// Computes these aggregates only: the others come from another grouping that is merged with this one.
    pub(crate) fn only(self, active: u64) -> Grouping<'q> {
        Grouping { active, ..self }
    }

    /// Leaves the counting of different values to whoever has them one by one, and says how many they are in the end.
    pub(crate) fn told_distinct(self) -> Grouping<'q> {
        Grouping { is_told_distinct: true, ..self }
    }

    /// A grouping of the same, with nothing in it.
    pub(crate) fn another(&self) -> Grouping<'q> {
        let is_told_distinct = self.is_told_distinct;
        Grouping {
            is_told_distinct,
            ..Grouping::new(self.aggregates, self.by, self.limits).only(self.active)
        }
    }

    pub(crate) fn aggregates(&self) -> &'q [Aggregate] {
        self.aggregates
    }

    pub(crate) fn by(&self) -> &'q [GroupKey] {
        self.by
    }

    /// Adds one row.
    pub(crate) fn add(&mut self, rows: &impl Rows, row: usize) -> Result<(), QueryError> {
        let group = self.group(rows, row)?;
        for (at, aggregate) in self.aggregates.iter().enumerate().filter(|(at, _)| self.active >> at & 1 == 1)
        {
            let state = &mut self.states[group * self.aggregates.len() + at];
            self.bytes += add_value(state, aggregate, rows, row);
        }
        if self.sees_times {
            self.see(rows.time(row));
        }
        self.check_bytes()
    }

    /// Adds all rows of a block: as one by one, but the keys of rows that are alike are looked at once.
    pub(crate) fn add_block(&mut self, rows: &BlockRows<'_>) -> Result<(), QueryError> {
        let count = rows.block.rows();
        let mut groups = std::mem::take(&mut self.row_groups);
        groups.clear();
        groups.reserve(count);
        match KeyCodes::of(self.by, rows.block) {
            None => {
                for row in 0..count {
                    groups.push(self.group(rows, row)?);
                }
            }
            Some(mut codes) => {
                let mut known = std::mem::take(&mut self.code_groups);
                known.clear();
                known.resize(codes.len(), UNKNOWN);
                for row in 0..count {
                    let code = codes.code(row);
                    if known[code] == UNKNOWN {
                        known[code] = u32::try_from(self.group(rows, row)?).unwrap_or(UNKNOWN);
                    }
                    groups.push(known[code] as usize);
                }
                self.code_groups = known;
            }
        }
        let width = self.aggregates.len();
        for (at, aggregate) in self.aggregates.iter().enumerate().filter(|(at, _)| self.active >> at & 1 == 1)
        {
            for (row, group) in groups.iter().enumerate() {
                self.bytes += add_value(&mut self.states[group * width + at], aggregate, rows, row);
            }
        }
        self.row_groups = groups;
        if self.sees_times {
            (0..count).for_each(|row| self.see(rows.time(row)));
        }
        self.check_bytes()
    }

    /// Adds what another one with the same aggregates and keys has seen.
    pub(crate) fn merge(&mut self, mut other: Grouping<'q>) -> Result<(), QueryError> {
        let (width, by) = (self.aggregates.len(), self.by.len());
        let bytes_each = other.bytes / other.groups.max(1);
        for (key, theirs) in std::mem::take(&mut other.index) {
            let states = other.states[theirs * width..][..width].iter_mut();
            let states = states.map(|state| std::mem::replace(state, State::Count(0)));
            if let Some(ours) = self.index.get(&key) {
                let ours = &mut self.states[ours * width..][..width];
                self.bytes += ours.iter_mut().zip(states).map(|(our, their)| our.merge(their)).sum::<usize>();
            } else {
                self.has_room_for_group()?;
                self.states.extend(states);
                let keys = other.keys[theirs * by..][..by].iter_mut();
                self.keys.extend(keys.map(|key| std::mem::replace(key, Value::Null)));
                self.index.insert(key, self.groups);
                self.groups += 1;
                self.bytes += bytes_each;
            }
            self.check_bytes()?;
        }
        if let Some((min, max)) = other.seen {
            self.see(Some(min));
            self.see(Some(max));
        }
        Ok(())
    }

    /// Adds `count` rows that are alike in every key and in every value the aggregates look at.
    pub(crate) fn add_counted(&mut self, rows: &impl Rows, count: u64) -> Result<(), QueryError> {
        self.add_summed(rows, |state, target| match target {
            None => {
                state.add_rows(count);
                0
            }
            Some(target) => {
                let cell = rows.cell(target, 0);
                if cell.is_null() { 0 } else { state.add_alike(&cell, count) }
            }
        })
    }

    /// Adds the rows of `latency`, alike in every key, whose values of `duration` it sums up.
    pub(crate) fn add_durations(
        &mut self,
        rows: &impl Rows,
        duration: &Target,
        latency: &Latency,
    ) -> Result<(), QueryError> {
        self.add_summed(rows, |state, target| match target {
            None => {
                state.add_rows(latency.rows);
                0
            }
            Some(target) if target == duration => state.add_durations(latency),
            Some(target) => {
                let cell = rows.cell(target, 0);
                if cell.is_null() { 0 } else { state.add_alike(&cell, latency.rows) }
            }
        })
    }

    /// Adds to every active state of the group of row 0 what `add` does, which tells by how many bytes it grew.
    fn add_summed(
        &mut self,
        rows: &impl Rows,
        add: impl Fn(&mut State, Option<&Target>) -> usize,
    ) -> Result<(), QueryError> {
        let group = self.group(rows, 0)?;
        for (at, aggregate) in self.aggregates.iter().enumerate().filter(|(at, _)| self.active >> at & 1 == 1)
        {
            let state = &mut self.states[group * self.aggregates.len() + at];
            self.bytes += add(state, aggregate.arg.as_ref());
        }
        self.check_bytes()
    }

    /// Sets the number of different values of the only group, which were counted one by one.
    pub(crate) fn set_distinct(&mut self, values: u64) {
        debug_assert!(self.by.is_empty() && self.groups <= 1);
        for (at, state) in self.states.iter_mut().enumerate() {
            if self.active >> at & 1 == 1 && matches!(state, State::Distinct(_) | State::Known(_)) {
                *state = State::Known(values);
            }
        }
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

    fn has_room_for_group(&self) -> Result<(), QueryError> {
        if self.groups == self.limits.groups_max {
            return Err(QueryError::TooManyGroups { groups_max: self.limits.groups_max });
        }
        Ok(())
    }

    fn new_group(&mut self, rows: &impl Rows, row: usize) -> Result<usize, QueryError> {
        self.has_room_for_group()?;
        let group = self.groups;
        self.groups += 1;
        self.index.insert(self.scratch.as_slice().into(), group);
        self.keys.extend(self.by.iter().map(|key| key_cell(key, rows, row).to_value()));
        let is_told = |(at, aggregate): (usize, &Aggregate)| {
            self.is_told_distinct && self.active >> at & 1 == 1 && aggregate.func == Func::CountDistinct
        };
        let fresh = |(at, aggregate): (usize, &Aggregate)| {
            if is_told((at, aggregate)) { State::Known(0) } else { State::new(aggregate.func) }
        };
        self.states.extend(self.aggregates.iter().enumerate().map(fresh));
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

/// Adds what an aggregate looks at of a row; returns by how many bytes the state grew.
fn add_value(state: &mut State, aggregate: &Aggregate, rows: &impl Rows, row: usize) -> usize {
    let Some(target) = &aggregate.arg else {
        state.add_rows(1);
        return 0;
    };
    let cell = rows.cell(target, row);
    if cell.is_null() { 0 } else { state.add(&cell, || rows.order(row)) }
}

/// Whether the place of each record among the others matters: then it must be read.
pub(crate) fn needs_places(aggregates: &[Aggregate], by: &[GroupKey]) -> bool {
    aggregates.iter().any(|aggregate| matches!(aggregate.func, Func::First | Func::Last))
        || targets(aggregates, by).any(|target| target == Target::Id)
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

pub(crate) fn key_cell<'a>(key: &GroupKey, rows: &'a impl Rows, row: usize) -> Cell<'a> {
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
