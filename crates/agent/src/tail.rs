//! Files that grow, followed: every line once into a batch, across rotation, truncation and restarts.
//!
//! - [`Tailer`]: the files of one configuration; `poll` reads what is new, and its marks say how far
//! - [`glob`]: paths with wildcards; [`file`]: one file; [`lines`]: bytes to lines to records; [`wake`]: when to look
//!
//! Invariants:
//! - a file is known by device, inode and a fingerprint of its content, never by its name: a renamed file is read to its end, a
//!   new one under the old name from its beginning;
//! - a mark given out with a batch is behind the last record in it and before every other; who keeps batch and mark together
//!   has every line exactly once across a crash, who keeps the mark after the batch at least once;
//! - a line is cut at `line_bytes_max`, never dropped; what was cut and what was no UTF-8 is counted;
//! - memory is bounded: [`BLOCK_BYTES_MAX`] for a batch, and a pending record for each file.
//!
//! What no reader can see: lines written and truncated away (`copytruncate`) between two polls.
//!
//! No async, no clock: the caller gives the time and runs it where it may block. Not here: where batches go.

mod file;
mod glob;
mod lines;
mod wake;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use heimdall_ingest::BodyFormat;
use heimdall_model::schema::logs;
use heimdall_model::{Batch, Timestamp};
use regex::Regex;
use serde::{Deserialize, Serialize};

pub use self::wake::Wake;

use self::file::{Identity, TailFile};
use self::glob::expand;
use self::lines::Joining;
use crate::config::{StartAt, TailConfig};
use crate::state::{Mark, Marks};

/// Bytes of lines in one batch.
pub const BLOCK_BYTES_MAX: usize = 256 << 10;
/// Time between two looks for new files.
const EXPAND_EVERY_NS: i64 = 1_000_000_000;
/// Endings of files that are packed: rotated ones, whose lines were read before.
const PACKED: [&str; 4] = [".gz", ".zst", ".bz2", ".xz"];

/// A place in a file: enough to find it again under any name, and to see that it is still the same content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Last known path.
    pub path: PathBuf,
    /// Bytes read: the next record begins here.
    pub offset: u64,
    /// Bytes at the start of the file that `head` is of.
    pub head_len: u32,
    /// Their checksum (CRC-32C).
    pub head: u32,
    /// Checksum of the up to 64 bytes before `offset`.
    pub last: u32,
}

/// What was cut, lost or left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TailCounts {
    /// Files followed now.
    pub files: u64,
    /// Files left out, because there were more than `files_max`.
    pub files_left_out: u64,
    /// Lines read.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Lines that were cut.
    pub lines_cut: u64,
    /// Bytes cut from them.
    pub bytes_cut: u64,
    /// Lines with bytes that are not UTF-8, replaced by U+FFFD.
    pub lines_not_utf8: u64,
    /// Lines kept as plain messages, because they are not of the file's format.
    pub lines_not_of_format: u64,
    /// Files that were renamed or deleted; each is read to its end.
    pub rotations: u64,
    /// Files that were truncated or written anew in place.
    pub truncations: u64,
    /// Files that could not be opened or read.
    pub errors: u64,
}

impl TailCounts {
    /// Replaces what a tailer had counted by what it has counted now.
    pub(crate) fn change(&mut self, before: &TailCounts, now: &TailCounts) {
        let each = |counts: &TailCounts| {
            let TailCounts {
                files,
                files_left_out,
                lines,
                bytes,
                lines_cut,
                bytes_cut,
                lines_not_utf8,
                lines_not_of_format,
                rotations,
                truncations,
                errors,
            } = *counts;
            [files, files_left_out, lines, bytes, lines_cut, bytes_cut, lines_not_utf8, lines_not_of_format]
                .into_iter()
                .chain([rotations, truncations, errors])
        };
        let fields = [
            &mut self.files,
            &mut self.files_left_out,
            &mut self.lines,
            &mut self.bytes,
            &mut self.lines_cut,
            &mut self.bytes_cut,
            &mut self.lines_not_utf8,
            &mut self.lines_not_of_format,
            &mut self.rotations,
            &mut self.truncations,
            &mut self.errors,
        ];
        for ((field, before), now) in fields.into_iter().zip(each(before)).zip(each(now)) {
            *field = (*field + now).saturating_sub(before);
        }
    }
}

/// What a poll found.
#[derive(Debug)]
pub struct Gathered {
    /// The records; none when only marks changed.
    pub batch: Option<Batch>,
    /// How far the files were read, with these records.
    pub marks: Marks,
    /// Whether there is more to read at once.
    pub more: bool,
    /// Whether a record waits for its end: look again within a second, though nothing changes.
    pub pending: bool,
}

/// Why a tailer cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("`record_start` is not a regular expression: {0}")]
pub struct TailError(#[from] regex::Error);

/// The files of one configuration.
#[derive(Debug)]
pub struct Tailer {
    config: TailConfig,
    format: BodyFormat,
    record_start: Option<Regex>,
    files: BTreeMap<Identity, TailFile>,
    /// Where files from before the restart were; each is used once.
    known: HashMap<Identity, FileMark>,
    /// Files that could not be opened, told once each.
    unreadable: HashSet<PathBuf>,
    expanded_at: Option<Timestamp>,
    is_first_look: bool,
    /// File to begin the next poll with, so that a busy one does not starve the others.
    turn: Option<Identity>,
    /// Marks whose files are gone, to be told with the next poll.
    gone: Vec<Identity>,
    counts: TailCounts,
}

impl Tailer {
    /// Follows what `config` names, from where `marks` say.
    ///
    /// # Errors
    /// `record_start` is not a regular expression.
    pub fn new(config: TailConfig, marks: &Marks) -> Result<Tailer, TailError> {
        let record_start = config.record_start.as_deref().map(Regex::new).transpose()?;
        let known = marks.iter().filter_map(|(source, mark)| match mark {
            Mark::File(mark) => Some((Identity::parse(source)?, mark.clone())),
            Mark::Cursor(_) | Mark::Gone => None,
        });
        Ok(Tailer {
            format: BodyFormat::from_name(&config.format).unwrap_or(BodyFormat::Auto),
            known: known.collect(),
            config,
            record_start,
            files: BTreeMap::new(),
            unreadable: HashSet::new(),
            expanded_at: None,
            is_first_look: true,
            turn: None,
            gone: Vec::new(),
            counts: TailCounts::default(),
        })
    }

    /// Reads what is new, up to [`BLOCK_BYTES_MAX`]. Blocks. `now` is the arrival time.
    ///
    /// The positions move at once: what is returned must be kept, or the tailer made anew from older marks.
    pub fn poll(&mut self, now: Timestamp) -> Gathered {
        let due = self.expanded_at.is_none_or(|at| now.0.abs_diff(at.0) >= EXPAND_EVERY_NS.unsigned_abs());
        if due {
            self.look_for_files(now);
        }
        let mut out = Gathered { batch: None, marks: self.gone_marks(), more: false, pending: false };
        let mut room = BLOCK_BYTES_MAX;
        for identity in self.order() {
            if room == 0 {
                (self.turn, out.more) = (Some(identity), true);
                break;
            }
            room = room.saturating_sub(self.read(identity, room, now, &mut out));
        }
        out
    }

    /// Looks for new and renamed files with the next poll, and not only when it is time.
    pub fn look_again(&mut self) {
        self.expanded_at = None;
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> TailCounts {
        TailCounts { files: self.files.len() as u64, ..self.counts.clone() }
    }

    /// Folders whose changes are worth a look.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> =
            self.files.values().filter_map(|file| file.path().parent().map(Path::to_owned)).collect();
        folders.extend(self.config.paths.iter().filter_map(|path| glob::fixed_folder(path)));
        folders.sort();
        folders.dedup();
        folders
    }

    fn gone_marks(&mut self) -> Marks {
        self.gone.drain(..).map(|identity| (identity.to_string(), Mark::Gone)).collect()
    }

    /// Every file, beginning with the one whose turn it is.
    fn order(&mut self) -> Vec<Identity> {
        let mut order: Vec<Identity> = self.files.keys().copied().collect();
        if let Some(at) =
            self.turn.take().and_then(|turn| order.iter().position(|identity| *identity == turn))
        {
            order.rotate_left(at);
        }
        order
    }

    fn read(&mut self, identity: Identity, room: usize, now: Timestamp, out: &mut Gathered) -> usize {
        let joining = match &self.record_start {
            Some(pattern) => Joining::Pattern(pattern),
            None => Joining::ByFormat,
        };
        let Some(file) = self.files.get_mut(&identity) else { return 0 };
        let read = file.read(room, now, self.config.line_bytes_max, &joining, &mut self.counts);
        out.more |= read.more;
        out.pending |= file.is_pending();
        if let Some(mut batch) = read.batch {
            let service = self.config.service.clone().unwrap_or_else(|| service_of(file.path()));
            batch.fill_text(logs::SERVICE, &service);
            append(&mut out.batch, batch);
        }
        if read.moved {
            out.marks.insert(identity.to_string(), Mark::File(file.mark()));
        }
        if file.is_finished() {
            tracing::debug!(path = %file.path().display(), "file read to its end and left");
            self.files.remove(&identity);
            out.marks.insert(identity.to_string(), Mark::Gone);
        }
        read.bytes
    }

    /// Opens files that are new, notes names that changed hands, and picks up where files were left before the restart.
    fn look_for_files(&mut self, now: Timestamp) {
        self.expanded_at = Some(now);
        self.counts.files_left_out = 0;
        let mut found: HashMap<Identity, PathBuf> = HashMap::new();
        for path in self.paths() {
            match Identity::of_path(&path) {
                Ok(Some(identity)) => drop(found.entry(identity).or_insert(path)),
                Ok(None) => {}
                Err(error) => self.complain(&path, &error),
            }
        }
        for (identity, file) in &mut self.files {
            match found.get(identity) {
                Some(path) => file.is_at(path),
                None => self.counts.rotations += u64::from(file.lost_its_name(now)),
            }
        }
        let mut fresh: Vec<_> =
            found.into_iter().filter(|(identity, _)| !self.files.contains_key(identity)).collect();
        fresh.sort_by(|a, b| a.1.cmp(&b.1));
        fresh.into_iter().for_each(|(identity, path)| self.open(identity, &path));
        if std::mem::take(&mut self.is_first_look) {
            self.find_renamed(now);
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let is_out = |path: &Path| {
            let text = path.to_string_lossy();
            PACKED.iter().any(|end| text.ends_with(end))
                || self.config.exclude.iter().any(|pattern| glob::matches(pattern, path))
        };
        // Found ones beyond the limit are needed to count them; beyond twice the limit nobody counts.
        let max = 2 * self.config.files_max;
        let expanded = self.config.paths.iter().flat_map(|pattern| expand(pattern, max));
        expanded.filter(|path| !is_out(path)).take(max).collect()
    }

    fn open(&mut self, identity: Identity, path: &Path) {
        if self.files.len() >= self.config.files_max {
            self.counts.files_left_out += 1;
            if self.unreadable.insert(path.to_owned()) {
                tracing::warn!(path = %path.display(), max = self.config.files_max, "file left out: too many");
            }
            return;
        }
        let known = self.known.remove(&identity);
        let skip = self.is_first_look && self.config.start_at == StartAt::End;
        match TailFile::open(path, self.format, known.as_ref(), skip) {
            Ok((file, was_truncated)) => {
                self.counts.truncations += u64::from(was_truncated);
                self.unreadable.remove(path);
                self.files.insert(identity, file);
            }
            Err(error) => self.complain(path, &error),
        }
    }

    /// Files that were renamed while nobody looked: read on from their mark, when their name is in the same folder.
    fn find_renamed(&mut self, now: Timestamp) {
        let known = std::mem::take(&mut self.known);
        for (identity, mark) in known {
            if !self.config.paths.iter().any(|pattern| glob::matches(pattern, &mark.path)) {
                continue; // another tailer's
            }
            let Some(folder) = mark.path.parent().filter(|folder| folder.is_dir()) else {
                self.known.insert(identity, mark); // perhaps it is not mounted yet
                continue;
            };
            let siblings = glob::list(folder, usize::MAX);
            let moved = siblings.into_iter().find(|path| {
                matches!(Identity::of_path(path), Ok(Some(found)) if found == identity)
                    && !PACKED.iter().any(|end| path.to_string_lossy().ends_with(end))
            });
            match moved.map(|path| TailFile::open(&path, self.format, Some(&mark), false)) {
                Some(Ok((mut file, false))) => {
                    self.counts.rotations += u64::from(file.lost_its_name(now));
                    self.files.insert(identity, file);
                }
                _ => self.gone.push(identity),
            }
        }
    }

    fn complain(&mut self, path: &Path, error: &std::io::Error) {
        if self.unreadable.insert(path.to_owned()) {
            self.counts.errors += 1;
            tracing::warn!(path = %path.display(), %error, "file cannot be read");
        }
    }
}

fn append(whole: &mut Option<Batch>, batch: Batch) {
    match whole {
        Some(whole) => whole.append(&batch),
        None => *whole = Some(batch),
    }
}

/// `/var/log/nginx/access.log` is of `access`; what rotation adds to a name is not part of it.
fn service_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or("file");
    stem.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests;
