-- Times are milliseconds since the epoch, days are UTC (2026-11-23), ids are ULIDs.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT
);

-- Owners are user ids of any issuer, so they need no row in users.
CREATE TABLE outputs (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    voice TEXT NOT NULL,
    engine TEXT NOT NULL,
    characters BIGINT NOT NULL,
    frames BIGINT NOT NULL,
    sample_rate BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    project_id TEXT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX outputs_of_user ON outputs (user_id, id);
CREATE INDEX outputs_bytes_of_user ON outputs (user_id, bytes);
CREATE INDEX outputs_by_age ON outputs (created_at);

-- Generations under way. What they will use counts as used until they end or expire.
CREATE TABLE reservations (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    day TEXT NOT NULL,
    characters BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX reservations_of_user ON reservations (user_id);
CREATE INDEX reservations_by_expiry ON reservations (expires_at);

CREATE TABLE daily_usage (
    user_id TEXT NOT NULL,
    day TEXT NOT NULL,
    characters BIGINT NOT NULL,
    generations BIGINT NOT NULL,
    PRIMARY KEY (user_id, day)
);

-- Audio that nothing refers to any more and that is still to be removed from the disk.
CREATE TABLE discarded_blobs (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    discarded_at BIGINT NOT NULL
);
CREATE INDEX discarded_blobs_by_age ON discarded_blobs (discarded_at);

CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    user_id TEXT,
    action TEXT NOT NULL,
    object TEXT,
    result TEXT NOT NULL,
    duration_ms BIGINT NOT NULL,
    policy_rev BIGINT NOT NULL
);
CREATE INDEX audit_of_user ON audit (user_id, id);

CREATE TABLE policies (
    rev BIGINT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    document TEXT NOT NULL,
    published_at BIGINT NOT NULL
);
