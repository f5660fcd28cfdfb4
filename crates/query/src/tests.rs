//! The engine against a slow reference that looks at one record after the other, on a store whose rows lie partly in
//! segments and partly in the memtable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use heimdall_journal::disk::OsDisk;
use heimdall_model::filter::Target;
use heimdall_model::schema::logs;
use heimdall_model::time::NS_PER_SECOND;
use heimdall_model::{Batch, BatchBuilder, Dataset, Level, Matcher, Position, Row, Tenant, Timestamp, Value};
use heimdall_store::{Control, Store, StoreConfig};
use proptest::prelude::{
    ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest,
};
use proptest::strategy::Strategy;

use super::{
    Aggregate, Answer, Engine, Func, GroupKey, ParseContext, Pipe, Query, QueryError, RunLimits, TimeRange,
    search, table,
};
use crate::group::bin_start;

/// 2026-03-01T12:00:00Z.
const START: i64 = 1_772_366_400 * NS_PER_SECOND;
const ROWS: usize = 400;

struct World {
    engine: Engine,
    batches: Vec<Batch>,
    _dir: tempfile::TempDir,
}

/// A fixed stream of numbers below `below` (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
}

fn batch(dice: &mut Dice, rows: usize, base: u64) -> Batch {
    const MESSAGES: [&str; 4] =
        ["Login failed for user 7", "login ok", "Connection refused by db_1", "failed: disk full"];
    const ATTRIBUTES: [&str; 6] = [
        r#"{"k":3}"#,
        r#"{"k":"3.0","tags":["red","Blue"]}"#,
        r#"{"k":2.5,"http":{"status":503}}"#,
        r#"{"k":"xyz"}"#,
        r#"{"http.status":200,"tags":"red"}"#,
        r#"{"ok":true}"#,
    ];
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(START));
    for _ in 0..rows {
        let ns = dice.roll(600) * 1_000_000_000 + dice.roll(3) * 500_000_000;
        builder.set_int(logs::TIMESTAMP, START + i64::try_from(ns).expect("small"));
        builder.set_text(logs::MESSAGE, MESSAGES[usize::try_from(dice.roll(4)).expect("small")]);
        if let Some(service) =
            ["AUTH-API", "core-db", "edge"].get(usize::try_from(dice.roll(4)).expect("small"))
        {
            builder.set_text(logs::SERVICE, service);
        }
        if let Some(level) = Level::ALL.get(usize::try_from(dice.roll(8)).expect("small")) {
            builder.set_level(*level);
        }
        if dice.roll(3) > 0 {
            builder
                .set_float(logs::DURATION_MS, f64::from(u32::try_from(dice.roll(200)).expect("small")) / 2.0);
        }
        if dice.roll(2) > 0 {
            builder.set_text(logs::SOURCE_IP, &format!("10.0.{}.{}", dice.roll(2), dice.roll(3)));
        }
        if let Some(json) = ATTRIBUTES.get(usize::try_from(dice.roll(8)).expect("small")) {
            builder.set_text(logs::ATTRIBUTES, json);
        }
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(base, 0);
    batch
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    // So little to a part that several threads share every question.
    let config = StoreConfig { scan_threads: 3, scan_unit_rows: 1, ..StoreConfig::default() };
    let store = Store::open(Arc::new(OsDisk), dir.path(), config).expect("opens");
    let tenant = Tenant::default();
    let mut dice = Dice(7);
    let mut batches = Vec::new();
    for base in 1..=4 {
        let mut batch = batch(&mut dice, ROWS / 4, base);
        store.assign_templates(&tenant, &mut batch);
        store.append(&tenant, batch.clone());
        batches.push(batch);
        if base == 1 || base == 2 {
            assert!(store.freeze(base, Vec::new));
            store.commit_frozen().expect("commits");
        }
    }
    World { engine: Engine::new(Arc::new(store)), batches, _dir: dir }
});

fn parse(line: &str, from: Option<i64>, to: Option<i64>) -> Query {
    let now = Timestamp(START + 600 * NS_PER_SECOND);
    let context = ParseContext {
        from: from.map(Timestamp),
        to: to.map(Timestamp),
        ..ParseContext::new(Tenant::default(), Dataset::Logs, now)
    };
    search::parse(line, &context).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn run(line: &str) -> Answer {
    let query = parse(line, None, None);
    WORLD
        .engine
        .run(&query, &Control::default(), RunLimits::default())
        .unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn shown(row: &[Value]) -> String {
    let value = |value: &Value| match value {
        // Off the middle between two digits, on whose sides a mean may fall by the order of its numbers.
        Value::Float(x) => format!("{:.6}", x * (1.0 + 1e-11)),
        Value::Int(n) => format!("{n}.000000"),
        other => other.to_string(),
    };
    row.iter().map(value).collect::<Vec<_>>().join(" | ")
}

/// The records of a query, newest first, found one by one.
fn reference_rows(query: &Query) -> Vec<Row<'static>> {
    let matcher = Matcher::compile(&query.filter, query.dataset).expect("compiles");
    let range = query.range;
    let mut rows: Vec<Row<'_>> = WORLD
        .batches
        .iter()
        .flat_map(Batch::iter)
        .filter(|row| range.from <= row.timestamp() && row.timestamp() < range.to)
        .filter(|row| matcher.matches(row, None))
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.timestamp(), row.position())));
    rows
}

fn value(row: &Row<'_>, target: &Target) -> Value {
    match target {
        Target::Field(id) => row.value(*id),
        Target::Attribute(path) => row.attribute(path).map_or(Value::Null, |value| value.to_value()),
        Target::Id => Value::Text(row.id().to_string()),
        Target::Template => Value::Null,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Text(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

/// An aggregate over the rows of one group (newest first), the plain way.
fn reference_aggregate(aggregate: &Aggregate, rows: &[Row<'_>], seconds: f64) -> Value {
    let Some(target) = &aggregate.arg else {
        let count = rows.len();
        return if aggregate.func == Func::Rate {
            Value::Float(f64::from(u32::try_from(count).expect("small")) / seconds)
        } else {
            Value::Int(i64::try_from(count).expect("small"))
        };
    };
    let mut values: Vec<Value> =
        rows.iter().map(|row| value(row, target)).filter(|value| !value.is_null()).collect();
    let mut numbers: Vec<f64> = values.iter().filter_map(number).collect();
    numbers.sort_by(f64::total_cmp);
    let n = f64::from(u32::try_from(numbers.len()).expect("small"));
    let sum: f64 = numbers.iter().sum();
    let some = |x: f64| if numbers.is_empty() { Value::Null } else { Value::Float(x) };
    match aggregate.func {
        Func::Count | Func::Rate => Value::Int(i64::try_from(values.len()).expect("small")),
        Func::First => values.last().cloned().unwrap_or(Value::Null),
        Func::Last => values.first().cloned().unwrap_or(Value::Null),
        Func::CountDistinct => {
            values.sort_by(Value::total_cmp);
            values.dedup_by(|a, b| a.total_cmp(b).is_eq());
            Value::Int(i64::try_from(values.len()).expect("small"))
        }
        Func::Min => values.into_iter().min_by(Value::total_cmp).unwrap_or(Value::Null),
        Func::Max => values.into_iter().max_by(Value::total_cmp).unwrap_or(Value::Null),
        Func::Sum => some(sum),
        Func::Avg => some(sum / n),
        Func::Stddev if numbers.len() < 2 => Value::Null,
        Func::Stddev => {
            Value::Float((numbers.iter().map(|x| (x - sum / n).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
        }
        Func::Percentile(percent) => {
            let below = |x: &&f64| {
                f64::from(u32::try_from(numbers.iter().filter(|y| y <= x).count()).expect("small"))
            };
            numbers
                .iter()
                .find(|x| below(x) >= (percent / 100.0 * n))
                .map_or(Value::Null, |x| Value::Float(*x))
        }
    }
}

fn reference_groups(query: &Query) -> Vec<String> {
    let Some(Pipe::Stats { aggregates, by }) = query.pipeline.first() else { panic!("a stats query") };
    let mut groups: BTreeMap<String, (Vec<Value>, Vec<Row<'_>>)> = BTreeMap::new();
    for row in reference_rows(query) {
        let keys: Vec<Value> = by
            .iter()
            .map(|key| match key {
                GroupKey::Bin(span) => Value::Time(bin_start(row.timestamp(), *span)),
                GroupKey::Field(target) => value(&row, target),
            })
            .collect();
        groups.entry(format!("{keys:?}")).or_insert_with(|| (keys, Vec::new())).1.push(row);
    }
    if by.is_empty() {
        groups.entry("[]".to_owned()).or_default();
    }
    let span = by.iter().find_map(|key| if let GroupKey::Bin(span) = key { Some(*span) } else { None });
    #[expect(clippy::cast_precision_loss, reason = "a few minutes")]
    let seconds = span.unwrap_or(query.range.to.0.saturating_sub(query.range.from.0)) as f64 / 1e9;
    let mut rows: Vec<String> = groups
        .into_values()
        .map(|(mut keys, rows)| {
            keys.extend(aggregates.iter().map(|aggregate| reference_aggregate(aggregate, &rows, seconds)));
            shown(&keys)
        })
        .collect();
    rows.sort();
    rows
}

fn filter_line() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "*",
        "failed",
        "\"login failed\"",
        "fail*",
        "/re.used/",
        "service:auth-api",
        "service!=edge",
        "service:*e*",
        "level>=warn",
        "level:info",
        "level:*",
        "k:3",
        "k>2",
        "k:x*",
        "http.status:[200 TO 503}",
        "tags:red",
        "ok:true",
        "duration_ms>50",
        "duration_ms:[10 TO 20]",
        "exists:duration_ms",
        "source_ip:10.0.1.0/24",
        "message:contains(\"ogi\")",
        "timestamp>2026-03-01T12:03:30Z",
        "message=\"login ok\"",
        "id:*",
        "nothing:*",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT {a}")),
        ]
    })
}

fn stats_line() -> impl Strategy<Value = String> {
    let aggregates = prop::sample::subsequence(
        vec![
            "count()",
            "rate()",
            "count(k)",
            "dc(k)",
            "dc(message)",
            "sum(duration_ms)",
            "sum(k)",
            "avg(duration_ms)",
            "min(k)",
            "max(message)",
            "min(timestamp)",
            "max(level)",
            "stddev(duration_ms)",
            "p50(duration_ms)",
            "p90(k)",
            "first(message)",
            "last(duration_ms)",
        ],
        1..4,
    );
    let count_only = prop::sample::subsequence(vec!["count()", "rate()"], 1..=2);
    let keys = prop::sample::subsequence(
        vec!["service", "level", "bin(2m)", "k", "bin(90s)", "source_ip", "tags"],
        0..3,
    );
    let few_keys = prop::sample::subsequence(vec!["service", "level", "bin(2m)"], 0..=3);
    let line = |(aggregates, keys): (Vec<&str>, Vec<&str>)| {
        let by = if keys.is_empty() { String::new() } else { format!(" by {}", keys.join(", ")) };
        format!("stats {}{by}", aggregates.join(", "))
    };
    prop_oneof![(aggregates, keys).prop_map(line), (count_only, few_keys).prop_map(line)]
        .prop_filter("one bin is enough", |line| line.matches("bin(").count() < 2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn stats_agree_with_the_reference(filter in filter_line(), stats in stats_line(), from in 0..300_i64, seconds in 1..400_i64) {
        let (from, to) = (START + from * NS_PER_SECOND, START + (from + seconds) * NS_PER_SECOND + 1);
        let query = parse(&format!("{filter} | {stats}"), Some(from), Some(to));
        prop_assume!(query.range.from < query.range.to);
        let answer = WORLD.engine.run(&query, &Control::default(), RunLimits::default()).expect("runs");
        let mut rows: Vec<String> = answer.rows.iter().map(|row| shown(row)).collect();
        rows.sort();
        prop_assert_eq!(rows, reference_groups(&query), "{} by {}", query, answer.stats.strategy.as_str());
        prop_assert!(!answer.stats.partial);
    }

    #[test]
    fn records_agree_with_the_reference(filter in filter_line(), oldest in any::<bool>(), limit in 1..40_usize, from in 0..600_i64) {
        let order = if oldest { " | sort timestamp" } else { "" };
        let query = parse(&format!("{filter}{order} | limit {limit} | fields id"), Some(START + from * NS_PER_SECOND), None);
        let answer = WORLD.engine.run(&query, &Control::default(), RunLimits::default()).expect("runs");
        let mut expected: Vec<String> = reference_rows(&query).iter().map(|row| row.id().to_string()).collect();
        if oldest {
            expected.reverse();
        }
        expected.truncate(limit);
        let found: Vec<String> = answer.rows.iter().map(|row| shown(row)).collect();
        prop_assert_eq!(found, expected, "{}", query);
    }

    #[test]
    fn a_sort_agrees_with_the_reference(filter in filter_line(), descending in any::<bool>(), limit in 1..40_usize) {
        let sign = if descending { "-" } else { "" };
        let query = parse(&format!("{filter} | sort {sign}duration_ms | limit {limit} | fields duration_ms, id"), None, None);
        let answer = WORLD.engine.run(&query, &Control::default(), RunLimits::default()).expect("runs");
        let mut expected: Vec<Vec<Value>> =
            reference_rows(&query).iter().map(|row| vec![row.value(logs::DURATION_MS), Value::Text(row.id().to_string())]).collect();
        expected.sort_by(|a, b| table::directed(a[0].total_cmp(&b[0]), descending));
        expected.truncate(limit);
        prop_assert_eq!(answer.rows, expected, "{}", query);
    }
}

/// Pipes that work on one record after the other.
fn row_pipes() -> impl Strategy<Value = String> {
    let pipe = prop::sample::select(vec![
        "eval x = lower(service), y = duration_ms * 2",
        "eval service = if(isnull(service), \"none\", upper(service))",
        "eval x = len(message) % 3, k = tonumber(k) + 1",
        "eval day = bin(timestamp, 2m), slow = duration_ms > 50",
        "eval y = coalesce(y, duration_ms), x = concat(service, \"/\", level)",
        "parse message as regex \"user (?P<x>\\d+)|by (?P<db>\\w+)\"",
        "parse message as pattern \"<x> refused by <y>\"",
        "parse message as grok \"%{WORD:verb} .* %{INT:y:int}\"",
        "parse attributes as json",
        "parse message as kv",
        "where x:*",
        "where y>20",
        "where service:*e* NOT level:info",
        "where slow:true OR k>2",
        "where attributes:user OR attributes:red",
        "eval pairs = concat(\"a=user x=\", len(message)) | parse pairs as logfmt",
        "where template:\"login\"",
    ]);
    prop::collection::vec(pipe, 1..4).prop_map(|pipes| pipes.join(" | "))
}

fn ending() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "stats count(), sum(y), min(x) by service",
        "stats count(), avg(k), max(duration_ms) by x, bin(3m)",
        "stats count()",
        "stats dc(x), p50(y), count(db) by level",
        "top 3 x",
        "sort -y | limit 20 | fields id, x, y, k, db",
        "sort timestamp, id | limit 15 | fields timestamp, x, service",
        "fields id, x, y, service | limit 30",
        "dedup x | limit 10 | fields id, x, y",
        "dedup 2 service, level | stats count(), sum(y) by service",
        "sort duration_ms | dedup service | limit 4 | fields service, duration_ms, x",
        "dedup level | where y>10 | fields id, y, level",
        "fields x, service | dedup x | sort x | limit 9",
        "join (level>=warn | stats count() as n by service) on service | stats count(), sum(n) by level",
        "join kind=left (k:* | fields k, source_ip) on source_ip | stats count(), sum(k), dc(x) by service",
        "join (* | eval y = level | stats dc(service) as n by y) on level = y | dedup x | limit 8 | fields id, x, n",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is computed for each record as it is scanned is what is computed on a table of all records.
    #[test]
    fn pipes_on_records_agree_with_pipes_on_a_table(filter in filter_line(), pipes in row_pipes(), ending in ending()) {
        let answer = |line: &str| {
            let answer = WORLD.engine.run(&parse(line, None, None), &Control::default(), RunLimits::default()).expect("runs");
            let columns: Vec<String> = answer.columns.into_iter().map(|column| column.name).collect();
            (columns, answer.rows.iter().map(|row| shown(row)).collect::<Vec<_>>(), answer.stats.partial)
        };
        let line = format!("{filter} | {pipes} | {ending}");
        prop_assert_eq!(answer(&line), answer(&format!("{filter} | limit 10000 | {pipes} | {ending}")), "{}", line);
    }

    #[test]
    fn dedup_agrees_with_the_reference(filter in filter_line(), rows in 1..4_usize, limit in 1..40_usize) {
        let query = parse(&format!("{filter} | dedup {rows} service, level | limit {limit} | fields id"), None, None);
        let answer = WORLD.engine.run(&query, &Control::default(), RunLimits::default()).expect("runs");
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let expected: Vec<String> = reference_rows(&query)
            .iter()
            .filter(|row| {
                let kind = format!("{:?} {:?}", row.value(logs::SERVICE), row.value(logs::LEVEL));
                let count = seen.entry(kind).or_default();
                *count += 1;
                *count <= rows
            })
            .map(|row| row.id().to_string())
            .take(limit)
            .collect();
        let found: Vec<String> = answer.rows.iter().map(|row| shown(row)).collect();
        prop_assert_eq!(found, expected, "{}", query);
    }
}

/// A condition, and what it is for a record: true, false, or neither where what it looks at is absent.
type Condition = (&'static str, fn(&Row<'_>) -> Option<bool>);

fn field(row: &Row<'_>, name: &str) -> Value {
    value(row, &Target::resolve(Dataset::Logs, name))
}

fn some_text(row: &Row<'_>, name: &str) -> Option<String> {
    match field(row, name) {
        Value::Null => None,
        other => Some(other.to_string().to_lowercase()),
    }
}

fn some_number(row: &Row<'_>, name: &str) -> Option<f64> {
    number(&field(row, name))
}

const CONDITIONS: [Condition; 16] = [
    ("len(message) > 12", |row| some_text(row, "message").map(|text| text.chars().count() > 12)),
    ("duration_ms > 2 * 20", |row| some_number(row, "duration_ms").map(|x| x > 40.0)),
    ("100 >= duration_ms * 2", |row| some_number(row, "duration_ms").map(|x| x <= 50.0)),
    ("duration_ms - 30 != 0", |row| some_number(row, "duration_ms").map(|x| x != 30.0)),
    ("k > 1 + 1", |row| match some_number(row, "k") {
        Some(x) => Some(x > 2.0),
        None => some_text(row, "k").map(|text| text.as_str() > "2"),
    }),
    ("k = 9 / 3", |row| match some_number(row, "k") {
        Some(x) => Some((x - 3.0).abs() < 1e-9),
        None => some_text(row, "k").map(|_| false),
    }),
    ("lower(service) = \"edge\"", |row| some_text(row, "service").map(|text| text == "edge")),
    ("service != concat(\"ed\", \"ge\")", |row| some_text(row, "service").map(|text| text != "edge")),
    ("isnull(duration_ms)", |row| Some(field(row, "duration_ms").is_null())),
    ("not isnull(source_ip)", |row| Some(!field(row, "source_ip").is_null())),
    ("starts_with(source_ip, \"10.0.1\")", |row| {
        some_text(row, "source_ip").map(|text| text.starts_with("10.0.1"))
    }),
    ("http.status >= 500 - 1", |row| some_number(row, "http.status").map(|x| x >= 499.0)),
    ("level >= lower(\"WARN\")", |row| match field(row, "level") {
        Value::Level(level) => Some(level >= Level::Warn),
        _ => None,
    }),
    ("timestamp >= time(\"2026-03-01T12:03:30Z\")", |row| {
        Some(row.timestamp().0 >= START + 210 * NS_PER_SECOND)
    }),
    // The text of an array is not that of its element.
    ("tags = trim(\"red \")", |row| some_text(row, "tags").map(|text| text == "red")),
    ("ok = isnull(nothing)", |row| match field(row, "ok") {
        Value::Bool(b) => Some(b),
        _ => None,
    }),
];

/// `(a and b) or not c`, of three values.
fn joined(a: Option<bool>, b: Option<bool>, c: Option<bool>) -> bool {
    let both = match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    };
    both == Some(true) || c == Some(false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However much of a condition the scan takes over.
    #[test]
    fn conditions_agree_with_the_reference(
        filter in filter_line(),
        a in prop::sample::select(&CONDITIONS[..]),
        b in prop::sample::select(&CONDITIONS[..]),
        c in prop::sample::select(&CONDITIONS[..]),
        form in 0..4_u8,
        late in any::<bool>(),
    ) {
        let holds = |row: &Row<'_>| {
            let (a, b, c) = (a.1(row), b.1(row), c.1(row));
            match form {
                0 => a == Some(true),
                1 => a == Some(true) && b == Some(true),
                2 => a == Some(true) || b == Some(true),
                _ => joined(a, b, c),
            }
        };
        let condition = match form {
            0 => a.0.to_owned(),
            1 => format!("{} and {}", a.0, b.0),
            2 => format!("{} or {}", a.0, b.0),
            _ => format!("({} and {}) or not ({})", a.0, b.0, c.0),
        };
        let before = if late { "eval service = service, z = 1 | " } else { "" };
        let rows: Vec<Row<'_>> = reference_rows(&parse(&filter, None, None)).into_iter().filter(holds).collect();
        let answer = |ending: &str| {
            let line = format!("{filter} | {before}where {condition} | {ending}");
            let query = parse(&line, None, None);
            (WORLD.engine.run(&query, &Control::default(), RunLimits::default()).expect("runs").rows, query.to_string())
        };
        let (found, query) = answer("fields id | limit 1000");
        let found: Vec<String> = found.iter().map(|row| shown(row)).collect();
        let expected: Vec<String> = rows.iter().map(|row| row.id().to_string()).collect();
        prop_assert_eq!(found, expected, "{}", query);
        let (found, query) = answer("stats count()");
        prop_assert_eq!(found, vec![vec![Value::Int(i64::try_from(rows.len()).expect("small"))]], "{}", query);
    }
}

fn stream(row: &Row<'_>) -> String {
    [logs::SERVICE, logs::INSTANCE, logs::HOST].map(|id| row.value(id).to_string().to_lowercase()).join("/")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn context_agrees_with_the_reference(filter in filter_line(), limit in 1..6_usize, around in 1..8_usize) {
        let query = parse(&format!("{filter} | limit {limit} | context {around} | fields id, context"), None, None);
        let answer = WORLD.engine.run(&query, &Control::default(), RunLimits::default()).expect("runs");
        let everything = reference_rows(&parse("*", None, None));
        let mut part: BTreeMap<usize, &str> = BTreeMap::new();
        let matches = reference_rows(&query);
        for hit in matches.iter().take(limit) {
            let at = everything.iter().position(|row| row.id() == hit.id()).expect("is there");
            let alike = |at: &usize| stream(&everything[*at]) == stream(hit);
            for before in (at + 1..everything.len()).filter(alike).take(around) {
                part.entry(before).or_insert("before");
            }
            for after in (0..at).rev().filter(alike).take(around) {
                part.entry(after).or_insert("after");
            }
        }
        for hit in matches.iter().take(limit) {
            let at = everything.iter().position(|row| row.id() == hit.id()).expect("is there");
            part.insert(at, "match");
        }
        let expected: Vec<String> = part.iter().map(|(at, part)| format!("{} | {part}", everything[*at].id())).collect();
        let found: Vec<String> = answer.rows.iter().map(|row| shown(row)).collect();
        prop_assert_eq!(found, expected, "{}", query);
    }

    #[test]
    fn joins_agree_with_the_reference(left in filter_line(), right in filter_line(), is_left in any::<bool>()) {
        let kind = if is_left { "kind=left " } else { "" };
        let line = format!("{left} | join {kind}({right} | eval other = id | fields other, source_ip) on source_ip | stats count(), count(other)");
        let answer = WORLD.engine.run(&parse(&line, None, None), &Control::default(), RunLimits::default()).expect("runs");
        let (left, mut right) = (parse(&left, None, None), parse(&right, None, None));
        if right.range == TimeRange::ALL {
            right.range = left.range;
        }
        let (left, right) = (reference_rows(&left), reference_rows(&right));
        let (mut rows, mut joined) = (0, 0);
        for ours in &left {
            let ip = ours.value(logs::SOURCE_IP);
            let found = right.iter().filter(|theirs| !ip.is_null() && theirs.value(logs::SOURCE_IP) == ip).count();
            joined += found;
            rows += if is_left { found.max(1) } else { found };
        }
        prop_assert_eq!(shown(&answer.rows[0]), format!("{rows}.000000 | {joined}.000000"), "{}", line);
    }
}

#[test]
fn computed_columns_are_of_all_records() {
    let total = run("| stats count()").rows[0][0].clone();
    let counted = run("| eval x = 1 | stats sum(x)");
    assert_eq!((counted.rows[0][0].clone(), counted.stats.strategy.as_str()), (total, "scan"));
    check(
        "message:contains(\"user\") | parse message as pattern \"user <user>\" | dedup user | fields user",
        "top",
        &["7.000000"],
    );
    let names = |line: &str| run(line).columns.into_iter().map(|column| column.name).collect::<Vec<_>>();
    assert!(names("| eval x = len(message)").contains(&"x".to_owned()));
    assert_eq!(names("| fields service, level | eval service = upper(service)"), ["service", "level"]);
    assert_eq!(names("| fields service | eval a = 1 | fields - service"), ["a"]);
    assert_eq!(names("| limit 3 | fields service | eval service = upper(service)"), ["service"]);
    assert_eq!(
        run("| eval service = upper(service) | where service:edge | top 1 service").rows[0][0],
        Value::Text("EDGE".into())
    );
    let merged = run(
        "\"login failed\" | eval kv = \"a=1 b=x\" | parse kv as kv | where a:1 b:x | limit 1 | fields a, attributes",
    );
    let attributes = merged.rows[0][1].to_json();
    assert_eq!((attributes["a"].clone(), attributes["b"].clone()), (1.into(), "x".into()));
    let shares = run("| stats count() by service | share count | stats sum(share)");
    assert_eq!(shown(&shares.rows[0]), "1.000000");
    let patterns = run("| patterns 2");
    let names: Vec<&str> = patterns.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["template_id", "template", "count", "first_seen", "last_seen", "services", "share"]);
    assert_eq!(patterns.rows.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Rows that come one after the other are the rows that come at once.
    #[test]
    fn early_rows_are_the_answer(filter in filter_line(), limit in 1..300_usize, ending in prop::sample::select(vec![
        "fields id, x", "eval x = len(message) | where x>15 | fields x, id, service", "stats count() by x", "sort x | fields id",
    ]), oldest in any::<bool>()) {
        let order = if oldest { " | sort timestamp" } else { "" };
        let query = parse(&format!("{filter}{order} | limit {limit} | {ending}"), None, None);
        let (control, limits) = (Control::default(), RunLimits::default());
        let answer = WORLD.engine.run(&query, &control, limits).expect("runs");
        let mut rows = Vec::new();
        let stats = WORLD.engine.run_each(&query, &control, limits, &mut |early| {
            assert_eq!(early.columns, answer.columns);
            rows.extend(early.rows.iter().cloned());
            std::ops::ControlFlow::Continue(())
        }).expect("runs");
        prop_assert_eq!(&rows, &answer.rows, "{}", query);
        prop_assert_eq!((stats.strategy, stats.partial, stats.default_limit), (answer.stats.strategy, false, None));
    }
}

#[test]
fn early_rows_stay_within_limits() {
    let rows = |line: &str, limits: RunLimits| {
        let mut rows = 0;
        let query = parse(line, None, None);
        let stats = WORLD.engine.run_each(&query, &Control::default(), limits, &mut |early| {
            rows += early.rows.len();
            std::ops::ControlFlow::Continue(())
        });
        let stats = stats.expect("runs");
        (rows, stats.partial, stats.default_limit)
    };
    assert_eq!(rows("*", RunLimits { rows_default: 3, ..RunLimits::default() }), (3, false, Some(3)));
    assert_eq!(rows("| limit 5", RunLimits { rows_max: 2, ..RunLimits::default() }), (2, true, None));
    let (few, partial, _) =
        rows("| fields message", RunLimits { result_bytes_max: 200, ..RunLimits::default() });
    assert!(few > 0 && few < 10 && partial);
    let query = parse("*", None, None);
    let mut calls = 0;
    let stats = WORLD.engine.run_each(&query, &Control::default(), RunLimits::default(), &mut |_| {
        calls += 1;
        std::ops::ControlFlow::Break(())
    });
    assert!(stats.is_ok() && calls == 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// With little memory an answer is the same as with much, or none.
    #[test]
    fn groups_in_parts_are_the_groups(filter in filter_line(), stats in stats_line(), bytes in 2_000..60_000_usize) {
        let query = parse(&format!("{filter} | {stats}"), Some(START), Some(START + 600 * NS_PER_SECOND));
        let run = |limits| WORLD.engine.run(&query, &Control::default(), limits);
        let whole = run(RunLimits::default()).expect("runs");
        match run(RunLimits { group_bytes_max: bytes, ..RunLimits::default() }) {
            Ok(answer) => {
                let shown = |answer: &Answer| answer.rows.iter().map(|row| shown(row)).collect::<Vec<_>>();
                prop_assert_eq!(shown(&answer), shown(&whole), "{}", query);
            }
            Err(error) => prop_assert!(matches!(error, QueryError::TooMuchMemory { .. }), "{}", error),
        }
    }
}

#[test]
fn a_join_ends_when_it_is_no_longer_wanted() {
    let line =
        "| eval all = 1 | join (* | eval all = 1 | fields all, id) on all | eval again = 1 | stats count()";
    assert_eq!(run(line).rows[0][0], Value::Int(i64::try_from(ROWS * ROWS).expect("small")));
    let query = parse(line, None, None);
    let Pipe::Join(join) = &query.pipeline[1] else { panic!("a join") };
    let control = Control::default();
    let mut stats = crate::AnswerStats::new(crate::Strategy::Scan);
    let right = crate::join::Right::load(&WORLD.engine, &query, join, &control, &mut stats).expect("loads");
    assert!((0..5_000).all(|_| right.count().is_ok()));
    control.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!((0..5_000).any(|_| matches!(right.count(), Err(QueryError::Cancelled))));
}

#[test]
fn groups_that_do_not_fit_are_found_in_parts() {
    let line =
        "| eval kind = len(message) % 2 | stats dc(id), p50(duration_ms), count() by source_ip, level, kind";
    let run = |bytes: usize| {
        let limits = RunLimits { group_bytes_max: bytes, ..RunLimits::default() };
        WORLD.engine.run(&parse(line, None, None), &Control::default(), limits)
    };
    let (whole, parts) = (run(1 << 30).expect("fits"), run(12_000).expect("fits in parts"));
    assert_eq!(parts.rows, whole.rows);
    assert!(whole.stats.notes.is_empty());
    let note = parts.stats.notes.last().expect("says so");
    assert!(note.starts_with("the groups did not fit into memory at once: the records were read "), "{note}");
    assert!(matches!(run(1_000), Err(QueryError::TooMuchMemory { bytes_max: 1_000 })));
}

#[test]
fn context_stays_within_limits() {
    let line = "| limit 50 | context 1000";
    let error = WORLD.engine.run(&parse(line, None, None), &Control::default(), RunLimits::default());
    let error = error.expect_err("too many").to_string();
    assert!(error.starts_with("`context` keeps more than 10000 rows around 50 records"), "{error}");
}

#[test]
fn computed_rows_stay_within_limits() {
    let error = |line: &str, bytes: usize| {
        let limits = RunLimits { group_bytes_max: bytes, ..RunLimits::default() };
        WORLD
            .engine
            .run(&parse(line, None, None), &Control::default(), limits)
            .expect_err("too much")
            .to_string()
    };
    let wide = "eval x = replace(message, \".\", \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\")";
    let found = error(&format!("| {wide} | sort x | limit 300 | fields x"), 100_000);
    assert!(found.starts_with("`limit` keeps more than 0 MiB"), "{found}");
    let found = error(&format!("| limit 300 | {wide} | fields x"), 100_000);
    assert!(found.starts_with("`eval` keeps more than 0 MiB"), "{found}");
    let found = error("| limit 300 | fields level | join (* | fields id, level) on level", 100_000);
    assert!(found.starts_with("`join` keeps more than 0 MiB"), "{found}");
    // What was kept for a while only does not count in the end.
    let limits = RunLimits { group_bytes_max: 20_000, ..RunLimits::default() };
    let line = format!("| {wide} | sort duration_ms | limit 2 | fields x");
    assert!(WORLD.engine.run(&parse(&line, None, None), &Control::default(), limits).is_ok());
}

#[test]
fn dedup_stays_within_limits() {
    let answer = |limits: RunLimits| {
        WORLD.engine.run(&parse("| dedup id | stats count()", None, None), &Control::default(), limits)
    };
    let error = answer(RunLimits { groups_max: 5, ..RunLimits::default() }).expect_err("too many");
    assert!(error.to_string().starts_with("`dedup` keeps more than 5 different rows"), "{error}");
    let error = answer(RunLimits { group_bytes_max: 1_000, ..RunLimits::default() }).expect_err("too much");
    assert!(matches!(error, QueryError::PipeTooLarge { pipe: "dedup", .. }));
}

#[track_caller]
fn check(line: &str, strategy: &str, rows: &[&str]) {
    let answer = run(line);
    let found: Vec<String> = answer.rows.iter().map(|row| shown(row)).collect();
    assert_eq!(
        (answer.stats.strategy.as_str(), found),
        (strategy, rows.iter().map(|row| (*row).to_owned()).collect()),
        "{line}"
    );
}

#[test]
fn pipes_run_in_order() {
    let by_service = run("| stats count() by service");
    assert_eq!(
        by_service.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
        ["service", "count"]
    );
    let total: f64 = by_service.rows.iter().filter_map(|row| row[1].as_f64()).sum();
    check("| stats count()", "rollup", &[&format!("{total:.6}")]);
    check(
        "| stats count() by service | stats sum(count), count()",
        "rollup",
        &[&format!("{total:.6} | 4.000000")],
    );
    check("refused nothing | stats count(), max(duration_ms)", "scan", &["0.000000 | "]);
    check("refused nothing | stats count()", "templates", &["0.000000"]);
    check("refused nothing:* | stats count()", "count", &["0.000000"]);
    check(
        "| top 9 service | where service:* count>0 | fields count | stats count()",
        "rollup",
        &["3.000000"],
    );
    check("| limit 10 | stats count() by nothing", "newest-first", &[" | 10.000000"]);
    check("| fields message, k | limit 7 | where k:* OR -k:* | stats count()", "newest-first", &["7.000000"]);
    check("| sort -duration_ms | limit 5 | stats count(duration_ms)", "top", &["5.000000"]);
    let top = run("| top 2 service | fields - count");
    assert_eq!((top.columns.len(), top.rows.len()), (1, 2));
}

#[test]
fn a_list_of_records_has_the_columns_its_records_have() {
    let names = |line: &str| run(line).columns.into_iter().map(|column| column.name).collect::<Vec<_>>();
    let all = names("| limit 200");
    assert_eq!(all[..5], ["id", "timestamp", "observed", "level", "service"]);
    assert!(all.contains(&"attributes".to_owned()) && !all.contains(&"host".to_owned()));
    assert_eq!(names("nothing_like_it"), ["id", "timestamp", "level", "service", "message"]);
    assert_eq!(names("| fields template, k, timestamp"), ["template", "k", "timestamp"]);
    let answer = run("\"login failed\" | fields template | limit 1");
    assert_eq!(shown(&answer.rows[0]), "Login failed for user <*>");
    let mut text = Vec::new();
    run("k:3 | sort timestamp | fields k, host | limit 1")
        .write_ndjson(&mut text)
        .expect("a vector takes it");
    let line = String::from_utf8(text).expect("UTF-8");
    assert!(line == "{\"k\":3}\n" || line == "{\"k\":\"3.0\"}\n", "{line}");
}

#[test]
fn what_is_cut_is_said() {
    let engine = &WORLD.engine;
    let answer = |line: &str, control: &Control, limits: RunLimits| {
        engine.run(&parse(line, None, None), control, limits)
    };
    let limits = RunLimits { rows_max: 3, ..RunLimits::default() };
    let cut = answer("| limit 5", &Control::default(), limits).expect("runs");
    assert_eq!((cut.rows.len(), cut.stats.partial), (3, true));
    let cut = answer("| stats count() by source_ip", &Control::default(), limits).expect("runs");
    assert_eq!(cut.stats.warnings, ["the first 3 of 7 rows are shown"]);
    let plain = answer("*", &Control::default(), RunLimits { rows_default: 3, ..RunLimits::default() })
        .expect("runs");
    assert_eq!((plain.stats.partial, plain.stats.default_limit), (false, Some(3)));
    let small = RunLimits { result_bytes_max: 200, ..RunLimits::default() };
    assert!(answer("| fields message", &Control::default(), small).expect("runs").stats.partial);
    let few = RunLimits { groups_max: 3, ..RunLimits::default() };
    let error = answer("| stats count() by source_ip", &Control::default(), few).expect_err("too many");
    assert!(matches!(error, QueryError::TooManyGroups { groups_max: 3 }));
    let little = RunLimits { group_bytes_max: 100, ..RunLimits::default() };
    let error = answer("| stats dc(id)", &Control::default(), little).expect_err("too much");
    assert!(matches!(error, QueryError::TooMuchMemory { bytes_max: 100 }));
    let cancelled = Control { cancelled: Arc::new(AtomicBool::new(true)), ..Control::default() };
    let error = answer("| stats max(k)", &cancelled, RunLimits::default()).expect_err("cancelled");
    assert!(matches!(error, QueryError::Cancelled));
    let late = Control { deadline: Some(Instant::now()), ..Control::default() };
    let part = answer("| stats max(k)", &late, RunLimits::default()).expect("a part");
    assert!(part.stats.partial, "{:?}", part.stats);
    let error = answer("*", &late, RunLimits::default()).expect_err("late");
    assert!(matches!(error, QueryError::OutOfTime { .. }));
}

#[test]
fn explain_says_what_will_be_done() {
    let explain = |line: &str| {
        let query = parse(line, Some(START + 61 * NS_PER_SECOND), Some(START + 300 * NS_PER_SECOND));
        let explain = WORLD.engine.explain(&query, RunLimits::default()).expect("explains");
        let ways = explain
            .ways
            .iter()
            .map(|way| format!("{}{}", way.strategy.as_str(), ["", "!"][usize::from(way.chosen)]));
        let ways = ways.collect::<Vec<_>>().join(" ");
        format!("{} > {} > {} scans [{ways}]", explain.query, explain.steps.join(" > "), explain.scans.len())
    };
    assert_eq!(
        explain("level:error | stats count() by service | sort -count | limit 2"),
        "level:error | stats count() by service | sort -count | limit 2 > scan > sort(1 keys) > limit(2) > 1 scans [scan! rollup runs]",
        "so few rows are looked at sooner than two partial minutes and the counts between"
    );
    assert_eq!(explain("refused"), "refused > newest-first(limit 100) > 1 scans []");
    assert_eq!(
        explain("| where duration_ms > 2 * 20 and k > len(service)"),
        "duration_ms>40 | where k > len(service) > newest-first(limit 100) > where(expression) > 1 scans []"
    );
}

/// A damaged segment was an error for every query; and an answer without it must never look whole.
#[test]
fn a_damaged_segment_is_missing_and_said_to_be() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dice = Dice(11);
    let open = || Arc::new(Store::open(Arc::new(OsDisk), dir.path(), StoreConfig::default()).expect("opens"));
    let store = open();
    for seq in 1..=3 {
        let mut batch = batch(&mut dice, 100, seq);
        store.assign_templates(&Tenant::default(), &mut batch);
        store.append(&Tenant::default(), batch);
        assert!(store.freeze(seq, Vec::new));
        store.commit_frozen().expect("commits");
    }
    drop(store);
    let names = || std::fs::read_dir(dir.path()).expect("reads").map(|entry| entry.expect("reads").path());
    // Among the rows, and in the directory of the sidecar.
    for (kind, at) in [("parquet", None), ("hidx", Some(40))] {
        let is_kind = |path: &std::path::PathBuf| path.extension().is_some_and(|ext| ext == kind);
        let path = names().filter(is_kind).min().expect("there is one");
        let whole = std::fs::read(&path).expect("reads");
        let mut bytes = whole.clone();
        let place = at.unwrap_or(bytes.len() / 3);
        bytes[place] ^= 1;
        std::fs::write(&path, &bytes).expect("writes");
        let engine = Engine::new(open()).with_cache(1 << 20);
        for line in [
            "* | fields id",
            "| stats count()",
            "| stats count() by level",
            "| timechart span=1m count()",
            "| stats dc(source_ip)",
            "level>=warn | sort k | limit 3",
            "| stats p99(duration_ms) by service",
        ] {
            let query = parse(line, None, None);
            for _ in 0..2 {
                let answer =
                    engine.answer(&query, &Control::default(), RunLimits::default()).expect("answers");
                let warnings = answer.stats.warnings.join("; ");
                let name = path.file_name().expect("has one").to_string_lossy();
                // Summaries do not read the rows: what they know of the segment is right.
                if answer.stats.partial || engine.store().damaged().len() == 1 {
                    assert!(answer.stats.partial, "{kind}, {line}: {:?}", answer.stats);
                    assert!(
                        warnings.contains(&*name) && warnings.contains("100 records from"),
                        "{line}: {warnings}"
                    );
                }
            }
            engine.explain(&query, RunLimits::default()).expect("explains");
        }
        let count = parse("| stats count()", None, None);
        let answer = engine.answer(&count, &Control::default(), RunLimits::default()).expect("answers");
        assert_eq!(answer.rows, [[Value::Int(200)]], "{kind}");
        assert_eq!(engine.store().damaged().len(), 1, "{kind}");
        std::fs::write(&path, whole).expect("writes");
        let engine = Engine::new(open());
        let answer = engine.answer(&count, &Control::default(), RunLimits::default()).expect("answers");
        assert_eq!((answer.rows, answer.stats.partial), (vec![vec![Value::Int(300)]], false), "{kind}");
    }
}

/// Calls of a shop, of which every tenth fails, over three hours: half of them in a segment.
fn spans() -> (Engine, tempfile::TempDir) {
    use heimdall_model::schema::{TIMESTAMP, spans};

    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(Arc::new(OsDisk), dir.path(), StoreConfig::default()).expect("opens");
    for base in 0..2_u8 {
        let mut builder = BatchBuilder::new(Dataset::Spans, Timestamp(START));
        for n in (0..180_u8).filter(|n| n % 2 == base) {
            builder.set_int(TIMESTAMP, START + i64::from(n) * 60 * NS_PER_SECOND);
            builder.set_text(spans::SERVICE, if n < 90 { "shop" } else { "pay" });
            builder.set_text(spans::NAME, ["GET /cart", "POST /checkout order"][usize::from(n / 2 % 2)]);
            builder.set_bytes(spans::TRACE_ID, &[n / 4 + 1; 16]);
            builder.set_bytes(spans::SPAN_ID, &[n + 1; 8]);
            builder.set_text(spans::KIND, "server");
            builder.set_text(spans::STATUS, if n % 10 == 0 { "error" } else { "unset" });
            builder.set_float(spans::DURATION_MS, f64::from(n));
            builder.set_text(spans::EVENTS, r#"[{"name":"retry"}]"#);
            builder.set_text(spans::ATTRIBUTES, r#"{"http.status":200}"#);
            builder.end_row();
        }
        let mut batch = builder.finish();
        batch.base = Position::new(u64::from(base) + 1, 0);
        store.assign_templates(&Tenant::default(), &mut batch);
        store.append(&Tenant::default(), batch);
        if base == 0 {
            assert!(store.freeze(1, Vec::new));
            store.commit_frozen().expect("commits");
        }
    }
    (Engine::new(Arc::new(store)), dir)
}

#[test]
fn spans_are_asked_like_logs() {
    let (engine, _dir) = spans();
    let ask = |line: &str| {
        let answer = engine.run(&parse(line, None, None), &Control::default(), RunLimits::default());
        let answer = answer.unwrap_or_else(|error| panic!("{line}: {error}"));
        answer.rows.iter().map(|row| shown(row)).collect::<Vec<_>>()
    };
    for (line, rows) in [
        ("dataset:spans checkout", 90),
        ("dataset:spans status:error", 18),
        ("dataset:spans kind:server service:shop duration_ms>=80", 10),
        ("dataset:spans trace_id:02020202020202020202020202020202", 4),
        ("dataset:spans span_id:b4b4b4b4b4b4b4b4", 1),
        ("dataset:spans http.status:200 events:retry", 180),
        ("dataset:spans \"order checkout\"", 0),
        ("checkout", 0),
    ] {
        assert_eq!(ask(&format!("{line} | limit 1000")).len(), rows, "{line}");
    }
    assert_eq!(
        ask("dataset:spans | stats count(), min(duration_ms), max(duration_ms) by service | sort service"),
        ["pay | 90.000000 | 90.000000 | 179.000000", "shop | 90.000000 | 0.000000 | 89.000000"]
    );
    let by_hour = "dataset:spans | stats count(duration_ms), p50(duration_ms) by bin(1h), service";
    assert_eq!(ask(by_hour).len(), 4);
    let plan = engine.explain(&parse(by_hour, None, None), RunLimits::default()).expect("a plan");
    let is_sketch = |way: &crate::WayPlan| way.strategy == crate::Strategy::Sketch;
    assert!(plan.ways.iter().any(is_sketch), "durations of spans are summed up: {:?}", plan.ways);
}
