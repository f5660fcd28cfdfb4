//! Alerts and the audit trail as tables of SQL.

use std::sync::Arc;

use heimdall_alert::{AlertFilter, Alerts};
use heimdall_guard::{Audit, Outcome};
use heimdall_metastore::AuditFilter;
use heimdall_model::{Alert, Tenant, Value};
use heimdall_query::ColumnType;
use heimdall_sql::RowSource;

/// Rows asked for at a time.
const PAGE_ROWS: usize = 1_000;

/// `alerts`: one row for each alert.
pub(crate) struct AlertTable(pub(crate) Arc<Alerts>);

/// `audit`: one row for each line of the audit trail.
pub(crate) struct AuditTable {
    pub(crate) trail: Arc<Audit>,
    /// Whose lines the principal may read; `None`: all.
    pub(crate) tenant: Option<Tenant>,
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn maybe(value: Option<&String>) -> Value {
    value.map_or(Value::Null, |value| text(value.as_str()))
}

fn int(n: u64) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

impl RowSource for AlertTable {
    fn name(&self) -> &'static str {
        "alerts"
    }

    fn columns(&self) -> &'static [(&'static str, ColumnType)] {
        use ColumnType::{Float, Int, Text, Time};
        &[
            ("id", Text),
            ("raised_at", Time),
            ("first_seen", Time),
            ("last_seen", Time),
            ("rule", Text),
            ("detector", Text),
            ("title", Text),
            ("summary", Text),
            ("severity", Text),
            ("priority", Text),
            ("status", Text),
            ("entity_kind", Text),
            ("entity", Text),
            ("service", Text),
            ("count", Int),
            ("score", Float),
            ("fingerprint", Text),
        ]
    }

    fn rows(&self, tenant: &Tenant, limit: usize) -> Result<Vec<Vec<Value>>, String> {
        let filter = AlertFilter { tenant: Some(tenant.clone()), ..AlertFilter::default() };
        let (mut rows, mut cursor) = (Vec::new(), None);
        while rows.len() < limit {
            let wanted = PAGE_ROWS.min(limit - rows.len());
            let page = self.0.list(&filter, cursor.as_ref(), wanted).map_err(|error| error.to_string())?;
            rows.extend(page.items.iter().map(|alert| alert_row(alert)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(rows)
    }
}

fn alert_row(alert: &Alert) -> Vec<Value> {
    vec![
        text(alert.id.to_string()),
        Value::Time(alert.raised_at),
        Value::Time(alert.first_seen),
        Value::Time(alert.last_seen),
        text(&alert.rule),
        text(&alert.detector),
        text(&alert.title),
        text(&alert.summary),
        text(alert.severity.to_string()),
        text(alert.priority.as_str()),
        text(alert.status.as_str()),
        text(&alert.entity.kind),
        text(&alert.entity.value),
        maybe(alert.service.as_ref()),
        int(alert.count),
        Value::Float(alert.score),
        text(&alert.fingerprint),
    ]
}

impl RowSource for AuditTable {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn columns(&self) -> &'static [(&'static str, ColumnType)] {
        use ColumnType::{Int, Text, Time};
        &[
            ("seq", Int),
            ("at", Time),
            ("principal", Text),
            ("tenant", Text),
            ("action", Text),
            ("target", Text),
            ("outcome", Text),
            ("detail", Text),
            ("source_ip", Text),
            ("hash", Text),
        ]
    }

    fn rows(&self, _: &Tenant, limit: usize) -> Result<Vec<Vec<Value>>, String> {
        let filter = AuditFilter { tenant: self.tenant.clone(), ..AuditFilter::default() };
        let (mut rows, mut before) = (Vec::new(), None);
        while rows.len() < limit {
            let wanted = PAGE_ROWS.min(limit - rows.len());
            let page = self.trail.list(&filter, before, wanted).map_err(|error| error.to_string())?;
            rows.extend(page.items.iter().map(audit_row));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        Ok(rows)
    }
}

fn audit_row(entry: &heimdall_guard::AuditEntry) -> Vec<Value> {
    let event = &entry.event;
    vec![
        int(entry.seq),
        Value::Time(event.at),
        text(&event.principal),
        event.tenant.as_ref().map_or(Value::Null, |tenant| text(tenant.to_string())),
        text(&event.action),
        text(&event.target),
        text(outcome(event.outcome)),
        maybe(event.detail.as_ref()),
        event.source_ip.map_or(Value::Null, |ip| text(ip.to_string())),
        text(&entry.hash),
    ]
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Denied => "denied",
        Outcome::Failed => "failed",
    }
}
