//! What stays open: alerts and records as they happen.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::{PATIENCE, Server, read};

/// A live session ends at the latest this long after its token is revoked.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn alerts_arrive_as_snapshot_then_deltas() {
    let server = Server::open().await;
    server.raise("203.0.113.5", 1);
    let mut socket = server.socket("/ws/alerts", &[]).await.unwrap();
    let snapshot = socket.next().await.unwrap();
    assert_eq!(
        (snapshot["type"].as_str(), snapshot["alerts"].as_array().unwrap().len()),
        (Some("snapshot"), 1)
    );
    server.raise("203.0.113.6", 2);
    let delta = socket.next().await.unwrap();
    assert_eq!(delta["type"], "delta");
    assert_eq!(delta["alert"]["entity"]["value"], "203.0.113.6");
    assert!(delta["sequence"].as_u64() > snapshot["sequence"].as_u64());
    let id = snapshot["alerts"][0]["id"].as_str().unwrap();
    read(server.post(&format!("/alerts/{id}/acknowledge"), "")).await;
    loop {
        let delta = socket.next().await.unwrap();
        if delta["alert"]["id"] == id && delta["alert"]["status"] == "ACKNOWLEDGED" {
            break;
        }
    }
}

#[tokio::test]
async fn a_browser_shows_its_token_as_a_subprotocol_and_revoking_cuts_it() {
    let server = Server::closed().await;
    assert!(server.socket("/ws/alerts", &[]).await.is_err());
    let (id, secret) = server.token("watch");
    let offer = format!("heimdall.v1, bearer.{secret}");
    let mut socket = server.socket("/ws/alerts", &[("sec-websocket-protocol", &offer)]).await.unwrap();
    assert_eq!(socket.next().await.unwrap()["type"], "snapshot");
    server.tokens.revoke(&id).unwrap();
    assert!(tokio::time::timeout(REVOKED_WITHIN, socket.next()).await.expect("cut").is_none());
}

#[tokio::test]
async fn records_are_tailed_over_websocket_and_sse() {
    let server = Server::open().await;
    let mut socket = server.socket("/api/v1/tail?query=level:error", &[]).await.unwrap();
    let response = server.get("/api/v1/tail?query=wanted").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let records = r#"[{"level":"info","message":"not this"},{"level":"error","message":"wanted 1"}]"#;
    read(server.post("/api/v1/ingest/logs", records)).await;
    let message = socket.next().await.unwrap();
    assert_eq!(
        (message["type"].as_str(), message["record"]["message"].as_str()),
        (Some("record"), Some("wanted 1"))
    );
    assert!(message["sequence"].as_str().unwrap().ends_with(".1"));
    socket.close().await;
    let mut events = response.bytes_stream();
    let mut text = String::new();
    while !text.contains("\n\n") {
        let chunk = tokio::time::timeout(PATIENCE, events.next()).await.expect("an event").unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("event: record") && text.contains("id: ") && text.contains("wanted 1"), "{text}");
    let (status, problem) = read(server.get("/api/v1/tail?query=a|stats%20count()")).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("invalid_parameter")));
}

struct Technician {
    lines: tokio::io::Lines<BufReader<tokio::net::tcp::OwnedReadHalf>>,
    _write: tokio::net::tcp::OwnedWriteHalf,
}

impl Technician {
    async fn arrive(server: &Server, hello: &str) -> Technician {
        let (read, mut write) = TcpStream::connect(server.watch).await.unwrap().into_split();
        write.write_all(hello.as_bytes()).await.unwrap();
        Technician { lines: BufReader::new(read).lines(), _write: write }
    }

    async fn hear(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("a line");
        line.ok().flatten().map(|line| serde_json::from_str(&line).unwrap())
    }
}

#[tokio::test]
async fn a_technician_hears_alerts_until_the_token_is_revoked() {
    let server = Server::closed().await;
    server.raise("203.0.113.5", 1);
    let (id, secret) = server.token("watch");
    let mut technician = Technician::arrive(&server, &format!("{{\"token\":\"{secret}\"}}\n")).await;
    assert_eq!(technician.hear().await.unwrap()["type"], "hello");
    let snapshot = technician.hear().await.unwrap();
    assert_eq!(snapshot["alerts"][0]["entity"]["value"], "203.0.113.5");
    server.raise("203.0.113.6", 2);
    let told = technician.hear().await.unwrap();
    assert_eq!(
        (told["type"].as_str(), told["alert"]["entity"]["value"].as_str()),
        (Some("alert"), Some("203.0.113.6"))
    );
    server.tokens.revoke(&id).unwrap();
    // The same alert may be told again meanwhile, with what it belongs to.
    let last_words = async {
        loop {
            let heard = technician.hear().await.unwrap();
            if heard["type"] != "alert" {
                return heard;
            }
        }
    };
    let goodbye = tokio::time::timeout(REVOKED_WITHIN, last_words).await.expect("cut");
    assert_eq!(
        (goodbye["type"].as_str(), goodbye["reason"].as_str()),
        (Some("goodbye"), Some("token revoked"))
    );
    assert!(technician.hear().await.is_none());
}

#[tokio::test]
async fn strangers_learn_nothing_from_the_technician_port() {
    let limits =
        heimdall_api::HttpLimits { watch_hello_timeout: Duration::from_millis(100), ..Default::default() };
    let server = Server::start(true, limits).await;
    let (_, reader) = server.token("read");
    let long = format!("{{\"token\":\"{}\"}}\n", "x".repeat(5_000));
    for (hello, code) in [
        ("{}\n".to_owned(), "token_missing"),
        ("{\"token\":\"hmd_1_2\"}\n".to_owned(), "token_invalid"),
        (format!("{{\"token\":\"{reader}\"}}\n"), "scope_missing"),
        ("POST / HTTP/1.1\r\n".to_owned(), "hello_invalid"),
        (long, "hello_invalid"),
        ("{\"token\":".to_owned(), "hello_timeout"),
    ] {
        let mut technician = Technician::arrive(&server, &hello).await;
        let told = technician.hear().await;
        assert_eq!(told.as_ref().map(|told| told["code"].as_str()), Some(Some(code)), "{hello:.60}");
        assert!(technician.hear().await.is_none());
    }
}

#[tokio::test]
async fn on_this_machine_no_token_is_needed_and_one_too_many_is_told() {
    let limits = heimdall_api::HttpLimits {
        watch_sessions_max: 1,
        heartbeat: Duration::from_millis(20),
        ..Default::default()
    };
    let server = Server::start(false, limits).await;
    let mut technician = Technician::arrive(&server, "{}\n").await;
    let kinds = [technician.hear().await, technician.hear().await, technician.hear().await];
    let kinds: Vec<_> = kinds.iter().map(|told| told.as_ref().unwrap()["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["hello", "snapshot", "heartbeat"]);
    let mut stream = TcpStream::connect(server.watch).await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert!(told.contains("too many sessions"), "{told}");
}
