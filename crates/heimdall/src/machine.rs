//! The machine as the status shows it: processors, memory and disk in use, and the vitals that outlive a restart.
//!
//! Where a number cannot be read, as outside Linux, it is absent.

use std::path::PathBuf;
use std::sync::Arc;

use heimdall_api::desk::{DiskSpace, Machine, Saturation};
use heimdall_metastore::{Document, Metastore, MetastoreError, PAGE_ROWS_MAX};
use heimdall_model::{Tenant, Timestamp};
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::rulebook;

/// Documents of the vitals, one an hour.
const VITALS_KIND: &str = "vitals";

/// Ticks of processors since the machine and this process started.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    all: u64,
    idle: u64,
    own: u64,
}

/// This machine.
pub(crate) struct Host {
    data_dir: PathBuf,
    store: Arc<dyn Metastore>,
    /// Free space below which records are refused, and old segments leave the folder.
    refuse_below_bytes: u64,
    shed_below_bytes: u64,
    before: Mutex<Option<Ticks>>,
}

impl Host {
    pub(crate) fn new(
        data_dir: PathBuf,
        store: Arc<dyn Metastore>,
        refuse_below_bytes: u64,
        shed_below_bytes: u64,
    ) -> Host {
        Host { data_dir, store, refuse_below_bytes, shed_below_bytes, before: Mutex::new(None) }
    }
}

/// Raises the soft limit of open files to 65,536, or what of it the hard one allows; returns how many of them are the store's: a quarter.
pub(crate) fn raise_open_files() -> usize {
    /// More would burden the programs that playbooks run: some close, one by one, as many files as there may be.
    const FILES_WANTED: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES_WANTED, |hard| hard.min(FILES_WANTED));
    if limit.current.is_some_and(|soft| soft < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(wanted).min(FILES_WANTED) / 4;
    usize::try_from(files).map_or(usize::MAX, |files| files.max(64))
}

impl Machine for Host {
    fn saturation(&self) -> Saturation {
        let now = ticks();
        let before = std::mem::replace(&mut *self.before.lock(), now);
        let (cpu, cpu_own) = before.zip(now).and_then(|(before, now)| processors(before, now)).unzip();
        let memory = memory();
        let disk = self.disk();
        Saturation {
            cpu,
            cpu_own,
            memory: memory.map(|memory| share(memory.used, memory.total)),
            memory_own: memory.map(|memory| share(memory.own, memory.total)),
            disk: disk
                .filter(|disk| disk.total_bytes > 0)
                .map(|disk| share(disk.total_bytes.saturating_sub(disk.free_bytes), disk.total_bytes)),
        }
    }

    fn disk(&self) -> Option<DiskSpace> {
        let found = rustix::fs::statvfs(&self.data_dir).ok()?;
        Some(DiskSpace {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
            refuse_below_bytes: self.refuse_below_bytes,
            shed_below_bytes: self.shed_below_bytes,
        })
    }

    fn vitals(&self) -> Result<Vec<String>, MetastoreError> {
        let documents = rulebook::all(self.store.as_ref(), VITALS_KIND)?;
        Ok(documents.into_iter().map(|document| document.body).collect())
    }

    fn keep_vitals(
        &self,
        hour: Timestamp,
        document: &str,
        forget_before: Timestamp,
    ) -> Result<(), MetastoreError> {
        let document = Document {
            id: hour.0.to_string(),
            tenant: Tenant::default(),
            at: hour,
            state: String::new(),
            key: String::new(),
            body: document.to_owned(),
        };
        self.store.documents().put(VITALS_KIND, &[document])?;
        self.store.documents().delete_before(VITALS_KIND, &[], forget_before, PAGE_ROWS_MAX).map(|_| ())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64).clamp(0.0, 1.0)
}

/// Shares of the processors in use between two looks: by all, and by this process.
fn processors(before: Ticks, now: Ticks) -> Option<(f64, f64)> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    let idle = now.idle.saturating_sub(before.idle).min(all);
    Some((share(all - idle, all), share(now.own.saturating_sub(before.own), all)))
}

fn ticks() -> Option<Ticks> {
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    ticks_of(&machine, &own)
}

fn ticks_of(machine: &str, own: &str) -> Option<Ticks> {
    let line = machine.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guest time is within user time.
    let numbers: Vec<u64> = line.split_whitespace().take(8).filter_map(|n| n.parse().ok()).collect();
    // The name of the program, in parentheses, may hold spaces.
    let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Some(Ticks {
        all: numbers.iter().sum(),
        idle: numbers.get(3)? + numbers.get(4).copied().unwrap_or(0),
        own: number(11)? + number(12)?,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    total: u64,
    used: u64,
    own: u64,
}

/// Memory of the machine, or of the container where it has less.
fn memory() -> Option<Memory> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok()?;
    let own = std::fs::read_to_string("/proc/self/status").ok()?;
    let group = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let found = memory_of(&machine, &own)?;
    match group("memory.max").zip(group("memory.current")) {
        Some((total, used)) if total < found.total => Some(Memory { total, used, own: found.own }),
        _ => Some(found),
    }
}

fn memory_of(machine: &str, own: &str) -> Option<Memory> {
    let bytes = |text: &str, name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = rest.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    let total = bytes(machine, "MemTotal")?;
    let free = bytes(machine, "MemAvailable")?;
    Some(Memory { total, used: total.saturating_sub(free), own: bytes(own, "VmRSS")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_files_are_read() {
        let own = "4242 (a (b) c) S 1 1 1 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 1 0 5 1 1";
        let at = |user: u64, idle: u64| format!("cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\n");
        let before = ticks_of(&at(100, 900), own).expect("ticks");
        let now = ticks_of(&at(400, 1_600), &own.replace(" 70 30 ", " 150 50 ")).expect("ticks");
        assert_eq!(processors(before, now), Some((0.3, 0.1)));
        assert_eq!(processors(now, now), None);
        let machine = "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    400 kB\n";
        let found = memory_of(machine, "Name:\tx\nVmRSS:\t     100 kB\n");
        assert_eq!(found, Some(Memory { total: 1_024_000, used: 614_400, own: 102_400 }));
    }
}
