//! Who may come in, and what is never told.

use heimdall_testkit::Server;
use serde_json::json;
use tempfile::tempdir;

use crate::{bearer, heimdall, server};

fn status_and_code(server: &Server, path: &str, token: Option<&str>) -> (u16, String) {
    let header = token.map(bearer);
    let headers: Vec<(&str, &str)> = header.iter().map(|value| ("Authorization", value.as_str())).collect();
    let response = server.request("GET", path, &headers, "");
    let code = match response.status {
        200 => String::new(),
        _ => response.json()["code"].as_str().unwrap_or_default().to_owned(),
    };
    (response.status, code)
}

#[test]
fn with_auth_every_door_asks_for_a_token_and_its_scope() {
    let server = server().arg("--auth").start();
    let admin = server.admin_token();
    assert_eq!(status_and_code(&server, "/alerts", None), (401, "token_missing".to_owned()));
    assert_eq!(status_and_code(&server, "/alerts", Some("hmd_x_y")), (401, "token_invalid".to_owned()));
    assert_eq!(status_and_code(&server, "/alerts", Some(&admin)), (200, String::new()));
    assert_eq!(
        server.get("/alerts").header("www-authenticate").map(|it| it.starts_with("Bearer")),
        Some(true)
    );
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/metrics").status, 401);

    let body = json!({"name": "shipper", "scopes": ["ingest"], "expires_in": "1h"}).to_string();
    let (status, issued) = server.post("/api/v1/tokens", body, &[("Authorization", &bearer(&admin))]);
    assert_eq!(status, 201, "{issued}");
    let shipper = issued["token"].as_str().expect("the secret").to_owned();
    assert_eq!(status_and_code(&server, "/alerts", Some(&shipper)), (403, "scope_missing".to_owned()));
    let record = r#"{"message":"hello"}"#;
    let (status, _) = server.post("/api/v1/ingest/logs", record, &[("Authorization", &bearer(&shipper))]);
    assert_eq!(status, 200);
    assert_eq!(server.post("/api/v1/ingest/logs", record, &[]).0, 401);

    let refused = heimdall(["search", "*", "--url", &server.url("")]).run().expect(1);
    assert!(refused.stderr.contains("token"), "{}", refused.stderr);
    let search = heimdall(["search", "hello", "--json", "--url", &server.url(""), "--token", &admin]);
    assert_eq!(search.run().expect(0).json_lines().len(), 1);
}

#[test]
fn a_wide_address_without_auth_is_refused_at_the_start() {
    let dir = tempdir().expect("a folder");
    let data = dir.path().join("data");
    let serve = || heimdall(["serve", "--data-dir"]).arg(data.as_os_str());
    let http = serve().args(["--listen", "0.0.0.0:0"]).run().expect(1);
    assert!(http.stderr.contains("0.0.0.0") && http.stderr.contains("auth"), "{}", http.stderr);
    let watch = serve().args(["--listen", "127.0.0.1:0", "--watch-listen", "0.0.0.0:0"]).run().expect(1);
    assert!(watch.stderr.contains("0.0.0.0") && watch.stderr.contains("auth"), "{}", watch.stderr);
    assert!(!data.exists(), "nothing is half started");
}

#[test]
fn secrets_are_neither_logged_nor_kept() {
    let mut server = server().arg("--auth").arg("--log-level").arg("trace").start();
    let admin = server.admin_token();
    let header = bearer(&admin);
    let auth = [("Authorization", header.as_str())];
    let body = json!({"name": "alice", "scopes": ["watch", "read"], "expires_in": "1h"}).to_string();
    let (_, issued) = server.post("/api/v1/tokens", body, &auth);
    let alice = issued["token"].as_str().expect("the secret").to_owned();
    assert_eq!(server.request("GET", "/alerts", &[("Authorization", &bearer(&alice))], "").status, 200);
    let mut technician = server.connect_watch();
    technician.send(format!("{{\"token\":\"{alice}\"}}\n"));
    technician.find_message("hello");
    // Wrong ones are not logged either: they may be a slip of a right one.
    let other_end = if alice.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{other_end}", &alice[..alice.len() - 1]);
    assert_eq!(status_and_code(&server, "/alerts", Some(&wrong)).0, 401);
    let mut stranger = server.connect_watch();
    stranger.send(format!("{{\"token\":\"{wrong}\"}}\n"));
    stranger.find_message("error");
    assert!(server.terminate().success());

    let said = server.stderr() + &server.stdout();
    assert!(said.contains("listening"), "there is a log to look at: {said}");
    let secret_part = |token: &str| token.rsplit('_').next().expect("a secret").to_owned();
    for token in [&admin, &alice, &wrong] {
        assert!(!said.contains(&secret_part(token)), "a token was logged");
    }
    let mut folders = vec![server.data_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("admin.token") {
                let bytes = std::fs::read(&path).expect("a file");
                for token in [&admin, &alice] {
                    let secret = secret_part(token);
                    let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                    assert!(!found, "{} holds a token", path.display());
                }
            }
        }
    }
}
