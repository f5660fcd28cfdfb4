use heimdall_model::{Batch, Level, Severity, Tenant};

use super::*;
use crate::rules::RuleSet;
use crate::testing::{Line, logs, metric, metrics, parse_filter, rule_pack};

fn judge() -> Judge {
    let (rules, errors) = RuleSet::parse(&rule_pack(), &parse_filter);
    assert_eq!(errors, []);
    Judge::new(DetectConfig::default(), rules)
}

fn observe(judge: &mut Judge, batches: &[Batch]) -> Findings {
    let mut out = Findings::default();
    batches.iter().for_each(|batch| judge.observe(&Tenant::default(), batch, &mut out));
    out
}

/// Ten minutes of a small company with a brute force, an error burst, a climb of the CPU and a flood.
fn story() -> Vec<Batch> {
    let mut batches = Vec::new();
    for minute in 0..10_i64 {
        let (mut lines, mut samples) = (Vec::new(), Vec::new());
        for second in minute * 60..minute * 60 + 60 {
            for n in 0..3 {
                let broken = minute == 6 && n > 0;
                let level = if broken { Level::Error } else { Level::Info };
                lines.push(Line::new(second, "order placed").service("PAYMENT-GATEWAY").level(level));
            }
            let burst = if (300..310).contains(&second) { 1 } else { 0 };
            for _ in 0..burst {
                let text = "Failed password for root from 203.0.113.9 port 22 ssh2";
                lines.push(Line::new(second, text).service("sshd").host("bastion"));
            }
            let cpu = if minute >= 8 { 99.5 } else { 30.0 + (second % 7) as f64 };
            samples.push(metric(second, "CORE-DB", "cpu_usage", cpu));
        }
        batches.push(logs(&lines));
        batches.push(metrics(&samples));
    }
    let flood: Vec<_> = (0..2_500).map(|_| metric(600, "EDGE-LOAD-BALANCER", "requests", 9999.0)).collect();
    batches.push(metrics(&flood));
    batches
}

fn rules_found(out: &Findings) -> Vec<&str> {
    let mut rules: Vec<&str> = out.verdicts.iter().map(|verdict| verdict.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[test]
fn the_story_is_told_whole() {
    let mut judge = judge();
    let out = observe(&mut judge, &story());
    assert_eq!(
        rules_found(&out),
        ["auth.bruteforce.source", "error_rate.service", "flood.volume", "threshold.cpu", "zscore.cpu_usage"]
    );
    assert_eq!(out.assessments.len(), 600 + 2_500);
    let status: Vec<_> = judge.status().iter().map(|s| (s.name, s.enabled, s.verdicts > 0)).collect();
    assert_eq!(
        status,
        [
            ("zscore", true, true),
            ("flood", true, true),
            ("threshold", true, true),
            ("availability", true, false),
            ("auth", true, true),
            ("error-rate", true, true),
            ("web", true, false),
            ("scan", true, false),
            ("templates", true, false),
            ("ensemble", true, false),
            ("baseline", false, false),
            ("signature", true, false),
            ("sigma", true, false),
        ]
    );
    for verdict in &out.verdicts {
        assert!((0.0..=1.0).contains(&verdict.score) && !verdict.mitigation.is_empty(), "{verdict:?}");
        assert!(!verdict.evidence.is_empty() && verdict.summary.contains(|c: char| c.is_ascii_digit()));
    }
}

#[test]
fn a_restored_judge_goes_on_as_the_first_would_and_replay_repeats_itself() {
    let story = story();
    for cut in [0, 7, 11, 16, story.len()] {
        let mut first = judge();
        observe(&mut first, &story[..cut]);
        let snapshot = first.snapshot();
        let mut second = judge();
        second.restore(&snapshot).unwrap();
        assert_eq!(second.snapshot(), snapshot, "cut {cut}");
        assert_eq!(observe(&mut second, &story[cut..]), observe(&mut first, &story[cut..]), "cut {cut}");
        assert_eq!(second.snapshot(), first.snapshot(), "cut {cut}");
    }
    assert_eq!(observe(&mut judge(), &story), observe(&mut judge(), &story));
}

#[test]
fn broken_snapshots_are_refused() {
    let mut judge = judge();
    let good = judge.snapshot();
    for bad in [&b""[..], b"HDJ2", &good[..good.len() - 1]] {
        assert!(judge.restore(bad).is_err(), "{}", bad.len());
    }
    let other = String::from_utf8(good).unwrap().replace("\"version\":1", "\"version\":9");
    let error = judge.restore(other.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "snapshot has version 9, this program reads 1");
}

/// An event of a web firewall, as `POST /ingest` decodes it.
#[test]
fn an_event_of_a_firewall_alerts() {
    let line = Line::new(0, "Multiple failed logins detected; possible brute force")
        .service("web-firewall")
        .source_ip("203.0.113.5");
    let out = observe(&mut judge(), &[logs(&[line])]);
    let [verdict] = &out.verdicts[..] else { panic!("{:?}", out.verdicts) };
    assert_eq!((verdict.entity.kind.as_str(), verdict.entity.value.as_str()), ("source_ip", "203.0.113.5"));
    assert_eq!((verdict.severity, verdict.detector.as_str()), (Severity::Critical, "signature"));
}

#[test]
fn a_disabled_detector_is_silent_and_reconfiguring_keeps_what_was_learnt() {
    let mut judge = judge();
    let story = story();
    observe(&mut judge, &story[..10]);
    let mut config = DetectConfig::default();
    config.auth.enabled = false;
    config.zscore.statistical_threshold_multiplier = 1e9;
    config.zscore.warning_multiplier = 1e9;
    judge.reconfigure(config);
    let out = observe(&mut judge, &story[10..]);
    assert_eq!(rules_found(&out), ["error_rate.service", "flood.volume", "threshold.cpu"]);
    judge.reconfigure(DetectConfig::default());
    let jump = metrics(&[metric(700, "CORE-DB", "cpu_usage", 1_000.0)]);
    assert_eq!(observe(&mut judge, &[jump]).assessments[0].severity, Severity::Critical);
}

/// A detector of one's own: finds nothing, counts batches.
struct Counting(u64);

impl Detector for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }
    fn observe(&mut self, batch: &Observed<'_>, _out: &mut Findings) {
        self.0 += batch.batch.rows() as u64;
    }
    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }
    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let bytes = bytes.try_into().map_err(|_| SnapshotError::Broken { detail: "8 bytes".to_owned() })?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
    fn state_keys(&self) -> usize {
        usize::try_from(self.0).unwrap()
    }
}

#[test]
fn a_detector_from_elsewhere_takes_part() {
    let mut first = judge();
    first.add(Box::new(Counting(0)));
    observe(&mut first, &[logs(&[Line::new(0, "a"), Line::new(1, "b")])]);
    let mut second = judge();
    second.add(Box::new(Counting(0)));
    second.restore(&first.snapshot()).unwrap();
    let status = second.status();
    let counting = status.iter().find(|status| status.name == "counting");
    assert_eq!(counting.map(|status| status.keys), Some(2));
}

#[test]
fn tenants_do_not_share_state() {
    let mut judge = judge();
    let failed = |second| {
        logs(&[Line::new(second, "Failed password for root from 10.0.0.1 port 22 ssh2").service("sshd")])
    };
    let mut out = Findings::default();
    for (second, tenant) in (0..8).zip(["a", "b"].iter().cycle()) {
        judge.observe(&Tenant::new(tenant).unwrap(), &failed(second), &mut out);
    }
    assert!(out.verdicts.is_empty());
}

/// Cost of all default detectors on a mix of messages, with the rule pack: run in release, alone on the machine.
#[test]
#[ignore = "a measurement: cargo test --release -p heimdall-detect -- --ignored --nocapture cost"]
fn cost_per_record() {
    const ROWS: i64 = 200_000;
    let messages = [
        "GET /api/v1/orders/8813 200 12ms user=4411 cache=hit upstream=core-db-3",
        "10.2.3.4 - - [09/Feb/2026:20:25:01 +0000] \"GET /static/app.js HTTP/1.1\" 200 48211 \"-\" \"Mozilla/5.0 (X11; Linux)\"",
        "connection pool stats active=12 idle=30 waiting=0 acquired=118231 released=118219",
        "user 8812 added item 991 to cart 771 in 4.2 ms",
        "Accepted publickey for deploy from 10.1.1.9 port 51522 ssh2: RSA SHA256:abc",
    ];
    let line = |n: i64| {
        let at = usize::try_from(n).unwrap();
        Line::new(n / 1_000, messages[at % messages.len()])
            .service(["AUTH-API", "CORE-DB", "PAYMENT-GATEWAY", "EDGE"][at / 100 % 4])
            .level(if n % 50 == 0 { Level::Error } else { Level::Info })
            .attributes(r#"{"http":{"method":"GET","path":"/api/v1/orders"},"status":200,"pod":"api-77f"}"#)
    };
    // Time goes on from round to round.
    let mut next = 0;
    let mut cost = |judge: &mut Judge| {
        let lines: Vec<Line> = (next..next + ROWS).map(line).collect();
        next += ROWS;
        let batches: Vec<Batch> = lines.chunks(5_000).map(logs).collect();
        let start = std::time::Instant::now();
        let out = observe(judge, &batches);
        (start.elapsed().as_nanos() / u128::try_from(ROWS).unwrap(), out.verdicts.len())
    };
    let mut judge = judge();
    for round in 0..3 {
        let (ns, verdicts) = cost(&mut judge);
        println!("round {round}: {ns} ns a record, {verdicts} verdicts");
    }
    let names: Vec<_> = judge.status().into_iter().filter(|status| status.enabled).map(|d| d.name).collect();
    for name in names {
        judge.reconfigure(only(name));
        cost(&mut judge);
        println!("{name} alone: {} ns a record", cost(&mut judge).0);
    }
}

/// The default configuration with one detector switched on.
fn only(name: &str) -> DetectConfig {
    let mut config = serde_json::to_value(DetectConfig::default()).unwrap();
    for (key, section) in config.as_object_mut().unwrap() {
        if let Some(enabled) = section.get_mut("enabled") {
            *enabled = serde_json::Value::Bool(*key == name.replace('-', "_"));
        }
    }
    serde_json::from_value(config).unwrap()
}

#[test]
fn what_is_in_rehearsal_is_counted_and_raises_nothing() {
    let (rules, _) = RuleSet::parse(&rule_pack(), &parse_filter);
    let dry_run = vec!["flood".to_owned(), "auth.bruteforce.source".to_owned()];
    let mut rehearsing = Judge::new(DetectConfig { dry_run, ..DetectConfig::default() }, rules);
    let out = observe(&mut rehearsing, &story());
    assert_eq!(rules_found(&out), ["error_rate.service", "threshold.cpu", "zscore.cpu_usage"]);
    let mut rehearsed: Vec<_> = out.rehearsed.iter().map(|verdict| verdict.rule.as_str()).collect();
    rehearsed.dedup();
    assert_eq!(rehearsed, ["auth.bruteforce.source", "flood.volume"]);
    let status = rehearsing.status();
    let of = |name| status.iter().find(|detector| detector.name == name).expect("is there");
    assert_eq!(of("flood").verdicts, of("flood").rehearsed);
    assert_eq!((of("auth").rehearsed, of("zscore").rehearsed), (1, 0));
}
