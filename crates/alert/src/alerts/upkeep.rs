//! What time changes: alerts gone quiet or past their end resolve, suppressions end, mutes are set and lifted, old ones go.

use std::collections::HashMap;

use heimdall_model::time::format_duration;
use heimdall_model::{Alert, AlertId, Status, Tenant, Timestamp};

use super::{Alerts, PENDING_MAX, ago, is_same};
use crate::error::AlertError;
use crate::event::Cause;
use crate::flapping::ns;
use crate::incident::EntryKind;
use crate::lifecycle::{HEIMDALL, Step};
use crate::silence::{Index, Turn};
use crate::state::State;

/// Alerts resolved, woken and deleted by one tick, of each.
const TICK_ROWS_MAX: usize = 1_000;
/// Alerts whose mute one tick looks at again; the others wait for the next one.
const TICK_CHECKS_MAX: usize = 20_000;
/// A tick mutes no more alerts while this many wait to be stored, so that there is room for findings.
const TICK_PENDING_MAX: usize = PENDING_MAX / 2;
/// Alerts looked at under one lock.
const CHECKS_PER_LOCK: usize = 250;
/// Alerts compared with new silences under one lock.
const COMPARED_PER_LOCK: usize = 5_000;

impl Alerts {
    /// Housekeeping, to be called every second or so: resolves alerts gone quiet or past their end, wakes those suppressed
    /// until now, mutes and unmutes as silences, inhibition and flapping want it, resolves incidents that are over, and
    /// deletes what is old; at most 1,000 of each (mutes 20,000), the rest with the next call. Quiet is counted from the start
    /// of this server at the earliest, since before it nobody looked. Returns how many alerts were resolved.
    ///
    /// # Errors
    /// The metastore failed; the next call goes on.
    pub fn tick(&self, now: Timestamp) -> Result<usize, AlertError> {
        if let Some(before) = ago(now, self.config.keep_resolved) {
            self.store().delete_resolved(before, TICK_ROWS_MAX)?;
        }
        let quiet = match ago(now, self.config.resolve_after) {
            Some(before) if before > self.opened_at => self.resolve_quiet(before, now)?,
            _ => 0,
        };
        let ended = self.act_on_due(now)?;
        self.turn(&self.silences.advance(now));
        self.check_mutes(now)?;
        self.silences.forget(now)?;
        self.shared.incidents.tick(now)?;
        Ok(quiet + ended)
    }

    fn resolve_quiet(&self, before: Timestamp, now: Timestamp) -> Result<usize, AlertError> {
        let candidates = self.store().quiet(before, TICK_ROWS_MAX)?;
        let note = format!("no finding for {}", format_duration(ns(self.config.resolve_after)));
        let mut resolved = 0;
        for id in candidates {
            let mut state = self.shared.state.lock();
            let Some(row) = state.find(id, self.store())? else { continue };
            let is_watched = matches!(row.alert.status, Status::Open | Status::Acknowledged);
            if is_watched && row.touched_at < before && row.alert.ends_at.is_none() {
                self.move_to(&mut state, &row, Step::Resolve, HEIMDALL, Some(&note), now);
                resolved += 1;
            }
        }
        Ok(resolved)
    }

    /// Alerts whose own time has come: the end, the end of a suppression, the end of flapping.
    fn act_on_due(&self, now: Timestamp) -> Result<usize, AlertError> {
        let due = self.shared.state.lock().live.due(now, TICK_ROWS_MAX);
        let mut resolved = 0;
        for id in due {
            let mut state = self.shared.state.lock();
            let Some(row) = state.find(id, self.store())? else {
                state.live.remove(id);
                continue;
            };
            let alert = &row.alert;
            if alert.ends_at.is_some_and(|at| at <= now) {
                let note = "it ended, or was not reported again";
                self.move_to(&mut state, &row, Step::Resolve, HEIMDALL, Some(note), now);
                resolved += 1;
            } else if alert.status == Status::Suppressed && alert.suppressed_until.is_some_and(|at| at <= now)
            {
                self.move_to(
                    &mut state,
                    &row,
                    Step::Reopen,
                    HEIMDALL,
                    Some("it was suppressed until now"),
                    now,
                );
            } else {
                state.live.recheck(vec![id]);
            }
        }
        Ok(resolved)
    }

    /// Silences began or ended: alerts they concern are looked at again.
    fn turn(&self, turn: &Turn) {
        let mut began: HashMap<Tenant, Index> = HashMap::new();
        for silence in &turn.began {
            began.entry(silence.tenant.clone()).or_default().add(silence);
        }
        let mut state = self.shared.state.lock();
        state.live.ended(turn);
        if began.is_empty() {
            return;
        }
        let ids = state.live.ids();
        drop(state);
        for chunk in ids.chunks(COMPARED_PER_LOCK) {
            self.shared.state.lock().live.began(&began, chunk);
        }
    }

    fn check_mutes(&self, now: Timestamp) -> Result<(), AlertError> {
        for _ in 0..TICK_CHECKS_MAX / CHECKS_PER_LOCK {
            let mut state = self.shared.state.lock();
            if state.pending_count() + CHECKS_PER_LOCK > TICK_PENDING_MAX {
                // The metastore is behind: findings and people come first, the next tick goes on.
                break;
            }
            let ids = state.live.take_unchecked(CHECKS_PER_LOCK);
            for (n, id) in ids.iter().enumerate() {
                if let Err(error) = self.check_mute(&mut state, *id, now) {
                    state.live.recheck(ids[n..].to_vec());
                    return Err(error);
                }
            }
            if ids.len() < CHECKS_PER_LOCK {
                break;
            }
        }
        Ok(())
    }

    /// Mutes or unmutes an alert if that is no longer as it should be.
    fn check_mute(&self, state: &mut State, id: AlertId, now: Timestamp) -> Result<(), AlertError> {
        let Some(row) = state.find(id, self.store())?.filter(|row| row.alert.status != Status::Resolved)
        else {
            return Ok(());
        };
        let mute = self.mute_of(state, &row.alert, now);
        let cause = match (&row.alert.muted, &mute) {
            (None, None) => return Ok(()),
            (Some(is), Some(shall)) if is_same(is, shall) => return Ok(()),
            (None, Some(_)) => Cause::Muted,
            (Some(_), None) => Cause::Unmuted,
            (Some(_), Some(_)) => Cause::Changed,
        };
        let mut alert = Alert::clone(&row.alert);
        let text = mute.as_ref().map_or("no longer muted", |mute| mute.reason.as_str());
        self.shared.incidents.follow(&alert, EntryKind::Mute, text, HEIMDALL, now);
        alert.muted = mute;
        metrics::counter!("alert_mutes_total", "cause" => cause_name(cause)).increment(1);
        self.keep(state, alert, row.touched_at, cause);
        Ok(())
    }

    /// Alerts whose mute is yet to be looked at.
    #[cfg(test)]
    pub(crate) fn unchecked_count(&self) -> usize {
        self.shared.state.lock().live.unchecked_count()
    }
}

const fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Muted => "muted",
        Cause::Unmuted => "unmuted",
        Cause::Raised | Cause::Worse | Cause::Status { .. } | Cause::Changed => "changed",
    }
}
