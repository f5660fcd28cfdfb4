use std::io::Write as _;

use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use heimdall_ingest::compression::CompressionLimits;
use heimdall_ingest::{DecodeLimits, IntakeLimits};
use heimdall_model::Timestamp;
use heimdall_testkit::data::bad_inputs;
use heimdall_testkit::mutants::{Seeds, fuzz};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::payload::{Payload, Text};
use super::*;
use crate::testing::{TestShared, check_batch, shared, shared_that_takes, shared_with};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).expect("memory");
    packed.finish().expect("memory")
}

async fn ask(it: &TestShared, path: &str, headers: &[(&str, &str)], body: String) -> (u16, Value) {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body)).expect("plain");
    let (status, answer) = it.ask(routes().with_state(Arc::clone(&it.shared)), request).await;
    let answer = if answer.is_empty() { Value::Null } else { serde_json::from_str(&answer).expect("JSON") };
    (status.as_u16(), answer)
}

fn firehose_request(id: &str, pieces: &[&[u8]]) -> String {
    let records: Vec<_> = pieces.iter().map(|piece| json!({"data": STANDARD.encode(piece)})).collect();
    json!({"requestId": id, "timestamp": 1_578_090_901_599_i64, "records": records}).to_string()
}

#[tokio::test]
async fn firehose_delivers_cloudwatch_json_and_text() {
    let it = shared();
    let cloudwatch = json!({
        "messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "/aws/lambda/pay", "logStream": "s1",
        "subscriptionFilters": ["f"],
        "logEvents": [
            {"id": "e1", "timestamp": 1_764_240_000_123_i64, "message": "START RequestId\n"},
            {"id": "e2", "timestamp": 1_764_240_000_124_i64, "message": "{\"level\":\"warn\"}"},
        ],
    })
    .to_string();
    let control = json!({"messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logStream": "",
        "subscriptionFilters": [], "logEvents": [{"id": "", "timestamp": 1, "message": "CWL CONTROL MESSAGE: Checking health"}]});
    let body = firehose_request(
        "r-1",
        &[
            &gzip(cloudwatch.as_bytes()),
            &gzip(control.to_string().as_bytes()),
            b"{\"message\":\"json\",\"service\":\"own\"}\n{\"message\":\"json too\"}\n",
            b"ERROR text one\ntext two\n",
        ],
    );
    let headers = [
        ("x-amz-firehose-request-id", "r-1"),
        ("x-amz-firehose-source-arn", "arn:aws:firehose:eu-west-1:1:deliverystream/d"),
        (
            "x-amz-firehose-common-attributes",
            r#"{"commonAttributes":{"env":"prod","service":"common","empty":""}}"#,
        ),
    ];
    for path in ["/firehose", "/ingest/firehose"] {
        let (status, answer) = ask(&it, path, &headers, body.clone()).await;
        assert_eq!((status, &answer["requestId"]), (200, &json!("r-1")));
        assert!(answer["timestamp"].as_i64().is_some_and(|ms| ms > 1_700_000_000_000), "{answer}");
    }
    let records = it.records(6);
    assert!(it.is_quiet(), "a second delivery writes nothing");
    assert_eq!((&records[0]["message"], &records[0]["service"]), (&json!("START RequestId"), &json!("pay")));
    assert_eq!(records[0]["timestamp"], "2025-11-27T10:40:00.123000000Z");
    let attributes = &records[0]["attributes"];
    assert_eq!(
        (&attributes["aws.log.group.name"], &attributes["cloud.account.id"]),
        (&json!("/aws/lambda/pay"), &json!("123456789012"))
    );
    assert_eq!((&attributes["env"], &attributes["service"]), (&json!("prod"), &json!("common")));
    assert_eq!(attributes["empty"], "");
    assert_eq!(records[1]["message"], "{\"level\":\"warn\"}");
    assert_eq!((&records[2]["message"], &records[2]["service"]), (&json!("json"), &json!("own")));
    assert_eq!((&records[4]["message"], &records[4]["level"]), (&json!("ERROR text one"), &json!("error")));
    assert_eq!(records[5]["attributes"]["aws.firehose.arn"], "arn:aws:firehose:eu-west-1:1:deliverystream/d");
}

#[tokio::test]
async fn firehose_is_told_what_is_wrong() {
    let it = shared_that_takes(1.0);
    let (status, answer) =
        ask(&it, "/firehose", &[("x-amz-firehose-request-id", "r")], "no".to_owned()).await;
    assert_eq!((status, &answer["requestId"]), (400, &json!("r")));
    assert!(answer["errorMessage"].as_str().expect("a reason").contains("not a request of Firehose"));
    let body = r#"{"requestId":"r","records":[{"data":"%%"},{"nothing":1}]}"#;
    let (status, answer) = ask(&it, "/firehose", &[], body.to_owned()).await;
    assert!(status == 400 && answer["errorMessage"].to_string().contains("is not base64"), "{answer}");
    let mut packed = gzip(b"{}");
    packed.truncate(12);
    let body = firehose_request("r2", &[&packed, b"good"]);
    let (status, answer) = ask(&it, "/firehose", &[], body.clone()).await;
    assert_eq!(
        (status, &answer["requestId"]),
        (200, &json!("r2")),
        "the id of the body, where no header has it"
    );
    assert_eq!(it.records(1)[0]["message"], "good");
    let (status, answer) = ask(&it, "/firehose", &[("x-amz-firehose-request-id", "r3")], body).await;
    assert!(status == 429 && answer["errorMessage"].to_string().contains("rate limit"), "{answer}");
}

#[tokio::test]
async fn what_one_delivery_unpacks_is_bounded() {
    let it = shared();
    let piece = gzip(&vec![b'a'; 900 << 10]);
    let pieces = vec![piece.as_slice(); 80];
    let (status, answer) = ask(&it, "/firehose", &[], firehose_request("r", &pieces)).await;
    assert_eq!(status, 413, "{answer}");
    let it = shared_with(&IntakeLimits { in_flight_bytes_max: 2 << 20, ..IntakeLimits::default() });
    let (status, answer) = ask(&it, "/firehose", &[], firehose_request("r", &pieces[..4])).await;
    assert_eq!(status, 503, "no room for it: {answer}");
    assert!(it.is_quiet());
}

/// As the documentation of push subscriptions has it.
#[tokio::test]
async fn pubsub_pushes_text_json_and_log_entries() {
    let it = shared();
    let push = |id: &str, data: &[u8]| {
        json!({
            "message": {"attributes": {"key": "value"}, "data": STANDARD.encode(data), "messageId": id, "message_id": id,
                "publishTime": "2026-02-26T19:13:55.749Z", "publish_time": "2026-02-26T19:13:55.749Z"},
            "subscription": "projects/p/subscriptions/s",
        })
        .to_string()
    };
    let entry = json!({
        "insertId": "i1", "logName": "projects/p/logs/stdout", "severity": "NOTICE", "timestamp": "2026-11-27T10:00:00.5Z",
        "receiveTimestamp": "2026-11-27T10:00:01Z", "textPayload": "hello\n", "trace": "projects/p/traces/0af7651916cd43dd8448eb211c80319c",
        "spanId": "b7ad6b7169203331", "labels": {"l": "1"},
        "resource": {"type": "k8s_container", "labels": {"container_name": "web", "pod_name": "web-1", "location": "europe-west1"}},
    });
    let structured = json!({
        "insertId": "i2", "logName": "projects/p/logs/app", "timestamp": "2026-11-27T10:00:00Z", "severity": "DEFAULT",
        "jsonPayload": {"message": "inner", "user_id": "u1", "n": 1}, "resource": {"type": "global"},
    });
    let audit = json!({
        "insertId": "i3", "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity", "timestamp": "2026-11-27T10:00:00Z",
        "protoPayload": {"methodName": "google.iam.CreateRole", "serviceName": "iam"},
    });
    let entry_text = [entry.to_string(), structured.to_string(), audit.to_string()];
    for (id, data) in [
        ("1", "multi\nline"),
        ("2", r#"{"message":"json","time":1764240000}"#),
        ("3", &entry_text[0]),
        ("4", &entry_text[1]),
        ("5", &entry_text[2]),
    ] {
        for _ in 0..2 {
            assert_eq!(ask(&it, "/pubsub", &[], push(id, data.as_bytes())).await, (204, Value::Null));
        }
    }
    let records = it.records(5);
    assert!(it.is_quiet(), "a second delivery writes nothing");
    assert_eq!(
        (&records[0]["message"], &records[0]["timestamp"]),
        (&json!("multi\nline"), &json!("2026-02-26T19:13:55.749000000Z"))
    );
    assert_eq!(
        records[0]["attributes"],
        json!({"key": "value", "gcp.pubsub.message_id": "1", "gcp.pubsub.subscription": "projects/p/subscriptions/s"})
    );
    assert_eq!(
        (&records[1]["message"], &records[1]["timestamp"]),
        (&json!("json"), &json!("2025-11-27T10:40:00.000000000Z"))
    );
    let third = &records[2];
    assert_eq!(
        (&third["message"], &third["level"], &third["service"]),
        (&json!("hello"), &json!("info"), &json!("web"))
    );
    assert_eq!((&third["instance"], &third["region"]), (&json!("web-1"), &json!("europe-west1")));
    assert_eq!(
        (&third["trace_id"], &third["timestamp"]),
        (&json!("0af7651916cd43dd8448eb211c80319c"), &json!("2026-11-27T10:00:00.500000000Z"))
    );
    assert_eq!(
        (&third["attributes"]["labels"], &third["attributes"]["insertId"]),
        (&json!({"l": "1"}), &json!("i1"))
    );
    assert_eq!(
        (&records[3]["message"], &records[3]["user_id"], &records[3]["attributes"]["n"]),
        (&json!("inner"), &json!("u1"), &json!(1))
    );
    assert_eq!(records[3]["level"], Value::Null);
    assert_eq!(records[4]["message"], "google.iam.CreateRole");
    assert_eq!(records[4]["attributes"]["protoPayload"]["serviceName"], "iam");
}

#[tokio::test]
async fn pubsub_without_wrapper_and_what_it_is_told() {
    let it = shared();
    let headers = [
        ("x-goog-pubsub-message-id", "9"),
        ("x-goog-pubsub-subscription-name", "s"),
        ("x-goog-pubsub-publish-time", "2026-02-26T19:13:55Z"),
    ];
    assert_eq!(ask(&it, "/pubsub", &headers, "plain text".to_owned()).await.0, 204);
    assert_eq!(it.records(1)[0]["attributes"]["gcp.pubsub.message_id"], "9");
    let only_attributes =
        json!({"message": {"attributes": {"a": "b"}, "messageId": 10}, "subscription": "s"});
    assert_eq!(ask(&it, "/pubsub", &[], only_attributes.to_string()).await.0, 204);
    assert_eq!(it.records(1)[0]["attributes"]["a"], "b");
    let (status, answer) = ask(&it, "/pubsub", &[], "{}".to_owned()).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(400)));
    let (status, answer) =
        ask(&it, "/pubsub", &[], json!({"message": {"data": "%", "messageId": "1"}}).to_string()).await;
    assert!(status == 400 && answer.to_string().contains("is not base64"), "{answer}");
}

#[tokio::test]
async fn sns_notifies_and_is_never_followed() {
    let it = shared();
    let envelope = |kind: &str, id: &str, message: &str| {
        json!({
            "Type": kind, "MessageId": id, "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic", "Subject": "My First Message",
            "Message": message, "Timestamp": "2026-05-02T00:54:06.655Z", "SignatureVersion": "1", "Signature": "x",
            "SigningCertURL": "https://sns.example/c.pem", "SubscribeURL": "https://sns.example/?Action=ConfirmSubscription&Token=t",
            "MessageAttributes": {"kind": {"Type": "String", "Value": "alarm"}},
        })
        .to_string()
    };
    for _ in 0..2 {
        assert_eq!(
            ask(&it, "/sns", &[], envelope("Notification", "n1", "Hello world!")).await,
            (200, Value::Null)
        );
    }
    ask(&it, "/sns", &[], envelope("Notification", "n2", r#"{"AlarmName":"a","NewStateValue":"ALARM"}"#))
        .await;
    ask(&it, "/sns", &[], envelope("SubscriptionConfirmation", "n3", "You have chosen to subscribe")).await;
    let headers =
        [("x-amz-sns-rawdelivery", "true"), ("x-amz-sns-message-id", "n4"), ("x-amz-sns-topic-arn", "arn:t")];
    ask(&it, "/sns", &headers, "raw text".to_owned()).await;
    let records = it.records(4);
    assert!(it.is_quiet());
    assert_eq!(
        (&records[0]["message"], &records[0]["timestamp"]),
        (&json!("Hello world!"), &json!("2026-05-02T00:54:06.655000000Z"))
    );
    assert_eq!(records[0]["attributes"]["kind"], "alarm");
    assert_eq!(records[1]["attributes"]["AlarmName"], "a");
    assert_eq!(records[1]["attributes"]["aws.sns.subject"], "My First Message");
    assert_eq!(records[2]["level"], "warn");
    assert!(
        records[2]["attributes"]["SubscribeURL"]
            .as_str()
            .expect("an address")
            .contains("ConfirmSubscription")
    );
    assert_eq!(
        (&records[3]["message"], &records[3]["attributes"]["aws.sns.topic_arn"]),
        (&json!("raw text"), &json!("arn:t"))
    );
    let (status, answer) = ask(&it, "/sns", &[], envelope("Other", "n5", "")).await;
    assert!(status == 400 && answer["error"].to_string().contains("its type is `Other`"), "{answer}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        text in r#"[\[\]{}",:\\u0-9a-f e+.\n-]{0,48}"#,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _inside = runtime.enter();
        let it = shared();
        let (decode_limits, limits) = (DecodeLimits::default(), CompressionLimits::default());
        let reading = Reading::new(Timestamp(5), &decode_limits);
        let mut packed = gzip(text.as_bytes());
        for (at, byte) in damage {
            let at = at.index(packed.len());
            packed[at] = byte;
        }
        let cloudwatch = format!(r#"{{"messageType":"DATA_MESSAGE","logEvents":[{{"message":"m"}},{text}]}}"#);
        let entry = format!(r#"{{"logName":"l","timestamp":"x","jsonPayload":{{}},"httpRequest":{{"a":1}},"b":"{text}"}}"#);
        for piece in [bytes.clone(), text.clone().into_bytes(), packed, cloudwatch.into_bytes(), entry.into_bytes()] {
            let mut permit = it.shared.intake.reserve(&it.caller(), 1).expect("room");
            let mut payload = Payload::new(reading, &limits, piece.len(), &mut permit);
            let _ = payload.bytes(piece.clone(), Text::Lines);
            let _ = payload.bytes(piece, Text::Whole);
            let _ = payload.base64(&text, Text::Whole);
            let decoded = payload.records.finish();
            prop_assert!(decoded.batch.iter().all(|row| row.attributes().is_none_or(|json| serde_json::from_str::<Value>(json).is_ok())));
        }
    }
}

/// Hands mutants to a decoder of deliveries.
fn check_mutants(
    seeds: &Seeds,
    decode: impl Fn(
        &[u8],
        Reading<'_>,
        &mut heimdall_ingest::Permit,
        &CompressionLimits,
    ) -> Result<Delivery, Failure>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _inside = runtime.enter();
    let it = shared();
    let (decode_limits, limits) = (DecodeLimits::default(), CompressionLimits::default());
    fuzz(seeds, |mutant, _| {
        let mut permit = it.shared.intake.reserve(&it.caller(), 1).expect("room");
        let reading = Reading::new(Timestamp(5), &decode_limits);
        if let Ok(delivery) = decode(mutant, reading, &mut permit, &limits) {
            check_batch(&delivery.decoded, 2 * mutant.len());
        }
    });
}

fn cloudwatch() -> String {
    json!({"messageType": "DATA_MESSAGE", "owner": "1", "logGroup": "/aws/lambda/f", "logStream": "s", "subscriptionFilters": ["x"],
        "logEvents": [{"id": "1", "timestamp": 1_700_000_000_123_i64, "message": "m\n"}, {"id": "2", "timestamp": 5, "message": "{\"level\":\"warn\"}"}]})
    .to_string()
}

fn log_entry() -> String {
    json!({"logName": "projects/p/logs/l", "insertId": "i", "timestamp": "2026-01-02T03:04:05.678Z", "severity": "ERROR", "textPayload": "t",
        "jsonPayload": {"message": "m", "a": 1}, "httpRequest": {"requestMethod": "GET", "status": 200, "latency": "0.5s"},
        "resource": {"type": "k8s_container", "labels": {"pod_name": "p"}}, "labels": {"a": "b"}, "trace": "projects/p/traces/5b8efff798038103d269b633813fc60c"})
    .to_string()
}

#[test]
fn mutants_of_firehose() {
    let seeds =
        Seeds::text([firehose_request("r", &[&gzip(cloudwatch().as_bytes()), b"{\"a\":1}\nplain", b""])]);
    check_mutants(&seeds, |body, reading, permit, limits| {
        firehose::decode(body, reading, permit, limits, &heimdall_ingest::Object::new(), None)
    });
}

#[test]
fn mutants_of_pubsub() {
    let push = |data: &str| {
        json!({"message": {"data": STANDARD.encode(data), "messageId": "1", "message_id": "1", "publishTime": "2026-01-02T03:04:05Z",
            "attributes": {"a": "b"}, "orderingKey": "k"}, "subscription": "projects/p/subscriptions/s"})
        .to_string()
    };
    let seeds = Seeds::text([push(&log_entry()), push("plain"), push("")]);
    check_mutants(&seeds, |body, reading, permit, limits| {
        pubsub::decode_wrapped(body, Payload::new(reading, limits, body.len(), permit))
    });
}

#[test]
fn mutants_of_sns() {
    let notification = json!({"Type": "Notification", "MessageId": "n", "TopicArn": "arn:aws:sns:x:1:t", "Subject": "s", "Message": "{\"AlarmName\":\"a\"}",
        "Timestamp": "2026-05-02T00:54:06.655Z", "MessageAttributes": {"kind": {"Type": "String", "Value": "alarm"}}, "SubscribeURL": "https://x"});
    let mut confirmation = notification.clone();
    confirmation["Type"] = "SubscriptionConfirmation".into();
    let seeds = Seeds::text([notification.to_string(), confirmation.to_string()]);
    check_mutants(&seeds, sns::decode_wrapped);
}

#[test]
fn mutants_of_what_deliveries_carry() {
    let texts =
        Seeds::text([cloudwatch(), log_entry(), "{\"a\":1}\n[2,{\"message\":\"x\"}]\nline".to_owned()]);
    let packed = Seeds::bytes([gzip(cloudwatch().as_bytes()), gzip(b"x")]);
    for seeds in [texts, packed] {
        check_mutants(&seeds, |body, reading, permit, limits| {
            let mut payload = Payload::new(reading, limits, body.len(), permit);
            payload.bytes(body.to_vec(), Text::Lines)?;
            payload.bytes(body.to_vec(), Text::Whole)?;
            Ok(Delivery { decoded: payload.records.finish(), id: None })
        });
    }
}

#[tokio::test]
async fn after_bad_inputs_a_good_delivery_is_taken() {
    let it = shared();
    for (n, input) in bad_inputs().into_iter().enumerate() {
        let lossy = String::from_utf8_lossy(&input.bytes).into_owned();
        for path in ["/firehose", "/pubsub", "/sns"] {
            let (status, _) = ask(&it, path, &[], lossy.clone()).await;
            assert!((400..500).contains(&status), "{path} {}: {status}", input.name);
        }
        let message = format!("good {n}");
        let carried = firehose_request(&format!("r{n}"), &[&input.bytes, message.as_bytes()]);
        assert_eq!(ask(&it, "/firehose", &[], carried).await.0, 200, "{}", input.name);
        it.messages_until(&message);
        let push = json!({"message": {"data": STANDARD.encode(&input.bytes), "messageId": format!("{n}")}, "subscription": "s"});
        let (status, _) = ask(&it, "/pubsub", &[], push.to_string()).await;
        assert!(status < 500, "{}: {status}", input.name);
        let notice = json!({"Type": "Notification", "MessageId": format!("n{n}"), "TopicArn": "t", "Message": lossy, "Timestamp": "x"});
        let (status, _) = ask(&it, "/sns", &[], notice.to_string()).await;
        assert!(status < 500, "{}: {status}", input.name);
    }
}
