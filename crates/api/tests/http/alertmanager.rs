//! The Alertmanager API v2 as its clients see it. Documents were compared with those of Alertmanager 0.25.0.

use heimdall_model::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::harness::{Server, read};

async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    read(server.post(path, body.to_string()).header("content-type", "application/json")).await
}

/// The answer to a client that reads nothing but JSON, as amtool is one.
async fn plain(request: reqwest::RequestBuilder) -> (u16, Value) {
    read(request.header("accept", "application/json")).await
}

fn disk_full() -> Value {
    json!([{
        "labels": {"alertname": "DiskFull", "node": "db1", "severity": "page"},
        "annotations": {"summary": "no space"},
        "generatorURL": "http://prometheus.example/graph",
    }])
}

fn silence(matchers: &Value) -> Value {
    json!({
        "matchers": matchers,
        "startsAt": "2020-01-01T00:00:00.000Z",
        "endsAt": "2100-01-01T00:00:00.000Z",
        "createdBy": "ann",
        "comment": "moving",
    })
}

/// The keys of an object, in the order of the alphabet.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn an_alert_is_posted_listed_silenced_and_over() {
    let server = Server::open().await;
    assert_eq!(post(&server, "/api/v2/alerts", &disk_full()).await.0, 200);
    let listed = server.json("/api/v2/alerts").await;
    let alert = &listed[0];
    assert_eq!(
        keys(alert),
        [
            "annotations",
            "endsAt",
            "fingerprint",
            "generatorURL",
            "labels",
            "receivers",
            "startsAt",
            "status",
            "updatedAt"
        ]
    );
    assert_eq!(alert["labels"], disk_full()[0]["labels"]);
    assert_eq!(alert["annotations"], disk_full()[0]["annotations"]);
    let active = json!({"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []});
    assert_eq!(alert["status"], active);
    assert!(alert["endsAt"].as_str().unwrap() > alert["startsAt"].as_str().unwrap());
    assert_eq!(alert["startsAt"].as_str().unwrap().len(), "2026-11-27T12:00:00.123Z".len());

    // Repeating it is no new alert, and Heimdall has it as one of its own.
    assert_eq!(post(&server, "/api/v2/alerts", &disk_full()).await.0, 200);
    let page = server.json("/api/v1/alerts?filter=node=db1").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&page["items"][0]["rule"], &page["items"][0]["severity"]),
        (&json!("DiskFull"), &json!("CRITICAL"))
    );

    let matchers = json!([{"name": "node", "value": "db.*", "isRegex": true, "isEqual": true}]);
    let (status, made) = post(&server, "/api/v2/silences", &silence(&matchers)).await;
    assert_eq!(status, 200, "{made}");
    let id = made["silenceID"].as_str().unwrap();
    server.tick();
    let listed = server.json("/api/v2/alerts").await;
    assert_eq!(listed[0]["status"]["silencedBy"], json!([id]), "{listed}");
    assert_eq!(listed[0]["status"]["state"], "suppressed");
    for (query, count) in [
        ("silenced=false", 0),
        ("active=false", 1),
        ("inhibited=false", 1),
        ("filter=node%3D%22db1%22&filter=alertname%3D~%22Disk.*%22", 1),
        ("filter=node%21%3Ddb1", 0),
        ("receiver=nobody.*", 0),
        ("unprocessed=false", 1),
    ] {
        let listed = server.json(&format!("/api/v2/alerts?{query}")).await;
        assert_eq!(listed.as_array().map(Vec::len), Some(count), "{query}: {listed}");
    }

    let now = SystemClock.now().to_string();
    let over = json!([{"labels": disk_full()[0]["labels"], "startsAt": alert["startsAt"], "endsAt": now}]);
    assert_eq!(post(&server, "/api/v2/alerts", &over).await.0, 200);
    assert_eq!(server.json("/api/v2/alerts").await, json!([]));
    assert_eq!(server.json("/api/v1/alerts").await["items"][0]["status"], "RESOLVED");
}

#[tokio::test]
async fn silences_are_listed_changed_and_ended_as_in_alertmanager() {
    let server = Server::open().await;
    let matchers = json!([
        {"name": "alertname", "value": "x", "isRegex": false},
        {"name": "node", "value": "b.*", "isRegex": true, "isEqual": false},
    ]);
    let (_, made) = post(&server, "/api/v2/silences", &silence(&matchers)).await;
    let id = made["silenceID"].as_str().unwrap().to_owned();
    let one = server.json(&format!("/api/v2/silence/{id}")).await;
    assert_eq!(
        keys(&one),
        ["comment", "createdBy", "endsAt", "id", "matchers", "startsAt", "status", "updatedAt"]
    );
    assert_eq!(
        one["matchers"][0],
        json!({"isEqual": true, "isRegex": false, "name": "alertname", "value": "x"})
    );
    assert_eq!(one["matchers"][1]["isEqual"], false);
    assert_eq!((&one["createdBy"], &one["status"]), (&json!("ann"), &json!({"state": "active"})));
    assert_eq!(one["endsAt"], "2100-01-01T00:00:00.000Z");

    // Another end is the same silence; other matchers are another one.
    let mut longer = one.clone();
    longer["endsAt"] = json!("2101-01-01T00:00:00.000Z");
    assert_eq!(post(&server, "/api/v2/silences", &longer).await.1["silenceID"], *id);
    let mut other = longer.clone();
    other["matchers"] = json!([{"name": "alertname", "value": "y", "isRegex": false}]);
    let (_, replaced) = post(&server, "/api/v2/silences", &other).await;
    assert_ne!(replaced["silenceID"], *id);
    let states: Vec<_> = server
        .json("/api/v2/silences")
        .await
        .as_array()
        .unwrap()
        .iter()
        .map(|silence| silence["status"]["state"].clone())
        .collect();
    assert_eq!(states, ["active", "expired"]);
    let filtered = server.json("/api/v2/silences?filter=alertname=y").await;
    assert_eq!(filtered.as_array().map(Vec::len), Some(1));

    let id = replaced["silenceID"].as_str().unwrap();
    let delete = server.client.delete(server.url(&format!("/api/v2/silence/{id}")));
    assert_eq!(read(delete).await.0, 200);
    assert_eq!(server.json(&format!("/api/v2/silence/{id}")).await["status"]["state"], "expired");
    let audit = server.json("/api/v1/audit").await;
    let actions: Vec<_> = audit["items"].as_array().unwrap().iter().map(|line| &line["action"]).collect();
    assert_eq!(actions, ["silence.expire", "silence.change", "silence.change", "silence.add"]);
}

#[tokio::test]
async fn groups_status_and_receivers_are_answered() {
    let server = Server::open().await;
    assert_eq!(post(&server, "/api/v2/alerts", &disk_full()).await.0, 200);
    let groups = server.json("/api/v2/alerts/groups").await;
    assert_eq!(keys(&groups[0]), ["alerts", "labels", "receiver"]);
    assert_eq!(groups[0]["alerts"][0]["labels"]["node"], "db1");
    assert_eq!(groups[0]["receiver"], server.json("/api/v2/receivers").await[0]);
    assert_eq!(server.json("/api/v2/alerts/groups?receiver=nobody").await, json!([]));
    let status = server.json("/api/v2/status").await;
    assert_eq!(keys(&status), ["cluster", "config", "uptime", "versionInfo"]);
    assert_eq!(status["cluster"], json!({"status": "disabled", "peers": []}));
    assert_eq!(status["versionInfo"]["version"], "0.25.0");
    assert!(status["config"]["original"].as_str().unwrap().starts_with("route:\n  receiver: "));
    assert_eq!(server.json("/alertmanager/api/v2/status").await, status);
    assert_eq!(server.json("/alertmanager/api/v2/alerts").await.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_cannot_be_is_named_and_clients_of_alertmanager_read_it() {
    let server = Server::open().await;
    let mixed = json!([{"labels": {}}, {"labels": {"alertname": "good"}}, {"labels": {"a-b": "c"}}]);
    let (status, problem) = post(&server, "/api/v2/alerts", &mixed).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_alerts")), "{problem}");
    let faults: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| &error["index"]).collect();
    assert_eq!(faults, [0, 2]);
    assert_eq!(server.json("/api/v2/alerts").await[0]["labels"], json!({"alertname": "good"}));

    let (status, said) = plain(server.get("/api/v2/alerts?filter=bad")).await;
    assert_eq!(status, 400);
    assert!(said.as_str().unwrap().contains("`bad` is not a matcher"), "{said}");
    assert_eq!(server.json("/api/v2/alerts?filter=bad").await["errors"][0]["field"], "filter");
    assert_eq!(server.json("/api/v2/alerts?active=maybe").await["errors"][0]["field"], "active");

    for (change, field) in [
        (json!({"matchers": []}), "matchers"),
        (json!({"endsAt": "2020-01-01T00:00:01.000Z"}), "ends_at"),
        (json!({"matchers": [{"name": "a", "value": "(", "isRegex": true}]}), "matchers"),
        (json!({"endsAt": "0001-01-01T00:00:00.000Z"}), "endsAt"),
    ] {
        let mut body = silence(&json!([{"name": "a", "value": "b", "isRegex": false}]));
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, problem) = post(&server, "/api/v2/silences", &body).await;
        assert!((400..500).contains(&status), "{body}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    let nowhere = "00000000-0000-7000-8000-000000000000";
    let mut unknown = silence(&json!([{"name": "a", "value": "b", "isRegex": false}]));
    unknown["id"] = json!(nowhere);
    assert_eq!(post(&server, "/api/v2/silences", &unknown).await.0, 404);
    assert_eq!(plain(server.get(&format!("/api/v2/silence/{nowhere}"))).await.0, 404);
    for path in ["/api/v1/alerts", "/alertmanager/api/v1/alerts"] {
        let (status, gone) = post(&server, path, &disk_full()).await;
        assert_eq!((status, &gone["code"]), (410, &json!("api_version_gone")), "{path}");
        assert!(gone["detail"].as_str().unwrap().contains("/api/v2/alerts"));
    }
}

#[tokio::test]
async fn tenants_do_not_see_each_other_and_scopes_hold() {
    let server = Server::open().await;
    assert_eq!(post(&server, "/api/v2/alerts", &disk_full()).await.0, 200);
    let (_, made) =
        post(&server, "/api/v2/silences", &silence(&json!([{"name": "a", "value": "b", "isRegex": false}])))
            .await;
    let id = made["silenceID"].as_str().unwrap();
    let other = |path: &str| read(server.get(path).header("x-scope-orgid", "other"));
    for path in ["/api/v2/alerts", "/api/v2/silences", "/api/v2/alerts/groups"] {
        assert_eq!(other(path).await, (200, json!([])), "{path}");
    }
    assert_eq!(other(&format!("/api/v2/silence/{id}")).await.0, 404);
    let delete = server.client.delete(server.url(&format!("/api/v2/silence/{id}")));
    assert_eq!(read(delete.header("x-scope-orgid", "other")).await.0, 404);
    assert_eq!(server.json(&format!("/api/v2/silence/{id}")).await["status"]["state"], "active");

    let closed = Server::closed().await;
    let (_, reader) = closed.token("read");
    let (_, writer) = closed.token("alerts:write");
    let send = |token: &str| {
        read(closed.post("/alertmanager/api/v2/alerts", disk_full().to_string()).bearer_auth(token))
    };
    assert_eq!(send(&reader).await.1["code"], "scope_missing");
    assert_eq!(send(&writer).await.0, 200);
    let refused = plain(closed.get("/api/v2/alerts")).await;
    assert!(refused.0 == 401 && refused.1.is_string(), "{refused:?}");
    assert_eq!(
        read(closed.get("/api/v2/alerts").bearer_auth(&reader)).await.1.as_array().map(Vec::len),
        Some(1)
    );
}
