//! The doors as a whole, over real sockets and a real journal.

use std::path::PathBuf;

use heimdall_ingest::{DecodeLimits, Reading};
use heimdall_model::Timestamp;
use heimdall_testkit::data::bad_inputs;
use heimdall_testkit::mutants::{Seeds, fuzz};
use proptest::prelude::*;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::framing::{Frames, NOBODY};
use crate::testing::{TestShared, check_batch, shared, shared_that_takes};

fn ephemeral() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

struct Open {
    it: TestShared,
    addrs: Vec<(&'static str, SocketAddr)>,
    running: tokio_util::task::TaskTracker,
}

impl Open {
    fn new(it: TestShared, config: &SyslogConfig) -> Open {
        let binder = Binder { auth_enabled: false, ephemeral: true };
        let doors = open(config, binder, &it.shared).expect("free ports");
        let addrs = doors.iter().filter_map(|door| Some((door.name, door.addr?))).collect();
        let running = tokio_util::task::TaskTracker::new();
        doors.into_iter().for_each(|door| drop(running.spawn(door.run)));
        running.close();
        Open { it, addrs, running }
    }

    fn addr(&self, name: &str) -> SocketAddr {
        self.addrs.iter().rev().find(|(door, _)| *door == name).expect("an open door").1
    }

    async fn connect(&self, name: &str) -> TcpStream {
        TcpStream::connect(self.addr(name)).await.expect("open")
    }

    fn records(&self, count: usize) -> Vec<Value> {
        tokio::task::block_in_place(|| self.it.records(count))
    }

    fn messages(&self, count: usize) -> Vec<String> {
        let text = |record: &Value| record["message"].as_str().unwrap_or_default().to_owned();
        self.records(count).iter().map(text).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_with_both_framings_keeps_the_senders_address() {
    let open =
        Open::new(shared(), &SyslogConfig { service: Some("any".to_owned()), ..SyslogConfig::default() });
    let mut client = open.connect(TCP).await;
    client
        .write_all(
            b"<13>Feb  5 17:32:18 box app[7]: one\n46 <14>1 2026-02-05T17:32:18Z h - - - - two\nlines\n",
        )
        .await
        .expect("sent");
    client.write_all(b"<15>the tail").await.expect("sent");
    client.shutdown().await.expect("closed");
    let records = open.records(3);
    assert_eq!(records[0]["message"], "one");
    assert_eq!((&records[0]["host"], &records[0]["service"]), (&"box".into(), &"app".into()));
    assert_eq!(records[0]["attributes"]["peer_ip"], "127.0.0.1");
    assert_eq!((&records[1]["message"], &records[1]["service"]), (&"two\nlines".into(), &"any".into()));
    assert_eq!((&records[2]["message"], &records[2]["level"]), (&"the tail".into(), &"debug".into()));
    assert!(records[2].get("host").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_one_message_each() {
    let open = Open::new(shared(), &SyslogConfig::default());
    let client = UdpSocket::bind(ephemeral()).await.expect("a port");
    for message in [&b"<13>Feb  5 17:32:18 box app: a\nb"[..], b"<14>from python\0", b"\n", b"<14>caf\xe9"] {
        client.send_to(message, open.addr(UDP)).await.expect("sent");
    }
    assert_eq!(open.messages(3), ["a\nb", "from python", "caf\u{fffd}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_does_not_end_closes_the_connection_and_is_kept() {
    let config = SyslogConfig { frame_timeout: Period(200_000_000), ..SyslogConfig::default() };
    let open = Open::new(shared(), &config);
    let mut client = open.connect(TCP).await;
    client.write_all(b"<13>whole\n100 <13>par").await.expect("sent");
    assert_eq!(client.read(&mut [0; 8]).await.expect("closed in order"), 0);
    assert_eq!(open.messages(2), ["whole", "par"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let config = SyslogConfig { idle_timeout: Period(200_000_000), ..SyslogConfig::default() };
    let open = Open::new(shared(), &config);
    let mut client = open.connect(TCP).await;
    assert_eq!(client.read(&mut [0; 8]).await.expect("closed in order"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_not_read_while_its_records_cannot_be_kept() {
    let open = Open::new(shared_that_takes(10.0), &SyslogConfig::default());
    let mut client = open.connect(TCP).await;
    client.write_all(b"<13>fits\n").await.expect("sent");
    assert_eq!(open.messages(1), ["fits"]);
    let chunk = "<13>some message of a hundred bytes or so\n".repeat(10_000);
    let flood = async {
        for _ in 0..200 {
            client.write_all(chunk.as_bytes()).await.expect("sent");
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(700), flood).await.is_err(), "80 MB were taken");
    assert!(open.it.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_have_a_tenant_a_zone_and_peers_of_their_own() {
    let listener = |allow: &str| SyslogListener {
        transport: SyslogTransport::Tcp,
        listen: ephemeral(),
        tenant: Some(Tenant::new("firewalls").expect("a name")),
        allow: Some(vec![allow.parse().expect("a network")]),
        service: None,
        timezone: Some("Europe/Berlin".to_owned()),
    };
    let config = SyslogConfig {
        enabled: false,
        listeners: vec![listener("10.0.0.0/8"), listener("127.0.0.0/8")],
        ..SyslogConfig::default()
    };
    if Zone::named("Europe/Berlin").is_none() {
        return println!("skipped: this machine has no time zones");
    }
    let open = Open::new(shared(), &config);
    let mut client = open.connect(TCP).await;
    client.write_all(b"<13>2026-07-01T12:00:00 box app: x\n").await.expect("sent");
    let records = open.records(1);
    assert_eq!(records[0]["tenant"], "firewalls");
    assert_eq!(records[0]["timestamp"], "2026-07-01T10:00:00.000000000Z");
    let mut stranger = TcpStream::connect(open.addrs[0].1).await.expect("accepted, and let go of");
    assert_eq!(stranger.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_arrived_at_the_end_is_taken_along() {
    let open = Open::new(shared(), &SyslogConfig::default());
    let mut client = open.connect(TCP).await;
    client.write_all(b"<13>first\n").await.expect("sent");
    assert_eq!(open.messages(1), ["first"]);
    client.write_all(b"<13>last\n<13>without a trailer").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    open.it.shared.shutdown.cancel();
    open.running.wait().await;
    assert_eq!(open.messages(2), ["last", "without a trailer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn relp_answers_what_is_durable() {
    let config = SyslogConfig { relp_listen: Some(ephemeral()), ..SyslogConfig::default() };
    let open = Open::new(shared(), &config);
    let mut client = open.connect(RELP).await;
    client
        .write_all(b"1 open 15 relp_version=0\n\n2 syslog 6 <13>a\n\n3 syslog 5 <13>b\n")
        .await
        .expect("sent");
    let mut answers = String::new();
    while !answers.contains("3 rsp") {
        let mut buffer = [0; 1000];
        let len = client.read(&mut buffer).await.expect("answers");
        answers.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
    assert!(answers.starts_with("1 rsp 60 200 OK\nrelp_version=0\n"), "{answers:?}");
    assert!(answers.ends_with("2 rsp 6 200 OK\n3 rsp 6 200 OK\n"), "{answers:?}");
    assert_eq!(open.messages(2), ["a", "b"]);
    client.write_all(b"4 close 0\n").await.expect("sent");
    let mut end = String::new();
    client.read_to_string(&mut end).await.expect("closed in order");
    assert_eq!(end, "4 rsp 0\n0 serverclose 0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn relp_tells_its_senders_when_the_server_ends() {
    let config = SyslogConfig { relp_listen: Some(ephemeral()), ..SyslogConfig::default() };
    let open = Open::new(shared(), &config);
    let mut client = open.connect(RELP).await;
    client.write_all(b"1 open 0\n").await.expect("sent");
    assert!(client.read(&mut [0; 1000]).await.expect("an answer") > 0);
    open.it.shared.shutdown.cancel();
    let mut end = String::new();
    client.read_to_string(&mut end).await.expect("closed in order");
    assert_eq!(end, "0 serverclose 0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let it = shared();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (cert_file, key_file) = (it.path().join("cert.pem"), it.path().join("key.pem"));
    std::fs::write(&cert_file, made.cert.pem()).expect("written");
    std::fs::write(&key_file, made.signing_key.serialize_pem()).expect("written");
    let tls = TlsConfig { client_ca_file: Some(cert_file.clone()), cert_file, key_file };
    let open = Open::new(it, &SyslogConfig { tls, ..SyslogConfig::default() });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![made.cert.der().clone()], made.signing_key.into())
        .expect("a certificate");
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let stream = open.connect(TLS).await;
    let mut stream =
        tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.expect("TLS");
    stream.write_all(b"8 <13>tls\n").await.expect("sent");
    stream.shutdown().await.expect("closed");
    assert_eq!(open.messages(1), ["tls"]);
    assert_eq!(open.it.shippers(TLS, 1), ["rcgen self signed cert"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_name_the_sender_of_each_datagram_while_they_are_few() {
    let open = Open::new(shared(), &SyslogConfig::default());
    open.connect(TCP).await.write_all(b"<13>x\n").await.expect("sent");
    assert_eq!(open.messages(1).len(), 1);
    assert_eq!(open.it.shippers(TCP, 1), ["127.0.0.1"]);
    let door = source(&SyslogConfig::default(), None, UDP).expect("a zone").door;
    let it = shared();
    let from = |count: u8| {
        let mut frames = Frames::default();
        (0..2 * count).for_each(|n| frames.push(b"<13>x", [10, 0, 0, n % count].into(), None));
        frames
    };
    door.hand_over_datagrams(&it.shared, from(2)).await;
    assert_eq!(it.shippers(UDP, 2), ["10.0.0.0", "10.0.0.1"]);
    door.hand_over_datagrams(&it.shared, from(100)).await;
    assert_eq!(it.shippers(UDP, 3), ["10.0.0.0", "10.0.0.1", "several"]);
    assert_eq!(tokio::task::block_in_place(|| it.records(204)).len(), 204);
}

#[test]
fn a_configuration_of_everything_is_read() {
    let text = r#"
        udp_listen = "127.0.0.1:5514"
        timezone = "America/New_York"
        tenant = "net"
        allow = ["10.0.0.0/8"]
        frame_bytes_max = "64KiB"
        idle_timeout = "1h"
        [tls]
        cert_file = "/etc/cert.pem"
        [[listeners]]
        transport = "relp_tls"
        listen = "127.0.0.1:2514"
    "#;
    let config: SyslogConfig = toml::from_str(text).expect("readable");
    assert_eq!(config.listeners[0].transport, SyslogTransport::RelpTls);
    assert!(config.enabled);
    assert!(toml::from_str::<SyslogConfig>("timezon = \"UTC\"").is_err());
}

fn decoded(messages: &[&[u8]]) -> heimdall_ingest::Decoded {
    let mut frames = Frames::default();
    messages.iter().for_each(|message| frames.push(message, NOBODY, None));
    let limits = DecodeLimits::default();
    let now = Timestamp::parse("2026-11-27T12:00:00Z").expect("a time");
    decode::decode(&frames.bytes, &frames.list, &Source::default(), Reading::new(now, &limits))
}

/// What the shared examples of broken messages expect, checked on the records of this door.
#[test]
fn the_shared_examples_of_broken_messages() {
    let Some(folder) = std::env::var_os("HEIMDALL_DATA").map(PathBuf::from) else {
        return println!("skipped: HEIMDALL_DATA names no folder");
    };
    let text = std::fs::read_to_string(folder.join("bad_input/syslog.jsonl")).expect("the examples");
    let mut count = 0;
    for line in text.lines() {
        let example: Value = serde_json::from_str(line).expect("JSON");
        check_example(&example);
        count += 1;
    }
    assert!(count > 0);
}

#[track_caller]
fn check_example(example: &Value) {
    let (id, raw, expect) = (&example["id"], example["raw"].as_str().expect("a text"), &example["expect"]);
    let decoded = decoded(&[raw.as_bytes()]);
    let is_ok = decoded.batch.rows() == 1 && decoded.coerced_total == 0;
    assert_eq!(Value::Bool(is_ok), expect["ok"], "{id}: {:?}", decoded.coerced);
    assert_eq!(decoded.rejected_total(), 0, "{id}");
    if !is_ok {
        let kept = (!raw.is_empty()).then_some(raw);
        assert_eq!(
            decoded.batch.iter().next().and_then(|row| row.text(heimdall_model::schema::logs::MESSAGE)),
            kept,
            "{id}"
        );
        return;
    }
    let record = Value::Object(decoded.batch.row(0).to_json());
    let attribute = |name: &str| record["attributes"][name].clone();
    for (name, expected) in expect.as_object().expect("an object") {
        let found = match name.as_str() {
            "ok" | "must_not" | "records" => continue,
            "facility" => attribute("facility"),
            "severity" => attribute("severity_code"),
            "hostname" => record["host"].clone(),
            "app" => record["service"].clone(),
            "procid" => attribute("pid").as_i64().map_or(Value::Null, |pid| pid.to_string().into()),
            "msgid" => attribute("msgid"),
            "msg" => record["message"].clone(),
            "msg_contains" => {
                assert!(record["message"].as_str().expect("text").contains(expected.as_str().expect("text")));
                continue;
            }
            "timestamp" => {
                let time = |value: &Value| Timestamp::parse(value.as_str().expect("text"));
                assert_eq!(time(&record["timestamp"]), time(expected), "{id}");
                continue;
            }
            "sd" => {
                for (element, params) in expected.as_object().expect("an object") {
                    for (param, value) in params.as_object().expect("an object") {
                        assert_eq!(&attribute(&format!("{element}.{param}")), value, "{id}");
                    }
                }
                continue;
            }
            "format" => continue,
            other => panic!("{id}: what is `{other}`?"),
        };
        assert_eq!(&found, expected, "{id}: {name}");
    }
}

proptest! {
    #[test]
    fn hostile_messages_are_kept(
        head in prop_oneof![
            Just(""), Just("<13>1 "), Just("<13>Feb  9 12:00:00 "), Just("<13>"), Just("CEF:0|a|b|c|d|e|5|"), Just("<13>CEF:0|"),
            Just("LEEF:2.0|a|b|c|d|^|"), Just("LEEF:1.0|"), Just("<189>12: *Feb  9 12:00:00: %"), Just("<13>1 - - - - - [a b=\""),
        ],
        tail in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..120), "[a-z=|\\\\^ \t\"\\]<>%:0-9-]{0,120}".prop_map(String::into_bytes),
        ],
    ) {
        let message = [head.as_bytes(), &tail].concat();
        let found = decoded(&[&message]);
        let says = message.iter().any(|b| !b.is_ascii_whitespace() && *b != 0);
        prop_assert_eq!(found.rejected_total(), 0);
        prop_assert!(found.batch.rows() == 1 || !says);
    }
}

#[test]
fn mutants_of_every_kind_of_message_are_kept() {
    let seeds = Seeds::text([
        "<165>1 2026-10-11T22:14:15.003Z host.example.com evntslog 111 ID47 [ex@32473 iut=\"3\" src=\"A \\\" \\] b\"][b c=\"d\"] \u{feff}An event",
        "<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed for lonvick on /dev/pts/8",
        "<13>2026-10-11T22:14:15+02:00 host app: a=1 b=\"two words\" level=warn",
        "<13>Feb  9 12:00:00 fw CEF:0|Security|threat\\|manager|1.0|100|worm \\= stopped|10|src=10.0.0.1 dst=2.1.2.2 spt=1232 rt=Oct 11 2026 22:14:15 cs1Label=Rule cs1=a\\=b msg=with spaces \\n and lines",
        "LEEF:2.0|Lancope|StealthWatch|1.0|41|^|src=10.0.1.8^dst=10.0.0.5^sev=5^devTime=Oct 11 2026 22:14:15^srcPort=81",
        "LEEF:1.0|QRadar|QRM|1.0|NEW_PORT|src=10.0.1.8\tdst=10.0.0.5\tsev=5",
        "<189>12: *Feb  9 12:00:00.123: %LINEPROTO-5-UPDOWN: Line protocol on Interface Gi0/1, changed state to down",
        "<166>Oct 11 2026 22:14:15 asa : %ASA-6-302013: Built outbound TCP connection 1 for outside:10.0.0.1/80 (10.0.0.1/80)",
    ]);
    fuzz(&seeds, |mutant, _| {
        let found = decoded(&[mutant]);
        let says = mutant.iter().any(|b| !b.is_ascii_whitespace() && *b != 0);
        assert_eq!(found.rejected_total(), 0, "{:?}", found.rejected);
        assert!(found.batch.rows() == 1 || !says);
        check_batch(&found, 1);
        let lines: Vec<&[u8]> = mutant.split(|b| *b == b'\n').collect();
        check_batch(&decoded(&lines), lines.len());
    });
}

#[test]
fn after_bad_inputs_a_good_message_is_taken() {
    for input in bad_inputs() {
        for stream in [
            [&input.bytes[..], b"\n<13>good\n"].concat(),
            [format!("{} <13>", 4 + input.bytes.len()).as_bytes(), &input.bytes, b"8 <13>good"].concat(),
        ] {
            let mut framer = crate::framing::Framer::new(crate::framing::Framing::Syslog, 1 << 18, NOBODY);
            let mut frames = Frames::default();
            framer.push(&stream, &mut frames);
            framer.finish(&mut frames);
            let limits = DecodeLimits::default();
            let found = decode::decode(
                &frames.bytes,
                &frames.list,
                &Source::default(),
                Reading::new(Timestamp(5), &limits),
            );
            let last = found.batch.iter().last().expect("the good one").to_json();
            assert_eq!(last["message"], "good", "{}", input.name);
        }
    }
}
