//! The run directory and the page zones: where each service and template stands, and what each page spans.
//!
//! Invariants:
//! - runs follow one another from row 0 without gaps, and cover the segment;
//! - there is one zone per page of [`PAGE_ROWS`] rows.

use std::ops::Range;
use std::sync::Arc;

use super::codec::{Damage, Reader, put_count, put_texts};
use super::{PAGE_ROWS, SidecarBlock, kind};
use crate::block::RowBlock;
use crate::summary::RunSpansBuilder;

/// Rows of one service and template that stand together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Index into the services; `u32::MAX` for none.
    pub service: u32,
    /// Template id; 0 for none.
    pub template: u32,
    /// Row numbers within the segment.
    pub rows: Range<u32>,
}

/// The runs of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunDirectory {
    /// In the order in which they stand in the segment.
    pub services: Vec<Arc<str>>,
    pub runs: Vec<Run>,
}

impl RunDirectory {
    /// The service of a run.
    pub(crate) fn service(&self, run: &Run) -> Option<&str> {
        self.services.get(run.service as usize).map(AsRef::as_ref)
    }

    /// The runs that rising ranges of rows touch, each at least once.
    pub(crate) fn runs_of<'a>(&'a self, ranges: &'a [Range<usize>]) -> impl Iterator<Item = &'a Run> {
        ranges.iter().filter(|range| !range.is_empty()).flat_map(|range| {
            let first = self.runs.partition_point(|run| run.rows.end as usize <= range.start);
            self.runs[first..].iter().take_while(|run| (run.rows.start as usize) < range.end)
        })
    }

    /// Adds the next row.
    pub(super) fn push(&mut self, service: Option<&str>, template: u32) {
        let code = match service {
            None => u32::MAX,
            Some(name) => {
                if self.services.last().is_none_or(|last| last.as_ref() != name) {
                    self.services.push(name.into());
                }
                u32::try_from(self.services.len() - 1).expect("fewer services than rows")
            }
        };
        let next = self.runs.last().map_or(0, |run| run.rows.end);
        match self.runs.last_mut() {
            Some(run) if run.service == code && run.template == template => run.rows.end += 1,
            _ => self.runs.push(Run { service: code, template, rows: next..next + 1 }),
        }
    }
}

impl SidecarBlock for RunDirectory {
    const KIND: u32 = kind::RUNS;

    fn encode(&self, out: &mut Vec<u8>) {
        put_texts(out, &self.services);
        put_count(out, self.runs.len());
        for run in &self.runs {
            for n in [run.service, run.template, run.rows.end - run.rows.start] {
                out.extend_from_slice(&n.to_le_bytes());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let services = reader.texts()?;
        let count = reader.count(12)?;
        let mut start = 0_u32;
        let runs = (0..count)
            .map(|_| {
                let (service, template, rows) = (reader.u32()?, reader.u32()?, reader.u32()?);
                let end = start.checked_add(rows).ok_or_else(|| reader.damage("too many rows"))?;
                Ok(Run { service, template, rows: std::mem::replace(&mut start, end)..end })
            })
            .collect::<Result<_, Damage>>()?;
        Ok(RunDirectory { services, runs })
    }

    fn check(&self, rows: u64) -> Result<(), &'static str> {
        let covered = self.runs.last().map_or(0, |run| u64::from(run.rows.end));
        let named = |run: &Run| run.service == u32::MAX || (run.service as usize) < self.services.len();
        match () {
            () if covered != rows => Err("runs do not cover the rows the manifest says"),
            () if !self.runs.iter().all(named) => Err("a run has an unknown service"),
            () => Ok(()),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
            + self.services.iter().map(|name| name.len() + 32).sum::<usize>()
    }
}

/// Bounds of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone {
    pub min_ns: i64,
    pub max_ns: i64,
    /// Bit `c` set: some row has level code `c`; bit 0: some row has none.
    pub levels: u8,
}

/// The zones of a segment's pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Zones(pub Vec<Zone>);

impl Zones {
    /// Adds row number `row`.
    pub(super) fn push(&mut self, row: usize, ns: i64, level: u8) {
        let fresh = Zone { min_ns: ns, max_ns: ns, levels: 1 << level };
        match self.0.last_mut() {
            Some(zone) if !row.is_multiple_of(PAGE_ROWS) => {
                zone.min_ns = zone.min_ns.min(ns);
                zone.max_ns = zone.max_ns.max(ns);
                zone.levels |= 1 << level;
            }
            _ => self.0.push(fresh),
        }
    }
}

impl SidecarBlock for Zones {
    const KIND: u32 = kind::ZONES;

    fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.0.len());
        for zone in &self.0 {
            out.extend_from_slice(&zone.min_ns.to_le_bytes());
            out.extend_from_slice(&zone.max_ns.to_le_bytes());
            out.push(zone.levels);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let count = reader.count(17)?;
        let zone = |_| Ok(Zone { min_ns: reader.i64()?, max_ns: reader.i64()?, levels: reader.u8()? });
        (0..count).map(zone).collect::<Result<_, Damage>>().map(Zones)
    }

    fn check(&self, rows: u64) -> Result<(), &'static str> {
        if self.0.len() as u64 == rows.div_ceil(PAGE_ROWS as u64) {
            Ok(())
        } else {
            Err("there is not one zone per page")
        }
    }

    fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Zone>()
    }
}

/// Earliest and latest time of the rows of each run, ns, in the order of the runs. Segments written before it was added have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunTimes(pub Vec<(i64, i64)>);

impl RunTimes {
    /// Adds a row of the run numbered `run`: the last one or the next.
    fn push(&mut self, run: usize, ns: i64) {
        match self.0.get_mut(run) {
            Some((min, max)) => (*min, *max) = ((*min).min(ns), (*max).max(ns)),
            None => self.0.push((ns, ns)),
        }
    }
}

impl SidecarBlock for RunTimes {
    const KIND: u32 = kind::RUN_TIMES;

    fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.0.len());
        for (min, max) in &self.0 {
            out.extend_from_slice(&min.to_le_bytes());
            out.extend_from_slice(&max.to_le_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let count = reader.count(16)?;
        (0..count).map(|_| Ok((reader.i64()?, reader.i64()?))).collect::<Result<_, Damage>>().map(RunTimes)
    }

    fn check(&self, rows: u64) -> Result<(), &'static str> {
        if self.0.len() as u64 <= rows { Ok(()) } else { Err("there are more runs than rows") }
    }

    fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(i64, i64)>()
    }
}

/// Rows of one level in a run that has several, and their earliest and latest time, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LevelRows {
    pub rows: u32,
    pub min_ns: i64,
    pub max_ns: i64,
}

/// The levels of the rows of each run, in the order of the runs. Segments written before it was added have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunLevels {
    /// Per run: bit `c` set when some row has level code `c`; bit 0 when some row has none.
    pub masks: Vec<u8>,
    /// Of each run with several levels, these by their code; runs of one level say all that is to be said of it.
    pub parts: Vec<LevelRows>,
    /// Of the last run, by level code.
    open: [Option<LevelRows>; 8],
}

impl RunLevels {
    /// Adds a row of the run numbered `run`: the last one or the next.
    fn push(&mut self, run: usize, level: u8, ns: i64) {
        if run == self.masks.len() {
            self.close();
            self.masks.push(0);
        }
        let level = level & 7;
        if let Some(mask) = self.masks.last_mut() {
            *mask |= 1 << level;
        }
        match &mut self.open[usize::from(level)] {
            Some(part) => {
                part.rows += 1;
                (part.min_ns, part.max_ns) = (part.min_ns.min(ns), part.max_ns.max(ns));
            }
            fresh => *fresh = Some(LevelRows { rows: 1, min_ns: ns, max_ns: ns }),
        }
    }

    /// Ends the last run.
    pub(super) fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        if self.masks.last().is_some_and(|mask| mask.count_ones() > 1) {
            self.parts.extend(open.into_iter().flatten());
        }
    }
}

impl SidecarBlock for RunLevels {
    const KIND: u32 = kind::RUN_LEVELS;

    fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.masks.len());
        out.extend_from_slice(&self.masks);
        put_count(out, self.parts.len());
        for part in &self.parts {
            out.extend_from_slice(&part.rows.to_le_bytes());
            out.extend_from_slice(&part.min_ns.to_le_bytes());
            out.extend_from_slice(&part.max_ns.to_le_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let runs = reader.count(1)?;
        let masks = reader.take(runs)?.to_vec();
        let count = reader.count(20)?;
        let part = |_| Ok(LevelRows { rows: reader.u32()?, min_ns: reader.i64()?, max_ns: reader.i64()? });
        let parts: Vec<LevelRows> = (0..count).map(part).collect::<Result<_, Damage>>()?;
        let several = |mask: &u8| if mask.count_ones() > 1 { mask.count_ones() as usize } else { 0 };
        if masks.iter().map(several).sum::<usize>() != parts.len() {
            return Err(reader.damage("levels of runs differ from their masks"));
        }
        Ok(RunLevels { masks, parts, open: [None; 8] })
    }

    fn check(&self, rows: u64) -> Result<(), &'static str> {
        if self.masks.len() as u64 <= rows { Ok(()) } else { Err("there are more runs than rows") }
    }

    fn memory_bytes(&self) -> usize {
        self.masks.capacity() + self.parts.capacity() * size_of::<LevelRows>() + size_of::<RunLevels>()
    }
}

/// Gathers runs and zones while a segment's sorted rows are written.
#[derive(Default)]
pub(crate) struct LayoutBuilder {
    pub runs: RunDirectory,
    pub times: RunTimes,
    pub levels: RunLevels,
    pub zones: Zones,
    pub spans: RunSpansBuilder,
    rows: usize,
}

impl LayoutBuilder {
    /// Adds the next rows of the segment, in order.
    pub(crate) fn add(&mut self, block: &RowBlock) {
        for row in 0..block.rows() {
            self.runs.push(block.service(row), block.template_id(row).unwrap_or(0));
            let (run, ns) = (self.runs.runs.len() - 1, block.timestamp(row).0);
            self.times.push(run, ns);
            self.spans.push(run, ns);
            let level = block.level(row).map_or(0, heimdall_model::Level::code);
            self.levels.push(run, level, ns);
            self.zones.push(self.rows, ns, level);
            self.rows += 1;
        }
    }

    /// Ends with the last row.
    pub(crate) fn finish(&mut self) {
        self.levels.close();
    }
}
