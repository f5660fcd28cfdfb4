//! Keys of batches whose protocol has no id for them: the same bytes are the same batch.
//!
//! Invariant: used only for bodies whose records all state their own time, see [`heimdall_ingest::Decoded::timestamps_assigned`].

use std::fmt::Write as _;

use ring::digest::{Context, SHA256};

/// The key of a body and of what else of the request says what it means.
pub(crate) fn of_body(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let digest = context.finish();
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_part_ends_matters() {
        assert_eq!(of_body(&[b"ab", b"c"]), of_body(&[b"ab", b"c"]));
        assert_ne!(of_body(&[b"ab", b"c"]), of_body(&[b"a", b"bc"]));
        assert_eq!(of_body(&[b""]).len(), 64);
    }
}
