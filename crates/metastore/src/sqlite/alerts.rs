//! Alerts in SQLite: the document as JSON beside the columns that lists and uniqueness need.

use std::sync::Arc;

use heimdall_model::{Alert, AlertId, FeedbackVerdict, Judged, Severity, Status, Tenant, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

use super::{SqliteMetastore, checked, page_limit, rows};
use crate::port::{
    AlertCount, AlertCursor, AlertFilter, AlertRow, AlertStore, FeedbackCount, MetastoreError,
};

const UPSERT: &str = "INSERT INTO alerts (id, tenant, fingerprint, status, severity, rule, service, entity_kind, entity_value,
        raised_at, last_seen, touched_at, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, severity = excluded.severity, service = excluded.service,
        last_seen = excluded.last_seen, touched_at = excluded.touched_at, document = excluded.document";

const UPSERT_FEEDBACK: &str =
    "INSERT INTO feedback (alert_id, tenant, detector, rule, verdict, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (alert_id) DO UPDATE SET verdict = excluded.verdict, at = excluded.at";

/// Which earlier alerts are similar, the closest first (`+status` as in [`list_query`]). Their parameters: time and id of the
/// alert, limit, tenant, fingerprint, rule, kind and value of the entity. Those of one rule and entity have its fingerprint.
const SIMILAR: [&str; 4] = [
    "fingerprint = ?5",
    "tenant = ?4 AND rule = ?6 AND entity_kind = ?7 AND entity_value <> ?8 AND +status = 'RESOLVED'",
    "tenant = ?4 AND rule = ?6 AND entity_kind = ?7 AND entity_value <> ?8 AND status <> 'RESOLVED'",
    "tenant = ?4 AND entity_kind = ?7 AND entity_value = ?8 AND rule <> ?6",
];

impl AlertStore for SqliteMetastore {
    fn put(&self, rows: &[AlertRow]) -> Result<(), MetastoreError> {
        let is_resolved = |row: &&AlertRow| row.alert.status == Status::Resolved;
        self.write(|transaction| {
            let resolved = rows.iter().filter(is_resolved);
            let live = rows.iter().filter(|row| !is_resolved(row));
            resolved.chain(live).try_for_each(|row| upsert(transaction, row))
        })
    }

    fn get(&self, id: AlertId) -> Result<Option<AlertRow>, MetastoreError> {
        self.one("SELECT id, document, touched_at FROM alerts WHERE id = ?1", &id.to_string())
    }

    fn latest(&self, fingerprint: &str) -> Result<Option<AlertRow>, MetastoreError> {
        self.one(
            "SELECT id, document, touched_at FROM alerts WHERE fingerprint = ?1
             ORDER BY status = 'RESOLVED', raised_at DESC LIMIT 1",
            fingerprint,
        )
    }

    fn list(
        &self,
        filter: &AlertFilter,
        after: Option<&AlertCursor>,
        limit: usize,
    ) -> Result<Vec<Alert>, MetastoreError> {
        let (sql, values) = list_query(filter, after, limit);
        self.read(|connection| rows(connection, &sql, params_from_iter(values), read_alert))
    }

    fn quiet(&self, before: Timestamp, limit: usize) -> Result<Vec<AlertId>, MetastoreError> {
        let sql = "SELECT id FROM alerts WHERE status IN ('OPEN', 'ACKNOWLEDGED') AND touched_at < ?1
                   ORDER BY touched_at LIMIT ?2";
        self.read(|connection| {
            rows(connection, sql, params![before.0, page_limit(limit)], |row| {
                let id: String = row.get(0)?;
                checked("alert", &id, &id, |text| AlertId::try_parse(text).ok())
            })
        })
    }

    fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<AlertCount>, MetastoreError> {
        let (sql, values) = match tenant {
            Some(tenant) => (
                "SELECT status, severity, count(*) FROM alerts WHERE tenant = ?1 GROUP BY 1, 2",
                vec![text_value(tenant.as_str())],
            ),
            None => ("SELECT status, severity, count(*) FROM alerts GROUP BY 1, 2", vec![]),
        };
        self.read(|connection| rows(connection, sql, params_from_iter(values), read_count))
    }

    fn similar(&self, alert: &Alert, limit: usize) -> Result<Vec<Alert>, MetastoreError> {
        self.read(|connection| {
            let mut found = Vec::new();
            for alike in SIMILAR {
                let wanted = limit.saturating_sub(found.len());
                if wanted > 0 {
                    found.extend(earlier(connection, alert, alike, wanted)?);
                }
            }
            Ok(found)
        })
    }

    fn feedback_counts(&self, tenant: Option<&Tenant>) -> Result<Vec<FeedbackCount>, MetastoreError> {
        let sql = "SELECT tenant, detector, rule, sum(verdict = ?1), sum(verdict = ?2) FROM feedback
                   WHERE ?3 IS NULL OR tenant = ?3 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
        let [right, wrong] = FeedbackVerdict::ALL.map(FeedbackVerdict::as_str);
        let tenant = tenant.map(Tenant::as_str);
        self.read(|connection| rows(connection, sql, params![right, wrong, tenant], read_feedback_count))
    }

    fn delete_resolved(&self, before: Timestamp, limit: usize) -> Result<usize, MetastoreError> {
        let sql = "DELETE FROM alerts WHERE rowid IN
                   (SELECT rowid FROM alerts WHERE status = 'RESOLVED' AND touched_at < ?1 LIMIT ?2)";
        self.write(|transaction| {
            Ok(transaction.prepare_cached(sql)?.execute(params![before.0, page_limit(limit)])?)
        })
    }
}

impl SqliteMetastore {
    fn one(&self, sql: &str, key: &str) -> Result<Option<AlertRow>, MetastoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let read = |row: &Row<'_>| Ok(read_alert(row).map(|alert| (alert, row.get(2))));
            let Some(found) = statement.query_row([key], read).optional()? else { return Ok(None) };
            let (alert, touched_at) = found?;
            Ok(Some(AlertRow { alert: Arc::new(alert), touched_at: Timestamp(touched_at?) }))
        })
    }
}

fn upsert(transaction: &Transaction<'_>, row: &AlertRow) -> Result<(), MetastoreError> {
    let alert = &row.alert;
    let document =
        serde_json::to_string(alert).map_err(|error| MetastoreError::Backend { source: error.into() })?;
    transaction.prepare_cached(UPSERT)?.execute(params![
        alert.id.to_string(),
        alert.tenant.as_str(),
        alert.fingerprint,
        alert.status.as_str(),
        alert.severity.as_str(),
        alert.rule,
        alert.service,
        alert.entity.kind,
        alert.entity.value,
        alert.raised_at.0,
        alert.last_seen.0,
        row.touched_at.0,
        document,
    ])?;
    if let Some(feedback) = &alert.feedback {
        transaction.prepare_cached(UPSERT_FEEDBACK)?.execute(params![
            alert.id.to_string(),
            alert.tenant.as_str(),
            alert.detector,
            alert.rule,
            feedback.verdict.as_str(),
            feedback.at.0,
        ])?;
    }
    Ok(())
}

/// At most `limit` alerts raised before this one that are alike in one way of [`SIMILAR`], newest first.
fn earlier(
    connection: &Connection,
    alert: &Alert,
    alike: &str,
    limit: usize,
) -> Result<Vec<Alert>, MetastoreError> {
    let sql = format!(
        "SELECT id, document FROM alerts WHERE {alike} AND (raised_at, id) < (?1, ?2)
         ORDER BY raised_at DESC, id DESC LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let values: [Value; 8] = [
        Value::Integer(alert.raised_at.0),
        text_value(&alert.id.to_string()),
        Value::Integer(page_limit(limit)),
        text_value(alert.tenant.as_str()),
        text_value(&alert.fingerprint),
        text_value(&alert.rule),
        text_value(&alert.entity.kind),
        text_value(&alert.entity.value),
    ];
    // A query takes as many parameters as the highest it names.
    let named = statement.parameter_count();
    let mut found = statement.query(params_from_iter(&values[..named]))?;
    let mut alerts = Vec::new();
    while let Some(row) = found.next()? {
        alerts.push(read_alert(row)?);
    }
    Ok(alerts)
}

/// The list query of a filter. `+status` keeps the planner on the index that is already in the order of the list.
fn list_query(filter: &AlertFilter, after: Option<&AlertCursor>, limit: usize) -> (String, Vec<Value>) {
    let mut sql = String::from("SELECT id, document FROM alerts WHERE 1");
    let mut values = Vec::new();
    let mut clause = |text: &str, with: &mut Vec<Value>| {
        sql.push_str(text);
        values.append(with);
    };
    if let Some(tenant) = &filter.tenant {
        clause(" AND tenant = ?", &mut vec![text_value(tenant.as_str())]);
    }
    if let Some(entity) = &filter.entity {
        let parts = [&entity.kind, &entity.value];
        clause(" AND entity_kind = ? AND entity_value = ?", &mut parts.map(|part| text_value(part)).to_vec());
    }
    if !filter.statuses.is_empty() {
        let marks = vec!["?"; filter.statuses.len()].join(", ");
        let mut names = filter.statuses.iter().map(|status| text_value(status.as_str())).collect();
        clause(&format!(" AND +status IN ({marks})"), &mut names);
    }
    if let Some(severity) = filter.severity {
        clause(" AND severity = ?", &mut vec![text_value(severity.as_str())]);
    }
    if let Some(rule) = &filter.rule {
        clause(" AND rule = ?", &mut vec![text_value(rule)]);
    }
    if let Some(service) = &filter.service {
        clause(" AND service = ?", &mut vec![text_value(service)]);
    }
    if let Some(since) = filter.since {
        clause(" AND raised_at >= ?", &mut vec![Value::Integer(since.0)]);
    }
    if let Some(cursor) = after {
        let place = [Value::Integer(cursor.raised_at.0), text_value(&cursor.id.to_string())];
        clause(" AND (raised_at, id) < (?, ?)", &mut place.to_vec());
    }
    clause(" ORDER BY raised_at DESC, id DESC LIMIT ?", &mut vec![Value::Integer(page_limit(limit))]);
    (sql, values)
}

fn text_value(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// An alert from the columns `id, document`.
fn read_alert(row: &Row<'_>) -> Result<Alert, MetastoreError> {
    let document = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
    serde_json::from_str(document).map_err(|error| MetastoreError::Corrupt {
        area: "alert",
        key: row.get(0).unwrap_or_default(),
        detail: error.to_string(),
    })
}

fn read_count(row: &Row<'_>) -> Result<AlertCount, MetastoreError> {
    let (status, severity): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(AlertCount {
        status: checked("alert", "status", &status, Status::parse)?,
        severity: checked("alert", "severity", &severity, Severity::parse)?,
        count: row.get::<_, i64>(2)?.unsigned_abs(),
    })
}

fn read_feedback_count(row: &Row<'_>) -> Result<FeedbackCount, MetastoreError> {
    let tenant: String = row.get(0)?;
    Ok(FeedbackCount {
        tenant: checked("feedback", &tenant, &tenant, |text| Tenant::new(text).ok())?,
        detector: row.get(1)?,
        rule: row.get(2)?,
        judged: Judged {
            true_positives: row.get::<_, i64>(3)?.unsigned_abs(),
            false_positives: row.get::<_, i64>(4)?.unsigned_abs(),
        },
    })
}
