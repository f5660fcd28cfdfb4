//! Z-score of every value against the learnt baseline of its (tenant, service, metric).
//!
//! Baseline: plain mean and variance (Welford) of the first samples, then exponential averages with the same update:
//! the gain is `1/n` until it reaches `2 / (memory + 1)`. CRITICAL values are not learnt, so an incident cannot become
//! normal; a level that stays CRITICAL without a break for `relearn_after` is a new level and is learnt anew.
//!
//! Invariants:
//! - baselines are independent: a key sees its own values only;
//! - every finite value gets exactly one assessment; until the baseline is warm it is NORMAL;
//! - mean and variance stay finite: a value too large to average is counted and left out.
//!
//! Event time decides only how long a level has lasted; a late value is judged by the present baseline.
//! Cost: about 350 bytes a key (100,000 keys: 35 MB).
//!
//! Source: Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4(3),
//! 1962; Finch, "Incremental calculation of weighted mean and variance", 2009.

use std::collections::VecDeque;

use heimdall_model::batch::Row;
use heimdall_model::schema::metrics;
use heimdall_model::{
    Assessment, Baseline, Dataset, Entity, Feature, FieldId, FieldType, Position, RecordId, Severity,
    Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::arrival::{self, Reported};
use crate::config::{DetectConfig, Period, ZscoreConfig};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields;
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;

/// Anomalous samples remembered as evidence for each key.
const EVIDENCE_KEPT: usize = 8;

/// The z-score detector.
#[derive(Debug)]
pub struct Zscore {
    config: ZscoreConfig,
    ahead: Period,
    log_fields: Vec<(FieldId, &'static str)>,
    keys: Keyed<State>,
    key: String,
    counters: Counters,
}

/// What is known of one metric of one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    samples: u64,
    #[serde(with = "snapshot::bits")]
    mean: f64,
    #[serde(with = "snapshot::bits")]
    variance: f64,
    /// WARNING or CRITICAL samples in a row.
    anomalous_run: u32,
    /// CRITICAL samples in a row, and the time of the first.
    critical_run: u64,
    critical_since: i64,
    reported: Reported,
    evidence: VecDeque<(i64, u64)>,
}

/// One value to judge.
struct Sample<'a> {
    service: &'a str,
    metric: &'a str,
    value: f64,
    time: i64,
    position: Position,
}

/// A judged value.
struct Judged {
    severity: Severity,
    /// Deviations from the mean.
    z: f64,
    stddev: f64,
}

impl Zscore {
    /// A detector with nothing learnt.
    #[must_use]
    pub fn new(config: &DetectConfig) -> Zscore {
        let mut made = Zscore {
            config: config.zscore.clone(),
            ahead: config.ahead,
            log_fields: Vec::new(),
            keys: Keyed::default(),
            key: String::new(),
            counters: Counters::default(),
        };
        made.reconfigure(config);
        made
    }

    fn observe_metrics(&mut self, observed: &Observed<'_>, out: &mut Findings) {
        for row in observed.batch.iter() {
            let (Some(metric), Some(value)) = (row.text(metrics::NAME), row.float(metrics::VALUE)) else {
                continue;
            };
            if !self.config.skip_suffixes.iter().any(|suffix| metric.ends_with(suffix.as_str())) {
                self.judge(observed, &row, metric, value, out);
            }
        }
    }

    fn observe_logs(&mut self, observed: &Observed<'_>, out: &mut Findings) {
        let mut present = self.log_fields.clone();
        present.retain(|(id, _)| observed.batch.column(*id).is_some());
        if present.is_empty() {
            return;
        }
        for row in observed.batch.iter() {
            for (id, name) in &present {
                if let Some(value) = row.float(*id) {
                    self.judge(observed, &row, name, value, out);
                }
            }
        }
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
        let service = fields::service(row);
        let sample = Sample { service, metric, value, time, position: row.position() };
        let key = keyed::key(&mut self.key, &[observed.tenant.as_str(), service, metric]);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        let before = (state.samples, state.mean);
        let mut judged = state.judge(value, &self.config);
        if value < before.1 && self.config.rises_only.iter().any(|name| name == metric) {
            judged.severity = Severity::Normal;
        }
        if !state.learn(&sample, judged.severity, &self.config) {
            self.counters.invalid += 1;
        }
        out.assessments.push(Assessment {
            tenant: observed.tenant.clone(),
            service: service.to_owned(),
            metric: metric.to_owned(),
            time: Timestamp(time),
            value,
            severity: judged.severity,
        });
        let convincing = judged.severity == Severity::Critical
            || (judged.severity == Severity::Warning && state.anomalous_run >= self.config.warnings_in_a_row);
        if convincing && state.reported.due(time, judged.severity, self.config.limits.repeat_every) {
            out.verdicts.push(verdict(observed, &sample, &judged, before, state, &self.config));
        }
    }
}

/// A log field that holds a number, by name or alias.
fn log_field(name: &str) -> Option<(FieldId, &'static str)> {
    let id = Dataset::Logs.resolve(name)?;
    let field = Dataset::Logs.field(id);
    (field.ty == FieldType::Float).then_some((id, field.name))
}

impl State {
    fn judge(&self, value: f64, config: &ZscoreConfig) -> Judged {
        let stddev = self
            .variance
            .sqrt()
            .max(config.stddev_floor_relative * self.mean.abs())
            .max(config.stddev_floor_absolute);
        let z = (value - self.mean).abs() / stddev;
        let severity = if self.samples < config.min_samples_for_detection {
            Severity::Normal
        } else if z > config.statistical_threshold_multiplier {
            Severity::Critical
        } else if z > config.warning_multiplier {
            Severity::Warning
        } else {
            Severity::Normal
        };
        Judged { severity, z, stddev }
    }

    /// Takes the judged sample in. `false` when it is too large to average.
    fn learn(&mut self, sample: &Sample<'_>, severity: Severity, config: &ZscoreConfig) -> bool {
        if severity == Severity::Normal {
            self.anomalous_run = 0;
        } else {
            self.anomalous_run = self.anomalous_run.saturating_add(1);
            self.remember(sample);
        }
        if severity != Severity::Critical {
            self.critical_run = 0;
            return self.absorb(sample.value, config);
        }
        if self.critical_run == 0 {
            self.critical_since = sample.time;
        }
        self.critical_run += 1;
        if self.is_new_level(sample.time, config) {
            (self.samples, self.mean, self.variance, self.critical_run) = (0, 0.0, 0.0, 0);
            return self.absorb(sample.value, config);
        }
        true
    }

    fn is_new_level(&self, time: i64, config: &ZscoreConfig) -> bool {
        self.critical_run >= config.min_samples_for_detection
            && time.saturating_sub(self.critical_since) >= config.relearn_after.ns()
    }

    #[expect(clippy::cast_precision_loss, reason = "sample counts far below 2^53")]
    fn absorb(&mut self, value: f64, config: &ZscoreConfig) -> bool {
        let settled = 2.0 / (config.memory_samples as f64 + 1.0);
        let gain = (1.0 / (self.samples as f64 + 1.0)).max(settled);
        let delta = value - self.mean;
        let mean = self.mean + gain * delta;
        let variance = (1.0 - gain) * (self.variance + gain * delta * delta);
        if !(mean.is_finite() && variance.is_finite()) {
            return false;
        }
        (self.samples, self.mean, self.variance) = (self.samples + 1, mean, variance);
        true
    }

    fn remember(&mut self, sample: &Sample<'_>) {
        if self.evidence.len() == EVIDENCE_KEPT {
            self.evidence.pop_front();
        }
        self.evidence.push_back((sample.time, sample.position.0));
    }

    fn evidence_ids(&self) -> Vec<RecordId> {
        self.evidence.iter().map(|(time, at)| RecordId::new(Timestamp(*time), Position(*at))).collect()
    }
}

fn verdict(
    observed: &Observed<'_>,
    sample: &Sample<'_>,
    judged: &Judged,
    (samples, mean): (u64, f64),
    state: &State,
    config: &ZscoreConfig,
) -> Verdict {
    let Sample { service, metric, value, .. } = *sample;
    let (side, sign) = if value >= mean { ("above", 1.0) } else { ("below", -1.0) };
    let multiplier = match judged.severity {
        Severity::Critical => config.statistical_threshold_multiplier,
        _ => config.warning_multiplier,
    };
    let [shown, z, usual, deviation] = [value, judged.z, mean, judged.stddev].map(arrival::short);
    Verdict {
        tenant: observed.tenant.clone(),
        detector: "zscore".to_owned(),
        rule: format!("zscore.{metric}"),
        title: format!("Unusual {metric}"),
        severity: judged.severity,
        score: arrival::score(judged.z, config.statistical_threshold_multiplier),
        entity: Entity::new("service", service),
        service: Some(service.to_owned()),
        time: Timestamp(sample.time),
        position: sample.position,
        summary: format!(
            "{metric} of {service} is {shown}: {z} deviations {side} its mean of {usual} (deviation {deviation}, {samples} samples)"
        ),
        baseline: Some(Baseline {
            mean,
            stddev: judged.stddev,
            samples,
            threshold: mean + sign * multiplier * judged.stddev,
            observed: value,
        }),
        features: vec![
            Feature { name: "z_score".to_owned(), value: judged.z },
            Feature { name: "anomalous_samples_in_a_row".to_owned(), value: f64::from(state.anomalous_run) },
        ],
        evidence: state.evidence_ids(),
        mitigation: vec![
            format!("Look at {metric} of {service} around this time: a step, a spike or a climb?"),
            format!("Compare with deployments and with the logs of {service} in the same minutes"),
            "If load caused it: scale out or shed load; if a change caused it: roll back".to_owned(),
        ],
    }
}

impl Detector for Zscore {
    fn name(&self) -> &'static str {
        "zscore"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        self.config = config.zscore.clone();
        self.ahead = config.ahead;
        self.log_fields = self.config.log_fields.iter().filter_map(|name| log_field(name)).collect();
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        match batch.batch.dataset {
            Dataset::Metrics => self.observe_metrics(batch, out),
            Dataset::Logs => self.observe_logs(batch, out),
            Dataset::Spans => {}
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

    fn detector() -> Zscore {
        Zscore::new(&DetectConfig::default())
    }

    /// 60 samples of 42 ± 1, one a second, from second 0.
    fn warm(service: &str) -> Vec<crate::testing::Sample> {
        (0..60)
            .map(|n| metric(n, service, "load", 42.0 + f64::from(u8::from(n % 2 == 0)) * 2.0 - 1.0))
            .collect()
    }

    #[track_caller]
    fn last_severity(before: &[f64], value: f64) -> Severity {
        let mut detector = detector();
        let samples: Vec<_> =
            (0..).zip(before.iter().chain([&value])).map(|(n, x)| metric(n, "A", "m", *x)).collect();
        let out = feed(&mut detector, &metrics(&samples));
        assert_eq!(out.assessments.len(), samples.len());
        out.assessments.last().unwrap().severity
    }

    #[test]
    fn states_by_distance_and_only_after_the_warm_up() {
        let around: Vec<f64> = (0..100).map(|n| if n % 2 == 0 { 41.0 } else { 43.0 }).collect();
        assert_eq!(last_severity(&around, 44.0), Severity::Normal);
        assert_eq!(last_severity(&around, 44.8), Severity::Warning);
        assert_eq!(last_severity(&around, 39.2), Severity::Warning);
        assert_eq!(last_severity(&around, 45.2), Severity::Critical);
        assert_eq!(last_severity(&around[..49], 9999.0), Severity::Normal);
        assert_eq!(last_severity(&around[..50], 9999.0), Severity::Critical);
    }

    #[test]
    fn a_constant_may_stay_but_not_jump() {
        assert_eq!(last_severity(&[42.0; 60], 42.0), Severity::Normal);
        assert_eq!(last_severity(&[42.0; 60], 42.4), Severity::Normal);
        assert_eq!(last_severity(&[42.0; 60], 50.0), Severity::Critical);
        assert_eq!(last_severity(&[0.0; 60], 0.0), Severity::Normal);
        assert_eq!(last_severity(&[0.0; 60], 1.0), Severity::Critical);
    }

    #[test]
    fn every_value_of_a_flood_is_critical_and_the_baseline_survives() {
        let mut detector = detector();
        feed(&mut detector, &metrics(&warm("EDGE-LOAD-BALANCER")));
        let flood: Vec<_> = (0..2_000).map(|_| metric(61, "EDGE-LOAD-BALANCER", "load", 9999.0)).collect();
        let out = feed(&mut detector, &metrics(&flood));
        assert!(out.assessments.iter().all(|found| found.severity == Severity::Critical));
        assert_eq!((out.assessments.len(), out.verdicts.len()), (2_000, 1));
        let found = &out.verdicts[0];
        assert_eq!(found.rule, "zscore.load");
        assert_eq!(
            found.summary,
            "load of EDGE-LOAD-BALANCER is 9999: 9957 deviations above its mean of 42 (deviation 1, 60 samples)"
        );
        let after = feed(&mut detector, &metrics(&[metric(62, "EDGE-LOAD-BALANCER", "load", 42.0)]));
        assert_eq!(after.assessments[0].severity, Severity::Normal);
    }

    #[test]
    fn services_do_not_share_a_baseline() {
        let mut detector = detector();
        let low = warm("AUTH-API");
        let high: Vec<_> = (0..60).map(|n| metric(n, "CORE-DB", "load", 9990.0 + (n % 3) as f64)).collect();
        let mixed: Vec<_> = low.into_iter().zip(high).flat_map(|(a, b)| [a, b]).collect();
        feed(&mut detector, &metrics(&mixed));
        let out = feed(
            &mut detector,
            &metrics(&[metric(61, "AUTH-API", "load", 9991.0), metric(61, "CORE-DB", "load", 9991.0)]),
        );
        let severities: Vec<_> = out.assessments.iter().map(|found| found.severity).collect();
        assert_eq!(severities, [Severity::Critical, Severity::Normal]);
    }

    #[test]
    fn a_lasting_level_is_learnt_anew() {
        let mut detector = detector();
        feed(&mut detector, &metrics(&warm("A")));
        let shifted: Vec<_> = (0..200).map(|n| metric(60 + n * 30, "A", "load", 100.0)).collect();
        let out = feed(&mut detector, &metrics(&shifted));
        let critical = out.assessments.iter().filter(|found| found.severity == Severity::Critical).count();
        assert_eq!(critical, 61, "30 minutes at two samples a minute, both ends included");
        assert_eq!(out.assessments.last().unwrap().severity, Severity::Normal);
    }

    #[test]
    fn warnings_make_a_verdict_only_in_a_row() {
        let verdicts = |values: &[f64]| {
            let mut detector = detector();
            feed(&mut detector, &metrics(&warm("A")));
            let samples: Vec<_> = (100..).zip(values).map(|(n, x)| metric(n, "A", "load", *x)).collect();
            feed(&mut detector, &metrics(&samples)).verdicts
        };
        assert!(verdicts(&[44.8, 44.8, 42.0, 45.0]).is_empty());
        assert_eq!(verdicts(&[42.0, 44.8, 44.8, 45.1]).first().map(|v| v.severity), Some(Severity::Warning));
    }

    #[test]
    fn numbers_that_cannot_be_averaged_are_counted() {
        let mut detector = detector();
        let samples = [f64::NAN, f64::INFINITY, 1e300, 42.0].map(|x| metric(0, "A", "load", x));
        let out = feed(&mut detector, &metrics(&samples));
        assert_eq!((out.assessments.len(), detector.counters().invalid), (2, 3));
    }

    #[test]
    fn freed_space_is_no_incident() {
        let disk = |second, percent| metric(second, "db", "disk_usage", percent);
        let quiet: Vec<_> = (0..100).map(|second| disk(second, 60.0 + (second % 3) as f64 * 0.2)).collect();
        let judged = |percent| {
            let mut detector = detector();
            feed(&mut detector, &metrics(&quiet));
            let found = feed(&mut detector, &metrics(&[disk(100, percent)]));
            (found.assessments[0].severity, found.verdicts.len())
        };
        assert_eq!(judged(40.0), (Severity::Normal, 0));
        assert_eq!(judged(80.0), (Severity::Critical, 1));
    }
}
