-- What the transparency log is told of access and contributions, in this order. An entry is written in the transaction
-- that makes it true and appended to the log afterwards; after a crash it may be appended twice.
CREATE TABLE access_entries (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    leaf      TEXT NOT NULL,  -- hash of the entry as a leaf of the log, hex
    entry     TEXT NOT NULL,  -- canonical JSON
    salt      TEXT NOT NULL,  -- of the entry's commitments, hex
    log_index INTEGER         -- null until the log has it
) STRICT;
CREATE INDEX access_entries_pending ON access_entries (id) WHERE log_index IS NULL;
CREATE INDEX access_entries_by_leaf ON access_entries (leaf);

-- Published terms, every version of them. Those of a deleted datanet stay, retired: the log counts versions by name, and
-- goes on counting when the name is used again.
CREATE TABLE terms (
    datanet      TEXT NOT NULL,
    version      INTEGER NOT NULL,
    terms        TEXT NOT NULL,
    published_by TEXT NOT NULL,
    published_at TEXT NOT NULL,
    retired      INTEGER NOT NULL DEFAULT 0,
    entry        INTEGER NOT NULL REFERENCES access_entries (id),
    PRIMARY KEY (datanet, version)
) STRICT, WITHOUT ROWID;

-- Who asked for what, and what became of it.
CREATE TABLE access_requests (
    id            TEXT PRIMARY KEY,
    datanet       TEXT NOT NULL REFERENCES datanets (name) ON DELETE CASCADE,
    subject       TEXT NOT NULL,
    application   TEXT NOT NULL,
    terms_version INTEGER NOT NULL,
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
    entry         INTEGER NOT NULL REFERENCES access_entries (id)
) STRICT;
CREATE INDEX access_requests_by_datanet ON access_requests (datanet, created_at);
CREATE INDEX access_requests_by_subject ON access_requests (subject, created_at);
CREATE INDEX access_requests_waiting ON access_requests (created_at) WHERE status = 'waiting';

CREATE TABLE votes (
    request      TEXT NOT NULL REFERENCES access_requests (id) ON DELETE CASCADE,
    reviewer     TEXT NOT NULL,
    on_behalf_of TEXT,
    approve      INTEGER NOT NULL,
    reason       TEXT NOT NULL,
    at           TEXT NOT NULL,
    PRIMARY KEY (request, reviewer)
) STRICT, WITHOUT ROWID;

-- Who votes for a reviewer who is away.
CREATE TABLE absences (
    reviewer   TEXT PRIMARY KEY,
    delegate   TEXT NOT NULL,
    from_time  TEXT NOT NULL,
    until_time TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A grant has a purpose, a scope and an end, and is in force once the log has it. Those from before there were terms were
-- given by a datanet's owner.
ALTER TABLE grants RENAME TO grants_before_terms;
CREATE TABLE grants (
    id                 TEXT PRIMARY KEY,
    datanet            TEXT NOT NULL REFERENCES datanets (name) ON DELETE CASCADE,
    subject            TEXT NOT NULL,
    purposes           TEXT NOT NULL,  -- a JSON list
    rows               TEXT,           -- a filter; null: all rows
    retrievals_per_day INTEGER,
    terms_version      INTEGER,
    request            TEXT REFERENCES access_requests (id),
    granted_by         TEXT NOT NULL,
    decided_by         TEXT NOT NULL,  -- policy, review, owner
    granted_at         TEXT NOT NULL,
    expires_at         TEXT,
    revoked_at         TEXT,
    revoked_by         TEXT,
    revocation_reason  TEXT,
    entry              INTEGER REFERENCES access_entries (id) -- null only for grants from before terms, until the next start
) STRICT;
INSERT INTO grants (id, datanet, subject, purposes, granted_by, decided_by, granted_at)
    SELECT 'grant-' || lower(hex(randomblob(16))), datanet, subject,
           CASE training WHEN 1 THEN '["retrieval","training"]' ELSE '["retrieval"]' END, granted_by, 'owner', granted_at
    FROM grants_before_terms;
DROP TABLE grants_before_terms;
CREATE INDEX grants_by_subject ON grants (subject, datanet) WHERE revoked_at IS NULL;
CREATE INDEX grants_by_datanet ON grants (datanet, granted_at);

-- Retrievals under a grant that has a quota, by day (UTC).
CREATE TABLE grant_uses (
    grant_id TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    day      TEXT NOT NULL,
    uses     INTEGER NOT NULL,
    PRIMARY KEY (grant_id, day)
) STRICT, WITHOUT ROWID;

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
    rows         INTEGER,
    added        INTEGER,
    report       TEXT,              -- what was found in it
    reason       TEXT,
    score        INTEGER,           -- 0 to 100, by the reviewer
    reviewed_by  TEXT,
    reviewed_at  TEXT,
    supersedes   TEXT REFERENCES contributions (id),
    job          TEXT,
    created_at   TEXT NOT NULL,
    entry        INTEGER REFERENCES access_entries (id)
) STRICT;
CREATE INDEX contributions_by_datanet ON contributions (datanet, created_at);
CREATE INDEX contributions_by_subject ON contributions (subject, created_at);

-- Every state of a datanet that the log has, by number.
CREATE TABLE snapshots (
    datanet       TEXT NOT NULL REFERENCES datanets (name) ON DELETE CASCADE,
    number        INTEGER NOT NULL, -- from 1
    lance_version INTEGER NOT NULL,
    size          INTEGER NOT NULL,
    root          TEXT NOT NULL,
    at            TEXT NOT NULL,
    log_index     INTEGER NOT NULL,
    PRIMARY KEY (datanet, number)
) STRICT, WITHOUT ROWID;
