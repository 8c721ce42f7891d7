-- The audit as a chain: docs/AUDIT.md has its form. Rows that are older than the chain wait here until the program
-- that made this table has put them at its beginning.
ALTER TABLE audit RENAME TO audit_unchained;
DROP INDEX audit_of_user;

CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    -- The pseudonym of who did it; audit_subjects tells whose it is.
    subject TEXT,
    -- edge:<region>, cli:<name> or origin.
    via TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT,
    result TEXT NOT NULL,
    duration_ms BIGINT NOT NULL,
    policy_rev BIGINT NOT NULL,
    -- What is personal besides: JSON, its salt, and the SHA-256 of both, the only part of the three that is chained.
    personal TEXT,
    salt TEXT,
    personal_hash TEXT,
    hash TEXT NOT NULL
);
CREATE INDEX audit_of_subject ON audit (subject, seq);
CREATE INDEX audit_personal ON audit (at) WHERE personal IS NOT NULL;

-- One row: the newest row of the chain. Whoever adds to the chain holds it.
CREATE TABLE audit_head (
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head (seq, hash) VALUES (0, '0000000000000000000000000000000000000000000000000000000000000000');

-- Whose a pseudonym is: the SHA-256 of salt and user id. Erasing a user erases the row.
CREATE TABLE audit_subjects (
    user_id TEXT PRIMARY KEY,
    salt TEXT NOT NULL,
    subject TEXT NOT NULL UNIQUE
);

-- What the chain was at some moments, signed.
CREATE TABLE audit_checkpoints (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    jws TEXT NOT NULL
);

-- Users who were erased and whose tokens may still be around. What a request that was under way then leaves behind is
-- removed until due_at.
CREATE TABLE erasures (
    user_id TEXT PRIMARY KEY,
    due_at BIGINT NOT NULL
);

-- Everything that a user owns, packed on request. state is running, ready or failed.
CREATE TABLE exports (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    done BIGINT NOT NULL,
    total BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX exports_by_expiry ON exports (expires_at);
