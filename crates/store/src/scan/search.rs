//! The first rows in the order of time: from the most promising page on, until no other can hold a better row. Where pages promise
//! all the same, [`super::windows`] of time take turns.
//!
//! Invariants:
//! - rows are ordered by event time, equal times by position: no two rows are equal, so the answer is one;
//! - a page is left out only when every row it may hold comes after the last row wanted;
//! - rows that are handed out early are fetched a few times, not one by one, and hold no bytes once they are handed out: so that
//!   costs about what fetching them together does, and never fails where that does not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heimdall_model::{Position, Timestamp, schema};
use serde::{Deserialize, Serialize};

use super::task::Scan;
use super::units::Unit;
use super::windows::Windows;
use super::worker::{Worker, ranges_of};
use super::{Along, Control, ScanError, ScanRequest, ScanStats, TimeRange, lanes};
use crate::block::RowBlock;
use crate::candidates::{Candidates, Piece, Residue, by_page};
use crate::fields::FieldSet;
use crate::pages::Columns;
use crate::sidecar::{PAGE_ROWS, Zone};
use crate::store::{Store, StoreError};

/// Rows read before it is looked again what is still needed, at first; then twice as many each time.
const ROUND_ROWS_MIN: usize = 8 * PAGE_ROWS;
const ROUND_ROWS_MAX: usize = 256 * PAGE_ROWS;
/// How much more a window of time holds than the one before: looking once more at the same pages costs about what unpacking them does.
const WINDOW_GROWTH: u64 = 4;
/// Most segments asked for candidates at a time.
const OPEN_SEGMENTS_MAX: usize = 64;

/// Rows are handed out early once there are any, then after so much time, and at the end: fetching them often would take longer
/// than finding them.
const GIVE_EVERY: Duration = Duration::from_millis(250);

/// Order of a search's hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Latest event time first; equal times by arrival, latest first.
    NewestFirst,
    /// Earliest first.
    OldestFirst,
}

impl Order {
    /// Smaller is earlier in this order.
    fn rank(self, time: Timestamp) -> i64 {
        match self {
            Order::NewestFirst => !time.0,
            Order::OldestFirst => time.0,
        }
    }

    fn place_rank(self, position: Position) -> i64 {
        let position = i64::try_from(position.0).unwrap_or(i64::MAX);
        match self {
            Order::NewestFirst => !position,
            Order::OldestFirst => position,
        }
    }

    /// Rank of the best row there may be between two times.
    fn best(self, min: Timestamp, max: Timestamp) -> i64 {
        match self {
            Order::NewestFirst => self.rank(max),
            Order::OldestFirst => self.rank(min),
        }
    }

    /// That of the worst.
    fn worst(self, min: Timestamp, max: Timestamp) -> i64 {
        self.best(max, min)
    }
}

/// A row found by a search.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The block that holds it.
    pub block: Arc<RowBlock>,
    /// Its row in the block.
    pub row: usize,
}

impl Hit {
    /// Place of the row in the order of events.
    #[must_use]
    pub fn place(&self) -> (Timestamp, Position) {
        (self.block.timestamp(self.row), self.block.position(self.row))
    }
}

/// Which rows a search is for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The order.
    pub order: Order,
    /// How many at most.
    pub limit: usize,
    /// Only rows that come after this place in the order.
    pub after: Option<(Timestamp, Position)>,
}

impl Wanted {
    /// Times of the rows that come after the place.
    fn times(self) -> TimeRange {
        let TimeRange { from, to } = TimeRange::ALL;
        match (self.after, self.order) {
            (None, _) => TimeRange::ALL,
            (Some((time, _)), Order::NewestFirst) => TimeRange { from, to: time.saturating_add_ns(1) },
            (Some((time, _)), Order::OldestFirst) => TimeRange { from: time, to },
        }
    }
}

/// Takes the next rows of an answer, in order, as soon as they are certain.
pub type EachHits<'a> = dyn FnMut(Vec<Hit>) -> ControlFlow<()> + 'a;

impl Store {
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
        self.search_wanted(request, Wanted { order, limit, after: None }, control)
    }

    /// The first passing rows in event-time order, from a place on.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn search_wanted(
        self: &Arc<Self>,
        request: &ScanRequest,
        wanted: Wanted,
        control: &Control,
    ) -> Result<(Vec<Hit>, ScanStats), ScanError> {
        let mut search = Search::new(self, request, wanted, control)?;
        search.run(None)?;
        let places = std::mem::take(&mut search.best).into_places();
        let hits = search.fetch(&places)?;
        Ok((hits, search.scan.stats()))
    }

    /// As [`Store::search_wanted`], handing out rows as soon as they are certain: those before everything that is
    /// still to be read.
    ///
    /// # Errors
    /// [`ScanError`]; the rows handed out until then are the first of the answer.
    pub fn search_each(
        self: &Arc<Self>,
        request: &ScanRequest,
        wanted: Wanted,
        control: &Control,
        each: &mut EachHits<'_>,
    ) -> Result<ScanStats, ScanError> {
        let mut search = Search::new(self, request, wanted, control)?;
        search.run(Some(each))?;
        Ok(search.scan.stats())
    }
}

/// Where a found row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Chunk { chunk: usize, row: u32 },
    Segment { segment: usize, row: u32 },
}

/// Rank of the time, rank of the position, where it is.
type Key = (i64, i64, Place);

/// The best rows so far; the worst of them on top of the heap.
struct Best {
    wanted: Wanted,
    /// What a row must be better than, where others have enough already.
    cut: Option<Key>,
    heap: BinaryHeap<Key>,
}

impl Default for Best {
    fn default() -> Best {
        Best::new(Wanted { order: Order::NewestFirst, limit: 0, after: None })
    }
}

impl Best {
    fn new(wanted: Wanted) -> Best {
        Best { wanted, cut: None, heap: BinaryHeap::new() }
    }

    /// The best of other rows, as far as they can be among the best of all.
    fn fork(&self) -> Best {
        Best { wanted: self.wanted, cut: self.worst().or(self.cut), heap: BinaryHeap::new() }
    }

    /// The last of the rows, when there are enough.
    fn worst(&self) -> Option<Key> {
        self.heap.peek().filter(|_| self.heap.len() >= self.wanted.limit).copied()
    }

    /// Whether rows of which the best has this rank can be among the best.
    fn wants(&self, rank: i64) -> bool {
        let is_before = |key: Option<Key>| key.is_none_or(|key| rank <= key.0);
        self.wanted.limit > 0 && is_before(self.worst()) && is_before(self.cut)
    }

    fn offer(&mut self, key: Key) {
        let order = self.wanted.order;
        let is_past = |(time, position): (Timestamp, Position)| {
            (key.0, key.1) > (order.rank(time), order.place_rank(position))
        };
        if self.wanted.limit == 0
            || !self.wanted.after.is_none_or(is_past)
            || self.cut.is_some_and(|cut| key >= cut)
        {
            return;
        }
        match self.worst() {
            None => self.heap.push(key),
            Some(worst) if key < worst => {
                self.heap.pop();
                self.heap.push(key);
            }
            Some(_) => {}
        }
    }

    fn offer_rows(&mut self, block: &RowBlock, numbers: &[u32], place: impl Fn(u32) -> Place) {
        let order = self.wanted.order;
        for (row, (number, time)) in numbers.iter().zip(block.times()).enumerate() {
            let time = order.rank(Timestamp(*time));
            if self.wants(time) {
                self.offer((time, order.place_rank(block.position(row)), place(*number)));
            }
        }
    }

    /// Where the rows are, in order.
    fn into_places(self) -> Vec<Place> {
        self.heap.into_sorted_vec().into_iter().map(|key| key.2).collect()
    }
}

/// Some rows of one page.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Page {
    /// Rank of the best there may be among them.
    rank: i64,
    segment: usize,
    piece: Piece,
    /// Rank of the worst.
    worst: i64,
}

/// A search under way.
struct Search {
    scan: Scan,
    /// Columns of the rows found.
    columns: Columns,
    best: Best,
    worker: Worker,
    /// Pages that may be read, the most promising first.
    pages: BinaryHeap<Reverse<Page>>,
    /// What is left of segments that are read window by window, by the rank of the best row there may be, and segment.
    windows: BTreeMap<(i64, usize), Windows>,
    /// Candidates wanted of the next window.
    window_rows: u64,
    /// Segments whose pages are known: they are sorted by their best rank.
    opened: usize,
    /// Segments to open next.
    open_next: usize,
    round_rows: usize,
    given: Given,
    /// Bytes that the rows being fetched may still take.
    room: usize,
}

/// What was handed out already.
struct Given {
    rows: usize,
    at: Instant,
}

impl Given {
    /// Whether it is time to hand out more, while more may be found.
    fn is_due(&self) -> bool {
        self.rows == 0 || self.at.elapsed() >= GIVE_EVERY
    }
}

impl Search {
    fn new(
        store: &Arc<Store>,
        request: &ScanRequest,
        wanted: Wanted,
        control: &Control,
    ) -> Result<Search, ScanError> {
        let view = store.view(&request.tenant, request.dataset);
        let range = request.range.intersection(wanted.times());
        let keys = ScanRequest { fields: Some(Vec::new()), range, ..request.clone() };
        let mut scan = store.begin(view, &keys, Along::Ids, control)?;
        let order = wanted.order;
        scan.segments.sort_by_key(|segment| order.best(segment.meta.min, segment.meta.max));
        scan.chunks.sort_by_key(|chunk| order.best(chunk.min, chunk.max));
        let chunk_rows: u64 = scan.chunks.iter().map(|chunk| chunk.block.rows() as u64).sum();
        scan.expect(chunk_rows + scan.segments.iter().map(|segment| segment.meta.rows).sum::<u64>());
        let fields: FieldSet = match &request.fields {
            None => FieldSet::ALL,
            Some(fields) => fields.iter().copied().chain([schema::TIMESTAMP]).collect(),
        };
        let window_rows = (scan.unit_rows as u64).div_ceil(WINDOW_GROWTH);
        Ok(Search {
            room: scan.search_bytes_max,
            scan,
            columns: Columns { fields, positions: true, coded: false },
            best: Best::new(wanted),
            worker: Worker::default(),
            pages: BinaryHeap::new(),
            windows: BTreeMap::new(),
            window_rows,
            opened: 0,
            open_next: 1,
            round_rows: ROUND_ROWS_MIN,
            given: Given { rows: 0, at: Instant::now() },
        })
    }

    fn run(&mut self, mut each: Option<&mut EachHits<'_>>) -> Result<(), ScanError> {
        self.chunks()?;
        loop {
            let next = self.next_rank()?;
            if let Some(each) = &mut each
                && self.give(next, each)?.is_break()
            {
                return Ok(());
            }
            if next.is_none() {
                return Ok(());
            }
            self.round()?;
        }
    }

    fn chunks(&mut self) -> Result<(), ScanError> {
        let order = self.best.wanted.order;
        for (index, chunk) in self.scan.chunks.iter().enumerate() {
            if !self.best.wants(order.best(chunk.min, chunk.max)) {
                break;
            }
            let best = &mut self.best;
            let _ = self.worker.read(&self.scan, &Unit::Chunk(Arc::clone(chunk)), &mut |block, rows| {
                best.offer_rows(&block, rows, |row| Place::Chunk { chunk: index, row });
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    /// Rank of the best row there may be in what is not read yet; `None` when no such row is wanted. The pages that may be
    /// next are known then.
    fn next_rank(&mut self) -> Result<Option<i64>, ScanError> {
        loop {
            let page = self.pages.peek().map(|Reverse(page)| page.rank);
            let unknown = self.unknown_rank();
            if let Some(page) = page.filter(|page| unknown.is_none_or(|unknown| *page < unknown)) {
                return Ok(self.best.wants(page).then_some(page));
            }
            match unknown.filter(|unknown| self.best.wants(*unknown)) {
                None => return Ok(None),
                unknown if unknown == self.segment_rank(self.opened) => self.open()?,
                Some(_) => self.open_window()?,
            }
        }
    }

    /// Rank of the best row there may be where pages are not known.
    fn unknown_rank(&self) -> Option<i64> {
        let window = self.windows.keys().next().map(|(rank, _)| *rank);
        self.segment_rank(self.opened).into_iter().chain(window).min()
    }

    fn segment_rank(&self, index: usize) -> Option<i64> {
        let meta = &self.scan.segments.get(index)?.meta;
        Some(self.best.wanted.order.best(meta.min, meta.max))
    }

    /// Finds the pages of the next segments: one at first, more and more while they hold little.
    fn open(&mut self) -> Result<(), ScanError> {
        let from = self.opened;
        let wanted = (from..)
            .take(self.open_next)
            .take_while(|index| self.segment_rank(*index).is_some_and(|rank| self.best.wants(rank)));
        let to = wanted.last().map_or(from, |last| last + 1).max(from + 1).min(self.scan.segments.len());
        self.opened = to;
        self.open_next = (self.open_next * 2).min(OPEN_SEGMENTS_MAX);
        let segments = &self.scan.segments[from..to];
        let lanes = (segments.len() / 8).clamp(1, self.scan.turns.threads());
        let (order, windows_min) = (self.best.wanted.order, self.scan.unit_rows as u64);
        let found = lanes::map(&self.scan.turns, &self.scan.spent, lanes, segments, &|segment| {
            let candidates = self.scan.candidates_by_page(segment)?;
            let rows = candidates.rows();
            let windows = if rows > windows_min {
                Windows::of(segment, candidates, self.scan.range, order)?
            } else {
                Err(candidates)
            };
            Ok::<_, StoreError>((rows, windows))
        });
        for (index, found) in (from..).zip(found) {
            let (rows, windows) = found?;
            self.scan.skipped(self.scan.segments[index].meta.rows - rows);
            match windows {
                Ok(windows) => self.keep(index, windows),
                Err(candidates) => self.add_pages(index, self.scan.range, candidates)?,
            }
        }
        self.scan.check()
    }

    /// Finds the pages of the next window.
    fn open_window(&mut self) -> Result<(), ScanError> {
        let Some(((_, index), mut windows)) = self.windows.pop_first() else { return Ok(()) };
        let segment = Arc::clone(&self.scan.segments[index]);
        let (window, candidates) = windows.next(&segment, self.window_rows, self.best.wanted.limit as u64)?;
        self.window_rows = self.window_rows.saturating_mul(WINDOW_GROWTH);
        self.keep(index, windows);
        self.add_pages(index, window, candidates)?;
        self.scan.check()
    }

    fn keep(&mut self, index: usize, windows: Windows) {
        if let Some(times) = windows.first() {
            let meta = &self.scan.segments[index].meta;
            let (min, max) = within(times, meta.min, meta.max);
            self.windows.insert((self.best.wanted.order.best(min, max), index), windows);
        }
    }

    /// Adds pages, of which rows in some span of time are meant.
    fn add_pages(
        &mut self,
        index: usize,
        times: TimeRange,
        candidates: Candidates,
    ) -> Result<(), StoreError> {
        let (order, zones) = (self.best.wanted.order, self.scan.segments[index].sidecar().zones()?);
        for Piece { rows, ask } in candidates.0 {
            for rows in by_page(rows) {
                let Zone { min_ns, max_ns, .. } = zones.0[rows.start / PAGE_ROWS];
                let (min, max) = within(times, Timestamp(min_ns), Timestamp(max_ns));
                let (rank, worst) = (order.best(min, max), order.worst(min, max));
                self.pages.push(Reverse(Page { rank, segment: index, piece: Piece { rows, ask }, worst }));
            }
        }
        Ok(())
    }

    /// Takes the most promising pages, in the order of segments and rows.
    fn take_pages(&mut self) -> Vec<Page> {
        let unknown = self.unknown_rank();
        let mut pages: Vec<Page> = Vec::new();
        // No more than what certainly holds enough that is better than the rest: rows count once all of their page is.
        let (mut rows, mut certain, mut of_pages) = (0, 0, BinaryHeap::new());
        while rows < self.round_rows
            && let Some(Reverse(page)) = self.pages.peek()
            && self.best.wants(page.rank)
            && unknown.is_none_or(|unknown| page.rank < unknown)
        {
            while of_pages.peek().is_some_and(|Reverse((worst, _))| *worst < page.rank) {
                certain += of_pages.pop().map_or(0, |Reverse((_, rows))| rows);
            }
            if certain >= self.best.wanted.limit {
                break;
            }
            let count = page.piece.rows.len();
            rows += count;
            if page.piece.ask == Residue::NOTHING {
                of_pages.push(Reverse((page.worst, count)));
            }
            pages.extend(self.pages.pop().map(|Reverse(page)| page));
        }
        self.round_rows = (self.round_rows * 2).min(ROUND_ROWS_MAX);
        pages.sort_unstable_by_key(|page| (page.segment, page.piece.rows.start));
        pages
    }

    /// Reads the most promising pages.
    fn round(&mut self) -> Result<(), ScanError> {
        let pages = self.take_pages();
        let page_of = |page: &Page| (page.segment, page.piece.rows.start / PAGE_ROWS);
        let unpacked = pages.chunk_by(|a, b| page_of(a) == page_of(b)).count();
        let lanes = (unpacked * PAGE_ROWS / self.scan.unit_rows).clamp(1, self.scan.turns.threads());
        if lanes == 1 {
            return read_pages(&self.scan, &mut self.worker, &pages, &mut self.best);
        }
        let parts: Vec<&[Page]> = pages.chunks(pages.len().div_ceil(lanes)).collect();
        let found = lanes::map(&self.scan.turns, &self.scan.spent, lanes, &parts, &|pages: &&[Page]| {
            let mut best = self.best.fork();
            read_pages(&self.scan, &mut Worker::default(), pages, &mut best).map(|()| best)
        });
        for best in found {
            best?.heap.into_iter().for_each(|key| self.best.offer(key));
        }
        Ok(())
    }

    /// Hands out what is certain, as far as it is worth it: rows better than all that is not read yet.
    fn give(&mut self, next: Option<i64>, each: &mut EachHits<'_>) -> Result<ControlFlow<()>, ScanError> {
        if next.is_some() && !self.given.is_due() {
            return Ok(ControlFlow::Continue(()));
        }
        let keys = self.best.heap.clone().into_sorted_vec();
        let certain = keys.partition_point(|key| next.is_none_or(|next| key.0 < next));
        if certain <= self.given.rows {
            return Ok(ControlFlow::Continue(()));
        }
        let places: Vec<Place> = keys[self.given.rows..certain].iter().map(|key| key.2).collect();
        let flow = self.hand_out(&places, each)?;
        self.given = Given { rows: certain, at: Instant::now() };
        Ok(flow)
    }

    /// Hands rows out, in as many parts as they need to fit.
    fn hand_out(&mut self, places: &[Place], each: &mut EachHits<'_>) -> Result<ControlFlow<()>, ScanError> {
        self.room = self.scan.search_bytes_max;
        match self.fetch(places) {
            Err(ScanError::AnswerTooLarge { .. }) if places.len() > 1 => {
                let (first, rest) = places.split_at(places.len() / 2);
                if self.hand_out(first, each)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.hand_out(rest, each)
            }
            hits => Ok(each(hits?)),
        }
    }

    /// Fetches the rows found, in their order.
    fn fetch(&mut self, places: &[Place]) -> Result<Vec<Hit>, ScanError> {
        let mut hits: Vec<Option<Hit>> = vec![None; places.len()];
        let mut slots: Vec<(Place, usize)> = places.iter().copied().zip(0..).collect();
        slots.sort_unstable();
        for of_part in slots.chunk_by(|a, b| part_of(a.0) == part_of(b.0)) {
            match of_part[0].0 {
                Place::Chunk { chunk, .. } => self.fetch_chunk(chunk, of_part, &mut hits)?,
                Place::Segment { segment, .. } => self.fetch_segment(segment, of_part, &mut hits)?,
            }
        }
        Ok(hits.into_iter().flatten().collect())
    }

    fn fetch_chunk(
        &mut self,
        chunk: usize,
        slots: &[(Place, usize)],
        hits: &mut [Option<Hit>],
    ) -> Result<(), ScanError> {
        let picks: Vec<(usize, usize)> =
            slots.iter().map(|(place, _)| (0, row_of(*place) as usize)).collect();
        let block = self.scan.chunks[chunk].block.projected(self.columns);
        let block = Arc::new(RowBlock::interleave(&[&block], &picks));
        self.room = self.room.checked_sub(block.byte_size()).ok_or_else(|| self.too_large())?;
        for (row, (_, slot)) in slots.iter().enumerate() {
            hits[*slot] = Some(Hit { block: Arc::clone(&block), row });
        }
        Ok(())
    }

    fn fetch_segment(
        &mut self,
        segment: usize,
        slots: &[(Place, usize)],
        hits: &mut [Option<Hit>],
    ) -> Result<(), ScanError> {
        let numbers: Vec<u32> = slots.iter().map(|(place, _)| row_of(*place)).collect();
        let mut next = slots.iter();
        let mut room = Some(self.room);
        let segment = &self.scan.segments[segment];
        let _ = self.worker.fetch(
            &self.scan,
            segment,
            &ranges_of(&numbers),
            self.columns,
            &mut |block, rows| {
                room = room.and_then(|room| room.checked_sub(block.byte_size()));
                if room.is_none() {
                    return ControlFlow::Break(());
                }
                let block = Arc::new(block);
                for ((row, number), (place, slot)) in rows.iter().enumerate().zip(next.by_ref()) {
                    debug_assert_eq!(*number, row_of(*place));
                    hits[*slot] = Some(Hit { block: Arc::clone(&block), row });
                }
                ControlFlow::Continue(())
            },
        )?;
        self.room = room.ok_or_else(|| self.too_large())?;
        Ok(())
    }

    fn too_large(&self) -> ScanError {
        ScanError::AnswerTooLarge { bytes_max: self.scan.search_bytes_max }
    }
}

/// What of two times and those between lies in a range: they meet.
fn within(range: TimeRange, min: Timestamp, max: Timestamp) -> (Timestamp, Timestamp) {
    let last = Timestamp(range.to.0.saturating_sub(1));
    (min.max(range.from), max.min(last))
}

fn part_of(place: Place) -> (bool, usize) {
    match place {
        Place::Chunk { chunk, .. } => (false, chunk),
        Place::Segment { segment, .. } => (true, segment),
    }
}

fn row_of(place: Place) -> u32 {
    match place {
        Place::Chunk { row, .. } | Place::Segment { row, .. } => row,
    }
}

/// Offers the passing rows of pages, which are in the order of segments and rows.
fn read_pages(scan: &Scan, worker: &mut Worker, pages: &[Page], best: &mut Best) -> Result<(), ScanError> {
    for of_segment in pages.chunk_by(|a, b| a.segment == b.segment) {
        let index = of_segment[0].segment;
        let pieces: Vec<Piece> = of_segment.iter().map(|page| page.piece.clone()).collect();
        let _ = worker.pages(scan, &scan.segments[index], &pieces, &mut |block, rows| {
            best.offer_rows(&block, rows, |row| Place::Segment { segment: index, row });
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}
