-- A contributor appears in the log under a pseudonym: the commitment to the name under a salt that is theirs alone.
CREATE TABLE contributors (
    name       TEXT PRIMARY KEY,
    salt       TEXT NOT NULL, -- hex
    pseudonym  TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How much each passage mattered to an answer: measured after it, or to be.
CREATE TABLE influence (
    id          TEXT PRIMARY KEY REFERENCES attributions (id) ON DELETE CASCADE,
    method      TEXT NOT NULL,
    state       TEXT NOT NULL, -- waiting, measuring, measured, failed
    entry       TEXT,          -- the log entry, canonical JSON
    log_index   INTEGER,
    error       TEXT,
    created_at  TEXT NOT NULL,
    finished_at TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX influence_unfinished ON influence (created_at) WHERE state IN ('waiting', 'measuring');

-- A contributor's part in an answer, for each datanet: what a payout would be computed from.
CREATE TABLE uses (
    answer      TEXT NOT NULL REFERENCES attributions (id) ON DELETE CASCADE,
    datanet     TEXT NOT NULL,
    contributor TEXT NOT NULL,
    at          TEXT NOT NULL,
    passages    TEXT NOT NULL,
    share       REAL,          -- of the passages' help; null until it is measured
    nats        REAL,
    PRIMARY KEY (answer, datanet, contributor)
) STRICT, WITHOUT ROWID;
CREATE INDEX uses_by_time ON uses (at);
CREATE INDEX uses_by_contributor ON uses (contributor, at);

-- Datapoints whose erasure was asked for: tombstoned in the log, then gone everywhere.
CREATE TABLE erasures (
    datanet      TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    datapoint    TEXT NOT NULL,
    leaf         TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at TEXT NOT NULL,
    log_index    INTEGER, -- of the tombstone
    erased_at    TEXT,    -- null until nothing is left
    PRIMARY KEY (datanet, seq)
) STRICT, WITHOUT ROWID;
