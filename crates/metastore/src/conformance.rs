//! What every implementation of the port must do, as one suite that panics at the first broken promise.

use std::collections::BTreeMap;
use std::sync::Arc;

use heimdall_model::{
    Alert, AlertId, Entity, Feedback, FeedbackVerdict, Mute, MuteKind, Position, Priority, Severity, Status,
    Tenant, Timestamp,
};

use crate::port::{
    AlertCursor, AlertFilter, AlertRow, AlertSort, AlertStore, AuditFilter, AuditRow, AuditStore, Document,
    DocumentCursor, DocumentFilter, DocumentStore, Metastore, MetastoreError, TokenRow, TokenStore,
};

/// Runs the suite; `make` returns an empty metastore each time.
///
/// # Panics
/// When the implementation breaks a promise of the port.
pub fn conformance(make: impl Fn() -> Box<dyn Metastore>) {
    alerts_are_stored_whole_and_replaced(make().alerts());
    one_live_alert_per_fingerprint(make().alerts());
    pages_neither_repeat_nor_skip(make().alerts());
    filters_select(make().alerts());
    filters_by_what_people_set_select(make().alerts());
    labels_and_text_are_searched(make().alerts());
    other_orders_page_as_well(make().alerts());
    quiet_and_old_alerts_are_found(make().alerts());
    feedback_outlives_its_alert(make().alerts());
    similar_alerts_are_earlier_ones_the_closest_first(make().alerts());
    tokens_are_kept(make().tokens());
    the_audit_trail_only_grows(make().audit());
    documents_are_kept_by_kind(make().documents());
    documents_are_listed_newest_first(make().documents());
}

/// An alert to store: number `n` sets its id, rule and service.
#[must_use]
pub fn alert(n: u64, fingerprint: &str, status: Status, raised_at: i64) -> AlertRow {
    let alert = Alert {
        id: AlertId::from_u64_pair(n, n),
        fingerprint: fingerprint.to_owned(),
        tenant: Tenant::default(),
        rule: format!("rule-{}", n % 1_000),
        detector: "auth".to_owned(),
        title: "Failed logins".to_owned(),
        summary: "12 failures in 60 s from 10.0.0.1".to_owned(),
        severity: if n.is_multiple_of(2) { Severity::Critical } else { Severity::Warning },
        priority: Priority::P1,
        status,
        entity: Entity::new("source_ip", &format!("10.0.0.{}", n % 200)),
        service: Some(format!("SERVICE-{}", n % 3)),
        raised_at: Timestamp(raised_at),
        first_seen: Timestamp(raised_at),
        last_seen: Timestamp(raised_at),
        count: 1,
        score: 0.5,
        baseline: None,
        features: vec![],
        evidence: vec![],
        mitigation: vec!["block the address".to_owned()],
        notified: vec![],
        history: vec![],
        feedback: None,
        position: Position(n),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        source_url: None,
        ends_at: None,
        suppressed_until: None,
        assignee: None,
        comments: Vec::new(),
        incident: None,
        muted: None,
        returns: Vec::new(),
    };
    AlertRow { alert: Arc::new(alert), touched_at: Timestamp(raised_at) }
}

fn alerts_are_stored_whole_and_replaced(store: &dyn AlertStore) {
    let row = alert(1, "fp", Status::Open, 10);
    assert_eq!(store.get(row.alert.id).expect("get"), None);
    store.put(std::slice::from_ref(&row)).expect("put");
    assert_eq!(store.get(row.alert.id).expect("get"), Some(row.clone()));
    let mut changed = row;
    changed.touched_at = Timestamp(20);
    let inner = Arc::make_mut(&mut changed.alert);
    (inner.count, inner.status, inner.severity) = (2, Status::Acknowledged, Severity::Critical);
    store.put(std::slice::from_ref(&changed)).expect("put");
    assert_eq!(store.latest("fp").expect("latest"), Some(changed.clone()));
    let by_status = AlertFilter { statuses: vec![Status::Acknowledged], ..AlertFilter::default() };
    assert_eq!(store.list(&by_status, None, 9).expect("list"), vec![(*changed.alert).clone()]);
    let counts = store.counts(None).expect("counts");
    assert_eq!((counts.len(), counts[0].count, counts[0].severity), (1, 1, Severity::Critical));
}

fn one_live_alert_per_fingerprint(store: &dyn AlertStore) {
    store.put(&[alert(1, "fp", Status::Suppressed, 1)]).expect("put");
    let refused = store.put(&[alert(2, "other", Status::Open, 2), alert(3, "fp", Status::Open, 3)]);
    assert!(matches!(refused, Err(MetastoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(store.get(alert(2, "other", Status::Open, 2).alert.id).expect("get"), None, "all or nothing");
    store
        .put(&[alert(3, "fp", Status::Open, 3), alert(1, "fp", Status::Resolved, 1)])
        .expect("resolved ones count first");
    assert_eq!(
        store.latest("fp").expect("latest").map(|row| row.alert.id),
        Some(AlertId::from_u64_pair(3, 3))
    );
}

fn pages_neither_repeat_nor_skip(store: &dyn AlertStore) {
    // Seven share each time, so that ids decide inside it.
    let all: Vec<_> =
        (0..50_u32).map(|n| alert(n.into(), &format!("fp{n}"), Status::Open, i64::from(n / 7))).collect();
    store.put(&all).expect("put");
    let mut expected: Vec<_> = all.iter().map(|row| (row.alert.raised_at, row.alert.id)).collect();
    expected.sort_unstable();
    expected.reverse();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(&AlertFilter::default(), cursor.as_ref(), 8).expect("list");
        let Some(last) = page.last() else { break };
        let text = AlertCursor::of(last, AlertSort::default()).to_string();
        cursor = Some(text.parse().expect("a cursor reads its own text"));
        seen.extend(page.iter().map(|alert| (alert.raised_at, alert.id)));
    }
    assert_eq!(seen, expected);
}

fn filters_select(store: &dyn AlertStore) {
    let all: Vec<_> =
        (0..30_u32).map(|n| alert(n.into(), &format!("fp{n}"), Status::Open, i64::from(n))).collect();
    store.put(&all).expect("put");
    let count = |filter: AlertFilter| store.list(&filter, None, 100).expect("list").len();
    let every = AlertFilter { tenant: Some(Tenant::default()), ..AlertFilter::default() };
    assert_eq!(count(every.clone()), 30);
    assert_eq!(count(AlertFilter { tenant: Tenant::new("other").ok(), ..every.clone() }), 0);
    assert_eq!(count(AlertFilter { severity: Some(Severity::Critical), ..every.clone() }), 15);
    assert_eq!(count(AlertFilter { rule: Some("rule-3".to_owned()), ..every.clone() }), 1);
    assert_eq!(count(AlertFilter { service: Some("SERVICE-0".to_owned()), ..every.clone() }), 10);
    assert_eq!(count(AlertFilter { entity: Some(Entity::new("source_ip", "10.0.0.7")), ..every.clone() }), 1);
    assert_eq!(count(AlertFilter { since: Some(Timestamp(25)), ..every.clone() }), 5);
    let statuses = vec![Status::Open, Status::Resolved];
    assert_eq!(count(AlertFilter { statuses, severity: Some(Severity::Warning), ..every }), 15);
}

/// Thirty live alerts about three services, changed by `change`.
fn changed(store: &dyn AlertStore, change: impl Fn(u64, &mut Alert)) {
    let all: Vec<_> = (0..30_u32)
        .map(|n| {
            let mut row = alert(n.into(), &format!("fp{n}"), Status::Open, i64::from(n));
            change(n.into(), Arc::make_mut(&mut row.alert));
            row
        })
        .collect();
    store.put(&all).expect("put");
}

fn filters_by_what_people_set_select(store: &dyn AlertStore) {
    let incident = AlertId::from_u64_pair(7, 7);
    let mute = Mute { kind: MuteKind::Silence, by: None, reason: "x".to_owned(), since: Timestamp(1) };
    changed(store, |n, alert| {
        alert.assignee = (n % 3 == 0).then(|| "ann".to_owned());
        alert.incident = (n % 10 == 0).then_some(incident);
        alert.muted = (n % 5 == 0).then(|| mute.clone());
        alert.priority = if n < 4 { Priority::P3 } else { Priority::P1 };
    });
    for tenant in [Some(Tenant::default()), None] {
        let every = AlertFilter { tenant, ..AlertFilter::default() };
        let count = |filter: AlertFilter| store.list(&filter, None, 100).expect("list").len();
        assert_eq!(count(AlertFilter { assignee: Some("ann".to_owned()), ..every.clone() }), 10);
        assert_eq!(count(AlertFilter { assignee: Some(String::new()), ..every.clone() }), 20, "nobody");
        assert_eq!(count(AlertFilter { incident: Some(incident), ..every.clone() }), 3);
        assert_eq!(count(AlertFilter { is_muted: Some(true), ..every.clone() }), 6);
        assert_eq!(count(AlertFilter { is_muted: Some(false), ..every.clone() }), 24);
        assert_eq!(count(AlertFilter { priority: Some(Priority::P3), ..every.clone() }), 4);
        assert_eq!(count(AlertFilter { until: Some(Timestamp(5)), ..every }), 5);
    }
}

fn labels_and_text_are_searched(store: &dyn AlertStore) {
    changed(store, |n, alert| {
        alert.labels.insert("zone".to_owned(), format!("eu-{}", n % 2));
        alert.title = if n == 7 { "Größe überschritten".to_owned() } else { "Disk".to_owned() };
        alert.assignee = (n == 8).then(|| "Ann".to_owned());
        alert.status = if n < 10 { Status::Open } else { Status::Acknowledged };
    });
    let check = |labels: &[&str], text: &str, expected: usize| {
        for tenant in [Some(Tenant::default()), None] {
            let filter = AlertFilter {
                tenant,
                labels: labels.iter().map(|label| label.parse().expect("a matcher")).collect(),
                text: Some(text.to_owned()),
                ..AlertFilter::default()
            };
            let found = store.list(&filter, None, 100).expect("list");
            assert_eq!(found.len(), expected, "{labels:?} {text}");
            let narrowed = AlertFilter { statuses: vec![Status::Open], ..filter.clone() };
            let open = found.iter().filter(|alert| alert.status == Status::Open).count();
            assert_eq!(store.list(&narrowed, None, 100).expect("list").len(), open, "{labels:?} {text}");
            let mut paged = Vec::new();
            let mut cursor = None;
            loop {
                let page = store.list(&filter, cursor.as_ref(), 4).expect("list");
                let Some(last) = page.last() else { break };
                cursor = Some(AlertCursor::of(last, filter.sort));
                paged.extend(page);
            }
            assert_eq!(paged, found, "pages neither repeat nor skip");
        }
    };
    check(&["zone=eu-1"], "", 15);
    check(&["zone=~eu-.", "service=SERVICE-0"], "", 10);
    check(&["zone!=eu-1", "source_ip=10.0.0.4"], "", 1);
    check(&["absent="], "", 30);
    check(&["absent!="], "", 0);
    check(&["severity=critical", "alertname=~rule-[0-3]", "rule!=rule-0", "tenant=default"], "", 1);
    check(&[], "GRÖSSE", 0);
    check(&[], " größe ÜBER", 1);
    check(&[], "10.0.0.2", 11);
    check(&[], "eu-0", 15);
    check(&["zone=eu-0"], "ann", 1);
    check(&[], "%", 0);
}

fn other_orders_page_as_well(store: &dyn AlertStore) {
    changed(store, |n, alert| {
        alert.last_seen = Timestamp(100 - i64::try_from(n / 3).expect("small"));
        alert.priority = if n % 3 == 0 { Priority::P1 } else { Priority::P2 };
        alert.raised_at = Timestamp(i64::try_from(n / 2).expect("small") * 1_000_000);
    });
    for (sort, text) in [AlertSort::LastSeen, AlertSort::Worst]
        .into_iter()
        .flat_map(|sort| [(sort, None), (sort, Some("10.0"))])
    {
        let filter = AlertFilter {
            tenant: Some(Tenant::default()),
            text: text.map(str::to_owned),
            sort,
            ..AlertFilter::default()
        };
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.list(&filter, cursor.as_ref(), 7).expect("list");
            let Some(last) = page.last() else { break };
            cursor = Some(AlertCursor::of(last, sort));
            seen.extend(page.iter().map(|alert| (sort.key(alert), alert.id)));
        }
        assert_eq!(seen.len(), 30, "{sort:?}");
        assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "{sort:?}: {seen:?}");
    }
    let worst = AlertFilter { sort: AlertSort::Worst, ..AlertFilter::default() };
    let first = store.list(&worst, None, 1).expect("list").remove(0);
    assert_eq!((first.severity, first.priority), (Severity::Critical, Priority::P1));
}

fn quiet_and_old_alerts_are_found(store: &dyn AlertStore) {
    let statuses = [Status::Open, Status::Acknowledged, Status::Suppressed, Status::Resolved];
    let all: Vec<_> = (0..8_u32)
        .map(|n| alert(n.into(), &format!("fp{n}"), statuses[n as usize % 4], i64::from(n)))
        .collect();
    store.put(&all).expect("put");
    let mut ends = alert(9, "fp9", Status::Open, 2);
    Arc::make_mut(&mut ends.alert).ends_at = Some(Timestamp(3));
    store.put(&[ends]).expect("put");
    let quiet: Vec<_> = store.quiet(Timestamp(5), 9).expect("quiet");
    assert_eq!(
        quiet,
        [0, 1, 4].map(|n| AlertId::from_u64_pair(n, n)),
        "one with an end of its own is not quiet"
    );
    assert_eq!(store.delete_resolved(Timestamp(7), 9).expect("delete"), 1);
    assert_eq!(store.get(AlertId::from_u64_pair(3, 3)).expect("get"), None);
    assert!(store.get(AlertId::from_u64_pair(7, 7)).expect("get").is_some());
}

/// The alert with this number and what a person says of it.
fn judged(n: u64, status: Status, verdict: FeedbackVerdict) -> AlertRow {
    let mut row = alert(n, &format!("fp{n}"), status, 1);
    let feedback = Feedback { verdict, by: "ann".to_owned(), at: Timestamp(3), note: Some("why".to_owned()) };
    Arc::make_mut(&mut row.alert).feedback = Some(feedback);
    row
}

fn feedback_outlives_its_alert(store: &dyn AlertStore) {
    use FeedbackVerdict::{FalsePositive, TruePositive};
    let counted = |tenant: Option<&Tenant>| -> Vec<(String, u64, u64)> {
        let counts = store.feedback_counts(tenant).expect("counts");
        counts
            .into_iter()
            .map(|count| {
                (
                    count.detector + "/" + &count.rule,
                    count.judged.true_positives,
                    count.judged.false_positives,
                )
            })
            .collect()
    };
    assert_eq!(counted(None), []);
    let mut elsewhere = judged(2_001, Status::Open, TruePositive);
    Arc::make_mut(&mut elsewhere.alert).tenant = Tenant::new("other").expect("a tenant");
    let mut rows = vec![
        judged(1, Status::Resolved, TruePositive),
        judged(1_001, Status::Open, FalsePositive),
        judged(2, Status::Open, FalsePositive),
        alert(3, "fp3", Status::Open, 1),
        elsewhere,
    ];
    store.put(&rows).expect("put");
    assert_eq!(store.get(rows[0].alert.id).expect("get"), Some(rows[0].clone()), "it is in the alert");
    let (own, other) = (Tenant::default(), Tenant::new("other").expect("a tenant"));
    let rule = |n: u64, right: u64, wrong: u64| (format!("auth/rule-{n}"), right, wrong);
    assert_eq!(counted(Some(&own)), [rule(1, 1, 1), rule(2, 0, 1)]);
    assert_eq!(counted(Some(&other)), [rule(1, 1, 0)]);
    assert_eq!(counted(None).len(), 3, "tenants are kept apart");
    rows[2] = judged(2, Status::Open, TruePositive);
    store.put(&rows).expect("said otherwise, and stored twice");
    assert_eq!(counted(Some(&own)), [rule(1, 1, 1), rule(2, 1, 0)]);
    assert_eq!(store.delete_resolved(Timestamp(9), 9).expect("delete"), 1);
    assert_eq!(store.get(rows[0].alert.id).expect("get"), None);
    assert_eq!(counted(Some(&own)), [rule(1, 1, 1), rule(2, 1, 0)]);
}

fn similar_alerts_are_earlier_ones_the_closest_first(store: &dyn AlertStore) {
    // Rule 7 about 10.0.0.7: `alert` derives both from the number, here they are said.
    let about = |n: u64, rule: &str, kind: &str, value: &str, status: Status| {
        let mut row = alert(n, &format!("{rule} {kind} {value}"), status, i64::try_from(n).expect("small"));
        let inner = Arc::make_mut(&mut row.alert);
        (inner.rule, inner.entity) = (rule.to_owned(), Entity::new(kind, value));
        row
    };
    let (ip, host) = ("source_ip", "host");
    let this = about(20, "r", ip, "a", Status::Open);
    let mut elsewhere = about(1, "r", ip, "a", Status::Resolved);
    let inner = Arc::make_mut(&mut elsewhere.alert);
    (inner.tenant, inner.fingerprint) = (Tenant::new("other").expect("a tenant"), "else".to_owned());
    store
        .put(&[
            elsewhere,
            about(2, "r", ip, "a", Status::Resolved),
            about(3, "r", ip, "a", Status::Resolved),
            about(4, "r", ip, "b", Status::Resolved),
            about(5, "r", ip, "c", Status::Open),
            about(6, "r", ip, "d", Status::Resolved),
            about(7, "r", host, "a", Status::Resolved),
            about(8, "s", ip, "a", Status::Resolved),
            about(9, "s", ip, "b", Status::Resolved),
            this.clone(),
            about(21, "r", ip, "e", Status::Resolved),
        ])
        .expect("put");
    let found = |limit: usize| -> Vec<u64> {
        let found = store.similar(&this.alert, limit).expect("similar");
        found.iter().map(|alert| alert.id.as_u64_pair().0).collect()
    };
    assert_eq!(found(9), [3, 2, 6, 4, 5, 8]);
    assert_eq!(found(3), [3, 2, 6]);
    assert_eq!(found(0), [0_u64; 0]);
}

fn tokens_are_kept(store: &dyn TokenStore) {
    let token = TokenRow {
        id: "a1".to_owned(),
        name: "night shift".to_owned(),
        tenant: Some(Tenant::default()),
        scopes: "read,watch".to_owned(),
        secret_hash: [7; 32],
        created_at: Timestamp(1),
        created_by: "loopback".to_owned(),
        expires_at: Some(Timestamp(100)),
        last_used_at: None,
        revoked_at: None,
    };
    store.insert(&token).expect("insert");
    assert!(matches!(store.insert(&token), Err(MetastoreError::Conflict { .. })));
    assert_eq!(store.list().expect("list"), vec![token.clone()]);
    store.note_used(&[("a1".to_owned(), Timestamp(9)), ("gone".to_owned(), Timestamp(9))]).expect("note");
    store.note_used(&[("a1".to_owned(), Timestamp(4))]).expect("note");
    assert!(store.revoke("a1", Timestamp(11)).expect("revoke"));
    assert!(store.revoke("a1", Timestamp(12)).expect("revoke"));
    assert!(!store.revoke("gone", Timestamp(12)).expect("revoke"));
    let expected = TokenRow { last_used_at: Some(Timestamp(9)), revoked_at: Some(Timestamp(11)), ..token };
    assert_eq!(store.list().expect("list"), vec![expected]);
}

fn the_audit_trail_only_grows(store: &dyn AuditStore) {
    let line = |seq: u64| AuditRow {
        seq,
        at: Timestamp(i64::try_from(seq).expect("small")),
        tenant: seq.is_multiple_of(2).then(Tenant::default),
        principal: "loopback".to_owned(),
        action: format!("action-{}", seq % 3),
        document: format!("{{\"n\":{seq}}}"),
        prev_hash: format!("{}", seq - 1),
        hash: format!("{seq}"),
    };
    assert_eq!(store.last().expect("last"), None);
    for seq in 1..=10 {
        store.append(&line(seq)).expect("append");
    }
    for seq in [10, 12] {
        assert!(matches!(store.append(&line(seq)), Err(MetastoreError::Conflict { .. })));
    }
    assert_eq!(store.last().expect("last"), Some(line(10)));
    let page = |filter: AuditFilter, before| -> Vec<u64> {
        store.list(&filter, before, 3).expect("list").iter().map(|row| row.seq).collect()
    };
    assert_eq!(page(AuditFilter::default(), None), [10, 9, 8]);
    assert_eq!(page(AuditFilter::default(), Some(3)), [2, 1]);
    assert_eq!(
        page(AuditFilter { tenant: Some(Tenant::default()), ..AuditFilter::default() }, None),
        [10, 8, 6]
    );
    assert_eq!(
        page(AuditFilter { action: Some("action-0".to_owned()), ..AuditFilter::default() }, Some(9)),
        [6, 3]
    );
    assert_eq!(page(AuditFilter { since: Some(Timestamp(9)), ..AuditFilter::default() }, None), [10, 9]);
}

fn document(n: u64, state: &str, at: i64) -> Document {
    Document {
        id: format!("d{n}"),
        tenant: Tenant::default(),
        at: Timestamp(at),
        state: state.to_owned(),
        key: format!("key-{}", n % 3),
        body: format!("{{\"n\":{n}}}"),
    }
}

fn documents_are_kept_by_kind(store: &dyn DocumentStore) {
    let first = document(1, "open", 10);
    store.insert("note", &first).expect("answers");
    let again = store.insert("note", &document(1, "open", 11));
    assert!(matches!(again, Err(MetastoreError::Conflict { .. })), "an id is inserted once");
    store.insert("other", &first).expect("answers");
    assert_eq!(store.get("note", "d1").expect("answers"), Some(first));
    let changed = Document { state: "done".to_owned(), at: Timestamp(12), ..document(1, "done", 12) };
    store.put("note", &[changed.clone(), document(2, "open", 13)]).expect("answers");
    assert_eq!(store.get("note", "d1").expect("answers"), Some(changed), "put replaces");
    assert_eq!(store.get("other", "d1").expect("answers").map(|other| other.state), Some("open".to_owned()));
    assert_eq!(
        store.counts("note", None).expect("answers"),
        [("done".to_owned(), 1), ("open".to_owned(), 1)]
    );
    let nobody = Tenant::new("nobody").expect("answers");
    assert!(store.counts("note", Some(&nobody)).expect("answers").is_empty());
    assert!(store.delete("note", "d1").expect("answers"));
    assert!(!store.delete("note", "d1").expect("answers"), "deleting what is absent says so");
    assert_eq!(store.get("note", "d1").expect("answers"), None);
    assert!(store.get("other", "d1").expect("answers").is_some(), "another kind is left alone");
}

fn documents_are_listed_newest_first(store: &dyn DocumentStore) {
    let all: Vec<Document> = (0..25)
        .map(|n| document(n, if n % 2 == 0 { "open" } else { "done" }, (n / 5).cast_signed()))
        .collect();
    store.put("note", &all).expect("answers");
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.list("note", &DocumentFilter::default(), after.as_ref(), 7).expect("answers");
        let Some(last) = page.last() else { break };
        after = Some(DocumentCursor { at: last.at, id: last.id.clone() });
        let text = after.as_ref().map(ToString::to_string).unwrap_or_default();
        assert_eq!(text.parse::<DocumentCursor>().ok(), after, "a cursor survives as text");
        seen.extend(page);
    }
    assert_eq!(seen.len(), 25, "pages neither repeat nor skip");
    assert!(seen.windows(2).all(|pair| (pair[0].at, &pair[0].id) > (pair[1].at, &pair[1].id)));
    let pick = |filter: DocumentFilter| store.list("note", &filter, None, 100).expect("answers").len();
    assert_eq!(pick(DocumentFilter { states: vec!["open".to_owned()], ..DocumentFilter::default() }), 13);
    assert_eq!(pick(DocumentFilter { key: Some("key-0".to_owned()), ..DocumentFilter::default() }), 9);
    assert_eq!(pick(DocumentFilter { since: Some(Timestamp(4)), ..DocumentFilter::default() }), 5);
    assert_eq!(pick(DocumentFilter { until: Some(Timestamp(1)), ..DocumentFilter::default() }), 5);
    assert_eq!(store.delete_before("note", &["done"], Timestamp(2), 3).expect("answers"), 3);
    assert_eq!(store.delete_before("note", &["done"], Timestamp(2), 100).expect("answers"), 2);
    assert_eq!(pick(DocumentFilter::default()), 20);
}
