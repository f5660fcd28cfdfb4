//! The writer thread: takes what is waiting, writes it, syncs it, answers it.
//!
//! Invariants:
//! - one write and one sync for a group; nothing of it is answered as durable before the sync has returned;
//! - a new file carries its header and the key snapshot durably before its first frame;
//! - a write refused for want of space is cut off again, durably, or the journal is latched; any other failure latches it;
//! - `active.bytes` is the durable length of the active file whenever a group begins.
//!
//! Not here: who may append (see `shared`), repair at open (see `open`).

use crate::config::Config;
use crate::disk::DiskFile;
use crate::error::Refusal;
use crate::format::{
    FILE_HEADER_BYTES, FRAME_HEAD_BYTES, FileHeader, FrameHead, KEY_ENTRY_BYTES, KEYS_PER_FRAME, KeyEntry,
    snapshot_bytes,
};
use crate::shared::{FileInfo, Pending, Shared};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The file being written.
pub(crate) struct Active {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) header: FileHeader,
    pub(crate) bytes: u64,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    active: Active,
    next_seq: u64,
    space: Space,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, active: Active, next_seq: u64) -> Self {
        Self { shared, active, next_seq, space: Space::default() }
    }

    /// Serves until the journal is closed and the queue is empty.
    pub(crate) fn run(mut self) {
        let _guard = EndGuard(Arc::clone(&self.shared));
        let mut expected_frames = 1;
        while let Some(group) = self.shared.take_group(expected_frames) {
            expected_frames = group.len();
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Pending>) {
        match self.write(&group) {
            Ok(fsync) => {
                let first_seq = self.next_seq;
                self.next_seq += group.len() as u64;
                self.shared.complete(group, first_seq, self.active.bytes, fsync);
            }
            Err(refusal) => {
                if let Refusal::Latched(reason) = &refusal {
                    tracing::error!(%reason, dir = %self.shared.config.dir.display(), "journal latched");
                }
                self.shared.fail(group, &refusal);
            }
        }
    }

    /// Makes a group durable; returns how long the sync took.
    fn write(&mut self, group: &[Pending]) -> Result<Duration, Refusal> {
        let group_bytes = group.iter().map(Pending::frame_bytes).sum();
        self.space.check(&self.shared, group_bytes)?;
        let frames_bytes = self.active.bytes - self.active.header.data_offset;
        if frames_bytes > 0 && frames_bytes + group_bytes > self.shared.config.file_bytes_max {
            self.rotate()?;
        }
        self.append(group)?;
        self.shared.lock().appended_seq = self.next_seq + group.len() as u64 - 1;
        let started = Instant::now();
        if let Err(error) = self.active.file.sync() {
            // The cache may show a restart what the disk does not hold, and no later sync would say so: cut the group,
            // of which nobody was told. A cut that fails too leaves what the checksums can judge.
            let _ = self.active.file.truncate(self.active.bytes);
            return Err(latch("sync", &error));
        }
        self.active.bytes += group_bytes;
        Ok(started.elapsed())
    }

    fn append(&self, group: &[Pending]) -> Result<(), Refusal> {
        let heads: Vec<_> =
            group.iter().enumerate().map(|(index, pending)| self.head(index, pending)).collect();
        let parts: Vec<&[u8]> = heads
            .iter()
            .zip(group)
            .flat_map(|(head, pending)| [&head[..], &pending.append.payload])
            .collect();
        match self.active.file.append(&parts) {
            Err(error) if is_full(&error) => {
                self.cut_back().map_err(|error| latch("cut back a partial write of", &error))?;
                Err(Refusal::DiskFull)
            }
            written => written.map_err(|error| latch("write", &error)),
        }
    }

    fn head(&self, index: usize, pending: &Pending) -> [u8; FRAME_HEAD_BYTES] {
        let append = &pending.append;
        let head = FrameHead {
            payload_len: u32::try_from(append.payload.len())
                .expect("admission bounds a frame to less than 4 GiB"),
            seq: self.next_seq + index as u64,
            time_ns: append.time_ns,
            rows: append.rows,
            payload_crc: pending.payload_crc,
            key: append.key,
            kind: append.kind,
            snapshot: false,
            group_index: u16::try_from(index).expect("GROUP_FRAMES_MAX fits"),
        };
        head.encode(self.active.header.salt)
    }

    fn cut_back(&self) -> io::Result<()> {
        self.active.file.truncate(self.active.bytes)?;
        self.active.file.sync()
    }

    /// Goes on in a new file. When there is no room for it, nothing has changed.
    fn rotate(&mut self) -> Result<(), Refusal> {
        let draft = match Draft::write(&self.shared, self.next_seq) {
            Err(error) if is_full(&error) => {
                let path = self.shared.path(self.next_seq, "new");
                self.shared.disk.remove(&path).map_err(|error| latch("remove the draft of", &error))?;
                return Err(Refusal::DiskFull);
            }
            written => written.map_err(|error| latch("create", &error))?,
        };
        self.active = draft.publish(&self.shared).map_err(|error| latch("publish", &error))?;
        let file = FileInfo { first_seq: self.next_seq, bytes: self.active.bytes };
        self.shared.lock().files.push_back(file);
        Ok(())
    }
}

/// A file not yet under its name: whatever happens to it, the journal is as it was.
pub(crate) struct Draft {
    file: Box<dyn DiskFile>,
    header: FileHeader,
}

impl Draft {
    /// Writes the beginning of the file whose first frame will be `first_seq`: header, and the keys known now.
    pub(crate) fn write(shared: &Shared, first_seq: u64) -> io::Result<Self> {
        let keys = shared.lock().keys.len();
        let data_offset = FILE_HEADER_BYTES as u64 + snapshot_bytes(keys);
        let header = FileHeader { salt: random_u32(), first_seq, data_offset };
        let file = shared.disk.create(&shared.path(first_seq, "new"))?;
        file.append(&[&header.encode()])?;
        for from in (0..keys).step_by(KEYS_PER_FRAME) {
            let (head, payload) = snapshot_frame(shared, &header, from);
            file.append(&[&head, &payload])?;
        }
        Ok(Self { file, header })
    }

    /// Makes it durable under its name. After an error the name may exist, now or after a crash: no frame may follow elsewhere.
    pub(crate) fn publish(self, shared: &Shared) -> io::Result<Active> {
        let Self { file, header } = self;
        file.sync()?;
        shared.disk.rename(&shared.path(header.first_seq, "new"), &shared.path(header.first_seq, "wal"))?;
        shared.disk.sync_dir(&shared.config.dir)?;
        Ok(Active { file, header, bytes: header.data_offset })
    }
}

/// Only the writer changes the keys, so that the snapshot may be taken frame by frame.
fn snapshot_frame(shared: &Shared, header: &FileHeader, from: usize) -> ([u8; FRAME_HEAD_BYTES], Vec<u8>) {
    let payload: Vec<u8> =
        shared.lock().keys.entries(from, KEYS_PER_FRAME).flat_map(KeyEntry::encode).collect();
    let (payload_len, rows) = (payload.len(), payload.len() / KEY_ENTRY_BYTES);
    let head = FrameHead {
        payload_len: u32::try_from(payload_len).expect("KEYS_PER_FRAME entries are 2.25 MiB"),
        seq: header.first_seq,
        time_ns: 0,
        rows: u32::try_from(rows).expect("at most KEYS_PER_FRAME"),
        payload_crc: crc32c::crc32c(&payload),
        key: None,
        kind: 0,
        snapshot: true,
        group_index: 0,
    };
    (head.encode(header.salt), payload)
}

/// Not predictable by clients, which is all a salt needs.
fn random_u32() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The free space last seen, and how much has been written since.
#[derive(Default)]
struct Space {
    looked_at: Option<Instant>,
    free_bytes: u64,
    written_bytes: u64,
}

impl Space {
    /// Refuses a group that would eat into the reserve; looks at the disk only now and then.
    fn check(&mut self, shared: &Shared, group_bytes: u64) -> Result<(), Refusal> {
        let config = &shared.config;
        let reserve = config.disk_reserve_bytes;
        if self.is_stale(config) || self.left() < reserve.saturating_add(group_bytes) {
            match shared.disk.free_bytes(&config.dir) {
                Ok(free_bytes) => {
                    *self = Self { looked_at: Some(Instant::now()), free_bytes, written_bytes: 0 }
                }
                // Not known: a write without room is still refused by the disk, and cut back.
                Err(error) => {
                    tracing::warn!(%error, dir = %config.dir.display(), "could not look up free disk space");
                    *self = Self { looked_at: Some(Instant::now()), free_bytes: u64::MAX, written_bytes: 0 };
                }
            }
        }
        if self.left() < reserve.saturating_add(group_bytes) {
            return Err(Refusal::DiskFull);
        }
        self.written_bytes += group_bytes;
        Ok(())
    }

    fn left(&self) -> u64 {
        self.free_bytes.saturating_sub(self.written_bytes)
    }

    fn is_stale(&self, config: &Config) -> bool {
        self.written_bytes >= Config::DISK_CHECK_BYTES
            || self.looked_at.is_none_or(|at| at.elapsed() >= config.disk_check_interval)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn latch(action: &str, error: &io::Error) -> Refusal {
    Refusal::Latched(format!("could not {action} the active file: {error}").into())
}

/// Ends the journal with its thread, also by a panic: then whoever waits is answered rather than left waiting.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Vec::new(), &Refusal::writer_died());
        }
        self.0.end();
    }
}
