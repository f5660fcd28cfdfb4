//! The review by a language model, which a stand-in plays: a plain HTTP listener on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};

use heimdall_testkit::{PATIENCE, Server};
use serde_json::{Value, json};

use crate::{alerts, server};

const NDJSON: &[(&str, &str)] = &[("Content-Type", "application/x-ndjson")];
/// Requests the stand-in keeps: more than the tests cause.
const REQUESTS_MAX: usize = 16;

/// Answers chat completions: every record it is shown is bad. Hands over the headers and body of each request.
fn model_stand_in() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    let (requests, received) = sync_channel(REQUESTS_MAX);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
            let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let verdicts = json!({"verdicts": [{
                "id": "r1", "severity": "CRITICAL", "confidence": 0.9, "title": "Ledger out of step",
                "reason": "The ledger and the bank disagree.", "mitigation": ["Stop payouts"],
            }]});
            let answer = json!({
                "choices": [{"message": {"role": "assistant", "content": verdicts.to_string()}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 200, "completion_tokens": 60},
            })
            .to_string();
            let response = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
                answer.len()
            );
            if (&stream).write_all(response.as_bytes()).is_err() || requests.send((head, body)).is_err() {
                break;
            }
        }
    });
    (url, received)
}

/// Lines of one template, with a person's address in each.
fn report_mismatch(server: &Server) {
    let line = |n: u32| {
        json!({
            "timestamp": format!("2026-02-09T20:00:{:02}Z", n % 60), "source": "LEDGER", "level": "ERROR",
            "message": format!("balance of account {} differs by {} cents, told ann{n}@example.com", 88_120 + n, n * 7),
        })
        .to_string()
    };
    let lines: Vec<String> = (0..30).map(line).collect();
    let (status, answer) = server.post("/api/v1/ingest/logs", lines.join("\n"), NDJSON);
    assert_eq!(status, 200, "{answer}");
}

fn review(server: &Server) -> Option<Value> {
    alerts(server).into_iter().find(|alert| alert["rule"] == "llm.review")
}

#[test]
fn a_language_model_is_asked_once_of_a_template_and_cannot_wake_anybody() {
    let (url, received) = model_stand_in();
    let mut server = server()
        .env("LLM_ENABLED", "true")
        .env("OPENAI_BASE_URL", &url)
        .env("OPENAI_API_KEY", "sk-very-secret")
        .env("OPENAI_MODEL", "stand-in-1")
        .env("HEIMDALL_LLM__LINGER", "10ms")
        .start();
    report_mismatch(&server);
    let (head, body) = received.recv_timeout(PATIENCE).expect("a question");
    assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
    assert!(head.to_ascii_lowercase().contains("authorization: bearer sk-very-secret"), "{head}");
    let asked = body.to_string();
    assert!(asked.contains("balance of account <*> differs by <*> cents"), "{asked}");
    assert!(
        !asked.contains("example.com") && !asked.contains("88120"),
        "nothing of a record leaves: {asked}"
    );

    let alert = server.wait_for("the review to raise an alert", review);
    assert_eq!((&alert["severity"], &alert["detector"]), (&json!("WARNING"), &json!("llm")), "{alert}");
    assert!(alert["summary"].as_str().is_some_and(|text| text.contains("stand-in-1")), "{alert}");

    report_mismatch(&server);
    assert!(server.terminate().success());
    assert!(received.try_recv().is_err(), "asked twice");
    assert!(!server.stderr().contains("sk-very-secret"), "the key is a secret");
}

#[test]
fn without_a_key_words_decide() {
    let server = server().env("LLM_ENABLED", "true").start();
    let line = json!({
        "timestamp": "2026-02-09T20:00:00Z", "source": "web-firewall", "ip": "203.0.113.5", "level": "WARN",
        "message": "Multiple failed logins detected; possible brute force",
    });
    assert_eq!(server.post("/api/v1/ingest/logs", line.to_string(), NDJSON).0, 200);
    let alert = server.wait_for("key words to raise an alert", review);
    assert!(alert["summary"].as_str().is_some_and(|text| text.contains("keywords")), "{alert}");
}
