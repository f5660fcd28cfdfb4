//! The traces that an incident leaves by itself: lines of the attacker, of the kernel, of the failing service.
//!
//! What incidents do to ordinary traffic and metrics is in `world::Stage`.

use std::net::Ipv4Addr;

use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::catalogue::Tag;
use crate::company::Instance;
use crate::dice::{below, chance, noise, ns, pick, stream, unit};
use crate::event::{AttributeValue, Event, Level, LogEvent, SampleEvent};
use crate::metrics::{CPU_PEAK_PERCENT, DISK_PEAK_PERCENT, MEMORY_PEAK_PERCENT, climb};
use crate::scenario::{ATTACKER_IP, Incident, IncidentKind};
use crate::traffic::{NOBODY, login_attributes};
use crate::world::{Queue, Stage};

/// Draws of faults come from the streams of this number on, one each.
const FIRST_STREAM: u64 = 1000;
/// Share of a slowed service's own lines that tell what waiting leads to.
const CRISIS_OF_SLOW: f64 = 0.15;
const GUESSED_USERS: &[&str] = &["admin", "root", "oracle", "test", "postgres", "ubuntu", "admin", "admin"];

/// The author of an incident's own events.
#[derive(Debug)]
pub(crate) struct Fault {
    incident: Incident,
    rng: ChaCha8Rng,
    sent: u64,
    pub(crate) next_ns: i64,
}

impl Fault {
    /// The fault of incident number `number`.
    pub(crate) fn new(seed: u64, number: u64, incident: Incident) -> Fault {
        let next_ns = if incident.start_ns < incident.end_ns { incident.start_ns } else { i64::MAX };
        Fault { rng: stream(seed, FIRST_STREAM + number), incident, sent: 0, next_ns }
    }

    /// Whether it is the fault of this incident.
    pub(crate) fn is_of(&self, incident: &Incident) -> bool {
        self.incident.is_same(incident)
    }

    /// Falls silent: what it has not said yet stays unsaid, its last words too.
    pub(crate) fn end(&mut self) {
        self.next_ns = i64::MAX;
    }

    /// Emits the next events; after the last, [`Fault::next_ns`] is `i64::MAX`.
    pub(crate) fn step(&mut self, stage: &Stage<'_>, queue: &mut Queue) {
        let at_ns = self.next_ns;
        let pause = ns((1.0 + 0.4 * noise(&mut self.rng)) / events_per_second(self.incident.kind));
        let next_ns = at_ns.saturating_add(pause.max(1));
        let last = next_ns >= self.incident.end_ns;
        self.next_ns = if last { i64::MAX } else { next_ns };
        self.sent += 1;
        if self.incident.kind == IncidentKind::MetricFlood {
            return queue.push(Event::Sample(self.flood_sample(at_ns, stage)));
        }
        queue.push(Event::Log(Box::new(self.line(at_ns, last, stage))));
    }

    fn line(&mut self, at_ns: i64, last: bool, stage: &Stage<'_>) -> LogEvent {
        let instance = &stage.fleet.of(self.incident.service)[0];
        match self.incident.kind {
            IncidentKind::BruteForce if last => self.break_in(instance, at_ns, stage),
            IncidentKind::BruteForce => self.guess(instance, at_ns, stage),
            IncidentKind::CpuClimb => self.cpu_line(instance, at_ns, stage),
            IncidentKind::MemoryClimb => self.memory_line(instance, at_ns, last, stage),
            IncidentKind::DiskFilling => self.disk_line(instance, at_ns, stage),
            IncidentKind::SlowDependency => self.slow_line(instance, at_ns, stage),
            IncidentKind::ErrorBurst | IncidentKind::MetricFlood => self.error_line(at_ns, stage),
        }
    }

    /// A wrong password: in turn over ssh and over the login of the shop.
    fn guess(&mut self, instance: &Instance, at_ns: i64, stage: &Stage<'_>) -> LogEvent {
        let user = *pick(&mut self.rng, GUESSED_USERS);
        if self.sent % 2 == 1 {
            let port = if self.sent == 1 { 4242 } else { 1024 + below(&mut self.rng, 64_000) };
            let known = if user == "root" { "" } else { "invalid user " };
            let message = format!("Failed password for {known}{user} from {ATTACKER_IP} port {port} ssh2");
            return self.say(instance, Level::Warn, at_ns, message, stage);
        }
        let message = format!("login failed for user {user} from {ATTACKER_IP}: invalid credentials");
        LogEvent {
            source_ip: Some(ATTACKER_IP),
            status: Some(401),
            duration_ms: Some((20.0 + 60.0 * unit(&mut self.rng)).round()),
            attributes: login_attributes(user.to_owned(), "failure"),
            ..self.say(instance, Level::Warn, at_ns, message, stage)
        }
    }

    fn break_in(&mut self, instance: &Instance, at_ns: i64, stage: &Stage<'_>) -> LogEvent {
        let port = 1024 + below(&mut self.rng, 64_000);
        let message = format!("Accepted password for deploy from {ATTACKER_IP} port {port} ssh2");
        self.say(instance, Level::Info, at_ns, message, stage)
    }

    fn flood_sample(&mut self, at_ns: i64, stage: &Stage<'_>) -> SampleEvent {
        let instance = stage.fleet.pick(&mut self.rng, self.incident.service);
        let [_, _, _, last] = self.rng.next_u32().to_be_bytes();
        SampleEvent {
            timestamp_ns: at_ns,
            service: self.incident.service,
            name: "requests_per_second",
            value: (9_500.0 + 499.0 * noise(&mut self.rng)).round(),
            labels: vec![
                ("instance", instance.name.clone()),
                ("region", instance.region_label.clone()),
                ("source_ip", Ipv4Addr::new(198, 51, 100, last).to_string().into()),
            ],
        }
    }

    fn error_line(&mut self, at_ns: i64, stage: &Stage<'_>) -> LogEvent {
        let instance = stage.fleet.pick(&mut self.rng, self.incident.service);
        let tag = *pick(&mut self.rng, &[Tag::Fail, Tag::Fail, Tag::Error, Tag::Crisis]);
        stage.say(instance, tag, at_ns, &mut self.rng, &crate::template::Request { status: 503, ..NOBODY })
    }

    fn cpu_line(&mut self, instance: &Instance, at_ns: i64, stage: &Stage<'_>) -> LogEvent {
        let percent = self.level(at_ns, instance.service.profile().cpu_percent, CPU_PEAK_PERCENT);
        let load_average = percent / 4.0;
        let running = 8 + below(&mut self.rng, 40);
        let message =
            format!("load average {load_average:.2} on 8 CPUs, {running} tasks runnable, cpu {percent:.1} %");
        let log = self.say(instance, Level::Warn, at_ns, message, stage);
        measured(log, "cpu_usage", percent)
    }

    fn memory_line(&mut self, instance: &Instance, at_ns: i64, last: bool, stage: &Stage<'_>) -> LogEvent {
        let profile = instance.service.profile();
        let percent = self.level(at_ns, profile.memory_percent, MEMORY_PEAK_PERCENT);
        let process = 1000 + below(&mut self.rng, 30_000);
        let (level, message) = if last {
            let text =
                format!("Out of memory: Killed process {process} ({}) total-vm:16314480kB", profile.slug);
            (Level::Fatal, text)
        } else {
            let stall = 0.4 * percent;
            (Level::Warn, format!("memory pressure some avg10={stall:.2}, {percent:.1} % of 16 GiB in use"))
        };
        let log = self.say(instance, level, at_ns, message, stage);
        measured(log, "memory_usage", percent)
    }

    fn disk_line(&mut self, instance: &Instance, at_ns: i64, stage: &Stage<'_>) -> LogEvent {
        let percent = self.level(at_ns, instance.service.profile().disk_percent, DISK_PEAK_PERCENT);
        let (level, message) = if percent > 95.0 && chance(&mut self.rng, 0.5) {
            let file = below(&mut self.rng, 100_000);
            (Level::Error, format!("write /var/lib/data/{file:05}.seg failed: No space left on device"))
        } else {
            (Level::Warn, format!("filesystem /var/lib/data is {percent:.1} % full"))
        };
        let log = self.say(instance, level, at_ns, message, stage);
        measured(log, "disk_usage", percent)
    }

    fn slow_line(&mut self, instance: &Instance, at_ns: i64, stage: &Stage<'_>) -> LogEvent {
        if chance(&mut self.rng, CRISIS_OF_SLOW) {
            return stage.say(instance, Tag::Crisis, at_ns, &mut self.rng, &NOBODY);
        }
        let duration_ms = (800_000.0 + 4_000_000.0 * unit(&mut self.rng)).round() / 1000.0;
        let table = pick(&mut self.rng, &["orders", "payments", "stock", "sessions"]);
        let message =
            format!("slow query: {duration_ms:.3} ms, waiting for lock on {table}, 40 sessions queued");
        LogEvent { duration_ms: Some(duration_ms), ..self.say(instance, Level::Warn, at_ns, message, stage) }
    }

    /// A climbing value at `at_ns`, to one decimal.
    fn level(&mut self, at_ns: i64, usual: f64, peak: f64) -> f64 {
        let value = climb(usual, peak, self.incident.climbed(at_ns)) + 0.3 * noise(&mut self.rng);
        (value * 10.0).round() / 10.0
    }

    fn say(
        &mut self,
        instance: &Instance,
        level: Level,
        at_ns: i64,
        message: String,
        stage: &Stage<'_>,
    ) -> LogEvent {
        LogEvent { level, message, ..stage.say(instance, Tag::Idle, at_ns, &mut self.rng, &NOBODY) }
    }
}

fn events_per_second(kind: IncidentKind) -> f64 {
    match kind {
        IncidentKind::MetricFlood => 2500.0,
        IncidentKind::ErrorBurst => 8.0,
        IncidentKind::BruteForce => 6.0,
        IncidentKind::SlowDependency => 2.0,
        IncidentKind::DiskFilling => 1.0,
        IncidentKind::CpuClimb | IncidentKind::MemoryClimb => 0.5,
    }
}

fn measured(log: LogEvent, name: &'static str, percent: f64) -> LogEvent {
    LogEvent { attributes: vec![(name, AttributeValue::Float(percent))], ..log }
}
