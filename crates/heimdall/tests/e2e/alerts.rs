//! From an event to an alert that people work on.

use heimdall_model::{Clock, SystemClock};
use heimdall_testkit::{Server, Tool, skip};
use serde_json::json;

use crate::{alert_about, alerts, report_brute_force, server};

/// While a finding goes on, it is repeated this often (the default of `repeat_every`, event time).
const REPEAT_EVERY_NS: i64 = 60_000_000_000;

/// Commands of the README's section, aimed at this server.
fn readme_commands(server: &Server) -> String {
    let readme = include_str!("../../../../README.md");
    let section = readme.split("## The first event").nth(1).expect("the README has the section");
    let block = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("the section begins with commands").replace("127.0.0.1:8000", &server.http().to_string())
}

#[test]
fn the_first_commands_of_the_readme_raise_a_critical_alert() {
    let (Some(_), Some(shell)) = (Tool::find("curl"), Tool::find("sh")) else { skip!("no curl or sh") };
    let server = server().start();
    let output = shell.command().arg("-c").arg(readme_commands(&server)).run().expect(0);
    assert!(output.stdout.contains("\"accepted\":1"), "{}", output.stdout);
    let alert = alert_about(&server, "203.0.113.5");
    assert_eq!(alert["severity"], "CRITICAL");
    assert_eq!(alert["status"], "OPEN");
    assert_eq!(alert["entity"], json!({"kind": "source_ip", "value": "203.0.113.5"}));
    assert_eq!(alert["service"], "web-firewall");
    assert!(alert["mitigation"].as_array().is_some_and(|steps| !steps.is_empty()), "{alert}");
    // The evidence leads to the record.
    let evidence = alert["evidence"][0].as_str().expect("evidence");
    assert_eq!(server.query(&format!("id:{evidence} source_ip:203.0.113.5")).len(), 1);
    server.wait_for("the alert on standard output", |server| {
        server.stdout().contains("source_ip=203.0.113.5").then_some(())
    });
}

#[test]
fn what_people_did_with_alerts_survives_a_restart() {
    let mut server = server().start();
    // Long enough ago that the same finding now is news again.
    let earlier = SystemClock.now().saturating_add_ns(-3 * REPEAT_EVERY_NS).to_string();
    let event = json!({"timestamp": earlier, "source": "web-firewall", "ip": "203.0.113.5", "message": "brute force"});
    assert_eq!(server.post("/ingest", event.to_string(), &[]).0, 200);
    report_brute_force(&server, "203.0.113.6");
    let taken = alert_about(&server, "203.0.113.5")["id"].as_str().expect("an id").to_owned();
    let muted = alert_about(&server, "203.0.113.6")["id"].as_str().expect("an id").to_owned();
    let (status, alert) =
        server.post(&format!("/alerts/{taken}/acknowledge"), r#"{"note":"looking at it"}"#, &[]);
    assert_eq!((status, &alert["status"]), (200, &json!("ACKNOWLEDGED")));
    let (status, alert) = server.post(&format!("/alerts/{muted}/suppress"), "", &[]);
    assert_eq!((status, &alert["status"]), (200, &json!("SUPPRESSED")));
    // A repeated step changes nothing.
    let (status, _) = server.post(&format!("/alerts/{taken}/acknowledge"), "", &[]);
    assert_eq!(status, 200);

    server.restart();
    assert_eq!(alerts(&server).len(), 2);
    let alert = server.get_json(&format!("/api/v1/alerts/{taken}"));
    assert_eq!(alert["status"], "ACKNOWLEDGED");
    let steps: Vec<_> =
        alert["history"].as_array().expect("history").iter().map(|step| &step["to"]).collect();
    assert_eq!(steps, ["OPEN", "ACKNOWLEDGED"]);
    assert_eq!(alert["history"][1]["note"], "looking at it");
    assert_eq!(server.get_json(&format!("/api/v1/alerts/{muted}"))["status"], "SUPPRESSED");
    assert_eq!(server.get_json("/metrics/summary")["alerts"]["by_status"]["SUPPRESSED"], 1);

    // The same finding later belongs to the same alert.
    report_brute_force(&server, "203.0.113.5");
    server.wait_for("the finding to be counted", |server| {
        let alert = server.get_json(&format!("/api/v1/alerts/{taken}"));
        (alert["count"] == 2 && alert["status"] == "ACKNOWLEDGED").then_some(())
    });
    assert_eq!(alerts(&server).len(), 2);
}

#[test]
fn an_alert_taken_by_hand_is_in_the_audit_trail() {
    let server = server().start();
    report_brute_force(&server, "203.0.113.9");
    let id = alert_about(&server, "203.0.113.9")["id"].as_str().expect("an id").to_owned();
    let output = crate::heimdall(["alerts", &id, "resolve", "--note", "blocked", "--url", &server.url("")]);
    let shown = output.run().expect(0);
    assert!(shown.stdout.contains("RESOLVED"), "{}", shown.stdout);
    let trail = server.get_json("/api/v1/audit");
    let entry =
        trail["items"].as_array().expect("a page").iter().find(|entry| entry.to_string().contains(&id));
    assert!(entry.is_some(), "{trail}");
    let (status, problem) = server.post(&format!("/alerts/{id}/acknowledge"), "", &[]);
    assert_eq!((status, &problem["code"]), (409, &json!("alert_step_conflict")));
}

#[test]
fn what_people_say_of_alerts_moves_thresholds_and_outlives_a_restart() {
    let mut server = server().start();
    let attack = |source: u8| {
        let message = format!(
            "203.0.113.{source} - - [27/Nov/2026:08:00:00 +0000] \"GET /item?id=1%27%20UNION%20SELECT%20password%20FROM%20users-- HTTP/1.1\" 200 12"
        );
        let event = json!({"source": "shop", "ip": format!("203.0.113.{source}"), "message": message});
        assert_eq!(server.post("/ingest", event.to_string(), &[]).0, 200);
    };
    (1..=5).for_each(attack);
    let web = |server: &Server| {
        server.wait_for("the stream to tell of its detectors", |server| {
            let page = server.get_json("/api/v1/detectors");
            let items = page["items"].as_array().cloned().expect("a page");
            items.into_iter().find(|detector| detector["name"] == "web")
        })
    };
    assert_eq!((&web(&server)["adjustment"], &web(&server)["feedback"]), (&json!(1.0), &json!(null)));
    for source in 1..=5 {
        let alert = alert_about(&server, &format!("203.0.113.{source}"));
        let id = alert["id"].as_str().expect("an id");
        let url = server.url("");
        let said = crate::heimdall(["alerts", id, "false-positive", "--note", "our scanner", "--url", &url]);
        let shown = said.run().expect(0);
        assert!(shown.stdout.contains("(false positive)"), "{}", shown.stdout);
    }
    server.wait_for("the thresholds to follow", |server| (web(server)["adjustment"] == 1.25).then_some(()));
    server.restart();
    let web = web(&server);
    assert_eq!((&web["adjustment"], &web["feedback"]["false_positives"]), (&json!(1.25), &json!(5)));
    assert_eq!(web["rules"][0]["suggestion"], "dry_run");
    assert!(server.get_json("/api/v1/status")["detectors"].to_string().contains("false_positives"));
}
