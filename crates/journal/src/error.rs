//! What can go wrong, to which file, and whether to try again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why the journal could not be opened, appended to, or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A limit contradicts another.
    #[error("journal setting `{key}` {detail}")]
    InvalidConfig {
        /// The setting.
        key: &'static str,
        /// What it must be.
        detail: &'static str,
    },
    /// The directory or a file in it cannot be written.
    #[error("journal directory `{path}` is not writable")]
    ReadOnly {
        /// The path that refused.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process (or another journal in this one) has the directory open.
    #[error("journal directory `{dir}` is in use by another process")]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// Bytes that had been made durable do not read back. Never skipped: a person decides.
    #[error("journal file `{file}` is corrupt at byte {offset}: {detail}")]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where the first invalid frame begins.
        offset: u64,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The consumer asks for frames that have been deleted.
    #[error("journal frames from {from_seq} are needed, but the oldest kept is {first_seq}")]
    Released {
        /// What the consumer needs.
        from_seq: u64,
        /// The oldest kept.
        first_seq: u64,
    },
    /// The consumer has seen frames this journal never had: it is not the journal the consumer's state belongs to.
    #[error(
        "journal ends before frame {next_seq}, but the consumer has seen all before {from_seq}: wrong or older journal directory"
    )]
    Ahead {
        /// What the consumer needs.
        from_seq: u64,
        /// The number the next frame would get.
        next_seq: u64,
    },
    /// A file operation failed.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A write or sync failed, and what is on disk is uncertain: nothing more is accepted until a restart has read it back. Whether the append was
    /// kept is known only then; the same key may be sent again.
    #[error("journal is latched after a failure: {reason}")]
    Latched {
        /// The failure.
        reason: Arc<str>,
    },
    /// The disk has no room beyond the reserve. Nothing was written.
    #[error("journal disk is full")]
    DiskFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The consumer has not released enough of the journal. Nothing was written.
    #[error("journal is full: its consumer is behind")]
    Full {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many appends are waiting. Nothing was written.
    #[error("journal queue is full")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The frame exceeds `frame_bytes_max`. Trying again will not help.
    #[error("journal frame of {bytes} bytes exceeds the limit of {bytes_max}")]
    TooLarge {
        /// With its head.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The journal has been closed; from a reader: and every frame has been read.
    #[error("journal is closed")]
    Closed,
}

impl JournalError {
    /// When the same append may succeed; `None` when waiting alone will not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::DiskFull { retry_after } | Self::Full { retry_after } | Self::Busy { retry_after } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }

    /// Wraps a failed operation on `path`; one that was refused for want of permission becomes [`Self::ReadOnly`].
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }
}

/// Why an append was not accepted; shared by a whole group.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    Latched(Arc<str>),
    DiskFull,
    Full,
    Busy,
    TooLarge { bytes: u64, bytes_max: u64 },
    Closed,
}

impl Refusal {
    const RETRY_AFTER_DISK_FULL: Duration = Duration::from_secs(5);
    const RETRY_AFTER_FULL: Duration = Duration::from_secs(2);
    const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);

    /// The writer thread panicked.
    pub(crate) fn writer_died() -> Self {
        Self::Latched("the writer thread panicked".into())
    }

    /// The label of `journal_refused_total`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Latched(_) => "latched",
            Self::DiskFull => "disk_full",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::TooLarge { .. } => "too_large",
            Self::Closed => "closed",
        }
    }
}

impl From<Refusal> for JournalError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Latched(reason) => Self::Latched { reason },
            Refusal::DiskFull => Self::DiskFull { retry_after: Refusal::RETRY_AFTER_DISK_FULL },
            Refusal::Full => Self::Full { retry_after: Refusal::RETRY_AFTER_FULL },
            Refusal::Busy => Self::Busy { retry_after: Refusal::RETRY_AFTER_BUSY },
            Refusal::TooLarge { bytes, bytes_max } => Self::TooLarge { bytes, bytes_max },
            Refusal::Closed => Self::Closed,
        }
    }
}
