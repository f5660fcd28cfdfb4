//! Whether endpoints and targets answer, from samples that say 1 or 0: probes of an agent, `up` and `probe_success` of Prometheus.
//!
//! What is down is told after `consecutive` samples in a row, and again every `repeat_every` while it stays so; what answers
//! again after `recovered` samples in a row is told as over.
//!
//! Samples are taken in the order of arrival. Cost: about 200 bytes a key.

use std::collections::VecDeque;

use heimdall_model::batch::Row;
use heimdall_model::schema::metrics;
use heimdall_model::{
    Baseline, Dataset, Entity, Feature, Position, RecordId, Recovery, Severity, Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::arrival::{self, Reported, steps};
use crate::config::{AvailabilityConfig, DetectConfig, Period};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields;
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;

/// The detector's name.
const NAME: &str = "availability";
/// Rule of its findings.
const RULE: &str = "availability.down";
/// Samples remembered as evidence for each key.
const EVIDENCE_KEPT: usize = 5;
/// Below this a sample says that there was no answer: averages over several probes count too.
const ANSWERED: f64 = 0.5;

/// The availability detector.
#[derive(Debug)]
pub struct Availability {
    config: AvailabilityConfig,
    ahead: Period,
    keys: Keyed<State>,
    key: String,
    counters: Counters,
}

/// What is known of one target.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    /// Samples without an answer in a row, and the time of the first.
    down: u32,
    since: i64,
    /// Samples with an answer in a row.
    up: u32,
    /// It was told that it is down, and not yet that it is over.
    is_told: bool,
    reported: Reported,
    evidence: VecDeque<(i64, u64)>,
}

impl Availability {
    /// A detector with nothing seen.
    #[must_use]
    pub fn new(config: &DetectConfig) -> Availability {
        Availability {
            config: config.availability.clone(),
            ahead: config.ahead,
            keys: Keyed::default(),
            key: String::new(),
            counters: Counters::default(),
        }
    }

    fn is_meant(&self, metric: &str) -> bool {
        self.config.metrics.iter().any(|name| name.eq_ignore_ascii_case(metric))
    }

    fn judge(
        &mut self,
        observed: &Observed<'_>,
        row: &Row<'_>,
        metric: &str,
        value: f64,
        out: &mut Findings,
    ) {
        if !value.is_finite() {
            self.counters.invalid += 1;
            return;
        }
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let (service, host) = (fields::service(row), fields::host(row));
        let parts = [observed.tenant.as_str(), service, host.as_deref().unwrap_or_default(), metric];
        let key = keyed::key(&mut self.key, &parts);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        if value >= ANSWERED {
            if state.answers(&self.config) {
                out.recovered.push(recovery(observed, row, time, state));
            }
        } else if state.fails(time, row.position(), &self.config) {
            out.verdicts.push(verdict(observed, row, time, state));
        }
    }
}

impl State {
    /// Counts a sample without an answer; says whether to tell of it.
    fn fails(&mut self, time: i64, at: Position, config: &AvailabilityConfig) -> bool {
        self.up = 0;
        if self.down == 0 {
            self.since = time;
            self.evidence.clear();
        }
        self.down = self.down.saturating_add(1);
        if self.evidence.len() == EVIDENCE_KEPT {
            self.evidence.pop_front();
        }
        self.evidence.push_back((time, at.0));
        if self.down < config.consecutive && !self.is_told {
            return false;
        }
        if !self.is_told {
            self.reported = Reported::default();
        }
        self.is_told = true;
        self.reported.due(time, Severity::Critical, config.limits.repeat_every)
    }

    /// Counts a sample with an answer; says whether to tell that it is over.
    fn answers(&mut self, config: &AvailabilityConfig) -> bool {
        self.up = self.up.saturating_add(1);
        if self.up < config.recovered {
            // One answer between failures ends the count only of those not told yet.
            if !self.is_told {
                self.down = 0;
            }
            return false;
        }
        self.down = 0;
        std::mem::take(&mut self.is_told)
    }
}

/// What a finding is about: the target a label names, where no host says who asked; else the service, which is the endpoint's
/// name for an agent's probes.
fn entity(row: &Row<'_>) -> Entity {
    let target = row.text(metrics::HOST).is_none().then(|| fields::host(row)).flatten();
    target.map_or_else(|| Entity::new("service", fields::service(row)), |target| Entity::new("host", &target))
}

/// The same for people.
fn name(row: &Row<'_>) -> String {
    let (entity, service) = (entity(row), fields::service(row));
    if entity.kind == "host" { format!("{} of {service}", entity.value) } else { entity.value }
}

fn verdict(observed: &Observed<'_>, row: &Row<'_>, time: i64, state: &State) -> Verdict {
    let service = fields::service(row);
    let seconds = seconds_between(state.since, time);
    Verdict {
        tenant: observed.tenant.clone(),
        detector: NAME.to_owned(),
        rule: RULE.to_owned(),
        title: "Not available".to_owned(),
        severity: Severity::Critical,
        score: 1.0,
        entity: entity(row),
        service: Some(service.to_owned()),
        time: Timestamp(time),
        position: row.position(),
        summary: format!(
            "{} did not answer {} in a row within {} s",
            name(row),
            if state.down == 1 { "once".to_owned() } else { format!("{} times", state.down) },
            arrival::short(seconds),
        ),
        baseline: Some(Baseline {
            mean: 1.0,
            stddev: 0.0,
            samples: u64::from(state.down),
            threshold: ANSWERED,
            observed: 0.0,
        }),
        features: vec![
            Feature { name: "failures_in_a_row".to_owned(), value: f64::from(state.down) },
            Feature { name: "seconds_down".to_owned(), value: seconds },
        ],
        evidence: state.evidence.iter().map(|(t, at)| RecordId::new(Timestamp(*t), Position(*at))).collect(),
        mitigation: steps(&[
            "See whether the process runs and listens, and what it logged last",
            "Restart it; if it was deployed within the hour, roll back",
            "Ask from another host too: the network between may be what fails",
        ]),
    }
}

fn recovery(observed: &Observed<'_>, row: &Row<'_>, time: i64, state: &State) -> Recovery {
    Recovery {
        tenant: observed.tenant.clone(),
        rule: RULE.to_owned(),
        entity: entity(row),
        time: Timestamp(time),
        position: row.position(),
        summary: format!(
            "{} answers again, after {} s",
            name(row),
            arrival::short(seconds_between(state.since, time))
        ),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown in seconds")]
fn seconds_between(from: i64, to: i64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

impl Detector for Availability {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.ahead) = (config.availability.clone(), config.ahead);
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        if batch.batch.dataset != Dataset::Metrics {
            return;
        }
        for row in batch.batch.iter() {
            let (Some(metric), Some(value)) = (row.text(metrics::NAME), row.float(metrics::VALUE)) else {
                continue;
            };
            if self.is_meant(metric) {
                self.judge(batch, &row, metric, value, out);
            }
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
    use crate::testing::{feed, metric, metrics};

    #[track_caller]
    fn check(samples: &[(i64, f64)], expected: &[&str]) {
        let mut detector = Availability::new(&DetectConfig::default());
        let mut found = Vec::new();
        for (second, value) in samples {
            let out = feed(&mut detector, &metrics(&[metric(*second, "shop", "probe.availability", *value)]));
            found.extend(out.verdicts.into_iter().map(|verdict| verdict.summary));
            found.extend(out.recovered.into_iter().map(|recovery| recovery.summary));
            let bytes = detector.snapshot();
            detector = Availability::new(&DetectConfig::default());
            detector.restore(&bytes).expect("a snapshot of its own");
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn one_lost_answer_is_nothing_and_two_are_told_once() {
        check(&[(0, 1.0), (1, 0.0), (2, 1.0), (3, 0.0), (4, 1.0)], &[]);
        check(
            &[(0, 1.0), (1, 0.0), (2, 0.0), (3, 0.0), (4, 0.0)],
            &["shop did not answer 2 times in a row within 1 s"],
        );
    }

    #[test]
    fn what_answers_again_is_over_and_may_fail_again() {
        check(
            &[(0, 0.0), (1, 0.0), (2, 1.0), (3, 0.0), (4, 1.0), (5, 1.0), (6, 1.0), (7, 0.0), (8, 0.0)],
            &[
                "shop did not answer 2 times in a row within 1 s",
                "shop answers again, after 5 s",
                "shop did not answer 2 times in a row within 1 s",
            ],
        );
    }

    #[test]
    fn while_it_is_down_it_is_told_every_minute() {
        let samples: Vec<(i64, f64)> = (0..14).map(|n| (n * 10, 0.0)).collect();
        check(
            &samples,
            &[
                "shop did not answer 2 times in a row within 10 s",
                "shop did not answer 8 times in a row within 70 s",
                "shop did not answer 14 times in a row within 130 s",
            ],
        );
    }

    #[test]
    fn targets_of_one_job_are_told_apart_by_their_label() {
        let mut detector = Availability::new(&DetectConfig::default());
        let of = |second, target: &str, x| {
            metric(second, "node", "up", x).labels(&format!(r#"{{"instance":"{target}"}}"#))
        };
        let samples: Vec<_> = (0..3).flat_map(|n| [of(n, "a:9100", 0.0), of(n, "b:9100", 1.0)]).collect();
        let out = feed(&mut detector, &metrics(&samples));
        let found: Vec<_> =
            out.verdicts.iter().map(|v| (v.entity.value.as_str(), v.summary.as_str())).collect();
        assert_eq!(found, [("a:9100", "a:9100 of node did not answer 2 times in a row within 1 s")]);
        assert!(out.recovered.is_empty());
    }

    #[test]
    fn other_metrics_and_odd_values_are_left_alone() {
        let mut detector = Availability::new(&DetectConfig::default());
        let samples =
            [metric(0, "a", "cpu_usage", 0.0), metric(1, "a", "up", f64::NAN), metric(2, "a", "UP", 0.0)];
        let out = feed(&mut detector, &metrics(&samples));
        assert!(out.verdicts.is_empty() && detector.counters().invalid == 1);
    }
}
