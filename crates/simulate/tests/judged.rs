//! The world before the judge: ordinary life raises nothing, and every incident is found.

use std::sync::Arc;
use std::time::Duration;

use heimdall_detect::{DetectConfig, Findings, Judge, RuleSet};
use heimdall_ingest::{DecodeLimits, json};
use heimdall_journal::disk::OsDisk;
use heimdall_model::{Dataset, Position, Severity, Tenant, Timestamp, Verdict};
use heimdall_query::search;
use heimdall_simulate::{BenchLines, Event, Incident, Scenario, World, WorldConfig};
use heimdall_store::{Store, StoreConfig};
use tempfile::TempDir;

/// 2026-02-09 20:25:01 UTC, a Monday: the busiest hour is just over.
const START_NS: i64 = 1_770_668_701_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;
/// What is shipped at once.
const DELIVERY_NS: i64 = 5 * SECOND_NS;
/// So long after an incident its windows may still speak.
const ECHO_NS: i64 = 90 * SECOND_NS;

/// A judge with its default configuration and the rules that come with it, who hears records with their templates.
struct Court {
    judge: Judge,
    store: Store,
    _folder: TempDir,
    sequence: u64,
    verdicts: Vec<Verdict>,
    assessments: usize,
    anomalous: usize,
}

impl Court {
    fn new() -> Court {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules");
        let entries = std::fs::read_dir(folder)
            .expect("the folder of rules")
            .map(|entry| entry.expect("an entry").path());
        let files: Vec<_> = entries
            .map(|path| (path.display().to_string(), std::fs::read_to_string(path).expect("a rule file")))
            .collect();
        let (rules, errors) = RuleSet::parse(&files, &|line, dataset| {
            search::parse_filter(line, dataset, Timestamp::default())
                .map_err(|error| error.to_string().into())
        });
        assert!(errors.is_empty() && !rules.rules().is_empty(), "{errors:?}");
        let judge = Judge::new(DetectConfig::default(), rules);
        let folder = TempDir::new().expect("a folder");
        let store = Store::open(Arc::new(OsDisk), folder.path(), StoreConfig::default()).expect("opens");
        Court {
            judge,
            store,
            _folder: folder,
            sequence: 0,
            verdicts: Vec::new(),
            assessments: 0,
            anomalous: 0,
        }
    }

    fn hear(&mut self, dataset: Dataset, lines: &[u8], now_ns: i64) {
        if lines.is_empty() {
            return;
        }
        let decoded =
            json::decode(dataset, lines, Timestamp(now_ns), &DecodeLimits::default()).expect("NDJSON");
        assert_eq!(decoded.rejected_total(), 0);
        let mut batch = decoded.batch;
        self.sequence += 1;
        batch.base = Position::new(self.sequence, 0);
        self.store.assign_templates(&Tenant::default(), &mut batch);
        let mut findings = Findings::default();
        self.judge.observe(&Tenant::default(), &batch, &mut findings);
        self.assessments += findings.assessments.len();
        self.anomalous +=
            findings.assessments.iter().filter(|found| found.severity != Severity::Normal).count();
        self.verdicts.extend(findings.verdicts);
    }

    /// Hears everything a world says in its first seconds, as a shipper would send it.
    fn attend(&mut self, world: &mut World, seconds: i64) {
        let end_ns = START_NS + seconds * SECOND_NS;
        while world.now_ns() < end_ns {
            let now_ns = (world.now_ns() + DELIVERY_NS).min(end_ns);
            let (mut logs, mut metrics) = (Vec::new(), Vec::new());
            world.advance(now_ns, &mut |event| {
                let lines = if matches!(event, Event::Log(_)) { &mut logs } else { &mut metrics };
                event.write_json(lines);
                lines.push(b'\n');
            });
            self.hear(Dataset::Logs, &logs, now_ns);
            self.hear(Dataset::Metrics, &metrics, now_ns);
        }
    }
}

fn told(verdict: &Verdict) -> String {
    let second = (verdict.time.0 - START_NS) / SECOND_NS;
    format!(
        "{second} s: {} {} {} | {}",
        verdict.severity, verdict.rule, verdict.entity.value, verdict.summary
    )
}

fn is_about(verdict: &Verdict, incident: &Incident) -> bool {
    let service = incident.service.name();
    let named = verdict.entity.value == incident.entity || verdict.service.as_deref() == Some(service);
    named && incident.expected_rules.iter().any(|rule| verdict.rule.starts_with(rule))
}

fn is_during(verdict: &Verdict, incident: &Incident) -> bool {
    (incident.start_ns..incident.end_ns + ECHO_NS).contains(&verdict.time.0)
}

#[test]
fn an_ordinary_hour_raises_nothing() {
    for seed in [1, 42] {
        let mut court = Court::new();
        court.attend(&mut World::new(&WorldConfig::new(seed, START_NS)).expect("the test's own data"), 3_900);
        let verdicts: Vec<String> = court.verdicts.iter().map(told).collect();
        assert!(verdicts.is_empty(), "{} verdicts\n{}", verdicts.len(), verdicts.join("\n"));
        assert!(court.anomalous * 20 < court.assessments, "{} of {}", court.anomalous, court.assessments);
    }
}

#[test]
fn every_incident_is_found_and_little_else() {
    const PAST: Duration = Duration::from_secs(20 * 60);
    let scenario = Scenario::demo().delayed(PAST);
    let mut world =
        World::new(&WorldConfig { scenario, ..WorldConfig::new(42, START_NS) }).expect("the test's own data");
    let mut court = Court::new();
    court.attend(&mut world, 1_200 + 300);
    for incident in world.incidents() {
        let found = court.verdicts.iter().find(|v| is_about(v, incident) && is_during(v, incident));
        assert!(
            found.is_some(),
            "{incident:?}\n{}",
            court.verdicts.iter().map(told).collect::<Vec<_>>().join("\n")
        );
    }
    let calm = |verdict: &&Verdict| !world.incidents().iter().any(|incident| is_during(verdict, incident));
    let wrong: Vec<String> = court.verdicts.iter().filter(calm).map(told).collect();
    assert!(
        wrong.len() * 20 < court.verdicts.len(),
        "{} of {}\n{}",
        wrong.len(),
        court.verdicts.len(),
        wrong.join("\n")
    );
}

/// A quiet week, and what happens after it: how often people would have been called for nothing, and whether they are called.
#[test]
#[ignore = "a measurement of some minutes: cargo test --release --workspace --test judged -- --ignored --nocapture"]
fn a_quiet_week_and_then_the_incidents() {
    const WEEK_S: i64 = 7 * 86_400;
    let scenario = Scenario::demo().delayed(Duration::from_secs(WEEK_S.unsigned_abs()));
    let mut world =
        World::new(&WorldConfig { scenario, ..WorldConfig::new(7, START_NS) }).expect("the test's own data");
    let mut court = Court::new();
    court.attend(&mut world, WEEK_S + 600);
    let (before, after): (Vec<_>, Vec<_>) =
        court.verdicts.iter().partition(|verdict| verdict.time.0 < START_NS + WEEK_S * SECOND_NS);
    let mut kinds = std::collections::BTreeMap::<_, u32>::new();
    for verdict in &before {
        *kinds.entry((verdict.rule.clone(), verdict.severity)).or_default() += 1;
    }
    let share = court.anomalous as f64 / court.assessments as f64;
    println!("quiet week: {} verdicts {kinds:?}; {share:.4} of {} values", before.len(), court.assessments);
    before.iter().take(40).for_each(|verdict| println!("  {}", told(verdict)));
    let found = |incident: &&Incident| after.iter().any(|v| is_about(v, incident) && is_during(v, incident));
    let missed: Vec<_> = world.incidents().iter().filter(|incident| !found(incident)).collect();
    println!("{} incidents, missed: {missed:?}", world.incidents().len());
    for status in court.judge.status() {
        println!(
            "{}: {} keys, {} verdicts of {}",
            status.name, status.keys, status.verdicts, status.evaluated
        );
    }
    assert!(missed.is_empty() && share < 0.05);
}

/// At 17 lines a second, as ten million lines of one week have.
#[test]
fn bench_lines_are_no_storm() {
    const SPAN_NS: i64 = 2_400 * SECOND_NS;
    let mut lines = BenchLines::new(1, START_NS, SPAN_NS, 40_000);
    let mut court = Court::new();
    let mut body = Vec::new();
    while lines.fill(1_000, &mut body) > 0 {
        court.hear(Dataset::Logs, &body, START_NS + SPAN_NS);
        body.clear();
    }
    let verdicts: Vec<String> = court.verdicts.iter().map(told).collect();
    assert!(verdicts.is_empty(), "{} verdicts\n{}", verdicts.len(), verdicts.join("\n"));
}
