//! The alerts as their callers see them.

use super::*;
use crate::Step;
use crate::lifecycle::raise;
use crate::lifecycle::tests::verdict;
use crate::stream::{DELTAS_KEPT, Delivery};
use heimdall_metastore::{
    AlertCount, AlertCursor, AuditStore, DocumentStore, FeedbackCount, MetastoreError, SqliteMetastore,
    TokenStore,
};
use heimdall_model::{FeedbackVerdict, ManualClock, Tenant};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

mod life;
mod recover;
mod scale;
mod simulation;

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T12:00:00Z").unwrap()));
        Bench { dir: tempfile::tempdir().unwrap(), clock }
    }

    pub(crate) fn store(&self) -> SqliteMetastore {
        heimdall_metastore::open(&self.dir.path().join("meta.db")).unwrap()
    }

    pub(crate) fn open(&self) -> Arc<Alerts> {
        self.open_with(AlertConfig::default())
    }

    pub(crate) fn open_with(&self, config: AlertConfig) -> Arc<Alerts> {
        Alerts::open(Arc::new(self.store()), config, self.clock.clone()).unwrap()
    }
}

/// One verdict in, the one change out.
pub(super) fn one(alerts: &Alerts, verdict: Verdict) -> AlertChange {
    let mut changes = alerts.ingest(vec![verdict]).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes.remove(0)
}

pub(super) fn everything(alerts: &Alerts) -> Vec<Arc<Alert>> {
    alerts.list(&AlertFilter::default(), None, 1_000).unwrap().items
}

#[test]
fn repeats_update_one_alert_and_replays_change_nothing_even_after_a_restart() {
    let bench = Bench::new();
    let alerts = bench.open();
    let changes = alerts.ingest([3, 1, 2].map(|at| verdict("10.0.0.1", at)).to_vec()).unwrap();
    assert!(matches!(&changes[..], [AlertChange::Raised(alert)] if alert.count == 3));
    assert!(matches!(one(&alerts, verdict("10.0.0.1", 4)), AlertChange::Updated(alert) if alert.count == 4));
    assert!(alerts.ingest(vec![verdict("10.0.0.1", 4), verdict("10.0.0.1", 2)]).unwrap().is_empty());
    drop(alerts);
    let alerts = bench.open();
    assert!(alerts.ingest(vec![verdict("10.0.0.1", 4)]).unwrap().is_empty());
    one(&alerts, verdict("10.0.0.1", 5));
    let all = everything(&alerts);
    assert_eq!((all.len(), all[0].count), (1, 5));
}

#[test]
fn a_resolved_finding_that_comes_back_is_a_new_alert_that_names_the_old_one() {
    let bench = Bench::new();
    let alerts = bench.open();
    let old = one(&alerts, verdict("10.0.0.1", 1)).alert().id;
    alerts.step(None, old, Step::Resolve, "me", Some("fixed")).unwrap();
    assert!(alerts.ingest(vec![verdict("10.0.0.1", 1)]).unwrap().is_empty(), "a replay is not a recurrence");
    bench.clock.advance(Duration::from_secs(601));
    let AlertChange::Raised(new) = one(&alerts, verdict("10.0.0.1", 2)) else { panic!("not raised") };
    assert_eq!(new.history[0].note.as_deref(), Some(format!("recurrence of alert {old}").as_str()));
    let refused = alerts.step(None, old, Step::Reopen, "me", None);
    assert!(matches!(refused, Err(AlertError::Superseded { newer, .. }) if newer == new.id), "{refused:?}");
    alerts.step(None, new.id, Step::Resolve, "me", None).unwrap();
    assert!(matches!(alerts.step(None, old, Step::Reopen, "me", None), Err(AlertError::Superseded { .. })));
    assert_eq!(alerts.step(None, new.id, Step::Reopen, "me", None).unwrap().status, Status::Open);
}

#[test]
fn status_changes_are_checked_kept_and_belong_to_their_tenant() {
    let bench = Bench::new();
    let alerts = bench.open();
    let id = one(&alerts, verdict("10.0.0.1", 1)).alert().id;
    let (own, other) = (Tenant::default(), Tenant::new("other").unwrap());
    assert!(matches!(
        alerts.step(Some(&other), id, Step::Acknowledge, "eve", None),
        Err(AlertError::NotFound { .. })
    ));
    assert!(matches!(alerts.get(Some(&other), id), Err(AlertError::NotFound { .. })));
    alerts.step(Some(&own), id, Step::Acknowledge, "ann", Some("mine")).unwrap();
    let again = alerts.step(Some(&own), id, Step::Acknowledge, "bob", None).unwrap();
    assert_eq!(again.history.len(), 2, "a second acknowledgement changes nothing");
    alerts.step(None, id, Step::Suppress { until: None }, "ann", None).unwrap();
    drop(alerts);
    let alerts = bench.open();
    one(&alerts, verdict("10.0.0.1", 2));
    let alert = alerts.get(None, id).unwrap();
    assert_eq!((alert.status, alert.count), (Status::Suppressed, 2), "it keeps quiet and counts");
    let by: Vec<_> = alert.history.iter().map(|step| (step.by.as_str(), step.to.as_str())).collect();
    assert_eq!(by, [("heimdall", "OPEN"), ("ann", "ACKNOWLEDGED"), ("ann", "SUPPRESSED")]);
    alerts.step(None, id, Step::Resolve, "ann", None).unwrap();
    assert!(matches!(
        alerts.step(None, id, Step::Suppress { until: None }, "ann", None),
        Err(AlertError::Conflict { .. })
    ));
    let counts = alerts.counts(Some(&own)).unwrap();
    assert_eq!(counts, [AlertCount { status: Status::Resolved, severity: Severity::Warning, count: 1 }]);
}

#[test]
fn feedback_is_kept_may_be_changed_and_is_counted_without_reviving_an_old_alert() {
    use FeedbackVerdict::{FalsePositive, TruePositive};
    let bench = Bench::new();
    let alerts = bench.open();
    let old = one(&alerts, verdict("10.0.0.1", 1)).alert().id;
    alerts.step(None, old, Step::Resolve, "ann", Some("blocked it")).unwrap();
    bench.clock.advance(Duration::from_secs(660));
    let new = one(&alerts, verdict("10.0.0.1", 2)).alert().id;
    let other = Tenant::new("other").unwrap();
    let refused = alerts.judge(Some(&other), old, TruePositive, "eve", None);
    assert!(matches!(refused, Err(AlertError::NotFound { .. })));
    assert_eq!(alerts.feedback_version(), 0);

    let said = alerts.judge(None, old, FalsePositive, "ann", Some("a scanner of ours")).unwrap();
    let again = alerts.judge(None, old, FalsePositive, "bob", None).unwrap();
    assert_eq!(
        (&again.feedback, alerts.feedback_version()),
        (&said.feedback, 1),
        "saying it again is nothing"
    );
    assert!(matches!(one(&alerts, verdict("10.0.0.1", 3)), AlertChange::Updated(alert) if alert.id == new));
    drop(alerts);

    // The old one is judged before anything is known of its finding in memory.
    let alerts = bench.open();
    let changed = alerts.judge(None, old, TruePositive, "bob", Some(&"x".repeat(5_000))).unwrap();
    let feedback = changed.feedback.as_ref().unwrap();
    assert_eq!((feedback.verdict, feedback.by.as_str()), (TruePositive, "bob"));
    assert_eq!(feedback.note.as_ref().map(String::len), Some(crate::lifecycle::NOTE_CHARS_MAX));
    assert_eq!((changed.status, changed.history.len()), (Status::Resolved, 2), "it is no step of its life");
    assert!(matches!(one(&alerts, verdict("10.0.0.1", 4)), AlertChange::Updated(alert) if alert.id == new));
    alerts.judge(None, new, FalsePositive, "bob", None).unwrap();
    let counts = alerts.feedback_counts(Some(&Tenant::default())).unwrap();
    assert_eq!((counts[0].detector.as_str(), counts[0].rule.as_str()), ("auth", "brute-force"));
    assert_eq!(
        crate::feedback::total(&counts),
        heimdall_model::Judged { true_positives: 1, false_positives: 1 }
    );
    assert_eq!(alerts.feedback_counts(Some(&other)).unwrap(), []);

    let similar = alerts.similar(&alerts.get(None, new).unwrap(), 5).unwrap();
    assert_eq!(similar.len(), 1);
    assert_eq!(similar[0].history.last().unwrap().note.as_deref(), Some("blocked it"));
    bench.clock.advance(Duration::from_secs(91 * 86_400));
    alerts.tick(bench.clock.now()).unwrap();
    assert!(matches!(alerts.get(None, old), Err(AlertError::NotFound { .. })), "the alert goes");
    assert_eq!(alerts.feedback_counts(None).unwrap(), counts, "what was said of it stays");
}

#[test]
fn an_alert_stored_before_there_was_feedback_still_loads() {
    let alert = raise(verdict("10.0.0.1", 1), "fp".to_owned(), None, Timestamp(1));
    let mut document = serde_json::to_value(&alert).unwrap();
    document.as_object_mut().unwrap().remove("feedback");
    assert_eq!(serde_json::from_value::<Alert>(document).unwrap(), alert);
}

#[test]
fn quiet_alerts_resolve_but_not_suppressed_ones_nor_because_the_server_was_down() {
    let bench = Bench::new();
    let hour = Duration::from_secs(3_600);
    let alerts = bench.open();
    for (source, at) in [("quiet", 1), ("busy", 2), ("suppressed", 3)] {
        one(&alerts, verdict(source, at));
    }
    let suppressed = everything(&alerts).iter().find(|alert| alert.entity.value == "suppressed").unwrap().id;
    alerts.step(None, suppressed, Step::Suppress { until: None }, "me", None).unwrap();
    drop(alerts);
    bench.clock.advance(3 * hour);
    let alerts = bench.open();
    assert_eq!(alerts.tick(bench.clock.now()).unwrap(), 0, "nobody looked while the server was down");
    bench.clock.advance(hour / 2);
    one(&alerts, verdict("busy", 4));
    bench.clock.advance(hour / 2 + Duration::from_secs(1));
    assert_eq!(alerts.tick(bench.clock.now()).unwrap(), 1);
    let resolved = everything(&alerts).into_iter().find(|alert| alert.status == Status::Resolved).unwrap();
    assert_eq!(resolved.entity.value, "quiet");
    assert_eq!(resolved.history[1].note.as_deref(), Some("no finding for 1h"));
    bench.clock.advance(91 * 24 * hour);
    alerts.tick(bench.clock.now()).unwrap();
    assert!(matches!(alerts.get(None, suppressed), Ok(alert) if alert.status == Status::Suppressed));
    assert!(!everything(&alerts).iter().any(|alert| alert.id == resolved.id), "old resolved alerts go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_its_deltas_raise_every_alert_exactly_once() {
    let bench = Bench::new();
    let alerts = bench.open();
    let feeding = Arc::clone(&alerts);
    let feeder = std::thread::spawn(move || {
        for batch in 0..40_u64 {
            feeding
                .ingest((0..10).map(|n| verdict(&format!("{batch}-{n}"), batch * 10 + n)).collect())
                .unwrap();
        }
    });
    for _ in 0..5 {
        let (snapshot, mut subscription) = alerts.watch(Some(&Tenant::default()), 1_000).unwrap();
        let mut seen: HashSet<_> = snapshot.alerts.iter().map(|alert| alert.id).collect();
        let mut last_seq = snapshot.seq;
        while seen.len() < 400 {
            let Some(Delivery::Delta(delta)) = subscription.next().await else { panic!("gap or end") };
            assert_eq!(delta.seq, last_seq + 1);
            last_seq = delta.seq;
            if let AlertChange::Raised(alert) = delta.change {
                assert!(seen.insert(alert.id), "raised twice");
            }
        }
    }
    feeder.join().unwrap();
    assert_eq!(everything(&alerts).len(), 400);
}

#[tokio::test]
async fn a_slow_subscriber_is_told_of_its_gap_and_repeats_are_told_together() {
    let bench = Bench::new();
    let alerts = bench.open();
    let (mut slow, mut other) =
        (alerts.subscribe(None), alerts.subscribe(Some(&Tenant::new("other").unwrap())));
    let kept = DELTAS_KEPT as u64;
    alerts.ingest((0..kept + 5).map(|n| verdict(&n.to_string(), n)).collect()).unwrap();
    assert_eq!(slow.next().await, Some(Delivery::Gap { missed: 5 }));
    assert!(matches!(slow.next().await, Some(Delivery::Delta(delta)) if delta.seq == 6));
    let mut present = alerts.subscribe(None);
    for at in 0..100 {
        one(&alerts, verdict("7", 10_000 + at));
    }
    alerts.flush().unwrap();
    let mut deltas = 0;
    loop {
        let Some(Delivery::Delta(delta)) = present.next().await else { panic!("gap or end") };
        deltas += 1;
        if delta.change.alert().count == 101 {
            break;
        }
    }
    assert!(deltas < 50, "{deltas} deltas for 100 repeats");
    drop(alerts);
    assert!(matches!(other.next().await, Some(Delivery::Gap { .. }) | None));
}

#[test]
fn memory_is_bounded_and_what_left_it_is_still_known() {
    let bench = Bench::new();
    let alerts = bench.open_with(AlertConfig { cached_max: 32, ..AlertConfig::default() });
    for at in 0..200 {
        one(&alerts, verdict(&at.to_string(), at));
        alerts.flush().unwrap();
    }
    assert!(alerts.shared.state.lock().cached_count() <= 33);
    assert!(matches!(one(&alerts, verdict("0", 1_000)), AlertChange::Updated(alert) if alert.count == 2));
}

/// A metastore whose first writes fail.
struct Unwell {
    inner: SqliteMetastore,
    failures_left: AtomicU32,
}

impl Metastore for Unwell {
    fn alerts(&self) -> &dyn AlertStore {
        self
    }
    fn tokens(&self) -> &dyn TokenStore {
        self.inner.tokens()
    }
    fn audit(&self) -> &dyn AuditStore {
        self.inner.audit()
    }
    fn documents(&self) -> &dyn DocumentStore {
        self.inner.documents()
    }
}

impl AlertStore for Unwell {
    fn put(&self, rows: &[AlertRow]) -> Result<(), MetastoreError> {
        let fails =
            self.failures_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fails.is_ok() { Err(MetastoreError::Full) } else { self.inner.alerts().put(rows) }
    }
    fn get(&self, id: AlertId) -> Result<Option<AlertRow>, MetastoreError> {
        self.inner.alerts().get(id)
    }
    fn latest(&self, fingerprint: &str) -> Result<Option<AlertRow>, MetastoreError> {
        self.inner.alerts().latest(fingerprint)
    }
    fn list(
        &self,
        filter: &AlertFilter,
        after: Option<&AlertCursor>,
        limit: usize,
    ) -> Result<Vec<Alert>, MetastoreError> {
        self.inner.alerts().list(filter, after, limit)
    }
    fn quiet(&self, before: Timestamp, limit: usize) -> Result<Vec<AlertId>, MetastoreError> {
        self.inner.alerts().quiet(before, limit)
    }
    fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<AlertCount>, MetastoreError> {
        self.inner.alerts().counts(tenant)
    }
    fn similar(&self, alert: &Alert, limit: usize) -> Result<Vec<Alert>, MetastoreError> {
        self.inner.alerts().similar(alert, limit)
    }
    fn feedback_counts(&self, tenant: Option<&Tenant>) -> Result<Vec<FeedbackCount>, MetastoreError> {
        self.inner.alerts().feedback_counts(tenant)
    }
    fn delete_resolved(&self, before: Timestamp, limit: usize) -> Result<usize, MetastoreError> {
        self.inner.alerts().delete_resolved(before, limit)
    }
}

#[test]
fn a_full_disk_delays_storing_and_loses_nothing() {
    let bench = Bench::new();
    let store = Unwell { inner: bench.store(), failures_left: AtomicU32::new(2) };
    let alerts = Alerts::open(Arc::new(store), AlertConfig::default(), bench.clock.clone()).unwrap();
    let mut told = alerts.events(8);
    let id = one(&alerts, verdict("10.0.0.1", 1)).alert().id;
    assert_eq!(told.try_recv(), None, "not stored, not told");
    assert_eq!(alerts.snapshot(None, 10).unwrap().alerts[0].id, id, "but shown");
    alerts.flush().unwrap();
    assert!(matches!(told.try_recv(), Some(crate::event::Event::Alert(event)) if event.alert.id == id));
    assert_eq!(everything(&alerts).len(), 1);
}

/// Run by hand: `cargo test -p heimdall-alert -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn bursts() {
    let bench = Bench::new();
    let alerts = bench.open();
    for (name, sources) in [("100,000 repeats of 1,000 alerts", 1_000), ("20,000 new alerts", 20_000)] {
        let count = if sources == 1_000 { 100_000 } else { 20_000 };
        let verdicts: Vec<_> =
            (0..count).map(|n| verdict(&format!("{sources}-{}", n % sources), n + 1)).collect();
        let start = Instant::now();
        for batch in verdicts.chunks(500) {
            alerts.ingest(batch.to_vec()).unwrap();
        }
        let taken = start.elapsed();
        alerts.flush().unwrap();
        println!("{name}: taken in {taken:?}, stored after {:?}", start.elapsed());
    }
}
