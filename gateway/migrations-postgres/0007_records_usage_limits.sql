-- As SQLite's, but that no database here is so old that it has rows from before: there is nothing to fill in.

-- Records are found by model, adapter, subject and time, newest first.
ALTER TABLE attributions ADD COLUMN base TEXT; -- the base that answered
ALTER TABLE attributions ADD COLUMN model TEXT GENERATED ALWAYS AS (CAST(record AS JSON) ->> 'model') STORED;
ALTER TABLE attributions ADD COLUMN generation TEXT GENERATED ALWAYS AS (CAST(record AS JSON) ->> 'adapter_generation') STORED;
CREATE INDEX attributions_by_time ON attributions (created_at, id);
CREATE INDEX attributions_by_subject ON attributions (subject, created_at, id);
CREATE INDEX attributions_by_base ON attributions (base, created_at, id);
CREATE INDEX attributions_by_model ON attributions (model, created_at, id);
CREATE INDEX attributions_by_generation ON attributions (generation, created_at, id);
CREATE INDEX uses_by_datanet ON uses (datanet, at);

-- Which row of a datanet was which passage of an answer's prompt.
CREATE TABLE used_rows (
    datanet TEXT NOT NULL,
    seq     BIGINT NOT NULL,
    answer  TEXT NOT NULL REFERENCES attributions (id) ON DELETE CASCADE,
    n       BIGINT NOT NULL,
    PRIMARY KEY (datanet, seq, answer)
);
CREATE INDEX used_rows_by_answer ON used_rows (answer, datanet, n);

-- Which rows of a datanet an accepted contribution added: its job committed them at once, as the last ones there were.
-- A job's result may quote what a file said, and PostgreSQL reads no JSON with the character NUL in it.
CREATE VIEW contributed_rows AS
    SELECT contribution, subject, datanet, created_at, size - added AS first, size AS after
    FROM (
        SELECT contributions.id AS contribution, contributions.subject, contributions.datanet, contributions.created_at,
               CAST(ended.result #>> '{snapshot,size}' AS BIGINT) AS size, CAST(ended.result ->> 'added' AS BIGINT) AS added
        FROM contributions JOIN jobs ON jobs.id = contributions.job
        CROSS JOIN LATERAL (SELECT CAST(replace(jobs.result, '\u0000', '\ufffd') AS JSON) AS result) AS ended
        WHERE contributions.state = 'accepted' AND jobs.result IS NOT NULL
    ) AS accepted;

-- By which names adapters were asked for, and which generation each meant. From this version on.
CREATE TABLE adapter_uses (
    answer     TEXT NOT NULL REFERENCES attributions (id) ON DELETE CASCADE,
    base       TEXT NOT NULL,
    alias      TEXT NOT NULL,
    generation TEXT NOT NULL,
    subject    TEXT NOT NULL,
    at         TEXT NOT NULL,
    PRIMARY KEY (answer, alias)
);
CREATE INDEX adapter_uses_by_alias ON adapter_uses (alias, base, at);

-- What was used in a day (UTC). `key` is empty for tokens of an identity provider.
CREATE TABLE usage (
    day               TEXT NOT NULL,
    subject           TEXT NOT NULL,
    key               TEXT NOT NULL,
    model             TEXT NOT NULL,
    requests          BIGINT NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    PRIMARY KEY (day, subject, key, model)
);
CREATE INDEX usage_by_key ON usage (key, day);

-- How much a key may be used; null: without limit.
ALTER TABLE keys ADD COLUMN requests_per_minute BIGINT;
ALTER TABLE keys ADD COLUMN tokens_per_day BIGINT;

-- Which run an adapter came of.
CREATE INDEX fine_tuning_jobs_by_generation ON fine_tuning_jobs (generation) WHERE generation IS NOT NULL;
