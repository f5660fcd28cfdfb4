//! Frames of Lumberjack v2: the bytes of a connection to events.
//!
//! Invariants:
//! - an event is given out once, with its sequence number, in order;
//! - a frame that is larger than allowed, packed or unpacked, is an error before its bytes are kept;
//! - no input panics; bytes are looked at again only while a header is incomplete.
//!
//! Not here: what events say, acknowledgements.

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

const VERSION: u8 = b'2';
/// Pairs of a `D` frame at most.
const PAIRS_MAX: u32 = 10_000;
/// Unpacked bytes are made in pieces of this size.
const PIECE_BYTES: usize = 32 * 1024;
/// An acknowledgement's length.
pub(crate) const ACK_BYTES: usize = 6;

/// Why bytes are no frames that are taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(
        "protocol version `1` is not spoken: senders of version 2 are Logstash 2 and Beats 1, and all after them"
    )]
    Version1,
    #[error("byte {0:#04x} is no protocol version: is TLS on at one end only?")]
    Version(u8),
    #[error("frame type {0:#04x} is not known")]
    Type(u8),
    #[error("a frame is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("a compressed frame unpacks to more than {bytes_max} bytes")]
    Unpacked { bytes_max: usize },
    #[error("a compressed frame is not valid zlib")]
    Corrupt,
    #[error("a compressed frame ends within a frame, or holds a compressed one")]
    Inner,
}

impl FrameError {
    /// The label of `door_frames_rejected_total`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            FrameError::Version1 => "version_1",
            FrameError::Version(_) | FrameError::Type(_) => "malformed",
            FrameError::TooLarge { .. } => "too_large",
            FrameError::Unpacked { .. } => "unpacked_too_large",
            FrameError::Corrupt | FrameError::Inner => "compressed",
        }
    }
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// So many events come, and are acknowledged at the end.
    Window(u32),
    /// An event, JSON.
    Json(u32, Bytes),
    /// An event, names and values.
    Pairs(u32, Vec<(Bytes, Bytes)>),
    /// Frames, packed; [`unpack`] and read again.
    Compressed(Bytes),
    /// Not for a server; passed over.
    Ack,
}

impl Frame {
    /// Bytes it holds.
    pub(crate) fn size(&self) -> usize {
        match self {
            Frame::Json(_, bytes) | Frame::Compressed(bytes) => bytes.len(),
            Frame::Pairs(_, pairs) => pairs.iter().map(|(name, value)| name.len() + value.len()).sum(),
            Frame::Window(_) | Frame::Ack => 0,
        }
    }
}

/// Takes the frame that `buffer` begins with; `None`: more bytes are needed.
pub(crate) fn next(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Frame>, FrameError> {
    let Some((version, rest)) = buffer.split_first() else { return Ok(None) };
    match version {
        &VERSION => {}
        b'1' => return Err(FrameError::Version1),
        other => return Err(FrameError::Version(*other)),
    }
    let Some((kind, rest)) = rest.split_first() else { return Ok(None) };
    let first = word(rest, 0);
    match kind {
        b'W' => Ok(first.map(|count| {
            buffer.advance(6);
            Frame::Window(count)
        })),
        b'A' => Ok(first.map(|_| {
            buffer.advance(ACK_BYTES);
            Frame::Ack
        })),
        b'C' => {
            let Some(length) = first else { return Ok(None) };
            Ok(take(buffer, 6, length, bytes_max)?.map(Frame::Compressed))
        }
        b'J' => {
            let (Some(seq), Some(length)) = (first, word(rest, 4)) else { return Ok(None) };
            Ok(take(buffer, 10, length, bytes_max)?.map(|json| Frame::Json(seq, json)))
        }
        b'D' => {
            let (Some(seq), Some(count)) = (first, word(rest, 4)) else { return Ok(None) };
            pairs(buffer, count, bytes_max).map(|pairs| pairs.map(|pairs| Frame::Pairs(seq, pairs)))
        }
        other => Err(FrameError::Type(*other)),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn take(
    buffer: &mut BytesMut,
    header: usize,
    length: u32,
    bytes_max: usize,
) -> Result<Option<Bytes>, FrameError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(FrameError::TooLarge { bytes_max });
    }
    if buffer.len() < header + length {
        return Ok(None);
    }
    buffer.advance(header);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// The pairs after a header of ten bytes. They are read again for each piece that arrives; nobody sends large ones.
fn pairs(
    buffer: &mut BytesMut,
    count: u32,
    bytes_max: usize,
) -> Result<Option<Vec<(Bytes, Bytes)>>, FrameError> {
    if count > PAIRS_MAX {
        return Err(FrameError::TooLarge { bytes_max });
    }
    let mut spans = Vec::new();
    let mut at = 10;
    for _ in 0..2 * count {
        let Some(length) = word(buffer, at) else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > bytes_max || at > bytes_max {
            return Err(FrameError::TooLarge { bytes_max });
        }
        at += 4 + length;
        if at > buffer.len() {
            return Ok(None);
        }
        spans.push((at - length, at));
    }
    let whole = buffer.split_to(at).freeze();
    let part = |(start, end): (usize, usize)| whole.slice(start..end);
    Ok(Some(spans.chunks_exact(2).map(|pair| (part(pair[0]), part(pair[1]))).collect()))
}

/// Unpacks a compressed frame, and reads the frames in it.
pub(crate) fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<Frame>, FrameError> {
    let mut inner = BytesMut::from(&inflate(packed, bytes_max)?[..]);
    let mut frames = Vec::new();
    while let Some(frame) = next(&mut inner, bytes_max)? {
        if matches!(frame, Frame::Compressed(_)) {
            return Err(FrameError::Inner);
        }
        frames.push(frame);
    }
    if inner.is_empty() { Ok(frames) } else { Err(FrameError::Inner) }
}

fn inflate(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, FrameError> {
    let mut zlib = Decompress::new(true);
    let mut unpacked = Vec::new();
    loop {
        unpacked.reserve(PIECE_BYTES);
        let (read, made) = (zlib.total_in(), zlib.total_out());
        let rest = usize::try_from(read).ok().and_then(|read| packed.get(read..)).unwrap_or_default();
        let status = zlib
            .decompress_vec(rest, &mut unpacked, FlushDecompress::None)
            .map_err(|_| FrameError::Corrupt)?;
        if unpacked.len() > bytes_max {
            return Err(FrameError::Unpacked { bytes_max });
        }
        match status {
            Status::StreamEnd => return Ok(unpacked),
            _ if zlib.total_in() == read && zlib.total_out() == made => return Err(FrameError::Corrupt),
            _ => {}
        }
    }
}

/// The acknowledgement of all events up to this number; of 0: the server is at work.
pub(crate) fn ack(seq: u32) -> [u8; ACK_BYTES] {
    let [a, b, c, d] = seq.to_be_bytes();
    [VERSION, b'A', a, b, c, d]
}

#[cfg(test)]
pub(crate) mod put {
    use std::io::Write as _;

    pub(crate) fn window(count: u32) -> Vec<u8> {
        [b"2W", &count.to_be_bytes()[..]].concat()
    }

    pub(crate) fn json(seq: u32, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).expect("short");
        [b"2J", &seq.to_be_bytes()[..], &length.to_be_bytes()[..], text.as_bytes()].concat()
    }

    pub(crate) fn compressed(frames: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(frames).expect("memory");
        let packed = packer.finish().expect("memory");
        let length = u32::try_from(packed.len()).expect("short");
        [b"2C", &length.to_be_bytes()[..], &packed].concat()
    }
}

#[cfg(test)]
mod tests {
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    fn all(bytes: &[u8], cut: usize) -> Result<Vec<Frame>, FrameError> {
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for piece in bytes.chunks(cut.max(1)) {
            buffer.extend_from_slice(piece);
            while let Some(frame) = next(&mut buffer, MAX)? {
                match frame {
                    Frame::Compressed(packed) => frames.extend(unpack(&packed, MAX)?),
                    frame => frames.push(frame),
                }
            }
        }
        Ok(frames)
    }

    fn data(seq: u32) -> Vec<u8> {
        let mut out = [b"2D", &seq.to_be_bytes()[..], &2_u32.to_be_bytes()[..]].concat();
        for text in ["line", "hello", "host", "h1"] {
            out.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
            out.extend(text.as_bytes());
        }
        out
    }

    #[test]
    fn frames_are_the_same_whatever_the_pieces() {
        let inner = [put::json(2, "{\"b\":2}"), data(3)].concat();
        let bytes = [put::window(3), put::json(1, "{}"), put::compressed(&inner), ack(3).to_vec()].concat();
        let expected = all(&bytes, bytes.len()).expect("frames");
        assert_eq!(expected.len(), 5);
        assert_eq!(expected[0], Frame::Window(3));
        assert_eq!(expected[2], Frame::Json(2, Bytes::from_static(b"{\"b\":2}")));
        let Frame::Pairs(3, pairs) = &expected[3] else { panic!("{:?}", expected[3]) };
        assert_eq!(pairs[1], (Bytes::from_static(b"host"), Bytes::from_static(b"h1")));
        for cut in 1..bytes.len() {
            assert_eq!(all(&bytes, cut).as_ref(), Ok(&expected), "{cut}");
        }
    }

    #[test]
    fn what_is_not_taken_says_why() {
        assert_eq!(all(b"1W\0\0\0\x01", 9), Err(FrameError::Version1));
        assert_eq!(all(b"\x16\x03\x01", 9), Err(FrameError::Version(0x16)));
        assert_eq!(all(b"2X\0\0\0\0", 9), Err(FrameError::Type(b'X')));
        assert_eq!(all(b"2J\0\0\0\x01\xff\xff\xff\xff", 99), Err(FrameError::TooLarge { bytes_max: MAX }));
        assert_eq!(all(b"2D\0\0\0\x01\xff\xff\xff\xff", 99), Err(FrameError::TooLarge { bytes_max: MAX }));
        assert_eq!(all(b"2C\0\0\0\x04oops", 99), Err(FrameError::Corrupt));
        let bomb = put::compressed(&vec![0; 2 * MAX]);
        assert_eq!(all(&bomb, bomb.len()), Err(FrameError::Unpacked { bytes_max: MAX }));
        let twice = put::compressed(&put::compressed(&put::json(1, "{}")));
        assert_eq!(all(&twice, 99), Err(FrameError::Inner));
        let cut = put::compressed(&put::json(1, "{}")[..9]);
        assert_eq!(all(&cut, 99), Err(FrameError::Inner));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1_usize..40) {
            let _ = all(&bytes, cut);
            let framed = [&b"2C"[..], &u32::try_from(bytes.len()).expect("short").to_be_bytes(), &bytes].concat();
            let _ = all(&framed, cut);
            let _ = all(&[&b"2D\0\0\0\x01"[..], &bytes].concat(), cut);
        }
    }

    #[test]
    fn mutants_are_the_same_frames_whatever_the_pieces() {
        let json = put::json(1, "{\"message\":\"m\"}");
        let stream =
            [put::window(3), json.clone(), data(2), put::compressed(&[json.clone(), data(3)].concat())];
        let seeds = Seeds::bytes([
            stream.concat(),
            json,
            data(9),
            [put::window(2), put::compressed(&data(1))].concat(),
        ]);
        fuzz(&seeds, |mutant, rng| {
            let whole = all(mutant, usize::MAX);
            assert_eq!(all(mutant, 1 + rng.below(40)), whole);
            let packed = all(&put::compressed(mutant), usize::MAX);
            for frames in [whole, packed].into_iter().flatten() {
                assert!(
                    frames.len() <= 1_100 * mutant.len(),
                    "deflate makes a thousand bytes of one at most"
                );
            }
        });
    }
}
