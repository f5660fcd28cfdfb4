//! Space of file systems and IO of disks.
//!
//! Only file systems on local disks are asked: one on a network can hang for ever, and one that is always full (an image) says nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{float, percent};
use crate::samples::Samples;

/// File systems that can fill up, and answer at once.
const LOCAL: [&str; 14] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "jfs", "ntfs3", "overlay",
    "vfat", "xfs", "zfs",
];
const MOUNTS_MAX: usize = 64;
const DISKS_MAX: usize = 64;
const SECTOR_BYTES: f64 = 512.0;

#[derive(Debug)]
pub(super) struct Disks {
    mounts: PathBuf,
    stats: PathBuf,
    blocks: PathBuf,
}

struct Mount {
    device: String,
    point: String,
    kind: String,
}

impl Disks {
    pub(super) fn new(proc: &Path, sys: &Path) -> Disks {
        Disks {
            mounts: proc.join("self/mountinfo"),
            stats: proc.join("diskstats"),
            blocks: sys.join("block"),
        }
    }

    pub(super) fn measure(&self, out: &mut Samples) {
        self.space(out);
        self.io(out);
    }

    fn space(&self, out: &mut Samples) {
        let text = std::fs::read_to_string(&self.mounts).unwrap_or_default();
        let mut fullest: Option<(f64, String)> = None;
        for mount in mounts(&text) {
            let Ok(stat) = rustix::fs::statvfs(mount.point.as_str()) else { continue };
            let block = float(stat.f_frsize);
            let used = block * float(stat.f_blocks.saturating_sub(stat.f_bfree));
            let available = block * float(stat.f_bavail);
            if used + available <= 0.0 {
                continue;
            }
            let labels = [
                ("system.filesystem.mountpoint", mount.point.as_str()),
                ("system.device", mount.device.as_str()),
                ("system.filesystem.type", mount.kind.as_str()),
            ];
            let share = used / (used + available); // as `df` says it
            out.push("system.filesystem.utilization", share, &labels);
            for (state, bytes) in [("used", used), ("free", available)] {
                let labels = [labels[0], ("system.filesystem.state", state)];
                out.push("system.filesystem.usage", bytes, &labels);
            }
            if stat.f_files > 0 {
                let inodes = percent(float(stat.f_files.saturating_sub(stat.f_ffree)), float(stat.f_files));
                out.push("system.filesystem.inodes.utilization", inodes / 100.0, &labels[..1]);
            }
            if fullest.as_ref().is_none_or(|(most, _)| share > *most) {
                fullest = Some((share, mount.point));
            }
        }
        if let Some((share, point)) = fullest {
            out.push("disk_usage", 100.0 * share, &[("system.filesystem.mountpoint", &point)]);
        }
    }

    fn io(&self, out: &mut Samples) {
        let text = std::fs::read_to_string(&self.stats).unwrap_or_default();
        for (name, n) in
            text.lines().filter_map(disk_line).filter(|(name, _)| self.is_disk(name)).take(DISKS_MAX)
        {
            let directions = [("read", n[0], n[2]), ("write", n[4], n[6])];
            for (direction, operations, sectors) in directions {
                let labels = [("system.device", name), ("disk.io.direction", direction)];
                out.push("system.disk.io_total", sectors * SECTOR_BYTES, &labels);
                out.push("system.disk.operations_total", operations, &labels);
            }
            out.push("system.disk.io_time_total", n[9] / 1_000.0, &[("system.device", name)]);
        }
    }

    /// Whole disks only: partitions would count everything twice; loops and RAM disks are no disks.
    fn is_disk(&self, name: &str) -> bool {
        let is_made_up = ["loop", "ram", "zram", "sr", "fd"].iter().any(|prefix| name.starts_with(prefix));
        !is_made_up && self.blocks.join(name).exists()
    }
}

/// The device and its counters.
fn disk_line(line: &str) -> Option<(&str, Vec<f64>)> {
    let mut words = line.split_whitespace().skip(2);
    let name = words.next()?;
    let numbers: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
    (numbers.len() >= 10).then_some((name, numbers))
}

/// Local file systems, each device once, under its shortest path.
fn mounts(text: &str) -> Vec<Mount> {
    let mut seen = HashSet::new();
    let mut found: Vec<(&str, Mount)> = text.lines().filter_map(mount_line).collect();
    found.sort_by(|a, b| (a.1.point.len(), &a.1.point).cmp(&(b.1.point.len(), &b.1.point)));
    found.retain(|(device, _)| seen.insert(*device));
    found.truncate(MOUNTS_MAX);
    found.into_iter().map(|(_, mount)| mount).collect()
}

/// The device's number and the mount; see proc(5).
fn mount_line(line: &str) -> Option<(&str, Mount)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (device, _root, point) = (left.next()?, left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, source) = (right.next()?, right.next()?);
    // Layers of containers are the host's disk again.
    let is_wanted = LOCAL.contains(&kind) && (kind != "overlay" || point == "/");
    let mount = || Mount { device: source.to_owned(), point: unescape(point), kind: kind.to_owned() };
    is_wanted.then(|| (device, mount()))
}

/// `\040` is a space, and so on.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_file_systems_count_once_and_their_names_are_read() {
        let text = "36 35 98:0 / /data\\040disk rw - ext4 /dev/sdb rw\n\
            37 35 98:0 /sub /data/longer/path rw - ext4 /dev/sdb rw\n\
            38 35 0:5 / /proc rw - proc proc rw\n\
            39 35 0:6 / /nfs rw - nfs4 server:/x rw\n\
            40 35 0:7 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n";
        let found: Vec<_> = mounts(text).into_iter().map(|mount| (mount.device, mount.point)).collect();
        assert_eq!(found, [("/dev/sdb".to_owned(), "/data disk".to_owned())]);
    }

    #[test]
    fn a_disk_line_is_read_to_its_counters() {
        let line = "   8       0 sda 100 1 2000 5 50 1 800 7 0 40 12";
        let (name, n) = disk_line(line).unwrap();
        assert_eq!((name, n[0], n[2], n[4], n[6], n[9]), ("sda", 100.0, 2_000.0, 50.0, 800.0, 40.0));
        assert_eq!(disk_line("8 0 sda 1"), None);
    }
}
