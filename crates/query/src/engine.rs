//! Runs a [`Query`] over the store.
//!
//! Invariants:
//! - an answer is whole, or `stats.partial` is set and `stats.warnings` says what is missing, or it is an error;
//! - rows, groups and bytes stay within [`RunLimits`]; cancel flag and deadline of the [`Control`] end the run.
//!
//! Not here: which segments and pages are read (the store's scan).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use heimdall_model::filter::Target;
use heimdall_model::matcher::FilterError;
use heimdall_model::{Dataset, FieldId, Position, Tenant, Timestamp, Value, schema};
use heimdall_store::{
    Along, Control, Extent, Hit, RowBlock, ScanError, ScanPlan, ScanRequest, ScanStats, Store, StoreError,
    TimeRange, View, Wanted,
};
use serde::Serialize;

pub use crate::plan::Strategy;

use crate::answer::{Answer, AnswerStats, Column};
use crate::cache::ResultCache;
use crate::cell::{self, BlockRows, Cell, Templates};
use crate::cost::QueryCost;
use crate::group::{self, Grouping};
use crate::join;
use crate::pages::PagePlace;
use crate::parts::Slice;
use crate::plan::{Plan, Source};
use crate::query::{Aggregate, GroupKey, Pipe, Query, Scope, SortKey};
use crate::stage::Stage;
use crate::summaries::One;
use crate::table::Table;
use crate::top::TopRows;
use crate::ways::{Stats, Way, WayPlan};

/// Bounds of one answer and of the memory it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RunLimits {
    /// Records returned when the query names no limit.
    pub rows_default: usize,
    /// Most rows returned; a longer answer is cut and marked partial.
    pub rows_max: usize,
    /// Most groups of a `stats`; more are an error.
    pub groups_max: usize,
    /// Most bytes of grouping state at once; more are read for part by part, and an error where that does not help.
    pub group_bytes_max: usize,
    /// Most bytes of returned values; a larger answer is cut and marked partial.
    pub result_bytes_max: usize,
}

impl Default for RunLimits {
    fn default() -> Self {
        RunLimits {
            rows_default: 100,
            rows_max: 10_000,
            groups_max: 1_000_000,
            group_bytes_max: 256 << 20,
            result_bytes_max: 64 << 20,
        }
    }
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Whoever asked no longer wants it.
    #[error("the query was cancelled")]
    Cancelled,
    /// The deadline passed before the first row was certain.
    #[error("the query ran out of time after {rows_scanned} rows; narrow the time range or the conditions")]
    OutOfTime {
        /// Rows looked at until then.
        rows_scanned: u64,
    },
    /// The row budget was spent before the first row was certain.
    #[error("the query looked at more than {rows_max} rows; narrow the time range or the conditions")]
    OutOfBudget {
        /// The budget.
        rows_max: u64,
    },
    /// A `stats` made too many groups.
    #[error("`stats` made more than {groups_max} groups; group by fewer fields or a wider bin")]
    TooManyGroups {
        /// The limit.
        groups_max: usize,
    },
    /// A `stats` took too much memory.
    #[error("`stats` needs more than {bytes_max} bytes; group by fewer fields or use fewer percentiles")]
    TooMuchMemory {
        /// The limit.
        bytes_max: usize,
    },
    /// The rows found do not fit memory's share of one answer.
    #[error("the rows found are larger than {} MiB; ask for fewer rows or fewer fields", bytes_max >> 20)]
    AnswerTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// A pipe keeps more than it may.
    #[error("`{pipe}` keeps more than {limit}; {advice}")]
    PipeTooLarge {
        /// The pipe.
        pipe: &'static str,
        /// The limit.
        limit: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A pipe cannot run as it is; search lines never make such a one.
    #[error("`{pipe}` cannot run: {reason}")]
    InvalidPipe {
        /// The pipe.
        pipe: &'static str,
        /// Why.
        reason: String,
    },
    /// A condition does not compile.
    #[error(transparent)]
    Filter(FilterError),
    /// The store could not be read.
    #[error("the store could not be read")]
    Store(#[source] ScanError),
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> Self {
        QueryError::Store(ScanError::from(error))
    }
}

impl From<ScanError> for QueryError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Cancelled => QueryError::Cancelled,
            ScanError::DeadlineExceeded { stats } => {
                QueryError::OutOfTime { rows_scanned: stats.rows_scanned }
            }
            ScanError::BudgetExceeded { rows_max, .. } => QueryError::OutOfBudget { rows_max },
            ScanError::AnswerTooLarge { bytes_max } => QueryError::AnswerTooLarge { bytes_max },
            ScanError::Filter(error) => QueryError::Filter(error),
            other => QueryError::Store(other),
        }
    }
}

/// What a query would do.
#[derive(Debug, Clone, Serialize)]
pub struct Explain {
    /// The query as a search line.
    pub query: String,
    /// Whose records.
    pub tenant: Tenant,
    /// Which records.
    pub dataset: Dataset,
    /// From when (inclusive).
    pub from: Timestamp,
    /// Until when (exclusive).
    pub to: Timestamp,
    /// How the records are looked at.
    pub strategy: Strategy,
    /// The steps, in order.
    pub steps: Vec<String>,
    /// The ways a `stats` could be answered, the cheapest first; none for a list of records.
    pub ways: Vec<WayPlan>,
    /// What the store would read: one scan, or with summaries one for each part that they do not cover.
    pub scans: Vec<ScanPlan>,
    /// Rows that would be looked at, at most.
    pub rows_estimate: u64,
    /// Bytes that would be read, at most.
    pub bytes_estimate: u64,
    /// What it is expected to cost.
    pub cost: QueryCost,
}

/// Runs queries over one store.
#[derive(Clone)]
pub struct Engine {
    store: Arc<Store>,
    cache: Option<Arc<ResultCache>>,
}

/// One query under way.
pub(crate) struct Run<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) query: &'a Query,
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) control: &'a Control,
    pub(crate) limits: RunLimits,
    pub(crate) stats: AnswerStats,
    /// Where each row of a list that has pages is.
    pub(crate) places: Vec<(Timestamp, Position)>,
}

#[cfg(test)]
pub(crate) type Rows = Vec<Vec<Value>>;

/// What was looked at for a part of an answer.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    pub(crate) stats: ScanStats,
    /// Why the rest was not.
    pub(crate) cut: Option<&'static str>,
}

impl Looked {
    pub(crate) fn add(&mut self, more: Looked) {
        self.stats.add(&more.stats);
        self.cut = self.cut.or(more.cut);
    }
}

impl Engine {
    /// An engine over a store.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Engine {
        Engine { store, cache: None }
    }

    /// Keeps answers in at most this many bytes; zero keeps none.
    #[must_use]
    pub fn with_cache(self, bytes_max: u64) -> Engine {
        Engine { cache: (bytes_max > 0).then(|| Arc::new(ResultCache::new(bytes_max))), ..self }
    }

    /// Answers a query as [`Engine::run`] does, from kept results where they are still right.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn answer(&self, query: &Query, control: &Control, limits: RunLimits) -> Result<Answer, QueryError> {
        match &self.cache {
            Some(cache) => cache.answer(self, query, control, limits),
            None => self.run(query, control, limits),
        }
    }

    #[cfg(test)]
    pub(crate) fn cache(&self) -> Option<&ResultCache> {
        self.cache.as_deref()
    }

    /// The store it reads.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Answers a query. Blocks while it reads: call it off the async threads.
    ///
    /// A segment that turns out to be damaged is left out, and told of: the answer is partial then.
    ///
    /// When time or budget run out while every matching row is looked at ([`Strategy::Scan`], [`Strategy::Top`]), the
    /// answer covers what was seen, marked partial; the other strategies have nothing certain by then and fail.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn run(&self, query: &Query, control: &Control, limits: RunLimits) -> Result<Answer, QueryError> {
        let control = Control { without_damaged: true, ..control.clone() };
        self.past_damage(|| self.run_once(query, &control, limits))
    }

    /// Tries again, without the segment that was found damaged: each time there is one less to fail on.
    fn past_damage<T>(&self, mut run: impl FnMut() -> Result<T, QueryError>) -> Result<T, QueryError> {
        loop {
            let known = self.store.damaged().len();
            match run() {
                Err(QueryError::Store(ScanError::Store(StoreError::Corrupt { .. })))
                    if self.store.damaged().len() > known => {}
                done => return done,
            }
        }
    }

    fn run_once(&self, query: &Query, control: &Control, limits: RunLimits) -> Result<Answer, QueryError> {
        let start = Instant::now();
        let mut plan = Plan::new(query);
        let mut stats = AnswerStats::new(plan.strategy);
        plan.rights = join::load_all(self, query, control, &mut stats)?;
        let mut run =
            Run { store: &self.store, query, plan: &plan, control, limits, stats, places: Vec::new() };
        run.stats.warnings.extend(query.warnings.iter().cloned());
        let table = if query.range.from < query.range.to { run.source()? } else { run.nothing() };
        let mut answer = run.complete(table)?;
        answer.stats.elapsed_ms = start.elapsed().as_secs_f64() * 1_000.0;
        Ok(answer)
    }

    /// The rows of a `stats` by each way that leads to an answer, the cheapest first.
    #[cfg(test)]
    pub(crate) fn run_every_way(
        &self,
        query: &Query,
        control: &Control,
        limits: RunLimits,
    ) -> Result<Vec<(Strategy, Rows)>, QueryError> {
        let plan = Plan::new(query);
        let Source::Groups { aggregates, by, pipe } = &plan.source else { return Ok(Vec::new()) };
        let view = self.store.view(&query.tenant, query.dataset);
        let ways = ways(&self.store, query, &plan, &view, (aggregates, by), true)?;
        let mut found = Vec::new();
        for way in ways {
            let stats = AnswerStats::new(way.strategy);
            let mut run =
                Run { store: &self.store, query, plan: &plan, control, limits, stats, places: Vec::new() };
            if !way.shares.is_empty() && run.by_shares(&view, &way.shares, aggregates, by)?.is_none() {
                continue;
            }
            let grouping = run.cheapest(&view, std::slice::from_ref(&way), aggregates, by)?;
            let (rows, _) = grouping.finish(query.range);
            let table = Table::of_groups(Scope::Records, pipe, rows, query.dataset);
            found.push((way.strategy, run.complete(table)?.rows));
        }
        Ok(found)
    }

    /// Finishes a query whose groups, in the order of their keys, are known already.
    pub(crate) fn finish(
        &self,
        query: &Query,
        control: &Control,
        limits: RunLimits,
        groups: Vec<Vec<Value>>,
        mut stats: AnswerStats,
    ) -> Result<Answer, QueryError> {
        let mut plan = Plan::new(query);
        plan.rights = join::load_all(self, query, control, &mut stats)?;
        stats.warnings.splice(0..0, query.warnings.iter().cloned());
        let run = Run { store: &self.store, query, plan: &plan, control, limits, stats, places: Vec::new() };
        let table = match &plan.source {
            Source::Groups { pipe, .. } => Table::of_groups(Scope::Records, pipe, groups, query.dataset),
            Source::Records { .. } => run.table(groups),
        };
        run.complete(table)
    }

    /// Says what a query would do, without doing it.
    ///
    /// # Errors
    /// [`QueryError`] when a condition does not compile or the store cannot be read.
    pub fn explain(&self, query: &Query, limits: RunLimits) -> Result<Explain, QueryError> {
        self.past_damage(|| self.explain_once(query, limits))
    }

    fn explain_once(&self, query: &Query, limits: RunLimits) -> Result<Explain, QueryError> {
        let plan = Plan::new(query);
        let ways = match &plan.source {
            Source::Groups { aggregates, by, .. } => {
                let view = self.store.view(&query.tenant, query.dataset).without_damaged();
                ways(&self.store, query, &plan, &view, (aggregates, by), true)?
            }
            Source::Records { .. } => Vec::new(),
        };
        let way = ways.first();
        let strategy = way.map_or(plan.strategy, |way| way.strategy);
        let ranges: Vec<TimeRange> = match way {
            Some(way) if !way.shares.is_empty() => {
                way.shares.iter().flat_map(|share| plan.range.without(Some(share.inner))).collect()
            }
            _ => vec![plan.range],
        };
        let scans = ranges
            .into_iter()
            .map(|range| self.store.explain(&request(query, &plan, range, None)))
            .collect::<Result<Vec<_>, _>>()?;
        let cost = match way {
            Some(way) => QueryCost::of_way(way),
            None => QueryCost::of_list(self, query, &plan, &scans, limits)?,
        };
        Ok(Explain {
            cost,
            query: query.to_string(),
            tenant: query.tenant.clone(),
            dataset: query.dataset,
            from: query.range.from,
            to: query.range.to,
            strategy,
            steps: plan.steps(strategy, limits.rows_default),
            ways: ways.iter().enumerate().map(|(at, way)| way.plan(at == 0)).collect(),
            rows_estimate: scans.iter().map(|scan| scan.rows_estimate).sum(),
            bytes_estimate: scans.iter().map(|scan| scan.bytes_estimate).sum(),
            scans,
        })
    }
}

/// The ways to answer the grouping of a plan, the cheapest first.
fn ways(
    store: &Arc<Store>,
    query: &Query,
    plan: &Plan<'_>,
    view: &View,
    (aggregates, by): (&[Aggregate], &[GroupKey]),
    ask: bool,
) -> Result<Vec<Way>, QueryError> {
    let candidates = || {
        let scan = store.explain(&request(query, plan, plan.range, None)).map_err(QueryError::from)?;
        Ok(Extent { parts: scan.segments, rows: scan.rows_estimate, bytes: scan.bytes_estimate })
    };
    Stats { plan, aggregates, by, view, candidates: &candidates }.ways(ask)
}

pub(crate) fn request(
    query: &Query,
    plan: &Plan<'_>,
    range: TimeRange,
    fields: Option<Vec<FieldId>>,
) -> ScanRequest {
    let (tenant, filter) = (query.tenant.clone(), plan.filter.clone());
    ScanRequest { tenant, dataset: query.dataset, range, filter, fields }
}

impl<'a> Run<'a> {
    fn source(&mut self) -> Result<Table, QueryError> {
        match &self.plan.source {
            Source::Records { sort, limit } => self.records(sort, *limit),
            Source::Groups { pipe, aggregates, by } => self.groups(pipe, aggregates, by),
        }
    }

    /// The table of an empty time range.
    fn nothing(&self) -> Table {
        match &self.plan.source {
            Source::Records { .. } => self.table(Vec::new()),
            Source::Groups { pipe, aggregates, by } => {
                let (rows, _) = Grouping::new(aggregates, by, self.limits).finish(self.plan.range);
                Table::of_groups(Scope::Records, pipe, rows, self.query.dataset)
            }
        }
    }

    pub(crate) fn table(&self, rows: Vec<Vec<Value>>) -> Table {
        Table { columns: self.plan.columns.clone(), rows, shown: (0..self.plan.shown).collect() }
    }

    // ---- records ------------------------------------------------------------------------------------------------

    fn records(&mut self, sort: &[SortKey], limit: Option<usize>) -> Result<Table, QueryError> {
        if self.plan.dedup.as_ref().is_some_and(|dedup| dedup.needs_all) {
            let rows = self.staged(sort, usize::MAX)?;
            return Ok(self.table(rows));
        }
        let wanted = self.wanted(limit);
        let rows_max = wanted.min(self.limits.rows_max);
        if let Some(around) = self.plan.context {
            let rows = self.context(around, rows_max)?;
            return Ok(self.table(rows));
        }
        let rows = if self.plan.is_staged() {
            self.staged(sort, rows_max)?
        } else if self.plan.strategy == Strategy::Top {
            self.top(sort, rows_max)?
        } else {
            self.search(rows_max)?
        };
        if rows.len() == rows_max && wanted > rows_max {
            let shown = format!("the first {rows_max} rows of the {wanted} asked for are shown");
            self.stats.is_missing(shown);
        }
        self.note_page_end(rows.len(), rows_max, limit);
        if limit.is_none() && rows.len() == rows_max {
            self.stats.default_limit = Some(rows_max);
        }
        Ok(self.table(rows))
    }

    /// Rows of a list still wanted: a limit of the line is of all its pages.
    pub(crate) fn wanted(&self, limit: Option<usize>) -> usize {
        let before = self.plan.after.map_or(0, |place| usize::try_from(place.rows).unwrap_or(usize::MAX));
        limit.map_or(self.limits.rows_default, |limit| limit.saturating_sub(before))
    }

    /// Says where a full page ends, when more rows are wanted after it.
    pub(crate) fn note_page_end(&mut self, rows: usize, rows_max: usize, limit: Option<usize>) {
        let ends_here = rows < rows_max || limit.is_some() && self.wanted(limit) <= rows;
        if ends_here || !self.plan.is_paged() {
            return;
        }
        self.end_page_at(rows);
    }

    /// Says that the page ends with this many rows.
    pub(crate) fn end_page_at(&mut self, rows: usize) {
        let before = self.plan.after.map_or(0, |place| place.rows);
        let last = rows.checked_sub(1).and_then(|last| self.places.get(last));
        self.stats.page_end = last.map(|(time, position)| PagePlace {
            time: *time,
            position: *position,
            rows: before + rows as u64,
        });
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = Target> + 'a {
        let plan = self.plan;
        plan.columns.iter().map(|column| column.target.clone())
    }

    pub(crate) fn wants_templates(&self) -> bool {
        let is_template = |target: Target| target == Target::Template;
        let in_stage = self.plan.stored(std::iter::empty()).any(is_template);
        let of_kinds = self.plan.dedup.as_ref().is_some_and(|dedup| dedup.by.contains(&Target::Template));
        in_stage
            || of_kinds
            || match &self.plan.source {
                Source::Records { sort, .. } => {
                    self.targets().any(is_template) || sort.iter().any(|key| key.target == Target::Template)
                }
                Source::Groups { aggregates, by, .. } => group::targets(aggregates, by).any(is_template),
            }
    }

    fn search(&mut self, rows_max: usize) -> Result<Vec<Vec<Value>>, QueryError> {
        let fields = self.plan.fields(self.targets());
        let request = request(self.query, self.plan, self.plan.range, Some(fields));
        let wanted = self.wanted_of_store(rows_max);
        let (hits, stats) = self.store.search_wanted(&request, wanted, self.control)?;
        self.stats.add(&stats);
        self.note_places(&hits);
        Ok(self.materialise(&hits))
    }

    /// What the store is to look for in the order of time.
    pub(crate) fn wanted_of_store(&self, limit: usize) -> Wanted {
        let after = self.plan.after.map(|place| (place.time, place.position));
        Wanted { order: self.plan.order(), limit, after }
    }

    pub(crate) fn note_places(&mut self, hits: &[Hit]) {
        if self.plan.is_paged() {
            self.places.extend(hits.iter().map(Hit::place));
        }
    }

    pub(crate) fn materialise(&self, hits: &[Hit]) -> Vec<Vec<Value>> {
        let mut templates = Templates::new(self.store, &self.query.tenant);
        let wants_templates = self.wants_templates();
        let mut last: Option<&Arc<RowBlock>> = None;
        for hit in hits.iter().filter(|_| wants_templates) {
            if !last.is_some_and(|last| Arc::ptr_eq(last, &hit.block)) {
                templates.learn(&hit.block);
            }
            last = Some(&hit.block);
        }
        hits.iter()
            .map(|hit| record(self.plan, &BlockRows { block: &hit.block, templates: &templates }, hit.row))
            .collect()
    }

    fn top(&mut self, sort: &[SortKey], rows_max: usize) -> Result<Vec<Vec<Value>>, QueryError> {
        let keys = sort.iter().map(|key| key.target.clone());
        let fields = self.plan.fields(self.targets().chain(keys));
        let plan = self.plan;
        let view = self.store.view(&self.query.tenant, self.query.dataset);
        let (top, looked) = self.fold(
            &view,
            self.plan.range,
            fields,
            Along::Ids,
            || TopRows::new(sort, rows_max),
            |top, rows| {
                (0..rows.block.rows()).for_each(|row| top.offer(rows, row, || record(plan, rows, row)));
                Ok(())
            },
            |top, others| {
                top.merge(others);
                Ok(())
            },
        )?;
        self.has_looked(looked);
        Ok(top.into_rows())
    }

    /// Folds the matching records of a range. Running out of time or budget leaves a part, which is marked; other errors
    /// end the run.
    #[expect(clippy::too_many_arguments, reason = "what to read, and the three parts of a fold")]
    pub(crate) fn fold<S: Send>(
        &self,
        view: &View,
        range: TimeRange,
        fields: Vec<FieldId>,
        along: Along,
        make: impl Fn() -> S + Sync,
        each: impl Fn(&mut S, &BlockRows<'_>) -> Result<(), QueryError> + Sync,
        mut merge: impl FnMut(&mut S, S) -> Result<(), QueryError>,
    ) -> Result<(S, Looked), QueryError> {
        let request = request(self.query, self.plan, range, Some(fields));
        let (store, tenant) = (self.store, &self.query.tenant);
        let wants_templates = self.wants_templates();
        let part = || Part { state: make(), templates: Templates::new(store, tenant), failed: None };
        let (part, result) = store.fold_in(
            view,
            &request,
            along,
            self.control,
            part,
            |part, block| {
                if wants_templates {
                    part.templates.learn(block);
                }
                let rows = BlockRows { block, templates: &part.templates };
                part.failed = each(&mut part.state, &rows).err();
                if part.failed.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
            |part, other| {
                if part.failed.is_none() {
                    part.failed = other.failed.or_else(|| merge(&mut part.state, other.state).err());
                }
            },
        );
        if let Some(error) = part.failed {
            return Err(error);
        }
        let looked = match result {
            Ok(stats) => Looked { stats, cut: None },
            Err(ScanError::DeadlineExceeded { stats }) => {
                Looked { stats: *stats, cut: Some("its time ran out") }
            }
            Err(ScanError::BudgetExceeded { stats, .. }) => {
                Looked { stats: *stats, cut: Some("its row budget was spent") }
            }
            Err(error) => return Err(error.into()),
        };
        Ok((part.state, looked))
    }

    pub(crate) fn has_looked(&mut self, looked: Looked) {
        self.stats.add(&looked.stats);
        if let Some(why) = looked.cut {
            let rows = self.stats.rows_scanned;
            self.stats.is_missing(format!(
                "the query stopped after {rows} rows because {why}: the answer covers those only"
            ));
        }
    }

    // ---- groups -------------------------------------------------------------------------------------------------

    fn groups(
        &mut self,
        pipe: &Pipe,
        aggregates: &[Aggregate],
        by: &[GroupKey],
    ) -> Result<Table, QueryError> {
        let view = self.store.view(&self.query.tenant, self.query.dataset).without_damaged();
        self.stats.goes_without(view.missing(self.plan.range));
        let ways = ways(self.store, self.query, self.plan, &view, (aggregates, by), false)?;
        let (rows, notes) = match self.cheapest(&view, &ways, aggregates, by) {
            Err(QueryError::TooMuchMemory { .. }) if self.has_parts(aggregates, by) => {
                self.stats.strategy = Strategy::Scan;
                self.in_parts(&view, aggregates, by)?
            }
            grouping => grouping?.finish(self.plan.range),
        };
        self.stats.notes.extend(notes);
        Ok(Table::of_groups(Scope::Records, pipe, rows, self.query.dataset))
    }

    /// Goes the first way that leads to an answer.
    fn cheapest<'q>(
        &mut self,
        view: &View,
        ways: &[Way],
        aggregates: &'q [Aggregate],
        by: &'q [GroupKey],
    ) -> Result<Grouping<'q>, QueryError> {
        for way in ways {
            self.stats.strategy = way.strategy;
            let mut grouping = Grouping::new(aggregates, by, self.limits);
            if way.strategy == Strategy::Count {
                self.count(view, &mut grouping)?;
            } else if way.shares.is_empty() {
                let looked = self.scan_groups(view, self.plan.range, &mut grouping)?;
                self.has_looked(looked);
            } else {
                let Some((found, looked)) = self.by_shares(view, &way.shares, aggregates, by)? else {
                    continue;
                };
                self.has_looked(looked);
                grouping = found;
            }
            return Ok(grouping);
        }
        unreachable!("a scan always leads to an answer")
    }

    /// Groups the matching rows of a range.
    pub(crate) fn scan_groups(
        &self,
        view: &View,
        range: TimeRange,
        grouping: &mut Grouping<'_>,
    ) -> Result<Looked, QueryError> {
        self.scan_part(view, range, grouping, Slice::ALL)
    }

    /// Groups the matching rows of a range whose groups belong to a part.
    pub(crate) fn scan_part(
        &self,
        view: &View,
        range: TimeRange,
        grouping: &mut Grouping<'_>,
        part: Slice,
    ) -> Result<Looked, QueryError> {
        let (aggregates, by) = (grouping.aggregates(), grouping.by());
        let fields = self.plan.group_fields(aggregates, by);
        let stage = Stage::new(&self.plan.stage, self.query.dataset, &self.plan.rights)?;
        let reads_ids = self.plan.stored(std::iter::empty()).any(|target| target == Target::Id);
        let places = reads_ids || group::needs_places(aggregates, by);
        let along = if places { Along::Ids } else { Along::Nothing };
        let make = {
            let grouping = &*grouping;
            || grouping.another()
        };
        let each = |grouping: &mut Grouping<'_>, rows: &BlockRows<'_>| {
            if !self.plan.is_computed() && part.is_all() {
                return grouping.add_block(rows);
            }
            (0..rows.block.rows()).try_for_each(|row| {
                stage.row(rows, row, |row| if part.holds(by, row, 0) { grouping.add(row, 0) } else { Ok(()) })
            })
        };
        let (found, looked) = self.fold(view, range, fields, along, make, each, Grouping::merge)?;
        grouping.merge(found)?;
        Ok(looked)
    }

    fn count(&mut self, view: &View, grouping: &mut Grouping<'_>) -> Result<(), QueryError> {
        let request = request(self.query, self.plan, self.plan.range, Some(Vec::new()));
        let (rows, stats) = self.store.count_in(view, &request, self.control)?;
        self.stats.add(&stats);
        grouping.add_counted(&One::new(&Target::Id, Cell::Null), rows)
    }

    // ---- answer -------------------------------------------------------------------------------------------------

    /// Runs what follows the source.
    fn complete(mut self, mut table: Table) -> Result<Answer, QueryError> {
        let Query { dataset, range, .. } = self.query;
        let notes = table.run(&self.plan.rest, *dataset, *range, self.limits, &self.plan.rights)?;
        self.stats.notes.extend(notes);
        Ok(self.answer(table))
    }

    fn answer(mut self, table: Table) -> Answer {
        let Table { columns, mut rows, mut shown } = table;
        if self.plan.default_columns {
            let always = |column: usize| is_essential(&columns[column].target, self.query.dataset);
            shown.retain(|column| always(*column) || rows.iter().any(|row| !row[*column].is_null()));
        }
        if rows.len() > self.limits.rows_max {
            let (all, max) = (rows.len(), self.limits.rows_max);
            self.stats.is_missing(format!("the first {max} of {all} rows are shown"));
            rows.truncate(max);
        }
        let kept = rows_within(&rows, &shown, self.limits.result_bytes_max);
        if kept < rows.len() {
            let (all, bytes) = (rows.len(), self.limits.result_bytes_max);
            self.stats.is_missing(format!(
                "the first {kept} of {all} rows are shown: more are beyond {bytes} bytes"
            ));
            rows.truncate(kept);
            if self.plan.is_paged() {
                self.end_page_at(kept);
            }
        }
        let in_place = shown.iter().copied().eq(0..columns.len());
        if !in_place {
            for row in &mut rows {
                *row = shown.iter().map(|column| std::mem::replace(&mut row[*column], Value::Null)).collect();
            }
        }
        let columns = shown
            .iter()
            .map(|column| Column { name: columns[*column].name.clone(), ty: columns[*column].ty })
            .collect();
        Answer { columns, rows, stats: self.stats }
    }
}

/// What one thread has made of its part of the records.
struct Part<'s, S> {
    state: S,
    templates: Templates<'s>,
    failed: Option<QueryError>,
}

/// The values of one record for the plan's columns.
pub(crate) fn record(plan: &Plan<'_>, rows: &impl cell::Rows, row: usize) -> Vec<Value> {
    plan.columns.iter().map(|column| rows.cell(&column.target, row).to_value()).collect()
}

/// Columns a list of records has even when no record has a value.
fn is_essential(target: &Target, dataset: Dataset) -> bool {
    let essential: &[FieldId] = match dataset {
        Dataset::Logs => {
            &[schema::TIMESTAMP, schema::logs::LEVEL, schema::logs::SERVICE, schema::logs::MESSAGE]
        }
        Dataset::Metrics => {
            &[schema::TIMESTAMP, schema::metrics::SERVICE, schema::metrics::NAME, schema::metrics::VALUE]
        }
        Dataset::Spans => &[
            schema::TIMESTAMP,
            schema::spans::SERVICE,
            schema::spans::NAME,
            schema::spans::STATUS,
            schema::spans::DURATION_MS,
        ],
    };
    match target {
        Target::Id => true,
        Target::Field(id) => essential.contains(id),
        Target::Attribute(_) | Target::Template => false,
    }
}

/// How many rows from the first fit into `bytes_max`.
fn rows_within(rows: &[Vec<Value>], shown: &[usize], bytes_max: usize) -> usize {
    let mut bytes = 0;
    rows.iter()
        .take_while(|row| {
            bytes += shown.iter().map(|column| value_bytes(&row[*column])).sum::<usize>();
            bytes <= bytes_max
        })
        .count()
}

pub(crate) fn value_bytes(value: &Value) -> usize {
    const PLAIN_BYTES: usize = 16;
    match value {
        Value::Text(text) => text.len() + PLAIN_BYTES,
        Value::Json(json) => json_bytes(json),
        _ => PLAIN_BYTES,
    }
}

/// Roughly the bytes of a JSON value as text. Ingest bounds its depth.
fn json_bytes(json: &serde_json::Value) -> usize {
    match json {
        serde_json::Value::String(text) => text.len() + 2,
        serde_json::Value::Array(items) => items.iter().map(json_bytes).sum::<usize>() + 2,
        serde_json::Value::Object(members) => {
            members.iter().map(|(key, value)| key.len() + 4 + json_bytes(value)).sum::<usize>() + 2
        }
        _ => 8,
    }
}
