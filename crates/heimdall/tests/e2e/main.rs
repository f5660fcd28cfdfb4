//! The real binary, driven from outside with real clients. Each test is named by the behaviour it shows.
//!
//! Every server has ports and a folder of its own, so tests run side by side.

mod access;
mod alertmanager;
mod alerts;
mod cli;
mod export;
mod hostile;
mod ingest;
mod lifecycle;
mod live;
mod metrics;
mod page;
mod prometheus;
mod review;
mod rules;
mod slack;
mod technicians;
mod work;

use std::net::{SocketAddr, TcpListener};

use heimdall_testkit::{Builder, Command, Server};
use serde_json::Value;

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_heimdall");

/// A server of the binary under test, about to start.
fn server() -> Builder {
    Server::builder(BIN)
}

/// A command of the binary under test.
fn heimdall<const N: usize>(args: [&str; N]) -> Command {
    Command::new(BIN).args(args)
}

/// The alerts there are, newest first.
fn alerts(server: &Server) -> Vec<Value> {
    server.get_json("/alerts?limit=1000").as_array().cloned().expect("an array")
}

/// Waits until an alert is about this entity.
#[track_caller]
fn alert_about(server: &Server, entity: &str) -> Value {
    server.wait_for(&format!("an alert about {entity}"), |server| {
        alerts(server).into_iter().find(|alert| alert["entity"]["value"] == entity)
    })
}

/// Sends the event of a firewall that reports brute force from `ip`; raises an alert about it.
#[track_caller]
fn report_brute_force(server: &Server, ip: &str) -> Value {
    let event = serde_json::json!({
        "source": "web-firewall",
        "ip": ip,
        "message": "Multiple failed logins detected; possible brute force",
    });
    let (status, receipt) = server.post("/ingest", event.to_string(), &[]);
    assert_eq!((status, &receipt["accepted"]), (200, &1.into()), "{receipt}");
    receipt
}

/// A loopback port that nobody uses at the moment.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// Header that shows a token.
fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
