//! The Slack hook, received by a stand-in for Slack: a plain HTTP listener on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};

use heimdall_testkit::PATIENCE;
use serde_json::Value;

use crate::{alert_about, report_brute_force, server};

/// Messages the stand-in keeps: more than the test causes.
const MESSAGES_MAX: usize = 16;

/// Listens as Slack would, answers `ok`, and hands over each message: request line and body.
fn slack_stand_in() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/services/T000/B000/s3cr3t", listener.local_addr().expect("bound"));
    let (messages, received) = sync_channel(MESSAGES_MAX);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut request = String::new();
            let mut length = 0;
            // The hook keeps its connection: several messages may come over one.
            while reader.read_line(&mut request).is_ok_and(|read| read > 0) {
                let mut header = String::new();
                while reader.read_line(&mut header).is_ok_and(|read| read > 0) && header.trim() != "" {
                    let (name, value) = header.split_once(':').unwrap_or_default();
                    if name.eq_ignore_ascii_case("content-length") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    header.clear();
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    break;
                }
                let answered = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                let body = serde_json::from_slice(&body).unwrap_or_default();
                if answered.is_err() || messages.send((request.trim().to_owned(), body)).is_err() {
                    break;
                }
                request.clear();
            }
        }
    });
    (url, received)
}

#[test]
fn slack_is_told_once_of_each_alert() {
    let (url, received) = slack_stand_in();
    let mut server = server().env("SLACK_WEBHOOK_URL", &url).start();
    report_brute_force(&server, "203.0.113.5");
    let (request, message) = received.recv_timeout(PATIENCE).expect("a message");
    assert!(request.starts_with("POST /services/T000/B000/s3cr3t "), "{request}");
    assert!(message["blocks"].as_array().is_some_and(|blocks| !blocks.is_empty()), "{message}");
    let text = message.to_string();
    assert!(text.contains("203.0.113.5") && text.contains("CRITICAL"), "{text}");
    assert!(
        message["text"].as_str().is_some_and(|text| !text.is_empty()),
        "a text for notifications: {message}"
    );
    server.wait_for("the alert to say who was told", |server| {
        let notified = alert_about(server, "203.0.113.5")["notified"].clone();
        notified.as_array()?.iter().any(|channel| channel == "slack").then_some(())
    });

    // The same again is no news, and neither is a restart; another address is.
    report_brute_force(&server, "203.0.113.5");
    server.restart();
    report_brute_force(&server, "203.0.113.6");
    let (_, message) = received.recv_timeout(PATIENCE).expect("a message");
    assert!(message.to_string().contains("203.0.113.6"), "{message}");
    assert!(server.terminate().success());
    assert!(received.try_recv().is_err(), "told twice");
    assert!(!server.stderr().contains("s3cr3t"), "the webhook is a secret");
}
