//! Attacks in requests, as access logs and application logs show them.
//!
//! - [`request`]: the request a record tells of; [`normalise`]: what hides an attack is undone
//! - [`score`]: clues by family of attack ([`family`]), each with a weight; a family is found when they weigh enough
//! - `signatures`, `sql`, `shell`: the clues: looks of attacks, shapes of SQL, places of commands
//!
//! Requests of one source that show one family are one finding, repeated at most once per `repeat_every` with the
//! count so far. What the server answered tells how bad: a refused request was an attempt, an answered one may have
//! worked. Records without a request are judged by their message, by what no application writes itself.
//!
//! Invariants:
//! - a request is judged by itself: its finding does not depend on what came before, only its repetition does;
//! - bounded: one key per source and family, 3 KiB each at most.
//!
//! Not here: many harmless requests that make a scan together (see `scan`).
//! Cost: see the benchmark in `examples/web.rs`; an ordinary request is let go after one look at its bytes.

pub mod family;
pub mod normalise;
pub mod request;
pub mod score;

mod shell;
mod signatures;
mod sql;

use std::borrow::Cow;

use heimdall_model::batch::Row;
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, Entity, Feature, Severity, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use crate::arrival::{self, Reported, steps};
use crate::config::{DetectConfig, Period, WebConfig};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields;
use crate::hits::{self, Hit, Hits, Window};
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;
use family::Family;
use request::Request;
use score::{Finding, Place, Scorer};

/// Attributes that name the client where `source_ip` is missing.
const CLIENTS: &[&str] = &["remote_host", "client", "remote_ip", "http.client_ip", "x_forwarded_for"];
/// Clues told as features.
const FEATURES_MAX: usize = 8;
/// Characters of a path shown.
const PATH_CHARS_MAX: usize = 80;
/// Times [`score::ENOUGH`] at which an attempt is beyond doubt.
const CERTAIN: u32 = 2;

/// The detector of attacks in requests.
#[derive(Debug)]
pub struct Web {
    config: WebConfig,
    lateness: Period,
    ahead: Period,
    scorer: Scorer,
    keys: Keyed<State>,
    key: String,
    counters: Counters,
}

/// Requests of one source that show one family.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    /// `who` is the path.
    requests: Hits,
    reported: Reported,
}

/// A request with where and when it was seen.
struct Seen<'a> {
    observed: Observed<'a>,
    row: Row<'a>,
    time: i64,
    request: Option<Request<'a>>,
}

/// Builds what the detector shares between requests, so that none waits for it: some 0.1 s of one core.
pub fn prepare() {
    score::prepare();
}

impl Web {
    /// A detector with nothing seen.
    #[must_use]
    pub fn new(config: &DetectConfig) -> Web {
        Web {
            config: config.web.clone(),
            lateness: config.lateness,
            ahead: config.ahead,
            scorer: Scorer::default(),
            keys: Keyed::default(),
            key: String::new(),
            counters: Counters::default(),
        }
    }

    fn judge(&mut self, observed: &Observed<'_>, row: &Row<'_>, out: &mut Findings) {
        let request = Request::of(row);
        let mut found = request.as_ref().map(|request| self.scorer.score(request)).unwrap_or_default();
        let is_whole = request.as_ref().is_some_and(|request| request.status.is_some());
        if found.is_empty() && !is_whole && self.config.messages {
            found = row.text(logs::MESSAGE).map(|text| self.scorer.score_message(text)).unwrap_or_default();
        }
        if found.is_empty() {
            return;
        }
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let seen = Seen { observed: *observed, row: *row, time, request };
        let least = self.config.score_min;
        for finding in found.iter().filter(|finding| finding.score >= least) {
            self.count(&seen, finding, out);
        }
    }

    fn count(&mut self, seen: &Seen<'_>, finding: &Finding, out: &mut Findings) {
        let entity = seen.entity();
        let parts = [seen.observed.tenant.as_str(), &entity.kind, &entity.value, finding.family.rule()];
        let key = keyed::key(&mut self.key, &parts);
        let state = self.keys.entry(key, seen.observed.batch.observed, &self.config.limits, State::default);
        let every = self.config.limits.repeat_every;
        let path = seen.request.as_ref().map_or("", |request| &request.path);
        let hit = Hit {
            time: seen.time,
            position: seen.row.position().0,
            who: hits::who(path),
            weight: 1,
            reporter: 0,
        };
        if !state.requests.add(hit, self.lateness, every) {
            self.counters.late += 1;
            return;
        }
        let severity = severity(finding, seen.status());
        if state.reported.due(seen.time, severity, every)
            && let Some(window) = state.requests.windows(seen.time, every).max_by_key(|window| window.count())
        {
            out.verdicts.push(verdict(seen, finding, severity, entity, window, every));
        }
    }
}

/// How bad, given what was answered. Refused: an attempt. Answered: worse, where the attempt is beyond doubt.
fn severity(finding: &Finding, status: Option<u16>) -> Severity {
    let usual = finding.family.severity();
    let certain = finding.score >= CERTAIN * u32::from(score::ENOUGH);
    match status {
        Some(400..=499) => Severity::Warning,
        Some(200..=299 | 500..=599) if certain && raises(finding.family) => Severity::Critical,
        _ => usual,
    }
}

/// Whether an answer to an attempt of this family says that it may have worked.
fn raises(family: Family) -> bool {
    matches!(family, Family::Nosql | Family::Ssrf | Family::Rfi | Family::Ldap | Family::Xml)
}

impl Seen<'_> {
    fn status(&self) -> Option<u16> {
        self.request.as_ref().and_then(|request| request.status)
    }

    /// The client, else who wrote the record.
    fn entity(&self) -> Entity {
        let row = &self.row;
        if let Some(source) = row.text(logs::SOURCE_IP).filter(|text| !text.is_empty()) {
            return Entity::new("source_ip", source);
        }
        let client = row.attributes().and_then(|json| fields::first_attribute(json, CLIENTS));
        if let Some(client) = client {
            return Entity::new(if is_address(&client) { "source_ip" } else { "remote_host" }, &client);
        }
        let first = row
            .text(logs::MESSAGE)
            .and_then(|message| message.split(' ').next())
            .filter(|word| is_address(word));
        match (first, row.text(logs::HOST)) {
            (Some(address), _) => Entity::new("source_ip", address),
            (None, Some(host)) if row.service().is_none() => Entity::new("host", host),
            _ => Entity::new("service", fields::service(row)),
        }
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

fn verdict(
    seen: &Seen<'_>,
    finding: &Finding,
    severity: Severity,
    entity: Entity,
    window: Window<'_>,
    within: Period,
) -> Verdict {
    let mut features = vec![
        Feature { name: "anomaly_score".to_owned(), value: f64::from(finding.score) },
        count_feature(format!("requests_in_{within}"), window.count()),
        count_feature("distinct_paths".to_owned(), window.distinct() as u64),
    ];
    let clues = finding.hits.iter().take(FEATURES_MAX);
    features.extend(
        clues.map(|hit| Feature { name: format!("clue: {}", hit.name), value: f64::from(hit.weight) }),
    );
    Verdict {
        tenant: seen.observed.tenant.clone(),
        detector: "web".to_owned(),
        rule: finding.family.rule().to_owned(),
        title: finding.family.title().to_owned(),
        severity,
        score: arrival::score(f64::from(finding.score), f64::from(score::ENOUGH)),
        entity,
        service: seen.row.service().map(str::to_owned),
        time: Timestamp(seen.time),
        position: seen.row.position(),
        summary: summary(seen, finding, window.count(), within),
        baseline: None,
        features,
        evidence: window.evidence(),
        mitigation: steps(finding.family.mitigation()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn count_feature(name: String, value: u64) -> Feature {
    Feature { name, value: value as f64 }
}

/// Where, what was seen, what was answered, and how often.
fn summary(seen: &Seen<'_>, finding: &Finding, count: u64, within: Period) -> String {
    let hit = finding.hits.first();
    let mut text = hit.map_or_else(String::new, |hit| {
        let place = match (hit.place, hit.parameter.as_str()) {
            (Place::Parameter | Place::Cookie | Place::Body, name) if !name.is_empty() => {
                format!("{} `{}`", hit.place.as_str(), clean(name))
            }
            (place, _) => place.as_str().to_owned(),
        };
        format!("{} in the {place}", hit.name)
    });
    if let Some(request) = &seen.request {
        let method = request.method.as_deref().map_or_else(String::new, |method| format!("{method} "));
        let path: Cow<'_, str> = clean(&request.path).chars().take(PATH_CHARS_MAX).collect();
        text.push_str(&format!(" of {method}{path}"));
    }
    if let Some(hit) = hit.filter(|hit| !hit.fragment.is_empty()) {
        text.push_str(&format!(": `{}`", clean(&hit.fragment)));
        let undone = hit.steps.names().collect::<Vec<_>>().join(", ");
        if !undone.is_empty() {
            text.push_str(&format!(" (undone: {undone})"));
        }
    }
    if let Some(status) = seen.status() {
        text.push_str(&format!("; answered {status}"));
    }
    if count > 1 {
        text.push_str(&format!("; {count} requests within {within}"));
    }
    text
}

/// A text on one line.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Detector for Web {
    fn name(&self) -> &'static str {
        "web"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.lateness, self.ahead) = (config.web.clone(), config.lateness, config.ahead);
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        if batch.batch.dataset != Dataset::Logs {
            return;
        }
        for row in batch.batch.iter() {
            self.judge(batch, &row, out);
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
mod tests;
