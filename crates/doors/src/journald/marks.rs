//! How far each journal has come, so that entries sent again are not written again.
//!
//! A journal is named by its sequence number id; its entries have ascending numbers. Before a batch is handed over, its
//! range is written to a file and synced: with the range as the batch's key, the intake knows after a crash whether the batch
//! became durable, whichever way the entries are cut when they come again.
//!
//! Invariants:
//! - `durable` is acknowledged by the intake, and every number up to it came before it;
//! - the entries of a range that was begun are handed over under the key of that range until one of them was taken;
//! - an entry later in time than any before it is never taken for one sent again, whatever its number: a machine that was set back to
//!   an older state numbers anew;
//! - at most `journals_max` files; the one used longest ago goes first.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heimdall_ingest::journald::Field;
use heimdall_model::Tenant;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

/// Where an entry is in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The journal's sequence number id.
    pub(super) journal: u128,
    /// The entry's number.
    pub(super) seqnum: u64,
    /// Its time, µs since the epoch.
    pub(super) realtime_us: u64,
}

impl Place {
    /// By `__SEQNUM` and `__SEQNUM_ID` (systemd 254 and later), else by `__CURSOR`; `None` when the entry says neither.
    pub(super) fn of(fields: &[Field<'_>]) -> Option<Place> {
        let text = |name: &str| {
            let field = fields.iter().find(|field| field.0 == name)?;
            std::str::from_utf8(field.1).ok()
        };
        let realtime_us = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
        let stated =
            text("__SEQNUM_ID").and_then(id).zip(text("__SEQNUM").and_then(|text| text.parse().ok()));
        let (journal, seqnum) = match stated {
            Some(stated) => stated,
            None => of_cursor(text("__CURSOR")?)?,
        };
        Some(Place { journal, seqnum, realtime_us })
    }
}

/// `s=ID;i=NUMBER;b=..;m=..;t=..;x=..`, numbers in hex.
fn of_cursor(cursor: &str) -> Option<(u128, u64)> {
    let part = |name: &str| cursor.split(';').find_map(|part| part.strip_prefix(name));
    Some((id(part("s=")?)?, u64::from_str_radix(part("i=")?, 16).ok()?))
}

fn id(text: &str) -> Option<u128> {
    let fits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| fits)
}

/// A range of entries that is handed over as one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Time of the first.
    pub(super) realtime_us: u64,
    /// The latest time in it.
    pub(super) realtime_us_max: u64,
}

impl Range {
    /// The range of one entry.
    pub(super) fn of(place: &Place) -> Range {
        let Place { seqnum, realtime_us, .. } = *place;
        Range { first: seqnum, last: seqnum, realtime_us, realtime_us_max: realtime_us }
    }

    /// Adds the next entry.
    pub(super) fn extend(&mut self, place: &Place) {
        self.last = place.seqnum;
        self.realtime_us_max = self.realtime_us_max.max(place.realtime_us);
    }

    /// The batch's key.
    pub(super) fn key(&self, journal: u128) -> String {
        format!("{journal:032x}/{}-{}/{}", self.first, self.last, self.realtime_us)
    }
}

/// How far one journal has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    durable: u64,
    /// The latest time of an entry up to `durable`.
    realtime_us_max: u64,
    /// Handed over, outcome unknown.
    begun: Option<Range>,
}

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It is durable.
    Done,
    /// It belongs to a range that was begun.
    Again(Range),
    /// It is new.
    New,
}

impl Mark {
    pub(super) fn due(&self, place: &Place) -> Due {
        if place.seqnum <= self.durable && place.realtime_us <= self.realtime_us_max {
            return Due::Done;
        }
        match self.begun {
            Some(range)
                if (range.first..=range.last).contains(&place.seqnum)
                    && place.realtime_us >= range.realtime_us =>
            {
                Due::Again(range)
            }
            _ => Due::New,
        }
    }

    /// A range is about to be handed over. Who sends on behind one that was begun has its answer.
    pub(super) fn begin(&mut self, range: Range) {
        if let Some(before) = self.begun.filter(|before| before.last < range.first) {
            self.done(&before);
        }
        self.begun = Some(range);
    }

    /// All up to the end of `range` is durable.
    pub(super) fn done(&mut self, range: &Range) {
        self.durable = range.last;
        self.realtime_us_max = self.realtime_us_max.max(range.realtime_us_max);
        self.begun = None;
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: Tenant,
    journal: u128,
}

#[derive(Debug)]
struct Known {
    mark: Arc<tokio::sync::Mutex<Mark>>,
    /// Ordinal of the last use.
    used: u64,
}

#[derive(Debug, Default)]
struct Journals {
    known: HashMap<Key, Known>,
    uses: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Marks {
    dir: PathBuf,
    journals_max: usize,
    journals: Mutex<Journals>,
}

/// A journal's mark, while nobody else works with it.
pub(super) struct Held {
    pub(super) mark: OwnedMutexGuard<Mark>,
    pub(super) journal: u128,
    file: PathBuf,
}

impl Marks {
    /// Reads what is there. A file that cannot be read is none: its journal's entries, when they come again, are written again.
    pub(super) fn open(dir: PathBuf, journals_max: usize) -> Marks {
        let mut journals = Journals::default();
        let mut found = files(&dir);
        found.sort_by_key(|found| found.1);
        for (key, _, file) in found {
            match read(&file) {
                Ok(mark) => {
                    journals.uses += 1;
                    let known = Known { mark: Arc::new(tokio::sync::Mutex::new(mark)), used: journals.uses };
                    journals.known.insert(key, known);
                }
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "a journal's mark cannot be read")
                }
            }
        }
        Marks { dir, journals_max: journals_max.max(1), journals: Mutex::new(journals) }
    }

    /// The mark of a journal, once nobody else works with it.
    pub(super) async fn hold(&self, tenant: &Tenant, journal: u128) -> Held {
        let key = Key { tenant: tenant.clone(), journal };
        let file = self.file(&key);
        let mark = self.mark(key);
        Held { mark: mark.lock_owned().await, journal, file }
    }

    fn mark(&self, key: Key) -> Arc<tokio::sync::Mutex<Mark>> {
        let mut journals = self.journals.lock();
        journals.uses += 1;
        let used = journals.uses;
        if !journals.known.contains_key(&key) && journals.known.len() >= self.journals_max {
            self.forget_one(&mut journals);
        }
        let known = journals.known.entry(key).or_insert_with(|| Known { mark: Arc::default(), used });
        known.used = used;
        Arc::clone(&known.mark)
    }

    fn forget_one(&self, journals: &mut Journals) {
        let idle = journals.known.iter().filter(|(_, known)| Arc::strong_count(&known.mark) == 1);
        let Some(key) = idle.min_by_key(|(_, known)| known.used).map(|(key, _)| key.clone()) else { return };
        journals.known.remove(&key);
        let _gone = std::fs::remove_file(self.file(&key));
        metrics::counter!("journald_journals_forgotten_total").increment(1);
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.dir.join(key.tenant.as_str()).join(format!("{:032x}.json", key.journal))
    }
}

impl Held {
    /// Makes the mark durable.
    pub(super) async fn save(&self) -> std::io::Result<()> {
        let (file, text) = (self.file.clone(), serde_json::to_vec(&*self.mark)?);
        tokio::task::spawn_blocking(move || write(&file, &text)).await.map_err(std::io::Error::other)?
    }
}

fn files(dir: &Path) -> Vec<(Key, std::time::SystemTime, PathBuf)> {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for folder in entries(dir) {
        let Some(tenant) = folder.file_name().to_str().and_then(|name| Tenant::new(name).ok()) else {
            continue;
        };
        for file in entries(&folder.path()) {
            let name = file.file_name();
            let Some(journal) = name.to_str().and_then(|name| id(name.strip_suffix(".json")?)) else {
                continue;
            };
            let modified =
                file.metadata().and_then(|about| about.modified()).unwrap_or(std::time::UNIX_EPOCH);
            found.push((Key { tenant: tenant.clone(), journal }, modified, file.path()));
        }
    }
    found
}

fn read(file: &Path) -> std::io::Result<Mark> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// Replaces the file, so that a crash leaves the old one or the new one.
fn write(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let dir = file.parent().ok_or_else(|| std::io::Error::other("a file without a folder"))?;
    std::fs::create_dir_all(dir)?;
    let new = file.with_extension("new");
    let mut out = std::fs::File::create(&new)?;
    out.write_all(text)?;
    out.sync_all()?;
    std::fs::rename(&new, file)?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn place(seqnum: u64, realtime_us: u64) -> Place {
        Place { journal: 1, seqnum, realtime_us }
    }

    fn range(first: u64, last: u64) -> Range {
        let mut range = Range::of(&place(first, first * 10));
        range.extend(&place(last, last * 10));
        range
    }

    #[test]
    fn the_place_is_in_the_number_or_the_cursor() {
        let cursor = format!("s={ID};i=1f;b=b;m=2;t=3;x=4");
        let time: Field<'_> = ("__REALTIME_TIMESTAMP", b"7");
        let by_cursor = Place::of(&[("__CURSOR", cursor.as_bytes()), time]).expect("a place");
        assert_eq!((by_cursor.seqnum, by_cursor.realtime_us), (31, 7));
        let by_number =
            Place::of(&[("__SEQNUM", b"32"), ("__SEQNUM_ID", ID.as_bytes()), time]).expect("a place");
        assert_eq!((by_number.journal, by_number.seqnum), (by_cursor.journal, 32));
        for bad in ["", "s=x;i=1", "s=0123;i=1", &format!("s={ID}"), &format!("s={ID};i=zz")] {
            assert_eq!(Place::of(&[("__CURSOR", bad.as_bytes()), time]), None, "{bad}");
        }
        assert_eq!(Place::of(&[("__CURSOR", cursor.as_bytes())]), None, "without a time");
    }

    #[test]
    fn entries_are_done_begun_or_new() {
        let mut mark = Mark::default();
        assert_eq!(mark.due(&place(1, 10)), Due::New);
        mark.done(&range(1, 5));
        assert_eq!((mark.due(&place(5, 50)), mark.due(&place(6, 49))), (Due::Done, Due::New));
        assert_eq!(mark.due(&place(5, 51)), Due::New, "a machine that was set back");
        let range = range(6, 9);
        mark.begin(range);
        assert_eq!(mark.due(&place(7, 70)), Due::Again(range));
        assert_eq!((mark.due(&place(10, 100)), mark.due(&place(7, 55))), (Due::New, Due::New));
        let later = self::range(10, 12);
        mark.begin(later);
        assert_eq!((mark.due(&place(7, 70)), mark.due(&place(12, 120))), (Due::Done, Due::Again(later)));
        mark.done(&later);
        assert_eq!(mark.due(&place(12, 120)), Due::Done);
    }

    #[tokio::test]
    async fn marks_survive_and_the_oldest_is_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let tenant = Tenant::default();
        let open = || Marks::open(dir.path().join("journald"), 2);
        let marks = open();
        for journal in 1..=2_u128 {
            let mut held = marks.hold(&tenant, journal).await;
            held.mark.done(&range(1, 10));
            held.mark.begin(range(11, 12));
            held.save().await.expect("saved");
        }
        std::fs::write(marks.file(&Key { tenant: tenant.clone(), journal: 9 }), "{").expect("written");
        let marks = open();
        let again = marks.hold(&tenant, 1).await;
        assert_eq!((again.mark.durable, again.mark.begun.map(|range| range.last)), (10, Some(12)));
        drop(again);
        assert_eq!(marks.hold(&tenant, 3).await.mark.durable, 0);
        assert_eq!(open().hold(&tenant, 2).await.mark.durable, 0, "forgotten, its file is gone");
        assert_eq!(open().hold(&tenant, 1).await.mark.durable, 10);
    }
}
