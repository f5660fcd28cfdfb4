//! Slot: what the texts at one variable place of a template have been, so that a search can be decided without reading them.
//!
//! Two forms. While few different texts were seen, the texts themselves (exact). Then the bytes that occur in them, their
//! least and greatest length and, of texts with white space, their words while those are few. A third, *anything*, says nothing.
//!
//! Invariants:
//! - [`Slot::admits`] holds for every text ever given to [`Slot::see`]; a slot only ever admits more;
//! - while the values are kept, bytes and lengths are exactly those of the values, and there are no words.

use super::limits::{REST_BYTES_MAX, SLOT_VALUE_BYTES_MAX, SLOT_VALUES_MAX, VALUES_BYTES_MAX};
use super::tokens::mix_bytes;
use super::words::Words;

/// Memory of one set of values beside its text.
const SET_BYTES: usize = 112;
/// Memory of one value beside its text.
const VALUE_BYTES: usize = 4;
const HASH_SEED: u64 = 0x534c_4f54;

/// Statistics of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// ASCII characters seen, one bit each.
    pub(super) ascii: [u64; 2],
    /// Whether another character was seen.
    pub(super) beyond_ascii: bool,
    /// Whether any text may stand here.
    pub(super) anything: bool,
    /// Bytes of the shortest text; `u32::MAX` before the first.
    pub(super) shortest: u32,
    /// Bytes of the longest text.
    pub(super) longest: u32,
    /// The texts, while they are few.
    pub(super) values: Option<Box<Values>>,
    /// The runs of letters of all texts, once the texts themselves are too many; `None` is any.
    pub(super) words: Option<Box<Words>>,
}

impl Slot {
    /// A place where no text was seen yet.
    pub(super) fn unseen() -> Self {
        Self {
            ascii: [0; 2],
            beyond_ascii: false,
            anything: false,
            shortest: u32::MAX,
            longest: 0,
            values: Some(Box::default()),
            words: None,
        }
    }

    /// A place that may hold any text.
    pub(super) fn anything() -> Self {
        Self { anything: true, shortest: 0, longest: u32::MAX, values: None, ..Self::unseen() }
    }

    /// Whether `text` is known to be possible here.
    #[inline]
    pub(super) fn admits(&self, text: &[u8]) -> bool {
        match &self.values {
            Some(values) => values.contains(text),
            None => {
                self.anything || (self.fits(text) && self.words.as_ref().is_none_or(|words| words.know(text)))
            }
        }
    }

    /// Whether length and bytes are among those seen.
    #[inline]
    fn fits(&self, text: &[u8]) -> bool {
        let length = length(text);
        let (mut known, mut all) = (1, 0);
        for byte in text {
            known &= self.ascii[usize::from(byte >> 6 & 1)] >> (byte & 63);
            all |= byte;
        }
        let in_range = self.shortest <= length && length <= self.longest;
        in_range && (if all < 0x80 { known & 1 == 1 } else { self.fits_beyond_ascii(text) })
    }

    #[cold]
    fn fits_beyond_ascii(&self, text: &[u8]) -> bool {
        let known = |byte: &u8| self.ascii[usize::from(byte >> 6 & 1)] >> (byte & 63) & 1 == 1;
        self.beyond_ascii && text.iter().all(|byte| *byte >= 0x80 || known(byte))
    }

    /// Makes the slot admit `text`. Returns whether it did not before. `budget` counts the bytes of all values of the tenant.
    #[inline]
    pub(super) fn see(&mut self, text: &[u8], budget: &mut usize) -> bool {
        let is_new = !self.admits(text);
        if is_new {
            self.admit(text, budget);
        }
        is_new
    }

    #[cold]
    fn admit(&mut self, text: &[u8], budget: &mut usize) {
        self.widen(text);
        if let Some(mut words) = self.words.take() {
            *budget -= words.weight();
            if words.see(text) && *budget + words.weight() <= VALUES_BYTES_MAX {
                *budget += words.weight();
                self.words = Some(words);
            }
        }
        self.reweigh(budget, |values| values.insert(text));
    }

    /// As [`Slot::see`], of what the limits cut off: further lines, or the end of a long message. Only their words can say something of
    /// such texts; without them the slot admits any, and the next text costs nothing.
    pub(super) fn see_rest(&mut self, text: &[u8], budget: &mut usize) -> bool {
        let grew = text.len() <= REST_BYTES_MAX && self.see(text, budget);
        if text.len() > REST_BYTES_MAX || self.values.is_none() && self.words.is_none() {
            self.forget(budget);
            return true;
        }
        grew
    }

    fn widen(&mut self, text: &[u8]) {
        self.shortest = self.shortest.min(length(text));
        self.longest = self.longest.max(length(text));
        for byte in text {
            if *byte < 0x80 {
                self.ascii[usize::from(byte >> 6)] |= 1 << (byte & 63);
            } else {
                self.beyond_ascii = true;
            }
        }
    }

    /// Makes the slot admit any text.
    pub(super) fn forget(&mut self, budget: &mut usize) {
        self.drop_values(budget);
        self.drop_words(budget);
        *self = Self::anything();
    }

    /// Puts `prefix` before every text: a constant before the slot has become part of it.
    pub(super) fn prepend(&mut self, prefix: &str, budget: &mut usize) {
        if self.anything || prefix.is_empty() || self.shortest > self.longest {
            return;
        }
        self.drop_words(budget); // the first of each text is another now
        let before = (self.shortest, self.longest);
        self.widen(prefix.as_bytes());
        let more = length(prefix.as_bytes());
        (self.shortest, self.longest) = (before.0.saturating_add(more), before.1.saturating_add(more));
        self.reweigh(budget, |values| {
            let mut longer = Values::default();
            values.iter().for_each(|value| longer.insert(&[prefix.as_bytes(), value].concat()));
            *values = longer;
        });
    }

    /// Changes the values, and drops them when they are too many then.
    fn reweigh(&mut self, budget: &mut usize, change: impl FnOnce(&mut Values)) {
        let holds_words = self.holds_words();
        let Some(values) = &mut self.values else { return };
        *budget -= values.weight();
        change(values);
        *budget += values.weight();
        if values.ends.len() > SLOT_VALUES_MAX
            || values.text.len() > SLOT_VALUE_BYTES_MAX
            || *budget > VALUES_BYTES_MAX
        {
            let words = holds_words.then(|| Words::of(values.iter())).flatten();
            self.drop_values(budget);
            self.words = words.filter(|words| *budget + words.weight() <= VALUES_BYTES_MAX).map(Box::new);
            *budget += self.weight();
        }
    }

    /// Whether texts of several words were seen.
    fn holds_words(&self) -> bool {
        const SPACES: u64 = 1 << b' ' | 1 << b'\n' | 1 << b'\t';
        const LETTERS: u64 = 0x07ff_fffe_07ff_fffe;
        self.ascii[0] & SPACES != 0 && self.ascii[1] & LETTERS != 0
    }

    fn drop_values(&mut self, budget: &mut usize) {
        *budget -= self.values.take().map_or(0, |values| values.weight());
    }

    fn drop_words(&mut self, budget: &mut usize) {
        *budget -= self.words.take().map_or(0, |words| words.weight());
    }

    /// The slot of these values, as a decoder finds them; `None` when no encoder writes them.
    pub(super) fn of_values<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut slot = Self::unseen();
        for value in values {
            let set = slot.values.as_mut()?;
            if set.contains(value)
                || set.ends.len() >= SLOT_VALUES_MAX
                || set.text.len() + value.len() > SLOT_VALUE_BYTES_MAX
            {
                return None;
            }
            set.insert(value);
            slot.widen(value);
        }
        Some(slot)
    }

    /// Bytes of values and words, for the budget.
    pub(super) fn weight(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.weight())
            + self.words.as_ref().map_or(0, |words| words.weight())
    }
}

/// Length of a text; longer than 4 GiB is not told apart.
fn length(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// A small set of texts in the order they were seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Values {
    text: Vec<u8>,
    /// End of each value in `text`.
    ends: Vec<u32>,
    /// Open addressing, a power of two at least twice the values: number of the value + 1, or 0.
    table: Vec<u8>,
}

const _: () = assert!(SLOT_VALUES_MAX < u8::MAX as usize, "the table holds numbers of values in a byte");

impl Values {
    fn value(&self, number: usize) -> &[u8] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.text[start as usize..self.ends[number] as usize]
    }

    /// The values in order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|number| self.value(number))
    }

    #[inline]
    fn contains(&self, value: &[u8]) -> bool {
        let mut at = hash(value);
        while !self.table.is_empty() {
            match self.table[at & (self.table.len() - 1)] {
                0 => return false,
                number if self.value(usize::from(number) - 1) == value => return true,
                _ => at += 1,
            }
        }
        false
    }

    /// Adds a value that is not in the set.
    fn insert(&mut self, value: &[u8]) {
        self.text.extend_from_slice(value);
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        if self.ends.len() > SLOT_VALUES_MAX {
            return; // about to be dropped
        }
        if self.ends.len() * 2 > self.table.len() {
            self.table = vec![0; (self.ends.len() * 2).next_power_of_two()];
            (0..self.ends.len()).for_each(|number| self.enter(number));
        } else {
            self.enter(self.ends.len() - 1);
        }
    }

    fn enter(&mut self, number: usize) {
        let mask = self.table.len() - 1;
        let mut at = hash(self.value(number)) & mask;
        while self.table[at] != 0 {
            at = (at + 1) & mask;
        }
        self.table[at] = u8::try_from(number + 1).expect("at most SLOT_VALUES_MAX values");
    }

    fn weight(&self) -> usize {
        if self.ends.is_empty() { 0 } else { SET_BYTES + self.text.len() + VALUE_BYTES * self.ends.len() }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
fn hash(value: &[u8]) -> usize {
    mix_bytes(HASH_SEED, value) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_values_are_kept_and_many_become_characters() {
        let (mut slot, mut budget) = (Slot::unseen(), 0);
        assert!(slot.see(b"alice", &mut budget));
        assert!(!slot.see(b"alice", &mut budget));
        assert!(slot.admits(b"alice") && !slot.admits(b"lice"));
        assert!(budget > 0);
        for n in 0..SLOT_VALUES_MAX {
            slot.see(n.to_string().as_bytes(), &mut budget);
        }
        assert_eq!((slot.values.is_some(), budget), (false, 0));
        assert!(slot.admits(b"lice") && slot.admits(b"12345") && !slot.admits(b"bob") && !slot.admits(b""));
        assert!(!slot.admits("alicé".as_bytes()));
        slot.see("é".as_bytes(), &mut budget);
        assert!(slot.admits("alé".as_bytes()));
    }

    #[test]
    fn the_values_of_a_tenant_have_a_budget() {
        let mut budget = VALUES_BYTES_MAX;
        let mut slot = Slot::unseen();
        slot.see(b"x", &mut budget);
        assert_eq!((slot.values.is_some(), budget), (false, VALUES_BYTES_MAX));
        assert!(slot.admits(b"x"));
    }

    proptest! {
        #[test]
        fn what_was_seen_is_admitted_for_ever(texts in proptest::collection::vec("[a-cé0-9 ]{0,40}", 0..400), at in 0usize..300) {
            let (mut slot, mut budget) = (Slot::unseen(), 0);
            let mut seen: Vec<String> = Vec::new();
            for (n, text) in texts.into_iter().enumerate() {
                if n == at {
                    slot.prepend("pre_", &mut budget);
                    seen.iter_mut().for_each(|text| text.insert_str(0, "pre_"));
                }
                let grew = slot.see(text.as_bytes(), &mut budget);
                prop_assert!(!grew || slot.admits(text.as_bytes()));
                seen.push(text);
                prop_assert_eq!(budget, slot.weight());
            }
            for text in &seen {
                prop_assert!(slot.admits(text.as_bytes()));
            }
        }
    }
}
