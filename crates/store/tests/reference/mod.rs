//! What a store should answer, found the slow way: every record is looked at, one by one, and sorted.
//!
//! Also random records and filters, and a store that holds the same records in memory, in small segments and in merged
//! ones.

// Each test binary uses its own part of it.
#![allow(dead_code, reason = "shared by several test binaries")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heimdall_journal::disk::{Disk, ForgetfulDisk};
use heimdall_model::schema::logs;
use heimdall_model::{
    Batch, BatchBuilder, Compare, Dataset, Filter, Level, Literal, Matcher, Position, RecordId, Row, Target,
    Tenant, Test, Timestamp,
};
use heimdall_store::{Store, StoreConfig, TimeRange};
use proptest::prelude::*;

pub(crate) const SERVICES: [&str; 3] = ["auth", "billing", "Core-DB"];
pub(crate) const WORDS: [&str; 6] = ["connection", "refused", "user", "login", "timeout", "größe"];

pub(crate) fn tenant() -> Tenant {
    Tenant::default()
}

pub(crate) fn config() -> StoreConfig {
    // So little memory that a merge reads a segment in many blocks.
    StoreConfig { retention: Duration::ZERO, compact_memory_bytes: 1, ..StoreConfig::default() }
}

pub(crate) fn open(disk: &ForgetfulDisk, config: StoreConfig) -> Arc<Store> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Arc::new(Store::open(disk, Path::new("/data/store"), config).expect("opens"))
}

pub(crate) fn add(store: &Store, batch: &Batch) {
    let mut batch = batch.clone();
    store.assign_templates(&tenant(), &mut batch);
    store.append(&tenant(), batch);
}

/// Writes the memtable out, up to journal frame `seq`.
pub(crate) fn flush(store: &Store, seq: u64) {
    assert!(store.freeze(seq, Vec::new));
    store.commit_frozen().expect("commits");
}

/// Merges what can be merged.
pub(crate) fn merge(store: &Arc<Store>) {
    store.upkeep(Timestamp(0), &|| ControlFlow::Continue(())).expect("keeps");
}

/// Rows decided by `seed`: sparse fields, equal timestamps, several services and templates.
pub(crate) fn batch(seq: u64, seed: u64, rows: usize) -> Batch {
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(1_000_000));
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |n: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % n
    };
    for _ in 0..rows {
        if next(20) > 0 {
            builder.set_int(logs::TIMESTAMP, i64::try_from(next(50)).expect("small") * 40_000_000_000);
        }
        if next(5) > 0 {
            builder.set_text(logs::SERVICE, SERVICES[usize::try_from(next(3)).expect("small")]);
        }
        if next(4) > 0 {
            builder.set_level(Level::ALL[usize::try_from(next(6)).expect("small")]);
        }
        let word = |n: u64| WORDS[usize::try_from(n).expect("small")];
        builder.set_text(logs::MESSAGE, &format!("{} {} {}", word(next(6)), word(next(6)), next(1000)));
        if next(3) == 0 {
            builder.set_text(
                logs::ATTRIBUTES,
                &format!(r#"{{"status":{},"a":{{"b":"x{}"}}}}"#, 200 + next(4) * 100, next(3)),
            );
        }
        if next(3) == 0 {
            builder.set_bytes(logs::SPAN_ID, &next(1 << 40).to_be_bytes());
        }
        if next(2) == 0 {
            builder.set_text(logs::HOST, &format!("h{}", next(4)));
        }
        if next(2) == 0 {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            builder.set_float(logs::DURATION_MS, next(4_000) as f64 / 4.0);
        }
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(seq, 0);
    batch
}

pub(crate) fn arb_test() -> impl Strategy<Value = Filter> {
    let field = |name: &str, test: Test| Filter::Test(Target::resolve(Dataset::Logs, name), test);
    prop_oneof![
        (0..3_usize).prop_map(move |i| field("service", Test::Equals(Literal::new(SERVICES[i])))),
        (0..6_usize).prop_map(move |i| field(
            "level",
            Test::Compare(Compare::GreaterOrEqual, Literal::new(Level::ALL[i].as_str()))
        )),
        (0..6_usize).prop_map(move |i| field("message", Test::Words(WORDS[i].into()))),
        (0..1000_u32).prop_map(move |n| field("message", Test::Wildcard(format!("{n}*")))),
        (0..6_usize, 0..6_usize)
            .prop_map(move |(a, b)| field("message", Test::Words(format!("{} {}", WORDS[a], WORDS[b])))),
        (0..6_usize).prop_map(move |i| field("message", Test::Contains(WORDS[i][1..4].into()))),
        (0..6_usize).prop_map(move |i| field("message", Test::Regex(format!(r"^{} .* \d\d$", WORDS[i])))),
        (2..6_u32).prop_map(move |n| field("status", Test::Equals(Literal::new(&format!("{n}00"))))),
        (0..4_u32).prop_map(move |n| field("a.b", Test::Equals(Literal::new(&format!("X{n}"))))),
        (0..5_u32).prop_map(move |n| field("host", Test::Equals(Literal::new(&format!("h{n}"))))),
        (0..1000_u32).prop_map(move |n| {
            field("duration_ms", Test::Compare(Compare::Greater, Literal::new(&n.to_string())))
        }),
        Just(field("span_id", Test::Exists)),
        Just(field("service", Test::Exists)),
        Just(Filter::All),
    ]
}

pub(crate) fn arb_filter() -> impl Strategy<Value = Filter> {
    arb_test().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..3).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(Filter::Or),
            inner.prop_map(Filter::negate),
        ]
    })
}

/// The matching rows, newest first.
pub(crate) fn matching<'b>(batches: &'b [Batch], filter: &Filter, range: TimeRange) -> Vec<Row<'b>> {
    let matcher = Matcher::compile(filter, Dataset::Logs).expect("compiles");
    let mut rows: Vec<_> = batches
        .iter()
        .flat_map(|batch| batch.iter().collect::<Vec<_>>())
        .filter(|row| range.from <= row.timestamp() && row.timestamp() < range.to)
        .filter(|row| matcher.matches(row, None))
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.timestamp(), row.position())));
    rows
}

/// Their ids.
pub(crate) fn ids(rows: &[Row<'_>]) -> Vec<RecordId> {
    rows.iter().map(Row::id).collect()
}
