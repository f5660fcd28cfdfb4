//! Values are judged against what is usual for their service.

use heimdall_testkit::Server;
use serde_json::{Value, json};

use crate::{alert_about, alerts, heimdall, server};

const METRICS: &str = "/api/v1/ingest/metrics";
/// Samples of a baseline: more than the detector asks for.
const BASELINE: usize = 60;

/// The value at this second before 20:25: within 4 % above `level`.
fn usual(level: f64, second: usize) -> f64 {
    level * (1.0 + 0.01 * f64::from(u8::try_from(second % 5).expect("below 5")))
}

/// A sample at this time of the day that the audit lines of the tests are about.
fn sample(service: &str, time: &str, value: f64) -> String {
    let time = format!("2026-02-09T{time}Z");
    json!({"timestamp": time, "service": service, "name": "load", "value": value}).to_string()
}

/// A minute of usual values, one a second, before 20:25.
fn usual_minute(service: &str, level: f64) -> String {
    let one = |second| sample(service, &format!("20:24:{second:02}"), usual(level, second)) + "\n";
    (0..BASELINE).map(one).collect()
}

#[track_caller]
fn accept(server: &Server, body: &str) {
    let (status, receipt) = server.post(METRICS, body, &[]);
    assert_eq!((status, &receipt["rejected_total"]), (200, &json!(0)), "{receipt}");
}

/// The audit file of a service, once it has a line for the baseline and one more.
#[track_caller]
fn audit(server: &Server, service: &str) -> Vec<String> {
    let path = server.data_dir().join(format!("audit/default/{service}.log"));
    server.wait_for(&format!("the last line in {service}.log"), |_| {
        let text = std::fs::read_to_string(&path).ok()?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (text.ends_with('\n') && lines.len() > BASELINE).then_some(lines)
    })
}

#[test]
fn a_spike_is_critical_and_its_audit_line_is_exact() {
    let server = server().env("HEIMDALL_ALERTS__AUDIT_CONSOLE", "true").start();
    for (service, level) in [("CORE-DB", 120.0), ("AUTH-API", 41.5)] {
        accept(&server, &usual_minute(service, level));
    }
    accept(&server, &sample("AUTH-API", "20:25:01", 42.0));
    accept(&server, &sample("CORE-DB", "20:25:01", 9999.0));
    let lines = audit(&server, "CORE-DB");
    assert_eq!(lines.len(), BASELINE + 1);
    assert_eq!(
        lines[BASELINE],
        "2026-02-09 20:25:01 | [CRITICAL] - CORE-DB  - Value: 9999.0 - ANOMALY DETECTED"
    );
    assert!(lines[..BASELINE].iter().all(|line| line.contains("| [NORMAL]   - CORE-DB  - Value: ")));
    let lines = audit(&server, "AUTH-API");
    assert_eq!(
        lines[BASELINE],
        "2026-02-09 20:25:01 | [NORMAL]   - AUTH-API - Value: 42.0 - Status: Healthy"
    );

    // On the console too, without colour: it is no terminal.
    let console = server.stdout();
    assert!(console.lines().any(|line| line == lines[BASELINE]), "{console}");

    let alert = server.wait_for("the alert", |server| {
        alerts(server).into_iter().find(|alert| alert["service"] == "CORE-DB")
    });
    assert_eq!((alert["detector"].as_str(), alert["severity"].as_str()), (Some("zscore"), Some("CRITICAL")));
    assert!(alert["baseline"]["mean"].as_f64().is_some_and(|mean| (115.0..130.0).contains(&mean)), "{alert}");
    assert!(!alerts(&server).iter().any(|alert| alert["service"] == "AUTH-API"));
}

#[test]
fn services_fed_at_once_keep_baselines_of_their_own() {
    let server = server().start();
    // Without a time, as an agent sends them: they are judged on arrival.
    let post = |service: &str, value: f64| {
        accept(&server, &json!({"service": service, "name": "load", "value": value}).to_string());
    };
    let levels = [("AUTH-API", 42.0, 500.0), ("CORE-DB", 500.0, 505.0), ("PAYMENT-GATEWAY", 9000.0, 9100.0)];
    std::thread::scope(|scope| {
        for (service, level, last) in levels {
            scope.spawn(move || {
                (0..BASELINE).for_each(|second| post(service, usual(level, second)));
                // What is usual for one is an anomaly for another.
                post(service, last);
            });
        }
    });
    let last = |service: &str| audit(&server, service).pop().unwrap_or_default();
    assert!(last("AUTH-API").contains("[CRITICAL]"), "{}", last("AUTH-API"));
    assert!(last("CORE-DB").contains("[NORMAL]"), "{}", last("CORE-DB"));
    assert!(last("PAYMENT-GATEWAY").contains("[NORMAL]"), "{}", last("PAYMENT-GATEWAY"));
    let summary = server.wait_for("the states of the services", |server| {
        let summary = server.get_json("/metrics/summary");
        (summary["services"].as_array()?.len() == 3).then_some(summary)
    });
    let state = |name: &str| {
        let services = summary["services"].as_array().expect("a list");
        services.iter().find(|service| service["service"] == name).map(|service| service["state"].clone())
    };
    assert_eq!(state("AUTH-API"), Some(json!("CRITICAL")));
    assert_eq!(state("CORE-DB"), Some(json!("NORMAL")));
}

#[test]
fn values_that_are_no_numbers_are_refused_by_name() {
    let server = server().start();
    let body = concat!(
        "{\"service\":\"s\",\"name\":\"load\",\"value\":1}\n",
        "{\"service\":\"s\",\"name\":\"load\",\"value\":\"NaN\"}\n",
        "{\"service\":\"s\",\"name\":\"load\",\"value\":1e999}\n",
        "{\"service\":\"s\",\"name\":\"load\",\"value\":\"-Infinity\"}\n",
        "{\"service\":\"s\",\"name\":\"load\"}\n",
        "{\"service\":\"s\",\"name\":\"load\",\"value\":NaN}\n",
    );
    let (status, receipt) = server.post(METRICS, body, &[]);
    assert_eq!((status, &receipt["accepted"], &receipt["rejected_total"]), (200, &json!(1), &json!(5)));
    let rejected = receipt["rejected"].as_array().expect("a list");
    for (item, index) in rejected.iter().zip(1..) {
        assert_eq!(item["index"], index, "{receipt}");
    }
    assert!(rejected[..4].iter().all(|item| item["field"] == "value"), "{receipt}");
    assert!(rejected[..3].iter().all(|item| item["reason"] == "is not a finite number"), "{receipt}");
}

#[test]
fn two_thousand_posts_at_once_are_all_answered_and_judged_critical() {
    let output = heimdall(["bench", "flood", "--json"]).run().expect(0);
    let result: Value = serde_json::from_str(&output.stdout).expect("one JSON document");
    assert_eq!(result["requests_at_once"], 2000);
    assert_eq!(result["answered"], 2000);
    assert_eq!(result["judged_critical"], 2000);
}

#[test]
fn a_burst_of_failed_logins_is_brute_force_without_any_wording() {
    let server = server().start();
    let attempt = |second: u32| {
        let time = format!("2026-02-09T20:25:{second:02}Z");
        let message = format!("Failed password for root from 198.51.100.23 port 4{second:04} ssh2");
        json!({"timestamp": time, "service": "sshd", "host": "bastion", "message": message}).to_string()
            + "\n"
    };
    let lines: String = (0..6).map(attempt).collect();
    let (status, _) = server.post("/api/v1/ingest/logs", lines, &[]);
    assert_eq!(status, 200);
    let alert = alert_about(&server, "198.51.100.23");
    assert_eq!((alert["detector"].as_str(), alert["severity"].as_str()), (Some("auth"), Some("CRITICAL")));
}
