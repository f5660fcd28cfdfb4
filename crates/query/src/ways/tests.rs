//! Every way gives what a scan gives, over records that lie partly in segments and partly in the memtable.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use heimdall_journal::disk::OsDisk;
use heimdall_model::filter::{Compare, Literal, Test};
use heimdall_model::schema::logs;
use heimdall_model::{BatchBuilder, Level, Position, Tenant, Timestamp, Value};
use heimdall_store::{Control, Store, StoreConfig};
use proptest::prelude::{Just, ProptestConfig, any, prop, prop_oneof, proptest};

use super::*;
use crate::engine::Rows;
use crate::{Engine, ParseContext, Query, RunLimits, search};

/// 2026-03-01T12:00:00Z.
const START: i64 = 1_772_366_400_000_000_000;
const HOURS: i64 = 6;

struct World {
    engine: Engine,
    _dir: tempfile::TempDir,
}

fn batch(seq: u64, hours: std::ops::Range<i64>) -> heimdall_model::Batch {
    // Both zeros, and numbers in several forms.
    const SIZES: [&str; 9] = ["0", "-0.0", "0.0", "5", "5.0", "\"5\"", "1.5", "-3", "7e0"];
    const STATUSES: [&str; 6] = ["200", "\"404\"", "503", "500", "301", "null"];
    let mut x = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |below: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % below
    };
    let small = |n: u64| usize::try_from(n).expect("small");
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(START));
    let length = (hours.end - hours.start) * HOUR_NS;
    for _ in 0..300 {
        let within = i64::try_from(roll(length.cast_unsigned())).expect("fits");
        builder.set_int(logs::TIMESTAMP, START + hours.start * HOUR_NS + within);
        if roll(6) > 0 {
            builder.set_text(logs::SERVICE, ["auth", "billing", "Core-DB"][small(roll(3))]);
        }
        if roll(5) > 0 {
            builder.set_level(Level::ALL[small(roll(6))]);
        }
        let message = ["connection refused by db_7", "user 7 logged in", "disk full"][small(roll(3))];
        builder.set_text(logs::MESSAGE, message);
        if roll(4) > 0 {
            builder.set_text(logs::USER_ID, &format!("u{}", roll(40)));
        }
        if roll(3) > 0 {
            builder
                .set_float(logs::DURATION_MS, f64::from(u32::try_from(roll(100_000)).expect("small")) / 8.0);
        }
        // Statuses of no class in one batch only: its cubes cannot be asked by class.
        let status = if seq == 2 && roll(9) == 0 { "\"ok\"" } else { STATUSES[small(roll(6))] };
        if roll(5) > 0 {
            let text = format!(r#"{{"status":{status},"size":{}}}"#, SIZES[small(roll(9))]);
            builder.set_text(logs::ATTRIBUTES, &text);
        }
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(seq, 0);
    batch
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let config = StoreConfig {
        scan_threads: 2,
        scan_unit_rows: 1,
        retention: std::time::Duration::ZERO,
        cube_fields: ["user_id", "status", "size"].map(str::to_owned).to_vec(),
        ..StoreConfig::default()
    };
    let store = Arc::new(Store::open(Arc::new(OsDisk), dir.path(), config).expect("opens"));
    let tenant = Tenant::default();
    for (seq, hours) in (1..).zip([0..2, 1..3, 0..1, 2..5, 5..6, 0..6]) {
        let mut batch = batch(seq, hours);
        store.assign_templates(&tenant, &mut batch);
        store.append(&tenant, batch);
        if seq <= 4 {
            assert!(store.freeze(seq, Vec::new));
            store.commit_frozen().expect("commits");
        }
        if seq == 2 {
            store.upkeep(Timestamp(0), &|| ControlFlow::Continue(())).expect("keeps");
        }
    }
    World { engine: Engine::new(store), _dir: dir }
});

fn parse(line: &str, range: TimeRange) -> Query {
    let context = ParseContext {
        from: Some(range.from),
        to: Some(range.to),
        ..ParseContext::new(Tenant::default(), Dataset::Logs, Timestamp(START + HOURS * HOUR_NS))
    };
    search::parse(line, &context).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// The answer by every way, the cheapest first.
fn by_every_way(query: &Query) -> Vec<(Strategy, Rows)> {
    WORLD.engine.run_every_way(query, &Control::default(), RunLimits::default()).expect("runs")
}

fn is_near(a: &Value, b: &Value, relative: f64) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= relative * a.abs().max(b.abs()) + 1e-9,
        _ => a.total_cmp(b).is_eq(),
    }
}

fn check_every_way(line: &str, range: TimeRange) -> Vec<Strategy> {
    let query = parse(line, range);
    let found = by_every_way(&query);
    let scanned = found.iter().find(|(strategy, _)| matches!(strategy, Strategy::Scan | Strategy::Count));
    let (_, expected) = scanned.expect("rows can always be looked at");
    for (strategy, rows) in &found {
        assert_eq!(rows.len(), expected.len(), "{line} by {strategy:?}: {rows:?}, not {expected:?}");
        for (row, other) in rows.iter().zip(expected) {
            let near = if line.contains("p9") || line.contains("p50") { 0.011 } else { 1e-9 };
            let same = row.iter().zip(other).all(|(a, b)| is_near(a, b, near));
            assert!(same, "{line} by {strategy:?}: {row:?}, not {other:?}");
        }
    }
    found.into_iter().map(|(strategy, _)| strategy).collect()
}

const FILTERS: [&str; 20] = [
    "*",
    "service:auth",
    "service!=auth level>=warn",
    "-service:*",
    "level:error",
    "status>=500",
    "status<400",
    "user_id:u1*",
    "user_id:u7 status:4*",
    "-status:*",
    "\"connection refused\"",
    "refused -disk",
    "template:*disk*",
    "status:404",
    "size>=0",
    "size<=-0",
    "size:0",
    "size:-0.0",
    "size:5*",
    "size>abc",
];
const AGGREGATES: [&str; 18] = [
    "count()",
    "rate()",
    "p99(duration_ms)",
    "p50(duration_ms)",
    "avg(duration_ms)",
    "sum(duration_ms)",
    "min(duration_ms)",
    "max(duration_ms)",
    "count(duration_ms)",
    "dc(user_id)",
    "count(user_id)",
    "dc(service)",
    "max(level)",
    "sum(size)",
    "min(size)",
    "dc(size)",
    "min(timestamp)",
    "max(timestamp)",
];
const KEYS: [&str; 13] = [
    "",
    " by service",
    " by service, level",
    " by bin(1h)",
    " by bin(10m), service",
    " by user_id",
    " by status",
    " by template",
    " by template_id, bin(1h)",
    " by size",
    " by template_id, template",
    " by template, service",
    " by level, template_id",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_way_gives_the_same_answer(
        filter in prop::sample::select(&FILTERS[..]),
        aggregates in prop::sample::subsequence(&AGGREGATES[..], 1..6),
        keys in prop::sample::select(&KEYS[..]),
        from in 0..HOURS * 4,
        quarters in 1..HOURS * 4,
        off in prop_oneof![3 => Just(0_i64), 1 => 0..HOUR_NS],
        open in any::<bool>(),
    ) {
        let quarter = HOUR_NS / 4;
        let range = if open {
            TimeRange::ALL
        } else {
            let from = START + from * quarter;
            TimeRange { from: Timestamp(from), to: Timestamp(from + quarters * quarter + off) }
        };
        check_every_way(&format!("{filter} | stats {}{keys}", aggregates.join(", ")), range);
    }
}

#[test]
fn summaries_offer_their_ways() {
    let all = TimeRange { from: Timestamp(START), to: Timestamp(START + HOURS * HOUR_NS) };
    let offers = |line: &str, strategy: Strategy| {
        let ways = check_every_way(line, all);
        assert!(ways.contains(&strategy), "{line}: {ways:?}");
    };
    offers("| stats count() by service, bin(10m)", Strategy::Rollup);
    offers("| stats p99(duration_ms), count() by service", Strategy::Sketch);
    offers("status>=500 | stats dc(user_id)", Strategy::Cube);
    offers("user_id:u1* | stats count()", Strategy::Cube);
    offers("| stats count() by status", Strategy::Cube);
    offers("| patterns", Strategy::Runs);
    offers("service:auth | patterns 2", Strategy::Runs);
    offers("level>=error | patterns", Strategy::Runs);
    offers("service:auth -level:* | stats count() by template, level", Strategy::Runs);
    offers("template:*disk* | stats count(), max(timestamp) by service", Strategy::Runs);
    offers("refused | stats count() by bin(1h)", Strategy::Templates);
    offers("| stats count(), dc(service), max(level), p99(duration_ms) by service", Strategy::Summaries);
    assert_eq!(check_every_way("refused | stats max(level)", all), [Strategy::Scan]);
    assert_eq!(check_every_way("status:404 | stats dc(user_id)", all), [Strategy::Scan]);
    let top = check_every_way("| top 5 user_id", all);
    assert!(top.contains(&Strategy::Cube), "{top:?}");
}

/// A range that cut segments had them scanned as a whole; now only what of it is no whole hour is looked at.
#[test]
fn cubes_answer_for_whole_hours_of_segments_that_a_range_cuts() {
    let scanned = |line: &str, from: i64, to: i64| {
        let range = TimeRange { from: Timestamp(START + from), to: Timestamp(START + to) };
        assert!(check_every_way(line, range).contains(&Strategy::Cube), "{line}");
        let plan = WORLD.engine.explain(&parse(line, range), RunLimits::default()).expect("explains");
        let way = plan.ways.iter().find(|way| way.strategy == Strategy::Cube).expect("is one of them");
        way.rows
    };
    for line in ["| top 3 user_id", "| stats dc(user_id), count(user_id)", "user_id:u7 | stats count()"] {
        let hours = scanned(line, HOUR_NS, 4 * HOUR_NS);
        // Three hundred and what is rounded up for each of its parts.
        assert!(hours <= 310, "{line}: {hours} rows, of the memtable alone");
        assert!(scanned(line, HOUR_NS / 2, 4 * HOUR_NS) > hours, "{line}");
        assert!(scanned(line, HOUR_NS, 4 * HOUR_NS + 1) >= hours, "{line}");
        assert!(scanned(line, HOUR_NS + 1, 2 * HOUR_NS - 1) > hours, "{line}: there is no whole hour");
    }
}

/// Segments written before runs had times are looked at row by row.
#[test]
fn segments_without_times_of_runs_are_scanned() {
    let dir = tempfile::tempdir().expect("a folder");
    let open = || Arc::new(Store::open(Arc::new(OsDisk), dir.path(), StoreConfig::default()).expect("opens"));
    let store = open();
    for seq in 1..=2 {
        let mut batch = batch(seq, 0..2);
        store.assign_templates(&Tenant::default(), &mut batch);
        store.append(&Tenant::default(), batch);
        assert!(store.freeze(seq, Vec::new));
        store.commit_frozen().expect("commits");
    }
    drop(store);
    let patterns = |at_runs: usize| {
        let engine = Engine::new(open());
        let answer = engine
            .run(&parse("| patterns", TimeRange::ALL), &Control::default(), RunLimits::default())
            .expect("answers");
        assert_eq!(answer.stats.rows_scanned, 600 - 300 * u64::try_from(at_runs).expect("few"));
        answer.rows
    };
    let by_runs = patterns(2);
    let names = std::fs::read_dir(dir.path()).expect("reads").map(|entry| entry.expect("reads").path());
    let sidecars: Vec<_> = names.filter(|path| path.extension().is_some_and(|end| end == "hidx")).collect();
    for (left, path) in [1, 0].into_iter().zip(&sidecars) {
        // The block gets a kind that nobody knows.
        let mut bytes = std::fs::read(path).expect("reads");
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        let end = 12 + 32 * small_size(word(&bytes, 8));
        let entry = (12..end).step_by(32).find(|at| word(&bytes, *at) == 17).expect("has times of runs");
        bytes[entry] = 18;
        let crc = crc_32c(&bytes[..end]);
        bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(path, bytes).expect("writes");
        assert_eq!(patterns(left), by_runs, "{left} segments with times");
    }
}

/// CRC-32C, bit by bit.
fn crc_32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn small_size(n: u32) -> usize {
    usize::try_from(n).expect("fits")
}

/// A zero with a sign was less than the other in a scan, and equal to it in a cube; and a number in a cube has lost its form.
#[test]
fn zeros_and_forms_of_numbers_agree() {
    let all = TimeRange { from: Timestamp(START), to: Timestamp(START + HOURS * HOUR_NS) };
    let count = |line: &str| {
        let ways = by_every_way(&parse(&format!("{line} | stats count()"), all));
        let rows: Vec<_> = ways.iter().map(|(_, rows)| rows[0][0].as_f64().expect("a number")).collect();
        assert!(rows.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.5), "{line}: {ways:?}");
        rows[0]
    };
    let is = |a: f64, b: f64| assert!((a - b).abs() < 0.5 && a > 0.0, "{a} and {b}");
    is(count("size>=0"), count("size:0") + count("size>0"));
    is(count("size:0"), count("size:-0"));
    is(count("size:0"), count("size:(/^0$/ OR /^0.0$/ OR /^-0.0$/)"));
    is(count("size:5"), count("size:(/^5$/ OR /^5.0$/)"));
    check_every_way("size:0 | stats min(size), max(size), dc(size)", all);
}

#[test]
fn a_class_passes_as_a_whole_or_is_not_decided() {
    let status = |test: Test| Filter::Test(Target::Attribute(STATUS.to_owned()), test);
    let compare = |compare, text: &str| status(Test::Compare(compare, Literal::new(text)));
    let some = |wanted: &[usize]| Some(Classes::those(|class| wanted.contains(&class)));
    assert_eq!(classes_of(&compare(Compare::GreaterOrEqual, "500")), some(&[5]));
    assert_eq!(classes_of(&compare(Compare::Less, "400").negate()), some(&[0, 4, 5]));
    assert_eq!(classes_of(&compare(Compare::Greater, "500")), None);
    assert_eq!(classes_of(&status(Test::Equals(Literal::new("404")))), None);
    assert_eq!(classes_of(&status(Test::Wildcard("4*".into()))), some(&[4]));
    assert_eq!(classes_of(&status(Test::Exists)), some(&[1, 2, 3, 4, 5]));
}

#[test]
fn whole_units_keep_open_ends() {
    let range = |from, to| TimeRange { from: Timestamp(from), to: Timestamp(to) };
    assert_eq!(range(1, 10 * MINUTE_NS + 1).whole(MINUTE_NS), Some(range(MINUTE_NS, 10 * MINUTE_NS)));
    assert_eq!(range(1, MINUTE_NS + 1).whole(HOUR_NS), None);
    assert_eq!(TimeRange::ALL.whole(HOUR_NS), Some(TimeRange::ALL));
    assert_eq!(range(7, i64::MAX).whole(HOUR_NS), Some(range(HOUR_NS, i64::MAX)));
}
