//! One value as summaries keep it: its type and bytes that are equal exactly for equal values.

use heimdall_model::attributes::Attribute;
use heimdall_model::{Level, Timestamp};

use super::codec::Damage;
use super::hash64;

const NULL: u8 = 0;
pub(super) const BOOL: u8 = 1;
pub(super) const INT: u8 = 2;
pub(super) const FLOAT: u8 = 3;
const LEVEL: u8 = 4;
const TIME: u8 = 5;
pub(super) const TEXT: u8 = 6;
pub(super) const JSON: u8 = 7;
/// Floats below this that are whole are kept as whole numbers: 5 and 5.0 are one value.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// A value of one field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SummaryValue<'a> {
    /// The field is absent.
    Null,
    /// True or false.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Number that is not whole, or beyond 2^53.
    Float(f64),
    /// Log level.
    Level(Level),
    /// Point in time.
    Time(Timestamp),
    /// Text.
    Text(&'a str),
    /// JSON text of an object or array.
    Json(&'a str),
}

/// Room for the bytes of a number.
pub(crate) type Scratch = [u8; 8];

impl<'a> SummaryValue<'a> {
    /// The value of a number.
    #[must_use]
    pub fn number(x: f64) -> SummaryValue<'static> {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
        if x.fract() == 0.0 && x.abs() < EXACT_BELOW {
            SummaryValue::Int(x as i64)
        } else {
            SummaryValue::Float(x)
        }
    }

    /// Hash of the value, for a [`super::Distinct`].
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut scratch = Scratch::default();
        let (tag, bytes) = self.key(&mut scratch);
        hash64(tag, bytes)
    }

    /// Tag and bytes that differ for different values.
    #[inline]
    pub(crate) fn key<'s>(&self, scratch: &'s mut Scratch) -> (u8, &'s [u8])
    where
        'a: 's,
    {
        let mut small = |tag: u8, n: u64, len: usize| {
            *scratch = n.to_be_bytes();
            (tag, 8 - len)
        };
        let (tag, start) = match *self {
            SummaryValue::Text(text) => return (TEXT, text.as_bytes()),
            SummaryValue::Json(raw) => return (JSON, raw.as_bytes()),
            SummaryValue::Null => small(NULL, 0, 0),
            SummaryValue::Bool(b) => small(BOOL, u64::from(b), 1),
            SummaryValue::Int(n) => small(INT, n.cast_unsigned(), 8),
            SummaryValue::Float(x) => small(FLOAT, x.to_bits(), 8),
            SummaryValue::Level(level) => small(LEVEL, u64::from(level.code()), 1),
            SummaryValue::Time(time) => small(TIME, time.0.cast_unsigned(), 8),
        };
        (tag, &scratch[start..])
    }

    /// The value of a tag and bytes.
    pub(crate) fn of_key(tag: u8, bytes: &'a [u8]) -> Result<SummaryValue<'a>, Damage> {
        let damage = Damage { at: 0, detail: "a value is malformed" };
        let text = || std::str::from_utf8(bytes).map_err(|_| damage.clone());
        let word = || bytes.try_into().map(u64::from_be_bytes).map_err(|_| damage.clone());
        Ok(match (tag, bytes) {
            (NULL, []) => SummaryValue::Null,
            (BOOL, [b @ 0..=1]) => SummaryValue::Bool(*b == 1),
            (INT, _) => SummaryValue::Int(word()?.cast_signed()),
            (FLOAT, _) => SummaryValue::Float(f64::from_bits(word()?)),
            (LEVEL, [code]) => SummaryValue::Level(Level::from_code(*code).ok_or(damage)?),
            (TIME, _) => SummaryValue::Time(Timestamp(word()?.cast_signed())),
            (TEXT, _) => SummaryValue::Text(text()?),
            (JSON, _) => SummaryValue::Json(text()?),
            _ => return Err(damage),
        })
    }
}

impl<'a> From<&'a Attribute<'_>> for SummaryValue<'a> {
    fn from(attribute: &'a Attribute<'_>) -> SummaryValue<'a> {
        match attribute {
            Attribute::Text(text) => SummaryValue::Text(text),
            Attribute::Number(raw) => match raw.parse::<i64>() {
                Ok(n) => SummaryValue::Int(n),
                Err(_) => raw.parse().map_or(SummaryValue::Null, SummaryValue::number),
            },
            Attribute::Bool(b) => SummaryValue::Bool(*b),
            Attribute::Array(raw) | Attribute::Object(raw) => SummaryValue::Json(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_round_trip(n: i64, x: f64, text: String, b: bool) {
            let values = [
                SummaryValue::Null, SummaryValue::Bool(b), SummaryValue::Int(n), SummaryValue::number(x),
                SummaryValue::Level(Level::Warn), SummaryValue::Time(Timestamp(n)), SummaryValue::Text(&text),
                SummaryValue::Json(&text),
            ];
            for value in values {
                let mut scratch = Scratch::default();
                let (tag, bytes) = value.key(&mut scratch);
                prop_assert_eq!(SummaryValue::of_key(tag, bytes), Ok(value));
            }
        }
    }
}
