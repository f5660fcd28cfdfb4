-- Times are nanoseconds since the Unix epoch, UTC. Format: docs/formats/metastore.md.

CREATE TABLE alerts (
    id           TEXT PRIMARY KEY NOT NULL,
    tenant       TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    status       TEXT NOT NULL,
    severity     TEXT NOT NULL,
    rule         TEXT NOT NULL,
    service      TEXT,
    entity_kind  TEXT NOT NULL,
    entity_value TEXT NOT NULL,
    raised_at    INTEGER NOT NULL,
    last_seen    INTEGER NOT NULL,
    touched_at   INTEGER NOT NULL,
    document     TEXT NOT NULL
) STRICT;

-- One live alert per fingerprint.
CREATE UNIQUE INDEX alerts_live ON alerts (fingerprint) WHERE status <> 'RESOLVED';
CREATE INDEX alerts_by_fingerprint ON alerts (fingerprint, raised_at);
-- Lists walk these backwards; the trailing columns let filters be judged without reading the document.
CREATE INDEX alerts_by_time ON alerts (tenant, raised_at, id, status, severity, rule, service);
CREATE INDEX alerts_by_entity ON alerts (tenant, entity_kind, entity_value, raised_at, id);
CREATE INDEX alerts_of_all_tenants ON alerts (raised_at, id, status, severity, rule, service);
-- Finds what went quiet and what is old enough to forget.
CREATE INDEX alerts_by_touch ON alerts (status, touched_at);

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY NOT NULL,
    name         TEXT NOT NULL,
    tenant       TEXT,
    scopes       TEXT NOT NULL,
    secret_hash  BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;

CREATE TABLE audit (
    seq       INTEGER PRIMARY KEY NOT NULL,
    at        INTEGER NOT NULL,
    tenant    TEXT,
    principal TEXT NOT NULL,
    action    TEXT NOT NULL,
    document  TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_tenant ON audit (tenant, seq);
CREATE INDEX audit_by_principal ON audit (principal, seq);
CREATE INDEX audit_by_action ON audit (action, seq);
