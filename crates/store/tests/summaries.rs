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
use heimdall_store::summary::{Classes, Sought, SummaryValue};
use heimdall_store::{Bin, Control, CountsBy, ScanRequest, Store, StoreConfig, TimeRange, has_latency};
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

        // Durations and templates, by hours.
        let hours = range_of(HOUR, bounds.0 / 60, bounds.1 / 60 + 1);
        let bin = bin.filter(|bin| bin.span_ns % HOUR == 0);
        let start = |time: Timestamp| bin.map_or(hours.from, |bin| bin.start(time));
        let latency = view.latency(hours, bin).expect("reads");
        prop_assert!(latency.rest.is_empty());
        let found: BTreeMap<_, _> = latency.found.iter().map(|found| {
            ((found.time, found.service.as_deref().map(str::to_owned)), &found.latency)
        }).collect();
        let mut expected: BTreeMap<(Timestamp, Option<String>), Vec<Option<f64>>> = BTreeMap::new();
        for row in world.rows(hours) {
            let key = (start(row.timestamp()), row.text(logs::SERVICE).map(str::to_owned));
            expected.entry(key).or_default().push(row.float(logs::DURATION_MS));
        }
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (key, durations) in &expected {
            let latency = found[key];
            let mut present: Vec<f64> = durations.iter().flatten().copied().collect();
            present.sort_by(f64::total_cmp);
            prop_assert_eq!((latency.rows, latency.count), (durations.len() as u64, present.len() as u64));
            let total: f64 = present.iter().sum();
            prop_assert!((latency.sum - total).abs() <= 1e-9 * total);
            if let (Some(first), Some(last)) = (present.first(), present.last()) {
                prop_assert_eq!((latency.min, latency.max), (*first, *last));
                let median = present[present.len().div_ceil(2) - 1];
                let mut sketch = heimdall_store::summary::Sketch::default();
                sketch.merge(&latency.buckets);
                let estimate = sketch.quantile(0.5).expect("not empty");
                prop_assert!((estimate - median).abs() <= 0.01 * median, "{} for {}", estimate, median);
            }
        }
        let expected = sum(world.rows(hours).map(|row| {
            let template = u32::try_from(row.int(logs::TEMPLATE_ID).expect("assigned")).expect("small");
            ((start(row.timestamp()), template), 1)
        }));
        prop_assert_eq!(view.template_counts(hours, bin).expect("reads"), expected);

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
            let request = ScanRequest {
                tenant: tenant(),
                dataset: Dataset::Logs,
                range: rest.range,
                filter: Filter::All,
                fields: None,
            };
            world.store.scan_in(&rest.view, &request, &Control::default(), &mut |block| {
                for row in 0..block.rows() {
                    let status = block.attribute("status", row).map(|value| value.to_value().to_json());
                    let is_wanted = !by_class
                        || status.is_none()
                        || status.is_some_and(|status| status == 503);
                    if is_wanted {
                        *found.entry(block.text(logs::USER_ID, row).map(str::to_owned)).or_default() += 1;
                    }
                }
                ControlFlow::Continue(())
            }).expect("scans");
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
