//! A real Prometheus reads `/metrics`.

use std::net::SocketAddr;

use heimdall_testkit::{Tool, http, skip, wait_for};
use serde_json::Value;
use tempfile::tempdir;

use crate::{alert_about, free_port, report_brute_force, server};

/// The value of an instant query, once Prometheus has one.
fn value(prometheus: SocketAddr, query: &str) -> Option<f64> {
    let path = format!("/api/v1/query?query={query}");
    let answer = http::try_request(prometheus, "GET", &path, &[], b"").ok()?;
    let answer: Value = serde_json::from_slice(&answer.body).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn prometheus_scrapes_the_metrics() {
    let Some(tool) = Tool::find("prometheus") else { skip!("prometheus is not installed") };
    let server = server().start();
    report_brute_force(&server, "203.0.113.5");
    alert_about(&server, "203.0.113.5");
    let dir = tempdir().expect("a folder");
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: heimdall\n    \
         static_configs:\n      - targets: ['{}']\n",
        server.http()
    );
    let file = dir.path().join("prometheus.yml");
    std::fs::write(&file, config).expect("a file");
    let address = free_port();
    let mut prometheus = tool
        .command()
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .start();
    // The connection is refused until it listens.
    prometheus.wait_for("prometheus to listen", |_| std::net::TcpStream::connect(address).ok());
    let wanted = |query: &str, least: f64| {
        wait_for(&format!("{query} >= {least}"), || value(address, query).filter(|value| *value >= least));
    };
    wanted("up", 1.0);
    wanted("sum(events_processed_total)", 1.0);
    wanted("sum(alerts_raised_total)", 1.0);
    wanted("count({__name__=~\".%2B_bucket\",job=\"heimdall\"})", 1.0);
    let _ = prometheus.terminate();
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let Some(tool) = Tool::find("promtool") else { skip!("promtool is not installed") };
    let server = server().start();
    report_brute_force(&server, "203.0.113.5");
    alert_about(&server, "203.0.113.5");
    let metrics = server.get("/metrics").text();
    for name in ["events_processed_total", "errors_total", "alerts", "journal_fsync", "processing", "queue"] {
        assert!(metrics.contains(name), "no `{name}` in:\n{metrics}");
    }
    let checked = tool.command().args(["check", "metrics"]).stdin(metrics).run();
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert_eq!((checked.code, said.as_str()), (Some(0), ""));
}
