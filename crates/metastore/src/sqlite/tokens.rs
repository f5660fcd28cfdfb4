//! Tokens in SQLite.

use heimdall_model::{Tenant, Timestamp};
use rusqlite::{Row, params};

use super::{SqliteMetastore, checked, rows};
use crate::port::{MetastoreError, TokenRow, TokenStore};

impl TokenStore for SqliteMetastore {
    fn insert(&self, token: &TokenRow) -> Result<(), MetastoreError> {
        let sql = "INSERT INTO tokens (id, name, tenant, scopes, secret_hash, created_at, created_by, expires_at, last_used_at,
                   revoked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        self.write(|transaction| {
            transaction.execute(
                sql,
                params![
                    token.id,
                    token.name,
                    token.tenant.as_ref().map(Tenant::as_str),
                    token.scopes,
                    token.secret_hash,
                    token.created_at.0,
                    token.created_by,
                    token.expires_at.map(|at| at.0),
                    token.last_used_at.map(|at| at.0),
                    token.revoked_at.map(|at| at.0),
                ],
            )?;
            Ok(())
        })
    }

    fn list(&self) -> Result<Vec<TokenRow>, MetastoreError> {
        let sql = "SELECT id, name, tenant, scopes, secret_hash, created_at, created_by, expires_at, last_used_at, revoked_at
                   FROM tokens ORDER BY created_at, rowid";
        self.read(|connection| rows(connection, sql, [], read_token))
    }

    fn revoke(&self, id: &str, at: Timestamp) -> Result<bool, MetastoreError> {
        let sql = "UPDATE tokens SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
        self.write(|transaction| Ok(transaction.execute(sql, params![id, at.0])? > 0))
    }

    fn note_used(&self, uses: &[(String, Timestamp)]) -> Result<(), MetastoreError> {
        let sql = "UPDATE tokens SET last_used_at = max(coalesce(last_used_at, ?2), ?2) WHERE id = ?1";
        self.write(|transaction| {
            for (id, at) in uses {
                transaction.prepare_cached(sql)?.execute(params![id, at.0])?;
            }
            Ok(())
        })
    }
}

fn read_token(row: &Row<'_>) -> Result<TokenRow, MetastoreError> {
    let id: String = row.get(0)?;
    let tenant: Option<String> = row.get(2)?;
    let tenant =
        tenant.map(|name| checked("token", &id, &name, |text| Tenant::new(text).ok())).transpose()?;
    Ok(TokenRow {
        name: row.get(1)?,
        tenant,
        scopes: row.get(3)?,
        secret_hash: row.get(4)?,
        created_at: Timestamp(row.get(5)?),
        created_by: row.get(6)?,
        expires_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
        last_used_at: row.get::<_, Option<i64>>(8)?.map(Timestamp),
        revoked_at: row.get::<_, Option<i64>>(9)?.map(Timestamp),
        id,
    })
}
