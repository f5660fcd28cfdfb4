//! Rows in Arrow columns: what the memtable holds, what a segment reads into, and what a scan hands out.
//!
//! Invariants:
//! - every present column has [`RowBlock::rows`] rows, in the Arrow type of its field;
//! - positions are always present: with the timestamp they give each row its id.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, StringArray, UInt8Array,
    UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute;
use arrow::datatypes::{DataType, TimeUnit};
use heimdall_model::attributes::Attribute;
use heimdall_model::batch::{Column, Validity};
use heimdall_model::matcher::to_hex;
use heimdall_model::schema::{self, logs};
use heimdall_model::{
    Batch, Dataset, FieldId, FieldType, Level, Position, RecordId, Target, Timestamp, Value,
};

/// Columns of one field.
#[derive(Debug, Clone)]
pub(crate) enum Cells {
    Int(Int64Array),
    Float(Float64Array),
    Byte(UInt8Array),
    Text(StringArray),
    Fixed(FixedSizeBinaryArray),
}

impl Cells {
    pub(crate) fn array(&self) -> &dyn Array {
        match self {
            Cells::Int(array) => array,
            Cells::Float(array) => array,
            Cells::Byte(array) => array,
            Cells::Text(array) => array,
            Cells::Fixed(array) => array,
        }
    }

    /// Takes over an Arrow array; `None` when its type is not the field's.
    pub(crate) fn from_array(array: &ArrayRef, ty: FieldType) -> Option<Cells> {
        let any = array.as_any();
        Some(match ty {
            FieldType::Time => {
                let ns = compute::cast(array, &DataType::Timestamp(TimeUnit::Nanosecond, None)).ok()?;
                let ns = compute::cast(&ns, &DataType::Int64).ok()?;
                Cells::Int(ns.as_any().downcast_ref::<Int64Array>()?.clone())
            }
            FieldType::Int => Cells::Int(any.downcast_ref::<Int64Array>()?.clone()),
            FieldType::Float => Cells::Float(any.downcast_ref::<Float64Array>()?.clone()),
            FieldType::Level => Cells::Byte(any.downcast_ref::<UInt8Array>()?.clone()),
            FieldType::Text | FieldType::Json => Cells::Text(any.downcast_ref::<StringArray>()?.clone()),
            FieldType::Id16 | FieldType::Id8 => {
                Cells::Fixed(any.downcast_ref::<FixedSizeBinaryArray>()?.clone())
            }
        })
    }

    /// The array as it is written to a segment: times carry their unit and zone.
    pub(crate) fn to_array(&self, ty: FieldType) -> ArrayRef {
        match (self, ty) {
            (Cells::Int(array), FieldType::Time) => {
                let times = arrow::array::TimestampNanosecondArray::new(
                    array.values().clone(),
                    array.nulls().cloned(),
                );
                Arc::new(times.with_timezone("UTC"))
            }
            (cells, _) => arrow::array::make_array(cells.array().to_data()),
        }
    }
}

/// The Arrow type a field has in a segment.
pub(crate) fn arrow_type(ty: FieldType) -> DataType {
    match ty {
        FieldType::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        FieldType::Int => DataType::Int64,
        FieldType::Float => DataType::Float64,
        FieldType::Level => DataType::UInt8,
        FieldType::Text | FieldType::Json => DataType::Utf8,
        FieldType::Id16 => DataType::FixedSizeBinary(16),
        FieldType::Id8 => DataType::FixedSizeBinary(8),
    }
}

/// Rows of one dataset in columns.
#[derive(Debug, Clone)]
pub struct RowBlock {
    dataset: Dataset,
    positions: UInt64Array,
    columns: Vec<Option<Cells>>,
}

impl RowBlock {
    pub(crate) fn new(dataset: Dataset, positions: UInt64Array, columns: Vec<Option<Cells>>) -> RowBlock {
        debug_assert!(columns.iter().flatten().all(|cells| cells.array().len() == positions.len()));
        RowBlock { dataset, positions, columns }
    }

    /// Takes a batch over; `positions` and `observed` hold one entry per row.
    pub(crate) fn from_batch(batch: Batch, positions: Vec<u64>, observed: Vec<i64>) -> RowBlock {
        let (dataset, rows) = (batch.dataset, batch.rows());
        debug_assert_eq!(rows, positions.len());
        let mut columns: Vec<Option<Cells>> =
            batch.into_columns().into_iter().map(|column| column.map(cells)).collect();
        let observed_at = schema::OBSERVED.index();
        let time_at = schema::TIMESTAMP.index();
        columns[time_at] = Some(match columns[time_at].take() {
            Some(Cells::Int(times)) if times.null_count() > 0 => {
                Cells::Int(times.iter().zip(&observed).map(|(t, o)| t.unwrap_or(*o)).collect())
            }
            Some(cells) => cells,
            None => Cells::Int(observed.clone().into()),
        });
        columns[observed_at] = Some(Cells::Int(observed.into()));
        RowBlock::new(dataset, positions.into(), columns)
    }

    /// Which schema.
    #[must_use]
    pub fn dataset(&self) -> Dataset {
        self.dataset
    }

    /// Rows held.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    pub(crate) fn cells(&self, id: FieldId) -> Option<&Cells> {
        self.columns.get(id.index())?.as_ref()
    }

    pub(crate) fn positions(&self) -> &UInt64Array {
        &self.positions
    }

    /// Bytes in memory.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.columns.iter().flatten().map(|cells| cells.array().get_array_memory_size()).sum::<usize>()
            + self.positions.len() * 8
    }

    /// The rows whose bit is set.
    pub(crate) fn filtered(&self, mask: &BooleanArray) -> RowBlock {
        let keep = |array: &dyn Array| compute::filter(array, mask).expect("mask has one bit per row");
        self.mapped(keep)
    }

    /// Only these fields (and what the ids need).
    pub(crate) fn projected(&self, fields: &[FieldId]) -> RowBlock {
        let keep = |index: usize| {
            index == schema::TIMESTAMP.index() || fields.iter().any(|field| field.index() == index)
        };
        let columns = self.columns.iter().enumerate();
        RowBlock {
            dataset: self.dataset,
            positions: self.positions.clone(),
            columns: columns.map(|(i, cells)| cells.clone().filter(|_| keep(i))).collect(),
        }
    }

    fn mapped(&self, f: impl Fn(&dyn Array) -> ArrayRef) -> RowBlock {
        let positions = f(&self.positions);
        let positions = positions.as_any().downcast_ref::<UInt64Array>().expect("kernels keep the type");
        let map = |cells: &Cells| -> Cells {
            let array = f(cells.array());
            let ty = match cells {
                Cells::Int(_) => FieldType::Int,
                Cells::Float(_) => FieldType::Float,
                Cells::Byte(_) => FieldType::Level,
                Cells::Text(_) => FieldType::Text,
                Cells::Fixed(_) => FieldType::Id16,
            };
            Cells::from_array(&array, ty).expect("kernels keep the type")
        };
        RowBlock {
            dataset: self.dataset,
            positions: positions.clone(),
            columns: self.columns.iter().map(|cells| cells.as_ref().map(map)).collect(),
        }
    }

    /// Rows picked from several blocks, in the order of `picks` (block, row).
    pub(crate) fn interleave(blocks: &[&RowBlock], picks: &[(usize, usize)]) -> RowBlock {
        let dataset = blocks[0].dataset;
        let gather = |arrays: &[&dyn Array]| {
            compute::interleave(arrays, picks).expect("arrays of one field have one type")
        };
        let positions: Vec<&dyn Array> = blocks.iter().map(|block| &block.positions as &dyn Array).collect();
        let positions = gather(&positions);
        let positions =
            positions.as_any().downcast_ref::<UInt64Array>().expect("kernels keep the type").clone();
        let columns = (0_u8..).zip(dataset.fields()).map(|(code, field)| {
            let id = FieldId(code);
            blocks.iter().find_map(|block| block.cells(id))?;
            let nulls: Vec<Option<ArrayRef>> = blocks
                .iter()
                .map(|block| block.cells(id).is_none().then(|| empty(field.ty, block.rows())))
                .collect();
            let arrays: Vec<&dyn Array> = blocks
                .iter()
                .zip(&nulls)
                .map(|(block, null)| match (block.cells(id), null) {
                    (Some(cells), _) => cells.array(),
                    (None, Some(null)) => null.as_ref(),
                    (None, None) => unreachable!("one of the two is set"),
                })
                .collect();
            Cells::from_array(&gather(&arrays), in_memory(field.ty))
        });
        RowBlock { dataset, positions, columns: columns.collect() }
    }

    /// Event time of a row.
    #[must_use]
    pub fn timestamp(&self, row: usize) -> Timestamp {
        Timestamp(self.int(schema::TIMESTAMP, row).unwrap_or(0))
    }

    /// Journal position of a row.
    #[must_use]
    pub fn position(&self, row: usize) -> Position {
        Position(self.positions.value(row))
    }

    /// Record id of a row.
    #[must_use]
    pub fn id(&self, row: usize) -> RecordId {
        RecordId::new(self.timestamp(row), self.position(row))
    }

    /// A `Text` or `Json` field.
    #[must_use]
    pub fn text(&self, id: FieldId, row: usize) -> Option<&str> {
        match self.cells(id)? {
            Cells::Text(array) => array.is_valid(row).then(|| array.value(row)),
            _ => None,
        }
    }

    /// An `Int` or `Time` field.
    #[must_use]
    pub fn int(&self, id: FieldId, row: usize) -> Option<i64> {
        match self.cells(id)? {
            Cells::Int(array) => array.is_valid(row).then(|| array.value(row)),
            _ => None,
        }
    }

    /// A `Float` field.
    #[must_use]
    pub fn float(&self, id: FieldId, row: usize) -> Option<f64> {
        match self.cells(id)? {
            Cells::Float(array) => array.is_valid(row).then(|| array.value(row)),
            _ => None,
        }
    }

    /// Level of a log record.
    #[must_use]
    pub fn level(&self, row: usize) -> Option<Level> {
        if self.dataset != Dataset::Logs {
            return None;
        }
        match self.cells(logs::LEVEL)? {
            Cells::Byte(array) => array.is_valid(row).then(|| array.value(row)).and_then(Level::from_code),
            _ => None,
        }
    }

    /// Bytes of an `Id16` or `Id8` field.
    #[must_use]
    pub fn bytes(&self, id: FieldId, row: usize) -> Option<&[u8]> {
        match self.cells(id)? {
            Cells::Fixed(array) => array.is_valid(row).then(|| array.value(row)),
            _ => None,
        }
    }

    /// Service of a row.
    #[must_use]
    pub fn service(&self, row: usize) -> Option<&str> {
        self.text(self.dataset.service(), row)
    }

    /// Template id of a log record.
    #[must_use]
    pub fn template_id(&self, row: usize) -> Option<u32> {
        if self.dataset != Dataset::Logs {
            return None;
        }
        self.int(logs::TEMPLATE_ID, row).and_then(|id| u32::try_from(id).ok())
    }

    /// A value inside the catch-all object.
    #[must_use]
    pub fn attribute(&self, path: &str, row: usize) -> Option<Attribute<'_>> {
        heimdall_model::attributes::get(self.text(self.dataset.attributes(), row)?, path)
    }

    /// Any canonical field.
    #[must_use]
    pub fn value(&self, id: FieldId, row: usize) -> Value {
        let found = match self.dataset.field(id).ty {
            FieldType::Time => self.int(id, row).map(|ns| Value::Time(Timestamp(ns))),
            FieldType::Int => self.int(id, row).map(Value::Int),
            FieldType::Float => self.float(id, row).map(Value::Float),
            FieldType::Level => self.level(row).map(Value::Level),
            FieldType::Text => self.text(id, row).map(|text| Value::Text(text.to_owned())),
            FieldType::Json => {
                self.text(id, row).and_then(|text| serde_json::from_str(text).ok()).map(Value::Json)
            }
            FieldType::Id16 | FieldType::Id8 => self.bytes(id, row).map(|bytes| Value::Text(to_hex(bytes))),
        };
        found.unwrap_or(Value::Null)
    }

    /// Any target but the template's text, which the store's catalog knows.
    #[must_use]
    pub fn target(&self, target: &Target, row: usize) -> Value {
        match target {
            Target::Field(id) => self.value(*id, row),
            Target::Attribute(path) => {
                self.attribute(path, row).map_or(Value::Null, |value| value.to_value())
            }
            Target::Id => Value::Text(self.id(row).to_string()),
            Target::Template => Value::Null,
        }
    }

    /// The row as a JSON object: its id and every present field by canonical name.
    #[must_use]
    pub fn to_json(&self, row: usize) -> serde_json::Map<String, serde_json::Value> {
        let mut object = serde_json::Map::new();
        object.insert("id".to_owned(), self.id(row).to_string().into());
        for (code, field) in (0_u8..).zip(self.dataset.fields()) {
            let value = self.value(FieldId(code), row);
            if !value.is_null() {
                object.insert(field.name.to_owned(), value.to_json());
            }
        }
        object
    }
}

/// The type a field has in memory, where times are plain integers.
fn in_memory(ty: FieldType) -> FieldType {
    if ty == FieldType::Time { FieldType::Int } else { ty }
}

/// A column of nulls.
fn empty(ty: FieldType, rows: usize) -> ArrayRef {
    arrow::array::new_null_array(&arrow_type(in_memory(ty)), rows)
}

fn nulls(validity: Validity) -> Option<NullBuffer> {
    let len = validity.len();
    validity.into_bits().map(|bits| NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, len)))
}

fn cells(column: Column) -> Cells {
    match column {
        Column::Int(column) => {
            Cells::Int(Int64Array::new(ScalarBuffer::from(column.values), nulls(column.validity)))
        }
        Column::Float(column) => {
            Cells::Float(Float64Array::new(ScalarBuffer::from(column.values), nulls(column.validity)))
        }
        Column::Byte(column) => {
            Cells::Byte(UInt8Array::new(ScalarBuffer::from(column.values), nulls(column.validity)))
        }
        Column::Text(column) => {
            let lengths = OffsetBuffer::<i32>::from_lengths(
                std::iter::once(0)
                    .chain(column.ends.iter().map(|end| *end as usize))
                    .zip(&column.ends)
                    .map(|(start, end)| *end as usize - start),
            );
            let data = Buffer::from_vec(column.data.into_bytes());
            Cells::Text(StringArray::new(lengths, data, nulls(column.validity)))
        }
        Column::Fixed(column) => {
            let width = i32::try_from(column.width).expect("ids are 8 or 16 bytes");
            let data = Buffer::from_vec(column.data);
            Cells::Fixed(FixedSizeBinaryArray::new(width, data, nulls(column.validity)))
        }
    }
}
