//! The pipeline as people experience it: paused time, real alerts, a real metastore, stand-ins for channels.

use super::*;
use crate::alerts::AlertConfig;
use crate::lifecycle::Step;
use crate::lifecycle::tests::verdict;
use crate::notify::notice::{NotifyError, Receipt};
use crate::silence::{SilenceDraft, SilenceKind};
use futures::future::BoxFuture;
use heimdall_model::{Severity, Status, Verdict};
use std::collections::{BTreeMap, HashSet, VecDeque};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const START: &str = "2026-03-01T12:00:00Z";

/// The wall clock that goes with tokio's paused time, from a start that survives restarts of the pipeline.
struct PausedClock {
    start: Timestamp,
    begun: Instant,
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        self.start.saturating_add_ns(i64::try_from(self.begun.elapsed().as_nanos()).unwrap())
    }
}

/// A channel that answers as scripted, then with success, and remembers what it was told.
struct Phone {
    kind: &'static str,
    answers: Mutex<VecDeque<NotifyError>>,
    is_broken: Mutex<bool>,
    told: Mutex<Vec<Told>>,
    begun: Instant,
}

#[derive(Clone)]
struct Told {
    at: Duration,
    notice: Notice,
    previous: Option<Receipt>,
    was_taken: bool,
}

impl Phone {
    fn new(kind: &'static str) -> Arc<Phone> {
        Arc::new(Phone {
            kind,
            answers: Mutex::default(),
            is_broken: Mutex::new(false),
            told: Mutex::default(),
            begun: Instant::now(),
        })
    }

    /// What it was told since it was asked last: `kind count reason`.
    fn lines(&self) -> Vec<String> {
        let told = std::mem::take(&mut *self.told.lock());
        told.iter().map(|told| line(&told.notice)).collect()
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock())
    }
}

fn line(notice: &Notice) -> String {
    let reason = notice.reason.split("; incident").next().unwrap();
    format!("{:?} {}: {reason}", notice.kind, notice.total)
}

fn failure(is_retryable: bool, retry_after: Option<u64>) -> NotifyError {
    NotifyError { is_retryable, retry_after: retry_after.map(Duration::from_secs), detail: "no".into() }
}

impl Notifier for Phone {
    fn kind(&self) -> &'static str {
        self.kind
    }
    fn send<'a>(
        &'a self,
        notice: &'a Notice,
        previous: Option<&'a Receipt>,
    ) -> BoxFuture<'a, Result<Option<Receipt>, NotifyError>> {
        let answer =
            if *self.is_broken.lock() { Some(failure(true, None)) } else { self.answers.lock().pop_front() };
        let told = Told {
            at: self.begun.elapsed(),
            notice: notice.clone(),
            previous: previous.cloned(),
            was_taken: answer.is_none(),
        };
        self.told.lock().push(told);
        let receipt = Receipt(serde_json::json!(notice.group_key));
        Box::pin(async move { answer.map_or(Ok(Some(receipt)), Err) })
    }
}

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<PausedClock>,
}

struct Running {
    alerts: Arc<Alerts>,
    handle: PipelineHandle,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Bench {
    fn new() -> Bench {
        let start = Timestamp::parse(START).unwrap();
        let clock = Arc::new(PausedClock { start, begun: Instant::now() });
        Bench { dir: tempfile::tempdir().unwrap(), clock }
    }

    fn start(&self, routing: Routing) -> Running {
        let store: Arc<dyn Metastore> =
            Arc::new(heimdall_metastore::open(&self.dir.path().join("meta.db")).unwrap());
        let alerts = Alerts::open(Arc::clone(&store), AlertConfig::default(), self.clock.clone()).unwrap();
        let silences = Arc::clone(alerts.silences());
        let config = PipelineConfig::default();
        let pipeline =
            Pipeline::new(Arc::clone(&alerts), silences, store, self.clock.clone(), routing, config).unwrap();
        let (handle, shutdown) = (pipeline.handle(), CancellationToken::new());
        let task = tokio::spawn(pipeline.run(shutdown.clone()));
        Running { alerts, handle, shutdown, task }
    }
}

impl Running {
    fn raise(&self, sources: &[&str], severity: Severity) -> Vec<AlertId> {
        static POSITION: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let one = |source: &&str| {
            let position = POSITION.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Verdict { severity, ..verdict(source, position) }
        };
        let changes = self.alerts.ingest(sources.iter().map(one).collect()).unwrap();
        self.alerts.flush().unwrap();
        changes.iter().map(|change| change.alert().id).collect()
    }

    fn step(&self, id: AlertId, step: Step) {
        self.alerts.step(None, id, step, "ann", None).unwrap();
    }

    fn tick(&self, clock: &PausedClock) {
        self.alerts.tick(clock.now()).unwrap();
        self.alerts.flush().unwrap();
    }

    fn why(&self, id: AlertId) -> Vec<String> {
        let decisions = self.handle.why(id).unwrap();
        let shown = |decision: &Decision| {
            format!("{} {:?}", decision.receiver.as_deref().unwrap_or("-"), decision.outcome)
        };
        decisions.iter().map(shown).collect()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.alerts.close();
    }

    /// Ends it as `kill -9` does: nothing more is written by the pipeline.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.alerts.close();
    }
}

/// A routing whose receivers are these phones; `{name}` of the text's receivers get no other channels.
fn routing(text: &str, phones: &[(&str, &Arc<Phone>)]) -> Routing {
    let mut routing = Routing::parse("test.yaml", text).unwrap_or_else(|faults| panic!("{faults:?}"));
    for (name, phone) in phones {
        let notifier: Arc<dyn Notifier> = Arc::clone(phone) as Arc<dyn Notifier>;
        routing.add_channel(name, Channel::Given(notifier));
    }
    routing
}

const ONE: &str = "{route: {receiver: a, group_by: [rule]}, receivers: [{name: a}]}";

async fn secs(secs: u64) {
    sleep(Duration::from_secs(secs)).await;
}

#[tokio::test(start_paused = true)]
async fn critical_is_told_at_once_others_together_and_more_of_a_group_changes_its_message() {
    let (bench, phone) = (Bench::new(), Phone::new("slack"));
    let running = bench.start(routing(ONE, &[("a", &phone)]));
    secs(1).await;
    let first = running.raise(&["a"], Severity::Warning)[0];
    secs(4).await;
    running.raise(&["b"], Severity::Warning);
    secs(5).await;
    assert_eq!(phone.lines(), [""; 0], "others have ten seconds to join");
    secs(2).await;
    assert_eq!(phone.lines(), ["Raised 2: new"]);
    running.raise(&["c", "d"], Severity::Warning);
    secs(55).await;
    assert_eq!(phone.lines(), [""; 0], "an update waits for the interval");
    secs(10).await;
    let told = phone.take();
    assert_eq!((line(&told[0].notice).as_str(), told.len()), ("Updated 4: 2 alerts more", 1));
    assert_eq!(told[0].previous, Some(Receipt(told[0].notice.group_key.clone().into())));
    running.raise(&["e"], Severity::Critical);
    secs(1).await;
    assert_eq!(phone.lines(), ["Updated 5: 1 alert more"], "worse than all told does not wait");
    running.raise(&["a"], Severity::Critical);
    secs(65).await;
    assert_eq!(phone.lines(), ["Updated 5: 1 alert grew worse"]);
    assert_eq!(running.why(first), ["a Waiting", "a Sent", "a Updated"]);
    assert_eq!(running.alerts.get(None, first).unwrap().notified, ["a"]);
    secs(4 * 3_600).await;
    assert_eq!(phone.lines(), ["Updated 5: still so after 4h"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_is_mirrored_where_it_shows_and_the_end_is_told_to_all() {
    let bench = Bench::new();
    let (chat, mail) = (Phone::new("slack"), Phone::new("email"));
    let running = bench.start(routing(ONE, &[("a", &chat), ("a", &mail)]));
    let ids = running.raise(&["a", "b"], Severity::Critical);
    secs(1).await;
    assert_eq!(
        (chat.lines(), mail.lines()),
        (vec!["Raised 2: new".to_owned()], vec!["Raised 2: new".to_owned()])
    );
    running.step(ids[0], Step::Acknowledge);
    secs(1).await;
    running.step(ids[1], Step::Acknowledge);
    secs(1).await;
    assert_eq!(chat.lines(), ["Updated 2: 1 alert acknowledged", "Acknowledged 2: acknowledged"]);
    secs(5 * 3_600).await;
    assert_eq!(
        (chat.lines(), mail.lines()),
        (vec![], vec![]),
        "nobody is bothered with what somebody works on"
    );
    running.step(ids[0], Step::Resolve);
    secs(1).await;
    running.step(ids[1], Step::Resolve);
    secs(1).await;
    assert_eq!(chat.lines().last().unwrap(), "Resolved 1: resolved");
    assert_eq!(mail.lines().last().unwrap(), "Resolved 1: resolved");
    assert_eq!(running.why(ids[1]), ["a Sent", "a Acknowledged", "a Resolved"]);
    running.step(ids[1], Step::Reopen);
    secs(1).await;
    assert_eq!(mail.lines(), ["Raised 1: new"], "what is open again is told again");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_quiet_is_not_told_until_it_is_not() {
    let (bench, phone) = (Bench::new(), Phone::new("slack"));
    let running = bench.start(routing(ONE, &[("a", &phone)]));
    let now = bench.clock.now();
    let draft = SilenceDraft {
        id: None,
        tenant: Tenant::default(),
        kind: SilenceKind::Silence,
        matchers: vec!["entity=b".parse().unwrap()],
        starts_at: now,
        ends_at: now.saturating_add_ns(600_000_000_000),
        recurrence: None,
        comment: "b is being moved".to_owned(),
    };
    let silence = running.alerts.silences().put(draft, "ann").unwrap();
    let ids = running.raise(&["a", "b"], Severity::Warning);
    running.step(ids[0], Step::Suppress { until: None });
    secs(60).await;
    running.tick(&bench.clock);
    secs(60).await;
    assert_eq!(phone.lines(), [""; 0]);
    running.step(ids[0], Step::Reopen);
    secs(11).await;
    assert_eq!(phone.lines(), ["Raised 1: new"]);
    secs(600).await;
    running.tick(&bench.clock);
    secs(61).await;
    assert_eq!(phone.lines(), ["Updated 2: 1 alert more"], "the silence is over");
    assert!(running.why(ids[0]).contains(&"a Suppressed".to_owned()));
    let why = running.handle.why(ids[1]).unwrap();
    assert_eq!(why[0].outcome, Outcome::Silenced);
    assert!(why[0].detail.contains(&silence.id.to_string()), "{why:?}");
    running.step(ids[0], Step::Suppress { until: None });
    secs(5 * 3_600).await;
    phone.take();
    running.step(ids[0], Step::Reopen);
    secs(61).await;
    assert_eq!(phone.lines(), ["Updated 2: 1 alert more"], "who was told before hears that it is still on");
    running.stop().await;
}

const ESCALATING: &str = "{route: {receiver: a, group_by: [rule], escalation: [{after: 10m, receiver: b}, {after: 30m, receiver: c}]},
    receivers: [{name: a}, {name: b}, {name: c}]}";

#[tokio::test(start_paused = true)]
async fn escalation_goes_on_over_a_restart_and_stops_when_somebody_acknowledges() {
    let bench = Bench::new();
    let phones = ["a", "b", "c"].map(|_| Phone::new("slack"));
    let [a, b, c] = &phones;
    let of = || routing(ESCALATING, &[("a", a), ("b", b), ("c", c)]);
    let running = bench.start(of());
    let id = running.raise(&["x"], Severity::Critical)[0];
    secs(400).await;
    running.kill().await;
    let running = bench.start(of());
    secs(190).await;
    assert_eq!((a.lines(), b.lines()), (vec!["Raised 1: new".to_owned()], vec![]));
    secs(15).await;
    assert_eq!(b.lines(), ["Escalated 1: not acknowledged, escalation step 1"]);
    running.raise(&["y"], Severity::Critical);
    secs(62).await;
    assert_eq!(b.lines(), ["Updated 2: 1 alert more"], "who is told hears the rest too");
    secs(1_200).await;
    assert_eq!(c.lines(), ["Escalated 2: not acknowledged, escalation step 2"]);
    running.step(id, Step::Resolve);
    let other = running.raise(&["y"], Severity::Critical)[0];
    running.step(other, Step::Resolve);
    secs(2).await;
    for phone in [a, b, c] {
        assert_eq!(phone.lines().last().unwrap(), "Resolved 2: resolved");
    }
    let mut why = running.why(id);
    why.sort();
    assert_eq!(why, ["a Resolved", "a Sent", "b Escalated", "b Resolved", "c Escalated", "c Resolved"]);

    let taken = running.raise(&["z"], Severity::Critical)[0];
    secs(300).await;
    running.step(taken, Step::Acknowledge);
    secs(7_200).await;
    assert_eq!((b.lines(), c.lines()), (vec![], vec![]), "somebody has it");
    running.step(taken, Step::Reopen);
    secs(590).await;
    assert_eq!(b.lines(), [""; 0]);
    secs(20).await;
    assert_eq!(b.lines(), ["Escalated 1: not acknowledged, escalation step 1"], "nobody has it after all");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_to_whoever_is_on_call_when_it_is_sent() {
    let (bench, phone) = (Bench::new(), Phone::new("email"));
    let text = "{route: {receiver: a, group_by: [rule, entity]}, receivers: [{name: a, on_call: [s]}],
        people: {ann: {email: ann@x}, bob: {email: bob@x}},
        schedules: [{name: s, people: [ann, bob], shift: daily, start: 2026-03-01, handoff: '12:30'}]}";
    let running = bench.start(routing(text, &[("a", &phone)]));
    secs(1_790).await;
    running.raise(&["x"], Severity::Warning);
    secs(30).await;
    running.raise(&["y"], Severity::Critical);
    secs(86_400).await;
    let to: Vec<_> = phone.take().into_iter().map(|told| told.notice.to.join(",")).collect();
    assert_eq!(&to[..2], ["ann@x", "ann@x"], "raised before the hand-off, sent after it");
    assert_eq!(to.last().unwrap(), "bob@x");
    let deliveries = running.handle.deliveries(None, &DeliveryFilter::default(), None, 10).unwrap();
    assert_eq!(deliveries.items.last().unwrap().channels[0].to, ["ann"]);
    let now = bench.clock.now();
    assert_eq!(running.handle.on_call("s", now).unwrap().person.as_deref(), Some("bob"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_with_growing_pauses_and_as_asked() {
    let (bench, phone) = (Bench::new(), Phone::new("slack"));
    phone.answers.lock().extend([failure(true, None), failure(true, None), failure(true, Some(7))]);
    let running = bench.start(routing(ONE, &[("a", &phone)]));
    let id = running.raise(&["a"], Severity::Critical)[0];
    secs(30).await;
    let told = phone.take();
    let gaps: Vec<_> = told.windows(2).map(|pair| (pair[1].at - pair[0].at).as_millis()).collect();
    assert!((250..=501).contains(&gaps[0]) && (500..=1_001).contains(&gaps[1]), "{gaps:?}");
    assert!((7_000..=7_001).contains(&gaps[2]), "{gaps:?}");
    assert!(
        told.iter().all(|attempt| attempt.notice.id == told[0].notice.id),
        "one notice over all attempts"
    );
    let delivery = &running.handle.deliveries(None, &DeliveryFilter::default(), None, 10).unwrap().items[0];
    assert_eq!((delivery.state, delivery.channels[0].attempts), (DeliveryState::Sent, 4));
    assert_eq!(running.why(id), ["a Sent"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_does_not_hold_up_the_rest_and_is_told_later() {
    let (bench, phone) = (Bench::new(), Phone::new("slack"));
    phone.answers.lock().extend([failure(false, None)]);
    let text = "{route: {receiver: a, group_by: [entity]}, receivers: [{name: a}]}";
    let running = bench.start(routing(text, &[("a", &phone)]));
    let id = running.raise(&["a", "b"], Severity::Critical)[0];
    secs(1).await;
    let told: Vec<_> = phone.take().iter().map(|told| told.was_taken).collect();
    assert_eq!(told, [false, true]);
    secs(15).await;
    assert_eq!(phone.lines(), ["Raised 1: new"]);
    assert_eq!(
        running.handle.why(id).unwrap().iter().map(|why| why.outcome).collect::<Vec<_>>().last(),
        Some(&Outcome::Sent)
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_what_was_not_told_is_told_and_what_was_told_is_not_told_again() {
    let (bench, phone) = (Bench::new(), Phone::new("slack"));
    let text = "{route: {receiver: a, group_by: [entity]}, receivers: [{name: a}]}";
    let running = bench.start(routing(text, &[("a", &phone)]));
    let told = running.raise(&["told", "ends"], Severity::Critical);
    secs(1).await;
    running.raise(&["waiting"], Severity::Warning);
    *phone.is_broken.lock() = true;
    running.raise(&["failing"], Severity::Critical);
    secs(3).await;
    running.kill().await;
    phone.take();
    *phone.is_broken.lock() = false;

    // While nobody looks, one is over and another begins.
    let store: Arc<dyn Metastore> =
        Arc::new(heimdall_metastore::open(&bench.dir.path().join("meta.db")).unwrap());
    let alerts = Alerts::open(store, AlertConfig::default(), bench.clock.clone()).unwrap();
    alerts.step(None, told[1], Step::Resolve, "ann", None).unwrap();
    alerts.ingest(vec![verdict("meanwhile", 1_000_000)]).unwrap();
    alerts.flush().unwrap();
    alerts.close();
    drop(alerts);

    let running = bench.start(routing(text, &[("a", &phone)]));
    secs(30).await;
    let mut lines: Vec<_> = phone
        .take()
        .iter()
        .map(|told| format!("{:?} {}", told.notice.kind, told.notice.alerts[0].entity.value))
        .collect();
    lines.sort();
    assert_eq!(lines, ["Raised failing", "Raised meanwhile", "Raised waiting", "Resolved ends"]);
    let interrupted =
        DeliveryFilter { states: vec![DeliveryState::Interrupted], ..DeliveryFilter::default() };
    assert_eq!(running.handle.deliveries(None, &interrupted, None, 10).unwrap().items.len(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_bounded_for_everybody_and_no_alert_is_lost() {
    let bench = Bench::new();
    let names = ["a", "b", "c", "d", "e"];
    let phones = names.map(|_| Phone::new("slack"));
    let children: Vec<_> = names.iter().map(|name| format!("{{receiver: {name}, continue: true}}")).collect();
    let receivers: Vec<_> = names.iter().map(|name| format!("{{name: {name}}}")).collect();
    let text = format!(
        "{{route: {{receiver: a, group_by: [rule, entity], routes: [{}]}}, receivers: [{}]}}",
        children.join(", "),
        receivers.join(", ")
    );
    let pairs: Vec<_> = names.into_iter().zip(&phones).collect();
    let running = bench.start(routing(&text, &pairs));
    let begun = std::time::Instant::now();
    let mut ids = HashSet::new();
    for minute_part in 0..60 {
        let sources: Vec<_> = (0..167).map(|n| format!("{minute_part}-{n}")).collect();
        let severity = if minute_part % 3 == 0 { Severity::Critical } else { Severity::Warning };
        ids.extend(running.raise(&sources.iter().map(String::as_str).collect::<Vec<_>>(), severity));
        secs(1).await;
    }
    secs(600).await;
    assert_eq!(ids.len(), 10_020);
    for phone in &phones {
        let told = phone.take();
        assert!(told.len() <= 60, "{} messages in eleven minutes", told.len());
        for from in &told {
            let within =
                told.iter().filter(|told| told.at >= from.at && told.at < from.at + Duration::from_secs(600));
            assert!(within.count() <= 30, "no ten minutes have more than the rate");
        }
        let sum: usize = told.iter().map(|told| told.notice.total).sum();
        assert_eq!(sum, ids.len(), "every alert was told once");
        assert!(told[0].at < Duration::from_secs(2), "the first at once");
        println!(
            "{} messages, of them {} digests",
            told.len(),
            told.iter().filter(|told| told.notice.kind == NoticeKind::Digest).count()
        );
    }
    let mut accounted: BTreeMap<String, HashSet<AlertId>> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = running.handle.deliveries(None, &DeliveryFilter::default(), after.as_ref(), 100).unwrap();
        for delivery in page.items {
            assert_eq!(delivery.state, DeliveryState::Sent);
            accounted.entry(delivery.receiver).or_default().extend(delivery.alerts);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(accounted.len(), 5);
    assert!(accounted.values().all(|told| *told == ids), "the log names every alert for every receiver");
    let sample = ids.iter().next().unwrap();
    let why = running.handle.why(*sample).unwrap();
    let last: HashSet<_> =
        why.iter().filter(|why| why.delivery.is_some()).filter_map(|why| why.receiver.clone()).collect();
    assert_eq!(last.len(), 5, "{why:?}");
    println!("10,020 alerts x 5 receivers in {:?}", begun.elapsed());
    running.stop().await;
}

const TWO: &str = "{route: {receiver: a, group_by: [rule, entity], routes: [{matchers: [alertname=NotificationChannelDown], receiver: a}]},
    receivers: [{name: a}, {name: b}]}";

#[tokio::test(start_paused = true)]
async fn a_dead_channel_is_an_alert_through_the_others_and_catches_up_when_it_lives() {
    let bench = Bench::new();
    let (dead, other) = (Phone::new("slack"), Phone::new("email"));
    *dead.is_broken.lock() = true;
    let running = bench.start(routing(TWO, &[("a", &dead), ("b", &other)]));
    let id = running.raise(&["x"], Severity::Critical)[0];
    secs(60).await;
    let told = other.take();
    assert_eq!(told.len(), 1, "told through the other, though its route leads to the dead one");
    assert_eq!(told[0].notice.alerts[0].rule, CHANNEL_DOWN);
    assert!(dead.take().iter().all(|told| told.notice.alerts[0].rule != CHANNEL_DOWN), "never about itself");
    assert!(running.handle.receivers()[0].channels[0].is_down);
    secs(1_800).await;
    let attempts = dead.take().len();
    assert!((5..=60).contains(&attempts), "{attempts} attempts in half an hour");
    assert_eq!(other.lines(), [""; 0], "one alert, however long it lasts");
    assert_eq!(running.why(id), ["a Failed"]);

    *dead.is_broken.lock() = false;
    secs(180).await;
    assert_eq!(dead.lines(), ["Raised 1: new"]);
    secs(5).await;
    assert!(other.lines().last().unwrap().starts_with("Resolved"), "it works again");
    assert_eq!(running.why(id), ["a Failed", "a Sent"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn when_every_channel_is_dead_nothing_loops_or_hangs() {
    let bench = Bench::new();
    let phones = [Phone::new("slack"), Phone::new("email")];
    phones.iter().for_each(|phone| *phone.is_broken.lock() = true);
    let text = "{route: {receiver: a, group_by: [rule, entity], routes: [{receiver: a, continue: true}, {receiver: b}]}, receivers: [{name: a}, {name: b}]}";
    let running = bench.start(routing(text, &[("a", &phones[0]), ("b", &phones[1])]));
    running.raise(&["x"], Severity::Critical);
    secs(3_600).await;
    let live = running.alerts.live(None, None, 100).unwrap().items;
    let down = live.iter().filter(|alert| alert.rule == CHANNEL_DOWN).count();
    assert_eq!((live.len(), down), (3, 2), "one alert for each channel");
    let attempts: usize = phones.iter().map(|phone| phone.take().len()).sum();
    assert!(attempts < 400, "{attempts} attempts in an hour");
    let begun = Instant::now();
    running.stop().await;
    assert!(begun.elapsed() <= Duration::from_secs(4), "a stop waits for the grace at most");
}

#[tokio::test(start_paused = true)]
async fn time_intervals_keep_a_route_quiet_and_what_is_still_on_is_told_after() {
    let (bench, phone) = (Bench::new(), Phone::new("slack"));
    let text = "{route: {receiver: a, routes: [{receiver: a, matchers: [severity=warning], mute_time_intervals: [lunch]}]}, receivers: [{name: a}],
        time_intervals: [{name: lunch, time_intervals: [{times: [{start_time: '12:00', end_time: '13:00'}]}]}]}";
    let running = bench.start(routing(text, &[("a", &phone)]));
    let id = running.raise(&["x"], Severity::Warning)[0];
    secs(3_590).await;
    assert_eq!(phone.lines(), [""; 0]);
    running.raise(&["y"], Severity::Critical);
    secs(12).await;
    assert_eq!(
        phone.lines(),
        ["Raised 1: new", "Raised 1: new"],
        "CRITICAL takes another route; the other is told after lunch"
    );
    assert_eq!(running.why(id), ["a Waiting", "a QuietTime", "a Sent"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_digest_receiver_hears_once_an_hour() {
    let (bench, phone) = (Bench::new(), Phone::new("email"));
    let text = "{route: {receiver: a, group_by: [entity]}, receivers: [{name: a, digest: 1h}]}";
    let running = bench.start(routing(text, &[("a", &phone)]));
    let id = running.raise(&["x", "y"], Severity::Critical)[0];
    secs(1_800).await;
    running.raise(&["z"], Severity::Warning);
    let brief = running.raise(&["brief"], Severity::Warning)[0];
    secs(60).await;
    running.step(brief, Step::Resolve);
    secs(1_700).await;
    assert_eq!(phone.lines(), [""; 0]);
    secs(60).await;
    assert_eq!(phone.lines(), ["Digest 3: 3 alerts in 3 groups"]);
    assert_eq!(running.why(id), ["a Waiting", "a Digest"]);
    assert_eq!(running.why(brief).last().unwrap(), "a OverUntold");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_routing_goes_into_force_without_telling_anything_twice() {
    let bench = Bench::new();
    let (chat, mail) = (Phone::new("slack"), Phone::new("email"));
    let running = bench.start(routing(ONE, &[("a", &chat)]));
    let id = running.raise(&["x"], Severity::Critical)[0];
    secs(1).await;
    chat.take();
    let text = "{route: {receiver: b, routes: [{matchers: [severity=critical], receiver: a, group_by: [rule], continue: true}, {receiver: b}]},
        receivers: [{name: a}, {name: b}]}";
    running.handle.set_routing(routing(text, &[("a", &chat), ("b", &mail)])).unwrap();
    secs(30).await;
    assert_eq!((chat.lines(), mail.lines()), (vec![], vec!["Raised 1: new".to_owned()]));
    running.step(id, Step::Resolve);
    secs(2).await;
    let told = chat.take();
    assert_eq!(line(&told[0].notice), "Resolved 1: resolved");
    assert!(told[0].previous.is_some(), "its message is changed");
    assert_eq!(mail.lines(), ["Resolved 1: resolved"]);
    assert_eq!(running.handle.test("b").await.unwrap()[0].error, None);
    assert!(running.handle.test("nobody").await.is_err());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn alerts_of_one_incident_say_so_and_the_incident_knows_who_was_told() {
    let (bench, phone) = (Bench::new(), Phone::new("slack"));
    let running = bench.start(routing(ONE, &[("a", &phone)]));
    let ids = running.raise(&["x", "y"], Severity::Critical);
    secs(1).await;
    let line = phone.take()[0].notice.reason.clone();
    let alert = running.alerts.get(None, ids[0]).unwrap();
    let incident = running.alerts.incidents().get(None, alert.incident.unwrap()).unwrap();
    assert!(line.contains(&format!("incident #{}", incident.number)), "{line}");
    assert!(
        incident.timeline.iter().any(|entry| entry.text == "a: raised (2 alerts)"),
        "{:?}",
        incident.timeline
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_to_tell_is_a_decision_too() {
    let bench = Bench::new();
    let running = bench.start(Routing::default_for(Vec::new()));
    let id = running.raise(&["x"], Severity::Critical)[0];
    secs(1).await;
    assert_eq!(running.why(id), ["- NoRoute"]);
    running.stop().await;
    let bench = Bench::new();
    let running = bench.start(routing(ONE, &[]));
    let id = running.raise(&["x"], Severity::Critical)[0];
    secs(1).await;
    assert_eq!(running.why(id), ["a NoChannel"]);
    assert_eq!(running.alerts.get(None, id).unwrap().status, Status::Open);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_missed_events_tells_all_the_same() {
    let (bench, phone) = (Bench::new(), Phone::new("slack"));
    let running = bench.start(routing(ONE, &[("a", &phone)]));
    secs(1).await;
    let sources: Vec<_> = (0..20_000).map(|n| n.to_string()).collect();
    running.raise(&sources.iter().map(String::as_str).collect::<Vec<_>>(), Severity::Critical);
    secs(70).await;
    let told = phone.take();
    assert_eq!(told.last().unwrap().notice.total, 20_000);
    assert!(told.len() <= 2);
    running.stop().await;
}
