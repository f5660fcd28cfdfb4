//! State as bytes: JSON with a version, floats as their bits, so that a restored detector computes the same numbers.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::detector::SnapshotError;

/// Version of all detectors' snapshots; a change of any saved struct raises it, and old ones start empty.
pub(crate) const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    state: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Writes a state.
pub(crate) fn encode<T: Serialize>(state: &T) -> Vec<u8> {
    serde_json::to_vec(&Envelope { version: VERSION, state }).expect("states are plain data with text keys")
}

/// Reads a state written by [`encode`].
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SnapshotError> {
    let broken = |error: serde_json::Error| SnapshotError::Broken { detail: error.to_string() };
    let VersionOnly { version: found } = serde_json::from_slice(bytes).map_err(broken)?;
    if found != VERSION {
        return Err(SnapshotError::Version { found, wanted: VERSION });
    }
    serde_json::from_slice::<Envelope<T>>(bytes).map(|envelope| envelope.state).map_err(broken)
}

/// Serde of an `f64` as its bits.
pub(crate) mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes a reference")]
    pub(crate) fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(x.to_bits())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}
