//! Looking around: pages, one record, services, their map, questions in plain words.

use serde_json::{Value, json};

use crate::harness::{Server, read};

/// Calls of `gateway` to `payment` and of `payment` to `db`, some of which fail.
fn traces() -> String {
    let mut records = Vec::new();
    for n in 0..40_u32 {
        let trace = format!("{:032x}", n + 1);
        let failed = n % 4 == 0;
        let (level, status) = if failed { ("error", 502) } else { ("info", 200) };
        let at = |ms: u32| format!("2026-01-01T10:{:02}:00.{ms:03}Z", n % 20);
        let span = |k: u32| format!("{:016x}", n * 10 + k);
        for (k, service, parent, message) in [
            (1, "gateway", Value::Null, format!("GET /pay/{n} answered")),
            (2, "payment", json!(span(1)), format!("paid order {n} of user u{n}")),
            (3, "db", json!(span(2)), format!("query took {n} ms")),
        ] {
            let is_failed = failed && k < 3;
            records.push(json!({
                "timestamp": at(k), "service": service, "message": message, "host": format!("{service}-1"),
                "level": if is_failed { level } else { "info" }, "trace_id": trace, "span_id": span(k),
                "parent_span_id": parent, "duration_ms": 10 * k + n, "user_id": format!("u{}", n % 5),
                "status": if is_failed { status } else { 200 }, "service.version": "1.2.3",
            }));
        }
    }
    Value::Array(records).to_string()
}

async fn with_traces() -> Server {
    let server = Server::open().await;
    assert_eq!(read(server.post("/api/v1/ingest/logs", traces())).await.0, 200);
    server.settled().await;
    server
}

const RANGE: &str = "from=2026-01-01T10:00:00Z&to=2026-01-01T10:30:00Z";

#[tokio::test]
async fn a_list_goes_on_where_its_page_ended() {
    let server = with_traces().await;
    let ask = |cursor: Value| json!({ "query": "| fields id, message", "from": "2026-01-01T10:00:00Z", "limit": 25, "cursor": cursor });
    let whole =
        server.json(&format!("/api/v1/query?query=%7C%20fields%20id,message&limit=1000&{RANGE}")).await;
    assert_eq!(whole["stats"]["next"], Value::Null);
    let (mut cursor, mut rows) = (Value::Null, Vec::new());
    for page in 0.. {
        let (status, answer) = read(server.post("/api/v1/query", ask(cursor.clone()).to_string())).await;
        assert_eq!(status, 200, "{answer}");
        rows.extend(answer["rows"].as_array().unwrap().clone());
        cursor = answer["stats"]["next"].clone();
        if page == 1 {
            // Newer than all: on no later page.
            let record = r#"[{"timestamp":"2026-01-01T11:00:00Z","service":"late","message":"came late"}]"#;
            assert_eq!(read(server.post("/api/v1/ingest/logs", record)).await.0, 200);
            server.settled().await;
        }
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(rows, *whole["rows"].as_array().unwrap());

    let first = read(server.post("/api/v1/query", ask(Value::Null).to_string())).await.1;
    let next = first["stats"]["next"].as_str().unwrap();
    let other =
        server.get(&format!("/api/v1/query?query=service:db&from=2026-01-01T10:00:00Z&cursor={next}"));
    let (status, problem) = read(other).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("invalid_parameter")), "{problem}");
    let csv = server
        .get(&format!("/api/v1/query?query=*&limit=2&{RANGE}"))
        .header("accept", "text/csv")
        .send()
        .await
        .unwrap();
    assert!(csv.headers().contains_key("heimdall-next"));
}

#[tokio::test]
async fn one_record_comes_with_its_variables_and_the_lines_around_it() {
    let server = with_traces().await;
    let found = server
        .json(&format!("/api/v1/query?query=service:payment%20%22order%207%22%20%7C%20fields%20id&{RANGE}"))
        .await;
    let id = found["rows"][0][0].as_str().unwrap();
    let detail = server.json(&format!("/api/v1/records/{id}?context=3")).await;
    assert_eq!(detail["record"]["id"], id);
    assert_eq!(detail["record"]["message"], "paid order 7 of user u7");
    assert_eq!(detail["record"]["attributes"]["status"], 200);
    let spans = detail["spans"].as_array().unwrap();
    assert!(!spans.is_empty(), "{detail}");
    let message: Vec<u16> = detail["record"]["message"].as_str().unwrap().encode_utf16().collect();
    for span in spans {
        let at = |end: &str| usize::try_from(span[end].as_u64().unwrap()).unwrap();
        assert_eq!(
            String::from_utf16_lossy(&message[at("start")..at("end")]),
            span["value"].as_str().unwrap()
        );
    }
    assert!(detail["template"]["text"].as_str().unwrap().contains("paid order <*>"), "{detail}");
    assert_eq!(detail["context"]["stream"]["service"], "payment");
    for side in ["before", "after"] {
        let lines = detail["context"][side].as_array().unwrap();
        assert_eq!(lines.len(), 3, "{side}");
        assert!(lines.iter().all(|line| line["service"] == "payment" && line["id"] != id));
        assert!(lines.is_sorted_by_key(|line| line["timestamp"].as_str().unwrap().to_owned()));
    }
    assert_eq!(read(server.get("/api/v1/records/01900000-0000-7000-8000-000000000001")).await.0, 404);
    assert_eq!(read(server.get("/api/v1/records/x")).await.0, 400);
    assert_eq!(read(server.get(&format!("/api/v1/records/{id}?context=501"))).await.0, 400);
    let other = server.get(&format!("/api/v1/records/{id}")).header("x-scope-orgid", "other");
    assert_eq!(read(other).await.0, 404, "of another tenant");
}

#[tokio::test]
async fn services_say_how_they_are_and_why() {
    let server = with_traces().await;
    server.raise("203.0.113.5", 1);
    let list = server.json(&format!("/api/v1/services?{RANGE}")).await;
    let named = |name: &str| {
        list["items"].as_array().unwrap().iter().find(|item| item["service"] == name).unwrap().clone()
    };
    let payment = named("payment");
    assert_eq!(
        (&payment["records"], &payment["errors"], &payment["state"]),
        (&json!(40), &json!(10), &json!("CRITICAL"))
    );
    assert_eq!(payment["why"][0]["kind"], "error_rate");
    assert_eq!((&payment["hosts"], &payment["versions"]), (&json!(["payment-1"]), &json!(["1.2.3"])));
    assert!(payment["first_seen"].as_str().unwrap() < payment["last_seen"].as_str().unwrap());
    assert!(payment["p50_ms"].as_f64().unwrap() < payment["p99_ms"].as_f64().unwrap());
    assert_eq!((&named("db")["state"], &named("db")["why"]), (&json!("NORMAL"), &json!([])));
    let firewall = named("web-firewall");
    assert_eq!((&firewall["open_alerts"], &firewall["state"]), (&json!(1), &json!("CRITICAL")));
    assert!(firewall["why"][0]["alert"].is_string() && firewall["records"] == 0);
    assert_eq!(read(server.get("/api/v1/services?from=now&to=now-1h")).await.0, 400);
}

#[tokio::test]
async fn the_map_shows_who_calls_whom_and_how_that_goes() {
    let server = with_traces().await;
    let map = server.json(&format!("/api/v1/services/map?{RANGE}")).await;
    let edges = map["edges"].as_array().unwrap();
    let calls: Vec<(&str, &str)> = edges
        .iter()
        .map(|edge| (edge["source"].as_str().unwrap(), edge["target"].as_str().unwrap()))
        .collect();
    assert_eq!(calls, [("gateway", "payment"), ("payment", "db")]);
    assert_eq!((&edges[0]["requests"], &edges[0]["errors"]), (&json!(40), &json!(10)));
    assert!((edges[0]["error_correlation"].as_f64().unwrap() - 1.0).abs() < 1e-9, "they fail together");
    assert_eq!(edges[1]["error_correlation"], Value::Null, "the database never fails");
    assert!(edges[0]["p95_ms"].as_f64().unwrap() > 50.0);
    assert_eq!((&map["traces_read"], &map["sampled"]), (&json!(40), &json!(false)));
    let few = server.json(&format!("/api/v1/services/map?records=30&{RANGE}")).await;
    assert_eq!((&few["sampled"], &few["records_read"]), (&json!(true), &json!(30)));
    assert_eq!(few["nodes"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn questions_in_plain_words_say_what_they_were_understood_as() {
    let server = with_traces().await;
    let ask = |question: &str| {
        let body = json!({ "query": question, "language": "ask", "zone": "Europe/Berlin" });
        server.post("/api/v1/query", body.to_string())
    };
    // 10:00 to 10:30 in UTC.
    let (status, answer) = read(ask("how many errors between 2026-01-01T11:00 and 2026-01-01T11:30")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["compiled"]["query"], "level>=error | stats count()");
    assert_eq!(answer["compiled"]["from"], "2026-01-01T10:00:00.000000000Z");
    assert_eq!(answer["rows"], json!([[20]]));
    assert_eq!(answer["compiled"]["because"][1]["words"], "errors");
    let (status, problem) = read(ask("errors frobnicated today")).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("not_understood")));
    assert_eq!(problem["unclear"], json!(["frobnicated"]));
    assert!(problem["suggestions"].as_array().is_some_and(|all| !all.is_empty()));
    let plan = read(server.post(
        "/api/v1/query",
        json!({ "query": "slowest requests", "language": "ask", "explain": true }).to_string(),
    ))
    .await
    .1;
    assert_eq!(
        (&plan["compiled"]["language"], &plan["cost"]["class"]),
        (&json!("search"), &json!("cheap")),
        "{plan}"
    );
    let zone = json!({ "query": "errors", "language": "ask", "zone": "Mars/Olympus" });
    assert_eq!(read(server.post("/api/v1/query", zone.to_string())).await.0, 400);
}

#[tokio::test]
async fn answers_come_as_parquet_and_explanations_with_their_cost() {
    let server = with_traces().await;
    let file = server
        .get(&format!("/api/v1/query?query=service:db&limit=10&{RANGE}"))
        .header("accept", "application/vnd.apache.parquet")
        .send()
        .await
        .unwrap();
    assert_eq!(file.headers()["content-type"], "application/vnd.apache.parquet");
    let bytes = file.bytes().await.unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let plan = server.json(&format!("/api/v1/query?query=service:db&explain=true&{RANGE}")).await;
    assert_eq!(plan["cost"]["class"], "cheap");
    assert!(plan["cost"]["why"].is_string() && plan["cost"]["cpu_ms"].is_number());
    let api = server.json("/openapi.json").await;
    for schema in
        ["RecordDetail", "ServiceList", "ServiceMap", "Answer", "AnswerStatistics", "Explain", "LogRecord"]
    {
        assert!(api["components"]["schemas"][schema].is_object(), "{schema}");
    }
}
