//! Volumetric floods: records and samples per second of event time for each service, and log records for each source and each
//! endpoint of a service.
//!
//! What a service gets beyond its usual second (and beyond the least that is a flood) is counted by source and endpoint; so an
//! ordinary second costs one count, and a source can send that many more before it is told. One of them alone that makes up
//! [`EXCESS_MULTIPLE`] times the usual second is a flood.
//!
//! An endpoint is the path of a request without its query, in which every part that holds a digit counts as the same.
//!
//! The baseline is an exponential average of the rate of past seconds, quiet ones included. A second adds at most
//! [`LEARN_MULTIPLE_MAX`] times the baseline to it, so a flood is learnt in minutes and not at once. A second is a
//! flood above `max(min_per_second, multiple * baseline)`, or above `cold_per_second` before a baseline exists.
//!
//! Invariant: a second's count only grows, so a record that comes late can complete a flood but never undo one.
//!
//! Cost: 16 bytes for each active second within the lateness, so 9.6 KB a key by default at most.

use heimdall_model::batch::Row;
use heimdall_model::schema::logs;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Baseline, Dataset, Entity, Feature, Severity, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use crate::arrival::{self, Reported, steps};
use crate::buckets::Buckets;
use crate::config::{DetectConfig, FloodConfig, Period};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields;
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;

/// Most that one second may count for in the baseline, in multiples of it (and never less than one record).
const LEARN_MULTIPLE_MAX: f64 = 3.0;

/// Usual seconds of a service that one source or endpoint has to add to be a flood.
const EXCESS_MULTIPLE: f64 = 3.0;
/// Attributes that hold the path of a request.
const PATHS: &[&str] = &["path", "http.path", "url.path", "http.target", "url"];
/// Bytes of a path that are looked at.
const PATH_BYTES_MAX: usize = 200;

/// Whose records are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Service,
    Source,
    Endpoint,
}

impl Kind {
    const fn rule(self) -> &'static str {
        match self {
            Kind::Service => "flood.volume",
            Kind::Source => "flood.source",
            Kind::Endpoint => "flood.endpoint",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Kind::Service => "Flood of records",
            Kind::Source => "Flood from one source",
            Kind::Endpoint => "Flood at one endpoint",
        }
    }
}

/// The flood detector.
#[derive(Debug)]
pub struct Flood {
    config: FloodConfig,
    lateness: Period,
    ahead: Period,
    keys: Keyed<State>,
    key: String,
    endpoint: String,
    counters: Counters,
}

/// What is known of one service, source or endpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    seconds: Buckets,
    /// Average records per second, and the seconds it was learnt from.
    #[serde(with = "snapshot::bits")]
    mean: f64,
    learnt: u64,
    reported: Reported,
}

impl Flood {
    /// A detector with nothing learnt.
    #[must_use]
    pub fn new(config: &DetectConfig) -> Flood {
        Flood {
            config: config.flood.clone(),
            lateness: config.lateness,
            ahead: config.ahead,
            keys: Keyed::default(),
            key: String::new(),
            endpoint: String::new(),
            counters: Counters::default(),
        }
    }

    fn count(&mut self, observed: &Observed<'_>, row: &Row<'_>, out: &mut Findings) {
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let second = time.div_euclid(NS_PER_SECOND);
        let seen = Seen { observed, row, time, second };
        let key = keyed::key(&mut self.key, &[observed.tenant.as_str(), fields::service(row)]);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        state.learn_until(second, &self.config);
        let Some(bucket) = state.seconds.add(second, false, self.lateness.ns() / NS_PER_SECOND) else {
            self.counters.late += 1;
            return;
        };
        let (rate, bound) = (f64::from(bucket.total), state.bound(&self.config));
        let usual = Usual { mean: state.mean, learnt: state.learnt, is_warm: state.is_warm(&self.config) };
        if rate > bound && state.reported.due(time, Severity::Critical, self.config.limits.repeat_every) {
            out.verdicts.push(verdict(&seen, Kind::Service, "", rate, bound, usual));
        }
        if row.dataset() == Dataset::Logs && rate > usual.mean.max(f64::from(least(&self.config))) {
            self.attribute(&seen, usual, out);
        }
    }

    /// Counts a record beyond the usual for its source and its endpoint.
    fn attribute(&mut self, seen: &Seen<'_>, usual: Usual, out: &mut Findings) {
        if let Some(source) = seen.row.text(logs::SOURCE_IP) {
            self.count_excess(seen, Kind::Source, source, usual, out);
        }
        let mut endpoint = std::mem::take(&mut self.endpoint);
        if endpoint_of(seen.row, &mut endpoint) {
            self.count_excess(seen, Kind::Endpoint, &endpoint, usual, out);
        }
        self.endpoint = endpoint;
    }

    fn count_excess(&mut self, seen: &Seen<'_>, kind: Kind, whose: &str, usual: Usual, out: &mut Findings) {
        let Seen { observed, row, time, second } = *seen;
        let parts = [observed.tenant.as_str(), fields::service(row), kind.rule(), whose];
        let key = keyed::key(&mut self.key, &parts);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        let Some(bucket) = state.seconds.add(second, false, self.lateness.ns() / NS_PER_SECOND) else {
            return;
        };
        let least = f64::from(match kind {
            Kind::Endpoint => self.config.endpoint_min_per_second,
            Kind::Service | Kind::Source => self.config.source_min_per_second,
        });
        let bound = if usual.is_warm { (EXCESS_MULTIPLE * usual.mean).max(least) } else { 2.0 * least };
        let rate = f64::from(bucket.total);
        if rate > bound && state.reported.due(time, Severity::Critical, self.config.limits.repeat_every) {
            out.verdicts.push(verdict(seen, kind, whose, rate, bound, usual));
        }
    }
}

/// What a service usually gets.
#[derive(Debug, Clone, Copy)]
struct Usual {
    /// Records per second.
    mean: f64,
    learnt: u64,
    is_warm: bool,
}

/// Records per second of a service below which nobody floods it.
fn least(config: &FloodConfig) -> u32 {
    config.source_min_per_second.min(config.endpoint_min_per_second)
}

/// A record, and its event time in ns and seconds.
#[derive(Clone, Copy)]
struct Seen<'a> {
    observed: &'a Observed<'a>,
    row: &'a Row<'a>,
    time: i64,
    second: i64,
}

/// Puts the endpoint of a request into `endpoint`; `false` when the record tells of none.
fn endpoint_of(row: &Row<'_>, endpoint: &mut String) -> bool {
    endpoint.clear();
    let Some(path) = row.attributes().and_then(|json| fields::first_attribute(json, PATHS)) else {
        return false;
    };
    let end = path.find(['?', '#']).unwrap_or(path.len()).min(PATH_BYTES_MAX);
    let path = &path[..path.floor_char_boundary(end)];
    if !path.contains('/') {
        return false;
    }
    for (number, part) in path.split('/').enumerate() {
        if number > 0 {
            endpoint.push('/');
        }
        let varies = part.bytes().any(|byte| byte.is_ascii_digit());
        endpoint.push_str(if varies { "*" } else { part });
    }
    true
}

impl State {
    /// Learns the seconds that end when `second` begins.
    fn learn_until(&mut self, second: i64, config: &FloodConfig) {
        let Some(done) = self.seconds.newest().filter(|newest| newest.at < second) else { return };
        self.learn(f64::from(done.total), config);
        self.learn_quiet(u64::try_from(second.saturating_sub(done.at) - 1).unwrap_or(0), config);
    }

    /// As [`State::learn`] of rate 0 so many times.
    #[expect(clippy::cast_precision_loss, reason = "seconds far below 2^53")]
    fn learn_quiet(&mut self, seconds: u64, config: &FloodConfig) {
        let plain = (config.memory_seconds / 2).saturating_sub(self.learnt).min(seconds);
        if plain > 0 {
            self.mean *= self.learnt as f64 / (self.learnt + plain) as f64;
        }
        let settled = i32::try_from(seconds - plain).unwrap_or(i32::MAX);
        self.mean *= (1.0 - gain(config)).powi(settled);
        self.learnt = self.learnt.saturating_add(seconds);
    }

    fn learn(&mut self, rate: f64, config: &FloodConfig) {
        self.learnt = self.learnt.saturating_add(1);
        #[expect(clippy::cast_precision_loss, reason = "seconds far below 2^53")]
        let gain = (1.0 / self.learnt as f64).max(gain(config));
        let most = match self.learnt {
            1 => f64::from(config.cold_per_second),
            _ => (self.mean * LEARN_MULTIPLE_MAX).max(1.0),
        };
        self.mean += gain * (rate.min(most) - self.mean);
    }

    fn is_warm(&self, config: &FloodConfig) -> bool {
        self.learnt >= config.baseline_seconds_min
    }

    /// Records per second above which it is a flood.
    fn bound(&self, config: &FloodConfig) -> f64 {
        if self.is_warm(config) {
            (config.multiple * self.mean).max(f64::from(config.min_per_second))
        } else {
            f64::from(config.cold_per_second)
        }
    }
}

fn gain(config: &FloodConfig) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds far below 2^53")]
    let memory = config.memory_seconds as f64;
    2.0 / (memory + 1.0)
}

fn verdict(seen: &Seen<'_>, kind: Kind, whose: &str, rate: f64, bound: f64, usual: Usual) -> Verdict {
    let Seen { observed, row, time, .. } = *seen;
    let service = fields::service(row);
    let (entity, subject) = match kind {
        Kind::Service => (Entity::new("service", service), service.to_owned()),
        Kind::Source => (Entity::new("source_ip", whose), format!("{whose} at {service}")),
        Kind::Endpoint => {
            (Entity::new("endpoint", &format!("{service} {whose}")), format!("{whose} of {service}"))
        }
    };
    let what = match observed.batch.dataset {
        Dataset::Logs => "records",
        Dataset::Metrics => "samples",
        Dataset::Spans => "spans",
    };
    let known = match (usual.learnt, kind) {
        (0, _) => "no usual rate is known yet".to_owned(),
        (_, Kind::Service) => format!("usual are {} a second", arrival::short(usual.mean)),
        _ => format!("usual are {} a second of all", arrival::short(usual.mean)),
    };
    Verdict {
        tenant: observed.tenant.clone(),
        detector: "flood".to_owned(),
        rule: kind.rule().to_owned(),
        title: kind.title().to_owned(),
        severity: Severity::Critical,
        score: arrival::score(rate, bound),
        entity,
        service: Some(service.to_owned()),
        time: Timestamp(time),
        position: row.position(),
        summary: format!(
            "{subject} sent more than {} {what} within one second ({known})",
            arrival::short(bound.floor())
        ),
        baseline: Some(Baseline {
            mean: usual.mean,
            stddev: 0.0,
            samples: usual.learnt,
            threshold: bound,
            observed: rate,
        }),
        features: vec![
            Feature { name: "records_in_second".to_owned(), value: rate },
            Feature { name: "usual_per_second".to_owned(), value: usual.mean },
        ],
        evidence: vec![row.id()],
        mitigation: steps(&[
            "Find the busiest sources of this minute: `stats count() by source_ip`",
            "Rate-limit or block them at the edge, or switch on the provider's DDoS protection",
            "If the load is legitimate (a launch, a batch job): scale out and raise `flood.multiple`",
        ]),
    }
}

impl Detector for Flood {
    fn name(&self) -> &'static str {
        "flood"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.lateness, self.ahead) = (config.flood.clone(), config.lateness, config.ahead);
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        for row in batch.batch.iter() {
            self.count(batch, &row, out);
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::encode(&self.keys.save())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.keys = Keyed::load(snapshot::decode::<Vec<Saved<State>>>(bytes)?);
        Ok(())
    }

    fn state_keys(&self) -> usize {
        self.keys.len()
    }

    fn counters(&self) -> Counters {
        Counters { evicted: self.keys.evicted(), ..self.counters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Line, feed, logs};

    fn at(second: i64, count: usize) -> impl Iterator<Item = Line> {
        (0..count).map(move |_| Line::new(second, "request").service("EDGE"))
    }

    #[track_caller]
    fn check(lines: impl Iterator<Item = Line>, summaries: &[&str]) {
        let mut detector = Flood::new(&DetectConfig::default());
        let out = feed(&mut detector, &logs(&lines.collect::<Vec<_>>()));
        let found: Vec<&str> = out.verdicts.iter().map(|verdict| verdict.summary.as_str()).collect();
        assert_eq!(found, summaries);
    }

    #[test]
    fn a_burst_above_the_minimum_and_the_baseline_is_a_flood() {
        let steady = || (0..100).flat_map(|second| at(second, 10));
        check(steady().chain(at(100, 1_000)), &[]);
        check(
            steady().chain(at(100, 1_001)),
            &["EDGE sent more than 1000 records within one second (usual are 10 a second)"],
        );
    }

    #[test]
    fn a_busy_service_may_be_busy() {
        check((0..70).flat_map(|second| at(second, 500)).chain(at(70, 4_900)), &[]);
    }

    #[test]
    fn without_a_baseline_the_cold_bound_counts() {
        check(at(0, 2_000), &[]);
        check(
            at(0, 2_500),
            &["EDGE sent more than 2000 records within one second (no usual rate is known yet)"],
        );
    }

    #[test]
    fn late_records_count_in_their_second_and_a_flood_is_told_once_a_minute() {
        let late = at(0, 1_500).chain(at(30, 1)).chain(at(0, 600));
        check(late, &["EDGE sent more than 2000 records within one second (usual are 50 a second)"]);
        check(
            (0..3).flat_map(|second| at(second, 2_100)),
            &["EDGE sent more than 2000 records within one second (no usual rate is known yet)"],
        );
    }

    #[test]
    fn sources_and_endpoints_are_counted_by_themselves() {
        let request = |second, source: &str, path: &str| {
            let json = format!(r#"{{"method":"GET","path":"{path}","status":200}}"#);
            Line::new(second, "GET").service("EDGE").source_ip(source).attributes(&json)
        };
        let steady = |second| (0..20).map(move |n| request(second, &format!("192.0.2.{n}"), "/home"));
        let lines = (0..100).flat_map(steady);
        // From many sources at one endpoint; then from one source at many.
        let endpoint = (0..900)
            .map(|n| request(100, &format!("198.51.{}.{}", n % 7, n % 251), &format!("/order/{n}?x={n}")));
        let source = (0..450)
            .map(|n| request(102, "192.0.2.3", &format!("/page-{}", char::from(b'a' + (n % 26) as u8))));
        let lines: Vec<Line> = lines.chain(endpoint).chain(source).collect();
        let out = feed(&mut Flood::new(&DetectConfig::default()), &logs(&lines));
        let found: Vec<_> = out.verdicts.iter().map(|v| (v.rule.as_str(), v.entity.value.as_str())).collect();
        assert_eq!(found, [("flood.endpoint", "EDGE /order/*"), ("flood.source", "192.0.2.3")]);
        let more: Vec<Line> = (0..1_300)
            .map(|n| request(0, &format!("203.0.{}.{}", n % 7, n % 251), &format!("/order/{n}")))
            .collect();
        let out = feed(&mut Flood::new(&DetectConfig::default()), &logs(&more));
        let found: Vec<_> = out.verdicts.iter().map(|v| (v.rule.as_str(), v.entity.value.as_str())).collect();
        assert_eq!(found, [("flood.endpoint", "EDGE /order/*")]);
    }
}
