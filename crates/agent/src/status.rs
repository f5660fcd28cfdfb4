//! How an agent is doing: counters while it runs, and what they say.
//!
//! Invariant: what was lost, left out or cut is in one of the counters, by reason.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

use crate::buffer::BufferStatus;
use crate::tail::TailCounts;

/// Whether an agent works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceStatus {
    /// Not started, or stopped.
    Stopped,
    /// Everything works.
    Running,
    /// It works, but something needs a look: see `problems`.
    Degraded,
}

/// How an agent is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentStatus {
    /// Whether it works.
    pub service_status: ServiceStatus,
    /// Findings since the start.
    pub anomalies_detected: u64,
    /// Share of recovery actions that succeeded, 0 to 1; 1 while none was tried.
    pub success_rate: f64,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// What needs a look, one sentence each.
    pub problems: Vec<String>,
    /// Samples and log records taken since the start.
    pub records_taken: u64,
    /// Records the server has since the start.
    pub records_shipped: u64,
    /// Of those, records it had from an earlier try already.
    pub records_deduplicated: u64,
    /// Records the server rejected one by one.
    pub records_rejected: u64,
    /// Records of frames the server refused for good, laid aside in `refused/`.
    pub records_refused: u64,
    /// Records of such frames for which there was no room there.
    pub records_dropped: u64,
    /// Samples that were judged but not kept, because the buffer was full.
    pub samples_not_kept: u64,
    /// Measurements left out because the one before had not ended.
    pub measurements_missed: u64,
    /// Probes left out because the one before had not ended.
    pub probes_missed: u64,
    /// Times a tail had to wait for room.
    pub tail_waits: u64,
    /// Requests to the server that failed.
    pub ship_failures: u64,
    /// Why the last one failed; none after one that did not.
    pub ship_problem: Option<String>,
    /// Of files.
    pub tails: TailCounts,
    /// Records from the system's journal that were cut or could not be read.
    pub journald_cut: u64,
    /// The buffer; none without a server.
    pub buffer: Option<BufferStatus>,
}

/// Counters of a running agent.
#[derive(Debug)]
pub(crate) struct Counters {
    started: Instant,
    pub(crate) anomalies: AtomicU64,
    pub(crate) taken: AtomicU64,
    shipped: AtomicU64,
    deduplicated: AtomicU64,
    rejected: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    pub(crate) not_kept: AtomicU64,
    pub(crate) measurements_missed: AtomicU64,
    pub(crate) probes_missed: AtomicU64,
    pub(crate) tail_waits: AtomicU64,
    ship_failures: AtomicU64,
    pub(crate) journald_cut: AtomicU64,
    ship_problem: Mutex<Option<String>>,
    pub(crate) tails: Mutex<TailCounts>,
    /// What does not work, by part: one each, the newest.
    problems: Mutex<std::collections::BTreeMap<&'static str, String>>,
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            started: Instant::now(),
            anomalies: AtomicU64::default(),
            taken: AtomicU64::default(),
            shipped: AtomicU64::default(),
            deduplicated: AtomicU64::default(),
            rejected: AtomicU64::default(),
            refused: AtomicU64::default(),
            dropped: AtomicU64::default(),
            not_kept: AtomicU64::default(),
            measurements_missed: AtomicU64::default(),
            probes_missed: AtomicU64::default(),
            tail_waits: AtomicU64::default(),
            ship_failures: AtomicU64::default(),
            journald_cut: AtomicU64::default(),
            ship_problem: Mutex::default(),
            tails: Mutex::default(),
            problems: Mutex::default(),
        }
    }

    pub(crate) fn shipped(&self, rows: u64, rejected: u64, deduplicated: u64) {
        add(&self.shipped, rows.saturating_sub(rejected));
        add(&self.rejected, rejected);
        add(&self.deduplicated, deduplicated);
        if self.ship_problem.lock().take().is_some() {
            tracing::info!("the server takes records again");
        }
    }

    /// Logs the first of a row of failures, and each for another reason.
    pub(crate) fn ship_failed(&self, reason: &str) {
        add(&self.ship_failures, 1);
        let mut problem = self.ship_problem.lock();
        if problem.as_deref() != Some(reason) {
            tracing::warn!(reason, "records wait: the server does not take them");
            *problem = Some(reason.to_owned());
        }
    }

    pub(crate) fn refused(&self, rows: u64, kept: bool) {
        add(if kept { &self.refused } else { &self.dropped }, rows);
    }

    /// Notes that a part does not work; logged when it is news.
    pub(crate) fn problem(&self, part: &'static str, what: &str) {
        let before = self.problems.lock().insert(part, what.to_owned());
        if before.as_deref() != Some(what) {
            tracing::warn!(part, what, "a part of the agent does not work");
        }
    }

    /// Notes that a part works.
    pub(crate) fn works(&self, part: &'static str) {
        self.problems.lock().remove(part);
    }

    /// What they say.
    pub(crate) fn status(
        &self,
        is_running: bool,
        success_rate: f64,
        buffer: Option<BufferStatus>,
    ) -> AgentStatus {
        let ship_problem = self.ship_problem.lock().clone();
        let mut problems: Vec<String> =
            self.problems.lock().iter().map(|(part, what)| format!("{part}: {what}")).collect();
        problems.extend(ship_problem.as_ref().map(|reason| format!("server: {reason}")));
        problems.extend(buffer.as_ref().and_then(problem_of));
        let service_status = match (is_running, problems.is_empty()) {
            (false, _) => ServiceStatus::Stopped,
            (true, true) => ServiceStatus::Running,
            (true, false) => ServiceStatus::Degraded,
        };
        AgentStatus {
            service_status,
            anomalies_detected: get(&self.anomalies),
            success_rate,
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            problems,
            records_taken: get(&self.taken),
            records_shipped: get(&self.shipped),
            records_deduplicated: get(&self.deduplicated),
            records_rejected: get(&self.rejected),
            records_refused: get(&self.refused),
            records_dropped: get(&self.dropped),
            samples_not_kept: get(&self.not_kept),
            measurements_missed: get(&self.measurements_missed),
            probes_missed: get(&self.probes_missed),
            tail_waits: get(&self.tail_waits),
            ship_failures: get(&self.ship_failures),
            ship_problem,
            tails: self.tails.lock().clone(),
            journald_cut: get(&self.journald_cut),
            buffer,
        }
    }
}

fn problem_of(buffer: &BufferStatus) -> Option<String> {
    let latched =
        buffer.latched.as_ref().map(|reason| format!("buffer: keeps nothing until a restart: {reason}"));
    let full =
        || buffer.is_full.then(|| "buffer: full: tails wait, samples are judged but not kept".to_owned());
    latched.or_else(full)
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
