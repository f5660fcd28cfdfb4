//! What rules mean, seen from outside: detection in, verdict out; and that the prefilter changes nothing.

#![allow(clippy::cloned_ref_to_slice_refs, reason = "lists of events, some of one")]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::collection::Collection;
use crate::engine::{Engine, Matcher};
use crate::pipeline::Pipeline;
use crate::rule::LogSource;

fn source() -> Vec<LogSource> {
    vec![LogSource::new("", "p", "")]
}

fn engine(rules: &str) -> Engine {
    let mut collection = Collection::default();
    collection.add_file("r.yml", rules);
    Engine::new(collection, &[])
}

fn rule(detection: &str) -> String {
    format!("title: t\nid: r\nlogsource: {{product: p}}\ndetection: {detection}\n")
}

#[track_caller]
fn check(detection: &str, yes: &[Json], no: &[Json]) {
    let engine = engine(&rule(detection));
    assert_eq!(engine.failures(), [], "{detection}");
    let mut matcher = Matcher::new(Arc::new(engine));
    for (events, expected) in [(yes, true), (no, false)] {
        for event in events {
            let found = !matcher.matches(&source(), event).is_empty();
            assert_eq!(found, expected, "{detection} on {event}");
            assert_eq!(
                !matcher.matches_naively(&source(), event).is_empty(),
                expected,
                "{detection} on {event}"
            );
        }
    }
}

/// The item `a|modifiers: value` as the only detection.
#[track_caller]
fn item(item: &str, yes: &[Json], no: &[Json]) {
    check(&format!("{{s: {{{item}}}, condition: s}}"), yes, no);
}

fn a(value: impl Into<Json>) -> Json {
    json!({"a": value.into()})
}

#[track_caller]
fn refused(item: &str, reason: &str) {
    let engine = engine(&rule(&format!("{{s: {{{item}}}, condition: s}}")));
    let shown: Vec<String> = engine.failures().iter().map(ToString::to_string).collect();
    assert_eq!(shown, [format!("r.yml:4: rule `r`: {reason}")]);
    assert!(engine.is_empty());
}

#[test]
fn plain_values_ignore_case_and_want_the_whole_text() {
    item(
        "a: Calc.EXE",
        &[a("calc.exe"), a("CALC.EXE")],
        &[a("calc.exe "), a(""), json!({}), json!({"A": "calc.exe"})],
    );
    item("a: 'Ж*Ω?'", &[a("жук ωx"), a("ЖΩΩ")], &[a("жук ω")]);
    item("a: [x, y]", &[a("X"), a("y"), a(vec!["q", "y"])], &[a("xy")]);
    item("a: ''", &[a("")], &[json!({}), a(Json::Null), a(" ")]);
    item("a: '*'", &[a("x"), a(""), a(0)], &[json!({}), a(Json::Null)]);
    item("a: x, b: y", &[json!({"a": "x", "b": "Y"})], &[a("x"), json!({"b": "y"})]);
}

#[test]
fn numbers_and_truth_values() {
    item("a: 4624", &[a(4624), a("4624"), a(4624.0)], &[a(46240), a("04624"), a(true)]);
    item("a: '4624'", &[a(4624), a("4624")], &[a(462)]);
    item("a: '46*'", &[a(4624), a("46x")], &[a(64)]);
    item("a: 1.5", &[a(1.5), a("1.50")], &[a(1)]);
    item("a: true", &[a(true), a("True")], &[a(false), a(1)]);
    item("a: 'false'", &[a(false), a("FALSE")], &[a(true)]);
    item("a: 18446744073709551615", &[a(u64::MAX)], &[a(u64::MAX - 1)]);
    item("a: 9007199254740993", &[a(9_007_199_254_740_993_i64)], &[a(9_007_199_254_740_992.0)]);
}

#[test]
fn null_and_exists() {
    item("a: null", &[json!({}), a(Json::Null)], &[a(""), a(0), a(Vec::<Json>::new())]);
    item("a: [null, x]", &[json!({}), a("x")], &[a("y")]);
    item("a|exists: true", &[a("x"), a(Json::Null), a(json!({"b": 1}))], &[json!({"b": 1})]);
    item("a|exists: false", &[json!({"b": 1})], &[a(Json::Null)]);
    refused("a|exists: 1", "`a|exists`: `exists` wants true or false");
}

#[test]
fn parts_of_texts() {
    item("a|contains: MID", &[a("xmidy"), a("mid")], &[a("mi d")]);
    item("a|startswith: ab", &[a("ABc")], &[a("cab")]);
    item("a|endswith: '\\x.exe'", &[a("C:\\X.EXE")], &[a("x.exe"), a("\\x.exe ")]);
    item("a|contains|all: [x, y]", &[a("y-x")], &[a("xx")]);
    item("a|contains: [x, y]", &[a("-y-")], &[a("z")]);
    item("a|contains: 'a*b?c'", &[a("..a--bxc..")], &[a("a--bc")]);
    item("a|contains: 44", &[a(14_440)], &[a(404)]);
    item("a|contains: [one, two, three, four, five, six]", &[a("xSIXx")], &[a("x")]);
    item("a|contains|all: [u, v]", &[a(vec!["u", "v"])], &[a(vec!["u"])]);
    refused("a|contains: null", "`a|contains`: want text");
}

#[test]
fn cased_and_neq() {
    item("a|cased: Ab", &[a("Ab")], &[a("AB"), a("ab")]);
    item("a|contains|cased: [Q, W]", &[a("xQx")], &[a("xqx")]);
    item("a|neq: x", &[a("y"), json!({})], &[a("X")]);
    item("a|neq: [x, y]", &[a("z")], &[a("x"), a("y")]);
    item("a|neq: 5", &[a(6)], &[a(5), a("5")]);
    item("a|contains|neq: x", &[a("y")], &[a("axa")]);
}

#[test]
fn numbers_are_compared() {
    item("a|lt: 5", &[a(4), a("4.9"), a(-1)], &[a(5), a("x"), json!({})]);
    item("a|lte: 5", &[a(5)], &[a(5.01)]);
    item("a|gt: 1.5", &[a(2), a("1.6")], &[a(1.5), a(true)]);
    item("a|gte: 10", &[a(10), a(vec![1, 11])], &[a(9)]);
    refused("a|gt: x", "`a|gt`: want a number");
}

#[test]
fn regular_expressions() {
    item("a|re: 'b+c$'", &[a("abbc")], &[a("abbC"), a("bcd")]);
    item("a|re|i: 'B+c'", &[a("xBBC")], &[a("ac")]);
    item("a|re|i|s: 'a.b'", &[a("A\nB")], &[a("ab")]);
    item("a|re|m: '^b$'", &[a("a\nb\nc")], &[a("ab")]);
    item("a|re|startswith: 'b|c'", &[a("cx")], &[a("xc")]);
    item("a|re: ['x1', 'y2']", &[a("y2")], &[a("y1")]);
    item("a|re: '^4\\d+$'", &[a(4624)], &[a(624)]);
    item("a|re: '(?<!x)yz'", &[a("ayz")], &[a("xyz")]);
    refused("a|re: '(x'", "not a regular expression: unclosed group");
}

#[test]
fn networks() {
    item("a|cidr: 10.0.0.0/8", &[a("10.2.3.4")], &[a("11.0.0.1"), a("ten"), a(10)]);
    item("a|cidr: ['fe80::/10', '127.0.0.0/8']", &[a("fe80::1"), a("127.0.0.1")], &[a("::1")]);
    refused("a|cidr: 10.0.0.0/40", "`a|cidr`: `10.0.0.0/40` is not a network");
}

#[test]
fn encodings() {
    item("a|base64: foo", &[a("Zm9v")], &[a("foo")]);
    // "Pwning" inside base64("xPwningx"), base64("xyPwningx") and alone.
    item(
        "a|base64offset|contains: Pwning",
        &[a("UHduaW5n"), a("eFB3bmluZ3g="), a("eHlQd25pbmd4")],
        &[a("Pwning")],
    );
    item("a|wide|base64offset|contains: ping", &[a("cABpAG4AZwA="), a("eAAA cABpAG4AZw")], &[a("cGluZw==")]);
    item("a|utf16le|base64: Ж", &[a("FgQ=")], &[]);
    item("a|utf16be|base64: ab", &[a("AGEAYg==")], &[]);
    item("a|utf16|base64: a", &[a("//5hAA==")], &[]);
    item("a|wide|contains: hi", &[a("xh\0i\0x")], &[a("hi")]);
    item("a|windash|base64: ' -x'", &[a("IC14"), a("IC94")], &[a("IHh4")]);
    refused("a|base64: 'a*'", "`a|base64`: a value with wildcards cannot be encoded");
    refused("a|base64offset: x", "`a|base64offset`: the value is too short for `base64offset`");
    refused("a|utf16be: é", "`a|utf16be`: the encoded value is not text: add `base64` or `base64offset`");
}

#[test]
fn dashes() {
    let dashed: Vec<Json> =
        ["-", "/", "–", "—", "―"].iter().map(|dash| a(format!("net {dash}User x"))).collect();
    item("a|windash|contains: ' -user '", &dashed, &[a("net user x"), a("net +user x")]);
    item("a|contains|windash: '/c -a -b -d -e'", &[a("-c /a —b -d /e")], &[a("c a b d e")]);
    item("a|windash|contains|all: [' -a', ' -b']", &[a("x /b -a")], &[a("x /b")]);
    item("a|windash: 'up-to-date'", &[a("up-to-date")], &[a("up/to/date")]);
}

#[test]
fn other_fields() {
    item(
        "a|fieldref: b",
        &[json!({"a": "X", "b": "x"}), json!({"a": 1, "b": "1"})],
        &[json!({"a": "x", "b": "y"}), a("x")],
    );
    item("a|fieldref|startswith: b", &[json!({"a": "xyz", "b": "XY"})], &[json!({"a": "xy", "b": "xyz"})]);
    item("a|fieldref|endswith: b", &[json!({"a": "xyz", "b": "yz"})], &[json!({"a": "xyz", "b": "xy"})]);
    item("a|fieldref|cased: b", &[json!({"a": "x", "b": "x"})], &[json!({"a": "X", "b": "x"})]);
    item("a|fieldref|neq: b", &[json!({"a": "x", "b": "y"})], &[json!({"a": "x", "b": "x"})]);
    item("a|fieldref: b.c", &[json!({"a": 5, "b": {"c": 5}})], &[json!({"a": 5, "b": 5})]);
}

#[test]
fn parts_of_times() {
    item("a|hour: 23", &[a("2026-01-01T23:10:00Z")], &[a("2026-01-01T22:10:00Z"), a("23"), a("x")]);
    item("a|hour|gte: 22", &[a("2026-01-01 22:00")], &[a("2026-01-01 21:59")]);
    item("a|lt|hour: 6", &[a(1_767_225_661)], &[a("2026-01-01 06:00")]);
    item("a|minute: 7", &[a("2026-01-01T23:07")], &[]);
    item(
        "a|day: [30, 31], b|month: 1",
        &[json!({"a": "2026-01-31", "b": "2026-01-31"})],
        &[json!({"a": "2026-01-01", "b": "2026-01-01"})],
    );
    item("a|week: 48", &[a("2026-11-27")], &[a("2026-11-22")]);
    item("a|year|lt: 2000", &[a("1999-12-31")], &[a("2000-01-01")]);
    refused("a|hour: 1.5", "`a|hour`: a time part must be a whole number");
}

#[test]
fn placeholders() {
    refused("a|expand: '%x%'", "`a|expand`: the placeholder `%x%` has no values: a pipeline must give them");
    item("a: '%x%'", &[a("%X%")], &[]);
    let mut collection = Collection::default();
    collection.add_file("r.yml", &rule("{s: {'a|expand|contains': '%hosts%-'}, condition: s}"));
    let pipeline = Pipeline::parse("p", "vars: {hosts: [dc1, 'web*']}").unwrap();
    let mut matcher = Matcher::new(Arc::new(Engine::new(collection, &[pipeline])));
    let mut seen = |text: &str| !matcher.matches(&source(), &a(text)).is_empty();
    assert_eq!([seen("x DC1-y"), seen("web77-"), seen("dc2-")], [true, true, false]);
}

#[test]
fn keywords() {
    let event = json!({"x": {"y": ["Segfault at 7", 3]}, "n": 99});
    check("{k: [oom, segfault], condition: k}", &[event.clone()], &[json!({"segfault": "x"})]);
    check("{k: segfault, condition: k}", &[event.clone()], &[]);
    check("{k: {'|all': [seg, 'at ?']}, condition: k}", &[event.clone()], &[json!({"a": "seg"})]);
    check("{k: {'|re': 'a[t] \\d'}, condition: k}", &[event.clone()], &[json!({"a": "at x"})]);
    check("{k: {'|cased': Seg}, condition: k}", &[event.clone()], &[json!({"a": "seg"})]);
    check("{k: [99], condition: k}", &[json!({"a": "x99x"})], &[event]);
    refused("'|exists': true", "`|exists`: this value needs a field");
}

#[test]
fn lists_of_maps_and_nested_lists() {
    check(
        "{s: [{a: x, b: y}, {c: z}], condition: s}",
        &[json!({"a": "x", "b": "y"}), json!({"c": "z"})],
        &[json!({"a": "x"}), json!({"b": "y"})],
    );
    check(
        "{s: [word, {c: z}], condition: s}",
        &[json!({"q": "a word"}), json!({"c": "z"})],
        &[json!({"c": "w"})],
    );
    check("{s: [[{a: x}], [p, q]], condition: s}", &[a("x"), json!({"k": "q"})], &[a("y")]);
}

#[test]
fn conditions() {
    let (x, y, xy) = (json!({"a": "x"}), json!({"b": "y"}), json!({"a": "x", "b": "y"}));
    let with = |condition: &str| {
        format!("{{sel_a: {{a: x}}, sel_b: {{b: y}}, _c: {{c: z}}, condition: {condition}}}")
    };
    check(&with("sel_a and sel_b"), &[xy.clone()], &[x.clone(), y.clone()]);
    check(&with("sel_a and not sel_b"), &[x.clone()], &[xy.clone()]);
    check(&with("1 of sel_*"), &[x.clone(), y.clone()], &[json!({})]);
    check(&with("all of sel_*"), &[xy.clone()], &[x.clone()]);
    check(&with("all of them"), &[xy.clone()], &[x.clone()]);
    check(&with("2 of sel*"), &[xy.clone()], &[x.clone(), y.clone()]);
    check(&with("not 1 of them"), &[json!({})], &[x.clone()]);
    check(&with("not (sel_a or sel_b)"), &[json!({})], &[y.clone()]);
    check(&with("sel_a or sel_b and not sel_a"), &[x.clone(), y.clone(), xy.clone()], &[json!({})]);
    check(&with("sel_a and not 1 of filter_*"), &[x.clone()], &[y.clone()]);
    check(&with("[sel_a and sel_b, _c]"), &[xy, json!({"c": "z"})], &[x]);
    let shown = |condition: &str| engine(&rule(&with(condition))).failures()[0].reason.clone();
    assert_eq!(shown("sel_x"), "the condition names `sel_x`, which is not defined");
    assert_eq!(shown("1 of filter_*"), "`filter_*` in the condition fits no detection");
}

#[test]
fn rules_see_events_of_their_log_source_only() {
    let rules = "title: t\nid: narrow\nlogsource: {category: c, product: P}\ndetection: {s: {a: 1}, condition: s}\n---\n\
        title: t\nid: wide\nlogsource: {product: p, definition: text}\ndetection: {s: {a: 1}, condition: s}\n";
    let mut matcher = Matcher::new(Arc::new(engine(rules)));
    let mut seen = |sources: &[LogSource]| matcher.matches(sources, &a(1)).to_vec();
    assert_eq!(seen(&[LogSource::new("c", "p", "s")]), [0, 1]);
    assert_eq!(seen(&[LogSource::new("", "p", "")]), [1]);
    assert_eq!(seen(&[LogSource::new("c", "q", ""), LogSource::new("d", "p", "")]), [1]);
    assert_eq!(seen(&[LogSource::new("c", "", "")]), [] as [u32; 0]);
    assert_eq!(seen(&[]), [] as [u32; 0]);
}

#[test]
fn made_up_log_sources_share_views() {
    let mut matcher = Matcher::new(Arc::new(engine(&rule("{s: {a: 1}, condition: s}"))));
    for service in 0..5_000 {
        assert_eq!(matcher.matches(&[LogSource::new("", "p", &service.to_string())], &a(1)), [0]);
    }
    assert_eq!(matcher.counters().view_resets, 1);
}

#[test]
fn filters_tune_other_rules() {
    let rules = "title: t\nid: r1\nname: named\nlogsource: {category: c, product: p}\ndetection: {s: {a: 1}, condition: s}\n---\n\
        title: t\nid: r2\nlogsource: {category: c, product: p}\ndetection: {s: {a: 1}, condition: s}\n---\n\
        title: f\nlogsource: {category: c}\nfilter:\n  rules: [named]\n  known: {u|startswith: adm_}\n  condition: not known\n---\n\
        title: idle\nlogsource: {category: c}\nfilter:\n  rules: [nobody]\n  known: {u: x}\n  condition: known\n";
    let mut loaded = Collection::default();
    loaded.add_file("r.yml", rules);
    assert_eq!(loaded.failures, []);
    let engine = Engine::new(loaded, &[]);
    let shown: Vec<String> = engine.failures().iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 1);
    assert!(shown[0].contains("the filter is for no rule"), "{shown:?}");
    let mut matcher = Matcher::new(Arc::new(engine));
    let sources = [LogSource::new("c", "p", "")];
    assert_eq!(matcher.matches(&sources, &json!({"a": 1, "u": "adm_x"})), [1]);
    assert_eq!(matcher.matches(&sources, &json!({"a": 1, "u": "bob"})), [0, 1]);
}

#[test]
fn compile_failures_name_their_line_and_leave_the_others() {
    let rules = "title: t\nid: bad\nlogsource: {product: p}\ndetection:\n  s:\n    b: 1\n    a|cidr: zzz\n  condition: s\n---\n".to_owned()
        + &rule("{s: {a: 1}, condition: s}");
    let engine = engine(&rules);
    assert_eq!(engine.failures()[0].to_string(), "r.yml:7: rule `bad`: `a|cidr`: `zzz` is not a network");
    assert_eq!(engine.len(), 1);
}

#[test]
fn batch_writes_a_line_for_each_event() {
    let engine = Arc::new(engine(&rule("{s: {a: x}, condition: s}")));
    let input = concat!(
        "{\"event_id\": \"e1\", \"logsource\": [{\"product\": \"p\"}], \"event\": {\"a\": \"X\"}}\n\n",
        "{\"event_id\": 2, \"logsource\": {\"product\": \"p\"}, \"event\": {\"a\": \"y\"}}\nbroken\n",
        "{\"event_id\": \"e3\", \"event\": {\"a\": \"x\"}}\n",
    );
    let mut out = Vec::new();
    let summary = crate::batch(&engine, input.as_bytes(), &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"event_id\":\"e1\",\"rule_ids\":[\"r\"]}\n{\"event_id\":2,\"rule_ids\":[]}\n{\"event_id\":\"e3\",\"rule_ids\":[]}\n"
    );
    assert_eq!(
        (summary.events, summary.matches, summary.rejected.len(), summary.rejected[0].0),
        (3, 1, 1, 4)
    );
}

/// Few letters, so that rules and events meet; numbers, since they are texts to some rules and not to others.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[aBß]{1,3}",
        2 => "(power|shell|true|fal|12|1[.]5|–x| -x|/x){1,2}",
        1 => "[aB*?\\\\]{1,4}",
    ]
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        6 => word().prop_map(Json::from),
        1 => (0..130_i64).prop_map(Json::from),
        1 => Just(json!(1.5)),
        1 => Just(json!(12.0)),
        1 => any::<bool>().prop_map(Json::from),
        1 => Just(Json::Null),
    ]
}

fn a_item() -> impl Strategy<Value = (String, Json)> {
    let field = prop_oneof![4 => "[abc]", 1 => Just("a.b".to_owned()), 1 => Just(String::new())];
    let modifiers = prop_oneof![
        4 => Just(""),
        3 => Just("|contains"),
        1 => Just("|startswith"),
        1 => Just("|endswith"),
        1 => Just("|contains|all"),
        1 => Just("|contains|windash"),
        1 => Just("|cased"),
        1 => Just("|neq"),
        1 => Just("|re|i"),
        1 => Just("|fieldref"),
        1 => Just("|gt"),
        1 => Just("|base64offset|contains"),
    ];
    (field, modifiers, prop::collection::vec(scalar(), 1..4), prop::collection::vec(word(), 1..4)).prop_map(
        |(field, modifiers, scalars, words)| {
            let plain = |text: &String| text.replace(['*', '?'], "b");
            let values: Vec<Json> = match modifiers {
                "|gt" => vec![json!(7)],
                "|fieldref" => vec![json!("b"), json!("a.b")],
                "|base64offset|contains" => words.iter().map(|text| json!(plain(text) + "xy")).collect(),
                "|re|i" => words.iter().map(|text| json!(regex::escape(text).replace('a', "[ab]"))).collect(),
                "" | "|neq" => scalars,
                _ => words.into_iter().map(Json::from).collect(),
            };
            let field = if matches!(modifiers, "|gt" | "|fieldref") { "a" } else { &field };
            let words = values.iter().filter(|value| !value.is_null()).cloned().collect::<Vec<_>>();
            let values = if field.is_empty() && words.is_empty() {
                vec![json!("B")]
            } else if field.is_empty() {
                words
            } else {
                values
            };
            (format!("{field}{modifiers}"), Json::from(values))
        },
    )
}

fn a_rule() -> impl Strategy<Value = Json> {
    let detection = prop_oneof![
        4 => prop::collection::vec(a_item(), 1..3).prop_map(|items| Json::Object(items.into_iter().collect())),
        1 => prop::collection::vec(word(), 1..3).prop_map(Json::from),
        1 => prop::collection::vec(a_item(), 1..3)
            .prop_map(|items| items.into_iter().map(|(key, value)| json!({key: value})).collect::<Json>()),
    ];
    let condition = prop::sample::select(vec![
        "s1",
        "s1 and s2",
        "s1 or s2",
        "s1 and not s2",
        "not s1",
        "1 of s*",
        "all of them",
        "2 of them",
        "not (s1 or not s2)",
        "s1 and (s2 or s3)",
        "s3 or not 1 of x*",
        "s1",
        "s2 and s3",
    ]);
    (prop::collection::vec(detection, 3), condition).prop_map(|(parts, condition)| {
        json!({"title": "t", "logsource": {"product": "p"},
            "detection": {"s1": parts[0], "s2": parts[1], "s3": parts[2], "condition": condition}})
    })
}

fn an_event() -> impl Strategy<Value = Json> {
    let value = prop_oneof![
        5 => scalar(),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(Json::from),
        1 => scalar().prop_map(|inner| json!({"b": inner})),
    ];
    prop::collection::btree_map("([abc]|a[.]b)", value, 0..4).prop_map(|fields| fields.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_prefilter_changes_nothing(
        rules in prop::collection::vec(a_rule(), 1..20),
        events in prop::collection::vec(an_event(), 1..20),
    ) {
        let text: Vec<String> = rules.iter().map(ToString::to_string).collect();
        let engine = engine(&text.join("\n---\n"));
        prop_assert_eq!(engine.failures(), []);
        let mut matcher = Matcher::new(Arc::new(engine));
        for event in &events {
            let fast = matcher.matches(&source(), event).to_vec();
            let slow = matcher.matches_naively(&source(), event).to_vec();
            prop_assert_eq!(fast, slow, "{}", event);
        }
    }

    /// Whatever a file holds, it is read or refused, and what is read can be asked.
    #[test]
    fn hostile_files_are_refused_not_fatal(
        text in "(title|id|detection|condition|[|]re|[|]all|[|]windash|s: |[*?%(){}\\[\\]&:'\"|\\\\-]|[ \n]|ß|not |1 of ){0,60}",
        value in "(\\PC|[(){}\\[\\]\\\\^$*+?.|-]){0,20}",
        modifiers in "([|](re|i|contains|all|base64|base64offset|wide|utf16|windash|cidr|expand|fieldref|exists|gt|hour|neq|cased|startswith)){0,4}",
    ) {
        drop(engine(&text));
        let rule = json!({"title": "t", "logsource": {"product": "p"},
            "detection": {"s": {format!("a{modifiers}"): value}, "condition": "s"}});
        for text in [rule.to_string(), rule.to_string().replace("a|", "|")] {
            let mut matcher = Matcher::new(Arc::new(engine(&text)));
            for event in [json!({"a": value}), json!({"a": 7}), json!({"a": "2026-01-01", "b": "x"})] {
                let fast = matcher.matches(&source(), &event).to_vec();
                prop_assert_eq!(fast, matcher.matches_naively(&source(), &event).to_vec());
            }
        }
    }
}
