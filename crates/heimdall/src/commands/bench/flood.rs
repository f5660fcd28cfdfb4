//! Thousands of metric posts at once, each a request of its own; every one answered, every one judged.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::http::Connection;
use super::{ingest::wait_until_processed, quantile};
use crate::child::ChildServer;

const JSON: &str = "application/json";
const SERVICE: &str = "EDGE-LOAD-BALANCER";
/// Ordinary samples sent first, so that a baseline exists: twice what the detector asks for.
const BASELINE: usize = 100;
const ORDINARY: f64 = 42.0;
const FLOODED: f64 = 9_999.0;

pub(super) async fn run(requests: usize) -> Result<Value> {
    let dir = std::env::temp_dir().join(format!("heimdall-flood-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = measure(requests, &dir).await;
    std::fs::remove_dir_all(&dir)?;
    outcome
}

async fn measure(requests: usize, dir: &std::path::Path) -> Result<Value> {
    let server = ChildServer::start(dir).await?;
    let baseline: Vec<Value> = (0..BASELINE).map(|_| sample(ORDINARY)).collect();
    let status = Connection::open(&server.http)
        .await?
        .post("/api/v1/ingest/metrics", JSON, serde_json::to_string(&baseline)?.as_bytes())
        .await?
        .status;
    ensure!(status == 200, "the baseline was refused: {status}");
    let connections = try_join_all((0..requests).map(|_| Connection::open(&server.http))).await?;
    let body = sample(FLOODED).to_string();
    let started = Instant::now();
    let posts = connections.into_iter().map(|mut connection| {
        let body = body.clone();
        async move {
            let started = Instant::now();
            let status = connection.post("/api/v1/ingest/metrics", JSON, body.as_bytes()).await?.status;
            ensure!(status == 200, "answered {status}");
            anyhow::Ok(started.elapsed().as_secs_f64() * 1e3)
        }
    });
    let mut latencies = try_join_all(posts).await?;
    latencies.sort_by(f64::total_cmp);
    let answered_in = started.elapsed();
    wait_until_processed(&server.http).await?;
    let http = server.http.clone();
    let data_dir = server.data_dir.clone();
    let alerts: Value = reqwest::get(format!("http://{http}/alerts")).await?.json().await?;
    let raised = alerts.as_array().context("no alerts")?.len();
    server.stop().await?;
    let audit = std::fs::read_to_string(data_dir.join(format!("audit/default/{SERVICE}.log")))?;
    let critical = audit.lines().filter(|line| line.contains("[CRITICAL]") && line.contains("9999")).count();
    Ok(json!({
        "requests_at_once": requests,
        "answered": latencies.len(),
        "judged_critical": critical,
        "alerts": raised,
        "all_answered_in_ms": answered_in.as_secs_f64() * 1e3,
        "answer_ms_p50": quantile(&latencies, 0.50),
        "answer_ms_p99": quantile(&latencies, 0.99),
        "answer_ms_max": quantile(&latencies, 1.0),
        "deadline_ms": Duration::from_secs(3).as_secs_f64() * 1e3,
    }))
}

fn sample(value: f64) -> Value {
    json!({"service": SERVICE, "name": "requests_per_second", "value": value})
}
