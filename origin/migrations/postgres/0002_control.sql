-- Who changed the policy, and why.
ALTER TABLE policies ADD COLUMN author TEXT NOT NULL DEFAULT 'file';
ALTER TABLE policies ADD COLUMN reason TEXT NOT NULL DEFAULT '';

-- One row: what the control plane tells, counted up by every change of it.
CREATE TABLE control (
    serial BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
INSERT INTO control (serial, changed_at) VALUES (0, 0);

-- Withdrawn tokens. Kinds are user, client, session, token and issuer. not_before is in seconds, as in a token: what was
-- issued before it is withdrawn. After expires_at no token can be left that a row concerns.
CREATE TABLE revocations (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    at BIGINT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (kind, subject)
);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

-- What each edge said when it last asked.
CREATE TABLE edges (
    region TEXT NOT NULL,
    node TEXT NOT NULL,
    serial BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    error TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (region, node)
);
CREATE INDEX edges_by_age ON edges (seen_at);
