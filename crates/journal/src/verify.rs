//! Reads every byte of the files of a journal that nobody has open.
//!
//! Always true: nothing is changed; damage of one file hides no other.

use crate::disk::Disk;
use crate::error::JournalError;
use crate::open::list;
use crate::scan::{FileReader, Step};
use crate::shared::FileInfo;
use std::path::{Path, PathBuf};

/// A file that was looked at.
#[derive(Debug)]
pub struct VerifiedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of it.
    pub bytes: u64,
    /// Number of its last whole frame, if it has any.
    pub last_seq: Option<u64>,
    /// Bytes at its end that a crash left unfinished, before they were acknowledged: the next start cuts them off.
    pub torn_bytes: u64,
    /// What is wrong with it, and where.
    pub damage: Option<JournalError>,
}

/// Looks at the files of the journal in `dir`, oldest first; there are none where there is no such folder.
///
/// # Errors
/// The folder cannot be listed.
pub fn verify(disk: &dyn Disk, dir: &Path, each: &mut dyn FnMut(VerifiedFile)) -> Result<(), JournalError> {
    let files = match list(disk, dir) {
        Err(JournalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(());
        }
        other => other?,
    };
    let newest = files.back().map(|file| file.first_seq);
    for file in files {
        let path = dir.join(format!("{:020}.wal", file.first_seq));
        let (mut last_seq, mut torn_bytes) = (None, 0);
        let is_newest = newest == Some(file.first_seq);
        let read = read(disk, path.clone(), &file, is_newest, &mut last_seq, &mut torn_bytes);
        each(VerifiedFile { path, bytes: file.bytes, last_seq, torn_bytes, damage: read.err() });
    }
    Ok(())
}

fn read(
    disk: &dyn Disk,
    path: PathBuf,
    file: &FileInfo,
    is_newest: bool,
    last_seq: &mut Option<u64>,
    torn_bytes: &mut u64,
) -> Result<(), JournalError> {
    let mut reader = FileReader::open(disk, path, file.first_seq, file.bytes)?;
    reader.keys(|_| {})?;
    loop {
        match reader.next(file.bytes)? {
            Step::Frame(head, _) => *last_seq = Some(head.seq),
            Step::End => return Ok(()),
            // As at a start: see `open`.
            Step::Damaged(_) if is_newest && !reader.was_durable(file.bytes)? => {
                *torn_bytes = file.bytes - reader.offset();
                return Ok(());
            }
            Step::Damaged(detail) => return Err(reader.corrupt(detail)),
        }
    }
}
