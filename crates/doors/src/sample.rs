//! Labels of samples, as every door that makes samples writes them.
//!
//! Invariant: a label never takes the place of the sample's name, value or time, whatever it is called.

use heimdall_ingest::Object;

/// Names that mean something else in a sample than a label.
const TAKEN: [&str; 11] = [
    "name",
    "metric",
    "__name__",
    "metric_name",
    "value",
    "metric_value",
    "timestamp",
    "@timestamp",
    "time",
    "ts",
    "labels",
];

/// Writes a label. One that is called as a part of the sample gets `label.` before its name.
pub(crate) fn label(object: &mut Object, name: &str, value: &str) {
    if is_taken(name) {
        object.text(&format!("label.{name}"), value);
    } else {
        object.text(name, value);
    }
}

fn is_taken(name: &str) -> bool {
    TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(name))
}
