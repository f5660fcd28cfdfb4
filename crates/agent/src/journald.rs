//! The system's journal, read from `journalctl -o json` as it follows: a child process, because the files' format is its own.
//!
//! Invariants:
//! - a cursor is kept with the records up to it: after a crash, reading goes on behind what was kept, exactly;
//! - a line of more than [`LINE_BYTES_MAX`] bytes is no record, and counted; a message that is not text is kept lossily, and counted;
//! - the child ends with us.

use std::process::Stdio;
use std::time::Duration;

use heimdall_ingest::journald::write_entry;
use heimdall_ingest::{DecodeLimits, Object, Reading, Records};
use heimdall_model::{Batch, Dataset, Timestamp};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::config::JournaldConfig;
use crate::state::{Mark, Marks};

/// The source's name among marks.
pub(crate) const SOURCE: &str = "journald";
/// Longest line taken.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Records in one batch.
const ROWS_MAX: u64 = 500;
/// Records that come so close together are one batch.
const GATHER: Duration = Duration::from_millis(200);

/// A following child.
pub(crate) struct Follower {
    child: Child,
    lines: BufReader<ChildStdout>,
    line: Vec<u8>,
    /// The line is longer than it may be; its rest is read over.
    too_long: bool,
    pub(crate) cut: u64,
}

impl Follower {
    /// Starts the child behind the cursor, or with what comes from now on.
    pub(crate) fn start(config: &JournaldConfig, cursor: Option<&str>) -> std::io::Result<Follower> {
        let mut command = Command::new(&config.program);
        command.args(["--follow", "--output=json", "--no-pager", "--quiet"]);
        match cursor {
            Some(cursor) => drop(command.arg(format!("--after-cursor={cursor}"))),
            None => drop(command.arg("--lines=0")),
        }
        command.args(config.units.iter().map(|unit| format!("--unit={unit}")));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
        Ok(Follower { child, lines: BufReader::new(stdout), line: Vec::new(), too_long: false, cut: 0 })
    }

    /// The next records with their cursor; `None` when the child has ended. Not cancel safe: who stops waiting starts a new follower.
    pub(crate) async fn next(
        &mut self,
        now: impl Fn() -> Timestamp,
    ) -> std::io::Result<Option<(Batch, Marks)>> {
        let Some(first) = self.next_record().await? else {
            let _ended = self.child.wait().await;
            return Ok(None);
        };
        let limits = DecodeLimits::default();
        let mut records = Records::new(Dataset::Logs, Reading::new(now(), &limits));
        let mut cursor = self.take(&first, &mut records);
        let deadline = tokio::time::Instant::now() + GATHER;
        while records.index() < ROWS_MAX {
            match tokio::time::timeout_at(deadline, self.next_record()).await {
                Ok(Ok(Some(record))) => cursor = self.take(&record, &mut records).or(cursor),
                Ok(Ok(None) | Err(_)) | Err(_) => break,
            }
        }
        let marks = cursor.map(|cursor| (SOURCE.to_owned(), Mark::Cursor(cursor)));
        Ok(Some((records.finish().batch, marks.into_iter().collect())))
    }

    async fn next_record(&mut self) -> std::io::Result<Option<Map<String, Value>>> {
        loop {
            let room = (LINE_BYTES_MAX + 1 - self.line.len()) as u64;
            let read = (&mut self.lines).take(room).read_until(b'\n', &mut self.line).await?;
            let whole = self.line.ends_with(b"\n");
            if read == 0 && !whole {
                return Ok(None);
            }
            if !whole {
                self.cut += u64::from(!std::mem::replace(&mut self.too_long, true));
                self.line.clear();
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if std::mem::take(&mut self.too_long) {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(record) => return Ok(Some(record)),
                Err(_) => self.cut += 1,
            }
        }
    }

    fn take(&mut self, record: &Map<String, Value>, records: &mut Records<'_>) -> Option<String> {
        let fields: Vec<(&str, Vec<u8>)> = record
            .iter()
            .flat_map(|(name, value)| values_of(value).map(move |value| (name.as_str(), value)))
            .collect();
        let mut fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let mut object = Object::new();
        self.cut += u64::from(write_entry(&mut fields, &mut object));
        self.cut += u64::from(records.object(&mut object).is_err());
        record.get("__CURSOR").and_then(Value::as_str).map(str::to_owned)
    }
}

/// The values of a field: journald writes bytes that are no text as a list of numbers, a field that occurs more than once as a
/// list of values, and one that is too long as null.
fn values_of(value: &Value) -> impl Iterator<Item = Vec<u8>> {
    let values = match value {
        Value::Array(values) if !values.iter().all(Value::is_number) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    values.iter().filter_map(|value| match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Array(bytes) => Some(bytes.iter().filter_map(|n| u8::try_from(n.as_u64()?).ok()).collect()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use heimdall_model::Level;
    use heimdall_model::schema::logs;

    use super::*;

    /// A stand-in for `journalctl`: writes its arguments, then what it is given.
    fn stand_in(dir: &std::path::Path, output: &str) -> JournaldConfig {
        let program = dir.join("journalctl-stand-in");
        let args = dir.join("args");
        std::fs::write(dir.join("output"), output).unwrap();
        let script = format!("#!/bin/sh\necho \"$@\" > {}\ncat {}/output\n", args.display(), dir.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        JournaldConfig { enabled: true, program, units: vec!["ssh.service".to_owned()] }
    }

    #[tokio::test]
    async fn records_have_level_unit_and_cursor_and_odd_lines_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let output = concat!(
            r#"{"__CURSOR":"c1","__REALTIME_TIMESTAMP":"1700000000000001","MESSAGE":"Failed password","PRIORITY":"4","_SYSTEMD_UNIT":"ssh.service","_HOSTNAME":"db-1","_PID":"7"}"#,
            "\nno json\n",
            r#"{"__CURSOR":"c2","MESSAGE":[104,105,255],"SYSLOG_IDENTIFIER":"kernel"}"#,
            "\n"
        );
        let config = stand_in(dir.path(), output);
        let mut follower = Follower::start(&config, Some("c0")).unwrap();
        let (batch, marks) = follower.next(|| Timestamp(5)).await.unwrap().expect("records");
        assert_eq!(batch.rows(), 2);
        let (first, second) = (batch.row(0), batch.row(1));
        assert_eq!(
            (first.timestamp(), first.level()),
            (Timestamp(1_700_000_000_000_001_000), Some(Level::Warn))
        );
        assert_eq!((first.service(), first.text(logs::HOST)), (Some("ssh"), Some("db-1")));
        assert_eq!((second.service(), second.text(logs::MESSAGE)), (Some("kernel"), Some("hi\u{fffd}")));
        assert_eq!(marks, Marks::from([(SOURCE.to_owned(), Mark::Cursor("c2".to_owned()))]));
        assert_eq!(follower.cut, 2);
        assert!(follower.next(|| Timestamp(5)).await.unwrap().is_none(), "the child has ended");
        let args = std::fs::read_to_string(dir.path().join("args")).unwrap();
        assert!(args.contains("--after-cursor=c0") && args.contains("--unit=ssh.service"), "{args}");
    }
}
