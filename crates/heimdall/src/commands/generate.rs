//! `heimdall generate`: simulated structured logs, paced like a live system or as fast as possible.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use heimdall_model::{Clock, SystemClock};
use heimdall_simulate::{BenchLines, Event, IntervalConfig, IntervalStream};
use reqwest::Method;
use tokio::time::{Instant, sleep_until};

use crate::args::GenerateArgs;
use crate::client::Client;

/// Benchmark lines made at a time.
const LINES_AT_ONCE: usize = 10_000;
/// Event time that benchmark lines cover.
const BENCH_SPAN_NS: i64 = 7 * heimdall_model::time::NS_PER_DAY;

/// Where entries go.
enum Target {
    Writer(Box<dyn Write + Send>),
    Server(Client),
}

impl Target {
    fn open(args: &GenerateArgs) -> Result<Target> {
        Ok(match (&args.output, args.send) {
            (_, true) => Target::Server(Client::new(&args.remote)?),
            (Some(path), false) => {
                let file =
                    File::create(path).with_context(|| format!("could not create `{}`", path.display()))?;
                Target::Writer(Box::new(BufWriter::new(file)))
            }
            (None, false) => Target::Writer(Box::new(BufWriter::new(std::io::stdout()))),
        })
    }

    /// Hands on lines of one dataset.
    async fn take(&mut self, dataset: &str, lines: Vec<u8>) -> Result<()> {
        match self {
            Target::Writer(writer) => Ok(written(writer.write_all(&lines))?),
            Target::Server(client) => {
                let path = format!("/api/v1/ingest/{dataset}");
                client.send(client.request(Method::POST, &path).body(lines)).await.map(drop)
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Target::Writer(writer) => Ok(written(writer.flush())?),
            Target::Server(_) => Ok(()),
        }
    }
}

/// A reader that has gone away ends the program quietly, as in `| head`.
fn written(outcome: std::io::Result<()>) -> std::io::Result<()> {
    if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
    outcome
}

pub(crate) async fn run(args: GenerateArgs) -> Result<()> {
    let mut target = Target::open(&args)?;
    match args.lines {
        Some(lines) => bench_lines(&args, lines, &mut target).await,
        None => paced(&args, &mut target).await,
    }
}

async fn bench_lines(args: &GenerateArgs, lines: u64, target: &mut Target) -> Result<()> {
    let start = SystemClock.now().saturating_add_ns(-BENCH_SPAN_NS);
    let mut bench = BenchLines::new(args.seed, start.0, BENCH_SPAN_NS, lines);
    let mut left = lines;
    while left > 0 {
        let now = usize::try_from(left).map_or(LINES_AT_ONCE, |left| left.min(LINES_AT_ONCE));
        let mut out = Vec::with_capacity(now * 400);
        bench.fill(now, &mut out);
        target.take("logs", out).await?;
        left -= now as u64;
    }
    target.flush()
}

async fn paced(args: &GenerateArgs, target: &mut Target) -> Result<()> {
    let config = IntervalConfig {
        duration: seconds(args.duration, "--duration")?,
        min_interval: seconds(args.min_interval, "--min-interval")?,
        max_interval: seconds(args.max_interval, "--max-interval")?,
        ..IntervalConfig::new(args.seed, SystemClock.now().0)
    };
    let mut due = Instant::now();
    for (pause, event) in IntervalStream::new(config)? {
        due += pause;
        if !args.no_wait {
            target.flush()?;
            sleep_until(due).await;
        }
        let mut line = Vec::with_capacity(512);
        event.write_json(&mut line);
        line.push(b'\n');
        target.take("logs", line).await?;
    }
    target.flush()
}

/// The dataset an event belongs to.
pub(crate) fn dataset_of(event: &Event) -> &'static str {
    match event {
        Event::Log(_) => "logs",
        Event::Sample(_) => "metrics",
    }
}

fn seconds(seconds: f64, flag: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .with_context(|| format!("{flag} {seconds} is not a number of seconds"))
}
