//! Repeated questions over time: a `stats … by bin(span)` whose finished buckets are kept, so that the next time only
//! the missing ones are computed.
//!
//! Every group belongs to one bucket, so the answer over a range is the union of the answers over its parts when no
//! part cuts a bucket; the two buckets at the ends of the range may be cut, and are computed every time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use heimdall_model::filter::{Filter, Target};
use heimdall_model::{Dataset, Tenant, Timestamp, Value, schema};
use heimdall_store::{Control, TimeRange};
use serde::Serialize;

use crate::answer::{Answer, AnswerStats};
use crate::cache::{Bucket, Buckets, CacheUse};
use crate::engine::{Engine, QueryError, RunLimits, Strategy};
use crate::group::{self, bin_start, compare_keys};
use crate::plan::filter_targets;
use crate::query::{GroupKey, Pipe, Query};

/// Most buckets of a range that are looked up; a longer chart is computed whole.
const BUCKETS_MAX: i64 = 20_000;
/// Most separate parts that are computed; more become one that spans them.
const PARTS_MAX: usize = 8;

/// A query whose first aggregation has one bin among its keys.
pub(crate) struct Chart<'q> {
    query: &'q Query,
    /// The pipes up to the aggregation, and with it.
    head: &'q [Pipe],
    keys: usize,
    /// Place of the bin among the keys.
    bin: usize,
    span: i64,
    /// The whole buckets of the range: start of the first, end of the last.
    whole: (i64, i64),
}

/// What two charts share buckets by: all but the range.
#[derive(Serialize)]
pub(crate) struct Identity<'q> {
    tenant: &'q Tenant,
    dataset: Dataset,
    filter: &'q Filter,
    head: &'q [Pipe],
}

/// An answer, and the buckets known after it.
pub(crate) struct Run {
    pub(crate) answer: Answer,
    pub(crate) buckets: Option<Buckets>,
}

impl<'q> Chart<'q> {
    /// The chart of a query; `None` when it is none, or has no whole bucket, or too many.
    pub(crate) fn of(query: &'q Query) -> Option<Chart<'q>> {
        let at = query.pipeline.iter().position(|pipe| !matches!(pipe, Pipe::Where(_)))?;
        let Pipe::Stats { by, .. } = &query.pipeline[at] else { return None };
        let mut bins = by.iter().enumerate().filter_map(|(at, key)| match key {
            GroupKey::Bin(span) => Some((at, *span)),
            GroupKey::Field(_) => None,
        });
        let (bin, span) = bins.next().filter(|(_, span)| *span > 0)?;
        if reads_templates(&query.pipeline[..=at], &query.filter) {
            return None;
        }
        let (from, to) = (query.range.from, query.range.to);
        if bins.next().is_some() || from >= to || to.0.checked_sub(from.0)? / span > BUCKETS_MAX {
            return None;
        }
        let up = |time: Timestamp| {
            let start = bin_start(time, span).0;
            if start == time.0 { Some(start) } else { start.checked_add(span) }
        };
        // Far from the ends of time, where the start of a bin is not exact.
        from.0.checked_sub(span.checked_mul(2)?)?;
        let whole = (up(from)?, bin_start(to, span).0);
        let head = &query.pipeline[..=at];
        (whole.0 < whole.1).then_some(Chart { query, head, keys: by.len(), bin, span, whole })
    }

    pub(crate) fn identity(&self) -> Identity<'q> {
        let Query { tenant, dataset, filter, .. } = self.query;
        Identity { tenant, dataset: *dataset, filter, head: self.head }
    }

    /// Answers with the kept buckets that are still right, computing the others.
    pub(crate) fn run(
        &self,
        engine: &Engine,
        kept: Option<&Buckets>,
        control: &Control,
        limits: RunLimits,
    ) -> Result<Run, QueryError> {
        let started = Instant::now();
        let version = engine.store().version(&self.query.tenant, self.query.dataset);
        let mut groups =
            kept.map(|kept| kept.still_right(engine.store(), self.query, self.span)).unwrap_or_default();
        let parts = self.missing(&groups);
        let computed: i64 = parts.iter().map(|part| part.to.0 - part.from.0).sum();
        let all = self.query.range.to.0 - self.query.range.from.0;
        let mut ends = Vec::new();
        let mut notes = Vec::new();
        let mut stats: Option<AnswerStats> = None;
        for part in parts {
            let answer = self.compute(engine, part, control, limits)?;
            notes.extend(answer.stats.notes.iter().cloned());
            self.put(part, answer.rows, &answer.stats, &mut groups, &mut ends);
            match &mut stats {
                Some(stats) => stats.add_part(&answer.stats),
                None => stats = Some(answer.stats),
            }
        }
        let mut rows = ends;
        for bucket in groups.range(self.whole.0..self.whole.1).map(|(_, bucket)| bucket) {
            rows.extend(bucket.rows.iter().cloned());
            notes.extend(bucket.notes.iter().cloned());
        }
        if rows.len() > limits.groups_max {
            return Err(QueryError::TooManyGroups { groups_max: limits.groups_max });
        }
        rows.sort_by(|a, b| compare_keys(&a[..self.keys], &b[..self.keys]));
        notes.sort_unstable();
        notes.dedup();
        let mut stats = stats.unwrap_or_else(|| AnswerStats::new(Strategy::Scan));
        stats.notes = notes;
        stats.cache = if computed < all { CacheUse::Partial } else { CacheUse::Miss };
        let partial = stats.partial;
        // Buckets far from the range will not be asked for again by a chart that moves on.
        let length = self.whole.1 - self.whole.0;
        let (near, far) = (self.whole.0.saturating_sub(length), self.whole.1.saturating_add(length));
        groups.retain(|start, _| (near..far).contains(start));
        let mut answer = engine.finish(self.query, control, limits, rows, stats)?;
        answer.stats.elapsed_ms = started.elapsed().as_secs_f64() * 1_000.0;
        let buckets = (!partial).then_some(Buckets { version, groups });
        Ok(Run { answer, buckets })
    }

    /// The parts of the range that are not kept, in order: gaps between kept buckets, and what is before the first
    /// whole bucket and after the last.
    fn missing(&self, groups: &BTreeMap<i64, Arc<Bucket>>) -> Vec<TimeRange> {
        let range = self.query.range;
        let mut parts = Vec::new();
        let mut at = range.from.0;
        for start in groups.range(self.whole.0..self.whole.1).map(|(start, _)| *start) {
            if at < start {
                parts.push(TimeRange { from: Timestamp(at), to: Timestamp(start) });
            }
            at = start + self.span;
        }
        if at < range.to.0 {
            parts.push(TimeRange { from: Timestamp(at), to: range.to });
        }
        match (parts.first(), parts.last()) {
            (Some(first), Some(last)) if parts.len() > PARTS_MAX => {
                vec![TimeRange { from: first.from, to: last.to }]
            }
            _ => parts,
        }
    }

    /// The groups of a part of the range.
    fn compute(
        &self,
        engine: &Engine,
        part: TimeRange,
        control: &Control,
        limits: RunLimits,
    ) -> Result<Answer, QueryError> {
        let query =
            Query { range: part, pipeline: self.head.to_vec(), warnings: Vec::new(), ..self.query.clone() };
        let limits = RunLimits {
            rows_default: limits.groups_max,
            rows_max: limits.groups_max,
            result_bytes_max: usize::MAX,
            ..limits
        };
        engine.run(&query, control, limits)
    }

    /// Sorts computed groups into buckets; those of cut buckets go to `ends`.
    fn put(
        &self,
        part: TimeRange,
        rows: Vec<Vec<Value>>,
        stats: &AnswerStats,
        groups: &mut BTreeMap<i64, Arc<Bucket>>,
        ends: &mut Vec<Vec<Value>>,
    ) {
        let (first, last) = (part.from.0.max(self.whole.0), part.to.0.min(self.whole.1));
        let mut fresh: BTreeMap<i64, Bucket> = BTreeMap::new();
        let mut start = first;
        while start < last {
            fresh.insert(start, Bucket { rows: Vec::new(), notes: stats.notes.clone() });
            start += self.span;
        }
        for row in rows {
            let bucket = match &row[self.bin] {
                Value::Time(time) => fresh.get_mut(&time.0),
                _ => None,
            };
            match bucket {
                Some(bucket) => bucket.rows.push(row),
                None => ends.push(row),
            }
        }
        groups.extend(fresh.into_iter().map(|(start, bucket)| (start, Arc::new(bucket))));
    }
}

/// Whether templates decide or are shown: the catalog may name an old record's template anew.
fn reads_templates(head: &[Pipe], filter: &Filter) -> bool {
    let mut targets = Vec::new();
    filter_targets(filter, &mut targets);
    for pipe in head {
        match pipe {
            Pipe::Where(filter) => filter_targets(filter, &mut targets),
            Pipe::Stats { aggregates, by } => targets.extend(group::targets(aggregates, by)),
            _ => {}
        }
    }
    let is_template =
        |target: &Target| *target == Target::Template || *target == Target::Field(schema::logs::TEMPLATE_ID);
    targets.iter().any(is_template)
}
