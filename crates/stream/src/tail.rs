//! The live feed: every batch right after it has become searchable.
//!
//! Invariants:
//! - sequence numbers rise by one with every batch, whoever listens, so a listener that falls behind sees the gap;
//! - a slow listener loses batches, never slows the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use heimdall_model::{Batch, Tenant};
use tokio::sync::broadcast;

/// Batches a listener may be behind before it loses the oldest.
pub const TAIL_BATCHES_MAX: usize = 256;

/// One batch of the feed.
#[derive(Debug)]
pub struct TailBatch {
    /// Owner of the records.
    pub tenant: Tenant,
    /// The records, with positions and template ids.
    pub batch: Batch,
    /// Number of the batch in the feed of this process.
    pub sequence: u64,
}

/// The feed; clones are the same feed.
#[derive(Debug, Clone)]
pub struct Tail {
    sender: broadcast::Sender<Arc<TailBatch>>,
    sequence: Arc<AtomicU64>,
}

impl Default for Tail {
    fn default() -> Self {
        Tail { sender: broadcast::channel(TAIL_BATCHES_MAX).0, sequence: Arc::default() }
    }
}

impl Tail {
    /// Listens from now on. A listener that is more than [`TAIL_BATCHES_MAX`] batches behind gets `Lagged`.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<TailBatch>> {
        self.sender.subscribe()
    }

    /// Feeds a batch; copies it only when someone listens.
    pub(crate) fn publish(&self, tenant: &Tenant, batch: &Batch) {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        if self.sender.receiver_count() > 0 {
            // An error means that the last listener has just left.
            let _ = self.sender.send(Arc::new(TailBatch {
                tenant: tenant.clone(),
                batch: batch.clone(),
                sequence,
            }));
        }
    }
}
