//! The file system as a port: what the journal and the store need of a disk, and nothing more.
//!
//! Always true of every implementation (checked by `conformance`, under the feature `testing`):
//! - bytes of a file are durable after [`DiskFile::sync`]; a created, renamed or removed name after [`Disk::sync_dir`] of its folder;
//! - [`Disk::create_dir_all`] is durable on return;
//! - a full disk answers [`std::io::ErrorKind::StorageFull`], a read-only one `ReadOnlyFilesystem` or `PermissionDenied`.
//!
//! Not here: retries, caching, metrics.

use std::io;
use std::path::Path;

#[cfg(any(test, feature = "testing"))]
mod conformance;
#[cfg(any(test, feature = "testing"))]
mod forgetful;
mod os;

#[cfg(any(test, feature = "testing"))]
pub use conformance::conformance;
#[cfg(any(test, feature = "testing"))]
pub use forgetful::{ForgetfulDisk, HeldSyncs, Survives};
pub use os::OsDisk;

/// A place for files. Paths are used as given; calls block.
pub trait Disk: Send + Sync + 'static {
    /// Creates `dir` and its parents where absent, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Returns the names of the files (not the folders) in `dir`, sorted. Names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates an empty file for appending and reading. Errors: `AlreadyExists`.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for appending and reading. Errors: `NotFound`.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading only. Errors: `NotFound`.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// As [`Disk::open_read`], for whoever reads here and there: the system is not to read ahead.
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_read(path)
    }

    /// Renames a file, replacing `to`. An open handle follows the file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; removing what is absent is `Ok`. An open handle can still be read.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Returns the bytes an unprivileged process may still write on the file system that holds `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Takes the advisory lock on `path` (created when absent) until the guard is dropped or the process ends.
    /// Errors: `WouldBlock` when another holds it.
    fn lock(&self, path: &Path) -> io::Result<DiskLock>;
}

/// An open file: written at its end only, read anywhere.
pub trait DiskFile: Send + Sync {
    /// Appends `parts` one after the other. After an error any prefix of them may have been written.
    fn append(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Reads from `offset` until `buffer` is full or the file ends; returns the bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Says that `length` bytes from `offset` on will be read soon, so that the system may fetch them meanwhile.
    fn will_read(&self, offset: u64, length: usize) {
        let _ = (offset, length);
    }

    /// Returns the length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Returns whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file to `len` bytes; the next append continues there. Durable after [`Self::sync`].
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes all bytes and the length durable. After an error nothing is known about un-synced bytes: do not try again.
    fn sync(&self) -> io::Result<()>;
}

/// Held while a path is locked; dropping it gives the lock back.
pub struct DiskLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl DiskLock {
    /// Wraps whatever gives the lock back when dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Box::new(guard))
    }
}
