//! What people change: status, assignee, priority, comments, incident, and whether an alert was right.
//!
//! Invariant: each change is durable when its call returns `Ok`, and in the history of the alert.

use std::sync::Arc;

use heimdall_metastore::AlertRow;
use heimdall_model::{
    Alert, AlertId, Comment, FeedbackVerdict, IncidentId, Priority, Status, Tenant, Timestamp,
};
use parking_lot::MutexGuard;

use super::{Alerts, CHUNK_VERDICTS_MAX};
use crate::error::AlertError;
use crate::event::Cause;
use crate::incident::EntryKind;
use crate::lifecycle::{Step, add_comment, change_status, cut, judge, may_follow, remark};
use crate::state::{State, Tell};

/// Longest name of an assignee (characters); the rest is cut.
const ASSIGNEE_CHARS_MAX: usize = 200;

impl Alerts {
    /// Changes the status of an alert; a step to the status it has changes nothing and is `Ok`, but for a suppression that
    /// ends at another time.
    ///
    /// # Errors
    /// [`AlertError::NotFound`], [`AlertError::Conflict`], [`AlertError::Superseded`], [`AlertError::Invalid`]: nothing changed.
    /// [`AlertError::NotDurable`]: it changed, and is stored as soon as the metastore answers. [`AlertError::Store`]: nothing changed.
    pub fn step(
        &self,
        tenant: Option<&Tenant>,
        id: AlertId,
        step: Step,
        by: &str,
        note: Option<&str>,
    ) -> Result<Arc<Alert>, AlertError> {
        let alert = self.step_one(&mut self.shared.state.lock(), tenant, id, step, by, note)?;
        self.flush()?;
        Ok(alert)
    }

    /// As [`Alerts::step`] for many alerts, which become durable together. One answer for each id, in their order.
    pub fn step_many(
        &self,
        tenant: Option<&Tenant>,
        ids: &[AlertId],
        step: Step,
        by: &str,
        note: Option<&str>,
    ) -> Vec<Result<Arc<Alert>, AlertError>> {
        let mut all = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK_VERDICTS_MAX) {
            match self.wait_for_room(chunk.len()) {
                Ok(mut state) => {
                    all.extend(chunk.iter().map(|id| self.step_one(&mut state, tenant, *id, step, by, note)));
                }
                Err(_) => all.extend(chunk.iter().map(|_| Err(AlertError::NotDurable))),
            }
        }
        if self.flush().is_err() {
            all.iter_mut().filter(|one| one.is_ok()).for_each(|one| *one = Err(AlertError::NotDurable));
        }
        all
    }

    fn step_one(
        &self,
        state: &mut State,
        tenant: Option<&Tenant>,
        id: AlertId,
        step: Step,
        by: &str,
        note: Option<&str>,
    ) -> Result<Arc<Alert>, AlertError> {
        let now = self.clock.now();
        if step.until().is_some_and(|until| until <= now) {
            return Err(AlertError::Invalid { field: "until", reason: "is in the past".to_owned() });
        }
        let row = self.owned(state, tenant, id)?;
        self.check_step(state, &row.alert, step.target())?;
        if row.alert.status != step.target() {
            return Ok(self.move_to(state, &row, step, by, note, now));
        }
        if step.target() == Status::Suppressed && row.alert.suppressed_until != step.until() {
            return Ok(self.prolong(state, &row, step.until(), by, now));
        }
        Ok(row.alert)
    }

    /// The newest state of an alert, if it is this tenant's.
    pub(super) fn owned(
        &self,
        state: &State,
        tenant: Option<&Tenant>,
        id: AlertId,
    ) -> Result<AlertRow, AlertError> {
        let found = state.find(id, self.store())?;
        found
            .filter(|row| tenant.is_none_or(|tenant| *tenant == row.alert.tenant))
            .ok_or(AlertError::NotFound { id })
    }

    fn check_step(&self, state: &mut State, alert: &Alert, to: Status) -> Result<(), AlertError> {
        let from = alert.status;
        if from != to && !may_follow(from, to) {
            return Err(AlertError::Conflict { id: alert.id, from, to });
        }
        if from == Status::Resolved && to != Status::Resolved {
            let latest = state.latest(&alert.fingerprint, self.store())?;
            if let Some(newer) = latest.filter(|latest| latest.alert.id != alert.id) {
                return Err(AlertError::Superseded { id: alert.id, newer: newer.alert.id });
            }
        }
        Ok(())
    }

    /// Takes a step that was checked.
    pub(super) fn move_to(
        &self,
        state: &mut State,
        row: &AlertRow,
        step: Step,
        by: &str,
        note: Option<&str>,
        now: Timestamp,
    ) -> Arc<Alert> {
        let (from, to) = (row.alert.status, step.target());
        let mut alert = Alert::clone(&row.alert);
        change_status(&mut alert, to, by, note, now);
        alert.suppressed_until = step.until();
        if from == Status::Resolved {
            alert.ends_at = None;
            state.live.put(&alert, &state.flapping);
            alert.muted = self.mute_of(state, &alert, now);
        }
        state.moved(Some(from), to);
        let because = note.map(|note| format!(": {note}")).unwrap_or_default();
        let text = format!("{from} → {to}{because}");
        self.shared.incidents.follow(&alert, EntryKind::Status, &text, by, now);
        let alert = self.keep(state, alert, now, Cause::Status { from });
        state.show_gauges();
        alert
    }

    /// Suppresses until another time.
    fn prolong(
        &self,
        state: &mut State,
        row: &AlertRow,
        until: Option<Timestamp>,
        by: &str,
        now: Timestamp,
    ) -> Arc<Alert> {
        let mut alert = Alert::clone(&row.alert);
        alert.suppressed_until = until;
        let note =
            until.map_or("suppressed until further notice".to_owned(), |at| format!("suppressed until {at}"));
        remark(&mut alert, &note, by, now);
        self.keep(state, alert, row.touched_at, Cause::Changed)
    }

    /// Notes the new state of an alert, tells whoever watches, and sends an event once it is stored.
    pub(super) fn keep(
        &self,
        state: &mut State,
        alert: Alert,
        touched_at: Timestamp,
        cause: Cause,
    ) -> Arc<Alert> {
        let alert = Arc::new(alert);
        state.change(AlertRow { alert: alert.clone(), touched_at }, Tell::Now);
        state.event(&alert, cause);
        alert
    }

    /// Gives an alert to somebody, or to nobody.
    ///
    /// # Errors
    /// As [`Alerts::step`].
    pub fn assign(
        &self,
        tenant: Option<&Tenant>,
        id: AlertId,
        who: Option<&str>,
        by: &str,
    ) -> Result<Arc<Alert>, AlertError> {
        let who = who.map(|who| who.chars().take(ASSIGNEE_CHARS_MAX).collect::<String>());
        self.change(
            tenant,
            id,
            |alert, now| {
                if alert.assignee == who {
                    return None;
                }
                let text =
                    who.as_ref().map_or("assigned to nobody".to_owned(), |who| format!("assigned to {who}"));
                remark(alert, &text, by, now);
                alert.assignee = who;
                Some((EntryKind::Owner, text))
            },
            by,
        )
    }

    /// Writes a comment on an alert.
    ///
    /// # Errors
    /// As [`Alerts::step`]; [`AlertError::Invalid`] when there are no words.
    pub fn comment(
        &self,
        tenant: Option<&Tenant>,
        id: AlertId,
        by: &str,
        text: &str,
    ) -> Result<Arc<Alert>, AlertError> {
        if text.trim().is_empty() {
            return Err(AlertError::Invalid { field: "text", reason: "is empty".to_owned() });
        }
        self.change(
            tenant,
            id,
            |alert, now| {
                add_comment(&mut alert.comments, Comment { at: now, by: by.to_owned(), text: cut(text) });
                Some((EntryKind::Comment, text.to_owned()))
            },
            by,
        )
    }

    /// Sets how urgent an alert is; it stays so until the alert grows worse.
    ///
    /// # Errors
    /// As [`Alerts::step`].
    pub fn set_priority(
        &self,
        tenant: Option<&Tenant>,
        id: AlertId,
        priority: Priority,
        by: &str,
    ) -> Result<Arc<Alert>, AlertError> {
        self.change(
            tenant,
            id,
            |alert, now| {
                let from = std::mem::replace(&mut alert.priority, priority);
                if from == priority {
                    return None;
                }
                let text = format!("{} → {}", from.as_str(), priority.as_str());
                remark(alert, &text, by, now);
                Some((EntryKind::Note, text))
            },
            by,
        )
    }

    /// Puts an alert into an incident, and out of the one it was in.
    ///
    /// # Errors
    /// As [`Alerts::step`]; [`AlertError::Incident`].
    pub fn add_to_incident(
        &self,
        tenant: Option<&Tenant>,
        incident: IncidentId,
        id: AlertId,
        by: &str,
    ) -> Result<Arc<Alert>, AlertError> {
        let now = self.clock.now();
        let row = self.owned(&self.shared.state.lock(), tenant, id)?;
        if row.alert.incident == Some(incident) {
            return Ok(row.alert);
        }
        if let Some(former) = row.alert.incident {
            self.shared.incidents.remove_alert(tenant, former, &row.alert, by)?;
        }
        self.shared.incidents.add_alert(tenant, incident, &row.alert, by)?;
        self.relink(id, Some(incident), now)
    }

    /// Takes an alert out of its incident.
    ///
    /// # Errors
    /// As [`Alerts::step`]; [`AlertError::Incident`] when it is not in this incident.
    pub fn remove_from_incident(
        &self,
        tenant: Option<&Tenant>,
        incident: IncidentId,
        id: AlertId,
        by: &str,
    ) -> Result<Arc<Alert>, AlertError> {
        let now = self.clock.now();
        let row = self.owned(&self.shared.state.lock(), tenant, id)?;
        if row.alert.incident != Some(incident) {
            let reason = "is not in this incident";
            return Err(crate::incident::IncidentError::Alert { alert: id, reason }.into());
        }
        self.shared.incidents.remove_alert(tenant, incident, &row.alert, by)?;
        self.relink(id, None, now)
    }

    fn relink(
        &self,
        id: AlertId,
        incident: Option<IncidentId>,
        now: Timestamp,
    ) -> Result<Arc<Alert>, AlertError> {
        let alert = {
            let mut state = self.shared.state.lock();
            self.link(&mut state, id, incident, now, Tell::Now)?;
            let alert = self.owned(&state, None, id)?.alert;
            state.event(&alert, Cause::Changed);
            alert
        };
        self.flush()?;
        Ok(alert)
    }

    /// Changes an alert as `work` says, which names what it did, or nothing when there was nothing to do.
    fn change(
        &self,
        tenant: Option<&Tenant>,
        id: AlertId,
        work: impl FnOnce(&mut Alert, Timestamp) -> Option<(EntryKind, String)>,
        by: &str,
    ) -> Result<Arc<Alert>, AlertError> {
        let now = self.clock.now();
        let alert = {
            let mut state = self.shared.state.lock();
            let row = self.owned(&state, tenant, id)?;
            let mut alert = Alert::clone(&row.alert);
            let Some((kind, text)) = work(&mut alert, now) else { return Ok(row.alert) };
            self.shared.incidents.follow(&alert, kind, &text, by, now);
            self.keep_old(&mut state, alert, row.touched_at)?
        };
        self.flush()?;
        Ok(alert)
    }

    /// As [`Self::keep`] for an alert that may not be the latest of its finding: what is known of the finding stays so.
    fn keep_old(
        &self,
        state: &mut MutexGuard<'_, State>,
        alert: Alert,
        touched_at: Timestamp,
    ) -> Result<Arc<Alert>, AlertError> {
        state.latest(&alert.fingerprint, self.store())?;
        let is_relabelled = alert.status != Status::Resolved;
        let alert = self.keep(state, alert, touched_at, Cause::Changed);
        if is_relabelled {
            // Silences and inhibition may ask for the priority.
            state.live.recheck(vec![alert.id]);
        }
        Ok(alert)
    }

    /// Notes whether a person finds an alert right. It may be said again, which changes nothing, and otherwise, which
    /// replaces it; in every status, also of an alert that came back since.
    ///
    /// # Errors
    /// [`AlertError::NotFound`], [`AlertError::Store`]: nothing changed. [`AlertError::NotDurable`]: it is noted, and stored as
    /// soon as the metastore answers.
    pub fn judge(
        &self,
        tenant: Option<&Tenant>,
        id: AlertId,
        verdict: FeedbackVerdict,
        by: &str,
        note: Option<&str>,
    ) -> Result<Arc<Alert>, AlertError> {
        let alert = {
            let mut state = self.shared.state.lock();
            let row = self.owned(&state, tenant, id)?;
            let mut alert = Alert::clone(&row.alert);
            if judge(&mut alert, verdict, by, note, self.clock.now()) {
                // The alert may be an old one: what is known of its finding stays the latest.
                state.latest(&alert.fingerprint, self.store())?;
                let alert = Arc::new(alert);
                state.change(AlertRow { alert: alert.clone(), touched_at: row.touched_at }, Tell::Now);
                state.feedback_version += 1;
                metrics::counter!("alert_feedback_total", "verdict" => verdict.as_str()).increment(1);
                alert
            } else {
                row.alert
            }
        };
        self.flush()?;
        Ok(alert)
    }
}
