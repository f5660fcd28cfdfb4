//! Metric samples of one moment, as a batch.
//!
//! Invariant: every sample has the host as a field, a finite value, and labels that are a JSON object.

use std::fmt::Write as _;

use heimdall_model::schema::metrics;
use heimdall_model::{Batch, BatchBuilder, Dataset, Timestamp};

/// Samples being gathered.
#[derive(Debug)]
pub struct Samples {
    builder: BatchBuilder,
    time: Timestamp,
    host: String,
    service: String,
    labels: String,
}

impl Samples {
    /// No samples yet of this host and service at `time`.
    #[must_use]
    pub fn new(time: Timestamp, host: &str, service: &str) -> Samples {
        Samples {
            builder: BatchBuilder::new(Dataset::Metrics, time),
            time,
            host: host.to_owned(),
            service: service.to_owned(),
            labels: String::new(),
        }
    }

    /// Adds a sample of the host's service. A value that is no finite number is left out: it says nothing.
    pub fn push(&mut self, name: &str, value: f64, labels: &[(&str, &str)]) {
        let service = std::mem::take(&mut self.service);
        self.push_of(&service, name, value, labels);
        self.service = service;
    }

    /// Adds a sample of another service, such as a container.
    pub fn push_of(&mut self, service: &str, name: &str, value: f64, labels: &[(&str, &str)]) {
        if !value.is_finite() {
            return;
        }
        self.builder.set_int(metrics::TIMESTAMP, self.time.0);
        self.builder.set_text(metrics::SERVICE, service);
        self.builder.set_text(metrics::HOST, &self.host);
        self.builder.set_text(metrics::NAME, name);
        self.builder.set_float(metrics::VALUE, value);
        if !labels.is_empty() {
            write_labels(labels, &mut self.labels);
            self.builder.set_text(metrics::LABELS, &self.labels);
        }
        self.builder.end_row();
    }

    /// Samples so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.builder.rows()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch.
    #[must_use]
    pub fn finish(self) -> Batch {
        self.builder.finish()
    }
}

fn write_labels(labels: &[(&str, &str)], out: &mut String) {
    out.clear();
    for (name, value) in labels {
        out.push(if out.is_empty() { '{' } else { ',' });
        let value = serde_json::Value::from(*value);
        let _infallible = write!(out, "\"{name}\":{value}");
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_host_service_and_labels() {
        let mut samples = Samples::new(Timestamp(5), "db-1", "db");
        samples.push("cpu_usage", 12.5, &[]);
        samples.push("x", f64::NAN, &[]);
        samples.push_of("web", "y", 1.0, &[("name", "a\"b"), ("pid", "7")]);
        let batch = samples.finish();
        assert_eq!(batch.rows(), 2);
        let (first, second) = (batch.row(0), batch.row(1));
        assert_eq!((first.text(metrics::HOST), first.service()), (Some("db-1"), Some("db")));
        assert_eq!(
            (second.service(), second.attributes()),
            (Some("web"), Some(r#"{"name":"a\"b","pid":"7"}"#))
        );
    }
}
