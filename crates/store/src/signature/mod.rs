//! Bit-sliced signatures: which pages of a segment may hold a value or word, known from a few kilobytes.
//! Format: docs/formats/segment.md.
//!
//! Each page has a Bloom filter over its tokens ([`token`]); the filters of all pages are stored transposed, so that one
//! stored row holds the same bit of every page, and a look-up reads [`HASHES`] rows whatever the number of pages.
//!
//! - [`build`]: gathers the tokens of a segment while it is written; [`need`]: the tokens a filter cannot do without
//!
//! Invariants:
//! - a page that is not in a [`PageSet`] holds no row that passes: the filters have no false negatives, and what a
//!   signature does not cover is taken to be everywhere;
//! - the mean share of pages named in vain is at most [`FALSE_SHARE`] a token, unless [`ROW_BITS_MAX`] forbids it.

mod build;
mod need;
mod token;

use std::ops::Range;

use heimdall_model::FieldId;

pub(crate) use build::SignatureBuilder;
pub(crate) use need::Need;

use crate::sidecar::{
    CELL_BYTES, CELL_DATA_BYTES, Cells, Damage, PAGE_ROWS, Reader, SidecarBlock, SidecarFile, kind,
};
use crate::store::StoreError;

/// Bits set and looked up per token.
const HASHES: u32 = 6;
/// Pages named in vain by one token, as a share of all: the filters are made as long as this takes.
const FALSE_SHARE: f64 = 1.0 / 400.0;
/// Most bits of filter per row of the fullest page (11 bytes): denser pages are named in vain more often.
const ROW_BITS_MAX: usize = 88;

/// The shape of a segment's signature: what a look-up needs besides the stored rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    /// Bits of a page's filter: the number of stored rows.
    bits: u32,
    hashes: u32,
    pages: u32,
    /// Bit `f` set: every value of canonical field `f` is in the filters.
    fields: u64,
}

impl SidecarBlock for Signature {
    const KIND: u32 = kind::SIGNATURE;

    fn encode(&self, out: &mut Vec<u8>) {
        for n in [token::VERSION, self.bits, self.hashes, self.pages] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&self.fields.to_le_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        if reader.u32()? != token::VERSION {
            return Err(reader.damage("tokens are of another version"));
        }
        let (bits, hashes, pages) = (reader.u32()?, reader.u32()?, reader.u32()?);
        if bits == 0 || !(1..=64).contains(&hashes) {
            return Err(reader.damage("a filter has no bits"));
        }
        Ok(Signature { bits, hashes, pages, fields: reader.u64()? })
    }

    fn check(&self, rows: u64) -> Result<(), &'static str> {
        if u64::from(self.pages) == rows.div_ceil(PAGE_ROWS as u64) {
            Ok(())
        } else {
            Err("there is not one filter per page")
        }
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Signature>()
    }
}

impl Signature {
    fn covers(&self, field: FieldId) -> bool {
        self.fields >> field.0 & 1 == 1
    }

    /// Bits of a stored row: one per page, rounded up so that rows do not straddle bytes.
    fn stride(&self) -> usize {
        let pages = self.pages as usize;
        if pages <= 8 { pages.next_power_of_two() } else { pages.next_multiple_of(8) }
    }

    /// Stored rows of one cell.
    fn rows_per_cell(&self) -> usize {
        CELL_DATA_BYTES * 8 / self.stride()
    }

    /// Cell and bit within the cell's data at which stored row `row` begins.
    fn place(&self, row: u32) -> (u32, usize) {
        let per_cell = self.rows_per_cell();
        let cell = u32::try_from(row as usize / per_cell).expect("fewer cells than rows");
        (cell, row as usize % per_cell * self.stride())
    }

    /// Leaves those pages in `set` whose filter has bit `row`.
    fn narrow(&self, set: &mut PageSet, row: u32, cells: &Cells<'_>) -> Result<(), StoreError> {
        let mut buffer = [0; CELL_BYTES];
        let (cell, bit) = self.place(row);
        let data = cells.read(cell, &mut buffer)?;
        let stored = &data[bit / 8..];
        if self.stride() < 8 {
            set.words[0] &= u64::from(stored[0] >> (bit % 8));
            return Ok(());
        }
        for (word, bytes) in set.words.iter_mut().zip(stored[..self.stride() / 8].chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word &= u64::from_le_bytes(padded);
        }
        Ok(())
    }
}

/// Some pages of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageSet {
    /// Bit `p % 64` of word `p / 64` set: page `p` is in. Bits beyond the pages are clear.
    words: Vec<u64>,
}

impl PageSet {
    fn all(pages: usize) -> PageSet {
        let mut words = vec![u64::MAX; pages.div_ceil(64)];
        if let (Some(last), rest @ 1..) = (words.last_mut(), pages % 64) {
            *last = (1 << rest) - 1;
        }
        PageSet { words }
    }

    /// Whether no page is in.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Pages in the set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether page `page` is in.
    pub(crate) fn contains(&self, page: usize) -> bool {
        self.words.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// The pages as ranges of neighbours, rising.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let end = self.words.len() * 64;
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = (at..end).find(|page| self.contains(*page))?;
            let stop = (start..end).find(|page| !self.contains(*page)).unwrap_or(end);
            at = stop;
            Some(start..stop)
        })
    }

    fn union(&mut self, other: &PageSet) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }
}

/// Pages of a segment that may hold a row that passes; `None` when the signature rules out none of them.
pub(crate) fn pages(sidecar: &SidecarFile, need: &Need) -> Result<Option<PageSet>, StoreError> {
    if matches!(need, Need::Nothing) {
        return Ok(None);
    }
    let Some(signature) = sidecar.block::<Signature>()? else { return Ok(None) };
    let Some(cells) = sidecar.cells(kind::SIGNATURE_ROWS)? else { return Ok(None) };
    let mut set = PageSet::all(signature.pages as usize);
    narrow(&signature, &cells, need, &mut set)?;
    Ok(Some(set))
}

fn narrow(
    signature: &Signature,
    cells: &Cells<'_>,
    need: &Need,
    set: &mut PageSet,
) -> Result<(), StoreError> {
    match need {
        Need::Nothing => Ok(()),
        Need::Token(field, token) => {
            if signature.covers(*field) {
                for row in token.bits(signature.hashes, signature.bits) {
                    if set.is_empty() {
                        break;
                    }
                    signature.narrow(set, row, cells)?;
                }
            }
            Ok(())
        }
        Need::All(parts) => parts.iter().try_for_each(|part| narrow(signature, cells, part, set)),
        Need::Any(parts) => {
            let mut found = PageSet { words: vec![0; set.words.len()] };
            for part in parts {
                let mut own = set.clone();
                narrow(signature, cells, part, &mut own)?;
                found.union(&own);
            }
            *set = found;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
