//! Incidents as alerts and people make them. How alerts use them is tested with the alerts.

use super::*;
use crate::incident::{INCIDENT_PARTS_MAX, TIMELINE_MAX};
use crate::lifecycle::{change_status, come_back, raise, tests::verdict};
use heimdall_model::{ManualClock, Severity, Verdict};
use std::time::Duration;

struct Bench {
    _dir: tempfile::TempDir,
    store: Arc<dyn Metastore>,
    clock: Arc<ManualClock>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Metastore> =
            Arc::new(heimdall_metastore::open(&dir.path().join("meta.db")).unwrap());
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T12:00:00Z").unwrap()));
        Bench { _dir: dir, store, clock }
    }

    fn open(&self) -> Arc<Incidents> {
        Incidents::open(self.store.clone(), self.clock.clone(), IncidentConfig::default()).unwrap()
    }

    fn alert(&self, source: &str, service: &str, severity: Severity, position: u64) -> Arc<Alert> {
        let verdict = Verdict { severity, service: Some(service.to_owned()), ..verdict(source, position) };
        Arc::new(raise(verdict, format!("{source} {service}"), None, self.clock.now()))
    }
}

use Severity::{Critical, Warning};

#[test]
fn the_first_critical_or_the_second_related_alert_opens_one() {
    let bench = Bench::new();
    let incidents = bench.open();
    let now = || bench.clock.now();
    let first = bench.alert("10.0.0.1", "SHOP", Warning, 1);
    assert_eq!(incidents.raised(&first, now()), Joined::default());
    let elsewhere = bench.alert("10.0.0.2", "PAY", Warning, 2);
    assert_eq!(incidents.raised(&elsewhere, now()), Joined::default(), "nothing shared");
    let second = bench.alert("10.0.0.3", "SHOP", Warning, 3);
    let joined = incidents.raised(&second, now());
    assert_eq!(joined.also, Some(first.id));
    let third = bench.alert("10.0.0.1", "MAIL", Warning, 4);
    assert_eq!(
        incidents.raised(&third, now()),
        Joined { incident: joined.incident, also: None },
        "same address"
    );
    let critical = bench.alert("10.0.0.9", "DB", Critical, 5);
    let other = incidents.raised(&critical, now()).incident.unwrap();
    assert_ne!(Some(other), joined.incident);
    let incident = incidents.get(None, joined.incident.unwrap()).unwrap();
    assert_eq!(
        (incident.number, incident.alerts.as_slice()),
        (1, [first.id, second.id, third.id].as_slice())
    );
    assert_eq!((incident.services.len(), incident.entities.len()), (2, 2));
    assert_eq!(incidents.get(None, other).unwrap().number, 2);
    bench.clock.advance(16 * MINUTE);
    let late = bench.alert("10.0.0.4", "SHOP", Warning, 6);
    assert_eq!(incidents.raised(&late, now()), Joined::default(), "too late");
}

#[test]
fn a_replay_after_a_crash_finds_the_incident_its_alert_was_in() {
    let bench = Bench::new();
    let critical = bench.alert("10.0.0.1", "SHOP", Critical, 1);
    let related = bench.alert("10.0.0.2", "SHOP", Warning, 2);
    let incidents = bench.open();
    let id = incidents.raised(&critical, bench.clock.now()).incident;
    incidents.raised(&related, bench.clock.now());
    incidents.flush().unwrap();
    drop(incidents);
    // The incident is stored, the alerts are not: both are raised again, much later.
    bench.clock.advance(60 * MINUTE);
    let incidents = bench.open();
    for alert in [&critical, &related] {
        assert_eq!(incidents.raised(alert, bench.clock.now()).incident, id);
    }
    let incident = incidents.get(None, id.unwrap()).unwrap();
    assert_eq!((incident.alert_count, incident.timeline.len()), (2, 3), "opened, and two alerts");
    // Even when it was resolved in between.
    bench.clock.advance(60 * MINUTE);
    let incidents = bench.open();
    assert_eq!(incidents.tick(bench.clock.now().saturating_add_ns(ns(6 * MINUTE))).unwrap(), 1);
    assert_eq!(incidents.raised(&critical, bench.clock.now()).incident, id);
    let incident = incidents.get(None, id.unwrap()).unwrap();
    assert_eq!((incident.status, incident.alert_count), (Status::Open, 2));
    assert_eq!(incidents.list(None, &IncidentFilter::default(), None, 10).unwrap().items.len(), 1);
}

#[test]
fn it_resolves_when_its_alerts_have_been_quiet_and_opens_again_when_one_comes_back() {
    let bench = Bench::new();
    let incidents = bench.open();
    let mut alert = Alert::clone(&bench.alert("10.0.0.1", "SHOP", Critical, 1));
    alert.incident = incidents.raised(&Arc::new(alert.clone()), bench.clock.now()).incident;
    let id = alert.incident.unwrap();
    let status = || incidents.get(None, id).unwrap().status;
    bench.clock.advance(60 * MINUTE);
    incidents.tick(bench.clock.now()).unwrap();
    assert_eq!(status(), Status::Open, "its alert lives");
    change_status(&mut alert, Status::Resolved, "ann", None, bench.clock.now());
    incidents.follow(&alert, EntryKind::Status, "resolved", "ann", bench.clock.now());
    bench.clock.advance(4 * MINUTE);
    incidents.tick(bench.clock.now()).unwrap();
    assert_eq!(status(), Status::Open, "not quiet for long enough");
    bench.clock.advance(MINUTE);
    incidents.tick(bench.clock.now()).unwrap();
    assert_eq!(status(), Status::Resolved);
    come_back(&mut alert, bench.clock.now());
    assert_eq!(incidents.raised(&Arc::new(alert), bench.clock.now()).incident, Some(id));
    assert_eq!(status(), Status::Open);
    let incident = bench.open().get(None, id);
    assert!(incident.is_ok_and(|incident| incident.status == Status::Resolved), "not stored yet");
    incidents.flush().unwrap();
    assert_eq!(bench.open().get(None, id).unwrap().status, Status::Open);
}

#[test]
fn what_people_do_is_checked_durable_and_in_the_timeline() {
    let bench = Bench::new();
    let incidents = bench.open();
    let alert = bench.alert("10.0.0.1", "SHOP", Critical, 1);
    let id = incidents.raised(&alert, bench.clock.now()).incident.unwrap();
    let other = Tenant::new("other").unwrap();
    assert!(matches!(incidents.get(Some(&other), id), Err(IncidentError::NotFound { .. })));
    assert!(matches!(incidents.comment(Some(&other), id, "eve", "x"), Err(IncidentError::NotFound { .. })));
    let refused = incidents.step(None, id, Step::Suppress { until: None }, "ann", None);
    assert!(matches!(refused, Err(IncidentError::Conflict { .. })));
    incidents.step(None, id, Step::Acknowledge, "ann", Some("mine")).unwrap();
    incidents.assign(None, id, Some("ann"), "ann").unwrap();
    incidents.comment(None, id, "bob", "it is the pool").unwrap();
    incidents.note(id, EntryKind::Action, "restarted SHOP", "heimdall").unwrap();
    incidents.step(None, id, Step::Resolve, "ann", None).unwrap();
    assert!(matches!(
        incidents.step(None, id, Step::Acknowledge, "ann", None),
        Err(IncidentError::Conflict { .. })
    ));
    let kept = bench.open().get(None, id).unwrap();
    assert_eq!((kept.status, kept.owner.as_deref(), kept.comments.len()), (Status::Resolved, Some("ann"), 1));
    let kinds: Vec<_> = kept.timeline.iter().map(|entry| entry.kind).collect();
    use EntryKind::{Action, Comment, Opened, Owner, Raised, Status as Moved};
    assert_eq!(kinds, [Opened, Raised, Moved, Owner, Comment, Action, Moved]);
    incidents.note(id, EntryKind::Notification, "told ann by slack", "slack").unwrap();
    incidents.flush().unwrap();
    assert_eq!(bench.open().get(None, id).unwrap().timeline.len(), 8, "also of one that is over");
    let by_number = incidents.by_number(&Tenant::default(), 1).unwrap().unwrap();
    assert_eq!(by_number.id, id);
    let filter = IncidentFilter { statuses: vec![Status::Open], ..IncidentFilter::default() };
    assert!(incidents.list(None, &filter, None, 10).unwrap().items.is_empty());
    let filter = IncidentFilter {
        owner: Some("ann".to_owned()),
        service: Some("SHOP".to_owned()),
        ..IncidentFilter::default()
    };
    assert_eq!(incidents.list(Some(&Tenant::default()), &filter, None, 10).unwrap().items.len(), 1);
}

#[test]
fn everything_in_it_is_bounded() {
    let bench = Bench::new();
    let incidents = bench.open();
    let count = 1_200_u64;
    for n in 0..count {
        let alert = bench.alert(&format!("10.0.{n}"), "SHOP", Critical, n + 1);
        incidents.raised(&alert, bench.clock.now());
    }
    let page = incidents.list(None, &IncidentFilter::default(), None, 10).unwrap();
    let [incident] = page.items.as_slice() else { panic!("{} incidents", page.items.len()) };
    assert_eq!((incident.alert_count, incident.alerts.len()), (count, INCIDENT_ALERTS_MAX));
    assert_eq!((incident.entities.len(), incident.timeline.len()), (INCIDENT_PARTS_MAX, TIMELINE_MAX));
    assert_eq!(incident.timeline[0].kind, EntryKind::Opened);
    assert_eq!(incident.timeline_dropped, count + 1 - TIMELINE_MAX as u64);
}

#[test]
fn pages_of_a_filtered_list_neither_repeat_nor_skip() {
    let bench = Bench::new();
    let incidents = bench.open();
    for n in 0..30_u64 {
        let severity = if n % 3 == 0 { Severity::Critical } else { Severity::Warning };
        let service = format!("S{n}");
        incidents.raised(&bench.alert(&format!("a{n}"), &service, severity, 2 * n + 1), bench.clock.now());
        incidents.raised(
            &bench.alert(&format!("b{n}"), &service, Severity::Warning, 2 * n + 2),
            bench.clock.now(),
        );
        bench.clock.advance(MINUTE);
    }
    let filter = IncidentFilter { severity: Some(Severity::Critical), ..IncidentFilter::default() };
    let (mut numbers, mut cursor) = (Vec::new(), None);
    loop {
        let page = incidents.list(None, &filter, cursor.as_ref(), 3).unwrap();
        numbers.extend(page.items.iter().map(|incident| incident.number));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<u64> = (0..30).rev().filter(|n| n % 3 == 0).map(|n| n + 1).collect();
    assert_eq!(numbers, expected);
}
