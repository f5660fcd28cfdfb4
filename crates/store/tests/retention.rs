//! Records go when their time is over, by tenant, dataset, class and policy: never early, and late by a segment's span at most;
//! on a full disk the oldest go first, and today's never.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heimdall_journal::disk::{Disk, ForgetfulDisk, Survives};
use heimdall_model::schema::logs;
use heimdall_model::{Batch, BatchBuilder, Dataset, Filter, Position, Tenant, Timestamp};
use heimdall_store::{
    Control, CountsBy, RetentionPolicy, ScanRequest, Store, StoreConfig, StoreError, TimeRange,
};
use proptest::prelude::*;

mod reference;
use reference::config;

const DAY: i64 = 86_400_000_000_000;
const DAYS: i64 = 12;
const CLASSES: [Option<&str>; 3] = [None, Some("public"), Some("restricted")];
const NAMES: [Option<&str>; 2] = [None, Some("pci")];
const TENANTS: [&str; 2] = ["acme", "other"];

fn tenant(number: usize) -> Tenant {
    Tenant::new(TENANTS[number]).expect("a name")
}

/// A record: tenant, day, class, policy.
type Kind = (usize, i64, usize, usize);

/// Records of one tenant and day, a message each that tells what they are; arrived on that day.
fn batch(seq: u64, tenant: usize, day: i64, rows: &[(usize, usize)]) -> Batch {
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(day * DAY + DAY / 2));
    for (index, (class, name)) in (0_i64..).zip(rows) {
        builder.set_int(logs::TIMESTAMP, day * DAY + index * 1_000_000_000);
        if let Some(class) = CLASSES[*class] {
            builder.set_text(logs::CLASSIFICATION, class);
        }
        if let Some(name) = NAMES[*name] {
            builder.set_text(logs::RETENTION_POLICY, name);
        }
        builder.set_text(logs::MESSAGE, &format!("{tenant}/{day}/{class}/{name}"));
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(seq, 0);
    batch
}

fn add(store: &Store, tenant_number: usize, mut batch: Batch) {
    store.assign_templates(&tenant(tenant_number), &mut batch);
    store.append(&tenant(tenant_number), batch);
}

fn flush(store: &Store, seq: u64) -> Result<(), StoreError> {
    store.freeze(seq, Vec::new);
    store.commit_frozen().map(|_| ())
}

/// What is in the store, by kind.
fn present(store: &Arc<Store>) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for number in 0..TENANTS.len() {
        let request = ScanRequest {
            tenant: tenant(number),
            dataset: Dataset::Logs,
            range: TimeRange::ALL,
            filter: Filter::All,
            fields: None,
        };
        let before = kinds.len();
        store
            .scan(&request, &Control::default(), &mut |block| {
                kinds.extend((0..block.rows()).map(|row| {
                    let text = block.text(logs::MESSAGE, row).expect("has one");
                    let parts: Vec<i64> =
                        text.split('/').map(|part| part.parse().expect("a number")).collect();
                    let small = |at: usize| usize::try_from(parts[at]).expect("small");
                    (small(0), parts[1], small(2), small(3))
                }));
                ControlFlow::Continue(())
            })
            .expect("scans");
        let mut counted = 0;
        let view = store.view(&tenant(number), Dataset::Logs);
        view.counts(TimeRange::ALL, CountsBy::default(), &mut |_, _, _, n| counted += n).expect("counts");
        assert_eq!(counted, (kinds.len() - before) as u64, "summaries count what is there");
    }
    kinds.sort_unstable();
    kinds
}

fn upkeep(store: &Arc<Store>, now: Timestamp) -> Result<(), StoreError> {
    while store.upkeep(now, &|| ControlFlow::Continue(()))?.merged_segments > 0 {}
    loop {
        match store.trim(now, &|| ControlFlow::Continue(())) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(heimdall_store::ScanError::Store(error)) => return Err(error),
            Err(other) => panic!("{other}"),
        }
    }
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

fn policies() -> Vec<RetentionPolicy> {
    let class = |name: &str| Some(name.to_owned());
    vec![
        RetentionPolicy { retention_policy: class("pci"), keep: days(9), ..RetentionPolicy::default() },
        RetentionPolicy { classification: class("public"), keep: days(2), ..RetentionPolicy::default() },
        RetentionPolicy {
            tenant: Some(tenant(0)),
            classification: class("restricted"),
            ..RetentionPolicy::default()
        },
        RetentionPolicy { tenant: Some(tenant(1)), keep: days(4), ..RetentionPolicy::default() },
    ]
}

/// Days that a record is kept by [`policies`] and a retention of six days.
fn kept_for((tenant, _, class, name): Kind) -> i64 {
    match (tenant, class, name) {
        (_, _, 1) => 9,
        (_, 1, _) => 2,
        (0, 2, _) => i64::MAX / DAY,
        (1, ..) => 4,
        _ => 6,
    }
}

fn arb_rows() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0..CLASSES.len(), 0..NAMES.len()), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_record_goes_when_its_time_is_over(
        batches in prop::collection::vec((0..TENANTS.len(), 0..DAYS, arb_rows()), 1..10),
        nows in prop::collection::vec(0..2 * DAYS, 1..4),
    ) {
        let disk: Arc<dyn Disk> = Arc::new(ForgetfulDisk::default());
        let config = StoreConfig { retention: days(6), policies: policies(), ..config() };
        let store = Arc::new(Store::open(disk, Path::new("/data/store"), config).expect("opens"));
        let mut all: Vec<Kind> = Vec::new();
        for (seq, (number, day, rows)) in (1..).zip(&batches) {
            add(&store, *number, batch(seq, *number, *day, rows));
            flush(&store, seq).expect("commits");
            all.extend(rows.iter().map(|(class, name)| (*number, *day, *class, *name)));
        }
        let mut nows = nows;
        nows.sort_unstable();
        for now in nows {
            upkeep(&store, Timestamp(now * DAY)).expect("keeps");
            let left = present(&store);
            let age = |kind: &Kind| now - kind.1;
            // Not early: a record of this day is at most that old; not late: and at least a day less.
            all.retain(|kind| age(kind) <= kept_for(*kind) || left.contains(kind));
            for kind in &left {
                prop_assert!(age(kind) <= kept_for(*kind) + 1, "on day {}: {:?} is still there", now, kind);
            }
            all.sort_unstable();
            prop_assert_eq!(&left, &all, "on day {}", now);
            upkeep(&store, Timestamp(now * DAY)).expect("keeps");
            prop_assert_eq!(present(&store), left, "nothing more is to be done");
        }
    }
}

#[test]
fn a_crash_while_records_are_dropped_by_policy_loses_no_other() {
    let rows = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)];
    let config = || StoreConfig { retention: days(6), policies: policies(), ..config() };
    let script = |disk: &ForgetfulDisk| -> Result<(), StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = Arc::new(Store::open(disk, Path::new("/data/store"), config())?);
        for (seq, day) in [(1, 0), (2, 1)] {
            if seq > store.journal_seq() {
                add(&store, 0, batch(seq, 0, day, &rows));
                flush(&store, seq)?;
            }
        }
        upkeep(&store, Timestamp(4 * DAY + DAY / 2))
    };
    let whole = ForgetfulDisk::default();
    script(&whole).expect("runs to its end");
    let kept: Vec<Kind> = [0, 1]
        .into_iter()
        .flat_map(|day| rows.iter().map(move |(class, name)| (0, day, *class, *name)))
        .filter(|kind| kept_for(*kind) > 2)
        .collect();
    for step in 0..whole.steps() {
        for survives in [Survives::Synced, Survives::HalfOfUnsynced, Survives::Everything] {
            let disk = ForgetfulDisk::default();
            disk.power_off_at(step);
            let _ = script(&disk);
            disk.crash_with(survives);
            script(&disk).expect("goes on after the crash");
            let disk: Arc<dyn Disk> = Arc::new(disk);
            let store = Arc::new(Store::open(disk, Path::new("/data/store"), config()).expect("opens"));
            let mut expected = kept.clone();
            expected.sort_unstable();
            assert_eq!(present(&store), expected, "step {step}, {survives:?}");
        }
    }
}

#[test]
fn on_a_full_disk_what_is_due_soonest_goes_first_and_today_stays() {
    let disk = ForgetfulDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let policies =
        vec![RetentionPolicy { tenant: Some(tenant(1)), keep: days(20), ..RetentionPolicy::default() }];
    let config = StoreConfig { retention: days(365), policies, disk_reserve_bytes: 50_000, ..config() };
    let store = Arc::new(Store::open(shared, Path::new("/data/store"), config).expect("opens"));
    for (seq, number, day) in [(1, 0, 0), (2, 1, 1), (3, 0, 2), (4, 1, 9)] {
        add(&store, number, batch(seq, number, day, &[(0, 0)]));
        flush(&store, seq).expect("commits");
    }
    let now = Timestamp(9 * DAY + DAY / 2);
    let round = |free| {
        disk.limit_free(Some(free));
        let report = store.retain(now).expect("keeps");
        (report.shed_segments, present(&store).iter().map(|kind| (kind.0, kind.1)).collect::<Vec<_>>())
    };
    assert_eq!(round(60_000), (0, vec![(0, 0), (0, 2), (1, 1), (1, 9)]), "there is room");
    assert_eq!(
        round(49_999),
        (1, vec![(0, 0), (0, 2), (1, 9)]),
        "the tenant's whose records are kept shortest"
    );
    assert_eq!(round(5_000), (2, vec![(1, 9)]), "all but today's");
    assert_eq!(round(5_000), (0, vec![(1, 9)]));
}
