//! Metrics: one sample for each number of a data point.
//!
//! Gauges and sums keep their name. Histograms of both kinds become `NAME_bucket` with label `le`, `NAME_count`, `NAME_sum`, `NAME_min`
//! and `NAME_max`; summaries `NAME` with label `quantile`, `NAME_count` and `NAME_sum`. Temporality and monotonicity are not kept:
//! a delta is a sample of its own time. Exemplars and start times are not kept.

use heimdall_ingest::{BodyError, Object, RejectKind};
use heimdall_model::Dataset;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    DataPointFlags, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint,
    number_data_point,
};

use super::histogram::{self, Bucket, label};
use super::node::{Field, Node, field};
use super::scope::{Context, Path};
use super::sink::Sink;
use super::value;

pub(super) const PATH: Path = Path {
    resources: field(1, "resourceMetrics", "resource_metrics"),
    scopes: field(2, "scopeMetrics", "scope_metrics"),
    items: field(2, "metrics", "metrics"),
    dataset: Dataset::Metrics,
};

const NAME: Field = field(1, "name", "name");
const UNIT: Field = field(3, "unit", "unit");
const GAUGE: Field = field(5, "gauge", "gauge");
const SUM: Field = field(7, "sum", "sum");
const HISTOGRAM: Field = field(9, "histogram", "histogram");
const EXPONENTIAL: Field = field(10, "exponentialHistogram", "exponential_histogram");
const SUMMARY: Field = field(11, "summary", "summary");
const POINTS: Field = field(1, "dataPoints", "data_points");
/// A metric holds no list of its own.
const NO_LIST: Field = field(u32::MAX, "", "");

/// Whole numbers up to this one are doubles too.
const EXACT_MAX: u64 = 1 << 53;
const INEXACT: &str = "is a whole number beyond 2^53: kept as the nearest double";

/// Labels that say what service and host a sample is of, when its resource does not.
const FIELD_LABELS: [&str; 3] = ["service.name", "job", "host.name"];

/// A metric, and the point of it that is at hand.
struct Metric<'c> {
    name: &'c str,
    unit: &'c str,
    context: &'c Context<'c>,
    /// As encoded; the whole metric before the first one.
    point: Node<'c>,
}

pub(super) fn take(node: Node<'_>, context: &Context<'_>, sink: &mut Sink<'_>) -> Result<(), BodyError> {
    let singles = [NAME, UNIT, GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY];
    let opened = node.open(singles, NO_LIST, sink.list_max());
    let ([name, unit, gauge, sum, histogram, exponential, summary], _) = match opened {
        Ok(opened) => opened,
        Err(bad) => {
            return sink.reject(RejectKind::Syntax, "", &format!("metric cannot be read: {}", bad.0), node);
        }
    };
    let text = |node: Option<Node<'_>>| node.map_or(Ok(String::new()), Node::text);
    let (name, unit) = match (text(name), text(unit)) {
        (Ok(name), Ok(unit)) => (name, unit),
        (Err(bad), _) | (_, Err(bad)) => {
            return sink.reject(RejectKind::Syntax, "", &format!("metric cannot be read: {}", bad.0), node);
        }
    };
    let metric = Metric { name: &name, unit: &unit, context, point: node };
    for node in [gauge, sum].into_iter().flatten() {
        points(node, &metric, sink, number)?;
    }
    if let Some(node) = histogram {
        points(node, &metric, sink, explicit)?;
    }
    if let Some(node) = exponential {
        points(node, &metric, sink, exponential_point)?;
    }
    if let Some(node) = summary {
        points(node, &metric, sink, quantiles)?;
    }
    Ok(())
}

/// Calls `take` with every data point that has a value.
fn points<T>(
    node: Node<'_>,
    metric: &Metric<'_>,
    sink: &mut Sink<'_>,
    take: impl Fn(&T, &Metric<'_>, &mut Sink<'_>) -> Result<(), BodyError>,
) -> Result<(), BodyError>
where
    T: prost::Message + Default + super::json::FromJson + Point,
{
    let points = match node.open([], POINTS, sink.list_max()) {
        Ok(([], points)) => points,
        Err(bad) => {
            return sink.reject(RejectKind::Syntax, "", &format!("metric cannot be read: {}", bad.0), node);
        }
    };
    for node in points {
        let node = node?;
        if node.len() > sink.node_bytes_max() {
            let reason = format!("data point is larger than {} bytes", sink.node_bytes_max());
            sink.reject(RejectKind::TooLarge, "", &reason, node)?;
            continue;
        }
        match node.message::<T>() {
            Err(bad) => {
                sink.reject(RejectKind::Syntax, "", &format!("data point cannot be read: {}", bad.0), node)?
            }
            Ok(point) if point.flags() & DataPointFlags::NoRecordedValueMask as u32 != 0 => {
                sink.note(metric.name, "has a data point without a recorded value: it is left out");
            }
            Ok(point) => {
                if point.has_exemplars() {
                    sink.note(metric.name, "has exemplars: they are not kept");
                }
                take(&point, &Metric { point: node, ..*metric }, sink)?;
            }
        }
    }
    Ok(())
}

/// What data points of every kind have.
trait Point {
    fn flags(&self) -> u32;
    fn has_exemplars(&self) -> bool;
}

macro_rules! points {
    ($($ty:ty: $has_exemplars:expr),*) => { $(
        impl Point for $ty {
            fn flags(&self) -> u32 {
                self.flags
            }
            fn has_exemplars(&self) -> bool {
                let has: fn(&$ty) -> bool = $has_exemplars;
                has(self)
            }
        }
    )* };
}
points!(
    NumberDataPoint: |point| !point.exemplars.is_empty(),
    HistogramDataPoint: |point| !point.exemplars.is_empty(),
    ExponentialHistogramDataPoint: |point| !point.exemplars.is_empty(),
    SummaryDataPoint: |_| false
);

// ---- samples ----------------------------------------------------------------------------------------------------------

/// The samples of one data point.
struct Samples<'m, 's, 'a> {
    metric: &'m Metric<'m>,
    /// What all of them have: time, service, host and labels.
    base: Object,
    sink: &'s mut Sink<'a>,
    is_rejected: bool,
}

/// A sample's value.
#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Int(i64),
    Count(u64),
}

impl<'m, 's, 'a> Samples<'m, 's, 'a> {
    fn new(
        metric: &'m Metric<'m>,
        time_unix_nano: u64,
        attributes: &[KeyValue],
        sink: &'s mut Sink<'a>,
    ) -> Samples<'m, 's, 'a> {
        let mut base = Object::new();
        value::time(&mut base, "timestamp", time_unix_nano);
        if !metric.unit.is_empty() && metric.unit != "1" {
            base.value("labels", |out| {
                let mut unit = Object::new();
                unit.text("unit", metric.unit);
                out.push_str(&unit.to_json());
            });
        }
        metric.context.put(&mut base);
        labels(&mut base, attributes); // after those of the resource: of equal names, the point's counts
        Samples { metric, base, sink, is_rejected: false }
    }

    fn put(&mut self, suffix: &str, label: Option<(&str, &str)>, number: Number) -> Result<(), BodyError> {
        let object = &mut self.sink.object;
        object.extend(&self.base);
        if let Some((key, text)) = label {
            let mut own = Object::new();
            own.text(key, text);
            object.value("labels", |out| out.push_str(&own.to_json()));
        }
        if suffix.is_empty() {
            object.text("name", self.metric.name);
        } else {
            object.text("name", &format!("{}{suffix}", self.metric.name));
        }
        let is_exact = match number {
            Number::Float(number) => {
                object.float("value", number);
                true
            }
            Number::Int(number) => {
                object.int("value", number);
                number.unsigned_abs() <= EXACT_MAX
            }
            Number::Count(number) => {
                object.uint("value", number);
                number <= EXACT_MAX
            }
        };
        if !is_exact {
            self.sink.note("value", INEXACT);
        }
        self.is_rejected |= !self.sink.take()?;
        Ok(())
    }

    fn optional(&mut self, suffix: &str, number: Option<f64>) -> Result<(), BodyError> {
        number.map_or(Ok(()), |number| self.put(suffix, None, Number::Float(number)))
    }

    fn buckets(&mut self, buckets: &[Bucket]) -> Result<(), BodyError> {
        for bucket in buckets {
            self.put("_bucket", Some(("le", &label(bucket.le))), Number::Count(bucket.cumulative))?;
        }
        Ok(())
    }

    /// All of a histogram.
    fn histogram(
        mut self,
        buckets: &[Bucket],
        count: u64,
        sum_min_max: [Option<f64>; 3],
    ) -> Result<(), BodyError> {
        self.buckets(buckets)?;
        self.put("_count", None, Number::Count(count))?;
        for (suffix, number) in ["_sum", "_min", "_max"].into_iter().zip(sum_min_max) {
            self.optional(suffix, number)?;
        }
        self.end();
        Ok(())
    }

    fn end(self) {
        if self.is_rejected {
            self.sink.count_rejected();
        }
    }
}

/// Labels stay labels, whatever their names, except the few that name service and host.
fn labels(base: &mut Object, attributes: &[KeyValue]) {
    let is_field = |attribute: &&KeyValue| {
        FIELD_LABELS.contains(&attribute.key.as_str()) && value::text_of(attributes, &attribute.key).is_some()
    };
    let members = attributes.iter().filter(|attribute| !is_field(attribute));
    let members = members.map(|attribute| (attribute.key.as_str(), attribute.value.as_ref()));
    base.value("labels", |out| heimdall_ingest::records::write::object(out, members, value::write_any));
    for attribute in attributes.iter().filter(is_field) {
        value::member(base, attribute);
    }
}

fn number(point: &NumberDataPoint, metric: &Metric<'_>, sink: &mut Sink<'_>) -> Result<(), BodyError> {
    let number = match point.value {
        Some(number_data_point::Value::AsDouble(number)) => Number::Float(number),
        Some(number_data_point::Value::AsInt(number)) => Number::Int(number),
        None => return sink.reject(RejectKind::Missing, "value", "is missing", metric.point),
    };
    let mut samples = Samples::new(metric, point.time_unix_nano, &point.attributes, sink);
    samples.put("", None, number)?;
    samples.end();
    Ok(())
}

fn explicit(point: &HistogramDataPoint, metric: &Metric<'_>, sink: &mut Sink<'_>) -> Result<(), BodyError> {
    let buckets = match histogram::explicit(point) {
        Ok(buckets) => buckets,
        Err(reason) => return sink.reject(RejectKind::Invalid, "histogram", reason, metric.point),
    };
    let samples = Samples::new(metric, point.time_unix_nano, &point.attributes, sink);
    samples.histogram(&buckets, point.count, [point.sum, point.min, point.max])
}

fn exponential_point(
    point: &ExponentialHistogramDataPoint,
    metric: &Metric<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), BodyError> {
    let buckets = match histogram::exponential(point) {
        Ok(buckets) => buckets,
        Err(reason) => {
            return sink.reject(RejectKind::Invalid, "exponential histogram", reason, metric.point);
        }
    };
    let samples = Samples::new(metric, point.time_unix_nano, &point.attributes, sink);
    samples.histogram(&buckets, point.count, [point.sum, point.min, point.max])
}

fn quantiles(point: &SummaryDataPoint, metric: &Metric<'_>, sink: &mut Sink<'_>) -> Result<(), BodyError> {
    let mut samples = Samples::new(metric, point.time_unix_nano, &point.attributes, sink);
    for quantile in &point.quantile_values {
        let label = label(quantile.quantile);
        samples.put("", Some(("quantile", &label)), Number::Float(quantile.value))?;
    }
    samples.put("_count", None, Number::Count(point.count))?;
    samples.put("_sum", None, Number::Float(point.sum))?;
    samples.end();
    Ok(())
}
