//! Every way to read a table gives what the slow reference gives: in one piece, folded by several threads, as a stream,
//! the first rows of it; of rows in memory, in small segments and in merged ones.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use heimdall_journal::disk::ForgetfulDisk;
use heimdall_model::schema::{self, logs};
use heimdall_model::{Batch, BatchBuilder, Dataset, Filter, Literal, RecordId, Row, Test, Timestamp};
use heimdall_store::{
    Along, Control, Hit, Order, Progress, RowBlock, ScanError, ScanRequest, Store, StoreConfig, TimeRange,
    Wanted,
};
use proptest::prelude::*;

mod reference;
use reference::{add, arb_filter, batch, config, flush, ids, matching, merge, open, tenant};

fn request(filter: &Filter, range: TimeRange) -> ScanRequest {
    ScanRequest { tenant: tenant(), dataset: Dataset::Logs, range, filter: filter.clone(), fields: None }
}

fn ids_of(block: &RowBlock) -> impl Iterator<Item = RecordId> {
    (0..block.rows()).map(|row| block.id(row))
}

/// Rows and duration by service and host.
type Groups = BTreeMap<(Option<String>, Option<String>), (u64, f64)>;

fn add_to(groups: &mut Groups, service: Option<&str>, host: Option<&str>, duration: Option<f64>) {
    let group = groups.entry((service.map(str::to_owned), host.map(str::to_owned))).or_default();
    group.0 += 1;
    group.1 += duration.unwrap_or(0.0);
}

struct Case<'a> {
    store: &'a Arc<Store>,
    batches: &'a [Batch],
    filter: &'a Filter,
    range: TimeRange,
    limit: usize,
}

impl Case<'_> {
    fn check(&self) {
        let expected = matching(self.batches, self.filter, self.range);
        self.check_scan(&expected);
        self.check_fold(&expected);
        self.check_stream(&expected);
        self.check_search(&expected);
    }

    fn control(&self) -> Control {
        Control { progress: Some(Arc::new(Progress::default())), ..Control::default() }
    }

    fn request(&self) -> ScanRequest {
        request(self.filter, self.range)
    }

    fn check_scan(&self, expected: &[Row<'_>]) {
        let rows: BTreeMap<RecordId, &Row<'_>> = expected.iter().map(|row| (row.id(), row)).collect();
        let control = self.control();
        let mut seen = 0;
        let scanned = self.store.scan(&self.request(), &control, &mut |block| {
            for row in 0..block.rows() {
                let known = rows.get(&block.id(row)).expect("only matching rows");
                assert_eq!(block.service(row), known.text(logs::SERVICE));
                assert_eq!(block.text(logs::HOST, row), known.text(logs::HOST));
                assert_eq!(block.text(logs::MESSAGE, row), known.text(logs::MESSAGE));
                assert_eq!(block.text(logs::ATTRIBUTES, row), known.text(logs::ATTRIBUTES));
                assert_eq!(block.float(logs::DURATION_MS, row), known.float(logs::DURATION_MS));
                assert_eq!(block.bytes(logs::SPAN_ID, row), known.bytes(logs::SPAN_ID));
                assert_eq!(block.level(row).map(|level| level.code()), known.byte(logs::LEVEL));
                assert!(block.template_id(row).is_some_and(|id| id > 0));
                seen += 1;
            }
            ControlFlow::Continue(())
        });
        let stats = scanned.expect("scans");
        assert_eq!((seen, stats.rows_matched), (expected.len(), expected.len() as u64), "{:?}", self.filter);
        let progress = control.progress.expect("is there");
        assert_eq!(progress.rows_done(), progress.rows_total(), "{:?}", self.filter);
        let (count, _) = self.store.count(&self.request(), &self.control()).expect("counts");
        assert_eq!(count, expected.len() as u64, "count of {:?}", self.filter);
    }

    fn check_fold(&self, expected: &[Row<'_>]) {
        let mut groups = Groups::new();
        for row in expected {
            add_to(&mut groups, row.text(logs::SERVICE), row.text(logs::HOST), row.float(logs::DURATION_MS));
        }
        let fields = Some(vec![logs::SERVICE, logs::HOST, logs::DURATION_MS]);
        let request = ScanRequest { fields, ..self.request() };
        let (found, result) = self.store.fold(
            &request,
            Along::Nothing,
            &self.control(),
            Groups::new,
            |groups, block| {
                assert!(!block.has_ids());
                for row in 0..block.rows() {
                    let duration = block.float(logs::DURATION_MS, row);
                    add_to(groups, block.service(row), block.text(logs::HOST, row), duration);
                }
                ControlFlow::Continue(())
            },
            |groups, others| {
                for (key, (rows, sum)) in others {
                    let group = groups.entry(key).or_default();
                    *group = (group.0 + rows, group.1 + sum);
                }
            },
        );
        result.expect("folds");
        assert_eq!(found, groups, "fold of {:?}", self.filter);
        let only_services = ScanRequest { fields: Some(vec![logs::SERVICE]), ..self.request() };
        let count = |count: &mut usize, block: &RowBlock| {
            *count += block.rows();
            ControlFlow::Continue(())
        };
        let add = |count: &mut usize, other| *count += other;
        let (rows, _) = self.store.fold(&only_services, Along::Nothing, &self.control(), || 0, count, add);
        assert_eq!(rows, expected.len(), "fold of {:?}", self.filter);
    }

    /// The order of rows is that of a scan, and the same every time.
    fn check_stream(&self, expected: &[Row<'_>]) {
        let mut scanned = Vec::new();
        let _ = self.store.scan(&self.request(), &self.control(), &mut |block| {
            scanned.extend(ids_of(block));
            ControlFlow::Continue(())
        });
        let stream = |limit| {
            let fields = Some(vec![schema::TIMESTAMP]);
            let request = ScanRequest { fields, ..self.request() };
            let stream = self.store.stream(&request, Along::Ids, &self.control(), limit).expect("begins");
            let blocks: Vec<RowBlock> = stream.map(|block| block.expect("reads")).collect();
            blocks.iter().flat_map(ids_of).collect::<Vec<_>>()
        };
        assert_eq!(stream(None), scanned, "{:?}", self.filter);
        assert_eq!(stream(Some(self.limit)), scanned[..self.limit.min(scanned.len())]);
        let mut sorted = scanned;
        sorted.sort_unstable();
        let mut all = ids(expected);
        all.sort_unstable();
        assert_eq!(sorted, all, "{:?}", self.filter);
    }

    fn check_search(&self, expected: &[Row<'_>]) {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let mut rows = expected.to_vec();
            if order == Order::OldestFirst {
                rows.reverse();
            }
            let after = (self.limit % 3 == 1).then(|| rows.get(self.limit / 2)).flatten();
            let after = after.map(|row| (row.timestamp(), row.position()));
            let skipped = if after.is_some() { self.limit / 2 + 1 } else { 0 };
            let expected: Vec<RecordId> = ids(&rows).into_iter().skip(skipped).take(self.limit).collect();
            let wanted = Wanted { order, limit: self.limit, after };
            let (hits, _) =
                self.store.search_wanted(&self.request(), wanted, &self.control()).expect("searches");
            let found: Vec<RecordId> = hits.iter().map(|hit| hit.block.id(hit.row)).collect();
            assert_eq!(found, expected, "{order:?} of {:?}", self.filter);
            let mut found = Vec::new();
            let each = self.store.search_each(&self.request(), wanted, &self.control(), &mut |hits| {
                assert!(!hits.is_empty());
                found.extend(hits.iter().map(|hit| hit.block.id(hit.row)));
                ControlFlow::Continue(())
            });
            each.expect("searches");
            assert_eq!(found, expected, "{order:?} of {:?}", self.filter);
        }
    }
}

fn arb_config() -> impl Strategy<Value = StoreConfig> {
    (1usize..4, prop_oneof![Just(1), Just(5_000), Just(1 << 17)], prop_oneof![Just(1), Just(64 << 20)])
        .prop_map(|(scan_threads, scan_unit_rows, scan_bytes_max)| StoreConfig {
            scan_threads,
            scan_unit_rows,
            scan_bytes_max,
            ..config()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_reading_equals_the_slow_reference(
        parts in proptest::collection::vec((prop_oneof![0usize..300, 0usize..5_000], any::<bool>()), 1..7),
        config in arb_config(),
        is_merged in any::<bool>(),
        filters in proptest::collection::vec(arb_filter(), 3),
        bounds in (0i64..2_000, 0i64..2_000),
        limit in 0usize..200,
        seed in any::<u64>(),
    ) {
        let store = open(&ForgetfulDisk::default(), config);
        let mut batches = Vec::new();
        for (seq, (rows, is_flushed)) in (1..).zip(&parts) {
            batches.push(batch(seq, seed.wrapping_add(seq), *rows));
            add(&store, batches.last().expect("one was just pushed"));
            if *is_flushed {
                flush(&store, seq);
            }
        }
        if is_merged {
            merge(&store);
        }
        let span = TimeRange {
            from: Timestamp(bounds.0.min(bounds.1) * 1_000_000_000),
            to: Timestamp(bounds.0.max(bounds.1) * 1_000_000_000),
        };
        for filter in &filters {
            for range in [TimeRange::ALL, span] {
                Case { store: &store, batches: &batches, filter, range, limit }.check();
            }
        }
    }
}

fn small_store() -> Arc<Store> {
    let config = StoreConfig { scan_threads: 3, scan_unit_rows: 1, scan_bytes_max: 1, ..config() };
    let store = open(&ForgetfulDisk::default(), config);
    for seq in 1..=6 {
        add(&store, &batch(seq, seq, 6_000));
        if seq < 6 {
            flush(&store, seq);
        }
    }
    store
}

#[test]
fn whoever_stops_reading_or_cancels_ends_the_scan() {
    let store = small_store();
    let request = request(&Filter::All, TimeRange::ALL);
    let mut stream = store.stream(&request, Along::Ids, &Control::default(), None).expect("begins");
    assert!(stream.next().expect("there are rows").is_ok());
    drop(stream);
    let cancelled = Arc::new(AtomicBool::new(false));
    let control = Control { cancelled: Arc::clone(&cancelled), ..Control::default() };
    let mut stream = store.stream(&request, Along::Ids, &control, None).expect("begins");
    assert!(stream.next().expect("there are rows").is_ok());
    cancelled.store(true, Ordering::Relaxed);
    assert!(stream.any(|block| matches!(block, Err(ScanError::Cancelled))));
    let (rows, result) = store.fold(
        &request,
        Along::Nothing,
        &control,
        || 0,
        |rows, block| {
            *rows += block.rows();
            ControlFlow::Continue(())
        },
        |rows, others| *rows += others,
    );
    assert!(matches!(result, Err(ScanError::Cancelled)) && rows < 36_000);
}

#[test]
fn a_spent_budget_is_an_error_and_the_state_covers_a_part() {
    let store = small_store();
    let control = Control { rows_scanned_max: Some(10_000), ..Control::default() };
    let request = request(&Filter::All, TimeRange::ALL);
    let (rows, result) = store.fold(
        &request,
        Along::Nothing,
        &control,
        || 0,
        |rows, block| {
            *rows += block.rows();
            ControlFlow::Continue(())
        },
        |rows, others| *rows += others,
    );
    let Err(ScanError::BudgetExceeded { rows_max: 10_000, stats }) = result else { panic!("{result:?}") };
    assert!(rows > 0 && rows < 36_000 && stats.rows_scanned > 10_000);
    assert!(store.count(&request, &control).is_ok_and(|(count, _)| count == 36_000), "nothing is read");
}

#[test]
fn breaking_off_is_no_error() {
    let store = small_store();
    let request = request(&Filter::All, TimeRange::ALL);
    let (blocks, result) = store.fold(
        &request,
        Along::Nothing,
        &Control::default(),
        || 0,
        |blocks, _| {
            *blocks += 1;
            ControlFlow::Break(())
        },
        |blocks, others| *blocks += others,
    );
    assert!(result.is_ok() && (1..=3).contains(&blocks));
}

/// The latest records of a table are found in its latest pages.
#[test]
fn a_search_reads_only_the_pages_that_can_hold_its_rows() {
    let store = open(&ForgetfulDisk::default(), config());
    for seq in 1..=4_u64 {
        let mut rows = heimdall_model::BatchBuilder::new(Dataset::Logs, Timestamp(1));
        for row in 0..20_000_u64 {
            let ns = (seq * 20_000 + row) * 1_000;
            rows.set_int(logs::TIMESTAMP, i64::try_from(ns).expect("small"));
            rows.set_text(logs::SERVICE, if row % 2 == 0 { "even" } else { "odd" });
            rows.set_text(logs::MESSAGE, "tick");
            rows.end_row();
        }
        let mut batch = rows.finish();
        batch.base = heimdall_model::Position::new(seq, 0);
        add(&store, &batch);
        flush(&store, seq);
    }
    let request = ScanRequest { fields: Some(vec![logs::MESSAGE]), ..request(&Filter::All, TimeRange::ALL) };
    let control = Control { progress: Some(Arc::default()), ..Control::default() };
    let (hits, stats) = store.search(&request, Order::NewestFirst, 10, &control).expect("searches");
    assert_eq!((hits.len(), stats.segments_scanned), (10, 1));
    assert!(stats.rows_scanned <= 3 * 4_096, "{stats:?}");
    let middle = TimeRange { from: Timestamp(0), to: Timestamp(41_000_000) };
    let request = ScanRequest { range: middle, ..request };
    let (hits, stats) = store.search(&request, Order::NewestFirst, 10, &control).expect("searches");
    assert_eq!((hits.len(), stats.segments_scanned), (10, 1), "{stats:?}");
    assert_eq!(hits[0].place().0, Timestamp(40_999_000));
}

/// Every page of a service holds records of the whole hour, so bounds of pages rule none out: the latest records are found in the latest
/// minutes of all services.
#[test]
fn a_search_reads_only_the_minutes_that_can_hold_its_rows() {
    const ROWS: i64 = 60_000;
    const NS: i64 = 3_600_000_000_000 / ROWS;
    let unit_rows = 8_192;
    let store = open(&ForgetfulDisk::default(), StoreConfig { scan_unit_rows: unit_rows, ..config() });
    for seq in 1..=3 {
        let mut rows = BatchBuilder::new(Dataset::Logs, Timestamp(1));
        for row in (0..ROWS).filter(|row| row % 3 + 1 == seq) {
            rows.set_int(logs::TIMESTAMP, row * NS);
            rows.set_text(
                logs::SERVICE,
                ["cart", "edge", "mail", "shop"][usize::try_from(row / 7 % 4).expect("small")],
            );
            rows.set_text(logs::HOST, if row % 10 == 0 { "h0" } else { "h1" });
            rows.set_text(logs::MESSAGE, "tick");
            rows.end_row();
        }
        let mut batch = rows.finish();
        batch.base = heimdall_model::Position::new(seq.unsigned_abs(), 0);
        add(&store, &batch);
    }
    flush(&store, 3);
    let search = |filter: &Filter, range, order, after| {
        let wanted = Wanted { order, limit: 40, after };
        let found = store.search_wanted(&request(filter, range), wanted, &Control::default());
        let (hits, stats) = found.expect("searches");
        assert_eq!(hits.len(), 40);
        let rows: Vec<i64> = hits.iter().map(|hit| hit.place().0.0 / NS).collect();
        (rows, hits.last().map(Hit::place), stats.rows_scanned)
    };
    let host = Filter::field(logs::HOST, Test::Equals(Literal::new("h0")));
    let all = TimeRange::ALL;
    let minute = 1_000;
    let every_tenth = |from: i64| (0..40).map(|n| from + n * 10).collect::<Vec<_>>();
    let reversed = |mut rows: Vec<i64>| {
        rows.reverse();
        rows
    };
    // A quarter of what one thread does is the first window: so many minutes, and the one that makes it full.
    let window = unit_rows as u64 / 4 + minute;
    let (rows, last, scanned) = search(&host, all, Order::NewestFirst, None);
    assert_eq!(rows, reversed(every_tenth(ROWS - 400)));
    assert!(scanned <= window, "{scanned}");
    let (rows, _, scanned) = search(&host, all, Order::NewestFirst, last);
    assert_eq!(rows, reversed(every_tenth(ROWS - 800)), "the next page");
    assert!(scanned <= window, "{scanned}");
    let (rows, _, scanned) = search(&host, all, Order::OldestFirst, None);
    assert_eq!(rows, every_tenth(0));
    assert!(scanned <= window, "{scanned}");
    // Within a minute and a half that end within minutes.
    let range = TimeRange { from: Timestamp(20_200 * NS), to: Timestamp(21_701 * NS) };
    let (rows, _, _) = search(&host, range, Order::NewestFirst, None);
    assert_eq!(rows, reversed(every_tenth(21_310)));
    // Of records that all pass, no more than the minute is read.
    let (rows, _, scanned) = search(&Filter::All, all, Order::NewestFirst, None);
    assert_eq!(rows, reversed((ROWS - 40..ROWS).collect()));
    assert!(scanned <= minute, "{scanned}");
}

#[test]
fn an_id_is_found_in_the_bytes_of_pages_before_their_rows_are_looked_at() {
    let store = open(&ForgetfulDisk::default(), config());
    let mut rows = BatchBuilder::new(Dataset::Logs, Timestamp(1));
    for row in 0..20_000_u64 {
        rows.set_int(logs::TIMESTAMP, i64::try_from(row).expect("small"));
        rows.set_text(logs::SERVICE, "edge");
        rows.set_text(logs::MESSAGE, "tick");
        if row % 4 > 0 {
            // No signature covers ids of spans. Some stand in two places.
            rows.set_bytes(logs::SPAN_ID, &(row % 19_000).to_be_bytes());
        }
        rows.end_row();
    }
    let mut batch = rows.finish();
    batch.base = heimdall_model::Position::new(1, 0);
    add(&store, &batch);
    flush(&store, 1);
    let found = |filter: Filter| {
        let request = request(&filter, TimeRange::ALL);
        let (hits, stats) =
            store.search(&request, Order::OldestFirst, 10, &Control::default()).expect("searches");
        let rows: Vec<i64> = hits.iter().map(|hit| hit.place().0.0).collect();
        (rows, stats.rows_scanned)
    };
    let id = |n: u64| Filter::field(logs::SPAN_ID, Test::Equals(Literal::new(&format!("{n:016x}"))));
    let pages = |pages: u64| pages * 4_096;
    assert_eq!(found(id(501)), (vec![501, 19_501], pages(1) + 20_000 - pages(4)));
    assert_eq!(found(id(10_001)), (vec![10_001], pages(1)));
    assert_eq!(found(id(19_501)), (vec![], 0), "no row has it");
    assert_eq!(found(id(900)), (vec![], 0), "rows without an id");
    assert_eq!(found(id(501).and(id(10_001))), (vec![], 0), "in no page are both");
    let either = Filter::Or(vec![id(501), id(10_001)]);
    assert_eq!(found(either), (vec![501, 10_001, 19_501], 20_000), "neither is needed");
}

/// Each page of overlapping segments, whose services come one after the other, has one of the newest rows: what is certain grows by
/// a row a page. A search that handed out each such row by itself once ran out of the bytes of an answer that it had room for.
#[test]
fn rows_handed_out_early_cost_what_they_cost_together() {
    const SEGMENTS: u64 = 3;
    const ROWS: u64 = 20_000;
    let store = open(
        &ForgetfulDisk::default(),
        StoreConfig { search_bytes_max: 2 << 20, scan_threads: 2, ..config() },
    );
    let large = format!(r#"{{"pad":"{}"}}"#, "x".repeat(3_600));
    for seq in 1..=SEGMENTS {
        let mut rows = BatchBuilder::new(Dataset::Logs, Timestamp(1));
        for row in 0..ROWS {
            rows.set_int(logs::TIMESTAMP, i64::try_from((row * SEGMENTS + seq) * 1_000).expect("small"));
            rows.set_text(logs::SERVICE, &format!("service-{}", row * 7 % 50));
            rows.set_text(logs::MESSAGE, "tick");
            rows.set_text(logs::ATTRIBUTES, if row > ROWS - 200 { &large } else { "{}" });
            rows.end_row();
        }
        let mut batch = rows.finish();
        batch.base = heimdall_model::Position::new(seq, 0);
        add(&store, &batch);
        flush(&store, seq);
    }
    let request = request(&Filter::All, TimeRange::ALL);
    let ids_of = |hits: &[Hit]| hits.iter().map(|hit| hit.block.id(hit.row)).collect::<Vec<_>>();
    let each = |wanted| {
        let (mut found, mut calls, start) = (Vec::new(), 0_u64, Instant::now());
        let stats = store.search_each(&request, wanted, &Control::default(), &mut |hits| {
            calls += 1;
            found.extend(ids_of(&hits));
            ControlFlow::Continue(())
        });
        // Where a search takes long, rows do not wait for others longer than a quarter of a second.
        let late = start.elapsed().as_secs() * 4 + u64::from(start.elapsed().subsec_millis()) / 250;
        (found, calls - late.min(calls), stats.expect("it fits, a part at a time"), late)
    };
    let mut after = None;
    for limit in [300, 1, 77, 300] {
        let wanted = Wanted { order: Order::NewestFirst, limit, after };
        let (hits, whole) = store.search_wanted(&request, wanted, &Control::default()).expect("it fits");
        let (found, calls, stats, late) = each(wanted);
        assert_eq!((found.len(), found), (limit, ids_of(&hits)), "{limit} after {after:?}");
        assert_eq!(stats.rows_scanned, whole.rows_scanned);
        assert!(calls <= 2, "handed out in {calls} parts");
        let bytes_max = whole.bytes_read * (2 + late);
        assert!(stats.bytes_read < bytes_max, "{} and {}", stats.bytes_read, whole.bytes_read);
        after = hits.last().map(Hit::place);
    }
    // What does not fit at once is handed out in parts that do.
    let wanted = Wanted { order: Order::NewestFirst, limit: 590, after: None };
    let whole = store.search_wanted(&request, wanted, &Control::default());
    assert!(matches!(whole, Err(ScanError::AnswerTooLarge { .. })), "{whole:?}");
    let (found, ..) = each(wanted);
    let (newest, _) = store.search(&request, Order::NewestFirst, 300, &Control::default()).expect("it fits");
    assert_eq!((found.len(), &found[..300]), (590, ids_of(&newest).as_slice()));
}

/// The room that reading makes for rows once counted as theirs: a hundred segments with a row each were too large an answer.
#[test]
fn a_row_of_each_of_many_segments_is_a_small_answer() {
    let store = open(&ForgetfulDisk::default(), StoreConfig { search_bytes_max: 256 << 10, ..config() });
    for seq in 1..=40_u64 {
        let mut rows = BatchBuilder::new(Dataset::Logs, Timestamp(1));
        for row in 0..9_000_u64 {
            rows.set_int(logs::TIMESTAMP, i64::try_from(seq * 10_000 + row).expect("small"));
            rows.set_text(logs::SERVICE, if row == 4_500 { "rare" } else { "common" });
            rows.set_text(logs::MESSAGE, "tick");
            rows.end_row();
        }
        let mut batch = rows.finish();
        batch.base = heimdall_model::Position::new(seq, 0);
        add(&store, &batch);
        flush(&store, seq);
    }
    let rare = Filter::field(logs::SERVICE, Test::Equals(Literal::new("rare")));
    let request = request(&rare, TimeRange::ALL);
    let (hits, _) = store.search(&request, Order::NewestFirst, 100, &Control::default()).expect("it fits");
    assert_eq!(hits.len(), 40);
}
