//! Client libraries people use, driven by `ship.py`.

use heimdall_testkit::{Running, skip};

use crate::ground::{self, Ground, finish, free};

/// Times the server is killed while a shipper sends.
const KILLS: usize = 2;
/// A shipper takes at least so long.
const SENT_IN_SECONDS: usize = 2;

pub(crate) fn ship(ground: &Ground, client: &str, target: &str, more: &[&str]) -> Option<Running> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doors/ship.py");
    let command = ground::python()?.command().arg(script).arg(client);
    let count = ground.records.to_string();
    Some(
        command
            .args(["--target", target, "--count", &count, "--run", &ground.run])
            .args(more.iter().copied())
            .start(),
    )
}

/// Whether a record may be there twice after a retry.
#[derive(PartialEq)]
enum Promise {
    Once,
    AtLeastOnce,
}

fn check(mut ground: Ground, client: &str, target: &str, promise: &Promise) {
    // Slow enough to be killed in the middle.
    let rate = (ground.records / SENT_IN_SECONDS).to_string();
    let Some(mut shipper) = ship(&ground, client, target, &["--rate", &rate]) else {
        skip!("{client}: no Python with the shippers' libraries");
    };
    ground.kill(&mut shipper, KILLS);
    finish(shipper);
    let verdict = ground.verdict();
    assert_eq!(verdict["lost"], 0, "{client}");
    if *promise == Promise::Once {
        assert_eq!(verdict["doubled"], 0, "{client}");
    }
}

/// A door on the main HTTP listener.
fn http(client: &'static str, promise: &Promise) {
    let ground = Ground::new(client, &[]);
    let target = ground.server.http().to_string();
    check(ground, client, &target, promise);
}

/// A door of samples on the main HTTP listener.
fn http_samples(client: &'static str) {
    let ground = Ground::new(client, &[]).samples();
    let target = ground.server.http().to_string();
    check(ground, client, &target, &Promise::Once);
}

/// A door with an address of its own.
fn own(client: &'static str, setting: &str, promise: &Promise) {
    let address = free().to_string();
    let ground = Ground::new(client, &[(setting, address.clone())]);
    let ground = match client {
        "otlp_traces_grpc" => ground.texts("spans", "name"),
        "otlp_metrics_grpc" => ground.samples(),
        _ => ground,
    };
    check(ground, client, &address, promise);
}

#[test]
fn ndjson() {
    http("ndjson", &Promise::Once);
}

#[test]
fn elasticsearch() {
    http("elasticsearch", &Promise::Once);
}

#[test]
fn loki() {
    http("loki", &Promise::Once);
}

#[test]
fn hec() {
    http("hec", &Promise::AtLeastOnce);
}

#[test]
fn datadog() {
    http("datadog", &Promise::AtLeastOnce);
}

#[test]
fn otlp_logs_over_grpc() {
    own("otlp_logs_grpc", "HEIMDALL_DOORS__OTLP__GRPC_LISTEN", &Promise::Once);
}

#[test]
fn otlp_logs_over_http() {
    own("otlp_logs_http", "HEIMDALL_DOORS__OTLP__HTTP_LISTEN", &Promise::Once);
}

#[test]
fn otlp_traces_over_grpc() {
    own("otlp_traces_grpc", "HEIMDALL_DOORS__OTLP__GRPC_LISTEN", &Promise::Once);
}

#[test]
fn fluent() {
    own("fluent", "HEIMDALL_DOORS__FLUENT__LISTEN", &Promise::Once);
}

#[test]
fn otlp_metrics_over_grpc() {
    own("otlp_metrics_grpc", "HEIMDALL_DOORS__OTLP__GRPC_LISTEN", &Promise::Once);
}

#[test]
fn heimdall_grpc() {
    own("heimdall_grpc", "HEIMDALL_DOORS__GRPC__LISTEN", &Promise::Once);
}

#[test]
fn remote_write() {
    http_samples("remote_write");
}

#[test]
fn influx() {
    http_samples("influx");
}

#[test]
fn lumberjack() {
    own("lumberjack", "HEIMDALL_DOORS__LUMBERJACK__LISTEN", &Promise::AtLeastOnce);
}

#[test]
fn gelf_over_http() {
    http("gelf", &Promise::AtLeastOnce);
}

/// Without a kill: what is in flight then is lost, as everybody's syslog over TCP. The sender never reads and closes at once.
#[test]
fn syslog_over_tls() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, certificate.cert.pem()).expect("the temporary folder takes files");
    std::fs::write(&key, certificate.signing_key.serialize_pem()).expect("the temporary folder takes files");
    let address = free().to_string();
    let ground = Ground::new(
        "syslog_tls",
        &[
            ("HEIMDALL_DOORS__SYSLOG__TLS_LISTEN", address.clone()),
            ("HEIMDALL_DOORS__SYSLOG__TLS__CERT_FILE", cert.display().to_string()),
            ("HEIMDALL_DOORS__SYSLOG__TLS__KEY_FILE", key.display().to_string()),
        ],
    );
    let Some(shipper) = ship(&ground, "syslog_tls", &address, &[]) else {
        skip!("syslog_tls: no Python with the shippers' libraries");
    };
    finish(shipper);
    let verdict = ground.verdict();
    assert_eq!((&verdict["lost"], &verdict["doubled"]), (&0.into(), &0.into()));
}
