//! Alerts in SQLite: the document as JSON beside the columns that lists and uniqueness need.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use heimdall_model::{
    Alert, AlertId, FeedbackVerdict, Judged, LabelMatcher, Priority, Severity, Status, Tenant, Timestamp,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

use super::{SqliteMetastore, checked, page_limit, rows};
use crate::port::{
    AlertCount, AlertCursor, AlertFilter, AlertRow, AlertSort, AlertStore, FeedbackCount, MetastoreError,
    PAGE_ROWS_MAX,
};

const UPSERT: &str = "INSERT INTO alerts (id, tenant, fingerprint, status, severity, rule, service, entity_kind, entity_value,
        raised_at, last_seen, touched_at, document, priority, ends_at, assignee, incident, is_muted, worst, labels, words)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, severity = excluded.severity, service = excluded.service,
        last_seen = excluded.last_seen, touched_at = excluded.touched_at, document = excluded.document,
        priority = excluded.priority, ends_at = excluded.ends_at, assignee = excluded.assignee, incident = excluded.incident,
        is_muted = excluded.is_muted, worst = excluded.worst, labels = excluded.labels, words = excluded.words";

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
        if is_search(filter) {
            return self.read(|connection| search(connection, filter, after, limit));
        }
        let (sql, values) = list_query(filter, after, limit);
        self.read(|connection| rows(connection, &sql, params_from_iter(values), read_alert))
    }

    fn quiet(&self, before: Timestamp, limit: usize) -> Result<Vec<AlertId>, MetastoreError> {
        let sql = "SELECT id FROM alerts WHERE status IN ('OPEN', 'ACKNOWLEDGED') AND ends_at IS NULL
                   AND touched_at < ?1 ORDER BY touched_at LIMIT ?2";
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
        alert.priority.as_str(),
        alert.ends_at.map(|at| at.0),
        alert.assignee,
        alert.incident.map(|incident| incident.to_string()),
        alert.muted.is_some(),
        AlertSort::Worst.key(alert),
        labels(alert),
        words(alert),
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

/// Between the pairs of `labels`, and around them.
const PAIR: char = '\u{1e}';
/// Between name and value.
const IS: char = '\u{1f}';

/// All labels in one text, derived ones too: `␞name␟value␞name␟value␞`. The two separators become spaces in names and values.
fn labels(alert: &Alert) -> String {
    let mut text = String::from(PAIR);
    let mut add = |name: &str, value: &str| {
        for (part, end) in [(name, IS), (value, PAIR)] {
            text.extend(part.chars().map(|c| if matches!(c, PAIR | IS) { ' ' } else { c }));
            text.push(end);
        }
    };
    alert.label_set().iter().for_each(|(name, value)| add(name, value));
    for derived in ["rule", "tenant"].into_iter().filter(|name| !alert.labels.contains_key(*name)) {
        add(derived, &alert.label(derived).unwrap_or_default());
    }
    text
}

/// What a search for words looks at, in lower case.
fn words(alert: &Alert) -> String {
    let mut text =
        [&alert.title, &alert.summary, &alert.rule, &alert.entity.value].map(String::as_str).join("\n");
    let more = alert.service.iter().chain(&alert.assignee).chain(alert.labels.values());
    more.for_each(|more| {
        text.push('\n');
        text.push_str(more);
    });
    text.to_lowercase()
}

/// A condition on what [`labels`] wrote.
enum Wanted<'a> {
    /// Has this pair: what most people ask for, found without reading the labels one by one.
    Pair(String),
    /// The value after this passes; an absent label is the empty text.
    Value(String, &'a LabelMatcher),
}

impl Wanted<'_> {
    fn new(matcher: &LabelMatcher) -> Wanted<'_> {
        let (name, value) = (matcher.name(), matcher.value());
        let is_plain = !value.is_empty() && !value.contains([PAIR, IS]);
        if matcher.is_equal() && !matcher.is_regex() && is_plain {
            return Wanted::Pair(format!("{PAIR}{name}{IS}{value}{PAIR}"));
        }
        Wanted::Value(format!("{PAIR}{name}{IS}"), matcher)
    }

    fn is_in(&self, labels: &str) -> bool {
        match self {
            Wanted::Pair(pair) => labels.contains(pair.as_str()),
            Wanted::Value(start, matcher) => {
                let after = labels.split_once(start.as_str()).map(|(_, after)| after);
                let value = after.and_then(|after| after.split_once(PAIR)).map(|(value, _)| value);
                matcher.is_match(value.unwrap_or_default())
            }
        }
    }
}

/// Whether a filter asks for what only [`search`] looks at.
fn is_search(filter: &AlertFilter) -> bool {
    !filter.labels.is_empty() || filter.text.as_deref().is_some_and(|text| !text.trim().is_empty())
}

/// Alerts by label and text: walks the narrow search index, then reads the documents of what was found.
fn search(
    connection: &Connection,
    filter: &AlertFilter,
    after: Option<&AlertCursor>,
    limit: usize,
) -> Result<Vec<Alert>, MetastoreError> {
    let limit = limit.min(PAGE_ROWS_MAX);
    let needle = filter.text.as_deref().map(|text| text.trim().to_lowercase()).unwrap_or_default();
    let wanted: Vec<_> = filter.labels.iter().map(Wanted::new).collect();
    let fits = |labels: &str| wanted.iter().all(|wanted| wanted.is_in(labels));
    let column = key_column(filter.sort);
    let is_ordered = filter.tenant.is_some() && filter.sort == AlertSort::Newest;
    let mut query = Query::new(&format!(
        "SELECT rowid, {column}, id, labels, words FROM alerts INDEXED BY alerts_search WHERE 1"
    ));
    query.filter(filter, after);
    if is_ordered {
        query.sql.push_str(" ORDER BY raised_at DESC, id DESC");
    }
    let mut statement = connection.prepare_cached(&query.sql)?;
    let mut found = statement.query(params_from_iter(query.values))?;
    // The lowest on top, to be thrown out when there are too many.
    let mut best: BinaryHeap<Reverse<(i64, String, i64)>> = BinaryHeap::new();
    while let Some(row) = found.next()? {
        let text = |n: usize| row.get_ref(n)?.as_str().map_err(rusqlite::Error::from);
        if !text(4)?.contains(&needle) || !fits(text(3)?) {
            continue;
        }
        best.push(Reverse((row.get(1)?, row.get(2)?, row.get(0)?)));
        if is_ordered && best.len() == limit {
            break;
        }
        if best.len() > limit {
            best.pop();
        }
    }
    // Sorted by the reverse of the key: the highest first.
    let rowids = best.into_sorted_vec().into_iter().map(|Reverse((_, _, rowid))| rowid);
    let mut read = connection.prepare_cached("SELECT id, document FROM alerts WHERE rowid = ?1")?;
    rowids.map(|rowid| read.query_row([rowid], |row| Ok(read_alert(row)))?).collect()
}

const fn key_column(sort: AlertSort) -> &'static str {
    match sort {
        AlertSort::Newest => "raised_at",
        AlertSort::LastSeen => "last_seen",
        AlertSort::Worst => "worst",
    }
}

/// A statement that grows, with its parameters.
struct Query {
    sql: String,
    values: Vec<Value>,
}

impl Query {
    fn new(sql: &str) -> Query {
        Query { sql: sql.to_owned(), values: Vec::new() }
    }

    fn and(&mut self, clause: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(clause);
        self.values.extend(values);
    }

    fn and_text(&mut self, clause: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.and(clause, [text_value(value)]);
        }
    }

    /// Everything but labels and text. `+status` keeps the planner on the index that is already in the order of the list.
    fn filter(&mut self, filter: &AlertFilter, after: Option<&AlertCursor>) {
        self.and_text("tenant = ?", filter.tenant.as_ref().map(Tenant::as_str));
        if let Some(entity) = &filter.entity {
            let parts = [&entity.kind, &entity.value].map(|part| text_value(part));
            self.and("entity_kind = ? AND entity_value = ?", parts);
        }
        if !filter.statuses.is_empty() {
            let marks = vec!["?"; filter.statuses.len()].join(", ");
            self.and(
                &format!("+status IN ({marks})"),
                filter.statuses.iter().map(|status| text_value(status.as_str())),
            );
            if !filter.statuses.contains(&Status::Resolved) {
                // What the indexes of live alerts are made for.
                self.and("status <> 'RESOLVED'", []);
            }
        }
        self.and_text("severity = ?", filter.severity.map(Severity::as_str));
        self.and_text("priority = ?", filter.priority.map(Priority::as_str));
        self.and_text("rule = ?", filter.rule.as_deref());
        self.and_text("service = ?", filter.service.as_deref());
        match filter.assignee.as_deref() {
            Some("") => self.and("assignee IS NULL", []),
            assignee => self.and_text("assignee = ?", assignee),
        }
        self.and_text("incident = ?", filter.incident.map(|incident| incident.to_string()).as_deref());
        if let Some(is_muted) = filter.is_muted {
            self.and("is_muted = ?", [Value::Integer(i64::from(is_muted))]);
        }
        let times = [("raised_at >= ?", filter.since), ("raised_at < ?", filter.until)];
        for (clause, time) in times.into_iter().filter_map(|(clause, time)| Some((clause, time?))) {
            self.and(clause, [Value::Integer(time.0)]);
        }
        if let Some(cursor) = after {
            let place = [Value::Integer(cursor.key), text_value(&cursor.id.to_string())];
            self.and(&format!("({}, id) < (?, ?)", key_column(filter.sort)), place);
        }
    }
}

/// The list query of a filter without labels and text.
fn list_query(filter: &AlertFilter, after: Option<&AlertCursor>, limit: usize) -> (String, Vec<Value>) {
    let mut query = Query::new("SELECT id, document FROM alerts WHERE 1");
    query.filter(filter, after);
    query.sql.push_str(&format!(" ORDER BY {} DESC, id DESC LIMIT ?", key_column(filter.sort)));
    query.values.push(Value::Integer(page_limit(limit)));
    (query.sql, query.values)
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
