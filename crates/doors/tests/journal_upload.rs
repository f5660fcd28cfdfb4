//! The real `systemd-journal-upload` against the doors, which are killed in the middle again and again: every entry is there once.
//!
//! Needs the package `systemd-journal-remote`; without it the test says so and passes.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const UPLOAD: &str = "/lib/systemd/systemd-journal-upload";
const REMOTE: &str = "/lib/systemd/systemd-journal-remote";
const ENTRIES: u64 = 30_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// The example `doors`, which cargo builds beside the tests.
fn doors() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    profile.join("examples/doors")
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(dir: &Path) -> Server {
        let listeners = dir.join("listeners.json");
        let _gone = std::fs::remove_file(&listeners);
        let child = Command::new(doors()).arg(dir).stderr(Stdio::null()).spawn().expect("the doors start");
        let addresses =
            until(|| serde_json::from_slice::<serde_json::Value>(&std::fs::read(&listeners).ok()?).ok());
        let url = format!("http://{}", addresses["http"].as_str().expect("an address"));
        Server { child, url }
    }

    /// As `kill -9` does it.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "it did not come in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A journal file, as `systemd-journal-remote` writes it.
fn journal(dir: &Path) -> PathBuf {
    let file = dir.join("remote.journal");
    let mut remote = Command::new(REMOTE)
        .args(["--split-mode=none", "-o"])
        .arg(&file)
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-journal-remote runs");
    let mut stream = std::io::BufWriter::new(remote.stdin.take().expect("a pipe"));
    let (machine, boot) = ("a".repeat(32), "b".repeat(32));
    for n in 1..=ENTRIES {
        let us = 1_790_000_000_000_000 + n;
        write!(
            stream,
            "__CURSOR=s={machine};i={n:x};b={boot};m={n:x};t={us:x};x={n:x}\n__REALTIME_TIMESTAMP={us}\n__MONOTONIC_TIMESTAMP={n}\n\
             _BOOT_ID={boot}\nMESSAGE=entry {n}\nPRIORITY=6\nSYSLOG_IDENTIFIER=app\n\n"
        )
        .expect("written");
    }
    drop(stream);
    assert!(remote.wait().expect("it ended").success());
    file
}

fn upload(url: &str, file: &Path, state: &Path) -> Child {
    Command::new(UPLOAD)
        .arg(format!("--url={url}"))
        .arg(format!("--file={}", file.display()))
        .arg(format!("--save-state={}", state.display()))
        .arg("--follow=no")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-journal-upload runs")
}

fn ended(client: &mut Child) -> bool {
    until(|| client.try_wait().expect("a child")).success()
}

#[test]
fn every_entry_is_there_once_whenever_the_server_is_killed() {
    if !Path::new(UPLOAD).exists() || !Path::new(REMOTE).exists() || !doors().exists() {
        eprintln!("skipped: needs systemd-journal-remote, systemd-journal-upload and the example `doors`");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = journal(dir.path());
    let (data, state) = (dir.path().join("data"), dir.path().join("state"));
    for after_ms in [150, 300, 80, 220] {
        let server = Server::start(&data);
        let mut client = upload(&server.url, &file, &state);
        std::thread::sleep(Duration::from_millis(after_ms));
        server.kill();
        ended(&mut client);
    }
    let server = Server::start(&data);
    for attempt in 0..2 {
        if attempt == 1 {
            let _gone = std::fs::remove_file(&state); // everything once more
        }
        assert!(ended(&mut upload(&server.url, &file, &state)));
    }
    let messages = until(|| {
        let text = std::fs::read_to_string(data.join("records.ndjson")).ok()?;
        let whole = text.rsplit_once('\n')?.0;
        (whole.lines().count() as u64 >= ENTRIES).then(|| whole.to_owned())
    });
    std::thread::sleep(Duration::from_millis(500)); // what comes twice would come now
    let text = std::fs::read_to_string(data.join("records.ndjson")).expect("records");
    let distinct: HashSet<String> = messages
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
            record["message"].as_str().expect("a message").to_owned()
        })
        .collect();
    server.kill();
    assert_eq!((distinct.len() as u64, text.lines().count() as u64), (ENTRIES, ENTRIES));
}
