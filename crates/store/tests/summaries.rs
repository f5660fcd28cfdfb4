//! Summaries against a slow count over the same records, partly in segments, partly merged, partly in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use heimdall_journal::disk::{Disk, ForgetfulDisk};
use heimdall_model::schema::logs;
use heimdall_model::{
    Batch, BatchBuilder, Dataset, Filter, Level, Literal, Position, Row, Target, Tenant, Test, Timestamp,
};
use heimdall_store::summary::{Classes, Latency, Sought, SummaryValue};
use heimdall_store::{
    Bin, Control, CountsBy, Covered, Rest, RowBlock, ScanRequest, ServiceLatency, Store, StoreConfig,
    TimeRange, has_latency,
};
use proptest::prelude::*;

const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;
const STATUSES: [&str; 8] = ["200", "\"404\"", "503", "500.0", "[200]", "\"ok\"", "99", "null"];

fn tenant() -> Tenant {
    Tenant::default()
}

/// Rows over a day and a half, decided by `seed`; `odd` lets statuses be of no class.
fn batch(seq: u64, seed: u64, rows: usize, odd: bool) -> Batch {
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(0));
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |n: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % n
    };
    let small = |n: u64| usize::try_from(n).expect("small");
    for _ in 0..rows {
        builder.set_int(logs::TIMESTAMP, i64::try_from(next(2_160)).expect("small") * MINUTE - 5 * HOUR + 7);
        if next(5) > 0 {
            builder.set_text(logs::SERVICE, ["auth", "billing", "Core-DB"][small(next(3))]);
        }
        if next(4) > 0 {
            builder.set_level(Level::ALL[small(next(6))]);
        }
        builder
            .set_text(logs::MESSAGE, ["connection refused", "user 7 logged in", "disk full"][small(next(3))]);
        if next(4) > 0 {
            builder.set_text(logs::USER_ID, &format!("u{}", next(40)));
        }
        if next(3) > 0 {
            let hundredths = f64::from(u32::try_from(next(1_000_000)).expect("small"));
            builder.set_float(logs::DURATION_MS, hundredths / 100.0);
        }
        if next(5) > 0 {
            let status = STATUSES[small(next(if odd { 8 } else { 3 }))];
            builder.set_text(
                logs::ATTRIBUTES,
                &format!(r#"{{"status":{status},"zone":{{"name":"z{}"}}}}"#, next(3)),
            );
        }
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(seq, 0);
    batch
}

fn attribute(row: &Row<'_>, path: &str) -> Option<serde_json::Value> {
    row.attribute(path).map(|value| value.to_value().to_json())
}

/// The class of a row's status, the slow way; `None` for a status of no class.
fn class(row: &Row<'_>) -> Option<usize> {
    let Some(status) = attribute(row, "status") else { return Some(0) };
    let text = match &status {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(n) if n.is_u64() => n.to_string(),
        _ => return None,
    };
    let number: usize = text.parse().ok().filter(|_| text.len() == 3)?;
    (100..600).contains(&number).then_some(number / 100)
}

fn user(value: SummaryValue<'_>) -> Option<String> {
    match value {
        SummaryValue::Null => None,
        SummaryValue::Text(text) => Some(text.to_owned()),
        other => panic!("{other:?} is no user"),
    }
}

struct World {
    store: Arc<Store>,
    batches: Vec<Batch>,
}

impl World {
    fn new(seeds: &[(u64, bool)], flushed: usize, merges: bool) -> World {
        let disk: Arc<dyn Disk> = Arc::new(ForgetfulDisk::default());
        let config = StoreConfig {
            retention: std::time::Duration::ZERO,
            cube_fields: ["user_id", "status", "zone.name", "level", "user_id", "nothing"]
                .map(str::to_owned)
                .to_vec(),
            ..StoreConfig::default()
        };
        let store = Arc::new(Store::open(disk, Path::new("/data/store"), config).expect("opens"));
        let mut batches = Vec::new();
        for (seq, (seed, odd)) in (1..).zip(seeds) {
            let mut batch = batch(seq, *seed, 120, *odd);
            store.assign_templates(&tenant(), &mut batch);
            store.append(&tenant(), batch.clone());
            batches.push(batch);
            if batches.len() <= flushed {
                assert!(store.freeze(seq, Vec::new));
                store.commit_frozen().expect("commits");
            }
        }
        if merges {
            store.upkeep(Timestamp(0), &|| ControlFlow::Continue(())).expect("keeps");
        }
        World { store, batches }
    }

    /// Hands the rows that are left to be scanned to `each`; returns how many.
    fn scan(&self, rest: &Rest, each: &mut dyn FnMut(&RowBlock, usize)) -> u64 {
        let request = ScanRequest {
            tenant: tenant(),
            dataset: Dataset::Logs,
            range: rest.range,
            filter: Filter::All,
            fields: None,
        };
        let mut rows = 0;
        let each = &mut |block: &RowBlock| {
            rows += block.rows() as u64;
            (0..block.rows()).for_each(|row| each(block, row));
            ControlFlow::Continue(())
        };
        self.store.scan_in(&rest.view, &request, &Control::default(), each).expect("scans");
        rows
    }

    fn rows(&self, range: TimeRange) -> impl Iterator<Item = Row<'_>> {
        let rows = self.batches.iter().flat_map(Batch::iter);
        rows.filter(move |row| range.from <= row.timestamp() && row.timestamp() < range.to)
    }
}

fn sum<K: Ord>(items: impl Iterator<Item = (K, u64)>) -> BTreeMap<K, u64> {
    items.fold(BTreeMap::new(), |mut sums, (key, count)| {
        *sums.entry(key).or_default() += count;
        sums
    })
}

/// Rows, durations and their distribution by bin and service: what is known with what is left to be scanned is all there is.
fn check_durations(world: &World, range: TimeRange, bin: Option<Bin>) -> Result<Looked, TestCaseError> {
    type Key = (Timestamp, Option<String>);
    let start = |time: Timestamp| bin.map_or(range.from, |bin| bin.start(time));
    let view = world.store.view(&tenant(), Dataset::Logs);
    let Covered { found, rest } = view.latency(range, bin).expect("reads");
    let mut by_key: BTreeMap<Key, Latency> = BTreeMap::new();
    for ServiceLatency { time, service, latency } in found {
        let old = by_key.insert((time, service.as_deref().map(str::to_owned)), latency);
        prop_assert_eq!(old, None, "each once");
    }
    let mut looked = Looked { known: by_key.values().map(|latency| latency.rows).sum(), scanned: 0 };
    for rest in &rest {
        looked.scanned += world.scan(rest, &mut |block, row| {
            let service = block.text(logs::SERVICE, row).map(str::to_owned);
            let latency = by_key.entry((start(block.timestamp(row)), service)).or_default();
            latency.add_row(block.float(logs::DURATION_MS, row));
        });
    }
    let mut expected: BTreeMap<Key, Latency> = BTreeMap::new();
    for row in world.rows(range) {
        let key = (start(row.timestamp()), row.text(logs::SERVICE).map(str::to_owned));
        expected.entry(key).or_default().add_row(row.float(logs::DURATION_MS));
    }
    prop_assert_eq!(by_key.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (latency, expected) in by_key.values().zip(expected.values()) {
        prop_assert_eq!((latency.rows, latency.count), (expected.rows, expected.count));
        prop_assert!((latency.sum - expected.sum).abs() <= 1e-9 * expected.sum);
        prop_assert_eq!(&latency.buckets, &expected.buckets);
        if latency.count > 0 {
            prop_assert_eq!((latency.min, latency.max), (expected.min, expected.max));
        }
    }
    Ok(looked)
}

/// Rows by bin and template, likewise.
fn check_templates(world: &World, range: TimeRange, bin: Option<Bin>) -> Result<Looked, TestCaseError> {
    let start = |time: Timestamp| bin.map_or(range.from, |bin| bin.start(time));
    let template = |id: Option<i64>| u32::try_from(id.expect("assigned")).expect("small");
    let view = world.store.view(&tenant(), Dataset::Logs);
    let Covered { found: mut counts, rest } = view.template_counts(range, bin).expect("reads");
    let mut looked = Looked { known: counts.values().sum(), scanned: 0 };
    for rest in &rest {
        looked.scanned += world.scan(rest, &mut |block, row| {
            let key = (start(block.timestamp(row)), template(block.int(logs::TEMPLATE_ID, row)));
            *counts.entry(key).or_default() += 1;
        });
    }
    let expected =
        world.rows(range).map(|row| ((start(row.timestamp()), template(row.int(logs::TEMPLATE_ID))), 1));
    prop_assert_eq!(counts, sum(expected));
    Ok(looked)
}

/// Rows that were known of, and that were looked at.
#[derive(Debug, PartialEq)]
struct Looked {
    known: u64,
    scanned: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn summaries_say_what_counting_says(
        seeds in prop::collection::vec((1..1_000_000_u64, any::<bool>()), 1..9),
        flushed in 0..9_usize,
        merges: bool,
        bounds in (-400..2_000_i64, 1..1_500_i64),
        open in 0..4_u8,
        span in prop::sample::select(vec![None, Some(7 * MINUTE), Some(HOUR), Some(6 * HOUR), Some(7 * 24 * HOUR)]),
    ) {
        let world = World::new(&seeds, flushed, merges);
        let view = world.store.view(&tenant(), Dataset::Logs);
        let bin = span.map(|span_ns| Bin { span_ns });
        let start = |range: TimeRange, time: Timestamp| bin.map_or(range.from, |bin| bin.start(time));
        let range_of = |unit: i64, from: i64, len: i64| TimeRange {
            from: if open & 1 == 1 { TimeRange::ALL.from } else { Timestamp(from * unit) },
            to: if open & 2 == 2 { TimeRange::ALL.to } else { Timestamp((from + len) * unit) },
        };

        // Counts, by whatever is asked for.
        let minutes = range_of(MINUTE, bounds.0, bounds.1);
        for (service, level) in [(false, false), (true, false), (true, true)] {
            let mut found = BTreeMap::new();
            view.counts(minutes, CountsBy { bin, service, level }, &mut |time, service, level, count| {
                let old = found.insert((time, service.map(str::to_owned), level), count);
                assert_eq!(old, None, "each once");
            }).expect("counts");
            let expected = sum(world.rows(minutes).map(|row| {
                let service = row.text(logs::SERVICE).filter(|_| service).map(str::to_owned);
                ((start(minutes, row.timestamp()), service, row.level().filter(|_| level)), 1)
            }));
            prop_assert_eq!(found, expected);
        }

        // Durations, by minutes.
        check_durations(&world, minutes, bin)?;
        check_durations(&world, TimeRange { from: Timestamp(minutes.from.0.saturating_add(11)), ..minutes }, bin)?;

        // Templates, by minutes.
        check_templates(&world, minutes, bin)?;
        check_templates(&world, TimeRange { from: Timestamp(minutes.from.0.saturating_add(11)), ..minutes }, bin)?;

        // Cubes; what they do not cover is scanned.
        for by_class in [false, true] {
            let covered = view.cubes(&Target::Field(logs::USER_ID), minutes, by_class).expect("reads");
            let classes = if by_class { Classes::those(|class| class == 5 || class == 0) } else { Classes::ALL };
            let values = || {
                let mut found = BTreeMap::new();
                covered.found.values(Sought::ALL, classes, &mut |value, count| {
                    assert_eq!(found.insert(user(value), count), None, "each value once");
                    true
                }).expect("merges");
                found
            };
            let mut found = values();
            // The second time cubes of a day are kept added up, the third time these are asked.
            prop_assert_eq!(&values(), &found);
            prop_assert_eq!(&values(), &found);
            let shares = covered.found.fold(Sought::ALL, classes, &BTreeMap::new, &|share, value, count| {
                share.insert(user(value), count);
                true
            }).expect("merges");
            prop_assert_eq!(&shares.into_iter().flatten().collect::<BTreeMap<_, _>>(), &found);
            if let Some((name, count)) = found.iter().find_map(|(name, count)| Some((name.as_ref()?, count))) {
                let mut one = None;
                covered.found.values(Sought::equal_to(name), classes, &mut |value, count| {
                    one = one.or((user(value).as_deref() == Some(name)).then_some(count));
                    true
                }).expect("merges");
                prop_assert_eq!(one, Some(*count));
            }
            for rest in &covered.rest {
                world.scan(rest, &mut |block, row| {
                    let status = block.attribute("status", row).map(|value| value.to_value().to_json());
                    let is_wanted = !by_class
                        || status.is_none()
                        || status.is_some_and(|status| status == 503);
                    if is_wanted {
                        *found.entry(block.text(logs::USER_ID, row).map(str::to_owned)).or_default() += 1;
                    }
                });
            }
            let expected = sum(world
                .rows(minutes)
                .filter(|row| !by_class || matches!(class(row), Some(0 | 5)))
                .map(|row| (row.text(logs::USER_ID).map(str::to_owned), 1)));
            prop_assert_eq!(found, expected);
        }

        // Statistics of the whole table.
        let statistics = world.store.field_statistics(&tenant(), Dataset::Logs, TimeRange::ALL).expect("reads");
        let all = || world.rows(TimeRange::ALL);
        let of = |name: &str| statistics.iter().find(|field| field.name == name).expect("is there");
        let users: BTreeSet<_> = all().filter_map(|row| row.text(logs::USER_ID).map(str::to_owned)).collect();
        let zones = all().filter(|row| attribute(row, "zone.name").is_some()).count() as u64;
        prop_assert_eq!(of("user_id").distinct, Some(users.len() as u64));
        prop_assert_eq!(of("service").rows, all().filter(|row| row.text(logs::SERVICE).is_some()).count() as u64);
        prop_assert_eq!((of("zone.name").rows, of("zone.name").distinct), (zones, Some(3)));
        prop_assert_eq!(of("zone.name").types.names().collect::<Vec<_>>(), ["text"]);
        prop_assert_eq!(of("zone").types.names().collect::<Vec<_>>(), ["object"]);
    }
}

/// Rows of two services, some of them slow, evenly over so many minutes from `START` on.
fn dense(seq: u64, minutes: i64, rows_a_minute: i64) -> Batch {
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(START));
    for row in 0..minutes * rows_a_minute {
        builder.set_int(logs::TIMESTAMP, START + row * MINUTE / rows_a_minute);
        builder.set_text(logs::SERVICE, ["auth", "billing"][usize::from(row % 3 == 0)]);
        builder.set_text(logs::MESSAGE, "disk full");
        builder.set_float(
            logs::DURATION_MS,
            f64::from(u32::try_from(row * 7_919 % 10_007).expect("small")) / 8.0,
        );
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(seq, 0);
    batch
}

/// 20 minutes before the end of an hour.
const START: i64 = 40 * MINUTE;

fn dense_world(batches: &[Batch], merges: bool) -> World {
    let mut world = World::new(&[], 0, false);
    for (seq, batch) in (1..).zip(batches) {
        let mut batch = batch.clone();
        world.store.assign_templates(&tenant(), &mut batch);
        world.store.append(&tenant(), batch.clone());
        assert!(world.store.freeze(seq, Vec::new));
        world.store.commit_frozen().expect("commits");
        world.batches.push(batch);
    }
    if merges {
        world.store.upkeep(Timestamp(0), &|| ControlFlow::Continue(())).expect("keeps");
    }
    world
}

#[test]
fn where_rows_are_dense_a_range_that_cuts_an_hour_leaves_less_than_its_ends_to_be_scanned() {
    // 25 minutes, 20 of which are before the hour; 4,000 rows each.
    let world = dense_world(&[dense(1, 25, 4_000)], false);
    let looked = |from: i64, to: i64, bin: Option<i64>| {
        let range = TimeRange { from: Timestamp(from), to: Timestamp(to) };
        let bin = bin.map(|span_ns| Bin { span_ns });
        check_durations(&world, range, bin).expect("right")
    };
    let at = |minutes: i64| START + minutes * MINUTE;
    assert_eq!(looked(at(0), at(25), None), Looked { known: 100_000, scanned: 0 });
    assert_eq!(looked(at(3), at(23), None), Looked { known: 80_000, scanned: 0 });
    assert_eq!(looked(at(3) - MINUTE / 2, at(23), Some(HOUR)), Looked { known: 80_000, scanned: 2_000 });
    assert_eq!(
        looked(at(3) - MINUTE / 4, at(23) + MINUTE / 4, Some(MINUTE)),
        Looked { known: 80_000, scanned: 2_000 }
    );
    assert_eq!(looked(at(3) + 1, at(4), None), Looked { known: 0, scanned: 3_999 });
    // Half a minute is no span of anything.
    assert_eq!(looked(at(0), at(25), Some(MINUTE / 2)), Looked { known: 0, scanned: 100_000 });
    let cut = TimeRange { from: Timestamp(at(3) - MINUTE / 4), to: Timestamp(at(23)) };
    for bin in [None, Some(Bin { span_ns: 5 * MINUTE })] {
        let looked = check_templates(&world, cut, bin).expect("right");
        assert_eq!(looked, Looked { known: 80_000, scanned: 1_000 });
    }
}

#[test]
fn sparse_rows_are_told_apart_by_longer_spans_and_very_sparse_ones_by_hours() {
    let looked = |rows_a_minute: i64, merges: bool| {
        let batches: Vec<Batch> = (1..5).map(|seq| dense(seq, 25, rows_a_minute)).collect();
        let world = dense_world(&batches, merges);
        let range = TimeRange { from: Timestamp(START + 2 * MINUTE), to: Timestamp(START + 24 * MINUTE) };
        check_durations(&world, range, None).expect("right")
    };
    // Spans of 5 minutes in each of four segments, and of one in the one they are merged to.
    assert_eq!(looked(1_000, false), Looked { known: 60_000, scanned: 28_000 });
    assert_eq!(looked(1_000, true), Looked { known: 88_000, scanned: 0 });
    // No spans: the first 20 minutes are the hour's, of which no row lies before the range, but for those that do.
    assert_eq!(looked(50, false), Looked { known: 0, scanned: 4_400 });
}

#[test]
fn rows_in_memory_whose_durations_are_given_up_are_left_to_be_scanned() {
    let world = World::new(&[], 0, false);
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(0));
    for duration in [7.0, f64::INFINITY] {
        builder.set_int(logs::TIMESTAMP, START);
        builder.set_float(logs::DURATION_MS, duration);
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(1, 0);
    world.store.append(&tenant(), batch);
    let view = world.store.view(&tenant(), Dataset::Logs);
    for bin in [None, Some(Bin { span_ns: HOUR }), Some(Bin { span_ns: MINUTE })] {
        let Covered { found, rest } = view.latency(TimeRange::ALL, bin).expect("reads");
        let left: u64 = rest.iter().map(|rest| world.scan(rest, &mut |_, _| {})).sum();
        assert_eq!((found, left), (Vec::new(), 2));
    }
}

#[test]
fn a_declared_attribute_and_a_level_have_cubes_and_an_undeclared_field_has_none() {
    let world = World::new(&[(1, true), (2, true)], 1, false);
    let view = world.store.view(&tenant(), Dataset::Logs);
    let count = |target: &Target| {
        let covered = view.cubes(target, TimeRange::ALL, false).expect("reads");
        let (mut values, mut rows) = (Vec::new(), 0);
        covered
            .found
            .values(Sought::ALL, Classes::ALL, &mut |value, count| {
                values.push(format!("{value:?}"));
                rows += count;
                true
            })
            .expect("merges");
        values.sort();
        (covered.rest.is_empty(), rows, values)
    };
    let (whole, rows, zones) = count(&Target::Attribute("zone.name".to_owned()));
    assert_eq!((whole, rows), (true, 240));
    assert_eq!(zones, ["Null", "Text(\"z0\")", "Text(\"z1\")", "Text(\"z2\")"]);
    let (_, rows, statuses) = count(&Target::Attribute("status".to_owned()));
    assert_eq!(rows, 240);
    assert!(statuses.contains(&"Int(500)".to_owned()) && statuses.contains(&"Json(\"[200]\")".to_owned()));
    assert_eq!(count(&Target::Field(logs::LEVEL)).1, 240);
    assert_eq!(count(&Target::Attribute("nothing".to_owned())), (true, 240, vec!["Null".to_owned()]));
    assert_eq!(count(&Target::Field(logs::HOST)), (false, 0, Vec::new()));
    assert!(
        has_latency(Dataset::Logs, logs::DURATION_MS) && !has_latency(Dataset::Metrics, logs::DURATION_MS)
    );
}

#[test]
fn cubes_added_up_before_anybody_asks_say_the_same_and_stop_when_told() {
    let seeds: Vec<(u64, bool)> = (1..9).map(|seed| (seed, true)).collect();
    let (cold, kept) = (World::new(&seeds, 6, false), World::new(&seeds, 6, false));
    assert_eq!(kept.store.keep_cubes(&|| false).expect("reads"), 0);
    // Six segments of one day; five fields are declared, one of which no record has.
    assert_eq!(kept.store.keep_cubes(&|| true).expect("reads"), 5);
    let users = |world: &World| {
        let view = world.store.view(&tenant(), Dataset::Logs);
        let covered = view.cubes(&Target::Field(logs::USER_ID), TimeRange::ALL, false).expect("reads");
        let mut found = BTreeMap::new();
        let each = &mut |value: SummaryValue<'_>, rows| found.insert(user(value), rows).is_none();
        covered.found.values(Sought::ALL, Classes::ALL, each).expect("reads");
        found
    };
    assert_eq!(users(&kept), users(&cold));
}

/// A store as it was written before cubes told hours apart: 400 generated lines of a day, catalog and detectors' state left out.
/// Its cubes answer for the whole segment; of a part of it they know nothing before it is written anew.
#[test]
fn cubes_of_segments_written_before_they_knew_hours_are_read() {
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cubes-without-hours");
    let dir = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(written).expect("reads") {
        let path = entry.expect("reads").path();
        std::fs::copy(&path, dir.path().join(path.file_name().expect("has one"))).expect("copies");
    }
    let disk = Arc::new(heimdall_journal::disk::OsDisk);
    let config = StoreConfig { retention: std::time::Duration::ZERO, ..StoreConfig::default() };
    let store = Arc::new(Store::open(disk, dir.path(), config).expect("opens"));
    let users = |range: TimeRange| {
        let view = store.view(&tenant(), Dataset::Logs);
        let covered = view.cubes(&Target::Field(logs::USER_ID), range, false).expect("reads");
        let mut found = BTreeMap::new();
        let each = &mut |value: SummaryValue<'_>, rows| found.insert(user(value), rows).is_none();
        covered.found.values(Sought::ALL, Classes::ALL, each).expect("reads");
        (found, covered.rest)
    };
    let counted = |range: TimeRange| {
        let request = ScanRequest {
            tenant: tenant(),
            dataset: Dataset::Logs,
            range,
            filter: Filter::All,
            fields: Some(vec![logs::USER_ID]),
        };
        let mut found = BTreeMap::new();
        let mut each = |block: &heimdall_store::RowBlock| {
            for row in 0..block.rows() {
                *found.entry(block.text(logs::USER_ID, row).map(str::to_owned)).or_default() += 1_u64;
            }
            ControlFlow::Continue(())
        };
        store.scan(&request, &Control::default(), &mut each).expect("scans");
        found
    };
    let (found, rest) = users(TimeRange::ALL);
    assert_eq!((&found, rest.len()), (&counted(TimeRange::ALL), 0));
    assert_eq!(found.values().sum::<u64>(), 400);
    // 2026-11-27T00:00:00Z to 06:00:00Z.
    let night = TimeRange {
        from: Timestamp(1_795_737_600_000_000_000),
        to: Timestamp(1_795_737_600_000_000_000 + 6 * HOUR),
    };
    let (found, rest) = users(night);
    assert_eq!((found.len(), rest.len(), rest[0].range), (0, 1, night));
    // Written anew, without one of its users, it tells hours apart.
    let name = counted(TimeRange::ALL).into_keys().flatten().next().expect("there are some");
    let request = ScanRequest {
        tenant: tenant(),
        dataset: Dataset::Logs,
        range: TimeRange::ALL,
        filter: Filter::Test(Target::Field(logs::USER_ID), Test::Equals(Literal::new(&name))),
        fields: None,
    };
    let report = store.erase(&request, Timestamp(0), false, heimdall_store::UNHURRIED).expect("erases");
    assert_eq!((report.segments.len(), report.remaining), (1, 0));
    let (found, rest) = users(night);
    assert_eq!((found, rest.len()), (counted(night), 0));
}
