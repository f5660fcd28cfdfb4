//! Parts of a plan that our engine does better: aggregations become one `stats`, the latest rows a search.
//!
//! Invariant: only where every condition is decided by the store, and the answer is what SQL says it is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Sort, TableScan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use heimdall_model::time::{NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND, NS_PER_WEEK};
use heimdall_model::{Dataset, FieldType, Filter, Target, schema};
use heimdall_query::{Aggregate as Wanted, Func, GroupKey, Pipe, Query, SortKey, TimeRange};
use heimdall_store::Order;

use crate::columns::target_of;
use crate::filter::{all_of, text_of};
use crate::stats::StatsTable;
use crate::table::{DatasetTable, Provided};

/// Name of the table that stands for an aggregation.
const STATS: &str = "stats";
/// Most rows that are searched for in their order; more are read in any order and sorted.
const FIRST_ROWS_MAX: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct ToEngine;

impl OptimizerRule for ToEngine {
    fn name(&self) -> &'static str {
        "to_engine"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let found = match &plan {
            LogicalPlan::Aggregate(aggregate) => stats(aggregate)?,
            LogicalPlan::Sort(sort) => match first(sort)? {
                None => top(sort)?,
                found => found,
            },
            _ => None,
        };
        Ok(found.map_or_else(|| Transformed::no(plan), Transformed::yes))
    }
}

/// A scan of a dataset all of whose conditions the store decides.
struct Source {
    table: DatasetTable,
    range: TimeRange,
    filter: Filter,
}

/// The scan that a plan hands on, row by row and under the same names.
fn source(plan: &LogicalPlan) -> Option<Source> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let hands_on = |expr: &Expr| matches!(expr, Expr::Column(_));
            projection.expr.iter().all(hands_on).then(|| source(&projection.input))?
        }
        LogicalPlan::SubqueryAlias(alias) => source(&alias.input),
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
            let table: DatasetTable = Provided::of(scan)?;
            if !table.rewritable || table.first.is_some() {
                return None;
            }
            let (range, condition) = all_of(&scan.filters, table.asked.range, table.dataset);
            condition.exact.then_some(Source { table, range, filter: condition.filter })
        }
        _ => None,
    }
}

/// The same plan over another table in place of ours.
fn over(plan: &LogicalPlan, change: impl Fn(&mut DatasetTable)) -> Result<LogicalPlan> {
    let changed = plan.clone().transform_up(|node| match node {
        LogicalPlan::TableScan(scan) => match Provided::of::<DatasetTable>(&scan) {
            None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
            Some(mut table) => {
                change(&mut table);
                let scan = TableScan { source: provider_as_source(Provided::provider(table)), ..scan };
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
        },
        other => Ok(Transformed::no(other)),
    });
    changed.map(|changed| changed.data)
}

/// `ORDER BY timestamp LIMIT n`: the search stops when it has them.
fn first(sort: &Sort) -> Result<Option<LogicalPlan>> {
    let (Some(rows), [key]) = (sort.fetch.filter(|rows| *rows <= FIRST_ROWS_MAX), sort.expr.as_slice())
    else {
        return Ok(None);
    };
    let is_time = matches!(&key.expr, Expr::Column(column) if column.name == "timestamp");
    if !is_time || source(&sort.input).is_none() {
        return Ok(None);
    }
    let order = if key.asc { Order::OldestFirst } else { Order::NewestFirst };
    let input = over(&sort.input, |table| table.first = Some((order, rows)))?;
    Ok(Some(LogicalPlan::Sort(Sort { input: Arc::new(input), ..sort.clone() })))
}

/// `ORDER BY count(*) DESC LIMIT n` over groups of the engine: it keeps those with the most rows.
fn top(sort: &Sort) -> Result<Option<LogicalPlan>> {
    let (Some(rows), [key]) = (sort.fetch, sort.expr.as_slice()) else { return Ok(None) };
    let Expr::Column(column) = &key.expr else { return Ok(None) };
    let Some((table, at)) = grouped(&sort.input, column).filter(|_| !key.asc) else { return Ok(None) };
    let [Pipe::Stats { aggregates, by }] = table.query.pipeline.as_slice() else { return Ok(None) };
    let sorted = at.checked_sub(by.len()).and_then(|at| aggregates.get(at));
    let Some(sorted) = sorted.filter(|it| it.func == Func::Count && it.arg.is_none() && !by.is_empty())
    else {
        return Ok(None);
    };
    let by_count = SortKey { target: Target::Attribute(sorted.alias.clone()), descending: true };
    let mut few = table.clone();
    few.query.pipeline.extend([Pipe::Sort(vec![by_count]), Pipe::Limit(rows)]);
    let few = Provided::provider(few);
    let changed = sort.input.as_ref().clone().transform_up(|node| match node {
        LogicalPlan::TableScan(scan) => {
            let scan = TableScan { source: provider_as_source(Arc::clone(&few)), ..scan };
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(Some(LogicalPlan::Sort(Sort { input: Arc::new(changed.data), ..sort.clone() })))
}

/// The groups that a plan hands on row by row, and which of their columns a column is.
fn grouped(plan: &LogicalPlan, column: &Column) -> Option<(StatsTable, usize)> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.maybe_index_of_column(column)?;
            let Expr::Column(inner) = plain(&projection.expr[at]) else { return None };
            grouped(&projection.input, inner)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let at = alias.schema.maybe_index_of_column(column)?;
            let (qualifier, field) = alias.input.schema().qualified_field(at);
            grouped(&alias.input, &Column::from((qualifier, field)))
        }
        LogicalPlan::TableScan(scan) => {
            let table: StatsTable = Provided::of(scan)?;
            let at = table.schema.index_of(&column.name).ok()?;
            Some((table, at))
        }
        _ => None,
    }
}

fn stats(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let Some(source) = source(&aggregate.input) else { return Ok(None) };
    let dataset = source.table.dataset;
    let keys: Option<Vec<GroupKey>> = aggregate.group_expr.iter().map(|expr| key(expr, dataset)).collect();
    let wanted = aggregate.aggr_expr.iter().enumerate();
    let wanted: Option<Vec<Wanted>> = wanted.map(|(at, expr)| function(expr, at, dataset)).collect();
    let (Some(by), Some(mut aggregates)) = (keys, wanted) else { return Ok(None) };
    let bins = by.iter().filter(|key| matches!(key, GroupKey::Bin(_))).count();
    let is_time_itself = by.iter().any(|key| key.target() == Target::Field(schema::TIMESTAMP)) && bins == 0;
    let fields = aggregate.schema.fields();
    if bins > 1 || is_time_itself || !fields.iter().all(|field| is_known(field.data_type())) {
        return Ok(None);
    }
    if by.iter().enumerate().any(|(at, key)| by[..at].contains(key)) {
        return Ok(None);
    }
    if aggregates.is_empty() {
        aggregates.push(Wanted { func: Func::Count, arg: None, alias: "rows".to_owned() });
    }
    let query = Query {
        after: None,
        tenant: source.table.asked.tenant.clone(),
        dataset,
        range: source.range,
        filter: source.filter,
        pipeline: vec![Pipe::Stats { aggregates, by }],
        warnings: Vec::new(),
    };
    let columns = fields.iter().enumerate();
    let columns = columns.map(|(at, field)| Field::new(name(at), field.data_type().clone(), true));
    let instead = over(&LogicalPlan::Aggregate(aggregate.clone()), |table| table.rewritable = false)?;
    let table = StatsTable {
        asked: Arc::clone(&source.table.asked),
        query,
        schema: Arc::new(Schema::new(columns.collect::<Vec<_>>())),
        instead,
    };
    let shown = aggregate.schema.iter().enumerate().map(|(at, (qualifier, field))| {
        let column = Expr::Column(Column::new(Some(STATS), name(at)));
        match qualifier {
            Some(table) => column.alias_qualified(Some(table.clone()), field.name()),
            None => column.alias(field.name()),
        }
    });
    let scan = LogicalPlanBuilder::scan(STATS, provider_as_source(Provided::provider(table)), None)?;
    scan.project(shown.collect::<Vec<_>>())?.build().map(Some)
}

fn name(at: usize) -> String {
    format!("c{at}")
}

/// Types of groups that come back as they are.
fn is_known(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Utf8
            | DataType::Int64
            | DataType::UInt64
            | DataType::Float64
            | DataType::Timestamp(TimeUnit::Nanosecond, _)
    )
}

fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => plain(&alias.expr),
        other => other,
    }
}

fn column(expr: &Expr, dataset: Dataset) -> Option<Target> {
    let Expr::Column(column) = plain(expr) else { return None };
    target_of(&column.name, dataset)
}

/// A key of a group: a field, or the time cut into spans that both count from the same moment.
fn key(expr: &Expr, dataset: Dataset) -> Option<GroupKey> {
    if let Some(target) = column(expr, dataset) {
        let is_json = target.ty(dataset) == Some(FieldType::Json);
        return (!is_json && target != Target::Id).then_some(GroupKey::Field(target));
    }
    let Expr::ScalarFunction(ScalarFunction { func, args }) = plain(expr) else { return None };
    let [Expr::Literal(span, _), time] = args.as_slice() else { return None };
    if column(time, dataset)? != Target::Field(schema::TIMESTAMP) {
        return None;
    }
    let span_ns = match func.name() {
        "date_trunc" => match text_of(span)?.to_ascii_lowercase().as_str() {
            "second" => NS_PER_SECOND,
            "minute" => NS_PER_MINUTE,
            "hour" => NS_PER_HOUR,
            "day" => NS_PER_DAY,
            "week" => NS_PER_WEEK,
            _ => return None,
        },
        // Whole weeks count from a Monday here, from a Thursday there.
        "date_bin" => interval_ns(span).filter(|ns| ns % NS_PER_WEEK != 0)?,
        _ => return None,
    };
    Some(GroupKey::Bin(span_ns))
}

/// Length of an interval without months.
fn interval_ns(span: &ScalarValue) -> Option<i64> {
    let ns = match span {
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months == 0 => {
            i64::from(span.days).checked_mul(NS_PER_DAY)?.checked_add(span.nanoseconds)?
        }
        ScalarValue::IntervalDayTime(Some(span)) => {
            let ms = i64::from(span.milliseconds).checked_mul(1_000_000)?;
            i64::from(span.days).checked_mul(NS_PER_DAY)?.checked_add(ms)?
        }
        _ => return None,
    };
    (ns > 0).then_some(ns)
}

fn function(expr: &Expr, at: usize, dataset: Dataset) -> Option<Wanted> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = plain(expr) else { return None };
    if params.filter.is_some() || params.distinct || params.null_treatment.is_some() {
        return None;
    }
    let args = params.args.as_slice();
    let is_count_of_rows = matches!(args, [] | [Expr::Literal(_, _)]) && func.name() == "count";
    if is_count_of_rows {
        let counts = args.iter().all(|arg| !matches!(arg, Expr::Literal(value, _) if value.is_null()));
        return counts.then(|| Wanted { func: Func::Count, arg: None, alias: format!("a{at}") });
    }
    let target = column(args.first()?, dataset)?;
    let ty = target.ty(dataset)?;
    let is_float = ty == FieldType::Float;
    let is_ordered = matches!(ty, FieldType::Float | FieldType::Int | FieldType::Time | FieldType::Text);
    let is_sorted = !params.order_by.is_empty();
    let func = match (func.name(), args) {
        ("approx_percentile_cont", [_, Expr::Literal(q, _)]) if is_float => {
            let ascends = params.order_by.iter().all(|key| key.asc);
            let percent = match q {
                ScalarValue::Float64(Some(q)) => q * 100.0,
                _ => return None,
            };
            return (ascends && percent > 0.0 && percent < 100.0).then(|| Wanted {
                func: Func::Percentile(percent),
                arg: Some(target),
                alias: format!("a{at}"),
            });
        }
        _ if is_sorted => return None,
        ("count", [_]) if target != Target::Template => Func::Count,
        ("sum", [_]) if is_float => Func::Sum,
        ("avg", [_]) if is_float => Func::Avg,
        ("stddev" | "stddev_samp", [_]) if is_float => Func::Stddev,
        ("min", [_]) if is_ordered => Func::Min,
        ("max", [_]) if is_ordered => Func::Max,
        ("approx_distinct", [_]) => Func::CountDistinct,
        _ => return None,
    };
    Some(Wanted { func, arg: Some(target), alias: format!("a{at}") })
}
