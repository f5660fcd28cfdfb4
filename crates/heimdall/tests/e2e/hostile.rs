//! Clients that mean harm or are broken cost themselves, not the server.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use heimdall_testkit::{Server, http};
use serde_json::{Value, json};

use crate::server;

/// A request head must be complete within 30 s; a busy machine may notice a little later.
const HEAD_WITHIN: Duration = Duration::from_secs(45);
/// Pause between the bytes of a slow client: well below any idle timeout.
const DRIBBLE: Duration = Duration::from_millis(250);

fn is_healthy(server: &Server) -> bool {
    server.get_json("/health")["status"] == "ok"
}

fn code(response: &http::Response) -> (u16, Value) {
    (response.status, response.json()["code"].clone())
}

/// Sends raw bytes and reads until the server closes; what it answered.
fn send_raw(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = server.connect();
    // The server may close before everything is written; what counts is that it lives.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Writes a head without ever finishing it; how long the server put up with that.
fn dribble(address: SocketAddr) -> Duration {
    let started = Instant::now();
    let mut stream = http::connect(address);
    stream.set_read_timeout(Some(DRIBBLE)).expect("not zero");
    let head = b"POST /ingest HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let mut bytes = head.iter().chain(std::iter::repeat(&b'a'));
    while started.elapsed() < HEAD_WITHIN {
        if stream.write_all(&[*bytes.next().expect("endless")]).is_err() {
            break;
        }
        // Waits for the server to close, and otherwise for the next byte's turn.
        match stream.read(&mut [0; 512]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    started.elapsed()
}

#[test]
fn a_slow_loris_is_cut_while_others_are_served() {
    let server = server().start();
    let address = server.http();
    let lorises: Vec<_> = (0..50).map(|_| std::thread::spawn(move || dribble(address))).collect();
    while lorises.iter().any(|loris| !loris.is_finished()) {
        let asked = Instant::now();
        assert!(is_healthy(&server));
        assert!(asked.elapsed() < Duration::from_secs(5), "others wait {:?}", asked.elapsed());
        std::thread::sleep(DRIBBLE);
    }
    for loris in lorises {
        let lasted = loris.join().expect("a duration");
        assert!(lasted < HEAD_WITHIN, "still open after {lasted:?}");
    }
}

#[test]
fn pages_from_elsewhere_cannot_use_the_loopback_door() {
    let server = server().start();
    for path in ["/alerts", "/health", "/metrics"] {
        let rebound = server.request("GET", path, &[("Host", "heimdall.evil.example")], "");
        assert_eq!(code(&rebound), (403, json!("host_denied")), "{path}");
    }
    let crossed = [("Origin", "https://evil.example"), ("Content-Type", "text/plain")];
    let posted = server.request("POST", "/ingest", &crossed, r#"{"source":"x","message":"y"}"#);
    assert_eq!(code(&posted), (403, json!("origin_denied")));
    let opaque = server.request("GET", "/alerts", &[("Origin", "null")], "");
    assert_eq!(opaque.status, 403);
    let own = format!("http://{}", server.http());
    assert_eq!(server.request("GET", "/alerts", &[("Origin", &own)], "").status, 200);
    assert_eq!(server.query("*").len(), 0);
}

#[test]
fn what_is_too_large_is_refused_by_its_limit() {
    let server = server()
        .env("HEIMDALL_INGEST__BODY_BYTES_MAX", "64KiB")
        .env("HEIMDALL_INGEST__DECOMPRESSED_BYTES_MAX", "1MiB")
        .start();
    let logs = "/api/v1/ingest/logs";
    let large = format!("{{\"message\":\"{}\"}}", "x".repeat(100 * 1024));
    assert_eq!(code(&server.request("POST", logs, &[], &large)), (413, json!("body_too_large")));
    // Announced only: refused before a byte of it is sent.
    let announced = server.request("POST", logs, &[("Content-Length", "99999999999")], "");
    assert_eq!(code(&announced), (413, json!("body_too_large")));
    let bomb = zstd::encode_all(std::io::repeat(b'x').take(64 << 20), 3).expect("in memory");
    assert!(bomb.len() < 64 * 1024);
    let bombed = server.request("POST", logs, &[("Content-Encoding", "zstd")], &bomb);
    assert_eq!(bombed.status, 413, "{}", bombed.text());
    let header = "x".repeat(200 * 1024);
    let head = http::try_request(server.http(), "GET", "/health", &[("X-Large", &header)], b"");
    assert!(matches!(&head, Ok(answer) if answer.status == 431) || head.is_err(), "{head:?}");
    assert!(is_healthy(&server));
    assert_eq!(server.query("*").len(), 0);
}

#[test]
fn garbage_and_half_requests_leave_the_server_well() {
    let server = server().start();
    let garbage: Vec<u8> = (0..=255_u8).cycle().take(10_000).collect();
    for bytes in [
        garbage.as_slice(),
        b"\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n",
        b"POST /ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"source\":",
        b"POST /ingest HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"GET /alerts HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /%00%ff/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let answer = String::from_utf8_lossy(&send_raw(&server, bytes)).into_owned();
        assert!(!answer.starts_with("HTTP/1.1 200") && !answer.contains("root:"), "{answer}");
        assert!(is_healthy(&server));
    }
    let mut technician = server.connect_watch();
    technician.send(&garbage);
    while technician.next_line().is_some() {}
    // Opened, never used: neither in the way nor kept for ever.
    let idle: Vec<_> = (0..100).map(|_| server.connect()).collect();
    assert!(is_healthy(&server));
    drop(idle);
    assert_eq!(server.query("*").len(), 0);
    let log = server.stderr();
    assert!(!log.contains("panicked"), "{log}");
}
