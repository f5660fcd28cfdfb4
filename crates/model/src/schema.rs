//! The datasets, their canonical fields and the aliases that resolve to them.
//!
//! Invariants:
//! - a field's index in its table is its code on disk: tables only grow at the end;
//! - `timestamp` is field 0 and `observed` field 1 of every dataset.

use serde::{Deserialize, Serialize};

/// A kind of record with a schema of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dataset {
    /// Log records and events.
    Logs,
    /// Metric samples.
    Metrics,
    /// Spans of traces.
    Spans,
}

/// How the values of a field are stored and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Nanoseconds since the Unix epoch, UTC (`i64`).
    Time,
    /// A [`crate::Level`] code (`u8`).
    Level,
    /// `i64`.
    Int,
    /// `f64`.
    Float,
    /// UTF-8 text.
    Text,
    /// 16 bytes, written as 32 hex digits.
    Id16,
    /// 8 bytes, written as 16 hex digits.
    Id8,
    /// JSON text: an object for `attributes`, an array for lists.
    Json,
}

/// Code of a field within its dataset: the index into [`Dataset::fields`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldId(pub u8);

impl FieldId {
    /// The code as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A canonical field.
#[derive(Debug)]
pub struct Field {
    /// Name in storage, queries, API and UI.
    pub name: &'static str,
    /// Storage and comparison type.
    pub ty: FieldType,
    /// Other names that resolve to this field, at ingest and in queries.
    pub aliases: &'static [&'static str],
    /// One line for people.
    pub doc: &'static str,
}

const fn field(
    name: &'static str,
    ty: FieldType,
    aliases: &'static [&'static str],
    doc: &'static str,
) -> Field {
    Field { name, ty, aliases, doc }
}

/// Event time: field 0 of every dataset.
pub const TIMESTAMP: FieldId = FieldId(0);
/// Arrival time: field 1 of every dataset.
pub const OBSERVED: FieldId = FieldId(1);

macro_rules! fields {
    ($table:ident: $($konst:ident = $code:literal $name:literal $ty:ident [$($alias:literal),*] $doc:literal;)*) => {
        $(#[doc = $doc] pub const $konst: super::FieldId = super::FieldId($code);)*
        pub(super) static $table: &[super::Field] = &[$(super::field($name, super::FieldType::$ty, &[$($alias),*], $doc)),*];
    };
}

/// Fields of [`Dataset::Logs`].
pub mod logs {
    fields! { FIELDS:
        TIMESTAMP = 0 "timestamp" Time ["@timestamp", "time", "ts", "_time", "datetime", "eventTime", "Timestamp", "TimeUnixNano"] "Event time, ns since the epoch, UTC.";
        OBSERVED = 1 "observed" Time ["observed_timestamp", "event.ingested", "ObservedTimestamp"] "Arrival time, ns since the epoch, UTC.";
        LEVEL = 2 "level" Level ["severity", "log.level", "severity_text", "SeverityText", "loglevel", "lvl", "levelname"] "Level: trace, debug, info, warn, error or fatal.";
        SERVICE = 3 "service" Text ["source.service", "service.name", "resource.service.name", "app", "application", "service_name", "source"] "Service that wrote the record.";
        INSTANCE = 4 "instance" Text ["source.instance", "service.instance.id", "container.id", "pod", "k8s.pod.name"] "Instance of the service.";
        REGION = 5 "region" Text ["source.region", "cloud.region"] "Region of the instance.";
        ENVIRONMENT = 6 "environment" Text ["source.environment", "deployment.environment", "deployment.environment.name", "service.environment", "env"] "Environment: dev, staging or prod.";
        MESSAGE = 7 "message" Text ["msg", "message.raw", "body", "log", "event.original", "_msg", "Body", "text"] "The message as written.";
        TRACE_ID = 8 "trace_id" Id16 ["trace.traceId", "trace.id", "traceId", "traceid", "TraceId"] "W3C trace id, 32 hex digits.";
        SPAN_ID = 9 "span_id" Id8 ["trace.spanId", "span.id", "spanId", "spanid", "SpanId"] "W3C span id, 16 hex digits.";
        PARENT_SPAN_ID = 10 "parent_span_id" Id8 ["trace.parentSpanId", "parent.id", "parentSpanId", "ParentSpanId"] "Span id of the parent, 16 hex digits.";
        TRACE_FLAGS = 11 "trace_flags" Int ["trace.flags", "traceFlags", "TraceFlags"] "W3C trace flags.";
        USER_ID = 12 "user_id" Text ["entities.userId", "userId", "user.id", "enduser.id"] "User concerned.";
        SESSION_ID = 13 "session_id" Text ["entities.sessionId", "sessionId", "session.id"] "Session concerned.";
        REQUEST_ID = 14 "request_id" Text ["entities.requestId", "requestId", "http.request.id", "request.id"] "Request concerned.";
        CUSTOMER_ID = 15 "customer_id" Text ["entities.customerId", "customerId", "customer.id"] "Customer concerned.";
        DURATION_MS = 16 "duration_ms" Float ["metrics.duration", "duration", "latency_ms", "elapsed_ms"] "Duration of the operation, ms.";
        CPU_USAGE = 17 "cpu_usage" Float ["metrics.cpuUsage", "cpuUsage", "cpu_percent"] "CPU in use, percent.";
        MEMORY_USAGE = 18 "memory_usage" Float ["metrics.memoryUsage", "memoryUsage", "memory_percent"] "Memory in use, percent.";
        ERROR_RATE = 19 "error_rate" Float ["metrics.errorRate", "errorRate"] "Share of failed operations.";
        CLASSIFICATION = 20 "classification" Text ["security.classification"] "Class: public, internal, confidential or restricted.";
        PII_FIELDS = 21 "pii_fields" Json ["security.piiFields", "piiFields"] "Fields that hold personal data.";
        RETENTION_POLICY = 22 "retention_policy" Text ["security.retentionPolicy", "retentionPolicy"] "Retention policy by name.";
        ANOMALY_SCORE = 23 "anomaly_score" Float ["ml.anomalyScore", "anomalyScore"] "Anomaly score, 0 to 1.";
        CATEGORY = 24 "category" Text ["ml.predictedCategory", "predictedCategory", "event.category"] "Predicted or given category.";
        SOURCE_IP = 25 "source_ip" Text ["ip", "source.ip", "client.address", "client.ip", "client_ip", "remote_addr", "src_ip", "net.peer.ip"] "Address the event came from.";
        HOST = 26 "host" Text ["host.name", "hostname", "host_name"] "Host that wrote the record.";
        ATTRIBUTES = 27 "attributes" Json ["message.structured"] "Every other field, as a JSON object.";
        VERSION = 28 "version" Int ["schema_version"] "Schema version of the record.";
        TEMPLATE_ID = 29 "template_id" Int [] "Template of the message; see `template`.";
    }
}

/// Fields of [`Dataset::Metrics`].
pub mod metrics {
    fields! { FIELDS:
        TIMESTAMP = 0 "timestamp" Time ["@timestamp", "time", "ts", "_time"] "Time of the sample, ns since the epoch, UTC.";
        OBSERVED = 1 "observed" Time ["observed_timestamp"] "Arrival time, ns since the epoch, UTC.";
        SERVICE = 2 "service" Text ["source.service", "service.name", "source", "job"] "Service the sample is of.";
        NAME = 3 "name" Text ["metric", "__name__", "metric_name"] "Name of the metric.";
        VALUE = 4 "value" Float ["metric_value"] "Value, a finite number.";
        LABELS = 5 "labels" Json ["attributes", "tags"] "Every other field, as a JSON object.";
        HOST = 6 "host" Text ["host.name", "hostname"] "Host the sample is of.";
    }
}

/// Fields of [`Dataset::Spans`]: OpenTelemetry's span, its resource and its scope.
pub mod spans {
    fields! { FIELDS:
        TIMESTAMP = 0 "timestamp" Time ["@timestamp", "time", "start", "start_time", "startTimeUnixNano", "StartTime"] "Start of the span, ns since the epoch, UTC.";
        OBSERVED = 1 "observed" Time ["observed_timestamp"] "Arrival time, ns since the epoch, UTC.";
        SERVICE = 2 "service" Text ["source.service", "service.name", "resource.service.name", "service_name"] "Service that did the work.";
        NAME = 3 "name" Text ["span.name", "operation", "operation_name", "operationName"] "Name of the operation.";
        TRACE_ID = 4 "trace_id" Id16 ["trace.traceId", "trace.id", "traceId", "traceid", "TraceId"] "W3C trace id, 32 hex digits.";
        SPAN_ID = 5 "span_id" Id8 ["trace.spanId", "span.id", "spanId", "spanid", "SpanId"] "W3C span id, 16 hex digits.";
        PARENT_SPAN_ID = 6 "parent_span_id" Id8 ["trace.parentSpanId", "parent.id", "parentSpanId", "ParentSpanId"] "Span id of the parent, 16 hex digits; none at the root.";
        KIND = 7 "kind" Text ["span.kind", "span_kind"] "Kind: internal, server, client, producer or consumer.";
        STATUS = 8 "status" Text ["status_code", "otel.status_code"] "Status: unset, ok or error.";
        STATUS_MESSAGE = 9 "status_message" Text ["otel.status_description"] "What the status says.";
        DURATION_MS = 10 "duration_ms" Float ["duration", "latency_ms", "elapsed_ms"] "Duration, ms.";
        PEER_SERVICE = 11 "peer_service" Text ["peer.service"] "Service called, where the span says it.";
        HOST = 12 "host" Text ["host.name", "hostname", "host_name"] "Host the span was made on.";
        INSTANCE = 13 "instance" Text ["service.instance.id", "container.id", "k8s.pod.name"] "Instance of the service.";
        ENVIRONMENT = 14 "environment" Text ["deployment.environment", "deployment.environment.name", "env"] "Environment: dev, staging or prod.";
        SCOPE = 15 "scope" Text ["scope.name", "otel.scope.name", "library.name"] "Instrumentation scope.";
        TRACE_FLAGS = 16 "trace_flags" Int ["trace.flags", "traceFlags"] "W3C trace flags.";
        TRACE_STATE = 17 "trace_state" Text ["traceState"] "W3C trace state.";
        EVENTS = 18 "events" Json ["span.events"] "Events of the span, as a JSON array.";
        LINKS = 19 "links" Json ["span.links"] "Links to other spans, as a JSON array.";
        ATTRIBUTES = 20 "attributes" Json ["tags"] "Every other field, as a JSON object.";
    }
}

impl Dataset {
    /// Every dataset.
    pub const ALL: [Dataset; 3] = [Dataset::Logs, Dataset::Metrics, Dataset::Spans];

    /// Its fields; the index is the [`FieldId`].
    #[must_use]
    pub fn fields(self) -> &'static [Field] {
        match self {
            Dataset::Logs => logs::FIELDS,
            Dataset::Metrics => metrics::FIELDS,
            Dataset::Spans => spans::FIELDS,
        }
    }

    /// The field with this id.
    ///
    /// # Panics
    /// The id is not of this dataset: ids come from [`Dataset::resolve`] or the constants.
    #[must_use]
    pub fn field(self, id: FieldId) -> &'static Field {
        &self.fields()[id.index()]
    }

    /// The dataset's catch-all JSON object field.
    #[must_use]
    pub const fn attributes(self) -> FieldId {
        match self {
            Dataset::Logs => logs::ATTRIBUTES,
            Dataset::Metrics => metrics::LABELS,
            Dataset::Spans => spans::ATTRIBUTES,
        }
    }

    /// The dataset's service field.
    #[must_use]
    pub const fn service(self) -> FieldId {
        match self {
            Dataset::Logs => logs::SERVICE,
            Dataset::Metrics => metrics::SERVICE,
            Dataset::Spans => spans::SERVICE,
        }
    }

    /// The dataset's duration field, in ms.
    #[must_use]
    pub const fn duration(self) -> Option<FieldId> {
        match self {
            Dataset::Logs => Some(logs::DURATION_MS),
            Dataset::Metrics => None,
            Dataset::Spans => Some(spans::DURATION_MS),
        }
    }

    /// The canonical field of this name or alias (exact case first, then any case).
    #[must_use]
    pub fn resolve(self, name: &str) -> Option<FieldId> {
        self.names()
            .find(|(_, candidate)| *candidate == name)
            .or_else(|| self.names().find(|(_, candidate)| candidate.eq_ignore_ascii_case(name)))
            .map(|(id, _)| id)
    }

    /// Every name and alias with its field: the names first, then the aliases.
    pub fn names(self) -> impl Iterator<Item = (FieldId, &'static str)> {
        let ids = move || (0_u8..).zip(self.fields()).map(|(code, field)| (FieldId(code), field));
        ids()
            .map(|(id, field)| (id, field.name))
            .chain(ids().flat_map(|(id, field)| field.aliases.iter().map(move |alias| (id, *alias))))
    }

    /// Stored code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Dataset::Logs => 1,
            Dataset::Metrics => 2,
            Dataset::Spans => 3,
        }
    }

    /// The dataset with this stored code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Dataset> {
        match code {
            1 => Some(Dataset::Logs),
            2 => Some(Dataset::Metrics),
            3 => Some(Dataset::Spans),
            _ => None,
        }
    }

    /// Name in paths, queries and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Dataset::Logs => "logs",
            Dataset::Metrics => "metrics",
            Dataset::Spans => "spans",
        }
    }

    /// The dataset of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Dataset> {
        Dataset::ALL.into_iter().find(|dataset| dataset.as_str() == name)
    }
}

impl std::fmt::Display for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_unique_within_a_dataset() {
        for dataset in Dataset::ALL {
            let mut names: Vec<_> = dataset.names().map(|(_, name)| name).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{dataset}");
            assert_eq!(dataset.field(TIMESTAMP).name, "timestamp");
            assert_eq!(dataset.field(OBSERVED).name, "observed");
            assert_eq!(dataset.field(dataset.attributes()).ty, FieldType::Json);
        }
    }

    #[test]
    fn dotted_and_foreign_names_resolve() {
        let check = |name: &str, canonical: &str| {
            let id = Dataset::Logs.resolve(name).expect(name);
            assert_eq!(Dataset::Logs.field(id).name, canonical);
        };
        check("source.service", "service");
        check("trace.traceId", "trace_id");
        check("@timestamp", "timestamp");
        check("service.name", "service");
        check("ip", "source_ip");
        check("LEVEL", "level");
        assert_eq!(Dataset::Logs.resolve("nothing"), None);
    }
}
