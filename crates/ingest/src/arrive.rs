//! How bodies arrive: in pieces, perhaps packed, perhaps never to end. Every door that takes whole bodies takes them here.
//!
//! Order of work: announced length, room (before a byte is read), pieces within their times, unpacking off the async threads.
//!
//! Invariant: no more than the limits say is ever held, whatever the sender announces, and room was taken for it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};

use crate::compression::{self, CompressionError, CompressionLimits};
use crate::intake::{Caller, Intake, Permit, Refused};

/// Room taken for a body of unknown length before it is read.
const UNKNOWN_LENGTH_BYTES: u64 = 64 * 1024;
/// Bytes reserved before the first piece, whatever length the sender announces.
const RESERVE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What a body may cost while it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes in all, as sent.
    pub bytes_max: u64,
    /// Wait for one piece.
    pub idle: Duration,
    /// Time in all.
    pub total: Duration,
}

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArriveError {
    /// Larger than allowed, as sent.
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// It took too long.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection ended within it.
    #[error("the body ended before its announced length")]
    Incomplete,
    /// No room, or too many records a second.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It could not be unpacked.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// A whole body, unpacked, and the room it takes.
#[derive(Debug)]
pub struct Arrived {
    /// The bytes.
    pub body: Bytes,
    /// Hold it until the records are durable.
    pub permit: Permit,
}

/// What is known of a body before it is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Announced<'a> {
    /// Its length as sent.
    pub length: Option<u64>,
    /// Its `Content-Encoding`.
    pub encoding: Option<&'a str>,
}

/// Takes a whole body.
///
/// # Errors
/// [`ArriveError`]; nothing of it is held then.
pub async fn arrive<S, E>(
    intake: &Intake,
    caller: &Caller,
    announced: Announced<'_>,
    pieces: S,
    limits: &BodyLimits,
    unpacked: &CompressionLimits,
) -> Result<Arrived, ArriveError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    if announced.length.is_some_and(|length| length > limits.bytes_max) {
        return Err(ArriveError::TooLarge { bytes_max: limits.bytes_max });
    }
    let reserved = usize::try_from(announced.length.unwrap_or(UNKNOWN_LENGTH_BYTES)).unwrap_or(usize::MAX);
    let mut permit = intake.reserve(caller, reserved)?;
    let mut room = |bytes| permit.grow(bytes).map_err(ArriveError::Refused);
    let body = collect(pieces, announced.length, limits, &mut room).await?;
    let body = unpack(announced.encoding, body, unpacked).await?;
    permit.grow(body.len())?;
    Ok(Arrived { body, permit })
}

async fn unpack(
    encoding: Option<&str>,
    body: Bytes,
    limits: &CompressionLimits,
) -> Result<Bytes, CompressionError> {
    let Some(encoding) = encoding else { return Ok(body) };
    let (encoding, limits) = (encoding.to_owned(), limits.clone());
    tokio::task::spawn_blocking(move || compression::decompress(Some(&encoding), body, &limits))
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Reads a body to its end. One piece is handed on as it is; several are copied once, into one buffer. `room` is asked
/// before the buffer holds that many bytes.
///
/// # Errors
/// [`ArriveError`], that of `room` included.
pub async fn collect<S, E>(
    pieces: S,
    announced: Option<u64>,
    limits: &BodyLimits,
    room: &mut (dyn FnMut(usize) -> Result<(), ArriveError> + Send),
) -> Result<Bytes, ArriveError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    tokio::time::timeout(limits.total, collect_pieces(pieces, announced, limits, room))
        .await
        .unwrap_or(Err(ArriveError::TooSlow))
}

async fn collect_pieces<S, E>(
    mut pieces: S,
    announced: Option<u64>,
    limits: &BodyLimits,
    room: &mut (dyn FnMut(usize) -> Result<(), ArriveError> + Send),
) -> Result<Bytes, ArriveError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut next = async || match tokio::time::timeout(limits.idle, pieces.next()).await {
        Ok(piece) => piece.transpose().map_err(|_| ArriveError::Incomplete),
        Err(_) => Err(ArriveError::TooSlow),
    };
    let too_large = || ArriveError::TooLarge { bytes_max: limits.bytes_max };
    let over = |len: usize| len as u64 > limits.bytes_max;
    let Some(first) = next().await? else { return Ok(Bytes::new()) };
    if over(first.len()) {
        return Err(too_large());
    }
    if announced == Some(first.len() as u64) {
        return Ok(first);
    }
    let Some(second) = next().await? else { return Ok(first) };
    let reserve = announced.unwrap_or(0).min(RESERVE_BYTES_MAX).max((first.len() + second.len()) as u64);
    let mut whole = BytesMut::with_capacity(usize::try_from(reserve).unwrap_or_default());
    whole.extend_from_slice(&first);
    let mut piece = Some(second);
    while let Some(bytes) = piece {
        if over(whole.len() + bytes.len()) {
            return Err(too_large());
        }
        room(whole.len() + bytes.len())?;
        whole.extend_from_slice(&bytes);
        piece = next().await?;
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    const LIMITS: BodyLimits =
        BodyLimits { bytes_max: 10, idle: Duration::from_millis(20), total: Duration::from_secs(10) };

    async fn collected(
        pieces: impl Stream<Item = Result<Bytes, Infallible>> + Unpin,
        announced: Option<u64>,
    ) -> Result<Bytes, ArriveError> {
        collect(pieces, announced, &LIMITS, &mut |_| Ok(())).await
    }

    fn pieces(parts: &[&'static str]) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin {
        stream::iter(parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn collects_up_to_the_limit_whatever_the_pieces() {
        assert_eq!(collected(pieces(&["abc", "de", "f"]), Some(6)).await.unwrap(), "abcdef");
        assert_eq!(collected(pieces(&["0123456789"]), None).await.unwrap(), "0123456789");
        for parts in [&["0123456789a"][..], &["01234", "56789", "a"]] {
            assert!(matches!(collected(pieces(parts), None).await, Err(ArriveError::TooLarge { .. })));
        }
    }

    #[tokio::test]
    async fn a_body_that_stops_is_given_up() {
        let body = stream::pending::<Result<Bytes, Infallible>>();
        assert!(matches!(collected(body, None).await, Err(ArriveError::TooSlow)));
    }
}
