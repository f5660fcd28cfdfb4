//! The audit trail: who did what to what, with which outcome.
//!
//! Invariants:
//! - lines are appended in order, each with the hash of the one before, so that a changed, removed or inserted line shows;
//! - no line holds a secret: tokens in free text are cut to their id.
//!
//! `hash = hex(SHA-256(prev_hash "\n" seq "\n" document))`; the first `prev_hash` is 64 zeros. Format: docs/formats/metastore.md.

use std::net::IpAddr;
use std::sync::Arc;

use heimdall_metastore::{AuditFilter, AuditRow, Metastore, MetastoreError, PAGE_ROWS_MAX};
use heimdall_model::{Clock, Tenant, Timestamp};
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::hex;
use crate::principal::Principal;
use crate::token::redact;

/// Longest target and longest detail of a line (characters); the rest is cut.
pub const TEXT_CHARS_MAX: usize = 1_000;

const FIRST_PREV_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Done,
    /// Not allowed.
    Denied,
    /// Tried and failed.
    Failed,
}

/// Something to be written down.
#[derive(Debug, Clone)]
pub struct NewAuditEvent<'a> {
    /// Who did it.
    pub principal: &'a Principal,
    /// Tenant concerned, when one is.
    pub tenant: Option<Tenant>,
    /// What was done, such as `alert.acknowledge` or `token.revoke`.
    pub action: &'a str,
    /// To what, such as an id.
    pub target: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// More, in words.
    pub detail: Option<&'a str>,
    /// Where the request came from.
    pub source_ip: Option<IpAddr>,
}

/// Something that was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub principal: String,
    /// Tenant concerned, when one is.
    pub tenant: Option<Tenant>,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// How it ended.
    pub outcome: Outcome,
    /// More, in words.
    pub detail: Option<String>,
    /// Where the request came from.
    pub source_ip: Option<IpAddr>,
}

/// A line of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Number in the trail, dense from 1.
    pub seq: u64,
    /// What it says.
    #[serde(flatten)]
    pub event: AuditEvent,
    /// Hash of the line before.
    pub prev_hash: String,
    /// Hash of this line.
    pub hash: String,
}

/// Some lines, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditPage {
    /// The lines.
    pub items: Vec<AuditEntry>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<u64>,
}

/// Why the trail could not be written, read or verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The chain does not hold at this line: it, or one next to it, was changed, removed or inserted.
    #[error("the audit trail is broken at line {seq}")]
    Broken {
        /// The line.
        seq: u64,
    },
    /// A stored line is not readable.
    #[error("audit line {seq} is not readable")]
    Unreadable {
        /// The line.
        seq: u64,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The event cannot be written as JSON.
    #[error("the audit event cannot be written as JSON")]
    Unwritable(#[source] serde_json::Error),
    /// The metastore failed; nothing was written.
    #[error(transparent)]
    Store(#[from] MetastoreError),
}

/// The end of the chain.
struct Tip {
    seq: u64,
    hash: String,
}

/// The audit trail of this server.
pub struct Audit {
    store: Arc<dyn Metastore>,
    clock: Arc<dyn Clock>,
    tip: Mutex<Tip>,
}

impl Audit {
    /// Opens the trail at its end.
    ///
    /// # Errors
    /// [`AuditError::Store`].
    pub fn open(store: Arc<dyn Metastore>, clock: Arc<dyn Clock>) -> Result<Audit, AuditError> {
        let tip = match store.audit().last()? {
            Some(row) => Tip { seq: row.seq, hash: row.hash },
            None => Tip { seq: 0, hash: FIRST_PREV_HASH.to_owned() },
        };
        Ok(Audit { store, clock, tip: Mutex::new(tip) })
    }

    /// Appends a line; it is durable when this returns. Blocks on disk.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn append(&self, new: &NewAuditEvent<'_>) -> Result<AuditEntry, AuditError> {
        let mut tip = self.tip.lock();
        let event = event(new, self.clock.now());
        let document = serde_json::to_string(&event).map_err(AuditError::Unwritable)?;
        let seq = tip.seq + 1;
        let row = AuditRow {
            seq,
            at: event.at,
            tenant: event.tenant.clone(),
            principal: event.principal.clone(),
            action: event.action.clone(),
            hash: chain_hash(&tip.hash, seq, &document),
            prev_hash: tip.hash.clone(),
            document,
        };
        self.store.audit().append(&row)?;
        *tip = Tip { seq, hash: row.hash.clone() };
        Ok(AuditEntry { seq, event, prev_hash: row.prev_hash, hash: row.hash })
    }

    /// Returns at most `limit` lines numbered below `before` (from the end when absent), newest first.
    ///
    /// # Errors
    /// [`AuditError::Store`] or [`AuditError::Unreadable`].
    pub fn list(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<AuditPage, AuditError> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let rows = self.store.audit().list(filter, before, limit)?;
        let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.seq);
        Ok(AuditPage { items: rows.into_iter().map(entry).collect::<Result<_, _>>()?, next })
    }

    /// Verifies the whole chain, back from its end; returns the number of lines. Cost: reads all of it.
    ///
    /// # Errors
    /// [`AuditError::Broken`] names the newest line that does not fit.
    pub fn verify(&self) -> Result<u64, AuditError> {
        let (mut seq, mut expected) = {
            let tip = self.tip.lock();
            (tip.seq, tip.hash.clone())
        };
        let lines = seq;
        while seq > 0 {
            let rows = self.store.audit().list(&AuditFilter::default(), Some(seq + 1), PAGE_ROWS_MAX)?;
            if rows.is_empty() {
                return Err(AuditError::Broken { seq });
            }
            for row in rows {
                let holds = row.seq == seq
                    && row.hash == expected
                    && chain_hash(&row.prev_hash, row.seq, &row.document) == row.hash;
                if !holds {
                    return Err(AuditError::Broken { seq });
                }
                (seq, expected) = (seq - 1, row.prev_hash);
            }
        }
        if expected == FIRST_PREV_HASH { Ok(lines) } else { Err(AuditError::Broken { seq: 1 }) }
    }
}

fn event(new: &NewAuditEvent<'_>, at: Timestamp) -> AuditEvent {
    AuditEvent {
        at,
        principal: new.principal.name.clone(),
        tenant: new.tenant.clone(),
        action: new.action.to_owned(),
        target: safe_text(new.target),
        outcome: new.outcome,
        detail: new.detail.map(safe_text),
        source_ip: new.source_ip,
    }
}

fn entry(row: AuditRow) -> Result<AuditEntry, AuditError> {
    let event = serde_json::from_str(&row.document)
        .map_err(|source| AuditError::Unreadable { seq: row.seq, source })?;
    Ok(AuditEntry { seq: row.seq, event, prev_hash: row.prev_hash, hash: row.hash })
}

fn safe_text(text: &str) -> String {
    redact(text).chars().take(TEXT_CHARS_MAX).collect()
}

fn chain_hash(prev_hash: &str, seq: u64, document: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(format!("{prev_hash}\n{seq}\n").as_bytes());
    context.update(document.as_bytes());
    hex::encode(context.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::Bench;

    fn acknowledge(target: &str) -> NewAuditEvent<'_> {
        static LOOPBACK: std::sync::LazyLock<Principal> = std::sync::LazyLock::new(Principal::loopback);
        NewAuditEvent {
            principal: &LOOPBACK,
            tenant: Some(Tenant::default()),
            action: "alert.acknowledge",
            target,
            outcome: Outcome::Done,
            detail: Some("seen with hmd_0123456789abcdef_secret"),
            source_ip: Some("127.0.0.1".parse().unwrap()),
        }
    }

    #[test]
    fn the_chain_goes_on_after_a_restart_and_pages_back() {
        let bench = Bench::new();
        let open = || Audit::open(bench.store.clone(), bench.clock.clone()).unwrap();
        assert_eq!(open().verify().unwrap(), 0);
        let first = open().append(&acknowledge("a")).unwrap();
        let second = open().append(&acknowledge("b")).unwrap();
        assert_eq!(second.prev_hash, first.hash);
        assert_eq!(second.event.detail.as_deref(), Some("seen with hmd_0123456789abcdef_…"));
        assert_eq!(open().verify().unwrap(), 2);
        let page = open().list(&AuditFilter::default(), None, 1).unwrap();
        assert_eq!((page.items, page.next), (vec![second], Some(2)));
        assert_eq!(open().list(&AuditFilter::default(), Some(2), 9).unwrap().items, vec![first]);
    }

    /// A trail whose rows can be tampered with.
    fn broken_at(tamper: impl Fn(&mut AuditRow)) -> String {
        let (real, copy) = (Bench::new(), Bench::new());
        let audit = Audit::open(real.store.clone(), real.clock.clone()).unwrap();
        for target in ["a", "b", "c"] {
            audit.append(&acknowledge(target)).unwrap();
        }
        let mut rows = real.store.audit().list(&AuditFilter::default(), None, 9).unwrap();
        rows.reverse();
        for mut row in rows {
            tamper(&mut row);
            copy.store.audit().append(&row).unwrap();
        }
        let audit = Audit::open(copy.store.clone(), copy.clock.clone()).unwrap();
        audit.verify().map_or_else(|error| error.to_string(), |lines| format!("{lines} lines hold"))
    }

    #[test]
    fn a_changed_line_shows() {
        assert_eq!(broken_at(|_| ()), "3 lines hold");
        let forge = |row: &mut AuditRow| row.document = row.document.replace("\"b\"", "\"x\"");
        assert_eq!(broken_at(forge), "the audit trail is broken at line 2");
        let rehash = |row: &mut AuditRow| {
            forge(row);
            row.hash = chain_hash(&row.prev_hash, row.seq, &row.document);
        };
        assert_eq!(broken_at(rehash), "the audit trail is broken at line 2");
    }
}
