//! Journal positions, and the record ids derived from them.
//!
//! Invariant: the id of a record depends on its timestamp and journal position alone, so a replay gives the same id.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

/// Most rows one journal frame can hold.
pub const FRAME_ROWS_MAX: usize = (1 << Position::ROW_BITS) - 1;

/// Place of a record in the journal: frame sequence number and row, in one ordered number of 62 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// Low bits that hold the row; the 38 above hold the frame.
    pub const ROW_BITS: u32 = 24;

    /// Position of row `row` of frame `seq`.
    #[must_use]
    pub const fn new(seq: u64, row: u32) -> Position {
        Position((seq << Self::ROW_BITS) | row as u64)
    }

    /// The journal frame.
    #[must_use]
    pub const fn seq(self) -> u64 {
        self.0 >> Self::ROW_BITS
    }
}

/// Id of a record: a UUID version 7 (RFC 9562, 5.7; method 3 of 6.2): milliseconds, 12 bits of the fraction of a
/// millisecond, and the journal position where others put random bits. It sorts by time, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordId(pub Uuid);

impl RecordId {
    /// Derives the id of the record with this event time at this position. Times before 1970 count as 1970.
    #[must_use]
    pub fn new(timestamp: Timestamp, position: Position) -> RecordId {
        let ns = u64::try_from(timestamp.0).unwrap_or(0);
        let (ms, rest) = (ns / 1_000_000, ns % 1_000_000);
        let fraction = (rest << 12) / 1_000_000;
        let high = (ms << 16) | 0x7000 | fraction;
        let low = (0b10 << 62) | (position.0 & ((1 << 62) - 1));
        RecordId(Uuid::from_u64_pair(high, low))
    }

    /// Reads the text form of a UUID.
    #[must_use]
    pub fn parse(text: &str) -> Option<RecordId> {
        Uuid::try_parse(text.trim()).ok().map(RecordId)
    }

    /// The journal position inside.
    #[must_use]
    pub fn position(self) -> Position {
        Position(self.0.as_u64_pair().1 & ((1 << 62) - 1))
    }

    /// First nanosecond of the millisecond inside.
    #[must_use]
    pub fn time_floor(self) -> Timestamp {
        let ms = self.0.as_u64_pair().0 >> 16;
        Timestamp(i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX))
    }
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_version_7_sorts_by_time_and_gives_its_position_back() {
        let position = Position::new(123_456, 789);
        let id = RecordId::new(Timestamp(1_700_000_000_123_456_789), position);
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.position(), position);
        assert_eq!(id.time_floor(), Timestamp(1_700_000_000_123_000_000));
        assert!(RecordId::new(Timestamp(1_700_000_000_123_457_789), Position::new(1, 0)) > id);
        assert!(RecordId::new(Timestamp(1_700_000_000_123_456_789), Position::new(123_456, 790)) > id);
        assert_eq!(RecordId::parse(&id.to_string()), Some(id));
    }
}
