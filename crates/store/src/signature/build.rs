//! Gathers the tokens of a segment page by page, then makes its filters as long as the tokens need.
//!
//! Invariants:
//! - rows come in the order in which they stand in the segment;
//! - a page with more than [`PAGE_TOKENS_MAX`] tokens is full: its filter has every bit, so it is never ruled out.

use std::ops::Range;

use arrow::array::{Array, StringArray};
use heimdall_model::attributes::{self, Attribute};
use heimdall_model::schema::{logs, metrics, spans};
use heimdall_model::{Dataset, FieldId};

use super::token::{self, Salt, Token};
use super::{FALSE_SHARE, HASHES, ROW_BITS_MAX, Signature};
use crate::block::{Cells, RowBlock};
use crate::sidecar::{CELL_BYTES, PAGE_ROWS};

/// Most distinct tokens of a page that are told apart: with more, its filter would name it for almost everything.
const PAGE_TOKENS_MAX: usize = PAGE_ROWS * ROW_BITS_MAX / 2;
/// Depth of objects and arrays up to which attributes are looked into; a page with deeper ones is full.
const DEPTH_MAX: usize = 64;
/// Pages transposed at a time: one bit each in a word.
const GROUP: usize = 64;

/// What of a field is put into the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The value as a whole.
    Value,
    /// Every word.
    Words,
    /// Every value and word of an object, with its path.
    Object,
}

/// What is put into the filters. Span ids are left out: as many as there are rows, and who looks for one has the
/// trace. Services, levels and templates are in the run directory and the zones.
fn sources(dataset: Dataset) -> &'static [(FieldId, Source)] {
    match dataset {
        Dataset::Logs => &[
            (logs::MESSAGE, Source::Words),
            (logs::TRACE_ID, Source::Value),
            (logs::USER_ID, Source::Value),
            (logs::SESSION_ID, Source::Value),
            (logs::REQUEST_ID, Source::Value),
            (logs::CUSTOMER_ID, Source::Value),
            (logs::SOURCE_IP, Source::Value),
            (logs::HOST, Source::Value),
            (logs::INSTANCE, Source::Value),
            (logs::ATTRIBUTES, Source::Object),
        ],
        Dataset::Metrics => &[(metrics::HOST, Source::Value), (metrics::LABELS, Source::Object)],
        Dataset::Spans => &[
            (spans::NAME, Source::Words),
            (spans::TRACE_ID, Source::Value),
            (spans::HOST, Source::Value),
            (spans::INSTANCE, Source::Value),
            (spans::ATTRIBUTES, Source::Object),
        ],
    }
}

/// What of a field is put into the filters; `None` for nothing.
pub(super) fn source(dataset: Dataset, field: FieldId) -> Option<Source> {
    sources(dataset).iter().find(|(known, _)| *known == field).map(|(_, source)| *source)
}

/// Takes the rows of a segment and makes its signature.
pub(crate) struct SignatureBuilder {
    sources: &'static [(FieldId, Source)],
    page: PageTokens,
    /// Those finished.
    pages: Vec<Page>,
    /// Rows of a page: [`PAGE_ROWS`] outside of tests.
    page_rows_max: usize,
    /// Rows of the page being gathered, and of the largest page.
    page_rows: usize,
    rows_max: usize,
    path: String,
}

/// The distinct tokens of a finished page: each has room of its own, so that no more of it is taken than there are.
struct Page {
    tokens: Box<[u32]>,
    is_full: bool,
}

impl SignatureBuilder {
    pub(crate) fn new(dataset: Dataset) -> SignatureBuilder {
        SignatureBuilder {
            sources: sources(dataset),
            page: PageTokens::default(),
            pages: Vec::new(),
            page_rows_max: PAGE_ROWS,
            page_rows: 0,
            rows_max: 0,
            path: String::new(),
        }
    }

    /// A builder for smaller pages.
    #[cfg(test)]
    pub(super) fn with_pages_of(dataset: Dataset, rows: usize) -> SignatureBuilder {
        SignatureBuilder { page_rows_max: rows, ..SignatureBuilder::new(dataset) }
    }

    /// Adds the next rows of the segment, in order.
    pub(crate) fn add(&mut self, block: &RowBlock) {
        let mut at = 0;
        while at < block.rows() {
            let end = block.rows().min(at + self.page_rows_max - self.page_rows);
            for (field, source) in self.sources {
                if let Some(cells) = block.cells(*field) {
                    self.add_column(Salt::field(*field), *source, cells, at..end);
                }
            }
            self.page_rows += end - at;
            if self.page_rows == self.page_rows_max {
                self.end_page();
            }
            at = end;
        }
    }

    fn add_column(&mut self, salt: Salt, source: Source, cells: &Cells, rows: Range<usize>) {
        match (source, cells) {
            (Source::Value, Cells::Fixed(array)) => {
                for row in rows.filter(|row| array.is_valid(*row)) {
                    self.page.add(salt.bytes(array.value(row)));
                }
            }
            (Source::Value, Cells::Text(array)) => {
                changes(array, rows, |_, text| self.page.add(salt.text(text)));
            }
            (Source::Words, Cells::Text(array)) => {
                changes(array, rows, |last, text| {
                    token::words(fresh(last, text), |word| self.page.add(salt.word(word)));
                });
            }
            (Source::Object, Cells::Text(array)) => {
                let (page, path) = (&mut self.page, &mut self.path);
                changes(array, rows, |_, json| Object { salt, page, path }.add(json, 0));
            }
            _ => debug_assert!(false, "the schema gives these fields these types"),
        }
    }

    fn end_page(&mut self) {
        let finished = self.page.finish();
        self.pages.push(finished);
        self.rows_max = self.rows_max.max(std::mem::take(&mut self.page_rows));
    }

    /// The signature of all rows added, and its stored rows in cells; the builder is empty then. `None` for no rows.
    pub(crate) fn take(&mut self) -> Option<(Signature, Vec<u8>)> {
        if self.page_rows > 0 {
            self.end_page();
        }
        if self.pages.is_empty() {
            return None;
        }
        let signature = Signature {
            bits: self.filter_bits(),
            hashes: HASHES,
            pages: u32::try_from(self.pages.len()).expect("pages of a segment fit 32 bits"),
            fields: self.sources.iter().fold(0, |mask, (field, _)| mask | 1 << field.0),
        };
        let rows = self.transpose(&signature);
        self.pages = Vec::new();
        Some((signature, rows))
    }

    /// The shortest filter whose pages are named in vain seldom enough, a multiple of 64 bits.
    fn filter_bits(&self) -> u32 {
        let counts: Vec<f64> = self
            .pages
            .iter()
            .filter(|page| !page.is_full)
            .map(|page| f64::from(u32::try_from(page.tokens.len()).unwrap_or(u32::MAX)))
            .collect();
        const POWER: i32 = HASHES as i32;
        let is_enough = |words: &usize| {
            let bits = f64::from(u32::try_from(words * 64).unwrap_or(u32::MAX));
            let share = |tokens: &f64| (1.0 - (-f64::from(HASHES) * tokens / bits).exp()).powi(POWER);
            let named: f64 = counts.iter().map(share).sum();
            named <= FALSE_SHARE * f64::from(u32::try_from(counts.len()).unwrap_or(u32::MAX))
        };
        let words_max = (self.rows_max * ROW_BITS_MAX).div_ceil(64);
        let candidates: Vec<usize> = (1..=words_max).collect();
        let words = candidates.partition_point(|words| !is_enough(words)) + 1;
        u32::try_from(words.min(words_max) * 64).expect("a page's filter is far below 2^32 bits")
    }

    /// The stored rows in cells, checksums left out: row `r` holds bit `r` of every page's filter.
    fn transpose(&self, signature: &Signature) -> Vec<u8> {
        let last = signature.place(signature.bits - 1).0 as usize;
        let mut cells = vec![0; (last + 1) * CELL_BYTES];
        let words = signature.bits as usize / 64;
        let mut filters = vec![0_u64; words * GROUP];
        let mut square = [0_u64; GROUP];
        for (group, pages) in self.pages.chunks(GROUP).enumerate() {
            filters.fill(0);
            for (filter, page) in filters.chunks_exact_mut(words).zip(pages) {
                Self::fill(filter, page, signature);
            }
            for word in 0..words {
                for (slot, filter) in square.iter_mut().zip(filters.chunks_exact(words)) {
                    *slot = filter[word];
                }
                transpose_square(&mut square);
                for (row, bits) in (word * 64..).zip(square) {
                    put(&mut cells, signature, row, group, bits);
                }
            }
        }
        cells
    }

    fn fill(filter: &mut [u64], page: &Page, signature: &Signature) {
        if page.is_full {
            filter.fill(u64::MAX);
            return;
        }
        for value in &page.tokens {
            for bit in Token::from_value(*value).bits(HASHES, signature.bits) {
                filter[bit as usize / 64] |= 1 << (bit % 64);
            }
        }
    }
}

/// Writes the bits of 64 pages into stored row `row`.
#[inline(always)]
fn put(cells: &mut [u8], signature: &Signature, row: usize, group: usize, bits: u64) {
    let (cell, bit) = signature.place(u32::try_from(row).expect("rows are numbered in 32 bits"));
    let at = cell as usize * CELL_BYTES + bit / 8;
    let stride = signature.stride();
    if stride < 8 {
        cells[at] |= bits.to_le_bytes()[0] << (bit % 8);
        return;
    }
    let rest = stride / 8 - group * 8;
    let bytes = bits.to_le_bytes();
    let bytes = &bytes[..rest.min(8)];
    cells[at + group * 8..][..bytes.len()].copy_from_slice(bytes);
}

/// Turns 64 words of 64 bits: bit `c` of word `r` becomes bit `r` of word `c`.
/// Source: Warren, "Hacker's Delight", 2nd ed., section 7-3, for bits counted from the least significant.
fn transpose_square(square: &mut [u64; GROUP]) {
    let (mut width, mut mask) = (32, 0x0000_0000_ffff_ffff_u64);
    while width > 0 {
        let mut row = 0;
        while row < GROUP {
            let swap = ((square[row] >> width) ^ square[row + width]) & mask;
            square[row] ^= swap << width;
            square[row + width] ^= swap;
            row = (row + width + 1) & !width;
        }
        width >>= 1;
        mask ^= mask << width;
    }
}

/// Hands on the present texts that differ from the one before, which comes along (empty at first).
#[inline(always)]
fn changes<'a>(array: &'a StringArray, rows: Range<usize>, mut each: impl FnMut(&'a str, &'a str)) {
    let mut last = None;
    for row in rows.filter(|row| array.is_valid(*row)) {
        let text = array.value(row);
        if last != Some(text) {
            each(last.unwrap_or(""), text);
            last = Some(text);
        }
    }
}

/// The part of `text` that can hold words which `last` does not: what both begin and end with is cut off, up to the
/// word at each edge.
fn fresh<'a>(last: &str, text: &'a str) -> &'a str {
    let (a, b) = (last.as_bytes(), text.as_bytes());
    let mut start = same(a.iter().zip(b));
    while start > 0 && token::may_be_word(b[start - 1]) {
        start -= 1;
    }
    let mut end = b.len() - same(a.iter().rev().zip(b[start..].iter().rev()));
    while end < b.len() && token::may_be_word(b[end]) {
        end += 1;
    }
    text.get(start..end).unwrap_or(text)
}

/// How many pairs at the front are equal.
#[inline(always)]
fn same<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    pairs.take_while(|(a, b)| a == b).count()
}

/// Walks one object of attributes.
struct Object<'a> {
    salt: Salt,
    page: &'a mut PageTokens,
    /// Path of what is being looked at.
    path: &'a mut String,
}

impl Object<'_> {
    fn add(&mut self, json: &str, depth: usize) {
        if depth == DEPTH_MAX {
            self.page.is_full = true;
            return;
        }
        let parent = self.path.len();
        for (key, value) in attributes::entries(json) {
            if depth > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            let salt = self.salt.path(self.path);
            self.page.add(salt.presence());
            self.add_value(salt, value, depth);
            self.path.truncate(parent);
        }
    }

    fn add_value(&mut self, salt: Salt, value: Attribute<'_>, depth: usize) {
        match value {
            Attribute::Text(text) => self.add_text(salt, &text),
            Attribute::Number(raw) => self.add_text(salt, raw),
            Attribute::Bool(b) => self.page.add(salt.word(if b { b"true" } else { b"false" })),
            Attribute::Object(raw) => {
                self.page.add(salt.object());
                self.add(raw, depth + 1);
            }
            Attribute::Array(raw) => self.add_elements(salt, raw, depth + 1),
        }
    }

    /// A path leads to the elements of an array, not into the objects among them.
    fn add_elements(&mut self, salt: Salt, raw: &str, depth: usize) {
        if depth == DEPTH_MAX {
            self.page.is_full = true;
            return;
        }
        for element in attributes::elements(raw) {
            match element {
                Attribute::Object(_) => self.page.add(salt.object()),
                Attribute::Array(raw) => self.add_elements(salt, raw, depth + 1),
                element => self.add_value(salt, element, depth),
            }
        }
    }

    fn add_text(&mut self, salt: Salt, text: &str) {
        self.page.add(salt.value(text));
        token::words(text, |word| self.page.add(salt.word(word)));
    }
}

/// The distinct tokens of one page: a hash table in two vectors.
#[derive(Default)]
struct PageTokens {
    /// Open addressing; 0 is free. A power of two long, at most half of it in use.
    table: Vec<u32>,
    list: Vec<u32>,
    is_full: bool,
}

impl PageTokens {
    /// Slots to begin with: enough for a page of usual rows.
    const SLOTS: usize = 1 << 15;

    #[inline(always)]
    fn add(&mut self, token: Token) {
        if 2 * self.list.len() >= self.table.len() {
            self.grow();
        }
        let slot = free_slot(&self.table, token.value());
        if self.table[slot] == 0 && !self.is_full {
            self.table[slot] = token.value();
            self.list.push(token.value());
            self.is_full = self.list.len() > PAGE_TOKENS_MAX;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let slots = (self.table.len() * 2).max(Self::SLOTS);
        self.table.clear();
        self.table.resize(slots, 0);
        for value in &self.list {
            let slot = free_slot(&self.table, *value);
            self.table[slot] = *value;
        }
    }

    /// The page, which is empty then. Of a full one no tokens are kept.
    fn finish(&mut self) -> Page {
        self.table.fill(0);
        let is_full = std::mem::take(&mut self.is_full);
        let tokens = if is_full { Box::default() } else { self.list.as_slice().into() };
        self.list.clear();
        Page { tokens, is_full }
    }
}

/// The slot that holds `value`, or the free one where it belongs.
#[inline(always)]
fn free_slot(table: &[u32], value: u32) -> usize {
    let mask = table.len() - 1;
    let mut slot = value as usize & mask;
    while table[slot] != 0 && table[slot] != value {
        slot = (slot + 1) & mask;
    }
    slot
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_square_is_turned(square in proptest::array::uniform32(any::<u64>())) {
            let mut turned = [0_u64; GROUP];
            turned[..32].copy_from_slice(&square);
            let before = turned;
            transpose_square(&mut turned);
            for (row, bits) in before.iter().enumerate() {
                for (column, turned) in turned.iter().enumerate() {
                    prop_assert_eq!(turned >> row & 1, bits >> column & 1);
                }
            }
        }

        #[test]
        fn the_fresh_part_and_the_last_text_hold_every_word(last in "[ab_ é.-]{0,12}", text in "[ab_ é.-]{0,12}") {
            let words_of = |text: &str| {
                let mut words = Vec::new();
                token::words(text, |word| words.push(word.to_vec()));
                words
            };
            let mut known = words_of(&last);
            known.extend(words_of(fresh(&last, &text)));
            for word in words_of(&text) {
                prop_assert!(known.contains(&word), "{:?}", String::from_utf8_lossy(&word));
            }
        }
    }
}
