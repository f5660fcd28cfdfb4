//! What every door works with: the intake, who may come in, limits, and the end.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use heimdall_guard::Guard;
use heimdall_ingest::arrive::{Announced, ArriveError, Arrived, BodyLimits, arrive};
use heimdall_ingest::compression::CompressionLimits;
use heimdall_ingest::pipeline::PipelineSet;
use heimdall_ingest::{
    Caller, DecodeLimits, Decoded, Intake, Origin, Permit, Pipes, Reading, Receipt, Refused, Submission,
};
use heimdall_model::{Tenant, Timestamp};
use tokio_util::sync::CancellationToken;

/// Limits of all doors.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of bodies as they arrive.
    pub body: BodyLimits,
    /// Of bodies once unpacked.
    pub compression: CompressionLimits,
    /// Of what a body holds.
    pub decode: DecodeLimits,
    /// Bodies up to this many bytes are decoded on the async thread that read them, larger ones on a blocking thread.
    pub inline_decode_bytes_max: usize,
}

/// See the module.
pub struct Shared {
    /// Where records go.
    pub intake: Arc<Intake>,
    /// Who may come in.
    pub guard: Guard,
    /// Limits.
    pub limits: Limits,
    /// Folder in which doors may keep what they need to go on after a restart.
    pub data_dir: PathBuf,
    /// Fires when the server is to end.
    pub shutdown: CancellationToken,
}

/// What a door hands over: the records of one request, frame or connection so far.
#[derive(Debug)]
pub struct Handover {
    /// Who sends.
    pub caller: Caller,
    /// The door.
    pub door: &'static str,
    /// The sender's id of this batch, where the protocol has one: a second time it is not written again.
    pub key: Option<String>,
    /// Batches; usually one.
    pub decoded: Vec<Decoded>,
    /// Bytes, unpacked.
    pub bytes: u64,
}

impl Shared {
    /// Takes a whole body, within its limits.
    ///
    /// # Errors
    /// [`ArriveError`].
    pub async fn arrive<S, E>(
        &self,
        caller: &Caller,
        announced: Announced<'_>,
        pieces: S,
    ) -> Result<Arrived, ArriveError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        arrive(&self.intake, caller, announced, pieces, &self.limits.body, &self.limits.compression).await
    }

    /// Runs work on bytes that are no records yet, such as unpacking: small ones here, large ones off the async threads.
    pub async fn prepare<T, F>(&self, bytes: Bytes, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&[u8]) -> T + Send + 'static,
    {
        if bytes.len() <= self.limits.inline_decode_bytes_max {
            return work(&bytes);
        }
        blocking(move || work(&bytes)).await
    }

    /// Runs a decoder, with the pipelines for what `caller` sends through `door`: small bodies here, large ones off the async threads.
    pub async fn decode_from<T, F>(&self, caller: &Caller, door: &'static str, body: Bytes, decode: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&[u8], Reading<'_>) -> T + Send + 'static,
    {
        let sift = self.sift(caller, door);
        if body.len() <= self.limits.inline_decode_bytes_max {
            return decode(&body, sift.reading(&self.limits.decode));
        }
        let limits = self.limits.decode.clone();
        blocking(move || decode(&body, sift.reading(&limits))).await
    }

    /// What decoders of what `caller` sends through `door` are told, for doors that decode frame after frame: take a new one for
    /// each batch, since pipelines change.
    #[must_use]
    pub fn sift(&self, caller: &Caller, door: &'static str) -> Sift {
        Sift {
            set: self.intake.pipelines().current(),
            tenant: caller.tenant.clone(),
            door,
            now: self.intake.now(),
        }
    }

    /// Makes everything durable, batch after batch, and says what became of each.
    ///
    /// # Errors
    /// The first [`Refused`]; batches before it are durable then, and, with a key, not written again when they come again.
    pub async fn admit(&self, handover: Handover, permit: Option<Permit>) -> Result<Vec<Receipt>, Refused> {
        let mut receipts = Vec::with_capacity(handover.decoded.len());
        for submission in submissions(handover) {
            receipts.push(self.intake.admit(submission).await?);
        }
        drop(permit);
        Ok(receipts)
    }

    /// The same for senders that cannot be told to come back: tried until the server ends.
    ///
    /// # Errors
    /// As [`Shared::admit`], when waiting does not help.
    pub async fn admit_patiently(
        &self,
        handover: Handover,
        permit: Option<Permit>,
    ) -> Result<Vec<Receipt>, Refused> {
        let mut receipts = Vec::with_capacity(handover.decoded.len());
        for submission in submissions(handover) {
            receipts.push(self.intake.admit_patiently(submission, self.shutdown.cancelled()).await?);
        }
        drop(permit);
        Ok(receipts)
    }
}

/// The pipelines for one sender, and the time of arrival.
#[derive(Debug, Clone)]
pub struct Sift {
    set: Arc<PipelineSet>,
    tenant: Tenant,
    door: &'static str,
    now: Timestamp,
}

impl Sift {
    /// Whether the pipelines have not changed since.
    #[must_use]
    pub fn is_current(&self, shared: &Shared) -> bool {
        Arc::ptr_eq(&self.set, &shared.intake.pipelines().current())
    }

    /// As decoders want it.
    #[must_use]
    pub fn reading<'a>(&'a self, limits: &'a DecodeLimits) -> Reading<'a> {
        let origin = Origin { door: self.door, tenant: &self.tenant, service: None };
        Reading { now: self.now, limits, pipelines: Some(Pipes { set: &self.set, origin }) }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// The batches of a handover; those after the first have keys of their own.
fn submissions(handover: Handover) -> impl Iterator<Item = Submission> {
    let Handover { caller, door, key, decoded, bytes } = handover;
    decoded.into_iter().enumerate().map(move |(n, decoded)| Submission {
        caller: caller.clone(),
        door,
        idempotency_key: key.as_ref().map(|key| if n == 0 { key.clone() } else { format!("{key}#{n}") }),
        decoded,
        body_bytes: if n == 0 { bytes } else { 0 },
    })
}
