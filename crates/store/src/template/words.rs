//! Words: the runs of letters that occur in the texts of a slot, so that a phrase can be ruled out of texts too many to keep.
//!
//! A *run* is a longest row of ASCII letters, compared in any case. Stack traces, command lines and lists of names differ in their
//! numbers without end, and in their words hardly at all.
//!
//! Invariants:
//! - [`Words::contains`] holds for every run of every text given to [`Words::see`]; for another run it holds by chance at most;
//! - a phrase between the edges of words stands in a text only if each of its runs is a run of the text.

use super::catalog::Template;
use super::limits::SLOT_WORDS_MAX;
use super::slot::Slot;
use super::texts::usual_space;
use super::tokens::mix_bytes;

const HASH_SEED: u64 = 0x574f_5244;
/// Letters of a run that are hashed; longer runs that begin alike are not told apart.
const HASHED_LETTERS_MAX: usize = 32;
/// Memory of a set beside its table.
const SET_BYTES: usize = 64;

/// A set of runs, by their hashes.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    count: usize,
    /// Open addressing, a power of two at least twice the hashes; 0 is an empty place.
    table: Vec<u32>,
}

impl PartialEq for Words {
    fn eq(&self, other: &Self) -> bool {
        self.hashes() == other.hashes()
    }
}

impl Eq for Words {}

impl Words {
    /// The runs of these texts; `None` when they are too many.
    pub(super) fn of<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut words = Self::default();
        texts.into_iter().all(|text| words.see(text)).then_some(words)
    }

    /// The set of these hashes, as a decoder finds them; `None` when no encoder writes them.
    pub(super) fn of_hashes(hashes: &[u32]) -> Option<Self> {
        if hashes.len() > SLOT_WORDS_MAX || hashes.first() == Some(&0) || !hashes.is_sorted_by(|a, b| a < b) {
            return None;
        }
        let mut words = Self::default();
        hashes.iter().for_each(|hash| words.insert(*hash));
        Some(words)
    }

    /// The hashes, rising.
    pub(super) fn hashes(&self) -> Vec<u32> {
        let mut hashes: Vec<u32> = self.table.iter().copied().filter(|hash| *hash != 0).collect();
        hashes.sort_unstable();
        hashes
    }

    /// Adds the runs of a text; `false` when there are too many now.
    pub(super) fn see(&mut self, text: &[u8]) -> bool {
        for run in runs(text) {
            let hash = hash(run);
            if !self.has(hash) {
                if self.count == SLOT_WORDS_MAX {
                    return false;
                }
                self.insert(hash);
            }
        }
        true
    }

    /// Whether every run of a text is known.
    pub(super) fn know(&self, text: &[u8]) -> bool {
        runs(text).all(|run| self.has(hash(run)))
    }

    fn contains(&self, run: &[u8]) -> bool {
        self.has(hash(run))
    }

    fn has(&self, hash: u32) -> bool {
        let mut at = hash as usize;
        while !self.table.is_empty() {
            match self.table[at & (self.table.len() - 1)] {
                0 => return false,
                found if found == hash => return true,
                _ => at += 1,
            }
        }
        false
    }

    /// Adds a hash that is not in the set.
    fn insert(&mut self, hash: u32) {
        self.count += 1;
        if self.count * 2 > self.table.len() {
            let known = std::mem::take(&mut self.table);
            self.table = vec![0; (self.count * 4).next_power_of_two()];
            known.into_iter().filter(|hash| *hash != 0).for_each(|hash| self.enter(hash));
        }
        self.enter(hash);
    }

    fn enter(&mut self, hash: u32) {
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        while self.table[at] != 0 {
            at = (at + 1) & mask;
        }
        self.table[at] = hash;
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        SET_BYTES + self.table.len() * size_of::<u32>()
    }
}

/// The runs of a text.
pub(super) fn runs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !byte.is_ascii_alphabetic()).filter(|run| !run.is_empty())
}

/// Never 0.
#[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
fn hash(run: &[u8]) -> u32 {
    let mut folded = [0; HASHED_LETTERS_MAX];
    let length = run.len().min(HASHED_LETTERS_MAX);
    for (to, from) in folded.iter_mut().zip(run) {
        *to = from | 0x20;
    }
    (mix_bytes(HASH_SEED, &folded[..length]) as u32).max(1)
}

/// Whether `run` may be a run of a message with this template.
pub(super) fn may_hold(template: &Template, run: &[u8]) -> bool {
    let texts = &template.texts;
    let (mut slots, mut spaces) = (texts.slots.iter(), texts.spaces.iter().peekable());
    // The constant letters before here, and whether a slot that may have ended in letters stands before those.
    let (mut letters, mut open) = (Vec::new(), false);
    for (number, token) in template.tokens().enumerate() {
        match spaces.next_if(|(place, _)| usize::from(*place) == number) {
            Some((_, space)) if may_have_letters(space) => return true,
            // White space may have been empty: what it parts is taken as parted and as joined.
            Some((_, space)) if space.admits(b"") => {
                if !letters.is_empty() || open {
                    return true;
                }
            }
            None if usual_space(token.gap).is_empty() => {}
            _ => {
                if ends_with_run(&letters, open, run) {
                    return true;
                }
                (letters, open) = (Vec::new(), false);
            }
        }
        for byte in token.constant.bytes() {
            if byte.is_ascii_alphabetic() {
                letters.push(byte.to_ascii_lowercase());
            } else {
                if ends_with_run(&letters, open, run) {
                    return true;
                }
                letters.clear();
                open = false;
            }
        }
        if token.slot {
            let Some(slot) = slots.next() else { return true };
            if slot_may_hold(slot, run) {
                return true;
            }
            if may_have_letters(slot) {
                // A run may reach from before the slot into it, and from it to what follows.
                if open || contains(run, &letters) && !letters.is_empty() {
                    return true;
                }
                open = true;
                letters.clear();
            } else if slot.admits(b"") || slot.shortest == 0 {
                // Empty, it joins its neighbours: too rare to tell.
                if open || !letters.is_empty() {
                    return true;
                }
            } else {
                if ends_with_run(&letters, open, run) {
                    return true;
                }
                letters.clear();
                open = false;
            }
        }
    }
    spaces.next().is_some_and(|(_, space)| may_have_letters(space)) || ends_with_run(&letters, open, run)
}

/// Whether a run that ends in these constant letters may be `run`; `open` when letters of a slot may stand before them.
fn ends_with_run(letters: &[u8], open: bool, run: &[u8]) -> bool {
    if letters.is_empty() {
        return false; // what ends in the slot itself is among its own runs
    }
    if open { contains(run, letters) } else { run.eq_ignore_ascii_case(letters) }
}

/// Whether `letters` occur in `run`, in any case.
fn contains(run: &[u8], letters: &[u8]) -> bool {
    !letters.is_empty() && run.windows(letters.len()).any(|part| part.eq_ignore_ascii_case(letters))
}

/// Whether `run` may be a run of a text of this slot.
fn slot_may_hold(slot: &Slot, run: &[u8]) -> bool {
    if slot.anything {
        return true;
    }
    if let Some(values) = &slot.values {
        return values.iter().any(|value| runs(value).any(|found| found.eq_ignore_ascii_case(run)));
    }
    let has = |byte: u8| slot.ascii[usize::from(byte >> 6 & 1)] >> (byte & 63) & 1 == 1;
    slot.longest as usize >= run.len()
        && run.iter().all(|byte| has(byte.to_ascii_lowercase()) || has(byte.to_ascii_uppercase()))
        && slot.words.as_ref().is_none_or(|words| words.contains(run))
}

/// Whether texts of this slot may hold letters.
fn may_have_letters(slot: &Slot) -> bool {
    /// Bits of the letters in the second word of the set of ASCII characters.
    const LETTERS: u64 = 0x07ff_fffe_07ff_fffe;
    slot.anything || slot.ascii[1] & LETTERS != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_its_runs_in_any_case() {
        let words =
            Words::of([&b"at Foo.bar(Foo.java:17)"[..], b"caf\xc3\xa9 x2y"].into_iter()).expect("few");
        assert!(words.contains(b"foo") && words.contains(b"JAVA") && words.contains(b"caf"));
        assert!(words.contains(b"x") && !words.contains(b"xy") && !words.contains(b"fo"));
        assert!(words.know(b"BAR at 99") && !words.know(b"bars"));
        assert_eq!(Words::of_hashes(&words.hashes()), Some(words));
    }

    #[test]
    fn too_many_runs_are_no_set() {
        let name = |mut n: usize| -> String {
            let mut name = String::new();
            while n > 0 {
                name.push(char::from(b'a' + u8::try_from(n % 26).expect("a letter")));
                n /= 26;
            }
            name
        };
        let text: Vec<String> = (1..=SLOT_WORDS_MAX + 1).map(|n| name(n) + "z").collect();
        assert!(Words::of([text[..SLOT_WORDS_MAX].join(" ").as_bytes()].into_iter()).is_some());
        assert!(Words::of([text.join(" ").as_bytes()].into_iter()).is_none());
        assert_eq!(Words::of_hashes(&[0, 1]), None);
        assert_eq!(Words::of_hashes(&[2, 2]), None);
    }
}
