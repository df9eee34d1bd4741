-- People who are signed in to the studio. The cookie's value is in the browser alone, and nothing of the provider's tokens is kept.
CREATE TABLE sessions (
    hash       TEXT PRIMARY KEY, -- SHA-256 of the cookie's value, hex
    issuer     TEXT NOT NULL,    -- the provider that named the subject
    subject    TEXT NOT NULL,
    roles      TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
);
CREATE INDEX sessions_by_end ON sessions (expires_at);
