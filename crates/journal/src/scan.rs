//! Reads one journal file front to back, verifying every byte it hands out.
//!
//! Invariants:
//! - nothing at or beyond the `limit` given by the caller is read: those bytes may still change;
//! - frames come in order of `seq` without a gap, or as [`Step::Damaged`].
//!
//! Not here: what damage means for the journal (see `open`, `reader`).

use crate::disk::{Disk, DiskFile};
use crate::error::JournalError;
use crate::format::{FILE_HEADER_BYTES, FRAME_HEAD_BYTES, FileHeader, FrameHead, KEY_ENTRY_BYTES, KeyEntry};
use bytes::{Bytes, BytesMut};
use std::path::{Path, PathBuf};

/// Read at once when frames are smaller.
const READ_AHEAD_BYTES: u64 = 256 * 1024;
/// Searched at once behind damage.
const SEARCH_BYTES: usize = 4 * 1024 * 1024;

pub(crate) struct FileReader {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: FileHeader,
    /// File offset of the first byte of `buffer`.
    offset: u64,
    buffer: BytesMut,
    next_seq: u64,
}

pub(crate) enum Step {
    Frame(FrameHead, Bytes),
    /// `limit` reached, exactly behind a frame.
    End,
    /// No valid frame at the reader's offset.
    Damaged(&'static str),
}

impl FileReader {
    /// Opens a file whose durable length is `len`, verifies its header, and stands at its first numbered frame.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: PathBuf,
        first_seq: u64,
        len: u64,
    ) -> Result<Self, JournalError> {
        let file = disk.open_read(&path).map_err(JournalError::io("open", &path))?;
        let mut header = [0; FILE_HEADER_BYTES];
        let read = file.read_at(&mut header, 0).map_err(JournalError::io("read", &path))?;
        if read < FILE_HEADER_BYTES {
            return Err(corrupt(&path, 0, "file header is cut short"));
        }
        let header = FileHeader::decode(&header).map_err(|detail| corrupt(&path, 0, detail))?;
        if header.first_seq != first_seq {
            return Err(corrupt(&path, 16, "file name and header disagree"));
        }
        if header.data_offset > len {
            return Err(corrupt(&path, 24, "file ends inside its key snapshot"));
        }
        Ok(Self {
            path,
            file,
            header,
            offset: header.data_offset,
            buffer: BytesMut::new(),
            next_seq: first_seq,
        })
    }

    pub(crate) fn header(&self) -> FileHeader {
        self.header
    }

    /// Number of the frame to be read next.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Where that frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn corrupt(&self, detail: &'static str) -> JournalError {
        corrupt(&self.path, self.offset, detail)
    }

    /// Reads the next numbered frame that ends at or before `limit`.
    pub(crate) fn next(&mut self, limit: u64) -> Result<Step, JournalError> {
        let expected = self.next_seq;
        let step = self.step(limit, |head| !head.snapshot && head.seq == expected)?;
        if matches!(step, Step::Frame(..)) {
            self.next_seq += 1;
        }
        Ok(step)
    }

    /// Reads the key snapshot, whatever was read before, and returns to the first numbered frame.
    pub(crate) fn keys(&mut self, mut remember: impl FnMut(KeyEntry)) -> Result<(), JournalError> {
        let (first_seq, limit) = (self.header.first_seq, self.header.data_offset);
        self.restart(FILE_HEADER_BYTES as u64);
        loop {
            match self.step(limit, |head| head.snapshot && head.seq == first_seq)? {
                Step::Frame(head, payload) => {
                    let (entries, rest) = payload.as_chunks::<KEY_ENTRY_BYTES>();
                    if entries.len() != head.rows as usize || !rest.is_empty() {
                        return Err(self.corrupt("key snapshot has the wrong length"));
                    }
                    entries.iter().map(KeyEntry::decode).for_each(&mut remember);
                }
                Step::End => break,
                Step::Damaged(detail) => return Err(self.corrupt(detail)),
            }
        }
        self.restart(limit);
        Ok(())
    }

    /// Tells whether some byte from here to `limit` begins a frame written after the frame expected here had become durable.
    pub(crate) fn was_durable(&self, limit: u64) -> Result<bool, JournalError> {
        let mut window = vec![0; SEARCH_BYTES];
        let mut at = self.offset + 1;
        while at + FRAME_HEAD_BYTES as u64 <= limit {
            let read = self.file.read_at(&mut window, at).map_err(JournalError::io("read", &self.path))?;
            let later = |bytes: &[u8]| {
                let head = bytes.try_into().map(|bytes| FrameHead::decode(bytes, self.header.salt));
                matches!(head, Ok(Ok(head)) if !head.snapshot && head.group_first_seq() > self.next_seq)
            };
            if window[..read].windows(FRAME_HEAD_BYTES).any(later) {
                return Ok(true);
            }
            at += (SEARCH_BYTES - FRAME_HEAD_BYTES + 1) as u64;
        }
        Ok(false)
    }

    fn restart(&mut self, offset: u64) {
        self.buffer.clear();
        self.offset = offset;
        self.next_seq = self.header.first_seq;
    }

    fn step(&mut self, limit: u64, expected: impl FnOnce(&FrameHead) -> bool) -> Result<Step, JournalError> {
        if self.offset >= limit {
            return Ok(Step::End);
        }
        if !self.fill(FRAME_HEAD_BYTES, limit)? {
            return Ok(Step::Damaged("frame head is cut short"));
        }
        let head = self.buffer.first_chunk().map(|bytes| FrameHead::decode(bytes, self.header.salt));
        let head = match head.expect("the buffer was filled") {
            Ok(head) => head,
            Err(detail) => return Ok(Step::Damaged(detail)),
        };
        if !expected(&head) {
            return Ok(Step::Damaged("frame is not the next in order"));
        }
        let frame_bytes = FRAME_HEAD_BYTES + head.payload_len as usize;
        if !self.fill(frame_bytes, limit)? {
            return Ok(Step::Damaged("frame is cut short"));
        }
        if crc32c::crc32c(&self.buffer[FRAME_HEAD_BYTES..frame_bytes]) != head.payload_crc {
            return Ok(Step::Damaged("payload checksum mismatch"));
        }
        let payload = self.buffer.split_to(frame_bytes).freeze().slice(FRAME_HEAD_BYTES..);
        self.offset += frame_bytes as u64;
        Ok(Step::Frame(head, payload))
    }

    /// Buffers at least `need` bytes from `offset`; false when fewer are below `limit`.
    fn fill(&mut self, need: usize, limit: u64) -> Result<bool, JournalError> {
        let have = self.buffer.len();
        if have >= need {
            return Ok(true);
        }
        let below = limit - self.offset;
        if (need as u64) > below {
            return Ok(false);
        }
        let want = usize::try_from((need as u64).max(READ_AHEAD_BYTES).min(below))
            .expect("bounded by the larger of need and read-ahead");
        self.buffer.resize(want, 0);
        let read = self.file.read_at(&mut self.buffer[have..], self.offset + have as u64);
        let read = read.map_err(JournalError::io("read", &self.path))?;
        self.buffer.truncate(have + read);
        Ok(self.buffer.len() >= need)
    }
}

pub(crate) fn corrupt(file: &Path, offset: u64, detail: &'static str) -> JournalError {
    JournalError::Corrupt { file: file.to_path_buf(), offset, detail }
}
