//! What people and interfaces ask of the responder: plans, runs, answers, the kill switch, how things stand.
//!
//! Invariant: an approval and a cancellation are durable, and an approval is in the audit trail, before they take effect; the kill
//! switch takes effect first.

use std::sync::Arc;

use heimdall_metastore::{DocumentCursor, DocumentFilter, PAGE_ROWS_MAX};
use heimdall_model::{Alert, Tenant, Timestamp};

use super::{Entry, Live, RespondError, Responder, RunFilter, Shelf, cancel, shelve};
use crate::autonomy;
use crate::config::{RespondConfig, span};
use crate::pattern::Pattern;
use crate::playbook::{Playbook, Triggered};
use crate::ports::{LedgerEntry, LedgerOutcome};
use crate::run::{Run, RunId, RunState, Said, event, key_of};
use crate::safety::{Judgement, Limit, Limits, Refusal, Request};
use crate::views::{AutonomyView, Plan, PlaybookView, RespondStatus, RunPage};

/// Pages of the metastore read for one page of runs.
const PAGES_MAX: usize = 20;

impl Responder {
    /// What every enabled playbook whose trigger holds would do about this alert now. Looks at targets, changes nothing.
    pub async fn plan(&self, alert: &Alert) -> Vec<Plan> {
        let (shelf, now) = (self.shelf(), self.now());
        let mut plans = Vec::new();
        for entry in shelf.playbooks.iter().filter(|entry| entry.playbook.enabled) {
            match entry.playbook.trigger.of(alert, now) {
                Triggered::No => {}
                Triggered::NotYet { .. } => plans.push(self.not_yet(entry)),
                Triggered::Yes => plans.push(self.assess(alert, entry, true).await.plan),
            }
        }
        plans
    }

    /// Whether a run of this alert and playbook may be begun, as far as other runs are concerned.
    pub(crate) fn may_begin(
        &self,
        alert: &Alert,
        playbook: &Playbook,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let shelf = self.shelf();
        let cooldown = span::ns(playbook.cooldown.unwrap_or(shelf.limits.config().cooldown));
        let key = key_of(&alert.fingerprint, &playbook.id);
        self.desk.lock().may_begin(&key, cooldown, shelf.limits.config().runs_max, now)
    }

    /// Runs, newest first. A page may hold fewer than asked for, and yet have a next one.
    ///
    /// # Errors
    /// The metastore cannot be read.
    pub fn runs(
        &self,
        filter: &RunFilter,
        after: Option<&DocumentCursor>,
        limit: usize,
    ) -> Result<RunPage, RespondError> {
        let stored = DocumentFilter {
            tenant: filter.tenant.clone(),
            states: filter.states.iter().map(|state| state.as_str().to_owned()).collect(),
            ..DocumentFilter::default()
        };
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let rows = if filter.is_of_stored() { limit } else { PAGE_ROWS_MAX };
        let (mut items, mut after) = (Vec::new(), after.cloned());
        for _ in 0..PAGES_MAX {
            let page = self.runs.page(&stored, after.as_ref(), rows)?;
            let is_last = page.len() < rows;
            for run in page {
                after = Some(DocumentCursor { at: run.created_at, id: run.id.to_string() });
                if filter.admits(&run) {
                    items.push(run);
                }
                if items.len() == limit {
                    return Ok(RunPage { items, next: after.map(|cursor| cursor.to_string()) });
                }
            }
            if is_last {
                return Ok(RunPage { items, next: None });
            }
        }
        Ok(RunPage { items, next: after.map(|cursor| cursor.to_string()) })
    }

    /// A run of this tenant; none of `tenant`: of any.
    ///
    /// # Errors
    /// [`RespondError::NoSuchRun`], or the metastore cannot be read.
    pub fn get(&self, tenant: Option<&Tenant>, id: RunId) -> Result<Run, RespondError> {
        let run = self.runs.get(id)?.filter(|run| tenant.is_none_or(|tenant| *tenant == run.tenant));
        run.ok_or(RespondError::NoSuchRun { id })
    }

    /// Runs that wait for a person, oldest first.
    #[must_use]
    pub fn approvals(&self, tenant: Option<&Tenant>) -> Vec<Run> {
        let lives: Vec<Arc<Live>> = self.desk.lock().live.values().cloned().collect();
        let waits = |run: &Arc<Run>| {
            run.state == RunState::AwaitingApproval && tenant.is_none_or(|tenant| *tenant == run.tenant)
        };
        let mut waiting: Vec<Run> =
            lives.iter().map(|live| live.run()).filter(waits).map(|run| (*run).clone()).collect();
        waiting.sort_by_key(|run| (run.created_at, run.id));
        waiting
    }

    /// Says yes to a run that waits. Limits are asked again, now and before every action.
    ///
    /// # Errors
    /// [`RespondError::Refused`] and the run still waits; it does not wait; this principal is not asked.
    pub fn approve(
        &self,
        tenant: Option<&Tenant>,
        id: RunId,
        by: &str,
        why: &str,
    ) -> Result<Run, RespondError> {
        let live = self.waiting(tenant, id, by)?;
        let run = live.run();
        self.recheck(&run).map_err(RespondError::Refused)?;
        let entry = self.entry_of(&run, event::APPROVE, LedgerOutcome::Done, by, why);
        self.ports.ledger.record(&entry).map_err(|error| RespondError::Ledger(error.to_string()))?;
        let said = Said { by: by.to_owned(), at: self.now(), why: why.to_owned() };
        let run = self.write_blocking(&live, |run| answer(run, said, true))?;
        self.begin(id);
        answered(&run, RunState::Queued)
    }

    /// Says no to a run that waits.
    ///
    /// # Errors
    /// It does not wait, or this principal is not asked.
    pub fn reject(
        &self,
        tenant: Option<&Tenant>,
        id: RunId,
        by: &str,
        why: &str,
    ) -> Result<Run, RespondError> {
        let live = self.waiting(tenant, id, by)?;
        let said = Said { by: by.to_owned(), at: self.now(), why: why.to_owned() };
        let run = self.write_blocking(&live, |run| answer(run, said, false))?;
        let run = answered(&run, RunState::Rejected)?;
        self.record(&self.entry_of(&run, event::REJECT, LedgerOutcome::Denied, by, why));
        self.ended(&run);
        Ok(run)
    }

    fn waiting(&self, tenant: Option<&Tenant>, id: RunId, by: &str) -> Result<Arc<Live>, RespondError> {
        let Some(live) = self.live(id) else {
            return Err(RespondError::WrongState { id, state: self.get(tenant, id)?.state });
        };
        let run = live.run();
        if tenant.is_some_and(|tenant| *tenant != run.tenant) {
            return Err(RespondError::NoSuchRun { id });
        }
        if run.state != RunState::AwaitingApproval || run.cancel.is_some() {
            return Err(RespondError::WrongState { id, state: run.state });
        }
        let asks = run.approval.as_ref().map(|question| question.by.clone()).unwrap_or_default();
        let is_asked = |pattern: &String| Pattern::parse(pattern).is_ok_and(|pattern| pattern.is_match(by));
        if !asks.is_empty() && !asks.iter().any(is_asked) {
            return Err(RespondError::NotAsked { by: by.to_owned(), playbook: run.playbook.clone(), asks });
        }
        Ok(live)
    }

    /// Asks the limits again, with what looking told when the question was asked.
    fn recheck(&self, run: &Run) -> Result<(), Refusal> {
        let (shelf, now) = (self.shelf(), self.now());
        let desk = self.desk.lock();
        for looked in &run.looked {
            let Some(effect) = looked.effect.as_ref() else { continue };
            let request = Request {
                run: run.id,
                playbook: &run.playbook,
                action: &looked.action,
                effect,
                mode: run.mode,
                is_approved: true,
                is_rollback: false,
                is_rehearsal: false,
            };
            match shelf.limits.judge(&desk.history, &request, desk.kill.is_some(), now) {
                Judgement::Refuse(refusal) if refusal.limit != Limit::Concurrent => return Err(refusal),
                Judgement::Refuse(_) | Judgement::Allow | Judgement::NeedApproval { .. } => {}
            }
        }
        Ok(())
    }

    /// Stops a run once the action under way has ended. What was done stays, and people are told so.
    ///
    /// # Errors
    /// It has ended, or cannot be written.
    pub fn cancel(
        &self,
        tenant: Option<&Tenant>,
        id: RunId,
        by: &str,
        why: &str,
    ) -> Result<Run, RespondError> {
        let Some(live) =
            self.live(id).filter(|live| tenant.is_none_or(|tenant| *tenant == live.run().tenant))
        else {
            return Err(RespondError::WrongState { id, state: self.get(tenant, id)?.state });
        };
        let said = Said { by: by.to_owned(), at: self.now(), why: why.to_owned() };
        let run = self.write_blocking(&live, |run| cancel(run, said))?;
        live.cancelled.cancel();
        self.begin(id);
        self.record(&self.entry_of(&run, event::CANCEL, LedgerOutcome::Done, by, why));
        Ok((*run).clone())
    }

    /// Turns the kill switch. On: no action is begun any more, rollbacks neither, and every run is cancelled; it holds over restarts.
    ///
    /// # Errors
    /// It cannot be written down: on, it holds in this process all the same; off, it stays on.
    pub fn kill_switch(&self, on: bool, by: &str, why: &str) -> Result<(), RespondError> {
        let said = Said { by: by.to_owned(), at: self.now(), why: why.to_owned() };
        if on {
            self.desk.lock().kill = Some(said.clone());
        }
        let stored = self.runs.set_switch(on, &said);
        if on {
            self.cancel_all(&said);
        } else if stored.is_ok() {
            self.desk.lock().kill = None;
        }
        tracing::warn!(on, by, why, "kill switch");
        let recorded = self.ports.ledger.record(&self.switch_entry(on, &said));
        stored?;
        recorded.map_err(|error| RespondError::Ledger(error.to_string()))
    }

    fn cancel_all(&self, said: &Said) {
        let lives: Vec<(RunId, Arc<Live>)> =
            self.desk.lock().live.iter().map(|(id, live)| (*id, Arc::clone(live))).collect();
        let said = Said { why: format!("kill switch: {}", said.why), ..said.clone() };
        for (id, live) in lives {
            live.cancelled.cancel();
            // Not written: the switch itself is asked before every action, and the run is cancelled when driven next.
            if let Err(error) = self.write_blocking(&live, |run| cancel(run, said.clone())) {
                tracing::error!(run = %id, %error, "a run could not be cancelled; the kill switch stops it all the same");
            }
            self.begin(id);
        }
    }

    fn switch_entry(&self, on: bool, said: &Said) -> LedgerEntry {
        LedgerEntry {
            at: said.at,
            tenant: Tenant::default(),
            principal: said.by.clone(),
            action: event::KILL_SWITCH.to_owned(),
            outcome: LedgerOutcome::Done,
            rule: String::new(),
            playbook: String::new(),
            run: String::new(),
            kind: String::new(),
            target: if on { "on" } else { "off" }.to_owned(),
            is_dry_run: false,
            is_rollback: false,
            detail: said.why.clone(),
        }
    }

    /// Who turned the kill switch on; none: it is off.
    #[must_use]
    pub fn killed(&self) -> Option<Said> {
        self.desk.lock().kill.clone()
    }

    /// What playbooks have earned, by playbook and kind of action.
    #[must_use]
    pub fn autonomy(&self) -> Vec<AutonomyView> {
        let shelf = self.shelf();
        let view = |((playbook, kind), tally): ((String, String), autonomy::Tally)| {
            let entry = shelf.playbooks.iter().find(|entry| entry.playbook.id == playbook);
            let default = shelf.limits.config().autonomy_after;
            let needed = entry.map_or(default, |entry| autonomy::needed(&entry.playbook, &shelf.limits));
            let is_current = entry.is_none_or(|entry| *entry.hash == *tally.hash);
            AutonomyView {
                is_earned: is_current && tally.streak >= needed,
                hash: tally.hash,
                streak: tally.streak,
                successes: tally.successes,
                failures: tally.failures,
                playbook,
                kind,
                needed,
            }
        };
        self.autonomy.all().into_iter().map(view).collect()
    }

    /// Every playbook.
    #[must_use]
    pub fn playbooks(&self) -> Vec<PlaybookView> {
        let shelf = self.shelf();
        let view = |entry: &Entry| {
            let (effective_mode, mode_reason) =
                self.autonomy.mode_of(&entry.playbook, &entry.hash, &shelf.limits);
            PlaybookView {
                hash: entry.hash.to_string(),
                effective_mode,
                mode_reason,
                file: entry.playbook.source.file.clone(),
                playbook: (*entry.playbook).clone(),
            }
        };
        shelf.playbooks.iter().map(view).collect()
    }

    /// Works with these playbooks from now on. Runs go on as they were begun.
    ///
    /// # Errors
    /// Two share an id, or there are too many; nothing changes.
    pub fn set_playbooks(&self, playbooks: Vec<Playbook>) -> Result<(), RespondError> {
        let playbooks = shelve(playbooks)?;
        let mut shelf = self.shelf.write();
        *shelf = Arc::new(Shelf { playbooks, limits: shelf.limits.clone() });
        Ok(())
    }

    /// Works within these limits from now on.
    ///
    /// # Errors
    /// A value does not suit its key; nothing changes.
    pub fn set_config(&self, config: RespondConfig) -> Result<(), RespondError> {
        let limits = Limits::new(config)?;
        self.slots.set_most(limits.config().max_concurrent_actions);
        let mut shelf = self.shelf.write();
        *shelf = Arc::new(Shelf { playbooks: shelf.playbooks.clone(), limits });
        Ok(())
    }

    /// How things stand.
    ///
    /// # Errors
    /// The metastore cannot be read.
    pub fn status(&self) -> Result<RespondStatus, RespondError> {
        let (shelf, now) = (self.shelf(), self.now());
        let (runs, awaiting_approval) = (self.runs.counts()?, self.approvals(None).len());
        let desk = self.desk.lock();
        let config = shelf.limits.config();
        Ok(RespondStatus {
            enabled: config.enabled,
            mode: config.mode,
            kill_switch: desk.kill.clone(),
            playbooks: shelf.playbooks.len(),
            playbooks_enabled: shelf.playbooks.iter().filter(|entry| entry.playbook.enabled).count(),
            candidates: desk.candidates.len(),
            watched: desk.watched.len(),
            runs_live: desk.live.len(),
            awaiting_approval,
            actions_under_way: desk.history.under_way(),
            actions_waiting: self.slots.waiting(),
            runs,
            limits: shelf.limits.used(&desk.history, now),
            outages: self.outages.view(),
        })
    }
}

fn answer(run: &mut Run, said: Said, is_approved: bool) {
    if run.state != RunState::AwaitingApproval || run.cancel.is_some() {
        return;
    }
    let word = if is_approved { "approved" } else { "rejected" };
    let text = format!("{word} by {}: {}", said.by, said.why);
    run.note(said.at, text.clone());
    run.reason = text;
    run.state = if is_approved { RunState::Queued } else { RunState::Rejected };
    run.finished_at = (!is_approved).then_some(said.at);
    if let Some(question) = run.approval.as_mut() {
        question.answer = Some(said);
        question.is_approved = is_approved;
    }
}

fn answered(run: &Run, state: RunState) -> Result<Run, RespondError> {
    let is_so =
        run.state == state || !run.state.is_final() && state == RunState::Queued && run.cancel.is_none();
    if is_so { Ok(run.clone()) } else { Err(RespondError::WrongState { id: run.id, state: run.state }) }
}
