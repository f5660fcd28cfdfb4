//! Records go in through HTTP: many forms, honest answers.

use std::io::Write;
use std::time::{Duration, Instant};

use heimdall_simulate::{BenchForm, BenchLines};
use heimdall_testkit::wait_for_within;
use serde_json::{Value, json};

use crate::{heimdall, server};

/// A record must be found this soon after the answer to it.
const FINDABLE_WITHIN: Duration = Duration::from_secs(1);
const LOGS: &str = "/api/v1/ingest/logs";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("in memory")
}

#[test]
fn a_record_is_found_within_a_second_of_its_answer() {
    let server = server().start();
    for n in 0..20 {
        let record = json!({"service": "shop", "message": format!("order number mark{n} placed")});
        let (status, receipt) = server.post(LOGS, record.to_string(), &[]);
        let answered = Instant::now();
        assert_eq!((status, &receipt["accepted"]), (200, &json!(1)));
        wait_for_within(FINDABLE_WITHIN, "the record to be found", || {
            (server.query(&format!("service:shop mark{n}")).len() == 1).then_some(())
        });
        assert!(answered.elapsed() < FINDABLE_WITHIN, "found after {:?}", answered.elapsed());
    }
}

#[test]
fn a_batch_is_an_object_an_array_or_lines_plain_or_packed() {
    let server = server().start();
    let record =
        |n: u32| json!({"service": "forms", "message": "hello", "basket": {"size": n}, "colour": "teal"});
    let object = record(1).to_string();
    let array = json!([record(2), record(3)]).to_string();
    let lines = format!("{}\n\n{}\r\n{}", record(4), record(5), record(6));
    for (body, count) in [(object, 1), (array, 2), (lines, 3)] {
        for (encoding, packed) in [
            ("identity", body.as_bytes().to_vec()),
            ("gzip", gzip(body.as_bytes())),
            ("zstd", zstd(body.as_bytes())),
        ] {
            let (status, receipt) = server.post(LOGS, packed, &[("Content-Encoding", encoding)]);
            assert_eq!((status, &receipt["accepted"]), (200, &json!(count)), "{encoding}: {receipt}");
        }
    }
    server.wait_for("all records", |server| (server.query("service:forms").len() == 18).then_some(()));
    // Fields that are not canonical are kept and searchable, nested ones by their path, numbers as numbers.
    assert_eq!(server.query("service:forms colour:teal").len(), 18);
    assert_eq!(server.query("basket.size>=4").len(), 9);
    assert_eq!(server.query("basket.size:1").len(), 3);
}

#[test]
fn bad_items_are_named_and_the_good_rest_is_kept() {
    let server = server().start();
    let events = json!([
        {"timestamp": "2025-01-15T10:30:00Z", "source": "fw", "ip": "203.0.113.5", "message": "first good"},
        {"source": "fw", "ip": "203.0.113.999", "message": "bad address"},
        {"source": "fw", "ip": "203.0.113.6"},
        "no object",
        {"source": "fw", "ip": "203.0.113.7", "message": "second good"},
    ]);
    let (status, receipt) = server.post("/ingest", events.to_string(), &[]);
    assert_eq!((status, &receipt["accepted"]), (200, &json!(2)), "{receipt}");
    assert_eq!(receipt["rejected_total"], 3);
    let named: Vec<(u64, &str)> = receipt["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| (item["index"].as_u64().expect("an index"), item["field"].as_str().expect("a field")))
        .collect();
    assert_eq!(named[..2], [(1, "ip"), (2, "message")]);
    assert_eq!(named[2].0, 3);
    assert!(receipt["rejected"].as_array().is_some_and(|all| all.iter().all(|item| item["reason"] != "")));
    // One of the two good ones stated no time.
    assert_eq!(receipt["timestamps_assigned"], 1);
    server.wait_for("the good ones", |server| (server.query("service:fw good").len() == 2).then_some(()));
    assert_eq!(server.query("service:fw").len(), 2);

    let id = receipt["receipt"].as_str().expect("a receipt id");
    let kept = server.get_json(&format!("/api/v1/receipts/{id}"));
    assert_eq!((&kept["accepted"], &kept["rejected"]), (&receipt["accepted"], &receipt["rejected"]));
    let latest = server.get_json("/api/v1/receipts");
    assert_eq!(latest["items"][0]["receipt"], id);
}

#[test]
fn a_request_of_which_nothing_is_accepted_is_refused() {
    let server = server().start();
    let code = |body: &str, headers: &[(&str, &str)]| {
        let (status, problem) = server.post(LOGS, body, headers);
        (status, problem["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(code("{broken", &[]), (400, "invalid_json".to_owned()));
    assert_eq!(code("", &[]), (400, "body_empty".to_owned()));
    assert_eq!(code("not gzip", &[("Content-Encoding", "gzip")]), (400, "invalid_compression".to_owned()));
    assert_eq!(code("{}", &[("Content-Encoding", "br")]), (415, "unsupported_encoding".to_owned()));
    let events = r#"[{"source":"fw"},{"source":"fw","ip":"nowhere","message":"m"}]"#;
    let (status, problem) = server.post("/ingest", events, &[]);
    assert_eq!((status, &problem["code"], &problem["accepted"]), (400, &json!("all_rejected"), &json!(0)));
    assert_eq!(
        (&problem["errors"][0]["index"], &problem["errors"][0]["field"]),
        (&json!(0), &json!("message"))
    );
    assert_eq!((&problem["errors"][1]["index"], &problem["errors"][1]["field"]), (&json!(1), &json!("ip")));
    assert_eq!(server.query("*").len(), 0);
}

#[test]
fn a_batch_sent_twice_under_one_key_is_written_once_also_after_a_restart() {
    let mut server = server().start();
    let batch = json!([{"service": "once", "message": "a"}, {"service": "once", "message": "b"}]).to_string();
    let key = [("Idempotency-Key", "batch-17")];
    let counts = |receipt: &Value| (receipt["accepted"].clone(), receipt["deduplicated"].clone());
    let (_, first) = server.post(LOGS, &batch, &key);
    assert_eq!(counts(&first), (json!(2), json!(0)));
    let (status, second) = server.post(LOGS, &batch, &key);
    assert_eq!((status, counts(&second)), (200, (json!(0), json!(2))));
    server.restart();
    let (status, third) = server.post(LOGS, &batch, &key);
    assert_eq!((status, counts(&third)), (200, (json!(0), json!(2))));
    let (_, other) = server.post(LOGS, &batch, &[("Idempotency-Key", "batch-18")]);
    assert_eq!(counts(&other), (json!(2), json!(0)));
    server.wait_for("four records", |server| (server.query("service:once").len() == 4).then_some(()));
}

#[test]
fn lines_of_text_become_fields() {
    let server = server().start();
    let access =
        r#"198.51.100.7 - ann [10/Oct/2025:13:55:36 +0000] "GET /cart?x=1 HTTP/1.1" 503 2326 "-" "curl/8""#;
    let (status, receipt) = server.post(&format!("{LOGS}?format=combined&service=web"), access, &[]);
    assert_eq!((status, &receipt["accepted"], &receipt["timestamps_assigned"]), (200, &json!(1), &json!(0)));
    server.wait_for("the line by its fields", |server| {
        let found = server.query("service:web source_ip:198.51.100.0/24 timestamp:2025-10-10");
        (found.len() == 1).then_some(())
    });
    let (status, problem) = server.post(&format!("{LOGS}?format=cobol"), access, &[]);
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_parameter")));
}

#[test]
fn a_line_is_the_same_record_whatever_door_it_comes_through() {
    let mut lines = Vec::new();
    BenchLines::new(7, 1_780_000_000_000_000_000, 3_600_000_000_000, 300).fill(300, &mut lines);
    let records = |form: BenchForm| {
        let server = server().start();
        let body = form.body(lines.clone());
        let (status, answer) = server.post(form.path(), body, &[("Content-Type", form.content_type())]);
        assert!(matches!(status, 200 | 204), "{form:?}: {status} {answer}");
        let line = "| fields timestamp, level, service, instance, region, environment, message, trace_id, span_id, \
                    request_id, user_id, duration_ms, status | sort span_id";
        server.wait_for("all records", |server| {
            let rows = server.query(line);
            (rows.len() == 300).then_some(rows)
        })
    };
    let native = records(BenchForm::Native);
    for form in [BenchForm::Elasticsearch, BenchForm::Loki, BenchForm::Otlp, BenchForm::OtlpJson] {
        for (record, native) in records(form).iter().zip(&native) {
            // Loki's metadata are texts.
            let plain = |record: &Value| record.to_string().replace('"', "");
            assert_eq!(plain(record), plain(native), "{form:?}");
        }
    }
}

#[test]
fn a_bench_of_a_door_counts_what_the_door_acknowledged() {
    for door in ["native", "elasticsearch", "loki", "otlp", "otlp-json"] {
        let args = ["bench", "ingest", "--door", door, "--lines", "1500", "--batch", "400", "--json"];
        let report: Value =
            serde_json::from_str(&heimdall(args).run().expect(0).stdout).expect("one JSON document");
        assert_eq!((&report["door"], &report["lines"]), (&json!(door), &json!(1500)), "{report}");
        assert_eq!((&report["requests"], &report["lines_rejected"]), (&json!(4), &json!(0)), "{report}");
    }
}
