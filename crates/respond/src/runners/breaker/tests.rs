//! Breakers over time, over restarts, and as the files say.

use super::*;
use crate::runners::testing::{HttpStandIn, Told, closed_port, manual_clock, ports, store, webhooks};

const SOON: Duration = Duration::from_secs(5);

fn breakers(config: &BreakerRunnerConfig, ports: &RunnerPorts) -> Breakers {
    Breakers::build(config, ports, &webhooks("http://127.0.0.1:9/")).unwrap()
}

fn of(kind: &str) -> Action {
    action(kind, "payment", [])
}

#[tokio::test]
async fn opens_for_a_time_and_closes_by_way_of_half_open() {
    let (dir, store) = store();
    let clock = manual_clock();
    let ports = ports(store, clock.clone());
    let config = BreakerRunnerConfig {
        nginx_file: Some(dir.path().join("breakers.conf")),
        runtime_file: Some(dir.path().join("runtime.json")),
        ..BreakerRunnerConfig::default()
    };
    let breakers = breakers(&config, &ports);
    let runner = BreakerRunner::new(breakers.clone());
    let nginx = || std::fs::read_to_string(dir.path().join("breakers.conf")).unwrap();

    let open = action("breaker.open", "payment", [("ttl", "2m".into()), ("reason", "5xx".into())]);
    assert_eq!(runner.progress(&open, Timestamp(0), SOON).await, Ok(Progress::NotDone));
    let outcome = runner.run(&open, SOON).await.unwrap();
    assert_eq!(outcome.inverse, Some(of("breaker.close")));
    assert_eq!(runner.progress(&open, Timestamp(0), SOON).await, Ok(Progress::Done));
    assert!(nginx().ends_with("\n\"payment\" open;\n"), "{}", nginx());
    let runtime = std::fs::read_to_string(dir.path().join("runtime.json")).unwrap();
    let runtime: serde_json::Value = serde_json::from_str(&runtime).unwrap();
    assert_eq!(runtime["heimdall.breaker.payment"]["numerator"], 100);

    clock.advance(Duration::from_secs(121));
    breakers.tick().await.unwrap();
    assert_eq!(breakers.get("payment").state, BreakerState::HalfOpen);
    assert!(nginx().ends_with("\n\"payment\" half_open;\n"));
    clock.advance(Duration::from_secs(61));
    breakers.tick().await.unwrap();
    assert_eq!(breakers.get("payment").state, BreakerState::Closed);
    assert!(breakers.list().is_empty() && nginx().lines().count() == 1);
}

#[tokio::test]
async fn the_inverse_leads_back_to_the_state_before_and_its_remaining_time() {
    let (_dir, store) = store();
    let clock = manual_clock();
    let runner = BreakerRunner::new(breakers(&BreakerRunnerConfig::default(), &ports(store, clock.clone())));
    runner.run(&of("breaker.open"), SOON).await.unwrap();
    clock.advance(Duration::from_secs(100));
    let outcome = runner.run(&of("breaker.close"), SOON).await.unwrap();
    assert_eq!(outcome.inverse, Some(action("breaker.open", "payment", [("ttl", 200.into())])));
}

#[tokio::test]
async fn a_restart_keeps_open_breakers_and_writes_their_files_again() {
    let (dir, store) = store();
    let ports = ports(store, manual_clock());
    let config = BreakerRunnerConfig {
        nginx_file: Some(dir.path().join("breakers.conf")),
        ..BreakerRunnerConfig::default()
    };
    let before = breakers(&config, &ports);
    before.set("payment", BreakerState::Open, None, "", SOON).await.unwrap();
    let kept = before.get("payment");
    std::fs::remove_file(dir.path().join("breakers.conf")).unwrap();
    let after = breakers(&config, &ports);
    after.publish().await.unwrap();
    assert_eq!(after.get("payment"), kept);
    assert!(std::fs::read_to_string(dir.path().join("breakers.conf")).unwrap().contains("\"payment\" open;"));
}

#[tokio::test]
async fn a_change_that_cannot_be_published_is_taken_back() {
    let (dir, store) = store();
    let clock = manual_clock();
    let ports = ports(store, clock.clone());
    let no_folder = dir.path().join("none/breakers.conf");
    let config = BreakerRunnerConfig { nginx_file: Some(no_folder), ..BreakerRunnerConfig::default() };
    let unwritable = breakers(&config, &ports);
    assert!(unwritable.set("payment", BreakerState::Open, None, "", SOON).await.is_err());
    assert_eq!(unwritable.get("payment").state, BreakerState::Closed);

    let config = BreakerRunnerConfig { webhook: Some("hook".to_owned()), ..BreakerRunnerConfig::default() };
    let nobody = webhooks(&format!("http://{}/", closed_port()));
    let unheard = Breakers::build(&config, &ports, &nobody).unwrap();
    let error = unheard.set("payment", BreakerState::Open, None, "", SOON).await.unwrap_err();
    assert!(matches!(error, ActionError::Unreachable { .. }), "{error}");
    assert_eq!(unheard.get("payment").state, BreakerState::Closed);

    unheard
        .put(&unheard.0.next("payment", BreakerState::Open, Some(Duration::from_secs(1)), ""))
        .await
        .unwrap();
    clock.advance(Duration::from_secs(2));
    assert!(unheard.tick().await.is_err());
    assert_eq!(unheard.get("payment").state, BreakerState::HalfOpen, "time does not wait for a webhook");

    let server = HttpStandIn::start(|_| (204, String::new())).await;
    let heard = Breakers::build(&config, &ports, &webhooks(&server.url("/"))).unwrap();
    heard.set("payment", BreakerState::Open, None, "5xx", SOON).await.unwrap();
    let body: Told = serde_json::from_str(&server.requests()[0].body).unwrap();
    assert_eq!((body.kind.as_str(), body.target.as_str()), ("breaker.open", "payment"));
    assert_eq!(body.with["reason"], "5xx");
}

#[test]
fn names_that_could_leave_their_line_are_refused() {
    for bad in ["", "a b", "a\";", "a\n", &"x".repeat(101)] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
    assert!(check_name("shop/payment-api.v2").is_ok());
}
