//! Lists of records that the store alone cannot find: through a stage, or the first of each kind.
//!
//! The newest records are looked at first, one after the other: most lists are full by then. When it is not, every
//! matching record is looked at by several threads.

use foldhash::{HashMap, HashMapExt};
use heimdall_model::filter::Target;
use heimdall_model::{Position, Timestamp, Value};
use heimdall_store::{Along, ScanError};

use crate::cell::{BlockRows, Rows, Templates};
use crate::engine::{QueryError, Run, RunLimits, record, request, value_bytes};
use crate::plan::{Plan, Strategy};
use crate::query::SortKey;
use crate::stage::Stage;
use crate::top::TopRows;

/// Records looked at before it is known whether more are needed; few in tests, whose data is small.
const FIRST_LOOK_ROWS: usize = if cfg!(test) { 50 } else { 2_000 };
/// Bytes a kept row costs beside its values.
const ROW_BYTES: usize = 64;

/// The first rows of each kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dedup {
    /// Rows of each kind.
    pub(crate) rows: usize,
    pub(crate) by: Vec<Target>,
    /// Whether what follows needs all kinds, however many.
    pub(crate) needs_all: bool,
}

/// Rows kept so far.
struct Kept<'q> {
    plan: &'q Plan<'q>,
    sort: &'q [SortKey],
    rows_max: usize,
    limits: RunLimits,
    /// All rows, when there is one kind only.
    all: TopRows<'q>,
    kinds: HashMap<Box<[u8]>, TopRows<'q>>,
    rows: usize,
    bytes: usize,
    scratch: Vec<u8>,
}

impl<'q> Kept<'q> {
    fn new(plan: &'q Plan<'q>, sort: &'q [SortKey], rows_max: usize, limits: RunLimits) -> Kept<'q> {
        let all = TopRows::new(sort, rows_max);
        let (kinds, scratch) = (HashMap::new(), Vec::new());
        Kept { plan, sort, rows_max, limits, all, kinds, rows: 0, bytes: 0, scratch }
    }

    fn another(&self) -> Kept<'q> {
        Kept::new(self.plan, self.sort, self.rows_max, self.limits)
    }

    /// Whether rows that come later in order than all before cannot change the answer.
    fn is_full(&self) -> bool {
        self.rows >= self.rows_max
    }

    fn offer(&mut self, row: &impl Rows) -> Result<(), QueryError> {
        let (plan, sort) = (self.plan, self.sort);
        let mut bytes = 0;
        let values = || {
            let values = record(plan, row, 0);
            bytes = row_bytes(&values);
            values
        };
        let Some(dedup) = &plan.dedup else {
            let before = self.all.len();
            self.all.offer(row, 0, values);
            self.rows += self.all.len() - before;
            self.bytes += bytes;
            return self.check();
        };
        self.scratch.clear();
        for target in &dedup.by {
            row.cell(target, 0).encode(&mut self.scratch);
        }
        let kind = match self.kinds.get_mut(self.scratch.as_slice()) {
            Some(kind) => kind,
            None => {
                self.bytes += 2 * ROW_BYTES + self.scratch.len();
                let kind = TopRows::new(sort, dedup.rows);
                self.kinds.entry(self.scratch.as_slice().into()).or_insert(kind)
            }
        };
        let before = kind.len();
        kind.offer(row, 0, values);
        self.rows += kind.len() - before;
        self.bytes += bytes;
        self.check()
    }

    fn merge(&mut self, other: Kept<'q>) -> Result<(), QueryError> {
        self.all.merge(other.all);
        self.bytes += other.bytes;
        for (key, theirs) in other.kinds {
            match self.kinds.entry(key) {
                std::collections::hash_map::Entry::Occupied(mut ours) => ours.get_mut().merge(theirs),
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(theirs);
                }
            }
        }
        self.check()
    }

    /// Bytes of the rows that are kept: others were counted too, and have gone since.
    fn recount(&mut self) {
        let kept = self.kinds.values().chain([&self.all]).flat_map(TopRows::rows);
        let keys = self.kinds.keys().map(|key| key.len() + 2 * ROW_BYTES).sum::<usize>();
        self.bytes = keys + kept.map(|row| row_bytes(row)).sum::<usize>();
    }

    fn check(&mut self) -> Result<(), QueryError> {
        if self.bytes > self.limits.group_bytes_max {
            self.recount();
        }
        let RunLimits { groups_max, group_bytes_max, .. } = self.limits;
        let limit = if self.kinds.len() > groups_max {
            format!("{groups_max} different rows")
        } else if self.bytes > group_bytes_max {
            format!("{} MiB", group_bytes_max >> 20)
        } else {
            return Ok(());
        };
        let pipe = if self.plan.dedup.is_some() { "dedup" } else { "limit" };
        Err(QueryError::PipeTooLarge { pipe, limit, advice: "narrow the time range or the conditions" })
    }

    /// The rows in order, each with its place.
    fn into_placed(mut self) -> impl Iterator<Item = ((i64, u64), Vec<Value>)> {
        if self.plan.dedup.is_some() {
            self.all = TopRows::new(self.sort, self.rows_max);
            for kind in std::mem::take(&mut self.kinds).into_values() {
                self.all.merge(kind);
            }
        }
        self.all.into_placed()
    }
}

fn row_bytes(row: &[Value]) -> usize {
    ROW_BYTES + row.iter().map(value_bytes).sum::<usize>()
}

impl<'a> Run<'a> {
    /// The first rows by a sort, of those that a stage hands on.
    pub(crate) fn staged(
        &mut self,
        sort: &[SortKey],
        rows_max: usize,
    ) -> Result<Vec<Vec<Value>>, QueryError> {
        let stage = Stage::new(&self.plan.stage, self.query.dataset, &self.plan.rights)?;
        let mut kept =
            Kept::new(self.plan, if self.is_newest_first() { &[] } else { sort }, rows_max, self.limits);
        if self.is_newest_first() && self.look_at_newest(&stage, &mut kept)? {
            return Ok(self.rows_of(kept));
        }
        self.look_at_all(&stage, kept)
    }

    fn is_newest_first(&self) -> bool {
        self.plan.strategy == Strategy::NewestFirst
    }

    fn stored_targets(&self, sort: &[SortKey]) -> impl Iterator<Item = Target> {
        let keys = sort.iter().map(|key| key.target.clone()).collect::<Vec<_>>();
        let by = self.plan.dedup.iter().flat_map(|dedup| dedup.by.clone()).collect::<Vec<_>>();
        self.targets().chain(keys).chain(by)
    }

    /// Whether the answer is known after a look at the newest records.
    fn look_at_newest(&mut self, stage: &Stage<'_>, kept: &mut Kept<'_>) -> Result<bool, QueryError> {
        let fields = self.plan.fields(self.stored_targets(&[]));
        let request = request(self.query, self.plan, self.plan.range, Some(fields));
        let wanted = self.wanted_of_store(FIRST_LOOK_ROWS);
        let found = self.store.search_wanted(&request, wanted, self.control);
        let (hits, stats) = match found {
            // So large are they that few of them are a look.
            Err(ScanError::AnswerTooLarge { .. }) => return Ok(false),
            found => found?,
        };
        self.stats.add(&stats);
        let mut templates = Templates::new(self.store, &self.query.tenant);
        for hit in &hits {
            if self.wants_templates() {
                templates.learn(&hit.block);
            }
            let rows = BlockRows { block: &hit.block, templates: &templates };
            stage.row(&rows, hit.row, |row| kept.offer(row))?;
            if kept.is_full() {
                return Ok(true);
            }
        }
        Ok(hits.len() < FIRST_LOOK_ROWS)
    }

    fn look_at_all(&mut self, stage: &Stage<'_>, kept: Kept<'_>) -> Result<Vec<Vec<Value>>, QueryError> {
        self.stats.strategy = Strategy::Top;
        let fields = self.plan.fields(self.stored_targets(kept.sort));
        let view = self.store.view(&self.query.tenant, self.query.dataset);
        let (kept, looked) = self.fold(
            &view,
            self.plan.range,
            fields,
            Along::Ids,
            || kept.another(),
            |kept, rows| {
                let on_page = |row: &usize| self.plan.is_on_page(rows.order(*row));
                (0..rows.block.rows())
                    .filter(on_page)
                    .try_for_each(|row| stage.row(rows, row, |row| kept.offer(row)))
            },
            Kept::merge,
        )?;
        self.has_looked(looked);
        Ok(self.rows_of(kept))
    }

    fn rows_of(&mut self, kept: Kept<'_>) -> Vec<Vec<Value>> {
        let (places, rows): (Vec<_>, Vec<_>) =
            kept.into_placed().map(|((time, at), row)| ((Timestamp(time), Position(at)), row)).unzip();
        if self.plan.is_paged() {
            self.places = places;
        }
        rows
    }
}
