//! Silences as people and Alertmanager's clients make them.

use super::*;
use crate::lifecycle::{raise, tests::verdict};
use heimdall_model::ManualClock;

struct Bench {
    _dir: tempfile::TempDir,
    store: Arc<dyn Metastore>,
    clock: Arc<ManualClock>,
}

const HOUR: Duration = Duration::from_secs(3_600);

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Metastore> =
            Arc::new(heimdall_metastore::open(&dir.path().join("meta.db")).unwrap());
        // A Sunday.
        let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T12:00:00Z").unwrap()));
        Bench { _dir: dir, store, clock }
    }

    fn open(&self) -> Arc<Silences> {
        Silences::open(self.store.clone(), self.clock.clone()).unwrap()
    }

    fn at(&self, hours: i64) -> Timestamp {
        self.clock.now().saturating_add_ns(hours * ns(HOUR))
    }

    fn draft(&self, matchers: &[&str]) -> SilenceDraft {
        SilenceDraft {
            id: None,
            tenant: Tenant::default(),
            kind: SilenceKind::Silence,
            matchers: matchers.iter().map(|matcher| matcher.parse().unwrap()).collect(),
            starts_at: self.at(-1),
            ends_at: self.at(2),
            recurrence: None,
            comment: "we know".to_owned(),
        }
    }
}

fn alert(source: &str) -> Alert {
    raise(verdict(source, 1), "fp".to_owned(), None, Timestamp(1))
}

#[test]
fn a_silence_mutes_what_passes_its_matchers_until_it_ends_and_after_a_restart() {
    let bench = Bench::new();
    let silences = bench.open();
    let made = silences.put(bench.draft(&["source_ip=10.0.0.1", "severity!=critical"]), "ann").unwrap();
    assert_eq!(made.starts_at, bench.clock.now(), "the past is not rewritten");
    for silences in [silences, bench.open()] {
        let mute = silences.mute_of(&alert("10.0.0.1"), bench.clock.now()).unwrap();
        assert_eq!((mute.kind, mute.by.as_deref()), (MuteKind::Silence, Some(made.id.to_string().as_str())));
        assert_eq!(mute.reason, "silenced by ann: we know");
        assert_eq!(silences.mute_of(&alert("10.0.0.2"), bench.clock.now()), None);
        let other = Alert { tenant: Tenant::new("other").unwrap(), ..alert("10.0.0.1") };
        assert_eq!(silences.mute_of(&other, bench.clock.now()), None, "tenants are kept apart");
        assert_eq!(silences.mute_of(&alert("10.0.0.1"), bench.at(2)), None, "it is over at its end");
    }
    let silences = bench.open();
    let ended = silences.expire(None, made.id, "bob").unwrap();
    assert_eq!(
        (ended.ends_at, silences.mute_of(&alert("10.0.0.1"), bench.clock.now())),
        (bench.clock.now(), None)
    );
    bench.clock.advance(HOUR);
    assert_eq!(silences.expire(None, made.id, "bob").unwrap(), ended, "again is nothing");
    let other = Tenant::new("other").unwrap();
    assert!(matches!(silences.expire(Some(&other), made.id, "eve"), Err(SilenceError::NotFound { .. })));
    bench.clock.advance(KEEP_EXPIRED);
    silences.forget(bench.clock.now()).unwrap();
    assert_eq!((silences.list(None).len(), bench.open().list(None).len()), (0, 0), "long expired ones go");
}

#[test]
fn it_is_changed_in_place_only_where_that_rewrites_no_past() {
    let bench = Bench::new();
    let silences = bench.open();
    let first = silences.put(bench.draft(&["service=~AUTH.*"]), "ann").unwrap();
    bench.clock.advance(HOUR / 2);
    let longer = SilenceDraft {
        id: Some(first.id),
        starts_at: first.starts_at,
        ends_at: bench.at(9),
        ..bench.draft(&["service=~AUTH.*"])
    };
    let longer = silences.put(longer, "bob").unwrap();
    assert_eq!((longer.id, longer.created_by.as_str(), longer.ends_at), (first.id, "ann", bench.at(9)));
    let wider = SilenceDraft { id: Some(first.id), ..bench.draft(&["service=~.*API"]) };
    let wider = silences.put(wider, "bob").unwrap();
    assert_ne!(wider.id, first.id, "other matchers are another silence");
    let now = bench.clock.now();
    let state = |id| Silences::state(&silences.get(None, id).unwrap(), now);
    assert_eq!((state(first.id), state(wider.id)), (SilenceState::Expired, SilenceState::Active));
    let unknown = SilenceDraft { id: Some(Uuid::nil()), ..bench.draft(&["a=b"]) };
    assert!(matches!(silences.put(unknown, "bob"), Err(SilenceError::NotFound { .. })));
}

#[test]
fn what_cannot_be_names_its_field() {
    let bench = Bench::new();
    let silences = bench.open();
    let field = |draft: SilenceDraft| match silences.put(draft, "ann") {
        Err(SilenceError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(bench.draft(&[])), "matchers");
    assert_eq!(field(bench.draft(&["a=", "b=~.*"])), "matchers");
    assert_eq!(field(SilenceDraft { ends_at: bench.clock.now(), ..bench.draft(&["a=b"]) }), "ends_at");
    assert_eq!(field(SilenceDraft { starts_at: bench.at(3), ..bench.draft(&["a=b"]) }), "ends_at");
    let recurrence =
        Recurrence { weekdays: vec![], from: "1".into(), to: "02:00".into(), zone: "UTC".into() };
    assert_eq!(field(SilenceDraft { recurrence: Some(recurrence), ..bench.draft(&["a=b"]) }), "recurrence");
    assert!(silences.list(None).is_empty());
}

#[test]
fn a_recurring_window_begins_and_ends_week_by_week() {
    let bench = Bench::new();
    let silences = bench.open();
    let recurrence = Recurrence {
        weekdays: vec![Weekday::Sunday],
        from: "14:00".into(),
        to: "16:00".into(),
        zone: "Europe/Berlin".into(),
    };
    let kind = SilenceKind::Maintenance;
    let draft = SilenceDraft {
        kind,
        recurrence: Some(recurrence),
        ends_at: bench.at(24 * 30),
        ..bench.draft(&["source_ip=a"])
    };
    let made = silences.put(draft, "ann").unwrap();
    let mut told = Vec::new();
    // It is 12:00 UTC, 13:00 in Berlin.
    for hour in 0..24 * 8 {
        let turn = silences.advance(bench.at(hour));
        told.extend(turn.began.iter().map(|silence| (hour, "began", silence.id)));
        told.extend(turn.ended.iter().map(|id| (hour, "ended", *id)));
        let is_muted = silences.mute_of(&alert("a"), bench.at(hour)).is_some();
        assert_eq!(is_muted, matches!(hour, 1 | 2 | 169 | 170), "{hour}");
    }
    let week = 24 * 7;
    let expected = [(1, "began"), (3, "ended"), (week + 1, "began"), (week + 3, "ended")];
    assert_eq!(told, expected.map(|(hour, what)| (hour, what, made.id)));
}
