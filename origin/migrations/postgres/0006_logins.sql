-- Logins. id is the sid of their tokens. Of a refresh token only hashes are kept: SHA-256 of the current secret and of
-- the one before, in hexadecimal. nonce made the current one out of the one before. family is the key that marks every
-- refresh token of the login; whoever has it can end the login and nothing else. issuer is the iss of its tokens.
CREATE TABLE logins (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    label TEXT NOT NULL,
    address TEXT NOT NULL,
    region TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    family TEXT NOT NULL,
    secret TEXT NOT NULL,
    previous TEXT,
    nonce TEXT,
    rotated_at BIGINT NOT NULL,
    ended_at BIGINT,
    ended_why TEXT
);
CREATE INDEX logins_of_user ON logins (user_id, seen_at);
CREATE INDEX logins_by_expiry ON logins (expires_at);

-- Personal access tokens. id is their jti; the tokens themselves are not kept.
CREATE TABLE personal_tokens (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    ended_at BIGINT,
    ended_why TEXT
);
CREATE INDEX personal_tokens_of_user ON personal_tokens (user_id, id);
CREATE INDEX personal_tokens_by_expiry ON personal_tokens (expires_at);
