//! What becomes of a batch: kept in the buffer, judged, told.
//!
//! Invariants:
//! - log records wait for room, so their source waits with them and reads no further;
//! - samples do not wait, for the next ones are due: without room they are judged and counted as not kept;
//! - each batch is judged once, whether or not it could be kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heimdall_model::{Batch, Position};
use tokio_util::sync::CancellationToken;

use crate::buffer::{Buffer, BufferError};
use crate::detect::Watchman;
use crate::state::Marks;
use crate::status::{Counters, add};

/// A source without room asks again after so long at the latest.
const ROOM_WAIT: Duration = Duration::from_secs(2);

/// Where batches go.
pub(crate) struct Pipeline {
    pub(crate) buffer: Option<Arc<Buffer>>,
    pub(crate) watchman: Option<Arc<Watchman>>,
    pub(crate) counters: Arc<Counters>,
    /// Numbers batches that no buffer numbers.
    pub(crate) seq: AtomicU64,
    /// Without a buffer: how far sources were read, for the next start.
    pub(crate) memory: Option<Arc<crate::agent::Memory>>,
}

impl Pipeline {
    /// Keeps log records with the marks of their source, waiting for room; then judges them.
    ///
    /// # Errors
    /// The agent stops before there is room, or the buffer keeps nothing any more: the source must not go on.
    pub(crate) async fn records(
        &self,
        batch: Option<Batch>,
        marks: Marks,
        shutdown: &CancellationToken,
    ) -> Result<(), BufferError> {
        let Some(batch) = batch else {
            return self.marks_alone(marks);
        };
        let seq = match &self.buffer {
            Some(buffer) => self.keep_waiting(buffer, &batch, &marks, shutdown).await?,
            None => self.number(),
        };
        self.judge(batch, seq);
        self.remember(marks);
        Ok(())
    }

    /// Keeps samples if there is room, and judges them in any case.
    pub(crate) async fn samples(&self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        let rows = batch.rows() as u64;
        let kept = match &self.buffer {
            Some(buffer) => Some(buffer.keep(&batch, Marks::new()).await),
            None => None,
        };
        let seq = match kept {
            Some(Ok(seq)) => seq,
            Some(Err(error)) => {
                add(&self.counters.not_kept, rows);
                if !error.is_full() {
                    self.counters.problem("buffer", &error.to_string());
                }
                self.number()
            }
            None => self.number(),
        };
        self.judge(batch, seq);
    }

    async fn keep_waiting(
        &self,
        buffer: &Buffer,
        batch: &Batch,
        marks: &Marks,
        shutdown: &CancellationToken,
    ) -> Result<u64, BufferError> {
        loop {
            match buffer.keep(batch, marks.clone()).await {
                Err(error) if error.is_full() && !shutdown.is_cancelled() => {
                    add(&self.counters.tail_waits, 1);
                    tokio::select! {
                        () = buffer.room(ROOM_WAIT) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
                kept => return kept,
            }
        }
    }

    /// Marks that moved over nothing (a blank line, a file that ended) matter after a restart only if records follow: they may be
    /// kept in memory until then.
    fn marks_alone(&self, marks: Marks) -> Result<(), BufferError> {
        match &self.buffer {
            Some(buffer) => buffer.note(marks),
            None => self.remember(marks),
        }
        Ok(())
    }

    fn remember(&self, marks: Marks) {
        if let Some(memory) = &self.memory {
            memory.advance(marks);
        }
    }

    fn number(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn judge(&self, mut batch: Batch, seq: u64) {
        add(&self.counters.taken, batch.rows() as u64);
        if let Some(watchman) = &self.watchman {
            batch.base = Position::new(seq, 0);
            let found = watchman.observe(&batch);
            add(&self.counters.anomalies, found);
        }
    }
}
