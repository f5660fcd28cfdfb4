//! What the world emits: log events and metric samples, and their one-line JSON.
//!
//! Invariant: JSON names are the canonical field names of the product; everything else a log event carries is written
//! beside them as an attribute. Absent fields are left out.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::company::Service;
use crate::json::{push_f64, push_hex, push_i64, push_string, push_timestamp, push_u64};

/// Everything here happens in production.
pub(crate) const ENVIRONMENT: &str = "prod";

/// 16 bytes shared by all events of one request through the company.
pub type TraceId = [u8; 16];
/// 8 bytes of one call within a trace.
pub type SpanId = [u8; 8];
/// 8 bytes of one visit of a user.
pub type SessionId = [u8; 8];

/// A user of the company; written `u123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u32);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}", self.0)
    }
}

/// How serious a log event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Of use to its developers only.
    Debug,
    /// As it should be.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
    /// A process ended.
    Fatal,
}

impl Level {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Fatal => "fatal",
        }
    }
}

/// Something that happened, in the order of [`Event::timestamp_ns`].
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A log line (boxed: it is several times the size of a sample).
    Log(Box<LogEvent>),
    /// A metric point.
    Sample(SampleEvent),
}

impl Event {
    /// When it happened, ns since 1970.
    #[must_use]
    pub fn timestamp_ns(&self) -> i64 {
        match self {
            Event::Log(log) => log.timestamp_ns,
            Event::Sample(sample) => sample.timestamp_ns,
        }
    }

    /// Appends the event as one JSON object, without a line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Event::Log(log) => log.write_json(out),
            Event::Sample(sample) => sample.write_json(out),
        }
    }
}

/// Value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// A fixed text.
    Static(&'static str),
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number; three decimals are written.
    Float(f64),
}

impl AttributeValue {
    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            AttributeValue::Static(text) => push_string(out, text),
            AttributeValue::Text(text) => push_string(out, text),
            AttributeValue::Integer(n) => push_i64(out, *n),
            AttributeValue::Float(value) => push_f64(out, *value),
        }
    }
}

/// One log line.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEvent {
    /// Event time, ns since 1970.
    pub timestamp_ns: i64,
    /// How serious it is.
    pub level: Level,
    /// Who says it.
    pub service: Service,
    /// Which instance of the service.
    pub instance: Arc<str>,
    /// The machine of the instance.
    pub host: Arc<str>,
    /// Where the machine stands.
    pub region: &'static str,
    /// The text; may hold line ends (stack traces).
    pub message: String,
    /// The request it belongs to.
    pub trace_id: Option<TraceId>,
    /// The call it belongs to.
    pub span_id: Option<SpanId>,
    /// The call that made this call.
    pub parent_span_id: Option<SpanId>,
    /// Id of the request as the edge gave it, 12 hex digits.
    pub request_id: Option<[u8; 6]>,
    /// On whose behalf.
    pub user_id: Option<UserId>,
    /// During which visit.
    pub session_id: Option<SessionId>,
    /// From which address.
    pub source_ip: Option<Ipv4Addr>,
    /// How long the call took, ms.
    pub duration_ms: Option<f64>,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// Further fields, written beside the canonical ones; names differ from theirs and from each other.
    pub attributes: Vec<(&'static str, AttributeValue)>,
}

impl LogEvent {
    /// Appends the event as one JSON object, without a line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"timestamp\":\"");
        push_timestamp(out, self.timestamp_ns);
        out.push(b'"');
        text(out, b",\"level\":", self.level.as_str());
        text(out, b",\"service\":", self.service.name());
        text(out, b",\"instance\":", &self.instance);
        text(out, b",\"region\":", self.region);
        text(out, b",\"environment\":", ENVIRONMENT);
        text(out, b",\"host\":", &self.host);
        text(out, b",\"message\":", &self.message);
        self.write_ids(out);
        self.write_rest(out);
        out.push(b'}');
    }

    fn write_ids(&self, out: &mut Vec<u8>) {
        hex(out, b",\"trace_id\":\"", self.trace_id.as_ref().map(<[u8; 16]>::as_slice));
        hex(out, b",\"span_id\":\"", self.span_id.as_ref().map(<[u8; 8]>::as_slice));
        hex(out, b",\"parent_span_id\":\"", self.parent_span_id.as_ref().map(<[u8; 8]>::as_slice));
        hex(out, b",\"request_id\":\"", self.request_id.as_ref().map(<[u8; 6]>::as_slice));
        if let Some(UserId(user)) = self.user_id {
            out.extend_from_slice(b",\"user_id\":\"u");
            push_u64(out, user.into());
            out.push(b'"');
        }
        hex(out, b",\"session_id\":\"", self.session_id.as_ref().map(<[u8; 8]>::as_slice));
    }

    fn write_rest(&self, out: &mut Vec<u8>) {
        if let Some(ip) = self.source_ip {
            out.extend_from_slice(b",\"source_ip\":\"");
            push_ip(out, ip);
            out.push(b'"');
        }
        if let Some(duration_ms) = self.duration_ms {
            out.extend_from_slice(b",\"duration_ms\":");
            push_f64(out, duration_ms);
        }
        if let Some(status) = self.status {
            out.extend_from_slice(b",\"status\":");
            push_u64(out, status.into());
        }
        for (name, value) in &self.attributes {
            out.push(b',');
            push_string(out, name);
            out.push(b':');
            value.write_json(out);
        }
    }
}

/// One metric point.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleEvent {
    /// Event time, ns since 1970.
    pub timestamp_ns: i64,
    /// Whose metric.
    pub service: Service,
    /// `cpu_usage`, `memory_usage`, `disk_usage` (percent), `requests_per_second`, `latency_ms`, `error_rate` (0 to 1).
    pub name: &'static str,
    /// The value; three decimals are written.
    pub value: f64,
    /// What tells series of one name apart: `host`, `instance`, `region`.
    pub labels: Vec<(&'static str, Arc<str>)>,
}

impl SampleEvent {
    /// Appends the sample as one JSON object, without a line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"timestamp\":\"");
        push_timestamp(out, self.timestamp_ns);
        out.push(b'"');
        text(out, b",\"service\":", self.service.name());
        text(out, b",\"name\":", self.name);
        out.extend_from_slice(b",\"value\":");
        push_f64(out, self.value);
        out.extend_from_slice(b",\"labels\":{");
        for (at, (name, value)) in self.labels.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            push_string(out, name);
            out.push(b':');
            push_string(out, value);
        }
        out.extend_from_slice(b"}}");
    }
}

/// Appends an address in dotted form.
pub(crate) fn push_ip(out: &mut Vec<u8>, ip: Ipv4Addr) {
    for (at, octet) in ip.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        push_u64(out, octet.into());
    }
}

fn text(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend_from_slice(name);
    push_string(out, value);
}

/// `name` ends in the opening quote of the value.
fn hex(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    if let Some(bytes) = value {
        out.extend_from_slice(name);
        push_hex(out, bytes);
        out.push(b'"');
    }
}
