//! Runs and the kill switch in the metastore. Every call blocks on disk.

use std::sync::Arc;

use heimdall_metastore::{
    Document, DocumentCursor, DocumentFilter, Metastore, MetastoreError, PAGE_ROWS_MAX,
};
use heimdall_model::{Tenant, Timestamp};

use crate::run::{Run, RunId, RunState, Said};

/// Kind of the documents of runs.
pub(crate) const KIND: &str = "run";
/// Kind and id of the document of the kill switch; its state is `on` or `off`.
pub(crate) const SWITCH_KIND: &str = "switch";
const SWITCH_ID: &str = "respond";
/// Runs deleted at a time.
const DELETE_ROWS: usize = 1_000;

/// Where runs are kept.
#[derive(Clone)]
pub(crate) struct Runs(pub(crate) Arc<dyn Metastore>);

impl Runs {
    pub(crate) fn insert(&self, run: &Run) -> Result<(), MetastoreError> {
        self.0.documents().insert(KIND, &document(run))
    }

    pub(crate) fn put(&self, run: &Run) -> Result<(), MetastoreError> {
        self.0.documents().put(KIND, &[document(run)])
    }

    pub(crate) fn get(&self, id: RunId) -> Result<Option<Run>, MetastoreError> {
        self.0.documents().get(KIND, &id.to_string())?.as_ref().map(read).transpose()
    }

    pub(crate) fn page(
        &self,
        filter: &DocumentFilter,
        after: Option<&DocumentCursor>,
        limit: usize,
    ) -> Result<Vec<Run>, MetastoreError> {
        self.0.documents().list(KIND, filter, after, limit)?.iter().map(read).collect()
    }

    /// Every run that has not ended, and every run since a time; one that cannot be read is told of and left out.
    pub(crate) fn recent(&self, since: Timestamp) -> Result<Vec<Run>, MetastoreError> {
        let states =
            RunState::ALL.iter().filter(|state| !state.is_final()).map(|state| state.as_str().to_owned());
        let live = DocumentFilter { states: states.collect(), ..DocumentFilter::default() };
        let late = DocumentFilter { since: Some(since), ..DocumentFilter::default() };
        let mut runs = self.all(&live)?;
        let ended = self.all(&late)?;
        runs.extend(ended.into_iter().filter(|run| run.state.is_final()));
        Ok(runs)
    }

    fn all(&self, filter: &DocumentFilter) -> Result<Vec<Run>, MetastoreError> {
        let (mut runs, mut after) = (Vec::new(), None);
        loop {
            let page = self.0.documents().list(KIND, filter, after.as_ref(), PAGE_ROWS_MAX)?;
            let Some(last) = page.last() else { return Ok(runs) };
            after = Some(DocumentCursor { at: last.at, id: last.id.clone() });
            let told =
                |error: &MetastoreError| tracing::error!(%error, "a run cannot be read; it is not resumed");
            runs.extend(page.iter().filter_map(|document| read(document).inspect_err(told).ok()));
        }
    }

    pub(crate) fn counts(&self) -> Result<Vec<(String, u64)>, MetastoreError> {
        self.0.documents().counts(KIND, None)
    }

    /// Forgets runs that ended and were made before a time.
    pub(crate) fn forget(&self, before: Timestamp) -> Result<usize, MetastoreError> {
        let ended: Vec<&str> = RunState::ALL.iter().filter(|s| s.is_final()).map(|s| s.as_str()).collect();
        self.0.documents().delete_before(KIND, &ended, before, DELETE_ROWS)
    }

    /// Who turned the kill switch on.
    pub(crate) fn switch(&self) -> Result<Option<Said>, MetastoreError> {
        let document =
            self.0.documents().get(SWITCH_KIND, SWITCH_ID)?.filter(|document| document.state == "on");
        // A switch that is on and unreadable is on.
        let said = |document: Document| {
            serde_json::from_str(&document.body).unwrap_or_else(|_| Said {
                by: "unknown".to_owned(),
                at: document.at,
                why: "the stored switch cannot be read".to_owned(),
            })
        };
        Ok(document.map(said))
    }

    pub(crate) fn set_switch(&self, is_on: bool, said: &Said) -> Result<(), MetastoreError> {
        let document = Document {
            id: SWITCH_ID.to_owned(),
            tenant: Tenant::default(),
            at: said.at,
            state: if is_on { "on" } else { "off" }.to_owned(),
            key: String::new(),
            body: serde_json::to_string(said).expect("texts and a time"),
        };
        self.0.documents().put(SWITCH_KIND, &[document])
    }
}

fn document(run: &Run) -> Document {
    Document {
        id: run.id.to_string(),
        tenant: run.tenant.clone(),
        at: run.created_at,
        state: run.state.as_str().to_owned(),
        key: run.key(),
        body: serde_json::to_string(run).expect("a run has text keys and finite numbers only"),
    }
}

fn read(document: &Document) -> Result<Run, MetastoreError> {
    serde_json::from_str(&document.body).map_err(|error| MetastoreError::Corrupt {
        area: "run",
        key: document.id.clone(),
        detail: error.to_string(),
    })
}
