//! Reads rows of a segment: of its Parquet file only the pages that hold them, neighbours with one read.
//!
//! Invariants:
//! - services and templates are not read where the run directory tells them;
//! - a batch holds at most [`READ_ROWS`] rows and, pages of very unequal rows aside, [`BATCH_BYTES`] bytes, and has no more room
//!   than its rows take;
//! - every byte is checked before it is decoded (see `checksums`).

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use arrow::array::{BooleanBufferBuilder, Int32Array, Int64Array, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use bytes::{Bytes, BytesMut};
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, FieldId};
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};

use crate::block::{Cells, Coded, RowBlock};
use crate::checksums::CheckedFile;
use crate::fields::FieldSet;
use crate::segment::{ENDS_EARLY, POSITION, Segment, block_of};
use crate::sidecar::RunDirectory;
use crate::store::StoreError;

/// Most rows of a batch.
pub(crate) const READ_ROWS: usize = 8_192;
/// Bytes of decoded rows a batch is meant to stay below.
const BATCH_BYTES: usize = 8 << 20;
/// Bytes of one column read at a time, unless a single page is larger.
pub(crate) const READ_BYTES: u64 = 1 << 20;
/// Unwanted bytes between two pages that are read rather than skipped: asking a disk once more takes the processor longer than these do,
/// and even where memory has them it takes about as long.
const GAP_BYTES: u64 = 64 << 10;
/// Buffers kept for the next reads.
const BUFFERS_MAX: usize = 64;

/// Which columns of rows to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns {
    pub fields: FieldSet,
    pub positions: bool,
    /// Whether texts may come as codes.
    pub coded: bool,
}

impl Columns {
    /// Some fields as they are best filtered and counted.
    pub(crate) fn coded(fields: FieldSet) -> Columns {
        Columns { fields, positions: false, coded: true }
    }
}

/// Buffers that reads leave for later ones: fresh memory costs as much as reading.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<BytesMut>>);

impl Buffers {
    fn take(&self) -> BytesMut {
        self.0.lock().pop().unwrap_or_default()
    }

    /// Takes bytes back unless someone still uses them.
    fn give(&self, bytes: Bytes) {
        if let Ok(buffer) = bytes.try_into_mut() {
            let mut buffers = self.0.lock();
            if buffers.len() < BUFFERS_MAX {
                buffers.push(buffer);
            }
        }
    }
}

/// What the end of a Parquet file says, for reading texts one by one and as codes.
pub(crate) struct Footer {
    pub plain: ArrowReaderMetadata,
    coded: ArrowReaderMetadata,
}

impl Footer {
    pub(crate) fn load(file: &CheckedFile) -> Result<Footer, ParquetError> {
        let options = ArrowReaderOptions::new()
            .with_offset_index_policy(PageIndexPolicy::Required)
            .with_column_index_policy(PageIndexPolicy::Skip);
        let plain = ArrowReaderMetadata::load(file, options)?;
        let schema = Arc::new(coded_schema(&plain));
        let options = ArrowReaderOptions::new().with_schema(schema);
        let coded = ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options)?;
        Ok(Footer { plain, coded })
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        const SCHEMAS_BYTES: usize = 16 << 10;
        self.plain.metadata().memory_size() + SCHEMAS_BYTES
    }

    /// Where the page index begins, which is followed by what else is read to open the file.
    pub(crate) fn starts_at(&self) -> Option<u64> {
        let columns = self.plain.metadata().row_groups().iter().flat_map(|group| group.columns());
        let offsets = columns.flat_map(|column| [column.column_index_offset(), column.offset_index_offset()]);
        offsets.flatten().filter_map(|offset| u64::try_from(offset).ok()).min()
    }

    /// Row groups, the last one first: rows of the file from it on, and its bytes.
    pub(crate) fn groups(&self) -> Vec<(u64, Range<u64>)> {
        let groups = self.plain.metadata().row_groups().iter().rev();
        let mut rows = 0_u64;
        groups
            .map(|group| {
                rows = rows.saturating_add(u64::try_from(group.num_rows()).unwrap_or(0));
                let columns = group.columns().iter().map(|column| column.byte_range());
                let bytes = columns.map(|(start, length)| start..start.saturating_add(length));
                let all = bytes.reduce(|all, more| all.start.min(more.start)..all.end.max(more.end));
                (rows, all.unwrap_or(0..0))
            })
            .collect()
    }

    /// Rows of all row groups, when these and the file say the same.
    pub(crate) fn rows(&self) -> Option<u64> {
        let metadata = self.plain.metadata();
        let rows = |rows: i64| u64::try_from(rows).ok();
        let groups = metadata.row_groups().iter().map(|group| rows(group.num_rows()));
        let sum = groups.reduce(|sum, more| sum?.checked_add(more?)).unwrap_or(Some(0));
        sum.filter(|sum| rows(metadata.file_metadata().num_rows()) == Some(*sum))
    }

    fn of(&self, columns: Columns) -> &ArrowReaderMetadata {
        if columns.coded { &self.coded } else { &self.plain }
    }

    fn has(&self, name: &str) -> bool {
        self.plain.schema().index_of(name).is_ok()
    }
}

/// The schema by which texts whose every page refers to a dictionary stay codes.
fn coded_schema(plain: &ArrowReaderMetadata) -> Schema {
    let groups = plain.metadata().row_groups();
    let is_coded = |index: usize| {
        groups.iter().all(|group| {
            let encodings = group.column(index).page_encoding_stats_mask();
            encodings.is_some_and(|mask| mask.is_only(Encoding::RLE_DICTIONARY))
        })
    };
    let fields = plain.schema().fields().iter().enumerate().map(|(index, field)| {
        if *field.data_type() == DataType::Utf8 && is_coded(index) {
            let ty = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(Field::clone(field).with_data_type(ty))
        } else {
            Arc::clone(field)
        }
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// What a reader does with rows: it gets each batch with the row numbers.
pub(crate) type EachBatch<'a> = dyn FnMut(RowBlock, &[u32]) -> ControlFlow<()> + 'a;

impl Segment {
    /// Reads columns of the rows in `ranges`, which rise, in row order.
    pub(crate) fn read(
        &self,
        ranges: &[Range<usize>],
        columns: Columns,
        buffers: &Arc<Buffers>,
        each: &mut EachBatch<'_>,
    ) -> Result<(), StoreError> {
        let footer = self.footer()?;
        let directory = self.sidecar().runs()?;
        let dataset = self.meta.table.dataset;
        let mut told = Told::new(&directory, dataset, ranges, columns.fields);
        told.0.retain(|column| footer.has(dataset.field(column.field).name));
        let stored = told.0.iter().fold(columns.fields, |fields, column| fields.without(column.field));
        let names: Vec<&str> = dataset_names(dataset, stored)
            .chain(columns.positions.then_some(POSITION))
            .filter(|name| footer.has(name))
            .collect();
        if names.is_empty() {
            told.hand_out(dataset, ranges, each);
            return Ok(());
        }
        let mut first_row = 0;
        for (group, meta) in footer.plain.metadata().row_groups().iter().enumerate() {
            let rows = usize::try_from(meta.num_rows()).unwrap_or(0);
            let within = overlap(ranges, first_row..first_row + rows);
            first_row += rows;
            if within.is_empty() {
                continue;
            }
            let part = GroupPart { group, first_row: first_row - rows, rows, ranges: within };
            if self.read_group(footer.of(columns), &part, &names, &mut told, buffers, each)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_group(
        &self,
        footer: &ArrowReaderMetadata,
        part: &GroupPart,
        names: &[&str],
        told: &mut Told<'_>,
        buffers: &Arc<Buffers>,
        each: &mut EachBatch<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let file = self.checked()?;
        let mut reader = self.untrusted(|| {
            let mask = ProjectionMask::columns(footer.parquet_schema(), names.iter().copied());
            let wanted = wanted_pages(footer.metadata(), part, &mask);
            // The library makes room for a whole batch, whatever comes: of few rows that would be a hundred times what they take.
            let rows = part.ranges.iter().map(ExactSizeIterator::len).sum::<usize>().max(1);
            let batch_rows = (BATCH_BYTES / wanted.row_bytes.max(1)).clamp(1, READ_ROWS).min(rows);
            let selection = RowSelection::from_consecutive_ranges(part.ranges.iter().cloned(), part.rows);
            file.will_read(wanted.columns.iter().flat_map(ColumnPages::runs));
            let pages = Pages { file, columns: wanted.columns, buffers: Arc::clone(buffers) };
            ParquetRecordBatchReaderBuilder::new_with_metadata(pages, footer.clone())
                .with_row_groups(vec![part.group])
                .with_batch_size(batch_rows)
                .with_projection(mask)
                .with_row_selection(selection)
                .build()
                .map_err(|error| self.failed(&error))
        })?;
        let dataset = self.meta.table.dataset;
        let mut numbers = Numbers::new(part.ranges.iter().cloned(), part.first_row);
        let mut rows_of: Vec<u32> = Vec::with_capacity(READ_ROWS);
        loop {
            let batch = self.untrusted(|| reader.next().transpose().map_err(|error| self.failed(&error)))?;
            let Some(batch) = batch else { break };
            numbers.take_into(batch.num_rows(), &mut rows_of);
            if rows_of.len() != batch.num_rows() {
                return Err(self.failed(&ENDS_EARLY));
            }
            let block =
                block_of(dataset, &batch).ok_or_else(|| self.failed(&"a column has an unexpected type"))?;
            if each(told.added_to(block, &rows_of), &rows_of).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        numbers.take_into(1, &mut rows_of);
        if rows_of.is_empty() { Ok(ControlFlow::Continue(())) } else { Err(self.failed(&ENDS_EARLY)) }
    }
}

fn dataset_names(dataset: Dataset, fields: FieldSet) -> impl Iterator<Item = &'static str> {
    let all = (0_u8..).map(FieldId).zip(dataset.fields());
    all.filter(move |(id, _)| fields.contains(*id)).map(|(_, field)| field.name)
}

/// The numbers of rows in ranges, handed out some at a time.
struct Numbers<R> {
    ranges: R,
    /// What is left of the range before.
    current: Range<u32>,
    /// Number of the first row there is.
    first_row: usize,
}

impl<R: Iterator<Item = Range<usize>>> Numbers<R> {
    fn new(ranges: R, first_row: usize) -> Numbers<R> {
        Numbers { ranges, current: 0..0, first_row }
    }

    /// Makes `rows` the next so many, or what there is.
    fn take_into(&mut self, mut count: usize, rows: &mut Vec<u32>) {
        rows.clear();
        while count > 0 {
            if self.current.is_empty() {
                let Some(range) = self.ranges.next() else { return };
                self.current = number(range.start + self.first_row)..number(range.end + self.first_row);
                continue;
            }
            let taken = self.current.len().min(count);
            let end = self.current.start + number(taken);
            rows.extend(self.current.start..end);
            self.current.start = end;
            count -= taken;
        }
    }
}

fn number(row: usize) -> u32 {
    u32::try_from(row).expect("rows of a segment fit 32 bits")
}

/// The parts of rising ranges that lie in `span`, counted from its start.
fn overlap(ranges: &[Range<usize>], span: Range<usize>) -> Vec<Range<usize>> {
    let first = ranges.partition_point(|range| range.end <= span.start);
    let within = ranges[first..].iter().take_while(|range| range.start < span.end);
    within
        .map(|range| range.start.max(span.start) - span.start..range.end.min(span.end) - span.start)
        .collect()
}

// ---- what the run directory tells -------------------------------------------------------------------------------

/// Columns made from the run directory.
struct Told<'d>(Vec<ToldColumn<'d>>);

struct ToldColumn<'d> {
    field: FieldId,
    directory: &'d RunDirectory,
    /// The run of the row before.
    run: usize,
    /// Services of the runs concerned, and their codes in rising order; none for templates.
    services: Option<(StringArray, Vec<(u32, i32)>)>,
}

impl<'d> Told<'d> {
    /// Those of the wanted fields that the directory tells for all rows in `ranges`.
    fn new(
        directory: &'d RunDirectory,
        dataset: Dataset,
        ranges: &[Range<usize>],
        fields: FieldSet,
    ) -> Told<'d> {
        let mut told = Told(Vec::new());
        let service = dataset.service();
        if fields.contains(service) {
            let mut codes: Vec<(u32, i32)> = Vec::new();
            let mut names = Vec::new();
            for run in directory.runs_of(ranges) {
                if codes.last().is_none_or(|last| last.0 != run.service)
                    && let Some(name) = directory.service(run)
                {
                    codes.push((run.service, i32::try_from(names.len()).expect("fewer services than rows")));
                    names.push(name);
                }
            }
            let services = Some((StringArray::from(names), codes));
            told.0.push(ToldColumn { field: service, directory, run: 0, services });
        }
        let template = logs::TEMPLATE_ID;
        // No template and none assigned look the same in the directory.
        if dataset == Dataset::Logs
            && fields.contains(template)
            && directory.runs_of(ranges).all(|run| run.template != 0)
        {
            told.0.push(ToldColumn { field: template, directory, run: 0, services: None });
        }
        told
    }

    fn added_to(&mut self, block: RowBlock, rows: &[u32]) -> RowBlock {
        self.0.iter_mut().fold(block, |block, column| {
            let cells = column.cells(rows);
            block.with(column.field, cells)
        })
    }

    /// Rows of which nothing else is wanted.
    fn hand_out(&mut self, dataset: Dataset, ranges: &[Range<usize>], each: &mut EachBatch<'_>) {
        let mut numbers = Numbers::new(ranges.iter().cloned(), 0);
        let mut rows = Vec::with_capacity(READ_ROWS);
        loop {
            numbers.take_into(READ_ROWS, &mut rows);
            if rows.is_empty() {
                return;
            }
            let none = vec![None; dataset.fields().len()];
            let block = self.added_to(RowBlock::new(dataset, rows.len(), None, none), &rows);
            if each(block, &rows).is_break() {
                return;
            }
        }
    }
}

impl ToldColumn<'_> {
    fn cells(&mut self, rows: &[u32]) -> Cells {
        match self.services.take() {
            Some((texts, codes)) => {
                let cells = self.service_cells(rows, &texts, &codes);
                self.services = Some((texts, codes));
                cells
            }
            None => {
                let mut values = Vec::with_capacity(rows.len());
                self.each_run(rows, |_, template, count| {
                    values.extend(std::iter::repeat_n(i64::from(template), count));
                });
                Cells::Int(Int64Array::from(values))
            }
        }
    }

    fn service_cells(&mut self, rows: &[u32], texts: &StringArray, codes: &[(u32, i32)]) -> Cells {
        let mut values = Vec::with_capacity(rows.len());
        let mut present = BooleanBufferBuilder::new(rows.len());
        self.each_run(rows, |service, _, count| {
            let code = codes.binary_search_by_key(&service, |known| known.0).ok().map(|at| codes[at].1);
            values.extend(std::iter::repeat_n(code.unwrap_or(0), count));
            present.append_n(count, code.is_some());
        });
        let nulls = NullBuffer::new(present.finish());
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        Cells::Coded(Coded { codes: Int32Array::new(values.into(), nulls), texts: texts.clone() })
    }

    /// Service, template and number of rows of each run that rising rows lie in.
    fn each_run(&mut self, rows: &[u32], mut each: impl FnMut(u32, u32, usize)) {
        let runs = &self.directory.runs;
        let mut rest = rows;
        while let Some(first) = rest.first() {
            if runs.get(self.run).is_none_or(|run| !run.rows.contains(first)) {
                self.run = runs.partition_point(|run| run.rows.end <= *first);
            }
            let Some(run) = runs.get(self.run) else { break };
            let count = rest.partition_point(|row| *row < run.rows.end);
            each(run.service, run.template, count);
            rest = &rest[count..];
        }
    }
}

// ---- pages ------------------------------------------------------------------------------------------------------

/// Rows of one row group, counted from its first.
struct GroupPart {
    group: usize,
    first_row: usize,
    rows: usize,
    ranges: Vec<Range<usize>>,
}

/// The pages that hold the wanted rows.
struct WantedPages {
    columns: Vec<ColumnPages>,
    /// Bytes of a decoded row where rows are largest.
    row_bytes: usize,
}

fn wanted_pages(footer: &ParquetMetaData, part: &GroupPart, mask: &ProjectionMask) -> WantedPages {
    /// Decoded bytes of a value of fixed width, and of a page that does not say, for each byte stored.
    const VALUE_BYTES: usize = 16;
    const GROWTH: usize = 4;
    let mut found = WantedPages { columns: Vec::new(), row_bytes: 0 };
    let group = footer.row_group(part.group);
    let index = footer.offset_index().and_then(|index| index.get(part.group));
    for (leaf, pages) in index.into_iter().flatten().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf))
    {
        let (start, length) = group.column(leaf).byte_range();
        let locations = pages.page_locations();
        let offset = |page: usize| locations.get(page).map(|page| u64::try_from(page.offset).unwrap_or(0));
        let row = |page: usize| {
            let first = locations.get(page).map(|page| page.first_row_index);
            first.map_or(part.rows, |first| usize::try_from(first).unwrap_or(0))
        };
        let dictionary = start..offset(0).unwrap_or(start);
        let mut wanted: Vec<Range<u64>> = Vec::new();
        wanted.extend((!dictionary.is_empty()).then_some(dictionary));
        let texts = pages.unencoded_byte_array_data_bytes();
        let mut widest = 0;
        for range in &part.ranges {
            let starts = |page: &PageLocation| usize::try_from(page.first_row_index).unwrap_or(0);
            let mut page = locations.partition_point(|page| starts(page) <= range.start).saturating_sub(1);
            while page < locations.len() && row(page) < range.end {
                let Some(at) = offset(page) else { break };
                let bytes = u64::try_from(locations[page].compressed_page_size).unwrap_or(0);
                if wanted.last().is_none_or(|last| last.start != at) {
                    wanted.push(at..at + bytes);
                    let decoded = match texts.and_then(|texts| texts.get(page)) {
                        Some(bytes) => usize::try_from(*bytes).unwrap_or(0),
                        None => GROWTH * usize::try_from(bytes).unwrap_or(0),
                    };
                    let rows = row(page + 1).saturating_sub(row(page)).max(1);
                    widest = widest.max(decoded / rows + VALUE_BYTES);
                }
                page += 1;
            }
        }
        found.row_bytes += widest;
        let span = start..start.saturating_add(length);
        found.columns.push(ColumnPages { span, wanted, current: Mutex::default() });
    }
    found
}

/// The wanted pages of one column in a row group, and those last read.
struct ColumnPages {
    span: Range<u64>,
    wanted: Vec<Range<u64>>,
    current: Mutex<(u64, Bytes)>,
}

impl ColumnPages {
    /// The bytes to read together when the page at `start` is asked for.
    fn run_at(&self, start: u64, length: u64) -> Option<Range<u64>> {
        let first = self.wanted.partition_point(|page| page.start < start);
        let page = self.wanted.get(first).filter(|page| **page == (start..start + length))?;
        let last = run_of(&self.wanted[first..]).last()?;
        Some(page.start..last.end)
    }

    /// All bytes to read together, where each page is asked for in turn.
    fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let mut rest = self.wanted.as_slice();
        std::iter::from_fn(move || {
            let (run, later) = rest.split_at(run_of(rest).len());
            rest = later;
            Some(run.first()?.start..run.last()?.end)
        })
    }
}

/// Those of rising pages that are read together with the first.
fn run_of(pages: &[Range<u64>]) -> &[Range<u64>] {
    let start = pages.first().map_or(0, |page| page.start);
    let follows =
        |[page, next]: &[Range<u64>; 2]| next.start <= page.end + GAP_BYTES && next.end - start <= READ_BYTES;
    let more = pages.array_windows().take_while(|pair| follows(pair)).count();
    &pages[..pages.len().min(more + 1)]
}

/// The Parquet file as a reader of one row group sees it: pages that will be wanted are read ahead.
struct Pages {
    file: CheckedFile,
    columns: Vec<ColumnPages>,
    buffers: Arc<Buffers>,
}

impl Drop for Pages {
    fn drop(&mut self) {
        for column in &mut self.columns {
            self.buffers.give(std::mem::take(&mut column.current.get_mut().1));
        }
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Pages {
    type T = <CheckedFile as ChunkReader>::T;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let Some(column) = self.columns.iter().find(|column| column.span.contains(&start)) else {
            return self.file.get_bytes(start, length);
        };
        let mut current = column.current.lock();
        if let Some(found) = slice(&current, start, length) {
            return Ok(found);
        }
        let Some(run) = column.run_at(start, length as u64) else {
            return self.file.get_bytes(start, length);
        };
        self.buffers.give(std::mem::take(&mut current.1));
        let run_bytes = usize::try_from(run.end - run.start).unwrap_or(usize::MAX);
        *current = self.file.read_whole_chunks(self.buffers.take(), run.start, run_bytes)?;
        slice(&current, start, length).map_or_else(|| self.file.get_bytes(start, length), Ok)
    }
}

fn slice((from, bytes): &(u64, Bytes), start: u64, length: usize) -> Option<Bytes> {
    let skip = usize::try_from(start.checked_sub(*from)?).ok()?;
    let end = skip.checked_add(length)?;
    (end <= bytes.len()).then(|| bytes.slice(skip..end))
}
