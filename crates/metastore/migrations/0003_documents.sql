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
