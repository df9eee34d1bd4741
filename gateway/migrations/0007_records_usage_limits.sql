-- Records are found by model, adapter, subject and time, newest first.
ALTER TABLE attributions ADD COLUMN base TEXT; -- the base that answered
ALTER TABLE attributions ADD COLUMN model TEXT GENERATED ALWAYS AS (json_extract(record, '$.model')) VIRTUAL;
ALTER TABLE attributions ADD COLUMN generation TEXT GENERATED ALWAYS AS (json_extract(record, '$.adapter_generation')) VIRTUAL;
UPDATE attributions SET base = CASE instr(model, ':') WHEN 0 THEN model ELSE substr(model, 1, instr(model, ':') - 1) END;
CREATE INDEX attributions_by_time ON attributions (created_at, id);
CREATE INDEX attributions_by_subject ON attributions (subject, created_at, id);
CREATE INDEX attributions_by_base ON attributions (base, created_at, id);
CREATE INDEX attributions_by_model ON attributions (model, created_at, id);
CREATE INDEX attributions_by_generation ON attributions (generation, created_at, id);
CREATE INDEX uses_by_datanet ON uses (datanet, at);

-- Which row of a datanet was which passage of an answer's prompt.
CREATE TABLE used_rows (
    datanet TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    answer  TEXT NOT NULL REFERENCES attributions (id) ON DELETE CASCADE,
    n       INTEGER NOT NULL,
    PRIMARY KEY (datanet, seq, answer)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_rows_by_answer ON used_rows (answer, datanet, n);
INSERT OR IGNORE INTO used_rows (datanet, seq, answer, n)
    SELECT json_extract(candidate.value, '$.datanet'), json_extract(candidate.value, '$.seq'), attributions.id,
           json_extract(candidate.value, '$.in_prompt')
    FROM attributions, json_each(attributions.record, '$.retrieval.candidates') AS candidate
    WHERE json_extract(candidate.value, '$.in_prompt') IS NOT NULL;

-- Which rows of a datanet an accepted contribution added: its job committed them at once, as the last ones there were.
CREATE VIEW contributed_rows AS
    SELECT contributions.id AS contribution, contributions.subject, contributions.datanet, contributions.created_at,
           json_extract(jobs.result, '$.snapshot.size') - json_extract(jobs.result, '$.added') AS first,
           json_extract(jobs.result, '$.snapshot.size') AS after
    FROM contributions JOIN jobs ON jobs.id = contributions.job
    WHERE contributions.state = 'accepted' AND jobs.result IS NOT NULL;

-- By which names adapters were asked for, and which generation each meant. From this version on.
CREATE TABLE adapter_uses (
    answer     TEXT NOT NULL REFERENCES attributions (id) ON DELETE CASCADE,
    base       TEXT NOT NULL,
    alias      TEXT NOT NULL,
    generation TEXT NOT NULL,
    subject    TEXT NOT NULL,
    at         TEXT NOT NULL,
    PRIMARY KEY (answer, alias)
) STRICT, WITHOUT ROWID;
CREATE INDEX adapter_uses_by_alias ON adapter_uses (alias, base, at);

-- What was used in a day (UTC). `key` is empty for tokens of an identity provider; answers from before this table count no
-- tokens.
CREATE TABLE usage (
    day               TEXT NOT NULL,
    subject           TEXT NOT NULL,
    key               TEXT NOT NULL,
    model             TEXT NOT NULL,
    requests          INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (day, subject, key, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_key ON usage (key, day);
INSERT INTO usage (day, subject, key, model, requests, prompt_tokens, completion_tokens)
    SELECT substr(created_at, 1, 10), subject, '', model, count(*), 0, 0
    FROM attributions WHERE log_index IS NOT NULL AND model IS NOT NULL GROUP BY 1, 2, 4;

-- How much a key may be used; null: without limit.
ALTER TABLE keys ADD COLUMN requests_per_minute INTEGER;
ALTER TABLE keys ADD COLUMN tokens_per_day INTEGER;

-- Which run an adapter came of.
CREATE INDEX fine_tuning_jobs_by_generation ON fine_tuning_jobs (generation) WHERE generation IS NOT NULL;
