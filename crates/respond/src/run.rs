//! One run of a playbook: what it is about to do, what it did, and what comes next.
//!
//! Invariants:
//! - [`Run::next`] depends on the run as stored and on nothing else: a restart goes on where the last write left it;
//! - an attempt with an effect and without an end is an intent: nobody acts again before its progress is known;
//! - a final state never changes.
//!
//! Not here: doing it (`drive`), keeping it (`runs`).

use std::time::Duration;

use heimdall_model::{Alert, AlertId, Entity, Severity, Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::action::{Action, Effect};
use crate::config::span;
use crate::playbook::{Escalate, Mode, OnFailure, Verification};

/// Id of a run, UUID version 7.
pub type RunId = Uuid;

/// Most lines of a run's timeline; beyond, the oldest go.
pub const TIMELINE_MAX: usize = 200;
/// How often an intent that a crash left undone is begun again.
pub const LOST_MAX: usize = 2;
/// Further attempts of a step that undoes another.
pub const UNDO_RETRIES: u32 = 5;

/// Names of what happens, in the audit trail and in action records.
pub mod event {
    /// A run was only rehearsed.
    pub const REHEARSE: &str = "response.rehearse";
    /// A run was made that acts by itself.
    pub const BEGIN: &str = "response.begin";
    /// A run was not begun.
    pub const REFUSE: &str = "response.refuse";
    /// A person is asked.
    pub const ASK: &str = "response.ask";
    /// A person agreed.
    pub const APPROVE: &str = "response.approve";
    /// A person did not agree, or nobody answered.
    pub const REJECT: &str = "response.reject";
    /// An action was begun or ended.
    pub const ACT: &str = "response.act";
    /// An action that undoes another was begun or ended.
    pub const ROLL_BACK: &str = "response.roll_back";
    /// A verification ended.
    pub const VERIFY: &str = "response.verify";
    /// A run ended.
    pub const FINISH: &str = "response.finish";
    /// A run was cancelled.
    pub const CANCEL: &str = "response.cancel";
    /// People were told that the machine cannot help.
    pub const ESCALATE: &str = "response.escalate";
    /// The kill switch was turned.
    pub const KILL_SWITCH: &str = "response.kill_switch";
    /// What a playbook may do by itself changed.
    pub const AUTONOMY: &str = "response.autonomy";
}

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A person is asked.
    AwaitingApproval,
    /// It acts as soon as there is room.
    Queued,
    /// It acts.
    Running,
    /// It waits for the proof that it helped.
    Verifying,
    /// It undoes what it did.
    RollingBack,
    /// It helped, as far as was to be verified.
    Succeeded,
    /// Nothing was touched: it said what it would do.
    Rehearsed,
    /// A limit forbade it.
    Refused,
    /// A person said no.
    Rejected,
    /// Nobody said yes in time.
    Expired,
    /// It was stopped, or no longer needed.
    Cancelled,
    /// It did not help; what was to be undone is undone.
    RolledBack,
    /// It did not help; what it did stays.
    Failed,
}

impl RunState {
    /// Every state.
    pub const ALL: [RunState; 13] = [
        RunState::AwaitingApproval,
        RunState::Queued,
        RunState::Running,
        RunState::Verifying,
        RunState::RollingBack,
        RunState::Succeeded,
        RunState::Rehearsed,
        RunState::Refused,
        RunState::Rejected,
        RunState::Expired,
        RunState::Cancelled,
        RunState::RolledBack,
        RunState::Failed,
    ];

    /// Its name in documents, lists and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RunState::AwaitingApproval => "awaiting_approval",
            RunState::Queued => "queued",
            RunState::Running => "running",
            RunState::Verifying => "verifying",
            RunState::RollingBack => "rolling_back",
            RunState::Succeeded => "succeeded",
            RunState::Rehearsed => "rehearsed",
            RunState::Refused => "refused",
            RunState::Rejected => "rejected",
            RunState::Expired => "expired",
            RunState::Cancelled => "cancelled",
            RunState::RolledBack => "rolled_back",
            RunState::Failed => "failed",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<RunState> {
        RunState::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(
            self,
            RunState::AwaitingApproval
                | RunState::Queued
                | RunState::Running
                | RunState::Verifying
                | RunState::RollingBack
        )
    }
}

/// A run, as kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Owner: that of the alert.
    pub tenant: Tenant,
    /// Playbook.
    pub playbook: String,
    /// Version of the playbook.
    pub version: u32,
    /// Hash of the playbook's content.
    pub hash: String,
    /// How far it may go by itself.
    pub mode: Mode,
    /// The alert it answers, as it was.
    pub alert: AlertRef,
    /// Where in its life.
    pub state: RunState,
    /// Why there, in words.
    pub reason: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Verified successes that earn its playbook `auto`.
    pub autonomy_after: u32,
    /// What it does, placeholders filled in.
    pub script: Script,
    /// What it did: the main steps, then those of the else branch.
    pub legs: Vec<Leg>,
    /// What looking at the targets told before it began.
    pub looked: Vec<Looked>,
    /// The question to a person, where one is asked.
    pub approval: Option<Question>,
    /// Who stopped it.
    pub cancel: Option<Said>,
    /// When people were told that it cannot help.
    pub escalated_at: Option<Timestamp>,
    /// What happened, oldest first, at most [`TIMELINE_MAX`].
    pub timeline: Vec<RunEntry>,
}

/// What a run needs to know of its alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRef {
    /// Its id.
    pub id: AlertId,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its rule.
    pub rule: String,
    /// Its title.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// Service concerned.
    pub service: Option<String>,
    /// What it is about.
    pub entity: Entity,
    /// The number that stands for it, where it has one.
    pub metric: String,
    /// Its value.
    pub value: Option<f64>,
}

impl AlertRef {
    /// Of this alert.
    #[must_use]
    pub fn of(alert: &Alert) -> AlertRef {
        let feature = alert.features.first();
        let metric =
            alert.labels.get("metric").cloned().or_else(|| feature.map(|feature| feature.name.clone()));
        let observed = alert.baseline.as_ref().map(|baseline| baseline.observed);
        AlertRef {
            id: alert.id,
            fingerprint: alert.fingerprint.clone(),
            rule: alert.rule.clone(),
            title: alert.title.clone(),
            severity: alert.severity,
            service: alert.service.clone(),
            entity: alert.entity.clone(),
            metric: metric.unwrap_or_else(|| alert.rule.clone()),
            value: observed
                .or_else(|| feature.map(|feature| feature.value))
                .filter(|value| value.is_finite()),
        }
    }
}

/// What a run does, placeholders filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// First.
    pub steps: Vec<ScriptStep>,
    /// When the verification failed, after the rollback.
    pub otherwise: Vec<ScriptStep>,
    /// What proves that it helped.
    pub verification: Option<Verification>,
    /// How it is undone.
    pub rollback: ScriptRollback,
    /// Whom to tell when it fails.
    pub escalate: Escalate,
}

/// How a run is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptRollback {
    /// By inverses, last first.
    Automatic,
    /// By these.
    Steps(Vec<ScriptStep>),
    /// Not at all.
    None,
}

/// One step, ready to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScriptStep {
    /// What is done.
    pub action: Action,
    /// Longest time of one attempt.
    #[serde(with = "span")]
    pub timeout: Duration,
    /// Further attempts after a failure.
    pub retries: u32,
    /// What a failure means.
    pub on_failure: OnFailure,
}

/// What looking at a step's target told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// The action.
    pub action: Action,
    /// What it would do; none when nobody could look.
    pub effect: Option<Effect>,
    /// Why nobody could look, or which limit forbids it; empty when nothing speaks against it.
    pub against: String,
}

/// Steps done one after another, their proof and their undoing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Which steps these are.
    pub branch: Branch,
    /// The steps.
    pub steps: Vec<StepRun>,
    /// Their proof, once begun.
    pub verified: Option<Verified>,
    /// Their undoing, once begun.
    pub undo: Option<Undo>,
}

/// Which steps a leg does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// The playbook's steps.
    Main,
    /// Those of its else branch.
    Else,
}

/// A step and its attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRun {
    /// The step.
    pub step: ScriptStep,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

/// One attempt at a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was begun.
    pub begun_at: Timestamp,
    /// What it would do; none when it ended before anything could be done.
    pub effect: Option<Effect>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended; none with an effect: nobody knows yet.
    pub end: Option<End>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum End {
    /// Done.
    Done {
        /// What happened.
        summary: String,
        /// What undoes it.
        inverse: Option<Action>,
    },
    /// Another attempt may succeed.
    Failed {
        /// Why.
        reason: String,
        /// Whether it may have been done all the same.
        maybe_done: bool,
    },
    /// Not done, and no attempt can succeed: a limit forbids it, there is no such target, it makes no sense.
    Refused {
        /// Why.
        reason: String,
    },
    /// A crash came first, and it may be begun again: it was not done, or doing it twice is harmless.
    Lost {
        /// Whether it may have been done.
        maybe_done: bool,
    },
    /// Nobody can tell whether it was done, and doing it again may harm.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// The proof that a leg helped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// When the steps were done.
    pub since: Timestamp,
    /// Findings of the alert by then.
    pub count: u64,
    /// Whether it helped; none: not yet known.
    pub is_healed: Option<bool>,
    /// What was seen last.
    pub detail: String,
}

/// The undoing of a leg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// Why.
    pub reason: String,
    /// Whether the verification failed, rather than a step.
    pub after_verification: bool,
    /// The steps, in the order they are done.
    pub steps: Vec<StepRun>,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Why a person is asked.
    pub why: String,
    /// Principals that may answer, as patterns; empty: whoever may approve.
    pub by: Vec<String>,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The answer.
    pub answer: Option<Said>,
    /// Whether the answer is yes.
    pub is_approved: bool,
}

/// Who said something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Principal.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// In their words.
    pub why: String,
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEntry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: String,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is to be begun, or begun again.
    Pending,
    /// It was begun, and nobody knows its end.
    Open,
    /// Done.
    Done,
    /// It failed for good.
    Failed,
}

/// A step of a run's last leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whether it undoes another.
    pub is_undo: bool,
    /// Its index.
    pub index: usize,
}

/// What comes next in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A person is to answer.
    Await,
    /// Find out what became of an intent.
    Resolve(Place),
    /// Do a step.
    Act(Place),
    /// Wait for the proof.
    Verify,
    /// Begin to undo the last leg.
    Undo {
        /// Why.
        reason: String,
        /// Whether the verification failed.
        after_verification: bool,
    },
    /// Begin the else branch.
    Otherwise,
    /// Tell people.
    Escalate {
        /// Why.
        reason: String,
    },
    /// End.
    Finish {
        /// How.
        state: RunState,
        /// Why.
        reason: String,
    },
    /// Nothing: it has ended.
    Ended,
}

impl StepRun {
    /// A step not yet begun.
    #[must_use]
    pub fn new(step: ScriptStep) -> StepRun {
        StepRun { step, attempts: Vec::new() }
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Some(last) = self.attempts.last() else { return Standing::Pending };
        match &last.end {
            None => Standing::Open,
            Some(End::Done { .. }) => Standing::Done,
            Some(End::Refused { .. } | End::Unknown { .. }) => Standing::Failed,
            Some(End::Failed { .. }) => {
                let has_left =
                    self.ended(|end| matches!(end, End::Failed { .. })) <= self.step.retries as usize;
                if has_left { Standing::Pending } else { Standing::Failed }
            }
            Some(End::Lost { .. }) => {
                let has_left = self.ended(|end| matches!(end, End::Lost { .. })) <= LOST_MAX;
                if has_left { Standing::Pending } else { Standing::Failed }
            }
        }
    }

    fn ended(&self, is_so: impl Fn(&End) -> bool) -> usize {
        self.attempts.iter().filter(|attempt| attempt.end.as_ref().is_some_and(&is_so)).count()
    }

    /// Why its last attempt did not succeed.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        match self.attempts.last()?.end.as_ref()? {
            End::Failed { reason, .. } | End::Refused { reason } | End::Unknown { reason } => Some(reason),
            End::Lost { .. } => Some("it was begun before restarts and never done"),
            End::Done { .. } => None,
        }
    }

    /// The attempt that did it, or else the last that may have.
    fn effective(&self) -> Option<&Attempt> {
        let is = |wanted: fn(&End) -> bool| {
            self.attempts.iter().rev().find(move |attempt| attempt.end.as_ref().is_some_and(wanted))
        };
        is(|end| matches!(end, End::Done { .. })).or_else(|| is(End::maybe_done))
    }

    /// Whether it was done, or may have been.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.effective().is_some()
    }

    /// The action that undoes it, if it was done or may have been.
    #[must_use]
    pub fn inverse(&self) -> Option<Action> {
        let attempt = self.effective()?;
        let told = match attempt.end.as_ref()? {
            End::Done { inverse, .. } => inverse.clone(),
            _ => None,
        };
        told.or_else(|| attempt.effect.as_ref()?.inverse.clone())
    }
}

impl End {
    /// Whether it may have been done, though nobody can tell.
    #[must_use]
    pub const fn maybe_done(&self) -> bool {
        matches!(
            self,
            End::Unknown { .. } | End::Failed { maybe_done: true, .. } | End::Lost { maybe_done: true }
        )
    }
}

impl Leg {
    /// A leg not yet begun.
    #[must_use]
    pub fn new(branch: Branch, steps: &[ScriptStep]) -> Leg {
        let steps = steps.iter().cloned().map(StepRun::new).collect();
        Leg { branch, steps, verified: None, undo: None }
    }

    /// The steps that undo it, in the order they are to be done.
    #[must_use]
    pub fn undo_steps(&self, rollback: &ScriptRollback, timeout: Duration) -> Vec<StepRun> {
        let was_touched = self.steps.iter().any(StepRun::is_touched);
        match rollback {
            ScriptRollback::Steps(steps) if was_touched => steps.iter().cloned().map(StepRun::new).collect(),
            ScriptRollback::None | ScriptRollback::Steps(_) => Vec::new(),
            ScriptRollback::Automatic => {
                let inverse = |action| ScriptStep {
                    action,
                    timeout,
                    retries: UNDO_RETRIES,
                    on_failure: OnFailure::Continue,
                };
                self.steps.iter().rev().filter_map(StepRun::inverse).map(inverse).map(StepRun::new).collect()
            }
        }
    }
}

impl Run {
    /// What comes next.
    #[must_use]
    pub fn next(&self) -> Next {
        if self.state.is_final() {
            return Next::Ended;
        }
        if self.state == RunState::AwaitingApproval {
            return self.next_of_question();
        }
        let Some(leg) = self.legs.last() else {
            return self.fail(RunState::Failed, "it has no steps".to_owned());
        };
        if let Some(open) = open_step(leg) {
            return Next::Resolve(open);
        }
        if let Some(cancel) = &self.cancel {
            return self.cancelled(cancel);
        }
        match &leg.undo {
            Some(undo) => self.next_of_undo(leg, undo),
            None => self.next_of_steps(leg),
        }
    }

    fn next_of_question(&self) -> Next {
        match &self.cancel {
            Some(cancel) => self.cancelled(cancel),
            None => Next::Await,
        }
    }

    fn cancelled(&self, cancel: &Said) -> Next {
        let left = self.left_done();
        let reason = format!("cancelled by {}: {}", cancel.by, cancel.why);
        if left.is_empty() || self.escalated_at.is_some() {
            return Next::Finish { state: RunState::Cancelled, reason };
        }
        Next::Escalate { reason: format!("{reason}; left as it is: {}", left.join(", ")) }
    }

    fn next_of_steps(&self, leg: &Leg) -> Next {
        for (index, step) in leg.steps.iter().enumerate() {
            match (step.standing(), step.step.on_failure) {
                (Standing::Pending | Standing::Open, _) => return Next::Act(Place { is_undo: false, index }),
                (Standing::Done, _) | (Standing::Failed, OnFailure::Continue) => {}
                (Standing::Failed, OnFailure::Stop) => return self.fail(RunState::Failed, told(step)),
                (Standing::Failed, OnFailure::Rollback) => {
                    return Next::Undo { reason: told(step), after_verification: false };
                }
            }
        }
        self.next_of_proof(leg)
    }

    fn next_of_proof(&self, leg: &Leg) -> Next {
        let is_done = |step: &StepRun| step.standing() == Standing::Done;
        if !leg.steps.iter().any(is_done) {
            return Next::Undo { reason: "no step succeeded".to_owned(), after_verification: true };
        }
        if self.script.verification.is_none() {
            let reason = "done; nothing was to be verified".to_owned();
            return Next::Finish { state: RunState::Succeeded, reason };
        }
        let Some((is_healed, detail)) = leg.verified.as_ref().and_then(|v| Some((v.is_healed?, &v.detail)))
        else {
            return Next::Verify;
        };
        if is_healed {
            Next::Finish { state: RunState::Succeeded, reason: format!("verified: {detail}") }
        } else {
            Next::Undo { reason: format!("it did not help: {detail}"), after_verification: true }
        }
    }

    fn next_of_undo(&self, leg: &Leg, undo: &Undo) -> Next {
        let pending = undo.steps.iter().position(|step| step.standing() == Standing::Pending);
        if let Some(index) = pending {
            return Next::Act(Place { is_undo: true, index });
        }
        let failed: Vec<String> =
            undo.steps.iter().filter(|step| step.standing() == Standing::Failed).map(told).collect();
        if !failed.is_empty() {
            let reason = format!("{}; not undone: {}", undo.reason, failed.join("; "));
            return self.fail(RunState::Failed, reason);
        }
        let may_go_on = undo.after_verification && leg.branch == Branch::Main && self.legs.len() == 1;
        if may_go_on && !self.script.otherwise.is_empty() {
            return Next::Otherwise;
        }
        let is_undone = !undo.steps.is_empty();
        let state = if is_undone { RunState::RolledBack } else { RunState::Failed };
        let tail = if is_undone { "; rolled back" } else { "; there was nothing to undo" };
        self.fail(state, format!("{}{tail}", undo.reason))
    }

    fn fail(&self, state: RunState, reason: String) -> Next {
        if self.escalated_at.is_none() { Next::Escalate { reason } } else { Next::Finish { state, reason } }
    }

    /// Actions that were done and not undone, in words.
    #[must_use]
    pub fn left_done(&self) -> Vec<String> {
        let told = |step: &StepRun| format!("{} {}", step.step.action.kind, step.step.action.target);
        let is_left = |leg: &&Leg| {
            !leg.undo.as_ref().is_some_and(|undo| undo.steps.iter().all(|s| s.standing() == Standing::Done))
        };
        let touched = |step: &&StepRun| step.is_touched();
        self.legs.iter().filter(is_left).flat_map(|leg| leg.steps.iter().filter(touched).map(told)).collect()
    }

    /// Kinds of the actions done by its last leg.
    #[must_use]
    pub fn kinds(&self) -> Vec<&str> {
        let steps = self.legs.iter().flat_map(|leg| &leg.steps);
        let mut kinds: Vec<&str> = steps
            .filter(|step| step.attempts.iter().any(|attempt| attempt.effect.is_some()))
            .map(|step| step.step.action.kind.as_str())
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The step at this place of the last leg.
    #[must_use]
    pub fn step(&self, place: Place) -> Option<&StepRun> {
        let leg = self.legs.last()?;
        if place.is_undo { leg.undo.as_ref()?.steps.get(place.index) } else { leg.steps.get(place.index) }
    }

    /// As [`Run::step`], to change it.
    pub fn step_mut(&mut self, place: Place) -> Option<&mut StepRun> {
        let leg = self.legs.last_mut()?;
        if place.is_undo {
            leg.undo.as_mut()?.steps.get_mut(place.index)
        } else {
            leg.steps.get_mut(place.index)
        }
    }

    /// Whether an action was begun.
    #[must_use]
    pub fn has_acted(&self) -> bool {
        let acted = |step: &StepRun| step.attempts.iter().any(|attempt| attempt.effect.is_some());
        self.legs.iter().any(|leg| leg.steps.iter().any(acted))
    }

    /// Adds a line to the timeline.
    pub fn note(&mut self, at: Timestamp, text: impl Into<String>) {
        if self.timeline.len() == TIMELINE_MAX {
            self.timeline.remove(0);
        }
        self.timeline.push(RunEntry { at, text: text.into() });
    }

    /// Alert and playbook: what never runs twice at once.
    #[must_use]
    pub fn key(&self) -> String {
        key_of(&self.alert.fingerprint, &self.playbook)
    }

    /// The playbook with its version, for people.
    #[must_use]
    pub fn playbook_text(&self) -> String {
        format!("{} v{} ({})", self.playbook, self.version, self.hash.get(..8).unwrap_or(&self.hash))
    }
}

/// Alert and playbook, as one key.
#[must_use]
pub fn key_of(fingerprint: &str, playbook: &str) -> String {
    format!("{fingerprint}:{playbook}")
}

fn open_step(leg: &Leg) -> Option<Place> {
    let open = |steps: &[StepRun]| steps.iter().position(|step| step.standing() == Standing::Open);
    let undo = leg.undo.as_ref().and_then(|undo| open(&undo.steps));
    undo.map(|index| Place { is_undo: true, index })
        .or_else(|| open(&leg.steps).map(|index| Place { is_undo: false, index }))
}

fn told(step: &StepRun) -> String {
    let action = &step.step.action;
    format!("{} {}: {}", action.kind, action.target, step.trouble().unwrap_or("it failed"))
}
