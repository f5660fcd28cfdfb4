use heimdall_model::Batch;

use super::*;
use crate::rules::RuleSet;
use crate::testing::{Line, feed, logs, parse_filter};

const RULES: &str = r"
title: Encoded PowerShell
id: 11111111-0000-4000-8000-000000000001
status: test
level: high
description: PowerShell was started with an encoded command.
author: The Heimdall authors
tags: [attack.execution, attack.t1059.001]
falsepositives: [Management software]
fields: [CommandLine]
logsource: {product: windows, category: process_creation}
detection:
  selection:
    Image|endswith: '\powershell.exe'
    CommandLine|contains: ' -enc'
  condition: selection
---
title: A failed login
id: 11111111-0000-4000-8000-000000000002
name: failed_login
level: informational
logsource: {product: linux, service: sshd}
detection:
  keywords: ['Failed password for']
  condition: keywords
---
title: Many failed logins
id: 11111111-0000-4000-8000-000000000003
level: critical
correlation:
  type: event_count
  rules: [failed_login]
  group-by: [source_ip]
  timespan: 1m
  condition: {gte: 3}
---
title: Traversal
id: 11111111-0000-4000-8000-000000000004
level: medium
logsource: {category: webserver}
detection:
  selection: {cs-uri-stem|contains: '/../', sc-status: 200}
  condition: selection
";

fn detector(rules: &str) -> Sigma {
    let (rules, errors) = RuleSet::parse(&[("sigma.yml".to_owned(), rules.to_owned())], &parse_filter);
    assert_eq!(errors, []);
    Sigma::new(&DetectConfig::default(), &rules)
}

#[track_caller]
fn check(line: Line, found: &[(&str, &str)]) {
    let out = feed(&mut detector(RULES), &logs(&[line]));
    let seen: Vec<_> =
        out.verdicts.iter().map(|verdict| (verdict.title.as_str(), verdict.entity.value.as_str())).collect();
    assert_eq!(seen, found);
}

#[test]
fn the_same_rule_reads_every_shippers_fields() {
    let plain = r#"{"Channel":"Microsoft-Windows-Sysmon/Operational","EventID":1,"Image":"C:\\Windows\\PowerShell.exe","CommandLine":"powershell -EnC aaaa"}"#;
    let winlogbeat = r#"{"winlog":{"channel":"Security","event_id":4688},"process":{"executable":"C:\\x\\powershell.exe","command_line":"powershell -enc b"}}"#;
    let event_data = r#"{"winlog":{"channel":"Microsoft-Windows-Sysmon/Operational","event_id":"1","event_data":{"Image":"\\powershell.exe","CommandLine":"p -enc"}}}"#;
    for json in [plain, winlogbeat, event_data] {
        check(Line::new(0, "").host("ws7").attributes(json), &[("Encoded PowerShell", "ws7")]);
    }
    let other_source = plain.replace("EventID\":1", "EventID\":3");
    check(Line::new(0, "").host("ws7").attributes(&other_source), &[]);
}

#[test]
fn requests_are_a_webserver() {
    let json = r#"{"method":"GET","path":"/a/../etc/passwd","status":200}"#;
    check(Line::new(0, "GET").source_ip("203.0.113.9").attributes(json), &[("Traversal", "203.0.113.9")]);
    check(Line::new(0, "GET").attributes(&json.replace("200", "404")), &[]);
}

fn failures(seconds: std::ops::Range<i64>) -> Batch {
    let line = |second| {
        Line::new(second, "Failed password for root from 203.0.113.9")
            .service("sshd")
            .source_ip("203.0.113.9")
    };
    logs(&seconds.map(line).collect::<Vec<_>>())
}

#[test]
fn quiet_rules_feed_correlations_which_outlive_a_restart() {
    let (mut whole, mut halves) = (detector(RULES), detector(RULES));
    let (first, second) = (failures(0..2), failures(2..4));
    let mut expected = feed(&mut whole, &first).verdicts;
    assert_eq!(expected, []);
    expected.extend(feed(&mut whole, &second).verdicts);
    feed(&mut halves, &first);
    let mut restarted = detector(RULES);
    restarted.restore(&halves.snapshot()).expect("reads what it wrote");
    assert_eq!(feed(&mut restarted, &second).verdicts, expected);
    assert_eq!(restarted.snapshot(), whole.snapshot());
    let [verdict] = &expected[..] else { panic!("one alert: {expected:?}") };
    assert_eq!((verdict.title.as_str(), verdict.severity), ("Many failed logins", Severity::Critical));
    assert_eq!((verdict.entity.kind.as_str(), verdict.entity.value.as_str()), ("source_ip", "203.0.113.9"));
    assert_eq!(verdict.evidence.len(), 3);
    assert!(verdict.summary.contains("3 in 3 matches"), "{}", verdict.summary);
}

#[test]
fn what_does_not_load_is_named_and_the_rest_works() {
    let broken = format!(
        "{RULES}---\ntitle: broken\nid: b\nlogsource: {{}}\ndetection: {{x: {{a: 1}}, condition: y}}\n"
    );
    let files = [("sigma.yml".to_owned(), broken)];
    let (rules, errors) = RuleSet::parse(&files, &parse_filter);
    assert_eq!(rules.sigma().len(), 3);
    assert!(errors.len() == 1 && errors[0].to_string().starts_with("sigma.yml:"), "{errors:?}");
}

#[test]
fn a_pipeline_in_the_folder_maps_fields() {
    let pipeline = "name: ours\ntransformations:\n  - {id: a, type: field_name_mapping, mapping: {CommandLine: cmd, Image: bin}}\n";
    let files = [("p.yml".to_owned(), pipeline.to_owned()), ("sigma.yml".to_owned(), RULES.to_owned())];
    let (rules, errors) = RuleSet::parse(&files, &parse_filter);
    assert_eq!(errors, []);
    let mut sigma = Sigma::new(&DetectConfig::default(), &rules);
    let json = r#"{"logsource":{"product":"windows","category":"process_creation"},"bin":"\\powershell.exe","cmd":"p -enc"}"#;
    assert_eq!(feed(&mut sigma, &logs(&[Line::new(0, "").attributes(json)])).verdicts.len(), 1);
}

/// The rules of the product on Windows logons, one a second.
fn windows(logons: impl Iterator<Item = (u16, String)>) -> Vec<String> {
    let files: Vec<_> =
        crate::testing::rule_pack().into_iter().filter(|(name, _)| name == "windows.yaml").collect();
    let (rules, errors) = RuleSet::parse(&files, &parse_filter);
    assert_eq!(errors, []);
    let mut sigma = Sigma::new(&DetectConfig::default(), &rules);
    let lines: Vec<Line> = (0..)
        .zip(logons)
        .map(|(second, (id, user))| {
            let json = format!(
                r#"{{"winlog":{{"channel":"Security","event_id":{id},"computer_name":"DC-1","event_data":{{"LogonType":3,"TargetUserName":"{user}","IpAddress":"192.0.2.7"}}}}}}"#
            );
            Line::new(second, "").attributes(&json)
        })
        .collect();
    let found = feed(&mut sigma, &logs(&lines)).verdicts;
    found.into_iter().map(|verdict| format!("{} {}", verdict.rule, verdict.entity.value)).collect()
}

#[test]
fn windows_logons_are_guessed_sprayed_and_succeed() {
    let bob = |id| (id, "bob".to_owned());
    let guessed = (0..7).map(|_| bob(4625)).chain([bob(4624)]);
    assert_eq!(windows(guessed), ["hd-windows-guessed bob 192.0.2.7"]);
    let stuck = (0..60).map(|_| bob(4625));
    assert_eq!(windows(stuck), ["hd-windows-bruteforce bob DC-1"]);
    let sprayed = (0..12).map(|n| (4625, format!("user{n}")));
    assert_eq!(windows(sprayed), ["hd-windows-spraying 192.0.2.7"]);
    let usual = (0..50).map(|n| bob(if n % 20 == 0 { 4625 } else { 4624 }));
    assert_eq!(windows(usual), [] as [String; 0]);
}
