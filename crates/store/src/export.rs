//! Rows as a Parquet file that any program reads: plain columns, ids and levels as text, times as timestamps in UTC.
//!
//! The files of segments are Parquet too, for our own reader: ids are bytes, levels are numbers, `id` and `template` are not
//! written. An export is for others. Its columns are always the same: `id`, every canonical field by its name, and of logs
//! `template`; what only some records have is in `attributes`, as JSON text. Rows are in no particular order.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, RecordBatch, StringArray, StringBuilder, TimestampNanosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use foldhash::HashMap;
use heimdall_model::matcher::to_hex;
use heimdall_model::{Dataset, FieldId, FieldType};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::block::{RowBlock, arrow_type};
use crate::scan::{Control, ScanError, ScanRequest, ScanStats};
use crate::store::Store;

/// Rows of a row group: memory holds one, encoded.
const GROUP_ROWS: usize = 256 << 10;

/// Why rows could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// They could not be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// They could not be written.
    #[error("could not write the export")]
    Write(#[from] ParquetError),
}

impl Store {
    /// Writes the passing rows, all fields of them, to `out` as one Parquet file; tells how many they are
    /// ([`ScanStats::rows_matched`]). What was written when it fails is of no use.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export(
        self: &Arc<Self>,
        request: &ScanRequest,
        control: &Control,
        out: impl Write + Send,
    ) -> Result<ScanStats, ExportError> {
        let request = ScanRequest { fields: None, ..request.clone() };
        let schema = schema(request.dataset);
        let zstd = ZstdLevel::try_new(3).expect("3 is a zstd level");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(zstd))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by(concat!("heimdall ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let mut writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?;
        let mut templates = HashMap::default();
        let mut failed = None;
        let stats = self.scan(&request, control, &mut |block| {
            let columns = self.columns(&request, block, &mut templates);
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(ParquetError::from);
            match batch.and_then(|batch| writer.write(&batch)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let mut out = writer.into_inner()?;
        out.flush().map_err(ParquetError::from)?;
        Ok(stats)
    }

    fn columns(
        &self,
        request: &ScanRequest,
        block: &RowBlock,
        templates: &mut HashMap<u32, Option<Arc<str>>>,
    ) -> Vec<ArrayRef> {
        let rows = 0..block.rows();
        let mut columns: Vec<ArrayRef> = Vec::new();
        columns.push(texts(rows.clone().map(|row| Some(block.id(row).to_string()))));
        for (code, field) in (0_u8..).zip(request.dataset.fields()) {
            columns.push(column(block, FieldId(code), field.ty));
        }
        if request.dataset == Dataset::Logs {
            let mut text_of = |row| {
                let id = block.template_id(row)?;
                let known = templates.entry(id).or_insert_with(|| self.template_text(&request.tenant, id));
                known.clone()
            };
            columns.push(texts(rows.map(&mut text_of)));
        }
        columns
    }
}

fn schema(dataset: Dataset) -> Arc<Schema> {
    let mut fields = vec![Field::new("id", DataType::Utf8, false)];
    fields.extend(dataset.fields().iter().map(|field| Field::new(field.name, shown_type(field.ty), true)));
    if dataset == Dataset::Logs {
        fields.push(Field::new("template", DataType::Utf8, true));
    }
    Arc::new(Schema::new(fields))
}

fn shown_type(ty: FieldType) -> DataType {
    match ty {
        FieldType::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        FieldType::Level | FieldType::Id16 | FieldType::Id8 => DataType::Utf8,
        _ => arrow_type(ty),
    }
}

fn column(block: &RowBlock, id: FieldId, ty: FieldType) -> ArrayRef {
    let rows = 0..block.rows();
    let Some(cells) = block.cells(id) else { return new_null_array(&shown_type(ty), rows.len()) };
    match ty {
        FieldType::Level => texts(rows.map(|row| block.level(row).map(|level| level.as_str()))),
        FieldType::Id16 | FieldType::Id8 => texts(rows.map(|row| block.bytes(id, row).map(to_hex))),
        FieldType::Time => {
            let times: TimestampNanosecondArray = rows.map(|row| block.int(id, row)).collect();
            Arc::new(times.with_timezone("UTC"))
        }
        FieldType::Text | FieldType::Json => {
            let plain = cells.texts().unwrap_or_else(|| StringArray::new_null(rows.len()));
            Arc::new(plain)
        }
        FieldType::Int | FieldType::Float => cells.to_array(ty),
    }
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}
