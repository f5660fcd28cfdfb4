use axum::http::Request;
use heimdall_guard::Denied;
use heimdall_ingest::{DecodeLimits, Reading};
use heimdall_model::Timestamp;
use heimdall_testkit::data::bad_inputs;
use heimdall_testkit::mutants::{Seeds, fuzz};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::{TestShared, check_batch, shared, shared_that_takes};

const CHANNEL: &str = "11111111-1111-1111-1111-111111111111";

struct Bench {
    it: TestShared,
    routes: Router,
}

fn bench(config: &HecConfig) -> Bench {
    let it = shared();
    let routes = routes(Arc::clone(&it.shared), config);
    Bench { it, routes }
}

impl Bench {
    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let request = Request::post(path).body(Body::from(body.to_owned())).expect("a request");
        let (status, text) = self.it.ask(self.routes.clone(), request).await;
        (status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

#[tokio::test]
async fn events_one_after_the_other_become_records() {
    let bench = bench(&HecConfig::default());
    let body = concat!(
        r#"{"event": "Hello \"world\"", "sourcetype": "manual", "host": "h1", "time": 1426279439.123456789, "index":"main", "fields":{"club":"glee","wins":["a","b"]}}"#,
        r#"{"event": {"msg": "of an object", "severity": "WARN", "host": "inner", "code": 7}, "host": "outer", "time": "1426279439.5", "source": "billing"}"#,
        "\n",
        r#"[{"event": {"line": "of docker", "tag": "t"}},{"event": {"a": {"b": 1}}}]"#
    );
    let (status, answer) = bench.post("/services/collector/event", body).await;
    assert_eq!((status, answer), (200, json!({"text": "Success", "code": 0})));
    let records = bench.it.records(4);
    let one = &records[0];
    assert_eq!((&one["message"], &one["host"]), (&json!("Hello \"world\""), &json!("h1")));
    assert_eq!(one["timestamp"], "2015-03-13T20:43:59.123456789Z");
    assert_eq!(
        one["attributes"],
        json!({"sourcetype": "manual", "index": "main", "club": "glee", "wins": ["a", "b"]})
    );
    let two = &records[1];
    assert_eq!((&two["message"], &two["level"]), (&json!("of an object"), &json!("warn")));
    assert_eq!((&two["host"], &two["service"]), (&json!("outer"), &json!("billing")));
    assert_eq!(two["timestamp"], "2015-03-13T20:43:59.500000000Z");
    assert_eq!(two["attributes"], json!({"event.host": "inner", "code": 7}));
    assert_eq!(
        (&records[2]["message"], &records[2]["attributes"]["tag"]),
        (&json!("of docker"), &json!("t"))
    );
    assert_eq!(
        (&records[3]["message"], &records[3]["attributes"]),
        (&json!(r#"{"a": {"b": 1}}"#), &json!({"a": {"b": 1}}))
    );
}

#[tokio::test]
async fn metrics_become_samples() {
    let bench = bench(&HecConfig::default());
    let body = concat!(
        r#"{"time": 1486683865, "event": "metric", "source": "disk", "host": "h", "fields": {"region": "us", "name": "sda", "metric_name:cpu.user": 42.12, "metric_name:cpu.idle": "57"}}"#,
        r#"{"time": 1486683866, "event": "metric", "fields": {"metric_name": "total", "_value": 1099}}"#,
        r#"{"event": "metric"}"#
    );
    assert_eq!(bench.post("/services/collector", body).await.0, 200);
    let records = bench.it.records(4);
    let mut samples: Vec<_> = records.iter().filter(|record| record["dataset"] == "metrics").collect();
    samples.sort_by_key(|sample| sample["name"].to_string());
    assert_eq!((&samples[0]["name"], &samples[0]["value"]), (&json!("cpu.idle"), &json!(57.0)));
    assert_eq!((&samples[1]["name"], &samples[1]["value"]), (&json!("cpu.user"), &json!(42.12)));
    assert_eq!(samples[1]["labels"], json!({"region": "us", "label.name": "sda"}));
    assert_eq!((&samples[1]["host"], &samples[1]["service"]), (&json!("h"), &json!("disk")));
    assert_eq!(
        (&samples[2]["name"], &samples[2]["timestamp"]),
        (&json!("total"), &json!("2017-02-09T23:44:26.000000000Z"))
    );
    assert!(
        records.iter().any(|record| record["message"] == "metric"),
        "an event of that text and without fields"
    );
    let (status, answer) = bench
        .post("/services/collector", r#"{"event":"metric","fields":{"metric_name:a":1,"metric_name:b":"x"}}"#)
        .await;
    assert_eq!((status, &answer["code"]), (400, &json!(15)));
}

#[tokio::test]
async fn the_first_bad_event_ends_the_request_and_those_before_it_are_kept() {
    let bench = bench(&HecConfig::default());
    for (bad, code) in [
        (r#"{"event": }"#, 6),
        (r#"{"time": 1}"#, 12),
        (r#"{"event": null}"#, 12),
        (r#"{"event": ""}"#, 13),
        (r#"{"event": "x", "fields": {"a": {"b": 1}}}"#, 15),
        (r#"{"event": "x", "fields": []}"#, 15),
        (r#""text""#, 6),
        ("[[1,2]]", 6),
        ("{\"event\":\"cut", 6),
    ] {
        let body = format!(r#"{{"event":"good"}} {bad} {{"event":"after"}}"#);
        let (status, answer) = bench.post("/services/collector", &body).await;
        assert_eq!(
            (status, &answer["code"], &answer["invalid-event-number"]),
            (400, &json!(code), &json!(1)),
            "{bad}"
        );
        assert_eq!(bench.it.records(1)[0]["message"], "good", "{bad}");
        assert!(bench.it.is_quiet(), "{bad}");
    }
    let (status, answer) = bench.post("/services/collector", " ").await;
    assert_eq!((status, answer), (400, json!({"text": "No data", "code": 5})));
    assert_eq!(bench.post("/services/collector", "[]").await.1["code"], 5);
}

#[tokio::test]
async fn raw_lines_take_what_the_address_says() {
    let bench = bench(&HecConfig::default());
    let path = "/services/collector/raw/1.0/?host=h&source=web&sourcetype=access&time=1700000000.25";
    assert_eq!(bench.post(path, "one\r\n\n  \ntwo \n").await.0, 200);
    let records = bench.it.records(2);
    assert_eq!((&records[0]["message"], &records[1]["message"]), (&json!("one"), &json!("two ")));
    assert_eq!((&records[0]["host"], &records[0]["service"]), (&json!("h"), &json!("web")));
    assert_eq!(records[0]["attributes"]["sourcetype"], "access");
    assert_eq!(records[0]["timestamp"], "2023-11-14T22:13:20.250000000Z");
    assert_eq!(bench.post("/services/collector/raw", "\n").await.1["code"], 5);
}

#[tokio::test]
async fn ids_are_true_after_the_answer_and_only_on_their_channel() {
    let bench = bench(&HecConfig::default());
    let (_, answer) = bench.post(&format!("/services/collector?channel={CHANNEL}"), r#"{"event":"a"}"#).await;
    let ack = answer["ackId"].as_u64().expect("an id");
    let ask = format!(r#"{{"acks":[{ack},{}]}}"#, ack + 1);
    let request = Request::post("/services/collector/ack").header(CHANNEL_HEADER, CHANNEL);
    let request = request.body(Body::from(ask.clone())).expect("a request");
    let (_, text) = bench.it.ask(bench.routes.clone(), request).await;
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(answer, json!({"acks": {ack.to_string(): true, (ack + 1).to_string(): false}}));
    let codes = [
        ("/services/collector/ack".to_owned(), ask.as_str(), 10),
        ("/services/collector/ack?channel=x".to_owned(), &ask, 11),
        (format!("/services/collector/ack?channel={CHANNEL}"), "{\"acks\":[\"a\"]}", 6),
        ("/services/collector?channel=x".to_owned(), r#"{"event":"a"}"#, 11),
    ];
    for (path, body, code) in codes {
        let (status, answer) = bench.post(&path, body).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{path}");
    }
    bench.it.records(1);
    assert!(bench.it.is_quiet());
}

#[tokio::test]
async fn ids_can_be_required_or_switched_off() {
    let required = bench(&HecConfig { acks: AckMode::Required, ..HecConfig::default() });
    assert_eq!(required.post("/services/collector/raw", "x").await.1["code"], 10);
    let off = bench(&HecConfig { acks: AckMode::Off, ..HecConfig::default() });
    let (status, answer) = off.post(&format!("/services/collector/raw?channel={CHANNEL}"), "x").await;
    assert_eq!((status, answer), (200, json!({"text": "Success", "code": 0})));
    assert_eq!(
        off.post(&format!("/services/collector/ack?channel={CHANNEL}"), r#"{"acks":[0]}"#).await.1["code"],
        14
    );
}

#[tokio::test]
async fn health_is_said_and_so_is_the_end() {
    let bench = bench(&HecConfig::default());
    let ask = || Request::get("/services/collector/health/1.0").body(Body::empty()).expect("a request");
    let (status, text) = bench.it.ask(bench.routes.clone(), ask()).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, r#"{"text":"HEC is healthy","code":17}"#));
    let options = Request::options("/services/collector/event/1.0").body(Body::empty()).expect("a request");
    assert_eq!(
        bench.it.ask(bench.routes.clone(), options).await.0,
        StatusCode::OK,
        "as Docker's driver asks"
    );
    bench.it.shared.shutdown.cancel();
    assert_eq!(bench.it.ask(bench.routes.clone(), ask()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(bench.post("/services/collector", r#"{"event":"a"}"#).await.1["code"], 23);
}

#[tokio::test]
async fn who_may_not_send_and_who_sends_too_much_are_told_in_splunks_words() {
    let it = shared_that_takes(1.0);
    let router = routes(Arc::clone(&it.shared), &HecConfig::default());
    let post =
        || Request::post("/services/collector").body(Body::from(r#"{"event":"a"}"#)).expect("a request");
    assert_eq!(it.ask(router.clone(), post()).await.0, StatusCode::OK);
    let (status, text) = it.ask(router.clone(), post()).await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::TOO_MANY_REQUESTS, r#"{"text":"Server is busy","code":9}"#)
    );
    let denied = |denied| Failure::Denied(denied);
    assert_eq!(Code::of(&denied(Denied::NoToken), false), Code::TokenRequired);
    assert_eq!(Code::of(&denied(Denied::BadToken), true), Code::InvalidToken);
    assert_eq!(Code::of(&denied(Denied::BadToken), false), Code::InvalidAuthorization);
    assert_eq!(Code::of(&denied(Denied::Expired), true), Code::TokenDisabled);
    let response = failed(&denied(Denied::NoToken), &HeaderMap::new());
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused_or_read(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let limits = DecodeLimits::default();
        let reading = || Reading::new(Timestamp(5), &limits);
        let _ = event::decode(&body, &Common::default(), reading());
        let _ = event::decode_raw(&body, &Common::default(), reading());
    }

    #[test]
    fn whatever_an_event_is_the_count_is_right(value in "[\\[\\]{},:\"0-9a-z\\\\]{0,40}", before in 0_usize..4) {
        let limits = DecodeLimits::default();
        let body = format!("{}{{\"event\":{value}}}", r#"{"event":"x"}"#.repeat(before));
        let events = event::decode(body.as_bytes(), &Common::default(), Reading::new(Timestamp(5), &limits)).expect("few");
        prop_assert!(events.count >= before as u64);
        let rows: usize = events.decoded.iter().map(|decoded| decoded.batch.rows()).sum();
        prop_assert_eq!(rows as u64, events.count);
    }
}

#[test]
fn mutants_of_events_are_refused_or_read() {
    let seeds = Seeds::text([
        r#"{"time":1426279439.123,"host":"localhost","source":"s","sourcetype":"_json","index":"main","event":{"message":"m","severity":"WARN","a":{"b":[1]}},"fields":{"club":"glee","wins":["regionals","nationals"]}}{"event":"Hello world!"}"#,
        r#"{"time":"1486683865","event":"metric","host":"h","fields":{"region":"us-west-1","metric_name:cpu.usr":11.12,"metric_name:cpu.sys":"12.23","_value":1,"metric_name":"old"}}"#,
        r#"[{"event":"a"},{"event":{"b":null},"time":"1.5"}]"#,
    ]);
    let limits = DecodeLimits::default();
    fuzz(&seeds, |mutant, _| {
        let reading = Reading::new(Timestamp(5), &limits);
        for events in [
            event::decode(mutant, &Common::default(), reading),
            event::decode_raw(mutant, &Common::default(), reading),
        ] {
            let events = events.expect("few");
            events.decoded.iter().for_each(|decoded| check_batch(decoded, mutant.len()));
            assert!(events.count <= mutant.len() as u64);
        }
    });
}

#[test]
fn after_bad_lines_a_good_one_is_taken_and_bad_events_end_a_request() {
    let limits = DecodeLimits::default();
    let rows =
        |events: &event::Events| events.decoded.iter().map(|decoded| decoded.batch.rows()).sum::<usize>();
    for input in bad_inputs() {
        let reading = Reading::new(Timestamp(5), &limits);
        let events = event::decode(&input.bytes, &Common::default(), reading).expect("few");
        assert_eq!(rows(&events) as u64, events.count, "{}", input.name);
        let inside = [&br#"{"event":"good"}{"event":"#[..], &input.bytes, b"}"].concat();
        let events = event::decode(&inside, &Common::default(), reading).expect("few");
        assert!(rows(&events) >= 1 && (events.stopped.is_none() || events.count >= 1), "{}", input.name);
        let lines = [&input.bytes[..], b"\ngood\n"].concat();
        let events = event::decode_raw(&lines, &Common::default(), reading).expect("few");
        assert!(events.stopped.is_none() && rows(&events) as u64 == events.count, "{}", input.name);
    }
}

#[test]
fn the_event_that_stops_a_body_is_a_dead_letter() {
    let limits = DecodeLimits::default();
    let bodies: [(&[u8], &str); 4] = [
        (br#"{"event":"a"} {"event":""} {"event":"c"}"#, r#"{"event":""}"#),
        (br#"[{"event":"a"},{"event":""}]"#, r#"{"event":""}"#),
        (br#"{"event":"a"}{"event":"#, r#"{"event":"#),
        (b"{\"event\":\"a\"}{\"event\":\"\xff\"}", "eyJldmVudCI6Iv8ifQ=="),
    ];
    for (body, raw) in bodies {
        let events = event::decode(body, &event::Common::default(), Reading::new(Timestamp(1), &limits));
        let events = events.expect("within the limits");
        let dead: Vec<_> = events.decoded.iter().flat_map(|decoded| &decoded.dead).collect();
        assert_eq!(dead.len(), 1, "{dead:?}");
        assert_eq!(dead[0].raw, raw);
    }
}
