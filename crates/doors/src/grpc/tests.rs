//! The calls of Heimdall's protocol, by its own client over a real connection.

use std::time::Duration;

use futures::{StreamExt, stream};
use heimdall_ingest::{DecodeLimits, Reading};
use heimdall_model::Timestamp;
use heimdall_testkit::mutants::{Seeds, fuzz};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use super::proto::ingest_client::IngestClient;
use super::proto::value::Kind;
use super::proto::{
    KeyValue, RecordBatch, SampleBatch, SpanBatch, SpanEvent, SpanLink, Value as ProtoValue, ValueList,
    ValueMap,
};
use super::*;
use crate::config::{DoorsConfig, GrpcConfig};
use crate::otlp::tests::open;
use crate::testing::{TestShared, check_batch, shared, shared_that_takes};

const PATIENCE: Duration = Duration::from_secs(20);

async fn client(it: &TestShared) -> IngestClient<Channel> {
    let listen = Some(([127, 0, 0, 1], 0).into());
    let config =
        DoorsConfig { grpc: GrpcConfig { listen, ..GrpcConfig::default() }, ..DoorsConfig::default() };
    let (addr, _running) = open(it, "grpc", &config);
    IngestClient::connect(format!("http://{addr}")).await.expect("a connection")
}

fn value(kind: Kind) -> Option<ProtoValue> {
    Some(ProtoValue { kind: Some(kind) })
}

fn attribute(key: &str, kind: Kind) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value(kind) }
}

fn record(message: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: 5,
        message: message.to_owned(),
        service: "s".to_owned(),
        ..LogRecord::default()
    }
}

fn batch(id: &str, messages: &[&str]) -> RecordBatch {
    RecordBatch { batch_id: id.to_owned(), records: messages.iter().map(|message| record(message)).collect() }
}

fn rows<T: Item>(body: &[u8]) -> Vec<Value> {
    let batch =
        records::decode::<T>(body, Reading::new(Timestamp(9), &DecodeLimits::default())).expect("a batch");
    let rows = batch.decoded.batch.iter().map(|row| {
        let mut row = row.to_json();
        row.retain(|name, _| name != "id" && name != "observed");
        Value::Object(row)
    });
    rows.collect()
}

#[test]
fn a_log_record_with_everything() {
    let nested = ValueMap { entries: vec![attribute("k", Kind::Bytes(vec![0, 255]))] };
    let full = LogRecord {
        level: "WARNING".to_owned(),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        trace_flags: 1,
        source_ip: "10.0.0.1".to_owned(),
        duration_ms: Some(0.0),
        attributes: vec![
            attribute("http.request.id", Kind::Text("r1".to_owned())),
            attribute("message", Kind::Text("not the message".to_owned())),
            attribute("big", Kind::Int(i64::MIN)),
            attribute(
                "list",
                Kind::List(ValueList {
                    values: vec![ProtoValue { kind: None }, ProtoValue { kind: Some(Kind::Flag(true)) }],
                }),
            ),
            attribute("map", Kind::Map(nested)),
        ],
        ..record("hello")
    };
    let body = RecordBatch { batch_id: "b".to_owned(), records: vec![full] }.encode_to_vec();
    assert_eq!(
        rows::<LogRecord>(&body),
        [json!({
            "timestamp": "1970-01-01T00:00:00.000000005Z", "level": "warn", "message": "hello", "service": "s",
            "trace_id": "01".repeat(16), "span_id": "02".repeat(8), "trace_flags": 1, "source_ip": "10.0.0.1", "duration_ms": 0.0,
            "request_id": "r1",
            "attributes": {"message": "not the message", "big": i64::MIN, "list": [null, true], "map": {"k": "AP8="}},
        })]
    );
}

#[test]
fn samples_and_spans() {
    let labels = [("name".to_owned(), "a label".to_owned())].into();
    let sample = Sample { time_unix_nano: 5, name: "m".to_owned(), value: 1.5, labels, ..Sample::default() };
    let body = SampleBatch { samples: vec![sample], ..SampleBatch::default() }.encode_to_vec();
    let time = "1970-01-01T00:00:00.000000005Z";
    assert_eq!(
        rows::<Sample>(&body),
        [json!({"timestamp": time, "name": "m", "value": 1.5, "labels": {"name": "a label"}})]
    );
    let span = Span {
        start_unix_nano: 5,
        end_unix_nano: 1_500_005,
        name: "n".to_owned(),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        kind: "client".to_owned(),
        events: vec![SpanEvent { time_unix_nano: 5, name: "e".to_owned(), attributes: vec![] }],
        links: vec![SpanLink {
            trace_id: vec![3; 16],
            span_id: vec![4; 8],
            attributes: vec![attribute("a", Kind::Float(0.5))],
        }],
        attributes: vec![attribute("status", Kind::Int(200))],
        ..Span::default()
    };
    let body = SpanBatch { spans: vec![span], ..SpanBatch::default() }.encode_to_vec();
    assert_eq!(
        rows::<Span>(&body),
        [json!({
            "timestamp": time, "duration_ms": 1.5, "name": "n", "trace_id": "01".repeat(16), "span_id": "02".repeat(8), "kind": "client",
            "events": [{"time": time, "name": "e"}],
            "links": [{"trace_id": "03".repeat(16), "span_id": "04".repeat(8), "attributes": {"a": 0.5}}],
            "attributes": {"status": 200},
        })]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let limits = DecodeLimits::default();
        let reading = Reading::new(Timestamp(9), &limits);
        let _ = records::decode::<LogRecord>(&bytes, reading);
        let _ = records::decode::<Sample>(&bytes, reading);
        let _ = records::decode::<Span>(&bytes, reading);
        let mut body = batch("id", &["a", "b"]).encode_to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = records::decode::<LogRecord>(&body, reading);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_durable_once_and_its_receipt_says_what_was_rejected() {
    let it = shared();
    let mut client = client(&it).await.send_compressed(CompressionEncoding::Gzip);
    let sample =
        |name: &str, value| Sample { time_unix_nano: 5, name: name.to_owned(), value, ..Sample::default() };
    let samples = SampleBatch {
        batch_id: "b1".to_owned(),
        samples: vec![sample("a", 1.0), sample("", 1.0), sample("b", f64::NAN)],
    };
    let receipt = client.push_samples(samples.clone()).await.expect("taken").into_inner();
    assert_eq!((receipt.batch_id.as_str(), receipt.accepted, receipt.rejected), ("b1", 1, 2));
    let reasons: Vec<_> =
        receipt.rejections.iter().map(|r| (r.index, r.field.as_str(), r.reason.as_str())).collect();
    assert_eq!(reasons, [(1, "name", "is empty"), (2, "value", "is not a finite number")]);
    let again = client.push_samples(samples).await.expect("taken").into_inner();
    assert_eq!((again.accepted, again.deduplicated), (0, 1));
    assert_eq!(it.records(1)[0]["name"], "a");
    assert!(it.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_a_stream_are_acknowledged_in_order_while_it_is_open() {
    let it = shared();
    let mut client = client(&it).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    let requests = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|batch| (batch, receiver))
    });
    let mut acknowledged = client.stream_records(requests).await.expect("a stream").into_inner();
    let mut next = async || timeout(PATIENCE, acknowledged.next()).await.expect("in time");
    sender.send(batch("a", &["1", "2"])).await.expect("an open stream");
    let first = next().await.expect("one").expect("an acknowledgement");
    assert!(
        matches!(&first.outcome, Some(acknowledgement::Outcome::Receipt(receipt)) if receipt.accepted == 2),
        "{first:?}"
    );
    let long = "x".repeat(300);
    for batch in [batch("b", &["3"]), batch(&long, &["refused"]), batch("a", &["1", "2"]), batch("", &["4"])]
    {
        sender.send(batch).await.expect("an open stream");
    }
    drop(sender);
    let mut outcomes = Vec::new();
    while let Some(acknowledgement) = next().await {
        let acknowledgement = acknowledgement.expect("an acknowledgement");
        outcomes.push((
            acknowledgement.sequence,
            match acknowledgement.outcome.expect("an outcome") {
                acknowledgement::Outcome::Receipt(receipt) => {
                    format!("{} accepted, {} before", receipt.accepted, receipt.deduplicated)
                }
                acknowledgement::Outcome::Refusal(refusal) => {
                    format!("{}: {}", refusal.code, refusal.message)
                }
            },
        ));
    }
    assert_eq!(
        outcomes,
        [
            (1, "1 accepted, 0 before".to_owned()),
            (2, "3: body is not a batch: batch_id is longer than 256 bytes".to_owned()),
            (3, "0 accepted, 2 before".to_owned()),
            (4, "1 accepted, 0 before".to_owned()),
        ]
    );
    let messages: Vec<_> = it
        .records(4)
        .iter()
        .map(|record| record["message"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(messages, ["1", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_waits_where_a_call_is_told_to_come_back_and_ends_with_the_server() {
    let it = shared_that_takes(1.0);
    let mut client = client(&it).await;
    client.push_records(batch("", &["1"])).await.expect("room for one");
    let refused = client.push_records(batch("", &["2"])).await.expect_err("no room");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let mut acknowledged =
        client.stream_records(stream::iter([batch("", &["3"])])).await.expect("a stream").into_inner();
    let waiting = timeout(Duration::from_millis(300), acknowledged.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    it.shared.shutdown.cancel();
    let ended = timeout(PATIENCE, acknowledged.next()).await.expect("in time").expect("a status");
    assert_eq!(ended.expect_err("not durable").code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_and_health_tell_what_is_served() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let it = shared();
    let listen = Some(([127, 0, 0, 1], 0).into());
    let config =
        DoorsConfig { grpc: GrpcConfig { listen, ..GrpcConfig::default() }, ..DoorsConfig::default() };
    let (addr, running) = open(&it, "grpc", &config);
    let channel = tonic::transport::Endpoint::new(format!("http://{addr}"))
        .expect("a url")
        .connect()
        .await
        .expect("a connection");
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("heimdall.v1.Ingest".to_owned())),
    ];
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let mut answers =
        reflection.server_reflection_info(stream::iter(requests)).await.expect("reflection").into_inner();
    let first = answers.next().await.expect("an answer").expect("services").message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = first else { panic!("{first:?}") };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"heimdall.v1.Ingest") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let second = answers.next().await.expect("an answer").expect("a file").message_response;
    assert!(matches!(second, Some(MessageResponse::FileDescriptorResponse(_))), "{second:?}");

    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest { service: "heimdall.v1.Ingest".to_owned() };
    let mut watched = health.watch(request).await.expect("health").into_inner();
    let mut status = async || {
        timeout(PATIENCE, watched.next()).await.expect("in time").map(|it| it.expect("a status").status)
    };
    while status().await != Some(1) {}
    it.shared.shutdown.cancel();
    assert_eq!((status().await, status().await), (Some(2), None));
    running.await.expect("the doors close");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_name_the_tenant_and_a_revoked_one_ends_its_stream() {
    use heimdall_guard::{NewToken, Scopes, TenantAccess};
    use heimdall_model::Tenant;

    let it = shared();
    let new = NewToken {
        name: "shipper".to_owned(),
        scopes: Scopes::parse("ingest").expect("scopes"),
        tenants: TenantAccess::One(Tenant::new("acme").expect("a name")),
        expires_at: None,
    };
    let (info, secret) = it.tokens.issue(&new, "tests").expect("a token");
    let bearer = format!("Bearer {}", secret.expose());
    let mut client = client(&it).await;
    let with = |name: &'static str, text: &str| {
        (name, text.parse::<tonic::metadata::AsciiMetadataValue>().expect("a value"))
    };
    let mut push = async |headers: Vec<(&'static str, tonic::metadata::AsciiMetadataValue)>| {
        let mut request = tonic::Request::new(batch("", &["1"]));
        for (name, value) in headers {
            request.metadata_mut().insert(name, value);
        }
        client.push_records(request).await.map_err(|status| status.code())
    };
    assert!(push(vec![with("authorization", &bearer)]).await.is_ok());
    assert!(push(vec![with("x-api-key", secret.expose())]).await.is_ok());
    let other = push(vec![with("authorization", &bearer), with("x-scope-orgid", "other")]).await;
    assert_eq!(other.expect_err("another tenant"), Code::PermissionDenied);
    assert_eq!(
        push(vec![with("authorization", "Bearer hmd_x")]).await.expect_err("no token"),
        Code::Unauthenticated
    );
    assert_eq!(
        push(vec![with("x-forwarded-for", "10.0.0.1")]).await.expect_err("a proxy"),
        Code::Unauthenticated
    );
    assert!(it.records(2).iter().all(|record| record["tenant"] == "acme"));

    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let requests = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|batch| (batch, receiver))
    });
    let mut request = tonic::Request::new(requests);
    request.metadata_mut().insert("authorization", bearer.parse().expect("a value"));
    let mut acknowledged = client.stream_records(request).await.expect("a stream").into_inner();
    sender.send(batch("", &["1"])).await.expect("an open stream");
    acknowledged.next().await.expect("one").expect("an acknowledgement");
    it.tokens.revoke(&info.id).expect("revoked");
    sender.send(batch("", &["2"])).await.expect("an open stream");
    let ended = timeout(PATIENCE, acknowledged.next()).await.expect("in time");
    assert_eq!(ended.expect("a status").expect_err("revoked").code(), Code::Unauthenticated);
}

fn check_mutants<T: Item>(seeds: &Seeds) {
    let limits = DecodeLimits::default();
    fuzz(seeds, |mutant, _| {
        if let Ok(batch) = records::decode::<T>(mutant, Reading::new(Timestamp(9), &limits)) {
            check_batch(&batch.decoded, mutant.len());
        }
    });
}

#[test]
fn mutants_of_log_records() {
    let nested = ValueMap { entries: vec![attribute("k", Kind::Bytes(vec![0, 255]))] };
    let list = ValueList { values: vec![ProtoValue { kind: Some(Kind::Float(f64::NAN)) }] };
    let full = LogRecord {
        level: "WARNING".to_owned(),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        source_ip: "10.0.0.1".to_owned(),
        duration_ms: Some(0.5),
        attributes: vec![
            attribute("m", Kind::Map(nested)),
            attribute("l", Kind::List(list)),
            attribute("n", Kind::Int(-1)),
        ],
        ..record("full")
    };
    let records = RecordBatch { batch_id: "id".to_owned(), records: vec![full, record("b")] };
    check_mutants::<LogRecord>(&Seeds::protobuf([
        records.encode_to_vec(),
        batch("", &["a"]).encode_to_vec(),
    ]));
}

#[test]
fn mutants_of_samples() {
    let labels = [("name".to_owned(), "a label".to_owned()), ("b".to_owned(), "c".to_owned())].into();
    let sample = Sample { time_unix_nano: 5, name: "m".to_owned(), value: 1.5, labels, ..Sample::default() };
    let samples = SampleBatch { samples: vec![sample.clone(), sample], batch_id: "i".to_owned() };
    check_mutants::<Sample>(&Seeds::protobuf([samples.encode_to_vec()]));
}

#[test]
fn mutants_of_spans() {
    let span = Span {
        start_unix_nano: 5,
        end_unix_nano: 1_500_005,
        name: "n".to_owned(),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        kind: "client".to_owned(),
        events: vec![SpanEvent {
            time_unix_nano: 5,
            name: "e".to_owned(),
            attributes: vec![attribute("a", Kind::Flag(true))],
        }],
        links: vec![SpanLink { trace_id: vec![3; 16], span_id: vec![4; 8], ..SpanLink::default() }],
        ..Span::default()
    };
    let spans = SpanBatch { spans: vec![span], batch_id: "i".to_owned() };
    check_mutants::<Span>(&Seeds::protobuf([spans.encode_to_vec()]));
}
