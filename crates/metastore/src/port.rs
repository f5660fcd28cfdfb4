//! The metastore port: typed areas, what they promise, and their errors.
//!
//! Invariants every implementation keeps (checked by `conformance`):
//! - a call that writes is durable when it returns `Ok`, and all or nothing;
//! - at most one alert of a fingerprint is not `RESOLVED`;
//! - pages are in the order asked for, `(raised_at, id)` newest first where nothing is, and a cursor neither repeats nor skips
//!   an alert that stays where it is in it;
//! - audit rows are never changed, and their `seq` is dense from 1.
//!
//! Not here: what an alert means (`heimdall-alert`), who may do what and how the audit chain is computed (`heimdall-guard`).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use heimdall_model::{
    Alert, AlertId, Entity, IncidentId, Judged, LabelMatcher, Priority, Severity, Status, Tenant, Timestamp,
};

/// Most rows one list call returns; a larger limit is cut to it.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// Why the metastore could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetastoreError {
    /// The file cannot be opened or created.
    #[error("could not open the metastore `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file was written by a later release; nothing was changed.
    #[error(
        "the metastore has schema version {found}, this release knows up to {supported}: use the newer release again"
    )]
    NewerSchema {
        /// Version in the file.
        found: u32,
        /// Latest version this release knows.
        supported: u32,
    },
    /// A migration failed; the schema is still at the version before it.
    #[error("could not migrate the metastore to schema version {version}")]
    Migration {
        /// The version that could not be reached.
        version: u32,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The write contradicts what is stored: a second live alert of a fingerprint, a token id or audit number in use.
    #[error("the write contradicts a stored record: {detail}")]
    Conflict {
        /// Which rule it breaks.
        detail: String,
    },
    /// A stored record cannot be read.
    #[error("stored {area} record `{key}` is not readable: {detail}")]
    Corrupt {
        /// `alert`, `token` or `audit`.
        area: &'static str,
        /// Its id.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// No space left; nothing was written, later calls may succeed.
    #[error("no space left for the metastore")]
    Full,
    /// Anything else the database reports; nothing was written.
    #[error("the metastore failed")]
    Backend {
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The control-plane store, one typed area per kind of record.
pub trait Metastore: Send + Sync {
    /// Alerts with their history.
    fn alerts(&self) -> &dyn AlertStore;
    /// Access tokens, hashed.
    fn tokens(&self) -> &dyn TokenStore;
    /// The audit trail.
    fn audit(&self) -> &dyn AuditStore;
    /// Everything else that is kept whole: incidents, silences, deliveries, action runs.
    fn documents(&self) -> &dyn DocumentStore;
}

// ---- alerts ---------------------------------------------------------------------------------------------------

/// An alert as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRow {
    /// The whole alert. Its floats are finite.
    pub alert: Arc<Alert>,
    /// Wall-clock time of its latest finding or status change.
    pub touched_at: Timestamp,
}

/// Which alerts to list; an absent or empty part lets everything through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertFilter {
    /// Owner.
    pub tenant: Option<Tenant>,
    /// Any of these statuses.
    pub statuses: Vec<Status>,
    /// Exactly this severity.
    pub severity: Option<Severity>,
    /// Exactly this rule.
    pub rule: Option<String>,
    /// Exactly this service.
    pub service: Option<String>,
    /// About exactly this entity.
    pub entity: Option<Entity>,
    /// Raised at this time or later.
    pub since: Option<Timestamp>,
    /// Raised before this time.
    pub until: Option<Timestamp>,
    /// Exactly this priority.
    pub priority: Option<Priority>,
    /// Assigned to exactly this person; the empty text means nobody.
    pub assignee: Option<String>,
    /// In exactly this incident.
    pub incident: Option<IncidentId>,
    /// Muted, or not.
    pub is_muted: Option<bool>,
    /// Passes all of these, by [`Alert::label`].
    pub labels: Vec<LabelMatcher>,
    /// Has this text somewhere in its title, summary, rule, service, entity, assignee or labels, in any case.
    pub text: Option<String>,
    /// In which order.
    pub sort: AlertSort,
}

/// In which order alerts are listed; equal ones by id, the highest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AlertSort {
    /// Raised last first.
    #[default]
    Newest,
    /// Seen last first.
    LastSeen,
    /// Worst first: by severity, then priority, then raised last, to the millisecond.
    Worst,
}

impl AlertSort {
    /// The number an alert is ordered by, highest first.
    #[must_use]
    pub fn key(self, alert: &Alert) -> i64 {
        match self {
            AlertSort::Newest => alert.raised_at.0,
            AlertSort::LastSeen => alert.last_seen.0,
            AlertSort::Worst => worst_key(alert),
        }
    }
}

/// Four bits of severity and priority above 48 of milliseconds.
fn worst_key(alert: &Alert) -> i64 {
    const MS_BITS: u32 = 48;
    let severity = match alert.severity {
        Severity::Critical => 2,
        Severity::Warning => 1,
        Severity::Normal => 0,
    };
    let priority = match alert.priority {
        Priority::P1 => 2,
        Priority::P2 => 1,
        Priority::P3 => 0,
    };
    let ms = (alert.raised_at.0 / 1_000_000).clamp(0, (1 << MS_BITS) - 1);
    (severity << 2 | priority) << MS_BITS | ms
}

/// Place in a list of alerts. It holds for the order it was made in; its text form is opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertCursor {
    /// What the last alert seen is ordered by (see [`AlertSort::key`]).
    pub key: i64,
    /// Of the last alert seen.
    pub id: AlertId,
}

impl AlertCursor {
    /// The place of an alert in a list of this order.
    #[must_use]
    pub fn of(alert: &Alert, sort: AlertSort) -> AlertCursor {
        AlertCursor { key: sort.key(alert), id: alert.id }
    }
}

/// A text is not a cursor.
#[derive(Debug, thiserror::Error)]
#[error("not a cursor of a list of alerts")]
pub struct CursorError;

impl fmt::Display for AlertCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.key, self.id.simple())
    }
}

impl FromStr for AlertCursor {
    type Err = CursorError;
    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (key, id) = text.split_once('_').ok_or(CursorError)?;
        Ok(AlertCursor {
            key: key.parse().map_err(|_| CursorError)?,
            id: AlertId::try_parse(id).map_err(|_| CursorError)?,
        })
    }
}

/// How many alerts share a status and a severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertCount {
    /// The status.
    pub status: Status,
    /// The severity.
    pub severity: Severity,
    /// Alerts with both.
    pub count: u64,
}

/// How people judged the alerts of one rule of one tenant, those deleted since too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedbackCount {
    /// Owner of the alerts.
    pub tenant: Tenant,
    /// Detector behind the rule.
    pub detector: String,
    /// The rule.
    pub rule: String,
    /// What was said.
    pub judged: Judged,
}

/// Alerts. Absent things are `None` or left out, never errors.
pub trait AlertStore: Send + Sync {
    /// Inserts or replaces these alerts by id, all in one transaction. Order does not matter: those resolved count first.
    /// The feedback of an alert is kept apart as well, where it outlives the alert; an alert without leaves what is kept.
    ///
    /// # Errors
    /// [`MetastoreError::Conflict`] when a fingerprint would have two live alerts; nothing is written.
    fn put(&self, rows: &[AlertRow]) -> Result<(), MetastoreError>;

    /// Returns the alert with this id.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, id: AlertId) -> Result<Option<AlertRow>, MetastoreError>;

    /// Returns the live alert of this fingerprint, else the one raised last.
    ///
    /// # Errors
    /// The store cannot be read.
    fn latest(&self, fingerprint: &str) -> Result<Option<AlertRow>, MetastoreError>;

    /// Returns at most `limit` alerts (see [`PAGE_ROWS_MAX`]) after the cursor, in the order of the filter.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list(
        &self,
        filter: &AlertFilter,
        after: Option<&AlertCursor>,
        limit: usize,
    ) -> Result<Vec<Alert>, MetastoreError>;

    /// Returns at most `limit` `OPEN` or `ACKNOWLEDGED` alerts touched before this time, longest quiet first; not those that
    /// have an end of their own.
    ///
    /// # Errors
    /// The store cannot be read.
    fn quiet(&self, before: Timestamp, limit: usize) -> Result<Vec<AlertId>, MetastoreError>;

    /// Counts alerts of one tenant, or of all. Pairs without alerts are left out.
    ///
    /// # Errors
    /// The store cannot be read.
    fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<AlertCount>, MetastoreError>;

    /// Returns at most `limit` alerts of the same tenant raised before this one: those of the same fingerprint, then those of
    /// the same rule about another entity of this kind (`RESOLVED` ones first: they say what helped), then those of other
    /// rules about the same entity; the newest of each first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn similar(&self, alert: &Alert, limit: usize) -> Result<Vec<Alert>, MetastoreError>;

    /// Counts the feedback of one tenant, or of all, by tenant, detector and rule, in this order. Rules without are left out.
    ///
    /// # Errors
    /// The store cannot be read.
    fn feedback_counts(&self, tenant: Option<&Tenant>) -> Result<Vec<FeedbackCount>, MetastoreError>;

    /// Deletes at most `limit` `RESOLVED` alerts touched before this time; returns how many. Their feedback stays.
    ///
    /// # Errors
    /// Nothing was deleted.
    fn delete_resolved(&self, before: Timestamp, limit: usize) -> Result<usize, MetastoreError>;
}

// ---- tokens ---------------------------------------------------------------------------------------------------

/// A token as stored: never the secret, only its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Public half of the token.
    pub id: String,
    /// Name given by whoever issued it.
    pub name: String,
    /// The one tenant it speaks for; none when it may choose.
    pub tenant: Option<Tenant>,
    /// Scope names, separated by commas.
    pub scopes: String,
    /// SHA-256 of the secret half.
    pub secret_hash: [u8; 32],
    /// Issued at.
    pub created_at: Timestamp,
    /// Principal that issued it.
    pub created_by: String,
    /// No longer valid from this time on.
    pub expires_at: Option<Timestamp>,
    /// Latest use known.
    pub last_used_at: Option<Timestamp>,
    /// Revoked at.
    pub revoked_at: Option<Timestamp>,
}

/// Tokens.
pub trait TokenStore: Send + Sync {
    /// Stores a new token.
    ///
    /// # Errors
    /// [`MetastoreError::Conflict`] when the id is in use.
    fn insert(&self, token: &TokenRow) -> Result<(), MetastoreError>;

    /// Returns every token, revoked ones too, in order of issue.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list(&self) -> Result<Vec<TokenRow>, MetastoreError>;

    /// Marks a token revoked; the first time stays when it already was. Returns false when there is no such token.
    ///
    /// # Errors
    /// The token is not revoked.
    fn revoke(&self, id: &str, at: Timestamp) -> Result<bool, MetastoreError>;

    /// Notes the latest use of these tokens, in one transaction; unknown ids are ignored, a time never moves back.
    ///
    /// # Errors
    /// Nothing was noted.
    fn note_used(&self, uses: &[(String, Timestamp)]) -> Result<(), MetastoreError>;
}

// ---- audit ----------------------------------------------------------------------------------------------------

/// One line of the audit trail as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Number in the trail, dense from 1.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Tenant concerned, when one is.
    pub tenant: Option<Tenant>,
    /// Who did it.
    pub principal: String,
    /// What was done.
    pub action: String,
    /// The whole event as JSON, kept byte for byte because the hash covers it.
    pub document: String,
    /// Hash of the line before, hex.
    pub prev_hash: String,
    /// Hash of this line, hex.
    pub hash: String,
}

/// Which audit lines to list; an absent part lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Tenant concerned.
    pub tenant: Option<Tenant>,
    /// Who did it.
    pub principal: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// At this time or later.
    pub since: Option<Timestamp>,
}

/// The audit trail: append and read, nothing else.
pub trait AuditStore: Send + Sync {
    /// Appends a line.
    ///
    /// # Errors
    /// [`MetastoreError::Conflict`] when `seq` does not follow the last one.
    fn append(&self, row: &AuditRow) -> Result<(), MetastoreError>;

    /// Returns the last line.
    ///
    /// # Errors
    /// The store cannot be read.
    fn last(&self) -> Result<Option<AuditRow>, MetastoreError>;

    /// Returns at most `limit` lines (see [`PAGE_ROWS_MAX`]) numbered below `before`, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditRow>, MetastoreError>;
}

// ---- documents ------------------------------------------------------------------------------------------------

/// A record kept whole, with the few columns that lists need. Its kind names the area, and who owns it owns the body's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Unique within its kind.
    pub id: String,
    /// Owner.
    pub tenant: Tenant,
    /// What lists are ordered by.
    pub at: Timestamp,
    /// Where in its life, in the words of its kind; may be empty.
    pub state: String,
    /// A second name it is found by, such as a fingerprint; may be empty.
    pub key: String,
    /// The whole record, as JSON.
    pub body: String,
}

/// Which documents to list; an absent or empty part lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentFilter {
    /// Owner.
    pub tenant: Option<Tenant>,
    /// Any of these states.
    pub states: Vec<String>,
    /// Exactly this key.
    pub key: Option<String>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// Place in a list of documents: everything after it is older. Its text form is opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentCursor {
    /// Of the last document seen.
    pub at: Timestamp,
    /// Of the last document seen.
    pub id: String,
}

impl fmt::Display for DocumentCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.at.0, self.id)
    }
}

impl FromStr for DocumentCursor {
    type Err = CursorError;
    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (at, id) = text.split_once('_').ok_or(CursorError)?;
        Ok(DocumentCursor { at: Timestamp(at.parse().map_err(|_| CursorError)?), id: id.to_owned() })
    }
}

/// Documents. Absent things are `None` or left out, never errors.
pub trait DocumentStore: Send + Sync {
    /// Stores a new document.
    ///
    /// # Errors
    /// [`MetastoreError::Conflict`] when the kind has one with this id; nothing is written.
    fn insert(&self, kind: &str, document: &Document) -> Result<(), MetastoreError>;

    /// Inserts or replaces these documents by id, all in one transaction.
    ///
    /// # Errors
    /// Nothing is written.
    fn put(&self, kind: &str, documents: &[Document]) -> Result<(), MetastoreError>;

    /// Returns the document with this id.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, MetastoreError>;

    /// Returns at most `limit` documents (see [`PAGE_ROWS_MAX`]) older than the cursor, newest first by `(at, id)`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list(
        &self,
        kind: &str,
        filter: &DocumentFilter,
        after: Option<&DocumentCursor>,
        limit: usize,
    ) -> Result<Vec<Document>, MetastoreError>;

    /// Counts the documents of one tenant, or of all, by state, in its order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn counts(&self, kind: &str, tenant: Option<&Tenant>) -> Result<Vec<(String, u64)>, MetastoreError>;

    /// Deletes a document; returns false when there is none.
    ///
    /// # Errors
    /// Nothing was deleted.
    fn delete(&self, kind: &str, id: &str) -> Result<bool, MetastoreError>;

    /// Deletes at most `limit` documents in one of these states (in any, when empty) from before this time; returns how many.
    ///
    /// # Errors
    /// Nothing was deleted.
    fn delete_before(
        &self,
        kind: &str,
        states: &[&str],
        before: Timestamp,
        limit: usize,
    ) -> Result<usize, MetastoreError>;
}
