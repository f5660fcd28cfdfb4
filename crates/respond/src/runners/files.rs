//! Files that other programs read while we write them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Replaces a file: readers see the old text or the new one, never a part. Blocking.
pub(crate) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = beside(path);
    let written = write_synced(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // What is left of it says nothing to anybody.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn write_synced(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".heimdall");
    path.with_file_name(name)
}
