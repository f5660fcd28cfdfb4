//! Segments: immutable, sorted Parquet files of one tenant's dataset, each with a sidecar.
//! Format: docs/formats/segment.md.
//!
//! Invariants:
//! - rows are sorted by (service, template, time) and never change;
//! - both files are whole and synced before a manifest names them;
//! - the files of a segment stay until its last reader is gone.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field as ArrowField, Schema};
use foldhash::{HashMap, HashSet};
use heimdall_journal::disk::Disk;
use heimdall_model::schema::{self, logs, metrics};
use heimdall_model::{Dataset, FieldId, FieldType, Tenant, Timestamp};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, PageIndexPolicy};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::block::{Cells, RowBlock, arrow_type};
use crate::memtable::Chunk;
use crate::range_file::RangeFile;
use crate::rollup::Rollup;
use crate::sidecar::{BlockCache, LayoutBuilder, PAGE_ROWS, SidecarFile, SidecarWriter};
use crate::store::StoreError;

/// Rows of one row group, and the most rows of one segment.
pub(crate) const SEGMENT_ROWS_MAX: usize = 1 << 20;
/// Rows written, and read, at a time.
const SLICE_ROWS: usize = 16_384;
const READ_ROWS: usize = 8_192;
/// Pages are cut by rows; this only has to be out of the way.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Name of the column that holds journal positions.
const POSITION: &str = "_position";

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
    /// Bytes of the sidecar.
    pub sidecar_bytes: u64,
    /// Bytes of the rows in memory, when they were written.
    pub memory_bytes: u64,
}

impl SegmentMeta {
    /// File name of the Parquet file: tenant, dataset, day and id, so that `acme.logs.2026-02-*.parquet` means what it says.
    pub(crate) fn parquet_name(&self) -> String {
        format!("{}.parquet", self.stem())
    }

    /// File name of the sidecar.
    pub(crate) fn sidecar_name(&self) -> String {
        format!("{}.hidx", self.stem())
    }

    fn stem(&self) -> String {
        let time = self.min.to_string();
        let day = time.get(..10).unwrap_or("0000-00-00");
        format!("{}.{}.{day}.{:016x}", self.table.tenant, self.table.dataset, self.id)
    }
}

/// A segment that can be read.
pub(crate) struct Segment {
    pub meta: SegmentMeta,
    file: RangeFile,
    sidecar: SidecarFile,
    disk: Arc<dyn Disk>,
    footer: OnceLock<ArrowReaderMetadata>,
    retired: AtomicBool,
}

impl Drop for Segment {
    /// The last reader of a segment that no manifest names removes its files; after a crash the next start does.
    fn drop(&mut self) {
        if !*self.retired.get_mut() {
            return;
        }
        for path in [self.file.path(), self.sidecar.path()] {
            if let Err(error) = self.disk.remove(path) {
                tracing::warn!(file = %path.display(), %error, "could not remove a segment's file");
            }
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Segment {
    /// Opens the file of a segment that the manifest names; footer and sidecar are read when first needed.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        meta: SegmentMeta,
        cache: &Arc<BlockCache>,
    ) -> Result<Segment, StoreError> {
        let file = RangeFile::open(disk.as_ref(), &dir.join(meta.parquet_name()), meta.bytes)?;
        let path = dir.join(meta.sidecar_name());
        let sidecar = SidecarFile::new(disk, path, meta.sidecar_bytes, meta.rows, cache);
        let disk = Arc::clone(disk);
        Ok(Segment { meta, file, sidecar, disk, footer: OnceLock::new(), retired: AtomicBool::new(false) })
    }

    /// Lets the files go with the last reader: no manifest names the segment any more.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    fn corrupt(&self, detail: &dyn std::fmt::Display) -> StoreError {
        StoreError::Corrupt { path: self.file.path().to_owned(), detail: detail.to_string() }
    }

    fn footer(&self) -> Result<&ArrowReaderMetadata, StoreError> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer);
        }
        let options = ArrowReaderOptions::new()
            .with_offset_index_policy(PageIndexPolicy::Required)
            .with_column_index_policy(PageIndexPolicy::Skip);
        let footer = ArrowReaderMetadata::load(&self.file, options).map_err(|error| self.corrupt(&error))?;
        Ok(self.footer.get_or_init(|| footer))
    }

    /// What is known of the rows without reading them.
    pub(crate) fn sidecar(&self) -> &SidecarFile {
        &self.sidecar
    }

    /// Bytes read from both files since they were opened.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.file.bytes_read() + self.sidecar.bytes_read()
    }

    /// Reads `fields` (and timestamps and positions) of the rows in `ranges`, in row order. `each` gets every block
    /// with the row number of each of its rows.
    pub(crate) fn read(
        &self,
        ranges: &[Range<usize>],
        fields: Option<&[FieldId]>,
        each: &mut dyn FnMut(RowBlock, &[u32]) -> std::ops::ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let footer = self.footer()?.clone();
        let rows = usize::try_from(self.meta.rows).unwrap_or(usize::MAX);
        let dataset = self.meta.table.dataset;
        let wanted = |name: &str| {
            name == POSITION
                || name == "timestamp"
                || fields.is_none_or(|fields| fields.iter().any(|id| dataset.field(*id).name == name))
        };
        let names: Vec<&str> = footer
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|n| wanted(n))
            .collect();
        let mask = ProjectionMask::columns(footer.parquet_schema(), names.iter().copied());
        let selection = RowSelection::from_consecutive_ranges(ranges.iter().cloned(), rows);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), footer.clone())
            .with_batch_size(READ_ROWS)
            .with_projection(mask)
            .with_row_selection(selection)
            .build()
            .map_err(|error| self.corrupt(&error))?;
        let mut numbers = ranges.iter().cloned().flatten();
        let mut rows_of = Vec::with_capacity(READ_ROWS);
        for batch in reader {
            let batch = batch.map_err(|error| self.corrupt(&error))?;
            rows_of.clear();
            rows_of.extend(
                numbers.by_ref().take(batch.num_rows()).map(|n| u32::try_from(n).expect("rows fit 32 bits")),
            );
            let block =
                block_of(dataset, &batch).ok_or_else(|| self.corrupt(&"a column has an unexpected type"))?;
            if each(block, &rows_of).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn block_of(dataset: Dataset, batch: &RecordBatch) -> Option<RowBlock> {
    let positions = batch.column_by_name(POSITION)?.as_any().downcast_ref::<UInt64Array>()?.clone();
    let columns = dataset.fields().iter().map(|field| match batch.column_by_name(field.name) {
        None => Some(None),
        Some(array) => Cells::from_array(array, field.ty).map(Some),
    });
    Some(RowBlock::new(dataset, positions, columns.collect::<Option<_>>()?))
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

/// The bytes of a segment's two files, and what the manifest will say of it.
pub(crate) struct Encoded {
    pub meta: SegmentMeta,
    pub parquet: Vec<u8>,
    pub sidecar: Vec<u8>,
}

/// Sorts the rows of some chunks and encodes them as one segment.
pub(crate) fn encode(id: u64, table: &TableKey, chunks: &[Arc<Chunk>]) -> Result<Encoded, StoreError> {
    let blocks: Vec<&RowBlock> = chunks.iter().map(|chunk| &chunk.block).collect();
    let picks = sorted(&blocks);
    debug_assert!(picks.len() <= SEGMENT_ROWS_MAX);
    let columns: Vec<FieldId> = (0_u8..)
        .map(FieldId)
        .take(table.dataset.fields().len())
        .filter(|id| blocks.iter().any(|block| block.cells(*id).is_some()))
        .collect();
    let schema = arrow_schema(table.dataset, &columns);
    let failed = |error: ParquetError| StoreError::Encode { detail: error.to_string() };
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties(table.dataset)))
        .map_err(failed)?;
    let mut layout = LayoutBuilder::default();
    for slice in picks.chunks(SLICE_ROWS) {
        let block = RowBlock::interleave(&blocks, slice);
        layout.add(&block);
        writer.write(&record_batch(&block, &columns, &schema)?).map_err(failed)?;
    }
    let parquet = writer.into_inner().map_err(failed)?;
    let mut sidecar = SidecarWriter::default();
    sidecar.put(&layout.runs);
    sidecar.put(&layout.zones);
    sidecar.put(&Rollup::merge(chunks.iter().map(|chunk| &chunk.rollup)));
    let sidecar = sidecar.finish();
    let meta = SegmentMeta {
        id,
        table: table.clone(),
        rows: picks.len() as u64,
        min: chunks.iter().map(|chunk| chunk.min).min().unwrap_or_default(),
        max: chunks.iter().map(|chunk| chunk.max).max().unwrap_or_default(),
        arrived: chunks.iter().map(|chunk| chunk.arrived).max().unwrap_or_default(),
        bytes: parquet.len() as u64,
        sidecar_bytes: sidecar.len() as u64,
        memory_bytes: chunks.iter().map(|chunk| chunk.bytes as u64).sum(),
    };
    Ok(Encoded { meta, parquet, sidecar })
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
    arrays.push(Arc::new(block.positions().clone()));
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
    }
}

fn properties(dataset: Dataset) -> WriterProperties {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a zstd level"));
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(zstd)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(SEGMENT_ROWS_MAX))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
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
            FieldType::Id16 | FieldType::Id8 => {
                builder.set_column_compression(column, Compression::UNCOMPRESSED)
            }
            _ if is_dictionary(dataset, FieldId(code)) => builder.set_column_dictionary_enabled(column, true),
            FieldType::Text | FieldType::Json => {
                builder.set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY)
            }
            FieldType::Int | FieldType::Float | FieldType::Level => builder,
        };
    }
    builder
        .set_column_statistics_enabled(ColumnPath::from("timestamp"), EnabledStatistics::Page)
        .set_column_encoding(ColumnPath::from(POSITION), Encoding::DELTA_BINARY_PACKED)
        .build()
}

const _: () = assert!(SEGMENT_ROWS_MAX.is_multiple_of(PAGE_ROWS));
const _: () = assert!(schema::TIMESTAMP.0 == 0);
