//! The web app, as browsers and programs get it.

use reqwest::Response;
use serde_json::json;

use crate::harness::{Server, read};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn open(server: &Server, path: &str) -> Response {
    server.get(path).header("accept", BROWSER).send().await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map_or("none", |value| value.to_str().unwrap()).to_owned()
}

#[tokio::test]
async fn every_view_is_the_page_with_a_nonce_of_its_own() {
    let server = Server::closed().await;
    let mut nonces = Vec::new();
    for path in
        ["/", "/explore?query=a", "/alerts", "/alerts/0198c0de", "/logs", "/dashboards/executive-dashboard"]
    {
        let response = open(&server, path).await;
        assert_eq!(response.status(), 200, "no token is needed for {path}");
        assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
        assert_eq!(header(&response, "cross-origin-opener-policy"), "same-origin");
        let policy = header(&response, "content-security-policy");
        let page = response.text().await.unwrap();
        let (_, nonce) = page.split_once("content=").unwrap();
        let nonce = nonce.trim_end_matches('>').to_owned();
        assert!(nonce.len() == 32 && policy.contains(&format!("'nonce-{nonce}'")), "{policy} {page}");
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        nonces.push(nonce);
    }
    let count = nonces.len();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), count, "no nonce comes twice");
}

#[tokio::test]
async fn programs_and_paths_of_the_api_never_get_the_page() {
    let server = Server::open().await;
    for path in ["/api/v1/nothing", "/ws/nothing", "/health/nothing", "/assets/old-9f.js", "/metrics/nothing"]
    {
        let response = open(&server, path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(header(&response, "content-type"), "application/problem+json", "{path}");
    }
    for path in ["/nothing", "/dashboards/x", "/index.html"] {
        let (status, problem) = read(server.get(path)).await;
        assert_eq!((status, &problem["code"]), (404, &json!("path_unknown")), "{path}");
    }
    let (status, problem) = read(server.post("/nothing", "").header("accept", BROWSER)).await;
    assert_eq!((status, &problem["code"]), (404, &json!("path_unknown")));
    assert!(server.json("/alerts").await.is_array(), "who asks for no page gets the alerts");
    let health = open(&server, "/health").await;
    assert_eq!(header(&health, "content-type"), "application/json", "paths of the API keep their answers");
}

#[tokio::test]
async fn no_path_of_the_api_is_hidden_by_a_page() {
    let server = Server::open().await;
    let openapi = server.json("/openapi.json").await;
    for (path, item) in openapi["paths"].as_object().unwrap() {
        let is_both = path.starts_with("/alerts") || path.starts_with("/logs");
        if is_both || item.get("get").is_none() || path == "/api/v1/tail" {
            continue;
        }
        let path = path.replace("{id}", "x").replace("{name}", "x");
        let response = open(&server, &path).await;
        assert!(!header(&response, "content-type").starts_with("text/html"), "{path}");
    }
}

#[tokio::test]
async fn files_are_kept_compressed_and_asked_for_once() {
    let server = Server::closed().await;
    let get = |path: &str, name: &str, value: &str| server.get(path).header(name, value).send();
    let script = get("/assets/app-1a2b.js", "accept-encoding", "gzip, br").await.unwrap();
    assert_eq!(header(&script, "content-encoding"), "br");
    assert_eq!(header(&script, "vary"), "accept-encoding");
    assert_eq!(header(&script, "cache-control"), "public, max-age=31536000, immutable");
    assert!(header(&script, "content-security-policy").contains("script-src 'self'"), "for workers");
    let tag = header(&script, "etag");
    assert_eq!(script.text().await.unwrap(), "packed by brotli");

    let again =
        server.get("/assets/app-1a2b.js").header("accept-encoding", "br").header("if-none-match", &tag);
    let again = again.send().await.unwrap();
    assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, tag));
    let plain = get("/assets/app-1a2b.js", "accept-encoding", "identity").await.unwrap();
    assert_eq!(header(&plain, "content-encoding"), "none");
    assert_eq!(header(&plain, "content-length"), "31");

    let icon = get("/favicon.svg", "accept", BROWSER).await.unwrap();
    assert_eq!(
        (header(&icon, "content-type"), header(&icon, "cache-control")),
        ("image/svg+xml".into(), "no-cache".into())
    );

    for (path, length) in [("/assets/app-1a2b.js", "31"), ("/favicon.svg", "6")] {
        let head = server.client.head(server.url(path)).send().await.unwrap();
        assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, length.to_owned()));
        assert_eq!(head.text().await.unwrap(), "");
    }
    let (status, problem) = read(server.post("/assets/app-1a2b.js", "")).await;
    assert_eq!((status, &problem["code"]), (405, &json!("method_not_allowed")));
}

#[tokio::test]
async fn a_link_elsewhere_leads_to_a_page_and_to_nothing_else() {
    let server = Server::open().await;
    let follow = |path: &str, dest: &str| {
        let request = server.get(path).header("accept", BROWSER).header("sec-fetch-site", "cross-site");
        request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", dest).send()
    };
    assert_eq!(follow("/incidents/7", "document").await.unwrap().status(), 200);
    assert_eq!(follow("/incidents/7", "iframe").await.unwrap().status(), 403);
    assert_eq!(follow("/api/v1/alerts", "document").await.unwrap().status(), 403);
    assert_eq!(follow("/health", "document").await.unwrap().status(), 403);
    let rebound = server.get("/explore").header("accept", BROWSER).header("host", "evil.example");
    assert_eq!(read(rebound).await.1["code"], "host_denied");
}
