//! Checksums of a segment's Parquet file, kept in its sidecar: Parquet itself has none that its writer fills in.
//!
//! Invariants:
//! - a byte of the file is handed to a decoder only after the checksum of its chunk was found right;
//! - sidecar and Parquet file are of the same segment: the block names its number.
//!
//! Format: docs/formats/segment.md, block of kind 40.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::files::RangeFile;
use crate::sidecar::{Damage, Reader, SidecarBlock, kind, put_count};

/// Bytes that share a checksum: a read is widened to whole chunks.
pub(crate) const CHUNK_BYTES: usize = 16 << 10;

/// CRC-32C of each chunk of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checksums {
    /// Number of the segment.
    pub segment: u64,
    /// Length of the file.
    pub bytes: u64,
    chunks: Vec<u32>,
}

impl Checksums {
    /// Of the file of a segment that is about to be written.
    pub(crate) fn of(segment: u64) -> Checksums {
        Checksums { segment, ..Checksums::default() }
    }

    /// Takes the next bytes of the file.
    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = usize::try_from(self.bytes % CHUNK_BYTES as u64).unwrap_or(0);
            if within == 0 {
                self.chunks.push(0);
            }
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - within));
            if let Some(crc) = self.chunks.last_mut() {
                *crc = crc32c::crc32c_append(*crc, now);
            }
            self.bytes += now.len() as u64;
            bytes = rest;
        }
    }
}

impl SidecarBlock for Checksums {
    const KIND: u32 = kind::CHECKSUMS;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        put_count(out, self.chunks.len());
        self.chunks.iter().for_each(|crc| out.extend_from_slice(&crc.to_le_bytes()));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Checksums, Damage> {
        let (segment, bytes) = (reader.u64()?, reader.u64()?);
        let count = reader.count(4)?;
        if bytes.div_ceil(CHUNK_BYTES as u64) != count as u64 {
            return Err(reader.damage("checksums do not cover the file"));
        }
        let chunks = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
        Ok(Checksums { segment, bytes, chunks })
    }

    fn check(&self, _rows: u64) -> Result<(), &'static str> {
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Checksums>() + self.chunks.len() * 4
    }
}

/// Parts that are announced before they are read, at most, and their bytes: what is more is waited for when it is read, rather than that
/// records of a megabyte push everything else out of the system's memory.
const AHEAD_MAX: usize = 256;
const AHEAD_BYTES_MAX: u64 = 64 << 20;

/// A Parquet file whose every byte is checked before it is given out.
#[derive(Clone)]
pub(crate) struct CheckedFile {
    file: RangeFile,
    sums: Arc<Checksums>,
}

impl CheckedFile {
    pub(crate) fn new(file: RangeFile, sums: Arc<Checksums>) -> CheckedFile {
        CheckedFile { file, sums }
    }

    /// Says which bytes will be read soon, if they are several parts: the system fetches them together, where one after the other a disk
    /// would be waited for as often as there are parts.
    pub(crate) fn will_read(&self, parts: impl Iterator<Item = Range<u64>>) {
        let mut parts = parts.peekable();
        let first = parts.next();
        if parts.peek().is_none() {
            return;
        }
        let mut room = AHEAD_BYTES_MAX;
        for part in first.into_iter().chain(parts).take(AHEAD_MAX) {
            room -= self.announce(part, room);
        }
    }

    /// Says that a part will be read soon, from front to back.
    pub(crate) fn will_read_all(&self, part: Range<u64>) {
        self.announce(part, AHEAD_BYTES_MAX);
    }

    /// Returns how many of at most `room` bytes were announced.
    fn announce(&self, Range { start, end }: Range<u64>, room: u64) -> u64 {
        const CHUNK: u64 = CHUNK_BYTES as u64;
        let from = start / CHUNK * CHUNK;
        let to = end.next_multiple_of(CHUNK).min(self.sums.bytes);
        let length = to.saturating_sub(from).min(room);
        self.file.will_read(from, usize::try_from(length).unwrap_or(usize::MAX));
        length
    }

    /// The `length` bytes at `offset`. Errors: `InvalidData` when a checksum differs.
    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let (from, bytes) = self.read_whole_chunks(BytesMut::new(), offset, length)?;
        let skip = usize::try_from(offset - from).unwrap_or(usize::MAX);
        if bytes.len() < skip.saturating_add(length) {
            return self.file.read(offset, length);
        }
        Ok(bytes.slice(skip..skip + length))
    }

    /// The chunks that hold the `length` bytes at `offset`, and where the first begins; `buffer` is used for them.
    /// Errors: `InvalidData` when a checksum differs.
    pub(crate) fn read_whole_chunks(
        &self,
        mut buffer: BytesMut,
        offset: u64,
        length: usize,
    ) -> io::Result<(u64, Bytes)> {
        const CHUNK: u64 = CHUNK_BYTES as u64;
        let end = offset.saturating_add(length as u64).min(self.sums.bytes);
        let from = offset / CHUNK * CHUNK;
        let to = end.next_multiple_of(CHUNK).min(self.sums.bytes);
        if from >= to {
            return Ok((offset, self.file.read(offset, length)?));
        }
        buffer.resize(usize::try_from(to - from).unwrap_or(usize::MAX), 0);
        self.file.read_into(&mut buffer, from)?;
        let first = usize::try_from(from / CHUNK).unwrap_or(usize::MAX);
        for (number, chunk) in (first..).zip(buffer.chunks(CHUNK_BYTES)) {
            if self.sums.chunks.get(number) != Some(&crc32c::crc32c(chunk)) {
                let detail = format!("at byte {}: the checksum differs", number * CHUNK_BYTES);
                return self.file.noted(Err(io::Error::new(io::ErrorKind::InvalidData, detail)));
            }
        }
        Ok((from, buffer.freeze()))
    }
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for CheckedFile {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        // Asked for page headers only, which are far smaller than this.
        const HEADER_BYTES: u64 = 64 << 10;
        let length = HEADER_BYTES.min(self.len().saturating_sub(start));
        Ok(self.get_bytes(start, usize::try_from(length).unwrap_or(0))?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.read(start, length)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_do_not_depend_on_how_the_bytes_came() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let mut whole = Checksums::default();
        whole.add(&bytes);
        let mut parts = Checksums::default();
        bytes.chunks(777).for_each(|part| parts.add(part));
        assert_eq!(whole, parts);
        assert_eq!((whole.chunks.len(), whole.bytes), (7, 100_000));
        let mut content = Vec::new();
        whole.encode(&mut content);
        assert_eq!(Checksums::decode(&mut Reader::new(&content)), Ok(whole));
        content.truncate(content.len() - 4);
        assert!(Checksums::decode(&mut Reader::new(&content)).is_err());
    }
}
