use std::path::Path;
use std::sync::Arc;

use heimdall_journal::disk::{Disk, ForgetfulDisk};
use heimdall_model::schema::{TIMESTAMP, logs};
use heimdall_model::{BatchBuilder, Compare, Dataset, Filter, Literal, Matcher, Target, Test, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::block::RowBlock;
use crate::decisions::Decisions;
use crate::eval::{Memo, Predicate};
use crate::files::{Files, Room};
use crate::sidecar::SidecarWriter;

/// Texts that are equal, or hold the same words, in surprising ways.
const TEXTS: [&str; 32] = [
    "abc",
    "ABC",
    "größe",
    "GRÖßE",
    "GRÖSSE",
    "503",
    "503.0",
    "0503",
    "5.03e2",
    "-503",
    "1e3",
    "1000",
    "true",
    "inf",
    "12.5 ms",
    "user u123 failed",
    "foo²bar",
    "foo² bar",
    "foo",
    "cafe\u{301} foo",
    "Kelvin",
    "\u{212a}elvin",
    "İxyz",
    "i\u{307}xyz",
    "ſtop",
    "STOP",
    "日本 語",
    "日本",
    "a.bcd-c_d",
    "",
    "{\"b\":\"foo\"}",
    "x=foo;y=\"bar\"",
];
const PATTERNS: [&str; 9] = [
    r"\bfoo\b",
    r"(?i)\bstop\b",
    r"(?i)^kelvin$",
    r"foo\W",
    r"user\s+u123 f",
    r"[a-z] failed$",
    r"(?i) GRÖßE",
    r"^foo|bar$",
    r"^\d+$",
];
const PATHS: [&str; 7] = ["a", "b", "a.b", "a.a", "", "a.b.a", ".b"];

fn text() -> impl Strategy<Value = String> {
    let one = || proptest::sample::select(&TEXTS[..]);
    prop_oneof![
        3 => one().prop_map(str::to_owned),
        1 => (one(), proptest::sample::select(vec![" ", "-", "²", "\u{2192}", "_"]), one())
            .prop_map(|(a, between, b)| format!("{a}{between}{b}")),
    ]
}

/// JSON of any value, with numbers in any notation.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        text().prop_map(|text| serde_json::to_string(&text).expect("encodes")),
        proptest::sample::select(vec![
            "503", "503.0", "5.03e2", "-503", "0", "-0", "12.5", "true", "null", "1e400"
        ])
        .prop_map(str::to_owned),
    ];
    scalar.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|parts| format!("[{}]", parts.join(","))),
            object(inner),
        ]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let key = proptest::sample::select(vec!["a", "b", "a.b", ""]);
    proptest::collection::vec((key, value), 0..4).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", members.join(", "))
    })
}

#[derive(Debug, Clone)]
struct Line {
    message: Option<String>,
    user: Option<String>,
    trace: Option<u8>,
    attributes: Option<String>,
}

fn line() -> impl Strategy<Value = Line> {
    use proptest::option::of;
    (of(text()), of(text()), of(0..4_u8), of(object(json())))
        .prop_map(|(message, user, trace, attributes)| Line { message, user, trace, attributes })
}

fn block(lines: &[Line]) -> RowBlock {
    let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(5));
    for line in lines {
        builder.set_int(TIMESTAMP, 1);
        let texts = [
            (logs::MESSAGE, &line.message),
            (logs::USER_ID, &line.user),
            (logs::ATTRIBUTES, &line.attributes),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                builder.set_text(field, text);
            }
        }
        if let Some(trace) = line.trace {
            builder.set_bytes(logs::TRACE_ID, &[trace; 16]);
        }
        builder.end_row();
    }
    let rows = lines.len();
    RowBlock::from_batch(builder.finish(), (0..rows as u64).collect(), vec![5; rows])
}

fn filter() -> impl Strategy<Value = Filter> {
    let target = prop_oneof![
        Just(Target::Field(logs::MESSAGE)),
        Just(Target::Field(logs::USER_ID)),
        proptest::sample::select(&PATHS[..]).prop_map(|path| Target::Attribute(path.to_owned())),
    ];
    let test = prop_oneof![
        Just(Test::Exists),
        text().prop_map(Test::Words),
        text().prop_map(Test::Contains),
        text().prop_map(|text| Test::Equals(Literal::new(&text))),
        text().prop_map(|text| Test::Equals(Literal { number: Some(503.0), ..Literal::new(&text) })),
        text().prop_map(|text| Test::Compare(Compare::GreaterOrEqual, Literal::new(&text))),
        text().prop_map(|text| Test::Wildcard(format!("{text}*"))),
        text().prop_map(Test::Wildcard),
        proptest::sample::select(&PATTERNS[..]).prop_map(|pattern| Test::Regex(pattern.to_owned())),
    ];
    let trace = (0..5_u8).prop_map(|trace| {
        let digits = Literal::new(&heimdall_model::matcher::to_hex(&[trace; 16]));
        Filter::Test(Target::Field(logs::TRACE_ID), Test::Equals(digits))
    });
    let leaf =
        prop_oneof![6 => (target, test).prop_map(|(target, test)| Filter::Test(target, test)), 1 => trace];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(Filter::negate),
        ]
    })
}

/// A sidecar that holds nothing but the signature of these blocks.
fn sidecar(blocks: &[RowBlock], page_rows: usize) -> SidecarFile {
    let mut builder = SignatureBuilder::with_pages_of(Dataset::Logs, page_rows);
    blocks.iter().for_each(|block| builder.add(block));
    let (signature, rows) = builder.take().expect("there are rows");
    let mut writer = SidecarWriter::default();
    writer.put(&signature);
    writer.put_cells(kind::SIGNATURE_ROWS, rows);
    let bytes = writer.finish();
    let disk: Arc<dyn Disk> = Arc::new(ForgetfulDisk::default());
    disk.create_dir_all(Path::new("/s")).expect("creates");
    let path = Path::new("/s/x.hidx");
    crate::segment::write_whole(disk.as_ref(), path, &bytes).expect("writes");
    let files = Arc::new(Files::new(disk, Path::new("/s"), None, Room::SMALL));
    let as_if = u64::from(signature.pages) * PAGE_ROWS as u64;
    let file = files.file("x.hidx".to_owned(), bytes.len() as u64, &crate::aside::Aside::default());
    SidecarFile::new(file, as_if, &files.blocks)
}

fn predicate(filter: &Filter) -> Predicate {
    let matcher = Matcher::compile(filter, Dataset::Logs).expect("compiles");
    Predicate::new(Box::new(matcher), Dataset::Logs, Decisions::default(), Box::new(|_| None))
}

#[track_caller]
fn check(blocks: &[RowBlock], page_rows: usize, filters: &[Filter]) {
    let sidecar = sidecar(blocks, page_rows);
    for filter in filters {
        let predicate = predicate(filter);
        let Some(set) = pages(&sidecar, predicate.need()).expect("reads") else { continue };
        let mut memo = Memo::default();
        let passes =
            blocks.iter().flat_map(|block| predicate.evaluate(block, &mut memo).iter().collect::<Vec<_>>());
        for (row, passes) in passes.enumerate() {
            assert!(!passes || set.contains(row / page_rows), "row {row} passes {filter:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_page_with_a_passing_row_is_ruled_out(
        lines in proptest::collection::vec(line(), 1..200),
        page_rows in 1usize..12,
        cut in 0usize..200,
        filters in proptest::collection::vec(filter(), 20),
    ) {
        let (left, right) = lines.split_at(cut % lines.len());
        check(&[block(left), block(right)], page_rows, &filters);
    }
}

#[test]
fn every_text_finds_itself_and_its_equals() {
    let lines: Vec<Line> = TEXTS
        .iter()
        .map(|text| Line {
            message: Some((*text).to_owned()),
            user: Some((*text).to_owned()),
            trace: None,
            attributes: Some(serde_json::json!({ "a": text, "b": { "a": [text] } }).to_string()),
        })
        .collect();
    let targets = [
        Target::Field(logs::MESSAGE),
        Target::Field(logs::USER_ID),
        Target::Attribute("a".to_owned()),
        Target::Attribute("b".to_owned()),
        Target::Attribute("b.a".to_owned()),
    ];
    let filters: Vec<Filter> = targets
        .into_iter()
        .flat_map(|target| {
            TEXTS.iter().flat_map(move |text| {
                let test = |test| Filter::Test(target.clone(), test);
                [test(Test::Words((*text).to_owned())), test(Test::Equals(Literal::new(text)))]
            })
        })
        .collect();
    check(&[block(&lines)], 1, &filters);
}

#[test]
fn a_value_is_found_in_its_page_and_few_others() {
    const PAGES: u32 = 150;
    const ROWS: u32 = 64;
    let lines: Vec<Line> = (0..PAGES * ROWS)
        .map(|n| Line {
            message: Some(format!("request {} took {} ms", n.wrapping_mul(2_654_435_761), n % 977)),
            user: Some(format!("u{}", n.wrapping_mul(40_503) % 1_000_003)),
            trace: None,
            attributes: Some(format!(r#"{{"order":{}}}"#, n + 1_000_000)),
        })
        .collect();
    let sidecar = sidecar(&[block(&lines)], ROWS as usize);
    let mut named = 0;
    for n in (0..PAGES * ROWS).step_by(97) {
        let order = Filter::Test(
            Target::resolve(Dataset::Logs, "order"),
            Test::Equals(Literal::new(&format!("{}.0", n + 1_000_000))),
        );
        let before = sidecar.bytes_read();
        let set = pages(&sidecar, predicate(&order).need()).expect("reads").expect("decides");
        assert!(set.contains((n / ROWS) as usize));
        named += set.len() - 1;
        assert!(n == 0 || sidecar.bytes_read() - before <= u64::from(HASHES) * CELL_BYTES as u64);
    }
    let looked_at = (PAGES * ROWS).div_ceil(97) as usize * PAGES as usize;
    assert!(named * 200 < looked_at, "{named} of {looked_at} pages named in vain");
}

#[test]
fn a_page_with_too_many_tokens_is_always_named() {
    let words: Vec<String> = (0..200_000).map(|n| format!("w{n:06}")).collect();
    let line =
        |message: &str| Line { message: Some(message.to_owned()), user: None, trace: None, attributes: None };
    let lines = [line(&words.join(" ")), line("all is well")];
    let sidecar = sidecar(&[block(&lines)], 1);
    let filter = Filter::Test(Target::Field(logs::MESSAGE), Test::Words("nothing".to_owned()));
    let set = pages(&sidecar, predicate(&filter).need()).expect("reads").expect("decides");
    assert!(set.contains(0) && !set.contains(1));
}
