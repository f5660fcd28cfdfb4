//! Volumetric floods: records and samples per second of event time for each (tenant, service).
//!
//! The baseline is an exponential average of the rate of past seconds, quiet ones included. A second adds at most
//! [`LEARN_MULTIPLE_MAX`] times the baseline to it, so a flood is learnt in minutes and not at once. A second is a
//! flood above `max(min_per_second, multiple * baseline)`, or above `cold_per_second` before a baseline exists.
//!
//! Invariant: a second's count only grows, so a record that comes late can complete a flood but never undo one.
//!
//! Cost: 16 bytes for each active second within the lateness, so 9.6 KB a key by default at most.

use heimdall_model::batch::Row;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Baseline, Dataset, Entity, Feature, Severity, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use crate::arrival::{self, Reported, steps};
use crate::buckets::{Bucket, Buckets};
use crate::config::{DetectConfig, FloodConfig, Period};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields;
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;

/// Most that one second may count for in the baseline, in multiples of it (and never less than one record).
const LEARN_MULTIPLE_MAX: f64 = 3.0;

/// The flood detector.
#[derive(Debug)]
pub struct Flood {
    config: FloodConfig,
    lateness: Period,
    ahead: Period,
    keys: Keyed<State>,
    key: String,
    counters: Counters,
}

/// What is known of one service.
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
            counters: Counters::default(),
        }
    }

    fn count(&mut self, observed: &Observed<'_>, row: &Row<'_>, out: &mut Findings) {
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let second = time.div_euclid(NS_PER_SECOND);
        let service = fields::service(row);
        let key = keyed::key(&mut self.key, &[observed.tenant.as_str(), service]);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        state.learn_until(second, &self.config);
        let Some(bucket) = state.seconds.add(second, false, self.lateness.ns() / NS_PER_SECOND) else {
            self.counters.late += 1;
            return;
        };
        let bound = state.bound(&self.config);
        if f64::from(bucket.total) > bound
            && state.reported.due(time, Severity::Critical, self.config.limits.repeat_every)
        {
            out.verdicts.push(verdict(observed, row, time, bucket, bound, state));
        }
    }
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

fn verdict(
    observed: &Observed<'_>,
    row: &Row<'_>,
    time: i64,
    bucket: Bucket,
    bound: f64,
    state: &State,
) -> Verdict {
    let service = fields::service(row);
    let what = match observed.batch.dataset {
        Dataset::Logs => "records",
        Dataset::Metrics => "samples",
    };
    let rate = f64::from(bucket.total);
    let usual = match state.learnt {
        0 => "no usual rate is known yet".to_owned(),
        _ => format!("usual are {} a second", arrival::short(state.mean)),
    };
    Verdict {
        tenant: observed.tenant.clone(),
        detector: "flood".to_owned(),
        rule: "flood.volume".to_owned(),
        title: "Flood of records".to_owned(),
        severity: Severity::Critical,
        score: arrival::score(rate, bound),
        entity: Entity::new("service", service),
        service: Some(service.to_owned()),
        time: Timestamp(time),
        position: row.position(),
        summary: format!(
            "{service} sent more than {} {what} within one second ({usual})",
            arrival::short(bound.floor())
        ),
        baseline: Some(Baseline {
            mean: state.mean,
            stddev: 0.0,
            samples: state.learnt,
            threshold: bound,
            observed: rate,
        }),
        features: vec![
            Feature { name: "records_in_second".to_owned(), value: rate },
            Feature { name: "usual_per_second".to_owned(), value: state.mean },
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
}
