-- The second factor of a user: a secret for one-time codes (RFC 6238), encrypted. It counts once a code has confirmed
-- it. last_step is the time step of the last code that was used: no code is used twice.
CREATE TABLE second_factors (
    user_id TEXT PRIMARY KEY,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    confirmed_at BIGINT,
    last_step BIGINT NOT NULL
);

-- What stands in for a code when the device is lost, each once. Only SHA-256 is kept; a used one is removed.
CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (user_id, hash)
);

-- When the user of a login proved last who they are, if that was after its beginning.
ALTER TABLE logins ADD COLUMN authenticated_at BIGINT;
