//! Segments that move to an object store: every answer stays what it was, and a crash or a failure at any step, of the disk
//! or of the object store, loses nothing and doubles nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use heimdall_journal::disk::{Disk, ForgetfulDisk, OsDisk, Survives};
use heimdall_model::schema::logs;
use heimdall_model::{Batch, BatchBuilder, Dataset, Filter, Position, Timestamp};
use heimdall_store::{
    Cold, Control, NEVER, Order, RetentionPolicy, ScanRequest, Store, StoreConfig, StoreError, TimeRange,
};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

mod reference;
use reference::{add, arb_filter, batch, config, ids, matching, tenant};

const YEAR: Timestamp = Timestamp(365 * 86_400 * 1_000_000_000);

/// Objects in memory that fail on demand; they survive the crash of the machine that put them.
#[derive(Debug)]
struct Objects {
    inner: InMemory,
    calls: AtomicU64,
    /// Calls from this one on fail for good.
    dead_from: AtomicU64,
    /// So many calls fail, and succeed when they are tried again.
    hiccups: AtomicU64,
}

impl Objects {
    fn new() -> Arc<Objects> {
        Arc::new(Objects {
            inner: InMemory::new(),
            calls: AtomicU64::new(0),
            dead_from: AtomicU64::new(u64::MAX),
            hiccups: AtomicU64::new(0),
        })
    }

    fn step(&self) -> object_store::Result<()> {
        let failed = |kind: &'static str| Box::<dyn std::error::Error + Send + Sync>::from(kind);
        if self.calls.fetch_add(1, Ordering::Relaxed) >= self.dead_from.load(Ordering::Relaxed) {
            return Err(object_store::Error::PermissionDenied {
                path: String::new(),
                source: failed("dead"),
            });
        }
        let less = |left: u64| left.checked_sub(1);
        if self.hiccups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            return Err(object_store::Error::Generic { store: "test", source: failed("hiccup") });
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        let listed = futures::executor::block_on(self.inner.list(None).collect::<Vec<_>>());
        let mut names: Vec<String> =
            listed.into_iter().map(|meta| meta.expect("lists").location.to_string()).collect();
        names.sort_unstable();
        names
    }

    fn segments(&self) -> usize {
        self.names().iter().filter(|name| name.ends_with(".parquet")).count()
    }
}

impl std::fmt::Display for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("objects in memory")
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.step()?;
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.step()?;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> object_store::Result<GetResult> {
        self.step()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn with_cold(objects: &Arc<Objects>) -> StoreConfig {
    let cold = Cold::of(Arc::<Objects>::clone(objects), "memory").expect("starts");
    StoreConfig { cold: Some(cold), ..config() }
}

fn open(disk: &ForgetfulDisk, objects: &Arc<Objects>) -> Arc<Store> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Arc::new(Store::open(disk, Path::new("/data/store"), with_cold(objects)).expect("opens"))
}

fn flush(store: &Store, seq: u64) -> Result<(), StoreError> {
    store.freeze(seq, || b"state".to_vec());
    store.commit_frozen().map(|_| ())
}

fn keep(store: &Arc<Store>, now: Timestamp) -> Result<usize, StoreError> {
    let mut moved = 0;
    // Merges come first, one group a round.
    for _ in 0..4 {
        moved += store.upkeep(now, &|| ControlFlow::Continue(()))?.cold_segments;
    }
    Ok(moved)
}

#[track_caller]
fn check(store: &Arc<Store>, batches: &[Batch], filter: &Filter) {
    let expected = ids(&matching(batches, filter, TimeRange::ALL));
    let request = ScanRequest {
        tenant: tenant(),
        dataset: Dataset::Logs,
        range: TimeRange::ALL,
        filter: filter.clone(),
        fields: None,
    };
    let control = Control::default();
    assert_eq!(store.count(&request, &control).expect("counts").0, expected.len() as u64, "{filter:?}");
    let (hits, _) = store.search(&request, Order::NewestFirst, 10_000, &control).expect("searches");
    let found: Vec<_> = hits.iter().map(|hit| hit.block.id(hit.row)).collect();
    assert_eq!(found, expected, "{filter:?}");
}

#[test]
fn answers_from_the_cold_tier_equal_the_slow_reference() {
    use proptest::strategy::{Strategy, ValueTree};
    let (disk, objects) = (ForgetfulDisk::default(), Objects::new());
    let store = open(&disk, &objects);
    let batches: Vec<Batch> = (1..=5).map(|seq| batch(seq, seq, 2_000)).collect();
    for batch in &batches[..4] {
        add(&store, batch);
        flush(&store, batch.base.seq()).expect("commits");
    }
    assert_eq!(keep(&store, Timestamp(0)).expect("keeps"), 0, "nothing is old yet");
    let moved = keep(&store, YEAR).expect("keeps");
    let status = store.status();
    assert!(moved > 0 && status.cold_segments == moved && status.segments == moved, "{status:?}");
    assert_eq!(objects.segments(), moved);
    let local = disk.list(Path::new("/data/store")).expect("lists");
    assert!(!local.iter().any(|name| name.ends_with(".parquet")), "{local:?}");
    // Another segment, in the folder, and rows in memory.
    add(&store, &batches[4]);
    flush(&store, 5).expect("commits");
    objects.hiccups.store(2, Ordering::Relaxed);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..40 {
        let filter = arb_filter().new_tree(&mut runner).expect("makes").current();
        check(&store, &batches, &filter);
    }
    drop(store);
    // And after a restart, which asks nothing of the object store.
    let before = objects.calls.load(Ordering::Relaxed);
    let store = open(&disk, &objects);
    assert_eq!(objects.calls.load(Ordering::Relaxed), before);
    check(&store, &batches, &Filter::All);
}

#[test]
fn what_sidecars_tell_reads_nothing_from_afar() {
    let (disk, objects) = (ForgetfulDisk::default(), Objects::new());
    let store = open(&disk, &objects);
    let batches = [batch(1, 1, 3_000)];
    add(&store, &batches[0]);
    flush(&store, 1).expect("commits");
    assert_eq!(keep(&store, YEAR).expect("moves"), 1);
    let before = objects.calls.load(Ordering::Relaxed);
    let absent =
        heimdall_model::Test::Equals(heimdall_model::Literal::new("00112233445566778899aabbccddeeff"));
    check(&store, &batches, &Filter::field(heimdall_model::schema::logs::TRACE_ID, absent));
    let mut counted = 0;
    let view = store.view(&tenant(), Dataset::Logs);
    view.counts(TimeRange::ALL, heimdall_store::CountsBy::default(), &mut |_, _, _, n| counted += n)
        .expect("counts");
    assert_eq!((counted, objects.calls.load(Ordering::Relaxed)), (3_000, before));
}

/// Flushes, merges, moves, drops: from any state a crash left, too.
fn script(
    disk: &ForgetfulDisk,
    objects: &Arc<Objects>,
    batches: &[Batch],
    policies: &[RetentionPolicy],
) -> Result<(), StoreError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = StoreConfig { policies: policies.to_vec(), ..with_cold(objects) };
    let store = Arc::new(Store::open(shared, Path::new("/data/store"), config)?);
    for batch in batches.iter().filter(|batch| batch.base.seq() > store.journal_seq()) {
        add(&store, batch);
        flush(&store, batch.base.seq())?;
        if batch.base.seq() % 2 == 0 {
            keep(&store, YEAR)?;
        }
    }
    Ok(())
}

/// What a crash left is whole, and what is left to do is done.
fn recovered(
    disk: &ForgetfulDisk,
    objects: &Arc<Objects>,
    batches: &[Batch],
    policies: &[RetentionPolicy],
) -> Arc<Store> {
    objects.dead_from.store(u64::MAX, Ordering::Relaxed);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = StoreConfig { policies: policies.to_vec(), ..with_cold(objects) };
    let store = Arc::new(Store::open(shared, Path::new("/data/store"), config).expect("opens"));
    for batch in batches.iter().filter(|batch| batch.base.seq() > store.journal_seq()) {
        add(&store, batch);
    }
    check(&store, batches, &Filter::All);
    flush(&store, 9).expect("commits");
    keep(&store, YEAR).expect("moves the rest");
    check(&store, batches, &Filter::All);
    assert_eq!(store.status().cold_trouble, None);
    store
}

/// Cuts the power at every step of the disk, and takes the object store away at every call, with the power or without.
fn crash_everywhere(batches: &[Batch], policies: &[RetentionPolicy], done: impl Fn(&Arc<Store>, &Objects)) {
    let (whole, objects) = (ForgetfulDisk::default(), Objects::new());
    script(&whole, &objects, batches, policies).expect("runs to its end");
    let (steps, calls) = (whole.steps(), objects.calls.load(Ordering::Relaxed));
    assert!(steps > 50 && calls > 5, "{steps} steps, {calls} calls");
    let luck = [Survives::Synced, Survives::HalfOfUnsynced, Survives::Everything];
    for (step, survives) in (0..steps).zip(luck.into_iter().cycle()) {
        let (disk, objects) = (ForgetfulDisk::default(), Objects::new());
        disk.power_off_at(step);
        let _ = script(&disk, &objects, batches, policies);
        disk.crash_with(survives);
        done(&recovered(&disk, &objects, batches, policies), &objects);
    }
    for call in 0..calls {
        for crashes in [false, true] {
            let (disk, objects) = (ForgetfulDisk::default(), Objects::new());
            objects.dead_from.store(call, Ordering::Relaxed);
            let _ = script(&disk, &objects, batches, policies);
            if crashes {
                disk.crash_with(Survives::Synced);
            }
            done(&recovered(&disk, &objects, batches, policies), &objects);
        }
    }
}

#[test]
fn a_crash_at_any_step_of_a_move_loses_and_doubles_nothing() {
    let batches: Vec<Batch> = (1..=4).map(|seq| batch(seq, seq, 900)).collect();
    crash_everywhere(&batches, &[], |store, _| {
        let status = store.status();
        assert_eq!(status.cold_segments, status.segments);
    });
}

const CLASSES: [Option<&str>; 3] = [None, Some("public"), Some("restricted")];

/// Records of one class after the other, of one day.
fn classes(seq: u64, day: i64, classes: &[Option<&str>], rows: i64) -> Batch {
    let day_ns = 86_400_000_000_000;
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(day * day_ns + day_ns / 2));
    for (index, class) in (0..rows).zip(classes.iter().cycle()) {
        builder.set_int(logs::TIMESTAMP, day * day_ns + index * 1_000_000_000);
        if let Some(class) = class {
            builder.set_text(logs::CLASSIFICATION, class);
        }
        builder.set_text(logs::MESSAGE, &format!("record {index} of {class:?}"));
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(seq, 0);
    batch
}

/// Public records go at once, restricted ones never, the others with the store's.
fn class_policies() -> Vec<RetentionPolicy> {
    let of = |class: &str, cold_after| RetentionPolicy {
        classification: Some(class.to_owned()),
        cold_after: Some(cold_after),
        ..RetentionPolicy::default()
    };
    vec![of("public", Duration::ZERO), of("restricted", NEVER)]
}

/// Rows of the cold tier by class, read from its objects as any program would.
fn cold_rows(objects: &Objects) -> BTreeMap<Option<String>, usize> {
    use arrow::array::{Array, AsArray};
    let mut rows = BTreeMap::new();
    for name in objects.names().iter().filter(|name| name.ends_with(".parquet")) {
        let key = ObjectPath::from(name.as_str());
        let bytes = futures::executor::block_on(async { objects.inner.get(&key).await?.bytes().await });
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes.expect("reads"));
        for part in reader.expect("opens").build().expect("reads") {
            let part = part.expect("decodes");
            let column = part.column_by_name("classification").map(|column| {
                arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).expect("is text")
            });
            for row in 0..part.num_rows() {
                let texts = column.as_ref().map(|column| column.as_string::<i32>());
                let class =
                    texts.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row).to_owned());
                *rows.entry(class).or_default() += 1;
            }
        }
    }
    rows
}

fn expected(counts: [usize; 3]) -> BTreeMap<Option<String>, usize> {
    let of = |(class, count): (&Option<&str>, usize)| (count > 0).then(|| (class.map(str::to_owned), count));
    CLASSES.iter().zip(counts).filter_map(of).collect()
}

#[test]
fn records_go_to_the_cold_tier_by_class() {
    let (disk, objects) = (ForgetfulDisk::default(), Objects::new());
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = StoreConfig { policies: class_policies(), ..with_cold(&objects) };
    let store = Arc::new(Store::open(shared, Path::new("/data/store"), config).expect("opens"));
    let batches =
        [classes(1, 0, &CLASSES, 3_000), classes(2, 1, &CLASSES[2..], 500), classes(3, 1, &CLASSES, 90)];
    for batch in &batches[..2] {
        add(&store, batch);
        flush(&store, batch.base.seq()).expect("commits");
    }
    let at = |hours: i64| Timestamp(hours * 3_600_000_000_000);
    assert_eq!(keep(&store, at(23)).expect("keeps"), 0, "its day may have more to merge");
    assert_eq!(keep(&store, at(24 + 13)).expect("moves"), 1);
    assert_eq!(cold_rows(&objects), expected([0, 1_000, 0]));
    check(&store, &batches[..2], &Filter::All);
    assert_eq!(keep(&store, at(24 + 14)).expect("keeps"), 0, "nothing more is due");
    add(&store, &batches[2]);
    flush(&store, 3).expect("commits");
    keep(&store, at(48 + 13)).expect("moves");
    assert_eq!(cold_rows(&objects), expected([0, 1_030, 0]));
    keep(&store, YEAR).expect("moves");
    assert_eq!(
        cold_rows(&objects),
        expected([1_030, 1_030, 0]),
        "those without a policy of their own go by age"
    );
    check(&store, &batches, &Filter::All);
    let local: u64 = store
        .segments(YEAR)
        .iter()
        .filter(|info| info.tier != heimdall_store::Tier::Cold)
        .map(|info| info.rows)
        .sum();
    assert_eq!(local, 1_000 + 500 + 30);
    let files = disk.list(Path::new("/data/store")).expect("lists");
    let parquet = files.iter().filter(|name| name.ends_with(".parquet")).count();
    assert_eq!(parquet, store.segments(YEAR).len() - store.status().cold_segments, "{files:?}");
}

#[test]
fn what_may_never_leave_stays_when_the_folder_is_full_and_goes_last() {
    let (disk, objects) = (ForgetfulDisk::default(), Objects::new());
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = StoreConfig {
        policies: class_policies(),
        local_bytes_max: 1,
        disk_reserve_bytes: 1 << 20,
        ..with_cold(&objects)
    };
    let store = Arc::new(Store::open(shared, Path::new("/data/store"), config).expect("opens"));
    let batches = [classes(1, 0, &CLASSES, 3_000)];
    add(&store, &batches[0]);
    flush(&store, 1).expect("commits");
    let days = |days: i64| Timestamp(days * 86_400_000_000_000);
    assert_eq!(keep(&store, days(1)).expect("moves"), 1, "settled, and beyond the size");
    assert_eq!(cold_rows(&objects), expected([1_000, 1_000, 0]));
    check(&store, &batches, &Filter::All);
    disk.limit_free(Some(1_000));
    keep(&store, days(2)).expect("keeps");
    assert_eq!(
        cold_rows(&objects),
        expected([1_000, 1_000, 0]),
        "the disk is full, and it does not leave it"
    );
    let dropped: u64 = store.retain(days(2)).expect("keeps").dropped_rows;
    assert!(dropped == 0 || dropped == 1_000, "{dropped}");
    assert_eq!(store.status().segment_rows, 2_000, "dropped, as without a tier: there is no other room");
}

#[test]
fn a_crash_while_classes_part_loses_and_doubles_nothing() {
    let batches: Vec<Batch> =
        (1..=4_u64).map(|seq| classes(seq, i64::try_from(seq / 3).expect("small"), &CLASSES, 300)).collect();
    crash_everywhere(&batches, &class_policies(), |store, objects| {
        assert_eq!(cold_rows(objects), expected([400, 400, 0]));
        let local: u64 = store.segments(YEAR).iter().map(|info| info.rows).sum();
        assert_eq!(local, 1_200);
    });
}

#[test]
fn a_tier_that_does_not_answer_is_told_and_nothing_else_stops() {
    let (disk, objects) = (ForgetfulDisk::default(), Objects::new());
    let store = open(&disk, &objects);
    let batches = [batch(1, 1, 3_000)];
    add(&store, &batches[0]);
    flush(&store, 1).expect("commits");
    objects.dead_from.store(0, Ordering::Relaxed);
    assert_eq!(keep(&store, YEAR).expect("goes on"), 0);
    assert!(store.status().cold_trouble.is_some());
    check(&store, &batches, &Filter::All);
    objects.dead_from.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(keep(&store, YEAR).expect("moves"), 1);
    assert_eq!(store.status().cold_trouble, None);
    // Reads that fail are errors that name the object.
    objects.dead_from.store(0, Ordering::Relaxed);
    let request = ScanRequest {
        tenant: tenant(),
        dataset: Dataset::Logs,
        range: TimeRange::ALL,
        filter: Filter::All,
        fields: None,
    };
    let error = store.search(&request, Order::NewestFirst, 10_000, &Control::default()).expect_err("dead");
    assert!(error.to_string().contains(".parquet"), "{error}");
}

#[test]
fn a_tier_belongs_to_one_store_and_a_store_needs_its_tier() {
    let (disk, objects) = (ForgetfulDisk::default(), Objects::new());
    let first = open(&disk, &objects);
    add(&first, &batch(1, 1, 3_000));
    flush(&first, 1).expect("commits");
    assert_eq!(keep(&first, YEAR).expect("moves"), 1);
    drop(first);
    let other = open(&ForgetfulDisk::default(), &objects);
    add(&other, &batch(1, 1, 3_000));
    flush(&other, 1).expect("commits");
    assert_eq!(keep(&other, YEAR).expect("goes on"), 0);
    let trouble = other.status().cold_trouble.expect("says why");
    assert!(trouble.contains("another data folder"), "{trouble}");
    assert_eq!(objects.segments(), 1);
    let shared: Arc<dyn Disk> = Arc::new(disk);
    let error = Store::open(shared, Path::new("/data/store"), config()).expect_err("has no tier");
    assert!(matches!(error, StoreError::Cold { .. }), "{error}");
}

#[test]
fn a_segment_that_goes_takes_its_object_along_and_a_changed_object_is_damage() {
    let (disk, objects) = (ForgetfulDisk::default(), Objects::new());
    let disk_too: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = StoreConfig { retention: Duration::from_secs(40 * 86_400), ..with_cold(&objects) };
    let store = Arc::new(Store::open(disk_too, Path::new("/data/store"), config).expect("opens"));
    add(&store, &batch(1, 1, 3_000));
    flush(&store, 1).expect("commits");
    let month = Timestamp(31 * 86_400 * 1_000_000_000);
    assert_eq!(keep(&store, month).expect("moves"), 1);
    let name = objects.names().into_iter().find(|name| name.ends_with(".parquet")).expect("is there");
    let key = ObjectPath::from(name.as_str());
    let bytes = futures::executor::block_on(async { objects.inner.get(&key).await?.bytes().await });
    let whole = bytes.expect("reads");
    let mut bytes = whole.to_vec();
    bytes[100] ^= 1;
    futures::executor::block_on(objects.inner.put(&key, bytes.into())).expect("puts");
    let request = ScanRequest {
        tenant: tenant(),
        dataset: Dataset::Logs,
        range: TimeRange::ALL,
        filter: Filter::All,
        fields: None,
    };
    let error = store.search(&request, Order::NewestFirst, 10_000, &Control::default()).expect_err("damaged");
    assert!(error.to_string().contains(&name), "{error}");
    let report = store.upkeep(YEAR, &|| ControlFlow::Continue(())).expect("keeps");
    assert_eq!(report.expired_segments, 1);
    drop(store);
    assert!(disk.list(Path::new("/data/store")).expect("lists").iter().all(|name| !name.ends_with(".tail")));
}

#[test]
fn a_folder_serves_as_a_tier() {
    let dir = tempfile::tempdir().expect("a folder");
    let cold = Cold::open("cold", dir.path()).expect("opens");
    let config = StoreConfig { cold: Some(cold), ..config() };
    let root = dir.path().join("store");
    let store = Arc::new(Store::open(Arc::new(OsDisk), &root, config).expect("opens"));
    let batches = [batch(1, 1, 5_000)];
    add(&store, &batches[0]);
    flush(&store, 1).expect("commits");
    assert_eq!(keep(&store, YEAR).expect("moves"), 1);
    let names: Vec<_> = std::fs::read_dir(dir.path().join("cold")).expect("lists").collect();
    assert_eq!(names.len(), 2, "the segment and whose place it is");
    check(&store, &batches, &Filter::All);
    for wrong in ["file://here", "gopher://x"] {
        assert!(matches!(Cold::open(wrong, dir.path()), Err(StoreError::Cold { .. })), "{wrong}");
    }
}
