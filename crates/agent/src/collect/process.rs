//! How many processes there are, and which use most.
//!
//! Invariant: a process is known by its id and the time it began, so that an id given again is another process.
//!
//! Cost: one file read for each process.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{TICKS_PER_SECOND, float};
use crate::samples::Samples;

/// Processes looked at; more are not counted either.
const PROCESSES_MAX: usize = 100_000;
/// Enough for a line of `stat`: its name has at most 64 bytes.
const LINE_BYTES: usize = 1_024;
/// The entry of the auxiliary vector that holds the size of a page.
const AT_PAGESZ: u64 = 6;

#[derive(Debug)]
pub(super) struct Processes {
    proc: PathBuf,
    top: usize,
    page_bytes: f64,
    before: HashMap<u32, (u64, u64)>,
    measured: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq)]
struct Process {
    id: u32,
    name: String,
    state: char,
    ticks: u64,
    began: u64,
    pages: u64,
}

impl Processes {
    pub(super) fn new(proc: &Path, top: usize) -> Processes {
        let page_bytes = float(page_bytes(proc).unwrap_or(4_096));
        Processes { proc: proc.to_owned(), top, page_bytes, before: HashMap::new(), measured: None }
    }

    pub(super) fn measure(&mut self, out: &mut Samples) {
        let processes = self.list();
        if processes.is_empty() {
            return;
        }
        let count = |states: &str| {
            float(processes.iter().filter(|process| states.contains(process.state)).count() as u64)
        };
        out.push("system.processes.count", float(processes.len() as u64), &[]);
        out.push("system.processes.running", count("R"), &[]);
        out.push("system.processes.blocked", count("D"), &[]);
        out.push("system.processes.zombies", count("Z"), &[]);
        self.busiest(&processes, out);
        self.largest(&processes, out);
        self.before = processes.iter().map(|process| (process.id, (process.began, process.ticks))).collect();
    }

    /// Those that used most CPU since the measurement before; 1 is a whole core.
    fn busiest(&mut self, processes: &[Process], out: &mut Samples) {
        let now = Instant::now();
        let Some(before) = self.measured.replace(now) else { return };
        let seconds = now.duration_since(before).as_secs_f64();
        let used = |process: &Process| {
            let before = self.before.get(&process.id).filter(|(began, _)| *began == process.began);
            process.ticks.saturating_sub(before.map_or(0, |(_, ticks)| *ticks))
        };
        let mut order: Vec<(u64, &Process)> = processes
            .iter()
            .map(|process| (used(process), process))
            .filter(|(ticks, _)| *ticks > 0)
            .collect();
        order.sort_by_key(|(ticks, process)| (std::cmp::Reverse(*ticks), process.id));
        for (ticks, process) in order.into_iter().take(self.top) {
            let cores = float(ticks) / TICKS_PER_SECOND / seconds;
            process.push(out, "process.cpu.utilization", cores);
        }
    }

    fn largest(&self, processes: &[Process], out: &mut Samples) {
        let mut order: Vec<&Process> = processes.iter().filter(|process| process.pages > 0).collect();
        order.sort_by_key(|process| (std::cmp::Reverse(process.pages), process.id));
        for process in order.into_iter().take(self.top) {
            process.push(out, "process.memory.usage", float(process.pages) * self.page_bytes);
        }
    }

    fn list(&self) -> Vec<Process> {
        let entries = std::fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let mut line = [0; LINE_BYTES];
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.take(PROCESSES_MAX).filter_map(|id| self.read(id, &mut line)).collect()
    }

    /// A process that has ended meanwhile is none.
    fn read(&self, id: u32, line: &mut [u8]) -> Option<Process> {
        let mut path = self.proc.join(id.to_string());
        path.push("stat");
        let len = File::open(path).ok()?.read(line).ok()?;
        parse(&String::from_utf8_lossy(&line[..len]))
    }
}

impl Process {
    fn push(&self, out: &mut Samples, name: &str, value: f64) {
        let id = self.id.to_string();
        out.push(name, value, &[("process.pid", &id), ("process.executable.name", &self.name)]);
    }
}

/// A line of `/proc/PID/stat`; see proc(5). A name may hold spaces and brackets: it ends at the last bracket.
fn parse(line: &str) -> Option<Process> {
    let (id, rest) = line.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| words.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        id: id.parse().ok()?,
        name: name.to_owned(),
        state: words.first()?.chars().next()?,
        ticks: number(14)? + number(15)?,
        began: number(22)?,
        pages: number(24)?,
    })
}

/// The size of a page, as the kernel told this process.
fn page_bytes(proc: &Path) -> Option<u64> {
    let auxv = std::fs::read(proc.join("self/auxv")).ok()?;
    let (words, _) = auxv.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    words.chunks_exact(2).find(|pair| pair[0] == AT_PAGESZ).map(|pair| pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_is_a_name() {
        let line =
            "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 300 45 0 0 20 0 1 0 777 1000 25 18446744073709551615";
        let process = parse(line).unwrap();
        let expected =
            Process { id: 12, name: "a) b (c)".into(), state: 'S', ticks: 345, began: 777, pages: 25 };
        assert_eq!(process, expected);
        assert_eq!(parse("12 (x"), None);
    }

    #[test]
    fn a_page_has_a_usual_size() {
        let bytes = page_bytes(Path::new("/proc")).unwrap();
        assert!(bytes.is_power_of_two() && bytes >= 4_096, "{bytes}");
    }
}
