-- Which datapoints an adapter was trained on, so that whoever withdraws one learns of every generation it went into.
CREATE TABLE training_rows (
    datanet     TEXT NOT NULL,
    datapoint   TEXT NOT NULL,
    contributor TEXT NOT NULL,
    job         TEXT NOT NULL REFERENCES fine_tuning_jobs (id),
    held_out    INTEGER NOT NULL,
    PRIMARY KEY (datanet, datapoint, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX training_rows_by_contributor ON training_rows (datanet, contributor, job);
CREATE INDEX training_rows_by_job ON training_rows (job);
