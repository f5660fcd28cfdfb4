//! Share of failed operations of each (tenant, service) over a sliding window of event time.
//!
//! An error is a log record of level error or worse, or one whose HTTP status is 500 or more. The usual share is an
//! exponential average over steps that have left the window, so that a burst does not hide itself.
//!
//! Invariant: a record counts in the window that ends with its own step of [`STEP_NS`], late or not.
//! Cost: 16 bytes for each active step within lateness and window, so about 2 KB a key by default.

use heimdall_model::batch::Row;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{
    Baseline, Dataset, Entity, Feature, Level, Position, RecordId, Severity, Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

use crate::arrival::{self, Reported, steps};
use crate::buckets::Buckets;
use crate::config::{DetectConfig, ErrorRateConfig, Period};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::fields;
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;

/// Width of a step of the window.
const STEP_NS: i64 = 5 * NS_PER_SECOND;
/// Steps the usual share remembers: half an hour of activity.
const MEMORY_STEPS: f64 = 360.0;
/// Errors remembered as evidence for each key.
const EVIDENCE_KEPT: usize = 10;

/// The error-rate detector.
#[derive(Debug)]
pub struct ErrorRate {
    config: ErrorRateConfig,
    lateness: Period,
    ahead: Period,
    keys: Keyed<State>,
    key: String,
    counters: Counters,
}

/// What is known of one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    steps: Buckets,
    /// Usual share of errors, the steps it was learnt from, and the last of them.
    #[serde(with = "snapshot::bits")]
    usual: f64,
    learnt: u64,
    learnt_until: Option<i64>,
    reported: Reported,
    evidence: VecDeque<(i64, u64)>,
}

/// The window that a record completed.
struct Window {
    total: u64,
    errors: u64,
    share: f64,
    severity: Severity,
    bound: f64,
}

impl ErrorRate {
    /// A detector with nothing seen.
    #[must_use]
    pub fn new(config: &DetectConfig) -> ErrorRate {
        ErrorRate {
            config: config.error_rate.clone(),
            lateness: config.lateness,
            ahead: config.ahead,
            keys: Keyed::default(),
            key: String::new(),
            counters: Counters::default(),
        }
    }

    fn count(&mut self, observed: &Observed<'_>, row: &Row<'_>, out: &mut Findings) {
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let error = is_error(row);
        let service = fields::service(row);
        let key = keyed::key(&mut self.key, &[observed.tenant.as_str(), service]);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        let step = time.div_euclid(STEP_NS);
        state.learn_until(step, &self.config);
        let horizon = (self.lateness.ns() + self.config.within.ns()) / STEP_NS + 1;
        if state.steps.add(step, error, horizon).is_none() {
            self.counters.late += 1;
            return;
        }
        if !error {
            return;
        }
        state.remember(time, row.position());
        let Some(window) = state.window(step, &self.config) else { return };
        if state.reported.due(time, window.severity, self.config.limits.repeat_every) {
            out.verdicts.push(verdict(observed, row, time, &window, state, &self.config));
        }
    }
}

/// Whether a log record tells of a failed operation.
pub(crate) fn is_error(row: &Row<'_>) -> bool {
    row.level().is_some_and(|level| level >= Level::Error) || fields::http_status(row, b'5').is_some()
}

impl State {
    /// Learns the steps that have left the window which ends with `step`.
    fn learn_until(&mut self, step: i64, config: &ErrorRateConfig) {
        if self.steps.newest().is_none_or(|newest| newest.at >= step) {
            return;
        }
        let last = step - steps_within(config);
        let from = self.learnt_until.map_or(i64::MIN, |until| until + 1);
        let mut shares: Vec<f64> = self
            .steps
            .range(from, last)
            .map(|bucket| f64::from(bucket.errors) / f64::from(bucket.total.max(1)))
            .collect();
        shares.reverse();
        for share in shares {
            self.learnt += 1;
            #[expect(clippy::cast_precision_loss, reason = "steps far below 2^53")]
            let gain = (1.0 / self.learnt as f64).max(2.0 / (MEMORY_STEPS + 1.0));
            self.usual += gain * (share - self.usual);
        }
        self.learnt_until = Some(self.learnt_until.map_or(last, |until| until.max(last)));
    }

    /// The window that ends with `step`, when it is worth a verdict.
    fn window(&self, step: i64, config: &ErrorRateConfig) -> Option<Window> {
        let (total, errors) = self.steps.sum(step - steps_within(config) + 1, step);
        if total < u64::from(config.records_min) {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
        let share = errors as f64 / total as f64;
        let bound = config.warning.max(self.usual * config.baseline_multiple);
        let severity = match share {
            share if share <= bound => return None,
            share if share > config.critical => Severity::Critical,
            _ => Severity::Warning,
        };
        Some(Window { total, errors, share, severity, bound })
    }

    fn remember(&mut self, time: i64, at: Position) {
        if self.evidence.len() == EVIDENCE_KEPT {
            self.evidence.pop_front();
        }
        self.evidence.push_back((time, at.0));
    }
}

fn steps_within(config: &ErrorRateConfig) -> i64 {
    (config.within.ns() / STEP_NS).max(1)
}

fn verdict(
    observed: &Observed<'_>,
    row: &Row<'_>,
    time: i64,
    window: &Window,
    state: &State,
    config: &ErrorRateConfig,
) -> Verdict {
    let service = fields::service(row);
    let percent = |share: f64| arrival::short(share * 100.0);
    #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
    let [total, errors] = [window.total as f64, window.errors as f64];
    Verdict {
        tenant: observed.tenant.clone(),
        detector: "error-rate".to_owned(),
        rule: "error_rate.service".to_owned(),
        title: "High error rate".to_owned(),
        severity: window.severity,
        score: window.share,
        entity: Entity::new("service", service),
        service: Some(service.to_owned()),
        time: Timestamp(time),
        position: row.position(),
        summary: format!(
            "{} % of {service}'s records within {} are errors ({} of {}); usual are {} %",
            percent(window.share),
            config.within,
            window.errors,
            window.total,
            percent(state.usual)
        ),
        baseline: Some(Baseline {
            mean: state.usual,
            stddev: 0.0,
            samples: state.learnt,
            threshold: window.bound,
            observed: window.share,
        }),
        features: vec![
            Feature { name: "error_share".to_owned(), value: window.share },
            Feature { name: "errors_in_window".to_owned(), value: errors },
            Feature { name: "records_in_window".to_owned(), value: total },
        ],
        evidence: state.evidence.iter().map(|(t, at)| RecordId::new(Timestamp(*t), Position(*at))).collect(),
        mitigation: steps(&[
            "Look at the commonest error of the minute: `level>=error | stats count() by template`",
            "Check the services it calls and its last deployment; roll back if they coincide",
            "Open a circuit breaker or shed load if a dependency is down",
        ]),
    }
}

impl Detector for ErrorRate {
    fn name(&self) -> &'static str {
        "error-rate"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    fn reconfigure(&mut self, config: &DetectConfig) {
        (self.config, self.lateness, self.ahead) = (config.error_rate.clone(), config.lateness, config.ahead);
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        if batch.batch.dataset != Dataset::Logs {
            return;
        }
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

    /// `records` a second for the seconds, `errors` of each spread evenly being errors.
    fn traffic(seconds: std::ops::Range<i64>, records: i64, errors: i64) -> Vec<Line> {
        let line = move |second, n| {
            let line = Line::new(second, "done").service("PAY");
            if n * errors % records < errors { line.level(Level::Error) } else { line.level(Level::Info) }
        };
        seconds.flat_map(|second| (0..records).map(move |n| line(second, n))).collect()
    }

    #[track_caller]
    fn check(lines: Vec<Line>, expected: &[&str]) {
        let out = feed(&mut ErrorRate::new(&DetectConfig::default()), &logs(&lines));
        let found: Vec<String> =
            out.verdicts.iter().map(|v| format!("{} {}", v.severity, v.summary)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_burst_rises_from_warning_to_critical() {
        let mut lines = traffic(0..120, 10, 0);
        lines.extend(traffic(120..160, 10, 10));
        check(
            lines,
            &[
                "WARNING 27.4 % of PAY's records within 1m are errors (151 of 551); usual are 0 %",
                "CRITICAL 54.63 % of PAY's records within 1m are errors (301 of 551); usual are 0 %",
            ],
        );
    }

    #[test]
    fn few_records_and_usual_errors_are_no_news() {
        check(traffic(0..19, 1, 1), &[]);
        let mut noisy = traffic(0..600, 40, 8);
        noisy.extend(traffic(600..660, 40, 20));
        check(noisy, &[]);
    }

    #[test]
    fn a_status_of_500_is_an_error() {
        let lines: Vec<Line> =
            (0..30).map(|n| Line::new(n, "GET /").service("WEB").attributes(r#"{"status":503}"#)).collect();
        check(lines, &["CRITICAL 100 % of WEB's records within 1m are errors (20 of 20); usual are 0 %"]);
    }
}
