//! The store through its public face: a scan equals a slow reference, whatever was flushed, merged or replayed; a
//! crash at any step loses and doubles nothing.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heimdall_journal::disk::{Disk, ForgetfulDisk, Survives};
use heimdall_model::schema::logs;
use heimdall_model::{Batch, BatchBuilder, Dataset, Filter, Position, Test, Timestamp};
use heimdall_store::{Control, CountsBy, Order, ScanRequest, Store, StoreConfig, TimeRange};
use proptest::prelude::*;

mod reference;
use reference::{add, arb_filter, batch, config, ids, matching, open, tenant};

fn check_against_reference(
    store: &Arc<Store>,
    batches: &[Batch],
    filter: &Filter,
    range: TimeRange,
    limit: usize,
) {
    let expected = ids(&matching(batches, filter, range));
    let request = ScanRequest {
        tenant: tenant(),
        dataset: Dataset::Logs,
        range,
        filter: filter.clone(),
        fields: Some(vec![logs::MESSAGE, logs::SPAN_ID]),
    };
    let control = Control::default();
    let mut scanned = Vec::new();
    store
        .scan(&request, &control, &mut |block| {
            scanned.extend((0..block.rows()).map(|row| block.id(row)));
            ControlFlow::Continue(())
        })
        .expect("scans");
    scanned.sort_unstable();
    let mut all = expected.clone();
    all.sort_unstable();
    assert_eq!(scanned, all, "scan of {filter:?}");
    assert_eq!(
        store.count(&request, &control).expect("counts").0,
        expected.len() as u64,
        "count of {filter:?}"
    );
    let request = ScanRequest { fields: limit.is_multiple_of(2).then(Vec::new), ..request };
    let found = |order| {
        let (hits, _) = store.search(&request, order, limit, &control).expect("searches");
        hits.iter().map(|hit| hit.block.id(hit.row)).collect::<Vec<_>>()
    };
    assert_eq!(found(Order::NewestFirst), expected[..limit.min(expected.len())], "newest of {filter:?}");
    let oldest: Vec<_> = expected.iter().rev().take(limit).copied().collect();
    assert_eq!(found(Order::OldestFirst), oldest, "oldest of {filter:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_scan_equals_the_slow_reference(
        sizes in proptest::collection::vec(0usize..600, 1..9),
        flushes in proptest::collection::vec(any::<bool>(), 9),
        filters in proptest::collection::vec(arb_filter(), 4),
        bounds in (0i64..2_000, 0i64..2_000),
        limit in 0usize..40,
        seed in any::<u64>(),
    ) {
        let disk = ForgetfulDisk::default();
        let store = open(&disk, config());
        let mut batches = Vec::new();
        for (index, rows) in sizes.iter().enumerate() {
            let seq = index as u64 + 1;
            batches.push(batch(seq, seed.wrapping_add(seq), *rows));
            add(&store, &batches[index]);
            if flushes[index] {
                prop_assert!(store.freeze(seq, Vec::new));
                store.commit_frozen().expect("commits");
            }
        }
        store.upkeep(Timestamp(0), &|| ControlFlow::Continue(())).expect("keeps");
        let span = TimeRange {
            from: Timestamp(bounds.0.min(bounds.1) * 1_000_000_000),
            to: Timestamp(bounds.0.max(bounds.1) * 1_000_000_000),
        };
        for filter in &filters {
            check_against_reference(&store, &batches, filter, TimeRange::ALL, limit);
            check_against_reference(&store, &batches, filter, span, limit);
        }
        let mut counted = 0;
        let view = store.view(&tenant(), Dataset::Logs);
        view.counts(TimeRange::ALL, CountsBy::default(), &mut |_, _, _, n| counted += n).expect("counts");
        prop_assert_eq!(counted, sizes.iter().sum::<usize>() as u64);
    }
}

/// Replays what a journal would: every batch after the covered frame.
fn replay(store: &Store, batches: &[Batch]) {
    for batch in batches.iter().filter(|batch| batch.base.seq() > store.journal_seq()) {
        add(store, batch);
    }
}

#[test]
fn a_crash_at_any_step_of_flush_and_merge_loses_and_doubles_nothing() {
    let batches: Vec<Batch> = (1..=8).map(|seq| batch(seq, seq, 40)).collect();
    let script = |disk: &ForgetfulDisk| -> Result<(), heimdall_store::StoreError> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = Arc::new(Store::open(shared, Path::new("/data/store"), config())?);
        for batch in batches.iter().filter(|batch| batch.base.seq() > store.journal_seq()) {
            add(&store, batch);
            store.freeze(batch.base.seq(), || b"state".to_vec());
            store.commit_frozen()?;
        }
        store.upkeep(Timestamp(0), &|| ControlFlow::Continue(()))?;
        Ok(())
    };
    let whole = ForgetfulDisk::default();
    script(&whole).expect("runs to its end");
    let steps = whole.steps();
    assert!(steps > 50, "the script touches the disk: {steps}");
    for step in (0..steps).step_by(3) {
        for survives in [Survives::Synced, Survives::HalfOfUnsynced, Survives::Everything] {
            let disk = ForgetfulDisk::default();
            disk.power_off_at(step);
            let _ = script(&disk);
            disk.crash_with(survives);
            let store = open(&disk, config());
            replay(&store, &batches);
            check_against_reference(&store, &batches, &Filter::All, TimeRange::ALL, 1_000);
        }
    }
}

#[test]
fn retention_drops_whole_segments_by_age_then_by_size() {
    let disk = ForgetfulDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = StoreConfig { retention: Duration::from_secs(3_600), ..config() };
    let store = Arc::new(Store::open(shared, Path::new("/data/store"), config).expect("opens"));
    for seq in 1..=2 {
        let hour = i64::try_from(seq).expect("small") * 3_600_000_000_000;
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(hour));
        // An old record that has just arrived is as new as its arrival.
        builder.set_int(logs::TIMESTAMP, if seq == 1 { hour } else { 0 });
        builder.set_text(logs::MESSAGE, "m");
        builder.end_row();
        let mut batch = builder.finish();
        batch.base = Position::new(seq, 0);
        add(&store, &batch);
        store.freeze(seq, Vec::new);
        store.commit_frozen().expect("commits");
    }
    let report =
        store.upkeep(Timestamp(2 * 3_600_000_000_000 + 1), &|| ControlFlow::Continue(())).expect("keeps");
    assert_eq!((report.expired_segments, report.dropped_rows), (1, 1));
    assert_eq!(store.status().segment_rows, 1);
}

#[test]
fn merging_everything_leaves_one_segment_a_day_and_the_same_rows() {
    let disk = ForgetfulDisk::default();
    let store = open(&disk, config());
    let batches: Vec<Batch> = (1..=7).map(|seq| batch(seq, seq, 60)).collect();
    for batch in &batches {
        add(&store, batch);
        assert!(store.freeze(batch.base.seq(), Vec::new));
        store.commit_frozen().expect("commits");
    }
    let mut merged = Vec::new();
    store.compact_all(&|| ControlFlow::Continue(()), &mut |segments| merged.push(segments)).expect("merges");
    assert_eq!((merged, store.status().segments), (vec![7], 1));
    check_against_reference(&store, &batches, &Filter::All, TimeRange::ALL, 1_000);
}

#[test]
fn a_damaged_file_is_named() {
    let disk = ForgetfulDisk::default();
    let store = open(&disk, config());
    add(&store, &batch(1, 1, 100));
    store.freeze(1, Vec::new);
    store.commit_frozen().expect("commits");
    drop(store);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let root = Path::new("/data/store");
    let manifest = shared
        .list(root)
        .expect("lists")
        .into_iter()
        .find(|name| name.starts_with("manifest"))
        .expect("is there");
    disk.edit(root.join(&manifest), |bytes| bytes[40] ^= 1);
    let error = Store::open(shared, root, config()).expect_err("damaged");
    assert!(error.to_string().contains(&manifest), "{error}");
}

#[test]
fn a_full_disk_is_not_filled_by_retries_and_the_first_commit_with_room_succeeds() {
    let disk = ForgetfulDisk::default();
    let store = open(&disk, config());
    add(&store, &batch(1, 1, 500));
    let files = || disk.list(Path::new("/data/store")).expect("lists");
    let before = files();
    assert!(store.freeze(1, Vec::new));
    disk.limit_free(Some(6_000));
    for _ in 0..3 {
        let error = store.commit_frozen().expect_err("full");
        assert!(error.is_transient(), "{error}");
        assert_eq!(files(), before, "a failed attempt leaves nothing");
    }
    disk.limit_free(None);
    assert_eq!(store.commit_frozen().expect("commits"), Some(1));
    check_against_reference(&store, &[batch(1, 1, 500)], &Filter::All, TimeRange::ALL, 1_000);
}

#[test]
fn records_at_the_ends_of_time_are_counted_like_others() {
    let disk = ForgetfulDisk::default();
    let store = open(&disk, config());
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(0));
    for time in [i64::MIN, -1, 0, i64::MAX - 1] {
        builder.set_int(logs::TIMESTAMP, time);
        builder.set_text(logs::MESSAGE, "m");
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(1, 0);
    add(&store, &batch);
    let counted = |store: &Arc<Store>| {
        let mut rows = 0;
        let view = store.view(&tenant(), Dataset::Logs);
        view.counts(TimeRange::ALL, CountsBy::default(), &mut |_, _, _, n| rows += n).expect("counts");
        rows
    };
    assert_eq!(counted(&store), 4);
    store.freeze(1, Vec::new);
    store.commit_frozen().expect("commits");
    store.upkeep(Timestamp(0), &|| ControlFlow::Continue(())).expect("keeps");
    assert_eq!(counted(&store), 4);
    check_against_reference(&store, &[batch], &Filter::All, TimeRange::ALL, 10);
}

/// A phrase that stands in the constant part of its templates is counted, and others are ruled out, without reading a row.
#[test]
fn what_templates_decide_is_not_read() {
    let store = open(&ForgetfulDisk::default(), config());
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(1));
    for n in 0..3000_i64 {
        builder.set_int(logs::TIMESTAMP, n);
        let message = match n % 3 {
            0 => format!("Failed login of u{n} from 10.0.{}.7", n % 200),
            1 => format!("request {n} took {} ms", n * 7),
            _ => format!("cache miss for key k{n}"),
        };
        builder.set_text(logs::MESSAGE, &message);
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(1, 0);
    add(&store, &batch);
    assert!(store.freeze(1, Vec::new));
    store.commit_frozen().expect("commits");
    let count = |test: Test, range: TimeRange| {
        let filter = Filter::field(logs::MESSAGE, test);
        let request = ScanRequest { tenant: tenant(), dataset: Dataset::Logs, range, filter, fields: None };
        let (count, stats) = store.count(&request, &Control::default()).expect("counts");
        (count, stats.rows_scanned)
    };
    let all = TimeRange::ALL;
    assert_eq!(count(Test::Words("failed login".into()), all), (1000, 0));
    assert_eq!(count(Test::Regex("[Ff]ailed .* from".into()), all), (1000, 0));
    assert_eq!(count(Test::Words("refused".into()), all), (0, 0));
    assert_eq!(
        count(Test::Words("10.0.7.7".into()), all),
        (5, 1000),
        "only the template with addresses is read"
    );
    let part = TimeRange { from: Timestamp(0), to: Timestamp(300) };
    assert_eq!(count(Test::Words("cache miss".into()), part), (100, 1000));
}
