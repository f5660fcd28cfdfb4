//! Rules are data: read from a folder, and again when it changes.

use serde_json::Value;
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
