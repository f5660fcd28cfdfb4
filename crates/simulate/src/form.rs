//! Bench lines as the senders of other doors write them.
//!
//! Invariant: a record says the same in every form. Names, order and grouping are the form's own, and Loki's metadata
//! knows text only.

use std::borrow::Cow;
use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde::Deserialize;
use serde_json::{Value, json};

/// The form of a body of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BenchForm {
    /// NDJSON with Heimdall's own names.
    Native,
    /// Documents of Elasticsearch's bulk API, named after ECS, as Beats send them.
    Elasticsearch,
    /// A push to Loki: a stream for each service, instance and level.
    Loki,
    /// OTLP in protobuf: a resource for each service and instance.
    Otlp,
    /// The same in JSON.
    OtlpJson,
}

/// One line as the generator writes it.
#[derive(Deserialize)]
struct Row<'a> {
    timestamp: jiff::Timestamp,
    level: &'a str,
    service: &'a str,
    instance: &'a str,
    region: &'a str,
    environment: &'a str,
    #[serde(borrow)]
    message: Cow<'a, str>,
    trace_id: &'a str,
    span_id: &'a str,
    request_id: &'a str,
    user_id: &'a str,
    duration_ms: i64,
    status: i64,
}

impl BenchForm {
    /// Where such a body is posted.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            BenchForm::Native => "/api/v1/ingest/logs",
            BenchForm::Elasticsearch => "/_bulk?filter_path=errors,items.*.error,items.*.status",
            BenchForm::Loki => "/loki/api/v1/push",
            BenchForm::Otlp | BenchForm::OtlpJson => "/v1/logs",
        }
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            BenchForm::Native | BenchForm::Elasticsearch => "application/x-ndjson",
            BenchForm::Loki | BenchForm::OtlpJson => "application/json",
            BenchForm::Otlp => "application/x-protobuf",
        }
    }

    /// The body of some lines that [`crate::BenchLines`] wrote.
    ///
    /// # Panics
    ///
    /// When they are not its lines.
    #[must_use]
    pub fn body(self, lines: Vec<u8>) -> Vec<u8> {
        if self == BenchForm::Native {
            return lines;
        }
        let rows: Vec<Row<'_>> = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("a line of the generator"))
            .collect();
        match self {
            BenchForm::Native | BenchForm::Elasticsearch => documents(&rows),
            BenchForm::Loki => json!({"streams": streams(&rows)}).to_string().into_bytes(),
            BenchForm::Otlp => export(&rows).encode_to_vec(),
            BenchForm::OtlpJson => serde_json::to_vec(&export(&rows)).expect("texts and numbers"),
        }
    }
}

fn documents(rows: &[Row<'_>]) -> Vec<u8> {
    let mut body = Vec::with_capacity(rows.len() * 640);
    for row in rows {
        let document = json!({
            "@timestamp": row.timestamp.to_string(),
            "log": {"level": row.level},
            "service": {"name": row.service, "environment": row.environment, "instance": {"id": row.instance}},
            "cloud": {"region": row.region},
            "message": row.message,
            "trace": {"id": row.trace_id},
            "span": {"id": row.span_id},
            "http": {"request": {"id": row.request_id}},
            "user": {"id": row.user_id},
            "duration_ms": row.duration_ms,
            "status": row.status,
        });
        body.extend_from_slice(b"{\"create\":{\"_index\":\"logs-bench-default\"}}\n");
        serde_json::to_writer(&mut body, &document).expect("texts and numbers");
        body.push(b'\n');
    }
    body
}

fn streams(rows: &[Row<'_>]) -> Vec<Value> {
    grouped(rows, |row| (row.service, row.instance, row.level))
        .into_values()
        .map(|rows| {
            let entry = |row: &&Row<'_>| {
                let metadata = json!({
                    "trace_id": row.trace_id,
                    "span_id": row.span_id,
                    "request_id": row.request_id,
                    "user_id": row.user_id,
                    "duration_ms": row.duration_ms.to_string(),
                    "status": row.status.to_string(),
                });
                json!([row.timestamp.as_nanosecond().to_string(), row.message, metadata])
            };
            let first = rows[0];
            json!({
                "stream": {
                    "service_name": first.service,
                    "instance": first.instance,
                    "level": first.level,
                    "region": first.region,
                    "environment": first.environment,
                },
                "values": rows.iter().map(entry).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn export(rows: &[Row<'_>]) -> ExportLogsServiceRequest {
    let of_resource = |rows: Vec<&Row<'_>>| {
        let first = rows[0];
        let attributes = vec![
            text("service.name", first.service),
            text("service.instance.id", first.instance),
            text("cloud.region", first.region),
            text("deployment.environment.name", first.environment),
        ];
        let log_records = rows.into_iter().map(log_record).collect();
        ResourceLogs {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }
    };
    let resources = grouped(rows, |row| (row.service, row.instance));
    ExportLogsServiceRequest { resource_logs: resources.into_values().map(of_resource).collect() }
}

fn log_record(row: &Row<'_>) -> LogRecord {
    LogRecord {
        time_unix_nano: u64::try_from(row.timestamp.as_nanosecond()).unwrap_or(0),
        severity_text: row.level.to_owned(),
        body: Some(AnyValue { value: Some(Any::StringValue(row.message.clone().into_owned())) }),
        attributes: vec![
            text("http.request.id", row.request_id),
            text("user.id", row.user_id),
            number("duration_ms", row.duration_ms),
            number("status", row.status),
        ],
        trace_id: bytes(row.trace_id),
        span_id: bytes(row.span_id),
        ..LogRecord::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Any::IntValue(value))
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len() / 2).map(|at| &hex[at * 2..at * 2 + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex of the generator")).collect()
}

/// The rows of each key, in their order.
fn grouped<'r, 'a, K: Ord>(
    rows: &'r [Row<'a>],
    key: impl Fn(&'r Row<'a>) -> K,
) -> BTreeMap<K, Vec<&'r Row<'a>>> {
    let mut groups: BTreeMap<K, Vec<&Row<'_>>> = BTreeMap::new();
    for row in rows {
        groups.entry(key(row)).or_default().push(row);
    }
    groups
}
