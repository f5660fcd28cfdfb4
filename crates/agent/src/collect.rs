//! What the host says of itself, read straight from `/proc` and `/sys`.
//!
//! Names follow OpenTelemetry's conventions for systems where there is one; `cpu_usage`, `memory_usage`, `swap_usage` and
//! `disk_usage` (percent, one series a host) are what detectors bound. Counters end in `_total`, as everywhere here.
//!
//! Invariants:
//! - what a host does not have (swap, PSI, sensors) gives no sample, and no error;
//! - a share of time is between two measurements: the first one has none;
//! - lists (mounts, disks, interfaces, sensors, processes) are bounded; network file systems are not asked, for they can hang.
//!
//! Blocks for about a millisecond, longer with thousands of processes: run it off the async threads.

mod disk;
mod process;
mod sensors;

use std::path::{Path, PathBuf};

use crate::config::MonitorConfig;
use crate::samples::Samples;

use self::disk::Disks;
use self::process::Processes;

/// Clock ticks in a second, as `/proc` counts: the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// Network interfaces told apart; veth pairs of containers are left out.
const INTERFACES_MAX: usize = 64;
/// Cores told apart.
const CORES_MAX: usize = 1_024;
/// Columns of a CPU line, in order.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
/// Those that are no work.
const IDLE: [usize; 2] = [3, 4];

/// Measures the host.
#[derive(Debug)]
pub struct Collector {
    proc: PathBuf,
    config: MonitorConfig,
    cpu: Option<Times>,
    cores: Vec<Times>,
    disks: Disks,
    processes: Processes,
    sensors: sensors::Sensors,
}

/// Ticks by mode.
type Times = [u64; MODES.len()];

impl Collector {
    /// A collector of this host.
    #[must_use]
    pub fn new(config: &MonitorConfig) -> Collector {
        Collector::at(Path::new("/proc"), Path::new("/sys"), config)
    }

    /// A collector of what lies in these folders.
    #[must_use]
    pub fn at(proc: &Path, sys: &Path, config: &MonitorConfig) -> Collector {
        Collector {
            proc: proc.to_owned(),
            config: config.clone(),
            cpu: None,
            cores: Vec::new(),
            disks: Disks::new(proc, sys),
            processes: Processes::new(proc, config.top_processes),
            sensors: sensors::Sensors::new(sys),
        }
    }

    /// Adds everything the host says now.
    pub fn measure(&mut self, out: &mut Samples) {
        self.cpu(out);
        self.memory(out);
        self.load(out);
        self.pressure(out);
        self.uptime_and_files(out);
        self.sensors.measure(out);
        if self.config.enable_network_monitoring {
            self.network(out);
        }
        if self.config.enable_disk_monitoring {
            self.disks.measure(out);
        }
        if self.config.enable_process_monitoring {
            self.processes.measure(out);
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.proc.join(name)).unwrap_or_default()
    }

    fn cpu(&mut self, out: &mut Samples) {
        let stat = self.read("stat");
        let mut cores = Vec::new();
        for (name, times) in stat.lines().map_while(cpu_line).take(CORES_MAX + 1) {
            match name.strip_prefix("cpu") {
                Some("") => self.whole_cpu(times, out),
                Some(number) if self.config.per_core => {
                    let before = self.cores.get(cores.len());
                    if let Some(busy) = before.and_then(|before| busy(before, &times)) {
                        out.push("system.cpu.utilization", busy, &[("cpu.logical_number", number)]);
                    }
                    cores.push(times);
                }
                _ => {}
            }
        }
        self.cores = cores;
    }

    fn whole_cpu(&mut self, times: Times, out: &mut Samples) {
        if let Some(busy) = self.cpu.as_ref().and_then(|before| busy(before, &times)) {
            out.push("cpu_usage", 100.0 * busy, &[]);
        }
        for (mode, ticks) in MODES.iter().zip(times) {
            out.push("system.cpu.time_total", float(ticks) / TICKS_PER_SECOND, &[("cpu.mode", mode)]);
        }
        self.cpu = Some(times);
    }

    fn memory(&self, out: &mut Samples) {
        let info = self.read("meminfo");
        let kib = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib * 1_024.0)
        };
        let (Some(total), Some(free)) = (kib("MemTotal"), kib("MemFree")) else { return };
        let (buffers, cached) = (kib("Buffers").unwrap_or(0.0), kib("Cached").unwrap_or(0.0));
        let available = kib("MemAvailable").unwrap_or(free + buffers + cached);
        out.push("memory_usage", percent(total - available, total), &[]);
        let states = [("used", total - available), ("free", free), ("buffers", buffers), ("cached", cached)];
        for (state, bytes) in states {
            out.push("system.memory.usage", bytes, &[("system.memory.state", state)]);
        }
        out.push("system.memory.limit", total, &[]);
        if let (Some(swap), Some(free)) = (kib("SwapTotal").filter(|bytes| *bytes > 0.0), kib("SwapFree")) {
            out.push("swap_usage", percent(swap - free, swap), &[]);
            out.push("system.paging.usage", swap - free, &[("system.paging.state", "used")]);
            out.push("system.paging.usage", free, &[("system.paging.state", "free")]);
        }
    }

    fn load(&self, out: &mut Samples) {
        let text = self.read("loadavg");
        let names = ["1m", "5m", "15m"];
        for (name, load) in
            names.iter().zip(text.split_whitespace().map_while(|word| word.parse::<f64>().ok()))
        {
            out.push(&format!("system.cpu.load_average.{name}"), load, &[]);
        }
    }

    /// Share of time in which some, or all, work waited for a resource (percent, over 10 s).
    fn pressure(&self, out: &mut Samples) {
        for resource in ["cpu", "memory", "io"] {
            for line in self.read(&format!("pressure/{resource}")).lines() {
                let kind = line.split_whitespace().next().unwrap_or_default();
                let average = line.split_whitespace().find_map(|word| word.strip_prefix("avg10="));
                if let Some(average) = average.and_then(|average| average.parse().ok()) {
                    out.push(&format!("system.pressure.{resource}.{kind}"), average, &[]);
                }
            }
        }
    }

    fn uptime_and_files(&self, out: &mut Samples) {
        let uptime = self.read("uptime");
        if let Some(seconds) = uptime.split_whitespace().next().and_then(|word| word.parse().ok()) {
            out.push("system.uptime", seconds, &[]);
        }
        let files = self.read("sys/fs/file-nr");
        let mut numbers = files.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        if let (Some(open), Some(_), Some(max)) = (numbers.next(), numbers.next(), numbers.next()) {
            out.push("system.file_descriptors.open", open, &[]);
            out.push("system.file_descriptors.usage", percent(open, max), &[]);
        }
    }

    fn network(&self, out: &mut Samples) {
        let text = self.read("net/dev");
        let interfaces = text.lines().filter_map(|line| line.split_once(':'));
        let told =
            interfaces.map(|(name, rest)| (name.trim(), rest)).filter(|(name, _)| !name.starts_with("veth"));
        for (name, rest) in told.take(INTERFACES_MAX) {
            let n: Vec<f64> = rest.split_whitespace().map_while(|word| word.parse().ok()).collect();
            if n.len() < 12 {
                continue;
            }
            let counters = [("io_total", 0), ("packets_total", 1), ("errors_total", 2), ("dropped_total", 3)];
            for (counter, at) in counters {
                for (direction, at) in [("receive", at), ("transmit", at + 8)] {
                    let labels = [("network.interface.name", name), ("network.io.direction", direction)];
                    out.push(&format!("system.network.{counter}"), n[at], &labels);
                }
            }
        }
    }
}

/// The name and the ticks of a line of `/proc/stat`; none behind the CPUs.
fn cpu_line(line: &str) -> Option<(&str, Times)> {
    let mut words = line.split_whitespace();
    let name = words.next().filter(|name| name.starts_with("cpu"))?;
    let mut times = Times::default();
    times.iter_mut().zip(words).for_each(|(time, word)| *time = word.parse().unwrap_or(0));
    Some((name, times))
}

/// Share of time at work between two measurements; none when no time passed.
fn busy(before: &Times, now: &Times) -> Option<f64> {
    let passed = |at: usize| now[at].saturating_sub(before[at]);
    let all: u64 = (0..MODES.len()).map(passed).sum();
    let idle: u64 = IDLE.into_iter().map(passed).sum();
    (all > 0).then(|| float(all - idle) / float(all))
}

fn percent(part: f64, whole: f64) -> f64 {
    100.0 * part / whole
}

#[expect(clippy::cast_precision_loss, reason = "measured values are compared and averaged as f64")]
fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use heimdall_model::Timestamp;
    use heimdall_model::schema::metrics;

    use super::*;

    type Found = BTreeMap<String, f64>;

    fn measure(collector: &mut Collector) -> Found {
        let mut out = Samples::new(Timestamp(1), "h", "s");
        collector.measure(&mut out);
        let batch = out.finish();
        let key = |row: &heimdall_model::Row<'_>| {
            format!("{}{}", row.text(metrics::NAME).unwrap(), row.attributes().unwrap_or_default())
        };
        batch.iter().map(|row| (key(&row), row.float(metrics::VALUE).unwrap())).collect()
    }

    fn fixture(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn shares_are_between_two_measurements_and_names_are_those_of_the_detectors() {
        let dir = fixture(&[
            ("proc/stat", "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 100 0 100 800 0 0 0 0\nintr 5\n"),
            (
                "proc/meminfo",
                "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 250 kB\nBuffers: 50 kB\nCached: 100 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
            ),
            ("proc/loadavg", "0.50 0.40 0.30 1/200 1234\n"),
            (
                "proc/pressure/io",
                "some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=2.00 avg60=0 avg300=0 total=1\n",
            ),
            ("proc/uptime", "1234.5 99.0\n"),
            ("proc/sys/fs/file-nr", "1000\t0\t4000\n"),
            (
                "proc/net/dev",
                "Inter-|\n face |\n  eth0: 10 2 0 1 0 0 0 0 30 4 0 0 0 0 0 0\nveth1: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n",
            ),
            ("sys/class/thermal/thermal_zone0/temp", "45500\n"),
            ("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n"),
        ]);
        let config = MonitorConfig { per_core: true, ..MonitorConfig::default() };
        let mut collector = Collector::at(&dir.path().join("proc"), &dir.path().join("sys"), &config);
        let first = measure(&mut collector);
        assert!(!first.contains_key("cpu_usage"), "there is no share of time yet");
        assert_eq!(first["memory_usage"], 75.0);
        assert!(!first.contains_key("swap_usage"), "a host without swap has none in use");
        assert_eq!(first["system.cpu.load_average.5m"], 0.4);
        assert_eq!(first["system.pressure.io.some"], 12.5);
        assert_eq!(first["system.file_descriptors.usage"], 25.0);
        let sent =
            r#"system.network.io_total{"network.interface.name":"eth0","network.io.direction":"transmit"}"#;
        assert_eq!(first[sent], 30.0);
        assert!(!first.keys().any(|key| key.contains("veth")));
        assert_eq!(first[r#"system.temperature{"sensor":"x86_pkg_temp"}"#], 45.5);
        std::fs::write(
            dir.path().join("proc/stat"),
            "cpu  150 0 140 810 0 0 0 0 0 0\ncpu0 150 0 140 810 0 0 0 0\n",
        )
        .unwrap();
        let second = measure(&mut collector);
        assert_eq!(second["cpu_usage"], 90.0);
        assert_eq!(second[r#"system.cpu.utilization{"cpu.logical_number":"0"}"#], 0.9);
    }

    #[test]
    fn this_host_says_what_every_linux_says() {
        let mut collector = Collector::new(&MonitorConfig::default());
        measure(&mut collector);
        std::thread::sleep(std::time::Duration::from_millis(50)); // time must pass for a share of it
        let found = measure(&mut collector);
        for name in [
            "cpu_usage",
            "memory_usage",
            "system.cpu.load_average.1m",
            "system.uptime",
            "system.processes.count",
        ] {
            assert!(found.contains_key(name), "{name}: {found:#?}");
        }
        assert!((0.0..=100.0).contains(&found["cpu_usage"]));
        assert!(found.keys().any(|key| key.starts_with("process.memory.usage")), "{found:#?}");
    }

    #[test]
    fn what_is_switched_off_or_absent_gives_nothing() {
        let config = MonitorConfig {
            enable_disk_monitoring: false,
            enable_network_monitoring: false,
            enable_process_monitoring: false,
            ..MonitorConfig::default()
        };
        let found = measure(&mut Collector::new(&config));
        let off = ["disk", "system.network", "system.filesystem", "system.processes", "process."];
        assert!(!found.keys().any(|key| off.iter().any(|name| key.starts_with(name))), "{found:#?}");
        let empty = tempfile::tempdir().unwrap();
        let found = measure(&mut Collector::at(empty.path(), empty.path(), &MonitorConfig::default()));
        assert_eq!(found, Found::new());
    }
}
