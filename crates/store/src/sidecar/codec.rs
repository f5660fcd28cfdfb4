//! Little-endian reading and writing of a block's content.
//!
//! Always true: reading damaged bytes ends in a [`Damage`] that says where, never in a panic or a huge allocation.

use std::sync::Arc;

/// What is wrong with some bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} at byte {at}")]
pub(crate) struct Damage {
    /// Byte within the content.
    pub at: usize,
    /// What is wrong.
    pub detail: &'static str,
}

/// Reads a block's content from front to back.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// The complaint `detail` about the present place.
    pub(crate) fn damage(&self, detail: &'static str) -> Damage {
        Damage { at: self.at, detail }
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.damage("content ends early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        Ok(self.take(N)?.try_into().expect("exactly N bytes were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Damage> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A count of items that take at least `item_bytes` each: no more than the rest can hold.
    pub(crate) fn count(&mut self, item_bytes: usize) -> Result<usize, Damage> {
        let count = self.u32()? as usize;
        if count.saturating_mul(item_bytes) > self.bytes.len() - self.at {
            return Err(self.damage("count is larger than the content"));
        }
        Ok(count)
    }

    /// A text with its length before it.
    pub(crate) fn text(&mut self) -> Result<&'a str, Damage> {
        let len = self.u32()? as usize;
        let at = self.at;
        std::str::from_utf8(self.take(len)?).map_err(|_| Damage { at, detail: "text is not UTF-8" })
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self) -> Result<Vec<Arc<str>>, Damage> {
        let count = self.count(4)?;
        (0..count).map(|_| Ok(self.text()?.into())).collect()
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<(), Damage> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.damage("content does not end")) }
    }
}

/// Appends a length or count.
pub(crate) fn put_count(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&u32::try_from(n).expect("counts of one segment fit 32 bits").to_le_bytes());
}

/// Appends a text with its length before it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a list of texts.
pub(crate) fn put_texts(out: &mut Vec<u8>, texts: &[Arc<str>]) {
    put_count(out, texts.len());
    texts.iter().for_each(|text| put_text(out, text));
}
