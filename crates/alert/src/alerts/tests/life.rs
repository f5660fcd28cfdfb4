//! What keeps alerts quiet, brings them back, and holds them together.

use super::*;
use crate::event::Event;
use crate::incident::{EntryKind, IncidentFilter};
use crate::posted::PostedAlert;
use crate::silence::{SilenceDraft, SilenceKind};
use heimdall_model::{LabelMatcher, Priority};

const MINUTE: Duration = Duration::from_secs(60);

fn matchers(texts: &[&str]) -> Vec<LabelMatcher> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn silence(bench: &Bench, texts: &[&str], minutes: u32) -> SilenceDraft {
    let now = bench.clock.now();
    SilenceDraft {
        id: None,
        tenant: Tenant::default(),
        kind: SilenceKind::Silence,
        matchers: matchers(texts),
        starts_at: now,
        ends_at: now.saturating_add_ns(ns(MINUTE * minutes)),
        recurrence: None,
        comment: "we know".to_owned(),
    }
}

fn critical(source: &str, position: u64) -> Verdict {
    Verdict { severity: Severity::Critical, ..verdict(source, position) }
}

/// Every event so far, as `entity cause`.
fn events(alerts: &Alerts, queue: &mut EventQueue) -> Vec<String> {
    alerts.flush().unwrap();
    let mut all = Vec::new();
    while let Some(event) = queue.try_recv() {
        all.push(match event {
            Event::Alert(event) => {
                assert_eq!(
                    *alerts.store().get(event.alert.id).unwrap().unwrap().alert,
                    *alerts.get(None, event.alert.id).unwrap()
                );
                format!("{} {:?}", event.alert.entity.value, event.cause)
            }
            Event::Missed => "missed".to_owned(),
        });
    }
    all
}

fn tick(bench: &Bench, alerts: &Alerts) {
    alerts.tick(bench.clock.now()).unwrap();
}

#[test]
fn a_finding_that_comes_back_soon_reopens_its_alert_and_a_replay_never_does() {
    let bench = Bench::new();
    let alerts = bench.open();
    let id = one(&alerts, verdict("a", 1)).alert().id;
    alerts.step(None, id, Step::Resolve, "ann", None).unwrap();
    bench.clock.advance(9 * MINUTE);
    assert!(alerts.ingest(vec![verdict("a", 1)]).unwrap().is_empty(), "a replay");
    let mut queue = alerts.events(10);
    let back = one(&alerts, verdict("a", 2));
    assert!(
        matches!(&back, AlertChange::Updated(alert) if alert.id == id && alert.returns == [bench.clock.now()])
    );
    assert_eq!(events(&alerts, &mut queue), ["a Raised"]);
    drop(alerts);
    let alerts = bench.open();
    assert!(alerts.ingest(vec![verdict("a", 2)]).unwrap().is_empty(), "a replay after a restart");
    let alert = alerts.get(None, id).unwrap();
    assert_eq!((alert.status, alert.count, alert.history.len()), (Status::Open, 2, 3));
    let counts = alerts.counts(None).unwrap();
    assert_eq!(counts.iter().map(|count| count.count).sum::<u64>(), 1);
    alerts.step(None, id, Step::Resolve, "ann", None).unwrap();
    bench.clock.advance(11 * MINUTE);
    assert!(matches!(one(&alerts, verdict("a", 3)), AlertChange::Raised(alert) if alert.id != id));
}

#[test]
fn an_alert_that_comes_and_goes_is_muted_until_it_was_stable() {
    let bench = Bench::new();
    let alerts = bench.open();
    let mut queue = alerts.events(100);
    let id = one(&alerts, verdict("a", 1)).alert().id;
    for position in 2..=5 {
        alerts.step(None, id, Step::Resolve, "ann", None).unwrap();
        bench.clock.advance(5 * MINUTE);
        one(&alerts, verdict("a", position));
    }
    let alert = alerts.get(None, id).unwrap();
    assert_eq!(alert.muted.as_ref().map(|mute| mute.kind), Some(MuteKind::Flapping));
    tick(&bench, &alerts);
    events(&alerts, &mut queue);
    bench.clock.advance(29 * MINUTE);
    tick(&bench, &alerts);
    assert!(events(&alerts, &mut queue).is_empty());
    bench.clock.advance(MINUTE);
    tick(&bench, &alerts);
    assert_eq!(events(&alerts, &mut queue), ["a Unmuted"]);
    assert_eq!(alerts.get(None, id).unwrap().muted, None);
}

#[test]
fn a_suppression_ends_when_it_was_said_to_even_after_a_restart() {
    let bench = Bench::new();
    let alerts = bench.open();
    let id = one(&alerts, verdict("a", 1)).alert().id;
    let at = |minutes: u32| Some(bench.clock.now().saturating_add_ns(ns(MINUTE * minutes)));
    let past = alerts.step(None, id, Step::Suppress { until: at(0) }, "ann", None);
    assert!(matches!(past, Err(AlertError::Invalid { field: "until", .. })));
    alerts.step(None, id, Step::Suppress { until: at(10) }, "ann", None).unwrap();
    let longer = alerts.step(None, id, Step::Suppress { until: at(20) }, "bob", None).unwrap();
    assert_eq!((longer.suppressed_until, longer.history.len()), (at(20), 3));
    drop(alerts);
    let alerts = bench.open();
    bench.clock.advance(15 * MINUTE);
    tick(&bench, &alerts);
    assert_eq!(alerts.get(None, id).unwrap().status, Status::Suppressed);
    bench.clock.advance(5 * MINUTE);
    tick(&bench, &alerts);
    let alert = alerts.get(None, id).unwrap();
    assert_eq!((alert.status, alert.suppressed_until), (Status::Open, None));
    assert_eq!(alert.history.last().unwrap().note.as_deref(), Some("it was suppressed until now"));
}

#[test]
fn silences_mute_live_and_new_alerts_and_let_go_of_them() {
    let bench = Bench::new();
    let alerts = bench.open();
    one(&alerts, verdict("a", 1));
    one(&alerts, verdict("b", 2));
    alerts.flush().unwrap();
    let mut queue = alerts.events(100);
    let made = alerts.silences().put(silence(&bench, &["source_ip=~a|c"], 30), "ann").unwrap();
    let muted = one(&alerts, verdict("c", 3));
    assert_eq!(muted.alert().muted.as_ref().and_then(|mute| mute.by.clone()), Some(made.id.to_string()));
    tick(&bench, &alerts);
    assert_eq!(events(&alerts, &mut queue), ["c Raised", "a Muted"]);
    drop(alerts);
    let alerts = bench.open();
    let mut queue = alerts.events(100);
    tick(&bench, &alerts);
    assert_eq!(events(&alerts, &mut queue), [""; 0], "a restart changes nothing");
    bench.clock.advance(30 * MINUTE);
    tick(&bench, &alerts);
    let mut lifted = events(&alerts, &mut queue);
    lifted.sort_unstable();
    assert_eq!(lifted, ["a Unmuted", "c Unmuted"]);
    // A silence that ends while the server is down.
    alerts.silences().put(silence(&bench, &["source_ip=b"], 10), "ann").unwrap();
    tick(&bench, &alerts);
    drop(alerts);
    bench.clock.advance(20 * MINUTE);
    let alerts = bench.open();
    tick(&bench, &alerts);
    assert!(everything(&alerts).iter().all(|alert| alert.muted.is_none()));
}

#[test]
fn a_live_source_mutes_its_targets_and_no_others() {
    let bench = Bench::new();
    let alerts = bench.open();
    let rule = InhibitRule {
        source: matchers(&["severity=critical"]),
        target: matchers(&["severity=~warning|critical"]),
        equal: vec!["source_ip".to_owned()],
    };
    let about = |source: &str, rule: &str, severity, position| Verdict {
        rule: rule.to_owned(),
        severity,
        ..verdict(source, position)
    };
    let warn = one(&alerts, about("a", "slow", Severity::Warning, 1)).alert().id;
    let other = one(&alerts, about("b", "slow", Severity::Warning, 2)).alert().id;
    let down = one(&alerts, about("a", "down", Severity::Critical, 3)).alert().id;
    let muted_by = |id| {
        let alert = alerts.get(None, id).unwrap();
        alert.muted.as_ref().filter(|mute| mute.kind == MuteKind::Inhibition).and_then(|mute| mute.by.clone())
    };
    alerts.set_rules(AlertRules { inhibit: vec![rule.clone()], ..AlertRules::default() });
    tick(&bench, &alerts);
    assert_eq!((muted_by(warn), muted_by(other), muted_by(down)), (Some(down.to_string()), None, None));
    let late = one(&alerts, about("a", "late", Severity::Warning, 4)).alert().id;
    assert_eq!(muted_by(late), Some(down.to_string()), "at once when it is raised");
    let twin = one(&alerts, about("a", "twin", Severity::Critical, 5)).alert().id;
    tick(&bench, &alerts);
    assert_eq!((muted_by(twin), muted_by(down)), (None, None), "two sources do not mute each other");
    alerts.step(None, down, Step::Resolve, "ann", None).unwrap();
    tick(&bench, &alerts);
    assert_eq!(muted_by(warn), Some(twin.to_string()), "the other source goes on");
    alerts.step(None, twin, Step::Resolve, "ann", None).unwrap();
    tick(&bench, &alerts);
    assert_eq!((muted_by(warn), muted_by(late)), (None, None));
    one(&alerts, about("b", "slow", Severity::Critical, 6));
    one(&alerts, about("b", "dull", Severity::Warning, 7));
    alerts.set_rules(AlertRules::default());
    tick(&bench, &alerts);
    assert!(everything(&alerts).iter().all(|alert| alert.muted.is_none()), "without rules nothing is muted");
}

#[test]
fn priorities_follow_rules_until_a_person_says_otherwise() {
    let bench = Bench::new();
    let alerts = bench.open();
    let rule = PriorityRule { matchers: matchers(&["service=AUTH-API"]), priority: Priority::P3 };
    alerts.set_rules(AlertRules { priorities: vec![rule], ..AlertRules::default() });
    let id = one(&alerts, verdict("a", 1)).alert().id;
    let priority = || alerts.get(None, id).unwrap().priority;
    assert_eq!(priority(), Priority::P3);
    let set = alerts.set_priority(None, id, Priority::P2, "ann").unwrap();
    assert_eq!(set.history.last().unwrap().note.as_deref(), Some("P3 → P2"));
    one(&alerts, verdict("a", 2));
    assert_eq!(priority(), Priority::P2, "a repeat leaves it");
    alerts.set_rules(AlertRules::default());
    one(&alerts, critical("a", 3));
    assert_eq!(priority(), Priority::P1, "it grew worse");
}

#[test]
fn assignment_and_comments_are_kept_and_searched() {
    let bench = Bench::new();
    let alerts = bench.open();
    let id = one(&alerts, verdict("a", 1)).alert().id;
    one(&alerts, verdict("b", 2));
    alerts.assign(None, id, Some("ann"), "bob").unwrap();
    alerts.assign(None, id, Some("ann"), "bob").unwrap();
    alerts.comment(None, id, "ann", "looking").unwrap();
    let nothing = alerts.comment(None, id, "ann", "  ");
    assert!(matches!(nothing, Err(AlertError::Invalid { field: "text", .. })));
    drop(alerts);
    let alerts = bench.open();
    let mine = AlertFilter { assignee: Some("ann".to_owned()), ..AlertFilter::default() };
    let found = alerts.list(&mine, None, 10).unwrap().items;
    assert_eq!((found.len(), found[0].id, found[0].comments[0].text.as_str()), (1, id, "looking"));
    assert_eq!(found[0].history.len(), 2, "raised, and assigned once");
    assert_eq!(alerts.assign(None, id, None, "bob").unwrap().assignee, None);
}

#[test]
fn many_are_changed_together_and_each_has_its_answer() {
    let bench = Bench::new();
    let alerts = bench.open();
    let changes = alerts.ingest((1..=2_500).map(|n| verdict(&n.to_string(), n)).collect()).unwrap();
    let mut ids: Vec<_> = changes.iter().map(|change| change.alert().id).collect();
    ids.push(AlertId::nil());
    let answers = alerts.step_many(None, &ids, Step::Acknowledge, "ann", None);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2_500);
    assert!(matches!(answers[2_500], Err(AlertError::NotFound { .. })));
    let stored = bench.store().alerts().counts(None).unwrap();
    assert_eq!(
        stored,
        [AlertCount { status: Status::Acknowledged, severity: Severity::Warning, count: 2_500 }]
    );
}

#[test]
fn alerts_belong_to_incidents_over_a_crash_too() {
    let bench = Bench::new();
    let alerts = bench.open();
    let first = one(&alerts, verdict("a", 1)).alert().id;
    let second = one(&alerts, verdict("b", 2)).alert().id;
    let incident = alerts.get(None, first).unwrap().incident.unwrap();
    assert_eq!(alerts.get(None, second).unwrap().incident, Some(incident), "one service");
    alerts.flush().unwrap();
    drop(alerts);
    // As if the process had died after the incident was stored and before its alerts were.
    let store = bench.store();
    let mut row = store.alerts().get(first).unwrap().unwrap();
    Arc::make_mut(&mut row.alert).incident = None;
    store.alerts().put(&[row]).unwrap();
    drop(store);
    let alerts = bench.open();
    assert_eq!(alerts.get(None, first).unwrap().incident, Some(incident));
    one(&alerts, critical("c", 3));
    let all = alerts.incidents().list(None, &IncidentFilter::default(), None, 10).unwrap().items;
    assert_eq!((all.len(), all[0].alert_count, all[0].severity), (1, 3, Severity::Critical));
    for alert in everything(&alerts) {
        alerts.step(None, alert.id, Step::Resolve, "ann", Some("fixed")).unwrap();
    }
    tick(&bench, &alerts);
    bench.clock.advance(6 * MINUTE);
    tick(&bench, &alerts);
    let over = alerts.incidents().get(None, incident).unwrap();
    assert_eq!(over.status, Status::Resolved);
    let mut of_it = alerts
        .list(&AlertFilter { incident: Some(incident), ..AlertFilter::default() }, None, 10)
        .unwrap()
        .items;
    assert_eq!(of_it.len(), 3);
    of_it.sort_by_key(|alert| alert.id);
    alerts.incidents().note(incident, EntryKind::Notification, "told | ann <by> slack", "slack").unwrap();
    let over = alerts.incidents().get(None, incident).unwrap();
    let report = crate::post_mortem(&over, &of_it);
    for part in [
        "# Incident 1: Failed logins: AUTH-API",
        "## Timeline",
        "| 2026-03-01 12:00:00 | opened |",
        "told \\| ann &lt;by&gt; slack",
        "## Open questions",
        "Lasted",
    ] {
        assert!(report.contains(part), "no `{part}` in\n{report}");
    }
}

#[test]
fn people_move_alerts_between_incidents() {
    let bench = Bench::new();
    let alerts = bench.open();
    let a = one(&alerts, Verdict { service: None, ..critical("a", 1) }).alert().clone();
    let b = one(&alerts, Verdict { service: None, ..critical("b", 2) }).alert().clone();
    let (of_a, of_b) = (a.incident.unwrap(), b.incident.unwrap());
    assert_ne!(of_a, of_b);
    let moved = alerts.add_to_incident(None, of_a, b.id, "ann").unwrap();
    assert_eq!(moved.incident, Some(of_a));
    let counts = |id| alerts.incidents().get(None, id).unwrap().alert_count;
    assert_eq!((counts(of_a), counts(of_b)), (2, 0));
    assert_eq!(alerts.remove_from_incident(None, of_a, b.id, "ann").unwrap().incident, None);
    let again = alerts.remove_from_incident(None, of_a, b.id, "ann");
    assert!(matches!(again, Err(AlertError::Incident(_))));
}

fn post(alerts: &Alerts, name: &str, ends_in_minutes: Option<i64>) -> Vec<AlertId> {
    let now = alerts.clock.now();
    let at = |minutes: i64| now.saturating_add_ns(minutes * ns(MINUTE));
    let labels = [("alertname", name), ("severity", "page"), ("instance", "db-1")];
    let posted = PostedAlert {
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        starts_at: Some(Timestamp::parse("2026-03-01T11:59:00Z").unwrap()),
        ends_at: ends_in_minutes.map(at),
        ..PostedAlert::default()
    };
    alerts.post(&Tenant::default(), vec![posted], "prometheus").unwrap()
}

#[test]
fn posted_alerts_live_as_long_as_they_are_posted() {
    let bench = Bench::new();
    let alerts = bench.open();
    let id = post(&alerts, "DiskFull", Some(4))[0];
    assert_eq!(post(&alerts, "DiskFull", Some(4)), [id]);
    let alert = alerts.get(None, id).unwrap();
    assert_eq!((alert.severity, alert.count, alert.status), (Severity::Critical, 1, Status::Open));
    drop(alerts);
    let alerts = bench.open();
    bench.clock.advance(3 * MINUTE);
    post(&alerts, "DiskFull", Some(4));
    bench.clock.advance(3 * MINUTE);
    tick(&bench, &alerts);
    assert_eq!(alerts.get(None, id).unwrap().status, Status::Open, "it was posted again");
    bench.clock.advance(MINUTE);
    tick(&bench, &alerts);
    assert_eq!(alerts.get(None, id).unwrap().status, Status::Resolved);
    assert_eq!(post(&alerts, "DiskFull", Some(4)), [id], "the same begin is the same alert");
    assert_eq!(alerts.get(None, id).unwrap().returns.len(), 1);
    assert_eq!(post(&alerts, "DiskFull", Some(0)), [id]);
    assert_eq!(alerts.get(None, id).unwrap().status, Status::Resolved);
    assert!(post(&alerts, "Unknown", Some(-1)).is_empty(), "the end of what never was");
    let forgetful = post(&alerts, "NoEnd", None)[0];
    bench.clock.advance(5 * MINUTE);
    tick(&bench, &alerts);
    assert_eq!(alerts.get(None, forgetful).unwrap().status, Status::Resolved);
}

#[test]
fn a_bad_posted_alert_is_named_and_the_others_are_taken() {
    let bench = Bench::new();
    let alerts = bench.open();
    let good = PostedAlert { labels: [("a".to_owned(), "b".to_owned())].into(), ..PostedAlert::default() };
    let refused = alerts.post(&Tenant::default(), vec![good.clone(), PostedAlert::default(), good], "me");
    assert!(matches!(refused, Err(AlertError::Posted { index: 1, refused: 1, .. })), "{refused:?}");
    assert_eq!(everything(&alerts).len(), 1);
}

#[test]
fn a_slow_reader_of_events_is_told_and_reads_the_live_alerts() {
    let bench = Bench::new();
    let alerts = bench.open();
    let mut queue = alerts.events(5);
    alerts.ingest((1..=20).map(|n| verdict(&n.to_string(), n)).collect()).unwrap();
    let seen = events(&alerts, &mut queue);
    assert!(seen[0] == "missed" && seen.len() <= 6, "{seen:?}");
    let first = alerts.live(Some(&Tenant::default()), None, 15).unwrap();
    let rest = alerts.live(Some(&Tenant::default()), first.next.as_ref(), 15).unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (15, 5, None));
    alerts.close();
    assert_eq!(queue.try_recv(), None);
}
