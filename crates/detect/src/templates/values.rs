//! What stands in the slots of one template: a value where only others stood before, or one value that takes over.
//!
//! The words of a message are compared by place with those of the first message of the template; a place that has
//! differed is a slot. A slot with few values keeps them; one with many keeps only a majority vote.
//!
//! Looking at a message costs one pass over its bytes, so that only some are looked at: see [`Values::is_due`].
//!
//! Invariants:
//! - at most [`SLOTS_MAX`] slots of at most [`VALUES_MAX`] values of at most [`VALUE_CHARS_MAX`] characters;
//! - a new value is found once: afterwards it is known.
//!
//! Source of the vote: Boyer, Moore, "MJRTY: a fast majority vote algorithm", 1991.

use serde::{Deserialize, Serialize};

use super::{BLOCK_NS, text};
use crate::config::TemplatesConfig;
use crate::snapshot;

/// Words of a message that are looked at.
const WORDS_MAX: usize = 48;
/// Slots followed.
const SLOTS_MAX: usize = 8;
/// Different values of a slot that are kept; with more it is one of many values (a user, an address, a time).
const VALUES_MAX: usize = 12;
/// Characters kept of a value.
const VALUE_CHARS_MAX: usize = 40;
/// Times every known value must have been seen before a further one is news: a slot that had values seen once will
/// have more of them.
const SEEN_MIN: u32 = 3;
/// Times the longest time between new values that must have passed.
const GAP_MULTIPLE: i64 = 3;
/// Messages looked at in every block, however many there are; beyond, one of [`SAMPLE_EVERY`].
const PER_BLOCK: u32 = 16;
const SAMPLE_EVERY: u64 = 16;
/// Messages looked at in a block before one value can have taken over.
const VOTES_MIN: u32 = 64;
/// Lead of the winner of the vote that is a takeover (at least 80 % of the messages), and the lead that is usual for
/// a slot in which none rules.
const TAKEOVER: f64 = 0.6;
const USUAL_LEAD_MAX: f64 = 0.2;
/// Blocks with a vote before a takeover is news.
const VOTED_BLOCKS_MIN: u32 = 24;
/// Blocks the usual lead remembers.
const LEAD_MEMORY: f64 = 100.0;

/// The slots of one template.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Values {
    /// Words of the first message.
    first: Vec<u64>,
    slots: Vec<Slot>,
    samples: u32,
    began: i64,
    /// Block of the vote.
    block: i64,
    /// Messages looked at in it.
    looked: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Slot {
    /// Place of the word.
    at: usize,
    /// The values, until there are too many.
    values: Vec<Value>,
    is_many: bool,
    /// Time and number of the sample that brought the last new value; longest time between two.
    new_at: i64,
    new_sample: u32,
    longest_gap: i64,
    vote: Vote,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Value {
    hash: u64,
    seen: u32,
    text: Box<str>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Vote {
    candidate: u64,
    text: String,
    lead: u32,
    votes: u32,
    #[serde(with = "snapshot::bits")]
    usual: f64,
    blocks: u32,
}

/// Something unusual in a slot.
#[derive(Debug, Clone)]
pub(super) enum Unusual {
    /// A value that was not there before.
    Unseen {
        /// The value.
        value: String,
        /// What stood there before, most frequent first.
        known: Vec<String>,
        /// Messages looked at before.
        samples: u32,
        /// Time without a new value, ns.
        stable_ns: i64,
    },
    /// A value that is suddenly that of most messages.
    Takeover {
        /// The value.
        value: String,
        /// Least share of it, and what was usual.
        share: f64,
        usual: f64,
        /// Blocks the usual was learnt from.
        blocks: u32,
    },
}

impl Values {
    /// Whether this message is to be looked at: the first of every block, some of the others, and those that showed the
    /// miner something new.
    pub(super) fn is_due(count_in_block: u32, grown: bool, position: u64) -> bool {
        grown || count_in_block <= PER_BLOCK || position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 == 0
    }

    /// Looks at a message. `quiet` learns only.
    pub(super) fn look(
        &mut self,
        message: &str,
        time: i64,
        quiet: bool,
        config: &TemplatesConfig,
    ) -> Option<Unusual> {
        let block = time.div_euclid(BLOCK_NS);
        let takeover = if block > self.block { self.count_votes(block, config) } else { None };
        let mut cut = [("", 0); WORDS_MAX];
        let mut count = 0;
        for word in words(message) {
            cut[count] = word;
            count += 1;
        }
        let words = &cut[..count];
        if self.samples == 0 {
            self.first = words.iter().map(|(_, hash)| *hash).collect();
            (self.began, self.samples) = (time, 1);
            return None;
        }
        if count != self.first.len() {
            return None;
        }
        self.samples = self.samples.saturating_add(1);
        self.looked = self.looked.saturating_add(1);
        let mut unseen = None;
        for (at, (word, hash)) in words.iter().copied().enumerate() {
            let slot = match self.slots.iter().position(|slot| slot.at >= at) {
                Some(slot) if self.slots[slot].at == at => slot,
                _ if self.first[at] == hash || self.slots.len() == SLOTS_MAX => continue,
                next => {
                    let slot = next.unwrap_or(self.slots.len());
                    self.slots.insert(slot, Slot::new(at, self.first[at], self.samples - 1, self.began));
                    slot
                }
            };
            self.slots[slot].vote.cast(hash, word);
            let found = self.slots[slot].see(hash, word, self.samples, time, config);
            unseen = unseen.or(found);
        }
        unseen.or(takeover).filter(|_| !quiet)
    }

    /// Ends the vote of a block.
    fn count_votes(&mut self, block: i64, config: &TemplatesConfig) -> Option<Unusual> {
        self.block = block;
        self.looked = 0;
        let is_settled = self.samples >= config.value_samples_min;
        self.slots.iter_mut().filter_map(|slot| slot.vote.count(is_settled)).next_back()
    }

    /// Bytes held, about.
    #[cfg(test)]
    fn values(&self) -> usize {
        self.slots.iter().map(|slot| slot.values.len()).sum()
    }
}

impl Slot {
    /// A slot in which one value stood so far; its text was not kept.
    fn new(at: usize, hash: u64, seen: u32, began: i64) -> Slot {
        let values = vec![Value { hash, seen, text: Box::default() }];
        let (new_at, new_sample, longest_gap) = (began, 0, 0);
        Slot { at, values, is_many: false, new_at, new_sample, longest_gap, vote: Vote::default() }
    }

    fn see(
        &mut self,
        hash: u64,
        word: &str,
        samples: u32,
        time: i64,
        config: &TemplatesConfig,
    ) -> Option<Unusual> {
        if self.is_many {
            return None;
        }
        if let Some(value) = self.values.iter_mut().find(|value| value.hash == hash) {
            value.seen = value.seen.saturating_add(1);
            if value.text.is_empty() {
                value.text = text::excerpt(word, VALUE_CHARS_MAX).into();
            }
            return None;
        }
        let unusual = self.unseen(word, samples, time, config);
        self.longest_gap = self.longest_gap.max(time.saturating_sub(self.new_at));
        (self.new_at, self.new_sample) = (self.new_at.max(time), samples);
        if self.values.len() == VALUES_MAX {
            (self.is_many, self.values) = (true, Vec::new());
        } else {
            self.values.push(Value { hash, seen: 1, text: text::excerpt(word, VALUE_CHARS_MAX).into() });
        }
        unusual
    }

    /// A value that is not known, when that is news.
    fn unseen(&self, word: &str, samples: u32, time: i64, config: &TemplatesConfig) -> Option<Unusual> {
        let stable_ns = time.saturating_sub(self.new_at);
        let needed = config.value_stable_for.ns().max(GAP_MULTIPLE.saturating_mul(self.longest_gap));
        let is_settled = samples - self.new_sample >= config.value_samples_min
            && self.values.iter().all(|value| value.seen >= SEEN_MIN)
            && stable_ns >= needed;
        is_settled.then(|| {
            let mut known: Vec<&Value> = self.values.iter().filter(|value| !value.text.is_empty()).collect();
            known.sort_by(|a, b| b.seen.cmp(&a.seen).then_with(|| a.text.cmp(&b.text)));
            let known = known.iter().map(|value| value.text.to_string()).collect();
            Unusual::Unseen { value: text::excerpt(word, VALUE_CHARS_MAX), known, samples, stable_ns }
        })
    }
}

impl Vote {
    fn cast(&mut self, hash: u64, word: &str) {
        self.votes = self.votes.saturating_add(1);
        if self.lead > 0 && self.candidate == hash {
            self.lead += 1;
        } else if self.lead > 0 {
            self.lead -= 1;
        } else {
            (self.candidate, self.lead) = (hash, 1);
            self.text.clear();
            self.text.extend(word.chars().take(VALUE_CHARS_MAX));
        }
    }

    /// Ends the vote; a takeover is not learnt.
    fn count(&mut self, is_settled: bool) -> Option<Unusual> {
        let (lead, votes) = (f64::from(self.lead), f64::from(self.votes));
        let enough = self.votes >= VOTES_MIN;
        (self.lead, self.votes) = (0, 0);
        if !enough {
            return None;
        }
        let lead = lead / votes;
        if lead >= TAKEOVER && is_settled && self.blocks >= VOTED_BLOCKS_MIN && self.usual <= USUAL_LEAD_MAX {
            // The second time in a row it is what is usual now.
            self.usual = self.usual.max(USUAL_LEAD_MAX * 1.5);
            let (value, usual) = (self.text.clone(), self.usual);
            return Some(Unusual::Takeover { value, share: (1.0 + lead) / 2.0, usual, blocks: self.blocks });
        }
        self.blocks = self.blocks.saturating_add(1);
        self.usual += (1.0 / f64::from(self.blocks)).max(1.0 / LEAD_MEMORY) * (lead - self.usual);
        None
    }
}

/// The words of a message with their hashes: what stands between white space and the marks that join values to names.
fn words(message: &str) -> impl Iterator<Item = (&str, u64)> {
    let bytes = message.as_bytes();
    let mut at = 0;
    let next = move || {
        while bytes.get(at).is_some_and(|byte| is_mark(*byte)) {
            at += 1;
        }
        let start = at;
        // FNV-1a: short words, and no table to keep equal between versions.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        while let Some(byte) = bytes.get(at).filter(|byte| !is_mark(**byte)) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        // Marks are ASCII, so that words begin and end on character boundaries.
        (at > start).then(|| (&message[start..at], hash))
    };
    std::iter::from_fn(next).take(WORDS_MAX)
}

/// Marks that separate words; as for templates, `- _ . / @ # *` bind parts of one name.
fn is_mark(byte: u8) -> bool {
    const MARK: [bool; 256] = {
        let mut mark = [false; 256];
        let mut byte = 0;
        while byte <= 0x20 {
            mark[byte] = true;
            byte += 1;
        }
        mark[0x7f] = true;
        let marks = b"=:,;()[]{}\"'|<>";
        let mut at = 0;
        while at < marks.len() {
            mark[marks[at] as usize] = true;
            at += 1;
        }
        mark
    };
    MARK[usize::from(byte)]
}

const _: () = assert!(SAMPLE_EVERY == 1 << (64 - 60), "the shift in `is_due`");

#[cfg(test)]
mod tests {
    use super::*;
    use heimdall_model::time::NS_PER_SECOND;

    fn look(values: &mut Values, second: i64, message: &str) -> Option<Unusual> {
        values.look(message, second * NS_PER_SECOND, false, &TemplatesConfig::default())
    }

    #[test]
    fn words_are_cut_at_marks() {
        let found: Vec<&str> = words("user=bob (é) [10.0.0.1]: a-b\t\"x y\"").map(|(word, _)| word).collect();
        assert_eq!(found, ["user", "bob", "é", "10.0.0.1", "a-b", "x", "y"]);
    }

    /// Three days of three methods, then a fourth.
    #[test]
    fn a_value_never_seen_is_found_once() {
        let mut values = Values::default();
        for n in 0..4_320 {
            let method = ["GET", "POST", "PUT"][usize::try_from(n % 3).unwrap()];
            let line = format!("method={method} status=200 id={n}");
            assert!(look(&mut values, n * 60, &line).is_none(), "{n}");
        }
        let end = 4_320 * 60;
        let Some(Unusual::Unseen { value, known, .. }) =
            look(&mut values, end, "method=TRACE status=200 id=1")
        else {
            panic!("nothing found")
        };
        assert_eq!((value.as_str(), known), ("TRACE", vec!["GET".into(), "POST".into(), "PUT".into()]));
        assert!(look(&mut values, end + 1, "method=TRACE status=200 id=2").is_none());
        assert_eq!(values.values(), 4, "the id is of many values, the status a constant");
        assert!(matches!(
            look(&mut values, end + 2, "method=GET status=500 id=3"),
            Some(Unusual::Unseen { .. })
        ));
    }

    /// A date in the message changes every night; that is known after two nights.
    #[test]
    fn what_changes_every_day_may_change() {
        let mut values = Values::default();
        for n in 0..8 * 1_440 {
            let line = format!("rotated log of day-{}", n / 1_440);
            assert!(look(&mut values, n * 60, &line).is_none(), "{n}");
        }
    }

    #[test]
    fn one_value_taking_over_is_found() {
        let mut values = Values::default();
        let mut found = 0;
        for n in 0..30_000_i64 {
            let user = if n < 29_000 { n % 97 } else { 7 };
            found += usize::from(look(&mut values, n * 3, &format!("login of user-{user} ok")).is_some());
        }
        assert_eq!(found, 1);
    }
}
