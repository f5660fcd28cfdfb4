//! A table of values by their hash, each with a number of its own from 0 on.
//!
//! Always true: two values have one number exactly if they are equal; hashes only lead to it.

use super::hash64;

/// Slots a table begins with.
const SLOTS_MIN: usize = 64;
/// Low half of a slot: the value's number plus one. High half: the top of its hash.
const NUMBER: u64 = 0xffff_ffff;

/// Values seen so far. Open addressing, a power of two in size, at most half full.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<u64>,
    hashes: Vec<u64>,
    /// Where each value's tag and bytes end; they begin where the one before ends.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Table {
    /// Values held.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of the values.
    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Tag and bytes of a value, the tag first.
    pub(crate) fn key(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }

    pub(crate) fn hash(&self, number: usize) -> u64 {
        self.hashes[number]
    }

    /// The number of a value, a new one if it was not there.
    #[inline]
    pub(crate) fn insert(&mut self, tag: u8, bytes: &[u8]) -> usize {
        self.insert_hashed(hash64(tag, bytes), tag, bytes)
    }

    /// The number of a value that is there.
    pub(crate) fn find(&self, tag: u8, bytes: &[u8]) -> Option<usize> {
        let hash = hash64(tag, bytes);
        if self.slots.is_empty() { None } else { self.look(hash, tag, bytes).ok() }
    }

    #[inline]
    pub(crate) fn insert_hashed(&mut self, hash: u64, tag: u8, bytes: &[u8]) -> usize {
        if 2 * self.len() >= self.slots.len() {
            self.grow();
        }
        let at = match self.look(hash, tag, bytes) {
            Ok(number) => return number,
            Err(at) => at,
        };
        let number = self.len();
        self.slots[at] = (hash & !NUMBER) | (number as u64 + 1);
        self.hashes.push(hash);
        self.bytes.push(tag);
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        number
    }

    /// The number of a value, or the empty slot where it belongs.
    #[inline]
    fn look(&self, hash: u64, tag: u8, bytes: &[u8]) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "masked to the table")]
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return Err(at);
            }
            if (slot ^ hash) & !NUMBER == 0 {
                let number = usize::try_from((slot & NUMBER) - 1).unwrap_or(usize::MAX);
                if let [first, rest @ ..] = self.key(number)
                    && *first == tag
                    && rest == bytes
                {
                    return Ok(number);
                }
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let size = (2 * self.slots.len()).max(SLOTS_MIN);
        let mask = size - 1;
        self.slots.clear();
        self.slots.resize(size, 0);
        for (number, hash) in (1_u64..).zip(&self.hashes) {
            #[expect(clippy::cast_possible_truncation, reason = "masked to the table")]
            let mut at = *hash as usize & mask;
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = (hash & !NUMBER) | number;
        }
    }

    /// Forgets every value, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(0);
        self.hashes.clear();
        self.ends.clear();
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn equal_values_have_one_number() {
        let mut table = Table::default();
        let mut known: HashMap<(u8, String), usize> = HashMap::new();
        for n in 0..20_000_u32 {
            let (tag, text) = (u8::try_from(n % 3).expect("small"), format!("v{}", n * n % 7_001));
            let number = table.insert(tag, text.as_bytes());
            assert_eq!(*known.entry((tag, text.clone())).or_insert(number), number);
            assert_eq!(table.key(number), [&[tag], text.as_bytes()].concat());
        }
        assert_eq!(table.len(), known.len());
        table.clear();
        assert_eq!((table.len(), table.insert(1, b"x")), (0, 0));
    }
}
