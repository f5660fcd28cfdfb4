//! What other systems send about alerts, and how they prove who they are.

use heimdall_alert::notify::Secret;
use heimdall_api::{HttpLimits, Inbound};
use heimdall_model::{Clock, SystemClock};
use ring::hmac;
use serde_json::{Value, json};

use crate::harness::{Server, read};

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

fn hex_hmac(parts: &[&[u8]]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), &parts.concat());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn server(users: &[(&str, &str)]) -> Server {
    let secret = || Some(Secret::parse(SECRET).unwrap());
    let inbound = Inbound {
        slack_signing_secret: secret(),
        slack_users: users.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect(),
        pagerduty_secret: secret(),
    };
    Server::with_inbound(HttpLimits::default(), inbound).await
}

/// A press of a button of ours, as Slack sends it.
fn pressed(action: &str, alert: &str) -> String {
    let value = json!({"v": 1, "t": "default", "g": "key", "a": [alert]}).to_string();
    let payload = json!({
        "type": "block_actions",
        "user": {"id": "U1", "username": "ann"},
        "team": {"id": "T1"},
        "actions": [{"action_id": action, "value": value}],
    });
    let encoded: String = payload.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("payload={encoded}")
}

fn signed(server: &Server, body: &str) -> reqwest::RequestBuilder {
    let time = (SystemClock.now().0 / 1_000_000_000).to_string();
    let signature = hex_hmac(&[b"v0:", time.as_bytes(), b":", body.as_bytes()]);
    server
        .post("/api/v1/slack/interactions", body.to_owned())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-slack-request-timestamp", time)
        .header("x-slack-signature", format!("v0={signature}"))
}

async fn first_alert(server: &Server) -> Value {
    server.json("/api/v1/alerts").await["items"][0].clone()
}

#[tokio::test]
async fn a_button_in_slack_acts_as_who_pressed_it() {
    let server = server(&[]).await;
    server.raise("10.0.0.1", 1);
    let id = first_alert(&server).await["id"].as_str().unwrap().to_owned();
    let body = pressed("heimdall_acknowledge", &id);
    assert_eq!(read(signed(&server, &body)).await.0, 200);
    let alert = first_alert(&server).await;
    assert_eq!(alert["status"], "ACKNOWLEDGED");
    assert_eq!(alert["history"][1]["by"], "slack:ann");
    assert_eq!(read(signed(&server, &pressed("heimdall_suppress_1h", &id))).await.0, 200);
    let alert = first_alert(&server).await;
    assert!(alert["status"] == "SUPPRESSED" && alert["suppressed_until"].is_string(), "{alert}");
    let audit = server.json("/api/v1/audit").await;
    assert_eq!(
        (&audit["items"][0]["principal"], &audit["items"][0]["action"]),
        (&json!("slack:ann"), &json!("alert.suppress"))
    );
}

#[tokio::test]
async fn who_is_not_named_or_did_not_sign_does_nothing() {
    let server = server(&[("U2", "bob")]).await;
    server.raise("10.0.0.1", 1);
    let id = first_alert(&server).await["id"].as_str().unwrap().to_owned();
    let body = pressed("heimdall_acknowledge", &id);
    let (status, said) = read(signed(&server, &body)).await;
    assert_eq!((status, &said["response_type"]), (200, &json!("ephemeral")), "{said}");
    let forged = signed(&server, &body).header("x-slack-signature", "v0=00");
    let (status, problem) = read(server.post("/api/v1/slack/interactions", body.clone())).await;
    assert_eq!((status, &problem["code"]), (401, &json!("signature_invalid")));
    assert_eq!(read(forged.body(format!("{body}x"))).await.0, 401);
    assert_eq!(first_alert(&server).await["status"], "OPEN");
    let audit = server.json("/api/v1/audit").await;
    assert_eq!(
        (&audit["items"][0]["outcome"], audit["items"].as_array().map(Vec::len)),
        (&json!("denied"), Some(1))
    );
}

#[tokio::test]
async fn a_webhook_of_alertmanager_raises_and_resolves() {
    let server = Server::open().await;
    let message = |status: &str, ends_at: &str| {
        json!({
            "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": status, "receiver": "heimdall",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am.example",
            "alerts": [{
                "status": status, "labels": {"alertname": "Down", "job": "api"}, "annotations": {"summary": "gone"},
                "startsAt": "2020-11-27T12:00:00Z", "endsAt": ends_at, "generatorURL": "", "fingerprint": "f1",
            }],
        })
    };
    let send = |body: Value| read(server.post("/api/v1/alertmanager/webhook", body.to_string()));
    assert_eq!(send(message("firing", "0001-01-01T00:00:00Z")).await.0, 200);
    assert_eq!(first_alert(&server).await["rule"], "Down");
    assert_eq!(send(message("resolved", "2020-11-27T12:01:00Z")).await.0, 200);
    assert_eq!(first_alert(&server).await["status"], "RESOLVED");
    let (status, problem) = send(json!({"version": "4"})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_message")), "{problem}");
}

#[tokio::test]
async fn pagerduty_must_sign_and_unknown_groups_are_no_error() {
    let server = server(&[]).await;
    let event = json!({"event": {
        "id": "E1", "event_type": "incident.acknowledged", "occurred_at": "2020-11-27T12:00:00Z",
        "agent": {"type": "user_reference", "summary": "Ann"},
        "data": {"id": "P1", "incident_key": "no such group"},
    }});
    let body = event.to_string();
    let send = |signature: String| {
        read(
            server.post("/api/v1/pagerduty/webhook", body.clone()).header("x-pagerduty-signature", signature),
        )
    };
    assert_eq!(send(format!("v1={}", hex_hmac(&[body.as_bytes()]))).await.0, 200);
    assert_eq!(send("v1=00".to_owned()).await.1["code"], "signature_invalid");
}
