//! One immutable file, read by range.
//!
//! Always true: a read gives exactly the bytes asked for or an error; clones share the file safely, for no position is kept.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use heimdall_journal::disk::{Disk, DiskFile};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::store::StoreError;

/// Positional reads of one open file, counted.
#[derive(Clone)]
pub(crate) struct RangeFile {
    path: Arc<Path>,
    file: Arc<dyn DiskFile>,
    len: u64,
    read: Arc<AtomicU64>,
}

impl RangeFile {
    /// Opens a file that the manifest says is `len` bytes long.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, len: u64) -> Result<RangeFile, StoreError> {
        let io = |source| StoreError::io(path, source);
        let file = disk.open_read(path).map_err(io)?;
        let found = file.len().map_err(io)?;
        if found != len {
            let detail = format!("is {found} bytes long, the manifest says {len}");
            return Err(StoreError::Corrupt { path: path.to_owned(), detail });
        }
        Ok(RangeFile { path: path.into(), file: Arc::from(file), len, read: Arc::default() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes read from it since it was opened.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Fills `buffer` from `offset` on. Errors: `UnexpectedEof` when the file ends before.
    pub(crate) fn read_into(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.file.read_at(buffer, offset)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        if read < buffer.len() {
            let detail = format!("{read} of {} bytes at byte {offset}", buffer.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, detail));
        }
        Ok(())
    }

    /// The `length` bytes at `offset`. Errors: `UnexpectedEof` when the file ends before.
    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; length];
        self.read_into(&mut buffer, offset)?;
        Ok(buffer.into())
    }
}

impl Length for RangeFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for RangeFile {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        // Asked for page headers only, which are far smaller than this.
        const HEADER_BYTES: u64 = 64 << 10;
        let length = HEADER_BYTES.min(self.len.saturating_sub(start));
        Ok(self.get_bytes(start, usize::try_from(length).unwrap_or(0))?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.read(start, length)?)
    }
}
