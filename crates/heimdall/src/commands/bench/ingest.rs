//! Acknowledged ingest over loopback HTTP: generated lines, several connections, a server in a process of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use heimdall_model::{Clock, SystemClock};
use heimdall_simulate::BenchLines;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use super::http::Connection;
use super::{cores, quantile};
use crate::child::ChildServer;

/// Seed of the generated lines: every run sends the same ones.
const SEED: u64 = 42;
/// Longest wait for the stream after the last acknowledgement.
const PROCESSED_WITHIN: Duration = Duration::from_secs(120);
/// Bodies generated ahead.
const BODIES_AHEAD: usize = 16;

/// What to send.
pub(super) struct Plan {
    pub lines: u64,
    pub batch: usize,
    pub connections: usize,
    pub days: f64,
}

pub(super) async fn run(plan: &Plan, data_dir: Option<PathBuf>) -> Result<Value> {
    ensure!(plan.batch > 0 && plan.connections > 0, "--batch and --connections must be at least 1");
    let temporary = data_dir.is_none();
    let dir = data_dir
        .unwrap_or_else(|| std::env::temp_dir().join(format!("heimdall-bench-{}", std::process::id())));
    std::fs::create_dir_all(&dir)?;
    let outcome = measure(plan, &dir).await;
    if temporary {
        std::fs::remove_dir_all(&dir)?;
    }
    outcome
}

async fn measure(plan: &Plan, dir: &Path) -> Result<Value> {
    let server = ChildServer::start(dir).await?;
    let cpu_before = server.cpu_seconds()?;
    let started = Instant::now();
    let (latencies, bytes) = send(plan, &server.http).await?;
    let elapsed = started.elapsed().as_secs_f64();
    wait_until_processed(&server.http).await?;
    let processed = started.elapsed().as_secs_f64();
    let peak_rss = server.peak_rss_bytes()?;
    let cpu = server.cpu_seconds()? - cpu_before;
    server.stop().await?;
    let stored = folder_bytes(&dir.join("store"))?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (lines, sent, stored, rss) = (plan.lines as f64, bytes as f64, stored as f64, peak_rss as f64);
    Ok(json!({
        "cores": cores(),
        "lines": plan.lines,
        "bytes_per_line_sent": sent / lines,
        "connections": plan.connections,
        "lines_per_request": plan.batch,
        "lines_per_second_acknowledged": lines / elapsed,
        "lines_per_second_processed": lines / processed,
        "server_cpu_seconds_per_million": cpu / lines * 1e6,
        "ack_ms_p50": quantile(&latencies, 0.50),
        "ack_ms_p99": quantile(&latencies, 0.99),
        "server_peak_rss_mib": rss / f64::from(1 << 20),
        "stored_bytes_per_line": stored / lines,
    }))
}

/// Sends every line; returns the sorted acknowledgement times in ms, and the bytes sent.
async fn send(plan: &Plan, host: &str) -> Result<(Vec<f64>, u64)> {
    let (bodies_tx, bodies) = mpsc::channel::<(usize, Vec<u8>)>(BODIES_AHEAD);
    let (lines, batch) = (plan.lines, plan.batch);
    #[expect(clippy::cast_possible_truncation, reason = "some days in ns")]
    let span_ns = (plan.days * 86_400e9) as i64;
    let generator = tokio::task::spawn_blocking(move || {
        let start = SystemClock.now().saturating_add_ns(-span_ns);
        let mut source = BenchLines::new(SEED, start.0, span_ns, lines);
        let mut left = lines;
        while left > 0 {
            let now = usize::try_from(left).map_or(batch, |left| left.min(batch));
            let mut body = Vec::with_capacity(now * 400);
            source.fill(now, &mut body);
            left -= now as u64;
            if bodies_tx.blocking_send((now, body)).is_err() {
                return;
            }
        }
    });
    let bodies = Arc::new(Mutex::new(bodies));
    let mut senders = Vec::new();
    for _ in 0..plan.connections {
        let (bodies, mut connection) = (Arc::clone(&bodies), Connection::open(host).await?);
        senders.push(tokio::spawn(async move {
            let (mut latencies, mut sent) = (Vec::new(), 0_u64);
            loop {
                let Some((lines, body)) = bodies.lock().await.recv().await else { break };
                let started = Instant::now();
                let (status, answer) = connection.post("/api/v1/ingest/logs", &body).await?;
                latencies.push(started.elapsed().as_secs_f64() * 1e3);
                let answer: Value = serde_json::from_slice(&answer)?;
                ensure!(
                    status == 200 && answer["accepted"] == json!(lines),
                    "the server answered {status}: {answer}"
                );
                sent += body.len() as u64;
            }
            anyhow::Ok((latencies, sent))
        }));
    }
    let (mut latencies, mut bytes) = (Vec::new(), 0);
    for sender in senders {
        let (times, sent) = sender.await??;
        latencies.extend(times);
        bytes += sent;
    }
    generator.await?;
    latencies.sort_by(f64::total_cmp);
    Ok((latencies, bytes))
}

/// Waits until the stream has caught up with the journal.
pub(super) async fn wait_until_processed(host: &str) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < PROCESSED_WITHIN {
        let status: Value = reqwest::get(format!("http://{host}/api/v1/status")).await?.json().await?;
        let seq = |name: &str| status.pointer(&format!("/stream/{name}")).and_then(Value::as_u64);
        if seq("processed_seq") == seq("durable_seq") && seq("durable_seq").is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the server had not processed everything after {PROCESSED_WITHIN:?}")
}

fn folder_bytes(dir: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(dir)? {
        let meta = entry?.metadata()?;
        if meta.is_file() {
            total += meta.len();
        }
    }
    Ok(total)
}
