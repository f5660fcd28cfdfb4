//! The technician port: tokens, live alerts, revocation.

use std::time::{Duration, Instant};

use heimdall_testkit::Server;
use serde_json::{Value, json};

use crate::{BIN, alert_about, bearer, heimdall, server};

/// A live session ends at the latest this long after its token is revoked.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// Issues a token on the command line: its id and its secret.
#[track_caller]
fn issue(server: &Server, scopes: &str) -> (String, String) {
    let admin = server.admin_token();
    let issued = heimdall(["token", "issue", "night shift", "--scopes", scopes, "--expires", "8h"])
        .args(["--url", &server.url("")])
        .env("HEIMDALL_TOKEN", admin)
        .run()
        .expect(0);
    let id = issued.stderr.trim().rsplit(' ').next().expect("the id is named").to_owned();
    (id, issued.stdout.trim().to_owned())
}

#[track_caller]
fn report(server: &Server, ip: &str) {
    let admin = bearer(&server.admin_token());
    let event = json!({"source": "web-firewall", "ip": ip, "message": "brute force suspected"});
    let (status, receipt) = server.post("/ingest", event.to_string(), &[("Authorization", &admin)]);
    assert_eq!(status, 200, "{receipt}");
}

#[test]
fn a_technician_hears_alerts_until_the_token_is_revoked() {
    let server = server().arg("--auth").start();
    let (id, secret) = issue(&server, "watch");
    let mut technician = server.connect_watch();
    technician.send(format!("{{\"token\":\"{secret}\"}}\n"));
    let hello = technician.find_message("hello");
    assert_eq!(hello["product"], "heimdall");
    assert_eq!(technician.find_message("snapshot")["alerts"], json!([]));
    report(&server, "203.0.113.5");
    let told = technician.find_message("alert");
    assert_eq!(told["alert"]["entity"]["value"], "203.0.113.5");
    assert!(told["alert"]["mitigation"].as_array().is_some_and(|steps| !steps.is_empty()));

    let revoke = heimdall(["token", "revoke", &id, "--url", &server.url("")]);
    let _ = revoke.env("HEIMDALL_TOKEN", server.admin_token()).run().expect(0);
    let revoked = Instant::now();
    assert_eq!(technician.find_message("goodbye")["reason"], "token revoked");
    assert_eq!(technician.next_line(), None);
    assert!(revoked.elapsed() < REVOKED_WITHIN, "cut after {:?}", revoked.elapsed());

    let mut again = server.connect_watch();
    again.send(format!("{{\"token\":\"{secret}\"}}\n"));
    assert_eq!(again.find_message("error")["code"], "token_invalid");
    assert_eq!(again.next_line(), None);
    let listed = heimdall(["token", "list", "--url", &server.url(""), "--token", &server.admin_token()]);
    let listed = listed.run().expect(0);
    assert!(listed.stdout.contains(&id) && !listed.stdout.contains(&secret), "{}", listed.stdout);
}

#[test]
fn a_token_hears_only_the_tenant_it_was_issued_for() {
    let server = server().arg("--auth").start();
    let issued = heimdall(["token", "issue", "acme desk", "--scopes", "read,watch", "--tenant", "acme"])
        .args(["--url", &server.url("")])
        .env("HEIMDALL_TOKEN", server.admin_token())
        .run()
        .expect(0);
    let secret = issued.stdout.trim();
    let ask = |tenant: &str| {
        let headers = [("Authorization", &*bearer(secret)), ("X-Scope-OrgID", tenant)];
        server.request("GET", "/alerts", &headers, "").status
    };
    assert_eq!((ask("acme"), ask("default")), (200, 403));
    let address = server.watch().to_string();
    let watch = |tenant: &str| {
        heimdall(["watch", "--json", "--address", &address, "--token", secret, "--tenant", tenant])
    };
    let refused = watch("other").run().expect(1);
    assert!(refused.stdout.contains("tenant_denied"), "{}", refused.stdout);
    let mut console = watch("acme").start();
    console.wait_for("the snapshot", |console| console.stdout().contains("\"snapshot\"").then_some(()));
    let _ = console.terminate();
}

#[test]
fn strangers_get_no_alerts() {
    let server = server().arg("--auth").start();
    let (_, reader) = issue(&server, "read");
    for (hello, code) in [
        ("{}".to_owned(), "token_missing"),
        ("{\"token\":\"hmd_0123456789abcdef_wrong\"}".to_owned(), "token_invalid"),
        (format!("{{\"token\":\"{reader}\"}}"), "scope_missing"),
        ("hello?".to_owned(), "hello_invalid"),
    ] {
        let mut stranger = server.connect_watch();
        stranger.send(format!("{hello}\n"));
        let answer: Value = serde_json::from_str(&stranger.next_line().expect("an answer")).expect("JSON");
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)));
        assert_eq!(stranger.next_line(), None);
    }
}

#[test]
fn the_watch_command_prints_alerts() {
    let server = server().start();
    let address = server.watch().to_string();
    let mut console = heimdall(["watch", "--json", "--address", &address]).start();
    console.wait_for("the snapshot", |console| console.stdout().contains("\"snapshot\"").then_some(()));
    report(&server, "203.0.113.5");
    console.wait_for("the alert", |console| {
        let stdout = console.stdout();
        let mut messages = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        messages.find(|message| {
            message["type"] == "alert" && message["alert"]["entity"]["value"] == "203.0.113.5"
        })
    });
    let _ = console.terminate();

    // For people: one line an alert, from the snapshot on.
    alert_about(&server, "203.0.113.5");
    let mut console = heimdall_testkit::Command::new(BIN).args(["watch", "--address", &address]).start();
    console.wait_for("a line for people", |console| {
        let stdout = console.stdout();
        stdout.lines().find(|line| line.contains("CRITICAL") && line.contains("203.0.113.5")).map(drop)
    });
    drop(server);
    let output = console.wait().expect(1);
    assert!(output.stderr.contains("heimdall: "), "{}", output.stderr);
}
