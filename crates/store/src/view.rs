//! One table as of one moment, and what its summaries answer of it without reading a row.
//!
//! Invariants:
//! - everything asked of one [`View`] is asked of the same rows, whatever is appended, flushed or merged meanwhile;
//! - an answer is exact for the parts of the table it is of, and the others, with the times in them that it is not of, are handed
//!   back to be scanned ([`Covered::rest`]): nothing is left out and nothing counted twice.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use heimdall_model::time::{NS_PER_DAY, NS_PER_WEEK};
use heimdall_model::{Dataset, FieldId, Level, Target, Tenant, Timestamp};

use crate::aside::DamagedSegment;
use crate::cubes::{Cubes, Source};
use crate::memtable::Chunk;
use crate::scan::{ScanError, TimeRange, Turns};
use crate::segment::{Segment, TableKey};
use crate::sidecar::{BlockCache, Damage, RunLevels, RunTimes, kind};
use crate::store::{Store, StoreError};
use crate::summary::{
    CLASS_OTHER, Directory, FieldSummary, HOUR_NS, MINUTE_NS, Statistics, Types, read_counts,
    read_statistics, start_of,
};

/// Spans of time of one length: they count from the epoch, whole weeks from a Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    /// Length in ns, at least 1.
    pub span_ns: i64,
}

impl Bin {
    /// Start of the span that holds a time.
    #[must_use]
    pub fn start(self, time: Timestamp) -> Timestamp {
        const MONDAY: i64 = -3 * NS_PER_DAY;
        let origin = if self.span_ns % NS_PER_WEEK == 0 { MONDAY } else { 0 };
        let past = (i128::from(time.0) - i128::from(origin)).rem_euclid(i128::from(self.span_ns));
        Timestamp(time.0.saturating_sub(i64::try_from(past).unwrap_or(0)))
    }

    pub(crate) fn is_hours(self) -> bool {
        self.span_ns % HOUR_NS == 0
    }
}

/// What counts are told apart by.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountsBy {
    /// Spans of whole minutes.
    pub bin: Option<Bin>,
    /// Services.
    pub service: bool,
    /// Levels.
    pub level: bool,
}

/// Takes one count: start of its bin (of the range without bins), service, level, rows.
pub type CountVisitor<'a> = dyn FnMut(Timestamp, Option<&str>, Option<Level>, u64) + 'a;

/// What summaries know, and what they do not cover.
#[derive(Debug)]
pub struct Covered<T> {
    /// What is known.
    pub found: T,
    /// The rest, to be scanned.
    pub rest: Vec<Rest>,
}

/// Records of some parts of a table that a summary does not cover.
#[derive(Debug, Clone)]
pub struct Rest {
    /// The parts.
    pub view: View,
    /// Which of their records.
    pub range: TimeRange,
}

impl Rest {
    /// The parts of `view` in `range`, where there are any.
    fn of(view: View, range: TimeRange) -> Option<Rest> {
        (!view.is_empty()).then_some(Rest { view, range })
    }
}

/// One table as of one moment.
#[derive(Debug, Clone)]
pub struct View {
    pub(crate) table: TableKey,
    pub(crate) chunks: Vec<Arc<Chunk>>,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Segments of the table.
    pub(crate) segments_total: usize,
    /// Segments it goes without.
    pub(crate) missing: Vec<DamagedSegment>,
    pub(crate) declared: Arc<[Target]>,
    pub(crate) means: Means,
}

/// What of the store answering takes beside the rows.
#[derive(Clone)]
pub(crate) struct Means {
    pub cache: Arc<BlockCache>,
    pub turns: Arc<Turns>,
}

impl std::fmt::Debug for Means {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means").finish_non_exhaustive()
    }
}

/// One kind of summary, as far as the reading of it goes.
#[derive(Debug, Clone, Copy)]
pub enum SummaryKind<'a> {
    /// Counts by minute, service and level.
    Minutes,
    /// Counts by hour, service and level.
    Hours,
    /// Counts by template, and by bin.
    Templates(Option<Bin>),
    /// Durations by service, and by bin.
    Latency(Option<Bin>),
    /// Counts and times by service and template.
    Runs,
    /// The same by level too.
    RunsByLevel,
    /// Counts by value of this field.
    Cube(&'a Target),
}

/// What is in a span of time, as far as it is known without looking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Segments and chunks of the memtable that reach into it.
    pub parts: usize,
    /// Rows, as if those of a part were spread evenly over its time.
    pub rows: u64,
    /// Bytes of those rows in segment files.
    pub bytes: u64,
}

/// What reading a summary takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SummaryExtent {
    /// Parts that have it.
    pub parts: usize,
    /// Bytes of it over those parts.
    pub bytes: u64,
    /// Rows of the memtable of which it is not made yet.
    pub rows_to_count: u64,
    /// Parts that do not have it, to be scanned.
    pub rest: Extent,
}

/// The records of one service and template, and of one level where levels are told apart, in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOf<'a> {
    /// The service, if any.
    pub service: Option<&'a str>,
    /// The template; 0: none.
    pub template: u32,
    /// The level, if any, where levels are told apart.
    pub level: Option<Level>,
    /// How many they are.
    pub rows: u64,
    /// Event time of the earliest.
    pub first: Timestamp,
    /// Event time of the latest.
    pub last: Timestamp,
}

/// What is known of one field of the records of a table.
#[derive(Debug, Clone)]
pub struct FieldStatistics {
    /// Canonical field or attribute path.
    pub target: Target,
    /// Its name.
    pub name: String,
    /// Types of the values seen.
    pub types: Types,
    /// Records that have it.
    pub rows: u64,
    /// Records looked at.
    pub rows_total: u64,
    /// Different values (see [`crate::summary::Distinct`] for the error); `None` where they are not counted.
    pub distinct: Option<u64>,
    /// Whether `distinct` is an estimate.
    pub is_estimate: bool,
    /// Bytes of the values in memory.
    pub bytes: u64,
}

/// A segment or a chunk of the memtable.
#[derive(Clone, Copy)]
pub(crate) enum Part<'v> {
    Chunk(&'v Arc<Chunk>),
    Segment(&'v Arc<Segment>),
}

impl Part<'_> {
    pub(crate) fn bounds(&self) -> (Timestamp, Timestamp) {
        match self {
            Part::Chunk(chunk) => (chunk.min, chunk.max),
            Part::Segment(segment) => (segment.meta.min, segment.meta.max),
        }
    }

    pub(crate) fn block(&self, kind: u32, declared: &[Target]) -> Result<Option<Bytes>, StoreError> {
        match self {
            Part::Chunk(chunk) => Ok(chunk.summary(kind, declared)),
            Part::Segment(segment) => segment.sidecar().bytes(kind),
        }
    }

    pub(crate) fn required(&self, kind: u32, declared: &[Target]) -> Result<Bytes, StoreError> {
        let block = self.block(kind, declared)?;
        block.ok_or_else(|| self.damaged(kind, &Damage { at: 0, detail: "it is missing" }))
    }

    fn touches(&self, range: TimeRange) -> bool {
        let (min, max) = self.bounds();
        range.touches(min, max)
    }

    pub(crate) fn extent(&self, range: TimeRange) -> Extent {
        let (min, max) = self.bounds();
        let (rows, bytes) = match self {
            Part::Chunk(chunk) => (chunk.block.rows() as u64, 0),
            Part::Segment(segment) => (segment.meta.rows, segment.meta.bytes),
        };
        let length = |from: i64, to: i64| i128::from(to) - i128::from(from) + 1;
        let all = length(min.0, max.0);
        let within = length(min.0.max(range.from.0), max.0.min(range.to.0.saturating_sub(1))).clamp(0, all);
        let share = |n: u64| u64::try_from((i128::from(n) * within + all - 1) / all).unwrap_or(n);
        Extent { parts: 1, rows: share(rows), bytes: share(bytes) }
    }

    /// Bytes of a block; `None` where there is none. A chunk's that is not made yet has `Some(None)`.
    pub(crate) fn block_bytes(&self, kind: u32) -> Result<Option<Option<u64>>, StoreError> {
        match self {
            Part::Chunk(chunk) => Ok(chunk.summary_bytes(kind)),
            Part::Segment(segment) => Ok(segment.sidecar().content_bytes(kind)?.map(Some)),
        }
    }

    pub(crate) fn damaged(&self, kind: u32, damage: &Damage) -> StoreError {
        match self {
            Part::Chunk(_) => StoreError::Encode { detail: format!("summary {kind} of a chunk: {damage}") },
            Part::Segment(segment) => segment.sidecar().damaged(kind, damage),
        }
    }
}

impl Store {
    /// The table of a tenant and dataset as it is now.
    #[must_use]
    pub fn view(&self, tenant: &Tenant, dataset: Dataset) -> View {
        let table = TableKey { tenant: tenant.clone(), dataset };
        let (chunks, segments) = self.snapshot(&table);
        let segments_total = segments.len();
        let (missing, declared) = (Vec::new(), Arc::clone(&self.declared));
        let means = Means { cache: Arc::clone(&self.files.blocks), turns: Arc::clone(&self.turns) };
        View { table, chunks, segments, segments_total, missing, declared, means }
    }

    /// What is known of every field of the records in `range`, whole segments and chunks at a time: those that reach
    /// beyond the range are counted whole. Most frequent attribute paths of each segment only. Datasets other than logs
    /// have none.
    ///
    /// # Errors
    /// A sidecar could not be read.
    pub fn field_statistics(
        &self,
        tenant: &Tenant,
        dataset: Dataset,
        range: TimeRange,
    ) -> Result<Vec<FieldStatistics>, StoreError> {
        self.view(tenant, dataset).field_statistics(range)
    }

    /// As [`Store::field_statistics`], without the segments that are damaged, and which of the range these are.
    ///
    /// # Errors
    /// A sidecar could not be read for another reason.
    pub fn field_statistics_without_damaged(
        &self,
        tenant: &Tenant,
        dataset: Dataset,
        range: TimeRange,
    ) -> Result<(Vec<FieldStatistics>, Vec<DamagedSegment>), ScanError> {
        self.past_damage(|| {
            let view = self.view(tenant, dataset).without_damaged();
            let missing = view.missing(range).cloned().collect();
            Ok((view.field_statistics(range)?, missing))
        })
    }
}

impl View {
    /// Which dataset.
    #[must_use]
    pub fn dataset(&self) -> Dataset {
        self.table.dataset
    }

    /// Rows in it.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let chunks = self.chunks.iter().map(|chunk| chunk.block.rows() as u64);
        chunks.chain(self.segments.iter().map(|segment| segment.meta.rows)).sum()
    }

    /// Event times of the earliest and the latest record; `None` when there is none.
    #[must_use]
    pub fn bounds(&self) -> Option<(Timestamp, Timestamp)> {
        let all = self.parts(TimeRange::ALL).map(|part| part.bounds());
        all.reduce(|(min, max), (low, high)| (min.min(low), max.max(high)))
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.segments.is_empty()
    }

    /// Whether a field has cubes where its values are not too many.
    #[must_use]
    pub fn has_cubes_of(&self, target: &Target) -> bool {
        self.dataset() == Dataset::Logs && self.declared.contains(target)
    }

    pub(crate) fn parts(&self, range: TimeRange) -> impl Iterator<Item = Part<'_>> {
        let parts = self.chunks.iter().map(Part::Chunk).chain(self.segments.iter().map(Part::Segment));
        parts.filter(move |part| {
            let (min, max) = part.bounds();
            range.touches(min, max)
        })
    }

    /// The parts for which `found` has nothing, beside what it has for the others.
    fn covered<T>(
        &self,
        range: TimeRange,
        mut found: impl FnMut(Part<'_>) -> Result<Option<T>, StoreError>,
    ) -> Result<Covered<Vec<T>>, StoreError> {
        let mut rest = self.without_parts();
        let mut all = Vec::new();
        for part in self.parts(range) {
            match found(part)? {
                Some(one) => all.push(one),
                None => rest.push(part),
            }
        }
        Ok(Covered { found: all, rest: Rest::of(rest, range).into_iter().collect() })
    }

    pub(crate) fn without_parts(&self) -> View {
        View { chunks: Vec::new(), segments: Vec::new(), ..self.clone() }
    }

    pub(crate) fn push(&mut self, part: Part<'_>) {
        match part {
            Part::Chunk(chunk) => self.chunks.push(Arc::clone(chunk)),
            Part::Segment(segment) => self.segments.push(Arc::clone(segment)),
        }
    }

    /// The same range with an end open where no record lies beyond it.
    #[must_use]
    pub fn opened(&self, range: TimeRange) -> TimeRange {
        let beyond = |outside: TimeRange| self.parts(outside).next().is_some();
        let (before, after) =
            (TimeRange { to: range.from, ..TimeRange::ALL }, TimeRange { from: range.to, ..TimeRange::ALL });
        TimeRange {
            from: if beyond(before) { range.from } else { TimeRange::ALL.from },
            to: if beyond(after) { range.to } else { TimeRange::ALL.to },
        }
    }

    /// What lies in `range`.
    #[must_use]
    pub fn extent(&self, range: TimeRange) -> Extent {
        self.parts(range).map(|part| part.extent(range)).fold(Extent::default(), |all, part| Extent {
            parts: all.parts + part.parts,
            rows: all.rows + part.rows,
            bytes: all.bytes + part.bytes,
        })
    }

    /// What reading a summary of the parts in `range` takes.
    ///
    /// # Errors
    /// A sidecar could not be read.
    pub fn summary_extent(
        &self,
        what: SummaryKind<'_>,
        range: TimeRange,
    ) -> Result<SummaryExtent, StoreError> {
        match what {
            SummaryKind::Latency(bin) => return self.latency_extent(range, bin),
            SummaryKind::Templates(bin) => return self.template_extent(range, bin),
            _ => {}
        }
        let mut found = SummaryExtent::default();
        for part in self.parts(range) {
            let (kind, ends) = match what {
                SummaryKind::Cube(target) => match cube_of(part, target, range, false)? {
                    Some(CubePart { kind, hours: None }) => (Some(kind), [None; 2]),
                    Some(CubePart { kind, .. }) => (Some(kind), Ends::of(range).beside(part)),
                    None => (None, [None; 2]),
                },
                what => (kind_of(part, what, range), [None; 2]),
            };
            let bytes = match kind {
                Some(kind) => part.block_bytes(kind)?,
                None => None,
            };
            for end in ends.into_iter().flatten() {
                let extent = part.extent(end);
                found.rest.parts += 1;
                found.rest.rows += extent.rows;
                found.rest.bytes += extent.bytes;
            }
            let extent = part.extent(range);
            match bytes {
                Some(bytes) => {
                    found.parts += 1;
                    found.bytes += bytes.unwrap_or(0);
                    found.rows_to_count += if bytes.is_none() { extent.rows } else { 0 };
                }
                None => {
                    found.rest.parts += 1;
                    found.rest.rows += extent.rows;
                    found.rest.bytes += extent.bytes;
                }
            }
        }
        Ok(found)
    }

    /// Exact counts of all records of whole minutes: `range` starts and ends on a minute, or is open.
    ///
    /// Whole hours are counted from the hours where bins allow; cost: one count of a sidecar each, and one visit for each
    /// bin, service and level asked for.
    ///
    /// # Errors
    /// A sidecar could not be read.
    pub fn counts(
        &self,
        range: TimeRange,
        by: CountsBy,
        each: &mut CountVisitor<'_>,
    ) -> Result<(), StoreError> {
        let mut sums = Sums::new(range, by);
        let inner = if by.bin.is_none_or(Bin::is_hours) { range.whole(HOUR_NS) } else { None };
        for part in self.parts(range) {
            let (min, max) = part.bounds();
            let mut read = |kind: u32, unit_ns: i64, wanted: &dyn Fn(Timestamp) -> bool| {
                let bytes = part.required(kind, &self.declared)?;
                read_counts(&bytes, &mut |service, level, unit, count| {
                    let start = start_of(unit, unit_ns);
                    if wanted(start) {
                        sums.add(start, service, level, count);
                    }
                })
                .map_err(|damage| part.damaged(kind, &damage))
            };
            let in_range = |start: Timestamp| range.from <= start && start < range.to;
            let Some(inner) = inner.filter(|inner| inner.touches(min, max)) else {
                read(kind::MINUTE_COUNTS, MINUTE_NS, &in_range)?;
                continue;
            };
            let in_hours = |start: Timestamp| inner.from <= start && start < inner.to;
            read(kind::HOUR_COUNTS, HOUR_NS, &in_hours)?;
            if !inner.covers(min, max) {
                read(kind::MINUTE_COUNTS, MINUTE_NS, &|start| in_range(start) && !in_hours(start))?;
            }
        }
        sums.visit(each);
        Ok(())
    }

    /// Hands the records of each service and template, segment by segment, to `each`, those of each level apart where `by_level`: of
    /// the segments that lie in `range` as a whole and know the times, and levels, of their runs. Gives what is to be scanned: the
    /// others, and the memtable.
    ///
    /// # Errors
    /// A sidecar could not be read.
    pub fn runs(
        &self,
        range: TimeRange,
        by_level: bool,
        each: &mut dyn FnMut(RunOf<'_>),
    ) -> Result<Vec<Rest>, StoreError> {
        let Covered { rest, .. } = self.covered(range, |part| {
            let (min, max) = part.bounds();
            let Part::Segment(segment) = part else { return Ok(None) };
            if !range.covers(min, max) {
                return Ok(None);
            }
            let sidecar = segment.sidecar();
            let Some(times) = sidecar.block::<RunTimes>()? else { return Ok(None) };
            let levels = if by_level { sidecar.block::<RunLevels>()? } else { None };
            if by_level && levels.is_none() {
                return Ok(None);
            }
            let directory = sidecar.runs()?;
            let as_many = |count: usize, kind: u32| {
                let damage = Damage { at: 0, detail: "it is not of as many runs as there are" };
                if count == directory.runs.len() { Ok(()) } else { Err(part.damaged(kind, &damage)) }
            };
            as_many(times.0.len(), kind::RUN_TIMES)?;
            levels.as_ref().map_or(Ok(()), |levels| as_many(levels.masks.len(), kind::RUN_LEVELS))?;
            let mut parts = levels.iter().flat_map(|levels| &levels.parts);
            for (number, (run, (first, last))) in directory.runs.iter().zip(&times.0).enumerate() {
                let rows = u64::from(run.rows.end - run.rows.start);
                let whole = RunOf {
                    service: directory.service(run),
                    template: run.template,
                    level: None,
                    rows,
                    first: Timestamp(*first),
                    last: Timestamp(*last),
                };
                let mask = levels.as_ref().map_or(1, |levels| levels.masks[number]);
                let codes = (0..8_u8).filter(|code| mask >> code & 1 == 1);
                if mask.count_ones() == 1 {
                    codes.for_each(|code| each(RunOf { level: Level::from_code(code), ..whole }));
                    continue;
                }
                let mut left = rows;
                for (code, part) in codes.zip(parts.by_ref()) {
                    let rows = u64::from(part.rows);
                    left = left.wrapping_sub(rows);
                    let (first, last) = (Timestamp(part.min_ns), Timestamp(part.max_ns));
                    each(RunOf { level: Level::from_code(code), rows, first, last, ..whole });
                }
                if left != 0 {
                    let damage = Damage { at: 0, detail: "levels have other rows than their run" };
                    return Err(part.damaged(kind::RUN_LEVELS, &damage));
                }
            }
            Ok(Some(()))
        })?;
        Ok(rest)
    }

    /// Cubes of a declared field over the parts in `range` that have one: of those that lie in it as a whole, and of the whole
    /// hours within it of those that it cuts, the ends of which are to be scanned. `by_class`: rows are told apart by the class of
    /// their status, so that parts with a status of no class are not covered.
    ///
    /// # Errors
    /// A sidecar could not be read.
    pub fn cubes(
        &self,
        target: &Target,
        range: TimeRange,
        by_class: bool,
    ) -> Result<Covered<Cubes>, StoreError> {
        let ends_of = Ends::of(range);
        let (mut sources, mut others) = (Vec::new(), self.without_parts());
        let mut ends = [self.without_parts(), self.without_parts()];
        for part in self.parts(range) {
            let Some(CubePart { kind, hours }) = cube_of(part, target, range, by_class)? else {
                others.push(part);
                continue;
            };
            if hours.is_some() {
                for (end, view) in ends_of.beside(part).iter().zip(&mut ends) {
                    if end.is_some() {
                        view.push(part);
                    }
                }
            }
            match part {
                // Which cubes a chunk has is known when they are made.
                Part::Chunk(_) => match self.chunk_cube(part, target, by_class)? {
                    Some(bytes) => sources.push(Source::Chunk(bytes)),
                    None => others.push(part),
                },
                Part::Segment(segment) => {
                    sources.push(Source::Segment { segment: Arc::clone(segment), kind, hours });
                }
            }
        }
        let mut rest: Vec<Rest> = Rest::of(others, range).into_iter().collect();
        for (view, end) in ends.into_iter().zip(ends_of.around) {
            rest.extend(end.and_then(|end| Rest::of(view, end)));
        }
        let field = target.name(self.dataset());
        Ok(Covered { found: Cubes::new(sources, field, &self.means.cache, &self.means.turns), rest })
    }

    fn chunk_cube(
        &self,
        part: Part<'_>,
        target: &Target,
        by_class: bool,
    ) -> Result<Option<Bytes>, StoreError> {
        let kind = kind::HOUR_CUBES;
        let Some(bytes) = part.block(kind, &self.declared)? else { return Ok(None) };
        let directory = Directory::read(kind, &bytes).map_err(|damage| part.damaged(kind, &damage))?;
        if by_class && directory.classes[CLASS_OTHER] > 0 {
            return Ok(None);
        }
        directory.cube_of(target).map(|cube| part.required(cube.kind, &self.declared)).transpose()
    }

    fn field_statistics(&self, range: TimeRange) -> Result<Vec<FieldStatistics>, StoreError> {
        if self.dataset() != Dataset::Logs {
            return Ok(Vec::new());
        }
        let (mut rows_total, mut fields) = (0, BTreeMap::<String, (Target, FieldSummary)>::new());
        for part in self.parts(range) {
            let kind = kind::FIELD_STATISTICS;
            let bytes = part.required(kind, &self.declared)?;
            let Statistics { rows, fields: found, .. } =
                read_statistics(&bytes).map_err(|damage| part.damaged(kind, &damage))?;
            rows_total += rows;
            for (target, summary) in found {
                match fields.get_mut(&target.name(Dataset::Logs)) {
                    Some((_, sum)) => sum.merge(&summary),
                    None => {
                        fields.insert(target.name(Dataset::Logs), (target, summary));
                    }
                }
            }
        }
        let statistics = fields.into_iter().map(|(name, (target, summary))| FieldStatistics {
            target,
            name,
            types: summary.types,
            rows: summary.rows,
            rows_total,
            distinct: summary.distinct.as_ref().map(crate::summary::Distinct::count),
            is_estimate: summary.distinct.as_ref().is_some_and(crate::summary::Distinct::is_estimate),
            bytes: summary.bytes,
        });
        Ok(statistics.collect())
    }
}

/// The block of a part that holds a summary of all its rows in `range`. Of cubes see [`cube_of`].
fn kind_of(part: Part<'_>, what: SummaryKind<'_>, range: TimeRange) -> Option<u32> {
    match what {
        SummaryKind::Minutes => Some(kind::MINUTE_COUNTS),
        SummaryKind::Hours => Some(kind::HOUR_COUNTS),
        SummaryKind::Templates(_) => Some(kind::TEMPLATE_COUNTS),
        SummaryKind::Latency(_) => Some(kind::LATENCY_WHOLE),
        SummaryKind::Runs | SummaryKind::RunsByLevel => {
            let (min, max) = part.bounds();
            let is_covered = range.covers(min, max) && matches!(part, Part::Segment(_));
            let by_level = matches!(what, SummaryKind::RunsByLevel);
            is_covered.then_some(if by_level { kind::RUN_LEVELS } else { kind::RUN_TIMES })
        }
        SummaryKind::Cube(_) => Some(kind::HOUR_CUBES),
    }
}

/// The cube that answers for a part, or for whole hours of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CubePart {
    /// Block of the cube; of a chunk, the cubes of which are yet to be made, that of their directory.
    kind: u32,
    /// The hours since the epoch that it answers for; all of them when absent.
    hours: Option<Range<i64>>,
}

/// The cube of a field in a part; of a chunk it may turn out that it has none.
fn cube_of(
    part: Part<'_>,
    target: &Target,
    range: TimeRange,
    by_class: bool,
) -> Result<Option<CubePart>, StoreError> {
    let (min, max) = part.bounds();
    let is_whole = range.covers(min, max);
    let segment = match part {
        // Looking at a few thousand rows takes less than making their cubes.
        Part::Chunk(_) => return Ok(is_whole.then_some(CubePart { kind: kind::HOUR_CUBES, hours: None })),
        Part::Segment(segment) => segment,
    };
    let hours = if is_whole { None } else { Ends::of(range).hours_of(min, max) };
    if !is_whole && hours.is_none() {
        return Ok(None);
    }
    for of in [kind::HOUR_CUBES, kind::CUBES] {
        let Some(bytes) = segment.sidecar().bytes(of)? else { continue };
        let directory = Directory::read(of, &bytes).map_err(|damage| part.damaged(of, &damage))?;
        if by_class && directory.classes[CLASS_OTHER] > 0 {
            return Ok(None);
        }
        let cube = directory.cube_of(target).filter(|cube| is_whole || cube.by_hour);
        return Ok(cube.map(|cube| CubePart { kind: cube.kind, hours }));
    }
    Ok(None)
}

/// What of a range is no whole hour: before the first one and after the last one.
#[derive(Debug, Clone, Copy)]
struct Ends {
    range: TimeRange,
    /// The first whole hour and the one after the last, since the epoch.
    hours: (i64, i64),
    /// Ends that hold time.
    around: [Option<TimeRange>; 2],
}

impl Ends {
    fn of(range: TimeRange) -> Ends {
        let TimeRange { from: Timestamp(from), to: Timestamp(to) } = range;
        let hours =
            (from.div_euclid(HOUR_NS) + i64::from(from.rem_euclid(HOUR_NS) > 0), to.div_euclid(HOUR_NS));
        let first = Timestamp(hours.0.saturating_mul(HOUR_NS));
        let last = Timestamp(hours.1.saturating_mul(HOUR_NS));
        let end = |from, to| (from < to).then_some(TimeRange { from, to });
        Ends { range, hours, around: [end(range.from, first), end(last, range.to)] }
    }

    /// The ends that a part reaches into and its hours do not answer for.
    fn beside(&self, part: Part<'_>) -> [Option<TimeRange>; 2] {
        let (min, max) = part.bounds();
        let is_cut = [min < self.range.from, self.range.to <= max];
        let mut ends = self.around.into_iter().zip(is_cut);
        std::array::from_fn(|_| {
            let (end, is_cut) = ends.next()?;
            end.filter(|end| is_cut && part.touches(*end))
        })
    }

    /// The hours that a cube answers for of rows between two times, when it answers for any: where no row lies before the range
    /// there is no hour to be cut, nor where none lies after it.
    fn hours_of(&self, min: Timestamp, max: Timestamp) -> Option<Range<i64>> {
        let hour = |time: Timestamp| time.0.div_euclid(HOUR_NS);
        let from = if self.range.from <= min { hour(min) } else { self.hours.0 };
        let to = if max < self.range.to { hour(max) + 1 } else { self.hours.1 };
        (from < to && hour(min) < to && from <= hour(max)).then_some(from..to)
    }
}

/// Counts on their way to a visitor.
struct Sums {
    range: TimeRange,
    by: CountsBy,
    services: Vec<Arc<str>>,
    codes: HashMap<Arc<str>, u32>,
    counts: HashMap<(Timestamp, u32, u8), u64>,
    /// The service before, and its code; the key before, and its sum.
    last_service: Option<u32>,
    last: ((Timestamp, u32, u8), u64),
}

impl Sums {
    fn new(range: TimeRange, by: CountsBy) -> Sums {
        Sums {
            range,
            by,
            services: Vec::new(),
            codes: HashMap::new(),
            counts: HashMap::new(),
            last_service: None,
            last: ((range.from, 0, 0), 0),
        }
    }

    fn add(&mut self, start: Timestamp, service: Option<&str>, level: u8, count: u64) {
        let time = self.by.bin.map_or(self.range.from, |bin| bin.start(start));
        // Code 0 is no service, or any where services are not told apart.
        let service = service.filter(|_| self.by.service).map_or(0, |service| self.code(service));
        let level = if self.by.level { level } else { 0 };
        let key = (time, service, level);
        if self.last.0 != key {
            self.keep();
            self.last = (key, 0);
        }
        self.last.1 += count;
    }

    fn keep(&mut self) {
        if self.last.1 > 0 {
            *self.counts.entry(self.last.0).or_default() += self.last.1;
        }
    }

    fn code(&mut self, service: &str) -> u32 {
        if let Some(last) = self.last_service
            && self.services[last as usize].as_ref() == service
        {
            return last + 1;
        }
        let code = match self.codes.get(service) {
            Some(code) => *code,
            None => {
                let name: Arc<str> = service.into();
                let code = u32::try_from(self.services.len()).expect("fewer services than rows");
                self.services.push(Arc::clone(&name));
                self.codes.insert(name, code);
                code
            }
        };
        self.last_service = Some(code);
        code + 1
    }

    fn visit(mut self, each: &mut CountVisitor<'_>) {
        self.keep();
        for ((time, service, level), count) in self.counts {
            let name = service.checked_sub(1).map(|code| self.services[code as usize].as_ref());
            each(time, name, Level::from_code(level), count);
        }
    }
}

/// Whether a field is the one whose durations are summed up.
#[must_use]
pub fn has_latency(dataset: Dataset, field: FieldId) -> bool {
    dataset.duration() == Some(field)
}
