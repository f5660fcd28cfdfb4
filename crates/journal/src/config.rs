//! What the journal may use: files, memory, delays. Checked once, at open.
//!
//! Not here: reading configuration files (see the binary).

use crate::error::JournalError;
use crate::format::{FRAME_HEAD_BYTES, snapshot_bytes};
use std::path::PathBuf;
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Limits of one journal. Every limit says what happens at it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the journal files; created when absent.
    pub dir: PathBuf,
    /// A new file is begun when the frames of the active one would exceed this (bytes; default 128 MiB). Deletion is by whole file.
    pub file_bytes_max: u64,
    /// Files not yet released by the consumer may hold this much (bytes; default 8 GiB); beyond: [`JournalError::Full`].
    pub bytes_max: u64,
    /// Free space left to the rest of the machine (bytes; default 64 MiB); below: [`JournalError::DiskFull`].
    pub disk_reserve_bytes: u64,
    /// Free space is looked up again after this long (default 250 ms), or after [`Self::DISK_CHECK_BYTES`] written.
    pub disk_check_interval: Duration,
    /// One frame with its head (bytes; default 64 MiB); beyond: [`JournalError::TooLarge`].
    pub frame_bytes_max: u64,
    /// Frames that share one sync (bytes; default 4 MiB); the rest wait for the next group. A larger frame is a group of its own.
    pub group_bytes_max: u64,
    /// How long the writer waits for as many appends as it answered together last time (default 2 ms). A lone client never waits.
    pub group_delay: Duration,
    /// Appends waiting or being written (bytes; default 64 MiB); beyond: [`JournalError::Busy`].
    pub queued_bytes_max: u64,
    /// Appends waiting or being written, those waiting for another with the same key included (default 16,384); beyond:
    /// [`JournalError::Busy`].
    pub queued_frames_max: usize,
    /// Durable frames kept in memory for the reader (bytes; default 16 MiB); a reader further behind reads the files.
    pub tail_bytes_max: u64,
    /// Frames made durable by this process and not yet delivered to the reader (bytes; default 64 MiB); beyond, appends wait
    /// for the reader up to [`Self::BACKLOG_WAIT`], then: [`JournalError::Busy`]. It bounds how far behind an acknowledged
    /// frame can be processed.
    pub backlog_bytes_max: u64,
    /// How long an idempotency key is remembered, by the frames' `time_ns` (default 24 h).
    pub key_window: Duration,
    /// How many keys are remembered, newest first (default 1,000,000, about 90 MiB when all are used).
    pub keys_max: usize,
}

impl Config {
    /// Free space is looked up again at the latest after this many bytes written.
    pub const DISK_CHECK_BYTES: u64 = 16 * MIB;

    /// How long an append waits for the reader to catch up.
    pub const BACKLOG_WAIT: Duration = Duration::from_secs(5);

    /// The defaults, for a journal in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            file_bytes_max: 128 * MIB,
            bytes_max: 8 * GIB,
            disk_reserve_bytes: 64 * MIB,
            disk_check_interval: Duration::from_millis(250),
            frame_bytes_max: 64 * MIB,
            group_bytes_max: 4 * MIB,
            group_delay: Duration::from_millis(2),
            queued_bytes_max: 64 * MIB,
            queued_frames_max: 16_384,
            tail_bytes_max: 16 * MIB,
            backlog_bytes_max: 64 * MIB,
            key_window: Duration::from_hours(24),
            keys_max: 1_000_000,
        }
    }

    /// Refuses limits that contradict each other.
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        let invalid = |key, detail| Err(JournalError::InvalidConfig { key, detail });
        if self.frame_bytes_max < FRAME_HEAD_BYTES as u64 || self.frame_bytes_max > u64::from(u32::MAX) {
            return invalid("frame_bytes_max", "must be between 56 bytes and 4 GiB");
        }
        if self.file_bytes_max == 0 || self.queued_frames_max == 0 {
            return invalid("file_bytes_max, queued_frames_max", "must be more than 0");
        }
        if self.group_delay > Duration::from_millis(100) {
            return invalid("group_delay", "must be at most 100 ms: appends wait for it");
        }
        if self.disk_check_interval > Duration::from_hours(1) {
            return invalid(
                "disk_check_interval",
                "must be at most 1 h: a full disk is refused for that long",
            );
        }
        if self.keys_max > 100_000_000 {
            return invalid("keys_max", "must be at most 100,000,000");
        }
        if self.bytes_max < self.file_bytes_max.saturating_add(self.least_room()) {
            return invalid(
                "bytes_max",
                "must hold a whole file, the key snapshot of the next and its first frames, or the journal could fill up for good",
            );
        }
        Ok(())
    }

    /// What a new file may need before the one before it can be released.
    fn least_room(&self) -> u64 {
        snapshot_bytes(self.keys_max).saturating_add(self.group_bytes_max.max(self.frame_bytes_max))
    }
}
