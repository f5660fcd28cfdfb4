//! Control-plane records that must survive a restart: alerts, access tokens, the audit trail, and
//! documents of other areas (incidents, silences, action runs).
//!
//! - [`port`]: what the rest of Heimdall needs, in domain types
//! - [`sqlite`]: the embedded implementation
//! - `conformance` (feature `testing`): the suite every implementation passes
//!
//! Every call blocks on disk; async code calls it from a blocking thread. Format: docs/formats/metastore.md.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod port;
pub mod sqlite;

pub use port::{
    AlertCount, AlertCursor, AlertFilter, AlertRow, AlertSort, AlertStore, AuditFilter, AuditRow, AuditStore,
    CursorError, Document, DocumentCursor, DocumentFilter, DocumentStore, FeedbackCount, Metastore,
    MetastoreError, PAGE_ROWS_MAX, TokenRow, TokenStore,
};
pub use sqlite::{SqliteMetastore, open};
