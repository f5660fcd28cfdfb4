//! The closed loop on real systems: containers of a Docker engine, programs of a supervisord and a Redis cache are broken; the
//! real agent sees it, the real server heals it, and nothing else is touched.
//!
//! `HEIMDALL_FAULTS` is how many faults are injected: a dozen when not set, with two kills of the server among them.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "times are measured from outside, and shown"
)]

mod systems;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant, SystemTime};

use heimdall_testkit::{Command, Running, Server, skip, wait_for_within};
use serde_json::Value;
use systems::{Cache, Engine, Programs, System};

/// Faults injected unless told otherwise: every kind twice.
const FAULTS: usize = 12;
/// One fault in so many comes with a kill of the server while it acts.
const KILL_EVERY: usize = 6;
/// Longest wait for one step of the loop.
const PATIENCE: Duration = Duration::from_secs(90);
const CONTAINERS: usize = 3;
const PROGRAMS: usize = 2;
/// What the cache of the shop holds for others, which nobody may touch.
const FOREIGN_KEYS: usize = 100;

/// A way of breaking something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// The container's process is killed.
    ContainerKilled,
    /// The container's process stands still: connections are taken, nothing is answered.
    ContainerFrozen,
    /// The container is stopped, as by mistake.
    ContainerStopped,
    /// The program is killed; its supervisor was told not to mind.
    ProgramKilled,
    /// The program stands still.
    ProgramFrozen,
    /// The cache holds what the shop cannot use.
    CachePoisoned,
}

const KINDS: [Fault; 6] = [
    Fault::ContainerKilled,
    Fault::ProgramKilled,
    Fault::CachePoisoned,
    Fault::ContainerFrozen,
    Fault::ProgramFrozen,
    Fault::ContainerStopped,
];

/// Everything that runs.
struct World {
    engine: Engine,
    programs: Programs,
    cache: Cache,
    server: Server,
    agent: Running,
    dir: tempfile::TempDir,
}

/// What came of one fault.
#[derive(Debug)]
struct Healed {
    fault: Fault,
    detected: Duration,
    answering: Duration,
    verified: Duration,
    is_killed: bool,
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// What the server may do: playbooks act by themselves, on what is listed.
fn server_config(world: &Systems, playbooks: &str) -> String {
    format!(
        "[server]\nwatch_listen = \"127.0.0.1:0\"\n[respond]\nmode = \"auto\"\nplaybooks_dir = \"{playbooks}\"\ncooldown = \"1s\"\nalways_approve = []\n\
         target_actions_per_hour = 1000\nplaybook_actions_per_hour = 1000\nactions_per_hour = 1000\n\
         never_touch = [\"web-{last}\"]\n\
         [runners.docker]\nenabled = true\nendpoint = \"{docker}\"\nallow = [\"web-*\"]\nstop_grace = \"1s\"\ntimeout = \"20s\"\n\
         [runners.supervisor]\nenabled = true\nendpoint = \"{supervisor}\"\nallow = [\"worker-*\"]\n\
         [runners.cache]\nenabled = true\naddress = \"{redis}\"\nprefixes = [\"shop:\"]\n",
        last = CONTAINERS + 1,
        docker = world.engine.socket().display(),
        supervisor = world.programs.socket().display(),
        redis = world.cache.address(),
    )
}

/// One playbook per kind of system; the proof is the detector that fired.
const PLAYBOOKS: &str = r#"id: test.restart-container
version: 1
title: Restart a container that does not answer
mode: auto
trigger: {rules: ["availability.down"], matchers: ['service=~"web-.*"']}
steps: [{action: docker.restart, target: "{{ service }}", timeout: 60s}]
verification: {wait: 1s, within: 60s, every: 1s, checks: [{container: "{{ service }}"}, {alert_quiet: 30s}]}
cooldown: 1s
---
id: test.restart-program
version: 1
title: Restart a program that does not answer
mode: auto
trigger: {rules: ["availability.down"], matchers: ['service=~"worker-.*"']}
steps: [{action: service.restart, target: "{{ service }}", timeout: 60s}]
verification: {wait: 1s, within: 60s, every: 1s, checks: [{alert_quiet: 30s}]}
cooldown: 1s
---
id: test.flush-cache
version: 1
title: Drop what the shop keeps in its cache
mode: auto
trigger: {rules: ["availability.down"], matchers: ['service="shop"']}
steps: [{action: cache.flush, target: "shop:*", timeout: 30s}]
verification: {wait: 1s, within: 60s, every: 1s, checks: [{alert_quiet: 30s}]}
rollback: none
cooldown: 1s
"#;

/// The systems that are broken.
struct Systems {
    engine: Engine,
    programs: Programs,
    cache: Cache,
}

fn agent_config(server: &str, dir: &std::path::Path, systems: &Systems) -> String {
    let endpoints: Vec<String> = systems
        .each()
        .iter()
        .map(|(name, url)| {
            format!(
                "{{ url = \"{url}\", name = \"{name}\", interval = 0.5, timeout = 0.4, expect_status = 200 }}"
            )
        })
        .collect();
    format!(
        "data_dir = \"{dir}/agent\"\nlog_file = \"{dir}/actions.log\"\n[server]\nurl = \"{server}\"\n\
         [monitor]\ndocker_socket = \"\"\napi_endpoints = [{endpoints}]\n[detector]\nenabled = false\n",
        dir = dir.display(),
        endpoints = endpoints.join(", "),
    )
}

impl Systems {
    /// Every endpoint by name, with its address.
    fn each(&self) -> Vec<(String, String)> {
        let mut all = self.engine.endpoints();
        all.extend(self.programs.endpoints());
        all.push(("shop".to_owned(), self.cache.shop_url()));
        all
    }
}

impl World {
    fn start(systems: Systems) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let playbooks = dir.path().join("playbooks");
        std::fs::create_dir(&playbooks).expect("a folder");
        std::fs::write(playbooks.join("test.yaml"), PLAYBOOKS).expect("a file");
        let config = dir.path().join("heimdall.toml");
        std::fs::write(&config, server_config(&systems, &playbooks.display().to_string())).expect("a file");
        let bin = env!("CARGO_BIN_EXE_heimdall");
        let server = Server::builder(bin).listen(free_port()).arg("--config").arg(&config).start();
        let file = dir.path().join("agent.toml");
        std::fs::write(&file, agent_config(&server.url(""), dir.path(), &systems)).expect("a file");
        let agent = Command::new(bin).args(["agent", "--config"]).arg(&file).start();
        let Systems { engine, programs, cache } = systems;
        World { engine, programs, cache, server, agent, dir }
    }

    fn system(&self, service: &str) -> &dyn System {
        match service.split('-').next() {
            Some("web") => &self.engine,
            Some("worker") => &self.programs,
            _ => &self.cache,
        }
    }

    fn inject(&self, fault: Fault, service: &str) {
        match fault {
            Fault::ContainerKilled => self.engine.kill(service, "KILL"),
            Fault::ContainerFrozen => self.engine.freeze(service),
            Fault::ContainerStopped => self.engine.stop(service),
            Fault::ProgramKilled => self.programs.signal(service, rustix::process::Signal::KILL),
            Fault::ProgramFrozen => self.programs.signal(service, rustix::process::Signal::STOP),
            Fault::CachePoisoned => self.cache.poison(),
        }
    }

    /// The incarnation of every target: what changes when somebody acts on it.
    fn incarnations(&self) -> BTreeMap<String, String> {
        self.engine.incarnations().into_iter().chain(self.programs.incarnations()).collect()
    }

    fn items(&self, path: &str) -> Vec<Value> {
        let answer = self.server.get_json(path);
        answer["items"].as_array().cloned().unwrap_or_default()
    }

    /// The alert about a service that began after a moment.
    fn alert(&self, service: &str, since: SystemTime) -> Option<Value> {
        let since = epoch_ms(since);
        self.items(&format!("/api/v1/alerts?rule=availability.down&service={service}&limit=5"))
            .into_iter()
            .find(|alert| time_ms(&alert["last_seen"]) >= since)
    }

    /// Runs of the test's playbooks made since a moment; those that come with the program only rehearse.
    fn runs(&self, since: SystemTime) -> Vec<Value> {
        let since = epoch_ms(since);
        let runs = self.items("/api/v1/actions?limit=50").into_iter();
        let is_ours = |run: &Value| run["playbook"].as_str().is_some_and(|name| name.starts_with("test."));
        runs.filter(|run| is_ours(run) && time_ms(&run["created_at"]) >= since).collect()
    }
}

fn epoch_ms(at: SystemTime) -> i128 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i128::try_from(since.as_millis()).expect("fits")
}

/// An RFC 3339 time in milliseconds since 1970; 0 when there is none.
fn time_ms(value: &Value) -> i128 {
    let time = value.as_str().and_then(heimdall_model::Timestamp::parse);
    time.map_or(0, |time| i128::from(time.0) / 1_000_000)
}

#[track_caller]
fn within<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for_within(PATIENCE, what, look)
}

impl World {
    /// Breaks one thing, and sees it seen, healed and proven.
    fn suffer(&mut self, fault: Fault, service: &str, kills: bool) -> Healed {
        let before = self.incarnations();
        let (began, at) = (Instant::now(), SystemTime::now());
        let acted_before = self.system(service).acted(service, at);
        self.inject(fault, service);
        let alert = within(&format!("{fault:?} of {service} to be detected"), || self.alert(service, at));
        let detected = at.elapsed().unwrap_or_default();
        // A finding can be a few milliseconds older than its alert.
        let raised = time_ms(&alert["raised_at"]).max(time_ms(&alert["last_seen"])) - epoch_ms(at);
        let detected = Duration::from_millis(u64::try_from(raised).unwrap_or(0)).min(detected);
        if kills {
            within("a run to act", || self.runs(at).into_iter().find(|run| run["state"] != "queued"));
            self.server.kill9();
            self.server.restart();
        }
        let url = self.system(service).url(service);
        within(&format!("{service} to answer after {fault:?}"), || systems::answers(&url).then_some(()));
        let answering = began.elapsed();
        let run = within(&format!("the run about {service} to end"), || {
            let runs = self.runs(at);
            let run = runs.iter().find(|run| run["alert"]["id"] == alert["id"])?;
            let is_over = ["succeeded", "failed", "rolled_back", "refused", "cancelled"]
                .iter()
                .any(|state| run["state"] == *state);
            is_over.then(|| run.clone())
        });
        let verified = began.elapsed();
        assert_eq!(run["state"], "succeeded", "{fault:?} of {service}: {run}");
        within(&format!("the alert about {service} to be resolved"), || {
            let path = format!("/api/v1/alerts/{}", alert["id"].as_str().expect("an id"));
            (self.server.get_json(&path)["status"] == "RESOLVED").then_some(())
        });
        let acted = self.system(service).acted(service, at) - acted_before;
        assert_eq!(acted, 1, "{fault:?} of {service} was acted on {acted} times");
        let mut after = self.incarnations();
        let mut others = before;
        after.remove(service);
        others.remove(service);
        assert_eq!(after, others, "something else was touched while {service} was healed");
        assert_eq!(self.runs(at).len(), 1, "one run for one fault");
        assert_eq!(self.cache.foreign_keys(), FOREIGN_KEYS, "keys of others are untouched");
        Healed { fault, detected, answering, verified, is_killed: kills }
    }
}

fn start_systems() -> Result<Systems, String> {
    let cache = Cache::start(FOREIGN_KEYS)?;
    let programs = Programs::start(PROGRAMS)?;
    let engine = Engine::start(CONTAINERS)?;
    Ok(Systems { engine, programs, cache })
}

#[test]
fn what_breaks_is_healed_once_and_nothing_else_is_touched() {
    let systems = match start_systems() {
        Ok(systems) => systems,
        Err(why) => skip!("healing of real containers, programs and caches: {why}"),
    };
    let count = std::env::var("HEIMDALL_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(FAULTS);
    let mut world = World::start(systems);
    let healthy = world.engine.endpoints().len() + world.programs.endpoints().len() + 1;
    within("every endpoint to be probed", || {
        let seen =
            world.server.query("dataset:metrics name:probe.availability value:1 | stats count() by service");
        (seen.len() >= healthy).then_some(())
    });
    let mut healed = Vec::new();
    for n in 0..count {
        let fault = KINDS[n % KINDS.len()];
        let service = match fault {
            Fault::CachePoisoned => "shop".to_owned(),
            Fault::ProgramKilled | Fault::ProgramFrozen => {
                format!("worker-{}", 1 + n / KINDS.len() % PROGRAMS)
            }
            _ => format!("web-{}", 1 + n / KINDS.len() % CONTAINERS),
        };
        let kills = n % KILL_EVERY == KILL_EVERY / 2;
        healed.push(world.suffer(fault, &service, kills));
    }
    report(&healed);
    let _ = world.agent.terminate();
    drop(world.dir);
}

/// Times by kind of fault, for people.
fn report(healed: &[Healed]) {
    let mut by_kind: BTreeMap<(Fault, bool), Vec<&Healed>> = BTreeMap::new();
    for one in healed {
        by_kind.entry((one.fault, one.is_killed)).or_default().push(one);
    }
    println!(
        "{:<18} {:>5} {:>26} {:>26} {:>26}",
        "fault", "n", "detected s (median, max)", "answering again", "verified"
    );
    for ((fault, is_killed), all) in by_kind {
        let of = |pick: fn(&Healed) -> Duration| {
            let mut times: Vec<f64> = all.iter().map(|one| pick(one).as_secs_f64()).collect();
            times.sort_by(f64::total_cmp);
            format!("{:.2}, {:.2}", times[times.len() / 2], times[times.len() - 1])
        };
        println!(
            "{:<18} {:>5} {:>26} {:>26} {:>26}{}",
            format!("{fault:?}"),
            all.len(),
            of(|one| one.detected),
            of(|one| one.answering),
            of(|one| one.verified),
            if is_killed { "  with a kill -9 of the server" } else { "" },
        );
    }
}
