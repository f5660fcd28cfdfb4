//! The door on a socket, with what senders say in pieces.

use serde_json::Value;
use tokio::net::TcpStream;

use super::msgpack::{Reader, put};
use super::*;
use crate::testing::{TestShared, shared};

struct Running {
    it: TestShared,
    addr: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

fn run_door(config: &FluentConfig) -> Running {
    let it = shared();
    let binder = Binder { auth_enabled: false, ephemeral: true };
    let opened = open(config, &it.shared, binder).expect("a good configuration").expect("a free port");
    Running { addr: opened.addr.expect("it listens"), task: tokio::spawn(opened.run), it }
}

impl Running {
    async fn end(self) {
        self.it.shared.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("it ends").expect("no panic");
    }
}

fn forward(chunk: Option<&str>, messages: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    put::array(&mut out, if chunk.is_some() { 3 } else { 2 });
    put::text(&mut out, "app");
    put::array(&mut out, u32::try_from(messages.len()).expect("few"));
    for message in messages {
        put::array(&mut out, 2);
        put::event_time(&mut out, 1_700_000_000, 0);
        put::map(&mut out, 1);
        put::text(&mut out, "message");
        put::text(&mut out, message);
    }
    if let Some(chunk) = chunk {
        put::map(&mut out, 1);
        put::text(&mut out, "chunk");
        put::text(&mut out, chunk);
    }
    out
}

async fn value(stream: &mut TcpStream) -> Value {
    let (mut bytes, mut scanner) = (BytesMut::new(), Scanner::default());
    loop {
        if let Some(end) = scanner.end(&bytes, 1 << 20).expect("MessagePack") {
            assert_eq!(end, bytes.len(), "one value at a time");
            let mut json = String::new();
            Reader::new(&bytes).json(&mut json).expect("MessagePack");
            return serde_json::from_str(&json).expect("JSON");
        }
        assert!(stream.read_buf(&mut bytes).await.expect("a connection") > 0, "an answer");
    }
}

fn texts(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["message"].as_str().expect("a message")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_is_acknowledged_once_durable_and_written_once() {
    let door = run_door(&FluentConfig::default());
    let mut stream = TcpStream::connect(door.addr).await.expect("a door");
    for byte in forward(Some("c1"), &["one", "two"]) {
        stream.write_all(&[byte]).await.expect("a connection");
    }
    assert_eq!(value(&mut stream).await, serde_json::json!({"ack": "c1"}));
    assert_eq!(texts(&door.it.records(2)), ["one", "two"]);
    stream.write_all(&forward(Some("c1"), &["one", "two"])).await.expect("a connection");
    assert_eq!(value(&mut stream).await, serde_json::json!({"ack": "c1"}));
    stream.write_all(&forward(None, &["three"])).await.expect("a connection");
    let records = door.it.records(1);
    assert_eq!((texts(&records), &records[0]["attributes"]["tag"]), (vec!["three"], &Value::from("app")));
    door.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_ends_the_connection_after_what_came_before() {
    let door = run_door(&FluentConfig::default());
    let mut stream = TcpStream::connect(door.addr).await.expect("a door");
    let bytes = [forward(None, &["kept"]), b"GET / HTTP/1.1\r\n".to_vec()].concat();
    stream.write_all(&bytes).await.expect("a connection");
    assert_eq!(stream.read_buf(&mut BytesMut::new()).await.unwrap_or(0), 0);
    assert_eq!(texts(&door.it.records(1)), ["kept"]);
    door.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_stands_still_or_is_too_large_ends_the_connection() {
    let config = FluentConfig {
        idle_timeout: Period(200_000_000),
        frame_bytes_max: Size(1000),
        ..FluentConfig::default()
    };
    let door = run_door(&config);
    for bytes in [vec![0x93], vec![0xdb, 0x7f, 0xff, 0xff, 0xff]] {
        let mut stream = TcpStream::connect(door.addr).await.expect("a door");
        stream.write_all(&bytes).await.expect("a connection");
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_buf(&mut BytesMut::new())).await;
        assert_eq!(end.expect("an end").unwrap_or(0), 0);
    }
    let mut silent = TcpStream::connect(door.addr).await.expect("a door");
    tokio::time::sleep(Duration::from_millis(500)).await;
    silent.write_all(&forward(Some("c"), &["late"])).await.expect("a connection");
    assert_eq!(value(&mut silent).await, serde_json::json!({"ack": "c"}));
    door.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_shared_key_nothing_is_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    std::fs::write(&key, "sesame\n").expect("a file");
    let door = run_door(&FluentConfig { shared_key_file: Some(key), ..FluentConfig::default() });
    let mut stream = TcpStream::connect(door.addr).await.expect("a door");
    let helo = value(&mut stream).await;
    assert_eq!((&helo[0], &helo[1]["keepalive"]), (&Value::from("HELO"), &Value::from(true)));
    stream.write_all(&forward(None, &["no"])).await.expect("a connection");
    assert_eq!(stream.read_buf(&mut BytesMut::new()).await.unwrap_or(0), 0);
    assert!(door.it.is_quiet());
    door.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_name_who_shook_hands_else_its_address() {
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    std::fs::write(&key, "sesame\n").expect("a file");
    let named = FluentConfig { shared_key_file: Some(key), ..FluentConfig::default() };
    for (config, shipper) in [(named, "web-7"), (FluentConfig::default(), "127.0.0.1")] {
        let door = run_door(&config);
        let mut stream = TcpStream::connect(door.addr).await.expect("a door");
        if config.shared_key_file.is_some() {
            let helo = helo_nonce(&mut stream).await;
            stream.write_all(&handshake::ping(&helo, "web-7", "sesame")).await.expect("a connection");
            assert_eq!(value(&mut stream).await[1], true);
        }
        stream.write_all(&forward(None, &["x"])).await.expect("a connection");
        assert_eq!(texts(&door.it.records(1)), ["x"]);
        assert_eq!(door.it.shippers(NAME, 1), [shipper]);
        door.end().await;
    }
}

/// The nonce of a HELO.
async fn helo_nonce(stream: &mut TcpStream) -> Vec<u8> {
    let (mut bytes, mut scanner) = (BytesMut::new(), Scanner::default());
    while scanner.end(&bytes, 1 << 20).expect("MessagePack").is_none() {
        assert!(stream.read_buf(&mut bytes).await.expect("a connection") > 0, "a HELO");
    }
    let at = bytes.windows(5).position(|part| part == b"nonce").expect("a nonce") + 5;
    bytes[at + 2..at + 18].to_vec() // after the two bytes that say 16 bytes of binary
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_are_answered() {
    let door = run_door(&FluentConfig::default());
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.send_to(&[0], door.addr).await.expect("a datagram");
    let mut byte = [9; 4];
    let (count, _) = socket.recv_from(&mut byte).await.expect("an answer");
    assert_eq!((count, byte[0]), (1, 0));
    door.end().await;
}
