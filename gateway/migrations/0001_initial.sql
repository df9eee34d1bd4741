-- Times are RFC 3339, UTC. Lists and objects are JSON.

CREATE TABLE keys (
    id         TEXT PRIMARY KEY,
    subject    TEXT NOT NULL,
    roles      TEXT NOT NULL,
    hash       TEXT NOT NULL, -- SHA-256 of the secret, hex
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT
) STRICT;

CREATE TABLE datanets (
    name        TEXT PRIMARY KEY,
    title       TEXT NOT NULL,
    description TEXT NOT NULL,
    licence     TEXT NOT NULL,
    visibility  TEXT NOT NULL,
    owner       TEXT NOT NULL,
    created_at  TEXT NOT NULL
) STRICT;

CREATE TABLE grants (
    datanet    TEXT NOT NULL REFERENCES datanets (name) ON DELETE CASCADE,
    subject    TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at TEXT NOT NULL,
    PRIMARY KEY (datanet, subject)
) STRICT;

CREATE TABLE jobs (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    target     TEXT NOT NULL,
    owner      TEXT NOT NULL,
    spec       TEXT NOT NULL,
    state      TEXT NOT NULL,
    stage      TEXT NOT NULL,
    done       INTEGER NOT NULL,
    total      INTEGER NOT NULL,
    result     TEXT,
    error      TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, created_at);

CREATE TABLE attributions (
    id          TEXT PRIMARY KEY,
    subject     TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    record      TEXT NOT NULL, -- the log entry, canonical JSON
    private     TEXT NOT NULL, -- what the record commits to, with the salts
    attribution TEXT NOT NULL, -- as returned, but for the receipt
    log_index   INTEGER        -- null until the log has it
) STRICT;
CREATE INDEX attributions_pending ON attributions (id) WHERE log_index IS NULL;
