//! Messages of Protocol Buffers, opened one level at a time: a hostile body costs no more memory than its own bytes.
//!
//! Invariants: nothing is copied or held; every step consumes at least one byte; after an error there is nothing more.
//!
//! Not here: what the fields mean. Source: protobuf.dev, "Encoding".

/// The value of a field, as far as the wire says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire<'b> {
    /// `int32` to `uint64`, `sint`, `bool`, `enum`.
    Varint(u64),
    /// `fixed64`, `sfixed64`, `double`, as bits.
    Fixed64(u64),
    /// `fixed32`, `sfixed32`, `float`, as bits.
    Fixed32(u32),
    /// `string`, `bytes`, a message, packed numbers.
    Bytes(&'b [u8]),
}

impl<'b> Wire<'b> {
    /// A whole number with a sign.
    pub(crate) fn int64(self) -> Option<i64> {
        match self {
            Wire::Varint(number) => Some(number.cast_signed()),
            _ => None,
        }
    }

    /// What has a length.
    pub(crate) fn bytes(self) -> Option<&'b [u8]> {
        match self {
            Wire::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The fields of a message, in the order they were written.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'b> {
    rest: &'b [u8],
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a field is longer than its message")]
    Short,
    #[error("it ends within a number")]
    HalfNumber,
    #[error("a number has more than ten bytes")]
    LongNumber,
    #[error("a field has a number that is not allowed")]
    Number,
    #[error("field {number} has wire type {kind}, which is not used")]
    Kind { number: u32, kind: u64 },
}

impl<'b> Fields<'b> {
    pub(crate) fn new(message: &'b [u8]) -> Fields<'b> {
        Fields { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Wire<'b>), WireError> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0).ok_or(WireError::Number)?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                Wire::Bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            kind => return Err(WireError::Kind { number, kind }),
        };
        Ok((number, value))
    }

    fn take(&mut self, len: usize) -> Result<&'b [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        Ok(self.take(N)?.try_into().expect("exactly N bytes were taken"))
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(WireError::HalfNumber)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::LongNumber)
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u32, Wire<'b>), WireError>;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_of_every_wire_type_are_found() {
        let message = [0x08, 0x96, 1, 0x12, 2, 7, 8, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x12, 0];
        let found: Result<Vec<_>, _> = Fields::new(&message).collect();
        assert_eq!(
            found.expect("a message"),
            [
                (1, Wire::Varint(150)),
                (2, Wire::Bytes(&[7, 8])),
                (3, Wire::Fixed32(0x0403_0201)),
                (4, Wire::Fixed64(0x0807_0605_0403_0201)),
                (2, Wire::Bytes(&[]))
            ]
        );
        assert_eq!(Wire::Varint(u64::MAX).int64(), Some(-1));
    }

    #[test]
    fn what_is_no_message_says_why() {
        let check = |bytes: &[u8], error| assert_eq!(Fields::new(bytes).last(), Some(Err(error)));
        check(&[0x12, 9, 1], WireError::Short);
        check(&[0x80], WireError::HalfNumber);
        check(&[0xff; 11], WireError::LongNumber);
        check(&[0x02, 0], WireError::Number);
        check(&[0x0b], WireError::Kind { number: 1, kind: 3 });
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields::new(&bytes).count() <= bytes.len());
        }
    }
}
