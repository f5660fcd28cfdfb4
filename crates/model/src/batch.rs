//! Records of one dataset in columns: the form that travels the road from receiver to store.
//!
//! Invariants:
//! - every present column has exactly [`Batch::rows`] rows; an absent column is null in every row;
//! - text offsets rise and lie on character boundaries;
//! - column `i` holds field `i` of the dataset, in the type the schema gives it.
//!
//! The layout is Arrow's (values, validity bits, offsets), so the store can take the vectors over without copying.

use crate::schema::{self, Dataset, FieldId, FieldType};
use crate::{Level, Position, RecordId, Timestamp, Value};

/// Null or not, one bit per row, least significant first. No bits means no nulls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validity {
    bits: Option<Vec<u8>>,
    len: usize,
}

impl Validity {
    /// Bits read from bytes; `None` means that all `len` rows are valid.
    #[must_use]
    pub fn from_bits(bits: Option<Vec<u8>>, len: usize) -> Validity {
        debug_assert!(bits.as_ref().is_none_or(|bits| bits.len() == len.div_ceil(8)));
        Validity { bits, len }
    }

    /// Rows covered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no row is covered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bits, when some row is null.
    #[must_use]
    pub fn bits(&self) -> Option<&[u8]> {
        self.bits.as_deref()
    }

    /// The bits by value.
    #[must_use]
    pub fn into_bits(self) -> Option<Vec<u8>> {
        self.bits
    }

    /// Whether `row` is present.
    #[must_use]
    pub fn get(&self, row: usize) -> bool {
        match &self.bits {
            None => row < self.len,
            Some(bits) => row < self.len && bits[row / 8] >> (row % 8) & 1 == 1,
        }
    }

    fn push(&mut self, valid: bool) {
        if !valid && self.bits.is_none() {
            let mut bits = vec![0xff; self.len.div_ceil(8)];
            if let (Some(last), rest @ 1..) = (bits.last_mut(), self.len % 8) {
                *last = (1_u8 << rest) - 1;
            }
            self.bits = Some(bits);
        }
        if let Some(bits) = &mut self.bits {
            if self.len.is_multiple_of(8) {
                bits.push(0);
            }
            if valid {
                bits[self.len / 8] |= 1 << (self.len % 8);
            }
        }
        self.len += 1;
    }

    fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = len;
        if let Some(bits) = &mut self.bits {
            bits.truncate(len.div_ceil(8));
            if let (Some(last), rest @ 1..) = (bits.last_mut(), len % 8) {
                *last &= (1_u8 << rest) - 1;
            }
        }
    }
}

/// Fixed-size values; a null row holds the default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Primitive<T> {
    /// One value per row.
    pub values: Vec<T>,
    /// Which rows are present.
    pub validity: Validity,
}

/// UTF-8 texts, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextColumn {
    /// End of each row's text in `data`.
    pub ends: Vec<u32>,
    /// The texts.
    pub data: String,
    /// Which rows are present.
    pub validity: Validity,
}

/// Byte strings of one width.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FixedColumn {
    /// Bytes per row.
    pub width: usize,
    /// The bytes; zeros where null.
    pub data: Vec<u8>,
    /// Which rows are present.
    pub validity: Validity,
}

/// Values of one field.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// `Time` and `Int` fields.
    Int(Primitive<i64>),
    /// `Float` fields.
    Float(Primitive<f64>),
    /// `Level` fields.
    Byte(Primitive<u8>),
    /// `Text` and `Json` fields.
    Text(TextColumn),
    /// `Id16` and `Id8` fields.
    Fixed(FixedColumn),
}

impl<T: Default + Copy> Primitive<T> {
    fn push(&mut self, value: Option<T>) {
        self.values.push(value.unwrap_or_default());
        self.validity.push(value.is_some());
    }
    fn get(&self, row: usize) -> Option<T> {
        self.validity.get(row).then(|| self.values[row])
    }
}

impl TextColumn {
    fn push(&mut self, text: Option<&str>) {
        self.data.push_str(text.unwrap_or_default());
        self.ends.push(u32::try_from(self.data.len()).expect("admission bounds a batch far below 4 GiB"));
        self.validity.push(text.is_some());
    }

    /// The text of a row.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&str> {
        self.validity.get(row).then(|| {
            let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
            &self.data[start..self.ends[row] as usize]
        })
    }
}

impl FixedColumn {
    fn push(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.data.extend_from_slice(bytes),
            None => self.data.resize(self.data.len() + self.width, 0),
        }
        self.validity.push(bytes.is_some());
    }
    fn get(&self, row: usize) -> Option<&[u8]> {
        self.validity.get(row).then(|| &self.data[row * self.width..(row + 1) * self.width])
    }
}

impl Column {
    /// An empty column for a field type.
    #[must_use]
    pub fn new(ty: FieldType) -> Column {
        match ty {
            FieldType::Time | FieldType::Int => Column::Int(Primitive::default()),
            FieldType::Float => Column::Float(Primitive::default()),
            FieldType::Level => Column::Byte(Primitive::default()),
            FieldType::Text | FieldType::Json => Column::Text(TextColumn::default()),
            FieldType::Id16 => Column::Fixed(FixedColumn { width: 16, ..FixedColumn::default() }),
            FieldType::Id8 => Column::Fixed(FixedColumn { width: 8, ..FixedColumn::default() }),
        }
    }

    /// Which rows are present.
    #[must_use]
    pub fn validity(&self) -> &Validity {
        match self {
            Column::Int(column) => &column.validity,
            Column::Float(column) => &column.validity,
            Column::Byte(column) => &column.validity,
            Column::Text(column) => &column.validity,
            Column::Fixed(column) => &column.validity,
        }
    }

    /// Rows held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.validity().len()
    }

    /// Whether no row is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory, without the allocator's share.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.len() / 8
            + match self {
                Column::Int(column) => column.values.len() * 8,
                Column::Float(column) => column.values.len() * 8,
                Column::Byte(column) => column.values.len(),
                Column::Text(column) => column.ends.len() * 4 + column.data.len(),
                Column::Fixed(column) => column.data.len(),
            }
    }

    /// Adds a null row.
    pub fn push_null(&mut self) {
        match self {
            Column::Int(column) => column.push(None),
            Column::Float(column) => column.push(None),
            Column::Byte(column) => column.push(None),
            Column::Text(column) => column.push(None),
            Column::Fixed(column) => column.push(None),
        }
    }

    /// Adds row `row` of another column of the same type.
    fn push_from(&mut self, other: &Column, row: usize) {
        match (self, other) {
            (Column::Int(to), Column::Int(from)) => to.push(from.get(row)),
            (Column::Float(to), Column::Float(from)) => to.push(from.get(row)),
            (Column::Byte(to), Column::Byte(from)) => to.push(from.get(row)),
            (Column::Text(to), Column::Text(from)) => to.push(from.get(row)),
            (Column::Fixed(to), Column::Fixed(from)) => to.push(from.get(row)),
            _ => unreachable!("columns of one field have one type"),
        }
    }

    fn pad(&mut self, rows: usize) {
        while self.len() < rows {
            self.push_null();
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Column::Int(column) => {
                column.values.truncate(rows);
                column.validity.truncate(rows);
            }
            Column::Float(column) => {
                column.values.truncate(rows);
                column.validity.truncate(rows);
            }
            Column::Byte(column) => {
                column.values.truncate(rows);
                column.validity.truncate(rows);
            }
            Column::Text(column) => {
                column.ends.truncate(rows);
                column.data.truncate(column.ends.last().map_or(0, |end| *end as usize));
                column.validity.truncate(rows);
            }
            Column::Fixed(column) => {
                column.data.truncate(rows * column.width);
                column.validity.truncate(rows);
            }
        }
    }
}

/// What the template miner knows of the rows of a batch beside their template ids.
///
/// It lives between the miner and the detectors: it is neither stored nor sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mined {
    /// Cluster of each row's template when the row was mined: templates that turned out to be one share it.
    pub clusters: Vec<u32>,
    /// Rows that showed a template something new, such as a value its slots had not had; ascending.
    pub grown: Vec<u32>,
    /// Clusters that became one, in the order in which they did.
    pub joined: Vec<Joined>,
}

/// Two clusters that a row showed to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// The row that showed it; it carries the common cluster already.
    pub row: u32,
    /// The cluster that is no more.
    pub from: u32,
    /// The cluster it became part of.
    pub into: u32,
}

/// Records of one dataset and one tenant that arrived together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Which schema.
    pub dataset: Dataset,
    /// Arrival time of all rows.
    pub observed: Timestamp,
    /// Journal position of row 0; zero before the journal has taken the batch.
    pub base: Position,
    /// What the miner knows beside the template ids, from the miner until the store takes the batch.
    pub mined: Option<Box<Mined>>,
    rows: usize,
    columns: Vec<Option<Column>>,
}

impl Batch {
    /// A batch from its columns, by field index.
    ///
    /// # Panics
    /// In debug builds, when a column's length is not `rows`.
    #[must_use]
    pub fn from_columns(
        dataset: Dataset,
        observed: Timestamp,
        rows: usize,
        columns: Vec<Option<Column>>,
    ) -> Batch {
        debug_assert!(columns.iter().flatten().all(|column| column.len() == rows));
        debug_assert_eq!(columns.len(), dataset.fields().len());
        Batch { dataset, observed, base: Position::default(), mined: None, rows, columns }
    }

    /// Number of records.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The column of a field, unless it is null in every row.
    #[must_use]
    pub fn column(&self, id: FieldId) -> Option<&Column> {
        self.columns.get(id.index())?.as_ref()
    }

    /// All columns, by field index.
    #[must_use]
    pub fn columns(&self) -> &[Option<Column>] {
        &self.columns
    }

    /// The columns by value, by field index.
    #[must_use]
    pub fn into_columns(self) -> Vec<Option<Column>> {
        self.columns
    }

    /// Puts a whole column in place, such as the template ids.
    ///
    /// # Panics
    /// In debug builds, when its length is not that of the batch.
    pub fn set_column(&mut self, id: FieldId, column: Column) {
        debug_assert_eq!(column.len(), self.rows);
        self.columns[id.index()] = Some(column);
    }

    /// Gives this value to every record that has none for a `Text` field.
    ///
    /// # Panics
    /// The field has another type.
    pub fn fill_text(&mut self, id: FieldId, text: &str) {
        let mut filled = TextColumn::default();
        for row in 0..self.rows {
            let own = self.columns[id.index()].as_ref().and_then(|column| match column {
                Column::Text(column) => column.get(row),
                other => unreachable!("text filled into {other:?}"),
            });
            filled.push(own.or(Some(text)));
        }
        self.set_column(id, Column::Text(filled));
    }

    /// A view of one record.
    #[must_use]
    pub fn row(&self, row: usize) -> Row<'_> {
        debug_assert!(row < self.rows);
        Row { batch: self, row }
    }

    /// Views of all records.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.rows).map(|row| self.row(row))
    }

    /// Bytes in memory.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.columns.iter().flatten().map(Column::byte_size).sum()
    }

    /// Adds the rows of another batch of the same dataset. Positions and arrival times are the caller's to keep; what
    /// the miner knew is dropped.
    pub fn append(&mut self, other: &Batch) {
        debug_assert_eq!(self.dataset, other.dataset);
        self.mined = None;
        let rows = self.rows + other.rows;
        for (index, (to, from)) in self.columns.iter_mut().zip(&other.columns).enumerate() {
            match (to.as_mut(), from) {
                (None, None) => {}
                (Some(to), None) => to.pad(rows),
                (_, Some(from)) => {
                    let to = to.get_or_insert_with(|| Column::new(self.dataset.fields()[index].ty));
                    to.pad(self.rows);
                    (0..other.rows).for_each(|row| to.push_from(from, row));
                }
            }
        }
        self.rows = rows;
    }
}

/// One record of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    batch: &'a Batch,
    row: usize,
}

impl<'a> Row<'a> {
    /// Which schema.
    #[must_use]
    pub fn dataset(&self) -> Dataset {
        self.batch.dataset
    }

    /// Index within the batch.
    #[must_use]
    pub fn index(&self) -> usize {
        self.row
    }

    /// Event time; arrival time when the record has none.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.int(schema::TIMESTAMP).map_or(self.batch.observed, Timestamp)
    }

    /// Journal position.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.batch.base.0 + self.row as u64)
    }

    /// Record id.
    #[must_use]
    pub fn id(&self) -> RecordId {
        RecordId::new(self.timestamp(), self.position())
    }

    /// A `Text` or `Json` field.
    #[must_use]
    pub fn text(&self, id: FieldId) -> Option<&'a str> {
        match self.batch.column(id)? {
            Column::Text(column) => column.get(self.row),
            _ => None,
        }
    }

    /// An `Int` or `Time` field.
    #[must_use]
    pub fn int(&self, id: FieldId) -> Option<i64> {
        match self.batch.column(id)? {
            Column::Int(column) => column.get(self.row),
            _ => None,
        }
    }

    /// A `Float` field.
    #[must_use]
    pub fn float(&self, id: FieldId) -> Option<f64> {
        match self.batch.column(id)? {
            Column::Float(column) => column.get(self.row),
            _ => None,
        }
    }

    /// A `Level` field's code.
    #[must_use]
    pub fn byte(&self, id: FieldId) -> Option<u8> {
        match self.batch.column(id)? {
            Column::Byte(column) => column.get(self.row),
            _ => None,
        }
    }

    /// An `Id16` or `Id8` field's bytes.
    #[must_use]
    pub fn bytes(&self, id: FieldId) -> Option<&'a [u8]> {
        match self.batch.column(id)? {
            Column::Fixed(column) => column.get(self.row),
            _ => None,
        }
    }

    /// Level of a log record.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        match self.batch.dataset {
            Dataset::Logs => self.byte(schema::logs::LEVEL).and_then(Level::from_code),
            Dataset::Metrics | Dataset::Spans => None,
        }
    }

    /// Service of the record or sample.
    #[must_use]
    pub fn service(&self) -> Option<&'a str> {
        self.text(self.batch.dataset.service())
    }

    /// JSON text of the catch-all object.
    #[must_use]
    pub fn attributes(&self) -> Option<&'a str> {
        self.text(self.batch.dataset.attributes())
    }

    /// A value of the catch-all object by path.
    #[must_use]
    pub fn attribute(&self, path: &str) -> Option<crate::attributes::Attribute<'a>> {
        crate::attributes::get(self.attributes()?, path)
    }

    /// Any canonical field as a value.
    #[must_use]
    pub fn value(&self, id: FieldId) -> Value {
        let found = match self.batch.dataset.field(id).ty {
            FieldType::Time if id == schema::OBSERVED => Some(Value::Time(self.batch.observed)),
            FieldType::Time if id == schema::TIMESTAMP => Some(Value::Time(self.timestamp())),
            FieldType::Time => self.int(id).map(|ns| Value::Time(Timestamp(ns))),
            FieldType::Int => self.int(id).map(Value::Int),
            FieldType::Float => self.float(id).map(Value::Float),
            FieldType::Level => self.byte(id).and_then(Level::from_code).map(Value::Level),
            FieldType::Text => self.text(id).map(|text| Value::Text(text.to_owned())),
            FieldType::Json => {
                self.text(id).and_then(|text| serde_json::from_str(text).ok()).map(Value::Json)
            }
            FieldType::Id16 | FieldType::Id8 => {
                self.bytes(id).map(|bytes| Value::Text(crate::matcher::to_hex(bytes)))
            }
        };
        found.unwrap_or(Value::Null)
    }

    /// The record as a JSON object: its id and every present field by canonical name.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut object = serde_json::Map::new();
        object.insert("id".to_owned(), self.id().to_string().into());
        for (code, field) in (0_u8..).zip(self.batch.dataset.fields()) {
            let value = self.value(FieldId(code));
            if !value.is_null() {
                object.insert(field.name.to_owned(), value.to_json());
            }
        }
        object
    }
}

/// Builds a batch row by row: set fields of the current row in any order, then end or drop the row.
#[derive(Debug)]
pub struct BatchBuilder {
    dataset: Dataset,
    observed: Timestamp,
    rows: usize,
    columns: Vec<Option<Column>>,
}

impl BatchBuilder {
    /// An empty batch of records that arrived at `observed`.
    #[must_use]
    pub fn new(dataset: Dataset, observed: Timestamp) -> BatchBuilder {
        let columns = dataset.fields().iter().map(|_| None).collect();
        BatchBuilder { dataset, observed, rows: 0, columns }
    }

    /// Rows ended so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Which schema.
    #[must_use]
    pub fn dataset(&self) -> Dataset {
        self.dataset
    }

    /// The column, with every row before the current one in place and the current one free: a second value for the
    /// same field replaces the first.
    fn at_row(&mut self, id: FieldId) -> &mut Column {
        let rows = self.rows;
        let ty = self.dataset.field(id).ty;
        let column = self.columns[id.index()].get_or_insert_with(|| Column::new(ty));
        if column.len() != rows {
            column.pad(rows);
            column.truncate(rows);
        }
        column
    }

    /// Sets a `Text` or `Json` field of the current row.
    ///
    /// # Panics
    /// The field has another type; likewise in the other setters.
    pub fn set_text(&mut self, id: FieldId, text: &str) {
        match self.at_row(id) {
            Column::Text(column) => column.push(Some(text)),
            other => unreachable!("text set on {other:?}"),
        }
    }

    /// Sets an `Int` or `Time` field of the current row.
    pub fn set_int(&mut self, id: FieldId, n: i64) {
        match self.at_row(id) {
            Column::Int(column) => column.push(Some(n)),
            other => unreachable!("whole number set on {other:?}"),
        }
    }

    /// Sets a `Float` field of the current row.
    pub fn set_float(&mut self, id: FieldId, x: f64) {
        match self.at_row(id) {
            Column::Float(column) => column.push(Some(x)),
            other => unreachable!("number set on {other:?}"),
        }
    }

    /// Sets the level of the current log record.
    pub fn set_level(&mut self, level: Level) {
        match self.at_row(schema::logs::LEVEL) {
            Column::Byte(column) => column.push(Some(level.code())),
            other => unreachable!("level set on {other:?}"),
        }
    }

    /// Sets an `Id16` or `Id8` field of the current row; `bytes` has the field's width.
    pub fn set_bytes(&mut self, id: FieldId, bytes: &[u8]) {
        match self.at_row(id) {
            Column::Fixed(column) if column.width == bytes.len() => column.push(Some(bytes)),
            other => unreachable!("{} bytes set on {other:?}", bytes.len()),
        }
    }

    /// Whether the current row has a value for the field.
    #[must_use]
    pub fn is_set(&self, id: FieldId) -> bool {
        self.columns[id.index()].as_ref().is_some_and(|column| column.validity().get(self.rows))
    }

    /// Ends the current row.
    pub fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Forgets what was set for the current row.
    pub fn drop_row(&mut self) {
        let rows = self.rows;
        self.columns.iter_mut().flatten().for_each(|column| column.truncate(rows));
    }

    /// The finished batch; a row that was not ended is forgotten.
    #[must_use]
    pub fn finish(mut self) -> Batch {
        self.drop_row();
        let rows = self.rows;
        self.columns.iter_mut().flatten().for_each(|column| column.pad(rows));
        Batch::from_columns(self.dataset, self.observed, rows, self.columns)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::schema::logs;

    pub(crate) fn sample() -> Batch {
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(9));
        for n in 0..20 {
            builder.set_int(logs::TIMESTAMP, n);
            if n % 3 == 0 {
                builder.set_text(logs::MESSAGE, &format!("message {n} é"));
                builder.set_bytes(logs::SPAN_ID, &n.to_le_bytes());
            }
            if n == 17 {
                builder.set_level(Level::Error);
                builder.set_float(logs::DURATION_MS, 0.5);
            }
            builder.end_row();
        }
        builder.finish()
    }

    #[test]
    fn late_and_sparse_columns_line_up() {
        let batch = sample();
        assert_eq!(batch.rows(), 20);
        for (n, row) in batch.iter().enumerate() {
            assert_eq!(row.text(logs::MESSAGE), (n % 3 == 0).then(|| format!("message {n} é")).as_deref());
            assert_eq!(row.level(), (n == 17).then_some(Level::Error));
            assert_eq!(row.int(logs::TIMESTAMP), i64::try_from(n).ok());
        }
        assert!(batch.column(logs::SERVICE).is_none());
    }

    #[test]
    fn a_dropped_row_leaves_nothing_and_a_second_value_replaces_the_first() {
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(9));
        builder.set_text(logs::MESSAGE, "gone");
        builder.drop_row();
        builder.set_text(logs::MESSAGE, "first");
        builder.set_text(logs::MESSAGE, "second");
        builder.end_row();
        builder.set_text(logs::SERVICE, "unfinished");
        let batch = builder.finish();
        assert_eq!(batch.rows(), 1);
        assert_eq!(batch.row(0).text(logs::MESSAGE), Some("second"));
        assert_eq!(batch.row(0).text(logs::SERVICE), None);
    }

    #[test]
    fn filling_leaves_what_is_there() {
        let mut batch = sample();
        batch.fill_text(logs::MESSAGE, "filled");
        batch.fill_text(logs::SERVICE, "s");
        assert_eq!(batch.row(3).text(logs::MESSAGE), Some("message 3 é"));
        assert_eq!(batch.row(4).text(logs::MESSAGE), Some("filled"));
        assert!(batch.iter().all(|row| row.service() == Some("s")));
    }

    #[test]
    fn append_keeps_rows_of_both() {
        let mut left = sample();
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(9));
        builder.set_text(logs::SERVICE, "s");
        builder.end_row();
        left.append(&builder.finish());
        assert_eq!(left.rows(), 21);
        assert_eq!(left.row(20).text(logs::SERVICE), Some("s"));
        assert_eq!(left.row(18).text(logs::MESSAGE), Some("message 18 é"));
        assert_eq!(left.row(20).text(logs::MESSAGE), None);
    }
}
