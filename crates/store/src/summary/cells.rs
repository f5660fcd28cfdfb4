//! Counts and durations by service and time: exact, additive, and enough for most dashboards.
//!
//! A summary is its bytes: they are read from front to back, never unpacked. Four blocks come of one pass over the rows:
//! counts by minute, service and level; the same by hour; durations by hour and service; durations by service alone.
//!
//! Invariants:
//! - the counts of a block sum to the rows added;
//! - durations are given up (no block) rather than wrong: when one is not finite, or the cells are too many;
//! - every service and hour with rows is in the blocks of durations, even when no row has one.

use std::sync::Arc;

use arrow::array::Array;
use foldhash::HashMap;
use heimdall_model::schema::{self, logs};
use heimdall_model::{Dataset, Timestamp};

use super::codec::{Damage, Reader, put, put_signed, put_text};
use super::sketch::Buckets;
use crate::block::{Cells, RowBlock};

/// Nanoseconds in a minute.
pub(crate) const MINUTE_NS: i64 = 60_000_000_000;
/// Nanoseconds in an hour.
pub(crate) const HOUR_NS: i64 = 60 * MINUTE_NS;
const LEVELS: usize = 8;
const MINUTES: usize = 60;
/// Most cells of one service and hour that are counted in arrays (2 KiB each). Beyond, counts are kept in a map and
/// durations given up.
const CELLS_MAX: usize = 16_384;
/// Lengths of the spans that rows are told apart by within an hour, each a multiple of the one before: minutes.
pub(super) const SPAN_MINUTES: [usize; 4] = [1, 5, 15, MINUTES];
/// Most spans with rows while they are shorter than an hour; some 5 KiB each.
const SPANS_MAX: usize = 2_048;
/// Rows of a service and span, on average, that pay for the some 250 bytes that its durations take in a file.
const SPAN_ROWS_MIN: u64 = 1_024;

/// Code of rows without a service.
const NO_SERVICE: u32 = u32::MAX;

/// Durations of some rows: how many, their sum and bounds, and their distribution.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latency {
    /// Rows, with or without a duration.
    pub rows: u64,
    /// Rows that have a duration.
    pub count: u64,
    /// Sum of the durations, ms.
    pub sum: f64,
    /// Least duration, ms; meaningless when `count` is 0.
    pub min: f64,
    /// Greatest duration, ms; meaningless when `count` is 0.
    pub max: f64,
    /// How they are distributed.
    pub buckets: Buckets,
}

impl Latency {
    /// Counts a row, and its duration if it has one; finite.
    #[inline]
    pub fn add_row(&mut self, duration: Option<f64>) {
        self.rows += 1;
        if let Some(x) = duration {
            self.add(x);
        }
    }

    #[inline]
    fn add(&mut self, x: f64) {
        self.include(1, x, x, x);
        self.buckets.add(x);
    }

    fn include(&mut self, count: u64, sum: f64, min: f64, max: f64) {
        if self.count == 0 || min.total_cmp(&self.min).is_lt() {
            self.min = min;
        }
        if self.count == 0 || max.total_cmp(&self.max).is_gt() {
            self.max = max;
        }
        self.count = self.count.saturating_add(count);
        self.sum += sum;
    }

    fn merge(&mut self, other: &Latency) {
        self.rows += other.rows;
        if other.count > 0 {
            self.include(other.count, other.sum, other.min, other.max);
            self.buckets.merge(&other.buckets);
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.rows);
        put(out, self.count);
        if self.count == 0 {
            return;
        }
        for x in [self.sum, self.min, self.max] {
            out.extend_from_slice(&x.to_le_bytes());
        }
        self.buckets.encode(out);
    }

    fn add_encoded(&mut self, reader: &mut Reader<'_>) -> Result<(), Damage> {
        self.rows = self.rows.saturating_add(reader.varint()?);
        let count = reader.varint()?;
        if count == 0 {
            return Ok(());
        }
        let (sum, min, max) = (reader.f64()?, reader.f64()?, reader.f64()?);
        self.include(count, sum, min, max);
        self.buckets.add_encoded(reader)
    }

    fn skip_encoded(reader: &mut Reader<'_>) -> Result<(), Damage> {
        reader.varint()?;
        if reader.varint()? == 0 {
            return Ok(());
        }
        reader.take(24)?;
        Buckets::skip_encoded(reader)
    }
}

/// An hour, with the times in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hour {
    /// Hours since the epoch.
    pub number: i64,
    first: i64,
    last: i64,
}

impl Default for Hour {
    /// Holds no time.
    fn default() -> Self {
        Hour { number: 0, first: i64::MAX, last: i64::MIN }
    }
}

impl Hour {
    /// The hour of a time.
    pub(crate) fn of(ns: i64) -> Hour {
        let number = ns.div_euclid(HOUR_NS);
        match number.checked_mul(HOUR_NS) {
            Some(first) => Hour { number, first, last: first.saturating_add(HOUR_NS - 1) },
            None => Hour { number, first: ns, last: ns },
        }
    }

    #[inline]
    pub(crate) fn holds(&self, ns: i64) -> bool {
        self.first <= ns && ns <= self.last
    }
}

/// Durations of one service and hour, by spans of the hour; those without rows are absent.
type Spans = Vec<Option<Box<Latency>>>;

/// Rows of one service and hour.
struct Cell {
    service: u32,
    hour: i64,
    counts: Box<[u32; MINUTES * LEVELS]>,
    spans: Spans,
}

impl Cell {
    /// Its durations, all together.
    fn latency(&self) -> Latency {
        let mut sum = Latency::default();
        self.spans.iter().flatten().for_each(|span| sum.merge(span));
        sum
    }
}

/// How finely durations are told apart: as finely as spans have rows enough to pay for it.
struct Fineness {
    /// Minutes of a span: one of [`SPAN_MINUTES`].
    minutes: usize,
    /// The span of each minute of an hour.
    span_of: [u8; MINUTES],
    /// Spans with rows, over all cells.
    filled: usize,
}

impl Default for Fineness {
    fn default() -> Self {
        Fineness::of(SPAN_MINUTES[0])
    }
}

impl Fineness {
    fn of(minutes: usize) -> Fineness {
        let span_of = std::array::from_fn(|minute| u8::try_from(minute / minutes).expect("below 60"));
        Fineness { minutes, span_of, filled: 0 }
    }

    /// The length of spans after this one; none after whole hours.
    fn coarser(&self) -> Option<usize> {
        SPAN_MINUTES.into_iter().find(|minutes| *minutes > self.minutes)
    }
}

/// Counts rows as they come; cheapest when neighbours share service and hour.
#[derive(Default)]
pub(crate) struct CellsBuilder {
    services: Vec<Arc<str>>,
    codes: HashMap<Arc<str>, u32>,
    cells: Vec<Cell>,
    index: HashMap<(u32, i64), usize>,
    /// Rows by minute, service and level beyond the cells.
    beyond: HashMap<(u32, i64, u8), u64>,
    latency_given_up: bool,
    fineness: Fineness,
    /// Whether its records have a field of durations.
    has_durations: bool,
    last_service: Option<u32>,
}

/// The blocks.
pub(crate) struct CellBlocks {
    pub minutes: Vec<u8>,
    pub hours: Vec<u8>,
    /// Absent when given up, and where records have no durations.
    pub latency_hours: Option<Vec<u8>>,
    pub latency_whole: Option<Vec<u8>>,
    /// Absent too where rows are too few to be told apart within hours.
    pub latency_spans: Option<Vec<u8>>,
}

impl CellsBuilder {
    /// Counts the rows of a block.
    pub(crate) fn add(&mut self, block: &RowBlock) {
        let Some(Cells::Int(times)) = block.cells(schema::TIMESTAMP) else { return };
        let is_logs = block.dataset() == Dataset::Logs;
        let levels = match block.cells(logs::LEVEL).filter(|_| is_logs) {
            Some(Cells::Byte(levels)) => Some(levels),
            _ => None,
        };
        let duration = block.dataset().duration();
        self.has_durations |= duration.is_some();
        let durations = match duration.and_then(|field| block.cells(field)) {
            Some(Cells::Float(durations)) => Some(durations),
            _ => None,
        };
        let services = match block.cells(block.dataset().service()) {
            Some(Cells::Text(services)) => Some(services),
            _ => None,
        };
        // The cell of the row before: its service, its hour and where it is (none beyond the limit).
        let mut at: (u32, Option<usize>) = (NO_SERVICE, None);
        let mut hour = Hour::default();
        for row in 0..block.rows() {
            let ns = times.value(row);
            let service =
                services.filter(|services| services.is_valid(row)).map(|services| services.value(row));
            let code = self.code(service);
            if code != at.0 || !hour.holds(ns) {
                hour = Hour::of(ns);
                at = (code, self.cell(code, hour.number));
            }
            let level =
                levels.filter(|levels| levels.is_valid(row)).map_or(0, |levels| levels.value(row) & 7);
            let Some(cell) = at.1 else {
                *self.beyond.entry((code, ns.div_euclid(MINUTE_NS), level)).or_default() += 1;
                continue;
            };
            let minute = usize::try_from((ns - hour.first) / MINUTE_NS).unwrap_or(0).min(MINUTES - 1);
            self.cells[cell].counts[minute * LEVELS + usize::from(level)] += 1;
            if self.has_durations {
                let duration = durations.filter(|durations| durations.is_valid(row));
                self.add_duration(cell, minute, duration.map(|durations| durations.value(row)));
            }
        }
    }

    #[inline]
    fn add_duration(&mut self, cell: usize, minute: usize, duration: Option<f64>) {
        let span = usize::from(self.fineness.span_of[minute]);
        let latency = match &mut self.cells[cell].spans[span] {
            Some(latency) => latency,
            None => {
                if self.fineness.filled >= SPANS_MAX && self.coarsen() {
                    return self.add_duration(cell, minute, duration);
                }
                self.fineness.filled += 1;
                self.cells[cell].spans[span].insert(Box::default())
            }
        };
        let finite = duration.filter(|x| x.is_finite());
        latency.add_row(finite);
        self.latency_given_up |= finite != duration;
    }

    /// Goes over to longer spans; `false` when they are whole hours.
    #[cold]
    fn coarsen(&mut self) -> bool {
        let Some(minutes) = self.fineness.coarser() else { return false };
        let together = minutes / self.fineness.minutes;
        self.fineness = Fineness::of(minutes);
        for cell in &mut self.cells {
            let mut spans = Spans::new();
            for parts in cell.spans.chunks_mut(together) {
                let mut parts = parts.iter_mut().filter_map(Option::take);
                let first = parts.next().map(|mut first| {
                    parts.for_each(|part| first.merge(&part));
                    first
                });
                self.fineness.filled += usize::from(first.is_some());
                spans.push(first);
            }
            cell.spans = spans;
        }
        true
    }

    fn code(&mut self, service: Option<&str>) -> u32 {
        let Some(service) = service else { return NO_SERVICE };
        if let Some(last) = self.last_service
            && self.services[last as usize].as_ref() == service
        {
            return last;
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
        code
    }

    fn cell(&mut self, service: u32, hour: i64) -> Option<usize> {
        if let Some(cell) = self.index.get(&(service, hour)) {
            return Some(*cell);
        }
        // The first hour that times can be in starts before them: minutes cannot be told from its start.
        if self.cells.len() == CELLS_MAX || hour.checked_mul(HOUR_NS).is_none() {
            self.latency_given_up = true;
            return None;
        }
        let counts = Box::new([0; MINUTES * LEVELS]);
        let spans = if self.has_durations { MINUTES / self.fineness.minutes } else { 0 };
        self.cells.push(Cell { service, hour, counts, spans: std::iter::repeat_n(None, spans).collect() });
        self.index.insert((service, hour), self.cells.len() - 1);
        Some(self.cells.len() - 1)
    }

    /// The blocks of all rows added.
    pub(crate) fn finish(mut self) -> CellBlocks {
        self.cells.sort_unstable_by_key(|cell| (cell.service, cell.hour));
        let mut minutes: Vec<Count> = Vec::new();
        for cell in &self.cells {
            for (lane, count) in (0_i64..).zip(cell.counts.iter()).filter(|(_, count)| **count > 0) {
                let (minute, level) = (lane / 8, u8::try_from(lane % 8).expect("below 8"));
                minutes.push(Count {
                    service: cell.service,
                    level,
                    unit: cell.hour * 60 + minute,
                    count: u64::from(*count),
                });
            }
        }
        let beyond = std::mem::take(&mut self.beyond);
        minutes.extend(beyond.into_iter().map(|((service, unit, level), count)| Count {
            service,
            level,
            unit,
            count,
        }));
        minutes.sort_unstable_by_key(|count| (count.service, count.level, count.unit));
        let mut hours: Vec<Count> = Vec::new();
        for count in &minutes {
            let hour = Count { unit: count.unit.div_euclid(60), ..*count };
            match hours.last_mut() {
                Some(last)
                    if (last.service, last.level, last.unit) == (hour.service, hour.level, hour.unit) =>
                {
                    last.count += hour.count;
                }
                _ => hours.push(hour),
            }
        }
        let mut blocks = CellBlocks {
            minutes: encode_counts(&self.services, &minutes),
            hours: encode_counts(&self.services, &hours),
            latency_hours: None,
            latency_whole: None,
            latency_spans: None,
        };
        if self.has_durations && !self.latency_given_up {
            blocks.latency_spans = self.encode_spans();
            let hours: Vec<Timed> =
                self.cells.iter().map(|cell| (cell.service, cell.hour, cell.latency())).collect();
            let mut out = Vec::new();
            self.encode_latency(&hours, &mut out);
            blocks.latency_hours = Some(out);
            blocks.latency_whole = Some(self.encode_whole(&hours));
        }
        blocks
    }

    /// Durations by service and span, where spans shorter than an hour have rows enough.
    fn encode_spans(&mut self) -> Option<Vec<u8>> {
        let rows: u64 = self.cells.iter().flat_map(|cell| &cell.spans).flatten().map(|span| span.rows).sum();
        while rows < SPAN_ROWS_MIN.saturating_mul(self.fineness.filled as u64) {
            if !self.coarsen() {
                return None;
            }
        }
        if self.fineness.minutes == MINUTES {
            return None;
        }
        let per_hour = i64::try_from(MINUTES / self.fineness.minutes).expect("at most 60");
        let spans: Vec<Timed> = self
            .cells
            .iter_mut()
            .flat_map(|cell| {
                let (service, first) = (cell.service, cell.hour * per_hour);
                let spans = (first..).zip(&cell.spans);
                spans.filter_map(move |(span, latency)| Some((service, span, latency.as_deref()?.clone())))
            })
            .collect();
        let mut out = Vec::new();
        put(&mut out, self.fineness.minutes as u64);
        self.encode_latency(&spans, &mut out);
        Some(out)
    }

    /// Durations by service.
    fn encode_whole(&self, hours: &[Timed]) -> Vec<u8> {
        let by_service = hours.chunk_by(|a, b| a.0 == b.0).map(|hours| {
            let mut sum = Latency::default();
            hours.iter().for_each(|(_, _, latency)| sum.merge(latency));
            (hours[0].0, 0, sum)
        });
        let mut out = Vec::new();
        self.encode_latency(&by_service.collect::<Vec<_>>(), &mut out);
        out
    }

    /// Durations by service, and within it by unit of time.
    fn encode_latency(&self, durations: &[Timed], out: &mut Vec<u8>) {
        put_services(out, &self.services);
        let by_service: Vec<&[Timed]> = durations.chunk_by(|a, b| a.0 == b.0).collect();
        put(out, by_service.len() as u64);
        for durations in by_service {
            put(out, u64::from(durations[0].0.wrapping_add(1)));
            put(out, durations.len() as u64);
            let mut last = 0;
            for (_, unit, latency) in durations {
                put_signed(out, unit - last);
                last = *unit;
                latency.encode(out);
            }
        }
    }
}

/// Durations of a service in one unit of time since the epoch.
type Timed = (u32, i64, Latency);

/// Rows of one minute or hour.
#[derive(Debug, Clone, Copy)]
struct Count {
    service: u32,
    level: u8,
    unit: i64,
    count: u64,
}

fn put_services(out: &mut Vec<u8>, services: &[Arc<str>]) {
    put(out, services.len() as u64);
    services.iter().for_each(|service| put_text(out, service));
}

fn encode_counts(services: &[Arc<str>], counts: &[Count]) -> Vec<u8> {
    let mut out = Vec::new();
    put_services(&mut out, services);
    let groups: Vec<&[Count]> =
        counts.chunk_by(|a, b| (a.service, a.level) == (b.service, b.level)).collect();
    put(&mut out, groups.len() as u64);
    for group in groups {
        put(&mut out, u64::from(group[0].service.wrapping_add(1)));
        out.push(group[0].level);
        put(&mut out, group.len() as u64);
        let mut last = 0;
        for count in group {
            put_signed(&mut out, count.unit - last);
            put(&mut out, count.count);
            last = count.unit;
        }
    }
    out
}

fn read_services<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a str>, Damage> {
    (0..reader.count()?).map(|_| reader.text()).collect()
}

fn read_service<'a>(reader: &mut Reader<'_>, services: &[&'a str]) -> Result<Option<&'a str>, Damage> {
    let code = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
    match code.checked_sub(1) {
        None => Ok(None),
        Some(index) => {
            services.get(index).map(|service| Some(*service)).ok_or_else(|| reader.damage("unknown service"))
        }
    }
}

/// Takes service, level, minute or hour since the epoch, rows.
pub(crate) type EachCount<'a> = dyn FnMut(Option<&str>, u8, i64, u64) + 'a;

/// Reads counts.
pub(crate) fn read_counts(bytes: &[u8], each: &mut EachCount<'_>) -> Result<(), Damage> {
    let mut reader = Reader::new(bytes);
    let services = read_services(&mut reader)?;
    for _ in 0..reader.count()? {
        let service = read_service(&mut reader, &services)?;
        let level = reader.u8()?;
        let mut unit = 0_i64;
        for _ in 0..reader.count()? {
            unit = unit.saturating_add(reader.signed()?);
            each(service, level, unit, reader.varint()?);
        }
    }
    reader.end()
}

/// Adds the durations at hand to a place, or passes over them.
pub(crate) type AddLatency<'a> = dyn FnMut(Option<&mut Latency>) -> Result<(), Damage> + 'a;

/// Takes service, start of the span, and what adds its durations to a place.
pub(crate) type EachLatency<'a> =
    dyn FnMut(Option<&str>, Timestamp, &mut AddLatency<'_>) -> Result<(), Damage> + 'a;

/// What a block of durations tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DurationsBy {
    /// Nothing but services.
    Whole,
    /// Hours.
    Hours,
    /// Spans of some minutes; the block says of how many.
    Spans,
}

/// Reads durations: `each` gets service and start of the span, and adds them where it wants. A whole block names the epoch.
pub(crate) fn read_latency(bytes: &[u8], by: DurationsBy, each: &mut EachLatency<'_>) -> Result<(), Damage> {
    let mut reader = Reader::new(bytes);
    let unit_ns = match by {
        DurationsBy::Whole | DurationsBy::Hours => HOUR_NS,
        DurationsBy::Spans => read_span_ns(&mut reader)?,
    };
    let services = read_services(&mut reader)?;
    for _ in 0..reader.count()? {
        let service = read_service(&mut reader, &services)?;
        let mut unit = 0_i64;
        for _ in 0..reader.count()? {
            unit = unit.saturating_add(reader.signed()?);
            each(service, start_of(unit, unit_ns), &mut |place| match place {
                Some(latency) => latency.add_encoded(&mut reader),
                None => Latency::skip_encoded(&mut reader),
            })?;
        }
    }
    reader.end()
}

/// Nanoseconds of the spans of a block of durations by span: a divisor of an hour.
pub(crate) fn span_ns(bytes: &[u8]) -> Result<i64, Damage> {
    read_span_ns(&mut Reader::new(bytes))
}

pub(super) fn read_span_ns(reader: &mut Reader<'_>) -> Result<i64, Damage> {
    let minutes = i64::try_from(reader.varint()?).unwrap_or(0);
    if (1..=60).contains(&minutes) && 60 % minutes == 0 {
        Ok(minutes * MINUTE_NS)
    } else {
        Err(reader.damage("spans do not divide an hour"))
    }
}

/// Start of a unit.
pub(crate) fn start_of(unit: i64, unit_ns: i64) -> Timestamp {
    Timestamp(unit.saturating_mul(unit_ns))
}

#[cfg(test)]
mod tests {
    use heimdall_model::schema::logs;
    use heimdall_model::{BatchBuilder, Timestamp};

    use super::*;

    /// So many rows a minute of each of two services, over an hour and a half; one in five has no duration.
    fn builder(rows_a_minute: i64) -> CellsBuilder {
        let mut batch = BatchBuilder::new(Dataset::Logs, Timestamp(0));
        for service in ["auth", "billing"] {
            for row in 0..90 * rows_a_minute {
                batch.set_int(logs::TIMESTAMP, row * MINUTE_NS / rows_a_minute);
                batch.set_text(logs::SERVICE, service);
                if row % 5 > 0 {
                    batch.set_float(logs::DURATION_MS, f64::from(u32::try_from(row % 977).expect("small")));
                }
                batch.end_row();
            }
        }
        let batch = batch.finish();
        let rows = batch.rows();
        let mut cells = CellsBuilder::default();
        cells.add(&RowBlock::from_batch(batch, (0..rows as u64).collect(), vec![0; rows]));
        cells
    }

    /// Rows by span, of all services, and the length of spans in minutes.
    fn spans(rows_a_minute: i64) -> Option<(i64, Vec<u64>)> {
        let bytes = builder(rows_a_minute).finish().latency_spans?;
        let mut rows = std::collections::BTreeMap::<i64, u64>::new();
        read_latency(&bytes, DurationsBy::Spans, &mut |_, start, add| {
            let mut latency = Latency::default();
            add(Some(&mut latency))?;
            *rows.entry(start.0).or_default() += latency.rows;
            Ok(())
        })
        .expect("reads");
        Some((span_ns(&bytes).expect("says") / MINUTE_NS, rows.into_values().collect()))
    }

    #[test]
    fn spans_are_as_short_as_their_rows_allow() {
        assert_eq!(spans(1_100), Some((1, vec![2_200; 90])));
        assert_eq!(spans(1_000), Some((5, vec![10_000; 18])));
        assert_eq!(spans(100), Some((15, vec![3_000; 6])));
        assert_eq!(spans(60), None);
    }

    #[test]
    fn too_many_spans_become_longer_ones_while_rows_come() {
        let mut batch = BatchBuilder::new(Dataset::Logs, Timestamp(0));
        let minutes = i64::try_from(SPANS_MAX + 1).expect("small");
        for minute in 0..minutes {
            batch.set_int(logs::TIMESTAMP, minute * MINUTE_NS);
            batch.set_float(logs::DURATION_MS, 7.0);
            batch.end_row();
        }
        let (batch, rows) = (batch.finish(), SPANS_MAX + 1);
        let mut cells = CellsBuilder::default();
        cells.add(&RowBlock::from_batch(batch, (0..rows as u64).collect(), vec![0; rows]));
        assert_eq!((cells.fineness.minutes, cells.fineness.filled), (5, rows.div_ceil(5)));
        let blocks = cells.finish();
        assert_eq!(blocks.latency_spans, None);
        let mut all = Latency::default();
        read_latency(&blocks.latency_hours.expect("is there"), DurationsBy::Hours, &mut |_, _, add| {
            add(Some(&mut all))
        })
        .expect("reads");
        assert_eq!((all.rows, all.count), (rows as u64, rows as u64));
    }

    #[test]
    fn damaged_spans_are_an_error_or_durations() {
        let whole = builder(1_100).finish().latency_spans.expect("is there");
        for at in (0..whole.len()).step_by(7) {
            for byte in [0, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                let mut sum = Latency::default();
                let read = read_latency(&bytes, DurationsBy::Spans, &mut |_, _, add| add(Some(&mut sum)));
                assert!(read.is_ok() || read.is_err_and(|damage| damage.at <= bytes.len()));
            }
        }
    }
}
