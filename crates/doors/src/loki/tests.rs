use axum::http::Request;
use heimdall_ingest::{DecodeLimits, Reading};
use heimdall_model::Timestamp;
use heimdall_testkit::data::bad_inputs;
use heimdall_testkit::mutants::{Seeds, fuzz};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{TestShared, check_batch, shared, shared_that_takes};

fn request(content_type: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/loki/api/v1/push");
    let request =
        if content_type.is_empty() { request } else { request.header(header::CONTENT_TYPE, content_type) };
    request.body(body.into()).expect("a request")
}

async fn send(it: &TestShared, content_type: &str, body: impl Into<Body>) -> (StatusCode, String) {
    it.ask(routes(Arc::clone(&it.shared)), request(content_type, body)).await
}

fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(u8::try_from(len & 0x7f).expect("7 bits") | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).expect("below 0x80"));
    out.extend_from_slice(bytes);
    out
}

fn entry(seconds: u8, line: &[u8], metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut out = message(1, &[0x08, seconds, 0x10, 7]);
    out.extend(message(2, line));
    for (name, value) in metadata {
        let pair = [message(1, name.as_bytes()), message(2, value.as_bytes())].concat();
        out.extend(message(3, &pair));
    }
    message(2, &out)
}

fn push_request(labels: &str, entries: &[Vec<u8>]) -> Vec<u8> {
    let stream = [entries.concat(), message(1, labels.as_bytes())].concat(); // the labels may come last
    message(1, &stream)
}

fn snappy(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).expect("small")
}

#[tokio::test]
async fn the_form_of_the_documentation_becomes_records() {
    let it = shared();
    let body = json!({"streams": [
        {"stream": {"job": "varlogs", "app": "web", "level": "warn", "source": "stdout", "message": "of a label"},
         "values": [
            ["1700000000000000001", "a \"b\"\n", {"trace_id": "0242ac120002", "user": "u1"}],
            [1_700_000_000_000_000_002_i64, "two"]]},
        {"stream": {"job": "j"}, "values": [["1700000000000000003", "three", {"detected_level": "error"}]]}]});
    let (status, text) = send(&it, "application/json; charset=utf-8", body.to_string()).await;
    assert_eq!((status, text.as_str()), (StatusCode::NO_CONTENT, ""));
    let records = it.records(3);
    let one = &records[0];
    assert_eq!(one["timestamp"], "2023-11-14T22:13:20.000000001Z");
    assert_eq!(
        (&one["message"], &one["service"], &one["level"]),
        (&json!("a \"b\"\n"), &json!("web"), &json!("warn"))
    );
    assert_eq!(one["attributes"]["job"], "varlogs");
    assert_eq!((&one["attributes"]["app"], &one["attributes"]["source"]), (&json!("web"), &json!("stdout")));
    assert_eq!(
        (&one["attributes"]["user"], &one["attributes"]["label.message"]),
        (&json!("u1"), &json!("of a label"))
    );
    assert_eq!(records[1]["timestamp"], "2023-11-14T22:13:20.000000002Z");
    assert_eq!((&records[2]["service"], &records[2]["level"]), (&json!("j"), &json!("error")));
}

#[tokio::test]
async fn the_older_form_and_a_body_without_a_type_are_read_too() {
    let it = shared();
    let body = r#"{"streams":[{"labels":"{foo=\"bar\",instance=\"i1\"}","entries":[{"ts":"2018-12-18T08:28:06.801064-04:00","line":"baz"}]}]}"#;
    let request = Request::post("/api/prom/push").body(Body::from(body)).expect("a request");
    let (status, _) = it.ask(routes(Arc::clone(&it.shared)), request).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let record = &it.records(1)[0];
    assert_eq!((&record["message"], &record["instance"]), (&json!("baz"), &json!("i1")));
    assert_eq!(record["timestamp"], "2018-12-18T12:28:06.801064000Z");
    assert_eq!(record["attributes"]["foo"], "bar");
}

#[tokio::test]
async fn protobuf_in_snappy_becomes_records_and_the_same_bytes_are_taken_once() {
    let it = shared();
    let entries = [entry(5, b"one \xff", &[("level", "error"), ("k", "v")]), entry(6, b"two", &[])];
    let body = snappy(&push_request(r#"{app="a\"b", host="h"}"#, &entries));
    for content_type in ["application/x-protobuf", ""] {
        let (status, text) = send(&it, content_type, body.clone()).await;
        assert_eq!((status, text.as_str()), (StatusCode::NO_CONTENT, ""));
    }
    let records = it.records(2);
    assert!(it.is_quiet(), "the second push was a retry");
    assert_eq!((&records[0]["message"], &records[0]["level"]), (&json!("one \u{fffd}"), &json!("error")));
    assert_eq!((&records[0]["service"], &records[0]["host"]), (&json!("a\"b"), &json!("h")));
    assert_eq!(records[0]["timestamp"], "1970-01-01T00:00:05.000000007Z");
    assert_eq!(records[0]["attributes"]["k"], "v");
}

#[tokio::test]
async fn a_push_with_bad_entries_says_so_keeps_the_good_ones_and_a_retry_doubles_nothing() {
    let it = shared();
    let body = r#"{"streams":[{"stream":{"app":"a"},"values":[["1700000000000000001","good"],["1700000000000000001"],7]},
        {"stream":{"app":{"b":1}},"values":[["1700000000000000001","of no stream"]]}]}"#;
    for _ in 0..2 {
        let (status, text) = send(&it, "application/json", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text.contains("entry 1 ignored, reason: an entry is not [time, line]"), "{text}");
        assert!(text.contains("entry 3 ignored, reason: label `app` is not text"), "{text}");
        assert!(text.contains("total ignored: 3 out of 4; the other 1 are stored"), "{text}");
    }
    assert_eq!(it.records(1)[0]["message"], "good");
    assert!(it.is_quiet());
    let proto = snappy(&push_request("{app=}", &[entry(1, b"x", &[])]));
    let (status, text) = send(&it, "application/x-protobuf", proto).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("entry 0 ignored, reason: labels are not"), "{text}");
}

#[tokio::test]
async fn what_is_no_push_is_refused_with_a_reason() {
    let it = shared();
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let cut = snappy(&push_request("{a=\"b\"}", &[entry(1, b"x", &[])])[..12]);
    let cases: [(&str, &[u8], u16, &str); 8] = [
        ("application/json", b"", 400, "body is empty"),
        ("application/json", b"{\"streams\":[", 400, "body is not a Loki push"),
        ("application/json", b"[1]", 400, "body is not a Loki push"),
        ("application/json", b"\xff{}", 400, "not UTF-8"),
        ("application/json", b"{}", 422, NO_STREAMS),
        ("application/x-protobuf", b"garbage", 400, "body is not a Loki push"),
        ("application/x-protobuf", &bomb, 400, "unpacks to 4294967295 bytes"),
        ("application/x-protobuf", &cut, 400, "a field is longer than its message"),
    ];
    for (content_type, body, expected, reason) in cases {
        let (status, text) = send(&it, content_type, body.to_vec()).await;
        assert_eq!((status.as_u16(), text.contains(reason)), (expected, true), "{text}");
    }
    assert!(it.is_quiet());
}

#[tokio::test]
async fn a_sender_over_its_rate_is_told_to_come_back() {
    let it = shared_that_takes(1.0);
    let body = |line: &str| {
        format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["1700000000000000001","{line}"]]}}]}}"#)
    };
    assert_eq!(send(&it, "application/json", body("one")).await.0, StatusCode::NO_CONTENT);
    let (status, text) = send(&it, "application/json", body("two")).await;
    assert_eq!((status, text.contains("rate limit")), (StatusCode::TOO_MANY_REQUESTS, true), "{text}");
    assert_eq!(it.records(1)[0]["message"], "one");
    assert!(it.is_quiet());
}

#[tokio::test]
async fn long_labels_of_many_entries_are_refused_before_they_cost_too_much() {
    let it = shared();
    let entries = vec![r#"["1",""]"#; 1_000].join(",");
    let body =
        format!(r#"{{"streams":[{{"stream":{{"a":"{}"}},"values":[{entries}]}}]}}"#, "x".repeat(900_000));
    let (status, text) = send(&it, "application/json", body).await;
    assert_eq!(
        (status, text.contains("more than 268435456 bytes")),
        (StatusCode::PAYLOAD_TOO_LARGE, true),
        "{text}"
    );
    assert!(it.is_quiet());
}

#[tokio::test]
async fn ready_until_the_end() {
    let it = shared();
    let ask = || Request::get("/ready").body(Body::empty()).expect("a request");
    assert_eq!(it.ask(routes(Arc::clone(&it.shared)), ask()).await, (StatusCode::OK, "ready\n".to_owned()));
    it.shared.shutdown.cancel();
    assert_eq!(it.ask(routes(Arc::clone(&it.shared)), ask()).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused_or_read(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let limits = DecodeLimits::default();
        let reading = || Reading::new(Timestamp(5), &limits);
        let _ = json::decode(&body, reading());
        let _ = proto::decode(&body, reading());
        if proto::unpacked_len(&body, 1 << 20).is_ok() {
            let _ = proto::unpack(&body);
        }
    }

    #[test]
    fn json_of_the_right_shape_is_read_or_refused(text in "[\\[\\]{},:\"0-9a-zé\\\\]{0,60}") {
        let limits = DecodeLimits::default();
        for body in [
            format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[{text}]}}]}}"#),
            format!(r#"{{"streams":[{{"stream":{text},"values":[["1","x",{text}]]}}]}}"#),
        ] {
            let _ = json::decode(body.as_bytes(), Reading::new(Timestamp(5), &limits));
        }
    }
}

#[test]
fn mutants_of_json_are_refused_or_read() {
    let seeds = Seeds::text([
        json!({"streams": [{"stream": {"job": "varlogs", "app": "web", "level": "warn"}, "values": [
            ["1700000000000000001", "a \"b\"\n", {"trace_id": "0242ac120002", "user": "u1"}], [1_700_000_000_000_000_002_i64, "two"]]}]})
        .to_string(),
        json!({"streams": [{"labels": r#"{job="j", a=`b`}"#, "entries": [{"ts": "2026-01-02T03:04:05.678Z", "line": "x"}]}]}).to_string(),
    ]);
    let limits = DecodeLimits::default();
    fuzz(&seeds, |mutant, _| {
        if let Ok(decoded) = json::decode(mutant, Reading::new(Timestamp(5), &limits)) {
            check_batch(&decoded, mutant.len());
        }
    });
}

#[test]
fn mutants_of_protobuf_are_refused_or_read() {
    let entries = [entry(5, b"line one", &[("trace_id", "t"), ("level", "warn")]), entry(6, b"two", &[])];
    let seeds = Seeds::protobuf([
        [push_request(r#"{job="j", app="web"}"#, &entries), push_request(r#"{a=`b`}"#, &entries[..1])]
            .concat(),
        push_request("{}", &entries),
    ]);
    let limits = DecodeLimits::default();
    fuzz(&seeds, |mutant, _| {
        if let Ok(decoded) = proto::decode(mutant, Reading::new(Timestamp(5), &limits)) {
            check_batch(&decoded, mutant.len());
        }
    });
}

#[test]
fn mutants_of_snappy_are_refused_or_unpacked() {
    let push = push_request(r#"{job="j"}"#, &vec![entry(5, b"the same line", &[]); 20]);
    fuzz(&Seeds::bytes([snappy(&push), snappy(b"abc")]), |mutant, _| {
        if let Ok(len) = proto::unpacked_len(mutant, 1 << 20)
            && let Ok(unpacked) = proto::unpack(mutant)
        {
            assert_eq!(unpacked.len(), len);
        }
    });
}

#[test]
fn mutants_of_labels_are_refused_or_read() {
    let seeds = Seeds::text([r#"{job="var logs", app=`raw "x"`, a_1="\u00e9\x41\101\n"}"#, "{}"]);
    fuzz(&seeds, |mutant, _| {
        let text = String::from_utf8_lossy(mutant);
        if let Ok(found) = labels::parse(&text) {
            assert!(found.len() <= text.len());
        }
    });
}

#[test]
fn bad_inputs_are_refused_or_read() {
    let limits = DecodeLimits::default();
    for input in bad_inputs() {
        let reading = || Reading::new(Timestamp(5), &limits);
        let taken = json::decode(&input.bytes, reading()).map_or(0, |decoded| decoded.batch.rows());
        assert_eq!(taken, 0, "{}: it is no push", input.name);
        let _ = proto::decode(&input.bytes, reading());
        let text = serde_json::Value::from(String::from_utf8_lossy(&input.bytes)).to_string();
        let body =
            format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["1",{text}],["2","good"]]}}]}}"#);
        let decoded = json::decode(body.as_bytes(), reading()).expect("a push");
        assert_eq!(decoded.batch.rows(), 2, "{}", input.name);
        let entries = [entry(5, &input.bytes, &[]), entry(6, b"good", &[])];
        let decoded = proto::decode(&push_request("{a=\"b\"}", &entries), reading()).expect("a push");
        assert_eq!(decoded.batch.rows(), 2, "{}", input.name);
    }
}

/// The reason, with the whole name in it, was made anew for every entry: hours for one body.
#[test]
fn a_long_name_of_a_bad_label_is_not_repeated_for_every_entry() {
    let entries = vec![r#"["1","x"]"#; 20_000].join(",");
    let body =
        format!(r#"{{"streams":[{{"stream":{{"{}":[]}},"values":[{entries}]}}]}}"#, "n".repeat(1 << 20));
    let limits = DecodeLimits::default();
    let decoded = json::decode(body.as_bytes(), Reading::new(Timestamp(5), &limits)).expect("a push");
    assert_eq!(decoded.rejected_total(), 20_000);
    assert!(decoded.rejected[0].reason.len() < 200);
}
