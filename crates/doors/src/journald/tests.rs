use std::convert::Infallible;

use axum::http::Request;
use futures::stream;
use heimdall_testkit::data::bad_inputs;
use serde_json::Value;

use super::*;
use crate::testing::{TestShared, shared};

const ID: &str = "0123456789abcdef0123456789abcdef";

struct Bench {
    it: TestShared,
    routes: Router,
}

fn bench() -> Bench {
    let it = shared();
    let routes = routes(Arc::clone(&it.shared), &JournalUploadConfig::default());
    Bench { it, routes }
}

fn entry(seqnum: u64) -> String {
    let us = 1_700_000_000_000_000 + seqnum;
    format!(
        "__CURSOR=s={ID};i={seqnum:x};b=b;m=1;t=1;x=1\n__REALTIME_TIMESTAMP={us}\nMESSAGE=m{seqnum}\nPRIORITY=3\n_HOSTNAME=h\nSYSLOG_IDENTIFIER=app\n_PID=7\n\n"
    )
}

fn entries(seqnums: impl IntoIterator<Item = u64>) -> String {
    seqnums.into_iter().map(entry).collect()
}

fn request(body: Body) -> Request<Body> {
    Request::post("/upload").header(header::CONTENT_TYPE, CONTENT_TYPE).body(body).expect("a request")
}

impl Bench {
    async fn upload(&self, body: impl Into<Body>) -> (u16, String) {
        let (status, text) = self.it.ask(self.routes.clone(), request(body.into())).await;
        (status.as_u16(), text)
    }

    /// As after a restart: what is in memory is gone, what is on the disk is there.
    fn restart(&mut self) {
        self.routes = routes(Arc::clone(&self.it.shared), &JournalUploadConfig::default());
    }

    fn messages(&self, count: usize) -> Vec<Value> {
        self.it.records(count).into_iter().map(|record| record["message"].clone()).collect()
    }
}

/// A body that ends as a connection that is cut.
fn cut(text: String) -> Body {
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        vec![Ok(Bytes::from(text)), Err(std::io::Error::other("cut"))];
    Body::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn an_upload_becomes_records() {
    let bench = bench();
    let (status, text) = bench.upload(entries(1..=2)).await;
    assert_eq!((status, text.as_str()), (202, "OK.\n"));
    let records = bench.it.records(2);
    assert_eq!(records[0]["message"], "m1");
    assert_eq!((&records[0]["level"], &records[0]["host"]), (&"error".into(), &"h".into()));
    assert_eq!(
        (&records[0]["service"], &records[0]["attributes"]["process.pid"]),
        (&"app".into(), &"7".into())
    );
    assert_eq!(records[0]["timestamp"], "2023-11-14T22:13:20.000001000Z");
    assert_eq!(bench.upload("").await.0, 202);
    assert_eq!(bench.upload("MESSAGE=of no journal\n").await.0, 202, "without the last empty line");
    assert_eq!(bench.messages(1), ["of no journal"]);
}

#[tokio::test]
async fn entries_sent_again_are_not_written_again_whatever_the_cuts() {
    let mut bench = bench();
    assert_eq!(bench.upload(entries(1..=5)).await.0, 202);
    assert_eq!(bench.upload(cut(entries(3..=8) + "MESSAGE=half")).await.0, 400);
    assert_eq!(bench.upload(entries(4..=9)).await.0, 202);
    bench.restart();
    assert_eq!(bench.upload(entries(1..=10)).await.0, 202);
    let expected: Vec<Value> = (1..=10).map(|n| format!("m{n}").into()).collect();
    assert_eq!(bench.messages(10), expected);
    assert!(bench.it.is_quiet());
}

#[tokio::test]
async fn a_batch_whose_outcome_was_lost_is_told_from_one_that_was_not_written() {
    for is_durable in [true, false] {
        let mut bench = bench();
        assert_eq!(bench.upload(entries(1..=5)).await.0, 202);
        if is_durable {
            assert_eq!(bench.upload(entries(6..=9)).await.0, 202);
        }
        // As left by a crash after the range was begun: the file says so, and the rest only if it became durable.
        let marks = Marks::open(bench.it.path().join(DOOR), 10);
        let mut held =
            marks.hold(&heimdall_model::Tenant::default(), u128::from_str_radix(ID, 16).expect("hex")).await;
        let place = |seqnum| marks::Place { journal: 0, seqnum, realtime_us: 1_700_000_000_000_000 + seqnum };
        let mut range = marks::Range::of(&place(6));
        range.extend(&place(9));
        held.mark.begin(range);
        held.save().await.expect("saved");
        bench.restart();
        let pieces = [entries(4..=7), entries(8..=12)].map(|text| Ok::<_, Infallible>(Bytes::from(text)));
        assert_eq!(bench.upload(Body::from_stream(stream::iter(pieces))).await.0, 202);
        assert_eq!(bench.upload(entries(1..=12)).await.0, 202);
        let expected: Vec<Value> = (1..=12).map(|n| format!("m{n}").into()).collect();
        assert_eq!(bench.messages(12), expected, "{is_durable}");
        assert!(bench.it.is_quiet(), "{is_durable}");
    }
}

#[tokio::test]
async fn entries_are_durable_while_the_upload_goes_on_and_shutdown_ends_it() {
    let bench = bench();
    let (pieces, body) = tokio::sync::mpsc::channel::<Result<Bytes, Infallible>>(4);
    let body = Body::from_stream(stream::unfold(body, async |mut body| Some((body.recv().await?, body))));
    let upload = bench.upload(body);
    let drive = async {
        for seqnum in 1..=2 {
            pieces.send(Ok(Bytes::from(entry(seqnum)))).await.expect("taken");
            while bench.it.is_quiet() {
                tokio::time::sleep(Duration::from_millis(5)).await; // until a frame is durable
            }
        }
        bench.it.shared.shutdown.cancel();
    };
    let ((status, text), ()) = tokio::join!(upload, drive);
    assert_eq!((status, text.as_str()), (503, "server is shutting down\n"));
}

#[tokio::test]
async fn what_is_no_upload_is_refused_and_whole_entries_before_it_are_kept() {
    let bench = bench();
    let (status, text) = bench.upload(entry(1) + "=x\n\n" + &entry(2)).await;
    assert_eq!((status, text.contains("neither")), (400, true), "{text}");
    assert_eq!(bench.messages(1), ["m1"]);
    assert_eq!(bench.upload("MESSAGE=cut off").await.0, 400);
    let wrong = Request::post("/upload").body(Body::from(entry(3))).expect("a request");
    assert_eq!(bench.it.ask(bench.routes.clone(), wrong).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(bench.it.is_quiet());
}

#[tokio::test]
async fn a_long_upload_is_many_batches() {
    let bench = bench();
    assert_eq!(bench.upload(entries(1..=2_500)).await.0, 202);
    assert_eq!(bench.messages(2_500).last(), Some(&Value::from("m2500")));
    assert_eq!(bench.upload(entries(1..=2_500)).await.0, 202);
    assert!(bench.it.is_quiet());
}

#[tokio::test]
async fn an_entry_that_does_not_go_on_ends_the_upload_and_seats_are_few() {
    let it = shared();
    let config = JournalUploadConfig {
        uploads_max: 1,
        entry_timeout: heimdall_detect::Period(50_000_000),
        ..JournalUploadConfig::default()
    };
    let routes = routes(Arc::clone(&it.shared), &config);
    let stuck = || {
        let begun = stream::iter([Ok::<_, Infallible>(Bytes::from("MESSAGE=a"))]);
        request(Body::from_stream(begun.chain(stream::pending())))
    };
    let (one, two) = tokio::join!(it.ask(routes.clone(), stuck()), it.ask(routes.clone(), stuck()));
    assert_eq!((one.0, two.0), (StatusCode::REQUEST_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE));
}

#[tokio::test]
async fn after_bad_inputs_a_good_entry_is_taken() {
    let bench = bench();
    for (n, input) in (1_u64..).zip(bad_inputs()) {
        let (status, _) = bench.upload(input.bytes.clone()).await;
        assert!(status < 500, "{}: {status}", input.name);
        let length = (input.bytes.len() as u64).to_le_bytes();
        let field = [&b"MESSAGE\n"[..], &length, &input.bytes, b"\n_HOSTNAME=h\n\n"].concat();
        let (status, text) = bench.upload([&field[..], entry(n).as_bytes()].concat()).await;
        assert!(status < 300, "{}: {status} {text}", input.name);
        bench.it.messages_until(&format!("m{n}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_that_change_within_an_upload_are_in_force_for_the_next_entry() {
    use heimdall_ingest::Pipelines;
    let dir = tempfile::tempdir().expect("a folder");
    let rule = dir.path().join("mark.yaml");
    let pipelines = Arc::new(Pipelines::new(
        Some(dir.path().to_owned()),
        Vec::new(),
        heimdall_ingest::schema::Schemas::default(),
    ));
    let it = crate::testing::shared_with_pipelines(&pipelines);
    let routes = routes(Arc::clone(&it.shared), &JournalUploadConfig::default());
    let (pieces, body) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = stream::unfold(body, async |mut body| Some((Ok::<_, Infallible>(body.recv().await?), body)));
    let upload = async { it.ask(routes, request(Body::from_stream(body))).await.0 };
    let change = async {
        for (n, mark) in ["first", "second"].iter().enumerate() {
            let text = format!("name: mark\nsteps:\n - set: {{mark: {mark}}}\n");
            std::fs::write(&rule, text).expect("a file");
            pipelines.look().expect("it has changed");
            let first = 10 * n as u64;
            pieces.send(Bytes::from(entries(first + 1..=first + 2))).await.expect("it reads");
            // Both run on one task: nothing here may block before the receipt is there.
            let tenant = heimdall_model::Tenant::default();
            let taken = || -> u64 {
                let page = it.shared.intake.receipts(&tenant, 10, None);
                page.items.iter().map(|receipt| receipt.accepted).sum()
            };
            let wait = async {
                while taken() < 2 * (n as u64 + 1) {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("they are taken");
            let records = it.records(2);
            assert!(records.iter().all(|record| record["attributes"]["mark"] == *mark), "{records:?}");
        }
        drop(pieces);
    };
    assert_eq!(tokio::join!(upload, change).0, StatusCode::ACCEPTED);
}
