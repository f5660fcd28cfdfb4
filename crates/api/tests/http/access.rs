//! Who gets in.

use serde_json::{Value, json};

use crate::harness::{Server, read};

/// Everything else needs a token.
const PUBLIC: [&str; 4] = ["/health", "/livez", "/readyz", "/openapi.json"];

/// What proves itself by a signature instead; without a secret it is not there.
const SIGNED: [&str; 2] = ["/api/v1/slack/interactions", "/api/v1/pagerduty/webhook"];

/// Every operation of the API description, with its path filled in.
async fn operations(server: &Server) -> Vec<(reqwest::Method, String)> {
    let openapi = server.json("/openapi.json").await;
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut operations = Vec::new();
    for (path, item) in openapi["paths"].as_object().unwrap() {
        let filled = path
            .replace("{dataset}", "logs")
            .replace("{step}", "acknowledge")
            .replace("{name}", "payment")
            .replace("{alert}", "00000000-0000-7000-8000-000000000000")
            .replace("{id}", "00000000-0000-7000-8000-000000000000");
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            operations.push((method.to_uppercase().parse().unwrap(), filled.clone()));
        }
    }
    operations
}

#[tokio::test]
async fn every_route_but_the_public_ones_asks_for_a_token_and_a_scope() {
    let server = Server::closed().await;
    let (_, ingest_only) = server.token("ingest");
    let (_, watch_only) = server.token("watch");
    let operations = operations(&server).await;
    assert!(operations.len() > 80, "{}", operations.len());
    for (method, path) in operations {
        let request = || server.client.request(method.clone(), server.url(&path));
        if PUBLIC.contains(&path.as_str()) {
            assert_eq!(read(request()).await.0, 200, "{path}");
            continue;
        }
        let (status, problem) = read(request()).await;
        if SIGNED.contains(&path.as_str()) {
            assert_eq!((status, &problem["code"]), (404, &json!("not_configured")), "{method} {path}");
            continue;
        }
        assert_eq!((status, &problem["code"]), (401, &json!("token_missing")), "{method} {path}");
        let (status, problem) = read(request().bearer_auth("hmd_wrong")).await;
        assert_eq!((status, &problem["code"]), (401, &json!("token_invalid")), "{method} {path}");
        if path == "/api/v1/whoami" {
            assert_eq!(read(request().bearer_auth(&ingest_only)).await.0, 200, "any token will do");
            continue;
        }
        let is_ingest = path.contains("ingest") || path.contains("receipts");
        let token = if is_ingest { &watch_only } else { &ingest_only };
        let (status, problem) = read(request().bearer_auth(token)).await;
        assert_eq!((status, &problem["code"]), (403, &json!("scope_missing")), "{method} {path} {problem}");
    }
}

#[tokio::test]
async fn web_pages_elsewhere_cannot_reach_a_loopback_server() {
    let server = Server::open().await;
    for path in ["/health", "/alerts", "/ingest"] {
        let rebound = server.get(path).header("host", "evil.example");
        assert_eq!(read(rebound).await.1["code"], "host_denied", "{path}");
        let crossed = server.get(path).header("origin", "https://evil.example");
        let (status, problem) = read(crossed).await;
        assert_eq!((status, &problem["code"]), (403, &json!("origin_denied")), "{path}");
    }
    let own = server.get("/alerts").header("origin", format!("http://{}", server.http));
    assert_eq!(read(own).await.0, 200);
    assert!(server.socket("/ws/alerts", &[("origin", "https://evil.example")]).await.is_err());

    for site in ["cross-site", "same-site"] {
        let crossed = |path: &str| {
            let request = server.get(path).header("sec-fetch-site", site);
            read(request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document"))
        };
        assert_eq!(crossed("/alerts").await.1["code"], "origin_denied", "{site}");
        assert_eq!(
            crossed("/").await.1["code"],
            "origin_denied",
            "{site}: only a browser that asks for HTML opens a page"
        );
    }
    for site in ["same-origin", "none"] {
        assert_eq!(read(server.get("/alerts").header("sec-fetch-site", site)).await.0, 200, "{site}");
    }
}

#[tokio::test]
async fn what_a_proxy_on_this_machine_forwards_needs_a_token() {
    let server = Server::open().await;
    let (_, reader) = server.token("read");
    for name in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"] {
        let forwarded = || server.get("/alerts").header(name, "203.0.113.5");
        let (status, problem) = read(forwarded()).await;
        assert_eq!((status, &problem["code"]), (401, &json!("token_missing")), "{name}");
        assert_eq!(read(forwarded().bearer_auth(&reader)).await.0, 200, "{name}");
    }
}

#[tokio::test]
async fn a_token_is_for_one_tenant_unless_all_are_asked_for() {
    let server = Server::open().await;
    let issue = async |mut request: Value, header: Option<&str>| {
        request["name"] = json!("x");
        request["scopes"] = json!(["read"]);
        let mut post = server.post("/api/v1/tokens", request.to_string());
        if let Some(tenant) = header {
            post = post.header("x-scope-orgid", tenant);
        }
        read(post).await
    };
    for (request, header, tenant) in [
        (json!({}), None, json!("default")),
        (json!({}), Some("acme"), json!("acme")),
        (json!({ "tenant": "acme" }), None, json!("acme")),
        (json!({ "tenant": "acme" }), Some("acme"), json!("acme")),
        (json!({ "all_tenants": true }), None, Value::Null),
    ] {
        let (status, issued) = issue(request, header).await;
        assert_eq!((status, &issued["tenant"]), (201, &tenant), "{issued}");
    }
    for (request, header, field) in [
        (json!({ "tenant": "acme" }), Some("other"), "tenant"),
        (json!({ "all_tenants": true }), Some("acme"), "all_tenants"),
        (json!({ "all_tenants": true, "tenant": "acme" }), None, "all_tenants"),
    ] {
        let (status, problem) = issue(request, header).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{problem}");
    }
}

#[tokio::test]
async fn a_token_is_issued_once_listed_without_secret_and_revoked() {
    let server = Server::closed().await;
    let (_, admin) = server.token("admin");
    let request = json!({ "name": "night shift", "scopes": ["read", "watch"], "expires_in": "8h" });
    let issue = server.post("/api/v1/tokens", request.to_string()).bearer_auth(&admin);
    let (status, issued) = read(issue).await;
    assert_eq!(status, 201, "{issued}");
    let secret = issued["token"].as_str().unwrap();
    let alerts = || server.get("/alerts").bearer_auth(secret);
    assert_eq!(read(alerts()).await.0, 200);
    assert_eq!(read(alerts().header("x-scope-orgid", "other")).await.1["code"], "tenant_denied");

    let list = server.get("/api/v1/tokens").bearer_auth(&admin).send().await.unwrap().text().await.unwrap();
    assert!(list.contains("night shift") && !list.contains(secret));
    let id = issued["id"].as_str().unwrap();
    let revoke = || server.client.delete(server.url(&format!("/api/v1/tokens/{id}"))).bearer_auth(&admin);
    assert_eq!(read(revoke()).await.0, 204);
    assert_eq!(read(alerts()).await.0, 401);

    let audit = read(server.get("/api/v1/audit").bearer_auth(&admin)).await.1;
    let actions: Vec<_> = audit["items"].as_array().unwrap().iter().map(|line| &line["action"]).collect();
    assert_eq!(actions, ["token.revoke", "token.issue"]);
    assert!(!audit.to_string().contains(secret));
}

#[tokio::test]
async fn a_bound_admin_sees_and_issues_tokens_of_its_tenant_only() {
    let server = Server::closed().await;
    let (_, admin) = server.token("admin");
    for (request, field) in [
        (json!({ "name": "x", "scopes": ["read"], "tenant": "other" }), "tenant"),
        (json!({ "name": "x", "scopes": ["read"], "all_tenants": true }), "all_tenants"),
        (json!({ "name": "", "scopes": ["read"] }), "name"),
        (json!({ "name": "x", "scopes": [] }), "scopes"),
        (json!({ "name": "x", "scopes": ["root"] }), "scopes"),
        (json!({ "name": "x", "scopes": ["read"], "expires_in": "soon" }), "expires_in"),
    ] {
        let (status, problem) =
            read(server.post("/api/v1/tokens", request.to_string()).bearer_auth(&admin)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &Value::from(field)), "{problem}");
    }
}
