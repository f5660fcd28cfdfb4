//! Lists, counts, snapshots and streams of alerts.

use std::collections::HashMap;
use std::sync::Arc;

use heimdall_metastore::{AlertCount, AlertCursor, AlertFilter, FeedbackCount, PAGE_ROWS_MAX};
use heimdall_model::{Alert, AlertId, Tenant};

use super::{AlertPage, Alerts, LIST_WAIT, LIVE};
use crate::error::AlertError;
use crate::state::State;
use crate::stream::{Snapshot, Subscription};

impl Alerts {
    /// Returns an alert of this tenant, or of any.
    ///
    /// # Errors
    /// [`AlertError::NotFound`] or [`AlertError::Store`].
    pub fn get(&self, tenant: Option<&Tenant>, id: AlertId) -> Result<Arc<Alert>, AlertError> {
        let state = self.shared.state.lock();
        Ok(self.owned(&state, tenant, id)?.alert)
    }

    /// Returns at most `limit` (1 to 1,000) alerts after the cursor, in the order the filter asks for: else the newest first.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn list(
        &self,
        filter: &AlertFilter,
        after: Option<&AlertCursor>,
        limit: usize,
    ) -> Result<AlertPage, AlertError> {
        self.settle();
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let alerts = self.store().list(filter, after, limit)?;
        let last = alerts.last().map(|last| AlertCursor::of(last, filter.sort));
        let next = last.filter(|_| alerts.len() == limit);
        Ok(AlertPage { items: alerts.into_iter().map(Arc::new).collect(), next })
    }

    /// Returns at most `limit` (1 to 1,000) live alerts older than the cursor, newest first: for a reader of events who missed
    /// some.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn live(
        &self,
        tenant: Option<&Tenant>,
        after: Option<&AlertCursor>,
        limit: usize,
    ) -> Result<AlertPage, AlertError> {
        let filter =
            AlertFilter { tenant: tenant.cloned(), statuses: LIVE.to_vec(), ..AlertFilter::default() };
        self.list(&filter, after, limit)
    }

    /// Counts the alerts of a tenant, or of all, by status and severity; pairs without alerts are left out.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<AlertCount>, AlertError> {
        self.settle();
        Ok(self.store().counts(tenant)?)
    }

    /// Lets the store catch up, so that a list shows what its reader just did; an unwell metastore only makes lists older.
    fn settle(&self) {
        if self.flush_within(LIST_WAIT).is_err() {
            tracing::debug!("list of alerts without the newest changes");
        }
    }

    /// Subscribes to the changes from now on, of one tenant or of all.
    #[must_use]
    pub fn subscribe(&self, tenant: Option<&Tenant>) -> Subscription {
        let state = self.shared.state.lock();
        Subscription::new(state.deltas.subscribe(), tenant, state.seq)
    }

    /// Returns the newest alerts and the number of the last delta they include.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn snapshot(&self, tenant: Option<&Tenant>, limit: usize) -> Result<Snapshot, AlertError> {
        self.snapshot_of(&self.shared.state.lock(), tenant, limit)
    }

    /// Returns a snapshot and exactly the deltas after it.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn watch(
        &self,
        tenant: Option<&Tenant>,
        limit: usize,
    ) -> Result<(Snapshot, Subscription), AlertError> {
        let state = self.shared.state.lock();
        let snapshot = self.snapshot_of(&state, tenant, limit)?;
        let subscription = Subscription::new(state.deltas.subscribe(), tenant, snapshot.seq);
        Ok((snapshot, subscription))
    }

    /// What is stored, overlaid with what is pending. The lock is held, so nothing moves in between.
    fn snapshot_of(
        &self,
        state: &State,
        tenant: Option<&Tenant>,
        limit: usize,
    ) -> Result<Snapshot, AlertError> {
        let filter = AlertFilter { tenant: tenant.cloned(), ..AlertFilter::default() };
        let stored = self.store().list(&filter, None, limit)?;
        let mut newest: HashMap<AlertId, Arc<Alert>> =
            stored.into_iter().map(|alert| (alert.id, Arc::new(alert))).collect();
        let pending = state.pending_rows().map(|row| &row.alert);
        let mine = pending.filter(|alert| tenant.is_none_or(|tenant| *tenant == alert.tenant));
        newest.extend(mine.map(|alert| (alert.id, alert.clone())));
        let mut alerts: Vec<_> = newest.into_values().collect();
        alerts.sort_unstable_by_key(|alert| std::cmp::Reverse((alert.raised_at, alert.id)));
        alerts.truncate(limit);
        Ok(Snapshot { seq: state.seq, alerts })
    }

    /// A number that rises whenever feedback changes: as long as it stays, so do the counts.
    #[must_use]
    pub fn feedback_version(&self) -> u64 {
        self.shared.state.lock().feedback_version
    }

    /// Counts the feedback of a tenant, or of all, by tenant, detector and rule; alerts deleted since count too.
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn feedback_counts(&self, tenant: Option<&Tenant>) -> Result<Vec<FeedbackCount>, AlertError> {
        self.settle();
        Ok(self.store().feedback_counts(tenant)?)
    }

    /// Returns at most `limit` earlier alerts that are like this one, the closest first (see [`AlertStore::similar`]).
    ///
    /// # Errors
    /// [`AlertError::Store`].
    pub fn similar(&self, alert: &Alert, limit: usize) -> Result<Vec<Arc<Alert>>, AlertError> {
        Ok(self.store().similar(alert, limit)?.into_iter().map(Arc::new).collect())
    }
}
