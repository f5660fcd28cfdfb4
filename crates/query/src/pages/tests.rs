//! Pages against the whole list, on rows that share their times, partly in segments and partly in memory.

use std::ops::ControlFlow;
use std::sync::Arc;

use heimdall_journal::disk::OsDisk;
use heimdall_model::schema::logs;
use heimdall_model::{BatchBuilder, Dataset, Position, Tenant, Timestamp, Value};
use heimdall_store::{Control, Store, StoreConfig};

use crate::{Answer, Engine, ParseContext, Query, RunLimits, search};

const START: i64 = 1_772_366_400_000_000_000;
const SECOND: i64 = 1_000_000_000;

struct Shelf {
    engine: Engine,
    store: Arc<Store>,
    frames: u64,
    _dir: tempfile::TempDir,
}

impl Shelf {
    fn new() -> Shelf {
        Shelf::with(StoreConfig { scan_threads: 2, scan_unit_rows: 1, ..StoreConfig::default() })
    }

    fn with(config: StoreConfig) -> Shelf {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(Arc::new(OsDisk), dir.path(), config).expect("opens"));
        Shelf { engine: Engine::new(Arc::clone(&store)), store, frames: 0, _dir: dir }
    }

    /// Appends records of these seconds.
    fn add(&mut self, seconds: impl IntoIterator<Item = i64>) {
        self.add_lines(seconds.into_iter().map(|second| (second, "a line".to_owned())));
    }

    /// Appends records of these seconds with these messages.
    fn add_lines(&mut self, lines: impl IntoIterator<Item = (i64, String)>) {
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(START));
        for (second, message) in lines {
            builder.set_int(logs::TIMESTAMP, START + second * SECOND);
            builder.set_text(logs::SERVICE, ["a", "b"][usize::from(second % 2 == 0)]);
            builder.set_text(logs::MESSAGE, &message);
            builder.set_float(logs::DURATION_MS, f64::from(u32::try_from(second % 7).expect("small")));
            builder.end_row();
        }
        self.frames += 1;
        let mut batch = builder.finish();
        batch.base = Position::new(self.frames, 0);
        self.store.assign_templates(&Tenant::default(), &mut batch);
        self.store.append(&Tenant::default(), batch);
    }

    fn write_out(&mut self) {
        assert!(self.store.freeze(self.frames, Vec::new));
        self.store.commit_frozen().expect("commits");
    }

    fn ask(&self, query: &Query, rows: usize) -> Answer {
        let limits = RunLimits { rows_default: rows, rows_max: rows, ..RunLimits::default() };
        self.engine.run(query, &Control::default(), limits).expect("it runs")
    }

    /// The ids of every page, `between` being called after each.
    fn pages(&mut self, line: &str, rows: usize, mut between: impl FnMut(&mut Shelf)) -> Vec<Vec<String>> {
        let mut query = parse(line);
        let mut found = Vec::new();
        loop {
            let answer = self.ask(&query, rows);
            found.push(ids(&answer));
            assert!(found.len() < 200, "there is no end to it");
            let Some(end) = answer.stats.page_end else { return found };
            query.after = Some(end);
            between(self);
        }
    }
}

fn parse(line: &str) -> Query {
    let now = Timestamp(START + 1_000 * SECOND);
    search::parse(line, &ParseContext::new(Tenant::default(), Dataset::Logs, now)).expect("it parses")
}

fn ids(answer: &Answer) -> Vec<String> {
    let column = answer.columns.iter().position(|column| column.name == "id").expect("ids are asked for");
    let text = |row: &Vec<Value>| row[column].to_string();
    answer.rows.iter().map(text).collect()
}

/// Sixty records a part, five of each second; two parts in segments, one in memory.
fn shelf() -> Shelf {
    let mut shelf = Shelf::new();
    for part in 0..3 {
        shelf.add((0..60).map(|n| 100 + part * 6 + n / 5));
        if part < 2 {
            shelf.write_out();
        }
    }
    shelf
}

const LINES: [&str; 6] = [
    "| fields id",
    "| sort timestamp | fields id",
    "service:a | eval slow = duration_ms > 2 | where slow:true | fields id, slow",
    "| eval slow = duration_ms > 2 | where slow:true | sort timestamp | fields id",
    "| parse message as pattern \"a <what>\" | limit 77 | fields id, what",
    "| sort -timestamp | limit 50 | eval x = len(message) | fields id, x",
];

#[test]
fn pages_together_are_the_list_whatever_their_size() {
    let mut shelf = shelf();
    for line in LINES {
        let query = parse(line);
        assert!(query.is_paged(), "{line}");
        let whole = ids(&shelf.ask(&query, 10_000));
        assert!(whole.len() > 20, "{line}");
        for rows in [1, 2, 3, 5, 7, 50, 10_000] {
            let pages = shelf.pages(line, rows, |_| {});
            assert!(pages.iter().rev().skip(1).all(|page| page.len() == rows), "{line}, {rows} rows");
            assert_eq!(pages.concat(), whole, "{line}, {rows} rows");
        }
    }
}

#[test]
fn what_arrives_between_pages_neither_repeats_nor_shifts_a_row() {
    for line in LINES {
        let mut shelf = shelf();
        let before = ids(&shelf.ask(&parse(line), 10_000));
        let mut round = 0;
        let pages = shelf.pages(line, 4, |shelf| {
            round += 1;
            // Of times before, in and after the list, the last of them in one that is being read.
            if round < 12 {
                shelf.add([90, 105, 105, 110, 118, 200 + round]);
            }
            if round % 3 == 0 {
                shelf.write_out();
            }
        });
        let found = pages.concat();
        let mut unique = found.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), found.len(), "{line}: a row came twice");
        if !line.contains("limit") {
            let missing: Vec<_> = before.iter().filter(|id| !found.contains(id)).collect();
            assert!(missing.is_empty(), "{line}: {missing:?} were passed over");
        }
    }
}

#[test]
fn early_rows_have_pages_too() {
    let shelf = shelf();
    let whole = ids(&shelf.ask(&parse("| fields id"), 10_000));
    let mut query = parse("| fields id");
    let mut found: Vec<String> = Vec::new();
    loop {
        let limits = RunLimits { rows_default: 13, rows_max: 13, ..RunLimits::default() };
        let stats = shelf.engine.run_each(&query, &Control::default(), limits, &mut |early| {
            found.extend(early.rows.iter().map(|row| row[0].to_string()));
            ControlFlow::Continue(())
        });
        let Some(end) = stats.expect("it runs").page_end else { break };
        query.after = Some(end);
    }
    assert_eq!(found, whole);
}

/// A list once failed when it was handed out early, though whole it was answered: each small part of it held bytes to its end.
#[test]
fn early_rows_of_overlapping_segments_are_the_list_within_the_same_bytes() {
    let mut shelf = Shelf::with(StoreConfig { search_bytes_max: 1 << 20, ..StoreConfig::default() });
    for part in 0..4 {
        let message =
            |n: i64| if n > 8_900 { format!("a {}", "long ".repeat(400)) } else { "a line".to_owned() };
        shelf.add_lines((0..9_000).map(|n| (n * 4 + part, message(n))));
        shelf.write_out();
    }
    for line in
        ["| fields id, message", "service:b | fields message, id", "* | eval x = len(message) | fields id, x"]
    {
        let mut query = parse(line);
        for (rows, page) in [(120, 0), (1, 1), (50, 2), (200, 3), (120, 4)] {
            let answer = shelf.ask(&query, rows);
            let limits = RunLimits { rows_default: rows, rows_max: rows, ..RunLimits::default() };
            let mut early = Vec::new();
            let stats = shelf.engine.run_each(&query, &Control::default(), limits, &mut |rows| {
                early.extend(rows.rows.iter().cloned());
                ControlFlow::Continue(())
            });
            let stats = stats.unwrap_or_else(|error| panic!("{line}, page {page}: {error}"));
            assert_eq!(answer.rows.len(), rows, "{line}, page {page}");
            assert_eq!(early, answer.rows, "{line}, page {page}");
            assert_eq!(
                (stats.page_end, stats.partial),
                (answer.stats.page_end, false),
                "{line}, page {page}"
            );
            query.after = stats.page_end;
        }
    }
}

#[test]
fn a_page_cut_by_its_bytes_goes_on_where_it_was_cut() {
    let mut shelf = shelf();
    let whole = ids(&shelf.ask(&parse("| fields id, message"), 10_000));
    let mut query = parse("| fields id, message");
    let mut found = Vec::new();
    loop {
        let limits = RunLimits { result_bytes_max: 400, ..RunLimits::default() };
        let answer = shelf.engine.run(&query, &Control::default(), limits).expect("it runs");
        assert!(!answer.rows.is_empty());
        found.extend(ids(&answer));
        let Some(end) = answer.stats.page_end else { break };
        assert!(answer.stats.partial);
        query.after = Some(end);
    }
    assert_eq!(found, whole);
    shelf.add([1]);
}

#[test]
fn the_newest_page_reads_the_newest_segment_alone() {
    let mut shelf = Shelf::new();
    for part in 0..20 {
        shelf.add((0..100).map(|n| part * 100 + n));
        shelf.write_out();
    }
    let newest = shelf.ask(&parse("| fields id"), 10);
    assert_eq!((newest.stats.segments_scanned, newest.stats.segments_total), (1, 20));
    let mut query = parse("| fields id");
    query.after = Some(super::PagePlace {
        time: Timestamp(START + 505 * SECOND),
        position: Position::new(6, 5),
        rows: 1_494,
    });
    let deep = shelf.ask(&query, 10);
    assert!(deep.stats.segments_scanned <= 2, "{}", deep.stats.segments_scanned);
    assert_eq!(deep.rows.len(), 10);
}

#[test]
fn answers_that_are_no_lists_have_no_pages() {
    for line in [
        "| stats count()",
        "| sort service",
        "| dedup service",
        "| limit 5 | where service:a",
        "* | limit 3 | context 5",
        "| join (service:a | stats count() by host) on host",
        "| top 3 service",
    ] {
        assert!(!parse(line).is_paged(), "{line}");
    }
    let shelf = shelf();
    assert_eq!(shelf.ask(&parse("| stats count() by timestamp"), 3).stats.page_end, None);
}

#[test]
fn an_explanation_says_what_a_query_costs() {
    let shelf = shelf();
    let cost =
        |line: &str| shelf.engine.explain(&parse(line), RunLimits::default()).expect("it explains").cost;
    assert_eq!(cost("*").class, crate::CostClass::Cheap);
    assert!(cost("* | sort -duration_ms").rows >= 120);
    assert!(cost("| stats count() by service").why.contains("rollup") || shelf.frames == 3);
}
