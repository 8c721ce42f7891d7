-- What is looked at for every generation is found without reading what came before: the queue in its order, with
-- whatever decides who is next, and who has something running.
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (state, virtual_start, id, user_id, role, pinned_to) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (state, user_id) WHERE state = 'running';
