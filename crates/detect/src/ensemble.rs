//! Three learnt models of each (tenant, service), which speak when two of them agree for long enough.
//!
//! Event time is cut into windows (10 s). A window is a row of numbers: error share, volume, mean and p95 latency, CPU
//! and memory, as far as the service reports them. A statistical model judges the row by itself, a behavioural one by
//! the rows before it, a temporal one by what should have come; each is calibrated to say how seldom quiet windows are
//! as far off. The second smallest of the three probabilities, in nats beyond the threshold, is the evidence of the
//! window; evidence adds up while it is above and runs down while it is below (Page's cumulative sum), and a verdict
//! comes when it reaches the configured amount. One model alone, or one window alone, therefore never speaks.
//!
//! Invariants:
//! - per record only sums are touched; models are learnt and asked at the end of a window, from a bounded history;
//! - what is learnt from is not what an alert is about: windows are kept out of the history, and averages slowed, from
//!   a third of the evidence for a verdict on; a finding that has lasted `relearn_after` is the new usual, and all is learnt anew;
//! - models are made from the kept windows alone, so a snapshot holds those, and a restored detector makes the same
//!   models when a service's next window closes.
//!
//! Cost: about 40 ns a record; judging a window 3 µs, and learning 17 ms an hour for each service (forest, hidden-markov,
//! prophet; 57 ms with the network). Memory: about 170 KB a service once learnt, 50 KB of it windows; a snapshot has
//! about 100 KB a service.
//!
//! Sources: Page, "Continuous inspection schemes", Biometrika 41, 1954; for the models see [`crate::models`].

mod models;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;
use heimdall_model::batch::Row;
use heimdall_model::schema::{logs, metrics};
use heimdall_model::{Baseline, Dataset, Entity, Feature, Position, RecordId, Severity, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use self::models::{Choice, Judged, MODELS, Models, Online, Share};
use self::window::{
    CPU, ERRORS, FEATURES, LATENCY, LATENCY_P95, MEMORY, Measured, NAMES, Usual, VOLUME, Window,
};
use crate::arrival::{self, Reported, steps};
use crate::config::{DetectConfig, EnsembleConfig, Period, TRAIN_WINDOWS_MAX};
use crate::detector::{Counters, Detector, Findings, Observed, SnapshotError};
use crate::error_rate::is_error;
use crate::fields;
use crate::keyed::{self, Keyed, Saved};
use crate::snapshot;

/// Windows kept open behind the newest: records of several collectors interleave within seconds, and each window more
/// is as much delay.
const GRACE_WINDOWS: usize = 1;
/// Silent windows that are judged as such; after a longer silence the service starts a new stretch.
const SILENT_WINDOWS_MAX: i64 = 30;
/// Most evidence of one window, in nats beyond the threshold: by default three windows at least make a verdict.
const WINDOW_EVIDENCE_MAX: f64 = 6.0;
/// Evidence is not added up beyond so many times what makes a verdict, so that the end of a fault is seen.
const EVIDENCE_HELD: f64 = 2.5;
/// Times the evidence of a WARNING that is CRITICAL.
const CRITICAL_TIMES: f64 = 2.0;
/// Share of the evidence of a WARNING from which windows are not learnt from: less than one clear window gives, and
/// more than one quiet window in some thousand has, so that what is learnt keeps its tail.
const SUSPICIOUS_SHARE: f64 = 0.33;
/// Windows in a row within the threshold that end a finding.
const QUIET_WINDOWS: u32 = 3;
/// Evidence records remembered.
const EVIDENCE_KEPT: usize = 10;
/// Windows that first learning is spread over, by name of the service, so that services that start together do not all
/// learn in the same window.
const SPREAD_WINDOWS: u64 = 30;
/// Numbers of less weight are not named in a verdict.
const WEIGHT_MIN: f64 = 0.05;
/// Metric names whose meaning is remembered; at the limit all are forgotten.
const METRIC_NAMES_MAX: usize = 4_096;

/// The ensemble detector.
#[derive(Debug)]
pub struct Ensemble {
    config: EnsembleConfig,
    ahead: Period,
    cpu_names: Vec<String>,
    memory_names: Vec<String>,
    meanings: HashMap<String, Meaning, RandomState>,
    keys: Keyed<State>,
    key: String,
    counters: Counters,
}

/// What a metric measures, and what its value is to be multiplied by to get ms or percent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meaning {
    Latency(f64),
    Cpu(f64),
    Memory(f64),
    Other,
}

/// What is known of one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    /// Windows still open, without gaps, oldest first.
    open: VecDeque<Window>,
    usual: Usual,
    history: VecDeque<Kept>,
    trained: Option<Trained>,
    online: Online,
    #[serde(skip)]
    models: Option<Arc<Models>>,
    alarm: Alarm,
    evidence: VecDeque<(i64, u64)>,
}

/// A closed window as kept and saved.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Kept {
    at: i64,
    levels: [u32; FEATURES],
    deviations: [u32; FEATURES],
}

/// Which windows the models were learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Trained {
    /// Counts the times, from 1.
    version: u64,
    /// The last window, and how many it was with those before it.
    until: i64,
    windows: usize,
}

/// How much evidence there is for a finding.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Alarm {
    /// Nats.
    #[serde(with = "snapshot::bits")]
    sum: f64,
    /// Windows within the threshold in a row.
    quiet: u32,
    /// Event time of the first window of the finding.
    since: Option<i64>,
    reported: Reported,
}

#[expect(clippy::cast_possible_truncation, reason = "kept at the precision of f32")]
fn narrow(values: [f64; FEATURES]) -> [u32; FEATURES] {
    values.map(|x| (x as f32).to_bits())
}

fn wide(values: [u32; FEATURES]) -> [f64; FEATURES] {
    values.map(|bits| f64::from(f32::from_bits(bits)))
}

impl Kept {
    fn of(measured: &Measured) -> Kept {
        Kept { at: measured.at, levels: narrow(measured.levels), deviations: narrow(measured.deviations) }
    }

    fn measured(&self) -> Measured {
        Measured { at: self.at, levels: wide(self.levels), deviations: wide(self.deviations) }
    }
}

/// The record that closed a window, and where its verdict goes.
struct Closing<'a, 'b> {
    observed: &'a Observed<'a>,
    service: &'a str,
    time: i64,
    position: Position,
    spread: u64,
    config: &'a EnsembleConfig,
    out: &'b mut Findings,
}

impl Closing<'_, '_> {
    /// Whether a window came so long after its time that it is not to be judged.
    fn is_history(&self, window: &Window) -> bool {
        let end = (window.at + 1).saturating_mul(self.config.window.ns());
        let late = self.observed.batch.observed.0.saturating_sub(end);
        self.config.history_after.ns() > 0 && late > self.config.history_after.ns()
    }
}

impl Ensemble {
    /// A detector with nothing learnt.
    #[must_use]
    pub fn new(config: &DetectConfig) -> Ensemble {
        let mut made = Ensemble {
            config: config.ensemble.clone(),
            ahead: config.ahead,
            cpu_names: Vec::new(),
            memory_names: Vec::new(),
            meanings: HashMap::default(),
            keys: Keyed::default(),
            key: String::new(),
            counters: Counters::default(),
        };
        made.reconfigure(config);
        made
    }

    fn observe_logs(&mut self, observed: &Observed<'_>, out: &mut Findings) {
        let has = |id| observed.batch.column(id).is_some();
        let (timed, cpu, memory) = (has(logs::DURATION_MS), has(logs::CPU_USAGE), has(logs::MEMORY_USAGE));
        for row in observed.batch.iter() {
            let error = is_error(&row);
            self.record(observed, &row, out, |window, time| {
                let at = row.position().0;
                window.records = window.records.saturating_add(1);
                if error {
                    window.errors = window.errors.saturating_add(1);
                }
                if error || window.records == 1 {
                    window.remember(time, at);
                }
                let float = |there: bool, id| if there { row.float(id) } else { None };
                let latency = float(timed, logs::DURATION_MS).is_none_or(|ms| window.latency(ms, time, at));
                let cpu = float(cpu, logs::CPU_USAGE).is_none_or(|percent| window.cpu.add(percent));
                let memory =
                    float(memory, logs::MEMORY_USAGE).is_none_or(|percent| window.memory.add(percent));
                latency && cpu && memory
            });
        }
    }

    fn observe_metrics(&mut self, observed: &Observed<'_>, out: &mut Findings) {
        for row in observed.batch.iter() {
            let (Some(metric), Some(value)) = (row.text(metrics::NAME), row.float(metrics::VALUE)) else {
                continue;
            };
            let meaning = self.meaning(metric);
            if meaning == Meaning::Other {
                continue;
            }
            self.record(observed, &row, out, |window, time| {
                window.remember(time, row.position().0);
                match meaning {
                    Meaning::Latency(unit) => {
                        window.metrics_latency.get_or_insert_default().add(value * unit)
                    }
                    Meaning::Cpu(unit) => window.cpu.add(value * unit),
                    Meaning::Memory(unit) => window.memory.add(value * unit),
                    Meaning::Other => true,
                }
            });
        }
    }

    fn meaning(&mut self, metric: &str) -> Meaning {
        if let Some(known) = self.meanings.get(metric) {
            return *known;
        }
        if self.meanings.len() >= METRIC_NAMES_MAX {
            self.meanings.clear();
        }
        let found = meaning_of(metric, &self.cpu_names, &self.memory_names);
        self.meanings.insert(metric.to_owned(), found);
        found
    }

    /// Adds a record to its window, after closing those it leaves behind. `add` says whether all values were taken.
    fn record(
        &mut self,
        observed: &Observed<'_>,
        row: &Row<'_>,
        out: &mut Findings,
        add: impl FnOnce(&mut Window, i64) -> bool,
    ) {
        let time = arrival::event_time(row, observed.batch, self.ahead, &mut self.counters);
        let at = time.div_euclid(self.config.window.ns());
        let service = fields::service(row);
        let key = keyed::key(&mut self.key, &[observed.tenant.as_str(), service]);
        let state = self.keys.entry(key, observed.batch.observed, &self.config.limits, State::default);
        if state.open.back().is_none_or(|newest| newest.at < at) {
            let spread = spread_of(key);
            let (position, config) = (row.position(), &self.config);
            state.advance(at, &mut Closing { observed, service, time, position, spread, config, out });
        }
        let Some(window) = state.window(at) else {
            self.counters.late += 1;
            return;
        };
        if !add(window, time) {
            self.counters.invalid += 1;
        }
    }
}

/// A number below [`SPREAD_WINDOWS`] that depends on the key alone (FNV-1a).
fn spread_of(key: &str) -> u64 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % SPREAD_WINDOWS
}

/// Reads what a metric measures from its name, and the unit from its ending.
fn meaning_of(metric: &str, cpu_names: &[String], memory_names: &[String]) -> Meaning {
    const COUNTERS: [&str; 5] = ["_total", "_bucket", "_count", "_sum", "_created"];
    const LATENCIES: [&str; 5] = ["latency", "duration", "response_time", "request_time", "elapsed"];
    const UNITS: [(&str, f64); 8] = [
        ("_microseconds", 1e-3),
        ("_us", 1e-3),
        ("_nanoseconds", 1e-6),
        ("_ns", 1e-6),
        ("_milliseconds", 1.0),
        ("_ms", 1.0),
        ("_seconds", 1e3),
        ("_s", 1e3),
    ];
    let name = metric.to_ascii_lowercase();
    if COUNTERS.iter().any(|ending| name.ends_with(ending)) {
        return Meaning::Other;
    }
    let (plain, unit) = name.strip_suffix("_ratio").map_or((name.as_str(), 1.0), |plain| (plain, 100.0));
    let among = |names: &[String]| {
        names.iter().any(|known| known.eq_ignore_ascii_case(&name) || known.eq_ignore_ascii_case(plain))
    };
    if among(cpu_names) {
        Meaning::Cpu(unit)
    } else if among(memory_names) {
        Meaning::Memory(unit)
    } else if LATENCIES.iter().any(|word| name.contains(word)) {
        Meaning::Latency(
            UNITS.iter().find(|(ending, _)| name.ends_with(ending)).map_or(1.0, |(_, unit)| *unit),
        )
    } else {
        Meaning::Other
    }
}

impl State {
    fn window(&mut self, at: i64) -> Option<&mut Window> {
        let back = self.open.back()?.at.checked_sub(at)?;
        let index = self.open.len().checked_sub(1 + usize::try_from(back).ok()?)?;
        self.open.get_mut(index)
    }

    /// Opens windows up to `at` and closes those that are then too old.
    fn advance(&mut self, at: i64, closing: &mut Closing<'_, '_>) {
        let silent = self.open.back().map_or(0, |newest| at.saturating_sub(newest.at) - 1);
        if silent > SILENT_WINDOWS_MAX {
            while let Some(window) = self.open.pop_front() {
                self.close(&window, closing);
            }
            (self.online, self.alarm.sum, self.alarm.quiet) = (Online::default(), 0.0, 0);
            self.alarm.since = None;
        }
        let mut next = self.open.back().map_or(at, |newest| newest.at + 1);
        while next <= at {
            self.open.push_back(Window::new(next));
            next += 1;
            if self.open.len() > 1 + GRACE_WINDOWS {
                let oldest = self.open.pop_front();
                oldest.iter().for_each(|window| self.close(window, closing));
            }
        }
    }

    fn close(&mut self, window: &Window, closing: &mut Closing<'_, '_>) {
        let config = closing.config;
        let measured = Kept::of(&self.usual.measure(window)).measured();
        if closing.is_history(window) {
            return self.remember_only(window, &measured, config);
        }
        self.rebuild(config);
        let models = self.models.clone();
        let judged = models.as_ref().map(|models| (models, models.judge(&measured, &mut self.online)));
        if let Some((models, judged)) = &judged {
            let end = (window.at + 1).saturating_mul(config.window.ns());
            self.alarm.add(judged.agreed(), end, config);
            let is_unusual = judged.agreed() < 1.0 - config.threshold;
            if self.alarm.sum == 0.0 {
                self.evidence.clear();
            }
            if is_unusual {
                self.remember(window);
            }
            if let Some(severity) = self.alarm.severity(config)
                && is_unusual
                && self.alarm.reported.due(end, severity, config.limits.repeat_every)
            {
                let told = Told { window, measured: &measured, models, judged, severity, end };
                let verdict = self.verdict(&told, closing);
                closing.out.verdicts.push(verdict);
            }
            if self.alarm.is_new_usual(end, config) {
                *self = State { open: std::mem::take(&mut self.open), ..State::default() };
                return;
            }
        }
        let is_suspicious = self.alarm.is_suspicious(config);
        self.usual.learn(window, &measured, is_suspicious);
        if !is_suspicious {
            self.keep(&measured, closing);
        }
    }

    /// Takes in a window that came long after its time. The first one that does not finds models to learn, and no alarm.
    fn remember_only(&mut self, window: &Window, measured: &Measured, config: &EnsembleConfig) {
        self.usual.learn(window, measured, false);
        self.history.push_back(Kept::of(measured));
        while self.history.len() > config.train_windows {
            self.history.pop_front();
        }
        (self.models, self.trained, self.online) = (None, None, Online::default());
        (self.alarm.sum, self.alarm.quiet, self.alarm.since) = (0.0, 0, None);
        self.evidence.clear();
    }

    /// Makes the models again after a restart or another choice.
    fn rebuild(&mut self, config: &EnsembleConfig) {
        let Some(Trained { until, windows, .. }) = self.trained else { return };
        let choice = Choice::of(config);
        if self.models.as_ref().is_some_and(|models| models.choice == choice) {
            return;
        }
        let is_other_choice = self.models.is_some();
        let end = self.history.partition_point(|kept| kept.at <= until);
        let rows: Vec<Measured> =
            self.history.range(end.saturating_sub(windows)..end).map(Kept::measured).collect();
        match Models::fit(&rows, choice) {
            Some((models, online)) => {
                self.models = Some(Arc::new(models));
                if is_other_choice {
                    self.online = online;
                }
            }
            None => (self.models, self.trained) = (None, None),
        }
    }

    /// Takes a window into the history and learns when it is time.
    fn keep(&mut self, measured: &Measured, closing: &Closing<'_, '_>) {
        let config = closing.config;
        self.history.push_back(Kept::of(measured));
        let needed = match self.trained {
            Some(Trained { until, windows, .. }) => {
                let since = self.history.len() - self.history.partition_point(|kept| kept.at <= until);
                (since + windows).max(config.train_windows)
            }
            None => config.train_windows,
        };
        while self.history.len() > needed {
            self.history.pop_front();
        }
        if self.is_time_to_learn(measured.at, closing) {
            self.learn(config);
        }
    }

    fn is_time_to_learn(&self, at: i64, closing: &Closing<'_, '_>) -> bool {
        let Closing { config, spread, .. } = closing;
        let Some(trained) = self.trained else {
            #[expect(clippy::cast_possible_truncation, reason = "below SPREAD_WINDOWS")]
            return self.history.len() >= (config.min_windows + *spread as usize).min(config.train_windows);
        };
        let since = self.history.len() - self.history.partition_point(|kept| kept.at <= trained.until);
        let age = at.saturating_sub(trained.until).saturating_mul(config.window.ns());
        let has_doubled = trained.windows < config.train_windows && since >= trained.windows;
        age >= config.retrain_every.ns() || has_doubled || since >= TRAIN_WINDOWS_MAX
    }

    fn learn(&mut self, config: &EnsembleConfig) {
        let windows = self.history.len().min(config.train_windows);
        self.history.drain(..self.history.len() - windows);
        let rows: Vec<Measured> = self.history.iter().map(Kept::measured).collect();
        let Some((models, online)) = Models::fit(&rows, Choice::of(config)) else { return };
        let version = self.trained.map_or(1, |trained| trained.version + 1);
        let until = self.history.back().map_or(0, |kept| kept.at);
        self.trained = Some(Trained { version, until, windows });
        (self.models, self.online) = (Some(Arc::new(models)), online);
    }

    fn remember(&mut self, window: &Window) {
        for record in window.evidence() {
            if self.evidence.len() == EVIDENCE_KEPT {
                self.evidence.pop_front();
            }
            self.evidence.push_back(record);
        }
    }
}

impl Alarm {
    /// Adds the evidence of a window that ends at `end`.
    fn add(&mut self, agreed: f64, end: i64, config: &EnsembleConfig) {
        let beyond = -agreed.ln() + (1.0 - config.threshold).ln();
        let held = EVIDENCE_HELD * config.evidence;
        self.sum = (self.sum + beyond.min(WINDOW_EVIDENCE_MAX)).clamp(0.0, held);
        self.quiet = if beyond > 0.0 { 0 } else { self.quiet + 1 };
        if self.quiet >= QUIET_WINDOWS {
            (self.sum, self.quiet) = (0.0, 0);
        }
        match self.severity(config) {
            Some(_) => {
                self.since.get_or_insert(end);
            }
            None => self.since = None,
        }
    }

    fn severity(&self, config: &EnsembleConfig) -> Option<Severity> {
        match self.sum / config.evidence {
            times if times >= CRITICAL_TIMES => Some(Severity::Critical),
            times if times >= 1.0 => Some(Severity::Warning),
            _ => None,
        }
    }

    /// Whether windows are better not learnt from.
    fn is_suspicious(&self, config: &EnsembleConfig) -> bool {
        self.sum >= SUSPICIOUS_SHARE * config.evidence
    }

    fn is_new_usual(&self, end: i64, config: &EnsembleConfig) -> bool {
        self.since.is_some_and(|since| end.saturating_sub(since) >= config.relearn_after.ns())
    }
}

/// What a verdict is made of.
struct Told<'a> {
    window: &'a Window,
    measured: &'a Measured,
    models: &'a Models,
    judged: &'a Judged,
    severity: Severity,
    end: i64,
}

impl State {
    fn verdict(&self, told: &Told<'_>, closing: &Closing<'_, '_>) -> Verdict {
        let Closing { observed, service, position, config, .. } = closing;
        let shares = told.models.shares(told.judged);
        let top = shares.first().copied();
        let agreeing = told.judged.probabilities.iter().filter(|p| **p < 1.0 - config.threshold).count();
        Verdict {
            tenant: observed.tenant.clone(),
            detector: "ensemble".to_owned(),
            rule: "ensemble.service".to_owned(),
            title: "Unusual behaviour".to_owned(),
            severity: told.severity,
            score: 1.0 - told.judged.agreed(),
            entity: Entity::new("service", service),
            service: Some((*service).to_owned()),
            time: Timestamp(told.end),
            position: *position,
            summary: format!(
                "{service} behaves unlike itself: {} ({agreeing} of {MODELS} models agree, evidence {} of {} nats)",
                self.reasons(told, &shares),
                arrival::short(self.alarm.sum),
                arrival::short(config.evidence),
            ),
            baseline: top.map(|top| self.baseline(told, top)),
            features: self.features(told, &shares),
            evidence: self.evidence_ids(closing),
            mitigation: mitigation(top.map(|top| top.feature)),
        }
    }

    /// Records of the unusual windows; of windows without any, the record that ended the silence.
    fn evidence_ids(&self, closing: &Closing<'_, '_>) -> Vec<RecordId> {
        if self.evidence.is_empty() {
            return vec![RecordId::new(Timestamp(closing.time), closing.position)];
        }
        self.evidence.iter().map(|(t, at)| RecordId::new(Timestamp(*t), Position(*at))).collect()
    }

    /// The numbers that stand out, beside what is usual.
    fn reasons(&self, told: &Told<'_>, shares: &[Share]) -> String {
        let parts = shares.iter().take(2).filter(|share| share.weight >= WEIGHT_MIN).map(|share| {
            let natural = self.usual.natural(share.feature, told.window, told.measured, share.scale);
            let [observed, usual] = [natural.observed, natural.usual].map(arrival::short);
            format!("{} is {observed}, usual {usual}", NAMES[share.feature])
        });
        parts.collect::<Vec<_>>().join("; ")
    }

    /// That of the number which stands out most. The threshold is where it alone would be unusual (three deviations);
    /// what fires is the agreement of the models.
    fn baseline(&self, told: &Told<'_>, top: Share) -> Baseline {
        let natural = self.usual.natural(top.feature, told.window, told.measured, top.scale);
        let side = if natural.observed >= natural.usual { 3.0 } else { -3.0 };
        Baseline {
            mean: natural.usual,
            stddev: natural.deviation,
            samples: self.trained.map_or(0, |trained| trained.windows as u64),
            threshold: natural.usual + side * natural.deviation,
            observed: natural.observed,
        }
    }

    fn features(&self, told: &Told<'_>, shares: &[Share]) -> Vec<Feature> {
        let feature = |name: String, value: f64| Feature { name, value };
        let mut features: Vec<Feature> = told
            .models
            .choice
            .names()
            .iter()
            .zip(told.judged.probabilities)
            .map(|(name, probability)| feature(format!("{name}_score"), 1.0 - probability))
            .collect();
        features.push(feature("evidence_nats".to_owned(), self.alarm.sum));
        let version = self.trained.map_or(0, |trained| trained.version);
        features.push(feature("model_version".to_owned(), version as f64));
        let critical = told.models.critical(&self.online);
        features.extend(critical.map(|p| feature("critical_state_probability".to_owned(), p)));
        for share in shares.iter().filter(|share| share.weight >= WEIGHT_MIN) {
            let natural = self.usual.natural(share.feature, told.window, told.measured, share.scale);
            let name = NAMES[share.feature];
            features.push(feature(name.to_owned(), natural.observed));
            features.push(feature(format!("{name}_usual"), natural.usual));
            features.push(feature(format!("{name}_weight"), share.weight));
        }
        features.retain(|feature| feature.value.is_finite());
        features
    }
}

/// What to do, by the number that stands out most.
fn mitigation(feature: Option<usize>) -> Vec<String> {
    let first = match feature {
        Some(ERRORS) => {
            "Look at the commonest error of the minute: `level>=error | stats count() by template`"
        }
        Some(VOLUME) => "Find who sends more, or what stopped sending: `stats count() by host, source_ip`",
        Some(LATENCY | LATENCY_P95) => {
            "Look at the slowest records and what they waited for: dependencies, locks, queues, garbage collection"
        }
        Some(CPU) => "Find the process that takes the CPU, and whether the load is legitimate",
        Some(MEMORY) => {
            "Find what takes the memory; restart a leaking service before the kernel kills something else"
        }
        _ => "Compare the last minutes of the service with the hour before",
    };
    steps(&[
        first,
        "Check the services it calls, its last deployment and its configuration; roll back if they coincide",
        "Shed load or scale out while users are affected; if this is a new usual, it is learnt by itself",
    ])
}

impl Detector for Ensemble {
    fn name(&self) -> &'static str {
        "ensemble"
    }

    fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    /// Takes new settings. Windows known are kept, and other models are made from them; another length of the windows
    /// starts anew.
    fn reconfigure(&mut self, config: &DetectConfig) {
        if self.config.window != config.ensemble.window {
            self.keys = Keyed::default();
        }
        self.config = config.ensemble.clone();
        self.ahead = config.ahead;
        self.cpu_names.clone_from(&config.threshold.cpu.metrics);
        self.memory_names.clone_from(&config.threshold.memory.metrics);
        self.meanings.clear();
    }

    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings) {
        match batch.batch.dataset {
            Dataset::Logs => self.observe_logs(batch, out),
            Dataset::Metrics => self.observe_metrics(batch, out),
            Dataset::Spans => {}
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::encode(&Snapshot { window: self.config.window.ns(), keys: self.keys.save() })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let saved = snapshot::decode::<Snapshot>(bytes)?;
        // Windows of another length cannot be gone on with.
        let keys = if saved.window == self.config.window.ns() { saved.keys } else { Vec::new() };
        self.keys = Keyed::load(keys);
        Ok(())
    }

    fn state_keys(&self) -> usize {
        self.keys.len()
    }

    fn counters(&self) -> Counters {
        Counters { evicted: self.keys.evicted(), ..self.counters }
    }
}

/// The saved state: its window length is part of what the numbers mean.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    window: i64,
    keys: Vec<Saved<State>>,
}
