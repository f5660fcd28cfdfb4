//! The one consumer's view: every durable frame from a given one on, in order, from memory while it keeps up, from the files while it does not.
//!
//! Invariants:
//! - `next_seq` is the frame to be returned next; `ready` holds the frames from there on;
//! - frames come from a file only up to the durable length the writer has published.

use crate::error::JournalError;
use crate::format::FRAME_HEAD_BYTES;
use crate::scan::{FileReader, Step};
use crate::shared::{FileInfo, Found, Shared};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Moved from the shared tail at once, so that the lock is taken rarely.
const READY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A durable append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its number: 1, 2, 3 …
    pub seq: u64,
    /// As appended.
    pub kind: u8,
    /// As appended.
    pub rows: u32,
    /// As appended: arrival time, ns since the Unix epoch, UTC.
    pub time_ns: i64,
    /// As appended.
    pub payload: Bytes,
}

impl Frame {
    /// What it counts for in memory.
    pub(crate) fn tail_bytes(&self) -> u64 {
        (FRAME_HEAD_BYTES + self.payload.len()) as u64
    }
}

/// Yields the frames. Belongs to one thread; dropping it leaves the journal running (until it is full).
pub struct Reader {
    shared: Arc<Shared>,
    next_seq: u64,
    ready: VecDeque<Frame>,
    file: Option<OpenFile>,
}

struct OpenFile {
    reader: FileReader,
    first_seq: u64,
    /// Durable length when last looked up.
    limit: u64,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from_seq: u64) -> Self {
        Self { shared, next_seq: from_seq, ready: VecDeque::new(), file: None }
    }

    /// Returns the next frame, waiting up to `timeout` for it to become durable; `None` when the time is over. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Closed`] when the journal is closed and every frame has been returned. [`JournalError::Corrupt`] and
    /// [`JournalError::Io`] are returned again by the next call: no frame is skipped.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, JournalError> {
        if self.ready.is_empty() {
            if let Some(frame) = self.read_ahead()? {
                return Ok(Some(self.deliver(frame)));
            }
            let deadline = Instant::now().checked_add(timeout);
            match self.shared.find(self.next_seq, deadline, READY_BYTES_MAX, &mut self.ready) {
                Found::Memory => {}
                Found::File(file) => {
                    let frame = self.read(file)?;
                    return Ok(Some(self.deliver(frame)));
                }
                Found::TimedOut => return Ok(None),
                Found::Ended => return Err(JournalError::Closed),
            }
        }
        let frame = self.ready.pop_front();
        Ok(frame.map(|frame| self.deliver(frame)))
    }

    /// Number of the frame to be returned next.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    fn deliver(&mut self, frame: Frame) -> Frame {
        debug_assert_eq!(frame.seq, self.next_seq, "frames are delivered densely and in order");
        self.next_seq = frame.seq + 1;
        self.shared.delivered(&frame);
        frame
    }

    /// Goes on in the open file without looking at the shared state, while that is known to be durable.
    fn read_ahead(&mut self) -> Result<Option<Frame>, JournalError> {
        let next_seq = self.next_seq;
        match &mut self.file {
            Some(file) if file.reader.next_seq() == next_seq && file.reader.offset() < file.limit => {
                file.read().map(Some)
            }
            _ => Ok(None),
        }
    }

    fn read(&mut self, info: FileInfo) -> Result<Frame, JournalError> {
        let open = self.file.take();
        let mut file = match open {
            Some(open) if open.first_seq == info.first_seq && open.reader.next_seq() <= self.next_seq => open,
            _ => OpenFile::open(&self.shared, info)?,
        };
        file.limit = info.bytes;
        let frame = file.read_to(self.next_seq);
        if frame.is_ok() {
            self.file = Some(file);
        }
        frame
    }
}

impl OpenFile {
    fn open(shared: &Shared, info: FileInfo) -> Result<Self, JournalError> {
        let path = shared.path(info.first_seq, "wal");
        let reader = FileReader::open(&*shared.disk, path, info.first_seq, info.bytes)?;
        Ok(Self { reader, first_seq: info.first_seq, limit: info.bytes })
    }

    fn read_to(&mut self, seq: u64) -> Result<Frame, JournalError> {
        loop {
            let frame = self.read()?;
            if frame.seq == seq {
                return Ok(frame);
            }
        }
    }

    fn read(&mut self) -> Result<Frame, JournalError> {
        match self.reader.next(self.limit)? {
            Step::Frame(head, payload) => {
                let (seq, kind, rows, time_ns) = (head.seq, head.kind, head.rows, head.time_ns);
                Ok(Frame { seq, kind, rows, time_ns, payload })
            }
            Step::End => Err(self.reader.corrupt("file ends before the first frame of the next")),
            Step::Damaged(detail) => Err(self.reader.corrupt(detail)),
        }
    }
}
