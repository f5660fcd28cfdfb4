//! Questions out.

use std::time::Duration;

use heimdall_api::HttpLimits;
use serde_json::{Value, json};

use crate::harness::{Server, read};

const RECORDS: &str = r#"[
{"timestamp":"2026-01-01T10:00:00Z","service":"payment","level":"error","message":"connection refused by db-7","http":{"status":502},"tries":3},
{"timestamp":"2026-01-01T10:00:01Z","service":"payment","level":"info","message":"paid order 17"},
{"timestamp":"2026-01-01T10:00:02Z","service":"auth","level":"warn","message":"slow login of user 5"}]"#;

async fn with_records() -> Server {
    let server = Server::open().await;
    assert_eq!(read(server.post("/api/v1/ingest/logs", RECORDS)).await.0, 200);
    server.settled().await;
    server
}

#[tokio::test]
async fn a_search_line_gives_columns_rows_and_stats() {
    let server = with_records().await;
    let question = json!({ "query": "| stats count() by service | sort service" });
    let (status, answer) = read(server.post("/api/v1/query", question.to_string())).await;
    assert_eq!(status, 200, "{answer}");
    let names: Vec<_> = answer["columns"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names[0], "service");
    assert_eq!(answer["rows"], json!([["auth", 1], ["payment", 2]]));
    assert_eq!(answer["stats"]["partial"], false);

    let plan = server.json("/api/v1/query?query=service:payment&explain=true").await;
    assert!(plan["scans"].is_array(), "{plan}");

    let ndjson = server
        .get("/api/v1/query?query=service:payment%20level:error&from=2026-01-01T00:00:00Z")
        .header("accept", "application/x-ndjson")
        .send()
        .await
        .unwrap();
    assert_eq!(ndjson.headers()["content-type"], "application/x-ndjson");
    let text = ndjson.text().await.unwrap();
    let row: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(row["message"], "connection refused by db-7");
}

#[tokio::test]
async fn mistakes_in_questions_are_explained() {
    let server = with_records().await;
    let ask = |question: Value| server.post("/api/v1/query", question.to_string());
    let arrow = ask(json!({ "query": "a" })).header("accept", "image/png");
    for (request, status, code) in [
        (ask(json!({ "query": "(a" })), 400, "invalid_query"),
        (ask(json!({ "query": "a b", "language": "ask" })), 400, "not_understood"),
        (ask(json!({ "query": "a", "language": "cobol" })), 400, "invalid_parameter"),
        (ask(json!({ "query": "a", "from": "yesterdayish" })), 400, "invalid_parameter"),
        (ask(json!({ "query": "a", "limit": 0 })), 400, "invalid_parameter"),
        (ask(json!({ "question": "a" })), 422, "invalid_document"),
        (server.post("/api/v1/query", "{"), 400, "invalid_json"),
        (
            server.post("/api/v1/query", "{}").header("content-type", "text/csv"),
            415,
            "unsupported_media_type",
        ),
        (arrow, 406, "not_acceptable"),
    ] {
        let (found, problem) = read(request).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{problem}");
    }
    let problem = read(ask(json!({ "query": "a AND (b" }))).await.1;
    assert!(problem["column"].as_u64().is_some_and(|column| column > 0), "{problem}");
}

#[tokio::test]
async fn a_query_whose_turn_does_not_come_is_told_when_to_return() {
    let limits =
        HttpLimits { queries_max: 0, query_wait: Duration::from_millis(10), ..HttpLimits::default() };
    let server = Server::start(false, limits).await;
    let response = server.get("/api/v1/query?query=a").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "2"));
}

#[tokio::test]
async fn logs_fields_templates_and_suggestions_tell_what_there_is() {
    let server = with_records().await;
    let errors = server.json("/logs?level=warn&service=payment").await;
    assert_eq!(errors.as_array().unwrap().len(), 1);
    assert_eq!(errors[0]["message"], "connection refused by db-7");
    let found = server.json("/logs?q=slow%20login").await;
    assert_eq!(found[0]["service"], "auth");
    assert!(found[0]["template"].as_str().unwrap().contains("login"), "{found}");

    let fields = server.json("/api/v1/fields").await;
    let named = |name: &str| fields["items"].as_array().unwrap().iter().find(|field| field["name"] == name);
    assert_eq!(named("service").unwrap()["kind"], "schema");
    assert_eq!(named("tries").unwrap()["count"], 1);

    let page = server.json("/api/v1/templates?limit=2").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let next = page["next"].as_str().unwrap();
    let rest = server.json(&format!("/api/v1/templates?limit=2&cursor={next}")).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));

    let suggestions = server.json("/api/v1/suggest?line=tri").await;
    assert_eq!(suggestions["items"][0]["text"], "tries");
}

#[tokio::test]
async fn the_summary_counts_records_alerts_and_services() {
    let server = with_records().await;
    server.raise("203.0.113.5", 1);
    let summary = server.json("/metrics/summary").await;
    assert_eq!(summary["logs"]["total"], 3);
    assert_eq!(summary["alerts"]["by_status"]["OPEN"], 1);
    assert_eq!(summary["alerts"]["by_status"]["SUPPRESSED"], 0);
    assert_eq!(summary["alerts"]["by_severity"]["CRITICAL"], 1);
    assert_eq!(summary["services"][0]["service"], "web-firewall");
    assert_eq!(summary["services"][0]["state"], "CRITICAL");
    let other = read(server.get("/metrics/summary").header("x-scope-orgid", "other")).await.1;
    assert_eq!((&other["logs"]["total"], &other["alerts"]["total"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn alerts_go_through_their_life_and_are_audited() {
    let server = Server::open().await;
    server.raise("203.0.113.5", 1);
    server.raise("203.0.113.6", 2);
    let alerts = server.json("/alerts?limit=1").await;
    assert_eq!(alerts.as_array().unwrap().len(), 1);
    assert_eq!(alerts[0]["entity"]["value"], "203.0.113.6", "newest first");
    let id = alerts[0]["id"].as_str().unwrap();

    let (status, alert) = read(server.post(&format!("/alerts/{id}/acknowledge"), r#"{"note":"mine"}"#)).await;
    assert_eq!((status, &alert["status"]), (200, &json!("ACKNOWLEDGED")));
    assert_eq!(alert["history"][1]["note"], "mine");
    let (status, alert) = read(server.post(&format!("/api/v1/alerts/{id}/resolve"), "")).await;
    assert_eq!((status, &alert["status"]), (200, &json!("RESOLVED")));
    let (status, problem) = read(server.post(&format!("/alerts/{id}/suppress"), "")).await;
    assert_eq!((status, &problem["code"]), (409, &json!("alert_step_conflict")));
    assert_eq!(read(server.post(&format!("/alerts/{id}/explode"), "")).await.0, 404);
    let nobody = "00000000-0000-7000-8000-000000000000";
    assert_eq!(read(server.post(&format!("/alerts/{nobody}/suppress"), "")).await.0, 404);

    let open = server.json("/api/v1/alerts?status=open").await;
    assert_eq!(open["items"].as_array().unwrap().len(), 1);
    let page = server.json("/api/v1/alerts?limit=1").await;
    let next = page["next"].as_str().unwrap();
    let rest = server.json(&format!("/api/v1/alerts?limit=1&cursor={next}")).await;
    assert_eq!(rest["items"][0]["entity"]["value"], "203.0.113.5");
    assert_eq!(server.json(&format!("/api/v1/alerts/{id}")).await["status"], "RESOLVED");

    let audit = server.json("/api/v1/audit?action=alert.acknowledge").await;
    assert_eq!(audit["items"][0]["target"], id);
    assert_eq!(audit["items"][0]["principal"], "loopback");
}

#[tokio::test]
async fn sql_reads_the_tables_of_the_tenant_and_nothing_else() {
    let server = with_records().await;
    let ask = |sql: &str| json!({"language": "sql", "query": sql}).to_string();
    let (status, answer) = read(server.post("/api/v1/query", ask(
        "select service, count(*) as n from logs where level is not null group by service order by service",
    )).header("content-type", "application/json")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["columns"], json!([{"name": "service", "type": "text"}, {"name": "n", "type": "int"}]));
    assert!(answer["rows"].as_array().unwrap().iter().any(|row| row == &json!(["payment", 2])), "{answer}");
    assert_eq!(answer["stats"]["strategy"], "sql");

    server.raise("203.0.113.5", 1);
    let (_, alerts) = read(
        server
            .post("/api/v1/query", ask("select entity, status from alerts"))
            .header("content-type", "application/json"),
    )
    .await;
    assert_eq!(alerts["rows"], json!([["203.0.113.5", "OPEN"]]));
    let other =
        server.post("/api/v1/query", ask("select count(*) from logs")).header("x-scope-orgid", "other");
    assert_eq!(read(other.header("content-type", "application/json")).await.1["rows"], json!([[0]]));

    for (sql, code) in [
        ("delete from logs", "sql_not_read_only"),
        ("select 1; select 2", "sql_not_read_only"),
        ("selec 1", "invalid_sql"),
        ("select hots from logs", "invalid_sql"),
        ("select * from '/etc/passwd'", "invalid_sql"),
    ] {
        let (status, problem) =
            read(server.post("/api/v1/query", ask(sql)).header("content-type", "application/json")).await;
        assert_eq!((status, &problem["code"]), (400, &json!(code)), "{sql}: {problem}");
    }
    let plan = json!({"language": "sql", "query": "select count(*) from logs", "explain": true}).to_string();
    let plan = read(server.post("/api/v1/query", plan).header("content-type", "application/json")).await.1;
    assert!(plan["physical"].as_str().unwrap().contains("StatsExec"), "{plan}");

    let csv =
        server.get("/api/v1/query?query=level:warn%20|%20fields%20service").header("accept", "text/csv");
    assert_eq!(csv.send().await.unwrap().text().await.unwrap(), "service\nauth\n");
    let arrow = server
        .get("/api/v1/query?language=sql&query=select%201")
        .header("accept", "application/vnd.apache.arrow.stream");
    let response = arrow.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/vnd.apache.arrow.stream");
    assert_eq!(&response.bytes().await.unwrap()[..4], [0xff; 4]);
}

#[tokio::test]
async fn records_are_erased_after_they_were_looked_at_and_the_trail_says_so() {
    let server = with_records().await;
    let erase = |body: Value| read(server.post("/api/v1/erase", body.to_string()));
    for (filter, code) in [("", "invalid_erase_request"), ("auth | top 3 service", "invalid_erase_request")] {
        let (status, problem) = erase(json!({ "filter": filter })).await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{problem}");
    }
    let (_, looked) = erase(json!({ "filter": "service:payment" })).await;
    assert_eq!((&looked["dry_run"], &looked["in_memory"]), (&json!(true), &json!(2)), "{looked}");
    let (status, done) = erase(json!({ "filter": "service:payment", "dry_run": false })).await;
    assert_eq!((status, &done["erased"], &done["remaining"]), (200, &json!(2), &json!(0)), "{done}");
    let (_, again) = erase(json!({ "filter": "service:payment" })).await;
    assert_eq!((&again["erased"], &again["in_memory"]), (&json!(0), &json!(0)), "{again}");
    let trail = server.json("/api/v1/audit?action=records.erase").await;
    assert_eq!(trail["items"].as_array().unwrap().len(), 1, "{trail}");
    assert_eq!(trail["items"][0]["target"], "service:payment");
    let listed = server.json("/api/v1/storage").await;
    assert_eq!(
        (&listed["items"][0]["rows"], &listed["items"][0]["tier"]),
        (&json!(1), &json!("hot")),
        "{listed}"
    );
}

#[tokio::test]
async fn an_answer_can_come_while_it_is_found() {
    let server = with_records().await;
    let ask = |query: &str| server.post("/api/v1/query", json!({"query": query, "stream": true}).to_string());
    let lines =
        |text: String| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    let response = ask("service:payment | fields message").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let found = lines(response.text().await.unwrap());
    let rows: Vec<&Value> = found.iter().filter_map(|line| line["rows"].as_array()).flatten().collect();
    assert_eq!(rows, [&json!(["paid order 17"]), &json!(["connection refused by db-7"])], "{found:?}");
    assert_eq!(found[0]["columns"][0]["name"], "message");
    assert_eq!(found.last().unwrap()["stats"]["partial"], false);
    let counted = lines(ask("| stats count()").send().await.unwrap().text().await.unwrap());
    assert!(counted.iter().any(|line| line["rows"] == json!([[3]])), "{counted:?}");
    let late =
        json!({"query": "| stats max(tries) by message", "stream": true, "timeout": "1ms"}).to_string();
    let ended = lines(server.post("/api/v1/query", late).send().await.unwrap().text().await.unwrap());
    let last = ended.last().unwrap();
    assert!(last["stats"].is_object() || last["problem"]["code"] == "query_timeout", "{last}");
}
