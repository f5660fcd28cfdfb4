use std::collections::{BTreeMap, BTreeSet};

use heimdall_model::schema::logs;
use heimdall_model::{Batch, BatchBuilder, Position, Tenant};
use proptest::prelude::*;

use super::*;
use crate::testing::{Line, feed, logs as batch_of};

fn failed(second: i64, user: &str, source: &str) -> Line {
    Line::new(second, &format!("Failed password for {user} from {source} port 22 ssh2")).service("sshd")
}

fn found(lines: &[Line]) -> Vec<String> {
    let out = feed(&mut Auth::new(&DetectConfig::default()), &batch_of(lines));
    let show = |v: &Verdict| format!("{} @{} {}", v.rule, v.position.0 & 0xff_ffff, v.summary);
    out.verdicts.iter().map(show).collect()
}

#[track_caller]
fn check(lines: &[Line], expected: &[&str]) {
    assert_eq!(found(lines), expected);
}

#[test]
fn five_in_a_minute_ends_included() {
    let at = |seconds: [i64; 5]| seconds.map(|second| failed(second, "root", "10.0.0.1"));
    check(
        &at([0, 10, 20, 30, 60]),
        &["auth.bruteforce.source @4 5 failed logins from 10.0.0.1 for one user within 60 s (limit 5 in 1m)"],
    );
    check(&at([0, 10, 20, 30, 61]), &[]);
    let repeated = "message repeated 4 times: [ Failed password for root from 10.0.0.1 port 22 ssh2]";
    check(
        &[failed(0, "root", "10.0.0.1"), Line::new(9, repeated)],
        &["auth.bruteforce.source @1 5 failed logins from 10.0.0.1 for one user within 9 s (limit 5 in 1m)"],
    );
}

#[test]
fn a_burst_that_goes_on_is_told_once_a_minute() {
    let lines: Vec<Line> = (0..130).map(|second| failed(second, "root", "10.0.0.1")).collect();
    check(
        &lines,
        &[
            "auth.bruteforce.source @4 5 failed logins from 10.0.0.1 for one user within 4 s (limit 5 in 1m)",
            "auth.bruteforce.source @64 61 failed logins from 10.0.0.1 for one user within 60 s (limit 5 in 1m)",
            "auth.bruteforce.source @124 61 failed logins from 10.0.0.1 for one user within 60 s (limit 5 in 1m)",
        ],
    );
}

#[test]
fn reports_of_pam_and_of_the_service_are_not_added_up() {
    let pam = |second, source: &str| {
        Line::new(
            second,
            &format!("dovecot(pam_unix)[1]: authentication failure; logname= rhost={source}  user=eve"),
        )
    };
    let both = |count| -> Vec<Line> {
        (0..count).flat_map(|n| [pam(n, "10.0.0.1"), failed(n, "eve", "10.0.0.1")]).collect()
    };
    check(&both(4), &[]);
    assert_eq!(found(&both(5)).len(), 1);
    assert_eq!(found(&(0..5).map(|n| pam(n, "10.0.0.2")).collect::<Vec<_>>()).len(), 1);
}

/// A tenant that fails from more sources, for more users, than a detector keeps must not hide another's burst.
#[test]
fn a_tenants_flood_of_keys_does_not_hide_anothers_burst() {
    let mut config = DetectConfig::default();
    config.auth.limits.keys_max = 20_000;
    let mut detector = Auth::new(&config);
    let judge = |detector: &mut Auth, tenant: &str, lines: &[Line]| {
        let (tenant, batch, mut out) = (Tenant::new(tenant).unwrap(), batch_of(lines), Findings::default());
        detector.observe(&Observed { tenant: &tenant, batch: &batch }, &mut out);
        out.verdicts.into_iter().map(|v| v.summary).collect::<Vec<_>>()
    };
    let four = |start| (start..start + 4).map(|n| failed(n, "root", "10.0.0.1")).collect::<Vec<_>>();
    let flood: Vec<Line> = (0..45_000_u32)
        .map(|n| failed(5, &format!("u{n}"), &std::net::Ipv4Addr::from(0x0b00_0000 + n).to_string()))
        .collect();
    assert!(judge(&mut detector, "victim", &four(0)).is_empty());
    assert!(judge(&mut detector, "attacker", &flood).is_empty());
    assert_eq!(detector.state_keys(), 40_000);

    let mut restored = Auth::new(&config);
    restored.restore(&detector.snapshot()).unwrap();
    for detector in [&mut detector, &mut restored] {
        let expected = "5 failed logins from 10.0.0.1 for one user within 10 s (limit 5 in 1m)";
        assert_eq!(judge(detector, "victim", &four(10)), [expected]);
        assert!(judge(detector, "attacker", &flood[..100]).is_empty());
    }
    assert_eq!(restored.snapshot(), detector.snapshot());
}

#[test]
fn one_user_from_many_sources_and_without_a_source() {
    let spread: Vec<Line> = (0..5).map(|n| failed(n, "root", &format!("10.0.0.{n}"))).collect();
    check(
        &spread,
        &["auth.bruteforce.user @4 5 failed logins of root from 5 sources within 4 s (limit 5 in 1m)"],
    );
    let event = r#"{"outcome":"failure","action":"login","user":"eve"}"#;
    let local: Vec<Line> = (0..5).map(|n| Line::new(n, "x").attributes(event)).collect();
    check(&local, &["auth.bruteforce.user @4 5 failed logins of eve within 4 s (limit 5 in 1m)"]);
}

#[test]
fn spraying_is_slow() {
    let lines: Vec<Line> = (0..5).map(|n| failed(n * 150, &format!("user{n}"), "10.0.0.1")).collect();
    check(
        &lines,
        &["auth.spray.source @4 5 users failed to log in from 10.0.0.1 within 600 s (limit 5 in 10m)"],
    );
}

#[test]
fn success_counts_only_after_a_finding_and_soon() {
    let accepted = |second, source: &str| {
        Line::new(second, &format!("Accepted password for root from {source} port 22 ssh2"))
    };
    let burst = || (0..5).map(|n| failed(n, "root", "10.0.0.1"));
    let found_at = |second| found(&burst().chain([accepted(second, "10.0.0.1")]).collect::<Vec<_>>());
    assert_eq!(
        found_at(604).last().map(String::as_str),
        Some(
            "auth.success_after_bruteforce @5 root logged in from 10.0.0.1 after 5 failed logins from there within 10m"
        )
    );
    assert_eq!(found_at(605).len(), 1);
    check(&[failed(0, "root", "10.0.0.2"), accepted(1, "10.0.0.2")], &[]);
}

#[test]
fn what_is_too_late_is_counted_and_the_future_moves_nothing() {
    let mut detector = Auth::new(&DetectConfig::default());
    let mut lines: Vec<Line> = (0..4).map(|n| failed(n, "root", "10.0.0.1")).collect();
    lines.push(failed(700, "root", "10.0.0.1"));
    lines.push(failed(5, "root", "10.0.0.1"));
    assert!(feed(&mut detector, &batch_of(&lines)).verdicts.is_empty());
    assert_eq!(detector.counters().late, 1);
    let far = failed(1_000_000, "root", "10.0.0.9");
    feed(&mut detector, &batch_of(&[far]));
    assert_eq!(detector.counters().ahead, 1);
}

fn sources(lines: &[Line]) -> BTreeSet<String> {
    let out = feed(&mut Auth::new(&DetectConfig::default()), &batch_of(lines));
    let bursts = out.verdicts.into_iter().filter(|verdict| verdict.rule == "auth.bruteforce.source");
    bursts.map(|verdict| verdict.entity.value).collect()
}

proptest! {
    /// Within the lateness, the order of arrival does not decide which sources are found.
    #[test]
    fn order_within_the_lateness_does_not_matter(
        events in proptest::collection::vec((0..600_i64, 0..4_u8), 0..60),
        order in any::<prop::sample::Index>(),
    ) {
        let line = |(second, source): &(i64, u8)| failed(*second, "root", &format!("10.0.0.{source}"));
        let mut in_order = events.clone();
        in_order.sort_unstable();
        let mut out_of_order = events;
        if !out_of_order.is_empty() {
            let by = order.index(out_of_order.len());
            out_of_order.rotate_left(by);
        }
        let expected: BTreeSet<String> = naive(&in_order);
        prop_assert_eq!(&sources(&in_order.iter().map(line).collect::<Vec<_>>()), &expected);
        prop_assert_eq!(&sources(&out_of_order.iter().map(line).collect::<Vec<_>>()), &expected);
    }
}

/// Sources with five failures in some minute, by definition.
fn naive(events: &[(i64, u8)]) -> BTreeSet<String> {
    let in_window = |first: &(i64, u8)| {
        let inside = |event: &&(i64, u8)| event.1 == first.1 && (first.0..=first.0 + 60).contains(&event.0);
        events.iter().filter(inside).count()
    };
    events
        .iter()
        .filter(|first| in_window(first) >= 5)
        .map(|(_, source)| format!("10.0.0.{source}"))
        .collect()
}

/// Lines of a syslog file as one batch, one row a line.
fn syslog(text: &str) -> Batch {
    let now = Timestamp::parse("2018-01-01T00:00:00Z").unwrap();
    let mut builder = BatchBuilder::new(Dataset::Logs, now);
    for line in text.lines() {
        let (time, _) = line.split_at(15.min(line.len()));
        let time = Timestamp::parse_with(time, now).unwrap_or(now);
        builder.set_int(logs::TIMESTAMP, time.0);
        builder.set_text(logs::MESSAGE, line);
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position(1); // so that positions are line numbers
    batch
}

/// The labelled files of the auth_attacks data set: `HEIMDALL_DATA=<folder> cargo test -- --ignored labelled`.
#[test]
#[ignore = "needs the auth_attacks data set in the folder HEIMDALL_DATA"]
fn labelled_logs_are_judged_exactly() {
    let folder = std::path::PathBuf::from(std::env::var("HEIMDALL_DATA").unwrap()).join("auth_attacks");
    let labels: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("labels.json")).unwrap()).unwrap();
    for (file, label) in labels.as_object().unwrap() {
        let text = String::from_utf8_lossy(&std::fs::read(folder.join(file)).unwrap()).into_owned();
        let out = feed(&mut Auth::new(&DetectConfig::default()), &syslog(&text));
        let mut first: BTreeMap<String, u64> = BTreeMap::new();
        for verdict in out.verdicts.iter().filter(|verdict| verdict.rule == "auth.bruteforce.source") {
            first.entry(verdict.entity.value.clone()).or_insert(verdict.position.0);
        }
        let wanted: BTreeMap<String, u64> = label["brute_force_sources"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(source, about)| (source.clone(), about["first_alert_line"].as_u64().unwrap()))
            .collect();
        assert_eq!(first, wanted, "{file}");
        let lines = |rule: &str| -> Vec<u64> {
            out.verdicts.iter().filter(|v| v.rule == rule).map(|v| v.position.0).collect()
        };
        let wanted: Vec<u64> = label["success_after_brute_force"]
            .as_array()
            .unwrap()
            .iter()
            .map(|success| success["line"].as_u64().unwrap())
            .collect();
        assert_eq!(lines("auth.success_after_bruteforce"), wanted, "{file}");
        assert_eq!(lines("auth.spray.source"), Vec::<u64>::new(), "{file}");
    }
}
