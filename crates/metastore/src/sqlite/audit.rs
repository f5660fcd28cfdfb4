//! The audit trail in SQLite.

use heimdall_model::{Tenant, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use super::{SqliteMetastore, checked, page_limit, rows};
use crate::port::{AuditFilter, AuditRow, AuditStore, MetastoreError};

impl AuditStore for SqliteMetastore {
    fn append(&self, row: &AuditRow) -> Result<(), MetastoreError> {
        let sql = "INSERT INTO audit (seq, at, tenant, principal, action, document, prev_hash, hash)
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE ?1 = (SELECT coalesce(max(seq), 0) + 1 FROM audit)";
        self.write(|transaction| {
            let appended = transaction.prepare_cached(sql)?.execute(params![
                seq_value(row.seq),
                row.at.0,
                row.tenant.as_ref().map(Tenant::as_str),
                row.principal,
                row.action,
                row.document,
                row.prev_hash,
                row.hash,
            ])?;
            if appended == 1 {
                Ok(())
            } else {
                Err(MetastoreError::Conflict {
                    detail: format!("audit line {} does not follow the last one", row.seq),
                })
            }
        })
    }

    fn last(&self) -> Result<Option<AuditRow>, MetastoreError> {
        Ok(AuditStore::list(self, &AuditFilter::default(), None, 1)?.pop())
    }

    fn list(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditRow>, MetastoreError> {
        let (sql, values) = list_query(filter, before, limit);
        self.read(|connection| rows(connection, &sql, params_from_iter(values), read_line))
    }
}

fn list_query(filter: &AuditFilter, before: Option<u64>, limit: usize) -> (String, Vec<Value>) {
    let text = |text: &str| Value::Text(text.to_owned());
    let clauses = [
        (" AND tenant = ?", filter.tenant.as_ref().map(|tenant| text(tenant.as_str()))),
        (" AND principal = ?", filter.principal.as_deref().map(text)),
        (" AND action = ?", filter.action.as_deref().map(text)),
        (" AND at >= ?", filter.since.map(|since| Value::Integer(since.0))),
        (" AND seq < ?", before.map(|seq| Value::Integer(seq_value(seq)))),
        (" ORDER BY seq DESC LIMIT ?", Some(Value::Integer(page_limit(limit)))),
    ];
    let mut sql = String::from(
        "SELECT seq, at, tenant, principal, action, document, prev_hash, hash FROM audit WHERE 1",
    );
    let mut values = Vec::with_capacity(clauses.len());
    for (clause, value) in clauses {
        if let Some(value) = value {
            sql.push_str(clause);
            values.push(value);
        }
    }
    (sql, values)
}

/// Sequence numbers stay far below 2^63; a caller's larger one means "from the end".
fn seq_value(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn read_line(row: &Row<'_>) -> Result<AuditRow, MetastoreError> {
    let seq = row.get::<_, i64>(0)?.unsigned_abs();
    let tenant: Option<String> = row.get(2)?;
    let tenant = tenant
        .map(|name| checked("audit", &seq.to_string(), &name, |text| Tenant::new(text).ok()))
        .transpose()?;
    Ok(AuditRow {
        seq,
        at: Timestamp(row.get(1)?),
        tenant,
        principal: row.get(3)?,
        action: row.get(4)?,
        document: row.get(5)?,
        prev_hash: row.get(6)?,
        hash: row.get(7)?,
    })
}
