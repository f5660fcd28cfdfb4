//! The doors as a whole, over real sockets and a real journal.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use heimdall_testkit::data::bad_inputs;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

use super::*;
use crate::testing::{TestShared, shared};

async fn opened(config: &GelfConfig) -> (TestShared, Vec<SocketAddr>) {
    let it = shared();
    let binder = Binder { auth_enabled: false, ephemeral: true };
    let doors = open(config, binder, &it.shared).expect("free ports");
    let addrs = doors.iter().filter_map(|door| door.addr).collect();
    doors.into_iter().for_each(|door| drop(tokio::spawn(door.run)));
    (it, addrs)
}

fn local() -> Option<SocketAddr> {
    Some(SocketAddr::from(([127, 0, 0, 1], 0)))
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_whole_and_in_chunks() {
    let config =
        GelfConfig { udp_listen: local(), service: Some("gelf".to_owned()), ..GelfConfig::default() };
    let (it, addrs) = opened(&config).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    client.send_to(br#"{"short_message":"whole","host":"h"}"#, addrs[0]).await.expect("sent");
    let first = tokio::task::block_in_place(|| it.records(1));
    let chunk = |n: u8, part: &[u8]| [&[0x1e, 0x0f], &[7; 8][..], &[n, 2], part].concat();
    client.send_to(&chunk(1, br#""in chunks"}"#), addrs[0]).await.expect("sent");
    client.send_to(&chunk(0, br#"{"short_message":"#), addrs[0]).await.expect("sent");
    let second = tokio::task::block_in_place(|| it.records(1));
    assert_eq!((&first[0]["message"], &first[0]["service"]), (&"whole".into(), &"gelf".into()));
    assert_eq!(second[0]["message"], "in chunks");
    assert_eq!(second[0]["attributes"]["peer_ip"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_delimited_by_nul() {
    let config = GelfConfig { tcp_listen: local(), frame_bytes_max: Size(100), ..GelfConfig::default() };
    let (it, addrs) = opened(&config).await;
    let mut client = TcpStream::connect(addrs[0]).await.expect("open");
    let long = format!("{{\"short_message\":\"{}\"}}\0", "x".repeat(200));
    let stream = format!("{{\"short_message\":\n\"a\"}}\0{long}{{\"short_message\":\"b\"}}");
    client.write_all(stream.as_bytes()).await.expect("sent");
    client.shutdown().await.expect("closed");
    let records = tokio::task::block_in_place(|| it.records(2));
    assert_eq!((&records[0]["message"], &records[1]["message"]), (&"a".into(), &"b".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http() {
    let it = shared();
    let routes = || routes().with_state(Arc::clone(&it.shared));
    let post = |path: &str, body: Vec<u8>| Request::post(path).body(Body::from(body)).expect("a request");
    let (status, body) = it.ask(routes(), post("/gelf", br#"{"short_message":"a"}"#.to_vec())).await;
    assert_eq!((status, body.as_str()), (StatusCode::ACCEPTED, ""));
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zlib, br#"{"short_message":"b"}"#).expect("memory");
    let mut request = post("/gelf/", zlib.finish().expect("memory"));
    request.headers_mut().insert("content-encoding", "gzip,deflate".parse().expect("a header"));
    assert_eq!(it.ask(routes(), request).await.0, StatusCode::ACCEPTED);
    let (status, body) = it.ask(routes(), post("/gelf", b"nonsense".to_vec())).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("not a JSON object"), "{body}");
    let records = tokio::task::block_in_place(|| it.records(2));
    assert_eq!((&records[0]["message"], &records[1]["message"]), (&"a".into(), &"b".into()));
    assert!(it.is_quiet());
}

fn good(n: usize) -> (String, String) {
    let message = format!("good {n}");
    (format!("{{\"short_message\":\"{message}\"}}"), message)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_bad_datagrams_a_good_one_is_taken() {
    let (it, addrs) = opened(&GelfConfig { udp_listen: local(), ..GelfConfig::default() }).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    for (n, input) in bad_inputs().into_iter().enumerate() {
        let (good, message) = good(n);
        let bytes = &input.bytes[..input.bytes.len().min(60_000)];
        let chunk = [&[0x1e, 0x0f][..], bytes].concat();
        for datagram in [bytes, &chunk, good.as_bytes()] {
            client.send_to(datagram, addrs[0]).await.expect("sent");
        }
        tokio::task::block_in_place(|| it.messages_until(&message));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_bad_messages_of_a_connection_a_good_one_is_taken() {
    let (it, addrs) = opened(&GelfConfig { tcp_listen: local(), ..GelfConfig::default() }).await;
    let mut client = TcpStream::connect(addrs[0]).await.expect("open");
    let mut last = None;
    for (n, input) in bad_inputs().into_iter().enumerate() {
        let (good, message) = good(n);
        let stream = [&input.bytes[..], b"\0", good.as_bytes(), b"\0"].concat();
        client.write_all(&stream).await.expect("sent");
        last = Some((n, message));
    }
    if let Some((n, message)) = last {
        let messages = tokio::task::block_in_place(|| it.messages_until(&message));
        assert_eq!(messages.iter().filter(|message| message.starts_with("good ")).count(), n + 1);
    }
}
