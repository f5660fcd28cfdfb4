//! Positional reads of the store's files, on the disk or in the cold tier: nobody above knows which. A bounded number of them open at once.
//!
//! Invariants:
//! - nothing is opened before it is read: a start does not depend on how many files there are;
//! - a read gives exactly the bytes asked for or an error; of a file that has not the length the manifest says, an error;
//! - at most [`Room::open_files`] are open besides those a read is using at that moment.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foldhash::HashMap;
use heimdall_journal::disk::{Disk, DiskFile};
use parking_lot::Mutex;
use parquet::file::reader::Length;

use crate::aside::Aside;
use crate::cold::Cold;
use crate::sidecar::BlockCache;
use crate::store::StoreError;

/// How much is kept at hand; beyond, what was not used for longest goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Bytes of decoded blocks of sidecars.
    pub sidecar_bytes: usize,
    /// Bytes of ends of Parquet files.
    pub footer_bytes: usize,
    /// Files kept open.
    pub open_files: usize,
}

#[cfg(test)]
impl Room {
    /// Enough for a test.
    pub(crate) const SMALL: Room = Room { sidecar_bytes: 1 << 20, footer_bytes: 1 << 20, open_files: 512 };
}

/// The folder of a store, its cold tier and its open files.
pub(crate) struct Files {
    pub disk: Arc<dyn Disk>,
    pub root: PathBuf,
    pub cold: Option<Cold>,
    /// Decoded blocks of all sidecars.
    pub blocks: Arc<BlockCache>,
    /// Ends of Parquet files: schema, and where each page is. Apart from the blocks, as all of them are needed for one value
    /// looked for in all segments.
    pub footers: BlockCache,
    open: Mutex<OpenFiles>,
}

struct OpenFiles {
    by_name: HashMap<Arc<str>, Open>,
    /// Their names by the time of their last use.
    by_use: BTreeMap<u64, Arc<str>>,
    clock: u64,
    files_max: usize,
}

struct Open {
    file: Arc<dyn DiskFile>,
    used: u64,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, root: &Path, cold: Option<Cold>, room: Room) -> Files {
        let open = OpenFiles {
            by_name: HashMap::default(),
            by_use: BTreeMap::new(),
            clock: 0,
            files_max: room.open_files.max(1),
        };
        Files {
            disk,
            root: root.to_owned(),
            cold,
            blocks: Arc::new(BlockCache::new(room.sidecar_bytes)),
            footers: BlockCache::new(room.footer_bytes),
            open: Mutex::new(open),
        }
    }

    /// Path of a file of the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A file of the folder that is read by range. Damage found in it is noted in `aside`.
    pub(crate) fn file(self: &Arc<Self>, name: String, len: u64, aside: &Aside) -> RangeFile {
        RangeFile {
            files: Arc::clone(self),
            name: name.into(),
            len,
            tail: None,
            aside: aside.clone(),
            read: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// A file of the cold tier that is read by range; its last `tail_bytes` are in a file of the folder.
    pub(crate) fn cold_file(
        self: &Arc<Self>,
        name: String,
        len: u64,
        tail: String,
        tail_bytes: u64,
        aside: &Aside,
    ) -> RangeFile {
        let tail = Some(Tail { name: tail.into(), from: len.saturating_sub(tail_bytes) });
        RangeFile { tail, ..self.file(name, len, aside) }
    }

    /// Removes a file; one that is being read can still be read.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.open.lock().forget(name);
        self.disk.remove(&self.path(name))
    }

    fn open(&self, name: &Arc<str>, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.open.lock().get(name) {
            return Ok(file);
        }
        let file: Arc<dyn DiskFile> = Arc::from(self.disk.open_random(&self.path(name))?);
        let found = file.len()?;
        if found != len {
            let detail = format!("is {found} bytes long, the manifest says {len}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
        self.open.lock().put(Arc::clone(name), Arc::clone(&file));
        Ok(file)
    }
}

impl OpenFiles {
    fn get(&mut self, name: &str) -> Option<Arc<dyn DiskFile>> {
        let open = self.by_name.get_mut(name)?;
        self.clock += 1;
        let before = std::mem::replace(&mut open.used, self.clock);
        let name = self.by_use.remove(&before)?;
        self.by_use.insert(self.clock, name);
        Some(Arc::clone(&open.file))
    }

    fn forget(&mut self, name: &str) {
        if let Some(open) = self.by_name.remove(name) {
            self.by_use.remove(&open.used);
        }
    }

    fn put(&mut self, name: Arc<str>, file: Arc<dyn DiskFile>) {
        self.forget(&name);
        while self.by_name.len() >= self.files_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_name.remove(&oldest);
        }
        self.clock += 1;
        self.by_use.insert(self.clock, Arc::clone(&name));
        self.by_name.insert(name, Open { file, used: self.clock });
    }
}

/// The end of a file of the cold tier, kept in the folder.
#[derive(Clone)]
struct Tail {
    name: Arc<str>,
    from: u64,
}

/// One file of a store; clones share it and its counters.
#[derive(Clone)]
pub(crate) struct RangeFile {
    files: Arc<Files>,
    name: Arc<str>,
    len: u64,
    /// Of a file of the cold tier; the others are in the folder whole.
    tail: Option<Tail>,
    aside: Aside,
    read: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl RangeFile {
    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        match (&self.tail, &self.files.cold) {
            (Some(_), Some(cold)) => cold.path(&self.name),
            _ => self.files.path(&self.name),
        }
    }

    /// Bytes read of it so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Why the last read failed, if it did: a reader on top of this one may have turned the reason into words.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failed.lock().take()
    }

    /// An error of reading: a file of another length is damage, anything else the system's trouble.
    pub(crate) fn failed(&self, offset: u64, source: io::Error) -> StoreError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.corrupt(&format_args!("at byte {offset}: the file ends early"))
            }
            io::ErrorKind::InvalidData => self.corrupt(&source),
            _ => StoreError::Io { path: self.path(), source },
        }
    }

    /// The file is not what it should be: its segment is set aside.
    pub(crate) fn corrupt(&self, detail: &dyn std::fmt::Display) -> StoreError {
        let (path, detail) = (self.path(), detail.to_string());
        self.aside.note(&path, &detail);
        StoreError::Corrupt { path, detail }
    }

    /// The `length` bytes at `offset`. Errors: `UnexpectedEof` when the file ends before.
    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        if offset.checked_add(length as u64).is_none_or(|end| end > self.len) {
            let detail = format!("{length} bytes at byte {offset} of {}", self.len);
            return self.noted(Err(io::Error::new(io::ErrorKind::UnexpectedEof, detail)));
        }
        let mut buffer = vec![0; length];
        self.read_into(&mut buffer, offset)?;
        Ok(buffer.into())
    }

    /// Says that these bytes will be read soon. An object of the cold tier is not asked before.
    pub(crate) fn will_read(&self, offset: u64, length: usize) {
        if self.tail.is_none()
            && let Ok(file) = self.files.open(&self.name, self.len)
        {
            file.will_read(offset, length);
        }
    }

    /// Fills `buffer` from `offset` on. Errors: `UnexpectedEof` when the file ends before.
    pub(crate) fn read_into(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.noted(self.try_read_into(buffer, offset))
    }

    fn try_read_into(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = match &self.tail {
            None => self.files.open(&self.name, self.len)?.read_at(buffer, offset)?,
            Some(tail) if offset >= tail.from => {
                let file = self.files.open(&tail.name, self.len - tail.from)?;
                file.read_at(buffer, offset - tail.from)?
            }
            Some(_) => self.read_cold(buffer, offset)?,
        };
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        if read < buffer.len() {
            let detail = format!("{read} of {} bytes at byte {offset}", buffer.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, detail));
        }
        Ok(())
    }

    fn read_cold(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let cold = self.files.cold.as_ref().ok_or_else(|| io::Error::other("there is no cold tier"))?;
        buffer.copy_from_slice(&cold.read(&self.name, offset, buffer.len())?);
        Ok(buffer.len())
    }

    /// Remembers why a read failed, for [`RangeFile::take_failure`].
    pub(crate) fn noted<T>(&self, read: io::Result<T>) -> io::Result<T> {
        read.inspect_err(|error| *self.failed.lock() = Some(io::Error::new(error.kind(), error.to_string())))
    }
}

impl Length for RangeFile {
    fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use heimdall_journal::disk::ForgetfulDisk;

    use super::*;

    #[test]
    fn the_file_not_used_for_longest_is_closed_first() {
        let disk = Arc::new(ForgetfulDisk::default());
        let root = Path::new("/s");
        disk.create_dir_all(root).expect("creates");
        for name in ["a", "b", "c"] {
            crate::segment::write_whole(disk.as_ref(), &root.join(name), name.as_bytes()).expect("writes");
        }
        let files = Arc::new(Files::new(disk, root, None, Room { open_files: 2, ..Room::SMALL }));
        let read = |name: &str| files.file(name.to_owned(), 1, &Aside::default()).read(0, 1);
        let open = || {
            let open = files.open.lock();
            assert_eq!(open.by_name.len(), open.by_use.len());
            open.by_use.values().map(|name| name.to_string()).collect::<Vec<_>>()
        };
        for name in ["a", "b", "a", "c", "c"] {
            assert_eq!(read(name).expect("reads"), name.as_bytes());
        }
        assert_eq!(open(), ["a", "c"]);
        files.remove("a").expect("removes");
        assert_eq!(open(), ["c"]);
        assert!(read("a").is_err());
    }
}
