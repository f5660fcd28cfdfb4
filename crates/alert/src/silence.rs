//! Silences and maintenance windows: what people do not want to hear of, and when.
//!
//! Invariants:
//! - a change is durable when its call returns `Ok`, and counts from then on;
//! - a silence is changed in place only where that rewrites no past; otherwise it ends and another takes its place, as in
//!   Alertmanager;
//! - an expired silence stays readable for [`KEEP_EXPIRED`], and never mutes again.
//!
//! Not here: setting `muted` on alerts (see [`crate::Alerts::tick`]), who may silence what (`heimdall-guard`).
//! Source: Alertmanager, `silence/silence.go`.

mod index;
mod recurrence;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use heimdall_metastore::{
    Document, DocumentCursor, DocumentFilter, Metastore, MetastoreError, PAGE_ROWS_MAX,
};
use heimdall_model::{Alert, Clock, LabelMatcher, Mute, MuteKind, Tenant, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use index::Index;
pub use recurrence::{Recurrence, RecurrenceError, Weekday, Windows};

use crate::flapping::ns;
use crate::lifecycle::fresh_id;

/// Kind of their documents.
const KIND: &str = "silence";
/// Silences kept, expired ones too; beyond, a new one is refused.
pub const SILENCES_MAX: usize = 10_000;
/// Conditions of one silence.
pub const MATCHERS_MAX: usize = 32;
/// Longest comment (characters); the rest is cut.
pub const COMMENT_CHARS_MAX: usize = 1_000;
/// How long an expired silence is kept (as Alertmanager does: 120 h).
pub const KEEP_EXPIRED: Duration = Duration::from_secs(120 * 3_600);

/// What a silence is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SilenceKind {
    /// Somebody does not want to hear of it.
    Silence,
    /// Work is being done.
    Maintenance,
}

/// Alerts that pass all matchers mute nobody's evening while it is active.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Its id.
    pub id: Uuid,
    /// Owner: alerts of other tenants are not concerned.
    pub tenant: Tenant,
    /// What it is for.
    pub kind: SilenceKind,
    /// Conditions, all of which must hold.
    pub matchers: Vec<LabelMatcher>,
    /// From when on.
    pub starts_at: Timestamp,
    /// Until before when.
    pub ends_at: Timestamp,
    /// Between the two, only at these times; none means always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<Recurrence>,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A silence as somebody asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct SilenceDraft {
    /// The one to change; none makes a new one.
    pub id: Option<Uuid>,
    /// Owner.
    pub tenant: Tenant,
    /// What it is for.
    pub kind: SilenceKind,
    /// Conditions, all of which must hold; at least one must want a label to be there.
    pub matchers: Vec<LabelMatcher>,
    /// From when on; the past means now.
    pub starts_at: Timestamp,
    /// Until before when; in the future.
    pub ends_at: Timestamp,
    /// Between the two, only at these times.
    pub recurrence: Option<Recurrence>,
    /// Why.
    pub comment: String,
}

/// Where in its life a silence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SilenceState {
    /// It does not mute now, and will later.
    Pending,
    /// It mutes now.
    Active,
    /// It never mutes again.
    Expired,
}

/// Why a silence could not be made, changed or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SilenceError {
    /// No such silence, or it belongs to another tenant.
    #[error("silence `{id}` not found")]
    NotFound {
        /// The id asked for.
        id: Uuid,
    },
    /// It cannot be so.
    #[error("{field}: {reason}")]
    Invalid {
        /// Field of the draft.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There are [`SILENCES_MAX`] already.
    #[error("there are {SILENCES_MAX} silences already: expired ones make room after five days")]
    TooMany,
    /// The metastore failed; nothing changed.
    #[error(transparent)]
    Store(#[from] MetastoreError),
}

/// The silences of this server.
pub struct Silences {
    store: Arc<dyn Metastore>,
    clock: Arc<dyn Clock>,
    /// Held while a change is written, so that changes do not overtake each other; reading goes on.
    writing: Mutex<()>,
    book: RwLock<Book>,
}

#[derive(Default)]
struct Book {
    by_id: HashMap<Uuid, Arc<Silence>>,
    /// Silences not expired, by tenant.
    indexes: HashMap<Tenant, Index>,
    /// When the state of a silence changes next.
    boundaries: BTreeSet<(Timestamp, Uuid)>,
    /// Silences that mute, as far as [`Silences::advance`] has told.
    active: HashSet<Uuid>,
}

/// What began and ended since it was asked last.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) began: Vec<Arc<Silence>>,
    pub(crate) ended: Vec<Uuid>,
}

impl Silences {
    /// Opens the silences of a metastore.
    ///
    /// # Errors
    /// [`SilenceError::Store`].
    pub fn open(store: Arc<dyn Metastore>, clock: Arc<dyn Clock>) -> Result<Arc<Silences>, SilenceError> {
        let mut book = Book::default();
        let mut after: Option<DocumentCursor> = None;
        loop {
            let page =
                store.documents().list(KIND, &DocumentFilter::default(), after.as_ref(), PAGE_ROWS_MAX)?;
            for document in &page {
                let silence: Silence =
                    serde_json::from_str(&document.body).map_err(|error| corrupt(document, &error))?;
                book.by_id.insert(silence.id, Arc::new(silence));
            }
            let Some(last) = page.last().filter(|_| page.len() == PAGE_ROWS_MAX) else { break };
            after = Some(DocumentCursor { at: last.at, id: last.id.clone() });
        }
        let now = clock.now();
        let all: Vec<_> = book.by_id.values().cloned().collect();
        book.boundaries =
            all.iter().filter(|silence| silence.ends_at > now).map(|silence| (now, silence.id)).collect();
        all.iter().map(|silence| silence.tenant.clone()).for_each(|tenant| book.reindex(&tenant, now));
        Ok(Arc::new(Silences { store, clock, writing: Mutex::new(()), book: RwLock::new(book) }))
    }

    /// Makes a silence, or changes one as Alertmanager does: in place where that rewrites no past, else the old one ends and
    /// a new one, with another id, takes its place.
    ///
    /// # Errors
    /// [`SilenceError::Invalid`] names the field; [`SilenceError::NotFound`], [`SilenceError::TooMany`],
    /// [`SilenceError::Store`]: nothing changed.
    pub fn put(&self, draft: SilenceDraft, by: &str) -> Result<Silence, SilenceError> {
        let _turn = self.writing.lock();
        let now = self.clock.now();
        validate(&draft, now)?;
        let previous = draft.id.map(|id| self.owned(Some(&draft.tenant), id)).transpose()?;
        let mut silence = made(draft, by, now);
        let mut changed = Vec::new();
        match previous {
            Some(previous) if may_change(&previous, &silence, now) => {
                (silence.id, silence.created_by) = (previous.id, previous.created_by.clone());
            }
            Some(previous) => {
                silence.starts_at = silence.starts_at.max(now);
                changed.extend(ended(&previous, now));
            }
            None => silence.starts_at = silence.starts_at.max(now),
        }
        let is_new = !self.book.read().by_id.contains_key(&silence.id);
        if is_new && self.book.read().by_id.len() >= SILENCES_MAX {
            return Err(SilenceError::TooMany);
        }
        changed.push(silence.clone());
        self.keep(changed, now)?;
        Ok(silence)
    }

    /// Ends a silence now; one that is over already stays as it is.
    ///
    /// # Errors
    /// [`SilenceError::NotFound`] or [`SilenceError::Store`].
    pub fn expire(&self, tenant: Option<&Tenant>, id: Uuid, by: &str) -> Result<Silence, SilenceError> {
        let _turn = self.writing.lock();
        let now = self.clock.now();
        let silence = self.owned(tenant, id)?;
        let Some(ended) = ended(&silence, now) else { return Ok(Silence::clone(&silence)) };
        tracing::info!(silence = %id, by, "silence expired");
        self.keep(vec![ended.clone()], now)?;
        Ok(ended)
    }

    /// Returns a silence.
    ///
    /// # Errors
    /// [`SilenceError::NotFound`].
    pub fn get(&self, tenant: Option<&Tenant>, id: Uuid) -> Result<Silence, SilenceError> {
        self.owned(tenant, id).map(|silence| Silence::clone(&silence))
    }

    /// The silences of a tenant, or of all: expired ones too, those that end last first.
    #[must_use]
    pub fn list(&self, tenant: Option<&Tenant>) -> Vec<Arc<Silence>> {
        let book = self.book.read();
        let mine =
            book.by_id.values().filter(|silence| tenant.is_none_or(|tenant| *tenant == silence.tenant));
        let mut all: Vec<_> = mine.cloned().collect();
        all.sort_unstable_by_key(|silence| std::cmp::Reverse((silence.ends_at, silence.id)));
        all
    }

    /// Where in its life a silence is. A recurring one is pending between its windows.
    #[must_use]
    pub fn state(silence: &Silence, now: Timestamp) -> SilenceState {
        phase(silence, now).0
    }

    /// What mutes this alert now, if a silence does; of several, the one that ends last.
    #[must_use]
    pub fn mute_of(&self, alert: &Alert, now: Timestamp) -> Option<Mute> {
        let book = self.book.read();
        let index = book.indexes.get(&alert.tenant)?;
        let matching = index.matching(|name| alert.label(name)).into_iter();
        let active = matching.filter(|silence| Self::state(silence, now) == SilenceState::Active);
        active.max_by_key(|silence| (silence.ends_at, silence.id)).map(|silence| mute(silence, now))
    }

    /// What began and ended since this was called last. For the one caller that mutes alerts.
    pub(crate) fn advance(&self, now: Timestamp) -> Turn {
        let mut book = self.book.write();
        let mut turn = Turn::default();
        while let Some((at, id)) = book.boundaries.first().copied().filter(|(at, _)| *at <= now) {
            book.boundaries.remove(&(at, id));
            book.pass(id, now, &mut turn);
        }
        turn
    }

    /// Deletes silences long expired.
    ///
    /// # Errors
    /// [`SilenceError::Store`]: they are deleted with the next try.
    pub(crate) fn forget(&self, now: Timestamp) -> Result<(), SilenceError> {
        let before = now.saturating_add_ns(-ns(KEEP_EXPIRED));
        let is_old = |silence: &Silence| silence.ends_at < before;
        if !self.book.read().by_id.values().any(|silence| is_old(silence)) {
            return Ok(());
        }
        let _turn = self.writing.lock();
        while self.store.documents().delete_before(KIND, &[], before, PAGE_ROWS_MAX)? == PAGE_ROWS_MAX {}
        self.book.write().by_id.retain(|_, silence| !is_old(silence));
        Ok(())
    }

    fn owned(&self, tenant: Option<&Tenant>, id: Uuid) -> Result<Arc<Silence>, SilenceError> {
        let found = self.book.read().by_id.get(&id).cloned();
        found
            .filter(|silence| tenant.is_none_or(|tenant| *tenant == silence.tenant))
            .ok_or(SilenceError::NotFound { id })
    }

    /// Stores these silences, then lets them count.
    fn keep(&self, silences: Vec<Silence>, now: Timestamp) -> Result<(), SilenceError> {
        let documents = silences.iter().map(document).collect::<Result<Vec<_>, _>>()?;
        self.store.documents().put(KIND, &documents)?;
        let mut book = self.book.write();
        for silence in silences {
            let (id, tenant) = (silence.id, silence.tenant.clone());
            book.boundaries.retain(|(_, of)| *of != id);
            book.boundaries.insert((now, id));
            book.by_id.insert(id, Arc::new(silence));
            book.reindex(&tenant, now);
        }
        Ok(())
    }
}

impl Book {
    fn reindex(&mut self, tenant: &Tenant, now: Timestamp) {
        let live = self.by_id.values().filter(|silence| silence.tenant == *tenant && silence.ends_at > now);
        self.indexes.insert(tenant.clone(), Index::new(live));
    }

    /// Notes what a silence is from now on, and when that changes next.
    fn pass(&mut self, id: Uuid, now: Timestamp, turn: &mut Turn) {
        let Some(silence) = self.by_id.get(&id).cloned() else { return };
        let (state, until) = phase(&silence, now);
        self.boundaries.extend(until.map(|until| (until, id)));
        match state {
            SilenceState::Active => {
                if self.active.insert(id) {
                    turn.began.push(silence);
                }
            }
            SilenceState::Pending | SilenceState::Expired => {
                // An end is told also when the beginning was not seen: an alert raised meanwhile may be muted by it.
                if self.active.remove(&id) || state == SilenceState::Expired {
                    turn.ended.push(id);
                }
                if state == SilenceState::Expired {
                    self.reindex(&silence.tenant, now);
                }
            }
        }
    }
}

/// The state of a silence, and until when it has it; none means for ever.
fn phase(silence: &Silence, now: Timestamp) -> (SilenceState, Option<Timestamp>) {
    if now >= silence.ends_at {
        return (SilenceState::Expired, None);
    }
    if now < silence.starts_at {
        return (SilenceState::Pending, Some(silence.starts_at));
    }
    // A recurrence was checked when it was stored; should its zone be gone, it does not mute.
    let window =
        |recurrence: &Recurrence| recurrence.windows().ok().and_then(|windows| windows.at_or_after(now));
    match silence.recurrence.as_ref().map(window) {
        None => (SilenceState::Active, Some(silence.ends_at)),
        Some(Some((begin, end))) if begin <= now => (SilenceState::Active, Some(end.min(silence.ends_at))),
        Some(Some((begin, _))) => (SilenceState::Pending, Some(begin.min(silence.ends_at))),
        Some(None) => (SilenceState::Pending, Some(silence.ends_at)),
    }
}

fn mute(silence: &Silence, now: Timestamp) -> Mute {
    let (kind, what) = match silence.kind {
        SilenceKind::Silence => (MuteKind::Silence, "silenced"),
        SilenceKind::Maintenance => (MuteKind::Maintenance, "maintenance"),
    };
    let reason = format!("{what} by {}: {}", silence.created_by, silence.comment);
    Mute { kind, by: Some(silence.id.to_string()), reason, since: now }
}

fn validate(draft: &SilenceDraft, now: Timestamp) -> Result<(), SilenceError> {
    let invalid = |field, reason: &str| Err(SilenceError::Invalid { field, reason: reason.to_owned() });
    if draft.matchers.is_empty() {
        return invalid("matchers", "there must be at least one");
    }
    if draft.matchers.len() > MATCHERS_MAX {
        return invalid("matchers", &format!("there may be at most {MATCHERS_MAX}"));
    }
    if draft.matchers.iter().all(|matcher| matcher.is_match("")) {
        return invalid(
            "matchers",
            "at least one must not match the empty text, or everything would be silent",
        );
    }
    if draft.ends_at <= now {
        return invalid("ends_at", "is in the past");
    }
    if draft.ends_at <= draft.starts_at {
        return invalid("ends_at", "is not after starts_at");
    }
    if let Some(Err(error)) = draft.recurrence.as_ref().map(Recurrence::windows) {
        return invalid("recurrence", &error.to_string());
    }
    Ok(())
}

fn made(draft: SilenceDraft, by: &str, now: Timestamp) -> Silence {
    Silence {
        id: fresh_id(now),
        tenant: draft.tenant,
        kind: draft.kind,
        matchers: draft.matchers,
        starts_at: draft.starts_at,
        ends_at: draft.ends_at,
        recurrence: draft.recurrence,
        created_by: by.to_owned(),
        comment: draft.comment.chars().take(COMMENT_CHARS_MAX).collect(),
        updated_at: now,
    }
}

/// Whether a silence may be changed so without rewriting the past.
fn may_change(from: &Silence, to: &Silence, now: Timestamp) -> bool {
    let is_same = from.matchers == to.matchers && from.recurrence == to.recurrence && from.kind == to.kind;
    let second = |time: Timestamp| time.0.div_euclid(1_000_000_000);
    let times_fit = if now >= from.ends_at {
        false
    } else if now >= from.starts_at {
        second(from.starts_at) == second(to.starts_at)
    } else {
        to.starts_at >= now
    };
    is_same && times_fit
}

/// The silence as it is when it ends now; none when it is over already.
fn ended(silence: &Silence, now: Timestamp) -> Option<Silence> {
    (silence.ends_at > now).then(|| Silence {
        starts_at: silence.starts_at.min(now),
        ends_at: now,
        updated_at: now,
        ..silence.clone()
    })
}

fn document(silence: &Silence) -> Result<Document, MetastoreError> {
    let body =
        serde_json::to_string(silence).map_err(|error| MetastoreError::Backend { source: error.into() })?;
    Ok(Document {
        id: silence.id.to_string(),
        tenant: silence.tenant.clone(),
        at: silence.ends_at,
        state: String::new(),
        key: String::new(),
        body,
    })
}

fn corrupt(document: &Document, error: &serde_json::Error) -> MetastoreError {
    MetastoreError::Corrupt { area: "silence", key: document.id.clone(), detail: error.to_string() }
}

#[cfg(test)]
mod tests;
