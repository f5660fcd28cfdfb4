//! People at work on the command line: alerts, incidents, silences, notifications, actions.

use heimdall_testkit::{Command, Server};
use serde_json::{Value, json};

use crate::{BIN, alert_about, report_brute_force, server};

/// What a command says on standard output; it must succeed.
#[track_caller]
fn say(server: &Server, args: &[&str]) -> String {
    let command = Command::new(BIN).args(args.iter().copied());
    command.arg("--url").arg(server.url("")).run().expect(0).stdout.trim().to_owned()
}

#[track_caller]
fn json_line(server: &Server, args: &[&str]) -> Value {
    let said = say(server, &[args, &["--json"]].concat());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}"))
}

#[test]
fn an_alert_and_its_incident_are_worked_on() {
    let server = server().start();
    report_brute_force(&server, "203.0.113.5");
    let alert = alert_about(&server, "203.0.113.5");
    let id = alert["id"].as_str().expect("an id");
    assert!(say(&server, &["alerts", id, "assign", "ann"]).contains("@ann"));
    assert!(say(&server, &["alerts", "--assignee", "ann", "--match", "source_ip=~203.*"]).contains(id));
    assert_eq!(say(&server, &["alerts", "--assignee", "bob"]), "");
    assert_eq!(
        json_line(&server, &["alerts", id, "comment", "our scanner"])["comments"][0]["text"],
        "our scanner"
    );
    assert_eq!(json_line(&server, &["alerts", id, "priority", "p3"])["priority"], "P3");
    let snoozed = json_line(&server, &["alerts", id, "suppress", "--for", "2h", "--note", "deploy"]);
    assert!(snoozed["status"] == "SUPPRESSED" && snoozed["suppressed_until"].is_string(), "{snoozed}");
    assert!(say(&server, &["alerts", id, "reopen"]).contains("OPEN"));

    let incident = json_line(&server, &["incidents"]);
    let number = incident["number"].to_string();
    assert!(say(&server, &["incidents", "list"]).contains("number"), "a table for people");
    assert_eq!(json_line(&server, &["incidents", "ack", &number])["status"], "ACKNOWLEDGED");
    assert!(say(&server, &["alerts", "--incident", &number, "--status", "acknowledged"]).contains(id));
    assert_eq!(json_line(&server, &["incidents", "assign", &number, "bob"])["owner"], "bob");
    say(&server, &["incidents", "comment", &number, "blocked at the edge"]);
    let shown = say(&server, &["incidents", "show", &number]);
    assert!(shown.contains("blocked at the edge") && shown.contains("owner: bob"), "{shown}");
    assert_eq!(json_line(&server, &["incidents", "resolve", &number])["status"], "RESOLVED");
    let report = say(&server, &["incidents", "export", &number]);
    assert!(report.starts_with("# ") && report.contains("blocked at the edge"), "{report}");
}

#[test]
fn a_silence_keeps_an_alert_quiet_until_it_expires() {
    let server = server().start();
    let id =
        say(&server, &["silences", "add", "source_ip=203.0.113.5", "--for", "2h", "--comment", "pen test"]);
    report_brute_force(&server, "203.0.113.5");
    server.wait_for("the alert to be quiet", |server| {
        (alert_about(server, "203.0.113.5")["muted"]["kind"] == "silence").then_some(())
    });
    let listed = json_line(&server, &["silences", "list", "source_ip=203.0.113.5"]);
    assert_eq!((&listed["id"], &listed["state"]), (&json!(id), &json!("active")));
    say(&server, &["silences", "expire", &id]);
    server.wait_for("the alert to be heard", |server| {
        alert_about(server, "203.0.113.5")["muted"].is_null().then_some(())
    });
    assert_eq!(say(&server, &["silences"]), "");
    let window = [
        "silences",
        "add",
        "service=backup",
        "--maintenance",
        "--weekdays",
        "sat-sun",
        "--from",
        "02:00",
        "--to",
        "04:00",
        "--zone",
        "Europe/Berlin",
        "--end",
        "now+52w",
        "-c",
        "weekly",
    ];
    let made = json_line(&server, &window);
    assert_eq!(made["recurrence"]["weekdays"], json!(["saturday", "sunday"]), "{made}");
}

#[test]
fn the_kill_switch_is_turned_and_plans_are_shown() {
    let server = server().start();
    report_brute_force(&server, "203.0.113.5");
    let id = alert_about(&server, "203.0.113.5")["id"].as_str().expect("an id").to_owned();
    say(&server, &["actions", "plan", &id]);
    assert!(say(&server, &["actions", "kill-switch"]).starts_with("off"));
    let on = say(&server, &["actions", "kill-switch", "on", "--note", "odd restarts"]);
    assert!(on.starts_with("on") && on.contains("odd restarts"), "{on}");
    assert!(say(&server, &["actions", "kill-switch", "off"]).starts_with("off"));
    say(&server, &["actions", "list"]);
    say(&server, &["actions", "playbooks"]);
    say(&server, &["notifications", "routes"]);
    server.wait_for("somebody to be told", |server| {
        let log = say(server, &["notifications", "log", "--json"]);
        log.contains(&id).then_some(())
    });
    assert!(!say(&server, &["alerts", &id, "why"]).is_empty());
}

/// Starts a server that cannot start, and returns what it says.
fn refusal(dir: &std::path::Path, config: &str) -> String {
    let file = dir.join("heimdall.toml");
    std::fs::write(&file, config).expect("a file");
    let command = Command::new(BIN).args(["serve", "--listen", "127.0.0.1:0"]);
    let ended = command.arg("--data-dir").arg(dir.join("data")).arg("--config").arg(file).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn malformed_routes_and_playbooks_are_named_with_file_line_and_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let routing = dir.path().join("routing.yaml");
    let text = "route:\n  receiver: teem\n  group_bye: [service]\nreceivers:\n  - name: team\n";
    std::fs::write(&routing, text).expect("a file");
    let said = refusal(dir.path(), &format!("[alerts]\nrouting_file = \"{}\"\n", routing.display()));
    assert!(
        said.contains("routing.yaml:2: `route.receiver`: unknown receiver `teem`; did you mean `team`?"),
        "{said}"
    );
    assert!(said.contains("routing.yaml:3: `route.group_bye`: unknown key"), "{said}");

    let playbooks = dir.path().join("playbooks");
    std::fs::create_dir(&playbooks).expect("a folder");
    let text = "id: x\nversion: 1\ntitle: X\ntrigger: {rules: [\"*\"]}\nsteps:\n  - action: annotat\n    target: x\n";
    std::fs::write(playbooks.join("x.yaml"), text).expect("a file");
    let said = refusal(dir.path(), &format!("[respond]\nplaybooks_dir = \"{}\"\n", playbooks.display()));
    assert!(
        said.contains("x.yaml:6: `steps[0].action`: nobody does `annotat`") && said.contains("`annotate`"),
        "{said}"
    );
}
