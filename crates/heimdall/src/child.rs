//! A server of our own in a process of its own, for benches and the demo's measurements: started, watched, ended by id.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for the server to be ready or to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Wait between looks.
const POLL: Duration = Duration::from_millis(20);
/// Clock ticks per second of `/proc/<pid>/stat`: fixed by the kernel's interface (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A running server.
pub(crate) struct ChildServer {
    child: Child,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// `host:port` of its HTTP listener.
    pub http: String,
    /// Time from start to ready.
    pub ready_after: Duration,
}

impl ChildServer {
    /// Starts the server on free loopback ports and waits until it is ready.
    pub(crate) async fn start(data_dir: &Path) -> Result<ChildServer> {
        let listeners = data_dir.join("run/listeners.json");
        if listeners.exists() {
            std::fs::remove_file(&listeners)?;
        }
        let started = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--data-dir"])
            .arg(data_dir)
            .env("HEIMDALL_ALERTS__STDOUT", "false")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("could not start a server")?;
        while !listeners.exists() {
            if let Some(status) = child.try_wait()? {
                bail!("the server ended early: {status}");
            }
            if started.elapsed() > PATIENCE {
                // It is ours and of no use.
                let _ = child.kill();
                bail!("the server was not ready after {PATIENCE:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        let ready_after = started.elapsed();
        let bound: Value = serde_json::from_slice(&std::fs::read(&listeners)?)?;
        let http = bound.get("http").and_then(Value::as_str).context("no http listener")?.to_owned();
        Ok(ChildServer { child, data_dir: data_dir.to_owned(), http, ready_after })
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }

    /// CPU seconds used so far, user and system.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.proc("stat")?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("/proc/<pid>/stat is not as expected")?;
        Ok((user + system) / TICKS_PER_SECOND)
    }

    /// Highest resident memory so far, in bytes.
    pub(crate) fn peak_rss_bytes(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Resident memory now, in bytes.
    pub(crate) fn rss_bytes(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, name: &str) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("/proc/<pid>/status has no {name}"))? * 1024)
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > PATIENCE {
                bail!("the server did not stop within {PATIENCE:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Only after an error on the way: it is our own process.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
