//! `heimdall demo`: the server, and a simulated company that feeds it through its public endpoints.

mod containers;
mod hands;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use heimdall_agent::Agent;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Clock, SystemClock, Timestamp};
use heimdall_respond::{Mode, Playbook, RespondConfig};
use heimdall_simulate::{Event, Incident, Scenario, World, WorldConfig};
use reqwest::Method;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::generate::dataset_of;
use super::{say, serve};
use crate::args::{Colour, DemoArgs, Remote};
use crate::client::Client;
use crate::response::listed;
use crate::server::{Extras, Server};
use crate::show::{self, BOLD, DIM, GREEN, code_of, paint, printable};
use containers::Containers;
use hands::{Hands, Order};

/// Ordinary past the company has lived through before the story begins, so that baselines exist.
const PAST: Duration = Duration::from_secs(20 * 60);
/// The story is told again and again.
const STORY_EVERY: Duration = Duration::from_secs(5 * 60);
const STORIES: u32 = 288;
/// Real time between deliveries.
const DELIVER_EVERY: Duration = Duration::from_millis(200);
/// Simulated time of one delivery of the past.
const PAST_STEP_NS: i64 = 30 * NS_PER_SECOND;
/// Real time between looks at the alerts.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between status lines.
const LOOKS_PER_STATUS: u32 = 10;
/// Alerts looked at.
const ALERTS_MAX: usize = 1_000;
/// What is logged: not what actions are taken, which the demo shows itself.
const LOG_LEVEL: &str = "warn,heimdall::actions=off";
/// What the company lets Heimdall do by itself.
const PLAYBOOKS: &str = include_str!("demo/playbooks.yaml");
/// Time a target is left alone after an action: the story goes on faster than life.
const COOLDOWN: Duration = Duration::from_secs(60);
/// Actions in an hour of the story, on one target, of one playbook, in all.
const ACTIONS_PER_HOUR: u32 = 1_000;
/// States of a run that are told.
const SHOWN_STATES: [&str; 5] = ["verifying", "succeeded", "rolled_back", "failed", "refused"];

pub(crate) async fn run(mut args: DemoArgs) -> Result<()> {
    args.serve.data_dir.get_or_insert_with(|| PathBuf::from("heimdall-data/demo"));
    let level = args.serve.log_level.take().or_else(|| Some(LOG_LEVEL.to_owned()));
    args.serve.log_level = level;
    let mut loaded = serve::load(&args.serve)?;
    // The demo shows them itself.
    loaded.config.alerts.stdout = false;
    serve::init_log(&loaded.config.log)?;
    let shutdown = CancellationToken::new();
    serve::end_on_signal(shutdown.clone())?;
    let (hands, orders) = Hands::new();
    let playbooks =
        Playbook::parse("playbooks.yaml", PLAYBOOKS).map_err(|faults| anyhow!(listed(&faults)))?;
    let extras = Extras { hands: vec![Arc::new(hands)], playbooks: Some(playbooks) };
    unbind(&mut loaded.config.respond);
    if args.docker {
        containers::allow(&mut loaded.config.runners, &args.docker_socket);
    }
    let server = Server::build_with(&loaded.config, extras, shutdown.clone()).await?;
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
    let token = client.token().map(str::to_owned);
    let reality = Reality::start(&args, &url, token.as_deref(), &loaded.config.server.data_dir, &shutdown);
    let story = match reality.await {
        Ok(reality) => {
            let story = tell(&args, &client, orders, &shutdown).await;
            shutdown.cancel();
            story.and(reality.end().await)
        }
        Err(error) => Err(error),
    };
    shutdown.cancel();
    running.await??;
    story
}

/// What is real in the demo: containers, and the agent that watches them. Nothing unless asked for.
struct Reality {
    parts: Option<(Arc<Containers>, Agent, tokio::task::JoinHandle<()>)>,
}

impl Reality {
    async fn start(
        args: &DemoArgs,
        server: &str,
        token: Option<&str>,
        data_dir: &Path,
        shutdown: &CancellationToken,
    ) -> Result<Reality> {
        if !args.docker {
            return Ok(Reality { parts: None });
        }
        let containers = Arc::new(Containers::start(args).await?);
        let agent = containers.agent(server, token, data_dir)?;
        agent.start().await?;
        let (of, shutdown) = (Arc::clone(&containers), shutdown.clone());
        let suffering = tokio::spawn(async move { of.suffer(shutdown).await });
        Ok(Reality { parts: Some((containers, agent, suffering)) })
    }

    async fn end(self) -> Result<()> {
        let Some((containers, agent, suffering)) = self.parts else { return Ok(()) };
        suffering.await?;
        agent.stop().await?;
        containers.remove().await
    }
}

/// Lets playbooks act by themselves, as often as the story needs: only a simulation is touched.
fn unbind(config: &mut RespondConfig) {
    config.mode = Mode::Auto;
    config.always_approve = Vec::new();
    config.cooldown = COOLDOWN;
    config.blast_radius_percent = 100;
    (config.target_actions_per_hour, config.playbook_actions_per_hour, config.actions_per_hour) =
        (ACTIONS_PER_HOUR, ACTIONS_PER_HOUR, ACTIONS_PER_HOUR);
}

fn greet(url: &str, watch: &str) {
    let bold = |text: &str| paint(text, BOLD, show::is_coloured(Colour::Auto));
    say(&format!(
        "\n{} A simulated company of 18 services, attacked and failing on schedule, and healed.\n\n\
         \u{20} alerts    {url}/alerts\n\
         \u{20} actions   heimdall actions --url {url}\n\
         \u{20} incidents heimdall incidents --url {url}\n\
         \u{20} status    {url}/api/v1/status\n\
         \u{20} metrics   {url}/metrics\n\
         \u{20} console   heimdall watch --address {watch}\n\
         \u{20} search    heimdall search --url {url} 'level>=error | stats count() by service'\n\
         \u{20} follow    heimdall tail --url {url} 'level>=warn'\n\n\
         Ctrl-C ends it.\n",
        bold("Heimdall demo.")
    ));
}

/// Lives through the company's past, then its present, until told to stop.
async fn tell(
    args: &DemoArgs,
    client: &Client,
    mut orders: mpsc::Receiver<Order>,
    shutdown: &CancellationToken,
) -> Result<()> {
    let (now, started) = (SystemClock.now(), Instant::now());
    let past_ns = i64::try_from(PAST.as_nanos()).unwrap_or(i64::MAX);
    let config = WorldConfig {
        scenario: Scenario::demo().repeated(STORIES, STORY_EVERY).delayed(PAST),
        ..WorldConfig::new(args.seed, now.0 - past_ns)
    };
    let mut world = World::new(&config)?;
    let mut screen = Screen::new(client.clone(), now).await?;
    while world.now_ns() < now.0 && !shutdown.is_cancelled() {
        let until = (world.now_ns() + PAST_STEP_NS).min(now.0);
        deliver(&mut world, until, client).await?;
    }
    screen.look().await?;
    screen.status("twenty ordinary minutes have passed").await?;
    let mut looks = 0;
    let mut look_due = Instant::now() + LOOK_EVERY;
    let mut delivery = tokio::time::interval(DELIVER_EVERY);
    let end = (args.duration > 0).then(|| Instant::now() + Duration::from_secs(args.duration));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(order) = orders.recv() => {
                order.carry_out(&mut world);
                continue;
            }
            _ = delivery.tick() => {}
        }
        #[expect(clippy::cast_possible_truncation, reason = "elapsed time in ns, scaled")]
        let passed = (started.elapsed().as_secs_f64() * args.speed * 1e9) as i64;
        deliver(&mut world, now.0 + passed, client).await?;
        if Instant::now() >= look_due {
            look_due += LOOK_EVERY;
            looks += 1;
            screen.look().await?;
            if looks % LOOKS_PER_STATUS == 0 {
                screen.status("").await?;
            }
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
    }
    screen.story(&world).await
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

/// What the person at the terminal sees.
struct Screen {
    client: Client,
    colour: bool,
    /// Severity under which each alert was last shown.
    shown: HashMap<String, String>,
    /// State under which each run of a playbook was last shown.
    runs: HashMap<String, String>,
    /// Findings of earlier runs end here.
    from: String,
    records: u64,
    counted: Instant,
}

impl Screen {
    async fn new(client: Client, from: Timestamp) -> Result<Screen> {
        let records = number(&client.get("/api/v1/status").await?, "/stream/records");
        let colour = show::is_coloured(Colour::Auto);
        let (from, counted) = (from.to_string(), Instant::now());
        Ok(Screen { client, colour, shown: HashMap::new(), runs: HashMap::new(), from, records, counted })
    }

    async fn alerts(&self) -> Result<Vec<Value>> {
        let page = self.client.get(&format!("/api/v1/alerts?limit={ALERTS_MAX}")).await?;
        Ok(page.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Shows alerts that are new or became worse, oldest first.
    async fn look(&mut self) -> Result<()> {
        for alert in self.alerts().await?.iter().rev() {
            let (id, severity) = (text(alert, "/id"), text(alert, "/severity"));
            // Times are written alike, so they compare as text.
            let is_news = text(alert, "/last_seen") >= self.from.as_str()
                && self.shown.get(id).is_none_or(|shown| shown != severity);
            if is_news {
                self.shown.insert(id.to_owned(), severity.to_owned());
                say(&self.alert(alert));
            }
        }
        self.look_at_runs().await
    }

    /// Shows what is done about alerts, as it goes on.
    async fn look_at_runs(&mut self) -> Result<()> {
        let page = self.client.get(&format!("/api/v1/actions?limit={ALERTS_MAX}")).await?;
        let runs = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        for run in runs.iter().rev().filter(|run| text(run, "/created_at") >= self.from.as_str()) {
            let (id, state) = (text(run, "/id"), text(run, "/state"));
            let is_news =
                self.runs.get(id).is_none_or(|shown| shown != state) && SHOWN_STATES.contains(&state);
            if is_news {
                self.runs.insert(id.to_owned(), state.to_owned());
                say(&self.run(run));
            }
        }
        Ok(())
    }

    /// What a playbook did, and how far it is.
    fn run(&self, run: &Value) -> String {
        let state = text(run, "/state");
        let (word, code) = match state {
            "succeeded" => ("HEALED", GREEN),
            "running" | "verifying" => ("ACTING", DIM),
            _ => ("NOT HEALED", code_of("WARNING")),
        };
        let action = printable(text(run, "/actions/0"));
        format!(
            "{}  {}  {}\n{:10}{}",
            clock(text(run, "/updated_at")),
            paint(&format!("{word:<8}  {action:<34}"), code, self.colour),
            paint(&printable(text(run, "/playbook")), BOLD, self.colour),
            "",
            printable(text(run, "/reason")),
        )
    }

    /// An alert, and below it what was seen and what to do.
    fn alert(&self, alert: &Value) -> String {
        let severity = text(alert, "/severity");
        let step = text(alert, "/mitigation/0");
        let place = text(alert, "/entity/value");
        let head = format!("{severity:<8}  {:<34}", printable(text(alert, "/title")));
        format!(
            "{}  {}  {}\n{:10}{}\n{:10}{}",
            clock(text(alert, "/last_seen")),
            paint(&head, code_of(severity), self.colour),
            paint(&printable(place), BOLD, self.colour),
            "",
            printable(text(alert, "/summary")),
            "",
            paint(&format!("→ {}", printable(step)), DIM, self.colour),
        )
    }

    async fn status(&mut self, note: &str) -> Result<()> {
        let status = self.client.get("/api/v1/status").await?;
        let open = self.alerts().await?.iter().filter(|alert| text(alert, "/status") == "OPEN").count();
        let (records, now) = (number(&status, "/stream/records"), Instant::now());
        let elapsed_ms = (now - self.counted).as_millis().max(1);
        let rate = u128::from(records.saturating_sub(self.records)) * 1_000 / elapsed_ms;
        (self.records, self.counted) = (records, now);
        let note = if note.is_empty() { String::new() } else { format!(" · {note}") };
        let line = format!(
            "{}  {} records · {} per second · {open} open alerts{note}",
            clock(&SystemClock.now().to_string()),
            grouped(records.into()),
            grouped(rate),
        );
        say(&paint(&line, DIM, self.colour));
        Ok(())
    }

    /// The truth beside what was found.
    async fn story(&self, world: &World) -> Result<()> {
        let alerts = self.alerts().await?;
        let page = self.client.get(&format!("/api/v1/actions?state=succeeded&limit={ALERTS_MAX}")).await?;
        let healed = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let begun: Vec<_> = world.incidents().iter().filter(|i| i.start_ns < world.now_ns()).collect();
        let row = |incident: &&Incident| {
            let found = alerts
                .iter()
                .filter(|alert| is_about(alert, incident))
                .min_by_key(|alert| place_of(alert, incident));
            let what = found.map_or("not found (yet)", |alert| text(alert, "/title"));
            vec![
                clock(&Timestamp(incident.start_ns).to_string()).to_owned(),
                incident.kind.as_str().to_owned(),
                incident.entity.clone(),
                printable(what),
                healed.iter().rev().find(|run| heals(run, incident)).map(cure).unwrap_or_default(),
            ]
        };
        let headings = ["began", "what really happened", "where", "alert about it", "healed by, verified at"];
        let headings = headings.map(str::to_owned);
        let rows: Vec<_> = begun.iter().map(row).collect();
        say(&format!("\n{}", show::table(&headings, &rows).trim_end()));
        Ok(())
    }
}

/// Which of its kinds of rule an alert is of, the telling ones first.
fn place_of(alert: &Value, incident: &Incident) -> Option<usize> {
    incident.expected_rules.iter().position(|rule| text(alert, "/rule").starts_with(rule))
}

fn is_about(alert: &Value, incident: &Incident) -> bool {
    let places = [text(alert, "/entity/value"), text(alert, "/service")];
    place_of(alert, incident).is_some()
        && (places.contains(&incident.entity.as_str()) || places.contains(&incident.service.name()))
        && text(alert, "/last_seen") >= Timestamp(incident.start_ns).to_string().as_str()
}

/// Whether a run that succeeded acted where an incident was, while it was.
fn heals(run: &Value, incident: &Incident) -> bool {
    let target = text(run, "/actions/0").rsplit(' ').next().unwrap_or_default();
    let is_there = target == incident.entity || target == incident.service.name();
    let (from, to) = (Timestamp(incident.start_ns).to_string(), Timestamp(incident.end_ns).to_string());
    // An action ends what it cures: they meet in time.
    let began = text(run, "/created_at");
    let is_then = began >= from.as_str() && began.get(..19) <= to.get(..19);
    is_there && is_then
}

fn cure(run: &Value) -> String {
    let action = text(run, "/actions/0").split(' ').next().unwrap_or_default();
    format!("{} at {}", printable(action), clock(text(run, "/finished_at")))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// The time of day of an RFC 3339 time.
fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

/// `1234567` as `1,234,567`.
fn grouped(n: u128) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_read_easily() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0, 999, 1_000, 1_234_567].map(grouped).each_ref().map(String::as_str)
        );
        assert_eq!(clock("2026-03-01T12:00:07.000000000Z"), "12:00:07");
    }
}
