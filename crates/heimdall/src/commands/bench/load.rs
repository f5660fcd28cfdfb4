//! A mixed load: several clients at once, each asking one question after the other with values and spans of time of its
//! own, while records may arrive at full speed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use heimdall_model::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::ask::{Asker, ROWS_MAX};
use super::ingest::{self, Source};
use super::quantile;
use super::query::{mib, rounded};
use super::questions::{MIX, Question};
use super::sample::Sample;
use crate::args::BenchQueryArgs;
use crate::child::ChildServer;

/// Spans of time that people look at, in hours; zero is all of the data.
const SPANS_HOURS: [i64; 6] = [1, 1, 6, 24, 24, 0];
const HOUR_NS: i64 = 3_600_000_000_000;
/// Lines per request and connections of the ingest beside the questions.
const INGEST_BATCH: usize = 5_000;
const INGEST_CONNECTIONS: usize = 2;

/// A fixed stream of choices (SplitMix64): the same load for the same number of clients.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % below.max(1) as u64).unwrap_or(0)
    }
}

/// What one client saw: ms of each answer, by question.
type Seen = BTreeMap<&'static str, Vec<f64>>;

pub(super) async fn run(
    args: &BenchQueryArgs,
    server: &ChildServer,
    asker: &Asker,
    sample: &Sample,
) -> Result<Value> {
    let (until, cpu) = (Instant::now() + Duration::from_secs(args.seconds), server.cpu_seconds()?);
    let started = Instant::now();
    let clients = (0..args.clients as u64).map(|number| client(number, asker.clone(), sample, until));
    let enough = CancellationToken::new();
    let ingest = async {
        if !args.while_ingesting {
            return anyhow::Ok(None);
        }
        let source = Source::endless(INGEST_BATCH);
        ingest::send(source, INGEST_CONNECTIONS, &server.http, &enough).await.map(Some)
    };
    let queries = async {
        let seen = try_join_all(clients).await;
        enough.cancel();
        seen
    };
    let (seen, sent) = tokio::try_join!(queries, ingest)?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = server.cpu_seconds()? - cpu;
    let mut report = summary(seen, seconds);
    report["clients"] = json!(args.clients);
    report["seconds"] = json!(rounded(seconds));
    report["server_cpu_cores"] = json!(rounded(cpu / seconds));
    report["server_rss_mib"] = json!(mib(server.rss_bytes()?));
    if let Some(sent) = sent {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = sent.records as f64 / seconds;
        report["ingested_lines_per_second"] = json!(rate.round());
        report["ingest_ack_ms_p99"] = json!(rounded(quantile(&sent.ack_ms, 0.99)));
    }
    Ok(report)
}

async fn client(number: u64, asker: Asker, sample: &Sample, until: Instant) -> Result<Seen> {
    let mut dice = Dice(number);
    let mut seen = Seen::new();
    while Instant::now() < until {
        let question = &MIX[dice.below(MIX.len())];
        let Some((line, range)) = pose(question, sample, &mut dice) else { continue };
        let started = Instant::now();
        asker.search(&line, Some(range), ROWS_MAX).await?;
        seen.entry(question.name).or_default().push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(seen)
}

/// The question with values and a span of time of its own; `None` when the data has no such value.
fn pose(question: &Question, sample: &Sample, dice: &mut Dice) -> Option<(String, (String, String))> {
    let (first, last) = (sample.bounds.0.0, sample.bounds.1.0.saturating_add(1));
    let all = last.saturating_sub(first).max(1);
    let span = match SPANS_HOURS[dice.below(SPANS_HOURS.len())].saturating_mul(HOUR_NS) {
        0 => all,
        span => span.min(all),
    };
    let spare = usize::try_from((all - span) / 1_000_000).unwrap_or(0);
    let from = first + i64::try_from(dice.below(spare + 1)).unwrap_or(0) * 1_000_000;
    // A needle is looked for in all of the data: nobody knows when it was.
    let needle = matches!(question.name, "trace id" | "rare token");
    let (from, to) = if needle { (first, last) } else { (from, from + span) };
    let text = question.search.replace("{bin}", Sample::bin(span));
    let line = sample.fill(&text, |values| dice.below(values)).ok()?;
    Some((line, (Timestamp(from).to_string(), Timestamp(to).to_string())))
}

fn summary(seen: Vec<Seen>, seconds: f64) -> Value {
    let mut all = Vec::new();
    let mut by_question = Seen::new();
    for (name, times) in seen.into_iter().flatten() {
        all.extend_from_slice(&times);
        by_question.entry(name).or_default().extend(times);
    }
    all.sort_by(f64::total_cmp);
    let rows: Vec<Value> = by_question
        .into_iter()
        .map(|(name, mut times)| {
            times.sort_by(f64::total_cmp);
            json!({
                "query": name,
                "runs": times.len(),
                "median_ms": rounded(quantile(&times, 0.5)),
                "p99_ms": rounded(quantile(&times, 0.99)),
                "max_ms": rounded(quantile(&times, 1.0)),
            })
        })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = all.len() as f64 / seconds;
    json!({
        "queries": all.len(),
        "queries_per_second": rounded(rate),
        "median_ms": rounded(quantile(&all, 0.5)),
        "p95_ms": rounded(quantile(&all, 0.95)),
        "p99_ms": rounded(quantile(&all, 0.99)),
        "max_ms": rounded(quantile(&all, 1.0)),
        "by_query": rows,
    })
}
