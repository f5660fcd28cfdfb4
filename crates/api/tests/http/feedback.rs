//! What people say of alerts, and what they are told of it.

use serde_json::{Value, json};

use crate::harness::{Server, read};

/// Ids of the alerts there are, newest first.
async fn ids(server: &Server) -> Vec<String> {
    let page = server.json("/api/v1/alerts").await;
    let id = |alert: &Value| alert["id"].as_str().unwrap().to_owned();
    page["items"].as_array().unwrap().iter().map(id).collect()
}

async fn say(server: &Server, id: &str, body: &Value) -> (u16, Value) {
    read(server.post(&format!("/api/v1/alerts/{id}/feedback"), body.to_string())).await
}

fn named<'a>(page: &'a Value, key: &str, name: &str) -> &'a Value {
    page["items"].as_array().unwrap().iter().find(|item| item[key] == name).unwrap()
}

#[tokio::test]
async fn feedback_is_kept_may_be_changed_and_is_audited() {
    let server = Server::open().await;
    server.raise("10.0.0.1", 1);
    let id = &ids(&server).await[0];
    assert_eq!(server.json(&format!("/api/v1/alerts/{id}")).await["feedback"], Value::Null);

    let (status, alert) =
        say(&server, id, &json!({ "verdict": "false_positive", "note": "our scanner" })).await;
    assert_eq!((status, &alert["status"]), (200, &json!("OPEN")));
    let feedback = &alert["feedback"];
    assert_eq!((&feedback["verdict"], &feedback["note"]), (&json!("false_positive"), &json!("our scanner")));
    assert!(feedback["by"].is_string() && feedback["at"].is_string(), "{feedback}");
    let (_, again) = say(&server, id, &json!({ "verdict": "false_positive" })).await;
    assert_eq!(&again["feedback"], feedback);
    let (_, changed) = say(&server, id, &json!({ "verdict": "true_positive" })).await;
    assert_eq!(changed["feedback"]["verdict"], "true_positive");

    let audit = server.json("/api/v1/audit?action=alert.feedback").await;
    let lines: Vec<_> = audit["items"].as_array().unwrap().iter().map(|line| &line["detail"]).collect();
    assert_eq!(lines, ["true_positive", "false_positive", "false_positive: our scanner"]);
}

#[tokio::test]
async fn feedback_without_a_verdict_or_an_alert_or_the_scope_is_refused() {
    let server = Server::open().await;
    server.raise("10.0.0.1", 1);
    let id = &ids(&server).await[0];
    for body in [json!({}), json!({ "verdict": "maybe" }), json!({ "verdict": "true_positive", "why": "" })] {
        let (status, problem) = say(&server, id, &body).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_document")), "{body}");
    }
    let unknown = "00000000-0000-7000-8000-000000000000";
    assert_eq!(say(&server, unknown, &json!({ "verdict": "true_positive" })).await.0, 404);
    let elsewhere = server
        .post(&format!("/api/v1/alerts/{id}/feedback"), r#"{"verdict":"true_positive"}"#)
        .header("x-scope-orgid", "other");
    assert_eq!(read(elsewhere).await.0, 404);

    let closed = Server::closed().await;
    let (_, reader) = closed.token("read,watch");
    let post = closed.post(&format!("/api/v1/alerts/{id}/feedback"), r#"{"verdict":"true_positive"}"#);
    let (status, problem) = read(post.bearer_auth(reader)).await;
    assert_eq!((status, &problem["scope"]), (403, &json!("alerts:write")));
}

#[tokio::test]
async fn precision_is_told_by_detector_and_rule_of_the_tenant() {
    let server = Server::open().await;
    let detectors = server.json("/api/v1/detectors").await;
    let unjudged = named(&detectors, "name", "signature");
    assert_eq!((&unjudged["feedback"], &unjudged["rules"]), (&Value::Null, &json!([])));
    assert_eq!((&unjudged["adjustment"], &unjudged["evaluated"]), (&json!(1.0), &json!(0)));

    for source in 1..=4_u64 {
        server.raise(&format!("10.0.0.{source}"), source);
    }
    for (id, verdict) in ids(&server).await.iter().zip(["true_positive", "false_positive", "false_positive"])
    {
        assert_eq!(say(&server, id, &json!({ "verdict": verdict })).await.0, 200);
    }
    let detectors = server.json("/api/v1/detectors").await;
    let signature = named(&detectors, "name", "signature");
    let feedback = &signature["feedback"];
    assert_eq!((&feedback["true_positives"], &feedback["false_positives"]), (&json!(1), &json!(2)));
    let number = |key: &str| feedback[key].as_f64().unwrap();
    assert!((number("precision") - 1.0 / 3.0).abs() < 1e-9, "{feedback}");
    assert!((number("low") - 0.061).abs() < 1e-3 && (number("high") - 0.792).abs() < 1e-3, "{feedback}");
    assert_eq!(signature["rules"][0]["rule"], "brute-force");
    assert_eq!(signature["rules"][0]["suggestion"], "dry_run");
    assert_eq!(named(&detectors, "name", "zscore")["feedback"], Value::Null);

    let rules = server.json("/api/v1/rules").await;
    let rule = named(&rules, "id", "brute-force");
    assert_eq!((&rule["feedback"], &rule["suggestion"]), (feedback, &json!("dry_run")));
    let other = named(&rules, "id", "other");
    assert_eq!((&other["feedback"], &other["suggestion"]), (&Value::Null, &Value::Null));

    let elsewhere = read(server.get("/api/v1/detectors").header("x-scope-orgid", "other")).await.1;
    assert_eq!(named(&elsewhere, "name", "signature")["feedback"], Value::Null);
}

#[tokio::test]
async fn an_alert_shows_what_was_done_about_those_like_it() {
    let server = Server::open().await;
    server.raise("10.0.0.1", 1);
    server.raise("10.0.0.2", 2);
    let first = ids(&server).await;
    for (id, note) in first.iter().zip(["waited", "blocked at the edge"]) {
        let body = json!({ "note": note }).to_string();
        assert_eq!(read(server.post(&format!("/alerts/{id}/resolve"), body)).await.0, 200);
    }
    say(&server, &first[1], &json!({ "verdict": "true_positive" })).await;
    // So soon after, it is the same alert that came back.
    server.raise("10.0.0.2", 3);
    let alert = server.json(&format!("/api/v1/alerts/{}", first[0])).await;
    assert_eq!((&alert["id"], &alert["status"]), (&json!(first[0]), &json!("OPEN")));
    let similar = alert["similar"].as_array().unwrap();
    let told: Vec<_> = similar.iter().map(|one| (&one["same"], &one["id"], &one["note"])).collect();
    assert_eq!(told, [(&json!("rule"), &json!(first[1]), &json!("blocked at the edge"))]);
    assert_eq!(
        (&similar[0]["status"], &similar[0]["feedback"]["verdict"]),
        (&json!("RESOLVED"), &json!("true_positive"))
    );
}
