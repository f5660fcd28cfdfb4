//! A dataset as a table: its columns, and blocks of rows as record batches.
//!
//! Types: times `Timestamp(ns, UTC)`, levels, ids and JSON as text, numbers as `Int64` and `Float64`. Besides the canonical
//! fields a log record has `id` and `template`, a sample `id`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringBuilder, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, UInt8Type};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::DataFusionError;
use heimdall_model::matcher::to_hex;
use heimdall_model::{Dataset, FieldId, FieldType, Level, Target, Tenant, schema};
use heimdall_store::{RowBlock, Store};

/// The columns of a dataset, in the order of the table.
pub(crate) fn targets(dataset: Dataset) -> Vec<Target> {
    let fields = (0_u8..).zip(dataset.fields()).map(|(code, _)| Target::Field(FieldId(code)));
    let more = match dataset {
        Dataset::Logs => vec![Target::Template, Target::Id],
        Dataset::Metrics | Dataset::Spans => vec![Target::Id],
    };
    fields.chain(more).collect()
}

/// The schema of a dataset's table.
pub(crate) fn schema_of(dataset: Dataset) -> SchemaRef {
    let field = |target: Target| {
        let nullable = !matches!(target, Target::Id | Target::Field(schema::TIMESTAMP | schema::OBSERVED));
        Field::new(target.name(dataset), type_of(&target, dataset), nullable)
    };
    Arc::new(Schema::new(targets(dataset).into_iter().map(field).collect::<Vec<_>>()))
}

/// The column of this name.
pub(crate) fn target_of(name: &str, dataset: Dataset) -> Option<Target> {
    targets(dataset).into_iter().find(|target| target.name(dataset) == name)
}

/// The type of a column.
pub(crate) fn type_of(target: &Target, dataset: Dataset) -> DataType {
    match target.ty(dataset) {
        Some(FieldType::Time) => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Some(FieldType::Int) => DataType::Int64,
        Some(FieldType::Float) => DataType::Float64,
        _ => DataType::Utf8,
    }
}

/// Fields the store must hand out for these columns.
pub(crate) fn fields_of(targets: &[Target]) -> Vec<FieldId> {
    let field = |target: &Target| match target {
        Target::Field(id) => Some(*id),
        Target::Template => Some(schema::logs::TEMPLATE_ID),
        Target::Id | Target::Attribute(_) => None,
    };
    let mut fields: Vec<FieldId> = targets.iter().filter_map(field).collect();
    fields.sort_unstable();
    fields.dedup();
    fields
}

/// Makes record batches of blocks.
pub(crate) struct Batches {
    pub(crate) store: Arc<Store>,
    pub(crate) tenant: Tenant,
    pub(crate) targets: Vec<Target>,
    pub(crate) schema: SchemaRef,
    templates: HashMap<u32, Option<Arc<str>>>,
}

impl Batches {
    pub(crate) fn new(store: Arc<Store>, tenant: Tenant, targets: Vec<Target>, schema: SchemaRef) -> Batches {
        Batches { store, tenant, targets, schema, templates: HashMap::new() }
    }

    pub(crate) fn make(&mut self, block: &RowBlock) -> Result<RecordBatch, DataFusionError> {
        let targets = self.targets.clone();
        let columns = targets.iter().map(|target| self.column(target, block)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(block.rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    fn column(&mut self, target: &Target, block: &RowBlock) -> ArrayRef {
        let rows = 0..block.rows();
        match target {
            Target::Id => texts(rows.map(|row| Some(block.id(row).to_string()))),
            Target::Template => {
                let mut builder = StringBuilder::new();
                for row in rows {
                    let text = block.template_id(row).and_then(|id| self.template(id));
                    builder.append_option(text);
                }
                Arc::new(builder.finish())
            }
            Target::Field(field) => column(*field, block),
            Target::Attribute(_) => new_null_array(&DataType::Utf8, block.rows()),
        }
    }

    fn template(&mut self, id: u32) -> Option<Arc<str>> {
        let (store, tenant) = (&self.store, &self.tenant);
        self.templates.entry(id).or_insert_with(|| store.template_text(tenant, id)).clone()
    }
}

fn column(field: FieldId, block: &RowBlock) -> ArrayRef {
    let target = Target::Field(field);
    let Some(array) = block.array(field) else {
        return new_null_array(&type_of(&target, block.dataset()), block.rows());
    };
    match block.dataset().field(field).ty {
        FieldType::Level => {
            let codes = array.as_primitive::<UInt8Type>();
            texts(codes.iter().map(|code| code.and_then(Level::from_code).map(Level::as_str)))
        }
        FieldType::Id16 | FieldType::Id8 => {
            texts(array.as_fixed_size_binary().iter().map(|bytes| bytes.map(to_hex)))
        }
        _ => array,
    }
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}
