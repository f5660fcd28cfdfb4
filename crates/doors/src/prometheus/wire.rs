//! Protobuf as it lies in the body: fields one after the other, borrowed.
//!
//! Nothing is built from the bytes before it is wanted, so a body of two-byte messages costs no more memory than it is long.
//!
//! Invariants: reading ends at the first error; no length is believed beyond the bytes that are there.

/// The bytes are no protobuf, or not of the message they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct WireError(pub(super) &'static str);

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

const KIND: WireError = WireError("a field has another type than it should");

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(KIND),
        }
    }

    pub(super) fn double(self) -> Result<f64, WireError> {
        match self {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(KIND),
        }
    }

    pub(super) fn uint(self) -> Result<u64, WireError> {
        match self {
            Value::Varint(number) => Ok(number),
            _ => Err(KIND),
        }
    }

    /// An `int64`.
    pub(super) fn int(self) -> Result<i64, WireError> {
        Ok(self.uint()?.cast_signed())
    }

    /// A `sint32` or `sint64`.
    pub(super) fn zigzag(self) -> Result<i64, WireError> {
        Ok(unzigzag(self.uint()?))
    }

    /// The numbers of a repeated field: packed, or one of them alone.
    pub(super) fn varints(self) -> Result<Varints<'a>, WireError> {
        match self {
            Value::Varint(number) => Ok(Varints { one: Some(number), rest: &[] }),
            Value::Bytes(rest) => Ok(Varints { one: None, rest }),
            _ => Err(KIND),
        }
    }

    /// The same of `double`.
    pub(super) fn doubles(self) -> Result<impl Iterator<Item = f64>, WireError> {
        let (one, packed) = match self {
            Value::Fixed64(bits) => (Some(bits), &[][..]),
            Value::Bytes(packed) => (None, packed),
            _ => return Err(KIND),
        };
        let (numbers, rest) = packed.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(TRUNCATED);
        }
        Ok(one.into_iter().chain(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes))).map(f64::from_bits))
    }
}

pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

const TRUNCATED: WireError = WireError("it ends within a field");

/// Numbers one after the other.
pub(super) struct Varints<'a> {
    one: Option<u64>,
    rest: &'a [u8],
}

impl Iterator for Varints<'_> {
    type Item = Result<u64, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(one) = self.one.take() {
            return Some(Ok(one));
        }
        if self.rest.is_empty() {
            return None;
        }
        let number = varint(&mut self.rest);
        if number.is_err() {
            self.rest = &[];
        }
        Some(number)
    }
}

/// The fields of a message in the order they were written, with their numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), WireError> {
        let key = varint(&mut self.rest)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or(WireError("a field has no number"))?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.array()?)),
            2 => {
                let len = varint(&mut self.rest)?;
                let len = usize::try_from(len).ok().filter(|len| *len <= self.rest.len()).ok_or(TRUNCATED)?;
                let (bytes, rest) = self.rest.split_at(len);
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(*self.array()?)),
            _ => return Err(WireError("a field has an unknown type")),
        };
        Ok((number, value))
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], WireError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0_u64;
    for (n, byte) in rest.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * n); // bits beyond the 64th are cut, as everywhere
        if byte & 0x80 == 0 {
            *rest = &rest[n + 1..];
            return Ok(number);
        }
    }
    Err(if rest.len() < 10 { TRUNCATED } else { WireError("a number is too long") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_as_they_lie() {
        let message = [8, 0x96, 1, 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x1a, 1, b'x', 0x25, 1, 0, 0, 0];
        let fields: Vec<_> = Fields::of(&message).map(Result::unwrap).collect();
        assert_eq!(fields[0], (1, Value::Varint(150)));
        assert_eq!(fields[1].1.double(), Ok(1.0));
        assert_eq!(fields[2], (3, Value::Bytes(b"x")));
        assert_eq!(fields[3], (4, Value::Fixed32(1)));
        assert_eq!([0, 1, 2, 3].map(unzigzag), [0, -1, 1, -2]);
        assert_eq!(unzigzag(u64::MAX), i64::MIN);
    }

    #[test]
    fn what_is_no_protobuf_ends_the_reading() {
        for bytes in
            [&[8][..], &[0x0a, 5, 1], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x0b], &[0], &[0xff; 11]]
        {
            assert!(Fields::of(bytes).last().is_some_and(|last| last.is_err()), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let fields = Fields::of(&bytes).count();
            prop_assert!(fields <= bytes.len());
            for (_, value) in Fields::of(&bytes).flatten() {
                let _ = value.varints().map(Iterator::count);
                let _ = value.doubles().map(Iterator::count);
            }
        }
    }
}
