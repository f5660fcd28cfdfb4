//! Rows handed out while the query still runs.
//!
//! A list in the order of time is certain from its first row on: no record that is still to be read comes before it. Such
//! rows are handed out as they are found; those of other queries when all of them are. How far a query is, whatever its
//! kind, [`Control::progress`] tells at any time.

use std::ops::ControlFlow;
use std::time::Instant;

use heimdall_model::Value;
use heimdall_store::{Control, Hit};

use crate::answer::{AnswerStats, Column};
use crate::engine::{Engine, QueryError, Run, RunLimits, request, value_bytes};
use crate::join;
use crate::plan::{Plan, Source, Strategy};
use crate::query::{Pipe, Query};

/// Rows of an answer, in its order. The columns are the same each time, but for an answer that comes whole.
#[derive(Debug, Clone, Copy)]
pub struct EarlyRows<'a> {
    /// The columns, in the order of each row's values.
    pub columns: &'a [Column],
    /// The next rows.
    pub rows: &'a [Vec<Value>],
}

/// Takes the next rows of an answer; breaking off ends the query.
pub type EachRows<'a> = dyn FnMut(EarlyRows<'_>) -> ControlFlow<()> + 'a;

impl Engine {
    /// Answers a query as [`Engine::run`] does, handing out its rows as soon as they are certain. Blocks while it reads.
    ///
    /// # Errors
    /// [`QueryError`]; rows handed out until then are the first of the answer.
    pub fn run_each(
        &self,
        query: &Query,
        control: &Control,
        limits: RunLimits,
        each: &mut EachRows<'_>,
    ) -> Result<AnswerStats, QueryError> {
        let start = Instant::now();
        let mut plan = Plan::new(query);
        if !is_certain_early(&plan) || query.range.from >= query.range.to {
            let answer = self.run(query, control, limits)?;
            let _ = each(EarlyRows { columns: &answer.columns, rows: &answer.rows });
            return Ok(answer.stats);
        }
        let control = &Control { without_damaged: true, ..control.clone() };
        let mut stats = AnswerStats::new(plan.strategy);
        plan.rights = join::load_all(self, query, control, &mut stats)?;
        stats.warnings.extend(query.warnings.iter().cloned());
        let mut run =
            Run { store: self.store(), query, plan: &plan, control, limits, stats, places: Vec::new() };
        run.records_each(each)?;
        run.stats.elapsed_ms = start.elapsed().as_secs_f64() * 1_000.0;
        Ok(run.stats)
    }
}

/// Whether the rows of a plan are certain one after the other.
fn is_certain_early(plan: &Plan<'_>) -> bool {
    let is_in_order = matches!(plan.strategy, Strategy::NewestFirst | Strategy::OldestFirst);
    let looks_at_one_row = |pipe: &Pipe| {
        matches!(
            pipe,
            Pipe::Where(_)
                | Pipe::Test(_)
                | Pipe::Fields(_)
                | Pipe::Drop(_)
                | Pipe::Eval(_)
                | Pipe::Parse(_)
                | Pipe::Join(_)
        )
    };
    let is_list = matches!(plan.source, Source::Records { .. }) && plan.context.is_none();
    is_list && is_in_order && !plan.is_staged() && plan.rest.iter().all(looks_at_one_row)
}

impl Run<'_> {
    fn records_each(&mut self, each: &mut EachRows<'_>) -> Result<(), QueryError> {
        let Source::Records { limit, .. } = &self.plan.source else { return Ok(()) };
        let wanted = self.wanted(*limit);
        let rows_max = wanted.min(self.limits.rows_max);
        let fields = self.plan.fields(self.targets());
        let request = request(self.query, self.plan, self.plan.range, Some(fields));
        let (mut found, mut given) = (0, Given { rows: 0, bytes: 0, is_cut: false });
        let mut failed = None;
        let searched = self.wanted_of_store(rows_max);
        let mut places = Vec::new();
        let is_paged = self.plan.is_paged();
        let stats = self.store.search_each(&request, searched, self.control, &mut |hits| {
            found += hits.len();
            if is_paged {
                places.extend(hits.iter().map(Hit::place));
            }
            self.give(&hits, &mut given, each).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        self.stats.add(&stats?);
        self.places = places;
        if given.is_cut {
            if is_paged {
                self.end_page_at(given.rows);
            }
            let (rows, bytes) = (given.rows, self.limits.result_bytes_max);
            self.stats.is_missing(format!("the first {rows} rows are shown: more are beyond {bytes} bytes"));
        } else if found == rows_max && wanted > rows_max {
            self.stats.is_missing(format!("the first {rows_max} rows of the {wanted} asked for are shown"));
        }
        if !given.is_cut {
            self.note_page_end(found, rows_max, *limit);
        }
        if limit.is_none() && found == rows_max {
            self.stats.default_limit = Some(rows_max);
        }
        Ok(())
    }

    /// Hands out the rows of some hits, as far as they fit.
    fn give(
        &self,
        hits: &[Hit],
        given: &mut Given,
        each: &mut EachRows<'_>,
    ) -> Result<ControlFlow<()>, QueryError> {
        let Query { dataset, range, .. } = self.query;
        let mut table = self.table(self.materialise(hits));
        table.run(&self.plan.rest, *dataset, *range, self.limits, &self.plan.rights)?;
        let shown = |row: &Vec<Value>| table.shown.iter().map(|column| row[*column].clone()).collect();
        let mut rows: Vec<Vec<Value>> = table.rows.iter().map(shown).collect();
        let mut fits = |row: &Vec<Value>| {
            given.bytes += row.iter().map(value_bytes).sum::<usize>();
            given.bytes <= self.limits.result_bytes_max
        };
        let kept = rows.iter().take_while(|row| fits(row)).count();
        given.is_cut = kept < rows.len();
        given.rows += kept;
        rows.truncate(kept);
        let columns = table.shown.iter().map(|column| &table.columns[*column]);
        let columns: Vec<Column> =
            columns.map(|column| Column { name: column.name.clone(), ty: column.ty }).collect();
        let flow = each(EarlyRows { columns: &columns, rows: &rows });
        Ok(if given.is_cut { ControlFlow::Break(()) } else { flow })
    }
}

/// What was handed out.
struct Given {
    rows: usize,
    bytes: usize,
    is_cut: bool,
}
