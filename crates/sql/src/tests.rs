//! SQL over the store against DataFusion over the same rows in memory.

use std::sync::{Arc, LazyLock};

use arrow::record_batch::RecordBatch;
use datafusion::catalog::MemTable;
use datafusion::prelude::SessionContext;
use heimdall_journal::disk::OsDisk;
use heimdall_model::schema::logs;
use heimdall_model::{Batch, BatchBuilder, Dataset, Level, Position, Tenant, Timestamp, Value};
use heimdall_query::{Answer, ColumnType, Engine, RunLimits, TimeRange};
use heimdall_store::{Control, ScanRequest, Store, StoreConfig};
use proptest::prelude::*;

use crate::columns::{Batches, schema_of, targets};
use crate::gate::OPERATORS_MAX;
use crate::{RowSource, SqlConfig, SqlEngine, SqlError, SqlRequest, answer, functions};

/// 2026-03-01T12:00:00Z.
const START: i64 = 1_772_366_400_000_000_000;
const SECOND: i64 = 1_000_000_000;
const HOURS: i64 = 3;

struct World {
    sql: SqlEngine,
    plain: SessionContext,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

fn batch(seq: u64, rows: usize) -> Batch {
    let mut x = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |below: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % below
    };
    let small = |n: u64| usize::try_from(n).expect("small");
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(START));
    for _ in 0..rows {
        let within = i64::try_from(roll((HOURS * 3_600).cast_unsigned())).expect("small");
        builder.set_int(logs::TIMESTAMP, START + within * SECOND);
        if roll(5) > 0 {
            builder.set_text(logs::SERVICE, ["auth", "Auth", "billing", "o'neil (a.b)"][small(roll(4))]);
        }
        if roll(5) > 0 {
            builder.set_level(Level::ALL[small(roll(6))]);
        }
        builder.set_text(
            logs::MESSAGE,
            ["Connection refused", "user 7 logged in", "disk 50% full_"][small(roll(3))],
        );
        if roll(3) > 0 {
            builder.set_text(logs::USER_ID, &format!("u{}", roll(12)));
        }
        if roll(3) > 0 {
            builder.set_float(logs::DURATION_MS, f64::from(u32::try_from(roll(400)).expect("small")) / 4.0);
        }
        if roll(2) > 0 {
            builder.set_bytes(logs::TRACE_ID, &[u8::try_from(roll(20)).expect("small") + 1; 16]);
        }
        if roll(4) > 0 {
            let text = [r#"{"k":3,"s":"red"}"#, r#"{"k":"3.0"}"#, r#"{"k":[3],"s":"Red"}"#][small(roll(3))];
            builder.set_text(logs::ATTRIBUTES, text);
        }
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(seq, 0);
    batch
}

/// A span of a trace for each user that has one.
fn spans() -> Batch {
    use heimdall_model::schema::{TIMESTAMP, spans};
    let mut builder = BatchBuilder::new(Dataset::Spans, Timestamp(START));
    for n in 0..12_u8 {
        builder.set_int(TIMESTAMP, START + i64::from(n) * SECOND);
        builder.set_text(spans::SERVICE, if n < 6 { "auth" } else { "billing" });
        builder.set_text(spans::NAME, "GET /");
        builder.set_bytes(spans::TRACE_ID, &[n + 1; 16]);
        builder.set_bytes(spans::SPAN_ID, &[n + 1; 8]);
        builder.set_text(spans::STATUS, if n % 4 == 0 { "error" } else { "ok" });
        builder.set_float(spans::DURATION_MS, f64::from(n));
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(5, 0);
    batch
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let config = StoreConfig { scan_threads: 2, scan_unit_rows: 1, ..StoreConfig::default() };
    let store = Arc::new(Store::open(Arc::new(OsDisk), &dir.path().join("store"), config).expect("opens"));
    for seq in 1..=4 {
        let mut batch = batch(seq, 150);
        store.assign_templates(&Tenant::default(), &mut batch);
        store.append(&Tenant::default(), batch);
        if seq <= 2 {
            assert!(store.freeze(seq, Vec::new));
            store.commit_frozen().expect("commits");
        }
    }
    store.append(&Tenant::default(), spans());
    let mut foreign = batch(9, 10);
    store.assign_templates(&Tenant::new("other").expect("a name"), &mut foreign);
    store.append(&Tenant::new("other").expect("a name"), foreign);
    let sql = SqlEngine::new(
        Engine::new(Arc::clone(&store)),
        &SqlConfig { memory_bytes: 64 << 20, spill_dir: dir.path().join("spill"), spill_bytes_max: 64 << 20 },
    )
    .expect("an engine");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let plain = SessionContext::new();
    functions::all().for_each(|function| plain.register_udf(function));
    let table =
        MemTable::try_new(schema_of(Dataset::Logs), vec![rows_of(&store, Dataset::Logs)]).expect("a table");
    plain.register_table("logs", Arc::new(table)).expect("registers");
    let table = MemTable::try_new(schema_of(Dataset::Spans), vec![rows_of(&store, Dataset::Spans)]);
    plain.register_table("spans", Arc::new(table.expect("a table"))).expect("registers");
    World { sql, plain, runtime, _dir: dir }
});

fn rows_of(store: &Arc<Store>, dataset: Dataset) -> Vec<RecordBatch> {
    let request = ScanRequest {
        tenant: Tenant::default(),
        dataset,
        range: TimeRange::ALL,
        filter: heimdall_model::Filter::All,
        fields: None,
    };
    let mut batches =
        Batches::new(Arc::clone(store), Tenant::default(), targets(dataset), schema_of(dataset));
    let mut found = Vec::new();
    store
        .scan(&request, &Control::default(), &mut |block| {
            found.push(batches.make(block).expect("a batch"));
            std::ops::ControlFlow::Continue(())
        })
        .expect("scans");
    found
}

struct Two;

impl RowSource for Two {
    fn name(&self) -> &'static str {
        "alerts"
    }
    fn columns(&self) -> &'static [(&'static str, ColumnType)] {
        &[
            ("service", ColumnType::Text),
            ("count", ColumnType::Int),
            ("title", ColumnType::Text),
            ("severity", ColumnType::Text),
            ("first_seen", ColumnType::Time),
            ("last_seen", ColumnType::Time),
        ]
    }
    fn rows(&self, _: &Tenant, _: usize) -> Result<Vec<Vec<Value>>, String> {
        let row = |service: &str, count| {
            let text = |text: &str| Value::Text(text.into());
            vec![text(service), Value::Int(count), text("t"), text("CRITICAL"), Value::Null, Value::Null]
        };
        Ok(vec![row("auth", 3), row("billing", 5)])
    }
}

fn request(sql: &str) -> SqlRequest {
    SqlRequest {
        sql: sql.to_owned(),
        tenant: Tenant::default(),
        range: TimeRange::ALL,
        sources: vec![Arc::new(Two)],
        cache: true,
    }
}

fn run(sql: &str) -> Result<Answer, SqlError> {
    WORLD.sql.run(&request(sql), &Control::default(), RunLimits::default())
}

fn shown(rows: &[Vec<Value>]) -> Vec<String> {
    let cell = |value: &Value| match value {
        // Off the middle between two digits, on whose sides a mean may fall by the order of its numbers.
        Value::Float(x) => format!("{:.6}", x * (1.0 + 1e-11)),
        other => other.to_string(),
    };
    rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join(" | ")).collect()
}

/// The same rows, in any order unless the statement names one.
#[track_caller]
fn check(sql: &str) -> Answer {
    let found = run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let expected = WORLD.runtime.block_on(async {
        let frame = WORLD.plain.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        frame.collect().await.expect("runs")
    });
    let expected: Vec<Vec<Value>> =
        expected.iter().flat_map(|batch| answer::rows_of(batch).expect("values")).collect();
    let (mut found_rows, mut expected_rows) = (shown(&found.rows), shown(&expected));
    let is_ordered = sql.rsplit(')').next().is_some_and(|end| end.contains("order by"));
    if !is_ordered {
        found_rows.sort();
        expected_rows.sort();
    }
    assert_eq!(found_rows, expected_rows, "{sql}");
    assert!(!found.stats.partial);
    found
}

fn condition() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "service = 'auth'",
        "service <> 'auth'",
        "service in ('Auth', 'billing')",
        "service not in ('Auth', 'billing')",
        "service = 'o''neil (a.b)'",
        "service is null",
        "level = 'error'",
        "level <> 'error'",
        "level in ('error', 'fatal')",
        "level = 'ERROR'",
        "level is not null",
        "message like '%refused%'",
        "message ilike '%REFUSED%'",
        "message like 'disk 50\\% f_ll\\_'",
        "message not like '%user%'",
        "regexp_like(message, '[Uu]ser [0-9]')",
        "message ~* 'USER'",
        "message !~ 'user'",
        "duration_ms > 50",
        "duration_ms between 10 and 20",
        "duration_ms not between 10 and 90.5",
        "duration_ms = 12.5",
        "duration_ms <> 12.5",
        "duration_ms is null",
        "template_id = 1",
        "user_id = 'u3'",
        "user_id > 'u3'",
        "timestamp >= '2026-03-01T13:00:00Z'",
        "timestamp < timestamp '2026-03-01T14:10:00'",
        "timestamp between '2026-03-01T12:30:00Z' and '2026-03-01T13:30:00Z'",
        "timestamp <> '2026-03-01T12:30:00Z'",
        "attr(attributes, 's') = 'red'",
        "attr_number(attributes, 'k') >= 3",
        "attr(attributes, 'k') is null",
        "true",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn rows_are_those_that_sql_means(condition in condition()) {
        check(&format!("select id, level, message, template from logs where {condition}"));
    }

    #[test]
    fn groups_are_those_that_sql_means(
        condition in condition(),
        keys in prop::sample::subsequence(
            vec!["service", "level", "date_trunc('hour', timestamp)", "user_id", "template_id"], 0..3),
        values in prop::sample::subsequence(
            vec!["count(*)", "count(duration_ms)", "sum(duration_ms)", "avg(duration_ms)", "min(duration_ms)",
                 "max(message)", "max(timestamp)", "count(distinct user_id)", "stddev(duration_ms)", "min(level)"], 1..4),
    ) {
        let columns = keys.iter().chain(&values).copied().collect::<Vec<_>>().join(", ");
        let by = if keys.is_empty() { String::new() } else { format!(" group by {}", keys.join(", ")) };
        check(&format!("select {columns} from logs where {condition}{by}"));
    }

    #[test]
    fn the_latest_rows_are_the_latest(condition in condition(), rows in 1..30_usize, latest in any::<bool>()) {
        let order = if latest { "desc" } else { "asc" };
        check(&format!("select timestamp from logs where {condition} order by timestamp {order} limit {rows}"));
    }
}

#[test]
fn the_engine_answers_what_it_can() {
    let plan = |sql: &str| WORLD.sql.explain(&request(sql), RunLimits::default()).expect("explains").physical;
    for sql in [
        "select count(*) from logs",
        "select service, count(*) from logs where level in ('error', 'fatal') group by service",
        "select date_bin(interval '5 minutes', timestamp) as t, count(*) from logs group by t",
        "select service, approx_percentile_cont(duration_ms, 0.99) from logs group by service",
        "select user_id, count(*) from logs group by user_id order by 2 desc limit 10",
        "select count(distinct user_id) from logs where service = 'auth'",
        "with l as (select * from logs where service = 'auth') select level, count(*) from l group by level",
    ] {
        let plan = plan(sql);
        assert!(plan.contains("StatsExec"), "{sql}: {plan}");
        run(sql).expect("runs");
    }
    let top = plan("select user_id, count(*) as n from logs group by user_id order by n desc limit 4");
    assert!(top.contains("limit 4"), "{top}");
    check("select n from (select user_id, count(*) as n from logs group by user_id) order by n desc limit 5");
    check("select count(*) as n from logs where message ~ 'us.r' group by service order by n desc limit 2");
    let latest = plan("select * from logs where service = 'auth' order by timestamp desc limit 5");
    assert!(latest.contains("newest-first=5"), "{latest}");
    let pruned =
        plan("select message from logs where timestamp >= '2026-03-01T13:00:00Z' and user_id = 'u3'");
    assert!(pruned.contains("from=2026-03-01T13:00:00") && pruned.contains("user_id"), "{pruned}");
    for sql in ["select count(*) from logs where message like '%a%'", "select sum(template_id) from logs"] {
        assert!(!plan(sql).contains("StatsExec"), "{sql}");
    }
}

#[test]
fn other_statements_than_groups_and_rows() {
    check("select a.service, count(*) from logs a join logs b on a.user_id = b.user_id group by a.service");
    check(
        "select level, row_number() over (partition by level order by id) from logs where service = 'auth'",
    );
    check("select * from (select service, count(*) as n from logs group by service) where n > 100");
    check("select service from logs union select level from logs");
    check("select max(duration_ms) from logs where duration_ms > (select avg(duration_ms) from logs)");
    let joined = run(
        "select l.service, a.count, count(*) from logs l join alerts a on l.service = a.service group by 1, 2 order by 1",
    )
    .expect("joins");
    assert_eq!(joined.rows.len(), 2);
    let names = run("show tables").expect("shows");
    assert!(shown(&names.rows).iter().any(|row| row.contains("logs")), "{:?}", shown(&names.rows));
    assert!(run("describe logs").expect("describes").rows.len() > 20);
    assert!(!run("explain select count(*) from logs").expect("explains").rows.is_empty());
    let levels = run("select level_number('warn'), attr('{\"a\":{\"b\":1}}', 'a.b')").expect("runs");
    assert_eq!(shown(&levels.rows), ["4 | 1"]);
}

#[test]
fn a_statement_sees_one_tenant_and_changes_nothing() {
    let count = |tenant: &str| {
        let tenant = Tenant::new(tenant).expect("a name");
        let asked = SqlRequest { tenant, ..request("select count(*), count(distinct id) from logs") };
        let answer = WORLD.sql.run(&asked, &Control::default(), RunLimits::default()).expect("runs");
        shown(&answer.rows)
    };
    assert_eq!(count("default"), ["600 | 600"]);
    assert_eq!(count("other"), ["10 | 10"]);
    assert_eq!(count("nobody"), ["0 | 0"]);
    assert!(matches!(run("insert into logs (message) values ('x')"), Err(SqlError::ReadOnly { .. })));
    assert!(matches!(run("select * from '/etc/passwd'"), Err(SqlError::Plan(_))));
    assert!(matches!(run("select hots from logs"), Err(SqlError::Plan(_))));
    assert!(matches!(run("select 1 +"), Err(SqlError::Syntax { .. })));
}

#[test]
fn limits_hold_and_are_said() {
    let limits = RunLimits { rows_max: 7, ..RunLimits::default() };
    let cut = WORLD.sql.run(&request("select id from logs"), &Control::default(), limits).expect("runs");
    assert_eq!((cut.rows.len(), cut.stats.partial), (7, true));
    let late = Control { deadline: Some(std::time::Instant::now()), ..Control::default() };
    let error = WORLD.sql.run(&request("select id from logs"), &late, RunLimits::default());
    assert!(matches!(error, Err(SqlError::OutOfTime)));
    let gone = Control { cancelled: Arc::new(true.into()), ..Control::default() };
    let error = WORLD.sql.run(&request("select id from logs"), &gone, RunLimits::default());
    assert!(matches!(error, Err(SqlError::Cancelled)));
    let few = RunLimits { groups_max: 3, ..RunLimits::default() };
    let answer = WORLD
        .sql
        .run(&request("select user_id, count(*) from logs group by user_id"), &Control::default(), few)
        .expect("DataFusion groups instead");
    assert_eq!(answer.rows.len(), 13);
}

/// What nests with its length, without a parenthesis, as long as it may be: whatever is said, the process goes on.
#[test]
fn the_longest_chains_do_not_end_the_process() {
    let (all, half, third) = (OPERATORS_MAX - 20, OPERATORS_MAX / 2 - 20, OPERATORS_MAX / 3 - 20);
    let any = |condition: &str, n: usize| vec![condition; n].join(" or ");
    let mut answered = 0;
    for (sql, is_surely_answered) in [
        (format!("select {}", vec!["1"; all].join(" + ")), true),
        (format!("select {} from logs limit 1", vec!["service"; half].join(" || ")), true),
        (format!("select {} true", "not ".repeat(all)), false),
        (format!("select {}1", "- ".repeat(all)), false),
        (format!("select 1 {}", "is null ".repeat(half)), false),
        (format!("select '1' {}", "::varchar ".repeat(half)), false),
        (format!("select count(*) from logs where {}", any("service = 'auth'", third)), true),
        (format!("select count(*) from logs where {}", any("length(message) > 3", third)), true),
        (
            format!("select {}0{}", "case when true then 1 else ".repeat(all / 5), " end".repeat(all / 5)),
            false,
        ),
        (vec!["select 1"; half / 2].join(" union all "), true),
        (format!("select interval {}'1 day'", "interval ".repeat(all)), false),
        (format!("{} select 1", "explain ".repeat(all)), false),
        (format!("select '1'::int{}", "[]".repeat(half)), false),
        (format!("select 1 {}", "collate x ".repeat(all)), false),
        (format!("select service{} from logs", "[1]".repeat(half)), false),
    ] {
        let found = run(&sql);
        assert!(!is_surely_answered || found.is_ok(), "{}: {:?}", &sql[..60], found.err());
        answered += usize::from(found.is_ok());
    }
    assert!(answered >= 5, "{answered}");
}

#[test]
fn a_column_that_is_used_twice_at_each_step_is_planned_once_at_each() {
    let steps: String =
        (1..60).map(|n| format!(", t{n} as (select x + x - x as x from t{})", n - 1)).collect();
    let first = "with t0 as (select cast(length(message) as bigint) as x from logs)";
    for (last, expected) in [
        ("select max(x) from t59", 18),
        ("select x from t59 order by x desc limit 1", 18),
        ("select max(a.x) from t59 a join (select 18 as x) b on a.x = b.x", 18),
    ] {
        let answer = run(&format!("{first}{steps} {last}")).expect("an answer");
        assert_eq!(answer.rows, [[Value::Int(expected)]], "{last}");
    }
}

#[test]
fn the_examples_of_the_reference_can_be_run() {
    let page = include_str!("../../../docs/sql.md");
    let examples: Vec<&str> =
        page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 4);
    for example in examples {
        run(example).unwrap_or_else(|error| panic!("{example}: {error}"));
    }
}

/// An engine over this many log records, with the least memory there is.
fn crowded(dir: &tempfile::TempDir, rows: usize, spill_bytes_max: u64) -> SqlEngine {
    let store = Store::open(Arc::new(OsDisk), &dir.path().join("store"), StoreConfig::default());
    let store = Arc::new(store.expect("opens"));
    for seq in 1..=10 {
        store.append(&Tenant::default(), batch(seq, rows / 10));
    }
    let config = SqlConfig { memory_bytes: 0, spill_dir: dir.path().join("spill"), spill_bytes_max };
    SqlEngine::new(Engine::new(store), &config).expect("an engine")
}

/// Every second row by an order that nothing has prepared.
const EVERY_SECOND: &str = "select count(*) from
    (select id, row_number() over (order by message || id) as place from logs) where place % 2 = 0";

#[test]
fn what_does_not_fit_in_memory_goes_through_disk_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let sql = crowded(&dir, 200_000, 1 << 30);
    let found = sql.run(&request(EVERY_SECOND), &Control::default(), RunLimits::default()).unwrap();
    assert_eq!(shown(&found.rows), ["100000"]);
    let is_told = found.stats.notes.iter().any(|note| note.contains("went through disk"));
    assert!(is_told && !found.stats.partial, "{:?}", found.stats);
    let left = std::fs::read_dir(dir.path().join("spill")).unwrap();
    let left: Vec<_> = left.flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap()).collect();
    assert!(left.is_empty(), "spilled files stay: {left:?}");
}

#[test]
fn without_room_on_disk_either_a_statement_fails_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let sql = crowded(&dir, 200_000, 1 << 20);
    let error = sql.run(&request(EVERY_SECOND), &Control::default(), RunLimits::default()).unwrap_err();
    assert!(matches!(error, SqlError::TooMuchMemory(_)), "{error:?}");
}

#[test]
fn spans_are_a_table_that_joins_logs_on_the_trace() {
    let joined = check(
        "select s.service, s.status, count(*) as n, max(s.duration_ms) as d from spans s \
         join logs l on l.trace_id = s.trace_id where s.status = 'error' group by s.service, s.status",
    );
    assert_eq!(joined.rows.len(), 2);
    check("select name, trace_id, span_id, parent_span_id, timestamp, id from spans where duration_ms > 3");
    check(
        "select l.message from logs l where l.trace_id in (select trace_id from spans where status = 'error')",
    );
}
