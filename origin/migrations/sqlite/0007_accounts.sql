-- What a username looks like (UTS 39): no two accounts have the same. NULL where an older account looks like another.
ALTER TABLE users ADD COLUMN skeleton TEXT;
CREATE UNIQUE INDEX users_by_skeleton ON users (skeleton);

-- Whoever has the secret may register with this role. Only its SHA-256 is kept, as for resets.
CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    uses_left BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    author TEXT NOT NULL
);
CREATE INDEX invitations_by_expiry ON invitations (expires_at);

-- Whoever has the secret may set the password of this user, once.
CREATE TABLE password_resets (
    user_id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL UNIQUE,
    expires_at BIGINT NOT NULL
);
CREATE INDEX password_resets_by_expiry ON password_resets (expires_at);

-- How far guesses are ahead of what is allowed (GCRA's theoretical arrival time), in milliseconds since the epoch. A bucket
-- is an account, a known device of it, an address or all together, under a name that tells nobody which.
CREATE TABLE guesses (
    bucket TEXT PRIMARY KEY,
    until BIGINT NOT NULL
);
CREATE INDEX guesses_by_age ON guesses (until);
