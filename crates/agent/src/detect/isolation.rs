//! An isolation forest over the measurements of the whole host: unusual together, though each value alone is not.
//!
//! A row is the host's levels (CPU, memory, load …), the rates of its counters, and latency and availability of its endpoints. Which
//! numbers a row has is settled when the forest is grown: those that every learnt row had. A later row without some of
//! them is taken to be usual there (the median).
//!
//! A row is *unusual* when its score is above the forest's offset, which the share `contamination` of learnt rows is too. A finding
//! needs [`UNUSUAL_MIN`] unusual rows of the last [`RUN`] and one score above all learnt ones: by chance once in 10^7 rows.
//!
//! Invariants: the same batches give the same findings; at most [`ROWS_MAX`] rows and [`FEATURES_MAX`] numbers are kept; what is
//! found unusual is not learnt from, until it has lasted [`RELEARN_AFTER`] rows.
//!
//! Source: as `heimdall_detect::models::forest`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use heimdall_detect::models::forest::{Forest, ForestConfig, ROWS_MIN};
use heimdall_detect::models::{Rows, quantile};
use heimdall_detect::{Detector, Findings, Observed, SnapshotError};
use heimdall_model::schema::metrics;
use heimdall_model::{Baseline, Dataset, Entity, Feature, Position, RecordId, Severity, Timestamp, Verdict};

use crate::config::DetectorConfig;

/// Rows kept for learning: 43 minutes at 5 s.
pub const ROWS_MAX: usize = 512;
/// Numbers in a row at most; those first met stay.
pub const FEATURES_MAX: usize = 64;
/// A forest is grown anew after so many rows.
const REGROW_EVERY: usize = 128;
/// Rows looked at together.
pub const RUN: usize = 12;
/// Unusual ones among them that make a finding.
pub const UNUSUAL_MIN: usize = 10;
/// What stays unusual for so many rows is the new usual: half an hour at 5 s.
pub const RELEARN_AFTER: usize = 360;
/// While a finding goes on it is repeated after so many rows.
const REPEAT_EVERY: usize = 12;
/// Only batches with this sample are measurements of the host.
const HEARTBEAT: &str = "agent.heartbeat";
const COUNTER_SUFFIX: &str = "_total";
/// Numbers named in a finding.
const NAMED_MAX: usize = 5;

/// The detector.
#[derive(Debug)]
pub struct Isolation {
    config: ForestConfig,
    rows_min: usize,
    /// Sums of counters at the measurement before, and its time.
    before: (BTreeMap<String, f64>, i64),
    /// Levels from batches between two measurements: probes.
    between: BTreeMap<String, f64>,
    rows: VecDeque<BTreeMap<String, f64>>,
    grown: Option<Grown>,
    since_grown: usize,
    recent: VecDeque<bool>,
    unusual_run: usize,
    reported: Option<usize>,
}

#[derive(Debug)]
struct Grown {
    forest: Forest,
    features: Vec<String>,
    medians: Vec<f64>,
    /// Half the distance between the 5 % and the 95 % quantile.
    spreads: Vec<f64>,
    worst: f64,
}

impl Isolation {
    /// A detector with nothing learnt.
    #[must_use]
    pub fn new(config: &DetectorConfig) -> Isolation {
        let forest = ForestConfig {
            trees: config.isolation_n_estimators,
            contamination: config.isolation_contamination,
            ..ForestConfig::default()
        };
        let rows_min = usize::try_from(config.min_samples_for_detection).unwrap_or(ROWS_MAX);
        Isolation {
            config: forest,
            rows_min: rows_min.clamp(ROWS_MIN, ROWS_MAX),
            before: (BTreeMap::new(), i64::MIN),
            between: BTreeMap::new(),
            rows: VecDeque::new(),
            grown: None,
            since_grown: 0,
            recent: VecDeque::new(),
            unusual_run: 0,
            reported: None,
        }
    }

    /// The row of a measurement: levels as they are, counters as rates.
    fn row(
        &mut self,
        levels: BTreeMap<String, f64>,
        sums: BTreeMap<String, f64>,
        time: i64,
    ) -> BTreeMap<String, f64> {
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let seconds = time.saturating_sub(self.before.1) as f64 / 1e9;
        let mut row = levels;
        row.append(&mut self.between);
        for (name, sum) in &sums {
            if let Some(before) = self.before.0.get(name)
                && seconds > 0.0
                && sum >= before
            {
                row.insert(name.clone(), (sum - before) / seconds);
            }
        }
        self.before = (sums, time);
        while row.len() > FEATURES_MAX {
            row.pop_last();
        }
        row
    }

    fn judge(&mut self, row: BTreeMap<String, f64>) -> Option<(f64, Vec<Feature>)> {
        let judged = self.grown.as_ref().map(|grown| grown.judge(&row));
        let is_unusual = judged.as_ref().is_some_and(|judged| judged.is_unusual);
        self.unusual_run = if is_unusual { self.unusual_run + 1 } else { 0 };
        if self.unusual_run >= RELEARN_AFTER {
            self.rows.clear();
            self.grown = None;
            self.unusual_run = 0;
            self.recent.clear();
            return None;
        }
        if !is_unusual || self.unusual_run < UNUSUAL_MIN {
            self.learn(row);
        }
        self.recent.push_back(is_unusual);
        if self.recent.len() > RUN {
            self.recent.pop_front();
        }
        self.is_finding().then_some(())?;
        judged.filter(|judged| judged.is_worst).map(|judged| (judged.score, judged.features))
    }

    fn is_finding(&mut self) -> bool {
        self.reported = self.reported.map(|rows| rows + 1).filter(|rows| *rows < REPEAT_EVERY);
        let unusual = self.recent.iter().filter(|unusual| **unusual).count();
        unusual >= UNUSUAL_MIN && self.reported.is_none()
    }

    fn learn(&mut self, row: BTreeMap<String, f64>) {
        self.rows.push_back(row);
        if self.rows.len() > ROWS_MAX {
            self.rows.pop_front();
        }
        self.since_grown += 1;
        let due = self.grown.is_none() || self.since_grown >= REGROW_EVERY.min(self.rows.len());
        if due && self.rows.len() >= self.rows_min {
            self.grown = Grown::grow(&self.rows, &self.config);
            self.since_grown = 0;
        }
    }
}

struct Judged {
    score: f64,
    is_unusual: bool,
    is_worst: bool,
    features: Vec<Feature>,
}

impl Grown {
    fn grow(known: &VecDeque<BTreeMap<String, f64>>, config: &ForestConfig) -> Option<Grown> {
        let mut features: BTreeSet<&String> = known.back()?.keys().collect();
        // The first row has no rates yet: it does not decide.
        known.iter().skip(1).for_each(|row| features.retain(|name| row.contains_key(*name)));
        let features: Vec<String> = features.into_iter().cloned().collect();
        if features.is_empty() {
            return None;
        }
        let mut rows = Rows::new(features.len());
        known.iter().skip(1).for_each(|row| rows.push(&values(&features, row, None)));
        let medians = rows.medians();
        let spread = |at: usize| {
            let mut column = rows.column(at);
            (quantile(&mut column, 0.95) - quantile(&mut column, 0.05)) / 2.0
        };
        let spreads = (0..features.len()).map(spread).collect();
        let forest = Forest::fit(&rows, config)?;
        let worst = rows.iter().map(|row| forest.score(row)).fold(0.0, f64::max);
        Some(Grown { forest, features, medians, spreads, worst })
    }

    fn judge(&self, row: &BTreeMap<String, f64>) -> Judged {
        let values = values(&self.features, row, Some(&self.medians));
        let score = self.forest.score(&values);
        Judged {
            score,
            is_unusual: score > self.forest.offset(),
            is_worst: score > self.worst,
            features: self.standing_out(&values),
        }
    }

    /// The numbers that are furthest from their median, against their spread.
    fn standing_out(&self, values: &[f64]) -> Vec<Feature> {
        let distance = |at: usize| {
            let spread = self.spreads[at].max(self.medians[at].abs() * 0.01).max(1e-9);
            (values[at] - self.medians[at]).abs() / spread
        };
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| distance(*b).total_cmp(&distance(*a)));
        let name = |at: usize| Feature { name: self.features[at].clone(), value: values[at] };
        order.into_iter().take(NAMED_MAX).map(name).collect()
    }
}

fn values(features: &[String], row: &BTreeMap<String, f64>, medians: Option<&[f64]>) -> Vec<f64> {
    let usual = |at: usize| medians.map_or(0.0, |medians| medians[at]);
    features
        .iter()
        .enumerate()
        .map(|(at, name)| row.get(name).copied().unwrap_or_else(|| usual(at)))
        .collect()
}

impl Detector for Isolation {
    fn name(&self) -> &'static str {
        "isolation"
    }

    fn observe(&mut self, observed: &Observed<'_>, out: &mut Findings) {
        if observed.batch.dataset != Dataset::Metrics {
            return;
        }
        let (mut levels, mut sums) = (BTreeMap::new(), BTreeMap::<String, f64>::new());
        let mut beat: Option<(Timestamp, Position, String, String)> = None;
        for row in observed.batch.iter() {
            let (Some(name), Some(value)) = (row.text(metrics::NAME), row.float(metrics::VALUE)) else {
                continue;
            };
            let service = row.service().unwrap_or_default();
            if name == HEARTBEAT {
                let host = row.text(metrics::HOST).unwrap_or(service);
                beat = Some((row.timestamp(), row.position(), service.to_owned(), host.to_owned()));
            } else if name.ends_with(COUNTER_SUFFIX) {
                *sums.entry(name.to_owned()).or_default() += value;
            } else if name.starts_with("probe.") {
                levels.insert(format!("{name}{{{service}}}"), value);
            } else if row.attributes().is_none() {
                levels.insert(name.to_owned(), value);
            }
        }
        let Some((time, position, service, host)) = beat else {
            self.between.append(&mut levels);
            while self.between.len() > FEATURES_MAX {
                self.between.pop_last();
            }
            return;
        };
        let row = self.row(levels, sums, time.0);
        if let Some((score, features)) = self.judge(row) {
            self.reported = Some(0);
            let grown = self.grown.as_ref();
            let (bound, worst) = grown.map_or((0.0, 0.0), |grown| (grown.forest.offset(), grown.worst));
            out.verdicts.push(verdict(
                observed,
                time,
                position,
                &service,
                &host,
                (score, bound, worst),
                features,
            ));
        }
    }

    /// Nothing is kept over a restart: a forest is grown again within minutes.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _bytes: &[u8]) -> Result<(), SnapshotError> {
        Ok(())
    }

    fn state_keys(&self) -> usize {
        self.rows.len()
    }
}

fn verdict(
    observed: &Observed<'_>,
    time: Timestamp,
    position: Position,
    service: &str,
    host: &str,
    (score, bound, worst): (f64, f64, f64),
    features: Vec<Feature>,
) -> Verdict {
    let named: Vec<String> =
        features.iter().take(3).map(|feature| format!("{} {:.3}", feature.name, feature.value)).collect();
    Verdict {
        tenant: observed.tenant.clone(),
        detector: "isolation".to_owned(),
        rule: "isolation.host".to_owned(),
        title: "Host behaves unusually".to_owned(),
        severity: Severity::Warning,
        score,
        entity: Entity::new("host", host),
        service: Some(service.to_owned()),
        time,
        position,
        summary: format!(
            "{host} has been unlike itself for {UNUSUAL_MIN} of {RUN} measurements (score {score:.2}, usual up to {bound:.2}): {}",
            named.join(", ")
        ),
        baseline: Some(Baseline {
            mean: bound,
            stddev: 0.0,
            samples: ROWS_MAX as u64,
            threshold: worst,
            observed: score,
        }),
        features,
        evidence: vec![RecordId::new(time, position)],
        mitigation: vec![
            "Look at the numbers named first: they stand out most".to_owned(),
            "See what began then: a deployment, a job, a neighbour".to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use heimdall_model::{Batch, Tenant};

    use super::*;
    use crate::Samples;

    /// A quiet host that wobbles; `busy` makes three values unusual together.
    fn measurement(n: i64, busy: bool) -> Batch {
        let wobble = |salt: i64, by: f64| {
            let x = (n * 7_919 + salt * 104_729) % 1_000;
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let x = x as f64 / 1_000.0;
            x * by
        };
        let mut samples = Samples::new(Timestamp(n * 5_000_000_000), "h", "s");
        samples.push("cpu_usage", if busy { 70.0 } else { 20.0 } + wobble(1, 8.0), &[]);
        samples.push("memory_usage", if busy { 75.0 } else { 40.0 } + wobble(2, 2.0), &[]);
        samples.push("system.processes.count", if busy { 900.0 } else { 200.0 } + wobble(3, 20.0), &[]);
        #[expect(clippy::cast_precision_loss, reason = "small")]
        samples.push("system.network.io_total", n as f64 * 1_000.0, &[("direction", "receive")]);
        samples.push(HEARTBEAT, 1.0, &[]);
        samples.finish()
    }

    fn feed(detector: &mut Isolation, range: std::ops::Range<i64>, busy: bool) -> Vec<Verdict> {
        let mut out = Findings::default();
        for n in range {
            let tenant = Tenant::default();
            detector.observe(&Observed { tenant: &tenant, batch: &measurement(n, busy) }, &mut out);
        }
        out.verdicts
    }

    #[test]
    fn values_unusual_together_are_a_finding_within_a_minute_and_quiet_ones_never() {
        let mut detector = Isolation::new(&DetectorConfig::default());
        assert_eq!(feed(&mut detector, 0..1_500, false), []);
        let found = feed(&mut detector, 1_500..1_512, true);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!((found[0].entity.value.as_str(), found[0].rule.as_str()), ("h", "isolation.host"));
        let named: Vec<_> = found[0].features.iter().take(3).map(|feature| feature.name.as_str()).collect();
        assert!(named.contains(&"system.processes.count"), "{named:?}");
        assert_eq!(feed(&mut detector, 1_512..1_524, true).len(), 1, "it is repeated while it lasts");
    }

    #[test]
    fn what_lasts_becomes_usual() {
        let mut detector = Isolation::new(&DetectorConfig::default());
        feed(&mut detector, 0..200, false);
        feed(&mut detector, 200..700, true);
        assert_eq!(feed(&mut detector, 700..1_000, true), []);
    }
}
