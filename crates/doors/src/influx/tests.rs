use axum::http::Request;
use heimdall_ingest::{DecodeLimits, Reading};
use heimdall_model::Timestamp;
use heimdall_testkit::data::bad_inputs;
use heimdall_testkit::mutants::{Seeds, fuzz};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::{TestShared, check_batch, shared};

struct Bench {
    it: TestShared,
    routes: Router,
}

fn bench() -> Bench {
    let it = shared();
    let routes = routes(Arc::clone(&it.shared));
    Bench { it, routes }
}

impl Bench {
    async fn ask(&self, request: axum::http::request::Builder, body: &str) -> (u16, Value) {
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let (status, text) = self.it.ask(self.routes.clone(), request).await;
        (status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.ask(Request::post(path), body).await
    }
}

#[tokio::test]
async fn numbers_become_samples_and_texts_log_records() {
    let bench = bench();
    let body = "cpu,host=h1,cpu=cpu0,name=n usage_idle=99.5,value=7i,up=t,note=\"fine\" 1700000000\n\
                syslog,appname=cron,severity=err message=\"failed\",msgid=\"m1\",version=1i 1700000001\n\
                two a=\"x\",b=\"y z\" 1700000002";
    let (status, answer) = bench.post("/write?db=telegraf&precision=s", body).await;
    assert_eq!((status, answer), (204, json!("")));
    let records = bench.it.records(7);
    let samples: Vec<_> = records.iter().filter(|record| record["dataset"] == "metrics").collect();
    let named: Vec<_> = samples
        .iter()
        .map(|sample| (sample["name"].as_str().unwrap_or_default(), &sample["value"]))
        .collect();
    assert_eq!(
        named,
        [
            ("cpu_usage_idle", &json!(99.5)),
            ("cpu", &json!(7.0)),
            ("cpu_up", &json!(1.0)),
            ("syslog_version", &json!(1.0))
        ]
    );
    assert_eq!(samples[0]["labels"], json!({"db": "telegraf", "cpu": "cpu0", "label.name": "n"}));
    assert_eq!(
        (&samples[0]["host"], &samples[0]["timestamp"]),
        (&json!("h1"), &json!("2023-11-14T22:13:20.000000000Z"))
    );
    let logs: Vec<_> = records.iter().filter(|record| record["dataset"] == "logs").collect();
    assert_eq!(
        (&logs[0]["message"], &logs[0]["service"], &logs[0]["host"]),
        (&json!("fine"), &json!("cpu"), &json!("h1"))
    );
    assert_eq!((&logs[1]["message"], &logs[1]["level"]), (&json!("failed"), &json!("error")));
    assert_eq!(
        logs[1]["attributes"],
        json!({"measurement": "syslog", "db": "telegraf", "appname": "cron", "msgid": "m1"})
    );
    assert_eq!((&logs[2]["message"], &logs[2]["attributes"]["b"]), (&json!("a=x b=y z"), &json!("y z")));
}

#[tokio::test]
async fn the_same_bytes_are_written_once_unless_a_time_or_the_database_differs() {
    let bench = bench();
    for path in ["/write?db=a", "/write?db=a", "/write?db=b"] {
        assert_eq!(bench.post(path, "m v=1 1700000000000000000\n").await.0, 204);
    }
    for _ in 0..2 {
        assert_eq!(bench.post("/write?db=a", "m v=1").await.0, 204);
    }
    assert_eq!(bench.it.records(4).len(), 4);
    assert!(bench.it.is_quiet());
}

#[tokio::test]
async fn a_bad_line_is_named_in_each_form_and_the_good_ones_are_kept() {
    let bench = bench();
    let body = "good v=1 5\nbad\ngood v=2 99999999999999999\n";
    let (status, answer) = bench.post("/write?precision=s", body).await;
    let text = answer["error"].as_str().expect("a reason");
    assert!(
        status == 400 && text.starts_with("partial write: unable to parse 'bad': missing fields (line 2)"),
        "{text}"
    );
    assert!(text.ends_with("unable to parse 'good': time outside range (line 3) dropped=2"), "{text}");
    let (status, answer) = bench.post("/api/v2/write?bucket=b&org=o&precision=s", body).await;
    assert_eq!((status, &answer["code"]), (400, &json!("invalid")));
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("dropped=2")));
    let (status, answer) = bench.post("/api/v3/write_lp?db=d&precision=second", body).await;
    assert_eq!((status, &answer["data"][0]["line_number"]), (400, &json!(2)));
    let records = bench.it.records(3);
    assert!(
        records
            .iter()
            .all(|record| record["name"] == "good_v"
                && record["timestamp"] == "1970-01-01T00:00:05.000000000Z")
    );
    assert_eq!(bench.post("/write?precision=d", "m v=1").await.0, 400);
    assert_eq!(bench.post("/write", "").await.0, 204, "an empty write is none, as with Influx");
    assert!(bench.it.is_quiet());
}

#[tokio::test]
async fn what_clients_ask_before_they_write_is_answered() {
    let bench = bench();
    let created = json!({"results": [{"statement_id": 0}]});
    assert_eq!(bench.post("/query?q=CREATE%20DATABASE%20%22t%22", "").await, (200, created.clone()));
    assert_eq!(bench.ask(Request::get("/query?q=create+database+t"), "").await, (200, created.clone()));
    assert_eq!(bench.post("/query", "q=CREATE+DATABASE+%22t%22&db=x").await, (200, created));
    assert_eq!(bench.post("/query?q=SELECT+1", "").await.0, 400);
    assert_eq!(bench.ask(Request::get("/ping"), "").await.0, 204);
    assert_eq!(bench.ask(Request::get("/ping?verbose=true"), "").await.1["version"], VERSION);
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused_or_read(body in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'='), Just(b','), Just(b'"'), any::<u8>()], 0..300)) {
        let limits = DecodeLimits::default();
        let points = points::decode(&body, Precision::Auto, "db", Reading::new(Timestamp(5), &limits)).expect("few");
        prop_assert!(points.dropped.len() as u64 <= points.dropped_total);
    }
}

#[test]
fn mutants_are_refused_or_read() {
    let seeds = Seeds::text([
        "my\\ Measurement,tag\\ Key\\,1=tag\\=Value,host=h field\\=Key=\"string \\\"value\\\" \\\\ x\",b=-1.5e3,c=1i,d=2u,e=t 1556813561098000000\n",
        "cpu,host=a usage=1.5,idle=98i 1556813561\r\n# comment\nlog msg=\"two\nlines\",level=\"warn\"\n",
    ]);
    let limits = DecodeLimits::default();
    fuzz(&seeds, |mutant, _| {
        for precision in [Precision::Auto, Precision::Ns(1)] {
            let points =
                points::decode(mutant, precision, "db", Reading::new(Timestamp(5), &limits)).expect("few");
            points.decoded.iter().for_each(|decoded| check_batch(decoded, mutant.len()));
            assert!(points.dropped.len() as u64 <= points.dropped_total);
        }
    });
}

#[tokio::test]
async fn after_bad_inputs_a_good_point_is_taken() {
    let bench = bench();
    for (n, input) in bad_inputs().into_iter().enumerate() {
        let request = Request::post("/write").body(Body::from(input.bytes)).expect("a request");
        let (status, text) = bench.it.ask(bench.routes.clone(), request).await;
        assert!(matches!(status.as_u16(), 204 | 400), "{}: {status} {text}", input.name);
        assert_eq!(bench.post("/write", &format!("good v={n} {}", n + 1)).await.0, 204, "{}", input.name);
    }
}
