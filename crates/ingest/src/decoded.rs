//! What came of a body: the batch, and notes on what was rejected or kept in another form.
//!
//! Invariant: the lists hold at most [`NOTES_MAX`] entries; the totals count all.

use std::borrow::Cow;

use heimdall_model::Batch;
use serde::Serialize;

/// Entries kept in each list of a [`Decoded`]; totals go on.
pub const NOTES_MAX: usize = 100;

/// Field names and reasons in notes are cut to this many characters.
const NOTE_CHARS_MAX: usize = 120;

/// Why a record was rejected, for counters; the record's own reason says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectKind {
    /// Not valid JSON.
    Syntax,
    /// Not UTF-8.
    Utf8,
    /// Not an object where only an object will do.
    NotObject,
    /// A required field is absent.
    Missing,
    /// A required field has an unsuitable value.
    Invalid,
    /// The record, its keys or their number exceed a limit.
    TooLarge,
}

impl RejectKind {
    /// Every kind, by index.
    pub const ALL: [RejectKind; 6] = [
        RejectKind::Syntax,
        RejectKind::Utf8,
        RejectKind::NotObject,
        RejectKind::Missing,
        RejectKind::Invalid,
        RejectKind::TooLarge,
    ];

    /// The label of `ingest_rejected_total`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RejectKind::Syntax => "syntax",
            RejectKind::Utf8 => "utf8",
            RejectKind::NotObject => "not_object",
            RejectKind::Missing => "missing_field",
            RejectKind::Invalid => "invalid_field",
            RejectKind::TooLarge => "too_large",
        }
    }
}

/// A record that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its index within the body, from 0, rejected ones counted.
    pub index: u64,
    /// The field at fault; empty when it is the record as a whole.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub reason: Cow<'static, str>,
    /// The same in one word.
    #[serde(skip)]
    pub kind: RejectKind,
}

/// A value that was kept, but not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coerced {
    /// Index of its record within the body, from 0, rejected ones counted.
    pub index: u64,
    /// The field as the record names it.
    pub field: Cow<'static, str>,
    /// What was done, and why.
    pub reason: Cow<'static, str>,
}

/// The outcome of decoding a body.
#[derive(Debug)]
pub struct Decoded {
    /// The accepted records.
    pub batch: Batch,
    /// The first rejected records.
    pub rejected: Vec<Rejected>,
    /// How many were rejected in all, by [`RejectKind`].
    pub rejected_totals: [u64; RejectKind::ALL.len()],
    /// The first values kept in another form.
    pub coerced: Vec<Coerced>,
    /// How many there were in all.
    pub coerced_total: u64,
    /// Accepted records that state no time, or none that can be read, and were given the arrival time.
    pub timestamps_assigned: u64,
}

impl Decoded {
    /// Names the service of the records that name none.
    pub fn default_service(&mut self, service: &str) {
        self.batch.fill_text(self.batch.dataset.service(), service);
    }

    /// How many records were rejected in all.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected_totals.iter().sum()
    }
}

/// The notes while a body is being decoded.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    rejected: Vec<Rejected>,
    rejected_totals: [u64; RejectKind::ALL.len()],
    coerced: Vec<Coerced>,
    coerced_total: u64,
    pub(crate) timestamps_assigned: u64,
}

/// How far the notes had come; see [`Notes::rewind`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    coerced: usize,
    coerced_total: u64,
    timestamps_assigned: u64,
}

impl Notes {
    pub(crate) fn reject(&mut self, rejected: Rejected) {
        self.rejected_totals[rejected.kind as usize] += 1;
        if self.rejected.len() < NOTES_MAX {
            self.rejected.push(Rejected {
                field: shortened(rejected.field),
                reason: shortened(rejected.reason),
                ..rejected
            });
        }
    }

    /// `field` is looked at only while there is room for another entry.
    pub(crate) fn coerce(&mut self, index: u64, field: &str, reason: &'static str) {
        self.coerced_total += 1;
        if self.coerced.len() < NOTES_MAX {
            let field = shortened(Cow::Owned(field.to_owned()));
            self.coerced.push(Coerced { index, field, reason: Cow::Borrowed(reason) });
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            coerced: self.coerced.len(),
            coerced_total: self.coerced_total,
            timestamps_assigned: self.timestamps_assigned,
        }
    }

    /// Forgets what was noted about a record that is not accepted after all.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.coerced.truncate(mark.coerced);
        self.coerced_total = mark.coerced_total;
        self.timestamps_assigned = mark.timestamps_assigned;
    }

    pub(crate) fn finish(self, batch: Batch) -> Decoded {
        Decoded {
            batch,
            rejected: self.rejected,
            rejected_totals: self.rejected_totals,
            coerced: self.coerced,
            coerced_total: self.coerced_total,
            timestamps_assigned: self.timestamps_assigned,
        }
    }
}

fn shortened(text: Cow<'static, str>) -> Cow<'static, str> {
    match text.char_indices().nth(NOTE_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => text,
    }
}
