//! Varints and texts of summary blocks: every number but a float is as long as it needs to be.
//!
//! Always true: reading damaged bytes ends in a [`Damage`] that says where, never in a panic or a huge allocation.

pub(crate) use crate::sidecar::Damage;

/// Reads content from front to back.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The complaint `detail` about the present place.
    pub(crate) fn damage(&self, detail: &'static str) -> Damage {
        Damage { at: self.at, detail }
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.damage("content ends early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte.ok_or(Damage { at: self.at - 1, detail: "content ends early" })
    }

    /// A LEB128 number of at most 64 bits.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Damage> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.long_varint(u64::from(first & 0x7f))
    }

    fn long_varint(&mut self, mut n: u64) -> Result<u64, Damage> {
        for shift in (7..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(self.damage("number is too long"))
    }

    /// A number whose sign is in its lowest bit.
    pub(crate) fn signed(&mut self) -> Result<i64, Damage> {
        let n = self.varint()?;
        Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        u32::try_from(self.varint()?).map_err(|_| self.damage("number is too large"))
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Damage> {
        let bytes = self.take(8)?.try_into().expect("exactly 8 bytes were taken");
        Ok(f64::from_bits(u64::from_le_bytes(bytes)))
    }

    /// A count of items that take at least one byte each: no more than the rest can hold.
    pub(crate) fn count(&mut self) -> Result<usize, Damage> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count > self.bytes.len() - self.at.min(self.bytes.len()) {
            return Err(self.damage("count is larger than the content"));
        }
        Ok(count)
    }

    /// A text with its length before it.
    pub(crate) fn text(&mut self) -> Result<&'a str, Damage> {
        let len = self.count()?;
        let at = self.at;
        std::str::from_utf8(self.take(len)?).map_err(|_| Damage { at, detail: "text is not UTF-8" })
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<(), Damage> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.damage("content does not end")) }
    }
}

/// Appends a number as LEB128.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).expect("7 bits") | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).expect("below 0x80"));
}

/// Appends a number with its sign in the lowest bit.
pub(crate) fn put_signed(out: &mut Vec<u8>, n: i64) {
    put(out, ((n << 1) ^ (n >> 63)).cast_unsigned());
}

/// Appends a text with its length before it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(n: u64, signed: i64) {
            let mut out = Vec::new();
            put(&mut out, n);
            put_signed(&mut out, signed);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(n));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn any_bytes_end_in_a_number_or_damage(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.varint().is_ok() {}
            prop_assert!(Reader::new(&bytes).text().is_ok() || !bytes.is_empty() || bytes.is_empty());
        }
    }
}
