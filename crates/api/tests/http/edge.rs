//! Around every request.

use std::time::Duration;

use heimdall_api::HttpLimits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{PATIENCE, Server, read};

#[tokio::test]
async fn answers_carry_safe_headers_and_errors_are_problems() {
    let server = Server::open().await;
    let response = server.get("/health").header("x-request-id", "abc-1").send().await.unwrap();
    let headers = response.headers().clone();
    assert_eq!(headers["x-request-id"], "abc-1");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["x-frame-options"], "DENY");
    assert_eq!(response.json::<serde_json::Value>().await.unwrap()["status"], "ok");

    let (status, problem) = read(server.get("/nothing/here")).await;
    assert_eq!((status, &problem["code"]), (404, &json!("path_unknown")));
    for (path, field) in [("/logs?limit=x", "limit"), ("/logs?lmit=1", "lmit"), ("/api/v1/tail?q=x", "q")] {
        let (status, problem) = read(server.get(path)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{problem}");
    }
    let response = server.client.delete(server.url("/alerts")).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["allow"].to_str().unwrap()),
        (405, "GET,HEAD")
    );
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_panic_costs_one_request_only() {
    let server = Server::open().await;
    let (status, problem) = read(server.get("/api/v1/status")).await;
    assert_eq!((status, &problem["code"]), (500, &json!("internal")));
    assert_eq!(server.json("/health").await["status"], "ok");
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_matched_paths() {
    let server = Server::open().await;
    read(server.get("/api/v1/alerts/00000000-0000-7000-8000-000000000000")).await;
    let response = server.get("/metrics").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    let line = r#"http_requests_total{route="/api/v1/alerts/{id}",method="GET",status_class="4xx"}"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains("http_request_duration_seconds"));
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let server = Server::open().await;
    let response = server.get("/").header("accept", "text/html").send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let page = response.text().await.unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && page.contains("Heimdall") && !page.contains("http://")
    );
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_cut() {
    let limits = HttpLimits {
        header_read_timeout: Duration::from_millis(50),
        body_idle_timeout: Duration::from_millis(50),
        ..HttpLimits::default()
    };
    let server = Server::start(false, limits).await;
    let head = "POST /ingest HTTP/1.1\r\nhost: localhost\r\n";
    for (sent, answer) in [
        (String::new(), ""),
        (head.to_owned(), ""),
        (format!("{head}content-length: 5\r\n\r\n{{"), "HTTP/1.1 408"),
    ] {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got)).await;
        ended.expect("cut").unwrap();
        assert!(String::from_utf8_lossy(&got).starts_with(answer), "{sent:?}");
    }
    // With the usual time for a head: what is too large must not be taken for too slow.
    let server = Server::start(false, HttpLimits::default()).await;
    let huge = format!("{head}x: {}\r\n\r\n", "y".repeat(200_000));
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let _ = stream.write_all(huge.as_bytes()).await;
    let mut got = vec![0; 12];
    if stream.read_exact(&mut got).await.is_ok() {
        assert_eq!(String::from_utf8_lossy(&got), "HTTP/1.1 431");
    }
}

#[tokio::test]
async fn a_connection_too_many_waits_for_its_turn() {
    let limits = HttpLimits { connections_max: 1, ..HttpLimits::default() };
    let server = Server::start(false, limits).await;
    let ask = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut first = TcpStream::connect(server.http).await.unwrap();
    first.write_all(ask).await.unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = TcpStream::connect(server.http).await.unwrap();
    second.write_all(ask).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), second.read_exact(&mut byte)).await.is_err());
    drop(first);
    tokio::time::timeout(PATIENCE, second.read_exact(&mut byte)).await.expect("its turn").unwrap();
}

#[tokio::test]
async fn shutdown_drains_and_ends_live_sessions() {
    let server = Server::open().await;
    let mut socket = server.socket("/ws/alerts", &[]).await.unwrap();
    assert_eq!(socket.next().await.unwrap()["type"], "snapshot");
    server.shutdown.cancel();
    assert!(socket.next().await.is_none());
    tokio::time::timeout(PATIENCE, server.served).await.expect("drained").unwrap().unwrap();
    assert!(TcpStream::connect(server.http).await.is_err());
}
