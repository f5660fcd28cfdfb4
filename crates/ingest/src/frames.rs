//! What the journal's frames hold: shared by the writer ([`crate::Intake`]) and the reader (the stream).
//!
//! Invariant: a code is never given a second meaning.

/// Kind of a journal frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum FrameKind {
    /// One batch of one tenant, as [`heimdall_model::codec`] writes it.
    Batch = 1,
}

impl FrameKind {
    /// The stored code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this code; `None` for a frame of a newer version.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<FrameKind> {
        match code {
            1 => Some(FrameKind::Batch),
            _ => None,
        }
    }
}
