//! Data as it comes: clocks that are wrong, fields that change their type, names, services and values without end, and
//! messages of a mebibyte. Nothing good is refused, answers are those of a slow reference, and what is kept beside the
//! records stays in proportion to them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use heimdall_journal::disk::OsDisk;
use heimdall_model::schema::logs;
use heimdall_model::{
    Batch, BatchBuilder, Compare, Dataset, Filter, Literal, Matcher, Position, RecordId, Target, Tenant,
    Test, Timestamp,
};
use heimdall_store::{Control, CountsBy, Order, ScanRequest, Store, StoreConfig, TimeRange};

/// 2026-03-01T12:00:00Z.
const NOW: i64 = 1_772_366_400_000_000_000;
const DAY: i64 = 86_400_000_000_000;

struct World {
    store: Arc<Store>,
    batches: Vec<Batch>,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let config = StoreConfig { retention: Duration::from_secs(30 * 86_400), ..StoreConfig::default() };
        let store = Arc::new(Store::open(Arc::new(OsDisk), dir.path(), config).expect("opens"));
        World { store, batches: Vec::new(), dir }
    }

    fn add(&mut self, rows: usize, mut set: impl FnMut(&mut BatchBuilder, usize)) {
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(NOW));
        for row in 0..rows {
            set(&mut builder, row);
            builder.end_row();
        }
        let mut batch = builder.finish();
        batch.base = Position::new(self.batches.len() as u64 + 1, 0);
        self.store.assign_templates(&Tenant::default(), &mut batch);
        self.store.append(&Tenant::default(), batch.clone());
        self.batches.push(batch);
    }

    fn flush(&self) {
        assert!(self.store.freeze(self.batches.len() as u64, Vec::new));
        self.store.commit_frozen().expect("commits");
    }

    fn keep_up(&self) {
        for _ in 0..20 {
            self.store.upkeep(Timestamp(NOW + DAY), &|| ControlFlow::Continue(())).expect("keeps up");
        }
    }

    /// Compares with the reference: ids of the rows that pass, newest first.
    #[track_caller]
    fn check(&self, filter: &Filter, range: TimeRange) -> usize {
        let matcher = Matcher::compile(filter, Dataset::Logs).expect("compiles");
        let rows = self.batches.iter().flat_map(Batch::iter);
        let mut expected: Vec<(Timestamp, Position, RecordId)> = rows
            .filter(|row| range.from <= row.timestamp() && row.timestamp() < range.to)
            .filter(|row| matcher.matches(row, None))
            .map(|row| (row.timestamp(), row.position(), row.id()))
            .collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        let request = ScanRequest {
            tenant: Tenant::default(),
            dataset: Dataset::Logs,
            range,
            filter: filter.clone(),
            fields: Some(Vec::new()),
        };
        let control = Control::default();
        let (count, _) = self.store.count(&request, &control).expect("counts");
        assert_eq!(count, expected.len() as u64, "count of {filter:?}");
        for limit in [7, expected.len()] {
            let (hits, _) =
                self.store.search(&request, Order::NewestFirst, limit, &control).expect("searches");
            let ids: Vec<RecordId> = hits.iter().map(|hit| hit.block.id(hit.row)).collect();
            let wanted: Vec<RecordId> = expected.iter().take(limit).map(|row| row.2).collect();
            assert_eq!(ids, wanted, "newest {limit} of {filter:?}");
        }
        expected.len()
    }

    /// Rows by the summaries.
    fn counted(&self, range: TimeRange) -> u64 {
        let mut rows = 0;
        let view = self.store.view(&Tenant::default(), Dataset::Logs);
        let by = CountsBy { service: true, level: true, ..CountsBy::default() };
        view.counts(range, by, &mut |_, _, _, count| rows += count).expect("counts");
        rows
    }

    /// Bytes of the files whose name ends so.
    fn bytes(&self, end: &str) -> u64 {
        let entries = std::fs::read_dir(self.dir.path()).expect("reads").map(|entry| entry.expect("reads"));
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(end));
        named.map(|entry| entry.metadata().expect("reads").len()).sum()
    }
}

fn is(name: &str, value: &str) -> Filter {
    Filter::Test(Target::resolve(Dataset::Logs, name), Test::Equals(Literal::new(value)))
}

fn above(name: &str, value: &str) -> Filter {
    Filter::Test(Target::resolve(Dataset::Logs, name), Test::Compare(Compare::Greater, Literal::new(value)))
}

fn words(text: &str) -> Filter {
    Filter::Test(Target::Field(logs::MESSAGE), Test::Words(text.into()))
}

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange { from: Timestamp(from), to: Timestamp(to) }
}

#[test]
fn clocks_may_be_wrong_and_records_late() {
    const YEAR_2100: i64 = 4_102_444_800_000_000_000;
    let mut world = World::new();
    let clocks = [NOW, 0, -DAY * 365, YEAR_2100, NOW - 5 * DAY, NOW + 3_600_000_000_000, i64::MIN + 1];
    for round in 0..6 {
        world.add(clocks.len() * 20, |builder, row| {
            let jitter = i64::try_from(row * 37 % 101).expect("small") * 1_000_000_000;
            builder.set_int(logs::TIMESTAMP, clocks[row % clocks.len()].saturating_add(jitter));
            builder.set_text(logs::SERVICE, ["a", "b"][row % 2]);
            builder.set_text(logs::MESSAGE, &format!("late {round} number {row}"));
        });
        if round % 2 == 0 {
            world.flush();
        }
    }
    let check = |world: &World| {
        for from in clocks {
            let minutes = range(from, from.saturating_add(60_000_000_000));
            assert!(world.check(&Filter::All, minutes) > 0);
            world.check(&is("service", "a"), minutes);
        }
        world.check(&words("late 3"), TimeRange::ALL);
        assert_eq!(world.check(&Filter::All, TimeRange::ALL), clocks.len() * 120);
        assert_eq!(world.counted(TimeRange::ALL), clocks.len() as u64 * 120);
    };
    check(&world);
    world.flush();
    world.keep_up();
    check(&world);
    assert_eq!(
        world.store.status().segment_rows,
        clocks.len() as u64 * 120,
        "arrived today: kept, whatever the clock"
    );
    // A clock that is decades ahead does not keep its records for decades.
    world.store.retain(Timestamp(NOW + 40 * DAY)).expect("retains");
    assert_eq!(world.store.status().segment_rows, 0);
}

#[test]
fn a_field_may_change_its_type() {
    let values = [
        "1",
        "1.0",
        "\"1\"",
        "\"one\"",
        "true",
        "[1,\"one\"]",
        "{\"deep\":1}",
        "null",
        "-7.5e3",
        "99999999999999999999",
    ];
    let mut world = World::new();
    for round in 0..4_usize {
        world.add(100, |builder, row| {
            builder.set_text(logs::MESSAGE, "m");
            // One type for a whole segment, then another, then all of them.
            let value = values[if round < 2 { round * 3 } else { row % values.len() }];
            builder.set_text(logs::ATTRIBUTES, &format!(r#"{{"k":{value},"n":{row}}}"#));
        });
        if round < 3 {
            world.flush();
        }
    }
    let check = |world: &World| {
        for value in ["1", "one", "true", "-7500", "99999999999999999999", "absent"] {
            world.check(&is("k", value), TimeRange::ALL);
            world.check(&above("k", value), TimeRange::ALL);
        }
        world.check(&is("k.deep", "1"), TimeRange::ALL);
        let exists = Filter::Test(Target::resolve(Dataset::Logs, "k"), Test::Exists);
        assert!(world.check(&exists, TimeRange::ALL) > 300);
        world.check(&exists.negate(), TimeRange::ALL);
    };
    check(&world);
    world.flush();
    world.keep_up();
    check(&world);
}

#[test]
fn ten_thousand_names_of_attributes() {
    let mut world = World::new();
    for _ in 0..4 {
        world.add(5_000, |builder, row| {
            builder.set_text(logs::SERVICE, ["a", "b", "c"][row % 3]);
            builder.set_text(logs::MESSAGE, "request served");
            builder.set_text(
                logs::ATTRIBUTES,
                &format!(
                    r#"{{"name{}":"value{}","name{}":{row}}}"#,
                    row * 2 % 10_000,
                    row % 10,
                    (row * 2 + 1) % 10_000
                ),
            );
        });
        world.flush();
    }
    world.keep_up();
    for name in [0, 1, 4_999, 9_998, 9_999] {
        let exists = Filter::Test(Target::resolve(Dataset::Logs, &format!("name{name}")), Test::Exists);
        assert_eq!(world.check(&exists, TimeRange::ALL), 4);
    }
    assert_eq!(world.check(&is("name4996", "value8"), TimeRange::ALL), 4);
    assert_eq!(world.check(&is("name4996", "value9"), TimeRange::ALL), 0);
    assert_eq!(world.check(&is("name10000", "1"), TimeRange::ALL), 0);
    let (files, sidecars) = (world.bytes(".parquet"), world.bytes(".hidx"));
    assert!(sidecars < 40 * 20_000, "{sidecars} bytes beside {files}");
}

#[test]
fn a_message_may_have_a_mebibyte() {
    let mut world = World::new();
    let long = |row: usize| {
        let mut text = format!("began {row} ");
        let mut n = row;
        while text.len() < (1 << 20) - 40 {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("w{:x} ", n >> 40));
        }
        text + &format!("ended{row}")
    };
    world.add(6, |builder, row| {
        builder.set_text(logs::SERVICE, "a");
        builder.set_text(logs::MESSAGE, &long(row));
    });
    world.add(500, |builder, row| {
        builder.set_text(logs::SERVICE, "a");
        builder.set_text(logs::MESSAGE, &format!("short {row}"));
    });
    let check = |world: &World| {
        assert_eq!(world.check(&words("ended3"), TimeRange::ALL), 1);
        assert_eq!(world.check(&words("began 5"), TimeRange::ALL), 1);
        assert_eq!(world.check(&words("ended7"), TimeRange::ALL), 0);
        assert_eq!(world.check(&words("short 77"), TimeRange::ALL), 1);
        let regex = Filter::Test(Target::Field(logs::MESSAGE), Test::Regex("w[0-9a-f]+ ended[02]$".into()));
        assert_eq!(world.check(&regex, TimeRange::ALL), 2);
    };
    check(&world);
    world.flush();
    check(&world);
    assert!(world.bytes(".bin") < 1 << 20, "templates of long messages are capped: {}", world.bytes(".bin"));
    assert!(world.bytes(".hidx") < world.bytes(".parquet") + (1 << 20), "{}", world.bytes(".hidx"));
}

/// A hundred thousand of everything: what `services` of them the run directory, rollups and signatures cost.
fn hostile(rows: usize) -> World {
    let mut world = World::new();
    for part in 0..4 {
        world.add(rows / 4, |builder, row| {
            let n = part * (rows / 4) + row;
            builder.set_int(logs::TIMESTAMP, NOW + i64::try_from(n).expect("small") * 7_000_000);
            builder.set_text(logs::SERVICE, &format!("service-{n}"));
            builder.set_text(logs::INSTANCE, &format!("instance-{n}"));
            builder.set_text(logs::USER_ID, &format!("u{n}"));
            builder.set_text(logs::SOURCE_IP, &format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255));
            builder.set_text(logs::MESSAGE, &format!("word{n} does thing{n} to other{n} at place{n}"));
            builder.set_text(logs::ATTRIBUTES, &format!(r#"{{"key{n}":"v{n}","ident":"x{n:x}"}}"#));
        });
        if part < 3 {
            world.flush();
        }
    }
    world
}

fn check_hostile(world: &World, rows: usize) {
    for n in [0, rows / 3, rows - 1] {
        assert_eq!(world.check(&is("service", &format!("SERVICE-{n}")), TimeRange::ALL), 1);
        assert_eq!(world.check(&is("user_id", &format!("u{n}")), TimeRange::ALL), 1);
        assert_eq!(world.check(&words(&format!("thing{n}")), TimeRange::ALL), 1);
        assert_eq!(world.check(&is("ident", &format!("x{n:x}")), TimeRange::ALL), 1);
        assert_eq!(world.check(&is(&format!("key{n}"), &format!("v{n}")), TimeRange::ALL), 1);
    }
    assert_eq!(world.counted(TimeRange::ALL), rows as u64);
}

#[test]
fn every_value_may_be_its_own() {
    let rows = 12_000;
    let world = hostile(rows);
    check_hostile(&world, rows);
    world.flush();
    world.keep_up();
    check_hostile(&world, rows);
    let per_row = |end: &str| world.bytes(end) / rows as u64;
    assert!(per_row(".hidx") < 250, "{} bytes of sidecar a row", per_row(".hidx"));
    assert!(world.store.status().templates <= 1_000, "{} templates", world.store.status().templates);
}

#[test]
#[ignore = "a measurement: a million records in which every value is its own"]
fn a_million_of_their_own() {
    let rows = 1_000_000;
    let rss = |name: &str| {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find(|line| line.starts_with(name)).expect("is there");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
    };
    let started = std::time::Instant::now();
    let world = hostile(rows);
    let appended = started.elapsed();
    world.flush();
    let flushed = started.elapsed();
    world.keep_up();
    let merged = started.elapsed();
    check_hostile(&world, rows);
    let per_row = |end: &str| world.bytes(end) / rows as u64;
    eprintln!(
        "appended in {appended:?}, flushed by {flushed:?}, merged by {merged:?}, asked by {:?}; {} + {} + {} bytes a row in Parquet, \
         sidecars and catalog; {} templates; {} MiB now, {} MiB at most, batches of the reference included",
        started.elapsed(),
        per_row(".parquet"),
        per_row(".hidx"),
        per_row(".bin"),
        world.store.status().templates,
        rss("VmRSS:"),
        rss("VmHWM:"),
    );
}
