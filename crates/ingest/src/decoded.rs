//! What came of a body: the batch, and notes on what was rejected or kept in another form.
//!
//! Invariants:
//! - the lists hold at most [`NOTES_MAX`] entries; the totals count all;
//! - [`Decoded::dead`] holds at most [`DEAD_RECORDS_MAX`] records and [`DEAD_BYTES_MAX`] bytes of one body.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heimdall_model::Batch;
use metrics::counter;
use serde::{Deserialize, Serialize};

use crate::dead::{DeadLetters, Sender};

/// Entries kept in each list of a [`Decoded`]; totals go on.
pub const NOTES_MAX: usize = 100;

/// Records of one body that are kept as they came.
pub const DEAD_RECORDS_MAX: usize = 10_000;
/// Bytes of such records of one body.
pub const DEAD_BYTES_MAX: usize = 8 << 20;
/// Bytes of one such record; more are cut off.
pub const DEAD_RECORD_BYTES_MAX: usize = 64 << 10;

/// Field names and reasons in notes are cut to this many characters.
const NOTE_CHARS_MAX: usize = 120;

/// Why a record was rejected, for counters; the record's own reason says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
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
    #[default]
    Invalid,
    /// The record, its keys or their number exceed a limit.
    TooLarge,
    /// It breaks the schema a pipeline holds it to.
    Schema,
}

impl RejectKind {
    /// Every kind, by index.
    pub const ALL: [RejectKind; 7] = [
        RejectKind::Syntax,
        RejectKind::Utf8,
        RejectKind::NotObject,
        RejectKind::Missing,
        RejectKind::Invalid,
        RejectKind::TooLarge,
        RejectKind::Schema,
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
            RejectKind::Schema => "schema",
        }
    }
}

/// A record that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// A record that is not in the batch, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Its index within the body, from 0.
    pub index: u64,
    /// Kept aside rather than rejected: the sender was not told to look after it.
    pub is_quarantined: bool,
    /// The field at fault; empty when it is the record as a whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// The first [`DEAD_RECORD_BYTES_MAX`] bytes of it, written as `encoding` says.
    pub raw: String,
    /// How.
    pub encoding: Encoding,
    /// Whether there were more.
    pub is_cut: bool,
}

/// How the text of a dead letter stands for the bytes of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// They are the text.
    #[default]
    Text,
    /// They are no text: base64 of them.
    Base64,
}

impl Encoding {
    /// Whether the text is the record itself.
    #[must_use]
    pub fn is_text(&self) -> bool {
        *self == Encoding::Text
    }

    /// The beginning of a record, as text where it is some.
    fn write(raw: &[u8], is_cut: bool) -> (Encoding, String) {
        match std::str::from_utf8(raw) {
            Ok(text) => (Encoding::Text, text.to_owned()),
            // Cut within a character.
            Err(error) if is_cut && error.error_len().is_none() => {
                (Encoding::Text, String::from_utf8_lossy(&raw[..error.valid_up_to()]).into_owned())
            }
            Err(_) => (Encoding::Base64, STANDARD.encode(raw)),
        }
    }

    /// The bytes that a text stands for.
    ///
    /// # Errors
    /// It is no base64 though it should be.
    pub(crate) fn read(self, text: String) -> Result<Vec<u8>, base64::DecodeError> {
        match self {
            Encoding::Text => Ok(text.into_bytes()),
            Encoding::Base64 => STANDARD.decode(text),
        }
    }
}

/// A value that was kept, but not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Records that pipelines dropped or sampled away.
    pub dropped: u64,
    /// Records kept aside among the dead letters.
    pub quarantined: u64,
    /// Accepted records in which a pipeline replaced personal data.
    pub redacted: u64,
    /// Steps of pipelines that failed; their records were kept.
    pub pipeline_errors: u64,
    /// The rejected and quarantined records as they came.
    pub dead: Vec<Dead>,
    /// Rejected records beyond those.
    pub dead_over: u64,
}

impl Decoded {
    /// Names the service of the records that name none.
    pub fn default_service(&mut self, service: &str) {
        self.batch.fill_text(self.batch.dataset.service(), service);
    }

    /// Rejects the quarantined records after all: they could not be kept aside.
    fn reject_quarantined(&mut self) {
        for dead in self.dead.iter().filter(|dead| dead.is_quarantined) {
            self.rejected_totals[RejectKind::Schema as usize] += 1;
            if self.rejected.len() < NOTES_MAX {
                let (field, kind) = (dead.field.clone().into(), RejectKind::Schema);
                let reason = format!("{}; it could not be kept aside", dead.reason).into();
                self.rejected.push(Rejected { index: dead.index, field, reason, kind });
            }
        }
        self.quarantined = 0;
    }

    /// Keeps the dead records in `store`; without one, and where the disk fails, quarantined ones are rejected.
    pub(crate) fn bury(&mut self, store: Option<&DeadLetters>, sender: &Sender) {
        let dead = std::mem::take(&mut self.dead);
        let Some(store) = store else {
            self.dead = dead;
            self.reject_quarantined();
            self.dead.clear();
            return;
        };
        let count = dead.len() as u64;
        let quarantined: Vec<Dead> = dead.iter().filter(|dead| dead.is_quarantined).cloned().collect();
        match store.keep(sender, dead) {
            Ok(()) => counter!("dead_letters_total", "door" => sender.door).increment(count),
            Err(error) => {
                tracing::error!(%error, records = count, "dead letters could not be kept");
                counter!("dead_letters_lost_total", "reason" => "disk").increment(count);
                self.dead = quarantined;
                self.reject_quarantined();
                self.dead.clear();
            }
        }
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
    pub(crate) dropped: u64,
    quarantined: u64,
    pub(crate) redacted: u64,
    pub(crate) pipeline_errors: u64,
    dead: Vec<Dead>,
    dead_bytes: usize,
    dead_over: u64,
}

/// How far the notes had come; see [`Notes::rewind`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    coerced: usize,
    coerced_total: u64,
    timestamps_assigned: u64,
}

impl Notes {
    /// Keeps a record that is not taken as it came.
    pub(crate) fn bury(&mut self, rejected: &Rejected, raw: &[u8]) {
        if raw.is_empty() {
            return;
        }
        let kept = &raw[..raw.len().min(DEAD_RECORD_BYTES_MAX)];
        if !self.has_room(kept.len()) {
            self.dead_over += 1;
            return;
        }
        self.push_dead(rejected, kept, raw.len() > kept.len(), false);
    }

    /// Keeps a record aside; `false` where there is no room for the whole of it.
    pub(crate) fn quarantine(&mut self, why: &Rejected, raw: &[u8]) -> bool {
        if raw.len() > DEAD_RECORD_BYTES_MAX || !self.has_room(raw.len()) {
            return false;
        }
        self.quarantined += 1;
        self.push_dead(why, raw, false, true);
        true
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.dead.len() < DEAD_RECORDS_MAX && self.dead_bytes + bytes <= DEAD_BYTES_MAX
    }

    fn push_dead(&mut self, why: &Rejected, raw: &[u8], is_cut: bool, is_quarantined: bool) {
        self.dead_bytes += raw.len();
        let (encoding, raw) = Encoding::write(raw, is_cut);
        self.dead.push(Dead {
            index: why.index,
            is_quarantined,
            field: shortened(why.field.clone()).into_owned(),
            reason: shortened(why.reason.clone()).into_owned(),
            raw,
            encoding,
            is_cut,
        });
    }

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
            dropped: self.dropped,
            quarantined: self.quarantined,
            redacted: self.redacted,
            pipeline_errors: self.pipeline_errors,
            dead: self.dead,
            dead_over: self.dead_over,
        }
    }
}

/// The beginning of a text, where it is longer than is shown of one.
pub(crate) fn shown(text: &str) -> &str {
    // One character more, so that the text is still seen to be cut when it is noted.
    text.char_indices().nth(NOTE_CHARS_MAX + 1).map_or(text, |(end, _)| &text[..end])
}

fn shortened(text: Cow<'static, str>) -> Cow<'static, str> {
    match text.char_indices().nth(NOTE_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => text,
    }
}
