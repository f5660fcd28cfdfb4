//! The log of what was found and done: `asctime - name - level - message`, the message one JSON object
//! `{timestamp, level, event, metric, value, action, target, …}`.
//!
//! Levels: INFO for operation and recovery, WARNING for anomalies, ERROR for failures, DEBUG for details.
//!
//! Invariants:
//! - a line is whole or not there; the file is made when absent;
//! - at [`FILE_BYTES_MAX`] the file becomes `.1` in the place of the one before, so that the log never fills a disk;
//! - a failure to write is counted and told once, and never stops the agent.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use heimdall_model::{Clock, Severity, Timestamp, Verdict};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The name in every line.
const NAME: &str = "heimdall.agent";
/// Largest file before it is moved aside.
pub const FILE_BYTES_MAX: u64 = 10 << 20;

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Details.
    Debug,
    /// Operation and recovery.
    Info,
    /// Anomalies.
    Warning,
    /// Failures.
    Error,
}

impl LogLevel {
    const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Warning => "WARNING",
            LogLevel::Error => "ERROR",
        }
    }
}

/// Writes the log; a cheap clone of one writer.
#[derive(Clone)]
pub struct ActionLog {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    path: PathBuf,
    level: LogLevel,
    clock: Arc<dyn Clock>,
    file: Mutex<(File, u64)>,
    failures: AtomicU64,
}

impl ActionLog {
    /// Opens the log, making it when absent. An empty path is no log.
    ///
    /// # Errors
    /// The file cannot be made or opened.
    pub fn open(path: &Path, level: LogLevel, clock: Arc<dyn Clock>) -> io::Result<ActionLog> {
        if path.as_os_str().is_empty() {
            return Ok(ActionLog { inner: None });
        }
        let file = Mutex::new(open(path)?);
        let inner = Inner { path: path.to_owned(), level, clock, file, failures: AtomicU64::new(0) };
        Ok(ActionLog { inner: Some(Arc::new(inner)) })
    }

    /// Writes that something was found. `action` is what is done about it, if anything.
    pub fn anomaly(&self, verdict: &Verdict, action: Option<&str>) {
        let (metric, value) = measured(verdict);
        let more = json!({
            "rule": verdict.rule, "severity": verdict.severity, "service": verdict.service, "score": verdict.score,
            "summary": verdict.summary, "mitigation": verdict.mitigation,
        });
        let level = if verdict.severity == Severity::Normal { LogLevel::Info } else { LogLevel::Warning };
        self.write(
            level,
            "anomaly_detected",
            Some(&metric),
            value,
            action,
            Some(&verdict.entity.value),
            more,
        );
    }

    /// Writes that an action began or ended: `event` such as `recovery_started`, `recovery_succeeded`, `recovery_failed`.
    pub fn action(&self, level: LogLevel, event: &str, action: &str, target: &str, detail: &str) {
        self.write(level, event, None, None, Some(action), Some(target), json!({ "detail": detail }));
    }

    /// Writes an event of operation.
    pub fn event(&self, level: LogLevel, event: &str, detail: &str) {
        self.write(level, event, None, None, None, None, json!({ "detail": detail }));
    }

    /// Lines that could not be written.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.failures.load(Ordering::Relaxed))
    }

    #[expect(clippy::too_many_arguments, reason = "the members of the record, in its order")]
    fn write(
        &self,
        level: LogLevel,
        event: &str,
        metric: Option<&str>,
        value: Option<f64>,
        action: Option<&str>,
        target: Option<&str>,
        more: Value,
    ) {
        let Some(inner) = &self.inner else { return };
        if level < inner.level {
            return;
        }
        let now = inner.clock.now();
        let mut record = json!({
            "timestamp": null, "level": level.as_str(), "event": event, "metric": metric, "value": value, "action": action,
            "target": target,
        });
        record["timestamp"] = now.to_string().into();
        if let (Value::Object(record), Value::Object(more)) = (&mut record, more) {
            record.extend(more);
        }
        inner.put(&format!("{} - {NAME} - {} - {record}\n", asctime(now), level.as_str()));
    }
}

impl Inner {
    fn put(&self, line: &str) {
        let mut file = self.file.lock();
        if let Err(error) = self.try_put(&mut file, line)
            && self.failures.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!(path = %self.path.display(), %error, "the log of actions cannot be written");
        }
    }

    fn try_put(&self, file: &mut (File, u64), line: &str) -> io::Result<()> {
        if file.1 + line.len() as u64 > FILE_BYTES_MAX {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            *file = open(&self.path)?;
        }
        file.0.write_all(line.as_bytes())?;
        file.1 += line.len() as u64;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

/// What was measured: the baseline's value under the name of the first feature or the rule.
fn measured(verdict: &Verdict) -> (String, Option<f64>) {
    let first = verdict.features.first();
    let name = match verdict.rule.as_str() {
        "threshold.cpu" => "cpu_usage".to_owned(),
        "threshold.memory" => "memory_usage".to_owned(),
        "threshold.disk" => "disk_usage".to_owned(),
        rule => first.map_or_else(|| rule.to_owned(), |feature| feature.name.clone()),
    };
    let observed = verdict.baseline.as_ref().map(|baseline| baseline.observed);
    (name, observed.or(first.map(|feature| feature.value)))
}

/// `2026-02-09 20:25:01,123`, UTC.
fn asctime(time: Timestamp) -> String {
    let text = time.to_string();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    format!("{} {},{}", part(0..10), part(11..19), part(20..23))
}

/// The members of the JSON object of a line.
///
/// # Errors
/// The line is not of this log.
pub fn parse_line(line: &str) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_str(line.splitn(4, " - ").nth(3).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use heimdall_model::{Baseline, Entity, Feature, ManualClock, Position, Tenant};

    use super::*;

    #[test]
    fn a_finding_is_one_line_of_the_promised_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/aegis_sentinel.log");
        let clock = ManualClock::new(Timestamp::parse("2026-02-09T20:25:01.1239Z").unwrap());
        let log = ActionLog::open(&path, LogLevel::Info, Arc::new(clock)).unwrap();
        let verdict = Verdict {
            tenant: Tenant::default(),
            detector: "threshold".into(),
            rule: "threshold.memory".into(),
            title: "High memory".into(),
            severity: Severity::Critical,
            score: 0.9,
            entity: Entity::new("host", "api_gateway_v1"),
            service: None,
            time: Timestamp(0),
            position: Position(0),
            summary: "memory".into(),
            baseline: Some(Baseline { mean: 90.0, stddev: 0.0, samples: 3, threshold: 90.0, observed: 92.5 }),
            features: vec![Feature { name: "memory_percent".into(), value: 92.5 }],
            evidence: vec![],
            mitigation: vec![],
        };
        log.event(LogLevel::Debug, "hidden", "");
        log.anomaly(&verdict, Some("docker_container_restart"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("2026-02-09 20:25:01,123 - heimdall.agent - WARNING - {"), "{text}");
        assert_eq!(text.lines().count(), 1);
        let record = parse_line(&text).unwrap();
        let members =
            ["level", "event", "metric", "value", "action", "target"].map(|name| record[name].clone());
        let expected = json!([
            "WARNING",
            "anomaly_detected",
            "memory_usage",
            92.5,
            "docker_container_restart",
            "api_gateway_v1"
        ]);
        assert_eq!(json!(members), expected);
    }

    #[test]
    fn a_full_file_is_moved_aside_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let log = ActionLog::open(&path, LogLevel::Info, Arc::new(ManualClock::new(Timestamp(0)))).unwrap();
        let detail = "x".repeat(1 << 20);
        (0..25).for_each(|_| log.event(LogLevel::Info, "e", &detail));
        let bytes = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(bytes("a.log") <= FILE_BYTES_MAX && bytes("a.log.1") <= FILE_BYTES_MAX);
        assert_eq!((std::fs::read_dir(dir.path()).unwrap().count(), log.failures()), (2, 0));
    }
}
