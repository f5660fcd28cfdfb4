//! The journal as its users hold it: append, release, status, close.
//!
//! Not here: the order of writing and syncing (see `writer`), recovery (see `open`).

use crate::config::Config;
use crate::disk::Disk;
use crate::error::{JournalError, Refusal};
use crate::open::open;
use crate::reader::Reader;
use crate::shared::{Admitted, Shared};
use crate::telemetry;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What is to be made durable. The journal looks at the key and the time, never into the payload.
#[derive(Debug, Clone)]
pub struct Append {
    /// What the payload is; opaque to the journal.
    pub kind: u8,
    /// Rows in the payload; handed back for duplicates.
    pub rows: u32,
    /// Idempotency key: a second append with it, within the window, is answered [`Appended::Duplicate`].
    pub key: Option<[u8; 16]>,
    /// Arrival time by the server's clock (ns since the Unix epoch, UTC), never a time from the client: it moves the key window.
    pub time_ns: i64,
    /// The bytes.
    pub payload: Bytes,
}

/// The answer to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Written and synced as frame `seq`.
    Durable {
        /// Its number.
        seq: u64,
    },
    /// A frame with the same key is durable already; nothing was written.
    Duplicate {
        /// The number of that frame.
        seq: u64,
        /// Its rows.
        rows: u32,
    },
}

/// How the journal is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The oldest frame kept (one more than `durable_seq` when there is none).
    pub first_seq: u64,
    /// The newest frame handed to the consumer.
    pub consumed_seq: u64,
    /// The newest frame synced (0: none yet).
    pub durable_seq: u64,
    /// The newest frame given to the disk.
    pub appended_seq: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files.
    pub files: usize,
    /// Appends waiting or being written.
    pub queued_frames: usize,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Bytes of durable frames held in memory for the reader.
    pub tail_bytes: u64,
    /// Idempotency keys remembered.
    pub keys: usize,
    /// How long the last sync took (zero: none yet).
    pub last_fsync: Duration,
    /// Whether the last group was refused for want of disk space.
    pub disk_full: bool,
    /// Why nothing is accepted any more, if so.
    pub latched: Option<String>,
}

/// The durable, ordered log. Share it in an `Arc`; dropping it closes it.
pub struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// One release at a time.
    releasing: Mutex<()>,
}

impl Journal {
    /// Opens the journal in `config.dir`, repairs a torn tail, and starts its writer thread.
    ///
    /// `from_seq` is the first frame the consumer still needs (1 for a new consumer); the reader yields every frame from there on, in order, and
    /// files wholly before it are deleted. In an empty directory numbering begins at `from_seq`. Blocks; reads the newest file.
    ///
    /// # Errors
    /// [`JournalError::InvalidConfig`], [`JournalError::ReadOnly`], [`JournalError::InUse`], [`JournalError::Corrupt`], [`JournalError::Io`];
    /// [`JournalError::Released`] when frames from `from_seq` on have been deleted; [`JournalError::Ahead`] when the journal ends before it.
    pub fn open(config: Config, disk: Arc<dyn Disk>, from_seq: u64) -> Result<(Self, Reader), JournalError> {
        telemetry::describe();
        let from_seq = from_seq.max(1);
        let (shared, writer) = open(config, disk, from_seq)?;
        let reader = Reader::new(Arc::clone(&shared), from_seq);
        let thread = std::thread::Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(JournalError::io("start the writer thread of", &shared.config.dir))?;
        Ok((Self { shared, writer: Mutex::new(Some(thread)), releasing: Mutex::new(()) }, reader))
    }

    /// Appends a frame; resolves once it is durable.
    ///
    /// Waits first while the reader is more than `backlog_bytes_max` behind. A future dropped before it resolves may or may
    /// not have been written: with a key, append again.
    ///
    /// # Errors
    /// [`JournalError::DiskFull`], [`JournalError::Full`], [`JournalError::Busy`] (nothing written; see [`JournalError::retry_after`]),
    /// [`JournalError::TooLarge`], [`JournalError::Latched`], [`JournalError::Closed`].
    pub async fn append(&self, append: Append) -> Result<Appended, JournalError> {
        self.shared.room().await?;
        match self.admit(append)? {
            Admitted::Answered(appended) => Ok(appended),
            Admitted::Queued(answer) => answer.await.unwrap_or_else(|_| Err(Refusal::writer_died().into())),
        }
    }

    /// As [`Self::append`], for a thread that may block; it does not wait for the reader to catch up.
    ///
    /// # Panics
    /// When called from an async task.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_blocking(&self, append: Append) -> Result<Appended, JournalError> {
        match self.admit(append)? {
            Admitted::Answered(appended) => Ok(appended),
            Admitted::Queued(answer) => {
                answer.blocking_recv().unwrap_or_else(|_| Err(Refusal::writer_died().into()))
            }
        }
    }

    /// Deletes the files that hold only frames before `seq`, which the consumer has checkpointed durably. Blocks.
    ///
    /// Frames not yet handed to the consumer are kept whatever `seq` says; the active file always is. Returns the bytes freed.
    ///
    /// # Errors
    /// [`JournalError::Io`], [`JournalError::ReadOnly`]; the rest stays for the next call.
    pub fn truncate_before(&self, seq: u64) -> Result<u64, JournalError> {
        let _one_at_a_time = self.releasing.lock();
        let mut freed = 0;
        while let Some(file) = self.shared.releasable(seq) {
            self.shared.delete(file.first_seq)?;
            let mut state = self.shared.lock();
            state.files.pop_front();
            telemetry::levels(state.held_frames, state.file_bytes());
            freed += file.bytes;
        }
        Ok(freed)
    }

    /// Returns how the journal is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.shared.lock();
        Status {
            first_seq: state.files.front().map_or(state.durable_seq + 1, |file| file.first_seq),
            consumed_seq: self.shared.consumed_seq(),
            durable_seq: state.durable_seq,
            appended_seq: state.appended_seq,
            bytes: state.file_bytes(),
            files: state.files.len(),
            queued_frames: state.held_frames,
            queued_bytes: state.held_bytes,
            tail_bytes: state.tail_bytes,
            keys: state.keys.len(),
            last_fsync: state.last_fsync,
            disk_full: state.disk_is_full(),
            latched: state.latched.as_deref().map(str::to_owned),
        }
    }

    /// Refuses new appends, makes the queued ones durable, answers them, and lets the reader end after the last frame. Blocks until the
    /// writer thread has ended; closing again is fine.
    pub fn close(&self) {
        self.shared.begin_close();
        let thread = self.writer.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal writer had panicked");
        }
    }

    fn admit(&self, append: Append) -> Result<Admitted, JournalError> {
        let payload_crc = crc32c::crc32c(&append.payload);
        let admitted = self.shared.admit(append, payload_crc).map_err(|refusal| {
            telemetry::refused(refusal.reason(), 1);
            JournalError::from(refusal)
        })?;
        if matches!(admitted, Admitted::Answered(_)) {
            telemetry::duplicates(1);
        }
        Ok(admitted)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}
