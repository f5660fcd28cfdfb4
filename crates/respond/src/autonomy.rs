//! What playbooks have earned: verified successes and failures of each kind of action.
//!
//! Invariants:
//! - a run is counted once, over restarts too: its id is kept with the count;
//! - a failure ends the streak; a change of the playbook's content begins anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use heimdall_metastore::{Document, DocumentFilter, Metastore, MetastoreError, PAGE_ROWS_MAX};
use heimdall_model::{Tenant, Timestamp};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::playbook::{Mode, Playbook};
use crate::run::{Leg, Run, RunId, Standing};
use crate::safety::{Limits, is_note};

/// Kind of the documents.
pub(crate) const KIND: &str = "autonomy";
/// Ids of the latest runs counted, of each kind of action of a playbook.
const COUNTED_MAX: usize = 64;

/// Counts of one kind of action of one playbook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) hash: String,
    pub(crate) streak: u32,
    pub(crate) successes: u32,
    pub(crate) failures: u32,
    counted: Vec<RunId>,
}

/// Playbook and kind of action.
type Key = (String, String);

/// What playbooks have earned.
pub(crate) struct Autonomy {
    metastore: Arc<dyn Metastore>,
    tallies: RwLock<BTreeMap<Key, Tally>>,
}

impl Autonomy {
    /// As stored. Blocks.
    pub(crate) fn open(metastore: Arc<dyn Metastore>) -> Result<Autonomy, MetastoreError> {
        let filter = DocumentFilter::default();
        let documents = metastore.documents().list(KIND, &filter, None, PAGE_ROWS_MAX)?;
        let read = |document: &Document| {
            let (playbook, kind) = document.id.split_once('/')?;
            let tally = serde_json::from_str(&document.body);
            // Counts that cannot be read are not earned: the playbook begins anew.
            let tally =
                tally.inspect_err(|error| tracing::error!(id = document.id, %error, "autonomy unreadable"));
            Some(((playbook.to_owned(), kind.to_owned()), tally.ok()?))
        };
        let tallies = RwLock::new(documents.iter().filter_map(read).collect());
        Ok(Autonomy { metastore, tallies })
    }

    /// Counts a run that is about to end. Blocks. Returns the kinds that lost what they had earned.
    pub(crate) fn count(
        &self,
        run: &Run,
        needed: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, MetastoreError> {
        let mut lost = Vec::new();
        for (kind, is_success) in results(run) {
            let key = (run.playbook.clone(), kind);
            let before = self.tallies.read().get(&key).cloned().unwrap_or_default();
            let Some(after) = before.with(run, is_success) else { continue };
            if before.hash == after.hash && before.streak >= needed && after.streak < needed {
                lost.push(key.1.clone());
            }
            self.metastore.documents().put(KIND, &[document(&key, &after, now)])?;
            self.tallies.write().insert(key, after);
        }
        Ok(lost)
    }

    /// How far this playbook may go by itself within the limits, and why.
    pub(crate) fn mode_of(&self, playbook: &Playbook, hash: &str, limits: &Limits) -> (Mode, String) {
        let (own, why) = if playbook.mode == Mode::Earn {
            self.earned(playbook, hash, needed(playbook, limits))
        } else {
            (playbook.mode, format!("the playbook's mode is `{}`", playbook.mode.as_str()))
        };
        let capped = limits.cap(own);
        let why = if capped == own {
            why
        } else {
            format!("`mode` of the configuration is `{}`", limits.config().mode.as_str())
        };
        (capped, why)
    }

    fn earned(&self, playbook: &Playbook, hash: &str, needed: u32) -> (Mode, String) {
        let tallies = self.tallies.read();
        let otherwise = playbook.otherwise.iter().flat_map(|otherwise| &otherwise.steps);
        let kinds = playbook.steps.iter().chain(otherwise).map(|step| step.action.as_str());
        let streak = |kind: &str| {
            let tally = tallies.get(&(playbook.id.clone(), kind.to_owned()));
            tally.filter(|tally| tally.hash == hash).map_or(0, |tally| tally.streak)
        };
        let least = kinds.filter(|kind| !is_note(kind)).map(streak).min().unwrap_or(0);
        let mode = if least >= needed { Mode::Auto } else { Mode::Approve };
        (mode, format!("{least} of {needed} verified successes without a failure"))
    }

    /// Every count, with what is needed as this function says.
    pub(crate) fn all(&self) -> Vec<(Key, Tally)> {
        self.tallies.read().iter().map(|(key, tally)| (key.clone(), tally.clone())).collect()
    }
}

/// Verified successes that earn a playbook `auto`.
pub(crate) fn needed(playbook: &Playbook, limits: &Limits) -> u32 {
    playbook.autonomy_after.unwrap_or(limits.config().autonomy_after)
}

/// What a run that ends proves of each kind of action; nothing where nobody verified.
fn results(run: &Run) -> BTreeMap<String, bool> {
    let mut results = BTreeMap::new();
    for leg in &run.legs {
        let Some(is_success) = result(leg) else { continue };
        let steps = leg.steps.iter().filter(|step| step.attempts.iter().any(|a| a.effect.is_some()));
        for kind in steps.map(|step| &step.step.action.kind).filter(|kind| !is_note(kind)) {
            *results.entry(kind.clone()).or_insert(true) &= is_success;
        }
    }
    results
}

fn result(leg: &Leg) -> Option<bool> {
    let is_healed = leg.verified.as_ref().and_then(|verified| verified.is_healed);
    let has_failed = leg.steps.iter().any(|step| step.standing() == Standing::Failed);
    if has_failed || leg.undo.is_some() { Some(false) } else { is_healed }
}

impl Tally {
    /// With this run; none when it is counted already.
    fn with(&self, run: &Run, is_success: bool) -> Option<Tally> {
        let mut tally = if self.hash == run.hash {
            self.clone()
        } else {
            Tally { hash: run.hash.clone(), ..Tally::default() }
        };
        if tally.counted.contains(&run.id) {
            return None;
        }
        if is_success {
            tally.streak = tally.streak.saturating_add(1);
            tally.successes = tally.successes.saturating_add(1);
        } else {
            tally.streak = 0;
            tally.failures = tally.failures.saturating_add(1);
        }
        tally.counted.push(run.id);
        let over = tally.counted.len().saturating_sub(COUNTED_MAX);
        tally.counted.drain(..over);
        Some(tally)
    }
}

fn document(key: &Key, tally: &Tally, now: Timestamp) -> Document {
    Document {
        id: format!("{}/{}", key.0, key.1),
        tenant: Tenant::default(),
        at: now,
        state: String::new(),
        key: key.0.clone(),
        body: serde_json::to_string(tally).expect("counts and texts"),
    }
}
