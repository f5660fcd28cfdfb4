//! From an alert and a playbook to a run: conditions, mode, placeholders, a look at the targets.
//!
//! Invariant: nothing here changes the world. A run that acts is stored as `queued` or `awaiting_approval` first.

use std::sync::Arc;

use heimdall_model::{Alert, MuteKind, Status, Timestamp};
use uuid::Uuid;

use crate::autonomy;
use crate::config::span;
use crate::playbook::Mode;
use crate::ports::LedgerOutcome;
use crate::record::{self, RecordLevel};
use crate::responder::{Candidate, Entry, PRINCIPAL, Responder, Shelf, blocking, refused};
use crate::run::{
    AlertRef, Branch, Leg, Looked, Question, Run, RunState, Script, ScriptRollback, ScriptStep, event,
};
use crate::safety::{History, Judgement, Limit, Past, Refusal, Request};
use crate::script::script;
use crate::views::{Plan, Would};

/// How soon an alert is looked at again whose run could not be stored.
const AGAIN_NS: i64 = 5_000_000_000;

/// What a playbook would do, and what is needed to do it.
pub(crate) struct Assessed {
    pub(crate) plan: Plan,
    branch: Branch,
}

impl Responder {
    /// What this playbook would do about this alert. Targets are looked at when asked for, and whenever nothing is done at once.
    pub(crate) async fn assess(&self, alert: &Alert, entry: &Entry, look: bool) -> Assessed {
        let shelf = self.shelf();
        let (playbook, now) = (&entry.playbook, self.now());
        let (mode, mode_reason) = self.autonomy.mode_of(playbook, &entry.hash, &shelf.limits);
        let mut plan = self.blank(entry, mode, mode_reason);
        let branch = match self.branch(alert, entry, &shelf, now).await {
            Ok(branch) => branch,
            Err(reason) => return skip(plan, reason),
        };
        let script = match script(playbook, branch, alert, shelf.limits.config()) {
            Ok(script) => script,
            Err(missing) => {
                plan.would = Would::Refuse(Refusal::new(Limit::Placeholder, missing.to_string()));
                return Assessed { plan, branch };
            }
        };
        let ask = shelf.limits.must_ask(mode, kinds(&script));
        let stopped = if look || mode == Mode::DryRun || ask.is_some() {
            let (looked, stopped) = self.look_all(&script.steps, entry, mode, &shelf, now).await;
            plan.looked = looked;
            stopped
        } else {
            None
        };
        plan.would = self.would(alert, entry, mode, ask, stopped, now);
        plan.script = Some(script);
        Assessed { plan, branch }
    }

    fn would(
        &self,
        alert: &Alert,
        entry: &Entry,
        mode: Mode,
        ask: Option<String>,
        stopped: Option<Refusal>,
        now: Timestamp,
    ) -> Would {
        if self.killed().is_some() {
            return Would::Refuse(Refusal::new(Limit::KillSwitch, "the kill switch is on"));
        }
        if let Err(refusal) = self.may_begin(alert, &entry.playbook, now) {
            return Would::Refuse(refusal);
        }
        match (mode, stopped, ask) {
            (Mode::DryRun, ..) => Would::Rehearse,
            (_, Some(refusal), _) => Would::Refuse(refusal),
            (_, None, Some(reason)) => Would::Ask { reason },
            (_, None, None) => Would::Act,
        }
    }

    fn blank(&self, entry: &Entry, mode: Mode, mode_reason: String) -> Plan {
        Plan {
            playbook: entry.playbook.id.clone(),
            title: entry.playbook.title.clone(),
            version: entry.playbook.version,
            hash: entry.hash.to_string(),
            mode,
            mode_reason,
            would: Would::Rehearse,
            script: None,
            looked: Vec::new(),
        }
    }

    pub(crate) fn not_yet(&self, entry: &Entry) -> Plan {
        let shelf = self.shelf();
        let (mode, reason) = self.autonomy.mode_of(&entry.playbook, &entry.hash, &shelf.limits);
        let trigger = &entry.playbook.trigger;
        let reason_not = format!(
            "it waits for {} findings and an age of {}",
            trigger.count_min.max(1),
            span::show(trigger.age_min)
        );
        skip(self.blank(entry, mode, reason), reason_not).plan
    }

    /// Which steps are done, or why none are.
    async fn branch(
        &self,
        alert: &Alert,
        entry: &Entry,
        shelf: &Shelf,
        now: Timestamp,
    ) -> Result<Branch, String> {
        if let Some(reason) = left_alone(alert) {
            return Err(reason);
        }
        let conditions = &entry.playbook.conditions;
        let unmet = match conditions.unmet(alert, now) {
            Some(reason) => Some(reason),
            None if conditions.unless_live.is_empty() => None,
            None => self.other_live(alert, entry, shelf).await?,
        };
        let Some(reason) = unmet else { return Ok(Branch::Main) };
        let has_else = entry.playbook.otherwise.as_ref().is_some_and(|otherwise| otherwise.on_conditions);
        if has_else { Ok(Branch::Else) } else { Err(reason) }
    }

    async fn other_live(
        &self,
        alert: &Alert,
        entry: &Entry,
        shelf: &Shelf,
    ) -> Result<Option<String>, String> {
        let asked =
            self.ports.health.is_live(&alert.tenant, &entry.playbook.conditions.unless_live, alert.id);
        match tokio::time::timeout(shelf.limits.config().look_timeout, asked).await {
            Ok(Ok(true)) => Ok(Some("an alert of `unless_live` is live".to_owned())),
            Ok(Ok(false)) => Ok(None),
            Ok(Err(error)) => {
                Err(format!("whether an alert of `unless_live` is live cannot be told: {error}"))
            }
            Err(_) => Err("whether an alert of `unless_live` is live cannot be told in time".to_owned()),
        }
    }

    /// Looks at every step's target, and asks the limits as if the steps before had been done.
    async fn look_all(
        &self,
        steps: &[ScriptStep],
        entry: &Entry,
        mode: Mode,
        shelf: &Shelf,
        now: Timestamp,
    ) -> (Vec<Looked>, Option<Refusal>) {
        let (mut history, is_killed) = {
            let desk = self.desk.lock();
            (desk.history.clone(), desk.kill.is_some())
        };
        let (mut looked, mut stopped, run) = (Vec::new(), None, Uuid::nil());
        for step in steps {
            let deadline = shelf.limits.config().look_timeout;
            let effect = match self.look(&step.action, deadline).await {
                Ok(effect) => effect,
                Err(trouble) => {
                    looked.push(Looked {
                        action: step.action.clone(),
                        effect: None,
                        against: trouble.to_string(),
                    });
                    continue;
                }
            };
            let request = Request {
                run,
                playbook: &entry.playbook.id,
                action: &step.action,
                effect: &effect,
                mode,
                is_approved: false,
                is_rollback: false,
                is_rehearsal: true,
            };
            let refusal = match shelf.limits.judge(&history, &request, is_killed, now) {
                Judgement::Refuse(refusal) => Some(refusal),
                Judgement::Allow | Judgement::NeedApproval { .. } => None,
            };
            if refusal.is_none() {
                rehearse(&mut history, &request, now);
            }
            let against = refusal.as_ref().map(|refusal| refusal.reason.clone()).unwrap_or_default();
            stopped = stopped.or(refusal);
            looked.push(Looked { action: step.action.clone(), effect: Some(effect), against });
        }
        (looked, stopped)
    }

    /// Makes the run of a candidate, or says why there is none.
    pub(crate) async fn examine(self: Arc<Self>, candidate: Candidate) {
        let assessed = self.assess(&candidate.alert, &candidate.entry, false).await;
        let playbook = &candidate.entry.playbook.id;
        match &assessed.plan.would {
            Would::Skip { reason } => {
                metrics::counter!("respond_skipped_total").increment(1);
                tracing::debug!(playbook, alert = %candidate.alert.id, reason, "a playbook does not answer");
            }
            Would::Refuse(refusal) if !is_worth_a_run(refusal.limit) => self.put_off(&candidate, refusal),
            Would::Refuse(_) | Would::Rehearse | Would::Ask { .. } | Would::Act => {
                self.make(candidate, assessed).await;
            }
        }
    }

    /// Counts a refusal, and looks again when waiting may help.
    pub(crate) fn put_off(&self, candidate: &Candidate, refusal: &Refusal) {
        refused(refusal, &candidate.entry.playbook.id);
        if let Some(until) = refusal.until {
            self.watch(&candidate.alert, &candidate.entry.playbook.id, until);
        }
    }

    async fn make(self: Arc<Self>, candidate: Candidate, assessed: Assessed) {
        let now = self.now();
        let key = match self.admit(&candidate, now) {
            Ok(key) => key,
            Err(refusal) => return self.put_off(&candidate, &refusal),
        };
        let would = assessed.plan.would.clone();
        let run = self.run_of(&candidate, assessed, now);
        record::log(
            now,
            RecordLevel::Warning,
            "anomaly_detected",
            &run,
            first_kind(&run),
            first_target(&run),
        );
        let (runs, stored) = (self.runs.clone(), run.clone());
        if let Err(error) = blocking(move || runs.insert(&stored)).await {
            tracing::error!(playbook = run.playbook, %error, "a run could not be stored; tried again soon");
            self.give_up(&key);
            let again = now.saturating_add_ns(AGAIN_NS);
            self.watch(&candidate.alert, &run.playbook, again);
            return;
        }
        if let Would::Refuse(refusal) = &would {
            self.put_off(&candidate, refusal);
        }
        let (what, outcome) = match would {
            Would::Refuse(_) | Would::Skip { .. } => (event::REFUSE, LedgerOutcome::Denied),
            Would::Rehearse => (event::REHEARSE, LedgerOutcome::Done),
            Would::Ask { .. } => (event::ASK, LedgerOutcome::Begun),
            Would::Act => (event::BEGIN, LedgerOutcome::Begun),
        };
        self.ledger_of(&run, what, outcome, PRINCIPAL, &run.reason).await;
        self.keep(run);
    }

    fn run_of(&self, candidate: &Candidate, assessed: Assessed, now: Timestamp) -> Run {
        let (playbook, Plan { would, script, looked, mode, mode_reason, .. }) =
            (&candidate.entry.playbook, assessed.plan);
        let script = script.unwrap_or_else(|| Script {
            steps: Vec::new(),
            otherwise: Vec::new(),
            verification: None,
            rollback: ScriptRollback::None,
            escalate: playbook.escalate.clone(),
        });
        let (state, reason, approval) = match would {
            Would::Act => (RunState::Queued, mode_reason, None),
            Would::Rehearse => (RunState::Rehearsed, mode_reason, None),
            Would::Refuse(refusal) => (RunState::Refused, refusal.reason, None),
            Would::Skip { reason } => (RunState::Refused, reason, None),
            Would::Ask { reason } => {
                let expires =
                    playbook.approval.expires.unwrap_or(self.shelf().limits.config().approval_expires);
                let question = Question {
                    why: reason.clone(),
                    by: playbook.approval.by.iter().map(ToString::to_string).collect(),
                    expires_at: now.saturating_add_ns(span::ns(expires)),
                    answer: None,
                    is_approved: false,
                };
                (RunState::AwaitingApproval, reason, Some(question))
            }
        };
        let mut run = Run {
            id: Uuid::now_v7(),
            tenant: candidate.alert.tenant.clone(),
            playbook: playbook.id.clone(),
            version: playbook.version,
            hash: candidate.entry.hash.to_string(),
            mode,
            alert: AlertRef::of(&candidate.alert),
            state,
            reason: reason.clone(),
            created_at: now,
            updated_at: now,
            finished_at: state.is_final().then_some(now),
            autonomy_after: autonomy::needed(playbook, &self.shelf().limits),
            legs: vec![Leg::new(assessed.branch, &script.steps)],
            script,
            looked,
            approval,
            cancel: None,
            escalated_at: None,
            timeline: Vec::new(),
        };
        run.note(now, format!("{}: {reason}", state.as_str()));
        run
    }
}

fn skip(mut plan: Plan, reason: String) -> Assessed {
    plan.would = Would::Skip { reason };
    Assessed { plan, branch: Branch::Main }
}

/// Why the machine keeps its hands off this alert.
fn left_alone(alert: &Alert) -> Option<String> {
    if alert.status != Status::Open {
        return Some(format!("the alert is {}", alert.status));
    }
    let muted = alert.muted.as_ref().filter(|m| matches!(m.kind, MuteKind::Silence | MuteKind::Maintenance));
    muted.map(|mute| format!("the alert is silenced: {}", mute.reason))
}

/// Refusals that leave a run behind; the others come with every repeat of an alert and are only counted.
fn is_worth_a_run(limit: Limit) -> bool {
    !matches!(limit, Limit::Duplicate | Limit::Cooldown | Limit::Runs | Limit::KillSwitch | Limit::Disabled)
}

fn kinds(script: &Script) -> impl Iterator<Item = &str> {
    let undo = match &script.rollback {
        ScriptRollback::Steps(steps) => steps.as_slice(),
        ScriptRollback::Automatic | ScriptRollback::None => &[],
    };
    script.steps.iter().chain(&script.otherwise).chain(undo).map(|step| step.action.kind.as_str())
}

fn rehearse(history: &mut History, request: &Request<'_>, now: Timestamp) {
    history.begin(Past { ended: Some(now), ..Past::begun(request, now) });
}

fn first_kind(run: &Run) -> &str {
    run.script.steps.first().map_or("", |step| &step.action.kind)
}

fn first_target(run: &Run) -> &str {
    run.script.steps.first().map_or("", |step| &step.action.target)
}
