//! Segments: immutable, sorted Parquet files of one tenant's dataset, each with a sidecar.
//! Format: docs/formats/segment.md.
//!
//! Invariants:
//! - rows are sorted by (service, template, time) and never change;
//! - both files are whole and synced before a manifest names them;
//! - the files of a segment stay until its last reader is gone.

use std::io::{self, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field as ArrowField, Schema};
use arrow::error::ArrowError;
use foldhash::{HashMap, HashSet};
use heimdall_journal::disk::{Disk, DiskFile};
use heimdall_model::schema::{self, logs, metrics, spans};
use heimdall_model::{Dataset, FieldId, FieldType, Target, Tenant, Timestamp};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::aside::Aside;
use crate::block::{Cells, RowBlock, arrow_type};
use crate::checksums::{CheckedFile, Checksums};
use crate::files::{Files, RangeFile};
use crate::memtable::Chunk;
use crate::pages::Footer;
use crate::sidecar::{LayoutBuilder, PAGE_ROWS, SidecarFile, SidecarWriter, kind};
use crate::signature::SignatureBuilder;
use crate::store::StoreError;
use crate::summary::SummaryBuilder;

/// Rows of one row group, and the most rows of a segment written from memory.
pub(crate) const SEGMENT_ROWS_MAX: usize = 1 << 20;
/// Rows of a row group: memory holds one, encoded, while a segment is written.
pub(crate) const GROUP_ROWS: usize = 1 << 19;
/// Most rows of a segment that is the merge of others.
pub(crate) const COMPACTED_ROWS_MAX: usize = 4 * SEGMENT_ROWS_MAX;
/// Rows written, and read, at a time.
pub(crate) const SLICE_ROWS: usize = 16_384;
/// Bytes gathered before they are handed to the file.
const WRITE_BYTES: usize = 1 << 20;
/// Pages are cut by rows; this only has to be out of the way.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Pages of texts are cut by bytes too, and those of messages smaller: of the many pages that a text search reads it wants a
/// few rows each, and most of its time goes into unpacking the others. It costs 1 % of the bytes.
const TEXT_PAGE_BYTES: usize = 64 << 10;
const MESSAGE_PAGE_BYTES: usize = 16 << 10;
/// Pages of ids, which are not compressed: a record that is shown needs one of each.
const ID_PAGE_BYTES: usize = 16 << 10;
/// Rows of a page of any column: half of what signatures tell apart, so that showing a record unpacks less.
const COLUMN_PAGE_ROWS: usize = PAGE_ROWS / 2;
/// Rows after which the writer looks whether a page is full: messages may be long.
const PAGE_LOOK_ROWS: usize = PAGE_ROWS / 16;
/// Nanoseconds in a day.
pub(crate) const DAY_NS: i64 = 86_400_000_000_000;
/// Name of the column that holds journal positions.
pub(crate) const POSITION: &str = "_position";

/// Who owns a segment and of what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TableKey {
    pub tenant: Tenant,
    pub dataset: Dataset,
}

/// What the manifest records of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentMeta {
    pub id: u64,
    #[serde(flatten)]
    pub table: TableKey,
    pub rows: u64,
    pub min: Timestamp,
    pub max: Timestamp,
    /// Latest arrival: retention counts from it, so that an import of old logs is not dropped on arrival.
    pub arrived: Timestamp,
    /// Bytes of the Parquet file.
    pub bytes: u64,
    /// CRC-32C of the Parquet file.
    pub crc32c: u32,
    /// Bytes of the sidecar.
    pub sidecar_bytes: u64,
    /// CRC-32C of the sidecar.
    pub sidecar_crc32c: u32,
    /// Bytes of the rows in memory, when they were written.
    pub memory_bytes: u64,
    /// UTC day in the names of the files, in days since the epoch: that of the earliest row.
    pub day: i64,
    /// Where the Parquet file is.
    #[serde(default, skip_serializing_if = "Place::is_local")]
    pub place: Place,
    /// Of a Parquet file in the cold tier: bytes at its end that are in the folder too, in a file of their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tail_bytes: u64,
}

/// Where the Parquet file of a segment is; its sidecar is always in the folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// In the folder.
    #[default]
    Local,
    /// An object of the cold tier.
    Cold,
}

impl Place {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_local(&self) -> bool {
        *self == Place::Local
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Days since the epoch, in UTC.
pub(crate) fn day_of(time: Timestamp) -> i64 {
    time.0.div_euclid(DAY_NS)
}

impl SegmentMeta {
    fn new(id: u64, table: TableKey, first: Timestamp) -> SegmentMeta {
        SegmentMeta {
            id,
            table,
            rows: 0,
            min: Timestamp(i64::MAX),
            max: Timestamp(i64::MIN),
            arrived: Timestamp(i64::MIN),
            bytes: 0,
            crc32c: 0,
            sidecar_bytes: 0,
            sidecar_crc32c: 0,
            memory_bytes: 0,
            day: day_of(first),
            place: Place::Local,
            tail_bytes: 0,
        }
    }

    /// Bytes of its files in the folder.
    pub(crate) fn local_bytes(&self) -> u64 {
        let parquet = if self.place == Place::Local { self.bytes } else { self.tail_bytes };
        parquet + self.sidecar_bytes
    }

    /// Names of its files in the folder.
    pub(crate) fn local_files(&self) -> [String; 2] {
        let parquet = if self.place == Place::Local { self.parquet_name() } else { self.tail_name() };
        [parquet, self.sidecar_name()]
    }

    /// Something to test with.
    #[cfg(test)]
    pub(crate) fn sample(id: u64) -> SegmentMeta {
        let table = TableKey { tenant: Tenant::default(), dataset: Dataset::Logs };
        SegmentMeta { rows: id, bytes: id * 60, ..SegmentMeta::new(id, table, Timestamp(0)) }
    }

    /// Takes rows into account.
    fn include(&mut self, block: &RowBlock) {
        self.rows += block.rows() as u64;
        self.memory_bytes += block.byte_size() as u64;
        for row in 0..block.rows() {
            let time = block.timestamp(row);
            (self.min, self.max) = (self.min.min(time), self.max.max(time));
            let arrived = block.int(schema::OBSERVED, row).map_or(time, Timestamp);
            self.arrived = self.arrived.max(arrived);
        }
    }

    /// File name of the Parquet file: tenant, dataset, day and id, so that `acme.logs.2026-02-*.parquet` means what it says.
    pub(crate) fn parquet_name(&self) -> String {
        format!("{}.parquet", self.stem())
    }

    /// File name of the sidecar.
    pub(crate) fn sidecar_name(&self) -> String {
        format!("{}.hidx", self.stem())
    }

    /// File name of the end of a Parquet file in the cold tier.
    pub(crate) fn tail_name(&self) -> String {
        format!("{}.tail", self.stem())
    }

    fn stem(&self) -> String {
        let time = Timestamp(self.day.saturating_mul(DAY_NS)).to_string();
        let day = time.get(..10).unwrap_or("0000-00-00");
        format!("{}.{}.{day}.{:016x}", self.table.tenant, self.table.dataset, self.id)
    }
}

/// A segment that can be read.
pub(crate) struct Segment {
    pub meta: SegmentMeta,
    parquet: RangeFile,
    sidecar: SidecarFile,
    /// What is wrong with one of both files.
    pub aside: Aside,
    files: Arc<Files>,
    retired: AtomicBool,
    moved: AtomicBool,
}

impl Drop for Segment {
    /// The last reader of a segment that no manifest names removes its files; after a crash the next start does.
    fn drop(&mut self) {
        self.files.footers.forget(self.sidecar.number());
        if *self.retired.get_mut() {
            remove_files(&self.files, &self.meta);
        } else if *self.moved.get_mut() {
            remove_local(&self.files, &self.meta.parquet_name());
        }
    }
}

/// Removes the files of a segment that no manifest names; what cannot be removed now is removed at the next start.
pub(crate) fn remove_files(files: &Files, meta: &SegmentMeta) {
    meta.local_files().iter().for_each(|name| remove_local(files, name));
    if let (Place::Cold, Some(cold)) = (meta.place, &files.cold) {
        cold.remove_later(&meta.parquet_name());
    }
}

pub(crate) fn remove_local(files: &Files, name: &str) {
    if let Err(error) = files.remove(name) {
        tracing::warn!(file = name, %error, "could not remove a segment's file");
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Segment {
    /// A segment that the manifest names. Nothing is opened or read before it is needed.
    pub(crate) fn new(files: &Arc<Files>, meta: SegmentMeta) -> Segment {
        let (aside, name) = (Aside::default(), meta.parquet_name());
        Segment {
            parquet: match meta.place {
                Place::Local => files.file(name, meta.bytes, &aside),
                Place::Cold => files.cold_file(name, meta.bytes, meta.tail_name(), meta.tail_bytes, &aside),
            },
            sidecar: SidecarFile::new(
                files.file(meta.sidecar_name(), meta.sidecar_bytes, &aside),
                meta.rows,
                &files.blocks,
            ),
            meta,
            aside,
            files: Arc::clone(files),
            retired: AtomicBool::new(false),
            moved: AtomicBool::new(false),
        }
    }

    /// Lets the files go with the last reader: no manifest names the segment any more.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Where its Parquet file is.
    pub(crate) fn path(&self) -> PathBuf {
        self.parquet.path()
    }

    /// Its Parquet file, unchecked.
    pub(crate) fn parquet(&self) -> &RangeFile {
        &self.parquet
    }

    /// Lets the Parquet file in the folder go with the last reader: the manifest says that it is elsewhere.
    pub(crate) fn move_away(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    /// What a reader of the Parquet file complains about: the file could not be read, or it is not what it should be.
    pub(crate) fn failed(&self, error: &dyn std::fmt::Display) -> StoreError {
        match self.parquet.take_failure() {
            Some(source) => self.parquet.failed(0, source),
            None => self.parquet.corrupt(error),
        }
    }

    /// The Parquet file, every byte of it checked before it is used.
    pub(crate) fn checked(&self) -> Result<CheckedFile, StoreError> {
        let sums = self.sidecar.block::<Checksums>()?.ok_or_else(|| self.sidecar.is_of_another_segment())?;
        if (sums.segment, sums.bytes) != (self.meta.id, self.meta.bytes) {
            return Err(self.sidecar.is_of_another_segment());
        }
        Ok(CheckedFile::new(self.parquet.clone(), sums))
    }

    /// Runs what decodes the Parquet file. Its library panics at some files that are not as they should be: that is damage to the
    /// file, and nothing that `decode` has touched is used after it.
    pub(crate) fn untrusted<T>(
        &self,
        decode: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
            Err(self.failed(&format_args!("the reader of Parquet gave up: {words}")))
        })
    }

    /// The end of its Parquet file, from the cache or the file.
    pub(crate) fn footer(&self) -> Result<Arc<Footer>, StoreError> {
        const FOOTER: u32 = 0;
        let (cache, number) = (&self.files.footers, self.sidecar.number());
        if let Some(footer) = cache.get(number, FOOTER) {
            return Ok(footer);
        }
        let file = self.checked()?;
        let footer = self.untrusted(|| Footer::load(&file).map_err(|error| self.failed(&error)))?;
        if footer.rows() != Some(self.meta.rows) {
            return Err(self.failed(&"rows differ from the manifest"));
        }
        let footer = Arc::new(footer);
        cache.put(number, FOOTER, Arc::clone(&footer), footer.memory_bytes());
        Ok(footer)
    }

    /// What is known of the rows without reading them.
    pub(crate) fn sidecar(&self) -> &SidecarFile {
        &self.sidecar
    }

    /// Bytes read from both files since they were opened.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.parquet.bytes_read() + self.sidecar.bytes_read()
    }

    /// The error of a file whose rows are not in their order.
    pub(crate) fn out_of_order(&self) -> StoreError {
        self.failed(&"rows are out of order")
    }

    /// Columns in which some row may have a value.
    pub(crate) fn columns(&self) -> Result<Vec<FieldId>, StoreError> {
        let footer = self.footer()?;
        let schema = footer.plain.schema();
        let fields = (0_u8..).map(FieldId).zip(self.meta.table.dataset.fields());
        Ok(fields.filter(|(_, field)| schema.index_of(field.name).is_ok()).map(|(id, _)| id).collect())
    }

    /// All rows in their order, in blocks of at most `block_rows`.
    pub(crate) fn blocks(&self, block_rows: usize) -> Result<SegmentBlocks<'_>, StoreError> {
        let (footer, file) = (self.footer()?, self.checked()?);
        let reader = self.untrusted(|| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), footer.plain.clone())
                .with_batch_size(block_rows)
                .build()
                .map_err(|error| self.failed(&error))
        })?;
        let groups = footer.groups();
        Ok(SegmentBlocks { segment: self, reader: Some(reader), rows_left: self.meta.rows, file, groups })
    }
}

/// Reads a segment from its first row to its last.
pub(crate) struct SegmentBlocks<'a> {
    segment: &'a Segment,
    /// Gone after the first error.
    reader: Option<ParquetRecordBatchReader>,
    rows_left: u64,
    file: CheckedFile,
    /// Row groups not begun yet, the next one last: rows left when it begins, and its bytes.
    groups: Vec<(u64, Range<u64>)>,
}

impl SegmentBlocks<'_> {
    fn read(&mut self) -> Result<Option<RowBlock>, StoreError> {
        let segment = self.segment;
        let Some(mut reader) = self.reader.take() else { return Ok(None) };
        // It is read in many small parts, of each column some.
        while let Some((_, bytes)) = self.groups.pop_if(|(rows_left, _)| self.rows_left <= *rows_left) {
            self.file.will_read_all(bytes);
        }
        let batch = segment.untrusted(|| {
            let batch = reader.next().transpose();
            Ok((batch.map_err(|error: ArrowError| segment.failed(&error))?, reader))
        })?;
        let (Some(batch), reader) = batch else {
            return if self.rows_left == 0 { Ok(None) } else { Err(segment.failed(&ENDS_EARLY)) };
        };
        self.rows_left =
            self.rows_left.checked_sub(batch.num_rows() as u64).ok_or_else(|| segment.failed(&ENDS_EARLY))?;
        let wrong_type = || segment.failed(&"a column has an unexpected type");
        let block = block_of(segment.meta.table.dataset, &batch).ok_or_else(wrong_type)?;
        self.reader = Some(reader);
        Ok(Some(block))
    }
}

impl Iterator for SegmentBlocks<'_> {
    type Item = Result<RowBlock, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// What is wrong with a file whose pages hold other rows than its footer says.
pub(crate) const ENDS_EARLY: &str = "it has not as many rows as it says";

/// The rows of a batch: of columns that are read, and of positions where they are.
pub(crate) fn block_of(dataset: Dataset, batch: &RecordBatch) -> Option<RowBlock> {
    let positions = match batch.column_by_name(POSITION) {
        None => None,
        Some(array) => Some(array.as_any().downcast_ref::<UInt64Array>()?.clone()),
    };
    let columns = dataset.fields().iter().map(|field| match batch.column_by_name(field.name) {
        None => Some(None),
        Some(array) => Cells::from_array(array, field.ty).map(Some),
    });
    Some(RowBlock::new(dataset, batch.num_rows(), positions, columns.collect::<Option<_>>()?))
}

/// Reads a whole file.
pub(crate) fn read_whole(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, StoreError> {
    let io = |source| StoreError::io(path, source);
    let file = disk.open_read(path).map_err(io)?;
    let len = usize::try_from(file.len().map_err(io)?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0).map_err(io)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes a whole new file and syncs it; a leftover of the same name is replaced.
pub(crate) fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let io = |source| StoreError::io(path, source);
    disk.remove(path).map_err(io)?;
    let file = disk.create(path).map_err(io)?;
    let written = file.append(&[bytes]).and_then(|()| file.sync());
    if written.is_err() {
        // Give the space back: the next try starts afresh.
        let _ = disk.remove(path);
    }
    written.map_err(io)
}

/// Appends to a file while its bytes are made; counts and sums them.
struct DiskSink {
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    crc32c: u32,
    checksums: Checksums,
    /// Why a write failed: the encoder on top turns the reason into words.
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl DiskSink {
    /// Begins a file; a leftover of the same name is replaced.
    fn create(disk: &dyn Disk, path: &Path, segment: u64) -> Result<DiskSink, StoreError> {
        let io = |source| StoreError::io(path, source);
        disk.remove(path).map_err(io)?;
        let file = disk.create(path).map_err(io)?;
        let checksums = Checksums::of(segment);
        Ok(DiskSink { file, buffer: Vec::new(), crc32c: 0, checksums, failed: Arc::default() })
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        let written = self.file.append(&[&self.buffer]);
        self.buffer.clear();
        written.inspect_err(|error| {
            *self.failed.lock() = Some(io::Error::new(error.kind(), error.to_string()));
        })
    }
}

impl Write for DiskSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        self.checksums.add(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush_buffer()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one segment: sorted rows in; two synced files, and what the manifest will say of them, out. Rows go to the
/// file as row groups fill, so memory holds one of them, encoded.
pub(crate) struct SegmentWriter {
    files: Arc<Files>,
    meta: SegmentMeta,
    columns: Vec<FieldId>,
    schema: Arc<Schema>,
    parquet: ArrowWriter<DiskSink>,
    failed: Arc<Mutex<Option<io::Error>>>,
    layout: LayoutBuilder,
    signature: SignatureBuilder,
    summary: SummaryBuilder,
    is_whole: bool,
}

impl Drop for SegmentWriter {
    /// Files that did not become whole go.
    fn drop(&mut self) {
        if !self.is_whole {
            remove_files(&self.files, &self.meta);
        }
    }
}

impl SegmentWriter {
    /// Begins the files of segment `id`; a leftover of the same name is replaced. `columns` are all those in which a
    /// row may have a value, `declared` the fields that cubes are made of.
    pub(crate) fn create(
        files: &Arc<Files>,
        id: u64,
        table: &TableKey,
        columns: Vec<FieldId>,
        first: Timestamp,
        declared: &[Target],
    ) -> Result<SegmentWriter, StoreError> {
        let meta = SegmentMeta::new(id, table.clone(), first);
        let sink = DiskSink::create(files.disk.as_ref(), &files.path(&meta.parquet_name()), id)?;
        let failed = Arc::clone(&sink.failed);
        let schema = arrow_schema(table.dataset, &columns);
        let parquet = ArrowWriter::try_new(sink, Arc::clone(&schema), Some(properties(table.dataset)))
            .map_err(|error| StoreError::Encode { detail: error.to_string() })?;
        Ok(SegmentWriter {
            files: Arc::clone(files),
            meta,
            columns,
            schema,
            parquet,
            failed,
            layout: LayoutBuilder::default(),
            signature: SignatureBuilder::new(table.dataset),
            summary: SummaryBuilder::new(table.dataset, declared),
            is_whole: false,
        })
    }

    /// Adds the next rows, in the order of a segment.
    pub(crate) fn write(&mut self, block: &RowBlock) -> Result<(), StoreError> {
        self.layout.add(block);
        self.signature.add(block);
        self.summary.add(block);
        self.meta.include(block);
        let batch = record_batch(block, &self.columns, &self.schema)?;
        self.parquet.write(&batch).map_err(|error| self.failure(&error))
    }

    /// Ends and syncs both files.
    pub(crate) fn finish(mut self) -> Result<SegmentMeta, StoreError> {
        self.parquet.finish().map_err(|error| self.failure(&error))?;
        let path = self.files.path(&self.meta.parquet_name());
        let sink = self.parquet.inner_mut();
        sink.flush_buffer()
            .and_then(|()| sink.file.sync())
            .map_err(|source| StoreError::io(&path, source))?;
        (self.meta.bytes, self.meta.crc32c) = (sink.checksums.bytes, sink.crc32c);
        let mut sidecar = SidecarWriter::default();
        sidecar.put(&std::mem::take(&mut sink.checksums));
        self.layout.finish();
        sidecar.put(&self.layout.runs);
        sidecar.put(&self.layout.zones);
        sidecar.put(&self.layout.times);
        sidecar.put(&self.layout.levels);
        let spans = std::mem::take(&mut self.layout.spans).finish();
        spans.iter().for_each(|content| sidecar.put_bytes(kind::RUN_SPANS, content));
        let summary = std::mem::take(&mut self.summary).finish();
        summary.iter().for_each(|(kind, content)| sidecar.put_bytes(*kind, content));
        if let Some((shape, rows)) = self.signature.take() {
            sidecar.put(&shape);
            sidecar.put_cells(kind::SIGNATURE_ROWS, rows);
        }
        let path = self.files.path(&self.meta.sidecar_name());
        let mut sink = DiskSink::create(self.files.disk.as_ref(), &path, self.meta.id)?;
        let written =
            sidecar.write(&mut sink).and_then(|()| sink.flush_buffer()).and_then(|()| sink.file.sync());
        written.map_err(|source| StoreError::io(&path, source))?;
        (self.meta.sidecar_bytes, self.meta.sidecar_crc32c) = (sink.checksums.bytes, sink.crc32c);
        self.is_whole = true;
        Ok(self.meta.clone())
    }

    fn failure(&self, error: &ParquetError) -> StoreError {
        match self.failed.lock().take() {
            Some(source) => StoreError::Io { path: self.files.path(&self.meta.parquet_name()), source },
            None => StoreError::Encode { detail: error.to_string() },
        }
    }
}

/// Sorts the rows of some chunks and writes them as one segment.
pub(crate) fn write_chunks(
    files: &Arc<Files>,
    id: u64,
    table: &TableKey,
    chunks: &[Arc<Chunk>],
    declared: &[Target],
) -> Result<SegmentMeta, StoreError> {
    let blocks: Vec<&RowBlock> = chunks.iter().map(|chunk| &chunk.block).collect();
    let picks = sorted(&blocks);
    debug_assert!(picks.len() <= SEGMENT_ROWS_MAX);
    let columns: Vec<FieldId> = (0_u8..)
        .map(FieldId)
        .take(table.dataset.fields().len())
        .filter(|id| blocks.iter().any(|block| block.cells(*id).is_some()))
        .collect();
    let first = chunks.iter().map(|chunk| chunk.min).min().unwrap_or_default();
    let mut writer = SegmentWriter::create(files, id, table, columns, first, declared)?;
    for slice in picks.chunks(SLICE_ROWS) {
        writer.write(&RowBlock::interleave(&blocks, slice))?;
    }
    writer.finish()
}

/// Every row of the blocks, ordered by service, template, time and position.
fn sorted(blocks: &[&RowBlock]) -> Vec<(usize, usize)> {
    let distinct: HashSet<&str> =
        blocks.iter().flat_map(|block| (0..block.rows()).filter_map(|row| block.service(row))).collect();
    let mut services: Vec<&str> = distinct.into_iter().collect();
    services.sort_unstable();
    let codes: HashMap<&str, u32> = services.into_iter().zip(0..).collect();
    let mut keys = Vec::with_capacity(blocks.iter().map(|block| block.rows()).sum());
    for (b, block) in blocks.iter().enumerate() {
        let mut last: (Option<&str>, u32) = (None, u32::MAX);
        for row in 0..block.rows() {
            let service = block.service(row);
            if service != last.0 {
                last = (service, service.map_or(u32::MAX, |name| codes[name]));
            }
            let template = block.template_id(row).unwrap_or(0);
            let group = u64::from(last.1) << 32 | u64::from(template);
            keys.push((group, block.timestamp(row).0, block.position(row).0, (b, row)));
        }
    }
    keys.sort_unstable();
    keys.into_iter().map(|key| key.3).collect()
}

fn arrow_schema(dataset: Dataset, columns: &[FieldId]) -> Arc<Schema> {
    let mut fields: Vec<ArrowField> = columns
        .iter()
        .map(|id| ArrowField::new(dataset.field(*id).name, arrow_type(dataset.field(*id).ty), true))
        .collect();
    fields.push(ArrowField::new(POSITION, DataType::UInt64, false));
    Arc::new(Schema::new(fields))
}

fn record_batch(
    block: &RowBlock,
    columns: &[FieldId],
    schema: &Arc<Schema>,
) -> Result<RecordBatch, StoreError> {
    let mut arrays: Vec<ArrayRef> = columns
        .iter()
        .map(|id| {
            let ty = block.dataset().field(*id).ty;
            block.cells(*id).map_or_else(
                || arrow::array::new_null_array(&arrow_type(ty), block.rows()),
                |cells| cells.to_array(ty),
            )
        })
        .collect();
    let no_positions = || StoreError::Encode { detail: "rows without positions".to_owned() };
    arrays.push(Arc::new(block.positions().ok_or_else(no_positions)?.clone()));
    RecordBatch::try_new(Arc::clone(schema), arrays)
        .map_err(|error| StoreError::Encode { detail: error.to_string() })
}

/// Fields with few distinct values.
fn is_dictionary(dataset: Dataset, id: FieldId) -> bool {
    match dataset {
        Dataset::Logs => [
            logs::LEVEL,
            logs::SERVICE,
            logs::INSTANCE,
            logs::REGION,
            logs::ENVIRONMENT,
            logs::TRACE_FLAGS,
            logs::CUSTOMER_ID,
            logs::CLASSIFICATION,
            logs::RETENTION_POLICY,
            logs::CATEGORY,
            logs::SOURCE_IP,
            logs::HOST,
            logs::VERSION,
            logs::TEMPLATE_ID,
            logs::ATTRIBUTES,
            logs::DURATION_MS,
        ]
        .contains(&id),
        Dataset::Metrics => [metrics::SERVICE, metrics::NAME, metrics::LABELS, metrics::HOST].contains(&id),
        Dataset::Spans => [
            spans::SERVICE,
            spans::NAME,
            spans::KIND,
            spans::STATUS,
            spans::PEER_SERVICE,
            spans::HOST,
            spans::INSTANCE,
            spans::ENVIRONMENT,
            spans::SCOPE,
        ]
        .contains(&id),
    }
}

fn properties(dataset: Dataset) -> WriterProperties {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a zstd level"));
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(zstd)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(COLUMN_PAGE_ROWS)
        .set_write_batch_size(PAGE_LOOK_ROWS)
        .set_data_page_size_limit(PAGE_BYTES_MAX)
        .set_created_by(concat!("heimdall ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![
            KeyValue::new("heimdall.sort".to_owned(), "service,template_id,timestamp".to_owned()),
            KeyValue::new(
                "heimdall.levels".to_owned(),
                "1=trace 2=debug 3=info 4=warn 5=error 6=fatal".to_owned(),
            ),
        ]));
    for (code, field) in (0_u8..).zip(dataset.fields()) {
        let column = ColumnPath::from(field.name);
        builder = match field.ty {
            FieldType::Time => builder.set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
            FieldType::Id16 | FieldType::Id8 => builder
                .set_column_compression(column.clone(), Compression::UNCOMPRESSED)
                .set_column_encoding(column.clone(), Encoding::PLAIN)
                .set_column_data_page_size_limit(column, ID_PAGE_BYTES),
            _ if is_dictionary(dataset, FieldId(code)) => builder.set_column_dictionary_enabled(column, true),
            FieldType::Text | FieldType::Json => builder
                .set_column_encoding(column.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
                .set_column_data_page_size_limit(column, TEXT_PAGE_BYTES),
            FieldType::Int | FieldType::Float | FieldType::Level => builder,
        };
    }
    if dataset == Dataset::Logs {
        let message = ColumnPath::from(dataset.field(logs::MESSAGE).name);
        builder = builder.set_column_data_page_size_limit(message, MESSAGE_PAGE_BYTES);
    }
    builder
        .set_column_statistics_enabled(ColumnPath::from("timestamp"), EnabledStatistics::Page)
        .set_column_encoding(ColumnPath::from(POSITION), Encoding::DELTA_BINARY_PACKED)
        .build()
}

const _: () = assert!(GROUP_ROWS.is_multiple_of(PAGE_ROWS));
const _: () = assert!(schema::TIMESTAMP.0 == 0);

#[cfg(test)]
mod tests;
