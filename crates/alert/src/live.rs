//! What must be known of every live alert at once: its labels, what mutes it, and when something is due.
//!
//! Invariants:
//! - it has every live alert, up to [`LIVE_INDEXED_MAX`]; one beyond is muted only when it is raised or seen again, and counted;
//! - it is compact (about 400 bytes an alert): label texts are shared, and the alerts themselves stay in the metastore;
//! - an alert whose mute may be wrong is in `unchecked` until somebody looks.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use heimdall_model::{Alert, AlertId, LabelMatcher, Mute, MuteKind, Priority, Severity, Status, Timestamp};
use uuid::Uuid;

use crate::flapping::{FlapConfig, flapping_until};
use crate::inhibit::{InhibitRule, Inhibition, Roles};
use crate::silence::{Index, Turn};

/// Live alerts that are indexed.
pub(crate) const LIVE_INDEXED_MAX: usize = 500_000;
/// Texts are swept once there are twice as many as after the last sweep, and at least this many.
const SWEEP_TEXTS_MIN: usize = 10_000;

/// The labels of an alert, derived ones too.
pub(crate) struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The value of a label.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// Whether all these matchers pass.
    pub(crate) fn pass(&self, matchers: &[LabelMatcher]) -> bool {
        matchers.iter().all(|matcher| matcher.is_match(self.get(matcher.name()).unwrap_or_default()))
    }
}

struct Entry {
    labels: Labels,
    /// What labels may change with, besides the alert's own, which never do.
    worth: (Severity, Priority),
    silence: Option<Uuid>,
    is_inhibited: bool,
    due: Option<Timestamp>,
    roles: Roles,
}

/// The live alerts.
#[derive(Default)]
pub(crate) struct Live {
    entries: HashMap<AlertId, Entry>,
    texts: Texts,
    due: BTreeSet<(Timestamp, AlertId)>,
    by_silence: HashMap<Uuid, HashSet<AlertId>>,
    inhibition: Inhibition,
    unchecked: VecDeque<AlertId>,
    is_unchecked: HashSet<AlertId>,
}

impl Live {
    /// Takes the new state of an alert.
    pub(crate) fn put(&mut self, alert: &Alert, flapping: &FlapConfig) {
        if alert.status == Status::Resolved {
            return self.remove(alert.id);
        }
        if self.is_relabelled(alert) && !self.relabel(alert) {
            return;
        }
        let due = due_at(alert, flapping);
        let silence = silence_of(alert.muted.as_ref());
        let Some(entry) = self.entries.get_mut(&alert.id) else { return };
        let (due_before, silence_before) = (entry.due, entry.silence);
        (entry.due, entry.silence) = (due, silence);
        entry.is_inhibited = alert.muted.as_ref().is_some_and(|mute| mute.kind == MuteKind::Inhibition);
        if due_before != due {
            due_before.map(|at| self.due.remove(&(at, alert.id)));
            self.due.extend(due.map(|at| (at, alert.id)));
        }
        if silence_before != silence {
            self.unsilence(alert.id, silence_before);
            silence.map(|id| self.by_silence.entry(id).or_default().insert(alert.id));
        }
    }

    fn is_relabelled(&self, alert: &Alert) -> bool {
        self.entries.get(&alert.id).is_none_or(|entry| {
            let service = entry.labels.get("service");
            entry.worth != (alert.severity, alert.priority) || service != alert.label("service").as_deref()
        })
    }

    /// Takes the labels of an alert; returns false when there is no room for it.
    fn relabel(&mut self, alert: &Alert) -> bool {
        let before = self.entries.remove(&alert.id);
        if before.is_none() && self.entries.len() >= LIVE_INDEXED_MAX {
            metrics::counter!("alerts_unindexed_total").increment(1);
            return false;
        }
        let labels = self.labels_of(alert);
        let mut touched = Vec::new();
        let (silence, due) = before.map_or((None, None), |before| {
            self.inhibition.remove(alert.id, &before.roles, &mut touched);
            (before.silence, before.due)
        });
        let roles = self.inhibition.add(alert.id, &labels, &mut touched);
        let worth = (alert.severity, alert.priority);
        self.entries.insert(alert.id, Entry { labels, worth, silence, is_inhibited: false, due, roles });
        self.recheck(touched);
        true
    }

    fn labels_of(&mut self, alert: &Alert) -> Labels {
        let mut all = alert.label_set();
        for derived in ["rule", "tenant"] {
            if let Some(value) = alert.label(derived) {
                all.insert(derived.to_owned(), value.into_owned());
            }
        }
        Labels(all.iter().map(|(name, value)| (self.texts.shared(name), self.texts.shared(value))).collect())
    }

    /// Lets go of an alert that is live no more.
    pub(crate) fn remove(&mut self, id: AlertId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        entry.due.map(|at| self.due.remove(&(at, id)));
        self.unsilence(id, entry.silence);
        let mut touched = Vec::new();
        self.inhibition.remove(id, &entry.roles, &mut touched);
        self.recheck(touched);
        drop(entry);
        self.texts.sweep();
    }

    fn unsilence(&mut self, id: AlertId, silence: Option<Uuid>) {
        let Some(silence) = silence else { return };
        if let Some(muted) = self.by_silence.get_mut(&silence) {
            muted.remove(&id);
            if muted.is_empty() {
                self.by_silence.remove(&silence);
            }
        }
    }

    /// The live alert that inhibits this one.
    pub(crate) fn inhibitor(&self, id: AlertId) -> Option<AlertId> {
        self.inhibition.inhibitor(&self.entries.get(&id)?.roles).map(|(source, _)| source)
    }

    /// Takes other rules: alerts they concern, or the former ones did, are looked at again.
    pub(crate) fn set_inhibit_rules(&mut self, rules: Vec<InhibitRule>) {
        if self.inhibition.rules() == rules {
            return;
        }
        self.inhibition = Inhibition::new(rules);
        for (id, entry) in &mut self.entries {
            entry.roles = self.inhibition.add(*id, &entry.labels, &mut Vec::new());
        }
        let concerned =
            |entry: &Entry| entry.is_inhibited || self.inhibition.inhibitor(&entry.roles).is_some();
        let concerned =
            self.entries.iter().filter(|(_, entry)| concerned(entry)).map(|(id, _)| *id).collect();
        self.recheck(concerned);
    }

    /// Alerts due by now, the longest due first.
    pub(crate) fn due(&self, now: Timestamp, max: usize) -> Vec<AlertId> {
        self.due.iter().take_while(|(at, _)| *at <= now).take(max).map(|(_, id)| *id).collect()
    }

    /// Ids of all live alerts, for [`Self::began`].
    pub(crate) fn ids(&self) -> Vec<AlertId> {
        self.entries.keys().copied().collect()
    }

    /// These silences began: alerts among `ids` that they match are looked at again.
    pub(crate) fn began(&mut self, silences: &HashMap<heimdall_model::Tenant, Index>, ids: &[AlertId]) {
        let mut touched = Vec::new();
        for id in ids {
            let Some(entry) = self.entries.get(id) else { continue };
            let index = entry
                .labels
                .get("tenant")
                .and_then(|tenant| silences.iter().find(|(of, _)| of.as_str() == tenant));
            let Some((_, index)) = index else { continue };
            if !index.matching(|name| entry.labels.get(name).map(Into::into)).is_empty() {
                touched.push(*id);
            }
        }
        self.recheck(touched);
    }

    /// Silences ended: what they muted is looked at again.
    pub(crate) fn ended(&mut self, turn: &Turn) {
        for silence in &turn.ended {
            let muted: Vec<_> = self.by_silence.get(silence).into_iter().flatten().copied().collect();
            self.recheck(muted);
        }
    }

    /// The mute of these alerts may be other than noted.
    pub(crate) fn recheck(&mut self, ids: Vec<AlertId>) {
        for id in ids {
            if self.is_unchecked.insert(id) {
                self.unchecked.push_back(id);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn unchecked_count(&self) -> usize {
        self.unchecked.len()
    }

    /// Takes alerts that must be looked at.
    pub(crate) fn take_unchecked(&mut self, max: usize) -> Vec<AlertId> {
        let taken: Vec<_> = self.unchecked.drain(..max.min(self.unchecked.len())).collect();
        taken.iter().for_each(|id| {
            self.is_unchecked.remove(id);
        });
        taken
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// When the clock alone changes something of a live alert.
fn due_at(alert: &Alert, flapping: &FlapConfig) -> Option<Timestamp> {
    let is_flapping = alert.muted.as_ref().is_some_and(|mute| mute.kind == MuteKind::Flapping);
    let stable = is_flapping.then(|| flapping_until(&alert.returns, flapping).unwrap_or(Timestamp(0)));
    let woken = alert.suppressed_until.filter(|_| alert.status == Status::Suppressed);
    [alert.ends_at, woken, stable].into_iter().flatten().min()
}

fn silence_of(mute: Option<&Mute>) -> Option<Uuid> {
    let mute = mute.filter(|mute| matches!(mute.kind, MuteKind::Silence | MuteKind::Maintenance))?;
    Uuid::try_parse(mute.by.as_deref()?).ok()
}

/// Texts that many labels share.
#[derive(Default)]
struct Texts {
    known: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Texts {
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.known.insert(Arc::clone(&new));
        new
    }

    /// Forgets texts no label has any more.
    fn sweep(&mut self) {
        if self.known.len() < self.sweep_at.max(SWEEP_TEXTS_MIN) {
            return;
        }
        self.known.retain(|text| Arc::strong_count(text) > 1);
        self.sweep_at = self.known.len() * 2;
    }
}
