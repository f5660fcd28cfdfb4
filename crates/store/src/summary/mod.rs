//! Summaries: what is counted of rows when they are written, so that questions asked every day need not read them again.
//! Formats: docs/formats/segment.md.
//!
//! - [`cells`]: counts by minute and hour, service and level; durations by hour and service
//! - [`run_spans`]: where in each run the rows of some minutes stand
//! - [`templates`]: counts by hour and template; [`fields`]: cubes of declared fields, statistics of all
//! - [`cube`]: how often each value stands in some rows, by hour, added up over segments; [`counting`]: how they come about
//! - [`Distinct`], [`Sketch`]: the one way to count different values and to estimate percentiles, here and in queries
//!
//! Invariant: a summary is of exactly the rows of its segment or chunk; what cannot be exact is absent.

mod cells;
mod codec;
mod counting;
mod cube;
mod distinct;
mod fields;
mod hash;
mod run_spans;
mod sketch;
mod table;
mod templates;
mod value;

use bytes::Bytes;
use heimdall_model::{Dataset, Target};

use crate::block::RowBlock;
use crate::sidecar::kind;

pub(crate) use cells::{DurationsBy, HOUR_NS, MINUTE_NS, read_counts, read_latency, span_ns, start_of};
pub(crate) use cube::{CLASS_OTHER, CubeReader, CubeWriter, PARTITIONS, Sums, add_up, partition_of, visit};
pub use fields::STATUS;
pub(crate) use fields::{FieldSummary, Statistics, read_statistics};
pub(crate) use run_spans::{Cut, RunSpansBuilder, cuts, read_run_spans};
pub(crate) use templates::read_templates;
pub(crate) use value::Scratch;

pub use cells::Latency;
pub use cube::{CLASSES, Classes, Sought};
pub use distinct::Distinct;
pub use fields::Types;
pub use hash::hash64;
pub use sketch::{Buckets, Sketch};
pub use value::SummaryValue;

use cells::CellsBuilder;
use codec::{Damage, Reader, put, put_text};
use cube::ClassCounts;
use fields::FieldsBuilder;
use templates::TemplatesBuilder;

/// Most fields that can be declared.
pub(crate) const CUBE_FIELDS_MAX: usize = 64;

/// One block of a summary: its kind and bytes.
pub(crate) type Block = (u32, Bytes);

/// Counts and durations of rows as they come: cheap enough for every row.
#[derive(Default)]
pub(crate) struct CountsBuilder {
    cells: CellsBuilder,
    templates: Option<TemplatesBuilder>,
}

impl CountsBuilder {
    pub(crate) fn add(&mut self, block: &RowBlock) {
        self.cells.add(block);
        if block.dataset() == Dataset::Logs {
            self.templates.get_or_insert_default().add(block);
        }
    }

    pub(crate) fn finish(self) -> Vec<Block> {
        let cells = self.cells.finish();
        let mut blocks =
            vec![(kind::MINUTE_COUNTS, cells.minutes.into()), (kind::HOUR_COUNTS, cells.hours.into())];
        if let Some(templates) = self.templates {
            blocks.push((kind::TEMPLATE_COUNTS, templates.finish().into()));
        }
        blocks.extend(cells.latency_hours.map(|bytes| (kind::LATENCY_HOURS, bytes.into())));
        blocks.extend(cells.latency_whole.map(|bytes| (kind::LATENCY_WHOLE, bytes.into())));
        blocks.extend(cells.latency_spans.map(|bytes| (kind::LATENCY_SPANS, bytes.into())));
        blocks
    }
}

/// Cubes and statistics of logs as they come.
pub(crate) struct ValuesBuilder(FieldsBuilder);

impl ValuesBuilder {
    /// `by_hour`: for a segment, of which questions ask a part.
    pub(crate) fn new(declared: &[Target], by_hour: bool) -> ValuesBuilder {
        ValuesBuilder(FieldsBuilder::new(declared, by_hour))
    }

    pub(crate) fn add(&mut self, block: &RowBlock) {
        if block.dataset() == Dataset::Logs {
            self.0.add(block);
        }
    }

    /// `compress`: for a file.
    pub(crate) fn finish(self, compress: bool) -> Vec<Block> {
        let found = self.0.finish(compress);
        let mut directory = Vec::new();
        found.classes.iter().for_each(|rows| put(&mut directory, *rows));
        put(&mut directory, found.cubes.len() as u64);
        let mut blocks = Vec::new();
        for (number, cube) in (kind::CUBE_FIRST..).zip(found.cubes) {
            put_text(&mut directory, &cube.target.name(Dataset::Logs));
            put(&mut directory, cube.values);
            put(&mut directory, u64::from(number));
            directory.push(u8::from(cube.cube.by_hour));
            blocks.push((number, cube.cube.bytes.into()));
        }
        blocks.push((kind::HOUR_CUBES, directory.into()));
        blocks.push((kind::FIELD_STATISTICS, found.statistics.into()));
        blocks
    }
}

/// Everything that is counted of the rows of one segment.
#[derive(Default)]
pub(crate) struct SummaryBuilder {
    counts: CountsBuilder,
    values: Option<ValuesBuilder>,
}

impl SummaryBuilder {
    pub(crate) fn new(dataset: Dataset, declared: &[Target]) -> SummaryBuilder {
        let values = (dataset == Dataset::Logs).then(|| ValuesBuilder::new(declared, true));
        SummaryBuilder { counts: CountsBuilder::default(), values }
    }

    pub(crate) fn add(&mut self, block: &RowBlock) {
        self.counts.add(block);
        if let Some(values) = &mut self.values {
            values.add(block);
        }
    }

    pub(crate) fn finish(self) -> Vec<Block> {
        let mut blocks = self.counts.finish();
        blocks.extend(self.values.into_iter().flat_map(|values| values.finish(true)));
        blocks
    }
}

/// Which cubes a segment or chunk has.
pub(crate) struct Directory {
    /// Rows by class of their status.
    pub classes: ClassCounts,
    cubes: Vec<(Target, CubeRef)>,
}

/// A cube in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CubeRef {
    /// Kind of the block that holds it.
    pub kind: u32,
    /// Whether it tells hours apart.
    pub by_hour: bool,
}

impl Directory {
    /// Reads a block of kind [`kind::HOUR_CUBES`], or of [`kind::CUBES`], the cubes of which know no hours.
    pub(crate) fn read(of: u32, bytes: &[u8]) -> Result<Directory, Damage> {
        let mut reader = Reader::new(bytes);
        let mut classes = [0; CLASSES];
        for rows in &mut classes {
            *rows = reader.varint()?;
        }
        let mut cubes = Vec::new();
        for _ in 0..reader.count()? {
            let target = Target::resolve(Dataset::Logs, reader.text()?);
            reader.varint()?;
            let kind = reader.u32()?;
            let by_hour = of == kind::HOUR_CUBES && reader.u8()? == 1;
            cubes.push((target, CubeRef { kind, by_hour }));
        }
        reader.end()?;
        Ok(Directory { classes, cubes })
    }

    /// The cube of a field.
    pub(crate) fn cube_of(&self, target: &Target) -> Option<CubeRef> {
        self.cubes.iter().find(|(declared, _)| declared == target).map(|(_, cube)| *cube)
    }
}
