use axum::http::Request;
use heimdall_ingest::DecodeLimits;
use heimdall_model::Timestamp;
use heimdall_testkit::mutants::{Seeds, fuzz};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::testing::{TestShared, check_batch, shared, shared_that_takes};

async fn ask(it: &TestShared, path: &str, kind: &str, body: &str) -> (u16, Value) {
    let request =
        Request::post(path).header("content-type", kind).body(Body::from(body.to_owned())).expect("plain");
    let (status, answer) = it.ask(routes().with_state(Arc::clone(&it.shared)), request).await;
    (status.as_u16(), serde_json::from_str(&answer).expect("JSON"))
}

const JSON: &str = "application/json";

/// As the documentation of the API has it, and as the Agent sends it.
#[tokio::test]
async fn records_of_the_agent_are_taken() {
    let it = shared();
    let body = r#"[
      {"ddsource":"nginx","ddtags":"env:staging,version:5.1,team:a,team:b,canary","hostname":"i-012345678",
       "message":"2019-11-19T14:37:58,995 INFO [process.name][20081] Hello World","service":"payment"},
      {"message":"m","status":"error","timestamp":1764240000123,"dd.trace_id":"1234567890","dd":{"span_id":"255"},
       "host":"h","ddtags":"env:prod,service:tagged,host:other"},
      {"message":{"message":"inner","lambda":{"arn":"arn:x"}},"status":"ok","level":"debug","http.status_code":500}
    ]"#;
    assert_eq!(ask(&it, "/api/v2/logs?ddtags=site:eu", JSON, body).await, (202, json!({})));
    let records = it.records(3);
    assert_eq!(records[0]["service"], "payment");
    assert_eq!((&records[0]["environment"], &records[0]["host"]), (&json!("staging"), &json!("i-012345678")));
    assert_eq!(
        records[0]["attributes"],
        json!({"site": "eu", "service.version": "5.1", "team": ["a", "b"], "tags": "canary", "ddsource": "nginx"})
    );
    let second = &records[1];
    assert_eq!(
        (&second["level"], &second["timestamp"]),
        (&json!("error"), &json!("2025-11-27T10:40:00.123000000Z"))
    );
    assert_eq!(
        (&second["trace_id"], &second["span_id"]),
        (&json!("000000000000000000000000499602d2"), &json!("00000000000000ff"))
    );
    assert_eq!((&second["host"], &second["service"]), (&json!("h"), &json!("tagged")));
    assert_eq!(second["attributes"]["host"], "other", "a tag does not take the field");
    let third = &records[2];
    assert_eq!((&third["message"], &third["level"]), (&json!("inner"), &json!("debug")));
    assert_eq!(
        third["attributes"],
        json!({"site": "eu", "lambda": {"arn": "arn:x"}, "status": "ok", "http.status_code": 500})
    );
}

#[tokio::test]
async fn one_object_lines_of_text_and_the_older_path() {
    let it = shared();
    assert_eq!(ask(&it, "/api/v2/logs", JSON, r#"{"message":"one"}"#).await, (202, json!({})));
    assert_eq!(
        ask(&it, "/v1/input", JSON, "{\"message\":\"two\"}\n{\"message\":\"three\"}").await,
        (200, json!({}))
    );
    let path = "/v1/input/secret?ddsource=app&service=web&hostname=h1&ddtags=env:dev";
    let text = "2026-11-27 10:00:00 ERROR boom\n\nplain";
    assert_eq!(ask(&it, path, "text/plain; charset=utf-8", text).await, (200, json!({})));
    let records = it.records(5);
    assert_eq!(records[2]["message"], "three");
    assert_eq!((&records[3]["level"], &records[3]["service"]), (&json!("error"), &json!("web")));
    assert_eq!(
        (&records[4]["message"], &records[4]["host"], &records[4]["environment"]),
        (&json!("plain"), &json!("h1"), &json!("dev"))
    );
    for nothing in ["{}", "[]", "[{}]"] {
        assert_eq!(ask(&it, "/api/v2/logs", JSON, nothing).await, (202, json!({})), "a client tries the way");
    }
    assert!(it.is_quiet());
}

#[tokio::test]
async fn what_is_not_taken_is_answered_with_errors() {
    let it = shared_that_takes(2.0);
    let (status, answer) = ask(&it, "/api/v2/logs", JSON, r#"[{"message":"a"},"#).await;
    assert_eq!((status, &answer["errors"][0]["title"]), (400, &json!("Bad Request")));
    assert!(answer["errors"][0]["detail"].as_str().expect("a reason").starts_with("body is not JSON"));
    assert_eq!(ask(&it, "/api/v2/logs", JSON, " ").await.0, 400);
    let long = format!(r#"[{{"message":"{}"}}]"#, "x".repeat(1 << 20));
    let (status, answer) = ask(&it, "/api/v2/logs", JSON, &long).await;
    assert!(status == 400 && answer.to_string().contains("larger than 1048576"), "{answer}");
    assert_eq!(ask(&it, "/api/v2/logs", JSON, r#"["a",{"message":"b"}]"#).await.0, 202);
    assert_eq!(it.records(2)[0]["message"], "a");
    assert_eq!(ask(&it, "/api/v2/logs", JSON, r#"[{"message":"a"}]"#).await.0, 429);

    let request = Request::get("/api/v1/validate").body(Body::empty()).expect("plain");
    let (status, answer) = it.ask(routes().with_state(Arc::clone(&it.shared)), request).await;
    assert_eq!((status.as_u16(), answer.as_str()), (200, r#"{"valid":true}"#));
    let nobody = Request::get("/api/v1/validate").body(Body::empty()).expect("plain");
    let router = routes().with_state(Arc::clone(&it.shared));
    let response = tower::ServiceExt::oneshot(router, nobody).await.expect("routes answer");
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn statuses_are_levels() {
    for (status, level) in [
        ("\"emergency\"", Some(Level::Fatal)),
        ("3", Some(Level::Error)),
        ("\"7\"", Some(Level::Debug)),
        ("\"Warning!\"", Some(Level::Warn)),
        ("\"OK\"", Some(Level::Info)),
        ("200", None),
        ("\"zzz\"", None),
        ("null", None),
    ] {
        assert_eq!(level_of(status), level, "{status}");
    }
}

fn decoded(body: &[u8]) -> Result<Decoded, BodyError> {
    let limits = DecodeLimits::default();
    decode_json(body, Reading::new(Timestamp(5), &limits), &Given::default())
}

/// Bodies that are no good JSON, from a public collection, when it is there.
#[test]
fn broken_bodies_are_refused_whole() {
    let Some(dir) = std::env::var_os("HEIMDALL_DATA") else {
        eprintln!("skipped: HEIMDALL_DATA is not set");
        return;
    };
    let dir = std::path::PathBuf::from(dir).join("bad_input/json");
    let mut seen = 0;
    for file in std::fs::read_dir(dir).expect("a folder").flatten() {
        let body = std::fs::read(file.path()).expect("a file");
        let name = file.file_name().to_string_lossy().into_owned();
        let was_taken = decoded(&body).is_ok_and(|decoded| !decoded.batch.is_empty());
        // Bytes that are not UTF-8 are replaced, and several values one after the other are several records.
        let is_lenient = name.contains("utf8") || name.contains("trailing_garbage") || name.contains("UTF-8");
        assert!(!name.starts_with("n_") || !was_taken || is_lenient, "{name}");
        seen += 1;
    }
    assert!(seen > 50, "{seen} files");
}

proptest! {
    #[test]
    fn any_bytes_never_panic(
        body in prop::collection::vec(any::<u8>(), 0..64),
        text in r#"[\[\]{}",:\\u0-9a-f e+.\n-]{0,48}"#,
        tags in "[a-z:, ]{0,24}",
        status in "[a-z0-9]{0,6}",
    ) {
        let limits = DecodeLimits::default();
        let reading = Reading::new(Timestamp(5), &limits);
        let given = Given { ddtags: Some(tags.clone()), ..Given::default() };
        let _ = decoded(&body);
        let _ = decode_json(text.as_bytes(), reading, &given);
        let _ = decode_text(&body, reading, &given);
        let record = json!([{"message": text, "ddtags": tags, "status": status, "dd.trace_id": status}]).to_string();
        let decoded = decode_json(record.as_bytes(), reading, &given).expect("JSON");
        prop_assert_eq!(decoded.batch.rows(), 1);
    }
}

#[test]
fn mutants_are_refused_or_read() {
    let seeds = Seeds::text([
        json!([{"ddsource": "nginx", "ddtags": "env:staging,version:5.1,solo,kube_ns:x", "hostname": "i-01", "message": "m", "service": "payment",
            "status": "warn", "timestamp": 1_700_000_000_123_i64, "dd.trace_id": "1234567890123456789", "dd.span_id": "ff", "a": {"b": [1]}}])
        .to_string(),
        r#"{"message":"{\"msg\":\"inner\",\"level\":\"error\"}","status":3}"#.to_owned(),
        "plain line one\nline two\r\n".to_owned(),
    ]);
    let limits = DecodeLimits::default();
    fuzz(&seeds, |mutant, _| {
        let reading = Reading::new(Timestamp(5), &limits);
        let given = Given { ddtags: Some(String::from_utf8_lossy(mutant).into_owned()), ..Given::default() };
        for given in [&Given::default(), &given] {
            for decoded in [decode_json(mutant, reading, given), decode_text(mutant, reading, given)]
                .into_iter()
                .flatten()
            {
                check_batch(&decoded, mutant.len());
            }
        }
    });
}

/// Every member named `status` was looked up among all others: seconds for one record of a megabyte.
#[test]
fn many_members_of_one_name_are_looked_at_once() {
    let body = format!("{{{}{}\"a\":1}}", "\"status\":1,".repeat(40_000), "\"b\":1,".repeat(60_000));
    let decoded = decoded(body.as_bytes()).expect("JSON");
    assert_eq!(decoded.batch.rows() as u64 + decoded.rejected_total(), 1);
}
