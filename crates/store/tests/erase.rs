//! Erasing: what is left equals the slow reference without the erased rows, in every tier, across restarts and crashes.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use heimdall_journal::disk::{Disk, ForgetfulDisk, Survives};
use heimdall_model::{Batch, Dataset, Filter, Timestamp};
use heimdall_store::{
    Cold, Control, EraseReport, Order, ScanRequest, Store, StoreConfig, StoreError, TimeRange, UNHURRIED,
};
use object_store::memory::InMemory;
use proptest::prelude::*;

mod reference;
use reference::{add, arb_filter, batch, config, flush, ids, matching, merge, open, tenant};

const YEAR: Timestamp = Timestamp(365 * 86_400 * 1_000_000_000);

fn request(filter: Filter, range: TimeRange) -> ScanRequest {
    ScanRequest { tenant: tenant(), dataset: Dataset::Logs, range, filter, fields: Some(Vec::new()) }
}

fn all_but(batches: &[Batch], filter: &Filter, range: TimeRange) -> Vec<heimdall_model::RecordId> {
    let gone = ids(&matching(batches, filter, range));
    let mut all = ids(&matching(batches, &Filter::All, TimeRange::ALL));
    all.retain(|id| !gone.contains(id));
    all
}

fn found(store: &Arc<Store>) -> Vec<heimdall_model::RecordId> {
    let request = request(Filter::All, TimeRange::ALL);
    let (hits, _) =
        store.search(&request, Order::NewestFirst, 100_000, &Control::default()).expect("searches");
    hits.iter().map(|hit| hit.block.id(hit.row)).collect()
}

fn erase(store: &Arc<Store>, filter: &Filter, range: TimeRange, dry_run: bool) -> EraseReport {
    let request = request(filter.clone(), range);
    store.erase(&request, YEAR, dry_run, UNHURRIED).expect("erases")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_left_is_what_does_not_pass(
        filter in arb_filter(),
        bounds in (0i64..2_000, 0i64..2_000),
        merged in any::<bool>(),
        cold in any::<bool>(),
    ) {
        let disk = ForgetfulDisk::default();
        let cold = cold.then(|| Cold::of(Arc::new(InMemory::new()), "memory").expect("starts"));
        let config = StoreConfig { cold, ..config() };
        let store = open(&disk, config.clone());
        let batches: Vec<Batch> = (1..=4).map(|seq| batch(seq, seq, 300)).collect();
        for batch in &batches {
            add(&store, batch);
            flush(&store, batch.base.seq());
        }
        if merged {
            merge(&store);
        }
        store.upkeep(YEAR, &|| ControlFlow::Continue(())).expect("keeps");
        store.upkeep(YEAR, &|| ControlFlow::Continue(())).expect("keeps");
        let range = TimeRange {
            from: Timestamp(bounds.0.min(bounds.1) * 1_000_000_000),
            to: Timestamp(bounds.0.max(bounds.1) * 1_000_000_000),
        };
        let (before, version) = (found(&store), store.version(&tenant(), Dataset::Logs));
        let wanted = matching(&batches, &filter, range).len() as u64;
        let dry = erase(&store, &filter, range, true);
        prop_assert_eq!((dry.erased, dry.remaining), (wanted, wanted));
        prop_assert_eq!(found(&store), before);
        let report = erase(&store, &filter, range, false);
        prop_assert_eq!((report.erased, report.remaining), (wanted, 0));
        prop_assert_eq!(report.segments, dry.segments);
        let left = all_but(&batches, &filter, range);
        prop_assert_eq!(&found(&store), &left);
        prop_assert_eq!(wanted > 0, store.version(&tenant(), Dataset::Logs) != version, "kept answers go");
        let mut counted = 0;
        let view = store.view(&tenant(), Dataset::Logs);
        view.counts(TimeRange::ALL, heimdall_store::CountsBy::default(), &mut |_, _, _, n| counted += n)
            .expect("counts");
        prop_assert_eq!(counted, left.len() as u64, "summaries are of what is left");
        drop(view);
        drop(store);
        prop_assert_eq!(found(&open(&disk, config)), left, "after a restart");
    }
}

#[test]
fn a_crash_at_any_step_erases_all_or_nothing() {
    let batches: Vec<Batch> = (1..=3).map(|seq| batch(seq, seq, 80)).collect();
    let filter = Filter::field(
        heimdall_model::schema::logs::SERVICE,
        heimdall_model::Test::Equals(heimdall_model::Literal::new("auth")),
    );
    let script = |disk: &ForgetfulDisk| -> Result<bool, StoreError> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = Arc::new(Store::open(shared, Path::new("/data/store"), config())?);
        for batch in &batches {
            add(&store, batch);
            store.freeze(batch.base.seq(), Vec::new);
            store.commit_frozen()?;
        }
        let outcome = store.erase(&request(filter.clone(), TimeRange::ALL), YEAR, false, UNHURRIED);
        Ok(outcome.is_ok())
    };
    let whole = ForgetfulDisk::default();
    assert!(script(&whole).expect("runs to its end"));
    let all = ids(&matching(&batches, &Filter::All, TimeRange::ALL));
    let left = all_but(&batches, &filter, TimeRange::ALL);
    assert!(left.len() < all.len());
    for step in 0..whole.steps() {
        let disk = ForgetfulDisk::default();
        disk.power_off_at(step);
        let erased = script(&disk).unwrap_or(false);
        disk.crash_with(if step % 2 == 0 { Survives::Synced } else { Survives::Everything });
        let store = open(&disk, config());
        // What the journal would bring back: nothing that was erased, because its frames are covered.
        for batch in batches.iter().filter(|batch| batch.base.seq() > store.journal_seq()) {
            add(&store, batch);
        }
        let found = found(&store);
        assert!(found == left || (!erased && found == all), "step {step}: {} rows", found.len());
    }
}

#[test]
fn rows_in_memory_are_told_and_left_to_the_writer() {
    let store = open(&ForgetfulDisk::default(), config());
    let batches = [batch(1, 1, 100)];
    add(&store, &batches[0]);
    let report = erase(&store, &Filter::All, TimeRange::ALL, true);
    assert_eq!((report.erased, report.in_memory), (0, 100));
    let report = erase(&store, &Filter::All, TimeRange::ALL, false);
    assert_eq!((report.erased, report.remaining), (0, 100), "it says so");
    flush(&store, 1);
    let report = erase(&store, &Filter::All, TimeRange::ALL, false);
    assert_eq!((report.erased, report.remaining, store.status().segments), (100, 0, 0));
}
