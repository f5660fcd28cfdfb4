//! Offers what is suspicious to the review by a language model: one template at a time, never every line.
//!
//! A detector of its own, added to those of the stream. It raises nothing: the verdicts of the review come by the herald, as all
//! others do.
//!
//! Invariants:
//! - lines of level warn or more, of a template of one service, are offered when the first of them comes and then once a minute of
//!   event time, with their number;
//! - at most [`TEMPLATES_MAX`] templates are known; at the limit all are forgotten and offered again, which costs a look-up, not a
//!   question;
//! - the text is the template as it is known then: of the first lines of a new one, words that will prove to vary are still part
//!   of it, and only what the review masks by its shape is taken out;
//! - nothing is kept over a restart.

use std::collections::HashMap;
use std::sync::Arc;

use heimdall_detect::{Detector, Findings, Observed, SnapshotError};
use heimdall_llm::{Candidate, Desk};
use heimdall_model::batch::Row;
use heimdall_model::time::NS_PER_MINUTE;
use heimdall_model::{Batch, Level, Tenant};
use heimdall_store::Store;

/// Templates known, about 150 bytes each.
const TEMPLATES_MAX: usize = 50_000;

/// The detector.
pub(crate) struct Scout {
    desk: Desk,
    store: Arc<Store>,
    known: HashMap<Key, Lines>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: Tenant,
    service: Option<String>,
    cluster: u32,
}

/// Lines of a template since it was offered, and when that was.
struct Lines {
    count: u64,
    offered: i64,
}

impl Scout {
    pub(crate) fn new(desk: Desk, store: Arc<Store>) -> Scout {
        Scout { desk, store, known: HashMap::new() }
    }

    fn see(&mut self, tenant: &Tenant, row: &Row<'_>, cluster: u32) {
        if self.known.len() >= TEMPLATES_MAX {
            self.known.clear();
        }
        let time = row.timestamp();
        let key = Key { tenant: tenant.clone(), service: row.service().map(str::to_owned), cluster };
        let lines = self.known.entry(key).or_insert(Lines { count: 0, offered: i64::MIN });
        lines.count += 1;
        if time.0 < lines.offered.saturating_add(NS_PER_MINUTE) && lines.offered != i64::MIN {
            return;
        }
        let Some(template) = self.store.template_text(tenant, cluster) else { return };
        let candidate = Candidate {
            tenant: tenant.clone(),
            service: row.service().map(str::to_owned),
            template: template.to_string(),
            level: row.level(),
            count: lines.count,
            example: row.id(),
            position: row.position(),
            time,
        };
        *lines = Lines { count: 0, offered: time.0 };
        // What is dropped is counted by the desk, with the reason.
        let _ = self.desk.offer(candidate);
    }
}

impl Detector for Scout {
    fn name(&self) -> &'static str {
        heimdall_llm::DETECTOR
    }

    fn observe(&mut self, observed: &Observed<'_>, _out: &mut Findings) {
        let Some(clusters) = clusters(observed.batch) else { return };
        for (row, cluster) in observed.batch.iter().zip(clusters) {
            if row.level() >= Some(Level::Warn) {
                self.see(observed.tenant, &row, *cluster);
            }
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _bytes: &[u8]) -> Result<(), SnapshotError> {
        self.known.clear();
        Ok(())
    }

    fn state_keys(&self) -> usize {
        self.known.len()
    }
}

/// The cluster of each row, of log records.
fn clusters(batch: &Batch) -> Option<&[u32]> {
    batch.mined.as_deref().map(|mined| mined.clusters.as_slice())
}
