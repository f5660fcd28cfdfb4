//! What quiet services and injected faults make the ensemble say, and that a restored one says the same.

use heimdall_model::Batch;
use heimdall_model::Tenant;

use super::*;
use crate::models::rng::Rng;
use crate::testing::{EPOCH_SECONDS, Line, feed, logs as batch, metric, metrics};

/// A service with the course of a day, load that wanders, and what it reports.
struct Service {
    rng: Rng,
    records: f64,
    reports_latency: bool,
    reports_host: bool,
    load: f64,
    /// Bursts, stragglers and a job each hour, as real services have them.
    is_rough: bool,
}

const WINDOW_SECONDS: i64 = 10;

/// The default, but that nothing is history: the batches of the tests arrive a day after their records.
fn judging_all() -> EnsembleConfig {
    EnsembleConfig { history_after: Period(0), ..EnsembleConfig::default() }
}

fn settings() -> DetectConfig {
    DetectConfig { ensemble: judging_all(), ..DetectConfig::default() }
}

/// What a fault multiplies or adds.
#[derive(Debug, Clone, Copy)]
struct Fault {
    records: f64,
    error_share: f64,
    latency: f64,
    cpu: f64,
}

const NO_FAULT: Fault = Fault { records: 1.0, error_share: 0.0, latency: 1.0, cpu: 0.0 };

impl Service {
    fn new(seed: u64) -> Service {
        let records = [2.0, 10.0, 60.0, 300.0, 2_000.0][usize::try_from(seed % 5).unwrap()];
        Service {
            rng: Rng::new(seed),
            records,
            reports_latency: seed % 3 != 1,
            reports_host: seed.is_multiple_of(2),
            load: 0.0,
            is_rough: false,
        }
    }

    fn rough(seed: u64) -> Service {
        Service { is_rough: true, ..Service::new(seed) }
    }

    fn window(&mut self, at: i64, fault: Fault) -> Window {
        let rng = &mut self.rng;
        // Load wanders by 5 % with a memory of five minutes; a day's top is four times its bottom.
        self.load = 0.967 * self.load + 0.05 * 0.255 * rng.normal();
        let day = 1.0 + 0.6 * (std::f64::consts::TAU * (at * WINDOW_SECONDS) as f64 / 86_400.0).sin();
        let mut load = day * self.load.exp();
        let mut errors = 0.01;
        if self.is_rough {
            // A heavy tail of volume, a burst of errors once in three hours, a job of two minutes each hour.
            load *= 1.0 + 0.1 * (-rng.unit().max(1e-9).ln()).powi(2);
            errors *= if rng.unit() < 0.001 { 20.0 } else { 1.0 };
            load *= if at % 360 < 12 { 1.5 } else { 1.0 };
        }
        let mut window = Window::new(at);
        window.records = rng.poisson(self.records * load * fault.records);
        window.errors =
            rng.poisson(f64::from(window.records) * (errors + fault.error_share)).min(window.records);
        window.remember(at, at as u64);
        if self.reports_latency {
            for _ in 0..window.records.min(100) {
                let straggler = if self.is_rough && rng.unit() < 0.003 { 20.0 } else { 1.0 };
                window.latency(
                    straggler * 40.0 * (0.2 * load + 0.6 * rng.normal()).exp() * fault.latency,
                    at,
                    at as u64,
                );
            }
        }
        if self.reports_host {
            window.cpu.add((20.0 + 20.0 * load + 2.0 * rng.normal() + fault.cpu).clamp(0.0, 100.0));
            window.memory.add(55.0 + 5.0 * load + 0.5 * rng.normal());
        }
        window
    }
}

/// Closes windows of one service and gives the verdicts.
fn run(state: &mut State, windows: impl Iterator<Item = Window>, config: &EnsembleConfig) -> Vec<Verdict> {
    let empty = batch(&[Line::new(0, "x")]);
    let tenant = Tenant::default();
    let observed = Observed { tenant: &tenant, batch: &empty };
    let mut out = Findings::default();
    for window in windows {
        let position = Position::new(1, 0);
        let out = &mut out;
        state.close(
            &window,
            &mut Closing { observed: &observed, service: "PAY", time: 0, position, spread: 0, config, out },
        );
    }
    out.verdicts
}

/// Windows seen, windows in alarm, and windows in which each model and the agreement were beyond the threshold.
#[derive(Debug, Default)]
struct Quiet {
    judged: u32,
    verdicts: usize,
    alarmed: u32,
    beyond: [u32; MODELS + 1],
}

fn quiet(services: impl Iterator<Item = Service>, windows: i64, config: &EnsembleConfig) -> Quiet {
    let mut found = Quiet::default();
    for (seed, mut service) in services.enumerate() {
        let mut state = State::default();
        for at in 0..windows {
            let window = service.window(at, NO_FAULT);
            let measured = state.usual.clone().measure(&window);
            if let Some(models) = state.models.clone() {
                let judged = models.judge(&Kept::of(&measured).measured(), &mut state.online.clone());
                found.judged += 1;
                let limit = 1.0 - config.threshold;
                for (count, p) in
                    found.beyond.iter_mut().zip(judged.probabilities.iter().chain([&judged.agreed()]))
                {
                    *count += u32::from(*p < limit);
                }
            }
            let verdicts = run(&mut state, std::iter::once(window), config);
            if std::env::var("SHOW").is_ok() {
                verdicts.iter().for_each(|v| println!("  {seed} {at} {} {}", v.severity, v.summary));
            }
            found.verdicts += verdicts.len();
            found.alarmed += u32::from(state.alarm.severity(config).is_some());
        }
    }
    found
}

fn choices() -> Vec<EnsembleConfig> {
    use crate::config::{BehaviouralModel, StatisticalModel, TemporalModel};
    let default = judging_all();
    vec![
        default.clone(),
        EnsembleConfig { statistical: StatisticalModel::OneClassSvm, ..default.clone() },
        EnsembleConfig { behavioural: BehaviouralModel::MarkovChain, ..default.clone() },
        EnsembleConfig { temporal: TemporalModel::Lstm, ..default },
    ]
}

#[test]
#[ignore = "measures for minutes; run it with --ignored --nocapture"]
fn measure_quiet_services_and_faults() {
    let days: i64 = std::env::var("DAYS").map_or(2, |days| days.parse().unwrap());
    for config in choices() {
        println!("{:?}", Choice::of(&config).names());
        for (kind, make) in [("smooth", Service::new as fn(u64) -> Service), ("rough", Service::rough)] {
            let found = quiet((0..10).map(make), days * 8_640, &config);
            let share = |n: f64| 100.0 * n / f64::from(found.judged);
            println!(
                "  {kind}: judged {} windows, beyond by model and agreed {:.2?} %, alarmed {:.4} %, verdicts {} ({:.2} a service and day)",
                found.judged,
                found.beyond.map(|n| share(f64::from(n))),
                share(f64::from(found.alarmed)),
                found.verdicts,
                found.verdicts as f64 / (10 * days) as f64,
            );
        }
        for (name, fault) in faults() {
            let delays: Vec<_> = (0..10).map(|seed| delay(seed, fault, &config)).collect();
            println!("  {name}: windows until the verdict, by service: {delays:?}");
        }
    }
}

fn faults() -> Vec<(&'static str, Fault)> {
    vec![
        ("errors 10 %", Fault { error_share: 0.1, ..NO_FAULT }),
        ("errors 50 %", Fault { error_share: 0.5, ..NO_FAULT }),
        ("latency x3", Fault { latency: 3.0, ..NO_FAULT }),
        ("volume x3", Fault { records: 3.0, ..NO_FAULT }),
        ("volume gone", Fault { records: 0.02, ..NO_FAULT }),
        ("cpu +30", Fault { cpu: 30.0, ..NO_FAULT }),
        ("latency x2, errors 5 %", Fault { latency: 2.0, error_share: 0.05, ..NO_FAULT }),
    ]
}

/// Windows until a fault after four quiet hours is told, within ten minutes.
fn delay(seed: u64, fault: Fault, config: &EnsembleConfig) -> Option<usize> {
    let (mut service, mut state) = (Service::new(seed), State::default());
    run(&mut state, (0..1_440).map(|at| service.window(at, NO_FAULT)), config);
    (1..=60).find(|n| {
        !run(&mut state, std::iter::once(service.window(1_439 + *n as i64, fault)), config).is_empty()
    })
}

#[test]
fn quiet_services_are_left_alone() {
    for make in [Service::new, Service::rough] {
        let found = quiet((0..4).map(make), 1_500, &judging_all());
        let judged = f64::from(found.judged);
        assert!(judged > 4_000.0);
        assert!(f64::from(found.beyond[MODELS]) / judged < 0.05, "{found:?}");
        assert!(f64::from(found.alarmed) / judged < 0.005, "{found:?}");
    }
}

#[test]
fn faults_are_told_within_a_minute() {
    let config = judging_all();
    for (seed, fault) in [
        (2, Fault { error_share: 0.5, ..NO_FAULT }),
        (3, Fault { records: 3.0, ..NO_FAULT }),
        (8, Fault { latency: 3.0, ..NO_FAULT }),
    ] {
        let windows = delay(seed, fault, &config);
        assert!(windows.is_some_and(|n| n <= 5), "{fault:?}: {windows:?}");
    }
}

/// Ten records of one service in each window, as log lines; from `bad` on they are slow and many fail.
fn lines(windows: std::ops::Range<i64>, bad: i64) -> Vec<Line> {
    let mut rng = Rng::new(9);
    let mut lines = Vec::new();
    for at in windows {
        for n in 0..8 + i64::from(rng.poisson(2.0)) {
            let fails = at >= bad && n % 2 == 0;
            let level = if fails { heimdall_model::Level::Error } else { heimdall_model::Level::Info };
            lines.push(Line::new(at * 10 + n.min(9), "done").service("PAY").level(level));
        }
    }
    lines
}

/// Tests count windows from second 0.
const _: () = assert!(EPOCH_SECONDS % 10 == 0);

#[test]
fn a_verdict_says_what_why_and_what_to_do() {
    let mut detector = Ensemble::new(&settings());
    let out = feed(&mut detector, &batch(&lines(0..320, 300)));
    let found = out.verdicts.first().expect("half of the records fail");
    assert_eq!((found.rule.as_str(), found.entity.value.as_str()), ("ensemble.service", "PAY"));
    let end = found.time.0 / 1_000_000_000 - EPOCH_SECONDS;
    assert!((3_030..=3_060).contains(&end), "{end}");
    assert!(found.summary.starts_with("PAY behaves unlike itself: error_percent is "), "{}", found.summary);
    let value =
        |name: &str| found.features.iter().find(|feature| feature.name == name).map(|feature| feature.value);
    assert!(value("error_percent").is_some_and(|x| x > 30.0) && value("error_percent_usual") < Some(2.0));
    assert!(value("error_percent_weight") > Some(0.5), "{:?}", found.features);
    assert_eq!(value("model_version"), Some(2.0));
    assert!(value("isolation-forest_score") > Some(0.95) && value("hidden-markov_score").is_some());
    let baseline = found.baseline.as_ref().expect("of the error share");
    assert!(baseline.mean < 2.0 && baseline.observed > 30.0 && baseline.samples > 100, "{baseline:?}");
    assert!(found.evidence.len() >= 8 && found.mitigation[0].contains("commonest error"));
    let last = out.verdicts.last().expect("there is a first");
    assert_eq!(last.severity, Severity::Critical);
}

/// Restored at any moment, also before models are learnt and while a fault goes on, it says what the other says, and
/// ends in the same state.
#[test]
fn a_restored_detector_goes_on_exactly() {
    for choice in choices() {
        let config = DetectConfig { ensemble: choice, ..settings() };
        let all = lines(0..420, 380);
        let mut whole = Ensemble::new(&config);
        let expected = feed(&mut whole, &batch(&all)).verdicts;
        assert!(!expected.is_empty());
        let (mut parted, mut found) = (Ensemble::new(&config), Vec::new());
        let mut base = 0;
        for part in all.chunks(431) {
            let mut batch = batch(part);
            batch.base = Position::new(1, base);
            base += u32::try_from(part.len()).unwrap();
            found.extend(feed(&mut parted, &batch).verdicts);
            let bytes = parted.snapshot();
            parted = Ensemble::new(&config);
            parted.restore(&bytes).unwrap();
            assert_eq!(parted.snapshot(), bytes, "what was read is what was written");
        }
        assert_eq!(found, expected);
        assert_eq!(parted.snapshot(), whole.snapshot());
    }
}

#[test]
fn broken_and_foreign_snapshots_are_refused_or_empty() {
    let mut detector = Ensemble::new(&settings());
    feed(&mut detector, &batch(&lines(0..5, 9)));
    assert!(detector.restore(b"{}").is_err());
    assert_eq!(detector.state_keys(), 1);
    let bytes = detector.snapshot();
    let ensemble = EnsembleConfig { window: Period::seconds(60), ..judging_all() };
    let mut other = Ensemble::new(&DetectConfig { ensemble, ..settings() });
    other.restore(&bytes).unwrap();
    assert_eq!(other.state_keys(), 0, "windows of ten seconds are none of a minute");
}

#[test]
fn late_records_are_counted_and_silence_is_seen() {
    let mut detector = Ensemble::new(&settings());
    let line = |second| Line::new(second, "done").service("PAY");
    feed(&mut detector, &batch(&[line(90), line(100), line(95), line(110), line(89), line(105)]));
    assert_eq!(detector.counters().late, 1, "second 89 lies before the window that is still open");
    feed(&mut detector, &batch(&[line(200), line(2_000)]));
    let state = detector.keys.get_mut("default\u{1f}PAY\u{1f}").expect("known");
    assert_eq!(state.history.len(), 12, "ten to 200 and the two open then, none of the long silence");
    assert_eq!(state.open.len(), 1);
}

#[test]
fn a_lasting_level_is_learnt_anew() {
    let (mut service, mut state, config) = (Service::new(2), State::default(), judging_all());
    run(&mut state, (0..800).map(|at| service.window(at, NO_FAULT)), &config);
    let deployed = Fault { records: 4.0, latency: 2.0, ..NO_FAULT };
    let verdicts = run(&mut state, (800..1_000).map(|at| service.window(at, deployed)), &config);
    assert!((20..=32).contains(&verdicts.len()), "once a minute for half an hour: {}", verdicts.len());
    assert_eq!(state.models.as_ref().map(|_| ()), None, "it is warming up");
    let after = run(&mut state, (1_000..1_300).map(|at| service.window(at, deployed)), &config);
    assert!(state.models.is_some() && after.is_empty(), "{after:?}");
}

#[test]
fn another_choice_makes_other_models_from_the_same_windows() {
    let mut detector = Ensemble::new(&settings());
    feed(&mut detector, &batch(&lines(0..200, 999)));
    for ensemble in choices() {
        detector.reconfigure(&DetectConfig { ensemble: ensemble.clone(), ..settings() });
        let state = detector.keys.get_mut("default\u{1f}PAY\u{1f}").expect("known");
        state.rebuild(&ensemble);
        assert_eq!(state.models.as_ref().map(|models| models.choice), Some(Choice::of(&ensemble)));
    }
}

#[test]
fn metrics_are_known_by_their_names() {
    let config = settings();
    let (cpu, memory) = (&config.threshold.cpu.metrics, &config.threshold.memory.metrics);
    for (name, meaning) in [
        ("http_request_duration_seconds", Meaning::Latency(1e3)),
        ("Latency_P99_ms", Meaning::Latency(1.0)),
        ("db_latency_us", Meaning::Latency(1e-3)),
        ("cpu_usage", Meaning::Cpu(1.0)),
        ("CPU_Usage_ratio", Meaning::Cpu(100.0)),
        ("mem_used_percent", Meaning::Memory(1.0)),
        ("http_request_duration_seconds_bucket", Meaning::Other),
        ("http_request_duration_seconds_sum", Meaning::Other),
        ("queue_length", Meaning::Other),
    ] {
        assert_eq!(meaning_of(name, cpu, memory), meaning, "{name}");
    }
    let mut detector = Ensemble::new(&config);
    let sample = |second| metric(second, "PAY", "request_latency_seconds", 0.25);
    feed(
        &mut detector,
        &metrics(&[sample(0), sample(10), sample(20), metric(20, "PAY", "queue_length", 3.0)]),
    );
    let state = detector.keys.get_mut("default\u{1f}PAY\u{1f}").expect("known");
    let measured = state.history[0].measured();
    assert!((measured.levels[LATENCY] - 250_f64.ln()).abs() < 1e-5);
    assert!(measured.levels[VOLUME].is_nan(), "without log records the volume is unknown, not 0");
}

#[test]
#[ignore = "measures; run it with --ignored --nocapture"]
fn measure_cost() {
    let mut detector = Ensemble::new(&settings());
    let line = |n: i64| {
        let attributes = r#"{"method":"GET","path":"/api/pay","status":200,"user":"u123"}"#;
        Line::new(n / 10_000, "GET /api/pay done").service("PAY").attributes(attributes)
    };
    let batches: Vec<Batch> =
        (0..100).map(|n| batch(&(0..1_000).map(|k| line(n * 1_000 + k)).collect::<Vec<_>>())).collect();
    for _ in 0..5 {
        let clock = std::time::Instant::now();
        batches.iter().for_each(|batch| {
            feed(&mut detector, batch);
        });
        println!("{:.0} ns a record", clock.elapsed().as_nanos() as f64 / 100_000.0);
        detector = Ensemble::new(&settings());
    }
    let (mut service, mut state) = (Service::new(2), State::default());
    run(&mut state, (0..900).map(|at| service.window(at, NO_FAULT)), &judging_all());
    println!("{} bytes of a snapshot for a service", snapshot::encode(&state).len());
    for config in choices() {
        let mut service = Service::new(2);
        let mut usual = Usual::default();
        let windows: Vec<Measured> = (0..512)
            .map(|at| {
                let window = service.window(at, NO_FAULT);
                let measured = usual.measure(&window);
                usual.learn(&window, &measured, false);
                measured
            })
            .collect();
        let clock = std::time::Instant::now();
        let (models, mut online) = Models::fit(&windows, Choice::of(&config)).unwrap();
        let learnt = clock.elapsed();
        println!("{} nodes of 8 bytes", models.nodes());
        let clock = std::time::Instant::now();
        windows.iter().for_each(|window| {
            models.judge(window, &mut online);
        });
        let judged = clock.elapsed() / 512;
        println!("{:?}: learnt in {learnt:.1?}, judged in {judged:.1?}", models.choice.names());
    }
}

#[test]
fn history_is_learnt_from_and_not_judged() {
    let mut service = Service::new(2);
    let mut config = EnsembleConfig::default();
    let mut state = State::default();
    // A day that arrives as a whole, with a fault in it.
    let fault = Fault { error_share: 0.5, ..NO_FAULT };
    let start = EPOCH_SECONDS / WINDOW_SECONDS;
    let past = (0..2_000).map(|n| service.window(start + n, if n > 1_900 { fault } else { NO_FAULT }));
    let past: Vec<Window> = past.collect();
    assert_eq!(run(&mut state, past.into_iter(), &config), []);
    assert!(state.models.is_none() && state.history.len() == config.train_windows);
    // What comes in time finds models at once.
    config.history_after = Period(0);
    run(&mut state, std::iter::once(service.window(start + 2_000, NO_FAULT)), &config);
    assert!(state.models.is_some());
}
