//! Reads every byte of every file that the manifest of a store names, and says which are not what they should be.
//!
//! Invariants:
//! - nothing is changed: what is damaged stays as it is found, and a store that does not open can be looked at;
//! - damage of one file hides no other: every file is looked at, as far as what is read before it tells of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use heimdall_journal::disk::Disk;
use parquet::file::reader::Length;

use crate::cold::Cold;
use crate::files::{Files, RangeFile, Room};
use crate::manifest::Manifest;
use crate::segment::{Place, Segment};
use crate::store::{StoreError, read_named};
use crate::template::Miner;

/// Bytes read at a time.
const READ_BYTES: u64 = 1 << 20;

/// A file that was looked at.
#[derive(Debug)]
pub struct VerifiedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes read of it.
    pub bytes: u64,
    /// What is wrong with it, and where.
    pub damage: Option<StoreError>,
}

/// Hands every file of the store in `root` to `each`. Blocks while it reads; of a segment in the cold tier, all of its object
/// but the end that is in the folder is read.
///
/// # Errors
/// The folder cannot be listed, or there is nothing to read the cold tier with.
pub fn verify(
    disk: Arc<dyn Disk>,
    root: &Path,
    cold: Option<Cold>,
    each: &mut dyn FnMut(VerifiedFile),
) -> Result<(), StoreError> {
    let manifest = match Manifest::load(disk.as_ref(), root) {
        Ok(manifest) => manifest,
        Err(error @ StoreError::Corrupt { .. }) => {
            each(VerifiedFile { path: path_of(&error, root), bytes: 0, damage: Some(error) });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if manifest.number > 0 {
        let path = manifest.path(root);
        let bytes = disk.open_read(&path).and_then(|file| file.len());
        let bytes = bytes.map_err(|source| StoreError::io(&path, source))?;
        each(VerifiedFile { path, bytes, damage: None });
    }
    let is_cold = |place| place == Place::Cold;
    if cold.is_none() && manifest.segments.iter().any(|meta| is_cold(meta.place)) {
        return Err(StoreError::Cold {
            url: String::new(),
            detail: "segments are in it, and it is not configured".to_owned(),
        });
    }
    for file in manifest.named_files() {
        let read = read_named(disk.as_ref(), root, file);
        let bytes = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let is_catalog = manifest.catalogs.iter().any(|catalog| catalog.file == *file);
        let path = root.join(&file.file);
        let decoded = read.and_then(|bytes| match is_catalog.then(|| Miner::decode(&bytes)) {
            Some(Err(error)) => Err(StoreError::Corrupt { path: path.clone(), detail: error.to_string() }),
            _ => Ok(()),
        });
        each(VerifiedFile { path, bytes, damage: decoded.err() });
    }
    // Blocks are read once: none is worth keeping.
    let files =
        Arc::new(Files::new(disk, root, cold, Room { sidecar_bytes: 0, footer_bytes: 0, open_files: 2 }));
    for meta in manifest.segments {
        Segment::new(&files, meta).verify(each);
    }
    Ok(())
}

fn path_of(error: &StoreError, root: &Path) -> PathBuf {
    match error {
        StoreError::Corrupt { path, .. } | StoreError::Io { path, .. } => path.clone(),
        _ => root.to_owned(),
    }
}

impl Segment {
    /// Hands both files to `each`. The sidecar comes first: it tells where in the other one damage is.
    fn verify(&self, each: &mut dyn FnMut(VerifiedFile)) {
        let sidecar = self.sidecar();
        let damage = whole(sidecar.file(), self.meta.sidecar_crc32c).map_err(|error| match error {
            StoreError::Corrupt { .. } => sidecar.first_damage().err().unwrap_or(error),
            other => other,
        });
        each(VerifiedFile {
            path: sidecar.file().path(),
            bytes: self.meta.sidecar_bytes,
            damage: damage.err(),
        });
        let damage = self.verify_rows();
        each(VerifiedFile { path: self.path(), bytes: self.meta.bytes, damage: damage.err() });
    }

    fn verify_rows(&self) -> Result<(), StoreError> {
        let Ok(checked) = self.checked() else { return whole(self.parquet(), self.meta.crc32c) };
        let (mut buffer, mut at, mut crc) = (BytesMut::new(), 0, 0);
        while at < self.meta.bytes {
            let length = READ_BYTES.min(self.meta.bytes - at);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (from, bytes) =
                checked.read_whole_chunks(buffer, at, length).map_err(|error| self.failed(&error))?;
            debug_assert_eq!(from, at, "a multiple of a chunk");
            crc = crc32c::crc32c_append(crc, &bytes);
            at += bytes.len() as u64;
            buffer = bytes.try_into_mut().unwrap_or_default();
        }
        if crc != self.meta.crc32c {
            return Err(self.failed(&"at byte 0: the checksum of the whole differs from the manifest's"));
        }
        self.footer().map(|_| ())
    }
}

/// The checksum of a whole file is what the manifest says.
fn whole(file: &RangeFile, expected: u32) -> Result<(), StoreError> {
    let (mut at, mut crc) = (0, 0);
    while at < file.len() {
        let length = usize::try_from(READ_BYTES.min(file.len() - at)).unwrap_or(usize::MAX);
        let bytes = file.read(at, length).map_err(|error| file.failed(at, error))?;
        crc = crc32c::crc32c_append(crc, &bytes);
        at += length as u64;
    }
    if crc == expected {
        return Ok(());
    }
    Err(file.corrupt(&"at byte 0: the checksum of the whole differs from the manifest's"))
}
