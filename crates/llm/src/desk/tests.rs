use super::*;
use heimdall_model::verdict::EVIDENCE_MAX;
use heimdall_model::{Level, Position, RecordId, Severity, Timestamp};

/// A candidate of the default tenant at this position of the journal.
pub(crate) fn candidate(template: &str, position: u64) -> Candidate {
    let time = Timestamp(1_772_366_400_000_000_000 + position.cast_signed() * 1_000_000);
    Candidate {
        tenant: Tenant::default(),
        service: Some("checkout".to_owned()),
        template: template.to_owned(),
        level: Some(Level::Error),
        count: 1,
        example: RecordId::new(time, Position(position)),
        position: Position(position),
        time,
    }
}

fn of(tenant: &str, template: &str) -> Candidate {
    Candidate { tenant: Tenant::new(tenant).unwrap(), ..candidate(template, 1) }
}

fn desk(change: impl FnOnce(&mut LlmConfig)) -> Desk {
    let mut config = LlmConfig { enabled: true, ..LlmConfig::default() };
    change(&mut config);
    Desk::new(config)
}

/// A text of letters alone for a number: digits would be masked.
fn word(n: usize) -> String {
    n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
}

fn batch(desk: &Desk) -> Batch {
    match desk.next(Instant::now(), Duration::ZERO) {
        Next::Review(batch) => batch,
        _ => panic!("nothing waits"),
    }
}

fn bad() -> Opinion {
    crate::keywords::opinion("out of memory", Some(Level::Error))
}

#[tokio::test(start_paused = true)]
async fn a_template_waits_once_however_many_lines_it_has() {
    let desk = desk(|_| {});
    assert_eq!(desk.offer(candidate("out of memory in <*>", 0)), Offered::Queued);
    for position in 1..10_000 {
        assert_eq!(desk.offer(candidate("out of memory in <*>", position)), Offered::Merged);
    }
    let Batch { mut keys, subjects } = batch(&desk);
    assert_eq!((keys.len(), subjects[0].count), (1, 10_000));
    // While it is asked about, offers still belong to it.
    assert_eq!(desk.offer(candidate("out of memory in <*>", 10_000)), Offered::Merged);
    let verdict = desk.label(keys.remove(0), bad(), &Arc::from("m"), Duration::from_secs(60)).unwrap();
    assert_eq!(verdict.evidence.len(), EVIDENCE_MAX);
    assert_eq!(verdict.evidence.last(), Some(&candidate("", 10_000).example));
    assert_eq!((verdict.position, verdict.severity), (Position(10_000), Severity::Warning));
    assert_eq!(
        verdict.summary,
        "m: the text says `out of memory` (10001 records of service `checkout`: `out of memory in <*>`)"
    );
    assert_eq!(verdict.features[1].value, 10_001.0);
    assert!(matches!(desk.next(Instant::now(), Duration::ZERO), Next::Wait));
}

#[tokio::test(start_paused = true)]
async fn a_bad_template_that_goes_on_is_repeated_with_what_came_since() {
    let desk = desk(|_| {});
    desk.offer(candidate("out of memory", 1));
    let key = batch(&desk).keys.remove(0);
    desk.label(key, bad(), &Arc::from("m"), Duration::from_secs(600)).unwrap();
    for position in 2..5 {
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(desk.offer(candidate("out of memory", position)), Offered::Known);
    }
    assert_eq!(desk.take_ready(), []);
    tokio::time::advance(Duration::from_secs(30)).await;
    desk.offer(candidate("out of memory", 5));
    let repeated = desk.take_ready();
    assert_eq!(repeated.len(), 1);
    assert_eq!((repeated[0].evidence.len(), repeated[0].features[1].value), (4, 4.0));
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(desk.offer(candidate("out of memory", 6)), Offered::Queued, "the label has ended");
}

#[tokio::test(start_paused = true)]
async fn batches_are_of_one_tenant_and_wait_for_company() {
    let desk = desk(|config| config.templates_per_request = 3);
    for n in 0..4 {
        desk.offer(of("a", &word(n)));
    }
    desk.offer(of("b", "x"));
    let linger = Duration::from_secs(5);
    let sizes = |next: Next| match next {
        Next::Review(batch) => {
            let tenants: std::collections::BTreeSet<_> =
                batch.keys.iter().map(|key| key.tenant.clone()).collect();
            (
                batch.keys.len(),
                tenants.into_iter().map(|tenant| tenant.to_string()).collect::<Vec<_>>().join(","),
            )
        }
        Next::WaitUntil(_) => (0, "wait".to_owned()),
        Next::Wait => (0, "none".to_owned()),
    };
    let next = || sizes(desk.next(Instant::now(), linger));
    assert_eq!(next(), (3, "a".to_owned()), "a full batch does not wait");
    assert_eq!(next(), (0, "wait".to_owned()));
    tokio::time::advance(linger).await;
    assert_eq!(next(), (1, "b".to_owned()), "tenants take turns");
    assert_eq!(next(), (1, "a".to_owned()));
    assert_eq!(next(), (0, "none".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_full_desk_takes_from_the_tenant_with_the_most() {
    let desk = desk(|config| config.queued_max = 10);
    for n in 0..10 {
        assert_eq!(desk.offer(of("loud", &word(n))), Offered::Queued);
    }
    assert_eq!(desk.offer(of("loud", "one more")), Offered::Dropped(Dropped::QueueFull));
    for n in 0..5 {
        assert_eq!(desk.offer(of("quiet", &word(n))), Offered::Queued);
    }
    assert_eq!(desk.offer(of("quiet", "one more")), Offered::Dropped(Dropped::QueueFull));
    let stats = desk.stats();
    assert_eq!((stats.waiting, stats.queued, stats.evicted, stats.dropped), (10, 15, 5, 2));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_judged_is_dropped_with_its_reason() {
    let disabled = Desk::new(LlmConfig::default());
    assert_eq!(disabled.offer(candidate("out of memory", 1)), Offered::Dropped(Dropped::Disabled));
    let desk = desk(|_| {});
    for empty in ["", "<*> <*>: <*>", "12345 - 10.0.0.1"] {
        assert_eq!(desk.offer(candidate(empty, 1)), Offered::Dropped(Dropped::Empty), "{empty}");
    }
    desk.close();
    assert_eq!(desk.offer(candidate("out of memory", 1)), Offered::Dropped(Dropped::Closed));
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_about_is_masked() {
    let desk = desk(|_| {});
    let mut secret = candidate("login of alice@example.org from 10.0.0.1 failed, token=abc", 1);
    secret.service = Some("shop-10.0.0.1".to_owned());
    desk.offer(secret);
    let subject = &batch(&desk).subjects[0];
    assert_eq!(subject.template, "login of <email> from <ip> failed, token=<secret>");
    assert_eq!(subject.service, "shop-<ip>");
}
