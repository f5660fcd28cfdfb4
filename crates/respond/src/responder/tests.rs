//! The responder with stand-ins around it: time is tokio's, paused, and moves only when everything waits.

use std::sync::atomic::Ordering::Relaxed;

use heimdall_metastore::Metastore;
use heimdall_model::{Severity, Tenant};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::pattern::Pattern;
use crate::playbook::Mode;
use crate::run::{Branch, End};
use crate::testing::{Behaviour, Crash, CrashStore, PausedClock, StandInRunner, World, alert};
use crate::views::Would;

const PLAYBOOK: &str = r#"
id: heal
version: 1
title: Heal
mode: auto
trigger: {rules: ["threshold.*"]}
steps:
  - {action: scale.up, target: "{{ service }}", with: {by: 1}, timeout: 5s}
  - {action: docker.restart, target: "{{ service }}-1", timeout: 5s}
verification:
  wait: 1s
  within: 10s
  every: 1s
  checks: [{tcp: "127.0.0.1:1"}]
"#;

/// A world, and a responder in it that can be stopped and started again.
struct Bench {
    world: Arc<World>,
    clock: Arc<dyn heimdall_model::Clock>,
    metastore: Arc<dyn Metastore>,
    _folder: TempDir,
    config: RespondConfig,
    playbooks: Vec<Playbook>,
}

struct Running {
    responder: Arc<Responder>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Bench {
    fn new(playbooks: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let metastore = heimdall_metastore::open(&folder.path().join("metastore.db")).unwrap();
        let world = Arc::new(World::default());
        world.is_healthy.store(true, Relaxed);
        let config = RespondConfig {
            mode: Mode::Auto,
            blast_radius_percent: 100,
            look_timeout: Duration::from_secs(1),
            ..RespondConfig::default()
        };
        Bench {
            world,
            clock: Arc::new(PausedClock::new()),
            metastore: Arc::new(metastore),
            _folder: folder,
            config,
            playbooks: Playbook::parse("test.yaml", playbooks).unwrap(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut RespondConfig)) -> Bench {
        change(&mut self.config);
        self
    }

    fn open_on(&self, metastore: Arc<dyn Metastore>) -> Arc<Responder> {
        let runner = StandInRunner { world: Arc::clone(&self.world), clock: Arc::clone(&self.clock) };
        let ports = Ports {
            runners: vec![Arc::new(runner)],
            metastore,
            health: Arc::clone(&self.world) as _,
            ledger: Arc::clone(&self.world) as _,
            escalation: Arc::clone(&self.world) as _,
            clock: Arc::clone(&self.clock),
        };
        Responder::open(self.config.clone(), self.playbooks.clone(), ports).unwrap()
    }

    fn start_on(&self, metastore: Arc<dyn Metastore>) -> Running {
        let (responder, shutdown) = (self.open_on(metastore), CancellationToken::new());
        let task = tokio::spawn(Arc::clone(&responder).run(shutdown.clone()));
        Running { responder, shutdown, task }
    }

    fn start(&self) -> Running {
        self.start_on(Arc::clone(&self.metastore))
    }

    fn alert(&self, rule: &str, service: &str) -> Arc<Alert> {
        let mut alert = alert(rule, service);
        alert.raised_at = self.clock.now();
        let alert = Arc::new(alert);
        self.world.put(&alert);
        alert
    }
}

impl Running {
    fn raise(&self, alert: &Arc<Alert>) -> usize {
        self.responder.consider(alert, Change::Raised)
    }

    /// Waits until nothing is going on, but for runs that wait for a person.
    async fn idle(&self) {
        for _ in 0..3_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let status = self.responder.status().unwrap();
            if status.candidates == 0 && status.runs_live == status.awaiting_approval {
                // What was taken from the queue may not have become a run yet.
                tokio::time::sleep(Duration::from_millis(100)).await;
                let status = self.responder.status().unwrap();
                if status.candidates == 0 && status.runs_live == status.awaiting_approval {
                    return;
                }
            }
        }
        panic!("never idle: {:?}", self.responder.status());
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    fn runs(&self) -> Vec<Run> {
        self.responder.runs(&RunFilter::default(), None, 100).unwrap().items
    }

    fn only_run(&self) -> Run {
        let mut runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:#?}");
        runs.remove(0)
    }
}

const MAIN: [&str; 2] = ["scale.up payment", "docker.restart payment-1"];

#[tokio::test(start_paused = true)]
async fn an_alert_is_healed_and_proven() {
    let bench = Bench::new(PLAYBOOK);
    let running = bench.start();
    assert_eq!(running.raise(&bench.alert("threshold.cpu", "payment")), 1);
    assert_eq!(running.raise(&bench.alert("error_rate.service", "payment")), 0);
    running.idle().await;
    assert_eq!(bench.world.done(), MAIN);
    let run = running.only_run();
    assert_eq!((run.state, run.reason.as_str()), (RunState::Succeeded, "verified: it answers"));
    let trail =
        ["begin begun", "act begun", "act done", "act begun", "act done", "verify done", "finish done"];
    assert_eq!(bench.world.trail(), trail);
    let counts: Vec<(String, u32)> =
        running.responder.autonomy().into_iter().map(|view| (view.kind, view.streak)).collect();
    assert_eq!(counts, [("docker.restart".to_owned(), 1), ("scale.up".to_owned(), 1)]);
    assert!(bench.world.notices.lock().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_touches_nothing_and_says_what_would_stop_it() {
    let bench = Bench::new(PLAYBOOK).with(|config| {
        config.mode = Mode::DryRun;
        config.never_touch = vec!["payment-*".to_owned()];
    });
    let running = bench.start();
    let raised = bench.alert("threshold.cpu", "payment");
    let plan = running.responder.plan(&raised).await.remove(0);
    assert_eq!((plan.would, plan.mode), (Would::Rehearse, Mode::DryRun));
    running.raise(&raised);
    running.raise(&raised);
    running.idle().await;
    let run = running.only_run();
    assert_eq!((run.state, bench.world.done()), (RunState::Rehearsed, Vec::new()));
    let against: Vec<&str> = run.looked.iter().map(|looked| looked.against.as_str()).collect();
    assert_eq!(against, ["", "`payment-1` is on the never-touch list: `payment-*`"]);
    assert_eq!(bench.world.trail(), ["rehearse done"]);
    assert!(bench.world.ledger.lock()[0].is_dry_run);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_is_asked_and_the_limits_once_more() {
    let mut bench = Bench::new(PLAYBOOK);
    bench.playbooks[0].mode = Mode::Approve;
    bench.playbooks[0].approval.by = vec![Pattern::parse("ops-*").unwrap()];
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "payment"));
    running.idle().await;
    let responder = &running.responder;
    let run = responder.approvals(None).remove(0);
    assert!(run.looked.iter().all(|looked| looked.effect.is_some()) && bench.world.done().is_empty());
    let other = Tenant::new("other").unwrap();
    assert!(matches!(
        responder.approve(Some(&other), run.id, "ops-a", ""),
        Err(RespondError::NoSuchRun { .. })
    ));
    assert!(matches!(responder.approve(None, run.id, "eve", ""), Err(RespondError::NotAsked { .. })));
    responder
        .set_config(RespondConfig { never_touch: vec!["payment".to_owned()], ..bench.config.clone() })
        .unwrap();
    assert!(matches!(responder.approve(None, run.id, "ops-a", "go"), Err(RespondError::Refused(_))));
    responder.set_config(bench.config.clone()).unwrap();
    assert_eq!(responder.approve(None, run.id, "ops-a", "go").unwrap().state, RunState::Queued);
    assert!(matches!(responder.reject(None, run.id, "ops-a", ""), Err(RespondError::WrongState { .. })));
    running.idle().await;
    assert_eq!((running.only_run().state, bench.world.done().len()), (RunState::Succeeded, 2));
    assert!(
        bench
            .world
            .ledger
            .lock()
            .iter()
            .any(|entry| entry.action == "response.act" && entry.principal == "ops-a")
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_answering_or_saying_no_ends_it() {
    let mut bench = Bench::new(PLAYBOOK);
    bench.playbooks[0].mode = Mode::Approve;
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "a"));
    running.raise(&bench.alert("threshold.cpu", "b"));
    let over = bench.alert("threshold.cpu", "c");
    running.raise(&over);
    running.idle().await;
    let waiting = running.responder.approvals(None);
    let of =
        |service: &str| waiting.iter().find(|run| run.alert.service.as_deref() == Some(service)).unwrap().id;
    running.responder.reject(None, of("a"), "ops", "no").unwrap();
    let resolved = Arc::new(Alert { status: Status::Resolved, ..(*over).clone() });
    bench.world.put(&resolved);
    running.responder.consider(&resolved, Change::Other);
    tokio::time::sleep(Duration::from_secs(31 * 60)).await;
    let state = |id| running.responder.get(None, id).unwrap().state;
    assert_eq!(state(of("a")), RunState::Rejected);
    assert_eq!(state(of("b")), RunState::Expired);
    assert_eq!(state(of("c")), RunState::Cancelled);
    assert_eq!((bench.world.done().len(), bench.world.notices.lock().len()), (0, 0));
    running.stop().await;
}

const ELSE: &str = r#"
else: {when: [conditions, verification], steps: [{action: service.restart, target: "{{ service }}"}]}
"#;

#[tokio::test(start_paused = true)]
async fn what_does_not_help_is_undone_last_first_and_people_are_told() {
    let bench = Bench::new(&format!("{PLAYBOOK}{ELSE}"));
    bench.world.is_healthy.store(false, Relaxed);
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "payment"));
    running.idle().await;
    let expected =
        ["scale.up payment", "docker.restart payment-1", "scale.down payment", "service.restart payment"];
    assert_eq!(bench.world.done(), expected);
    let run = running.only_run();
    assert_eq!(run.state, RunState::Failed); // the else branch had nothing to undo
    assert_eq!(run.legs.iter().map(|leg| leg.branch).collect::<Vec<_>>(), [Branch::Main, Branch::Else]);
    let notices = bench.world.notices.lock().clone();
    assert_eq!((notices.len(), notices[0].rule.as_str()), (1, "response.failed"));
    assert!(notices[0].summary.contains("does not answer"), "{}", notices[0].summary);
    assert!(running.responder.autonomy().iter().all(|view| view.failures == 1 && view.streak == 0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_step_is_retried_then_undone() {
    let text = PLAYBOOK.replace("-1\", timeout: 5s", "-1\", timeout: 5s, retries: 1");
    let bench = Bench::new(&text);
    bench.world.will("docker.restart", &[Behaviour::Fail, Behaviour::Panic]);
    bench.world.will("scale.down", &[Behaviour::Fail]);
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "payment"));
    running.idle().await;
    assert_eq!(bench.world.done(), ["scale.up payment", "scale.down payment"]);
    assert_eq!(running.only_run().state, RunState::RolledBack);
    assert_eq!(bench.world.notices.lock().len(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hanging_runner_is_given_up_and_its_deed_found_out() {
    let bench = Bench::new(PLAYBOOK);
    bench.world.will("scale.up", &[Behaviour::DoneThenHang]);
    bench.world.will("docker.restart", &[Behaviour::Hang]);
    let (running, begun) = (bench.start(), bench.clock.now());
    running.raise(&bench.alert("threshold.cpu", "payment"));
    running.idle().await;
    assert_eq!(bench.world.done(), ["scale.up payment", "scale.down payment"]);
    assert_eq!(running.only_run().state, RunState::RolledBack);
    assert!(bench.clock.now().0 - begun.0 < 30_000_000_000, "it took too long");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_can_tell_means_no_second_try_but_an_undoing() {
    let bench = Bench::new(&PLAYBOOK.replace("timeout: 5s}", "timeout: 5s, retries: 3}"));
    bench.world.is_forgetful.store(true, Relaxed);
    bench.world.will("scale.up", &[Behaviour::DoneThenHang]);
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "payment"));
    running.idle().await;
    assert_eq!(bench.world.done(), ["scale.up payment", "scale.down payment"]);
    let run = running.only_run();
    assert!(matches!(run.legs[0].steps[0].attempts[0].end, Some(End::Unknown { .. })));
    assert_eq!((run.state, bench.world.notices.lock().len()), (RunState::RolledBack, 1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_system_is_one_notice_and_left_alone() {
    let text = PLAYBOOK.replace("-1\", timeout: 5s", "-1\", timeout: 5s, retries: 9, on_failure: stop");
    let bench = Bench::new(&text);
    bench.world.will("docker.restart", &[Behaviour::Unreachable; 20]);
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "payment"));
    running.idle().await;
    let left = bench.world.behaviour.lock()["docker.restart"].len();
    assert!((14..=18).contains(&left), "asked {} times", 20 - left);
    let ids: Vec<String> = bench.world.notices.lock().iter().map(|notice| notice.id.clone()).collect();
    assert_eq!(ids.iter().filter(|id| *id == "unreachable:docker").count(), 1, "{ids:?}");
    assert_eq!(running.responder.status().unwrap().outages[0].system, "docker");
    assert_eq!(running.only_run().state, RunState::Failed);
    bench.world.behaviour.lock().clear();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    running.raise(&bench.alert("threshold.cpu", "other"));
    running.idle().await;
    assert_eq!(*bench.world.resolved.lock(), ["unreachable:docker"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_kill_switch_stops_everything_and_holds_over_restarts() {
    let bench = Bench::new(PLAYBOOK);
    bench.world.takes_ms.store(2_000, Relaxed);
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "payment"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.responder.kill_switch(true, "ops", "all wrong").unwrap();
    running.idle().await;
    assert_eq!(bench.world.done(), ["scale.up payment"]); // the one under way
    let run = running.only_run();
    assert_eq!(
        (run.state, run.reason.as_str()),
        (RunState::Cancelled, "cancelled by ops: kill switch: all wrong")
    );
    assert!(bench.world.notices.lock()[0].summary.contains("left as it is: scale.up payment"));
    running.stop().await;

    let running = bench.start();
    assert_eq!(running.responder.killed().unwrap().by, "ops");
    let other = bench.alert("threshold.cpu", "other");
    running.raise(&other);
    running.idle().await;
    assert_eq!(bench.world.done().len(), 1);
    let plan = running.responder.plan(&other).await.remove(0);
    assert!(matches!(plan.would, Would::Refuse(Refusal { limit: Limit::KillSwitch, .. })));
    running.responder.kill_switch(false, "ops", "fine again").unwrap();
    running.raise(&other);
    running.idle().await;
    assert_eq!(bench.world.done().len(), 3);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn repeats_start_nothing_within_the_cooldown_and_something_after() {
    let bench = Bench::new(PLAYBOOK).with(|config| config.cooldown = Duration::from_secs(60));
    let running = bench.start();
    let raised = bench.alert("threshold.cpu", "payment");
    for change in [Change::Raised, Change::Worse, Change::Live] {
        running.responder.consider(&raised, change);
    }
    running.idle().await;
    assert_eq!(running.runs().len(), 1);
    running.raise(&raised); // it is live still: looked at again when the cooldown is over
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(running.runs().len(), 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    running.idle().await;
    assert_eq!(running.runs().len(), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn limits_refuse_and_say_so() {
    let bench = Bench::new(PLAYBOOK).with(|config| config.never_touch = vec!["payment".to_owned()]);
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "payment"));
    running.idle().await;
    let run = running.only_run();
    assert_eq!((run.state, bench.world.done().len()), (RunState::Refused, 0));
    assert!(run.reason.contains("never-touch"), "{}", run.reason);
    assert_eq!(bench.world.trail(), ["begin begun", "refuse denied"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_an_audit_trail_nothing_is_done() {
    let bench = Bench::new(PLAYBOOK);
    bench.world.is_ledger_broken.store(true, Relaxed);
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "payment"));
    running.idle().await;
    assert_eq!((running.only_run().state, bench.world.done().len()), (RunState::Failed, 0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn actions_under_way_stay_within_the_limit() {
    let bench = Bench::new(PLAYBOOK).with(|config| {
        (config.playbook_actions_per_hour, config.actions_per_hour) = (100, 100);
    });
    bench.world.takes_ms.store(1_000, Relaxed);
    let running = bench.start();
    for service in 0..8 {
        running.raise(&bench.alert("threshold.cpu", &format!("s{service}")));
    }
    running.idle().await;
    assert_eq!((bench.world.under_way_max.load(Relaxed), bench.world.done().len()), (3, 16));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_playbook_earns_its_freedom_and_loses_it() {
    let mut bench = Bench::new(PLAYBOOK).with(|config| config.cooldown = Duration::ZERO);
    bench.playbooks[0].mode = Mode::Earn;
    bench.playbooks[0].autonomy_after = Some(2);
    let running = bench.start();
    let heal = async |service: &str| {
        running.raise(&bench.alert("threshold.cpu", service));
        running.idle().await;
        let waiting = running.responder.approvals(None);
        for run in &waiting {
            running.responder.approve(None, run.id, "ops", "").unwrap();
        }
        running.idle().await;
        waiting.len()
    };
    assert_eq!([heal("a").await, heal("b").await, heal("c").await], [1, 1, 0]);
    bench.world.is_healthy.store(false, Relaxed);
    assert_eq!(heal("d").await, 0);
    bench.world.is_healthy.store(true, Relaxed);
    assert_eq!(heal("e").await, 1);
    let trail = bench.world.trail();
    assert_eq!(trail.iter().filter(|line| *line == "autonomy denied").count(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn conditions_decide_and_the_else_branch_takes_over() {
    let text = format!("{PLAYBOOK}{ELSE}conditions: {{unless_live: ['rule=\"host.down\"']}}\n");
    let bench = Bench::new(&text);
    let running = bench.start();
    bench.alert("host.down", "rack");
    running.raise(&bench.alert("threshold.cpu", "payment"));
    running.idle().await;
    assert_eq!(
        (bench.world.done(), running.only_run().state),
        (vec!["service.restart payment".to_owned()], RunState::Succeeded)
    );
    running.stop().await;
}

/// A playbook for every alert that fails raises an alert, which it would answer, and fail, and so on for ever.
#[tokio::test(start_paused = true)]
async fn what_it_raised_itself_is_for_people() {
    let start = PLAYBOOK.find("rules: [").expect("the playbook names rules");
    let end = start + PLAYBOOK[start..].find(']').expect("a list");
    let for_all = format!("{}rules: [\"*\"{}", &PLAYBOOK[..start], &PLAYBOOK[end..]);
    let bench = Bench::new(&for_all);
    let running = bench.start();
    for own in ["response.failed", "response.unreachable", "response.page"] {
        assert_eq!(running.raise(&bench.alert(own, "payment")), 0, "{own}");
    }
    assert_eq!(running.raise(&bench.alert("threshold.cpu", "payment")), 1, "every other alert is answered");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn alerts_people_deal_with_are_left_alone() {
    let bench = Bench::new(PLAYBOOK);
    let running = bench.start();
    let raised = bench.alert("threshold.cpu", "payment");
    running.raise(&Arc::new(Alert { status: Status::Acknowledged, ..(*raised).clone() }));
    running.raise(&Arc::new(Alert { status: Status::Suppressed, ..(*raised).clone() }));
    let mute = heimdall_model::Mute {
        kind: heimdall_model::MuteKind::Maintenance,
        by: None,
        reason: "upgrade".to_owned(),
        since: raised.raised_at,
    };
    running.raise(&Arc::new(Alert { muted: Some(mute), ..(*raised).clone() }));
    running.idle().await;
    assert!(running.runs().is_empty() && bench.world.done().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_trigger_waits_for_age_and_count() {
    let text = PLAYBOOK.replace("[\"threshold.*\"]", "[\"threshold.*\"], age_min: 30s, count_min: 3");
    let bench = Bench::new(&text);
    let running = bench.start();
    let raised = bench.alert("threshold.cpu", "payment");
    assert_eq!(running.raise(&raised), 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(running.runs().is_empty());
    bench.world.put(&Arc::new(Alert { count: 3, ..(*raised).clone() }));
    tokio::time::sleep(Duration::from_secs(10)).await;
    running.idle().await;
    assert_eq!(running.only_run().state, RunState::Succeeded);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_detector_that_fired_is_the_proof() {
    let text = PLAYBOOK.replace("checks: [{tcp: \"127.0.0.1:1\"}]", "checks: [{alert_quiet: 5s}]");
    let bench = Bench::new(&text);
    let running = bench.start();
    let raised = bench.alert("threshold.cpu", "payment");
    running.raise(&raised);
    for count in 2..6 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.world.put(&Arc::new(Alert { count, ..(*raised).clone() }));
    }
    running.idle().await;
    let run = running.only_run();
    assert_eq!(
        (run.state, run.reason.as_str()),
        (RunState::Succeeded, "verified: `threshold.cpu` found nothing for 5s")
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_an_action_is_made_good_at_the_next_start() {
    let bench = Bench::new(PLAYBOOK);
    bench.world.takes_ms.store(20_000, Relaxed);
    let text_timeout = Duration::from_secs(60);
    let mut bench = bench;
    bench.playbooks[0].steps.iter_mut().for_each(|step| step.timeout = Some(text_timeout));
    let running = bench.start();
    running.raise(&bench.alert("threshold.cpu", "payment"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.stop().await;
    assert!(bench.world.done().is_empty());
    bench.world.takes_ms.store(0, Relaxed);
    let running = bench.start();
    running.idle().await;
    assert_eq!((bench.world.done().len(), running.only_run().state), (2, RunState::Succeeded));
    running.stop().await;
}

// ---- crashes --------------------------------------------------------------------------------------------------------

/// Lets a scenario crash at every write of a document, starts again, and checks what was done.
async fn check_crashes(text: &str, prepare: fn(&World), expected: &[&str], state: RunState) {
    let mut at = 1;
    loop {
        let mut has_crashed = false;
        for crash in [Crash::Before, Crash::After] {
            let bench = Bench::new(text);
            prepare(&bench.world);
            let store = CrashStore::new(&bench.metastore, Some((at, crash)));
            let running = bench.start_on(Arc::clone(&store) as _);
            let raised = bench.alert("threshold.cpu", "payment");
            running.raise(&raised);
            for _ in 0..600 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if store.has_crashed() {
                    break;
                }
            }
            has_crashed |= store.has_crashed();
            // Whatever the crashed process would still do is cut off at once.
            running.task.abort();
            drop(running);

            let running = bench.start();
            running.responder.consider(&raised, Change::Live);
            running.idle().await;
            let context = format!("crash {crash:?} write {at}: {:#?}", running.runs());
            assert_eq!(bench.world.done(), expected, "{context}");
            assert_eq!(running.only_run().state, state, "{context}");
            let is_told = !bench.world.notices.lock().is_empty();
            assert_eq!(is_told, state != RunState::Succeeded, "{context}");
            running.stop().await;
        }
        if !has_crashed {
            assert!(at > 5, "the scenario wrote too little to prove anything");
            return;
        }
        at += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_write_doubles_nothing() {
    check_crashes(PLAYBOOK, |_| {}, &MAIN, RunState::Succeeded).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_write_loses_no_rollback() {
    let expected = ["scale.up payment", "docker.restart payment-1", "scale.down payment"];
    let ill = |world: &World| world.is_healthy.store(false, Relaxed);
    check_crashes(PLAYBOOK, ill, &expected, RunState::RolledBack).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_with_a_forgetful_system_never_repeats_what_may_harm() {
    for at in 1..12 {
        let bench = Bench::new(PLAYBOOK);
        bench.world.is_forgetful.store(true, Relaxed);
        let store = CrashStore::new(&bench.metastore, Some((at, Crash::After)));
        let running = bench.start_on(Arc::clone(&store) as _);
        let raised = bench.alert("threshold.cpu", "payment");
        running.raise(&raised);
        tokio::time::sleep(Duration::from_secs(5)).await;
        running.task.abort();
        drop(running);
        let running = bench.start();
        running.responder.consider(&raised, Change::Live);
        running.idle().await;
        let done = bench.world.done();
        let ups = done.iter().filter(|what| *what == "scale.up payment").count();
        assert!(ups <= 1, "write {at}: {done:?}");
        let run = running.only_run();
        assert!(run.state.is_final(), "{run:#?}");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_ended_meanwhile_is_not_acted_on_after_a_crash() {
    let bench = Bench::new(PLAYBOOK);
    // The intent of the first action is the second write: durable, and the action never begun.
    let store = CrashStore::new(&bench.metastore, Some((2, Crash::After)));
    let running = bench.start_on(Arc::clone(&store) as _);
    let raised = bench.alert("threshold.cpu", "payment");
    running.raise(&raised);
    tokio::time::sleep(Duration::from_secs(2)).await;
    running.task.abort();
    drop(running);
    bench.world.put(&Arc::new(Alert {
        status: Status::Resolved,
        severity: Severity::Warning,
        ..(*raised).clone()
    }));
    let running = bench.start();
    running.idle().await;
    assert_eq!((bench.world.done().len(), running.only_run().state), (0, RunState::Cancelled));
    running.stop().await;
}
