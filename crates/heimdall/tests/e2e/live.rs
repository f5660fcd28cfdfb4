//! What stays open: alerts over WebSocket, records over WebSocket and Server-Sent Events.

use std::net::TcpStream;

use heimdall_testkit::{Lines, Server};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::{alert_about, heimdall, report_brute_force, server};

/// A WebSocket of the server, read message by message.
struct Socket(WebSocket<TcpStream>);

impl Socket {
    #[track_caller]
    fn open(server: &Server, path: &str) -> Socket {
        let request = format!("ws://{}{path}", server.http()).into_client_request().expect("a request");
        let (socket, _) = client(request, server.connect()).expect("the server upgrades");
        Socket(socket)
    }

    /// The next JSON message.
    #[track_caller]
    fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().expect("a message") {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }
}

#[test]
fn alerts_come_as_a_snapshot_and_then_as_deltas() {
    let server = server().start();
    report_brute_force(&server, "203.0.113.5");
    let id = alert_about(&server, "203.0.113.5")["id"].clone();
    let mut socket = Socket::open(&server, "/ws/alerts");
    let snapshot = socket.next();
    assert_eq!((&snapshot["type"], &snapshot["alerts"][0]["id"]), (&json!("snapshot"), &id));
    report_brute_force(&server, "203.0.113.6");
    let delta = loop {
        let delta = socket.next();
        assert_eq!(delta["type"], "delta");
        if delta["alert"]["entity"]["value"] == "203.0.113.6" {
            break delta;
        }
    };
    assert_eq!(delta["alert"]["status"], "OPEN");
    assert!(delta["sequence"].as_u64() > snapshot["sequence"].as_u64());
    let path = format!("/alerts/{}/suppress", id.as_str().expect("an id"));
    assert_eq!(server.post(&path, "", &[]).0, 200);
    loop {
        let next = socket.next();
        assert!(next["sequence"].as_u64() > snapshot["sequence"].as_u64(), "{next}");
        if next["alert"]["id"] == id && next["alert"]["status"] == "SUPPRESSED" {
            break;
        }
    }
}

#[test]
fn records_are_followed_over_websocket_and_server_sent_events() {
    let server = server().start();
    let mut socket = Socket::open(&server, "/api/v1/tail?query=level:error");
    let mut events = Lines::connect(server.http());
    events.send(format!("GET /api/v1/tail?query=wanted HTTP/1.1\r\nHost: {}\r\n\r\n", server.http()));
    events.find("the type of the stream", |line| {
        line.to_ascii_lowercase().starts_with("content-type: text/event-stream").then_some(())
    });
    let batch = json!([
        {"level": "info", "message": "not this"},
        {"level": "error", "message": "wanted one"},
        {"level": "error", "message": "wanted two"},
    ]);
    assert_eq!(server.post("/api/v1/ingest/logs", batch.to_string(), &[]).0, 200);

    let (first, second) = (socket.next(), socket.next());
    assert_eq!((&first["type"], &first["record"]["message"]), (&json!("record"), &json!("wanted one")));
    assert_eq!(second["record"]["message"], "wanted two");
    let sequence = |message: &Value| {
        let text = message["sequence"].as_str().expect("a sequence").to_owned();
        let (batch, row) = text.split_once('.').expect("batch.row");
        (batch.parse::<u64>().expect("a number"), row.parse::<u64>().expect("a number"))
    };
    assert!(sequence(&first) < sequence(&second));

    let id = events.find("an event id", |line| line.strip_prefix("id: ").map(str::to_owned));
    assert_eq!(Some(id.as_str()), first["sequence"].as_str());
    let record: Value = events.find("the data of the event", |line| {
        line.strip_prefix("data: ").map(|data| serde_json::from_str(data).expect("JSON"))
    });
    assert_eq!(record["message"], "wanted one");
}

#[test]
fn the_tail_command_prints_records_as_they_arrive() {
    let server = server().start();
    let mut tail = heimdall(["tail", "service:till", "--json", "-n", "2", "--url", &server.url("")]).start();
    // Only what arrives after the listener is there is shown, so send until it has seen enough.
    tail.wait_for("two records", |tail| {
        server.post("/api/v1/ingest/logs", r#"{"service":"till","message":"sold"}"#, &[]);
        (tail.stdout().lines().count() == 2).then_some(())
    });
    let output = tail.wait().expect(0);
    assert!(output.json_lines().iter().all(|record| record["message"] == "sold"), "{}", output.stdout);
}
