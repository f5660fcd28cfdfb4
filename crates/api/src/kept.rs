//! Documents that people keep and change together: dashboards, saved queries, annotations.
//!
//! Invariants:
//! - a change names the revision it was made from, and one made from another is refused: nobody overwrites what they have
//!   not seen;
//! - a document is found by its own tenant only, whatever its id;
//! - of every kind a tenant has at most [`Keep::MAX`].
//!
//! Not here: what is in them (see the routes), who may change them.

use std::sync::PoisonError;

use axum::http::StatusCode;
use heimdall_metastore::{Document, DocumentCursor, DocumentFilter};
use heimdall_model::{Tenant, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::extract::short;
use crate::problem::Problem;
use crate::wire::Page;
use crate::{AppState, error};

/// Documents read at once.
const ROWS_AT_ONCE: usize = 100;
/// Tags of one document.
pub(crate) const TAGS_MAX: usize = 20;
/// Characters of one tag.
pub(crate) const TAG_CHARS_MAX: usize = 50;

/// A kind of document.
pub(crate) trait Keep: Serialize + DeserializeOwned + Send + 'static {
    /// Its name in the metastore.
    const KIND: &'static str;
    /// Its name in words.
    const NAME: &'static str;
    /// Documents of one tenant: 409 beyond.
    const MAX: u64;
    /// Code of that answer.
    const TOO_MANY: &'static str;

    /// What lists are ordered by; the time of its last change when none.
    fn at(&self) -> Option<Timestamp> {
        None
    }
    /// See [`Document::state`].
    fn state(&self) -> String {
        String::new()
    }
    /// See [`Document::key`].
    fn key(&self) -> String {
        String::new()
    }
}

/// A document, and who made it what it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept<T> {
    /// Its id.
    #[serde(skip)]
    pub(crate) id: String,
    /// Owner.
    #[serde(skip)]
    pub(crate) tenant: Tenant,
    /// What lists are ordered by.
    #[serde(skip)]
    pub(crate) at: Timestamp,
    /// Counts its changes, from 1.
    #[serde(default = "first")]
    pub(crate) revision: u64,
    /// Who made it.
    #[serde(alias = "by")]
    pub(crate) created_by: String,
    /// When.
    pub(crate) created_at: Option<Timestamp>,
    /// Who changed it last.
    pub(crate) updated_by: Option<String>,
    /// When.
    pub(crate) updated_at: Option<Timestamp>,
    /// What it says.
    #[serde(flatten)]
    pub(crate) content: T,
}

fn first() -> u64 {
    1
}

impl<T: Keep> Kept<T> {
    /// Reads a document. One of a release that noted less was made when it is of.
    fn read(document: Document) -> Result<Kept<T>, Problem> {
        let mut kept: Kept<T> =
            serde_json::from_str(&document.body).map_err(|error| Problem::internal(&error))?;
        (kept.id, kept.tenant, kept.at) = (document.id, document.tenant, document.at);
        Ok(kept)
    }

    fn document(&self) -> Document {
        Document {
            id: self.id.clone(),
            tenant: self.tenant.clone(),
            at: self.at,
            state: self.content.state(),
            key: self.content.key(),
            body: serde_json::to_string(self).expect("plain data serialises"),
        }
    }

    /// Its place in a list.
    pub(crate) fn cursor(&self) -> DocumentCursor {
        DocumentCursor { at: self.at, id: self.id.clone() }
    }

    /// When it was made.
    pub(crate) fn created_at(&self) -> Timestamp {
        self.created_at.unwrap_or(self.at)
    }

    /// When it was changed last.
    pub(crate) fn updated_at(&self) -> Timestamp {
        self.updated_at.unwrap_or_else(|| self.created_at())
    }

    /// Who changed it last.
    pub(crate) fn updated_by(&self) -> &str {
        self.updated_by.as_deref().unwrap_or(&self.created_by)
    }
}

/// A new id.
pub(crate) fn fresh_id() -> String {
    Uuid::now_v7().to_string()
}

/// Returns a document of a tenant. Blocks.
///
/// # Errors
/// 404.
pub(crate) fn find<T: Keep>(state: &AppState, tenant: &Tenant, id: &str) -> Result<Kept<T>, Problem> {
    let found = state.metastore.documents().get(T::KIND, id).map_err(|error| error::metastore(&error))?;
    match found.filter(|document| document.tenant == *tenant) {
        Some(document) => Kept::read(document),
        None => Err(Problem::not_found(T::NAME, short(id))),
    }
}

/// Keeps a new document. Blocks.
///
/// # Errors
/// 409: the tenant has too many.
pub(crate) fn add<T: Keep>(
    state: &AppState,
    tenant: Tenant,
    id: String,
    by: &str,
    content: T,
) -> Result<Kept<T>, Problem> {
    let _turn = state.kept_turn.lock().unwrap_or_else(PoisonError::into_inner);
    let documents = state.metastore.documents();
    let counts = documents.counts(T::KIND, Some(&tenant)).map_err(|error| error::metastore(&error))?;
    if counts.iter().map(|(_, count)| count).sum::<u64>() >= T::MAX {
        let detail = format!("there are {} of the kind {} already: delete some", T::MAX, T::NAME);
        return Err(Problem::new(StatusCode::CONFLICT, T::TOO_MANY, detail));
    }
    let now = state.clock.now();
    let kept = Kept {
        id,
        tenant,
        at: content.at().unwrap_or(now),
        revision: 1,
        created_by: by.to_owned(),
        created_at: Some(now),
        updated_by: Some(by.to_owned()),
        updated_at: Some(now),
        content,
    };
    documents.insert(T::KIND, &kept.document()).map_err(|error| error::metastore(&error))?;
    Ok(kept)
}

/// Puts other content into a document. Blocks.
///
/// # Errors
/// 404; 409 when it is no longer at this revision.
pub(crate) fn replace<T: Keep>(
    state: &AppState,
    tenant: &Tenant,
    id: &str,
    revision: u64,
    by: &str,
    content: T,
) -> Result<Kept<T>, Problem> {
    let _turn = state.kept_turn.lock().unwrap_or_else(PoisonError::into_inner);
    let before: Kept<T> = find(state, tenant, id)?;
    if before.revision != revision {
        return Err(conflict(&before, revision));
    }
    let now = state.clock.now();
    let kept = Kept {
        at: content.at().unwrap_or(now),
        revision: before.revision.saturating_add(1),
        created_at: Some(before.created_at()),
        updated_by: Some(by.to_owned()),
        updated_at: Some(now),
        content,
        ..before
    };
    state.metastore.documents().put(T::KIND, &[kept.document()]).map_err(|error| error::metastore(&error))?;
    Ok(kept)
}

fn conflict<T: Keep>(now: &Kept<T>, given: u64) -> Problem {
    let (id, revision, by) = (&now.id, now.revision, now.updated_by());
    let detail =
        format!("{} `{id}` is at revision {revision} (by {by}), not at {given}: read it again", T::NAME);
    Problem::new(StatusCode::CONFLICT, "revision_conflict", detail)
        .with_member("revision", json!(revision))
        .with_member("updated_by", json!(by))
}

/// Deletes a document. Blocks.
///
/// # Errors
/// 404.
pub(crate) fn remove<T: Keep>(state: &AppState, tenant: &Tenant, id: &str) -> Result<(), Problem> {
    let _turn = state.kept_turn.lock().unwrap_or_else(PoisonError::into_inner);
    find::<T>(state, tenant, id)?;
    state.metastore.documents().delete(T::KIND, id).map_err(|error| error::metastore(&error))?;
    Ok(())
}

/// Which documents a list has, and how many.
pub(crate) struct Wanted<'a, T> {
    pub(crate) filter: DocumentFilter,
    pub(crate) after: Option<DocumentCursor>,
    pub(crate) count: usize,
    /// What the metastore cannot decide.
    pub(crate) fits: &'a dyn Fn(&Kept<T>) -> bool,
}

/// Returns at most `count` documents, newest first. Blocks.
///
/// # Errors
/// The metastore cannot be read.
pub(crate) fn list<T: Keep>(state: &AppState, wanted: Wanted<'_, T>) -> Result<Vec<Kept<T>>, Problem> {
    let Wanted { filter, mut after, count, fits } = wanted;
    let mut found = Vec::new();
    loop {
        let documents = state.metastore.documents().list(T::KIND, &filter, after.as_ref(), ROWS_AT_ONCE);
        let documents = documents.map_err(|error| error::metastore(&error))?;
        let is_last = documents.len() < ROWS_AT_ONCE;
        after = documents.last().map(|last| DocumentCursor { at: last.at, id: last.id.clone() });
        for document in documents {
            let kept = Kept::read(document)?;
            if fits(&kept) {
                found.push(kept);
            }
            if found.len() == count {
                return Ok(found);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// The first `limit` of what was found, as a page: what is beyond says that there is more.
pub(crate) fn page<T: Keep, V: From<Kept<T>>>(mut found: Vec<Kept<T>>, limit: usize) -> Page<V> {
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|last| last.cursor().to_string());
    Page { items: found.into_iter().map(V::from).collect(), next }
}

/// Checks a text of a document; returns it without spaces around it.
///
/// # Errors
/// 422 naming the field.
pub(crate) fn text(field: &'static str, text: &str, chars_max: usize) -> Result<String, Problem> {
    let text = text.trim();
    if text.chars().count() > chars_max {
        return Err(Problem::field(field, format!("has more than {chars_max} characters")));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err(Problem::field(field, "has control characters"));
    }
    Ok(text.to_owned())
}

/// The same for a text that must be there.
///
/// # Errors
/// 422 naming the field.
pub(crate) fn words(field: &'static str, given: &str, chars_max: usize) -> Result<String, Problem> {
    let text = text(field, given, chars_max)?;
    if text.is_empty() { Err(Problem::field(field, "is empty")) } else { Ok(text) }
}

/// Checks tags: short, each once.
///
/// # Errors
/// 422 naming the field.
pub(crate) fn tags(given: &[String]) -> Result<Vec<String>, Problem> {
    if given.len() > TAGS_MAX {
        return Err(Problem::field("tags", format!("are more than {TAGS_MAX}")));
    }
    let mut tags = Vec::new();
    for tag in given {
        let tag = words("tags", tag, TAG_CHARS_MAX)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// Reads a cursor.
///
/// # Errors
/// 400.
pub(crate) fn cursor(text: Option<&str>) -> Result<Option<DocumentCursor>, Problem> {
    let read = text.filter(|text| !text.is_empty()).map(str::parse).transpose();
    read.map_err(|_| Problem::parameter("cursor", "is none of this list"))
}
