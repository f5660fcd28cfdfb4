//! Records in.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{Server, read};

const EVENT: &str = r#"{"timestamp":"2025-01-15T10:30:00Z","source":"web-firewall","ip":"203.0.113.5","message":"Multiple failed logins detected; possible brute force"}"#;

#[tokio::test]
async fn an_event_is_durable_findable_and_has_a_receipt() {
    let server = Server::open().await;
    let (status, answer) = read(server.post("/ingest", EVENT)).await;
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (200, &json!(1), &json!([])));
    server.settled().await;
    let logs = server.json("/logs?limit=5").await;
    assert_eq!(logs[0]["message"], "Multiple failed logins detected; possible brute force");
    assert_eq!(logs[0]["source_ip"], "203.0.113.5");
    assert_eq!(logs[0]["timestamp"], "2025-01-15T10:30:00.000000000Z");
    let receipt = answer["receipt"].as_str().unwrap();
    assert_eq!(server.json(&format!("/api/v1/receipts/{receipt}")).await["accepted"], 1);
    assert_eq!(server.json("/api/v1/receipts").await["items"][0]["receipt"], receipt);
}

#[tokio::test]
async fn the_good_rest_of_a_batch_is_kept_and_the_bad_is_named() {
    let server = Server::open().await;
    let bad = r#"{"source":"s","ip":"300.1.1.1","message":"m"}"#;
    let (status, answer) = read(server.post("/ingest", format!("[{EVENT},{bad}]"))).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)));
    let expected = json!([{ "index": 1, "field": "ip", "reason": "is not an IP address" }]);
    assert_eq!(answer["rejected"], expected);

    let (status, answer) = read(server.post("/ingest", bad)).await;
    assert_eq!((status, &answer["code"], &answer["accepted"]), (400, &json!("all_rejected"), &json!(0)));
    assert_eq!(answer["errors"][0]["field"], "ip");
}

#[tokio::test]
async fn bodies_come_plain_or_packed_in_many_forms() {
    let server = Server::open().await;
    let ndjson = "{\"message\":\"one\"}\n{\"message\":\"two\"}\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(ndjson.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let logs = "/api/v1/ingest/logs";
    for (request, accepted) in [
        (server.post(logs, ndjson), 2),
        (server.post(logs, r#"[{"message":"a"},{"message":"b"},{"message":"c"}]"#), 3),
        (server.post(logs, gzip).header("content-encoding", "gzip"), 2),
        (server.post("/api/v1/ingest/metrics", r#"{"service":"s","name":"cpu","value":1.5}"#), 1),
        (server.post(&format!("{logs}?format=text"), "just a line\nand another"), 2),
    ] {
        let (status, answer) = read(request).await;
        assert_eq!((status, &answer["accepted"]), (200, &json!(accepted)), "{answer}");
    }
}

#[tokio::test]
async fn records_without_a_service_get_the_one_of_the_request() {
    let server = Server::open().await;
    let body = "{\"message\":\"nameless\"}\n{\"message\":\"named\",\"service\":\"own\"}\n";
    assert_eq!(read(server.post("/api/v1/ingest/logs?service=pay%20desk", body)).await.0, 200);
    server.settled().await;
    let logs = server.json("/logs?limit=2").await;
    let service = |message: &str| {
        let record = logs.as_array().unwrap().iter().find(|record| record["message"] == message);
        record.unwrap()["service"].clone()
    };
    assert_eq!((service("nameless"), service("named")), (json!("pay desk"), json!("own")));
    for wrong in ["", "a%0Ab"] {
        let (status, problem) =
            read(server.post(&format!("/api/v1/ingest/logs?service={wrong}"), body)).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_parameter")));
    }
}

#[tokio::test]
async fn a_key_sent_again_writes_nothing() {
    let server = Server::open().await;
    let send = || server.post("/api/v1/ingest/logs", r#"{"message":"once"}"#).header("idempotency-key", "k1");
    assert_eq!(read(send()).await.1["accepted"], 1);
    let (status, again) = read(send()).await;
    assert_eq!((status, &again["accepted"], &again["deduplicated"]), (200, &json!(0), &json!(1)));
    let other = read(send().header("x-scope-orgid", "other")).await.1;
    assert_eq!(other["accepted"], 1, "another tenant's key is another key");
}

#[tokio::test]
async fn what_cannot_be_taken_is_a_problem_with_a_code() {
    let limits = heimdall_api::HttpLimits { body_bytes_max: 1_000, ..Default::default() };
    let server = Server::start(false, limits).await;
    let logs = "/api/v1/ingest/logs";
    let long = "x".repeat(2_000);
    let chunked = || {
        let parts = vec![Ok::<_, std::io::Error>(long.clone().into_bytes())];
        reqwest::Body::wrap_stream(futures::stream::iter(parts))
    };
    let packed = server.post(logs, "plain").header("content-encoding", "gzip");
    let brotli = server.post(logs, "plain").header("content-encoding", "br");
    for (request, status, code) in [
        (server.post(logs, ""), 400, "body_empty"),
        (server.post(logs, "{\"message\":"), 400, "invalid_json"),
        (server.post(logs, long.clone()), 413, "body_too_large"),
        (server.post(logs, chunked()), 413, "body_too_large"),
        (packed, 400, "invalid_compression"),
        (brotli, 415, "unsupported_encoding"),
        (server.post(logs, "x").header("content-type", "image/png"), 415, "unsupported_media_type"),
        (server.post("/api/v1/ingest/nothing", "{}"), 404, "not_found"),
        (server.post(&format!("{logs}?format=xml"), "{}"), 400, "invalid_parameter"),
        (server.post(logs, "{}").header("x-scope-orgid", "../etc"), 400, "invalid_parameter"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{code}");
        let found = response.status().as_u16();
        let problem: Value = response.json().await.unwrap();
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{problem}");
    }
}

#[tokio::test]
async fn two_thousand_posts_at_once_are_all_answered() {
    let server = Server::open().await;
    let posts = (0..2_000).map(|n| {
        let body = format!(r#"{{"service":"s{}","name":"cpu","value":{n}}}"#, n % 10);
        read(server.post("/api/v1/ingest/metrics", body))
    });
    let answers = futures::future::join_all(posts).await;
    let accepted =
        answers.iter().filter(|(status, answer)| *status == 200 && answer["accepted"] == 1).count();
    assert_eq!(accepted, 2_000);
    server.settled().await;
    assert_eq!(server.json("/metrics/summary").await["samples"]["total"], 2_000);
}

#[tokio::test]
async fn receipts_are_found_by_what_became_of_records_and_summed_up() {
    let server = Server::open().await;
    let send = async |body: &str, agent: &str| {
        read(server.post("/api/v1/ingest/metrics", body.to_owned()).header("user-agent", agent)).await
    };
    send(r#"{"name":"a","value":1}"#, "vector/0.40").await;
    let (status, answer) = send("{\"name\":\"a\",\"value\":1}\n{\"name\":\"b\"}", "Fluent-Bit").await;
    assert_eq!(
        (status, &answer["shipper"], &answer["rejected_total"]),
        (200, &json!("Fluent-Bit"), &json!(1))
    );
    let count = async |query: &str| {
        let page = server.json(&format!("/api/v1/receipts?{query}")).await;
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    assert_eq!(count("outcome=rejected").await, 1);
    assert_eq!(count("shipper=vector&door=http").await, 1);
    assert_eq!(count("door=hec").await, 0);
    assert_eq!(count("peer=127.0.0.1&from=now-1h").await, 2);
    for bad in ["outcome=lost", "peer=here", "from=soon"] {
        assert_eq!(read(server.get(&format!("/api/v1/receipts?{bad}"))).await.0, 400, "{bad}");
    }
    let summary = server.json("/api/v1/receipts/summary").await;
    let fluent =
        summary["items"].as_array().unwrap().iter().find(|item| item["shipper"] == "Fluent-Bit").unwrap();
    assert_eq!((&fluent["rejected"], &fluent["last_reason"]), (&json!(1), &json!("value: is missing")));
}

#[tokio::test]
async fn dead_letters_are_listed_shown_and_removed() {
    let server = Server::open().await;
    let body = "{\"name\":\"a\"}\n{oops\n{\"name\":\"a\",\"value\":1}";
    read(server.post("/api/v1/ingest/metrics", body.to_owned())).await;
    let page = server.json("/api/v1/dead-letters").await;
    let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!((ids.len(), &page["items"][0]["raw"]), (2, &json!(null)));
    let shown = server.json(&format!("/api/v1/dead-letters/{}", ids[1].as_str().unwrap())).await;
    assert_eq!((&shown["raw"], &shown["reason"]), (&json!(r#"{"name":"a"}"#), &json!("is missing")));
    assert_eq!(server.json("/api/v1/dead-letters?field=value").await["items"].as_array().unwrap().len(), 1);
    let (status, replayed) =
        read(server.post("/api/v1/dead-letters/replay", json!({"all": true}).to_string())).await;
    assert_eq!((status, replayed["failed"].as_array().unwrap().len()), (200, 2), "{replayed}");
    let purge = |query: &str| read(server.client.delete(server.url(&format!("/api/v1/dead-letters{query}"))));
    assert_eq!(purge("").await.0, 400, "nobody means all by saying nothing");
    assert_eq!(purge("?all=true").await.1["removed"], 2);
    assert_eq!(server.json("/api/v1/dead-letters").await["items"], json!([]));
}

#[tokio::test]
async fn a_pipeline_is_tried_out() {
    let server = Server::open().await;
    let test = async |request: Value| read(server.post("/api/v1/pipelines/test", request.to_string())).await;
    let yaml = "name: p\nsteps:\n - parse: {as: logfmt, keep_source: false}\n";
    let (status, answer) = test(json!({"yaml": yaml, "input": "a=1 b\n", "format": "text"})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["items"][0]["after"], r#"{"a":1,"b":true}"#);
    assert_eq!(answer["items"][0]["steps"][0]["text"], "changed");
    let (status, answer) = test(json!({"yaml": "name: p\nsteps:\n - pars: {}\n"})).await;
    assert_eq!((status, &answer["place"]["line"]), (422, &json!(3)), "{answer}");
    let list = server.json("/api/v1/pipelines").await;
    assert!(
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|item| item["name"] == "ecs" && item["enabled"] == false)
    );
}
