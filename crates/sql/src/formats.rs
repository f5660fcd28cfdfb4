//! Answers of any language as Arrow IPC streams, as Parquet files and as CSV.

use std::io::Write;
use std::sync::Arc;

use arrow::csv::WriterBuilder;
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use heimdall_query::Answer;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::answer::batch_of;
use crate::rows::arrow_type;

/// Columns by their type: times in ns UTC, numbers, everything else as text.
fn batch(answer: &Answer) -> Result<RecordBatch, ArrowError> {
    let field = |column: &heimdall_query::Column| Field::new(&column.name, arrow_type(column.ty), true);
    let schema = Arc::new(Schema::new(answer.columns.iter().map(field).collect::<Vec<_>>()));
    batch_of(&schema, &answer.rows)
}

/// Writes an answer as an Arrow IPC stream of one batch. What the answer is of (`partial`, warnings, notes) is in the
/// metadata of the schema under `stats`, as JSON.
///
/// # Errors
/// The writer's.
pub fn write_arrow(answer: &Answer, out: impl Write) -> Result<(), ArrowError> {
    let batch = batch(answer)?;
    let stats = serde_json::to_string(&answer.stats).unwrap_or_default();
    let schema = batch.schema().as_ref().clone().with_metadata([("stats".to_owned(), stats)].into());
    let schema = Arc::new(schema);
    let mut writer = StreamWriter::try_new(out, &schema)?;
    writer.write(&batch.with_schema(schema)?)?;
    writer.finish()
}

/// Writes an answer as a Parquet file, compressed with zstd, that any tool reads. What the answer is of (`partial`, warnings,
/// notes) is in the metadata of the file under `stats`, as JSON.
///
/// # Errors
/// The writer's.
pub fn write_parquet(answer: &Answer, out: impl Write + Send) -> Result<(), ParquetError> {
    let batch = batch(answer)?;
    let stats = serde_json::to_string(&answer.stats).unwrap_or_default();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("heimdall ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![KeyValue::new("stats".to_owned(), stats)]))
        .build();
    let mut writer = ArrowWriter::try_new(out, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close().map(|_| ())
}

/// Writes an answer as CSV with a line of names; absent values are empty.
///
/// # Errors
/// The writer's.
pub fn write_csv(answer: &Answer, out: impl Write) -> Result<(), ArrowError> {
    let mut writer = WriterBuilder::new().with_header(true).build(out);
    writer.write(&batch(answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::ipc::reader::StreamReader;
    use heimdall_model::{Level, Timestamp, Value};
    use heimdall_query::{AnswerStats, Column, ColumnType, Strategy};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn every_type_goes_out_and_comes_back() {
        let columns = [
            ("t", ColumnType::Time),
            ("n", ColumnType::Int),
            ("x", ColumnType::Float),
            ("l", ColumnType::Level),
            ("a", ColumnType::Any),
        ];
        let columns = columns.map(|(name, ty)| Column { name: name.to_owned(), ty }).to_vec();
        let rows = vec![
            vec![
                Value::Time(Timestamp(1_772_366_400_000_000_001)),
                Value::Int(-3),
                Value::Float(0.5),
                Value::Level(Level::Warn),
                Value::Text("a \"quoted\", text".into()),
            ],
            vec![
                Value::Null,
                Value::Null,
                Value::Null,
                Value::Null,
                Value::Json(serde_json::json!({"k": [1]})),
            ],
        ];
        let answer = Answer { columns, rows, stats: AnswerStats::new(Strategy::Sql) };
        let mut csv = Vec::new();
        write_csv(&answer, &mut csv).expect("memory takes it");
        assert_eq!(
            String::from_utf8(csv).expect("UTF-8"),
            "t,n,x,l,a\n2026-03-01T12:00:00.000000001Z,-3,0.5,warn,\"a \"\"quoted\"\", text\"\n,,,,\"{\"\"k\"\":[1]}\"\n"
        );
        let mut arrow = Vec::new();
        write_arrow(&answer, &mut arrow).expect("memory takes it");
        let mut reader = StreamReader::try_new(arrow.as_slice(), None).expect("a stream");
        assert!(reader.schema().metadata()["stats"].contains("\"partial\":false"));
        let batch = reader.next().expect("a batch").expect("reads");
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 5));
        let mut parquet = Vec::new();
        write_parquet(&answer, &mut parquet).expect("memory takes it");
        let file = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(parquet)).expect("a file");
        let metadata = file.metadata().file_metadata().key_value_metadata().expect("metadata");
        assert!(metadata.iter().any(|pair| pair.key == "stats" && pair.value.is_some()));
        let batches: Vec<_> = file.build().expect("it reads").collect::<Result<_, _>>().expect("it reads");
        assert_eq!(batches, [super::batch(&answer).expect("a batch")]);
    }
}
