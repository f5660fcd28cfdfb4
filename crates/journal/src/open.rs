//! Opening: what is on disk becomes the state of a running journal, or a reason why not.
//!
//! Always true afterwards: everything in the active file is valid and durable; no draft is left; files wholly before the consumer's position are gone.
//!
//! Not here: verification of the older files, which the reader does as it replays them.

use crate::config::Config;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::format::KeyEntry;
use crate::keys::KeyTable;
use crate::scan::{FileReader, Step};
use crate::shared::{FileInfo, Shared};
use crate::telemetry;
use crate::writer::{Active, Draft, Writer};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn open(
    config: Config,
    disk: Arc<dyn Disk>,
    from_seq: u64,
) -> Result<(Arc<Shared>, Writer), JournalError> {
    config.check()?;
    let dir = &config.dir;
    disk.create_dir_all(dir).map_err(JournalError::io("create", dir))?;
    let lock = disk.lock(&dir.join("LOCK")).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => JournalError::InUse { dir: dir.clone() },
        _ => JournalError::io("lock", dir)(source),
    })?;
    remove_drafts(&*disk, dir)?;
    check_writable(&*disk, dir)?;

    let mut files = list(&*disk, dir)?;
    let mut keys = KeyTable::new(config.key_window, config.keys_max);
    let recovered = match files.back_mut() {
        Some(active) => Some(recover(&*disk, dir, active, &mut keys)?),
        None => None,
    };
    let next_seq = recovered.as_ref().map_or(from_seq, |(_, next_seq)| *next_seq);
    check_position(&files, from_seq, next_seq)?;

    let shared = Arc::new(Shared::new(config, disk, lock, files, keys, next_seq - 1, from_seq - 1));
    let active = match recovered {
        Some((active, _)) => active,
        None => begin(&shared, next_seq)?,
    };
    while let Some(file) = shared.releasable(from_seq) {
        shared.delete(file.first_seq)?;
        shared.lock().files.pop_front();
    }
    let writer = Writer::new(Arc::clone(&shared), active, next_seq);
    Ok((shared, writer))
}

fn remove_drafts(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    let names = disk.list(dir).map_err(JournalError::io("list", dir))?;
    for name in names.iter().filter(|name| name.ends_with(".new")) {
        let path = dir.join(name);
        disk.remove(&path).map_err(JournalError::io("delete", &path))?;
    }
    Ok(())
}

/// Finds out now rather than at the first rotation that the directory cannot be written.
fn check_writable(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    let probe = dir.join("probe.new");
    disk.create(&probe).map_err(JournalError::io("create a file in", dir))?;
    disk.remove(&probe).map_err(JournalError::io("delete", &probe))
}

pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<VecDeque<FileInfo>, JournalError> {
    let names = disk.list(dir).map_err(JournalError::io("list", dir))?;
    let mut files = VecDeque::new();
    for name in names {
        let Some(first_seq) = name.strip_suffix(".wal").filter(|digits| digits.len() == 20) else { continue };
        let Ok(first_seq) = first_seq.parse() else { continue };
        let path = dir.join(&name);
        let file = disk.open_read(&path).map_err(JournalError::io("open", &path))?;
        let bytes = file.len().map_err(JournalError::io("read the length of", &path))?;
        files.push_back(FileInfo { first_seq, bytes });
    }
    Ok(files)
}

/// Reads the newest file: its keys, its frames, and where a crash has torn it.
fn recover(
    disk: &dyn Disk,
    dir: &Path,
    info: &mut FileInfo,
    keys: &mut KeyTable,
) -> Result<(Active, u64), JournalError> {
    let path = dir.join(format!("{:020}.wal", info.first_seq));
    let mut reader = FileReader::open(disk, path.clone(), info.first_seq, info.bytes)?;
    reader.keys(|entry| keys.insert(entry))?;
    let file = disk.open_append(&path).map_err(JournalError::io("open", &path))?;
    loop {
        match reader.next(info.bytes)? {
            Step::Frame(head, _) => {
                if let Some(key) = head.key {
                    keys.insert(KeyEntry { key, seq: head.seq, rows: head.rows, time_ns: head.time_ns });
                }
            }
            Step::End => break,
            Step::Damaged(detail) if reader.was_durable(info.bytes)? => return Err(reader.corrupt(detail)),
            Step::Damaged(detail) => {
                let torn = info.bytes - reader.offset();
                tracing::error!(file = %path.display(), offset = reader.offset(), bytes = torn, detail, "journal had a torn tail; cut off");
                telemetry::torn(torn);
                info.bytes = reader.offset();
                file.truncate(info.bytes).map_err(JournalError::io("cut the torn tail of", &path))?;
                break;
            }
        }
    }
    // What was written but not synced before a kill is valid here, and must not be delivered before it is durable.
    file.sync().map_err(JournalError::io("sync", &path))?;
    disk.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
    Ok((Active { file, header: reader.header(), bytes: info.bytes }, reader.next_seq()))
}

fn check_position(files: &VecDeque<FileInfo>, from_seq: u64, next_seq: u64) -> Result<(), JournalError> {
    let first_seq = files.front().map_or(next_seq, |file| file.first_seq);
    if from_seq < first_seq {
        return Err(JournalError::Released { from_seq, first_seq });
    }
    if from_seq > next_seq {
        return Err(JournalError::Ahead { from_seq, next_seq });
    }
    Ok(())
}

/// Creates the very first file.
fn begin(shared: &Shared, first_seq: u64) -> Result<Active, JournalError> {
    let active = Draft::write(shared, first_seq).and_then(|draft| draft.publish(shared));
    let active = active.map_err(JournalError::io("create a file in", &shared.config.dir))?;
    shared.lock().files.push_back(FileInfo { first_seq, bytes: active.bytes });
    Ok(active)
}
