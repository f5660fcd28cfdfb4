use axum::body::to_bytes;
use axum::http::{HeaderMap, Request};
use heimdall_guard::{Admitted, Denied, Ends, Principal};
use heimdall_ingest::rate::RateLimit;
use heimdall_ingest::{DecodeLimits, IntakeLimits};
use heimdall_model::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::testing::{TestShared, shared, shared_that_takes, shared_with};

/// Asks as somebody on this machine, or as nobody; the answer with its headers.
async fn ask_as(it: &TestShared, is_known: bool, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let mut request = request;
    let here = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let admitted = if is_known { Ok(Arc::new(Principal::loopback())) } else { Err(Denied::NoToken) };
    request.extensions_mut().insert(Ends { peer: here, local: here });
    request.extensions_mut().insert(Admitted(admitted));
    let router = routes(Arc::clone(&it.shared), &ElasticsearchConfig::default());
    let response = router.oneshot(request).await.expect("routes answer");
    let (parts, body) = response.into_parts();
    assert_eq!(parts.headers["x-elastic-product"], "Elasticsearch");
    let body = to_bytes(body, 16 << 20).await.expect("a body");
    (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
}

async fn ask(it: &TestShared, method: &str, path: &str, body: &str) -> (u16, Value) {
    let request = Request::builder()
        .header("user-agent", "elastic-test")
        .method(method)
        .uri(path)
        .body(Body::from(body.to_owned()))
        .expect("plain");
    let (status, _, body) = ask_as(it, true, request).await;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).expect("JSON") };
    (status.as_u16(), body)
}

#[tokio::test]
async fn clients_find_what_they_look_for_at_every_prefix() {
    let it = shared();
    for prefix in PREFIXES {
        for slash in ["", "/"] {
            let path = format!("{prefix}{slash}");
            if !path.is_empty() {
                let (status, root) = ask(&it, "GET", &path, "").await;
                assert_eq!((status, &root["version"]["number"]), (200, &json!("8.9.0")), "{path}");
                assert_eq!(root["tagline"], "You Know, for Search");
                assert_eq!(ask(&it, "HEAD", &path, "").await, (200, Value::Null), "{path}");
            }
            for (method, path, member) in [
                ("GET", "/_license", "license"),
                ("GET", "/_xpack", "features"),
                ("GET", "/_nodes", "nodes"),
                ("GET", "/_nodes/http", "nodes"),
                ("GET", "/_nodes/_local", "nodes"),
                ("GET", "/_cluster/health", "status"),
                ("GET", "/_cluster/settings", "persistent"),
                ("PUT", "/_cluster/settings", "acknowledged"),
                ("PUT", "/_ilm/policy/filebeat", "acknowledged"),
                ("PUT", "/_index_template/filebeat-8.9.0", "acknowledged"),
                ("POST", "/_component_template/a", "acknowledged"),
                ("PUT", "/_template/logstash", "acknowledged"),
                ("PUT", "/_data_stream/filebeat-8.9.0", "acknowledged"),
                ("PUT", "/_ingest/pipeline/a/b", "acknowledged"),
                ("PUT", "/_logstash/pipeline/x", "acknowledged"),
                ("PUT", "/logs-a-b", "index"),
            ] {
                let path = format!("{prefix}{path}{slash}");
                let (status, body) = ask(&it, method, &path, "{}").await;
                assert!(status == 200 && !body[member].is_null(), "{method} {path}: {status} {body}");
            }
            for path in
                ["/_ilm/policy/x", "/_index_template/x", "/_data_stream/x", "/_ingest/pipeline", "/a-b.c"]
            {
                assert_eq!(ask(&it, "HEAD", &format!("{prefix}{path}{slash}"), "").await.0, 200, "{path}");
            }
        }
    }
    let request =
        Request::get("/_nodes/http").header("host", "logs.example:9200").body(Body::empty()).expect("plain");
    let nodes: Value = serde_json::from_str(&ask_as(&it, true, request).await.2).expect("JSON");
    let node = nodes["nodes"].as_object().expect("nodes").values().next().expect("one").clone();
    assert_eq!(node["http"]["publish_address"], "logs.example:9200");
}

#[tokio::test]
async fn a_bulk_is_answered_item_by_item_after_it_is_durable() {
    let it = shared();
    let body = r#"{"create":{"_index":"logs-a-b"}}
{"message":"one","@timestamp":1764240000123}
{"index":{"_id":"mine"}}
{"message":1
{"delete":{"_id":"x"}}
{"index":{"_id":"7"}}
{"message":"two"}
"#;
    let (status, answer) = ask(&it, "POST", "/of-path/_bulk?refresh=true&pipeline=p", body).await;
    assert_eq!((status, &answer["errors"]), (200, &json!(true)));
    assert!(answer["took"].is_u64());
    let items = answer["items"].as_array().expect("items");
    let first = &items[0]["create"];
    assert_eq!(
        (&first["status"], &first["_index"], &first["result"]),
        (&json!(201), &json!("logs-a-b"), &json!("created"))
    );
    assert!(first["_id"].as_str().expect("an id").ends_with("-0"));
    assert_eq!(
        items[1]["index"],
        json!({"_index": "of-path", "_id": "mine", "status": 400, "error": {
            "type": "mapper_parsing_exception",
            "reason": "failed to parse: record is not JSON at byte 12: object is not closed",
        }})
    );
    assert_eq!(
        (&items[2]["delete"]["status"], &items[2]["delete"]["error"]["type"]),
        (&json!(400), &json!("illegal_argument_exception"))
    );
    assert_eq!((&items[3]["index"]["_id"], &items[3]["index"]["status"]), (&json!("7"), &json!(201)));
    let records = it.records(2);
    assert_eq!(
        (&records[0]["message"], &records[0]["timestamp"]),
        (&json!("one"), &json!("2025-11-27T10:40:00.123000000Z"))
    );
    assert_eq!(records[1]["attributes"], json!({"_index": "of-path", "_id": "7"}));
    let receipts = it.shared.intake.receipts(&it.caller().tenant, 10, None).items;
    assert_eq!(
        (receipts[0].door.as_ref(), receipts[0].accepted, receipts[0].rejected_total),
        ("elasticsearch", 2, 2)
    );
}

#[tokio::test]
async fn shippers_that_filter_the_answer_get_a_short_one() {
    let it = shared();
    let body = "{\"create\":{}}\n{\"message\":\"a\"}\n{\"create\":{}}\nx\n";
    let path = "/_bulk?filter_path=errors%2Citems.%2A.error%2Citems.%2A.status";
    let (_, answer) = ask(&it, "POST", path, body).await;
    assert_eq!(answer["items"][0], json!({"create": {"status": 201}}));
    assert_eq!(answer["items"][1]["create"]["error"]["reason"], "failed to parse: document is not an object");
    let (_, answer) = ask(&it, "POST", "/_bulk?filter_path=items.*._id", body).await;
    assert!(answer["items"][0]["create"]["_id"].is_string());
}

#[tokio::test]
async fn a_bulk_of_ids_is_written_once() {
    let it = shared();
    let body = "{\"index\":{\"_id\":\"1\"}}\n{\"message\":\"a\"}\n{\"index\":{\"_id\":\"2\"}}\n{\"message\":\"b\"}\n";
    let first = ask(&it, "POST", "/x/_bulk", body).await;
    let again = ask(&it, "PUT", "/x/_bulk/", body).await;
    assert_eq!(
        (first.1["items"].clone(), first.0),
        (again.1["items"].clone(), again.0),
        "a retry is answered as the first time"
    );
    assert_eq!(it.records(2).len(), 2);
    ask(&it, "POST", "/x/_bulk", &body.replace("\"b\"", "\"c\"")).await;
    assert_eq!(it.records(2)[1]["message"], "c", "the same ids with other documents are other records");
    let without = "{\"index\":{}}\n{\"message\":\"a\"}\n";
    ask(&it, "POST", "/x/_bulk", without).await;
    ask(&it, "POST", "/x/_bulk", without).await;
    assert_eq!(it.records(2).len(), 2);
    assert!(it.is_quiet());
}

#[tokio::test]
async fn one_document_at_a_time() {
    let it = shared();
    let (status, answer) = ask(&it, "POST", "/logs-app-prod/_doc", "{\n \"message\": \"pretty\"\n}").await;
    assert_eq!(
        (status, &answer["result"], &answer["_index"]),
        (201, &json!("created"), &json!("logs-app-prod"))
    );
    for (method, path) in
        [("PUT", "/a/_doc/1"), ("POST", "/a/_create/2/"), ("PUT", "/elasticsearch/a/_doc/3?op_type=create")]
    {
        let (status, answer) = ask(&it, method, path, r#"{"message":"m"}"#).await;
        assert_eq!((status, &answer["_version"]), (201, &json!(1)), "{path}");
    }
    assert_eq!(ask(&it, "PUT", "/a/_doc/1", r#"{"message":"m"}"#).await.0, 201);
    let records = it.records(4);
    assert_eq!(records[0]["attributes"]["data_stream"]["namespace"], "prod");
    assert_eq!(records[3]["attributes"], json!({"_index": "a", "_id": "3"}));
    assert!(it.is_quiet(), "the same document under the same id is written once");
    let (status, answer) = ask(&it, "PUT", "/a/_doc/4", "[1]").await;
    assert_eq!(
        (status, &answer["error"]["type"], &answer["status"]),
        (400, &json!("mapper_parsing_exception"), &json!(400))
    );
}

#[tokio::test]
async fn what_is_refused_is_refused_in_the_words_of_elasticsearch() {
    let it = shared_that_takes(1.0);
    let kind =
        |answer: &Value| answer["error"]["root_cause"][0]["type"].as_str().unwrap_or_default().to_owned();
    let (status, answer) = ask(&it, "POST", "/_bulk", "").await;
    assert_eq!((status, kind(&answer).as_str(), &answer["status"]), (400, "parse_exception", &json!(400)));
    let (status, answer) = ask(&it, "POST", "/_bulk", "{\"message\":\"no action\"}\n").await;
    assert_eq!((status, kind(&answer).as_str()), (400, "illegal_argument_exception"));
    assert!(answer["error"]["reason"].as_str().expect("a reason").contains("line [1]"));
    assert_eq!(ask(&it, "DELETE", "/_bulk", "").await.0, 405);
    for (method, path) in [("GET", "/favicon.x"), ("POST", "/some"), ("DELETE", "/some")] {
        let (status, answer) = ask(&it, method, path, "").await;
        assert_eq!((status, &answer["code"]), (404, &json!("path_unknown")));
    }
    assert_eq!(ask(&it, "PUT", "/Not%20one", "").await.0, 400);

    let body = "{\"create\":{}}\n{}\n";
    assert_eq!(ask(&it, "POST", "/_bulk", body).await.0, 200);
    let request = || Request::post("/_bulk").header("user-agent", "x").body(Body::from(body)).expect("plain");
    let (status, headers, answer) = ask_as(&it, true, request()).await;
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!((status.as_u16(), kind(&answer).as_str()), (429, "es_rejected_execution_exception"));
    assert!(headers["retry-after"].to_str().expect("a number").parse::<u64>().expect("a number") >= 1);
    let (status, headers, answer) = ask_as(&it, false, request()).await;
    assert!(
        status == 401 && headers.contains_key("www-authenticate") && answer.contains("security_exception")
    );
    let (status, _, _) = ask_as(&it, false, Request::get("/").body(Body::empty()).expect("plain")).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_large_packed_bulk_is_taken() {
    use std::io::Write as _;
    let it = shared();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for n in 0..20_000 {
        writeln!(
            packed,
            "{{\"create\":{{\"_index\":\"logs-x-y\"}}}}\n{{\"message\":\"number {n}\",\"n\":{n}}}"
        )
        .expect("memory");
    }
    let body = packed.finish().expect("memory");
    let request =
        Request::post("/_bulk").header("content-encoding", "gzip").body(Body::from(body)).expect("plain");
    let (status, _, answer) = ask_as(&it, true, request).await;
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!((status.as_u16(), &answer["errors"]), (200, &json!(false)));
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(20_000));
    assert_eq!(it.records(20_000)[19_999]["message"], "number 19999");
}

#[test]
fn a_version_has_three_numbers() {
    assert!(ElasticsearchConfig::default().check().is_ok());
    for version in ["8", "8.9", "8.9.x", "8.9.0-SNAPSHOT", ""] {
        let config = ElasticsearchConfig { version: version.to_owned() };
        assert!(config.check().is_err(), "{version}");
    }
}

#[tokio::test]
async fn a_client_without_a_name_is_held_until_there_is_room() {
    let limit = RateLimit { records_per_second: 4.0, burst_records: 1.0 };
    let it = shared_with(&IntakeLimits { per_tenant: Some(limit), ..IntakeLimits::default() });
    for n in 0..4 {
        let body = format!("{{\"create\":{{}}}}\n{{\"message\":\"m{n}\"}}\n");
        let request = Request::post("/_bulk").body(Body::from(body)).expect("plain");
        let (status, _, answer) = ask_as(&it, true, request).await;
        assert!(status == 200 && answer.contains("\"errors\":false"), "{answer}");
    }
    assert_eq!(it.records(4)[3]["message"], "m3");

    let body = "{\"create\":{\"_id\":\"1\"}}\n{\"message\":\"m\"}\n{\"delete\":{}}\n";
    let items = {
        let reading_limits = DecodeLimits::default();
        let reading = Reading::new(Timestamp(5), &reading_limits);
        bulk::decode(body.as_bytes(), reading, Some("i")).expect("a bulk").items
    };
    let failure = Failure::Refused(Refused::Busy { retry_after: Duration::from_secs(1) });
    let (parts, answer) = answer::refused_items(&items, &failure).into_parts();
    let answer: Value =
        serde_json::from_slice(&to_bytes(answer, 1 << 20).await.expect("a body")).expect("JSON");
    assert_eq!(
        (parts.status, &parts.headers["retry-after"]),
        (StatusCode::OK, &HeaderValue::from_static("1"))
    );
    let first = &answer["items"][0]["create"];
    assert_eq!(
        (&first["status"], &first["error"]["type"]),
        (&json!(503), &json!("es_rejected_execution_exception"))
    );
    assert_eq!(answer["items"][1]["delete"]["status"], 400);
}

/// Documents that are no good JSON, from a public collection, when it is there.
#[test]
fn broken_documents_are_items_that_say_so() {
    let Some(dir) = std::env::var_os("HEIMDALL_DATA") else {
        eprintln!("skipped: HEIMDALL_DATA is not set");
        return;
    };
    let dir = std::path::PathBuf::from(dir).join("bad_input/json");
    let limits = DecodeLimits::default();
    let mut seen = 0;
    for file in std::fs::read_dir(dir).expect("a folder").flatten() {
        let document = std::fs::read(file.path()).expect("a file");
        let name = file.file_name().to_string_lossy().into_owned();
        let reading = Reading::new(Timestamp(5), &limits);
        let mut body = b"{\"create\":{\"_id\":\"1\"}}\n".to_vec();
        body.extend(document.iter().filter(|byte| **byte != b'\n'));
        body.extend(b"\n{\"create\":{\"_id\":\"2\"}}\n{\"message\":\"good\"}\n");
        let bulk = bulk::decode(&body, reading, Some("i")).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((bulk.items.len(), &bulk.items[1].error), (2, &None), "{name}");
        let is_object = serde_json::from_slice::<serde_json::Map<String, Value>>(&document).is_ok();
        if name.starts_with("n_") {
            assert!(bulk.items[0].error.is_some(), "{name}");
        } else if name.starts_with("y_") && is_object {
            assert_eq!(bulk.items[0].error, None, "{name}");
        }
        let _ = bulk::decode(&document, reading, None);
        seen += 1;
    }
    assert!(seen > 50, "{seen} files");
}
