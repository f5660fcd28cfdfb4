//! Between Arrow and the answer every language has.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Builder, Int64Builder, StringBuilder, TimestampNanosecondBuilder,
    UInt64Builder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use heimdall_model::{Timestamp, Value};
use heimdall_query::{Column, ColumnType};

/// Columns of an answer with these fields; names that come twice are told apart by a number.
pub(crate) fn columns_of(schema: &Schema) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for field in schema.fields() {
        let mut name = field.name().clone();
        let mut number = 2;
        while columns.iter().any(|column| column.name == name) {
            name = format!("{}_{number}", field.name());
            number += 1;
        }
        columns.push(Column { name, ty: column_type(field.data_type()) });
    }
    columns
}

fn column_type(ty: &DataType) -> ColumnType {
    match ty {
        DataType::Timestamp(..) => ColumnType::Time,
        ty if ty.is_integer() => ColumnType::Int,
        ty if ty.is_floating() => ColumnType::Float,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::Text,
        DataType::Boolean | DataType::Null => ColumnType::Any,
        _ => ColumnType::Text,
    }
}

/// The rows of a batch.
pub(crate) fn rows_of(batch: &RecordBatch) -> Result<Vec<Vec<Value>>, ArrowError> {
    let columns = batch.columns().iter().map(values_of).collect::<Result<Vec<_>, _>>()?;
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    Ok((0..batch.num_rows())
        .map(|_| columns.iter_mut().map(|column| column.next().unwrap_or(Value::Null)).collect())
        .collect())
}

fn values_of(array: &ArrayRef) -> Result<Vec<Value>, ArrowError> {
    let some = |value: Option<Value>| value.unwrap_or(Value::Null);
    Ok(match array.data_type() {
        DataType::Timestamp(..) => {
            let ns = cast(array, &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
            let ns = ns.as_primitive::<TimestampNanosecondType>().iter();
            ns.map(|ns| some(ns.map(|ns| Value::Time(Timestamp(ns))))).collect()
        }
        DataType::UInt64 => {
            #[expect(clippy::cast_precision_loss, reason = "beyond i64 a number is given as f64")]
            let value = |n: u64| i64::try_from(n).map_or(Value::Float(n as f64), Value::Int);
            array.as_primitive::<UInt64Type>().iter().map(|n| some(n.map(value))).collect()
        }
        ty if ty.is_integer() => {
            let numbers = cast(array, &DataType::Int64)?;
            numbers.as_primitive::<Int64Type>().iter().map(|n| some(n.map(Value::Int))).collect()
        }
        ty if ty.is_floating() => {
            let numbers = cast(array, &DataType::Float64)?;
            numbers.as_primitive::<Float64Type>().iter().map(|x| some(x.map(Value::Float))).collect()
        }
        DataType::Boolean => array.as_boolean().iter().map(|b| some(b.map(Value::Bool))).collect(),
        DataType::Utf8 => array
            .as_string::<i32>()
            .iter()
            .map(|text| some(text.map(|text| Value::Text(text.into()))))
            .collect(),
        _ => {
            let options = FormatOptions::default();
            let texts = ArrayFormatter::try_new(array.as_ref(), &options)?;
            let text = |row: usize| (!array.is_null(row)).then(|| Value::Text(texts.value(row).to_string()));
            (0..array.len()).map(|row| some(text(row))).collect()
        }
    })
}

/// A batch of rows with one value for each field of the schema.
pub(crate) fn batch_of(schema: &SchemaRef, rows: &[Vec<Value>]) -> Result<RecordBatch, ArrowError> {
    let column = |(at, field): (usize, &Arc<arrow::datatypes::Field>)| {
        array_of(field.data_type(), rows.iter().map(move |row| row.get(at).unwrap_or(&Value::Null)))
    };
    let columns = schema.fields().iter().enumerate().map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn array_of<'v>(ty: &DataType, values: impl Iterator<Item = &'v Value>) -> Result<ArrayRef, ArrowError> {
    Ok(match ty {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let mut builder = TimestampNanosecondBuilder::new();
            values.for_each(|value| match value {
                Value::Time(time) => builder.append_value(time.0),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish().with_timezone_opt(zone.clone()))
        }
        DataType::Int64 => {
            let mut builder = Int64Builder::new();
            values.for_each(|value| builder.append_option(int(value)));
            Arc::new(builder.finish())
        }
        DataType::UInt64 => {
            let mut builder = UInt64Builder::new();
            values.for_each(|value| builder.append_option(int(value).and_then(|n| u64::try_from(n).ok())));
            Arc::new(builder.finish())
        }
        DataType::Float64 => {
            let mut builder = Float64Builder::new();
            values.for_each(|value| builder.append_option(value.as_f64()));
            Arc::new(builder.finish())
        }
        DataType::Utf8 => {
            let mut builder = StringBuilder::new();
            values.for_each(|value| match value {
                Value::Null => builder.append_null(),
                Value::Text(text) => builder.append_value(text),
                Value::Level(level) => builder.append_value(level.as_str()),
                other => builder.append_value(other.to_string()),
            });
            Arc::new(builder.finish())
        }
        other => return Err(ArrowError::NotYetImplemented(format!("values as {other}"))),
    })
}

fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}
