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

use crate::checksums::CheckedFile;
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
        let (file, finder, mut buffer) = (segment.checked()?, Finder::new(id), BytesMut::new());
        let mut kept: Vec<Range<usize>> = Vec::new();
        for rows in spans.into_iter().flat_map(crate::candidates::by_page) {
            let bytes = pages_of(&column, &rows);
            let is_in = match bytes {
                Some(bytes) => {
                    holds(&file, &bytes, &finder, &mut buffer).map_err(|error| segment.failed(&error))?
                }
                None => true,
            };
            match kept.last_mut() {
                _ if !is_in => {}
                Some(last) if last.end == rows.start => last.end = rows.end,
                _ => kept.push(rows),
            }
        }
        spans = kept;
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

fn holds(
    file: &CheckedFile,
    bytes: &Range<u64>,
    finder: &Finder<'_>,
    buffer: &mut BytesMut,
) -> std::io::Result<bool> {
    let length = usize::try_from(bytes.end.saturating_sub(bytes.start)).unwrap_or(usize::MAX);
    let (from, read) = file.read_whole_chunks(std::mem::take(buffer), bytes.start, length)?;
    let skip = usize::try_from(bytes.start.saturating_sub(from)).unwrap_or(usize::MAX);
    // Of a file that ends early nothing is known: whoever decodes it says so.
    let is_in = read.get(skip..skip.saturating_add(length)).is_none_or(|page| finder.find(page).is_some());
    if let Ok(back) = read.try_into_mut() {
        *buffer = back;
    }
    Ok(is_in)
}
