//! The manifest: which segments are live, and which journal frames they cover. Format: docs/formats/manifest.md.
//!
//! Invariants:
//! - a manifest is a whole new file: written, synced, renamed into place, folder synced; that is the only commit point;
//! - `journal_seq` is the last frame whose every row is in a live segment (or was dropped by retention);
//! - the numbers of an attempt that failed are not used again: it may be what a restart finds;
//! - the highest readable number wins; a damaged newest manifest is an error, never a silent step back.

use std::path::{Path, PathBuf};

use heimdall_journal::disk::Disk;
use heimdall_model::Tenant;
use serde::{Deserialize, Serialize};

use crate::segment::{SegmentMeta, read_whole, write_whole};
use crate::store::StoreError;

const VERSION: u32 = 3;
/// Oldest version that is read: it knows no cold tier, and what is new has a default.
const VERSION_MIN: u32 = 2;
/// Manifests kept besides the current one, for a person to look at.
const KEPT: u64 = 1;

/// A file the manifest names, with its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedFile {
    pub file: String,
    pub crc32c: u32,
}

/// The template catalog of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CatalogFile {
    pub tenant: Tenant,
    #[serde(flatten)]
    pub file: NamedFile,
}

/// What is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub version: u32,
    pub number: u64,
    pub journal_seq: u64,
    pub next_segment_id: u64,
    pub catalogs: Vec<CatalogFile>,
    /// Detector state as of `journal_seq`.
    pub judgement: Option<NamedFile>,
    /// The name by which this store is known in its cold tier, once it has used one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_owner: Option<String>,
    // Last, so that it can be written a line each.
    pub segments: Vec<SegmentMeta>,
}

impl Default for Manifest {
    fn default() -> Self {
        Manifest {
            version: VERSION,
            number: 0,
            journal_seq: 0,
            next_segment_id: 1,
            segments: Vec::new(),
            catalogs: Vec::new(),
            judgement: None,
            cold_owner: None,
        }
    }
}

fn path_of(root: &Path, number: u64) -> PathBuf {
    root.join(format!("manifest-{number:012}.json"))
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("manifest-")?.strip_suffix(".json")?.parse().ok()
}

impl Manifest {
    /// Reads the newest manifest in `root`; the default one where there is none.
    pub(crate) fn load(disk: &dyn Disk, root: &Path) -> Result<Manifest, StoreError> {
        let names = disk.list(root).map_err(|source| StoreError::io(root, source))?;
        let Some(number) = names.iter().filter_map(|name| number_of(name)).max() else {
            return Ok(Manifest::default());
        };
        let path = path_of(root, number);
        let bytes = read_whole(disk, &path)?;
        let corrupt = |detail: String| StoreError::Corrupt { path: path.clone(), detail };
        let text = std::str::from_utf8(&bytes).map_err(|_| corrupt("is not UTF-8".to_owned()))?;
        let (body, crc) =
            text.trim_end().rsplit_once('\n').ok_or_else(|| corrupt("has no checksum line".to_owned()))?;
        if crc != checksum_line(body) {
            return Err(corrupt("checksum differs".to_owned()));
        }
        let mut manifest: Manifest =
            serde_json::from_str(body).map_err(|error| corrupt(error.to_string()))?;
        if !(VERSION_MIN..=VERSION).contains(&manifest.version) {
            let read = format!("{VERSION_MIN} to {VERSION}");
            return Err(corrupt(format!("has version {}, this program reads {read}", manifest.version)));
        }
        if manifest.number != number {
            return Err(corrupt(format!("is manifest {}", manifest.number)));
        }
        manifest.version = VERSION;
        Ok(manifest)
    }

    /// Where it is, in `root`.
    pub(crate) fn path(&self, root: &Path) -> PathBuf {
        path_of(root, self.number)
    }

    /// Makes this the manifest of `root`. On return it is durable.
    pub(crate) fn commit(&self, disk: &dyn Disk, root: &Path) -> Result<(), StoreError> {
        let body = self.to_json().map_err(|error| StoreError::Encode { detail: error.to_string() })?;
        let text = format!("{body}\n{}\n", checksum_line(&body));
        let new = root.join("manifest.new");
        let path = path_of(root, self.number);
        write_whole(disk, &new, text.as_bytes())?;
        disk.rename(&new, &path).map_err(|source| StoreError::io(&path, source))?;
        disk.sync_dir(root).map_err(|source| StoreError::io(root, source))
    }

    /// The manifest as JSON, a line per segment: for `grep` and `jq` alike.
    fn to_json(&self) -> serde_json::Result<String> {
        const SEGMENT_BYTES: usize = 400;
        let mut json = String::with_capacity(1024 + self.segments.len() * SEGMENT_BYTES);
        let head = Manifest {
            segments: Vec::new(),
            catalogs: self.catalogs.clone(),
            judgement: self.judgement.clone(),
            cold_owner: self.cold_owner.clone(),
            ..*self
        };
        let head = serde_json::to_string(&head)?;
        json.push_str(head.strip_suffix("]}").expect("an object that ends with an empty list"));
        for (index, segment) in self.segments.iter().enumerate() {
            json.push_str(if index == 0 { "\n" } else { ",\n" });
            json.push_str(&serde_json::to_string(segment)?);
        }
        json.push_str("\n]}");
        Ok(json)
    }

    /// Gives up the number of an attempt that failed: it may have become visible, so no file of it is written again.
    pub(crate) fn burn(&mut self, attempt: &Manifest) {
        self.number = attempt.number;
    }

    /// Removes manifests older than the kept ones.
    pub(crate) fn forget_older(&self, disk: &dyn Disk, root: &Path) -> Result<(), StoreError> {
        let names = disk.list(root).map_err(|source| StoreError::io(root, source))?;
        for number in names.iter().filter_map(|name| number_of(name)) {
            if number + KEPT < self.number {
                let path = path_of(root, number);
                disk.remove(&path).map_err(|source| StoreError::io(&path, source))?;
            }
        }
        Ok(())
    }

    /// Names of the files in the folder, besides manifests, that the manifest refers to.
    pub(crate) fn files(&self) -> impl Iterator<Item = String> {
        let segments = self.segments.iter().flat_map(SegmentMeta::local_files);
        segments.chain(self.named_files().map(|file| file.file.clone()))
    }

    /// Files it refers to that are not of a segment.
    pub(crate) fn named_files(&self) -> impl Iterator<Item = &NamedFile> {
        self.catalogs.iter().map(|catalog| &catalog.file).chain(&self.judgement)
    }
}

fn checksum_line(body: &str) -> String {
    format!("crc32c {:08x}", crc32c::crc32c(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heimdall_journal::disk::ForgetfulDisk;

    #[test]
    fn ten_thousand_segments_round_trip() {
        let segments = (0..10_000).map(SegmentMeta::sample).collect();
        let manifest = Manifest { number: 7, next_segment_id: 10_001, segments, ..Manifest::default() };
        let (disk, root) = (ForgetfulDisk::default(), Path::new("/data"));
        disk.create_dir_all(root).expect("creates");
        manifest.commit(&disk, root).expect("commits");
        assert_eq!(Manifest::load(&disk, root).expect("loads"), manifest);
    }
}
