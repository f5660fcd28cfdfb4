//! Cost of a record through the JSON reader: without pipelines, through rename, and through rename and grok.
//!
//! `cargo run --release -p heimdall-ingest --example pipeline_cost`: ns a record, the best of some rounds.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "an example that measures")]

use std::time::Instant;

use heimdall_ingest::pipeline::PipelineSet;
use heimdall_ingest::{DecodeLimits, Origin, Pipelines, Pipes, Reading, json};
use heimdall_model::{Dataset, Tenant, Timestamp};

const RECORDS: usize = 20_000;
const ROUNDS: usize = 15;

fn main() {
    let body: String = (0..RECORDS).map(record).collect();
    println!("{RECORDS} records of {} bytes on average", body.len() / RECORDS);
    let live = Pipelines::default();
    let forced = |text: &str| {
        let pipeline = live.load("cost.yaml", text).expect("a pipeline");
        let name = pipeline.name.clone();
        (live.with(pipeline).expect("a set"), name)
    };
    let (rename, name) = forced("name: x\nsteps:\n - rename: {userId: user.id}\n");
    let rename = rename.only(&name).expect("it is there");
    let (grok, name) = forced(
        "name: x\nsteps:\n - rename: {userId: user.id}\n - parse: {as: grok, pattern: '%{WORD:verb} %{NOTSPACE:path} took %{NUMBER:ms:float}'}\n",
    );
    let grok = grok.only(&name).expect("it is there");
    println!("no pipelines          {:>6.0} ns", cost(&body, None));
    println!("rename                {:>6.0} ns", cost(&body, Some(&rename)));
    println!("rename and grok       {:>6.0} ns", cost(&body, Some(&grok)));
}

fn record(n: usize) -> String {
    format!(
        "{{\"timestamp\":\"2026-01-01T00:00:{:02}Z\",\"level\":\"info\",\"service\":\"web-{}\",\"host\":\"h{}\",\"message\":\"GET /item/{n} took {}.5\",\"userId\":\"u{n}\",\"status\":200,\"bytes\":{n},\"region\":\"eu\",\"build\":\"1.2.3\"}}\n",
        n % 60,
        n % 7,
        n % 13,
        n % 900
    )
}

fn cost(body: &str, set: Option<&PipelineSet>) -> f64 {
    let (tenant, limits) = (Tenant::default(), DecodeLimits::default());
    let origin = Origin { door: "http", tenant: &tenant, service: None };
    let pipelines = set.map(|set| Pipes { set, origin });
    let round = || {
        let start = Instant::now();
        let reading = Reading { now: Timestamp(0), limits: &limits, pipelines };
        let decoded = json::read(Dataset::Logs, body.as_bytes(), reading).expect("JSON");
        assert_eq!(decoded.batch.rows(), RECORDS);
        start.elapsed().as_secs_f64() * 1e9 / RECORDS as f64
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
