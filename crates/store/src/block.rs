//! Rows in Arrow columns: what the memtable holds, what a segment reads into, and what a scan hands out.
//!
//! Invariants:
//! - every present column has [`RowBlock::rows`] rows, in the Arrow type of its field;
//! - positions and timestamps, which give each row its id, are present unless a reader said it can do without;
//! - texts with codes are what a segment reads into; rows in memory, and rows picked from several blocks, have plain texts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, StringArray, UInt8Array, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute;
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use heimdall_model::attributes::Attribute;
use heimdall_model::batch::{Column, Validity};
use heimdall_model::matcher::to_hex;
use heimdall_model::schema::{self, logs};
use heimdall_model::{
    Batch, Dataset, FieldId, FieldType, Level, Position, RecordId, Target, Timestamp, Value,
};

use crate::pages::Columns;

/// Columns of one field.
#[derive(Debug, Clone)]
pub(crate) enum Cells {
    Int(Int64Array),
    Float(Float64Array),
    Byte(UInt8Array),
    Text(StringArray),
    /// Texts that repeat.
    Coded(Coded),
    Fixed(FixedSizeBinaryArray),
}

/// Texts as codes into a list of different ones. Only rows that have a text have a code.
#[derive(Debug, Clone)]
pub(crate) struct Coded {
    pub codes: Int32Array,
    // INVARIANT: none is null, and every code is below their number.
    pub texts: StringArray,
}

impl Coded {
    fn from_array(array: &DictionaryArray<Int32Type>) -> Option<Coded> {
        let texts = array.values().as_string_opt::<i32>()?;
        (texts.null_count() == 0).then(|| Coded { codes: array.keys().clone(), texts: texts.clone() })
    }

    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        self.codes.is_valid(row).then(|| self.texts.value(self.code(row)))
    }

    /// Code of a row that has a text.
    pub(crate) fn code(&self, row: usize) -> usize {
        usize::try_from(self.codes.value(row)).unwrap_or(0)
    }

    fn to_plain(&self) -> StringArray {
        let plain = compute::take(&self.texts, &self.codes, None).expect("codes are of these texts");
        plain.as_string().clone()
    }
}

impl Cells {
    /// The array, that of the codes for coded texts.
    pub(crate) fn array(&self) -> &dyn Array {
        match self {
            Cells::Int(array) => array,
            Cells::Float(array) => array,
            Cells::Byte(array) => array,
            Cells::Text(array) => array,
            Cells::Coded(coded) => &coded.codes,
            Cells::Fixed(array) => array,
        }
    }

    /// Texts one by one, when they are texts.
    pub(crate) fn texts(&self) -> Option<StringArray> {
        match self {
            Cells::Text(texts) => Some(texts.clone()),
            Cells::Coded(coded) => Some(coded.to_plain()),
            _ => None,
        }
    }

    fn byte_size(&self) -> usize {
        let texts = if let Cells::Coded(coded) = self { coded.texts.get_array_memory_size() } else { 0 };
        self.array().get_array_memory_size() + texts
    }

    /// The same kind of cells from what a kernel made of [`Cells::array`].
    fn alike(&self, array: &ArrayRef) -> Cells {
        let ty = match self {
            Cells::Int(_) => FieldType::Int,
            Cells::Float(_) => FieldType::Float,
            Cells::Byte(_) => FieldType::Level,
            Cells::Text(_) => FieldType::Text,
            Cells::Fixed(_) => FieldType::Id16,
            Cells::Coded(Coded { texts, .. }) => {
                let codes = array.as_primitive().clone();
                return Cells::Coded(Coded { codes, texts: texts.clone() });
            }
        };
        Cells::from_array(array, ty).expect("kernels keep the type")
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
            FieldType::Text | FieldType::Json => match any.downcast_ref::<StringArray>() {
                Some(texts) => Cells::Text(texts.clone()),
                None => Cells::Coded(Coded::from_array(any.downcast_ref()?)?),
            },
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
            (Cells::Coded(coded), _) => Arc::new(coded.to_plain()),
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
    rows: usize,
    positions: Option<UInt64Array>,
    columns: Vec<Option<Cells>>,
}

/// Codes of a text field, in place of the texts.
#[derive(Debug, Clone, Copy)]
pub struct Codes<'a>(&'a Coded);

impl<'a> Codes<'a> {
    /// Code of a row; `None` when it has no text.
    #[must_use]
    pub fn code(self, row: usize) -> Option<usize> {
        self.0.codes.is_valid(row).then(|| self.0.code(row))
    }

    /// How many codes there are: all are below.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.texts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The text of a code.
    ///
    /// # Panics
    /// There is no such code.
    #[must_use]
    pub fn text(self, code: usize) -> &'a str {
        self.0.texts.value(code)
    }
}

impl RowBlock {
    pub(crate) fn new(
        dataset: Dataset,
        rows: usize,
        positions: Option<UInt64Array>,
        columns: Vec<Option<Cells>>,
    ) -> RowBlock {
        debug_assert!(columns.iter().flatten().all(|cells| cells.array().len() == rows));
        debug_assert!(positions.as_ref().is_none_or(|positions| positions.len() == rows));
        RowBlock { dataset, rows, positions, columns }
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
        RowBlock::new(dataset, rows, Some(positions.into()), columns)
    }

    /// The same rows with one more column.
    pub(crate) fn with(mut self, id: FieldId, cells: Cells) -> RowBlock {
        debug_assert_eq!(cells.array().len(), self.rows);
        self.columns[id.index()] = Some(cells);
        self
    }

    /// Which schema.
    #[must_use]
    pub fn dataset(&self) -> Dataset {
        self.dataset
    }

    /// Rows held.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a column is there. One that is not has no value in any row, or was not asked for.
    #[must_use]
    pub fn has(&self, id: FieldId) -> bool {
        self.cells(id).is_some()
    }

    /// Whether rows have their ids and places: event time and position.
    #[must_use]
    pub fn has_ids(&self) -> bool {
        self.positions.is_some() && self.has(schema::TIMESTAMP)
    }

    pub(crate) fn cells(&self, id: FieldId) -> Option<&Cells> {
        self.columns.get(id.index())?.as_ref()
    }

    /// A column as an Arrow array, in the type it has in a segment file; `None` when no row has a value.
    #[must_use]
    pub fn array(&self, id: FieldId) -> Option<ArrayRef> {
        Some(self.cells(id)?.to_array(self.dataset.field(id).ty))
    }

    pub(crate) fn positions(&self) -> Option<&UInt64Array> {
        self.positions.as_ref()
    }

    /// The codes of a text field whose texts repeat, where they were read so.
    #[must_use]
    pub fn codes(&self, id: FieldId) -> Option<Codes<'_>> {
        match self.cells(id)? {
            Cells::Coded(coded) => Some(Codes(coded)),
            _ => None,
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        let positions = self.positions.as_ref().map_or(0, |positions| positions.len() * 8);
        self.columns.iter().flatten().map(Cells::byte_size).sum::<usize>() + positions
    }

    /// The rows whose bit is set.
    pub(crate) fn filtered(&self, mask: &BooleanArray) -> RowBlock {
        let keep = |array: &dyn Array| compute::filter(array, mask).expect("mask has one bit per row");
        let column = |cells: &Option<Cells>| cells.as_ref().map(|cells| cells.alike(&keep(cells.array())));
        RowBlock {
            dataset: self.dataset,
            rows: mask.true_count(),
            positions: self.positions.as_ref().map(|positions| keep(positions).as_primitive().clone()),
            columns: self.columns.iter().map(column).collect(),
        }
    }

    /// The first rows.
    pub(crate) fn first(&self, rows: usize) -> RowBlock {
        let cut = |array: &dyn Array| array.slice(0, rows);
        let column = |cells: &Option<Cells>| cells.as_ref().map(|cells| cells.alike(&cut(cells.array())));
        RowBlock {
            dataset: self.dataset,
            rows,
            positions: self.positions.as_ref().map(|positions| positions.slice(0, rows)),
            columns: self.columns.iter().map(column).collect(),
        }
    }

    /// Only these columns.
    pub(crate) fn projected(&self, columns: Columns) -> RowBlock {
        let all = (0_u8..).map(FieldId).zip(&self.columns);
        RowBlock {
            columns: all.map(|(id, cells)| cells.clone().filter(|_| columns.fields.contains(id))).collect(),
            positions: self.positions.clone().filter(|_| columns.positions),
            ..*self
        }
    }

    /// Rows picked from several blocks, in the order of `picks` (block, row).
    pub(crate) fn interleave(blocks: &[&RowBlock], picks: &[(usize, usize)]) -> RowBlock {
        let dataset = blocks[0].dataset;
        let gather = |arrays: &[&dyn Array]| {
            compute::interleave(arrays, picks).expect("arrays of one field have one type")
        };
        let positions: Option<Vec<&dyn Array>> =
            blocks.iter().map(|block| block.positions.as_ref().map(|array| array as &dyn Array)).collect();
        let positions = positions.map(|arrays| gather(&arrays).as_primitive().clone());
        let columns = (0_u8..).zip(dataset.fields()).map(|(code, field)| {
            let id = FieldId(code);
            blocks.iter().find_map(|block| block.cells(id))?;
            // Only what is not there as it is wanted is made.
            let made: Vec<Option<Cells>> = blocks
                .iter()
                .map(|block| match block.cells(id) {
                    Some(Cells::Coded(coded)) => Some(Cells::Text(coded.to_plain())),
                    Some(_) => None,
                    None => Some(Cells::none(field.ty, block.rows())),
                })
                .collect();
            let arrays: Vec<&dyn Array> = blocks
                .iter()
                .zip(&made)
                .filter_map(|(block, made)| made.as_ref().or_else(|| block.cells(id)).map(Cells::array))
                .collect();
            Cells::from_array(&gather(&arrays), in_memory(field.ty))
        });
        RowBlock::new(dataset, picks.len(), positions, columns.collect())
    }

    /// Event times of all rows, ns since the epoch.
    ///
    /// # Panics
    /// The block was read without times.
    #[must_use]
    pub fn times(&self) -> &[i64] {
        match self.cells(schema::TIMESTAMP) {
            Some(Cells::Int(times)) => times.values(),
            _ => panic!("the block was read without times"),
        }
    }

    /// Event time of a row.
    ///
    /// # Panics
    /// The block was read without times.
    #[must_use]
    pub fn timestamp(&self, row: usize) -> Timestamp {
        Timestamp(self.times()[row])
    }

    /// Journal position of a row.
    ///
    /// # Panics
    /// The block was read without ids.
    #[must_use]
    pub fn position(&self, row: usize) -> Position {
        Position(self.positions.as_ref().expect("the block was read with ids").value(row))
    }

    /// Record id of a row.
    ///
    /// # Panics
    /// The block was read without ids.
    #[must_use]
    pub fn id(&self, row: usize) -> RecordId {
        RecordId::new(self.timestamp(row), self.position(row))
    }

    /// A `Text` or `Json` field.
    #[must_use]
    pub fn text(&self, id: FieldId, row: usize) -> Option<&str> {
        match self.cells(id)? {
            Cells::Text(array) => array.is_valid(row).then(|| array.value(row)),
            Cells::Coded(coded) => coded.text(row),
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

impl Cells {
    /// No values.
    fn none(ty: FieldType, rows: usize) -> Cells {
        let nulls = arrow::array::new_null_array(&arrow_type(in_memory(ty)), rows);
        Cells::from_array(&nulls, in_memory(ty)).expect("an array of that type")
    }
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
