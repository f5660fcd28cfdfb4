//! One structured event after random pauses: the stream of `heimdall generate --duration --min-interval --max-interval`.
//!
//! Every event has a timestamp, a service, metrics (`cpu_usage`, `memory_usage`, `error_rate`, `requests_per_second`,
//! `duration_ms`) and an `event_type`. Anomalies come as episodes of a few events in a row on one instance.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::catalogue::{Catalogue, Tag};
use crate::company::{Fleet, Instance};
use crate::dice::{below, chance, id, index, long_tail, noise, pick, stream, unit};
use crate::error::{SimulateError, require};
use crate::event::{AttributeValue, LogEvent, UserId};
use crate::json::whole;
use crate::scenario::{ATTACKER_IP, later};
use crate::template::Request;
use crate::traffic::{NOBODY, customer_ip, login_attributes, popular};
use crate::world::Stage;

/// Events of an anomaly in a row: enough for rules that want several within a minute.
const EPISODE_EVENTS: u32 = 8;
const USERS: u32 = 5_000;

/// What the stream is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntervalConfig {
    /// The same seed gives the same stream.
    pub seed: u64,
    /// Time from which the first pause runs, ns since 1970.
    pub start_ns: i64,
    /// The stream ends before the pauses add up to more.
    pub duration: Duration,
    /// Shortest pause before an event.
    pub min_interval: Duration,
    /// Longest pause before an event; above zero.
    pub max_interval: Duration,
    /// Share of events (0 to 1) that belong to anomalies.
    pub anomaly_share: f64,
}

impl IntervalConfig {
    /// Two minutes of an event every 0.05 to 0.2 s, one in twenty of them odd.
    #[must_use]
    pub fn new(seed: u64, start_ns: i64) -> IntervalConfig {
        IntervalConfig {
            seed,
            start_ns,
            duration: Duration::from_secs(120),
            min_interval: Duration::from_millis(50),
            max_interval: Duration::from_millis(200),
            anomaly_share: 0.05,
        }
    }
}

/// What is odd about the events of an episode.
#[derive(Debug, Clone, Copy)]
enum Anomaly {
    Cpu,
    Memory,
    Errors,
    Logins,
}

/// An iterator over (pause before the event, event).
#[derive(Debug)]
pub struct IntervalStream {
    config: IntervalConfig,
    fleet: Fleet,
    catalogue: Catalogue,
    rng: ChaCha8Rng,
    elapsed: Duration,
    /// The anomaly that goes on, the instance it hits, and the events it still has.
    episode: Option<(Anomaly, usize, u32)>,
}

impl IntervalStream {
    /// Prepares the stream.
    ///
    /// # Errors
    /// Intervals in the wrong order or zero, a share out of bounds, or an end after the year 2262.
    pub fn new(config: IntervalConfig) -> Result<IntervalStream, SimulateError> {
        require("max_interval", config.max_interval > Duration::ZERO, "above 0")?;
        require("min_interval", config.min_interval <= config.max_interval, "at most `max_interval`")?;
        require("anomaly_share", (0.0..=1.0).contains(&config.anomaly_share), "between 0 and 1")?;
        later(config.start_ns, config.duration)?;
        Ok(IntervalStream {
            config,
            fleet: Fleet::new(),
            catalogue: Catalogue::new(),
            rng: stream(config.seed, 4),
            elapsed: Duration::ZERO,
            episode: None,
        })
    }

    fn pause(&mut self) -> Duration {
        let IntervalConfig { min_interval, max_interval, .. } = self.config;
        min_interval + (max_interval - min_interval).mul_f64(unit(&mut self.rng))
    }

    /// The anomaly this event belongs to, if any, and the index of its instance.
    fn next_anomaly(&mut self) -> Option<(Anomaly, usize)> {
        let (anomaly, at, left) = self.episode.or_else(|| self.begin_episode())?;
        self.episode = (left > 1).then_some((anomaly, at, left - 1));
        Some((anomaly, at))
    }

    /// Begins an episode as often as makes the share of odd events the one that is configured.
    fn begin_episode(&mut self) -> Option<(Anomaly, usize, u32)> {
        let share = self.config.anomaly_share;
        let begins = share / (share + f64::from(EPISODE_EVENTS) * (1.0 - share));
        let kinds = [Anomaly::Cpu, Anomaly::Memory, Anomaly::Errors, Anomaly::Logins];
        let rng = &mut self.rng;
        chance(rng, begins).then(|| (*pick(rng, &kinds), index(rng, self.fleet.all().len()), EPISODE_EVENTS))
    }

    fn event(&mut self, at_ns: i64) -> LogEvent {
        match self.next_anomaly() {
            None => self.ordinary(at_ns),
            Some((anomaly, at)) => self.odd(anomaly, at, at_ns),
        }
    }

    fn ordinary(&mut self, at_ns: i64) -> LogEvent {
        let at = index(&mut self.rng, self.fleet.all().len());
        let (tag, event_type) = match below(&mut self.rng, 20) {
            0..14 => (Tag::Done, "request"),
            14..17 => (Tag::Info, "activity"),
            17 => (Tag::Debug, "detail"),
            18 => (Tag::Idle, "maintenance"),
            _ => (Tag::Warn, "warning"),
        };
        self.compose(at, tag, event_type, at_ns)
    }

    fn odd(&mut self, anomaly: Anomaly, at: usize, at_ns: i64) -> LogEvent {
        let near_full = 98.5 + noise(&mut self.rng);
        match anomaly {
            Anomaly::Cpu => measured(self.compose(at, Tag::Warn, "cpu_spike", at_ns), "cpu_usage", near_full),
            Anomaly::Memory => {
                measured(self.compose(at, Tag::Warn, "memory_spike", at_ns), "memory_usage", near_full)
            }
            Anomaly::Errors => {
                let mut log =
                    measured(self.compose(at, Tag::Fail, "request_failed", at_ns), "error_rate", 0.8);
                log.status = Some(503);
                log
            }
            Anomaly::Logins => self.wrong_login(at, at_ns),
        }
    }

    fn wrong_login(&mut self, at: usize, at_ns: i64) -> LogEvent {
        let mut log = self.compose(at, Tag::Warn, "authentication", at_ns);
        let user = *pick(&mut self.rng, &["admin", "root", "test"]);
        log.message = format!("login failed for user {user} from {ATTACKER_IP}: invalid credentials");
        log.source_ip = Some(ATTACKER_IP);
        log.status = Some(401);
        log.user_id = None;
        log.attributes.retain(|(name, _)| *name != "event_type");
        log.attributes.extend(login_attributes(user.to_owned(), "failure"));
        log
    }

    /// An event with ordinary metrics.
    fn compose(&mut self, at: usize, tag: Tag, event_type: &'static str, at_ns: i64) -> LogEvent {
        let instance = self.fleet.all()[at].clone();
        let rng = &mut self.rng;
        let user = popular(rng, USERS);
        let duration_ms = (instance.service.profile().latency_ms * long_tail(rng) * 1000.0).round() / 1000.0;
        let client = customer_ip(crate::dice::mix(self.config.seed, user.into()));
        let request =
            Request { user, client, duration_us: whole(duration_ms * 1000.0), request_id: id(rng), ..NOBODY };
        let stage = Stage::quiet(&self.fleet, &self.catalogue);
        LogEvent {
            request_id: Some(request.request_id),
            user_id: Some(UserId(user)),
            source_ip: Some(client),
            duration_ms: Some(duration_ms),
            status: instance.service.profile().stack.speaks_http().then_some(200),
            attributes: metrics(&instance, event_type, rng),
            ..stage.say(&instance, tag, at_ns, rng, &request)
        }
    }
}

impl Iterator for IntervalStream {
    type Item = (Duration, LogEvent);

    fn next(&mut self) -> Option<(Duration, LogEvent)> {
        let pause = self.pause();
        let elapsed = self.elapsed.saturating_add(pause);
        if elapsed > self.config.duration {
            return None;
        }
        self.elapsed = elapsed;
        let at_ns = later(self.config.start_ns, elapsed).ok()?;
        Some((pause, self.event(at_ns)))
    }
}

fn metrics(
    instance: &Instance,
    event_type: &'static str,
    rng: &mut ChaCha8Rng,
) -> Vec<(&'static str, AttributeValue)> {
    let profile = instance.service.profile();
    let mut around = |mean: f64, spread: f64, decimals: f64| {
        AttributeValue::Float(((mean + spread * noise(rng)) * decimals).round() / decimals)
    };
    vec![
        ("event_type", AttributeValue::Static(event_type)),
        ("cpu_usage", around(profile.cpu_percent, 3.0, 10.0)),
        ("memory_usage", around(profile.memory_percent, 2.0, 10.0)),
        ("error_rate", around(0.004, 0.001, 1000.0)),
        (
            "requests_per_second",
            around(profile.requests_per_second, 0.08 * profile.requests_per_second, 10.0),
        ),
    ]
}

fn measured(mut log: LogEvent, name: &'static str, value: f64) -> LogEvent {
    if let Some((_, found)) = log.attributes.iter_mut().find(|(known, _)| *known == name) {
        *found = AttributeValue::Float((value * 10.0).round() / 10.0);
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_NS: i64 = 1_770_668_701_000_000_000;

    fn events(config: IntervalConfig) -> Vec<(Duration, LogEvent)> {
        IntervalStream::new(config).unwrap().collect()
    }

    fn is_odd(log: &LogEvent) -> bool {
        let kinds = ["cpu_spike", "memory_spike", "request_failed", "authentication"];
        let event_type =
            log.attributes.iter().find(|(name, _)| *name == "event_type").map(|(_, value)| value);
        kinds.iter().any(|kind| event_type == Some(&AttributeValue::Static(kind)))
    }

    #[test]
    fn pauses_keep_their_bounds_and_fill_the_duration() {
        let config = IntervalConfig::new(1, START_NS);
        let events = events(config);
        let total: Duration = events.iter().map(|(pause, _)| *pause).sum();
        assert!(events.iter().all(|(pause, _)| (config.min_interval..=config.max_interval).contains(pause)));
        assert!(total <= config.duration && total + config.max_interval > config.duration, "{total:?}");
        let last = events.last().unwrap().1.timestamp_ns;
        assert_eq!(last - START_NS, i64::try_from(total.as_nanos()).unwrap());
    }

    #[test]
    fn the_share_of_anomalies_is_the_one_asked_for() {
        for (share, expected) in [(0.0, 0.0..=0.0), (0.3, 0.2..=0.4), (0.7, 0.6..=0.8), (1.0, 1.0..=1.0)] {
            let hour = Duration::from_secs(600);
            let events = events(IntervalConfig {
                anomaly_share: share,
                duration: hour,
                ..IntervalConfig::new(2, START_NS)
            });
            let odd = events.iter().filter(|(_, log)| is_odd(log)).count();
            let found = odd as f64 / events.len() as f64;
            assert!(expected.contains(&found), "{share}: {found}");
        }
    }

    #[test]
    fn every_event_has_time_service_metrics_and_type() {
        let mut json = Vec::new();
        for (_, log) in events(IntervalConfig { anomaly_share: 0.5, ..IntervalConfig::new(3, START_NS) }) {
            json.clear();
            log.write_json(&mut json);
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            for name in ["timestamp", "service", "event_type"] {
                assert!(value[name].is_string(), "{name} in {value}");
            }
            for name in ["cpu_usage", "memory_usage", "error_rate", "requests_per_second", "duration_ms"] {
                assert!(value[name].is_number(), "{name} in {value}");
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let config = IntervalConfig { min_interval: Duration::from_secs(1), ..IntervalConfig::new(1, 0) };
        let error = IntervalStream::new(config).unwrap_err();
        assert_eq!(error.to_string(), "`min_interval` must be at most `max_interval`");
        let far = IntervalConfig { start_ns: i64::MAX, ..IntervalConfig::new(1, 0) };
        assert_eq!(IntervalStream::new(far).unwrap_err(), SimulateError::TimeTooFar);
    }
}
