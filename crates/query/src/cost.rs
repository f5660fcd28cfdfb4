//! What a query is expected to cost, before it runs.
//!
//! The estimate of a `stats` is that of the way it would go. A list in the order of time ends when it is full: how many rows
//! that takes follows from how many of them fit, where a rollup knows it at once; else every row that is not ruled out counts.

use heimdall_model::filter::{Filter, Target};
use heimdall_model::{Dataset, schema};
use heimdall_store::{Control, Extent, ScanPlan};
use serde::Serialize;

use crate::engine::{Engine, QueryError, RunLimits, Strategy};
use crate::plan::{Plan, Source, filter_targets};
use crate::query::{Aggregate, Func, Pipe, Query};
use crate::ways::{Way, scan_ns};

/// Up to here a query is answered in an instant.
const CHEAP_CPU_MS: f64 = 250.0;
const CHEAP_BYTES: u64 = 256 << 20;
/// Up to here it takes a moment; beyond, somebody should be asked first.
const MODERATE_CPU_MS: f64 = 5_000.0;
const MODERATE_BYTES: u64 = 4 << 30;
/// Rows that are read at the least: a page of a segment.
const ROWS_MIN: u64 = 8_192;
/// Rows at the ends of a range that may be looked at to know how many fit.
const ASKED_ROWS_MAX: u64 = 100_000;

/// How much a query would cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostClass {
    /// Answered in an instant.
    Cheap,
    /// Takes a moment.
    Moderate,
    /// Reads much: worth a narrower range.
    Heavy,
}

/// What a query is expected to cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueryCost {
    /// How much that is.
    pub class: CostClass,
    /// Rows that are expected to be looked at.
    pub rows: u64,
    /// Bytes that are expected to be read.
    pub bytes: u64,
    /// CPU time that is expected, of one core, ms.
    pub cpu_ms: f64,
    /// What the estimate rests on, in words.
    pub why: String,
}

impl CostClass {
    fn of(cpu_ms: f64, bytes: u64) -> CostClass {
        if cpu_ms <= CHEAP_CPU_MS && bytes <= CHEAP_BYTES {
            CostClass::Cheap
        } else if cpu_ms <= MODERATE_CPU_MS && bytes <= MODERATE_BYTES {
            CostClass::Moderate
        } else {
            CostClass::Heavy
        }
    }
}

impl QueryCost {
    fn new(rows: u64, bytes: u64, cpu_ms: f64, why: String) -> QueryCost {
        QueryCost { class: CostClass::of(cpu_ms, bytes), rows, bytes, cpu_ms, why }
    }

    /// Of a `stats` that goes a way.
    pub(crate) fn of_way(way: &Way) -> QueryCost {
        let plan = way.plan(true);
        let why = format!("the cheapest way is `{}`", plan.strategy.as_str());
        QueryCost::new(plan.rows, plan.bytes, plan.cost_ms, why)
    }

    /// Of a list of records.
    pub(crate) fn of_list(
        engine: &Engine,
        query: &Query,
        plan: &Plan<'_>,
        scans: &[ScanPlan],
        limits: RunLimits,
    ) -> Result<QueryCost, QueryError> {
        let at_most = Extent {
            parts: scans.iter().map(|scan| scan.segments).sum(),
            rows: scans.iter().map(|scan| scan.rows_estimate).sum(),
            bytes: scans.iter().map(|scan| scan.bytes_estimate).sum(),
        };
        let (rows, why) = match expected_rows(engine, query, plan, at_most, limits)? {
            Some(rows) => (rows, "the list ends when it is full"),
            None => (at_most.rows, "every row that is not ruled out may have to be looked at"),
        };
        let of_rows = |whole: u64| {
            let part = u128::from(whole) * u128::from(rows) / u128::from(at_most.rows.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let parts = usize::try_from(of_rows(at_most.parts as u64)).unwrap_or(at_most.parts).max(1);
        let extent = Extent { parts: parts.min(at_most.parts), rows, bytes: of_rows(at_most.bytes) };
        let mut read = Vec::new();
        filter_targets(&plan.filter, &mut read);
        read.extend(plan.stored(std::iter::empty()));
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let cpu_ms = scan_ns(plan.dataset, &read, extent) as f64 / 1e6;
        Ok(QueryCost::new(extent.rows, extent.bytes, cpu_ms, why.to_owned()))
    }
}

/// Rows looked at until a list is full; `None` where it is not known without looking.
fn expected_rows(
    engine: &Engine,
    query: &Query,
    plan: &Plan<'_>,
    at_most: Extent,
    limits: RunLimits,
) -> Result<Option<u64>, QueryError> {
    let Source::Records { limit, .. } = &plan.source else { return Ok(None) };
    if !matches!(plan.strategy, Strategy::NewestFirst | Strategy::OldestFirst) || plan.is_staged() {
        return Ok(None);
    }
    let wanted = limit.unwrap_or(limits.rows_default).min(limits.rows_max) as u64;
    let at_least = wanted.max(ROWS_MIN);
    if plan.filter == Filter::All {
        return Ok(Some(at_least.min(at_most.rows)));
    }
    let Some(fitting) = count_at_once(engine, query, plan, limits)? else { return Ok(None) };
    if fitting <= wanted {
        return Ok(None);
    }
    let share = u128::from(at_most.rows) * u128::from(wanted) / u128::from(fitting);
    Ok(Some(u64::try_from(share).unwrap_or(u64::MAX).max(at_least).min(at_most.rows)))
}

/// How many records fit, where a rollup says it.
fn count_at_once(
    engine: &Engine,
    query: &Query,
    plan: &Plan<'_>,
    limits: RunLimits,
) -> Result<Option<u64>, QueryError> {
    let mut targets = Vec::new();
    filter_targets(&plan.filter, &mut targets);
    let service = Target::Field(query.dataset.service());
    let is_counted = |target: &Target| {
        *target == service || query.dataset == Dataset::Logs && *target == Target::Field(schema::logs::LEVEL)
    };
    if !targets.iter().all(is_counted) {
        return Ok(None);
    }
    let count = Aggregate::new(Func::Count, None, query.dataset);
    let counting = Query {
        filter: plan.filter.clone(),
        range: plan.range,
        pipeline: vec![Pipe::Stats { aggregates: vec![count], by: Vec::new() }],
        ..Query::new(query.tenant.clone(), query.dataset, plan.range)
    };
    let by_rollup = engine.explain(&counting, limits)?;
    let is_quick = by_rollup.strategy == Strategy::Rollup && by_rollup.rows_estimate <= ASKED_ROWS_MAX;
    if !is_quick {
        return Ok(None);
    }
    let control = Control { rows_scanned_max: Some(4 * ASKED_ROWS_MAX), ..Control::default() };
    let answer = engine.run(&counting, &control, limits)?;
    let count = answer.rows.first().and_then(|row| row.first());
    Ok(match count {
        Some(heimdall_model::Value::Int(count)) if !answer.stats.partial => u64::try_from(*count).ok(),
        _ => None,
    })
}
