-- Generations, from the moment they are asked for until a day after their end. States are queued, running, done, failed
-- and cancelled; the first two hold what they may use of the day. The id is that of the output to come. virtual_start
-- orders the queue (start-time fair queueing). A job that is heard while it is made is pinned to the origin that its
-- client is connected to. Until lease_until its worker, or that origin, is taken to be alive. The text leaves with the
-- end; answer is what the client was told then. address and region are where the request came from, for the audit.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    state TEXT NOT NULL,
    request TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    idempotency_key TEXT,
    day TEXT NOT NULL,
    characters BIGINT NOT NULL,
    virtual_start BIGINT NOT NULL,
    virtual_finish BIGINT NOT NULL,
    pinned_to TEXT,
    worker TEXT,
    lease_until BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    sentences_done BIGINT NOT NULL DEFAULT 0,
    sentences_total BIGINT NOT NULL DEFAULT 0,
    error TEXT,
    detail TEXT,
    retry_after BIGINT,
    answer TEXT,
    request_id TEXT NOT NULL,
    policy_rev BIGINT NOT NULL,
    address TEXT,
    region TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT
);
CREATE UNIQUE INDEX jobs_of_user ON jobs (user_id, id);
CREATE UNIQUE INDEX jobs_by_key ON jobs (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_by_finish ON jobs (user_id, virtual_finish);
CREATE INDEX jobs_live ON jobs (user_id, state, characters) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_queued ON jobs (virtual_start, id) WHERE state = 'queued';
CREATE INDEX jobs_by_end ON jobs (ended_at);

-- One row: how far the queue has come. Whoever takes or adds a job holds it.
CREATE TABLE queue (virtual_time BIGINT NOT NULL);
INSERT INTO queue (virtual_time) VALUES (0);

-- The books: what was delivered, one row each. Kinds are kept (an output), cut (a client left while it listened) and
-- before (the sum of a day before there were books). Nothing but age takes a row away.
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    day TEXT NOT NULL,
    kind TEXT NOT NULL,
    generations BIGINT NOT NULL,
    characters BIGINT NOT NULL,
    audio_ms BIGINT NOT NULL,
    project_id TEXT,
    at BIGINT NOT NULL
);
CREATE INDEX deliveries_of_user ON deliveries (user_id, day);
CREATE INDEX deliveries_by_day ON deliveries (day);
ALTER TABLE daily_usage ADD COLUMN audio_ms BIGINT NOT NULL DEFAULT 0;
INSERT INTO deliveries (id, user_id, day, kind, generations, characters, audio_ms, at)
    SELECT 'before ' || user_id || ' ' || day, user_id, day, 'before', generations, characters, 0, 0 FROM daily_usage;
-- Whether the books have an output; those of before are in them only as sums.
ALTER TABLE outputs ADD COLUMN is_booked BIGINT NOT NULL DEFAULT 0;

-- In which time zone a user's day begins (IANA name); UTC without a row.
CREATE TABLE time_zones (
    user_id TEXT PRIMARY KEY,
    name TEXT NOT NULL
);

INSERT INTO discarded_blobs (id, user_id, discarded_at)
    SELECT id, user_id, created_at FROM reservations WHERE true ON CONFLICT DO NOTHING;
DROP TABLE reservations;
