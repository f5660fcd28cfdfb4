//! What the tests of this crate share: records in a line of code, the rule pack, the reader of conditions.

use heimdall_model::schema::{logs, metrics};
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Batch, BatchBuilder, Dataset, Filter, Level, Position, Tenant, Timestamp};

use crate::detector::{Detector, Findings, Observed};
use crate::rules::FilterFault;

/// Second 0 of the tests.
pub(crate) const EPOCH_SECONDS: i64 = 1_770_000_000;

/// A log record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    second: i64,
    message: String,
    service: Option<String>,
    host: Option<String>,
    source_ip: Option<String>,
    attributes: Option<String>,
    level: Option<Level>,
}

impl Line {
    pub(crate) fn new(second: i64, message: &str) -> Line {
        Line { second, message: message.to_owned(), ..Line::default() }
    }
    pub(crate) fn service(self, text: &str) -> Line {
        Line { service: Some(text.to_owned()), ..self }
    }
    pub(crate) fn host(self, text: &str) -> Line {
        Line { host: Some(text.to_owned()), ..self }
    }
    pub(crate) fn source_ip(self, text: &str) -> Line {
        Line { source_ip: Some(text.to_owned()), ..self }
    }
    pub(crate) fn attributes(self, json: &str) -> Line {
        Line { attributes: Some(json.to_owned()), ..self }
    }
    pub(crate) fn level(self, level: Level) -> Line {
        Line { level: Some(level), ..self }
    }
}

/// A metric sample.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    second: i64,
    service: String,
    name: String,
    value: f64,
    labels: Option<String>,
}

impl Sample {
    pub(crate) fn labels(self, json: &str) -> Sample {
        Sample { labels: Some(json.to_owned()), ..self }
    }
}

pub(crate) fn metric(second: i64, service: &str, name: &str, value: f64) -> Sample {
    Sample { second, service: service.to_owned(), name: name.to_owned(), value, labels: None }
}

fn at(second: i64) -> Timestamp {
    Timestamp((EPOCH_SECONDS + second) * NS_PER_SECOND)
}

/// A batch that arrived a day after second 0.
pub(crate) fn logs(lines: &[Line]) -> Batch {
    let mut builder = BatchBuilder::new(Dataset::Logs, at(24 * 3600));
    for line in lines {
        builder.set_int(logs::TIMESTAMP, at(line.second).0);
        builder.set_text(logs::MESSAGE, &line.message);
        for (id, text) in [
            (logs::SERVICE, &line.service),
            (logs::HOST, &line.host),
            (logs::SOURCE_IP, &line.source_ip),
            (logs::ATTRIBUTES, &line.attributes),
        ] {
            text.iter().for_each(|text| builder.set_text(id, text));
        }
        line.level.iter().for_each(|level| builder.set_level(*level));
        builder.end_row();
    }
    based(builder.finish())
}

pub(crate) fn metrics(samples: &[Sample]) -> Batch {
    let mut builder = BatchBuilder::new(Dataset::Metrics, at(24 * 3600));
    for sample in samples {
        builder.set_int(metrics::TIMESTAMP, at(sample.second).0);
        builder.set_text(metrics::SERVICE, &sample.service);
        builder.set_text(metrics::NAME, &sample.name);
        builder.set_float(metrics::VALUE, sample.value);
        sample.labels.iter().for_each(|json| builder.set_text(metrics::LABELS, json));
        builder.end_row();
    }
    based(builder.finish())
}

fn based(mut batch: Batch) -> Batch {
    batch.base = Position::new(1, 0);
    batch
}

pub(crate) fn feed(detector: &mut dyn Detector, batch: &Batch) -> Findings {
    let mut out = Findings::default();
    detector.observe(&Observed { tenant: &Tenant::default(), batch }, &mut out);
    out
}

/// The files of the rule pack.
pub(crate) fn rule_pack() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "yaml"));
    paths.sort();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// Reads a condition as the product does.
pub(crate) fn parse_filter(text: &str, dataset: Dataset) -> Result<Filter, FilterFault> {
    heimdall_query::search::parse_filter(text, dataset, Timestamp::default())
        .map_err(|error| error.to_string().into())
}
