//! Connections of protocols that answer nothing: read, cut into frames, handed over, read on.
//!
//! Invariants:
//! - nothing is read from a connection while what it sent before waits to become durable: that is the back-pressure;
//! - at most [`BATCH_BYTES`], what one read gives, and one frame are held of a connection;
//! - a connection whose frame does not end within `frame_timeout` is closed; what it sent is kept, the tail included.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use heimdall_ingest::{Caller, Decoded, Permit, Reading, Refused};
use heimdall_model::Tenant;
use metrics::counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Shared;
use crate::framing::{Frame, Framer, Frames, Framing};
use crate::net::{Peer, Stream};
use crate::shared::Handover;

/// A batch is handed over at this size, though there is more to be read.
pub(crate) const BATCH_BYTES: usize = 1024 * 1024;
/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// At the end, how long to wait for bytes that are on their way, and how long for all of them.
const LAST_WAIT: Duration = Duration::from_millis(250);
const LAST_WAIT_TOTAL: Duration = Duration::from_secs(2);
/// A peer that does not take what ends a connection in time is left.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause before room is asked for again.
const ROOM_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Datagrams of so many senders are a batch for each of them; of more they are one, whose shipper is [`SEVERAL`].
const SENDERS_MAX: usize = 8;
/// The shipper of a batch of many senders.
const SEVERAL: &str = "several";

/// How the frames of a door become records.
pub(crate) type DecodeFrames = dyn Fn(&[u8], &[Frame], Reading<'_>) -> Decoded + Send + Sync;

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamLimits {
    pub(crate) frame_bytes_max: usize,
    /// Without a byte for so long a connection is closed.
    pub(crate) idle_timeout: Duration,
    /// A frame that has begun ends within it.
    pub(crate) frame_timeout: Duration,
}

/// A door whose protocol is frames and nothing else.
#[derive(Clone)]
pub(crate) struct FrameDoor {
    pub(crate) name: &'static str,
    pub(crate) tenant: Tenant,
    pub(crate) decode: Arc<DecodeFrames>,
    /// Whether decoding unpacks, so that few bytes may be much work.
    pub(crate) unpacks: bool,
    /// Whether the protocol has answers: a sender that gets none keeps what it sent.
    pub(crate) answers: bool,
}

/// Why no more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Failed,
    Idle,
    Slow,
    Shutdown,
}

impl FrameDoor {
    /// Serves one connection to its end.
    pub(crate) async fn serve(
        &self,
        shared: &Shared,
        framing: Framing,
        limits: StreamLimits,
        mut stream: Box<dyn Stream>,
        peer: Peer,
    ) {
        let caller = peer.caller(&self.tenant);
        let peer = peer.ends.peer.ip().to_canonical();
        let mut reader = FrameReader {
            framer: Framer::new(framing, limits.frame_bytes_max, peer),
            buffer: vec![0; READ_BYTES],
            limits,
            frame_deadline: None,
        };
        loop {
            let mut frames = Frames::default();
            let end = reader.fill(shared, &mut stream, &mut frames).await;
            if end.is_some_and(|end| end != End::Shutdown) {
                reader.framer.finish(&mut frames);
            }
            let is_taken = self.hand_over(shared, &caller, frames).await.is_ok();
            reader.frame_deadline = None; // it was we who did not read
            if let Some(reason) = end.and_then(End::refusal) {
                counter!("door_connections_refused_total", "door" => self.name, "reason" => reason)
                    .increment(1);
            }
            if end == Some(End::Shutdown) && is_taken {
                self.take_last(shared, &caller, &mut reader, &mut stream).await;
            }
            if end.is_some() || !is_taken {
                break;
            }
        }
        let _ = timeout(GOODBYE_TIMEOUT, stream.shutdown()).await;
    }

    /// The server ends: the sender is told so, and what it had sent until then is taken along. One that looks before it sends
    /// (rsyslog does) loses nothing so.
    async fn take_last(
        &self,
        shared: &Shared,
        caller: &Caller,
        reader: &mut FrameReader,
        stream: &mut Box<dyn Stream>,
    ) {
        let _ = timeout(GOODBYE_TIMEOUT, stream.shutdown()).await;
        let deadline = Instant::now() + LAST_WAIT_TOTAL;
        loop {
            let mut frames = Frames::default();
            let end = reader.fill_last(stream, &mut frames, deadline).await;
            if end.is_some() {
                reader.framer.finish(&mut frames);
            }
            if self.hand_over(shared, caller, frames).await.is_err() || end.is_some() {
                break;
            }
        }
    }

    /// Makes datagrams durable, at the same time those of each sender. What is not kept is counted.
    pub(crate) async fn hand_over_datagrams(&self, shared: &Shared, frames: Frames) {
        let batches = frames.by_peer(SENDERS_MAX).into_iter().map(|frames| async move {
            let caller = match frames.only_peer() {
                Some(peer) => Caller::at(self.tenant.clone(), peer),
                None => Caller::named(self.tenant.clone(), SEVERAL),
            };
            let _ = self.hand_over(shared, &caller, frames).await;
        });
        join_all(batches).await;
    }

    /// Makes frames durable, however long it takes.
    ///
    /// # Errors
    /// [`Refused`]: waiting does not help. The records are lost, and counted, unless the protocol has answers.
    pub(crate) async fn hand_over(
        &self,
        shared: &Shared,
        caller: &Caller,
        frames: Frames,
    ) -> Result<(), Refused> {
        if frames.is_empty() {
            return Ok(());
        }
        self.count_defects(&frames);
        let rows = frames.list.len() as u64;
        let handed = self.admit(shared, caller.clone(), frames).await;
        handed.inspect_err(|refused| {
            if self.answers {
                return tracing::warn!(door = self.name, rows, %refused, "records were not taken: their sender keeps them");
            }
            tracing::error!(door = self.name, rows, %refused, "records could not be kept");
            counter!("door_dropped_total", "door" => self.name, "reason" => refused.code()).increment(rows);
        })
    }

    async fn admit(&self, shared: &Shared, caller: Caller, frames: Frames) -> Result<(), Refused> {
        let permit = room(shared, &caller, frames.size()).await?;
        let Frames { bytes, list } = frames;
        let (bytes, decode) = (Bytes::from(bytes), Arc::clone(&self.decode));
        let length = bytes.len() as u64;
        let decoded = if self.unpacks {
            let work = move |reading: Reading<'_>| decode(&bytes, &list, reading);
            off_the_async_threads(shared, &caller, self.name, work).await
        } else {
            let work = move |bytes: &[u8], reading: Reading<'_>| decode(bytes, &list, reading);
            shared.decode_from(&caller, self.name, bytes, work).await
        };
        let handover = Handover { caller, door: self.name, key: None, decoded: vec![decoded], bytes: length };
        shared.admit_patiently(handover, Some(permit)).await.map(drop)
    }

    fn count_defects(&self, frames: &Frames) {
        for defect in frames.list.iter().filter_map(|frame| frame.defect) {
            counter!("door_frames_rejected_total", "door" => self.name, "reason" => defect.code())
                .increment(1);
        }
    }
}

/// Runs a decoder that may take long whatever the size of what it decodes, with the pipelines for what `caller` sends.
pub(crate) async fn off_the_async_threads<T: Send + 'static>(
    shared: &Shared,
    caller: &Caller,
    door: &'static str,
    decode: impl FnOnce(Reading<'_>) -> T + Send + 'static,
) -> T {
    let (sift, limits) = (shared.sift(caller, door), shared.limits.decode.clone());
    tokio::task::spawn_blocking(move || decode(sift.reading(&limits)))
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Room for bytes that were read: waits for it, as there is nobody to be told to come back.
///
/// # Errors
/// [`Refused`], when waiting does not help or the server ends.
pub(crate) async fn room(shared: &Shared, caller: &Caller, bytes: usize) -> Result<Permit, Refused> {
    loop {
        let refused = match shared.intake.reserve(caller, bytes) {
            Ok(permit) => return Ok(permit),
            Err(refused) => refused,
        };
        let Some(pause) = refused.retry_after() else { return Err(refused) };
        let pause = tokio::time::sleep(pause.min(ROOM_PAUSE_MAX));
        if shared.shutdown.run_until_cancelled(pause).await.is_none() {
            return Err(refused);
        }
    }
}

impl End {
    /// The label of `door_connections_refused_total` for connections that we end.
    const fn refusal(self) -> Option<&'static str> {
        match self {
            End::Idle => Some("idle"),
            End::Slow => Some("slow"),
            End::Closed | End::Failed | End::Shutdown => None,
        }
    }
}

struct FrameReader {
    framer: Framer,
    buffer: Vec<u8>,
    limits: StreamLimits,
    /// Until when the frame that has begun must have ended.
    frame_deadline: Option<Instant>,
}

impl FrameReader {
    /// Waits for bytes, then takes all that are there.
    async fn fill(&mut self, shared: &Shared, stream: &mut dyn Stream, out: &mut Frames) -> Option<End> {
        if self.framer.is_partial() {
            self.frame_deadline.get_or_insert_with(|| Instant::now() + self.limits.frame_timeout);
        }
        let idle = Instant::now() + self.limits.idle_timeout;
        let (deadline, late) = match self.frame_deadline {
            Some(deadline) if deadline < idle => (deadline, End::Slow),
            _ => (idle, End::Idle),
        };
        let first = tokio::select! {
            read = timeout_at(deadline, stream.read(&mut self.buffer)) => Some(read),
            () = shared.shutdown.cancelled() => None,
        };
        match first {
            Some(Ok(read)) => {
                if let Some(end) = self.take(read, out) {
                    return Some(end);
                }
                self.fill_on(stream, out)
            }
            Some(Err(_)) => Some(late),
            None => Some(End::Shutdown),
        }
    }

    /// As [`FrameReader::fill`], for bytes that are on their way; the end when there are no more, or no more time.
    async fn fill_last(
        &mut self,
        stream: &mut dyn Stream,
        out: &mut Frames,
        deadline: Instant,
    ) -> Option<End> {
        let until = deadline.min(Instant::now() + LAST_WAIT);
        let Ok(read) = timeout_at(until, stream.read(&mut self.buffer)).await else {
            return Some(End::Shutdown);
        };
        self.take(read, out).or_else(|| self.fill_on(stream, out))
    }

    /// Takes what is there, without waiting.
    fn fill_on(&mut self, stream: &mut dyn Stream, out: &mut Frames) -> Option<End> {
        while out.size() < BATCH_BYTES {
            let read = stream.read(&mut self.buffer).now_or_never()?;
            if let Some(end) = self.take(read, out) {
                return Some(end);
            }
        }
        None
    }

    fn take(&mut self, read: std::io::Result<usize>, out: &mut Frames) -> Option<End> {
        let len = match read {
            Ok(0) => return Some(End::Closed),
            Ok(len) => len,
            Err(_) => return Some(End::Failed),
        };
        let before = out.list.len();
        self.framer.push(&self.buffer[..len], out);
        if out.list.len() > before || !self.framer.is_partial() {
            self.frame_deadline = None;
        }
        None
    }
}
