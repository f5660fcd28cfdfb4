//! A set of questions against a filled data folder, each run many times by a server in a process of its own.
//!
//! The kernel counts CPU time in steps of 10 ms, so a question is repeated until it has used half a second or its time
//! is up: what is printed is the mean over that many runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::ask::{Asker, ROWS_MAX};
use super::questions::{MEASURED_ROWS, QUESTIONS, Question};
use super::sample::Sample;
use super::{cores, load, quantile};
use crate::args::BenchQueryArgs;
use crate::child::ChildServer;
use crate::show;

/// Fewest and most runs of a question.
const RUNS_MIN: usize = 3;
const RUNS_MAX: usize = 2_000;
/// CPU seconds of a question after which its figure is steady.
const CPU_SECONDS: f64 = 0.5;
/// Wall time given to one question, beyond its fewest runs.
const PATIENCE: Duration = Duration::from_secs(3);
/// How far from [`MEASURED_ROWS`] the data may be for the designed figures to be shown beside the measured ones.
const NEARLY: std::ops::RangeInclusive<u64> = MEASURED_ROWS / 10 * 8..=MEASURED_ROWS / 10 * 12;

pub(super) async fn run(args: &BenchQueryArgs) -> Result<Value> {
    ensure!(
        args.data_dir.join("store").exists(),
        "`{}` holds no store; fill it with `heimdall bench ingest --data-dir`",
        args.data_dir.display()
    );
    let server = ChildServer::start(&args.data_dir).await?;
    let asker = Asker::new(&server, args.cache);
    let sample = Sample::take(&asker).await?;
    let status = asker.status().await?;
    let mut report = json!({
        "cores": cores(),
        "store": status.get("store"),
        "first_record": sample.bounds.0.to_string(),
        "last_record": sample.bounds.1.to_string(),
        "values_sampled": sample.counts(),
        "ready_after_ms": server.ready_after.as_secs_f64() * 1e3,
        "server_rss_mib_ready": mib(server.rss_bytes()?),
    });
    if args.clients > 0 {
        report["load"] = load::run(args, &server, &asker, &sample).await?;
    } else {
        let rows = status.pointer("/store/segment_rows").and_then(Value::as_u64).unwrap_or(0);
        report["queries"] = measure_all(args, &server, &asker, &sample, rows).await?;
    }
    report["server_peak_rss_mib"] = json!(mib(server.peak_rss_bytes()?));
    server.stop().await?;
    Ok(report)
}

async fn measure_all(
    args: &BenchQueryArgs,
    server: &ChildServer,
    asker: &Asker,
    sample: &Sample,
    rows: u64,
) -> Result<Value> {
    let mut measured = Vec::new();
    for question in QUESTIONS.iter().filter(|question| is_wanted(question, &args.only)) {
        let text = if args.sql { question.sql.unwrap_or_default() } else { question.search };
        if text.is_empty() {
            continue;
        }
        let filled = if args.sql { sample.fill_sql(text) } else { sample.fill(text, |_| 0) };
        let text = match filled {
            Ok(text) => text,
            Err(name) => {
                measured.push(json!({"query": question.name, "skipped": format!("no {name} in the data")}));
                continue;
            }
        };
        let range = sample.range(question.span);
        let language = if args.sql { "sql" } else { "search" };
        let mut row = match measure(args.runs, server, async || {
            asker.ask(language, &text, Some(range.clone()), ROWS_MAX).await
        })
        .await
        {
            Ok(row) => row,
            Err(error) => json!({"failed": error.to_string()}),
        };
        row["query"] = json!(question.name);
        row["text"] = json!(text);
        if let Some((must, aim)) = question.must_aim_ms.filter(|_| NEARLY.contains(&rows)) {
            row["must_cpu_ms"] = json!(must);
            row["aim_cpu_ms"] = json!(aim);
        }
        measured.push(row);
    }
    Ok(Value::Array(measured))
}

fn is_wanted(question: &Question, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|part| question.name.contains(part.as_str()))
}

/// Runs one question over and over; the figures of all runs but the first, which may have met cold files.
async fn measure(
    runs: Option<usize>,
    server: &ChildServer,
    ask: impl AsyncFn() -> Result<Value>,
) -> Result<Value> {
    let started = Instant::now();
    let answer = ask().await?;
    let first_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut times = Vec::new();
    let (started, cpu) = (Instant::now(), server.cpu_seconds()?);
    let mut used = 0.0;
    loop {
        let enough = match runs {
            Some(runs) => times.len() >= runs.max(1),
            None => {
                let steady = used >= CPU_SECONDS && times.len() >= 50;
                times.len() >= RUNS_MIN
                    && (steady || started.elapsed() >= PATIENCE || times.len() >= RUNS_MAX)
            }
        };
        if enough {
            break;
        }
        let run = Instant::now();
        ask().await?;
        times.push(run.elapsed().as_secs_f64() * 1e3);
        used = server.cpu_seconds()? - cpu;
    }
    #[expect(clippy::cast_precision_loss, reason = "some runs")]
    let cpu_ms = used * 1e3 / times.len() as f64;
    times.sort_by(f64::total_cmp);
    let stat = |name: &str| answer.pointer(&format!("/stats/{name}")).cloned().unwrap_or_default();
    Ok(json!({
        "runs": times.len(),
        "first_ms": rounded(first_ms),
        "median_ms": rounded(quantile(&times, 0.5)),
        "p99_ms": rounded(quantile(&times, 0.99)),
        "cpu_ms": rounded(cpu_ms),
        "rows": answer["rows"].as_array().map_or(0, Vec::len),
        "value": single(&answer),
        "rows_scanned": stat("rows_scanned"),
        "rows_matched": stat("rows_matched"),
        "bytes_read": stat("bytes_read"),
        "strategy": stat("strategy"),
        "partial": stat("partial"),
        "server_rss_mib": rounded(mib(server.rss_bytes()?)),
    }))
}

/// The value of an answer that is one: two programs that count the same can be compared.
fn single(answer: &Value) -> Value {
    let rows = answer["rows"].as_array();
    rows.filter(|rows| rows.len() == 1)
        .and_then(|rows| rows[0].as_array()?.last().cloned())
        .unwrap_or_default()
}

pub(super) fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn mib(bytes: u64) -> f64 {
    rounded(bytes as f64 / f64::from(1 << 20))
}

/// Columns of the table of questions: heading and key. What no row has is left out.
const COLUMNS: [(&str, &str); 13] = [
    ("query", "query"),
    ("median ms", "median_ms"),
    ("p99 ms", "p99_ms"),
    ("max ms", "max_ms"),
    ("cpu ms", "cpu_ms"),
    ("must", "must_cpu_ms"),
    ("aim", "aim_cpu_ms"),
    ("rows", "rows"),
    ("scanned", "rows_scanned"),
    ("bytes read", "bytes_read"),
    ("strategy", "strategy"),
    ("runs", "runs"),
    ("RSS MiB", "server_rss_mib"),
];

/// Measured questions as a table, for people.
pub(super) fn table(rows: &[Value]) -> String {
    let columns: Vec<_> =
        COLUMNS.iter().filter(|(_, key)| rows.iter().any(|row| row.get(*key).is_some())).collect();
    let cell = |row: &Value, key: &str| match row.get(key).unwrap_or(&Value::Null) {
        Value::Null if key == "median_ms" => {
            let why = row.get("skipped").or_else(|| row.get("failed")).and_then(Value::as_str);
            why.unwrap_or_default().chars().take(60).collect()
        }
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let headings: Vec<String> = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|(_, key)| cell(row, key)).collect()).collect();
    show::table(&headings, &cells)
}

/// Where a bench keeps its data when it is not told.
pub(super) fn temporary(name: &str) -> PathBuf {
    Path::new(&std::env::temp_dir()).join(format!("heimdall-{name}-{}", std::process::id()))
}
