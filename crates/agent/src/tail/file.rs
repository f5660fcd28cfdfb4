//! One followed file: where it is read to, and whether it is still the same.
//!
//! Invariants:
//! - `offset` is behind the last whole record given out; what was read beyond it is in the splitter;
//! - before bytes behind `read_to` are taken, the fingerprint of those before is checked, when the file changed.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use heimdall_ingest::BodyFormat;
use heimdall_model::{Batch, Timestamp};

use super::lines::{Joining, Splitter, decode, joins, may_join};
use super::{FileMark, TailCounts};

/// Bytes at the start that a fingerprint is of, at most.
const HEAD_BYTES: usize = 256;
/// Bytes before the offset that it is of as well.
const LAST_BYTES: usize = 64;
/// Read at once.
const CHUNK_BYTES: usize = 32 << 10;
/// A record of whole lines is ended when nothing was added for so long; a line without its end waits on.
const FLUSH_AFTER_NS: i64 = 500_000_000;
/// A file without its name is left when nothing was added for so long: its writer may hold it open for a while.
const LEAVE_AFTER_NS: i64 = 10_000_000_000;

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(meta: &Metadata) -> Identity {
        Identity { device: meta.dev(), inode: meta.ino() }
    }

    /// Of the file at a path; `None` when there is none, or it is no file.
    pub(super) fn of_path(path: &Path) -> io::Result<Option<Identity>> {
        match std::fs::metadata(path) {
            Ok(meta) => Ok(meta.is_file().then(|| Identity::of(&meta))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads what `Display` writes.
    pub(super) fn parse(text: &str) -> Option<Identity> {
        let (device, inode) = text.strip_prefix("file:")?.split_once(':')?;
        Some(Identity { device: device.parse().ok()?, inode: inode.parse().ok()? })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file:{}:{}", self.device, self.inode)
    }
}

/// What a read gave.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) batch: Option<Batch>,
    pub(super) bytes: usize,
    /// The mark is another than before.
    pub(super) moved: bool,
    /// There is more to read at once.
    pub(super) more: bool,
}

/// A followed file.
#[derive(Debug)]
pub(super) struct TailFile {
    path: PathBuf,
    file: File,
    format: BodyFormat,
    /// The configured format, for when the content is another.
    asked: BodyFormat,
    mark: FileMark,
    /// Behind the last byte in the splitter.
    read_to: u64,
    splitter: Splitter,
    /// Size and time of change when last read to the end.
    seen: Option<(u64, SystemTime)>,
    grew_at: Timestamp,
    /// No name leads here any more, since.
    nameless_since: Option<Timestamp>,
    is_finished: bool,
}

impl TailFile {
    /// Opens a file, at its mark if the mark fits its content; says whether it does not. `skip` leaves what a file without a mark holds.
    pub(super) fn open(
        path: &Path,
        format: BodyFormat,
        known: Option<&FileMark>,
        skip: bool,
    ) -> io::Result<(TailFile, bool)> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let fits = known.map(|mark| fits(&file, &meta, mark)).transpose()?.unwrap_or(false);
        let offset = match known {
            Some(mark) if fits => mark.offset,
            Some(_) => 0,
            None if skip => line_start(&file, meta.len())?,
            None => 0,
        };
        let mark = mark_at(&file, path, offset)?;
        let opened = TailFile {
            path: path.to_owned(),
            file,
            format,
            asked: format,
            mark,
            read_to: offset,
            splitter: Splitter::default(),
            seen: None,
            grew_at: Timestamp(i64::MIN),
            nameless_since: None,
            is_finished: false,
        };
        Ok((opened, known.is_some() && !fits))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn mark(&self) -> FileMark {
        self.mark.clone()
    }

    /// Everything is read and nobody will write: it can be left.
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The file's present name.
    pub(super) fn is_at(&mut self, path: &Path) {
        self.nameless_since = None;
        if self.path != path {
            path.clone_into(&mut self.path);
            path.clone_into(&mut self.mark.path);
        }
    }

    /// No followed name leads here: it was renamed or deleted. Says whether that is news.
    pub(super) fn lost_its_name(&mut self, now: Timestamp) -> bool {
        let is_news = self.nameless_since.is_none();
        self.nameless_since.get_or_insert(now);
        is_news
    }

    /// Reads on, up to about `room` bytes. Errors are counted and told; the next read tries again.
    pub(super) fn read(
        &mut self,
        room: usize,
        now: Timestamp,
        line_bytes_max: usize,
        joining: &Joining<'_>,
        counts: &mut TailCounts,
    ) -> Read {
        let mut read = Read::default();
        let before = self.mark.offset;
        let outcome = self.read_on(room, now, line_bytes_max, joining, counts, &mut read);
        if let Err(error) = outcome {
            counts.errors += 1;
            tracing::warn!(path = %self.path.display(), %error, "file cannot be read");
        }
        self.give(now, counts, &mut read);
        read.moved |= self.mark.offset != before;
        read
    }

    fn read_on(
        &mut self,
        room: usize,
        now: Timestamp,
        line_bytes_max: usize,
        joining: &Joining<'_>,
        counts: &mut TailCounts,
        read: &mut Read,
    ) -> io::Result<()> {
        let meta = self.file.metadata()?;
        let changed = Some((meta.len(), meta.modified()?));
        if self.seen == changed {
            self.rest(now, joining, counts);
            return Ok(());
        }
        if self.read_to > 0 && !self.is_same(&meta)? {
            counts.truncations += 1;
            self.begin_again(now, joining, counts, read);
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        while read.bytes < room {
            let len = self.file.read_at(&mut chunk, self.read_to)?;
            if len == 0 {
                self.seen = changed.filter(|(size, _)| *size == self.read_to);
                return Ok(());
            }
            self.take(&chunk[..len], line_bytes_max, joining, counts);
            self.grew_at = now;
            read.bytes += len;
        }
        read.more = true;
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], line_bytes_max: usize, joining: &Joining<'_>, counts: &mut TailCounts) {
        counts.bytes += bytes.len() as u64;
        self.read_to += bytes.len() as u64;
        if self.format == BodyFormat::Auto && bytes.contains(&b'\n') {
            self.format = self.asked.settled(bytes);
        }
        let format = self.format;
        self.splitter.push(bytes, line_bytes_max, |line| joins(joining, format, line), counts);
        if !may_join(joining, format) {
            self.splitter.flush_record();
        }
    }

    /// Whether something waits for more of its record.
    pub(super) fn is_pending(&self) -> bool {
        self.splitter.is_pending()
    }

    /// Nothing was added: ends what is pending when it is time.
    fn rest(&mut self, now: Timestamp, joining: &Joining<'_>, counts: &mut TailCounts) {
        let quiet_ns = now.0.saturating_sub(self.grew_at.0);
        if self.splitter.is_pending() && quiet_ns >= FLUSH_AFTER_NS {
            self.splitter.flush_record();
        }
        let left =
            |since: Timestamp| now.0.saturating_sub(since.0) >= LEAVE_AFTER_NS && quiet_ns >= LEAVE_AFTER_NS;
        if self.nameless_since.is_some_and(left) {
            let format = self.format;
            self.splitter.flush(|line| joins(joining, format, line), counts);
            self.is_finished = true;
        }
    }

    /// The content is another: what was read of the old one is given out, and the new one is read from its beginning.
    fn begin_again(
        &mut self,
        now: Timestamp,
        joining: &Joining<'_>,
        counts: &mut TailCounts,
        read: &mut Read,
    ) {
        let format = self.format;
        self.splitter.flush(|line| joins(joining, format, line), counts);
        let (records, _) = self.splitter.take();
        read.batch = decode(&records, format, &self.path.to_string_lossy(), now, counts);
        read.moved = true;
        self.read_to = 0;
        self.format = self.asked;
        self.mark = FileMark { path: self.path.clone(), offset: 0, head_len: 0, head: 0, last: 0 };
        self.seen = None;
    }

    /// Makes a batch of the whole records, and moves the mark behind them.
    fn give(&mut self, now: Timestamp, counts: &mut TailCounts, read: &mut Read) {
        let (records, consumed) = self.splitter.take();
        if consumed == 0 {
            return;
        }
        let batch = decode(&records, self.format, &self.path.to_string_lossy(), now, counts);
        batch.into_iter().for_each(|batch| super::append(&mut read.batch, batch));
        let offset = self.mark.offset + consumed;
        match mark_at(&self.file, &self.path, offset) {
            Ok(mark) => self.mark = mark,
            // Without a fingerprint that holds, a restart reads the file again from the start: twice rather than never.
            Err(_) => self.mark.offset = offset,
        }
    }

    fn is_same(&self, meta: &Metadata) -> io::Result<bool> {
        Ok(meta.len() >= self.read_to && fits(&self.file, meta, &self.mark)?)
    }
}

fn mark_at(file: &File, path: &Path, offset: u64) -> io::Result<FileMark> {
    let head_len = usize::try_from(offset).unwrap_or(usize::MAX).min(HEAD_BYTES);
    Ok(FileMark {
        path: path.to_owned(),
        offset,
        head_len: u32::try_from(head_len).unwrap_or(0),
        head: checksum(file, 0, head_len)?,
        last: last(file, offset)?,
    })
}

fn last(file: &File, offset: u64) -> io::Result<u32> {
    let from = offset.saturating_sub(LAST_BYTES as u64);
    checksum(file, from, usize::try_from(offset - from).unwrap_or(0))
}

/// Whether the file holds what it held when the mark was made.
fn fits(file: &File, meta: &Metadata, mark: &FileMark) -> io::Result<bool> {
    if meta.len() < mark.offset {
        return Ok(false);
    }
    let head = checksum(file, 0, mark.head_len as usize)?;
    Ok(head == mark.head && last(file, mark.offset)? == mark.last)
}

fn checksum(file: &File, from: u64, len: usize) -> io::Result<u32> {
    let mut bytes = vec![0; len];
    match file.read_exact_at(&mut bytes, from) {
        Ok(()) => Ok(crc32c::crc32c(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(u32::MAX),
        Err(error) => Err(error),
    }
}

/// The end of the file, or the start of its last line when that has no end yet.
fn line_start(file: &File, len: u64) -> io::Result<u64> {
    let from = len.saturating_sub(CHUNK_BYTES as u64);
    let mut bytes = vec![0; usize::try_from(len - from).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok(from + end as u64)
}
