//! Findings that are over.

use super::*;
use heimdall_model::{Position, Recovery};

fn recovery(source: &str, position: u64) -> Recovery {
    let found = verdict(source, position);
    Recovery {
        tenant: found.tenant,
        rule: found.rule,
        entity: found.entity,
        time: found.time,
        position: found.position,
        summary: "quiet again".to_owned(),
    }
}

#[test]
fn a_finding_that_is_over_resolves_its_alert_and_a_replay_changes_nothing() {
    let bench = Bench::new();
    let alerts = bench.open();
    let id = one(&alerts, verdict("a", 5)).alert().id;
    assert_eq!(alerts.recover(vec![recovery("a", 5), recovery("b", 9)]).unwrap(), 0);
    assert_eq!(alerts.recover(vec![recovery("a", 8)]).unwrap(), 1);
    let alert = alerts.get(None, id).unwrap();
    assert_eq!((alert.status, alert.position), (Status::Resolved, Position(8)));
    assert_eq!(alert.history.last().and_then(|last| last.note.as_deref()), Some("quiet again"));
    assert!(alerts.ingest(vec![verdict("a", 5), verdict("a", 8)]).unwrap().is_empty(), "a replay");
    assert_eq!(alerts.recover(vec![recovery("a", 8), recovery("a", 9)]).unwrap(), 0, "it is over already");
    assert_eq!(one(&alerts, verdict("a", 12)).alert().id, id, "it is the same, come back");
    assert_eq!(alerts.recover(vec![recovery("a", 11)]).unwrap(), 0, "overtaken by a newer finding");
}

#[test]
fn a_suppressed_alert_stays_so_when_it_is_over() {
    let bench = Bench::new();
    let alerts = bench.open();
    let id = one(&alerts, verdict("a", 1)).alert().id;
    alerts.step(None, id, Step::Suppress { until: None }, "me", None).unwrap();
    assert_eq!(alerts.recover(vec![recovery("a", 2)]).unwrap(), 0);
    assert_eq!(alerts.get(None, id).unwrap().status, Status::Suppressed);
}
