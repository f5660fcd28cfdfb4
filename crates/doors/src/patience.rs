//! Room in the intake for what a connection holds, waited for with patience: senders on a stream cannot be told to come back.
//!
//! Invariant: whoever waits holds what room it has, but not for longer than its patience; so no two wait for each other forever.

use std::time::Duration;

use heimdall_detect::Period;
use heimdall_ingest::{Caller, Permit, Refused};
use tokio::time::Instant;

use crate::Shared;

/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A configured length of time; a negative one is none.
pub(crate) fn duration(period: Period) -> Duration {
    Duration::from_nanos(u64::try_from(period.0).unwrap_or(0))
}

/// Room for the bytes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Room {
    permit: Option<Permit>,
}

impl Room {
    /// Makes the room at least `bytes`. A rate that is exceeded is waited for until the server ends, a busy server for `patience`.
    ///
    /// # Errors
    /// The last [`Refused`].
    pub(crate) async fn at_least(
        &mut self,
        bytes: usize,
        shared: &Shared,
        caller: &Caller,
        patience: Duration,
    ) -> Result<(), Refused> {
        let deadline = Instant::now() + patience;
        loop {
            let tried = match &mut self.permit {
                Some(permit) => permit.grow(bytes),
                None => shared.intake.reserve(caller, bytes).map(|permit| self.permit = Some(permit)),
            };
            let Err(refused) = tried else { return Ok(()) };
            let is_over = matches!(refused, Refused::Busy { .. }) && Instant::now() >= deadline;
            let pause = refused.retry_after().filter(|_| !is_over && !shared.shutdown.is_cancelled());
            let Some(pause) = pause else { return Err(refused) };
            tokio::time::sleep(pause.min(PAUSE_MAX)).await;
        }
    }

    /// Makes the room at least `bytes`; whether there was any.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        self.permit.as_mut().is_some_and(|permit| permit.grow(bytes).is_ok())
    }

    /// Gives it back.
    pub(crate) fn clear(&mut self) {
        self.permit = None;
    }
}
