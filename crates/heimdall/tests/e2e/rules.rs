//! Rules are data: read from a folder, and again when it changes.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{alert_about, heimdall, server};

const GOOD: &str = r#"id: shop.coupon.guessing
title: Coupons are guessed
description: Somebody tries coupon codes one after another.
severity: warning
when: '"invalid coupon"'
mitigation:
  - Ask for a captcha after the third wrong code
tests:
  match:
    - invalid coupon FREE1
  no_match:
    - coupon FREE1 accepted
"#;
const BROKEN: &str = "id: shop.broken\ntitle: Broken\nseverity: enormous\nwhen: '(unclosed'\n";

fn rule(page: &Value, id: &str) -> Option<Value> {
    page["items"].as_array()?.iter().find(|rule| rule["id"] == id).cloned()
}

#[test]
fn a_rule_file_put_into_the_folder_works_at_once_and_a_broken_one_is_named() {
    let dir = tempdir().expect("a folder");
    let server = server().arg("--rules-dir").arg(dir.path().as_os_str()).start();
    let rules = |server: &heimdall_testkit::Server| server.get_json("/api/v1/rules?limit=1000");
    assert!(rule(&rules(&server), "auth.bruteforce.wording").is_some(), "the built-in rules are there");
    assert!(rule(&rules(&server), "shop.coupon.guessing").is_none());

    std::fs::write(dir.path().join("broken.yaml"), BROKEN).expect("a file");
    std::fs::write(dir.path().join("shop.yaml"), GOOD).expect("a file");
    server.wait_for("the new rule", |server| rule(&rules(server), "shop.coupon.guessing"));
    let status = server.wait_for("the fault to be named", |server| {
        let status = server.get_json("/api/v1/status");
        status["rule_faults"].as_array().is_some_and(|faults| !faults.is_empty()).then_some(status)
    });
    let fault = &status["rule_faults"][0];
    assert!(fault["file"].as_str().is_some_and(|file| file.ends_with("broken.yaml")), "{fault}");
    assert!(fault["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{fault}");

    let record = r#"{"service":"shop","source_ip":"198.51.100.9","message":"Invalid coupon XMAS"}"#;
    assert_eq!(server.post("/api/v1/ingest/logs", record, &[]).0, 200);
    let alert = alert_about(&server, "198.51.100.9");
    assert_eq!(alert["rule"], "shop.coupon.guessing");
    assert_eq!(alert["severity"], "WARNING");

    std::fs::remove_file(dir.path().join("broken.yaml")).expect("removed");
    server.wait_for("the fault to be gone", |server| {
        let status = server.get_json("/api/v1/status");
        status["rule_faults"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
}

#[test]
fn rules_are_checked_and_tested_without_a_server() {
    let built_in = heimdall(["rules", "test"]).run().expect(0);
    assert!(built_in.stdout.contains("pass"), "{}", built_in.stdout);
    let dir = tempdir().expect("a folder");
    let file = dir.path().join("shop.yaml");
    std::fs::write(&file, GOOD).expect("a file");
    let checked = heimdall(["rules", "check"]).arg(dir.path().as_os_str()).run().expect(0);
    assert!(checked.stdout.contains("1 rules load"), "{}", checked.stdout);
    std::fs::write(&file, GOOD.replace("invalid coupon FREE1", "expired coupon FREE1")).expect("a file");
    let failed = heimdall(["rules", "test"]).arg(file.as_os_str()).run().expect(1);
    assert!(failed.stdout.contains("shop.coupon.guessing"), "{}", failed.stdout);
    std::fs::write(&file, BROKEN).expect("a file");
    let broken = heimdall(["rules", "check"]).arg(file.as_os_str()).run().expect(1);
    assert!(broken.stdout.contains("shop.yaml"), "{}", broken.stdout);
}

/// Status and document of an answer; an empty one is null.
fn ask(
    server: &heimdall_testkit::Server,
    method: &str,
    path: &str,
    body: &Value,
    headers: &[(&str, &str)],
) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = server.request(method, path, headers, body);
    (answer.status, serde_json::from_str(&answer.text()).unwrap_or_default())
}

/// A record that the rule of these tests finds.
fn guess(server: &heimdall_testkit::Server, ip: &str) {
    let record = json!({ "service": "shop", "source_ip": ip, "message": "Invalid coupon XMAS" });
    assert_eq!(server.post("/api/v1/ingest/logs", record.to_string(), &[]).0, 200);
}

#[test]
fn a_tenant_keeps_rules_of_its_own_over_restarts() {
    let mut server = server().start();
    let path = "/api/v1/rules/shop.coupon.guessing";
    let put = |server: &heimdall_testkit::Server, yaml: &str, revision: u64| {
        ask(server, "PUT", path, &json!({ "yaml": yaml, "revision": revision }), &[])
    };
    let (status, refused) = put(&server, &GOOD.replace("severity: warning", "severity: enormous"), 0);
    assert_eq!((status, &refused["code"]), (422, &json!("invalid_rule")), "{refused}");
    assert_eq!(
        (&refused["diagnostics"][0]["line"], &refused["diagnostics"][0]["column"]),
        (&json!(4), &json!(11))
    );
    let (status, kept) = put(&server, GOOD, 0);
    assert_eq!((status, &kept["revision"], &kept["origin"]), (201, &json!(1), &json!("own")), "{kept}");
    guess(&server, "198.51.100.1");
    assert_eq!(alert_about(&server, "198.51.100.1")["severity"], "WARNING");
    assert_eq!(put(&server, GOOD, 0).1["code"], "revision_conflict");
    let critical = GOOD.replace("severity: warning", "severity: critical");
    assert_eq!(put(&server, &critical, 1).1["revision"], 2);
    let shared = ask(&server, "DELETE", "/api/v1/rules/auth.bruteforce.wording", &Value::Null, &[]);
    assert_eq!((shared.0, &shared.1["code"]), (409, &json!("rule_not_own")));

    let other = [("x-scope-orgid", "acme")];
    assert_eq!(ask(&server, "GET", path, &Value::Null, &other).0, 404, "nobody else sees it");

    let mode = |mode: &str, rule: &str| {
        let path = format!("/api/v1/rules/{rule}/mode");
        ask(&server, "POST", &path, &json!({ "mode": mode }), &[])
    };
    assert_eq!(mode("off", "auth.bruteforce.wording").1["mode"], "off");
    assert_eq!(mode("off", "made-up").0, 404);
    let change = json!({ "threshold_factor": 1.5, "dry_run": true });
    let tuned = ask(&server, "PUT", "/api/v1/detectors/zscore", &change, &[]);
    assert_eq!((tuned.0, &tuned.1["threshold_factor"]), (200, &json!(1.5)), "{}", tuned.1);

    server.restart();
    let again = server.get_json(path);
    assert_eq!((&again["revision"], &again["rule"]["severity"]), (&json!(2), &json!("CRITICAL")), "{again}");
    let rules = server.get_json("/api/v1/rules?limit=1000");
    assert_eq!(rule(&rules, "auth.bruteforce.wording").expect("the rule")["mode"], "off");
    let detectors = server.get_json("/api/v1/detectors");
    let zscore = detectors["items"].as_array().expect("a list").iter().find(|one| one["name"] == "zscore");
    let zscore = zscore.expect("the detector");
    assert_eq!((&zscore["threshold_factor"], &zscore["dry_run"]), (&json!(1.5), &json!(true)), "{zscore}");
    crate::report_brute_force(&server, "198.51.100.7");
    guess(&server, "198.51.100.2");
    assert_eq!(alert_about(&server, "198.51.100.2")["severity"], "CRITICAL");
    let told = crate::alerts(&server);
    assert!(!told.iter().any(|alert| alert["rule"] == "auth.bruteforce.wording"), "it is off: {told:?}");
    assert_eq!(ask(&server, "DELETE", path, &Value::Null, &[]).0, 204);
    assert_eq!(ask(&server, "GET", path, &Value::Null, &[]).0, 404);
    let actions: Vec<String> = server.get_json("/api/v1/audit")["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| format!("{} {}", line["action"], line["outcome"]))
        .collect();
    assert!(actions.iter().any(|line| line.contains("rule.add")), "{actions:?}");
    assert!(actions.iter().any(|line| line.contains("detector.tune")), "{actions:?}");
}
