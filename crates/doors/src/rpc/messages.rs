//! The messages of a call: five bytes of head, then the message, packed or not.
//!
//! Invariants:
//! - room for a message is taken before it is read, and again when it is larger unpacked;
//! - between messages a call may be silent for long, within one only as long as a body may.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::HeaderMap;
use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use heimdall_ingest::arrive::{ArriveError, Arrived};
use heimdall_ingest::compression::{self, CompressionError};
use heimdall_ingest::{Caller, Permit, Refused};
use tokio::time::Instant;

use crate::Shared;
use crate::http::Failure;

/// Head of a message: a flag and a length.
const HEAD_BYTES: usize = 5;
/// Messages up to this many bytes are unpacked on the async thread.
const INLINE_UNPACK_BYTES_MAX: usize = 16 * 1024;
/// Longest pause before room is asked for again.
const ROOM_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Longest wait for room for what a message became unpacked, and the pause between two tries.
const GROW_WAIT_MAX: Duration = Duration::from_secs(20);
const GROW_PAUSE: Duration = Duration::from_millis(50);

/// What happens when there is no room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The caller is told to come back.
    Refuse,
    /// Nothing is read until there is.
    Wait,
}

/// See the module.
pub(crate) struct Messages {
    pieces: BodyDataStream,
    buffer: BytesMut,
    encoding: Option<String>,
    no_room: NoRoom,
}

impl Messages {
    pub(crate) fn new(headers: &HeaderMap, body: Body, no_room: NoRoom) -> Messages {
        let encoding = headers.get("grpc-encoding").map(|value| value.to_str().unwrap_or("?").to_owned());
        let encoding = encoding.filter(|encoding| encoding != "identity");
        Messages { pieces: body.into_data_stream(), buffer: BytesMut::new(), encoding, no_room }
    }

    /// The only message of a call.
    pub(crate) async fn only(mut self, shared: &Shared, caller: &Caller) -> Result<Arrived, Failure> {
        let total = shared.limits.body.total;
        let read = async {
            let first = self.next(shared, caller).await?;
            let first = first.ok_or_else(|| Failure::Bad("the call has no message".to_owned()))?;
            match self.next(shared, caller).await? {
                None => Ok(first),
                Some(_) => Err(Failure::Bad("the call has more than one message".to_owned())),
            }
        };
        tokio::time::timeout(total, read).await.unwrap_or(Err(ArriveError::TooSlow.into()))
    }

    /// The next message; `None` after the last. Not cancel safe.
    pub(crate) async fn next(
        &mut self,
        shared: &Shared,
        caller: &Caller,
    ) -> Result<Option<Arrived>, Failure> {
        if !self.begin().await? {
            return Ok(None);
        }
        self.fill(HEAD_BYTES, shared).await?;
        let is_packed = match self.buffer[0] {
            0 => false,
            1 => true,
            flag => return Err(Failure::Bad(format!("a message has flag {flag}, which is not used"))),
        };
        let len = usize::try_from((&self.buffer[1..HEAD_BYTES]).get_u32()).unwrap_or(usize::MAX);
        let bytes_max = shared.limits.body.bytes_max;
        if len as u64 > bytes_max {
            return Err(ArriveError::TooLarge { bytes_max }.into());
        }
        let mut permit = room(shared, caller, len, self.no_room).await?;
        self.buffer.advance(HEAD_BYTES);
        self.fill(len, shared).await?;
        let message = self.buffer.split_to(len).freeze();
        let limits = &shared.limits.compression;
        let body = match (is_packed, &self.encoding) {
            (true, Some(encoding)) => unpacked(encoding, message, shared).await?,
            (true, None) => {
                return Err(Failure::Bad("a message is packed, but grpc-encoding is not set".to_owned()));
            }
            (false, _) => compression::decompress(None, message, limits).map_err(ArriveError::from)?,
        };
        grow(shared, &mut permit, body.len(), self.no_room).await?;
        Ok(Some(Arrived { body, permit }))
    }

    /// Waits for the first byte of a message; `false` when the call ended instead.
    async fn begin(&mut self) -> Result<bool, ArriveError> {
        while self.buffer.is_empty() {
            match self.pieces.next().await {
                Some(Ok(piece)) => self.buffer.extend_from_slice(&piece),
                Some(Err(_)) => return Err(ArriveError::Incomplete),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Reads until the buffer holds `len` bytes.
    async fn fill(&mut self, len: usize, shared: &Shared) -> Result<(), ArriveError> {
        while self.buffer.len() < len {
            let piece = tokio::time::timeout(shared.limits.body.idle, self.pieces.next()).await;
            match piece.map_err(|_| ArriveError::TooSlow)? {
                Some(Ok(piece)) => self.buffer.extend_from_slice(&piece),
                Some(Err(_)) | None => return Err(ArriveError::Incomplete),
            }
        }
        Ok(())
    }
}

async fn room(shared: &Shared, caller: &Caller, len: usize, no_room: NoRoom) -> Result<Permit, Refused> {
    loop {
        let refused = match shared.intake.reserve(caller, len) {
            Ok(permit) => return Ok(permit),
            Err(refused) => refused,
        };
        let pause = refused.retry_after().filter(|_| no_room == NoRoom::Wait);
        let Some(pause) = pause else { return Err(refused) };
        let pause = tokio::time::sleep(pause.min(ROOM_PAUSE_MAX));
        if shared.shutdown.run_until_cancelled(pause).await.is_none() {
            return Err(Refused::Closing);
        }
    }
}

/// Makes the room as large as the message is unpacked. Who waits holds room that others may wait for: so nobody waits for ever.
async fn grow(shared: &Shared, permit: &mut Permit, len: usize, no_room: NoRoom) -> Result<(), Refused> {
    let deadline = Instant::now() + GROW_WAIT_MAX;
    loop {
        let Err(refused) = permit.grow(len) else { return Ok(()) };
        if no_room == NoRoom::Refuse || Instant::now() >= deadline {
            return Err(refused);
        }
        let pause = tokio::time::sleep(GROW_PAUSE);
        if shared.shutdown.run_until_cancelled(pause).await.is_none() {
            return Err(Refused::Closing);
        }
    }
}

async fn unpacked(encoding: &str, message: Bytes, shared: &Shared) -> Result<Bytes, ArriveError> {
    let limits = shared.limits.compression.clone();
    if message.len() <= INLINE_UNPACK_BYTES_MAX {
        return Ok(compression::decompress(Some(encoding), message, &limits)?);
    }
    let encoding = encoding.to_owned();
    let unpacked: Result<Bytes, CompressionError> =
        tokio::task::spawn_blocking(move || compression::decompress(Some(&encoding), message, &limits))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    Ok(unpacked?)
}
