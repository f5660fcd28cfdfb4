//! Functions of ours: a value inside `attributes`, and the order of levels.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Builder, Int64Builder, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use heimdall_model::Level;
use heimdall_model::attributes::{self, Attribute};

use crate::filter::text_of;

/// What a function does with its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// `attr(attributes, 'http.status')`: the value as text.
    Attr,
    /// `attr_number(attributes, 'http.status')`: the value as a number, also of a text that reads as one.
    AttrNumber,
    /// `level_number(level)`: 1 for trace to 6 for fatal.
    LevelNumber,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    kind: Kind,
    signature: Signature,
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = ScalarUDF> {
    [Kind::Attr, Kind::AttrNumber, Kind::LevelNumber].into_iter().map(|kind| {
        let texts = if kind == Kind::LevelNumber { 1 } else { 2 };
        let signature = Signature::exact(vec![DataType::Utf8; texts], Volatility::Immutable);
        ScalarUDF::from(Function { kind, signature })
    })
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Attr => "attr",
            Kind::AttrNumber => "attr_number",
            Kind::LevelNumber => "level_number",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Attr => DataType::Utf8,
            Kind::AttrNumber => DataType::Float64,
            Kind::LevelNumber => DataType::Int64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let texts = args.args.first().ok_or_else(|| missing("a text"))?.to_array(rows)?;
        let path = match args.args.get(1) {
            None => None,
            Some(ColumnarValue::Scalar(path)) => Some(text_of(path).unwrap_or_default().to_owned()),
            Some(ColumnarValue::Array(_)) => return Err(missing("a path that is a constant")),
        };
        let array = self.kind.evaluate(&texts, path.as_deref().unwrap_or_default());
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

fn missing(what: &str) -> DataFusionError {
    DataFusionError::Plan(format!("the function needs {what}"))
}

impl Kind {
    fn evaluate(self, texts: &ArrayRef, path: &str) -> ArrayRef {
        let texts = texts.as_string::<i32>().iter();
        let value = |text: Option<&str>| text.and_then(|json| attributes::get(json, path).map(to_text));
        match self {
            Kind::Attr => {
                let mut builder = StringBuilder::new();
                texts.for_each(|text| builder.append_option(value(text)));
                Arc::new(builder.finish())
            }
            Kind::AttrNumber => {
                let mut builder = Float64Builder::new();
                let number = |json| attributes::get(json, path).and_then(|value| value.as_f64());
                texts.for_each(|text| builder.append_option(text.and_then(number)));
                Arc::new(builder.finish())
            }
            Kind::LevelNumber => {
                let mut builder = Int64Builder::new();
                let code = |text: &str| Level::ALL.into_iter().find(|level| level.as_str() == text);
                texts.for_each(|text| {
                    builder.append_option(text.and_then(code).map(|level| i64::from(level.code())));
                });
                Arc::new(builder.finish())
            }
        }
    }
}

fn to_text(value: Attribute<'_>) -> String {
    match value {
        Attribute::Text(text) => text.into_owned(),
        Attribute::Number(raw) | Attribute::Array(raw) | Attribute::Object(raw) => raw.to_owned(),
        Attribute::Bool(b) => b.to_string(),
    }
}
