//! What a stream and its entries become: log records.
//!
//! - the labels of the stream and the entry's structured metadata are fields of the record, by their names; of equal names the
//!   metadata counts, as the finer of the two;
//! - `service` is the first label that Loki itself would take for it (`discover_service_name`); that label stays as well;
//! - `level` is the label or metadata of that meaning, else `detected_level`.

use heimdall_ingest::records::write;
use heimdall_ingest::{Object, Records, Rejected};
use heimdall_model::{Level, Timestamp};

/// Labels that name a stream's service, best first: Loki's `discover_service_name`, behind its own result.
const SERVICE_LABELS: [&str; 15] = [
    "service_name",
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "compose_service",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];
/// Names that mean the level by the schema.
const LEVEL_NAMES: [&str; 7] =
    ["level", "severity", "log.level", "severity_text", "loglevel", "lvl", "levelname"];
/// Where Loki puts the level it found itself.
const DETECTED_LEVEL: &str = "detected_level";

/// What is the same in every entry of a stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    labels: Object,
    service: Option<(usize, String)>,
    has_level: bool,
    detected_level: Option<String>,
}

impl Stream {
    /// One label; its value as text.
    pub(super) fn label(&mut self, name: &str, value: &str) {
        self.note_service(name, value);
        self.has_level |= means_level(name);
        if name == DETECTED_LEVEL {
            self.detected_level = Some(value.to_owned());
        }
        if name != "service" {
            self.labels.text(&own_name(name), value); // `service` is written once, from the best label
        }
    }

    fn note_service(&mut self, name: &str, value: &str) {
        let Some(rank) = SERVICE_LABELS.iter().position(|label| *label == name) else { return };
        let is_better = self.service.as_ref().is_none_or(|(before, _)| rank < *before);
        if is_better && !value.is_empty() {
            self.service = Some((rank, value.to_owned()));
        }
    }
}

fn means_level(name: &str) -> bool {
    LEVEL_NAMES.iter().any(|level| level.eq_ignore_ascii_case(name))
}

/// The message of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) enum Line<'a> {
    /// As text.
    Text(&'a str),
    /// As a JSON string, quotes and escapes included.
    Json(&'a str),
}

/// One entry in the making.
pub(super) struct Entry<'e> {
    object: &'e mut Object,
    has_level: bool,
    detected_level: Option<String>,
}

impl<'e> Entry<'e> {
    /// Begins an entry of `stream`; without a time it gets that of its arrival, which is noted.
    pub(super) fn of(
        stream: &Stream,
        object: &'e mut Object,
        time: Option<Timestamp>,
        line: Line<'_>,
    ) -> Entry<'e> {
        object.clear();
        if let Some(time) = time {
            object.time("timestamp", time);
        }
        match line {
            Line::Text(text) => object.text("message", text),
            Line::Json(json) => object.value("message", |out| out.push_str(json)),
        }
        if let Some((_, service)) = &stream.service {
            object.text("service", service);
        }
        object.extend(&stream.labels);
        Entry { object, has_level: stream.has_level, detected_level: stream.detected_level.clone() }
    }

    /// One member of its structured metadata.
    pub(super) fn metadata(&mut self, name: &str, value: &str) {
        self.note_level(name, || value.to_owned());
        let name = own_name(name);
        self.object.value(&name, |out| write::text(out, value));
    }

    fn note_level(&mut self, name: &str, value: impl FnOnce() -> String) {
        self.has_level |= means_level(name);
        if name == DETECTED_LEVEL {
            self.detected_level = Some(value());
        }
    }

    /// Hands the record over.
    pub(super) fn end(self, records: &mut Records<'_>) -> Result<(), Rejected> {
        let detected = self.detected_level.as_deref().and_then(Level::parse).filter(|_| !self.has_level);
        if let Some(level) = detected {
            self.object.text("level", level.as_str());
        }
        records.object(self.object)
    }
}

/// What is named as something the entry has of its own is kept beside it.
fn own_name(name: &str) -> std::borrow::Cow<'_, str> {
    let is_taken = ["timestamp", "message"].iter().any(|own| own.eq_ignore_ascii_case(name));
    if is_taken { format!("label.{name}").into() } else { name.into() }
}
