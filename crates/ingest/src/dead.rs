//! Dead letters: records that were rejected or quarantined, as they came, to be looked at and tried again.
//!
//! Files `NUMBER.ndjson` of a folder, each a sequence of [`crate::lines`]; a new one is begun at [`FILE_BYTES`].
//!
//! Invariants:
//! - at most [`DeadConfig::bytes_max`] bytes and [`LETTERS_MAX`] letters are kept, none older than [`DeadConfig::age_max`]; the oldest
//!   file goes first, and its letters are counted;
//! - a quarantined letter is on disk before its sender is told that it was kept;
//! - what is removed is gone from the disk: files are written anew without it;
//! - a crash loses at most letters whose sender was told that they were rejected; a line cut off does not hide others;
//! - nobody but the server's user can read the folder, and a letter is given to its own tenant only.
//!
//! Not here: trying again (see [`crate::Intake::replay`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heimdall_model::{Dataset, Tenant, Timestamp};
use metrics::counter;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decoded::{Dead, Encoding};
use crate::lines;

/// Most letters.
pub const LETTERS_MAX: usize = 100_000;
/// Size at which a new file is begun.
pub const FILE_BYTES: u64 = 2 << 20;
/// Letters on one page at most.
pub const PAGE_MAX: usize = 1_000;

/// Bounds of what is kept.
#[derive(Debug, Clone)]
pub struct DeadConfig {
    /// Folder.
    pub dir: PathBuf,
    /// Bytes on disk (default 64 MiB).
    pub bytes_max: u64,
    /// Age (default 7 days).
    pub age_max: Duration,
}

impl DeadConfig {
    /// The defaults, in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> DeadConfig {
        DeadConfig { dir, bytes_max: 64 << 20, age_max: Duration::from_secs(7 * 86_400) }
    }
}

/// What is known of a letter, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its id.
    pub id: Uuid,
    /// `rejected` or `quarantined`.
    pub outcome: Outcome,
    /// Whose record it is.
    pub tenant: Tenant,
    /// The door it came through.
    pub door: Arc<str>,
    /// The dataset it was for.
    pub dataset: Dataset,
    /// The receipt of its batch.
    pub receipt: Uuid,
    /// The key of its batch, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Arc<str>>,
    /// Its index within the batch, from 0.
    pub index: u64,
    /// The field at fault; empty when it is the record as a whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// Arrival.
    pub time: Timestamp,
    /// Whether the text is the beginning of the record only.
    #[serde(default)]
    pub is_cut: bool,
    /// How the text stands for the record.
    #[serde(default, skip_serializing_if = "Encoding::is_text")]
    pub encoding: Encoding,
}

/// Why a letter is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its sender was told.
    Rejected,
    /// A pipeline kept it aside.
    Quarantined,
}

/// A letter with its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeLetter {
    /// What is known of it.
    #[serde(flatten)]
    pub letter: Letter,
    /// The record as it came; see [`Letter::encoding`].
    pub raw: String,
}

/// Which letters are meant; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// The door.
    pub door: Option<String>,
    /// The dataset.
    pub dataset: Option<Dataset>,
    /// The receipt.
    pub receipt: Option<Uuid>,
    /// Why it is kept.
    pub outcome: Option<Outcome>,
    /// The field at fault.
    pub field: Option<String>,
    /// From this arrival on.
    pub from: Option<Timestamp>,
    /// Before this arrival.
    pub to: Option<Timestamp>,
}

impl LetterFilter {
    fn fits(&self, letter: &Letter) -> bool {
        self.door.as_ref().is_none_or(|door| **door == *letter.door)
            && self.dataset.is_none_or(|dataset| dataset == letter.dataset)
            && self.receipt.is_none_or(|receipt| receipt == letter.receipt)
            && self.outcome.is_none_or(|outcome| outcome == letter.outcome)
            && self.field.as_ref().is_none_or(|field| *field == letter.field)
            && self.from.is_none_or(|from| letter.time >= from)
            && self.to.is_none_or(|to| letter.time < to)
    }
}

/// Some letters, newest first.
#[derive(Debug, Clone, Serialize)]
pub struct LetterPage {
    /// The letters.
    pub items: Vec<Letter>,
    /// Where the next page begins; none on the last page.
    pub next: Option<u64>,
}

/// Where dead letters come from.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) tenant: Tenant,
    pub(crate) door: &'static str,
    pub(crate) dataset: Dataset,
    pub(crate) receipt: Uuid,
    /// The key of the batch, where it has one.
    pub(crate) batch: Option<Arc<str>>,
    pub(crate) time: Timestamp,
}

/// See the module.
pub struct DeadLetters {
    config: DeadConfig,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// By number: dense, in the order of arrival.
    letters: BTreeMap<u64, Place>,
    numbers: HashMap<Uuid, u64>,
    /// Oldest first; the last one is written to.
    files: VecDeque<FileOf>,
    next: u64,
    bytes: u64,
}

struct Place {
    letter: Letter,
    file: u64,
    start: u64,
    len: usize,
}

struct FileOf {
    number: u64,
    bytes: u64,
    newest: Timestamp,
}

impl DeadLetters {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// It cannot be read or made.
    pub fn open(config: DeadConfig, now: Timestamp) -> io::Result<DeadLetters> {
        lines::create_dir(&config.dir)?;
        let mut numbers: Vec<u64> = std::fs::read_dir(&config.dir)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".ndjson")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let mut shelf = Shelf::default();
        let mut broken = 0;
        for number in numbers {
            let path = path_of(&config.dir, number);
            let mut bytes = std::fs::read(&path)?;
            // A line that a crash cut off goes, or what is written next would make it another one.
            let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
            if whole < bytes.len() {
                broken += 1;
                std::fs::File::options().write(true).open(&path)?.set_len(whole as u64)?;
                bytes.truncate(whole);
            }
            shelf.load(number, &bytes, &mut broken);
        }
        if broken > 0 {
            tracing::warn!(broken, dir = %config.dir.display(), "dead letters that are not whole were left out");
        }
        shelf.bound(&config, now);
        Ok(DeadLetters { config, shelf: Mutex::new(shelf) })
    }

    /// Keeps records. Blocks on disk.
    pub(crate) fn keep(&self, from: &Sender, dead: Vec<Dead>) -> io::Result<()> {
        let door: Arc<str> = Arc::from(from.door);
        let whole: Vec<WholeLetter> = dead.into_iter().map(|dead| whole(from, &door, dead)).collect();
        let is_promised = whole.iter().any(|whole| whole.letter.outcome == Outcome::Quarantined);
        let mut shelf = self.shelf.lock();
        shelf.write(&self.config.dir, whole, is_promised)?;
        shelf.bound(&self.config, from.time);
        Ok(())
    }

    /// Whether letters of this batch are kept already.
    pub(crate) fn has_batch(&self, batch: &str) -> bool {
        let shelf = self.shelf.lock();
        shelf.letters.values().rev().any(|place| place.letter.batch.as_deref() == Some(batch))
    }

    /// Letters of a tenant, newest first; `before` is the `next` of the page before.
    #[must_use]
    pub fn page(
        &self,
        tenant: &Tenant,
        filter: &LetterFilter,
        limit: usize,
        before: Option<u64>,
    ) -> LetterPage {
        let shelf = self.shelf.lock();
        let mut found = shelf
            .letters
            .range(..before.unwrap_or(u64::MAX))
            .rev()
            .filter(|(_, place)| place.letter.tenant == *tenant && filter.fits(&place.letter));
        let page: Vec<_> = found.by_ref().take(limit.clamp(1, PAGE_MAX)).collect();
        let last = page.last().map(|(number, _)| **number);
        let next = found.next().and(last);
        LetterPage { items: page.into_iter().map(|(_, place)| place.letter.clone()).collect(), next }
    }

    /// One letter of a tenant. Blocks on disk.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get(&self, tenant: &Tenant, id: Uuid) -> io::Result<Option<WholeLetter>> {
        use std::os::unix::fs::FileExt;
        let shelf = self.shelf.lock();
        let place = shelf.numbers.get(&id).and_then(|number| shelf.letters.get(number));
        let Some(place) = place.filter(|place| place.letter.tenant == *tenant) else { return Ok(None) };
        let file = std::fs::File::open(path_of(&self.config.dir, place.file))?;
        let mut line = vec![0; place.len];
        file.read_exact_at(&mut line, place.start)?;
        let whole = lines::checked(line.trim_ascii_end()).and_then(|json| serde_json::from_str(json).ok());
        whole.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the letter is damaged"))
    }

    /// Removes letters of a tenant from disk; how many there were. Blocks on disk.
    ///
    /// # Errors
    /// A file cannot be written anew; letters of other files are removed then.
    pub fn remove(&self, tenant: &Tenant, ids: &[Uuid]) -> io::Result<usize> {
        let mut shelf = self.shelf.lock();
        let mut by_file: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for id in ids {
            let Some(number) = shelf.numbers.get(id).copied() else { continue };
            let Some(place) = shelf.letters.get(&number).filter(|place| place.letter.tenant == *tenant)
            else {
                continue;
            };
            let list = by_file.entry(place.file).or_default();
            if !list.contains(&number) {
                list.push(number);
            }
        }
        let mut removed = 0;
        for (file, numbers) in by_file {
            shelf.rewrite(&self.config.dir, file, &numbers)?;
            removed += numbers.len();
        }
        Ok(removed)
    }

    /// Lets go of what is too old. Blocks on disk.
    pub fn tick(&self, now: Timestamp) {
        self.shelf.lock().bound(&self.config, now);
    }

    /// How many letters there are of all tenants, and their bytes on disk.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        let shelf = self.shelf.lock();
        (shelf.letters.len(), shelf.bytes)
    }
}

fn whole(from: &Sender, door: &Arc<str>, dead: Dead) -> WholeLetter {
    let letter = Letter {
        id: Uuid::now_v7(),
        outcome: if dead.is_quarantined { Outcome::Quarantined } else { Outcome::Rejected },
        tenant: from.tenant.clone(),
        door: Arc::clone(door),
        dataset: from.dataset,
        receipt: from.receipt,
        batch: from.batch.clone(),
        index: dead.index,
        field: dead.field,
        reason: dead.reason,
        time: from.time,
        is_cut: dead.is_cut,
        encoding: dead.encoding,
    };
    WholeLetter { letter, raw: dead.raw }
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016}.ndjson"))
}

impl Shelf {
    fn load(&mut self, number: u64, bytes: &[u8], broken: &mut u64) {
        self.files.push_back(FileOf { number, bytes: bytes.len() as u64, newest: Timestamp(i64::MIN) });
        self.bytes += bytes.len() as u64;
        for line in lines::read(bytes, broken) {
            match serde_json::from_str::<WholeLetter>(line.json) {
                Ok(whole) => self.place(whole.letter, number, line.start as u64, line.len),
                Err(_) => *broken += 1,
            }
        }
    }

    fn place(&mut self, letter: Letter, file: u64, start: u64, len: usize) {
        if let Some(of) = self.files.back_mut() {
            of.newest = of.newest.max(letter.time);
        }
        self.numbers.insert(letter.id, self.next);
        self.letters.insert(self.next, Place { letter, file, start, len });
        self.next += 1;
    }

    fn write(&mut self, dir: &Path, letters: Vec<WholeLetter>, sync: bool) -> io::Result<()> {
        if self.files.back().is_none_or(|file| file.bytes >= FILE_BYTES) {
            let number = self.files.back().map_or(1, |file| file.number + 1);
            self.files.push_back(FileOf { number, bytes: 0, newest: Timestamp(i64::MIN) });
        }
        let Some(current) = self.files.back().map(|file| file.number) else { return Ok(()) };
        let (mut file, start) = lines::append(&path_of(dir, current))?;
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(letters.len());
        for whole in letters {
            let json = serde_json::to_string(&whole).map_err(io::Error::other)?;
            let at = bytes.len();
            lines::push(&mut bytes, &json);
            places.push((whole.letter, start + at as u64, bytes.len() - at));
        }
        let written = file.write_all(&bytes).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
        // Whatever of it is there counts: the next line begins after it.
        let end = file.metadata().map_or(start, |about| about.len());
        if let Some(of) = self.files.back_mut() {
            self.bytes = self.bytes - of.bytes + end;
            of.bytes = end;
        }
        written?;
        for (letter, start, len) in places {
            self.place(letter, current, start, len);
        }
        Ok(())
    }

    /// Writes a file anew without some letters; one that holds none any more is removed.
    fn rewrite(&mut self, dir: &Path, file: u64, without: &[u64]) -> io::Result<()> {
        let path = path_of(dir, file);
        let old = std::fs::read(&path)?;
        let mut new = Vec::with_capacity(old.len());
        let mut moved = Vec::new();
        for (number, place) in self.letters.iter().filter(|(_, place)| place.file == file) {
            let start = usize::try_from(place.start).unwrap_or(usize::MAX);
            let Some(line) = old.get(start..start.saturating_add(place.len)) else { continue };
            if !without.contains(number) {
                moved.push((*number, new.len() as u64));
                new.extend_from_slice(line);
            }
        }
        if new.is_empty() {
            std::fs::remove_file(&path)?
        } else {
            lines::replace(&path, &new)?
        }
        for number in without {
            if let Some(place) = self.letters.remove(number) {
                self.numbers.remove(&place.letter.id);
            }
        }
        for (number, start) in moved {
            if let Some(place) = self.letters.get_mut(&number) {
                place.start = start;
            }
        }
        if let Some(of) = self.files.iter_mut().find(|of| of.number == file) {
            self.bytes = self.bytes - of.bytes + new.len() as u64;
            of.bytes = new.len() as u64;
        }
        Ok(())
    }

    /// Lets the oldest files go until all bounds hold.
    fn bound(&mut self, config: &DeadConfig, now: Timestamp) {
        let age_max = i64::try_from(config.age_max.as_nanos()).unwrap_or(i64::MAX);
        while let Some(oldest) = self.files.front() {
            let is_alone = self.files.len() == 1;
            let reason = if oldest.newest < now.saturating_add_ns(-age_max) && (oldest.bytes > 0 || !is_alone)
            {
                "age"
            } else if self.bytes > config.bytes_max && (!is_alone || oldest.bytes > config.bytes_max) {
                "bytes"
            } else if self.letters.len() > LETTERS_MAX && !is_alone {
                "count"
            } else {
                return;
            };
            let (number, bytes) = (oldest.number, oldest.bytes);
            let path = path_of(&config.dir, number);
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::error!(%error, file = %path.display(), "an old file of dead letters could not be removed");
                return;
            }
            let gone: Vec<u64> = self
                .letters
                .iter()
                .filter(|(_, place)| place.file == number)
                .map(|(number, _)| *number)
                .collect();
            for number in &gone {
                if let Some(place) = self.letters.remove(number) {
                    self.numbers.remove(&place.letter.id);
                }
            }
            self.bytes -= bytes;
            if self.files.len() == 1 {
                // Its number is not used again: what is written next is in another file.
                self.files.push_back(FileOf { number: number + 1, bytes: 0, newest: Timestamp(i64::MIN) });
            }
            self.files.pop_front();
            counter!("dead_letters_evicted_total", "reason" => reason).increment(gone.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_772_366_400_000_000_000);

    fn sender(tenant: &str, time: Timestamp) -> Sender {
        let tenant = Tenant::new(tenant).expect("a name");
        Sender {
            tenant,
            door: "http",
            dataset: Dataset::Logs,
            receipt: Uuid::from_u128(7),
            batch: None,
            time,
        }
    }

    fn dead(index: u64, raw: &str) -> Dead {
        Dead {
            index,
            is_quarantined: index % 2 == 1,
            field: "f".into(),
            reason: "r".into(),
            raw: raw.into(),
            encoding: Encoding::Text,
            is_cut: false,
        }
    }

    fn open(dir: &Path) -> DeadLetters {
        DeadLetters::open(DeadConfig::new(dir.to_owned()), NOW).expect("a folder")
    }

    fn all(letters: &DeadLetters, tenant: &str) -> Vec<u64> {
        let tenant = Tenant::new(tenant).expect("a name");
        letters
            .page(&tenant, &LetterFilter::default(), 1_000, None)
            .items
            .iter()
            .map(|letter| letter.index)
            .collect()
    }

    #[test]
    fn letters_survive_and_are_their_tenants_own() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("dead");
        let letters = open(&path);
        letters.keep(&sender("a", NOW), vec![dead(0, "{\"x\":\n"), dead(1, "é")]).expect("written");
        letters.keep(&sender("b", NOW), vec![dead(2, "z")]).expect("written");
        for letters in [letters, open(&path)] {
            assert_eq!(
                (all(&letters, "a"), all(&letters, "b"), all(&letters, "c")),
                (vec![1, 0], vec![2], vec![])
            );
            let a = Tenant::new("a").expect("a name");
            let filter = LetterFilter { outcome: Some(Outcome::Rejected), ..LetterFilter::default() };
            let first = letters.page(&a, &filter, 10, None).items.remove(0);
            let whole = letters.get(&a, first.id).expect("readable").expect("kept");
            assert_eq!((whole.raw.as_str(), &whole.letter), ("{\"x\":\n", &first));
            assert_eq!(letters.get(&Tenant::new("b").expect("a name"), first.id).expect("readable"), None);
            let other = LetterFilter { door: Some("hec".into()), ..LetterFilter::default() };
            assert!(letters.page(&a, &other, 10, None).items.is_empty());
        }
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path_of(&path, 1))), (0o700, 0o600));
    }

    #[test]
    fn what_is_removed_is_gone_from_the_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        let letters = open(dir.path());
        let dead_of = |n| dead(n, &format!("secret-{n}"));
        letters.keep(&sender("a", NOW), (0..5).map(dead_of).collect()).expect("written");
        let a = Tenant::new("a").expect("a name");
        let page = letters.page(&a, &LetterFilter::default(), 10, None);
        let ids: Vec<_> =
            page.items.iter().filter(|letter| letter.index != 3).map(|letter| letter.id).collect();
        assert_eq!(letters.remove(&Tenant::default(), &ids).expect("nothing to do"), 0, "of another tenant");
        assert_eq!(letters.remove(&a, &ids).expect("written"), 4);
        letters.keep(&sender("a", NOW), vec![dead_of(9)]).expect("written");
        for letters in [letters, open(dir.path())] {
            assert_eq!(all(&letters, "a"), [9, 3]);
            let kept = letters.page(&a, &LetterFilter::default(), 10, None).items.remove(1);
            assert_eq!(letters.get(&a, kept.id).expect("readable").expect("kept").raw, "secret-3");
        }
        let text = std::fs::read_to_string(path_of(dir.path(), 1)).expect("a file");
        assert!(!text.contains("secret-2") && text.contains("secret-3"));
    }

    #[test]
    fn a_file_that_ends_anywhere_opens_and_takes_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let letters = open(dir.path());
        for n in [0, 2, 4] {
            letters.keep(&sender("a", NOW), vec![dead(n, "text")]).expect("written");
        }
        let path = path_of(dir.path(), 1);
        let bytes = std::fs::read(&path).expect("a file");
        let line = bytes.len() / 3;
        for cut in (0..bytes.len()).step_by(7).chain([line, line + 1, 2 * line - 1]) {
            // A file without a whole line goes, and the next one has another number.
            let _ = std::fs::remove_file(path_of(dir.path(), 2));
            std::fs::write(&path, &bytes[..cut]).expect("written");
            let letters = open(dir.path());
            let whole = (cut / line) as u64;
            let whole = (0..whole).map(|n| 2 * n).rev();
            assert_eq!(all(&letters, "a"), whole.clone().collect::<Vec<_>>(), "cut at {cut}");
            letters.keep(&sender("a", NOW), vec![dead(9, "more")]).expect("written");
            let expected: Vec<u64> = std::iter::once(9).chain(whole).collect();
            assert_eq!(all(&letters, "a"), expected);
            assert_eq!(all(&open(dir.path()), "a"), expected, "cut at {cut}, opened again");
        }
    }

    #[test]
    fn bytes_and_age_are_bounded_oldest_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = DeadConfig { bytes_max: 3 * FILE_BYTES, ..DeadConfig::new(dir.path().to_owned()) };
        let letters = DeadLetters::open(config.clone(), NOW).expect("a folder");
        let text = "x".repeat(60_000);
        for n in 0..200 {
            letters
                .keep(&sender("a", NOW.saturating_add_ns(n)), vec![dead(n.unsigned_abs(), &text)])
                .expect("written");
            assert!(letters.size().1 <= config.bytes_max + 100_000, "{n}");
        }
        let kept = all(&letters, "a");
        assert_eq!(kept[0], 199);
        assert!(kept.len() > 60 && kept.windows(2).all(|pair| pair[0] == pair[1] + 1));
        letters.tick(NOW.saturating_add_ns(8 * 86_400_000_000_000));
        assert_eq!(letters.size(), (0, 0));
        letters
            .keep(&sender("a", NOW.saturating_add_ns(9 * 86_400_000_000_000)), vec![dead(1, "new")])
            .expect("written");
        assert_eq!(all(&DeadLetters::open(config, NOW).expect("a folder"), "a"), [1]);
    }
}
