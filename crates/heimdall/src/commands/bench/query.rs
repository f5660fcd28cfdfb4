//! A set of queries against a filled data folder, each run several times by a server in a process of its own.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{cores, quantile};
use crate::child::ChildServer;

/// Queries by name; `{trace_id}` and `{user_id}` are taken from a stored record.
const QUERIES: &[(&str, &str)] = &[
    ("trace id", "trace_id:{trace_id}"),
    ("absent trace id", "trace_id:00000000000000000000000000000001"),
    ("rare token", "\"{request_id}\""),
    ("phrase count", "\"connection refused\" | stats count()"),
    ("latest 100 errors of a service", "service:{service} level>=error | limit 100"),
    ("count per hour", "| timechart span=1h count()"),
    ("errors by service", "level>=error | stats count() by service"),
    ("p99 by service", "| stats p99(duration_ms) by service"),
    ("distinct users of 5xx", "status>=500 | stats count_distinct(user_id)"),
    ("regex count over messages", "/[Ff]ailed .* from/ | stats count()"),
    ("latest 100 with a word", "connection | limit 100"),
    ("top 10 users", "| top 10 user_id"),
    ("last hour by level and service", "timestamp>now-1h | stats count() by level, service"),
];

pub(super) async fn run(data_dir: &Path, runs: usize) -> Result<Value> {
    ensure!(
        data_dir.join("store").exists(),
        "`{}` holds no store; fill it with `heimdall bench ingest --data-dir`",
        data_dir.display()
    );
    ensure!(runs > 0, "--runs must be at least 1");
    let server = ChildServer::start(data_dir).await?;
    let client = reqwest::Client::new();
    let ask = async |query: &str| -> Result<Value> {
        let body = json!({"query": query, "from": "now-3650d", "to": "now+1d", "limit": 100});
        let url = format!("http://{}/api/v1/query", server.http);
        let answer: Value = client.post(url).json(&body).send().await?.json().await?;
        ensure!(answer.get("columns").is_some(), "`{query}`: {answer}");
        Ok(answer)
    };
    let known = sample(&ask("exists:trace_id | limit 1").await?)?;
    let mut rows = Vec::new();
    for (name, query) in QUERIES {
        let query = known.iter().fold((*query).to_owned(), |query, (key, value)| query.replace(key, value));
        let (mut times, mut answer) = (Vec::new(), Value::Null);
        let cpu = server.cpu_seconds()?;
        for _ in 0..runs {
            let started = Instant::now();
            answer = ask(&query).await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        #[expect(clippy::cast_precision_loss, reason = "a few runs")]
        let cpu_ms = (server.cpu_seconds()? - cpu) * 1e3 / runs as f64;
        times.sort_by(f64::total_cmp);
        rows.push(json!({
            "query": name,
            "median_ms": round(quantile(&times, 0.5)),
            "max_ms": round(quantile(&times, 1.0)),
            "cpu_ms": round(cpu_ms),
            "rows": answer["rows"].as_array().map_or(0, Vec::len),
            "rows_scanned": answer.pointer("/stats/rows_scanned"),
            "bytes_read": answer.pointer("/stats/bytes_read"),
        }));
    }
    let status: Value =
        client.get(format!("http://{}/api/v1/status", server.http)).send().await?.json().await?;
    let (ready, rss) = (server.ready_after, server.peak_rss_bytes()?);
    server.stop().await?;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rss_mib = rss as f64 / f64::from(1 << 20);
    Ok(json!({
        "cores": cores(),
        "store": status.get("store"),
        "ready_after_ms": ready.as_secs_f64() * 1e3,
        "server_peak_rss_mib": rss_mib,
        "queries": rows,
    }))
}

fn round(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// Values of one stored record, by placeholder.
fn sample(answer: &Value) -> Result<Vec<(String, String)>> {
    let columns = answer["columns"].as_array().context("no columns")?;
    let row = answer["rows"]
        .get(0)
        .and_then(Value::as_array)
        .context("the store holds no record with a trace id")?;
    let named = columns.iter().zip(row).filter_map(|(column, value)| {
        Some((format!("{{{}}}", column["name"].as_str()?), value.as_str()?.to_owned()))
    });
    Ok(named.collect())
}
