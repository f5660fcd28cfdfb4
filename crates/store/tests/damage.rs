//! Files of a real store, damaged in every way a disk damages them: what is opened and asked afterwards is an error that
//! names the file, the right answer, or to whoever asks for it an answer without the damaged segment that names it; never
//! a panic, never a wrong answer, never memory out of proportion.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use heimdall_journal::disk::OsDisk;
use heimdall_model::schema::logs;
use heimdall_model::{
    Batch, BatchBuilder, Dataset, FieldId, Filter, Level, Literal, Position, Target, Tenant, Test, Timestamp,
};
use heimdall_store::summary::{Classes, Sought};
use heimdall_store::{
    Bin, Control, CountsBy, DamagedSegment, Order, ScanError, ScanRequest, Store, StoreConfig, StoreError,
    TimeRange, verify,
};
use proptest::prelude::*;

const SERVICES: [&str; 4] = ["auth", "billing", "edge", "mail"];
const START: i64 = 1_772_366_400_000_000_000;

fn config() -> StoreConfig {
    StoreConfig { retention: Duration::ZERO, ..StoreConfig::default() }
}

fn batch(seq: u64, rows: usize) -> Batch {
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(START));
    for row in 0..rows as u64 {
        let n = seq * 1_000_003 + row * 7_919;
        builder.set_int(logs::TIMESTAMP, START + i64::try_from(n % 7_200).expect("small") * 1_000_000_000);
        builder.set_text(logs::SERVICE, SERVICES[usize::try_from(n % 4).expect("small")]);
        builder.set_level(Level::ALL[usize::try_from(n % 6).expect("small")]);
        builder.set_text(
            logs::MESSAGE,
            &format!("connection {} refused by 10.0.0.{} after {} ms", n % 97, n % 13, n % 1_009),
        );
        builder.set_text(logs::USER_ID, &format!("u{}", n % 101));
        builder.set_bytes(logs::TRACE_ID, &(u128::from(n) * 0x9E37_79B9_7F4A_7C15_F39C).to_be_bytes());
        builder.set_float(logs::DURATION_MS, f64::from(u32::try_from(n % 500).expect("small")));
        if n.is_multiple_of(3) {
            builder.set_text(
                logs::ATTRIBUTES,
                &format!(r#"{{"status":{},"zone":"z{}"}}"#, 200 + n % 4 * 100, n % 7),
            );
        }
        builder.end_row();
    }
    let mut batch = builder.finish();
    batch.base = Position::new(seq, 0);
    batch
}

/// Files by their name.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The files of a store of six segments, and what it answers.
struct Whole {
    files: Files,
    answers: Vec<String>,
    /// The rows that pass each filter.
    rows: Vec<Vec<String>>,
}

static WHOLE: LazyLock<Whole> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Arc::new(Store::open(Arc::new(OsDisk), dir.path(), config()).expect("opens"));
    let tenant = Tenant::default();
    for seq in 1..=6 {
        // Two of them have as many rows: their files could be taken for each other.
        let mut batch = batch(seq, if seq < 3 { 4_500 } else { 300 * usize::try_from(seq).expect("small") });
        store.assign_templates(&tenant, &mut batch);
        store.append(&tenant, batch);
        assert!(store.freeze(seq, || b"what detectors know".to_vec()));
        store.commit_frozen().expect("commits");
    }
    let answers = answers(&store).expect("an undamaged store answers");
    let (rows, missing) = rows_without_damaged(&store).expect("an undamaged store answers");
    assert!(missing.is_empty(), "{missing:?}");
    drop(store);
    let mut files = BTreeMap::new();
    collect(dir.path(), dir.path(), &mut files);
    assert!(files.len() >= 14, "segments, sidecars, catalog, detector state, manifests: {:?}", files.keys());
    Whole { files, answers, rows }
});

fn collect(root: &Path, dir: &Path, files: &mut Files) {
    for entry in std::fs::read_dir(dir).expect("reads") {
        let path = entry.expect("reads").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("below it").to_owned();
            files.insert(name, std::fs::read(&path).expect("reads"));
        }
    }
}

fn field(name: &str, test: Test) -> Filter {
    Filter::Test(Target::resolve(Dataset::Logs, name), test)
}

fn filters() -> [(Filter, TimeRange); 9] {
    let needle = format!("{:032x}", 1_000_003_u128 * 0x9E37_79B9_7F4A_7C15_F39C);
    let middle =
        TimeRange { from: Timestamp(START + 600_000_000_000), to: Timestamp(START + 660_000_000_000) };
    [
        (Filter::All, TimeRange::ALL),
        (Filter::All, middle),
        (field("trace_id", Test::Equals(Literal::new(&needle))), TimeRange::ALL),
        (field("service", Test::Equals(Literal::new("edge"))), TimeRange::ALL),
        (field("level", Test::Equals(Literal::new("error"))), middle),
        (field("message", Test::Words("refused by".into())), TimeRange::ALL),
        (field("message", Test::Regex("after 1[0-9]+ ms".into())), TimeRange::ALL),
        (field("zone", Test::Equals(Literal::new("z3"))), TimeRange::ALL),
        (field("user_id", Test::Equals(Literal::new("u17"))), TimeRange::ALL),
    ]
}

fn request(filter: Filter, range: TimeRange) -> ScanRequest {
    let fields: Vec<FieldId> =
        vec![logs::SERVICE, logs::MESSAGE, logs::TRACE_ID, logs::USER_ID, logs::ATTRIBUTES];
    ScanRequest { tenant: Tenant::default(), dataset: Dataset::Logs, range, filter, fields: Some(fields) }
}

/// The rows that pass each filter, and the segments that were left out for it.
type WithoutDamaged = (Vec<Vec<String>>, Vec<DamagedSegment>);

/// Asks again without what was found damaged, until there is an answer.
fn rows_without_damaged(store: &Arc<Store>) -> Result<WithoutDamaged, ScanError> {
    let control = Control { without_damaged: true, ..Control::default() };
    loop {
        let known = store.damaged().len();
        let found = filters().into_iter().map(|(filter, range)| {
            let (mut rows, request) = (Vec::new(), request(filter, range));
            let stats = store.scan(&request, &control, &mut |block| {
                rows.extend((0..block.rows()).map(|at| row(block, at)));
                ControlFlow::Continue(())
            })?;
            rows.sort_unstable();
            assert_eq!(store.count(&request, &control)?.0, rows.len() as u64);
            let (hits, _) = store.search(&request, Order::OldestFirst, 20, &control)?;
            assert_eq!(hits.len(), rows.len().min(20));
            Ok::<_, ScanError>((rows, stats.missing))
        });
        match found.collect::<Result<Vec<_>, _>>() {
            Err(ScanError::Store(StoreError::Corrupt { .. })) if store.damaged().len() > known => {}
            // What later filters found damaged is missing from earlier ones too.
            Ok(_) if store.damaged().len() > known => {}
            Err(error) => return Err(error),
            Ok(found) => {
                let missing = found.first().map(|(_, missing)| missing.clone()).unwrap_or_default();
                return Ok((found.into_iter().map(|(rows, _)| rows).collect(), missing));
            }
        }
    }
}

/// What a store answers to questions that take every way through it, each as a text.
fn answers(store: &Arc<Store>) -> Result<Vec<String>, ScanError> {
    let control = Control::default();
    let mut answers = Vec::new();
    for (filter, range) in filters() {
        let request = request(filter, range);
        answers.push(store.count(&request, &control)?.0.to_string());
        let (hits, _) = store.search(&request, Order::NewestFirst, 20, &control)?;
        answers.push(hits.iter().map(|hit| row(&hit.block, hit.row)).collect());
        let mut rows = Vec::new();
        store.scan(&request, &control, &mut |block| {
            rows.extend((0..block.rows()).map(|at| row(block, at)));
            ControlFlow::Continue(())
        })?;
        rows.sort_unstable();
        answers.push(format!("{:08x}", crc32c::crc32c(rows.concat().as_bytes())));
    }
    answers.extend(summaries(store).map_err(ScanError::from)?);
    answers.push(
        String::from_utf8_lossy(&store.judgement().map_err(ScanError::from)?.unwrap_or_default())
            .into_owned(),
    );
    let templates = store.with_templates(&Tenant::default(), |miner| {
        miner.templates().map(|(id, template)| format!("{id:?} {}", template.text())).collect::<String>()
    });
    answers.push(templates.unwrap_or_default());
    Ok(answers)
}

/// What the summaries say.
fn summaries(store: &Arc<Store>) -> Result<Vec<String>, StoreError> {
    let view = store.view(&Tenant::default(), Dataset::Logs);
    let mut counts = Vec::new();
    for span_ns in [60_000_000_000, 3_600_000_000_000] {
        let by = CountsBy { bin: Some(Bin { span_ns }), service: true, level: true };
        view.counts(TimeRange::ALL, by, &mut |time, service, level, rows| {
            counts.push(format!("{time} {service:?} {level:?} {rows}"));
        })?;
    }
    counts.sort_unstable();
    let mut durations = view.latency(TimeRange::ALL, None)?.found;
    let (from, to) = view.bounds().unwrap_or_default();
    let cut = TimeRange { from: Timestamp(from.0 + 1), to };
    for bin in [None, Some(Bin { span_ns: 60_000_000_000 })] {
        durations.extend(view.latency(cut, bin)?.found);
    }
    durations.sort_by(|a, b| (&a.service, a.time).cmp(&(&b.service, b.time)));
    let mut values = Vec::new();
    for target in [Target::Field(logs::USER_ID), Target::Attribute("status".to_owned())] {
        view.cubes(&target, TimeRange::ALL, false)?.found.values(
            Sought::ALL,
            Classes::ALL,
            &mut |value, rows| {
                values.push(format!("{value:?} {rows}"));
                true
            },
        )?;
    }
    values.sort_unstable();
    let statistics = store.field_statistics(&Tenant::default(), Dataset::Logs, TimeRange::ALL)?;
    Ok(vec![
        counts.concat(),
        format!("{durations:?}"),
        format!("{:?}", view.template_counts(TimeRange::ALL, None)?.found),
        format!("{:?}", view.template_counts(cut, None)?.found),
        values.concat(),
        format!("{statistics:?}"),
    ])
}

fn row(block: &heimdall_store::RowBlock, row: usize) -> String {
    format!(
        "{} {:?} {:?} {:?} {:?} {:?};",
        block.id(row),
        block.text(logs::SERVICE, row),
        block.text(logs::MESSAGE, row),
        block.bytes(logs::TRACE_ID, row),
        block.text(logs::USER_ID, row),
        block.text(logs::ATTRIBUTES, row),
    )
}

/// What happens to a file. Places are in 1/65,536 of its length.
#[derive(Debug, Clone)]
enum Harm {
    Flip {
        at: u16,
        bit: u8,
    },
    Cut {
        at: u16,
    },
    Append {
        bytes: Vec<u8>,
    },
    Zero {
        at: u16,
        len: u16,
    },
    /// Two spans of its bytes change places.
    Turn {
        at: u16,
        other: u16,
        len: u16,
    },
    /// Another file of its kind stands in its place, and it in the other's.
    Swap {
        with: usize,
    },
}

fn arb_harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        4 => (any::<u16>(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip { at, bit }),
        1 => any::<u16>().prop_map(|at| Harm::Cut { at }),
        1 => prop::collection::vec(any::<u8>(), 1..64).prop_map(|bytes| Harm::Append { bytes }),
        2 => (any::<u16>(), 1..5_000_u16).prop_map(|(at, len)| Harm::Zero { at, len }),
        1 => (any::<u16>(), any::<u16>(), 1..300_u16).prop_map(|(at, other, len)| Harm::Turn { at, other, len }),
        1 => any::<usize>().prop_map(|with| Harm::Swap { with }),
    ]
}

fn place(at: u16, len: usize) -> usize {
    usize::from(at) * len / 65_536
}

fn harm(files: &mut Files, name: &Path, harm: &Harm) {
    if let Harm::Swap { with } = harm {
        let kind = |name: &Path| name.extension().map(ToOwned::to_owned);
        let others: Vec<PathBuf> = files.keys().filter(|other| kind(other) == kind(name)).cloned().collect();
        let other = &others[with % others.len()];
        let (a, b) = (files[name].clone(), files[other].clone());
        files.insert(name.to_owned(), b);
        files.insert(other.clone(), a);
        return;
    }
    let bytes = files.get_mut(name).expect("is there");
    let len = bytes.len();
    match harm {
        Harm::Flip { at, bit } if len > 0 => bytes[place(*at, len)] ^= 1 << bit,
        Harm::Cut { at } => bytes.truncate(place(*at, len)),
        Harm::Append { bytes: more } => bytes.extend_from_slice(more),
        Harm::Zero { at, len: zeros } => {
            let from = place(*at, len);
            bytes[from..len.min(from + usize::from(*zeros))].fill(0);
        }
        Harm::Turn { at, other, len: span } => {
            let (a, b) = (place(*at.min(other), len), place(*at.max(other), len));
            let span = usize::from(*span).min(b - a).min(len - b);
            let (left, right) = bytes.split_at_mut(b);
            left[a..a + span].swap_with_slice(&mut right[..span]);
        }
        _ => {}
    }
}

/// Opens the store of these files and compares what it answers.
fn check(files: &Files, what: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("makes");
        std::fs::write(path, bytes).expect("writes");
    }
    check_verify(dir.path(), files, what);
    let store = match Store::open(Arc::new(OsDisk), dir.path(), config()) {
        Ok(store) => Arc::new(store),
        Err(error) => return names_a_file(&error, what),
    };
    let answered = answers(&store);
    check_without_damaged(&store, answered.is_ok(), what);
    check_fields_and_erasing(&store, what);
    match answered {
        Ok(answers) => {
            for (given, right) in answers.iter().zip(&WHOLE.answers) {
                assert!(given == right, "{what}: a wrong answer: {given:.300} instead of {right:.300}");
            }
        }
        Err(ScanError::Store(error)) => names_a_file(&error, what),
        Err(other) => panic!("{what}: {other}"),
    }
}

/// Verification names every file of the newest manifest that is not as it was, and no other.
fn check_verify(root: &Path, files: &Files, what: &str) {
    let (mut damaged, mut seen) = (Vec::new(), Vec::new());
    let verified = verify(Arc::new(OsDisk), root, None, &mut |file| {
        let name = file.path.strip_prefix(root).expect("below it").to_owned();
        if let Some(error) = &file.damage {
            names_a_file(error, what);
            damaged.push(name.clone());
        }
        seen.push(name);
    });
    verified.expect("looks at all files");
    let newest = files.keys().filter(|name| name.extension().is_some_and(|ext| ext == "json")).max();
    for (name, bytes) in files {
        let is_changed = *bytes != WHOLE.files[name];
        let is_manifest = Some(name) == newest;
        // White space at the end of a manifest means nothing; and a damaged one tells of no other file.
        if is_manifest && bytes.trim_ascii_end() == WHOLE.files[name].trim_ascii_end() {
            continue;
        }
        if seen.contains(name) {
            assert_eq!(is_changed, damaged.contains(name), "{what}: {}", name.display());
        }
        assert!(!is_manifest || is_changed == damaged.contains(name), "{what}: {}", name.display());
    }
    let all =
        files.len() - files.keys().filter(|name| name.to_string_lossy().contains("manifest")).count() + 1;
    let is_stopped = newest.is_some_and(|newest| damaged.contains(newest));
    assert!(is_stopped || seen.len() == all, "{what}: {seen:?}");
}

/// An answer without what is damaged has all rows but those of the segments it names.
fn check_without_damaged(store: &Arc<Store>, is_whole: bool, what: &str) {
    let (given, missing) = match rows_without_damaged(store) {
        Ok(found) => found,
        Err(ScanError::Store(error)) => return names_a_file(&error, what),
        Err(other) => panic!("{what}: {other}"),
    };
    assert!(missing.iter().all(|damaged| !damaged.file.is_empty() && !damaged.detail.is_empty()), "{what}");
    assert!(!is_whole || missing.is_empty(), "{what}: {missing:?} is missing from a whole answer");
    let gone: u64 = missing.iter().map(|damaged| damaged.rows).sum();
    assert_eq!(given[0].len() as u64 + gone, WHOLE.rows[0].len() as u64, "{what}: rows given and missing");
    for (given, right) in given.iter().zip(&WHOLE.rows) {
        assert!(given.iter().all(|row| right.binary_search(row).is_ok()), "{what}: a wrong row");
    }
    let known = store.view(&Tenant::default(), Dataset::Logs).without_damaged();
    assert_eq!((known.rows(), known.missing(TimeRange::ALL).count()), (given[0].len() as u64, missing.len()));
    assert_eq!(store.status().damaged.len(), missing.len());
}

/// Field statistics and erasing go on without a damaged segment, and name it.
fn check_fields_and_erasing(store: &Arc<Store>, what: &str) {
    let tenant = Tenant::default();
    match store.field_statistics_without_damaged(&tenant, Dataset::Logs, TimeRange::ALL) {
        Ok((fields, missing)) => {
            let gone: u64 = missing.iter().map(|damaged| damaged.rows).sum();
            let counted = fields.iter().map(|field| field.rows_total).max().unwrap_or(0);
            assert_eq!(counted + gone, WHOLE.rows[0].len() as u64, "{what}: rows counted and missing");
        }
        Err(ScanError::Store(error)) => names_a_file(&error, what),
        Err(other) => panic!("{what}: {other}"),
    }
    let [.., (filter, range)] = filters();
    let request = request(filter, range);
    let wanted = WHOLE.rows[8].len() as u64;
    match store.erase(&request, Timestamp(START), false, heimdall_store::UNHURRIED) {
        Ok(report) => {
            assert_eq!(report.remaining, 0, "{what}");
            assert!(report.erased == wanted || !report.not_erased.is_empty(), "{what}: {report:?}");
            assert!(report.erased <= wanted, "{what}: {report:?}");
            let names: Vec<_> = report.not_erased.iter().map(|damaged| &damaged.file).collect();
            assert!(names.iter().all(|name| !name.is_empty()), "{what}");
            let damaged = store.damaged();
            assert!(names.iter().all(|name| damaged.iter().any(|known| known.file == **name)), "{what}");
        }
        Err(ScanError::Store(error)) => names_a_file(&error, what),
        Err(other) => panic!("{what}: {other}"),
    }
}

fn names_a_file(error: &StoreError, what: &str) {
    match error {
        StoreError::Io { path, .. } | StoreError::Corrupt { path, .. } => {
            assert!(path.file_name().is_some(), "{what}: {error}");
        }
        other => panic!("{what}: {other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_an_error_or_does_no_harm(
        file in any::<prop::sample::Index>(),
        harms in prop::collection::vec(arb_harm(), 1..3),
    ) {
        let mut files = WHOLE.files.clone();
        let name = files.keys().nth(file.index(files.len())).expect("there are some").clone();
        harms.iter().for_each(|one| harm(&mut files, &name, one));
        check(&files, &format!("{} {harms:?}", name.display()));
    }
}

#[test]
fn files_of_equal_form_do_not_stand_in_for_each_other() {
    for kind in ["parquet", "hidx", "json"] {
        let names: Vec<&PathBuf> =
            WHOLE.files.keys().filter(|name| name.extension().is_some_and(|ext| ext == kind)).collect();
        for with in 1..names.len() {
            let mut files = WHOLE.files.clone();
            harm(&mut files, names[0], &Harm::Swap { with });
            check(&files, &format!("{kind} 0 and {with} swapped"));
        }
    }
}

/// Erasing stopped at a damaged segment, and nothing was erased anywhere; it must not claim what it did not do either.
#[test]
fn erasing_leaves_a_damaged_segment_and_says_so() {
    let parquet = |path: &&PathBuf| path.extension().is_some_and(|ext| ext == "parquet");
    let name = WHOLE.files.keys().find(parquet).expect("there is one").clone();
    let [.., (filter, range)] = filters();
    let request = request(filter, range);
    for place in [5_000, 40_000] {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, bytes) in &WHOLE.files {
            std::fs::write(dir.path().join(name), bytes).expect("writes");
        }
        let mut bytes = WHOLE.files[&name].clone();
        bytes[place] ^= 4;
        std::fs::write(dir.path().join(&name), bytes).expect("writes");
        let store = Arc::new(Store::open(Arc::new(OsDisk), dir.path(), config()).expect("opens"));
        let erase = |dry_run| store.erase(&request, Timestamp(START), dry_run, heimdall_store::UNHURRIED);
        let dry = erase(true).expect("looks");
        let done = erase(false).expect("erases the others");
        assert_eq!(done.not_erased.len(), 1, "{done:?}");
        assert_eq!(done.not_erased[0].file, name.to_string_lossy());
        assert!(
            dry.erased >= done.erased && done.erased > 0 && done.segments.len() == 5,
            "{dry:?}, {done:?}"
        );
        assert_eq!(std::fs::read(dir.path().join(&name)).expect("is there").len(), WHOLE.files[&name].len());
        let again = erase(false).expect("erases nothing more");
        assert_eq!((again.erased, again.not_erased.len(), again.remaining), (0, 1, 0));
        // The damage is repaired: what is left of it can go.
        drop(store);
        std::fs::write(dir.path().join(&name), &WHOLE.files[&name]).expect("writes");
        let store = Arc::new(Store::open(Arc::new(OsDisk), dir.path(), config()).expect("opens"));
        let last = store.erase(&request, Timestamp(START), false, heimdall_store::UNHURRIED).expect("erases");
        assert_eq!(last.erased + done.erased, WHOLE.rows[8].len() as u64);
    }
}

/// A merge that met a damaged segment was tried again for ever, and no other was done.
#[test]
fn upkeep_leaves_a_damaged_segment_alone_and_goes_on() {
    let mut files = WHOLE.files.clone();
    let is_parquet = |name: &&PathBuf| name.extension().is_some_and(|ext| ext == "parquet");
    let name = files.keys().find(is_parquet).expect("there is one").clone();
    harm(&mut files, &name, &Harm::Flip { at: 20_000, bit: 3 });
    let dir = tempfile::tempdir().expect("a folder");
    for (name, bytes) in &files {
        std::fs::write(dir.path().join(name), bytes).expect("writes");
    }
    let store = Arc::new(Store::open(Arc::new(OsDisk), dir.path(), config()).expect("opens"));
    let upkeep = || store.upkeep(Timestamp(START), &|| ControlFlow::Continue(()));
    upkeep().expect_err("it meets the damage");
    assert_eq!(store.damaged().len(), 1);
    assert_eq!(upkeep().expect("goes on").merged_segments, 5);
    assert_eq!(store.status().segments, 2);
    check_without_damaged(&store, false, "after a merge");
    assert_eq!(
        std::fs::read(dir.path().join(&name)).expect("is there"),
        files[&name],
        "it is left as it was"
    );
    let later = Timestamp(START + 400 * 86_400_000_000_000);
    let config = StoreConfig { retention: Duration::from_secs(86_400), ..config() };
    drop(store);
    let store = Store::open(Arc::new(OsDisk), dir.path(), config).expect("opens");
    assert_eq!(store.retain(later).expect("drops").expired_segments, 2, "retention does not spare it");
}
