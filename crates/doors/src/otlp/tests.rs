//! What becomes of requests: golden mappings in both encodings, answers over both transports, and hostile bytes.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use heimdall_guard::{Admitted, Denied, Ends, Principal};
use heimdall_ingest::{BodyError, DecodeLimits, Decoded, Reading};
use heimdall_model::Timestamp;
use heimdall_testkit::data::bad_inputs;
use heimdall_testkit::mutants::{Seeds, fuzz};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use tonic::Code;
use tonic::codec::CompressionEncoding;

use super::*;
use crate::config::{DoorsConfig, GrpcConfig, OtlpConfig};
use crate::rpc::status::RpcStatus;
use crate::testing::{TestShared, check_batch, shared, shared_that_takes};
use crate::{Doors, Opened};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);

fn read(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Export, BodyError> {
    decode(signal, encoding, body, Reading::new(NOW, &DecodeLimits::default()))
}

/// Protobuf of a request, by the readers and writers of `opentelemetry-proto`.
fn protobuf(signal: Signal, request: &Value) -> Vec<u8> {
    let request = request.clone();
    match signal {
        Signal::Logs => {
            serde_json::from_value::<ExportLogsServiceRequest>(request).expect("logs").encode_to_vec()
        }
        Signal::Metrics => {
            serde_json::from_value::<ExportMetricsServiceRequest>(request).expect("metrics").encode_to_vec()
        }
        Signal::Traces => {
            serde_json::from_value::<ExportTraceServiceRequest>(request).expect("traces").encode_to_vec()
        }
    }
}

fn rows(export: &Export) -> Vec<Value> {
    let rows = export
        .batches
        .iter()
        .flat_map(|decoded| decoded.batch.iter().map(|row| row.to_json()).collect::<Vec<_>>());
    rows.map(|mut row| {
        row.retain(|name, _| name != "id" && name != "observed");
        Value::Object(row)
    })
    .collect()
}

fn notes(decoded: &[Decoded]) -> Vec<String> {
    decoded
        .iter()
        .flat_map(|d| d.coerced.iter().map(|note| format!("{}: {}", note.field, note.reason)))
        .collect()
}

/// The records of a request, which are the same in both encodings.
#[track_caller]
fn both(signal: Signal, request: &Value) -> Export {
    let from_json = read(signal, Encoding::Json, request.to_string().as_bytes()).expect("JSON");
    let from_protobuf = read(signal, Encoding::Protobuf, &protobuf(signal, request)).expect("protobuf");
    assert_eq!(rows(&from_json), rows(&from_protobuf));
    assert_eq!(notes(&from_json.batches), notes(&from_protobuf.batches));
    assert_eq!((from_json.rejected, &from_json.reasons), (from_protobuf.rejected, &from_protobuf.reasons));
    from_json
}

#[track_caller]
fn check(signal: Signal, request: &Value, expected: &Value) {
    let found = rows(&both(signal, request));
    let expected = expected.as_array().expect("a list");
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "record {n}");
    }
    assert_eq!(found.len(), expected.len());
}

fn attribute(key: &str, text: &str) -> Value {
    json!({"key": key, "value": {"stringValue": text}})
}

fn resource() -> Value {
    json!({"attributes": [
        attribute("k8s.pod.name", "checkout-7f"), attribute("service.name", "checkout"), attribute("host.name", "h1"),
        attribute("service.instance.id", "i-1"), attribute("deployment.environment.name", "prod"), attribute("cloud.region", "eu-1"),
        attribute("telemetry.sdk.name", "opentelemetry"),
    ]})
}

fn log_request(records: &Value) -> Value {
    json!({"resourceLogs": [{"resource": resource(), "scopeLogs": [{"scope": {"name": "lib", "version": "1.2"}, "logRecords": records}]}]})
}

fn metric_request(metrics: &Value) -> Value {
    json!({"resourceMetrics": [{
        "resource": {"attributes": [attribute("service.name", "checkout"), attribute("host.name", "h1")]},
        "scopeMetrics": [{"metrics": metrics}],
    }]})
}

fn span_request(spans: &Value) -> Value {
    json!({"resourceSpans": [{"resource": resource(), "scopeSpans": [{"scope": {"name": "lib", "version": "1.2"}, "spans": spans}]}]})
}

// ---- logs -------------------------------------------------------------------------------------------------------------

#[test]
fn a_log_record_with_everything() {
    let request = log_request(&json!([{
        "timeUnixNano": "1544712660300000001", "observedTimeUnixNano": "1544712661000000000",
        "severityNumber": 10, "severityText": "Information", "body": {"stringValue": "it \"works\""},
        "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "flags": 1,
        "eventName": "order.placed", "droppedAttributesCount": 2,
        "attributes": [
            attribute("user.id", "u1"), attribute("message", "not the message"), attribute("client.address", "10.0.0.9"),
            {"key": "count", "value": {"intValue": "9007199254740993"}}, {"key": "none", "value": {}},
            {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": true}, {"doubleValue": 1.5}]}}},
            {"key": "map", "value": {"kvlistValue": {"values": [attribute("k", "v")]}}},
            {"key": "raw", "value": {"bytesValue": "AAEC/w=="}},
        ],
    }]));
    check(
        Signal::Logs,
        &request,
        &json!([{
            "timestamp": "2018-12-13T14:51:00.300000001Z", "level": "info", "message": "it \"works\"",
            "service": "checkout", "instance": "i-1", "host": "h1", "environment": "prod", "region": "eu-1",
            "trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174", "trace_flags": 1,
            "user_id": "u1", "source_ip": "10.0.0.9",
            "attributes": {
                "k8s.pod.name": "checkout-7f", "telemetry.sdk.name": "opentelemetry", "scope.name": "lib", "scope.version": "1.2",
                "observed_time": "2018-12-13T14:51:01.000000000Z", "severity_number": 10, "severity_text": "Information",
                "event_name": "order.placed", "dropped_attributes_count": 2, "message": "not the message",
                "count": 9_007_199_254_740_993_i64, "none": null, "list": [true, 1.5], "map": {"k": "v"}, "raw": "AAEC/w==",
            },
        }]),
    );
}

#[test]
fn bodies_that_are_no_text() {
    let bodies = [
        json!({"kvlistValue": {"values": [attribute("msg", "hello"), attribute("user", "x"), attribute("a", "body's")]}}),
        json!({"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "b"}]}}),
        json!({"doubleValue": 2.5}),
        json!({"bytesValue": "AAE="}),
        json!({"boolValue": false}),
    ];
    let records: Vec<_> = bodies
        .iter()
        .map(|body| json!({"observedTimeUnixNano": "5", "body": body, "attributes": [attribute("a", "attribute's")]}))
        .collect();
    let request = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]});
    let found = rows(&both(Signal::Logs, &request));
    let messages: Vec<_> = found.iter().map(|row| row["message"].as_str().unwrap_or_default()).collect();
    assert_eq!(messages, ["hello", r#"[1,"b"]"#, "2.5", "AAE=", "false"]);
    assert_eq!(found[0]["attributes"], json!({"user": "x", "a": "attribute's", "body.a": "body's"}));
    assert_eq!(found[0]["timestamp"], "1970-01-01T00:00:00.000000005Z");
}

#[test]
fn what_the_record_states_counts_before_what_its_body_says() {
    let body = json!({"kvlistValue": {"values": [
        attribute("level", "error"), attribute("timestamp", "2001-01-01"), attribute("message", "m"), attribute("trace_id", "t"),
    ]}});
    let request = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"timeUnixNano": "5", "severityNumber": 9, "body": body, "attributes": [attribute("message", "attribute's")]}, {"body": body},
    ]}]}]});
    let export = both(Signal::Logs, &request);
    let found = rows(&export);
    let time = "1970-01-01T00:00:00.000000005Z";
    assert_eq!(
        (&found[0]["level"], &found[0]["timestamp"], &found[0]["message"]),
        (&json!("info"), &json!(time), &json!("m"))
    );
    let kept =
        json!({"level": "error", "timestamp": "2001-01-01", "trace_id": "t", "message": "attribute's"});
    assert_eq!(found[0]["attributes"], kept);
    assert_eq!(
        (&found[1]["level"], &found[1]["timestamp"]),
        (&json!("error"), &json!("2001-01-01T00:00:00.000000000Z"))
    );
}

#[test]
fn odd_log_records_are_kept_and_what_was_done_is_noted() {
    let request = log_request(&json!([
        {"severityNumber": 0, "severityText": "WARNING", "traceId": "00000000000000000000000000000000"},
        {"timeUnixNano": "18446744073709551615", "severityNumber": 99, "severityText": "loud", "traceId": "abcd"},
    ]));
    let export = both(Signal::Logs, &request);
    let found = rows(&export);
    assert_eq!(
        (&found[0]["level"], &found[0]["trace_id"], found[0].get("message")),
        (&json!("warn"), &Value::Null, None)
    );
    assert_eq!(found[1]["attributes"]["timestamp_unix_nano"], json!(u64::MAX));
    assert_eq!(found[1]["attributes"]["severity_text"], "loud");
    assert_eq!(found[1]["attributes"]["trace_id"], "abcd");
    assert_eq!(export.batches[0].timestamps_assigned, 2);
    assert!(!export.is_timed());
    assert_eq!(
        notes(&export.batches),
        ["severity_text: is not a level", "trace_id: is not 32 hex digits, or all of them are zero"]
    );
}

// ---- metrics ----------------------------------------------------------------------------------------------------------

fn sample(name: &str, value: &Value, labels: &Value) -> Value {
    let mut sample = json!({
        "timestamp": "2018-12-13T14:51:00.000000000Z", "service": "checkout", "host": "h1", "name": name, "value": value,
    });
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        sample["labels"] = labels.clone();
    }
    sample
}

const TIME: &str = "1544712660000000000";

#[test]
fn gauges_and_sums_keep_name_and_labels() {
    let request = metric_request(&json!([
        {"name": "queue", "unit": "{item}", "gauge": {"dataPoints": [
            {"timeUnixNano": TIME, "asInt": "7", "attributes": [attribute("name", "a label"), attribute("value", "v")]},
        ]}},
        {"name": "requests", "unit": "1", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [
            {"timeUnixNano": TIME, "startTimeUnixNano": "5", "asDouble": 1.5, "attributes": [
                {"key": "code", "value": {"intValue": "200"}}, attribute("service.name", "measured"),
            ]},
            {"timeUnixNano": TIME, "asDouble": 2.5, "exemplars": [{"asDouble": 3.5, "timeUnixNano": TIME}]},
            {"timeUnixNano": TIME, "flags": 1},
            {"timeUnixNano": TIME, "asInt": "9007199254740993"},
        ]}},
    ]));
    let export = both(Signal::Metrics, &request);
    let mut measured = sample("requests", &json!(1.5), &json!({"code": 200}));
    measured["service"] = "measured".into();
    assert_eq!(
        rows(&export),
        [
            sample("queue", &json!(7.0), &json!({"unit": "{item}", "name": "a label", "value": "v"})),
            measured,
            sample("requests", &json!(2.5), &json!({})),
            sample("requests", &json!(9_007_199_254_740_992.0), &json!({})),
        ]
    );
    assert_eq!(
        notes(&export.batches),
        [
            "service.name: occurs more than once: the last value was taken",
            "requests: has exemplars: they are not kept",
            "requests: has a data point without a recorded value: it is left out",
            "value: is a whole number beyond 2^53: kept as the nearest double",
        ]
    );
    assert!(export.is_timed());
}

#[test]
fn histograms_become_cumulative_buckets() {
    let request = metric_request(
        &json!([{"name": "latency", "unit": "s", "histogram": {"aggregationTemporality": 1, "dataPoints": [{
            "timeUnixNano": TIME, "count": "6", "sum": 12.5, "min": 0.1, "max": 7.0, "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 1.0],
            "attributes": [attribute("route", "/pay")],
        }]}}]),
    );
    let label = |le: &str| json!({"unit": "s", "route": "/pay", "le": le});
    let plain = json!({"unit": "s", "route": "/pay"});
    check(
        Signal::Metrics,
        &request,
        &json!([
            sample("latency_bucket", &json!(1.0), &label("0.5")),
            sample("latency_bucket", &json!(3.0), &label("1")),
            sample("latency_bucket", &json!(6.0), &label("+Inf")),
            sample("latency_count", &json!(6.0), &plain),
            sample("latency_sum", &json!(12.5), &plain),
            sample("latency_min", &json!(0.1), &plain),
            sample("latency_max", &json!(7.0), &plain),
        ]),
    );
}

#[test]
fn exponential_histograms_become_the_same_with_computed_bounds() {
    let request = metric_request(&json!([{"name": "size", "exponentialHistogram": {"dataPoints": [{
        "timeUnixNano": TIME, "count": "10", "scale": 1, "zeroCount": "2",
        "positive": {"offset": 1, "bucketCounts": ["3", "0", "1"]}, "negative": {"offset": 0, "bucketCounts": ["4"]},
    }]}}]));
    let bucket = |le: &str, value: f64| sample("size_bucket", &json!(value), &json!({"le": le}));
    check(
        Signal::Metrics,
        &request,
        &json!([
            bucket("-1.4142135623730951", 0.0),
            bucket("-1", 4.0),
            bucket("0", 6.0),
            bucket("1.4142135623730951", 6.0),
            bucket("2", 9.0),
            bucket("2.8284271247461903", 9.0),
            bucket("4", 10.0),
            bucket("+Inf", 10.0),
            sample("size_count", &json!(10.0), &json!({})),
        ]),
    );
}

#[test]
fn summaries_become_quantiles() {
    let request = metric_request(&json!([{"name": "gc", "summary": {"dataPoints": [{
        "timeUnixNano": TIME, "count": "3", "sum": 6.0, "quantileValues": [{"quantile": 0.5, "value": 2.0}, {"quantile": 1.0, "value": 3.0}],
    }]}}]));
    check(
        Signal::Metrics,
        &request,
        &json!([
            sample("gc", &json!(2.0), &json!({"quantile": "0.5"})),
            sample("gc", &json!(3.0), &json!({"quantile": "1"})),
            sample("gc_count", &json!(3.0), &json!({})),
            sample("gc_sum", &json!(6.0), &json!({})),
        ]),
    );
}

#[test]
fn a_data_point_that_cannot_be_taken_is_counted_once() {
    let request = metric_request(&json!([
        {"name": "a", "gauge": {"dataPoints": [{"timeUnixNano": TIME}, {"timeUnixNano": TIME, "asDouble": 1.0}]}},
        {"name": "", "gauge": {"dataPoints": [{"timeUnixNano": TIME, "asDouble": 1.0}]}},
        {"name": "h", "histogram": {"dataPoints": [
            {"timeUnixNano": TIME, "count": "1", "bucketCounts": ["1"], "explicitBounds": [1.0]},
        ]}},
    ]));
    let export = both(Signal::Metrics, &request);
    assert_eq!((rows(&export).len(), export.rejected), (1, 3));
    assert_eq!(
        export.reasons,
        [
            "#0: value is missing",
            "#2: `name` is empty",
            "#3: histogram bucket_counts must be one more than explicit_bounds"
        ]
    );
    // `NaN` in JSON is a text, which the derived reader does not know: protobuf only.
    let mut request: ExportMetricsServiceRequest = serde_json::from_value(metric_request(
        &json!([{"name": "n", "summary": {"dataPoints": [{"timeUnixNano": TIME, "count": "1"}]}}]),
    ))
    .expect("a request");
    let metric = &mut request.resource_metrics[0].scope_metrics[0].metrics[0];
    if let Some(opentelemetry_proto::tonic::metrics::v1::metric::Data::Summary(summary)) = &mut metric.data {
        summary.data_points[0].sum = f64::NAN;
    }
    let export = read(Signal::Metrics, Encoding::Protobuf, &request.encode_to_vec()).expect("protobuf");
    assert_eq!((rows(&export).len(), export.rejected), (1, 1));
}

// ---- spans ------------------------------------------------------------------------------------------------------------

#[test]
fn a_span_with_everything() {
    let request = span_request(&json!([{
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "parentSpanId": "eee19b7ec3c1b173",
        "traceState": "a=b", "flags": 769, "name": "GET /pay", "kind": 3,
        "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": "1544712660012500000",
        "attributes": [attribute("server.address", "db-1"), attribute("name", "x"), {"key": "status", "value": {"intValue": "200"}}],
        "droppedAttributesCount": 1, "droppedEventsCount": 2, "droppedLinksCount": 3,
        "events": [{"timeUnixNano": "1544712660001000000", "name": "retry", "attributes": [{"key": "n", "value": {"intValue": "2"}}]}],
        "links": [{"traceId": "5b8efff798038103d269b633813fc60d", "spanId": "eee19b7ec3c1b175", "traceState": "c=d",
            "attributes": [attribute("why", "batch")], "droppedAttributesCount": 4}],
        "status": {"code": 2, "message": "timed out"},
    }]));
    check(
        Signal::Traces,
        &request,
        &json!([{
            "timestamp": "2018-12-13T14:51:00.000000000Z", "duration_ms": 12.5, "name": "GET /pay", "kind": "client",
            "trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174", "parent_span_id": "eee19b7ec3c1b173",
            "trace_state": "a=b", "trace_flags": 1, "status": "error", "status_message": "timed out", "peer_service": "db-1",
            "service": "checkout", "instance": "i-1", "host": "h1", "environment": "prod", "scope": "lib",
            "events": [{"time": "2018-12-13T14:51:00.001000000Z", "name": "retry", "attributes": {"n": 2}}],
            "links": [{"trace_id": "5b8efff798038103d269b633813fc60d", "span_id": "eee19b7ec3c1b175", "trace_state": "c=d",
                "attributes": {"why": "batch"}, "dropped_attributes_count": 4}],
            "attributes": {
                "k8s.pod.name": "checkout-7f", "cloud.region": "eu-1", "telemetry.sdk.name": "opentelemetry", "scope.version": "1.2",
                "server.address": "db-1", "name": "x", "status": 200, "parent_is_remote": true,
                "dropped_attributes_count": 1, "dropped_events_count": 2, "dropped_links_count": 3,
            },
        }]),
    );
}

#[test]
fn whom_a_span_calls() {
    let peer = |kind: u8, keys: &[&str]| {
        let attributes: Vec<_> = keys.iter().map(|key| attribute(key, key)).collect();
        let request = span_request(&json!([{
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "n", "kind": kind, "attributes": attributes,
            "startTimeUnixNano": "5", "endTimeUnixNano": "4",
        }]));
        let row = rows(&both(Signal::Traces, &request)).remove(0);
        assert_eq!((row.get("duration_ms"), &row["status"]), (None, &json!("unset")));
        assert_eq!(row["attributes"]["end_time"], "1970-01-01T00:00:00.000000004Z");
        row["peer_service"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(peer(3, &["db.system.name", "server.address"]), "server.address");
    assert_eq!(peer(3, &["db.system.name", "peer.service"]), "peer.service");
    assert_eq!(peer(4, &["messaging.system"]), "messaging.system");
    assert_eq!(peer(2, &["server.address"]), "");
    assert_eq!(peer(2, &["peer.service"]), "peer.service");
}

#[test]
fn a_span_without_ids_is_rejected_and_the_others_kept() {
    let good =
        json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "n"});
    let request = span_request(
        &json!([{"name": "n", "spanId": "eee19b7ec3c1b174"}, good, {"traceId": "abcd", "spanId": "12", "name": "n"}]),
    );
    let export = both(Signal::Traces, &request);
    assert_eq!((rows(&export).len(), export.rejected), (1, 2));
    assert_eq!(export.reasons[0], "#0: `trace_id` is missing");
}

// ---- the specification's examples, and hostile bytes ------------------------------------------------------------------

#[test]
fn the_examples_of_the_specification_are_taken() {
    let Some(folder) = std::env::var_os("HEIMDALL_DATA").map(PathBuf::from) else {
        eprintln!("skipped: HEIMDALL_DATA names no folder with otlp_examples");
        return;
    };
    let files = [
        ("logs.json", Signal::Logs, 1),
        ("events.json", Signal::Logs, 1),
        ("trace.json", Signal::Traces, 1),
        ("metrics.json", Signal::Metrics, 4),
    ];
    for (name, signal, least) in files {
        let body = std::fs::read(folder.join("otlp_examples").join(name)).expect(name);
        let export = read(signal, Encoding::Json, &body).expect(name);
        assert_eq!((export.rejected, &export.reasons), (0, &vec![]), "{name}");
        assert!(rows(&export).len() >= least, "{name}");
        let request: Value = serde_json::from_slice(&body).expect(name);
        assert_eq!(
            rows(&read(signal, Encoding::Protobuf, &protobuf(signal, &request)).expect(name)),
            rows(&export),
            "{name}"
        );
    }
}

#[test]
fn a_record_that_is_no_protobuf_is_rejected_alone() {
    let record = |body: &str| {
        let request = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "5", "body": {"stringValue": body}}]}]}]});
        protobuf(Signal::Logs, &request)
    };
    let mut broken = record("abc");
    let at = broken.len() - 1;
    broken[at] = 0xff; // no UTF-8
    let body = [record("a"), broken, record("b")].concat();
    let export = read(Signal::Logs, Encoding::Protobuf, &body).expect("two of three");
    assert_eq!((rows(&export).len(), export.rejected), (2, 1));
    assert!(export.reasons[0].starts_with("#1: log record cannot be read: "), "{:?}", export.reasons);
    assert_eq!(export.batches[0].dead[0].encoding, heimdall_ingest::Encoding::Base64);
    // In JSON a record of the wrong form is rejected alone, too; a text that is no JSON is refused whole.
    let text =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"x"},{"timeUnixNano":5},[]]}]}]}"#;
    let export = read(Signal::Logs, Encoding::Json, text.as_bytes()).expect("one of three");
    assert_eq!((rows(&export).len(), export.rejected), (1, 2));
    let letters: Vec<_> = export.batches[0].dead.iter().map(|dead| dead.raw.as_str()).collect();
    assert_eq!(letters, [r#"{"timeUnixNano":"x"}"#, "[]"]);
    for text in ["", " ", "{", "[]", r#"{"resourceLogs":{}}"#, r#"{"resourceLogs":[{]}"#, "\u{feff}{}", "5"] {
        assert!(read(Signal::Logs, Encoding::Json, text.as_bytes()).is_err(), "{text}");
    }
    assert!(read(Signal::Logs, Encoding::Json, b"{\"a\":\"\xff\"}").is_err());
    assert!(rows(&read(Signal::Logs, Encoding::Protobuf, b"").expect("nothing")).is_empty());
    for text in ["{}", " { } ", r#"{"resourceLogs":[]}"#, r#"{"resource_logs":null}"#] {
        assert!(
            read(Signal::Logs, Encoding::Json, text.as_bytes()).expect("nothing").batches.is_empty(),
            "{text}"
        );
    }
    let other = BodyError::Malformed { format: "OTLP", detail: "it has no `resourceLogs`".to_owned() };
    assert_eq!(
        read(Signal::Logs, Encoding::Json, br#"{"message":"hello"}"#).expect_err("another kind"),
        other
    );
    assert_eq!(read(Signal::Logs, Encoding::Protobuf, &[0x12, 1, 9]).expect_err("another kind"), other);
}

#[test]
fn deep_nesting_is_refused_where_it_is() {
    let deep = |levels: usize| {
        let value = format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(levels), "]}}".repeat(levels));
        format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"1","body":{value}}},{{"timeUnixNano":"1"}}]}}]}}]}}"#
        )
    };
    let export = read(Signal::Logs, Encoding::Json, deep(30).as_bytes()).expect("two");
    assert_eq!((rows(&export).len(), export.rejected), (2, 0));
    let export = read(Signal::Logs, Encoding::Json, deep(100_000).as_bytes()).expect("one");
    assert_eq!((rows(&export).len(), export.rejected), (1, 1));
    let mut value = Vec::new();
    for _ in 0..2_000 {
        // An array value with one value: twice a length and what it is of.
        let mut array = vec![0x0a];
        prost::encoding::encode_varint(value.len() as u64, &mut array);
        array.extend_from_slice(&value);
        value = vec![0x2a];
        prost::encoding::encode_varint(array.len() as u64, &mut value);
        value.extend_from_slice(&array);
    }
    let wrap = |tag: u8, inner: Vec<u8>| {
        let mut out = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut out);
        out.extend(inner);
        out
    };
    let good = wrap(0x12, LogRecord { time_unix_nano: 1, ..LogRecord::default() }.encode_to_vec());
    let records = [wrap(0x12, wrap(0x2a, value)), good].concat();
    let export = read(Signal::Logs, Encoding::Protobuf, &wrap(0x0a, wrap(0x12, records))).expect("one");
    assert_eq!((rows(&export).len(), export.rejected), (1, 1));
}

#[test]
fn many_empty_messages_cost_what_they_weigh() {
    // Two bytes each: empty resources, which become nothing; then empty records, of which there is a limit.
    let resources = [0x0a, 0].repeat(4 << 20);
    assert!(read(Signal::Logs, Encoding::Protobuf, &resources).expect("nothing").batches.is_empty());
    let records = [0x12, 0].repeat(1_000_001);
    let mut scope = vec![0x12];
    prost::encoding::encode_varint(records.len() as u64, &mut scope);
    scope.extend(records);
    let mut body = vec![0x0a];
    prost::encoding::encode_varint(scope.len() as u64, &mut body);
    body.extend(scope);
    let refused = read(Signal::Logs, Encoding::Protobuf, &body).expect_err("too many");
    assert_eq!(refused, BodyError::TooManyRecords { records_max: 1_000_000 });
}

fn example(signal: Signal) -> Value {
    match signal {
        Signal::Logs => log_request(
            &json!([{"timeUnixNano": "5", "body": {"stringValue": "x"}, "traceId": "5b8efff798038103d269b633813fc60c",
            "attributes": [attribute("a", "b"), {"key": "c", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}}]}]),
        ),
        Signal::Metrics => metric_request(&json!([
            {"name": "g", "gauge": {"dataPoints": [{"timeUnixNano": TIME, "asInt": "7"}]}},
            {"name": "h", "histogram": {"dataPoints": [{"count": "1", "bucketCounts": ["1", "0"], "explicitBounds": [1.0]}]}},
            {"name": "e", "exponentialHistogram": {"dataPoints": [{"count": "1", "scale": 3, "positive": {"offset": 5, "bucketCounts": ["1"]}}]}},
            {"name": "s", "summary": {"dataPoints": [{"count": "1", "quantileValues": [{"quantile": 0.5, "value": 1.0}]}]}},
        ])),
        Signal::Traces => span_request(
            &json!([{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "n",
            "events": [{"name": "e"}], "links": [{"spanId": "eee19b7ec3c1b174"}], "status": {"code": 1}}]),
        ),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for signal in [Signal::Logs, Signal::Metrics, Signal::Traces] {
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                let _ = read(signal, encoding, &bytes);
            }
        }
    }

    #[test]
    fn damaged_requests_are_taken_or_refused(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(), which in 0_usize..6,
    ) {
        let signal = [Signal::Logs, Signal::Metrics, Signal::Traces][which % 3];
        let request = example(signal);
        let (encoding, mut body) = if which < 3 {
            (Encoding::Protobuf, protobuf(signal, &request))
        } else {
            (Encoding::Json, request.to_string().into_bytes())
        };
        let _ = read(signal, encoding, &body[..cut.index(body.len())]);
        let at = at.index(body.len());
        body[at] = byte;
        let _ = read(signal, encoding, &body);
    }
}

// ---- HTTP -------------------------------------------------------------------------------------------------------------

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

async fn ask_as(
    it: &TestShared,
    mut request: Request<Body>,
    admitted: Result<Principal, Denied>,
) -> Answered {
    use tower::ServiceExt;
    let here = SocketAddr::from(([127, 0, 0, 1], 9));
    request.extensions_mut().insert(Ends { peer: here, local: here });
    request.extensions_mut().insert(Admitted(admitted.map(std::sync::Arc::new)));
    let routes = crate::http::routes(&it.shared, &DoorsConfig::default());
    let response = routes.oneshot(request).await.expect("routes answer");
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body").to_vec();
    Answered { status: parts.status, headers: parts.headers, body }
}

async fn ask(it: &TestShared, request: Request<Body>) -> Answered {
    ask_as(it, request, Ok(Principal::loopback())).await
}

fn post(path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, content_type).body(body.into()).expect("a request")
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(body).expect("memory");
    out.finish().expect("memory")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_either_encoding_are_durable_once() {
    let it = shared();
    let request = example(Signal::Logs);
    let body = protobuf(Signal::Logs, &request);
    let first = ask(&it, post("/v1/logs", "application/x-protobuf", body.clone())).await;
    assert_eq!((first.status, first.body.len()), (StatusCode::OK, 0));
    assert_eq!(first.headers[header::CONTENT_TYPE], "application/x-protobuf");
    let again = ask(&it, post("/otlp/v1/logs", "application/x-protobuf", body)).await;
    assert_eq!(again.status, StatusCode::OK);
    let text = request.to_string();
    let mut packed = post("/v1/logs", "application/json; charset=utf-8", gzip(text.as_bytes()));
    packed.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().expect("a value"));
    let answer = ask(&it, packed).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({})));
    let records = it.records(2);
    assert_eq!(records[0]["message"], "x");
    assert_eq!(it.shared.intake.receipts(&heimdall_model::Tenant::default(), 9, None).items.len(), 3);
    assert!(it.is_quiet(), "the second was a retry of the first");
    for (path, signal, dataset, count) in
        [("/v1/metrics", Signal::Metrics, "metrics", 11), ("/otlp/v1/traces", Signal::Traces, "spans", 1)]
    {
        let body = protobuf(signal, &example(signal));
        assert_eq!(ask(&it, post(path, "application/x-protobuf", body)).await.status, StatusCode::OK);
        assert!(it.records(count).iter().all(|record| record["dataset"] == dataset), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_success_says_how_many_and_why() {
    let it = shared();
    let request = span_request(&json!([
        {"name": "n"}, {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "n"},
    ]));
    let answer = ask(&it, post("/v1/traces", "application/json", request.to_string())).await;
    let partial = json!({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "1 spans rejected: #0: `trace_id` is missing"}});
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, partial));
    let answer =
        ask(&it, post("/v1/traces", "application/x-protobuf", protobuf(Signal::Traces, &request))).await;
    let decoded = export::Answer::decode(answer.body.as_slice()).expect("an answer");
    assert_eq!(decoded.partial_success.map(|partial| partial.rejected), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_over_http_are_statuses() {
    let it = shared_that_takes(1.0);
    let bad = ask(&it, post("/v1/logs", "application/json", "{")).await;
    assert_eq!(
        (bad.status, &bad.json()["code"]),
        (StatusCode::BAD_REQUEST, &json!(Code::InvalidArgument as i32))
    );
    let bad = ask(&it, post("/v1/logs", "application/x-protobuf", vec![0x0a, 9])).await;
    let status = RpcStatus::decode(bad.body.as_slice()).expect("a status");
    assert_eq!(
        (bad.status, status.message.as_str()),
        (StatusCode::BAD_REQUEST, "body is not OTLP: a field is longer than its message")
    );
    let other = ask(&it, post("/v1/logs", "text/plain", "x")).await;
    assert_eq!(other.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let mut brotli = post("/v1/logs", "application/json", "x");
    brotli.headers_mut().insert(header::CONTENT_ENCODING, "br".parse().expect("a value"));
    assert_eq!(ask(&it, brotli).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let profiles = ask(&it, post("/v1development/profiles", "application/json", "{}")).await;
    assert_eq!(
        (profiles.status, &profiles.json()["code"]),
        (StatusCode::NOT_FOUND, &json!(Code::Unimplemented as i32))
    );
    let unknown = ask_as(&it, post("/v1/logs", "application/json", "{}"), Err(Denied::NoToken)).await;
    assert_eq!(
        (unknown.status, unknown.headers.contains_key(header::WWW_AUTHENTICATE)),
        (StatusCode::UNAUTHORIZED, true)
    );
    let body = example(Signal::Logs).to_string();
    assert_eq!(ask(&it, post("/v1/logs", "application/json", body.clone())).await.status, StatusCode::OK);
    let limited = ask(&it, post("/v1/logs", "application/json", body)).await;
    assert_eq!(
        (limited.status, limited.headers.contains_key(header::RETRY_AFTER)),
        (StatusCode::TOO_MANY_REQUESTS, true)
    );
    assert!(limited.json()["details"][0]["retryDelay"].is_string());
}

// ---- gRPC -------------------------------------------------------------------------------------------------------------

fn free() -> Option<SocketAddr> {
    Some(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Opens the doors that speak gRPC on free ports; the address of the one named, and the task they run in.
pub(crate) fn open(
    it: &TestShared,
    name: &str,
    config: &DoorsConfig,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let doors = Doors::open(config, std::sync::Arc::clone(&it.shared), true).expect("doors open");
    let addr = doors
        .opened
        .iter()
        .find(|door: &&Opened| door.name == name)
        .and_then(|door| door.addr)
        .expect("an address");
    (addr, tokio::spawn(doors.run()))
}

fn config() -> DoorsConfig {
    DoorsConfig {
        otlp: OtlpConfig { grpc_listen: free(), http_listen: free(), ..OtlpConfig::default() },
        grpc: GrpcConfig { listen: free(), ..GrpcConfig::default() },
        ..DoorsConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_calls_over_grpc_packed_and_not() {
    let it = shared();
    let (addr, running) = open(&it, "otlp_grpc", &config());
    let url = format!("http://{addr}");
    let request = |signal| protobuf(signal, &example(signal));
    let mut logs = LogsServiceClient::connect(url.clone()).await.expect("a connection");
    let message = ExportLogsServiceRequest::decode(request(Signal::Logs).as_slice()).expect("logs");
    let answer = logs.export(message.clone()).await.expect("taken").into_inner();
    assert_eq!(answer.partial_success, None);
    let mut packed = LogsServiceClient::connect(url.clone())
        .await
        .expect("a connection")
        .send_compressed(CompressionEncoding::Gzip);
    packed.export(message).await.expect("a retry of the same bytes");
    let mut metrics = MetricsServiceClient::connect(url.clone())
        .await
        .expect("a connection")
        .send_compressed(CompressionEncoding::Gzip);
    let message = ExportMetricsServiceRequest::decode(request(Signal::Metrics).as_slice()).expect("metrics");
    metrics.export(message).await.expect("taken");
    let mut traces = TraceServiceClient::connect(url.clone())
        .await
        .expect("a connection")
        .send_compressed(CompressionEncoding::Zstd);
    let message = ExportTraceServiceRequest::decode(request(Signal::Traces).as_slice()).expect("traces");
    traces.export(message).await.expect("taken");
    let records = it.records(13);
    let count = |dataset: &str| records.iter().filter(|record| record["dataset"] == dataset).count();
    assert_eq!((count("logs"), count("metrics"), count("spans")), (1, 11, 1));
    assert!(it.is_quiet());

    let channel = tonic::transport::Endpoint::new(url).expect("a url").connect().await.expect("a connection");
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let service = "opentelemetry.proto.collector.trace.v1.TraceService".to_owned();
    let answer =
        health.check(tonic_health::pb::HealthCheckRequest { service }).await.expect("health").into_inner();
    assert_eq!(answer.status, 1);
    it.shared.shutdown.cancel();
    running.await.expect("the doors close");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_over_grpc_say_whether_to_come_back() {
    let it = shared_that_takes(1.0);
    let (addr, _running) = open(&it, "otlp_grpc", &config());
    let mut logs = LogsServiceClient::connect(format!("http://{addr}")).await.expect("a connection");
    let message = ExportLogsServiceRequest::decode(protobuf(Signal::Logs, &example(Signal::Logs)).as_slice())
        .expect("logs");
    logs.export(message.clone()).await.expect("room for one");
    let refused = logs.export(message.clone()).await.expect_err("no room");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let status = RpcStatus::decode(refused.details()).expect("a status");
    assert_eq!(status.to_json()["details"][0]["@type"], "type.googleapis.com/google.rpc.RetryInfo");
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));

    let mut with_token = tonic::Request::new(message);
    with_token.metadata_mut().insert("authorization", "Bearer hmd_nonsense".parse().expect("a value"));
    assert_eq!(logs.export(with_token).await.expect_err("a bad token").code(), Code::Unauthenticated);
    let channel = tonic::transport::Endpoint::new(format!("http://{addr}"))
        .expect("a url")
        .connect()
        .await
        .expect("a connection");
    let mut other = crate::grpc::proto::ingest_client::IngestClient::new(channel);
    let unknown = other.push_records(crate::grpc::proto::RecordBatch::default()).await.expect_err("not here");
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_the_protocol_that_grpc_clients_insist_on() {
    let it = shared();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (it.path().join("cert.pem"), it.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let tls = crate::net::TlsConfig { cert_file: cert, key_file: key, client_ca_file: None };
    let config = DoorsConfig { otlp: OtlpConfig { tls, ..config().otlp }, ..config() };
    let (addr, _running) = open(&it, "otlp_grpc", &config);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(addr).await.expect("a connection");
    let name = "localhost".try_into().expect("a name");
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(client));
    let stream = connector.connect(name, stream).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

/// Examples of [`example`], and more of what requests may hold.
fn seeds_of(signal: Signal) -> Vec<Value> {
    let more = match signal {
        Signal::Logs => log_request(&json!([{
            "timeUnixNano": "1700000000000000001", "observedTimeUnixNano": "1700000000000000002", "severityNumber": 17, "severityText": "ERROR",
            "body": {"kvlistValue": {"values": [{"key": "k", "value": {"doubleValue": 1.5}}, {"key": "b", "value": {"bytesValue": "AAEC"}}]}},
            "attributes": [attribute("service.name", "x")], "droppedAttributesCount": 1, "flags": 1, "traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": "eee19b7ec3c1b174"}])),
        Signal::Metrics => metric_request(&json!([
            {"name": "s", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{"timeUnixNano": "5", "asDouble": 1.5, "attributes": [attribute("a", "b")]}]}},
            {"name": "h", "unit": "s", "histogram": {"aggregationTemporality": 1, "dataPoints": [{"timeUnixNano": "5", "count": "6", "sum": 9.5, "min": 0.5, "max": 7.0,
                "bucketCounts": ["1", "2", "3"], "explicitBounds": [1.0, 5.0], "exemplars": [{"asDouble": 1.0}]}]}},
            {"name": "e", "exponentialHistogram": {"dataPoints": [{"count": "6", "scale": -1, "zeroCount": "1", "zeroThreshold": 0.1,
                "positive": {"offset": 5, "bucketCounts": ["1", "0", "2"]}, "negative": {"offset": -3, "bucketCounts": ["2"]}}]}},
        ])),
        Signal::Traces => span_request(&json!([{
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "parentSpanId": "eee19b7ec3c1b173", "name": "n", "kind": 3,
            "startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": "1700000000000000009", "traceState": "a=b", "flags": 257,
            "attributes": [attribute("peer.service", "db"), attribute("db.system", "x")], "droppedEventsCount": 2,
            "events": [{"timeUnixNano": "5", "name": "e", "attributes": [attribute("a", "b")]}], "status": {"code": 2, "message": "m"}}])),
    };
    vec![example(signal), more]
}

fn check_mutants(signal: Signal, encoding: Encoding) {
    let requests = seeds_of(signal);
    let seeds = match encoding {
        Encoding::Protobuf => Seeds::protobuf(requests.iter().map(|request| protobuf(signal, request))),
        Encoding::Json => Seeds::text(requests.iter().map(Value::to_string)),
    };
    fuzz(&seeds, |mutant, _| {
        if let Ok(export) = read(signal, encoding, mutant) {
            export.batches.iter().for_each(|decoded| check_batch(decoded, 4 * mutant.len() + 16));
            assert!(export.reasons.len() <= 100);
        }
    });
}

#[test]
fn mutants_of_logs_in_protobuf() {
    check_mutants(Signal::Logs, Encoding::Protobuf);
}

#[test]
fn mutants_of_logs_in_json() {
    check_mutants(Signal::Logs, Encoding::Json);
}

#[test]
fn mutants_of_metrics_in_protobuf() {
    check_mutants(Signal::Metrics, Encoding::Protobuf);
}

#[test]
fn mutants_of_metrics_in_json() {
    check_mutants(Signal::Metrics, Encoding::Json);
}

#[test]
fn mutants_of_traces_in_protobuf() {
    check_mutants(Signal::Traces, Encoding::Protobuf);
}

#[test]
fn mutants_of_traces_in_json() {
    check_mutants(Signal::Traces, Encoding::Json);
}

#[test]
fn bad_inputs_are_no_requests_and_not_in_the_way_of_others() {
    for input in bad_inputs() {
        for signal in [Signal::Logs, Signal::Metrics, Signal::Traces] {
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                let taken = read(signal, encoding, &input.bytes).map_or(0, |export| rows(&export).len());
                assert_eq!(taken, 0, "{}", input.name);
            }
        }
        let text = String::from_utf8_lossy(&input.bytes);
        let record =
            |text: &str| json!({"timeUnixNano": "5", "traceId": text, "body": {"stringValue": text}});
        let request =
            log_request(&json!([record(&text), {"timeUnixNano": "5", "body": {"stringValue": "good"}}]));
        let export = read(Signal::Logs, Encoding::Json, request.to_string().as_bytes());
        let found = export.map(|export| rows(&export));
        assert!(
            found.is_err() || found.is_ok_and(|rows| rows.last().is_some_and(|row| row["message"] == "good")),
            "{}",
            input.name
        );
    }
}
