//! The one admission path of every door: room, rate, durable append, receipt.
//!
//! Invariants:
//! - a [`Receipt`] exists only for records the journal has made durable (now, or before under the same key);
//! - bytes in flight never exceed the limit: room is taken before a body is decoded, and given back when its [`Permit`] drops;
//! - a refused submission left nothing behind and may be sent again; with an idempotency key also one whose answer was lost.
//!
//! Not here: who may send (see `guard`), protocols, what a frame's bytes mean (see `heimdall-model`).

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use heimdall_journal::{Append, Appended, Journal, JournalError};
use heimdall_model::{Batch, Clock, Dataset, Tenant, Timestamp, codec};
use metrics::counter;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::body::DecodeLimits;
use crate::dead::{DeadLetters, Sender, WholeLetter};
use crate::decoded::{Decoded, Encoding, NOTES_MAX, RejectKind, Rejected};
use crate::frames::FrameKind;
use crate::pipeline::{Origin, PipelineSet, Pipelines, Pipes};
use crate::rate::{Buckets, RateLimit};
use crate::receipt::{Receipt, ReceiptFilter, ReceiptPage, Receipts, SHIPPER_CHARS_MAX, ShipperSummary};
use crate::records::{Reading, Records};

/// In-flight bytes are counted in units of this size.
const UNIT_BYTES: usize = 1024;
/// When to come back after there was no room.
const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);

/// Longest pause between two tries of [`Intake::admit_patiently`].
const PATIENCE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The door of dead letters that are tried again.
pub const REPLAY_DOOR: &str = "replay";
/// Dead letters tried again at the same time.
const REPLAYS_AT_ONCE: usize = 32;

/// What all doors together may take.
#[derive(Debug, Clone)]
pub struct IntakeLimits {
    /// Bytes of bodies being decoded or waiting to become durable (default 256 MiB); beyond: [`Refused::Busy`].
    pub in_flight_bytes_max: usize,
    /// For each token (default none).
    pub per_token: Option<RateLimit>,
    /// For each tenant (default none).
    pub per_tenant: Option<RateLimit>,
    /// For each source address (default none).
    pub per_source: Option<RateLimit>,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        IntakeLimits {
            in_flight_bytes_max: 256 * 1024 * 1024,
            per_token: None,
            per_tenant: None,
            per_source: None,
        }
    }
}

/// Who sends.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose records they are.
    pub tenant: Tenant,
    /// Id of the token (never the secret), when there is one.
    pub token: Option<Arc<str>>,
    /// The address it comes from.
    pub peer: Option<IpAddr>,
    /// What sends, as it names itself or as the door knows it: a `User-Agent`, the name in a client's certificate, a container, a
    /// topic. See [`shipper`]. Without one the receipt has the address.
    pub shipper: Option<Arc<str>>,
}

impl Caller {
    /// One of whom the protocol says no more than the address.
    #[must_use]
    pub fn at(tenant: Tenant, peer: IpAddr) -> Caller {
        Caller { tenant, token: None, peer: Some(peer.to_canonical()), shipper: None }
    }

    /// One that the door knows by name, and that did not connect to it.
    #[must_use]
    pub fn named(tenant: Tenant, name: &str) -> Caller {
        Caller { tenant, token: None, peer: None, shipper: shipper(name) }
    }
}

/// The name of a shipper as receipts keep it: without control characters, and not longer than [`SHIPPER_CHARS_MAX`].
#[must_use]
pub fn shipper(name: &str) -> Option<Arc<str>> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(SHIPPER_CHARS_MAX).collect();
    (!name.is_empty()).then(|| name.into())
}

/// Decoded records on their way in.
#[derive(Debug)]
pub struct Submission {
    /// Who sends.
    pub caller: Caller,
    /// The door, such as `http`.
    pub door: &'static str,
    /// The sender's key: a second submission with it, through the same door by the same tenant, is not written again.
    pub idempotency_key: Option<String>,
    /// The records.
    pub decoded: Decoded,
    /// Bytes of the body, unpacked.
    pub body_bytes: u64,
}

/// Why a submission was not taken. Nothing of it was written, except perhaps after [`Refused::Latched`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Too many records a second.
    #[error("rate limit of this {scope} is exceeded")]
    RateLimited {
        /// What the limit is for: `token`, `tenant` or `source`.
        scope: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too much in flight.
    #[error("server is busy")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The stream is behind.
    #[error("journal is full: processing is behind")]
    JournalFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full.
    #[error("disk is full")]
    DiskFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// A write failed; a person has to look. Whether the records were kept is known after a restart.
    #[error("journal stopped after a disk failure")]
    Latched,
    /// The server is shutting down.
    #[error("server is shutting down")]
    Closing,
    /// The records, encoded, do not fit one frame; sending fewer at once helps.
    #[error("batch of {bytes} bytes exceeds the limit of {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Another failure of the journal.
    #[error("journal failed")]
    Journal(#[source] JournalError),
}

impl Refused {
    /// When the same submission may pass; `None` when waiting alone will not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refused::RateLimited { retry_after, .. }
            | Refused::Busy { retry_after }
            | Refused::JournalFull { retry_after }
            | Refused::DiskFull { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The label of `ingest_refused_total`, and a stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Refused::RateLimited { .. } => "rate_limited",
            Refused::Busy { .. } => "busy",
            Refused::JournalFull { .. } => "journal_full",
            Refused::DiskFull { .. } => "disk_full",
            Refused::Latched => "latched",
            Refused::Closing => "closing",
            Refused::TooLarge { .. } => "too_large",
            Refused::Journal(_) => "journal",
        }
    }
}

impl From<JournalError> for Refused {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Busy { retry_after } => Refused::Busy { retry_after },
            JournalError::Full { retry_after } => Refused::JournalFull { retry_after },
            JournalError::DiskFull { retry_after } => Refused::DiskFull { retry_after },
            JournalError::Latched { .. } => Refused::Latched,
            JournalError::Closed => Refused::Closing,
            JournalError::TooLarge { bytes, bytes_max } => Refused::TooLarge { bytes, bytes_max },
            other => Refused::Journal(other),
        }
    }
}

/// Room for one body; given back on drop.
#[derive(Debug)]
pub struct Permit {
    units: OwnedSemaphorePermit,
    room: Arc<Semaphore>,
}

impl Permit {
    /// Makes the room at least `bytes`, such as when a body has been unpacked.
    ///
    /// # Errors
    /// [`Refused::Busy`]; what was held is still held.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        let more = units(bytes).saturating_sub(u32::try_from(self.units.num_permits()).unwrap_or(u32::MAX));
        if more > 0 {
            self.units.merge(acquire(&self.room, more)?);
        }
        Ok(())
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES).max(1)).unwrap_or(u32::MAX)
}

fn acquire(room: &Arc<Semaphore>, units: u32) -> Result<OwnedSemaphorePermit, Refused> {
    Arc::clone(room)
        .try_acquire_many_owned(units)
        .map_err(|_| Refused::Busy { retry_after: RETRY_AFTER_BUSY })
}

/// See the module.
pub struct Intake {
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    room: Arc<Semaphore>,
    per_token: Option<Buckets<Arc<str>>>,
    per_tenant: Option<Buckets<Tenant>>,
    per_source: Option<Buckets<IpAddr>>,
    receipts: Receipts,
    pipelines: Arc<Pipelines>,
    dead: Option<Arc<DeadLetters>>,
}

impl Intake {
    /// An intake that writes to `journal`.
    #[must_use]
    pub fn new(journal: Arc<Journal>, clock: Arc<dyn Clock>, limits: &IntakeLimits) -> Intake {
        let room = usize::try_from(units(limits.in_flight_bytes_max)).unwrap_or(usize::MAX);
        Intake {
            journal,
            clock,
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            per_token: limits.per_token.map(Buckets::new),
            per_tenant: limits.per_tenant.map(Buckets::new),
            per_source: limits.per_source.map(Buckets::new),
            receipts: Receipts::default(),
            pipelines: Arc::default(),
            dead: None,
        }
    }

    /// The same, with pipelines for what decoders read.
    #[must_use]
    pub fn with_pipelines(self, pipelines: Arc<Pipelines>) -> Intake {
        Intake { pipelines, ..self }
    }

    /// The same, keeping what is not taken among dead letters.
    #[must_use]
    pub fn with_dead_letters(self, dead: Arc<DeadLetters>) -> Intake {
        Intake { dead: Some(dead), ..self }
    }

    /// The same, with the receipts of earlier runs in `dir`, and a place for those to come.
    ///
    /// # Errors
    /// The folder cannot be read or made.
    pub fn with_receipts(self, dir: std::path::PathBuf) -> std::io::Result<Intake> {
        Ok(Intake { receipts: Receipts::open(dir)?, ..self })
    }

    /// The dead letters, where they are kept.
    #[must_use]
    pub fn dead_letters(&self) -> Option<&Arc<DeadLetters>> {
        self.dead.as_ref()
    }

    /// The pipelines of decoders; see [`crate::Reading`].
    #[must_use]
    pub fn pipelines(&self) -> &Arc<Pipelines> {
        &self.pipelines
    }

    /// The time by which arrivals are stamped: the `now` of the decoders.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Takes room for a body before it is read or decoded; a caller over its rate is sent away here, before any work.
    ///
    /// # Errors
    /// [`Refused::RateLimited`], [`Refused::Busy`].
    pub fn reserve(&self, caller: &Caller, bytes: usize) -> Result<Permit, Refused> {
        let now = self.clock.now();
        let permit = self.each_rate(caller, |rate| rate.check(1, now)).and_then(|()| {
            Ok(Permit { units: acquire(&self.room, units(bytes))?, room: Arc::clone(&self.room) })
        });
        permit.inspect_err(count_refused)
    }

    /// Makes the records durable and says what became of them. Hold the [`Permit`] until it returns.
    ///
    /// Cancelled before it returns, the records may or may not have been written.
    ///
    /// # Errors
    /// [`Refused`]; nothing was written, except perhaps after [`Refused::Latched`].
    pub async fn admit(&self, submission: Submission) -> Result<Receipt, Refused> {
        let written = self.write(&submission).await?;
        Ok(self.taken(submission, &written).await)
    }

    /// The same for senders that cannot be told to come back: what waiting may cure is tried again, until `given_up` ends.
    /// Who calls it takes no more from its sender meanwhile.
    ///
    /// # Errors
    /// [`Refused`], when waiting does not help or `given_up` ended first.
    pub async fn admit_patiently(
        &self,
        submission: Submission,
        given_up: impl Future<Output = ()>,
    ) -> Result<Receipt, Refused> {
        let mut given_up = std::pin::pin!(given_up);
        loop {
            let refused = match self.write(&submission).await {
                Ok(written) => return Ok(self.taken(submission, &written).await),
                Err(refused) => refused,
            };
            let Some(pause) = refused.retry_after() else { return Err(refused) };
            tokio::select! {
                () = tokio::time::sleep(pause.min(PATIENCE_PAUSE_MAX)) => {}
                () = &mut given_up => return Err(refused),
            }
        }
    }

    async fn write(&self, submission: &Submission) -> Result<Written, Refused> {
        let Submission { caller, door, idempotency_key, decoded, .. } = submission;
        let rows = decoded.batch.rows();
        let now = self.clock.now();
        let within_rates = self
            .each_rate(caller, |rate| rate.check(rows, now)) // all of them before any is charged
            .and_then(|()| self.each_rate(caller, |rate| rate.take(rows, now)));
        let written = match within_rates {
            Ok(()) => {
                let dataset = decoded.batch.dataset;
                let key = idempotency_key.as_deref().map(|key| dedup_key(&caller.tenant, door, dataset, key));
                self.append(&caller.tenant, &decoded.batch, key, now).await
            }
            Err(refused) => Err(refused),
        };
        written.inspect_err(|refused| {
            count_refused(refused);
            counter!("ingest_records_total", "door" => *door, "outcome" => "refused").increment(rows as u64);
        })
    }

    async fn taken(&self, submission: Submission, written: &Written) -> Receipt {
        let Submission { caller, door, idempotency_key, mut decoded, body_bytes } = submission;
        let now = self.clock.now();
        let id = receipt_id(now);
        if !decoded.dead.is_empty() {
            let dataset = decoded.batch.dataset;
            let key = idempotency_key.map(|key| dedup_key(&caller.tenant, door, dataset, &key));
            let batch = key.map(|key| Arc::from(format!("{:032x}", u128::from_be_bytes(key))));
            let tenant = caller.tenant.clone();
            let sender = Sender { tenant, door, dataset, receipt: id, batch, time: now };
            decoded = self.bury(decoded, sender, written.deduplicated > 0).await;
        }
        if decoded.dead_over > 0 {
            counter!("dead_letters_lost_total", "reason" => "body").increment(decoded.dead_over);
        }
        let rejected_totals = decoded.rejected_totals;
        let mut receipt = begun(id, now, caller, door);
        add(&mut receipt, written, decoded, body_bytes);
        count_taken(&receipt, door, rejected_totals);
        self.receipts.keep(&receipt);
        receipt
    }

    /// Keeps the records that are not in the batch. A retry brings those again that are kept already; but an earlier try may have ended
    /// before they were, and then those whose sender is not told to look after them are kept now.
    async fn bury(&self, mut decoded: Decoded, sender: Sender, is_retry: bool) -> Decoded {
        let Some(store) = self.dead.clone() else {
            decoded.bury(None, &sender);
            return decoded;
        };
        if sender.batch.as_ref().is_some_and(|batch| store.has_batch(batch)) {
            decoded.dead.clear();
        } else if is_retry {
            decoded.dead.retain(|dead| dead.is_quarantined);
        }
        if decoded.dead.is_empty() {
            return decoded;
        }
        tokio::task::spawn_blocking(move || {
            decoded.bury(Some(&store), &sender);
            decoded
        })
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Tries dead letters of the caller's tenant again, through the pipelines of their door, or through one by name. Those taken are
    /// removed. A letter is written once however often it is tried, for as long as the journal remembers keys. All of them together
    /// have one receipt, in which those not taken are rejected.
    ///
    /// # Errors
    /// There is no such pipeline. What becomes of each letter is in [`Replayed`].
    pub async fn replay(
        &self,
        caller: &Caller,
        ids: &[Uuid],
        pipeline: Option<&str>,
        limits: &DecodeLimits,
    ) -> Result<Replayed, String> {
        let Some(dead) = self.dead.clone().filter(|_| !ids.is_empty()) else {
            return Ok(Replayed::default());
        };
        let set = self.pipelines.current();
        let set = match pipeline {
            None => set,
            Some(name) => Arc::new(set.only(name).ok_or_else(|| format!("there is no pipeline `{name}`"))?),
        };
        let tried = |id: &Uuid| self.replay_one(&dead, caller, *id, Arc::clone(&set), limits).boxed();
        let tries: Vec<_> = ids.iter().map(tried).collect();
        // In order, and one after the other added up: what was read is not held until all are tried.
        let mut tried =
            futures::stream::iter(tries).buffered(REPLAYS_AT_ONCE).zip(futures::stream::iter((0..).zip(ids)));
        let now = self.clock.now();
        let mut receipt = begun(receipt_id(now), now, caller.clone(), REPLAY_DOOR);
        let mut replayed = Replayed { receipt: Some(receipt.id), ..Replayed::default() };
        let mut done = Vec::new();
        while let Some((outcome, (index, id))) = tried.next().await {
            match outcome {
                Ok(mut tried) => {
                    tried.decoded.coerced.iter_mut().for_each(|coerced| coerced.index = index);
                    add(&mut receipt, &tried.written, tried.decoded, tried.bytes);
                    done.push(*id);
                }
                Err(reason) => {
                    reject(&mut receipt, index, &reason);
                    replayed.failed.push(NotReplayed { id: *id, reason });
                }
            }
        }
        (replayed.accepted, replayed.deduplicated) = (receipt.accepted, receipt.deduplicated);
        replayed.dropped = receipt.dropped;
        count_taken(&receipt, REPLAY_DOOR, [0; RejectKind::ALL.len()]);
        self.receipts.keep(&receipt);
        let (dead, tenant) = (Arc::clone(&dead), caller.tenant.clone());
        let removed = tokio::task::spawn_blocking(move || dead.remove(&tenant, &done)).await;
        match removed {
            Ok(Ok(count)) => replayed.removed = count as u64,
            Ok(Err(error)) => {
                tracing::error!(%error, "replayed dead letters could not be removed; they are not doubled when tried again")
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        Ok(replayed)
    }

    async fn replay_one(
        &self,
        dead: &Arc<DeadLetters>,
        caller: &Caller,
        id: Uuid,
        set: Arc<PipelineSet>,
        limits: &DecodeLimits,
    ) -> Result<Tried, String> {
        let (store, tenant) = (Arc::clone(dead), caller.tenant.clone());
        let found = tokio::task::spawn_blocking(move || store.get(&tenant, id)).await;
        let found = found.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let WholeLetter { letter, raw } = match found {
            Ok(Some(whole)) => whole,
            Ok(None) => return Err("is not kept".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        if letter.is_cut {
            return Err("only the beginning of the record is kept".to_owned());
        }
        let (raw, is_mended) = text_of(letter.encoding, raw)?;
        let bytes = raw.len();
        let permit = self.reserve(caller, bytes).map_err(|refused| refused.to_string())?;
        let decoded = {
            let origin = Origin { door: &letter.door, tenant: &caller.tenant, service: None };
            // A record that states no time has that of its arrival.
            let reading = Reading { now: letter.time, limits, pipelines: Some(Pipes { set: &set, origin }) };
            let mut records = Records::new(letter.dataset, reading);
            if is_mended {
                records.note("", "has bytes that are not UTF-8: replaced by U+FFFD");
            }
            if let Err(rejected) = records.json(&raw) {
                return Err(format!("{}: {}", rejected.field, rejected.reason)
                    .trim_start_matches(": ")
                    .to_owned());
            }
            records.finish()
        };
        if let Some(dead) = decoded.dead.first() {
            return Err(format!("{}: {}", dead.field, dead.reason).trim_start_matches(": ").to_owned());
        }
        let submission = Submission {
            caller: caller.clone(),
            door: REPLAY_DOOR,
            idempotency_key: Some(format!("dead-letter:{id}")),
            decoded,
            body_bytes: bytes as u64,
        };
        let written = self.write(&submission).await.map_err(|refused| refused.to_string())?;
        drop(permit);
        Ok(Tried { written, decoded: submission.decoded, bytes: submission.body_bytes })
    }

    /// The tenant's receipts, newest first; `before` is the `next` of the page before.
    #[must_use]
    pub fn receipts(&self, tenant: &Tenant, limit: usize, before: Option<u64>) -> ReceiptPage {
        self.receipts_where(tenant, &ReceiptFilter::default(), limit, before)
    }

    /// The tenant's receipts that fit, newest first; `before` is the `next` of the page before.
    #[must_use]
    pub fn receipts_where(
        &self,
        tenant: &Tenant,
        filter: &ReceiptFilter,
        limit: usize,
        before: Option<u64>,
    ) -> ReceiptPage {
        self.receipts.page(tenant, filter, limit, before)
    }

    /// What each shipper of the tenant sent through each door since the start; the latest first.
    #[must_use]
    pub fn shippers(&self, tenant: &Tenant) -> Vec<ShipperSummary> {
        self.receipts.summary(tenant)
    }

    /// One receipt of the tenant, while it is kept.
    #[must_use]
    pub fn receipt(&self, tenant: &Tenant, id: Uuid) -> Option<Arc<Receipt>> {
        self.receipts.get(tenant, id)
    }

    async fn append(
        &self,
        tenant: &Tenant,
        batch: &Batch,
        key: Option<[u8; 16]>,
        now: Timestamp,
    ) -> Result<Written, Refused> {
        if batch.is_empty() {
            return Ok(Written { accepted: 0, deduplicated: 0, seq: None });
        }
        let rows = u32::try_from(batch.rows()).unwrap_or(u32::MAX);
        let payload = codec::encode(tenant, batch).into();
        let append = Append { kind: FrameKind::Batch.code(), rows, key, time_ns: now.0, payload };
        Ok(match self.journal.append(append).await? {
            Appended::Durable { seq } => {
                Written { accepted: u64::from(rows), deduplicated: 0, seq: Some(seq) }
            }
            Appended::Duplicate { seq, rows } => {
                Written { accepted: 0, deduplicated: u64::from(rows), seq: Some(seq) }
            }
        })
    }

    /// Asks every rate that concerns the caller; the first refusal counts.
    fn each_rate(
        &self,
        caller: &Caller,
        ask: impl Fn(&dyn Rate) -> Result<(), Duration>,
    ) -> Result<(), Refused> {
        let token = self.per_token.as_ref().zip(caller.token.as_ref()).map(|(rate, key)| Keyed { rate, key });
        let tenant = self.per_tenant.as_ref().map(|rate| Keyed { rate, key: &caller.tenant });
        let source =
            self.per_source.as_ref().zip(caller.peer.as_ref()).map(|(rate, key)| Keyed { rate, key });
        let rates = [
            ("token", token.as_ref().map(|rate| rate as &dyn Rate)),
            ("tenant", tenant.as_ref().map(|rate| rate as &dyn Rate)),
            ("source", source.as_ref().map(|rate| rate as &dyn Rate)),
        ];
        for (scope, rate) in rates {
            let asked = rate.map_or(Ok(()), &ask);
            asked.map_err(|retry_after| Refused::RateLimited { scope, retry_after })?;
        }
        Ok(())
    }
}

/// What became of dead letters that were tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// The receipt of all that was tried; none when there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Uuid>,
    /// Records made durable.
    pub accepted: u64,
    /// Records that an earlier try had made durable.
    pub deduplicated: u64,
    /// Records that a pipeline dropped.
    pub dropped: u64,
    /// Letters removed, since they were taken.
    pub removed: u64,
    /// Letters that were not taken, and stay.
    pub failed: Vec<NotReplayed>,
}

/// A letter that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReplayed {
    /// Its id.
    pub id: Uuid,
    /// Why.
    pub reason: String,
}

/// A letter that was taken.
struct Tried {
    written: Written,
    decoded: Decoded,
    bytes: u64,
}

/// The text of a letter that is to be read as JSON, and whether what was no UTF-8 in it was replaced.
fn text_of(encoding: Encoding, raw: String) -> Result<(String, bool), String> {
    if encoding.is_text() {
        return Ok((raw, false));
    }
    let bytes = encoding.read(raw).map_err(|error| format!("is damaged: {error}"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok((text, true)),
        Err(_) => {
            Err("is binary and no JSON: only its door can read it, let its sender send it again".to_owned())
        }
    }
}

/// A receipt of nothing yet.
fn begun(id: Uuid, time: Timestamp, caller: Caller, door: &'static str) -> Receipt {
    Receipt {
        accepted: 0,
        deduplicated: 0,
        rejected: Vec::new(),
        rejected_total: 0,
        id,
        coerced: Vec::new(),
        coerced_total: 0,
        timestamps_assigned: 0,
        redacted: 0,
        quarantined: 0,
        dropped: 0,
        pipeline_errors: 0,
        tenant: caller.tenant,
        door: Cow::Borrowed(door),
        shipper: caller.shipper.or_else(|| shipper(&caller.peer?.to_canonical().to_string())),
        peer: caller.peer,
        token: caller.token,
        time,
        bytes: 0,
        seq: None,
    }
}

/// Adds what became of a batch.
fn add(receipt: &mut Receipt, written: &Written, decoded: Decoded, bytes: u64) {
    receipt.accepted += written.accepted;
    receipt.deduplicated += written.deduplicated;
    receipt.seq = written.seq.or(receipt.seq);
    receipt.rejected_total += decoded.rejected_total();
    receipt.rejected.extend(decoded.rejected);
    receipt.rejected.truncate(NOTES_MAX);
    receipt.coerced_total += decoded.coerced_total;
    receipt.coerced.extend(decoded.coerced);
    receipt.coerced.truncate(NOTES_MAX);
    receipt.timestamps_assigned += decoded.timestamps_assigned;
    receipt.redacted += decoded.redacted;
    receipt.quarantined += decoded.quarantined;
    receipt.dropped += decoded.dropped;
    receipt.pipeline_errors += decoded.pipeline_errors;
    receipt.bytes += bytes;
}

/// Adds a record that was not taken.
fn reject(receipt: &mut Receipt, index: u64, reason: &str) {
    receipt.rejected_total += 1;
    if receipt.rejected.len() < NOTES_MAX {
        let (field, reason) = (Cow::Borrowed(""), Cow::Owned(reason.to_owned()));
        receipt.rejected.push(Rejected { index, field, reason, kind: RejectKind::default() });
    }
}

struct Written {
    accepted: u64,
    deduplicated: u64,
    seq: Option<u64>,
}

/// One key's bucket, whatever the key's type.
trait Rate {
    fn check(&self, records: usize, now: Timestamp) -> Result<(), Duration>;
    fn take(&self, records: usize, now: Timestamp) -> Result<(), Duration>;
}

struct Keyed<'a, K> {
    rate: &'a Buckets<K>,
    key: &'a K,
}

impl<K: std::hash::Hash + Eq + Clone> Rate for Keyed<'_, K> {
    fn check(&self, records: usize, now: Timestamp) -> Result<(), Duration> {
        self.rate.check(self.key.clone(), records, now)
    }
    fn take(&self, records: usize, now: Timestamp) -> Result<(), Duration> {
        self.rate.take(self.key.clone(), records, now)
    }
}

/// The journal's key for a sender's: the same text from another tenant or door, or for another dataset, is another key.
fn dedup_key(tenant: &Tenant, door: &str, dataset: Dataset, key: &str) -> [u8; 16] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in [tenant.as_str(), door, dataset.as_str(), key] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    digest.as_ref()[..16].try_into().expect("SHA-256 has 32 bytes")
}

fn receipt_id(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.0.div_euclid(1_000_000_000)).unwrap_or(0);
    let ns = u32::try_from(now.0.rem_euclid(1_000_000_000)).expect("below 1e9");
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, ns))
}

fn count_refused(refused: &Refused) {
    counter!("ingest_refused_total", "reason" => refused.code()).increment(1);
}

fn count_taken(receipt: &Receipt, door: &'static str, rejected_totals: [u64; RejectKind::ALL.len()]) {
    counter!("ingest_bytes_total", "door" => door).increment(receipt.bytes);
    let outcomes = [
        ("accepted", receipt.accepted),
        ("deduplicated", receipt.deduplicated),
        ("rejected", receipt.rejected_total),
        ("quarantined", receipt.quarantined),
        ("dropped", receipt.dropped),
    ];
    for (outcome, records) in outcomes.into_iter().filter(|(_, records)| *records > 0) {
        counter!("ingest_records_total", "door" => door, "outcome" => outcome).increment(records);
    }
    for (kind, records) in RejectKind::ALL.iter().zip(rejected_totals).filter(|(_, records)| *records > 0) {
        counter!("ingest_rejected_total", "reason" => kind.as_str()).increment(records);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use heimdall_journal::disk::OsDisk;
    use heimdall_model::{Dataset, ManualClock};

    use super::*;
    use crate::dead::{DeadConfig, LetterFilter};
    use crate::json;
    use crate::schema::Schemas;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

    struct Fixture {
        intake: Intake,
        clock: Arc<ManualClock>,
        reader: heimdall_journal::Reader,
        _dir: tempfile::TempDir,
    }

    fn fixture(limits: &IntakeLimits) -> Fixture {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = heimdall_journal::Config::new(dir.path());
        let (journal, reader) = Journal::open(config, Arc::new(OsDisk), 1).expect("a new journal");
        let clock = Arc::new(ManualClock::new(NOW));
        let as_clock: Arc<dyn Clock> = clock.clone();
        Fixture { intake: Intake::new(Arc::new(journal), as_clock, limits), clock, reader, _dir: dir }
    }

    fn caller(tenant: &str) -> Caller {
        let peer = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Caller {
            tenant: Tenant::new(tenant).expect("a name"),
            token: Some("t1".into()),
            peer,
            shipper: shipper("curl/8\n"),
        }
    }

    fn submission(tenant: &str, key: Option<&str>, body: &str) -> Submission {
        let decoded = json::decode(Dataset::Logs, body.as_bytes(), NOW, &DecodeLimits::default());
        Submission {
            caller: caller(tenant),
            door: "http",
            idempotency_key: key.map(str::to_owned),
            decoded: decoded.expect("JSON"),
            body_bytes: body.len() as u64,
        }
    }

    #[tokio::test]
    async fn a_receipt_says_what_was_taken_and_the_journal_holds_it() {
        let mut it = fixture(&IntakeLimits::default());
        let body = "{\"message\":\"one\"}\n{oops\n{\"message\":\"two\",\"level\":\"loud\"}";
        let receipt = it.intake.admit(submission("a", None, body)).await.expect("room");
        let answer = serde_json::to_value(&receipt).expect("plain data");
        assert_eq!(
            answer,
            serde_json::json!({
                "accepted": 2, "deduplicated": 0, "rejected_total": 1, "coerced_total": 1, "timestamps_assigned": 2,
                "redacted": 0, "quarantined": 0, "dropped": 0, "pipeline_errors": 0,
                "rejected": [{"index": 1, "field": "", "reason": "line is not JSON at byte 1: expected a field name in quotes"}],
                "coerced": [{"index": 2, "field": "level", "reason": "is not a level"}],
                "receipt": receipt.id.to_string(), "tenant": "a", "door": "http", "peer": "127.0.0.1",
                "shipper": "curl/8", "token": "t1",
                "time": "2023-11-14T22:13:20.000000000Z", "bytes": body.len(), "seq": 1,
            })
        );
        let frame = it.reader.next(Duration::from_secs(5)).expect("a readable journal").expect("a frame");
        assert_eq!((frame.seq, FrameKind::from_code(frame.kind)), (1, Some(FrameKind::Batch)));
        let (tenant, batch) = codec::decode(&frame.payload).expect("a batch");
        assert_eq!((tenant.as_str(), batch.rows()), ("a", 2));
        assert_eq!(it.intake.receipt(&tenant, receipt.id).as_deref(), Some(&receipt));
        assert_eq!(it.intake.receipts(&Tenant::default(), 10, None).items, []);
    }

    #[tokio::test]
    async fn the_same_key_is_written_once_for_each_tenant() {
        let it = fixture(&IntakeLimits::default());
        let body = "[{\"a\":1},{\"a\":2}]";
        let first = it.intake.admit(submission("a", Some("k"), body)).await.expect("room");
        let again = it.intake.admit(submission("a", Some("k"), body)).await.expect("room");
        let other = it.intake.admit(submission("b", Some("k"), body)).await.expect("room");
        assert_eq!((first.accepted, first.deduplicated, first.seq), (2, 0, Some(1)));
        assert_eq!((again.accepted, again.deduplicated, again.seq), (0, 2, Some(1)));
        assert_eq!((other.accepted, other.seq), (2, Some(2)));
        assert!(again.is_success());
    }

    #[tokio::test]
    async fn rates_refuse_before_anything_is_written() {
        let limit = Some(RateLimit { records_per_second: 1.0, burst_records: 2.0 });
        let it = fixture(&IntakeLimits { per_tenant: limit, ..IntakeLimits::default() });
        it.intake.admit(submission("a", None, "[{},{}]")).await.expect("a full bucket");
        let refused = it.intake.admit(submission("a", None, "[{}]")).await.expect_err("an empty bucket");
        assert_eq!((refused.code(), refused.retry_after()), ("rate_limited", Some(Duration::from_secs(1))));
        assert_eq!(it.intake.reserve(&caller("a"), 1).expect_err("empty").code(), "rate_limited");
        it.intake.admit(submission("b", None, "[{}]")).await.expect("another tenant");
        it.clock.advance(Duration::from_secs(1));
        let receipt = it.intake.admit(submission("a", None, "[{}]")).await.expect("refilled");
        assert_eq!(receipt.seq, Some(3));
    }

    #[test]
    fn room_is_taken_and_given_back() {
        let it = fixture(&IntakeLimits { in_flight_bytes_max: 10 * UNIT_BYTES, ..IntakeLimits::default() });
        let mut first = it.intake.reserve(&caller("a"), 4 * UNIT_BYTES).expect("room");
        first.grow(8 * UNIT_BYTES).expect("room");
        assert!(matches!(first.grow(11 * UNIT_BYTES), Err(Refused::Busy { .. })));
        assert!(matches!(it.intake.reserve(&caller("a"), 3 * UNIT_BYTES), Err(Refused::Busy { .. })));
        drop(first);
        it.intake.reserve(&caller("a"), 10 * UNIT_BYTES).expect("room again");
    }

    #[tokio::test]
    async fn dead_letters_are_tried_again_and_never_doubled() {
        let mut it = fixture(&IntakeLimits::default());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let dead = DeadLetters::open(DeadConfig::new(dir.path().join("dead")), NOW).expect("a folder");
        let rules = dir.path().join("pipelines");
        std::fs::create_dir(&rules).expect("a folder");
        std::fs::write(
            rules.join("fix.yaml"),
            "name: fix\nenabled: false\nsteps:\n - set: {value: 1}\n   if: {field: value, exists: false}\n",
        )
        .expect("written");
        let pipelines = Arc::new(Pipelines::new(Some(rules), Vec::new(), Schemas::default()));
        pipelines.look().expect("a folder");
        it.intake = it.intake.with_dead_letters(Arc::new(dead)).with_pipelines(pipelines);
        let limits = DecodeLimits::default();
        let body = "{\"name\":\"m\",\"value\":1}\n{\"name\":\"n\"}\n{oops";
        let decoded = json::decode(Dataset::Metrics, body.as_bytes(), NOW, &limits).expect("JSON");
        let sent = Submission { decoded, ..submission("a", Some("k"), "[{}]") };
        let receipt = it.intake.admit(sent).await.expect("room");
        assert_eq!((receipt.accepted, receipt.rejected_total), (1, 2));
        let a = caller("a");
        let letters = |it: &Fixture| {
            let store = it.intake.dead_letters().expect("a store");
            store.page(&a.tenant, &LetterFilter::default(), 10, None).items
        };
        let kept = letters(&it);
        assert_eq!(kept.iter().map(|letter| letter.index).collect::<Vec<_>>(), [2, 1]);
        assert!(kept.iter().all(|letter| letter.receipt == receipt.id));
        let ids: Vec<Uuid> = kept.iter().map(|letter| letter.id).collect();
        let again = it.intake.replay(&a, &ids, None, &limits).await.expect("pipelines");
        assert_eq!((again.accepted, again.failed.len(), again.removed), (0, 2, 0));
        let receipt = it.intake.receipt(&a.tenant, again.receipt.expect("one for all")).expect("kept");
        assert_eq!((receipt.door.as_ref(), receipt.rejected_total), (REPLAY_DOOR, 2));
        assert_eq!(
            (receipt.rejected[1].index, receipt.rejected[1].reason.as_ref()),
            (1, "value: is missing")
        );
        assert_eq!(
            it.intake.receipts(&a.tenant, 10, None).items.len(),
            2,
            "one of the batch, one of the replay"
        );
        assert_eq!(again.failed[1].reason, "value: is missing");
        assert!(it.intake.replay(&a, &ids, Some("none"), &limits).await.is_err());
        // As if the server had ended between writing the record and removing the letter.
        let store = it.intake.dead_letters().expect("a store");
        let whole = store.get(&a.tenant, ids[1]).expect("readable").expect("kept");
        let mut records = Records::new(Dataset::Metrics, Reading::new(NOW, &limits));
        records.json(&whole.raw.replace('}', ",\"value\":1}")).expect("a record");
        let key = format!("dead-letter:{}", ids[1]);
        let written = Submission {
            decoded: records.finish(),
            door: REPLAY_DOOR,
            ..submission("a", Some(&key), "[{}]")
        };
        it.intake.admit(written).await.expect("room");
        let fixed = it.intake.replay(&a, &ids, Some("fix"), &limits).await.expect("a pipeline");
        assert_eq!((fixed.accepted, fixed.deduplicated, fixed.removed, fixed.failed.len()), (0, 1, 1, 1));
        assert_eq!(letters(&it).iter().map(|letter| letter.index).collect::<Vec<_>>(), [2]);
        let other = it.intake.replay(&caller("b"), &ids, None, &limits).await.expect("pipelines");
        assert!(other.failed.iter().all(|failed| failed.reason == "is not kept"));
    }

    #[tokio::test]
    async fn letters_of_bytes_are_kept_as_they_are_and_tried_again_where_they_are_json() {
        let it = fixture(&IntakeLimits::default());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let dead = DeadLetters::open(DeadConfig::new(dir.path().to_owned()), NOW).expect("a folder");
        let intake = it.intake.with_dead_letters(Arc::new(dead));
        let limits = DecodeLimits::default();
        let mut records = Records::new(Dataset::Logs, Reading::new(NOW, &limits));
        records.reject_raw(RejectKind::Syntax, "", "cannot be read", b"\x0a\xff\x01");
        records.reject_raw(RejectKind::Utf8, "", "is no UTF-8", b"{\"message\":\"caf\xe9\"}");
        let long = "\u{e4}".repeat(crate::DEAD_RECORD_BYTES_MAX);
        records.reject_raw(RejectKind::TooLarge, "", "is too large", format!("x{long}").as_bytes());
        let sent = Submission { decoded: records.finish(), ..submission("a", None, "[{}]") };
        assert_eq!(intake.admit(sent).await.expect("room").rejected_total, 3);
        let a = caller("a");
        let store = intake.dead_letters().expect("a store");
        let letters = store.page(&a.tenant, &LetterFilter::default(), 10, None).items;
        let whole = |n: usize| store.get(&a.tenant, letters[n].id).expect("readable").expect("kept");
        assert_eq!((whole(2).raw.as_str(), whole(2).letter.encoding), ("Cv8B", Encoding::Base64));
        assert_eq!(whole(1).letter.encoding, Encoding::Base64);
        let cut = whole(0);
        assert_eq!((cut.letter.is_cut, cut.letter.encoding), (true, Encoding::Text));
        assert_eq!(cut.raw.len(), crate::DEAD_RECORD_BYTES_MAX - 1, "no half of a character");
        let ids: Vec<Uuid> = letters.iter().map(|letter| letter.id).collect();
        let replayed = intake.replay(&a, &ids, None, &limits).await.expect("pipelines");
        assert_eq!((replayed.accepted, replayed.removed, replayed.failed.len()), (1, 1, 2));
        assert!(replayed.failed[1].reason.starts_with("is binary"), "{:?}", replayed.failed);
        let receipt = intake.receipt(&a.tenant, replayed.receipt.expect("one for all")).expect("kept");
        assert_eq!((receipt.accepted, receipt.coerced_total, receipt.coerced[0].index), (1, 1, 1));
    }

    #[tokio::test]
    async fn a_retry_brings_no_second_letters_but_those_that_are_missing() {
        let it = fixture(&IntakeLimits::default());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let dead = DeadLetters::open(DeadConfig::new(dir.path().to_owned()), NOW).expect("a folder");
        let dead = Arc::new(dead);
        let intake = it.intake.with_dead_letters(Arc::clone(&dead));
        let sent = |body: &str, quarantined: bool| {
            let mut sent = submission("a", Some("k"), body);
            sent.decoded.quarantined = u64::from(quarantined);
            sent.decoded.dead.push(crate::Dead {
                index: 1,
                is_quarantined: quarantined,
                field: String::new(),
                reason: "r".to_owned(),
                raw: "{}".to_owned(),
                encoding: Encoding::Text,
                is_cut: false,
            });
            sent
        };
        // As if the first try had ended right after the journal.
        intake.admit(submission("a", Some("k"), "[{}]")).await.expect("room");
        intake.admit(sent("[{}]", false)).await.expect("room");
        assert_eq!(dead.size().0, 0, "its sender is told again");
        for _ in 0..2 {
            let receipt = intake.admit(sent("[{}]", true)).await.expect("room");
            assert_eq!((receipt.deduplicated, receipt.quarantined, dead.size().0), (1, 1, 1));
        }
    }

    #[tokio::test]
    async fn without_a_place_to_keep_it_a_quarantined_record_is_rejected() {
        let it = fixture(&IntakeLimits::default());
        let mut sent = submission("a", None, "[{\"a\":1}]");
        sent.decoded.quarantined = 1;
        sent.decoded.dead.push(crate::Dead {
            index: 1,
            is_quarantined: true,
            field: "f".to_owned(),
            reason: "r".to_owned(),
            raw: "{}".to_owned(),
            encoding: Encoding::Text,
            is_cut: false,
        });
        let receipt = it.intake.admit(sent).await.expect("room");
        assert_eq!((receipt.quarantined, receipt.rejected_total), (0, 1));
        assert_eq!(receipt.rejected[0].reason, "r; it could not be kept aside");
    }
}
