//! The bytes of a journal file: header, frame head, key entry. Pure.
//!
//! Format: `docs/formats/journal.md`. Decoding never panics, whatever the bytes.

use crc32c::{crc32c, crc32c_append};

pub(crate) const FILE_HEADER_BYTES: usize = 40;
pub(crate) const FRAME_HEAD_BYTES: usize = 56;
/// The same, as the length field counts.
const HEAD_LEN: u32 = 56;
const _: () = assert!(HEAD_LEN as usize == FRAME_HEAD_BYTES);
pub(crate) const KEY_ENTRY_BYTES: usize = 36;
/// Key entries in one snapshot frame.
pub(crate) const KEYS_PER_FRAME: usize = 65_536;
/// Frames in one commit group: `group_index` is a u16.
pub(crate) const GROUP_FRAMES_MAX: usize = 4096;
const _: () = assert!(GROUP_FRAMES_MAX <= u16::MAX as usize);

const FILE_MAGIC: [u8; 8] = *b"HDLJRNL1";
const FILE_VERSION: u32 = 1;
const FLAG_KEY: u8 = 1;
const FLAG_SNAPSHOT: u8 = 2;

/// An idempotency key.
pub(crate) type Key = [u8; 16];

/// Bytes of the key snapshot of `keys` keys, frame heads included.
pub(crate) fn snapshot_bytes(keys: usize) -> u64 {
    (keys.div_ceil(KEYS_PER_FRAME) * FRAME_HEAD_BYTES + keys * KEY_ENTRY_BYTES) as u64
}

/// The first bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) salt: u32,
    pub(crate) first_seq: u64,
    pub(crate) data_offset: u64,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        put(&mut bytes, 0, FILE_MAGIC);
        put(&mut bytes, 8, FILE_VERSION.to_le_bytes());
        put(&mut bytes, 12, self.salt.to_le_bytes());
        put(&mut bytes, 16, self.first_seq.to_le_bytes());
        put(&mut bytes, 24, self.data_offset.to_le_bytes());
        let crc = crc32c(&bytes[..36]);
        put(&mut bytes, 36, crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FILE_HEADER_BYTES]) -> Result<Self, &'static str> {
        if take::<8>(bytes, 0) != FILE_MAGIC {
            return Err("not a journal file");
        }
        if crc32c(&bytes[..36]) != u32_at(bytes, 36) {
            return Err("file header checksum mismatch");
        }
        if u32_at(bytes, 8) != FILE_VERSION || u32_at(bytes, 32) != 0 {
            return Err("file version is not supported");
        }
        let header =
            Self { salt: u32_at(bytes, 12), first_seq: u64_at(bytes, 16), data_offset: u64_at(bytes, 24) };
        if header.first_seq == 0 || header.data_offset < FILE_HEADER_BYTES as u64 {
            return Err("file header is invalid");
        }
        Ok(header)
    }
}

/// What precedes a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) payload_len: u32,
    pub(crate) seq: u64,
    pub(crate) time_ns: i64,
    pub(crate) rows: u32,
    pub(crate) payload_crc: u32,
    pub(crate) key: Option<Key>,
    pub(crate) kind: u8,
    pub(crate) snapshot: bool,
    pub(crate) group_index: u16,
}

impl FrameHead {
    /// Number of the first frame of the commit group this frame belongs to: everything before it had been durable.
    pub(crate) fn group_first_seq(&self) -> u64 {
        self.seq.saturating_sub(u64::from(self.group_index))
    }

    /// `payload_len` must leave room for the head in a u32; `Config::check` sees to it.
    pub(crate) fn encode(&self, salt: u32) -> [u8; FRAME_HEAD_BYTES] {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        let len = self.payload_len + HEAD_LEN;
        put(&mut bytes, 0, len.to_le_bytes());
        put(&mut bytes, 8, self.seq.to_le_bytes());
        put(&mut bytes, 16, self.time_ns.to_le_bytes());
        put(&mut bytes, 24, self.rows.to_le_bytes());
        put(&mut bytes, 28, self.payload_crc.to_le_bytes());
        put(&mut bytes, 32, self.key.unwrap_or_default());
        bytes[48] = self.kind;
        bytes[49] =
            if self.key.is_some() { FLAG_KEY } else { 0 } | if self.snapshot { FLAG_SNAPSHOT } else { 0 };
        put(&mut bytes, 50, self.group_index.to_le_bytes());
        let crc = head_crc(&bytes, salt);
        put(&mut bytes, 4, crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FRAME_HEAD_BYTES], salt: u32) -> Result<Self, &'static str> {
        let Some(payload_len) = u32_at(bytes, 0).checked_sub(HEAD_LEN) else {
            return Err("frame length is too small");
        };
        if u32_at(bytes, 52) != 0 || bytes[49] & !(FLAG_KEY | FLAG_SNAPSHOT) != 0 {
            return Err("frame flags are invalid");
        }
        if head_crc(bytes, salt) != u32_at(bytes, 4) {
            return Err("frame head checksum mismatch");
        }
        let key = take::<16>(bytes, 32);
        Ok(Self {
            payload_len,
            seq: u64_at(bytes, 8),
            time_ns: i64::from_le_bytes(take(bytes, 16)),
            rows: u32_at(bytes, 24),
            payload_crc: u32_at(bytes, 28),
            key: (bytes[49] & FLAG_KEY != 0).then_some(key),
            kind: bytes[48],
            snapshot: bytes[49] & FLAG_SNAPSHOT != 0,
            group_index: u16::from_le_bytes(take(bytes, 50)),
        })
    }
}

/// A remembered key: which frame carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub(crate) key: Key,
    pub(crate) seq: u64,
    pub(crate) rows: u32,
    pub(crate) time_ns: i64,
}

impl KeyEntry {
    pub(crate) fn encode(&self) -> [u8; KEY_ENTRY_BYTES] {
        let mut bytes = [0; KEY_ENTRY_BYTES];
        put(&mut bytes, 0, self.key);
        put(&mut bytes, 16, self.seq.to_le_bytes());
        put(&mut bytes, 24, self.rows.to_le_bytes());
        put(&mut bytes, 28, self.time_ns.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; KEY_ENTRY_BYTES]) -> Self {
        Self {
            key: take(bytes, 0),
            seq: u64_at(bytes, 16),
            rows: u32_at(bytes, 24),
            time_ns: i64::from_le_bytes(take(bytes, 28)),
        }
    }
}

fn head_crc(bytes: &[u8; FRAME_HEAD_BYTES], salt: u32) -> u32 {
    let crc = crc32c_append(crc32c(&salt.to_le_bytes()), &bytes[..4]);
    crc32c_append(crc, &bytes[8..])
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(take(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(take(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> impl Strategy<Value = FrameHead> {
        (
            (0..u32::MAX - 56, any::<u64>(), any::<i64>(), any::<u32>(), any::<u32>()),
            (any::<Option<Key>>(), any::<u8>(), any::<bool>(), any::<u16>()),
        )
            .prop_map(
                |((payload_len, seq, time_ns, rows, payload_crc), (key, kind, snapshot, group_index))| {
                    FrameHead {
                        payload_len,
                        seq,
                        time_ns,
                        rows,
                        payload_crc,
                        key,
                        kind,
                        snapshot,
                        group_index,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn a_frame_head_reads_back(head in head(), salt: u32) {
            prop_assert_eq!(FrameHead::decode(&head.encode(salt), salt), Ok(head));
        }

        #[test]
        fn a_changed_bit_or_another_salt_invalidates_a_frame_head(head in head(), salt: u32, bit in 0usize..448) {
            let mut bytes = head.encode(salt);
            prop_assert!(FrameHead::decode(&bytes, salt ^ 1).is_err());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(FrameHead::decode(&bytes, salt).is_err());
        }

        #[test]
        fn a_changed_bit_invalidates_a_file_header(salt: u32, first_seq in 1u64.., data_offset in 40u64.., bit in 0usize..320) {
            let header = FileHeader { salt, first_seq, data_offset };
            let mut bytes = header.encode();
            prop_assert_eq!(FileHeader::decode(&bytes), Ok(header));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(FileHeader::decode(&bytes).is_err());
        }
    }

    #[test]
    fn the_bytes_of_version_1_do_not_change() {
        let header = FileHeader { salt: 0x0102_0304, first_seq: 7, data_offset: 40 };
        assert_eq!(
            hex(&header.encode()),
            format!(
                "48444c4a524e4c310100000004030201070000000000000028000000000000000000000{}",
                &hex(&header.encode())[71..]
            )
        );
        let head = FrameHead {
            payload_len: 2,
            seq: 9,
            time_ns: -1,
            rows: 3,
            payload_crc: 0xaabb_ccdd,
            key: Some([0x11; 16]),
            kind: 5,
            snapshot: false,
            group_index: 6,
        };
        let bytes = hex(&head.encode(1));
        assert_eq!(&bytes[..8], "3a000000");
        assert_eq!(
            &bytes[16..],
            "0900000000000000ffffffffffffffff03000000ddccbbaa111111111111111111111111111111110501060000000000"
        );
        let entry = KeyEntry { key: [0x22; 16], seq: 1, rows: 2, time_ns: 3 };
        assert_eq!(
            hex(&entry.encode()),
            "2222222222222222222222222222222201000000000000000200000003000000 00000000".replace(' ', "")
        );
        assert_eq!(KeyEntry::decode(&entry.encode()), entry);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
