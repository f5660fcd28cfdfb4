//! Alerts of other systems.

use heimdall_metastore::AlertRow;
use heimdall_model::{Alert, AlertId, Status, Tenant, Timestamp};
use std::sync::Arc;

use super::{Alerts, CHUNK_VERDICTS_MAX, Changes};
use crate::error::AlertError;
use crate::flapping::ns;
use crate::lifecycle::{Step, fresh_id};
use crate::posted::{self, POSTED_MAX, PostedAlert};
use crate::priority::priority_of;
use crate::state::State;

impl Alerts {
    /// Takes alerts of another system. The labels identify an alert: a repeat updates it; an end in the past resolves it, one
    /// in the future does when it has passed (see [`Alerts::tick`]). An end of what is not live is nothing new. Returns the
    /// alerts concerned, in the order they were given; what they say is durable.
    ///
    /// # Errors
    /// [`AlertError::Posted`] names the first that cannot be, the others are taken; [`AlertError::Invalid`] when there are more
    /// than [`POSTED_MAX`]; [`AlertError::Store`], [`AlertError::NotDurable`]: post them again.
    pub fn post(
        &self,
        tenant: &Tenant,
        posted: Vec<PostedAlert>,
        by: &str,
    ) -> Result<Vec<AlertId>, AlertError> {
        if posted.len() > POSTED_MAX {
            return Err(AlertError::Invalid {
                field: "alerts",
                reason: format!("are more than {POSTED_MAX}"),
            });
        }
        let (mut good, mut refused) = (Vec::with_capacity(posted.len()), Vec::new());
        for (index, alert) in posted.into_iter().enumerate() {
            match posted::checked(alert) {
                Ok(alert) => good.push(alert),
                Err(fault) => refused.push((index, fault)),
            }
        }
        let ids = self.post_all(tenant, good, by)?;
        metrics::counter!("alerts_posted_total", "outcome" => "refused").increment(refused.len() as u64);
        let count = refused.len();
        match refused.into_iter().next() {
            Some((index, fault)) => Err(AlertError::Posted { index, fault, refused: count }),
            None => Ok(ids),
        }
    }

    fn post_all(
        &self,
        tenant: &Tenant,
        mut posted: Vec<PostedAlert>,
        by: &str,
    ) -> Result<Vec<AlertId>, AlertError> {
        metrics::counter!("alerts_posted_total", "outcome" => "taken").increment(posted.len() as u64);
        let mut ids = Vec::with_capacity(posted.len());
        while !posted.is_empty() {
            let rest = posted.split_off(CHUNK_VERDICTS_MAX.min(posted.len()));
            let now = self.clock.now();
            let mut state = self.wait_for_room(posted.len())?;
            let mut changes = Changes::default();
            let chunk = std::mem::replace(&mut posted, rest);
            let outcome: Result<(), AlertError> = chunk.into_iter().try_for_each(|alert| {
                ids.extend(self.post_one(&mut state, tenant, alert, by, now, &mut changes)?);
                Ok(())
            });
            self.end_chunk(state, changes);
            outcome?;
        }
        self.flush()?;
        Ok(ids)
    }

    fn post_one(
        &self,
        state: &mut State,
        tenant: &Tenant,
        mut posted: PostedAlert,
        by: &str,
        now: Timestamp,
        changes: &mut Changes,
    ) -> Result<Option<AlertId>, AlertError> {
        let fingerprint = posted::fingerprint(tenant, &posted.labels);
        let latest = state.latest(&fingerprint, self.store())?;
        if posted.ends_at.is_some_and(|at| at <= now) {
            return Ok(latest.map(|row| self.post_end(state, &row, posted, by, now)));
        }
        let later = || now.saturating_add_ns(ns(self.config.posted_ends_after));
        posted.ends_at = Some(posted.ends_at.unwrap_or_else(later));
        match latest {
            Some(row) if row.alert.status != Status::Resolved => {
                let mut alert = Alert::clone(&row.alert);
                posted::repeat(&mut alert, posted, now);
                self.repeated(state, &row.alert, alert, now, changes);
                Ok(Some(row.alert.id))
            }
            latest => {
                let mut alert = posted::raise(tenant, posted.clone(), fingerprint, by, now);
                let is_same =
                    |row: &AlertRow| row.alert.id == alert.id || self.comes_back(state, &row.alert, now);
                if let Some(row) = latest.filter(is_same) {
                    alert = Alert::clone(&row.alert);
                    posted::repeat(&mut alert, posted, now);
                    self.returned(state, alert, now, changes);
                    return Ok(Some(row.alert.id));
                }
                if state.find(alert.id, self.store())?.is_some() {
                    alert.id = fresh_id(now);
                }
                alert.priority = priority_of(&alert, &state.priorities);
                let id = alert.id;
                self.raised(state, alert, now, changes);
                Ok(Some(id))
            }
        }
    }

    /// Another system says that an alert is over. One that began since is not meant.
    fn post_end(
        &self,
        state: &mut State,
        row: &AlertRow,
        posted: PostedAlert,
        by: &str,
        now: Timestamp,
    ) -> AlertId {
        let id = row.alert.id;
        let is_meant = posted.ends_at.is_some_and(|at| at >= row.alert.first_seen);
        if row.alert.status != Status::Resolved && is_meant {
            let mut alert = Alert::clone(&row.alert);
            posted::repeat(&mut alert, posted, now);
            let row = AlertRow { alert: Arc::new(alert), touched_at: now };
            self.move_to(state, &row, Step::Resolve, by, Some("it ended where it was posted"), now);
        }
        id
    }
}
