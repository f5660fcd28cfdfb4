//! What tests of decoders share.

use heimdall_model::{Tenant, codec};

use crate::{Decoded, NOTES_MAX};

/// What a decoder owes whatever the bytes: `most` records at most, each of them readable, and a batch that comes out of the journal with
/// every row.
#[track_caller]
pub(crate) fn check_batch(decoded: &Decoded, most: usize) {
    let rows = decoded.batch.rows();
    let records = rows as u64 + decoded.rejected_total();
    assert!(records <= most as u64, "{records} records, {most} at most");
    assert!(decoded.rejected.len() <= NOTES_MAX && decoded.coerced.len() <= NOTES_MAX);
    for json in decoded.batch.iter().filter_map(|row| row.attributes()) {
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok(), "{json}");
    }
    let (_, again) = codec::decode(&codec::encode(&Tenant::default(), &decoded.batch)).expect("a batch");
    assert_eq!(again.rows(), rows);
}
