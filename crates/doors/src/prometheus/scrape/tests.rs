use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::get;
use heimdall_detect::Period;
use serde_json::Value;

use super::*;
use crate::testing::{TestShared, shared};

/// Serves `routes` on a free port.
async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

fn job(address: &str) -> ScrapeConfig {
    ScrapeConfig {
        job: "test".into(),
        targets: vec![address.to_owned()],
        interval: Period::seconds(1),
        timeout: Some(Period::seconds(1)),
        ..ScrapeConfig::default()
    }
}

/// Scrapes the first target of a job once, and returns what was kept and why it failed.
async fn scrape_once(test: &TestShared, config: &ScrapeConfig, count: usize) -> (Vec<Value>, Option<String>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let seats = Arc::new(Semaphore::new(1));
    let job = Job::new(config, &test.shared, &seats).expect("a job");
    let failure = job.scrape(&job.targets[0], &mut Arc::default()).await;
    (test.records(count), failure.map(|error| error.reason().to_owned()))
}

fn value(records: &[Value], name: &str) -> Option<f64> {
    records.iter().find(|record| record["name"] == name)?["value"].as_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_asked_and_said_to_be_up() {
    let routes = Router::new().route(
        "/metrics",
        get(async |headers: HeaderMap| {
            let accept = headers["accept"].to_str().expect("text").to_owned();
            assert!(accept.starts_with("application/openmetrics-text;version=1.0.0"), "{accept}");
            assert_eq!(headers["authorization"], "Bearer secret");
            let kind = [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")];
            (kind, "a{x=\"1\"} 1\nb 2 1700000000.5\n# EOF\n")
        }),
    );
    let test = shared();
    let token = test.path().join("token");
    std::fs::write(&token, "secret\n").expect("a file");
    let address = serve(routes).await;
    let config = ScrapeConfig { bearer_token_file: Some(token), ..job(&address) };
    let (records, failure) = scrape_once(&test, &config, 5).await;
    assert_eq!(failure, None);
    let found = ["a", "b", "up", "scrape_samples_scraped"].map(|name| value(&records, name));
    assert_eq!(found, [Some(1.0), Some(2.0), Some(1.0), Some(2.0)]);
    assert!(value(&records, "scrape_duration_seconds").is_some_and(|seconds| seconds > 0.0));
    assert_eq!(records[0]["service"], "test");
    assert_eq!(records[0]["labels"]["instance"], address);
    assert_eq!(records[1]["timestamp"], "2023-11-14T22:13:20.500000000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_is_down_and_says_why() {
    let sleepy = async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        "a 1"
    };
    let html = ([("content-type", "text/html")], "<html>");
    let routes = Router::new()
        .route("/gone", get(StatusCode::INTERNAL_SERVER_ERROR))
        .route("/sleepy", get(sleepy))
        .route("/html", get(async move || html))
        .route("/big", get(async || "x".repeat(5_000)))
        .route("/away", get(async || Redirect::temporary("http://127.0.0.2:1/metrics")))
        .route("/near", get(async || Redirect::temporary("/metrics")))
        .route("/metrics", get(async || "a 1\n".into_response()));
    let address = serve(routes).await;
    let test = shared();
    for (path, reason) in [
        ("/gone", Some("status")),
        ("/sleepy", Some("timeout")),
        ("/html", Some("content_type")),
        ("/big", Some("body")),
        ("/away", Some("status")),
        ("/near", None),
    ] {
        let config =
            ScrapeConfig { path: path.into(), body_bytes_max: heimdall_model::Size(4096), ..job(&address) };
        let (records, failure) = scrape_once(&test, &config, if reason.is_some() { 3 } else { 4 }).await;
        assert_eq!(failure.as_deref(), reason, "{path}");
        assert_eq!(value(&records, "up"), Some(if reason.is_some() { 0.0 } else { 1.0 }), "{path}");
    }
    let (records, failure) = scrape_once(&test, &job("127.0.0.1:1"), 3).await;
    assert_eq!((failure.as_deref(), value(&records, "up")), (Some("unreachable"), Some(0.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_not_down_when_there_is_no_room() {
    let test = crate::testing::shared_that_takes(4.0);
    let address = serve(Router::new().route("/metrics", get(async || "a 1\n"))).await;
    let (records, failure) = scrape_once(&test, &job(&address), 4).await;
    assert_eq!((failure, value(&records, "up")), (None, Some(1.0)));
    let (_, failure) = scrape_once(&test, &job(&address), 0).await;
    assert_eq!(failure.as_deref(), Some("busy"));
    assert!(test.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_a_file_are_watched_until_the_end() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let routes = Router::new()
        .route("/metrics", get(async || format!("asked {}\n", ASKED.fetch_add(1, Ordering::Relaxed))));
    let address = serve(routes).await;
    let test = shared();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = test.path().join("targets.json");
    let text = serde_json::json!([{"targets": [address], "labels": {"zone": "z", "__x": "y"}}]).to_string();
    std::fs::write(&file, text).expect("a file");
    let config = ScrapeConfig { targets: vec![], targets_file: Some(file), ..job("") };
    let door = open(&[config], &test.shared).expect("a door").expect("something to do");
    let running = tokio::spawn(door.run);
    let records = test.records(8);
    test.shared.shutdown.cancel();
    running.await.expect("it ends");
    assert_eq!(value(&records, "asked"), Some(0.0));
    assert_eq!(test.shippers(DOOR, 1), [format!("test/{address}")]);
    assert_eq!(records[0]["labels"]["zone"], "z");
    assert_eq!(records[0]["labels"].get("__x"), None);
    assert!(open(&[], &test.shared).expect("nothing").is_none());
}
