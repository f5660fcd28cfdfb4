//! Goes the way of summaries: what each covers is added to the groups, what it does not is scanned.
//!
//! Invariants:
//! - all shares of an answer, and their scans, are of the rows of one [`View`];
//! - each share computes its own aggregates and no other; every one of them makes every group that has rows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use heimdall_model::filter::{Filter, Target, Test};
use heimdall_model::matcher::{LeafTest, Node};
use heimdall_model::{Dataset, FieldType, Matcher, Timestamp, Value, schema};
use heimdall_store::summary::{Classes, Sought};
use heimdall_store::{CountsBy, Covered, Rest, ScanError, View};

use crate::cell::{Cell, Rows, passes};
use crate::engine::{Looked, QueryError, Run};
use crate::group::Grouping;
use crate::query::{Aggregate, Func, GroupKey, Pipe, SortKey, TimeRange};
use crate::ways::{Share, Summary, bin_of};

/// Aggregates from which on the shares of an answer are computed side by side.
const SIDE_BY_SIDE_MIN: usize = 4;

/// A row of which one value is known.
pub(crate) struct One<'a> {
    target: &'a Target,
    cell: Cell<'a>,
}

impl<'a> One<'a> {
    pub(crate) fn new(target: &'a Target, cell: Cell<'a>) -> One<'a> {
        One { target, cell }
    }
}

impl Rows for One<'_> {
    fn cell(&self, target: &Target, _row: usize) -> Cell<'_> {
        if target == self.target { self.cell.clone() } else { Cell::Null }
    }

    fn time(&self, _row: usize) -> Option<Timestamp> {
        None
    }

    fn order(&self, _row: usize) -> (i64, u64) {
        (0, 0)
    }
}

/// The rows of one bin of which these values are known.
struct Several<'a, const N: usize> {
    time: Timestamp,
    cells: [(Target, Cell<'a>); N],
}

impl<const N: usize> Rows for Several<'_, N> {
    fn cell(&self, target: &Target, _row: usize) -> Cell<'_> {
        if *target == Target::Field(schema::TIMESTAMP) {
            return Cell::Time(self.time);
        }
        let known = self.cells.iter().find(|(known, _)| known == target);
        known.map_or(Cell::Null, |(_, cell)| cell.clone())
    }

    fn time(&self, _row: usize) -> Option<Timestamp> {
        Some(self.time)
    }

    fn order(&self, _row: usize) -> (i64, u64) {
        (self.time.0, 0)
    }
}

fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::Null, |text| Cell::Text(text.into()))
}

/// The groups of one share, and what was read for them.
type Found<'q> = (Grouping<'q>, Looked);

impl Run<'_> {
    /// The groups by the shares of a way; `None` when a summary turns out not to know.
    pub(crate) fn by_shares<'q>(
        &self,
        view: &View,
        shares: &[Share],
        aggregates: &'q [Aggregate],
        by: &'q [GroupKey],
    ) -> Result<Option<Found<'q>>, QueryError> {
        let compute = |share: &Share| {
            let grouping = Grouping::new(aggregates, by, self.limits).only(share.aggregates);
            self.share(view, share, grouping)
        };
        let found: Vec<_> = if shares.len() > 1 && aggregates.len() >= SIDE_BY_SIDE_MIN {
            std::thread::scope(|scope| {
                let threads: Vec<_> =
                    shares.iter().map(|share| scope.spawn(move || compute(share))).collect();
                let ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
                ended.map(|end| end.unwrap_or(Err(QueryError::Store(ScanError::ThreadLost)))).collect()
            })
        } else {
            shares.iter().map(compute).collect()
        };
        let mut all = Grouping::new(aggregates, by, self.limits);
        let mut looked = Looked::default();
        for found in found {
            let Some((grouping, more)) = found? else { return Ok(None) };
            all.merge(grouping)?;
            looked.add(more);
        }
        Ok(Some((all, looked)))
    }

    fn share<'q>(
        &self,
        view: &View,
        share: &Share,
        mut grouping: Grouping<'q>,
    ) -> Result<Option<Found<'q>>, QueryError> {
        let mut looked = Looked::default();
        let edges: Vec<TimeRange> = self.plan.range.without(Some(share.inner)).collect();
        let rest = match &share.summary {
            Summary::Counts => self.counts(view, share.inner, &mut grouping, &mut looked)?,
            Summary::Latency => self.latency(view, share.inner, &mut grouping, &mut looked)?,
            Summary::Templates => match self.templates(view, share.inner, &mut grouping, &mut looked)? {
                Some(rest) => rest,
                None => return Ok(None),
            },
            Summary::Runs { by_level } => {
                match self.runs(view, *by_level, share.inner, &mut grouping, &mut looked)? {
                    Some(rest) => rest,
                    None => return Ok(None),
                }
            }
            Summary::Cube { field, filter, classes } => {
                let matcher = Matcher::compile(filter, self.plan.dataset).map_err(QueryError::Filter)?;
                let sought = sought(filter, self.plan.dataset);
                let cube = Cube { field, sought, values: &matcher.root, classes: *classes };
                match self.cube(view, &cube, share.inner, &mut grouping, &mut looked)? {
                    Some(rest) => rest,
                    None => return Ok(None),
                }
            }
        };
        let edges = edges.iter().map(|edge| (view, *edge));
        for (view, range) in edges.chain(rest.iter().map(|rest| (&rest.view, rest.range))) {
            looked.add(self.scan_groups(view, range, &mut grouping)?);
        }
        Ok(Some((grouping, looked)))
    }

    fn counts(
        &self,
        view: &View,
        inner: TimeRange,
        grouping: &mut Grouping<'_>,
        looked: &mut Looked,
    ) -> Result<Vec<Rest>, QueryError> {
        let matcher = Matcher::compile(&self.plan.filter, self.plan.dataset).map_err(QueryError::Filter)?;
        let mut result = Ok(());
        let service_field = Target::Field(self.plan.dataset.service());
        let by = CountsBy { bin: bin_of(grouping.by()), service: true, level: true };
        view.counts(inner, by, &mut |time, service, level, count| {
            let level = level.map_or(Cell::Null, Cell::Level);
            let cells = [(service_field.clone(), text(service)), (Target::Field(schema::logs::LEVEL), level)];
            let rows = Several { time, cells };
            if result.is_ok() && passes(&matcher.root, &rows, 0) {
                looked.stats.rows_matched += count;
                result = grouping.add_counted(&rows, count);
            }
        })?;
        result.map(|()| Vec::new())
    }

    fn latency(
        &self,
        view: &View,
        inner: TimeRange,
        grouping: &mut Grouping<'_>,
        looked: &mut Looked,
    ) -> Result<Vec<Rest>, QueryError> {
        let matcher = Matcher::compile(&self.plan.filter, self.plan.dataset).map_err(QueryError::Filter)?;
        let service_field = Target::Field(self.plan.dataset.service());
        let Some(duration) = self.plan.dataset.duration().map(Target::Field) else { return Ok(Vec::new()) };
        let Covered { found, rest } = view.latency(inner, bin_of(grouping.by()))?;
        for each in found {
            let rows =
                Several { time: each.time, cells: [(service_field.clone(), text(each.service.as_deref()))] };
            if passes(&matcher.root, &rows, 0) {
                looked.stats.rows_matched += each.latency.rows;
                grouping.add_durations(&rows, &duration, &each.latency)?;
            }
        }
        Ok(rest)
    }

    /// Adds what counts by template know; gives what they do not cover, or `None` when templates do not decide the filter, or somebody
    /// asks for the id of no template: only stored rows tell whether none was assigned.
    fn templates(
        &self,
        view: &View,
        inner: TimeRange,
        grouping: &mut Grouping<'_>,
        looked: &mut Looked,
    ) -> Result<Option<Vec<Rest>>, QueryError> {
        let counts =
            view.decided_template_counts(self.store, &self.plan.filter, inner, bin_of(grouping.by()))?;
        let Some(Covered { found: counts, rest }) = counts else { return Ok(None) };
        let id_field = Target::Field(schema::logs::TEMPLATE_ID);
        let reads_ids = crate::group::targets(grouping.aggregates(), grouping.by()).any(|it| it == id_field);
        if reads_ids && counts.keys().any(|(_, template)| *template == 0) {
            return Ok(None);
        }
        let mut texts: std::collections::HashMap<u32, Option<Arc<str>>> = std::collections::HashMap::new();
        for ((time, template), count) in counts {
            let known = texts
                .entry(template)
                .or_insert_with(|| self.store.template_text(&self.query.tenant, template));
            let cells = [
                (id_field.clone(), Cell::Int(i64::from(template))),
                (Target::Template, text(known.as_deref())),
            ];
            looked.stats.rows_matched += count;
            grouping.add_counted(&Several { time, cells }, count)?;
        }
        Ok(Some(rest))
    }

    /// Adds what runs know; gives what they do not cover, or `None` when somebody asks for the id of no template: only stored rows
    /// tell whether none was assigned.
    fn runs(
        &self,
        view: &View,
        by_level: bool,
        inner: TimeRange,
        grouping: &mut Grouping<'_>,
        looked: &mut Looked,
    ) -> Result<Option<Vec<Rest>>, QueryError> {
        let matcher = Matcher::compile(&self.plan.filter, self.plan.dataset).map_err(QueryError::Filter)?;
        let id_field = Target::Field(schema::logs::TEMPLATE_ID);
        let service_field = Target::Field(self.plan.dataset.service());
        let mut targets: Vec<Target> = crate::group::targets(grouping.aggregates(), grouping.by()).collect();
        crate::plan::filter_targets(&self.plan.filter, &mut targets);
        let reads_ids = targets.contains(&id_field);
        let mut texts: std::collections::HashMap<u32, Option<Arc<str>>> = std::collections::HashMap::new();
        let (mut result, mut is_decided) = (Ok(()), true);
        let rest = view.runs(inner, by_level, &mut |run| {
            is_decided &= !(reads_ids && run.template == 0);
            let known = texts
                .entry(run.template)
                .or_insert_with(|| self.store.template_text(&self.query.tenant, run.template));
            let cells = [
                (service_field.clone(), text(run.service)),
                (Target::Field(schema::logs::LEVEL), run.level.map_or(Cell::Null, Cell::Level)),
                (id_field.clone(), Cell::Int(i64::from(run.template))),
                (Target::Template, text(known.as_deref())),
            ];
            let mut rows = Several { time: run.first, cells };
            if !is_decided || result.is_err() || !passes(&matcher.root, &rows, 0) {
                return;
            }
            looked.stats.rows_matched += run.rows;
            // The rows between are like the first, but for their times, of which only both ends are asked for.
            result = grouping.add_counted(&rows, (run.rows - 1).max(1));
            if run.rows > 1 && result.is_ok() {
                rows.time = run.last;
                result = grouping.add_counted(&rows, 1);
            }
        })?;
        result?;
        Ok(is_decided.then_some(rest))
    }

    /// Adds what cubes know; gives what they do not cover, or `None` when they turn out not to know: a number in attributes is
    /// kept as its value, and a filter may ask for how it was written (`5.0` or `5`).
    fn cube(
        &self,
        view: &View,
        cube: &Cube<'_>,
        inner: TimeRange,
        grouping: &mut Grouping<'_>,
        looked: &mut Looked,
    ) -> Result<Option<Vec<Rest>>, QueryError> {
        let by_class = cube.classes.is_some();
        let Covered { found: mut cubes, mut rest } = view.cubes(cube.field, inner, by_class)?;
        let first = self.first_of(grouping);
        let counts_values =
            grouping.aggregates().iter().any(|aggregate| aggregate.func == Func::CountDistinct);
        if first.is_some() || (counts_values && grouping.by().is_empty()) {
            // Then all values come by here, each once.
            self.count_rest(cube, &mut cubes, &mut rest, looked)?;
        }
        let is_whole = rest.is_empty();
        let first = first.filter(|_| is_whole);
        let is_told = is_whole && grouping.by().is_empty();
        let by_form = matches!(cube.field, Target::Attribute(_)) && asks_for_form(cube.values);
        let make = {
            let grouping = &*grouping;
            || ByValue {
                first: first.map(First::new),
                grouping: if is_told { grouping.another().told_distinct() } else { grouping.another() },
                values: 0,
                rows: 0,
                is_decided: true,
                result: Ok(()),
            }
        };
        let classes = cube.classes.unwrap_or(Classes::ALL);
        let found = cubes.fold(cube.sought, classes, &make, &|found: &mut ByValue<'_>, value, count| {
            let cell = Cell::from(value);
            found.is_decided &= !(by_form && matches!(cell, Cell::Int(_) | Cell::Float(_)));
            let row = One::new(cube.field, cell);
            if passes(cube.values, &row, 0) {
                found.rows += count;
                found.values += u64::from(!row.cell.is_null());
                match &mut found.first {
                    Some(first) => first.offer(&row.cell, count),
                    None => found.result = found.grouping.add_counted(&row, count),
                }
            }
            found.is_decided && found.result.is_ok()
        })?;
        if !found.iter().all(|found| found.is_decided) {
            return Ok(None);
        }
        let values = found.iter().map(|found| found.values).sum();
        let mut all: Option<First> = None;
        for found in found {
            found.result?;
            looked.stats.rows_matched += found.rows;
            grouping.merge(found.grouping)?;
            match (&mut all, found.first) {
                (Some(all), Some(more)) => all.merge(more),
                (all, more) => *all = more,
            }
        }
        for (count, Reverse(value)) in all.map(First::into_values).unwrap_or_default() {
            grouping.add_counted(&One::new(cube.field, Cell::from(&value.0)), count)?;
        }
        if is_told {
            grouping.set_distinct(values);
        }
        Ok(Some(rest))
    }

    /// Counts the rows by value that cubes do not cover, and adds them to the cubes. Left to be scanned is what has a value of which
    /// more than its text counts: two texts can be of one JSON value.
    fn count_rest(
        &self,
        cube: &Cube<'_>,
        cubes: &mut heimdall_store::Cubes,
        rest: &mut Vec<Rest>,
        looked: &mut Looked,
    ) -> Result<(), QueryError> {
        if rest.is_empty() {
            return Ok(());
        }
        let rows = [Aggregate { func: Func::Count, arg: None, alias: String::new() }];
        let by = [GroupKey::Field(cube.field.clone())];
        let mut counted = Grouping::new(&rows, &by, self.limits);
        let mut more = Looked::default();
        for Rest { view, range } in &*rest {
            match self.scan_groups(view, *range, &mut counted) {
                Ok(looked) => more.add(looked),
                // They may fit without their names.
                Err(QueryError::TooMuchMemory { .. } | QueryError::TooManyGroups { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let (counted, _) = counted.finish(self.plan.range);
        if counted.iter().any(|row| matches!(row.first(), Some(Value::Json(_)))) {
            return Ok(());
        }
        for row in &counted {
            if let [value, Value::Int(count)] = row.as_slice() {
                let count = u64::try_from(*count).unwrap_or(0);
                cubes.add(Cell::from(value).summary(), count);
                more.stats.rows_matched = more.stats.rows_matched.saturating_sub(count);
            }
        }
        looked.add(more);
        rest.clear();
        Ok(())
    }

    /// How many groups are needed when only those with the most rows are: `stats count() by x | sort -count | limit n`.
    fn first_of(&self, grouping: &Grouping<'_>) -> Option<usize> {
        let [Pipe::Sort(keys), Pipe::Limit(rows), ..] = self.plan.rest.as_slice() else { return None };
        let [SortKey { target: Target::Attribute(name), descending: true }] = keys.as_slice() else {
            return None;
        };
        let sorted = grouping.aggregates().iter().find(|aggregate| aggregate.alias == *name)?;
        let counts = sorted.func == Func::Count && sorted.arg.is_none();
        (counts && !grouping.by().is_empty()).then_some(*rows)
    }
}

/// Whether a filter tells numbers apart by how they are written.
fn asks_for_form(node: &Node) -> bool {
    match node {
        Node::All => false,
        Node::And(parts) | Node::Or(parts) => parts.iter().any(asks_for_form),
        Node::Not(part) => asks_for_form(part),
        Node::Leaf(leaf) => match &leaf.test {
            LeafTest::Exists | LeafTest::Equals(_) => false,
            LeafTest::Compare(_, literal) => literal.number().is_none(),
            LeafTest::Words(_) | LeafTest::Contains(_) | LeafTest::Pattern(_) => true,
        },
    }
}

/// Where in the cubes of a field the values lie that pass a filter of this field.
pub(crate) fn sought(filter: &Filter, dataset: Dataset) -> Sought {
    match filter {
        Filter::Test(target, Test::Equals(literal))
            if matches!(target, Target::Attribute(_)) || target.ty(dataset) == Some(FieldType::Text) =>
        {
            Sought::equal_to(&literal.text)
        }
        Filter::And(parts) => parts.iter().map(|part| sought(part, dataset)).fold(Sought::ALL, Sought::and),
        _ => Sought::ALL,
    }
}

/// A cube as a share asks it.
struct Cube<'a> {
    field: &'a Target,
    /// Where values that fit may be.
    sought: Sought,
    /// What the value must fit.
    values: &'a Node,
    classes: Option<Classes>,
}

/// What one thread has found in cubes.
struct ByValue<'q> {
    first: Option<First>,
    grouping: Grouping<'q>,
    values: u64,
    rows: u64,
    is_decided: bool,
    result: Result<(), QueryError>,
}

/// The values with the most rows; of values with as many, those that sort first.
struct First {
    wanted: usize,
    // The root is the one to go next.
    kept: BinaryHeap<Reverse<(u64, Reverse<Ordered>)>>,
}

/// A value in the order of groups.
#[derive(Debug, Clone, PartialEq)]
struct Ordered(Value);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl First {
    fn new(wanted: usize) -> First {
        First { wanted, kept: BinaryHeap::new() }
    }

    fn offer(&mut self, cell: &Cell<'_>, count: u64) {
        let is_full = self.kept.len() >= self.wanted;
        if is_full && self.kept.peek().is_none_or(|Reverse((least, _))| count < *least) {
            return;
        }
        self.kept.push(Reverse((count, Reverse(Ordered(cell.to_value())))));
        if self.kept.len() > self.wanted {
            self.kept.pop();
        }
    }

    fn merge(&mut self, other: First) {
        for kept in other.kept {
            self.kept.push(kept);
            if self.kept.len() > self.wanted {
                self.kept.pop();
            }
        }
    }

    fn into_values(self) -> Vec<(u64, Reverse<Ordered>)> {
        self.kept.into_iter().map(|Reverse(kept)| kept).collect()
    }
}
