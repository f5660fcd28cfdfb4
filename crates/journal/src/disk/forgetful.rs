//! A disk in memory that forgets everything un-synced when it crashes, and fails on demand.
//!
//! Stricter than a real one: nothing becomes durable by luck unless the crash asks for it, and a handle is dead after a crash.

use super::{Disk, DiskFile, DiskLock};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is on the disk after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// What was synced, and nothing else.
    Synced,
    /// Names and cuts as they were, and half of the bytes appended since the last sync: a torn write.
    HalfOfUnsynced,
    /// Everything, still un-synced: the process was killed, the machine was not (yet).
    Everything,
}

/// A disk in memory; clones are the same disk.
#[derive(Clone, Default)]
pub struct ForgetfulDisk {
    world: Arc<Mutex<World>>,
    gate: Arc<Gate>,
}

/// Where syncs of files wait while [`HeldSyncs`] lives.
#[derive(Default)]
struct Gate {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    closed: bool,
    waiting: usize,
}

/// Keeps every sync of a file waiting until dropped: a slow disk.
pub struct HeldSyncs(Arc<Gate>);

impl HeldSyncs {
    /// Waits until a sync is being held up.
    pub fn wait_for_sync(&self) {
        let mut held = self.0.held.lock();
        self.0.changed.wait_while(&mut held, |held| held.waiting == 0);
    }
}

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        self.0.held.lock().closed = false;
        self.0.changed.notify_all();
    }
}

impl Gate {
    fn pass(&self) {
        let mut held = self.held.lock();
        held.waiting += 1;
        self.changed.notify_all();
        self.changed.wait_while(&mut held, |held| held.closed);
        held.waiting -= 1;
    }
}

#[derive(Default)]
struct World {
    /// Handles of an earlier epoch are dead.
    epoch: u64,
    inodes: Vec<Inode>,
    live: BTreeMap<PathBuf, usize>,
    synced: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    steps: u64,
    syncs: u64,
    power_off_at: Option<u64>,
    off: bool,
    fail_sync_at: Option<u64>,
    capacity: Option<u64>,
    read_only: bool,
}

#[derive(Default, Clone)]
struct Inode {
    live: Vec<u8>,
    synced: Vec<u8>,
}

impl ForgetfulDisk {
    /// Loses power now and comes back: what was not synced is gone, open handles are dead, locks are free, faults are over.
    pub fn crash(&self) {
        self.crash_with(Survives::Synced);
    }

    /// As [`Self::crash`], with luck as `survives` tells.
    pub fn crash_with(&self, survives: Survives) {
        let mut world = self.world.lock();
        let world = &mut *world;
        for inode in &mut world.inodes {
            inode.crash(survives);
        }
        match survives {
            Survives::Synced => world.live = world.synced.clone(),
            Survives::HalfOfUnsynced => world.synced = world.live.clone(),
            Survives::Everything => {}
        }
        world.epoch += 1;
        world.locks.clear();
        (world.off, world.power_off_at, world.fail_sync_at) = (false, None, None);
    }

    /// Loses power at the `step`-th change or sync counted from the creation of the disk (see [`Self::steps`]): that step and all
    /// later calls fail until [`Self::crash`]. Of an append, half is written.
    pub fn power_off_at(&self, step: u64) {
        self.world.lock().power_off_at = Some(step);
    }

    /// Fails the `count`-th sync from now (1 = the next), of a file or a folder; the bytes stay un-synced.
    pub fn fail_sync(&self, count: u64) {
        let mut world = self.world.lock();
        world.fail_sync_at = Some(world.syncs + count);
    }

    /// Limits the disk to `bytes` more than it holds now (`None`: no limit): an append beyond writes what fits and fails with `StorageFull`.
    pub fn limit_free(&self, bytes: Option<u64>) {
        let mut world = self.world.lock();
        world.capacity = bytes.map(|bytes| world.used() + bytes);
    }

    /// Refuses (`true`) or permits every change.
    pub fn set_read_only(&self, read_only: bool) {
        self.world.lock().read_only = read_only;
    }

    /// Holds up every sync of a file until the returned guard is dropped.
    #[must_use]
    pub fn hold_syncs(&self) -> HeldSyncs {
        self.gate.held.lock().closed = true;
        HeldSyncs(Arc::clone(&self.gate))
    }

    /// Changes and syncs so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.world.lock().steps
    }

    /// Syncs so far, of files and folders.
    #[must_use]
    pub fn sync_count(&self) -> u64 {
        self.world.lock().syncs
    }

    /// Edits a file behind everyone's back, durably: bit rot.
    ///
    /// # Panics
    /// When the file is absent.
    pub fn edit(&self, path: impl AsRef<Path>, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world.lock();
        let id = *world.live.get(path.as_ref()).expect("the file to edit exists");
        let inode = &mut world.inodes[id];
        edit(&mut inode.live);
        inode.synced = inode.live.clone();
    }

    /// Returns the bytes of a file, `None` when absent.
    #[must_use]
    pub fn contents(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let world = self.world.lock();
        world.live.get(path.as_ref()).map(|&id| world.inodes[id].live.clone())
    }

    /// A disk with the same bytes and names, all durable, and none of the faults: to try several crashes from one state.
    #[must_use]
    pub fn fork(&self) -> Self {
        let world = self.world.lock();
        let inodes =
            world.inodes.iter().map(|inode| Inode { live: inode.live.clone(), synced: inode.live.clone() });
        let forked = World {
            inodes: inodes.collect(),
            live: world.live.clone(),
            synced: world.live.clone(),
            dirs: world.dirs.clone(),
            ..World::default()
        };
        Self { world: Arc::new(Mutex::new(forked)), gate: Arc::default() }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let world = self.world.lock();
        world.powered()?;
        let id = *world.live.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(id, world.epoch))
    }

    fn handle(&self, id: usize, epoch: u64) -> Box<dyn DiskFile> {
        Box::new(ForgetfulFile { disk: self.clone(), id, epoch })
    }
}

impl Inode {
    fn crash(&mut self, survives: Survives) {
        match survives {
            Survives::Synced => self.live = self.synced.clone(),
            Survives::HalfOfUnsynced => {
                let unsynced = self.live.len().saturating_sub(self.synced.len());
                self.live.truncate(self.live.len() - unsynced / 2);
                self.synced = self.live.clone();
            }
            Survives::Everything => {}
        }
    }
}

impl World {
    fn used(&self) -> u64 {
        self.live.values().map(|&id| self.inodes[id].live.len() as u64).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn powered(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("power is off")) } else { Ok(()) }
    }

    /// Counts a change or sync; fails when the power goes with it.
    fn step(&mut self) -> io::Result<()> {
        self.powered()?;
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.steps += 1;
        self.off = self.power_off_at.is_some_and(|at| self.steps >= at);
        self.powered()
    }

    fn sync_step(&mut self) -> io::Result<()> {
        self.step()?;
        self.syncs += 1;
        if self.fail_sync_at == Some(self.syncs) {
            return Err(io::Error::other("injected sync failure"));
        }
        Ok(())
    }

    fn parent_exists(&self, path: &Path) -> io::Result<()> {
        let exists = path.parent().is_some_and(|parent| self.dirs.contains(parent));
        if exists { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn append(&mut self, id: usize, parts: &[&[u8]]) -> io::Result<()> {
        let powered = self.step();
        if self.read_only {
            return powered;
        }
        let bytes = parts.concat();
        let room = usize::try_from(self.free()).unwrap_or(usize::MAX);
        let fits = if powered.is_err() { bytes.len() / 2 } else { bytes.len() }.min(room);
        self.inodes[id].live.extend_from_slice(&bytes[..fits]);
        powered?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for ForgetfulDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.powered()?;
        if !world.dirs.contains(dir) {
            world.step()?;
            world.dirs.extend(dir.ancestors().map(Path::to_path_buf));
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world.lock();
        world.powered()?;
        if !world.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let in_dir = world.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(in_dir.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world.lock();
        world.step()?;
        world.parent_exists(path)?;
        if world.live.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = world.inodes.len();
        world.inodes.push(Inode::default());
        world.live.insert(path.to_path_buf(), id);
        Ok(self.handle(id, world.epoch))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.world.lock().read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.open(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.step()?;
        world.parent_exists(to)?;
        let id = world.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.live.insert(to.to_path_buf(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.step()?;
        world.live.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.sync_step()?;
        let world = &mut *world;
        world.synced.retain(|path, _| path.parent() != Some(dir));
        let in_dir = world.live.iter().filter(|(path, _)| path.parent() == Some(dir));
        world.synced.extend(in_dir.map(|(path, &id)| (path.clone(), id)));
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let world = self.world.lock();
        world.powered()?;
        Ok(world.free())
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let mut world = self.world.lock();
        world.powered()?;
        if !world.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(DiskLock::new(Unlock { disk: self.clone(), path: path.to_path_buf(), epoch: world.epoch }))
    }
}

struct Unlock {
    disk: ForgetfulDisk,
    path: PathBuf,
    epoch: u64,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        let mut world = self.disk.world.lock();
        if world.epoch == self.epoch {
            world.locks.remove(&self.path);
        }
    }
}

struct ForgetfulFile {
    disk: ForgetfulDisk,
    id: usize,
    epoch: u64,
}

impl ForgetfulFile {
    fn with<T>(&self, act: impl FnOnce(&mut World, usize) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.disk.world.lock();
        if world.epoch != self.epoch {
            return Err(io::Error::other("the disk has crashed since this file was opened"));
        }
        act(&mut world, self.id)
    }
}

impl DiskFile for ForgetfulFile {
    fn append(&self, parts: &[&[u8]]) -> io::Result<()> {
        self.with(|world, id| world.append(id, parts))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|world, id| {
            world.powered()?;
            let bytes = &world.inodes[id].live;
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let read = buffer.len().min(bytes.len() - start);
            buffer[..read].copy_from_slice(&bytes[start..start + read]);
            Ok(read)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|world, id| world.powered().map(|()| world.inodes[id].live.len() as u64))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.with(|world, id| {
            world.step()?;
            world.inodes[id].live.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.gate.pass();
        self.with(|world, id| {
            world.sync_step()?;
            let inode = &mut world.inodes[id];
            inode.synced.clone_from(&inode.live);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        crate::disk::conformance(|| (ForgetfulDisk::default(), PathBuf::from("/data")));
    }

    #[test]
    fn forgets_what_was_not_synced() {
        let disk = ForgetfulDisk::default();
        let (dir, a, b) = (Path::new("/d"), Path::new("/d/a"), Path::new("/d/b"));
        disk.create_dir_all(dir).expect("create");
        let file = disk.create(a).expect("create");
        file.append(&[b"one"]).expect("append");
        file.sync().expect("sync");
        disk.sync_dir(dir).expect("sync");
        file.append(&[b"two!"]).expect("append");
        disk.create(b).expect("create").sync().expect("sync");

        let torn = disk.clone();
        disk.crash();
        assert_eq!((disk.contents(a), disk.contents(b)), (Some(b"one".to_vec()), None));
        assert!(file.append(&[b"x"]).is_err(), "a handle from before the crash is dead");

        let file = torn.open_append(a).expect("open");
        file.append(&[b"two!"]).expect("append");
        torn.crash_with(Survives::HalfOfUnsynced);
        assert_eq!(torn.contents(a), Some(b"onetw".to_vec()));
    }
}
