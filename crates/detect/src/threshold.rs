//! Fixed bounds for CPU, memory and disk of each (tenant, service, host), from metric samples and log fields.
//!
//! A bound is crossed after `consecutive` samples above it, or when two samples or more lie above it for `lasting`:
//! fast collectors are not judged by one peak, slow ones not after minutes. What was told is over by the same measure, below
//! the bound of WARNING.
//!
//! Samples are taken in the order of arrival: a late sample counts as one more sample, its time does not end a run.
//! Cost: about 300 bytes a key.

use std::collections::VecDeque;

use heimdall_model::batch::Row;
use heimdall_model::schema::metrics;
use heimdall_model::{
    Baseline, Dataset, Entity, Feature, FieldId, Position, RecordId, Recovery, Severity, Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::arrival::{self, Reported, steps};
use crate::config::{DetectConfig, Period, ResourceConfig, ThresholdConfig};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields;
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;

/// Samples above a bound remembered as evidence for each key.
const EVIDENCE_KEPT: usize = 5;
/// Metrics with this name ending are shares of one.
const RATIO_SUFFIX: &str = "_ratio";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Cpu,
    Memory,
    Disk,
}

impl Resource {
    const ALL: [Resource; 3] = [Resource::Cpu, Resource::Memory, Resource::Disk];

    const fn name(self) -> &'static str {
        match self {
            Resource::Cpu => "cpu",
            Resource::Memory => "memory",
            Resource::Disk => "disk",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Resource::Cpu => "High CPU",
            Resource::Memory => "High memory",
            Resource::Disk => "Disk filling up",
        }
    }

    fn config(self, config: &ThresholdConfig) -> &ResourceConfig {
        match self {
            Resource::Cpu => &config.cpu,
            Resource::Memory => &config.memory,
            Resource::Disk => &config.disk,
        }
    }

    const fn mitigation(self) -> &'static [&'static str] {
        match self {
            Resource::Cpu => &[
                "Find the process: `top -o %CPU` on the host, or the service's busiest endpoint",
                "Scale out or shed load; stop a runaway process",
                "If it began with a deployment, roll back",
            ],
            Resource::Memory => &[
                "Find the process: `ps aux --sort=-rss | head` on the host",
                "Restart a leaking service before the kernel kills something else; flush caches",
                "Raise the memory limit or scale out if the load is legitimate",
            ],
            Resource::Disk => &[
                "Find what grows: `du -xh --max-depth=2 / | sort -h | tail` on the host",
                "Remove or compress old logs, images and temporary files",
                "Extend the volume; check retention and log rotation",
            ],
        }
    }
}

/// The threshold detector.
#[derive(Debug)]
pub struct Threshold {
    config: ThresholdConfig,
    ahead: Period,
    log_fields: Vec<(FieldId, Resource)>,
    keys: Keyed<State>,
    key: String,
    counters: Counters,
}

/// Samples in a row above one bound.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Run {
    samples: u32,
    since: i64,
}

/// What is known of one resource of one service on one host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    warning: Run,
    critical: Run,
    reported: Reported,
    evidence: VecDeque<(i64, u64)>,
    /// Samples in a row that are well, since it was told that they are not.
    #[serde(default)]
    well: Run,
    /// It was told, and not yet that it is over.
    #[serde(default)]
    is_told: bool,
}

impl Run {
    /// Counts a sample and says whether the run is long enough.
    fn step(&mut self, above: bool, time: i64, config: &ResourceConfig) -> bool {
        if !above {
            self.samples = 0;
            return false;
        }
        if self.samples == 0 {
            self.since = time;
        }
        self.samples = self.samples.saturating_add(1);
        self.samples >= config.consecutive
            || (self.samples >= 2 && time.saturating_sub(self.since) >= config.lasting.ns())
    }
}

impl Threshold {
    /// A detector with nothing seen.
    #[must_use]
    pub fn new(config: &DetectConfig) -> Threshold {
        let mut made = Threshold {
            config: config.threshold.clone(),
            ahead: config.ahead,
            log_fields: Vec::new(),
            keys: Keyed::default(),
            key: String::new(),
            counters: Counters::default(),
        };
        made.reconfigure(config);
        made
    }

    fn resource_of(&self, metric: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|resource| {
            resource.config(&self.config).metrics.iter().any(|name| name.eq_ignore_ascii_case(metric))
        })
    }

    fn observe_metrics(&mut self, observed: &Observed<'_>, out: &mut Findings) {
        for row in observed.batch.iter() {
            let (Some(metric), Some(value)) = (row.text(metrics::NAME), row.float(metrics::VALUE)) else {
                continue;
            };
            let Some(resource) = self.resource_of(metric) else { continue };
            let percent = if metric.ends_with(RATIO_SUFFIX) { value * 100.0 } else { value };
            self.judge(observed, &row, resource, percent, out);
        }
    }

    fn observe_logs(&mut self, observed: &Observed<'_>, out: &mut Findings) {
        let mut present = self.log_fields.clone();
        present.retain(|(id, _)| observed.batch.column(*id).is_some());
        if present.is_empty() {
            return;
        }
        for row in observed.batch.iter() {
            for (id, resource) in &present {
                if let Some(percent) = row.float(*id) {
                    self.judge(observed, &row, *resource, percent, out);
                }
            }
        }
    }

    fn judge(
        &mut self,
        observed: &Observed<'_>,
        row: &Row<'_>,
        resource: Resource,
        percent: f64,
        out: &mut Findings,
    ) {
        if !percent.is_finite() {
            self.counters.invalid += 1;
            return;
        }
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let (service, host) = (fields::service(row), fields::host(row));
        let parts = [observed.tenant.as_str(), service, host.as_deref().unwrap_or_default(), resource.name()];
        let key = keyed::key(&mut self.key, &parts);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        let bounds = resource.config(&self.config);
        if state.is_over(percent, time, bounds) {
            out.recovered.push(recovery(observed, row, resource, percent, time, bounds));
        }
        let Some(severity) = state.step(percent, time, row.position(), bounds) else { return };
        state.is_told = true;
        if state.reported.due(time, severity, self.config.limits.repeat_every) {
            out.verdicts.push(verdict(observed, row, resource, percent, time, severity, state, bounds));
        }
    }
}

impl State {
    /// Whether what was told is over with this sample.
    fn is_over(&mut self, percent: f64, time: i64, bounds: &ResourceConfig) -> bool {
        if !self.well.step(self.is_told && percent <= bounds.warning, time, bounds) {
            return false;
        }
        (self.well, self.is_told, self.reported) = (Run::default(), false, Reported::default());
        true
    }

    fn step(&mut self, percent: f64, time: i64, at: Position, bounds: &ResourceConfig) -> Option<Severity> {
        let warning = self.warning.step(percent > bounds.warning, time, bounds);
        let critical = self.critical.step(percent > bounds.critical, time, bounds);
        if self.warning.samples == 0 {
            self.evidence.clear();
            return None;
        }
        if self.evidence.len() == EVIDENCE_KEPT {
            self.evidence.pop_front();
        }
        self.evidence.push_back((time, at.0));
        match (critical, warning) {
            (true, _) => Some(Severity::Critical),
            (false, true) => Some(Severity::Warning),
            (false, false) => None,
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one finding; a struct would only rename them")]
fn verdict(
    observed: &Observed<'_>,
    row: &Row<'_>,
    resource: Resource,
    percent: f64,
    time: i64,
    severity: Severity,
    state: &State,
    bounds: &ResourceConfig,
) -> Verdict {
    let (bound, run) = match severity {
        Severity::Critical => (bounds.critical, state.critical),
        _ => (bounds.warning, state.warning),
    };
    let (service, host) = (fields::service(row), fields::host(row));
    let place = host.as_ref().map_or_else(|| service.to_owned(), |host| format!("{service} on {host}"));
    #[expect(clippy::cast_precision_loss, reason = "shown in seconds")]
    let seconds = time.saturating_sub(run.since) as f64 / 1e9;
    let lasting = match run.samples {
        ..=1 => String::new(),
        samples => format!(" for {samples} samples ({} s)", arrival::short(seconds)),
    };
    Verdict {
        tenant: observed.tenant.clone(),
        detector: "threshold".to_owned(),
        rule: format!("threshold.{}", resource.name()),
        title: resource.title().to_owned(),
        severity,
        score: (percent / 100.0).clamp(0.0, 1.0),
        entity: host.map_or_else(|| Entity::new("service", service), |host| Entity::new("host", &host)),
        service: Some(service.to_owned()),
        time: Timestamp(time),
        position: row.position(),
        summary: format!(
            "{} of {place} is {} %, above {} %{lasting}",
            resource.name(),
            arrival::short(percent),
            arrival::short(bound),
        ),
        baseline: Some(Baseline {
            mean: bound,
            stddev: 0.0,
            samples: u64::from(run.samples),
            threshold: bound,
            observed: percent,
        }),
        features: vec![
            Feature { name: format!("{}_percent", resource.name()), value: percent },
            Feature { name: "samples_above".to_owned(), value: f64::from(run.samples) },
            Feature { name: "seconds_above".to_owned(), value: seconds },
        ],
        evidence: state.evidence.iter().map(|(t, at)| RecordId::new(Timestamp(*t), Position(*at))).collect(),
        mitigation: steps(resource.mitigation()),
    }
}

fn recovery(
    observed: &Observed<'_>,
    row: &Row<'_>,
    resource: Resource,
    percent: f64,
    time: i64,
    bounds: &ResourceConfig,
) -> Recovery {
    let (service, host) = (fields::service(row), fields::host(row));
    let place = host.as_ref().map_or_else(|| service.to_owned(), |host| format!("{service} on {host}"));
    Recovery {
        tenant: observed.tenant.clone(),
        rule: format!("threshold.{}", resource.name()),
        entity: host.map_or_else(|| Entity::new("service", service), |host| Entity::new("host", &host)),
        time: Timestamp(time),
        position: row.position(),
        summary: format!(
            "{} of {place} is {} %, no longer above {} %",
            resource.name(),
            arrival::short(percent),
            arrival::short(bounds.warning),
        ),
    }
}

impl Detector for Threshold {
    fn name(&self) -> &'static str {
        "threshold"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.ahead) = (config.threshold.clone(), config.ahead);
        self.log_fields = Resource::ALL
            .into_iter()
            .filter_map(|resource| {
                let name = resource.config(&self.config).log_field.as_deref()?;
                Some((Dataset::Logs.resolve(name)?, resource))
            })
            .collect();
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

    #[track_caller]
    fn check(name: &str, samples: &[(i64, f64)], expected: &[&str]) {
        let mut detector = Threshold::new(&DetectConfig::default());
        let samples: Vec<_> = samples.iter().map(|(second, x)| metric(*second, "API", name, *x)).collect();
        let out = feed(&mut detector, &metrics(&samples));
        let found: Vec<String> =
            out.verdicts.iter().map(|v| format!("{} {}: {}", v.severity, v.rule, v.summary)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn three_samples_or_half_a_minute() {
        check("cpu_usage", &[(0, 95.0), (5, 95.0), (10, 80.0), (15, 95.0), (20, 95.0)], &[]);
        check(
            "CPU_percent",
            &[(0, 95.0), (5, 91.5), (10, 93.0), (15, 99.0)],
            &["WARNING threshold.cpu: cpu of API is 93 %, above 90 % for 3 samples (10 s)"],
        );
        check(
            "memory_usage",
            &[(0, 99.0), (30, 99.5)],
            &["CRITICAL threshold.memory: memory of API is 99.5 %, above 97 % for 2 samples (30 s)"],
        );
    }

    /// Hosts told apart by a label alone hid each other: the idle one ended the run of the busy one.
    #[test]
    fn hosts_told_by_a_label_do_not_share_a_run() {
        let mut detector = Threshold::new(&DetectConfig::default());
        let of = |second, host: &str, x| {
            metric(second, "API", "cpu_usage", x).labels(&format!(r#"{{"host":"{host}"}}"#))
        };
        let samples: Vec<_> = (0..3).flat_map(|n| [of(n, "busy", 99.0), of(n, "idle", 5.0)]).collect();
        let out = feed(&mut detector, &metrics(&samples));
        let found: Vec<_> = out.verdicts.iter().map(|v| (v.severity, v.entity.value.as_str())).collect();
        assert_eq!(found, [(Severity::Critical, "busy")]);
    }

    #[test]
    fn what_was_told_is_over_by_the_same_measure() {
        let mut detector = Threshold::new(&DetectConfig::default());
        let values = [95.0, 95.0, 95.0, 50.0, 95.0, 50.0, 50.0, 50.0, 50.0];
        let samples: Vec<_> =
            values.iter().zip(0..).map(|(x, n)| metric(n * 5, "API", "cpu_usage", *x)).collect();
        let out = feed(&mut detector, &metrics(&samples));
        let over: Vec<_> =
            out.recovered.iter().map(|over| (over.rule.as_str(), over.summary.as_str())).collect();
        assert_eq!(over, [("threshold.cpu", "cpu of API is 50 %, no longer above 90 %")]);
        assert_eq!(out.verdicts.len(), 1);
    }

    #[test]
    fn a_worse_state_is_told_at_once_and_the_same_once_a_minute() {
        let samples: Vec<(i64, f64)> =
            (0..13).map(|n| (n * 10, if n == 0 { 86.0 } else { 96.0 })).chain([(130, f64::NAN)]).collect();
        check(
            "disk_used_percent",
            &samples,
            &[
                "WARNING threshold.disk: disk of API is 86 %, above 85 %",
                "CRITICAL threshold.disk: disk of API is 96 %, above 95 %",
                "CRITICAL threshold.disk: disk of API is 96 %, above 95 % for 7 samples (60 s)",
            ],
        );
    }
}
