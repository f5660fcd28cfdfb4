//! Dashboards, saved queries and annotations, and who asks.

use serde_json::{Value, json};

use crate::harness::{Server, read};

async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    read(server.post(path, body.to_string())).await
}

async fn put(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    read(server.client.put(server.url(path)).body(body.to_string())).await
}

async fn delete(server: &Server, path: &str) -> u16 {
    read(server.client.delete(server.url(path))).await.0
}

/// Of every item of a page, this member.
fn column(page: &Value, name: &str) -> Vec<Value> {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
    items.iter().map(|item| item[name].clone()).collect()
}

fn board(title: &str) -> Value {
    json!({
        "title": title, "tags": ["shop"], "folder": "Shop",
        "spec": {"panels": [{"id": "a", "title": "A", "viz": "line", "query": "| timechart"}], "kept": 1.5}
    })
}

#[tokio::test]
async fn who_asks_is_told_who_they_are() {
    let server = Server::closed().await;
    assert_eq!(read(server.get("/api/v1/whoami")).await.1["code"], "token_missing");
    let (_, token) = server.token("read,alerts:write");
    let (status, who) = read(server.get("/api/v1/whoami").bearer_auth(&token)).await;
    assert_eq!(status, 200);
    assert_eq!(who["principal"], "test read,alerts:write");
    assert_eq!((&who["kind"], &who["scopes"]), (&json!("token"), &json!(["read", "alerts:write"])));
    assert_eq!(
        (&who["tenant"], &who["all_tenants"], &who["auth_enabled"]),
        (&json!("default"), &json!(false), &json!(true))
    );
    let other = server.get("/api/v1/whoami").bearer_auth(&token).header("x-scope-orgid", "other");
    assert_eq!(read(other).await.1["code"], "tenant_denied");

    let server = Server::open().await;
    let who = read(server.get("/api/v1/whoami").header("x-scope-orgid", "acme")).await.1;
    assert_eq!((&who["principal"], &who["tenant"]), (&json!("loopback"), &json!("acme")));
    assert_eq!((&who["all_tenants"], &who["auth_enabled"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn a_dashboard_is_kept_changed_by_revision_and_deleted() {
    let server = Server::open().await;
    let (status, made) = post(&server, "/api/v1/dashboards", &board("Shop")).await;
    assert_eq!((status, &made["revision"], &made["panels"]), (201, &json!(1), &json!(1)), "{made}");
    assert_eq!(made["spec"], board("Shop")["spec"], "kept as it came");
    let path = format!("/api/v1/dashboards/{}", made["id"].as_str().unwrap());
    assert_eq!(server.json(&path).await, made);

    let mut change = board("Shop and more");
    assert_eq!(put(&server, &path, &change).await.1["errors"][0]["field"], "revision");
    change["revision"] = json!(1);
    let (status, changed) = put(&server, &path, &change).await;
    assert_eq!((status, &changed["revision"], &changed["title"]), (200, &json!(2), &json!("Shop and more")));
    assert_eq!(changed["created_at"], made["created_at"]);
    let (status, problem) = put(&server, &path, &change).await;
    assert_eq!(
        (status, &problem["code"], &problem["revision"]),
        (409, &json!("revision_conflict"), &json!(2))
    );

    let foreign = server.get(&path).header("x-scope-orgid", "other");
    assert_eq!(read(foreign).await.1["code"], "not_found", "another tenant's");
    let foreign = server.client.delete(server.url(&path)).header("x-scope-orgid", "other");
    assert_eq!(read(foreign).await.0, 404);

    assert_eq!(delete(&server, &path).await, 204);
    assert_eq!(delete(&server, &path).await, 404);
    let audit = server.json("/api/v1/audit").await;
    let lines: Vec<_> = column(&audit, "action").into_iter().zip(column(&audit, "outcome")).collect();
    let line = |action: &str, outcome: &str| (json!(action), json!(outcome));
    let expected = [
        line("dashboard.delete", "done"),
        line("dashboard.change", "failed"),
        line("dashboard.change", "done"),
        line("dashboard.add", "done"),
    ];
    assert_eq!(lines, expected, "what is not there leaves no line");
}

#[tokio::test]
async fn dashboards_are_listed_with_the_built_in_ones_last() {
    let server = Server::open().await;
    for title in ["One", "Two"] {
        post(&server, "/api/v1/dashboards", &board(title)).await;
    }
    let all = server.json("/api/v1/dashboards").await;
    assert_eq!(column(&all, "built_in"), [false, false, true, true]);
    assert_eq!(column(&all, "title")[..2], ["Two", "One"]);
    assert!(all["items"][0].get("spec").is_none());
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.json(&format!("/api/v1/dashboards?limit=1&cursor={cursor}")).await;
        walked.extend(column(&page, "id"));
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(walked, column(&all, "id"));
    for (filter, count) in [("text=tWO", 1), ("tag=shop", 2), ("folder=Shop&text=one", 1), ("tag=sho", 0)] {
        let page = server.json(&format!("/api/v1/dashboards?{filter}")).await;
        assert_eq!(column(&page, "id").len(), count, "{filter}");
    }
}

/// A panel's query with its variables at their defaults, as the app fills them in.
fn filled_in(query: &str, is_sql: bool) -> String {
    let query = query.replace("$objective", "99.95").replace("$slow_ms", "200");
    if is_sql {
        query.replace("service in ($service)", "true").replace("$__bucket", "interval '5 minutes'")
    } else {
        query.replace("$__bucket", "5m").replace("$service", "*")
    }
}

#[tokio::test]
async fn built_in_dashboards_can_be_copied_not_changed_and_their_queries_run() {
    let server = Server::open().await;
    for id in ["executive-dashboard", "sla-metrics"] {
        let path = format!("/api/v1/dashboards/{id}");
        let board = server.json(&path).await;
        assert_eq!((&board["built_in"], &board["created_by"]), (&json!(true), &json!("heimdall")), "{board}");
        assert_eq!(put(&server, &path, &json!({"revision": 1})).await.1["code"], "built_in");
        assert_eq!(delete(&server, &path).await, 409);
        let copy = json!({"title": board["title"], "spec": board["spec"]});
        assert_eq!(post(&server, "/api/v1/dashboards", &copy).await.0, 201);
        let panels = board["spec"]["panels"].as_array().unwrap();
        assert!(panels.len() >= 8, "{id} has {} panels", panels.len());
        for panel in panels.iter().filter(|panel| panel["viz"] != "text") {
            let query = filled_in(panel["query"].as_str().unwrap(), panel["language"] == "sql");
            let ask = json!({"query": query, "language": panel["language"], "from": "now-6h", "to": "now"});
            let (status, answer) = post(&server, "/api/v1/query", &ask).await;
            assert_eq!(status, 200, "{id} {}: {answer}", panel["id"]);
        }
        // Places of narrower windows follow from those of the widest.
        assert_eq!(board["spec"]["layouts"]["lg"].as_array().unwrap().len(), panels.len(), "{id}");
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_by_the_field() {
    let server = Server::open().await;
    let with = |change: Value| {
        let mut request = board("A");
        request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        request
    };
    let large = json!({"panels": [], "x": "x".repeat(256 * 1024)});
    for (path, body, field) in [
        ("dashboards", with(json!({"title": " "})), "title"),
        ("dashboards", with(json!({"title": "x".repeat(201)})), "title"),
        ("dashboards", with(json!({"titel": "x"})), "titel"),
        ("dashboards", with(json!({"tags": ["a", 5]})), "tags[1]"),
        ("dashboards", with(json!({"revision": 3})), "revision"),
        ("dashboards", with(json!({"spec": {}})), "spec.panels"),
        ("dashboards", with(json!({"spec": large})), "spec"),
        ("saved-queries", json!({"query": "a"}), "name"),
        ("saved-queries", json!({"name": "a", "language": "perl"}), "language"),
        ("saved-queries", json!({"name": "a", "from": "then"}), "from"),
        ("saved-queries", json!({"name": "a", "view": {"x": "x".repeat(17_000)}}), "view"),
        ("annotations", json!({"kind": "deployment"}), "text"),
        ("annotations", json!({"kind": "party", "text": "a"}), "kind"),
        ("annotations", json!({"kind": "incident", "text": "a", "at": "now", "until": "now-1h"}), "until"),
        ("annotations", json!({"kind": "incident", "text": "a", "at": "now-60d", "until": "now"}), "until"),
        ("annotations", json!({"kind": "incident", "text": "a", "sharing": "all"}), "sharing"),
    ] {
        let (status, problem) = post(&server, &format!("/api/v1/{path}"), &body).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_document")), "{problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    let huge = json!({"title": "x".repeat(400_000)});
    assert_eq!(post(&server, "/api/v1/dashboards", &huge).await.1["code"], "body_too_large");
    assert_eq!(server.json("/api/v1/annotations?kind=party").await["errors"][0]["field"], "kind");
    assert_eq!(server.json("/api/v1/dashboards?cursor=x").await["errors"][0]["field"], "cursor");
}

#[tokio::test]
async fn a_query_is_kept_as_it_was_written() {
    let server = Server::open().await;
    let query = json!({
        "name": "Errors", "query": "level>=error | top 10 service", "from": "now-1h", "to": "now",
        "view": {"viz": "top"}
    });
    let (status, made) = post(&server, "/api/v1/saved-queries", &query).await;
    assert_eq!(
        (status, &made["language"], &made["from"]),
        (201, &json!("search"), &json!("now-1h")),
        "{made}"
    );
    let path = format!("/api/v1/saved-queries/{}", made["id"].as_str().unwrap());
    assert_eq!(server.json(&path).await, made);
    assert_eq!(column(&server.json("/api/v1/saved-queries?text=TOP").await, "name"), ["Errors"]);
    assert!(column(&server.json("/api/v1/saved-queries?text=nothing").await, "name").is_empty());
    let change = json!({"revision": 1, "name": "All", "query": "select 1", "language": "sql"});
    assert_eq!(put(&server, &path, &change).await.1["language"], "sql");
    assert_eq!(put(&server, &path, &change).await.1["code"], "revision_conflict");
    assert_eq!(delete(&server, &path).await, 204);
}

#[tokio::test]
async fn annotations_are_found_where_they_reach_into() {
    let server = Server::open().await;
    for annotation in [
        json!({"kind": "deployment", "text": "v1", "at": "now-3h", "service": "payment", "tags": ["v1"]}),
        json!({"kind": "incident", "text": "slow", "at": "now-10h", "until": "now-2h"}),
        json!({"kind": "investigation", "text": "old", "at": "now-20h", "service": "checkout"}),
    ] {
        let (status, made) = post(&server, "/api/v1/annotations", &annotation).await;
        assert_eq!(
            (status, &made["by"], &made["sharing"], &made["own"]),
            (201, &json!("loopback"), &json!("team"), &json!(true))
        );
    }
    for (filter, texts) in [
        ("", &["v1", "slow", "old"][..]),
        ("from=now-4h&to=now", &["v1", "slow"]),
        ("from=now-9h&to=now-8h", &["slow"]),
        ("from=now-1h", &[]),
        ("to=now-15h", &["old"]),
        ("kind=deployment,investigation", &["v1", "old"]),
        ("service=payment", &["v1", "slow"]),
    ] {
        let page = server.json(&format!("/api/v1/annotations?{filter}")).await;
        assert_eq!(column(&page, "text"), texts, "{filter}");
    }
    let first = server.json("/api/v1/annotations?limit=2").await;
    let second =
        server.json(&format!("/api/v1/annotations?limit=2&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!(
        (column(&first, "text").len(), column(&second, "text"), &second["next"]),
        (2, vec![json!("old")], &Value::Null)
    );

    let path = format!("/api/v1/annotations/{}", first["items"][0]["id"].as_str().unwrap());
    let moved = json!({"revision": 1, "kind": "deployment", "text": "v1 again", "at": "now-30h"});
    assert_eq!(put(&server, &path, &moved).await.0, 200);
    assert_eq!(column(&server.json("/api/v1/annotations").await, "text"), ["slow", "old", "v1 again"]);
    assert_eq!(delete(&server, &path).await, 204);
}

#[tokio::test]
async fn a_public_annotation_is_read_by_all_and_written_by_who_speaks_for_all() {
    let server = Server::open().await;
    let public = json!({"kind": "deployment", "text": "the network", "sharing": "public"});
    let (status, made) = post(&server, "/api/v1/annotations", &public).await;
    assert_eq!(status, 201, "{made}");
    post(&server, "/api/v1/annotations", &json!({"kind": "incident", "text": "ours"})).await;
    let seen = read(server.get("/api/v1/annotations").header("x-scope-orgid", "other")).await.1;
    assert_eq!(
        (column(&seen, "text"), column(&seen, "own")),
        (vec![json!("the network")], vec![json!(false)])
    );
    let path = format!("/api/v1/annotations/{}", made["id"].as_str().unwrap());
    let foreign = server.client.delete(server.url(&path)).header("x-scope-orgid", "other");
    assert_eq!(read(foreign).await.0, 404);

    let (_, bound) = server.token("alerts:write");
    let denied = server.post("/api/v1/annotations", public.to_string()).bearer_auth(&bound);
    let (status, problem) = read(denied).await;
    assert_eq!((status, &problem["code"]), (403, &json!("tenant_denied")));
}
