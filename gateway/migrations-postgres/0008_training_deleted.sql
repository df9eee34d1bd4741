-- A job that was deleted, of which the log tells: its datapoints and its adapter can still be asked about, it is listed no more.
ALTER TABLE fine_tuning_jobs ADD COLUMN deleted_at TEXT;
