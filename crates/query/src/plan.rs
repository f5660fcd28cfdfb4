//! How a query will be run: which part the store's scan does, and which runs on the table it makes.

use heimdall_model::filter::{Filter, Target};
use heimdall_model::{Dataset, FieldId, schema};
use heimdall_store::Order;
use serde::Serialize;

use crate::group;
use crate::join::Right;
use crate::pages::PagePlace;
use crate::pushdown;
use crate::query::{Aggregate, Func, GroupKey, Named, Pipe, Query, Scope, SortKey, TimeRange};
use crate::records::Dedup;
use crate::stage::Outline;

/// How the records are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Counts by minute, service and level answer; only the partial minutes at the ends are scanned.
    Rollup,
    /// Sums and sketches of durations by hour and service answer; only the partial hours at the ends are scanned.
    Sketch,
    /// Counts by hour and template answer; only the partial hours at the ends are scanned.
    Templates,
    /// Counts and times by service and template answer; segments that reach beyond the range are scanned.
    Runs,
    /// Counts by value of a declared field answer; segments that reach beyond the range are scanned.
    Cube,
    /// Several of these answer, each some of the aggregates.
    Summaries,
    /// A statement, whose parts each have a way of their own.
    Sql,
    /// The store counts without handing rows out.
    Count,
    /// Every matching row feeds the aggregates.
    Scan,
    /// Latest first, until the limit is reached.
    NewestFirst,
    /// Earliest first, until the limit is reached.
    OldestFirst,
    /// Every matching row is looked at, the first ones by the sort are kept.
    Top,
}

impl Strategy {
    /// Name in answers and explanations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Strategy::Rollup => "rollup",
            Strategy::Sketch => "sketch",
            Strategy::Templates => "templates",
            Strategy::Runs => "runs",
            Strategy::Cube => "cube",
            Strategy::Summaries => "summaries",
            Strategy::Sql => "sql",
            Strategy::Count => "count",
            Strategy::Scan => "scan",
            Strategy::NewestFirst => "newest-first",
            Strategy::OldestFirst => "oldest-first",
            Strategy::Top => "top",
        }
    }
}

/// The first step of execution.
#[derive(Debug)]
pub(crate) enum Source<'q> {
    /// Records, ordered and limited.
    Records { sort: Vec<SortKey>, limit: Option<usize> },
    /// Groups of all matching records.
    Groups { pipe: &'q Pipe, aggregates: &'q [Aggregate], by: &'q [GroupKey] },
}

/// A query cut into what the store does and what follows.
#[derive(Debug)]
pub(crate) struct Plan<'q> {
    pub(crate) dataset: Dataset,
    pub(crate) range: TimeRange,
    pub(crate) filter: Filter,
    pub(crate) source: Source<'q>,
    pub(crate) strategy: Strategy,
    /// What happens to each record on its way to the source: see [`crate::stage`].
    pub(crate) stage: Vec<Pipe>,
    outline: Outline,
    /// Keeps the first of each kind of record.
    pub(crate) dedup: Option<Dedup>,
    /// Where the page begins.
    pub(crate) after: Option<PagePlace>,
    /// Records before and after each.
    pub(crate) context: Option<usize>,
    /// Right sides of the joins, once they are known.
    pub(crate) rights: Vec<Right>,
    scope: Scope,
    /// Pipes that run on the table.
    pub(crate) rest: Vec<Pipe>,
    /// Columns the table is made with; the first `shown` of them are shown.
    pub(crate) columns: Vec<Named>,
    pub(crate) shown: usize,
    /// Whether the columns are those of a record, not named by the query.
    pub(crate) default_columns: bool,
}

impl<'q> Plan<'q> {
    pub(crate) fn new(query: &'q Query) -> Plan<'q> {
        let mut filter = query.filter.clone();
        let mut sort = Vec::new();
        let mut limit = None;
        let mut rest = Vec::new();
        let mut pipes = query.pipeline.iter();
        let mut groups = None;
        let (mut stage, mut outline, mut scope) = (Vec::new(), Outline::default(), Scope::Records);
        let (mut dedup, mut context) = (None, None);
        while let Some(pipe) = pipes.next() {
            match pipe {
                Pipe::Where(more) if outline.decides(more) => {
                    outline.push(pipe);
                    stage.push(pipe.clone());
                }
                Pipe::Where(more) => filter = filter.and(more.clone()),
                Pipe::Test(expr) => {
                    let split = pushdown::split(expr, query.dataset, |part| outline.computes(part));
                    filter = filter.and(split.exact).and(split.implied);
                    if let Some(rest) = split.rest.map(Pipe::Test) {
                        outline.push(&rest);
                        stage.push(rest);
                    }
                }
                Pipe::Eval(_) | Pipe::Parse(_) | Pipe::Join(_) => {
                    show(&mut rest, pipe, query.dataset);
                    outline.push(pipe);
                    stage.push(pipe.clone());
                    scope = scope.after(pipe, query.dataset);
                }
                Pipe::Dedup { rows, by } => {
                    let by = by.clone();
                    dedup = Some(Dedup { rows: *rows, by, needs_all: needs_all(pipes.as_slice()) });
                    limit = first_limit(pipes.as_slice());
                    break;
                }
                Pipe::Context(rows) => {
                    (context, scope) = (Some(*rows), scope.after(pipe, query.dataset));
                    break;
                }
                Pipe::Share { .. } => {
                    rest.push(pipe.clone());
                    break;
                }
                Pipe::Sort(keys) => sort = keys.clone(),
                Pipe::Fields(_) | Pipe::Drop(_) => rest.push(pipe.clone()),
                Pipe::Limit(rows) => {
                    limit = Some(*rows);
                    if !matches!(pipes.as_slice().first(), Some(Pipe::Context(_))) {
                        break;
                    }
                }
                Pipe::Stats { aggregates, by } => {
                    groups = Some(Source::Groups { pipe, aggregates, by });
                    rest.clear();
                    break;
                }
            }
        }
        rest.extend(pipes.cloned());
        let source = groups.unwrap_or(Source::Records { sort, limit });
        let mut plan = Plan {
            dataset: query.dataset,
            range: query.range,
            filter,
            source,
            strategy: Strategy::Scan,
            stage,
            outline,
            dedup,
            after: None,
            context,
            rights: Vec::new(),
            scope,
            rest,
            columns: Vec::new(),
            shown: 0,
            default_columns: false,
        };
        plan.strategy = plan.choose();
        plan.choose_columns();
        if let Some(place) = query.after {
            plan.begin_after(place);
        }
        plan
    }

    fn choose(&self) -> Strategy {
        match &self.source {
            Source::Records { sort, .. } => match sort.as_slice() {
                [] => Strategy::NewestFirst,
                [key] if key.target == Target::Field(schema::TIMESTAMP) => {
                    if key.descending {
                        Strategy::NewestFirst
                    } else if self.is_staged() {
                        Strategy::Top
                    } else {
                        Strategy::OldestFirst
                    }
                }
                _ => Strategy::Top,
            },
            // Chosen by cost when the store is at hand.
            Source::Groups { .. } => Strategy::Scan,
        }
    }

    /// Whether pipes before the grouping make values that no summary knows.
    pub(crate) fn is_computed(&self) -> bool {
        !self.stage.is_empty()
    }

    /// Whether records go through more than the store does on their way to a list.
    pub(crate) fn is_staged(&self) -> bool {
        self.is_computed() || self.dedup.is_some()
    }

    /// What is read of records for these targets: those of the stage, and all that it does not make.
    pub(crate) fn stored(&self, targets: impl Iterator<Item = Target>) -> impl Iterator<Item = Target> {
        self.outline.reads.iter().cloned().chain(self.outline.stored(targets))
    }

    /// Whether a `rate` must see every record's time to know what to divide by.
    pub(crate) fn rate_needs_times(&self, aggregates: &[Aggregate], by: &[GroupKey]) -> bool {
        let binned = by.iter().any(|key| matches!(key, GroupKey::Bin(_)));
        let rate = aggregates.iter().any(|aggregate| aggregate.func == Func::Rate);
        rate && !binned && group::range_ns(self.range).is_none()
    }

    /// Order and number of records when the store can stop early.
    pub(crate) fn order(&self) -> Order {
        if self.strategy == Strategy::OldestFirst { Order::OldestFirst } else { Order::NewestFirst }
    }

    fn choose_columns(&mut self) {
        if let Source::Groups { .. } = self.source {
            return;
        }
        let (shown, more) = needed(&self.rest);
        self.default_columns =
            shown.is_none() && !self.rest.iter().any(|pipe| matches!(pipe, Pipe::Stats { .. }));
        let shown = match shown {
            Some(targets) => targets,
            None if self.default_columns => {
                let mut targets = record_targets(self.dataset);
                if let Scope::Extended(columns) = &self.scope {
                    targets.extend(columns.iter().map(|column| column.target.clone()));
                }
                targets
            }
            None => Vec::new(),
        };
        self.shown = shown.len();
        let mut targets = shown;
        for target in more {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        self.columns = targets.iter().map(|target| self.scope.column(target, self.dataset)).collect();
    }

    /// Fields the scan must hand out for these targets; the time of a record always comes along.
    pub(crate) fn fields(&self, targets: impl Iterator<Item = Target>) -> Vec<FieldId> {
        let mut fields: Vec<FieldId> =
            self.stored(targets).filter_map(|target| self.field(&target)).collect();
        fields.push(schema::TIMESTAMP);
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// Fields the scan must hand out for grouping; the time only where it is looked at.
    pub(crate) fn group_fields(&self, aggregates: &[Aggregate], by: &[GroupKey]) -> Vec<FieldId> {
        let targets = self.stored(group::targets(aggregates, by));
        let mut fields: Vec<FieldId> = targets.filter_map(|target| self.field(&target)).collect();
        fields.extend(self.rate_needs_times(aggregates, by).then_some(schema::TIMESTAMP));
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    fn field(&self, target: &Target) -> Option<FieldId> {
        match target {
            Target::Field(id) => Some(*id),
            Target::Attribute(_) => Some(self.dataset.attributes()),
            Target::Template => Some(schema::logs::TEMPLATE_ID),
            Target::Id => None,
        }
    }

    /// The pipeline in words, one step each.
    pub(crate) fn steps(&self, strategy: Strategy, rows_default: usize) -> Vec<String> {
        let first = match &self.source {
            Source::Records { limit, .. } => {
                format!("{}(limit {})", strategy.as_str(), limit.unwrap_or(rows_default))
            }
            Source::Groups { .. } => strategy.as_str().to_owned(),
        };
        let dedup = self.dedup.as_ref().map(|dedup| format!("dedup({} keys)", dedup.by.len()));
        let step = |pipe: &Pipe| match pipe {
            Pipe::Where(_) => "where".to_owned(),
            Pipe::Test(_) => "where(expression)".to_owned(),
            Pipe::Stats { aggregates, by } => {
                format!("stats({} aggregates, {} keys)", aggregates.len(), by.len())
            }
            Pipe::Sort(keys) => format!("sort({} keys)", keys.len()),
            Pipe::Limit(rows) => format!("limit({rows})"),
            Pipe::Fields(targets) => format!("fields({})", targets.len()),
            Pipe::Drop(targets) => format!("drop({})", targets.len()),
            Pipe::Eval(assignments) => format!("eval({})", assignments.len()),
            Pipe::Parse(parse) => format!("parse({})", parse.form.name()),
            Pipe::Dedup { by, .. } => format!("dedup({} keys)", by.len()),
            Pipe::Context(rows) => format!("context({rows})"),
            Pipe::Join(join) => format!("join({} keys)", join.on.len()),
            Pipe::Share { .. } => "share".to_owned(),
        };
        let stage = self.stage.iter().map(step);
        let context = self.context.map(|rows| format!("context({rows})"));
        std::iter::once(first)
            .chain(stage)
            .chain(dedup)
            .chain(context)
            .chain(self.rest.iter().map(step))
            .collect()
    }
}

/// Shows what a pipe makes among the columns that pipes before it have chosen.
fn show(rest: &mut [Pipe], pipe: &Pipe, dataset: Dataset) {
    let made: Vec<Target> = match pipe {
        Pipe::Eval(assignments) => assignments.iter().map(crate::query::Assignment::target).collect(),
        Pipe::Parse(parse) => parse.targets().collect(),
        Pipe::Join(join) => join.columns().into_iter().map(|column| column.target).collect(),
        _ => Vec::new(),
    };
    for earlier in rest {
        match earlier {
            Pipe::Fields(targets) => {
                for target in &made {
                    let name = target.name(dataset);
                    match targets.iter_mut().find(|other| other.name(dataset) == name) {
                        Some(place) => *place = target.clone(),
                        None => targets.push(target.clone()),
                    }
                }
            }
            Pipe::Drop(targets) => targets.retain(|target| !made.contains(target)),
            _ => {}
        }
    }
}

/// Whether pipes look at rows beyond the first that reach them, without a limit being first.
fn needs_all(pipes: &[Pipe]) -> bool {
    let decides =
        |pipe: &&Pipe| !matches!(pipe, Pipe::Fields(_) | Pipe::Drop(_) | Pipe::Eval(_) | Pipe::Parse(_));
    pipes.iter().find(decides).is_some_and(|pipe| !matches!(pipe, Pipe::Limit(_)))
}

/// The limit that applies to the rows which reach these pipes.
fn first_limit(pipes: &[Pipe]) -> Option<usize> {
    let limit = pipes.iter().find_map(|pipe| if let Pipe::Limit(rows) = pipe { Some(*rows) } else { None });
    limit.filter(|_| !needs_all(pipes))
}

/// The columns of a record: its id and every canonical field.
fn record_targets(dataset: Dataset) -> Vec<Target> {
    let fields = (0_u8..).zip(dataset.fields()).map(|(code, _)| Target::Field(FieldId(code)));
    std::iter::once(Target::Id).chain(fields).collect()
}

/// What pipes on a table of records need: the columns a first `fields` names (`None` when there is none before the
/// end or a `stats`), and the others they look at.
fn needed(pipes: &[Pipe]) -> (Option<Vec<Target>>, Vec<Target>) {
    let mut more = Vec::new();
    for pipe in pipes {
        match pipe {
            Pipe::Where(filter) => filter_targets(filter, &mut more),
            Pipe::Test(expr) => expr.targets(&mut more),
            Pipe::Sort(keys) => more.extend(keys.iter().map(|key| key.target.clone())),
            Pipe::Limit(_) | Pipe::Drop(_) | Pipe::Context(_) => {}
            Pipe::Join(join) => more.extend(join.on.iter().map(|(left, _)| left.clone())),
            Pipe::Eval(assignments) => {
                assignments.iter().for_each(|assignment| assignment.expr.targets(&mut more));
            }
            Pipe::Parse(parse) => more.push(parse.from.clone()),
            Pipe::Dedup { by, .. } => more.extend(by.iter().cloned()),
            Pipe::Share { of, .. } => more.push(of.clone()),
            Pipe::Fields(targets) => return (Some(targets.clone()), more),
            Pipe::Stats { aggregates, by } => {
                more.extend(group::targets(aggregates, by));
                return (None, more);
            }
        }
    }
    (None, more)
}

pub(crate) fn filter_targets(filter: &Filter, out: &mut Vec<Target>) {
    match filter {
        Filter::All => {}
        Filter::And(parts) | Filter::Or(parts) => parts.iter().for_each(|part| filter_targets(part, out)),
        Filter::Not(part) => filter_targets(part, out),
        Filter::Test(target, _) => out.push(target.clone()),
    }
}
