//! Rules on trial, and what an operator looks after. Keeping rules and tuning detectors is tested with the binary.

use serde_json::{Value, json};

use crate::harness::{Server, read};

const RULE: &str = "id: shop.coupon\ntitle: Coupons are guessed\nseverity: warning\nwhen: '\"invalid coupon\" service:shop'\n\
                    threshold: {count: 3, within: 1m}\nentity: source_ip\n";

fn coupon(second: u32, ip: &str) -> Value {
    json!({
        "timestamp": format!("2026-11-20T10:00:{second:02}Z"), "service": "shop", "source_ip": ip,
        "message": format!("invalid coupon FREE{second}"),
    })
}

async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    read(server.post(path, body.to_string())).await
}

#[tokio::test]
async fn a_rule_is_checked_by_line_and_column() {
    let server = Server::open().await;
    let check = async |yaml: &str| post(&server, "/api/v1/rules/check", &json!({ "yaml": yaml })).await.1;
    let good = check(RULE).await;
    assert_eq!((&good["ok"], &good["rules"][0]["id"]), (&json!(true), &json!("shop.coupon")), "{good}");
    let severities: Vec<_> = good["diagnostics"].as_array().unwrap().iter().map(|d| &d["severity"]).collect();
    assert!(!severities.is_empty() && severities.iter().all(|severity| **severity == "warning"), "{good}");

    let broken = check(&RULE.replace("when: '", "wen: '")).await;
    let first = &broken["diagnostics"][0];
    assert_eq!((&broken["ok"], &first["line"], &first["column"]), (&json!(false), &json!(4), &json!(1)));
    assert_eq!(first["hint"], "did you mean `when`?");

    let half = check(&RULE.replace("service:shop", "(service:shop")).await;
    let first = &half["diagnostics"][0];
    assert_eq!((&first["line"], first["column"].as_u64() > Some(7)), (&json!(4), true), "{half}");

    let taken = check(&RULE.replace("shop.coupon", "brute-force")).await;
    assert_eq!((&taken["ok"], &taken["diagnostics"][0]["line"]), (&json!(false), &json!(1)), "{taken}");
    assert_eq!(check("").await["ok"], json!(false));
}

#[tokio::test]
async fn a_rule_is_tested_on_records_and_says_why_it_matches() {
    let server = Server::open().await;
    let records: Vec<Value> =
        (0..3).map(|n| coupon(n, "203.0.113.9")).chain([json!("all is well"), json!(17)]).collect(); // a number is a message too
    let (status, answer) =
        post(&server, "/api/v1/rules/test", &json!({ "yaml": RULE, "records": records })).await;
    assert_eq!(status, 200, "{answer}");
    let matched: Vec<usize> = answer["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["matched"].as_array().unwrap().len())
        .collect();
    assert_eq!(matched, [1, 1, 1, 0, 0]);
    let why = &answer["records"][0]["matched"][0]["why"];
    assert_eq!(why[1], json!({ "field": "service", "value": "shop", "test": "service:shop" }), "{why}");
    assert_eq!(answer["alerts"].as_array().unwrap().len(), 1, "the threshold counts: {answer}");
    assert_eq!(answer["alerts"][0]["entity"], json!({ "kind": "source_ip", "value": "203.0.113.9" }));

    let syslog = json!({ "yaml": "id: l\ntitle: L\nseverity: warning\nwhen: '\"Failed password\"'\n",
        "text": "Jan 12 10:00:00 bastion sshd[1]: Failed password for root from 203.0.113.9 port 22 ssh2\n", "source": "syslog" });
    let (_, answer) = post(&server, "/api/v1/rules/test", &syslog).await;
    assert_eq!(answer["records"][0]["matched"][0]["rule"], "l", "{answer}");
    let (status, _) =
        post(&server, "/api/v1/rules/test", &json!({ "yaml": RULE, "text": "x", "source": "morse" })).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn a_rule_is_tried_on_what_is_kept() {
    let server = Server::open().await;
    let records: Vec<Value> = (0..4).map(|n| coupon(n, "203.0.113.9")).collect();
    assert_eq!(post(&server, "/api/v1/ingest/logs", &json!(records)).await.0, 200);
    server.settled().await;
    let range =
        |yaml: &str| json!({ "yaml": yaml, "from": "2026-11-20T09:30:00Z", "to": "2026-11-20T11:30:00Z" });
    let (status, answer) = post(&server, "/api/v1/rules/backtest", &range(RULE)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["records"], &answer["matches"], &answer["alerts"]),
        (&json!(4), &json!(4), &json!(1))
    );
    let hours: Vec<_> = answer["per_hour"].as_array().unwrap().iter().map(|hour| &hour["count"]).collect();
    assert_eq!(hours, [&json!(0), &json!(4), &json!(0)]);
    assert_eq!(answer["sample"][0]["message"], "invalid coupon FREE0");
    let id = answer["sample"][0]["id"].as_str().unwrap();
    let found = server.json(&format!("/api/v1/query?query=id:{id}&from=2026-11-20T00:00:00Z")).await;
    assert_eq!(found["rows"].as_array().unwrap().len(), 1, "the id is the record's: {found}");

    let sigma = "title: Odd\nid: odd\nlogsource: {service: shop}\nlevel: high\ndetection:\n  s:\n    message|contains: FREE2\n  condition: s\n";
    let (_, answer) = post(&server, "/api/v1/rules/backtest", &range(sigma)).await;
    assert_eq!((&answer["records"], &answer["rules"][0]["id"]), (&json!(4), &json!("odd")), "{answer}");
    for (body, code) in [
        (json!({ "yaml": "id: [" }), "invalid_rule"),
        (json!({}), "invalid_document"),
        (json!({ "yaml": RULE, "from": "now", "to": "now-1h" }), "invalid_document"),
        (json!({ "yaml": RULE, "from": "now-90d" }), "invalid_document"),
        (json!({ "rule": "absent" }), "not_found"),
    ] {
        assert_eq!(post(&server, "/api/v1/rules/backtest", &body).await.1["code"], code, "{body}");
    }
}

#[tokio::test]
async fn a_detector_is_tried_at_another_factor() {
    let server = Server::open().await;
    let sample = |n: u32| {
        let value = if n == 150 { 20.0 } else { 10.0 + f64::from(n % 5) };
        json!({ "timestamp": format!("2026-11-20T10:{:02}:{:02}Z", n / 60, n % 60), "service": "shop", "name": "queue_depth", "value": value })
    };
    let samples: Vec<Value> = (0..200).map(sample).collect();
    assert_eq!(post(&server, "/api/v1/ingest/metrics", &json!(samples)).await.0, 200);
    server.settled().await;
    let body = |factor: f64| json!({ "threshold_factor": factor, "from": "2026-11-20T10:00:00Z", "to": "2026-11-20T11:00:00Z" });
    let (status, answer) = post(&server, "/api/v1/detectors/zscore/preview", &body(4.0)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["records"], &answer["alerts_now"], &answer["alerts_then"]),
        (&json!(200), &json!(1), &json!(0))
    );
    assert_eq!(answer["per_hour"], json!([{ "at": "2026-11-20T10:00:00.000000000Z", "now": 1, "then": 0 }]));
    assert_eq!(answer["sample"][0]["raised"], "now");
    let (status, problem) = post(&server, "/api/v1/detectors/zscore/preview", &json!({})).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("threshold_factor")));
}

#[tokio::test]
async fn live_sessions_are_listed_and_closed() {
    let server = Server::closed().await;
    let (_, admin) = server.token("admin");
    let (token, reader) = server.token("read");
    let bearer = format!("Bearer {reader}");
    let mut socket = server.socket("/ws/alerts", &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(socket.next().await.unwrap()["type"], "snapshot");
    let sessions = async || read(server.get("/api/v1/sessions").bearer_auth(&admin)).await.1["items"].clone();
    let listed = sessions().await;
    assert_eq!((&listed[0]["kind"], &listed[0]["token"]), (&json!("ws_alerts"), &json!(token)), "{listed}");
    let id = listed[0]["id"].as_str().unwrap();
    let close = || server.client.delete(server.url(&format!("/api/v1/sessions/{id}"))).bearer_auth(&admin);
    assert_eq!(read(close()).await.0, 204);
    assert!(socket.next().await.is_none(), "the session is over");
    drop(socket);
    let audit = read(server.get("/api/v1/audit").bearer_auth(&admin)).await.1;
    assert_eq!(audit["items"][0]["action"], "session.close");
    let verified = read(server.get("/api/v1/audit/verify").bearer_auth(&admin)).await.1;
    assert_eq!(verified["ok"], json!(true), "{verified}");
}

#[tokio::test]
async fn tenants_storage_and_the_server_itself_are_summed_up() {
    let server = Server::open().await;
    let records = json!([coupon(1, "203.0.113.9"), { "service": "shop", "message": "x", "classification": "restricted" }]);
    assert_eq!(post(&server, "/api/v1/ingest/logs", &records).await.0, 200);
    server.settled().await;
    let tenants = server.json("/api/v1/tenants").await;
    assert_eq!(
        (&tenants["items"][0]["tenant"], &tenants["items"][0]["logs"]),
        (&json!("default"), &json!(2))
    );
    let storage = server.json("/api/v1/storage/summary").await;
    assert_eq!(storage["guard"]["state"], "refusing", "10 bytes free, refused below 20: {storage}");
    assert_eq!(storage["datasets"][0]["records"], 2);
    let classes = &storage["classes"]["items"];
    assert!(
        classes.as_array().unwrap().contains(&json!({ "classification": "restricted", "records": 1 })),
        "{storage}"
    );
    assert_eq!(storage["policies"].as_array().unwrap().last().unwrap()["keep"], "30d");

    assert_eq!(read(server.get("/api/v1/query?query=coupon&from=2026-11-20T00:00:00Z")).await.0, 200);
    assert_eq!(read(server.get("/api/v1/status")).await.0, 500, "a handler that fails");
    let status = server.json("/api/v1/status/self").await;
    assert_eq!(
        (&status["latency"]["queries"], &status["errors"]["errors"]),
        (&json!(1), &json!(1)),
        "{status}"
    );
    assert!(status["latency"]["p95_ms"]["value"].as_f64().is_some());
    assert_eq!(status["slos"][0]["burn"].as_array().unwrap().len(), 3);
    assert_eq!(status["slos"][1]["total"], 1);
    assert_eq!(status["history"].as_array().unwrap().len(), 60);
}
