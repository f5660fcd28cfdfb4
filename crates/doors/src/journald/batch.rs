//! Entries of one upload on their way into the intake.
//!
//! Invariants:
//! - a batch holds entries of one journal, in ascending order, or entries that do not say where they are;
//! - the journal's mark is held from the first entry of a batch until it is durable, so that two uploads of one journal do not
//!   write the same entries;
//! - the entries of a range that was begun before are one batch: it is handed over when the range is passed or the upload
//!   ends well, never in part before that.

use std::time::Duration;

use heimdall_ingest::journald::{Field, write_entry};
use heimdall_ingest::{Caller, Object, Permit, Reading, Records, Refused};
use heimdall_model::Dataset;
use metrics::counter;
use tokio::time::Instant;

use super::export::Assembler;
use super::marks::{Due, Held, Marks, Place, Range};
use super::{Cut, DOOR};
use crate::Shared;
use crate::shared::{Handover, Sift};

/// Entries in one batch.
const ROWS_MAX: u64 = 1_000;
/// Bytes of entries in one batch.
const BYTES_MAX: usize = 1 << 20;
/// Room taken when a batch begins.
const ROOM_BYTES: usize = 64 * 1024;
/// A batch waits this long for more entries.
const GATHER: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Batch<'d> {
    shared: &'d Shared,
    marks: &'d Marks,
    caller: &'d Caller,
    sift: &'d Sift,
    open: Option<Open<'d>>,
    object: Object,
}

struct Open<'d> {
    records: Records<'d>,
    bytes: usize,
    permit: Permit,
    since: Instant,
    held: Option<Held>,
    /// The entries it holds.
    range: Option<Range>,
    /// The range begun before that they belong to.
    again: Option<Range>,
}

impl Open<'_> {
    fn journal(&self) -> Option<u128> {
        self.held.as_ref().map(|held| held.journal)
    }

    /// Whether the entry at `place`, which is not durable, may be in this batch.
    fn suits(&self, place: &Place, due: Due) -> bool {
        let again = match due {
            Due::Again(range) => Some(range),
            Due::Done | Due::New => None,
        };
        self.range.is_none_or(|range| range.last < place.seqnum && self.again == again)
    }

    fn is_full(&self) -> bool {
        self.again.is_none() && (self.records.index() >= ROWS_MAX || self.bytes >= BYTES_MAX)
    }
}

impl<'d> Batch<'d> {
    pub(super) fn new(shared: &'d Shared, marks: &'d Marks, caller: &'d Caller, sift: &'d Sift) -> Batch<'d> {
        Batch { shared, marks, caller, sift, open: None, object: Object::new() }
    }

    /// Whether the pipelines have changed, and what is there may be handed over for a batch that takes the new ones.
    pub(super) fn is_outdated(&self) -> bool {
        !self.sift.is_current(self.shared) && !self.is_again()
    }

    /// When the batch has waited long enough for more entries; `None`: there is none, or it waits for the rest of a range.
    pub(super) fn gathered_at(&self) -> Option<Instant> {
        self.open.as_ref().filter(|open| open.again.is_none()).map(|open| open.since + GATHER)
    }

    /// Whether it waits for the rest of a range that was begun before.
    pub(super) fn is_again(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.again.is_some())
    }

    /// Takes the entry that is whole.
    pub(super) async fn take(&mut self, entries: &mut Assembler) -> Result<(), Cut> {
        let bytes = entries.bytes();
        let (place, is_lossy) = {
            let mut fields: Vec<Field<'_>> = entries.fields().collect();
            self.object.clear();
            (Place::of(&fields), write_entry(&mut fields, &mut self.object))
        };
        let left_out = entries.clear();
        let Some(open) = self.open_for(place).await? else {
            counter!("ingest_records_total", "door" => DOOR, "outcome" => "deduplicated").increment(1);
            return Ok(());
        };
        if is_lossy {
            open.records.note("message", "is missing or not UTF-8");
        }
        if left_out > 0 {
            open.records.note("", "fields beyond the limits are left out");
        }
        let has_room = open.permit.grow(open.bytes + bytes).is_ok();
        open.bytes += bytes;
        let is_full = !has_room || open.is_full();
        let Some(open) = &mut self.open else { return Ok(()) };
        let _ = open.records.object(&mut self.object); // what was rejected is noted
        if is_full && open.again.is_none() { self.flush().await } else { Ok(()) }
    }

    /// The batch this entry belongs to; `None` when it is durable.
    async fn open_for(&mut self, place: Option<Place>) -> Result<Option<&mut Open<'d>>, Cut> {
        if self.open.as_ref().is_some_and(|open| open.journal() != place.map(|place| place.journal)) {
            self.flush().await?;
        }
        let Some(place) = place else { return self.opened(None).await.map(Some) };
        loop {
            let open = self.opened(Some(place)).await?;
            let due = open.held.as_ref().map_or(Due::New, |held| held.mark.due(&place));
            if due == Due::Done {
                return Ok(None);
            }
            if open.suits(&place, due) {
                open.range.get_or_insert_with(|| Range::of(&place)).extend(&place);
                if let Due::Again(range) = due {
                    open.again = Some(range);
                }
                break;
            }
            self.flush().await?; // the next round opens another
        }
        Ok(self.open.as_mut())
    }

    async fn opened(&mut self, place: Option<Place>) -> Result<&mut Open<'d>, Cut> {
        if self.open.is_none() {
            let held = match place {
                Some(place) => Some(self.marks.hold(&self.caller.tenant, place.journal).await),
                None => None,
            };
            let permit = self.room().await?;
            let reading = self.sift.reading(&self.shared.limits.decode);
            let reading = Reading { now: self.shared.intake.now(), ..reading };
            self.open = Some(Open {
                records: Records::new(Dataset::Logs, reading),
                bytes: 0,
                permit,
                since: Instant::now(),
                held,
                range: None,
                again: None,
            });
        }
        self.open.as_mut().ok_or(Cut::Closing)
    }

    /// Room for a batch; who sends waits for it.
    async fn room(&self) -> Result<Permit, Cut> {
        loop {
            let refused = match self.shared.intake.reserve(self.caller, ROOM_BYTES) {
                Ok(permit) => return Ok(permit),
                Err(refused) => refused,
            };
            let Some(pause) = refused.retry_after() else { return Err(refused.into()) };
            let waited = self.shared.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
            waited.ok_or(Cut::Closing)?;
        }
    }

    /// Hands over what is there, unless it waits for the rest of a range.
    pub(super) async fn flush_new(&mut self) -> Result<(), Cut> {
        if self.is_again() { Ok(()) } else { self.flush().await }
    }

    /// Hands over the last of an upload that ended well.
    pub(super) async fn finish(mut self) -> Result<(), Cut> {
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Cut> {
        let Some(Open { records, bytes, permit, mut held, range, again, .. }) = self.open.take() else {
            return Ok(());
        };
        if records.is_empty() {
            return Ok(());
        }
        let mut key = None;
        if let (Some(held), Some(range)) = (&mut held, range) {
            if again.is_none() {
                held.mark.begin(range);
                held.save().await.map_err(Cut::Mark)?;
            }
            key = Some(again.unwrap_or(range).key(held.journal));
        }
        let is_again = self.admit(records, bytes, permit, key).await?;
        if let (Some(held), Some(range)) = (&mut held, range) {
            match again {
                Some(begun) if is_again => held.mark.done(&begun),
                _ => held.mark.done(&range),
            }
            if again.is_some_and(|begun| begun.last != range.last) {
                held.save().await.map_err(Cut::Mark)?;
            }
        }
        Ok(())
    }

    /// Whether the same batch was durable before.
    async fn admit(
        &self,
        records: Records<'_>,
        bytes: usize,
        permit: Permit,
        key: Option<String>,
    ) -> Result<bool, Refused> {
        let handover = Handover {
            caller: self.caller.clone(),
            door: DOOR,
            key,
            decoded: vec![records.finish()],
            bytes: bytes as u64,
        };
        let receipts = self.shared.admit_patiently(handover, Some(permit)).await?;
        Ok(receipts.iter().any(|receipt| receipt.deduplicated > 0))
    }
}
