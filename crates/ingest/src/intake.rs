//! The one admission path of every door: room, rate, durable append, receipt.
//!
//! Invariants:
//! - a [`Receipt`] exists only for records the journal has made durable (now, or before under the same key);
//! - bytes in flight never exceed the limit: room is taken before a body is decoded, and given back when its [`Permit`] drops;
//! - a refused submission left nothing behind and may be sent again; with an idempotency key also one whose answer was lost.
//!
//! Not here: who may send (see `guard`), protocols, what a frame's bytes mean (see `heimdall-model`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use heimdall_journal::{Append, Appended, Journal, JournalError};
use heimdall_model::{Batch, Clock, Dataset, Tenant, Timestamp, codec};
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::decoded::{Decoded, RejectKind};
use crate::frames::FrameKind;
use crate::pipeline::Pipelines;
use crate::rate::{Buckets, RateLimit};
use crate::receipt::{Receipt, ReceiptPage, Receipts};

/// In-flight bytes are counted in units of this size.
const UNIT_BYTES: usize = 1024;
/// When to come back after there was no room.
const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);

/// Longest pause between two tries of [`Intake::admit_patiently`].
const PATIENCE_PAUSE_MAX: Duration = Duration::from_secs(5);

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
        }
    }

    /// The same, with pipelines for what decoders read.
    #[must_use]
    pub fn with_pipelines(self, pipelines: Arc<Pipelines>) -> Intake {
        Intake { pipelines, ..self }
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
        Ok(self.taken(submission, &written))
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
                Ok(written) => return Ok(self.taken(submission, &written)),
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

    fn taken(&self, submission: Submission, written: &Written) -> Receipt {
        let Submission { caller, door, decoded, body_bytes, .. } = submission;
        let now = self.clock.now();
        let receipt = Receipt {
            accepted: written.accepted,
            deduplicated: written.deduplicated,
            rejected_total: decoded.rejected_total(),
            rejected: decoded.rejected,
            id: receipt_id(now),
            coerced: decoded.coerced,
            coerced_total: decoded.coerced_total,
            timestamps_assigned: decoded.timestamps_assigned,
            tenant: caller.tenant,
            door,
            peer: caller.peer,
            time: now,
            bytes: body_bytes,
            seq: written.seq,
        };
        count_taken(&receipt, decoded.rejected_totals);
        self.receipts.keep(&receipt);
        receipt
    }

    /// The tenant's receipts, newest first; `before` is the `next` of the page before.
    #[must_use]
    pub fn receipts(&self, tenant: &Tenant, limit: usize, before: Option<u64>) -> ReceiptPage {
        self.receipts.page(tenant, limit, before)
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

fn count_taken(receipt: &Receipt, rejected_totals: [u64; RejectKind::ALL.len()]) {
    let door = receipt.door;
    counter!("ingest_bytes_total", "door" => door).increment(receipt.bytes);
    let outcomes = [
        ("accepted", receipt.accepted),
        ("deduplicated", receipt.deduplicated),
        ("rejected", receipt.rejected_total),
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
    use crate::body::DecodeLimits;
    use crate::json;

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
        Caller { tenant: Tenant::new(tenant).expect("a name"), token: Some("t1".into()), peer }
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
                "rejected": [{"index": 1, "field": "", "reason": "line is not JSON at byte 1: expected a field name in quotes"}],
                "coerced": [{"index": 2, "field": "level", "reason": "is not a level"}],
                "receipt": receipt.id.to_string(), "tenant": "a", "door": "http", "peer": "127.0.0.1",
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
}
