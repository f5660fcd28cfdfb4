//! What a record of OpenTelemetry costs to decode: microseconds of one core, by signal and encoding.
//!
//! Requests of 1,000 log records, data points or spans with attributes as SDKs send them; the best of several rounds is printed.

use std::time::Instant;

use heimdall_doors::otlp::decode_for_measure;
use heimdall_ingest::{DecodeLimits, Reading};
use heimdall_model::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value, json};

const ITEMS: usize = 1_000;
const ROUNDS: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let logs = request("resourceLogs", "scopeLogs", "logRecords", &list(log));
    let spans = request("resourceSpans", "scopeSpans", "spans", &list(span));
    let gauges = request(
        "resourceMetrics",
        "scopeMetrics",
        "metrics",
        &json!([{"name": "queue.length", "gauge": {"dataPoints": list(point)}}]),
    );
    let histograms =
        json!([{"name": "http.server.duration", "unit": "ms", "histogram": {"dataPoints": list(histogram)}}]);
    let histograms = request("resourceMetrics", "scopeMetrics", "metrics", &histograms);
    let logs_wire = serde_json::from_value::<ExportLogsServiceRequest>(logs.clone())?.encode_to_vec();
    let spans_wire = serde_json::from_value::<ExportTraceServiceRequest>(spans.clone())?.encode_to_vec();
    let wire = |value: &Value| {
        serde_json::from_value::<ExportMetricsServiceRequest>(value.clone()).map(|it| it.encode_to_vec())
    };
    measure("logs", "logs", false, &logs_wire);
    measure("logs", "logs", true, logs.to_string().as_bytes());
    measure("gauges", "metrics", false, &wire(&gauges)?);
    measure("gauges", "metrics", true, gauges.to_string().as_bytes());
    measure("histograms", "metrics", false, &wire(&histograms)?);
    measure("histograms", "metrics", true, histograms.to_string().as_bytes());
    measure("spans", "traces", false, &spans_wire);
    measure("spans", "traces", true, spans.to_string().as_bytes());
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes for people")]
#[expect(clippy::print_stdout, reason = "what it is for")]
fn measure(name: &str, signal: &str, is_json: bool, body: &[u8]) {
    let limits = DecodeLimits::default();
    let reading = Reading::new(Timestamp(1_800_000_000_000_000_000), &limits);
    let mut best = f64::INFINITY;
    let mut records = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        records = decode_for_measure(signal, is_json, body, reading).expect("a request");
        best = best.min(start.elapsed().as_secs_f64());
    }
    let encoding = if is_json { "json" } else { "protobuf" };
    println!(
        "{name:<11} {encoding:<9} {:>7.1} bytes/item {:>6.2} us/item {:>6.2} us/record {:>7.1} MB/s",
        body.len() as f64 / ITEMS as f64,
        best * 1e6 / ITEMS as f64,
        best * 1e6 / records as f64,
        body.len() as f64 / best / 1e6,
    );
}

fn request(resources: &str, scopes: &str, items: &str, list: &Value) -> Value {
    let resource = json!({"attributes": [
        text("service.name", "checkout"), text("service.instance.id", "2f9d7b6e-1f5e-4b1c-8a55-0c6d5b7f9a01"), text("host.name", "node-17"),
        text("deployment.environment.name", "prod"), text("k8s.namespace.name", "shop"), text("k8s.pod.name", "checkout-7f9c"),
        text("telemetry.sdk.language", "java"), text("telemetry.sdk.name", "opentelemetry"), text("telemetry.sdk.version", "1.45.2"),
    ]});
    json!({resources: [{"resource": resource, scopes: [{"scope": {"name": "com.example.checkout", "version": "2.4.1"}, items: list}]}]})
}

fn list(item: fn(usize) -> Value) -> Value {
    (0..ITEMS).map(item).collect()
}

fn text(key: &str, text: &str) -> Value {
    json!({"key": key, "value": {"stringValue": text}})
}

fn int(key: &str, number: usize) -> Value {
    json!({"key": key, "value": {"intValue": number.to_string()}})
}

fn time(n: usize) -> String {
    (1_795_780_800_000_000_000 + n * 1_000_003).to_string()
}

fn id(n: usize, width: usize) -> String {
    format!("{:0width$x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

fn log(n: usize) -> Value {
    json!({
        "timeUnixNano": time(n), "observedTimeUnixNano": time(n + 1), "severityNumber": 9, "severityText": "INFO",
        "body": {"stringValue": format!("GET /api/v1/orders/{n} took {} ms and returned 200 to 10.0.{}.{}", n % 97, n % 250, n % 199)},
        "traceId": id(n, 32), "spanId": id(n, 16), "flags": 1,
        "attributes": [
            text("http.request.method", "GET"), text("url.path", &format!("/api/v1/orders/{n}")), int("http.response.status_code", 200),
            text("user.id", &format!("u{}", n % 1000)), text("code.function.name", "OrderController.get"),
        ],
    })
}

fn point(n: usize) -> Value {
    json!({"timeUnixNano": time(n), "asDouble": n as f64 * 0.5, "attributes": [
        text("queue", &format!("q{}", n % 50)), text("region", "eu-central-1"), int("shard", n % 8),
    ]})
}

fn histogram(n: usize) -> Value {
    let counts: Vec<String> = (0..15).map(|bucket| (n % 7 * bucket).to_string()).collect();
    let bounds =
        [5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0];
    json!({"timeUnixNano": time(n), "count": (n % 7 * 105).to_string(), "sum": 1.5, "min": 0.1, "max": 99.0, "bucketCounts": counts,
        "explicitBounds": bounds, "attributes": [text("http.route", &format!("/r{}", n % 50)), text("http.request.method", "GET")]})
}

fn span(n: usize) -> Value {
    json!({
        "traceId": id(n / 8, 32), "spanId": id(n, 16), "parentSpanId": id(n / 2, 16), "name": "GET /api/v1/orders/{id}", "kind": 3, "flags": 257,
        "startTimeUnixNano": time(n), "endTimeUnixNano": time(n + 12), "status": {"code": 1},
        "attributes": [
            text("http.request.method", "GET"), text("url.full", &format!("http://orders/api/v1/orders/{n}")), text("server.address", "orders"),
            int("server.port", 8080), int("http.response.status_code", 200), text("network.protocol.version", "1.1"),
        ],
        "events": [{"timeUnixNano": time(n + 1), "name": "retry", "attributes": [int("attempt", 1)]}],
    })
}
