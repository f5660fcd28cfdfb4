-- What people said of alerts. A row outlives its alert: precision is measured over more than the alerts that are kept.
CREATE TABLE feedback (
    alert_id TEXT PRIMARY KEY NOT NULL,
    tenant   TEXT NOT NULL,
    detector TEXT NOT NULL,
    rule     TEXT NOT NULL,
    verdict  TEXT NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

-- Counts read it alone.
CREATE INDEX feedback_by_rule ON feedback (tenant, detector, rule, verdict);
-- Finds what the same rule said before of entities of one kind.
CREATE INDEX alerts_by_rule ON alerts (tenant, rule, entity_kind, raised_at, id, status);
