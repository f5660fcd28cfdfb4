//! A client against a broker of a few lines.

use heimdall_testkit::mutants::{Seeds, fuzz};
use rumqttc::mqttbytes::v4::{ConnAck, SubAck};
use tokio::net::TcpListener;

use super::*;
use crate::mqtt::{MqttTopic, open};
use crate::testing::{TestShared, shared};

struct StandIn {
    listener: TcpListener,
}

/// The broker's end of a connection.
struct End {
    stream: TcpStream,
    buffer: BytesMut,
}

impl StandIn {
    async fn new() -> (StandIn, MqttConfig) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("mqtt://{}", listener.local_addr().expect("bound"));
        let topics = vec![MqttTopic { filter: "a/#".to_owned(), qos: 1 }];
        (StandIn { listener }, MqttConfig { url, topics, ..MqttConfig::default() })
    }

    /// Lets the client in.
    async fn accept(&self, session_present: bool) -> End {
        let (stream, _) = self.listener.accept().await.expect("a client");
        let mut end = End { stream, buffer: BytesMut::new() };
        let Packet::Connect(connect) = end.packet().await else { panic!("CONNECT comes first") };
        assert!(!connect.clean_session);
        end.send(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, session_present))).await;
        let Packet::Subscribe(subscribe) = end.packet().await else { panic!("SUBSCRIBE comes next") };
        let granted = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
        end.send(Packet::SubAck(SubAck::new(subscribe.pkid, granted))).await;
        end
    }
}

impl End {
    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).expect("a packet");
        self.stream.write_all(&bytes).await.expect("a connection");
    }

    async fn packet(&mut self) -> Packet {
        loop {
            match Packet::read(&mut self.buffer, 1 << 20) {
                Ok(packet) => return packet,
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(self.stream.read_buf(&mut self.buffer).await.expect("a connection") > 0, "a packet");
        }
    }

    async fn publish(&mut self, pkid: u16, dup: bool, payload: &str) {
        let mut publish = Publish::new("a/b", QoS::AtLeastOnce, payload);
        (publish.pkid, publish.dup) = (pkid, dup);
        self.send(Packet::Publish(publish)).await;
    }

    /// Waits for the acknowledgement, passing over pings.
    async fn acknowledged(&mut self) -> u16 {
        loop {
            match self.packet().await {
                Packet::PubAck(ack) => return ack.pkid,
                Packet::PingReq => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Runs a client until it is told to end.
fn start(
    it: &TestShared,
    config: &MqttConfig,
) -> (tokio_util::sync::CancellationToken, tokio::task::JoinHandle<()>) {
    let shutdown = tokio_util::sync::CancellationToken::new();
    let shared = Arc::new(Shared {
        intake: Arc::clone(&it.shared.intake),
        guard: it.shared.guard.clone(),
        limits: it.shared.limits.clone(),
        data_dir: it.shared.data_dir.clone(),
        shutdown: shutdown.clone(),
    });
    let mut opened = open(std::slice::from_ref(config), &shared).expect("a good configuration");
    (shutdown, tokio::spawn(opened.remove(0).run))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_is_acknowledged_and_not_written_again() {
    let it = shared();
    let (broker, config) = StandIn::new().await;
    let (_shutdown, client) = start(&it, &config);
    let mut end = broker.accept(false).await;
    end.publish(1, false, "one").await;
    assert_eq!(end.acknowledged().await, 1);
    assert_eq!(it.records(1)[0]["message"], "one");
    assert_eq!(it.shippers(NAME, 1), ["127.0.0.1/heimdall"]);
    drop(end); // the broker did not see the acknowledgement
    let mut end = broker.accept(true).await;
    end.publish(1, true, "one").await;
    end.publish(2, true, "two").await; // never came before
    assert_eq!((end.acknowledged().await, end.acknowledged().await), (1, 2));
    assert_eq!(it.records(1)[0]["message"], "two");
    // A crash: another process goes on with what is on disk.
    client.abort();
    drop(end);
    let (shutdown, client) = start(&it, &config);
    let mut end = broker.accept(true).await;
    end.publish(2, true, "two").await;
    assert_eq!(end.acknowledged().await, 2);
    end.publish(3, false, "two").await; // the same payload, but another message
    assert_eq!(end.acknowledged().await, 3);
    assert_eq!(it.records(1)[0]["message"], "two");
    assert!(it.is_quiet());
    shutdown.cancel();
    client.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_the_broker_has_seen_makes_room_for_the_same_again() {
    let it = shared();
    let (broker, config) = StandIn::new().await;
    let (shutdown, client) = start(&it, &config);
    let mut end = broker.accept(false).await;
    end.publish(1, false, "same").await;
    assert_eq!(end.acknowledged().await, 1);
    while end.packet().await != Packet::PingReq {}
    end.send(Packet::PingResp).await;
    end.publish(2, false, "next").await;
    assert_eq!(end.acknowledged().await, 2);
    end.publish(1, true, "same").await; // sent into a connection that was lost, and now again
    assert_eq!(end.acknowledged().await, 1);
    let texts: Vec<_> = it.records(3).iter().map(|record| record["message"].to_string()).collect();
    assert_eq!(texts, ["\"same\"", "\"next\"", "\"same\""]);
    shutdown.cancel();
    client.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_mqtt_end_the_connection_and_it_comes_again() {
    let it = shared();
    let (broker, config) = StandIn::new().await;
    let (shutdown, client) = start(&it, &config);
    let mut end = broker.accept(false).await;
    end.stream.write_all(b"\xff\xff\xff\xff\xff\xff").await.expect("a connection");
    let mut end = broker.accept(false).await;
    end.publish(1, false, "after").await;
    assert_eq!(end.acknowledged().await, 1);
    shutdown.cancel();
    client.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_passed_over_and_the_next_one_is_taken() {
    let it = shared();
    let (broker, config) = StandIn::new().await;
    let config = MqttConfig { frame_bytes_max: heimdall_model::Size(1000), ..config };
    let (shutdown, client) = start(&it, &config);
    let mut end = broker.accept(false).await;
    end.publish(1, false, "small").await;
    end.publish(2, false, &"x".repeat(300_000)).await;
    end.publish(3, false, "next").await;
    for expected in 1..=3 {
        assert_eq!(end.acknowledged().await, expected);
    }
    let texts: Vec<_> = it.records(2).iter().map(|record| record["message"].to_string()).collect();
    assert_eq!(texts, ["\"small\"", "\"next\""]);
    shutdown.cancel();
    client.await.expect("no panic");
}

#[test]
fn the_first_bytes_of_a_large_message_are_enough() {
    let mut bytes = BytesMut::new();
    let mut publish = Publish::new("a/b", QoS::AtLeastOnce, "x".repeat(20_000));
    publish.pkid = 7;
    let length = publish.write(&mut bytes).expect("a packet");
    let enough = 1 + 3 + 2 + 3 + 2;
    for cut in 0..enough {
        assert!(Large::read(&bytes[..cut]).expect("a message").is_none(), "{cut}");
    }
    let large = Large::read(&bytes[..enough]).expect("a message").expect("enough");
    assert_eq!((large.length, large.topic.as_str(), large.packet_id), (length, "a/b", Some(7)));
    assert!(Large::read(&[0x20, 0xff, 0xff, 0xff, 0x7f]).is_err());
}

/// What comes of a broker's bytes, in these pieces: packets, then why it ended.
fn packets_of(pieces: &[&[u8]]) -> Vec<String> {
    let now = Instant::now();
    let mut link = Link {
        stream: Box::new(tokio::io::empty()),
        buffer: BytesMut::new(),
        packet_bytes_max: 300,
        pings: 0,
        answers: 0,
        skip: 0,
        passed_over: Vec::new(),
        sent: now,
        heard: now,
    };
    let mut found = Vec::new();
    for piece in pieces {
        link.buffer.extend_from_slice(piece);
        loop {
            let skipped = link.passed_over.len();
            match link.next() {
                Ok(Some(packet)) => found.push(format!("{packet:?}")),
                Ok(None) if link.skip > 0 && !link.buffer.is_empty() || link.passed_over.len() > skipped => {}
                Ok(None) => break,
                Err(error) => {
                    found.push(error.to_string());
                    return found;
                }
            }
        }
    }
    found.push(format!("{:?}", link.passed_over));
    found
}

#[test]
fn mutants_of_packets_are_the_same_whatever_the_pieces() {
    let publish = |qos, text: &str| {
        let mut publish = Publish::new("home/kitchen", qos, text);
        publish.pkid = 7;
        Packet::Publish(publish)
    };
    let written = |packets: &[Packet]| {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, 1 << 20).expect("a packet");
        }
        bytes.to_vec()
    };
    let answers = [
        Packet::ConnAck(ConnAck::new(rumqttc::mqttbytes::v4::ConnectReturnCode::Success, true)),
        Packet::SubAck(SubAck::new(1, vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)])),
        Packet::PingResp,
    ];
    let seeds = Seeds::bytes([
        written(&answers),
        written(&[publish(QoS::AtLeastOnce, "21.5"), publish(QoS::AtMostOnce, "on"), Packet::PingResp]),
        written(&[publish(QoS::AtLeastOnce, &"x".repeat(400)), publish(QoS::AtLeastOnce, "after")]),
    ]);
    fuzz(&seeds, |mutant, rng| {
        let whole = packets_of(&[mutant]);
        assert_eq!(packets_of(&rng.pieces(mutant)), whole);
        assert!(whole.len() <= mutant.len() + 1);
    });
}
