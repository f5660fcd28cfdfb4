//! The hash that summaries on disk rely on: the same bytes give the same 64 bits for ever.
//!
//! Words of eight bytes are folded in by a 128-bit product whose halves are mixed, as in wyhash (Wang Yi, 2019).
//! Not keyed: who chooses the values can make them collide, which costs time and never a wrong answer where values are
//! compared after their hashes.

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xd6e8_feb8_6659_fd93;
const K2: u64 = 0xa076_1d64_78bd_642f;

/// Hashes bytes together with a tag, such as the type of the value they spell.
#[must_use]
pub fn hash64(tag: u8, bytes: &[u8]) -> u64 {
    let mut state = (u64::from(tag) + 1).wrapping_mul(K0) ^ (bytes.len() as u64).wrapping_mul(K1);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), K1);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        state = fold(state ^ u64::from_le_bytes(last), K2);
    }
    fold(state ^ K2, K0 ^ state.rotate_left(29))
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_files_were_written_with() {
        assert_eq!(hash64(6, b""), 0xef56_f010_3885_dfe1);
        assert_eq!(hash64(6, b"u123456"), 0x30e5_7126_fe84_e7c9);
        assert_eq!(hash64(6, b"a longer text"), 0x9e0f_2777_4eb9_ffd6);
    }

    #[test]
    fn spreads_small_values() {
        let mut buckets = [0_u32; 64];
        for n in 0..64_000_u32 {
            buckets[usize::try_from(hash64(6, format!("u{n}").as_bytes()) >> 58).expect("6 bits")] += 1;
        }
        assert!(buckets.iter().all(|count| (800..1_200).contains(count)), "{buckets:?}");
    }
}
