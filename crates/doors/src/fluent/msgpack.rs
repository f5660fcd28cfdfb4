//! MessagePack, as it comes over a socket: where a value ends, and what it says.
//!
//! Invariants:
//! - finding the end of a value that arrives in pieces reads each byte's header once: [`Scanner`] goes on where it stopped;
//! - no recursion deeper than [`DEPTH_MAX`], no memory beyond the bytes that are there, whatever lengths they claim;
//! - no input panics.
//!
//! Not here: what the values mean (see [`super::decode`]).

use heimdall_ingest::records::write;
use heimdall_model::Timestamp;
use heimdall_model::time::NS_PER_SECOND;
use rmp::Marker;

/// Arrays and maps within each other.
pub(crate) const DEPTH_MAX: usize = 60;
const _: () =
    assert!(DEPTH_MAX < heimdall_ingest::json::DEPTH_MAX as usize, "what is read here is read as JSON next");

/// Fluent's extension type of a time with nanoseconds.
const EVENT_TIME: i8 = 0;

/// Why bytes are no value that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("byte 0xc1 is no MessagePack")]
    Reserved,
    #[error("ends early")]
    Truncated,
    #[error("is nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("has a map or an array as the key of a map")]
    Key,
    #[error("is not {0}")]
    Not(&'static str),
}

/// The extent of one value, its children not included.
struct Shape {
    header: usize,
    payload: usize,
    children: u64,
}

/// The shape of the value that `bytes` begin with; `None` when its header is not there as a whole.
fn shape(bytes: &[u8]) -> Result<Option<Shape>, Malformed> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let fixed = |payload: usize| Ok(Some(Shape { header: 1, payload, children: 0 }));
    let sized = |width: usize, extra: usize| {
        let Some(length) = bytes.get(1..=width) else { return Ok(None) };
        let length = length.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        let payload = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(extra);
        Ok(Some(Shape { header: 1 + width, payload, children: 0 }))
    };
    let counted = |width: usize, each: u64| {
        let shape = sized(width, 0)?;
        Ok(shape.map(|shape| Shape { children: shape.payload as u64 * each, payload: 0, ..shape }))
    };
    match Marker::from_u8(*first) {
        Marker::Reserved => Err(Malformed::Reserved),
        Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => fixed(0),
        Marker::U8 | Marker::I8 => fixed(1),
        Marker::U16 | Marker::I16 => fixed(2),
        Marker::U32 | Marker::I32 | Marker::F32 => fixed(4),
        Marker::U64 | Marker::I64 | Marker::F64 => fixed(8),
        Marker::FixStr(length) => fixed(usize::from(length)),
        Marker::FixExt1 => fixed(2),
        Marker::FixExt2 => fixed(3),
        Marker::FixExt4 => fixed(5),
        Marker::FixExt8 => fixed(9),
        Marker::FixExt16 => fixed(17),
        Marker::Str8 | Marker::Bin8 => sized(1, 0),
        Marker::Str16 | Marker::Bin16 => sized(2, 0),
        Marker::Str32 | Marker::Bin32 => sized(4, 0),
        Marker::Ext8 => sized(1, 1),
        Marker::Ext16 => sized(2, 1),
        Marker::Ext32 => sized(4, 1),
        Marker::FixArray(count) => Ok(Some(Shape { header: 1, payload: 0, children: u64::from(count) })),
        Marker::FixMap(count) => Ok(Some(Shape { header: 1, payload: 0, children: 2 * u64::from(count) })),
        Marker::Array16 => counted(2, 1),
        Marker::Array32 => counted(4, 1),
        Marker::Map16 => counted(2, 2),
        Marker::Map32 => counted(4, 2),
    }
}

/// Finds where values end in bytes that arrive in pieces.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// Offset of the next header; beyond the bytes while a payload is still to come.
    at: usize,
    is_begun: bool,
    /// Values still to come of each array or map that is open.
    open: Vec<u64>,
}

impl Scanner {
    /// Where the value that begins at offset 0 ends; `None`: more bytes are needed, then it is to be asked again with the same
    /// bytes and those after them. After an end it begins anew, at offset 0 of what is left; after an error it fails again.
    pub(crate) fn end(&mut self, bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Malformed> {
        loop {
            if self.at > bytes_max {
                return Err(Malformed::TooLarge { bytes_max });
            }
            let Some(rest) = bytes.get(self.at..) else { return Ok(None) };
            if self.is_begun && self.open.is_empty() {
                let end = self.at;
                *self = Scanner { open: std::mem::take(&mut self.open), ..Scanner::default() };
                return Ok(Some(end));
            }
            let Some(shape) = shape(rest)? else { return Ok(None) };
            if shape.children > 0 && self.open.len() == DEPTH_MAX {
                return Err(Malformed::TooDeep);
            }
            self.is_begun = true;
            self.at = self.at.saturating_add(shape.header).saturating_add(shape.payload);
            if shape.children > bytes_max.saturating_sub(self.at) as u64 {
                self.at = usize::MAX;
                return Err(Malformed::TooLarge { bytes_max });
            }
            if shape.children == 0 {
                self.complete_one();
            } else {
                self.open.push(shape.children);
            }
        }
    }

    fn complete_one(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

/// One value, or the head of an array or a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// Text, as a rule UTF-8.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Array(u64),
    /// So many pairs.
    Map(u64),
    Ext(i8, &'a [u8]),
}

/// Reads values that are there as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next value, or the head of it.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Malformed> {
        let shape = shape(self.bytes)?.ok_or(Malformed::Truncated)?;
        let whole = shape.header.saturating_add(shape.payload);
        let (this, rest) = self.bytes.split_at_checked(whole).ok_or(Malformed::Truncated)?;
        let payload = &this[shape.header..];
        self.bytes = rest;
        let ext = |payload: &'a [u8]| match payload.split_first() {
            Some((ty, data)) => Token::Ext(ty.cast_signed(), data),
            None => Token::Nil,
        };
        Ok(match Marker::from_u8(this[0]) {
            Marker::Null | Marker::Reserved => Token::Nil,
            Marker::True => Token::Bool(true),
            Marker::False => Token::Bool(false),
            Marker::FixPos(number) => Token::Uint(number.into()),
            Marker::FixNeg(number) => Token::Int(number.into()),
            Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => Token::Uint(unsigned(payload)),
            Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => Token::Int(signed(payload)),
            Marker::F32 | Marker::F64 => Token::Float(float(payload)),
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => Token::Text(payload),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Token::Binary(payload),
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => Token::Array(shape.children),
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => Token::Map(shape.children / 2),
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => ext(payload),
        })
    }

    /// Passes over the next value with all that is in it, and returns its bytes.
    pub(crate) fn whole(&mut self) -> Result<&'a [u8], Malformed> {
        let end = Scanner::default().end(self.bytes, self.bytes.len())?.ok_or(Malformed::Truncated)?;
        let (this, rest) = self.bytes.split_at(end);
        self.bytes = rest;
        Ok(this)
    }

    /// The head of an array: how many elements.
    pub(crate) fn array(&mut self) -> Result<u64, Malformed> {
        match self.token()? {
            Token::Array(count) => Ok(count),
            _ => Err(Malformed::Not("an array")),
        }
    }

    /// Writes the next value as JSON; whether all of its texts were UTF-8. What fails leaves `out` unfinished.
    pub(crate) fn json(&mut self, out: &mut String) -> Result<bool, Malformed> {
        self.json_within(out, DEPTH_MAX)
    }

    fn json_within(&mut self, out: &mut String, depth_left: usize) -> Result<bool, Malformed> {
        let token = self.token()?;
        match token {
            Token::Array(count) => {
                let depth_left = depth_left.checked_sub(1).ok_or(Malformed::TooDeep)?;
                let mut is_utf8 = true;
                out.push('[');
                for n in 0..count {
                    if n > 0 {
                        out.push(',');
                    }
                    is_utf8 &= self.json_within(out, depth_left)?;
                }
                out.push(']');
                Ok(is_utf8)
            }
            Token::Map(count) => {
                let depth_left = depth_left.checked_sub(1).ok_or(Malformed::TooDeep)?;
                let mut is_utf8 = true;
                out.push('{');
                for n in 0..count {
                    if n > 0 {
                        out.push(',');
                    }
                    write::text(out, &self.token()?.key()?);
                    out.push(':');
                    is_utf8 &= self.json_within(out, depth_left)?;
                }
                out.push('}');
                Ok(is_utf8)
            }
            scalar => Ok(scalar.json(out)),
        }
    }
}

impl<'a> Token<'a> {
    /// The text of a value that is no array and no map; what is no UTF-8 becomes U+FFFD.
    pub(crate) fn key(self) -> Result<std::borrow::Cow<'a, str>, Malformed> {
        match self {
            Token::Text(text) | Token::Binary(text) => Ok(String::from_utf8_lossy(text)),
            Token::Array(_) | Token::Map(_) => Err(Malformed::Key),
            scalar => {
                let mut text = String::new();
                scalar.json(&mut text);
                Ok(text.trim_matches('"').to_owned().into())
            }
        }
    }

    /// The time this value is in Fluent's protocol: whole seconds, seconds with a fraction, or an `EventTime`.
    pub(crate) fn time(self) -> Option<Timestamp> {
        match self {
            Token::Uint(seconds) => Timestamp::from_epoch_int(i64::try_from(seconds).ok()?),
            Token::Int(seconds) => Timestamp::from_epoch_int(seconds),
            Token::Float(seconds) => Timestamp::from_epoch_float(seconds),
            Token::Text(text) => Timestamp::parse(std::str::from_utf8(text).ok()?),
            Token::Ext(EVENT_TIME, &[a, b, c, d, e, f, g, h]) => {
                let seconds = i64::from(u32::from_be_bytes([a, b, c, d]));
                let ns = i64::from(u32::from_be_bytes([e, f, g, h]));
                Some(Timestamp(seconds * NS_PER_SECOND + ns))
            }
            _ => None,
        }
    }

    /// Writes a value that is no array and no map.
    fn json(self, out: &mut String) -> bool {
        match self {
            Token::Nil | Token::Array(_) | Token::Map(_) => out.push_str("null"),
            Token::Bool(is_true) => out.push_str(if is_true { "true" } else { "false" }),
            Token::Int(number) => write::number(out, number),
            Token::Uint(number) => write::number(out, number),
            Token::Float(number) => write::float(out, number),
            Token::Text(bytes) | Token::Binary(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                write::text(out, &text);
                return matches!(text, std::borrow::Cow::Borrowed(_));
            }
            Token::Ext(EVENT_TIME, data) if data.len() == 8 => match self.time() {
                Some(time) => write::time(out, time),
                None => write::hex(out, data),
            },
            Token::Ext(_, data) => write::hex(out, data),
        }
        true
    }
}

fn unsigned(payload: &[u8]) -> u64 {
    payload.iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

fn signed(payload: &[u8]) -> i64 {
    let sign = if payload.first().is_some_and(|byte| byte & 0x80 != 0) { u64::MAX } else { 0 };
    payload.iter().fold(sign, |all, byte| all << 8 | u64::from(*byte)).cast_signed()
}

fn float(payload: &[u8]) -> f64 {
    match *payload {
        [a, b, c, d] => f32::from_be_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => 0.0,
    }
}

/// Values as bytes: what this door says, and what tests send.
pub(crate) mod put {
    pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
        rmp::encode::write_str(out, text).expect("writing to memory cannot fail");
    }

    pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
        rmp::encode::write_bin(out, bytes).expect("writing to memory cannot fail");
    }

    pub(crate) fn array(out: &mut Vec<u8>, count: u32) {
        rmp::encode::write_array_len(out, count).expect("writing to memory cannot fail");
    }

    pub(crate) fn map(out: &mut Vec<u8>, pairs: u32) {
        rmp::encode::write_map_len(out, pairs).expect("writing to memory cannot fail");
    }

    pub(crate) fn bool(out: &mut Vec<u8>, value: bool) {
        rmp::encode::write_bool(out, value).expect("writing to memory cannot fail");
    }

    #[cfg(test)]
    pub(crate) fn uint(out: &mut Vec<u8>, value: u64) {
        rmp::encode::write_uint(out, value).expect("writing to memory cannot fail");
    }

    #[cfg(test)]
    pub(crate) fn event_time(out: &mut Vec<u8>, seconds: u32, ns: u32) {
        out.extend([0xd7, 0]);
        out.extend(seconds.to_be_bytes());
        out.extend(ns.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 4_000;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        put::map(&mut out, 5);
        put::text(&mut out, "text");
        put::text(&mut out, &"x".repeat(300));
        put::text(&mut out, "list");
        put::array(&mut out, 3);
        out.extend([0xd0, 0x80, 0xcb]);
        out.extend(1.5_f64.to_be_bytes());
        out.push(0xc0);
        put::uint(&mut out, 7);
        put::bool(&mut out, true);
        put::text(&mut out, "bin");
        put::binary(&mut out, b"a\xff");
        put::text(&mut out, "t");
        put::event_time(&mut out, 1_700_000_000, 5);
        out
    }

    #[test]
    fn values_become_json() {
        let bytes = sample();
        let mut json = String::new();
        assert_eq!(Reader::new(&bytes).json(&mut json), Ok(false));
        let long = "x".repeat(300);
        assert_eq!(
            json,
            format!(
                r#"{{"text":"{long}","list":[-128,1.5,null],"7":true,"bin":"a{}","t":"2023-11-14T22:13:20.000000005Z"}}"#,
                '\u{fffd}'
            )
        );
    }

    #[test]
    fn an_end_is_found_whatever_the_pieces() {
        let mut bytes = sample();
        let end = bytes.len();
        bytes.extend([0xc0, 0xc3]);
        let mut scanner = Scanner::default();
        for cut in 0..end {
            assert_eq!(scanner.end(&bytes[..cut], 1 << 20), Ok(None), "{cut}");
        }
        assert_eq!(scanner.end(&bytes, 1 << 20), Ok(Some(end)));
        assert_eq!(scanner.end(&bytes[end..], 1 << 20), Ok(Some(1)));
        assert_eq!(scanner.end(&bytes[end + 1..], 1 << 20), Ok(Some(1)));
        assert_eq!(scanner.end(&[], 1 << 20), Ok(None));
    }

    #[test]
    fn claims_beyond_the_limit_fail_at_once() {
        let large = Err(Malformed::TooLarge { bytes_max: 1000 });
        assert_eq!(Scanner::default().end(&[0xdd, 0xff, 0xff, 0xff, 0xff], 1000), large);
        assert_eq!(Scanner::default().end(&[0xc6, 0xff, 0xff, 0xff, 0xff], 1000), large);
        assert_eq!(Scanner::default().end(&[0x91; 100], 1000), Err(Malformed::TooDeep));
        assert_eq!(Scanner::default().end(&[0xc1], 1000), Err(Malformed::Reserved));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let end = Scanner::default().end(&bytes, 256);
            let mut json = String::new();
            let read = Reader::new(&bytes).json(&mut json);
            if let Ok(Some(end)) = end {
                prop_assert!(end <= bytes.len());
                let mut whole = Reader::new(&bytes);
                prop_assert_eq!(whole.whole().map(<[u8]>::len), Ok(end));
            }
            if read.is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
            }
        }
    }

    #[test]
    fn mutants_have_their_end_whatever_the_pieces() {
        let seeds = Seeds::bytes([
            sample(),
            [&sample()[..], b"\x92\xde\x00\x01\xa1k\xdd\x00\x00\x00\x01\xc7\x08\x00abcdefgh\xc0"].concat(),
        ]);
        fuzz(&seeds, |mutant, rng| {
            let whole = Scanner::default().end(mutant, MAX);
            let (mut scanner, mut held, mut found) = (Scanner::default(), Vec::new(), Ok(None));
            for piece in rng.pieces(mutant) {
                held.extend_from_slice(piece);
                found = scanner.end(&held, MAX);
                if found != Ok(None) {
                    break;
                }
            }
            assert_eq!(found, whole);
            let mut json = String::new();
            if Reader::new(mutant).json(&mut json).is_ok() {
                assert!(serde_json::from_str::<&serde_json::value::RawValue>(&json).is_ok(), "{json}");
            }
            assert!(json.len() <= 64 * mutant.len(), "{} bytes of {}", json.len(), mutant.len());
        });
    }
}
