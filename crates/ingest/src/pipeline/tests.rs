use super::*;
use crate::body::DecodeLimits;
use crate::decoded::Decoded;
use crate::json;
use crate::records::Reading;

const NOW: Timestamp = Timestamp(1_772_366_400_000_000_000); // 2026-03-01T12:00:00Z

fn pipelines(texts: &[&str]) -> PipelineSet {
    let live = Pipelines::default();
    let list =
        texts.iter().enumerate().map(|(n, text)| live.load(&format!("{n}.yaml"), text).expect("a pipeline"));
    let set = PipelineSet::new(list.collect(), Vec::new());
    assert_eq!(set.faults(), []);
    set
}

fn decode(set: &PipelineSet, dataset: Dataset, body: &str) -> Decoded {
    let tenant = Tenant::default();
    let limits = DecodeLimits::default();
    let origin = Origin { door: "http", tenant: &tenant, service: None };
    let reading = Reading { now: NOW, limits: &limits, pipelines: Some(Pipes { set, origin }) };
    json::read(dataset, body.as_bytes(), reading).expect("JSON")
}

/// Before and after of one record.
#[track_caller]
fn check(steps: &str, before: &str, after: &str) {
    let set = pipelines(&[&format!("name: p\nsteps:\n{steps}")]);
    let tenant = Tenant::default();
    let chosen =
        set.choose(Origin { door: "http", tenant: &tenant, service: None }, Dataset::Logs).expect("chosen");
    let mut out = String::new();
    let found = match chosen.run(before, Dataset::Logs, NOW, &mut out).expect("JSON") {
        Ran::Untouched => "untouched".to_owned(),
        Ran::Changed { .. } => out,
        Ran::End(end) => format!("{end:?}"),
    };
    assert_eq!(found, after, "{steps}");
}

#[test]
fn every_step_before_and_after() {
    check(" - rename: {a: b, x.y: z}", r#"{"a":1,"x":{"y":2,"w":3}}"#, r#"{"x":{"w":3},"b":1,"z":2}"#);
    check(" - rename: {message: text2}", r#"{"msg":"m"}"#, r#"{"text2":"m"}"#);
    check(" - copy: {a: b.c}", r#"{"a":[1]}"#, r#"{"a":[1],"b.c":[1]}"#);
    check(
        " - set: {a: '${b}-x', n: 5, t: true, none: '${zz}'}",
        r#"{"b":1}"#,
        r#"{"b":1,"a":"1-x","n":5,"t":true}"#,
    );
    check(" - remove: [a, b.c, zz]", r#"{"a":1,"b":{"c":2},"d":3}"#, r#"{"d":3}"#);
    check(" - keep: [a, 'b*']", r#"{"@timestamp":1,"a":1,"bc":2,"d":3}"#, r#"{"@timestamp":1,"a":1,"bc":2}"#);
    check(
        " - convert: {a: int, b: float, c: bool, d: string, e: json}",
        r#"{"a":"7","b":"1.5","c":"yes","d":8,"e":"[1]"}"#,
        r#"{"a":7,"b":1.5,"c":true,"d":"8","e":[1]}"#,
    );
    check(
        " - convert: {a: int}",
        r#"{"a":"x"}"#,
        r#"{"a":"x","pipeline_error":"p: step 1 (convert): `a` cannot become int"}"#,
    );
    check(
        " - lowercase: a\n - uppercase: [b]\n - trim: c",
        r#"{"a":"AÉ","b":"b","c":" c "}"#,
        r#"{"a":"aé","b":"B","c":"c"}"#,
    );
    check(
        r" - replace: {field: a, pattern: '(\d)(\d)', with: '$2$1'}",
        r#"{"a":"12 34"}"#,
        r#"{"a":"21 43"}"#,
    );
    check(" - drop: {when: {field: a, equals: 1}}\n - set: {b: 2}", r#"{"a":1}"#, "Dropped");
    check(" - drop: {when: {field: a, equals: 1}}\n - set: {b: 2}", r#"{"a":2}"#, r#"{"a":2,"b":2}"#);
    check(" - sample: {rate: 0}", r#"{"a":2}"#, "Sampled");
    check(" - sample: {rate: 1}", r#"{"a":2}"#, r#"{"a":2,"sample_rate":1}"#);
    check(
        " - route: {service: 's-${a}', classification: internal, retention_policy: short}",
        r#"{"a":1,"app":"x"}"#,
        r#"{"a":1,"app":"s-1","retention_policy":"short","classification":"internal"}"#,
    );
    check(" - redact: {types: [email]}", r#"{"m":"a@b.cd"}"#, r#"{"m":"[REDACTED]","pii_fields":["m"]}"#);
    check(
        " - timestamp: {field: t, formats: [epoch_s], keep_source: false}",
        r#"{"t":1}"#,
        r#"{"timestamp":"1970-01-01T00:00:01.000000000Z"}"#,
    );
    check(
        " - parse: {as: logfmt, keep_source: false}\n   if: {field: message, contains: '='}",
        r#"{"message":"a=1"}"#,
        r#"{"a":1}"#,
    );
    check(" - parse: {as: json}\n   ignore_failure: true", r#"{"message":"x"}"#, r#"{"message":"x"}"#);
    check(
        " - parse: {as: json}\n - parse: {as: json}",
        r#"{"message":"x"}"#,
        r#"{"message":"x","pipeline_error":"p: step 1 (parse): there is no JSON object in the text"}"#,
    );
    check(
        " - schema: {subject: order, on_fail: reject}",
        "{}",
        r#"Rejected { field: "", reason: "there is no schema `order`" }"#,
    );
}

#[test]
fn tables_of_the_folder_enrich_and_files_are_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
    write("zones.csv", "net,zone\n10.0.0.0/8,inside\n");
    write(
        "a.yaml",
        "name: a\nsteps:\n - enrich: {table: zones.csv, field: source_ip, network: net, fields: {zone: src.zone}}\n",
    );
    write("notes.txt", "no pipeline");
    let live = Pipelines::new(Some(dir.path().to_owned()), vec!["ecs".to_owned()], Schemas::default());
    assert_eq!(live.look(), Some(Loaded { enabled: 2, faults: 0 }), "{:?}", live.current().faults());
    assert_eq!(live.look(), None);
    let decoded = decode(&live.current(), Dataset::Logs, r#"{"ip":"10.1.1.1"}"#);
    assert_eq!(decoded.batch.row(0).attributes(), Some(r#"{"src.zone":"inside"}"#));
    write("a.yaml", "name: a\nsteps:\n - enrich: {tables: zones.csv}\n");
    assert_eq!(live.look(), Some(Loaded { enabled: 2, faults: 1 }), "the earlier version stays in force");
    let fault = live.current().faults()[0].clone();
    assert_eq!((fault.file.as_str(), fault.line), ("a.yaml", Some(3)), "{fault}");
    assert!(fault.detail.contains("unknown field `tables`"), "{fault}");
    std::fs::remove_file(dir.path().join("a.yaml")).expect("removed");
    assert_eq!(live.look(), Some(Loaded { enabled: 1, faults: 0 }));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let live = Pipelines::default();
    let error = |text: &str| live.load("f.yaml", text).expect_err("is wrong").to_string();
    let step = |step: &str| error(&format!("name: p\nsteps:\n  - {step}\n"));
    assert!(step("renam: {a: b}").starts_with("f.yaml:3:5: "), "{}", step("renam: {a: b}"));
    assert!(step("parse: {as: grok, pattern: '%{IPP:a}'}").contains("did you mean `%{IP}`"));
    assert!(
        step("parse: {as: grok, pattern: '%{IPP:a}'}").starts_with("f.yaml:3"),
        "{}",
        step("parse: {as: grok, pattern: '%{IPP:a}'}")
    );
    assert!(step("{drop: {}, set: {a: b}}").contains("one thing"));
    assert!(step("{if: {field: a, exists: true}}").contains("a step is one of"));
    assert!(step("sample: {rate: 2}").contains("0 to 1"));
    assert!(step("enrich: {table: x.csv, field: a, fields: [b]}").contains("there is no pipelines folder"));
    assert!(error("name: 'a b'\nsteps: [{drop: {}}]").contains("`name`"));
    assert!(error("name: a\nsteps: []").contains("steps"));
    assert!(error("name: a\nsteps: [").starts_with("f.yaml:"));
    let long = format!("name: a\nsteps:\n{}", " - drop: {}\n".repeat(STEPS_MAX + 1));
    assert!(error(&long).contains("1 to 100 steps"));
}

#[test]
fn records_are_routed_and_circles_are_found() {
    let first = "name: a\nsteps:\n - route: {to: b}\n - set: {never: 1}\n";
    let second = "name: b\nenabled: false\nsteps:\n - set: {b: 1}\n";
    let decoded = decode(&pipelines(&[first, second]), Dataset::Logs, "{}");
    assert_eq!(decoded.batch.row(0).attributes(), Some(r#"{"b":1}"#));
    let live = Pipelines::default();
    let load = |text: &str| live.load("f", text).expect("a pipeline");
    let back = "name: b\nsteps:\n - route: {to: a}\n";
    let set = PipelineSet::new(vec![load(first), load(back)], Vec::new());
    assert_eq!((set.enabled(), set.faults().len()), (0, 2), "{:?}", set.faults());
    let set = PipelineSet::new(vec![load(first)], Vec::new());
    assert!(set.faults()[0].detail.contains("no pipeline `b`"));
    let chain: Vec<_> = (0..=ROUTE_DEPTH_MAX + 1)
        .map(|n| {
            load(&format!(
                "name: p{n}\nsteps:\n - route: {{service: x, {}}}\n",
                if n > ROUTE_DEPTH_MAX { String::new() } else { format!("to: p{}", n + 1) }
            ))
        })
        .collect();
    assert!(!PipelineSet::new(chain, Vec::new()).faults().is_empty());
}

#[test]
fn only_what_a_pipeline_is_for_goes_through_it() {
    let set = pipelines(&[
        "name: p\nmatch: {door: [http], dataset: logs, service: 'pay*', when: {field: a, exists: true}}\nsteps:\n - set: {seen: 1}\n",
    ]);
    let tenant = Tenant::default();
    let origin = |door| Origin { door, tenant: &tenant, service: None };
    assert!(set.choose(origin("syslog_udp"), Dataset::Logs).is_none());
    assert!(set.choose(origin("http"), Dataset::Metrics).is_none());
    let body = "{\"app\":\"payments\",\"a\":1}\n{\"app\":\"other\",\"a\":1}\n{\"app\":\"payments\"}";
    let decoded = decode(&set, Dataset::Logs, body);
    let seen: Vec<_> =
        (0..3).map(|n| decoded.batch.row(n).attributes().is_some_and(|json| json.contains("seen"))).collect();
    assert_eq!(seen, [true, false, false]);
    let limits = DecodeLimits::default();
    let origin = Origin { service: Some("payments"), ..origin("http") };
    let reading = Reading { now: NOW, limits: &limits, pipelines: Some(Pipes { set: &set, origin }) };
    let decoded = json::read(Dataset::Logs, br#"{"a":1}"#, reading).expect("JSON");
    assert_eq!(
        decoded.batch.row(0).attributes(),
        Some(r#"{"a":1,"seen":1}"#),
        "the service of the request counts"
    );
}

#[test]
fn whatever_ends_before_the_batch_is_counted_and_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("o.v1.json"), r#"{"properties":{"n":{"type":"integer"}}}"#)
        .expect("written");
    let schemas = Schemas::default();
    schemas.add(Arc::new(crate::schema::SchemaFolder::open(dir.path().to_owned())));
    let live = Pipelines::new(None, Vec::new(), schemas);
    let text = "name: p\nsteps:\n - drop: {when: {field: level, equals: debug}}\n - redact: {types: [email]}\n - schema: {subject: o, on_fail: quarantine}\n";
    let set = PipelineSet::new(vec![live.load("p", text).expect("a pipeline")], Vec::new());
    let body = "{\"level\":\"debug\"}\n{\"n\":1,\"m\":\"a@b.cd\"}\n{\"n\":\"x\"}\n{bad\n{\"n\":2}";
    let decoded = decode(&set, Dataset::Logs, body);
    assert_eq!((decoded.batch.rows(), decoded.dropped, decoded.quarantined, decoded.redacted), (2, 1, 1, 1));
    assert_eq!(decoded.rejected_total(), 1);
    let dead: Vec<_> = decoded
        .dead
        .iter()
        .map(|dead| (dead.index, dead.is_quarantined, dead.raw.as_str(), dead.field.as_str()))
        .collect();
    assert_eq!(dead, [(2, true, r#"{"n":"x"}"#, "n"), (3, false, "{bad", "")]);
    let reject = text.replace("quarantine", "reject");
    let set = PipelineSet::new(vec![live.load("p", &reject).expect("a pipeline")], Vec::new());
    let decoded = decode(&set, Dataset::Logs, "[{\"n\":\"x\"}]");
    assert_eq!((decoded.rejected[0].field.as_ref(), decoded.rejected_total()), ("n", 1));
    let tag = text.replace("quarantine", "tag");
    let set = PipelineSet::new(vec![live.load("p", &tag).expect("a pipeline")], Vec::new());
    let decoded = decode(&set, Dataset::Logs, "[{\"n\":\"x\"}]");
    assert!(decoded.batch.row(0).attributes().is_some_and(|json| json.contains("pipeline_error")));
    assert_eq!(decoded.pipeline_errors, 1);
}

#[test]
fn typed_events_and_lines_of_text_go_through() {
    let set = pipelines(&[
        "name: p\nmatch: {service: auth}\nsteps:\n - parse: {as: pattern, pattern: 'for <user> from'}\n - set: {from: '${source_ip}'}\n",
    ]);
    let (tenant, limits) = (Tenant::default(), DecodeLimits::default());
    let origin = Origin { door: "http", tenant: &tenant, service: None };
    let reading = Reading { now: NOW, limits: &limits, pipelines: Some(Pipes { set: &set, origin }) };
    let event = r#"[{"source":"auth","ip":"::1","message":"failed for bob from x","service":"y"},{"source":"","message":"m"},{"source":"z","message":"m"}]"#;
    let decoded = crate::typed::read(event.as_bytes(), reading).expect("JSON");
    assert_eq!((decoded.batch.rows(), decoded.rejected[0].field.as_ref()), (2, "source"));
    let row = decoded.batch.row(0);
    assert_eq!(
        (row.service(), row.attributes()),
        (Some("auth"), Some(r#"{"event.service":"y","user":"bob","from":"::1"}"#))
    );
    assert_eq!(decoded.batch.row(1).service(), Some("z"));
    let line = "<34>Oct 11 22:14:15 m auth[7]: failed for bob from x";
    let decoded = crate::text::read(crate::format::Format::Syslog, line.as_bytes(), reading).expect("lines");
    assert!(decoded.batch.row(0).attributes().is_some_and(|json| json.contains(r#""user":"bob""#)));
}

#[test]
fn sampling_keeps_the_same_records_and_about_the_share() {
    let set = pipelines(&["name: p\nsteps:\n - sample: {rate: 0.25, by: user}\n"]);
    let body: String = (0..4_000).map(|n| format!("{{\"user\":\"u{}\",\"n\":{n}}}\n", n % 1_000)).collect();
    let decoded = decode(&set, Dataset::Logs, &body);
    let rows = decoded.batch.rows();
    assert!((800..1_200).contains(&rows) && rows.is_multiple_of(4), "{rows}");
    assert_eq!(rows as u64 + decoded.dropped, 4_000);
}

#[test]
fn built_in_pipelines_load_and_map() {
    let live = Pipelines::new(
        None,
        ["ecs", "otel", "ocsf", "sigma", "windows"].map(str::to_owned).to_vec(),
        Schemas::default(),
    );
    let set = live.current();
    assert_eq!((set.enabled(), set.faults()), (5, [].as_slice()));
    let windows = r#"{"@timestamp":"2026-01-01T00:00:00Z","winlog":{"event_id":"4625","channel":"Security","provider_name":"Microsoft-Windows-Security-Auditing","computer_name":"dc1","event_data":{"TargetUserName":"bob","IpAddress":"10.0.0.9","LogonType":"3"}}}"#;
    let decoded = decode(&set, Dataset::Logs, windows);
    let row = decoded.batch.row(0);
    assert_eq!(row.text(heimdall_model::schema::logs::SOURCE_IP), Some("10.0.0.9"));
    assert_eq!(row.text(heimdall_model::schema::logs::HOST), Some("dc1"));
    let attributes = row.attributes().expect("attributes");
    for part in [r#""EventID":4625"#, r#""Channel":"Security""#, r#""LogonType":"3""#] {
        assert!(attributes.contains(part), "{part} in {attributes}");
    }
    let ocsf = r#"{"class_uid":3002,"class_name":"Authentication","metadata":{"version":"1.3.0","product":{"name":"idp"}},"severity_id":4,"severity":"High","time":1767323045000,"src_endpoint":{"ip":"::1"}}"#;
    let row_of = decode(&set, Dataset::Logs, ocsf);
    let row = row_of.batch.row(0);
    assert_eq!((row.level(), row.service()), (Some(heimdall_model::Level::Error), Some("idp")));
    assert_eq!(row.timestamp().to_string(), "2026-01-02T03:04:05.000000000Z");
    let process = r#"{"process":{"executable":"/bin/sh","command_line":"sh -c id"}}"#;
    let decoded = decode(&set, Dataset::Logs, process);
    assert!(
        decoded
            .batch
            .row(0)
            .attributes()
            .is_some_and(|json| json.contains(r#""Image":"/bin/sh","CommandLine":"sh -c id""#))
    );
    let span = r#"{"name":"GET","trace_id":"11111111111111111111111111111111","span_id":"2222222222222222","http.method":"GET","http.status_code":200}"#;
    let decoded = decode(&set, Dataset::Spans, span);
    assert_eq!(
        decoded.batch.row(0).attributes(),
        Some(r#"{"http.request.method":"GET","http.response.status_code":200}"#)
    );
    let ecs = r#"{"ecs":{"version":"8"},"event":{"dataset":"nginx.access"},"message":"m"}"#;
    assert_eq!(decode(&set, Dataset::Logs, ecs).batch.row(0).service(), Some("nginx.access"));
}

#[test]
fn the_same_attribute_of_different_types_is_kept_in_both() {
    let body = "{\"a\":1}\n{\"a\":\"one\"}\n{\"a\":[true]}\n{\"a\":{\"b\":null}}\n{\"duration_ms\":\"slow\"}";
    let decoded = json::decode(Dataset::Logs, body.as_bytes(), NOW, &DecodeLimits::default()).expect("JSON");
    let kept: Vec<_> = (0..5).map(|n| decoded.batch.row(n).attributes().expect("attributes")).collect();
    assert_eq!(
        kept,
        [
            r#"{"a":1}"#,
            r#"{"a":"one"}"#,
            r#"{"a":[true]}"#,
            r#"{"a":{"b":null}}"#,
            r#"{"duration_ms":"slow"}"#
        ]
    );
    assert_eq!((decoded.rejected_total(), decoded.coerced_total), (0, 1));
}

mod never_loses {
    use proptest::prelude::*;

    use super::*;

    const STEPS: [&str; 14] = [
        " - rename: {a: b, message: a}\n",
        " - set: {c: '${a}x', a.b.c: 1}\n",
        " - parse: {as: json, keep_source: false}\n",
        " - parse: {as: kv, field: a, into: d}\n",
        " - parse: {as: csv, columns: [x, y]}\n",
        " - parse: {as: url, field: a}\n",
        " - parse: {as: syslog}\n",
        " - parse: {as: grok, pattern: '%{GREEDYDATA:message}'}\n",
        " - timestamp: {field: a, formats: [epoch_ms, auto, '%H %Z']}\n",
        " - convert: {a: int, b: json, message: float}\n",
        " - redact: {types: [email, password, credit_card]}\n",
        " - keep: [a, b]\n",
        " - replace: {field: a, pattern: '', with: '$0xx'}\n",
        " - remove: [a, a.b]\n",
    ];

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Into::into),
            any::<bool>().prop_map(Into::into),
            Just(serde_json::Value::Null),
            "\\PC{0,20}".prop_map(Into::into),
            "[a-c]=\"?[0-9 ,]{0,6}".prop_map(Into::into),
            Just(r#"{"message":"x"}"#.into()),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                prop::collection::hash_map("[a-c]", inner, 0..3)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_record_is_taken_or_counted(
            steps in prop::collection::vec(prop::sample::select(&STEPS[..]), 1..8),
            records in prop::collection::vec(prop_oneof![
                prop::collection::hash_map("(a|b|message|a\\.b)", value(), 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()).to_string()),
                "\\PC{1,20}",
                value().prop_map(|value| value.to_string()),
            ], 1..5),
        ) {
            let set = pipelines(&[&format!("name: p\nsteps:\n{}", steps.concat())]);
            let tenant = Tenant::default();
            let limits = DecodeLimits::default();
            let origin = Origin { door: "http", tenant: &tenant, service: None };
            let reading = Reading { now: NOW, limits: &limits, pipelines: Some(Pipes { set: &set, origin }) };
            let mut taken = crate::records::Records::new(Dataset::Logs, reading);
            for record in &records {
                let _ = taken.json(record);
            }
            let decoded = taken.finish();
            let counted = decoded.batch.rows() as u64 + decoded.rejected_total() + decoded.dropped + decoded.quarantined;
            prop_assert_eq!(counted, records.len() as u64);
            prop_assert_eq!(decoded.dead.len() as u64, decoded.rejected_total());
            // What was valid JSON is taken: no step makes a record that the reader refuses.
            let valid = records.iter().filter(|record| Doc::parse(record).is_ok()).count();
            prop_assert_eq!(decoded.batch.rows(), valid);
        }
    }
}

mod mutants {
    use heimdall_testkit::mutants::{Rng, Seeds, fuzz};

    use super::*;
    use crate::testing::check_batch;

    const STEPS: [&str; 7] = [
        "name: a\nmatch: {door: [http, 'otlp*'], dataset: logs, service: 'web-*', when: {any: [{field: a, equals: 1}, {not: {field: b.c, regex: '^x+$'}}]}}\nsteps:\n  - rename: {a: b, x.y: z}\n  - set: {c: '${a}x', n: 5}\n    if: {field: a, exists: true}\n",
        "name: p\nsteps:\n - parse: {as: grok, pattern: '%{IP:ip} %{WORD:verb} %{NUMBER:n:int} %{GREEDYDATA:message}'}\n - parse: {as: regex, pattern: '(?P<k>[a-z]+)=(?P<v>\\d{1,9})'}\n   ignore_failure: true\n",
        "name: p\nsteps:\n - parse: {as: csv, columns: [x, y, z]}\n - parse: {as: kv, field: a, into: d}\n - parse: {as: logfmt, prefix: k.}\n - parse: {as: url, field: u}\n - parse: {as: user_agent, field: ua}\n",
        "name: p\nsteps:\n - timestamp: {field: a, formats: [epoch_ms, auto, '%d/%b/%Y:%H:%M:%S %z', '%H %Z'], timezone: Europe/Berlin}\n - convert: {a: int, b: json, message: float}\n",
        "name: p\nsteps:\n - redact: {types: [email, password, credit_card]}\n - replace: {field: message, pattern: '(\\w+) (\\w+)', with: '$2 $1'}\n - keep: [message, 'a*']\n - sample: {rate: 0.5}\n",
        "name: p\nsteps:\n - parse: {as: json, keep_source: false}\n - parse: {as: syslog}\n - parse: {as: access}\n - drop: {}\n   if: {field: level, equals: debug}\n",
        "name: p\nsteps: [{remove: [a, a.b]}, {copy: {message: original}}]\n",
    ];

    const RECORDS: [&str; 4] = [
        r#"{"message":"10.0.0.1 GET 42 /x?y=z a=1 \"b c\",d","a":"1700000000123","b":"{\"k\":[1]}","u":"https://u:p@h.example:8080/p/a?q=1#f","ua":"Mozilla/5.0 (X11; Linux x86_64) Firefox/115.0"}"#,
        r#"{"message":"mail bob@example.com password=hunter2 4111 1111 1111 1111","a":"10/Oct/2026:13:55:36 +0200","level":"debug","x":{"y":2}}"#,
        r#"{"message":"<34>Oct 11 22:14:15 h su[230]: 'su root' failed","a":"k=v, l=\"m n\"","a.b":{"c":null}}"#,
        r#"{"message":"{\"a\":1.50,\"message\":\"inner\"}","a":"x"}"#,
    ];

    /// What a pipeline makes of records: each is counted once.
    fn check_run(set: &PipelineSet, records: &[String]) {
        let (tenant, limits) = (Tenant::default(), DecodeLimits::default());
        let origin = Origin { door: "http", tenant: &tenant, service: None };
        let reading = Reading { now: NOW, limits: &limits, pipelines: Some(Pipes { set, origin }) };
        let mut taken = crate::records::Records::new(Dataset::Logs, reading);
        for record in records {
            let _ = taken.json(record);
        }
        let decoded = taken.finish();
        let counted =
            decoded.batch.rows() as u64 + decoded.rejected_total() + decoded.dropped + decoded.quarantined;
        assert_eq!(counted, records.len() as u64);
        check_batch(&decoded, records.len());
    }

    fn set_of(text: &str) -> Option<PipelineSet> {
        let pipeline = Pipelines::default().load("f.yaml", text).ok()?;
        let name = pipeline.name.clone();
        PipelineSet::new(vec![pipeline], Vec::new()).only(&name)
    }

    #[test]
    fn mutants_of_pipelines_load_and_run_or_say_why_not() {
        let records: Vec<String> = RECORDS.map(str::to_owned).to_vec();
        fuzz(&Seeds::text(STEPS), |mutant, _| {
            if let Some(set) = set_of(&String::from_utf8_lossy(mutant)) {
                check_run(&set, &records);
            }
        });
    }

    #[test]
    fn mutants_of_records_pass_every_step() {
        let sets = STEPS.map(|text| set_of(text).expect("a pipeline"));
        fuzz(&Seeds::text(RECORDS), |mutant, rng: &mut Rng| {
            let records = [String::from_utf8_lossy(mutant).into_owned()];
            check_run(rng.one_of(&sets), &records);
        });
    }

    #[test]
    fn mutants_of_what_is_in_a_record_pass_every_step() {
        let sets = STEPS.map(|text| set_of(text).expect("a pipeline"));
        let texts = RECORDS.iter().flat_map(|record| {
            let record: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(record).expect("JSON");
            record.into_iter().filter_map(|(_, value)| Some(value.as_str()?.to_owned()))
        });
        fuzz(&Seeds::text(texts), |mutant, _| {
            let text = String::from_utf8_lossy(mutant);
            let record =
                serde_json::json!({"message": text, "a": text, "b": text, "u": text, "ua": text}).to_string();
            for set in &sets {
                check_run(set, std::slice::from_ref(&record));
            }
        });
    }
}
