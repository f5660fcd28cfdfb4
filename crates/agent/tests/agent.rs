//! The agent as a whole, against a server stand-in that fails in the documented ways, and across kill -9.

#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

mod server;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heimdall_agent::config::{BufferConfig, MonitorConfig, ShipConfig, TailConfig};
use heimdall_agent::{Agent, AgentConfig, HealTally, Healer, ServiceStatus};
use heimdall_detect::Period;
use heimdall_model::Verdict;
use parking_lot::Mutex;

use crate::server::{Mood, StandIn};

fn config(dir: &Path, url: Option<String>) -> AgentConfig {
    AgentConfig {
        host: Some("h1".to_owned()),
        data_dir: dir.join("data"),
        log_file: dir.join("aegis_sentinel.log"),
        monitor: MonitorConfig {
            collection_interval: Period(200_000_000),
            docker_socket: "".into(),
            ..MonitorConfig::default()
        },
        server: ShipConfig { url, retry_max: Period::seconds(1), ..ShipConfig::default() },
        tails: vec![TailConfig {
            // Rotated names too: one that was renamed before any agent saw it is found under its new name.
            paths: vec![dir.join("app.log*").display().to_string()],
            format: "plain".to_owned(),
            ..TailConfig::default()
        }],
        ..AgentConfig::default()
    }
}

async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await; // the other side is a process or a thread of its own
    }
}

fn append(dir: &Path, range: std::ops::Range<usize>) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("app.log")).unwrap();
    range.for_each(|n| writeln!(file, "INFO record {n}").unwrap());
}

fn expected(count: usize) -> Vec<String> {
    let mut lines: Vec<String> = (0..count).map(|n| format!("INFO record {n}")).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_and_lost_answers_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = StandIn::start().await;
    server.set(Mood::Broken);
    let agent = Agent::new(config(dir.path(), Some(server.url()))).unwrap();
    agent.start().await.unwrap();
    append(dir.path(), 0..500);
    wait_for("the failure is told", || agent.status().service_status == ServiceStatus::Degraded).await;
    assert!(agent.status().problems.iter().any(|problem| problem.starts_with("server: HTTP 503")));
    server.set(Mood::LosesAnswers);
    append(dir.path(), 500..1_000);
    wait_for("answers were lost", || server.lost() > 3).await;
    server.set(Mood::Well);
    wait_for("all records", || server.messages().len() >= 1_000).await;
    wait_for("it is well", || agent.status().service_status == ServiceStatus::Running).await;
    agent.stop().await.unwrap();
    agent.stop().await.unwrap();
    assert_eq!(server.messages(), expected(1_000));
    let status = agent.status();
    assert_eq!(status.service_status, ServiceStatus::Stopped);
    assert!(status.records_deduplicated > 0 && status.ship_failures > 0, "{status:?}");
    assert!(server.samples().contains("cpu_usage") && server.samples().contains("agent.heartbeat"));
    let log = std::fs::read_to_string(dir.path().join("aegis_sentinel.log")).unwrap();
    assert!(log.contains("agent_started") && log.contains("agent_stopped"), "{log}");
    // Started again, it goes on where it was.
    append(dir.path(), 1_000..1_010);
    agent.start().await.unwrap();
    wait_for("the rest", || server.messages().len() >= 1_010).await;
    agent.stop().await.unwrap();
    assert_eq!(server.messages(), expected(1_010));
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured_and_what_is_refused_for_good_is_laid_aside() {
    let dir = tempfile::tempdir().unwrap();
    let server = StandIn::start().await;
    server.set(Mood::Refuses);
    let agent = Agent::new(config(dir.path(), Some(server.url()))).unwrap();
    agent.start().await.unwrap();
    append(dir.path(), 0..5);
    let aside = || {
        std::fs::read_dir(dir.path().join("data/refused")).map_or(0, |dir| {
            dir.flatten().filter(|entry| entry.file_name().to_string_lossy().contains("-logs")).count()
        })
    };
    wait_for("the frame is laid aside", || aside() == 1).await;
    wait_for("it is counted", || agent.status().records_refused >= 5).await;
    server.set(Mood::Busy);
    append(dir.path(), 5..6);
    wait_for("it was asked once more", || server.busy_at().len() >= 2).await;
    let asked = server.busy_at();
    assert!(
        asked[1].duration_since(asked[0]) >= Duration::from_secs(2),
        "{:?}",
        asked[1].duration_since(asked[0])
    );
    server.set(Mood::Well);
    wait_for("what came after arrives", || server.messages().contains(&"INFO record 5".to_owned())).await;
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_makes_tails_wait_and_loses_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = StandIn::start().await;
    server.set(Mood::Broken);
    let mut config = config(dir.path(), Some(server.url()));
    config.monitor.enabled = false;
    config.buffer = BufferConfig { bytes_max: 16 << 20, ..BufferConfig::default() };
    let agent = Agent::new(config).unwrap();
    agent.start().await.unwrap();
    // Lines that do not pack, so that the buffer fills.
    let mut seed = 1_u64;
    let mut lines = Vec::new();
    let mut file = std::fs::File::create(dir.path().join("app.log")).unwrap();
    for n in 0..50_000 {
        let words: String = (0..60)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{:016x}", seed)
            })
            .collect();
        lines.push(format!("INFO {n} {words}"));
        writeln!(file, "{}", lines[n]).unwrap();
    }
    wait_for("the buffer is full", || agent.status().tail_waits > 0).await;
    let status = agent.status();
    assert!(status.problems.iter().any(|problem| problem.starts_with("buffer: full")), "{status:?}");
    assert!(status.buffer.is_some_and(|buffer| buffer.bytes <= 16 << 20));
    server.set(Mood::Well);
    wait_for("every line", || server.messages().len() >= lines.len()).await;
    agent.stop().await.unwrap();
    lines.sort();
    assert_eq!(server.messages(), lines);
}

struct StandInHealer(Mutex<Vec<Verdict>>);

impl Healer for StandInHealer {
    fn heal(&self, verdict: &Verdict) {
        self.0.lock().push(verdict.clone());
    }

    fn tally(&self) -> HealTally {
        HealTally { tried: 4, succeeded: 3 }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_detects_and_heals_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let healer = Arc::new(StandInHealer(Mutex::default()));
    let mut config = config(dir.path(), None);
    config.recovery.enabled = true;
    config.tails[0].format = "syslog".to_owned();
    let agent =
        Agent::builder().config(config).healer(Arc::clone(&healer) as Arc<dyn Healer>).build().unwrap();
    agent.start().await.unwrap();
    let mut file = std::fs::File::create(dir.path().join("app.log")).unwrap();
    for n in 0..8 {
        writeln!(
            file,
            "Feb  9 20:25:0{n} h1 sshd[7]: Failed password for root from 203.0.113.5 port 4{n}22 ssh2"
        )
        .unwrap();
    }
    let of_source = |verdict: &Verdict| verdict.entity.value == "203.0.113.5";
    wait_for("a finding", || healer.0.lock().iter().any(of_source)).await;
    let status = agent.status();
    assert!(status.anomalies_detected > 0 && status.buffer.is_none());
    assert_eq!(status.success_rate, 0.75);
    let log = std::fs::read_to_string(dir.path().join("aegis_sentinel.log")).unwrap();
    let line = log.lines().find(|line| line.contains("203.0.113.5")).unwrap();
    let record = heimdall_agent::action_log::parse_line(line).unwrap();
    assert!(
        line.contains(" - heimdall.agent - WARNING - ")
            && record["event"] == "anomaly_detected"
            && record["target"] == "203.0.113.5",
        "{line}"
    );
    agent.stop().await.unwrap();
    // What was read before is not read again, but for a record that may still have been waiting for its end.
    healer.0.lock().clear();
    agent.start().await.unwrap();
    wait_for("a measurement", || agent.status().records_taken > 0).await;
    assert!(agent.status().tails.lines <= 1);
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_on_one_folder_and_bad_keys_do_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = StandIn::start().await;
    let first = Agent::new(config(dir.path(), Some(server.url()))).unwrap();
    let second = Agent::new(config(dir.path(), Some(server.url()))).unwrap();
    first.start().await.unwrap();
    first.start().await.expect_err("it runs");
    let refused = second.start().await.expect_err("the folder is in use").to_string();
    assert!(refused.contains("in use"), "{refused}");
    drop(first);
    wait_for("the folder is free", || futures::executor::block_on(async { second.start().await.is_ok() }))
        .await;
    second.stop().await.unwrap();
}

/// The agent of the test below, in a process that is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by `killed_at_any_moment_it_loses_and_doubles_nothing` in a process of its own"]
async fn victim() {
    let (Ok(dir), Ok(url)) = (std::env::var("AGENT_TEST_DIR"), std::env::var("AGENT_TEST_URL")) else {
        return;
    };
    let agent = Agent::new(config(Path::new(&dir), Some(url))).unwrap();
    agent.start().await.unwrap();
    std::future::pending::<()>().await;
}

/// A process that does not outlive its test.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start_victim(dir: &Path, url: &str) -> Victim {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env("AGENT_TEST_DIR", dir)
        .env("AGENT_TEST_URL", url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Victim(child.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = StandIn::start().await;
    let (mut written, rounds) = (0, 12);
    for round in 0..rounds {
        server.set([Mood::Well, Mood::LosesAnswers, Mood::Broken, Mood::Well][round % 4]);
        let child = start_victim(dir.path(), &server.url());
        for step in 0..(2 + round % 5) {
            append(dir.path(), written..written + 97);
            written += 97;
            tokio::time::sleep(Duration::from_millis(37 * (1 + ((round + step) as u64) % 7))).await; // any moment
        }
        if round % 3 == 2 {
            std::fs::rename(dir.path().join("app.log"), dir.path().join(format!("app.log.{round}"))).unwrap();
        }
        drop(child);
    }
    server.set(Mood::Well);
    let child = start_victim(dir.path(), &server.url());
    wait_for("every record", || server.messages().len() >= written).await;
    tokio::time::sleep(Duration::from_millis(700)).await; // for one too many
    drop(child);
    assert_eq!(server.messages(), expected(written));
}
