//! Ends of findings, as their detectors see them.

use std::sync::Arc;

use heimdall_metastore::AlertRow;
use heimdall_model::{Alert, Recovery, Status, Timestamp};

use super::{Alerts, CHUNK_VERDICTS_MAX};
use crate::error::AlertError;
use crate::lifecycle::{HEIMDALL, Step, fingerprint};
use crate::state::State;

impl Alerts {
    /// Resolves the alerts of findings that are over. Returns how many were.
    ///
    /// One at or below the position of its alert is a replay, or was overtaken by a newer finding, and changes nothing. A
    /// suppressed alert stays so: people asked not to hear of it, and would again when it came back.
    ///
    /// # Errors
    /// [`AlertError::Store`] when the past of a finding cannot be read, [`AlertError::NotDurable`]: call again with the same.
    pub fn recover(&self, mut recovered: Vec<Recovery>) -> Result<usize, AlertError> {
        let mut resolved = 0;
        while !recovered.is_empty() {
            let rest = recovered.split_off(CHUNK_VERDICTS_MAX.min(recovered.len()));
            let now = self.clock.now();
            let mut state = self.wait_for_room(recovered.len())?;
            for recovery in std::mem::replace(&mut recovered, rest) {
                resolved += usize::from(self.recover_one(&mut state, &recovery, now)?);
            }
            state.is_urgent = true;
            drop(state);
            self.shared.wake.notify_one();
        }
        Ok(resolved)
    }

    fn recover_one(
        &self,
        state: &mut State,
        recovery: &Recovery,
        now: Timestamp,
    ) -> Result<bool, AlertError> {
        let fingerprint = fingerprint(&recovery.tenant, &recovery.rule, &recovery.entity);
        let Some(row) = state.latest(&fingerprint, self.store())? else { return Ok(false) };
        let is_watched = matches!(row.alert.status, Status::Open | Status::Acknowledged);
        if !is_watched || recovery.position <= row.alert.position {
            return Ok(false);
        }
        let alert = Arc::new(Alert { position: recovery.position, ..Alert::clone(&row.alert) });
        let row = AlertRow { alert, touched_at: now };
        self.move_to(state, &row, Step::Resolve, HEIMDALL, Some(&recovery.summary), now);
        metrics::counter!("alerts_recovered_total", "detector" => row.alert.detector.clone()).increment(1);
        Ok(true)
    }
}
