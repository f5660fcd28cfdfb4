//! Acknowledged ingest over loopback HTTP: generated lines or those of a file, several connections, a server in a
//! process of its own.
//!
//! Invariant: what is counted as taken was acknowledged in the way of its door.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use heimdall_ingest::format::Format;
use heimdall_model::{Clock, SystemClock};
use heimdall_simulate::{BenchForm, BenchLines};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::http::{Connection, HttpAnswer};
use super::query::temporary;
use super::{cores, quantile};
use crate::args::BenchIngestArgs;
use crate::child::ChildServer;
use crate::commands::ingest::Input;

/// Seed of the generated lines: every run sends the same ones.
const SEED: u64 = 42;
/// Seed of the lines sent while questions are asked: not those the folder was filled with.
const SEED_ENDLESS: u64 = 43;
/// Event time between two of them.
const ENDLESS_STEP_NS: i64 = 10_000;
/// More of them than anybody waits for.
const ENDLESS_LINES: u64 = 1_000_000_000;
/// Longest wait for the stream after the last acknowledgement.
const PROCESSED_WITHIN: Duration = Duration::from_secs(120);
/// Bodies made ahead.
const BODIES_AHEAD: usize = 16;
/// Pause after a refusal that names none.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where lines come from.
pub(super) enum Source {
    /// The generator, so many lines a request.
    Generated {
        /// The lines, boxed: they carry tables.
        lines: Box<BenchLines>,
        /// Lines of each request.
        batch: usize,
        /// How they are sent.
        form: BenchForm,
    },
    /// A log file.
    File {
        /// The file.
        input: Box<Input>,
        /// Format of its lines.
        format: Format,
    },
}

/// One request's worth of lines.
struct Body {
    bytes: Vec<u8>,
    /// Records in it, when that is known before the server has read it.
    records: Option<u64>,
}

/// What was sent and acknowledged.
#[derive(Default)]
pub(super) struct Sent {
    /// Records the server took.
    pub records: u64,
    /// Records it did not take.
    pub rejected: u64,
    /// Requests it answered with 429 or 503, which were sent again.
    pub refused: u64,
    /// Bytes of lines.
    pub bytes: u64,
    /// Time of each acknowledgement, in order of size.
    pub ack_ms: Vec<f64>,
}

impl Source {
    /// What `bench ingest` was told to send.
    fn of(args: &BenchIngestArgs) -> Result<Source> {
        if let Some(file) = &args.file {
            let mut input = Input::open(file)?;
            let format = input.detect()?;
            return Ok(Source::File { input: Box::new(input), format });
        }
        #[expect(clippy::cast_possible_truncation, reason = "some days in ns")]
        let span_ns = (args.days * 86_400e9) as i64;
        let start = SystemClock.now().saturating_add_ns(-span_ns);
        let lines = Box::new(BenchLines::new(SEED, start.0, span_ns, args.lines));
        Ok(Source::Generated { lines, batch: args.batch, form: args.door.form() })
    }

    /// Lines from now on, more than there is time for.
    pub(super) fn endless(batch: usize) -> Source {
        let span_ns = ENDLESS_STEP_NS * ENDLESS_LINES.cast_signed();
        let lines = BenchLines::new(SEED_ENDLESS, SystemClock.now().0, span_ns, ENDLESS_LINES);
        Source::Generated { lines: Box::new(lines), batch, form: BenchForm::Native }
    }

    fn form(&self) -> BenchForm {
        match self {
            Source::Generated { form, .. } => *form,
            Source::File { .. } => BenchForm::Native,
        }
    }

    fn path(&self) -> String {
        let path = self.form().path();
        match self {
            Source::Generated { .. } => path.to_owned(),
            Source::File { format, .. } => format!("{path}?format={}", format.as_str()),
        }
    }

    fn next(&mut self) -> Result<Option<Body>> {
        match self {
            Source::Generated { lines, batch, form } => {
                let mut bytes = Vec::with_capacity(*batch * 400);
                let records = lines.fill(*batch, &mut bytes) as u64;
                Ok((records > 0).then(|| Body { bytes: form.body(bytes), records: Some(records) }))
            }
            Source::File { input, format } => {
                let piece = input.next_piece(*format)?;
                Ok(piece.map(|piece| Body { bytes: piece.bytes, records: None }))
            }
        }
    }
}

pub(super) async fn run(args: &BenchIngestArgs) -> Result<Value> {
    ensure!(args.batch > 0 && args.connections > 0, "--batch and --connections must be at least 1");
    let dir = args.data_dir.clone().unwrap_or_else(|| temporary("bench"));
    std::fs::create_dir_all(&dir)?;
    let outcome = measure(args, &dir).await;
    if args.data_dir.is_none() {
        std::fs::remove_dir_all(&dir)?;
    }
    outcome
}

async fn measure(args: &BenchIngestArgs, dir: &Path) -> Result<Value> {
    let source = Source::of(args)?;
    let server = ChildServer::start(dir).await?;
    let cpu_before = server.cpu_seconds()?;
    let started = Instant::now();
    let sent = send(source, args.connections, &server.http, &CancellationToken::new()).await?;
    let elapsed = started.elapsed().as_secs_f64();
    wait_until_processed(&server.http).await?;
    let processed = started.elapsed().as_secs_f64();
    let peak_rss = server.peak_rss_bytes()?;
    let cpu = server.cpu_seconds()? - cpu_before;
    server.stop().await?;
    let stored = folder_bytes(&dir.join("store"))?;
    ensure!(sent.records > 0, "no record was taken");
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (records, bytes, stored, rss) =
        (sent.records as f64, sent.bytes as f64, stored as f64, peak_rss as f64);
    Ok(json!({
        "cores": cores(),
        "door": args.door,
        "lines": sent.records,
        "lines_rejected": sent.rejected,
        "bytes_per_line_sent": bytes / records,
        "connections": args.connections,
        "requests": sent.ack_ms.len(),
        "requests_refused": sent.refused,
        "lines_per_second_acknowledged": records / elapsed,
        "lines_per_second_processed": records / processed,
        "server_cpu_seconds_per_million": cpu / records * 1e6,
        "ack_ms_p50": quantile(&sent.ack_ms, 0.50),
        "ack_ms_p99": quantile(&sent.ack_ms, 0.99),
        "server_peak_rss_mib": rss / f64::from(1 << 20),
        "stored_bytes_per_line": stored / records,
    }))
}

/// Sends until the source ends or it is enough.
pub(super) async fn send(
    source: Source,
    connections: usize,
    host: &str,
    enough: &CancellationToken,
) -> Result<Sent> {
    let (path, form) = (source.path(), source.form());
    let (bodies_tx, bodies) = mpsc::channel::<Body>(BODIES_AHEAD);
    let maker = tokio::task::spawn_blocking(move || make(source, &bodies_tx));
    let bodies = Arc::new(Mutex::new(bodies));
    let mut senders = Vec::new();
    for _ in 0..connections {
        let (bodies, path, enough) = (Arc::clone(&bodies), path.clone(), enough.clone());
        let connection = Connection::open(host).await?;
        senders.push(tokio::spawn(send_on(connection, path, form, bodies, enough)));
    }
    let mut all = Sent::default();
    for sender in senders {
        let sent = sender.await??;
        all.records += sent.records;
        all.rejected += sent.rejected;
        all.refused += sent.refused;
        all.bytes += sent.bytes;
        all.ack_ms.extend(sent.ack_ms);
    }
    drop(bodies);
    maker.await??;
    all.ack_ms.sort_by(f64::total_cmp);
    Ok(all)
}

fn make(mut source: Source, bodies: &mpsc::Sender<Body>) -> Result<()> {
    while let Some(body) = source.next()? {
        if bodies.blocking_send(body).is_err() {
            break;
        }
    }
    Ok(())
}

async fn send_on(
    mut connection: Connection,
    path: String,
    form: BenchForm,
    bodies: Arc<Mutex<mpsc::Receiver<Body>>>,
    enough: CancellationToken,
) -> Result<Sent> {
    let mut sent = Sent::default();
    while !enough.is_cancelled() {
        let Some(body) = bodies.lock().await.recv().await else { break };
        let started = Instant::now();
        let mut answer = connection.post(&path, form.content_type(), &body.bytes).await?;
        while matches!(answer.status, 429 | 503) {
            sent.refused += 1;
            tokio::time::sleep(answer.retry_after.unwrap_or(RETRY_AFTER)).await;
            answer = connection.post(&path, form.content_type(), &body.bytes).await?;
        }
        sent.ack_ms.push(started.elapsed().as_secs_f64() * 1e3);
        let (accepted, rejected) = acknowledged(form, &answer, body.records)?;
        sent.records += accepted;
        sent.rejected += rejected;
        sent.bytes += body.bytes.len() as u64;
    }
    Ok(sent)
}

/// Records an answer acknowledges and those it rejects. Generated ones are to be taken all.
fn acknowledged(form: BenchForm, answer: &HttpAnswer, records: Option<u64>) -> Result<(u64, u64)> {
    let said = || String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(matches!(answer.status, 200 | 204), "the server answered {}: {}", answer.status, said());
    let read = || -> Result<Value> { Ok(serde_json::from_slice(&answer.body)?) };
    let (accepted, rejected) = match form {
        BenchForm::Native => {
            let answer = read()?;
            let accepted = answer["accepted"].as_u64().context("an answer without `accepted`")?;
            (accepted, answer["rejected_total"].as_u64().unwrap_or(0))
        }
        BenchForm::Elasticsearch => {
            let answer = read()?;
            let items = answer["items"].as_array().context("an answer without `items`")?;
            let taken = items.iter().filter(|item| item["create"]["status"] == 201).count() as u64;
            (taken, items.len() as u64 - taken)
        }
        // An empty answer: nothing was rejected, or the export's answer would say how many.
        BenchForm::Loki | BenchForm::Otlp | BenchForm::OtlpJson => {
            ensure!(matches!(&*answer.body, b"" | b"{}"), "not every line was taken: {}", said());
            (records.unwrap_or(0), 0)
        }
    };
    ensure!(records.is_none_or(|records| records == accepted), "not every line was taken: {}", said());
    Ok((accepted, rejected))
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
        let entry = entry?;
        let meta = entry.metadata()?;
        total += if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(total)
}
