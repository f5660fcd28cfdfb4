//! Client libraries people use, driven by `ship.py`.

use heimdall_testkit::{Running, skip};

use crate::ground::{self, Ground, finish, free};

/// Times the server is killed while a shipper sends.
const KILLS: usize = 2;

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
    let Some(mut shipper) = ship(&ground, client, target, &[]) else {
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

/// A door with an address of its own.
fn own(client: &'static str, setting: &str, promise: &Promise) {
    let address = free().to_string();
    let ground = Ground::new(client, &[(setting, address.clone())]);
    let ground = if client.contains("traces") { ground.of("spans", "name") } else { ground };
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
