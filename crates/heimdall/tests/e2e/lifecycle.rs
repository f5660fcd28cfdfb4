//! Start, stop, configuration.

use std::sync::atomic::{AtomicU64, Ordering};

use heimdall_testkit::{http, wait_for};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{heimdall, server};

/// Threads that send while the server is asked to stop.
const SENDERS: u64 = 4;
/// Acknowledged requests before it is asked.
const BEFORE_STOP: u64 = 200;

#[test]
fn drains_on_sigterm() {
    let mut server = server().start();
    let acked = AtomicU64::new(0);
    let address = server.http();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let acked = &acked;
            scope.spawn(move || {
                for n in 0.. {
                    let record = json!({"service": "drain", "message": "m", "mark": format!("{sender}-{n}")});
                    let body = record.to_string();
                    let answer =
                        http::try_request(address, "POST", "/api/v1/ingest/logs", &[], body.as_bytes());
                    match answer {
                        Ok(answer) if answer.status == 200 => acked.fetch_add(1, Ordering::Relaxed),
                        _ => return,
                    };
                }
            });
        }
        wait_for("records to be accepted", || (acked.load(Ordering::Relaxed) >= BEFORE_STOP).then_some(()));
        let listeners = server.data_dir().join("run/listeners.json");
        assert!(listeners.exists());
        let status = server.terminate();
        assert!(status.success(), "{status}\n{}", server.stderr());
        assert!(!listeners.exists(), "nobody listens any more");
    });
    server.restart();
    let acked = acked.load(Ordering::Relaxed);
    let kept = server.query("service:drain | stats count() as all, count_distinct(mark) as marks");
    let (all, marks) = (kept[0][0].as_u64().expect("a count"), kept[0][1].as_u64().expect("a count"));
    // A request whose answer was lost on the way may have been kept, one per sender at most; nothing twice.
    assert!((acked..=acked + SENDERS).contains(&all), "acknowledged {acked}, kept {all}");
    assert_eq!(all, marks);
}

#[test]
fn a_start_that_cannot_succeed_says_why() {
    let dir = tempdir().expect("a folder");
    let data = dir.path().join("data");
    let config = dir.path().join("heimdall.toml");
    let serve = |text: &str| {
        std::fs::write(&config, text).expect("a file");
        let command = heimdall(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.as_os_str());
        command.arg("--config").arg(config.as_os_str()).run().expect(1).stderr
    };
    let unknown = serve("[server]\nlissen = \"127.0.0.1:1\"\n");
    assert!(unknown.contains("lissen"), "{unknown}");
    let wrong = serve("[store]\nflush_age = \"soon\"\n");
    assert!(wrong.contains("flush_age") || wrong.contains("soon"), "{wrong}");
    let env =
        heimdall(["serve", "--listen", "127.0.0.1:0"]).env("HEIMDALL_STORE__FLUSH_ROWZ", "5").run().expect(1);
    assert!(env.stderr.to_lowercase().contains("flush_rowz"), "{}", env.stderr);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let busy = heimdall(["serve", "--listen", &address, "--watch-listen", "127.0.0.1:0", "--data-dir"]);
    let busy = busy.arg(data.as_os_str()).run().expect(1).stderr;
    assert!(busy.contains(&address), "{busy}");
}

#[test]
fn the_effective_configuration_is_shown_with_its_origins() {
    let dir = tempdir().expect("a folder");
    let config = dir.path().join("heimdall.toml");
    std::fs::write(&config, "[store]\nretention = \"14d\"\n").expect("a file");
    let shown = heimdall(["serve", "--print-config", "--auth", "--config"])
        .arg(config.as_os_str())
        .env("HEIMDALL_INGEST__BODY_BYTES_MAX", "2MiB")
        .env("SLACK_WEBHOOK_URL", "http://127.0.0.1:9/services/very-secret")
        .run()
        .expect(0)
        .stdout;
    let line = |key: &str| {
        let found = shown.lines().find(|line| line.trim_start().starts_with(key));
        found.unwrap_or_else(|| panic!("no `{key}` in:\n{shown}")).to_owned()
    };
    assert!(line("retention ").contains("14d"), "{shown}");
    assert!(line("body_bytes_max").contains("2MiB"), "{shown}");
    assert!(line("enabled").contains("true"), "{shown}");
    assert!(!shown.contains("very-secret"), "{shown}");
}

#[test]
fn its_own_log_is_json_when_asked_for() {
    let mut server = server().arg("--log-format").arg("json").start();
    assert!(server.terminate().success());
    let log = server.stderr();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{log}");
    assert!(lines.iter().any(|line| line["message"] == "ready"), "{log}");
}
