-- Lists go by id, whose order is that of creation, a page at a time.
DROP INDEX access_requests_by_datanet;
CREATE INDEX access_requests_by_datanet ON access_requests (datanet, id);
DROP INDEX access_requests_by_subject;
CREATE INDEX access_requests_by_subject ON access_requests (subject, id);
DROP INDEX access_requests_waiting;
CREATE INDEX access_requests_waiting ON access_requests (id) WHERE status = 'waiting';
DROP INDEX contributions_by_datanet;
CREATE INDEX contributions_by_datanet ON contributions (datanet, id);
DROP INDEX contributions_by_subject;
CREATE INDEX contributions_by_subject ON contributions (subject, id);
CREATE INDEX jobs_by_owner ON jobs (owner, id);
CREATE INDEX files_by_owner ON files (owner, id);
