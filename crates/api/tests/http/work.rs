//! What people do with alerts, incidents and silences, and what they see of notifications and actions.

use serde_json::{Value, json};

use crate::harness::{Server, read};

async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    read(server.post(path, body.to_string())).await
}

async fn ids(server: &Server) -> Vec<String> {
    let page = server.json("/api/v1/alerts").await;
    let id = |alert: &Value| alert["id"].as_str().unwrap().to_owned();
    page["items"].as_array().unwrap().iter().map(id).collect()
}

async fn actions(server: &Server) -> Vec<String> {
    let audit = server.json("/api/v1/audit").await;
    let action = |line: &Value| line["action"].as_str().unwrap().to_owned();
    audit["items"].as_array().unwrap().iter().map(action).collect()
}

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().unwrap_or_else(|| panic!("{page}"))
}

#[tokio::test]
async fn an_alert_is_snoozed_assigned_commented_and_given_a_priority() {
    let server = Server::open().await;
    server.raise("10.0.0.1", 1);
    let id = &ids(&server).await[0];
    let path = |verb: &str| format!("/api/v1/alerts/{id}/{verb}");
    let (_, alert) = post(&server, &path("suppress"), &json!({"for": "2h", "note": "deploy"})).await;
    assert_eq!(alert["status"], "SUPPRESSED", "{alert}");
    assert!(alert["suppressed_until"].as_str().unwrap() > alert["raised_at"].as_str().unwrap());
    for (verb, body, field) in [
        ("suppress", json!({"until": "now-1h"}), "until"),
        ("suppress", json!({"for": "soon"}), "for"),
        ("acknowledge", json!({"for": "2h"}), "until"),
        ("comments", json!({"text": " "}), "text"),
        ("priority", json!({"priority": "P9"}), "priority"),
    ] {
        let (status, problem) = post(&server, &path(verb), &body).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (422, &json!(field)),
            "{verb} {body}: {problem}"
        );
    }
    assert_eq!(post(&server, &path("assign"), &json!({"assignee": "ann"})).await.1["assignee"], "ann");
    assert_eq!(post(&server, &path("priority"), &json!({"priority": "P3"})).await.1["priority"], "P3");
    let (_, alert) = post(&server, &path("comments"), &json!({"text": "looks like the scanner"})).await;
    assert_eq!(alert["comments"][0]["text"], "looks like the scanner");
    for query in [
        "assignee=ann",
        "text=SCANNER",
        "text=failed%20logins",
        "priority=P3",
        "filter=service=~web.*",
        "sort=worst",
    ] {
        let count = items(&server.json(&format!("/api/v1/alerts?{query}")).await).len();
        assert_eq!(count, usize::from(query != "text=SCANNER"), "{query}");
    }
    for query in ["assignee=nobody", "priority=P1", "filter=service!~web.*", "muted=true", "text=nothing"] {
        assert!(items(&server.json(&format!("/api/v1/alerts?{query}")).await).is_empty(), "{query}");
    }
    assert_eq!(server.json("/api/v1/alerts?sort=best").await["errors"][0]["field"], "sort");
    assert_eq!(post(&server, &path("assign"), &json!({"assignee": null})).await.1["assignee"], Value::Null);
    assert_eq!(
        actions(&server).await,
        ["alert.assign", "alert.comment", "alert.priority", "alert.assign", "alert.suppress"]
    );
}

#[tokio::test]
async fn many_alerts_are_stepped_at_once_and_what_does_not_fit_is_named() {
    let server = Server::open().await;
    (1..=4).for_each(|n| server.raise(&format!("10.0.0.{n}"), n));
    let all = ids(&server).await;
    let nowhere = "00000000-0000-7000-8000-000000000000";
    let body = json!({"ids": [all[0], nowhere], "step": "resolve", "note": "over"});
    let (status, done) = post(&server, "/api/v1/alerts/steps", &body).await;
    assert_eq!((status, &done["changed"]), (200, &json!(1)), "{done}");
    assert_eq!(
        (&done["failed"][0]["id"], &done["failed"][0]["code"]),
        (&json!(nowhere), &json!("not_found"))
    );
    let body =
        json!({"filter": {"status": "open", "filter": ["source_ip!=10.0.0.1"]}, "step": "acknowledge"});
    let (_, done) = post(&server, "/api/v1/alerts/steps", &body).await;
    assert_eq!((&done["changed"], &done["more"]), (&json!(2), &json!(false)), "{done}");
    assert_eq!(items(&server.json("/api/v1/alerts?status=acknowledged").await).len(), 2);
    for (body, field) in [
        (json!({"step": "resolve"}), "ids"),
        (json!({"ids": [], "filter": {}, "step": "resolve"}), "ids"),
        (json!({"ids": [], "step": "forget"}), "step"),
        (json!({"filter": {"filter": ["x"]}, "step": "resolve"}), "filter"),
    ] {
        let (status, problem) = post(&server, "/api/v1/alerts/steps", &body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{body}: {problem}");
    }
    let audit = server.json("/api/v1/audit?action=alert.acknowledge").await;
    assert_eq!(items(&audit)[0]["target"].as_str().unwrap().split(' ').count(), 2);
    let csv =
        server.get("/api/v1/alerts").header("accept", "text/csv").send().await.unwrap().text().await.unwrap();
    assert!(csv.starts_with("id,status,severity") && csv.lines().count() == 5, "{csv}");
}

#[tokio::test]
async fn an_incident_is_taken_resolved_and_reported() {
    let server = Server::open().await;
    server.raise("10.0.0.1", 1);
    server.raise("10.0.0.2", 2);
    let page = server.json("/api/v1/incidents").await;
    let incident = &items(&page)[0];
    assert_eq!((items(&page).len(), &incident["alert_count"]), (1, &json!(2)), "{page}");
    let number = incident["number"].as_u64().unwrap();
    let path = |rest: &str| format!("/api/v1/incidents/{number}{rest}");
    let detail = server.json(&path("")).await;
    assert_eq!((&detail["id"], detail["alerts"].as_array().map(Vec::len)), (&incident["id"], Some(2)));
    assert_eq!(items(&server.json(&format!("/api/v1/alerts?incident={number}")).await).len(), 2);

    assert_eq!(
        post(&server, &path("/acknowledge"), &json!({"note": "on it"})).await.1["status"],
        "ACKNOWLEDGED"
    );
    assert_eq!(items(&server.json("/api/v1/alerts?status=acknowledged").await).len(), 2);
    assert_eq!(post(&server, &path("/assign"), &json!({"owner": "ann"})).await.1["owner"], "ann");
    let (status, _) = post(&server, &path("/comments"), &json!({"text": "the edge blocks it now"})).await;
    assert_eq!(status, 200);
    let alert = detail["alerts"][0].as_str().unwrap();
    let link = |method| read(server.client.request(method, server.url(&path(&format!("/alerts/{alert}")))));
    assert_eq!(link(reqwest::Method::DELETE).await.1["alert_count"], 1);
    assert_eq!(link(reqwest::Method::PUT).await.1["alert_count"], 2);
    assert_eq!(post(&server, &path("/resolve"), &json!({"alerts": false})).await.1["status"], "RESOLVED");
    assert_eq!(items(&server.json("/api/v1/alerts?status=resolved").await).len(), 0);
    assert_eq!(post(&server, &path("/acknowledge"), &json!({})).await.1["code"], "incident_step_conflict");
    assert_eq!(post(&server, &path("/forget"), &json!({})).await.0, 404);

    let report = server.get(&path("/postmortem")).send().await.unwrap();
    assert_eq!(report.headers()["content-type"], "text/markdown; charset=utf-8");
    let report = report.text().await.unwrap();
    assert!(report.starts_with("# ") && report.contains("the edge blocks it now"), "{report}");
    let other = |path: &str| read(server.get(path).header("x-scope-orgid", "other"));
    for rest in ["", "/postmortem"] {
        let path = format!("/api/v1/incidents/{}{rest}", incident["id"].as_str().unwrap());
        assert_eq!(other(&path).await.0, 404, "{path}");
    }
    assert!(items(&other("/api/v1/incidents").await.1).is_empty());
    let done = actions(&server).await;
    for action in [
        "incident.resolve",
        "incident.add_alert",
        "incident.remove_alert",
        "incident.comment",
        "incident.assign",
        "incident.acknowledge",
    ] {
        assert!(done.iter().any(|known| known == action), "{action}: {done:?}");
    }
}

#[tokio::test]
async fn a_maintenance_window_recurs_and_what_cannot_be_is_named() {
    let server = Server::open().await;
    let window = json!({
        "kind": "maintenance", "matchers": ["service=payment"], "ends_at": "2100-01-01T00:00:00Z", "comment": "backups",
        "recurrence": {"weekdays": ["sunday"], "from": "02:00", "to": "04:00", "zone": "Europe/Berlin"},
    });
    let (status, made) = post(&server, "/api/v1/silences", &window).await;
    assert_eq!(
        (status, &made["kind"], &made["recurrence"]["from"]),
        (200, &json!("maintenance"), &json!("02:00")),
        "{made}"
    );
    assert_eq!(made["matchers"], json!([r#"service="payment""#]));
    let (_, short) = post(
        &server,
        "/api/v1/silences",
        &json!({"matchers": ["a=b"], "for": "2h", "comment": "x", "created_by": "bob"}),
    )
    .await;
    assert_eq!((&short["state"], &short["created_by"]), (&json!("active"), &json!("bob")), "{short}");
    let page = server.json("/api/v1/silences?limit=1").await;
    assert_eq!(items(&page)[0]["id"], short["id"], "those in force come first");
    let next = page["next"].as_str().unwrap();
    let rest = server.json(&format!("/api/v1/silences?limit=1&cursor={next}")).await;
    assert_eq!((&items(&rest)[0]["id"], &rest["next"]), (&made["id"], &Value::Null));
    assert_eq!(items(&server.json("/api/v1/silences?filter=service=payment").await).len(), 1);

    // An update through Alertmanager's API, which cannot say when it recurs, keeps it.
    let mut known = server.json(&format!("/api/v2/silence/{}", made["id"].as_str().unwrap())).await;
    known["comment"] = json!("nightly backups");
    let (status, updated) = post(&server, "/api/v2/silences", &known).await;
    assert_eq!(status, 200, "{updated}");
    let kept = server.json(&format!("/api/v1/silences/{}", updated["silenceID"].as_str().unwrap())).await;
    assert_eq!(
        (&kept["kind"], &kept["recurrence"]["zone"]),
        (&json!("maintenance"), &json!("Europe/Berlin"))
    );

    for (body, field) in [
        (json!({"matchers": ["x"], "for": "1h"}), "matchers"),
        (json!({"matchers": ["a=b"]}), "ends_at"),
        (json!({"matchers": ["a=b"], "for": "1h", "ends_at": "now+2h"}), "ends_at"),
        (json!({"matchers": ["a=b"], "for": "0s"}), "for"),
        (json!({"matchers": ["a=b"], "for": "1h", "kind": "nap"}), "kind"),
        (json!({"matchers": [], "for": "1h"}), "matchers"),
    ] {
        let (status, problem) = post(&server, "/api/v1/silences", &body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{body}: {problem}");
    }
    let expire =
        server.client.delete(server.url(&format!("/api/v1/silences/{}", short["id"].as_str().unwrap())));
    assert_eq!(read(expire).await.1["state"], "expired");
}

#[tokio::test]
async fn notifications_say_who_where_and_why() {
    let server = Server::open().await;
    server.raise("10.0.0.1", 1);
    let id = &ids(&server).await[0];
    let receivers = server.json("/api/v1/notifications/receivers").await;
    let name = items(&receivers)[0]["name"].as_str().unwrap().to_owned();
    let steps = server.json(&format!("/api/v1/notifications/routes?alert={id}")).await;
    assert!(
        items(&steps).iter().any(|step| step["is_taken"] == true && step["receiver"] == *name),
        "{steps}"
    );
    let (_, tested) = post(&server, "/api/v1/notifications/test", &json!({"receiver": name})).await;
    assert_eq!(items(&tested)[0]["error"], Value::Null, "{tested}");
    assert_eq!(post(&server, "/api/v1/notifications/test", &json!({"receiver": "x"})).await.0, 404);
    assert!(items(&server.json("/api/v1/notifications/oncall").await).is_empty());
    assert_eq!(read(server.get("/api/v1/notifications/oncall?schedule=x")).await.0, 404);
    assert_eq!(server.json("/api/v1/notifications?state=lost").await["errors"][0]["field"], "state");
    assert!(server.json("/api/v1/notifications").await["items"].is_array());
    assert!(server.json(&format!("/api/v1/alerts/{id}/decisions")).await["items"].is_array());
    let elsewhere = server.get(&format!("/api/v1/alerts/{id}/decisions")).header("x-scope-orgid", "other");
    assert_eq!(read(elsewhere).await.0, 404);
    assert_eq!(actions(&server).await, ["notification.test"]);
}

#[tokio::test]
async fn actions_are_planned_listed_and_stopped() {
    let server = Server::open().await;
    server.raise("10.0.0.1", 1);
    let id = &ids(&server).await[0];
    assert!(server.json(&format!("/api/v1/alerts/{id}/plan")).await["items"].is_array());
    for path in
        ["/api/v1/actions", "/api/v1/actions/playbooks", "/api/v1/actions/autonomy", "/api/v1/breakers"]
    {
        assert!(server.json(path).await["items"].is_array(), "{path}");
    }
    assert!(server.json("/api/v1/actions/status").await["mode"].is_string());
    assert_eq!(server.json("/api/v1/actions?state=lost").await["errors"][0]["field"], "state");
    let nowhere = "00000000-0000-7000-8000-000000000000";
    for verb in ["approve", "reject", "cancel"] {
        assert_eq!(
            post(&server, &format!("/api/v1/actions/{nowhere}/{verb}"), &json!({})).await.0,
            404,
            "{verb}"
        );
    }
    let breaker = server.get("/api/v1/breakers/payment").send().await.unwrap();
    assert_eq!((breaker.status().as_u16(), breaker.text().await.unwrap()), (200, "closed\n".to_owned()));

    let switch = |body: Value| {
        read(server.client.put(server.url("/api/v1/actions/kill-switch")).body(body.to_string()))
    };
    assert_eq!(server.json("/api/v1/actions/kill-switch").await["on"], false);
    assert_eq!(switch(json!({})).await.1["errors"][0]["field"], "on");
    let (_, on) = switch(json!({"on": true, "note": "odd restarts"})).await;
    assert_eq!((&on["on"], &on["note"]), (&json!(true), &json!("odd restarts")), "{on}");
    assert_eq!(switch(json!({"on": false})).await.1["on"], false);
    assert_eq!(actions(&server).await, ["action.kill_switch", "action.kill_switch"]);

    let closed = Server::closed().await;
    let (_, writer) = closed.token("alerts:write");
    let (_, admin) = closed.token("admin");
    let switch = |token: &str, on: bool| {
        let put = closed.client.put(closed.url("/api/v1/actions/kill-switch"));
        read(put.body(json!({"on": on}).to_string()).bearer_auth(token))
    };
    assert_eq!(switch(&writer, true).await.0, 200);
    assert_eq!(switch(&writer, false).await.1["code"], "scope_missing");
    // This admin is bound to one tenant, and the switch is everybody's.
    assert_eq!(switch(&admin, false).await.1["code"], "tenant_denied");
}
