//! The incidents of this server: opened and resolved by what alerts do, worked on by people.
//!
//! Invariants:
//! - an alert is in at most one live incident;
//! - what people change is durable when their call returns `Ok`; what alerts do is stored before those alerts are, so that a
//!   replay after a crash finds the incident its alert was in;
//! - the newest state of an incident is in memory until it is stored, and while it is live.
//!
//! Not here: the alerts' side of the link (see [`crate::Alerts`], which calls all of this under its own lock: nothing here
//! calls back).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use heimdall_metastore::{
    Document, DocumentCursor, DocumentFilter, Metastore, MetastoreError, PAGE_ROWS_MAX,
};
use heimdall_model::{Alert, AlertId, Clock, Comment, IncidentId, Status, Tenant, Timestamp};
use parking_lot::{Mutex, MutexGuard};

use super::correlate::Correlator;
use super::{
    EntryKind, INCIDENT_ALERTS_MAX, Incident, IncidentConfig, IncidentError, IncidentFilter, IncidentPage,
    cut,
};
use crate::flapping::ns;
use crate::lifecycle::{HEIMDALL, Step, incident_id};

/// Kind of their documents.
const KIND: &str = "incident";
/// Documents looked through for one page of a filtered list.
const LIST_SCAN_MAX: usize = 10_000;

/// The incidents of this server.
pub struct Incidents {
    store: Arc<dyn Metastore>,
    clock: Arc<dyn Clock>,
    config: IncidentConfig,
    /// Held while changes are written, so that an older state never overtakes a newer one.
    writing: Mutex<()>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The live incidents, and others that are not stored yet.
    entries: HashMap<IncidentId, Entry>,
    /// Which incident of `entries` an alert is in.
    members: HashMap<AlertId, IncidentId>,
    correlator: Correlator,
    /// Highest number in use.
    numbers: HashMap<Tenant, u64>,
}

struct Entry {
    incident: Incident,
    /// Its alerts that are not resolved.
    live: HashSet<AlertId>,
    /// Since when `live` is empty.
    quiet_since: Timestamp,
    is_dirty: bool,
}

/// Where an alert went when it was raised.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Its incident.
    pub(crate) incident: Option<IncidentId>,
    /// An earlier alert that is in it too from now on.
    pub(crate) also: Option<AlertId>,
}

impl Incidents {
    /// Opens the incidents of a metastore.
    ///
    /// # Errors
    /// [`IncidentError::Store`].
    pub fn open(
        store: Arc<dyn Metastore>,
        clock: Arc<dyn Clock>,
        config: IncidentConfig,
    ) -> Result<Arc<Incidents>, IncidentError> {
        let mut inner = Inner::default();
        let now = clock.now();
        let live = DocumentFilter {
            states: [Status::Open, Status::Acknowledged].map(|status| status.as_str().to_owned()).to_vec(),
            ..DocumentFilter::default()
        };
        for document in all(&*store, &live)? {
            inner.take(read(&document)?, now);
        }
        for document in store.documents().list(KIND, &DocumentFilter::default(), None, PAGE_ROWS_MAX)? {
            inner.note_number(&read(&document)?);
        }
        Ok(Arc::new(Incidents { store, clock, config, writing: Mutex::new(()), inner: Mutex::new(inner) }))
    }

    // ---- what alerts do -------------------------------------------------------------------------------------------

    /// An alert was raised, came back, or grew critical: finds or opens its incident.
    pub(crate) fn raised(&self, alert: &Arc<Alert>, now: Timestamp) -> Joined {
        let mut inner = self.inner.lock();
        let since = now.saturating_add_ns(-ns(self.config.window));
        inner.correlator.forget(since);
        if let Some(id) = self.known_of(&mut inner, alert, since) {
            inner.join(id, alert, now);
            return Joined { incident: Some(id), also: None };
        }
        let candidates = inner.correlator.incidents_of(alert);
        let is_recent = |id: &IncidentId| inner.entries.get(id).is_some_and(|entry| entry.is_joinable(since));
        if let Some(id) = candidates.into_iter().find(is_recent) {
            inner.join(id, alert, now);
            return Joined { incident: Some(id), also: None };
        }
        let first = inner.correlator.lone_of(alert, since);
        if first.is_none() && alert.severity < heimdall_model::Severity::Critical {
            inner.correlator.remember(alert, now);
            return Joined::default();
        }
        let opener = first.as_ref().unwrap_or(alert);
        let Some(id) = self.begin(&mut inner, opener, now) else { return Joined::default() };
        if first.is_some() {
            inner.join(id, alert, now);
        }
        Joined { incident: Some(id), also: first.map(|first| first.id) }
    }

    /// The incident an alert is in already: a replay, or an alert that came back.
    fn known_of(&self, inner: &mut Inner, alert: &Alert, since: Timestamp) -> Option<IncidentId> {
        if let Some(id) = inner.members.get(&alert.id) {
            return Some(*id);
        }
        let id = alert.incident?;
        let entry = self.entry(inner, Some(&alert.tenant), id).ok()?;
        (entry.incident.is_live() || entry.incident.resolved_at >= Some(since)).then_some(id)
    }

    /// Opens the incident of this alert; should it exist already, it is opened again.
    fn begin(&self, inner: &mut Inner, opener: &Arc<Alert>, now: Timestamp) -> Option<IncidentId> {
        if inner.entries.len() >= self.config.live_max {
            metrics::counter!("alerts_uncorrelated_total", "reason" => "live_max").increment(1);
            return None;
        }
        let id = incident_id(opener);
        match self.entry(inner, None, id) {
            Ok(_) => {}
            Err(IncidentError::NotFound { .. }) => {
                let number = self.next_number(inner, &opener.tenant).ok()?;
                metrics::counter!("incidents_opened_total").increment(1);
                inner.take(opened(id, number, opener, now), now);
            }
            Err(error) => {
                tracing::warn!(alert = %opener.id, %error, "alert not correlated");
                metrics::counter!("alerts_uncorrelated_total", "reason" => "store").increment(1);
                return None;
            }
        }
        inner.join(id, opener, now);
        Some(id)
    }

    fn next_number(&self, inner: &mut Inner, tenant: &Tenant) -> Result<u64, IncidentError> {
        if !inner.numbers.contains_key(tenant) {
            let filter = DocumentFilter { tenant: Some(tenant.clone()), ..DocumentFilter::default() };
            for document in self.store.documents().list(KIND, &filter, None, 100)? {
                inner.note_number(&read(&document)?);
            }
        }
        let number = inner.numbers.entry(tenant.clone()).or_default();
        *number += 1;
        Ok(*number)
    }

    /// Something happened to an alert of an incident.
    pub(crate) fn follow(&self, alert: &Alert, kind: EntryKind, text: &str, by: &str, now: Timestamp) {
        let Some(id) = alert.incident else { return };
        let mut inner = self.inner.lock();
        let Some(entry) = inner.entries.get_mut(&id).filter(|entry| entry.incident.is_live()) else { return };
        entry.incident.severity = entry.incident.severity.max(alert.severity);
        entry.incident.priority = entry.incident.priority.min(alert.priority);
        entry.incident.note(now, kind, &format!("{}: {text}", alert.title), by, Some(alert.id));
        entry.set_live(alert, now);
        entry.is_dirty = true;
    }

    /// A stored live alert, when the alerts open: returns the incident that lists it, where the alert does not know.
    pub(crate) fn attach(&self, alert: &Alert, now: Timestamp) -> Option<IncidentId> {
        let mut inner = self.inner.lock();
        let id = alert.incident.or_else(|| inner.members.get(&alert.id).copied())?;
        let entry = inner.entries.get_mut(&id)?;
        entry.set_live(alert, now);
        alert.incident.is_none().then_some(id)
    }

    /// An alert without an incident, when the alerts open.
    pub(crate) fn remember(&self, alert: &Arc<Alert>) {
        self.inner.lock().correlator.remember(alert, alert.raised_at);
    }

    /// Resolves incidents gone quiet and deletes old ones; returns how many were resolved.
    ///
    /// # Errors
    /// [`IncidentError::Store`].
    pub(crate) fn tick(&self, now: Timestamp) -> Result<usize, IncidentError> {
        let before = now.saturating_add_ns(-ns(self.config.quiet));
        let mut inner = self.inner.lock();
        let is_over =
            |entry: &&Entry| entry.incident.is_live() && entry.live.is_empty() && entry.quiet_since <= before;
        let over: Vec<_> = inner.entries.values().filter(is_over).map(|entry| entry.incident.id).collect();
        for id in &over {
            inner.set_status(*id, Status::Resolved, HEIMDALL, Some("all its alerts are resolved"), now);
        }
        drop(inner);
        if !self.config.keep_resolved.is_zero() {
            let old = now.saturating_add_ns(-ns(self.config.keep_resolved));
            self.store.documents().delete_before(KIND, &[Status::Resolved.as_str()], old, PAGE_ROWS_MAX)?;
        }
        self.flush()?;
        Ok(over.len())
    }

    // ---- what people do -------------------------------------------------------------------------------------------

    /// Returns an incident.
    ///
    /// # Errors
    /// [`IncidentError::NotFound`] or [`IncidentError::Store`].
    pub fn get(&self, tenant: Option<&Tenant>, id: IncidentId) -> Result<Incident, IncidentError> {
        let known = self.inner.lock().entries.get(&id).map(|entry| entry.incident.clone());
        let incident = match known {
            Some(incident) => Some(incident),
            None => self
                .store
                .documents()
                .get(KIND, &id.to_string())?
                .map(|document| read(&document))
                .transpose()?,
        };
        incident
            .filter(|incident| tenant.is_none_or(|tenant| *tenant == incident.tenant))
            .ok_or(IncidentError::NotFound { id })
    }

    /// Returns the incident people call by this number.
    ///
    /// # Errors
    /// [`IncidentError::Store`].
    pub fn by_number(&self, tenant: &Tenant, number: u64) -> Result<Option<Incident>, IncidentError> {
        self.flush()?;
        let filter = DocumentFilter { key: Some(key(tenant, number)), ..DocumentFilter::default() };
        let found = self.store.documents().list(KIND, &filter, None, 1)?;
        found.first().map(read).transpose().map_err(Into::into)
    }

    /// Returns at most `limit` (1 to 1,000) incidents older than the cursor, newest first by `started_at`. A page of a filtered
    /// list may be short, even empty, and still have a next one: at most 10,000 incidents are looked through for one.
    ///
    /// # Errors
    /// [`IncidentError::Store`].
    pub fn list(
        &self,
        tenant: Option<&Tenant>,
        filter: &IncidentFilter,
        after: Option<&DocumentCursor>,
        limit: usize,
    ) -> Result<IncidentPage, IncidentError> {
        self.flush()?;
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let wanted = DocumentFilter {
            tenant: tenant.cloned(),
            states: filter.statuses.iter().map(|status| status.as_str().to_owned()).collect(),
            since: filter.since,
            until: filter.until,
            key: None,
        };
        let mut page = IncidentPage { items: Vec::new(), next: after.cloned() };
        for _ in 0..LIST_SCAN_MAX.div_ceil(PAGE_ROWS_MAX) {
            let documents = self.store.documents().list(
                KIND,
                &wanted,
                page.next.as_ref(),
                PAGE_ROWS_MAX.min(limit * 2),
            )?;
            let is_last = documents.len() < PAGE_ROWS_MAX.min(limit * 2);
            for document in documents {
                page.next = Some(DocumentCursor { at: document.at, id: document.id.clone() });
                page.items.push(read(&document)?);
                page.items.pop_if(|incident| !filter.passes(incident));
                if page.items.len() == limit {
                    return Ok(page);
                }
            }
            if is_last {
                page.next = None;
                break;
            }
        }
        Ok(page)
    }

    /// How many incidents of a tenant, or of all, have each status.
    ///
    /// # Errors
    /// [`IncidentError::Store`].
    pub fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<(Status, u64)>, IncidentError> {
        self.flush()?;
        let counts = self.store.documents().counts(KIND, tenant)?;
        Ok(counts.into_iter().filter_map(|(state, count)| Some((Status::parse(&state)?, count))).collect())
    }

    /// Changes the status of an incident, and not that of its alerts; a step to the status it has changes nothing and is `Ok`.
    ///
    /// # Errors
    /// [`IncidentError::NotFound`]; [`IncidentError::Conflict`]: an incident is not suppressed, and a resolved one can only be
    /// reopened; [`IncidentError::Store`].
    pub fn step(
        &self,
        tenant: Option<&Tenant>,
        id: IncidentId,
        step: Step,
        by: &str,
        note: Option<&str>,
    ) -> Result<Incident, IncidentError> {
        let to = step.target();
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let from = self.entry(&mut inner, tenant, id)?.incident.status;
        let may_follow = to != Status::Suppressed && crate::lifecycle::may_follow(from, to);
        if from != to && !may_follow {
            return Err(IncidentError::Conflict { id, from, to });
        }
        if from != to {
            inner.set_status(id, to, by, note, now);
        }
        self.stored(inner, id)
    }

    /// Gives an incident to somebody, or to nobody.
    ///
    /// # Errors
    /// [`IncidentError::NotFound`] or [`IncidentError::Store`].
    pub fn assign(
        &self,
        tenant: Option<&Tenant>,
        id: IncidentId,
        who: Option<&str>,
        by: &str,
    ) -> Result<Incident, IncidentError> {
        let who = who.map(cut);
        self.change(tenant, id, |incident, now| {
            if incident.owner == who {
                return;
            }
            let text = who.as_ref().map_or("nobody leads it".to_owned(), |who| format!("{who} leads it"));
            incident.note(now, EntryKind::Owner, &text, by, None);
            incident.owner = who;
        })
    }

    /// Writes a comment.
    ///
    /// # Errors
    /// [`IncidentError::NotFound`] or [`IncidentError::Store`].
    pub fn comment(
        &self,
        tenant: Option<&Tenant>,
        id: IncidentId,
        by: &str,
        text: &str,
    ) -> Result<Incident, IncidentError> {
        self.change(tenant, id, |incident, now| {
            incident.note(now, EntryKind::Comment, text, by, None);
            crate::lifecycle::add_comment(
                &mut incident.comments,
                Comment { at: now, by: by.to_owned(), text: cut(text) },
            );
        })
    }

    /// Gives an incident another title.
    ///
    /// # Errors
    /// [`IncidentError::NotFound`] or [`IncidentError::Store`].
    pub fn rename(
        &self,
        tenant: Option<&Tenant>,
        id: IncidentId,
        title: &str,
        by: &str,
    ) -> Result<Incident, IncidentError> {
        self.change(tenant, id, |incident, now| {
            incident.title = title.chars().take(200).collect();
            let text = format!("is called `{}` from now on", incident.title);
            incident.note(now, EntryKind::Note, &text, by, None);
        })
    }

    /// Writes into the timeline what others did about an incident, such as telling somebody or restarting something. It is
    /// stored with the next round of the alerts, within a second.
    ///
    /// # Errors
    /// [`IncidentError::NotFound`] or [`IncidentError::Store`].
    pub fn note(&self, id: IncidentId, kind: EntryKind, text: &str, by: &str) -> Result<(), IncidentError> {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let entry = self.entry(&mut inner, None, id)?;
        entry.incident.note(now, kind, text, by, None);
        entry.is_dirty = true;
        Ok(())
    }

    /// A person adds an alert; the alert's side is [`crate::Alerts::add_to_incident`].
    pub(crate) fn add_alert(
        &self,
        tenant: Option<&Tenant>,
        id: IncidentId,
        alert: &Alert,
        by: &str,
    ) -> Result<Incident, IncidentError> {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let tenants_match = self.entry(&mut inner, tenant, id)?.incident.tenant == alert.tenant;
        if !tenants_match {
            return Err(IncidentError::Alert { alert: alert.id, reason: "belongs to another tenant" });
        }
        inner.add(id, alert, now);
        inner.note(id, EntryKind::Link, &format!("{}: added", alert.title), by, alert.id, now);
        self.stored(inner, id)
    }

    /// A person removes an alert; the alert's side is [`crate::Alerts::remove_from_incident`].
    pub(crate) fn remove_alert(
        &self,
        tenant: Option<&Tenant>,
        id: IncidentId,
        alert: &Alert,
        by: &str,
    ) -> Result<Incident, IncidentError> {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        self.entry(&mut inner, tenant, id)?;
        inner.remove(id, alert.id, now);
        inner.note(id, EntryKind::Link, &format!("{}: removed", alert.title), by, alert.id, now);
        self.stored(inner, id)
    }

    /// Stores every change made so far.
    ///
    /// # Errors
    /// The metastore failed: they are stored with the next try.
    pub fn flush(&self) -> Result<(), MetastoreError> {
        let _turn = self.writing.lock();
        let taken = self.inner.lock().take_dirty()?;
        for chunk in taken.chunks(PAGE_ROWS_MAX) {
            if let Err(error) = self.store.documents().put(KIND, chunk) {
                self.inner.lock().mark_dirty(&taken);
                return Err(error);
            }
        }
        if !taken.is_empty() {
            self.inner.lock().forget_stored();
        }
        Ok(())
    }

    fn change(
        &self,
        tenant: Option<&Tenant>,
        id: IncidentId,
        work: impl FnOnce(&mut Incident, Timestamp),
    ) -> Result<Incident, IncidentError> {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let entry = self.entry(&mut inner, tenant, id)?;
        work(&mut entry.incident, now);
        entry.is_dirty = true;
        self.stored(inner, id)
    }

    /// Ends a change: returns the incident once it is stored.
    fn stored(&self, inner: MutexGuard<'_, Inner>, id: IncidentId) -> Result<Incident, IncidentError> {
        let incident = inner.entries.get(&id).map(|entry| entry.incident.clone());
        drop(inner);
        self.flush()?;
        incident.ok_or(IncidentError::NotFound { id })
    }

    /// An incident in memory, read into it when it is not there.
    fn entry<'a>(
        &self,
        inner: &'a mut Inner,
        tenant: Option<&Tenant>,
        id: IncidentId,
    ) -> Result<&'a mut Entry, IncidentError> {
        if !inner.entries.contains_key(&id) {
            let document = self.store.documents().get(KIND, &id.to_string())?;
            let document = document.ok_or(IncidentError::NotFound { id })?;
            inner.take(read(&document)?, self.clock.now());
            if let Some(entry) = inner.entries.get_mut(&id) {
                entry.is_dirty = false;
            }
        }
        let entry = inner
            .entries
            .get_mut(&id)
            .filter(|entry| tenant.is_none_or(|tenant| *tenant == entry.incident.tenant));
        entry.ok_or(IncidentError::NotFound { id })
    }
}

impl Entry {
    fn is_joinable(&self, since: Timestamp) -> bool {
        self.incident.is_live() && self.incident.last_at >= since
    }

    fn set_live(&mut self, alert: &Alert, now: Timestamp) {
        if alert.status != Status::Resolved {
            self.live.insert(alert.id);
        } else if self.live.remove(&alert.id) && self.live.is_empty() {
            self.quiet_since = now;
        }
    }
}

impl Inner {
    /// Takes an incident into memory.
    fn take(&mut self, incident: Incident, now: Timestamp) {
        self.note_number(&incident);
        if incident.is_live() {
            self.correlator.link(&incident);
            self.members.extend(incident.alerts.iter().map(|alert| (*alert, incident.id)));
        }
        let entry = Entry { live: HashSet::new(), quiet_since: now, is_dirty: true, incident };
        self.entries.insert(entry.incident.id, entry);
    }

    fn note_number(&mut self, incident: &Incident) {
        let number = self.numbers.entry(incident.tenant.clone()).or_default();
        *number = (*number).max(incident.number);
    }

    /// An alert that was raised, or came back, joins an incident, which is live from then on.
    fn join(&mut self, id: IncidentId, alert: &Alert, now: Timestamp) {
        if self.entries.get(&id).is_some_and(|entry| !entry.incident.is_live()) {
            self.set_status(id, Status::Open, HEIMDALL, Some("an alert came back"), now);
        }
        let is_new = self.add(id, alert, now);
        let has_returned = alert.returns.last() == Some(&now);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if is_new || has_returned {
            entry.incident.last_at = entry.incident.last_at.max(now);
            let what = if has_returned { "came back" } else { "raised" };
            let text = format!(
                "{}: {what}, {} {}: {}",
                alert.title,
                alert.severity,
                alert.priority.as_str(),
                alert.summary
            );
            entry.incident.note(now, EntryKind::Raised, &text, &alert.detector, Some(alert.id));
        }
    }

    /// Lists an alert in an incident; returns false when it is there already.
    fn add(&mut self, id: IncidentId, alert: &Alert, now: Timestamp) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let is_new = alert.incident != Some(id) && !entry.incident.alerts.contains(&alert.id);
        if is_new {
            entry.incident.alert_count += 1;
            if entry.incident.alerts.len() < INCIDENT_ALERTS_MAX {
                entry.incident.alerts.push(alert.id);
            }
        }
        entry.incident.cover(alert);
        entry.set_live(alert, now);
        entry.is_dirty = true;
        if entry.incident.is_live() {
            self.members.insert(alert.id, id);
            self.correlator.link(&entry.incident);
        }
        is_new
    }

    fn remove(&mut self, id: IncidentId, alert: AlertId, now: Timestamp) {
        self.members.remove(&alert);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.incident.alerts.retain(|listed| *listed != alert);
        entry.incident.alert_count = entry.incident.alert_count.saturating_sub(1);
        if entry.live.remove(&alert) && entry.live.is_empty() {
            entry.quiet_since = now;
        }
        entry.is_dirty = true;
    }

    fn note(
        &mut self,
        id: IncidentId,
        kind: EntryKind,
        text: &str,
        by: &str,
        alert: AlertId,
        now: Timestamp,
    ) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.incident.note(now, kind, text, by, Some(alert));
            entry.is_dirty = true;
        }
    }

    fn set_status(&mut self, id: IncidentId, to: Status, by: &str, note: Option<&str>, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let incident = &mut entry.incident;
        let was_live = incident.is_live();
        let because = note.map(|note| format!(": {note}")).unwrap_or_default();
        let text = format!("{} → {to}{because}", incident.status);
        let kind = if was_live { EntryKind::Status } else { EntryKind::Opened };
        incident.note(now, kind, &text, by, None);
        incident.status = to;
        incident.resolved_at = (to == Status::Resolved).then_some(now);
        entry.is_dirty = true;
        match (was_live, entry.incident.is_live()) {
            (true, false) => {
                self.correlator.unlink(&entry.incident);
                for alert in &entry.incident.alerts {
                    self.members.remove(alert);
                }
            }
            (false, true) => {
                entry.quiet_since = now;
                self.correlator.link(&entry.incident);
                self.members.extend(entry.incident.alerts.iter().map(|alert| (*alert, id)));
            }
            _ => {}
        }
    }

    fn take_dirty(&mut self) -> Result<Vec<Document>, MetastoreError> {
        let dirty = self.entries.values_mut().filter(|entry| entry.is_dirty);
        dirty
            .map(|entry| {
                let document = document(&entry.incident)?;
                entry.is_dirty = false;
                Ok(document)
            })
            .collect()
    }

    fn mark_dirty(&mut self, documents: &[Document]) {
        for id in documents.iter().filter_map(|document| IncidentId::try_parse(&document.id).ok()) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.is_dirty = true;
            }
        }
    }

    fn forget_stored(&mut self) {
        self.entries.retain(|_, entry| entry.is_dirty || entry.incident.is_live());
    }
}

fn opened(id: IncidentId, number: u64, alert: &Alert, now: Timestamp) -> Incident {
    let place = alert.service.as_ref().filter(|service| !service.is_empty()).unwrap_or(&alert.entity.value);
    let title: String = format!("{}: {place}", alert.title).chars().take(200).collect();
    let mut incident = Incident {
        id,
        tenant: alert.tenant.clone(),
        number,
        title,
        status: Status::Open,
        severity: alert.severity,
        priority: alert.priority,
        owner: None,
        services: Vec::new(),
        entities: Vec::new(),
        traces: Vec::new(),
        alerts: Vec::new(),
        alert_count: 0,
        began_at: alert.first_seen,
        started_at: now,
        last_at: now,
        resolved_at: None,
        timeline: Vec::new(),
        timeline_dropped: 0,
        comments: Vec::new(),
    };
    incident.note(now, EntryKind::Opened, "incident opened", HEIMDALL, None);
    incident
}

fn key(tenant: &Tenant, number: u64) -> String {
    format!("{tenant}/{number}")
}

fn document(incident: &Incident) -> Result<Document, MetastoreError> {
    let body =
        serde_json::to_string(incident).map_err(|error| MetastoreError::Backend { source: error.into() })?;
    Ok(Document {
        id: incident.id.to_string(),
        tenant: incident.tenant.clone(),
        at: incident.started_at,
        state: incident.status.as_str().to_owned(),
        key: key(&incident.tenant, incident.number),
        body,
    })
}

fn read(document: &Document) -> Result<Incident, MetastoreError> {
    serde_json::from_str(&document.body).map_err(|error| MetastoreError::Corrupt {
        area: "incident",
        key: document.id.clone(),
        detail: error.to_string(),
    })
}

fn all(store: &dyn Metastore, filter: &DocumentFilter) -> Result<Vec<Document>, MetastoreError> {
    let mut all = Vec::new();
    let mut after: Option<DocumentCursor> = None;
    loop {
        let mut page = store.documents().list(KIND, filter, after.as_ref(), PAGE_ROWS_MAX)?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(DocumentCursor { at: last.at, id: last.id.clone() });
        all.append(&mut page);
    }
}

#[cfg(test)]
mod tests;
