//! Ids looked for in the bytes of a page, before any of its rows is decoded.
//!
//! The signature names one page in four hundred in vain: over a billion records these are six hundred, and decoding their rows takes
//! ten times as long as looking whether the id is among their bytes. Ids are stored plain and not compressed, so a row that has one has
//! its bytes in the page. Bytes that are there by chance only cost the decoding.
//!
//! Invariant: a page that is left out holds no row with the id.

use std::ops::Range;

use bytes::BytesMut;
use heimdall_model::matcher::{Leaf, LeafTest, Node};
use heimdall_model::{Dataset, FieldId, FieldType, Target};
use memchr::memmem::Finder;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;

use crate::candidates::by_page;
use crate::checksums::CheckedFile;
use crate::pages::READ_BYTES;
use crate::segment::Segment;
use crate::sidecar::PAGE_ROWS;
use crate::store::StoreError;

/// What of some rows is in pages that hold every id that a filter asks for. `spans` rise, and each begins with a page.
pub(crate) fn narrow(
    segment: &Segment,
    root: &Node,
    mut spans: Vec<Range<usize>>,
) -> Result<Vec<Range<usize>>, StoreError> {
    let dataset = segment.meta.table.dataset;
    let mut ids = Vec::new();
    required(root, dataset, &mut ids);
    for (field, id) in ids {
        if spans.is_empty() {
            break;
        }
        let footer = segment.footer()?;
        let metadata = footer.plain.metadata();
        let Some(column) = plain_column(metadata, dataset.field(field).name) else { continue };
        let (file, finder) = (segment.checked()?, Finder::new(id));
        let rows = spans.into_iter().flat_map(by_page);
        let pages: Vec<Page> = rows.map(|rows| Page { bytes: pages_of(&column, &rows), rows }).collect();
        let parts: Vec<&[Page]> =
            pages.chunk_by(is_read_on).flat_map(|pages| pages.chunks(pages_at_once(pages))).collect();
        file.will_read(parts.iter().filter_map(|pages| bytes_of(pages)));
        let mut kept = Kept::default();
        for pages in parts {
            read(&file, pages, &finder, &mut kept).map_err(|error| segment.failed(&error))?;
        }
        spans = kept.rows;
    }
    Ok(spans)
}

/// Ids that a row must have to pass.
fn required<'n>(node: &'n Node, dataset: Dataset, ids: &mut Vec<(FieldId, &'n [u8])>) {
    match node {
        Node::And(parts) => parts.iter().for_each(|part| required(part, dataset, ids)),
        Node::Leaf(Leaf { target: Target::Field(field), test: LeafTest::Equals(literal) })
            if matches!(dataset.field(*field).ty, FieldType::Id16 | FieldType::Id8)
                && !literal.bytes().is_empty() =>
        {
            ids.push((*field, literal.bytes()));
        }
        _ => {}
    }
}

/// A column whose values stand in the file as they are.
struct PlainColumn<'m> {
    metadata: &'m ParquetMetaData,
    index: usize,
    /// Of each row group but the last, which has less.
    group_rows: usize,
}

fn plain_column<'m>(metadata: &'m ParquetMetaData, name: &str) -> Option<PlainColumn<'m>> {
    let schema = metadata.file_metadata().schema_descr();
    let index = schema.columns().iter().position(|column| column.path().string() == name)?;
    let rows = |group: &RowGroupMetaData| usize::try_from(group.num_rows()).unwrap_or(0);
    let (last, full) = metadata.row_groups().split_last()?;
    let group_rows = full.first().map_or(usize::MAX, rows);
    let is_even =
        group_rows > 0 && full.iter().all(|group| rows(group) == group_rows) && rows(last) <= group_rows;
    if !is_even || (!full.is_empty() && !group_rows.is_multiple_of(PAGE_ROWS)) {
        return None;
    }
    let is_plain = metadata.row_groups().iter().all(|group| {
        let column = group.column(index);
        column.compression() == Compression::UNCOMPRESSED
            && column.page_encoding_stats_mask().is_some_and(|mask| mask.is_only(Encoding::PLAIN))
    });
    is_plain.then_some(PlainColumn { metadata, index, group_rows })
}

/// Where the pages that hold some rows of one page of the segment are; `None` when the file does not say.
fn pages_of(column: &PlainColumn<'_>, rows: &Range<usize>) -> Option<Range<u64>> {
    let group = rows.start / column.group_rows;
    let index = column.metadata.offset_index()?.get(group)?.get(column.index)?;
    let locations = index.page_locations();
    let first_row = |page: &PageLocation| {
        usize::try_from(page.first_row_index).unwrap_or(usize::MAX).saturating_add(group * column.group_rows)
    };
    let first = locations.partition_point(|page| first_row(page) <= rows.start).checked_sub(1)?;
    let last = locations.partition_point(|page| first_row(page) < rows.end).checked_sub(1)?;
    let (first, last) = (locations.get(first)?, locations.get(last)?);
    let end = last.offset.checked_add(i64::from(last.compressed_page_size))?;
    Some(u64::try_from(first.offset).ok()?..u64::try_from(end).ok()?)
}

/// A page of the segment, and where its ids are.
struct Page {
    rows: Range<usize>,
    bytes: Option<Range<u64>>,
}

/// Whether the ids of a page begin where those of the page before it end, or in its last bytes.
fn is_read_on(page: &Page, next: &Page) -> bool {
    matches!((&page.bytes, &next.bytes), (Some(bytes), Some(next)) if bytes.start <= next.start && next.start <= bytes.end)
}

/// How many neighbouring pages are read with one request, which from an object store takes as long for one as for many.
fn pages_at_once(pages: &[Page]) -> usize {
    let longest =
        pages.iter().filter_map(|page| page.bytes.as_ref()).map(|bytes| bytes.end - bytes.start).max();
    usize::try_from(READ_BYTES / longest.unwrap_or(READ_BYTES).max(1)).unwrap_or(1).max(1)
}

/// What is left of the rows, rising.
#[derive(Default)]
struct Kept {
    rows: Vec<Range<usize>>,
    buffer: BytesMut,
}

impl Kept {
    fn add(&mut self, rows: &Range<usize>) {
        match self.rows.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => self.rows.push(rows.clone()),
        }
    }
}

/// Where the ids of some pages are, and what is between them.
fn bytes_of(pages: &[Page]) -> Option<Range<u64>> {
    let bytes = pages.iter().filter_map(|page| page.bytes.clone());
    bytes.reduce(|all, more| all.start.min(more.start)..all.end.max(more.end))
}

/// Reads neighbouring pages and keeps those that hold the id, or of which nothing is known.
fn read(file: &CheckedFile, pages: &[Page], finder: &Finder<'_>, kept: &mut Kept) -> std::io::Result<()> {
    let Some(Range { start, end }) = bytes_of(pages) else {
        pages.iter().for_each(|page| kept.add(&page.rows));
        return Ok(());
    };
    let length = usize::try_from(end - start).unwrap_or(usize::MAX);
    let (from, read) = file.read_whole_chunks(std::mem::take(&mut kept.buffer), start, length)?;
    let place = |at: u64| usize::try_from(at.saturating_sub(from)).unwrap_or(usize::MAX);
    for page in pages {
        let ids = page.bytes.as_ref().and_then(|bytes| read.get(place(bytes.start)..place(bytes.end)));
        // Of a file that ends early nothing is known: whoever decodes it says so.
        if ids.is_none_or(|ids| finder.find(ids).is_some()) {
            kept.add(&page.rows);
        }
    }
    if let Ok(buffer) = read.try_into_mut() {
        kept.buffer = buffer;
    }
    Ok(())
}
