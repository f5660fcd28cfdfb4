//! Small numbers in place of the keys of a block's rows, so that rows which are alike are grouped without looking at
//! their keys.
//!
//! Invariant: two rows of one block have the same code only when all their keys are equal.

use heimdall_model::filter::Target;
use heimdall_model::{Dataset, Level, Timestamp, schema};
use heimdall_store::{Codes, RowBlock};

use crate::group::bin_start;
use crate::query::GroupKey;

/// Most codes of a block, unless it has more rows.
const CODES_MAX: usize = 8_192;

/// The codes of a block's rows.
pub(crate) struct KeyCodes<'b> {
    block: &'b RowBlock,
    keys: Vec<KeyCode<'b>>,
    len: usize,
}

enum KeyCode<'b> {
    /// Texts: 0 for none.
    Texts(Codes<'b>),
    /// Levels: 0 for none.
    Levels,
    Bins(Bins),
    /// No row has a value.
    Nothing,
}

/// Spans of time, the first of a block being 0.
struct Bins {
    span: i64,
    first: i64,
    count: usize,
    /// The bin of the row before: its start and its code.
    last: (i64, usize),
}

impl Bins {
    fn of(span: i64, block: &RowBlock) -> Option<Bins> {
        let mut times = (0..block.rows()).map(|row| block.timestamp(row).0);
        let first = times.next()?;
        let (min, max) = times.fold((first, first), |(min, max), time| (min.min(time), max.max(time)));
        let (first, last) = (bin_start(Timestamp(min), span).0, bin_start(Timestamp(max), span).0);
        // Far from the ends of time, where the start of a bin is not exact.
        last.checked_add(span)?;
        first.checked_sub(span)?;
        let count = usize::try_from(last.checked_sub(first)? / span).ok()? + 1;
        Some(Bins { span, first, count, last: (first, 0) })
    }

    fn code(&mut self, time: i64) -> usize {
        if !(0..self.span).contains(&(time - self.last.0)) {
            let bin = (time - self.first) / self.span;
            self.last = (self.first + bin * self.span, usize::try_from(bin).unwrap_or(0));
        }
        self.last.1
    }
}

impl<'b> KeyCodes<'b> {
    /// The codes of a block, where its keys have some and they are few.
    pub(crate) fn of(by: &[GroupKey], block: &'b RowBlock) -> Option<KeyCodes<'b>> {
        let keys = by.iter().map(|key| KeyCode::of(key, block)).collect::<Option<Vec<_>>>()?;
        let len = keys.iter().try_fold(1_usize, |len, key| len.checked_mul(key.len()))?;
        (len <= CODES_MAX.max(block.rows())).then_some(KeyCodes { block, keys, len })
    }

    /// How many codes there are: all are below.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Code of a row.
    pub(crate) fn code(&mut self, row: usize) -> usize {
        let block = self.block;
        self.keys.iter_mut().fold(0, |code, key| code * key.len() + key.code(block, row))
    }
}

impl<'b> KeyCode<'b> {
    fn of(key: &GroupKey, block: &'b RowBlock) -> Option<KeyCode<'b>> {
        match key {
            GroupKey::Bin(span) if *span > 0 => Bins::of(*span, block).map(KeyCode::Bins),
            GroupKey::Field(Target::Field(field)) => match block.codes(*field) {
                Some(codes) => Some(KeyCode::Texts(codes)),
                None if !block.has(*field) => Some(KeyCode::Nothing),
                None if block.dataset() == Dataset::Logs && *field == schema::logs::LEVEL => {
                    Some(KeyCode::Levels)
                }
                None => None,
            },
            GroupKey::Bin(_) | GroupKey::Field(_) => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            KeyCode::Texts(codes) => codes.len() + 1,
            KeyCode::Levels => Level::ALL.len() + 1,
            KeyCode::Bins(bins) => bins.count,
            KeyCode::Nothing => 1,
        }
    }

    fn code(&mut self, block: &RowBlock, row: usize) -> usize {
        match self {
            KeyCode::Texts(codes) => codes.code(row).map_or(0, |code| code + 1),
            KeyCode::Levels => block.level(row).map_or(0, |level| usize::from(level.code())),
            KeyCode::Bins(bins) => bins.code(block.timestamp(row).0),
            KeyCode::Nothing => 0,
        }
    }
}
