-- What SQLite has after its migration 0005, for PostgreSQL; from 0006 on each directory has a file of the same name.
-- Times are RFC 3339, UTC. Lists and objects are JSON. Integers are BIGINT, yes and no BOOLEAN. Texts sort by bytes: the
-- database's collation is C.

-- One row: which data directory this database belongs to.
CREATE TABLE instance (
    id   TEXT PRIMARY KEY,
    sole BOOLEAN NOT NULL UNIQUE DEFAULT TRUE CHECK (sole)
);

CREATE TABLE keys (
    id         TEXT PRIMARY KEY,
    subject    TEXT NOT NULL,
    roles      TEXT NOT NULL,
    hash       TEXT NOT NULL, -- SHA-256 of the secret, hex
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT
);

CREATE TABLE datanets (
    name        TEXT PRIMARY KEY,
    title       TEXT NOT NULL,
    description TEXT NOT NULL,
    licence     TEXT NOT NULL,
    visibility  TEXT NOT NULL,
    owner       TEXT NOT NULL,
    created_at  TEXT NOT NULL
);

CREATE TABLE jobs (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    target     TEXT NOT NULL,
    owner      TEXT NOT NULL,
    spec       TEXT NOT NULL,
    state      TEXT NOT NULL,
    stage      TEXT NOT NULL,
    done       BIGINT NOT NULL,
    total      BIGINT NOT NULL,
    result     TEXT,
    error      TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, created_at);

CREATE TABLE attributions (
    id          TEXT PRIMARY KEY,
    subject     TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    record      TEXT NOT NULL, -- the log entry, canonical JSON
    private     TEXT NOT NULL, -- what the record commits to, with the salts
    attribution TEXT NOT NULL, -- as returned, but for the receipt
    log_index   BIGINT         -- null until the log has it
);
CREATE INDEX attributions_pending ON attributions (id) WHERE log_index IS NULL;
-- The largest index is asked for at every start.
CREATE INDEX attributions_by_log_index ON attributions (log_index);

-- Files that jobs train on; their bytes are in the data directory under `files/<id>`.
CREATE TABLE files (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    filename   TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    created_at TEXT NOT NULL
);

CREATE TABLE fine_tuning_jobs (
    id          TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    base        TEXT NOT NULL,
    alias       TEXT NOT NULL,
    unbounded   BOOLEAN NOT NULL, -- asked for by an administrator, who may train on any datanet
    request     TEXT NOT NULL, -- as it was sent
    status      TEXT NOT NULL,
    error       TEXT,
    generation  TEXT,          -- of the adapter, once it is in the store
    created_at  TEXT NOT NULL,
    started_at  TEXT,
    finished_at TEXT
);
CREATE INDEX fine_tuning_jobs_by_status ON fine_tuning_jobs (status, created_at);

-- Which datapoints an adapter was trained on, so that whoever withdraws one learns of every generation it went into.
CREATE TABLE training_rows (
    datanet     TEXT NOT NULL,
    datapoint   TEXT NOT NULL,
    contributor TEXT NOT NULL,
    job         TEXT NOT NULL REFERENCES fine_tuning_jobs (id),
    held_out    BOOLEAN NOT NULL,
    PRIMARY KEY (datanet, datapoint, job)
);
CREATE INDEX training_rows_by_contributor ON training_rows (datanet, contributor, job);
CREATE INDEX training_rows_by_job ON training_rows (job);

-- A contributor appears in the log under a pseudonym: the commitment to the name under a salt that is theirs alone.
CREATE TABLE contributors (
    name       TEXT PRIMARY KEY,
    salt       TEXT NOT NULL, -- hex
    pseudonym  TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
);

-- How much each passage mattered to an answer: measured after it, or to be.
CREATE TABLE influence (
    id          TEXT PRIMARY KEY REFERENCES attributions (id) ON DELETE CASCADE,
    method      TEXT NOT NULL,
    state       TEXT NOT NULL, -- waiting, measuring, measured, failed
    entry       TEXT,          -- the log entry, canonical JSON
    log_index   BIGINT,
    error       TEXT,
    created_at  TEXT NOT NULL,
    finished_at TEXT
);
CREATE INDEX influence_unfinished ON influence (created_at) WHERE state IN ('waiting', 'measuring');

-- A contributor's part in an answer, for each datanet: what a payout would be computed from.
CREATE TABLE uses (
    answer      TEXT NOT NULL REFERENCES attributions (id) ON DELETE CASCADE,
    datanet     TEXT NOT NULL,
    contributor TEXT NOT NULL,
    at          TEXT NOT NULL,
    passages    TEXT NOT NULL,
    share       DOUBLE PRECISION, -- of the passages' help; null until it is measured
    nats        DOUBLE PRECISION,
    PRIMARY KEY (answer, datanet, contributor)
);
CREATE INDEX uses_by_time ON uses (at);
CREATE INDEX uses_by_contributor ON uses (contributor, at);

-- Datapoints whose erasure was asked for: tombstoned in the log, then gone everywhere.
CREATE TABLE erasures (
    datanet      TEXT NOT NULL,
    seq          BIGINT NOT NULL,
    datapoint    TEXT NOT NULL,
    leaf         TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at TEXT NOT NULL,
    log_index    BIGINT,  -- of the tombstone
    erased_at    TEXT,    -- null until nothing is left
    PRIMARY KEY (datanet, seq)
);

-- What the transparency log is told of access and contributions, in this order. An entry is written in the transaction
-- that makes it true and appended to the log afterwards; after a crash it may be appended twice.
CREATE TABLE access_entries (
    id        BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    leaf      TEXT NOT NULL,  -- hash of the entry as a leaf of the log, hex
    entry     TEXT NOT NULL,  -- canonical JSON
    salt      TEXT NOT NULL,  -- of the entry's commitments, hex
    log_index BIGINT          -- null until the log has it
);
CREATE INDEX access_entries_pending ON access_entries (id) WHERE log_index IS NULL;
CREATE INDEX access_entries_by_leaf ON access_entries (leaf);

-- Published terms, every version of them. Those of a deleted datanet stay, retired: the log counts versions by name, and
-- goes on counting when the name is used again.
CREATE TABLE terms (
    datanet      TEXT NOT NULL,
    version      BIGINT NOT NULL,
    terms        TEXT NOT NULL,
    published_by TEXT NOT NULL,
    published_at TEXT NOT NULL,
    retired      BOOLEAN NOT NULL DEFAULT FALSE,
    entry        BIGINT NOT NULL REFERENCES access_entries (id),
    PRIMARY KEY (datanet, version)
);

-- Who asked for what, and what became of it.
CREATE TABLE access_requests (
    id            TEXT PRIMARY KEY,
    datanet       TEXT NOT NULL REFERENCES datanets (name) ON DELETE CASCADE,
    subject       TEXT NOT NULL,
    application   TEXT NOT NULL,
    terms_version BIGINT NOT NULL,
    findings      TEXT NOT NULL,
    scope         TEXT,             -- what would be granted, where it is not denied
    status        TEXT NOT NULL,    -- waiting, granted, denied, withdrawn
    decided_by    TEXT,             -- policy, review, owner
    created_at    TEXT NOT NULL,
    decided_at    TEXT,
    deadline      TEXT,
    escalated_at  TEXT,
    appeal_of     TEXT REFERENCES access_requests (id) ON DELETE CASCADE,
    grant_id      TEXT,
    entry         BIGINT NOT NULL REFERENCES access_entries (id)
);
CREATE INDEX access_requests_by_datanet ON access_requests (datanet, created_at);
CREATE INDEX access_requests_by_subject ON access_requests (subject, created_at);
CREATE INDEX access_requests_waiting ON access_requests (created_at) WHERE status = 'waiting';

CREATE TABLE votes (
    request      TEXT NOT NULL REFERENCES access_requests (id) ON DELETE CASCADE,
    reviewer     TEXT NOT NULL,
    on_behalf_of TEXT,
    approve      BOOLEAN NOT NULL,
    reason       TEXT NOT NULL,
    at           TEXT NOT NULL,
    PRIMARY KEY (request, reviewer)
);

-- Who votes for a reviewer who is away.
CREATE TABLE absences (
    reviewer   TEXT PRIMARY KEY,
    delegate   TEXT NOT NULL,
    from_time  TEXT NOT NULL,
    until_time TEXT NOT NULL
);

-- A grant has a purpose, a scope and an end, and is in force once the log has it.
CREATE TABLE grants (
    id                 TEXT PRIMARY KEY,
    datanet            TEXT NOT NULL REFERENCES datanets (name) ON DELETE CASCADE,
    subject            TEXT NOT NULL,
    purposes           TEXT NOT NULL,  -- a JSON list
    rows               TEXT,           -- a filter; null: all rows
    retrievals_per_day BIGINT,
    terms_version      BIGINT,
    request            TEXT REFERENCES access_requests (id),
    granted_by         TEXT NOT NULL,
    decided_by         TEXT NOT NULL,  -- policy, review, owner
    granted_at         TEXT NOT NULL,
    expires_at         TEXT,
    revoked_at         TEXT,
    revoked_by         TEXT,
    revocation_reason  TEXT,
    entry              BIGINT REFERENCES access_entries (id)
);
CREATE INDEX grants_by_subject ON grants (subject, datanet) WHERE revoked_at IS NULL;
CREATE INDEX grants_by_datanet ON grants (datanet, granted_at);

-- Retrievals under a grant that has a quota, by day (UTC).
CREATE TABLE grant_uses (
    grant_id TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    day      TEXT NOT NULL,
    uses     BIGINT NOT NULL,
    PRIMARY KEY (grant_id, day)
);

-- Uploads to a datanet: at once accepted, or waiting for its steward.
CREATE TABLE contributions (
    id           TEXT PRIMARY KEY,
    datanet      TEXT NOT NULL REFERENCES datanets (name) ON DELETE CASCADE,
    subject      TEXT NOT NULL,     -- who sent it
    document     TEXT NOT NULL,     -- SHA-256 of the file, hex
    filename     TEXT NOT NULL,
    spec         TEXT NOT NULL,     -- how to read it
    note         TEXT NOT NULL,     -- what the sender says of it
    state        TEXT NOT NULL,     -- checking, waiting, ingesting, accepted, rejected, failed, withdrawn
    rows         BIGINT,
    added        BIGINT,
    report       TEXT,              -- what was found in it
    reason       TEXT,
    score        BIGINT,            -- 0 to 100, by the reviewer
    reviewed_by  TEXT,
    reviewed_at  TEXT,
    supersedes   TEXT REFERENCES contributions (id),
    job          TEXT,
    created_at   TEXT NOT NULL,
    entry        BIGINT REFERENCES access_entries (id)
);
CREATE INDEX contributions_by_datanet ON contributions (datanet, created_at);
CREATE INDEX contributions_by_subject ON contributions (subject, created_at);

-- Every state of a datanet that the log has, by number.
CREATE TABLE snapshots (
    datanet       TEXT NOT NULL REFERENCES datanets (name) ON DELETE CASCADE,
    number        BIGINT NOT NULL, -- from 1
    lance_version BIGINT NOT NULL,
    size          BIGINT NOT NULL,
    root          TEXT NOT NULL,
    at            TEXT NOT NULL,
    log_index     BIGINT NOT NULL,
    PRIMARY KEY (datanet, number)
);
