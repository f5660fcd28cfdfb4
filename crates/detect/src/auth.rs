//! Failed logins: bursts by source and by user, password spraying, success after brute force.
//!
//! Windows slide over event time and include both ends. The count of a window is what one reporter says: lines of PAM
//! and of the service about the same attempts are not added up.
//!
//! Invariants:
//! - a source is found exactly when some window of `within` holds `failures` of its failures, whatever the order of
//!   arrival within the lateness (as long as the window's failures are among the newest [`HITS_MAX`] records);
//! - a finding that goes on is repeated at most once per `repeat_every`.
//!
//! Not here: a success that arrives before the failures that precede it in event time is not reported.
//! Cost: 24 bytes a failure, 3 KiB a key at most; usually about 300 bytes.
//!
//! [`HITS_MAX`]: DetectConfig::check

mod extract;

use heimdall_model::batch::Row;
use heimdall_model::verdict::EVIDENCE_MAX;
use heimdall_model::{Dataset, Entity, Feature, RecordId, Severity, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use crate::arrival::{self, Reported, steps};
use crate::config::{AuthConfig, DetectConfig, Period};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::hits::{self, Hit, Hits, Window};
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;
use extract::{Extractor, Login, Outcome};

/// The failed-login detector.
#[derive(Debug)]
pub struct Auth {
    config: AuthConfig,
    lateness: Period,
    ahead: Period,
    extractor: Extractor,
    sources: Keyed<Source>,
    users: Keyed<User>,
    key: String,
    counters: Counters,
}

/// What is known of one source.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Source {
    /// Failures; `who` is the user.
    failures: Hits,
    burst: Reported,
    spray: Reported,
    success: Reported,
    /// Whether a burst or spraying was found.
    found: bool,
}

/// What is known of one user.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct User {
    /// Failures; `who` is the source.
    failures: Hits,
    burst: Reported,
}

/// A login with where and when it was seen.
struct Seen<'a> {
    observed: Observed<'a>,
    row: Row<'a>,
    time: i64,
    login: Login<'a>,
}

/// The parts of a verdict that differ.
struct Finding {
    rule: &'static str,
    title: &'static str,
    entity: Entity,
    score: f64,
    summary: String,
    features: Vec<Feature>,
    evidence: Vec<RecordId>,
    mitigation: &'static [&'static str],
}

const BLOCK_STEPS: &[&str] = &[
    "Block the source at the firewall, or let fail2ban do it",
    "Check whether any login from it succeeded: `source_ip:<source> accepted`",
    "Disable password logins where keys will do; require a second factor",
];
const USER_STEPS: &[&str] = &[
    "Lock the account for now, or force a new password with a second factor",
    "Check whether any login of the user succeeded since the burst began",
    "Block the sources that take part",
];
const TAKEN_STEPS: &[&str] = &[
    "Treat the account as taken over: end its sessions, lock it, rotate its keys and passwords",
    "Block the source and isolate the host until it is checked",
    "Read what the session did: commands, new users, new keys, outgoing connections",
];

impl Auth {
    /// A detector with nothing seen.
    #[must_use]
    pub fn new(config: &DetectConfig) -> Auth {
        Auth {
            config: config.auth.clone(),
            lateness: config.lateness,
            ahead: config.ahead,
            extractor: Extractor::new(),
            sources: Keyed::default(),
            users: Keyed::default(),
            key: String::new(),
            counters: Counters::default(),
        }
    }

    fn judge(&mut self, seen: &Seen<'_>, out: &mut Findings) {
        match seen.login.outcome {
            Outcome::Succeeded => self.succeeded(seen, out),
            Outcome::Failed { times } => {
                let source = seen.login.source.as_deref();
                let user = seen.login.user.as_deref();
                let hit = |who: Option<&str>| Hit {
                    time: seen.time,
                    position: seen.row.position().0,
                    who: who.map_or(0, hits::who),
                    weight: times,
                    reporter: seen.login.reporter as u8,
                };
                let taken = source.is_none_or(|source| self.source_failed(seen, source, hit(user), out));
                let taken = user.is_none_or(|user| self.user_failed(seen, user, hit(source), out)) && taken;
                self.counters.late += u64::from(!taken);
            }
        }
    }

    /// `false` when the failure is too late to count.
    fn source_failed(&mut self, seen: &Seen<'_>, source: &str, hit: Hit, out: &mut Findings) -> bool {
        let config = &self.config;
        let key = keyed::key(&mut self.key, &[seen.observed.tenant.as_str(), source]);
        let state = self.sources.entry(key, seen.observed.batch.observed, &config.limits, Source::default);
        let keep = config.within.max(config.spray_within).max(config.success_within);
        if !state.failures.add(hit, self.lateness, keep) {
            return false;
        }
        let Source { failures, burst, spray, found, .. } = state;
        let threshold = u64::from(config.failures);
        if let Some(window) = fullest(failures, hit.time, config.within).filter(|w| w.count() >= threshold) {
            *found = true;
            if burst.due(hit.time, Severity::Critical, config.limits.repeat_every) {
                out.verdicts.push(seen.verdict(source_burst(source, window, config)));
            }
        }
        let widest = failures.windows(hit.time, config.spray_within).max_by_key(|window| window.distinct());
        if let Some(window) = widest.filter(|window| window.distinct() >= config.spray_users as usize) {
            *found = true;
            if spray.due(hit.time, Severity::Critical, config.limits.repeat_every) {
                out.verdicts.push(seen.verdict(spraying(source, window, config)));
            }
        }
        true
    }

    fn user_failed(&mut self, seen: &Seen<'_>, user: &str, hit: Hit, out: &mut Findings) -> bool {
        let config = &self.config;
        let key = keyed::key(&mut self.key, &[seen.observed.tenant.as_str(), user]);
        let state = self.users.entry(key, seen.observed.batch.observed, &config.limits, User::default);
        if !state.failures.add(hit, self.lateness, config.within) {
            return false;
        }
        let User { failures, burst } = state;
        let convincing = |window: &Window<'_>| {
            window.count() >= u64::from(config.failures)
                && (window.any_unknown() || window.distinct() >= config.user_sources_min as usize)
        };
        if let Some(window) =
            failures.windows(hit.time, config.within).filter(convincing).max_by_key(|w| w.count())
            && burst.due(hit.time, Severity::Critical, config.limits.repeat_every)
        {
            out.verdicts.push(seen.verdict(user_burst(user, window, config)));
        }
        true
    }

    fn succeeded(&mut self, seen: &Seen<'_>, out: &mut Findings) {
        let Some(source) = seen.login.source.as_deref() else { return };
        let config = &self.config;
        let key = keyed::key(&mut self.key, &[seen.observed.tenant.as_str(), source]);
        let Some(state) = self.sources.get_mut(key) else { return };
        let after_failures = state.found && state.failures.any_before(seen.time, config.success_within);
        if after_failures && state.success.due(seen.time, Severity::Critical, config.limits.repeat_every) {
            let user = seen.login.user.as_deref().unwrap_or("an unnamed user");
            out.verdicts.push(seen.verdict(success(source, user, seen.row.id(), &state.failures, config)));
        }
    }
}

/// The window around `at` with the most failures.
fn fullest(failures: &Hits, at: i64, within: Period) -> Option<Window<'_>> {
    failures.windows(at, within).max_by_key(|window| window.count())
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn count_feature(name: String, count: u64) -> Feature {
    Feature { name, value: count as f64 }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn score_of(count: u64, threshold: u32) -> f64 {
    arrival::score(count as f64, f64::from(threshold))
}

#[expect(clippy::cast_precision_loss, reason = "shown in seconds")]
fn seconds(window: Window<'_>) -> String {
    arrival::short(window.span_ns() as f64 / 1e9)
}

fn failure_features(window: Window<'_>, within: Period, distinct: &str) -> Vec<Feature> {
    vec![
        count_feature(format!("failures_in_{within}"), window.count()),
        count_feature(distinct.to_owned(), window.distinct() as u64),
    ]
}

fn source_burst(source: &str, window: Window<'_>, config: &AuthConfig) -> Finding {
    let (count, users) = (window.count(), window.distinct());
    let whom = match users {
        0 => String::new(),
        1 => " for one user".to_owned(),
        users => format!(" for {users} users"),
    };
    Finding {
        rule: "auth.bruteforce.source",
        title: "Brute force from one source",
        entity: Entity::new("source_ip", source),
        score: score_of(count, config.failures),
        summary: format!(
            "{count} failed logins from {source}{whom} within {} s (limit {} in {})",
            seconds(window),
            config.failures,
            config.within
        ),
        features: failure_features(window, config.within, "distinct_users"),
        evidence: window.evidence(),
        mitigation: BLOCK_STEPS,
    }
}

fn user_burst(user: &str, window: Window<'_>, config: &AuthConfig) -> Finding {
    let (count, sources) = (window.count(), window.distinct());
    let from = match sources {
        0 => String::new(),
        1 => " from one source".to_owned(),
        sources => format!(" from {sources} sources"),
    };
    Finding {
        rule: "auth.bruteforce.user",
        title: "Brute force against one user",
        entity: Entity::new("user_id", user),
        score: score_of(count, config.failures),
        summary: format!(
            "{count} failed logins of {user}{from} within {} s (limit {} in {})",
            seconds(window),
            config.failures,
            config.within
        ),
        features: failure_features(window, config.within, "distinct_sources"),
        evidence: window.evidence(),
        mitigation: USER_STEPS,
    }
}

fn spraying(source: &str, window: Window<'_>, config: &AuthConfig) -> Finding {
    let users = window.distinct();
    Finding {
        rule: "auth.spray.source",
        title: "Password spraying",
        entity: Entity::new("source_ip", source),
        score: score_of(users as u64, config.spray_users),
        summary: format!(
            "{users} users failed to log in from {source} within {} s (limit {} in {})",
            seconds(window),
            config.spray_users,
            config.spray_within
        ),
        features: failure_features(window, config.spray_within, "distinct_users"),
        evidence: window.evidence(),
        mitigation: BLOCK_STEPS,
    }
}

fn success(source: &str, user: &str, id: RecordId, failures: &Hits, config: &AuthConfig) -> Finding {
    let at = failures.newest().unwrap_or_default();
    let window = failures.windows(at, config.success_within).last();
    let count = window.map_or(0, Window::count);
    let mut evidence = window.map_or_else(Vec::new, Window::evidence);
    if evidence.len() == EVIDENCE_MAX {
        evidence.remove(0);
    }
    evidence.push(id);
    Finding {
        rule: "auth.success_after_bruteforce",
        title: "Login succeeded after brute force",
        entity: Entity::new("source_ip", source),
        score: 1.0,
        summary: format!(
            "{user} logged in from {source} after {count} failed logins from there within {}",
            config.success_within
        ),
        features: vec![count_feature(format!("failures_in_{}", config.success_within), count)],
        evidence,
        mitigation: TAKEN_STEPS,
    }
}

impl Seen<'_> {
    fn verdict(&self, finding: Finding) -> Verdict {
        Verdict {
            tenant: self.observed.tenant.clone(),
            detector: "auth".to_owned(),
            rule: finding.rule.to_owned(),
            title: finding.title.to_owned(),
            severity: Severity::Critical,
            score: finding.score,
            entity: finding.entity,
            service: self.row.service().map(str::to_owned),
            time: Timestamp(self.time),
            position: self.row.position(),
            summary: finding.summary,
            baseline: None,
            features: finding.features,
            evidence: finding.evidence,
            mitigation: steps(finding.mitigation),
        }
    }
}

impl Detector for Auth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.lateness, self.ahead) = (config.auth.clone(), config.lateness, config.ahead);
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        if batch.batch.dataset != Dataset::Logs {
            return;
        }
        for row in batch.batch.iter() {
            let Some(login) = self.extractor.login(&row) else { continue };
            let time = arrival::event_time(&row, batch.batch, self.ahead, &mut self.counters);
            self.judge(&Seen { observed: *batch, row, time, login }, out);
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::encode(&(self.sources.save(), self.users.save()))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let (sources, users) = snapshot::decode::<(Vec<Saved<Source>>, Vec<Saved<User>>)>(bytes)?;
        (self.sources, self.users) = (Keyed::load(sources), Keyed::load(users));
        Ok(())
    }

    fn state_keys(&self) -> usize {
        self.sources.len() + self.users.len()
    }

    fn counters(&self) -> Counters {
        Counters { evicted: self.sources.evicted() + self.users.evicted(), ..self.counters }
    }
}

#[cfg(test)]
mod tests;
