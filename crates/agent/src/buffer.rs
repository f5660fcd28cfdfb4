//! The disk between sources and the server: what was kept is there after any end of the process.
//!
//! Invariants:
//! - a frame holds records and the marks of their sources together: after a crash, sources go on exactly behind what was kept;
//! - frames are released only once the server has them (or refused them for good, and they lie in `refused/`);
//! - nothing is pushed out by something newer: a full buffer refuses, and the sources decide (see [`crate::pipeline`]);
//! - a frame's number is never used twice by one agent id, also when the journal's files are deleted.
//!
//! Not here: sending (see [`crate::ship`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use heimdall_journal::disk::Disk;
use heimdall_journal::{Append, Appended, Config, Journal, JournalError, Reader};
use heimdall_model::{Batch, Clock, Dataset};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::config::BufferConfig;
use crate::encode;
use crate::state::{Marks, State};

/// Frames' largest payload.
pub(crate) const FRAME_BYTES_MAX: u64 = 2 << 20;
/// A file of the journal; released whole.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Frames held in memory for sending.
const TAIL_BYTES_MAX: u64 = 256 << 10;
/// Frames the server may take before it is written down that it did; those since are sent again after a crash, and counted once.
const UNSAVED_MAX: u64 = 64;

/// Why the buffer does not open, or does not keep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BufferError {
    /// The journal says so.
    #[error("buffer: {0}")]
    Journal(#[from] JournalError),
    /// A file beside the journal cannot be used.
    #[error("buffer: could not {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl BufferError {
    /// Whether there is no room now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, BufferError::Journal(error) if error.retry_after().is_some())
    }
}

/// A frame to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) dataset: Dataset,
    pub(crate) rows: u32,
    pub(crate) body: Bytes,
}

/// The buffer.
pub struct Buffer {
    dir: PathBuf,
    config: BufferConfig,
    journal: Journal,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// One writer of the state file at a time; holds the newest frame it says.
    saved_seq: Mutex<u64>,
    kept: Notify,
    released: Notify,
    is_full: AtomicBool,
    refused_bytes: AtomicU64,
}

/// How full it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct BufferStatus {
    /// Frames the server does not have yet.
    pub frames: u64,
    /// Bytes on disk, those of frames sent but not yet released included.
    pub bytes: u64,
    /// The limit.
    pub bytes_max: u64,
    /// Whether the last append found no room.
    pub is_full: bool,
    /// Why nothing is kept any more until a restart, if so.
    pub latched: Option<String>,
}

impl Buffer {
    /// Opens the buffer in `dir`, and reads how far sources had come. Blocks; reads every frame that was not sent.
    ///
    /// # Errors
    /// The folder is in use, cannot be written, or holds damaged files: never skipped, a person decides.
    pub fn open(
        config: &BufferConfig,
        dir: &Path,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Buffer>, Reader), BufferError> {
        disk.create_dir_all(dir).map_err(io("make", dir))?;
        let known = State::load(dir).map_err(io("read the state in", dir))?;
        let mut state = known.unwrap_or_else(|| State::new(Uuid::now_v7()));
        state.save(dir).map_err(io("write the state in", dir))?;
        let limits = limits(config, dir);
        let (journal, mut reader) = Journal::open(limits.clone(), Arc::clone(&disk), state.acked_seq + 1)?;
        let unsent = recover(&journal, &mut reader, &mut state)?;
        drop(reader);
        drop(journal);
        let (journal, reader) = Journal::open(limits, disk, state.acked_seq + 1)?;
        tracing::info!(frames = unsent, agent = %state.agent_id, "buffer opened");
        let buffer = Buffer {
            dir: dir.to_owned(),
            config: config.clone(),
            journal,
            clock,
            saved_seq: Mutex::new(state.acked_seq),
            refused_bytes: AtomicU64::new(bytes_in(&dir.join("refused"))),
            state: Mutex::new(state),
            kept: Notify::new(),
            released: Notify::new(),
            is_full: AtomicBool::new(false),
        };
        Ok((Arc::new(buffer), reader))
    }

    /// Who this agent is.
    #[must_use]
    pub fn agent_id(&self) -> Uuid {
        self.state.lock().agent_id
    }

    /// How far sources were read, as of what was kept.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.state.lock().marks.clone()
    }

    /// Makes records durable together with the marks of their sources. Returns the frame's number.
    ///
    /// # Errors
    /// [`BufferError::is_full`]: nothing was written; wait for [`Buffer::room`].
    pub async fn keep(&self, batch: &Batch, marks: Marks) -> Result<u64, BufferError> {
        let encoded = encode::body(batch).and_then(|body| encode::frame(&marks, &body));
        let payload = encoded.map_err(io("pack records for", &self.dir))?;
        let append = Append {
            kind: batch.dataset.code(),
            rows: u32::try_from(batch.rows()).unwrap_or(u32::MAX),
            key: None,
            time_ns: self.clock.now().0,
            payload,
        };
        let appended = self.journal.append(append).await;
        self.is_full
            .store(matches!(&appended, Err(error) if error.retry_after().is_some()), Ordering::Relaxed);
        let (Appended::Durable { seq } | Appended::Duplicate { seq, .. }) = appended?;
        self.state.lock().advance(marks);
        self.kept.notify_one();
        Ok(seq)
    }

    /// Takes marks that moved over no record: written down with the next state, and read again after a crash before that.
    pub(crate) fn note(&self, marks: Marks) {
        self.state.lock().advance(marks);
    }

    /// Waits until a frame was released, or `at_most`: then it is worth asking again.
    pub async fn room(&self, at_most: Duration) {
        let _either = tokio::time::timeout(at_most, self.released.notified()).await;
    }

    /// Waits until a frame was kept. A frame kept before is not waited for twice: look first.
    pub(crate) async fn news(&self) {
        self.kept.notified().await;
    }

    /// Notes that the server has the frames up to `seq`, and makes room. Blocks.
    pub(crate) fn release(&self, seq: u64, is_last: bool) -> Result<(), BufferError> {
        self.state.lock().acked_seq = seq;
        if is_last || seq >= *self.saved_seq.lock() + UNSAVED_MAX {
            self.save()?;
            let freed = self.journal.truncate_before(seq + 1)?;
            if freed > 0 {
                self.is_full.store(false, Ordering::Relaxed);
            }
        }
        self.released.notify_waiters();
        Ok(())
    }

    /// Writes down who has what. Blocks.
    pub(crate) fn save(&self) -> Result<(), BufferError> {
        let mut saved = self.saved_seq.lock();
        let state = self.state.lock().clone();
        state.save(&self.dir).map_err(io("write the state in", &self.dir))?;
        *saved = state.acked_seq;
        Ok(())
    }

    /// Lays a frame aside that the server refuses for good. Blocks. Returns whether there was room for it.
    pub(crate) fn set_aside(&self, stored: &Stored) -> Result<bool, BufferError> {
        let bytes = stored.body.len() as u64;
        if self.refused_bytes.load(Ordering::Relaxed) + bytes > self.config.refused_bytes_max {
            return Ok(false);
        }
        let dir = self.dir.join("refused");
        std::fs::create_dir_all(&dir).map_err(io("make", &dir))?;
        let path = dir.join(format!("{:012}-{}.ndjson.zst", stored.seq, stored.dataset));
        std::fs::write(&path, &stored.body).map_err(io("write", &path))?;
        self.refused_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(true)
    }

    /// How full it is.
    #[must_use]
    pub fn status(&self) -> BufferStatus {
        let journal = self.journal.status();
        BufferStatus {
            frames: journal.durable_seq.saturating_sub(self.state.lock().acked_seq),
            bytes: journal.bytes,
            bytes_max: self.config.bytes_max,
            is_full: self.is_full.load(Ordering::Relaxed),
            latched: journal.latched,
        }
    }

    /// The newest durable frame.
    pub(crate) fn newest(&self) -> u64 {
        self.journal.status().durable_seq
    }

    /// Makes what is queued durable, writes the state, and ends. Blocks.
    pub(crate) fn close(&self) -> Result<(), BufferError> {
        self.journal.close();
        self.save()
    }
}

/// The frame as it is to be sent. One that is none of ours goes to the server as it is, which refuses it for good.
pub(crate) fn stored(frame: &heimdall_journal::Frame) -> Stored {
    let body = encode::open_frame(&frame.payload).map_or_else(|| frame.payload.clone(), |(_, body)| body);
    let dataset = Dataset::from_code(frame.kind).unwrap_or(Dataset::Logs);
    Stored { seq: frame.seq, dataset, rows: frame.rows, body }
}

/// Takes the marks of frames that were kept and not sent. Returns how many frames there are.
fn recover(journal: &Journal, reader: &mut Reader, state: &mut State) -> Result<u64, BufferError> {
    let newest = journal.status().durable_seq;
    let mut frames = 0;
    while reader.next_seq() <= newest {
        let Some(frame) = reader.next(Duration::ZERO)? else { break };
        frames += 1;
        if let Some((marks, _)) = encode::open_frame(&frame.payload) {
            state.advance(marks);
        }
    }
    Ok(frames)
}

fn limits(config: &BufferConfig, dir: &Path) -> Config {
    Config {
        file_bytes_max: FILE_BYTES_MAX,
        bytes_max: config.bytes_max,
        disk_reserve_bytes: config.disk_reserve_bytes,
        frame_bytes_max: FRAME_BYTES_MAX,
        group_bytes_max: FRAME_BYTES_MAX,
        queued_bytes_max: 2 * FRAME_BYTES_MAX,
        queued_frames_max: 64,
        tail_bytes_max: TAIL_BYTES_MAX,
        // An outage of the server is what the buffer is for: appends never wait for the sender, only for room.
        backlog_bytes_max: u64::MAX,
        keys_max: 1,
        ..Config::new(dir.join("journal"))
    }
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BufferError {
    let path = path.to_owned();
    move |source| BufferError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
