//! OTLP/JSON to OpenTelemetry's messages, as the specification has it: ids in hex, 64-bit numbers as text or numbers, enums as
//! numbers (their names are taken too), names in lowerCamelCase (protobuf's own are taken too), unknown fields ignored.
//!
//! The derived readers of `opentelemetry-proto` are not used: they refuse names of enums, unknown members of values, `NaN` and
//! null where a sender may write them.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::engine::{DecodePaddingMode, GeneralPurpose};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Whole numbers that JSON writers put down as floats are taken up to this one.
const WHOLE_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// What can be read from OTLP/JSON.
pub(super) trait FromJson: Sized {
    fn from_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

struct Json<T>(T);

impl<'de, T: FromJson> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::from_json(deserializer).map(Json)
    }
}

/// Reads one value.
pub(super) fn read<T: FromJson>(text: &str) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = T::from_json(&mut reader)?;
    reader.end()?;
    Ok(value)
}

fn value<'de, T: FromJson, A: MapAccess<'de>>(map: &mut A) -> Result<T, A::Error> {
    map.next_value().map(|Json(value)| value)
}

// ---- names and scalars ------------------------------------------------------------------------------------------------

/// A member's name, borrowed where it has no escapes.
pub(super) struct Name<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads null as the default, numbers, booleans and texts by the functions a kind of scalar has.
struct Scalar<T>(PhantomData<T>);

trait FromScalar: Sized + Default {
    const WHAT: &'static str;
    fn from_text(_text: &str) -> Option<Self> {
        None
    }
    fn from_i64(_number: i64) -> Option<Self> {
        None
    }
    fn from_u64(_number: u64) -> Option<Self> {
        None
    }
    fn from_f64(_number: f64) -> Option<Self> {
        None
    }
    fn from_bool(_is: bool) -> Option<Self> {
        None
    }
}

impl<'de, T: FromScalar> Visitor<'de> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(T::WHAT)
    }
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::from_i64(number).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::from_u64(number).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        T::from_f64(number).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(number), &self))
    }
    fn visit_bool<E: Error>(self, is: bool) -> Result<T, E> {
        T::from_bool(is).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Bool(is), &self))
    }
}

macro_rules! scalars {
    ($($ty:ty),*) => { $(
        impl FromJson for $ty {
            fn from_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$ty, D::Error> {
                deserializer.deserialize_any(Scalar::<$ty>(PhantomData))
            }
        }
    )* };
}
scalars!(u64, i64, u32, i32, f64, bool, String);

macro_rules! whole_numbers {
    ($($ty:ty),*) => { $(
        impl FromScalar for $ty {
            const WHAT: &'static str = concat!("a whole number (", stringify!($ty), ")");
            fn from_text(text: &str) -> Option<$ty> {
                <$ty>::from_str(text.trim()).ok()
            }
            fn from_i64(number: i64) -> Option<$ty> {
                number.try_into().ok()
            }
            fn from_u64(number: u64) -> Option<$ty> {
                number.try_into().ok()
            }
            fn from_f64(number: f64) -> Option<$ty> {
                whole(number)?.try_into().ok()
            }
        }
    )* };
}
whole_numbers!(u64, i64, u32, i32);

/// The whole number that a float is.
#[expect(clippy::cast_possible_truncation, reason = "it has no fraction and is within range")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= WHOLE_FLOAT_MAX).then_some(number as i64)
}

#[expect(clippy::cast_precision_loss, reason = "a double is what the field holds")]
impl FromScalar for f64 {
    const WHAT: &'static str = "a number, `NaN`, `Infinity` or `-Infinity`";
    fn from_text(text: &str) -> Option<f64> {
        text.trim().parse().ok()
    }
    fn from_i64(number: i64) -> Option<f64> {
        Some(number as f64)
    }
    fn from_u64(number: u64) -> Option<f64> {
        Some(number as f64)
    }
    fn from_f64(number: f64) -> Option<f64> {
        Some(number)
    }
}

impl FromScalar for bool {
    const WHAT: &'static str = "true or false";
    fn from_text(text: &str) -> Option<bool> {
        text.trim().parse().ok()
    }
    fn from_bool(is: bool) -> Option<bool> {
        Some(is)
    }
}

impl FromScalar for String {
    const WHAT: &'static str = "a text";
    fn from_text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

/// An id in hex. What is no hex is kept as bytes of a length no id has, so that its record says so instead of the whole request.
#[derive(Default)]
struct Hex(Vec<u8>);

impl FromScalar for Hex {
    const WHAT: &'static str = "hex digits";
    fn from_text(text: &str) -> Option<Hex> {
        Some(Hex(hex(text).unwrap_or_else(|| {
            let mut bytes = text.as_bytes().to_vec();
            if matches!(bytes.len(), 8 | 16) {
                bytes.push(b'?');
            }
            bytes
        })))
    }
}
scalars!(Hex, Base64);

fn hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => {
                let digit =
                    |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                Some(digit(high)? << 4 | digit(low)?)
            }
            _ => None,
        })
        .collect()
}

/// Bytes in base64, of either alphabet, padded or not.
#[derive(Default)]
struct Base64(Vec<u8>);

impl FromScalar for Base64 {
    const WHAT: &'static str = "base64";
    fn from_text(text: &str) -> Option<Base64> {
        const ANY_PADDING: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, ANY_PADDING);
        const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, ANY_PADDING);
        STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok().map(Base64)
    }
}

/// An enum as number or name; a name that is not known is the number 0, as protobuf has it.
#[derive(Default)]
struct Enum<T>(i32, PhantomData<T>);

trait Named {
    const PREFIX: &'static str;
    fn number(name: &str) -> Option<i32>;
}

impl<T: Named + Default> FromScalar for Enum<T> {
    const WHAT: &'static str = "the number or name of a value";
    fn from_text(text: &str) -> Option<Enum<T>> {
        let number = T::number(text)
            .or_else(|| T::number(&format!("{}{}", T::PREFIX, text.to_ascii_uppercase())))
            .or_else(|| text.trim().parse().ok());
        Some(Enum(number.unwrap_or(0), PhantomData))
    }
    fn from_i64(number: i64) -> Option<Enum<T>> {
        Some(Enum(number.try_into().ok()?, PhantomData))
    }
    fn from_u64(number: u64) -> Option<Enum<T>> {
        Some(Enum(number.try_into().ok()?, PhantomData))
    }
    fn from_f64(number: f64) -> Option<Enum<T>> {
        Self::from_i64(whole(number)?)
    }
}

impl<T: Named + Default> FromJson for Enum<T> {
    fn from_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar::<Self>(PhantomData))
    }
}

macro_rules! enums {
    ($($ty:ty: $prefix:literal),*) => { $(
        impl Named for $ty {
            const PREFIX: &'static str = $prefix;
            fn number(name: &str) -> Option<i32> {
                <$ty>::from_str_name(name).map(|value| value as i32)
            }
        }
    )* };
}
enums!(SeverityNumber: "SEVERITY_NUMBER_", SpanKind: "SPAN_KIND_", StatusCode: "STATUS_CODE_");

// ---- lists and options ------------------------------------------------------------------------------------------------

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        struct Elements<T>(PhantomData<T>);
        impl<'de, T: FromJson> Visitor<'de> for Elements<T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array")
            }
            fn visit_unit<E>(self) -> Result<Vec<T>, E> {
                Ok(Vec::new())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(Json(element)) = seq.next_element()? {
                    list.push(element);
                }
                Ok(list)
            }
        }
        deserializer.deserialize_any(Elements(PhantomData))
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Ok(Option::<Json<T>>::deserialize(deserializer)?.map(|Json(value)| value))
    }
}

// ---- messages ---------------------------------------------------------------------------------------------------------

/// Reads a message: each line names a member and says what is done with it; `out` is the message, `map` the members.
macro_rules! message {
    ($ty:ty, $out:ident, $map:ident { $($($name:literal)|+ => $set:expr),* $(,)? }) => {
        impl FromJson for $ty {
            fn from_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$ty, D::Error> {
                struct Members;
                impl<'de> Visitor<'de> for Members {
                    type Value = $ty;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("an object (", stringify!($ty), ")"))
                    }
                    fn visit_unit<E>(self) -> Result<$ty, E> {
                        Ok(<$ty>::default())
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<$ty, A::Error> {
                        let $map = &mut members;
                        let mut $out = <$ty>::default();
                        while let Some(Name(name)) = $map.next_key()? {
                            match &*name {
                                $($($name)|+ => $set,)*
                                _ => {
                                    $map.next_value::<IgnoredAny>()?;
                                }
                            }
                        }
                        Ok($out)
                    }
                }
                deserializer.deserialize_any(Members)
            }
        }
    };
}

message!(AnyValue, out, map {
    "stringValue" | "string_value" => set(&mut out, value::<Option<String>, _>(map)?.map(Value::StringValue)),
    "boolValue" | "bool_value" => set(&mut out, value::<Option<bool>, _>(map)?.map(Value::BoolValue)),
    "intValue" | "int_value" => set(&mut out, value::<Option<i64>, _>(map)?.map(Value::IntValue)),
    "doubleValue" | "double_value" => set(&mut out, value::<Option<f64>, _>(map)?.map(Value::DoubleValue)),
    "arrayValue" | "array_value" => set(&mut out, value::<Option<ArrayValue>, _>(map)?.map(Value::ArrayValue)),
    "kvlistValue" | "kvlist_value" => set(&mut out, value::<Option<KeyValueList>, _>(map)?.map(Value::KvlistValue)),
    "bytesValue" | "bytes_value" => set(&mut out, value::<Option<Base64>, _>(map)?.map(|bytes| Value::BytesValue(bytes.0))),
});

fn set(any: &mut AnyValue, value: Option<Value>) {
    if value.is_some() {
        any.value = value;
    }
}

message!(ArrayValue, out, map { "values" => out.values = value(map)? });
message!(KeyValueList, out, map { "values" => out.values = value(map)? });
message!(KeyValue, out, map {
    "key" => out.key = value(map)?,
    "value" => out.value = value(map)?,
});
message!(Resource, out, map {
    "attributes" => out.attributes = value(map)?,
    "droppedAttributesCount" | "dropped_attributes_count" => out.dropped_attributes_count = value(map)?,
});
message!(InstrumentationScope, out, map {
    "name" => out.name = value(map)?,
    "version" => out.version = value(map)?,
    "attributes" => out.attributes = value(map)?,
    "droppedAttributesCount" | "dropped_attributes_count" => out.dropped_attributes_count = value(map)?,
});
message!(LogRecord, out, map {
    "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = value(map)?,
    "observedTimeUnixNano" | "observed_time_unix_nano" => out.observed_time_unix_nano = value(map)?,
    "severityNumber" | "severity_number" => out.severity_number = value::<Enum<SeverityNumber>, _>(map)?.0,
    "severityText" | "severity_text" => out.severity_text = value(map)?,
    "body" => out.body = value(map)?,
    "attributes" => out.attributes = value(map)?,
    "droppedAttributesCount" | "dropped_attributes_count" => out.dropped_attributes_count = value(map)?,
    "flags" => out.flags = value(map)?,
    "traceId" | "trace_id" => out.trace_id = value::<Hex, _>(map)?.0,
    "spanId" | "span_id" => out.span_id = value::<Hex, _>(map)?.0,
    "eventName" | "event_name" => out.event_name = value(map)?,
});
message!(Span, out, map {
    "traceId" | "trace_id" => out.trace_id = value::<Hex, _>(map)?.0,
    "spanId" | "span_id" => out.span_id = value::<Hex, _>(map)?.0,
    "traceState" | "trace_state" => out.trace_state = value(map)?,
    "parentSpanId" | "parent_span_id" => out.parent_span_id = value::<Hex, _>(map)?.0,
    "flags" => out.flags = value(map)?,
    "name" => out.name = value(map)?,
    "kind" => out.kind = value::<Enum<SpanKind>, _>(map)?.0,
    "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = value(map)?,
    "endTimeUnixNano" | "end_time_unix_nano" => out.end_time_unix_nano = value(map)?,
    "attributes" => out.attributes = value(map)?,
    "droppedAttributesCount" | "dropped_attributes_count" => out.dropped_attributes_count = value(map)?,
    "events" => out.events = value(map)?,
    "droppedEventsCount" | "dropped_events_count" => out.dropped_events_count = value(map)?,
    "links" => out.links = value(map)?,
    "droppedLinksCount" | "dropped_links_count" => out.dropped_links_count = value(map)?,
    "status" => out.status = value(map)?,
});
message!(Event, out, map {
    "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = value(map)?,
    "name" => out.name = value(map)?,
    "attributes" => out.attributes = value(map)?,
    "droppedAttributesCount" | "dropped_attributes_count" => out.dropped_attributes_count = value(map)?,
});
message!(Link, out, map {
    "traceId" | "trace_id" => out.trace_id = value::<Hex, _>(map)?.0,
    "spanId" | "span_id" => out.span_id = value::<Hex, _>(map)?.0,
    "traceState" | "trace_state" => out.trace_state = value(map)?,
    "attributes" => out.attributes = value(map)?,
    "droppedAttributesCount" | "dropped_attributes_count" => out.dropped_attributes_count = value(map)?,
    "flags" => out.flags = value(map)?,
});
message!(Status, out, map {
    "message" => out.message = value(map)?,
    "code" => out.code = value::<Enum<StatusCode>, _>(map)?.0,
});
message!(NumberDataPoint, out, map {
    "attributes" => out.attributes = value(map)?,
    "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = value(map)?,
    "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = value(map)?,
    "asDouble" | "as_double" => {
        out.value = value::<Option<f64>, _>(map)?.map(number_data_point::Value::AsDouble).or(out.value);
    },
    "asInt" | "as_int" => {
        out.value = value::<Option<i64>, _>(map)?.map(number_data_point::Value::AsInt).or(out.value);
    },
    "exemplars" => out.exemplars = value(map)?,
    "flags" => out.flags = value(map)?,
});
message!(HistogramDataPoint, out, map {
    "attributes" => out.attributes = value(map)?,
    "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = value(map)?,
    "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = value(map)?,
    "count" => out.count = value(map)?,
    "sum" => out.sum = value(map)?,
    "bucketCounts" | "bucket_counts" => out.bucket_counts = value(map)?,
    "explicitBounds" | "explicit_bounds" => out.explicit_bounds = value(map)?,
    "exemplars" => out.exemplars = value(map)?,
    "flags" => out.flags = value(map)?,
    "min" => out.min = value(map)?,
    "max" => out.max = value(map)?,
});
message!(ExponentialHistogramDataPoint, out, map {
    "attributes" => out.attributes = value(map)?,
    "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = value(map)?,
    "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = value(map)?,
    "count" => out.count = value(map)?,
    "sum" => out.sum = value(map)?,
    "scale" => out.scale = value(map)?,
    "zeroCount" | "zero_count" => out.zero_count = value(map)?,
    "positive" => out.positive = value(map)?,
    "negative" => out.negative = value(map)?,
    "flags" => out.flags = value(map)?,
    "exemplars" => out.exemplars = value(map)?,
    "min" => out.min = value(map)?,
    "max" => out.max = value(map)?,
    "zeroThreshold" | "zero_threshold" => out.zero_threshold = value(map)?,
});
message!(Buckets, out, map {
    "offset" => out.offset = value(map)?,
    "bucketCounts" | "bucket_counts" => out.bucket_counts = value(map)?,
});
message!(SummaryDataPoint, out, map {
    "attributes" => out.attributes = value(map)?,
    "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = value(map)?,
    "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = value(map)?,
    "count" => out.count = value(map)?,
    "sum" => out.sum = value(map)?,
    "quantileValues" | "quantile_values" => out.quantile_values = value(map)?,
    "flags" => out.flags = value(map)?,
});
message!(ValueAtQuantile, out, map {
    "quantile" => out.quantile = value(map)?,
    "value" => out.value = value(map)?,
});
// Only that there is one matters.
message!(Exemplar, out, map { "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = value(map)? });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_as_numbers_texts_and_whole_floats() {
        for text in ["5", "\"5\"", "5.0", "5e0"] {
            assert_eq!(read::<u64>(text).expect(text), 5);
            assert_eq!(read::<i32>(text).expect(text), 5);
        }
        assert_eq!(read::<u64>("\"18446744073709551615\"").expect("u64"), u64::MAX);
        assert_eq!(read::<u64>("null").expect("nothing"), 0);
        for text in ["-1", "5.5", "\"x\"", "1e300", "true", "{}"] {
            assert!(read::<u64>(text).is_err(), "{text}");
        }
        assert!(read::<f64>("\"NaN\"").expect("f64").is_nan());
        assert_eq!(read::<f64>("\"-Infinity\"").expect("f64"), f64::NEG_INFINITY);
    }

    #[test]
    fn enums_come_as_numbers_and_names() {
        let severity = |text: &str| read::<Enum<SeverityNumber>>(text).expect(text).0;
        for text in ["17", "\"17\"", "\"SEVERITY_NUMBER_ERROR\"", "\"error\""] {
            assert_eq!(severity(text), 17, "{text}");
        }
        assert_eq!(severity("\"loud\""), 0);
        assert_eq!(severity("99"), 99);
    }

    #[test]
    fn values_of_every_kind_and_unknown_members() {
        let text = r#"{"values":[{"stringValue":"a"},{"boolValue":true},{"intValue":"-9223372036854775808"},{"doubleValue":1},
            {"arrayValue":{"values":[{}]}},{"kvlistValue":{"values":[{"key":"k","value":{"intValue":1}}]}},
            {"bytesValue":"_-8"},{"newKind":{"deep":[1,2]},"stringValue":"b"},{"stringValue":null}]}"#;
        let array: ArrayValue = read(text).expect("values");
        let values: Vec<_> = array.values.into_iter().map(|any| any.value).collect();
        assert_eq!(values[0], Some(Value::StringValue("a".to_owned())));
        assert_eq!(values[2], Some(Value::IntValue(i64::MIN)));
        assert_eq!(values[3], Some(Value::DoubleValue(1.0)));
        assert_eq!(values[6], Some(Value::BytesValue(vec![0xff, 0xef])));
        assert_eq!(values[7], Some(Value::StringValue("b".to_owned())));
        assert_eq!(values[8], None);
    }

    #[test]
    fn an_id_that_is_no_hex_is_no_id() {
        assert_eq!(read::<Hex>("\"0aFF\"").expect("hex").0, [10, 255]);
        for text in ["\"zz\"", "\"zzzzzzzz\"", "\"zzzzzzzzzzzzzzzz\"", "\"abc\""] {
            let bytes = read::<Hex>(text).expect("kept").0;
            assert!(!matches!(bytes.len(), 0 | 8 | 16), "{text}");
        }
    }
}
