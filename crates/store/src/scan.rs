//! The one scan operator: which rows of a table pass a filter, read with as little as possible.
//!
//! Invariants:
//! - an answer covers exactly the rows appended before the scan began, each once;
//! - a scan that cannot finish is an error that says why: it never returns a part as the whole;
//! - cancel flag, deadline and budget are looked at after every block.
//!
//! Order of work: time range rules out segments, the run directory rules out services and templates, page zones rule
//! out levels and times; then the filter's columns are read, and the other columns of passing rows only.

use std::collections::BinaryHeap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arrow::array::BooleanArray;
use arrow::buffer::BooleanBuffer;
use heimdall_model::matcher::FilterError;
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, FieldId, Filter, Matcher, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

use crate::block::RowBlock;
use crate::candidates::{self, Candidates, Purpose};
use crate::eval::Predicate;
use crate::memtable::Chunk;
use crate::segment::{Segment, TableKey};
use crate::sidecar::PAGE_ROWS;
use crate::store::{Store, StoreError};
use crate::view::View;

/// Most rows of a segment whose numbers are gathered before their other columns are fetched.
const FETCH_ROWS: usize = 65_536;
/// Bytes of rows in memory that one search answers with; beyond: [`ScanError::AnswerTooLarge`].
pub const SEARCH_BYTES_MAX: usize = 64 << 20;
/// Pages a newest-first search reads of a segment before it looks again what it still needs.
const SEARCH_PAGES: usize = 16;

/// A span of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// First nanosecond in it.
    pub from: Timestamp,
    /// First nanosecond after it.
    pub to: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX) };

    pub(crate) fn covers(self, min: Timestamp, max: Timestamp) -> bool {
        self.from <= min && max < self.to
    }

    pub(crate) fn touches(self, min: Timestamp, max: Timestamp) -> bool {
        self.from <= max && min < self.to
    }
}

/// What to scan.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// Owner of the rows.
    pub tenant: Tenant,
    /// Which dataset.
    pub dataset: Dataset,
    /// Event times of interest.
    pub range: TimeRange,
    /// Which rows.
    pub filter: Filter,
    /// Fields wanted; timestamps and ids always come along. `None` is all of them.
    pub fields: Option<Vec<FieldId>>,
}

/// Order of a search's hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Latest event time first; equal times by arrival, latest first.
    NewestFirst,
    /// Earliest first.
    OldestFirst,
}

/// Bounds of one scan. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Set by whoever no longer wants the answer.
    pub cancelled: Arc<AtomicBool>,
    /// Most rows to look at.
    pub rows_scanned_max: Option<u64>,
}

impl Control {
    fn check(&self, stats: &ScanStats) -> Result<(), ScanError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(ScanError::Cancelled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(ScanError::DeadlineExceeded { stats: Box::new(stats.clone()) });
        }
        match self.rows_scanned_max {
            Some(max) if stats.rows_scanned > max => {
                Err(ScanError::BudgetExceeded { rows_max: max, stats: Box::new(stats.clone()) })
            }
            _ => Ok(()),
        }
    }
}

/// What a scan did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ScanStats {
    /// Segments of the table.
    pub segments_total: usize,
    /// Segments of which something was read.
    pub segments_scanned: usize,
    /// Rows of the memtable that were looked at.
    pub memtable_rows: u64,
    /// Rows looked at, memtable included.
    pub rows_scanned: u64,
    /// Rows that passed.
    pub rows_matched: u64,
    /// Bytes read from segment files.
    pub bytes_read: u64,
}

/// Why a scan has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// Whoever asked no longer wants it.
    #[error("the query was cancelled")]
    Cancelled,
    /// The deadline passed.
    #[error("the query ran out of time after {} rows", stats.rows_scanned)]
    DeadlineExceeded {
        /// What was done until then.
        stats: Box<ScanStats>,
    },
    /// The row budget is spent.
    #[error("the query looked at more than {rows_max} rows")]
    BudgetExceeded {
        /// The budget.
        rows_max: u64,
        /// What was done until then.
        stats: Box<ScanStats>,
    },
    /// The rows found do not fit memory's share of one answer.
    #[error("the rows found are larger than {} MiB; ask for fewer rows or fewer fields", bytes_max >> 20)]
    AnswerTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The filter does not compile.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A segment could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A row found by a search.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The block that holds it.
    pub block: Arc<RowBlock>,
    /// Its row in the block.
    pub row: usize,
}

/// What a scan would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScanPlan {
    /// Segments of the table.
    pub segments_total: usize,
    /// Segments of which something would be read.
    pub segments: usize,
    /// Rows of the table, memtable included.
    pub rows_total: u64,
    /// Rows that would be looked at, at most.
    pub rows_estimate: u64,
    /// Bytes that would be read at most.
    pub bytes_estimate: u64,
    /// What rules rows out, in words.
    pub pruning: Vec<String>,
}

/// One scan under way.
struct Scan<'a> {
    request: &'a ScanRequest,
    control: &'a Control,
    predicate: Predicate,
    /// Fields the predicate reads.
    tested: Vec<FieldId>,
    chunks: Vec<Arc<Chunk>>,
    segments: Vec<Arc<Segment>>,
    stats: ScanStats,
    bytes_before: u64,
}

impl Store {
    fn begin<'a>(
        self: &Arc<Self>,
        request: &'a ScanRequest,
        control: &'a Control,
    ) -> Result<Scan<'a>, ScanError> {
        self.begin_in(self.view(&request.tenant, request.dataset), request, control)
    }

    fn begin_in<'a>(
        self: &Arc<Self>,
        view: View,
        request: &'a ScanRequest,
        control: &'a Control,
    ) -> Result<Scan<'a>, ScanError> {
        let matcher = Box::new(Matcher::compile(&request.filter, request.dataset)?);
        let (store, tenant) = (Arc::clone(self), request.tenant.clone());
        let View { mut chunks, mut segments, segments_total, .. } = view;
        // After the rows: see `decisions`.
        let decisions = self.decide(&request.tenant, request.dataset, &matcher.root);
        let text = Box::new(move |id| store.template_text(&tenant, id));
        let predicate = Predicate::new(matcher, request.dataset, decisions, text);
        let tested = predicate.fields(request.dataset.attributes());
        let stats = ScanStats { segments_total, ..ScanStats::default() };
        chunks.retain(|chunk| request.range.touches(chunk.min, chunk.max));
        segments.retain(|segment| request.range.touches(segment.meta.min, segment.meta.max));
        let bytes_before = segments.iter().map(|segment| segment.bytes_read()).sum();
        Ok(Scan { request, control, predicate, tested, chunks, segments, stats, bytes_before })
    }

    /// Hands every passing row to `each`, in blocks, in no particular order.
    ///
    /// # Errors
    /// [`ScanError`]; what `each` has seen until then is not the whole.
    pub fn scan(
        self: &Arc<Self>,
        request: &ScanRequest,
        control: &Control,
        each: &mut dyn FnMut(&RowBlock) -> ControlFlow<()>,
    ) -> Result<ScanStats, ScanError> {
        self.scan_in(&self.view(&request.tenant, request.dataset), request, control, each)
    }

    /// Hands every passing row of a view to `each`, in blocks, in no particular order. The view is of the request's
    /// tenant and dataset.
    ///
    /// # Errors
    /// [`ScanError`]; what `each` has seen until then is not the whole.
    pub fn scan_in(
        self: &Arc<Self>,
        view: &View,
        request: &ScanRequest,
        control: &Control,
        each: &mut dyn FnMut(&RowBlock) -> ControlFlow<()>,
    ) -> Result<ScanStats, ScanError> {
        let mut scan = self.begin_in(view.clone(), request, control)?;
        scan.run(each)?;
        Ok(scan.finish())
    }

    /// Counts the passing rows, without reading what the run directory already decides.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn count(
        self: &Arc<Self>,
        request: &ScanRequest,
        control: &Control,
    ) -> Result<(u64, ScanStats), ScanError> {
        let request = ScanRequest { fields: Some(Vec::new()), ..request.clone() };
        let mut scan = self.begin(&request, control)?;
        let count = scan.count()?;
        scan.stats.rows_matched = count;
        Ok((count, scan.finish()))
    }

    /// The first `limit` passing rows in event-time order.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn search(
        self: &Arc<Self>,
        request: &ScanRequest,
        order: Order,
        limit: usize,
        control: &Control,
    ) -> Result<(Vec<Hit>, ScanStats), ScanError> {
        let mut scan = self.begin(request, control)?;
        let hits = scan.search(order, limit)?;
        Ok((hits, scan.finish()))
    }

    /// What a scan would do, without doing it.
    ///
    /// # Errors
    /// The filter does not compile, or a sidecar cannot be read.
    pub fn explain(self: &Arc<Self>, request: &ScanRequest) -> Result<ScanPlan, ScanError> {
        let control = Control::default();
        let scan = self.begin(request, &control)?;
        let (mut rows, mut bytes, mut segments) = (0, 0, 0);
        let mut pages = (0, 0);
        for segment in &scan.segments {
            let candidates = candidates::of(segment, &scan.predicate, scan.request.range, Purpose::Read)?;
            let candidate_rows: u64 = candidates.maybe.iter().map(|range| range.len() as u64).sum();
            pages.0 += candidate_rows.div_ceil(PAGE_ROWS as u64);
            pages.1 += segment.meta.rows.div_ceil(PAGE_ROWS as u64);
            if candidate_rows > 0 {
                segments += 1;
                rows += candidate_rows;
                bytes += segment.meta.bytes * candidate_rows / segment.meta.rows.max(1);
            }
        }
        let memtable: u64 = scan.chunks.iter().map(|chunk| chunk.block.rows() as u64).sum();
        let table = TableKey { tenant: request.tenant.clone(), dataset: request.dataset };
        let (all_chunks, all_segments) = self.snapshot(&table);
        let rows_total = all_chunks.iter().map(|chunk| chunk.block.rows() as u64).sum::<u64>()
            + all_segments.iter().map(|segment| segment.meta.rows).sum::<u64>();
        Ok(ScanPlan {
            segments_total: all_segments.len(),
            segments,
            rows_total,
            rows_estimate: rows + memtable,
            bytes_estimate: bytes,
            pruning: vec![
                format!("time range: {} of {} segments", scan.segments.len(), all_segments.len()),
                format!("runs and zones: {} of {} pages", pages.0, pages.1),
                format!("memtable: {memtable} rows"),
            ],
        })
    }
}

impl Scan<'_> {
    fn finish(self) -> ScanStats {
        let bytes: u64 = self.segments.iter().map(|segment| segment.bytes_read()).sum();
        ScanStats { bytes_read: bytes - self.bytes_before, ..self.stats }
    }

    /// Passing rows of a block: the filter, and the time range unless it covers the block.
    fn mask(&self, block: &RowBlock, covered: bool) -> BooleanBuffer {
        let mask = self.predicate.evaluate(block);
        if covered {
            return mask;
        }
        let range = self.request.range;
        let in_range = BooleanBuffer::collect_bool(block.rows(), |row| {
            let time = block.timestamp(row);
            range.from <= time && time < range.to
        });
        &mask & &in_range
    }

    fn saw(&mut self, rows: usize, matched: usize) -> Result<(), ScanError> {
        self.stats.rows_scanned += rows as u64;
        self.stats.rows_matched += matched as u64;
        self.control.check(&self.stats)
    }

    fn count(&mut self) -> Result<u64, ScanError> {
        let mut count = 0;
        for chunk in std::mem::take(&mut self.chunks) {
            let mask = self.mask(&chunk.block, self.request.range.covers(chunk.min, chunk.max));
            count += mask.count_set_bits() as u64;
            self.stats.memtable_rows += chunk.block.rows() as u64;
            self.saw(chunk.block.rows(), 0)?;
        }
        for segment in self.segments.clone() {
            let candidates = candidates::of(&segment, &self.predicate, self.request.range, Purpose::Count)?;
            count += candidates.yes;
            self.matching(&segment, &candidates, &candidates.maybe, &mut |_, rows| {
                count += rows.len() as u64;
            })?;
        }
        Ok(count)
    }

    fn run(&mut self, each: &mut dyn FnMut(&RowBlock) -> ControlFlow<()>) -> Result<(), ScanError> {
        for chunk in std::mem::take(&mut self.chunks) {
            let covered = self.request.range.covers(chunk.min, chunk.max);
            let rows = chunk.block.rows();
            self.stats.memtable_rows += rows as u64;
            let block = match &self.request.fields {
                Some(fields) if covered && self.predicate.is_all() => chunk.block.projected(fields),
                _ if covered && self.predicate.is_all() => chunk.block.clone(),
                fields => {
                    let mask = self.mask(&chunk.block, covered);
                    if mask.count_set_bits() == 0 {
                        self.saw(rows, 0)?;
                        continue;
                    }
                    let mask = BooleanArray::new(mask, None);
                    match fields {
                        Some(fields) => chunk.block.projected(fields).filtered(&mask),
                        None => chunk.block.filtered(&mask),
                    }
                }
            };
            self.saw(rows, block.rows())?;
            if block.rows() > 0 && each(&block).is_break() {
                return Ok(());
            }
        }
        for segment in self.segments.clone() {
            if self.run_segment(&segment, each)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn run_segment(
        &mut self,
        segment: &Segment,
        each: &mut dyn FnMut(&RowBlock) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ScanError> {
        let candidates = candidates::of(segment, &self.predicate, self.request.range, Purpose::Read)?;
        let wanted = self.request.fields.clone();
        let tested = self.tested.clone();
        let one_read =
            wanted.as_ref().is_some_and(|fields| fields.iter().all(|field| tested.contains(field)));
        let mut flow = ControlFlow::Continue(());
        if self.predicate.is_all() || one_read {
            let columns = if self.predicate.is_all() { wanted } else { Some(tested) };
            self.read_passing(segment, &candidates.maybe, columns.as_deref(), &mut |block, _| {
                flow = each(&block);
                flow
            })?;
            return Ok(flow);
        }
        let mut numbers: Vec<u32> = Vec::new();
        let mut fetch = |numbers: &mut Vec<u32>| -> Result<ControlFlow<()>, ScanError> {
            let ranges = ranges_of(numbers);
            numbers.clear();
            let mut flow = ControlFlow::Continue(());
            segment.read(&ranges, wanted.as_deref(), &mut |block, _| {
                flow = each(&block);
                flow
            })?;
            Ok(flow)
        };
        for part in parts(&candidates.maybe, FETCH_ROWS) {
            self.matching(segment, &candidates, &part, &mut |_, rows| {
                numbers.extend_from_slice(rows);
            })?;
            numbers.sort_unstable();
            if !numbers.is_empty() && fetch(&mut numbers)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads some of the candidates, and hands on those that pass, with their row numbers. Only the filter's columns are in
    /// them; those without their messages come last.
    fn matching(
        &mut self,
        segment: &Segment,
        candidates: &Candidates,
        ranges: &[Range<usize>],
        each: &mut dyn FnMut(&RowBlock, &[u32]),
    ) -> Result<(), ScanError> {
        let mut tested = self.tested.clone();
        let (needed, told) = candidates.by_need(ranges);
        let mut each = |block: RowBlock, rows: &[u32]| {
            each(&block, rows);
            ControlFlow::Continue(())
        };
        self.read_passing(segment, &needed, Some(&tested), &mut each)?;
        tested.retain(|field| *field != logs::MESSAGE);
        self.read_passing(segment, &told, Some(&tested), &mut each)
    }

    fn read_passing(
        &mut self,
        segment: &Segment,
        ranges: &[Range<usize>],
        fields: Option<&[FieldId]>,
        each: &mut dyn FnMut(RowBlock, &[u32]) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        if ranges.is_empty() {
            return Ok(());
        }
        self.stats.segments_scanned += 1;
        let covered = self.request.range.covers(segment.meta.min, segment.meta.max);
        let mut failed = None;
        segment.read(ranges, fields, &mut |block, rows| {
            let mask = self.mask(&block, covered);
            let matched = mask.count_set_bits();
            if let Err(error) = self.saw(block.rows(), matched) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            if matched == 0 {
                return ControlFlow::Continue(());
            }
            let numbers: Vec<u32> = mask.set_indices().map(|row| rows[row]).collect();
            let block =
                if matched == block.rows() { block } else { block.filtered(&BooleanArray::new(mask, None)) };
            each(block, &numbers)
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn search(&mut self, order: Order, limit: usize) -> Result<Vec<Hit>, ScanError> {
        let mut best = Best { order, limit, heap: BinaryHeap::new() };
        let chunks = std::mem::take(&mut self.chunks);
        for (index, chunk) in chunks.iter().enumerate() {
            let mask = self.mask(&chunk.block, self.request.range.covers(chunk.min, chunk.max));
            self.stats.memtable_rows += chunk.block.rows() as u64;
            self.saw(chunk.block.rows(), mask.count_set_bits())?;
            for row in mask.set_indices() {
                best.offer(&chunk.block, row, Place::Chunk { chunk: index, row });
            }
        }
        let mut segments = self.segments.clone();
        match order {
            Order::NewestFirst => segments.sort_by_key(|segment| std::cmp::Reverse(segment.meta.max)),
            Order::OldestFirst => segments.sort_by_key(|segment| segment.meta.min),
        }
        for (index, segment) in segments.iter().enumerate() {
            if !best.wants(segment.meta.min, segment.meta.max) {
                break;
            }
            self.search_segment(index, segment, &mut best)?;
        }
        self.fetch(best.into_places(), &chunks, &segments)
    }

    /// Reads the pages of a segment from the most promising on, until no other page can hold a better row.
    fn search_segment(&mut self, index: usize, segment: &Segment, best: &mut Best) -> Result<(), ScanError> {
        let zones = segment.sidecar().zones()?;
        let candidates = candidates::of(segment, &self.predicate, self.request.range, Purpose::Read)?;
        let mut pages: Vec<Range<usize>> =
            candidates.maybe.iter().flat_map(|range| by_page(range.clone())).collect();
        let zone = |rows: &Range<usize>| zones.0[rows.start / PAGE_ROWS];
        match best.order {
            Order::NewestFirst => pages.sort_by_key(|rows| std::cmp::Reverse(zone(rows).max_ns)),
            Order::OldestFirst => pages.sort_by_key(|rows| zone(rows).min_ns),
        }
        let mut rest = pages.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(SEARCH_PAGES));
            rest = later;
            let mut ranges: Vec<Range<usize>> = now
                .iter()
                .filter(|rows| best.wants(Timestamp(zone(rows).min_ns), Timestamp(zone(rows).max_ns)))
                .cloned()
                .collect();
            if ranges.is_empty() {
                break;
            }
            ranges.sort_unstable_by_key(|range| range.start);
            self.matching(segment, &candidates, &ranges, &mut |block, rows| {
                for (row, number) in rows.iter().enumerate() {
                    best.offer(block, row, Place::Segment { segment: index, row: *number });
                }
            })?;
        }
        Ok(())
    }

    /// Fetches the rows found, in their order.
    fn fetch(
        &mut self,
        places: Vec<Place>,
        chunks: &[Arc<Chunk>],
        segments: &[Arc<Segment>],
    ) -> Result<Vec<Hit>, ScanError> {
        let mut hits: Vec<Option<Hit>> = vec![None; places.len()];
        let mut room = SEARCH_BYTES_MAX;
        let too_large = ScanError::AnswerTooLarge { bytes_max: SEARCH_BYTES_MAX };
        let mut of_segment: Vec<Vec<(u32, usize)>> = vec![Vec::new(); segments.len()];
        let mut of_chunk: Vec<Vec<(usize, usize)>> = vec![Vec::new(); chunks.len()];
        for (slot, place) in places.into_iter().enumerate() {
            match place {
                Place::Chunk { chunk, row } => of_chunk[chunk].push((row, slot)),
                Place::Segment { segment, row } => of_segment[segment].push((row, slot)),
            }
        }
        for (chunk, rows) in of_chunk.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let picks: Vec<(usize, usize)> = rows.iter().map(|(row, _)| (0, *row)).collect();
            let block = RowBlock::interleave(&[&chunks[chunk].block], &picks);
            let block = Arc::new(match &self.request.fields {
                Some(fields) => block.projected(fields),
                None => block,
            });
            match room.checked_sub(block.byte_size()) {
                Some(left) => room = left,
                None => return Err(too_large),
            }
            for (row, (_, slot)) in rows.iter().enumerate() {
                hits[*slot] = Some(Hit { block: Arc::clone(&block), row });
            }
        }
        let mut is_full = false;
        for (segment, rows) in of_segment.iter_mut().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            rows.sort_unstable();
            let numbers: Vec<u32> = rows.iter().map(|(row, _)| *row).collect();
            let mut next = rows.iter();
            segments[segment].read(
                &ranges_of(&numbers),
                self.request.fields.as_deref(),
                &mut |block, read| {
                    match room.checked_sub(block.byte_size()) {
                        Some(left) => room = left,
                        None => {
                            is_full = true;
                            return ControlFlow::Break(());
                        }
                    }
                    let block = Arc::new(block);
                    for ((row, number), (expected, slot)) in read.iter().enumerate().zip(next.by_ref()) {
                        debug_assert_eq!(number, expected);
                        hits[*slot] = Some(Hit { block: Arc::clone(&block), row });
                    }
                    ControlFlow::Continue(())
                },
            )?;
            if is_full {
                return Err(too_large);
            }
            self.control.check(&self.stats)?;
        }
        Ok(hits.into_iter().flatten().collect())
    }
}

/// Where a found row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Chunk { chunk: usize, row: usize },
    Segment { segment: usize, row: u32 },
}

/// The best rows so far; the worst of them on top of the heap.
struct Best {
    order: Order,
    limit: usize,
    heap: BinaryHeap<(i64, i64, Place)>,
}

impl Best {
    /// Smaller is better.
    fn rank(&self, time: Timestamp) -> i64 {
        match self.order {
            Order::NewestFirst => !time.0,
            Order::OldestFirst => time.0,
        }
    }

    /// Whether rows within these bounds can be among the best.
    fn wants(&self, min: Timestamp, max: Timestamp) -> bool {
        let best = self.rank(match self.order {
            Order::NewestFirst => max,
            Order::OldestFirst => min,
        });
        self.limit > 0
            && (self.heap.len() < self.limit || self.heap.peek().is_some_and(|worst| best <= worst.0))
    }

    fn offer(&mut self, block: &RowBlock, row: usize, place: Place) {
        let time = self.rank(block.timestamp(row));
        let position = i64::try_from(block.position(row).0).unwrap_or(i64::MAX);
        let key = (time, if self.order == Order::NewestFirst { !position } else { position }, place);
        if self.heap.len() < self.limit {
            self.heap.push(key);
        } else if self.heap.peek().is_some_and(|worst| key < *worst) {
            self.heap.pop();
            self.heap.push(key);
        }
    }

    fn into_places(self) -> Vec<Place> {
        self.heap.into_sorted_vec().into_iter().map(|key| key.2).collect()
    }
}

/// The parts of a range that lie in one page each.
fn by_page(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = rows.start;
    std::iter::from_fn(move || {
        (at < rows.end).then(|| {
            let stop = rows.end.min((at / PAGE_ROWS + 1) * PAGE_ROWS);
            std::mem::replace(&mut at, stop)..stop
        })
    })
}

/// Groups ranges so that each group has about `rows` rows.
fn parts(ranges: &[Range<usize>], rows: usize) -> Vec<Vec<Range<usize>>> {
    let mut groups: Vec<Vec<Range<usize>>> = Vec::new();
    let mut room = 0;
    for page in ranges.iter().flat_map(|range| by_page(range.clone())) {
        if room == 0 {
            groups.push(Vec::new());
            room = rows;
        }
        room = room.saturating_sub(page.len());
        let group = groups.last_mut().expect("one was just pushed");
        match group.last_mut() {
            Some(last) if last.end == page.start => last.end = page.end,
            _ => group.push(page),
        }
    }
    groups
}

/// Rising row numbers as ranges.
fn ranges_of(numbers: &[u32]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for number in numbers.iter().map(|number| *number as usize) {
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    ranges
}
