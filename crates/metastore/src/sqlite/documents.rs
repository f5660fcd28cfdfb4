//! Documents in SQLite: one table for all kinds.

use heimdall_model::{Tenant, Timestamp};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, Transaction, params, params_from_iter};

use super::{SqliteMetastore, checked, page_limit, rows};
use crate::port::{Document, DocumentCursor, DocumentFilter, DocumentStore, MetastoreError};

const COLUMNS: &str = "id, tenant, at, state, key, body";
const INSERT: &str =
    "INSERT INTO documents (kind, id, tenant, at, state, key, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const OR_REPLACE: &str = " ON CONFLICT (kind, id) DO UPDATE SET tenant = excluded.tenant, at = excluded.at,
    state = excluded.state, key = excluded.key, body = excluded.body";

impl DocumentStore for SqliteMetastore {
    fn insert(&self, kind: &str, document: &Document) -> Result<(), MetastoreError> {
        self.write(|transaction| execute(transaction, INSERT, kind, document))
    }

    fn put(&self, kind: &str, documents: &[Document]) -> Result<(), MetastoreError> {
        let sql = format!("{INSERT}{OR_REPLACE}");
        self.write(|transaction| {
            documents.iter().try_for_each(|document| execute(transaction, &sql, kind, document))
        })
    }

    fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, MetastoreError> {
        let sql = format!("SELECT {COLUMNS} FROM documents WHERE kind = ?1 AND id = ?2");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_row([kind, id], |row| Ok(read(kind, row))).optional()?.transpose()
        })
    }

    fn list(
        &self,
        kind: &str,
        filter: &DocumentFilter,
        after: Option<&DocumentCursor>,
        limit: usize,
    ) -> Result<Vec<Document>, MetastoreError> {
        let (sql, values) = list_query(kind, filter, after, limit);
        self.read(|connection| rows(connection, &sql, params_from_iter(values), |row| read(kind, row)))
    }

    fn counts(&self, kind: &str, tenant: Option<&Tenant>) -> Result<Vec<(String, u64)>, MetastoreError> {
        let sql = "SELECT state, count(*) FROM documents WHERE kind = ?1 AND (?2 IS NULL OR tenant = ?2)
                   GROUP BY state ORDER BY state";
        self.read(|connection| {
            rows(connection, sql, params![kind, tenant.map(Tenant::as_str)], |row| {
                let count: i64 = row.get(1)?;
                Ok((row.get(0)?, u64::try_from(count).unwrap_or(0)))
            })
        })
    }

    fn delete(&self, kind: &str, id: &str) -> Result<bool, MetastoreError> {
        let sql = "DELETE FROM documents WHERE kind = ?1 AND id = ?2";
        self.write(|transaction| Ok(transaction.prepare_cached(sql)?.execute([kind, id])? == 1))
    }

    fn delete_before(
        &self,
        kind: &str,
        states: &[&str],
        before: Timestamp,
        limit: usize,
    ) -> Result<usize, MetastoreError> {
        let mut values = vec![text(kind), Value::Integer(before.0)];
        let states = any_of("state", states, &mut values);
        values.push(Value::Integer(page_limit(limit)));
        let sql = format!(
            "DELETE FROM documents WHERE kind = ?1 AND id IN
             (SELECT id FROM documents WHERE kind = ?1 AND at < ?2{states} ORDER BY at LIMIT ?)"
        );
        self.write(|transaction| Ok(transaction.prepare_cached(&sql)?.execute(params_from_iter(values))?))
    }
}

fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    kind: &str,
    document: &Document,
) -> Result<(), MetastoreError> {
    let Document { id, tenant, at, state, key, body } = document;
    transaction.prepare_cached(sql)?.execute(params![kind, id, tenant.as_str(), at.0, state, key, body])?;
    Ok(())
}

fn list_query(
    kind: &str,
    filter: &DocumentFilter,
    after: Option<&DocumentCursor>,
    limit: usize,
) -> (String, Vec<Value>) {
    let mut sql = format!("SELECT {COLUMNS} FROM documents WHERE kind = ?");
    let mut values = vec![text(kind)];
    let states: Vec<&str> = filter.states.iter().map(String::as_str).collect();
    sql.push_str(&any_of("state", &states, &mut values));
    let mut and = |clause: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(clause);
            values.push(value);
        }
    };
    and(" AND tenant = ?", filter.tenant.as_ref().map(|tenant| text(tenant.as_str())));
    and(" AND key = ? AND key <> ''", filter.key.as_deref().map(text));
    and(" AND at >= ?", filter.since.map(|since| Value::Integer(since.0)));
    and(" AND at < ?", filter.until.map(|until| Value::Integer(until.0)));
    and(" AND (at, id) < (?", after.map(|after| Value::Integer(after.at.0)));
    and(", ?)", after.map(|after| text(&after.id)));
    and(" ORDER BY at DESC, id DESC LIMIT ?", Some(Value::Integer(page_limit(limit))));
    (sql, values)
}

/// ` AND column IN (?, …)` for these values; nothing when there are none.
fn any_of(column: &str, wanted: &[&str], values: &mut Vec<Value>) -> String {
    if wanted.is_empty() {
        return String::new();
    }
    values.extend(wanted.iter().map(|wanted| text(wanted)));
    format!(" AND {column} IN ({})", vec!["?"; wanted.len()].join(", "))
}

fn read(kind: &str, row: &Row<'_>) -> Result<Document, MetastoreError> {
    let (id, tenant): (String, String) = (row.get(0)?, row.get(1)?);
    let tenant = checked("document", &format!("{kind} {id}"), &tenant, |text| Tenant::new(text).ok())?;
    Ok(Document {
        id,
        tenant,
        at: Timestamp(row.get(2)?),
        state: row.get(3)?,
        key: row.get(4)?,
        body: row.get(5)?,
    })
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
