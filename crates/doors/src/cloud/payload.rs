//! What the envelopes of cloud services carry: base64, perhaps gzip, and inside it JSON or text.
//!
//! Invariants:
//! - all that one delivery unpacks is within one limit, whatever its pieces claim;
//! - a piece that cannot be read is rejected alone, the others are taken.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use heimdall_ingest::arrive::ArriveError;
use heimdall_ingest::compression::{self, CompressionError, CompressionLimits};
use heimdall_ingest::format::{Format, parse_line};
use heimdall_ingest::records::write;
use heimdall_ingest::{BodyError, Object, Permit, Reading, Records, RejectKind};
use heimdall_model::{Dataset, Timestamp};
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::Failure;
use crate::members::{Members, are_values, each_element, each_value, with_members};

/// What gzip begins with.
const GZIP: &[u8] = &[0x1f, 0x8b];
const NOT_UTF8: &str = "has bytes that are not UTF-8: replaced by U+FFFD";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How text that is no JSON is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// Each line is a record.
    Lines,
    /// All of it is one record.
    Whole,
}

/// Records in the making, and what their delivery may still unpack.
pub(super) struct Payload<'p> {
    pub(super) records: Records<'p>,
    reading: Reading<'p>,
    limits: &'p CompressionLimits,
    /// Bytes unpacked so far.
    unpacked: usize,
    /// Bytes of the body itself.
    body: usize,
    permit: &'p mut Permit,
    /// Members given to every record, as JSON without braces; may be empty.
    more: String,
    object: Object,
    json: String,
}

impl<'p> Payload<'p> {
    pub(super) fn new(
        reading: Reading<'p>,
        limits: &'p CompressionLimits,
        body: usize,
        permit: &'p mut Permit,
    ) -> Payload<'p> {
        Payload {
            records: Records::new(Dataset::Logs, reading),
            reading,
            limits,
            unpacked: 0,
            body,
            permit,
            more: String::new(),
            object: Object::new(),
            json: String::new(),
        }
    }

    /// Gives members to every record from here on: an object of them.
    pub(super) fn give(&mut self, members: &Object) {
        let json = members.to_json();
        self.more = json[1..json.len() - 1].to_owned();
    }

    /// Takes a piece in base64.
    ///
    /// # Errors
    /// The delivery is to be refused whole.
    pub(super) fn base64(&mut self, data: &str, text: Text) -> Result<(), Failure> {
        self.records.has_room()?;
        match BASE64.decode(data.trim_ascii()) {
            Ok(bytes) => self.bytes(bytes, text),
            Err(error) => {
                let reason = format!("is not base64: {error}");
                self.records.reject_raw(RejectKind::Invalid, "data", reason, data.as_bytes());
                Ok(())
            }
        }
    }

    /// Takes a piece as it is.
    ///
    /// # Errors
    /// As [`Payload::base64`].
    pub(super) fn bytes(&mut self, bytes: Vec<u8>, text: Text) -> Result<(), Failure> {
        let Some(bytes) = self.unpack(bytes)? else { return Ok(()) };
        let content = String::from_utf8_lossy(&bytes);
        if matches!(content, std::borrow::Cow::Owned(_)) {
            self.records.note("message", NOT_UTF8);
        }
        self.text(&content, text)
    }

    /// Unpacks gzip; `None` when it is rejected.
    fn unpack(&mut self, bytes: Vec<u8>) -> Result<Option<Bytes>, Failure> {
        if !bytes.starts_with(GZIP) {
            return Ok(Some(bytes.into()));
        }
        let whole = self.limits.decompressed_bytes_max;
        let limits = CompressionLimits { decompressed_bytes_max: whole - self.unpacked, ..*self.limits };
        let packed = Bytes::from(bytes);
        match compression::decompress(Some("gzip"), packed.clone(), &limits) {
            Ok(unpacked) => {
                self.unpacked += unpacked.len();
                self.permit.grow(self.body.saturating_add(self.unpacked))?;
                Ok(Some(unpacked))
            }
            Err(CompressionError::TooLarge { .. }) => {
                let error = CompressionError::TooLarge { bytes_max: whole };
                Err(Failure::Arrive(ArriveError::Compression(error)))
            }
            Err(error) => {
                self.records.reject_raw(RejectKind::Invalid, "data", error.to_string(), &packed);
                Ok(None)
            }
        }
    }

    fn text(&mut self, content: &str, text: Text) -> Result<(), Failure> {
        let content = content.strip_prefix('\u{feff}').unwrap_or(content).trim_ascii_end();
        if content.is_empty() {
            return Ok(());
        }
        if content.trim_ascii_start().starts_with(['{', '[']) && are_values(content) {
            return self.values(content);
        }
        match text {
            Text::Whole => self.line(content),
            Text::Lines => {
                content.lines().filter(|line| !line.trim_ascii().is_empty()).try_for_each(|line| {
                    if line.trim_ascii_start().starts_with('{') && are_values(line) {
                        self.values(line)
                    } else {
                        self.line(line)
                    }
                })
            }
        }
    }

    fn values(&mut self, content: &str) -> Result<(), Failure> {
        match each_value(content, |value| self.value(value)) {
            Ok(done) => done,
            Err(error) => Err(malformed("JSON", &error).into()),
        }
    }

    fn value(&mut self, value: &str) -> Result<(), Failure> {
        if memmem::find(value.as_bytes(), b"\"messageType\"").is_some()
            && let Ok(subscription) = serde_json::from_str::<Subscription<'_>>(value)
        {
            return self.subscription(&subscription);
        }
        self.records.has_room()?;
        if value.len() <= self.reading.limits.record_bytes_max
            && let Some(entry) = Members::read(value).filter(is_log_entry)
        {
            log_entry(&entry, &mut self.object);
            return self.made();
        }
        if self.more.is_empty() || !value.starts_with('{') {
            let _ = self.records.json(value); // what was rejected is noted
        } else {
            with_members(value, &self.more, &mut self.json);
            let _ = self.records.json(&self.json);
        }
        Ok(())
    }

    /// One record of text.
    fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.records.has_room()?;
        let parsed = parse_line(Format::Plain, line, self.reading.now);
        self.object.text("message", line);
        if let Some(time) = parsed.timestamp {
            self.object.time("timestamp", time);
        }
        if let Some(level) = parsed.level {
            self.object.text("level", level.as_str());
        }
        self.made()
    }

    /// Takes the object made, with what is given to every record.
    pub(super) fn made(&mut self) -> Result<(), Failure> {
        let _ = if self.more.is_empty() {
            self.records.object(&mut self.object)
        } else {
            with_members(&self.object.to_json(), &self.more, &mut self.json);
            self.object.clear();
            self.records.json(&self.json)
        }; // what was rejected is noted
        Ok(())
    }

    /// The object to be made.
    pub(super) fn object(&mut self) -> &mut Object {
        &mut self.object
    }

    // ---- CloudWatch Logs --------------------------------------------------------------------------------------

    fn subscription(&mut self, subscription: &Subscription<'_>) -> Result<(), Failure> {
        let Some(events) = subscription.log_events.filter(|_| subscription.message_type == "DATA_MESSAGE")
        else {
            return Ok(()); // CloudWatch tries the way
        };
        each_element(events.get(), |event| self.event(subscription, event))
            .map_err(|error| malformed("CloudWatch Logs data", &error))?
    }

    fn event(&mut self, subscription: &Subscription<'_>, event: &str) -> Result<(), Failure> {
        self.records.has_room()?;
        let text = event;
        let Ok(event) = serde_json::from_str::<LogEvent>(text) else {
            let reason = "is not a log event of CloudWatch";
            self.records.reject_raw(RejectKind::Invalid, "logEvents", reason, text.as_bytes());
            return Ok(());
        };
        let object = &mut self.object;
        object.text("message", event.message.trim_end_matches(['\n', '\r']));
        if let Some(time) = event.timestamp.and_then(|ms| ms.checked_mul(1_000_000)) {
            object.time("timestamp", Timestamp(time));
        }
        object.text_if("service", service_of(&subscription.log_group));
        let attributes = [
            ("cloud.provider", "aws"),
            ("cloud.account.id", &subscription.owner),
            ("aws.log.group.name", &subscription.log_group),
            ("aws.log.stream.name", &subscription.log_stream),
            ("aws.log.event.id", &event.id),
        ];
        object.value("attributes", |out| {
            let filled = attributes.into_iter().filter(|(_, value)| !value.is_empty());
            write::object(out, filled, write::text);
        });
        self.made()
    }
}

fn malformed(format: &'static str, error: &serde_json::Error) -> BodyError {
    BodyError::Malformed { format, detail: error.to_string() }
}

/// What a subscription of CloudWatch Logs sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription<'a> {
    message_type: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    log_group: String,
    #[serde(default)]
    log_stream: String,
    #[serde(borrow)]
    log_events: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct LogEvent {
    #[serde(default)]
    id: String,
    timestamp: Option<i64>,
    message: String,
}

/// The function whose group it is, else the group.
fn service_of(log_group: &str) -> &str {
    log_group.strip_prefix("/aws/lambda/").unwrap_or(log_group)
}

// ---- Google's log entries -----------------------------------------------------------------------------------------

fn is_log_entry(members: &Members<'_>) -> bool {
    members.has("logName") && (members.has("insertId") || members.has("resource") || members.has("timestamp"))
}

/// Writes a `LogEntry` of Cloud Logging as a record.
fn log_entry(entry: &Members<'_>, object: &mut Object) {
    let payload = entry.members("jsonPayload");
    for (key, raw) in payload.iter().flat_map(Members::iter) {
        object.value(key, |out| out.push_str(raw));
    }
    let own_message = payload.as_ref().is_some_and(|payload| payload.has("message") || payload.has("msg"));
    if let Some(message) = message_of(entry).filter(|_| !own_message) {
        object.text("message", &message);
    }
    if let Some(severity) = entry.text("severity").filter(|severity| severity != "DEFAULT") {
        object.text("level", &severity);
    }
    if let Some(time) = entry.text("timestamp").or_else(|| entry.text("receiveTimestamp")) {
        object.text("timestamp", &time);
    }
    if let Some(trace) = entry.text("trace") {
        object.text("trace_id", trace.rsplit('/').next().unwrap_or_default());
    }
    object_text(object, "span_id", entry.text("spanId").as_deref());
    let request = entry.members("httpRequest");
    object_text(
        object,
        "source_ip",
        request.as_ref().and_then(|request| request.text("remoteIp")).as_deref(),
    );
    resource(entry, object);
    const READ: [&str; 8] = [
        "jsonPayload",
        "textPayload",
        "severity",
        "timestamp",
        "receiveTimestamp",
        "trace",
        "spanId",
        "labels",
    ];
    object.value("attributes", |out| {
        let rest = entry.iter().filter(|(key, _)| !READ.contains(key));
        let labels = entry.raw("labels").map(|labels| ("labels", labels));
        write::object(out, rest.chain(labels), |out, raw| out.push_str(raw));
    });
}

fn object_text(object: &mut Object, key: &str, value: Option<&str>) {
    object.text_if(key, value.unwrap_or_default());
}

/// The text of an entry: its own, else the method an audit entry is about, else the request.
fn message_of(entry: &Members<'_>) -> Option<String> {
    if let Some(text) = entry.text("textPayload") {
        return Some(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    if let Some(method) = entry.members("protoPayload").and_then(|payload| payload.text("methodName")) {
        return Some(method.into_owned());
    }
    let request = entry.members("httpRequest")?;
    let parts = ["requestMethod", "requestUrl", "status"].map(|key| request.text(key).unwrap_or_default());
    Some(parts.join(" ").trim().to_owned()).filter(|text| !text.is_empty())
}

/// Service, instance and region by the labels of the monitored resource.
fn resource(entry: &Members<'_>, object: &mut Object) {
    let Some(labels) = entry.members("resource").and_then(|resource| resource.members("labels")) else {
        return;
    };
    let first = |names: &[&str]| names.iter().find_map(|name| labels.text(name));
    let fields = [
        (
            "service",
            first(&["container_name", "service_name", "function_name", "job_name", "module_id", "service"]),
        ),
        ("instance", first(&["pod_name", "instance_id", "revision_name"])),
        ("region", first(&["location", "region", "zone"])),
    ];
    for (field, value) in fields {
        object_text(object, field, value.as_deref());
    }
}
