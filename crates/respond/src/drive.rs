//! Does a run, one persisted step after another.
//!
//! Invariants:
//! - what happens next is what [`Run::next`] says of the run as stored: going on and going on after a crash are the same code;
//! - an intent is durable before its action begins, its end before anything else is done;
//! - every wait has an end: a deadline, the kill switch or the stop of the process.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use heimdall_model::{Severity, Status, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::action::{Action, ActionError, Effect, Outcome, Progress};
use crate::config::span;
use crate::outage::{Contact, system_of};
use crate::ports::{Escalated, LedgerEntry, LedgerOutcome};
use crate::record::{self, RecordLevel};
use crate::responder::{Live, PRINCIPAL, Responder, blocking, refused};
use crate::run::{Attempt, Branch, End, Leg, Next, Place, Run, RunState, Said, Undo, Verified, event};
use crate::safety::{Judgement, Limit, Past, Refusal, Request};
use crate::verify::{Quiet, observe};

/// What a runner may take beyond its deadline before it is given up.
const SLACK: Duration = Duration::from_millis(500);
/// Shortest and longest wait before a write that failed is tried again.
const WRITE_RETRY: Duration = Duration::from_millis(100);
const WRITE_RETRY_MAX: Duration = Duration::from_secs(30);
/// How often a question that was not answered is asked, and the first wait between; it doubles.
const ASK_TIMES: u32 = 5;
const ASK_RETRY: Duration = Duration::from_secs(1);
/// How long a run waits that found as many actions under way as allowed.
const CROWDED_RETRY: Duration = Duration::from_millis(250);

/// Why something asked of a runner failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// It said so.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// It was not asked: a limit forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It broke.
    #[error("the runner of `{0}` panicked")]
    Panicked(String),
}

/// A step of a run goes on, or the process is told to stop.
struct Stopped;

/// What happened to an attempt.
enum Ready {
    /// It may begin, with this effect.
    Go(Effect),
    /// It may not.
    No(End),
    /// It may not, and nothing else of the run was done.
    Never(Refusal),
    /// Not now.
    Later,
    /// The alert is over.
    Over,
}

impl Responder {
    /// Does what is next until the run ends, waits for a person, or the process is told to stop.
    pub(crate) async fn drive(self: &Arc<Self>, live: &Arc<Live>, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            if self.take_kill(live, shutdown).await.is_err() {
                return;
            }
            let next = live.run().next();
            let done = match next {
                Next::Await | Next::Ended => return,
                Next::Resolve(place) => self.resolve(live, place, shutdown).await,
                Next::Act(place) => self.act(live, place, shutdown).await,
                Next::Verify => self.verify(live, shutdown).await,
                Next::Undo { reason, after_verification } => {
                    self.begin_undo(live, reason, after_verification, shutdown).await
                }
                Next::Otherwise => self.begin_otherwise(live, shutdown).await,
                Next::Escalate { reason } => self.escalate(live, reason, shutdown).await,
                Next::Finish { state, reason } => self.finish(live, state, reason, shutdown).await,
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Writes the cancellation of a run that could not be written when it came.
    async fn take_kill(
        self: &Arc<Self>,
        live: &Arc<Live>,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let killed = self.killed().map(|said| Said { why: format!("kill switch: {}", said.why), ..said });
        let told = || {
            let said = Said { by: PRINCIPAL.to_owned(), at: self.now(), why: "it was cancelled".to_owned() };
            live.cancelled.is_cancelled().then_some(said)
        };
        let Some(said) = killed.or_else(told).filter(|_| live.run().cancel.is_none()) else { return Ok(()) };
        live.cancelled.cancel();
        self.write(live, shutdown, move |run, _| run.cancel = Some(said.clone())).await.map(drop)
    }

    /// Changes a run and stores it, again and again until that succeeds or the process is told to stop.
    async fn write(
        self: &Arc<Self>,
        live: &Arc<Live>,
        shutdown: &CancellationToken,
        change: impl Fn(&mut Run, Timestamp) + Clone + Send + 'static,
    ) -> Result<Arc<Run>, Stopped> {
        let mut wait = WRITE_RETRY;
        loop {
            let (change, now) = (change.clone(), self.now());
            if let Ok(run) = self.try_write(live, move |run| change(run, now)).await {
                return Ok(run);
            }
            tokio::select! {
                () = shutdown.cancelled() => return Err(Stopped),
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(WRITE_RETRY_MAX),
            }
        }
    }

    // ---- one action -------------------------------------------------------------------------------------------

    async fn act(
        self: &Arc<Self>,
        live: &Arc<Live>,
        place: Place,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let permit = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(Stopped),
            () = live.cancelled.cancelled() => return Ok(()),
            permit = self.slots.acquire(live.run().alert.severity) => permit,
        };
        let run = live.run();
        let Some(step) = run.step(place).cloned().filter(|_| run.cancel.is_none()) else { return Ok(()) };
        match self.ready(&run, place, &step.step.action).await {
            Ready::Later => {
                drop(permit);
                tokio::select! {
                    () = shutdown.cancelled() => return Err(Stopped),
                    () = tokio::time::sleep(CROWDED_RETRY) => {}
                }
                Ok(())
            }
            Ready::Over => {
                let said =
                    Said { by: PRINCIPAL.to_owned(), at: self.now(), why: "the alert is over".to_owned() };
                self.write(live, shutdown, move |run, _| run.cancel = Some(said.clone())).await.map(drop)
            }
            Ready::Never(refusal) => self.refuse(live, refusal, shutdown).await,
            Ready::No(end) => self.end_unbegun(live, place, end, shutdown).await,
            Ready::Go(effect) => self.begin_action(live, place, effect, shutdown).await,
        }
    }

    /// Whether a step may begin now; if so, its place in the history is taken.
    async fn ready(&self, run: &Run, place: Place, action: &Action) -> Ready {
        let is_first = !run.has_acted() && run.legs.len() == 1;
        let is_redo = matches!(
            run.step(place).and_then(|step| step.attempts.last()?.end.as_ref()),
            Some(End::Lost { .. })
        );
        if !place.is_undo && (is_first || is_redo) {
            match self.is_alert_live(run, is_redo).await {
                Some(true) => {}
                Some(false) => return Ready::Over,
                None => {
                    return Ready::No(End::Refused {
                        reason: "whether the alert is live cannot be told".to_owned(),
                    });
                }
            }
        }
        let config = self.shelf().limits.config().clone();
        let effect = match self.look(action, config.look_timeout).await {
            Ok(effect) => effect,
            Err(trouble) => return Ready::No(failed(&trouble)),
        };
        match self.reserve(run, place, action, &effect) {
            Ok(()) => Ready::Go(effect),
            Err(refusal) if refusal.limit == Limit::Concurrent => Ready::Later,
            Err(refusal) if is_first => Ready::Never(refusal),
            Err(refusal) => Ready::No(End::Refused { reason: refusal.reason }),
        }
    }

    /// Asks the limits and takes the action's place in the history, at once.
    fn reserve(&self, run: &Run, place: Place, action: &Action, effect: &Effect) -> Result<(), Refusal> {
        let (shelf, now) = (self.shelf(), self.now());
        let request = Request {
            run: run.id,
            playbook: &run.playbook,
            action,
            effect,
            mode: run.mode,
            is_approved: run.approval.as_ref().is_some_and(|question| question.is_approved),
            is_rollback: place.is_undo,
            is_rehearsal: false,
        };
        let mut desk = self.desk.lock();
        match shelf.limits.judge(&desk.history, &request, desk.kill.is_some(), now) {
            Judgement::Allow => {
                desk.history.begin(Past::begun(&request, now));
                Ok(())
            }
            Judgement::Refuse(refusal) => Err(refusal),
            Judgement::NeedApproval { reason } => Err(Refusal::new(Limit::Mode, reason)),
        }
    }

    /// Whether the alert is live; none when nobody can say and the answer matters.
    async fn is_alert_live(&self, run: &Run, matters: bool) -> Option<bool> {
        let deadline = self.shelf().limits.config().look_timeout;
        let mut wait = ASK_RETRY;
        for _ in 0..if matters { ASK_TIMES } else { 1 } {
            let asked = self.ports.health.alert(&run.tenant, run.alert.id);
            match tokio::time::timeout(deadline, asked).await {
                Ok(Ok(Some(alert))) => {
                    return Some(matches!(alert.status, Status::Open | Status::Acknowledged));
                }
                Ok(Ok(None)) => return Some(false),
                Ok(Err(_)) | Err(_) => {}
            }
            if matters {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        (!matters).then_some(true)
    }

    /// Ends a run whose first action is not allowed.
    async fn refuse(
        self: &Arc<Self>,
        live: &Arc<Live>,
        refusal: Refusal,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        refused(&refusal, &live.run().playbook);
        let reason = refusal.reason.clone();
        let change = move |run: &mut Run, now| end(run, RunState::Refused, &reason, now);
        let run = self.write(live, shutdown, change).await?;
        self.ledger_of(&run, event::REFUSE, LedgerOutcome::Denied, PRINCIPAL, &refusal.reason).await;
        self.ended(&run);
        if let Some(until) = refusal.until {
            self.watch_again(&run, until).await;
        }
        Ok(())
    }

    async fn watch_again(&self, run: &Run, until: Timestamp) {
        let deadline = self.shelf().limits.config().look_timeout;
        let asked = tokio::time::timeout(deadline, self.ports.health.alert(&run.tenant, run.alert.id)).await;
        if let Ok(Ok(Some(alert))) = asked {
            self.watch(&alert, &run.playbook, until);
        }
    }

    /// Notes that an attempt ended before anything could be done.
    async fn end_unbegun(
        self: &Arc<Self>,
        live: &Arc<Live>,
        place: Place,
        end: End,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let reason = why(&end);
        let change = move |run: &mut Run, now: Timestamp| {
            let attempt =
                Attempt { begun_at: now, effect: None, ended_at: Some(now), end: Some(end.clone()) };
            let Some(step) = run.step_mut(place) else { return };
            step.attempts.push(attempt);
            let action = &step.step.action;
            let text = format!("{} {} was not begun: {}", action.kind, action.target, why(&end));
            run.note(now, text);
        };
        let run = self.write(live, shutdown, change).await?;
        self.tell_step(&run, place, LedgerOutcome::Failed, &reason).await;
        self.pause_before_retry(&run, live, place, shutdown).await
    }

    async fn begin_action(
        self: &Arc<Self>,
        live: &Arc<Live>,
        place: Place,
        effect: Effect,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let run = live.run();
        let id = run.id;
        let Some(action) = run.step(place).map(|step| step.step.action.clone()) else { return Ok(()) };
        let entry = self.step_entry(&run, place, &action, LedgerOutcome::Begun, &effect.summary);
        if let Err(error) = self.record_now(entry).await {
            self.desk.lock().history.withdraw(id);
            let end = End::Refused { reason: format!("the audit trail cannot be written: {error}") };
            metrics::counter!("respond_refusals_total", "reason" => Limit::Ledger.as_str()).increment(1);
            return self.end_unbegun(live, place, end, shutdown).await;
        }
        let change = move |run: &mut Run, now: Timestamp| intend(run, place, &effect, now);
        if let Err(stopped) = self.write(live, shutdown, change).await {
            self.desk.lock().history.withdraw(id);
            return Err(stopped);
        }
        let run = live.run();
        if self.killed().is_some() || run.cancel.is_some() {
            let end = End::Refused { reason: "it was stopped before it began".to_owned() };
            return self.end_action(live, place, end, shutdown).await;
        }
        record::log(self.now(), RecordLevel::Info, name(place, "begun"), &run, &action.kind, &action.target);
        let end = self.perform(&run, place, &action).await;
        self.end_action(live, place, end, shutdown).await
    }

    /// Does the action, within its deadline, and says how it ended.
    async fn perform(&self, run: &Run, place: Place, action: &Action) -> End {
        let Some(step) = run.step(place) else {
            return End::Refused { reason: "the step is gone".to_owned() };
        };
        let config = self.shelf().limits.config().clone();
        let deadline = step.step.timeout.min(config.action_timeout);
        let Some(runner) = self.runner(&action.kind) else { return no_runner(&action.kind) };
        let trouble =
            match self.reach(&action.kind, Contact::Deed, deadline, runner.run(action, deadline)).await {
                Ok(Outcome { summary, inverse }) => return End::Done { summary, inverse },
                Err(trouble) => trouble,
            };
        if !matches!(trouble, Trouble::Panicked(_) | Trouble::Action(ActionError::TimedOut { .. })) {
            return failed(&trouble);
        }
        let attempt = step.attempts.last();
        let (since, is_idempotent) = attempt.map_or((run.updated_at, false), |attempt| {
            (attempt.begun_at, attempt.effect.as_ref().is_some_and(|effect| effect.is_idempotent))
        });
        match self.progress(action, since, ASK_TIMES.min(2)).await {
            Progress::Done => End::Done { summary: format!("done, though {trouble}"), inverse: None },
            Progress::NotDone => End::Failed { reason: trouble.to_string(), maybe_done: false },
            Progress::Unknown if is_idempotent => End::Failed {
                reason: format!("{trouble}; nobody can tell whether it was done"),
                maybe_done: true,
            },
            Progress::Unknown => {
                End::Unknown { reason: format!("{trouble}; nobody can tell whether it was done") }
            }
        }
    }

    /// Stores how an action ended, whatever happens, and tells of it.
    async fn end_action(
        self: &Arc<Self>,
        live: &Arc<Live>,
        place: Place,
        end: End,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let (outcome, said) = match &end {
            End::Done { summary, .. } => (LedgerOutcome::Done, summary.clone()),
            other => (LedgerOutcome::Failed, why(other)),
        };
        let change = move |run: &mut Run, now: Timestamp| finish_attempt(run, place, &end, now);
        let run = self.write(live, shutdown, change).await?;
        self.desk.lock().history.end(run.id, self.now());
        self.tell_step(&run, place, outcome, &said).await;
        self.pause_before_retry(&run, live, place, shutdown).await
    }

    /// Waits a moment before a step that failed is tried again.
    async fn pause_before_retry(
        &self,
        run: &Run,
        live: &Live,
        place: Place,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let failures = run.step(place).map_or(0, |step| step.attempts.len());
        let is_retry = run.next() == Next::Act(place) && failures > 0;
        if !is_retry {
            return Ok(());
        }
        let wait = ASK_RETRY * 2_u32.pow(u32::try_from(failures - 1).unwrap_or(5).min(5));
        tokio::select! {
            () = shutdown.cancelled() => Err(Stopped),
            () = live.cancelled.cancelled() => Ok(()),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Finds out what became of an intent that a crash left open.
    async fn resolve(
        self: &Arc<Self>,
        live: &Arc<Live>,
        place: Place,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let run = live.run();
        let Some(step) = run.step(place) else { return Ok(()) };
        let Some(attempt) = step.attempts.last() else { return Ok(()) };
        let is_idempotent = attempt.effect.as_ref().is_some_and(|effect| effect.is_idempotent);
        let progress = tokio::select! {
            () = shutdown.cancelled() => return Err(Stopped),
            progress = self.settled(&step.step.action, attempt.begun_at) => progress,
        };
        tracing::warn!(run = %run.id, kind = step.step.action.kind, target = step.step.action.target, ?progress,
            "an action was under way when Heimdall stopped");
        let end = match progress {
            Progress::Done => End::Done { summary: "done before the restart".to_owned(), inverse: None },
            Progress::NotDone => End::Lost { maybe_done: false },
            Progress::Unknown if is_idempotent => End::Lost { maybe_done: true },
            Progress::Unknown => {
                let reason = "begun before a restart; nobody can tell whether it was done, and doing it twice may harm";
                End::Unknown { reason: reason.to_owned() }
            }
        };
        self.end_action(live, place, end, shutdown).await
    }

    /// Asks whether an action took effect until it did, or the other side can no longer be at it.
    async fn settled(&self, action: &Action, since: Timestamp) -> Progress {
        let lingers = self.runner(&action.kind).map_or(Duration::ZERO, |runner| runner.lingers(action));
        let until = since.saturating_add_ns(i64::try_from(lingers.as_nanos()).unwrap_or(i64::MAX));
        loop {
            // Before the question: what is answered later may have ended in between.
            let may_linger = self.now() < until;
            let progress = self.progress(action, since, ASK_TIMES).await;
            if progress != Progress::NotDone || !may_linger {
                return progress;
            }
            tokio::time::sleep(ASK_RETRY).await;
        }
    }

    /// Asks whether an action took effect, a few times should nobody answer.
    async fn progress(&self, action: &Action, since: Timestamp, times: u32) -> Progress {
        let deadline = self.shelf().limits.config().look_timeout;
        let Some(runner) = self.runner(&action.kind) else { return Progress::Unknown };
        let mut wait = ASK_RETRY;
        for time in 0..times {
            let asked = runner.progress(action, since, deadline);
            if let Ok(progress) = self.reach(&action.kind, Contact::Deed, deadline, asked).await {
                return progress;
            }
            if time + 1 < times {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        Progress::Unknown
    }

    /// Looks at a target. Changes nothing.
    pub(crate) async fn look(&self, action: &Action, deadline: Duration) -> Result<Effect, Trouble> {
        let config = self.shelf().limits.config().clone();
        self.outages.may_ask(&action.kind, &config, self.now())?;
        let Some(runner) = self.runner(&action.kind) else {
            return Err(Trouble::Refused(Refusal::new(
                Limit::KindDisabled,
                format!("nobody does `{}` here", action.kind),
            )));
        };
        runner.describe(action)?;
        match self.reach(&action.kind, Contact::Look, deadline, runner.look(action, deadline)).await {
            // A system that takes a question and never answers is as good as gone.
            Err(Trouble::Action(ActionError::TimedOut { after })) => {
                let system = system_of(&action.kind).to_owned();
                let detail = format!("no answer within {} ms", after.as_millis());
                self.unreachable(&action.kind, Contact::Look, &system, &detail).await;
                Err(ActionError::Unreachable { system, detail }.into())
            }
            other => other,
        }
    }

    /// Awaits a runner: never longer than the deadline, whatever it does; notes whether its system answers.
    async fn reach<T>(
        &self,
        kind: &str,
        contact: Contact,
        deadline: Duration,
        asked: impl Future<Output = Result<T, ActionError>>,
    ) -> Result<T, Trouble> {
        let caught = AssertUnwindSafe(asked).catch_unwind();
        let answer = match tokio::time::timeout(deadline.saturating_add(SLACK), caught).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Err(Trouble::Panicked(kind.to_owned())),
            Err(_) => Err(ActionError::TimedOut { after: deadline }),
        };
        match &answer {
            Err(ActionError::Unreachable { system, detail }) => {
                self.unreachable(kind, contact, system, detail).await
            }
            Err(ActionError::TimedOut { .. }) => {}
            Ok(_) | Err(_) => self.reachable(kind, contact).await,
        }
        answer.map_err(Trouble::Action)
    }

    /// Tells people once that a system does not answer.
    async fn unreachable(&self, kind: &str, contact: Contact, system: &str, detail: &str) {
        let (config, now) = (self.shelf().limits.config().clone(), self.now());
        if !self.outages.failed(kind, contact, detail, &config, now) {
            return;
        }
        let notice = Escalated {
            id: unreachable_id(kind),
            tenant: heimdall_model::Tenant::default(),
            rule: "response.unreachable".to_owned(),
            severity: Severity::Critical,
            title: format!("{system} cannot be reached"),
            summary: format!("actions on {system} are not possible: {detail}"),
            service: None,
            alert: None,
            page: false,
            at: now,
        };
        let raised = tokio::time::timeout(config.look_timeout, self.ports.escalation.raise(&notice)).await;
        if !matches!(raised, Ok(Ok(()))) {
            tracing::error!(system, detail, "a system cannot be reached, and nobody could be told");
        }
    }

    async fn reachable(&self, kind: &str, contact: Contact) {
        if !self.outages.answered(kind, contact) {
            return;
        }
        let (tenant, id) = (heimdall_model::Tenant::default(), unreachable_id(kind));
        let deadline = self.shelf().limits.config().look_timeout;
        let resolved = tokio::time::timeout(deadline, self.ports.escalation.resolve(&tenant, &id)).await;
        if !matches!(resolved, Ok(Ok(()))) {
            tracing::warn!(id, "a system answers again, and its notice could not be resolved");
        }
    }

    // ---- proof, undoing, end ----------------------------------------------------------------------------------

    async fn verify(self: &Arc<Self>, live: &Arc<Live>, shutdown: &CancellationToken) -> Result<(), Stopped> {
        let run = live.run();
        let Some(verification) = run.script.verification.clone() else { return Ok(()) };
        let begun = match run.legs.last().and_then(|leg| leg.verified.clone()) {
            Some(begun) => begun,
            None => self.begin_proof(live, shutdown).await?,
        };
        let ready_at = begun.since.saturating_add_ns(span::ns(verification.wait));
        let end_at = ready_at.saturating_add_ns(span::ns(verification.within));
        let mut quiet = Quiet { count: begun.count, since: begun.since };
        let first = ready_at.0.saturating_sub(self.now().0);
        let mut wait = Duration::from_nanos(u64::try_from(first).unwrap_or(0));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Err(Stopped),
                () = live.cancelled.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
            wait = verification.every;
            let deadline = self.shelf().limits.config().look_timeout;
            let now = self.now();
            let health = self.ports.health.as_ref();
            let seen = observe(health, &live.run(), &verification.checks, &mut quiet, now, deadline).await;
            if seen.is_healed || self.now() >= end_at {
                return self.end_proof(live, seen.is_healed, seen.detail, shutdown).await;
            }
        }
    }

    async fn begin_proof(
        self: &Arc<Self>,
        live: &Arc<Live>,
        shutdown: &CancellationToken,
    ) -> Result<Verified, Stopped> {
        let (run, deadline) = (live.run(), self.shelf().limits.config().look_timeout);
        let asked = tokio::time::timeout(deadline, self.ports.health.alert(&run.tenant, run.alert.id)).await;
        let count = if let Ok(Ok(Some(alert))) = asked { alert.count } else { 0 };
        let verified =
            Verified { since: self.now(), count, is_healed: None, detail: "not yet looked at".to_owned() };
        let begun = verified.clone();
        let change = move |run: &mut Run, now: Timestamp| {
            run.state = RunState::Verifying;
            "waiting for the proof that it helped".clone_into(&mut run.reason);
            run.note(now, "verification begun");
            if let Some(leg) = run.legs.last_mut() {
                leg.verified = Some(begun.clone());
            }
        };
        self.write(live, shutdown, change).await?;
        Ok(verified)
    }

    async fn end_proof(
        self: &Arc<Self>,
        live: &Arc<Live>,
        is_healed: bool,
        detail: String,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let said = detail.clone();
        let change = move |run: &mut Run, now: Timestamp| {
            run.note(now, format!("{}: {said}", if is_healed { "verified" } else { "not verified" }));
            if let Some(verified) = run.legs.last_mut().and_then(|leg| leg.verified.as_mut()) {
                verified.is_healed = Some(is_healed);
                verified.detail.clone_from(&said);
            }
        };
        let run = self.write(live, shutdown, change).await?;
        let (level, word, outcome) = if is_healed {
            (RecordLevel::Info, "verified", LedgerOutcome::Done)
        } else {
            (RecordLevel::Error, "verification_failed", LedgerOutcome::Failed)
        };
        record::log(self.now(), level, word, &run, "", &run.alert.entity.value);
        self.ledger_of(&run, event::VERIFY, outcome, PRINCIPAL, &detail).await;
        Ok(())
    }

    async fn begin_undo(
        self: &Arc<Self>,
        live: &Arc<Live>,
        reason: String,
        after_verification: bool,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let timeout = self.shelf().limits.config().action_timeout;
        let change = move |run: &mut Run, now: Timestamp| {
            let rollback = run.script.rollback.clone();
            let Some(leg) = run.legs.last_mut() else { return };
            let steps = leg.undo_steps(&rollback, timeout);
            let text = format!("{reason}; {} actions to undo", steps.len());
            leg.undo = Some(Undo { reason: reason.clone(), after_verification, steps });
            run.state = RunState::RollingBack;
            run.reason.clone_from(&reason);
            run.note(now, text);
        };
        self.write(live, shutdown, change).await.map(drop)
    }

    async fn begin_otherwise(
        self: &Arc<Self>,
        live: &Arc<Live>,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let change = |run: &mut Run, now: Timestamp| {
            let leg = Leg::new(Branch::Else, &run.script.otherwise);
            run.legs.push(leg);
            run.state = RunState::Running;
            "the else branch is tried".clone_into(&mut run.reason);
            run.note(now, "the else branch is tried");
        };
        self.write(live, shutdown, change).await.map(drop)
    }

    async fn escalate(
        self: &Arc<Self>,
        live: &Arc<Live>,
        reason: String,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let run = live.run();
        let notice = self.notice(&run, &reason);
        let told = tokio::select! {
            () = shutdown.cancelled() => return Err(Stopped),
            told = self.raise(&notice) => told,
        };
        let text = match &told {
            Ok(()) => format!("people were told: {reason}"),
            Err(error) => format!("people could not be told ({error}): {reason}"),
        };
        let change = move |run: &mut Run, now: Timestamp| {
            run.escalated_at = Some(now);
            run.note(now, text.clone());
        };
        let run = self.write(live, shutdown, change).await?;
        let outcome = if told.is_ok() { LedgerOutcome::Done } else { LedgerOutcome::Failed };
        self.ledger_of(&run, event::ESCALATE, outcome, PRINCIPAL, &reason).await;
        Ok(())
    }

    fn notice(&self, run: &Run, reason: &str) -> Escalated {
        let escalate = &run.script.escalate;
        let message =
            if escalate.message.is_empty() { String::new() } else { format!(" {}", escalate.message) };
        Escalated {
            id: format!("run:{}", run.id),
            tenant: run.tenant.clone(),
            rule: "response.failed".to_owned(),
            severity: escalate.severity.unwrap_or_else(|| run.alert.severity.max(Severity::Warning)),
            title: format!("{} could not help: {}", run.playbook, run.alert.title),
            summary: format!("{reason}.{message}"),
            service: run.alert.service.clone(),
            alert: Some(run.alert.id),
            page: escalate.page,
            at: self.now(),
        }
    }

    async fn raise(&self, notice: &Escalated) -> Result<(), String> {
        let deadline = self.shelf().limits.config().look_timeout;
        let (mut wait, mut last) = (ASK_RETRY, String::new());
        for time in 0..ASK_TIMES {
            match tokio::time::timeout(deadline, self.ports.escalation.raise(notice)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("no answer within {}", span::show(deadline)),
            }
            if time + 1 < ASK_TIMES {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        metrics::counter!("respond_escalations_lost_total").increment(1);
        tracing::error!(
            id = notice.id,
            title = notice.title,
            summary = notice.summary,
            error = last,
            "the machine could not help, and nobody could be told"
        );
        Err(last)
    }

    async fn finish(
        self: &Arc<Self>,
        live: &Arc<Live>,
        state: RunState,
        reason: String,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        if state != RunState::Cancelled {
            self.count(live).await;
        }
        let said = reason.clone();
        let change = move |run: &mut Run, now| end(run, state, &said, now);
        let run = self.write(live, shutdown, change).await?;
        let (level, outcome) = match state {
            RunState::Succeeded => (RecordLevel::Info, LedgerOutcome::Done),
            RunState::Cancelled => (RecordLevel::Info, LedgerOutcome::Denied),
            _ => (RecordLevel::Error, LedgerOutcome::Failed),
        };
        record::log(self.now(), level, &format!("run_{}", state.as_str()), &run, "", &run.alert.entity.value);
        self.ledger_of(&run, event::FINISH, outcome, PRINCIPAL, &reason).await;
        self.ended(&run);
        Ok(())
    }

    /// Counts what a run proves of its playbook, once.
    async fn count(self: &Arc<Self>, live: &Live) {
        let (responder, run, now) = (Arc::clone(self), live.run(), self.now());
        let counted = blocking(move || responder.autonomy.count(&run, run.autonomy_after, now)).await;
        let run = live.run();
        match counted {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => {
                let text = format!("no longer acts by itself: {}", lost.join(", "));
                self.ledger_of(&run, event::AUTONOMY, LedgerOutcome::Denied, PRINCIPAL, &text).await;
            }
            Err(error) => tracing::error!(run = %run.id, %error, "what the run proves could not be counted"),
        }
    }

    // ---- the audit trail --------------------------------------------------------------------------------------

    /// A line about a run.
    pub(crate) fn entry_of(
        &self,
        run: &Run,
        action: &str,
        outcome: LedgerOutcome,
        principal: &str,
        detail: &str,
    ) -> LedgerEntry {
        LedgerEntry {
            at: self.now(),
            tenant: run.tenant.clone(),
            principal: principal.to_owned(),
            action: action.to_owned(),
            outcome,
            rule: run.alert.rule.clone(),
            playbook: run.playbook_text(),
            run: run.id.to_string(),
            kind: String::new(),
            target: run.alert.entity.value.clone(),
            is_dry_run: run.state == RunState::Rehearsed,
            is_rollback: false,
            detail: detail.to_owned(),
        }
    }

    fn step_entry(
        &self,
        run: &Run,
        place: Place,
        action: &Action,
        outcome: LedgerOutcome,
        detail: &str,
    ) -> LedgerEntry {
        let approved = run.approval.as_ref().filter(|question| question.is_approved);
        let by = approved.and_then(|question| question.answer.as_ref()).map_or(PRINCIPAL, |said| &said.by);
        let word = if place.is_undo { event::ROLL_BACK } else { event::ACT };
        LedgerEntry {
            kind: action.kind.clone(),
            target: action.target.clone(),
            is_rollback: place.is_undo,
            ..self.entry_of(run, word, outcome, by, detail)
        }
    }

    /// Writes a line after the fact: one that cannot be written is told of in the log.
    pub(crate) fn record(&self, entry: &LedgerEntry) {
        if let Err(error) = self.ports.ledger.record(entry) {
            metrics::counter!("respond_ledger_lost_total").increment(1);
            tracing::error!(%error, action = entry.action, run = entry.run, target = entry.target,
                detail = entry.detail, "a line of the audit trail could not be written");
        }
    }

    async fn record_now(self: &Arc<Self>, entry: LedgerEntry) -> Result<(), crate::ports::LedgerError> {
        let responder = Arc::clone(self);
        blocking(move || responder.ports.ledger.record(&entry)).await
    }

    pub(crate) async fn ledger_of(
        self: &Arc<Self>,
        run: &Run,
        action: &str,
        outcome: LedgerOutcome,
        principal: &str,
        detail: &str,
    ) {
        let (responder, entry) = (Arc::clone(self), self.entry_of(run, action, outcome, principal, detail));
        blocking(move || responder.record(&entry)).await;
    }

    /// Tells of the end of an attempt: audit trail, action log, counters.
    async fn tell_step(self: &Arc<Self>, run: &Run, place: Place, outcome: LedgerOutcome, detail: &str) {
        let Some(step) = run.step(place) else { return };
        let action = &step.step.action;
        let (level, word) = if outcome == LedgerOutcome::Done {
            (RecordLevel::Info, "done")
        } else {
            (RecordLevel::Error, "failed")
        };
        record::log(self.now(), level, name(place, word), run, &action.kind, &action.target);
        metrics::counter!("respond_actions_total", "outcome" => word).increment(1);
        let (responder, entry) = (Arc::clone(self), self.step_entry(run, place, action, outcome, detail));
        blocking(move || responder.record(&entry)).await;
    }
}

fn name(place: Place, word: &str) -> &'static str {
    match (place.is_undo, word) {
        (false, "begun") => "action_begun",
        (false, "done") => "action_done",
        (false, _) => "action_failed",
        (true, "begun") => "rollback_begun",
        (true, "done") => "rollback_done",
        (true, _) => "rollback_failed",
    }
}

fn intend(run: &mut Run, place: Place, effect: &Effect, now: Timestamp) {
    let Some(step) = run.step_mut(place) else { return };
    step.attempts.push(Attempt { begun_at: now, effect: Some(effect.clone()), ended_at: None, end: None });
    if !place.is_undo {
        run.state = RunState::Running;
        "acting".clone_into(&mut run.reason);
    }
    run.note(now, format!("begun: {}", effect.summary));
}

fn finish_attempt(run: &mut Run, place: Place, end: &End, now: Timestamp) {
    let Some(step) = run.step_mut(place) else { return };
    let action = format!("{} {}", step.step.action.kind, step.step.action.target);
    if let Some(attempt) = step.attempts.last_mut().filter(|attempt| attempt.end.is_none()) {
        attempt.ended_at = Some(now);
        attempt.end = Some(end.clone());
    }
    let text = match end {
        End::Done { summary, .. } => format!("done: {summary}"),
        other => format!("{action}: {}", why(other)),
    };
    run.note(now, text);
}

fn end(run: &mut Run, state: RunState, reason: &str, now: Timestamp) {
    run.state = state;
    reason.clone_into(&mut run.reason);
    run.finished_at = Some(now);
    run.note(now, format!("{}: {reason}", state.as_str()));
}

/// How an attempt ends that this trouble met.
fn failed(trouble: &Trouble) -> End {
    let reason = trouble.to_string();
    match trouble {
        // A system that is left alone for a while may answer later.
        Trouble::Refused(refusal) if refusal.limit == Limit::Outage => {
            End::Failed { reason, maybe_done: false }
        }
        Trouble::Refused(_) | Trouble::Action(ActionError::Invalid { .. } | ActionError::NotFound { .. }) => {
            End::Refused { reason }
        }
        Trouble::Action(_) | Trouble::Panicked(_) => End::Failed { reason, maybe_done: false },
    }
}

fn no_runner(kind: &str) -> End {
    End::Refused { reason: format!("nobody does `{kind}` here") }
}

fn why(end: &End) -> String {
    match end {
        End::Done { summary, .. } => summary.clone(),
        End::Failed { reason, .. } | End::Refused { reason } | End::Unknown { reason } => reason.clone(),
        End::Lost { .. } => "begun before a restart, and to be begun again".to_owned(),
    }
}

fn unreachable_id(kind: &str) -> String {
    format!("unreachable:{}", system_of(kind))
}
