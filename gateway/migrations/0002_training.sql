-- Files that jobs train on; their bytes are in the data directory under `files/<id>`.
CREATE TABLE files (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    filename   TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    bytes      INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE fine_tuning_jobs (
    id          TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    base        TEXT NOT NULL,
    alias       TEXT NOT NULL,
    unbounded   INTEGER NOT NULL, -- asked for by an administrator, who may train on any datanet
    request     TEXT NOT NULL, -- as it was sent
    status      TEXT NOT NULL,
    error       TEXT,
    generation  TEXT,          -- of the adapter, once it is in the store
    created_at  TEXT NOT NULL,
    started_at  TEXT,
    finished_at TEXT
) STRICT;
CREATE INDEX fine_tuning_jobs_by_status ON fine_tuning_jobs (status, created_at);

-- Retrieval and training are separate purposes: a grant lets its subject retrieve, and train only where it says so.
ALTER TABLE grants ADD COLUMN training INTEGER NOT NULL DEFAULT 0;
