CREATE TABLE documents (
    kind   TEXT NOT NULL,
    id     TEXT NOT NULL,
    tenant TEXT NOT NULL,
    at     INTEGER NOT NULL,
    state  TEXT NOT NULL,
    key    TEXT NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX documents_at ON documents (kind, tenant, at DESC, id DESC);
CREATE INDEX documents_state ON documents (kind, state, at DESC, id DESC);
CREATE INDEX documents_key ON documents (kind, key, at DESC, id DESC) WHERE key <> '';

-- What alerts are searched and sorted by since they are assigned, muted, correlated and posted by others.
ALTER TABLE alerts ADD COLUMN priority TEXT NOT NULL DEFAULT 'P3';
ALTER TABLE alerts ADD COLUMN ends_at INTEGER;
ALTER TABLE alerts ADD COLUMN assignee TEXT;
ALTER TABLE alerts ADD COLUMN incident TEXT;
ALTER TABLE alerts ADD COLUMN is_muted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alerts ADD COLUMN worst INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alerts ADD COLUMN labels TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN words TEXT NOT NULL DEFAULT '';

UPDATE alerts SET priority = coalesce(json_extract(document, '$.priority'), 'P3');
UPDATE alerts SET
    worst = ((CASE severity WHEN 'CRITICAL' THEN 2 WHEN 'WARNING' THEN 1 ELSE 0 END) << 2
        | (CASE priority WHEN 'P1' THEN 2 WHEN 'P2' THEN 1 ELSE 0 END)) << 48 | max(raised_at, 0) / 1000000,
    labels = char(30) || 'alertname' || char(31) || rule || char(30) || 'rule' || char(31) || rule
        || char(30) || 'detector' || char(31) || coalesce(json_extract(document, '$.detector'), '')
        || char(30) || 'severity' || char(31) || lower(severity) || char(30) || 'priority' || char(31) || priority
        || char(30) || 'tenant' || char(31) || tenant || coalesce(char(30) || 'service' || char(31) || service, '')
        || char(30) || 'entity' || char(31) || entity_value || char(30) || 'entity_kind' || char(31) || entity_kind
        || char(30) || entity_kind || char(31) || entity_value || char(30),
    words = lower(coalesce(json_extract(document, '$.title'), '') || char(10)
        || coalesce(json_extract(document, '$.summary'), '') || char(10)
        || rule || char(10) || coalesce(service, '') || char(10) || entity_value);

DROP INDEX alerts_by_time;
DROP INDEX alerts_by_touch;
CREATE INDEX alerts_by_time ON alerts (tenant, raised_at, id, status, severity, rule, service, priority, is_muted);
CREATE INDEX alerts_by_worst ON alerts (tenant, worst, id, status, severity, rule, service, priority, is_muted);
CREATE INDEX alerts_by_last_seen ON alerts (tenant, last_seen, id, status, severity, rule, service, priority, is_muted);
CREATE INDEX alerts_by_assignee ON alerts (tenant, assignee, raised_at, id) WHERE assignee IS NOT NULL;
CREATE INDEX alerts_by_incident ON alerts (incident, raised_at, id) WHERE incident IS NOT NULL;
CREATE INDEX alerts_live_by_time ON alerts (raised_at, id, tenant) WHERE status <> 'RESOLVED';
-- Finds what went quiet, and what is old enough to forget.
CREATE INDEX alerts_quiet ON alerts (touched_at) WHERE status IN ('OPEN', 'ACKNOWLEDGED') AND ends_at IS NULL;
CREATE INDEX alerts_old ON alerts (touched_at) WHERE status = 'RESOLVED';
-- Searches by label and text read it alone.
CREATE INDEX alerts_search ON alerts (tenant, raised_at, id, status, severity, rule, service, entity_kind, entity_value,
    priority, is_muted, assignee, incident, worst, last_seen, labels, words);
