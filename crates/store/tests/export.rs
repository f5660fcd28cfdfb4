//! An export holds what a search gives, in columns any program understands.

use std::fs::File;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, TimestampNanosecondType};
use heimdall_journal::disk::ForgetfulDisk;
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, Filter, Level, Literal, Test};
use heimdall_store::{Control, Order, ScanRequest, TimeRange};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

mod reference;
use reference::{add, batch, config, open, tenant};

#[test]
fn an_export_holds_every_field_of_every_passing_row() {
    let store = open(&ForgetfulDisk::default(), config());
    for seq in 1..=3 {
        add(&store, &batch(seq, seq, 400));
        // The last one stays in memory.
        if seq < 3 {
            assert!(store.freeze(seq, Vec::new));
            store.commit_frozen().expect("commits");
        }
    }
    let filter = Filter::field(logs::LEVEL, Test::Equals(Literal::new("error")));
    let request =
        ScanRequest { tenant: tenant(), dataset: Dataset::Logs, range: TimeRange::ALL, filter, fields: None };
    let control = Control::default();
    let (hits, _) = store.search(&request, Order::OldestFirst, 10_000, &control).expect("searches");
    assert!(hits.len() > 50, "{}", hits.len());
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("rows.parquet");
    let stats = store.export(&request, &control, File::create(&path).expect("creates")).expect("exports");
    assert_eq!(stats.rows_matched, hits.len() as u64);
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(File::open(&path).expect("opens")).expect("Parquet");
    let types = reader.schema().fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
    let plain = |ty: &DataType| {
        matches!(ty, DataType::Utf8 | DataType::Int64 | DataType::Float64 | DataType::Timestamp(_, Some(_)))
    };
    assert!(types.iter().all(plain), "{types:?}");
    let mut exported = Vec::new();
    for batch in reader.build().expect("reads") {
        let batch = batch.expect("reads");
        let text = |name: &str, row: usize| {
            let column = batch.column_by_name(name).expect("is there").as_string::<i32>().clone();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let times = batch.column_by_name("timestamp").expect("is there");
        for row in 0..batch.num_rows() {
            let time = times.as_primitive::<TimestampNanosecondType>().value(row);
            let texts = ["id", "level", "service", "message", "trace_id", "attributes", "template"];
            exported.push((time, texts.map(|name| text(name, row))));
        }
    }
    let mut expected: Vec<_> = hits
        .iter()
        .map(|hit| {
            let (block, row) = (&hit.block, hit.row);
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let template = block.template_id(row).and_then(|id| store.template_text(&tenant(), id));
            let texts = [
                Some(block.id(row).to_string()),
                owned(block.level(row).map(Level::as_str)),
                owned(block.service(row)),
                owned(block.text(logs::MESSAGE, row)),
                block.bytes(logs::TRACE_ID, row).map(hex),
                owned(block.text(logs::ATTRIBUTES, row)),
                owned(template.as_deref()),
            ];
            (block.timestamp(row).0, texts)
        })
        .collect();
    expected.sort_unstable();
    exported.sort_unstable();
    assert_eq!(exported, expected);
}
