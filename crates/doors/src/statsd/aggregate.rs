//! The values of one flush interval, added up by series.
//!
//! Invariants:
//! - at most `series_max` series, [`SET_VALUES_MAX`] values of sets and [`BUCKETS_TOTAL_MAX`] buckets of timers, in all; what
//!   has no place is not taken, with a reason, and series that are there go on;
//! - a flush gives out each counter, timer and set once and forgets it; gauges stay, and are given out when they were set.
//!
//! Not here: what lines say ([`super::parse`]), when a flush is.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};

use heimdall_ingest::{Decoded, Object, Reading, Records};
use heimdall_model::schema::{self, logs, metrics};
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Dataset, FieldId, Timestamp};

use super::parse::{Check, Event, Extra, Kind, Line, Metric, number, parse};
use super::sketch::Sketch;

/// Different values of all sets in an interval.
pub(crate) const SET_VALUES_MAX: usize = 2_000_000;
/// Buckets of all timers in an interval (16 bytes each).
pub(crate) const BUCKETS_TOTAL_MAX: usize = 4_000_000;
/// Bytes of events and service checks that wait for the flush.
const LOG_BYTES_MAX: usize = 16 << 20;
/// Records of a batch.
const BATCH_RECORDS: u64 = 50_000;
/// Flushes without a value after which a gauge is forgotten.
const GAUGE_IDLE_FLUSHES_MAX: u32 = 360;

/// Bytes of names and tags of all series, each of which may be as long as a line.
const SERIES_BYTES_MAX: usize = 64 << 20;

/// See the module.
pub(crate) struct Aggregate {
    series: HashMap<String, State>,
    series_max: usize,
    /// Of their keys.
    series_bytes: usize,
    set_values: usize,
    buckets: usize,
    /// Events and service checks, as JSON.
    logs: Vec<String>,
    log_bytes: usize,
    hasher: RandomState,
    key: String,
}

enum State {
    Counter(f64),
    Gauge { value: f64, is_set: bool, idle_flushes: u32 },
    Timer(Box<Sketch>),
    Set(HashSet<u64>),
}

impl Aggregate {
    pub(crate) fn new(series_max: usize) -> Aggregate {
        Aggregate {
            series: HashMap::new(),
            series_max,
            series_bytes: 0,
            set_values: 0,
            buckets: 0,
            logs: Vec::new(),
            log_bytes: 0,
            hasher: RandomState::new(),
            key: String::new(),
        }
    }

    /// Takes a line.
    ///
    /// # Errors
    /// Why it was not, or not all of it, as a label of `door_frames_rejected_total`.
    pub(crate) fn take(&mut self, line: &str) -> Result<(), &'static str> {
        match parse(line)? {
            Line::Metric(metric) => self.metric(&metric),
            Line::Event(event) => self.log(&event_object(&event)),
            Line::Check(check) => self.log(&check_object(&check)),
        }
    }

    fn log(&mut self, object: &Object) -> Result<(), &'static str> {
        let json = object.to_json();
        if self.log_bytes + json.len() > LOG_BYTES_MAX {
            return Err("events_full");
        }
        self.log_bytes += json.len();
        self.logs.push(json);
        Ok(())
    }

    fn metric(&mut self, metric: &Metric<'_>) -> Result<(), &'static str> {
        write_key(&mut self.key, metric);
        if !self.series.contains_key(&self.key) {
            let bytes = self.series_bytes + self.key.len();
            if self.series.len() >= self.series_max || bytes > SERIES_BYTES_MAX {
                return Err("series_max");
            }
            self.series_bytes = bytes;
            self.series.insert(self.key.clone(), State::new(metric.kind));
        }
        let Some(state) = self.series.get_mut(&self.key) else { return Ok(()) };
        let weight = 1.0 / metric.rate;
        for text in metric.each() {
            match state {
                State::Counter(sum) => *sum += number(text).unwrap_or(0.0) * weight,
                State::Gauge { value, is_set, .. } => {
                    let change = number(text).unwrap_or(0.0);
                    *value = if text.starts_with(['+', '-']) { *value + change } else { change };
                    *is_set = true;
                }
                State::Timer(sketch) => {
                    let may_grow = self.buckets < BUCKETS_TOTAL_MAX;
                    self.buckets += sketch.add(number(text).unwrap_or(0.0), weight, may_grow);
                }
                State::Set(values) => {
                    let hash = self.hasher.hash_one(text);
                    if self.set_values >= SET_VALUES_MAX && !values.contains(&hash) {
                        return Err("set_values");
                    }
                    self.set_values += usize::from(values.insert(hash));
                }
            }
        }
        Ok(())
    }

    /// Gives out what was added up since the last flush.
    pub(crate) fn flush(&mut self, reading: Reading<'_>) -> Vec<Decoded> {
        let mut out = Out { reading, records: Records::new(Dataset::Metrics, reading), full: Vec::new() };
        self.set_values = 0;
        self.buckets = 0;
        self.series.retain(|key, state| state.flush(key, &mut out));
        self.series_bytes = self.series.keys().map(String::len).sum();
        if self.series.capacity() > 4 * (self.series.len() + 1024) {
            self.series.shrink_to(2 * self.series.len());
        }
        out.next(Dataset::Logs);
        for json in std::mem::take(&mut self.logs) {
            let _ = out.records.json(&json); // why it was rejected is noted
        }
        self.log_bytes = 0;
        out.next(Dataset::Logs);
        out.full
    }

    #[cfg(test)]
    fn series_count(&self) -> usize {
        self.series.len()
    }
}

/// Kind, name, tags, container and time, with line ends between: no line holds one.
fn write_key(key: &mut String, metric: &Metric<'_>) {
    let Extra { tags, container, seconds } = &metric.extra;
    key.clear();
    let _ = write!(key, "{}\n{}\n", metric.kind.code(), metric.name); // writing to a string cannot fail
    if tags.contains(',') {
        let mut sorted: Vec<&str> = tags.split(',').filter(|tag| !tag.is_empty()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        for (n, tag) in sorted.into_iter().enumerate() {
            key.push_str(if n > 0 { "," } else { "" });
            key.push_str(tag);
        }
    } else {
        key.push_str(tags);
    }
    let _ = write!(key, "\n{container}\n"); // as above
    if let Some(seconds) = seconds {
        let _ = write!(key, "{seconds}"); // as above
    }
}

struct Out<'r> {
    reading: Reading<'r>,
    records: Records<'r>,
    full: Vec<Decoded>,
}

impl Out<'_> {
    fn next(&mut self, dataset: Dataset) {
        let full = std::mem::replace(&mut self.records, Records::new(dataset, self.reading));
        if !full.is_empty() {
            self.full.push(full.finish());
        }
    }

    fn sample(&mut self, series: &Series<'_>, suffix: &str, value: f64) {
        let mut object = Object::new();
        object.value("name", |out| {
            heimdall_ingest::records::write::text(out, &[series.name, suffix].concat());
        });
        object.float("value", value);
        object.time("timestamp", series.time(self.reading.now));
        put_tags(
            &mut object,
            Dataset::Metrics,
            &[metrics::NAME, metrics::VALUE, metrics::LABELS],
            series.tags,
        );
        object.text_if("container_id", series.container);
        let _ = self.records.object(&mut object); // why it was rejected is noted
        if self.records.index() >= BATCH_RECORDS {
            self.next(Dataset::Metrics);
        }
    }
}

/// A key, read back.
struct Series<'k> {
    name: &'k str,
    tags: &'k str,
    container: &'k str,
    seconds: Option<i64>,
}

impl<'k> Series<'k> {
    fn of(key: &'k str) -> Series<'k> {
        let mut parts = key.split('\n').skip(1);
        let mut part = || parts.next().unwrap_or_default();
        Series { name: part(), tags: part(), container: part(), seconds: part().parse().ok() }
    }

    fn time(&self, now: Timestamp) -> Timestamp {
        self.seconds.map_or(now, at_second)
    }
}

fn at_second(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(NS_PER_SECOND))
}

impl State {
    fn new(kind: Kind) -> State {
        match kind {
            Kind::Counter => State::Counter(0.0),
            Kind::Gauge => State::Gauge { value: 0.0, is_set: false, idle_flushes: 0 },
            Kind::Timer => State::Timer(Box::default()),
            Kind::Set => State::Set(HashSet::new()),
        }
    }

    /// Gives out its value; whether it stays.
    fn flush(&mut self, key: &str, out: &mut Out<'_>) -> bool {
        let series = Series::of(key);
        match self {
            State::Counter(sum) => out.sample(&series, "", *sum),
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            State::Set(values) => out.sample(&series, "", values.len() as f64),
            State::Timer(sketch) => {
                for (suffix, value) in [
                    ("_count", sketch.count),
                    ("_sum", sketch.sum),
                    ("_min", sketch.min),
                    ("_max", sketch.max),
                    ("_p50", sketch.quantile(0.5)),
                    ("_p90", sketch.quantile(0.9)),
                    ("_p99", sketch.quantile(0.99)),
                ] {
                    out.sample(&series, suffix, value);
                }
            }
            State::Gauge { value, is_set, idle_flushes } => {
                if *is_set {
                    out.sample(&series, "", *value);
                }
                *idle_flushes = if *is_set { 0 } else { *idle_flushes + 1 };
                *is_set = false;
                return series.seconds.is_none() && *idle_flushes < GAUGE_IDLE_FLUSHES_MAX;
            }
        }
        false
    }
}

/// Adds tags; one with the name of a field in `own`, or of the time, is kept as `tag_NAME`.
fn put_tags(object: &mut Object, dataset: Dataset, own: &[FieldId], tags: &str) {
    for tag in tags.split(',').filter(|tag| !tag.is_empty()) {
        let (name, value) = tag.split_once(':').unwrap_or((tag, "true"));
        let field = dataset.resolve(name);
        let is_taken =
            field.is_some_and(|id| id == schema::TIMESTAMP || id == schema::OBSERVED || own.contains(&id));
        if is_taken { object.text(&format!("tag_{name}"), value) } else { object.text(name, value) }
    }
}

const LOG_FIELDS: [FieldId; 3] = [logs::MESSAGE, logs::LEVEL, logs::ATTRIBUTES];

fn put_extra(object: &mut Object, extra: &Extra<'_>) {
    if let Some(seconds) = extra.seconds {
        object.time("timestamp", at_second(seconds));
    }
    put_tags(object, Dataset::Logs, &LOG_FIELDS, extra.tags);
    object.text_if("container_id", extra.container);
}

fn event_object(event: &Event<'_>) -> Object {
    let mut object = Object::new();
    let text = event.text.replace("\\n", "\n");
    object.text("message", if text.is_empty() { event.title } else { &text });
    object.text(
        "level",
        match event.alert {
            "error" => "error",
            "warning" => "warn",
            _ => "info",
        },
    );
    object.text("title", event.title);
    object.text_if("host", event.host);
    object.text_if("priority", event.priority);
    object.text_if("alert_type", event.alert);
    object.text_if("aggregation_key", event.key);
    object.text_if("source_type", event.source);
    put_extra(&mut object, &event.extra);
    object
}

fn check_object(check: &Check<'_>) -> Object {
    const STATUSES: [(&str, &str); 4] =
        [("ok", "info"), ("warning", "warn"), ("critical", "error"), ("unknown", "warn")];
    let (status, level) = STATUSES[usize::from(check.status.min(3))];
    let mut object = Object::new();
    let message = check.message.replace("\\n", "\n");
    if message.is_empty() {
        object.text("message", &format!("{} is {status}", check.name));
    } else {
        object.text("message", &message);
    }
    object.text("level", level);
    object.text("check", check.name);
    object.text("check_status", status);
    object.text_if("host", check.host);
    put_extra(&mut object, &check.extra);
    object
}

#[cfg(test)]
mod tests {
    use heimdall_ingest::DecodeLimits;
    use heimdall_testkit::data::bad_inputs;
    use heimdall_testkit::mutants::{Seeds, fuzz};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::check_batch;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

    fn flush(aggregate: &mut Aggregate) -> Vec<Value> {
        let limits = DecodeLimits::default();
        let decoded = aggregate.flush(Reading::new(NOW, &limits));
        let mut rows: Vec<Value> = Vec::new();
        for decoded in &decoded {
            assert_eq!(decoded.rejected_total(), 0, "{:?}", decoded.rejected);
            rows.extend(decoded.batch.iter().map(|row| Value::Object(row.to_json())));
        }
        rows
    }

    fn value(rows: &[Value], name: &str) -> f64 {
        let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} in {rows:?}"));
        row["value"].as_f64().expect("a number")
    }

    #[test]
    fn values_of_an_interval_add_up() {
        let mut it = Aggregate::new(100);
        for line in [
            "hits:1|c|@0.1|#b:2,a:1",
            "hits:2:3|c|#a:1,b:2",
            "fuel:10|g",
            "fuel:-3|g",
            "fuel:+1|g",
            "took:10:20:30|ms|@0.5",
            "users:a|s",
            "users:b|s",
            "users:a|s",
        ] {
            it.take(line).expect(line);
        }
        let rows = flush(&mut it);
        assert_eq!((value(&rows, "hits"), value(&rows, "fuel"), value(&rows, "users")), (15.0, 8.0, 2.0));
        assert_eq!((value(&rows, "took_count"), value(&rows, "took_sum")), (6.0, 120.0));
        assert_eq!((value(&rows, "took_min"), value(&rows, "took_max")), (10.0, 30.0));
        assert!((value(&rows, "took_p50") - 20.0).abs() < 0.3);
        let hits = rows.iter().find(|row| row["name"] == "hits").expect("it is there");
        assert_eq!(hits["labels"], json!({"a": "1", "b": "2"}));
        it.take("fuel:-1|g").expect("a gauge");
        let rows = flush(&mut it);
        assert_eq!((rows.len(), value(&rows, "fuel")), (1, 7.0));
        assert_eq!(flush(&mut it).len(), 0, "a gauge that was not set says nothing");
    }

    #[test]
    fn the_limit_of_series_is_kept_and_those_that_are_there_go_on() {
        let mut it = Aggregate::new(2);
        for line in ["a:1|c", "b:1|c"] {
            it.take(line).expect(line);
        }
        assert_eq!(it.take("c:1|c"), Err("series_max"));
        it.take("a:1|c").expect("it is there");
        assert_eq!(value(&flush(&mut it), "a"), 2.0);
        assert_eq!(it.series_count(), 0);
        it.take("c:1|c").expect("room again");
    }

    #[test]
    fn tags_do_not_take_the_place_of_the_samples_own_fields() {
        let mut it = Aggregate::new(10);
        it.take("m:1|g|#name:x,value:9,service:shop,solo|c:abc|T1656581400").expect("a gauge");
        let rows = flush(&mut it);
        assert_eq!((value(&rows, "m"), &rows[0]["service"]), (1.0, &json!("shop")));
        let labels = json!({"tag_name": "x", "tag_value": "9", "solo": "true", "container_id": "abc"});
        assert_eq!(rows[0]["labels"], labels);
        assert_eq!(rows[0]["timestamp"], "2022-06-30T09:30:00.000000000Z");
    }

    #[test]
    fn events_and_checks_are_logs() {
        let mut it = Aggregate::new(10);
        it.take("_e{5,6}:title|a\\nbcd|t:error|h:h1|#service:shop,message:x").expect("an event");
        it.take("_sc|redis|1|#a:b").expect("a check");
        let rows = flush(&mut it);
        assert_eq!((&rows[0]["message"], &rows[0]["level"]), (&json!("a\nbcd"), &json!("error")));
        assert_eq!((&rows[0]["host"], &rows[0]["service"]), (&json!("h1"), &json!("shop")));
        assert_eq!((&rows[1]["message"], &rows[1]["level"]), (&json!("redis is warning"), &json!("warn")));
    }

    #[test]
    fn mutants_of_lines_are_counted_or_refused() {
        let seeds = Seeds::text([
            "hits:1|c|@0.1|#b:2,a:1\nfuel:-3|g\ntook:10:20:30|ms|@0.5\nusers:a|s|T1656581400\nd:1.5|d|c:ci-1\nh:2|h\n",
            "_e{5,6}:title|a\\nbcd|t:error|h:h1|p:low|s:src|k:key|d:1656581400|#service:shop,message:x\n_sc|redis|1|d:5|h:h|#a:b|m:msg\n",
        ]);
        let limits = DecodeLimits::default();
        fuzz(&seeds, |mutant, _| {
            let mut it = Aggregate::new(50);
            for line in mutant.split(|byte| *byte == b'\n') {
                let _ = it.take(&String::from_utf8_lossy(line));
            }
            assert!(it.series_count() <= 50);
            for _ in 0..2 {
                let decoded = it.flush(Reading::new(NOW, &limits));
                decoded.iter().for_each(|decoded| check_batch(decoded, 3 * mutant.len() + 16));
            }
        });
    }

    #[test]
    fn bad_inputs_do_not_keep_the_next_line_out() {
        for input in bad_inputs() {
            let mut it = Aggregate::new(100_000);
            for line in input.bytes.split(|byte| *byte == b'\n') {
                let _ = it.take(&String::from_utf8_lossy(line));
            }
            it.take("good:1|c").expect("a counter");
            let limits = DecodeLimits::default();
            let decoded = it.flush(Reading::new(NOW, &limits));
            let names = decoded
                .iter()
                .flat_map(|decoded| decoded.batch.iter().filter_map(|row| row.text(metrics::NAME)));
            assert_eq!(names.filter(|name| *name == "good").count(), 1, "{}", input.name);
        }
    }

    #[test]
    fn long_names_are_bounded_together() {
        let mut it = Aggregate::new(100_000);
        let tags = format!("k:{}", "t".repeat(8_000));
        let taken = (0..20_000).filter(|n| it.take(&format!("m{n}:1|c|#{tags}")).is_ok()).count();
        assert!((8_000..9_000).contains(&taken), "{taken}");
        flush(&mut it);
        it.take(&format!("m:1|c|#{tags}")).expect("there is room again");
    }
}
