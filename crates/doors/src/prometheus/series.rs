//! Name and labels of a series as part of a record.
//!
//! What the samples of a series share is written as JSON once. Labels lie in `labels` under their own names; those that name the
//! service or the host lie beside it, where the schema's aliases find them (`job` is the service unless a label `service` is).
//!
//! Invariant: labels are written in the order of their names, so equal series have equal text.

use heimdall_ingest::records::write;
use heimdall_ingest::{Object, Records, Rejected};
use heimdall_model::Timestamp;

/// Label of the metric's name.
pub(super) const NAME: &str = "__name__";
/// Labels that stand beside `labels`.
const PROMOTED: [&str; 6] = ["host", "host.name", "hostname", "job", "service", "service.name"];

/// A label: its name and its value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// A sample as the text formats write it, about: for what cannot be a record.
pub(super) fn text_of(name: &str, labels: &[Label<'_>], value: f64) -> String {
    let labels = labels.iter().filter(|(name, _)| *name != NAME);
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{name}{{{}}} {value}", labels.join(","))
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SeriesWriter {
    name: String,
    shared: Object,
    sample: Object,
}

impl SeriesWriter {
    /// Begins a series: `suffix` is added to its name, `more` to its labels, which are in order and have names.
    pub(super) fn begin(&mut self, name: &str, suffix: &str, labels: &[Label<'_>], more: Option<Label<'_>>) {
        self.shared.clear();
        self.name.clear();
        self.name.push_str(name);
        self.name.push_str(suffix);
        self.shared.text("name", &self.name);
        for (key, value) in labels.iter().filter(|(key, _)| PROMOTED.contains(key)) {
            self.shared.text(key, value);
        }
        let added = more.map_or("", |(key, _)| key);
        let kept = labels.iter().copied().filter(|(key, _)| *key != NAME && !PROMOTED.contains(key));
        let before = kept.clone().filter(|(key, _)| *key < added);
        let after = kept.filter(|(key, _)| *key > added);
        let mut all = before.chain(more).chain(after).peekable();
        if all.peek().is_some() {
            self.shared.value("labels", |out| write::object(out, all, write::text));
        }
    }

    /// One sample of it.
    ///
    /// # Errors
    /// As [`Records::object`].
    pub(super) fn sample(
        &mut self,
        records: &mut Records<'_>,
        time: Timestamp,
        value: f64,
    ) -> Result<(), Rejected> {
        self.sample.extend(&self.shared);
        self.sample.time("timestamp", time);
        self.sample.float("value", value);
        records.object(&mut self.sample)
    }
}
