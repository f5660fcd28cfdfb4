//! `heimdall demo`: the server, and a simulated company that feeds it through its public endpoints.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use heimdall_model::{Clock, SystemClock, Timestamp};
use heimdall_simulate::{Event, Scenario, World, WorldConfig};
use reqwest::Method;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::generate::dataset_of;
use super::{say, serve};
use crate::args::{DemoArgs, Remote};
use crate::client::Client;
use crate::server::Server;

/// Ordinary past the company has lived through before the story begins, so that baselines exist.
const PAST: Duration = Duration::from_secs(20 * 60);
/// The story is told again and again.
const STORY_EVERY: Duration = Duration::from_secs(5 * 60);
const STORIES: u32 = 288;
/// Real time between deliveries.
const DELIVER_EVERY: Duration = Duration::from_millis(200);
/// Simulated time of one delivery of the past.
const PAST_STEP_NS: i64 = 30 * heimdall_model::time::NS_PER_SECOND;
/// Real time between status lines.
const STATUS_EVERY: Duration = Duration::from_secs(5);

pub(crate) async fn run(mut args: DemoArgs) -> Result<()> {
    args.serve.data_dir.get_or_insert_with(|| PathBuf::from("heimdall-data/demo"));
    let level = args.serve.log_level.take().or_else(|| Some("warn".to_owned()));
    args.serve.log_level = level;
    let loaded = serve::load(&args.serve)?;
    serve::init_log(&loaded.config.log)?;
    let shutdown = CancellationToken::new();
    serve::end_on_signal(shutdown.clone())?;
    let server = Server::build(&loaded.config, shutdown.clone()).await?;
    let url = format!("http://{}", server.http_addr()?);
    let watch = server.watch_addr()?;
    let admin = loaded.config.server.data_dir.join("admin.token");
    let running = tokio::spawn(server.run());
    let token = if loaded.config.auth.enabled {
        Some(std::fs::read_to_string(admin)?.trim().to_owned())
    } else {
        None
    };
    let client = Client::new(&Remote { url: url.clone(), token, tenant: None })?;
    greet(&url, &watch.to_string());
    let story = tell(&args, &client, &shutdown).await;
    shutdown.cancel();
    running.await??;
    story
}

fn greet(url: &str, watch: &str) {
    say(&format!(
        "Heimdall demo: a simulated company of 16 services, attacked and failing on schedule.\n\
         \n  alerts    {url}/alerts\n  status    {url}/api/v1/status\n  metrics   {url}/metrics\n  \
         console   heimdall watch --address {watch}\n  search    heimdall search --url {url} 'level>=error | stats count() by service'\n  \
         follow    heimdall tail --url {url} 'level>=warn'\n\nCtrl-C ends it. Alerts as they are raised:\n"
    ));
}

/// Lives through the company's past, then its present, until told to stop.
async fn tell(args: &DemoArgs, client: &Client, shutdown: &CancellationToken) -> Result<()> {
    let now = SystemClock.now();
    let past_ns = i64::try_from(PAST.as_nanos()).unwrap_or(i64::MAX);
    let config = WorldConfig {
        scenario: Scenario::demo().repeated(STORIES, STORY_EVERY).delayed(PAST),
        ..WorldConfig::new(args.seed, now.0 - past_ns)
    };
    let mut world = World::new(&config)?;
    while world.now_ns() < now.0 && !shutdown.is_cancelled() {
        let until = (world.now_ns() + PAST_STEP_NS).min(now.0);
        deliver(&mut world, until, client).await?;
    }
    let started = Instant::now();
    let mut status_due = started + STATUS_EVERY;
    let mut delivery = tokio::time::interval(DELIVER_EVERY);
    let end = (args.duration > 0).then(|| started + Duration::from_secs(args.duration));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = delivery.tick() => {}
        }
        #[expect(clippy::cast_possible_truncation, reason = "elapsed time in ns, scaled")]
        let passed = (started.elapsed().as_secs_f64() * args.speed * 1e9) as i64;
        deliver(&mut world, now.0 + passed, client).await?;
        if Instant::now() >= status_due {
            status_due += STATUS_EVERY;
            show_status(client).await?;
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
    }
    show_story(&world, client).await
}

/// Posts what happens until `until_ns`, as a shipper would.
async fn deliver(world: &mut World, until_ns: i64, client: &Client) -> Result<()> {
    let (mut logs, mut metrics) = (Vec::new(), Vec::new());
    world.advance(until_ns, &mut |event: Event| {
        let lines = if dataset_of(&event) == "logs" { &mut logs } else { &mut metrics };
        event.write_json(lines);
        lines.push(b'\n');
    });
    for (dataset, lines) in [("logs", logs), ("metrics", metrics)] {
        if !lines.is_empty() {
            let path = format!("/api/v1/ingest/{dataset}");
            client.send(client.request(Method::POST, &path).body(lines)).await?;
        }
    }
    Ok(())
}

async fn show_status(client: &Client) -> Result<()> {
    let status = client.get("/api/v1/status").await?;
    let number = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let alerts = client.get("/api/v1/alerts?status=open&limit=1000").await?;
    let open = alerts.get("items").and_then(Value::as_array).map_or(0, Vec::len);
    say(&format!(
        "· {} records, {} open alerts, {} rows in memory, {} segments",
        number("/stream/records"),
        open,
        number("/store/memtable_rows"),
        number("/store/segments"),
    ));
    Ok(())
}

/// The truth beside what was found.
async fn show_story(world: &World, client: &Client) -> Result<()> {
    let page = client.get("/api/v1/alerts?limit=1000").await?;
    let alerts = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let begun: Vec<_> = world.incidents().iter().filter(|i| i.start_ns < world.now_ns()).collect();
    say("\nincidents so far, and the first alert about each:");
    for incident in begun {
        let found = alerts.iter().find(|alert| {
            let text = |pointer: &str| alert.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let about = [text("/entity/value"), text("/service")];
            text("/rule").starts_with(incident.expected_rule)
                && (about.contains(&incident.entity.as_str()) || about.contains(&incident.service.name()))
        });
        let what = found.and_then(|alert| alert.get("title")?.as_str()).unwrap_or("not found");
        let start = Timestamp(incident.start_ns).to_string();
        say(&format!("  {start} {:?} {} → {what}", incident.kind, incident.entity));
    }
    Ok(())
}
