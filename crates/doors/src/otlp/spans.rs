//! Spans.

use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Object, RejectKind};
use heimdall_model::Dataset;
use heimdall_model::time::NS_PER_MS;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};

use super::node::{Node, field};
use super::scope::{Context, Path};
use super::sink::Sink;
use super::value;

pub(super) const PATH: Path = Path {
    resources: field(1, "resourceSpans", "resource_spans"),
    scopes: field(2, "scopeSpans", "scope_spans"),
    items: field(2, "spans", "spans"),
    dataset: Dataset::Spans,
};

/// Attributes that name who was called, the most telling first; those after the first count for calls only.
const PEER_KEYS: [&str; 8] = [
    "peer.service",
    "server.address",
    "db.system.name",
    "messaging.system",
    "rpc.service",
    "net.peer.name",
    "http.host",
    "db.system",
];

pub(super) fn take(node: Node<'_>, context: &Context<'_>, sink: &mut Sink<'_>) -> Result<(), BodyError> {
    if node.len() > sink.node_bytes_max() {
        let reason = format!("span is larger than {} bytes", sink.node_bytes_max());
        return sink.reject(RejectKind::TooLarge, "", &reason, node);
    }
    match node.message::<Span>() {
        Err(bad) => sink.reject(RejectKind::Syntax, "", &format!("span cannot be read: {}", bad.0), node),
        Ok(span) => {
            if span.end_time_unix_nano != 0 && span.end_time_unix_nano < span.start_time_unix_nano {
                sink.note("duration_ms", "the span ends before it starts: no duration");
            }
            context.put(&mut sink.object);
            write_span(&mut sink.object, &span);
            if !sink.take()? {
                sink.count_rejected();
            }
            Ok(())
        }
    }
}

fn write_span(object: &mut Object, span: &Span) {
    value::kept(object, "attributes", &span.attributes);
    let mut kept = Object::new();
    times(object, &mut kept, span);
    object.text("name", &span.name);
    value::id(object, "trace_id", &span.trace_id);
    value::id(object, "span_id", &span.span_id);
    value::id(object, "parent_span_id", &span.parent_span_id);
    object.text_if("kind", &kind(span.kind));
    let status = span.status.as_ref();
    object.text("status", &status_code(status.map_or(0, |status| status.code)));
    object.text_if("status_message", status.map_or("", |status| &status.message));
    object.text_if("peer_service", peer(span).unwrap_or_default());
    object.text_if("trace_state", &span.trace_state);
    flags(object, &mut kept, span.flags);
    if !span.events.is_empty() {
        object.value("events", |out| write::array(out, &span.events, event));
    }
    if !span.links.is_empty() {
        object.value("links", |out| write::array(out, &span.links, link));
    }
    value::count(&mut kept, "dropped_attributes_count", span.dropped_attributes_count);
    value::count(&mut kept, "dropped_events_count", span.dropped_events_count);
    value::count(&mut kept, "dropped_links_count", span.dropped_links_count);
    if !kept.is_empty() {
        object.value("attributes", |out| out.push_str(&kept.to_json()));
    }
}

/// Start and duration; the end is kept only where no duration says it.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of a span: exact up to 104 days, and then to a nanosecond or two"
)]
fn times(object: &mut Object, kept: &mut Object, span: &Span) {
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    value::time(object, "timestamp", start);
    match end.checked_sub(start) {
        Some(ns) if start > 0 => object.float("duration_ms", ns as f64 / NS_PER_MS as f64),
        _ => {
            value::time(kept, "end_time", end);
        }
    }
}

/// W3C's flags, and whether the parent is of another process; bits without a meaning are kept as they are.
fn flags(object: &mut Object, kept: &mut Object, flags: u32) {
    let w3c = flags & SpanFlags::TraceFlagsMask as u32;
    if w3c > 0 {
        object.uint("trace_flags", w3c.into());
    }
    if flags & SpanFlags::ContextIsRemoteMask as u32 != 0 {
        kept.bool("parent_is_remote", true);
    }
    if flags >> 10 > 0 {
        kept.uint("flags", flags.into());
    }
}

fn kind(number: i32) -> String {
    let name = match SpanKind::try_from(number) {
        Ok(SpanKind::Unspecified) => "",
        Ok(SpanKind::Internal) => "internal",
        Ok(SpanKind::Server) => "server",
        Ok(SpanKind::Client) => "client",
        Ok(SpanKind::Producer) => "producer",
        Ok(SpanKind::Consumer) => "consumer",
        Err(_) => return number.to_string(),
    };
    name.to_owned()
}

fn status_code(number: i32) -> String {
    let name = match StatusCode::try_from(number) {
        Ok(StatusCode::Unset) => "unset",
        Ok(StatusCode::Ok) => "ok",
        Ok(StatusCode::Error) => "error",
        Err(_) => return number.to_string(),
    };
    name.to_owned()
}

/// Who was called.
fn peer(span: &Span) -> Option<&str> {
    let is_call = [SpanKind::Client as i32, SpanKind::Producer as i32].contains(&span.kind);
    let keys = if is_call { &PEER_KEYS[..] } else { &PEER_KEYS[..1] };
    keys.iter().find_map(|key| value::text_of(&span.attributes, key))
}

fn event(out: &mut String, event: &Event) {
    let mut object = Object::new();
    value::time(&mut object, "time", event.time_unix_nano);
    object.text("name", &event.name);
    rest(&mut object, &event.attributes, event.dropped_attributes_count);
    out.push_str(&object.to_json());
}

fn link(out: &mut String, link: &Link) {
    let mut object = Object::new();
    object.hex("trace_id", &link.trace_id);
    object.hex("span_id", &link.span_id);
    object.text_if("trace_state", &link.trace_state);
    value::count(&mut object, "flags", link.flags);
    rest(&mut object, &link.attributes, link.dropped_attributes_count);
    out.push_str(&object.to_json());
}

fn rest(object: &mut Object, attributes: &[KeyValue], dropped: u32) {
    value::kept(object, "attributes", attributes);
    value::count(object, "dropped_attributes_count", dropped);
}
