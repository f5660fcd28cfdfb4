//! What the pipeline notes in alerts.

use std::sync::Arc;

use heimdall_metastore::AlertRow;
use heimdall_model::{Alert, AlertId};

use super::Alerts;
use crate::error::AlertError;
use crate::state::Tell;

impl Alerts {
    /// Notes in the alert that a receiver was told.
    pub(crate) fn record_notified(&self, id: AlertId, receiver: &str) -> Result<(), AlertError> {
        let mut state = self.shared.state.lock();
        let Some(row) = state.find(id, self.store())? else { return Ok(()) };
        if !row.alert.notified.iter().any(|told| told == receiver) {
            let mut alert = Alert::clone(&row.alert);
            alert.notified.push(receiver.to_owned());
            state.change(AlertRow { alert: Arc::new(alert), touched_at: row.touched_at }, Tell::Later);
        }
        Ok(())
    }
}
