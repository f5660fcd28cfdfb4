//! Spans wherever they can be asked for.

use serde_json::{Value, json};

use crate::harness::{Server, read};

const RANGE: &str = "from=2026-01-01T10:00:00Z&to=2026-01-01T10:30:00Z";
const TRACE: &str = "0000000000000000000000000000000a";

/// Calls of `web` to `shop`, every fourth of which fails, and of `shop` to a database that says nothing itself.
async fn with_spans() -> Server {
    let mut spans = Vec::new();
    for n in 0..40_u32 {
        let (trace, status) = (format!("{:032x}", n + 1), if n % 4 == 0 { "error" } else { "unset" });
        let id = |k: u32| format!("{:016x}", n * 10 + k);
        for (k, service, parent, kind, peer, name) in [
            (1, "web", Value::Null, "server", None, "GET /buy"),
            (2, "web", json!(id(1)), "client", Some("shop"), "POST"),
            (3, "shop", json!(id(2)), "server", None, "POST /orders"),
            (4, "shop", json!(id(3)), "client", Some("postgres"), "insert order"),
        ] {
            spans.push(json!({
                "timestamp": format!("2026-01-01T10:{:02}:00.{k:03}Z", n % 20), "service.name": service, "name": name,
                "traceId": trace, "spanId": id(k), "parentSpanId": parent, "kind": kind, "status": status,
                "duration_ms": 100 / k + n, "peer.service": peer, "host.name": format!("{service}-1"),
                "http.route": "/orders", "service.version": "2.0", "events": [{"name": "retry"}],
            }));
        }
    }
    let logs = json!([{
        "timestamp": "2026-01-01T10:09:00.002Z", "service": "shop", "level": "error", "message": "no stock",
        "trace_id": TRACE, "span_id": format!("{:016x}", 93),
    }]);
    let server = Server::open().await;
    let (status, receipt) = read(server.post("/api/v1/ingest/spans", json!(spans).to_string())).await;
    assert_eq!((status, &receipt["accepted"]), (200, &json!(160)), "{receipt}");
    assert_eq!(read(server.post("/api/v1/ingest/logs", logs.to_string())).await.0, 200);
    server.settled().await;
    server
}

#[tokio::test]
async fn spans_are_searched_and_described() {
    let server = with_spans().await;
    let rows = async |query: &str| {
        let body = json!({ "query": query, "from": "2026-01-01T10:00:00Z", "to": "2026-01-01T10:30:00Z" });
        read(server.post("/api/v1/query", body.to_string())).await.1["rows"].clone()
    };
    assert_eq!(rows("dataset:spans orders status:error | stats count()").await, json!([[10]]));
    assert_eq!(rows("dataset:spans http.route:\"/orders\" kind:server | stats count()").await, json!([[80]]));
    let sql = json!({
        "language": "sql",
        "query": "select s.name, l.message from spans s join logs l on s.trace_id = l.trace_id and s.span_id = l.span_id",
        "from": "2026-01-01T10:00:00Z", "to": "2026-01-01T10:30:00Z",
    });
    let (status, joined) = read(server.post("/api/v1/query", sql.to_string())).await;
    assert_eq!((status, &joined["rows"]), (200, &json!([["POST /orders", "no stock"]])), "{joined}");
    let fields = server.json("/api/v1/fields?dataset=spans").await;
    let named = |name: &str| fields["items"].as_array().unwrap().iter().any(|field| field["name"] == name);
    assert!(named("parent_span_id") && named("peer_service") && named("http.route"), "{fields}");
    let bad = read(server.post("/api/v1/ingest/spans", r#"[{"name":"no ids"}]"#)).await.1;
    assert_eq!(bad["rejected_total"], 1, "{bad}");
}

#[tokio::test]
async fn a_trace_has_its_spans_and_records() {
    let server = with_spans().await;
    let trace = server.json(&format!("/api/v1/traces/{}", TRACE.to_uppercase())).await;
    assert_eq!(trace["services"], json!(["shop", "web"]));
    let names: Vec<_> =
        trace["spans"].as_array().unwrap().iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["GET /buy", "POST", "POST /orders", "insert order"]);
    let span = &trace["spans"][2];
    assert_eq!(
        (&span["parent_span_id"], &span["events"], &span["attributes"]["http.route"]),
        (&json!(format!("{:016x}", 92)), &json!([{"name": "retry"}]), &json!("/orders"))
    );
    assert_eq!(trace["records"][0]["message"], "no stock");
    assert_eq!((trace["duration_ms"].as_f64(), &trace["partial"]), (Some(109.0), &json!(false)));
    assert_eq!(read(server.get(&format!("/api/v1/traces/{}", "f".repeat(32)))).await.0, 404);
    assert_eq!(read(server.get("/api/v1/traces/xyz")).await.0, 400);
    assert_eq!(read(server.get(&format!("/api/v1/traces/{TRACE}?to=2025-01-01"))).await.0, 404);
    let other = server.get(&format!("/api/v1/traces/{TRACE}")).header("x-scope-orgid", "other");
    assert_eq!(read(other).await.0, 404, "of another tenant");
}

#[tokio::test]
async fn services_and_their_map_are_told_from_spans() {
    let server = with_spans().await;
    let list = server.json(&format!("/api/v1/services?{RANGE}")).await;
    let named = |name: &str| {
        list["items"].as_array().unwrap().iter().find(|item| item["service"] == name).unwrap().clone()
    };
    let (web, shop) = (named("web"), named("shop"));
    assert_eq!(
        (&web["spans"], &web["requests"], &web["failed_requests"]),
        (&json!(80), &json!(40), &json!(10))
    );
    assert_eq!(
        (&web["records"], &web["error_rate"], &web["state"]),
        (&json!(0), &json!(0.25), &json!("CRITICAL"))
    );
    assert_eq!((&web["hosts"], &web["versions"]), (&json!(["web-1"]), &json!(["2.0"])));
    assert!(web["p99_ms"].as_f64().unwrap() > 130.0 && shop["p99_ms"].as_f64().unwrap() < 80.0);
    assert_eq!(
        (&shop["records"], &shop["spans"], &shop["hosts"]),
        (&json!(1), &json!(80), &json!(["shop-1"]))
    );
    let map = server.json(&format!("/api/v1/services/map?{RANGE}")).await;
    let edges: Vec<_> = map["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| {
            (edge["source"].clone(), edge["target"].clone(), edge["requests"].clone(), edge["errors"].clone())
        })
        .collect();
    // One call of the shop failed by its log record alone.
    let edge = |source: &str, target: &str, errors| (json!(source), json!(target), json!(40), json!(errors));
    assert_eq!(edges, [edge("shop", "postgres", 10), edge("web", "shop", 11)], "{map}");
    assert_eq!((&map["spans_read"], &map["records_read"]), (&json!(160), &json!(161)));
    let nodes = map["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["service"] == "postgres" && node["error_rate"].is_null()), "{map}");
}

#[tokio::test]
async fn spans_are_counted_where_storage_is_shown() {
    let server = with_spans().await;
    let tenants = server.json("/api/v1/tenants").await;
    let tenant = &tenants["items"][0];
    assert_eq!(
        (&tenant["records"], &tenant["logs"], &tenant["spans"]),
        (&json!(161), &json!(1), &json!(160))
    );
    let storage = server.json("/api/v1/storage/summary").await;
    let of = |name: &str| {
        let datasets = storage["datasets"].as_array().unwrap();
        datasets.iter().find(|dataset| dataset["dataset"] == name).unwrap()["records"].clone()
    };
    assert_eq!((of("logs"), of("metrics"), of("spans")), (json!(1), json!(0), json!(160)));
    assert_eq!(server.json("/metrics/summary").await["spans"]["total"], 160);
}
