//! Which field a key means: names, aliases and dotted paths of a dataset, in one hash table.
//!
//! Invariant: two names that differ in case only mean the same field, so one lookup that ignores case is enough.

use std::sync::OnceLock;

use heimdall_model::schema::{self, logs, metrics, spans};
use heimdall_model::{Dataset, FieldId, FieldType};

/// How records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Any log record: everything has a place.
    Logs,
    /// Metric samples: `name` and `value` are needed.
    Metrics,
    /// Spans: `name`, `trace_id` and `span_id` are needed.
    Spans,
    /// The typed event of `POST /ingest`: `source` and `message` are needed, and the four typed fields are checked.
    Event,
}

impl Profile {
    pub(crate) fn dataset(self) -> Dataset {
        match self {
            Profile::Logs | Profile::Event => Dataset::Logs,
            Profile::Metrics => Dataset::Metrics,
            Profile::Spans => Dataset::Spans,
        }
    }

    /// Fields without which a record is rejected, by the name a person would give them.
    pub(super) fn required(self) -> &'static [(FieldId, &'static str)] {
        match self {
            Profile::Logs => &[],
            Profile::Metrics => &[(metrics::NAME, "name"), (metrics::VALUE, "value")],
            Profile::Spans => {
                &[(spans::NAME, "name"), (spans::TRACE_ID, "trace_id"), (spans::SPAN_ID, "span_id")]
            }
            Profile::Event => &[(logs::SERVICE, "source"), (logs::MESSAGE, "message")],
        }
    }

    pub(super) fn names(self) -> &'static Names {
        static NAMES: [OnceLock<Names>; 4] = [const { OnceLock::new() }; 4];
        NAMES[self as usize].get_or_init(|| Names::new(self))
    }

    /// Whether this name's field is checked: an unsuitable value rejects the record.
    fn is_strict(self, id: FieldId) -> bool {
        match self {
            Profile::Logs => false,
            Profile::Metrics => id == metrics::NAME || id == metrics::VALUE,
            Profile::Spans => [spans::NAME, spans::TRACE_ID, spans::SPAN_ID].contains(&id),
            Profile::Event => Self::EVENT_FIELDS.iter().any(|(field, _)| *field == id),
        }
    }

    /// The only names of these fields in the typed event.
    const EVENT_FIELDS: [(FieldId, &'static str); 4] = [
        (logs::TIMESTAMP, "timestamp"),
        (logs::SERVICE, "source"),
        (logs::SOURCE_IP, "ip"),
        (logs::MESSAGE, "message"),
    ];

    /// Whether a name of the schema is to be understood, and if so, whether it is the first name of its field.
    fn takes(self, id: FieldId, name: &str) -> Option<bool> {
        let is_derived =
            id == schema::OBSERVED || (self.dataset() == Dataset::Logs && id == logs::TEMPLATE_ID);
        if is_derived {
            return None;
        }
        match Self::EVENT_FIELDS.iter().find(|(field, _)| self == Profile::Event && *field == id) {
            Some((_, only)) => (*only == name).then_some(true),
            None => Some(self.dataset().field(id).name == name),
        }
    }
}

/// A field a key means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meaning {
    pub(super) id: FieldId,
    pub(super) ty: FieldType,
    /// The field's own name, rather than an alias.
    pub(super) is_first: bool,
    /// An unsuitable value rejects the record.
    pub(super) is_strict: bool,
}

/// What is known of one key or dotted path.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) meaning: Option<Meaning>,
    /// There are names that begin with this one and a dot.
    pub(super) is_outer: bool,
}

/// Index of an [`Entry`].
pub(super) type EntryIndex = u16;

/// All known keys of a profile.
#[derive(Debug)]
pub(super) struct Names {
    entries: Vec<Entry>,
    /// Open addressing; `EMPTY` where free.
    slots: Vec<EntryIndex>,
}

const SLOTS: usize = 1024;
const EMPTY: EntryIndex = EntryIndex::MAX;

impl Names {
    fn new(profile: Profile) -> Names {
        let mut names = Names { entries: Vec::new(), slots: vec![EMPTY; SLOTS] };
        for (id, name) in profile.dataset().names() {
            let Some(is_first) = profile.takes(id, name) else { continue };
            let ty = profile.dataset().field(id).ty;
            let meaning = Meaning { id, ty, is_first, is_strict: profile.is_strict(id) };
            let index = names.index_of(name);
            names.entries[index].meaning.get_or_insert(meaning);
            for (dot, _) in name.match_indices('.') {
                let outer = names.index_of(&name[..dot]);
                names.entries[outer].is_outer = true;
            }
        }
        names
    }

    fn index_of(&mut self, name: &str) -> usize {
        let hash = fold_hash(name.as_bytes());
        if let Some(index) = self.find(hash, name.as_bytes()) {
            return usize::from(index);
        }
        let free =
            probe(hash).find(|slot| self.slots[*slot] == EMPTY).expect("the schema has far fewer names");
        let index = self.entries.len();
        self.slots[free] = EntryIndex::try_from(index).expect("the schema has far fewer names");
        self.entries.push(Entry { name: name.to_owned(), meaning: None, is_outer: false });
        index
    }

    /// The entry of a key, in any case.
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<EntryIndex> {
        probe(hash)
            .map(|slot| self.slots[slot])
            .take_while(|index| *index != EMPTY)
            .find(|index| self.entry(*index).name.as_bytes().eq_ignore_ascii_case(key))
    }

    pub(super) fn entry(&self, index: EntryIndex) -> &Entry {
        &self.entries[usize::from(index)]
    }
}

fn probe(hash: u64) -> impl Iterator<Item = usize> {
    let start = (hash >> 32) as usize % SLOTS;
    (0..SLOTS).map(move |step| (start + step) % SLOTS)
}

/// Hash of a key that ignores ASCII case.
pub(super) fn fold_hash(key: &[u8]) -> u64 {
    const FOLD: u64 = 0x2020_2020_2020_2020;
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
    let mut chunks = key.chunks_exact(8);
    let mut hash = key.len() as u64;
    for chunk in &mut chunks {
        hash = mix(hash, u64::from_le_bytes(chunk.try_into().expect("eight bytes a chunk")) | FOLD);
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mix(hash, u64::from_le_bytes(last) | FOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_case_only_mean_one_field() {
        for dataset in Dataset::ALL {
            for (id, name) in dataset.names() {
                let same = dataset.names().filter(|(_, other)| other.eq_ignore_ascii_case(name));
                assert!(same.into_iter().all(|(other, _)| other == id), "{name}");
            }
        }
    }

    #[test]
    fn every_name_of_the_schema_is_found_in_any_case() {
        let names = Profile::Logs.names();
        for (id, name) in Dataset::Logs.names() {
            let upper = name.to_uppercase();
            let found = names.find(fold_hash(upper.as_bytes()), upper.as_bytes());
            let meaning = found.and_then(|index| names.entry(index).meaning);
            let expected = (id != schema::OBSERVED && id != logs::TEMPLATE_ID).then_some(id);
            assert_eq!(meaning.map(|meaning| meaning.id), expected, "{name}");
        }
        assert_eq!(names.find(fold_hash(b"nothing"), b"nothing"), None);
    }
}
