//! What can be wrong with what another system sends us. Whether it is signed at all: see [`super::signature`].

/// A message of another system that is not in the form its documentation gives. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InboundError {
    /// More bytes than are read.
    #[error("the message has {bytes} bytes, more than {bytes_max}")]
    TooLong {
        /// Its size.
        bytes: usize,
        /// The most that is read.
        bytes_max: usize,
    },
    /// Not in the form it should have.
    #[error("`{field}`: {reason}")]
    Malformed {
        /// The field, as a path.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl InboundError {
    pub(crate) fn at(field: &str, reason: impl ToString) -> InboundError {
        InboundError::Malformed { field: field.to_owned(), reason: reason.to_string() }
    }
}

/// Bytes of a message that are read.
pub(crate) const INBOUND_BYTES_MAX: usize = 1 << 20;

pub(crate) fn check_len(body: &[u8]) -> Result<(), InboundError> {
    match body.len() {
        bytes if bytes > INBOUND_BYTES_MAX => {
            Err(InboundError::TooLong { bytes, bytes_max: INBOUND_BYTES_MAX })
        }
        _ => Ok(()),
    }
}
