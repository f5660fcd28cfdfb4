//! The embedded metastore: one SQLite file in WAL mode.
//!
//! Invariants:
//! - one writer connection, behind a mutex; readers have their own connections and never wait for it;
//! - `synchronous=FULL`: a commit is on disk when it returns;
//! - the schema is brought to [`SCHEMA_VERSION`] at open, one transaction per step; a newer one is refused untouched.
//!
//! Not here: keeping a second process out (the data directory has one owner, see the binary).

mod alerts;
mod audit;
mod documents;
mod tokens;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior};

use crate::port::{
    AlertStore, AuditStore, DocumentStore, Metastore, MetastoreError, PAGE_ROWS_MAX, TokenStore,
};

/// Steps of the schema, in order; step `n` leads to version `n`. Released steps are never edited.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/0001_alerts_tokens_audit.sql"),
    include_str!("../migrations/0002_feedback.sql"),
    include_str!("../migrations/0003_documents.sql"),
];
/// Schema version this release writes.
#[expect(clippy::cast_possible_truncation, reason = "a handful of migrations")]
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Read connections; a read beyond them waits for one.
const READERS: usize = 4;
/// How long a connection waits for a lock of another before it fails.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Page cache of one connection (KiB).
const CACHE_KIB: i64 = 8 * 1024;
/// The WAL file is cut back to this after a checkpoint (bytes).
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;
/// Prepared statements kept per connection.
const STATEMENTS_KEPT: usize = 64;

/// The metastore in one SQLite file.
pub struct SqliteMetastore {
    writer: Mutex<Connection>,
    readers: [Mutex<Connection>; READERS],
    next_reader: AtomicUsize,
}

/// Opens or creates the metastore at `path` and brings its schema up to date. A new file is readable by its owner only.
///
/// # Errors
/// [`MetastoreError::Open`], [`MetastoreError::NewerSchema`] or [`MetastoreError::Migration`].
pub fn open(path: &Path) -> Result<SqliteMetastore, MetastoreError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| MetastoreError::Open {
        path: path.to_owned(),
        source,
    };
    create_private(path).map_err(|error| failed(error.into()))?;
    let mut writer = connect(path).map_err(|error| failed(error.into()))?;
    migrate(&mut writer)?;
    let mut readers = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        let reader = connect(path).map_err(|error| failed(error.into()))?;
        reader.pragma_update(None, "query_only", true).map_err(|error| failed(error.into()))?;
        readers.push(Mutex::new(reader));
    }
    Ok(SqliteMetastore {
        writer: Mutex::new(writer),
        readers: readers.try_into().map_err(|_| failed("wrong number of readers".into()))?,
        next_reader: AtomicUsize::new(0),
    })
}

/// Creates the file when absent, with mode 0600; SQLite gives its side files the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), MetastoreError> {
    let found = schema_version(connection)?;
    if found > SCHEMA_VERSION {
        return Err(MetastoreError::NewerSchema { found, supported: SCHEMA_VERSION });
    }
    for (version, step) in (1_u32..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        run_step(connection, version, step)
            .map_err(|error| MetastoreError::Migration { version, source: error.into() })?;
        tracing::info!(version, "metastore schema migrated");
    }
    Ok(())
}

fn schema_version(connection: &Connection) -> Result<u32, MetastoreError> {
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT")?;
    Ok(connection.query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))?)
}

fn run_step(connection: &mut Connection, version: u32, step: &str) -> rusqlite::Result<()> {
    let step_transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    step_transaction.execute_batch(step)?;
    step_transaction.execute("INSERT INTO schema_version (version) VALUES (?1)", [version])?;
    step_transaction.commit()
}

impl SqliteMetastore {
    /// Runs `work` in one transaction; it is durable when this returns `Ok`, and leaves no trace otherwise.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, MetastoreError>,
    ) -> Result<T, MetastoreError> {
        let mut connection = self.writer.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Runs `work` on a free read connection.
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, MetastoreError>,
    ) -> Result<T, MetastoreError> {
        if let Some(free) = self.readers.iter().find_map(Mutex::try_lock) {
            return work(&free);
        }
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % READERS;
        work(&self.readers[turn].lock())
    }
}

impl Metastore for SqliteMetastore {
    fn alerts(&self) -> &dyn AlertStore {
        self
    }
    fn tokens(&self) -> &dyn TokenStore {
        self
    }
    fn audit(&self) -> &dyn AuditStore {
        self
    }
    fn documents(&self) -> &dyn DocumentStore {
        self
    }
}

impl From<rusqlite::Error> for MetastoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => MetastoreError::Conflict { detail: error.to_string() },
            Some(ErrorCode::DiskFull) => MetastoreError::Full,
            _ => MetastoreError::Backend { source: error.into() },
        }
    }
}

/// A limit as SQL takes it, at most [`PAGE_ROWS_MAX`].
fn page_limit(limit: usize) -> i64 {
    i64::try_from(limit.min(PAGE_ROWS_MAX)).unwrap_or(i64::MAX)
}

/// A column that holds text of a closed or checked form; `read` says `None` when it is not one.
fn checked<T>(
    area: &'static str,
    key: &str,
    text: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, MetastoreError> {
    read(text).ok_or_else(|| MetastoreError::Corrupt {
        area,
        key: key.to_owned(),
        detail: format!("unexpected `{text}`"),
    })
}

/// Every row of a query, each read by `read`.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, MetastoreError>,
) -> Result<Vec<T>, MetastoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::conformance;

    #[test]
    fn sqlite_keeps_the_promises_of_the_port() {
        let dir = tempfile::tempdir().unwrap();
        let made = std::cell::Cell::new(0);
        conformance(|| {
            made.set(made.get() + 1);
            Box::new(open(&dir.path().join(format!("{}.db", made.get()))).unwrap())
        });
    }

    #[test]
    fn a_newer_schema_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.db");
        let store = open(&path).unwrap();
        store.writer.lock().execute("INSERT INTO schema_version (version) VALUES (99)", []).unwrap();
        drop(store);
        let error = open(&path).err().unwrap().to_string();
        assert!(
            error.contains("version 99") && error.contains(&format!("up to {SCHEMA_VERSION}")),
            "{error}"
        );
    }

    #[test]
    fn records_survive_reopening_and_the_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.db");
        let row = crate::conformance::alert(1, "fp", heimdall_model::Status::Open, 5);
        open(&path).unwrap().alerts().put(std::slice::from_ref(&row)).unwrap();
        assert_eq!(open(&path).unwrap().alerts().get(row.alert.id).unwrap(), Some(row));
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_broken_document_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("meta.db")).unwrap();
        let row = crate::conformance::alert(1, "fp", heimdall_model::Status::Open, 5);
        store.alerts().put(std::slice::from_ref(&row)).unwrap();
        store.writer.lock().execute("UPDATE alerts SET document = '{'", []).unwrap();
        let error = store.alerts().get(row.alert.id).unwrap_err().to_string();
        assert!(error.contains(&row.alert.id.to_string()), "{error}");
    }

    /// Run by hand: `cargo test -p heimdall-metastore --release -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement: 100,000 alerts"]
    fn listing_100_000_alerts() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("meta.db")).unwrap();
        let all: Vec<_> = (0..100_000_u32)
            .map(|n| {
                crate::conformance::alert(
                    n.into(),
                    &format!("fp{n}"),
                    heimdall_model::Status::Open,
                    i64::from(n),
                )
            })
            .collect();
        let start = std::time::Instant::now();
        for chunk in all.chunks(1_000) {
            store.alerts().put(chunk).unwrap();
        }
        println!("put 100,000: {:?}", start.elapsed());
        let tenant = Some(heimdall_model::Tenant::default());
        let every = crate::AlertFilter { tenant: tenant.clone(), ..Default::default() };
        let with = |change: &dyn Fn(&mut crate::AlertFilter)| {
            let mut filter = every.clone();
            change(&mut filter);
            filter
        };
        let live = vec![heimdall_model::Status::Open];
        let filters = [
            ("all", every.clone()),
            ("a rare rule", with(&|f| f.rule = Some("rule-0".to_owned()))),
            ("no such rule", with(&|f| f.rule = Some("x".to_owned()))),
            ("open", with(&|f| f.statuses = live.clone())),
            ("no such status", with(&|f| f.statuses = vec![heimdall_model::Status::Suppressed])),
            ("no such severity", with(&|f| f.severity = Some(heimdall_model::Severity::Normal))),
            ("no such service", with(&|f| f.service = Some("x".to_owned()))),
            ("an entity", with(&|f| f.entity = Some(heimdall_model::Entity::new("source_ip", "10.0.0.7")))),
            ("no such entity", with(&|f| f.entity = Some(heimdall_model::Entity::new("source_ip", "x")))),
            ("no such priority", with(&|f| f.priority = Some(heimdall_model::Priority::P3))),
            ("muted (none)", with(&|f| f.is_muted = Some(true))),
            ("no such assignee", with(&|f| f.assignee = Some("x".to_owned()))),
            ("assigned to nobody", with(&|f| f.assignee = Some(String::new()))),
            ("no such incident", with(&|f| f.incident = Some(heimdall_model::AlertId::from_u64_pair(1, 2)))),
            ("a label", with(&|f| f.labels = vec!["alertname=rule-7".parse().unwrap()])),
            ("no such label", with(&|f| f.labels = vec!["service=x".parse().unwrap()])),
            ("a pattern", with(&|f| f.labels = vec!["service=~SERVICE-[7-9]".parse().unwrap()])),
            ("text", with(&|f| f.text = Some("rule-99".to_owned()))),
            ("no such text", with(&|f| f.text = Some("nowhere to be found".to_owned()))),
            ("worst first", with(&|f| f.sort = crate::AlertSort::Worst)),
            ("seen last first", with(&|f| f.sort = crate::AlertSort::LastSeen)),
            (
                "text, worst first",
                with(&|f| (f.sort, f.text) = (crate::AlertSort::Worst, Some("logins".to_owned()))),
            ),
            ("all tenants, open", crate::AlertFilter { statuses: live.clone(), ..Default::default() }),
        ];
        for (name, filter) in filters {
            let start = std::time::Instant::now();
            let found = store.alerts().list(&filter, None, 100).unwrap().len();
            println!("list {name}: {found} in {:?}", start.elapsed());
        }
        let start = std::time::Instant::now();
        store.alerts().counts(tenant.as_ref()).unwrap();
        println!("counts: {:?}", start.elapsed());
    }
}
